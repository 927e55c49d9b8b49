//! Every page in a real browser: nothing that axe-core calls serious, light enough, nothing from elsewhere, no sideways scrolling; and a
//! picture of each (1440 and 390 pixels, light and dark) in `target/tmp/pages/`, to be looked at.

use std::path::PathBuf;

use marquee::account::{NewUser, Role};
use marquee::web::{self, Need};

use crate::support::browser::PASSWORD;
use crate::support::chrome::Chrome;
use crate::support::server::TestServer;
use crate::support::{Engine, TestShop};

/// What a page and everything that it loads may weigh.
const MAX_BYTES: u64 = 100_000;
/// Answers that are no pages: files and parts of pages.
const NO_PAGES: [&str; 4] = ["/part/", "/stream", "/download", "/file"];

/// Where pictures of pages go.
pub fn pictures() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages")
}

/// All pages that need no id, and those of `also`.
pub fn paths(also: &[String]) -> Vec<String> {
    let plain = |p: &str| !p.contains('{') && !NO_PAGES.iter().any(|n| p.contains(n)) && !p.contains('.');
    let of_table = web::table().into_iter().filter(|r| r.method == "GET" && r.need != Need::Public && plain(r.path));
    of_table.map(|r| r.path.to_owned()).chain(also.iter().cloned()).collect()
}

fn file_name(path: &str) -> String {
    let name = path.trim_matches('/').replace(['/', '?', '&', '='], "_");
    if name.is_empty() { "home".to_owned() } else { name }
}

/// Looks at pages in a browser that is signed in; says everything that is wrong with them.
pub async fn look(chrome: &Chrome, base: &str, paths: &[String], state: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (width, dark) in [(1440, false), (390, true), (390, false), (1440, true)] {
        chrome.resize(width, dark).await;
        for path in paths {
            chrome.open(&format!("{base}{path}")).await;
            let theme = if dark { "dark" } else { "light" };
            let what = format!("{path} at {width} px, {theme}, {state}");
            chrome.picture(&pictures().join(state).join(format!("{}-{width}-{theme}.png", file_name(path)))).await;
            let over = chrome.overflow().await;
            if over > 0 {
                wrong.push(format!("{what}: {over} px too wide"));
            }
            // Rules depend on colours and on layout, but not on all four combinations of them.
            if (width == 1440) != dark {
                wrong.extend(chrome.accessibility().await.into_iter().map(|v| format!("{what}: {v}")));
            }
            if width == 1440 && !dark {
                let (bytes, hosts) = chrome.load().await;
                if bytes > MAX_BYTES {
                    wrong.push(format!("{what}: {bytes} bytes"));
                }
                if hosts.len() > 1 {
                    wrong.push(format!("{what}: asks {hosts:?}"));
                }
            }
        }
    }
    wrong
}

/// Signs in through the form.
pub async fn sign_in(chrome: &Chrome, base: &str, email: &str) {
    chrome.open(&format!("{base}/sign-in")).await;
    chrome.fill("input[name=email]", email).await;
    chrome.fill("input[name=password]", PASSWORD).await;
    chrome.click("form[action^='/sign-in'] button").await;
    chrome.one("#main").await;
}

/// A new shop: every page says what to do first, and is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_an_empty_shop() {
    let Some(chrome) = Chrome::start().await else { return };
    let shop = TestShop::open(Engine::Sqlite).await.expect("SQLite is always there");
    let server = TestServer::start(&shop).await;
    let new = NewUser { email: "admin@example.test".into(), name: "Ada Admin".into(), role: Role::Admin };
    server.services.ui.accounts.create(new, Some(PASSWORD)).await.expect("user");
    chrome.resize(1440, false).await;
    sign_in(&chrome, &server.url, "admin@example.test").await;
    let paths = paths(&[]);
    assert!(paths.len() > 10, "there are pages: {paths:?}");
    let wrong = look(&chrome, &server.url, &paths, "empty").await;
    chrome.quit().await;
    assert!(wrong.is_empty(), "{} findings:\n{}", wrong.len(), wrong.join("\n"));
}

/// Pictures of a running Marquee (a demo that stayed up): `MARQUEE_LOOK=http://127.0.0.1:8321 MARQUEE_LOOK_PATHS="/ /campaigns"
/// cargo test --test it look::pictures_of_a_running -- --ignored`. Signs in as `MARQUEE_LOOK_EMAIL` with `MARQUEE_LOOK_PASSWORD`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a running Marquee"]
async fn pictures_of_a_running() {
    let said = |name: &str, or: &str| std::env::var(name).unwrap_or_else(|_| or.to_owned());
    let base = said("MARQUEE_LOOK", "http://127.0.0.1:8321");
    let chrome = Chrome::start().await.expect("a browser");
    chrome.open(&format!("{base}/sign-in")).await;
    chrome.fill("input[name=email]", &said("MARQUEE_LOOK_EMAIL", "admin@example.test")).await;
    chrome.fill("input[name=password]", &said("MARQUEE_LOOK_PASSWORD", PASSWORD)).await;
    chrome.click("form[action^='/sign-in'] button").await;
    chrome.one("#main").await;
    let paths = match std::env::var("MARQUEE_LOOK_PATHS") {
        Ok(some) => some.split_whitespace().map(ToOwned::to_owned).collect(),
        Err(_) => paths(&[]),
    };
    let wrong = look(&chrome, &base, &paths, "running").await;
    chrome.quit().await;
    println!("pictures: {}\n{}", pictures().display(), wrong.join("\n"));
}
