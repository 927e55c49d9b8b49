//! Home's figures: the period beside the one before it, what all marketing added, the campaigns that added most.

use chrono::NaiveDate;
use serde::Serialize;

use super::linked;
use crate::attribution::rollup::{self, Days, Figures, Reading};
use crate::attribution::{self, AttributionSetting, KeptLift};
use crate::campaign;
use crate::platform::http::ApiResult;
use crate::platform::{Currency, Money, Platform, Timestamp};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::format;
use crate::web::i18n::Locale;
use crate::web::page::Shell;

/// A figure with what it was in the period before.
#[derive(Serialize)]
pub(super) struct Figure {
    value: String,
    note: String,
}

/// What was added, as an interval that a person can read.
#[derive(Serialize)]
pub(in crate::web) struct AddedView {
    pub value: Money,
    pub low: Option<Money>,
    pub high: Option<Money>,
    /// The interval leaves zero out.
    pub found: bool,
    /// The value says something: it was found, or there were people enough to find it.
    pub said: bool,
    /// More of it would be needed to say anything.
    pub more_people: Option<i64>,
    pub held: i64,
    pub treated: i64,
    pub as_of: Timestamp,
    pub since: Timestamp,
}

#[derive(Serialize)]
pub(super) struct FiguresView {
    earned: Figure,
    orders: Figure,
    sent: Figure,
    clicks: Figure,
    unsubscribed: Figure,
    added: Option<AddedView>,
    /// Lift was measured, but nobody is held out of all marketing.
    no_holdout: bool,
    model: String,
    others: Vec<Money>,
}

/// The money of a kept lift, where it is one.
pub(in crate::web) fn added(kept: &KeptLift, currency: Currency) -> Option<AddedView> {
    let main = kept.measured.results.first().filter(|r| r.unit == currency.code() && r.lift.n_held > 0)?;
    let money = |value: f64| value.is_finite().then(|| Money::new(whole(value), currency));
    Some(AddedView {
        value: Money::new(whole(main.lift.incremental_total), currency),
        low: money(main.lift.ci95_low),
        high: money(main.lift.ci95_high),
        found: main.lift.found(),
        said: main.lift.found() || main.lift.powered,
        more_people: main.lift.more_people_needed.and_then(|n| i64::try_from(n).ok()),
        held: i64::try_from(main.lift.n_held).unwrap_or(i64::MAX),
        treated: i64::try_from(main.lift.n_treated).unwrap_or(i64::MAX),
        as_of: kept.as_of,
        since: kept.as_of.plus_us(-kept.measured.window_us),
    })
}

#[allow(clippy::cast_possible_truncation, reason = "saturates; for reading")]
fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// How the shop reads credit; a model that learns cannot be added up day by day, so the last touch stands for it.
pub(in crate::web) async fn reading(platform: &Platform) -> ApiResult<Reading> {
    let setting: AttributionSetting = crate::platform::setting::get_or_default(&platform.db, AttributionSetting::KEY).await?;
    Ok(setting.reading())
}

#[allow(clippy::cast_precision_loss, reason = "for reading")]
pub(super) async fn view(shell: &Shell, platform: &Platform, days: Days) -> ApiResult<FiguresView> {
    let db = &platform.db;
    let currency = platform.config.shop.currency;
    let code = currency.code();
    let reading = reading(platform).await?;
    let (now, before) = (rollup::totals(db, days).await?, rollup::totals(db, days.before()).await?);
    let n = days.count();
    let change = |a: f64, b: f64| change(shell, a, b, n);
    let earned = |f: &Figures| f.revenue(code, reading);
    let orders = |f: &Figures| f.last_orders(code, reading.view_through);
    let share = |f: &Figures, part: i64| f.counts.delivered() > 0 && part >= 0;
    let rate = |f: &Figures, part: i64| share(f, part).then(|| part as f64 / f.counts.delivered() as f64);
    let share_figure = |part: fn(&Figures) -> i64| {
        let (a, b) = (rate(&now, part(&now)), rate(&before, part(&before)));
        let note = match (a, b) {
            (Some(_), Some(b)) => shell.say_with("home.before_share", &[("p", format::percent(b)), ("n", n.to_string())]),
            _ => String::new(),
        };
        Figure { value: a.map_or_else(|| "–".into(), format::percent), note }
    };
    let kept = attribution::kept_lift(db, None).await?;
    let added = kept.as_ref().and_then(|k| added(k, currency));
    let mut others: Vec<Money> = now
        .earned
        .iter()
        .filter(|e| e.view_through == reading.view_through && e.currency != code)
        .filter_map(|e| Some(Money::new(now.revenue(&e.currency, reading), e.currency.parse().ok()?)))
        .filter(|m| m.minor != 0)
        .collect();
    others.sort_by_key(|m| m.currency.code().to_owned());
    Ok(FiguresView {
        earned: Figure {
            value: format::money(Money::new(earned(&now), currency)),
            note: change(earned(&now) as f64, earned(&before) as f64),
        },
        orders: Figure { value: format::count(orders(&now)), note: change(orders(&now) as f64, orders(&before) as f64) },
        sent: Figure { value: format::count(now.counts.sent), note: change(now.counts.sent as f64, before.counts.sent as f64) },
        clicks: share_figure(|f| f.counts.clicked),
        unsubscribed: share_figure(|f| f.counts.unsubscribed),
        no_holdout: added.is_none() && kept.is_some(),
        added,
        model: shell.say(&format!("model.{}", reading.model.name())),
        others,
    })
}

/// How a figure stands beside the period before.
fn change(shell: &Shell, now: f64, before: f64, days: i64) -> String {
    let n = ("n", days.to_string());
    if before == 0.0 {
        return if now == 0.0 { String::new() } else { shell.say_with("home.none_before", &[n]) };
    }
    let share = now / before - 1.0;
    let key = if share.abs() < 0.005 {
        "home.same"
    } else if share > 0.0 {
        "home.up"
    } else {
        "home.down"
    };
    shell.say_with(key, &[("p", format::percent(share.abs())), n])
}

/// `3 Nov`, as at an axis.
pub(in crate::web) fn short_date(shell: &Shell, day: NaiveDate) -> String {
    match shell.locale() {
        Locale::En => day.format("%-d %b").to_string(),
        Locale::Zh => day.format("%-m月%-d日").to_string(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "for drawing")]
pub(super) async fn charts(shell: &Shell, platform: &Platform, days: Days) -> ApiResult<Vec<Chart>> {
    let currency = platform.config.shop.currency;
    let reading = reading(platform).await?;
    let series = rollup::series(&platform.db, None, days).await?;
    if series.iter().all(|(_, f)| f.counts.is_zero() && f.earned.is_empty()) {
        return Ok(Vec::new());
    }
    let labels: Vec<String> = series.iter().map(|(day, _)| short_date(shell, *day)).collect();
    let line = |name: &str, value: &dyn Fn(&Figures) -> i64| Series {
        name: shell.say(name),
        values: series.iter().map(|(_, f)| Some(value(f) as f64)).collect(),
    };
    let spec = |id: &str, title: &str, unit: Unit, list: Vec<Series>| Spec {
        id: id.to_owned(),
        title: shell.say(title),
        description: shell.say_with("home.chart_about", &[("n", days.count().to_string())]),
        kind: Kind::Line,
        unit,
        axis: shell.say("home.day"),
        labels: labels.clone(),
        series: list,
    };
    let earned = line("home.earned", &|f| f.revenue(currency.code(), reading));
    let sent = vec![line("home.sent", &|f| f.counts.sent), line("home.clicked", &|f| f.counts.clicked)];
    Ok(vec![
        chart::draw_half(&spec("home-earned", "home.chart_earned", Unit::Money(currency), vec![earned]))?,
        chart::draw_half(&spec("home-sent", "home.chart_sent", Unit::Count, sent))?,
    ])
}

/// A campaign and what it added.
#[derive(Serialize)]
pub(super) struct Best {
    name: String,
    href: Option<String>,
    added: AddedView,
    credited: Money,
    sent: i64,
    plot: String,
}

/// The campaigns that added most. Their lifts do not add up, and nothing here adds them.
pub(super) async fn best(shell: &Shell, platform: &Platform) -> ApiResult<Vec<Best>> {
    let db = &platform.db;
    let currency = platform.config.shop.currency;
    let reading = reading(platform).await?;
    let kept = attribution::best_lifts(db, currency.code(), 5).await?;
    let ids: Vec<_> = kept.iter().filter_map(|k| k.campaign).collect();
    let campaigns = campaign::get_many(db, &ids).await?;
    let mut figures = rollup::by_campaign(db, &ids, Days::ALL).await?;
    let bounds = |k: &KeptLift| k.measured.results.first().map_or((f64::NAN, f64::NAN), |r| (r.lift.ci95_low, r.lift.ci95_high));
    let span = kept.iter().map(bounds).flat_map(|(low, high)| [low.abs(), high.abs()]).filter(|v| v.is_finite()).fold(0.0, f64::max);
    Ok(kept
        .iter()
        .filter_map(|k| {
            let campaign = campaigns.get(&k.campaign?)?;
            let figures = figures.remove(&campaign.id).unwrap_or_default();
            Some(Best {
                name: campaign.name.clone(),
                href: linked(shell, "/campaigns/{id}", format!("/campaigns/{}", campaign.id)),
                added: added(k, currency)?,
                credited: Money::new(figures.revenue(currency.code(), reading), currency),
                sent: figures.counts.sent,
                plot: k
                    .measured
                    .results
                    .first()
                    .map(|r| chart::interval(r.lift.ci95_low, r.lift.incremental_total, r.lift.ci95_high, span))
                    .unwrap_or_default(),
            })
        })
        .collect())
}
