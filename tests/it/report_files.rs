//! Reports that leave the house: files of paths against PyPI ChannelAttribution, Parquet against pyarrow, deliveries, the views for
//! analysts; and what keeping credit in step costs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use marquee::attribution::{self, Deliveries, FileReport, ReportError, of_file};
use marquee::platform::{Db, Timestamp};
use marquee::read;
use serde_json::{Value, json};

use crate::attribution::{Order, Touch, campaign, order, person, product, sql, touch};
use crate::audience_world::DAY;
use crate::both_engines;
use crate::support::{Engine, START, TestShop, real_data};

const HOUR: i64 = DAY / 24;

/// A Python with these packages: the system's, or a private environment beside the build. `None`: cannot be had here.
fn python_with(name: &str, import: &str, packages: &[&str]) -> Option<PathBuf> {
    let has = |python: &Path| Command::new(python).args(["-c", import]).output().is_ok_and(|o| o.status.success());
    let system = PathBuf::from("python3");
    if has(&system) {
        return Some(system);
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let python = home.join("bin/python3");
    if has(&python) {
        return Some(python);
    }
    Command::new("python3").args(["-m", "venv"]).arg(&home).output().ok().filter(|o| o.status.success())?;
    let install = ["-m", "pip", "install", "-q", "--disable-pip-version-check", "--timeout", "10"];
    Command::new(&python).args(install).args(packages).output().ok()?;
    has(&python).then_some(python)
}

type Shares = BTreeMap<(String, String), (f64, f64)>;

fn shares(report: &FileReport) -> Shares {
    report.rows.iter().map(|r| ((r.model.to_owned(), r.key.clone()), (r.conversions, r.value))).collect()
}

/// The exact figures of the data set, written down once from a run that agreed with ChannelAttribution: these hold where no Python is.
#[test]
fn a_known_file_of_paths_gives_known_credit() {
    let Some(file) = real_data("attribution_paths/paths.csv.gz") else { return };
    let report = of_file(&file, 1).expect("report");
    assert_eq!((report.keys, report.distinct_paths), (12, 5408));
    assert_eq!((report.conversions, report.misses), (19_785.0, 68_602.0));
    assert!((report.value - 74_802.97).abs() < 0.01);
    assert!((report.conversion_probability - 19_785.0 / 88_387.0).abs() < 1e-9);
    for model in ["first", "last", "linear", "markov", "shapley", "shapley_rate"] {
        let of: Vec<_> = report.rows.iter().filter(|r| r.model == model).collect();
        assert!((of.iter().map(|r| r.conversions).sum::<f64>() - 19_785.0).abs() < 1e-6, "{model}");
        assert!((of.iter().map(|r| r.value).sum::<f64>() - report.value).abs() < 1e-6, "{model}");
    }
    assert_eq!(report.pairs_drawn, None, "twelve keys are solved exactly");
    for order in [2, 3] {
        let longer = of_file(&file, order).expect("report");
        assert!((longer.conversion_probability - report.conversion_probability).abs() < 1e-9, "{order}");
    }
    // On the command line it is the same.
    let out = Command::new(env!("CARGO_BIN_EXE_marquee"))
        .current_dir(tempfile::tempdir().expect("folder").path())
        .args(["report", "journeys", "--format", "json"])
        .arg(&file)
        .output()
        .expect("runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let said = String::from_utf8(out.stdout).expect("text");
    assert_eq!(said.trim_end(), serde_json::to_string_pretty(&report).expect("json"));
}

const CHANNEL_ATTRIBUTION: &str = r#"
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    import pandas as pd, ChannelAttribution as ca
    d = pd.read_csv(sys.argv[1])
    h = ca.heuristic_models(d, "path", "total_conversions", var_value="total_conversion_value", flg_pro=False)
    m = ca.markov_model(d, "path", "total_conversions", var_value="total_conversion_value", var_null="total_null", order=1,
        nsim_start=2e7, max_step=1000000, nfold=2, seed=7, out_more=True, verbose=False, flg_pro=False)
r = m["result"]
out = {}
for model in ["first", "last", "linear"]:
    for name, c, v in zip(h["channel_name"], h[model + "_touch_conversions"], h[model + "_touch_value"]):
        out[model + " " + name] = [c, v]
for name, c, v in zip(r["channel_name"], r["total_conversions"], r["total_conversion_value"]):
    out["markov " + name] = [c, v]
print(json.dumps(out))
"#;

/// Heuristics to the last digit that Python prints; the Markov chain within 1 % (of channels that have more than a hundredth of the credit:
/// theirs is drawn, and rare ones are drawn too seldom to say anything at 1 %).
#[test]
fn first_last_linear_and_markov_equal_channel_attribution() {
    let Some(file) = real_data("attribution_paths/paths.csv.gz") else { return };
    let import = "import matplotlib, ChannelAttribution";
    let Some(python) = python_with("channel_attribution", import, &["ChannelAttribution==2.2.5", "matplotlib"]) else {
        eprintln!("skipped: Python with ChannelAttribution is not here and could not be installed");
        return;
    };
    let run = Command::new(python).args(["-c", CHANNEL_ATTRIBUTION]).arg(&file).output().expect("python runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("text");
    let theirs: BTreeMap<String, (f64, f64)> = serde_json::from_str(text.lines().last().expect("a line")).expect("json");
    let ours = shares(&of_file(&file, 1).expect("report"));
    let (conversions, value) = (19_785.0, 74_802.97);
    let mut worst: f64 = 0.0;
    assert_eq!(theirs.len(), 4 * 12);
    for (name, (c, v)) in theirs {
        let (model, key) = name.split_once(' ').expect("two words");
        let (our_c, our_v) = ours[&(model.to_owned(), key.to_owned())];
        let apart = |a: f64, b: f64| (a - b).abs() / b.abs().max(1e-12);
        if model == "markov" {
            for (a, b, all) in [(our_c, c, conversions), (our_v, v, value)] {
                // Of all credit no channel is further off than a tenth of a percent, rare ones included.
                assert!((a - b).abs() < 0.001 * all, "{name}: {a} {b}");
                if b > 0.01 * all {
                    worst = worst.max(apart(a, b));
                    assert!(apart(a, b) < 0.01, "{name}: {a} {b}");
                }
            }
        } else {
            assert!(apart(our_c, c) < 1e-9 && apart(our_v, v) < 1e-9, "{name}: {our_c} {c} {our_v} {v}");
        }
    }
    eprintln!("Markov within {:.2} % of ChannelAttribution at its finest", worst * 100.0);
}

#[test]
fn pyarrow_reads_the_same() {
    let Some(python) = python_with("pyarrow", "import pyarrow.parquet", &["pyarrow"]) else {
        eprintln!("skipped: Python with pyarrow is not here and could not be installed");
        return;
    };
    let mut sheet = attribution::Sheet::new("t");
    sheet.column("name", attribution::Kind::Text).column("n", attribution::Kind::Whole).column("rate", attribution::Kind::Number);
    sheet.column("at", attribution::Kind::Time).column("sum", attribution::Kind::Decimal);
    for i in 0..500_i64 {
        sheet.row(vec![
            attribution::Cell::Text(format!("=Ann {}", i % 7)),
            if i % 5 == 0 { attribution::Cell::Empty } else { attribution::Cell::Whole(i - 250) },
            attribution::Cell::Number(0.25),
            attribution::Cell::Time(START.plus_us(i)),
            attribution::Cell::Decimal("-1.50".into()),
        ]);
    }
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("t.parquet");
    std::fs::write(&file, sheet.to_parquet().expect("written")).expect("file");
    let script = "import sys, json, pyarrow.parquet as pq\nt = pq.read_table(sys.argv[1])\n\
        print(json.dumps([t.num_rows, [str(f.type) for f in t.schema], t['name'][8].as_py(), t['n'][1].as_py(), t['n'][0].as_py(), \
        t['at'][3].value, sum(x for x in t['n'].to_pylist() if x is not None), t['sum'][0].as_py()]))";
    let run = Command::new(python).args(["-c", script]).arg(&file).output().expect("python runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said: Value = serde_json::from_slice(&run.stdout).expect("json");
    let sum: i64 = (0..500).filter(|i| i % 5 != 0).map(|i| i - 250).sum();
    assert_eq!(
        said,
        json!([500, ["string", "int64", "double", "timestamp[us, tz=UTC]", "string"], "=Ann 1", -249, null, START.0 + 3, sum, "-1.50"])
    );
}

async fn a_sale(shop: &TestShop) {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    campaign(db, 1, "Spring", 48, "orders").await;
    person(db, 1).await;
    let at = START.0 - 2 * DAY;
    touch(db, &Touch { click: Some(at), ..Touch::new(1, 1, at) }).await;
    order(db, &Order { id: 1, person: Some(1), at: at + HOUR, currency: "EUR", total: 1234, refunded: 34, flag: None }).await;
    attribution::update(&shop.platform).await.expect("update");
}

fn deliveries(list: Value) -> Deliveries {
    serde_json::from_value(list).expect("deliveries")
}

both_engines!(reports_are_delivered_once_each_time_they_are_due, |shop| {
    a_sale(&shop).await;
    let sink = marquee::delivery::sink::Sink::start(0).await.expect("sink");
    let mut platform = shop.platform.clone();
    let mut config = (*platform.config).clone();
    config.mail.servers = vec![sink.url()];
    config.mail.from_address = "shop@example.test".into();
    platform.config = std::sync::Arc::new(config);
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().to_str().expect("a path");
    let saved = deliveries(json!([
        {"name": "daily", "report": "attribution", "query": {"model": "linear"}, "about": "day", "format": "csv", "cron": "0 6 * * *",
         "time_zone": "Europe/Berlin", "to": {"folder": path}},
        {"name": "weekly", "report": "models", "format": "parquet", "cron": "0 7 * * 1", "to": {"mail": ["ann@example.test", "bob@example.test"]}},
        {"name": "lost", "report": "funnel", "format": "json", "cron": "0 6 * * *", "to": {"folder": format!("{path}/nowhere")}}
    ]))
    .save(&platform)
    .await
    .expect("saved");
    assert_eq!(saved.0[0].starts_at, Some(START));
    let none = attribution::deliver_due(&platform).await.expect("runs");
    assert!(none.delivered.is_empty() && none.failed.is_empty(), "nothing is due yet: {none:?}");

    // A day later the folder gets its file; what fails keeps nothing else from coming, and stays due.
    platform.clock.advance_to(START.plus_days(1));
    let done = attribution::deliver_due(&platform).await.expect("runs");
    assert_eq!((done.delivered.len(), done.failed.len()), (1, 1), "{done:?}");
    let file = folder.path().join("daily_2026-01-16_0600.csv");
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.starts_with("campaign,name,currency,orders,revenue"), "{text}");
    assert!(!text.contains("12.00"), "the order was placed the day before the day that it is about: {text}");
    std::fs::remove_file(&file).expect("taken");
    assert!(attribution::deliver_due(&platform).await.expect("runs").delivered.is_empty(), "only once");
    std::fs::create_dir(folder.path().join("nowhere")).expect("folder");
    assert_eq!(attribution::deliver_due(&platform).await.expect("runs").delivered.len(), 1);

    // Weeks of silence: the last due time of each is made up for, as of then. Both recipients get the same mail.
    platform.clock.advance_to(START.plus_days(20));
    let done = attribution::deliver_due(&platform).await.expect("runs");
    assert_eq!((done.delivered.len(), done.failed.len()), (3, 0), "{done:?}");
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    for mail in &mails {
        let raw = String::from_utf8_lossy(&mail.data);
        assert!(raw.contains("weekly_2026-02-02_0700.parquet") && raw.contains("Message-ID: <report-weekly-"), "{raw}");
    }
    assert!(attribution::deliver_due(&platform).await.expect("runs").delivered.is_empty());

    // Saved again, nothing starts anew; nonsense is refused with its place.
    let again = saved.clone().save(&platform).await.expect("saved");
    assert_eq!(again, saved);
    for (wrong, field) in [
        (json!({"name": "No", "report": "paths", "format": "csv", "cron": "0 6 * * *", "to": {"folder": "/tmp"}}), "name"),
        (json!({"name": "a", "report": "paths", "format": "csv", "cron": "whenever", "to": {"folder": "/tmp"}}), "cron"),
        (json!({"name": "a", "report": "paths", "format": "csv", "cron": "0 6 * * *", "to": {"folder": "here"}}), "to"),
        (json!({"name": "a", "report": "paths", "format": "csv", "cron": "0 6 * * *", "to": {"mail": ["nobody"]}}), "to"),
        (
            json!({"name": "a", "report": "paths", "query": {"by": "moon"}, "format": "csv", "cron": "0 6 * * *", "to": {"folder": "/tmp"}}),
            "by",
        ),
        (
            json!({"name": "a", "report": "paths", "query": {"table": "no"}, "format": "csv", "cron": "0 6 * * *", "to": {"folder": "/tmp"}}),
            "table",
        ),
    ] {
        match deliveries(json!([wrong])).save(&platform).await {
            Err(ReportError::Invalid { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
});

both_engines!(yesterday_costs_yesterday_and_the_past_is_corrected, |shop| {
    let db = &shop.platform.db;
    product(db, 1, "Mug").await;
    campaign(db, 1, "Spring", 7 * 24, "orders").await;
    // 300 days of history: each day two people, one touch with a click and two orders.
    let old = |day: i64| START.0 - (301 - day) * DAY;
    let mut id = 0;
    for day in 0..300 {
        for who in [2 * day + 1, 2 * day + 2] {
            person(db, who).await;
        }
        let at = old(day);
        touch(db, &Touch { click: Some(at + HOUR), ..Touch::new(2 * day + 1, 1, at) }).await;
        for who in [2 * day + 1, 2 * day + 2] {
            id += 1;
            order(db, &Order { id, person: Some(who), at: at + DAY / 2, currency: "EUR", total: 1000, refunded: 0, flag: None }).await;
        }
    }
    let first = attribution::update(&shop.platform).await.expect("update");
    assert_eq!((first.orders, first.changed), (600, 300));
    assert!(first.rows >= 900, "{first:?}");

    // The next day brings three orders and two clicks. The day after tomorrow too: no day looks at all of history.
    for round in 1..=3 {
        let now = START.plus_days(round);
        shop.platform.clock.advance_to(now);
        for n in 0..3 {
            id += 1;
            order(
                db,
                &Order {
                    id,
                    person: Some(2 * (round * 10 + n) + 1),
                    at: now.0 - HOUR,
                    currency: "EUR",
                    total: 500,
                    refunded: 0,
                    flag: None,
                },
            )
            .await;
        }
        for n in 0..2 {
            let at = now.0 - 2 * HOUR;
            touch(db, &Touch { click: Some(at), ..Touch::new(2 * (round * 10 + n) + 1, 1, at) }).await;
        }
        let pass = attribution::update(&shop.platform).await.expect("update");
        assert_eq!(pass.changed, 2, "{pass:?}");
        assert!(pass.rows <= 40 && pass.orders <= 10, "day {round}: {pass:?}");
    }
    let quiet = attribution::update(&shop.platform).await.expect("update");
    assert!(quiet.changed == 0 && quiet.rows <= 40, "{quiet:?}");

    // A refund of an order of 200 days ago, and a click of 250 days ago that is told only now, correct the past for the price of themselves.
    let later = START.plus_days(5);
    shop.platform.clock.advance_to(later);
    sql(db, format!("UPDATE shop_order SET refunded_minor = 400, updated_at = {} WHERE id = 201", later.0)).await;
    let at = old(50);
    touch(db, &Touch { click: Some(at + HOUR), ..Touch::new(102, 1, at) }).await;
    sql(db, format!("UPDATE touch SET stamped_at = {} WHERE person_id = 102", later.0)).await;
    let pass = attribution::update(&shop.platform).await.expect("update");
    assert_eq!(pass.changed, 2, "{pass:?}");
    assert!(pass.rows <= 12, "{pass:?}");
    const EARNED: &str = "SELECT CAST(SUM(last_minor) AS BIGINT) FROM credit WHERE order_id = $1 AND view_through = $2";
    let earned = async |order: i64| {
        read!(*db, |c| sqlx::query_scalar::<_, Option<i64>>(EARNED).bind(order).bind(false).fetch_one(c).await).expect("sum")
    };
    assert_eq!((earned(201).await, earned(102).await), (Some(600), Some(1000)));
    let all = attribution::rebuild(&shop.platform).await.expect("rebuild");
    assert_eq!(all.changed, 0, "the steps came to what a rebuild gives");
});

/// What a view may never be called: words under which somebody could be named.
const NAMING: [&str; 12] = [
    "email",
    "email_key",
    "first_name",
    "last_name",
    "phone",
    "external_id",
    "anonymous_id",
    "attributes",
    "properties",
    "detail",
    "city",
    "value",
];

both_engines!(views_hold_real_times_and_nobody_s_name, |shop| {
    a_sale(&shop).await;
    let db = &shop.platform.db;
    sql(db, "UPDATE person SET email = 'secret@example.test', email_key = 'secret@example.test', first_name = 'Secretname', attributes = '{\"vip\": \"secret\"}'".into()).await;
    let (names, columns): (&str, &str) = match db.dialect() {
        marquee::platform::db::Dialect::Sqlite => (
            "SELECT name FROM sqlite_master WHERE type = 'view' ORDER BY name",
            "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'view'",
        ),
        marquee::platform::db::Dialect::Postgres => (
            "SELECT table_name::text FROM information_schema.views WHERE table_schema = 'public' ORDER BY 1",
            "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name LIKE 'v\\_%'",
        ),
    };
    let views: Vec<String> = read!(*db, |c| sqlx::query_scalar(names).fetch_all(c).await).expect("names");
    assert!(views.len() >= 10 && views.iter().all(|v| v.starts_with("v_")), "{views:?}");
    let columns: Vec<String> = read!(*db, |c| sqlx::query_scalar(columns).fetch_all(c).await).expect("columns");
    assert!(columns.len() > 60);
    for column in &columns {
        let name = column.split_once('.').expect("a column").1;
        assert!(!NAMING.contains(&name), "{column} could name somebody");
    }
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ANALYSTS.md")).expect("docs/ANALYSTS.md");
    for view in &views {
        assert!(docs.contains(&format!("`{view}`")), "docs/ANALYSTS.md does not tell of {view}");
        let text = whole(db, view).await;
        assert!(!text.contains("secret") && !text.contains("Secretname") && !text.contains('@'), "{view}: {text}");
    }
    // Times are times: a day's orders, asked for in SQL.
    let at = Timestamp(START.0 - 2 * DAY + HOUR);
    let hour = match db.dialect() {
        marquee::platform::db::Dialect::Sqlite => "SELECT strftime('%Y-%m-%d %H', placed_at) FROM v_credit",
        marquee::platform::db::Dialect::Postgres => "SELECT to_char(placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24') FROM v_credit",
    };
    let said: Vec<String> = read!(*db, |c| sqlx::query_scalar(hour).fetch_all(c).await).expect("times");
    assert_eq!(said, vec![at.to_utc().format("%Y-%m-%d %H").to_string(); 2]);
    const SUM: &str = "SELECT CAST(SUM(c.last_minor) AS BIGINT) FROM v_credit c JOIN v_touch t ON t.touch_id = c.touch_id
         JOIN v_campaign g ON g.campaign_id = c.campaign_id WHERE c.view_through = $1 AND g.name = 'Spring'";
    let sum: i64 = read!(*db, |c| sqlx::query_scalar(SUM).bind(false).fetch_one(c).await).expect("sum");
    assert_eq!(sum, 1200);
});

/// Everything in a view, as text.
async fn whole(db: &Db, view: &str) -> String {
    match db {
        Db::Postgres(pool) => {
            let sql = sqlx::AssertSqlSafe(format!("SELECT COALESCE(string_agg(v::text, E'\\n'), '') FROM {view} v"));
            sqlx::query_scalar(sql).fetch_one(pool).await.expect("a view")
        }
        Db::Sqlite(s) => {
            let columns: Vec<String> =
                sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(view).fetch_all(&s.readers).await.expect("columns");
            let joined = columns.iter().map(|c| format!("COALESCE(CAST({c} AS TEXT), '')")).collect::<Vec<_>>().join(" || ' ' || ");
            let sql = sqlx::AssertSqlSafe(format!("SELECT COALESCE(group_concat({joined}), '') FROM {view}"));
            sqlx::query_scalar(sql).fetch_one(&s.readers).await.expect("a view")
        }
    }
}

/// SQLite takes the indexes by which a pass reads only what is new.
#[tokio::test]
async fn a_pass_searches_and_does_not_scan() {
    let shop = TestShop::open(Engine::Sqlite).await.expect("SQLite");
    for (sql, index) in attribution::NEWS_SQL {
        let plan: Vec<(i64, i64, i64, String)> = match &shop.platform.db {
            Db::Sqlite(s) => sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
                .bind(0_i64)
                .bind(0_i64)
                .bind(10_i64)
                .fetch_all(&s.readers)
                .await
                .expect("a plan"),
            Db::Postgres(_) => unreachable!("SQLite was asked for"),
        };
        assert!(plan.iter().any(|p| p.3.starts_with("SEARCH") && p.3.contains(index)), "{index}: {plan:?}");
    }
}
