//! Starting points: rules that shops ask for again and again, ready to be changed.

use serde::Serialize;
use serde_json::{Value, json};

use super::draft::Node;
use super::read::Reading;
use super::unfold;
use crate::audience::Rule;
use crate::web::page::Shell;

/// A starting point as it is offered: `segments.start.KEY`, `segments.start.KEY_lead`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Start {
    key: &'static str,
    name: String,
    lead: String,
}

const KEYS: [&str; 9] = ["reachable", "loyal", "drifting", "new", "lookers", "cart", "big", "rising", "half"];

pub(super) fn all(shell: &Shell) -> Vec<Start> {
    KEYS.into_iter()
        .map(|key| Start { key, name: shell.say(&format!("segments.start.{key}")), lead: shell.say(&format!("segments.start.{key}_lead")) })
        .collect()
}

fn rule(key: &str) -> Option<Value> {
    let subscribed = json!({"type": "consent", "channel": "email", "is": "subscribed"});
    let all = |of: Vec<Value>| json!({"type": "all", "of": of});
    Some(match key {
        "reachable" => all(vec![subscribed]),
        "loyal" => all(vec![json!({"type": "rfm", "recency": [4, 5], "frequency": [4, 5]}), subscribed]),
        "drifting" => all(vec![
            json!({"type": "trait", "trait": "order_count", "test": {"op": "ge", "value": 2}}),
            json!({"type": "trait", "trait": "recency_days", "test": {"op": "gt", "value": 60}}),
            subscribed,
        ]),
        "new" => all(vec![
            json!({"type": "seen", "which": "first", "when": {"within_days": 30}}),
            json!({"type": "not", "rule": {"type": "bought"}}),
            subscribed,
        ]),
        "lookers" => all(vec![
            json!({"type": "did", "event": "Product Viewed", "times": {"at_least": 3}, "within_days": 14}),
            json!({"type": "not", "rule": {"type": "bought", "within_days": 14}}),
        ]),
        "cart" => all(vec![
            json!({"type": "did", "event": "Product Added", "times": {"at_least": 1}, "within_days": 3}),
            json!({"type": "not", "rule": {"type": "bought", "within_days": 3}}),
            subscribed,
        ]),
        "big" => all(vec![json!({"type": "rfm", "monetary": [5, 5]})]),
        "rising" => all(vec![json!({"type": "engagement", "trend": "rising"}), subscribed]),
        "half" => all(vec![json!({"type": "bucket", "from": 0, "to": 5_000})]),
        _ => return None,
    })
}

/// The tree and the name of a starting point.
pub(super) fn node(key: &str, reading: Reading) -> Option<(&'static str, Node)> {
    let key = KEYS.into_iter().find(|k| *k == key)?;
    let rule = Rule::parse(rule(key)?).ok()?;
    Some((key, unfold::node(&rule, reading)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::money::Currency;

    #[test]
    fn every_starting_point_is_a_rule_that_the_form_can_show() {
        let reading = Reading { zone: chrono_tz::Tz::UTC, currency: Currency::EUR };
        for key in KEYS {
            let (_, node) = node(key, reading).expect(key);
            assert!(node.children.iter().all(|n| n.kind != "json"), "{key}");
            assert!(super::super::read::rule(&node, reading).is_ok(), "{key}");
        }
        assert!(node("nothing", reading).is_none());
    }
}
