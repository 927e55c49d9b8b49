//! People in an order, page by page: each order is an index, walked from where the last page ended.

use sqlx::AssertSqlSafe;

use super::model::Person;
use crate::platform::db::{Db, Dialect};
use crate::platform::ids::PersonId;
use crate::read;

/// The order of a list of people. Ties are broken by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeopleOrder {
    /// When they were written down.
    #[default]
    Made,
    /// As [`Person::label`] names them.
    Name,
    FirstSeen,
    LastSeen,
    /// Only people whose traits were computed.
    Orders,
    /// Only people whose traits were computed.
    Revenue,
}

const NAME: &str = "LOWER(COALESCE(first_name || ' ' || last_name, first_name, last_name, email, external_id, ''))";

impl PeopleOrder {
    fn column(self, dialect: Dialect) -> String {
        match self {
            Self::Made => "p.id".into(),
            Self::Name if dialect == Dialect::Postgres => format!("({NAME} COLLATE \"C\")"),
            Self::Name => NAME.into(),
            Self::FirstSeen => "first_seen_at".into(),
            Self::LastSeen => "last_seen_at".into(),
            Self::Orders => "order_count".into(),
            Self::Revenue => "revenue_minor".into(),
        }
    }
    fn of_traits(self) -> bool {
        matches!(self, Self::Orders | Self::Revenue)
    }
    fn from(self) -> &'static str {
        if self.of_traits() { "person_traits t CROSS JOIN person p WHERE p.id = t.person_id" } else { "person p WHERE true" }
    }
    fn id(self) -> &'static str {
        if self.of_traits() { "t.person_id" } else { "p.id" }
    }
}

/// What somebody is ordered by.
enum Key {
    Number(i64),
    Text(String),
}

async fn key_of(db: &Db, order: PeopleOrder, id: PersonId) -> sqlx::Result<Option<Key>> {
    let sql = format!("SELECT {} FROM {} AND p.id = $1", order.column(db.dialect()), order.from());
    if order == PeopleOrder::Name {
        let text = read!(*db, |c| sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_optional(c).await)?;
        return Ok(text.map(Key::Text));
    }
    let number = read!(*db, |c| sqlx::query_scalar(AssertSqlSafe(sql)).bind(id).fetch_optional(c).await)?;
    Ok(number.map(Key::Number))
}

/// At most `limit` people, behind `after` (whose place is looked up: where they are gone, the list ends). Nobody who was erased or merged away.
pub async fn ordered(db: &Db, order: PeopleOrder, down: bool, after: Option<PersonId>, limit: i64) -> sqlx::Result<Vec<Person>> {
    let key = match after {
        Some(id) => match key_of(db, order, id).await? {
            Some(key) => Some((key, id)),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    let (column, id) = (order.column(db.dialect()), order.id());
    let (beyond, way) = if down { ("<", " DESC") } else { (">", "") };
    let behind = match (&key, order) {
        (None, _) => String::new(),
        (Some(_), PeopleOrder::Made) => format!(" AND p.id {beyond} $2"),
        (Some(_), _) => format!(" AND {column} {beyond}= $3 AND ({column} {beyond} $3 OR {id} {beyond} $2)"),
    };
    let by = if order == PeopleOrder::Made { format!("p.id{way}") } else { format!("{column}{way}, {id}{way}") };
    let sql = format!("SELECT p.* FROM {} AND p.erased_at IS NULL{behind} ORDER BY {by} LIMIT $1", order.from());
    read!(*db, |c| {
        let mut query = sqlx::query_as::<_, Person>(AssertSqlSafe(sql)).bind(limit);
        if let Some((key, id)) = key {
            query = query.bind(id);
            if order != PeopleOrder::Made {
                query = match key {
                    Key::Number(number) => query.bind(number),
                    Key::Text(text) => query.bind(text),
                };
            }
        }
        query.fetch_all(c).await
    })
}
