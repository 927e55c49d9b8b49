//! The limits of a rule, each error with the place in the tree.

use super::fold;
use super::rule::{
    BUCKETS, Column, Did, Field, Kind, MAX_DAYS, MAX_DEPTH, MAX_LIST, MAX_NODES, MAX_TEXT_CHARS, Rule, RuleError, Scalar, Test, Times,
    When, wrong,
};
use crate::fault;

/// Most upper-case letters outside ASCII that one test has to fold: each becomes a step in its SQL.
const MAX_FOLDED_LETTERS: usize = 80;
const MAX_TIMES: i64 = 1_000_000;

impl Rule {
    /// Checks depth, size and every value.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.nodes() > MAX_NODES {
            return wrong(
                "rule",
                fault!("rule.parts", "a rule has at most {most} parts; this one has {n}", most = MAX_NODES, n = self.nodes()),
            );
        }
        node(self, "rule", 1)
    }
}

fn node(rule: &Rule, path: &str, depth: usize) -> Result<(), RuleError> {
    if depth > MAX_DEPTH {
        return wrong(path, fault!("rule.deep", "rules are nested at most {most} deep", most = MAX_DEPTH));
    }
    match rule {
        Rule::Everyone {} | Rule::Consent(_) => Ok(()),
        Rule::All { of } | Rule::Any { of } => {
            if of.is_empty() {
                return wrong(path, fault!("rule.of_none", "“of” needs at least one rule"));
            }
            of.iter().enumerate().try_for_each(|(i, r)| node(r, &format!("{path}.of[{i}]"), depth + 1))
        }
        Rule::Not { rule } => node(rule, &format!("{path}.rule"), depth + 1),
        Rule::Attribute(a) => {
            let kind = match &a.field {
                Field::Column(column) => Column::kind(*column),
                Field::Open(key) => {
                    text(key, &format!("{path}.field"))?;
                    Kind::Open
                }
            };
            test(&a.test, kind, &format!("{path}.test"))
        }
        Rule::Did(did) => event(did, path),
        Rule::DidNot(not) => event(&not.as_did(), path),
        Rule::Bought(b) => {
            optional_text(b.category.as_deref(), &format!("{path}.category"))?;
            optional_text(b.product.as_deref(), &format!("{path}.product"))?;
            letters(b.category.iter().map(String::as_str), &format!("{path}.category"))?;
            days(b.within_days, &format!("{path}.within_days"))
        }
        Rule::Rfm(r) => {
            let ranges = [("recency", r.recency), ("frequency", r.frequency), ("monetary", r.monetary)];
            if ranges.iter().all(|(_, range)| range.is_none()) {
                return wrong(path, fault!("rule.rfm", "“rfm” needs a range for recency, frequency or monetary"));
            }
            for (name, range) in ranges {
                if let Some((from, to)) = range
                    && !(1 <= from && from <= to && to <= 5)
                {
                    return wrong(
                        &format!("{path}.{name}"),
                        fault!("rule.rfm_range", "[{from},{to}] must be a range within 1 to 5", from, to),
                    );
                }
            }
            Ok(())
        }
        Rule::Trait(t) => test(&t.test, t.name.kind(), &format!("{path}.test")),
        Rule::Engagement(e) => {
            if (0.0..=1.0).contains(&e.threshold) {
                Ok(())
            } else {
                wrong(&format!("{path}.threshold"), fault!("rule.threshold", "the threshold lies between 0 and 1"))
            }
        }
        Rule::Seen(s) => match s.when {
            When::WithinDays(d) | When::NotWithinDays(d) => days(Some(d), &format!("{path}.when")),
            When::Before(_) | When::After(_) => Ok(()),
        },
        Rule::InSegment(s) => text(&s.segment, &format!("{path}.segment")),
        Rule::Bucket(b) => {
            if 0 <= b.from && b.from < b.to && b.to <= BUCKETS {
                Ok(())
            } else {
                wrong(path, fault!("rule.buckets", "buckets go from 0 to {most}, and “from” lies below “to”", most = BUCKETS))
            }
        }
    }
}

fn event(did: &Did, path: &str) -> Result<(), RuleError> {
    text(&did.event, &format!("{path}.event"))?;
    optional_text(did.category.as_deref(), &format!("{path}.category"))?;
    letters(did.category.iter().map(String::as_str), &format!("{path}.category"))?;
    days(did.within_days, &format!("{path}.within_days"))?;
    let n = match did.times {
        Times::AtLeast(n) | Times::AtMost(n) | Times::Exactly(n) => n,
    };
    if !(0..=MAX_TIMES).contains(&n) {
        return wrong(&format!("{path}.times"), fault!("rule.times", "{n} times is outside 0 to {most}", n, most = MAX_TIMES));
    }
    for (i, condition) in did.conditions.iter().enumerate() {
        text(&condition.property, &format!("{path}.where[{i}].property"))?;
        test(&condition.test, Kind::Open, &format!("{path}.where[{i}].test"))?;
    }
    Ok(())
}

fn test(test: &Test, kind: Kind, path: &str) -> Result<(), RuleError> {
    match test {
        Test::Exists {} => Ok(()),
        Test::Eq { value } | Test::Ne { value } => {
            letters(texts(std::slice::from_ref(value)), path)?;
            scalar(value, kind, &format!("{path}.value"))
        }
        Test::Lt { value } | Test::Le { value } | Test::Gt { value } | Test::Ge { value } => {
            ordered(value, &format!("{path}.value"))?;
            scalar(value, kind, &format!("{path}.value"))
        }
        Test::Between { from, to } => {
            for (end, value) in [("from", from), ("to", to)] {
                ordered(value, &format!("{path}.{end}"))?;
                scalar(value, kind, &format!("{path}.{end}"))?;
            }
            if matches!(from, Scalar::Number(_)) == matches!(to, Scalar::Number(_)) {
                Ok(())
            } else {
                wrong(path, fault!("rule.ends", "“from” and “to” must be of one type"))
            }
        }
        Test::Contains { value } | Test::StartsWith { value } => {
            if !matches!(kind, Kind::Text | Kind::Open) {
                return wrong(path, fault!("rule.texts_only", "this test is for texts only"));
            }
            letters(std::iter::once(value.as_str()), path)?;
            text(value, &format!("{path}.value"))
        }
        Test::In { values } => {
            if values.is_empty() || values.len() > MAX_LIST {
                return wrong(
                    &format!("{path}.values"),
                    fault!("rule.list", "a list has 1 to {most} values; this one has {n}", most = MAX_LIST, n = values.len()),
                );
            }
            letters(texts(values), path)?;
            values.iter().enumerate().try_for_each(|(i, v)| scalar(v, kind, &format!("{path}.values[{i}]")))
        }
    }
}

fn texts(values: &[Scalar]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(|v| if let Scalar::Text(t) = v { Some(t.as_str()) } else { None })
}

fn letters<'a>(texts: impl Iterator<Item = &'a str>, path: &str) -> Result<(), RuleError> {
    let n = fold::uppers_of(texts).len();
    if n > MAX_FOLDED_LETTERS {
        return wrong(
            path,
            fault!(
                "rule.letters",
                "too many different letters outside ASCII in one test ({n}; at most {most}): split it with “any”",
                n,
                most = MAX_FOLDED_LETTERS
            ),
        );
    }
    Ok(())
}

fn ordered(value: &Scalar, path: &str) -> Result<(), RuleError> {
    match value {
        Scalar::Text(_) | Scalar::Bool(_) => {
            wrong(path, fault!("rule.ordered", "only numbers and times have an order; write a time as {\"time\":\"2026-01-01T00:00:00Z\"}"))
        }
        _ => Ok(()),
    }
}

fn scalar(value: &Scalar, kind: Kind, path: &str) -> Result<(), RuleError> {
    let fits = matches!(
        (kind, value),
        (Kind::Open, _)
            | (Kind::Text, Scalar::Text(_))
            | (Kind::Number, Scalar::Number(_))
            | (Kind::Time, Scalar::Time(_) | Scalar::DaysAgo(_))
    );
    if !fits {
        let wanted = match kind {
            Kind::Text => "a text",
            Kind::Number => "a number",
            _ => "a time",
        };
        return wrong(path, fault!("rule.compared", "this field is compared with {wanted}", wanted));
    }
    match value {
        Scalar::Text(t) => short_text(t, path),
        Scalar::Number(n) if !n.is_finite() => wrong(path, fault!("rule.finite", "not a finite number")),
        Scalar::DaysAgo(d) => days(Some(*d), path),
        _ => Ok(()),
    }
}

fn days(value: Option<i64>, path: &str) -> Result<(), RuleError> {
    match value {
        Some(d) if !(0..=MAX_DAYS).contains(&d) => wrong(path, fault!("rule.days", "{d} days is outside 0 to {most}", d, most = MAX_DAYS)),
        _ => Ok(()),
    }
}

fn optional_text(value: Option<&str>, path: &str) -> Result<(), RuleError> {
    value.map_or(Ok(()), |t| text(t, path))
}

fn text(value: &str, path: &str) -> Result<(), RuleError> {
    if value.is_empty() {
        return wrong(path, fault!("rule.empty", "must not be empty"));
    }
    short_text(value, path)
}

fn short_text(value: &str, path: &str) -> Result<(), RuleError> {
    if value.chars().count() > MAX_TEXT_CHARS {
        return wrong(path, fault!("rule.text", "a text has at most {most} characters", most = MAX_TEXT_CHARS));
    }
    // No engine of ours stores U+0000 in a text.
    if value.contains('\0') {
        return wrong(path, fault!("rule.nul", "a text cannot hold the character U+0000"));
    }
    Ok(())
}
