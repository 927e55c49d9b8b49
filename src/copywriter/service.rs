//! Stored copy: writes what is missing, keeps what a person approved or edited, and never sends what did not pass.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::StreamExt as _;
use serde_json::Value;

use super::model::{
    Brief, Copy, CopyChannel, CopyKey, CopyRequest, CopyStatus, Finding, FindingKind, Length, Severity, StoredCopy, has_error,
};
use super::openai::OpenAiError;
use super::writer::{Writer, Written};
use super::{guardrails, store};
use crate::catalog::{self, Product};
use crate::fault;
use crate::platform::Platform;
use crate::platform::config::GeneratorBackend;
use crate::platform::http::ApiError;
use crate::platform::ids::{CopyId, ProductId};

/// Rows per transaction.
const CHUNK: usize = 200;
/// Requests to a remote generator at once.
const REMOTE_AT_ONCE: usize = 6;
const LOCAL_AT_ONCE: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("there is no such copy")]
    NotFound,
    #[error("the text does not pass the guardrails")]
    Refused(Vec<Finding>),
    #[error("a dropped copy has no text to approve: edit it")]
    Dropped,
    #[error(transparent)]
    Generator(#[from] OpenAiError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<CopyError> for ApiError {
    fn from(e: CopyError) -> Self {
        match e {
            CopyError::NotFound => ApiError::not_found("copy"),
            CopyError::Refused(findings) => {
                let first = findings.iter().find(|f| f.severity == Severity::Error);
                let field = first.map_or_else(|| "body".to_owned(), |f| f.field.clone());
                let errors: Vec<String> = findings
                    .iter()
                    .filter(|f| f.severity == Severity::Error)
                    .map(|f| format!("{} “{}”: {}", f.field, f.text, f.message))
                    .collect();
                ApiError::invalid(field, fault!("copy.refused", "{why}", why = errors.join(" ")))
            }
            CopyError::Dropped => ApiError::conflict("dropped", fault!("copy.dropped", "a dropped copy has no text to approve: edit it")),
            CopyError::Generator(e) => ApiError::internal(e),
            CopyError::Database(e) => e.into(),
        }
    }
}

/// What [`ensure`] did. Every request's key is in `ids` or in `dropped`.
#[derive(Debug, Default)]
pub struct Ensured {
    /// Copy that may be sent.
    pub ids: HashMap<CopyKey, CopyId>,
    /// Where there is none, and why: no text passed, a person rejected it, or the product is gone.
    pub dropped: HashMap<CopyKey, Vec<Finding>>,
    /// Written now.
    pub written: usize,
    /// There already.
    pub kept: usize,
    /// Kept although the product's facts changed, because a person approved or edited it.
    pub stale: usize,
}

/// The facts of a product, and how they should be told.
pub fn brief_for(product: &Product, request: &CopyRequest, shop: &str) -> Brief {
    let attributes = product
        .attributes
        .iter()
        .filter_map(|(key, value)| match value {
            Value::String(text) if text.len() <= 200 => Some((key.clone(), text.clone())),
            Value::Number(number) => Some((key.clone(), number.to_string())),
            _ => None,
        })
        .take(20)
        .collect::<BTreeMap<_, _>>();
    Brief {
        title: product.title.clone(),
        description: product.description.chars().take(2_000).collect(),
        brand: product.brand.clone(),
        category: product.category_path.rsplit(" > ").next().map(str::trim).filter(|c| !c.is_empty()).map(ToOwned::to_owned),
        price: product.price,
        sale_price: product.sale_price,
        stock: product.stock,
        attributes,
        shop: shop.to_owned(),
        tone: request.tone,
        occasion: request.occasion,
        channel: request.channel,
        locale: request.locale,
        length: if request.channel == CopyChannel::Email { Length::Long } else { Length::Short },
    }
}

/// Writes what is missing or whose facts changed, with the configured backend. Idempotent; may take minutes with a remote backend.
pub async fn ensure(platform: &Platform, requests: &[CopyRequest]) -> Result<Ensured, CopyError> {
    let writer = Writer::from_config(&platform.config.generator)?;
    ensure_with(platform, &writer, requests).await
}

/// As [`ensure`], with a writer of the caller's own.
pub async fn ensure_with(platform: &Platform, writer: &Writer, requests: &[CopyRequest]) -> Result<Ensured, CopyError> {
    let mut seen = HashSet::new();
    let requests: Vec<&CopyRequest> = requests.iter().filter(|r| seen.insert(r.key())).collect();
    let stored = stored_for(platform, &requests).await?;
    let product_ids: Vec<ProductId> = requests.iter().map(|r| r.product_id).collect::<HashSet<_>>().into_iter().collect();
    let products = catalog::get_many(&platform.db, &product_ids).await?;

    let mut done = Ensured::default();
    let mut stale_ids = Vec::new();
    // Owned, so that the future is Send for every lifetime: jobs call this.
    let mut todo: Vec<(CopyRequest, Brief, String)> = Vec::new();
    for request in requests {
        let key = request.key();
        let Some(product) = products.get(&request.product_id) else {
            done.dropped.insert(key, vec![gone(request)]);
            continue;
        };
        let brief = brief_for(product, request, &platform.config.shop.name);
        let facts_hash = brief.facts_hash();
        match stored.get(&key) {
            Some(copy) if copy.facts_hash == facts_hash => done.keep(key, copy),
            Some(copy) if matches!(copy.status, CopyStatus::Approved | CopyStatus::Edited | CopyStatus::Rejected) => {
                // A text that has become untrue is not sent, whoever approved it.
                let findings = guardrails::check(&copy.copy, &brief);
                if copy.status.usable() && has_error(&findings) {
                    done.dropped.insert(key, findings);
                } else {
                    done.keep(key, copy);
                }
                if !copy.stale && copy.status.usable() {
                    stale_ids.push(copy.id);
                }
                done.stale += usize::from(copy.status.usable());
            }
            _ => todo.push((request.clone(), brief, facts_hash)),
        }
    }
    for some in stale_ids.chunks(CHUNK) {
        let mut tx = platform.db.begin().await?;
        store::mark_stale(&mut tx, some, platform.now()).await?;
        tx.commit().await?;
    }
    write_missing(platform, writer, todo, &mut done).await?;
    Ok(done)
}

/// Whether there is copy for each request, or can be: what [`ensure`] would come to, with nothing written and no remote backend asked. Where
/// one is configured, what it has not been asked for yet counts as possible.
pub async fn foresee(platform: &Platform, requests: &[CopyRequest]) -> Result<HashMap<CopyKey, bool>, CopyError> {
    let asked: Vec<&CopyRequest> = requests.iter().collect();
    let stored = stored_for(platform, &asked).await?;
    let products: Vec<ProductId> = requests.iter().map(|r| r.product_id).collect::<HashSet<_>>().into_iter().collect();
    let products = catalog::get_many(&platform.db, &products).await?;
    let remote = platform.config.generator.backend == GeneratorBackend::OpenAi;
    let mut possible = HashMap::with_capacity(requests.len());
    for request in requests {
        let key = request.key();
        let Some(product) = products.get(&request.product_id) else {
            possible.insert(key, false);
            continue;
        };
        let brief = brief_for(product, request, &platform.config.shop.name);
        let there = match stored.get(&key) {
            Some(copy) if copy.facts_hash == brief.facts_hash() => copy.status.usable(),
            Some(copy) if copy.status == CopyStatus::Rejected => false,
            Some(copy) if matches!(copy.status, CopyStatus::Approved | CopyStatus::Edited) => {
                !has_error(&guardrails::check(&copy.copy, &brief))
            }
            _ if remote => true,
            _ => {
                tokio::task::yield_now().await;
                super::grammar::write(&brief, request.seed()).is_ok()
            }
        };
        possible.insert(key, there);
    }
    Ok(possible)
}

impl Ensured {
    fn keep(&mut self, key: CopyKey, copy: &StoredCopy) {
        self.kept += 1;
        if copy.status.usable() {
            self.ids.insert(key, copy.id);
        } else {
            let findings = if copy.status == CopyStatus::Rejected { vec![rejected()] } else { copy.findings.clone() };
            self.dropped.insert(key, findings);
        }
    }
}

async fn stored_for(platform: &Platform, requests: &[&CopyRequest]) -> sqlx::Result<HashMap<CopyKey, StoredCopy>> {
    let mut groups: HashMap<_, HashSet<ProductId>> = HashMap::new();
    for request in requests {
        groups.entry((request.campaign_id, request.variant_id)).or_default().insert(request.product_id);
    }
    let mut stored = HashMap::new();
    for ((campaign, variant), products) in groups {
        let products: Vec<ProductId> = products.into_iter().collect();
        for copy in store::of_variant(&platform.db, campaign, variant, &products).await? {
            stored.insert(key_of(&copy), copy);
        }
    }
    Ok(stored)
}

fn key_of(copy: &StoredCopy) -> CopyKey {
    CopyKey {
        campaign_id: copy.campaign_id,
        variant_id: copy.variant_id,
        product_id: copy.product_id,
        locale: copy.locale,
        channel: copy.channel,
    }
}

/// Generates outside any transaction, a few at a time, and stores chunk by chunk.
async fn write_missing(
    platform: &Platform,
    writer: &Writer,
    todo: Vec<(CopyRequest, Brief, String)>,
    done: &mut Ensured,
) -> Result<(), CopyError> {
    let at_once = if platform.config.generator.backend == GeneratorBackend::OpenAi { REMOTE_AT_ONCE } else { LOCAL_AT_ONCE };
    let mut texts = futures::stream::iter(todo)
        .map(|(request, brief, facts_hash)| async move {
            let written = writer.write(&brief, request.seed()).await;
            tokio::task::yield_now().await;
            (request, written, facts_hash)
        })
        .buffered(at_once)
        .chunks(CHUNK);
    while let Some(chunk) = texts.next().await {
        let mut rows = Vec::with_capacity(chunk.len());
        for (request, written, facts_hash) in chunk {
            rows.push(new_row(&request, written, facts_hash));
        }
        let mut tx = platform.db.begin().await?;
        store::write(&mut tx, &rows, platform.now()).await?;
        tx.commit().await?;
        done.written += rows.iter().filter(|r| r.status == CopyStatus::Written).count();
        // What is stored now counts: another process may have been first, or a person may have edited meanwhile.
        let (campaigns, mut by_variant) = (rows.len(), HashMap::<_, Vec<ProductId>>::with_capacity(4));
        for row in &rows {
            by_variant.entry((row.key.campaign_id, row.key.variant_id)).or_default().push(row.key.product_id);
        }
        let wanted: HashSet<CopyKey> = rows.iter().map(|r| r.key).collect();
        debug_assert!(wanted.len() == campaigns, "keys are unique");
        for ((campaign, variant), products) in by_variant {
            for copy in store::of_variant(&platform.db, campaign, variant, &products).await? {
                let key = key_of(&copy);
                if wanted.contains(&key) {
                    if copy.status.usable() {
                        done.ids.insert(key, copy.id);
                    } else {
                        done.dropped.insert(key, copy.findings);
                    }
                }
            }
        }
    }
    Ok(())
}

fn new_row(request: &CopyRequest, written: Written, facts_hash: String) -> store::NewRow {
    let status = if written.copy.is_some() { CopyStatus::Written } else { CopyStatus::Dropped };
    store::NewRow {
        key: request.key(),
        tone: request.tone.as_str(),
        occasion: request.occasion.as_str(),
        generator: written.generator,
        status,
        copy: written.copy.unwrap_or_default(),
        findings: written.findings,
        facts_hash,
    }
}

fn reason(message: &str, text: String) -> Finding {
    Finding { kind: FindingKind::Empty, severity: Severity::Error, field: "facts".into(), text, message: message.into() }
}
fn gone(request: &CopyRequest) -> Finding {
    reason("There is no such product.", request.product_id.to_string())
}
fn rejected() -> Finding {
    reason("This text was rejected; edit it to use it.", String::new())
}

/// Those of the ids that exist.
pub async fn get_many(db: &crate::platform::Db, ids: &[CopyId]) -> sqlx::Result<HashMap<CopyId, StoredCopy>> {
    Ok(store::get_many(db, ids).await?.into_iter().map(|c| (c.id, c)).collect())
}

/// The newest copies about a product, at most `limit`.
pub async fn of_product(db: &crate::platform::Db, product: ProductId, limit: i64) -> sqlx::Result<Vec<StoredCopy>> {
    store::of_product(db, product, limit).await
}

/// One copy.
///
/// # Errors
/// [`CopyError::NotFound`].
pub async fn get(platform: &Platform, id: CopyId) -> Result<StoredCopy, CopyError> {
    store::get_many(&platform.db, &[id]).await?.pop().ok_or(CopyError::NotFound)
}

/// The brief a stored copy answers to, from the product's facts of now.
pub async fn brief_of(platform: &Platform, copy: &StoredCopy) -> Result<Brief, CopyError> {
    let product = catalog::get(&platform.db, copy.product_id).await?.ok_or(CopyError::NotFound)?;
    let request = CopyRequest {
        campaign_id: copy.campaign_id,
        variant_id: copy.variant_id,
        product_id: copy.product_id,
        locale: copy.locale,
        channel: copy.channel,
        tone: copy.tone,
        occasion: copy.occasion,
    };
    Ok(brief_for(&product, &request, &platform.config.shop.name))
}

/// What the guardrails find in a text that somebody types for a copy; nothing is stored.
pub async fn checked(platform: &Platform, id: CopyId, text: &Copy) -> Result<Vec<Finding>, CopyError> {
    let copy = get(platform, id).await?;
    Ok(guardrails::check(text, &brief_of(platform, &copy).await?))
}

/// A person says yes to the text as it stands. Refused where it has become untrue.
pub async fn approve(platform: &Platform, id: CopyId) -> Result<StoredCopy, CopyError> {
    let copy = get(platform, id).await?;
    if copy.status == CopyStatus::Dropped {
        return Err(CopyError::Dropped);
    }
    let brief = brief_of(platform, &copy).await?;
    let findings = guardrails::check(&copy.copy, &brief);
    if has_error(&findings) {
        return Err(CopyError::Refused(findings));
    }
    set_status(platform, id, CopyStatus::Approved, &brief.facts_hash()).await
}

/// A person says no: the text is not used, and not written again.
pub async fn reject(platform: &Platform, id: CopyId) -> Result<StoredCopy, CopyError> {
    let copy = get(platform, id).await?;
    set_status(platform, id, CopyStatus::Rejected, &copy.facts_hash).await
}

async fn set_status(platform: &Platform, id: CopyId, status: CopyStatus, facts_hash: &str) -> Result<StoredCopy, CopyError> {
    let mut tx = platform.db.begin().await?;
    store::set_status(&mut tx, id, status, false, facts_hash, platform.now()).await?;
    tx.commit().await?;
    get(platform, id).await
}

/// Replaces the text by a person's own, which passes the same guardrails.
pub async fn edit(platform: &Platform, id: CopyId, text: &Copy) -> Result<StoredCopy, CopyError> {
    let copy = get(platform, id).await?;
    let brief = brief_of(platform, &copy).await?;
    let findings = guardrails::check(text, &brief);
    if has_error(&findings) {
        return Err(CopyError::Refused(findings));
    }
    let mut tx = platform.db.begin().await?;
    store::edit(&mut tx, id, text, &findings, &brief.facts_hash(), platform.now()).await?;
    tx.commit().await?;
    get(platform, id).await
}
