//! The platform on both engines: settings, the signing secret, API keys, and equal schemas.

use marquee::account::{KeyRing, Scope};
use marquee::platform::{Platform, setting};

use crate::both_engines;
use crate::support::START;

both_engines!(a_setting_is_what_was_last_put, |shop| {
    let db = &shop.platform.db;
    assert_eq!(setting::get::<Vec<i64>>(db, "x").await.expect("read"), None);
    for value in [vec![1_i64], vec![2, 3]] {
        let mut tx = db.begin().await.expect("begin");
        setting::put(&mut tx, "x", &value, START).await.expect("put");
        tx.commit().await.expect("commit");
        assert_eq!(setting::get(db, "x").await.expect("read"), Some(value));
    }
});

both_engines!(a_dropped_transaction_leaves_nothing, |shop| {
    let db = &shop.platform.db;
    let mut tx = db.begin().await.expect("begin");
    setting::put(&mut tx, "y", &1_i64, START).await.expect("put");
    drop(tx);
    assert_eq!(setting::get::<i64>(db, "y").await.expect("read"), None);
});

both_engines!(copies_over_one_database_share_the_secret, |shop| {
    let token = shop.platform.signer.sign("click", b"x");
    let twin = Platform::open((*shop.platform.config).clone(), shop.platform.clock.clone()).await.expect("opens again");
    assert!(twin.signer.open("click", &token).is_some());
});

both_engines!(keys_hold_their_scopes_until_revoked, |shop| {
    let ring = KeyRing::load(shop.platform.db.clone()).await.expect("ring");
    let made = ring.create("page", &[Scope::Ingest], START).await.expect("key");
    let principal = ring.check(&made.key).expect("known");
    assert!(principal.may(Scope::Ingest) && !principal.may(Scope::Serve));
    let mut wrong = made.key.clone();
    wrong.pop();
    assert!(ring.check(&wrong).is_none() && ring.check("").is_none() && ring.check("mqk_é").is_none());
    assert!(ring.revoke(&made.prefix, START).await.expect("revoke"));
    assert!(ring.check(&made.key).is_none());
});
