//! Rules out of JSON, with the place in the tree in every refusal.

use serde_json::{Map, Value};

use super::{MAX_DEPTH, MAX_NODES, Rule, RuleError, shorten, wrong};
use crate::fault;

pub(super) fn node(value: Value, path: &str, depth: usize) -> Result<Rule, RuleError> {
    if depth > MAX_DEPTH {
        return wrong(path, fault!("rule.deep", "rules are nested at most {most} deep", most = MAX_DEPTH));
    }
    let Value::Object(mut map) = value else {
        return wrong(path, fault!("rule.object", "a rule is an object with a “type”"));
    };
    let kind = match map.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => {
            return wrong(
                path,
                fault!(
                    "rule.type_missing",
                    "“type” is missing: all, any, not, attribute, did, did_not, bought, rfm, trait, engagement, seen, consent, in_segment, bucket or everyone"
                ),
            );
        }
    };
    match kind.as_str() {
        "all" | "any" => {
            let list = match map.remove("of") {
                Some(Value::Array(list)) => list,
                _ => return wrong(path, fault!("rule.of", "“of” must be a list of rules")),
            };
            no_more(&map, path)?;
            if list.is_empty() || list.len() > MAX_NODES {
                return wrong(path, fault!("rule.of_size", "“of” needs 1 to {most} rules", most = MAX_NODES));
            }
            let of: Result<Vec<_>, _> = list.into_iter().enumerate().map(|(i, v)| node(v, &format!("{path}.of[{i}]"), depth + 1)).collect();
            Ok(if kind == "all" { Rule::All { of: of? } } else { Rule::Any { of: of? } })
        }
        "not" => {
            let Some(inner) = map.remove("rule") else { return wrong(path, fault!("rule.not", "“not” needs a “rule”")) };
            no_more(&map, path)?;
            Ok(Rule::Not { rule: Box::new(node(inner, &format!("{path}.rule"), depth + 1)?) })
        }
        "everyone" => no_more(&map, path).map(|()| Rule::Everyone {}),
        "attribute" => leaf(map, path).map(Rule::Attribute),
        "did" => leaf(map, path).map(Rule::Did),
        "did_not" => leaf(map, path).map(Rule::DidNot),
        "bought" => leaf(map, path).map(Rule::Bought),
        "rfm" => leaf(map, path).map(Rule::Rfm),
        "trait" => leaf(map, path).map(Rule::Trait),
        "engagement" => leaf(map, path).map(Rule::Engagement),
        "seen" => leaf(map, path).map(Rule::Seen),
        "consent" => leaf(map, path).map(Rule::Consent),
        "in_segment" => leaf(map, path).map(Rule::InSegment),
        "bucket" => leaf(map, path).map(Rule::Bucket),
        other => wrong(path, fault!("rule.type", "“{word}” is not a type of rule", word = shorten(other))),
    }
}

fn leaf<T: serde::de::DeserializeOwned>(map: Map<String, Value>, path: &str) -> Result<T, RuleError> {
    serde_json::from_value(Value::Object(map)).map_err(|e| RuleError { path: path.to_owned(), why: e.to_string().into() })
}

fn no_more(map: &Map<String, Value>, path: &str) -> Result<(), RuleError> {
    match map.keys().next() {
        Some(key) => wrong(path, fault!("rule.field", "unknown field “{key}”", key = shorten(key))),
        None => Ok(()),
    }
}
