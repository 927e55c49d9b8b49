//! The phrase grammar: a few hundred hand-written phrases per language, put together by seed. No model, no network, always the same words
//! for the same campaign, variant and product.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::Deserialize;

use super::guardrails::{self, limits};
use super::model::{
    Brief, Copy, CopyChannel, Finding, FindingKind, Length, Locale, Occasion, SLOT_FIRST_NAME, SLOT_PRICE, Severity, Tone, has_error,
};
use super::title;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToneWords {
    product: Vec<String>,
    product_plural: Vec<String>,
    closing: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    subject: Vec<String>,
    headline: Vec<String>,
    opening: Vec<String>,
    banner_headline: Vec<String>,
    banner_body: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct OccasionWords {
    preheader: Vec<String>,
    #[serde(flatten)]
    cells: HashMap<Tone, Cell>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Phrases {
    tone: HashMap<Tone, ToneWords>,
    greeting: HashMap<Tone, Vec<String>>,
    cta: HashMap<Occasion, Vec<String>>,
    occasion: HashMap<Occasion, OccasionWords>,
}

const EN: &str = include_str!("phrases/en.toml");
const ZH: &str = include_str!("phrases/zh.toml");

pub(super) fn source(locale: Locale) -> &'static str {
    match locale {
        Locale::En => EN,
        Locale::Zh => ZH,
    }
}

fn phrases(locale: Locale) -> &'static Phrases {
    static BOTH: [OnceLock<Phrases>; 2] = [OnceLock::new(), OnceLock::new()];
    let slot = &BOTH[usize::from(locale == Locale::Zh)];
    // The files are compiled in; a test parses both, so that this cannot fail in a release.
    slot.get_or_init(|| toml::from_str(source(locale)).unwrap_or_else(|e| unreachable!("phrases of {locale}: {e}")))
}

/// A small deterministic chooser (splitmix64).
struct Chooser(u64);

impl Chooser {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// The list's items in an order of this chooser's own.
    fn order<'a>(&mut self, items: &'a [String]) -> Vec<&'a str> {
        let mut out: Vec<&str> = items.iter().map(String::as_str).collect();
        for i in (1..out.len()).rev() {
            let bound = u64::try_from(i + 1).unwrap_or(1);
            out.swap(i, usize::try_from(self.next() % bound).unwrap_or(0));
        }
        out
    }
}

/// The facts in the form in which phrases take them.
struct Facts {
    title: String,
    plural: bool,
    shop: String,
    brand: Option<String>,
    category: Option<String>,
    was: Option<String>,
    saving: Option<String>,
}

/// Room below which a shortened title says too little.
const MIN_TITLE: usize = 10;
/// Room that a first name is counted with.
const NAME_WIDTH: usize = 12;

impl Facts {
    fn of(brief: &Brief) -> Option<Self> {
        let title = title::readable(&brief.title)?;
        Some(Self {
            plural: brief.locale == Locale::En && title::is_plural(&title),
            title,
            shop: title::readable(&brief.shop).unwrap_or_default(),
            brand: brief.brand.as_deref().and_then(title::readable),
            category: brief.category.as_deref().and_then(title::readable).filter(|c| title::width(c) <= 30),
            was: brief.sale().map(|_| brief.price.to_string()),
            // A saving of one or two per cent is true and sounds petty.
            saving: brief.saving_percent().filter(|p| *p >= 5).map(|p| p.to_string()),
        })
    }

    /// The phrase with its tokens filled, at most `max` wide; `None` where a fact is missing or it does not fit.
    fn fill(&self, phrase: &str, max: usize, locale: Locale, price_width: usize) -> Option<String> {
        let mut text = phrase.to_owned();
        let optional = [("[brand]", &self.brand), ("[category]", &self.category), ("[was]", &self.was), ("[saving]", &self.saving)];
        for (token, fact) in optional {
            if text.contains(token) {
                text = text.replace(token, fact.as_deref()?);
            }
        }
        if text.contains("[shop]") {
            if self.shop.is_empty() {
                return None;
            }
            text = text.replace("[shop]", &self.shop);
        }
        let (is, it) = if self.plural { ("are", "them") } else { ("is", "it") };
        text = text.replace("[is]", is).replace("[it]", it);
        let slots = text.matches(SLOT_PRICE).count() * price_width.saturating_sub(SLOT_PRICE.len());
        let names = text.matches(SLOT_FIRST_NAME).count();
        let extra = slots + names * NAME_WIDTH.saturating_sub(SLOT_FIRST_NAME.len());
        if text.contains("[title]") {
            // Blanks that Chinese typography puts around Latin words count, too.
            let margin = if locale == Locale::Zh { 2 } else { 0 };
            let others = title::width(&text.replace("[title]", "")) + extra + margin;
            let room = max.checked_sub(others)?;
            if title::width(&self.title) > room && room < MIN_TITLE {
                return None;
            }
            text = text.replace("[title]", &title::shorten(&self.title, room));
        }
        let text = if locale == Locale::Zh { tidy_zh(&text) } else { text };
        (title::width(&text) + extra <= max).then_some(text)
    }
}

/// Chinese typography: blanks between scripts, none beside full-width marks.
fn tidy_zh(text: &str) -> String {
    let mut out = title::space_scripts(text);
    for mark in ["，", "。", "！", "？", "：", "、"] {
        out = out.replace(&format!(" {mark}"), mark).replace(&format!("{mark} "), mark);
    }
    out
}

/// Writes copy from the grammar. Tries a few seeds against the guardrails; the reason comes back where none passes.
pub fn write(brief: &Brief, seed: u64) -> Result<Copy, Vec<Finding>> {
    let mut last = Vec::new();
    for attempt in 0..6_u64 {
        match compose(brief, seed.wrapping_add(attempt.wrapping_mul(0x5851_F42D_4C95_7F2D))) {
            Ok(copy) => {
                let findings = guardrails::check(&copy, brief);
                if !has_error(&findings) {
                    return Ok(copy);
                }
                last = findings;
            }
            Err(finding) => return Err(vec![finding]),
        }
    }
    Err(last)
}

fn unusable(text: &str, message: &str) -> Finding {
    Finding {
        kind: FindingKind::Empty,
        severity: Severity::Error,
        field: "facts".into(),
        text: text.chars().take(80).collect(),
        message: message.into(),
    }
}

/// An occasion that the facts do not bear out is told as a plain recommendation.
fn truthful(brief: &Brief) -> Occasion {
    match brief.occasion {
        Occasion::PriceDrop if brief.sale().is_none() => Occasion::Recommendation,
        Occasion::BackInStock if brief.stock.is_some_and(|n| n <= 0) => Occasion::Recommendation,
        other => other,
    }
}

fn compose(brief: &Brief, seed: u64) -> Result<Copy, Finding> {
    let facts = Facts::of(brief).ok_or_else(|| unusable(&brief.title, "The product's title has nothing readable in it."))?;
    let book = phrases(brief.locale);
    let occasion = truthful(brief);
    let (Some(words), Some(tone)) = (book.occasion.get(&occasion), book.tone.get(&brief.tone)) else {
        return Err(unusable(occasion.as_str(), "There are no phrases for this occasion."));
    };
    let Some(cell) = words.cells.get(&brief.tone) else {
        return Err(unusable(brief.tone.as_str(), "There are no phrases for this tone."));
    };
    let limits = limits(brief.channel);
    let price_width = title::width(&brief.price_now().to_string());
    let mut chooser = Chooser(seed);
    let mut pick = |list: &[String], max: usize, what: &str| -> Result<String, Finding> {
        chooser
            .order(list)
            .into_iter()
            .find_map(|phrase| facts.fill(phrase, max, brief.locale, price_width))
            .ok_or_else(|| unusable(what, "No phrase fits these facts within the length allowed."))
    };
    let cta = pick(book.cta.get(&occasion).map_or(&[][..], Vec::as_slice), limits.cta, "cta")?;
    if brief.channel == CopyChannel::Banner {
        return Ok(Copy {
            headline: pick(&cell.banner_headline, limits.headline, "headline")?,
            body: pick(&cell.banner_body, limits.body, "body")?,
            cta,
            ..Copy::default()
        });
    }
    let subject = pick(&cell.subject, limits.subject, "subject")?;
    let preheader = pick(&words.preheader, limits.preheader, "preheader")?;
    let headline = pick(&cell.headline, limits.headline, "headline")?;
    let greeting = pick(book.greeting.get(&brief.tone).map_or(&[][..], Vec::as_slice), 60, "greeting").unwrap_or_default();
    let opening = pick(&cell.opening, 200, "opening")?;
    let product_list = if facts.plural && !tone.product_plural.is_empty() { &tone.product_plural } else { &tone.product };
    let mut sentences = vec![open_with(&greeting, &opening, brief.locale), pick(product_list, 220, "product")?];
    if brief.length == Length::Long
        && let Some(sentence) = description_sentence(brief)
    {
        sentences.push(sentence);
    }
    if brief.length != Length::Short {
        sentences.push(pick(&tone.closing, 120, "closing")?);
    }
    let joiner = if brief.locale == Locale::Zh { "" } else { " " };
    Ok(Copy { subject, preheader, headline, body: sentences.join(joiner), cta })
}

fn open_with(greeting: &str, opening: &str, locale: Locale) -> String {
    match (greeting.is_empty(), locale) {
        (true, _) => title::capitalise(opening),
        (false, Locale::Zh) => format!("{greeting}{opening}"),
        (false, Locale::En) => format!("{greeting} {opening}"),
    }
}

/// The first sentence of the shop's own description, where it is short, clean and in the right script.
fn description_sentence(brief: &Brief) -> Option<String> {
    let plain = title::one_line(&brief.description.chars().take(600).collect::<String>());
    let end = plain
        .char_indices()
        .find(|(at, c)| matches!(c, '。') || (matches!(c, '.') && plain[at + 1..].starts_with(' ')))
        .map_or(plain.len(), |(at, c)| at + c.len_utf8());
    let mut sentence = plain[..end].trim().to_owned();
    if !(12..=160).contains(&title::width(&sentence)) || sentence.contains(['<', '>', '{', '}', '!', '！']) {
        return None;
    }
    if !sentence.ends_with(['.', '。']) {
        sentence.push(if brief.locale == Locale::Zh { '。' } else { '.' });
    }
    let probe = Copy { headline: "x".into(), body: sentence.clone(), cta: "x".into(), ..Copy::default() };
    let clean = guardrails::check(&probe, brief).iter().all(|f| f.field != "body" || f.severity != Severity::Error);
    clean.then(|| title::capitalise(&sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copywriter::tests::brief;
    use crate::platform::Money;

    #[test]
    fn both_books_are_complete() {
        for locale in Locale::ALL {
            let book = phrases(*locale);
            let mut count = 0;
            for occasion in Occasion::ALL {
                assert!(book.cta[occasion].len() >= 4);
                for tone in Tone::ALL {
                    let cell = &book.occasion[occasion].cells[tone];
                    count +=
                        cell.subject.len() + cell.headline.len() + cell.opening.len() + cell.banner_headline.len() + cell.banner_body.len();
                }
            }
            assert!(count >= 380, "{locale}: {count} phrases");
        }
    }

    #[test]
    fn every_combination_passes_the_guardrails() {
        let mut failures = Vec::new();
        for locale in Locale::ALL {
            for occasion in Occasion::ALL {
                for tone in Tone::ALL {
                    for channel in CopyChannel::ALL {
                        for seed in 0..8 {
                            let mut brief = brief(*locale);
                            (brief.occasion, brief.tone, brief.channel) = (*occasion, *tone, *channel);
                            brief.sale_price = Some(Money::new(1990, brief.price.currency));
                            let copy = compose(&brief, seed).expect("composes");
                            let findings = guardrails::check(&copy, &brief);
                            if !findings.is_empty() {
                                failures.push(format!("{locale} {occasion} {tone} {channel}: {copy:?} {findings:?}"));
                            }
                        }
                    }
                }
            }
        }
        failures.sort_unstable();
        failures.dedup_by_key(|f| f.split_once("[Finding").map(|(_, rest)| rest.to_owned()));
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }

    #[test]
    fn the_same_seed_says_the_same_and_others_differ() {
        let brief = brief(Locale::En);
        assert_eq!(write(&brief, 7), write(&brief, 7));
        let different: std::collections::HashSet<String> = (0..20).filter_map(|s| write(&brief, s).ok()).map(|c| c.subject).collect();
        assert!(different.len() >= 3, "{different:?}");
    }

    #[test]
    fn a_price_drop_without_a_sale_price_claims_none() {
        let mut brief = brief(Locale::En);
        brief.occasion = Occasion::PriceDrop;
        brief.sale_price = None;
        for seed in 0..20 {
            let copy = write(&brief, seed).expect("writes");
            let all = format!("{copy:?}").to_lowercase();
            assert!(!all.contains("off") && !all.contains("instead of") && !all.contains("lower"), "{all}");
        }
    }

    #[test]
    fn a_title_without_words_is_dropped_with_a_reason() {
        let mut brief = brief(Locale::En);
        brief.title = "??".into();
        let findings = write(&brief, 1).expect_err("dropped");
        assert_eq!((findings[0].field.as_str(), findings[0].severity), ("facts", Severity::Error));
    }
}
