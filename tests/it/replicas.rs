//! Two servers and two workers, real processes over one Postgres, one of each killed with SIGKILL in the middle: a campaign goes out,
//! shoppers are shown banners, see and click them, read mail and order, through both servers. In the end every figure reconciles with what
//! the clients were told and with what the mail server took.
#![cfg(unix)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use marquee::account::{KeyRing, Scope};
use marquee::audience::{self, NewSegment, Rule};
use marquee::campaign::{self, NewCampaign};
use marquee::catalog::{self, NewProduct};
use marquee::delivery::message::find_touch;
use marquee::delivery::sink::{Action, ReceivedMail, Script, Sink, SinkOptions, Stage};
use marquee::people::{self, Channel, Consent, NewPerson};
use marquee::platform::config::DatabaseConfig;
use marquee::platform::ids::{CampaignId, PersonId, SegmentId, TouchId};
use marquee::platform::queue::{self, NewRun};
use marquee::platform::{Clock, Config, Currency, Money, Platform};
use marquee::read;
use marquee::touches::{self, Touch, TouchState};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::fresh_postgres;

const PEOPLE: usize = 3_000;
/// Of every so many people one never agreed to mail.
const NO_CONSENT: usize = 40;
const CONNECTIONS: usize = 8;
/// People who look at banners, and nothing else; few, so that their caps fill.
const SHOPPERS: usize = 240;
const SHOPPER_TASKS: usize = 12;
/// Visits of each shopper.
const VISITS: usize = 8;
/// Banners a person and day.
const CAP: usize = 3;
/// Mails that are read, at most.
const READERS: usize = 160;
/// A click sooner than this after the mail is taken for a scanner's.
const READING: Duration = Duration::from_millis(6_500);
/// By then impressions and opens are written: the documented quarter of a second, and some patience for a busy machine.
const WRITTEN: Duration = Duration::from_millis(1_500);
/// By then a replica knows what another showed: flushed within 250 ms, learned once a second, and some patience for a busy machine.
const LEARNED: Duration = Duration::from_millis(4_000);
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

fn shopper(n: usize) -> String {
    format!("u{n}")
}

/// A shop of three thousand people and five products; its segment.
async fn shop(platform: &Platform) -> SegmentId {
    let now = platform.now();
    for chunk in (0..PEOPLE).collect::<Vec<_>>().chunks(1_000) {
        let new: Vec<NewPerson> = chunk
            .iter()
            .map(|i| NewPerson {
                external_id: Some(shopper(*i)),
                email: Some(format!("u{i}@d{}.example.test", i % 7)),
                locale: Some("en".into()),
                ..NewPerson::default()
            })
            .collect();
        let mut tx = platform.db.begin().await.expect("begin");
        let ids = people::bulk_upsert(&mut tx, &new, now).await.expect("people");
        let willing: Vec<PersonId> = ids.iter().zip(chunk).filter(|(_, i)| *i % NO_CONSENT != 0).map(|(id, _)| *id).collect();
        people::set_consents(&mut tx, &willing, Channel::Email, Consent::Subscribed, "test", now).await.expect("consent");
        tx.commit().await.expect("commit");
    }
    let mut tx = platform.db.begin().await.expect("begin");
    let products: Vec<NewProduct> = ["Green tea", "Oak table", "Wool blanket", "Tin mug", "Walnut tray"]
        .iter()
        .enumerate()
        .map(|(i, title)| {
            let mut product = NewProduct::new(format!("SKU{i}"), *title, Money { minor: 2_490, currency: Currency::EUR });
            product.url = Some(format!("https://shop.example.test/p/{i}"));
            product
        })
        .collect();
    catalog::bulk_upsert(&mut tx, &products, now).await.expect("products");
    tx.commit().await.expect("commit");
    let everyone = NewSegment { key: "everyone".into(), name: "Everyone".into(), rule: Rule::Everyone {} };
    audience::create(&platform.db, everyone, now).await.expect("segment").id
}

/// A campaign to the segment that begins now; a tenth is held out.
async fn begin(platform: &Platform, segment: SegmentId, channel: &str) -> CampaignId {
    let now = platform.now();
    let mut plan = json!({ "channel": channel, "segment": segment, "holdout_bp": 1_000, "schedule": { "kind": "once", "at": now } });
    if channel == "banner" {
        plan["placements"] = json!(["home"]);
        plan["caps"] = json!({ "per_day": CAP, "per_week": 0 });
    }
    let new = NewCampaign { key: Some(channel.into()), name: channel.into(), plan: serde_json::from_value(plan).expect("plan") };
    let made = campaign::create(&platform.db, new, now).await.expect("campaign");
    campaign::send_now(platform, made.id).await.expect("under way").id
}

/// A process that does not outlive the test.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
    fn runs(&mut self) -> bool {
        self.0.try_wait().expect("asked").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A real process over the database; its log goes to a file of its own.
fn start(name: &str, args: &[&str], url: &str, sink: &Sink, public: &str, folder: &std::path::Path) -> Process {
    let log = std::fs::File::create(folder.join(format!("{name}.log"))).expect("log");
    let child = Command::new(env!("CARGO_BIN_EXE_marquee"))
        .args(["--database", url])
        .args(args)
        .current_dir(folder)
        .env("MARQUEE_MAIL__SERVERS", format!("[\"{}\"]", sink.url()))
        .env("MARQUEE_MAIL__FROM_ADDRESS", "shop@example.test")
        .env("MARQUEE_MAIL__CONNECTIONS", CONNECTIONS.to_string())
        .env("MARQUEE_SERVER__PUBLIC_URL", public)
        .env("MARQUEE_SERVER__THREADS", "1")
        .env("MARQUEE_DATABASE__MAX_CONNECTIONS", "6")
        .env("MARQUEE_WORK__LEASE_S", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    Process(child.expect("the process starts"))
}

async fn enqueue(platform: &Platform, job: &str) {
    let now = platform.now();
    let mut tx = platform.db.begin().await.expect("begin");
    let run = NewRun { job, unique_key: format!("test:{}", now.micros()), args: json!({}), at: now };
    queue::enqueue(&mut tx, run, now).await.expect("enqueued");
    tx.commit().await.expect("commit");
}

/// A banner that a client was given.
struct Impression {
    touch: TouchId,
    person: String,
    /// Which server gave it.
    server: usize,
    asked: Instant,
    told: Instant,
}

/// An order that a client was told is taken.
struct Order {
    minor: i64,
    /// Whether its person had clicked before, and was told so.
    after_click: bool,
}

/// What the clients know: everything in it was acknowledged.
#[derive(Default)]
struct Ledger {
    impressions: Vec<Impression>,
    /// Answers about banners that never came.
    unanswered: usize,
    reasons: BTreeMap<String, usize>,
    banner_views: HashSet<TouchId>,
    banner_clicks: HashSet<TouchId>,
    /// With the server that took it and when it said so.
    opens: Vec<(TouchId, usize, Instant)>,
    mail_clicks: HashSet<TouchId>,
    /// The marks of events.
    events: HashSet<String>,
    orders: HashMap<String, Order>,
}

/// Clients of both servers; whoever gets no answer asks the other.
#[derive(Clone)]
struct Clients {
    bases: [String; 2],
    dead: Arc<AtomicBool>,
    client: reqwest::Client,
    key: String,
    ledger: Arc<Mutex<Ledger>>,
    retries: Arc<AtomicU64>,
    served: Arc<[AtomicU64; 2]>,
}

impl Clients {
    fn note<R>(&self, f: impl FnOnce(&mut Ledger) -> R) -> R {
        f(&mut self.ledger.lock().expect("ledger"))
    }

    /// One try. `None`: no whole answer came.
    async fn once(&self, server: usize, path: &str, body: Option<&Value>) -> Option<(u16, String)> {
        let url = format!("{}{path}", self.bases[server]);
        let request = match body {
            Some(body) => self.client.post(url).json(body),
            None => self.client.get(url),
        };
        let answer = request.header("user-agent", BROWSER).bearer_auth(&self.key).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        self.served[server].fetch_add(1, Ordering::Relaxed);
        Some((status, text))
    }

    /// Until an answer comes: which server gave it, and what it was.
    async fn ask(&self, rng: &mut ChaCha8Rng, path: &str, body: Option<&Value>, expect: u16) -> (usize, String) {
        let mut server = rng.random_range(0..2);
        for _ in 0..200 {
            match self.once(server, path, body).await {
                Some((status, text)) if status == expect => return (server, text),
                Some((status, text)) => assert!(status == 429 || status == 503, "{path}: {status} {text}"),
                None => {}
            }
            self.retries.fetch_add(1, Ordering::Relaxed);
            server = 1 - server;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: neither server answers");
    }

    /// An event that says a mark, so that it can be found; sometimes sent twice, as networks do.
    async fn event(&self, rng: &mut ChaCha8Rng, person: &str, mark: String) {
        let body = json!({ "type": "track", "userId": person, "event": "Product Viewed", "messageId": mark,
                           "properties": { "sku": "SKU1", "mark": mark } });
        for _ in 0..rng.random_range(1..=2) {
            self.ask(rng, "/v1/track", Some(&body), 200).await;
        }
        self.note(|l| l.events.insert(mark));
    }

    async fn order(&self, rng: &mut ChaCha8Rng, person: &str, reference: String, after_click: bool) {
        let minor: i64 = rng.random_range(500..9_999);
        let price = format!("{}.{:02}", minor / 100, minor % 100);
        let body = json!({ "type": "track", "userId": person, "event": "Order Completed", "messageId": reference,
            "properties": { "order_id": reference, "currency": "EUR", "total": price, "mark": reference,
                            "products": [{ "sku": "SKU0", "price": price, "quantity": 1 }] } });
        for _ in 0..rng.random_range(1..=2) {
            self.ask(rng, "/v1/track", Some(&body), 200).await;
        }
        self.note(|l| {
            l.events.insert(reference.clone());
            l.orders.insert(reference, Order { minor, after_click })
        });
    }

    /// One look at a page with a banner; whether the viewer clicked it.
    async fn visit(&self, rng: &mut ChaCha8Rng, person: &str) -> bool {
        let path = format!("/v1/creatives?placement=home&person={person}");
        let server = rng.random_range(0..2);
        let server = if self.dead.load(Ordering::SeqCst) { 0 } else { server };
        let asked = Instant::now();
        let Some((status, text)) = self.once(server, &path, None).await else {
            self.note(|l| l.unanswered += 1);
            return false;
        };
        assert_eq!(status, 200, "{text}");
        let told = Instant::now();
        let shown: Value = serde_json::from_str(&text).expect("JSON");
        if shown["filled"] != true {
            let reason = shown["reason"].as_str().unwrap_or_default().to_owned();
            self.note(|l| *l.reasons.entry(reason).or_default() += 1);
            return false;
        }
        let touch: TouchId = shown["touch_id"].as_str().and_then(|t| t.parse().ok()).expect("a touch");
        self.note(|l| l.impressions.push(Impression { touch, person: person.to_owned(), server, asked, told }));
        let local = |field: &str| {
            let url = shown[field].as_str().expect("a URL");
            url[url.find("/a/").expect("a path")..].to_owned()
        };
        if rng.random_bool(0.6) {
            for _ in 0..rng.random_range(1..=2) {
                self.ask(rng, &local("viewable_url"), None, 200).await;
            }
            self.note(|l| l.banner_views.insert(touch));
        }
        let clicks = rng.random_bool(0.3);
        if clicks {
            for _ in 0..rng.random_range(1..=2) {
                self.ask(rng, &local("click_url"), None, 302).await;
            }
            self.note(|l| l.banner_clicks.insert(touch));
        }
        clicks
    }

    /// All that some shoppers do, one after the other per person.
    async fn shop(self, task: usize) {
        let mut rng = ChaCha8Rng::seed_from_u64(task as u64);
        let mine: Vec<usize> = (0..SHOPPERS).filter(|n| n % SHOPPER_TASKS == task).collect();
        let mut clicked: HashSet<usize> = HashSet::new();
        for visit in 0..VISITS {
            for n in &mine {
                let person = shopper(*n);
                // Some look at many pages in a second: faster than servers hear of each other.
                for _ in 0..if n % 4 == 0 { 5 } else { 1 } {
                    if self.visit(&mut rng, &person).await {
                        clicked.insert(*n);
                    }
                }
                if rng.random_bool(0.5) {
                    self.event(&mut rng, &person, format!("view-{n}-{visit}")).await;
                }
                if rng.random_bool(0.15) {
                    self.order(&mut rng, &person, format!("order-{n}-{visit}"), clicked.contains(n)).await;
                }
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..120))).await;
            }
        }
    }

    /// Somebody reads a mail: opens it, clicks, perhaps orders.
    async fn read(self, mail: ReceivedMail, n: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(1_000 + n);
        let address = mail.to[0].trim_matches(['<', '>']).to_owned();
        let person = address.split('@').next().expect("a name").to_owned();
        let touch = find_touch(&mail.header("Message-ID").expect("Message-ID")).expect("a touch");
        let parsed = mail_parser::MessageParser::default().parse(&mail.data[..]).expect("a mail");
        let html = html_escape::decode_html_entities(&parsed.body_html(0).expect("HTML")).into_owned();
        let path = |kind: &str| {
            let at = html.find(kind).unwrap_or_else(|| panic!("no {kind} in the mail"));
            html[at..].split(['"', '\'', '<', ' ']).next().expect("a link").to_owned()
        };
        let wait = READING + Duration::from_millis(rng.random_range(0..4_000));
        tokio::time::sleep(wait).await;
        let (server, _) = self.ask(&mut rng, &path("/o/"), None, 200).await;
        self.note(|l| l.opens.push((touch, server, Instant::now())));
        let clicks = rng.random_bool(0.6);
        if clicks {
            self.ask(&mut rng, &path("/c/"), None, 302).await;
            self.note(|l| l.mail_clicks.insert(touch));
        }
        if rng.random_bool(0.5) {
            self.order(&mut rng, &person, format!("mail-{n}"), clicks).await;
        }
    }
}

async fn all_touches(platform: &Platform, campaign: CampaignId) -> Vec<Touch> {
    let mut all: Vec<Touch> = Vec::new();
    loop {
        let page = touches::page_of_campaign(&platform.db, campaign, None, all.last().map(|t| t.id), 1_000).await.expect("page");
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Nudges the workers until every touch of the mail campaign has ended.
async fn until_sent(platform: &Platform, campaign: CampaignId) -> BTreeMap<TouchState, i64> {
    let mut states = BTreeMap::new();
    for _ in 0..600 {
        enqueue(platform, "delivery.dispatch").await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        states.clear();
        for count in touches::counts_of_campaign(&platform.db, campaign).await.expect("counts") {
            *states.entry(count.state).or_insert(0) += count.touches;
        }
        if states.values().sum::<i64>() == PEOPLE as i64 && states.keys().all(|s: &TouchState| !s.is_open()) {
            return states;
        }
    }
    panic!("the campaign does not end: {states:?}");
}

/// Ids that occur in a query's answer, with how often.
async fn ids(platform: &Platform, sql: &'static str) -> HashMap<TouchId, i64> {
    let rows = read!(platform.db, |c| sqlx::query_as::<_, (TouchId, i64)>(sql).fetch_all(c).await);
    rows.expect("ids").into_iter().collect()
}

async fn mails_reconcile(platform: &Platform, campaign: CampaignId, sink: &Sink, progress: &Value) -> String {
    let all = all_touches(platform, campaign).await;
    assert_eq!(all.len(), PEOPLE, "one touch a person");
    assert_eq!(all.iter().filter_map(|t| t.person_id).collect::<HashSet<_>>().len(), PEOPLE);
    let of = |state: TouchState| all.iter().filter(move |t| t.state == state).map(|t| t.id).collect::<HashSet<TouchId>>();
    let (sent, uncertain, held, skipped) = (of(TouchState::Sent), of(TouchState::Uncertain), of(TouchState::Held), of(TouchState::Skipped));
    assert_eq!(sent.len() + uncertain.len() + held.len() + skipped.len(), PEOPLE, "nothing failed, expired or was cancelled");
    assert!(all.iter().filter(|t| t.state == TouchState::Skipped).all(|t| t.reason.as_deref() == Some("no_consent")));
    assert_eq!(skipped.len(), PEOPLE.div_ceil(NO_CONSENT));
    assert!(held.len() > PEOPLE / 15 && held.len() < PEOPLE / 6, "{} held out", held.len());
    assert!(uncertain.len() <= CONNECTIONS, "{} uncertain after one worker of {CONNECTIONS} connections was killed", uncertain.len());
    let mails = sink.mails();
    let to: HashSet<&str> = mails.iter().map(|m| m.to[0].as_str()).collect();
    assert_eq!(to.len(), mails.len(), "nobody gets two");
    let received: HashSet<TouchId> = mails.iter().map(|m| find_touch(&m.header("Message-ID").expect("id")).expect("a touch")).collect();
    assert_eq!(received.len(), mails.len());
    assert!(sent.is_subset(&received), "{} said to be sent never arrived", sent.difference(&received).count());
    let unknown = received.iter().filter(|id| !sent.contains(*id) && !uncertain.contains(*id)).count();
    assert_eq!(unknown, 0, "mails that nobody knows of");
    // The API tells the same.
    let mut told: BTreeMap<&str, i64> = BTreeMap::new();
    for row in progress["states"].as_array().expect("states") {
        *told.entry(row["state"].as_str().expect("state")).or_default() += row["touches"].as_i64().expect("count");
    }
    for (state, ids) in [("sent", &sent), ("held", &held), ("skipped", &skipped), ("uncertain", &uncertain)] {
        assert_eq!(told.get(state).copied().unwrap_or(0), ids.len() as i64, "{state}: {progress}");
    }
    let arrived = uncertain.intersection(&received).count();
    format!(
        "{} planned = {} sent + {} uncertain ({arrived} of them arrived) + {} held out + {} without consent; the sink took {}",
        PEOPLE,
        sent.len(),
        uncertain.len(),
        held.len(),
        skipped.len(),
        mails.len()
    )
}

const SERVED: &str = "SELECT id, COUNT(*) FROM touch WHERE channel = 'banner' AND state = 'served' GROUP BY id";

/// What the account of banners must know.
struct Kill {
    /// When the server was killed.
    at: Instant,
    /// Banners shown before anybody came.
    waited: HashMap<TouchId, i64>,
    /// Caps began anew meanwhile.
    midnight: bool,
}

/// Banners: acknowledged = counted, but for the last moments of a server that was killed; caps but for what replicas could not know yet.
async fn banners_reconcile(platform: &Platform, ledger: &Ledger, kill: &Kill, progress: &Value) -> String {
    let mut served = ids(platform, SERVED).await;
    let sum = |rows: &Value| {
        rows.as_array().expect("states").iter().filter(|r| r["state"] == "served").filter_map(|r| r["touches"].as_i64()).sum::<i64>()
    };
    assert_eq!(sum(&progress["states"]), served.len() as i64, "{progress}");
    served.retain(|id, _| !kill.waited.contains_key(id));
    let told: HashMap<TouchId, &Impression> = ledger.impressions.iter().map(|i| (i.touch, i)).collect();
    assert_eq!(told.len(), ledger.impressions.len(), "no touch twice");
    let lost: Vec<&&Impression> = told.values().filter(|i| !served.contains_key(&i.touch)).collect();
    for impression in &lost {
        let before = kill.at.saturating_duration_since(impression.told);
        assert!(
            impression.server == 1 && before < WRITTEN,
            "an impression of server {} was lost {before:?} before the kill",
            impression.server
        );
        let known = ledger.banner_clicks.contains(&impression.touch) || ledger.banner_views.contains(&impression.touch);
        assert!(!known, "its view or click should have brought it along");
    }
    let surplus = served.keys().filter(|id| !told.contains_key(id)).count();
    assert!(surplus <= ledger.unanswered, "{surplus} impressions that nobody asked for; {} answers were lost", ledger.unanswered);
    for (what, told, sql) in [
        (
            "view",
            &ledger.banner_views,
            "SELECT s.touch_id, COUNT(*) FROM touch_signal s JOIN touch t ON t.id = s.touch_id WHERE t.channel = 'banner' AND s.kind = 'viewable' AND s.actor = 'human' GROUP BY s.touch_id",
        ),
        (
            "click",
            &ledger.banner_clicks,
            "SELECT s.touch_id, COUNT(*) FROM touch_signal s JOIN touch t ON t.id = s.touch_id WHERE t.channel = 'banner' AND s.kind = 'click' AND s.actor = 'human' GROUP BY s.touch_id",
        ),
    ] {
        let found = ids(platform, sql).await;
        assert_eq!(found.keys().copied().collect::<HashSet<_>>(), *told, "every {what} that was acknowledged, and no other");
        assert!(found.values().all(|n| *n == 1), "a {what} counts once, however often it was called");
    }
    // Caps.
    let mut of_person: BTreeMap<&str, Vec<&Impression>> = BTreeMap::new();
    for impression in &ledger.impressions {
        of_person.entry(&impression.person).or_default().push(impression);
    }
    let (mut over, mut slowest) = (0, Duration::ZERO);
    for (person, seen) in of_person.iter_mut().filter(|_| !kill.midnight) {
        seen.sort_by_key(|i| i.told);
        for server in 0..2 {
            let own = seen.iter().filter(|i| i.server == server).count();
            assert!(own <= CAP, "{person} saw {own} from one server");
        }
        // Those that were lost with a server are known to nobody.
        let kept: Vec<&&Impression> = seen.iter().filter(|i| served.contains_key(&i.touch)).collect();
        for late in kept.iter().skip(CAP) {
            let late_by = late.asked.saturating_duration_since(kept[CAP - 1].told);
            (over, slowest) = (over + 1, slowest.max(late_by));
            assert!(late_by < LEARNED, "{person} was shown another banner {late_by:?} after the cap was full");
        }
    }
    let capped = ledger.reasons.get("capped").copied().unwrap_or(0);
    assert!(capped > SHOPPERS / 2, "caps hardly mattered: {:?}", ledger.reasons);
    assert!(ledger.reasons.get("held_out").is_some_and(|n| *n > 0), "{:?}", ledger.reasons);
    format!(
        "{} impressions acknowledged, {} counted, {} lost with the killed server, {} answers lost; {} views, {} clicks; {over} over the cap (the latest after {slowest:?}); no banner: {:?}",
        told.len(),
        served.len(),
        lost.len(),
        ledger.unanswered,
        ledger.banner_views.len(),
        ledger.banner_clicks.len(),
        ledger.reasons
    )
}

/// Events, orders, mail clicks and opens: what was acknowledged is there, once.
async fn facts_reconcile(platform: &Platform, ledger: &Ledger, killed_at: Instant) -> String {
    const MARKS: &str = "SELECT properties->>'mark', COUNT(*) FROM event WHERE properties->>'mark' IS NOT NULL GROUP BY 1";
    let marks = read!(platform.db, |c| sqlx::query_as::<_, (String, i64)>(MARKS).fetch_all(c).await).expect("marks");
    assert!(marks.iter().all(|(_, n)| *n == 1), "an event stands there twice");
    assert_eq!(marks.into_iter().map(|(m, _)| m).collect::<HashSet<_>>(), ledger.events, "every event that was acknowledged, and no other");
    const ORDERS: &str = "SELECT order_ref, total_minor - refunded_minor FROM shop_order";
    let orders = read!(platform.db, |c| sqlx::query_as::<_, (String, i64)>(ORDERS).fetch_all(c).await).expect("orders");
    let told: HashMap<&str, i64> = ledger.orders.iter().map(|(r, o)| (r.as_str(), o.minor)).collect();
    assert_eq!(orders.len(), told.len());
    assert!(orders.iter().all(|(r, minor)| told.get(r.as_str()) == Some(minor)), "an order differs from what its customer was told");
    let clicked = ids(platform, "SELECT id, COUNT(click_at) FROM touch WHERE channel = 'email' AND click_at IS NOT NULL GROUP BY id").await;
    assert_eq!(clicked.keys().copied().collect::<HashSet<_>>(), ledger.mail_clicks, "every click on a mail, and no other");
    let opened = ids(platform, "SELECT id, COUNT(open_at) FROM touch WHERE channel = 'email' AND open_at IS NOT NULL GROUP BY id").await;
    let mut lost = 0;
    for (touch, server, told) in ledger.opens.iter().filter(|(touch, ..)| !opened.contains_key(touch)) {
        let before = killed_at.saturating_duration_since(*told);
        assert!(*server == 1 && before < WRITTEN, "the open of {touch} by server {server} was lost {before:?} before the kill");
        lost += 1;
    }
    format!(
        "{} events and {} orders acknowledged, each there once; {} opens ({lost} lost with the killed server), {} clicks on mails",
        ledger.events.len(),
        orders.len(),
        ledger.opens.len(),
        clicked.len()
    )
}

/// The report of the server that is left: sums to the orders, and credits exactly the orders after a click.
async fn credit_reconciles(clients: &Clients, ledger: &Ledger) -> String {
    let all: i64 = ledger.orders.values().map(|o| o.minor).sum();
    let earned: i64 = ledger.orders.values().filter(|o| o.after_click).map(|o| o.minor).sum();
    assert!(earned > 0 && earned < all, "{earned} of {all}");
    for (model, by) in [("last", "campaign"), ("linear", "channel"), ("position", "product"), ("time_decay", "day")] {
        let (status, text) = clients.once(0, &format!("/v1/reports/attribution?model={model}&by={by}"), None).await.expect("an answer");
        assert_eq!(status, 200, "{text}");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        let rows: i64 = report["rows"].as_array().expect("rows").iter().map(|r| r["revenue_minor"].as_i64().expect("minor")).sum();
        let total = &report["totals"][0];
        assert_eq!(
            (rows, &total["revenue_minor"], &total["attributed_minor"]),
            (all, &json!(all), &json!(earned)),
            "{model} by {by}: {text}"
        );
    }
    format!("{earned} of {all} cents credited under every model, the rest unattributed")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_figure_reconciles_when_one_of_each_is_killed() {
    let Some(url) = fresh_postgres().await else { return };
    let began = Instant::now();
    let folder = tempfile::tempdir().expect("folder");
    let config =
        Config { database: DatabaseConfig { url: url.clone(), max_connections: 4, ..DatabaseConfig::default() }, ..Config::default() };
    let platform = Platform::open(config, Clock::system()).await.expect("opens");
    // A server that takes its time, so that there is a middle; what it takes goes to the readers.
    let script: Script = Arc::new(|at| match at.stage {
        Stage::Dot => Action::Slow(Duration::from_millis(60), Box::new(Action::Proceed)),
        _ => Action::Proceed,
    });
    let (arrived, mut mailbox) = mpsc::unbounded_channel::<ReceivedMail>();
    let on_mail = Arc::new(move |mail: &ReceivedMail| drop(arrived.send(mail.clone())));
    let sink = Sink::start_with(SinkOptions { script: Some(script), keep: 20_000, on_mail: Some(on_mail), ..SinkOptions::default() });
    let sink = sink.await.expect("sink");
    let segment = shop(&platform).await;
    let banner = begin(&platform, segment, "banner").await;
    let first_day = platform.now().to_utc().date_naive();
    let keys = KeyRing::load(platform.db.clone()).await.expect("keys");
    let scopes = [Scope::Ingest, Scope::Serve, Scope::Reports, Scope::Manage];
    let key = keys.create("test", &scopes, platform.now()).await.expect("key").key;

    // Banners are made ready before anybody looks.
    let port = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").to_string();
    let binds = [port(), port()];
    let bases = [format!("http://{}", binds[0]), format!("http://{}", binds[1])];
    let process = |name: &str, args: &[&str]| start(name, args, &url, &sink, &bases[0], folder.path());
    let mut works = [process("work-0", &["work"]), process("work-1", &["work"])];
    let mut serves = [process("serve-0", &["serve", "--bind", &binds[0]]), process("serve-1", &["serve", "--bind", &binds[1]])];
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(20))
        .pool_idle_timeout(Duration::from_secs(2))
        .build()
        .expect("client");
    let clients = Clients {
        bases,
        dead: Arc::default(),
        client,
        key,
        ledger: Arc::default(),
        retries: Arc::default(),
        served: Arc::new([AtomicU64::new(0), AtomicU64::new(0)]),
    };
    let logs = || {
        ["serve-0", "serve-1", "work-0", "work-1"]
            .map(|n| std::fs::read_to_string(folder.path().join(format!("{n}.log"))).unwrap_or_default())
            .join("\n---\n")
    };
    for _ in 0..400 {
        if clients.once(0, "/readyz", None).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let place = json!({ "key": "home", "name": "Home", "width": 300, "height": 250 });
    let (status, text) = clients.once(0, "/v1/placements", Some(&place)).await.unwrap_or_else(|| panic!("no server\n{}", logs()));
    assert_eq!(status, 200, "{text}");
    enqueue(&platform, "adserver.prepare").await;
    // Nobody is asked for: no cap is used up by waiting.
    for server in 0..2 {
        let mut ready = false;
        for _ in 0..400 {
            let answer = clients.once(server, "/v1/creatives?placement=home", None).await;
            ready = answer.is_some_and(|(_, text)| text.contains("\"filled\":true"));
            if ready {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(ready, "server {server} has no banner\n{}", logs());
    }
    tokio::time::sleep(WRITTEN).await;
    // Those of the waiting stand outside the account.
    let waited = ids(&platform, SERVED).await;
    eprintln!("up after {:.1} s", began.elapsed().as_secs_f64());
    let mail = begin(&platform, segment, "email").await;

    let shoppers: Vec<_> = (0..SHOPPER_TASKS).map(|task| tokio::spawn(clients.clone().shop(task))).collect();
    let readers = {
        let clients = clients.clone();
        tokio::spawn(async move {
            let (mut reading, mut n) = (tokio::task::JoinSet::new(), 0);
            while let Some(mail) = mailbox.recv().await {
                // Shoppers do not read mail: a person's clicks and orders come from one place, one after the other.
                let person: usize =
                    mail.to[0].trim_matches(['<', '>', 'u']).split('@').next().and_then(|t| t.parse().ok()).expect("a number");
                if person >= SHOPPERS && person.is_multiple_of(11) && n < READERS as u64 {
                    reading.spawn(clients.clone().read(mail, n));
                    n += 1;
                }
                if n == READERS as u64 {
                    break;
                }
            }
            while let Some(done) = reading.join_next().await {
                done.expect("a reader");
            }
            n
        })
    };
    let sending = {
        let platform = platform.clone();
        tokio::spawn(async move { until_sent(&platform, mail).await })
    };
    assert!(sink.wait_for(PEOPLE as u64 / 3, Duration::from_secs(120)).await, "{} mails\n{}", sink.count(), logs());
    works[1].kill();
    let killed_work = sink.count();
    // While mails are being read.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for process in serves.iter_mut().chain(&mut works[..1]) {
        assert!(process.runs(), "ended by itself\n{}", logs());
    }
    serves[1].kill();
    let killed_at = Instant::now();
    clients.dead.store(true, Ordering::SeqCst);
    let (served_then, orders_then) = (clients.served[1].load(Ordering::Relaxed), clients.note(|l| l.orders.len()));
    eprintln!("a worker killed after {killed_work} mails, a server after {served_then} answers and {orders_then} orders in all");
    assert!(killed_work < (PEOPLE * 4 / 5) as u64 && served_then > 100, "not in the middle: {killed_work} mails, {served_then} answers");

    let states = sending.await.unwrap_or_else(|e| panic!("{e}\n{}", logs()));
    for task in shoppers {
        task.await.unwrap_or_else(|e| panic!("a shopper: {e}\n{}", logs()));
    }
    let read_mails = tokio::time::timeout(Duration::from_secs(60), readers).await.expect("readers end").expect("readers");
    tokio::time::sleep(WRITTEN).await;
    assert!(clients.note(|l| l.orders.len()) > orders_then, "life went on after the kill");

    let (_, progress) = clients.once(0, &format!("/v1/campaigns/{}/progress", mail), None).await.expect("an answer");
    let (_, banner_progress) = clients.once(0, &format!("/v1/campaigns/{}/progress", banner), None).await.expect("an answer");
    marquee::attribution::update(&platform).await.expect("credit");
    let ledger = std::mem::take(&mut *clients.ledger.lock().expect("ledger"));
    let kill = Kill { at: killed_at, waited, midnight: platform.now().to_utc().date_naive() != first_day };
    let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let lines = [
        mails_reconcile(&platform, mail, &sink, &parse(&progress)).await,
        banners_reconcile(&platform, &ledger, &kill, &parse(&banner_progress)).await,
        facts_reconcile(&platform, &ledger, killed_at).await,
        credit_reconciles(&clients, &ledger).await,
    ];
    println!(
        "{}\n{states:?}; {read_mails} mails read, {} requests sent again; {:.1} s",
        lines.join("\n"),
        clients.retries.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
}
