//! Where everything stands in a banner: three families of layouts (side by side, strip, tower), each with and without a picture.

use serde::Serialize;

use super::banner::{Banner, Format, cut_finding};
use super::brand::{BrandKit, Colour};
use super::fonts::{Fonts, Weight};
use crate::copywriter::Finding;

#[derive(Clone, Debug, Serialize)]
pub(super) struct TextItem {
    x: f32,
    y: f32,
    size: f32,
    weight: u16,
    fill: Colour,
    anchor: &'static str,
    strike: bool,
    text: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Rounded {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
    pub r: f32,
    pub fill: Colour,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Circle {
    x: f32,
    y: f32,
    r: f32,
    fill: Colour,
    opacity: f32,
}

/// A banner with every box placed and every line measured.
pub(super) struct Placed {
    pub ground: Colour,
    pub ground2: Colour,
    pub edge: Colour,
    pub circles: Vec<Circle>,
    pub picture: Option<Rounded>,
    pub badge: Option<Rounded>,
    pub button: Rounded,
    pub texts: Vec<TextItem>,
    pub findings: Vec<Finding>,
}

/// Colours of one banner: quiet ground where there is a picture, brand ground where the words stand alone.
struct Palette {
    ground: Colour,
    ground2: Colour,
    ink: Colour,
    soft: Colour,
    price: Colour,
    button: Colour,
    button_ink: Colour,
}

impl Palette {
    fn of(brand: &BrandKit, picture: bool) -> Self {
        if picture {
            let ground = brand.surface;
            let ink = ground.readable(brand.ink, 4.5);
            let button = if ground.contrast(brand.primary) >= 1.6 { brand.primary } else { ink };
            Self {
                ground,
                ground2: ground.mix(brand.primary, 0.05),
                ink,
                soft: ground.readable(ink.mix(ground, 0.32), 4.5),
                price: ground.readable(brand.accent, 4.5),
                button,
                button_ink: button.ink(),
            }
        } else {
            let ground = brand.primary;
            let ink = ground.ink();
            let dark = ink == Colour::WHITE;
            let ground2 = ground.mix(if dark { Colour(0, 0, 0) } else { Colour::WHITE }, 0.25);
            let button = if ground.contrast(brand.surface) >= 3.0 { brand.surface } else { ink };
            Self {
                ground,
                ground2,
                ink,
                soft: ground.readable(ink.mix(ground, 0.18), 4.5),
                price: ink,
                button,
                button_ink: button.readable(brand.primary, 4.5),
            }
        }
    }
}

struct Canvas<'a> {
    fonts: &'a Fonts,
    texts: Vec<TextItem>,
    findings: Vec<Finding>,
}

impl Canvas<'_> {
    fn put(&mut self, text: &str, x: f32, y: f32, size: f32, weight: Weight, fill: Colour, anchor: &'static str) {
        let weight = if weight == Weight::Bold { 700 } else { 400 };
        self.texts.push(TextItem { x, y, size, weight, fill, anchor, strike: false, text: text.to_owned() });
    }
    /// Wrapped text from `top` down. Returns the y below its last line.
    fn block(
        &mut self,
        field: &str,
        text: &str,
        at: (f32, f32),
        width: f32,
        lines: usize,
        sizes: &[f32],
        weight: Weight,
        fill: Colour,
    ) -> f32 {
        if text.is_empty() || lines == 0 {
            return at.1;
        }
        let fitted = self.fonts.fit(text, weight, sizes, width, lines);
        if fitted.cut {
            self.findings.push(cut_finding(field, text));
        }
        let leading = fitted.size * if weight == Weight::Bold { 1.2 } else { 1.36 };
        let mut y = at.1 + fitted.size * 0.92;
        for line in &fitted.lines {
            self.put(line, at.0, y, fitted.size, weight, fill, "start");
            y += leading;
        }
        y - leading + fitted.size * 0.28
    }
    /// Price, and beside it the struck old one where both fit. Returns its width.
    fn price(&mut self, banner: &Banner<'_>, x: f32, y: f32, size: f32, width: f32, colours: &Palette) -> f32 {
        let mut size = size;
        while size > 9.0 && self.fonts.width(banner.price, Weight::Bold, size) > width {
            size -= 1.0;
        }
        let fill = if banner.was.is_some() { colours.price } else { colours.ink };
        self.put(banner.price, x, y, size, Weight::Bold, fill, "start");
        let mut used = self.fonts.width(banner.price, Weight::Bold, size);
        if let Some(was) = banner.was {
            let small = (size * 0.68).max(9.0);
            let wide = self.fonts.width(was, Weight::Regular, small);
            if used + 7.0 + wide <= width {
                self.put(was, x + used + 7.0, y, small, Weight::Regular, colours.soft, "start");
                if let Some(last) = self.texts.last_mut() {
                    last.strike = true;
                }
                used += 7.0 + wide;
            }
        }
        used
    }
    fn button(&mut self, cta: &str, x: f32, y: f32, w: f32, h: f32, brand: &BrandKit, colours: &Palette) -> Rounded {
        let sizes = [h * 0.42, h * 0.38, h * 0.34, h * 0.3, 9.0];
        let fitted = self.fonts.fit(cta, Weight::Bold, &sizes, w - 12.0, 1);
        if fitted.cut {
            self.findings.push(cut_finding("cta", cta));
        }
        let text = fitted.lines.first().cloned().unwrap_or_default();
        self.put(&text, x + w / 2.0, y + h / 2.0 + fitted.size * 0.36, fitted.size, Weight::Bold, colours.button_ink, "middle");
        Rounded { x, y, w, h, r: f32::from(brand.radius).min(h / 2.0), fill: colours.button }
    }
    /// Moves what was put since `from` down by part of the room below it, so that words without a picture do not hang at the top.
    fn settle(&mut self, from: usize, bottom: f32, floor: f32, share: f32) {
        let by = ((floor - bottom) * share).max(0.0);
        for text in self.texts.iter_mut().skip(from) {
            text.y += by;
        }
    }
    /// Shop at the left, the ad mark at the right.
    fn label(&mut self, banner: &Banner<'_>, x: f32, y: f32, width: f32, size: f32, colours: &Palette) {
        let mark = self.fonts.width(banner.ad_mark, Weight::Regular, size * 0.9);
        let fitted = self.fonts.fit(banner.shop, Weight::Bold, &[size, size - 1.0], width - mark - 8.0, 1);
        if let Some(line) = fitted.lines.first() {
            self.put(line, x, y, fitted.size, Weight::Bold, colours.soft, "start");
        }
        self.put(banner.ad_mark, x + width, y, size * 0.9, Weight::Regular, colours.soft, "end");
    }
}

/// Places a banner's parts for one format.
pub(super) fn place(banner: &Banner<'_>, brand: &BrandKit, format: Format, fonts: &Fonts) -> Placed {
    let colours = Palette::of(brand, banner.picture.is_some());
    let mut canvas = Canvas { fonts, texts: Vec::new(), findings: Vec::new() };
    let (w, h) = format.size();
    let (w, h) = (w as f32, h as f32);
    let (picture, button) = match format {
        Format::MediumRectangle | Format::LargeRectangle | Format::Billboard => side(&mut canvas, banner, brand, &colours, w, h),
        Format::Leaderboard | Format::MobileBanner | Format::LargeMobile => strip(&mut canvas, banner, brand, &colours, w, h),
        Format::Skyscraper | Format::HalfPage => tower(&mut canvas, banner, brand, &colours, w, h),
    };
    let circles = if banner.picture.is_some() { Vec::new() } else { circles(w, h, colours.ink) };
    Placed {
        ground: colours.ground,
        ground2: colours.ground2,
        edge: colours.ink,
        circles,
        picture: banner.picture.map(|_| picture),
        badge: None,
        button,
        texts: canvas.texts,
        findings: canvas.findings,
    }
}

/// Large soft shapes that give a banner without a picture some depth.
fn circles(w: f32, h: f32, ink: Colour) -> Vec<Circle> {
    let long = w.max(h);
    vec![
        Circle { x: w * 0.96, y: h * 0.04, r: long * 0.24, fill: ink, opacity: 0.07 },
        Circle { x: w * 0.84, y: h * 1.02, r: long * 0.16, fill: ink, opacity: 0.05 },
        Circle { x: w * 0.02, y: h * 1.05, r: long * 0.2, fill: ink, opacity: 0.04 },
    ]
}

fn side(canvas: &mut Canvas<'_>, banner: &Banner<'_>, brand: &BrandKit, colours: &Palette, w: f32, h: f32) -> (Rounded, Rounded) {
    let wide = w > 600.0;
    let pad = if wide { 34.0 } else { (w * 0.05).round() };
    let pic_w = if banner.picture.is_none() {
        0.0
    } else if wide {
        (w * 0.34).round()
    } else {
        (w * 0.43).round()
    };
    let frame = Rounded { x: 0.0, y: 0.0, w: pic_w.max(1.0), h, r: 0.0, fill: colours.ground };
    let x = pic_w + pad;
    let width = w - x - pad;
    let label = if wide { 14.0 } else { 11.0 };
    canvas.label(banner, x, pad + label * 0.8, width, label, colours);
    let button_h = if wide { 48.0 } else { (h * 0.14).round() };
    let button_w = if wide {
        190.0
    } else if banner.picture.is_some() {
        width
    } else {
        width.min(150.0)
    };
    let button_y = h - pad - button_h;
    let price_size = if wide { 30.0 } else { 19.0 };
    // Without a picture or in a wide format, the price stands beside the button; else above it.
    let beside = wide || banner.picture.is_none();
    let button = canvas.button(banner.cta, x, button_y, button_w, button_h, brand, colours);
    let floor = if beside {
        canvas.price(
            banner,
            x + button_w + 14.0,
            button_y + button_h / 2.0 + price_size * 0.36,
            price_size,
            width - button_w - 14.0,
            colours,
        );
        button_y - 10.0
    } else {
        let y = button_y - 11.0;
        canvas.price(banner, x, y, price_size, width, colours);
        y - price_size * 0.95
    };
    let top = pad + label + if wide { 18.0 } else { 9.0 };
    let sizes: &[f32] = if wide {
        &[40.0, 36.0, 32.0, 28.0, 24.0]
    } else if banner.picture.is_some() {
        &[22.0, 20.0, 18.0, 17.0, 16.0, 15.0, 14.0]
    } else {
        &[30.0, 28.0, 26.0, 24.0, 22.0, 20.0, 18.0]
    };
    let from = canvas.texts.len();
    // Two calm lines rather than three large ones.
    let calm = canvas.fonts.fit(banner.headline, Weight::Bold, &[18.0, 17.0, 16.0], width, 2);
    let (lines, sizes) = match (wide, banner.picture.is_some()) {
        (true, _) => (2, sizes),
        (false, true) if !calm.cut => (2, &sizes[1..]),
        _ => (3, sizes),
    };
    let below = canvas.block("headline", banner.headline, (x, top), width, lines, sizes, Weight::Bold, colours.ink);
    let body_sizes: &[f32] = if wide {
        &[19.0, 18.0, 17.0, 16.0]
    } else if banner.picture.is_some() {
        &[13.0, 12.5, 12.0, 11.5, 11.0]
    } else {
        &[15.0, 14.0, 13.0, 12.0]
    };
    let bottom = body(canvas, banner, (x, below + if wide { 10.0 } else { 5.0 }), width, floor, body_sizes, 4, colours);
    if banner.picture.is_none() || wide {
        canvas.settle(from, bottom, floor, 0.4);
    }
    (frame, button)
}

/// The body in the room that is left; nothing at all rather than a crushed line.
fn body(
    canvas: &mut Canvas<'_>,
    banner: &Banner<'_>,
    at: (f32, f32),
    width: f32,
    floor: f32,
    sizes: &[f32],
    most: usize,
    colours: &Palette,
) -> f32 {
    let mut choice = None;
    for size in sizes {
        let lines = (((floor - at.1) / (size * 1.36)).floor().max(0.0) as usize).min(most);
        if lines == 0 {
            continue;
        }
        let fitted = canvas.fonts.fit(banner.body, Weight::Regular, &[*size], width, lines);
        choice = Some((*size, lines));
        if !fitted.cut {
            break;
        }
    }
    match choice {
        Some((size, lines)) => canvas.block("body", banner.body, at, width, lines, &[size], Weight::Regular, colours.soft),
        None => {
            canvas.findings.push(cut_finding("body", banner.body));
            at.1
        }
    }
}

fn strip(canvas: &mut Canvas<'_>, banner: &Banner<'_>, brand: &BrandKit, colours: &Palette, w: f32, h: f32) -> (Rounded, Rounded) {
    let small = w < 600.0;
    let flat = h < 60.0;
    let pad = if flat {
        8.0
    } else if small {
        12.0
    } else {
        18.0
    };
    let pic_w = if banner.picture.is_none() {
        0.0
    } else if flat || !small {
        (h * 1.15).round()
    } else {
        h
    };
    let frame = Rounded { x: 0.0, y: 0.0, w: pic_w.max(1.0), h, r: 0.0, fill: colours.ground };
    let x = pic_w + pad;
    let button_h = if flat {
        28.0
    } else if small {
        30.0
    } else {
        40.0
    };
    let cta = canvas.fonts.width(banner.cta, Weight::Bold, button_h * 0.42) + if small { 20.0 } else { 40.0 };
    let button_w = cta.clamp(if small { 64.0 } else { 120.0 }, if small { 104.0 } else { 190.0 });
    let button_x = w - pad - button_w;
    let stacked = small && !flat;
    let button_y = if stacked { h - pad - button_h } else { (h - button_h) / 2.0 + if flat { 3.0 } else { 0.0 } };
    let button = canvas.button(banner.cta, button_x, button_y, button_w, button_h, brand, colours);
    if flat {
        canvas.put(banner.ad_mark, w - 5.0, 8.5, 7.0, Weight::Regular, colours.soft, "end");
        let width = button_x - x - 8.0;
        canvas.block("headline", banner.headline, (x, 6.5), width, 1, &[15.0, 14.0, 13.0, 12.0, 11.0], Weight::Bold, colours.ink);
        let used = canvas.price(banner, x, 40.0, 13.0, width, colours);
        let room = width - used - 10.0;
        if room > 46.0 && canvas.fonts.width(banner.shop, Weight::Regular, 10.0) <= room {
            canvas.put(banner.shop, x + used + 10.0, 39.5, 10.0, Weight::Regular, colours.soft, "start");
        }
    } else if small {
        let width = w - x - pad;
        canvas.label(banner, x, 17.0, width, 9.0, colours);
        let below = canvas.block(
            "headline",
            banner.headline,
            (x, 23.0),
            width,
            1,
            &[18.0, 17.0, 16.0, 15.0, 14.0, 13.0, 12.0],
            Weight::Bold,
            colours.ink,
        );
        let left = button_x - x - 10.0;
        let price_y = h - pad - 4.0;
        canvas.price(banner, x, price_y, 16.0, left, colours);
        // One short line, or none: half a sentence says nothing.
        if canvas.fonts.fit(banner.body, Weight::Regular, &[10.0], left, 1).cut {
            canvas.findings.push(cut_finding("body", banner.body));
        } else {
            body(canvas, banner, (x, below + 1.0), left, price_y - 14.0, &[11.0, 10.5, 10.0], 1, colours);
        }
    } else {
        let price_size = 24.0;
        let price_w = canvas
            .fonts
            .width(banner.price, Weight::Bold, price_size)
            .max(banner.was.map_or(0.0, |t| canvas.fonts.width(t, Weight::Regular, 14.0)));
        let price_x = button_x - 20.0 - price_w;
        let mid = h / 2.0;
        if let Some(was) = banner.was {
            canvas.put(was, button_x - 20.0, mid - 10.0, 14.0, Weight::Regular, colours.soft, "end");
            if let Some(last) = canvas.texts.last_mut() {
                last.strike = true;
            }
            canvas.put(banner.price, button_x - 20.0, mid + 17.0, price_size, Weight::Bold, colours.price, "end");
        } else {
            canvas.put(banner.price, button_x - 20.0, mid + price_size * 0.36, price_size, Weight::Bold, colours.ink, "end");
        }
        let width = price_x - x - 18.0;
        canvas.put(banner.ad_mark, w - 6.0, 11.0, 9.0, Weight::Regular, colours.soft, "end");
        let fitted = canvas.fonts.fit(banner.shop, Weight::Bold, &[11.0], width, 1);
        canvas.put(&fitted.lines.concat(), x, 20.0, 11.0, Weight::Bold, colours.soft, "start");
        let below = canvas.block(
            "headline",
            banner.headline,
            (x, 26.0),
            width,
            1,
            &[24.0, 22.0, 20.0, 18.0, 17.0, 16.0],
            Weight::Bold,
            colours.ink,
        );
        body(canvas, banner, (x, below + 2.0), width, h - 5.0, &[15.0, 14.0, 13.0, 12.0, 11.0], 2, colours);
    }
    (frame, button)
}

fn tower(canvas: &mut Canvas<'_>, banner: &Banner<'_>, brand: &BrandKit, colours: &Palette, w: f32, h: f32) -> (Rounded, Rounded) {
    let wide = w > 200.0;
    let pad = if wide { 24.0 } else { 14.0 };
    let pic_h = if banner.picture.is_none() { 0.0 } else { (h * if wide { 0.46 } else { 0.40 }).round() };
    let frame = Rounded { x: 0.0, y: 0.0, w, h: pic_h.max(1.0), r: 0.0, fill: colours.ground };
    let width = w - 2.0 * pad;
    let label = if wide { 13.0 } else { 11.0 };
    let label_y = pic_h + pad + label * 0.8;
    canvas.label(banner, pad, label_y, width, label, colours);
    let button_h = if wide { 50.0 } else { 40.0 };
    let button_y = h - pad - button_h;
    let button = canvas.button(banner.cta, pad, button_y, width, button_h, brand, colours);
    let price_size = if wide { 30.0 } else { 24.0 };
    let price_y = button_y - if wide { 20.0 } else { 15.0 };
    canvas.price(banner, pad, price_y, price_size, width, colours);
    let mut floor = price_y - price_size * 0.95;
    if let Some(was) = banner.was
        && !canvas.texts.last().is_some_and(|t| t.strike)
    {
        let y = price_y - price_size * 1.05;
        let small = if canvas.fonts.width(was, Weight::Regular, 15.0) <= width { 15.0 } else { 10.0 };
        canvas.put(was, pad, y, small, Weight::Regular, colours.soft, "start");
        if let Some(last) = canvas.texts.last_mut() {
            last.strike = true;
        }
        floor = y - small;
    }
    let from = canvas.texts.len();
    let sizes: &[f32] = if wide { &[34.0, 32.0, 30.0, 28.0, 26.0, 24.0] } else { &[25.0, 24.0, 22.0, 20.0, 18.0, 17.0, 16.0] };
    let top = label_y + if wide { 18.0 } else { 14.0 };
    let below = canvas.block("headline", banner.headline, (pad, top), width, if wide { 3 } else { 5 }, sizes, Weight::Bold, colours.ink);
    let body_sizes: &[f32] = if wide { &[18.0, 17.0, 16.0, 15.0] } else { &[15.0, 14.0, 13.0, 12.0] };
    let bottom = body(canvas, banner, (pad, below + 10.0), width, floor, body_sizes, 7, colours);
    canvas.settle(from, bottom, floor, if banner.picture.is_some() { 0.12 } else { 0.38 });
    (frame, button)
}
