//! Settings → Caps and quiet hours: the shop's own rules over all campaigns.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Form};
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::Permission;
use crate::campaign::{self, CampaignError, Caps, ContactPolicy, Hours};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::page::Shell;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Configure);
    vec![Route::get("/settings/contact", need, page), Route::post("/settings/contact", need, "contact.change", change)]
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct PolicyForm {
    per_day: String,
    per_week: String,
    quiet: Option<String>,
    from: String,
    to: String,
    holdout: String,
}

#[derive(Serialize)]
struct PolicyView {
    tabs: Vec<Tab>,
    form: PolicyForm,
    error: Option<String>,
    field: &'static str,
}

fn shown(policy: &ContactPolicy) -> PolicyForm {
    let time = |t: chrono::NaiveTime| t.format("%H:%M").to_string();
    let (from, to) = policy.quiet_hours.map_or(("21:00".into(), "08:00".into()), |h| (time(h.from), time(h.to)));
    PolicyForm {
        per_day: policy.caps.per_day.to_string(),
        per_week: policy.caps.per_week.to_string(),
        quiet: policy.quiet_hours.map(|_| "on".into()),
        from,
        to,
        holdout: format!("{}", policy.global_holdout_bp as f64 / 100.0),
    }
}

/// Reads the form; an error names the field.
fn read(form: &PolicyForm) -> Result<ContactPolicy, &'static str> {
    let number = |text: &str, field: &'static str| text.trim().parse::<i64>().map_err(|_| field);
    let time = |text: &str, field: &'static str| chrono::NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(|_| field);
    let percent = form.holdout.trim().parse::<f64>().map_err(|_| "holdout")?;
    if !(0.0..100.0).contains(&percent) {
        return Err("holdout");
    }
    let quiet_hours = match form.quiet {
        Some(_) => Some(Hours { from: time(&form.from, "from")?, to: time(&form.to, "to")? }),
        None => None,
    };
    Ok(ContactPolicy {
        caps: Caps { per_day: number(&form.per_day, "per_day")?, per_week: number(&form.per_week, "per_week")? },
        quiet_hours,
        global_holdout_bp: (percent * 100.0).round() as i64,
    })
}

async fn page(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let form = shown(&campaign::policy(&platform.db).await?);
    let view = PolicyView { tabs: tabs(&shell, "/settings/contact"), form, error: None, field: "" };
    shell.render("settings/contact.html", shell.say("settings.contact"), &view)
}

async fn change(shell: Shell, platform: Data<Platform>, form: Form<PolicyForm>) -> ApiResult {
    let form = form.into_inner();
    let field = match read(&form) {
        Err(field) => field,
        Ok(policy) => {
            let now = platform.now();
            let before = campaign::policy(&platform.db).await?;
            let mut tx = platform.db.begin().await?;
            match campaign::set_policy(&mut tx, &policy, now).await {
                Ok(()) => {
                    tx.commit().await?;
                    let json = |p: &ContactPolicy| serde_json::to_string(p).unwrap_or_default();
                    shell.note("contact_policy", format!("{} → {}", json(&before), json(&policy)));
                    return Ok(shell.redirect_saying("/settings/contact", "good", shell.say("contact.saved")));
                }
                Err(CampaignError::Invalid { field: "caps", .. }) => "per_day",
                Err(CampaignError::Invalid { field: "quiet_hours", .. }) => "from",
                Err(other) => return Err(other.into()),
            }
        }
    };
    let error = Some(shell.say(match field {
        "holdout" => "contact.error_holdout",
        "from" | "to" => "contact.error_hours",
        _ => "contact.error_caps",
    }));
    let view = PolicyView { tabs: tabs(&shell, "/settings/contact"), form, error, field };
    shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/contact.html", shell.say("settings.contact"), &view)
}
