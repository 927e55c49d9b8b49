//! What shoppers do, as the messages that a shop's server and pages send (Segment spec).

use serde_json::{Map, Value, json};

use super::world::noise::Purpose;
use super::world::words::LEAVES;
use super::world::{Happening, Line, Product, Profile, What, World};
use crate::platform::clock::{HOUR_US, Timestamp};

/// A message and when the network brings it: some come hours late, some twice.
pub struct Outbound {
    pub arrives_at: Timestamp,
    pub message: Value,
    /// The same message comes a second time.
    pub twice: bool,
    /// Refers to an order that must have arrived.
    pub follows_up: bool,
}

fn major(minor: i64) -> f64 {
    minor as f64 / 100.0
}

/// The customer signs up: who they are and what they agreed to.
pub fn identify(world: &World, profile: &Profile, day: i32) -> Value {
    let consent = |given: bool| if given { "subscribed" } else { "unsubscribed" };
    json!({
        "type": "identify",
        "userId": profile.external_id,
        "anonymousId": profile.devices[0],
        "messageId": format!("{}-identify", profile.external_id),
        "timestamp": world.instant(f64::from(day)),
        "traits": {
            "email": profile.email,
            "firstName": profile.first_name,
            "lastName": profile.last_name,
            "locale": profile.locale,
            "timezone": profile.time_zone.name(),
            "country": profile.country,
            "email_consent": consent(profile.email_consent),
            "ads_consent": consent(profile.ads_consent),
        }
    })
}

/// The second device signs in: its anonymous past becomes the customer's.
pub fn sign_in(world: &World, profile: &Profile) -> Value {
    json!({
        "type": "identify",
        "userId": profile.external_id,
        "anonymousId": profile.devices[1],
        "messageId": format!("{}-second-device", profile.external_id),
        "timestamp": world.instant(f64::from(profile.second_device_day)),
    })
}

/// Whether the shop knows who this was.
pub fn known(happening: &Happening, profile: &Profile, day: i32) -> bool {
    happening.signed_in || day >= profile.second_device_day
}

/// One happening as the shop reports it. `serial` tells messages of one person and instant apart.
pub fn outbound(world: &World, profile: &Profile, happening: &Happening, currency: &str, serial: usize) -> Outbound {
    let day = world.day_of(happening.at) as i32;
    let (kind, event, properties) = describe(world, &happening.what, currency);
    let mut message = Map::new();
    message.insert("type".into(), kind.into());
    if kind == "track" {
        message.insert("event".into(), event.into());
    } else {
        message.insert("name".into(), event.into());
    }
    message.insert("messageId".into(), format!("{}-{}-{serial}", happening.person, happening.at.micros()).into());
    message.insert("timestamp".into(), json!(happening.at));
    message.insert("anonymousId".into(), profile.devices[usize::from(happening.device)].as_str().into());
    if known(happening, profile, day) {
        message.insert("userId".into(), profile.external_id.as_str().into());
    }
    message.insert("properties".into(), properties);
    let mut network =
        world.noise().at(Purpose::Transport, u64::from(happening.person), happening.at.micros().unsigned_abs() ^ serial as u64);
    let late = network.chance(0.01);
    // Orders by an hour at most: what cancels them comes more than an hour after them and must not overtake.
    let most_us = if matches!(happening.what, What::Order(_)) { HOUR_US } else { 30 * HOUR_US };
    let delay_us = if late { (network.uniform() * most_us as f64) as i64 } else { 0 };
    let twice = network.chance(0.008);
    let follows_up = matches!(happening.what, What::Cancel { .. } | What::Refund { .. });
    let arrives_at = happening.at.plus_us(if follows_up { 0 } else { delay_us });
    Outbound { arrives_at, message: Value::Object(message), twice, follows_up }
}

fn describe(world: &World, what: &What, currency: &str) -> (&'static str, &'static str, Value) {
    match what {
        What::Visit => ("page", "Home", json!({"path": "/"})),
        What::Search { leaf } => ("track", "Products Searched", json!({"query": LEAVES[*leaf].nouns[0].to_lowercase()})),
        What::View { product } => ("track", "Product Viewed", one(&world.catalogue.products[*product as usize], None)),
        What::AddToCart { product, quantity } => {
            ("track", "Product Added", one(&world.catalogue.products[*product as usize], Some(*quantity)))
        }
        What::Order(order) => (
            "track",
            "Order Completed",
            json!({
                "order_id": order.reference,
                "total": major(order.total_minor),
                "discount": major(order.discount_minor),
                "currency": currency,
                "products": order.lines.iter().map(|l| line(world, l)).collect::<Vec<_>>(),
            }),
        ),
        What::Cancel { reference, amount_minor } => {
            ("track", "Order Cancelled", json!({"order_id": reference, "total": major(*amount_minor), "currency": currency}))
        }
        What::Refund { reference, amount_minor, line: returned } => (
            "track",
            "Order Refunded",
            json!({
                "order_id": reference,
                "refund_id": format!("{reference}-r"),
                "refund_amount": major(*amount_minor),
                "currency": currency,
                "products": [line(world, returned)],
            }),
        ),
    }
}

fn one(product: &Product, quantity: Option<u32>) -> Value {
    let mut about = json!({"sku": product.sku, "category": product.category_path});
    if let (Some(quantity), Some(map)) = (quantity, about.as_object_mut()) {
        map.insert("quantity".into(), quantity.into());
    }
    about
}

fn line(world: &World, line: &Line) -> Value {
    let product = &world.catalogue.products[line.product as usize];
    json!({"sku": product.sku, "name": product.title, "price": major(line.unit_price_minor), "quantity": line.quantity})
}

/// A product as `POST /v1/products` takes it, as it stands in the shop on a day.
pub fn product(world: &World, index: u32, day: i32, shop_url: &str, currency: &str) -> Value {
    let p = &world.catalogue.products[index as usize];
    let shelf = world.catalogue.shelf(index, day);
    let money = |minor: i64| json!({"minor": minor, "currency": currency});
    json!({
        "sku": p.sku,
        "title": p.title,
        "description": p.description,
        "brand": p.brand,
        "category_path": p.category_path,
        "price": money(shelf.price_minor),
        "sale_price": shelf.sale_price_minor.map(money),
        "stock": shelf.stock,
        "available": shelf.stock > 0,
        "url": format!("{shop_url}/p/{}", p.sku),
        "image_url": format!("{shop_url}/pictures/{}.png", p.sku),
        "attributes": {"colour": p.colour, "material": p.material},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::world::{Simulation, WorldConfig};

    #[test]
    fn every_happening_becomes_a_message_and_orders_are_always_signed() {
        let world = World::new(WorldConfig { people: 60, products: 86, days: 40, ..WorldConfig::default() });
        let mut simulation = Simulation::new(&world);
        let profiles: Vec<Profile> = simulation.natures.iter().map(|n| world.profile(n)).collect();
        let happened = simulation.advance(world.instant(40.0));
        let (mut late, mut twice, mut anonymous, mut orders) = (0, 0, 0, 0);
        for (n, h) in happened.iter().enumerate() {
            let out = outbound(&world, &profiles[h.person as usize], h, "EUR", n);
            late += u32::from(out.arrives_at > h.at);
            twice += u32::from(out.twice);
            anonymous += u32::from(out.message.get("userId").is_none());
            assert!(out.message["messageId"].is_string() && out.message["timestamp"].is_string());
            if let What::Order(order) = &h.what {
                orders += 1;
                assert!(out.message.get("userId").is_some());
                let lines: f64 = out.message["properties"]["products"]
                    .as_array()
                    .expect("lines")
                    .iter()
                    .map(|l| l["price"].as_f64().expect("price") * l["quantity"].as_f64().expect("quantity"))
                    .sum();
                assert!((lines * 100.0 - (order.total_minor + order.discount_minor) as f64).abs() < 0.01);
            }
        }
        assert!(late > 0 && twice > 0 && anonymous > 0 && orders > 10, "{late} {twice} {anonymous} {orders}");
    }
}
