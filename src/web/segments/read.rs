//! From the typed-in tree to a rule. What is wrong names the field it stands in.

use chrono_tz::Tz;
use serde_json::{Map, Value, json};

use super::draft::{Fields, Node};
use crate::audience::rule::{Column, Kind, MAX_DAYS, Rule, TraitName};
use crate::platform::Fault;
use crate::platform::clock::Timestamp;
use crate::platform::money::{Currency, Money};

/// What is to be mended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Why {
    /// A translation key.
    Key(String),
    /// From the rule's own checks.
    Fault(Fault),
}

/// Something to mend: where, and what.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wrong {
    /// `PATH:FIELD`, as the form names it.
    pub at: String,
    pub why: Why,
}

/// How texts are read: in whose zone and currency.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub zone: Tz,
    pub currency: Currency,
}

/// How a test's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Values {
    Text,
    Number,
    /// In the currency's own units; minor units in the rule.
    Money,
    YesNo,
    Time,
    DaysAgo,
}

impl Values {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Money => "money",
            Self::YesNo => "yes_no",
            Self::Time => "time",
            Self::DaysAgo => "days_ago",
        }
    }
    pub fn named(name: &str) -> Option<Self> {
        [Self::Text, Self::Number, Self::Money, Self::YesNo, Self::Time, Self::DaysAgo].into_iter().find(|v| v.name() == name)
    }
}

/// What may be chosen as values for a kind of field; the first is the default.
pub(super) fn values_of(kind: Kind) -> &'static [Values] {
    match kind {
        Kind::Text => &[Values::Text],
        Kind::Number => &[Values::Number],
        Kind::Time => &[Values::DaysAgo, Values::Time],
        Kind::Open => &[Values::Text, Values::Number, Values::YesNo, Values::Time],
    }
}

/// The comparisons that make sense for values of this kind.
pub(super) fn ops_of(kind: Kind, values: Values) -> &'static [&'static str] {
    match (kind, values) {
        (_, Values::Number | Values::Money) => &["eq", "ne", "lt", "le", "gt", "ge", "between", "in", "exists"],
        (_, Values::Time | Values::DaysAgo) => &["ge", "le", "gt", "lt", "between", "exists"],
        (_, Values::YesNo) => &["eq", "exists"],
        _ => &["eq", "ne", "contains", "starts_with", "in", "exists"],
    }
}

pub(super) fn column(name: &str) -> Option<Column> {
    Column::ALL.iter().copied().find(|c| c.name() == name)
}

/// What an attribute's field holds: one of the person's own columns, or (`attributes.NAME`, `other`) anything.
pub(super) fn field_kind(node: &Node) -> Kind {
    column(node.get("field")).map_or(if node.get("field").is_empty() { Kind::Text } else { Kind::Open }, Column::kind)
}

pub(super) fn trait_of(node: &Node) -> TraitName {
    TraitName::ALL.iter().copied().find(|t| t.column() == node.get("trait")).unwrap_or(TraitName::OrderCount)
}

/// Money is kept in minor units and written in the currency's own.
pub(super) fn trait_values(name: TraitName) -> Values {
    match name.kind() {
        Kind::Text => Values::Text,
        _ if name.column().ends_with("_minor") => Values::Money,
        _ => Values::Number,
    }
}

/// Reads the whole tree and checks every limit.
pub(super) fn rule(root: &Node, reading: Reading) -> Result<Rule, Vec<Wrong>> {
    let mut wrongs = Vec::new();
    let rule = node(root, "r", reading, &mut wrongs);
    match rule {
        Some(rule) if wrongs.is_empty() => match rule.check() {
            Ok(()) => Ok(rule),
            Err(error) => Err(vec![Wrong { at: "r:kind".into(), why: Why::Fault(error.why) }]),
        },
        _ => Err(wrongs),
    }
}

fn node(node: &Node, path: &str, reading: Reading, wrongs: &mut Vec<Wrong>) -> Option<Rule> {
    if node.is_group() {
        return group(node, path, reading, wrongs);
    }
    let before = wrongs.len();
    let mut scribe = Scribe { path, reading, wrongs };
    let json = scribe.leaf(node);
    if wrongs.len() > before {
        return None;
    }
    match Rule::parse(json) {
        Ok(rule) if node.negated() => Some(Rule::Not { rule: Box::new(rule) }),
        Ok(rule) => Some(rule),
        Err(error) => {
            wrongs.push(Wrong { at: format!("{path}:{}", field_of(&error.path)), why: Why::Fault(error.why) });
            None
        }
    }
}

fn group(node_: &Node, path: &str, reading: Reading, wrongs: &mut Vec<Wrong>) -> Option<Rule> {
    if node_.children.is_empty() {
        wrongs.push(Wrong { at: format!("{path}:kind"), why: Why::Key("segments.wrong.empty_group".into()) });
        return None;
    }
    let children: Vec<Option<Rule>> =
        node_.children.iter().enumerate().map(|(i, child)| node(child, &format!("{path}.{i}"), reading, wrongs)).collect();
    let mut of: Vec<Rule> = children.into_iter().collect::<Option<_>>()?;
    let any = matches!(node_.kind.as_str(), "any" | "none");
    let inner = if of.len() == 1 && path != "r" || of.len() == 1 && matches!(of[0], Rule::Everyone {}) {
        of.remove(0)
    } else if any {
        Rule::Any { of }
    } else {
        Rule::All { of }
    };
    Some(if matches!(node_.kind.as_str(), "none" | "not_all") { Rule::Not { rule: Box::new(inner) } } else { inner })
}

/// The form's field that a place in a rule (`rule.test.value`, `rule.where[0].property`) belongs to.
fn field_of(path: &str) -> String {
    let rest = path.trim_start_matches("rule").trim_start_matches('.');
    let condition = rest.strip_prefix("where[").and_then(|r| r.split_once(']'));
    let (prefix, rest) = condition.map_or((String::new(), rest), |(n, rest)| (format!("p{n}."), rest.trim_start_matches('.')));
    let field = match rest {
        r if r.starts_with("test.to") => "value2",
        r if r.starts_with("test") => "value",
        "property" => "name",
        "within_days" => "days",
        "times" => "n",
        "when" => "value",
        "" => "kind",
        other => other,
    };
    format!("{prefix}{field}")
}

struct Scribe<'a> {
    path: &'a str,
    reading: Reading,
    wrongs: &'a mut Vec<Wrong>,
}

impl Scribe<'_> {
    fn wrong(&mut self, field: &str, why: &str) {
        self.wrongs.push(Wrong { at: format!("{}:{field}", self.path), why: Why::Key(format!("segments.wrong.{why}")) });
    }

    fn text(&mut self, fields: &Fields, field: &str, prefix: &str) -> String {
        let text = fields.get(field).map_or("", |v| v.trim()).to_owned();
        if text.is_empty() {
            self.wrong(&format!("{prefix}{field}"), "missing");
        }
        text
    }

    /// Whole days; empty is `None`.
    fn days(&mut self, node: &Node, field: &str) -> Option<i64> {
        let text = node.get(field);
        if text.is_empty() {
            return None;
        }
        match text.parse::<i64>() {
            Ok(days) if (0..=MAX_DAYS).contains(&days) => Some(days),
            _ => {
                self.wrong(field, "days");
                None
            }
        }
    }

    fn whole(&mut self, node: &Node, field: &str, default: &str) -> i64 {
        let text = Some(node.get(field)).filter(|t| !t.is_empty()).unwrap_or(default);
        text.parse().unwrap_or_else(|_| {
            self.wrong(field, "whole");
            0
        })
    }

    fn time(&mut self, text: &str, field: &str) -> Value {
        match parse_time(text, self.reading.zone) {
            Some(at) => json!({ "time": at }),
            None => {
                self.wrong(field, if text.is_empty() { "missing" } else { "time" });
                Value::Null
            }
        }
    }

    fn scalar(&mut self, text: &str, values: Values, field: &str) -> Value {
        let number = |text: &str| text.replace(',', ".").parse::<f64>().ok().filter(|n| n.is_finite());
        if text.is_empty() && values != Values::YesNo {
            self.wrong(field, "missing");
            return Value::Null;
        }
        match values {
            Values::Text => Value::String(text.to_owned()),
            Values::YesNo => Value::Bool(text != "no"),
            Values::Time => self.time(text, field),
            Values::Number => match number(text) {
                Some(n) => json!(n),
                None => {
                    self.wrong(field, "number");
                    Value::Null
                }
            },
            Values::Money => match Money::parse(text, self.reading.currency) {
                Ok(money) => json!(money.minor),
                Err(_) => {
                    self.wrong(field, "money");
                    Value::Null
                }
            },
            Values::DaysAgo => match text.parse::<i64>().ok().filter(|d| (0..=MAX_DAYS).contains(d)) {
                Some(days) => json!({ "days_ago": days }),
                None => {
                    self.wrong(field, "days");
                    Value::Null
                }
            },
        }
    }

    /// A test out of the fields `op`, `value`, `value2`.
    fn test(&mut self, fields: &Fields, values: Values, kind: Kind, prefix: &str) -> Value {
        let get = |field: &str| fields.get(field).map_or("", |v| v.trim());
        let ops = ops_of(kind, values);
        let op = ops.iter().copied().find(|o| *o == get("op")).unwrap_or(ops[0]);
        let (first, second) = (format!("{prefix}value"), format!("{prefix}value2"));
        match op {
            "exists" => json!({ "op": op }),
            "between" => {
                let (from, to) = (self.scalar(get("value"), values, &first), self.scalar(get("value2"), values, &second));
                json!({ "op": op, "from": from, "to": to })
            }
            "in" => {
                let lines: Vec<&str> = get("value").lines().map(str::trim).filter(|l| !l.is_empty()).collect();
                if lines.is_empty() {
                    self.wrong(&first, "missing");
                }
                let list: Vec<Value> = lines.into_iter().map(|line| self.scalar(line, values, &first)).collect();
                json!({ "op": op, "values": list })
            }
            _ => json!({ "op": op, "value": self.scalar(get("value"), values, &first) }),
        }
    }

    fn leaf(&mut self, node: &Node) -> Value {
        match node.kind.as_str() {
            "attribute" => self.attribute(node),
            "did" => self.did(node),
            "bought" => {
                let mut map = typed("bought");
                put(&mut map, "category", node.get("category"));
                put(&mut map, "product", node.get("product"));
                self.put_days(&mut map, node);
                Value::Object(map)
            }
            "trait" => {
                let name = trait_of(node);
                let test = self.test(&node.fields, trait_values(name), name.kind(), "");
                json!({ "type": "trait", "trait": name.column(), "test": test })
            }
            "rfm" => self.rfm(node),
            "engagement" => {
                let trend = chosen(node.get("trend"), &["rising", "falling", "steady"]);
                let percent = self.whole(node, "threshold", "10");
                json!({ "type": "engagement", "trend": trend, "threshold": percent as f64 / 100.0 })
            }
            "seen" => self.seen(node),
            "consent" => json!({
                "type": "consent",
                "channel": chosen(node.get("channel"), &["email", "ads"]),
                "is": chosen(node.get("is"), &["subscribed", "unsubscribed", "never"]),
            }),
            "in_segment" => json!({ "type": "in_segment", "segment": self.text(&node.fields, "segment", "") }),
            "bucket" => {
                let (from, to) = (self.basis_points(node, "from", "0"), self.basis_points(node, "to", "10"));
                json!({ "type": "bucket", "from": from, "to": to })
            }
            "json" => serde_json::from_str(node.get("json")).unwrap_or_else(|_| {
                self.wrong("json", "json");
                Value::Null
            }),
            _ => json!({ "type": "everyone" }),
        }
    }

    fn put_days(&mut self, map: &mut Map<String, Value>, node: &Node) {
        if let Some(days) = self.days(node, "days") {
            map.insert("within_days".into(), json!(days));
        }
    }

    /// Per cent with up to two decimals, as one of 10,000.
    fn basis_points(&mut self, node: &Node, field: &str, default: &str) -> i64 {
        let text = Some(node.get(field)).filter(|t| !t.is_empty()).unwrap_or(default);
        match text.replace(',', ".").parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => (percent * 100.0).round() as i64,
            _ => {
                self.wrong(field, "percent");
                0
            }
        }
    }

    fn attribute(&mut self, node: &Node) -> Value {
        let field = match node.get("field") {
            "" => "country".to_owned(),
            "other" => format!("attributes.{}", self.text(&node.fields, "name", "")),
            field => field.to_owned(),
        };
        let kind = field_kind(node);
        let values = chosen_values(node.get("values"), values_of(kind));
        json!({ "type": "attribute", "field": field, "test": self.test(&node.fields, values, kind, "") })
    }

    fn did(&mut self, node: &Node) -> Value {
        let never = node.get("often") == "never";
        let mut map = typed(if never { "did_not" } else { "did" });
        map.insert("event".into(), Value::String(self.text(&node.fields, "event", "")));
        if !never {
            let often = chosen(node.get("often"), &["at_least", "at_most", "exactly"]);
            let n = self.whole(node, "n", "1");
            map.insert("times".into(), json!({ often: n }));
        }
        put(&mut map, "category", node.get("category"));
        self.put_days(&mut map, node);
        let conditions: Vec<Value> = node
            .conditions
            .iter()
            .enumerate()
            .map(|(i, fields)| {
                let prefix = format!("p{i}.");
                let property = self.text(fields, "name", &prefix);
                let values = chosen_values(fields.get("values").map_or("", String::as_str), values_of(Kind::Open));
                json!({ "property": property, "test": self.test(fields, values, Kind::Open, &prefix) })
            })
            .collect();
        if !conditions.is_empty() {
            map.insert("where".into(), Value::Array(conditions));
        }
        Value::Object(map)
    }

    fn rfm(&mut self, node: &Node) -> Value {
        let mut map = typed("rfm");
        for name in ["recency", "frequency", "monetary"] {
            let (from, to) = (node.get(&format!("{name}_from")), node.get(&format!("{name}_to")));
            if from.is_empty() && to.is_empty() {
                continue;
            }
            let from = self.whole(node, &format!("{name}_from"), "1");
            let to = self.whole(node, &format!("{name}_to"), "5");
            map.insert(name.into(), json!([from.min(to), from.max(to)]));
        }
        if map.len() == 1 {
            self.wrong("recency_from", "rfm");
        }
        Value::Object(map)
    }

    fn seen(&mut self, node: &Node) -> Value {
        let when = chosen(node.get("when"), &["within_days", "not_within_days", "before", "after"]);
        let value = match when {
            "before" | "after" => match parse_time(node.get("value"), self.reading.zone) {
                Some(at) => json!(at),
                None => {
                    self.wrong("value", if node.get("value").is_empty() { "missing" } else { "time" });
                    Value::Null
                }
            },
            _ => json!(self.days(node, "value").unwrap_or(30)),
        };
        json!({ "type": "seen", "which": chosen(node.get("which"), &["last", "first"]), "when": { when: value } })
    }
}

fn typed(kind: &str) -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!(kind))])
}

fn put(map: &mut Map<String, Value>, name: &str, text: &str) {
    if !text.is_empty() {
        map.insert(name.to_owned(), json!(text));
    }
}

/// One of the words; the first where it is none of them.
pub(super) fn chosen<'a>(text: &str, words: &[&'a str]) -> &'a str {
    words.iter().copied().find(|w| *w == text).unwrap_or(words[0])
}

pub(super) fn chosen_values(name: &str, among: &[Values]) -> Values {
    Values::named(name).filter(|v| among.contains(v)).unwrap_or(among[0])
}

/// `2026-01-31T14:05`, with or without seconds, or a date, in the reader's zone.
pub(super) fn parse_time(text: &str, zone: Tz) -> Option<Timestamp> {
    use chrono::{NaiveDate, NaiveDateTime};
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|f| NaiveDateTime::parse_from_str(text, f).ok());
    match local {
        Some(local) => Some(Timestamp::from_local(local, zone)),
        None => NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| Timestamp::from_date(date, zone)),
    }
}
