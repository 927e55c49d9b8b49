//! What is wrong with something that somebody gave us: a sentence in English that pages can say in another language, for it keeps its code and
//! what stands in its gaps.

use std::borrow::Cow;
use std::fmt;

/// An English sentence with `{gaps}`, and what fills them. Make one with [`fault!`](crate::fault); a text without a code (`"…".into()`) is
/// said as it is in every language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    code: &'static str,
    english: Cow<'static, str>,
    args: Vec<(&'static str, String)>,
}

impl Fault {
    /// Use [`fault!`](crate::fault), which a test holds against the translations.
    pub fn new(code: &'static str, english: &'static str, args: Vec<(&'static str, String)>) -> Self {
        Self { code, english: Cow::Borrowed(english), args }
    }
    /// Stable; empty for a text that is no sentence of ours.
    pub fn code(&self) -> &'static str {
        self.code
    }
    /// With another filling of one gap.
    #[must_use]
    pub fn with(mut self, name: &str, other: impl Fn(&str) -> String) -> Self {
        for (_, value) in self.args.iter_mut().filter(|(n, _)| *n == name) {
            *value = other(value);
        }
        self
    }
    /// Names of the gaps, and what fills them.
    pub fn args(&self) -> &[(&'static str, String)] {
        &self.args
    }
    /// Fills the gaps of a sentence.
    pub fn fill(sentence: &str, args: &[(&'static str, String)]) -> String {
        let (mut out, mut rest) = (String::with_capacity(sentence.len()), sentence);
        while let Some(at) = rest.find('{') {
            let (before, gap) = rest.split_at(at);
            out.push_str(before);
            let filled = gap.find('}').and_then(|end| Some((args.iter().find(|(name, _)| *name == &gap[1..end])?, end)));
            match filled {
                Some(((_, value), end)) => {
                    out.push_str(value);
                    rest = &gap[end + 1..];
                }
                None => {
                    out.push('{');
                    rest = &gap[1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.args.is_empty() { f.write_str(&self.english) } else { f.write_str(&Self::fill(&self.english, &self.args)) }
    }
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self { code: "", english: Cow::Owned(text), args: Vec::new() }
    }
}
impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// `fault!("campaign.range", "{field} is {value}; it must lie between {from} and {to}", field, value, from = 1, to = 6)`. The Chinese sentence
/// stands under that code in `templates/i18n/zh/faults.toml`.
#[macro_export]
macro_rules! fault {
    ($code:literal, $english:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        $crate::platform::fault::Fault::new($code, $english, vec![$((stringify!($name), $crate::fault!(@value $name $($value)?))),*])
    };
    (@value $name:ident) => { $name.to_string() };
    (@value $name:ident $value:expr) => { ($value).to_string() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_once_and_what_is_no_gap_stays() {
        let name = "{other} {";
        let made = fault!("test.one", "“{name}” is {n} of {unknown}: {", name, n = 1 + 1, other = "never");
        assert_eq!(made.to_string(), "“{other} {” is 2 of {unknown}: {");
        assert_eq!(made.code(), "test.one");
        assert_eq!(Fault::from("as {it} is").to_string(), "as {it} is");
    }
}
