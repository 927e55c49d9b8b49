//! The product from the outside, in a real browser: sign in as each role, bring people and products, build a segment, write and send a
//! campaign, watch it go out, open the mail that arrived, follow its link into the shop, buy there; then see the click, the order, the
//! credit and the lift, and take the report away as Parquet. At the end every page is looked at once more, full.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use base64::Engine as _;
use marquee::account::{NewUser, Role, Scope};
use marquee::app;
use marquee::delivery::sink::{ReceivedMail, Sink};
use marquee::platform::queue::{Runner, RunnerOptions};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::json;

use crate::look;
use crate::support::browser::PASSWORD;
use crate::support::chrome::Chrome;
use crate::support::server::TestServer;
use crate::support::{Engine, TestShop};

const PEOPLE: usize = 24;
/// The customer who reads the mail and buys.
const READER: usize = 3;

/// The shop's own site: a page for each product, with a button that buys it. Orders are told to Marquee by the shop's server, as a shop does.
struct Site {
    url: String,
    handle: actix_web::dev::ServerHandle,
}

#[derive(Clone, Default)]
struct Till {
    /// Where Marquee listens, and the key to write with; known once it runs.
    marquee: Arc<std::sync::OnceLock<(String, String)>>,
}

async fn product(path: web::Path<String>) -> HttpResponse {
    let form = "<form method=post action=/buy><input type=hidden name=sku value=\"{sku}\"><button id=buy>Buy</button></form>";
    let page = format!("<!doctype html><title>Shop</title><h1 id=product>{}</h1>{}", path, form.replace("{sku}", &path));
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

async fn buy(till: web::Data<Till>, form: web::Form<HashMap<String, String>>) -> HttpResponse {
    let (url, key) = till.marquee.get().expect("Marquee runs");
    let sku = form.get("sku").cloned().unwrap_or_default();
    let order = json!({
        "userId": format!("u{READER}"), "event": "Order Completed", "messageId": "order-1",
        "properties": {"order_id": "o-1", "total": 24.90, "currency": "EUR", "products": [{"sku": sku, "price": 24.90, "quantity": 1}]}
    });
    let sent = reqwest::Client::new().post(format!("{url}/v1/track")).bearer_auth(key).json(&order).send().await;
    let taken = sent.is_ok_and(|r| r.status().is_success());
    HttpResponse::Ok().content_type("text/html").body(if taken { "<h1 id=thanks>Thank you</h1>" } else { "<h1>Sorry</h1>" })
}

impl Site {
    fn start(till: Till) -> Self {
        let data = web::Data::new(till);
        let app = move || App::new().app_data(data.clone()).route("/p/{sku}", web::get().to(product)).route("/buy", web::post().to(buy));
        let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, handle }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).expect("a file");
    file.display().to_string()
}

/// Uploads a file on the import page, takes what Marquee made of its columns, and lets the job run.
async fn import(chrome: &Chrome, base: &str, runner: &Runner, kind: &str, file: &str) {
    chrome.open(&format!("{base}/import?kind={kind}")).await;
    chrome.click(&format!("input[name=kind][value={kind}]")).await;
    chrome.one("input[type=file]").await.send_keys(file).await.expect("a file can be chosen");
    chrome.click("form.upload button").await;
    chrome.one("form.look").await;
    if kind == "people" {
        chrome.click("input[name=agreed][value=yes]").await;
    }
    chrome.click("button[formaction$=\"/start\"]").await;
    runner.run_until_idle().await.expect("the import runs");
    chrome.sees("Accepted").await;
}

async fn sign_out(chrome: &Chrome) {
    chrome.click("header.side details.me summary").await;
    chrome.click("header.side form[action='/sign-out'] button").await;
    chrome.arrives("/sign-in").await;
}

fn text_of(mail: &ReceivedMail) -> (String, String) {
    let parsed = mail_parser::MessageParser::default().parse(&mail.data[..]).expect("a mail");
    let html = parsed.body_html(0).expect("an HTML part").into_owned();
    (parsed.to().and_then(|t| t.first()).and_then(|a| a.address()).unwrap_or_default().to_owned(), html)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_file_of_people_to_what_it_earned() {
    let Some(chrome) = Chrome::start().await else { return };
    let sink = Sink::start(1_000).await.expect("sink");
    let till = Till::default();
    let site = Site::start(till.clone());
    let (mail_url, shop_url) = (sink.url(), site.url.clone());
    let shop = TestShop::open_with(Engine::Sqlite, |config| {
        config.mail.servers = vec![mail_url];
        config.mail.from_address = "shop@example.test".into();
        config.shop.name = "Tea & Trays".into();
        config.shop.url = format!("{shop_url}/");
    })
    .await
    .expect("SQLite is always there");
    let server = TestServer::start(&shop).await;
    let base = server.url.clone();
    assert!(till.marquee.set((base.clone(), server.key(&[Scope::Ingest, Scope::Manage]).await)).is_ok());
    let clock = server.services.platform.clock.clone();
    let options = RunnerOptions { tick: Duration::from_millis(20), poll: Duration::from_millis(20), ..RunnerOptions::default() };
    let runner = Runner::start(server.services.platform.clone(), app::jobs(), options).await.expect("runner");
    for (name, role) in [("Ada", Role::Admin), ("Mia", Role::Marketer), ("Ben", Role::Analyst)] {
        let new = NewUser { email: format!("{role}@example.test"), name: name.into(), role };
        server.services.ui.accounts.create(new, Some(PASSWORD)).await.expect("user");
    }
    chrome.resize(1440, false).await;

    // Each role sees its own desk.
    for (role, people, settings) in [(Role::Admin, true, true), (Role::Analyst, false, false), (Role::Marketer, true, false)] {
        look::sign_in(&chrome, &base, &format!("{role}@example.test")).await;
        assert_eq!(chrome.there("header.side a[href='/people']").await, people, "{role}");
        assert_eq!(chrome.there("header.side a[href='/settings']").await, settings, "{role}");
        if role != Role::Marketer {
            sign_out(&chrome).await;
        }
    }

    // Bring people and products.
    let folder = tempfile::tempdir().expect("a folder");
    let people: String = (0..PEOPLE).map(|i| format!("u{i},u{i}@example.test,Person{i},en\n")).collect();
    let people = write(folder.path(), "people.csv", &format!("external_id,email,first_name,locale\n{people}"));
    let titles = ["Green tea", "Oak tray", "Tin mug"];
    let rows: String = titles
        .iter()
        .enumerate()
        .map(|(i, t)| format!("SKU{i},{t},A {t} for every day,Kitchen > Tea,24.90,EUR,{}/p/SKU{i},50\n", site.url))
        .collect();
    let products = write(folder.path(), "products.csv", &format!("sku,title,description,category,price,currency,url,stock\n{rows}"));
    import(&chrome, &base, &runner, "people", &people).await;
    import(&chrome, &base, &runner, "products", &products).await;

    // A segment, from a starting point.
    chrome.open(&format!("{base}/segments/new?start=reachable")).await;
    chrome.fill("input[name=name]", "Reachable").await;
    chrome.sees(&PEOPLE.to_string()).await;
    chrome.click("button[formaction='/segments/save']").await;
    chrome.arrives("/segments/seg_").await;
    let segment = chrome.path().await.rsplit('/').next().expect("an id").to_owned();
    runner.run_until_idle().await.expect("idle");

    // A campaign, sent now.
    chrome.open(&format!("{base}/campaigns/new?segment={segment}")).await;
    chrome.fill("input[name=name]", "Spring tea").await;
    chrome.choose("select[name=segment]", &segment).await;
    chrome.fill("input[name=holdout]", "0").await;
    chrome.click("#save").await;
    chrome.arrives("/campaigns/cmp_").await;
    chrome.click("#to-send").await;
    chrome.sees(&PEOPLE.to_string()).await;
    chrome.click("form[action$='/send'] button").await;
    chrome.one("#progress").await;
    let campaign = chrome.path().await.trim_start_matches("/campaigns/").split('/').next().expect("an id").to_owned();
    // The page is not loaded again: what it shows from here on came over its stream.
    chrome.driver.execute("window.stayed = true", vec![]).await.expect("a script runs");
    clock.advance_to(clock.now().plus_secs(60));
    runner.run_until_idle().await.expect("the campaign goes out");
    assert!(sink.wait_for(PEOPLE as u64, Duration::from_secs(30)).await, "{} mails", sink.count());
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while !chrome.one("#progress").await.text().await.expect("text").contains(&PEOPLE.to_string()) {
        assert!(tokio::time::Instant::now() < until, "the page does not follow: {}", chrome.text().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let stayed = chrome.driver.execute("return window.stayed === true", vec![]).await.expect("a script runs");
    assert_eq!(stayed.json(), &json!(true));

    // The mail arrives, is read some hours later, and leads into the shop, where its reader buys.
    let mails = sink.drain();
    assert_eq!(mails.len(), PEOPLE);
    let (_, html) = mails.iter().map(text_of).find(|(to, _)| to == &format!("u{READER}@example.test")).expect("the reader's mail");
    let link = regex::Regex::new(r#"href="([^"]*/c/[^"]+)""#).expect("pattern").captures(&html).expect("a link")[1].replace("&amp;", "&");
    clock.advance_to(clock.now().plus_secs(3 * 3_600));
    let link = link.replacen(&server.services.platform.config.server.public_url, &base, 1);
    chrome.open(&link).await;
    assert!(
        titles.len() > chrome.path().await.trim_start_matches("/p/SKU").parse::<usize>().expect("a product's page"),
        "{}",
        chrome.path().await
    );
    clock.advance_to(clock.now().plus_secs(600));
    chrome.click("#buy").await;
    chrome.one("#thanks").await;

    // It is counted, credited and reported.
    clock.advance_to(clock.now().plus_secs(26 * 3_600));
    runner.run_until_idle().await.expect("idle");
    // A day later everybody signs in anew.
    look::sign_in(&chrome, &base, "marketer@example.test").await;
    chrome.open(&format!("{base}/campaigns/{campaign}")).await;
    chrome.sees("24.90").await;
    let funnel = chrome.one("table.funnel").await.text().await.expect("text");
    assert!(funnel.contains(&PEOPLE.to_string()), "{funnel}");
    chrome.one("#lift").await;
    chrome.open(&format!("{base}/reports")).await;
    chrome.sees("Spring tea").await;
    chrome.sees("24.90").await;

    // Taken away as Parquet, with the browser's own session, and read back.
    let script = "const done = arguments[0]; const link = document.querySelector('a[href*=\"format=parquet\"]');
        fetch(link.href).then(r => r.arrayBuffer()).then(b => done(btoa(String.fromCharCode(...new Uint8Array(b)))), e => done('' + e));";
    let file = chrome.driver.execute_async(script, vec![]).await.expect("a script runs");
    let file = base64::engine::general_purpose::STANDARD.decode(file.json().as_str().expect("base64")).expect("base64");
    let reader = SerializedFileReader::new(bytes::Bytes::from(file)).expect("a Parquet file");
    let rows: Vec<String> = reader.get_row_iter(None).expect("rows").map(|r| r.expect("a row").to_string()).collect();
    assert!(rows.iter().any(|r| r.contains("Spring tea") && r.contains("2490")), "{rows:?}");

    // Every page once more, full.
    sign_out(&chrome).await;
    look::sign_in(&chrome, &base, "admin@example.test").await;
    let also =
        [format!("/campaigns/{campaign}"), format!("/segments/{segment}"), "/people/per_1".to_owned(), "/catalogue/prd_1".to_owned()];
    let wrong = look::look(&chrome, &base, &look::paths(&also), "full").await;
    runner.stop(Duration::from_secs(5)).await;
    site.handle.stop(false).await;
    chrome.quit().await;
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}
