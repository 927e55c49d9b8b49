//! The second step of sign-in: turning it on (own key as QR and as text), its recovery codes, turning it off.

use actix_web::http::StatusCode;
use actix_web::web::Form;
use qrcode::QrCode;
use qrcode::render::svg;
use serde::{Deserialize, Serialize};

use super::{Need, Route, form_status, ours};
use crate::account::{UserError, totp};
use crate::platform::http::{ApiError, ApiResult};
use crate::web::page::Shell;

pub(super) fn routes() -> Vec<Route> {
    use Need::SignedIn;
    vec![
        Route::get("/profile/second-step", SignedIn, page),
        Route::post("/profile/second-step", SignedIn, "profile.second_step_on", turn_on),
        Route::get("/profile/second-step/off", SignedIn, off_page),
        Route::post("/profile/second-step/off", SignedIn, "profile.second_step_off", turn_off),
    ]
}

#[derive(Default, Serialize)]
struct SecondView {
    qr: String,
    key: String,
    sealed: String,
    codes: Vec<String>,
    error: Option<String>,
}

const PURPOSE: &str = "second step";

fn offer(shell: &Shell, secret: &[u8]) -> ApiResult<SecondView> {
    let user = &shell.session()?.user;
    let uri = totp::uri(secret, &shell.inner.platform.config.shop.name, &user.email);
    let code = QrCode::new(uri.as_bytes()).map_err(|e| ApiError::internal(anyhow::anyhow!("QR code: {e}")))?;
    let drawn = code.render::<svg::Color<'_>>().min_dimensions(180, 180).quiet_zone(true).build();
    // Only the drawing: an XML declaration has no place inside HTML.
    let at = drawn.find("<svg").unwrap_or(0);
    let title = html_escape::encode_text(&shell.say("second.qr")).into_owned();
    let qr = drawn[at..].replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1);
    let mut payload = user.id.0.to_be_bytes().to_vec();
    payload.extend_from_slice(secret);
    let key = totp::base32(secret).as_bytes().chunks(4).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
    Ok(SecondView { qr, key, sealed: shell.inner.platform.signer.sign(PURPOSE, &payload), ..SecondView::default() })
}

async fn page(shell: Shell) -> ApiResult {
    if shell.session()?.user.has_totp {
        return Ok(shell.redirect("/profile"));
    }
    let view = offer(&shell, &totp::new_secret())?;
    shell.render("account/second.html", shell.say("second.title"), &view)
}

#[derive(Deserialize)]
struct OnForm {
    sealed: String,
    code: String,
}

async fn turn_on(shell: Shell, form: Form<OnForm>) -> ApiResult {
    let user = &shell.session()?.user;
    let opened = shell.inner.platform.signer.open(PURPOSE, &form.sealed);
    let secret = opened.filter(|p| p.len() > 8 && p[..8] == user.id.0.to_be_bytes()).map(|p| p[8..].to_vec());
    let Some(secret) = secret else {
        return Err(ApiError::invalid("sealed", shell.say("error.user.link")));
    };
    match shell.ui().accounts.confirm_totp(user.id, &secret, &form.code).await {
        Ok(codes) => shell.render("account/second.html", shell.say("second.title"), &SecondView { codes, ..SecondView::default() }),
        Err(error) => {
            let error = ours(error)?;
            let mut view = offer(&shell, &secret)?;
            view.error = Some(shell.say(error.key()));
            shell.render_as(form_status(&error), "account/second.html", shell.say("second.title"), &view)
        }
    }
}

async fn off_page(shell: Shell) -> ApiResult {
    shell.render("account/second_off.html", shell.say("second.off_title"), &SecondView::default())
}

#[derive(Deserialize)]
struct OffForm {
    password: String,
}

async fn turn_off(shell: Shell, form: Form<OffForm>) -> ApiResult {
    let user = &shell.session()?.user;
    let accounts = &shell.ui().accounts;
    if let Err(error) = accounts.confirm_password(user.id, &form.password, shell.visitor()).await {
        let error = ours(error)?;
        let wait = match &error {
            UserError::Throttled { wait_s } => crate::web::format::duration(wait_s * 1_000_000, shell.locale()),
            _ => String::new(),
        };
        let view = SecondView { error: Some(shell.say_with(error.key(), &[("t", wait)])), ..SecondView::default() };
        return shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "account/second_off.html", shell.say("second.off_title"), &view);
    }
    accounts.drop_totp(user.id).await?;
    Ok(shell.redirect_saying("/profile", "good", shell.say("second.off_done")))
}
