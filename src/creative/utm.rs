//! Addresses on their way into a creative: only web addresses, and UTM tags that keep what was there.

use serde::{Deserialize, Serialize};
use url::Url;

/// Campaign tags of an address (`utm_source` and so on). Empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utm {
    pub source: String,
    pub medium: String,
    pub campaign: String,
    pub content: String,
    pub term: String,
}

impl Utm {
    fn pairs(&self) -> [(&'static str, &str); 5] {
        [
            ("utm_source", &self.source),
            ("utm_medium", &self.medium),
            ("utm_campaign", &self.campaign),
            ("utm_content", &self.content),
            ("utm_term", &self.term),
        ]
    }

    /// The address with the tags added. Its own query (also its own `utm_…`, which win) and fragment stay as they are; `None` where it is
    /// no web address.
    pub fn append(&self, address: &str) -> Option<String> {
        let mut url = web_url(address)?;
        let present: std::collections::HashSet<String> = url.query_pairs().map(|(k, _)| k.to_ascii_lowercase()).collect();
        let new: Vec<(&str, &str)> = self.pairs().into_iter().filter(|(k, v)| !v.is_empty() && !present.contains(*k)).collect();
        if !new.is_empty() {
            // Appended by hand: query_pairs_mut would rewrite the encoding of what is there.
            let mut query = url.query().unwrap_or_default().to_owned();
            for (key, value) in new {
                if !query.is_empty() && !query.ends_with('&') {
                    query.push('&');
                }
                query.push_str(key);
                query.push('=');
                query.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
            }
            url.set_query(Some(&query));
        }
        Some(url.into())
    }
}

/// An absolute `http` or `https` address without credentials; anything else is none of a creative's business.
pub fn web_url(address: &str) -> Option<Url> {
    let url = Url::parse(address.trim()).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_and_nothing_is_lost() {
        let utm = Utm { source: "marquee".into(), medium: "email".into(), campaign: "spring & sun".into(), ..Utm::default() };
        for (from, to) in [
            ("https://shop.example/p/1", "https://shop.example/p/1?utm_source=marquee&utm_medium=email&utm_campaign=spring+%26+sun"),
            (
                "https://shop.example/p?id=7&c=a%20b#size",
                "https://shop.example/p?id=7&c=a%20b&utm_source=marquee&utm_medium=email&utm_campaign=spring+%26+sun#size",
            ),
            ("https://shop.example/?utm_source=own", "https://shop.example/?utm_source=own&utm_medium=email&utm_campaign=spring+%26+sun"),
            ("https://shop.example/?", "https://shop.example/?utm_source=marquee&utm_medium=email&utm_campaign=spring+%26+sun"),
        ] {
            assert_eq!(utm.append(from).as_deref(), Some(to));
        }
        assert_eq!(Utm::default().append("https://shop.example/a?b#c").as_deref(), Some("https://shop.example/a?b#c"));
        for bad in ["javascript:alert(1)", "//x.example", "shop.example", "https://user:secret@x.example/", "data:text/html,x"] {
            assert_eq!(utm.append(bad), None, "{bad}");
        }
    }
}
