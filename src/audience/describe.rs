//! A rule as an English sentence, for pages and logs.

use super::rule::{
    Attribute, Bought, ConsentChannel, ConsentState, Did, Field, PropertyTest, Rfm, Rule, Scalar, Seen, Test, Times, Trend, When, Which,
    shorten,
};

impl Rule {
    /// What the rule says, for instance “country is “DE” and bought anything in “Home > Kitchen” in the last 90 days”.
    pub fn describe(&self) -> String {
        match self {
            Self::Everyone {} => "everyone".into(),
            Self::All { of } => group(of, "and"),
            Self::Any { of } => group(of, "or"),
            Self::Not { rule } => format!("not ({})", rule.describe()),
            Self::Attribute(Attribute { field, test }) => match field {
                Field::Column(column) => format!("{} {}", column.words(), say(test)),
                Field::Open(key) => format!("“{}” {}", shorten(key), say(test)),
            },
            Self::Did(d) => did(d),
            Self::DidNot(d) => {
                format!(
                    "did not do “{}”{}{}{}",
                    shorten(&d.event),
                    in_category(d.category.as_deref()),
                    properties(&d.conditions),
                    window(d.within_days)
                )
            }
            Self::Bought(b) => bought(b),
            Self::Rfm(r) => rfm(r),
            Self::Trait(t) => format!("{} {}", t.name.words(), say(&t.test)),
            Self::Engagement(e) => match e.trend {
                Trend::Rising => "engagement is rising".into(),
                Trend::Falling => "engagement is falling".into(),
                Trend::Steady => "engagement is steady".into(),
            },
            Self::Seen(s) => seen(*s),
            Self::Consent(c) => {
                let channel = match c.channel {
                    ConsentChannel::Email => "e-mail",
                    ConsentChannel::Ads => "personal ads",
                };
                match c.is {
                    ConsentState::Subscribed => format!("agreed to {channel}"),
                    ConsentState::Unsubscribed => format!("refused {channel}"),
                    ConsentState::Never => format!("was never asked about {channel}"),
                }
            }
            Self::InSegment(s) => format!("is in the segment “{}”", shorten(&s.segment)),
            Self::Bucket(b) => {
                let share = b.to - b.from;
                format!(
                    "belongs to a stable random {}.{:02} % of all people (buckets {} to {})",
                    share / 100,
                    share % 100,
                    b.from,
                    b.to - 1
                )
            }
        }
    }
}

fn group(of: &[Rule], word: &str) -> String {
    let parts: Vec<String> = of
        .iter()
        .map(|rule| match rule {
            Rule::All { of } | Rule::Any { of } if of.len() > 1 => format!("({})", rule.describe()),
            _ => rule.describe(),
        })
        .collect();
    parts.join(&format!(" {word} "))
}

fn value(v: &Scalar) -> String {
    match v {
        Scalar::Text(t) => format!("“{}”", shorten(t)),
        Scalar::Number(n) => n.to_string(),
        Scalar::Bool(b) => (if *b { "yes" } else { "no" }).into(),
        Scalar::Time(t) => t.to_utc().format("%Y-%m-%d %H:%M UTC").to_string(),
        Scalar::DaysAgo(1) => "1 day ago".into(),
        Scalar::DaysAgo(d) => format!("{d} days ago"),
    }
}

fn say(test: &Test) -> String {
    let timed = |v: &Scalar, time: &str, number: &str| {
        let word = if matches!(v, Scalar::Time(_) | Scalar::DaysAgo(_)) { time } else { number };
        format!("is {word} {}", value(v))
    };
    match test {
        Test::Eq { value: v } => format!("is {}", value(v)),
        Test::Ne { value: v } => format!("is not {}", value(v)),
        Test::Lt { value: v } => timed(v, "before", "below"),
        Test::Le { value: v } => timed(v, "at the latest", "at most"),
        Test::Gt { value: v } => timed(v, "after", "above"),
        Test::Ge { value: v } => timed(v, "at the earliest", "at least"),
        Test::Contains { value } => format!("contains “{}”", shorten(value)),
        Test::StartsWith { value } => format!("starts with “{}”", shorten(value)),
        Test::In { values } if values.len() > 5 => {
            format!("is one of {} and {} more", values[..4].iter().map(value).collect::<Vec<_>>().join(", "), values.len() - 4)
        }
        Test::In { values } => format!("is one of {}", values.iter().map(value).collect::<Vec<_>>().join(", ")),
        Test::Exists {} => "is known".into(),
        Test::Between { from, to } => format!("is between {} and {}", value(from), value(to)),
    }
}

fn window(days: Option<i64>) -> String {
    match days {
        None => String::new(),
        Some(1) => " in the last day".into(),
        Some(d) => format!(" in the last {d} days"),
    }
}

fn in_category(category: Option<&str>) -> String {
    category.map_or_else(String::new, |c| format!(" on products of “{}”", shorten(c)))
}

fn properties(conditions: &[PropertyTest]) -> String {
    let parts: Vec<String> = conditions.iter().map(|c| format!("“{}” {}", shorten(&c.property), say(&c.test))).collect();
    if parts.is_empty() { String::new() } else { format!(" (where {})", parts.join(" and ")) }
}

fn times(n: i64) -> String {
    match n {
        1 => "once".into(),
        2 => "twice".into(),
        n => format!("{n} times"),
    }
}

fn did(d: &Did) -> String {
    let often = match d.times {
        Times::AtLeast(1) => String::new(),
        Times::AtLeast(n) => format!(" at least {}", times(n)),
        Times::AtMost(n) => format!(" at most {}", times(n)),
        Times::Exactly(n) => format!(" exactly {}", times(n)),
    };
    format!(
        "did “{}”{}{}{often}{}",
        shorten(&d.event),
        in_category(d.category.as_deref()),
        properties(&d.conditions),
        window(d.within_days)
    )
}

fn bought(b: &Bought) -> String {
    let what = match (&b.category, &b.product) {
        (None, None) => "anything".to_owned(),
        (Some(c), None) => format!("something in “{}”", shorten(c)),
        (None, Some(p)) => format!("the product “{}”", shorten(p)),
        (Some(c), Some(p)) => format!("the product “{}” in “{}”", shorten(p), shorten(c)),
    };
    format!("bought {what}{}", window(b.within_days))
}

fn rfm(r: &Rfm) -> String {
    let parts: Vec<String> = [("recency", r.recency), ("frequency", r.frequency), ("spending", r.monetary)]
        .into_iter()
        .filter_map(|(name, range)| {
            range.map(|(from, to)| if from == to { format!("{name} {from}") } else { format!("{name} {from} to {to}") })
        })
        .collect();
    format!("{} of 5", parts.join(", "))
}

fn seen(s: Seen) -> String {
    let which = match s.which {
        Which::First => "first seen",
        Which::Last => "last seen",
    };
    match s.when {
        When::Before(t) => format!("{which} before {}", t.to_utc().format("%Y-%m-%d %H:%M UTC")),
        When::After(t) => format!("{which} after {}", t.to_utc().format("%Y-%m-%d %H:%M UTC")),
        When::WithinDays(d) => format!("{which}{}", window(Some(d))),
        When::NotWithinDays(d) => format!("{which} more than {d} days ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_like_english() {
        let rule = Rule::parse(json!({"type": "all", "of": [
            {"type": "attribute", "field": "country", "test": {"op": "in", "values": ["DE", "AT"]}},
            {"type": "any", "of": [
                {"type": "bought", "category": "Home > Kitchen", "within_days": 90},
                {"type": "did", "event": "Product Viewed", "times": {"at_least": 3}, "within_days": 30,
                 "where": [{"property": "price", "test": {"op": "gt", "value": 20}}]},
            ]},
            {"type": "not", "rule": {"type": "consent", "channel": "email", "is": "unsubscribed"}},
            {"type": "seen", "which": "last", "when": {"within_days": 30}},
        ]}))
        .expect("a rule");
        assert_eq!(
            rule.describe(),
            "country is one of “DE”, “AT” and (bought something in “Home > Kitchen” in the last 90 days or did “Product Viewed” (where \
             “price” is above 20) at least 3 times in the last 30 days) and not (refused e-mail) and last seen in the last 30 days"
        );
    }
}
