//! What may be said: the facts of a brief, in the forms in which texts say them.

use std::collections::HashSet;

use super::super::model::Brief;
use super::super::title;
use super::pattern;

/// What may be said, in the forms in which texts say it.
pub(super) struct Facts {
    /// Lower-case text of all facts, for looking words and phrases up.
    pub all: String,
    pub words: HashSet<String>,
    pub numbers: HashSet<String>,
    pub percents: HashSet<String>,
    /// Amounts that may stand beside a currency.
    pub amounts: HashSet<String>,
    pub currency_words: Vec<String>,
    /// Product, brand, shop and category as they may be quoted: taken out before claims about price and stock are looked for.
    pub names: Vec<String>,
    /// The product's own title, as written and made readable: what it says is its name, whatever else the word may mean ("Oak table no 1").
    pub titles: Vec<String>,
    /// Zehntel: a saving of 20 % is 8 折.
    pub fold: Option<String>,
}

impl Facts {
    pub fn of(brief: &Brief) -> Self {
        let readable = |t: &str| title::readable(t).unwrap_or_default();
        let mut texts =
            vec![brief.title.clone(), readable(&brief.title), brief.description.clone(), brief.shop.clone(), readable(&brief.shop)];
        for extra in [&brief.brand, &brief.category].into_iter().flatten() {
            texts.push(extra.clone());
            texts.push(readable(extra));
        }
        for (key, value) in &brief.attributes {
            texts.push(format!("{key} {value}"));
        }
        let mut amounts: HashSet<String> = HashSet::new();
        for money in [Some(brief.price), brief.sale()].into_iter().flatten() {
            amounts.extend(amount_forms(&money.to_string()));
        }
        if let Some(sale) = brief.sale() {
            let saved = crate::platform::Money::new(brief.price.minor - sale.minor, sale.currency);
            amounts.extend(amount_forms(&saved.to_string()));
        }
        let joined = texts.join(" \n ");
        let mut numbers: HashSet<String> = number_tokens(&joined).map(|(n, _, _)| normal_number(n)).collect();
        let mut percents: HashSet<String> = HashSet::new();
        for (number, _, end) in number_tokens(&joined) {
            if joined[end..].trim_start().starts_with(['%', '％']) {
                percents.insert(normal_number(number));
            }
        }
        percents.extend(brief.saving_percent().map(|p| p.to_string()));
        numbers.extend(amounts.iter().cloned());
        numbers.extend(percents.iter().cloned());
        numbers.extend(brief.stock.map(|n| n.to_string()));
        let mut names: Vec<String> =
            [Some(brief.title.as_str()), Some(brief.shop.as_str()), brief.brand.as_deref(), brief.category.as_deref()]
                .into_iter()
                .flatten()
                .flat_map(|t| [t.to_lowercase(), readable(t).to_lowercase()])
                .filter(|t| t.chars().count() >= 2)
                .collect();
        names.sort_by_key(|n| std::cmp::Reverse(n.len()));
        let mut titles = vec![brief.title.to_lowercase(), readable(&brief.title).to_lowercase()];
        titles.retain(|t| t.chars().count() >= 2);
        titles.sort_by_key(|t| std::cmp::Reverse(t.len()));
        let all = joined.to_lowercase();
        Self {
            words: words_of(&all).map(ToOwned::to_owned).collect(),
            all,
            numbers,
            percents,
            amounts,
            currency_words: currency_words(brief.price.currency.code()),
            names,
            titles,
            fold: brief.saving_percent().map(|p| normal_number(&format!("{}.{}", (100 - p) / 10, (100 - p) % 10))),
        }
    }

    /// The text (lower-case) without the names of product, brand, shop and category, whole or shortened.
    pub fn without_names(&self, text: &str) -> String {
        without(&self.names, text)
    }
    /// The text (lower-case) without the product's title, whole or shortened.
    pub fn without_title(&self, text: &str) -> String {
        without(&self.titles, text)
    }
}

fn without(names: &[String], text: &str) -> String {
    let mut out = text.to_lowercase().replace('’', "'");
    for name in names {
        let name = name.replace('’', "'");
        out = out.replace(name.as_str(), " § ");
        // A shortened title: its longest run of leading words that the text holds.
        let mut cut = name.as_str();
        while let Some((shorter, _)) = cut.rsplit_once(' ') {
            cut = shorter;
            if cut.chars().count() >= 6 && out.contains(cut) {
                out = out.replace(cut, " § ");
                break;
            }
        }
    }
    out
}

fn currency_words(code: &str) -> Vec<String> {
    let words: &[&str] = match code {
        "EUR" => &["€", "eur", "euro", "euros", "欧元"],
        "GBP" => &["£", "gbp", "pound", "pounds", "quid", "英镑"],
        "USD" => &["$", "usd", "us$", "dollar", "dollars", "美元"],
        "CNY" => &["¥", "￥", "cny", "rmb", "yuan", "元", "块", "人民币"],
        "JPY" => &["¥", "￥", "jpy", "yen", "円", "日元"],
        _ => &[],
    };
    words.iter().map(|w| (*w).to_owned()).chain([code.to_lowercase()]).collect()
}

/// Digits with inner points and commas, with their byte range.
pub(super) fn number_tokens(text: &str) -> impl Iterator<Item = (&str, usize, usize)> {
    pattern!(r"\d+(?:[.,]\d+)*").find_iter(text).map(|m| (m.as_str(), m.start(), m.end()))
}

/// One form for equal numbers: "1,299.00", "1299" and "1299,00" are one.
pub(super) fn normal_number(text: &str) -> String {
    let digits: String = text.chars().map(|c| c.to_digit(10).and_then(|d| char::from_digit(d, 10)).unwrap_or(c)).collect();
    let (whole, fraction) = match digits.rfind(['.', ',']) {
        Some(at) if digits.len() - at - 1 != 3 || digits.starts_with("0.") => (digits[..at].to_owned(), digits[at + 1..].to_owned()),
        _ => (digits.clone(), String::new()),
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match (whole.is_empty(), fraction.is_empty()) {
        (true, true) => "0".into(),
        (true, false) => format!("0.{fraction}"),
        (false, true) => whole.to_owned(),
        (false, false) => format!("{whole}.{fraction}"),
    }
}

fn amount_forms(shown: &str) -> Vec<String> {
    number_tokens(shown).map(|(n, _, _)| normal_number(n)).collect()
}

pub(super) fn words_of(lower: &str) -> impl Iterator<Item = &str> {
    lower
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|w| w.trim_matches('\''))
        .map(|w| w.strip_suffix("'s").unwrap_or(w))
        .filter(|w| !w.is_empty())
}
