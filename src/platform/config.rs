//! Configuration: one struct per section; defaults here, then `marquee.toml`, then `MARQUEE_*` variables, then flags.

use std::path::PathBuf;

use chrono_tz::Tz;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::money::Currency;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct Config {
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub shop: ShopConfig,
    pub mail: MailConfig,
    pub generator: GeneratorConfig,
    pub models: ModelsConfig,
    pub webhooks: WebhooksConfig,
    pub work: WorkConfig,
    pub log: LogConfig,
    pub serving: ServingConfig,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address to listen on.
    pub bind: String,
    /// Where the world reaches this server: the base of every link in a mail or banner. No slash at the end.
    pub public_url: String,
    /// HTTP worker threads; 0 = one per core.
    pub threads: usize,
    /// Largest request body, in bytes, where a route does not set a smaller one.
    pub max_body_bytes: usize,
    /// Seconds that a graceful stop may take.
    pub shutdown_s: u64,
    /// A proxy of ours stands in front and writes `X-Forwarded-For`: its last entry is the visitor.
    pub behind_proxy: bool,
    /// The program that renders previews of the shop's own templates, in a process that can be killed; empty: this very one.
    pub preview_program: String,
    /// `/metrics` for everybody; else only for this machine and for keys with the scope `reports`.
    pub open_metrics: bool,
}
impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind: "127.0.0.1:8321".into(),
            public_url: "http://127.0.0.1:8321".into(),
            threads: 0,
            max_body_bytes: 1 << 20,
            shutdown_s: 20,
            behind_proxy: false,
            preview_program: String::new(),
            open_metrics: false,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `sqlite://file.db` or `postgres://user:password@host/name`.
    pub url: String,
    pub max_connections: u32,
    pub acquire_timeout_s: u64,
    /// SQLite: every commit reaches the disk before it is acknowledged. Only a database that may be thrown away should say false.
    pub durable: bool,
}
impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: "sqlite://marquee.db".into(), max_connections: 8, acquire_timeout_s: 30, durable: true }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShopConfig {
    pub name: String,
    /// Home page of the shop; where a click goes when a product has no URL of its own.
    pub url: String,
    pub currency: Currency,
    pub time_zone: Tz,
    /// Default language of copy: `en`, `zh`.
    pub locale: String,
    /// Postal address for the foot of every mail (required by law in many countries).
    pub postal_address: String,
}
impl Default for ShopConfig {
    fn default() -> Self {
        Self {
            name: "Marquee shop".into(),
            url: "http://127.0.0.1:8321/".into(),
            currency: Currency::EUR,
            time_zone: Tz::UTC,
            locale: "en".into(),
            postal_address: String::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailConfig {
    /// SMTP servers: `smtp://host:port` (plain), `smtp+starttls://user:password@host:587`, `smtps://user:password@host:465`.
    pub servers: Vec<String>,
    pub from_name: String,
    pub from_address: String,
    pub reply_to: Option<String>,
    /// Open SMTP connections in all, and so the most touches a crash can leave uncertain. At most 32.
    pub connections: usize,
    /// Mails per second and server; 0 = no limit.
    pub rate_per_server: f64,
    /// Mails per second and recipient domain; 0 = no limit.
    pub rate_per_domain: f64,
    pub timeout_s: u64,
    pub dkim: Vec<DkimConfig>,
    /// Accept self-signed certificates (for tests against a local server only).
    pub accept_invalid_certificates: bool,
}
impl Default for MailConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            from_name: String::new(),
            from_address: String::new(),
            reply_to: None,
            connections: 8,
            rate_per_server: 0.0,
            rate_per_domain: 0.0,
            timeout_s: 30,
            dkim: Vec::new(),
            accept_invalid_certificates: false,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DkimConfig {
    pub selector: String,
    pub domain: String,
    /// PEM file: PKCS#8 for ed25519, PKCS#1 or PKCS#8 for RSA.
    pub key_file: PathBuf,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeneratorBackend {
    /// The hand-written phrase grammar: no download, no network.
    #[default]
    Grammar,
    /// An OpenAI-compatible endpoint.
    OpenAi,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratorConfig {
    pub backend: GeneratorBackend,
    /// Base of the endpoint, for instance `http://localhost:8080/v1`.
    pub url: String,
    pub model: String,
    #[serde(skip_serializing)]
    pub api_key: Option<SecretString>,
    pub timeout_s: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhooksConfig {
    /// Also tell servers in private networks, on any port, and over http: for a shop whose servers stand beside this one.
    pub allow_private: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// Folder that holds model weights.
    pub dir: PathBuf,
    /// `auto` (MiniLM where it was fetched, else fitted on the catalogue), `minilm` or `catalogue`.
    pub encoder: String,
}
impl Default for ModelsConfig {
    fn default() -> Self {
        Self { dir: "models".into(), encoder: "auto".into() }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkConfig {
    /// Jobs at once in this process.
    pub concurrency: usize,
    /// Seconds after which the work of a worker that fell silent is taken over.
    pub lease_s: u64,
}
impl Default for WorkConfig {
    fn default() -> Self {
        Self { concurrency: 4, lease_s: 30 }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    pub format: LogFormat,
    /// An `env_logger`-like filter, for instance `info,marquee=debug`.
    pub level: String,
}
impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "warn,marquee=info".into() }
    }
}

/// Ads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServingConfig {
    /// The shop's number in the IAB's Global Vendor List; 0 where it has none (then bids under the GDPR are never personal).
    pub tcf_vendor_id: usize,
}

impl Config {
    /// Reads the file (default `marquee.toml`, where it exists) and the environment over the defaults.
    /// `MARQUEE_DATABASE__URL` sets `database.url`: two underscores step into a section.
    pub fn load(file: Option<&std::path::Path>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        figment = match file {
            Some(path) => figment.merge(Toml::file_exact(path)),
            None => figment.merge(Toml::file("marquee.toml")),
        };
        let env = Env::prefixed("MARQUEE_").ignore(&["log"]).filter(|key| key.as_str().contains("__")).split("__");
        let config: Config = figment.merge(env).extract().map_err(|e| anyhow::anyhow!("configuration: {e}"))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.server.public_url.starts_with("http://") || self.server.public_url.starts_with("https://"),
            "server.public_url must start with http:// or https://"
        );
        anyhow::ensure!((1..=32).contains(&self.mail.connections), "mail.connections must be between 1 and 32");
        anyhow::ensure!((1..=200).contains(&self.database.max_connections), "database.max_connections must be between 1 and 200");
        anyhow::ensure!((1..=64).contains(&self.work.concurrency), "work.concurrency must be between 1 and 64");
        anyhow::ensure!((1..=3600).contains(&self.work.lease_s), "work.lease_s must be between 1 and 3600");
        Ok(())
    }

    /// An absolute URL on this server. `path` starts with a slash.
    pub fn public(&self, path: &str) -> String {
        format!("{}{path}", self.server.public_url.trim_end_matches('/'))
    }
}
