//! Reading values as shops write them: prices, whole numbers, dates, addresses, HTML, and notes that stand where a title should.

use std::collections::HashSet;
use std::sync::LazyLock;

use chrono::NaiveDateTime;
use chrono_tz::Tz;

use crate::platform::Timestamp;
use crate::platform::money::{Currency, Money};

/// A whole number, also written `6.0` or `1,000`.
pub fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(n) = text.parse::<i64>() {
        return Some(n);
    }
    let text = match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    if !text.contains(',') {
        return text.parse().ok();
    }
    let mut groups = text.split(',');
    let first = groups.next()?;
    let head_fits = matches!(first.trim_start_matches(['-', '+']).len(), 1..=3);
    if !head_fits || !text.split(',').skip(1).all(|g| g.len() == 3 && g.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    text.replace(',', "").parse().ok()
}

/// An amount with or without its currency: `12.34`, `12.34 GBP`, `£1,234.50`, `12,34 €`. Decimals beyond the currency's are rounded half
/// away from zero.
pub fn price(text: &str, default: Currency) -> Result<Money, String> {
    let text = text.trim();
    // The plain case, by far the most frequent.
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-') {
        return Money::parse_rounding(text, default).map_err(|e| e.to_string());
    }
    let mut currency = None;
    let mut digits = String::with_capacity(text.len());
    let mut letters = String::new();
    for c in text.chars() {
        match c {
            '0'..='9' | '.' | ',' | '-' | '+' => digits.push(c),
            '£' => currency = Some(Currency::GBP),
            '€' => currency = Some(Currency::EUR),
            '$' => currency = currency.or(Some(Currency::USD)),
            ' ' | '\u{a0}' | '\u{202f}' | '\'' | '’' => {}
            c if c.is_ascii_alphabetic() => letters.push(c),
            _ => return Err(format!("“{}” is not an amount", shortened(text))),
        }
    }
    if !letters.is_empty() {
        currency = Some(letters.parse().map_err(|_| format!("“{}” is not an amount with a currency", shortened(text)))?);
    }
    let currency = currency.unwrap_or(default);
    let plain = plain_decimal(&digits).ok_or_else(|| format!("“{}” is not an amount", shortened(text)))?;
    Money::parse_rounding(&plain, currency).map_err(|e| e.to_string())
}

/// `1,234.50`, `1.234,50`, `12,5` and `1,234` with a point for the decimals and nothing for the thousands.
fn plain_decimal(digits: &str) -> Option<String> {
    let (points, commas) = (digits.matches('.').count(), digits.matches(',').count());
    let decimal = match (points, commas) {
        (0 | 1, 0) => return (!digits.is_empty()).then(|| digits.to_owned()),
        (0, 1) => {
            let after = digits.len() - digits.find(',')? - 1;
            if after == 3 { '.' } else { ',' }
        }
        (0, _) => '.',
        (_, 0) => ',',
        _ if digits.rfind('.') > digits.rfind(',') => '.',
        _ => ',',
    };
    let thousands = if decimal == '.' { ',' } else { '.' };
    let (whole, fraction) = digits.split_once(decimal).unwrap_or((digits, ""));
    if fraction.contains([',', '.']) || whole.split(thousands).skip(1).any(|g| g.len() != 3) {
        return None;
    }
    let whole = whole.replace(thousands, "");
    Some(if fraction.is_empty() { whole } else { format!("{whole}.{fraction}") })
}

/// Reads dates, remembering the last one: neighbouring rows share it.
pub struct Dates {
    zone: Tz,
    format: Option<String>,
    last: (String, Option<Timestamp>),
}

impl Dates {
    pub fn new(zone: Tz, format: Option<String>) -> Self {
        Self { zone, format, last: (String::new(), None) }
    }
    pub fn read(&mut self, text: &str) -> Option<Timestamp> {
        if self.last.0 != text {
            self.last.1 = self.parse(text.trim());
            self.last.0.clear();
            self.last.0.push_str(text);
        }
        self.last.1
    }
    fn parse(&self, text: &str) -> Option<Timestamp> {
        let parsed = match &self.format {
            Some(format) => NaiveDateTime::parse_from_str(text, format)
                .ok()
                .or_else(|| chrono::NaiveDate::parse_from_str(text, format).ok().map(|d| d.and_time(chrono::NaiveTime::MIN)))
                .map(|t| Timestamp::from_local(t, self.zone)),
            None => Timestamp::parse_in(text, self.zone),
        };
        // Before 1970 no shop sold anything online; after 2200 it is a slip.
        parsed.filter(|t| (0..7_258_118_400_000_000).contains(&t.micros()))
    }
}

/// HTML to plain text: tags go, blocks become line breaks, entities become characters, scripts and styles vanish with what they hold.
pub fn html_to_text(html: &str) -> String {
    if !html.contains(['<', '&']) {
        return tidy(html);
    }
    let mut out = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let looks_like_tag = rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!' || c == '?');
        let Some(end) = rest.find('>').filter(|_| looks_like_tag) else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        let name: String =
            rest[1..end].trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let opening = !rest[1..end].starts_with('/');
        rest = &rest[end + 1..];
        match name.as_str() {
            "script" | "style" | "template" | "noscript" | "iframe" if opening => rest = after_closing(rest, &name),
            "p" | "div" | "br" | "li" | "ul" | "ol" | "tr" | "table" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => out.push('\n'),
            "td" | "th" => out.push(' '),
            _ => {}
        }
    }
    out.push_str(rest);
    tidy(&html_escape::decode_html_entities(&out))
}

fn after_closing<'a>(rest: &'a str, name: &str) -> &'a str {
    let lower = rest.to_ascii_lowercase();
    match lower.find(&format!("</{name}")) {
        Some(at) => rest[at..].find('>').map_or("", |end| &rest[at + end + 1..]),
        None => "",
    }
}

/// Runs of blanks to one, at most one empty line, no control characters.
fn tidy(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split(['\n', '\r']) {
        let line: String =
            line.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" ");
        if !line.is_empty() {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Words of which notes on stock are made; a text of nothing else is no title.
static NOTE_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    "damage damages damaged dagamed broken breakage breakages crushed cracked smashed smudges printing faulty mouldy rusty rust wet water unsaleable
     destroyed destory lost missing found find cant mixed mix wrong wrongly incorrect incorrectly coded code codes marked mrked barcode label check
     checked counted count adjust adjustment adjustments readjustment reverse previous temp test sample samples showroom show display mailout thrown throw
     given away returned credited creditted error oops entry stock stocks allocate sold sale sales sell as set sets by on in of for and no not
     is was had been put aside back into to with from some more shelf box boxes ctn carton pallet dotcom dotcomstock amazon ebay website fixed order
     orders online retail push cargo came ever only imported delivery rcvd historic computer difference made taig wax space whse etc a the air"
        .split_whitespace()
        .collect()
});

/// Of these, at least one must be there: `SET OF BOXES` is a title.
static NOTE_SIGNS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    "damage damages damaged dagamed broken breakage breakages crushed cracked smashed smudges faulty mouldy rusty wet unsaleable destroyed lost
     missing found mixed mix wrong wrongly incorrect incorrectly barcode check checked counted adjust adjustment adjustments readjustment reverse test
     showroom samples sample display mailout thrown throw given returned credited creditted error oops sold sales dotcom dotcomstock amazon ebay website
     aside push"
        .split_whitespace()
        .collect()
});

/// Whether a description is a note on stock (`damaged`, `?`, `check`, `wrongly coded 20713`) and not a title. Only for files that are known
/// to mix the two: elsewhere `Sample set` is something that is sold.
pub fn is_stock_note(description: &str) -> bool {
    if description.is_empty() || description.len() > 60 {
        return false;
    }
    let mut sign = false;
    let mut letters = false;
    for word in description.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|w| !w.is_empty()) {
        if word.chars().all(|c| c.is_ascii_digit()) {
            continue;
        }
        letters = true;
        let plain: String = word.chars().filter(|c| *c != '\'').flat_map(char::to_lowercase).collect();
        sign |= NOTE_SIGNS.contains(plain.as_str());
        if !NOTE_WORDS.contains(plain.as_str()) {
            return false;
        }
    }
    // Nothing but signs and digits is no title either.
    sign || !letters
}

/// Descriptions of what is charged and not sold.
pub fn is_charge(description: &str) -> bool {
    const CHARGES: &[&str] = &[
        "postage",
        "carriage",
        "next day carriage",
        "dotcom postage",
        "delivery",
        "shipping",
        "manual",
        "discount",
        "bank charges",
        "amazon fee",
        "cruk commission",
        "adjust bad debt",
        "handling fee",
        "tip",
    ];
    // The length keeps ordinary titles off the slow path.
    description.len() <= 20 && CHARGES.iter().any(|c| description.trim().eq_ignore_ascii_case(c))
}

/// An attribute's value: a whole number where it is written as one (`007` is not), else the text.
pub fn attribute(text: &str) -> serde_json::Value {
    match text.parse::<i64>() {
        Ok(n) if n.to_string() == text => n.into(),
        _ => text.into(),
    }
}

/// A text cut for a message.
pub fn shortened(text: &str) -> String {
    let mut out: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
    if text.chars().count() > 60 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(whole_number(" -80995 "), Some(-80_995));
        assert_eq!((whole_number("6.0"), whole_number("1,000"), whole_number("-1,234,567.00")), (Some(6), Some(1000), Some(-1_234_567)));
        for bad in ["", "6.5", "1,00", "six", "1e3", "6.", ",1", "99999999999999999999"] {
            assert_eq!(whole_number(bad), None, "{bad}");
        }
    }

    #[test]
    fn prices_as_shops_write_them() {
        let gbp = |t: &str| price(t, Currency::GBP).map(|m| (m.minor, m.currency.code().to_owned()));
        for (text, minor, currency) in [
            ("2.55", 255, "GBP"),
            ("-11062.06", -1_106_206, "GBP"),
            ("12.34 EUR", 1234, "EUR"),
            ("USD 1,234.50", 123_450, "USD"),
            ("£1,234", 123_400, "GBP"),
            ("1.234,50 €", 123_450, "EUR"),
            ("12,5", 1250, "GBP"),
            ("1'234.00 CHF", 123_400, "CHF"),
            ("1 200 JPY", 1200, "JPY"),
            ("0.005", 1, "GBP"),
        ] {
            assert_eq!(gbp(text), Ok((minor, currency.to_owned())), "{text}");
        }
        for bad in ["", "free", "12.34 POUNDS", "1,23,456", "1.2.3", "--5", "=1+1", "1e9", "NaN"] {
            assert!(gbp(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates() {
        let mut iso = Dates::new(Tz::Europe__London, None);
        assert_eq!(iso.read("2011-07-01 12:00:00").map(|t| t.to_string()), Some("2011-07-01T11:00:00Z".into()));
        assert_eq!(iso.read("01/07/2011"), None);
        assert_eq!(iso.read("1011-07-01"), None);
        let mut us = Dates::new(Tz::UTC, Some("%m/%d/%Y %H:%M".into()));
        assert_eq!(us.read("12/1/2010 8:26").map(|t| t.to_string()), Some("2010-12-01T08:26:00Z".into()));
    }

    #[test]
    fn html_becomes_text() {
        let html = "<p>Tin&nbsp;mug &amp; lid</p><script>alert('x')</script><ul><li>5 < 6</li><li>red</li></ul><!-- no -->";
        assert_eq!(html_to_text(html), "Tin mug & lid\n5 < 6\nred");
        assert_eq!(html_to_text("plain  text"), "plain text");
        assert_eq!(html_to_text("<style>x"), "");
        // Escaped tags become characters and stay characters.
        assert_eq!(html_to_text("&lt;b&gt;"), "<b>");
    }

    #[test]
    fn notes_are_told_from_titles() {
        for note in [
            "?",
            "??",
            "20713",
            "damaged",
            "DAMAGES",
            "check?",
            "wrongly coded 20713",
            "sold as set on dotcom",
            "thrown away-can't sell",
            "wet/rusty",
        ] {
            assert!(is_stock_note(note), "{note}");
        }
        for title in [
            "WHITE HANGING HEART T-LIGHT HOLDER",
            "SET OF BOXES",
            "WATER BOTTLE",
            "BOX SIGN",
            "Lost at Sea print",
            "DISPLAY STAND OAK",
            "",
            "SET 6 BOXES",
        ] {
            assert!(!is_stock_note(title), "{title}");
        }
        assert!(is_charge("POSTAGE") && is_charge("Next Day Carriage") && !is_charge("POSTAGE STAMP MUG"));
    }
}
