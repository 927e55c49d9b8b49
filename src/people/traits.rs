//! Computed traits as stored: one row per person, rebuilt by the job `people.traits`.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::types::Json;

use super::store::json;
use crate::platform::clock::Timestamp;
use crate::platform::db::{Db, Dialect, Tx};
use crate::platform::ids::PersonId;
use crate::{on, read};

/// What was computed about a person as of `computed_at`. How each figure comes about is told in `events::traits`.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Traits {
    #[schema(value_type = String, example = "per_42")]
    pub person_id: PersonId,
    #[schema(value_type = String, format = DateTime)]
    pub computed_at: Timestamp,
    /// Orders, cancelled and flagged ones left out, in any currency.
    pub order_count: i64,
    /// Net revenue (total − refunded) of the orders in the shop's currency, in minor units.
    pub revenue_minor: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub first_order_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_order_at: Option<Timestamp>,
    /// Whole days since the last order.
    pub recency_days: Option<i64>,
    /// Quintile among buyers, 5 the most recent; 0 for people who never bought.
    pub r_quantile: i64,
    /// Quintile among buyers, 5 the most frequent.
    pub f_quantile: i64,
    /// Quintile among buyers, 5 the highest revenue.
    pub m_quantile: i64,
    /// Local days with an event, of the last 28.
    pub active_days_28: i64,
    pub visits_28: i64,
    pub visits_prev_28: i64,
    /// Events per visit in the last 28 days.
    pub depth_28: f64,
    /// 0..1.
    pub engagement: f64,
    /// Log ratio of visits, last 28 days against the 28 before; above 0 is rising.
    pub engagement_trend: f64,
    pub top_category: Option<String>,
    /// Share of interest by category path, highest 20; all of them add up to at most 1.
    #[schema(value_type = Object)]
    pub category_affinity: Json<BTreeMap<String, f64>>,
    /// Quartiles of unit prices bought (viewed, for people who never bought), shop's currency.
    pub price_p25_minor: Option<i64>,
    pub price_p50_minor: Option<i64>,
    pub price_p75_minor: Option<i64>,
    /// `category:…`, `brand:…`, `term:…`, strongest first within each.
    #[schema(value_type = Vec<String>)]
    pub interest_tags: Json<Vec<String>>,
    /// Events by local hour (24 counts), last 90 days.
    #[schema(value_type = Vec<i64>)]
    pub active_hours: Json<Vec<i64>>,
    /// The local hour with most activity (smoothed with its neighbours).
    pub best_hour: Option<i64>,
}

const MANY_SQLITE: &str = "SELECT * FROM person_traits WHERE person_id IN (SELECT value FROM json_each($1))";
const MANY_POSTGRES: &str = "SELECT * FROM person_traits WHERE person_id IN (SELECT value::bigint FROM json_array_elements_text($1::json))";

/// Traits of those of the people who have some.
pub async fn traits_many(db: &Db, ids: &[PersonId]) -> sqlx::Result<HashMap<PersonId, Traits>> {
    let sql = match db.dialect() {
        Dialect::Sqlite => MANY_SQLITE,
        Dialect::Postgres => MANY_POSTGRES,
    };
    let mut found = HashMap::with_capacity(ids.len());
    for part in ids.chunks(1000) {
        let wanted = json(&part.iter().map(|id| id.0).collect::<Vec<_>>())?;
        let rows = read!(*db, |c| sqlx::query_as::<_, Traits>(sql).bind(wanted.as_str()).fetch_all(c).await)?;
        found.extend(rows.into_iter().map(|t| (t.person_id, t)));
    }
    Ok(found)
}

/// The row as JSON for the bulk statement: times as microseconds.
#[derive(Serialize)]
struct Row<'a> {
    person_id: i64,
    computed_at: i64,
    order_count: i64,
    revenue_minor: i64,
    first_order_at: Option<i64>,
    last_order_at: Option<i64>,
    recency_days: Option<i64>,
    r_quantile: i64,
    f_quantile: i64,
    m_quantile: i64,
    active_days_28: i64,
    visits_28: i64,
    visits_prev_28: i64,
    depth_28: f64,
    engagement: f64,
    engagement_trend: f64,
    top_category: Option<&'a str>,
    category_affinity: &'a BTreeMap<String, f64>,
    price_p25_minor: Option<i64>,
    price_p50_minor: Option<i64>,
    price_p75_minor: Option<i64>,
    interest_tags: &'a [String],
    active_hours: &'a [i64],
    best_hour: Option<i64>,
}

macro_rules! columns {
    () => {
        "person_id, computed_at, order_count, revenue_minor, first_order_at, last_order_at, recency_days, r_quantile, f_quantile, m_quantile,
         active_days_28, visits_28, visits_prev_28, depth_28, engagement, engagement_trend, top_category, category_affinity,
         price_p25_minor, price_p50_minor, price_p75_minor, interest_tags, active_hours, best_hour"
    };
}
macro_rules! on_conflict {
    () => {
        " ON CONFLICT (person_id) DO UPDATE SET computed_at = excluded.computed_at, order_count = excluded.order_count,
         revenue_minor = excluded.revenue_minor, first_order_at = excluded.first_order_at, last_order_at = excluded.last_order_at,
         recency_days = excluded.recency_days, r_quantile = excluded.r_quantile, f_quantile = excluded.f_quantile,
         m_quantile = excluded.m_quantile, active_days_28 = excluded.active_days_28, visits_28 = excluded.visits_28,
         visits_prev_28 = excluded.visits_prev_28, depth_28 = excluded.depth_28, engagement = excluded.engagement,
         engagement_trend = excluded.engagement_trend, top_category = excluded.top_category,
         category_affinity = excluded.category_affinity, price_p25_minor = excluded.price_p25_minor,
         price_p50_minor = excluded.price_p50_minor, price_p75_minor = excluded.price_p75_minor,
         interest_tags = excluded.interest_tags, active_hours = excluded.active_hours, best_hour = excluded.best_hour"
    };
}

// Only people who still stand: somebody may be erased or merged while the job runs.
const PUT_SQLITE: &str = concat!(
    "INSERT INTO person_traits (",
    columns!(),
    ") SELECT value ->> 'person_id', value ->> 'computed_at', value ->> 'order_count', value ->> 'revenue_minor',
       value ->> 'first_order_at', value ->> 'last_order_at', value ->> 'recency_days', value ->> 'r_quantile', value ->> 'f_quantile',
       value ->> 'm_quantile', value ->> 'active_days_28', value ->> 'visits_28', value ->> 'visits_prev_28', value ->> 'depth_28',
       value ->> 'engagement', value ->> 'engagement_trend', value ->> 'top_category', value -> 'category_affinity',
       value ->> 'price_p25_minor', value ->> 'price_p50_minor', value ->> 'price_p75_minor', value -> 'interest_tags',
       value -> 'active_hours', value ->> 'best_hour'
     FROM json_each($1) WHERE value ->> 'person_id' IN (SELECT id FROM person WHERE erased_at IS NULL)",
    on_conflict!()
);
const PUT_POSTGRES: &str = concat!(
    "INSERT INTO person_traits (",
    columns!(),
    ") SELECT ",
    columns!(),
    " FROM json_to_recordset($1::json) AS d(person_id bigint, computed_at bigint, order_count bigint, revenue_minor bigint,
       first_order_at bigint, last_order_at bigint, recency_days bigint, r_quantile bigint, f_quantile bigint, m_quantile bigint,
       active_days_28 bigint, visits_28 bigint, visits_prev_28 bigint, depth_28 double precision, engagement double precision,
       engagement_trend double precision, top_category text, category_affinity jsonb, price_p25_minor bigint, price_p50_minor bigint,
       price_p75_minor bigint, interest_tags jsonb, active_hours jsonb, best_hour bigint)
     WHERE person_id IN (SELECT id FROM person WHERE erased_at IS NULL)",
    on_conflict!()
);

/// Writes traits, replacing what was there. At most 1,000 in a transaction keeps it short.
pub async fn put_traits(tx: &mut Tx, traits: &[Traits]) -> sqlx::Result<()> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => PUT_SQLITE,
        Dialect::Postgres => PUT_POSTGRES,
    };
    for part in traits.chunks(1000) {
        let rows: Vec<Row> = part.iter().map(Row::of).collect();
        let rows = json(&rows)?;
        on!(tx, |c| sqlx::query(sql).bind(rows.as_str()).execute(&mut *c).await.map(|_| ()))?;
    }
    Ok(())
}

impl<'a> Row<'a> {
    fn of(t: &'a Traits) -> Self {
        Self {
            person_id: t.person_id.0,
            computed_at: t.computed_at.0,
            order_count: t.order_count,
            revenue_minor: t.revenue_minor,
            first_order_at: t.first_order_at.map(|t| t.0),
            last_order_at: t.last_order_at.map(|t| t.0),
            recency_days: t.recency_days,
            r_quantile: t.r_quantile,
            f_quantile: t.f_quantile,
            m_quantile: t.m_quantile,
            active_days_28: t.active_days_28,
            visits_28: t.visits_28,
            visits_prev_28: t.visits_prev_28,
            depth_28: t.depth_28,
            engagement: t.engagement,
            engagement_trend: t.engagement_trend,
            top_category: t.top_category.as_deref(),
            category_affinity: &t.category_affinity.0,
            price_p25_minor: t.price_p25_minor,
            price_p50_minor: t.price_p50_minor,
            price_p75_minor: t.price_p75_minor,
            interest_tags: &t.interest_tags.0,
            active_hours: &t.active_hours.0,
            best_hour: t.best_hour,
        }
    }
}
