//! Style sheet and ES modules: embedded, addressed by the hash of all of them together (so that modules can import each other by
//! relative name), cached for ever, compressed once.

use std::collections::HashMap;
use std::io::Write as _;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use super::ui::Ui;

#[derive(RustEmbed)]
#[folder = "templates/assets/"]
struct Files;

struct Asset {
    content_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

pub struct Assets {
    hash: String,
    files: HashMap<String, Asset>,
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

impl Assets {
    pub fn load() -> std::io::Result<Self> {
        let mut names: Vec<_> = Files::iter().map(|n| n.into_owned()).collect();
        names.sort();
        let mut digest = Sha256::new();
        let mut files = HashMap::new();
        for name in names {
            let Some(file) = Files::get(&name) else { continue };
            digest.update(name.as_bytes());
            digest.update(&file.data);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
            gzip.write_all(&file.data)?;
            let asset =
                Asset { content_type: content_type(&name), plain: Bytes::from(file.data.into_owned()), gzip: Bytes::from(gzip.finish()?) };
            files.insert(name, asset);
        }
        Ok(Self { hash: hex::encode(&digest.finalize()[..8]), files })
    }

    /// The folder of all assets: `/assets/HASH`.
    pub fn base(&self) -> String {
        format!("/assets/{}", self.hash)
    }
}

pub(super) async fn serve(req: HttpRequest, path: web::Path<(String, String)>, ui: web::Data<Ui>) -> HttpResponse {
    let (hash, name) = path.into_inner();
    let Some(asset) = ui.assets.files.get(&name) else { return HttpResponse::NotFound().finish() };
    // An older page may ask for an older hash: it gets what there is, but must not keep it under that name.
    let cache = if hash == ui.assets.hash { "public, max-age=31536000, immutable" } else { "no-store" };
    let takes_gzip = req.headers().get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
    let mut response = HttpResponse::Ok();
    response
        .content_type(asset.content_type)
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::VARY, "Accept-Encoding"))
        .insert_header(("Cross-Origin-Resource-Policy", "same-origin"));
    if takes_gzip {
        response.insert_header((header::CONTENT_ENCODING, "gzip")).body(asset.gzip.clone())
    } else {
        // Otherwise the compressing middleware would have another go.
        response.insert_header(header::ContentEncoding::Identity).body(asset.plain.clone())
    }
}
