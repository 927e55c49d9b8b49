//! The tag on a shop's page, in a real browser: it shows a banner in the space it kept, counts it as viewable after a second in view and not
//! before it is scrolled to, and a click leads on and counts.

use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use marquee::read;

use crate::adserver::running_campaign;
use crate::support::chrome::Chrome;
use crate::support::server::TestServer;
use crate::support::{Engine, TestShop};

/// A page of somebody else's site with one place for a banner, below the fold.
async fn page(marquee: web::Data<String>) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(format!(
        "<!doctype html><title>A page</title><h1>News</h1><div style=\"height:3000px\"></div>\
         <div id=place data-marquee=home data-size=300x250></div><p id=end>End</p>\
         <script async type=module src=\"{}/ads/tag.js\"></script>",
        marquee.get_ref()
    ))
}

/// How many banners were shown, seen and clicked.
async fn counts(server: &TestServer) -> (i64, i64, i64) {
    const SQL: &str = "SELECT COUNT(*), COUNT(viewable_at), COUNT(click_at) FROM touch WHERE channel = 'banner' AND state = 'served'";
    server.services.ads.flush().await;
    read!(server.services.platform.db, |c| sqlx::query_as::<_, (i64, i64, i64)>(SQL).fetch_one(c).await).expect("counts")
}

async fn until(server: &TestServer, wanted: (i64, i64, i64)) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let found = counts(server).await;
        if found == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < patience, "shown, seen, clicked: {found:?}, not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_the_tag_shows_counts_and_leads_on() {
    let Some(chrome) = Chrome::start().await else { return };
    let shop = TestShop::open(Engine::Sqlite).await.expect("SQLite is always there");
    let server = TestServer::start_reachable(&shop).await;
    running_campaign(&shop, &server, 0).await;
    let marquee = web::Data::new(server.url.clone());
    let site = HttpServer::new(move || App::new().app_data(marquee.clone()).route("/", web::get().to(page)));
    let site = site.workers(1).disable_signals().bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/", site.addrs()[0]);
    let site = site.run();
    let handle = site.handle();
    tokio::spawn(site);

    chrome.resize(1440, false).await;
    chrome.open(&address).await;
    let kept = "const box = document.querySelector('#place').getBoundingClientRect(); return [box.width, box.height];";
    let space = async || chrome.driver.execute(kept, vec![]).await.expect("a script runs").json().clone();
    let waited = tokio::time::Instant::now() + Duration::from_secs(30);
    while space().await != serde_json::json!([300, 250]) {
        assert!(tokio::time::Instant::now() < waited, "space: {}", space().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(counts(&server).await, (0, 0, 0), "nobody has scrolled there: nothing was asked for");

    chrome.driver.execute("document.querySelector('#end').scrollIntoView()", vec![]).await.expect("a script runs");
    let banner = chrome.one("#place a img").await;
    assert_eq!(space().await, serde_json::json!([300, 250]), "nothing moved");
    until(&server, (1, 1, 0)).await;

    banner.click().await.expect("the banner can be clicked");
    until(&server, (1, 1, 1)).await;
    handle.stop(false).await;
    chrome.quit().await;
}
