//! `marquee doctor`: looks at everything that can be wrong from outside, and says what to do.

use crate::platform::db::Db;
use crate::platform::{Clock, Config, Platform};

/// One line of the report.
struct Finding {
    ok: bool,
    what: String,
}

fn good(what: impl Into<String>) -> Finding {
    Finding { ok: true, what: what.into() }
}
fn bad(what: impl Into<String>) -> Finding {
    Finding { ok: false, what: what.into() }
}

pub async fn run(config: Config, clock: Clock) -> anyhow::Result<()> {
    let mut findings = vec![good(format!("configuration reads; database {}", without_password(&config.database.url)))];
    match Platform::open(config.clone(), clock).await {
        Ok(platform) => {
            findings.extend(database(&platform).await);
            let sender = crate::delivery::mail_config(&platform).await?;
            if sender.mail.from_address.is_empty() {
                findings.push(bad("whom are mails from? Set mail.from_address, or the sender on the settings page"));
            }
        }
        Err(error) => findings.push(bad(format!("database: {error:#}"))),
    }
    findings.extend(mail(&config).await);
    findings.push(public_url(&config));
    let failed = findings.iter().filter(|f| !f.ok).count();
    for finding in &findings {
        println!("{} {}", if finding.ok { "ok  " } else { "BAD " }, finding.what);
    }
    anyhow::ensure!(failed == 0, "{failed} of {} checks failed", findings.len());
    Ok(())
}

async fn database(platform: &Platform) -> Vec<Finding> {
    let engine = match platform.db {
        Db::Sqlite(_) => "SQLite",
        Db::Postgres(_) => "Postgres",
    };
    let mut findings = vec![match platform.db.ping().await {
        Ok(()) => good(format!("{engine} answers; schema up to date")),
        Err(e) => bad(format!("{engine} does not answer: {e}")),
    }];
    match crate::account::KeyRing::load(platform.db.clone()).await {
        Ok(ring) => match ring.list().await {
            Ok(keys) if keys.iter().any(|k| !k.revoked) => {
                findings.push(good(format!("{} live API keys", keys.iter().filter(|k| !k.revoked).count())));
            }
            Ok(_) => findings.push(bad("no API key: make one with `marquee key create NAME --scope ingest`")),
            Err(e) => findings.push(bad(format!("API keys cannot be read: {e}"))),
        },
        Err(e) => findings.push(bad(format!("API keys cannot be read: {e}"))),
    }
    findings
}

async fn mail(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    if config.mail.servers.is_empty() {
        findings.push(bad("mail.servers is empty: no mail can be sent. Set it to smtp://host:port or smtps://user:password@host:465"));
    }
    for server in &config.mail.servers {
        let shown = without_password(server);
        match url::Url::parse(server) {
            Err(e) => findings.push(bad(format!("mail server {shown}: {e}"))),
            Ok(url) => {
                let host = url.host_str().unwrap_or_default().to_owned();
                let port = url.port().unwrap_or(match url.scheme() {
                    "smtps" => 465,
                    "smtp+starttls" => 587,
                    _ => 25,
                });
                let connect = tokio::net::TcpStream::connect((host.as_str(), port));
                findings.push(match tokio::time::timeout(std::time::Duration::from_secs(5), connect).await {
                    Ok(Ok(_)) => good(format!("mail server {shown} takes connections")),
                    Ok(Err(e)) => bad(format!("mail server {shown}: {e}")),
                    Err(_) => bad(format!("mail server {shown} does not answer within 5 s")),
                });
            }
        }
    }
    for key in &config.mail.dkim {
        findings.push(if key.key_file.is_file() {
            good(format!("DKIM key {}._domainkey.{} is there", key.selector, key.domain))
        } else {
            bad(format!("DKIM key file {} is missing: `marquee dkim generate` makes one", key.key_file.display()))
        });
    }
    if config.shop.postal_address.is_empty() {
        findings.push(bad("shop.postal_address is empty: marketing mail needs one in its foot in many countries"));
    }
    findings
}

fn public_url(config: &Config) -> Finding {
    let url = &config.server.public_url;
    if url.starts_with("https://") || url.contains("//127.0.0.1") || url.contains("//localhost") {
        good(format!("public URL {url}"))
    } else {
        bad(format!("public URL {url} is not https: mail clients warn about such links, and one-click unsubscribe needs https"))
    }
}

fn without_password(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() => {
            let _ = parsed.set_password(Some("…"));
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}
