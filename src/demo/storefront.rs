//! The simulated shop's own web site on loopback: the pages that clicks lead to and the pictures that the catalogue names.

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data, Path};
use actix_web::{App, HttpResponse, HttpServer};

use super::picture;
use super::world::World;

/// A running site. Stops when it is told to.
pub struct Storefront {
    pub url: String,
    pub handle: ServerHandle,
}

/// Starts the site on a free port.
pub fn start(world: Arc<World>) -> anyhow::Result<Storefront> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let skus: Data<std::collections::HashMap<String, usize>> =
        Data::new(world.catalogue.products.iter().enumerate().map(|(i, p)| (p.sku.clone(), i)).collect());
    let world = Data::from(world);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(world.clone())
            .app_data(skus.clone())
            .route("/", web::get().to(home))
            .route("/p/{sku}", web::get().to(page))
            .route("/pictures/{file}", web::get().to(drawn))
    })
    .workers(1)
    .disable_signals()
    .shutdown_timeout(1)
    .listen(listener)?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Storefront { url, handle })
}

type Skus = Data<std::collections::HashMap<String, usize>>;

async fn home(world: Data<World>) -> HttpResponse {
    let some: String = world
        .catalogue
        .products
        .iter()
        .take(60)
        .map(|p| format!("<li><a href=\"/p/{}\">{}</a></li>", p.sku, html_escape::encode_text(&p.title)))
        .collect();
    html(&format!("<h1>The simulated shop</h1><p>Everything here is drawn from a seed.</p><ul>{some}</ul>"))
}

async fn page(world: Data<World>, skus: Skus, sku: Path<String>) -> HttpResponse {
    let Some(product) = skus.get(sku.as_str()).map(|i| &world.catalogue.products[*i]) else { return HttpResponse::NotFound().finish() };
    html(&format!(
        "<p>{}</p><h1>{}</h1><img src=\"/pictures/{}.png\" alt=\"\" width=\"400\" height=\"400\"><p>{}</p>",
        html_escape::encode_text(product.category_path),
        html_escape::encode_text(&product.title),
        product.sku,
        html_escape::encode_text(&product.description)
    ))
}

async fn drawn(world: Data<World>, skus: Skus, file: Path<String>) -> HttpResponse {
    let product = file.strip_suffix(".png").and_then(|sku| skus.get(sku)).map(|i| &world.catalogue.products[*i]);
    match product.and_then(picture::png) {
        Some(bytes) => HttpResponse::Ok().content_type("image/png").body(bytes),
        None => HttpResponse::NotFound().finish(),
    }
}

fn html(body: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(format!("<!doctype html><meta charset=\"utf-8\"><title>The simulated shop</title>{body}"))
}
