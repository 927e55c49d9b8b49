//! One's own profile: name, language, zone, colours, password, sessions.

use actix_web::http::StatusCode;
use actix_web::web::Form;
use serde::{Deserialize, Serialize};

use super::{Need, Route, form_status, ours};
use crate::account::{SessionInfo, UserError, sessions};
use crate::platform::http::ApiResult;
use crate::web::i18n::Locale;
use crate::web::page::{Shell, local_path};
use crate::web::table::Choice;

pub(super) fn routes() -> Vec<Route> {
    use Need::SignedIn;
    vec![
        Route::get("/profile", SignedIn, page),
        Route::post("/profile", SignedIn, "profile.change", change),
        Route::ask("/profile/theme", SignedIn, theme),
        Route::post("/profile/password", SignedIn, "profile.password", password),
        Route::post("/profile/sessions/end", SignedIn, "profile.end_session", end_session),
        Route::post("/profile/sessions/end-others", SignedIn, "profile.end_sessions", end_others),
    ]
}

#[derive(Default, Serialize)]
struct ProfileView {
    name: String,
    locale: String,
    zone: String,
    locales: Vec<Choice>,
    zones: Vec<Choice>,
    sessions: Vec<SessionInfo>,
    codes_left: i64,
    error: Option<String>,
    /// Which form failed: `profile` or `password`.
    form: &'static str,
    field: &'static str,
}

fn zones(shell: &Shell) -> Vec<Choice> {
    let shop = shell.inner.platform.config.shop.time_zone;
    let mut choices = vec![Choice::new("", shell.say_with("profile.zone_shop", &[("zone", shop.name().to_owned())]))];
    choices.extend(
        chrono_tz::TZ_VARIANTS.iter().filter(|z| z.name().contains('/') || **z == chrono_tz::UTC).map(|z| Choice::new(z.name(), z.name())),
    );
    choices
}

async fn view(shell: &Shell) -> ApiResult<ProfileView> {
    let session = shell.session()?;
    let user = &session.user;
    let mut locales = vec![Choice::new("", shell.say("profile.locale_browser"))];
    locales.extend(Locale::ALL.into_iter().map(|l| Choice::new(l.tag(), l.name())));
    Ok(ProfileView {
        name: user.name.clone(),
        locale: user.locale.clone().unwrap_or_default(),
        zone: user.time_zone.map(|z| z.name().to_owned()).unwrap_or_default(),
        locales,
        zones: zones(shell),
        sessions: sessions::list(&shell.inner.platform, session)
            .await?
            .into_iter()
            .map(|s| SessionInfo { agent: in_words(&s.agent), ..s })
            .collect(),
        codes_left: shell.ui().accounts.codes_left(user.id).await?,
        ..ProfileView::default()
    })
}

async fn failed(shell: &Shell, form: &'static str, error: UserError) -> ApiResult {
    let error = ours(error)?;
    let wait = match &error {
        UserError::Throttled { wait_s } => crate::web::format::duration(wait_s * 1_000_000, shell.locale()),
        _ => String::new(),
    };
    let mut view = view(shell).await?;
    view.error = Some(shell.say_with(error.key(), &[("t", wait)]));
    (view.form, view.field) = (form, error.field());
    shell.render_as(form_status(&error), "account/profile.html", shell.say("profile.title"), &view)
}

async fn page(shell: Shell) -> ApiResult {
    let view = view(&shell).await?;
    shell.render_as(StatusCode::OK, "account/profile.html", shell.say("profile.title"), &view)
}

#[derive(Deserialize)]
struct ProfileForm {
    name: String,
    locale: String,
    zone: String,
}

async fn change(shell: Shell, form: Form<ProfileForm>) -> ApiResult {
    let user = shell.session()?.user.id;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if !form.locale.is_empty() && Locale::of(&form.locale).is_none() {
        return failed(&shell, "profile", UserError::Choice).await;
    }
    let (locale, zone) = (given(&form.locale), given(&form.zone));
    match shell.ui().accounts.set_profile(user, &form.name, locale.as_deref(), zone.as_deref()).await {
        Ok(()) => {
            let said = crate::web::i18n::text(locale.as_deref().and_then(Locale::of).unwrap_or(shell.locale()), "profile.saved");
            Ok(shell.redirect_saying("/profile", "good", said))
        }
        Err(error) => failed(&shell, "profile", error).await,
    }
}

#[derive(Deserialize)]
struct ThemeForm {
    theme: String,
    #[serde(default)]
    next: String,
}

async fn theme(shell: Shell, form: Form<ThemeForm>) -> ApiResult {
    shell.ui().accounts.set_theme(shell.session()?.user.id, &form.theme).await?;
    Ok(shell.redirect(&local_path(Some(&form.next))))
}

#[derive(Deserialize)]
struct PasswordForm {
    old: String,
    password: String,
}

async fn password(shell: Shell, form: Form<PasswordForm>) -> ApiResult {
    let session = shell.session()?;
    match shell.ui().accounts.change_password(session, &form.old, &form.password, shell.visitor()).await {
        Ok(token) => {
            shell.set_session(token);
            Ok(shell.redirect_saying("/profile", "good", shell.say("profile.password_saved")))
        }
        Err(error) => failed(&shell, "password", error).await,
    }
}

#[derive(Deserialize)]
struct SessionForm {
    handle: String,
}

async fn end_session(shell: Shell, form: Form<SessionForm>) -> ApiResult {
    let session = shell.session()?;
    sessions::end_by_handle(&shell.inner.platform, session, &form.handle).await?;
    Ok(shell.redirect_saying("/profile", "good", shell.say("profile.session_ended")))
}

async fn end_others(shell: Shell) -> ApiResult {
    sessions::end_others(&shell.inner.platform, shell.session()?).await?;
    Ok(shell.redirect_saying("/profile", "good", shell.say("profile.sessions_ended")))
}

/// “Firefox, Windows”: what a browser says of itself, as its owner would say it. What is no browser we know keeps its first word.
fn in_words(agent: &str) -> String {
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("SamsungBrowser", "Samsung Internet"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ];
    const SYSTEMS: [(&str, &str); 6] =
        [("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"), ("Mac OS X", "macOS"), ("Linux", "Linux")];
    let find = |names: &[(&str, &'static str)]| names.iter().find(|(sign, _)| agent.contains(sign)).map(|(_, name)| *name);
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser}, {system}"),
        (Some(browser), None) => browser.to_owned(),
        _ => agent.split_whitespace().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn browsers_are_called_by_their_names() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36";
        assert_eq!(in_words(chrome), "Chrome, Linux");
        assert_eq!(in_words(&chrome.replace("Safari/537.36", "Safari/537.36 Edg/156.0")), "Edge, Linux");
        assert_eq!(in_words("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0"), "Firefox, Windows");
        assert_eq!(in_words("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Mobile/1 Safari/604.1"), "Safari, iPhone");
        assert_eq!(in_words("curl/7.88.1"), "curl/7.88.1");
        assert_eq!(in_words(""), "");
    }
}
