//! The HTTP ground rules: health, errors as problem+json, limits, the reference.

use marquee::account::Scope;
use serde_json::Value;

use crate::both_engines;
use crate::support::server::TestServer;

both_engines!(the_server_answers_and_explains_itself, |shop| {
    let server = TestServer::start(&shop).await;
    let get = |path: &str| server.client.get(server.at(path)).send();
    assert_eq!(get("/healthz").await.expect("answer").text().await.expect("text"), "ok");
    assert_eq!(get("/readyz").await.expect("answer").status(), 200);
    assert!(get("/metrics").await.expect("answer").text().await.expect("text").contains("marquee_http_requests_total"));
    let document: Value = get("/openapi.json").await.expect("answer").json().await.expect("JSON");
    assert!(document["openapi"].as_str().expect("version").starts_with("3.1"));
    let page = get("/docs/").await.expect("answer").text().await.expect("text");
    assert!(page.contains("swagger"), "{page}");
    assert!(!page.contains("https://"), "the reference loads nothing from elsewhere");
    let missing = get("/no/such/page").await.expect("answer");
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
    assert!(missing.headers().contains_key("x-request-id"));
    let problem: Value = missing.json().await.expect("JSON");
    assert_eq!(problem["code"], "not_found");
});

both_engines!(every_documented_route_refuses_strangers_and_foreign_scopes, |shop| {
    let server = TestServer::start(&shop).await;
    let document: Value = server.client.get(server.at("/openapi.json")).send().await.expect("answer").json().await.expect("JSON");
    // A key whose scope opens almost nothing: it may only send events.
    let ingest = server.key(&[Scope::Ingest]).await;
    let mut guarded = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            if !operation["security"].is_array() || ["parameters", "summary"].contains(&method.as_str()) {
                continue;
            }
            // What pages may ask too, without a key, has rules of its own (tests/it/adserver.rs).
            let keyless = |way: &Value| way.as_object().is_some_and(serde_json::Map::is_empty);
            if operation["security"].as_array().is_some_and(|ways| ways.iter().any(keyless)) {
                continue;
            }
            guarded += 1;
            let url = server.at(&path.replace("{id}", "1").replace(['{', '}'], ""));
            let method = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).expect("method");
            let bare = server
                .client
                .request(method.clone(), &url)
                .header("content-type", "application/json")
                .body("{}")
                .send()
                .await
                .expect("answer");
            assert_eq!(bare.status(), 401, "{method} {path} without a key");
            let ingests = operation["tags"].as_array().is_some_and(|t| t.iter().any(|t| t == "ingest"));
            if !ingests {
                let foreign = server
                    .client
                    .request(method.clone(), &url)
                    .bearer_auth(&ingest)
                    .header("content-type", "application/json")
                    .body("{}")
                    .send()
                    .await;
                assert_eq!(foreign.expect("answer").status(), 403, "{method} {path} with an ingest key");
            }
        }
    }
    eprintln!("{guarded} guarded operations");
});
