//! The choice on both engines: a tiny shop with planted tastes, from facts through training to picks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use marquee::catalog::{self, NewProduct};
use marquee::inference::{EncodeError, Encoder};
use marquee::on;
use marquee::people::{self, NewPerson};
use marquee::platform::ids::{JobRunId, PersonId, ProductId};
use marquee::platform::queue::{JobContext, Progress};
use marquee::platform::{Currency, Money, Platform, Timestamp};
use marquee::recommend::{self, ChoiceRules, Pick, embed, train};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::both_engines;
use crate::support::{START, real_data};

const THEMES: [(&str, [&str; 4]); 3] = [
    ("Garden", ["Rose bush", "Steel spade", "Watering can", "Herb planter"]),
    ("Kitchen", ["Copper pan", "Chef knife", "Oak board", "Pepper mill"]),
    ("Music", ["Vinyl record", "Guitar strings", "Drum sticks", "Piano score"]),
];
const PEOPLE: i64 = 36;

fn context(args: serde_json::Value, at: Timestamp) -> JobContext {
    JobContext { run_id: JobRunId(1), args, scheduled_at: at, attempt: 1, progress: Progress::default(), stop: CancellationToken::new() }
}

fn product(theme: usize, n: usize) -> NewProduct {
    let (category, words) = THEMES[theme];
    let mut new = NewProduct::new(format!("{category}-{n}"), format!("{} {n}", words[n % 4]), Money::new(1_000 + n as i64, Currency::EUR));
    new.category_path = format!("{category} > {}", words[n % 4]);
    new
}

/// Three themes of twelve products; person p buys from theme p % 3 on ten days, and nothing else. The last person has no history.
struct Shop {
    products: HashMap<String, ProductId>,
    people: Vec<PersonId>,
}

async fn fill(platform: &Platform) -> Shop {
    let new: Vec<NewProduct> = (0..36).map(|i| product(i / 12, i % 12)).collect();
    let skus: Vec<&str> = new.iter().map(|p| p.sku.as_str()).collect();
    let persons: Vec<NewPerson> = (0..=PEOPLE).map(|p| NewPerson { external_id: Some(format!("c{p}")), ..NewPerson::default() }).collect();
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::bulk_upsert(&mut tx, &new, START).await.expect("products");
    let people = people::bulk_upsert(&mut tx, &persons, START).await.expect("people");
    tx.commit().await.expect("commit");
    let products = catalog::by_sku(&platform.db, &skus).await.expect("skus");
    for p in 0..PEOPLE {
        for step in 0..10 {
            let n = (p * 7 + step * 5 + step * step) % 12;
            let sku = format!("{}-{n}", THEMES[(p % 3) as usize].0);
            buy(platform, people[p as usize], products[&sku], START.plus_days(-150 + step * 14 + p % 5)).await;
        }
    }
    Shop { products, people }
}

const ORDER: &str = "INSERT INTO shop_order (order_ref, person_id, placed_at, currency, total_minor, status, source, updated_at)
     VALUES ($1, $2, $3, 'EUR', 1000, 'placed', 'test', $3) RETURNING id";
const LINE: &str = "INSERT INTO order_line (order_id, line_no, product_id, sku, title, quantity, unit_price_minor)
     VALUES ($1, 1, $2, 'x', 'x', 1, 1000)";

async fn buy(platform: &Platform, person: PersonId, product: ProductId, at: Timestamp) {
    let mut tx = platform.db.begin().await.expect("begin");
    let reference = format!("{person}-{product}-{}", at.micros());
    let order: i64 =
        on!(&mut tx, |c| sqlx::query_scalar(ORDER).bind(reference).bind(person).bind(at).fetch_one(&mut *c).await).expect("order");
    on!(&mut tx, |c| sqlx::query(LINE).bind(order).bind(product).execute(&mut *c).await.map(|_| ())).expect("line");
    tx.commit().await.expect("commit");
}

async fn trained(platform: &Platform) -> Shop {
    let shop = fill(platform).await;
    let done = train::train(platform.clone(), context(json!({}), START)).await.expect("trains");
    assert_eq!(done["trained"], json!(true), "{done}");
    let done = train::pick(platform.clone(), context(json!({}), START)).await.expect("picks");
    assert_eq!(done["picked"], json!(PEOPLE + 1), "{done}");
    shop
}

fn theme_of(shop: &Shop, pick: &Pick) -> &'static str {
    let sku = shop.products.iter().find(|(_, id)| **id == pick.product_id).map(|(sku, _)| sku.as_str()).expect("one of ours");
    THEMES.iter().map(|t| t.0).find(|t| sku.starts_with(t)).expect("a theme")
}

fn without_minilm(config: &mut marquee::platform::Config) {
    config.models.encoder = "catalogue".into();
}

both_engines!(picks_follow_planted_tastes_and_the_unknown_get_what_is_popular, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let world = trained(&platform).await;
    let picks = recommend::picks_for(&platform.db, &world.people, 6).await.expect("picks");
    assert_eq!(picks.len(), world.people.len());
    let (mut right, mut all) = (0, 0);
    for (p, person) in world.people.iter().take(PEOPLE as usize).enumerate() {
        let own = &picks[person];
        assert_eq!(own.iter().map(|k| k.rank).collect::<Vec<_>>(), (1..=own.len() as i64).collect::<Vec<_>>());
        assert!(
            own.windows(2).all(|w| w[0].product_id != w[1].product_id) && own.iter().all(|k| k.score.is_finite() && !k.reason.is_empty())
        );
        all += 2;
        right += own.iter().take(2).filter(|k| theme_of(&world, k) == THEMES[p % 3].0).count();
    }
    // By chance a third would be right.
    assert!(right * 10 >= all * 8, "{right} of {all}");
    let cold = &picks[&world.people[PEOPLE as usize]];
    assert!(!cold.is_empty() && cold.iter().all(|k| k.reason.starts_with("Popular")), "{cold:?}");
    assert_eq!(recommend::popular(&platform.db, 3).await.expect("popular").len(), 3);
    let stranger = PersonId(999_999);
    assert_eq!(recommend::picks_for(&platform.db, &[stranger], 3).await.expect("picks")[&stranger].len(), 3);
});

/// The same platform with the encoder that needs no download.
fn catalogue_only(mut platform: Platform) -> Platform {
    let mut config = (*platform.config).clone();
    without_minilm(&mut config);
    platform.config = Arc::new(config);
    platform
}

both_engines!(the_rules_have_the_last_word, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let world = trained(&platform).await;
    let person = world.people[0];
    let ask = async |rules: &ChoiceRules| {
        recommend::choose(&platform, rules, &[person], START).await.expect("chooses").remove(&person).expect("an answer")
    };
    let rules = ChoiceRules { count: 8, not_bought_days: 400, ..ChoiceRules::default() };
    let first = ask(&rules).await;
    assert_eq!(first.len(), 8);
    // Sold out, and bought a minute ago: gone at once, without any training.
    let (sold_out, bought) = (first[0].product_id, first[1].product_id);
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::set_stock(&mut tx, sold_out, Some(0), START).await.expect("stock");
    tx.commit().await.expect("commit");
    buy(&platform, person, bought, START.plus_secs(-60)).await;
    let second = ask(&rules).await;
    assert!(second.iter().all(|k| k.product_id != sold_out && k.product_id != bought), "{second:?}");
    // A campaign's filter, with something for everybody.
    let kitchen = ChoiceRules { categories: vec!["Kitchen".into()], ..rules.clone() };
    let narrow = ask(&kitchen).await;
    assert!(!narrow.is_empty() && narrow.iter().all(|k| theme_of(&world, k) == "Kitchen"), "{narrow:?}");
    let one = ChoiceRules { skus: vec!["Music-3".into()], ..rules.clone() };
    assert_eq!(ask(&one).await.iter().map(|k| k.product_id).collect::<Vec<_>>(), [world.products["Music-3"]]);
    let none = ChoiceRules { exclude_skus: vec!["Music-3".into()], ..one };
    assert!(ask(&none).await.is_empty());
});

both_engines!(training_waits_for_facts_to_grow, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let world = trained(&platform).await;
    let train = async |at: Timestamp| train::train(platform.clone(), context(json!({}), at)).await.expect("runs");
    let done = train(START.plus_days(1)).await;
    assert_eq!(done["trained"], json!(false), "nothing has happened: {done}");
    for p in 0..24 {
        buy(&platform, world.people[p], world.products["Music-3"], START.plus_secs(60)).await;
    }
    let done = train(START.plus_days(1)).await;
    assert_eq!(done["trained"], json!(true), "24 facts on 360 are more than 5 %: {done}");
    assert!(done["metrics"]["offline"].is_object(), "{done}");
    assert_eq!(done["metrics"]["measured_as_of"], json!(START), "a measurement of yesterday is good enough");
    assert_eq!(train(START.plus_days(7)).await["trained"], json!(false));
    let done = train(START.plus_days(8)).await;
    assert_eq!(done["trained"], json!(true), "a week is long");
    assert_eq!(done["metrics"]["measured_as_of"], json!(START.plus_days(8)));
});

both_engines!(picks_follow_people_with_news_alone, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let world = trained(&platform).await;
    let before = recommend::picks_for(&platform.db, &world.people, 20).await.expect("picks");
    let pick = async |at: Timestamp| {
        platform.clock.advance_to(at);
        train::pick(platform.clone(), context(json!({}), at)).await.expect("picks")["picked"].clone()
    };
    assert_eq!(pick(START.plus_secs(600)).await, json!(0), "nobody has news");
    let person = world.people[0];
    let bought = before[&person][0].product_id;
    buy(&platform, person, bought, START.plus_secs(1_200)).await;
    assert_eq!(pick(START.plus_secs(1_800)).await, json!(1));
    let after = recommend::picks_for(&platform.db, &world.people, 20).await.expect("picks");
    assert!(before[&person] != after[&person] && after[&person].iter().all(|k| k.product_id != bought), "bought just now: not again");
    assert!(world.people[1..].iter().all(|p| before[p] == after[p]), "nobody else has changed");
    assert_eq!(pick(START.plus_secs(2_400)).await, json!(0), "news once");
    // A new product may suit anybody.
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::bulk_upsert(&mut tx, &[product(2, 40)], START).await.expect("product");
    tx.commit().await.expect("commit");
    assert_eq!(pick(START.plus_secs(3_000)).await, json!(PEOPLE + 1));
});

both_engines!(training_twice_gives_the_same_picks, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let world = trained(&platform).await;
    let before = recommend::picks_for(&platform.db, &world.people, 20).await.expect("picks");
    train::train(platform.clone(), context(json!({ "force": true }), START)).await.expect("trains");
    train::pick(platform.clone(), context(json!({}), START)).await.expect("picks");
    assert_eq!(before, recommend::picks_for(&platform.db, &world.people, 20).await.expect("picks"));
    // A shard touches its own range only.
    let (from, to) = (world.people[3].0, world.people[9].0);
    let done = train::pick(platform.clone(), context(json!({ "after": from, "to": to }), START)).await.expect("picks");
    assert_eq!(done["picked"], json!(6));
    assert_eq!(before, recommend::picks_for(&platform.db, &world.people, 20).await.expect("picks"));
});

both_engines!(before_any_training_popularity_chooses, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    let nobody = recommend::choose(&platform, &ChoiceRules::default(), &[PersonId(1)], START).await.expect("an empty shop");
    assert!(nobody[&PersonId(1)].is_empty());
    assert_eq!(train::train(platform.clone(), context(json!({}), START)).await.expect("runs")["trained"], json!(false));
    let world = fill(&platform).await;
    let picks = recommend::choose(&platform, &ChoiceRules::default(), &world.people, START).await.expect("chooses");
    assert!(picks.len() == world.people.len() && picks.values().all(|p| p.len() == 4));
});

/// Counts what it is asked to encode.
struct Counting(AtomicUsize);
impl Encoder for Counting {
    fn id(&self) -> &str {
        "counting@1"
    }
    fn dim(&self) -> usize {
        2
    }
    fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.0.fetch_add(texts.len(), Ordering::SeqCst);
        Ok(texts.iter().map(|t| if t.len() % 2 == 0 { vec![1.0, 0.0] } else { vec![0.0, 1.0] }).collect())
    }
}

both_engines!(an_unchanged_product_is_never_encoded_again, |shop| {
    let platform = shop.platform.clone();
    fill(&platform).await;
    let encoder = Arc::new(Counting(AtomicUsize::new(0)));
    let run = async || {
        let products = catalog::all(&platform.db).await.expect("products");
        let context = context(json!({}), START);
        embed::embed_with(&platform, encoder.clone(), &products, &context).await.expect("embeds")
    };
    assert_eq!((run().await.encoded, encoder.0.load(Ordering::SeqCst)), (36, 36));
    // Price and stock are not text.
    let mut cheaper = product(0, 0);
    cheaper.price = Money::new(5, Currency::EUR);
    let mut renamed = product(0, 1);
    renamed.title = "Another name".into();
    let mut tx = platform.db.begin().await.expect("begin");
    catalog::bulk_upsert(&mut tx, &[cheaper, renamed, product(2, 99)], START).await.expect("products");
    tx.commit().await.expect("commit");
    let second = run().await;
    assert_eq!((second.encoded, second.unchanged, encoder.0.load(Ordering::SeqCst)), (2, 35, 38));
    assert_eq!((run().await.encoded, encoder.0.load(Ordering::SeqCst)), (0, 38));
});

both_engines!(the_fitted_encoder_stays_until_the_catalogue_has_changed_much, |shop| {
    let platform = catalogue_only(shop.platform.clone());
    fill(&platform).await;
    let run = async || embed::embed_all(&platform, &context(json!({}), START)).await.expect("embeds");
    let first = run().await;
    assert!(first.encoder.starts_with("catalogue@") && first.encoded == 36, "{first:?}");
    assert_eq!(embed::encoder_id(&platform).await.expect("id"), Some(first.encoder.clone()));
    let add = async |range: std::ops::Range<usize>| {
        let mut tx = platform.db.begin().await.expect("begin");
        let new: Vec<NewProduct> = range.map(|n| product(1, n)).collect();
        catalog::bulk_upsert(&mut tx, &new, START).await.expect("products");
        tx.commit().await.expect("commit");
    };
    add(12..16).await;
    let second = run().await;
    assert_eq!((&second.encoder, second.encoded), (&first.encoder, 4));
    add(16..60).await;
    let third = run().await;
    assert!(third.encoder != first.encoder && third.encoded == 84, "{third:?}");
});

/// A real shop's year. Kept small enough for an unoptimised build; `marquee evaluate` gives the full figures.
#[test]
fn the_choice_beats_popularity_on_a_real_shop() {
    use marquee::recommend::base::{Params, Side};
    use marquee::recommend::evaluate::{Report, evaluate};
    use marquee::recommend::history::{DAY_US, Dataset, Kind};

    let Some(path) = real_data("online_retail/online_retail.csv.gz") else { return };
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).expect("file"));
    let mut skus: HashMap<String, i64> = HashMap::new();
    let mut facts = Vec::new();
    for row in csv::Reader::from_reader(file).records() {
        let row = row.expect("row");
        let (invoice, sku, quantity, price, customer) = (&row[0], &row[1], &row[3], &row[5], &row[6]);
        let bought = !invoice.starts_with(['C', 'A']) && !quantity.starts_with('-') && sku.starts_with(|c: char| c.is_ascii_digit());
        let Ok(customer) = customer.parse::<i64>() else { continue };
        if bought && price.parse::<f64>().is_ok_and(|p| p > 0.0) && customer % 3 == 0 {
            let next = skus.len() as i64;
            let product = *skus.entry(sku.to_uppercase()).or_insert(next);
            facts.push((customer, product, Kind::Purchase, Timestamp::parse(&row[4]).expect("time").micros()));
        }
    }
    let data = Dataset::build(&facts, &[]);
    let split = Timestamp::parse("2011-10-10").expect("date").micros();
    let mut params = Params::default();
    (params.als.rank, params.als.epochs, params.side.learn_people) = (16, 4, 150);
    let report = evaluate(&data, &Side::default(), None, split, split + 30 * DAY_US, &params);
    assert!(report.people > 300, "{report:#?}");
    let get = |rows, method| Report::of(rows, method).expect("measured");
    let (any, new) = (&report.repeats_allowed, &report.new_items_only);
    assert!(get(any, "marquee").ndcg > 2.0 * get(any, "popular").ndcg, "{report:#?}");
    assert!(get(any, "marquee").ndcg > 0.97 * get(any, "own_favourites").ndcg, "{report:#?}");
    assert!(get(new, "marquee").ndcg > 1.3 * get(new, "popular").ndcg, "{report:#?}");
}
