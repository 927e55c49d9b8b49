//! Importing through the pages: upload, columns, a job that works through it, refused rows to download; and the guided start.

use std::time::Duration;

use marquee::account::Role;
use marquee::app;
use marquee::people::{self, Channel, Consent, Identity};
use marquee::platform::queue::{Runner, RunnerOptions};

use crate::both_engines;
use crate::support::TestShop;
use crate::support::browser::{Browser, Seen};
use crate::support::server::TestServer;

/// Sends a file as a browser's form does.
pub async fn upload(browser: &Browser<'_>, kind: &str, name: &str, content: &[u8]) -> (u16, String) {
    let token = browser.get("/import").await.token();
    let boundary = "----MarqueeTestBoundary7";
    let mut body = Vec::new();
    body.extend(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\n{kind}\r\n").bytes());
    body.extend(
        format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: text/csv\r\n\r\n")
            .bytes(),
    );
    body.extend(content);
    body.extend(format!("\r\n--{boundary}--\r\n").bytes());
    let answer = browser
        .client
        .post(browser.server.at(&format!("/import/upload?csrf={token}")))
        .header("accept", "text/html")
        .header("accept-language", "en")
        .header("origin", &browser.server.url)
        .header("content-type", format!("multipart/form-data; boundary={boundary}"))
        .body(body)
        .send()
        .await
        .expect("answer");
    let status = answer.status().as_u16();
    let to = answer.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (status, to)
}

async fn work(shop: &TestShop) {
    let options =
        RunnerOptions { tick: Duration::from_millis(20), poll: Duration::from_millis(20), cron: false, ..RunnerOptions::default() };
    let jobs = app::jobs().into_iter().filter(|j| j.name == "import.run").collect();
    let runner = Runner::start(shop.platform.clone(), jobs, options).await.expect("starts");
    for _ in 0..500 {
        let open = marquee::import::desk::list(&shop.platform.db, None, 10).await.expect("list");
        if !open.iter().any(|f| matches!(f.status, marquee::import::desk::Status::Queued | marquee::import::desk::Status::Running)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    runner.stop(Duration::from_secs(5)).await;
}

async fn see(browser: &Browser<'_>, path: &str) -> Seen {
    let seen = browser.get(path).await;
    assert_eq!(seen.status, 200, "{path}: {}", seen.text);
    seen
}

async fn consent(shop: &TestShop, email: &str) -> Consent {
    let person = people::find(&shop.platform.db, &Identity::email(email).expect("address")).await.expect("read").expect("there");
    person.consent(Channel::Email)
}

both_engines!(people_come_in_through_the_page, |shop| {
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let start = see(&marketer, "/start").await.text;
    assert!(start.contains("0 of 4 done") && start.contains("href=\"/import\""), "{start}");
    let file = "Mail;Vorname;country\nann@example.test;Ann;DE\nnot an address;Bob;FR\n=cmd;<script>alert(1)</script>;FR\ncat@example.test;Cat;FR\n";
    let (status, to) = upload(&marketer, "people", "kunden<b>.csv", file.as_bytes()).await;
    assert_eq!(status, 303, "{to}");
    let page = see(&marketer, &to).await.text;
    // The address was recognised by its column's name, the first name was not.
    assert!(page.contains("<option value=\"Mail\" selected>") && page.contains("Did these people agree to e-mail?"), "{page}");
    assert!(page.contains("kunden&lt;b&gt;.csv") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("It is not an e-mail address") && page.contains("not an address"), "the preview says what would be refused");
    assert_eq!(people::count(&shop.platform.db).await.expect("count"), 0, "looking imports nothing");
    let fields = [
        ("preset", "generic"),
        ("preset_was", "generic"),
        ("f.email", "Mail"),
        ("f.first_name", "Vorname"),
        ("f.country", "country"),
        ("agreed", "yes"),
    ];
    let again = marketer.submit(&to, &format!("{to}/look"), &fields).await;
    assert!(again.text.contains("<option value=\"Vorname\" selected>"), "{}", again.text);
    let started = marketer.submit(&to, &format!("{to}/start"), &fields).await;
    assert_eq!((started.status, started.location()), (303, to.as_str()));
    assert!(see(&marketer, &to).await.text.contains("Waiting for a worker"));
    assert!(marketer.get(&format!("{to}/remove")).await.status == 200);
    assert_eq!(marketer.submit("/import", &format!("{to}/remove"), &[]).await.location(), to, "not while it is on its way");
    work(&shop).await;
    let part = see(&marketer, &format!("{to}/part/progress")).await;
    assert!(part.text.contains("It is imported") && part.headers["x-live"] == "done", "{}", part.text);
    let done = see(&marketer, &to).await.text;
    assert!(done.contains("People added") && done.contains("It is not an e-mail address") && done.contains("Refused rows"), "{done}");
    assert_eq!(people::count(&shop.platform.db).await.expect("count"), 2);
    assert_eq!(consent(&shop, "ann@example.test").await, Consent::Subscribed, "somebody vouched for it");
    let rejects = see(&marketer, &format!("{to}/rejects.csv")).await;
    assert!(rejects.text.starts_with("line,code,reason,Mail") && rejects.text.lines().count() == 3, "{}", rejects.text);
    assert!(rejects.text.contains("'=cmd"), "no spreadsheet runs it: {}", rejects.text);
    // The same file again, this time without anybody's word for it: nothing changes.
    let (_, again) = upload(&marketer, "people", "again.csv", file.as_bytes()).await;
    let plain = [
        ("preset", "generic"),
        ("preset_was", "generic"),
        ("f.email", "Mail"),
        ("f.first_name", "Vorname"),
        ("f.country", "country"),
        ("agreed", "no"),
    ];
    assert_eq!(marketer.submit(&again, &format!("{again}/start"), &plain).await.status, 303);
    work(&shop).await;
    assert!(see(&marketer, &again).await.text.contains("Nothing changed"));
    assert_eq!(consent(&shop, "ann@example.test").await, Consent::Subscribed);
    let list = see(&marketer, "/import").await.text;
    assert!(list.contains("again.csv") && list.contains("marketer@example.test"), "{list}");
    assert_eq!(marketer.submit(&format!("{to}/remove"), &format!("{to}/remove"), &[]).await.location(), "/import");
    assert_eq!(marketer.get(&to).await.status, 404);
});

both_engines!(who_refused_stays_refused_whatever_is_vouched_for, |shop| {
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let mut tx = shop.platform.db.begin().await.expect("transaction");
    let new =
        people::NewPerson { email: Some("ann@example.test".into()), email_consent: Some(Consent::Unsubscribed), ..Default::default() };
    people::bulk_upsert(&mut tx, &[new], shop.platform.now()).await.expect("person");
    tx.commit().await.expect("commit");
    let (_, to) = upload(&marketer, "people", "a.csv", b"email\nann@example.test\nbob@example.test\n").await;
    assert_eq!(marketer.submit(&to, &format!("{to}/start"), &[("agreed", "yes")]).await.status, 303);
    work(&shop).await;
    assert_eq!(consent(&shop, "ann@example.test").await, Consent::Unsubscribed);
    assert_eq!(consent(&shop, "bob@example.test").await, Consent::Subscribed);
});

both_engines!(orders_ask_for_their_columns_zone_and_currency, |shop| {
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let mut file = String::from("nr,artikel,anzahl,preis,wann,kunde\n");
    // More than one piece of an upload.
    for i in 0..9_000 {
        file.push_str(&format!("o-{i},sku-{},1,9.50,0{}/11/2025 10:00,c-{}\n", i % 40, 1 + i % 9, i % 300));
    }
    let (status, to) = upload(&marketer, "orders", "orders.csv", file.as_bytes()).await;
    assert_eq!(status, 303);
    let page = see(&marketer, &to).await.text;
    assert!(
        page.contains("Order number has no column") && !page.contains("--map") && page.contains("disabled"),
        "it says what is missing: {page}"
    );
    let columns = [
        ("preset", ""),
        ("f.order", "nr"),
        ("f.sku", "artikel"),
        ("f.quantity", "anzahl"),
        ("f.unit_price", "preis"),
        ("f.date", "wann"),
        ("f.person", "kunde"),
        ("date_format", "%d/%m/%Y %H:%M"),
    ];
    let mut wrong = columns.to_vec();
    wrong.extend([("zone", "Mars/Base"), ("currency", "EUR")]);
    let refused = marketer.submit(&to, &format!("{to}/start"), &wrong).await;
    assert!(refused.status == 422 && refused.text.contains("This is no time zone we know"), "{}", refused.text);
    let mut right = columns.to_vec();
    right.extend([("zone", "Europe/Berlin"), ("currency", "usd")]);
    assert_eq!(marketer.submit(&to, &format!("{to}/start"), &right).await.status, 303);
    work(&shop).await;
    let done = see(&marketer, &to).await.text;
    assert!(done.contains("9,000") && done.contains("No row was refused"), "{done}");
    let found = people::find(&shop.platform.db, &Identity::External("c-7".into())).await.expect("read").expect("there");
    let orders = marquee::events::orders::of_person(&shop.platform.db, found.id, 1).await.expect("orders");
    assert_eq!((orders[0].currency.code(), orders[0].total_minor), ("USD", 950));
    assert!(orders[0].placed_at.to_utc().to_rfc3339().contains("T09:00:00"), "Berlin's ten o'clock: {}", orders[0].placed_at);
});

both_engines!(what_is_no_file_is_refused_kindly, |shop| {
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let (status, to) = upload(&marketer, "people", "", b"").await;
    assert_eq!((status, to.as_str()), (303, "/import"));
    let (_, to) = upload(&marketer, "people", "sheet.xlsx", b"PK\x03\x04not a table").await;
    let page = see(&marketer, &to).await.text;
    assert!(page.contains("save the sheet as CSV"), "{page}");
    let refused = marketer.submit(&to, &format!("{to}/start"), &[]).await;
    assert_eq!(refused.status, 422);
    let (_, to) = upload(&marketer, "people", "b\"ad.csv", b"email\n\xff\xfe\xfa@x\n\0\n").await;
    assert_eq!(marketer.get(&to).await.status, 200);
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    assert_eq!(analyst.get("/import").await.status, 403);
    assert_eq!(analyst.get(&to).await.status, 403);
    // An upload without a token, or with somebody else's, is not taken.
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nemail\r\n--b--\r\n";
    let bare = marketer.client.post(server.at("/import/upload")).header("content-type", "multipart/form-data; boundary=b").body(body);
    assert_eq!(bare.send().await.expect("answer").status(), 403);
});

both_engines!(the_guided_start_is_ticked_by_facts_and_can_be_put_away, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    assert!(see(&admin, "/start").await.text.contains("0 of 4 done"));
    let rule = marquee::audience::Rule::parse(serde_json::json!({"type": "everyone"})).expect("rule");
    let new = marquee::audience::NewSegment { key: "all".into(), name: "All".into(), rule };
    marquee::audience::create(&shop.platform.db, new, shop.platform.now()).await.expect("segment");
    let page = see(&admin, "/start").await.text;
    assert!(page.contains("1 of 4 done") && !page.contains("href=\"/segments/new\""), "{page}");
    assert_eq!(admin.submit("/start", "/start/dismiss", &[]).await.location(), "/");
    assert!(see(&admin, "/start").await.text.contains("Show on Home"));
    assert_eq!(admin.submit("/start", "/start/show", &[]).await.status, 303);
    assert!(!see(&admin, "/start").await.text.contains("Show on Home"));
});
