//! `schemathesis` over the whole OpenAPI document, with a key of each scope and with none: whatever it sends, no answer is a 5xx, none
//! breaks its schema, and none has a status or a type that the document does not name. Skips where the package cannot be had, and fails
//! there in CI.

use std::path::{Path, PathBuf};

use marquee::account::Scope;
use tokio::process::Command;

use crate::support::server::TestServer;
use crate::support::{Engine, TestShop};

const PACKAGE: &str = "schemathesis==4.32.5";
/// Requests per operation, phase and key: enough to meet every parameter with good and bad values.
const EXAMPLES: &str = "5";

/// A virtual environment with the package, made once per target folder.
async fn program() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let program = home.join("bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    let run = async |program: &Path, args: &[&str]| {
        let out = Command::new(program).args(args).output().await.map_err(|e| e.to_string())?;
        if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    };
    let folder = home.display().to_string();
    let made = async {
        run(Path::new("python3"), &["-m", "venv", &folder]).await?;
        run(&home.join("bin/python"), &["-m", "pip", "install", "--quiet", PACKAGE]).await
    };
    match made.await {
        Ok(()) => Some(program),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "python3 with {PACKAGE} is needed in CI: {why}");
            eprintln!("skipped: python3 with {PACKAGE} cannot be had here: {}", why.trim());
            None
        }
    }
}

async fn fuzz(engine: Engine) {
    let Some(program) = program().await else { return };
    let Some(shop) = TestShop::open(engine).await else { return };
    let server = TestServer::start(&shop).await;
    let mut keys: Vec<(String, Option<String>)> = vec![("no key".to_owned(), None)];
    // What a scope may ask does not depend on the engine: the widest is enough for the second one.
    for scope in Scope::ALL.into_iter().filter(|s| engine == Engine::Sqlite || *s == Scope::Admin) {
        keys.push((format!("a key for {scope}"), Some(server.key(&[scope]).await)));
    }
    let mut failures = Vec::new();
    for (name, key) in keys {
        // Random bodies only where they get past the door.
        let phases = if name.contains("admin") { "examples,coverage,fuzzing" } else { "examples,coverage" };
        let reports = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(&program);
        command.current_dir(reports.path()).env("NO_PROXY", "127.0.0.1").env("NO_COLOR", "1");
        command.args(["run", &server.at("/openapi.json"), "--phases", phases, "--max-examples", EXAMPLES]);
        // It has no way to write a message/rfc822.
        command.args(["--exclude-path", "/v1/bounces"]);
        command.args(["--seed", "7", "--no-shrink", "--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off"]);
        let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
        command.args(["--checks", checks, "--request-timeout", "60"]);
        if let Some(key) = &key {
            command.args(["--header", &format!("Authorization: Bearer {key}")]);
        }
        let out = command.output().await.expect("schemathesis runs");
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stdout).into_owned();
            failures.push(format!("with {name}:\n{}", said.chars().take(12_000).collect::<String>()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_breaks_the_contract_sqlite() {
    fuzz(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_breaks_the_contract_postgres() {
    fuzz(Engine::Postgres).await;
}
