//! From a rule to the tree that the form shows. What the form cannot say exactly stands there as JSON, so that editing never changes a rule
//! unseen.

use super::draft::{Fields, Node};
use super::read::{self, Reading, Values, trait_values, values_of};
use crate::audience::rule::{Did, Kind, Rule, Scalar, Test, Times, Trend, When, Which};
use crate::platform::clock::Timestamp;
use crate::platform::money::Money;

/// The tree of a rule. Its root is a group.
pub(super) fn node(rule: &Rule, reading: Reading) -> Node {
    let node = part(rule, reading);
    if node.is_group() { node } else { Node::group("all", vec![node]) }
}

fn part(rule: &Rule, reading: Reading) -> Node {
    let parts = |of: &[Rule]| of.iter().map(|r| part(r, reading)).collect();
    match rule {
        Rule::All { of } => Node::group("all", parts(of)),
        Rule::Any { of } => Node::group("any", parts(of)),
        Rule::Not { rule } => match &**rule {
            Rule::All { of } => Node::group("not_all", parts(of)),
            Rule::Any { of } => Node::group("none", parts(of)),
            Rule::Not { .. } => Node::group("not_all", vec![part(rule, reading)]),
            inner => exact(inner, reading).with("not", "on"),
        },
        leaf => exact(leaf, reading),
    }
}

/// The leaf, or its JSON where reading the leaf would give another rule.
fn exact(rule: &Rule, reading: Reading) -> Node {
    let node = leaf(rule, reading);
    let alone = Node::group("all", vec![node.clone(), Node::leaf("everyone")]);
    match read::rule(&alone, reading) {
        Ok(Rule::All { of }) if of.first() == Some(rule) => node,
        _ => Node::leaf("json").with("json", serde_json::to_string(rule).unwrap_or_default()),
    }
}

/// A time as `datetime-local` writes it.
pub(super) fn local_time(at: Timestamp, reading: Reading) -> String {
    let local = at.in_zone(reading.zone);
    let seconds = local.format("%S").to_string() != "00";
    local.format(if seconds { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M" }).to_string()
}

/// An amount without its symbol.
fn amount(minor: f64, reading: Reading) -> String {
    let text = Money::new(minor.round() as i64, reading.currency).to_string();
    text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | '-')).collect()
}

fn scalar(value: &Scalar, values: Values, reading: Reading) -> String {
    match value {
        Scalar::Text(t) => t.clone(),
        Scalar::Number(n) if values == Values::Money => amount(*n, reading),
        Scalar::Number(n) => n.to_string(),
        Scalar::Bool(b) => (if *b { "yes" } else { "no" }).to_owned(),
        Scalar::Time(t) => local_time(*t, reading),
        Scalar::DaysAgo(d) => d.to_string(),
    }
}

fn kind_of(value: &Scalar) -> Values {
    match value {
        Scalar::Text(_) => Values::Text,
        Scalar::Number(_) => Values::Number,
        Scalar::Bool(_) => Values::YesNo,
        Scalar::Time(_) => Values::Time,
        Scalar::DaysAgo(_) => Values::DaysAgo,
    }
}

/// The fields `op`, `values`, `value`, `value2` of a test.
fn test(test: &Test, kind: Kind, money: bool, reading: Reading) -> Fields {
    let mut fields = Fields::new();
    let text = |value: &Scalar| scalar(value, if money { Values::Money } else { kind_of(value) }, reading);
    let (op, first) = match test {
        Test::Eq { value } => ("eq", Some(value)),
        Test::Ne { value } => ("ne", Some(value)),
        Test::Lt { value } => ("lt", Some(value)),
        Test::Le { value } => ("le", Some(value)),
        Test::Gt { value } => ("gt", Some(value)),
        Test::Ge { value } => ("ge", Some(value)),
        Test::Contains { .. } => ("contains", None),
        Test::StartsWith { .. } => ("starts_with", None),
        Test::In { values } => ("in", values.first()),
        Test::Exists {} => ("exists", None),
        Test::Between { from, .. } => ("between", Some(from)),
    };
    fields.insert("op".into(), op.into());
    if let Some(first) = first {
        fields.insert("values".into(), kind_of(first).name().into());
        fields.insert("value".into(), text(first));
    } else {
        fields.insert("values".into(), values_of(kind)[0].name().into());
    }
    match test {
        Test::Contains { value } | Test::StartsWith { value } => {
            fields.insert("value".into(), value.clone());
        }
        Test::In { values } => {
            fields.insert("value".into(), values.iter().map(text).collect::<Vec<_>>().join("\n"));
        }
        Test::Between { to, .. } => {
            fields.insert("value2".into(), text(to));
        }
        _ => {}
    }
    fields
}

fn leaf(rule: &Rule, reading: Reading) -> Node {
    let days = |node: Node, days: Option<i64>| days.map_or(node.clone(), |d| node.with("days", d.to_string()));
    let optional = |node: Node, name: &str, text: &Option<String>| match text {
        Some(text) => node.with(name, text.clone()),
        None => node,
    };
    match rule {
        Rule::Attribute(a) => {
            let field = String::from(a.field.clone());
            let mut node = Node::leaf("attribute").with("field", field);
            let kind = read::field_kind(&node);
            node.fields.extend(test(&a.test, kind, false, reading));
            node
        }
        Rule::Did(d) => did(d, reading),
        Rule::DidNot(d) => did(&d.as_did(), reading).with("often", "never"),
        Rule::Bought(b) => {
            let node = optional(optional(Node::leaf("bought"), "category", &b.category), "product", &b.product);
            days(node, b.within_days)
        }
        Rule::Trait(t) => {
            let mut node = Node::leaf("trait").with("trait", t.name.column());
            node.fields.extend(test(&t.test, t.name.kind(), trait_values(t.name) == Values::Money, reading));
            node
        }
        Rule::Rfm(r) => {
            let mut node = Node::leaf("rfm");
            for (name, range) in [("recency", r.recency), ("frequency", r.frequency), ("monetary", r.monetary)] {
                if let Some((from, to)) = range {
                    node = node.with(&format!("{name}_from"), from.to_string()).with(&format!("{name}_to"), to.to_string());
                }
            }
            node
        }
        Rule::Engagement(e) => {
            let trend = match e.trend {
                Trend::Rising => "rising",
                Trend::Falling => "falling",
                Trend::Steady => "steady",
            };
            Node::leaf("engagement").with("trend", trend).with("threshold", format!("{}", (e.threshold * 100.0).round()))
        }
        Rule::Seen(s) => {
            let which = if s.which == Which::First { "first" } else { "last" };
            let (when, value) = match s.when {
                When::Before(t) => ("before", local_time(t, reading)),
                When::After(t) => ("after", local_time(t, reading)),
                When::WithinDays(d) => ("within_days", d.to_string()),
                When::NotWithinDays(d) => ("not_within_days", d.to_string()),
            };
            Node::leaf("seen").with("which", which).with("when", when).with("value", value)
        }
        Rule::Consent(c) => {
            let channel = if c.channel == crate::audience::rule::ConsentChannel::Email { "email" } else { "ads" };
            Node::leaf("consent").with("channel", channel).with("is", c.is.name())
        }
        Rule::InSegment(s) => Node::leaf("in_segment").with("segment", s.segment.clone()),
        Rule::Bucket(b) => {
            let percent = |bp: i64| format!("{}", bp as f64 / 100.0);
            Node::leaf("bucket").with("from", percent(b.from)).with("to", percent(b.to))
        }
        _ => Node::leaf("everyone"),
    }
}

fn did(d: &Did, reading: Reading) -> Node {
    let often = match d.times {
        Times::AtLeast(_) => "at_least",
        Times::AtMost(_) => "at_most",
        Times::Exactly(_) => "exactly",
    };
    let mut node = Node::leaf("did").with("event", d.event.clone()).with("often", often).with("n", d.times.n().to_string());
    if let Some(days) = d.within_days {
        node = node.with("days", days.to_string());
    }
    if let Some(category) = &d.category {
        node = node.with("category", category.clone());
    }
    for condition in &d.conditions {
        let mut fields = test(&condition.test, Kind::Open, false, reading);
        fields.insert("name".into(), condition.property.clone());
        node.conditions.push(fields);
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::money::Currency;
    use serde_json::json;

    fn reading() -> Reading {
        Reading { zone: chrono_tz::Europe::Berlin, currency: Currency::EUR }
    }

    #[test]
    fn every_kind_of_rule_comes_back_as_it_was() {
        let leaves = [
            json!({"type":"attribute","field":"country","test":{"op":"in","values":["DE","AT"]}}),
            json!({"type":"attribute","field":"attributes.tier","test":{"op":"eq","value":3}}),
            json!({"type":"attribute","field":"attributes.vip","test":{"op":"eq","value":false}}),
            json!({"type":"attribute","field":"attributes.since","test":{"op":"lt","value":{"time":"2026-01-01T00:00:00Z"}}}),
            json!({"type":"attribute","field":"last_seen_at","test":{"op":"between","from":{"days_ago":90},"to":{"days_ago":30}}}),
            json!({"type":"attribute","field":"email","test":{"op":"exists"}}),
            json!({"type":"attribute","field":"city","test":{"op":"starts_with","value":"Mün"}}),
            json!({"type":"did","event":"Product Viewed","times":{"at_least":3},"within_days":30,"category":"Home > Kitchen",
                "where":[{"property":"price","test":{"op":"between","from":1.5,"to":20}},{"property":"color","test":{"op":"ne","value":"red"}}]}),
            json!({"type":"did","event":"Order Completed","times":{"exactly":0}}),
            json!({"type":"did_not","event":"Order Completed","within_days":90}),
            json!({"type":"bought","category":"Home","within_days":180}),
            json!({"type":"bought","product":"SKU 7"}),
            json!({"type":"bought"}),
            json!({"type":"rfm","recency":[4,5],"monetary":[5,5]}),
            json!({"type":"trait","trait":"revenue_minor","test":{"op":"ge","value":12345}}),
            json!({"type":"trait","trait":"top_category","test":{"op":"eq","value":"Home"}}),
            json!({"type":"trait","trait":"order_count","test":{"op":"between","from":2,"to":5}}),
            json!({"type":"engagement","trend":"falling","threshold":0.25}),
            json!({"type":"seen","which":"first","when":{"after":"2026-03-01T10:30:00Z"}}),
            json!({"type":"seen","which":"last","when":{"not_within_days":60}}),
            json!({"type":"consent","channel":"ads","is":"never"}),
            json!({"type":"in_segment","segment":"vip"}),
            json!({"type":"bucket","from":0,"to":1234}),
            json!({"type":"not","rule":{"type":"bought"}}),
            json!({"type":"not","rule":{"type":"any","of":[{"type":"bought"},{"type":"everyone"}]}}),
            json!({"type":"any","of":[{"type":"all","of":[{"type":"bought"},{"type":"everyone"}]},{"type":"everyone"}]}),
        ];
        for json in leaves {
            let rule = Rule::parse(json!({"type":"all","of":[json,{"type":"everyone"}]})).expect("a rule");
            let node = node(&rule, reading());
            assert_ne!(node.children[0].kind, "json", "the form has fields for {json}");
            assert_eq!(read::rule(&node, reading()), Ok(rule), "{json}");
        }
    }

    #[test]
    fn what_the_form_cannot_say_stays_as_json() {
        for json in [
            json!({"type":"attribute","field":"attributes.x","test":{"op":"in","values":["a",1]}}),
            json!({"type":"attribute","field":"country","test":{"op":"eq","value":" DE "}}),
            json!({"type":"trait","trait":"revenue_minor","test":{"op":"ge","value":0.5}}),
        ] {
            let rule = Rule::parse(json!({"type":"all","of":[json,{"type":"everyone"}]})).expect("a rule");
            let node = node(&rule, reading());
            assert_eq!(node.children[0].kind, "json", "{json}");
            assert_eq!(read::rule(&node, reading()), Ok(rule));
        }
    }

    #[test]
    fn what_is_missing_is_named_by_its_field() {
        let node = Node::group(
            "all",
            vec![
                Node::leaf("attribute").with("op", "eq"),
                Node::leaf("did").with("event", "x").with("days", "soon"),
                Node::group("any", vec![]),
                Node::leaf("json").with("json", "{"),
                Node::leaf("trait").with("trait", "revenue_minor").with("value", "12,345.678"),
            ],
        );
        let wrongs = read::rule(&node, reading()).expect_err("wrong");
        let at: Vec<&str> = wrongs.iter().map(|w| w.at.as_str()).collect();
        assert_eq!(at, ["r.0:value", "r.1:days", "r.2:kind", "r.3:json", "r.4:value"]);
    }
}
