//! Case folding that is the same in Rust, on SQLite and on Postgres.
//!
//! The engines' own `lower` differ (SQLite: ASCII only; Postgres: as its locale says). Ours: ASCII letters, and every other letter whose lower
//! case is one character outside ASCII. In SQL that is `lower` for ASCII and then one `replace` per upper-case letter **whose lower case occurs
//! in the text sought**: the others cannot make a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// One character, folded.
pub fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) if !one.is_ascii() => one,
        _ => c,
    }
}

/// A text, folded; it keeps its number of characters.
pub fn fold(text: &str) -> String {
    text.chars().map(fold_char).collect()
}

/// Lower-case letter → upper-case letters that fold to it, outside ASCII.
static UPPERS: LazyLock<BTreeMap<char, Vec<char>>> = LazyLock::new(|| {
    let mut map: BTreeMap<char, Vec<char>> = BTreeMap::new();
    // No cased letters lie between the end of the Latin and Cherokee blocks of plane 1 and the end of Unicode.
    for c in '\u{80}'..='\u{1ffff}' {
        let lower = fold_char(c);
        if lower != c {
            map.entry(lower).or_default().push(c);
        }
    }
    map
});

/// The (upper, lower) pairs that have to be replaced before something is compared with any of these texts.
pub(super) fn uppers_of<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<(char, char)> {
    texts
        .flat_map(str::chars)
        .map(fold_char)
        .filter(|c| !c.is_ascii())
        .filter_map(|lower| UPPERS.get(&lower).map(|uppers| uppers.iter().map(move |upper| (*upper, lower))))
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_letters_one_to_one() {
        assert_eq!(fold("MÜNCHEN Ωμέγα ЖУК Straße İ"), "münchen ωμέγα жук straße İ");
        assert_eq!(fold("\u{212a}"), "\u{212a}", "the Kelvin sign does not become ASCII");
        for text in ["", "Ärger", "Ǆ", "東京", "😀"] {
            assert_eq!(fold(text).chars().count(), text.chars().count());
            assert_eq!(fold(&fold(text)), fold(text));
        }
    }

    #[test]
    fn every_letter_that_folds_is_known_to_sql() {
        for c in char::MIN..=char::MAX {
            let lower = fold_char(c);
            if lower != c && !c.is_ascii() {
                assert!(UPPERS.get(&lower).is_some_and(|u| u.contains(&c)), "{c:?}");
            }
        }
    }
}
