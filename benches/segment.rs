//! Taking a segment's membership (20,000 people, 400,000 events), beside the bare query that a hand would write for the same rule.

use marquee::audience::{self, NewSegment, Rule};
use marquee::events::{self, NewEvent};
use marquee::people::{self, NewPerson};
use marquee::platform::config::MailConfig;
use marquee::platform::ids::{EventId, PersonId};
use marquee::read;
use serde_json::json;

use crate::support::{self, NOW, Shop};

const PEOPLE: i64 = 20_000;
const EVENTS: i64 = 400_000;

pub fn run() {
    let runtime = support::runtime();
    for shop in runtime.block_on(support::shops(&MailConfig::default())) {
        let segment = runtime.block_on(fill(&shop));
        let db = &shop.platform.db;
        support::compare(
            &format!("segment build, {}", shop.engine),
            "people/s",
            "the bare query, members read",
            7,
            || support::rate(PEOPLE as usize, || assert!(!runtime.block_on(bare(&shop)).is_empty())),
            || {
                support::rate(PEOPLE as usize, || {
                    let taken = runtime.block_on(audience::snapshot(&shop.platform, segment, NOW)).expect("a snapshot");
                    assert!(taken.complete && taken.size > 0);
                })
            },
        );
        let size = runtime.block_on(audience::latest_snapshot(db, segment)).expect("reads").expect("taken").size;
        assert_eq!(size as usize, runtime.block_on(bare(&shop)).len(), "both name the same people");
    }
}

async fn fill(shop: &Shop) -> marquee::platform::ids::SegmentId {
    let db = &shop.platform.db;
    let mut ids = Vec::new();
    for chunk in 0..PEOPLE / 1_000 {
        let new: Vec<NewPerson> =
            (0..1_000).map(|i| NewPerson { external_id: Some(format!("u{}", chunk * 1_000 + i)), ..NewPerson::default() }).collect();
        let mut tx = db.begin().await.expect("begin");
        ids.extend(people::bulk_upsert(&mut tx, &new, NOW).await.expect("people"));
        tx.commit().await.expect("commit");
    }
    for chunk in 0..EVENTS / 1_000 {
        let events: Vec<NewEvent> = (0..1_000).map(|i| event(&ids, chunk * 1_000 + i)).collect();
        let mut tx = db.begin().await.expect("begin");
        events::insert_many(&mut tx, &events).await.expect("events");
        tx.commit().await.expect("commit");
    }
    let rule = Rule::parse(json!({"type": "did", "event": "Product Viewed", "times": {"at_least": 3}, "within_days": 30})).expect("a rule");
    audience::create(db, NewSegment { key: "keen".into(), name: "Keen".into(), rule }, NOW).await.expect("a segment").id
}

fn event(people: &[PersonId], n: i64) -> NewEvent {
    // A fixed scatter over people and a hundred days.
    let at = NOW.plus_us(-(n * 7_919 % 8_640_000) * 1_000_000);
    NewEvent {
        id: EventId::new(at),
        person_id: people[(n * 104_729 % PEOPLE) as usize],
        kind: "track",
        name: if n % 3 == 0 { "Product Added".into() } else { "Product Viewed".into() },
        product_id: None,
        occurred_at: at,
        received_at: at,
        properties: serde_json::Map::new(),
    }
}

const BARE: &str = "SELECT person_id FROM event WHERE name = 'Product Viewed' AND occurred_at > $1 AND occurred_at <= $2
     GROUP BY person_id HAVING COUNT(*) >= 3 ORDER BY person_id";

async fn bare(shop: &Shop) -> Vec<i64> {
    read!(shop.platform.db, |c| sqlx::query_scalar(BARE).bind(NOW.plus_days(-30)).bind(NOW).fetch_all(c).await).expect("reads")
}
