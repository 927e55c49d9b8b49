//! `GET /v1/creatives` for 100,000 people × 10,000 products × 50 line items over loopback sockets, beside a bare actix handler that returns a
//! fixed body of the same size, from the same generator in the same run.
//!
//! One server thread; the generator is one thread of plain sockets on another core: keep-alive, no pipelining, 32 connections, each with one
//! request under way. First the path alone (what is shown is thrown away), with latency at half of the rate that was reached, alone and while a
//! new snapshot is put in place ten times a second; then with a SQLite database behind it, whose writer takes its share of the same two cores.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use marquee::account::{KeyRing, Scope};
use marquee::adserver::{
    self, AdCampaign, AdItem, AdPeople, AdPerson, AdPlacement, AdServer, Budget, Members, Meter, Parts, Snapshot, Target, Targeting, Tier,
    Turn, ad_creative,
};
use marquee::platform::config::{Config, DatabaseConfig};
use marquee::platform::ids::{CampaignId, CreativeId, PersonId, PlacementId, ProductId, SegmentId, VariantId};
use marquee::platform::{Clock, Platform};

use crate::support::world::{self, Scale};
use crate::support::{self, NOW};

const PEOPLE: i64 = 100_000;
const PRODUCTS: i64 = 10_000;
const ITEMS: i64 = 50;
const PICKS: i64 = 12;
const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 5;

fn person(id: i64, taste: i64) -> AdPerson {
    AdPerson {
        id: PersonId(id),
        external_id: Some(format!("u{id}")),
        locale: "en".into(),
        personal: true,
        country: None,
        lot: id % 10_000,
        picks: (0..PICKS).map(|k| ProductId((id * taste + k * 131) % PRODUCTS + 1)).collect(),
    }
}

fn snapshot() -> Snapshot {
    let variant = VariantId(1);
    let banner = |p: i64| {
        let parts = Parts {
            creative: CreativeId(p),
            campaign: CampaignId(1),
            variant,
            product: ProductId(p),
            width: 300,
            height: 250,
            title: "White hanging heart",
            asset_hash: &"0".repeat(64),
            base: "https://ads.example.test",
        };
        (ad_creative(&parts), "en")
    };
    let mut campaign = AdCampaign {
        holdout_bp: 500,
        variants: vec![(variant, 1)],
        popular: vec![ProductId(1)],
        ..AdCampaign::new(CampaignId(1), "Bench")
    };
    campaign.stock((1..=PRODUCTS).map(banner).collect());
    let mut people = AdPeople::default();
    people.update((1..=PEOPLE).map(|id| person(id, 7)).collect(), &[]);
    // A third of the line items is for a segment of half of the people, a third for pages about gardens, a third for everybody; half have a budget.
    let halves: Vec<Arc<Members>> = (0..2).map(|h| Arc::new((1..=PEOPLE).filter(|p| p % 2 == h).collect())).collect();
    let rules = |n: i64| match n % 3 {
        0 => Targeting { segments: vec![SegmentId(n % 2 + 1)], ..Targeting::default() },
        1 => Targeting { keywords: vec!["garden".into()], ..Targeting::default() },
        _ => Targeting::default(),
    };
    let item = |n: i64| AdItem {
        id: n,
        target: Target::compile(&rules(n), |s| halves[(s.0 - 1) as usize].clone()),
        budget: if n % 2 == 0 { Budget::Impressions(i64::MAX) } else { Budget::Unlimited },
        ..AdItem::own(0, Arc::new(Meter::default()))
    };
    let place = AdPlacement {
        id: PlacementId(1),
        key: "home".into(),
        sizes: [(300, 250)].into_iter().collect(),
        site: String::new(),
        paused: false,
        exchange: false,
        floor_micro: 0,
        target: Target::default(),
        turns: (0..ITEMS as u32).map(|item| Turn { item, tier: Tier::Standard, campaign: CampaignId(1) }).collect(),
        forecast: Arc::default(),
        outcomes: Arc::default(),
    };
    Snapshot {
        placements: HashMap::from([("home".to_owned(), place)]).into(),
        campaigns: vec![campaign].into(),
        items: (1..=ITEMS).map(item).collect::<Vec<_>>().into(),
        people: people.into(),
        default_locale: "en".into(),
        ..Snapshot::default()
    }
}

/// One connection with at most one request under way.
struct Caller {
    socket: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Caller {
    fn new(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).expect("connects");
        socket.set_nodelay(true).expect("no delay");
        Self { socket, buffer: vec![0; 8_192], filled: 0 }
    }
    fn send(&mut self, request: &[u8]) {
        self.filled = 0;
        self.socket.write_all(request).expect("sent");
    }
    /// Whether the whole answer is there; waits for it on a blocking socket.
    fn read(&mut self) -> bool {
        loop {
            if let Some(end) = find(&self.buffer[..self.filled], b"\r\n\r\n") {
                assert!(self.buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer[..self.filled]));
                let at = find(&self.buffer[..end], b"content-length: ").expect("a length") + 16;
                let length: usize =
                    self.buffer[at..end].iter().take_while(|b| b.is_ascii_digit()).fold(0, |n, b| n * 10 + usize::from(b - b'0'));
                if self.filled >= end + 4 + length {
                    return true;
                }
            }
            match self.socket.read(&mut self.buffer[self.filled..]) {
                Ok(0) => panic!("the server hung up"),
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) => panic!("{e}"),
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

struct Requests {
    bare: bool,
    head: String,
    n: i64,
}

impl Requests {
    fn next(&mut self, out: &mut Vec<u8>) {
        out.clear();
        self.n = (self.n + 7_919) % PEOPLE;
        if self.bare {
            let _ = write!(out, "GET /bare?placement=home&person=u{} HTTP/1.1\r\n{}", self.n + 1, self.head);
        } else {
            let _ = write!(out, "GET /v1/creatives?placement=home&person=u{} HTTP/1.1\r\n{}", self.n + 1, self.head);
        }
    }
}

/// Answers per second with all connections busy.
fn throughput(to: SocketAddr, requests: &mut Requests) -> f64 {
    let mut callers: Vec<Caller> = (0..CONNECTIONS).map(|_| Caller::new(to)).collect();
    let mut request = Vec::new();
    for caller in &mut callers {
        requests.next(&mut request);
        caller.send(&request);
    }
    let (begun, mut answers) = (Instant::now(), 0_u64);
    while begun.elapsed() < ROUND {
        for caller in &mut callers {
            caller.read();
            answers += 1;
            requests.next(&mut request);
            caller.send(&request);
        }
    }
    answers as f64 / begun.elapsed().as_secs_f64()
}

/// Latencies (sorted, in microseconds, from when a request was due) at a fixed rate.
fn latencies(to: SocketAddr, requests: &mut Requests, rate: f64) -> Vec<f64> {
    let mut callers: Vec<(Caller, Option<Instant>)> = (0..CONNECTIONS).map(|_| (Caller::new(to), None)).collect();
    callers.iter().for_each(|(c, _)| c.socket.set_nonblocking(true).expect("non-blocking"));
    let (gap, begun) = (Duration::from_secs_f64(1.0 / rate), Instant::now());
    let (mut due, mut found, mut request) = (begun, Vec::new(), Vec::new());
    while begun.elapsed() < ROUND {
        for (caller, since) in &mut callers {
            if let Some(at) = *since {
                if !caller.read() {
                    continue;
                }
                found.push(at.elapsed().as_secs_f64() * 1e6);
                *since = None;
            }
            if Instant::now() >= due {
                requests.next(&mut request);
                caller.send(&request);
                *since = Some(due);
                due += gap;
            }
        }
    }
    found.sort_by(f64::total_cmp);
    found
}

/// A server thread with both handlers, and where it listens.
struct Served {
    address: SocketAddr,
    key: String,
    server: AdServer,
    platform: Platform,
    /// Bytes of an answer.
    size: usize,
}

/// `written`: what is shown goes into the database, as in service; else it is thrown away.
fn serve(folder: &std::path::Path, written: bool) -> Served {
    let url = format!("sqlite://{}", folder.join(format!("bench-{written}.db")).display());
    let config = Config { database: DatabaseConfig { url, ..DatabaseConfig::default() }, ..Config::default() };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let platform = Platform::open(config, Clock::manual(NOW)).await.expect("platform");
            let keys = KeyRing::load(platform.db.clone()).await.expect("keys");
            let key = keys.create("bench", &[Scope::Serve], NOW).await.expect("key").key;
            let server = if written {
                // The rows that what is shown refers to.
                let scale = Scale { people: PEOPLE, products: PRODUCTS, touches: 0, orders: 0, events: 0, campaigns: 4 };
                world::fill(&platform, scale).await;
                AdServer::fixed(platform.clone(), snapshot()).await.expect("server")
            } else {
                AdServer::unwritten(platform.clone(), snapshot())
            };
            let (ads, ring) = (web::Data::new(server.clone()), web::Data::new(keys));
            // As large as an answer.
            let mut body = Vec::new();
            server.creative("home", adserver::AskedBy::Person("u7"), &adserver::Context::default(), &mut body);
            let size = body.len();
            let http = HttpServer::new(move || {
                // Runs on the worker's thread.
                pin("0");
                let text: &'static str = Box::leak("x".repeat(size).into_boxed_str());
                App::new()
                    .app_data(ads.clone())
                    .app_data(ring.clone())
                    .route("/bare", web::get().to(move || async move { HttpResponse::Ok().content_type("application/json").body(text) }))
                    .configure(adserver::fast_routes)
            })
            .workers(1)
            .keep_alive(Duration::from_secs(60))
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("binds");
            let address = http.addrs()[0];
            sender.send(Served { address, key, server, platform, size }).expect("told");
            http.run().await.expect("runs");
        });
    });
    receiver.recv().expect("a server")
}

impl Served {
    fn requests(&self, bare: bool) -> Requests {
        Requests { bare, head: format!("host: bench\r\nauthorization: Bearer {}\r\naccept: */*\r\n\r\n", self.key), n: 0 }
    }

    /// Decisions per second beside the bare handler; the median.
    fn compare(&self, what: &str) -> f64 {
        let (mut bare, mut ours, mut reached) = (self.requests(true), self.requests(false), Vec::new());
        support::compare(
            &format!("{what} ({} bytes)", self.size),
            "requests/s",
            "bare actix handler",
            ROUNDS,
            || throughput(self.address, &mut bare),
            || {
                let rate = throughput(self.address, &mut ours);
                reached.push(rate);
                rate
            },
        );
        reached.sort_by(f64::total_cmp);
        reached[reached.len() / 2]
    }

    /// `bare`: of the handler that does nothing, which shows what machine and generator add.
    fn latency(&self, what: &str, bare: bool, rate: f64) {
        let found = latencies(self.address, &mut self.requests(bare), rate);
        let at = |q: f64| found[((found.len() - 1) as f64 * q) as usize];
        println!(
            "  at {:.0} requests/s, {what}: p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, most {:.0} µs",
            found.len() as f64 / ROUND.as_secs_f64(),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }

    /// A new snapshot ten times a second, each with a thousand people changed, while `work` runs; the milliseconds that one takes.
    fn reloading(&self, work: impl FnOnce()) -> f64 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reloads = scope.spawn(|| {
                pin("0,1");
                let (mut reloads, mut busy) = (0_i64, Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let held = self.server.snapshot();
                    let mut people = (*held.people).clone();
                    people.update((0..1_000).map(|k| person((reloads * 1_000 + k) % PEOPLE + 1, 11)).collect(), &[]);
                    self.server.put(Snapshot { people: people.into(), ..(*held).clone() });
                    busy += begun.elapsed();
                    reloads += 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
                busy.as_secs_f64() * 1e3 / reloads.max(1) as f64
            });
            work();
            stop.store(true, Ordering::Relaxed);
            reloads.join().expect("reloads")
        })
    }

    /// Impressions in the database.
    fn written(&self) -> i64 {
        let (sender, receiver) = std::sync::mpsc::channel();
        let platform = self.platform.clone();
        std::thread::spawn(move || {
            support::runtime().block_on(async move {
                let n: sqlx::Result<i64> =
                    marquee::read!(platform.db, |c| sqlx::query_scalar("SELECT COUNT(*) FROM impression").fetch_one(c).await);
                sender.send(n.expect("count")).expect("told");
            });
        });
        receiver.recv().expect("counted")
    }
}

/// Ties this thread to a core where `taskset` is there: the generator has the other one for itself. Threads inherit it.
fn pin(cores: &str) {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return };
    let Some(thread) = thread.file_name().and_then(|t| t.to_str()) else { return };
    let tied = std::process::Command::new("taskset").args(["-cp", cores, thread]).output();
    if !tied.is_ok_and(|o| o.status.success()) {
        println!("  (threads are not tied to cores: no taskset, or too few cores)");
    }
}

pub fn run() {
    let folder = tempfile::tempdir().expect("folder");
    let (path, whole) = (serve(folder.path(), false), serve(folder.path(), true));
    pin("1");
    let half = path.compare("decision") / 2.0;
    path.latency("bare handler", true, half);
    path.latency("decisions", false, half);
    let took = path.reloading(|| path.latency("decisions, ten reloads a second", false, half));
    let held = path.server.snapshot();
    println!("  {took:.1} ms a reload; {} bytes a person ({} people, {PICKS} picks each)", held.people.bytes() / held.people.len(), PEOPLE);

    let (begun, before) = (Instant::now(), whole.written());
    let rate = whole.compare("decision, written down beside");
    let written = (whole.written() - before) as f64 / begun.elapsed().as_secs_f64();
    println!("  {written:.0} impressions a second reached SQLite meanwhile (same two cores), of {rate:.0} decided while asked");
}
