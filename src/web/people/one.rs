//! One person's page.

use actix_web::web::{Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::choice::{self, Chosen};
use super::stream::{self, Item, KINDS};
use crate::audience;
use crate::events::orders;
use crate::people::{self, Consent, Export, Person, Suppression, Traits};
use crate::platform::clock::Timestamp;
use crate::platform::http::ApiResult;
use crate::platform::ids::PersonId;
use crate::platform::money::Money;
use crate::platform::{Db, Platform};
use crate::web::chart::{self, Chart, Kind, Series, Spec, Unit};
use crate::web::page::Shell;
use crate::web::table::{Choice, Pager, kept};

/// Most lines of the consent history that are shown.
const HISTORY: usize = 12;

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OneQuery {
    kind: String,
    after: Option<String>,
    /// Show the choice at once: for browsers without scripts.
    choice: Option<String>,
}

#[derive(Serialize)]
struct PersonView {
    id: PersonId,
    label: String,
    person: Person,
    attributes: Vec<(String, String)>,
    identities: Vec<(String, String)>,
    merged: Vec<PersonId>,
    consents: Vec<ConsentRow>,
    history: Vec<HistoryRow>,
    suppression: Option<Suppression>,
    reason: Option<String>,
    worth: Vec<Worth>,
    traits: Option<TraitsView>,
    segments: Vec<(String, String)>,
    kinds: Vec<Choice>,
    kind: String,
    items: Vec<Item>,
    pager: Pager,
    chosen: Option<Vec<Chosen>>,
}

#[derive(Serialize)]
struct ConsentRow {
    channel: &'static str,
    state: &'static str,
    tone: &'static str,
    options: Vec<Choice>,
}

#[derive(Serialize)]
struct HistoryRow {
    channel: String,
    state: String,
    source: String,
    at: Timestamp,
    confirmed_at: Option<Timestamp>,
}

/// What they bought so far, in one currency.
#[derive(Serialize)]
struct Worth {
    net: Money,
    orders: i64,
    average: Option<Money>,
}

#[derive(Serialize)]
struct TraitsView {
    computed_at: Timestamp,
    recency_days: Option<i64>,
    /// Name of each of the three, and its fifth (1 to 5; 0 for people who never bought).
    rfm: Vec<(&'static str, i64)>,
    visits: i64,
    visits_before: i64,
    engagement: f64,
    trend: &'static str,
    price: Option<(Money, Money)>,
    best_hour: Option<i64>,
    /// Category, share of interest, and that share of the largest.
    affinities: Vec<(String, f64, f64)>,
    hours: Option<Chart>,
}

/// A trend counts from here on, as in segments.
const TREND: f64 = 0.1;
const AFFINITIES: usize = 6;

fn traits_view(shell: &Shell, platform: &Platform, traits: &Traits) -> ApiResult<TraitsView> {
    let currency = platform.config.shop.currency;
    let mut affinities: Vec<(String, f64)> = traits.category_affinity.0.iter().map(|(k, v)| (k.clone(), *v)).collect();
    affinities.sort_by(|a, b| b.1.total_cmp(&a.1));
    let largest = affinities.first().map_or(1.0, |a| a.1).max(f64::EPSILON);
    let hours = &traits.active_hours.0;
    let chart = (hours.len() == 24 && hours.iter().any(|h| *h > 0)).then(|| {
        chart::draw(&Spec {
            id: "person-hours".into(),
            title: shell.say("people.hours"),
            description: shell.say("people.hours_lead"),
            kind: Kind::Bars,
            unit: Unit::Count,
            axis: shell.say("people.hour"),
            labels: (0..24).map(|h| format!("{h:02}")).collect(),
            series: vec![Series { name: shell.say("people.events"), values: hours.iter().map(|n| Some(*n as f64)).collect() }],
        })
    });
    Ok(TraitsView {
        computed_at: traits.computed_at,
        recency_days: traits.recency_days,
        rfm: vec![("recency", traits.r_quantile), ("frequency", traits.f_quantile), ("monetary", traits.m_quantile)],
        visits: traits.visits_28,
        visits_before: traits.visits_prev_28,
        engagement: traits.engagement,
        trend: match traits.engagement_trend {
            t if t > TREND => "rising",
            t if t < -TREND => "falling",
            _ => "steady",
        },
        price: traits.price_p25_minor.zip(traits.price_p75_minor).map(|(a, b)| (Money::new(a, currency), Money::new(b, currency))),
        best_hour: traits.best_hour,
        affinities: affinities.into_iter().take(AFFINITIES).map(|(k, v)| (k, v, v / largest)).collect(),
        hours: chart.transpose()?,
    })
}

fn consents(shell: &Shell, person: &Person) -> Vec<ConsentRow> {
    [("email", person.email_consent), ("ads", person.ads_consent)]
        .into_iter()
        .map(|(channel, state)| ConsentRow {
            channel,
            state: state.name(),
            tone: super::list::tone(state),
            options: [Consent::Subscribed, Consent::Unsubscribed, Consent::Never]
                .into_iter()
                .map(|s| Choice::new(s.name(), super::said(shell, s)))
                .collect(),
        })
        .collect()
}

fn history(file: &Export) -> Vec<HistoryRow> {
    let mut lines: Vec<HistoryRow> = file
        .consent_history
        .iter()
        .map(|l| HistoryRow {
            channel: l.channel.clone(),
            state: l.state.clone(),
            source: l.source.clone(),
            at: l.at,
            confirmed_at: (l.confirmed_at != l.at).then_some(l.confirmed_at),
        })
        .collect();
    lines.reverse();
    lines.truncate(HISTORY);
    lines
}

async fn worth(db: &Db, id: PersonId) -> ApiResult<Vec<Worth>> {
    let totals = orders::worth_of(db, id).await?;
    Ok(totals
        .into_iter()
        .map(|t| Worth {
            net: Money::new(t.net_minor(), t.currency),
            orders: t.orders,
            average: (t.orders > 0).then(|| Money::new(t.net_minor() / t.orders, t.currency)),
        })
        .collect())
}

/// Open attributes as texts.
fn attributes(person: &Person) -> Vec<(String, String)> {
    person.attributes.0.iter().map(|(k, v)| (k.clone(), v.as_str().map_or_else(|| v.to_string(), ToOwned::to_owned))).collect()
}

#[derive(Serialize)]
struct GoneView {
    id: String,
    erased_at: Option<Timestamp>,
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, path: Path<String>, query: Query<OneQuery>) -> ApiResult {
    let (db, query) = (&platform.db, query.into_inner());
    let person = super::person(db, &path).await?;
    if let Some(into) = person.merged_into {
        let said = shell.say_with("people.merged_away", &[("id", person.id.to_string())]);
        return Ok(shell.redirect_saying(&format!("/people/{into}"), "info", said));
    }
    if person.erased_at.is_some() {
        let view = GoneView { id: person.id.to_string(), erased_at: person.erased_at };
        return shell.render("people/gone.html", person.id.to_string(), &view);
    }
    let file = people::export(db, person.id).await?;
    let kind = KINDS.into_iter().find(|k| *k == query.kind).unwrap_or(KINDS[0]);
    let keep = kept(&[("kind", if kind == KINDS[0] { "" } else { kind })]);
    let (items, pager) = stream::page(&shell, db, person.id, kind, query.after.as_deref(), keep).await?;
    let chosen = match query.choice {
        Some(_) => Some(choice::choice(&shell, &platform, person.id).await?),
        None => None,
    };
    let traits = file.traits.as_ref().map(|t| traits_view(&shell, &platform, t)).transpose()?;
    let reason = file.suppression.as_ref().map(|s| {
        let key = format!("people.suppressed.{}", s.reason);
        if crate::web::i18n::has(&key) { shell.say(&key) } else { s.reason.clone() }
    });
    let view = PersonView {
        id: person.id,
        label: person.label(),
        attributes: attributes(&person),
        merged: people::merged_from(db, person.id).await?,
        consents: consents(&shell, &person),
        history: history(&file),
        suppression: file.suppression,
        reason,
        worth: worth(db, person.id).await?,
        traits,
        segments: audience::segments_of(db, person.id).await?.into_iter().map(|s| (s.id.to_string(), s.name)).collect(),
        kinds: KINDS.into_iter().map(|k| Choice::new(k, shell.say(&format!("people.kind.{k}")))).collect(),
        kind: kind.to_owned(),
        items,
        pager,
        chosen,
        identities: file.identities,
        person,
    };
    shell.render("people/one.html", view.label.clone(), &view)
}
