//! The whole way through the house on a real shop's year, by the commands a marketer would type: orders in, people given addresses,
//! segments, the choice trained and measured, copy, a campaign with a holdout sent to a mail sink, mails opened and clicked, orders after
//! the clicks, credit, and a report that sums to the orders to the minor unit. In the end the same files again, which change nothing.
#![cfg(unix)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use marquee::delivery::message::find_touch;
use marquee::delivery::sink::{ReceivedMail, Sink};
use marquee::platform::config::DatabaseConfig;
use marquee::platform::ids::TouchId;
use marquee::platform::{Db, Timestamp, setting};
use marquee::read;
use marquee::recommend::base::Params;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{fresh_postgres, real_data};

/// The last day of the file.
const TODAY: &str = "2011-12-09";
/// When people read their mail, and when some of them order.
const EVENING: &str = "2011-12-10T18:00:00Z";
const LATER: &str = "2011-12-10T20:30:00Z";
const REPORT_DAY: &str = "2011-12-11";
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const OPENS: usize = 40;
const CLICKS: usize = 24;
const ORDERS: usize = 9;

/// A shop as its owner runs it: a folder with a configuration file, and the program.
struct Shop {
    folder: tempfile::TempDir,
    db: Db,
    base: String,
    bind: String,
    client: reqwest::Client,
}

impl Shop {
    async fn open(database: Option<String>, sink: &Sink) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let url = database.unwrap_or_else(|| format!("sqlite://{}", folder.path().join("shop.db").display()));
        // A port that is free now; links in mails need it before anything listens there.
        let bind = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").to_string();
        let base = format!("http://{bind}");
        let config = format!(
            "[database]\nurl = \"{url}\"\n[server]\nbind = \"{bind}\"\npublic_url = \"{base}\"\nthreads = 1\n\
             [shop]\nname = \"Gift shop\"\nurl = \"https://shop.example.test/\"\ncurrency = \"GBP\"\ntime_zone = \"Europe/London\"\n\
             [mail]\nservers = [\"{}\"]\nfrom_address = \"shop@example.test\"\n[models]\nencoder = \"catalogue\"\n",
            sink.url()
        );
        std::fs::write(folder.path().join("marquee.toml"), config).expect("configuration");
        let db = Db::open(&DatabaseConfig { url, ..DatabaseConfig::default() }).await.expect("database");
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("client");
        Self { folder, db, base, bind, client }
    }

    fn command(&self, as_of: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marquee"));
        command.arg("--as-of").arg(as_of).args(args).current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end; its standard output.
    async fn marquee(&self, as_of: &str, args: &[&str]) -> String {
        let started = Instant::now();
        let done = self.command(as_of, args).output().await.expect("the program runs");
        let (out, err) = (String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned());
        eprintln!("{:6.1} s  marquee {}", started.elapsed().as_secs_f64(), args.join(" "));
        assert!(done.status.success(), "marquee {}: {}\n{out}\n{err}", args.join(" "), done.status);
        out
    }

    /// As [`Shop::marquee`]; its output is one JSON document.
    async fn json(&self, as_of: &str, args: &[&str]) -> Value {
        let out = self.marquee(as_of, args).await;
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("marquee {}: {e}: {out}", args.join(" ")))
    }

    /// A server at this moment, ready to answer.
    async fn serve(&self, as_of: &str) -> Child {
        let log = std::fs::File::create(self.folder.path().join("serve.log")).expect("log");
        let mut child = self.command(as_of, &["serve", "--no-work"]).stdout(Stdio::null()).stderr(log).spawn().expect("the server starts");
        for _ in 0..600 {
            if self.client.get(format!("{}/readyz", self.base)).send().await.is_ok_and(|r| r.status().is_success()) {
                return child;
            }
            assert!(child.try_wait().expect("asked").is_none(), "the server ended by itself");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing answers on {}", self.bind);
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.folder.path().join(name), text).expect("file");
    }

    async fn number(&self, sql: &'static str) -> i64 {
        read!(self.db, |c| sqlx::query_scalar::<_, i64>(sql).fetch_one(c).await).expect("a number")
    }
}

/// Everything an import could have changed.
async fn imprint(shop: &Shop) -> Vec<i64> {
    let mut numbers = Vec::new();
    for sql in [
        "SELECT COUNT(*) FROM person",
        "SELECT MAX(updated_at) FROM person",
        "SELECT COUNT(*) FROM person_identity",
        "SELECT COUNT(*) FROM consent_log",
        "SELECT COUNT(*) FROM product",
        "SELECT MAX(updated_at) FROM product",
        "SELECT CAST(SUM(price_minor) AS BIGINT) FROM product",
        "SELECT COUNT(*) FROM event",
        "SELECT COUNT(*) FROM shop_order",
        "SELECT MAX(updated_at) FROM shop_order",
        "SELECT CAST(SUM(total_minor) AS BIGINT) FROM shop_order",
        "SELECT CAST(SUM(refunded_minor) AS BIGINT) FROM shop_order",
        "SELECT COUNT(*) FROM order_line",
        "SELECT CAST(SUM(quantity * unit_price_minor) AS BIGINT) FROM order_line",
        "SELECT CAST(SUM(cancelled_quantity) AS BIGINT) FROM order_line",
        "SELECT COUNT(*) FROM order_adjustment",
    ] {
        numbers.push(shop.number(sql).await);
    }
    numbers
}

/// Net of refunds and cancellations: what every report must sum to.
const NET: &str = "SELECT CAST(SUM(total_minor - refunded_minor) AS BIGINT) FROM shop_order";

/// The file itself, or every `share`-th customer's lines of it: whole histories, so that the year's span, repeats and cancellations stay.
/// Lines without a customer go by their invoice.
fn orders(real: &Path, share: u64) -> (Vec<u8>, BTreeMap<String, usize>) {
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(real).expect("file")).read_to_end(&mut text).expect("unpacks");
    let mut reader = csv::Reader::from_reader(text.as_slice());
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(reader.headers().expect("header")).expect("row");
    let mut lines_of: BTreeMap<String, usize> = BTreeMap::new();
    for row in reader.records() {
        let row = row.expect("row");
        let (invoice, customer) = (row[0].trim_start_matches(|c: char| !c.is_ascii_digit()), row[6].trim());
        let number: u64 = if customer.is_empty() { invoice } else { customer }.parse().expect("a number");
        if number.is_multiple_of(share) {
            out.write_record(&row).expect("row");
            *lines_of.entry(customer.to_owned()).or_default() += 1;
        }
    }
    (out.into_inner().expect("flushes"), lines_of)
}

async fn import_orders(shop: &Shop) -> Value {
    let args = ["import", "orders", "orders.csv", "--timezone", "Europe/London", "--currency", "GBP", "--rejects", "rejects.csv", "--json"];
    shop.json(TODAY, &args).await
}

async fn import_people(shop: &Shop) -> Value {
    shop.json(TODAY, &["import", "people", "people.csv", "--json"]).await
}

/// Orders, then addresses and consent for those who ordered; returns how many people that are.
async fn fill(shop: &Shop, real: &Path, share: u64) -> usize {
    let (text, lines_of) = orders(real, share);
    shop.put("orders.csv", text);
    let report = import_orders(shop).await;
    let rows: usize = lines_of.values().sum();
    assert_eq!(report["rows"], json!(rows), "{report}");
    let refused: u64 = report["refused"].as_object().expect("refused").values().map(|c| c["rows"].as_u64().expect("count")).sum();
    let taken = report["accepted"].as_u64().expect("count") + report["cancellations"].as_u64().expect("count");
    assert_eq!(taken + refused + report["passed_over"].as_u64().unwrap_or(0), rows as u64, "every line is accounted for: {report}");
    assert!(taken > refused * 10, "{report}");
    let rejects = csv::Reader::from_path(shop.folder.path().join("rejects.csv")).expect("rejects").records().count();
    assert_eq!(rejects as u64, refused, "every refused line stands in the rejects file");

    let customers: i64 = shop.number("SELECT COUNT(*) FROM person").await;
    let mut people = String::from("id,email,first_name,consent,consent_at\n");
    for customer in lines_of.keys().filter(|c| !c.is_empty()) {
        people.push_str(&format!("{customer},c{customer}@example.test,Ann,subscribed,2011-11-01\n"));
    }
    shop.put("people.csv", people);
    let report = import_people(shop).await;
    assert_eq!(report["accepted"], json!(lines_of.keys().filter(|c| !c.is_empty()).count()), "{report}");
    // Some customers are in the file only with lines that are refused.
    let now = shop.number("SELECT COUNT(*) FROM person").await;
    assert!(now >= customers && now - customers < 20 + customers / 50, "{now} people, {customers} before they had addresses");
    assert_eq!(shop.number("SELECT COUNT(*) FROM person WHERE email_consent = 'subscribed'").await, now);
    eprintln!("{rows} lines, {refused} refused; {now} people, net {} pence", shop.number(NET).await);
    usize::try_from(now).expect("count")
}

/// Two segments; the id and size of the first, which the campaign goes to.
async fn segments(shop: &Shop, people: usize) -> (String, i64) {
    let traits = shop.marquee(TODAY, &["jobs", "run", "people.traits"]).await;
    assert!(traits.contains(&people.to_string()), "{traits}");
    let recent = json!({ "type": "all", "of": [{ "type": "bought", "within_days": 90 }, { "type": "consent", "channel": "email", "is": "subscribed" }] });
    let best = json!({ "type": "rfm", "recency": [4, 5], "frequency": [4, 5], "monetary": [4, 5] });
    let put = shop.marquee(TODAY, &["segment", "put", "recent", "--rule", &recent.to_string()]).await;
    shop.marquee(TODAY, &["segment", "put", "best", "--rule", &best.to_string()]).await;
    let sizes: HashMap<String, i64> = shop
        .marquee(TODAY, &["segment", "snapshot"])
        .await
        .lines()
        .filter_map(|line| {
            let (key, rest) = line.split_once(": ")?;
            Some((key.to_owned(), rest.split(' ').next()?.parse().ok()?))
        })
        .collect();
    // 90 days before the end of 9 December 2011, London time.
    let naive = shop
        .number(
            "SELECT COUNT(DISTINCT person_id) FROM shop_order WHERE placed_at > 1315699200000000 AND placed_at < 1323475200000000
             AND flag IS NULL AND status <> 'cancelled'",
        )
        .await;
    let buyers = sizes["recent"];
    assert!((buyers - naive).abs() <= 1 + naive / 200, "{buyers} in the segment, {naive} by the orders");
    let total = i64::try_from(people).expect("count");
    assert!(buyers > total / 3 && buyers < total * 4 / 5, "{sizes:?} of {people}");
    assert!(sizes["best"] > total / 20 && sizes["best"] < total / 2, "{sizes:?} of {people}");
    eprintln!("segments {sizes:?} of {people} people; {naive} bought by the orders themselves");
    (put.split(' ').next().expect("id").to_owned(), buyers)
}

/// Trains, and reads how good it is. A smaller model than a shop's: this build is not optimised.
async fn choice(shop: &Shop, people: usize) {
    let mut params = Params::default();
    (params.als.rank, params.als.epochs, params.side.learn_people) = (16, 4, 150);
    let mut tx = shop.db.begin().await.expect("begin");
    setting::put(&mut tx, "recommend.params", &params, Timestamp(0)).await.expect("setting");
    tx.commit().await.expect("commit");
    let learned = shop.json(TODAY, &["train", "--json"]).await;
    let offline = &learned["train"]["metrics"]["offline"];
    let ndcg = |protocol: &str, method: &str| {
        let rows = offline[protocol].as_array().unwrap_or_else(|| panic!("no {protocol}: {learned}"));
        rows.iter().find(|r| r["method"] == method).and_then(|r| r["ndcg"].as_f64()).unwrap_or_else(|| panic!("no {method}: {offline}"))
    };
    eprintln!("{} people measured, {} % of purchases repeat", offline["people"], offline["repeat_rate"].as_f64().unwrap_or(0.0) * 100.0);
    for protocol in ["repeats_allowed", "new_items_only"] {
        for row in offline[protocol].as_array().expect("rows") {
            eprintln!("  {protocol:<16} {:<16} NDCG {:.4} recall {:.4}", row["method"], row["ndcg"], row["recall"]);
        }
        let (marquee, popular) = (ndcg(protocol, "marquee"), ndcg(protocol, "popular"));
        assert!(marquee > 1.2 * popular, "{protocol}: {marquee} against {popular} of what is popular");
    }
    assert!(ndcg("repeats_allowed", "marquee") > 1.5 * ndcg("repeats_allowed", "popular"), "{offline}");
    assert_eq!(learned["pick"]["picked"], json!(people), "{learned}");
    let picked = shop.number("SELECT COUNT(DISTINCT person_id) FROM pick WHERE person_id <> 0").await;
    assert_eq!(picked, i64::try_from(people).expect("count"));
    // What the shop cannot sell is not picked: no product without a price, none that is retired.
    let unfit = "SELECT COUNT(*) FROM pick k JOIN product p ON p.id = k.product_id WHERE p.retired_at IS NOT NULL OR p.price_minor <= 0";
    assert_eq!(shop.number(unfit).await, 0);
}

/// A mail as its reader sees it.
struct Letter {
    customer: String,
    pixel: String,
    click: String,
}

fn letter(mail: &ReceivedMail) -> Letter {
    let parsed = mail_parser::MessageParser::default().parse(&mail.data[..]).expect("a mail");
    let html = html_escape::decode_html_entities(&parsed.body_html(0).expect("HTML")).into_owned();
    let link = |kind: &str| {
        let at = html.find(kind).unwrap_or_else(|| panic!("no {kind} in {html}"));
        html[at..].split(['"', '\'', '<', ' ']).next().expect("a link").to_owned()
    };
    let base =
        mail.header("List-Unsubscribe").expect("List-Unsubscribe").trim_matches(['<', '>']).split("/u/").next().expect("base").to_owned();
    assert_eq!(mail.header("List-Unsubscribe-Post").as_deref(), Some("List-Unsubscribe=One-Click"));
    let customer = mail.to[0].trim_matches(['<', '>']).strip_prefix('c').and_then(|t| t.strip_suffix("@example.test"));
    Letter {
        customer: customer.unwrap_or_else(|| panic!("to {:?}", mail.to)).to_owned(),
        pixel: link(&format!("{base}/o/")),
        click: link(&format!("{base}/c/")),
    }
}

const HOLDOUT: f64 = 0.2;

/// The campaign from its file to the sink.
async fn campaign(shop: &Shop, sink: &Sink, segment: &str, audience: i64) -> Vec<ReceivedMail> {
    let plan = json!({ "key": "christmas", "name": "Christmas", "plan": {
        "channel": "email", "segment": segment, "holdout_bp": 2_000, "schedule": { "kind": "once", "at": "2011-12-09T23:59:59Z" },
        "goal": { "kind": "orders", "window_hours": 168 }, "choice": { "products": 1, "exclude_bought_days": 90 },
        "variants": [{ "name": "Warm", "tone": "friendly", "occasion": "recommendation" }, { "name": "Plain", "tone": "plain", "occasion": "seasonal" }] } });
    shop.put("campaign.json", plan.to_string());
    shop.marquee(TODAY, &["campaign", "create", "campaign.json"]).await;
    let plan = shop.json(TODAY, &["campaign", "dry-run", "christmas", "--json"]).await;
    assert_eq!(plan["audience"], json!(audience), "{plan}");
    assert_eq!(sink.count(), 0, "a dry run sends nothing");
    let shown = shop.marquee(TODAY, &["campaign", "send-now", "christmas"]).await;
    eprint!("{}", shown.split_once("\n}\n").map_or(shown.as_str(), |(_, rest)| rest));

    let state = |state: &'static str, arm: &'static str| async move {
        let sql = "SELECT COUNT(*) FROM touch WHERE state = $1 AND arm = $2";
        read!(shop.db, |c| sqlx::query_scalar::<_, i64>(sql).bind(state).bind(arm).fetch_one(c).await).expect("a number")
    };
    let (sent, held) = (state("sent", "treated").await, state("held", "ghost").await);
    let skipped = state("skipped", "treated").await + state("skipped", "ghost").await;
    assert_eq!(sent + held + skipped, audience, "everybody got a mail, was held out, or was left out with a reason\n{shown}");
    assert_eq!(shop.number("SELECT COUNT(*) FROM touch").await, audience);
    assert_eq!(shop.number("SELECT COUNT(*) FROM touch WHERE state = 'skipped' AND reason IS NULL").await, 0);
    assert!(skipped <= audience / 20, "{skipped} of {audience} left out\n{shown}");
    // Drawn by chance: five standard deviations.
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let (share, most) = (held as f64 / (sent + held) as f64, 5.0 * (HOLDOUT * (1.0 - HOLDOUT) / (sent + held) as f64).sqrt());
    assert!((share - HOLDOUT).abs() < most, "{held} held out beside {sent}");

    let mails = sink.mails();
    assert_eq!(mails.len(), usize::try_from(sent).expect("count"), "what is said to be sent arrived");
    let to: HashSet<&str> = mails.iter().map(|m| m.to[0].as_str()).collect();
    assert_eq!(to.len(), mails.len(), "nobody gets two");
    // The touch that a mail names is one of that person, treated, and its copy speaks of its product.
    let sql = "SELECT t.id, p.email, c.subject, pr.title FROM touch t JOIN person p ON p.id = t.person_id
         JOIN ad_copy c ON c.id = t.copy_id AND c.product_id = t.product_id JOIN product pr ON pr.id = t.product_id
         WHERE t.state = 'sent' AND t.arm = 'treated'";
    let rows = read!(shop.db, |c| sqlx::query_as::<_, (TouchId, String, String, String)>(sql).fetch_all(c).await);
    let touches: HashMap<_, _> =
        rows.expect("touches").into_iter().map(|(id, email, subject, title)| (id, (email, subject, title))).collect();
    assert_eq!(touches.len(), mails.len(), "every mail has copy for its own product");
    for mail in &mails {
        let touch = find_touch(&mail.header("Message-ID").expect("Message-ID")).expect("a touch");
        let (email, _, _) = &touches[&touch];
        assert_eq!(mail.to[0].trim_matches(['<', '>']), email);
    }
    let products = shop.number("SELECT COUNT(DISTINCT product_id) FROM touch WHERE state = 'sent'").await;
    let copies = shop.number("SELECT COUNT(*) FROM ad_copy").await;
    assert!(products > 20, "{products} products: it chooses by person");
    assert!(
        copies >= products && copies <= 2 * shop.number("SELECT COUNT(DISTINCT product_id) FROM touch").await,
        "{copies} for {products}"
    );
    let (_, subject, title) = touches.values().next().expect("one");
    eprintln!("{sent} sent, {held} held out, {skipped} left out; {products} products, {copies} copies, such as “{subject}” for {title}");
    mails
}

/// Some read and click, some order; returns what the orders of those who clicked came to, and what the others' did.
async fn readers(shop: &Shop, mails: &[ReceivedMail]) -> (i64, i64) {
    let letters: Vec<Letter> = mails.iter().map(letter).collect();
    let get = async |url: &str| shop.client.get(url).header("user-agent", BROWSER).send().await.expect("an answer");
    let mut server = shop.serve(EVENING).await;
    for letter in &letters[..OPENS] {
        assert_eq!(get(&letter.pixel).await.status(), 200);
    }
    for letter in &letters[..CLICKS] {
        let answer = get(&letter.click).await;
        assert_eq!(answer.status(), 302);
        let to = answer.headers()["location"].to_str().expect("text").to_owned();
        assert!(
            to.starts_with("https://shop.example.test/") && to.contains("utm_campaign=christmas") && !to.contains(&letter.customer),
            "{to}"
        );
    }
    // A scanner follows links too, and earns nothing.
    let scanner = shop.client.get(&letters[OPENS].click).header("user-agent", "Mozilla/5.0 (compatible; bingbot/2.0)").send().await;
    assert_eq!(scanner.expect("an answer").status(), 302);
    // Opens are written within a quarter of a second; clicks were before they were answered, and outlive a kill.
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.kill().await.expect("killed");
    assert_eq!(shop.number("SELECT COUNT(*) FROM touch WHERE open_at IS NOT NULL").await, i64::try_from(OPENS).expect("fits"));
    assert_eq!(shop.number("SELECT COUNT(*) FROM touch WHERE click_at IS NOT NULL").await, i64::try_from(CLICKS).expect("fits"));

    let key = shop.marquee(LATER, &["key", "create", "shop", "--scope", "ingest", "--scope", "reports"]).await.trim().to_owned();
    let mut server = shop.serve(LATER).await;
    let order = async |customer: &str, number: usize, minor: i64| {
        let body = json!({ "type": "track", "userId": customer, "event": "Order Completed", "messageId": format!("order-{number}"), "timestamp": LATER,
            "properties": { "order_id": format!("web-{number}"), "currency": "GBP", "total": format!("{}.{:02}", minor / 100, minor % 100),
                "products": [{ "sku": "85123A", "price": format!("{}.{:02}", minor / 100, minor % 100), "quantity": 1 }] } });
        for accepted in [1, 0] {
            let answer = shop.client.post(format!("{}/v1/track", shop.base)).bearer_auth(&key).json(&body).send().await.expect("an answer");
            let status = answer.status();
            let text = answer.text().await.expect("text");
            assert!(status.is_success(), "{status} {text}");
            assert_eq!(
                serde_json::from_str::<Value>(&text).expect("JSON")["accepted"],
                json!(accepted),
                "the second time it is known: {text}"
            );
        }
        minor
    };
    let (mut clicked, mut others) = (0, 0);
    for (n, letter) in letters[..ORDERS].iter().enumerate() {
        clicked += order(&letter.customer, n, 1_001 + 333 * i64::try_from(n).expect("fits")).await;
    }
    // One who only opened, one whom only the scanner touched, one who did neither.
    for n in [OPENS - 1, OPENS, OPENS + 1] {
        others += order(&letters[n].customer, 1_000 + n, 777).await;
    }
    let report = shop.client.get(format!("{}/v1/reports/attribution?model=linear&by=channel", shop.base)).bearer_auth(&key).send().await;
    assert_eq!(report.expect("an answer").status(), 200);
    server.kill().await.expect("killed");
    (clicked, others)
}

fn sum(report: &Value) -> i64 {
    report["rows"].as_array().expect("rows").iter().map(|r| r["revenue_minor"].as_i64().expect("minor")).sum()
}

async fn report(shop: &Shop, clicked: i64) {
    let net = shop.number(NET).await;
    let common = ["report", "attribution", "--from", "2010-12-01", "--to", REPORT_DAY, "--format", "json"];
    let runs = [("last", "campaign"), ("first", "channel"), ("linear", "product"), ("time_decay", "variant"), ("position", "day")];
    for (i, (model, by)) in runs.into_iter().enumerate() {
        let mut args = common.to_vec();
        args.extend(["--model", model, "--by", by]);
        if i == 0 {
            args.push("--update");
        }
        let report = shop.json(REPORT_DAY, &args).await;
        let totals = report["totals"].as_array().expect("totals");
        assert_eq!(totals.len(), 1, "one currency: {totals:?}");
        assert_eq!(totals[0]["revenue_minor"], json!(net), "{model} by {by}: the total is the orders'");
        assert_eq!(sum(&report), net, "{model} by {by}: the rows sum to it to the minor unit");
        assert_eq!(totals[0]["attributed_minor"], json!(clicked), "{model} by {by}: one touch before each order takes all of it");
        assert!(report["rows"].as_array().expect("rows").iter().any(|r| r["key"] == "unattributed"), "{model} by {by}");
        if by == "campaign" {
            assert!(report["rows"][0]["name"] == "Christmas" && report["rows"][0]["orders"] == json!(ORDERS), "{}", report["rows"]);
        }
    }
    // Opens count with view-through, a scanner's click never.
    let mut args = common.to_vec();
    args.push("--view-through");
    let seen = shop.json(REPORT_DAY, &args).await;
    assert_eq!((sum(&seen), &seen["totals"][0]["attributed_minor"]), (net, &json!(clicked + 777)));
    eprintln!("{}", shop.marquee(REPORT_DAY, &["report", "attribution", "--from", "2010-12-01", "--to", REPORT_DAY]).await);
    eprintln!("{}", shop.marquee(REPORT_DAY, &["report", "lift", "--campaign", "christmas"]).await);
}

async fn the_whole_way(database: Option<String>, real: &Path, share: u64) {
    let started = Instant::now();
    let sink = Sink::start(0).await.expect("sink");
    let shop = Shop::open(database, &sink).await;
    // The first command migrates.
    let people = fill(&shop, real, share).await;
    let (segment, audience) = segments(&shop, people).await;
    choice(&shop, people).await;
    let mails = campaign(&shop, &sink, &segment, audience).await;
    let before = shop.number(NET).await;
    let (clicked, others) = readers(&shop, &mails).await;
    assert_eq!(shop.number(NET).await, before + clicked + others, "each order counts once");
    report(&shop, clicked).await;

    let imprinted = imprint(&shop).await;
    for again in [import_orders(&shop).await, import_people(&shop).await] {
        assert_eq!(again["unchanged"], json!(true), "{again}");
        assert!(again["written"].as_object().expect("written").values().all(|n| n == 0), "{again}");
    }
    assert_eq!(imprint(&shop).await, imprinted, "the same files again change nothing");
    assert_eq!(sink.count(), mails.len() as u64, "no more mails");
    shop.db.close().await;
    eprintln!("the whole way: {:.0} s", started.elapsed().as_secs_f64());
}

/// Every fifth customer: with all of them an unoptimised build takes many minutes, most of them to train. The first lines of the file
/// instead would be a winter without the 90 days before the end. The whole file is imported in `import.rs`.
const SHARE_ON_SQLITE: u64 = 5;
const SHARE_ON_POSTGRES: u64 = 12;

/// `MARQUEE_TEST_SHARE=1` takes everybody.
fn share(default: u64) -> u64 {
    std::env::var("MARQUEE_TEST_SHARE").ok().map_or(default, |text| text.parse().expect("MARQUEE_TEST_SHARE is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_year_from_orders_to_credit_on_sqlite() {
    let Some(real) = real_data("online_retail/online_retail.csv.gz") else { return };
    the_whole_way(None, &real, share(SHARE_ON_SQLITE)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_year_from_orders_to_credit_on_postgres() {
    let Some(real) = real_data("online_retail/online_retail.csv.gz") else { return };
    let Some(url) = fresh_postgres().await else { return };
    the_whole_way(Some(url), &real, share(SHARE_ON_POSTGRES)).await;
}
