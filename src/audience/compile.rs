//! A rule compiled to a condition on `person p`. Every part is TRUE or FALSE, never NULL, so that `not` means what it says.

use crate::platform::clock::{DAY_US, Timestamp};
use crate::platform::db::Dialect;

use super::rule::{
    Attribute, Bought, ConsentChannel, ConsentIs, Did, Engagement, Field, Kind, Rfm, Rule, Seen, Times, TraitTest, Trend, When, Which,
};
use super::sql::{Bind, JsonAt, Sql};

/// A rule whose segments have been inlined; made by [`super::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved(pub(super) Rule);

/// A compiled rule: SQL that speaks of `person p`, and its binds.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub condition: String,
    pub binds: Vec<Bind>,
}

impl Resolved {
    /// The condition that living (not erased) people of this rule fulfil.
    pub fn compile(&self, dialect: Dialect, as_of: Timestamp) -> Compiled {
        let mut sql = Sql::new(dialect, as_of);
        let rule = node(&mut sql, &self.0);
        Compiled { condition: format!("p.erased_at IS NULL AND {rule}"), binds: sql.binds }
    }
}

fn node(sql: &mut Sql, rule: &Rule) -> String {
    match rule {
        Rule::Everyone {} => "TRUE".into(),
        Rule::All { of } => join(sql, of, " AND "),
        Rule::Any { of } => join(sql, of, " OR "),
        Rule::Not { rule } => format!("(NOT {})", node(sql, rule)),
        Rule::Attribute(a) => attribute(sql, a),
        Rule::Did(d) => did(sql, d),
        Rule::DidNot(d) => format!("(NOT {})", did(sql, &d.as_did())),
        Rule::Bought(b) => bought(sql, b),
        Rule::Rfm(r) => rfm(sql, r),
        Rule::Trait(t) => computed(sql, t),
        Rule::Engagement(e) => engagement(sql, e),
        Rule::Seen(s) => seen(sql, *s),
        Rule::Consent(c) => consent(sql, *c),
        // Unreachable by construction: `Resolved` holds none. FALSE, so that nobody is written to by mistake.
        Rule::InSegment(_) => "FALSE".into(),
        Rule::Bucket(b) => {
            let (from, to) = (sql.int(b.from), sql.int(b.to));
            format!("(p.bucket >= {from} AND p.bucket < {to})")
        }
    }
}

fn join(sql: &mut Sql, of: &[Rule], with: &str) -> String {
    let parts: Vec<String> = of.iter().map(|r| node(sql, r)).collect();
    format!("({})", parts.join(with))
}

fn attribute(sql: &mut Sql, a: &Attribute) -> String {
    match &a.field {
        Field::Open(key) => sql.json_test(&JsonAt { column: "p.attributes", key }, &a.test),
        Field::Column(column) => {
            let expr = format!("p.{}", column.name());
            match column.kind() {
                Kind::Time => sql.time_test(&expr, &a.test, 1),
                _ => sql.text_test(&expr, &a.test),
            }
        }
    }
}

/// ` AND column > …` where a window is given, and always ` AND column <= as_of`.
fn window(sql: &mut Sql, column: &str, within_days: Option<i64>) -> String {
    let now = sql.as_of();
    let to = sql.int(now.0);
    let mut text = format!(" AND {column} <= {to}");
    if let Some(days) = within_days {
        let from = sql.int(now.0.saturating_sub(days.saturating_mul(DAY_US)));
        text.push_str(&format!(" AND {column} > {from}"));
    }
    text
}

fn did(sql: &mut Sql, d: &Did) -> String {
    let name = sql.text(d.event.clone());
    let mut body = String::from("FROM event e");
    if d.category.is_some() {
        body.push_str(" JOIN product pr ON pr.id = e.product_id");
    }
    body.push_str(&format!(" WHERE e.person_id = p.id AND e.name = {name}"));
    body.push_str(&window(sql, "e.occurred_at", d.within_days));
    if let Some(category) = &d.category {
        body.push_str(&format!(" AND {}", sql.category("pr.category_path", category)));
    }
    for condition in &d.conditions {
        let test = sql.json_test(&JsonAt { column: "e.properties", key: &condition.property }, &condition.test);
        body.push_str(&format!(" AND {test}"));
    }
    match d.times {
        Times::AtLeast(1) => format!("EXISTS (SELECT 1 {body})"),
        Times::AtMost(0) | Times::Exactly(0) => format!("(NOT EXISTS (SELECT 1 {body}))"),
        times => {
            let op = match times {
                Times::AtLeast(_) => ">=",
                Times::AtMost(_) => "<=",
                Times::Exactly(_) => "=",
            };
            let n = sql.int(times.n());
            format!("((SELECT COUNT(*) {body}) {op} {n})")
        }
    }
}

/// Kept goods of plausible orders that were not cancelled.
fn bought(sql: &mut Sql, b: &Bought) -> String {
    let mut from = String::from("FROM shop_order o JOIN order_line l ON l.order_id = o.id");
    if b.category.is_some() {
        from.push_str(" JOIN product pr ON pr.id = l.product_id");
    }
    let mut body =
        format!("{from} WHERE o.person_id = p.id AND o.flag IS NULL AND o.status <> 'cancelled' AND l.quantity > l.cancelled_quantity");
    body.push_str(&window(sql, "o.placed_at", b.within_days));
    if let Some(category) = &b.category {
        body.push_str(&format!(" AND {}", sql.category("pr.category_path", category)));
    }
    if let Some(sku) = &b.product {
        let sku = sql.text(sku.clone());
        body.push_str(&format!(" AND l.sku = {sku}"));
    }
    format!("EXISTS (SELECT 1 {body})")
}

fn with_traits(condition: &str) -> String {
    format!("EXISTS (SELECT 1 FROM person_traits t WHERE t.person_id = p.id AND {condition})")
}

fn rfm(sql: &mut Sql, r: &Rfm) -> String {
    let mut parts = Vec::new();
    for (column, range) in [("t.r_quantile", r.recency), ("t.f_quantile", r.frequency), ("t.m_quantile", r.monetary)] {
        if let Some((from, to)) = range {
            let (from, to) = (sql.int(from), sql.int(to));
            parts.push(format!("{column} BETWEEN {from} AND {to}"));
        }
    }
    with_traits(&parts.join(" AND "))
}

fn computed(sql: &mut Sql, t: &TraitTest) -> String {
    // A scalar subquery, so that a person without traits has NULLs, and `ne` holds for them as for anything missing.
    let column = t.name.column();
    match t.name.kind() {
        Kind::Text => {
            let expr = format!("(SELECT t.{column} FROM person_traits t WHERE t.person_id = p.id)");
            sql.text_test(&expr, &t.test)
        }
        _ => {
            let expr = format!("(SELECT CAST(t.{column} AS DOUBLE PRECISION) FROM person_traits t WHERE t.person_id = p.id)");
            sql.number_test(&expr, &t.test)
        }
    }
}

fn engagement(sql: &mut Sql, e: &Engagement) -> String {
    let up = sql.bind(Bind::Real(e.threshold));
    let down = sql.bind(Bind::Real(-e.threshold));
    with_traits(&match e.trend {
        Trend::Rising => format!("t.engagement_trend >= {up} AND t.engagement_trend > {down}"),
        Trend::Falling => format!("t.engagement_trend <= {down} AND t.engagement_trend < {up}"),
        Trend::Steady => format!("t.engagement_trend > {down} AND t.engagement_trend < {up}"),
    })
}

fn seen(sql: &mut Sql, s: Seen) -> String {
    let column = match s.which {
        Which::First => "p.first_seen_at",
        Which::Last => "p.last_seen_at",
    };
    let ago = |sql: &Sql, days: i64| sql.as_of().0.saturating_sub(days.saturating_mul(DAY_US));
    match s.when {
        When::Before(t) => format!("({column} < {})", sql.int(t.0)),
        When::After(t) => format!("({column} > {})", sql.int(t.0)),
        When::WithinDays(days) => {
            let at = ago(sql, days);
            format!("({column} > {})", sql.int(at))
        }
        When::NotWithinDays(days) => {
            let at = ago(sql, days);
            format!("({column} <= {})", sql.int(at))
        }
    }
}

fn consent(sql: &mut Sql, c: ConsentIs) -> String {
    let column = match c.channel {
        ConsentChannel::Email => "p.email_consent",
        ConsentChannel::Ads => "p.ads_consent",
    };
    let state = sql.text(c.is.name());
    format!("({column} = {state})")
}
