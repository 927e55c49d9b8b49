//! Creatives on both engines: banners drawn once, preview in a process of its own, and HTML held against what mail programs support.

use std::path::Path;
use std::time::Duration;

use marquee::catalog::{self, NewProduct};
use marquee::copywriter::{self, CopyChannel, CopyRequest, Locale, Occasion, Tone};
use marquee::creative::preview::{PreviewAnswer, PreviewRequest, preview};
use marquee::creative::{
    BannerRequest, BrandKit, Colour, CreativeError, EmailKind, EmailTemplates, Format, MailContext, MailLinks, ProductView, brand,
    ensure_banner,
};
use marquee::platform::ids::{CampaignId, VariantId};
use marquee::platform::{Currency, Money, setting};

use crate::both_engines;
use crate::support::{START, real_data};

both_engines!(a_banner_is_drawn_once_for_the_same_inputs, |shop| {
    let platform = &shop.platform;
    let mut tx = platform.db.begin().await.expect("begin");
    let mut picture = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(300, 400).write_to(&mut picture, image::ImageFormat::Png).expect("png");
    let image_hash = catalog::put_asset(&mut tx, "image/png", &picture.into_inner(), 300, 400, START).await.expect("asset");
    let new = NewProduct { image_hash: Some(image_hash), ..NewProduct::new("M1", "BLUE MUG", Money::new(2490, Currency::EUR)) };
    catalog::bulk_upsert(&mut tx, std::slice::from_ref(&new), START).await.expect("upsert");
    tx.commit().await.expect("commit");
    let product = catalog::get_by_sku(&platform.db, "M1").await.expect("reads").expect("there");
    let wanted = CopyRequest {
        campaign_id: CampaignId(1),
        variant_id: VariantId(1),
        product_id: product.id,
        locale: Locale::En,
        channel: CopyChannel::Banner,
        tone: Tone::Plain,
        occasion: Occasion::NewArrival,
    };
    let copy_id = copywriter::ensure(platform, std::slice::from_ref(&wanted)).await.expect("copy").ids[&wanted.key()];
    let request = BannerRequest {
        campaign_id: CampaignId(1),
        variant_id: VariantId(1),
        product_id: product.id,
        copy_id,
        locale: Locale::En,
        format: Format::MediumRectangle,
    };
    let first = ensure_banner(platform, request).await.expect("drawn");
    let again = ensure_banner(platform, request).await.expect("kept");
    assert_eq!((first.id, &first.asset_hash), (again.id, &again.asset_hash));
    let asset = catalog::asset(&platform.db, &first.asset_hash).await.expect("reads").expect("stored");
    assert_eq!((asset.mime.as_str(), asset.width, asset.height), ("image/png", Some(300), Some(250)));
    assert!(asset.bytes.len() < 150 * 1024, "within the weight that ad servers allow");

    let mut tx = platform.db.begin().await.expect("begin");
    setting::put(&mut tx, brand::SETTING, &BrandKit { primary: Colour(200, 0, 80), ..BrandKit::default() }, START).await.expect("put");
    catalog::bulk_upsert(&mut tx, &[NewProduct { sale_price: Some(Money::new(1990, Currency::EUR)), ..new }], START).await.expect("upsert");
    tx.commit().await.expect("commit");
    let redrawn = ensure_banner(platform, request).await.expect("redrawn");
    assert_eq!(redrawn.id, first.id);
    assert_ne!(redrawn.asset_hash, first.asset_hash);

    copywriter::reject(platform, copy_id).await.expect("rejects");
    assert!(matches!(ensure_banner(platform, request).await, Err(CreativeError::Unusable)));
});

fn context() -> MailContext {
    let view = |n: usize| ProductView {
        title: format!("Blue mug {n}"),
        price: "€24.90".into(),
        was: Some("€30.00".into()),
        image_url: Some(format!("https://shop.example/{n}.jpg")),
        url: format!("https://m.example/c/{n}"),
    };
    MailContext {
        copy: copywriter::Copy {
            subject: "A mug".into(),
            preheader: "Have a look".into(),
            headline: "A mug for you".into(),
            body: "Hello there.".into(),
            cta: "Take a look".into(),
        },
        product: view(0),
        more: (1..4).map(view).collect(),
        links: MailLinks {
            open: "https://m.example/o/1".into(),
            unsubscribe: "https://m.example/u/1".into(),
            preferences: "https://m.example/p/1".into(),
        },
        locale: Locale::En,
    }
}

fn ask(text: &str) -> PreviewRequest {
    PreviewRequest {
        mjml: format!("<mjml><mj-body><mj-section><mj-column><mj-text>{text}</mj-text></mj-column></mj-section></mj-body></mjml>"),
        text: "{{ copy.body }}".into(),
        brand: BrandKit::default(),
        context: context(),
    }
}

#[tokio::test]
async fn a_preview_is_rendered_by_another_process() {
    let program = Path::new(env!("CARGO_BIN_EXE_marquee"));
    let good = preview(program, &ask("{{ copy.headline }}"), Duration::from_secs(20)).await.expect("answers");
    let PreviewAnswer::Rendered(mail) = good else { panic!("{good:?}") };
    assert!(mail.html.contains("A mug for you") && mail.text.trim() == "Hello there.");
    for hostile in
        ["{% for i in range(end=999999999) %}x{% endfor %}", "{{ __tera_context }}", "{{ get_env(name=\"HOME\") }}", "<script>x</script>"]
    {
        let answer = preview(program, &ask(hostile), Duration::from_secs(20)).await.expect("answers");
        assert!(matches!(answer, PreviewAnswer::Refused(_)), "{hostile}: {answer:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_preview_that_hangs_or_floods_is_killed() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("folder");
    let script = |name: &str, body: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        path
    };
    let started = std::time::Instant::now();
    let slow = preview(&script("slow", "exec /bin/sleep 60"), &ask("x"), Duration::from_millis(400)).await;
    assert!(slow.is_err() && started.elapsed() < Duration::from_secs(10), "{slow:?}");
    let flood = preview(&script("flood", "exec /bin/cat /dev/zero"), &ask("x"), Duration::from_secs(20)).await;
    assert!(flood.is_err(), "{flood:?}");
    assert!(preview(&folder.path().join("none"), &ask("x"), Duration::from_secs(5)).await.is_err());
}

/// CSS that we use although a good part of mail programs ignores it: each only improves what stands without it.
const ENHANCEMENTS: &[&str] = &[
    "css-at-media",
    "css-at-media-prefers-color-scheme",
    "css-border-radius",
    "css-max-width",
    "css-min-width",
    "css-display",
    "css-border-collapse",
    "css-margin",
    "css-direction",
    "css-overflow",
    "css-max-height",
    "css-opacity",
    "css-font-weight",
    "css-unit-calc",
    "css-important",
    "html-meta-color-scheme",
    "css-outline",
    "css-letter-spacing",
    "html-role",
    "html-lang",
    "html-style",
    // Written by MJML: for Outlook, for long words; webmail replaces the body by a div and keeps its style.
    "css-cursor",
    "css-word-break",
    "html-body",
];

#[test]
fn mails_use_what_mail_programs_support() {
    let Some(file) = real_data("email_client_support/features.json") else { return };
    let features: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(file).expect("reads")).expect("json");
    let templates =
        EmailTemplates::new(BrandKit { name: "Northwind".into(), postal_address: "1 Harbour Street".into(), ..BrandKit::default() });
    let html: String = EmailKind::ALL.iter().map(|k| templates.render(*k, &context()).expect("renders").html.to_lowercase()).collect();
    let properties = regex::Regex::new(r"(?:[;{\x22\s])([a-z-]+)\s*:").expect("pattern");
    let used: std::collections::BTreeSet<&str> = properties.captures_iter(&html).filter_map(|c| c.get(1)).map(|m| m.as_str()).collect();
    assert!(used.contains("color") && used.len() > 15, "the pattern finds properties: {used:?}");
    let mut unsupported = Vec::new();
    for feature in &features {
        let slug = feature["slug"].as_str().unwrap_or_default();
        let present = match slug.split_once('-') {
            Some(("css", name)) => {
                used.contains(name)
                    || (slug == "css-at-media-prefers-color-scheme" && html.contains("prefers-color-scheme"))
                    || (slug == "css-at-media" && html.contains("@media"))
            }
            Some(("html", name)) => html.contains(&format!("<{name} ")) || html.contains(&format!("<{name}>")),
            _ => false,
        };
        if !present {
            continue;
        }
        // The newest verdict of every client and platform.
        let (mut no, mut all) = (0, 0);
        for platforms in feature["stats"].as_object().into_iter().flatten().filter_map(|(_, p)| p.as_object()) {
            for versions in platforms.values().filter_map(|v| v.as_object()) {
                let newest = versions.iter().max_by(|a, b| a.0.cmp(b.0)).and_then(|(_, v)| v.as_str()).unwrap_or("u");
                all += usize::from(!newest.starts_with('u'));
                no += usize::from(newest.starts_with('n'));
            }
        }
        if all > 0 && no * 4 > all && !ENHANCEMENTS.contains(&slug) {
            unsupported.push(format!("{slug} ({no} of {all})"));
        }
    }
    assert!(unsupported.is_empty(), "unsupported by more than a quarter of mail programs: {}", unsupported.join(", "));
}
