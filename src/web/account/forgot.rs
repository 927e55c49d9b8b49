//! A forgotten password: a link by mail. The page says the same whether or not there is such a user.

use actix_web::web::Form;
use serde::{Deserialize, Serialize};

use super::{Need, Route};
use crate::account::{LinkPurpose, User};
use crate::delivery::{NotifyError, notify};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::i18n::{self, Locale};
use crate::web::page::Shell;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::get("/forgot", Need::Public, page), Route::post("/forgot", Need::Public, "account.forgot", send)]
}

#[derive(Serialize)]
struct ForgotView {
    sent: bool,
    has_mail: bool,
}

async fn page(shell: Shell) -> ApiResult {
    view(&shell, false)
}

fn view(shell: &Shell, sent: bool) -> ApiResult {
    let has_mail = !shell.inner.platform.config.mail.servers.is_empty();
    shell.render("account/forgot.html", shell.say("forgot.title"), &ForgotView { sent, has_mail })
}

#[derive(Deserialize)]
struct ForgotForm {
    email: String,
}

async fn send(shell: Shell, form: Form<ForgotForm>) -> ApiResult {
    shell.note_actor(form.email.trim());
    let accounts = shell.ui().accounts.clone();
    let (platform, locale, email, from) = (shell.inner.platform.clone(), shell.locale(), form.into_inner().email, shell.visitor().clone());
    // In the background: neither the answer nor its time says whether there is such a user.
    actix_web::rt::spawn(async move {
        let Ok(user) = accounts.by_email(&email).await else { return };
        if user.disabled || !accounts.may_send_link(&user, &from) {
            return;
        }
        let purpose = if user.has_password { LinkPurpose::Reset } else { LinkPurpose::Invite };
        match accounts.link(user.id, purpose).await {
            Ok(link) => {
                if let Err(error) = send_link(&platform, &user, purpose, &link, locale).await {
                    tracing::warn!(%error, "a password link could not be sent; `marquee user reset` prints one");
                }
            }
            Err(error) => tracing::error!(%error, "a password link could not be made"),
        }
    });
    view(&shell, true)
}

/// Mails a link to its user, in their language.
pub(in crate::web) async fn send_link(
    platform: &Platform,
    user: &User,
    purpose: LinkPurpose,
    link: &str,
    asked_in: Locale,
) -> Result<String, NotifyError> {
    let locale = user.locale.as_deref().and_then(Locale::of).unwrap_or(asked_in);
    let args = [("shop", platform.config.shop.name.clone()), ("name", user.name.clone()), ("link", link.to_owned())];
    let key = |part: &str| match purpose {
        LinkPurpose::Invite => format!("mail.invite.{part}"),
        _ => format!("mail.reset.{part}"),
    };
    let subject = i18n::format(locale, &key("subject"), &args);
    let text = i18n::format(locale, &key("text"), &args);
    notify(platform, &user.email, &subject, &text).await
}
