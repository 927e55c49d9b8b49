//! Last step: people, products, orders, events and adjustments go into the database in short transactions; each order whole or not at all.

use std::collections::{HashMap, HashSet};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::plan::{Order, Outlier, Plan};
use super::texts::NONE;
use crate::catalog;
use crate::events::orders::{self, Adjusted, AdjustmentKind, NewAdjustment, NewOrder, OrderLine, Source};
use crate::events::{self, NewEvent};
use crate::import::{ImportError, Options, Report};
use crate::people::{self, Identity, NewPerson};
use crate::platform::ids::{EventId, PersonId, ProductId};
use crate::platform::{Platform, Timestamp, progress};

/// Lines in one transaction.
const LINES: usize = 2_000;
/// Orders in one transaction.
const ORDERS: usize = 500;

pub async fn load(platform: &Platform, plan: &Plan, options: &Options, report: &mut Report) -> Result<(), ImportError> {
    let work = (plan.orders.len() + plan.adjustments.len()) as u64;
    let bar = if options.progress { progress::bar(work, "Writing orders") } else { indicatif::ProgressBar::hidden() };
    let people = load_people(platform, plan, report).await?;
    let products = load_products(platform, plan, report).await?;
    load_orders(platform, plan, &people, &products, report, &bar).await?;
    load_adjustments(platform, plan, report, &bar).await?;
    bar.finish_and_clear();
    report.unchanged = report.written.values().all(|n| *n == 0);
    Ok(())
}

/// Finds or creates everybody who ordered; of people known before nothing is changed. Ids by buyer number.
async fn load_people(platform: &Platform, plan: &Plan, report: &mut Report) -> Result<HashMap<u32, PersonId>, ImportError> {
    let mut first_order: HashMap<u32, Timestamp> = HashMap::new();
    for order in &plan.orders {
        if let Some(head) = plan.read.heads[order.number as usize].as_ref().filter(|h| h.person != NONE) {
            let first = first_order.entry(head.person).or_insert(head.at);
            *first = (*first).min(head.at);
        }
    }
    let mut numbers: Vec<(u32, Timestamp)> = first_order.into_iter().collect();
    numbers.sort_unstable();
    let mut ids = HashMap::with_capacity(numbers.len());
    for some in numbers.chunks(500) {
        let now = platform.now();
        let names: Vec<Vec<Identity>> = some.iter().map(|(n, _)| identities(plan, *n)).collect();
        let known = people::find_many(&platform.db, &names.concat()).await?;
        let erased = people::erased_among(&platform.db, &platform.signer, &names.concat()).await?;
        let mut strangers = Vec::new();
        for ((number, first), names) in some.iter().zip(&names) {
            // The money counts; the file does not bring its buyer back.
            if names.iter().any(|n| erased.contains_key(n)) {
                report.note("customers whose orders are kept without them, because they were erased", 1);
                continue;
            }
            match names.iter().find_map(|name| known.get(name)) {
                Some(id) => {
                    ids.insert(*number, *id);
                }
                None => strangers.push((*number, person(plan, *number, *first))),
            }
        }
        if strangers.is_empty() {
            continue;
        }
        let profiles: Vec<NewPerson> = strangers.iter().map(|(_, p)| p.clone()).collect();
        let mut tx = platform.db.begin().await?;
        let made = people::bulk_upsert(&mut tx, &profiles, now).await?;
        tx.commit().await?;
        ids.extend(strangers.iter().map(|(n, _)| *n).zip(made));
        report.wrote("people", strangers.len() as u64);
    }
    report.wrote("people", 0);
    Ok(ids)
}

fn identities(plan: &Plan, number: u32) -> Vec<Identity> {
    let buyer = &plan.read.buyers[number as usize];
    let external = buyer.external_id.clone().map(Identity::External);
    external.into_iter().chain(buyer.email.as_deref().and_then(Identity::email)).collect()
}

fn person(plan: &Plan, number: u32, first: Timestamp) -> NewPerson {
    let buyer = &plan.read.buyers[number as usize];
    NewPerson {
        external_id: buyer.external_id.clone(),
        email: buyer.email.clone(),
        country: buyer.country.clone(),
        first_seen_at: Some(first),
        ..NewPerson::default()
    }
}

/// Adds the products that the catalogue does not know; a richer entry stays as it is. Ids by sku number.
async fn load_products(platform: &Platform, plan: &Plan, report: &mut Report) -> Result<HashMap<u32, ProductId>, ImportError> {
    let mut ids = HashMap::with_capacity(plan.products.len());
    for some in plan.products.chunks(500) {
        let new: Vec<_> = some.iter().map(|(_, p)| p.clone()).collect();
        let mut tx = platform.db.begin().await?;
        let done = catalog::insert_missing(&mut tx, &new, platform.now()).await?;
        tx.commit().await?;
        report.wrote("products", done.inserted as u64);
        ids.extend(some.iter().map(|(sku, _)| *sku).zip(done.ids));
    }
    Ok(ids)
}

async fn load_orders(
    platform: &Platform,
    plan: &Plan,
    people: &HashMap<u32, PersonId>,
    products: &HashMap<u32, ProductId>,
    report: &mut Report,
    bar: &indicatif::ProgressBar,
) -> Result<(), ImportError> {
    let mut from = 0;
    while from < plan.orders.len() {
        let mut to = from;
        let mut lines = 0;
        while to < plan.orders.len() && to - from < ORDERS && (to == from || lines + plan.orders[to].count <= LINES) {
            lines += plan.orders[to].count;
            to += 1;
        }
        let some = &plan.orders[from..to];
        let new: Vec<NewOrder> = some.iter().map(|o| as_order(plan, o, people, products)).collect();
        let now = platform.now();
        let mut tx = platform.db.begin().await?;
        let recorded = orders::bulk_record(&mut tx, &new, now).await?;
        let fresh: Vec<&NewOrder> = new.iter().zip(&recorded).filter(|(_, r)| r.new).map(|(o, _)| o).collect();
        let facts: Vec<NewEvent> = fresh.iter().filter_map(|o| as_event(o, now)).collect();
        let events = events::insert_many(&mut tx, &facts).await?;
        let seen: Vec<_> = fresh.iter().filter_map(|o| o.person_id.map(|p| (p, o.placed_at, o.placed_at))).collect();
        people::seen(&mut tx, &seen).await?;
        tx.commit().await?;
        report.wrote("orders", fresh.len() as u64);
        report.wrote("order lines", fresh.iter().map(|o| o.lines.len() as u64).sum());
        report.wrote("events", events);
        report.note("orders that were there before", (new.len() - fresh.len()) as u64);
        bar.inc(some.len() as u64);
        from = to;
    }
    Ok(())
}

fn as_order(plan: &Plan, order: &Order, people: &HashMap<u32, PersonId>, products: &HashMap<u32, ProductId>) -> NewOrder {
    let head = plan.read.heads[order.number as usize].as_ref();
    let range = order.first..order.first + order.count;
    let lines = plan.lines[range.clone()]
        .iter()
        .zip(&plan.outlier[range])
        .map(|(line, outlier)| OrderLine {
            product_id: products.get(&line.sku).copied(),
            sku: plan.read.skus.get(line.sku).to_owned(),
            title: if line.title == NONE { String::new() } else { plan.read.titles.get(line.title).to_owned() },
            quantity: line.quantity,
            unit_price_minor: line.price,
            flag: (*outlier != Outlier::No).then(|| "outlier".to_owned()),
        })
        .collect();
    NewOrder {
        order_ref: plan.read.references.get(order.number).to_owned(),
        person_id: head.and_then(|h| people.get(&h.person)).copied(),
        placed_at: head.map_or(Timestamp::MIN, |h| h.at),
        currency: head.map_or(crate::platform::Currency::EUR, |h| h.currency),
        total_minor: order.total,
        lines,
        flag: order.flagged.then(|| "outlier".to_owned()),
        source: Source::Import,
    }
}

/// The fact behind the order; nobody's order is no event. Its id follows from the reference, so that it is stored once.
fn as_event(order: &NewOrder, now: Timestamp) -> Option<NewEvent> {
    let person_id = order.person_id?;
    let pieces: i64 = order.lines.iter().map(|l| l.quantity).sum();
    let distinct: HashSet<Option<ProductId>> = order.lines.iter().map(|l| l.product_id).collect();
    let unit = 10_f64.powi(i32::try_from(order.currency.exponent()).unwrap_or(2));
    #[allow(clippy::cast_precision_loss, reason = "the specification of the event wants a decimal number; money is counted from the order")]
    let total = order.total_minor as f64 / unit;
    let properties = json!({
        "order_id": order.order_ref, "total": total, "currency": order.currency, "lines": order.lines.len(), "quantity": pieces,
    });
    let hash = Sha256::digest(format!("import/order/{}", order.order_ref));
    let mut random = [0_u8; 10];
    random.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(order.placed_at.micros() / 1000).unwrap_or(0);
    Some(NewEvent {
        id: EventId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()),
        person_id,
        kind: "track",
        name: events::name::ORDER_COMPLETED.to_owned(),
        product_id: if distinct.len() == 1 { order.lines.first().and_then(|l| l.product_id) } else { None },
        occurred_at: order.placed_at,
        received_at: now,
        properties: properties.as_object().cloned().unwrap_or_default(),
    })
}

async fn load_adjustments(platform: &Platform, plan: &Plan, report: &mut Report, bar: &indicatif::ProgressBar) -> Result<(), ImportError> {
    report.wrote("cancellations and refunds", 0);
    for some in plan.adjustments.chunks(100) {
        let now = platform.now();
        let mut tx = platform.db.begin().await?;
        let mut applied = 0;
        for adjustment in some {
            let currency = plan.read.heads[adjustment.order as usize].as_ref().map(|h| h.currency);
            let new = NewAdjustment {
                reference: adjustment.reference.clone(),
                order_ref: plan.read.references.get(adjustment.order).to_owned(),
                kind: if adjustment.amount.is_none() { AdjustmentKind::Cancel } else { AdjustmentKind::Refund },
                at: adjustment.at,
                amount_minor: adjustment.amount,
                currency,
                lines: adjustment.pieces.iter().map(|(sku, n)| (plan.read.skus.get(*sku).to_owned(), *n)).collect(),
                source: Source::Import,
            };
            match orders::adjust(&mut tx, &new, now).await? {
                Adjusted::Applied { .. } => applied += 1,
                Adjusted::Duplicate => {}
                Adjusted::Waiting | Adjusted::Refused(_) => report.note("cancellations and refunds that could not be applied", 1),
            }
        }
        tx.commit().await?;
        report.wrote("cancellations and refunds", applied);
        bar.inc(some.len() as u64);
    }
    Ok(())
}
