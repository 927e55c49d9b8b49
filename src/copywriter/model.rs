//! What copy is made of: the brief (facts and wishes), the copy itself with its two slots, and what the guardrails may find.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::title;
use crate::platform::Money;
use crate::platform::clock::Timestamp;
use crate::platform::ids::{CampaignId, CopyId, ProductId, VariantId};

macro_rules! word_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                $name::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| UnknownWord {
                    word: text.chars().take(60).collect(),
                    known: $name::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("“{word}” is none of: {known}")]
pub struct UnknownWord {
    pub word: String,
    pub known: String,
}

word_enum! {
    /// How the shop speaks.
    Tone { Friendly = "friendly", Plain = "plain", Playful = "playful", Elegant = "elegant", Urgent = "urgent" }
}
word_enum! {
    /// Why the shop writes.
    Occasion {
        NewArrival = "new_arrival",
        BackInStock = "back_in_stock",
        PriceDrop = "price_drop",
        Recommendation = "recommendation",
        WinBack = "win_back",
        Seasonal = "seasonal",
        ThankYou = "thank_you",
        AbandonedCart = "abandoned_cart",
    }
}
word_enum! {
    /// Where the words appear.
    CopyChannel { Email = "email", Banner = "banner" }
}
word_enum! {
    /// Languages the copywriter speaks.
    Locale { En = "en", Zh = "zh" }
}
word_enum! {
    /// How much an e-mail says. Banners are always short.
    Length { Short = "short", Medium = "medium", Long = "long" }
}
word_enum! {
    /// Where a stored copy stands. `dropped` and `rejected` are never sent.
    CopyStatus { Written = "written", Approved = "approved", Edited = "edited", Rejected = "rejected", Dropped = "dropped" }
}

impl CopyStatus {
    /// May be shown to people.
    pub const fn usable(self) -> bool {
        matches!(self, Self::Written | Self::Approved | Self::Edited)
    }
}

impl Locale {
    /// The language of a person's locale (`zh-CN`, `en_GB`): its first part where we speak it, else the shop's own, else English.
    pub fn pick(persons: Option<&str>, shops: &str) -> Self {
        persons.and_then(Self::of_tag).or_else(|| Self::of_tag(shops)).unwrap_or(Self::En)
    }
    fn of_tag(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_', '.']).next()?.trim().to_ascii_lowercase();
        match language.as_str() {
            "en" => Some(Self::En),
            "zh" | "cmn" => Some(Self::Zh),
            _ => None,
        }
    }
}

/// Everything that may be said, and how it should be said. A text may state no number, price or name that is not in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    pub title: String,
    pub description: String,
    pub brand: Option<String>,
    /// The last step of the category path.
    pub category: Option<String>,
    pub price: Money,
    pub sale_price: Option<Money>,
    pub stock: Option<i64>,
    pub attributes: BTreeMap<String, String>,
    pub shop: String,
    pub tone: Tone,
    pub occasion: Occasion,
    pub channel: CopyChannel,
    pub locale: Locale,
    pub length: Length,
}

impl Brief {
    /// What a person pays now.
    pub fn price_now(&self) -> Money {
        self.sale().unwrap_or(self.price)
    }
    /// The sale price, where it is a real reduction in the same currency.
    pub fn sale(&self) -> Option<Money> {
        self.sale_price.filter(|s| s.currency == self.price.currency && s.minor < self.price.minor && s.minor >= 0)
    }
    /// Whole per cent saved, rounded down; `None` where there is no reduction or it is below one per cent.
    pub fn saving_percent(&self) -> Option<i64> {
        let sale = self.sale()?;
        let percent = i128::from(self.price.minor - sale.minor) * 100 / i128::from(self.price.minor);
        i64::try_from(percent).ok().filter(|p| *p > 0)
    }
    /// Identifies everything the words depend on. Changes of price do not change it (the price is a slot), unless the saving is spoken of.
    pub fn facts_hash(&self) -> String {
        let saving = self.sale().map(|s| (s.minor, self.price.minor));
        let facts = serde_json::json!([
            3,
            self.title,
            self.description,
            self.brand,
            self.category,
            self.price.currency,
            saving,
            self.attributes,
            self.shop,
            self.tone,
            self.occasion,
            self.channel,
            self.locale,
            self.length,
            self.stock.map(|n| n > 0),
        ]);
        hex::encode(&Sha256::digest(facts.to_string().as_bytes())[..16])
    }
}

/// Generated text. Two slots are filled per person when it is rendered: `{first_name}` and `{price}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Copy {
    /// E-mail only; empty for banners.
    #[serde(default)]
    pub subject: String,
    /// The line after the subject in the inbox; e-mail only.
    #[serde(default)]
    pub preheader: String,
    pub headline: String,
    pub body: String,
    /// The button.
    pub cta: String,
}

pub const SLOT_FIRST_NAME: &str = "{first_name}";
pub const SLOT_PRICE: &str = "{price}";

impl Copy {
    pub fn fields(&self) -> [(&'static str, &str); 5] {
        [("subject", &self.subject), ("preheader", &self.preheader), ("headline", &self.headline), ("body", &self.body), ("cta", &self.cta)]
    }

    /// The copy for one person. A missing or unusable name leaves a sentence that reads as if none had been meant.
    pub fn fill(&self, first_name: Option<&str>, price: Money, locale: Locale) -> Copy {
        let name = first_name.and_then(title::usable_first_name);
        let price = price.to_string();
        let fill = |text: &str| {
            let named = title::fill_name(text, name.as_deref(), locale);
            if named.contains(SLOT_PRICE) { named.replace(SLOT_PRICE, &price) } else { named }
        };
        Copy {
            subject: title::one_line(&fill(&self.subject)),
            preheader: title::one_line(&fill(&self.preheader)),
            headline: title::one_line(&fill(&self.headline)),
            body: fill(&self.body),
            cta: title::one_line(&fill(&self.cta)),
        }
    }
}

word_enum! {
    /// `error`: the text must not be shown. `warning`: it may, and a marketer should look.
    Severity { Warning = "warning", Error = "error" }
}
word_enum! {
    /// What kind of thing a guardrail found.
    FindingKind {
        Number = "number",
        Price = "price",
        Percent = "percent",
        Name = "name",
        Length = "length",
        Empty = "empty",
        Claim = "claim",
        Scarcity = "scarcity",
        Discount = "discount",
        Spam = "spam",
        Link = "link",
        Markup = "markup",
        Slot = "slot",
        Script = "script",
        Control = "control",
        Format = "format",
    }
}

/// One thing that a guardrail found in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub kind: FindingKind,
    pub severity: Severity,
    /// `subject`, `preheader`, `headline`, `body`, `cta`, or `facts` where the product itself cannot be spoken of.
    pub field: String,
    /// The words meant.
    pub text: String,
    /// In a sentence, for the marketer and for the generator that is asked again.
    pub message: String,
}

pub fn has_error(findings: &[Finding]) -> bool {
    findings.iter().any(|f| f.severity == Severity::Error)
}

/// One text that a campaign needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CopyRequest {
    pub campaign_id: CampaignId,
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub locale: Locale,
    pub channel: CopyChannel,
    pub tone: Tone,
    pub occasion: Occasion,
}

/// What a stored copy is unique by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyKey {
    pub campaign_id: CampaignId,
    pub variant_id: VariantId,
    pub product_id: ProductId,
    pub locale: Locale,
    pub channel: CopyChannel,
}

impl CopyRequest {
    pub fn key(&self) -> CopyKey {
        CopyKey {
            campaign_id: self.campaign_id,
            variant_id: self.variant_id,
            product_id: self.product_id,
            locale: self.locale,
            channel: self.channel,
        }
    }
    /// The seed of the phrase grammar: stable over runs and machines.
    pub fn seed(&self) -> u64 {
        let text = format!("{}/{}/{}", self.campaign_id.0, self.variant_id.0, self.product_id.0);
        let digest = Sha256::digest(text.as_bytes());
        digest[..8].iter().fold(0, |acc, byte| (acc << 8) | u64::from(*byte))
    }
}

/// A copy as it is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoredCopy {
    #[schema(value_type = String)]
    pub id: CopyId,
    #[schema(value_type = String)]
    pub campaign_id: CampaignId,
    #[schema(value_type = String)]
    pub variant_id: VariantId,
    #[schema(value_type = String)]
    pub product_id: ProductId,
    pub locale: Locale,
    pub channel: CopyChannel,
    pub tone: Tone,
    pub occasion: Occasion,
    /// `grammar`, or `openai:<model>`.
    pub generator: String,
    pub status: CopyStatus,
    /// The product's facts changed since a person approved or edited this text: it is kept, and should be looked at.
    pub stale: bool,
    pub copy: Copy,
    pub findings: Vec<Finding>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    #[serde(skip)]
    pub facts_hash: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_falls_back_to_the_shops_and_then_to_english() {
        assert_eq!(Locale::pick(Some("zh-Hans-CN"), "en"), Locale::Zh);
        assert_eq!(Locale::pick(Some("de"), "zh"), Locale::Zh);
        assert_eq!(Locale::pick(None, "fr"), Locale::En);
        assert_eq!(Locale::pick(Some("EN_us"), "zh"), Locale::En);
    }

    #[test]
    fn words_are_read_and_refused_with_the_list() {
        assert_eq!("win_back".parse(), Ok(Occasion::WinBack));
        let error = "shouty".parse::<Tone>().expect_err("unknown");
        assert!(error.to_string().contains("playful"));
    }

    #[test]
    fn a_name_like_an_address_or_a_header_is_treated_as_missing() {
        let copy = Copy {
            subject: "{first_name}, new in: lamps".into(),
            headline: "x".into(),
            body: "Hi {first_name}, hello".into(),
            cta: "x".into(),
            ..Copy::default()
        };
        let price = Money::new(100, crate::platform::Currency::EUR);
        for bad in ["http://x.example", "a\r\nBcc: b@example.test", "", "  ", "<b>", &"x".repeat(80)] {
            let filled = copy.fill(Some(bad), price, Locale::En);
            assert_eq!(filled.subject, "New in: lamps", "{bad:?}");
            assert_eq!(filled.body, "Hi there, hello", "{bad:?}");
        }
        assert_eq!(copy.fill(Some("  Zoë "), price, Locale::En).subject, "Zoë, new in: lamps");
    }
}
