//! What is wrong, in the viewer's language: the one place where a [`Fault`] of any slice becomes words on a page. English stands in the code;
//! other languages under the fault's code in `templates/i18n/LOCALE/faults.toml`. What has no words there is said in English.

use super::i18n::{self, Locale};
use crate::copywriter::Finding;
use crate::platform::Fault;

/// Gaps that hold a word of ours (a state, a kind of thing), which has a translation of its own.
const WORDS: [&str; 6] = ["what", "status", "action", "allowed", "wanted", "field"];

fn word(locale: Locale, text: &str) -> String {
    let one = |w: &str| {
        let slug: String = w.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
        i18n::own(locale, &format!("fault_word.{slug}")).map_or_else(|| w.to_owned(), ToOwned::to_owned)
    };
    text.split(", ").map(one).collect::<Vec<_>>().join(", ")
}

/// A fault in a language.
pub fn say(locale: Locale, fault: &Fault) -> String {
    let sentence =
        if locale == Locale::En || fault.code().is_empty() { None } else { i18n::own(locale, &format!("fault.{}", fault.code())) };
    let Some(sentence) = sentence else { return fault.to_string() };
    let args: Vec<(&'static str, String)> =
        fault.args().iter().map(|(name, value)| (*name, if WORDS.contains(name) { word(locale, value) } else { value.clone() })).collect();
    Fault::fill(sentence, &args)
}

/// What a guardrail found, in a sentence. It is kept with the text in English; other languages say what its kind means.
pub fn finding(locale: Locale, found: &Finding) -> String {
    let own = if locale == Locale::En { None } else { i18n::own(locale, &format!("finding.{}", found.kind.as_str())) };
    own.map_or_else(|| found.message.clone(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::fault;

    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }

    /// Codes and their English, out of the sources.
    fn sources() -> BTreeMap<String, BTreeSet<String>> {
        let mut files = Vec::new();
        walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
        let pattern = regex::Regex::new(r#"\bfault!\(\s*"([a-z_.]+)",\s*"((?:[^"\\]|\\.)*)""#).expect("pattern");
        let mut codes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
            let text = std::fs::read_to_string(file).expect("text");
            for found in pattern.captures_iter(&text).filter(|c| !c[1].starts_with("test.") && &c[1] != "campaign.example") {
                codes.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
            }
        }
        codes
    }

    fn gaps(text: &str) -> BTreeSet<String> {
        let pattern = regex::Regex::new(r"\{([a-z_]+)\}").expect("pattern");
        pattern.captures_iter(text).map(|c| c[1].to_owned()).collect()
    }

    #[test]
    fn every_fault_has_one_sentence_and_one_in_chinese() {
        let codes = sources();
        assert!(codes.len() > 60, "the pattern finds faults: {}", codes.len());
        let mut lacking = Vec::new();
        for (code, english) in &codes {
            assert_eq!(english.len(), 1, "{code} says one thing: {english:?}");
            let english = english.first().expect("one");
            match i18n::own(Locale::Zh, &format!("fault.{code}")) {
                None => lacking.push(format!("{code}: {english}")),
                // Chinese may leave a gap out (the name of a field of the API, say); it fills none that there is not.
                Some(chinese) => assert!(gaps(chinese).is_subset(&gaps(english)), "{code}: {chinese}"),
            }
        }
        assert!(lacking.is_empty(), "missing in Chinese: {lacking:#?}");
        let stale: Vec<&str> =
            i18n::keys(Locale::Zh).filter_map(|k| k.strip_prefix("fault.")).filter(|code| !codes.contains_key(*code)).collect();
        assert!(stale.is_empty(), "no fault has these codes: {stale:?}");
    }

    #[test]
    fn words_of_ours_are_translated_and_what_has_no_words_stays_english() {
        let state = fault!(
            "campaign.state",
            "A campaign that is {status} cannot {action}; it can: {allowed}.",
            status = "paused",
            action = "pause",
            allowed = "resume, cancel"
        );
        let said = say(Locale::Zh, &state);
        assert!(said.contains("已暂停") && !said.contains("resume"), "{said}");
        assert_eq!(say(Locale::En, &state), "A campaign that is paused cannot pause; it can: resume, cancel.");
        assert_eq!(say(Locale::Zh, &Fault::from("as it is")), "as it is");
    }
}
