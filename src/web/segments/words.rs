//! A rule in words, in the reader's language, with money in its currency, times in the reader's zone and segments by their names.

use std::collections::HashMap;

use crate::audience::rule::{ConsentChannel, Did, Field, PropertyTest, Rule, Scalar, Seen, Test, Times, TraitName, Trend, When, Which};
use crate::platform::clock::Timestamp;
use crate::platform::money::{Currency, Money};
use crate::web::format::{self, Reader};
use crate::web::i18n;

/// Longest text quoted in full.
const QUOTED: usize = 80;
/// Most values of a list that are named.
const NAMED: usize = 5;

/// How rules are told.
pub(super) struct Teller<'a> {
    pub reader: Reader,
    pub currency: Currency,
    /// Names of segments by key and by id.
    pub segments: &'a HashMap<String, String>,
}

impl Teller<'_> {
    fn fill(&self, key: &str, args: &[(&str, String)]) -> String {
        i18n::format(self.reader.locale, &format!("segments.{key}"), args)
    }
    fn word(&self, key: &str) -> String {
        self.fill(key, &[])
    }
    fn quoted(&self, text: &str) -> String {
        let short: String = text.chars().take(QUOTED).collect();
        self.fill("say.quoted", &[("text", if short.len() < text.len() { format!("{short}…") } else { short })])
    }
    fn time(&self, at: Timestamp) -> String {
        format::time(at, self.reader)
    }

    /// The whole rule.
    pub fn tell(&self, rule: &Rule) -> String {
        match rule {
            Rule::Everyone {} => self.word("say.everyone"),
            Rule::All { of } => self.group(of, "say.and"),
            Rule::Any { of } => self.group(of, "say.or"),
            Rule::Not { rule } => self.fill("say.not", &[("rule", self.tell(rule))]),
            Rule::Attribute(a) => {
                let name = match &a.field {
                    Field::Column(column) => self.word(&format!("column.{}", column.name())),
                    Field::Open(key) => self.quoted(key),
                };
                self.subject(name, &a.test, false)
            }
            Rule::Did(d) => self.did(d, false),
            Rule::DidNot(d) => self.did(&d.as_did(), true),
            Rule::Bought(b) => {
                let what = match (&b.category, &b.product) {
                    (None, None) => self.word("say.anything"),
                    (Some(c), None) => self.fill("say.in_category", &[("category", self.quoted(c))]),
                    (None, Some(p)) => self.fill("say.the_product", &[("product", self.quoted(p))]),
                    (Some(c), Some(p)) => self.fill("say.product_in", &[("product", self.quoted(p)), ("category", self.quoted(c))]),
                };
                self.fill("say.bought", &[("what", what), ("window", self.window(b.within_days))])
            }
            Rule::Rfm(r) => {
                let parts: Vec<String> = [("recency", r.recency), ("frequency", r.frequency), ("monetary", r.monetary)]
                    .into_iter()
                    .filter_map(|(name, range)| {
                        let (from, to) = range?;
                        let span = if from == to { from.to_string() } else { format!("{from}–{to}") };
                        Some(self.fill("say.quintile", &[("name", self.word(&format!("say.{name}"))), ("span", span)]))
                    })
                    .collect();
                parts.join(&self.word("say.comma"))
            }
            Rule::Trait(t) => {
                let money = t.name.column().ends_with("_minor");
                self.subject(self.trait_name(t.name), &t.test, money)
            }
            Rule::Engagement(e) => self.word(match e.trend {
                Trend::Rising => "say.rising",
                Trend::Falling => "say.falling",
                Trend::Steady => "say.steady",
            }),
            Rule::Seen(s) => self.seen(*s),
            Rule::Consent(c) => {
                let channel = if c.channel == ConsentChannel::Email { "email" } else { "ads" };
                self.word(&format!("say.{}_{channel}", c.is.name()))
            }
            Rule::InSegment(s) => {
                let name = self.segments.get(&s.segment).map_or(s.segment.as_str(), String::as_str);
                self.fill("say.in_segment", &[("segment", self.quoted(name))])
            }
            Rule::Bucket(b) => self.fill("say.bucket", &[("share", format::percent((b.to - b.from) as f64 / 10_000.0))]),
        }
    }

    fn group(&self, of: &[Rule], word: &str) -> String {
        let parts: Vec<String> = of
            .iter()
            .map(|rule| match rule {
                Rule::All { of } | Rule::Any { of } if of.len() > 1 => self.fill("say.group", &[("rule", self.tell(rule))]),
                _ => self.tell(rule),
            })
            .collect();
        parts.join(&self.word(word))
    }

    fn trait_name(&self, name: TraitName) -> String {
        self.word(&format!("trait.{}", name.column()))
    }

    fn value(&self, value: &Scalar, money: bool) -> String {
        match value {
            Scalar::Text(t) => self.quoted(t),
            Scalar::Number(n) if money => format::money(Money::new(n.round() as i64, self.currency)),
            Scalar::Number(n) => n.to_string(),
            Scalar::Bool(b) => self.word(if *b { "values.yes" } else { "values.no" }),
            Scalar::Time(t) => self.time(*t),
            Scalar::DaysAgo(d) => self.fill("say.days_ago", &[("n", d.to_string())]),
        }
    }

    fn subject(&self, name: String, test: &Test, money: bool) -> String {
        self.fill("say.subject", &[("name", name), ("test", self.test(test, money))])
    }

    fn test(&self, test: &Test, money: bool) -> String {
        let with = |op: &str, value: &Scalar| {
            let timed = matches!(value, Scalar::Time(_) | Scalar::DaysAgo(_));
            self.fill(&format!("{}.{op}", if timed { "say_time" } else { "say_op" }), &[("value", self.value(value, money))])
        };
        match test {
            Test::Eq { value } => with("eq", value),
            Test::Ne { value } => with("ne", value),
            Test::Lt { value } => with("lt", value),
            Test::Le { value } => with("le", value),
            Test::Gt { value } => with("gt", value),
            Test::Ge { value } => with("ge", value),
            Test::Contains { value } => self.fill("say_op.contains", &[("value", self.quoted(value))]),
            Test::StartsWith { value } => self.fill("say_op.starts_with", &[("value", self.quoted(value))]),
            Test::In { values } => {
                let named: Vec<String> = values.iter().take(NAMED).map(|v| self.value(v, money)).collect();
                let list = named.join(&self.word("say.comma"));
                let more = values.len().saturating_sub(NAMED);
                let list = if more > 0 { self.fill("say.more", &[("list", list), ("n", more.to_string())]) } else { list };
                self.fill("say_op.in", &[("value", list)])
            }
            Test::Exists {} => self.word("say.exists"),
            Test::Between { from, to } => self.fill("say.between", &[("from", self.value(from, money)), ("to", self.value(to, money))]),
        }
    }

    fn window(&self, days: Option<i64>) -> String {
        days.map_or_else(String::new, |d| self.fill("say.window", &[("n", d.to_string())]))
    }

    fn did(&self, d: &Did, never: bool) -> String {
        let category = d.category.as_ref().map_or_else(String::new, |c| self.fill("say.on_category", &[("category", self.quoted(c))]));
        let often = match d.times {
            _ if never => String::new(),
            Times::AtLeast(1) => String::new(),
            Times::AtLeast(n) => self.fill("say.at_least", &[("n", n.to_string())]),
            Times::AtMost(n) => self.fill("say.at_most", &[("n", n.to_string())]),
            Times::Exactly(n) => self.fill("say.exactly", &[("n", n.to_string())]),
        };
        let args = [
            ("event", self.quoted(&d.event)),
            ("category", category),
            ("where", self.conditions(&d.conditions)),
            ("often", often),
            ("window", self.window(d.within_days)),
        ];
        self.fill(if never { "say.did_not" } else { "say.did" }, &args)
    }

    fn conditions(&self, conditions: &[PropertyTest]) -> String {
        if conditions.is_empty() {
            return String::new();
        }
        let parts: Vec<String> = conditions.iter().map(|c| self.subject(self.quoted(&c.property), &c.test, false)).collect();
        self.fill("say.where", &[("conditions", parts.join(&self.word("say.and")))])
    }

    fn seen(&self, s: Seen) -> String {
        let which = if s.which == Which::First { "first" } else { "last" };
        match s.when {
            When::Before(t) => self.fill(&format!("say.{which}_before"), &[("time", self.time(t))]),
            When::After(t) => self.fill(&format!("say.{which}_after"), &[("time", self.time(t))]),
            When::WithinDays(d) => self.fill(&format!("say.{which}_within"), &[("n", d.to_string())]),
            When::NotWithinDays(d) => self.fill(&format!("say.{which}_longer"), &[("n", d.to_string())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::i18n::Locale;
    use serde_json::json;

    fn tell(locale: Locale, rule: serde_json::Value) -> String {
        let segments = HashMap::from([("vip".to_owned(), "Best customers".to_owned())]);
        let now = Timestamp::parse("2026-11-24T13:05:00Z").expect("time");
        let reader = Reader { locale, zone: chrono_tz::Europe::Berlin, now };
        Teller { reader, currency: Currency::EUR, segments: &segments }.tell(&Rule::parse(rule).expect("a rule"))
    }

    #[test]
    fn rules_read_like_sentences_in_both_languages() {
        let rule = json!({"type": "all", "of": [
            {"type": "attribute", "field": "country", "test": {"op": "in", "values": ["DE", "AT"]}},
            {"type": "any", "of": [
                {"type": "bought", "category": "Home > Kitchen", "within_days": 90},
                {"type": "did", "event": "Product Viewed", "times": {"at_least": 3}, "within_days": 30,
                 "where": [{"property": "price", "test": {"op": "gt", "value": 20}}]},
            ]},
            {"type": "trait", "trait": "revenue_minor", "test": {"op": "ge", "value": 10000}},
            {"type": "not", "rule": {"type": "in_segment", "segment": "vip"}},
        ]});
        assert_eq!(
            tell(Locale::En, rule.clone()),
            "country is one of “DE”, “AT” and (bought something in “Home > Kitchen” in the last 90 days or did “Product Viewed” where “price” \
             is above 20 at least 3 times in the last 30 days) and revenue is at least €100.00 and not (is in the segment “Best customers”)"
        );
        let zh = tell(Locale::Zh, rule);
        assert!(zh.contains("Best customers") && zh.contains("€100.00") && !zh.contains("segments."), "{zh}");
    }

    #[test]
    fn every_kind_has_words() {
        for (rule, words) in [
            (json!({"type":"everyone"}), "everyone"),
            (json!({"type":"did_not","event":"Order Completed","within_days":1}), "did not do “Order Completed” in the last day"),
            (json!({"type":"rfm","recency":[4,5],"monetary":[5,5]}), "recency 4–5 of 5, spending 5 of 5"),
            (json!({"type":"engagement","trend":"falling"}), "engagement is falling"),
            (json!({"type":"seen","which":"last","when":{"not_within_days":60}}), "last seen more than 60 days ago"),
            (json!({"type":"seen","which":"first","when":{"after":"2026-03-01T10:30:00Z"}}), "first seen after 1 Mar 2026, 11:30 CET"),
            (json!({"type":"consent","channel":"email","is":"never"}), "was never asked about e-mail"),
            (json!({"type":"bucket","from":0,"to":1000}), "belongs to a stable random 10.0 % of all people"),
            (
                json!({"type":"attribute","field":"last_seen_at","test":{"op":"lt","value":{"days_ago":30}}}),
                "last seen is before 30 days ago",
            ),
            (json!({"type":"attribute","field":"attributes.tier","test":{"op":"exists"}}), "“tier” is known"),
        ] {
            assert_eq!(tell(Locale::En, rule.clone()), words);
            let zh = tell(Locale::Zh, rule);
            assert!(!zh.contains("segments.") && !zh.contains('{'), "{zh}");
        }
    }
}
