//! What an exchange asks of whoever bids, and what a line item has declared about itself: deals, categories, advertiser, attributes. Pure.
//!
//! Where it cannot be told whether a refusal is meant for us, nothing is bid. Lists are made ready once per request: one may hold thousands.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fault;
use crate::platform::Fault;

/// Of each list.
const MAX_ENTRIES: usize = 20;
/// OpenRTB 2.6: `cattax` 1 is the IAB's Content Category Taxonomy 1.0, and what is meant where none is named.
pub const TAXONOMY: i64 = 1;
/// The first categories of that taxonomy.
const TIERS: u32 = 26;
/// Creative attributes of the specification's list (AdCOM 1.0); from 500 on they are an exchange's own.
const ATTRIBUTES: std::ops::RangeInclusive<i64> = 1..=23;
const OWN_ATTRIBUTES: std::ops::RangeInclusive<i64> = 500..=9_999;
/// What every banner is: a static picture.
const STATIC: i64 = 21;

/// What a line item tells exchanges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Declared {
    /// Id of a private deal. The line item bids where an exchange offers this deal, and shows nowhere else.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(example = "deal-7")]
    pub deal: String,
    /// IAB content categories (taxonomy 1.0: `IAB22`, `IAB18-5`). Without any nothing is bid where an exchange refuses or lists categories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["IAB22-2"]))]
    pub categories: Vec<String>,
    /// The advertiser's host; empty: the shop's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Creative attributes that its banners have (AdCOM: 9 is provocative imagery). Each has 21, a static picture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<i64>,
}

/// Which field, and what is wrong with it.
pub type DeclaredError = (&'static str, Fault);

/// `IAB7-39` → (7, Some(39)).
fn category(text: &str) -> Option<(u32, Option<u32>)> {
    let rest = text.strip_prefix("IAB")?;
    let number = |t: &str| t.parse::<u32>().ok().filter(|n| *n > 0 && !t.starts_with(['0', '+']));
    match rest.split_once('-') {
        None => Some((number(rest)?, None)),
        Some((tier, below)) => Some((number(tier)?, Some(number(below)?))),
    }
}

/// A host's name, as `is_host` of a placement's site takes it.
fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(|part| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

impl Declared {
    /// Trims and folds; refuses what means nothing.
    pub fn checked(mut self) -> Result<Self, DeclaredError> {
        self.deal = self.deal.trim().to_owned();
        if self.deal.len() > 120 || self.deal.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(("deal", fault!("item.deal", "A deal's id has at most 120 characters and no spaces.")));
        }
        self.categories = self.categories.iter().map(|c| c.trim().to_ascii_uppercase()).filter(|c| !c.is_empty()).collect();
        self.categories.sort_unstable();
        self.categories.dedup();
        if let Some(bad) = self.categories.iter().find(|c| category(c).is_none_or(|(tier, _)| tier > TIERS)) {
            let bad: String = bad.chars().take(40).collect();
            return Err((
                "categories",
                fault!("item.category", "“{bad}” is no IAB category: write IAB1 to IAB26, or IAB18-5 for one below.", bad),
            ));
        }
        self.domain = self.domain.trim().to_ascii_lowercase();
        if !self.domain.is_empty() && !is_host(&self.domain) {
            return Err((
                "domain",
                fault!("item.domain", "An advertiser's domain is a host, such as shop.example.com, without https:// and path."),
            ));
        }
        self.attributes.sort_unstable();
        self.attributes.dedup();
        if let Some(bad) = self.attributes.iter().find(|a| !ATTRIBUTES.contains(a) && !OWN_ATTRIBUTES.contains(a)) {
            return Err((
                "attributes",
                fault!("item.attribute", "{bad} is no creative attribute: they go from 1 to 23, and from 500 on.", bad),
            ));
        }
        if self.categories.len() > MAX_ENTRIES {
            return Err(("categories", fault!("item.categories", "At most {most} categories.", most = MAX_ENTRIES)));
        }
        Ok(self)
    }
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A list of domains, ready to be asked. A request may name thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains(HashSet<String>);

impl Domains {
    pub fn of(list: &[String]) -> Self {
        let fold = |d: &String| d.trim().trim_start_matches("www.").to_ascii_lowercase();
        Self(list.iter().map(fold).filter(|d| !d.is_empty()).collect())
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Whether this domain is in it, or one that it lies under.
    pub fn name(&self, domain: &str) -> bool {
        let mut rest = Some(domain);
        while let Some(part) = rest {
            if self.0.contains(part) {
                return true;
            }
            rest = part.split_once('.').map(|(_, up)| up);
        }
        false
    }
}

/// A list of categories, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Categories {
    /// Somebody named something, if only what is not of this taxonomy.
    any: bool,
    /// Bits of first categories that are meant with all below them.
    whole: u32,
    /// Bits of first categories of which something below is meant.
    partly: u32,
    below: HashSet<(u32, u32)>,
}

impl Categories {
    pub fn of(list: &[String]) -> Self {
        let mut all = Self { any: !list.is_empty(), ..Self::default() };
        for (tier, below) in list.iter().filter_map(|c| category(c.trim())).filter(|(tier, _)| *tier <= TIERS) {
            match below {
                None => all.whole |= 1 << tier,
                Some(below) => {
                    all.partly |= 1 << tier;
                    all.below.insert((tier, below));
                }
            }
        }
        all
    }
    /// Whether a category is meant.
    fn has(&self, (tier, below): (u32, Option<u32>)) -> bool {
        self.whole >> tier & 1 == 1 || below.is_some_and(|b| self.below.contains(&(tier, b)))
    }
    /// Whether a category, or something below it, is meant.
    fn touches(&self, category: (u32, Option<u32>)) -> bool {
        self.has(category) || (category.1.is_none() && self.partly >> category.0 & 1 == 1)
    }
}

/// A deal that an impression is offered under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deal<'a> {
    pub id: &'a str,
    /// Millionths of a minor unit per impression.
    pub floor_micro: i64,
    /// Advertisers that may bid under it; empty: any.
    pub advertisers: Domains,
}

/// What a request refuses.
#[derive(Clone, Debug)]
pub struct Refused {
    pub categories: Categories,
    /// The only categories that are taken; empty: any.
    pub only: Categories,
    /// In which taxonomy they are.
    pub taxonomy: i64,
    pub domains: Domains,
    /// Whose domain a line item has that names none.
    pub shop: String,
}

/// One auction for one impression.
#[derive(Clone, Copy, Debug)]
pub struct Auction<'a> {
    /// `Some`: only line items of these deals bid, each above its deal's floor. `None`: only those without a deal.
    pub deals: Option<&'a [Deal<'a>]>,
    pub floor_micro: i64,
    pub refused: &'a Refused,
    /// Creative attributes that are refused, in order.
    pub attributes: &'a [i64],
}

impl Refused {
    fn takes(&self, declared: &Declared) -> bool {
        if self.domains.name(self.domain(declared)) {
            return false;
        }
        if !self.categories.any && !self.only.any {
            return true;
        }
        if declared.categories.is_empty() || self.taxonomy != TAXONOMY {
            return false;
        }
        // Whoever declares IAB7 may be about IAB7-39: refused with it.
        declared.categories.iter().filter_map(|c| category(c)).all(|c| !self.categories.touches(c) && (!self.only.any || self.only.has(c)))
    }
    /// The domain of a line item's advertiser.
    fn domain<'d>(&'d self, declared: &'d Declared) -> &'d str {
        if declared.domain.is_empty() { &self.shop } else { &declared.domain }
    }
}

impl Auction<'_> {
    /// The least that a line item must pay to bid here, in millionths of a minor unit per impression; `None` where it may not bid.
    pub fn floor_of(&self, declared: &Declared) -> Option<i64> {
        let refused = |a: &i64| self.attributes.binary_search(a).is_ok();
        if refused(&STATIC) || declared.attributes.iter().any(refused) || !self.refused.takes(declared) {
            return None;
        }
        match self.deals {
            None => declared.deal.is_empty().then_some(self.floor_micro),
            Some(deals) => {
                let deal = deals.iter().find(|d| d.id == declared.deal && !d.id.is_empty())?;
                let invited = deal.advertisers.is_empty() || deal.advertisers.name(self.refused.domain(declared));
                invited.then_some(deal.floor_micro)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    fn refused(categories: &[&str], domains: &[&str]) -> Refused {
        Refused {
            categories: Categories::of(&list(categories)),
            only: Categories::default(),
            taxonomy: TAXONOMY,
            domains: Domains::of(&list(domains)),
            shop: "www.example.com".into(),
        }
    }

    fn open(refused: &Refused) -> Auction<'_> {
        Auction { deals: None, floor_micro: 7, refused, attributes: &[9] }
    }

    fn of(categories: &[&str]) -> Declared {
        Declared { categories: list(categories), ..Declared::default() }.checked().expect("fine")
    }

    #[test]
    fn who_refuses_the_advertiser_gets_no_bid_of_it() {
        let asks = |domain: &str, declared: &Declared| open(&refused(&[], &[domain])).floor_of(declared).is_some();
        let own = Declared::default();
        let other = Declared { domain: "Brand.Example.org".into(), ..Declared::default() }.checked().expect("fine");
        assert!(!asks("example.com", &own) && !asks(" EXAMPLE.com", &own) && !asks("www.example.com", &own));
        assert!(asks("ample.com", &own) && asks("", &own) && asks("shop.www.example.com", &own));
        assert!(asks("example.com", &other) && !asks("example.org", &other) && !asks("org", &other));
    }

    #[test]
    fn categories_are_refused_from_above_and_below_and_where_nobody_can_tell() {
        let asks = |categories: &[&str], declared: &[&str]| open(&refused(categories, &[])).floor_of(&of(declared)).is_some();
        assert!(asks(&[], &[]) && asks(&["IAB25", "IAB7-39", "BSW1", "IAB40"], &["IAB22-2"]));
        assert!(!asks(&["IAB25"], &[]), "nothing declared");
        assert!(!asks(&["IAB22"], &["IAB22-2"]) && !asks(&[" IAB22-2"], &["IAB22-2"]) && asks(&["IAB22-1"], &["IAB22-2"]));
        assert!(!asks(&["IAB7-39"], &["IAB7"]), "it may be meant");
        assert!(!asks(&["IAB2"], &["IAB22", "IAB2-1"]) && asks(&["IAB2"], &["IAB22"]), "a number, not a beginning");
        let mut listed = refused(&[], &[]);
        listed.only = Categories::of(&list(&["IAB22", "IAB18-1"]));
        assert!(open(&listed).floor_of(&of(&["IAB22-2"])).is_some() && open(&listed).floor_of(&of(&["IAB18-2"])).is_none());
        assert!(open(&listed).floor_of(&of(&["IAB18"])).is_none() && open(&listed).floor_of(&of(&[])).is_none());
        listed.taxonomy = 7;
        assert!(open(&listed).floor_of(&of(&["IAB22-2"])).is_none(), "another taxonomy cannot be compared");
    }

    #[test]
    fn attributes_are_refused_by_number() {
        let (refused, declared) = (refused(&[], &[]), |attributes: Vec<i64>| Declared { attributes, ..Declared::default() });
        assert!(open(&refused).floor_of(&declared(vec![9])).is_none() && open(&refused).floor_of(&declared(vec![8])).is_some());
        assert!(Auction { attributes: &[21], ..open(&refused) }.floor_of(&Declared::default()).is_none(), "no static pictures");
    }

    #[test]
    fn deals_have_their_own_floor_and_their_own_line_items() {
        let only = Domains::of(&list(&["brand.example.org"]));
        let deals =
            [Deal { id: "d1", floor_micro: 100, advertisers: Domains::default() }, Deal { id: "d2", floor_micro: 200, advertisers: only }];
        let refused = refused(&[], &[]);
        let in_deals = Auction { deals: Some(&deals), ..open(&refused) };
        let of = |deal: &str, domain: &str| Declared { deal: deal.into(), domain: domain.into(), ..Declared::default() };
        assert_eq!(in_deals.floor_of(&of("d1", "")), Some(100));
        assert_eq!((in_deals.floor_of(&of("", "")), in_deals.floor_of(&of("d3", ""))), (None, None));
        assert_eq!((in_deals.floor_of(&of("d2", "")), in_deals.floor_of(&of("d2", "brand.example.org"))), (None, Some(200)));
        assert_eq!((open(&refused).floor_of(&of("", "")), open(&refused).floor_of(&of("d1", ""))), (Some(7), None));
    }

    #[test]
    fn what_means_nothing_is_refused_by_field() {
        let with = |json: serde_json::Value| serde_json::from_value::<Declared>(json).expect("shape").checked().map_err(|e| e.0);
        assert_eq!(
            with(serde_json::json!({ "categories": [" iab22-2", "IAB22-2", ""] })).map(|d| d.categories),
            Ok(vec!["IAB22-2".to_owned()])
        );
        for (field, json) in [
            ("deal", serde_json::json!({ "deal": "a b" })),
            ("categories", serde_json::json!({ "categories": ["IAB27"] })),
            ("categories", serde_json::json!({ "categories": ["IAB0"] })),
            ("categories", serde_json::json!({ "categories": ["IAB1-"] })),
            ("categories", serde_json::json!({ "categories": ["Shopping"] })),
            ("domain", serde_json::json!({ "domain": "https://example.com" })),
            ("domain", serde_json::json!({ "domain": "localhost" })),
            ("attributes", serde_json::json!({ "attributes": [0] })),
            ("attributes", serde_json::json!({ "attributes": [24] })),
        ] {
            assert_eq!(with(json.clone()), Err(field), "{json}");
        }
    }
}
