//! Fonts for banners, and how wide text is in them.
//!
//! Noto Sans Regular and Bold (SIL Open Font License 1.1) are compiled in, from the crate `notosans`. Chinese is drawn with Noto Sans CJK
//! (OFL 1.1; Debian: fonts-noto-cjk) where the system has it: read once, when the first Chinese banner is drawn.

use std::sync::{Arc, OnceLock};

use read_fonts::{FontRef, TableProvider as _};
use resvg::usvg::fontdb::{Database, Source};

/// Where Noto Sans CJK lies on common systems: (regular, bold).
const CJK_PLACES: &[(&str, &str)] = &[
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc"),
    ("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc", "/usr/share/fonts/noto-cjk/NotoSansCJK-Bold.ttc"),
    ("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc", "/usr/share/fonts/google-noto-cjk/NotoSansCJK-Bold.ttc"),
    (
        "/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc",
        "/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Bold.ttc",
    ),
    ("/usr/local/share/fonts/NotoSansCJK-Regular.ttc", "/usr/local/share/fonts/NotoSansCJK-Bold.ttc"),
];
/// In these collections the faces are JP, KR, SC, TC, HK.
const CJK_SC: u32 = 2;
const LATIN_FAMILY: &str = "Noto Sans";
const CJK_FAMILY: &str = "Noto Sans CJK SC";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weight {
    Regular,
    Bold,
}

type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

struct Face {
    bytes: Bytes,
    index: u32,
}

impl Face {
    /// Advance in ems; `None` where the face has no glyph for the character.
    fn advance(&self, c: char) -> Option<f32> {
        let font = FontRef::from_index((*self.bytes).as_ref(), self.index).ok()?;
        let glyph = font.cmap().ok()?.map_codepoint(c)?;
        let units = f32::from(font.head().ok()?.units_per_em());
        Some(f32::from(font.hmtx().ok()?.advance(glyph)?) / units)
    }
}

/// A set of faces that one banner is drawn with.
pub struct Fonts {
    pub(super) db: Arc<Database>,
    regular: Vec<Face>,
    bold: Vec<Face>,
    /// `font-family` for the SVG, first choice first.
    pub(super) family: &'static str,
    widths: std::sync::Mutex<std::collections::HashMap<(char, Weight), Option<f32>>>,
}

impl Fonts {
    fn of(pairs: Vec<(Bytes, Bytes, u32)>, family: &'static str) -> Self {
        let mut db = Database::new();
        let (mut regular, mut bold) = (Vec::new(), Vec::new());
        for (light, heavy, index) in pairs {
            db.load_font_source(Source::Binary(light.clone()));
            db.load_font_source(Source::Binary(heavy.clone()));
            regular.push(Face { bytes: light, index });
            bold.push(Face { bytes: heavy, index });
        }
        db.set_sans_serif_family(LATIN_FAMILY);
        db.set_serif_family(LATIN_FAMILY);
        db.set_monospace_family(LATIN_FAMILY);
        Self { db: Arc::new(db), regular, bold, family, widths: std::sync::Mutex::default() }
    }

    /// Advance of a character in ems, kerning left aside.
    fn advance(&self, c: char, weight: Weight) -> Option<f32> {
        if let Ok(mut widths) = self.widths.lock() {
            return *widths.entry((c, weight)).or_insert_with(|| self.look_up(c, weight));
        }
        self.look_up(c, weight)
    }
    fn look_up(&self, c: char, weight: Weight) -> Option<f32> {
        let faces = if weight == Weight::Bold { &self.bold } else { &self.regular };
        faces.iter().find_map(|face| face.advance(c))
    }

    /// Width of a line in pixels.
    pub fn width(&self, text: &str, weight: Weight, size: f32) -> f32 {
        text.chars().map(|c| self.advance(c, weight).unwrap_or(0.6)).sum::<f32>() * size
    }

    /// Characters that would be drawn as empty boxes.
    pub fn missing(&self, text: &str) -> Vec<char> {
        let mut found: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && self.advance(*c, Weight::Bold).is_none()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn latin_pair() -> (Bytes, Bytes, u32) {
    (Arc::new(notosans::REGULAR_TTF), Arc::new(notosans::BOLD_TTF), 0)
}

fn latin() -> &'static Fonts {
    static LATIN: OnceLock<Fonts> = OnceLock::new();
    LATIN.get_or_init(|| Fonts::of(vec![latin_pair()], LATIN_FAMILY))
}

fn cjk() -> Option<&'static Fonts> {
    static CJK: OnceLock<Option<Fonts>> = OnceLock::new();
    CJK.get_or_init(|| {
        CJK_PLACES.iter().find_map(|(regular, bold)| {
            let regular: Bytes = Arc::new(std::fs::read(regular).ok()?);
            let bold: Bytes = Arc::new(std::fs::read(bold).ok()?);
            Some(Fonts::of(vec![(regular, bold, CJK_SC), latin_pair()], CJK_FAMILY))
        })
    })
    .as_ref()
}

/// The fonts that can draw a text; `Err` with the characters that none can.
pub fn for_text(text: &str) -> Result<&'static Fonts, Vec<char>> {
    let missing = latin().missing(text);
    if missing.is_empty() {
        return Ok(latin());
    }
    let Some(cjk) = cjk() else { return Err(missing) };
    let missing = cjk.missing(text);
    if missing.is_empty() { Ok(cjk) } else { Err(missing) }
}

/// Whether Chinese can be drawn on this machine.
pub fn has_cjk() -> bool {
    cjk().is_some()
}

/// Lines of a wrapped text and the size they are set in.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    pub lines: Vec<String>,
    pub size: f32,
    /// Words had to be left out, and an ellipsis tells.
    pub cut: bool,
}

impl Fonts {
    /// The text in the largest of `sizes` (descending) in which it fits into `max_lines` lines of `max_width` pixels; cut with an ellipsis
    /// in the smallest where it fits in none.
    pub fn fit(&self, text: &str, weight: Weight, sizes: &[f32], max_width: f32, max_lines: usize) -> Fitted {
        let smallest = sizes.last().copied().unwrap_or(10.0);
        for size in sizes {
            let lines = self.wrap(text, weight, *size, max_width);
            if lines.len() <= max_lines && lines.iter().all(|l| self.width(l, weight, *size) <= max_width) {
                return Fitted { lines: balance(self, lines, weight, *size, max_width), size: *size, cut: false };
            }
        }
        let mut lines = self.wrap(text, weight, smallest, max_width);
        let cut = lines.len() > max_lines || lines.iter().any(|l| self.width(l, weight, smallest) > max_width);
        if lines.len() > max_lines {
            let rest = lines.split_off(max_lines.saturating_sub(1)).join(" ");
            lines.push(rest);
        }
        let lines = lines.into_iter().map(|line| self.ellipsis(&line, weight, smallest, max_width)).collect();
        Fitted { lines, size: smallest, cut }
    }

    fn ellipsis(&self, line: &str, weight: Weight, size: f32, max_width: f32) -> String {
        if self.width(line, weight, size) <= max_width {
            return line.to_owned();
        }
        let room = max_width - self.width("…", weight, size);
        let mut used = 0.0;
        let mut kept = String::new();
        for c in line.chars() {
            used += self.advance(c, weight).unwrap_or(0.6) * size;
            if used > room {
                break;
            }
            kept.push(c);
        }
        // Rather between words, where that does not cost half the line.
        if let Some((words, _)) = kept.rsplit_once(' ')
            && words.len() * 2 > kept.len()
        {
            kept = words.to_owned();
        }
        kept.truncate(kept.trim_end_matches([' ', ',', '.', ':', '-', '，', '。', '：']).len());
        kept.push('…');
        kept
    }

    fn wrap(&self, text: &str, weight: Weight, size: f32, max_width: f32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        for piece in pieces(text) {
            let candidate = format!("{line}{piece}");
            if line.is_empty() || self.width(candidate.trim_end(), weight, size) <= max_width {
                line = candidate;
            } else {
                lines.push(line.trim_end().to_owned());
                line = piece.trim_start().to_owned();
            }
        }
        if !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
        }
        lines
    }
}

/// Where a line may break: after blanks and hyphens, and between Han characters (never before a closing mark).
fn pieces(text: &str) -> Vec<String> {
    use crate::copywriter::title::is_cjk;
    const CLOSING: &str = "，。！？：；、”’）》」』…,.!?:;)%％";
    const OPENING: &str = "“‘（《「『(";
    let mut out: Vec<String> = Vec::new();
    let mut piece = String::new();
    let mut last: Option<char> = None;
    for c in text.chars() {
        if let Some(l) = last {
            let may_break = (l == ' ' && c != ' ')
                || (l == '-' && c.is_alphabetic() && piece.chars().count() > 3)
                || ((is_cjk(l) || is_cjk(c)) && !CLOSING.contains(c) && !OPENING.contains(l) && c != ' ');
            if may_break {
                out.push(std::mem::take(&mut piece));
            }
        }
        piece.push(c);
        last = Some(c);
    }
    if !piece.is_empty() {
        out.push(piece);
    }
    out
}

/// Evens out two or three lines, so that no single word hangs alone.
fn balance(fonts: &Fonts, lines: Vec<String>, weight: Weight, size: f32, max_width: f32) -> Vec<String> {
    if lines.len() < 2 {
        return lines;
    }
    let joined = {
        let mut joined = String::new();
        for line in &lines {
            let glued = joined.ends_with('-')
                || joined.chars().last().is_none_or(crate::copywriter::title::is_cjk)
                || line.chars().next().is_none_or(crate::copywriter::title::is_cjk);
            if !joined.is_empty() && !glued {
                joined.push(' ');
            }
            joined.push_str(line);
        }
        joined
    };
    let mut best = lines;
    let count = best.len();
    let mut width = max_width;
    while width > max_width * 0.5 {
        width -= max_width * 0.04;
        let tighter = fonts.wrap(&joined, weight, size, width);
        if tighter.len() != count || tighter.iter().any(|l| fonts.width(l, weight, size) > width) {
            break;
        }
        best = tighter;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_glyphs() {
        let fonts = for_text("Wi").expect("latin");
        assert!(fonts.width("W", Weight::Bold, 10.0) > fonts.width("i", Weight::Bold, 10.0) * 2.0);
        assert!((fonts.width("WW", Weight::Regular, 10.0) - 2.0 * fonts.width("W", Weight::Regular, 10.0)).abs() < 1e-3);
    }

    #[test]
    fn no_line_is_wider_than_its_box() {
        let fonts = for_text("abc…").expect("latin");
        let text = "Donaudampfschifffahrtsgesellschaftskapitän and a White Hanging Heart T-Light Holder, with three more words";
        for width in [20.0, 60.0, 90.0, 150.0, 400.0, 2000.0] {
            for lines in 1..4 {
                let fitted = fonts.fit(text, Weight::Bold, &[24.0, 18.0, 12.0], width, lines);
                assert!(fitted.lines.len() <= lines);
                for line in &fitted.lines {
                    assert!(fonts.width(line, Weight::Bold, fitted.size) <= width + 0.01 || line == "…", "{line} in {width}");
                }
            }
        }
    }

    #[test]
    fn boxes_are_found_before_they_are_drawn() {
        assert_eq!(for_text("plain text").map(|f| f.family), Ok("Noto Sans"));
        match for_text("陶瓷马克杯") {
            Ok(fonts) => assert_eq!(fonts.family, "Noto Sans CJK SC"),
            Err(missing) => assert_eq!(missing.len(), 5),
        }
        assert!(for_text("\u{10FFFD}").is_err());
    }
}
