//! The languages of the pages: `templates/i18n/*.toml`, flattened to dotted keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "templates/i18n/"]
struct Files;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Locale {
    En,
    Zh,
}

impl Locale {
    pub const ALL: [Locale; 2] = [Locale::En, Locale::Zh];

    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }
    /// The language's own name of itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Zh => "中文",
        }
    }
    pub fn of(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|l| l.tag().eq_ignore_ascii_case(language))
    }
    /// The first language of an `Accept-Language` header that is ours.
    pub fn accepted(header: &str) -> Option<Self> {
        header.split(',').take(20).filter_map(|part| Self::of(part.split(';').next()?.trim())).next()
    }
}

type Texts = BTreeMap<String, String>;

static TEXTS: LazyLock<BTreeMap<Locale, Texts>> = LazyLock::new(|| {
    Locale::ALL
        .into_iter()
        .map(|locale| {
            (
                locale,
                read(locale).unwrap_or_else(|why| {
                    tracing::error!(locale = locale.tag(), why, "translations cannot be read");
                    Texts::new()
                }),
            )
        })
        .collect()
});

fn read(locale: Locale) -> Result<Texts, String> {
    let mut texts = Texts::new();
    let folder = format!("{}/", locale.tag());
    for name in Files::iter().filter(|f| f.starts_with(&folder) && f.ends_with(".toml")) {
        let file = Files::get(&name).ok_or("no file")?;
        let text = std::str::from_utf8(&file.data).map_err(|e| e.to_string())?;
        let table: toml::Table = toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        flatten("", &table, &mut texts)?;
    }
    Ok(texts)
}

fn flatten(prefix: &str, table: &toml::Table, texts: &mut Texts) -> Result<(), String> {
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, texts)?,
            toml::Value::String(text) => {
                if texts.insert(key.clone(), text.clone()).is_some() {
                    return Err(format!("{key} is there twice"));
                }
            }
            other => return Err(format!("{key} is {}, not a text", other.type_str())),
        }
    }
    Ok(())
}

/// The text of a key; the English one where a language lacks it, the key itself where all do (a test keeps both from happening).
pub fn text(locale: Locale, key: &str) -> &str {
    let find = |locale| TEXTS.get(&locale).and_then(|texts: &'static Texts| texts.get(key));
    find(locale).or_else(|| find(Locale::En)).map_or(key, String::as_str)
}

/// The text of a key in just this language.
pub fn own(locale: Locale, key: &str) -> Option<&'static str> {
    TEXTS.get(&locale).and_then(|texts: &'static Texts| texts.get(key)).map(String::as_str)
}

#[cfg(test)]
pub(super) fn keys(locale: Locale) -> impl Iterator<Item = &'static str> {
    TEXTS.get(&locale).into_iter().flat_map(|texts: &'static Texts| texts.keys()).map(String::as_str)
}

pub fn has(key: &str) -> bool {
    TEXTS.get(&Locale::En).is_some_and(|t| t.contains_key(key))
}

/// The text of a key with `{name}` replaced. Where an argument `n` is 1 and there is a key `KEY_one`, that is taken.
pub fn format(locale: Locale, key: &str, args: &[(&str, String)]) -> String {
    let one = args.iter().any(|(name, value)| *name == "n" && value == "1");
    // A language without a singular of its own says it as it says all numbers, and not in English.
    let singular = if one { own(locale, &format!("{key}_one")) } else { None };
    let mut text = singular.unwrap_or_else(|| text(locale, key)).to_owned();
    for (name, value) in args {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn placeholders(text: &str) -> BTreeSet<String> {
        let pattern = regex::Regex::new(r"\{([a-z_]+)\}").expect("pattern");
        pattern.captures_iter(text).map(|c| c[1].to_owned()).collect()
    }

    #[test]
    fn both_languages_say_the_same_things() {
        let en = read(Locale::En).expect("English");
        let zh = read(Locale::Zh).expect("Chinese");
        assert!(en.len() > 50);
        // What is wrong stands in English in the code; `web::faults` compares those.
        let own = |k: &&String| !["fault.", "fault_word.", "finding."].iter().any(|p| k.starts_with(p));
        let keys = |t: &Texts| t.keys().filter(|k| !k.ends_with("_one")).filter(own).cloned().collect::<BTreeSet<_>>();
        let (a, b) = (keys(&en), keys(&zh));
        assert_eq!(a.difference(&b).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in Chinese");
        assert_eq!(b.difference(&a).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in English");
        for (key, text) in &en {
            if let Some(other) = zh.get(key) {
                assert_eq!(placeholders(text), placeholders(other), "{key}");
            }
            assert!(!text.trim().is_empty(), "{key} is empty");
        }
    }

    fn walk(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("folder").flatten() {
            let path = entry.path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }

    /// `"some.key" | t`, `t="some.key"`-like component arguments ending in `key="…"`, and `text("…")`/`say("…")` in Rust.
    #[test]
    fn every_key_that_a_page_uses_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        walk(&root.join("templates/web"), &mut files);
        walk(&root.join("src/web"), &mut files);
        let whole = regex::Regex::new(r#""([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)"(?:\s*\|\s*t\b)"#).expect("pattern");
        let keyed = regex::Regex::new(r#"\b[a-z]*key="([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)""#).expect("pattern");
        let rust = regex::Regex::new(r#"\b(?:say|say_with|title|flash|flash_with|t|tr)\(\s*"([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)""#)
            .expect("pattern");
        let prefix = regex::Regex::new(r#""([a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\.)"\s*~"#).expect("pattern");
        let en = read(Locale::En).expect("English");
        let (mut used, mut missing) = (0, BTreeSet::new());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("text");
            let patterns: &[&regex::Regex] = if file.extension().is_some_and(|e| e == "rs") { &[&rust] } else { &[&whole, &keyed] };
            for pattern in patterns {
                for found in pattern.captures_iter(&text) {
                    used += 1;
                    if !en.contains_key(&found[1]) {
                        missing.insert(format!("{}: {}", file.display(), &found[1]));
                    }
                }
            }
            for found in prefix.captures_iter(&text) {
                if !en.keys().any(|k| k.starts_with(&found[1])) {
                    missing.insert(format!("{}: {}…", file.display(), &found[1]));
                }
            }
        }
        assert!(used > 20, "the patterns find keys: {used}");
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn browsers_say_what_they_read() {
        assert_eq!(Locale::accepted("de-DE,de;q=0.9,zh-CN;q=0.8,en;q=0.7"), Some(Locale::Zh));
        assert_eq!(Locale::accepted("fr"), None);
        let one = [("n", "1".to_owned())];
        assert_eq!(format(Locale::En, "segments.wrong.summary", &one), "One field needs another look. Nothing was saved.");
        assert!(format(Locale::Zh, "segments.wrong.summary", &one).contains("有 1 处"));
        assert_eq!(format(Locale::En, "no.such.key", &[("n", "2".into())]), "no.such.key");
    }
}
