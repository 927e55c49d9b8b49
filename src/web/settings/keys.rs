//! Settings → Keys: scopes, last use; made and shown once; revoked.

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::Serialize;

use super::{Need, Route, Tab, tabs};
use crate::account::{ApiKey, KeyError, KeyRing, Permission, Scope};
use crate::platform::http::{ApiError, ApiResult};
use crate::web::download;
use crate::web::page::{Confirm, Shell};
use crate::web::table::{Sort, TableQuery};

pub(super) fn routes() -> Vec<Route> {
    let need = Need::May(Permission::Administer);
    vec![
        Route::get("/settings/keys", need, list),
        Route::get("/settings/keys/download", need, file),
        Route::post("/settings/keys", need, "key.create", create),
        Route::get("/settings/keys/{prefix}/revoke", need, ask_revoke),
        Route::post("/settings/keys/{prefix}/revoke", need, "key.revoke", revoke),
    ]
}

#[derive(Serialize)]
struct KeysView {
    tabs: Vec<Tab>,
    keys: Vec<ApiKey>,
    sort: Sort,
    scopes: Vec<ScopeChoice>,
    /// The key just made, shown this once.
    fresh: Option<String>,
    name: String,
    error: Option<String>,
    field: &'static str,
}

#[derive(Serialize)]
struct ScopeChoice {
    name: &'static str,
    chosen: bool,
}

/// Keys in the order asked for: revoked ones last, whatever the order. They are few, so this happens here.
async fn ordered(ring: &KeyRing, asked: Option<&str>) -> ApiResult<(Vec<ApiKey>, Sort)> {
    let sort = Sort::read(asked, &["-made", "name", "used"], String::new());
    let mut keys = ring.list().await?;
    keys.sort_by(|a, b| {
        let first = match sort.by {
            "name" => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            "used" => a.last_used_at.cmp(&b.last_used_at),
            _ => a.created_at.cmp(&b.created_at),
        };
        let order = first.then_with(|| a.prefix.cmp(&b.prefix));
        a.revoked.cmp(&b.revoked).then(if sort.down { order.reverse() } else { order })
    });
    Ok((keys, sort))
}

async fn view(shell: &Shell, ring: &KeyRing, chosen: &[Scope], asked: Option<&str>) -> ApiResult<KeysView> {
    let (keys, sort) = ordered(ring, asked).await?;
    let scopes = Scope::ALL.into_iter().map(|s| ScopeChoice { name: s.name(), chosen: chosen.contains(&s) }).collect();
    Ok(KeysView { tabs: tabs(shell, "/settings/keys"), keys, sort, scopes, fresh: None, name: String::new(), error: None, field: "" })
}

async fn list(shell: Shell, ring: Data<KeyRing>, query: Query<TableQuery>) -> ApiResult {
    let view = view(&shell, &ring, &[Scope::Ingest], query.sort.as_deref()).await?;
    shell.render("settings/keys.html", shell.say("settings.keys"), &view)
}

/// Which keys there are, for a review of them; a key itself is nowhere.
async fn file(ring: Data<KeyRing>, query: Query<TableQuery>) -> ApiResult {
    let (keys, _) = ordered(&ring, query.sort.as_deref()).await?;
    let row = |k: ApiKey| {
        let scopes = k.scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" ");
        let used = k.last_used_at.map(|t| t.to_string()).unwrap_or_default();
        vec![k.prefix, k.name, scopes, k.created_at.to_string(), used, k.revoked.to_string()]
    };
    let head = ["prefix", "name", "scopes", "made_at", "last_used_at", "revoked"];
    download::whole("keys.csv", &head, &keys.into_iter().map(row).collect::<Vec<_>>())
}

async fn create(shell: Shell, ring: Data<KeyRing>, body: Bytes) -> ApiResult {
    let fields: Vec<(String, String)> = url::form_urlencoded::parse(&body).into_owned().collect();
    let name = fields.iter().find(|(k, _)| k == "name").map(|(_, v)| v.clone()).unwrap_or_default();
    let scopes: Vec<Scope> = fields.iter().filter(|(k, _)| k == "scope").filter_map(|(_, v)| v.parse().ok()).collect();
    match ring.create(&name, &scopes, shell.reader().now).await {
        Ok(made) => {
            let words = made.scopes.iter().map(|s| s.name()).collect::<Vec<_>>().join(" ");
            shell.note(format!("{}…", made.prefix), format!("{}: {words}", name.trim()));
            let mut view = view(&shell, &ring, &[Scope::Ingest], None).await?;
            view.fresh = Some(made.key);
            shell.render("settings/keys.html", shell.say("settings.keys"), &view)
        }
        Err(KeyError::Database(error)) => Err(error.into()),
        Err(error) => {
            let mut view = view(&shell, &ring, &scopes, None).await?;
            view.field = if matches!(error, KeyError::Name) { "name" } else { "scope" };
            view.error = Some(shell.say(if view.field == "name" { "keys.error_name" } else { "keys.error_scope" }));
            view.name = name;
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "settings/keys.html", shell.say("settings.keys"), &view)
        }
    }
}

async fn find(ring: &KeyRing, prefix: &str) -> ApiResult<ApiKey> {
    ring.list().await?.into_iter().find(|k| k.prefix == prefix && !k.revoked).ok_or_else(|| ApiError::not_found("live key"))
}

async fn ask_revoke(shell: Shell, ring: Data<KeyRing>, path: Path<String>) -> ApiResult {
    let key = find(&ring, &path).await?;
    let confirm = Confirm {
        text: shell.say_with("keys.revoke_text", &[("name", key.name.clone())]),
        consequence: shell.say("keys.revoke_consequence"),
        button: shell.say("keys.revoke"),
        action: format!("/settings/keys/{}/revoke", key.prefix),
        back: "/settings/keys".into(),
        danger: true,
    };
    shell.confirm(shell.say_with("keys.revoke_title", &[("name", key.name)]), &confirm)
}

async fn revoke(shell: Shell, ring: Data<KeyRing>, path: Path<String>) -> ApiResult {
    let key = find(&ring, &path).await?;
    ring.revoke(&key.prefix, shell.reader().now).await?;
    shell.note(format!("{}…", key.prefix), key.name.clone());
    Ok(shell.redirect_saying("/settings/keys", "good", shell.say_with("keys.revoked_done", &[("name", key.name)])))
}
