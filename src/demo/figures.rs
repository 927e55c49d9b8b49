//! The demo's figures. What was measured comes from the database alone, as an analyst would ask for it; the truth from the simulator alone.

use serde_json::{Value, json};

use super::door::Door;
use super::drive::{Drive, Tally};
use super::marketer::LIFT_KEY;
use super::world::Truth;
use crate::platform::Platform;
use crate::platform::money::{Currency, Money};
use crate::read;

/// Everything that the demo reports; amounts in minor units of the shop's currency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    pub people: i64,
    pub products: i64,
    pub events: i64,
    pub segments: i64,
    pub campaigns: i64,
    pub emails_sent: i64,
    pub emails_received_by_sink: i64,
    pub banners_served: i64,
    /// By people; what machines fetched is counted apart.
    pub opens: i64,
    pub clicks: i64,
    pub machine_opens: i64,
    pub machine_clicks: i64,
    pub unsubscribes: i64,
    pub orders: i64,
    pub attributed_revenue_minor: i64,
    pub true_incremental_revenue_minor: i64,
    pub measured: Measured,
    pub encoder: String,
    pub generator: String,
    pub currency: Option<Currency>,
}

/// Lift of the named campaign as the report says it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    pub incremental_minor: i64,
    pub low_minor: i64,
    pub high_minor: i64,
    pub treated: i64,
    pub held: i64,
}

macro_rules! count {
    ($db:expr, $sql:literal) => {
        read!($db, |c| sqlx::query_scalar::<_, i64>($sql).fetch_one(c).await)?
    };
}

macro_rules! name {
    ($db:expr, $sql:literal) => {
        read!($db, |c| sqlx::query_scalar::<_, String>($sql).fetch_optional(c).await)?.unwrap_or_else(|| "none".into())
    };
}

/// Asks the database and the reports.
pub async fn collect(platform: &Platform, door: &Door, drive: &Drive<'_>, truth: &Truth) -> anyhow::Result<Figures> {
    let db = &platform.db;
    let from = drive.world.config.start;
    let to = platform.now().plus_days(1);
    let lift = door.get(&format!("/v1/reports/lift?campaign={LIFT_KEY}")).await?;
    let credit = door.get(&format!("/v1/reports/attribution?model=last&from={from}&to={to}&by=campaign")).await?;
    Ok(Figures {
        people: count!(*db, "SELECT COUNT(*) FROM person WHERE external_id IS NOT NULL"),
        products: count!(*db, "SELECT COUNT(*) FROM product WHERE retired_at IS NULL"),
        events: count!(*db, "SELECT COUNT(*) FROM event"),
        segments: count!(*db, "SELECT COUNT(*) FROM segment"),
        campaigns: count!(*db, "SELECT COUNT(*) FROM campaign"),
        emails_sent: count!(*db, "SELECT COUNT(*) FROM touch WHERE channel = 'email' AND state = 'sent'"),
        emails_received_by_sink: i64::try_from(drive.received()).unwrap_or(i64::MAX),
        banners_served: count!(*db, "SELECT COUNT(*) FROM touch WHERE channel = 'banner' AND state = 'served'"),
        opens: count!(*db, "SELECT COUNT(DISTINCT touch_id) FROM touch_signal WHERE kind = 'open' AND actor = 'human'"),
        clicks: count!(*db, "SELECT COUNT(DISTINCT touch_id) FROM touch_signal WHERE kind = 'click' AND actor = 'human'"),
        machine_opens: count!(*db, "SELECT COUNT(DISTINCT touch_id) FROM touch_signal WHERE kind = 'open' AND actor <> 'human'"),
        machine_clicks: count!(*db, "SELECT COUNT(DISTINCT touch_id) FROM touch_signal WHERE kind = 'click' AND actor <> 'human'"),
        unsubscribes: count!(*db, "SELECT COUNT(DISTINCT touch_id) FROM touch_signal WHERE kind = 'unsubscribe'"),
        orders: count!(*db, "SELECT COUNT(*) FROM shop_order"),
        attributed_revenue_minor: credited(&credit),
        true_incremental_revenue_minor: truth.total_minor,
        measured: measured(&lift)?,
        encoder: name!(*db, "SELECT encoder FROM product_vector GROUP BY encoder ORDER BY COUNT(*) DESC LIMIT 1"),
        generator: name!(*db, "SELECT generator FROM ad_copy GROUP BY generator ORDER BY COUNT(*) DESC LIMIT 1"),
        currency: Some(platform.config.shop.currency),
    })
}

/// What touches earned, in the shop's currency (the demo has no other).
fn credited(report: &Value) -> i64 {
    report["totals"].as_array().into_iter().flatten().filter_map(|total| total["attributed_minor"].as_i64()).sum()
}

fn measured(report: &Value) -> anyhow::Result<Measured> {
    // The shop's currency comes first.
    let lift = &report["results"][0];
    let number = |field: &str| lift[field].as_f64().ok_or_else(|| anyhow::anyhow!("the lift report says no {field}: {report}"));
    Ok(Measured {
        incremental_minor: number("incremental_total")?.round() as i64,
        low_minor: number("ci95_low")?.round() as i64,
        high_minor: number("ci95_high")?.round() as i64,
        treated: lift["n_treated"].as_i64().unwrap_or(0),
        held: lift["n_held"].as_i64().unwrap_or(0),
    })
}

impl Figures {
    /// The line for machines.
    pub fn json(&self, seconds: f64) -> Value {
        json!({
            "people": self.people,
            "products": self.products,
            "events": self.events,
            "segments": self.segments,
            "campaigns": self.campaigns,
            "emails_sent": self.emails_sent,
            "emails_received_by_sink": self.emails_received_by_sink,
            "banners_served": self.banners_served,
            "opens": self.opens,
            "clicks": self.clicks,
            "orders": self.orders,
            "attributed_revenue_minor": self.attributed_revenue_minor,
            "true_incremental_revenue_minor": self.true_incremental_revenue_minor,
            "measured_incremental_revenue_minor": self.measured.incremental_minor,
            "measured_low_minor": self.measured.low_minor,
            "measured_high_minor": self.measured.high_minor,
            "encoder": self.encoder,
            "generator": self.generator,
            "seconds": (seconds * 10.0).round() / 10.0,
        })
    }

    /// The table for people.
    pub fn table(&self, tally: &Tally, truth: &Truth, seconds: f64) -> String {
        let money = |minor: i64| self.currency.map_or_else(|| minor.to_string(), |c| Money::new(minor, c).to_string());
        let covered = (self.measured.low_minor..=self.measured.high_minor).contains(&self.true_incremental_revenue_minor);
        let rows = [
            ("shop".into(), format!("{} people, {} products, {} events, {} orders", self.people, self.products, self.events, self.orders)),
            (
                "set up".into(),
                format!("{} segments, {} campaigns; encoder {}, words {}", self.segments, self.campaigns, self.encoder, self.generator),
            ),
            ("mails".into(), format!("{} sent, {} received by the sink", self.emails_sent, self.emails_received_by_sink)),
            ("opened".into(), format!("{} by people, {} by machines", self.opens, self.machine_opens)),
            (
                "clicked".into(),
                format!("{} by people, {} by machines; {} unsubscribed", self.clicks, self.machine_clicks, self.unsubscribes),
            ),
            (
                "banners".into(),
                format!("{} served on {} places, {} clicked", self.banners_served, tally.banners_asked, tally.banner_clicks),
            ),
            ("credited (last touch)".into(), money(self.attributed_revenue_minor)),
            (
                format!("lift of {LIFT_KEY}"),
                format!(
                    "measured {} [{} … {}], {} treated, {} held out",
                    money(self.measured.incremental_minor),
                    money(self.measured.low_minor),
                    money(self.measured.high_minor),
                    self.measured.treated,
                    self.measured.held
                ),
            ),
            (
                "true lift".into(),
                format!(
                    "{} ({:+.0} %), {} the interval",
                    money(truth.total_minor),
                    100.0 * truth.total_minor as f64 / truth.without_minor.max(1) as f64,
                    if covered { "inside" } else { "outside" }
                ),
            ),
            ("took".into(), format!("{seconds:.0} s")),
        ];
        let width = rows.iter().map(|(name, _): &(String, String)| name.chars().count()).max().unwrap_or(0);
        let mut out = String::from("\n");
        for (name, text) in rows {
            out.push_str(&format!("  {name:<width$}  {text}\n"));
        }
        if tally.failed_links + tally.refused + tally.unreadable > 0 {
            out.push_str(&format!(
                "  not well: {} links failed, {} messages refused, {} mails unreadable\n",
                tally.failed_links, tally.refused, tally.unreadable
            ));
        }
        out
    }
}
