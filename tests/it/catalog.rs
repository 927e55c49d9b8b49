//! The catalogue on both engines: upserts that touch only what changed, stock, retirement, pictures, and the HTTP interface.

use actix_web::http::StatusCode;
use actix_web::{App, test, web};
use marquee::account::{KeyRing, Scope};
use marquee::catalog::{self, CatalogError, FetchError, FetchOptions, Fetcher, NewProduct, Picture};
use marquee::platform::ids::ProductId;
use marquee::platform::{Currency, Db, Money, Timestamp};
use serde_json::json;

use crate::both_engines;
use crate::support::START;

fn mug(sku: &str, pence: i64) -> NewProduct {
    NewProduct {
        description: "It holds tea.".into(),
        category_path: "Home > Kitchen".into(),
        image_url: Some("https://shop.example.com/mug.png".into()),
        attributes: json!({"colour": "red", "size": 3}).as_object().cloned().unwrap_or_default(),
        ..NewProduct::new(sku, format!("Mug {sku}"), Money::new(pence, Currency::GBP))
    }
}

async fn upsert(db: &Db, new: &[NewProduct], now: Timestamp) -> catalog::BulkUpsert {
    let mut tx = db.begin().await.expect("begin");
    let done = catalog::bulk_upsert(&mut tx, new, now).await.expect("upsert");
    tx.commit().await.expect("commit");
    done
}

fn png(shade: u8) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let picture = image::RgbImage::from_pixel(4, 3, image::Rgb([shade, 0, 0]));
    picture.write_to(&mut out, image::ImageFormat::Png).expect("png");
    out.into_inner()
}

both_engines!(only_what_changed_is_touched, |shop| {
    let db = &shop.platform.db;
    let later = START.plus_secs(60);
    let done = upsert(db, &[mug("A", 100), mug("B", 200), mug("A", 150)], START).await;
    assert_eq!((done.inserted, done.updated, done.unchanged), (2, 0, 0));
    assert_eq!(done.ids[0], done.ids[2], "a sku given twice is one product");
    assert_eq!(catalog::get(db, done.ids[0]).await.expect("read").expect("there").price.minor, 150, "the last one counts");

    let again = upsert(db, &[mug("A", 150), mug("B", 250), mug("C", 1)], later).await;
    assert_eq!((again.inserted, again.updated, again.unchanged), (1, 1, 1));
    assert_eq!(again.ids[..2], done.ids[..2]);
    let all = catalog::all(db).await.expect("all");
    let touched: Vec<(&str, bool)> = all.iter().map(|p| (p.sku.as_str(), p.updated_at == later)).collect();
    assert_eq!(touched, [("A", false), ("B", true), ("C", true)]);
    assert_eq!(catalog::changed_since(db, later).await.expect("changed").len(), 2);

    // Each single field is seen as a change, and only texts change the content hash.
    let base = mug("A", 150);
    let variations = [
        NewProduct { title: "Cup".into(), ..base.clone() },
        NewProduct { brand: Some("Tin & Co".into()), ..base.clone() },
        NewProduct { stock: Some(0), ..base.clone() },
        NewProduct { available: false, ..base.clone() },
        NewProduct { sale_price: Some(Money::new(99, Currency::GBP)), ..base.clone() },
        NewProduct { url: Some("https://shop.example.com/a".into()), ..base.clone() },
        NewProduct { price: Money::new(150, Currency::EUR), ..base.clone() },
        NewProduct { attributes: json!({"colour": "red"}).as_object().cloned().expect("map"), ..base.clone() },
    ];
    for (n, variation) in variations.into_iter().enumerate() {
        let texts = n < 2;
        let done = upsert(db, std::slice::from_ref(&variation), later).await;
        assert_eq!(done.updated, 1, "variation {n}");
        let now = catalog::get(db, done.ids[0]).await.expect("read").expect("there");
        assert_eq!(now.content_hash != base.content_hash(), texts, "variation {n}");
        assert_eq!(
            (now.title, now.brand, now.stock, now.available),
            (variation.title, variation.brand, variation.stock, variation.available)
        );
        assert_eq!(
            (now.price, now.sale_price, now.url, now.attributes),
            (variation.price, variation.sale_price, variation.url, variation.attributes)
        );
        assert_eq!(upsert(db, std::slice::from_ref(&base), later).await.updated, 1, "back from variation {n}");
    }
});

both_engines!(missing_products_are_added_and_known_ones_left, |shop| {
    let db = &shop.platform.db;
    upsert(db, &[mug("A", 100)], START).await;
    let mut tx = db.begin().await.expect("begin");
    let done = catalog::insert_missing(&mut tx, &[mug("A", 999), mug("B", 1)], START).await.expect("insert");
    tx.commit().await.expect("commit");
    assert_eq!((done.inserted, done.updated, done.unchanged), (1, 0, 1));
    let ids = catalog::by_sku(db, &["A", "B", "Z"]).await.expect("ids");
    assert_eq!(ids.len(), 2);
    let found = catalog::get_many(db, &[ids["A"], ids["B"], ProductId(999_999)]).await.expect("many");
    assert_eq!((found.len(), found[&ids["A"]].price.minor), (2, 100));
});

both_engines!(one_bad_product_and_nothing_is_written, |shop| {
    let db = &shop.platform.db;
    let mut tx = db.begin().await.expect("begin");
    let bad = NewProduct { url: Some("javascript:alert(1)".into()), ..mug("B", 1) };
    let error = catalog::bulk_upsert(&mut tx, &[mug("A", 1), bad], START).await.expect_err("refused");
    assert!(matches!(error, CatalogError::Invalid { index: 1, field: "url", .. }));
    drop(tx);
    assert_eq!(catalog::count(db).await.expect("count"), 0);
});

both_engines!(texts_that_look_like_sql_stay_texts, |shop| {
    let db = &shop.platform.db;
    let nasty = "Robert'); DROP TABLE product;-- \" \\ $1 {{ x }} =HYPERLINK(\"x\") \u{202e}";
    let mut p = mug("A", 1);
    p.title = nasty.into();
    p.description = format!("{nasty}\u{0}");
    p.attributes.insert(nasty.into(), json!(format!("{nasty}\u{0}")));
    let done = upsert(db, &[p], START).await;
    let back = catalog::get(db, done.ids[0]).await.expect("read").expect("there");
    assert_eq!((back.title.as_str(), back.description.as_str()), (nasty, nasty));
    assert_eq!(back.attributes[nasty], json!(nasty));
});

both_engines!(stock_and_retirement_decide_what_is_sellable, |shop| {
    let db = &shop.platform.db;
    let id = upsert(db, &[NewProduct { stock: Some(2), ..mug("A", 100) }], START).await.ids[0];
    let read = || async { catalog::get(db, id).await.expect("read").expect("there") };
    assert!(read().await.sellable());
    let mut tx = db.begin().await.expect("begin");
    assert!(catalog::move_stock(&mut tx, id, -5, START).await.expect("move"));
    tx.commit().await.expect("commit");
    assert_eq!((read().await.stock, read().await.sellable()), (Some(0), false));
    let mut tx = db.begin().await.expect("begin");
    assert!(catalog::set_stock(&mut tx, id, None, START).await.expect("set"));
    assert!(!catalog::move_stock(&mut tx, id, -5, START).await.expect("an uncounted stock does not move"));
    assert!(catalog::retire(&mut tx, id, START).await.expect("retire"));
    assert!(!catalog::retire(&mut tx, id, START).await.expect("twice"));
    tx.commit().await.expect("commit");
    assert!(!read().await.sellable());
    upsert(db, &[mug("A", 120)], START).await;
    assert!(read().await.retired_at.is_some(), "an import does not undo a retirement");
    let mut tx = db.begin().await.expect("begin");
    assert!(catalog::restore(&mut tx, id, START).await.expect("restore"));
    tx.commit().await.expect("commit");
    assert!(read().await.sellable());
});

both_engines!(a_held_picture_stays_until_its_address_changes, |shop| {
    let db = &shop.platform.db;
    let id = upsert(db, &[mug("A", 100)], START).await.ids[0];
    let picture = Picture::inspect(png(1)).expect("a picture");
    let mut tx = db.begin().await.expect("begin");
    let hash = catalog::put_picture(&mut tx, &picture, START).await.expect("put");
    assert_eq!(catalog::put_picture(&mut tx, &picture, START).await.expect("twice"), hash);
    catalog::set_image(&mut tx, id, Some(&hash), START).await.expect("set");
    assert!(matches!(catalog::put_asset(&mut tx, "image/svg+xml", b"<svg/>", 1, 1, START).await, Err(CatalogError::Picture(_))));
    tx.commit().await.expect("commit");
    upsert(db, &[mug("A", 101)], START).await;
    assert_eq!(catalog::get(db, id).await.expect("read").expect("there").image_hash, Some(hash.clone()));
    upsert(db, &[NewProduct { image_url: Some("https://shop.example.com/new.png".into()), ..mug("A", 101) }], START).await;
    assert_eq!(catalog::get(db, id).await.expect("read").expect("there").image_hash, None);
    let asset = catalog::asset(db, &hash).await.expect("read").expect("there");
    assert_eq!((asset.mime.as_str(), asset.width, asset.height, asset.bytes), ("image/png", Some(4), Some(3), png(1)));
});

both_engines!(pictures_are_fetched_from_public_hosts_alone, |shop| {
    let platform = &shop.platform;
    let server = actix_web::HttpServer::new(|| {
        App::new()
            .route("/good.png", web::get().to(|| async { actix_web::HttpResponse::Ok().body(png(7)) }))
            .route("/page", web::get().to(|| async { actix_web::HttpResponse::Ok().content_type("image/png").body("<html>") }))
            .route("/huge", web::get().to(|| async { actix_web::HttpResponse::Ok().body(vec![0_u8; 9 * 1024 * 1024]) }))
            .route("/away", web::get().to(|| async { actix_web::HttpResponse::Found().insert_header(("location", "/good.png")).finish() }))
            .route("/loop", web::get().to(|| async { actix_web::HttpResponse::Found().insert_header(("location", "/loop")).finish() }))
    })
    .workers(1)
    .disable_signals()
    .bind("127.0.0.1:0")
    .expect("a port");
    let base = format!("http://{}", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);

    let closed = Fetcher::default();
    assert!(matches!(closed.picture(&format!("{base}/good.png")).await, Err(FetchError::Port(_) | FetchError::PrivateHost(_))));
    let open = Fetcher::new(FetchOptions { allow_private: true, ..FetchOptions::default() });
    assert!(matches!(open.picture(&format!("{base}/page")).await, Err(FetchError::Picture(_))));
    assert!(matches!(open.picture(&format!("{base}/huge")).await, Err(FetchError::Picture(_))));
    assert!(matches!(open.picture(&format!("{base}/loop")).await, Err(FetchError::Redirects)));
    assert!(matches!(open.picture(&format!("{base}/none")).await, Err(FetchError::Status(404))));

    let with = |sku: &str, path: &str| NewProduct { image_url: Some(format!("{base}{path}")), ..mug(sku, 1) };
    upsert(&platform.db, &[with("A", "/away"), with("B", "/none")], START).await;
    let fetched = catalog::fetch_missing_pictures(platform, &open, || {}).await.expect("fetch");
    assert_eq!((fetched.stored, fetched.failed.len(), fetched.failed[0].0.as_str()), (1, 1, "B"));
    let a = catalog::get_by_sku(&platform.db, "A").await.expect("read").expect("there");
    assert_eq!(catalog::asset(&platform.db, &a.image_hash.expect("held")).await.expect("read").expect("there").bytes, png(7));
    handle.stop(false).await;
});

both_engines!(products_and_pictures_over_http, |shop| {
    let platform = shop.platform.clone();
    let ring = KeyRing::load(platform.db.clone()).await.expect("ring");
    let manage = ring.create("shop", &[Scope::Manage], START).await.expect("key").key;
    let serve = ring.create("page", &[Scope::Serve], START).await.expect("key").key;
    let app =
        test::init_service(App::new().app_data(web::Data::new(platform.clone())).app_data(web::Data::new(ring)).configure(catalog::routes))
            .await;
    macro_rules! ask {
        ($method:ident, $path:expr, $key:expr, $body:expr) => {{
            let request = test::TestRequest::$method()
                .uri($path)
                .insert_header(("authorization", format!("Bearer {}", $key)))
                .set_payload($body)
                .to_request();
            let answer = test::call_service(&app, request).await;
            let status = answer.status();
            let body: serde_json::Value = serde_json::from_slice(&test::read_body(answer).await).unwrap_or_default();
            (status, body)
        }};
    }
    let two = json!({"products": [mug("A", 100), mug("B/ü", 200)]}).to_string();
    assert_eq!(ask!(post, "/v1/products", serve, two.clone()).0, StatusCode::FORBIDDEN);
    assert_eq!(ask!(post, "/v1/products", "mqk_nobody", two.clone()).0, StatusCode::UNAUTHORIZED);
    let (status, body) = ask!(post, "/v1/products", manage, two.clone());
    assert_eq!((status, body), (StatusCode::OK, json!({"inserted": 2, "updated": 0, "unchanged": 0})));
    assert_eq!(ask!(post, "/v1/products", manage, two).1, json!({"inserted": 0, "updated": 0, "unchanged": 2}));

    let (status, body) = ask!(post, "/v1/products", manage, json!({"products": [mug("C", 1), mug("D", -1)]}).to_string());
    assert_eq!((status, body["field"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some("products[1].price")));
    assert_eq!(ask!(get, "/v1/products/C", manage, "").0, StatusCode::NOT_FOUND, "all or none");
    for (body, status) in [
        ("{".to_owned(), StatusCode::BAD_REQUEST),
        (json!({"products": []}).to_string(), StatusCode::UNPROCESSABLE_ENTITY),
        (json!({"products": [], "extra": 1}).to_string(), StatusCode::BAD_REQUEST),
        (json!({"products": vec![mug("E", 1); 501]}).to_string(), StatusCode::UNPROCESSABLE_ENTITY),
        ("x".repeat(10 * 1024 * 1024), StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (got, problem) = ask!(post, "/v1/products", manage, body);
        assert_eq!(got, status);
        assert_eq!(problem["status"], json!(status.as_u16()), "problem+json: {problem}");
    }

    let (_, page) = ask!(get, "/v1/products?limit=1", manage, "");
    assert_eq!(page["items"][0]["sku"], "A");
    let (_, rest) = ask!(get, &format!("/v1/products?limit=1&after={}", page["next"].as_str().expect("next")), manage, "");
    assert_eq!((rest["items"][0]["sku"].as_str(), rest.get("next")), (Some("B/ü"), None));
    assert_eq!(ask!(get, "/v1/products?limit=501", manage, "").0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask!(get, "/v1/products?after=cmp_1", manage, "").0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ask!(get, "/v1/products/%00", manage, "").0, StatusCode::NOT_FOUND);
    let (_, one) = ask!(get, "/v1/products/B%2F%C3%BC", manage, "");
    assert_eq!(one["price"], json!({"minor": 200, "currency": "GBP"}));
    assert!(ask!(post, "/v1/products/A/retire", manage, "").1["retired_at"].is_string());
    assert!(ask!(post, "/v1/products/A/restore", manage, "").1["retired_at"].is_null());

    let mut tx = platform.db.begin().await.expect("begin");
    let hash = catalog::put_picture(&mut tx, &Picture::inspect(png(9)).expect("picture"), START).await.expect("put");
    tx.commit().await.expect("commit");
    let answer = test::call_service(&app, test::TestRequest::get().uri(&format!("/assets/{hash}.png")).to_request()).await;
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!((header("content-type").as_str(), header("x-content-type-options").as_str()), ("image/png", "nosniff"));
    assert!(header("cache-control").contains("immutable"));
    let etag = header("etag");
    assert_eq!(test::read_body(answer).await, png(9));
    let again = test::TestRequest::get().uri(&format!("/assets/{hash}")).insert_header(("if-none-match", etag)).to_request();
    assert_eq!(test::call_service(&app, again).await.status(), StatusCode::NOT_MODIFIED);
    for path in ["/assets/nothing", &format!("/assets/{}", "0".repeat(64)), "/assets/..%2f..%2fetc%2fpasswd"] {
        let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
});
