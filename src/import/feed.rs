//! Product feeds in XML (RSS 2.0 and Atom, Google's `g:` names), read as a stream under limits. A document type is refused, so that no
//! entity can be declared, and only the five entities of XML itself are known.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{ImportError, Source};

const MAX_DEPTH: usize = 32;
const MAX_ITEM_BYTES: usize = 512 * 1024;
const MAX_FIELDS: usize = 500;

/// One `<item>` or `<entry>`.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// Line on which it begins.
    pub line: u64,
    /// Local names in lower case, with their text; a name may repeat.
    pub fields: Vec<(String, String)>,
}

impl Item {
    /// The first non-empty text under one of the names.
    pub fn get(&self, names: &[&str]) -> &str {
        names
            .iter()
            .find_map(|name| self.fields.iter().find(|(n, t)| n == name && !t.trim().is_empty()))
            .map_or("", |(_, text)| text.trim())
    }
}

/// Whether a file begins like XML.
pub fn is_xml(source: &Source) -> Result<bool, ImportError> {
    let mut text = source.text()?;
    let start = text.fill_buf().map_err(|e| ImportError::Read { path: source.path.clone(), source: e })?;
    Ok(start.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'<'))
}

/// Counts the line breaks that pass.
struct Lines {
    inner: Box<dyn BufRead + Send>,
    line: Arc<AtomicU64>,
}
impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.line.fetch_add(buffer[..n].iter().filter(|b| **b == b'\n').count() as u64, Ordering::Relaxed);
        Ok(n)
    }
}
impl BufRead for Lines {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }
    fn consume(&mut self, amount: usize) {
        if let Ok(chunk) = self.inner.fill_buf() {
            let passed = chunk[..amount.min(chunk.len())].iter().filter(|b| **b == b'\n').count();
            self.line.fetch_add(passed as u64, Ordering::Relaxed);
        }
        self.inner.consume(amount);
    }
}

#[derive(Default)]
struct State {
    depth: usize,
    /// Depth of the item that is open, and of the field inside it.
    item: Option<usize>,
    field: Option<usize>,
    current: Item,
    text: String,
    bytes: usize,
}

/// Hands every item to `take`, in order. Returns why reading ended before the end, where it did; what came before stands.
pub fn each_item(source: &Source, mut take: impl FnMut(&Item) -> Result<(), ImportError>) -> Result<Option<String>, ImportError> {
    let line = Arc::new(AtomicU64::new(1));
    let mut reader = Reader::from_reader(Lines { inner: source.text()?, line: line.clone() });
    reader.config_mut().expand_empty_elements = true;
    let mut state = State::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let here = line.load(Ordering::Relaxed);
        let torn = |why: &str| Ok(Some(format!("line {here}: {why}")));
        match reader.read_event_into(&mut buffer) {
            Err(e) => return torn(&e.to_string()),
            Ok(Event::Eof) if state.depth > 0 => return torn("the document ends inside an element"),
            Ok(Event::Eof) => return Ok(None),
            Ok(Event::DocType(_)) => return Err(ImportError::Xml(format!("line {here}: a document type declaration is not taken"))),
            Ok(Event::Start(start)) => {
                state.depth += 1;
                if state.depth > MAX_DEPTH {
                    return torn("elements are nested too deep");
                }
                state.open(&start, here);
            }
            Ok(Event::End(_)) => {
                if state.close() {
                    take(&state.current)?;
                    state.current = Item::default();
                }
                state.depth = state.depth.saturating_sub(1);
            }
            Ok(Event::Text(text)) => state.push(&decoded(&text)),
            Ok(Event::CData(text)) => state.push(&decoded(&text)),
            Ok(Event::GeneralRef(name)) => match entity(&decoded(&name)) {
                Some(c) => state.push(c.encode_utf8(&mut [0; 4])),
                None => return torn(&format!("the entity &{}; is not declared", decoded(&name).chars().take(40).collect::<String>())),
            },
            Ok(_) => {}
        }
        if state.bytes > MAX_ITEM_BYTES || state.current.fields.len() > MAX_FIELDS || buffer.capacity() > 8 * MAX_ITEM_BYTES {
            return torn("an item is larger than 512 kB");
        }
    }
}

impl State {
    fn open(&mut self, start: &BytesStart, line: u64) {
        let name = decoded(start.local_name().as_ref()).to_ascii_lowercase();
        match (self.item, self.field) {
            (None, _) if name == "item" || name == "entry" => {
                self.item = Some(self.depth);
                self.current = Item { line, fields: Vec::new() };
                self.bytes = 0;
            }
            (Some(item), None) if self.depth == item + 1 => {
                self.field = Some(self.depth);
                self.text.clear();
                // Atom's links carry their target as an attribute.
                if name == "link" {
                    let href = start.attributes().flatten().find(|a| a.key.as_ref() == b"href");
                    if let Some(href) = href.and_then(|a| a.unescape_value().ok().map(|v| v.into_owned())) {
                        self.push(&href);
                    }
                }
                self.current.fields.push((name, String::new()));
            }
            _ => {}
        }
    }

    /// Closes the innermost element; `true` where that ends an item.
    fn close(&mut self) -> bool {
        if self.field == Some(self.depth) {
            self.field = None;
            if let Some(last) = self.current.fields.last_mut() {
                last.1 = std::mem::take(&mut self.text);
            }
        } else if self.item == Some(self.depth) {
            self.item = None;
            self.bytes = 0;
            return true;
        }
        false
    }

    fn push(&mut self, text: &str) {
        if self.field.is_some() {
            self.bytes += text.len();
            if self.bytes <= MAX_ITEM_BYTES {
                self.text.push_str(text);
            }
        }
    }
}

fn decoded(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0,
    }
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => digits.parse().ok()?,
            };
            char::from_u32(code).filter(|c| *c != '\0')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<(Vec<Item>, Option<String>), ImportError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("feed.xml");
        std::fs::write(&path, xml).expect("write");
        let source = Source::open(&path, None)?;
        assert!(is_xml(&source)?);
        let mut items = Vec::new();
        let torn = each_item(&source, |item| {
            items.push(item.clone());
            Ok(())
        })?;
        Ok((items, torn))
    }

    #[test]
    fn rss_and_atom() {
        let rss = "<?xml version=\"1.0\"?>\n<rss xmlns:g=\"http://base.google.com/ns/1.0\"><channel><title>Shop</title>\n<item>\n<g:id>A1</g:id>
<title>Tin &amp; <![CDATA[<b>mug</b>]]> &#163;</title><g:shipping><g:price>1 GBP</g:price></g:shipping><g:price>12.00 GBP</g:price></item></channel></rss>";
        let (items, torn) = read(rss).expect("reads");
        assert_eq!((items.len(), items[0].line, torn), (1, 3, None));
        assert_eq!((items[0].get(&["id"]), items[0].get(&["title"]), items[0].get(&["price"])), ("A1", "Tin & <b>mug</b> £", "12.00 GBP"));
        let atom = "<feed xmlns=\"http://www.w3.org/2005/Atom\"><entry><id>7</id><link href=\"https://shop.example.com/7?a=1&amp;b=2\"/></entry></feed>";
        assert_eq!(read(atom).expect("reads").0[0].get(&["link"]), "https://shop.example.com/7?a=1&b=2");
    }

    #[test]
    fn bombs_do_not_go_off() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><rss><item><id>&b;</id></item></rss>";
        assert!(matches!(read(bomb), Err(ImportError::Xml(_))));
        let (items, torn) = read("<rss><item><id>1</id></item><item><id>&b;</id></item></rss>").expect("the good part");
        assert_eq!(items.len(), 1);
        assert!(torn.expect("torn").contains("&b;"));
        let deep = format!("<rss>{}", "<a>".repeat(100_000));
        assert!(read(&deep).expect("reads").1.expect("torn").contains("deep"));
        let fat = format!("<rss><item><id>1</id></item><item><id>{}</id></item></rss>", "x".repeat(1_000_000));
        let (items, torn) = read(&fat).expect("reads");
        assert_eq!((items.len(), torn.is_some()), (1, true));
        let (items, torn) = read("<rss><item><id>1</id></item><item><id>2</id>").expect("reads");
        assert_eq!((items.len(), torn.is_some()), (1, true));
    }
}
