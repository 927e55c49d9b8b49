//! `GET /v1/creatives` for 100,000 people × 10,000 products through the whole HTTP service, beside a bare actix handler that returns a
//! fixed body of about the same size.

use std::collections::HashMap;

use actix_web::{App, HttpResponse, test, web};
use marquee::account::{KeyRing, Scope};
use marquee::adserver::{self, AdCampaign, AdCreative, AdPeople, AdPerson, AdPlacement, AdServer, CreativeKey, Snapshot};
use marquee::platform::config::{Config, DatabaseConfig};
use marquee::platform::ids::{CampaignId, CreativeId, PersonId, PlacementId, ProductId, VariantId};
use marquee::platform::{Clock, Platform};

use crate::support::{self, NOW};

const PEOPLE: i64 = 100_000;
const PRODUCTS: i64 = 10_000;
const PICKS: i64 = 12;
const REQUESTS: usize = 20_000;

fn snapshot() -> Snapshot {
    let variant = VariantId(1);
    let creatives = (1..=PRODUCTS)
        .map(|p| {
            let key = CreativeKey { variant, product: ProductId(p), locale: "en".into(), width: 300, height: 250 };
            (key, AdCreative { id: CreativeId(p), asset_hash: "0".repeat(64), title: "White hanging heart".into() })
        })
        .collect();
    let mut people = AdPeople::default();
    for id in 1..=PEOPLE {
        let picks = (0..PICKS).map(|k| ProductId((id * 7 + k * 131) % PRODUCTS + 1)).collect();
        people.push(AdPerson { id: PersonId(id), external_id: Some(format!("u{id}")), locale: "en".into(), personal: true, picks });
    }
    let campaign = AdCampaign {
        id: CampaignId(1),
        name: "Bench".into(),
        holdout_bp: 500,
        members: None,
        variants: vec![(variant, 1)],
        creatives,
        popular: vec![ProductId(1)],
        cap_per_day: u32::MAX,
    };
    let place = AdPlacement { id: PlacementId(1), width: 300, height: 250, campaigns: vec![0] };
    Snapshot {
        placements: HashMap::from([("home".to_owned(), place)]),
        campaigns: vec![campaign],
        people: people.into(),
        default_locale: "en".into(),
        ..Snapshot::default()
    }
}

pub fn run() {
    actix_web::rt::System::new().block_on(measure());
}

async fn measure() {
    let folder = tempfile::tempdir().expect("folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let config = Config { database: DatabaseConfig { url, ..DatabaseConfig::default() }, ..Config::default() };
    let platform = Platform::open(config, Clock::manual(NOW)).await.expect("platform");
    let keys = KeyRing::load(platform.db.clone()).await.expect("keys");
    let key = keys.create("bench", &[Scope::Serve], NOW).await.expect("key").key;
    let server = AdServer::fixed(platform, snapshot());
    let bare = || async { HttpResponse::Ok().content_type("application/json").body("x".repeat(1_300)) };
    let app = App::new()
        .app_data(web::Data::new(server))
        .app_data(web::Data::new(keys))
        .configure(adserver::routes)
        .route("/bare", web::get().to(bare));
    let app = test::init_service(app).await;
    let call = |uri: &str| {
        let request = test::TestRequest::get().uri(uri).insert_header(("authorization", format!("Bearer {key}"))).to_request();
        let answer = futures::executor::block_on(test::call_service(&app, request));
        assert!(answer.status().is_success(), "{}", answer.status());
    };
    let mut n = 0;
    support::compare(
        "decision",
        "requests/s, 1 core",
        "bare actix handler",
        7,
        || support::rate(REQUESTS, || (0..REQUESTS).for_each(|_| call("/bare"))),
        || {
            support::rate(REQUESTS, || {
                (0..REQUESTS).for_each(|_| {
                    n = (n + 7_919) % PEOPLE;
                    call(&format!("/v1/creatives?placement=home&person=u{}", n + 1));
                });
            })
        },
    );
}
