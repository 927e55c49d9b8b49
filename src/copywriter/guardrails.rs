//! The guardrails: pure checks that hold a text against the facts. What has an error here is never sent.
//!
//! Every number, price, percentage and proper name must be among the facts; lengths hold per channel; no banned claim, no invented
//! scarcity or discount, no link, no markup, no slot but the two allowed, and the script of the locale.

mod claims;
mod facts;
mod names;
mod numbers;

use std::sync::OnceLock;

use regex::Regex;

use super::model::{Brief, Copy, CopyChannel, Finding, FindingKind, SLOT_FIRST_NAME, SLOT_PRICE, Severity};
use super::title::{is_invisible, width};
use claims::{claims, spam};
use facts::Facts;
use names::{names, script};
use numbers::numbers;

/// Widest text per field; CJK characters count twice. Banner limits are those of responsive display ads.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub subject: usize,
    pub preheader: usize,
    pub headline: usize,
    pub body: usize,
    pub cta: usize,
}

pub const fn limits(channel: CopyChannel) -> Limits {
    match channel {
        CopyChannel::Email => Limits { subject: 60, preheader: 100, headline: 60, body: 700, cta: 15 },
        CopyChannel::Banner => Limits { subject: 0, preheader: 0, headline: 30, body: 90, cta: 15 },
    }
}

fn regex(cell: &'static OnceLock<Regex>, pattern: &str) -> &'static Regex {
    cell.get_or_init(|| Regex::new(pattern).unwrap_or_else(|e| unreachable!("a pattern of our own: {e}")))
}
macro_rules! pattern {
    ($text:expr) => {{
        static CELL: std::sync::OnceLock<regex::Regex> = std::sync::OnceLock::new();
        $crate::copywriter::guardrails::regex(&CELL, $text)
    }};
}
use pattern;

/// Whether a word holds something that mail programs would turn into a link.
pub fn has_domain(text: &str) -> bool {
    pattern!(r"(?i)[a-z0-9\u{80}-\u{FFFF}-]\.(com|net|org|info|biz|io|co|shop|store|app|dev|xyz|top|site|online|club|me|ly|example|test|de|uk|cn|ru|eu|fr|us|cc|tk|link|click)(?:[^a-z0-9-]|$)").is_match(text)
}

/// Checks a text against its brief. An empty list: it may be sent.
pub fn check(copy: &Copy, brief: &Brief) -> Vec<Finding> {
    let facts = Facts::of(brief);
    let mut findings = Vec::new();
    let limits = limits(brief.channel);
    let maxima = [limits.subject, limits.preheader, limits.headline, limits.body, limits.cta];
    for ((field, text), max) in copy.fields().into_iter().zip(maxima) {
        let mut out = Sink { field, findings: &mut findings };
        shape(text, max, brief, &mut out);
        if text.trim().is_empty() {
            continue;
        }
        // A text with the wrong characters is not looked at any closer.
        markup(text, &mut out);
        numbers(text, &facts, &mut out);
        claims(text, brief, &facts, &mut out);
        names(text, brief.locale, &facts, &mut out);
        script(text, brief.locale, &facts, &mut out);
        spam(text, &facts, &mut out);
    }
    findings
}

struct Sink<'a> {
    field: &'static str,
    findings: &'a mut Vec<Finding>,
}

impl Sink<'_> {
    fn add(&mut self, kind: FindingKind, severity: Severity, text: &str, message: impl Into<String>) {
        let found = Finding { kind, severity, field: self.field.into(), text: text.chars().take(120).collect(), message: message.into() };
        if !self.findings.contains(&found) {
            self.findings.push(found);
        }
    }
    fn error(&mut self, kind: FindingKind, text: &str, message: impl Into<String>) {
        self.add(kind, Severity::Error, text, message);
    }
}

fn shape(text: &str, max: usize, brief: &Brief, out: &mut Sink<'_>) {
    let required = match out.field {
        "subject" => brief.channel == CopyChannel::Email,
        "headline" | "body" | "cta" => true,
        _ => false,
    };
    if text.trim().is_empty() {
        if required {
            out.error(FindingKind::Empty, "", format!("The {} is empty.", out.field));
        }
        return;
    }
    if let Some(c) = text.chars().find(|c| is_invisible(*c) && !(*c == '\n' && out.field == "body")) {
        out.error(FindingKind::Control, &format!("U+{:04X}", u32::from(c)), "Line breaks and invisible characters are not allowed here.");
    }
    let price = brief.price_now().to_string();
    let shown = text.replace(SLOT_FIRST_NAME, "Alexandra Lu").replace(SLOT_PRICE, &price);
    let long = width(&shown);
    if long > max {
        let what = if max == 0 { "A banner has none.".to_owned() } else { format!("It is {long} wide; at most {max} is allowed.") };
        out.error(FindingKind::Length, text, what);
    }
}

fn markup(text: &str, out: &mut Sink<'_>) {
    if let Some(m) = pattern!(r"<\s*[A-Za-z/!?]|&(?:#\d+|#x[0-9a-fA-F]+|[A-Za-z]{2,10});").find(text) {
        out.error(FindingKind::Markup, m.as_str(), "No HTML in copy.");
    }
    if let Some(m) = pattern!(r"\{\{|\}\}|\{%|%\}|\{#|#\}|\$\{|<%|%>").find(text) {
        out.error(FindingKind::Markup, m.as_str(), "No template syntax in copy; the slots are {first_name} and {price}.");
    }
    let rest = text.replace(SLOT_FIRST_NAME, " ").replace(SLOT_PRICE, " ");
    if let Some(m) = pattern!(r"\{[^{}]*\}?|\}").find(&rest) {
        out.error(FindingKind::Slot, m.as_str(), "This slot is not known; the slots are {first_name} and {price}.");
    }
    if let Some(m) = pattern!(r"\[[a-zA-Z_ ]+\]").find(&rest) {
        out.error(FindingKind::Slot, m.as_str(), "A placeholder was left unfilled.");
    }
    if let Some(m) = pattern!(r"(?i)https?:|www\.|ftp:|mailto:|javascript:|//|[\w.+-]+@[\w-]+").find(text) {
        out.error(FindingKind::Link, m.as_str(), "No addresses or links in copy; links are added by the template.");
    } else if has_domain(text) {
        out.error(FindingKind::Link, text, "This reads as a web address.");
    }
}
