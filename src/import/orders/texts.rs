//! Texts kept once, and referred to by number.

use std::collections::HashMap;

/// No title, nobody.
pub const NONE: u32 = u32::MAX;

/// Texts by number.
#[derive(Debug, Default)]
pub struct Texts {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Texts {
    /// The number of a text, new or known.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(n) = self.numbers.get(text) {
            return *n;
        }
        let n = u32::try_from(self.texts.len()).unwrap_or(NONE);
        self.texts.push(text.into());
        self.numbers.insert(text.into(), n);
        n
    }
    /// The number of a text that is known.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied()
    }
    pub fn get(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", AsRef::as_ref)
    }
    pub fn len(&self) -> usize {
        self.texts.len()
    }
}
