//! The gallery: copies and banners with what they came to, filtered, and as CSV.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Card, Names};
use crate::campaign;
use crate::catalog;
use crate::copywriter::{self, CopyChannel, CopyFilter, CopyOrder, CopyState, FindingKind, Locale, MOST_COUNTED};
use crate::platform::Platform;
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::{CampaignId, CopyId};
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS, Pager, formula_safe, kept};

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    campaign: String,
    product: String,
    channel: String,
    locale: String,
    state: String,
    finding: String,
    order: String,
    after: Option<String>,
}

impl ListQuery {
    /// What cannot be read does not narrow; a product may be named by sku.
    async fn filter(&self, platform: &Platform) -> ApiResult<(CopyFilter, Option<String>)> {
        let mut filter = CopyFilter {
            campaign: self.campaign.parse().ok(),
            product: self.product.trim().parse().ok(),
            channel: self.channel.parse::<CopyChannel>().ok(),
            locale: self.locale.parse::<Locale>().ok(),
            state: CopyState::ALL.into_iter().find(|s| s.name() == self.state),
            finding: self.finding.parse::<FindingKind>().ok(),
        };
        let sku = self.product.trim();
        if sku.is_empty() {
            return Ok((filter, None));
        }
        let found = match filter.product {
            Some(id) => catalog::get(&platform.db, id).await?,
            None if sku.contains('\0') => None,
            None => catalog::get_by_sku(&platform.db, sku).await?,
        };
        // A product that is not there has no copies.
        filter.product = Some(found.as_ref().map_or(crate::platform::ids::ProductId(0), |p| p.id));
        Ok((filter, found.map(|p| p.title)))
    }
    fn kept(&self) -> String {
        kept(&[
            ("campaign", &self.campaign),
            ("product", &self.product),
            ("channel", &self.channel),
            ("locale", &self.locale),
            ("state", &self.state),
            ("finding", &self.finding),
            ("order", &self.order),
        ])
    }
    fn order(&self) -> CopyOrder {
        match self.order.as_str() {
            "sent" => CopyOrder::Sent,
            "clicked" => CopyOrder::Clicked,
            _ => CopyOrder::Newest,
        }
    }
    fn before(&self) -> ApiResult<Option<CopyId>> {
        self.after.as_deref().filter(|a| !a.is_empty()).map(super::copy_id).transpose()
    }
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    shown: String,
    href: String,
    tone: &'static str,
}

#[derive(Serialize)]
struct ListView {
    figures: Vec<Figure>,
    cards: Vec<Card>,
    pager: Pager,
    campaigns: Vec<Choice>,
    channels: Vec<Choice>,
    locales: Vec<Choice>,
    states: Vec<Choice>,
    kinds: Vec<Choice>,
    orders: Vec<Choice>,
    order: String,
    campaign: String,
    product: String,
    /// The product's title where it was found.
    product_title: Option<String>,
    channel: String,
    locale: String,
    state: String,
    finding: String,
    narrowed: bool,
    empty: bool,
    download: String,
    /// Where the forms of this page lead back to.
    back: String,
    wizard: bool,
}

fn choices(shell: &Shell, any: &str, prefix: &str, names: impl Iterator<Item = &'static str>) -> Vec<Choice> {
    let rest = names.map(|n| Choice::new(n, shell.say(&format!("{prefix}.{n}"))));
    std::iter::once(Choice::new("", shell.say(any))).chain(rest).collect()
}

/// Campaigns offered in the filter, the newest first.
const MAX_CAMPAIGNS: usize = 200;

async fn campaigns(shell: &Shell, platform: &Platform) -> ApiResult<Vec<Choice>> {
    let mut found = campaign::list(&platform.db, CampaignId(0), 2_000).await?;
    found.reverse();
    found.truncate(MAX_CAMPAIGNS);
    let rest = found.into_iter().map(|c| Choice::new(c.id.to_string(), c.name));
    Ok(std::iter::once(Choice::new("", shell.say("creatives.any_campaign"))).chain(rest).collect())
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let (filter, product_title) = query.filter(&platform).await?;
    let mut found = copywriter::browse(&platform.db, &filter, query.order(), query.before()?, PAGE_ROWS + 1).await?;
    let pager = Pager::cut(&mut found, query.after.as_deref(), query.kept(), |c| c.id.to_string());
    let counts = copywriter::counts(&platform.db).await?;
    let empty = counts.iter().all(|(_, n)| *n == 0);
    let figures = counts
        .into_iter()
        .map(|(state, n)| Figure {
            name: state.name(),
            shown: if n >= MOST_COUNTED { format!("{}+", crate::web::format::count(n)) } else { crate::web::format::count(n) },
            href: format!("/creatives?state={}", state.name()),
            tone: if state == CopyState::Dropped && n > 0 { "warn" } else { "" },
        })
        .collect();
    let names = Names::of(&shell, &found).await?;
    let kept = query.kept();
    let view = ListView {
        figures,
        cards: found.into_iter().map(|c| names.card(c)).collect(),
        campaigns: campaigns(&shell, &platform).await?,
        channels: choices(&shell, "creatives.any_channel", "creatives.channel", CopyChannel::ALL.iter().map(|c| c.as_str())),
        locales: choices(&shell, "creatives.any_locale", "creatives.locale", Locale::ALL.iter().map(|l| l.as_str())),
        states: choices(&shell, "creatives.any_state", "creatives.state", CopyState::ALL.iter().map(|s| s.name())),
        kinds: choices(&shell, "creatives.any_finding", "creatives.kind", FindingKind::ALL.iter().map(|k| k.as_str())),
        orders: choices(&shell, "creatives.order.newest", "creatives.order", ["sent", "clicked"].into_iter()),
        order: query.order,
        narrowed: !kept.is_empty(),
        download: format!("/creatives.csv?{kept}"),
        back: format!("/creatives?{kept}{}", query.after.as_deref().map(|a| crate::web::table::kept(&[("after", a)])).unwrap_or_default()),
        pager,
        campaign: query.campaign,
        product: query.product,
        product_title,
        channel: query.channel,
        locale: query.locale,
        state: query.state,
        finding: query.finding,
        empty,
        wizard: shell.ui().has("/campaigns"),
    };
    shell.render("creatives/list.html", shell.say("creatives.title"), &view)
}

/// Most rows of a download.
const MAX_ROWS: usize = 100_000;
const PIECE: i64 = 1_000;

pub(super) async fn download(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let (filter, _) = query.filter(&platform).await?;
    let fault = |e: csv::Error| ApiError::internal(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = [
        "id",
        "campaign",
        "variant",
        "product",
        "channel",
        "locale",
        "state",
        "subject",
        "preheader",
        "headline",
        "body",
        "cta",
        "findings",
        "sent",
        "seen",
        "clicked",
    ];
    writer.write_record(head).map_err(fault)?;
    let (mut before, mut written) = (None, 0);
    while written < MAX_ROWS {
        let some = copywriter::browse(&platform.db, &filter, query.order(), before, PIECE).await?;
        let Some(last) = some.last() else { break };
        before = Some(last.id);
        written += some.len();
        let names = Names::of(&shell, &some).await?;
        for copy in some {
            let card = names.card(copy);
            let findings: Vec<&str> = card.findings.iter().map(|f| f.kind).collect();
            let count = |of: fn(&super::ResultView) -> i64| card.result.as_ref().map_or(0, of).to_string();
            let texts = [
                &card.campaign,
                &card.variant,
                &card.product,
                &card.channel.to_owned(),
                &card.locale.to_owned(),
                &card.state.to_owned(),
                &card.subject,
                &card.preheader,
                &card.headline,
                &card.body,
                &card.cta,
                &findings.join(" "),
            ]
            .map(|t| formula_safe(t));
            let seen = count(if card.banner { |r| r.viewable } else { |r| r.opened });
            let numbers = [count(|r| r.sent), seen, count(|r| r.clicked)];
            writer.write_record(std::iter::once(card.id.to_string()).chain(texts).chain(numbers)).map_err(fault)?;
        }
    }
    let bytes = writer.into_inner().map_err(|e| ApiError::internal(anyhow::anyhow!("{e}")))?;
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8")
        .insert_header((header::CONTENT_DISPOSITION, "attachment; filename=\"creatives.csv\""))
        .body(bytes))
}
