//! The wizard: whom, what, where, when, how measured, on one page, with what it would do beside it.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path, Query};
use serde::{Deserialize, Serialize};

use super::form::{Errors, Fields, VariantForm, WizardForm, all_errors};
use super::read::said;
use super::retouch::{self, Overlays, Retouched};
use super::schedule_form::{self, Days, KINDS};
use super::summary::{self, Summary};
use super::words::{self, Sample};
use super::{Shown, find, preview, refused};
use crate::adserver::{self, Placement};
use crate::audience;
use crate::campaign::{self, Campaign, CampaignError, GoalKind, NewCampaign};
use crate::copywriter::{self, CopyError, Occasion, Severity, Tone};
use crate::creative;
use crate::delivery::{self, NotifyError};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{CopyId, SegmentId, VariantId};
use crate::touches::TouchChannel;
use crate::web::faults;
use crate::web::page::Shell;
use crate::web::table::Choice;

/// Segments that the list offers.
const MAX_SEGMENTS: i64 = 500;
/// Zones that the list offers beside the viewer's and the shop's.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/Madrid",
    "Europe/Rome",
    "Europe/Warsaw",
    "Europe/Athens",
    "Europe/Moscow",
    "Africa/Cairo",
    "Africa/Lagos",
    "Africa/Johannesburg",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Toronto",
    "America/Mexico_City",
    "America/Sao_Paulo",
    "America/Argentina/Buenos_Aires",
    "Asia/Dubai",
    "Asia/Kolkata",
    "Asia/Bangkok",
    "Asia/Jakarta",
    "Asia/Singapore",
    "Asia/Hong_Kong",
    "Asia/Shanghai",
    "Asia/Taipei",
    "Asia/Seoul",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
];

#[derive(Serialize)]
struct Place {
    key: String,
    name: String,
    size: String,
    on: bool,
}

#[derive(Serialize)]
struct WizardView {
    /// Where the form goes.
    action: String,
    id: String,
    back: String,
    back_label: String,
    variant_options: Vec<Choice>,
    c: Option<Shown>,
    f: WizardForm,
    errors: std::collections::BTreeMap<&'static str, String>,
    mistakes: Vec<String>,
    rows: Vec<VariantForm>,
    segments: Vec<Choice>,
    tones: Vec<Choice>,
    occasions: Vec<Choice>,
    languages: Vec<Choice>,
    templates: Vec<Choice>,
    goals: Vec<Choice>,
    kinds: Vec<Choice>,
    zones: Vec<Choice>,
    days: Vec<Days>,
    places: Vec<Place>,
    users: Vec<Choice>,
    me: String,
    summary: Summary,
    sample: Option<Sample>,
    variant: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WizardQuery {
    segment: String,
    person: String,
    variant: String,
}

fn words_of(shell: &Shell, prefix: &str, values: &[&'static str]) -> Vec<Choice> {
    values.iter().map(|v| Choice::new(*v, shell.say(&format!("{prefix}.{v}")))).collect()
}

fn zones(shell: &Shell, chosen: &str) -> Vec<Choice> {
    let shop = shell.inner.platform.config.shop.time_zone.name();
    let mut names: Vec<&str> = vec![shell.reader().zone.name(), shop];
    names.extend(ZONES);
    if chosen.parse::<chrono_tz::Tz>().is_ok() {
        names.push(chosen);
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|n| seen.insert(*n));
    names.into_iter().map(|n| Choice::new(n, n.replace('_', " "))).collect()
}

fn place(p: Placement, form: &WizardForm) -> Place {
    Place { on: form.placements.contains(&p.key), size: format!("{} × {}", p.width, p.height), key: p.key, name: p.name }
}

/// Everything the page needs beside the form itself.
async fn view(
    shell: &Shell,
    platform: &Platform,
    stored: Option<&Campaign>,
    form: WizardForm,
    errors: &Errors,
    query: &WizardQuery,
    typed: &Overlays,
) -> ApiResult<WizardView> {
    let db = &platform.db;
    let segments = audience::list(db, SegmentId(0), MAX_SEGMENTS).await.map_err(ApiError::from)?;
    let users = shell.ui().accounts.list().await?;
    let sample = match stored {
        Some(campaign) => Some(words::sample(shell, platform, campaign, &query.person, typed).await?),
        None => None,
    };
    let mut rows = form.variants.clone();
    if rows.len() < super::form::MAX_VARIANTS {
        rows.push(VariantForm { weight: "1".into(), tone: "friendly".into(), occasion: "recommendation".into(), ..VariantForm::default() });
    }
    let blank = |key: &str| Choice::new("", shell.say(key));
    let templates = std::iter::once(blank("wizard.template.auto"))
        .chain(words_of(shell, "wizard.template", &["hero", "hero_more", "letter"]))
        .chain(creative::own::own_templates(db).await?.into_iter().map(|t| Choice::new(t.key, t.name)));
    let language = |l: &str| Choice::new(l, shell.say(&format!("wizard.language.{l}")));
    let variant = stored
        .and_then(|c| c.variants.iter().find(|v| v.id.to_string() == query.variant).or_else(|| c.variants.first()))
        .map(|v| v.id.to_string())
        .unwrap_or_default();
    Ok(WizardView {
        action: stored.map_or_else(|| "/campaigns/new".into(), |c| format!("/campaigns/{}/edit", c.id)),
        id: stored.map(|c| c.id.to_string()).unwrap_or_default(),
        back: stored.map_or_else(|| "/campaigns".into(), |c| format!("/campaigns/{}", c.id)),
        back_label: stored.map_or_else(|| shell.say("campaigns.title"), |c| c.name.clone()),
        variant_options: stored
            .map(|c| c.variants.iter().map(|v| Choice::new(v.id.to_string(), v.variant.name.clone())).collect())
            .unwrap_or_default(),
        c: stored.map(Shown::of),
        errors: all_errors(errors),
        mistakes: summary::mistakes(errors),
        rows,
        segments: std::iter::once(blank("wizard.choose_segment"))
            .chain(segments.into_iter().map(|s| Choice::new(s.id.to_string(), s.name)))
            .collect(),
        tones: words_of(shell, "campaign.tone", &Tone::ALL.iter().map(|t| t.as_str()).collect::<Vec<_>>()),
        occasions: words_of(shell, "campaign.occasion", &Occasion::ALL.iter().map(|t| t.as_str()).collect::<Vec<_>>()),
        languages: ["person", "en", "zh"].into_iter().map(language).collect(),
        templates: templates.collect(),
        goals: words_of(shell, "campaign.goal", &GoalKind::ALL.iter().map(|g| g.as_str()).collect::<Vec<_>>()),
        kinds: words_of(shell, "wizard.kind", &KINDS),
        zones: zones(shell, &form.schedule.zone),
        days: schedule_form::days(shell),
        places: adserver::placements(db).await?.into_iter().map(|p| place(p, &form)).collect(),
        me: shell.session()?.user.email.clone(),
        users: users
            .into_iter()
            .filter(|u| !u.disabled)
            .map(|u| Choice::new(u.email.clone(), format!("{} · {}", u.name, u.email)))
            .collect(),
        summary: summary::look(shell, platform, &form, stored).await?,
        sample,
        variant,
        f: form,
    })
}

pub async fn new(shell: Shell, platform: Data<Platform>, query: Query<WizardQuery>) -> ApiResult {
    let caps = campaign::policy(&platform.db).await?.caps;
    let form = WizardForm::fresh(&shell, caps, query.segment.clone());
    let view = view(&shell, &platform, None, form, &Errors::new(), &query, &Overlays::new()).await?;
    shell.render("campaigns/wizard.html", shell.say("campaigns.new"), &view)
}

/// The campaign of a wizard's page; what has begun is no longer planned here.
async fn editable(shell: &Shell, platform: &Platform, id: &str) -> ApiResult<Result<Campaign, actix_web::HttpResponse>> {
    let campaign = find(&platform.db, id).await?;
    if Shown::of(&campaign).may_edit {
        return Ok(Ok(campaign));
    }
    Ok(Err(shell.redirect_saying(&format!("/campaigns/{}", campaign.id), "bad", shell.say("wizard.begun"))))
}

pub async fn edit(shell: Shell, platform: Data<Platform>, id: Path<String>, query: Query<WizardQuery>) -> ApiResult {
    let campaign = match editable(&shell, &platform, &id).await? {
        Ok(campaign) => campaign,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let caps = campaign::policy(&platform.db).await?.caps;
    let form = WizardForm::of(&shell, &campaign.name, &campaign.plan, caps);
    let view = view(&shell, &platform, Some(&campaign), form, &Errors::new(), &query, &Overlays::new()).await?;
    shell.render("campaigns/wizard.html", shell.say_with("wizard.edit", &[("name", campaign.name.clone())]), &view)
}

type Pairs = Form<Vec<(String, String)>>;

pub async fn create(shell: Shell, platform: Data<Platform>, body: Pairs) -> ApiResult {
    save(&shell, &platform, None, &Fields(&body)).await
}

pub async fn update(shell: Shell, platform: Data<Platform>, id: Path<String>, body: Pairs) -> ApiResult {
    match editable(&shell, &platform, &id).await? {
        Ok(campaign) => save(&shell, &platform, Some(campaign), &Fields(&body)).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

async fn store(
    platform: &Platform,
    stored: Option<&Campaign>,
    form: &WizardForm,
    shell: &Shell,
) -> Result<Result<Campaign, Errors>, CampaignError> {
    let (name, plan) = match form.plan(shell) {
        Ok(read) => read,
        Err(errors) => return Ok(Err(errors)),
    };
    let (db, now) = (&platform.db, platform.now());
    let done = match stored {
        Some(c) => campaign::update(db, c.id, &name, plan, now).await,
        None => first(platform, &name, plan).await,
    };
    match done {
        Ok(campaign) => Ok(Ok(campaign)),
        Err(error @ (CampaignError::Database(_) | CampaignError::Other(_) | CampaignError::NotFound)) => Err(error),
        Err(error) => Ok(Err(Errors::from([said(shell, &error)]))),
    }
}

/// Makes a draft; a name that was used before gets a key with a number.
async fn first(platform: &Platform, name: &str, plan: campaign::Plan) -> Result<Campaign, CampaignError> {
    let mut made =
        campaign::create(&platform.db, NewCampaign { key: None, name: name.to_owned(), plan: plan.clone() }, platform.now()).await;
    for n in 2..=200 {
        let Err(CampaignError::KeyTaken(key)) = &made else { break };
        let base = key.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        let key = Some(format!("{}-{n}", if base.is_empty() { "campaign" } else { base }));
        made = campaign::create(&platform.db, NewCampaign { key, name: name.to_owned(), plan: plan.clone() }, platform.now()).await;
    }
    made
}

async fn save(shell: &Shell, platform: &Platform, stored: Option<Campaign>, fields: &Fields<'_>) -> ApiResult {
    let form = WizardForm::posted(fields);
    let query = WizardQuery { person: fields.one("person"), variant: fields.one("variant"), ..WizardQuery::default() };
    match store(platform, stored.as_ref(), &form, shell).await? {
        Ok(campaign) => {
            let asked = fields.one("do");
            let (verb, which) = asked.split_once(':').unwrap_or((&asked, ""));
            // Whoever writes or refuses a text does not want what was typed into it.
            let except = if matches!(verb, "rewrite" | "reject") { which.parse::<CopyId>().ok() } else { None };
            let touched = retouch::apply(platform, &campaign, fields, except).await?;
            shell.note(campaign.id.to_string(), campaign.name.clone());
            if touched.refused.is_empty() {
                return after(shell, platform, &campaign, fields, &query, &touched).await;
            }
            let refused = Errors::from([("words", shell.say("wizard.words_refused"))]);
            again(shell, platform, Some(&campaign), form, &refused, &query, &touched.refused).await
        }
        Err(errors) => {
            let typed = match &stored {
                Some(campaign) => retouch::look(platform, campaign, fields).await?,
                None => Overlays::new(),
            };
            again(shell, platform, stored.as_ref(), form, &errors, &query, &typed).await
        }
    }
}

/// The page with what is to be mended.
async fn again(
    shell: &Shell,
    platform: &Platform,
    stored: Option<&Campaign>,
    form: WizardForm,
    errors: &Errors,
    query: &WizardQuery,
    typed: &Overlays,
) -> ApiResult {
    let view = view(shell, platform, stored, form, errors, query, typed).await?;
    let title = stored.map_or_else(|| shell.say("campaigns.new"), |c| shell.say_with("wizard.edit", &[("name", c.name.clone())]));
    shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "campaigns/wizard.html", title, &view)
}

/// The wizard's page again, with the same person and variant, at a section.
fn page_of(campaign: &Campaign, query: &WizardQuery, section: &str) -> String {
    let keep = crate::web::table::kept(&[("person", query.person.trim()), ("variant", &query.variant)]);
    format!("/campaigns/{}/edit?{keep}{section}", campaign.id)
}

/// What the button asked for, once the draft is kept.
async fn after(
    shell: &Shell,
    platform: &Platform,
    campaign: &Campaign,
    fields: &Fields<'_>,
    query: &WizardQuery,
    touched: &Retouched,
) -> ApiResult {
    let asked = fields.one("do");
    let (verb, which) = asked.split_once(':').unwrap_or((&asked, ""));
    let words = page_of(campaign, query, "#words");
    match verb {
        "schedule" => Ok(shell.redirect(&format!("/campaigns/{}/schedule", campaign.id))),
        "send" => Ok(shell.redirect(&format!("/campaigns/{}/send", campaign.id))),
        "preview" => Ok(shell.redirect(&words)),
        "write" => {
            let n = words::write(platform, campaign, &query.person).await?;
            Ok(shell.redirect_saying(&words, "good", shell.say_with("wizard.wrote", &[("n", n.to_string())])))
        }
        // What was typed into it passed, and is approved by that.
        "approve" if which.parse::<CopyId>().is_ok_and(|id| touched.kept.contains(&id)) => {
            Ok(shell.redirect_saying(&words, "good", shell.say("wizard.did_edit")))
        }
        "edit" => {
            let said = if touched.kept.is_empty() { "wizard.same_words" } else { "wizard.did_edit" };
            Ok(shell.redirect_saying(&words, "good", shell.say(said)))
        }
        "approve" | "reject" | "rewrite" => decide(shell, platform, campaign, verb, which, &words).await,
        "test" => test(shell, platform, campaign, fields, query).await,
        _ => Ok(shell.redirect_saying(&page_of(campaign, query, ""), "good", shell.say("wizard.saved"))),
    }
}

async fn decide(shell: &Shell, platform: &Platform, campaign: &Campaign, verb: &str, which: &str, back: &str) -> ApiResult {
    let id: CopyId = which.parse().map_err(|_| ApiError::not_found("copy"))?;
    let own = copywriter::get_many(&platform.db, &[id]).await?;
    if own.get(&id).is_none_or(|c| c.campaign_id != campaign.id) {
        return Err(ApiError::not_found("copy"));
    }
    let done = match verb {
        "approve" => copywriter::approve(platform, id).await,
        "reject" => copywriter::reject(platform, id).await,
        _ => copywriter::rewrite(platform, id).await,
    };
    if let Err(CopyError::Refused(findings)) = &done {
        let bad = findings.iter().filter(|f| f.severity == Severity::Error);
        let why: Vec<String> = bad.map(|f| format!("“{}”: {}", f.text, faults::finding(shell.locale(), f))).collect();
        return Ok(shell.redirect_saying(back, "bad", why.join(" ")));
    }
    match done.map_err(ApiError::from) {
        Ok(_) => Ok(shell.redirect_saying(back, "good", shell.say(&format!("wizard.did_{verb}")))),
        Err(error) if error.status().is_client_error() => Ok(shell.redirect_saying(back, "bad", shell.fault(error.detail()))),
        Err(error) => Err(error),
    }
}

/// Sends the chosen variant, as the sample person would get it, to one of the shop's own users.
async fn test(shell: &Shell, platform: &Platform, campaign: &Campaign, fields: &Fields<'_>, query: &WizardQuery) -> ApiResult {
    let back = page_of(campaign, query, "#test");
    let to = fields.one("test_to");
    // Only to people who work here: a form must not make us write to anybody.
    let known = shell.ui().accounts.list().await?.into_iter().any(|u| u.email == to && !u.disabled);
    if !known || campaign.plan.channel != TouchChannel::Email {
        return Ok(shell.redirect_saying(&back, "bad", shell.say("wizard.test.who")));
    }
    let sample = words::sample(shell, platform, campaign, &query.person, &Overlays::new()).await?;
    let variant = query.variant.parse::<VariantId>().ok().or_else(|| campaign.variants.first().map(|v| v.id)).unwrap_or(VariantId(0));
    let mail = if sample.id.is_empty() {
        None
    } else {
        preview::mail(platform, campaign, &words::person(platform, &sample.id).await?, variant).await?
    };
    let Some((mail, _)) = mail else {
        return Ok(shell.redirect_saying(&back, "bad", shell.say("wizard.test.unwritten")));
    };
    let subject = shell.say_with("wizard.test.subject", &[("subject", mail.subject.clone())]);
    match delivery::send_proof(platform, &to, &subject, &mail).await {
        Ok(_) => Ok(shell.redirect_saying(&back, "good", shell.say_with("wizard.test.sent", &[("to", to)]))),
        Err(NotifyError::NoServer) => Ok(shell.redirect_saying(&back, "bad", shell.say("wizard.test.no_server"))),
        Err(other) => Ok(shell.redirect_saying(&back, "bad", other.to_string())),
    }
}

/// Refused actions of the launch come back here.
pub(super) fn launch_refused(shell: &Shell, campaign: &Campaign, error: CampaignError) -> ApiResult {
    let back =
        if Shown::of(campaign).may_edit { format!("/campaigns/{}/edit", campaign.id) } else { format!("/campaigns/{}", campaign.id) };
    refused(shell, &back, error)
}
