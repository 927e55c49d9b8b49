//! A sample person in the wizard: which products they would see and why, and in which words each variant says it.

use serde::Serialize;

use super::retouch::{Overlay, Overlays};
use crate::campaign::{self, Campaign};
use crate::catalog::{self, Product};
use crate::copywriter::{self, CopyRequest, Severity, StoredCopy};
use crate::people::{self, Person};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{PersonId, ProductId, VariantId};
use crate::platform::{Money, Platform};
use crate::web::creatives::{Field, FindingRow, fields, finding_rows};
use crate::web::faults;
use crate::web::i18n::Locale;
use crate::web::page::Shell;
use crate::web::table::Choice;
use crate::{audience, creative};

/// A product that the person would see.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    pub title: String,
    pub price: Money,
    pub was: Option<Money>,
    /// `/assets/…` of its picture.
    pub picture: Option<String>,
    /// “Because they bought …”.
    pub because: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    pub tone: &'static str,
    pub field: String,
    pub text: String,
    pub message: String,
}

/// One variant's words for that person.
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    pub variant: String,
    pub variant_id: String,
    pub tone: String,
    pub language: &'static str,
    /// `None`: not written yet.
    pub copy: Option<CardCopy>,
}

#[derive(Clone, Debug, Serialize)]
pub struct CardCopy {
    pub id: String,
    pub status: &'static str,
    pub badge: &'static str,
    pub usable: bool,
    pub stale: bool,
    pub subject: String,
    pub preheader: String,
    pub headline: String,
    pub body: String,
    pub cta: String,
    pub marks: Vec<Mark>,
    pub by_hand: bool,
    pub banners: Vec<BannerView>,
    /// The text with its slots, to be edited.
    pub fields: Vec<Field>,
    /// What is found about the product itself, or about the whole.
    pub others: Vec<FindingRow>,
    /// It was typed, and is not kept yet.
    pub open: bool,
    pub blocked: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct BannerView {
    pub src: String,
    pub width: i64,
    pub height: i64,
}

/// The sample person and what they would get.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    pub asked: String,
    pub id: String,
    pub label: String,
    pub about: String,
    pub products: Vec<Shown>,
    pub cards: Vec<Card>,
    /// People that the search found, where there are several.
    pub hits: Vec<Choice>,
    /// Nobody was found.
    pub nobody: bool,
    /// Texts that can be decided about.
    pub written: bool,
}

/// Whom the words `asked` mean: an id, or the beginning of an address, a name or an external id; without words, somebody of the audience.
async fn people_of(platform: &Platform, campaign: &Campaign, asked: &str) -> ApiResult<Vec<Person>> {
    let db = &platform.db;
    let asked = asked.trim();
    if let Ok(id) = asked.parse::<PersonId>() {
        return Ok(people::get(db, id).await?.filter(|p| p.erased_at.is_none()).into_iter().collect());
    }
    if !asked.is_empty() {
        let found = people::list(db, asked, PersonId(0), 8).await?;
        return Ok(found.into_iter().filter(|p| p.erased_at.is_none()).collect());
    }
    let segment = audience::get(db, campaign.plan.segment).await.map_err(ApiError::from)?;
    let Some(one) = audience::sample(db, &segment.rule, platform.now(), 1).await.map_err(ApiError::from)?.pop() else {
        return Ok(Vec::new());
    };
    Ok(people::get(db, one.id).await?.into_iter().collect())
}

/// The reason of a choice, said about the person and not to them.
fn because(shell: &Shell, reason: &str) -> String {
    for (start, key) in [
        ("Because you bought ", "wizard.because.bought"),
        ("Because you looked at ", "wizard.because.viewed"),
        ("Popular in ", "wizard.because.popular_in"),
    ] {
        if let Some(what) = reason.strip_prefix(start) {
            return shell.say_with(key, &[("what", what.to_owned())]);
        }
    }
    match reason {
        "Popular now" => shell.say("wizard.because.popular"),
        "Bought before, and often bought again" => shell.say("wizard.because.again"),
        other => other.to_owned(),
    }
}

fn shown(shell: &Shell, product: &Product, reason: &str) -> Shown {
    Shown {
        title: product.title.clone(),
        price: product.price_now(),
        was: product.sale_price.filter(|s| s.minor < product.price.minor).map(|_| product.price),
        picture: product.image_hash.as_ref().map(|h| format!("/assets/{h}")),
        because: because(shell, reason),
    }
}

/// The person that a preview is for, and the products chosen for them, best first.
pub async fn chosen(platform: &Platform, campaign: &Campaign, person: PersonId) -> ApiResult<Vec<(Product, String)>> {
    let picks = campaign::explain(platform, &campaign.plan.choice, person, platform.now()).await?;
    let ids: Vec<ProductId> = picks.iter().map(|p| p.product_id).collect();
    let mut known = catalog::get_many(&platform.db, &ids).await?;
    Ok(picks.into_iter().filter_map(|p| Some((known.remove(&p.product_id)?, p.reason))).collect())
}

/// The text that each variant needs for a person's main product.
pub fn requests(platform: &Platform, campaign: &Campaign, person: Option<&Person>, product: ProductId) -> Vec<(VariantId, CopyRequest)> {
    let of = |v: VariantId| campaign::copy_request(campaign, v, product, campaign::locale_for(platform, campaign, v, person));
    campaign.variants.iter().filter_map(|v| Some((v.id, of(v.id)?))).collect()
}

fn card_copy(
    locale: Locale,
    stored: &StoredCopy,
    typed: Option<&Overlay>,
    person: &Person,
    product: &Product,
    banners: Vec<BannerView>,
) -> CardCopy {
    let text = stored.copy.fill(person.first_name.as_deref(), product.price_now(), stored.locale);
    let marks = stored
        .findings
        .iter()
        .map(|f| Mark {
            tone: if f.severity == Severity::Error { "bad" } else { "warn" },
            field: f.field.clone(),
            text: f.text.clone(),
            message: faults::finding(locale, f),
        })
        .collect();
    let badge = match stored.status.as_str() {
        "approved" | "edited" => "good",
        "rejected" | "dropped" => "bad",
        _ => "info",
    };
    let (words, found) = typed.map_or((&stored.copy, &stored.findings), |t| (&t.text, &t.findings));
    let rows = finding_rows(locale, found);
    let fields = fields(stored.channel, words, &rows);
    CardCopy {
        others: rows.into_iter().filter(|r| fields.iter().all(|f| f.name != r.field)).collect(),
        fields,
        open: typed.is_some(),
        blocked: typed.is_some_and(|t| copywriter::has_error(&t.findings)),
        id: stored.id.to_string(),
        status: stored.status.as_str(),
        badge,
        usable: stored.status.usable(),
        stale: stored.stale,
        by_hand: matches!(stored.status.as_str(), "approved" | "edited"),
        subject: text.subject,
        preheader: text.preheader,
        headline: text.headline,
        body: text.body,
        cta: text.cta,
        marks,
        banners,
    }
}

/// The sample of a stored campaign.
/// `typed`: texts that come back in their form.
pub async fn sample(shell: &Shell, platform: &Platform, campaign: &Campaign, asked: &str, typed: &Overlays) -> ApiResult<Sample> {
    let mut found = people_of(platform, campaign, asked).await?;
    let mut sample = Sample { asked: asked.to_owned(), ..Sample::default() };
    if found.is_empty() {
        sample.nobody = true;
        return Ok(sample);
    }
    if found.len() > 1 {
        sample.hits = found.iter().map(|p| Choice::new(p.id.to_string(), p.label())).collect();
    }
    let person = found.swap_remove(0);
    let about = [person.locale.clone(), person.country.clone(), person.time_zone.clone()];
    sample.id = person.id.to_string();
    sample.label = person.label();
    sample.about = about.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let products = chosen(platform, campaign, person.id).await?;
    sample.products = products.iter().map(|(p, why)| shown(shell, p, why)).collect();
    let Some((main, _)) = products.first() else { return Ok(sample) };
    let wanted = requests(platform, campaign, Some(&person), main.id);
    let list: Vec<CopyRequest> = wanted.iter().map(|(_, r)| r.clone()).collect();
    let stored = copywriter::stored(&platform.db, &list).await?;
    let ready = creative::banners_of(&platform.db, campaign.id).await?;
    for (variant, request) in &wanted {
        let Some(named) = campaign.variant(*variant) else { continue };
        let copy = stored.get(&request.key());
        let banners = ready
            .iter()
            .filter(|b| b.variant_id == *variant && b.product_id == main.id && b.locale == request.locale.as_str())
            .map(|b| BannerView { src: format!("/assets/{}", b.asset_hash), width: b.width, height: b.height })
            .collect();
        sample.written |= copy.is_some();
        sample.cards.push(Card {
            variant: named.variant.name.clone(),
            variant_id: variant.to_string(),
            tone: shell.say(&format!("campaign.tone.{}", named.variant.tone)),
            language: request.locale.as_str(),
            copy: copy.map(|c| card_copy(shell.locale(), c, typed.get(&c.id), &person, main, banners)),
        });
    }
    Ok(sample)
}

/// Writes the texts of all variants for a person's main product, and draws their banners; what is there already stays.
pub async fn write(platform: &Platform, campaign: &Campaign, asked: &str) -> ApiResult<usize> {
    let Some(person) = people_of(platform, campaign, asked).await?.into_iter().next() else { return Ok(0) };
    let products = chosen(platform, campaign, person.id).await?;
    let Some((main, _)) = products.first() else { return Ok(0) };
    let wanted = requests(platform, campaign, Some(&person), main.id);
    let list: Vec<CopyRequest> = wanted.iter().map(|(_, r)| r.clone()).collect();
    let ensured = copywriter::ensure(platform, &list).await?;
    if campaign.plan.channel == crate::touches::TouchChannel::Banner {
        let places = crate::adserver::placements(&platform.db).await?;
        let on = |key: &str| campaign.plan.placements.is_empty() || campaign.plan.placements.iter().any(|p| p == key);
        let formats: std::collections::BTreeSet<creative::Format> =
            places.iter().filter(|p| on(&p.key)).filter_map(|p| format!("{}x{}", p.width, p.height).parse().ok()).collect();
        let banners: Vec<creative::BannerRequest> = list
            .iter()
            .filter_map(|r| Some((r, *ensured.ids.get(&r.key())?)))
            .flat_map(|(r, copy_id)| {
                formats.iter().map(move |format| creative::BannerRequest {
                    campaign_id: r.campaign_id,
                    variant_id: r.variant_id,
                    product_id: r.product_id,
                    copy_id,
                    locale: r.locale,
                    format: *format,
                })
            })
            .collect();
        creative::ensure_banners(platform, &banners).await?;
    }
    Ok(ensured.written)
}

/// A person by id, for previews.
pub async fn person(platform: &Platform, id: &str) -> ApiResult<Person> {
    let id: PersonId = id.parse().map_err(|_| ApiError::not_found("person"))?;
    people::get(&platform.db, id).await?.filter(|p| p.erased_at.is_none()).ok_or_else(|| ApiError::not_found("person"))
}
