//! Accounts over the real server: set-up, throttling, the second step, links that work once, sessions that end.

use marquee::account::{LinkPurpose, NewUser, Role, UserError, totp};

use crate::both_engines;
use crate::support::browser::{Browser, PASSWORD};
use crate::support::server::TestServer;

both_engines!(the_first_admin_is_made_once_by_a_link, |shop| {
    let server = TestServer::start(&shop).await;
    let browser = Browser::new(&server);
    assert_eq!(browser.get("/").await.location(), "/set-up");
    let link = server.services.ui.accounts.set_up_link().await.expect("link").expect("nobody yet");
    let token = link.split("token=").nth(1).expect("token").to_owned();
    let page = format!("/set-up?token={token}");
    let fields = [("token", token.as_str()), ("name", "Mira"), ("email", "mira@example.test"), ("password", "short")];
    assert_eq!(browser.submit(&page, "/set-up", &fields).await.status, 422);
    let fields = [("token", token.as_str()), ("name", "Mira"), ("email", "mira@example.test"), ("password", PASSWORD)];
    assert_eq!(browser.submit(&page, "/set-up", &fields).await.status, 303);
    assert_eq!(browser.get("/").await.status, 200);
    assert_eq!(server.services.ui.accounts.set_up_link().await.expect("asked"), None);
    let again = Browser::new(&server);
    let form = again.get("/sign-in").await.token();
    assert_eq!(again.post("/set-up", &form, &fields).await.status, 422, "the link works once");
});

both_engines!(wrong_passwords_are_throttled, |shop| {
    let server = TestServer::start(&shop).await;
    Browser::signed_in(&server, Role::Analyst).await;
    let browser = Browser::new(&server);
    for _ in 0..5 {
        assert_eq!(browser.sign_in("analyst@example.test", "not the password").await.status, 422);
    }
    assert_eq!(browser.sign_in("analyst@example.test", PASSWORD).await.status, 429, "the right one waits too");
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(20));
    assert_eq!(browser.sign_in("analyst@example.test", PASSWORD).await.status, 303);
});

both_engines!(sessions_end_with_the_password_the_lock_and_time, |shop| {
    let server = TestServer::start(&shop).await;
    let here = Browser::signed_in(&server, Role::Marketer).await;
    let there = Browser::signed_in(&server, Role::Marketer).await;
    let fields = [("old", PASSWORD), ("password", "another long password")];
    assert_eq!(here.submit("/profile", "/profile/password", &fields).await.status, 303);
    assert_eq!(here.get("/profile").await.status, 200, "a new session here");
    assert_eq!(there.get("/profile").await.status, 303, "none there");
    let accounts = &server.services.ui.accounts;
    let admin = Browser::signed_in(&server, Role::Admin).await;
    let user = accounts.by_email("marketer@example.test").await.expect("user");
    accounts.set_disabled(user.id, true).await.expect("locked out");
    assert_eq!(here.get("/profile").await.status, 303);
    let last = accounts.by_email("admin@example.test").await.expect("user");
    assert!(matches!(accounts.set_role(last.id, Role::Analyst).await, Err(UserError::LastAdmin)));
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(13 * 3600));
    assert_eq!(admin.get("/profile").await.status, 303, "idle for too long");
});

both_engines!(the_second_step_asks_for_a_code_that_works_once, |shop| {
    let server = TestServer::start(&shop).await;
    let accounts = &server.services.ui.accounts;
    let new = NewUser { email: "two@example.test".into(), name: "Two".into(), role: Role::Admin };
    let id = accounts.create(new, Some(PASSWORD)).await.expect("user");
    let secret = totp::new_secret();
    let codes = accounts.confirm_totp(id, &secret, &totp::current_code(&secret, shop.platform.now())).await.expect("on");
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(60));
    let code = totp::current_code(&secret, shop.platform.now());
    for (typed, status) in [(code.as_str(), 303), (code.as_str(), 422), (codes[0].as_str(), 303), (codes[0].as_str(), 422)] {
        let browser = Browser::new(&server);
        assert_eq!(browser.sign_in("two@example.test", PASSWORD).await.location(), "/sign-in/code");
        assert_eq!(browser.get("/").await.status, 303, "half a sign-in opens nothing");
        assert_eq!(browser.submit("/sign-in/code", "/sign-in/code", &[("code", typed)]).await.status, status, "{typed}");
    }
});

both_engines!(a_reset_link_works_once_and_expires, |shop| {
    let server = TestServer::start(&shop).await;
    let old = Browser::signed_in(&server, Role::Marketer).await;
    let accounts = &server.services.ui.accounts;
    let user = accounts.by_email("marketer@example.test").await.expect("user");
    let token = |link: String| link.split("token=").nth(1).expect("token").to_owned();
    let first = token(accounts.link(user.id, LinkPurpose::Reset).await.expect("link"));
    let second = token(accounts.link(user.id, LinkPurpose::Reset).await.expect("link"));
    for (link, status) in [(&first, 422), (&second, 303), (&second, 422)] {
        let browser = Browser::new(&server);
        let form = browser.get("/sign-in").await.token();
        let seen = browser.post("/reset", &form, &[("token", link.as_str()), ("password", "a brand new password")]).await;
        assert_eq!(seen.status, status);
    }
    assert_eq!(old.get("/profile").await.status, 303, "the old session ended");
    let late = token(accounts.link(user.id, LinkPurpose::Reset).await.expect("link"));
    shop.platform.clock.advance_to(shop.platform.now().plus_secs(3601));
    assert!(accounts.look(LinkPurpose::Reset, &late).await.is_err());
});
