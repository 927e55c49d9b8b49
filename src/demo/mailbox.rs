//! A shopper reads a mail as it arrived: who it is for, what it is about, and where its links lead. Nothing is known but the bytes.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};
use mail_parser::MessageParser;

use super::world::World;
use crate::delivery::sink::ReceivedMail;

/// What a reader finds in a mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The person's index in the world.
    pub person: u32,
    /// `cmp_3` and `var_2` of the header Feedback-ID.
    pub campaign: String,
    pub variant: String,
    pub subject: String,
    /// Products in order of appearance.
    pub products: Vec<u32>,
    /// Address of the open pixel.
    pub pixel: Option<String>,
    /// Links that lead to products, in order of appearance.
    pub clicks: Vec<String>,
    /// Every link in the mail, as a scanner sees it.
    pub links: Vec<String>,
    pub unsubscribe: Option<String>,
}

/// Knows the shop's products by their titles and pictures, and its people by their addresses.
pub struct Reader {
    by_address: HashMap<String, u32>,
    titles: AhoCorasick,
    /// Product by the SHA-256 under which Marquee serves its picture.
    by_picture: HashMap<String, u32>,
}

impl Reader {
    /// `addresses` in the order of people; `pictures`: hash and product.
    pub fn new(world: &World, addresses: &[String], pictures: HashMap<String, u32>) -> anyhow::Result<Self> {
        let titles = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(world.catalogue.products.iter().map(|p| p.title.as_str()))?;
        let by_address = addresses.iter().enumerate().map(|(i, a)| (a.to_lowercase(), i as u32)).collect();
        Ok(Self { by_address, titles, by_picture: pictures })
    }

    /// `None` for a mail that is to nobody of this world or cannot be read.
    pub fn read(&self, mail: &ReceivedMail) -> Option<Letter> {
        let person = *mail.to.iter().find_map(|to| self.by_address.get(&to.trim_matches(['<', '>']).to_lowercase()))?;
        let parsed = MessageParser::default().parse(&mail.data[..])?;
        let html = parsed.body_html(0)?;
        let feedback = mail.header("Feedback-ID").unwrap_or_default();
        let mut ids = feedback.split(':');
        let mut letter = Letter {
            person,
            campaign: ids.next().unwrap_or_default().to_owned(),
            variant: ids.next().unwrap_or_default().to_owned(),
            subject: parsed.subject().unwrap_or_default().to_owned(),
            unsubscribe: mail.header("List-Unsubscribe").map(|v| v.trim_matches(['<', '>', ' ']).to_owned()),
            ..Letter::default()
        };
        for (attribute, url) in addresses_in(&html) {
            match (attribute, first_step(&url)) {
                ("src", Some("o")) => letter.pixel = Some(url),
                ("src", Some("assets")) => {
                    let hash = url.rsplit('/').next().unwrap_or_default();
                    let known = self.by_picture.get(hash.split('.').next().unwrap_or_default());
                    letter.note_product(known.copied());
                }
                ("href", step) => {
                    if step == Some("c") && !letter.clicks.contains(&url) {
                        letter.clicks.push(url.clone());
                    }
                    letter.links.push(url);
                }
                _ => {}
            }
        }
        // Titles, where there were no pictures.
        if letter.products.is_empty() {
            let text = html_escape::decode_html_entities(&html).into_owned();
            for found in self.titles.find_iter(&text) {
                letter.note_product(u32::try_from(found.pattern().as_usize()).ok());
            }
        }
        Some(letter)
    }
}

impl Letter {
    fn note_product(&mut self, product: Option<u32>) {
        if let Some(product) = product
            && !self.products.contains(&product)
        {
            self.products.push(product);
        }
    }

    /// The link that leads to the product at a place in the mail.
    pub fn click(&self, place: usize) -> Option<&str> {
        self.clicks.get(place).or_else(|| self.clicks.first()).map(String::as_str)
    }
}

/// The first part of a URL's path.
fn first_step(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split('/').nth(1)
}

/// All values of `href` and `src`, entities decoded, in order.
fn addresses_in(html: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at);
        rest = &after[1..];
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default();
        let attribute = match name.to_ascii_lowercase().as_str() {
            "href" => "href",
            "src" => "src",
            _ => continue,
        };
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        if let Some((value, left)) = rest[1..].split_once(quote) {
            found.push((attribute, html_escape::decode_html_entities(value).into_owned()));
            rest = left;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::world::WorldConfig;

    #[test]
    fn a_letter_is_read_by_its_bytes_alone() {
        let world = World::new(WorldConfig { people: 3, products: 50, ..WorldConfig::default() });
        let title = html_escape::encode_text(&world.catalogue.products[7].title).into_owned();
        let html = format!(
            "<p>Hi</p><a href=\"http://h/c/abc?x=1&amp;y=2\">{title}</a> <a href='http://h/u/leave'>no more</a><img width=\"1\" src=\"http://h/o/pix.gif\">"
        );
        let data = format!(
            "From: shop@example.test\r\nSubject: =?utf-8?q?F=C3=BCr_dich?=\r\nFeedback-ID: cmp_3:var_2:offers:example.test\r\n\
             List-Unsubscribe: <http://h/u/one>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}"
        );
        let addresses = ["a@example.test".to_owned(), "B.Two@example.test".to_owned()];
        let reader = Reader::new(&world, &addresses, HashMap::new()).expect("reader");
        let mail = ReceivedMail {
            from: "shop@example.test".into(),
            to: vec!["b.two@example.test".into()],
            data: data.into_bytes().into(),
            tls: false,
            authenticated: false,
        };
        let letter = reader.read(&mail).expect("readable");
        assert_eq!((letter.person, letter.campaign.as_str(), letter.variant.as_str()), (1, "cmp_3", "var_2"));
        assert_eq!((letter.subject.as_str(), letter.products.as_slice()), ("Für dich", &[7][..]));
        assert_eq!(letter.click(2), Some("http://h/c/abc?x=1&y=2"));
        assert_eq!((letter.pixel.as_deref(), letter.unsubscribe.as_deref()), (Some("http://h/o/pix.gif"), Some("http://h/u/one")));
        assert_eq!(letter.links.len(), 2);
        assert!(reader.read(&ReceivedMail { to: vec!["nobody@example.test".into()], ..mail }).is_none());
    }
}
