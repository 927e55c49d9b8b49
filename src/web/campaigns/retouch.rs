//! Words edited in the wizard: read from its form, held against the guardrails, kept; or shown again with what was found.

use std::collections::BTreeMap;

use super::form::Fields;
use crate::campaign::Campaign;
use crate::copywriter::{self, Copy, CopyError, Finding, StoredCopy};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::platform::ids::CopyId;

/// Most texts of one form: a card per variant, and some to spare.
const MAX_COPIES: usize = 20;

/// A text as somebody typed it, and what the guardrails find in it.
#[derive(Clone, Debug)]
pub struct Overlay {
    pub text: Copy,
    pub findings: Vec<Finding>,
}

pub type Overlays = BTreeMap<CopyId, Overlay>;

/// What came of the texts of a form.
#[derive(Debug, Default)]
pub struct Retouched {
    /// Kept, as a person's own.
    pub kept: Vec<CopyId>,
    /// Not kept.
    pub refused: Overlays,
}

/// The texts of the form, by their fields `copy.ID.FIELD`.
fn typed(fields: &Fields<'_>) -> BTreeMap<CopyId, Copy> {
    let mut texts: BTreeMap<CopyId, Copy> = BTreeMap::new();
    for (name, value) in fields.0 {
        let Some((id, field)) = name.strip_prefix("copy.").and_then(|n| n.split_once('.')) else { continue };
        let Ok(id) = id.parse::<CopyId>() else { continue };
        if texts.len() == MAX_COPIES && !texts.contains_key(&id) {
            continue;
        }
        let text = texts.entry(id).or_default();
        let line = copywriter::title::one_line(value);
        match field {
            "subject" => text.subject = line,
            "preheader" => text.preheader = line,
            "headline" => text.headline = line,
            "body" => text.body = value.replace("\r\n", "\n").trim().to_owned(),
            "cta" => text.cta = line,
            _ => {}
        }
    }
    texts
}

/// Texts of this campaign that differ from what is kept. Fields that the form does not show (a banner has no subject) stay as they are.
async fn changed(platform: &Platform, campaign: &Campaign, fields: &Fields<'_>) -> ApiResult<Vec<(StoredCopy, Copy)>> {
    let typed = typed(fields);
    let ids: Vec<CopyId> = typed.keys().copied().collect();
    let mut stored = copywriter::get_many(&platform.db, &ids).await?;
    let shown = |id: CopyId, field: &str| fields.on(&format!("copy.{id}.{field}"));
    Ok(typed
        .into_iter()
        .filter_map(|(id, mut text)| {
            let copy = stored.remove(&id).filter(|c| c.campaign_id == campaign.id)?;
            for (name, to, from) in [
                ("subject", &mut text.subject, &copy.copy.subject),
                ("preheader", &mut text.preheader, &copy.copy.preheader),
                ("headline", &mut text.headline, &copy.copy.headline),
                ("body", &mut text.body, &copy.copy.body),
                ("cta", &mut text.cta, &copy.copy.cta),
            ] {
                if !shown(id, name) {
                    to.clone_from(from);
                }
            }
            (text != copy.copy).then_some((copy, text))
        })
        .collect())
}

/// Keeps what passes the guardrails. `except`: the text that a button of its own is about to replace or refuse.
pub async fn apply(platform: &Platform, campaign: &Campaign, fields: &Fields<'_>, except: Option<CopyId>) -> ApiResult<Retouched> {
    let mut done = Retouched::default();
    for (copy, text) in changed(platform, campaign, fields).await? {
        if Some(copy.id) == except {
            continue;
        }
        match copywriter::edit(platform, copy.id, &text).await {
            Ok(_) => done.kept.push(copy.id),
            Err(CopyError::Refused(findings)) => {
                done.refused.insert(copy.id, Overlay { text, findings });
            }
            Err(other) => return Err(other.into()),
        }
    }
    Ok(done)
}

/// What was typed, where the form comes back for another reason: nothing is kept, nothing is lost.
pub async fn look(platform: &Platform, campaign: &Campaign, fields: &Fields<'_>) -> ApiResult<Overlays> {
    let mut overlays = Overlays::new();
    for (copy, text) in changed(platform, campaign, fields).await? {
        let findings = copywriter::checked(platform, copy.id, &text).await?;
        overlays.insert(copy.id, Overlay { text, findings });
    }
    Ok(overlays)
}
