//! The ways in: set-up of the first admin, sign-in in one or two steps, sign-out, and the links of invitations and resets.

use actix_web::http::StatusCode;
use actix_web::web::{Form, Query};
use serde::{Deserialize, Serialize};

use super::{Need, Route};
use crate::account::{LinkPurpose, SignIn, UserError, sessions};
use crate::platform::http::ApiResult;
use crate::web::page::{Shell, local_path};

pub(super) fn routes() -> Vec<Route> {
    use Need::{Public, SignedIn};
    vec![
        Route::get("/sign-in", Public, sign_in_page),
        Route::post("/sign-in", Public, "account.sign_in", sign_in),
        Route::get("/sign-in/code", Public, code_page),
        Route::post("/sign-in/code", Public, "account.sign_in", code),
        Route::post("/sign-out", SignedIn, "account.sign_out", sign_out),
        Route::get("/set-up", Public, set_up_page),
        Route::post("/set-up", Public, "account.set_up", set_up),
        Route::get("/welcome", Public, welcome_page),
        Route::post("/welcome", Public, "account.welcome", welcome),
        Route::get("/reset", Public, reset_page),
        Route::post("/reset", Public, "account.reset", reset),
    ]
}

/// What all small forms outside the shop show.
#[derive(Default, Serialize)]
struct EnterView {
    next: String,
    token: String,
    email: String,
    name: String,
    error: Option<String>,
    /// The field that the error is about.
    field: &'static str,
    /// The link is no good: there is nothing to fill in.
    gone: bool,
}

impl EnterView {
    fn failed(mut self, shell: &Shell, error: &UserError) -> Self {
        let wait = match error {
            UserError::Throttled { wait_s } => crate::web::format::duration(wait_s * 1_000_000, shell.locale()),
            _ => String::new(),
        };
        self.error = Some(shell.say_with(error.key(), &[("t", wait)]));
        self.field = error.field();
        self
    }
}

/// 429 where one has to wait, 503 where the database failed, 422 for what the form can mend.
pub(in crate::web) fn form_status(error: &UserError) -> StatusCode {
    match error {
        UserError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Errors of ours are not the form's.
pub(in crate::web) fn ours(error: UserError) -> Result<UserError, crate::platform::http::ApiError> {
    use crate::account::password::PasswordError;
    match error {
        UserError::Database(_) | UserError::Password(PasswordError::Hash(_) | PasswordError::Busy) => Err(error.into()),
        other => Ok(other),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NextQuery {
    next: Option<String>,
}

async fn sign_in_page(shell: Shell, query: Query<NextQuery>) -> ApiResult {
    let next = local_path(query.next.as_deref());
    if shell.viewer().is_some() {
        return Ok(shell.redirect(&next));
    }
    if !shell.ui().accounts.any().await? {
        return Ok(shell.redirect("/set-up"));
    }
    shell.render("account/sign_in.html", shell.say("sign_in.title"), &EnterView { next, ..EnterView::default() })
}

#[derive(Deserialize)]
struct SignInForm {
    email: String,
    password: String,
    #[serde(default)]
    next: String,
}

/// Ends the session that this browser had: a new sign-in never inherits one.
async fn rotate(shell: &Shell, token: String) -> ApiResult<()> {
    if let Ok(old) = shell.session() {
        sessions::sign_out(&shell.inner.platform, old).await?;
    }
    shell.set_session(token);
    shell.drop_cookie("step");
    shell.drop_cookie("before");
    Ok(())
}

async fn sign_in(shell: Shell, form: Form<SignInForm>) -> ApiResult {
    let next = local_path(Some(&form.next));
    shell.note_actor(form.email.trim());
    match shell.ui().accounts.sign_in(&form.email, &form.password, shell.visitor()).await {
        Ok(SignIn::Done { token, user }) => {
            rotate(&shell, token).await?;
            shell.note(user.id.to_string(), "");
            Ok(shell.redirect(&next))
        }
        Ok(SignIn::CodeWanted { proof }) => {
            shell.note("", shell.say("audit.password_step"));
            let mut cookie = shell.cookie("step", proof);
            cookie.set_max_age(actix_web::cookie::time::Duration::minutes(5));
            shell.set_cookie(cookie);
            Ok(shell.redirect(&with_next("/sign-in/code", &next)))
        }
        Err(error) => {
            let error = ours(error)?;
            shell.note_refused("account.sign_in_refused");
            shell.note("", error.to_string());
            let view = EnterView { next, email: form.email.chars().take(254).collect(), ..EnterView::default() };
            shell.render_as(form_status(&error), "account/sign_in.html", shell.say("sign_in.title"), &view.failed(&shell, &error))
        }
    }
}

fn with_next(path: &str, next: &str) -> String {
    let encoded = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
    if next == "/" { path.to_owned() } else { format!("{path}?next={encoded}") }
}

async fn code_page(shell: Shell, query: Query<NextQuery>) -> ApiResult {
    let next = local_path(query.next.as_deref());
    shell.render("account/code.html", shell.say("code.title"), &EnterView { next, ..EnterView::default() })
}

#[derive(Deserialize)]
struct CodeForm {
    code: String,
    #[serde(default)]
    next: String,
}

async fn code(shell: Shell, form: Form<CodeForm>, req: actix_web::HttpRequest) -> ApiResult {
    let next = local_path(Some(&form.next));
    let name = crate::web::page::cookie_name(&shell.inner.platform, "step");
    let proof = req.cookie(&name).map(|c| c.value().to_owned()).unwrap_or_default();
    match shell.ui().accounts.sign_in_code(&proof, &form.code, shell.visitor()).await {
        Ok(SignIn::Done { token, user }) => {
            rotate(&shell, token).await?;
            shell.note_actor(user.email.clone());
            shell.note(user.id.to_string(), "");
            Ok(shell.redirect(&next))
        }
        Ok(SignIn::CodeWanted { .. }) | Err(UserError::Link | UserError::Unknown) => {
            shell.drop_cookie("step");
            Ok(shell.redirect_saying(&with_next("/sign-in", &next), "bad", shell.say("code.again")))
        }
        Err(error) => {
            let error = ours(error)?;
            shell.note_refused("account.sign_in_refused");
            shell.note("", error.to_string());
            let view = EnterView { next, ..EnterView::default() };
            shell.render_as(form_status(&error), "account/code.html", shell.say("code.title"), &view.failed(&shell, &error))
        }
    }
}

async fn sign_out(shell: Shell) -> ApiResult {
    sessions::sign_out(&shell.inner.platform, shell.session()?).await?;
    shell.drop_cookie("session");
    Ok(shell.redirect_saying("/sign-in", "good", shell.say("sign_in.signed_out")))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LinkQuery {
    token: String,
}

async fn set_up_page(shell: Shell, query: Query<LinkQuery>) -> ApiResult {
    if shell.ui().accounts.any().await? {
        return Ok(shell.redirect("/sign-in"));
    }
    let gone = shell.ui().accounts.look(LinkPurpose::SetUp, &query.token).await.is_err();
    let view = EnterView { token: query.into_inner().token, gone, ..EnterView::default() };
    shell.render("account/set_up.html", shell.say("set_up.title"), &view)
}

#[derive(Deserialize)]
struct SetUpForm {
    token: String,
    email: String,
    name: String,
    password: String,
}

async fn set_up(shell: Shell, form: Form<SetUpForm>) -> ApiResult {
    let form = form.into_inner();
    match shell.ui().accounts.set_up(&form.token, &form.email, &form.name, &form.password, shell.visitor()).await {
        Ok((token, user)) => {
            rotate(&shell, token).await?;
            shell.note_actor(user.email.clone());
            shell.note(user.id.to_string(), "");
            Ok(shell.redirect_saying("/", "good", shell.say_with("set_up.done", &[("name", user.name)])))
        }
        Err(error) => {
            let error = ours(error)?;
            let view = EnterView {
                gone: matches!(error, UserError::Link),
                token: form.token,
                email: form.email,
                name: form.name,
                ..EnterView::default()
            };
            shell.render_as(form_status(&error), "account/set_up.html", shell.say("set_up.title"), &view.failed(&shell, &error))
        }
    }
}

async fn link_page(shell: &Shell, purpose: LinkPurpose, token: String) -> ApiResult {
    let (user, gone) = match shell.ui().accounts.look(purpose, &token).await {
        Ok(user) => (user, false),
        Err(error) => {
            ours(error)?;
            (None, true)
        }
    };
    let email = user.map(|u| u.email).unwrap_or_default();
    let view = EnterView { token, email, gone, ..EnterView::default() };
    link_view(shell, purpose, StatusCode::OK, &view)
}

fn link_view(shell: &Shell, purpose: LinkPurpose, status: StatusCode, view: &EnterView) -> ApiResult {
    match purpose {
        LinkPurpose::Invite => shell.render_as(status, "account/welcome.html", shell.say("welcome.title"), view),
        _ => shell.render_as(status, "account/reset.html", shell.say("reset.title"), view),
    }
}

#[derive(Deserialize)]
struct PasswordForm {
    token: String,
    password: String,
}

async fn take_link(shell: &Shell, purpose: LinkPurpose, form: PasswordForm) -> ApiResult {
    let accounts = &shell.ui().accounts;
    match accounts.set_password_by_link(purpose, &form.token, &form.password, shell.visitor()).await {
        Ok(SignIn::Done { token, user }) => {
            rotate(shell, token).await?;
            shell.note_actor(user.email.clone());
            shell.note(user.id.to_string(), "");
            Ok(shell.redirect_saying("/", "good", shell.say("reset.done")))
        }
        Ok(SignIn::CodeWanted { proof }) => {
            shell.set_cookie(shell.cookie("step", proof));
            Ok(shell.redirect("/sign-in/code"))
        }
        Err(error) => {
            let error = ours(error)?;
            let email = accounts.look(purpose, &form.token).await.ok().flatten().map(|u| u.email).unwrap_or_default();
            let view = EnterView { gone: matches!(error, UserError::Link), token: form.token, email, ..EnterView::default() };
            link_view(shell, purpose, form_status(&error), &view.failed(shell, &error))
        }
    }
}

async fn welcome_page(shell: Shell, query: Query<LinkQuery>) -> ApiResult {
    link_page(&shell, LinkPurpose::Invite, query.into_inner().token).await
}
async fn welcome(shell: Shell, form: Form<PasswordForm>) -> ApiResult {
    take_link(&shell, LinkPurpose::Invite, form.into_inner()).await
}
async fn reset_page(shell: Shell, query: Query<LinkQuery>) -> ApiResult {
    link_page(&shell, LinkPurpose::Reset, query.into_inner().token).await
}
async fn reset(shell: Shell, form: Form<PasswordForm>) -> ApiResult {
    take_link(&shell, LinkPurpose::Reset, form.into_inner()).await
}
