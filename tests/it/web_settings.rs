//! Settings over the real server: the sender and its test mail, invitations and reset links by mail, keys, the audit log, webhooks that are
//! really told, and figures that strangers may not read.

use std::sync::{Arc, Mutex};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use marquee::account::{Role, Scope};
use marquee::delivery::sink::Sink;
use marquee::events::orders::{self, NewAdjustment, NewOrder};
use marquee::people::{self, Channel, Consent, NewPerson};
use marquee::platform::ids::CampaignId;
use marquee::platform::{Currency, Platform};
use marquee::touches::{self, Actor, NewSignal, NewTouch, SignalKind, TouchChannel, TouchState};
use marquee::webhooks::{self, EventKind, NewWebhook};
use serde_json::Value;

use crate::both_engines;
use crate::support::browser::{Browser, PASSWORD};
use crate::support::server::TestServer;
use crate::support::{Engine, START, TestShop};

/// A shop whose mails go into a sink.
async fn with_sink() -> (TestShop, Sink) {
    let sink = Sink::start(0).await.expect("sink");
    let url = sink.url();
    let shop = TestShop::open_with(Engine::Sqlite, |c| c.mail.servers = vec![url]).await.expect("SQLite");
    (shop, sink)
}

/// The link in the text of the newest mail in the sink.
fn mailed_link(sink: &Sink, path: &str) -> String {
    let mail = sink.drain().pop().expect("a mail");
    let text = mail_parser::MessageParser::default().parse(&mail.data[..]).expect("a message").body_text(0).expect("text").into_owned();
    let at = text.find(path).expect("the link");
    text[at..].split_whitespace().next().expect("a word").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_is_set_on_its_page_and_tries_a_mail() {
    let (shop, sink) = with_sink().await;
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let path = "/settings/sender";
    let tried = admin.submit(path, "/settings/sender/test", &[("to", "me@example.test")]).await;
    assert!(tried.status == 422 && tried.text.contains("No address yet"), "{}", tried.text);
    let bad = [("from_name", "Shop"), ("from_address", "nobody"), ("reply_to", "")];
    let refused = admin.submit(path, path, &bad).await;
    assert!(refused.status == 422 && refused.text.contains("value=\"nobody\"") && refused.text.contains("This is not an e-mail address"));
    let good = [("from_name", "Shop & Co"), ("from_address", "shop@example.test"), ("reply_to", "ask@example.test")];
    assert_eq!(admin.submit(path, path, &good).await.status, 303);
    let page = admin.get(path).await.text;
    assert!(page.contains("_dmarc.example.test"), "the records of its domain: {page}");

    let sent = admin.submit(path, "/settings/sender/test", &[("to", "me@example.test")]).await;
    assert_eq!(sent.status, 303, "{}", sent.text);
    assert!(admin.get(path).await.text.contains("The server said"), "what happened is said");
    let mail = sink.drain().pop().expect("a real mail");
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("shop@example.test", &["me@example.test".to_owned()][..]));
    let nobody = admin.submit(path, "/settings/sender/test", &[("to", "no address")]).await;
    assert!(nobody.status == 422 && nobody.text.contains("This is not an e-mail address"), "{}", nobody.text);
    drop(sink);
    let gone = admin.submit(path, "/settings/sender/test", &[("to", "me@example.test")]).await;
    assert!(gone.status == 422 && gone.text.contains("did not take it"), "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invitations_and_new_passwords_come_by_mail_and_work_once() {
    let (shop, sink) = with_sink().await;
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let sender = [("from_name", ""), ("from_address", "shop@example.test"), ("reply_to", "")];
    admin.submit("/settings/sender", "/settings/sender", &sender).await;
    let path = "/settings/users";
    let invited = admin.submit(path, path, &[("name", "Nia"), ("email", "nia@example.test"), ("role", "marketer")]).await;
    assert_eq!(invited.status, 303, "{}", invited.text);
    let again = admin.submit(path, path, &[("name", "Nia"), ("email", "NIA@example.test"), ("role", "admin")]).await;
    assert!(again.status == 422 && again.text.contains("There is a user with this address already"), "{}", again.text);

    let link = mailed_link(&sink, "/welcome?token=");
    let token = link.split("token=").nth(1).expect("token");
    let nia = Browser::new(&server);
    let fields = [("token", token), ("name", "Nia"), ("email", "nia@example.test"), ("password", "a long enough word")];
    assert_eq!(nia.submit(&link, "/welcome", &fields).await.status, 303);
    assert_eq!(nia.get("/profile").await.status, 200, "in, and with the role she was given");
    assert_eq!(nia.get("/settings/users").await.status, 403);
    let second = Browser::new(&server);
    let form = second.get("/sign-in").await.token();
    assert!(second.post("/welcome", &form, &fields).await.status >= 400, "the link works once");

    // A forgotten password: the answer is the same for who is there and who is not, and only who is there gets a mail.
    let stranger = Browser::new(&server);
    let unknown = stranger.submit("/forgot", "/forgot", &[("email", "nobody@example.test")]).await;
    let known = stranger.submit("/forgot", "/forgot", &[("email", "nia@example.test")]).await;
    assert_eq!((unknown.status, unknown.location()), (known.status, known.location()));
    let mut link = None;
    for _ in 0..100 {
        if sink.count() > 0 && link.is_none() {
            let mails = sink.drain();
            if let Some(mail) = mails.last() {
                assert_eq!(mail.to, ["nia@example.test"]);
                let parsed = mail_parser::MessageParser::default().parse(&mail.data[..]).expect("a message");
                let text = parsed.body_text(0).expect("text").into_owned();
                let at = text.find("/reset?token=").expect("the link");
                link = text[at..].split_whitespace().next().map(ToOwned::to_owned);
                break;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let link = link.expect("a mail with a link");
    let token = link.split("token=").nth(1).expect("token");
    let fields = [("token", token), ("password", "quite another word")];
    assert_eq!(stranger.submit(&link, "/reset", &fields).await.status, 303);
    assert_eq!(nia.get("/profile").await.status, 303, "every other session has ended");
    assert_eq!(Browser::new(&server).sign_in("nia@example.test", "quite another word").await.status, 303);
}

both_engines!(keys_are_made_shown_once_and_revoked, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let path = "/settings/keys";
    assert_eq!(admin.submit(path, path, &[("name", ""), ("scope", "ingest")]).await.status, 422);
    let none = admin.submit(path, path, &[("name", "Till <b>1</b>")]).await;
    assert!(none.status == 422 && none.text.contains("needs at least one scope") && none.text.contains("Till &lt;b&gt;"), "{}", none.text);
    let made = admin.submit(path, path, &[("name", "Till <b>1</b>"), ("scope", "reports"), ("scope", "serve")]).await;
    assert_eq!(made.status, 200);
    let key = regex::Regex::new(r">(mqk_[A-Za-z0-9_-]+)<").expect("pattern").captures(&made.text).expect("the key")[1].to_owned();
    let list = admin.get(path).await.text;
    assert!(!list.contains(&key) && !list.contains("<b>1</b>") && list.contains("never"), "shown once");
    let ask = || server.client.get(server.at("/v1/reports/attribution")).bearer_auth(&key).send();
    assert_eq!(ask().await.expect("answer").status(), 200);
    assert_eq!(
        server.client.get(server.at("/v1/products")).bearer_auth(&key).send().await.expect("answer").status(),
        403,
        "only its scopes"
    );
    let prefix = server.services.keys.list().await.expect("keys").into_iter().find(|k| k.name.starts_with("Till")).expect("listed").prefix;
    let revoke = format!("{path}/{prefix}/revoke");
    assert!(admin.get(&revoke).await.text.contains("Revoke Till &lt;b&gt;1"));
    assert_eq!(admin.submit(&revoke, &revoke, &[]).await.status, 303);
    assert_eq!(ask().await.expect("answer").status(), 401);
    assert_eq!(admin.get(&revoke).await.status, 404, "once");

    // The log tells of both, can be narrowed, and no spreadsheet runs what is in it.
    let log = admin.get("/settings/audit?action=key.create").await.text;
    assert!(log.contains("key.create") && !log.contains("<code>key.revoke</code>"), "{log}");
    let csv = admin.get("/settings/audit.csv?actor=admin@example.test").await.text;
    assert!(csv.contains("key.revoke") && !csv.contains(&key));
    for line in csv.lines().skip(1) {
        assert!(line.split(',').all(|cell| !cell.trim_matches('"').starts_with(['=', '@'])), "{line}");
    }
    // By day, of the viewer's zone; who took the log away stands in it.
    let day = |n: i64| shop.platform.now().plus_days(n).to_utc().date_naive().to_string();
    let today = admin.get(&format!("/settings/audit?from={0}&to={0}", day(0))).await.text;
    assert!(today.contains("key.revoke") && today.contains("audit.download"), "{today}");
    for (from, to) in [(1, 2), (-3, -1)] {
        let other = admin.get(&format!("/settings/audit?from={}&to={}", day(from), day(to))).await.text;
        assert!(!other.contains("<code>key.revoke</code>"), "{other}");
    }
    // Lists of users and keys go into files, for a review; no key is in them.
    let users = admin.get("/settings/users/download?sort=-name").await.text;
    assert!(users.starts_with("name,email,role,state") && users.contains("admin@example.test,admin,active"), "{users}");
    let keys = admin.get("/settings/keys/download").await.text;
    assert!(keys.contains(&prefix) && keys.contains("Till") && !keys.contains(&key), "{keys}");
});

both_engines!(figures_are_for_this_machine_and_for_keys, |shop| {
    let server = TestServer::start(&shop).await;
    let get = |header: Option<(&'static str, String)>| {
        let mut request = server.client.get(server.at("/metrics"));
        if let Some((name, value)) = header {
            request = request.header(name, value).header("x-forwarded-for", "203.0.113.9");
        }
        request.send()
    };
    assert_eq!(get(None).await.expect("answer").status(), 200, "from this machine");
    assert_eq!(get(Some(("accept", "*/*".into()))).await.expect("answer").status(), 401, "through a proxy, without a key");
    let ingest = server.key(&[Scope::Ingest]).await;
    let reports = server.key(&[Scope::Reports]).await;
    assert_eq!(get(Some(("authorization", format!("Bearer {ingest}")))).await.expect("answer").status(), 403);
    assert_eq!(get(Some(("authorization", format!("Bearer {reports}")))).await.expect("answer").status(), 200);
});

/// What a receiver got: header and body.
type Got = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server that takes webhooks, and answers with what `status` holds.
async fn receiver(got: Got, status: Arc<Mutex<u16>>) -> (String, actix_web::dev::ServerHandle) {
    let take = move |request: HttpRequest, body: web::Bytes| {
        let (got, status) = (got.clone(), status.clone());
        async move {
            let header = request.headers().get("marquee-signature").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
            got.lock().expect("lock").push((header, body.to_vec()));
            let status = *status.lock().expect("lock");
            HttpResponse::build(actix_web::http::StatusCode::from_u16(status).expect("status"))
                .insert_header(("location", "http://127.0.0.1:1/"))
                .body("as told")
        }
    };
    let server = HttpServer::new(move || App::new().default_service(web::to(take.clone()))).workers(1).bind("127.0.0.1:0").expect("binds");
    let url = format!("http://{}/hooks", server.addrs()[0]);
    let server = server.run();
    let handle = server.handle();
    tokio::spawn(server);
    (url, handle)
}

async fn person(platform: &Platform) -> marquee::platform::ids::PersonId {
    let mut tx = platform.db.begin().await.expect("begin");
    let new = NewPerson { external_id: Some("crm-7".into()), email: Some("secret@example.test".into()), ..NewPerson::default() };
    let ids = people::bulk_upsert(&mut tx, &[new], START).await.expect("person");
    tx.commit().await.expect("commit");
    ids[0]
}

async fn order(platform: &Platform, person: marquee::platform::ids::PersonId, order_ref: &str, source: orders::Source) {
    let new = NewOrder {
        order_ref: order_ref.into(),
        person_id: Some(person),
        placed_at: START,
        currency: Currency::EUR,
        total_minor: 2500,
        lines: Vec::new(),
        flag: None,
        source,
    };
    let mut tx = platform.db.begin().await.expect("begin");
    orders::record(&mut tx, &new, START).await.expect("order");
    tx.commit().await.expect("commit");
}

async fn told(shop: TestShop) {
    let mut platform = shop.platform.clone();
    let mut config = (*platform.config).clone();
    config.webhooks.allow_private = true;
    platform.config = Arc::new(config);
    let (got, status): (Got, _) = (Arc::default(), Arc::new(Mutex::new(200_u16)));
    let (url, handle) = receiver(got.clone(), status.clone()).await;
    let person = person(&platform).await;
    order(&platform, person, "before", orders::Source::Server).await;
    let new = NewWebhook {
        name: "Desk".into(),
        url,
        kinds: ["order.placed", "order.changed", "person.unsubscribed", "touch.clicked"].map(str::to_owned).to_vec(),
    };
    let hook = webhooks::create(&platform, &new).await.expect("made");
    assert_eq!(hook.kinds, [EventKind::OrderPlaced, EventKind::OrderChanged, EventKind::PersonUnsubscribed, EventKind::TouchClicked]);
    let secret = webhooks::secret(&platform, hook.id).await.expect("secret");

    order(&platform, person, "A-1", orders::Source::Server).await;
    order(&platform, person, "old", orders::Source::Import).await;
    let mut tx = platform.db.begin().await.expect("begin");
    let refund = NewAdjustment {
        reference: "R-1".into(),
        order_ref: "A-1".into(),
        kind: orders::AdjustmentKind::Refund,
        at: START,
        amount_minor: Some(500),
        currency: None,
        lines: Vec::new(),
        source: orders::Source::Server,
    };
    orders::adjust(&mut tx, &refund, START).await.expect("refund");
    people::set_consent(&mut tx, person, Channel::Email, Consent::Unsubscribed, "test", START).await.expect("consent");
    let planned = NewTouch::planned(CampaignId(7), person, TouchChannel::Banner, START, START);
    let touch = NewTouch { state: TouchState::Served, ..planned };
    touches::plan_many(&mut tx, std::slice::from_ref(&touch), START).await.expect("touch");
    for actor in [Actor::Bot, Actor::Human] {
        let signal = NewSignal { touch_id: touch.id, kind: SignalKind::Click, actor, at: START, detail: None, key: None };
        touches::record_signal(&mut tx, signal, START).await.expect("click");
    }
    tx.commit().await.expect("commit");
    assert_eq!(webhooks::waiting(&platform.db, hook.id).await.expect("waiting"), 4, "not what was before or imported, no bot");

    // A refusal keeps everything, waits, and is in the log; a redirect is no way into the inner network.
    for refusal in [500, 302] {
        *status.lock().expect("lock") = refusal;
        assert_eq!(webhooks::deliver_due(&platform, || false).await.expect("tried"), 0);
        assert_eq!(webhooks::deliver_due(&platform, || false).await.expect("too soon"), 0);
        shop.platform.clock.advance_to(platform.now().plus_secs(3 * 60));
    }
    assert_eq!(got.lock().expect("lock").len(), 2, "one attempt each, and none to where the redirect leads");
    let log = webhooks::attempts(&platform.db, hook.id, None, 10).await.expect("log");
    assert_eq!(log.iter().map(|a| (a.ok, a.status, a.events)).collect::<Vec<_>>(), [(false, Some(302), 4), (false, Some(500), 4)]);
    assert_eq!(log[1].error.as_deref(), Some("as told"));
    assert_eq!(webhooks::get(&platform.db, hook.id).await.expect("hook").failures, 2);

    *status.lock().expect("lock") = 204;
    shop.platform.clock.advance_to(platform.now().plus_secs(3 * 60));
    assert_eq!(webhooks::deliver_due(&platform, || false).await.expect("told"), 4);
    assert_eq!(webhooks::deliver_due(&platform, || false).await.expect("nothing left"), 0);
    assert_eq!(webhooks::get(&platform.db, hook.id).await.expect("hook").failures, 0);
    let (header, body) = got.lock().expect("lock").last().cloned().expect("a body");
    assert!(webhooks::verify(secret.as_bytes(), &header, &body, platform.now(), 300), "{header}");
    assert!(!String::from_utf8_lossy(&body).contains("secret@example.test"), "no address leaves the shop");
    let body: Value = serde_json::from_slice(&body).expect("json");
    let kinds: Vec<&str> = body["events"].as_array().expect("events").iter().filter_map(|e| e["kind"].as_str()).collect();
    assert_eq!(kinds, ["order.placed", "order.changed", "person.unsubscribed", "touch.clicked"], "in order");
    let click = &body["events"][3];
    assert_eq!((click["touch"]["campaign"].as_str(), click["person"]["external_id"].as_str()), (Some("cmp_7"), Some("crm-7")));
    assert_eq!(
        (body["events"][0]["order"]["ref"].as_str(), body["events"][0]["person"]["external_id"].as_str()),
        (Some("A-1"), Some("crm-7"))
    );
    assert_eq!(body["events"][1]["order"]["refunded_minor"], 500);

    // Switched off, nothing is written down; removed, nothing is left.
    webhooks::set_active(&platform, hook.id, false).await.expect("off");
    order(&platform, person, "A-2", orders::Source::Server).await;
    assert_eq!(webhooks::waiting(&platform.db, hook.id).await.expect("waiting"), 0);
    webhooks::remove(&platform, hook.id).await.expect("removed");
    assert!(webhooks::list(&platform.db).await.expect("list").is_empty());
    handle.stop(false).await;
}

both_engines!(webhooks_are_told_in_order_signed_and_again_where_it_fails, |shop| {
    told(shop).await;
});

both_engines!(webhooks_are_made_on_their_page_and_reach_no_inner_host, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let path = "/settings/webhooks";
    for (url, kind) in
        [("http://shop.example/", "order.placed"), ("javascript:alert(1)", "order.placed"), ("https://shop.example/", "nonsense")]
    {
        let refused = admin.submit(path, path, &[("name", "Desk"), ("url", url), ("kind", kind)]).await;
        assert_eq!(refused.status, 422, "{url} {kind}");
    }
    let fields = [("name", "Desk <i>x</i>"), ("url", "https://127.0.0.1/hooks"), ("kind", "order.placed"), ("kind", "touch.clicked")];
    let made = admin.submit(path, path, &fields).await;
    assert_eq!(made.status, 303, "{}", made.text);
    let one = made.location().to_owned();
    let page = admin.get(&one).await.text;
    assert!(!page.contains("<i>x</i>") && page.contains("Secret") && page.contains("value=\"touch.clicked\" checked"), "{page}");
    // The address is looked at when it is asked: an inner host is never reached.
    admin.submit(&one, &format!("{one}/test"), &[]).await;
    let page = admin.get(&one).await.text;
    assert!(page.contains("does not lead to a public host"), "{page}");
    admin.submit(&one, &format!("{one}/off"), &[]).await;
    assert!(admin.get(path).await.text.contains("Off"));
    assert!(admin.get(&format!("{one}/delete")).await.text.contains("Delete this webhook?"));
    assert_eq!(admin.submit(&one, &format!("{one}/delete"), &[]).await.status, 303);
    assert_eq!(admin.get(&one).await.status, 404);
    let marketer = Browser::signed_in(&server, Role::Marketer).await;
    assert_eq!(marketer.get(path).await.status, 403);
});

both_engines!(a_second_step_is_sealed_and_older_ones_still_open, |shop| {
    use marquee::account::totp;
    let server = TestServer::start(&shop).await;
    let accounts = &server.services.ui.accounts;
    Browser::signed_in(&server, Role::Marketer).await;
    let user = accounts.by_email("marketer@example.test").await.expect("user");
    let secret = totp::new_secret();
    let now = || shop.platform.now();
    accounts.confirm_totp(user.id, &secret, &totp::current_code(&secret, now())).await.expect("on");
    let stored = stored_secret(&shop).await;
    assert!(stored.len() > secret.len() && !stored.windows(secret.len()).any(|w| w == secret), "sealed");
    let sign_in = async |code: String| {
        let browser = Browser::new(&server);
        let first = browser.sign_in("marketer@example.test", PASSWORD).await;
        browser.submit(first.location(), "/sign-in/code", &[("code", &code)]).await.status
    };
    shop.platform.clock.advance_to(now().plus_secs(60));
    assert_eq!(sign_in(totp::current_code(&secret, now())).await, 303);
    // A row from before: the bare bytes.
    put_secret(&shop, &secret).await;
    shop.platform.clock.advance_to(now().plus_secs(60));
    assert_eq!(sign_in(totp::current_code(&secret, now())).await, 303);
    // What another shop sealed opens nothing.
    put_secret(&shop, &marquee::platform::token::Signer::new(&[9; 32]).seal("totp", &user.id.to_string(), &secret)).await;
    shop.platform.clock.advance_to(now().plus_secs(60));
    assert_eq!(sign_in(totp::current_code(&secret, now())).await, 422);
});

async fn stored_secret(shop: &TestShop) -> Vec<u8> {
    const SQL: &str = "SELECT totp_secret FROM app_user WHERE totp_secret IS NOT NULL";
    marquee::read!(shop.platform.db, |c| sqlx::query_scalar::<_, Vec<u8>>(SQL).fetch_one(c).await).expect("secret")
}

async fn put_secret(shop: &TestShop, secret: &[u8]) {
    const SQL: &str = "UPDATE app_user SET totp_secret = $1 WHERE totp_secret IS NOT NULL";
    let mut tx = shop.platform.db.begin().await.expect("begin");
    marquee::on!(&mut tx, |c| sqlx::query(SQL).bind(secret).execute(&mut *c).await.map(|_| ())).expect("put");
    tx.commit().await.expect("commit");
}
