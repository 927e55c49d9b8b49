//! Words from messy catalogues made readable: case, shortening, plurals, CJK spacing; and names put into sentences.

use super::model::{Locale, SLOT_FIRST_NAME};

/// Words that stay lower-case inside a title.
const SMALL: &[&str] = &["a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with", "per", "w"];
/// Short capitals that are words of their own.
const ACRONYMS: &[&str] = &[
    "usb", "led", "tv", "cd", "dvd", "uk", "usa", "eu", "pc", "xl", "xxl", "xs", "diy", "bbq", "uv", "lcd", "hd", "rgb", "hdmi", "gps",
    "3d", "2d", "4k", "ii", "iii", "iv", "vip", "pvc", "mdf", "ac", "dc",
];
/// A shortened title must not end in one of these.
const DANGLING: &[&str] =
    &["with", "and", "of", "for", "in", "on", "the", "a", "an", "to", "from", "by", "&", "-", "–", "+", "/", "w", "or", "at", "as", "set"];

pub fn is_cjk(c: char) -> bool {
    matches!(u32::from(c), 0x2E80..=0x2FDF | 0x3000..=0x30FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xAC00..=0xD7AF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x20000..=0x3FFFF)
}

/// Characters, CJK counted twice (as ad platforms do).
pub fn width(text: &str) -> usize {
    text.chars().map(|c| if is_cjk(c) { 2 } else { 1 }).sum()
}

/// Invisible or direction-changing characters that no title, name or copy needs.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c), 0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFC | 0xE0000..=0xE0FFF)
}

/// One line, single blanks, nothing invisible.
pub fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_whitespace() || is_invisible(c) {
            if (c.is_whitespace() || c.is_control()) && !out.is_empty() && !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.push(c);
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// A product title as a person would write it: no markup, no braces, no addresses, readable case. `None` where nothing readable is left.
pub fn readable(raw: &str) -> Option<String> {
    let raw: String = raw.chars().take(400).collect();
    let no_tags = strip_tags(&one_line(&raw));
    let plain: String = no_tags
        .chars()
        .map(|c| match c {
            '<' | '>' | '{' | '}' | '[' | ']' | '|' | '\\' | '`' | '^' | '~' | '*' | '_' | '=' | '$' | '#' | '@' | '!' | '¡' | '?'
            | '？' | '！' | '¿' => ' ',
            '"' | '“' | '”' | '„' | '«' | '»' | '″' => ' ',
            '’' | '‘' | '´' => '\'',
            other => other,
        })
        .collect();
    let words: Vec<&str> = plain.split_whitespace().filter(|w| !looks_like_address(w)).collect();
    let mut joined = words.join(" ").replace(" ,", ",").replace(" .", ".");
    joined = joined.trim_matches(|c: char| !c.is_alphanumeric() && c != ')' && c != '(' && c != '+' && c != '%').to_owned();
    joined = balance_brackets(&joined);
    if joined.chars().filter(|c| c.is_alphanumeric()).count() < 2 {
        return None;
    }
    Some(space_scripts(&fix_case(&joined)))
}

fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        out.push_str(&rest[..open]);
        let after = &rest[open..];
        match after.find('>') {
            Some(close) if after[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!') => {
                out.push(' ');
                rest = &after[close + 1..];
            }
            _ => {
                out.push(' ');
                rest = &after[1..];
            }
        }
    }
    out.push_str(rest);
    html_escape::decode_html_entities(&out).into_owned()
}

fn looks_like_address(word: &str) -> bool {
    let lower = word.to_lowercase();
    lower.contains("://") || lower.starts_with("www.") || super::guardrails::has_domain(&lower)
}

fn balance_brackets(text: &str) -> String {
    if text.matches('(').count() == text.matches(')').count() {
        text.to_owned()
    } else {
        text.replace(['(', ')'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn fix_case(text: &str) -> String {
    let cased = text.chars().filter(|c| c.is_lowercase() || c.is_uppercase()).count();
    let upper = text.chars().filter(|c| c.is_uppercase()).count();
    if cased == 0 {
        return text.to_owned();
    }
    if upper * 10 < cased * 7 || cased < 4 {
        return capitalise(text);
    }
    let mut out = String::with_capacity(text.len());
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 {
            out.push(' ');
        }
        out.push_str(&case_word(word, i == 0));
    }
    out
}

fn case_word(word: &str, first: bool) -> String {
    let lower = word.to_lowercase();
    let bare = lower.trim_matches(|c: char| !c.is_alphanumeric());
    if ACRONYMS.contains(&bare) {
        return word.to_uppercase();
    }
    if !first && SMALL.contains(&bare) {
        return lower;
    }
    // Sizes and codes keep their capitals: "S/4", "A5", "12V".
    if word.chars().any(|c| c.is_ascii_digit())
        && bare.chars().count() <= 4
        && !bare.ends_with("cm")
        && !bare.ends_with("mm")
        && !bare.ends_with("ml")
        && !bare.ends_with("st")
        && !bare.ends_with("nd")
        && !bare.ends_with("rd")
        && !bare.ends_with("th")
    {
        return word.to_owned();
    }
    if lower.chars().next().is_some_and(|c| c.is_ascii_digit()) {
        return lower;
    }
    let mut out = String::with_capacity(lower.len());
    let mut start = true;
    for c in lower.chars() {
        if start && c.is_alphabetic() {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        start = matches!(c, '-' | '/' | '(' | '&' | '.' | '+');
    }
    out
}

/// First letter upper-case; words such as "iPhone" stay as they are.
pub fn capitalise(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if first.is_lowercase() => {
            let second_upper = chars.clone().next().is_some_and(char::is_uppercase);
            if second_upper { text.to_owned() } else { first.to_uppercase().chain(chars).collect() }
        }
        _ => text.to_owned(),
    }
}

/// A blank between Latin letters or digits and Han characters, as Chinese typography wants it.
pub fn space_scripts(text: &str) -> String {
    let han = |c: char| matches!(u32::from(c), 0x3400..=0x4DBF | 0x4E00..=0x9FFF);
    let latin = |c: char| c.is_alphanumeric() && !is_cjk(c);
    let mut out = String::with_capacity(text.len() + 8);
    let mut last: Option<char> = None;
    for c in text.chars() {
        if let Some(l) = last
            && ((han(l) && (latin(c) || c == '{')) || ((latin(l) || l == '}') && han(c)))
        {
            out.push(' ');
        }
        out.push(c);
        last = Some(c);
    }
    out
}

/// At most `max` wide, cut where a person would cut: before a bracket, dash or comma, else between words. An ellipsis only inside a word.
pub fn shorten(text: &str, max: usize) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    for cut in [" (", " - ", " – ", ", ", " with ", " for ", " / "] {
        if let Some(at) =
            text.match_indices(cut).map(|(at, _)| at).filter(|at| width(&text[..*at]) <= max && width(&text[..*at]) * 5 >= max * 2).last()
        {
            return text[..at].trim_end_matches([',', ' ', '-', '–', '/']).to_owned();
        }
    }
    let mut used = 0;
    let mut end = 0;
    let mut word_end = 0;
    for (at, c) in text.char_indices() {
        let w = if is_cjk(c) { 2 } else { 1 };
        if used + w > max {
            if c == ' ' {
                word_end = end;
            }
            break;
        }
        if c == ' ' {
            word_end = at;
        }
        if is_cjk(c) {
            word_end = at + c.len_utf8();
        }
        used += w;
        end = at + c.len_utf8();
    }
    let mut cut = text[..word_end].trim_end_matches([',', ' ', '-', '–', '/', '&', '+', ':', ';']).to_owned();
    while let Some((rest, last)) = cut.rsplit_once(' ') {
        if !DANGLING.contains(&last.to_lowercase().as_str()) {
            break;
        }
        cut = rest.trim_end_matches([',', ' ', '-', '–']).to_owned();
    }
    if cut.is_empty() || DANGLING.contains(&cut.to_lowercase().as_str()) {
        let mut used = 0;
        cut = text
            .chars()
            .take_while(|c| {
                used += if is_cjk(*c) { 2 } else { 1 };
                used < max
            })
            .collect::<String>();
        cut = cut.trim_end().to_owned();
        cut.push('…');
    }
    balance_brackets(&cut)
}

/// Whether an English title names several things ("Tea Towels"), judged by its head word ("Set of 6 Towels" is one set).
pub fn is_plural(title: &str) -> bool {
    let lower = title.to_lowercase();
    let head = lower
        .split([',', '('])
        .next()
        .unwrap_or("")
        .split(" with ")
        .next()
        .unwrap_or("")
        .split(" for ")
        .next()
        .unwrap_or("")
        .split(" of ")
        .next()
        .unwrap_or("")
        .split(" in ")
        .next()
        .unwrap_or("");
    let Some(word) = head.split_whitespace().rfind(|w| w.chars().any(char::is_alphabetic)) else { return false };
    let word = word.trim_matches(|c: char| !c.is_alphabetic());
    word.len() > 3
        && word.ends_with('s')
        && !word.ends_with("ss")
        && !word.ends_with("us")
        && !word.ends_with("is")
        && !word.ends_with("'s")
}

/// A first name fit for a greeting; `None` for anything that looks like an address, markup, a header or a joke.
pub fn usable_first_name(raw: &str) -> Option<String> {
    if raw.chars().any(char::is_control) {
        return None;
    }
    let name = one_line(raw);
    let ok = !name.is_empty()
        && name.chars().count() <= 40
        && name.chars().all(|c| c.is_alphabetic() || matches!(c, ' ' | '-' | '\'' | '’' | '.' | '·'))
        && name.chars().any(char::is_alphabetic)
        && !looks_like_address(&name);
    if !ok {
        return None;
    }
    let shouting = name.chars().count() > 2 && !name.chars().any(char::is_lowercase) && name.chars().any(char::is_uppercase);
    Some(if shouting || !name.chars().any(char::is_uppercase) { case_word(&name.to_lowercase(), true) } else { name })
}

/// Puts the name into its slot, or takes the slot out with the words and commas that belong to it.
pub fn fill_name(text: &str, name: Option<&str>, locale: Locale) -> String {
    if !text.contains(SLOT_FIRST_NAME) {
        return text.to_owned();
    }
    if let Some(name) = name {
        let filled = text.replace(SLOT_FIRST_NAME, name);
        return if locale == Locale::Zh { space_scripts(&filled) } else { filled };
    }
    let mut out = text.to_owned();
    for greeting in ["Hi", "Hello", "Hey"] {
        out = out.replace(&format!("{greeting} {SLOT_FIRST_NAME}"), &format!("{greeting} there"));
    }
    out = out.replace(&format!("Dear {SLOT_FIRST_NAME}"), "Hello");
    out = out
        .replace(&format!("for {SLOT_FIRST_NAME}"), "for you")
        .replace(&format!("{SLOT_FIRST_NAME}你好"), "你好")
        .replace(&format!("{SLOT_FIRST_NAME} 你好"), "你好");
    for drop in [", {}", "，{}", "、{}", "{}, ", "{}: ", "{}，", "{}：", "{}、", " {}", "{} ", "{}"] {
        out = out.replace(&drop.replace("{}", SLOT_FIRST_NAME), "");
    }
    capitalise(out.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shouted_titles_become_readable() {
        for (raw, want) in [
            ("WHITE HANGING HEART T-LIGHT HOLDER", "White Hanging Heart T-Light Holder"),
            (" TRELLIS COAT RACK", "Trellis Coat Rack"),
            ("SET 10 CARDS HANGING BAUBLES 17080", "Set 10 Cards Hanging Baubles 17080"),
            ("POCKET MIRROR \"\"GLAMOROUS\"\"", "Pocket Mirror Glamorous"),
            ("ELVIS WALLHANGING / CURTAIN", "Elvis Wallhanging / Curtain"),
            ("PANDA AND BUNNIES STICKER SHEET", "Panda and Bunnies Sticker Sheet"),
            ("USB LED DESK LAMP 12V", "USB LED Desk Lamp 12V"),
            ("CHILD'S GARDEN TROWEL", "Child's Garden Trowel"),
            ("amazon sales", "Amazon sales"),
            ("iPhone case", "iPhone case"),
            ("<b>Mug</b> &amp; saucer", "Mug & saucer"),
            ("陶瓷马克杯350ml", "陶瓷马克杯 350ml"),
            ("Visit http://evil.example now MUG", "Visit now MUG"),
            ("{{ 7*7 }} cup", "7 7 cup"),
        ] {
            assert_eq!(readable(raw).as_deref(), Some(want), "{raw}");
        }
        for nothing in ["", "   ", "???", "<script></script>", "http://x.example/"] {
            assert_eq!(readable(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn long_titles_are_cut_between_words() {
        assert_eq!(shorten("White Hanging Heart T-Light Holder", 26), "White Hanging Heart");
        assert_eq!(shorten("Tea Towels with Birds and Bees, Cotton", 20), "Tea Towels");
        assert_eq!(shorten("Donaudampfschifffahrtsgesellschaft", 12), "Donaudampfs…");
        assert_eq!(width(&shorten("手工陶瓷马克杯大容量办公室情侣款", 20)), 20);
        for max in 1..60 {
            assert!(width(&shorten("Set of 6 Retrospot (Large) Tea Towels, and a Bag with Birds", max)) <= max, "{max}");
        }
    }

    #[test]
    fn heads_decide_the_number() {
        assert!(is_plural("Blue Tea Towels"));
        assert!(is_plural("Earrings with Long Beads"));
        assert!(!is_plural("Set of 6 Tea Towels"));
        assert!(!is_plural("Glass Vase"));
        assert!(!is_plural("Card for Cats"));
    }

    #[test]
    fn sentences_read_well_without_a_name() {
        let en = |t: &str| fill_name(t, None, Locale::En);
        assert_eq!(en("Hi {first_name}, look"), "Hi there, look");
        assert_eq!(en("{first_name}, this is new"), "This is new");
        assert_eq!(en("Thank you, {first_name}."), "Thank you.");
        assert_eq!(en("Picked for {first_name}"), "Picked for you");
        let zh = |t: &str| fill_name(t, None, Locale::Zh);
        assert_eq!(zh("{first_name}，为你挑选"), "为你挑选");
        assert_eq!(zh("谢谢你，{first_name}"), "谢谢你");
        assert_eq!(fill_name("{first_name}，你好", Some("Anna"), Locale::Zh), "Anna，你好");
    }
}
