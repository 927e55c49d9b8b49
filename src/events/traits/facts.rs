//! What the traits are computed from, aggregated by the database.

use std::collections::{HashMap, HashSet};

use sqlx::AssertSqlSafe;

use crate::platform::clock::{DAY_US, MINUTE_US, Timestamp};
use crate::platform::db::{Db, Dialect};
use crate::platform::ids::{PersonId, ProductId};
use crate::platform::money::Currency;
use crate::read;

/// A buyer's orders. Money in the shop's currency; orders in others count, but their money does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Buyer {
    pub person_id: PersonId,
    pub orders: i64,
    pub net_minor: i64,
    pub first_at: Timestamp,
    pub last_at: Timestamp,
}

/// One person's aggregated facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub visits_28: i64,
    pub visits_prev_28: i64,
    pub events_28: i64,
    /// Events of the last 90 days by quarter hour.
    pub quarters: Vec<Quarter>,
    /// What they looked at, put into the basket, …
    pub looked: Vec<Looked>,
    pub bought: Vec<Bought>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Quarter {
    pub person_id: PersonId,
    /// Quarter hours since the epoch.
    pub quarter: i64,
    pub events: i64,
    pub last_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Looked {
    pub person_id: PersonId,
    pub product_id: ProductId,
    pub name: String,
    pub weeks_ago: i64,
    pub times: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Bought {
    pub person_id: PersonId,
    pub product_id: Option<ProductId>,
    /// `None` where the order was in another currency.
    pub unit_price_minor: Option<i64>,
    pub weeks_ago: i64,
    pub lines: i64,
}

#[derive(sqlx::FromRow)]
struct Visits {
    person_id: PersonId,
    visits: i64,
    visits_prev: i64,
    events: i64,
}

// An order of which everything was given back by then is no order.
const BUYERS: &str = "SELECT o.person_id, COUNT(*) AS orders,
       CAST(SUM(CASE WHEN o.currency = $2 THEN o.total_minor - COALESCE(a.amount, 0) ELSE 0 END) AS BIGINT) AS net_minor,
       MIN(o.placed_at) AS first_at, MAX(o.placed_at) AS last_at
     FROM shop_order o LEFT JOIN (SELECT order_id, CAST(SUM(amount_minor) AS BIGINT) AS amount FROM order_adjustment
       WHERE at <= $1 AND order_id IS NOT NULL GROUP BY order_id) a ON a.order_id = o.id
     WHERE o.placed_at <= $1 AND o.flag IS NULL AND o.person_id IS NOT NULL
       AND (o.total_minor = 0 OR COALESCE(a.amount, 0) < o.total_minor)
     GROUP BY o.person_id";

/// Everybody who bought something by then and kept it.
pub(super) async fn buyers(db: &Db, as_of: Timestamp, currency: Currency) -> sqlx::Result<HashMap<PersonId, Buyer>> {
    let rows = read!(*db, |c| sqlx::query_as::<_, Buyer>(BUYERS).bind(as_of).bind(currency.code()).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|b| (b.person_id, b)).collect())
}

// A visit begins with an event that follows 30 minutes of silence.
const VISITS: &str = "SELECT person_id, CAST(SUM(CASE WHEN occurred_at > $3 THEN starts ELSE 0 END) AS BIGINT) AS visits,
       CAST(SUM(CASE WHEN occurred_at <= $3 AND occurred_at > $4 THEN starts ELSE 0 END) AS BIGINT) AS visits_prev,
       CAST(SUM(CASE WHEN occurred_at > $3 THEN 1 ELSE 0 END) AS BIGINT) AS events
     FROM (SELECT person_id, occurred_at,
         CASE WHEN occurred_at - COALESCE(LAG(occurred_at) OVER (PARTITION BY person_id ORDER BY occurred_at), 0) > 1800000000
           THEN 1 ELSE 0 END AS starts
       FROM event WHERE person_id IN ({people}) AND occurred_at <= $2 AND occurred_at > $5) e
     GROUP BY person_id";
const QUARTERS: &str = "SELECT person_id, occurred_at / 900000000 AS quarter, COUNT(*) AS events, MAX(occurred_at) AS last_at
     FROM event WHERE person_id IN ({people}) AND occurred_at <= $2 AND occurred_at > $3 GROUP BY 1, 2 ORDER BY 1, 2";
const LOOKED: &str = "SELECT person_id, product_id, name, ($2 - occurred_at) / 604800000000 AS weeks_ago, COUNT(*) AS times
     FROM event WHERE person_id IN ({people}) AND occurred_at <= $2 AND occurred_at > $3 AND product_id IS NOT NULL
     GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
const BOUGHT: &str = "SELECT o.person_id, l.product_id, CASE WHEN o.currency = $3 THEN l.unit_price_minor END AS unit_price_minor,
       ($2 - o.placed_at) / 604800000000 AS weeks_ago, COUNT(*) AS lines
     FROM shop_order o JOIN order_line l ON l.order_id = o.id
     WHERE o.person_id IN ({people}) AND o.placed_at <= $2 AND o.flag IS NULL AND l.flag IS NULL AND l.quantity > 0
       AND (o.total_minor = 0 OR o.total_minor > COALESCE((SELECT CAST(SUM(a.amount_minor) AS BIGINT) FROM order_adjustment a
         WHERE a.order_id = o.id AND a.at <= $2), 0))
     GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

/// Time looked back for hours and active days, and for tastes.
const HOURS_DAYS: i64 = 90;
const TASTE_DAYS: i64 = 365;

/// Only people who have one of these events may have other traits than before, apart from those that time alone changes.
const NEWS: &str = "SELECT person_id FROM event WHERE occurred_at >= $2 AND received_at >= $1
     UNION SELECT person_id FROM shop_order WHERE updated_at >= $1 AND person_id IS NOT NULL
     UNION SELECT id FROM person WHERE created_at >= $1";
/// What is received later than this after it happened waits for the person's next turn in the round.
const LATEST_DAYS: i64 = 2;

/// People of whom something was received since then.
pub(super) async fn people_with_news(db: &Db, since: Timestamp) -> sqlx::Result<HashSet<PersonId>> {
    // A minute back: what was received just before may have been committed a little later.
    let since = since.plus_us(-MINUTE_US);
    let rows: Vec<PersonId> = read!(*db, |c| sqlx::query_scalar(NEWS).bind(since).bind(since.plus_days(-LATEST_DAYS)).fetch_all(c).await)?;
    Ok(rows.into_iter().collect())
}

/// A query's text with the list of people in its place; `$1` is that list as JSON.
fn of_people(db: &Db, sql: &str) -> AssertSqlSafe<String> {
    let list = match db.dialect() {
        Dialect::Sqlite => "SELECT value FROM json_each($1)",
        Dialect::Postgres => "SELECT value::bigint FROM json_array_elements_text($1::json)",
    };
    AssertSqlSafe(sql.replace("{people}", list))
}

/// What these people did up to `as_of`, aggregated. At most some thousand at a time.
pub(super) async fn of(db: &Db, people: &[PersonId], as_of: Timestamp, currency: Currency) -> sqlx::Result<HashMap<PersonId, Facts>> {
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let people = serde_json::to_string(&people.iter().map(|p| p.0).collect::<Vec<i64>>()).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let people = people.as_str();
    let (month, two_months) = (as_of.plus_days(-28), as_of.plus_days(-56));
    let hours_since = Timestamp(as_of.0.saturating_sub(HOURS_DAYS * DAY_US));
    let taste_since = Timestamp(as_of.0.saturating_sub(TASTE_DAYS * DAY_US));
    let visits = async {
        read!(*db, |c| {
            sqlx::query_as::<_, Visits>(of_people(db, VISITS))
                .bind(people)
                .bind(as_of)
                .bind(month)
                .bind(two_months)
                .bind(two_months.plus_us(-30 * MINUTE_US))
                .fetch_all(c)
                .await
        })
    };
    let quarters = async {
        read!(*db, |c| sqlx::query_as::<_, Quarter>(of_people(db, QUARTERS)).bind(people).bind(as_of).bind(hours_since).fetch_all(c).await)
    };
    let looked = async {
        read!(*db, |c| sqlx::query_as::<_, Looked>(of_people(db, LOOKED)).bind(people).bind(as_of).bind(taste_since).fetch_all(c).await)
    };
    let bought = async {
        read!(*db, |c| sqlx::query_as::<_, Bought>(of_people(db, BOUGHT)).bind(people).bind(as_of).bind(currency.code()).fetch_all(c).await)
    };
    // Each is a scan of its own: asked at once, on as many connections.
    let (visits, quarters, looked, bought) = futures::try_join!(visits, quarters, looked, bought)?;
    let mut facts: HashMap<PersonId, Facts> = HashMap::new();
    for v in visits {
        let f = facts.entry(v.person_id).or_default();
        (f.visits_28, f.visits_prev_28, f.events_28) = (v.visits, v.visits_prev, v.events);
    }
    for row in quarters {
        facts.entry(row.person_id).or_default().quarters.push(row);
    }
    for row in looked {
        facts.entry(row.person_id).or_default().looked.push(row);
    }
    for row in bought {
        facts.entry(row.person_id).or_default().bought.push(row);
    }
    Ok(facts)
}
