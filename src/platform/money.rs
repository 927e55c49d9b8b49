//! Money: integer minor units and an ISO 4217 currency. Never floats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An ISO 4217 code, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    pub const EUR: Currency = Currency(*b"EUR");
    pub const GBP: Currency = Currency(*b"GBP");
    pub const USD: Currency = Currency(*b"USD");

    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
    /// Digits after the decimal point (ISO 4217).
    pub fn exponent(self) -> u32 {
        match &self.0 {
            b"BIF" | b"CLP" | b"DJF" | b"GNF" | b"ISK" | b"JPY" | b"KMF" | b"KRW" | b"PYG" | b"RWF" | b"UGX" | b"VND" | b"VUV" | b"XAF"
            | b"XOF" | b"XPF" => 0,
            b"BHD" | b"IQD" | b"JOD" | b"KWD" | b"LYD" | b"OMR" | b"TND" => 3,
            _ => 2,
        }
    }
    fn symbol(self) -> Option<&'static str> {
        Some(match &self.0 {
            b"EUR" => "€",
            b"GBP" => "£",
            b"USD" => "$",
            b"JPY" | b"CNY" => "¥",
            _ => return None,
        })
    }
}
impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    #[error("“{0}” is not a currency code: write three letters, such as EUR")]
    Currency(String),
    #[error("“{0}” is not an amount: write digits with at most one decimal point")]
    Amount(String),
    #[error("“{0}” has more decimals than its currency")]
    Decimals(String),
    #[error("“{0}” is too large")]
    TooLarge(String),
}
impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(s: &str) -> Result<Self, MoneyError> {
        let up = s.trim().to_ascii_uppercase();
        match <[u8; 3]>::try_from(up.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(MoneyError::Currency(s.to_owned())),
        }
    }
}
impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}
impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl From<Currency> for String {
    fn from(c: Currency) -> String {
        c.code().to_owned()
    }
}
impl TryFrom<String> for Currency {
    type Error = MoneyError;
    fn try_from(s: String) -> Result<Self, MoneyError> {
        s.parse()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Money {
    pub minor: i64,
    pub currency: Currency,
}

impl Money {
    pub const fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }
    /// Reads a decimal amount exactly. More decimals than the currency has are refused unless they are zeros.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        parse_minor(text, currency.exponent(), false).map(|minor| Self { minor, currency })
    }
    /// `12.50`, without its currency: what [`Money::parse`] reads, and spreadsheets add up.
    pub fn decimal(self) -> String {
        let exponent = self.currency.exponent() as usize;
        let sign = if self.minor < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.minor.unsigned_abs(), width = exponent + 1);
        match digits.split_at(digits.len() - exponent) {
            (whole, "") => format!("{sign}{whole}"),
            (whole, fraction) => format!("{sign}{whole}.{fraction}"),
        }
    }
    /// As [`Money::parse`], rounding half away from zero where there are more decimals than the currency has (unit prices of 0.001).
    pub fn parse_rounding(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        parse_minor(text, currency.exponent(), true).map(|minor| Self { minor, currency })
    }
}

fn parse_minor(text: &str, exponent: u32, round: bool) -> Result<i64, MoneyError> {
    let bad = || MoneyError::Amount(text.to_owned());
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if (whole.is_empty() && fraction.is_empty()) || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let keep = exponent as usize;
    let mut kept: String = fraction.chars().take(keep).collect();
    while kept.len() < keep {
        kept.push('0');
    }
    let rest = fraction.get(keep..).unwrap_or("");
    let mut minor: i64 =
        format!("{}{kept}", if whole.is_empty() { "0" } else { whole }).parse().map_err(|_| MoneyError::TooLarge(text.to_owned()))?;
    if rest.bytes().any(|b| b != b'0') {
        if !round {
            return Err(MoneyError::Decimals(text.to_owned()));
        }
        if rest.as_bytes()[0] >= b'5' {
            minor = minor.checked_add(1).ok_or_else(|| MoneyError::TooLarge(text.to_owned()))?;
        }
    }
    Ok(if negative { -minor } else { minor })
}

impl fmt::Display for Money {
    /// `€12.50`, `CHF 12.50`, `-£3.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = self.currency.exponent();
        let unit = 10_u64.pow(exponent);
        let abs = self.minor.unsigned_abs();
        let sign = if self.minor < 0 { "-" } else { "" };
        match self.currency.symbol() {
            Some(symbol) => write!(f, "{sign}{symbol}{}", abs / unit)?,
            None => write!(f, "{sign}{} {}", self.currency, abs / unit)?,
        }
        if exponent > 0 {
            write!(f, ".{:0width$}", abs % unit, width = exponent as usize)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_exactly() {
        let m = |t: &str| Money::parse(t, Currency::GBP).map(|m| m.minor);
        assert_eq!(m("12.5"), Ok(1250));
        assert_eq!(m("-0.05"), Ok(-5));
        assert_eq!(m(".5"), Ok(50));
        assert_eq!(m("1.230"), Ok(123));
        assert!(m("1.234").is_err());
        assert!(m("1,5").is_err());
        assert!(m("99999999999999999999").is_err());
        assert_eq!(Money::parse_rounding("1.235", Currency::GBP).map(|m| m.minor), Ok(124));
        assert_eq!(Money::new(-1205, Currency::GBP).to_string(), "-£12.05");
        assert_eq!(Money::parse("1200", "jpy".parse().expect("currency")).map(|m| m.to_string()), Ok("¥1200".to_owned()));
        assert!("E1R".parse::<Currency>().is_err());
    }
}
