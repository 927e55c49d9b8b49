//! One person's e-mail (template compiled once) beside bare Tera over a page of the same size; one banner beside encoding its pixels as PNG.

use std::hint::black_box;

use marquee::copywriter::{Copy, Locale};
use marquee::creative::BrandKit;
use marquee::creative::banner::{self, Banner, Format};
use marquee::creative::email::{EmailKind, EmailTemplates, MailContext, MailLinks, ProductView};

use crate::support;

const MAILS: usize = 5_000;
const BANNERS: usize = 60;

pub fn run() {
    email();
    for format in [Format::MediumRectangle, Format::Leaderboard, Format::MobileBanner] {
        draw(format);
    }
}

fn context() -> MailContext {
    let view = |n: usize| ProductView {
        title: "Oak side table".into(),
        price: "€24.90".into(),
        was: Some("€39.00".into()),
        image_url: Some(format!("https://shop.example/p{n}.jpg?a=1&b=2")),
        url: format!("https://m.example/c/{n}"),
    };
    MailContext {
        copy: Copy {
            subject: "Something for the balcony".into(),
            preheader: "Picked for you".into(),
            headline: "A table that fits".into(),
            body: "Oak side table, made to last. Now €24.90.".into(),
            cta: "Have a look".into(),
        },
        product: view(0),
        more: (1..=3).map(view).collect(),
        links: MailLinks {
            open: "https://m.example/o/x".into(),
            unsubscribe: "https://m.example/u/x".into(),
            preferences: "https://m.example/p/x".into(),
        },
        locale: Locale::En,
    }
}

fn email() {
    let brand = BrandKit { name: "Northwind Home".into(), postal_address: "1 Harbour Street, Springfield".into(), ..BrandKit::default() };
    let templates = EmailTemplates::new(brand);
    let context = context();
    let page = templates.render(EmailKind::Hero, &context).expect("renders").html;
    // The same page as plain text with ten values in it.
    let slots = 10;
    let mut bare = tera::Tera::default();
    let parts: Vec<&str> = (0..slots).map(|i| cut(&page, i, slots)).collect();
    let source: String = parts.iter().enumerate().map(|(i, p)| format!("{{% raw %}}{p}{{% endraw %}}{{{{ v{i} }}}}")).collect();
    bare.add_raw_template("page", &source).expect("a template");
    let mut values = tera::Context::new();
    (0..slots).for_each(|i| values.insert(format!("v{i}"), "Oak side table"));
    support::compare(
        &format!("e-mail, {} kB", page.len() / 1_000),
        "mails/s, 1 core",
        "bare Tera, a page of that size",
        7,
        || support::rate(MAILS, || (0..MAILS).for_each(|_| drop(black_box(bare.render("page", &values).expect("renders"))))),
        || {
            support::rate(MAILS, || {
                (0..MAILS).for_each(|_| drop(black_box(templates.render(EmailKind::Hero, &context).expect("renders"))));
            })
        },
    );
}

/// The i-th of n pieces, cut at characters.
fn cut(text: &str, i: usize, n: usize) -> &str {
    let at = |k: usize| (text.len() * k / n..=text.len()).find(|b| text.is_char_boundary(*b)).unwrap_or(text.len());
    &text[at(i)..at(i + 1)]
}

fn draw(format: Format) {
    let brand = BrandKit { name: "Northwind Home".into(), ..BrandKit::default() };
    let banner = Banner {
        headline: "A table that fits",
        body: "Oak side table, made to last.",
        cta: "Have a look",
        price: "€24.90",
        was: Some("€39.00"),
        shop: "Northwind Home",
        ad_mark: "Ad",
        picture: None,
    };
    let drawn = banner::draw(&banner, &brand, format).expect("drawn");
    let pixels = image::load_from_memory(&drawn.png).expect("a picture").to_rgba8();
    support::compare(
        &format!("banner {format}"),
        "banners/s, 1 core",
        "encoding its pixels as PNG",
        5,
        || {
            support::rate(BANNERS, || {
                (0..BANNERS).for_each(|_| {
                    let mut png = Vec::new();
                    pixels.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).expect("a PNG");
                    black_box(png);
                });
            })
        },
        || support::rate(BANNERS, || (0..BANNERS).for_each(|_| drop(black_box(banner::draw(&banner, &brand, format).expect("drawn"))))),
    );
}
