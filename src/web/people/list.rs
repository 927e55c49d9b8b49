//! People: search by the beginning of an address, an id or a name; else the newest.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use crate::people::{self, Person};
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::PersonId;
use crate::platform::money::Money;
use crate::platform::{Db, Platform};
use crate::web::page::Shell;
use crate::web::table::{PAGE_ROWS, Pager, kept};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    after: Option<String>,
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
    last_seen_at: Timestamp,
}

#[derive(Serialize)]
struct ListView {
    rows: Vec<Row>,
    pager: Pager,
    q: String,
    total: i64,
}

/// The keyset of a search: the text somebody was found by, and their id.
fn split_key(after: &str) -> ApiResult<(String, PersonId)> {
    let odd = || ApiError::bad_request("bad_query", "“after” is not one of ours.");
    let (key, id) = after.rsplit_once('~').ok_or_else(odd)?;
    Ok((key.to_owned(), id.parse().map_err(|_| odd())?))
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let (db, query) = (&platform.db, query.into_inner());
    let after = query.after.as_deref().filter(|a| !a.is_empty());
    let keep = kept(&[("q", &query.q)]);
    let (people, pager) = if query.q.trim().is_empty() {
        let before = match after {
            Some(text) => Some(text.parse::<PersonId>().map_err(|_| ApiError::bad_request("bad_query", "“after” is not one of ours."))?),
            None => None,
        };
        let mut found = people::newest(db, before, PAGE_ROWS + 1).await?;
        let pager = Pager::cut(&mut found, after, keep, |p| p.id.to_string());
        (found, pager)
    } else {
        let from = after.map(split_key).transpose()?;
        let from = from.as_ref().map(|(key, id)| (key.as_str(), *id));
        let mut found = people::search(db, &query.q, from, PAGE_ROWS as usize + 1).await?;
        let pager = Pager::cut(&mut found, after, keep, |f| format!("{}~{}", f.key, f.person.id));
        (found.into_iter().map(|f| f.person).collect(), pager)
    };
    let total = people::count(db).await?;
    let view = ListView { rows: rows(&platform, db, people).await?, pager, q: query.q, total };
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
