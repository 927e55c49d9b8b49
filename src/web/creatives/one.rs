//! One copy: its words with what the guardrails found beside them, the product's facts, how it looks as mail or banner, what it came to.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Path};
use serde::Serialize;

use super::{Card, FindingRow, Names, finding_rows};
use crate::account::Permission;
use crate::catalog;
use crate::copywriter::{self, Copy, CopyChannel, Finding, StoredCopy, guardrails};
use crate::creative::{self, Format};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Money, Platform};
use crate::web::page::Shell;

/// A field of the form: what may stand in it, and what was found.
#[derive(Clone, Debug, Serialize)]
pub(in crate::web) struct Field {
    pub name: &'static str,
    value: String,
    /// Widest text; characters of dense scripts count twice.
    most: usize,
    wide: usize,
    lines: bool,
    findings: Vec<FindingRow>,
}

#[derive(Serialize)]
struct Size {
    format: String,
    width: u32,
    height: u32,
    drawn: bool,
}

#[derive(Serialize)]
struct Facts {
    id: String,
    title: String,
    description: String,
    price: Money,
    was: Option<Money>,
    brand: Option<String>,
    category: String,
}

#[derive(Serialize)]
struct OneView {
    card: Card,
    fields: Vec<Field>,
    /// What is found about the product itself, or about the whole.
    others: Vec<FindingRow>,
    facts: Option<Facts>,
    sizes: Vec<Size>,
    editable: bool,
    refused: bool,
    blocked: bool,
}

pub(super) async fn find(platform: &Platform, text: &str) -> ApiResult<StoredCopy> {
    Ok(copywriter::get(platform, super::copy_id(text)?).await?)
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let copy = find(&platform, &path).await?;
    // Facts change: what holds now is what counts, not what was found when it was written.
    let findings = match copywriter::checked(&platform, copy.id, &copy.copy).await {
        Ok(found) if copy.status != copywriter::CopyStatus::Dropped => found,
        _ => copy.findings.clone(),
    };
    let text = copy.copy.clone();
    show(&shell, &platform, copy, &text, &findings, StatusCode::OK).await
}

/// The fields of a text that a channel shows, each with its limit and what was found in it.
pub(in crate::web) fn fields(channel: CopyChannel, text: &Copy, findings: &[FindingRow]) -> Vec<Field> {
    let limits = guardrails::limits(channel);
    let most = [limits.subject, limits.preheader, limits.headline, limits.body, limits.cta];
    text.fields()
        .into_iter()
        .zip(most)
        .filter(|(_, most)| *most > 0)
        .map(|((name, value), most)| Field {
            name,
            value: value.to_owned(),
            most,
            wide: catalog::width(value),
            lines: name == "body",
            findings: findings.iter().filter(|f| f.field == name).cloned().collect(),
        })
        .collect()
}

/// The page, also after an edit was refused: `text` is what was typed.
pub(super) async fn show(
    shell: &Shell,
    platform: &Platform,
    copy: StoredCopy,
    text: &Copy,
    findings: &[Finding],
    status: StatusCode,
) -> ApiResult {
    let rows = finding_rows(shell.locale(), findings);
    let fields = fields(copy.channel, text, &rows);
    let others = rows.iter().filter(|r| fields.iter().all(|f| f.name != r.field)).cloned().collect();
    let product = catalog::get(&platform.db, copy.product_id).await?;
    let drawn = creative::banners_of_copy(&platform.db, &copy).await?;
    let sizes = if copy.channel == CopyChannel::Banner {
        let size = |f: Format| {
            let (width, height) = f.size();
            Size { format: f.to_string(), width, height, drawn: drawn.iter().any(|d| d.format == f.to_string()) }
        };
        Format::ALL.into_iter().map(size).collect()
    } else {
        Vec::new()
    };
    let names = Names::of(shell, std::slice::from_ref(&copy)).await?;
    let view = OneView {
        fields,
        others,
        facts: product.map(|p| Facts {
            id: p.id.to_string(),
            price: p.price_now(),
            was: p.sale_price.map(|_| p.price),
            title: p.title,
            description: p.description,
            brand: p.brand,
            category: p.category_path,
        }),
        sizes,
        editable: shell.may(Permission::Plan),
        refused: status == StatusCode::UNPROCESSABLE_ENTITY,
        blocked: copywriter::has_error(findings),
        card: names.card(copy),
    };
    let title = if view.card.subject.is_empty() { view.card.headline.clone() } else { view.card.subject.clone() };
    let title = if title.is_empty() { shell.say("creatives.no_words") } else { title };
    shell.render_as(status, "creatives/one.html", title, &view)
}

#[derive(Serialize)]
struct CheckedView {
    fields: Vec<Field>,
    others: Vec<FindingRow>,
    blocked: bool,
}

/// The findings alone, while somebody types.
pub(super) async fn checked(shell: &Shell, platform: &Platform, id: &str, text: &Copy) -> ApiResult {
    let copy = find(platform, id).await?;
    let findings = copywriter::checked(platform, copy.id, text).await.map_err(ApiError::from)?;
    let rows = finding_rows(shell.locale(), &findings);
    let fields = fields(copy.channel, text, &rows);
    let others = rows.iter().filter(|r| fields.iter().all(|f| f.name != r.field)).cloned().collect();
    let view = CheckedView { fields, others, blocked: copywriter::has_error(&findings) };
    shell.fragment("creatives/checked.html", &view, false)
}
