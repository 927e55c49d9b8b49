//! The pages: who gets in, what a form needs, what every answer carries. Each route of the table is asked as every role and as nobody.

use marquee::account::{NewUser, Permission, Role};
use marquee::web::{self, Need};

use crate::both_engines;
use crate::support::browser::{Browser, PASSWORD};
use crate::support::server::TestServer;

/// A concrete address for a pattern.
fn concrete(path: &str) -> String {
    regex::Regex::new(r"\{[^}]*\}").expect("pattern").replace_all(path, "1").into_owned()
}

fn may(need: Need, role: Option<Role>) -> bool {
    match (need, role) {
        (Need::Public, _) => true,
        (_, None) => false,
        (Need::SignedIn, Some(_)) => true,
        (Need::May(permission), Some(role)) => role.may(permission),
    }
}

both_engines!(every_route_opens_for_its_roles_and_for_nobody_else, |shop| {
    let server = TestServer::start(&shop).await;
    let table = web::table();
    assert!(table.len() > 30, "the table has routes");
    // Somebody is there, so that nobody is sent to the set-up.
    Browser::signed_in(&server, Role::Admin).await;
    for role in [None, Some(Role::Analyst), Some(Role::Marketer), Some(Role::Admin)] {
        let browser = match role {
            Some(role) => Browser::signed_in(&server, role).await,
            None => Browser::new(&server),
        };
        let token = browser.get(if role.is_some() { "/profile" } else { "/sign-in" }).await.token();
        assert!(!token.is_empty());
        for route in &table {
            let path = concrete(route.path);
            if path == "/sign-out" {
                continue;
            }
            let get = route.method == "GET";
            // An empty form: a permitted one is refused for what it lacks (4xx of its own), a forbidden one before that.
            let seen = if get { browser.get(&path).await } else { browser.post(&path, &token, &[]).await };
            let what = format!("{} {path} as {role:?}: {} {}", route.method, seen.status, seen.location());
            assert!(seen.status < 500, "{what}\n{}", seen.text);
            match (may(route.need, role), role) {
                (true, _) => {
                    assert!(seen.status != 403 && seen.status != 401, "{what}");
                    assert!(role.is_none() || !seen.location().starts_with("/sign-in?next"), "{what}");
                }
                (false, None) if get => assert!(seen.status == 303 && seen.location().starts_with("/sign-in"), "{what}"),
                (false, None) => assert_eq!(seen.status, 401, "{what}"),
                (false, Some(_)) => assert_eq!(seen.status, 403, "{what}"),
            }
        }
    }
    // Analysts have exactly one permission, and no page that needs more than seeing figures is theirs.
    assert!(table.iter().all(|r| !matches!(r.need, Need::May(p) if p != Permission::See && Role::Analyst.may(p))));
});

both_engines!(no_form_is_taken_without_its_token_or_from_elsewhere, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let token = admin.get("/").await.token();
    for route in web::table().into_iter().filter(|r| r.method == "POST") {
        let url = server.at(&concrete(route.path));
        let post = || admin.client.post(&url).header("accept", "text/html").header("content-type", "application/x-www-form-urlencoded");
        let bare = post().header("origin", &server.url).body("name=x").send().await.expect("answer");
        assert_eq!(bare.status(), 403, "{} without a token", route.path);
        let wrong = post().body(format!("csrf={}", "A".repeat(86))).send().await.expect("answer");
        assert_eq!(wrong.status(), 403, "{} with a token of somebody else", route.path);
        let body = format!("csrf={token}");
        let foreign = post().header("origin", "https://evil.example.test").body(body.clone()).send().await.expect("answer");
        assert_eq!(foreign.status(), 403, "{} from another origin", route.path);
        let cross = post().header("sec-fetch-site", "cross-site").body(body).send().await.expect("answer");
        assert_eq!(cross.status(), 403, "{} across sites", route.path);
    }
    assert_eq!(admin.get("/").await.status, 200, "none of them signed us out");
    // Sign-in itself is guarded too: nobody can be signed into somebody else's account.
    let stranger = Browser::new(&server);
    let seen = stranger.post("/sign-in", "", &[("email", "admin@example.test"), ("password", PASSWORD)]).await;
    assert_eq!(seen.status, 403);
});

both_engines!(every_page_carries_the_headers_that_keep_it_safe, |shop| {
    let server = TestServer::start(&shop).await;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    for path in ["/", "/sign-in", "/no/such/page", "/profile"] {
        let seen = admin.get(path).await;
        let header = |name: &str| seen.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert!(!header("content-security-policy").contains("unsafe"), "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert!(!header("referrer-policy").is_empty(), "{path}");
        assert!(!seen.text.contains("https://"), "{path} asks nobody else for anything");
    }
    let home = admin.get("/").await;
    assert_eq!(home.headers["cache-control"], "no-store");
    let css = regex::Regex::new(r#"href="(/assets/[0-9a-f]+/app\.css)""#).expect("pattern").captures(&home.text).expect("style sheet")[1]
        .to_owned();
    let plain = reqwest::Client::builder().no_gzip().build().expect("client");
    let sheet = plain.get(server.at(&css)).header("accept-encoding", "gzip").send().await.expect("answer");
    assert!(sheet.headers()["cache-control"].to_str().expect("text").contains("immutable"));
    assert_eq!(sheet.headers()["content-encoding"], "gzip");
    assert_eq!(sheet.headers()["content-type"], "text/css; charset=utf-8");
});

both_engines!(hostile_names_are_shown_as_text, |shop| {
    let server = TestServer::start(&shop).await;
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let new = NewUser { email: "eve@example.test".into(), name: hostile.into(), role: Role::Admin };
    server.services.ui.accounts.create(new, Some(PASSWORD)).await.expect("user");
    let browser = Browser::new(&server);
    assert_eq!(browser.sign_in("eve@example.test", PASSWORD).await.status, 303);
    for route in web::table().into_iter().filter(|r| r.method == "GET" && !r.path.contains('{')) {
        let seen = browser.get(route.path).await;
        let header = |name: &str| seen.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // No browser reads a file as a page.
        if header("content-type").starts_with("text/csv") {
            assert!(header("content-disposition").starts_with("attachment"), "{}", route.path);
            continue;
        }
        assert!(!seen.text.contains("<script>alert"), "{}", route.path);
        assert!(!seen.text.contains("<img src=x"), "{}", route.path);
    }
    let echoed = browser.get("/sign-in?next=\"><script>alert(1)</script>").await;
    assert!(!echoed.text.contains("<script>alert"));
});

both_engines!(only_paths_of_ours_are_followed_after_sign_in, |shop| {
    let server = TestServer::start(&shop).await;
    Browser::signed_in(&server, Role::Analyst).await;
    for (next, to) in
        [("/profile", "/profile"), ("https://evil.example.test/", "/"), ("//evil.example.test", "/"), ("/\\evil.example.test", "/")]
    {
        let browser = Browser::new(&server);
        let fields = [("email", "analyst@example.test"), ("password", PASSWORD), ("next", next)];
        let seen = browser.submit("/sign-in", "/sign-in", &fields).await;
        assert_eq!((seen.status, seen.location()), (303, to), "next={next}");
    }
});
