//! Home over the real server: figures that equal the sums, what needs somebody, nothing from outside that runs, no addresses for analysts.

use marquee::account::Role;
use marquee::attribution::{self, rollup};
use marquee::platform::Timestamp;
use marquee::platform::clock::DAY_US;

use crate::attribution::{Order, Touch, campaign, order, person, product, sql, touch};
use crate::both_engines;
use crate::support::browser::Browser;
use crate::support::server::TestServer;
use crate::support::{START, TestShop};

const HOUR: i64 = DAY_US / 24;

/// Two campaigns: the first with a holdout and orders, the second with a name that is markup.
pub async fn filled(shop: &TestShop) {
    let p = &shop.platform;
    let db = &p.db;
    for id in 1..=2 {
        product(db, id, "Mug").await;
    }
    campaign(db, 1, "Spring greens", 7 * 24, "orders").await;
    campaign(db, 2, "<b>Summer</b> & co", 7 * 24, "orders").await;
    sql(db, format!("UPDATE campaign SET started_at = {}", START.0 - 9 * DAY_US)).await;
    let sent = START.0 - 8 * DAY_US;
    for id in 1..=60 {
        person(db, id).await;
        let mut x = if id % 4 == 0 { Touch::ghost(id, 1, sent) } else { Touch::new(id, 1, sent) };
        if id % 4 == 1 {
            x.click = Some(sent + HOUR);
        }
        touch(db, &x).await;
        if id % 2 == 1 {
            let at = sent + 2 * HOUR + id;
            order(db, &Order { id, person: Some(id), at, currency: "EUR", total: 1_000, refunded: 0, flag: None }).await;
        }
    }
    touch(db, &Touch { click: Some(sent + HOUR), ..Touch::new(3, 2, sent) }).await;
    attribution::update(p).await.expect("credit");
    rollup::fold(p).await.expect("folded");
    attribution::keep_lifts(p).await.expect("lifts");
}

both_engines!(a_new_shop_is_told_where_to_begin, |shop| {
    let server = TestServer::start(&shop).await;
    let browser = Browser::signed_in(&server, Role::Admin).await;
    let seen = browser.get("/").await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    assert!(seen.text.contains("start-title") && !seen.text.contains("Begin here"), "the guided start: {}", seen.text);
    assert!(seen.text.contains("Mails have no sender address") && seen.text.contains("href=\"/settings/sender\""), "{}", seen.text);
    // Who may do none of the steps is told what the page will show.
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    let seen = analyst.get("/").await;
    assert!(seen.status == 200 && seen.text.contains("Begin here"), "{}", seen.text);
});

both_engines!(home_says_what_was_earned_added_and_needs_somebody, |shop| {
    filled(&shop).await;
    let server = TestServer::start(&shop).await;
    let p = &shop.platform;
    let browser = Browser::signed_in(&server, Role::Analyst).await;
    let seen = browser.get("/").await;
    assert_eq!(seen.status, 200, "{}", seen.text);
    let days = rollup::Days::ending(p.now().in_zone(p.config.shop.time_zone).date_naive(), 28);
    let totals = rollup::totals(&p.db, days).await.expect("totals");
    assert_eq!(totals.counts.sent, 46);
    let earned = totals.revenue("EUR", rollup::Reading::default());
    assert_eq!(earned, 16 * 1_000, "fifteen who clicked and bought, and one of the second campaign");
    assert!(seen.text.contains("€160.00"), "{}", seen.text);
    // The lift of the first campaign stands in the table, its value never added to anything.
    let kept = attribution::kept_lifts(&p.db, 10).await.expect("kept");
    let lift = &kept.iter().find(|k| k.campaign.is_some_and(|c| c.0 == 1)).expect("measured").measured;
    assert_eq!((lift.main().n_treated, lift.main().n_held), (45, 15));
    assert!(seen.text.contains("Spring greens") && seen.text.contains("do not add up"), "{}", seen.text);
    // What came from outside is text.
    assert!(!seen.text.contains("<b>Summer"), "{}", seen.text);
    assert!(!seen.text.contains("@example"), "an analyst sees no address: {}", seen.text);

    sql(&p.db, "UPDATE touch SET state = 'uncertain' WHERE person_id = 5 AND campaign_id = 1".to_owned()).await;
    sql(&p.db, "UPDATE campaign SET status = 'paused' WHERE id = 2".to_owned()).await;
    let seen = browser.get("/").await;
    assert!(seen.text.contains("1 mail may or may not have gone out"), "{}", seen.text);
    assert!(seen.text.contains("&lt;b&gt;Summer&lt;/b&gt; &amp; co is paused"), "{}", seen.text);
    let part = browser.get("/home/part/now").await;
    assert!(part.status == 200 && part.text.contains("Spring greens"), "{}", part.text);
});

both_engines!(a_shop_that_rests_shows_its_last_days, |shop| {
    filled(&shop).await;
    let later = Timestamp(START.0 + 200 * DAY_US);
    shop.platform.clock.advance_to(later);
    let server = TestServer::start(&shop).await;
    let browser = Browser::signed_in(&server, Role::Marketer).await;
    let seen = browser.get("/?days=7").await;
    assert!(seen.text.contains("Nothing has happened since") && seen.text.contains("€160.00"), "{}", seen.text);
});
