//! People: search by the beginning of an address, an id or a name; else all of them, in an order; and the same as a file.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use crate::attribution::rollup;
use crate::people::{self, PeopleOrder, Person, Traits};
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiResult;
use crate::platform::ids::PersonId;
use crate::platform::money::Money;
use crate::platform::{Currency, Db, Platform};
use crate::web::download;
use crate::web::page::Shell;
use crate::web::table::{PAGE_ROWS, Pager, Sort, kept, odd_after};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    sort: Option<String>,
    after: Option<String>,
}

const COLUMNS: [&str; 6] = ["-made", "name", "orders", "revenue", "first_seen", "last_seen"];

impl ListQuery {
    fn sort(&self) -> Sort {
        Sort::read(self.sort.as_deref(), &COLUMNS, String::new())
    }
    /// What is searched for; it has an order of its own.
    fn text(&self) -> Option<&str> {
        Some(self.q.trim()).filter(|q| !q.is_empty())
    }
}

fn order(sort: &Sort) -> PeopleOrder {
    match sort.by {
        "name" => PeopleOrder::Name,
        "orders" => PeopleOrder::Orders,
        "revenue" => PeopleOrder::Revenue,
        "first_seen" => PeopleOrder::FirstSeen,
        "last_seen" => PeopleOrder::LastSeen,
        _ => PeopleOrder::Made,
    }
}

#[derive(Serialize)]
struct Row {
    id: PersonId,
    label: String,
    email: Option<String>,
    external_id: Option<String>,
    country: Option<String>,
    email_consent: &'static str,
    tone: &'static str,
    orders: Option<i64>,
    revenue: Option<Money>,
    first_seen_at: Timestamp,
    last_seen_at: Timestamp,
}

#[derive(Serialize)]
struct ListView {
    rows: Vec<Row>,
    pager: Pager,
    sort: Sort,
    /// As asked for, for the form; empty where nothing was.
    sorted: String,
    /// In an order of figures that not everybody has.
    partial: bool,
    download: String,
    q: String,
    total: i64,
}

/// The keyset of a search: the text somebody was found by, and their id.
fn split_key(after: &str) -> ApiResult<(String, PersonId)> {
    let (key, id) = after.rsplit_once('~').ok_or_else(odd_after)?;
    Ok((key.to_owned(), id.parse().map_err(|_| odd_after())?))
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let (db, query) = (&platform.db, query.into_inner());
    let sort = query.sort();
    let after = query.after.as_deref().filter(|a| !a.is_empty());
    let asked = query.sort.as_deref().is_some_and(|s| !s.is_empty());
    let sorted = if asked { format!("{}{}", if sort.down { "-" } else { "" }, sort.by) } else { String::new() };
    let keep = kept(&[("q", &query.q), ("sort", &sorted)]);
    let download = format!("/people/download?{keep}");
    let (people, pager) = match query.text() {
        None => {
            let from = after.map(|a| a.parse::<PersonId>().map_err(|_| odd_after())).transpose()?;
            let mut found = people::ordered(db, order(&sort), sort.down, from, PAGE_ROWS + 1).await?;
            let pager = Pager::cut(&mut found, after, keep, |p| p.id.to_string());
            (found, pager)
        }
        Some(text) => {
            let from = after.map(split_key).transpose()?;
            let from = from.as_ref().map(|(key, id)| (key.as_str(), *id));
            let mut found = people::search(db, text, from, PAGE_ROWS as usize + 1).await?;
            let pager = Pager::cut(&mut found, after, keep, |f| format!("{}~{}", f.key, f.person.id));
            (found.into_iter().map(|f| f.person).collect(), pager)
        }
    };
    let view = ListView {
        rows: rows(&platform, db, people).await?,
        partial: query.text().is_none() && matches!(order(&sort), PeopleOrder::Orders | PeopleOrder::Revenue),
        pager,
        sort,
        sorted,
        download,
        q: query.q,
        total: rollup::people(db).await?,
    };
    shell.render("people/list.html", shell.say("people.title"), &view)
}

async fn rows(platform: &Platform, db: &Db, people: Vec<Person>) -> ApiResult<Vec<Row>> {
    let ids: Vec<PersonId> = people.iter().map(|p| p.id).collect();
    let traits = people::traits_many(db, &ids).await?;
    let currency = platform.config.shop.currency;
    Ok(people
        .into_iter()
        .map(|p| {
            let known = traits.get(&p.id);
            Row {
                label: p.label(),
                email_consent: p.email_consent.name(),
                tone: tone(p.email_consent),
                orders: known.map(|t| t.order_count),
                revenue: known.filter(|t| t.order_count > 0).map(|t| Money::new(t.revenue_minor, currency)),
                id: p.id,
                email: p.email,
                external_id: p.external_id,
                country: p.country,
                first_seen_at: p.first_seen_at,
                last_seen_at: p.last_seen_at,
            }
        })
        .collect())
}

pub(super) fn tone(state: people::Consent) -> &'static str {
    match state {
        people::Consent::Subscribed => "good",
        people::Consent::Unsubscribed => "bad",
        people::Consent::Never => "",
    }
}

static FILE_COLUMNS: [&str; 17] = [
    "id",
    "external_id",
    "email",
    "first_name",
    "last_name",
    "phone",
    "country",
    "city",
    "locale",
    "time_zone",
    "email_consent",
    "ads_consent",
    "orders",
    "revenue",
    "currency",
    "first_seen_at",
    "last_seen_at",
];

fn record(p: &Person, known: Option<&Traits>, currency: Currency) -> Vec<String> {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    vec![
        p.id.to_string(),
        text(&p.external_id),
        text(&p.email),
        text(&p.first_name),
        text(&p.last_name),
        text(&p.phone),
        text(&p.country),
        text(&p.city),
        text(&p.locale),
        text(&p.time_zone),
        p.email_consent.name().to_owned(),
        p.ads_consent.name().to_owned(),
        known.map(|t| t.order_count.to_string()).unwrap_or_default(),
        known.map(|t| Money::new(t.revenue_minor, currency).decimal()).unwrap_or_default(),
        known.map(|_| currency.code().to_owned()).unwrap_or_default(),
        p.first_seen_at.to_string(),
        p.last_seen_at.to_string(),
    ]
}

/// Where a file of people goes on.
enum Place {
    Begin,
    Ordered(PersonId),
    Found(String, PersonId),
}

/// Some people of the list, and where it goes on.
async fn piece(db: &Db, q: Option<&str>, order: PeopleOrder, down: bool, from: Place) -> sqlx::Result<(Vec<Person>, Option<Place>)> {
    let full = |n: usize| n == download::PIECE as usize;
    match q {
        None => {
            let after = if let Place::Ordered(id) = from { Some(id) } else { None };
            let found = people::ordered(db, order, down, after, download::PIECE).await?;
            let more = found.last().filter(|_| full(found.len())).map(|p| Place::Ordered(p.id));
            Ok((found, more))
        }
        Some(q) => {
            let after = if let Place::Found(key, id) = &from { Some((key.as_str(), *id)) } else { None };
            let found = people::search(db, q, after, download::PIECE as usize).await?;
            let more = found.last().filter(|_| full(found.len())).map(|f| Place::Found(f.key.clone(), f.person.id));
            Ok((found.into_iter().map(|f| f.person).collect(), more))
        }
    }
}

/// Everybody on the list, in its order.
pub(super) async fn download(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let sort = query.sort();
    // What was searched for may be somebody's name or address; who may read the log has no need of it.
    shell.note("/people", if query.text().is_some() { "of a search" } else { "everybody" });
    let (platform, order, down) = (platform.into_inner(), order(&sort), sort.down);
    let q = query.text().map(ToOwned::to_owned);
    Ok(download::pieces("people.csv", &FILE_COLUMNS, Place::Begin, move |from| {
        let (platform, q) = (platform.clone(), q.clone());
        async move {
            let (found, more) = piece(&platform.db, q.as_deref(), order, down, from).await?;
            let ids: Vec<PersonId> = found.iter().map(|p| p.id).collect();
            let traits = people::traits_many(&platform.db, &ids).await?;
            let currency = platform.config.shop.currency;
            Ok((found.iter().map(|p| record(p, traits.get(&p.id), currency)).collect(), more))
        }
    }))
}
