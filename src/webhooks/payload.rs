//! What a body says: what happened, and the ids by which the shop knows whom and what it concerns. No address, no name.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::store::Waiting;
use crate::events::orders::{self, Order};
use crate::people::{self, Person};
use crate::platform::Db;
use crate::platform::ids::{OrderId, PersonId, ProductId, TouchId};
use crate::touches::{self, Touch};

/// The body of a batch: `{"events": […]}`, oldest first.
pub(super) async fn body(db: &Db, waiting: &[Waiting]) -> sqlx::Result<Value> {
    let touch_ids: Vec<TouchId> = waiting.iter().filter_map(|w| w.touch_id).collect::<BTreeSet<_>>().into_iter().collect();
    let touches = touches::get_many(db, &touch_ids).await?;
    let order_ids: Vec<OrderId> = waiting.iter().filter_map(|w| w.order_id).collect::<BTreeSet<_>>().into_iter().collect();
    let orders: HashMap<OrderId, Order> = orders::by_ids(db, &order_ids).await?.into_iter().map(|o| (o.id, o)).collect();
    let person_of = |w: &Waiting| {
        let by_touch = || w.touch_id.and_then(|t| touches.get(&t)?.person_id);
        // The order's own row knows of merges and of forgetting.
        let by_order = || w.order_id.and_then(|o| orders.get(&o)?.person_id);
        if w.order_id.is_some() { by_order() } else { by_touch().or(w.person_id) }
    };
    let person_ids: Vec<PersonId> = waiting.iter().filter_map(person_of).collect::<BTreeSet<_>>().into_iter().collect();
    let people = people::get_many(db, &person_ids).await?;
    let events: Vec<Value> = waiting.iter().map(|w| event(w, person_of(w).and_then(|p| people.get(&p)), &touches, &orders)).collect();
    Ok(json!({ "events": events }))
}

fn event(w: &Waiting, person: Option<&Person>, touches: &HashMap<TouchId, Touch>, orders: &HashMap<OrderId, Order>) -> Value {
    let mut event = Map::new();
    event.insert("id".into(), json!(format!("evt_{}", w.id)));
    event.insert("kind".into(), json!(w.kind));
    event.insert("at".into(), json!(w.at));
    if let Some(person) = person {
        event.insert("person".into(), json!({ "id": person.id, "external_id": person.external_id }));
    }
    if let Some(touch) = w.touch_id.and_then(|t| touches.get(&t)) {
        event.insert(
            "touch".into(),
            json!({
                "id": touch.id, "channel": touch.channel.as_str(), "campaign": touch.campaign_id, "variant": touch.variant_id,
                "products": touch.product_ids.iter().map(|p| ProductId(*p)).collect::<Vec<_>>(), "sent_at": touch.sent_at,
            }),
        );
    }
    if let Some(order) = w.order_id.and_then(|o| orders.get(&o)) {
        event.insert(
            "order".into(),
            json!({
                "ref": order.order_ref, "placed_at": order.placed_at, "currency": order.currency, "total_minor": order.total_minor,
                "refunded_minor": order.refunded_minor, "status": order.status,
            }),
        );
    }
    if w.kind == "person.unsubscribed" {
        event.insert("channel".into(), json!(w.detail));
    }
    Value::Object(event)
}
