//! Reading a file as it comes: plain or gzip, comma, semicolon, tab or bar, UTF-8 or Windows-1252, with the true line number of every
//! record and without trusting that quotes are closed.
//!
//! A record that is broken (a quote that never closes, or text after a closing quote) costs its first line only: reading goes on with
//! the line below it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::ImportError;

/// Most bytes of one record.
pub const MAX_RECORD: usize = 512 * 1024;
/// Most physical lines of one record.
const MAX_RECORD_LINES: usize = 2_000;
/// Most columns.
const MAX_COLUMNS: usize = 500;

/// A file that can be read several times.
#[derive(Clone, Debug)]
pub struct Source {
    pub path: PathBuf,
    /// As it lies on disk.
    pub bytes: u64,
    /// Bytes read so far, over all readers: for a progress bar.
    pub done: Arc<AtomicU64>,
    delimiter: Option<u8>,
}

struct Counted {
    file: File,
    done: Arc<AtomicU64>,
}
impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Source {
    pub fn open(path: &Path, delimiter: Option<u8>) -> Result<Self, ImportError> {
        let read = |e| ImportError::Read { path: path.to_owned(), source: e };
        let file = File::open(path).map_err(read)?;
        let bytes = file.metadata().map_err(read)?.len();
        Ok(Self { path: path.to_owned(), bytes, done: Arc::default(), delimiter })
    }

    /// The bytes, unpacked, after a byte-order mark; refused where they are no text.
    pub fn text(&self) -> Result<Box<dyn BufRead + Send>, ImportError> {
        let read = |e| ImportError::Read { path: self.path.clone(), source: e };
        let mut file = File::open(&self.path).map_err(read)?;
        let mut magic = [0_u8; 2];
        let got = file.read(&mut magic).map_err(read)?;
        file.seek(SeekFrom::Start(0)).map_err(read)?;
        self.done.store(0, Ordering::Relaxed);
        let counted = BufReader::with_capacity(64 * 1024, Counted { file, done: self.done.clone() });
        let mut text: Box<dyn BufRead + Send> = if got == 2 && magic == [0x1f, 0x8b] {
            Box::new(BufReader::with_capacity(256 * 1024, MultiGzDecoder::new(counted)))
        } else {
            Box::new(counted)
        };
        let start = text.fill_buf().map_err(read)?;
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err(ImportError::Encoding("UTF-16"));
        }
        if start.starts_with(b"PK\x03\x04") {
            return Err(ImportError::Spreadsheet);
        }
        let head = &start[..start.len().min(4096)];
        let nul = head.iter().filter(|b| **b == 0).count();
        if nul * 5 > head.len() {
            return Err(ImportError::Encoding("UTF-16 or something that is no text"));
        }
        if start.starts_with(&[0xef, 0xbb, 0xbf]) {
            text.consume(3);
        }
        Ok(text)
    }

    /// Opens the table and reads its header.
    pub fn rows(&self) -> Result<Rows, ImportError> {
        let mut rows = Rows {
            text: self.text()?,
            delimiter: b',',
            header: Vec::new(),
            line: 0,
            waiting: VecDeque::new(),
            physical: Vec::new(),
            windows_1252: 0,
        };
        rows.read_header(self)?;
        Ok(rows)
    }
}

/// One record: its cells, and the physical line (from 1) on which it begins.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub line: u64,
    text: String,
    ends: Vec<usize>,
}

impl Record {
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    /// The cell, or an empty text beyond the last one.
    pub fn get(&self, column: usize) -> &str {
        let Some(&end) = self.ends.get(column) else { return "" };
        let start = if column == 0 { 0 } else { self.ends[column - 1] };
        &self.text[start..end]
    }
    pub fn cells(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|column| self.get(column))
    }
    pub fn has_nul(&self) -> bool {
        self.text.contains('\0')
    }
    fn clear(&mut self, line: u64) {
        self.line = line;
        self.text.clear();
        self.ends.clear();
    }
    fn end_cell(&mut self) {
        self.ends.push(self.text.len());
    }
}

/// What reading on gave.
#[derive(Debug)]
pub enum Next {
    /// `record` is filled.
    Record,
    /// One physical line that is no record; `record` holds it as a single cell.
    Broken(&'static str),
    End,
    /// The file cannot be read any further (a damaged gzip, a disk error); what came before stands.
    Torn(String),
}

/// The records of a table.
pub struct Rows {
    text: Box<dyn BufRead + Send>,
    pub delimiter: u8,
    pub header: Vec<String>,
    /// Number of the last physical line taken.
    line: u64,
    /// Lines given back after a broken record.
    waiting: VecDeque<Vec<u8>>,
    physical: Vec<u8>,
    /// Physical lines that were no UTF-8.
    pub windows_1252: u64,
}

enum Shape {
    Whole,
    OpenQuote,
    Malformed,
}

impl Rows {
    fn read_header(&mut self, source: &Source) -> Result<(), ImportError> {
        loop {
            let read = self.next_line().map_err(|e| ImportError::Read { path: source.path.clone(), source: e })?;
            if !read {
                return Err(ImportError::Empty);
            }
            if !self.physical.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        self.delimiter = source.delimiter.unwrap_or_else(|| sniff(&self.physical));
        let mut record = Record::default();
        let first = std::mem::take(&mut self.physical);
        self.line -= 1;
        self.waiting.push_front(first);
        match self.next(&mut record) {
            Next::Record if record.len() <= MAX_COLUMNS => {}
            Next::Record => return Err(ImportError::Header(format!("it has {} columns; at most {MAX_COLUMNS} are taken", record.len()))),
            Next::Broken(why) => return Err(ImportError::Header(why.to_owned())),
            Next::End => return Err(ImportError::Empty),
            Next::Torn(why) => return Err(ImportError::Header(why)),
        }
        self.header = record.cells().map(|c| c.trim().to_owned()).collect();
        Ok(())
    }

    /// Takes the next physical line, without its line break, into `self.physical`. `false` at the end. A line longer than a record may be is
    /// cut there (one byte over, so that it is seen).
    fn next_line(&mut self) -> io::Result<bool> {
        self.line += 1;
        if let Some(line) = self.waiting.pop_front() {
            self.physical = line;
            return Ok(true);
        }
        self.physical.clear();
        let most = MAX_RECORD as u64 + 1;
        let any = (&mut self.text).take(most).read_until(b'\n', &mut self.physical)? > 0;
        if self.physical.len() > MAX_RECORD && self.physical.last() != Some(&b'\n') {
            self.text.skip_until(b'\n')?;
        }
        if self.physical.last() == Some(&b'\n') {
            self.physical.pop();
        }
        if self.physical.last() == Some(&b'\r') {
            self.physical.pop();
        }
        if !any {
            self.line -= 1;
        }
        Ok(any)
    }

    /// Reads the next record; blank lines are passed over.
    pub fn next(&mut self, record: &mut Record) -> Next {
        loop {
            match self.next_line() {
                Err(e) => return Next::Torn(e.to_string()),
                Ok(false) => return Next::End,
                Ok(true) if self.physical.iter().all(u8::is_ascii_whitespace) => {}
                Ok(true) => break,
            }
        }
        let start = self.line;
        if self.physical.len() > MAX_RECORD {
            return self.broken(record, start, Vec::new(), "the line is longer than 512 kB");
        }
        let mut bytes = std::mem::take(&mut self.physical);
        let mut lines = vec![bytes.len()];
        loop {
            record.clear(start);
            let decoded = self.decode(&bytes);
            match split(&decoded, self.delimiter, record) {
                Shape::Whole => {
                    if let std::borrow::Cow::Owned(_) = decoded {
                        self.windows_1252 += 1;
                    }
                    self.physical = bytes;
                    return Next::Record;
                }
                Shape::Malformed => {
                    return self.give_back(
                        record,
                        start,
                        bytes,
                        &lines,
                        "text follows a closing quote: quotes inside a cell are written twice",
                    );
                }
                Shape::OpenQuote => {}
            }
            drop(decoded);
            if !self.append_until_quote(&mut bytes, &mut lines) {
                return self.give_back(record, start, bytes, &lines, "a quote is opened and never closed");
            }
        }
    }

    /// Adds physical lines up to one that holds a quote. `false` where none comes within the limits.
    fn append_until_quote(&mut self, bytes: &mut Vec<u8>, lines: &mut Vec<usize>) -> bool {
        loop {
            if lines.len() >= MAX_RECORD_LINES {
                return false;
            }
            match self.next_line() {
                Ok(true) => {}
                Ok(false) | Err(_) => return false,
            }
            bytes.push(b'\n');
            bytes.extend_from_slice(&self.physical);
            lines.push(bytes.len());
            if bytes.len() > MAX_RECORD {
                return false;
            }
            if self.physical.contains(&b'"') {
                return true;
            }
        }
    }

    /// Keeps the first line of a broken record and puts the others back.
    fn give_back(&mut self, record: &mut Record, start: u64, bytes: Vec<u8>, lines: &[usize], why: &'static str) -> Next {
        let first = bytes[..lines[0]].to_vec();
        for pair in lines.windows(2).rev() {
            self.waiting.push_front(bytes[pair[0] + 1..pair[1]].to_vec());
        }
        self.line = start;
        self.broken(record, start, first, why)
    }

    fn broken(&mut self, record: &mut Record, line: u64, bytes: Vec<u8>, why: &'static str) -> Next {
        record.clear(line);
        record.text.push_str(&String::from_utf8_lossy(&bytes));
        record.end_cell();
        Next::Broken(why)
    }

    fn decode<'a>(&self, bytes: &'a [u8]) -> std::borrow::Cow<'a, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => std::borrow::Cow::Borrowed(text),
            Err(_) => std::borrow::Cow::Owned(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()),
        }
    }
}

/// The delimiter that cuts a header into most columns.
fn sniff(header: &[u8]) -> u8 {
    let mut best = (0, b',');
    for delimiter in *b",;\t|" {
        let mut quoted = false;
        let count = header
            .iter()
            .filter(|b| {
                if **b == b'"' {
                    quoted = !quoted;
                }
                !quoted && **b == delimiter
            })
            .count();
        if count > best.0 {
            best = (count, delimiter);
        }
    }
    best.1
}

/// Cuts a text into cells (RFC 4180; a quote inside an unquoted cell is a plain character).
fn split(text: &str, delimiter: u8, record: &mut Record) -> Shape {
    let delimiter = char::from(delimiter);
    if !text.contains('"') {
        for cell in text.split(delimiter) {
            record.text.push_str(cell);
            record.end_cell();
        }
        return Shape::Whole;
    }
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted;
            loop {
                let Some(at) = rest.find('"') else { return Shape::OpenQuote };
                record.text.push_str(&rest[..at]);
                rest = &rest[at + 1..];
                match rest.strip_prefix('"') {
                    Some(after) => {
                        record.text.push('"');
                        rest = after;
                    }
                    None => break,
                }
            }
            let blank = rest.trim_start_matches(' ');
            if !blank.is_empty() && !blank.starts_with(delimiter) {
                return Shape::Malformed;
            }
            rest = blank;
        } else {
            let end = rest.find(delimiter).unwrap_or(rest.len());
            record.text.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        record.end_cell();
        match rest.strip_prefix(delimiter) {
            Some(after) => rest = after,
            None => return Shape::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Every record as `line: cells`, or `line! raw`.
    fn read(bytes: &[u8]) -> Result<Vec<String>, ImportError> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("x.csv");
        std::fs::write(&path, bytes).expect("write");
        let mut rows = Source::open(&path, None)?.rows()?;
        let mut record = Record::default();
        let mut out = vec![rows.header.join("|")];
        loop {
            match rows.next(&mut record) {
                Next::Record => out.push(format!("{}: {}", record.line, record.cells().collect::<Vec<_>>().join("|"))),
                Next::Broken(_) => out.push(format!("{}! {}", record.line, record.get(0))),
                Next::Torn(_) => {
                    out.push("torn".into());
                    return Ok(out);
                }
                Next::End => return Ok(out),
            }
        }
    }

    #[test]
    fn lines_are_the_true_ones() {
        let got = read(b"a,b\n1,2\n\n  \n\"x\ny\",\"q\"\"q\"\n3,4").expect("reads");
        assert_eq!(got, ["a|b", "2: 1|2", "5: x\ny|q\"q", "7: 3|4"]);
    }

    #[test]
    fn a_broken_quote_costs_one_line() {
        let got = read(b"a,b\n1,\"two\n3,\"4\"\n5,6\n").expect("reads");
        assert_eq!(got, ["a|b", "2! 1,\"two", "3: 3|4", "4: 5|6"]);
        let got = read(b"a,b\n1,\"two\n3,4\n5,6\n").expect("reads");
        assert_eq!(got, ["a|b", "2! 1,\"two", "3: 3|4", "4: 5|6"]);
        let got = read(b"a,b\n\"1\" x,2\n5' 6\" pipe,7\n").expect("reads");
        assert_eq!(got, ["a|b", "2! \"1\" x,2", "3: 5' 6\" pipe|7"]);
    }

    #[test]
    fn long_lines_are_broken_and_reading_goes_on() {
        let mut bytes = b"a,b\n1,".to_vec();
        bytes.extend(vec![b'x'; 1_000_000]);
        bytes.extend(b"\n3,4\n");
        let got = read(&bytes).expect("reads");
        assert_eq!((got.len(), got[1].as_str(), got[2].as_str()), (3, "2! ", "3: 3|4"));
    }

    #[test]
    fn delimiters_marks_and_encodings() {
        assert_eq!(read(b"\xef\xbb\xbfa;b\r\n1;2\r\n").expect("reads"), ["a|b", "2: 1|2"]);
        assert_eq!(read(b"a\tb,c\td\n1\t2\t3").expect("reads"), ["a|b,c|d", "2: 1|2|3"]);
        assert_eq!(read(b"a|b\n\xa320|caf\xe9").expect("reads"), ["a|b", "2: £20|café"]);
        assert!(matches!(read(b"\xff\xfea\0,\0b\0"), Err(ImportError::Encoding("UTF-16"))));
        assert!(matches!(read(b"a\0,\0b\0\n\0"), Err(ImportError::Encoding(_))));
        assert!(matches!(read(b"PK\x03\x04rest"), Err(ImportError::Spreadsheet)));
        assert!(matches!(read(b"\n \n"), Err(ImportError::Empty)));
    }

    #[test]
    fn gzip_is_unpacked_and_a_torn_one_is_told() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let body: String = std::iter::once("a,b\n".to_owned()).chain((0..50_000).map(|n| format!("{n},{}\n", n * 7919 % 1000))).collect();
        gz.write_all(body.as_bytes()).expect("pack");
        let packed = gz.finish().expect("pack");
        assert_eq!(read(&packed).expect("reads").len(), 50_001);
        let torn = read(&packed[..packed.len() / 2]).expect("reads");
        assert!(torn.len() > 1_000 && torn.last().is_some_and(|l| l == "torn"));
    }
}
