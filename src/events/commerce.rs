//! Segment's e-commerce events as orders. Amounts are read from the decimal text of a number, never through floats.

use serde_json::{Map, Value};

use super::model::name;
use super::orders::{AdjustmentKind, NewAdjustment, NewOrder, OrderLine, Source};
use crate::platform::clock::Timestamp;
use crate::platform::money::{Currency, Money};

/// More lines than this are cut off: a call of 32 kB has no room for more.
const MAX_LINES: usize = 1000;

/// What a commerce event means for the books. The person and the products are filled in when it is committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Commerce {
    Completed(NewOrder),
    Updated(NewOrder),
    Adjusted(NewAdjustment),
}

/// Where amounts have no currency of their own, and how the event is known.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    pub shop_currency: Currency,
    pub at: Timestamp,
    /// Names what carries no id of its own.
    pub message: &'a str,
    pub source: Source,
}

/// Reads a commerce event; `None` for every other name. What cannot be is flagged in the order, an adjustment that cannot be is an error.
pub fn read(event: &str, properties: &Map<String, Value>, setting: Setting<'_>) -> Option<Result<Commerce, String>> {
    match event {
        name::ORDER_COMPLETED => Some(Ok(Commerce::Completed(order(properties, setting)))),
        name::ORDER_UPDATED => Some(Ok(Commerce::Updated(order(properties, setting)))),
        name::ORDER_REFUNDED => Some(adjustment(AdjustmentKind::Refund, properties, setting).map(Commerce::Adjusted)),
        name::ORDER_CANCELLED => Some(adjustment(AdjustmentKind::Cancel, properties, setting).map(Commerce::Adjusted)),
        _ => None,
    }
}

/// A text, or a number as text; trimmed, without NUL characters, at most 255 characters.
pub fn text(value: Option<&Value>) -> Option<String> {
    let text = match value? {
        Value::String(s) => s.replace('\0', "").trim().chars().take(255).collect(),
        Value::Number(n) => n.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// An amount in minor units. More decimals than the currency has are rounded half away from zero.
fn amount(value: Option<&Value>, currency: Currency) -> Option<i64> {
    let text = match value? {
        Value::String(s) => s.clone(),
        Value::Number(n) => plain_decimal(&n.to_string())?,
        _ => return None,
    };
    Money::parse_rounding(&text, currency).ok().map(|m| m.minor)
}

/// `1e-7` and `1.5e3` written out; a text without an exponent as it is. `None` beyond any amount of money.
fn plain_decimal(text: &str) -> Option<String> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Some(text.to_owned()) };
    let exponent: i32 = exponent.parse().ok().filter(|e| (-30..=18).contains(e))?;
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |d| ("-", d));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{sign}{all}{}", "0".repeat(point - all.len())),
        Ok(point) if point > 0 => format!("{sign}{}.{}", &all[..point], &all[point..]),
        _ => format!("{sign}0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
    })
}

/// A whole quantity; 1 where none is given, `None` where it is no whole number.
fn quantity(value: Option<&Value>) -> Option<i64> {
    match value {
        None | Some(Value::Null) => Some(1),
        Some(Value::Number(n)) => n.as_i64().or_else(|| plain_decimal(&n.to_string())?.strip_suffix(".0")?.parse().ok()),
        Some(Value::String(s)) => s.trim().parse().ok(),
        Some(_) => None,
    }
}

/// The sku of a product, or its id where it has none.
pub fn sku_of(product: &Map<String, Value>) -> Option<String> {
    text(product.get("sku")).or_else(|| text(product.get("product_id"))).or_else(|| text(product.get("productId")))
}

/// The products of an event: `products[]`, or the properties themselves where they name one.
pub fn skus(properties: &Map<String, Value>) -> Vec<String> {
    match properties.get("products").and_then(Value::as_array) {
        Some(products) => products.iter().take(MAX_LINES).filter_map(|p| sku_of(p.as_object()?)).collect(),
        None => sku_of(properties).into_iter().collect(),
    }
}

fn currency(properties: &Map<String, Value>, shop: Currency) -> (Currency, Option<&'static str>) {
    match properties.get("currency") {
        None | Some(Value::Null) => (shop, None),
        Some(value) => match text(Some(value)).and_then(|t| t.parse().ok()) {
            Some(currency) => (currency, None),
            None => (shop, Some("unknown currency")),
        },
    }
}

fn lines(properties: &Map<String, Value>, currency: Currency) -> Vec<OrderLine> {
    let Some(products) = properties.get("products").and_then(Value::as_array) else { return Vec::new() };
    let line = |product: &Value| {
        let product = product.as_object()?;
        let (quantity, price) = (quantity(product.get("quantity")), amount(product.get("price"), currency));
        let flag = match (quantity, price) {
            (None, _) => Some("quantity cannot be read".to_owned()),
            (_, None) => Some("no price".to_owned()),
            _ => None,
        };
        Some(OrderLine {
            product_id: None,
            sku: sku_of(product).unwrap_or_default(),
            title: text(product.get("name")).or_else(|| text(product.get("title"))).unwrap_or_default(),
            quantity: quantity.unwrap_or(0),
            unit_price_minor: price.unwrap_or(0),
            flag,
        })
    };
    products.iter().take(MAX_LINES).filter_map(line).collect()
}

/// `order_id`, also as others write it.
fn order_ref(properties: &Map<String, Value>) -> Option<String> {
    ["order_id", "orderId", "order_number"].iter().find_map(|k| text(properties.get(*k)))
}

/// The sum of the lines; `None` for none, or where it is beyond counting.
fn sum(lines: &[OrderLine]) -> Option<i64> {
    let one = |l: &OrderLine| l.quantity.checked_mul(l.unit_price_minor);
    (!lines.is_empty()).then(|| lines.iter().try_fold(0_i64, |sum, l| sum.checked_add(one(l)?)))?
}

fn order(properties: &Map<String, Value>, setting: Setting<'_>) -> NewOrder {
    let (currency, currency_flag) = currency(properties, setting.shop_currency);
    let lines = lines(properties, currency);
    let given = ["total", "value", "revenue"].iter().find(|k| properties.get(**k).is_some_and(|v| !v.is_null()));
    let (total, total_flag) = match given {
        Some(key) => match amount(properties.get(*key), currency) {
            Some(total) => (total, None),
            None => (0, Some("total cannot be read")),
        },
        None => match sum(&lines) {
            Some(total) => (total, None),
            None => (0, Some("no total")),
        },
    };
    NewOrder {
        order_ref: order_ref(properties).unwrap_or_else(|| format!("message:{}", setting.message)),
        person_id: None,
        placed_at: setting.at,
        currency,
        total_minor: total,
        lines,
        flag: currency_flag.or(total_flag).map(ToOwned::to_owned),
        source: setting.source,
    }
}

fn adjustment(kind: AdjustmentKind, properties: &Map<String, Value>, setting: Setting<'_>) -> Result<NewAdjustment, String> {
    let order_ref = order_ref(properties).ok_or("order_id is missing: which order?")?;
    let (currency, flag) = currency(properties, setting.shop_currency);
    if let Some(flag) = flag {
        return Err(flag.to_owned());
    }
    let given_currency = properties.get("currency").is_some_and(|c| !c.is_null()).then_some(currency);
    let lines = lines(properties, currency);
    // The refund itself comes before `total`, which some senders fill with the order's.
    let given = ["refund_amount", "amount", "total", "value", "revenue"].iter().find(|k| properties.get(**k).is_some_and(|v| !v.is_null()));
    let amount_minor = match given {
        // Some send refunds as negative amounts.
        Some(key) => Some(amount(properties.get(*key), currency).ok_or_else(|| format!("{key} is not an amount"))?.saturating_abs()),
        None => sum(&lines).map(i64::saturating_abs),
    };
    let reference = match (kind, text(properties.get("refund_id"))) {
        (AdjustmentKind::Cancel, _) => format!("cancel:{order_ref}"),
        (AdjustmentKind::Refund, Some(id)) => format!("refund:{order_ref}:{id}"),
        (AdjustmentKind::Refund, None) => format!("message:{}", setting.message),
    };
    Ok(NewAdjustment {
        reference,
        order_ref,
        kind,
        at: setting.at,
        amount_minor: amount_minor.filter(|_| kind == AdjustmentKind::Refund),
        currency: given_currency,
        lines: lines.into_iter().filter(|l| !l.sku.is_empty()).map(|l| (l.sku, l.quantity.saturating_abs())).collect(),
        source: setting.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SETTING: Setting = Setting { shop_currency: Currency::GBP, at: Timestamp(5), message: "m1", source: Source::Server };

    fn completed(properties: Value) -> NewOrder {
        match read(name::ORDER_COMPLETED, properties.as_object().expect("object"), SETTING) {
            Some(Ok(Commerce::Completed(order))) => order,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn decimals_are_exact() {
        let minor = |v: Value| amount(Some(&v), Currency::GBP);
        assert_eq!(minor(json!(19.99)), Some(1999));
        assert_eq!(minor(json!(0.1 + 0.2)), Some(30));
        assert_eq!(minor(json!(1.005)), Some(101), "half away from zero, as written");
        assert_eq!(minor(json!("12.50")), Some(1250));
        assert_eq!(minor(json!(1e3)), Some(100_000));
        assert_eq!(minor(json!(1e-7)), Some(0));
        assert_eq!(minor(json!(1e300)), None);
        assert_eq!(minor(json!("12,50")), None);
        assert_eq!(minor(json!(true)), None);
        assert_eq!(amount(Some(&json!(1234)), "JPY".parse().expect("currency")), Some(1234));
        for cents in 0..100_000_i64 {
            let price = f64::from(i32::try_from(cents).expect("small")) / 100.0;
            assert_eq!(minor(json!(price)), Some(cents), "{price}");
        }
    }

    #[test]
    fn an_order_is_read_with_its_lines() {
        let order = completed(json!({"order_id": 50314, "total": 27.5, "revenue": 25, "currency": "usd",
            "products": [{"product_id": "p", "sku": "G-32", "name": "Mug", "price": 12.5, "quantity": 2}, {"product_id": "x", "price": "2.5"}]}));
        assert_eq!((order.order_ref.as_str(), order.total_minor, order.currency, order.flag), ("50314", 2750, Currency::USD, None));
        let lines: Vec<_> = order.lines.iter().map(|l| (l.sku.as_str(), l.quantity, l.unit_price_minor)).collect();
        assert_eq!(lines, [("G-32", 2, 1250), ("x", 1, 250)]);
    }

    #[test]
    fn what_cannot_be_is_flagged_and_kept() {
        assert_eq!(completed(json!({"order_id": "1"})).flag.as_deref(), Some("no total"));
        assert_eq!(completed(json!({"order_id": "1", "total": {}})).flag.as_deref(), Some("total cannot be read"));
        assert_eq!(completed(json!({"order_id": "1", "total": 5, "currency": "pounds"})).flag.as_deref(), Some("unknown currency"));
        let order = completed(json!({"total": 5, "products": [{"sku": "a", "quantity": "many", "price": 1}, "nonsense"]}));
        assert_eq!(order.order_ref, "message:m1");
        assert_eq!(order.lines.len(), 1);
        assert!(order.lines[0].flag.is_some());
        assert_eq!(
            completed(json!({"products": [{"sku": "a", "quantity": 9_000_000_000_000_000_000_u64, "price": 9_000_000}]})).flag.as_deref(),
            Some("no total")
        );
    }

    #[test]
    fn refunds_name_themselves() {
        let refund = |p: Value| match read(name::ORDER_REFUNDED, p.as_object().expect("object"), SETTING) {
            Some(Ok(Commerce::Adjusted(a))) => a,
            other => panic!("{other:?}"),
        };
        let part = refund(json!({"order_id": "7", "refund_id": "r1", "total": -3.25}));
        assert_eq!((part.reference.as_str(), part.amount_minor), ("refund:7:r1", Some(325)));
        let all = refund(json!({"order_id": "7"}));
        assert_eq!((all.reference.as_str(), all.amount_minor), ("message:m1", None));
        let pieces = refund(json!({"order_id": "7", "products": [{"sku": "a", "quantity": 2, "price": 1.5}]}));
        assert_eq!((pieces.amount_minor, pieces.lines), (Some(300), vec![("a".to_owned(), 2)]));
        assert!(read(name::ORDER_REFUNDED, &Map::new(), SETTING).is_some_and(|r| r.is_err()));
        assert!(read("Product Viewed", &Map::new(), SETTING).is_none());
    }
}
