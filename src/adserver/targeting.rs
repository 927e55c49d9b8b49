//! Where and to whom a placement or line item speaks: segments, context keywords, countries, devices, hours.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::fault;
use crate::platform::Fault;
use crate::platform::ids::SegmentId;

/// Most entries of each list.
const MAX_ENTRIES: usize = 100;
const MAX_KEYWORD_CHARS: usize = 60;
/// Keywords of a page that are looked at.
pub const MAX_PAGE_KEYWORDS: usize = 50;

/// What somebody looks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
}

impl Device {
    pub const ALL: [Device; 3] = [Device::Desktop, Device::Mobile, Device::Tablet];

    pub fn name(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Tablet => "tablet",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == text)
    }
    /// As far as a browser's name tells.
    pub fn of_agent(agent: &str) -> Self {
        let has = |word: &str| agent.contains(word);
        if has("iPad") || has("Tablet") || (has("Android") && !has("Mobile")) {
            Self::Tablet
        } else if has("Mobi") || has("iPhone") {
            Self::Mobile
        } else {
            Self::Desktop
        }
    }
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Whether a browser's name says that it is none, but reads pages for a machine. Not whoever hides it: clicks are told apart by more than this.
pub fn is_crawler(agent: &str) -> bool {
    // A brand of telephones is no bot.
    let agent = agent.to_ascii_lowercase().replace("cubot", "");
    ["bot", "crawl", "spider"].iter().any(|word| agent.contains(word))
}

/// Conditions; an empty list asks nothing, and all lists must be met. Within a list one entry is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Targeting {
    /// Members of any of these segments, beside being in the campaign's own.
    #[schema(value_type = Vec<String>)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentId>,
    /// The page is about one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// The page is about none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_keywords: Vec<String>,
    /// ISO 3166 codes of two letters: of the request, else of the person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// Hours (0–23) of the shop's day.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<u8>,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{1}")]
pub struct TargetingError(pub &'static str, pub Fault);

impl Targeting {
    /// Trims and folds; refuses what can never be met.
    pub fn checked(mut self) -> Result<Self, TargetingError> {
        for (name, list) in [("keywords", &mut self.keywords), ("not_keywords", &mut self.not_keywords)] {
            *list = list.iter().map(|k| fold(k)).filter(|k| !k.is_empty()).collect();
            list.dedup();
            if list.len() > MAX_ENTRIES || list.iter().any(|k| k.chars().count() > MAX_KEYWORD_CHARS) {
                return Err(TargetingError(
                    name,
                    fault!(
                        "targeting.keywords",
                        "At most {most} keywords of at most {chars} characters.",
                        most = MAX_ENTRIES,
                        chars = MAX_KEYWORD_CHARS
                    ),
                ));
            }
        }
        self.countries = self.countries.iter().map(|c| c.trim().to_ascii_uppercase()).filter(|c| !c.is_empty()).collect();
        if let Some(bad) = self.countries.iter().find(|c| country(c).is_none()) {
            return Err(TargetingError(
                "countries",
                fault!("targeting.country", "“{bad}” is no country code: write two letters, such as DE.", bad),
            ));
        }
        if let Some(bad) = self.hours.iter().find(|h| **h > 23) {
            return Err(TargetingError("hours", fault!("targeting.hour", "{bad} is no hour: they go from 0 to 23.", bad)));
        }
        if self.segments.len() > MAX_ENTRIES || self.countries.len() > 250 {
            return Err(TargetingError("segments", fault!("targeting.segments", "At most {most} segments.", most = MAX_ENTRIES)));
        }
        Ok(self)
    }
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Two letters in two bytes.
pub fn country(text: &str) -> Option<u16> {
    match text.as_bytes() {
        [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
            Some(u16::from(a.to_ascii_uppercase()) << 8 | u16::from(b.to_ascii_uppercase()))
        }
        _ => None,
    }
}

/// What is known of a request beside the viewer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Folded.
    pub keywords: Vec<String>,
    pub country: Option<u16>,
    pub device: Option<Device>,
}

impl Context {
    pub fn with_keywords<'a>(mut self, words: impl Iterator<Item = &'a str>) -> Self {
        self.keywords =
            words.take(MAX_PAGE_KEYWORDS).filter(|w| w.len() <= 4 * MAX_KEYWORD_CHARS).map(fold).filter(|w| !w.is_empty()).collect();
        self
    }
}

/// Who belongs to a segment, by the person's number.
#[derive(Clone, Debug, Default)]
pub struct Members {
    bits: Vec<u64>,
}

impl Members {
    pub fn insert(&mut self, person: i64) {
        let Ok(at) = usize::try_from(person) else { return };
        if at / 64 >= self.bits.len() {
            self.bits.resize(at / 64 + 1, 0);
        }
        self.bits[at / 64] |= 1 << (at % 64);
    }
    pub fn contains(&self, person: i64) -> bool {
        usize::try_from(person).is_ok_and(|at| self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1))
    }
    pub fn bytes(&self) -> usize {
        self.bits.len() * 8
    }
}

impl FromIterator<i64> for Members {
    fn from_iter<T: IntoIterator<Item = i64>>(people: T) -> Self {
        let mut members = Self::default();
        people.into_iter().for_each(|p| members.insert(p));
        members
    }
}

/// Targeting, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct Target {
    pub segments: Vec<std::sync::Arc<Members>>,
    keywords: HashSet<String>,
    not_keywords: HashSet<String>,
    countries: Vec<u16>,
    /// Bits; 0 = any.
    devices: u8,
    hours: u32,
}

impl Target {
    /// `members` finds a segment's people; a segment without a snapshot has none.
    pub fn compile(rules: &Targeting, mut members: impl FnMut(SegmentId) -> std::sync::Arc<Members>) -> Self {
        Self {
            segments: rules.segments.iter().map(|s| members(*s)).collect(),
            keywords: rules.keywords.iter().cloned().collect(),
            not_keywords: rules.not_keywords.iter().cloned().collect(),
            countries: rules.countries.iter().filter_map(|c| country(c)).collect(),
            devices: rules.devices.iter().fold(0, |bits, d| bits | d.bit()),
            hours: rules.hours.iter().filter(|h| **h < 24).fold(0, |bits, h| bits | 1 << h),
        }
    }

    /// Whether the request fits; `hour` of the shop's day. Segments are asked apart ([`Target::addresses`]).
    pub fn fits(&self, context: &Context, own_country: Option<u16>, hour: u32) -> bool {
        if self.hours != 0 && self.hours >> hour & 1 == 0 {
            return false;
        }
        if self.devices != 0 && context.device.is_none_or(|d| self.devices & d.bit() == 0) {
            return false;
        }
        if !self.countries.is_empty() && context.country.or(own_country).is_none_or(|c| !self.countries.contains(&c)) {
            return false;
        }
        if !self.keywords.is_empty() && !context.keywords.iter().any(|k| self.keywords.contains(k)) {
            return false;
        }
        self.not_keywords.is_empty() || !context.keywords.iter().any(|k| self.not_keywords.contains(k))
    }

    pub fn addresses(&self, person: Option<i64>) -> bool {
        self.segments.is_empty() || person.is_some_and(|p| self.segments.iter().any(|s| s.contains(p)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_list_must_be_met_and_one_entry_is_enough() {
        let rules = Targeting {
            keywords: vec![" Garden ".into(), "Chairs".into()],
            not_keywords: vec!["news".into()],
            countries: vec!["de".into()],
            devices: vec![Device::Mobile],
            hours: vec![9, 10],
            ..Targeting::default()
        };
        let target = Target::compile(&rules.checked().expect("fine"), |_| Members::default().into());
        let page =
            Context { country: country("DE"), device: Some(Device::Mobile), ..Context::default() }.with_keywords(["GARDEN"].into_iter());
        assert!(target.fits(&page, None, 9));
        assert!(!target.fits(&page, None, 11), "hour");
        assert!(!target.fits(&Context { device: None, ..page.clone() }, None, 9), "device unknown");
        assert!(target.fits(&Context { country: None, ..page.clone() }, country("DE"), 9), "the person's own country");
        assert!(!target.fits(&Context { country: country("FR"), ..page.clone() }, country("DE"), 9), "the request's country goes first");
        let news = Context::default().with_keywords(["garden", "news"].into_iter());
        assert!(!target.fits(&Context { keywords: news.keywords, ..page.clone() }, None, 9), "excluded");
        assert!(Target::default().fits(&Context::default(), None, 0) && Target::default().addresses(None));
        assert!(Targeting { countries: vec!["Germany".into()], ..Targeting::default() }.checked().is_err());
        assert!(Targeting { hours: vec![24], ..Targeting::default() }.checked().is_err());
    }

    #[test]
    fn members_are_those_put_in() {
        let members: Members = [1, 64, 1_000].into_iter().collect();
        assert!(members.contains(1) && members.contains(64) && members.contains(1_000));
        assert!(!members.contains(2) && !members.contains(-1) && !members.contains(1 << 40));
    }

    #[test]
    fn crawlers_say_so_and_some_telephones_only_sound_like_it() {
        for agent in ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "Baiduspider/2.0", "SomeCrawler"] {
            assert!(is_crawler(agent), "{agent}");
        }
        for agent in ["", "Mozilla/5.0 (Linux; Android 9; CUBOT P30) AppleWebKit/537.36", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"] {
            assert!(!is_crawler(agent), "{agent}");
        }
    }

    #[test]
    fn browsers_say_what_they_run_on() {
        assert_eq!(Device::of_agent("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148"), Device::Mobile);
        assert_eq!(Device::of_agent("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X)"), Device::Tablet);
        assert_eq!(Device::of_agent("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), Device::Desktop);
    }
}
