//! Changes to one product by hand: stock, retirement, picture.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path, Payload};
use serde::Deserialize;

use super::product::{StockForm, find, show};
use super::short;
use crate::catalog::{self, CatalogError, Level};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::page::{Confirm, Shell};
use crate::web::upload;

#[derive(Deserialize)]
pub(super) struct StockFields {
    stock: String,
    available: Option<String>,
}

/// Sets stock and availability. An empty number: nobody counts.
pub(super) async fn stock(shell: Shell, platform: Data<Platform>, path: Path<String>, form: Form<StockFields>) -> ApiResult {
    let product = find(&platform, &path).await?;
    let form = form.into_inner();
    let typed = form.stock.trim().replace([',', ' '], "");
    let stock = if typed.is_empty() { Ok(None) } else { typed.parse::<i64>().map(Some) };
    let level = stock.map(|stock| Level { stock, available: form.available.is_some() });
    let done = match level {
        Ok(level) => match catalog::set_level(&platform, product.id, level).await {
            Err(CatalogError::Invalid { .. }) => None,
            other => Some((level, other?)),
        },
        Err(_) => None,
    };
    let Some((level, _)) = done else {
        let error = Some(shell.say("catalogue.error_stock"));
        let form = StockForm { stock: form.stock, available: form.available.is_some(), error };
        return show(&shell, &platform, product, form, None, false, StatusCode::UNPROCESSABLE_ENTITY).await;
    };
    let shown = |n: Option<i64>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
    shell.note(product.sku.clone(), format!("{} → {}", shown(product.stock), shown(level.stock)));
    let said = shell.say_with("catalogue.stock_saved", &[("title", short(&product.title))]);
    Ok(shell.redirect_saying(&format!("/catalogue/{}", product.id), "good", said))
}

pub(super) async fn ask_retire(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let product = find(&platform, &path).await?;
    let confirm = Confirm {
        text: shell.say_with("catalogue.retire_text", &[("title", short(&product.title))]),
        consequence: shell.say("catalogue.retire_kept"),
        button: shell.say("catalogue.retire"),
        action: format!("/catalogue/{}/retire", product.id),
        back: format!("/catalogue/{}", product.id),
        danger: true,
    };
    shell.confirm(shell.say("catalogue.retire_title"), &confirm)
}

pub(super) async fn retire(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let product = find(&platform, &path).await?;
    let mut tx = platform.db.begin().await?;
    catalog::retire(&mut tx, product.id, platform.now()).await?;
    tx.commit().await?;
    shell.note(product.sku.clone(), "");
    let said = shell.say_with("catalogue.retired_done", &[("title", short(&product.title))]);
    Ok(shell.redirect_saying(&format!("/catalogue/{}", product.id), "good", said))
}

pub(super) async fn restore(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let product = find(&platform, &path).await?;
    let mut tx = platform.db.begin().await?;
    catalog::restore(&mut tx, product.id, platform.now()).await?;
    tx.commit().await?;
    shell.note(product.sku.clone(), "");
    let said = shell.say_with("catalogue.restored_done", &[("title", short(&product.title))]);
    Ok(shell.redirect_saying(&format!("/catalogue/{}", product.id), "good", said))
}

/// Largest picture taken.
const MAX_PICTURE: usize = 8 * 1024 * 1024;

pub(super) async fn picture(
    shell: Shell,
    platform: Data<Platform>,
    path: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let product = find(&platform, &path).await?;
    let mut parts = upload::read(&request, payload, MAX_PICTURE).await?;
    let done = match upload::file(&mut parts, "picture") {
        None => Err(shell.say("catalogue.error_no_file")),
        Some(file) => match catalog::replace_picture(&platform, product.id, file.bytes).await {
            Ok(hash) => Ok(hash),
            Err(CatalogError::Picture(why)) => Err(shell.say_with("catalogue.error_picture", &[("why", why.to_string())])),
            Err(other) => return Err(other.into()),
        },
    };
    match done {
        Ok(hash) => {
            shell.note(product.sku.clone(), format!("{}…", &hash[..12]));
            let said = shell.say_with("catalogue.picture_saved", &[("title", short(&product.title))]);
            Ok(shell.redirect_saying(&format!("/catalogue/{}", product.id), "good", said))
        }
        Err(error) => {
            let stock = product.stock.map(|n| n.to_string()).unwrap_or_default();
            let form = StockForm { stock, available: product.available, error: None };
            show(&shell, &platform, product, form, Some(error), false, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}
