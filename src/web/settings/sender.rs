//! Settings → Sender: from whom, over which servers, which DNS records to publish, and a test mail.

use actix_web::http::StatusCode;
use actix_web::web::Form;
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::Permission;
use crate::creative::BrandKit;
use crate::delivery::dkim::DkimKey;
use crate::delivery::message::MessageError;
use crate::delivery::{NotifyError, SenderError, SenderSetting, mail_config, notify};
use crate::platform::Config;
use crate::platform::http::ApiResult;
use crate::web::page::Shell;

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Configure);
    vec![
        Route::get("/settings/sender", need, page),
        Route::post("/settings/sender", need, "sender.change", change),
        Route::post("/settings/sender/test", need, "sender.test", test),
    ]
}

#[derive(Serialize)]
struct SenderView {
    tabs: Vec<Tab>,
    from: String,
    reply_to: Option<String>,
    /// Without their passwords.
    servers: Vec<String>,
    connections: usize,
    rate_per_server: f64,
    rate_per_domain: f64,
    public_url: String,
    https: bool,
    postal_address: String,
    records: Vec<Record>,
    /// Keys that cannot be read, in words.
    broken: Vec<String>,
    to: String,
    error: Option<String>,
    form: SenderForm,
    /// Fields of the form that the configuration sets, and the page may not.
    fixed: Fixed,
    field: &'static str,
    form_error: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct SenderForm {
    from_name: String,
    from_address: String,
    reply_to: String,
}

#[derive(Serialize)]
struct Fixed {
    from_name: bool,
    from_address: bool,
    reply_to: bool,
    /// None is left to the page.
    all: bool,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let mail = &config.mail;
        let (from_name, from_address) = (!mail.from_name.is_empty(), !mail.from_address.is_empty());
        let reply_to = mail.reply_to.as_deref().is_some_and(|r| !r.is_empty());
        Self { from_name, from_address, reply_to, all: from_name && from_address && reply_to }
    }
}

/// A DNS TXT record to publish.
#[derive(Serialize)]
struct Record {
    kind: &'static str,
    name: String,
    value: String,
    id: String,
}

/// `smtp://user:secret@host:587` without the secret.
fn without_password(server: &str) -> String {
    match url::Url::parse(server) {
        Ok(mut url) if url.password().is_some() => {
            let _ = url.set_password(Some("•••"));
            percent_encoding::percent_decode_str(url.as_str()).decode_utf8_lossy().into_owned()
        }
        _ => server.to_owned(),
    }
}

fn records(config: &Config) -> (Vec<Record>, Vec<String>) {
    let (mut records, mut broken) = (Vec::new(), Vec::new());
    for entry in &config.mail.dkim {
        match DkimKey::load(entry) {
            Ok(key) => records.push(Record {
                kind: "DKIM",
                name: key.record_name(),
                value: key.record_value(),
                id: format!("record-{}", records.len()),
            }),
            Err(error) => broken.push(error.to_string()),
        }
    }
    if let Some((_, domain)) = config.mail.from_address.split_once('@') {
        let (name, value) = (format!("_dmarc.{domain}"), format!("v=DMARC1; p=none; rua=mailto:{}", config.mail.from_address));
        records.push(Record { kind: "DMARC", name, value, id: format!("record-{}", records.len()) });
    }
    (records, broken)
}

async fn view(shell: &Shell, to: String, error: Option<String>) -> ApiResult<SenderView> {
    let platform = &shell.inner.platform;
    let config = &*mail_config(platform).await?;
    let mail = &config.mail;
    let (records, broken) = records(config);
    let form = SenderForm {
        from_name: mail.from_name.clone(),
        from_address: mail.from_address.clone(),
        reply_to: mail.reply_to.clone().unwrap_or_default(),
    };
    let brand = BrandKit::load(platform).await?;
    let name = if mail.from_name.is_empty() { &config.shop.name } else { &mail.from_name };
    Ok(SenderView {
        tabs: tabs(shell, "/settings/sender"),
        from: if mail.from_address.is_empty() { String::new() } else { format!("{name} <{}>", mail.from_address) },
        reply_to: mail.reply_to.clone(),
        servers: mail.servers.iter().map(|s| without_password(s)).collect(),
        connections: mail.connections,
        rate_per_server: mail.rate_per_server,
        rate_per_domain: mail.rate_per_domain,
        public_url: config.server.public_url.clone(),
        https: config.server.public_url.starts_with("https://"),
        postal_address: brand.postal_address,
        records,
        broken,
        to,
        error,
        form,
        fixed: Fixed::of(&platform.config),
        field: "",
        form_error: None,
    })
}

async fn page(shell: Shell) -> ApiResult {
    let to = shell.session()?.user.email.clone();
    shell.render("settings/sender.html", shell.say("settings.sender"), &view(&shell, to, None).await?)
}

/// Sets what the configuration leaves open.
async fn change(shell: Shell, form: Form<SenderForm>) -> ApiResult {
    let platform = &shell.inner.platform;
    let form = form.into_inner();
    let (fixed, before) = (Fixed::of(&platform.config), SenderSetting::load(platform).await?);
    let pick = |fixed: bool, typed: &String, kept: &String| if fixed { kept.clone() } else { typed.clone() };
    let typed = SenderSetting {
        from_name: pick(fixed.from_name, &form.from_name, &before.from_name),
        from_address: pick(fixed.from_address, &form.from_address, &before.from_address),
        reply_to: pick(fixed.reply_to, &form.reply_to, &before.reply_to),
    };
    match typed.checked() {
        Ok(own) => {
            let mut tx = platform.db.begin().await?;
            own.put(&mut tx, platform).await?;
            tx.commit().await?;
            shell.note("sender", format!("{} → {}", before.from_address, own.from_address));
            Ok(shell.redirect_saying("/settings/sender", "good", shell.say("sender.saved")))
        }
        Err(SenderError(field)) => {
            let mut view = view(&shell, shell.session()?.user.email.clone(), None).await?;
            (view.form, view.field) = (form, field);
            view.form_error = Some(shell.say(if field == "from_name" { "sender.error_name" } else { "sender.error_address" }));
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/sender.html", shell.say("settings.sender"), &view)
        }
    }
}

#[derive(Deserialize)]
struct TestForm {
    to: String,
}

async fn test(shell: Shell, form: Form<TestForm>) -> ApiResult {
    let platform = &shell.inner.platform;
    let shop = [("shop", platform.config.shop.name.clone())];
    let (subject, text) = (shell.say_with("mail.test.subject", &shop), shell.say_with("mail.test.text", &shop));
    let to = form.into_inner().to;
    match notify(platform, to.trim(), &subject, &text).await {
        Ok(reply) => {
            shell.note(to.trim(), reply.clone());
            let said = shell.say_with("sender.sent", &[("to", to), ("reply", reply)]);
            Ok(shell.redirect_saying("/settings/sender", "good", said))
        }
        Err(error) => {
            let why = match &error {
                NotifyError::NoServer => shell.say("sender.no_server"),
                NotifyError::Refused(why) => shell.say_with("sender.refused", &[("why", why.clone())]),
                NotifyError::Message(MessageError::Sender) => shell.say("sender.no_from"),
                NotifyError::Message(MessageError::Recipient) => shell.say("sender.error_address"),
                other => other.to_string(),
            };
            let view = view(&shell, to, Some(why)).await?;
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/sender.html", shell.say("settings.sender"), &view)
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_password_is_shown() {
        assert_eq!(super::without_password("smtps://bob:s3cret@mail.example.test:465"), "smtps://bob:•••@mail.example.test:465");
        assert_eq!(super::without_password("smtp://127.0.0.1:2525"), "smtp://127.0.0.1:2525");
    }
}
