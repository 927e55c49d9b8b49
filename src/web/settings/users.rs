//! Settings → Users: invite, change a role, lock out, let in, send a new link.

use actix_web::http::StatusCode;
use actix_web::web::{Form, Path, Query};
use serde::{Deserialize, Serialize};

use super::{Need, Route, Tab, tabs};
use crate::account::{LinkPurpose, NewUser, Permission, Role, User, UserError};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::ids::UserId;
use crate::web::account::{form_status, ours, send_link};
use crate::web::download;
use crate::web::page::{Confirm, Shell};
use crate::web::table::{Choice, Sort, TableQuery};

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Administer);
    vec![
        Route::get("/settings/users", need, list),
        Route::file("/settings/users/download", need, "user.download", file),
        Route::post("/settings/users", need, "user.invite", invite),
        Route::get("/settings/users/{id}", need, edit),
        Route::post("/settings/users/{id}/role", need, "user.role", role),
        Route::post("/settings/users/{id}/link", need, "user.link", link),
        Route::get("/settings/users/{id}/disable", need, ask_disable),
        Route::post("/settings/users/{id}/disable", need, "user.disable", disable),
        Route::post("/settings/users/{id}/enable", need, "user.enable", enable),
        Route::get("/settings/users/{id}/second-step", need, ask_second),
        Route::post("/settings/users/{id}/second-step", need, "user.second_step_off", drop_second),
    ]
}

#[derive(Default, Serialize)]
struct UsersView {
    tabs: Vec<Tab>,
    users: Vec<User>,
    roles: Vec<Choice>,
    email: String,
    name: String,
    role: String,
    error: Option<String>,
    field: &'static str,
    /// Of the table; absent where a form comes back with an error.
    sort: Option<Sort>,
    /// A link that was not mailed: the admin hands it over.
    link: Option<Link>,
}

#[derive(Serialize)]
struct Link {
    email: String,
    url: String,
    why: String,
}

fn roles(shell: &Shell) -> Vec<Choice> {
    Role::ALL
        .into_iter()
        .map(|r| {
            Choice::new(
                r.name(),
                shell.say_with(
                    "users.role_is",
                    &[("role", shell.say(&format!("role.{r}"))), ("about", shell.say(&format!("role.about.{r}")))],
                ),
            )
        })
        .collect()
}

/// Users in the order asked for. They are few, so this happens here.
async fn ordered(shell: &Shell, asked: Option<&str>) -> ApiResult<(Vec<User>, Sort)> {
    let sort = Sort::read(asked, &["name", "role", "made", "seen"], String::new());
    let mut users = shell.ui().accounts.list().await?;
    users.sort_by(|a, b| {
        let first = match sort.by {
            "role" => a.role.name().cmp(b.role.name()),
            "made" => a.created_at.cmp(&b.created_at),
            "seen" => a.last_seen_at.cmp(&b.last_seen_at),
            _ => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
        };
        let order = first.then_with(|| a.email.cmp(&b.email));
        if sort.down { order.reverse() } else { order }
    });
    Ok((users, sort))
}

async fn users_view(shell: &Shell, asked: Option<&str>) -> ApiResult<UsersView> {
    let (users, sort) = ordered(shell, asked).await?;
    let sort = Some(sort);
    Ok(UsersView {
        tabs: tabs(shell, "/settings/users"),
        users,
        sort,
        roles: roles(shell),
        role: "marketer".into(),
        ..UsersView::default()
    })
}

async fn list(shell: Shell, query: Query<TableQuery>) -> ApiResult {
    let view = users_view(&shell, query.sort.as_deref()).await?;
    shell.render("settings/users.html", shell.say("settings.users"), &view)
}

/// Who may do what, for a review of it.
async fn file(shell: Shell, query: Query<TableQuery>) -> ApiResult {
    let (users, _) = ordered(&shell, query.sort.as_deref()).await?;
    let row = |u: User| {
        let state = match () {
            () if u.disabled => "disabled",
            () if !u.has_password => "invited",
            () => "active",
        };
        let seen = u.last_seen_at.map(|t| t.to_string()).unwrap_or_default();
        vec![u.name, u.email, u.role.name().to_owned(), state.to_owned(), u.has_totp.to_string(), u.created_at.to_string(), seen]
    };
    let head = ["name", "email", "role", "state", "second_step", "made_at", "last_seen_at"];
    download::whole("users.csv", &head, &users.into_iter().map(row).collect::<Vec<_>>())
}

#[derive(Deserialize)]
struct InviteForm {
    email: String,
    name: String,
    role: String,
}

async fn invite(shell: Shell, form: Form<InviteForm>) -> ApiResult {
    let form = form.into_inner();
    let accounts = &shell.ui().accounts;
    let made = match form.role.parse::<Role>() {
        Ok(role) => accounts.create(NewUser { email: form.email.clone(), name: form.name.clone(), role }, None).await,
        Err(_) => Err(UserError::Choice),
    };
    match made {
        Ok(id) => {
            let user = accounts.get(id).await?;
            shell.note(user.email.clone(), user.role.name());
            hand_over(&shell, &user, LinkPurpose::Invite).await
        }
        Err(error) => {
            let error = ours(error)?;
            let mut view = users_view(&shell, None).await?;
            view.error = Some(shell.say(error.key()));
            view.field = error.field();
            (view.email, view.name, view.role) = (form.email, form.name, form.role);
            shell.render_as(form_status(&error), "settings/users.html", shell.say("settings.users"), &view)
        }
    }
}

/// Mails a link; where that fails the admin gets it to hand over.
async fn hand_over(shell: &Shell, user: &User, purpose: LinkPurpose) -> ApiResult {
    let url = shell.ui().accounts.link(user.id, purpose).await?;
    match send_link(&shell.inner.platform, user, purpose, &url, shell.locale()).await {
        Ok(_) => Ok(shell.redirect_saying("/settings/users", "good", shell.say_with("users.mailed", &[("email", user.email.clone())]))),
        Err(error) => {
            let mut view = users_view(shell, None).await?;
            view.link = Some(Link { email: user.email.clone(), url, why: error.to_string() });
            shell.render("settings/users.html", shell.say("settings.users"), &view)
        }
    }
}

#[derive(Serialize)]
struct EditView {
    tabs: Vec<Tab>,
    user: User,
    roles: Vec<Choice>,
    error: Option<String>,
    myself: bool,
}

fn id_of(path: &str) -> ApiResult<UserId> {
    path.parse().map_err(|_| ApiError::not_found("user"))
}

async fn edit_view(shell: &Shell, user: User, status: StatusCode, error: Option<String>) -> ApiResult {
    let myself = shell.viewer().is_some_and(|v| v.id == user.id);
    let title = user.name.clone();
    let view = EditView { tabs: tabs(shell, "/settings/users"), user, roles: roles(shell), error, myself };
    shell.render_as(status, "settings/user.html", title, &view)
}

async fn edit(shell: Shell, path: Path<String>) -> ApiResult {
    let user = shell.ui().accounts.get(id_of(&path)?).await?;
    edit_view(&shell, user, StatusCode::OK, None).await
}

#[derive(Deserialize)]
struct RoleForm {
    role: String,
}

async fn role(shell: Shell, path: Path<String>, form: Form<RoleForm>) -> ApiResult {
    let accounts = &shell.ui().accounts;
    let user = accounts.get(id_of(&path)?).await?;
    let to = form.role.parse::<Role>().map_err(|e| ApiError::invalid("role", e.to_string()))?;
    match accounts.set_role(user.id, to).await {
        Ok(()) => {
            shell.note(user.email.clone(), format!("{} → {to}", user.role));
            let said = shell.say_with("users.role_set", &[("name", user.name.clone()), ("role", shell.say(&format!("role.{to}")))]);
            Ok(shell.redirect_saying("/settings/users", "good", said))
        }
        Err(error) => {
            let error = ours(error)?;
            edit_view(&shell, user, form_status(&error), Some(shell.say(error.key()))).await
        }
    }
}

async fn link(shell: Shell, path: Path<String>) -> ApiResult {
    let user = shell.ui().accounts.get(id_of(&path)?).await?;
    if user.disabled {
        return Err(ApiError::conflict("disabled", shell.say("users.is_disabled")));
    }
    shell.note(user.email.clone(), "");
    hand_over(&shell, &user, if user.has_password { LinkPurpose::Reset } else { LinkPurpose::Invite }).await
}

fn ask(shell: &Shell, user: &User, what: &'static str, text: String, consequence: String) -> Confirm {
    Confirm {
        text,
        consequence,
        button: shell.say(if what == "disable" { "users.disable" } else { "users.drop_second" }),
        action: format!("/settings/users/{}/{what}", user.id),
        back: format!("/settings/users/{}", user.id),
        danger: true,
    }
}

async fn ask_disable(shell: Shell, path: Path<String>) -> ApiResult {
    let user = shell.ui().accounts.get(id_of(&path)?).await?;
    let name = [("name", user.name.clone())];
    let confirm = ask(&shell, &user, "disable", shell.say_with("users.disable_text", &name), shell.say("users.disable_kept"));
    shell.confirm(shell.say_with("users.disable_title", &name), &confirm)
}

async fn disable(shell: Shell, path: Path<String>) -> ApiResult {
    let accounts = &shell.ui().accounts;
    let user = accounts.get(id_of(&path)?).await?;
    if let Err(error) = accounts.set_disabled(user.id, true).await {
        let error = ours(error)?;
        return edit_view(&shell, user, form_status(&error), Some(shell.say(error.key()))).await;
    }
    shell.note(user.email.clone(), "");
    Ok(shell.redirect_saying("/settings/users", "good", shell.say_with("users.disabled_done", &[("name", user.name)])))
}

async fn enable(shell: Shell, path: Path<String>) -> ApiResult {
    let accounts = &shell.ui().accounts;
    let user = accounts.get(id_of(&path)?).await?;
    accounts.set_disabled(user.id, false).await?;
    shell.note(user.email.clone(), "");
    Ok(shell.redirect_saying("/settings/users", "good", shell.say_with("users.enabled_done", &[("name", user.name)])))
}

async fn ask_second(shell: Shell, path: Path<String>) -> ApiResult {
    let user = shell.ui().accounts.get(id_of(&path)?).await?;
    let name = [("name", user.name.clone())];
    let confirm = ask(&shell, &user, "second-step", shell.say_with("users.drop_second_text", &name), String::new());
    shell.confirm(shell.say_with("users.drop_second_title", &name), &confirm)
}

async fn drop_second(shell: Shell, path: Path<String>) -> ApiResult {
    let accounts = &shell.ui().accounts;
    let user = accounts.get(id_of(&path)?).await?;
    accounts.drop_totp(user.id).await?;
    shell.note(user.email.clone(), "");
    Ok(shell.redirect_saying("/settings/users", "good", shell.say_with("users.second_dropped", &[("name", user.name)])))
}
