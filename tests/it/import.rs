//! Importers on both engines: every preset, hostile files, and a real shop's year held against sums made straight from its file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use marquee::catalog;
use marquee::import::{self, ImportError, Kind, Options, Preset, Report};
use marquee::people::{self, Consent, Identity};
use marquee::platform::ids::ProductId;
use marquee::platform::{Currency, Db, Money, Platform, Timestamp};
use marquee::read;

use crate::both_engines;
use crate::support::{Engine, TestShop, real_data};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }
    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("write");
        path
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn pounds(platform: &Platform) -> Options {
    Options { currency: Currency::GBP, zone: chrono_tz::Tz::Europe__London, ..Options::new(platform) }
}

async fn load(platform: &Platform, kind: Kind, file: &Path) -> Report {
    import::run(platform, kind, file, &pounds(platform)).await.expect("imports")
}

fn adds_up(report: &Report) {
    assert_eq!(report.rows, report.accepted + report.cancellations + report.passed_over + report.refused_rows(), "{report}");
}

fn refused(report: &Report) -> BTreeMap<&str, u64> {
    report.refused.iter().map(|(code, c)| (*code, c.rows)).collect()
}

async fn number(db: &Db, sql: &'static str) -> i64 {
    read!(*db, |c| sqlx::query_scalar::<_, i64>(sql).fetch_one(c).await).expect("a number")
}

const ORDERS: &str = "SELECT COUNT(*) FROM shop_order";
const LINES: &str = "SELECT COUNT(*) FROM order_line";
const PEOPLE: &str = "SELECT COUNT(*) FROM person";
const EVENTS: &str = "SELECT COUNT(*) FROM event";
const TOTAL: &str = "SELECT CAST(COALESCE(SUM(total_minor), 0) AS BIGINT) FROM shop_order";
const REFUNDED: &str = "SELECT CAST(COALESCE(SUM(refunded_minor), 0) AS BIGINT) FROM shop_order";
const LINES_CANCELLED: &str = "SELECT CAST(COALESCE(SUM(cancelled_quantity * unit_price_minor), 0) AS BIGINT) FROM order_line";
/// Orders whose lines do not add up to their total.
const UNEVEN: &str = "SELECT COUNT(*) FROM (SELECT o.id FROM shop_order o JOIN order_line l ON l.order_id = o.id
     GROUP BY o.id, o.total_minor HAVING SUM(l.quantity * l.unit_price_minor) <> o.total_minor) AS x";

async fn order(db: &Db, reference: &str) -> Option<(i64, i64, String, Option<String>, String)> {
    const ORDER: &str = "SELECT total_minor, refunded_minor, status, flag, currency FROM shop_order WHERE order_ref = $1";
    read!(*db, |c| sqlx::query_as(ORDER).bind(reference).fetch_optional(c).await).expect("order")
}

const RETAIL: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

both_engines!(a_generic_file_becomes_people_products_and_orders, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let path = files.put(
        "orders.csv",
        "Order ID,SKU,Title,Qty,Price,Order Date,Customer ID,Email,Country,Currency\n\
         1,A,Tin mug,2,3.50,2025-06-01 12:00:00,c1,Ann@Example.test,GB,GBP\n\
         1,B,Oak tray,1,20,,,,,\n\
         2,A,Tin mug,1,€4.00,2025-06-02,,bob@example.test,DE,EUR\n\
         3,A,Tin mug,1,3.50,2025-06-03T10:00:00Z,,not an address,,GBP\n",
    );
    let report = load(p, Kind::Orders, &path).await;
    adds_up(&report);
    assert_eq!((report.preset, report.accepted, report.unchanged), ("generic", 4, false));
    assert_eq!(order(db, "1").await, Some((2700, 0, "placed".into(), None, "GBP".into())));
    assert_eq!(order(db, "2").await, Some((400, 0, "placed".into(), None, "EUR".into())));
    assert_eq!(number(db, PEOPLE).await, 2, "an order without an address stays nobody's");
    assert_eq!(number(db, EVENTS).await, 2);
    let ann = people::find(db, &Identity::External("c1".into())).await.expect("read").expect("there");
    assert_eq!(ann.email_key.as_deref(), Some("ann@example.test"));
    assert_eq!(ann.email_consent, Consent::Never, "buying is not subscribing");
    // Noon in London in June is eleven in UTC.
    assert_eq!(ann.first_seen_at, Timestamp::parse("2025-06-01T11:00:00Z").expect("time"));
    let mug = catalog::get_by_sku(db, "A").await.expect("read").expect("there");
    assert_eq!((mug.title.as_str(), mug.price), ("Tin mug", Money::new(350, Currency::GBP)), "the most frequent price");

    let again = load(p, Kind::Orders, &path).await;
    assert!(again.unchanged && again.written.values().all(|n| *n == 0), "{again}");
    assert_eq!((number(db, ORDERS).await, number(db, LINES).await, number(db, EVENTS).await), (3, 4, 2));
});

both_engines!(known_products_and_people_are_left_as_they_are, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let mut tx = db.begin().await.expect("begin");
    let rich = catalog::NewProduct {
        description: "Holds tea.".into(),
        ..catalog::NewProduct::new("A", "The mug", Money::new(999, Currency::GBP))
    };
    catalog::bulk_upsert(&mut tx, &[rich], p.now()).await.expect("product");
    tx.commit().await.expect("commit");
    let who = files.put("people.csv", "id,email,country\nc1,ann@example.test,FR\n");
    load(p, Kind::People, &who).await;
    let path = files.put("o.csv", "order,sku,quantity,price,date,person,country,title\n1,A,1,2,2025-06-01,c1,GB,mug\n");
    load(p, Kind::Orders, &path).await;
    assert_eq!(catalog::get_by_sku(db, "A").await.expect("read").expect("there").title, "The mug");
    assert_eq!(people::find(db, &Identity::External("c1".into())).await.expect("read").expect("there").country.as_deref(), Some("FR"));
    assert!(load(p, Kind::People, &who).await.unchanged);
});

both_engines!(a_shopify_export_with_continuations_discounts_and_cancellations, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let head = "Name,Email,Financial Status,Paid at,Currency,Subtotal,Total,Discount Code,Discount Amount,Created at,Lineitem quantity,\
                Lineitem name,Lineitem price,Lineitem sku,Lineitem discount,Cancelled at,Refunded Amount,Billing Country,Shipping Country,Id\n";
    let body = "#1001,ann@example.test,paid,2025-06-01 10:00:00 +0100,EUR,50,45,TEN,5.00,2025-06-01 09:58:00 +0100,2,Tin mug,10.00,MUG,0,,0.00,FR,FR,991\n\
                #1001,ann@example.test,,,,,,,,,1,\"Tray, oak\",30.00,,0,,,,,\n\
                #1002,bob@example.test,refunded,,EUR,10,10,,0,2025-06-02 09:58:00 +0100,1,Tin mug,10.00,MUG,0,2025-06-03 09:00:00 +0100,10.00,,DE,992\n\
                #1003,bob@example.test,partially_refunded,,EUR,20,20,,0,2025-06-02 10:58:00 +0100,2,Tin mug,10.00,MUG,0,,4.00,,DE,993\n";
    let path = files.put("shopify.csv", format!("{head}{body}"));
    let report = load(p, Kind::Orders, &path).await;
    adds_up(&report);
    assert_eq!((report.preset, report.accepted), ("shopify", 4), "{report}");
    assert_eq!(order(db, "#1001").await, Some((4500, 0, "placed".into(), None, "EUR".into())));
    assert_eq!(order(db, "#1002").await, Some((1000, 1000, "cancelled".into(), None, "EUR".into())));
    assert_eq!(order(db, "#1003").await, Some((2000, 400, "partially_refunded".into(), None, "EUR".into())));
    assert!(catalog::get_by_sku(db, "Tray, oak").await.expect("read").is_some(), "without a code the name stands for it");
    assert_eq!(number(db, PEOPLE).await, 2);
    assert!(load(p, Kind::Orders, &path).await.unchanged);

    // Next month's export knows of one more refund; only that is new.
    let later = files.put(
        "later.csv",
        format!("{head}{}", body.replace("2,Tin mug,10.00,MUG,0,,4.00", "2,Tin mug,10.00,MUG,0,2025-07-01 00:00:00 +0000,4.00")),
    );
    let report = load(p, Kind::Orders, &later).await;
    assert_eq!((report.written["orders"], report.written["cancellations and refunds"]), (0, 1), "{report}");
    assert_eq!(order(db, "#1003").await.map(|o| (o.1, o.2)), Some((2000, "cancelled".into())));
});

both_engines!(a_retail_file_is_cleaned, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let mut text = RETAIL.to_owned();
    for n in 0..12 {
        text.push_str(&format!("{},10001,RED MUG,{},2011-01-0{} 10:00:00,2.00,c{n},United Kingdom\n", 100 + n, 2 + n % 3, 1 + n % 9));
    }
    text.push_str(
        "200,85123a,WHITE HEART,6,2011-02-01 10:00:00,2.55,c1,United Kingdom\n\
         200,85123a,WHITE HEART,6,2011-02-01 10:00:00,2.55,c1,United Kingdom\n\
         201,85123A,WHITE HEART,4,2011-02-02 10:00:00,2.55,c1,United Kingdom\n\
         200,POST,POSTAGE,1,2011-02-01 10:00:00,18.0,c1,United Kingdom\n\
         200,C2,CARRIAGE,1,2011-02-01 10:00:00,50.0,c1,United Kingdom\n\
         A563185,B,Adjust bad debt,1,2011-02-01 14:50:00,11062.06,,United Kingdom\n\
         202,10001,damaged,-6,2011-02-03 10:00:00,0.0,,United Kingdom\n\
         203,10001,?,6,2011-02-03 10:00:00,1.0,,United Kingdom\n\
         204,10001,RED MUG,-6,2011-02-03 10:00:00,0.0,,United Kingdom\n\
         205,10001,RED MUG,6,2011-02-03 10:00:00,0.0,c1,United Kingdom\n\
         206,10001,RED MUG,3,2011-02-03 10:00:00,2.00,,United Kingdom\n\
         C207,85123A,WHITE HEART,-5,2011-02-04 10:00:00,2.55,c1,United Kingdom\n\
         C208,85123A,WHITE HEART,-20,2011-02-05 10:00:00,2.55,c1,United Kingdom\n\
         C209,10001,RED MUG,-1,2010-12-01 10:00:00,2.00,c1,United Kingdom\n\
         C210,10001,RED MUG,-1,2011-02-05 10:00:00,2.00,,United Kingdom\n\
         211,10001,RED MUG,80995,2011-02-06 10:00:00,2.00,c9,United Kingdom\n\
         C212,10001,RED MUG,-80995,2011-02-06 10:12:00,2.00,c9,United Kingdom\n\
         213,10001,RED MUG,2000,2011-02-07 10:00:00,1.50,c9,United Kingdom\n",
    );
    let path = files.put("retail.csv", &text);
    let report = load(p, Kind::Orders, &path).await;
    adds_up(&report);
    let expected = [
        ("bad_debt", 1),
        ("cancel_unmatched", 2),
        ("duplicate", 1),
        ("negative_quantity", 1),
        ("not_a_product", 2),
        ("stock_note", 2),
        ("zero_price", 1),
    ];
    assert_eq!(refused(&report), BTreeMap::from(expected), "{report}");
    assert_eq!((report.preset, report.cancellations), ("online_retail", 3));
    // C207 takes the newest first: all four of 201 and one of 200; C208 finds five more.
    assert_eq!(order(db, "201").await.map(|o| (o.0, o.1, o.2)), Some((1020, 1020, "cancelled".into())));
    assert_eq!(order(db, "200").await.map(|o| (o.0, o.1, o.2)), Some((1530, 1530, "cancelled".into())));
    let giant = order(db, "211").await.expect("there");
    assert_eq!((giant.1 == giant.0, giant.2.as_str(), giant.3.as_deref()), (true, "cancelled", Some("outlier")));
    assert_eq!(order(db, "213").await.map(|o| o.3), Some(None), "a large order of a wholesale customer is an order");
    assert_eq!(number(db, "SELECT COUNT(*) FROM order_line WHERE flag IS NOT NULL").await, 2);
    assert_eq!(number(db, "SELECT COUNT(*) FROM shop_order WHERE person_id IS NULL").await, 1);
    assert_eq!((number(db, UNEVEN).await, number(db, REFUNDED).await), (0, number(db, LINES_CANCELLED).await));
    let skus: Vec<String> = catalog::all(db).await.expect("all").into_iter().map(|p| format!("{}={}", p.sku, p.title)).collect();
    assert_eq!(skus, ["10001=RED MUG", "85123A=WHITE HEART"]);
    assert!(load(p, Kind::Orders, &path).await.unchanged);

    // The same by hand: the preset is nothing but a mapping and rules.
    let twin = TestShop::open(Engine::Sqlite).await.expect("SQLite");
    let mut options = pounds(&twin.platform);
    options.preset = Some(Preset::Generic);
    for pair in ["order=InvoiceNo", "sku=StockCode", "title=Description", "quantity=Quantity", "date=InvoiceDate", "unit_price=UnitPrice"] {
        let (field, column) = pair.split_once('=').expect("pair");
        options.map.push((field.into(), column.into()));
    }
    options.map.push(("person".into(), "CustomerID".into()));
    options.rules.cancel_prefix = Some("C".into());
    options.rules.bad_debt_prefix = Some("A".into());
    options.rules.codes_need_digit = Some(true);
    options.rules.fold_sku_case = Some(true);
    options.rules.stock_notes = Some(true);
    let by_hand = import::run(&twin.platform, Kind::Orders, &path, &options).await.expect("imports");
    assert_eq!((by_hand.accepted, by_hand.cancellations, refused(&by_hand)), (report.accepted, report.cancellations, refused(&report)));
    assert_eq!(number(&twin.platform.db, TOTAL).await, number(db, TOTAL).await);
});

both_engines!(what_is_refused_is_kept_with_its_line, |shop| {
    let (p, files) = (&shop.platform, Files::new());
    let path = files.put(
        "o.csv",
        "order,sku,title,quantity,price,date\n1,A,\"two\nlines\",1,2,2025-01-01\n\n2,A,=cmd|' /C calc'!A0,x,2,2025-01-01\n3,A,mug,1,0,2025-01-01\n",
    );
    let options = Options { rejects: Some(files.path("rejects.csv")), ..pounds(p) };
    let report = import::run(p, Kind::Orders, &path, &options).await.expect("imports");
    adds_up(&report);
    let mut rows = csv::Reader::from_path(files.path("rejects.csv")).expect("rejects");
    let got: Vec<Vec<String>> = rows.records().map(|r| r.expect("row").iter().map(ToOwned::to_owned).collect()).collect();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0][..2], ["5", "bad_quantity"], "physical lines: {got:?}");
    assert_eq!(got[0][3..], ["2", "A", "'=cmd|' /C calc'!A0", "x", "2", "2025-01-01"]);
    assert_eq!(got[1][..2], ["6", "zero_price"]);
});

both_engines!(half_an_order_is_no_order, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let head = "order,sku,title,quantity,price,date,email\n";
    let broken = files.put(
        "broken.csv",
        format!(
            "{head}1,A,mug,1,2,2025-01-01,a@example.test\n2,A,mug,1,2,2025-01-01,\n2,B,\"tray,1,2,2025-01-01,\n3,A,mug,1,2,2025-01-01,\n4,A,mug,one,2,2025-01-01,\n4,B,tray,1,2,2025-01-01,\n5,A,mug\n6,B,tray,1,2,2025-01-01,\n7,A,mug,1,2,2125-01-01,\n"
        ),
    );
    let report = load(p, Kind::Orders, &broken).await;
    adds_up(&report);
    let expected = [("bad_quantity", 1), ("broken_row", 1), ("future_date", 1), ("order_incomplete", 2), ("wrong_columns", 1)];
    assert_eq!(refused(&report), BTreeMap::from(expected), "{report}");
    assert_eq!((number(db, ORDERS).await, order(db, "1").await.is_some(), order(db, "2").await.is_some()), (3, true, false));

    // A file cut off in the middle: all but the order at the cut.
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    let body: String = (0..4000).map(|n| format!("t{},S{n},mug,1,2,2025-01-01,\n", n / 4)).collect();
    gz.write_all(format!("{head}{body}").as_bytes()).expect("pack");
    let packed = gz.finish().expect("pack");
    let torn = files.put("torn.csv.gz", &packed[..packed.len() / 2]);
    let before = number(db, ORDERS).await;
    let report = load(p, Kind::Orders, &torn).await;
    adds_up(&report);
    assert!(report.torn.is_some(), "{report}");
    let got = number(db, ORDERS).await - before;
    assert!(got > 300 && got < 700, "{got} orders");
    assert_eq!(number(db, "SELECT COUNT(*) FROM (SELECT order_id FROM order_line GROUP BY order_id HAVING COUNT(*) = 4) AS x").await, got);
    let whole = files.put("whole.csv.gz", &packed);
    let report = load(p, Kind::Orders, &whole).await;
    assert_eq!(report.written["orders"], 1000 - got.unsigned_abs());
});

both_engines!(a_dry_run_writes_nothing, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let orders = files.put("o.csv", "order,sku,quantity,price,date,email\n1,A,1,2,2025-01-01,a@example.test\n");
    let who = files.put("p.csv", "email\na@example.test\n");
    let what = files.put("x.csv", "sku,title,price\nA,Mug,1\n");
    for (kind, file) in [(Kind::Orders, orders), (Kind::People, who), (Kind::Products, what)] {
        let report = import::run(p, kind, &file, &Options { dry_run: true, ..pounds(p) }).await.expect("runs");
        assert_eq!((report.accepted, report.dry_run), (1, true));
    }
    assert_eq!((number(db, ORDERS).await, number(db, PEOPLE).await, catalog::count(db).await.expect("count")), (0, 0, 0));
});

async fn consent(db: &Db, email: &str) -> Consent {
    people::find(db, &Identity::email(email).expect("address")).await.expect("read").expect("there").email_consent
}

both_engines!(people_keep_their_newest_answer, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let put = |name: &str, body: &str| files.put(name, format!("email,consent,consent_at,first name,timezone,tags,Shoe size\n{body}"));
    let first = put(
        "1.csv",
        "Ann@Example.TEST,subscribed,2025-03-01,Ann,Europe/Berlin,\"vip;tea\",38\nbob@example.test,no,2025-03-01,Bob,Mars/Base,,\n\
         eve@example.test,,,Eve,,,\nnot-an-address,yes,,X,,,\n,,,Nobody,,,\nann@example.test,subscribed,2025-03-01,Ann,,,\n",
    );
    let report = load(p, Kind::People, &first).await;
    adds_up(&report);
    assert_eq!(refused(&report), BTreeMap::from([("bad_email", 1), ("no_identity", 1)]), "{report}");
    assert_eq!((report.accepted, report.written["people added"]), (4, 3));
    assert_eq!(report.notes["time zones left out because they are unknown"], 1);
    let ann = people::find(db, &Identity::email("ann@example.test").expect("address")).await.expect("read").expect("there");
    assert_eq!((ann.time_zone.as_deref(), ann.attributes.0["tags"].clone()), (Some("Europe/Berlin"), serde_json::json!(["vip", "tea"])));
    assert_eq!(ann.attributes.0["Shoe size"], serde_json::json!(38));
    let log = people::export(db, ann.id).await.expect("export").consent_history;
    assert_eq!((log.len(), log[0].source.as_str(), log[0].at), (1, "import:generic", Timestamp::parse("2025-03-01").expect("time")));
    assert!(load(p, Kind::People, &first).await.unchanged);
    assert_eq!(consent(db, "bob@example.test").await, Consent::Unsubscribed);

    // Older, undated and newer answers.
    let older = put("2.csv", "bob@example.test,yes,2025-02-01,Bob,,,\n");
    let report = load(p, Kind::People, &older).await;
    assert_eq!(consent(db, "bob@example.test").await, Consent::Unsubscribed, "{report}");
    assert!(load(p, Kind::People, &older).await.unchanged, "the old answer stands in the history once");
    load(p, Kind::People, &put("3.csv", "bob@example.test,yes,,Bob,,,\neve@example.test,yes,,Eve,,,\nann@example.test,no,,Ann,,,\n")).await;
    assert_eq!(consent(db, "bob@example.test").await, Consent::Unsubscribed, "an undated yes does not undo a no");
    assert_eq!(consent(db, "eve@example.test").await, Consent::Subscribed);
    assert_eq!(consent(db, "ann@example.test").await, Consent::Unsubscribed, "an undated no counts");
    load(p, Kind::People, &put("4.csv", "bob@example.test,yes,2025-04-01,Bob,,,\n")).await;
    assert_eq!(consent(db, "bob@example.test").await, Consent::Subscribed, "a newer yes is an answer");
});

both_engines!(mailchimp_and_klaviyo_exports, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let mailchimp = files.put(
        "mailchimp.csv",
        "Email Address,First Name,Last Name,MEMBER_RATING,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,TIMEZONE,CC,LAST_CHANGED,LEID,EUID,NOTES,TAGS,UNSUB_TIME\n\
         m1@example.test,Mia,One,2,2024-01-02 03:04:05,,2024-01-02 03:10:00,,Europe/Paris,FR,2024-01-02,1,a,,\"\"\"VIP\"\",\"\"Tea\"\"\",\n\
         m2@example.test,Moe,Two,2,2024-01-02 03:04:05,,2024-01-02 03:10:00,,,FR,2024-01-02,2,b,,,2024-06-01 00:00:00\n",
    );
    let report = load(p, Kind::People, &mailchimp).await;
    assert_eq!((report.preset, report.accepted), ("mailchimp", 2), "{report}");
    assert_eq!((consent(db, "m1@example.test").await, consent(db, "m2@example.test").await), (Consent::Subscribed, Consent::Unsubscribed));
    let mia = people::find(db, &Identity::email("m1@example.test").expect("address")).await.expect("read").expect("there");
    assert_eq!(mia.attributes.0["tags"], serde_json::json!(["VIP", "Tea"]));
    let log = people::export(db, mia.id).await.expect("export").consent_history;
    assert_eq!((log[0].source.as_str(), log[0].at.to_string().as_str()), ("import:mailchimp", "2024-01-02T03:10:00Z"));

    let klaviyo = files.put(
        "klaviyo.csv",
        "Email,First Name,Last Name,Phone Number,City,State / Region,Country,Zip Code,Source,Email Marketing Consent,Email Marketing Consent Timestamp,Profile Created On,Email Suppressions\n\
         m2@example.test,Moe,Two,,Lyon,,FR,,,SUBSCRIBED,2024-05-01 00:00:00,2023-01-01,[]\n\
         k1@example.test,Kim,Li,,,,,,,NEVER_SUBSCRIBED,,2023-01-01,\n\
         k2@example.test,Kai,Li,,,,,,,SUBSCRIBED,2024-05-01 00:00:00,2023-01-01,HARD_BOUNCE\n",
    );
    let report = load(p, Kind::People, &klaviyo).await;
    assert_eq!((report.preset, report.accepted, report.written["addresses suppressed"]), ("klaviyo", 3, 1), "{report}");
    assert_eq!(consent(db, "m2@example.test").await, Consent::Unsubscribed, "he left after that");
    assert_eq!(consent(db, "k1@example.test").await, Consent::Never);
    assert_eq!(
        people::suppressed(db, &["k2@example.test", "k1@example.test"]).await.expect("list"),
        HashSet::from(["k2@example.test".to_owned()])
    );
    assert!(load(p, Kind::People, &klaviyo).await.unchanged);
});

both_engines!(products_from_google_and_shopify_and_by_hand, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let tsv = files.put(
        "google.tsv",
        "id\ttitle\tdescription\tlink\timage_link\tavailability\tprice\tsale_price\tbrand\tgoogle_product_category\tproduct_type\n\
         G1\tTin mug\t<p>Holds &amp; keeps</p>\thttps://shop.example.com/g1\thttps://shop.example.com/g1.png\tin_stock\t12.34 GBP\t10.00 GBP\tTin & Co\tHome\tHome > Kitchen\n\
         G2\tTray\t\thttps://shop.example.com/g2\t\tout of stock\t20 EUR\t25 EUR\t\t\t\n\
         G3\tBad\t\tjavascript:alert(1)\t\tin_stock\t1 GBP\t\t\t\t\n\
         G1\tTwice\t\t\t\tin_stock\t1 GBP\t\t\t\t\n\
         G4\tFree\t\t\t\tin_stock\tfree\t\t\t\t\n",
    );
    let report = load(p, Kind::Products, &tsv).await;
    adds_up(&report);
    assert_eq!(
        (report.preset, refused(&report)),
        ("google", BTreeMap::from([("bad_price", 1), ("bad_value", 1), ("duplicate", 1)])),
        "{report}"
    );
    let mug = catalog::get_by_sku(db, "G1").await.expect("read").expect("there");
    assert_eq!((mug.title.as_str(), mug.description.as_str(), mug.brand.as_deref()), ("Tin mug", "Holds & keeps", Some("Tin & Co")));
    assert_eq!((mug.price_now(), mug.category_path.as_str()), (Money::new(1000, Currency::GBP), "Home > Kitchen"));
    let tray = catalog::get_by_sku(db, "G2").await.expect("read").expect("there");
    assert_eq!((tray.sale_price, tray.available, tray.price.currency), (None, false, Currency::EUR));
    assert!(load(p, Kind::Products, &tsv).await.unchanged);

    let feed = files.put(
        "feed.xml",
        "<?xml version=\"1.0\"?><rss version=\"2.0\" xmlns:g=\"http://base.google.com/ns/1.0\"><channel><title>Shop</title>\n\
         <item><g:id>G1</g:id><g:title>Tin mug</g:title><g:description>&lt;p&gt;Holds &amp;amp; keeps&lt;/p&gt;</g:description><g:link>https://shop.example.com/g1</g:link>\n\
         <g:image_link>https://shop.example.com/g1.png</g:image_link><g:availability>in_stock</g:availability><g:price>12.34 GBP</g:price>\n\
         <g:sale_price>9.00 GBP</g:sale_price><g:brand>Tin &amp; Co</g:brand><g:product_type>Home &gt; Kitchen</g:product_type></item>\n\
         <item><g:id>X1</g:id><title>Oak tray</title><g:price>30 GBP</g:price></item>\n<item><title>No code</title><g:price>1 GBP</g:price></item></channel></rss>",
    );
    let options = Options { rejects: Some(files.path("feed-rejects.csv")), ..pounds(p) };
    let report = import::run(p, Kind::Products, &feed, &options).await.expect("imports");
    adds_up(&report);
    assert_eq!((report.written["products added"], report.written["products changed"], report.refused_rows()), (1, 1, 1), "{report}");
    assert_eq!(catalog::get_by_sku(db, "G1").await.expect("read").expect("there").content_hash, mug.content_hash, "only its price changed");
    assert!(std::fs::read_to_string(files.path("feed-rejects.csv")).expect("rejects").contains("No code"));

    let shopify = files.put(
        "shopify.csv",
        "Handle,Title,Body (HTML),Vendor,Type,Option1 Name,Option1 Value,Variant SKU,Variant Price,Variant Compare At Price,Variant Inventory Qty,Image Src,Status\n\
         shirt,Shirt,<p>Soft</p>,Loom,Clothes,Colour,Red,S-R,15.00,20.00,3,https://shop.example.com/s.png,active\n\
         shirt,,,,,,Blue,,15.00,,0,,\n\
         shirt,,,,,,,,,,,https://shop.example.com/s2.png,\n\
         hat,Hat,,Loom,,Title,Default Title,'007,9.00,,,,draft\n",
    );
    let report = load(p, Kind::Products, &shopify).await;
    adds_up(&report);
    assert_eq!((report.preset, report.accepted, report.passed_over), ("shopify", 3, 1), "{report}");
    let red = catalog::get_by_sku(db, "S-R").await.expect("read").expect("there");
    assert_eq!(
        (red.title.as_str(), red.price.minor, red.sale_price.map(|m| m.minor), red.stock),
        ("Shirt – Red", 2000, Some(1500), Some(3))
    );
    let blue = catalog::get_by_sku(db, "shirt-blue").await.expect("read").expect("there");
    assert_eq!((blue.description.as_str(), blue.sellable(), blue.image_url.is_some()), ("Soft", false, true));
    assert!(!catalog::get_by_sku(db, "007").await.expect("read").expect("there").available);

    let plain = files.put("plain.csv", "sku;name;price;colour\nP1;Cup;12,50;red\n");
    load(p, Kind::Products, &plain).await;
    let cup = catalog::get_by_sku(db, "P1").await.expect("read").expect("there");
    assert_eq!((cup.price, cup.attributes["colour"].as_str()), (Money::new(1250, Currency::GBP), Some("red")));
});

both_engines!(hostile_files_leave_the_shop_as_it_was, |shop| {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let fails = |kind, name: &'static str, bytes: Vec<u8>| {
        let path = files.put(name, bytes);
        async move { import::run(p, kind, &path, &pounds(p)).await.expect_err(name) }
    };
    let utf16: Vec<u8> = std::iter::once(0xfeff_u16).chain("order,sku\n1,2\n".encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert!(matches!(fails(Kind::Orders, "utf16.csv", utf16).await, ImportError::Encoding("UTF-16")));
    assert!(matches!(fails(Kind::Orders, "x.xlsx", b"PK\x03\x04...".to_vec()).await, ImportError::Spreadsheet));
    assert!(matches!(fails(Kind::Orders, "empty.csv", Vec::new()).await, ImportError::Empty));
    assert!(matches!(fails(Kind::Orders, "wide.csv", "a,".repeat(600).into_bytes()).await, ImportError::Header(_)));
    let wrong = fails(Kind::Orders, "wrong.csv", b"Invoice,Code,Qty\n1,2,3\n".to_vec()).await.to_string();
    assert!(
        wrong.contains("sku has no column") && wrong.contains("unit_price has no column") && wrong.contains("found: Invoice, Code, Qty"),
        "{wrong}"
    );
    let bomb = b"<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><rss><item><id>&b;</id></item></rss>".to_vec();
    assert!(matches!(fails(Kind::Products, "bomb.xml", bomb).await, ImportError::Xml(_)));
    assert!(matches!(import::run(p, Kind::People, &files.path("nowhere"), &pounds(p)).await, Err(ImportError::Read { .. })));

    let nasty = [
        "Robert'); DROP TABLE person;--",
        "=HYPERLINK(\"\"http://x\"\")",
        "{{ 7*7 }}",
        "<script>alert(1)</script>",
        "\u{202e}abc",
        "%00",
        "' OR 1=1",
    ];
    let mut orders = String::from("order,sku,title,quantity,price,date,person,country\n");
    let mut who = String::from("id,email,first name,city,tags,note\n");
    let mut what = String::from("sku,title,description,brand,category,price,extra\n");
    for (n, text) in nasty.iter().enumerate() {
        orders.push_str(&format!("\"o{text}\",\"s{text}\",\"{text}\",1,1.00,2025-01-01,\"p{text}\",\"{text}\"\n"));
        who.push_str(&format!("\"p{text}\",x{n}@example.test,\"{text}\",\"{text}\",\"{text}\",\"{text}\"\n"));
        what.push_str(&format!("\"s{text}\",\"{text}\",\"{text}\",\"{text}\",\"{text}\",1,\"{text}\"\n"));
    }
    let fat = "x".repeat(1_000_000);
    orders.push_str(&format!("fat,s,\"{fat}\",1,1,2025-01-01,p,\nnul,s\0,t,1,1,2025-01-01,p,\nlast,S1,t,1,1,2025-01-01,p,\n"));
    who.push_str(&format!("fat,fat@example.test,{fat},,,\nnul,n\0@example.test,,,,\n"));
    what.push_str(&format!("fat,{fat},,,,1,\nnul,\0,,,,1,\n"));
    for (kind, name, text, good) in
        [(Kind::Orders, "o.csv", orders, 8), (Kind::People, "p.csv", who, 7), (Kind::Products, "x.csv", what, 6)]
    {
        let report = load(p, kind, &files.put(name, text)).await;
        adds_up(&report);
        assert_eq!(report.accepted, good, "{report}");
        assert_eq!((refused(&report)["broken_row"], refused(&report)["nul"]), (1, 1), "{report}");
        // Of a title that is nothing but a script no text is left.
        assert_eq!(refused(&report).get("bad_value").copied(), (kind == Kind::Products).then_some(1), "{report}");
    }
    assert_eq!(number(db, ORDERS).await, 8);
    let robert = people::find(db, &Identity::External(format!("p{}", nasty[0]))).await.expect("read").expect("there");
    assert_eq!((robert.first_name.as_deref(), robert.city.as_deref()), (Some(nasty[0]), Some(nasty[0])));
    let product = catalog::get_by_sku(db, &format!("s{}", nasty[0])).await.expect("read").expect("there");
    assert_eq!(product.title, nasty[0]);
});

/// A row of the real file, read by nothing of ours.
struct Row {
    invoice: String,
    code: String,
    title: String,
    quantity: i64,
    at: String,
    pence: i64,
    customer: String,
}

fn rows_of(path: &Path, most: usize) -> Vec<Row> {
    let file = std::fs::File::open(path).expect("file");
    let mut reader = csv::Reader::from_reader(flate2::read::MultiGzDecoder::new(file));
    let mut record = csv::StringRecord::new();
    let mut rows = Vec::new();
    while rows.len() < most && reader.read_record(&mut record).expect("row") {
        #[allow(clippy::cast_possible_truncation)]
        let pence = (record[5].parse::<f64>().expect("price") * 100.0).round() as i64;
        rows.push(Row {
            invoice: record[0].to_owned(),
            code: record[1].trim().to_ascii_uppercase(),
            title: record[2].trim().to_owned(),
            quantity: record[3].parse().expect("quantity"),
            at: record[4].to_owned(),
            pence,
            customer: record[6].to_owned(),
        });
    }
    rows
}

/// What the file holds by the plain rules: sales are positive, have a price and a code with a digit, are no carriage, and count once.
struct Truth {
    accepted: u64,
    gross: i64,
    cancelled: i64,
    cancellations: u64,
    customers: HashSet<String>,
    codes: HashSet<String>,
    orders: HashSet<String>,
    orders_with_customer: HashSet<String>,
}

fn truth(rows: &[Row]) -> Truth {
    let mut t = Truth {
        accepted: 0,
        gross: 0,
        cancelled: 0,
        cancellations: 0,
        customers: HashSet::new(),
        codes: HashSet::new(),
        orders: HashSet::new(),
        orders_with_customer: HashSet::new(),
    };
    let mut seen = HashSet::new();
    // By customer and code, in the order of the file, which is the order of time: pieces left and their price.
    let mut bought: HashMap<(&str, &str), Vec<(i64, i64)>> = HashMap::new();
    for r in rows {
        let carriage = ["carriage", "next day carriage"].contains(&r.title.to_ascii_lowercase().as_str());
        let product = r.code.chars().any(|c| c.is_ascii_digit()) && !carriage;
        let fits = product && r.pence > 0 && !r.invoice.starts_with('A');
        if !fits || !seen.insert((&r.invoice, &r.code, r.quantity, r.pence, &r.at, &r.title)) {
            continue;
        }
        let key = (r.customer.as_str(), r.code.as_str());
        if r.invoice.starts_with('C') {
            let mut want = -r.quantity;
            if !r.customer.is_empty() {
                for (left, pence) in bought.entry(key).or_default().iter_mut().rev() {
                    let take = want.min(*left);
                    *left -= take;
                    want -= take;
                    t.cancelled += take * *pence;
                }
            }
            t.cancellations += u64::from(want < -r.quantity);
        } else if r.quantity > 0 {
            t.accepted += 1;
            t.gross += r.quantity * r.pence;
            bought.entry(key).or_default().push((r.quantity, r.pence));
            t.codes.insert(r.code.clone());
            t.orders.insert(r.invoice.clone());
            if !r.customer.is_empty() {
                t.customers.insert(r.customer.clone());
                t.orders_with_customer.insert(r.invoice.clone());
            }
        }
    }
    t
}

fn count(n: usize) -> i64 {
    i64::try_from(n).expect("fits")
}

/// Imports the first rows of the real file with addresses for its customers, and holds the database against the truth.
async fn a_real_year(shop: &TestShop, real: &Path, most: usize) {
    let (p, db, files) = (&shop.platform, &shop.platform.db, Files::new());
    let rows = rows_of(real, most);
    let t = truth(&rows);
    let path = if most == usize::MAX {
        real.to_owned()
    } else {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(real).expect("file")).read_to_string(&mut text).expect("text");
        files.put("part.csv", text.split_inclusive('\n').take(most + 1).collect::<String>())
    };
    let started = std::time::Instant::now();
    let report = load(p, Kind::Orders, &path).await;
    eprintln!("{report}\n{:?} on {:?}", started.elapsed(), db.dialect());
    adds_up(&report);
    assert_eq!(report.rows, rows.len() as u64);
    assert_eq!((report.accepted, report.amounts["GBP"]["sold"]), (t.accepted, t.gross));
    assert_eq!(number(db, LINES).await.unsigned_abs(), t.accepted);
    assert_eq!((number(db, TOTAL).await, number(db, UNEVEN).await), (t.gross, 0));
    assert_eq!(number(db, ORDERS).await, count(t.orders.len()));
    assert_eq!((number(db, PEOPLE).await, number(db, EVENTS).await), (count(t.customers.len()), count(t.orders_with_customer.len())));
    assert_eq!(catalog::count(db).await.expect("count"), count(t.codes.len()));
    assert_eq!(number(db, REFUNDED).await, number(db, LINES_CANCELLED).await);
    // The two readings may differ by which of two lines of one order a cancellation meets first.
    assert_eq!(report.cancellations, t.cancellations);
    let refunded = number(db, REFUNDED).await;
    assert!((refunded - t.cancelled).abs() <= t.cancelled / 1000, "{refunded} against {}", t.cancelled);
    assert_eq!(report.amounts["GBP"]["cancelled"], refunded);
    if most == usize::MAX {
        assert_eq!(report.rows, 541_909);
        for giant in ["541431", "581483"] {
            let (total, back, status, flag, _) = order(db, giant).await.expect("there");
            assert_eq!((total == back, status.as_str(), flag.as_deref()), (true, "cancelled", Some("outlier")), "{giant}");
        }
        assert_eq!(report.notes["orders flagged as not plausible"], 2);
        let heart = catalog::get_by_sku(db, "85123A").await.expect("read").expect("there");
        assert_eq!(heart.title, "WHITE HANGING HEART T-LIGHT HOLDER");
    }

    let mut customers: Vec<&String> = t.customers.iter().collect();
    customers.sort_unstable();
    let mut who = String::from("id,email,consent,consent_at\n");
    for (n, id) in customers.iter().enumerate() {
        let answer = ["subscribed,2010-11-01", "unsubscribed,2010-11-02", "subscribed,2010-11-03", ","][n % 4];
        who.push_str(&format!("{id},{id}@example.test,{answer}\n"));
    }
    let people_file = files.put("people.csv", who);
    let report = load(p, Kind::People, &people_file).await;
    assert_eq!((report.accepted, report.written["people added"]), (customers.len() as u64, 0), "{report}");
    let subscribed = number(db, "SELECT COUNT(*) FROM person WHERE email_consent = 'subscribed'").await;
    assert_eq!(subscribed, count((0..customers.len()).filter(|n| n % 4 == 0 || n % 4 == 2).count()));

    let started = std::time::Instant::now();
    assert!(load(p, Kind::People, &people_file).await.unchanged);
    let again = load(p, Kind::Orders, &path).await;
    eprintln!("again: {:?}", started.elapsed());
    assert!(again.unchanged, "{again}");
    assert_eq!(
        (number(db, TOTAL).await, number(db, REFUNDED).await, number(db, LINES).await),
        (t.gross, refunded, count(t.accepted as usize))
    );
    assert!(!catalog::page(db, ProductId(0), 5).await.expect("page").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_year_on_sqlite() {
    let Some(real) = real_data("online_retail/online_retail.csv.gz") else { return };
    let shop = TestShop::open(Engine::Sqlite).await.expect("SQLite");
    a_real_year(&shop, &real, usize::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_weeks_of_a_real_year_on_postgres() {
    let Some(real) = real_data("online_retail/online_retail.csv.gz") else { return };
    let Some(shop) = TestShop::open(Engine::Postgres).await else { return };
    a_real_year(&shop, &real, 100_000).await;
}
