//! The choice, loaded: model, catalogue and vectors in memory, and from people to picks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::base::{Base, Params, Side};
use super::blend::Blend;
use super::facts::{self, Fact};
use super::history::{Dataset, Interaction, Kind};
use super::index::VectorIndex;
use super::ranker::{FEATURES, Ranker, TextIndex as _, Why};
use super::rules::{self, ChoiceRules};
use super::{Pick, artifact, embed, store};
use crate::catalog;
use crate::platform::ids::{ModelId, PersonId, ProductId};
use crate::platform::{Platform, Timestamp};
use crate::touches;

/// Most items of a campaign's filter that are scored for everybody beside their own candidates.
const ALSO: usize = 300;

/// What of the catalogue the choice needs, by item.
struct Item {
    title: String,
    sku: String,
    category_path: String,
    margin: f32,
}

/// A choice ready to be asked. Cheap to share; [`Chooser::load`] keeps the newest one in memory.
pub struct Chooser {
    /// `None` before the first training: then popularity and item cosine of the facts so far decide.
    pub model_id: Option<ModelId>,
    ranker: Ranker,
    side: Arc<Side>,
    index: VectorIndex,
    items: Vec<i64>,
    item_at: HashMap<i64, u32>,
    catalogue: Vec<Option<Item>>,
    categories: Vec<String>,
}

/// Catalogue and vectors, aligned with a list of product ids.
pub(super) struct Shop {
    pub side: Arc<Side>,
    pub index: VectorIndex,
    catalogue: Vec<Option<Item>>,
    categories: Vec<String>,
}

impl Shop {
    /// Reads the catalogue; `items` ascending. Blocks on nothing but the database, apart from building the index.
    pub async fn load(platform: &Platform, items: &[i64], products: &[catalog::Product]) -> anyhow::Result<Self> {
        let encoder = embed::encoder_id(platform).await?;
        let vectors = match &encoder {
            Some(id) => store::vectors(&platform.db, id).await?,
            None => HashMap::new(),
        };
        let dim = vectors.values().map(Vec::len).max().unwrap_or(0);
        let mut side = Side { category: vec![Side::NONE; items.len()], vectors: vec![0.0; items.len() * dim], dim };
        let mut catalogue: Vec<Option<Item>> = std::iter::repeat_with(|| None).take(items.len()).collect();
        let mut categories: Vec<String> = Vec::new();
        let mut category_at: HashMap<String, u32> = HashMap::new();
        for product in products {
            let Ok(at) = items.binary_search(&product.id.0) else { continue };
            if !product.category_path.is_empty() {
                let next = categories.len() as u32;
                side.category[at] = *category_at.entry(product.category_path.clone()).or_insert_with(|| {
                    categories.push(product.category_path.clone());
                    next
                });
            }
            if let Some(vector) = vectors.get(&product.id).filter(|v| v.len() == dim && v.iter().all(|x| x.is_finite())) {
                side.vectors[at * dim..][..dim].copy_from_slice(vector);
            }
            let margin = product.attributes.get("margin").and_then(serde_json::Value::as_f64).unwrap_or(0.0) as f32;
            catalogue[at] = Some(Item {
                title: product.title.clone(),
                sku: product.sku.clone(),
                category_path: product.category_path.clone(),
                margin: if margin.is_finite() { margin.clamp(-1.0, 1.0) } else { 0.0 },
            });
        }
        let side = Arc::new(side);
        let shared = side.clone();
        let index = tokio::task::spawn_blocking(move || VectorIndex::build(&shared)).await?;
        Ok(Self { side, index, catalogue, categories })
    }
}

/// Changes whenever a loaded choice is out of date (stock and prices do not count: they are asked each time).
type Stamp = (Option<ModelId>, (i64, i64), Option<String>, i64);

/// Choices in memory by database, each with what it was made from, newest last; a process serves one shop, tests many.
type Loaded = Vec<(String, Stamp, Arc<Chooser>)>;

static LOADED: LazyLock<Mutex<Loaded>> = LazyLock::new(Mutex::default);
const KEPT: usize = 4;

impl Chooser {
    /// The choice as it is now: from memory where nothing has changed since.
    pub async fn load(platform: &Platform, as_of: Timestamp) -> anyhow::Result<Arc<Self>> {
        let key = platform.config.database.url.clone();
        let encoder = embed::encoder_id(platform).await?;
        let vectors = match &encoder {
            Some(id) => store::vectors_count(&platform.db, id).await?,
            None => 0,
        };
        let stamp: Stamp =
            (store::latest_model_id(&platform.db, super::train::KIND).await?, store::products_stamp(&platform.db).await?, encoder, vectors);
        let known =
            LOADED.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|(k, s, _)| *k == key && *s == stamp).map(|e| e.2.clone());
        // Without a model the facts themselves are read, and they change all the time.
        if let Some(chooser) = known.filter(|c| c.model_id.is_some()) {
            return Ok(chooser);
        }
        let chooser = Arc::new(Self::read(platform, as_of).await?);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(k, _, _)| *k != key);
        loaded.push((key, stamp, chooser.clone()));
        let surplus = loaded.len().saturating_sub(KEPT);
        loaded.drain(..surplus);
        Ok(chooser)
    }

    async fn read(platform: &Platform, as_of: Timestamp) -> anyhow::Result<Self> {
        let products = catalog::all(&platform.db).await?;
        let ids: Vec<i64> = products.iter().map(|p| p.id.0).collect();
        let stored = store::latest_model(&platform.db, super::train::KIND).await?;
        let readable = stored.and_then(|row| match artifact::from_bytes(row.artifact.as_deref().unwrap_or_default()) {
            Ok(parts) => Some((row.id, parts)),
            Err(error) => {
                tracing::warn!(model = %row.id, %error, "falling back to what is popular");
                None
            }
        });
        if let Some((model_id, (mut base, any, new, mut items))) = readable {
            artifact::grow(&mut base, &mut items, &ids);
            let shop = Shop::load(platform, &items, &products).await?;
            let ranker = Ranker::assemble(base, any, new, &shop.side);
            return Ok(Self::assemble(Some(model_id), ranker, shop, items));
        }
        let facts = facts::all(&platform.db, as_of).await?;
        let (base, items) = tokio::task::spawn_blocking(move || {
            let data = Dataset::build(&facts, &ids);
            let mut params = Params::default();
            params.als.epochs = 0;
            (Base::train(&data, as_of.micros(), &params, |_| {}), data.items)
        })
        .await?;
        let shop = Shop::load(platform, &items, &products).await?;
        let prior = super::ranker::prior();
        Ok(Self::assemble(None, Ranker::assemble(base, prior.clone(), prior, &shop.side), shop, items))
    }

    fn assemble(model_id: Option<ModelId>, ranker: Ranker, shop: Shop, items: Vec<i64>) -> Self {
        let item_at = items.iter().enumerate().map(|(i, id)| (*id, i as u32)).collect();
        let Shop { side, index, catalogue, categories } = shop;
        Self { model_id, ranker, side, index, items, item_at, catalogue, categories }
    }

    /// Chooses for these people. Nobody is left out while anything may be shown: who has no history gets what is popular.
    pub async fn choose(
        self: &Arc<Self>,
        platform: &Platform,
        rules: &ChoiceRules,
        people: &[PersonId],
        as_of: Timestamp,
    ) -> anyhow::Result<HashMap<PersonId, Vec<Pick>>> {
        let facts = facts::of(&platform.db, people, as_of).await?;
        let since = as_of.plus_days(-rules.not_shown_days.max(0));
        let shown = if rules.not_shown_days > 0 { touches::recent_products(&platform.db, people, since).await? } else { HashMap::new() };
        let unsellable = store::unsellable(&platform.db).await?;
        let (chooser, rules, people) = (self.clone(), rules.clone(), people.to_vec());
        Ok(tokio::task::spawn_blocking(move || chooser.pick_all(&rules, &people, &facts, &shown, &unsellable, as_of)).await?)
    }

    fn pick_all(
        &self,
        rules: &ChoiceRules,
        people: &[PersonId],
        facts: &[Fact],
        shown: &HashMap<PersonId, HashSet<ProductId>>,
        unsellable: &HashSet<ProductId>,
        as_of: Timestamp,
    ) -> HashMap<PersonId, Vec<Pick>> {
        use rayon::prelude::*;
        let mut histories: HashMap<i64, Vec<Interaction>> = HashMap::new();
        for (person, product, kind, at_us) in facts {
            if let Some(item) = self.item_at.get(product) {
                histories.entry(*person).or_default().push(Interaction { item: *item, kind: *kind, at_us: *at_us });
            }
        }
        histories.values_mut().for_each(|row| row.sort_by_key(|i| (i.at_us, i.item, i.kind)));
        let allowed = self.allowed(rules, unsellable);
        let also = self.also(rules, &allowed);
        let one = |person: &PersonId| {
            let history = histories.get(&person.0).map_or(&[] as &[Interaction], Vec::as_slice);
            let shown = shown.get(person).into_iter().flatten().filter_map(|p| self.item_at.get(&p.0).copied()).collect();
            (*person, self.pick_one(rules, history, shown, &allowed, &also, as_of))
        };
        people.par_iter().map(one).collect()
    }

    /// Items that may be shown at all under these rules.
    fn allowed(&self, rules: &ChoiceRules, unsellable: &HashSet<ProductId>) -> Vec<bool> {
        let wanted: HashSet<&str> = rules.skus.iter().map(String::as_str).collect();
        let refused: HashSet<&str> = rules.exclude_skus.iter().map(String::as_str).collect();
        let may = |(item, id): (&Option<Item>, &i64)| {
            item.as_ref().is_some_and(|item| {
                !unsellable.contains(&ProductId(*id))
                    && (wanted.is_empty() || wanted.contains(item.sku.as_str()))
                    && !refused.contains(item.sku.as_str())
                    && rules::in_categories(&item.category_path, &rules.categories)
            })
        };
        self.catalogue.iter().zip(&self.items).map(may).collect()
    }

    /// The most popular of what is allowed: so that a narrow filter, or a popular list that is sold out, still has something for everybody.
    fn also(&self, rules: &ChoiceRules, allowed: &[bool]) -> Vec<u32> {
        let narrow = !rules.categories.is_empty() || !rules.skus.is_empty();
        let n = if narrow { ALSO } else { (rules.count * 3).max(60) };
        self.ranker.base.most_popular(allowed.len()).into_iter().filter(|i| allowed[*i as usize]).take(n).collect()
    }

    fn pick_one(
        &self,
        rules: &ChoiceRules,
        history: &[Interaction],
        shown: HashSet<u32>,
        allowed: &[bool],
        also: &[u32],
        as_of: Timestamp,
    ) -> Vec<Pick> {
        let person = self.ranker.person(history, &self.side, as_of.micros());
        let ranking = self.ranker.rank(&person, &self.side, Some(&self.index), false, also);
        let bought = history.iter().filter(|i| i.kind == Kind::Purchase).map(|i| (i.item, i.at_us)).collect();
        let facts = rules::Facts {
            side: &self.side,
            allowed,
            bought,
            shown,
            margin: &|item| self.catalogue.get(item as usize).and_then(Option::as_ref).map_or(0.0, |i| i.margin),
            repeat_rate: &|item| self.ranker.base.repeat.of(item),
            as_of_us: as_of.micros(),
        };
        let chosen = rules::apply(rules, &ranking, &facts);
        chosen
            .iter()
            .enumerate()
            .map(|(rank, s)| Pick {
                product_id: ProductId(self.items[s.item as usize]),
                score: f64::from(s.score),
                reason: self.words(self.ranker.why(&person, s.item, &self.side)),
                rank: rank as i64 + 1,
            })
            .collect()
    }

    fn words(&self, why: Why) -> String {
        let title = |item: u32| {
            let title = self.catalogue.get(item as usize).and_then(Option::as_ref).map_or("something like it", |i| i.title.as_str());
            title.chars().take(80).collect::<String>()
        };
        match why {
            Why::Again => "Bought before, and often bought again".to_owned(),
            Why::BecauseBought(item) => format!("Because you bought {}", title(item)),
            Why::BecauseViewed(item) => format!("Because you looked at {}", title(item)),
            Why::PopularIn(category) => {
                let path = self.categories.get(category as usize).map_or("", String::as_str);
                format!("Popular in {}", path.rsplit(" > ").next().unwrap_or(path))
            }
            Why::Popular => "Popular now".to_owned(),
        }
    }

    /// The products most like one by text and picture, best first. Empty where it has no vector.
    pub fn similar(&self, product: ProductId, n: usize) -> Vec<super::Similar> {
        let Some(item) = self.item_at.get(&product.0).copied() else { return Vec::new() };
        let own = self.side.vector(item);
        if own.iter().all(|v| *v == 0.0) {
            return Vec::new();
        }
        let cosine = |other: u32| f64::from(super::als::dot(own, self.side.vector(other)));
        let found = self.index.nearest(own, n + 1).into_iter().filter(|other| *other != item);
        found.take(n).map(|other| super::Similar { product_id: ProductId(self.items[other as usize]), cosine: cosine(other) }).collect()
    }

    /// Weights of the blend by feature, for the curious.
    pub fn blend(&self) -> Vec<(&'static str, f32)> {
        let blend: &Blend = &self.ranker.any;
        FEATURES.into_iter().zip(blend.weights.iter().copied()).collect()
    }
}
