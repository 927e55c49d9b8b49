//! Reports over the real server: page, HTTP interface and command line show the same numbers; links carry the question; deliveries are made,
//! paused, sent and deleted; roles and hostile names.

use std::process::Command;

use marquee::account::{Role, Scope};
use marquee::attribution::{Deliveries, ReportKind};
use serde_json::Value;

use crate::both_engines;
use crate::support::browser::Browser;
use crate::support::server::TestServer;
use crate::web_home::filled;

const SPAN: &str = "from=2026-01-01&to=2026-01-15";

async fn api(server: &TestServer, key: &str, path: &str) -> Vec<u8> {
    let answer = server.client.get(server.at(path)).bearer_auth(key).send().await.expect("answer");
    assert_eq!(answer.status().as_u16(), 200, "{path}");
    answer.bytes().await.expect("bytes").to_vec()
}

both_engines!(page_interface_and_command_line_show_the_same_numbers, |shop| {
    filled(&shop).await;
    let server = TestServer::start(&shop).await;
    let key = server.key(&[Scope::Reports]).await;
    let browser = Browser::signed_in(&server, Role::Analyst).await;
    for kind in ReportKind::ALL {
        let name = kind.name();
        let json: Value = serde_json::from_slice(&api(&server, &key, &format!("/v1/reports/{name}?{SPAN}")).await).expect("json");
        for format in ["json", "csv", "parquet"] {
            let path = format!("/reports/{name}/file?{SPAN}&format={format}");
            let answer = browser.client.get(server.at(&path)).send().await.expect("file");
            assert_eq!(answer.status().as_u16(), 200, "{path}");
            let disposition = answer.headers()["content-disposition"].to_str().expect("text").to_owned();
            assert!(disposition.contains(&format!("marquee-{name}.{format}")), "{disposition}");
            let bytes = answer.bytes().await.expect("bytes").to_vec();
            let same = api(&server, &key, &format!("/v1/reports/{name}?{SPAN}&format={format}")).await;
            let equal = if format == "json" {
                let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("json");
                read(&bytes) == read(&same)
            } else {
                bytes == same
            };
            assert!(equal, "{path}");
        }
        let page = browser.get(&format!("/reports/{name}?{SPAN}")).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(!page.text.contains("@example"), "{name}: {}", page.text);
        if kind == ReportKind::Attribution {
            let credited = json["totals"][0]["attributed_minor"].as_i64().expect("a total");
            assert_eq!(credited, 16_000);
            let text = marquee::web::format::money(marquee::platform::Money::new(credited, marquee::platform::Currency::EUR));
            assert!(page.text.contains(&text), "{}", page.text);
            for row in json["rows"].as_array().expect("rows") {
                let money = marquee::platform::Money::new(row["revenue_minor"].as_i64().expect("minor"), marquee::platform::Currency::EUR);
                assert!(page.text.contains(&marquee::web::format::money(money)), "{row}: {}", page.text);
            }
        }
        if kind == ReportKind::Funnel {
            assert_eq!(json["total"]["sent"], 46);
            assert!(page.text.contains(">46<"), "{}", page.text);
        }
    }
    // The command line, on the same database.
    let url = shop.platform.config.database.url.clone();
    let run = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_marquee"));
        command.args(["report", "attribution", "--from", "2026-01-01", "--to", "2026-01-15", "--format", "csv", "--database", &url]);
        command.output().expect("the command line runs")
    })
    .await
    .expect("joined");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let csv = api(&server, &key, &format!("/v1/reports/attribution?{SPAN}&format=csv")).await;
    assert_eq!(String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&csv));
});

both_engines!(a_link_carries_the_question_and_rows_lead_further_in, |shop| {
    filled(&shop).await;
    let server = TestServer::start(&shop).await;
    let browser = Browser::signed_in(&server, Role::Marketer).await;
    assert_eq!(browser.get("/reports").await.location(), "/reports/attribution");
    let page = browser.get(&format!("/reports/attribution?{SPAN}")).await;
    let inside = "/reports/attribution?from=2026-01-01&amp;to=2026-01-15&amp;by=variant&amp;campaign=cmp_1&amp;";
    assert!(page.text.contains(inside), "{}", page.text);
    let page = browser.get(&format!("/reports/attribution?{SPAN}&by=variant&campaign=cmp_1")).await;
    assert!(page.text.contains("Everything else") && page.text.contains("Leave Spring greens"), "{}", page.text);
    // By segment, and from there into its campaigns.
    let page = browser.get(&format!("/reports/attribution?{SPAN}&by=segment")).await;
    assert!(page.text.contains("segment=seg_1"), "{}", page.text);
    let page = browser.get(&format!("/reports/attribution?{SPAN}&segment=seg_1&by=campaign")).await;
    assert!(page.status == 200 && page.text.contains("Spring greens"), "{}", page.text);
    // Markup in a name is text; in an address too.
    assert!(!page.text.contains("<b>Summer"), "{}", page.text);
    let evil = browser.get("/reports/attribution?currency=%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert!(evil.status == 422 && !evil.text.contains("<script>alert"), "{} {}", evil.status, evil.text);
    assert_eq!(browser.get("/reports/nothing").await.status, 404);
    let wrong = browser.get("/reports/attribution?from=2026-02-01&to=2026-01-01").await;
    assert!(wrong.status == 422 && wrong.text.contains("must lie before"), "{}", wrong.text);
    let part = browser.get(&format!("/reports/cohorts/part?unit=week&{SPAN}")).await;
    assert!(part.status == 200 && part.headers["x-live"] == "done" && part.text.contains("Who orders again"), "{}", part.text);
});

both_engines!(the_shop_chooses_how_credit_is_read, |shop| {
    filled(&shop).await;
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let page = format!("/reports/attribution?{SPAN}&model=linear");
    let fields = [("model", "linear"), ("view_through", "true"), ("back", page.as_str())];
    let seen = admin.submit(&page, "/reports/reading", &fields).await;
    assert_eq!((seen.status, seen.location()), (303, page.as_str()));
    assert!(admin.get("/").await.text.contains("by the model “Linear”"));
    let key = server.key(&[Scope::Reports]).await;
    let json: Value = serde_json::from_slice(&api(&server, &key, &format!("/v1/reports/attribution?{SPAN}")).await).expect("json");
    assert_eq!((&json["model"], &json["view_through"]), (&Value::from("linear"), &Value::from(true)));
    assert_eq!(admin.submit(&page, "/reports/reading", &[("model", "guess")]).await.status, 422);
    let away = [("model", "last"), ("back", "https://evil.example.test/")];
    assert_eq!(admin.submit(&page, "/reports/reading", &away).await.location(), "/reports/attribution");
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert_eq!(marketer.submit(&page, "/reports/reading", &fields).await.status, 403);
});

both_engines!(lifts_say_what_they_answer_and_come_as_files, |shop| {
    filled(&shop).await;
    let server = TestServer::start(&shop).await;
    let browser = Browser::signed_in(&server, Role::Marketer).await;
    let page = browser.get("/reports/lift").await;
    assert!(page.status == 200 && page.text.contains("Spring greens") && page.text.contains("45 / 15"), "{}", page.text);
    let file = browser.get("/reports/lift/file?format=csv").await;
    assert!(file.text.starts_with("campaign,name,unit,") && file.text.contains("cmp_1,Spring greens,EUR,45,15,"), "{}", file.text);
    assert_eq!(browser.submit("/reports/lift", "/reports/lift/measure", &[]).await.status, 303);
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    assert_eq!(analyst.submit("/reports/lift", "/reports/lift/measure", &[]).await.status, 403);
});

both_engines!(deliveries_are_made_paused_sent_and_deleted, |shop| {
    filled(&shop).await;
    let folder = tempfile::tempdir().expect("folder");
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let place = folder.path().display().to_string();
    let fields = |name: &'static str, place: &'static str, to: String| {
        vec![
            ("name", name.to_owned()),
            ("report", "attribution".into()),
            ("query", "by=segment&from=2025-01-01".into()),
            ("about", "days".into()),
            ("format", "csv".into()),
            ("when", "weekly".into()),
            ("hour", "7".into()),
            ("cron", String::new()),
            ("place", place.to_owned()),
            ("to", to),
        ]
    };
    let send = |fields: Vec<(&'static str, String)>| {
        let admin = &admin;
        async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
            admin.submit("/reports/deliveries/new", "/reports/deliveries", &fields).await
        }
    };
    // What is wrong is said beside its field, and what was typed stays.
    let wrong = send(fields("Bad Name", "folder", place.clone())).await;
    assert!(wrong.status == 422 && wrong.text.contains("1 to 60 small letters") && wrong.text.contains("Bad Name"), "{}", wrong.text);
    assert_eq!(send(fields("nobody", "mail", "not an address".into())).await.status, 422);
    assert_eq!(send(fields("weekly", "folder", place.clone())).await.status, 303);
    assert_eq!(send(fields("by-mail", "mail", "boss@example.test".into())).await.status, 303);
    let stored = Deliveries::load(&shop.platform.db).await.expect("deliveries").0;
    assert_eq!(stored[0].query.by.as_deref(), Some("segment"));
    assert_eq!((stored[0].cron.as_str(), stored[0].query.from.as_deref()), ("0 7 * * 1", None), "about the time before it is due");

    // Who may see no address sees how many there are.
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    let list = analyst.get("/reports/deliveries").await;
    assert!(list.text.contains("1 recipient") && !list.text.contains("boss@"), "{}", list.text);
    assert_eq!(analyst.get("/reports/deliveries/new").await.status, 403);
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert!(marketer.get("/reports/deliveries").await.text.contains("boss@example.test"));
    let foreign = fields("sneaky", "folder", "/etc".into());
    let foreign: Vec<(&str, &str)> = foreign.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let refused = marketer.submit("/reports/deliveries/new", "/reports/deliveries", &foreign).await;
    assert!(refused.status == 422 && refused.text.contains("Only admins"), "{}", refused.text);

    let list = "/reports/deliveries";
    assert_eq!(admin.submit(list, "/reports/deliveries/weekly/run", &[]).await.status, 303);
    let files: Vec<String> =
        std::fs::read_dir(folder.path()).expect("folder").flatten().map(|f| f.file_name().to_string_lossy().into_owned()).collect();
    assert!(files.len() == 1 && files[0].starts_with("weekly_"), "{files:?}");
    assert_eq!(admin.submit(list, "/reports/deliveries/weekly/pause", &[]).await.status, 303);
    assert!(Deliveries::load(&shop.platform.db).await.expect("deliveries").0[0].paused);
    shop.platform.clock.advance_to(shop.platform.now().plus_days(21));
    assert!(marquee::attribution::deliver_due(&shop.platform).await.expect("passed").delivered.is_empty());
    // Three weeks later the session has ended.
    let admin = Browser::signed_in(&server, Role::Admin).await;
    assert_eq!(admin.submit(list, "/reports/deliveries/weekly/resume", &[]).await.status, 303);
    assert!(
        marquee::attribution::deliver_due(&shop.platform).await.expect("passed").delivered.is_empty(),
        "what was missed is not made up for"
    );
    let ask = admin.get("/reports/deliveries/weekly/delete").await;
    assert!(ask.text.contains("will not be delivered any more"), "{}", ask.text);
    assert_eq!(admin.submit("/reports/deliveries/weekly/delete", "/reports/deliveries/weekly/delete", &[]).await.status, 303);
    assert_eq!(Deliveries::load(&shop.platform.db).await.expect("deliveries").0.len(), 1);
    assert_eq!(admin.submit(list, "/reports/deliveries/weekly/run", &[]).await.status, 404);
});
