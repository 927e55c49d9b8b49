//! Second step: lines become orders. Duplicates go, cancellations meet what they cancel, outliers are flagged, titles and prices are chosen.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::read::{Line, Read};
use super::texts::NONE;
use crate::catalog::NewProduct;
use crate::import::report::{Code, Refusals, Report};
use crate::platform::clock::Timestamp;
use crate::platform::money::{Currency, Money};

/// A line is an outlier above this many pieces …
const OUTLIER_PIECES: i64 = 1_000;
/// … that are also more than this many times the median.
const OUTLIER_TIMES: i64 = 50;
/// An order with a line above both of these is no plausible order, and flagged as a whole: it is left out of every figure. Merely large
/// ones are a wholesale customer's.
const IMPLAUSIBLE_PIECES: i64 = 10_000;
const IMPLAUSIBLE_TIMES: i64 = 1_000;
/// Below this many lines a product's own median says little, and the shop's is taken.
const ENOUGH_LINES: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlier {
    No,
    /// Far more pieces than usual.
    Line,
    /// So many that the whole order is not plausible.
    Order,
}

/// An order to record: its lines are `lines[first..first + count]`.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub number: u32,
    pub first: usize,
    pub count: usize,
    /// After discounts, in minor units.
    pub total: i64,
    pub flagged: bool,
}

/// Money and pieces to give back.
#[derive(Clone, Debug)]
pub struct Adjustment {
    pub reference: String,
    /// Which order it is taken off.
    pub order: u32,
    pub at: Timestamp,
    /// `None`: all that is left.
    pub amount: Option<i64>,
    pub pieces: Vec<(u32, i64)>,
}

/// What is to be written.
#[derive(Debug)]
pub struct Plan {
    pub read: Read,
    /// The accepted lines, grouped by order.
    pub lines: Vec<Line>,
    /// How far the line at the same place is out of the ordinary.
    pub outlier: Vec<Outlier>,
    /// By time.
    pub orders: Vec<Order>,
    pub adjustments: Vec<Adjustment>,
    /// One for each sku that was sold, with the sku's number.
    pub products: Vec<(u32, NewProduct)>,
}

pub fn plan(mut read: Read, report: &mut Report) -> (Plan, Refusals) {
    let mut refusals = std::mem::take(&mut read.refusals);
    let lines = grouped(&mut read, &mut refusals);
    let (mut sales, cancels): (Vec<Line>, Vec<Line>) = lines.into_iter().partition(|l| !l.cancels);
    let mut left: Vec<i64> = sales.iter().map(|l| l.quantity).collect();
    let taken = cancel(&read, &sales, &cancels, &mut left, &mut refusals, report);
    let outlier = outliers(&sales, read.skus.len());
    let mut orders = totals(&read, &sales, &outlier);
    let mut adjustments = adjustments(&read, &sales, &left, &orders, taken);
    adjustments.extend(order_level(&read, &orders));
    let products = products(&read, &sales);
    orders.sort_by_key(|o| (read.heads[o.number as usize].as_ref().map(|h| h.at), o.first));
    count(report, &read, &sales, &orders, &outlier);
    sales.shrink_to_fit();
    (Plan { read, lines: sales, outlier, orders, adjustments, products }, refusals)
}

/// The lines by order, as they stand in the file, without duplicates and without orders of which a part is missing.
fn grouped(read: &mut Read, refusals: &mut Refusals) -> Vec<Line> {
    let mut lines = std::mem::take(&mut read.lines);
    lines.sort_by_key(|l| l.order);
    let mut seen: HashSet<(u32, i64, i64, Timestamp, u32)> = HashSet::new();
    let mut current = NONE;
    lines.retain(|l| {
        if l.order != current {
            current = l.order;
            seen.clear();
        }
        let incomplete = read.incomplete.get(l.order as usize).copied().unwrap_or(false);
        let code = if incomplete {
            Code::OrderIncomplete
        } else if read.torn_order == Some(l.order) {
            Code::TornFile
        } else if !seen.insert((l.sku, l.quantity, l.price, l.at, l.title)) {
            Code::Duplicate
        } else {
            return true;
        };
        refusals.add(l.number, code);
        false
    });
    lines
}

/// Pieces that one cancellation takes back from one line: `(cancelling order, line's place, pieces, when)`.
type Taken = Vec<(u32, usize, i64, Timestamp)>;

/// Each cancellation takes back the newest earlier pieces of the same customer and product that nobody has taken back yet.
fn cancel(read: &Read, sales: &[Line], cancels: &[Line], left: &mut [i64], refusals: &mut Refusals, report: &mut Report) -> Taken {
    let person = |l: &Line| read.heads[l.order as usize].as_ref().map_or(NONE, |h| h.person);
    let wanted: HashSet<(u32, u32)> = cancels.iter().map(|l| (person(l), l.sku)).collect();
    // By time; at the same time sales come before cancellations. Of one order the upper lines lie on top, as `events::orders` takes them.
    let placed = |l: &Line| read.heads[l.order as usize].as_ref().map_or(l.at, |h| h.at);
    let mut steps: Vec<(Timestamp, bool, i64, usize)> =
        cancels.iter().enumerate().map(|(at, l)| (l.at, true, i64::try_from(l.number).unwrap_or(0), at)).collect();
    let bought = sales.iter().enumerate().filter(|(_, l)| wanted.contains(&(person(l), l.sku)));
    steps.extend(bought.map(|(at, l)| (placed(l), false, -i64::try_from(l.number).unwrap_or(0), at)));
    steps.sort_unstable();
    let mut open: HashMap<(u32, u32), Vec<usize>> = HashMap::new();
    let mut taken = Vec::new();
    for (_, cancels_something, _, at) in steps {
        if !cancels_something {
            open.entry((person(&sales[at]), sales[at].sku)).or_default().push(at);
            continue;
        }
        let line = &cancels[at];
        let who = person(line);
        if who == NONE {
            refusals.explain(line.number, Code::CancelUnmatched, "it names no customer");
            continue;
        }
        let mut want = line.quantity;
        let stack = open.entry((who, line.sku)).or_default();
        while want > 0
            && let Some(&sale) = stack.last()
        {
            let take = want.min(left[sale]);
            want -= take;
            left[sale] -= take;
            taken.push((line.order, sale, take, line.at));
            if let Some(head) = &read.heads[sales[sale].order as usize] {
                report.amount(head.currency.code(), "cancelled", take * sales[sale].price);
            }
            if left[sale] == 0 {
                stack.pop();
            }
        }
        if want == line.quantity {
            refusals.add(line.number, Code::CancelUnmatched);
            continue;
        }
        report.cancellations += 1;
        if want > 0 {
            report.note("cancellations that match only in part", 1);
            report.note("pieces cancelled that were not bought in this file", want.unsigned_abs());
        }
    }
    taken
}

fn median(values: &mut [i64]) -> i64 {
    if values.is_empty() {
        return 1;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

/// Lines of far more pieces than the product, or else the shop, usually sells at once.
fn outliers(sales: &[Line], skus: usize) -> Vec<Outlier> {
    let mut by_sku: Vec<Vec<i64>> = vec![Vec::new(); skus];
    for line in sales {
        by_sku[line.sku as usize].push(line.quantity);
    }
    let mut all: Vec<i64> = sales.iter().map(|l| l.quantity).collect();
    let shop = median(&mut all);
    let medians: Vec<i64> = by_sku.iter_mut().map(|q| if q.len() < ENOUGH_LINES { shop } else { median(q) }).collect();
    let judge = |line: &Line| {
        let usual = medians[line.sku as usize].max(1);
        let beyond = |pieces, times| line.quantity > pieces && line.quantity > times * usual;
        match (beyond(OUTLIER_PIECES, OUTLIER_TIMES), beyond(IMPLAUSIBLE_PIECES, IMPLAUSIBLE_TIMES)) {
            (_, true) => Outlier::Order,
            (true, false) => Outlier::Line,
            _ => Outlier::No,
        }
    };
    sales.iter().map(judge).collect()
}

fn totals(read: &Read, sales: &[Line], outlier: &[Outlier]) -> Vec<Order> {
    let mut orders: Vec<Order> = Vec::new();
    for (at, line) in sales.iter().enumerate() {
        let amount = line.quantity * line.price;
        match orders.last_mut() {
            Some(order) if order.number == line.order => {
                order.count += 1;
                order.total = order.total.saturating_add(amount);
                order.flagged |= outlier[at] == Outlier::Order;
            }
            _ => orders.push(Order { number: line.order, first: at, count: 1, total: amount, flagged: outlier[at] == Outlier::Order }),
        }
    }
    for order in &mut orders {
        let discount = read.heads[order.number as usize].as_ref().map_or(0, |h| h.discount);
        order.total -= discount.min(order.total);
    }
    orders
}

/// One adjustment for each cancellation and order that it touches. The last one of an order of which nothing is left cancels the whole.
fn adjustments(read: &Read, sales: &[Line], left: &[i64], orders: &[Order], taken: Taken) -> Vec<Adjustment> {
    let mut found: Vec<Adjustment> = Vec::new();
    let mut places: HashMap<(u32, u32), usize> = HashMap::new();
    for (by, sale, pieces, at) in taken {
        let line = &sales[sale];
        let place = *places.entry((by, line.order)).or_insert_with(|| {
            found.push(Adjustment {
                reference: format!("{}/{}", read.references.get(by), read.references.get(line.order)),
                order: line.order,
                at,
                amount: Some(0),
                pieces: Vec::new(),
            });
            found.len() - 1
        });
        let adjustment = &mut found[place];
        adjustment.amount = adjustment.amount.map(|a| a.saturating_add(pieces * line.price));
        match adjustment.pieces.iter_mut().find(|(sku, _)| *sku == line.sku) {
            Some((_, n)) => *n += pieces,
            None => adjustment.pieces.push((line.sku, pieces)),
        }
    }
    let nothing_left: HashSet<u32> =
        orders.iter().filter(|o| left[o.first..o.first + o.count].iter().all(|n| *n == 0)).map(|o| o.number).collect();
    let mut closed = HashSet::new();
    for adjustment in found.iter_mut().rev() {
        if nothing_left.contains(&adjustment.order) && closed.insert(adjustment.order) {
            adjustment.amount = None;
        }
    }
    found
}

/// What the order's own columns say: refunded, cancelled.
fn order_level(read: &Read, orders: &[Order]) -> Vec<Adjustment> {
    let mut found = Vec::new();
    for order in orders {
        let Some(head) = &read.heads[order.number as usize] else { continue };
        let reference = read.references.get(order.number);
        let mut add = |kind: &str, at, amount| {
            found.push(Adjustment { reference: format!("{reference}/{kind}"), order: order.number, at, amount, pieces: Vec::new() });
        };
        if head.refunded > 0 {
            // A file names the sum refunded so far; another sum is another refund.
            add(&format!("refunded-{}", head.refunded), head.cancelled_at.unwrap_or(head.at), Some(head.refunded));
        }
        if let Some(at) = head.cancelled_at {
            add("cancelled", at, None);
        }
    }
    found
}

#[derive(Default)]
struct Seen {
    titles: BTreeMap<u32, u32>,
    /// Price and currency: how often, and when last.
    prices: HashMap<(i64, Currency), (u32, Timestamp)>,
}

/// A product for each sku: its most frequent title and price (of equally frequent prices the newest).
fn products(read: &Read, sales: &[Line]) -> Vec<(u32, NewProduct)> {
    let mut by_sku: BTreeMap<u32, Seen> = BTreeMap::new();
    for line in sales {
        let seen = by_sku.entry(line.sku).or_default();
        if line.title != NONE {
            *seen.titles.entry(line.title).or_default() += 1;
        }
        let currency = read.heads[line.order as usize].as_ref().map_or(Currency::EUR, |h| h.currency);
        let price = seen.prices.entry((line.price, currency)).or_insert((0, line.at));
        price.0 += 1;
        price.1 = price.1.max(line.at);
    }
    by_sku
        .into_iter()
        .filter_map(|(sku, seen)| {
            let title =
                seen.titles.iter().max_by_key(|(title, n)| (**n, std::cmp::Reverse(**title))).map_or("", |(t, _)| read.titles.get(*t));
            let (price, currency) = *seen.prices.iter().max_by_key(|(key, n)| (**n, *key)).map(|(key, _)| key)?;
            let code = read.skus.get(sku);
            let title = super::read::title_of(code, title);
            let product = NewProduct::new(code, title, Money::new(price, currency)).checked().ok()?;
            Some((sku, product))
        })
        .collect()
}

fn count(report: &mut Report, read: &Read, sales: &[Line], orders: &[Order], outlier: &[Outlier]) {
    report.accepted = sales.len() as u64;
    for order in orders {
        let Some(head) = &read.heads[order.number as usize] else { continue };
        let gross: i64 = sales[order.first..order.first + order.count].iter().map(|l| l.quantity * l.price).sum();
        report.amount(head.currency.code(), "sold", gross);
        if gross != order.total {
            report.amount(head.currency.code(), "discounts", gross - order.total);
        }
        if head.person == NONE {
            report.note("orders without a customer", 1);
        }
    }
    report.note("orders in the file", orders.len() as u64);
    report.note("lines flagged as outliers", outlier.iter().filter(|o| **o != Outlier::No).count() as u64);
    report.note("orders flagged as not plausible", orders.iter().filter(|o| o.flagged).count() as u64);
    report.note("addresses left out because they are none", read.bad_addresses);
}
