//! The decision tester: ask as somebody, see what would be shown, and why not the others. Nothing is counted.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Tab, tabs};
use crate::adserver::{self, AdServer, AskedBy, Context, Device};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::page::Shell;
use crate::web::table::Choice;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TesterQuery {
    placement: String,
    person: String,
    anonymous_id: String,
    keywords: String,
    country: String,
    device: String,
}

#[derive(Serialize)]
struct Banner {
    title: String,
    /// A path on this server.
    image: String,
    width: u32,
    height: u32,
    campaign: String,
    item: String,
    product: String,
    propensity: f64,
    /// 0: not worked out.
    item_chance: f64,
    personal: bool,
}

#[derive(Serialize)]
struct Row {
    campaign: String,
    item: String,
    item_id: Option<String>,
    tier: &'static str,
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct TesterView {
    tabs: Vec<Tab>,
    placement: String,
    placements: Vec<Choice>,
    person: String,
    anonymous_id: String,
    keywords: String,
    country: String,
    device: String,
    devices: Vec<Choice>,
    asked: bool,
    /// Somebody was named whom the ad server does not know.
    stranger: bool,
    banner: Option<Banner>,
    reason: Option<&'static str>,
    rows: Vec<Row>,
    behind: i64,
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, server: Data<AdServer>, query: Query<TesterQuery>) -> ApiResult {
    let places = adserver::placements(&platform.db).await?;
    let cut = |text: &str| text.trim().chars().take(200).collect::<String>();
    let (person, anonymous_id) = (cut(&query.person), cut(&query.anonymous_id));
    let asked_by = match (person.as_str(), anonymous_id.as_str()) {
        ("", "") => AskedBy::Nobody,
        ("", id) => AskedBy::Anonymous(id),
        (id, _) => AskedBy::Person(id),
    };
    let context = Context { country: adserver::country(&query.country), device: Device::parse(&query.device), ..Context::default() }
        .with_keywords(query.keywords.split(','));
    let explained = if query.placement.is_empty() { None } else { server.explain(&query.placement, asked_by, &context) };
    let mut devices = vec![Choice::new("", shell.say("tester.any_device"))];
    devices.extend(Device::ALL.iter().map(|d| Choice::new(d.name(), shell.say(&format!("device.{}", d.name())))));
    let mut view = TesterView {
        tabs: tabs(&shell, "/placements/tester"),
        placement: query.placement.clone(),
        placements: places.into_iter().map(|p| Choice::new(p.key.clone(), format!("{} · {}×{}", p.name, p.width, p.height))).collect(),
        stranger: !person.is_empty() && explained.as_ref().is_some_and(|e| !e.known),
        person,
        anonymous_id,
        keywords: cut(&query.keywords),
        country: cut(&query.country),
        device: query.device.clone(),
        devices,
        asked: explained.is_some(),
        banner: None,
        reason: None,
        rows: Vec::new(),
        behind: 0,
    };
    if let Some(explained) = explained {
        view.behind = i64::try_from(explained.behind).unwrap_or(0);
        match explained.shown {
            Ok(s) => {
                view.banner = Some(Banner {
                    image: s.image_url.find("/assets/").map_or(String::new(), |at| s.image_url[at..].to_owned()),
                    title: s.title,
                    width: s.width,
                    height: s.height,
                    campaign: s.campaign_name,
                    item: s.item_name,
                    product: s.product.to_string(),
                    propensity: f64::from(s.propensity),
                    item_chance: f64::from(s.item_chance),
                    personal: s.personal,
                });
            }
            Err(reason) => view.reason = Some(reason.as_str()),
        }
        view.rows = explained
            .asked
            .into_iter()
            .map(|a| Row {
                campaign: a.campaign_name,
                item: a.item_name,
                item_id: a.item.map(|i| i.to_string()),
                tier: a.tier.as_str(),
                reason: a.reason.map(|r| r.as_str()),
            })
            .collect();
    }
    shell.render("placements/tester.html", shell.say("placements.tab_tester"), &view)
}
