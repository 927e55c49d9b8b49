//! The stock `segment-analytics-python` against a real server, with only its host set. Skips where Python or the package cannot be had, and
//! fails there in CI.

use std::path::{Path, PathBuf};

use marquee::account::Scope;
use marquee::events::{self, orders};
use marquee::people::{self, Identity};
use marquee::platform::Timestamp;
use tokio::process::Command;

use crate::both_engines;
use crate::support::START;
use crate::support::server::TestServer;

const PACKAGE: &str = "segment-analytics-python==2.4.0";

const SCRIPT: &str = r#"
import sys
import segment.analytics as analytics

errors = []
analytics.write_key = sys.argv[1]
analytics.host = sys.argv[2]
analytics.gzip = sys.argv[3] == "gzip"
analytics.on_error = lambda error, items: errors.append(str(error))
for i in range(250):
    analytics.identify(f"u{i % 50}", {"email": f"u{i % 50}@example.test", "plan": "gold"})
    analytics.track(f"u{i % 50}", "Product Viewed", {"sku": f"s{i}", "price": 12.5})
analytics.page("u1", "Docs", "Python", {"url": "https://shop.example.com/"})
analytics.screen("u1", "Basket")
analytics.group("u1", "g1", {"name": "Group"})
analytics.alias("before", "u2")
analytics.track("u3", "Order Completed", {"order_id": f"o-{sys.argv[3]}", "total": 19.99, "currency": "EUR",
    "products": [{"sku": "s1", "price": 19.99, "quantity": 1}]})
analytics.flush()
analytics.shutdown()
sys.exit(1 if errors else 0)
"#;

/// Where the package lies, installed once per target folder.
async fn package() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("segment-analytics-python");
    if target.join("segment").exists() {
        return Some(target);
    }
    // Tests of both engines may come here at once: each installs apart, the first to finish moves its folder into place.
    let own = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = own.path().join("site");
    let done = Command::new("python3").args(["-m", "pip", "install", "--quiet", "--target"]).arg(&path).arg(PACKAGE).output().await;
    match done {
        Ok(out) if out.status.success() => {
            std::fs::rename(&path, &target).ok();
            Some(target)
        }
        Ok(out) => skip(&String::from_utf8_lossy(&out.stderr)),
        Err(e) => skip(&e.to_string()),
    }
}

fn skip(why: &str) -> Option<PathBuf> {
    assert!(std::env::var_os("CI").is_none(), "python3 with {PACKAGE} is needed in CI: {why}");
    eprintln!("skipped: python3 with {PACKAGE} cannot be had here: {}", why.trim());
    None
}

both_engines!(the_stock_python_client_works_unchanged, |shop| {
    let Some(site) = package().await else { return };
    let db = &shop.platform.db;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Ingest, Scope::Manage]).await;
    for encoding in ["plain", "gzip"] {
        let out = Command::new("python3")
            .args(["-c", SCRIPT, &key, &server.url, encoding])
            .env("PYTHONPATH", &site)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .await
            .expect("python runs");
        assert!(out.status.success(), "{encoding}: {}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(people::count(db).await.expect("count"), 50);
    assert_eq!(events::count(db).await.expect("count"), 2 * (250 + 4));
    let who = people::find(db, &Identity::External("u7".into())).await.expect("read").expect("u7");
    assert_eq!((who.email.as_deref(), who.attributes.0["plan"].as_str()), (Some("u7@example.test"), Some("gold")));
    assert!(people::find(db, &Identity::Anonymous("before".into())).await.expect("read").is_some(), "alias");
    let totals = orders::totals(db, Timestamp::MIN, START.plus_days(1)).await.expect("totals");
    assert_eq!((totals[0].orders, totals[0].net_minor()), (2, 3998));
});
