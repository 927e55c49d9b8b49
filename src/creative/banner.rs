//! Banners: copy, product and brand laid out by measured glyphs, drawn as SVG and rendered to PNG.

use std::io::Cursor;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use image::{DynamicImage, GenericImageView as _, ImageReader, Limits, imageops};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{ImageHrefResolver, ImageKind, Options, Tree};
use serde::{Deserialize, Serialize};
use tera::{Context, Tera};

use super::brand::{BrandKit, Colour};
use super::fonts::{self, Fonts};
use super::layout::{self, Placed};
use crate::copywriter::{Finding, FindingKind, Severity};

/// Bump when the drawing changes, so that stored banners are drawn anew.
pub const VERSION: u32 = 1;

/// Sizes that are drawn, in CSS pixels (IAB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Format {
    #[serde(rename = "300x250")]
    MediumRectangle,
    #[serde(rename = "336x280")]
    LargeRectangle,
    #[serde(rename = "728x90")]
    Leaderboard,
    #[serde(rename = "970x250")]
    Billboard,
    #[serde(rename = "320x50")]
    MobileBanner,
    #[serde(rename = "320x100")]
    LargeMobile,
    #[serde(rename = "160x600")]
    Skyscraper,
    #[serde(rename = "300x600")]
    HalfPage,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("“{0}” is not a banner size that is drawn: 300x250, 336x280, 728x90, 970x250, 320x50, 320x100, 160x600, 300x600")]
pub struct UnknownFormat(pub String);

impl Format {
    pub const ALL: [Format; 8] = [
        Format::MediumRectangle,
        Format::LargeRectangle,
        Format::Leaderboard,
        Format::Billboard,
        Format::MobileBanner,
        Format::LargeMobile,
        Format::Skyscraper,
        Format::HalfPage,
    ];
    pub const fn size(self) -> (u32, u32) {
        match self {
            Self::MediumRectangle => (300, 250),
            Self::LargeRectangle => (336, 280),
            Self::Leaderboard => (728, 90),
            Self::Billboard => (970, 250),
            Self::MobileBanner => (320, 50),
            Self::LargeMobile => (320, 100),
            Self::Skyscraper => (160, 600),
            Self::HalfPage => (300, 600),
        }
    }
    pub fn of_size(width: u32, height: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.size() == (width, height))
    }
}
impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (w, h) = self.size();
        write!(f, "{w}x{h}")
    }
}
impl FromStr for Format {
    type Err = UnknownFormat;
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|f| f.to_string() == text).ok_or_else(|| UnknownFormat(text.chars().take(40).collect()))
    }
}

/// What a banner says. All plain text; the copy's slots are already filled.
#[derive(Clone, Debug)]
pub struct Banner<'a> {
    pub headline: &'a str,
    pub body: &'a str,
    pub cta: &'a str,
    pub price: &'a str,
    /// The price before the reduction, struck through.
    pub was: Option<&'a str>,
    pub shop: &'a str,
    /// The mark that says what it is: “Ad”, “广告”.
    pub ad_mark: &'a str,
    pub picture: Option<&'a ProductPicture>,
}

#[derive(Debug, thiserror::Error)]
pub enum BannerError {
    /// The fonts at hand would draw empty boxes.
    #[error("no font here can draw {0:?}: install Noto Sans CJK (Debian: fonts-noto-cjk)")]
    Glyphs(Vec<char>),
    #[error("the banner's SVG is broken: {0}")]
    Svg(String),
    #[error("the picture cannot be decoded: {0}")]
    Picture(String),
}

/// A drawn banner.
#[derive(Clone, Debug)]
pub struct Drawn {
    pub png: Vec<u8>,
    pub width: u32,
    pub height: u32,
    /// Warnings only: text that was cut, a picture that could not be used.
    pub findings: Vec<Finding>,
}

/// A decoded product picture.
#[derive(Debug)]
pub struct ProductPicture {
    image: DynamicImage,
    /// On a plain light ground (or cut out): shown whole. Otherwise it fills its box.
    pub cut_out: bool,
}

const MAX_PICTURE_SIDE: u32 = 8_192;
const MAX_PICTURE_MEMORY: u64 = 192 * 1024 * 1024;

impl ProductPicture {
    /// Decodes under limits. Slow: keep it off async threads and out of transactions.
    pub fn decode(bytes: &[u8]) -> Result<Self, BannerError> {
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_PICTURE_SIDE);
        limits.max_image_height = Some(MAX_PICTURE_SIDE);
        limits.max_alloc = Some(MAX_PICTURE_MEMORY);
        let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| BannerError::Picture(e.to_string()))?;
        reader.limits(limits);
        let image = reader.decode().map_err(|e| BannerError::Picture(e.to_string()))?;
        if image.width() < 8 || image.height() < 8 {
            return Err(BannerError::Picture("it is smaller than 8 pixels".into()));
        }
        // Product photos are far larger than any box: shrink once, so that every format is quick.
        let image = if image.width().max(image.height()) > 1_200 { image.thumbnail(1_200, 1_200) } else { image };
        let cut_out = on_plain_ground(&image);
        Ok(Self { image, cut_out })
    }

    /// The picture in exactly `w` × `h` pixels: cropped from the middle (a little above it, where heads are), or whole.
    fn boxed(&self, w: u32, h: u32) -> DynamicImage {
        let (iw, ih) = self.image.dimensions();
        let scale = f64::max(f64::from(w) / f64::from(iw), f64::from(h) / f64::from(ih));
        let (cw, ch) = ((f64::from(w) / scale).round() as u32, (f64::from(h) / scale).round() as u32);
        let (cw, ch) = (cw.clamp(1, iw), ch.clamp(1, ih));
        let (x, y) = ((iw - cw) / 2, (ih - ch) * 2 / 5);
        self.image.crop_imm(x, y, cw, ch).resize_exact(w.max(1), h.max(1), imageops::FilterType::CatmullRom)
    }
    fn whole(&self, w: u32, h: u32) -> DynamicImage {
        self.image.resize(w.max(1), h.max(1), imageops::FilterType::CatmullRom)
    }
}

/// Transparent or near-white at the rim.
fn on_plain_ground(image: &DynamicImage) -> bool {
    let (w, h) = image.dimensions();
    let probes = 24;
    let mut plain = 0;
    for i in 0..probes {
        let at = |len: u32| (len - 1) * i / (probes - 1);
        for (x, y) in [(at(w), 0), (at(w), h - 1), (0, at(h)), (w - 1, at(h))] {
            let [r, g, b, a] = image.get_pixel(x, y).0;
            plain += u32::from(a < 24 || (r > 236 && g > 236 && b > 236));
        }
    }
    plain * 10 >= probes * 4 * 8
}

#[derive(Serialize)]
struct PictureBox {
    x: f32,
    y: f32,
    w: f32,
    h: f32,
    r: f32,
    fill: Colour,
    ix: f32,
    iy: f32,
    iw: u32,
    ih: u32,
}

fn template() -> &'static Tera {
    static TERA: OnceLock<Tera> = OnceLock::new();
    TERA.get_or_init(|| {
        let mut tera = Tera::new();
        tera.autoescape_on(vec![".svg"]);
        tera.add_raw_template("banner.svg", include_str!("../../templates/banner/banner.svg"))
            .unwrap_or_else(|e| unreachable!("a banner template of our own: {e}"));
        tera
    })
}

/// Draws one banner. CPU-bound (a few ms): keep it off async threads.
pub fn draw(banner: &Banner<'_>, brand: &BrandKit, format: Format) -> Result<Drawn, BannerError> {
    let all = [banner.headline, banner.body, banner.cta, banner.price, banner.was.unwrap_or(""), banner.shop, banner.ad_mark, "…"].concat();
    let fonts = fonts::for_text(&all).map_err(BannerError::Glyphs)?;
    let placed = layout::place(banner, brand, format, fonts);
    let picture = banner.picture.zip(placed.picture.as_ref()).map(|(picture, frame)| {
        let (w, h) = (frame.w.round() as u32, frame.h.round() as u32);
        let margin = if picture.cut_out { (w.min(h) / 14).max(3) } else { 0 };
        let image =
            if picture.cut_out { picture.whole(w.saturating_sub(2 * margin), h.saturating_sub(2 * margin)) } else { picture.boxed(w, h) };
        let (iw, ih) = image.dimensions();
        let shown = PictureBox {
            x: frame.x,
            y: frame.y,
            w: frame.w,
            h: frame.h,
            r: frame.r,
            fill: if picture.cut_out { Colour::WHITE } else { placed.ground },
            ix: frame.x + (frame.w - iw as f32) / 2.0,
            iy: frame.y + (frame.h - ih as f32) / 2.0,
            iw,
            ih,
        };
        (image, shown)
    });
    let svg = svg(&placed, picture.as_ref().map(|(_, shown)| shown), fonts, format)?;
    let image = picture.map(|(image, _)| encode(&image)).transpose()?;
    render(&svg, fonts, image, format, placed.findings)
}

fn encode(image: &DynamicImage) -> Result<Arc<Vec<u8>>, BannerError> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new_with_quality(
        &mut bytes,
        image::codecs::png::CompressionType::Fast,
        image::codecs::png::FilterType::NoFilter,
    );
    DynamicImage::ImageRgba8(image.to_rgba8()).write_with_encoder(encoder).map_err(|e| BannerError::Picture(e.to_string()))?;
    Ok(Arc::new(bytes))
}

fn svg(placed: &Placed, picture: Option<&PictureBox>, fonts: &Fonts, format: Format) -> Result<String, BannerError> {
    let (w, h) = format.size();
    let nothing = PictureBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0, r: 0.0, fill: placed.ground, ix: 0.0, iy: 0.0, iw: 1, ih: 1 };
    let mut context = Context::new();
    context.insert("w", &w);
    context.insert("h", &h);
    context.insert("ground", &placed.ground);
    context.insert("ground2", &placed.ground2);
    context.insert("edge", &placed.edge);
    context.insert("circles", &placed.circles);
    context.insert("picture", &picture.is_some());
    context.insert("pic", picture.unwrap_or(&nothing));
    context.insert("badge", &placed.badge);
    context.insert("button", &placed.button);
    context.insert("texts", &placed.texts);
    context.insert("family", fonts.family);
    template().render("banner.svg", &context).map_err(|e| BannerError::Svg(e.to_string()))
}

fn render(svg: &str, fonts: &Fonts, picture: Option<Arc<Vec<u8>>>, format: Format, findings: Vec<Finding>) -> Result<Drawn, BannerError> {
    let (width, height) = format.size();
    let options = Options {
        font_family: "Noto Sans".into(),
        fontdb: fonts.db.clone(),
        // Nothing is ever read from a file or a data URL: the only picture is the one we hold.
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(move |href, _| (href == "marquee:picture").then(|| picture.clone().map(ImageKind::PNG)).flatten()),
        },
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|e| BannerError::Svg(e.to_string()))?;
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| BannerError::Svg("no such size".into()))?;
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    let png = pixels.encode_png().map_err(|e| BannerError::Svg(e.to_string()))?;
    Ok(Drawn { png, width, height, findings })
}

pub(super) fn cut_finding(field: &str, text: &str) -> Finding {
    Finding {
        kind: FindingKind::Length,
        severity: Severity::Warning,
        field: field.into(),
        text: text.chars().take(120).collect(),
        message: "It was shortened to fit this size.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::creative::fonts::Weight;

    fn photo() -> ProductPicture {
        let mut image = image::RgbImage::new(400, 533);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            *pixel = image::Rgb([(x / 2) as u8, (y / 3) as u8, 120]);
        }
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(image).write_to(&mut bytes, image::ImageFormat::Png).expect("png");
        ProductPicture::decode(&bytes.into_inner()).expect("decodes")
    }

    fn texts(long: bool) -> (String, String) {
        if long {
            (
                "Donaudampfschifffahrtsgesellschaft".into(),
                "A rather long sentence about a White Hanging Heart T-Light Holder that goes on and on.".into(),
            )
        } else {
            ("Picked for you".into(), "Mug for €24.90. Have a look.".into())
        }
    }

    #[test]
    fn every_format_is_drawn_and_no_text_leaves_it() {
        let photo = photo();
        for format in Format::ALL {
            for picture in [None, Some(&photo)] {
                for long in [false, true] {
                    for was in [None, Some("€139.00")] {
                        let (headline, body) = texts(long);
                        let banner = Banner {
                            headline: &headline,
                            body: &body,
                            cta: "View details",
                            price: "€1,124.90",
                            was,
                            shop: "Northwind Home and Garden",
                            ad_mark: "Ad",
                            picture,
                        };
                        let brand = BrandKit::default();
                        let fonts = fonts::for_text("A…").expect("latin");
                        let placed = layout::place(&banner, &brand, format, fonts);
                        let (w, h) = format.size();
                        let json = serde_json::to_value(&placed.texts).expect("texts");
                        for t in json.as_array().expect("list") {
                            let get = |k: &str| t[k].as_f64().expect("number") as f32;
                            let weight = if get("weight") > 500.0 { Weight::Bold } else { Weight::Regular };
                            let wide = fonts.width(t["text"].as_str().expect("text"), weight, get("size"));
                            let left = match t["anchor"].as_str() {
                                Some("end") => get("x") - wide,
                                Some("middle") => get("x") - wide / 2.0,
                                _ => get("x"),
                            };
                            assert!(
                                left >= 0.0 && left + wide <= w as f32 && get("y") <= h as f32 - 2.0 && get("y") - get("size") * 0.8 >= 0.0,
                                "{format} {picture} {t}",
                                picture = picture.is_some()
                            );
                        }
                        let drawn = draw(&banner, &brand, format).expect("draws");
                        let decoded = image::load_from_memory(&drawn.png).expect("a png");
                        assert_eq!(decoded.dimensions(), (w, h));
                    }
                }
            }
        }
    }

    #[test]
    fn text_is_text_and_no_file_is_read() {
        let attack = "</text><image href=\"file:///etc/passwd\"/><text>&x;";
        let banner =
            Banner { headline: attack, body: attack, cta: "Go", price: "€1", was: None, shop: attack, ad_mark: "Ad", picture: None };
        assert!(draw(&banner, &BrandKit::default(), Format::MediumRectangle).is_ok());
    }

    #[test]
    fn what_no_font_draws_is_refused() {
        let banner =
            Banner { headline: "\u{10FFFD}", body: "x", cta: "Go", price: "€1", was: None, shop: "S", ad_mark: "Ad", picture: None };
        assert!(matches!(draw(&banner, &BrandKit::default(), Format::MediumRectangle), Err(BannerError::Glyphs(_))));
    }

    #[test]
    fn broken_and_oversized_pictures_are_refused() {
        assert!(ProductPicture::decode(b"not a picture").is_err());
        let mut bomb = Cursor::new(Vec::new());
        DynamicImage::new_luma8(9_000, 2).write_to(&mut bomb, image::ImageFormat::Png).expect("png");
        assert!(ProductPicture::decode(&bomb.into_inner()).is_err());
    }

    /// Draws samples for the eye: `MARQUEE_SAMPLES=folder cargo test --lib banner_samples`; `MARQUEE_SAMPLE_PHOTO` names a photo.
    #[test]
    fn banner_samples() {
        let Some(folder) = std::env::var_os("MARQUEE_SAMPLES").map(std::path::PathBuf::from) else {
            eprintln!("skipped: MARQUEE_SAMPLES names no folder");
            return;
        };
        let photo =
            std::env::var_os("MARQUEE_SAMPLE_PHOTO").map(|p| ProductPicture::decode(&std::fs::read(p).expect("photo")).expect("decodes"));
        let mut sheet = image::RgbaImage::from_pixel(1_480, 3_000, image::Rgba([150, 150, 150, 255]));
        let (mut x, mut y, mut row) = (10_i64, 10_i64, 0_i64);
        for format in Format::ALL {
            for (name, picture, was, zh) in
                [("photo", photo.as_ref(), Some("€39.00"), false), ("plain", None, None, false), ("zh", photo.as_ref(), None, true)]
            {
                let banner = if zh {
                    Banner {
                        headline: "也许你会喜欢",
                        body: "手工陶瓷马克杯 350ml，我们觉得是你的风格。",
                        cta: "查看推荐",
                        price: "€24.90",
                        was,
                        shop: "木槿小店",
                        ad_mark: "广告",
                        picture,
                    }
                } else {
                    Banner {
                        headline: "We think you'll like this",
                        body: "White Hanging Heart Dress: we think it's your kind of thing.",
                        cta: "Take a look",
                        price: "€24.90",
                        was,
                        shop: "Northwind",
                        ad_mark: "Ad",
                        picture,
                    }
                };
                match draw(&banner, &BrandKit::default(), format) {
                    Ok(drawn) => {
                        let (w, h) = (i64::from(drawn.width), i64::from(drawn.height));
                        if x + w > 1_470 {
                            (x, y, row) = (10, y + row + 10, 0);
                        }
                        imageops::overlay(&mut sheet, &image::load_from_memory(&drawn.png).expect("png"), x, y);
                        (x, row) = (x + w + 10, row.max(h));
                        std::fs::write(folder.join(format!("{format}-{name}.png")), drawn.png).expect("written");
                    }
                    Err(e) => eprintln!("{format} {name}: {e}"),
                }
            }
        }
        sheet.save(folder.join("all.png")).expect("written");
    }
}
