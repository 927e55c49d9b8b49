//! The catalogue's pages over the real server: found by words and filters, changed by hand, pictures uploaded; nothing from outside runs.

use marquee::account::Role;
use marquee::catalog::{self, NewProduct, ProductFigures, ProductFilter, ProductFinding, ProductOrder, StockLevel};
use marquee::platform::ids::ProductId;
use marquee::platform::{Currency, Money, Platform};

use crate::both_engines;
use crate::support::START;
use crate::support::browser::Browser;
use crate::support::server::TestServer;

fn product(sku: &str, title: &str, category: &str, minor: i64) -> NewProduct {
    NewProduct {
        category_path: category.into(),
        description: "It is what it is.".into(),
        ..NewProduct::new(sku, title, Money::new(minor, Currency::GBP))
    }
}

async fn put(platform: &Platform, new: &[NewProduct]) -> Vec<ProductId> {
    let mut tx = platform.db.begin().await.expect("begin");
    let done = catalog::bulk_upsert(&mut tx, new, START).await.expect("upsert");
    tx.commit().await.expect("commit");
    done.ids
}

async fn skus(platform: &Platform, filter: &ProductFilter, order: ProductOrder, down: bool) -> Vec<String> {
    let rows = catalog::browse(&platform.db, filter, order, down, None, 100).await.expect("browse");
    rows.into_iter().map(|r| r.sku).collect()
}

both_engines!(products_are_found_by_words_filters_and_orders, |shop| {
    let platform = &shop.platform;
    let ids = put(
        platform,
        &[
            NewProduct { brand: Some("Tin & Co".into()), stock: Some(4), ..product("MUG-1", "Blue mug", "Home > Kitchen", 500) },
            NewProduct { stock: Some(0), ..product("MUG-2", "Red mug, blue rim", "Home > Kitchen", 300) },
            NewProduct { description: String::new(), ..product("LAMP", "Lamp", "Home > Light", 900) },
            product("VASE", "An exceedingly long and winding title for a rather small vase", "Garden", 100),
            product("ZH", "手工陶瓷马克杯", "Home", 200),
        ],
    )
    .await;
    let find = |search: &str| ProductFilter { search: search.into(), ..ProductFilter::default() };
    let by_title = ProductOrder::Title;
    assert_eq!(skus(platform, &find("blu"), by_title, false).await, ["MUG-1", "MUG-2"]);
    assert_eq!(skus(platform, &find("mug BLUE red"), by_title, false).await, ["MUG-2"], "every word must be there");
    assert_eq!(skus(platform, &find("mu"), by_title, false).await, ["MUG-1", "MUG-2"], "once each, however many words begin so");
    assert!(skus(platform, &find("m"), by_title, false).await.is_empty(), "one letter is a word of its own, or nothing");
    assert_eq!(skus(platform, &find("马克杯"), by_title, false).await, ["ZH"]);
    assert!(skus(platform, &find("' OR 1=1 --"), by_title, false).await.is_empty());
    assert!(skus(platform, &find("%"), by_title, false).await.is_empty(), "what holds no word finds nothing");
    let all = ProductFilter::default();
    assert_eq!(skus(platform, &all, ProductOrder::Price, true).await, ["LAMP", "MUG-1", "MUG-2", "ZH", "VASE"]);
    assert_eq!(skus(platform, &all, ProductOrder::Stock, false).await[..2], ["MUG-2", "MUG-1"], "what nobody counts comes last");
    let in_category = |c: &str| ProductFilter { category: c.into(), ..ProductFilter::default() };
    assert_eq!(skus(platform, &in_category("Home"), ProductOrder::Price, false).await, ["ZH", "MUG-2", "MUG-1", "LAMP"]);
    assert_eq!(skus(platform, &in_category("Home > Kitchen"), by_title, true).await, ["MUG-2", "MUG-1"]);
    assert!(skus(platform, &in_category("Hom"), by_title, false).await.is_empty(), "a category is a whole step");
    let brand = ProductFilter { brand: "Tin & Co".into(), ..ProductFilter::default() };
    assert_eq!(skus(platform, &brand, by_title, false).await, ["MUG-1"]);
    let with = |finding| ProductFilter { finding: Some(finding), ..ProductFilter::default() };
    assert_eq!(skus(platform, &with(ProductFinding::NoText), by_title, false).await, ["LAMP"]);
    assert_eq!(skus(platform, &with(ProductFinding::LongTitle), by_title, false).await, ["VASE"]);
    assert_eq!(skus(platform, &with(ProductFinding::SoldOut), by_title, false).await, ["MUG-2"]);
    assert_eq!(skus(platform, &with(ProductFinding::NoPicture), by_title, false).await.len(), 5);

    // What products came to orders them; what was picked for nobody is found, unless it cannot be sold anyway.
    assert!(skus(platform, &with(ProductFinding::NeverPicked), by_title, false).await.is_empty(), "nothing was picked for anybody yet");
    let figures =
        |product_id, picked, shown, earned_minor| ProductFigures { product_id, picked: Some(picked), shown, clicked: 0, earned_minor };
    let all_figures = [figures(ids[0], 0, 7, 0), figures(ids[1], 0, 9, 0), figures(ids[2], 3, 0, 50), figures(ids[3], 1, 8, 70)];
    let mut tx = platform.db.begin().await.expect("begin");
    assert_eq!(catalog::put_figures(&mut tx, &all_figures).await.expect("put"), 4);
    assert_eq!(catalog::put_figures(&mut tx, &all_figures).await.expect("again"), 0, "what stays is not written");
    tx.commit().await.expect("commit");
    assert_eq!(skus(platform, &with(ProductFinding::NeverPicked), by_title, false).await, ["MUG-1"]);
    assert_eq!(skus(platform, &all, ProductOrder::Shown, true).await[..3], ["MUG-2", "VASE", "MUG-1"]);
    assert_eq!(skus(platform, &in_category("Home"), ProductOrder::Earned, true).await[0], "LAMP");
    assert_eq!(
        marquee::attribution::count_products(platform, || false).await.expect("counted"),
        4,
        "no touch, no pick: nothing is left of it"
    );
    assert!(skus(platform, &with(ProductFinding::NeverPicked), by_title, false).await.is_empty());

    // Pages follow each other without a gap or a repetition, in every order and both ways.
    for order in [by_title, ProductOrder::Price, ProductOrder::Stock, ProductOrder::Updated, ProductOrder::Shown, ProductOrder::Earned] {
        for down in [false, true] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = catalog::browse(&platform.db, &all, order, down, after, 2).await.expect("page");
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                seen.extend(page.into_iter().map(|r| r.sku));
            }
            assert_eq!(seen, skus(platform, &all, order, down).await, "{order:?} {down}");
            assert_eq!(seen.len(), 5);
        }
    }

    // Words follow the texts, and a retired product is on its own list.
    put(platform, &[NewProduct { stock: Some(4), ..product("MUG-1", "Green beaker", "Home", 500) }]).await;
    assert_eq!(skus(platform, &find("blue"), by_title, false).await, ["MUG-2"]);
    assert_eq!(skus(platform, &find("green"), by_title, false).await, ["MUG-1"]);
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::retire(&mut tx, ids[2], START).await.expect("retire");
    tx.commit().await.expect("commit");
    assert!(!skus(platform, &all, by_title, false).await.contains(&"LAMP".to_owned()));
    assert_eq!(skus(platform, &ProductFilter { retired: true, ..all.clone() }, by_title, false).await, ["LAMP"]);
    let retired = ProductFilter { retired: true, ..all.clone() };
    assert_eq!(skus(platform, &retired, ProductOrder::Shown, true).await, ["LAMP"], "a few are looked up and sorted");
    let out = ProductFilter { stock: Some(StockLevel::Out), ..all.clone() };
    assert_eq!(skus(platform, &out, by_title, false).await, ["MUG-2"]);
    let uncounted = ProductFilter { stock: Some(StockLevel::Uncounted), ..all.clone() };
    assert_eq!(skus(platform, &uncounted, ProductOrder::Price, true).await, ["ZH", "VASE"]);
    assert_eq!(skus(platform, &ProductFilter { stock: Some(StockLevel::Low), ..all.clone() }, by_title, false).await, ["MUG-1"]);
    let counts = catalog::counts(&platform.db).await.expect("counts");
    assert_eq!((counts.live, counts.retired, counts.sold_out, counts.no_picture), (4, 1, 1, 4));

    // Products that were there before the index get their words once.
    let before = catalog::categories(&platform.db, 100).await.expect("categories");
    assert_eq!(before, ["Garden", "Home", "Home > Kitchen", "Home > Light"]);
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::forget_words(&mut tx, START).await.expect("forget");
    tx.commit().await.expect("commit");
    assert!(skus(platform, &find("green"), by_title, false).await.is_empty());
    assert_eq!(catalog::index_words(platform, || false).await.expect("words"), 5);
    assert_eq!(catalog::index_words(platform, || false).await.expect("words"), 0, "once");
    assert_eq!(skus(platform, &find("green"), by_title, false).await, ["MUG-1"]);
    assert_eq!(catalog::categories(&platform.db, 100).await.expect("categories"), before);
});

both_engines!(the_list_shows_filters_and_hands_out, |shop| {
    let server = TestServer::start(&shop).await;
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    let empty = analyst.get("/catalogue").await;
    assert!(empty.status == 200 && empty.text.contains("No products yet"), "{}", empty.text);

    let hostile = "<script>alert(1)</script> \"mug\"";
    let mut new = vec![NewProduct { stock: Some(0), ..product("=EVIL()", hostile, "A & B > <i>C</i>", 999) }];
    new.extend((0..60).map(|i| product(&format!("S-{i:02}"), &format!("Thing {i:02}"), "Things", 100 + i)));
    let ids = put(&shop.platform, &new).await;
    let page = analyst.get("/catalogue").await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(!page.text.contains("<script>alert") && page.text.contains("&lt;script&gt;"), "escaped");
    assert!(page.text.contains("Thing 10") && !page.text.contains("Thing 59"), "one page");
    let next = regex::Regex::new(r#"rel="next" href="([^"]+)""#).expect("pattern");
    let link = next.captures(&page.text).expect("a next page")[1].replace("&amp;", "&");
    let second = analyst.get(&format!("/catalogue{link}")).await;
    assert!(second.text.contains("Thing 59") && !second.text.contains("Thing 10"), "{}", second.text);
    assert!(!next.is_match(&second.text), "the last page");

    let table = analyst.get("/catalogue?view=table&q=thin&sort=-price").await;
    let at = |what: &str| table.text.find(what).unwrap_or(usize::MAX);
    assert!(at("Thing 59") < at("Thing 12") && at("Thing 12") < usize::MAX, "dearest first");
    assert!(
        !table.text.contains("Thing 09") && !table.text.contains("&lt;script&gt;alert(1)&lt;/script&gt; &quot;mug"),
        "one page of things"
    );
    assert!(table.text.contains("view=table&amp;"), "the view stays in the column links");
    let none = analyst.get("/catalogue?finding=long_title&category=Things").await;
    assert!(none.text.contains("Nothing matches"));
    assert_eq!(analyst.get("/catalogue?after=nonsense").await.status, 404);

    let csv = analyst.get("/catalogue.csv?finding=sold_out").await;
    assert!(csv.headers["content-type"].to_str().expect("text").starts_with("text/csv"));
    let mut reader = csv::Reader::from_reader(csv.text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("csv");
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0][0], &rows[0][1], &rows[0][4]), ("'=EVIL()", hostile, "9.99"), "no spreadsheet runs it");
    assert_eq!(analyst.get("/catalogue.csv").await.text.lines().count(), 62);

    let one = analyst.get(&format!("/catalogue/{}", ids[0])).await;
    assert_eq!(one.status, 200, "{}", one.text);
    assert!(!one.text.contains("<script>alert") && !one.text.contains("<i>C</i>"));
    assert!(one.text.contains("Sold out or unavailable") && one.text.contains("No picture"));
    assert!(!one.text.contains("/retire"), "an analyst changes nothing");
    assert_eq!(analyst.get("/catalogue/prd_999999").await.status, 404);
    assert_eq!(analyst.get("/catalogue/1%27").await.status, 404);
});

fn png(side: u32) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgba8(side, side).write_to(&mut out, image::ImageFormat::Png).expect("png");
    out.into_inner()
}

/// Posts a file as a browser's form would.
async fn upload(browser: &Browser<'_>, path: &str, token: &str, bytes: &[u8]) -> (u16, String) {
    let mut body =
        b"--b0undary\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"p.png\"\r\nContent-Type: image/png\r\n\r\n".to_vec();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--b0undary--\r\n");
    let answer = browser
        .client
        .post(browser.server.at(&format!("{path}?csrf={token}")))
        .header("accept", "text/html")
        .header("origin", &browser.server.url)
        .header("content-type", "multipart/form-data; boundary=b0undary")
        .body(body)
        .send()
        .await
        .expect("answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

both_engines!(a_marketer_changes_stock_offer_and_picture, |shop| {
    let server = TestServer::start(&shop).await;
    let platform = &shop.platform;
    let id = put(platform, &[product("MUG", "Mug", "Home", 500)]).await[0];
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let path = format!("/catalogue/{id}");
    let stock = format!("{path}/stock");

    let bad = marketer.submit(&path, &stock, &[("stock", "-3"), ("available", "on")]).await;
    assert!(bad.status == 422 && bad.text.contains("whole number") && bad.text.contains("value=\"-3\""), "{}", bad.text);
    assert_eq!(marketer.submit(&path, &stock, &[("stock", "many")]).await.status, 422);
    assert_eq!(catalog::get(&platform.db, id).await.expect("read").expect("there").stock, None, "nothing was changed");
    let done = marketer.submit(&path, &stock, &[("stock", "1,250"), ("available", "on")]).await;
    assert_eq!((done.status, done.location()), (303, path.as_str()));
    let now = catalog::get(&platform.db, id).await.expect("read").expect("there");
    assert_eq!((now.stock, now.available), (Some(1250), true));
    marketer.submit(&path, &stock, &[("stock", "")]).await;
    let now = catalog::get(&platform.db, id).await.expect("read").expect("there");
    assert_eq!((now.stock, now.available, now.sellable()), (None, false, false), "an unset box is no");

    let ask = marketer.get(&format!("{path}/retire")).await;
    assert!(ask.status == 200 && ask.text.contains("Retire this product?"));
    assert!(catalog::get(&platform.db, id).await.expect("read").expect("there").retired_at.is_none(), "asking changes nothing");
    marketer.submit(&path, &format!("{path}/retire"), &[]).await;
    assert!(marketer.get(&path).await.text.contains("Offer it again"));
    marketer.submit(&path, &format!("{path}/restore"), &[]).await;
    assert!(catalog::get(&platform.db, id).await.expect("read").expect("there").retired_at.is_none());

    let token = marketer.get(&path).await.token();
    let picture = format!("{path}/picture");
    let (status, text) = upload(&marketer, &picture, &token, b"<svg onload='alert(1)'/>").await;
    assert!(status == 422 && text.contains("neither PNG, JPEG, GIF nor WebP"), "{status} {text}");
    let (status, _) = upload(&marketer, &picture, &token, &vec![0; 9 * 1024 * 1024]).await;
    assert_eq!(status, 413);
    let (status, _) = upload(&marketer, &picture, "A", &png(8)).await;
    assert_eq!(status, 403, "no token, no upload");
    assert_eq!(marketer.submit(&path, &picture, &[]).await.status, 422, "a form without a file");
    let (status, _) = upload(&marketer, &picture, &token, &png(600)).await;
    assert_eq!(status, 303);
    let hash = catalog::get(&platform.db, id).await.expect("read").expect("there").image_hash.expect("a picture");
    assert!(marketer.get(&path).await.text.contains(&format!("/assets/{hash}")));
    let small = marketer.client.get(server.at(&format!("/catalogue/picture/{hash}/96"))).send().await.expect("answer");
    assert_eq!((small.status().as_u16(), small.headers()["content-type"].to_str().expect("text")), (200, "image/jpeg"));
    let small = image::load_from_memory(&small.bytes().await.expect("bytes")).expect("jpeg");
    assert_eq!((small.width(), small.to_rgb8().get_pixel(0, 0).0), (96, [255, 255, 255]), "small, and on white where it was clear");
    for odd in ["/catalogue/picture/0/96", &format!("/catalogue/picture/{hash}/97"), &format!("/catalogue/picture/{hash}/x")] {
        assert_eq!(marketer.get(odd).await.status, 404, "{odd}");
    }
    let stranger = Browser::new(&server);
    assert_eq!(stranger.get(&format!("/catalogue/picture/{hash}/96")).await.status, 303, "only for who is signed in");

    // Everything is in the audit log, by whom and to what.
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let log = admin.get("/settings/audit").await.text;
    for action in ["product.stock", "product.retire", "product.restore", "product.picture"] {
        assert!(log.contains(action), "{action}");
    }
});
