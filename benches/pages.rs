//! What each page costs the server, in a shop of `MARQUEE_BENCH_PEOPLE` people (default 5,000; see `support::world`), signed in as an admin:
//! milliseconds of the second to sixth request (median), how many statements it asked of the database, and its size.
//!
//! For the figures of a large shop: `MARQUEE_BENCH_PEOPLE=1000000 make bench ARGS=pages` (100,000 products, 10 million touches).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use marquee::account::{NewUser, Role};
use marquee::app::{self, Services};
use marquee::platform::config::MailConfig;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, filter::Targets};

use crate::support::world::{self, Scale};
use crate::support::{self, Shop};

const PASSWORD: &str = "correct horse battery";
const ROUNDS: usize = 5;

/// Counts what sqlx says it asked.
struct Statements(Arc<AtomicU64>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, S>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub fn run() {
    let asked = Arc::new(AtomicU64::new(0));
    let only = Targets::new().with_target("sqlx::query", tracing::Level::DEBUG);
    let _ = tracing_subscriber::registry().with(Statements(asked.clone()).with_filter(only)).try_init();
    let people = std::env::var("MARQUEE_BENCH_PEOPLE").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000);
    let scale = Scale::of(people);
    let runtime = support::runtime();
    for shop in runtime.block_on(support::shops(&MailConfig::default())) {
        let begun = Instant::now();
        runtime.block_on(world::fill(&shop.platform, scale));
        println!(
            "\npages, {}: {} people, {} products, {} touches, {} orders, {} events (made in {:.0} s)",
            shop.engine,
            scale.people,
            scale.products,
            scale.touches,
            scale.orders,
            scale.events,
            begun.elapsed().as_secs_f64()
        );
        println!("{:<46} {:>9} {:>11} {:>9}", "page", "ms", "statements", "kB");
        runtime.block_on(measure(&shop, &asked));
    }
}

/// Pages with an id in their path, with one that is there.
fn with_ids(pattern: &str) -> Option<String> {
    let ids: BTreeMap<&str, &str> = [
        ("/campaigns/{id}", "cmp_5"),
        ("/segments/{id}", "seg_1"),
        ("/people/{id}", "per_7"),
        ("/catalogue/{id}", "prd_7"),
        ("/jobs/{name}", "attribution.rollup"),
    ]
    .into();
    if pattern == "/reports/{kind}" {
        return None;
    }
    if !pattern.contains('{') {
        return Some(pattern.to_owned());
    }
    let id = ids.get(pattern)?;
    let open = pattern.find('{')?;
    Some(format!("{}{id}", &pattern[..open]))
}

async fn measure(shop: &Shop, asked: &AtomicU64) {
    let services = Services::start(shop.platform.clone()).await.expect("services");
    let server = app::serve(&services).await.expect("a server");
    let user = NewUser { email: "bench@example.test".into(), name: "Bench".into(), role: Role::Admin };
    services.ui.accounts.create(user, Some(PASSWORD)).await.expect("a user");
    let client = reqwest::Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    sign_in(&client, &server.url).await;
    let mut paths: Vec<String> = marquee::web::table()
        .iter()
        .filter(|r| r.method == actix_web::http::Method::GET && r.action.is_none())
        .filter_map(|r| with_ids(r.path))
        .collect();
    paths.extend(marquee::attribution::ReportKind::ALL.map(|k| format!("/reports/{}", k.name())));
    // Files are written while they are read; what is asked is how long a page takes, in every order.
    paths.extend(["name", "first_seen", "-last_seen", "-orders", "-revenue"].map(|sort| format!("/people?sort={sort}")));
    paths.extend(["-sent", "-clicks", "-revenue"].map(|sort| format!("/campaigns?sort={sort}")));
    paths.extend(["/?days=90", "/reports/funnel?by=product", "/reports/attribution?by=day"].map(str::to_owned));
    paths.sort();
    paths.dedup();
    for path in paths {
        let mut times = Vec::new();
        let (mut statements, mut size, mut status) = (0, 0, 0);
        for round in 0..=ROUNDS {
            let before = asked.load(Ordering::Relaxed);
            let begun = Instant::now();
            let answer = client.get(format!("{}{path}", server.url)).header("accept", "text/html").send().await.expect("an answer");
            status = answer.status().as_u16();
            size = answer.bytes().await.expect("a page").len();
            if round > 0 {
                times.push(begun.elapsed().as_secs_f64() * 1_000.0);
                statements = asked.load(Ordering::Relaxed) - before;
            }
            if status != 200 {
                break;
            }
        }
        if status != 200 {
            continue;
        }
        times.sort_by(f64::total_cmp);
        println!("{path:<46} {:>9.1} {statements:>11} {:>9.1}", times[times.len() / 2], size as f64 / 1_000.0);
    }
    server.handle.stop(false).await;
}

async fn sign_in(client: &reqwest::Client, url: &str) {
    let page = client.get(format!("{url}/sign-in")).header("accept", "text/html").send().await.expect("a page").text().await.expect("text");
    let token = regex::Regex::new(r#"name="csrf" (?:value|content)="([^"]+)""#).expect("pattern");
    let token = token.captures(&page).map(|c| c[1].to_owned()).expect("a token");
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("csrf", token.as_str()), ("email", "bench@example.test"), ("password", PASSWORD)])
        .finish();
    let answer = client
        .post(format!("{url}/sign-in"))
        .header("origin", url)
        .header("sec-fetch-site", "same-origin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 303, "signed in");
}
