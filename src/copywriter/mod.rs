//! The words: phrase grammar, remote generator, guardrails, stored copy.

mod api;
mod browse;
mod figures;
pub mod grammar;
pub mod guardrails;
mod model;
pub mod openai;
mod rewrite;
mod service;
mod store;
pub mod title;
mod writer;

use actix_web::web::ServiceConfig;

pub use api::openapi;
pub use browse::{CopyFilter, CopyOrder, CopyState, MOST_COUNTED, browse, counts};
pub use figures::{CopyFigures, put_figures};
pub use model::{
    Brief, Copy, CopyChannel, CopyKey, CopyRequest, CopyStatus, Finding, FindingKind, Length, Locale, Occasion, SLOT_FIRST_NAME,
    SLOT_PRICE, Severity, StoredCopy, Tone, UnknownWord, has_error,
};
pub use rewrite::{rewrite, stored};
pub use service::{
    CopyError, Ensured, approve, brief_for, brief_of, checked, edit, ensure, ensure_with, foresee, get, get_many, of_product, reject,
};
pub use writer::{GRAMMAR_ID, Writer, Written};

use crate::platform::queue::JobSpec;

/// HTTP routes of this slice.
pub fn routes(config: &mut ServiceConfig) {
    api::routes(config);
}

/// Jobs of this slice: none; copy is written where a campaign needs it, by [`ensure`].
pub fn jobs() -> Vec<JobSpec> {
    Vec::new()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::platform::{Currency, Money};

    /// A brief for tests: a mug at €24.90.
    pub fn brief(locale: Locale) -> Brief {
        let zh = locale == Locale::Zh;
        Brief {
            title: if zh { "手工陶瓷马克杯350ml" } else { "WHITE HANGING HEART T-LIGHT HOLDER" }.into(),
            description: if zh { "高温烧制，容量 350 毫升。" } else { "Holds one tea light. Made of painted metal, 12 cm high." }.into(),
            brand: Some("Northwind".into()),
            category: Some(if zh { "家居" } else { "Home Decor" }.into()),
            price: Money::new(2490, Currency::EUR),
            sale_price: None,
            stock: Some(40),
            attributes: BTreeMap::from([("colour".into(), "white".into())]),
            shop: if zh { "木槿小店" } else { "Northwind Home" }.into(),
            tone: Tone::Friendly,
            occasion: Occasion::Recommendation,
            channel: CopyChannel::Email,
            locale,
            length: Length::Long,
        }
    }
}
