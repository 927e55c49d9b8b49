//! The pages about campaigns: list, wizard, page, stream, calendar, over the real server.

use std::time::Duration;

use marquee::account::Role;
use marquee::audience::{self, NewSegment, Rule};
use marquee::campaign::{self, Action, Campaign, CampaignFigures, NewCampaign, Plan, Status};
use marquee::catalog::{self, NewProduct};
use marquee::people::{self, Consent, NewPerson};
use marquee::platform::clock::MINUTE_US;
use marquee::platform::ids::{RunId, SegmentId};
use marquee::platform::queue::JobContext;
use marquee::platform::{Currency, Money, Platform, Timestamp};
use marquee::touches::{self, Finish, Outcome, TouchChannel};
use serde_json::{Value, json};

use crate::both_engines;
use crate::support::START;
use crate::support::browser::Browser;
use crate::support::server::TestServer;

const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

fn letter(n: usize) -> char {
    char::from(b'a' + u8::try_from(n % 26).expect("a letter"))
}

/// A shop with people who may be written to, four products and a segment of everybody.
async fn world(p: &Platform, n: usize) -> SegmentId {
    let list: Vec<NewPerson> = (0..n)
        .map(|i| NewPerson {
            external_id: Some(format!("u{i}")),
            email: Some(format!("u{i}@mail.example.test")),
            // Letters only: a name with digits in it is nobody's, and is not said.
            first_name: Some(format!("Ada{}{}", letter(i / 10), letter(i % 10))),
            email_consent: Some(if i % 10 == 9 { Consent::Unsubscribed } else { Consent::Subscribed }),
            ..NewPerson::default()
        })
        .collect();
    let goods: Vec<NewProduct> = ["Oak table", "Pine chair", "Garden lamp", "Soup bowl"]
        .iter()
        .zip(0..)
        .map(|(title, i)| NewProduct {
            category_path: "Garden".into(),
            stock: Some(10),
            ..NewProduct::new(format!("sku-{i}"), *title, Money::new(1_000 + i * 100, Currency::EUR))
        })
        .collect();
    let mut tx = p.db.begin().await.expect("begin");
    people::bulk_upsert(&mut tx, &list, START).await.expect("people");
    catalog::bulk_upsert(&mut tx, &goods, START).await.expect("products");
    tx.commit().await.expect("commit");
    let everybody = NewSegment { key: "all".into(), name: "Everybody".into(), rule: Rule::Everyone {} };
    audience::create(&p.db, everybody, START).await.expect("segment").id
}

fn plan(segment: SegmentId, schedule: Value, more: Value) -> Plan {
    let mut plan = json!({ "channel": "email", "segment": segment, "schedule": schedule });
    for (key, value) in more.as_object().expect("an object") {
        plan[key] = value.clone();
    }
    serde_json::from_value(plan).expect("a plan")
}

async fn create(p: &Platform, name: &str, plan: Plan) -> Campaign {
    campaign::create(&p.db, NewCampaign { key: None, name: name.into(), plan }, p.now()).await.expect("created")
}

fn once() -> Value {
    json!({ "kind": "once", "at": START })
}

/// Schedules a draft and plans its first run.
async fn begin(p: &Platform, c: &Campaign) {
    campaign::transition(p, c.id, Action::Schedule).await.expect("scheduled");
    campaign::tick(p, p.now()).await.expect("tick");
    let run = campaign::runs(&p.db, c.id, RunId(0), 10).await.expect("runs").pop().expect("a run");
    let context = JobContext {
        run_id: marquee::platform::ids::JobRunId(1),
        args: Value::Null,
        scheduled_at: START,
        attempt: 1,
        progress: Default::default(),
        stop: Default::default(),
    };
    campaign::plan_run(p, run.id, &context).await.expect("planned");
}

/// Ends everything due: of the treated one in `failing` is refused, one is left uncertain, the others are sent.
async fn deliver(p: &Platform) {
    loop {
        let batch = touches::claim(p, TouchChannel::Email, "w", 500, 10 * MINUTE_US).await.expect("claimed");
        if batch.is_empty() {
            return;
        }
        let checked = campaign::recheck(p, &batch, p.now()).await.expect("checked");
        let mut tx = p.db.begin().await.expect("begin");
        let mut ends = Vec::new();
        for (n, (touch, check)) in batch.iter().zip(&checked).enumerate() {
            let outcome = match check.outcome(touch.arm) {
                Some(outcome) => outcome,
                None => {
                    touches::begin_sending(&mut tx, "w", &[touch.id], 10 * MINUTE_US, p.now()).await.expect("sending");
                    match n % 7 {
                        0 => Outcome::Failed("refused_hard: 550 no such user".into()),
                        1 => Outcome::Uncertain("connection_lost: gone".into()),
                        _ => Outcome::Sent,
                    }
                }
            };
            ends.push(Finish { id: touch.id, outcome });
        }
        touches::finish(&mut tx, "w", &ends, p.now()).await.expect("finished");
        tx.commit().await.expect("commit");
    }
}

async fn status(p: &Platform, c: &Campaign) -> Status {
    campaign::get(&p.db, c.id).await.expect("campaign").status
}

both_engines!(the_list_filters_sorts_pages_pauses_and_copies, |shop| {
    let p = &shop.platform;
    let segment = world(p, 20).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert!(marketer.get("/campaigns").await.text.contains("No campaign yet"));
    let spring = create(
        p,
        "Spring sale",
        plan(segment, json!({ "kind": "recurring", "cron": "0 9 * * mon", "time_zone": "Europe/Berlin" }), json!({})),
    )
    .await;
    let banner = create(p, HOSTILE, plan(segment, once(), json!({ "channel": "banner" }))).await;
    campaign::transition(p, spring.id, Action::Schedule).await.expect("scheduled");
    let seen = marketer.get("/campaigns").await;
    assert!(seen.text.contains("Spring sale") && seen.text.contains("Everybody") && seen.text.contains("Monday"), "{}", seen.text);
    assert!(!seen.text.contains("<script>alert") && !seen.text.contains("<img src=x"));
    for (query, spring_there, banner_there) in [
        ("q=SPRING", true, false),
        ("q=%25", false, false),
        ("status=scheduled", true, false),
        ("status=draft", false, true),
        ("channel=banner", false, true),
        ("channel=nonsense", true, true),
        ("sort=name", true, true),
        ("sort=-next", true, true),
    ] {
        let text = marketer.get(&format!("/campaigns?{query}")).await.text;
        assert_eq!(text.contains(&format!("/campaigns/{}\"", spring.id)), spring_there, "{query}");
        assert_eq!(text.contains(&format!("/campaigns/{}\"", banner.id)), banner_there, "{query}");
    }
    assert_eq!(marketer.get("/campaigns?after=nonsense").await.status, 422);
    let done = marketer.submit("/campaigns", &format!("/campaigns/{}/pause", spring.id), &[("back", "/campaigns")]).await;
    assert_eq!((done.status, done.location()), (303, "/campaigns"));
    assert_eq!(status(p, &spring).await, Status::Paused);
    let again = marketer.submit("/campaigns", &format!("/campaigns/{}/pause", spring.id), &[("back", "https://evil.example.test")]).await;
    assert_eq!((again.status, again.location()), (303, "/"), "a refused action comes back, and only to a page of ours");
    marketer.submit("/campaigns", &format!("/campaigns/{}/resume", spring.id), &[]).await;
    assert_eq!(status(p, &spring).await, Status::Scheduled);
    let copied = marketer.submit("/campaigns", &format!("/campaigns/{}/duplicate", banner.id), &[]).await;
    let copy = campaign::find(&p.db, copied.location().rsplit('/').next().expect("id")).await.expect("the copy");
    assert_eq!((copy.status, copy.plan.channel), (Status::Draft, TouchChannel::Banner));
    assert!(
        copy.plan.schedule.preview(START, 1).expect("times").iter().all(|t| *t > START),
        "a date that has passed does not send at once"
    );
    let csv = marketer.get("/campaigns/download?sort=name").await;
    assert!(csv.headers["content-type"].to_str().expect("text").starts_with("text/csv"));
    assert_eq!(csv.text.lines().count(), 4, "{}", csv.text);
    // Sixty campaigns are two pages, whatever the order, and no campaign is on both.
    for n in 0..60 {
        let new = NewCampaign { key: Some(format!("n-{n}")), name: format!("Number {:02}", n % 7), plan: plan(segment, once(), json!({})) };
        campaign::create(&p.db, new, p.now()).await.expect("created");
    }
    let rows = regex::Regex::new(r#"<a class="name" href="/campaigns/(cmp_\d+)""#).expect("pattern");
    let next_page = regex::Regex::new(r#"rel="next" href="\?([^"]+)""#).expect("pattern");
    // By what they came to: the rollup's figures stand beside the campaigns.
    let earned = |id, sent, clicked, earned_minor| CampaignFigures { campaign_id: id, sent, clicked, earned_minor };
    let mut tx = p.db.begin().await.expect("begin");
    campaign::put_figures(&mut tx, &[earned(spring.id, 5, 9, 1), earned(banner.id, 7, 3, 2), earned(copy.id, 6, 4, 3)])
        .await
        .expect("figures");
    tx.commit().await.expect("commit");
    for (sort, first) in
        [("-sent", [&banner, &copy, &spring]), ("-clicks", [&spring, &copy, &banner]), ("-revenue", [&copy, &banner, &spring])]
    {
        let text = marketer.get(&format!("/campaigns?sort={sort}")).await.text;
        let ids: Vec<String> = rows.captures_iter(&text).map(|c| c[1].to_owned()).take(3).collect();
        assert_eq!(ids, first.map(|c| c.id.to_string()), "sort={sort}");
    }
    for sort in ["name", "-name", "next", "-made", "sent", "-sent", "-clicks", "-revenue"] {
        let (mut ids, mut path) = (Vec::new(), format!("/campaigns?sort={sort}"));
        loop {
            let text = marketer.get(&path).await.text;
            ids.extend(rows.captures_iter(&text).map(|c| c[1].to_owned()));
            let next = next_page.captures(&text).map(|c| c[1].replace("&amp;", "&"));
            match next {
                Some(query) => path = format!("/campaigns?{query}"),
                None => break,
            }
        }
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!((all, ids.len()), (63, 63), "sort={sort}");
    }
});

both_engines!(a_campaigns_page_tells_how_it_goes_and_why, |shop| {
    let p = &shop.platform;
    let segment = world(p, 120).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let two = json!({ "variants": [{ "name": "A" }, { "name": "B", "tone": "plain" }], "holdout_bp": 2_000 });
    let c = create(p, "Garden days", plan(segment, once(), two)).await;
    let path = format!("/campaigns/{}", c.id);
    assert!(marketer.get(&path).await.text.contains("This is a draft"));
    begin(p, &c).await;
    assert!(marketer.get(&path).await.text.contains("data-stream"), "a page that is going on is followed");
    deliver(p).await;
    let seen = marketer.get(&path).await.text;
    for there in [
        "No consent for this channel",
        "The mail host says the address does not exist",
        "mail.example.test",
        "Chance to be best",
        "Lift against the holdout",
        "Send them again",
    ] {
        assert!(seen.contains(there), "{there}\n{seen}");
    }
    assert!(!seen.contains("@mail.example.test") && !seen.contains("u1@"), "no address on it");
    // Uncertain mails are sent again only after a question.
    let before = touches::uncertain_of_campaign(&p.db, c.id, 500).await.expect("touches").len();
    assert!(before > 0);
    let asked = marketer.get(&format!("{path}/resend")).await.text;
    assert!(asked.contains(&format!("Send {before} uncertain mails again?")) && asked.contains("gets a second"), "{asked}");
    assert_eq!(touches::uncertain_of_campaign(&p.db, c.id, 500).await.expect("touches").len(), before);
    assert_eq!(marketer.submit(&path, &format!("{path}/resend"), &[]).await.status, 303);
    assert_eq!(touches::uncertain_of_campaign(&p.db, c.id, 500).await.expect("touches").len(), 0);
    let asked = marketer.get(&format!("{path}/cancel")).await.text;
    assert!(asked.contains(&format!("{before} touches wait")), "{asked}");
    assert_eq!(status(p, &c).await, Status::Running, "asking cancels nothing");
    assert_eq!(marketer.submit(&path, &format!("{path}/cancel"), &[]).await.status, 303);
    assert_eq!(status(p, &c).await, Status::Cancelled);
    let analyst = Browser::signed_in(&server, Role::Analyst).await;
    let seen = analyst.get(&path).await;
    assert!(seen.status == 200 && !seen.text.contains("/duplicate\"") && !seen.text.contains("/cancel\""), "figures, no buttons");
    assert_eq!(analyst.get(&format!("{path}/edit")).await.status, 403);
    assert_eq!(analyst.get(&format!("{path}/preview?person=per_1&variant=var_1")).await.status, 403);
});

both_engines!(a_run_is_followed_by_a_stream_that_ends_with_it, |shop| {
    let p = &shop.platform;
    let segment = world(p, 30).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let c = create(p, "Live", plan(segment, once(), json!({}))).await;
    begin(p, &c).await;
    let url = server.at(&format!("/campaigns/{}/stream", c.id));
    let open = || marketer.client.get(&url).header("accept", "text/event-stream").send();
    let mut answer = open().await.expect("answer");
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    assert!(answer.headers().get("content-encoding").is_none_or(|e| e == "identity"), "it is not held back for compression");
    let first = String::from_utf8(answer.chunk().await.expect("bytes").expect("a part").to_vec()).expect("text");
    assert!(first.starts_with("retry: ") && first.contains("event: part\ndata: ") && !first.contains("event: done"), "{first}");
    assert_eq!(server.services.ui.streams.open(), 1);
    deliver(p).await;
    let mut rest = String::new();
    while let Some(bytes) = tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await.expect("in time").expect("bytes") {
        rest.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    assert!(rest.ends_with("event: done\ndata: .\n\n"), "{rest}");
    // What is over is told once; no stream stays open.
    let over = open().await.expect("answer").text().await.expect("text");
    assert!(over.contains("event: done"));
    // A server that stops ends its streams, and opens no more.
    let again = create(p, "Live again", plan(segment, once(), json!({ "caps": { "per_day": 0, "per_week": 0 } }))).await;
    begin(p, &again).await;
    let url = server.at(&format!("/campaigns/{}/stream", again.id));
    let mut answer = marketer.client.get(&url).header("accept", "text/event-stream").send().await.expect("answer");
    answer.chunk().await.expect("bytes").expect("a part");
    server.services.ui.streams.close();
    while tokio::time::timeout(Duration::from_secs(20), answer.chunk()).await.expect("it ends").expect("bytes").is_some() {}
    let refused = marketer.client.get(&url).header("accept", "text/event-stream").send().await.expect("answer");
    assert_eq!(refused.status(), 429);
    let part = marketer.get(&format!("/campaigns/{}/progress", again.id)).await;
    assert_eq!((part.status, part.headers["x-live"].to_str().expect("text")), (200, "on"), "who gets no stream asks for the part");
});

/// The fields of a plain mail campaign, as a browser sends them.
fn typed<'a>(name: &'a str, segment: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("name", name),
        ("segment", segment),
        ("products", "2"),
        ("not_bought", "90"),
        ("not_shown", "0"),
        ("channel", "email"),
        ("v0_name", "A"),
        ("v0_tone", "friendly"),
        ("v0_occasion", "recommendation"),
        ("v0_language", "en"),
        ("v0_weight", "1"),
        ("v1_name", "B"),
        ("v1_tone", "plain"),
        ("v1_occasion", "recommendation"),
        ("v1_language", "en"),
        ("v1_weight", "1"),
        ("when", "weekly"),
        ("days", "mon"),
        ("days", "wed"),
        ("time", "09:30"),
        ("zone", "Europe/Berlin"),
        ("expire", "48"),
        ("goal", "orders"),
        ("window", "7"),
        ("holdout", "12.5"),
    ]
}

both_engines!(the_wizard_keeps_what_was_typed_and_makes_the_plan, |shop| {
    let p = &shop.platform;
    let segment = world(p, 60).await.to_string();
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let fresh = marketer.get("/campaigns/new").await;
    assert!(fresh.status == 200 && fresh.text.contains("Everybody"), "{}", fresh.text);
    // Mistakes stand beside their fields, and nothing typed is lost.
    let mut wrong = typed(HOSTILE, "seg_999");
    wrong.retain(|(k, _)| !["holdout", "time", "segment"].contains(k));
    wrong.extend([("holdout", "a hundred"), ("time", "25:00"), ("segment", ""), ("categories", "Garden\nKitchen")]);
    let refused = marketer.submit("/campaigns/new", "/campaigns/new", &wrong).await;
    assert_eq!(refused.status, 422);
    for there in [
        "A number from 0 to 99.99.",
        "A time such as 09:30.",
        "Choose who it is for.",
        "value=\"a hundred\"",
        "Garden\nKitchen",
        "&lt;script&gt;",
    ] {
        assert!(refused.text.contains(there), "{there}\n{}", refused.text);
    }
    assert!(!refused.text.contains("<script>alert"));
    assert!(campaign::filtered(&p.db, &Default::default(), 10).await.expect("list").is_empty(), "nothing was saved");
    let gone = marketer.submit("/campaigns/new", "/campaigns/new", &typed("Gone", "seg_999")).await;
    assert!(gone.status == 422 && gone.text.contains("There is no segment"), "{} {}", gone.status, gone.text);
    // What is right becomes a draft.
    let saved = marketer.submit("/campaigns/new", "/campaigns/new", &typed("Week start", &segment)).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let c = campaign::find(&p.db, "week-start").await.expect("made");
    assert!(saved.location().starts_with(&format!("/campaigns/{}/edit", c.id)));
    assert_eq!((c.status, c.plan.holdout_bp, c.plan.choice.products, c.variants.len()), (Status::Draft, 1_250, 2, 2));
    let campaign::Schedule::Recurring { cron, time_zone, .. } = &c.plan.schedule else { panic!("{:?}", c.plan.schedule) };
    assert_eq!((cron.as_str(), time_zone.name()), ("30 9 * * mon,wed", "Europe/Berlin"));
    // Opened again, the form says the same: saving it unchanged changes nothing.
    let page = marketer.get(&format!("/campaigns/{}/edit", c.id)).await.text;
    assert!(page.contains("value=\"12.5\"") && page.contains("value=\"09:30\""), "{page}");
    assert!(page.contains("Monday 19 Jan 2026, 09:30 CET") && page.contains("Wednesday 21 Jan 2026, 09:30 CET"), "the next runs in words");
    assert!(page.contains("of 60 people get it"), "the reach");
    let edit = format!("/campaigns/{}/edit", c.id);
    assert_eq!(marketer.submit(&edit, &edit, &typed("Week start", &segment)).await.status, 303);
    assert_eq!(campaign::get(&p.db, c.id).await.expect("there").plan, c.plan);
    // A second of the same name gets a key of its own.
    marketer.submit("/campaigns/new", "/campaigns/new", &typed("Week start", &segment)).await;
    assert!(campaign::find(&p.db, "week-start-2").await.is_ok());
    // The live summary answers a half-filled form too, and keeps nothing.
    let mut half = typed("", &segment);
    let token = marketer.get(&edit).await.token();
    let live = marketer.post("/campaigns/summary", &token, &half).await;
    assert!(
        live.status == 200 && live.text.contains("of 60 people get it") && live.text.contains("No consent for this channel"),
        "{}",
        live.text
    );
    half.retain(|(k, _)| *k != "zone");
    half.push(("zone", "Mars/Base"));
    let live = marketer.post("/campaigns/summary", &token, &half).await;
    assert!(live.status == 200 && live.text.contains("A time zone such as"), "{}", live.text);
    // Scheduling asks first, and says how many.
    let next = marketer
        .submit(&edit, &edit, &{
            let mut f = typed("Week start", &segment);
            f.push(("do", "schedule"));
            f
        })
        .await;
    assert_eq!(next.location(), format!("/campaigns/{}/schedule", c.id));
    let asked = marketer.get(next.location()).await.text;
    let reach = campaign::reach(p, &c).await.expect("reach");
    assert!(reach.exact() && reach.treated + reach.held_out + reach.skipped.values().sum::<i64>() == 60, "{reach:?}");
    assert!(
        asked.contains(&format!("{} people get it by e-mail", reach.treated))
            && asked.contains(&format!("{} are held out", reach.held_out)),
        "{asked}"
    );
    assert_eq!(status(p, &c).await, Status::Draft, "asking schedules nothing");
    assert_eq!(marketer.submit(next.location(), next.location(), &[]).await.status, 303);
    assert_eq!(status(p, &c).await, Status::Scheduled);
    // What has begun is not planned here any more.
    let begun = create(p, "Begun", plan(segment.parse().expect("segment"), once(), json!({}))).await;
    begin(p, &begun).await;
    assert_eq!(marketer.get(&format!("/campaigns/{}/edit", begun.id)).await.location(), format!("/campaigns/{}", begun.id));
});

both_engines!(words_are_edited_in_the_wizard_beside_what_is_found, |shop| {
    let p = &shop.platform;
    let segment = world(p, 6).await.to_string();
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let saved = marketer.submit("/campaigns/new", "/campaigns/new", &typed("Words", &segment)).await;
    let edit = saved.location().split('?').next().expect("a path").to_owned();
    let send = async |more: &[(&str, &str)]| {
        let mut fields = typed("Words", &segment);
        fields.extend_from_slice(more);
        marketer.submit(&edit, &edit, &fields).await
    };
    assert_eq!(send(&[("do", "write")]).await.status, 303);
    let page = marketer.get(&edit).await.text;
    let id = regex::Regex::new(r#"name="copy\.(cpy_\d+)\.subject""#).expect("pattern").captures(&page).expect("an editor")[1].to_owned();
    let copy = async || marquee::copywriter::get(p, id.parse().expect("id")).await.expect("the copy");
    let before = copy().await;
    let name = |field: &str| format!("copy.{id}.{field}");
    let (subject, body) = (name("subject"), name("body"));
    // What does not pass comes back as it was typed, with what was found; the plan itself is kept.
    let refused = send(&[(&subject, "<b>Only 7 left</b>"), (&body, &before.copy.body), ("do", &format!("edit:{id}"))]).await;
    assert_eq!(refused.status, 422, "{}", refused.text);
    for there in ["&lt;b&gt;Only 7 left&lt;/b&gt;", "does not pass the guardrails", "No HTML in copy", "data-copy=", " open>"] {
        assert!(refused.text.contains(there), "{there}: {}", refused.text);
    }
    assert!(!refused.text.contains("<b>Only"));
    assert_eq!(copy().await.copy, before.copy);
    // A mistake elsewhere loses no words.
    let elsewhere = send(&[(&subject, "A word of my own"), ("holdout", "a hundred")]).await;
    assert!(elsewhere.status == 422 && elsewhere.text.contains("value=\"A word of my own\""), "{}", elsewhere.text);
    assert_eq!(copy().await.copy, before.copy);
    // What passes is kept, whichever button was pressed; untouched fields stay.
    let kept = send(&[(&subject, "A word of my own"), ("do", "save")]).await;
    assert_eq!(kept.status, 303, "{}", kept.text);
    let after = copy().await;
    assert_eq!((after.copy.subject.as_str(), &after.copy.body, after.status.as_str()), ("A word of my own", &before.copy.body, "edited"));
    // Approving what was just typed keeps and approves it; a text of another campaign is nobody's business here.
    let approved = send(&[(&subject, "Another word"), ("do", &format!("approve:{id}"))]).await;
    assert!(approved.status == 303 && copy().await.copy.subject == "Another word");
    let other = create(p, "Other", plan(segment.parse().expect("segment"), once(), json!({}))).await;
    let path = format!("/campaigns/{}/edit", other.id);
    let mut fields = typed("Other", &segment);
    fields.push((&subject, "From elsewhere"));
    assert_eq!(marketer.submit(&path, &path, &fields).await.status, 303);
    assert_eq!(copy().await.copy.subject, "Another word");
});

both_engines!(who_would_get_no_words_is_foreseen, |shop| {
    let p = &shop.platform;
    let segment = world(p, 40).await;
    let c = create(p, "Wordless", plan(segment, once(), json!({ "choice": { "products": 1 }, "holdout_bp": 2_000 }))).await;
    let before = campaign::dry_run(p, c.id, 0).await.expect("dry run");
    assert!(before.treated > 0 && !before.skipped.contains_key("no_copy"), "{before:?}");
    // Somebody rejects the text of every product there is.
    let goods = catalog::all(&p.db).await.expect("products");
    let variant = c.variants[0].id;
    let requests: Vec<_> =
        goods.iter().filter_map(|g| campaign::copy_request(&c, variant, g.id, marquee::copywriter::Locale::En)).collect();
    for id in marquee::copywriter::ensure(p, &requests).await.expect("written").ids.into_values() {
        marquee::copywriter::reject(p, id).await.expect("rejected");
    }
    let after = campaign::dry_run(p, c.id, 0).await.expect("dry run");
    assert_eq!((after.treated, after.held_out), (0, 0), "{after:?}");
    assert_eq!(after.skipped["no_copy"], before.treated + before.held_out);
    let reach = campaign::reach(p, &c).await.expect("reach");
    assert!(reach.exact() && reach.treated == 0 && reach.skipped["no_copy"] == after.skipped["no_copy"], "{reach:?}");
    // And so it comes.
    begin(p, &c).await;
    let progress = campaign::progress(&p.db, c.id).await.expect("progress");
    let skipped: i64 = progress.states.iter().filter(|s| s.reason.as_deref() == Some("no_copy")).map(|s| s.touches).sum();
    assert_eq!(skipped, after.skipped["no_copy"]);
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let d = create(p, "Wordless too", plan(segment, once(), json!({ "choice": { "skus": ["nowhere"] } }))).await;
    let page = marketer.get(&format!("/campaigns/{}/edit", d.id)).await.text;
    assert!(page.contains("No product is left for this person"), "{page}");
});

both_engines!(every_kind_of_schedule_comes_back_as_it_was_typed, |shop| {
    let p = &shop.platform;
    let segment = world(p, 3).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    for (n, schedule) in [
        json!({ "kind": "once", "at": "2026-03-01T09:30:00Z" }),
        json!({ "kind": "recurring", "cron": "30 9 * * mon,wed", "time_zone": "Europe/Berlin", "end": "2026-12-31T22:59:59.999999Z", "max_runs": 9 }),
        json!({ "kind": "recurring", "cron": "0 10 15 * *", "time_zone": "Asia/Tokyo" }),
        json!({ "kind": "recurring", "cron": "*/20 8-18 * * 1-5", "time_zone": "UTC" }),
        json!({ "kind": "person_local", "time": "09:30", "date": "2026-03-10", "if_past": "skip" }),
        json!({ "kind": "person_local", "time": "18:00", "date": "2026-03-10", "repeat": { "weekdays": ["Fri"], "until": "2026-06-30" } }),
    ]
    .into_iter()
    .enumerate()
    {
        let c = create(p, &format!("Kind {n}"), plan(segment, schedule.clone(), json!({ "placements": [] }))).await;
        let path = format!("/campaigns/{}/edit", c.id);
        let page = marketer.get(&path).await;
        assert_eq!(page.status, 200);
        let fields = fields_of(&page.text);
        let sent: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(k, _)| *k != "csrf" && *k != "do").collect();
        let saved = marketer.submit(&path, &path, &sent).await;
        assert_eq!(saved.status, 303, "{schedule}\n{}", saved.text);
        assert_eq!(campaign::get(&p.db, c.id).await.expect("there").plan, c.plan, "{schedule}");
    }
});

/// What a browser would send of a page's wizard: values, chosen options, checked boxes.
fn fields_of(html: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let found = regex::Regex::new(&format!(r#"\s{name}="([^"]*)""#)).expect("pattern").captures(tag)?[1].to_owned();
        Some(html_escape::decode_html_entities(&found).into_owned())
    };
    let mut found = Vec::new();
    for tag in regex::Regex::new(r"<input\b[^>]*>").expect("pattern").find_iter(html) {
        let (tag, kind) = (tag.as_str(), attribute(tag.as_str(), "type").unwrap_or_default());
        let Some(name) = attribute(tag, "name") else { continue };
        if (kind == "checkbox" || kind == "radio") && !tag.contains(" checked") {
            continue;
        }
        found.push((name, attribute(tag, "value").unwrap_or_default()));
    }
    let selects = regex::Regex::new(r"(?s)<select\b([^>]*)>(.*?)</select>").expect("pattern");
    let options = regex::Regex::new(r"<option\b[^>]*>").expect("pattern");
    for select in selects.captures_iter(html) {
        let all: Vec<&str> = options.find_iter(&select[2]).map(|o| o.as_str()).collect();
        let chosen = all.iter().find(|o| o.contains(" selected")).or_else(|| all.first());
        if let (Some(name), Some(option)) = (attribute(&format!(" {}", &select[1]), "name"), chosen) {
            found.push((name, attribute(option, "value").unwrap_or_default()));
        }
    }
    for area in regex::Regex::new(r"(?s)<textarea\b([^>]*)>(.*?)</textarea>").expect("pattern").captures_iter(html) {
        if let Some(name) = attribute(&format!(" {}", &area[1]), "name") {
            found.push((name, html_escape::decode_html_entities(&area[2]).into_owned()));
        }
    }
    found
}

both_engines!(a_sample_person_shows_why_and_in_which_words, |shop| {
    let p = &shop.platform;
    let segment = world(p, 30).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    let saved = marketer.submit("/campaigns/new", "/campaigns/new", &typed("Words", &segment.to_string())).await;
    let edit = saved.location().split(['?', '#']).next().expect("path").to_owned();
    let id = edit.split('/').nth(2).expect("id").to_owned();
    let with = |more: &[(&'static str, String)]| {
        let mut fields: Vec<(String, String)> = typed("Words", "x").into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        fields.retain(|(k, _)| k != "segment");
        fields.push(("segment".into(), segment.to_string()));
        fields.extend(more.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
        fields
    };
    async fn send(b: &Browser<'_>, path: &str, fields: &[(String, String)]) -> crate::support::browser::Seen {
        let list: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        b.submit(path, path, &list).await
    }
    let page = marketer.get(&edit).await.text;
    assert!(page.contains("popular now") || page.contains("popular in"), "why this product: {page}");
    assert!(page.contains("Not written yet."));
    // By the beginning of a name several people fit; by id one does.
    let several = marketer.get(&format!("{edit}?person=Adab")).await.text;
    assert!(several.contains("Several people fit"), "{several}");
    assert!(marketer.get(&format!("{edit}?person=Nobody+at+all")).await.text.contains("Nobody was found"));
    let wrote = send(&marketer, &edit, &with(&[("do", "write".into()), ("person", "per_3".into())])).await;
    assert!(wrote.status == 303 && wrote.location().contains("person=per_3"), "{}", wrote.location());
    let page = marketer.get(wrote.location()).await.text;
    assert!(page.contains("Passed every guardrail") || page.contains("Look at:"), "{page}");
    let copy =
        regex::Regex::new(r#"value="approve:(cpy_\d+)""#).expect("pattern").captures(&page).expect("a text to approve")[1].to_owned();
    let before = text_of(p, &copy).await;
    send(&marketer, &edit, &with(&[("do", format!("rewrite:{copy}"))])).await;
    let after = text_of(p, &copy).await;
    assert_ne!(before.copy, after.copy, "another text");
    assert_eq!(after.status, marketer_status("written"));
    send(&marketer, &edit, &with(&[("do", format!("approve:{copy}"))])).await;
    assert_eq!(text_of(p, &copy).await.status, marketer_status("approved"));
    // A text of another campaign is not decided about from here.
    let other = create(p, "Other", plan(segment, once(), json!({}))).await;
    let foreign = format!("/campaigns/{}/edit", other.id);
    let seen = send(&marketer, &foreign, &with(&[("do", format!("reject:{copy}"))])).await;
    assert_eq!(seen.status, 404);
    assert_eq!(text_of(p, &copy).await.status, marketer_status("approved"));
    // The preview is a document that can do nothing.
    let c = campaign::find(&p.db, &id).await.expect("campaign");
    for (n, variant) in c.variants.iter().enumerate() {
        let seen = marketer.get(&format!("/campaigns/{id}/preview?person=per_3&variant={}&dark=1", variant.id)).await;
        let policy = seen.headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("sandbox;") && policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
        assert!(seen.status == 200 && seen.text.contains("Adaac") == text_names(p, &c, n).await, "{n}: {}", seen.text);
    }
    // A test goes to people who work here, and nobody else.
    let seen =
        send(&marketer, &edit, &with(&[("do", "test".into()), ("test_to", "u3@mail.example.test".into()), ("person", "per_3".into())]))
            .await;
    let page = marketer.get(seen.location()).await.text;
    assert!(page.contains("A test goes to people who work here"), "{page}");
});

fn marketer_status(word: &str) -> marquee::copywriter::CopyStatus {
    word.parse().expect("a status")
}

async fn text_of(p: &Platform, id: &str) -> marquee::copywriter::StoredCopy {
    let id = id.parse().expect("id");
    marquee::copywriter::get_many(&p.db, &[id]).await.expect("copies").remove(&id).expect("the copy")
}

/// Whether the text of a variant speaks to its reader by name (person 3 is called Adaac).
async fn text_names(p: &Platform, c: &Campaign, n: usize) -> bool {
    let person = marquee::platform::ids::PersonId(3);
    let product = campaign::explain(p, &c.plan.choice, person, p.now()).await.expect("choice")[0].product_id;
    let request = campaign::copy_request(c, c.variants[n].id, product, marquee::copywriter::Locale::En).expect("request");
    let stored = marquee::copywriter::stored(&p.db, &[request]).await.expect("stored");
    let copy = &stored.values().next().expect("written").copy;
    copy.fields().iter().any(|(_, text)| text.contains("{first_name}"))
}

both_engines!(the_calendar_shows_what_ran_and_unfolds_what_will_run, |shop| {
    let p = &shop.platform;
    let segment = world(p, 5).await;
    let server = TestServer::start(&shop).await;
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert!(marketer.get("/campaigns/calendar").await.text.contains("Nothing runs in this time."));
    let ran = create(p, HOSTILE, plan(segment, once(), json!({}))).await;
    begin(p, &ran).await;
    let weekly =
        create(p, "Week start", plan(segment, json!({ "kind": "recurring", "cron": "30 9 * * mon", "time_zone": "UTC" }), json!({}))).await;
    let local = json!({ "kind": "person_local", "time": "18:00", "date": "2026-01-20" });
    let evening = create(p, "Evening", plan(segment, local, json!({}))).await;
    for c in [&weekly, &evening] {
        campaign::transition(p, c.id, Action::Schedule).await.expect("scheduled");
    }
    let month = marketer.get("/campaigns/calendar?view=month&at=2026-01-15").await.text;
    assert!(!month.contains("<script>alert"));
    let entries = |text: &str, c: &Campaign| text.matches(&format!("href=\"/campaigns/{}\"", c.id)).count();
    assert_eq!((entries(&month, &ran), entries(&month, &weekly), entries(&month, &evening)), (1, 2, 1), "{month}");
    let day = |text: &str, date: &str| {
        let from = text.find(&format!("datetime=\"{date}\"")).expect("the day");
        text[from..].split("</td>").next().unwrap_or_default().to_owned()
    };
    assert!(day(&month, "2026-01-19").contains("09:30") && day(&month, "2026-01-19").contains("run coming"));
    assert!(day(&month, "2026-01-20").contains("18:00") && day(&month, "2026-01-20").contains("each person"), "the hour is their own");
    assert!(day(&month, "2026-01-15").contains("run past"), "{}", day(&month, "2026-01-15"));
    let week = marketer.get("/campaigns/calendar?view=week&at=2026-02-11").await.text;
    assert_eq!((entries(&week, &weekly), entries(&week, &ran)), (1, 0));
    assert!(day(&week, "2026-02-09").contains("Week start"));
    assert_eq!(marketer.get("/campaigns/calendar?view=<b>&at=nonsense").await.status, 200);
    let far = Timestamp::parse("2026-05-04T00:00:00Z").expect("time");
    assert!(far > START && marketer.get("/campaigns/calendar?at=2026-05-04").await.text.contains("Week start"));
});
