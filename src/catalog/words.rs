//! What products are found by: the words of their texts, their categories, their brand, and findings that follow from the texts alone.

use std::collections::BTreeSet;

use super::model::ancestors;

/// Widest title that the words of a banner (90 wide) hold whole beside what they say about it; characters of scripts without blanks count twice.
pub const BANNER_TITLE_WIDTH: usize = 50;
const MAX_WORD: usize = 40;
const MAX_WORDS: usize = 80;
const MAX_TERMS: usize = 8;

pub(super) const LONG_TITLE: &str = "#long";
pub(super) const NO_TEXT: &str = "#notext";

pub(super) fn category_word(path: &str) -> String {
    format!("#c:{path}")
}
pub(super) fn brand_word(brand: &str) -> String {
    format!("#b:{brand}")
}

/// Scripts that are written without blanks between words.
fn is_dense(c: char) -> bool {
    matches!(u32::from(c), 0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xac00..=0xd7af | 0xf900..=0xfaff | 0x20000..=0x2fa1f)
}

/// How wide a text is where dense characters count twice.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| if is_dense(c) || matches!(u32::from(c), 0xff01..=0xff60) { 2 } else { 1 }).sum()
}

/// Runs of letters and digits of one kind of script, in lower case.
fn tokens(text: &str) -> Vec<(String, bool)> {
    let mut found: Vec<(String, bool)> = Vec::new();
    let mut open = false;
    for c in text.chars().flat_map(char::to_lowercase) {
        if !c.is_alphanumeric() {
            open = false;
            continue;
        }
        let dense = is_dense(c);
        match found.last_mut().filter(|(_, kind)| open && *kind == dense) {
            Some((word, _)) => word.push(c),
            None => found.push((c.to_string(), dense)),
        }
        open = true;
    }
    found
}

fn pairs(run: &str) -> impl Iterator<Item = String> {
    let chars: Vec<char> = run.chars().collect();
    (1..chars.len()).map(move |i| [chars[i - 1], chars[i]].iter().collect())
}

/// Every word that leads to a product.
pub(super) fn of_product(sku: &str, title: &str, description: &str, brand: Option<&str>, category_path: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for text in [sku, title, brand.unwrap_or_default(), category_path] {
        for (token, dense) in tokens(text) {
            if dense {
                words.extend(pairs(&token));
                words.extend(token.chars().map(String::from));
            } else {
                words.insert(token.chars().take(MAX_WORD).collect());
            }
            if words.len() > MAX_WORDS {
                break;
            }
        }
    }
    words.extend(ancestors(category_path).into_iter().map(category_word));
    words.extend(brand.map(brand_word));
    if width(title) > BANNER_TITLE_WIDTH {
        words.insert(LONG_TITLE.to_owned());
    }
    if description.trim().is_empty() {
        words.insert(NO_TEXT.to_owned());
    }
    words
}

/// One condition of a search: words from `from` up to and without `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub from: String,
    pub to: String,
}

impl Span {
    /// Just this word.
    pub fn exact(word: String) -> Self {
        Self { to: format!("{word}\u{1}"), from: word }
    }
    /// Whatever begins with it.
    fn prefix(word: String) -> Self {
        Self { to: format!("{word}\u{10ffff}"), from: word }
    }
}

/// What was typed, as conditions that must all hold: words begin with what was typed, dense text holds all its pairs.
pub(super) fn of_search(typed: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    for (token, dense) in tokens(typed) {
        match (dense, token.chars().count()) {
            // One letter begins half of all words: it must be a word of its own.
            (_, 1) => spans.push(Span::exact(token)),
            (true, _) => spans.extend(pairs(&token).map(Span::exact)),
            (false, _) => spans.push(Span::prefix(token.chars().take(MAX_WORD).collect())),
        }
    }
    spans.truncate(MAX_TERMS);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(words: &BTreeSet<String>, typed: &str) -> bool {
        let spans = of_search(typed);
        !spans.is_empty() && spans.iter().all(|s| words.iter().any(|w| *w >= s.from && *w < s.to))
    }

    #[test]
    fn products_are_found_by_what_people_type() {
        let words = of_product("MUG-12/B", "Blue “Café” mug, 350ml", "It holds tea.", Some("Tin & Co"), "Home > Kitchen");
        for typed in ["blue", "BLU mug", "café", "mug-12", "350", "tin co", "kitch"] {
            assert!(found(&words, typed), "{typed}");
        }
        for typed in ["green", "blue green", "lue", "", "#", "tea", "c"] {
            assert!(!found(&words, typed), "{typed}");
        }
        assert!(words.contains("#c:Home") && words.contains("#c:Home > Kitchen") && words.contains("#b:Tin & Co"));
        assert!(!words.contains(NO_TEXT) && !words.contains(LONG_TITLE));
        let zh = of_product("1", "手工陶瓷马克杯350ml", "", None, "");
        assert!(found(&zh, "马克杯") && found(&zh, "陶瓷 350") && found(&zh, "杯") && !found(&zh, "马杯"));
        assert!(zh.contains(NO_TEXT));
        assert!(of_product("1", &"手工陶瓷马克杯".repeat(4), "x", None, "").contains(LONG_TITLE), "28 characters, 56 wide");
    }

    #[test]
    fn a_span_of_one_word_holds_no_other() {
        let span = Span::exact("#c:Home".into());
        assert!("#c:Home" >= span.from.as_str() && "#c:Home" < span.to.as_str());
        assert!("#c:Home > Kitchen" >= span.to.as_str() || "#c:Home > Kitchen" < span.from.as_str());
    }
}
