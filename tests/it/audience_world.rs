//! A small world of people kept in Rust beside the database, and a naive reading of rules over it: what segments are compared with.

use marquee::audience::rule::*;
use marquee::on;
use marquee::platform::ids::{PersonId, uuid_v7};
use marquee::platform::{Db, Timestamp};
use rand::prelude::*;
use serde_json::{Map, Value, json};
use sqlx::types::Json;

use crate::support::START;

pub const DAY: i64 = 86_400_000_000;
pub const CATEGORIES: [&str; 5] = ["Home > Kitchen", "Home > Kitchen > Cups", "Home > KITCHENWARE", "Möbel > Stühle", "Garten"];
pub const SKUS: [&str; 5] = ["SKU-1", "sku-2", "Ö3", "x'; DROP TABLE person; --", "5%_"];
pub const EVENTS: [&str; 3] = ["Product Viewed", "Visité", "it's \"quoted\" $1"];
/// Texts that people, attributes and rules share, so that they meet.
pub const TEXTS: [&str; 14] = [
    "",
    "de",
    "DE",
    "Österreich",
    "österreich",
    "STRASSE",
    "Straße",
    "Ωμέγα",
    "'; DROP TABLE person; --",
    "100%_\\",
    "東京 😀",
    "a\"b$1",
    "ǅ Kelvin \u{212a}",
    "2026-01-10T10:00:00+02:00",
];
pub const TIMES: [&str; 9] = [
    "2026-01-10",
    "2026-01-10T09:00:00Z",
    "2026-01-10 09:00:00.250",
    "2026-01-10T10:00:00+02:00",
    "2025-02-29",
    "2024-02-29T23:59:59Z",
    "2026-13-01",
    "2026-01-10T25:00:00Z",
    "10:00",
];
pub const KEYS: [&str; 6] = ["plan", "Größe", "a\"b", "a.b", "it's", "when"];

#[derive(Clone, Debug)]
pub struct Event {
    pub name: &'static str,
    pub product: Option<usize>,
    pub at: i64,
    pub properties: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub struct Order {
    pub at: i64,
    pub cancelled: bool,
    pub flagged: bool,
    /// (product, quantity, cancelled quantity)
    pub lines: Vec<(usize, i64, i64)>,
}

#[derive(Clone, Debug)]
pub struct Traits {
    pub numbers: Vec<Option<f64>>,
    pub top_category: Option<String>,
    pub rfm: [i64; 3],
    pub trend: f64,
}

#[derive(Clone, Debug)]
pub struct Person {
    pub id: PersonId,
    pub texts: Vec<Option<String>>,
    pub attributes: Map<String, Value>,
    pub consent: [&'static str; 2],
    pub bucket: i64,
    pub first_seen: i64,
    pub last_seen: i64,
    pub created: i64,
    pub erased: bool,
    pub events: Vec<Event>,
    pub orders: Vec<Order>,
    pub traits: Option<Traits>,
}

const TEXT_COLUMNS: [Column; 9] = [
    Column::ExternalId,
    Column::Email,
    Column::FirstName,
    Column::LastName,
    Column::Phone,
    Column::Locale,
    Column::TimeZone,
    Column::Country,
    Column::City,
];

fn pick<'a, T: ?Sized>(rng: &mut impl Rng, from: &[&'a T]) -> &'a T {
    from[rng.random_range(0..from.len())]
}

pub fn value(rng: &mut impl Rng) -> Value {
    match rng.random_range(0..9) {
        0 => Value::Null,
        1 => json!(rng.random_bool(0.5)),
        2 => json!(rng.random_range(-2..6)),
        3 => json!(f64::from(rng.random_range(-4..8)) / 2.0),
        4 => json!(["de", 1, null]),
        5 => json!({"plan": "de"}),
        6 => json!(pick(rng, &TIMES)),
        7 => json!(9_007_199_254_740_993_i64),
        _ => json!(pick(rng, &TEXTS)),
    }
}

fn object(rng: &mut impl Rng) -> Map<String, Value> {
    let mut map = Map::new();
    for key in KEYS {
        if rng.random_bool(0.6) {
            map.insert(key.to_owned(), value(rng));
        }
    }
    map
}

fn instant(rng: &mut impl Rng) -> i64 {
    // Half of them exactly on the edges of windows.
    let days = rng.random_range(-2..40);
    START.0 - days * DAY + if rng.random_bool(0.5) { 0 } else { rng.random_range(-DAY..DAY) }
}

pub fn people(rng: &mut impl Rng, n: i64) -> Vec<Person> {
    (1..=n)
        .map(|id| {
            let mut texts: Vec<Option<String>> =
                TEXT_COLUMNS.iter().map(|_| rng.random_bool(0.7).then(|| pick(rng, &TEXTS).to_owned())).collect();
            // Unique columns.
            texts[0] = texts[0].take().map(|t| if rng.random_bool(0.5) { format!("{t}{id}") } else { format!("{id}{t}") });
            texts[1] = texts[1].take().map(|t| format!("{t}{id}@Example.TEST"));
            let last_seen = instant(rng);
            Person {
                id: PersonId(id),
                texts,
                attributes: object(rng),
                consent: [0, 1].map(|_| *["subscribed", "unsubscribed", "never"].choose(rng).expect("one")),
                bucket: rng.random_range(0..BUCKETS),
                first_seen: last_seen.min(instant(rng)),
                last_seen,
                created: instant(rng),
                erased: rng.random_bool(0.05),
                events: (0..rng.random_range(0..8))
                    .map(|_| Event {
                        name: EVENTS[rng.random_range(0..EVENTS.len())],
                        product: rng.random_bool(0.7).then(|| rng.random_range(0..SKUS.len())),
                        at: instant(rng),
                        properties: object(rng),
                    })
                    .collect(),
                orders: (0..rng.random_range(0..3))
                    .map(|_| Order {
                        at: instant(rng),
                        cancelled: rng.random_bool(0.2),
                        flagged: rng.random_bool(0.15),
                        lines: (0..rng.random_range(1..3)).map(|_| (rng.random_range(0..SKUS.len()), 2, rng.random_range(0..3))).collect(),
                    })
                    .collect(),
                traits: rng.random_bool(0.8).then(|| Traits {
                    numbers: TraitName::ALL.iter().map(|t| number(rng, *t)).collect(),
                    top_category: rng.random_bool(0.7).then(|| CATEGORIES[rng.random_range(0..5)].to_owned()),
                    rfm: [0; 3].map(|_: i32| rng.random_range(1..=5)),
                    trend: f64::from(rng.random_range(-4..=4)) / 10.0,
                }),
            }
        })
        .collect()
}

fn nullable(t: TraitName) -> bool {
    matches!(t, TraitName::RecencyDays | TraitName::PriceP25 | TraitName::PriceP50 | TraitName::PriceP75 | TraitName::BestHour)
}

fn number(rng: &mut impl Rng, t: TraitName) -> Option<f64> {
    if nullable(t) && rng.random_bool(0.3) { None } else { Some(f64::from(rng.random_range(0..6))) }
}

async fn run(db: &Db, sql: String, bind: impl Fn(&mut Vec<Cell>)) {
    let mut cells = Vec::new();
    bind(&mut cells);
    let mut tx = db.begin().await.expect("begin");
    on!(&mut tx, |c| {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for cell in cells {
            query = match cell {
                Cell::Text(v) => query.bind(v),
                Cell::Int(v) => query.bind(v),
                Cell::Real(v) => query.bind(v),
                Cell::Json(v) => query.bind(Json(v)),
                Cell::Uuid(v) => query.bind(v),
                Cell::Bool(v) => query.bind(v),
            };
        }
        query.execute(&mut *c).await.expect("insert");
    });
    tx.commit().await.expect("commit");
}

pub enum Cell {
    Text(Option<String>),
    Int(Option<i64>),
    Real(f64),
    Json(Value),
    Uuid(uuid::Uuid),
    Bool(bool),
}

/// One row into a table, columns by name.
pub async fn insert(db: &Db, table: &str, row: Vec<(&str, Cell)>) {
    let names: Vec<&str> = row.iter().map(|(n, _)| *n).collect();
    let marks: Vec<String> = (1..=row.len()).map(|i| format!("${i}")).collect();
    let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), marks.join(", "));
    let cells = std::sync::Mutex::new(Some(row));
    run(db, sql, |out| out.extend(cells.lock().expect("lock").take().unwrap_or_default().into_iter().map(|(_, cell)| cell))).await;
}

fn t(text: &str) -> Cell {
    Cell::Text(Some(text.to_owned()))
}
fn i(n: i64) -> Cell {
    Cell::Int(Some(n))
}

pub async fn store(db: &Db, people: &[Person]) {
    for (n, sku) in SKUS.iter().enumerate() {
        insert(
            db,
            "product",
            vec![
                ("id", i(n as i64 + 1)),
                ("sku", t(sku)),
                ("title", t("x")),
                ("description", t("")),
                ("category_path", t(CATEGORIES[n])),
                ("price_minor", i(100)),
                ("currency", t("EUR")),
                ("available", Cell::Bool(true)),
                ("attributes", Cell::Json(json!({}))),
                ("content_hash", t("")),
                ("created_at", i(0)),
                ("updated_at", i(0)),
            ],
        )
        .await;
    }
    let mut orders = 0;
    for p in people {
        let mut row: Vec<(&str, Cell)> = TEXT_COLUMNS.iter().zip(&p.texts).map(|(c, v)| (c.name(), Cell::Text(v.clone()))).collect();
        row.extend([
            ("id", i(p.id.0)),
            ("attributes", Cell::Json(Value::Object(p.attributes.clone()))),
            ("email_consent", t(p.consent[0])),
            ("ads_consent", t(p.consent[1])),
            ("bucket", i(p.bucket)),
            ("first_seen_at", i(p.first_seen)),
            ("last_seen_at", i(p.last_seen)),
            ("created_at", i(p.created)),
            ("updated_at", i(0)),
            ("erased_at", Cell::Int(p.erased.then_some(1))),
        ]);
        insert(db, "person", row).await;
        for e in &p.events {
            insert(
                db,
                "event",
                vec![
                    ("id", Cell::Uuid(uuid_v7(START))),
                    ("person_id", i(p.id.0)),
                    ("kind", t("track")),
                    ("name", t(e.name)),
                    ("product_id", Cell::Int(e.product.map(|n| n as i64 + 1))),
                    ("occurred_at", i(e.at)),
                    ("received_at", i(e.at)),
                    ("properties", Cell::Json(Value::Object(e.properties.clone()))),
                ],
            )
            .await;
        }
        for o in &p.orders {
            orders += 1;
            insert(
                db,
                "shop_order",
                vec![
                    ("id", i(orders)),
                    ("order_ref", t(&format!("o{orders}"))),
                    ("person_id", i(p.id.0)),
                    ("placed_at", i(o.at)),
                    ("currency", t("EUR")),
                    ("total_minor", i(1)),
                    ("status", t(if o.cancelled { "cancelled" } else { "placed" })),
                    ("source", t("test")),
                    ("flag", Cell::Text(o.flagged.then(|| "outlier".to_owned()))),
                    ("updated_at", i(o.at)),
                ],
            )
            .await;
            for (n, (product, quantity, cancelled)) in o.lines.iter().enumerate() {
                insert(
                    db,
                    "order_line",
                    vec![
                        ("order_id", i(orders)),
                        ("line_no", i(n as i64)),
                        ("product_id", i(*product as i64 + 1)),
                        ("sku", t(SKUS[*product])),
                        ("title", t("x")),
                        ("quantity", i(*quantity)),
                        ("cancelled_quantity", i(*cancelled)),
                        ("unit_price_minor", i(1)),
                    ],
                )
                .await;
            }
        }
        if let Some(traits) = &p.traits {
            let mut row = vec![
                ("person_id", i(p.id.0)),
                ("computed_at", i(0)),
                ("category_affinity", Cell::Json(json!({}))),
                ("interest_tags", Cell::Json(json!([]))),
                ("active_hours", Cell::Json(json!([]))),
                ("r_quantile", i(traits.rfm[0])),
                ("f_quantile", i(traits.rfm[1])),
                ("m_quantile", i(traits.rfm[2])),
                ("visits_prev_28", i(0)),
                ("top_category", Cell::Text(traits.top_category.clone())),
            ];
            for (name, number) in TraitName::ALL.iter().zip(&traits.numbers) {
                let cell = match (name, number) {
                    (TraitName::TopCategory, _) => continue,
                    (TraitName::EngagementTrend, _) => Cell::Real(traits.trend),
                    (TraitName::EngagementScore | TraitName::Depth28, Some(n)) => Cell::Real(*n),
                    #[allow(clippy::cast_possible_truncation)]
                    (_, n) => Cell::Int(n.map(|n| n as i64)),
                };
                row.push((name.column(), cell));
            }
            insert(db, "person_traits", row).await;
        }
    }
}

/// The naive reading.
pub struct Naive<'a> {
    pub as_of: i64,
    pub segments: &'a [(&'a str, Rule)],
}

enum Got<'a> {
    Text(&'a str),
    Number(f64),
    Bool(bool),
    Time(i64),
    Other,
    Missing,
}

impl Naive<'_> {
    pub fn holds(&self, rule: &Rule, p: &Person) -> bool {
        !p.erased && self.node(rule, p)
    }

    fn node(&self, rule: &Rule, p: &Person) -> bool {
        match rule {
            Rule::Everyone {} => true,
            Rule::All { of } => of.iter().all(|r| self.node(r, p)),
            Rule::Any { of } => of.iter().any(|r| self.node(r, p)),
            Rule::Not { rule } => !self.node(rule, p),
            Rule::Attribute(a) => match &a.field {
                Field::Open(key) => self.open(&a.test, p.attributes.get(key)),
                Field::Column(Column::FirstSeenAt) => self.test(&a.test, &Got::Time(p.first_seen), 1),
                Field::Column(Column::LastSeenAt) => self.test(&a.test, &Got::Time(p.last_seen), 1),
                Field::Column(Column::CreatedAt) => self.test(&a.test, &Got::Time(p.created), 1),
                Field::Column(c) => {
                    let at = TEXT_COLUMNS.iter().position(|t| t == c).expect("a text column");
                    self.test(&a.test, &p.texts[at].as_deref().map_or(Got::Missing, Got::Text), 1)
                }
            },
            Rule::Did(d) => self.did(d, p),
            Rule::DidNot(d) => !self.did(
                &Did {
                    event: d.event.clone(),
                    times: Times::AtLeast(1),
                    within_days: d.within_days,
                    category: d.category.clone(),
                    conditions: d.conditions.clone(),
                },
                p,
            ),
            Rule::Bought(b) => p.orders.iter().any(|o| {
                !o.cancelled
                    && !o.flagged
                    && self.within(o.at, b.within_days)
                    && o.lines.iter().any(|(product, quantity, cancelled)| {
                        quantity > cancelled
                            && b.category.as_ref().is_none_or(|c| below(CATEGORIES[*product], c))
                            && b.product.as_ref().is_none_or(|sku| SKUS[*product] == sku)
                    })
            }),
            Rule::Rfm(r) => p.traits.as_ref().is_some_and(|t| {
                [r.recency, r.frequency, r.monetary].iter().zip(t.rfm).all(|(range, q)| range.is_none_or(|(from, to)| from <= q && q <= to))
            }),
            Rule::Trait(test) => {
                let got = p.traits.as_ref().map_or(Got::Missing, |t| match test.name {
                    TraitName::TopCategory => t.top_category.as_deref().map_or(Got::Missing, Got::Text),
                    TraitName::EngagementTrend => Got::Number(t.trend),
                    name => {
                        let at = TraitName::ALL.iter().position(|n| *n == name).expect("a trait");
                        t.numbers[at].map_or(Got::Missing, Got::Number)
                    }
                });
                self.test(&test.test, &got, 1)
            }
            Rule::Engagement(e) => p.traits.as_ref().is_some_and(|t| match e.trend {
                Trend::Rising => t.trend >= e.threshold && t.trend > 0.0,
                Trend::Falling => t.trend <= -e.threshold && t.trend < 0.0,
                Trend::Steady => t.trend.abs() < e.threshold,
            }),
            Rule::Seen(s) => {
                let at = if s.which == Which::First { p.first_seen } else { p.last_seen };
                match s.when {
                    When::Before(t) => at < t.0,
                    When::After(t) => at > t.0,
                    When::WithinDays(d) => at > self.as_of - d * DAY,
                    When::NotWithinDays(d) => at <= self.as_of - d * DAY,
                }
            }
            Rule::Consent(c) => p.consent[usize::from(c.channel == ConsentChannel::Ads)] == c.is.name(),
            Rule::InSegment(s) => {
                let named = self.segments.iter().find(|(key, _)| *key == s.segment).expect("a known segment");
                self.node(&named.1, p)
            }
            Rule::Bucket(b) => (b.from..b.to).contains(&p.bucket),
        }
    }

    fn within(&self, at: i64, days: Option<i64>) -> bool {
        at <= self.as_of && days.is_none_or(|d| at > self.as_of - d * DAY)
    }

    fn did(&self, d: &Did, p: &Person) -> bool {
        let n = p
            .events
            .iter()
            .filter(|e| {
                e.name == d.event
                    && self.within(e.at, d.within_days)
                    && d.category.as_ref().is_none_or(|c| e.product.is_some_and(|n| below(CATEGORIES[n], c)))
                    && d.conditions.iter().all(|c| self.open(&c.test, e.properties.get(&c.property)))
            })
            .count() as i64;
        match d.times {
            Times::AtLeast(k) => n >= k,
            Times::AtMost(k) => n <= k,
            Times::Exactly(k) => n == k,
        }
    }

    /// An open value: its JSON type decides, and a text may be a time.
    fn open(&self, test: &Test, value: Option<&Value>) -> bool {
        let got = match value {
            None | Some(Value::Null) => Got::Missing,
            Some(Value::Bool(b)) => Got::Bool(*b),
            Some(Value::Number(n)) => Got::Number(n.as_f64().expect("a number")),
            Some(Value::String(t)) => {
                let time = parse_time(t);
                let as_time = |s: &Scalar| matches!(s, Scalar::Time(_) | Scalar::DaysAgo(_));
                let wants_time = match test {
                    Test::Eq { value }
                    | Test::Ne { value }
                    | Test::Lt { value }
                    | Test::Le { value }
                    | Test::Gt { value }
                    | Test::Ge { value } => as_time(value),
                    Test::Between { from, .. } => as_time(from),
                    Test::In { values } => {
                        return values.iter().any(|v| self.open(&Test::Eq { value: v.clone() }, value));
                    }
                    _ => false,
                };
                if wants_time { time.map_or(Got::Other, Got::Time) } else { Got::Text(t) }
            }
            Some(_) => Got::Other,
        };
        self.test(test, &got, 1_000_000)
    }

    fn test(&self, test: &Test, got: &Got<'_>, unit: i64) -> bool {
        let order = |value: &Scalar| self.order(got, value, unit);
        use std::cmp::Ordering::*;
        match test {
            Test::Eq { value } => order(value) == Some(Equal),
            Test::Ne { value } => order(value) != Some(Equal),
            Test::Lt { value } => order(value) == Some(Less),
            Test::Le { value } => matches!(order(value), Some(Less | Equal)),
            Test::Gt { value } => order(value) == Some(Greater),
            Test::Ge { value } => matches!(order(value), Some(Greater | Equal)),
            Test::Between { from, to } => matches!(order(from), Some(Greater | Equal)) && matches!(order(to), Some(Less | Equal)),
            Test::In { values } => values.iter().any(|v| order(v) == Some(Equal)),
            Test::Contains { value } => matches!(got, Got::Text(t) if folded(t).contains(&folded(value))),
            Test::StartsWith { value } => matches!(got, Got::Text(t) if folded(t).starts_with(&folded(value))),
            Test::Exists {} => !matches!(got, Got::Missing | Got::Text("")),
        }
    }

    fn order(&self, got: &Got<'_>, value: &Scalar, unit: i64) -> Option<std::cmp::Ordering> {
        match (got, value) {
            (Got::Text(a), Scalar::Text(b)) => (folded(a) == folded(b)).then_some(std::cmp::Ordering::Equal),
            (Got::Number(a), Scalar::Number(b)) => a.partial_cmp(b),
            (Got::Bool(a), Scalar::Bool(b)) => (a == b).then_some(std::cmp::Ordering::Equal),
            (Got::Time(a), Scalar::Time(b)) => Some(a.div_euclid(unit).cmp(&b.0.div_euclid(unit))),
            (Got::Time(a), Scalar::DaysAgo(d)) => Some(a.div_euclid(unit).cmp(&(self.as_of - d * DAY).div_euclid(unit))),
            _ => None,
        }
    }
}

fn parse_time(text: &str) -> Option<i64> {
    let shape = text.len() >= 10 && text.as_bytes()[4] == b'-' && text.is_char_boundary(10);
    if shape { Timestamp::parse(text).map(|t| t.0) } else { None }
}

fn below(path: &str, category: &str) -> bool {
    let (path, category) = (folded(path), folded(category));
    path == category || path.starts_with(&format!("{category} > "))
}

/// One-to-one lower case, as the guide to segments describes it.
fn folded(text: &str) -> String {
    text.chars()
        .map(|c| {
            let lower: Vec<char> = c.to_lowercase().collect();
            if lower.len() == 1 && (c.is_ascii() || !lower[0].is_ascii()) { lower[0] } else { c }
        })
        .collect()
}
