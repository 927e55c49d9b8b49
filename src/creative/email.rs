//! E-mails: MJML is compiled and its styles inlined once per template and brand; per person only Tera runs.
//!
//! Two stages. `[[ … ]]` and `[% … %]` are filled when a template is compiled (brand, language, how many products, with or without
//! pictures); `{{ … }}` and `{% … %}` per person.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};
use tera::{Context, Delimiters, Tera};

use super::brand::BrandKit;
use super::utm::web_url;
use crate::catalog::Product;
use crate::copywriter::{Copy, Locale, title};
use crate::platform::Config;
use crate::platform::ids::CampaignId;

/// Products beside the first.
pub const MAX_MORE: usize = 3;
const MAX_SUBJECT: usize = 200;

/// The templates that come with Marquee.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmailKind {
    /// One product, large.
    #[default]
    Hero,
    /// One product, large, and up to three more below.
    HeroMore,
    /// Text with a link: reads like a letter.
    Letter,
}

impl EmailKind {
    pub const ALL: [EmailKind; 3] = [EmailKind::Hero, EmailKind::HeroMore, EmailKind::Letter];
    fn mjml(self) -> &'static str {
        match self {
            Self::Hero => include_str!("../../templates/email/hero.mjml"),
            Self::HeroMore => include_str!("../../templates/email/hero_more.mjml"),
            Self::Letter => include_str!("../../templates/email/letter.mjml"),
        }
    }
}
const HEAD: &str = include_str!("../../templates/email/head.mjml");
const TOP: &str = include_str!("../../templates/email/top.mjml");
const FOOT: &str = include_str!("../../templates/email/foot.mjml");
const TEXT: &str = include_str!("../../templates/email/mail.txt");

#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    #[error("the template is not valid MJML: {0}")]
    Mjml(String),
    #[error("the template's styles cannot be inlined: {0}")]
    Css(String),
    #[error("the template cannot be filled: {0}")]
    Tera(String),
    #[error("{0} products were given; at most {max} fit", max = MAX_MORE + 1)]
    TooMany(usize),
}

impl From<tera::Error> for EmailError {
    fn from(e: tera::Error) -> Self {
        let mut text = e.to_string();
        let mut source = std::error::Error::source(&e);
        while let Some(inner) = source {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            source = inner.source();
        }
        Self::Tera(text)
    }
}

/// A product as a mail shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductView {
    pub title: String,
    pub price: String,
    /// The price before the reduction; `None` where there is none.
    pub was: Option<String>,
    pub image_url: Option<String>,
    /// Where a click goes: the touch's signed click address.
    pub url: String,
}

impl ProductView {
    /// `click_url` is the signed address of `touches::links::click_url`.
    pub fn of(product: &Product, config: &Config, click_url: String) -> Self {
        let hosted = product.image_hash.as_deref().map(|hash| config.public(&format!("/assets/{hash}")));
        let foreign = || product.image_url.as_deref().and_then(web_url).map(String::from);
        Self {
            title: title::readable(&product.title).unwrap_or_else(|| product.sku.clone()),
            price: product.price_now().to_string(),
            was: product.sale_price.filter(|s| s.minor < product.price.minor).map(|_| product.price.to_string()),
            image_url: hosted.or_else(foreign),
            url: click_url,
        }
    }
}

/// The addresses in a mail, all signed for one touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailLinks {
    /// The pixel.
    pub open: String,
    pub unsubscribe: String,
    pub preferences: String,
}

/// What a mail is rendered from. `copy` is already filled for the person ([`Copy::fill`]).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailContext {
    pub copy: Copy,
    pub product: ProductView,
    #[serde(default)]
    pub more: Vec<ProductView>,
    pub links: MailLinks,
    pub locale: Locale,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderedEmail {
    /// One line.
    pub subject: String,
    pub html: String,
    /// The plain-text part.
    pub text: String,
}

/// `List-Id` of a campaign's mails: `<cmp-5.shop.example>`.
pub fn list_id(campaign: CampaignId, shop_url: &str) -> String {
    let host = web_url(shop_url).and_then(|u| u.host_str().map(ToOwned::to_owned)).unwrap_or_else(|| "localhost".into());
    format!("<cmp-{}.{}>", campaign.0, host.trim_matches(['[', ']']))
}

/// A compiled template: HTML and text that only wait for a person.
pub struct EmailTemplate {
    tera: Tera,
    base: Context,
}

/// The per-person part of the context, borrowed.
#[derive(Serialize)]
struct Filled<'a> {
    copy: &'a Copy,
    product: &'a ProductView,
    more: &'a [ProductView],
    links: &'a MailLinks,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Shape {
    kind: EmailKind,
    zh: bool,
    picture: bool,
    more: Vec<bool>,
}

impl Shape {
    fn of(kind: EmailKind, context: &MailContext) -> Self {
        let more = if kind == EmailKind::HeroMore { context.more.iter().map(|p| p.image_url.is_some()).collect() } else { Vec::new() };
        // A row of cards is in step only where all have a picture.
        let all = more.iter().all(|p| *p);
        let more = more.into_iter().map(|_| all).collect();
        Self { kind, zh: context.locale == Locale::Zh, picture: kind != EmailKind::Letter && context.product.image_url.is_some(), more }
    }
}

#[derive(Serialize)]
struct Cell {
    /// The product's place in the person's context.
    name: String,
    picture: bool,
}

impl EmailTemplate {
    fn built_in(shape: &Shape, brand: &BrandKit) -> Result<Self, EmailError> {
        let mut stage = Tera::new();
        stage.autoescape_on(Vec::<&str>::new());
        stage.set_delimiters(Delimiters {
            block_start: "[%".into(),
            block_end: "%]".into(),
            variable_start: "[[".into(),
            variable_end: "]]".into(),
            comment_start: "[#".into(),
            comment_end: "#]".into(),
        })?;
        stage.add_raw_templates([("head", HEAD), ("top", TOP), ("foot", FOOT), ("text", TEXT), ("mail", shape.kind.mjml())])?;
        let mut context = Context::new();
        context.insert("brand", &escaped(brand));
        context.insert("on_primary", &brand.primary.ink());
        context.insert("accent", &brand.surface.readable(brand.accent, 4.5));
        context.insert("link", &brand.surface.readable(brand.primary, 4.5));
        context.insert("zh", &shape.zh);
        context.insert("lang", if shape.zh { "zh-CN" } else { "en" });
        context.insert("picture", &shape.picture);
        let cells: Vec<Cell> =
            shape.more.iter().enumerate().map(|(at, picture)| Cell { name: format!("more[{at}]"), picture: *picture }).collect();
        context.insert("more", &cells);
        for part in ["head", "top", "foot"] {
            let rendered = stage.render(part, &context)?;
            context.insert(part, &rendered);
        }
        let mjml = stage.render("mail", &context)?;
        let text = stage.render("text", &context)?;
        Self::compile(&mjml, &text, brand)
    }

    /// MJML and a text part, both with `{{ … }}` for the person's values, made ready. No file or address is read.
    pub fn compile(mjml: &str, text: &str, brand: &BrandKit) -> Result<Self, EmailError> {
        Self::of_html(&to_html(mjml)?, text, brand)
    }

    /// As [`EmailTemplate::compile`], from HTML that is ready but for the person's values.
    pub(super) fn of_html(html: &str, text: &str, brand: &BrandKit) -> Result<Self, EmailError> {
        let mut tera = Tera::new();
        tera.add_raw_templates([("mail.html", html), ("mail.txt", text)])?;
        let mut base = Context::new();
        base.insert("shop", &brand.name);
        base.insert("postal_address", &title::one_line(&brand.postal_address));
        Ok(Self { tera, base })
    }

    /// Fills the template for one person.
    pub fn render(&self, context: &MailContext) -> Result<RenderedEmail, EmailError> {
        let mut html = Vec::with_capacity(24 * 1024);
        let text = self.render_to(context, &mut html)?;
        let html = String::from_utf8(html).map_err(|e| EmailError::Tera(e.to_string()))?;
        let subject: String = title::one_line(&context.copy.subject).chars().take(MAX_SUBJECT).collect();
        Ok(RenderedEmail { subject, html, text })
    }

    /// Writes the HTML to `out` and returns the text part.
    pub(super) fn render_to(&self, context: &MailContext, out: &mut dyn std::io::Write) -> Result<String, EmailError> {
        if context.more.len() > MAX_MORE {
            return Err(EmailError::TooMany(context.more.len() + 1));
        }
        let filled = Filled { copy: &context.copy, product: &context.product, more: &context.more, links: &context.links };
        let mut person = Context::from_serialize(&filled)?;
        person.extend(self.base.clone());
        self.tera.render_to("mail.html", &person, out)?;
        let text = self.tera.render("mail.txt", &person)?;
        Ok(tidy_text(&text))
    }
}

/// Brand values as they may stand in an attribute or a style.
fn escaped(brand: &BrandKit) -> serde_json::Value {
    serde_json::json!({
        "font": brand.font, "ink": brand.ink, "primary": brand.primary, "background": brand.background, "surface": brand.surface,
        "radius": brand.radius, "logo_url": html_escape::encode_double_quoted_attribute(&brand.logo_url),
        "postal_address": !brand.postal_address.trim().is_empty(),
    })
}

/// MJML to HTML with inlined styles. Neither includes nor remote or local style sheets are followed.
pub(super) fn to_html(mjml: &str) -> Result<String, EmailError> {
    let parsed = mrml::parse(mjml).map_err(|e| EmailError::Mjml(e.to_string()))?;
    let options = mrml::prelude::render::RenderOptions { disable_comments: true, social_icon_origin: None, fonts: HashMap::new() };
    let html = parsed.element.render(&options).map_err(|e| EmailError::Mjml(e.to_string()))?;
    let inliner = css_inline::CSSInliner::options()
        .load_remote_stylesheets(false)
        .keep_style_tags(false)
        .keep_at_rules(true)
        .keep_link_tags(false)
        .build();
    inliner.inline(&html).map_err(|e| EmailError::Css(e.to_string()))
}

/// At most one empty line in a row, none at the end.
fn tidy_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines() {
        // "-- " starts a signature, and its blank belongs to it.
        let line = if line == "-- " { line } else { line.trim_end() };
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out.trim().to_owned() + "\n"
}

/// The compiled templates of one brand. Keep one per brand: the first mail of a shape compiles (a few ms), the rest only fill.
pub struct EmailTemplates {
    brand: BrandKit,
    compiled: RwLock<HashMap<Shape, Arc<EmailTemplate>>>,
}

impl EmailTemplates {
    pub fn new(brand: BrandKit) -> Self {
        Self { brand, compiled: RwLock::default() }
    }

    pub fn brand(&self) -> &BrandKit {
        &self.brand
    }

    /// The mail for one person.
    pub fn render(&self, kind: EmailKind, context: &MailContext) -> Result<RenderedEmail, EmailError> {
        if context.more.len() > MAX_MORE {
            return Err(EmailError::TooMany(context.more.len() + 1));
        }
        let shape = Shape::of(kind, context);
        let known = self.compiled.read().ok().and_then(|map| map.get(&shape).cloned());
        let template = match known {
            Some(template) => template,
            None => {
                let template = Arc::new(EmailTemplate::built_in(&shape, &self.brand)?);
                if let Ok(mut map) = self.compiled.write() {
                    map.insert(shape, template.clone());
                }
                template
            }
        };
        template.render(context)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::copywriter::{Brief, grammar};

    pub fn sample(locale: Locale, more: usize, picture: bool, sale: bool, title: &str) -> MailContext {
        let mut brief: Brief = crate::copywriter::tests::brief(locale);
        brief.title = title.to_owned();
        let copy = grammar::write(&brief, 11).expect("writes").fill(Some("Zoë"), brief.price, locale);
        let view = |n: usize| ProductView {
            title: title::readable(title).expect("readable"),
            price: "€24.90".into(),
            was: sale.then(|| "€39.00".to_owned()),
            image_url: picture.then(|| format!("https://shop.example/p{n}.jpg?a=1&b=2")),
            url: format!("https://m.example/c/{n}"),
        };
        MailContext {
            copy,
            product: view(0),
            more: (1..=more).map(view).collect(),
            links: MailLinks {
                open: "https://m.example/o/x".into(),
                unsubscribe: "https://m.example/u/x".into(),
                preferences: "https://m.example/p/x".into(),
            },
            locale,
        }
    }

    fn brand() -> BrandKit {
        BrandKit { name: "Northwind Home".into(), postal_address: "1 Harbour Street, Springfield".into(), ..BrandKit::default() }
    }

    #[test]
    fn every_template_renders_every_sample() {
        let templates = EmailTemplates::new(brand());
        let long = "SET OF 6 VERY LONG RETROSPOT TEA TOWELS WITH BIRDS, BEES AND A REALLY QUITE UNREASONABLE NUMBER OF WORDS IN ITS TITLE";
        for kind in EmailKind::ALL {
            for (locale, title) in
                [(Locale::En, "WHITE HANGING HEART T-LIGHT HOLDER"), (Locale::En, long), (Locale::Zh, "手工陶瓷马克杯350ml")]
            {
                for more in 0..=MAX_MORE {
                    for (picture, sale) in [(true, false), (false, true), (true, true)] {
                        let context = sample(locale, more, picture, sale, title);
                        let mail = templates.render(kind, &context).expect("renders");
                        for part in [&mail.html, &mail.text, &mail.subject] {
                            assert!(
                                !part.contains("{{")
                                    && !part.contains("{%")
                                    && !part.contains("[[")
                                    && !part.contains("[%")
                                    && !part.trim().is_empty()
                            );
                        }
                        assert!(mail.html.contains("https://m.example/u/x") && mail.html.contains("https://m.example/o/x"));
                        assert!(mail.html.contains("prefers-color-scheme"), "dark mode survives the inlining");
                        assert!(mail.html.contains("1 Harbour Street"));
                        assert!(mail.text.contains("https://m.example/u/x") && mail.text.contains("https://m.example/c/0"));
                        assert!(!mail.html.contains("fonts.googleapis") && !mail.html.contains("<link"));
                        assert_eq!(mail.html.contains("line-through"), sale);
                        assert_eq!(
                            mail.text.contains("/c/1"),
                            kind == EmailKind::HeroMore && more > 0,
                            "both parts show the same products"
                        );
                        let pictures =
                            usize::from(picture && kind != EmailKind::Letter) * (1 + if kind == EmailKind::HeroMore { more } else { 0 });
                        assert_eq!(mail.html.matches("shop.example/p").count(), pictures, "{kind:?} {more}");
                        assert_eq!(mail.html.matches("<img").count(), mail.html.matches(" alt=").count());
                        assert!(mail.html.len() < 60_000, "{} bytes: mail programs clip above 102 kB", mail.html.len());
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_in_a_product_or_name_becomes_markup_or_a_header() {
        let templates = EmailTemplates::new(BrandKit { name: "A & <b>B</b>".into(), ..brand() });
        let mut context = sample(Locale::En, 2, true, true, "Mug");
        let attack = "\"><script>alert(1)</script>{{ 7*7 }}<img src=x onerror=alert(1)>";
        context.product.title = attack.into();
        context.more[0].title = attack.into();
        context.product.image_url = Some(format!("https://x.example/{attack}"));
        context.copy.headline = attack.into();
        context.copy.body = format!("{attack}\nsecond line");
        context.copy.subject = format!("Hello\r\nBcc: everyone@example.test {attack}");
        for kind in EmailKind::ALL {
            let mail = templates.render(kind, &context).expect("renders");
            assert!(!mail.html.contains("<script>") && !mail.html.contains("<img src=x") && !mail.html.contains("<b>B"), "{}", mail.html);
            assert!(!mail.html.contains(">49<") && !mail.html.contains("49&lt;"));
            assert!(!mail.subject.contains(['\r', '\n']));
            assert!(mail.html.contains("second line"));
        }
    }

    #[test]
    fn a_list_id_is_made_of_the_shops_host() {
        assert_eq!(list_id(CampaignId(5), "https://shop.example/start?x"), "<cmp-5.shop.example>");
        assert_eq!(list_id(CampaignId(5), "nonsense\r\nX: y"), "<cmp-5.localhost>");
    }

    /// Samples for the eye, and how long one mail takes: `MARQUEE_SAMPLES=folder cargo test --lib mail_samples -- --nocapture`.
    #[test]
    fn mail_samples() {
        let Some(folder) = std::env::var_os("MARQUEE_SAMPLES").map(std::path::PathBuf::from) else {
            eprintln!("skipped: MARQUEE_SAMPLES names no folder");
            return;
        };
        let templates = EmailTemplates::new(brand());
        for kind in EmailKind::ALL {
            for (locale, title) in [(Locale::En, "WHITE HANGING HEART T-LIGHT HOLDER"), (Locale::Zh, "手工陶瓷马克杯350ml")] {
                let context = sample(locale, 3, true, true, title);
                let mail = templates.render(kind, &context).expect("renders");
                let name = format!("mail-{kind:?}-{locale}").to_lowercase();
                std::fs::write(folder.join(format!("{name}.html")), &mail.html).expect("written");
                std::fs::write(folder.join(format!("{name}.txt")), format!("{}\n\n{}", mail.subject, mail.text)).expect("written");
                let started = std::time::Instant::now();
                for _ in 0..500 {
                    templates.render(kind, &context).expect("renders");
                }
                eprintln!("{kind:?} {locale}: {} bytes of HTML, {:?} a mail", mail.html.len(), started.elapsed() / 500);
            }
        }
    }
}
