//! Names of somebody else, and the script of the language.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::super::grammar;
use super::super::model::{FindingKind, Locale, SLOT_FIRST_NAME, SLOT_PRICE, Severity};
use super::super::title::is_cjk;
use super::facts::{Facts, words_of};
use super::{Sink, pattern};

/// English words that begin with a capital wherever they stand.
const CAPITAL_WORDS: &[&str] = &[
    "i",
    "i'm",
    "i've",
    "i'd",
    "i'll",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "english",
    "ok",
    "diy",
    "psst",
    "hi",
    "hello",
    "dear",
    "hey",
];

fn vocabulary() -> &'static HashSet<String> {
    static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let own = grammar::source(Locale::En).lines().filter(|l| !l.starts_with(['#', '['])).collect::<Vec<_>>().join(" ").to_lowercase();
        let common = include_str!("../phrases/common_words.txt");
        words_of(&own).chain(words_of(common)).map(ToOwned::to_owned).chain(CAPITAL_WORDS.iter().map(|w| (*w).to_owned())).collect()
    })
}

/// Words with a capital that are neither ordinary words nor among the facts are somebody's name.
pub(super) fn names(text: &str, locale: Locale, facts: &Facts, out: &mut Sink<'_>) {
    let plain = text.replace(SLOT_FIRST_NAME, " ").replace(SLOT_PRICE, " ").replace('’', "'");
    let mut sentence_start = true;
    for raw in plain.split_whitespace() {
        for part in raw.split(['-', '/', '–', '—', '(', '&', '+', '：', '，', '。', '！', '？', '、', '“', '”']) {
            let word = part.trim_matches(|c: char| !c.is_alphanumeric() && c != '…');
            let Some(first) = word.chars().next() else { continue };
            let lower = word.to_lowercase();
            let bare = lower.strip_suffix("'s").unwrap_or(&lower);
            let latin = first.is_alphabetic() && !is_cjk(first);
            let capital = word.chars().any(char::is_uppercase);
            let known = facts.words.contains(bare)
                || vocabulary().contains(bare)
                || (bare.ends_with('…') && facts.all.contains(bare.trim_end_matches('…')))
                || bare.split('\'').all(|w| w.len() < 2 || facts.words.contains(w) || vocabulary().contains(w));
            if latin && !known && !word.chars().all(|c| c.is_ascii_digit()) {
                if locale == Locale::Zh && word.chars().count() > 1 && !latin_inside_fact(bare, facts) {
                    out.error(FindingKind::Name, word, "This word is not among the facts.");
                } else if locale == Locale::En && capital {
                    let severity =
                        if sentence_start && word.chars().skip(1).all(char::is_lowercase) { Severity::Warning } else { Severity::Error };
                    out.add(FindingKind::Name, severity, word, "This looks like a name, and is not among the facts.");
                }
            }
            sentence_start = false;
        }
        sentence_start = raw.ends_with(['.', '!', '?', ':', '…']) && !raw.ends_with("e.g.");
    }
    for m in pattern!(r"《[^》]{1,40}》|「[^」]{1,40}」").find_iter(text) {
        let inner: String = m.as_str().chars().filter(|c| !"《》「」".contains(*c)).collect::<String>().to_lowercase();
        if !facts.all.contains(&inner) {
            out.error(FindingKind::Name, m.as_str(), "This name is not among the facts.");
        }
    }
}

/// Words glued to Han characters ("Cup马克杯") arrive here as one token.
fn latin_inside_fact(token: &str, facts: &Facts) -> bool {
    token
        .split(|c: char| is_cjk(c) || !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .all(|w| w.chars().count() == 1 || w.chars().all(|c| c.is_ascii_digit()) || facts.all.contains(w))
}

pub(super) fn script(text: &str, locale: Locale, facts: &Facts, out: &mut Sink<'_>) {
    let rest = facts.without_names(&text.replace(SLOT_FIRST_NAME, "").replace(SLOT_PRICE, ""));
    let letters = rest.chars().filter(|c| c.is_alphabetic() && *c != '§');
    let (mut han, mut latin, mut other) = (0_usize, 0_usize, 0_usize);
    for c in letters {
        if is_cjk(c) {
            han += 1;
        } else if c.is_ascii() || matches!(u32::from(c), 0xC0..=0x24F | 0xAA | 0xBA) {
            latin += 1;
        } else if !facts.all.contains(c) {
            other += 1;
        }
    }
    let unknown_han = rest.chars().any(|c| is_cjk(c) && c.is_alphabetic() && !facts.all.contains(c));
    let wrong = match locale {
        Locale::En => other > 0 || unknown_han,
        Locale::Zh => other > 0 || (han == 0 && latin > 0) || (han + latin >= 12 && latin > han * 3),
    };
    if wrong {
        out.error(FindingKind::Script, text, "This is not written in the script of its language.");
    }
}
