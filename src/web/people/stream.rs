//! A person's timeline: orders, mails, ads and events in one stream, newest first, page by page.

use std::collections::HashMap;

use serde::Serialize;
use uuid::Uuid;

use crate::campaign;
use crate::catalog;
use crate::events::{self, Event, orders};
use crate::platform::Db;
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiResult;
use crate::platform::ids::{EventId, OrderId, PersonId, TouchId};
use crate::platform::money::Money;
use crate::touches::{self, Arm, Touch};
use crate::web::page::Shell;
use crate::web::table::{PAGE_ROWS, Pager};

/// What the filter offers.
pub(super) const KINDS: [&str; 4] = ["all", "orders", "touches", "events"];
/// Most properties of an event that are shown.
const MOST_PROPERTIES: usize = 8;
const MAX_VALUE_CHARS: usize = 120;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Item {
    pub at: Timestamp,
    /// `order`, `touch`, `event`.
    kind: &'static str,
    title: String,
    detail: String,
    amount: Option<Money>,
    href: Option<String>,
    /// Text and tone of small marks.
    marks: Vec<(String, &'static str)>,
    properties: Vec<(String, String)>,
    #[serde(skip)]
    key: Key,
}

/// Where something stands in the stream: time, then kind, then id, all downwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Timestamp,
    /// 2 orders, 1 touches, 0 events.
    rank: u8,
    id: u128,
}

impl Key {
    const NEWEST: Self = Self { at: Timestamp(i64::MAX), rank: u8::MAX, id: u128::MAX };

    fn text(self) -> String {
        format!("{}.{}.{:x}", self.at.0, self.rank, self.id)
    }
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let at = Timestamp(parts.next()?.parse().ok()?);
        let rank = parts.next()?.parse().ok()?;
        Some(Self { at, rank, id: u128::from_str_radix(parts.next()?, 16).ok()? })
    }
    /// The lowest id that things of a kind at this very time must stay below.
    fn below(self, rank: u8) -> u128 {
        match rank.cmp(&self.rank) {
            std::cmp::Ordering::Less => u128::MAX,
            std::cmp::Ordering::Equal => self.id,
            std::cmp::Ordering::Greater => 0,
        }
    }
}

/// A page of the stream.
pub(super) async fn page(
    shell: &Shell,
    db: &Db,
    person: PersonId,
    kind: &str,
    after: Option<&str>,
    query: String,
) -> ApiResult<(Vec<Item>, Pager)> {
    let from = match after.filter(|a| !a.is_empty()) {
        Some(text) => Key::read(text).ok_or_else(crate::web::table::odd_after)?,
        None => Key::NEWEST,
    };
    let (all, limit) = (kind == "all", PAGE_ROWS + 1);
    let mut items = Vec::new();
    if all || kind == "orders" {
        items.extend(orders_before(shell, db, person, from, limit).await?);
    }
    if all || kind == "touches" {
        items.extend(touches_before(shell, db, person, from, limit).await?);
    }
    if all || kind == "events" {
        let before = (from.at, EventId(Uuid::from_u128(from.below(0))));
        items.extend(of_events(db, events::timeline(db, person, Some(before), limit).await?).await?);
    }
    items.sort_by_key(|i| std::cmp::Reverse(i.key));
    items.truncate(limit as usize);
    let pager = Pager::cut(&mut items, after, query, |i| i.key.text());
    Ok((items, pager))
}

async fn orders_before(shell: &Shell, db: &Db, person: PersonId, from: Key, limit: i64) -> ApiResult<Vec<Item>> {
    let id = OrderId(i64::try_from(from.below(2)).unwrap_or(i64::MAX));
    let found = orders::page_of_person(db, person, (from.at, id), limit).await?;
    let lines = orders::lines_of(db, &found.iter().map(|o| o.id).collect::<Vec<_>>()).await?;
    Ok(found
        .into_iter()
        .map(|order| {
            let named = lines.get(&order.id).map_or(&[] as &[(String, i64)], Vec::as_slice);
            let mut parts: Vec<String> =
                named.iter().take(4).map(|(title, n)| if *n == 1 { title.clone() } else { format!("{n} × {title}") }).collect();
            if named.len() > 4 {
                parts.push(shell.say_with("people.more_lines", &[("n", (named.len() - 4).to_string())]));
            }
            let mut marks = Vec::new();
            if order.status != "placed" {
                marks.push((shell.say(&format!("people.order_status.{}", order.status)), "warn"));
            }
            if order.flag.is_some() {
                marks.push((shell.say("people.implausible"), "bad"));
            }
            Item {
                at: order.placed_at,
                kind: "order",
                title: shell.say_with("people.order", &[("ref", order.order_ref.clone())]),
                detail: parts.join(", "),
                amount: Some(Money::new(order.net_minor(), order.currency)),
                href: None,
                marks,
                properties: Vec::new(),
                key: Key { at: order.placed_at, rank: 2, id: u128::try_from(order.id.0).unwrap_or(0) },
            }
        })
        .collect())
}

fn touch_marks(shell: &Shell, touch: &Touch) -> Vec<(String, &'static str)> {
    let tone = match touch.state.as_str() {
        "sent" | "served" => "good",
        "failed" | "uncertain" => "bad",
        "held" => "info",
        "planned" | "claimed" | "sending" | "deferred" => "",
        _ => "warn",
    };
    let mut marks = vec![(shell.say(&format!("people.touch_state.{}", touch.state)), tone)];
    for (at, key) in [(touch.open_at, "opened"), (touch.viewable_at, "viewed"), (touch.click_at, "clicked")] {
        if at.is_some() {
            marks.push((shell.say(&format!("people.{key}")), "info"));
        }
    }
    marks
}

async fn touches_before(shell: &Shell, db: &Db, person: PersonId, from: Key, limit: i64) -> ApiResult<Vec<Item>> {
    let found = touches::timeline(db, person, (from.at, TouchId(Uuid::from_u128(from.below(1)))), limit).await?;
    let campaigns = campaign::get_many(db, &found.iter().map(|t| t.campaign_id).collect::<Vec<_>>()).await?;
    let products: Vec<_> = found.iter().filter_map(|t| t.product_id).collect();
    let products = catalog::get_many(db, &products).await?;
    Ok(found
        .into_iter()
        .map(|touch| {
            let at = touch.contact_at.unwrap_or(touch.planned_at);
            let name = campaigns.get(&touch.campaign_id).map_or_else(|| touch.campaign_id.to_string(), |c| c.name.clone());
            let key = if touch.arm == Arm::Ghost { "people.ghost".to_owned() } else { format!("people.touch.{}", touch.channel) };
            let reason = touch.reason.as_deref().map(|r| r.split(':').next().unwrap_or(r).replace('_', " "));
            let product = touch.product_id.and_then(|p| products.get(&p)).map(|p| p.title.clone());
            Item {
                at,
                kind: "touch",
                title: shell.say_with(&key, &[("campaign", name)]),
                detail: [product, reason].into_iter().flatten().collect::<Vec<_>>().join(" · "),
                amount: None,
                href: Some(format!("/campaigns/{}", touch.campaign_id)),
                marks: touch_marks(shell, &touch),
                properties: Vec::new(),
                key: Key { at, rank: 1, id: touch.id.0.as_u128() },
            }
        })
        .collect())
}

async fn of_events(db: &Db, found: Vec<Event>) -> ApiResult<Vec<Item>> {
    let products: Vec<_> = found.iter().filter_map(|e| e.product_id).collect();
    let products: HashMap<_, _> = catalog::get_many(db, &products).await?;
    Ok(found
        .into_iter()
        .map(|event| Item {
            at: event.occurred_at,
            kind: "event",
            detail: event.product_id.and_then(|p| products.get(&p)).map(|p| p.title.clone()).unwrap_or_default(),
            amount: None,
            href: None,
            marks: Vec::new(),
            properties: properties(&event),
            key: Key { at: event.occurred_at, rank: 0, id: event.id.0.as_u128() },
            title: event.name,
        })
        .collect())
}

/// The plain properties of an event, shortened.
fn properties(event: &Event) -> Vec<(String, String)> {
    event
        .properties
        .0
        .iter()
        .filter(|(_, v)| !v.is_object() && !v.is_array() && !v.is_null())
        .take(MOST_PROPERTIES)
        .map(|(k, v)| {
            let text = v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned);
            (k.chars().take(60).collect(), text.chars().take(MAX_VALUE_CHARS).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_and_keep_their_order() {
        let key = Key { at: Timestamp(1_700_000_000_000_000), rank: 1, id: 0xabc };
        assert_eq!(Key::read(&key.text()), Some(key));
        assert_eq!(Key::read("1.x.2"), None);
        assert_eq!((key.below(0), key.below(1), key.below(2)), (u128::MAX, 0xabc, 0));
        assert!(Key::NEWEST > key);
    }
}
