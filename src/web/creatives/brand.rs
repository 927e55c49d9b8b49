//! Brand kit: colours with their contrast, logo, font, postal address; and how a mail and a banner look with them, also before they are saved.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Form, Path, Payload, Query};
use serde::{Deserialize, Serialize};

use super::preview::{LightQuery, framed, png};
use super::sample;
use crate::catalog::{self, Picture};
use crate::creative::brand::{BrandError, SETTING};
use crate::creative::{self, BrandKit, Colour, EmailKind, Format};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Platform, setting};
use crate::web::page::Shell;
use crate::web::upload;

/// Installed nearly everywhere, so that a mail looks the same for most.
const FONTS: [&str; 7] = [
    "Helvetica Neue, Helvetica, Arial, sans-serif",
    "Arial, Helvetica, sans-serif",
    "Georgia, Times New Roman, serif",
    "Verdana, Geneva, sans-serif",
    "Trebuchet MS, Tahoma, sans-serif",
    "Palatino, Book Antiqua, Georgia, serif",
    "Courier New, Courier, monospace",
];

/// The kit as typed; what is missing keeps its default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct BrandForm {
    name: String,
    primary: String,
    accent: String,
    background: String,
    surface: String,
    ink: String,
    font: String,
    radius: String,
    logo_url: String,
    postal_address: String,
}

impl Default for BrandForm {
    fn default() -> Self {
        Self::of(&BrandKit::default())
    }
}

impl BrandForm {
    fn of(kit: &BrandKit) -> Self {
        Self {
            name: kit.name.clone(),
            primary: kit.primary.to_string(),
            accent: kit.accent.to_string(),
            background: kit.background.to_string(),
            surface: kit.surface.to_string(),
            ink: kit.ink.to_string(),
            font: kit.font.clone(),
            radius: kit.radius.to_string(),
            logo_url: kit.logo_url.clone(),
            postal_address: kit.postal_address.clone(),
        }
    }

    /// # Errors
    /// The first field that breaks a rule.
    fn read(&self) -> Result<BrandKit, BrandError> {
        let colour =
            |field: &'static str, text: &str| Colour::try_from(text.trim().to_lowercase()).map_err(|why| BrandError { field, why });
        let kit = BrandKit {
            name: self.name.trim().to_owned(),
            logo_url: self.logo_url.trim().to_owned(),
            primary: colour("primary", &self.primary)?,
            accent: colour("accent", &self.accent)?,
            background: colour("background", &self.background)?,
            surface: colour("surface", &self.surface)?,
            ink: colour("ink", &self.ink)?,
            font: self.font.trim().to_owned(),
            postal_address: self.postal_address.replace("\r\n", "\n").trim().to_owned(),
            radius: self.radius.trim().parse().map_err(|_| BrandError { field: "radius", why: "0 to 24".into() })?,
        };
        kit.check()?;
        Ok(kit)
    }
}

#[derive(Serialize)]
struct Swatch {
    name: &'static str,
    value: String,
}

/// Two colours that stand on each other, and whether they read.
#[derive(Serialize)]
struct Contrast {
    name: &'static str,
    ratio: f64,
    passes: bool,
}

#[derive(Serialize)]
struct BrandView {
    form: BrandForm,
    swatches: Vec<Swatch>,
    contrasts: Vec<Contrast>,
    fonts: [&'static str; 7],
    formats: Vec<(String, u32, u32)>,
    field: &'static str,
    error: Option<String>,
    logo_error: Option<String>,
    /// The form's values for the previews' addresses.
    query: String,
    shop: String,
    postal_hint: String,
}

/// WCAG AA for text.
const LEAST: f64 = 4.5;

fn contrasts(form: &BrandForm) -> Vec<Contrast> {
    let colour = |text: &str, other: Colour| Colour::try_from(text.trim().to_lowercase()).unwrap_or(other);
    let default = BrandKit::default();
    let (surface, ink) = (colour(&form.surface, default.surface), colour(&form.ink, default.ink));
    let (primary, accent) = (colour(&form.primary, default.primary), colour(&form.accent, default.accent));
    let row = |name, ground: Colour, on: Colour| {
        let ratio = ground.contrast(on);
        Contrast { name, ratio, passes: ratio >= LEAST }
    };
    vec![row("text", surface, ink), row("button", primary, primary.ink()), row("link", surface, primary), row("sale", surface, accent)]
}

fn query_of(form: &BrandForm) -> String {
    let pairs = serde_json::to_value(form).ok().and_then(|v| v.as_object().cloned()).unwrap_or_default();
    let mut out = url::form_urlencoded::Serializer::new(String::new());
    for (key, value) in &pairs {
        out.append_pair(key, value.as_str().unwrap_or_default());
    }
    out.finish()
}

fn view(shell: &Shell, form: BrandForm, error: Option<BrandError>, logo_error: Option<String>) -> BrandView {
    let swatch = |name, value: &String| Swatch { name, value: value.clone() };
    let shop = &shell.inner.platform.config.shop;
    let why = error.as_ref().map(|e| match e.field {
        "ink" if e.why.contains("contrast") => shell.say("brand.error_contrast"),
        "name" => shell.say("brand.error_name"),
        "font" => shell.say("brand.error_font"),
        "logo_url" => shell.say("brand.error_logo"),
        "postal_address" => shell.say("brand.error_postal"),
        "radius" => shell.say("brand.error_radius"),
        _ => shell.say("brand.error_colour"),
    });
    BrandView {
        swatches: vec![
            swatch("primary", &form.primary),
            swatch("accent", &form.accent),
            swatch("background", &form.background),
            swatch("surface", &form.surface),
            swatch("ink", &form.ink),
        ],
        contrasts: contrasts(&form),
        fonts: FONTS,
        formats: [Format::MediumRectangle, Format::Leaderboard, Format::LargeMobile]
            .map(|f| (f.to_string(), f.size().0, f.size().1))
            .to_vec(),
        field: error.map_or("", |e| e.field),
        error: why,
        logo_error,
        query: query_of(&form),
        form,
        shop: shop.name.clone(),
        postal_hint: if shop.postal_address.is_empty() {
            shell.say("brand.postal_hint")
        } else {
            shell.say_with("brand.postal_hint_set", &[("now", shop.postal_address.clone())])
        },
    }
}

async fn stored(platform: &Platform) -> ApiResult<BrandKit> {
    Ok(setting::get_or_default::<BrandKit>(&platform.db, SETTING).await?)
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let form = BrandForm::of(&stored(&platform).await?);
    shell.render("creatives/brand.html", shell.say("brand.title"), &view(&shell, form, None, None))
}

async fn put(platform: &Platform, kit: &BrandKit) -> ApiResult<()> {
    let mut tx = platform.db.begin().await?;
    setting::put(&mut tx, SETTING, kit, platform.now()).await?;
    tx.commit().await?;
    Ok(())
}

pub(super) async fn save(shell: Shell, platform: Data<Platform>, form: Form<BrandForm>) -> ApiResult {
    let form = form.into_inner();
    match form.read() {
        Ok(kit) => {
            put(&platform, &kit).await?;
            shell.note("brand", format!("{} {} {}", kit.primary, kit.accent, kit.font));
            Ok(shell.redirect_saying("/creatives/brand", "good", shell.say("brand.saved")))
        }
        Err(error) => {
            let view = view(&shell, form, Some(error), None);
            shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "creatives/brand.html", shell.say("brand.title"), &view)
        }
    }
}

const MAX_LOGO: usize = 1024 * 1024;
/// Logos are shown at a height of 40 px; more than twice of that helps nobody.
const MAX_LOGO_SIDE: u32 = 2_000;

pub(super) async fn logo(shell: Shell, platform: Data<Platform>, request: HttpRequest, payload: Payload) -> ApiResult {
    let mut parts = upload::read(&request, payload, MAX_LOGO).await?;
    let kit = stored(&platform).await?;
    let inspected = match upload::file(&mut parts, "logo") {
        None => Err(shell.say("catalogue.error_no_file")),
        Some(file) => match tokio::task::spawn_blocking(move || Picture::inspect(file.bytes)).await.map_err(ApiError::internal)? {
            Ok(picture) if picture.width.max(picture.height) <= MAX_LOGO_SIDE => Ok(picture),
            Ok(_) => Err(shell.say("brand.error_logo_size")),
            Err(why) => Err(shell.say_with("catalogue.error_picture", &[("why", why.to_string())])),
        },
    };
    let picture = match inspected {
        Ok(picture) => picture,
        Err(error) => {
            let view = view(&shell, BrandForm::of(&kit), None, Some(error));
            return shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, "creatives/brand.html", shell.say("brand.title"), &view);
        }
    };
    let now = platform.now();
    let mut tx = platform.db.begin().await?;
    let hash = catalog::put_picture(&mut tx, &picture, now).await?;
    let kit = BrandKit { logo_url: platform.config.public(&format!("/assets/{hash}")), ..kit };
    setting::put(&mut tx, SETTING, &kit, now).await?;
    tx.commit().await?;
    shell.note("brand.logo", format!("{}…", &hash[..12]));
    Ok(shell.redirect_saying("/creatives/brand", "good", shell.say("brand.logo_saved")))
}

pub(super) async fn drop_logo(shell: Shell, platform: Data<Platform>) -> ApiResult {
    let kit = BrandKit { logo_url: String::new(), ..stored(&platform).await? };
    put(&platform, &kit).await?;
    shell.note("brand.logo", "–");
    Ok(shell.redirect_saying("/creatives/brand", "good", shell.say("brand.logo_dropped")))
}

/// Pictures of our own come from the server that shows the page, whatever name the world knows it by.
pub(super) fn at_home(platform: &Platform, html: &str) -> String {
    html.replace(&platform.config.public("/assets/"), "/assets/")
}

/// The typed kit where it holds, else the stored one.
async fn typed(platform: &Platform, form: &BrandForm) -> ApiResult<BrandKit> {
    match form.read() {
        Ok(kit) => Ok(kit.completed(&platform.config.shop)),
        Err(_) => Ok(BrandKit::load(platform).await?),
    }
}

pub(super) async fn mail(platform: Data<Platform>, form: Query<BrandForm>, light: Query<LightQuery>) -> ApiResult {
    let brand = typed(&platform, &form).await?;
    let sample = sample::load(&platform).await?;
    let kind = if sample.products.len() > 1 { EmailKind::HeroMore } else { EmailKind::Hero };
    let context = creative::preview_context(&platform.config, &sample.mail, sample.locale, None, &sample.products);
    let context = context.ok_or_else(|| ApiError::not_found("product"))?;
    let mail = creative::preview_mail(&brand, kind, &context).map_err(ApiError::internal)?;
    Ok(framed(creative::lit(&at_home(&platform, &mail.html), light.light())))
}

pub(super) async fn banner(platform: Data<Platform>, path: Path<String>, form: Query<BrandForm>) -> ApiResult {
    let format: Format = path.parse().map_err(|_| ApiError::not_found("banner"))?;
    let brand = typed(&platform, &form).await?;
    let sample = sample::load(&platform).await?;
    let drawn = creative::preview_banner(&platform, &brand, &sample.banner, &sample.products[0], format).await?;
    Ok(png(drawn.png))
}

/// The contrasts alone, while somebody picks colours.
pub(super) async fn check(shell: Shell, form: Form<BrandForm>) -> ApiResult {
    let form = form.into_inner();
    let error = form.read().err();
    shell.fragment("creatives/brand_checked.html", &view(&shell, form, error, None), false)
}
