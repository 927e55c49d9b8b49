//! The demo's marketer: segments, campaigns, placements and the contact policy, set up through the HTTP interface.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::door::Door;
use super::world::{Medium, VOICES, Voice};
use crate::platform::clock::{DAY_US, HOUR_US, Timestamp};

/// Key of the campaign whose lift is held against the truth.
pub const LIFT_KEY: &str = "summer-favourites";
/// Its holdout, in basis points.
pub const LIFT_HOLDOUT_BP: i64 = 4_000;
/// Its conversion window.
pub const LIFT_WINDOW_HOURS: i64 = 168;

/// Placement keys by device of the visitor: 0 a computer (two places), 1 a phone.
pub const PLACEMENTS: [(&str, &str, i64, i64); 3] =
    [("home-top", "Home page, top", 728, 90), ("product-side", "Product page, side", 300, 250), ("phone-foot", "Phone, foot", 320, 50)];

/// A campaign as it was set up.
#[derive(Clone, Debug)]
pub struct Running {
    /// `cmp_3`.
    pub id: String,
    pub key: &'static str,
    pub medium: Medium,
    /// Number that tells it apart in the world.
    pub number: u32,
    /// Voice of each variant, by id (`var_2`).
    pub voices: HashMap<String, Voice>,
}

/// What the marketer has set up.
pub struct SetUp {
    pub segments: usize,
    pub campaigns: Vec<Running>,
    pub lift_due: Timestamp,
}

impl SetUp {
    pub fn campaign(&self, id: &str) -> Option<&Running> {
        self.campaigns.iter().find(|c| c.id == id)
    }
    pub fn lift(&self) -> Option<&Running> {
        self.campaigns.iter().find(|c| c.key == LIFT_KEY)
    }
}

/// Sets everything up for campaign days that begin at `start` (a midnight, UTC). Needs a key with the scope `manage`.
pub async fn set_up(door: &Door, start: Timestamp) -> anyhow::Result<SetUp> {
    let hour = |day: i64, hour: i64| start.plus_us(day * DAY_US + hour * HOUR_US);
    let mut segments = Vec::new();
    for (key, name, rule) in segment_rules() {
        let made = door.post("/v1/segments", &json!({"key": key, "name": name, "rule": rule})).await?;
        segments.push(text(&made, "id")?);
    }
    door.put("/v1/contact-policy", &json!({"caps": {"per_day": 3, "per_week": 8}, "quiet_hours": null, "global_holdout_bp": 300})).await?;
    for (key, name, width, height) in PLACEMENTS {
        door.post("/v1/placements", &json!({"key": key, "name": name, "width": width, "height": height})).await?;
    }
    let lift_due = hour(1, 9);
    let local_date = hour(4, 0).to_utc().date_naive();
    let plans = [
        (
            LIFT_KEY,
            "Summer favourites",
            plan(&segments[0], &once(lift_due), &[("A", "friendly", "seasonal")], LIFT_HOLDOUT_BP, LIFT_WINDOW_HOURS),
        ),
        (
            "garden-weekly",
            "Garden weekly",
            plan(
                &segments[1],
                &json!({"kind": "recurring", "cron": "0 10 * * thu", "time_zone": "Europe/Berlin", "start": start}),
                &[("A", "plain", "recommendation")],
                1_000,
                120,
            ),
        ),
        (
            "evening-reminder",
            "Evening reminder",
            plan(
                &segments[2],
                &json!({"kind": "person_local", "time": "18:00", "date": local_date}),
                &[("A", "elegant", "win_back")],
                1_000,
                120,
            ),
        ),
        (
            "two-voices",
            "Two voices",
            plan(
                &segments[3],
                &once(hour(5, 8)),
                &[("Playful", "playful", "recommendation"), ("Plain", "plain", "recommendation")],
                1_000,
                96,
            ),
        ),
        ("banners", "Banners for everybody", banner_plan(&segments[4], start)),
    ];
    let mut campaigns = Vec::new();
    for (number, (key, name, plan)) in (1..).zip(plans) {
        let made = door.post("/v1/campaigns", &json!({"key": key, "name": name, "plan": plan})).await?;
        let id = text(&made, "id")?;
        door.post(&format!("/v1/campaigns/{id}/schedule"), &json!({})).await?;
        let medium = if key == "banners" { Medium::Banner } else { Medium::Email };
        campaigns.push(Running { id, key, medium, number, voices: voices(&made) });
    }
    Ok(SetUp { segments: segments.len(), campaigns, lift_due })
}

fn segment_rules() -> [(&'static str, &'static str, Value); 5] {
    let subscribed = json!({"type": "consent", "channel": "email", "is": "subscribed"});
    let all = |more: Vec<Value>| json!({"type": "all", "of": std::iter::once(subscribed.clone()).chain(more).collect::<Vec<_>>()});
    [
        ("active", "Seen in the last 45 days", all(vec![json!({"type": "seen", "which": "last", "when": {"within_days": 45}})])),
        (
            "gardeners",
            "Looks at garden things",
            all(vec![json!({"type": "any", "of": [
                {"type": "did", "event": "Product Viewed", "times": {"at_least": 3}, "within_days": 30, "category": "Garden"},
                {"type": "bought", "category": "Garden", "within_days": 60}]})]),
        ),
        (
            "drifting",
            "Bought before, not for a month",
            all(vec![json!({"type": "bought"}), json!({"type": "did_not", "event": "Order Completed", "within_days": 30})]),
        ),
        (
            "half-of-the-active",
            "A random half of the active",
            all(vec![json!({"type": "in_segment", "segment": "active"}), json!({"type": "bucket", "from": 0, "to": 5_000})]),
        ),
        ("ads", "Agreed to ads", json!({"type": "consent", "channel": "ads", "is": "subscribed"})),
    ]
}

fn once(at: Timestamp) -> Value {
    json!({"kind": "once", "at": at})
}

fn plan(segment: &str, schedule: &Value, variants: &[(&str, &str, &str)], holdout_bp: i64, window_hours: i64) -> Value {
    let variants: Vec<Value> =
        variants.iter().map(|(name, tone, occasion)| json!({"name": name, "weight": 1, "tone": tone, "occasion": occasion})).collect();
    json!({
        "channel": "email",
        "segment": segment,
        "choice": {"products": 1, "exclude_bought_days": 30, "exclude_shown_days": 7},
        "variants": variants,
        "schedule": schedule,
        "goal": {"kind": "orders", "window_hours": window_hours},
        "holdout_bp": holdout_bp,
    })
}

fn banner_plan(segment: &str, start: Timestamp) -> Value {
    json!({
        "channel": "banner",
        "segment": segment,
        "choice": {"products": 1},
        "variants": [{"name": "A", "weight": 1, "tone": "friendly", "occasion": "recommendation"}],
        "schedule": once(start.plus_us(HOUR_US)),
        "goal": {"kind": "orders", "window_hours": 72},
        "holdout_bp": 1_000,
        "placements": PLACEMENTS.iter().map(|p| p.0).collect::<Vec<_>>(),
    })
}

fn voices(campaign: &Value) -> HashMap<String, Voice> {
    let voice = |tone: &str| VOICES.into_iter().find(|v| v.as_str() == tone).unwrap_or(Voice::Plain);
    campaign["variants"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| Some((v["id"].as_str()?.to_owned(), voice(v["tone"].as_str().unwrap_or_default()))))
        .collect()
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    value[field].as_str().map(ToOwned::to_owned).ok_or_else(|| anyhow::anyhow!("the answer has no {field}: {value}"))
}
