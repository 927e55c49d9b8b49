//! What is asked for, as the address says it: the same words as of the HTTP interface, so that a link can be shared and copied into a script.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use serde::Serialize;

use crate::attribution::rollup;
use crate::attribution::{By, Model, ReportKind, ReportQuery, Unit};
use crate::campaign;
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::web::page::Shell;
use crate::web::table::{Choice, kept};

/// A question as it stands in the address.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub kind: ReportKind,
    pub query: ReportQuery,
}

pub(super) fn kind_of(name: &str) -> ApiResult<ReportKind> {
    ReportKind::ALL.into_iter().find(|k| k.name() == name).ok_or_else(|| ApiError::not_found("report"))
}

/// Days of the span where none was asked for.
fn usual_days(kind: ReportKind, unit: Option<&str>) -> i64 {
    match kind {
        ReportKind::Cohorts | ReportKind::Engagement => match unit {
            Some("day") => 12,
            Some("week") => 84,
            _ => 365,
        },
        _ => 28,
    }
}

impl Asked {
    /// Reads the address. Without dates the question is about the last weeks (of a shop that rests: the last in which something happened).
    pub async fn read(platform: &Platform, kind: ReportKind, given: &BTreeMap<String, String>) -> ApiResult<Self> {
        let take = |name: &str| given.get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty() && v.len() <= 200);
        let mut query = ReportQuery {
            model: take("model"),
            by: take("by"),
            unit: take("unit"),
            from: take("from"),
            to: take("to"),
            time_zone: take("time_zone"),
            currency: take("currency"),
            view_through: take("view_through").map(|v| v == "true" || v == "on"),
            campaign: take("campaign"),
            channel: take("channel"),
            segment: take("segment"),
            limit: take("limit").and_then(|v| v.parse().ok()),
            format: take("format"),
            table: take("table"),
        };
        if query.from.is_none() || query.to.is_none() {
            let zone = platform.config.shop.time_zone;
            let today = platform.now().in_zone(zone).date_naive();
            let days = usual_days(kind, query.unit.as_deref());
            let end = match query.to.as_deref().and_then(|t| NaiveDate::parse_from_str(t, "%Y-%m-%d").ok()) {
                Some(day) => day,
                None => {
                    let last = rollup::last_day(&platform.db, today).await?;
                    last.filter(|day| (today - *day).num_days() >= 28).unwrap_or(today)
                }
            };
            query.to.get_or_insert_with(|| end.to_string());
            let first = end.checked_sub_signed(chrono::Duration::days(days - 1)).unwrap_or(end);
            query.from.get_or_insert_with(|| first.to_string());
        }
        Ok(Self { kind, query })
    }

    /// The question as parameters, in the words of the HTTP interface, each followed by `&`.
    pub fn parameters(&self) -> String {
        let q = &self.query;
        let text = |v: &Option<String>| v.clone().unwrap_or_default();
        let view = q.view_through.map(|v| v.to_string()).unwrap_or_default();
        let limit = q.limit.map(|v| v.to_string()).unwrap_or_default();
        kept(&[
            ("from", &text(&q.from)),
            ("to", &text(&q.to)),
            ("by", &text(&q.by)),
            ("model", &text(&q.model)),
            ("unit", &text(&q.unit)),
            ("campaign", &text(&q.campaign)),
            ("channel", &text(&q.channel)),
            ("segment", &text(&q.segment)),
            ("currency", &text(&q.currency)),
            ("time_zone", &text(&q.time_zone)),
            ("view_through", &view),
            ("limit", &limit),
        ])
    }
    /// An address of this question, ready for more parameters.
    pub fn path(&self) -> String {
        format!("/reports/{}?{}", self.kind.name(), self.parameters())
    }
    /// The same with other choices: what a row leads to.
    pub fn with(&self, change: impl FnOnce(&mut ReportQuery)) -> Asked {
        let mut other = self.clone();
        change(&mut other.query);
        other
    }
    /// The same question of another report; what that one cannot use is left out.
    pub fn of_kind(&self, kind: ReportKind) -> Asked {
        let in_units = |k| matches!(k, ReportKind::Cohorts | ReportKind::Engagement);
        self.with_kind(kind).with(|q| {
            if in_units(kind) != in_units(self.kind) {
                (q.from, q.to) = (None, None);
            }
            q.limit = None;
            if kind != ReportKind::Attribution {
                q.model = None;
            }
            if in_units(kind) {
                (q.by, q.campaign, q.channel, q.segment, q.view_through) = (None, None, None, None, None);
            } else {
                q.unit = None;
            }
        })
    }
    fn with_kind(&self, kind: ReportKind) -> Asked {
        Asked { kind, query: self.query.clone() }
    }
}

/// The form above a report.
#[derive(Serialize)]
pub(super) struct FilterView {
    from: String,
    to: String,
    by: Option<Field>,
    model: Option<Field>,
    unit: Option<Field>,
    campaign: Option<Field>,
    channel: Option<Field>,
    segment: Option<Field>,
    currency: String,
    time_zone: Field,
    /// The report asks whether views count.
    asks_views: bool,
    view_through: bool,
    /// What is looked into, named, with the address that leads out again.
    within: Vec<Within>,
}

#[derive(Serialize)]
struct Field {
    value: String,
    options: Vec<Choice>,
}

#[derive(Serialize)]
struct Within {
    name: String,
    out: String,
}

/// Campaigns offered in the list: the youngest. Any other can be named in the address.
const CHOICES: i64 = 200;

pub(super) async fn filters(shell: &Shell, platform: &Platform, asked: &Asked) -> ApiResult<FilterView> {
    let q = &asked.query;
    let kind = asked.kind;
    let in_units = matches!(kind, ReportKind::Cohorts | ReportKind::Engagement);
    let named = |prefix: &str, name: &str| shell.say(&format!("{prefix}.{name}"));
    let text = |v: &Option<String>| v.clone().unwrap_or_default();
    let by = (!in_units).then(|| {
        let usual = if kind == ReportKind::Paths { "channel" } else { "campaign" };
        let options = By::ALL
            .into_iter()
            .filter(|by| kind != ReportKind::Paths || !by.is_time())
            .map(|by| Choice::new(by.name(), named("reports.by", by.name())))
            .collect();
        Field { value: q.by.clone().unwrap_or_else(|| usual.to_owned()), options }
    });
    let usual = crate::web::home::reading(platform).await?;
    let model = (kind == ReportKind::Attribution).then(|| Field {
        value: q.model.clone().unwrap_or_else(|| usual.model.name().to_owned()),
        options: Model::ALL.into_iter().map(|m| Choice::new(m.name(), named("model", m.name()))).collect(),
    });
    let unit = in_units.then(|| Field {
        value: q.unit.clone().unwrap_or_else(|| "month".to_owned()),
        options: Unit::ALL.into_iter().map(|u| Choice::new(u.name(), named("reports.by", u.name()))).collect(),
    });
    let all = || Choice::new("", shell.say("reports.all"));
    let campaign = if in_units { None } else { Some(campaigns(platform, q.campaign.as_deref(), all()).await?) };
    let channel = (!in_units).then(|| Field {
        value: text(&q.channel),
        options: std::iter::once(all()).chain(["email", "banner"].map(|c| Choice::new(c, named("home.channel", c)))).collect(),
    });
    let segment = if in_units { None } else { Some(segments(platform, q.segment.as_deref(), all()).await?) };
    let shop = platform.config.shop.time_zone.name();
    let mut zones = vec![shop.to_owned()];
    for zone in [shell.reader().zone.name(), "UTC", q.time_zone.as_deref().unwrap_or(shop)] {
        if !zones.iter().any(|z| z == zone) {
            zones.push(zone.to_owned());
        }
    }
    let name_of = |field: &Option<Field>| {
        let field = field.as_ref()?;
        field.options.iter().find(|o| o.value == field.value && !o.value.is_empty()).map(|o| o.label.clone())
    };
    let mut within = Vec::new();
    for (name, out) in [
        (name_of(&campaign), asked.with(|q| q.campaign = None)),
        (name_of(&channel), asked.with(|q| q.channel = None)),
        (name_of(&segment), asked.with(|q| q.segment = None)),
    ] {
        if let Some(name) = name {
            within.push(Within { name, out: out.path() });
        }
    }
    Ok(FilterView {
        from: text(&q.from),
        to: text(&q.to),
        by,
        model,
        unit,
        campaign,
        channel,
        segment,
        currency: text(&q.currency),
        time_zone: Field {
            value: q.time_zone.clone().unwrap_or_else(|| shop.to_owned()),
            options: zones.iter().map(|z| Choice::new(z, z)).collect(),
        },
        asks_views: !in_units,
        view_through: q.view_through.unwrap_or(usual.view_through),
        within,
    })
}

/// The youngest campaigns, and the one looked into.
async fn campaigns(platform: &Platform, value: Option<&str>, all: Choice) -> ApiResult<Field> {
    let mut options: Vec<Choice> =
        campaign::names(&platform.db, CHOICES).await?.into_iter().map(|(id, name)| Choice::new(id.to_string(), name)).collect();
    let mut value = value.unwrap_or_default().to_owned();
    if !value.is_empty() {
        let found = campaign::find(&platform.db, &value).await?;
        value = found.id.to_string();
        if !options.iter().any(|o| o.value == value) {
            options.push(Choice::new(value.clone(), found.name));
        }
    }
    options.insert(0, all);
    Ok(Field { value, options })
}

async fn segments(platform: &Platform, value: Option<&str>, all: Choice) -> ApiResult<Field> {
    let list = crate::audience::list(&platform.db, crate::platform::ids::SegmentId(0), CHOICES).await?;
    let mut options: Vec<Choice> = list.into_iter().map(|s| Choice::new(s.id.to_string(), s.name)).collect();
    let mut value = value.unwrap_or_default().to_owned();
    if !value.is_empty() {
        let found = crate::audience::find(&platform.db, &value).await?;
        value = found.id.to_string();
        if !options.iter().any(|o| o.value == value) {
            options.push(Choice::new(value.clone(), found.name));
        }
    }
    options.insert(0, all);
    Ok(Field { value, options })
}
