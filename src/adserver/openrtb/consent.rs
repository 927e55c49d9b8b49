//! What a bid request says about consent: TCF, GPP, US privacy, COPPA, limited tracking. The answer is one bit: may the choice be personal?
//! Whatever cannot be read, or is not known here, says no; a contextual choice is always left.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Purposes that a personal ad needs: store and read on a device, make a profile, choose ads by it.
const PURPOSES: [usize; 3] = [1, 3, 4];

/// What of a request bears on consent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals<'a> {
    pub gdpr: Option<i64>,
    /// TCF 2 consent string.
    pub tcf: Option<&'a str>,
    pub us_privacy: Option<&'a str>,
    pub gpp: Option<&'a str>,
    pub gpp_sid: &'a [i64],
    pub coppa: bool,
    /// `device.lmt` or `device.dnt`.
    pub limited: bool,
}

/// `vendor`: our number in the Global Vendor List; 0 where the shop has none.
pub fn may_personalise(signals: &Signals<'_>, vendor: usize) -> bool {
    if signals.coppa || signals.limited {
        return false;
    }
    // A consent string says that somebody asked, also where the request forgets to say that the GDPR holds.
    if (signals.gdpr == Some(1) || (signals.gdpr.is_none() && signals.tcf.is_some_and(|t| !t.is_empty())))
        && !tcf_allows(signals.tcf.unwrap_or_default(), vendor)
    {
        return false;
    }
    if signals.us_privacy.is_some_and(|text| !us_privacy_allows(text)) {
        return false;
    }
    gpp_allows(signals.gpp.unwrap_or_default(), signals.gpp_sid, vendor)
}

/// Bits of a base64url text, first bit first.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn of(text: &str) -> Option<Self> {
        if text.len() > 16 << 10 {
            return None;
        }
        // Strings may end within a byte: padding bits are nobody's business.
        let whole = text.trim_end_matches('=');
        let bytes = URL_SAFE_NO_PAD
            .decode(whole)
            .or_else(|_| base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT).decode(whole))
            .ok()?;
        Some(Self { bytes, at: 0 })
    }
    fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }
    fn number(&mut self, bits: usize) -> Option<usize> {
        let mut n = 0;
        for _ in 0..bits {
            n = n << 1 | usize::from(self.bit()?);
        }
        Some(n)
    }
    /// Fibonacci coding: the sum of the places that are set, up to two in a row.
    fn fibonacci(&mut self) -> Option<usize> {
        let (mut a, mut b, mut sum, mut last) = (1_usize, 2_usize, 0_usize, false);
        for _ in 0..40 {
            let bit = self.bit()?;
            if bit && last {
                return Some(sum);
            }
            if bit {
                sum += a;
            }
            last = bit;
            (a, b) = (b, a + b);
        }
        None
    }
}

const LENIENT: base64::engine::GeneralPurposeConfig = base64::engine::GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);

fn tcf_allows(text: &str, vendor: usize) -> bool {
    let read = || -> Option<bool> {
        let mut bits = Bits::of(text.split('.').next()?)?;
        if bits.number(6)? != 2 || vendor == 0 {
            return Some(false);
        }
        bits.at = 152;
        let mut purposes = [false; 25];
        for purpose in purposes.iter_mut().skip(1) {
            *purpose = bits.bit()?;
        }
        if PURPOSES.iter().any(|p| !purposes[*p]) {
            return Some(false);
        }
        bits.at = 213;
        let most = bits.number(16)?;
        if vendor > most {
            return Some(false);
        }
        if !bits.bit()? {
            bits.at += vendor - 1;
            return bits.bit();
        }
        for _ in 0..bits.number(12)? {
            let range = bits.bit()?;
            let first = bits.number(16)?;
            let last = if range { bits.number(16)? } else { first };
            if (first..=last).contains(&vendor) {
                return Some(true);
            }
        }
        Some(false)
    };
    read().unwrap_or(false)
}

/// `1YNN`: version, notice given, opted out of sale, covered by an agreement. `-` where it does not apply.
fn us_privacy_allows(text: &str) -> bool {
    match text.as_bytes() {
        [b'1', _, out, _] => !out.eq_ignore_ascii_case(&b'Y'),
        _ => false,
    }
}

fn gpp_allows(text: &str, sections: &[i64], vendor: usize) -> bool {
    let applicable: Vec<i64> = sections.iter().copied().filter(|s| *s > 0).collect();
    if applicable.is_empty() {
        return true;
    }
    let read = || -> Option<bool> {
        let mut parts = text.split('~');
        let ids = section_ids(parts.next()?)?;
        let parts: Vec<&str> = parts.collect();
        for section in &applicable {
            let at = ids.iter().position(|id| *id as i64 == *section)?;
            if !section_allows(*section, parts.get(at)?, vendor)? {
                return Some(false);
            }
        }
        Some(true)
    };
    read().unwrap_or(false)
}

/// Ids of the sections of a GPP string, from its header.
fn section_ids(header: &str) -> Option<Vec<usize>> {
    let mut bits = Bits::of(header)?;
    if bits.number(6)? != 3 || bits.number(6)? != 1 {
        return None;
    }
    let (mut ids, mut last) = (Vec::new(), 0);
    for _ in 0..bits.number(12)?.min(64) {
        let range = bits.bit()?;
        let first = last + bits.fibonacci()?;
        last = if range { first + bits.fibonacci()? } else { first };
        if last > 1_000 {
            return None;
        }
        ids.extend(first..=last);
    }
    Some(ids)
}

fn section_allows(section: i64, text: &str, vendor: usize) -> Option<bool> {
    // Where the two-bit answers “opted out of sale / sharing / targeted advertising” lie, by section.
    let places: &[usize] = match section {
        2 => return Some(tcf_allows(text, vendor)),
        6 => return Some(us_privacy_allows(text)),
        7 => &[18, 20, 22],
        8..=10 | 12 => &[12, 14],
        11 => &[14, 16],
        _ => return Some(false),
    };
    let mut segments = text.split('.');
    let mut core = Bits::of(segments.next()?)?;
    for place in places {
        core.at = *place;
        if core.number(2)? == 1 {
            return Some(false);
        }
    }
    for segment in segments {
        // Global Privacy Control.
        let mut bits = Bits::of(segment)?;
        if bits.number(2)? == 1 && bits.bit()? {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, for strings of our own making.
    #[derive(Default)]
    struct Pen(Vec<bool>);
    impl Pen {
        fn number(&mut self, n: usize, bits: usize) -> &mut Self {
            (0..bits).rev().for_each(|i| self.0.push(n >> i & 1 == 1));
            self
        }
        fn text(&self) -> String {
            let bytes: Vec<u8> =
                self.0.chunks(8).map(|c| c.iter().enumerate().fold(0, |b, (i, on)| b | u8::from(*on) << (7 - i))).collect();
            URL_SAFE_NO_PAD.encode(bytes)
        }
    }

    fn tcf(purposes: &[usize], vendors: &[usize], ranges: bool) -> String {
        let mut pen = Pen::default();
        pen.number(2, 6);
        pen.0.resize(152, false);
        (1..=24).for_each(|p| pen.0.push(purposes.contains(&p)));
        pen.0.resize(213, false);
        pen.number(800, 16).number(usize::from(ranges), 1);
        if ranges {
            pen.number(vendors.len(), 12);
            for v in vendors {
                pen.number(1, 1).number(*v, 16).number(*v + 2, 16);
            }
        } else {
            (1..=800).for_each(|v| pen.0.push(vendors.contains(&v)));
        }
        pen.text()
    }

    #[test]
    fn under_the_gdpr_purposes_and_vendor_must_both_be_there() {
        let asked = |text: &str, vendor| may_personalise(&Signals { gdpr: Some(1), tcf: Some(text), ..Signals::default() }, vendor);
        let full = tcf(&[1, 2, 3, 4], &[755], false);
        assert!(asked(&full, 755));
        assert!(asked(&tcf(&[1, 3, 4], &[754], true), 755), "a range holds it");
        assert!(!asked(&full, 754), "another vendor");
        assert!(!asked(&full, 0), "a shop that is no vendor");
        assert!(!asked(&tcf(&[1, 4], &[755], false), 755), "no profile");
        assert!(!asked("", 755) && !asked("COtybn4PA", 755) && !asked("%%%", 755) && !asked(&full[..20], 755));
        assert!(!may_personalise(&Signals { gdpr: Some(1), ..Signals::default() }, 755), "no string");
        assert!(may_personalise(&Signals { gdpr: Some(0), ..Signals::default() }, 0));
        assert!(!may_personalise(&Signals { tcf: Some("x"), ..Signals::default() }, 755), "a string without the flag still counts");
    }

    #[test]
    fn a_real_tcf_string_is_read() {
        // An example of the specification's: purposes 2 and 10.
        let example = "COtybn4PA_zT4KjACBENAPCIAEBAAECAAIAAAAAAAAAA";
        assert_eq!(Bits::of(example).and_then(|mut b| b.number(6)), Some(2));
        assert!(!tcf_allows(example, 2), "purposes 1, 3 and 4 are not all there");
    }

    #[test]
    fn opting_out_in_the_states_children_and_limits() {
        let us = |text| may_personalise(&Signals { us_privacy: Some(text), ..Signals::default() }, 0);
        assert!(us("1YNN") && us("1---") && !us("1YYN") && !us("1yyn") && !us("2YNN") && !us(""));
        assert!(!may_personalise(&Signals { coppa: true, ..Signals::default() }, 0));
        assert!(!may_personalise(&Signals { limited: true, ..Signals::default() }, 0));
        assert!(may_personalise(&Signals::default(), 0));
    }

    #[test]
    fn gpp_sections_are_found_by_the_header_and_each_must_agree() {
        // The specification's example: sections 2 (TCF EU) and 6 (US privacy).
        assert_eq!(section_ids("DBACNYA"), Some(vec![2, 6]));
        assert_eq!(section_ids("DBABMA"), Some(vec![2]));
        assert_eq!(section_ids("DBABLA"), Some(vec![7]));
        let nat = |sale: usize, gpc: Option<bool>| {
            let mut pen = Pen::default();
            pen.number(1, 6);
            pen.0.resize(18, false);
            pen.number(sale, 2).number(2, 2).number(2, 2);
            pen.0.resize(60, false);
            let mut text = format!("DBABLA~{}", pen.text());
            if let Some(gpc) = gpc {
                let mut pen = Pen::default();
                pen.number(1, 2).number(usize::from(gpc), 1);
                text = format!("{text}.{}", pen.text());
            }
            text
        };
        let asked = |text: &str, sid: &[i64]| may_personalise(&Signals { gpp: Some(text), gpp_sid: sid, ..Signals::default() }, 755);
        assert!(asked(&nat(2, None), &[7]) && asked(&nat(2, Some(false)), &[7]));
        assert!(!asked(&nat(1, None), &[7]), "sale opted out");
        assert!(!asked(&nat(2, Some(true)), &[7]), "Global Privacy Control");
        assert!(!asked(&nat(2, None), &[8]), "a section that is not there");
        assert!(asked(&nat(1, None), &[]) && asked("", &[-1]), "no section applies");
        assert!(!asked("garbage", &[7]) && !asked("DBABLA", &[7]) && !asked(&nat(2, None), &[7, 20]), "unknown sections say no");
        let eu = format!("DBACNYA~{}~1YNN", tcf(&[1, 3, 4], &[755], false));
        assert!(asked(&eu, &[2, 6]));
    }
}
