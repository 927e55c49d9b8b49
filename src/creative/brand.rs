//! The brand kit: what a shop's creatives look like. The setting "brand".

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::platform::{Platform, setting};

pub const SETTING: &str = "brand";

/// A colour as `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour(pub u8, pub u8, pub u8);

// By hand: derived, it would be described as a list of three.
impl utoipa::PartialSchema for Colour {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, Type};
        ObjectBuilder::new().schema_type(Type::String).description(Some("A colour as `#rrggbb`.")).examples(["#1f4d3a"]).into()
    }
}
impl ToSchema for Colour {}

impl TryFrom<String> for Colour {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text
            .strip_prefix('#')
            .filter(|d| d.len() == 6 && d.is_ascii())
            .ok_or_else(|| format!("“{text}” is not a colour like #1f4d3a"))?;
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| format!("“{text}” is not a colour like #1f4d3a"));
        Ok(Self(part(0)?, part(2)?, part(4)?))
    }
}
impl From<Colour> for String {
    fn from(c: Colour) -> String {
        c.to_string()
    }
}
impl std::fmt::Display for Colour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }
}

impl Colour {
    pub const WHITE: Colour = Colour(255, 255, 255);
    pub const BLACK: Colour = Colour(26, 26, 26);

    /// Relative luminance (WCAG 2.2).
    fn luminance(self) -> f64 {
        let channel = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(self.0) + 0.7152 * channel(self.1) + 0.0722 * channel(self.2)
    }
    /// Contrast ratio (WCAG 2.2), 1 to 21.
    pub fn contrast(self, other: Colour) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }
    /// White or near-black, whichever reads better on this colour.
    pub fn ink(self) -> Colour {
        if self.contrast(Self::WHITE) >= 4.5 || self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) {
            Self::WHITE
        } else {
            Self::BLACK
        }
    }
    /// `wanted` where it reads well enough on this colour, else [`Colour::ink`].
    pub fn readable(self, wanted: Colour, least: f64) -> Colour {
        if self.contrast(wanted) >= least { wanted } else { self.ink() }
    }
    pub fn mix(self, other: Colour, share: f64) -> Colour {
        let blend = |a: u8, b: u8| {
            let v = f64::from(a) * (1.0 - share) + f64::from(b) * share;
            v.round().clamp(0.0, 255.0) as u8
        };
        Colour(blend(self.0, other.0), blend(self.1, other.1), blend(self.2, other.2))
    }
}

/// Colours, logo and fonts of a shop. Every field has a default, so that a new shop looks decent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BrandKit {
    /// Name shown in creatives; empty: the shop's name from the configuration.
    pub name: String,
    /// Absolute address of the logo, shown at a height of 40 px; empty: the name is shown.
    pub logo_url: String,
    /// Buttons and banners.
    pub primary: Colour,
    /// Prices on sale and small marks.
    pub accent: Colour,
    /// Behind e-mails.
    pub background: Colour,
    /// Behind text.
    pub surface: Colour,
    pub ink: Colour,
    /// CSS font list for e-mails: installed families only.
    pub font: String,
    /// Postal address in the foot of every mail; empty: the one from the configuration.
    pub postal_address: String,
    /// Corner radius of buttons, in pixels (0 to 24).
    pub radius: u8,
}

impl Default for BrandKit {
    fn default() -> Self {
        Self {
            name: String::new(),
            logo_url: String::new(),
            primary: Colour(0x1f, 0x4d, 0x3a),
            accent: Colour(0xc2, 0x41, 0x0c),
            background: Colour(0xf4, 0xf2, 0xee),
            surface: Colour::WHITE,
            ink: Colour(0x22, 0x22, 0x22),
            font: "Helvetica Neue, Helvetica, Arial, sans-serif".into(),
            postal_address: String::new(),
            radius: 6,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {why}")]
pub struct BrandError {
    pub field: &'static str,
    pub why: String,
}

impl BrandKit {
    /// The stored kit, completed from the configuration.
    pub async fn load(platform: &Platform) -> sqlx::Result<Self> {
        Ok(setting::get_or_default::<Self>(&platform.db, SETTING).await?.completed(&platform.config.shop))
    }

    #[must_use]
    pub fn completed(mut self, shop: &crate::platform::config::ShopConfig) -> Self {
        if self.name.is_empty() {
            self.name.clone_from(&shop.name);
        }
        if self.postal_address.is_empty() {
            self.postal_address.clone_from(&shop.postal_address);
        }
        self
    }

    /// Nothing in a kit may leave the place where it is put: a style, an attribute, a line of text.
    pub fn check(&self) -> Result<(), BrandError> {
        let error = |field, why: &str| Err(BrandError { field, why: why.into() });
        if self.name.chars().count() > 60 || self.name.chars().any(char::is_control) {
            return error("name", "at most 60 characters on one line");
        }
        if self.font.is_empty()
            || self.font.len() > 200
            || !self.font.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | ',' | '-'))
        {
            return error("font", "names of fonts, separated by commas: letters, digits, blanks and hyphens");
        }
        if !self.logo_url.is_empty() && super::utm::web_url(&self.logo_url).is_none() {
            return error("logo_url", "an absolute http or https address");
        }
        if self.postal_address.chars().count() > 300 {
            return error("postal_address", "at most 300 characters");
        }
        if self.radius > 24 {
            return error("radius", "0 to 24");
        }
        if self.surface.contrast(self.ink) < 4.5 {
            return error("ink", "too little contrast with surface: WCAG AA asks for 4.5");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_is_readable_on_every_colour() {
        for r in (0..=255).step_by(17) {
            for g in (0..=255).step_by(17) {
                for b in (0..=255).step_by(51) {
                    let colour = Colour(r, g, b);
                    assert!(colour.contrast(colour.ink()) >= 4.16, "{colour}");
                }
            }
        }
        assert!((Colour(0, 0, 0).contrast(Colour::WHITE) - 21.0).abs() < 1e-9);
    }

    #[test]
    fn a_kit_cannot_carry_styles_or_scripts() {
        assert_eq!(BrandKit::default().check(), Ok(()));
        for font in ["Arial; background: url(x)", "x\" onload=\"y", ""] {
            assert!(BrandKit { font: font.into(), ..BrandKit::default() }.check().is_err(), "{font}");
        }
        for logo in ["javascript:alert(1)", "/logo.png", "ftp://x.example/y"] {
            assert!(BrandKit { logo_url: logo.into(), ..BrandKit::default() }.check().is_err(), "{logo}");
        }
        assert!(serde_json::from_str::<BrandKit>(r##"{"primary":"red"}"##).is_err());
        assert!(serde_json::from_str::<BrandKit>(r##"{"primary":"#éa0a0"}"##).is_err());
        assert!(BrandKit { ink: Colour(200, 200, 200), ..BrandKit::default() }.check().is_err());
    }
}
