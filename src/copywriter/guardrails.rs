//! The guardrails: pure checks that hold a text against the facts. What has an error here is never sent.
//!
//! Every number, price, percentage and proper name must be among the facts; lengths hold per channel; no banned claim, no invented
//! scarcity or discount, no link, no markup, no slot but the two allowed, and the script of the locale.

use std::collections::HashSet;
use std::sync::OnceLock;

use regex::Regex;

use super::grammar;
use super::model::{Brief, Copy, CopyChannel, Finding, FindingKind, Locale, SLOT_FIRST_NAME, SLOT_PRICE, Severity};
use super::title::{self, is_cjk, is_invisible, width};

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
        static CELL: OnceLock<Regex> = OnceLock::new();
        regex(&CELL, $text)
    }};
}

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

/// What may be said, in the forms in which texts say it.
struct Facts {
    /// Lower-case text of all facts, for looking words and phrases up.
    all: String,
    words: HashSet<String>,
    numbers: HashSet<String>,
    percents: HashSet<String>,
    /// Amounts that may stand beside a currency.
    amounts: HashSet<String>,
    currency_words: Vec<String>,
    /// Product, brand, shop and category as they may be quoted: taken out before claims about price and stock are looked for.
    names: Vec<String>,
    /// The product's own title, as written and made readable: what it says is its name, whatever else the word may mean ("Oak table no 1").
    titles: Vec<String>,
    /// Zehntel: a saving of 20 % is 8 折.
    fold: Option<String>,
}

impl Facts {
    fn of(brief: &Brief) -> Self {
        let readable = |t: &str| title::readable(t).unwrap_or_default();
        let mut texts =
            vec![brief.title.clone(), readable(&brief.title), brief.description.clone(), brief.shop.clone(), readable(&brief.shop)];
        for extra in [&brief.brand, &brief.category].into_iter().flatten() {
            texts.push(extra.clone());
            texts.push(readable(extra));
        }
        for (key, value) in &brief.attributes {
            texts.push(format!("{key} {value}"));
        }
        let mut amounts: HashSet<String> = HashSet::new();
        for money in [Some(brief.price), brief.sale()].into_iter().flatten() {
            amounts.extend(amount_forms(&money.to_string()));
        }
        if let Some(sale) = brief.sale() {
            let saved = crate::platform::Money::new(brief.price.minor - sale.minor, sale.currency);
            amounts.extend(amount_forms(&saved.to_string()));
        }
        let joined = texts.join(" \n ");
        let mut numbers: HashSet<String> = number_tokens(&joined).map(|(n, _, _)| normal_number(n)).collect();
        let mut percents: HashSet<String> = HashSet::new();
        for (number, _, end) in number_tokens(&joined) {
            if joined[end..].trim_start().starts_with(['%', '％']) {
                percents.insert(normal_number(number));
            }
        }
        percents.extend(brief.saving_percent().map(|p| p.to_string()));
        numbers.extend(amounts.iter().cloned());
        numbers.extend(percents.iter().cloned());
        numbers.extend(brief.stock.map(|n| n.to_string()));
        let mut names: Vec<String> =
            [Some(brief.title.as_str()), Some(brief.shop.as_str()), brief.brand.as_deref(), brief.category.as_deref()]
                .into_iter()
                .flatten()
                .flat_map(|t| [t.to_lowercase(), readable(t).to_lowercase()])
                .filter(|t| t.chars().count() >= 2)
                .collect();
        names.sort_by_key(|n| std::cmp::Reverse(n.len()));
        let mut titles = vec![brief.title.to_lowercase(), readable(&brief.title).to_lowercase()];
        titles.retain(|t| t.chars().count() >= 2);
        titles.sort_by_key(|t| std::cmp::Reverse(t.len()));
        let all = joined.to_lowercase();
        Self {
            words: words_of(&all).map(ToOwned::to_owned).collect(),
            all,
            numbers,
            percents,
            amounts,
            currency_words: currency_words(brief.price.currency.code()),
            names,
            titles,
            fold: brief.saving_percent().map(|p| normal_number(&format!("{}.{}", (100 - p) / 10, (100 - p) % 10))),
        }
    }

    /// The text (lower-case) without the names of product, brand, shop and category, whole or shortened.
    fn without_names(&self, text: &str) -> String {
        without(&self.names, text)
    }
    /// The text (lower-case) without the product's title, whole or shortened.
    fn without_title(&self, text: &str) -> String {
        without(&self.titles, text)
    }
}

fn without(names: &[String], text: &str) -> String {
    let mut out = text.to_lowercase().replace('’', "'");
    for name in names {
        let name = name.replace('’', "'");
        out = out.replace(name.as_str(), " § ");
        // A shortened title: its longest run of leading words that the text holds.
        let mut cut = name.as_str();
        while let Some((shorter, _)) = cut.rsplit_once(' ') {
            cut = shorter;
            if cut.chars().count() >= 6 && out.contains(cut) {
                out = out.replace(cut, " § ");
                break;
            }
        }
    }
    out
}

fn currency_words(code: &str) -> Vec<String> {
    let words: &[&str] = match code {
        "EUR" => &["€", "eur", "euro", "euros", "欧元"],
        "GBP" => &["£", "gbp", "pound", "pounds", "quid", "英镑"],
        "USD" => &["$", "usd", "us$", "dollar", "dollars", "美元"],
        "CNY" => &["¥", "￥", "cny", "rmb", "yuan", "元", "块", "人民币"],
        "JPY" => &["¥", "￥", "jpy", "yen", "円", "日元"],
        _ => &[],
    };
    words.iter().map(|w| (*w).to_owned()).chain([code.to_lowercase()]).collect()
}

/// Digits with inner points and commas, with their byte range.
fn number_tokens(text: &str) -> impl Iterator<Item = (&str, usize, usize)> {
    pattern!(r"\d+(?:[.,]\d+)*").find_iter(text).map(|m| (m.as_str(), m.start(), m.end()))
}

/// One form for equal numbers: "1,299.00", "1299" and "1299,00" are one.
fn normal_number(text: &str) -> String {
    let digits: String = text.chars().map(|c| c.to_digit(10).and_then(|d| char::from_digit(d, 10)).unwrap_or(c)).collect();
    let (whole, fraction) = match digits.rfind(['.', ',']) {
        Some(at) if digits.len() - at - 1 != 3 || digits.starts_with("0.") => (digits[..at].to_owned(), digits[at + 1..].to_owned()),
        _ => (digits.clone(), String::new()),
    };
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match (whole.is_empty(), fraction.is_empty()) {
        (true, true) => "0".into(),
        (true, false) => format!("0.{fraction}"),
        (false, true) => whole.to_owned(),
        (false, false) => format!("{whole}.{fraction}"),
    }
}

fn amount_forms(shown: &str) -> Vec<String> {
    number_tokens(shown).map(|(n, _, _)| normal_number(n)).collect()
}

fn words_of(lower: &str) -> impl Iterator<Item = &str> {
    lower
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|w| w.trim_matches('\''))
        .map(|w| w.strip_suffix("'s").unwrap_or(w))
        .filter(|w| !w.is_empty())
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

fn numbers(text: &str, facts: &Facts, out: &mut Sink<'_>) {
    let lower = text.to_lowercase();
    for (token, start, end) in number_tokens(&lower) {
        let number = normal_number(token);
        let before = lower[..start].trim_end();
        let after = lower[end..].trim_start();
        if after.starts_with(['%', '％']) || pattern!(r"^(per\s?cent|percent|pct)\b").is_match(after) {
            if !facts.percents.contains(&number) {
                out.error(FindingKind::Percent, &format!("{token}%"), "This percentage is not among the facts.");
            }
        } else if after.starts_with('折') {
            if facts.fold.as_ref() != Some(&number) {
                out.error(FindingKind::Percent, &format!("{token}折"), "This reduction is not among the facts.");
            }
        } else if beside_currency(before, after) {
            let own = facts.currency_words.iter().any(|w| before.ends_with(w.as_str()) || after.starts_with(w.as_str()));
            if !own || !facts.amounts.contains(&number) {
                let whole = &lower[start.saturating_sub(0)..end];
                if !facts.all.contains(&format!("{}{whole}", last_symbol(before))) || last_symbol(before).is_empty() {
                    out.error(FindingKind::Price, token, "This amount is not the product's price.");
                }
            }
        } else if !facts.numbers.contains(&number) {
            out.error(FindingKind::Number, token, "This number is not among the facts.");
        }
    }
    if let Some(m) = text.chars().find(|c| {
        c.is_numeric()
            && !c.is_ascii_digit()
            && !facts.all.contains(*c)
            && !matches!(c, '一' | '二' | '三' | '四' | '五' | '六' | '七' | '八' | '九' | '十' | '〇' | '零' | '百' | '千' | '万')
    }) {
        out.error(FindingKind::Number, &m.to_string(), "This number is not among the facts.");
    }
    let spelled = pattern!(
        r"\b(?:ten|fifteen|twenty|twenty-five|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|five)[\s-]?(?:per\s?cent|percent|%|off)|\bhalf[\s-](?:price|off)|\btwo for (?:one|the price)|\bbuy one\b|百分之[一二三四五六七八九十百零]+|[一二三四五六七八九](?:点?[一二三四五六七八九])?折|半价|买一送一|第二件"
    );
    if let Some(m) = spelled.find(&lower)
        && !facts.all.contains(m.as_str())
    {
        out.error(FindingKind::Percent, m.as_str(), "This reduction is not among the facts.");
    }
}

fn last_symbol(before: &str) -> String {
    before.chars().last().filter(|c| !c.is_alphanumeric() && !c.is_whitespace()).map(String::from).unwrap_or_default()
}

fn beside_currency(before: &str, after: &str) -> bool {
    before.ends_with(['€', '£', '$', '¥', '￥', '₹', '₩', '₽', '฿', '₫', '₺'])
        || after.starts_with(['€', '£', '$', '¥', '￥', '元', '块', '円'])
        || pattern!(r"^(eur|euros?|gbp|pounds?|usd|dollars?|cny|rmb|yuan|jpy|yen|chf|cents?|pence|quid|bucks|欧元|英镑|美元|日元|人民币)\b")
            .is_match(after)
        || pattern!(r"\b(eur|gbp|usd|cny|rmb|jpy|chf)$").is_match(before)
}

/// Never, whoever says it; only inside the product's own title it is a name.
const BANNED: &str = r"\bguarante\w*|\bbest (?:\w+ )?in the world|\bworld'?s (?:best|greatest|finest|number)|\bnumber one\b|(?:^|\s)#\s?1\b|\bno\.? ?1\b|\brisk[- ]free|\bmiracle\b|\bcures?\b|\bcuring\b|\bheals?\b|\bhealing power|\btreats? (?:pain|disease|anxiety|depression|cancer|diabetes|acne|insomnia)|\bprevents? (?:disease|cancer|illness|covid|flu)|\bclinically (?:proven|tested)|\bmedically\b|\bdoctor[- ](?:recommended|approved)|\blose weight|\bweight loss|\banti[- ]?(?:cancer|viral|bacterial)|\bfda\b|\bdetox\w*|\bpain relief|\bget rich|\bmake money|\bcasino\b|保证|包治|治愈|治疗|疗效|药效|根治|减肥|壮阳|抗癌|国家级|世界级|最高级|最佳|最好|最优|最先进|最便宜|最低价|全网最低|全国第一|世界第一|销量第一|行业第一|第一品牌|独一无二|绝无仅有|顶级|极品|永久|万能|零风险|百分之百|100%有效|稳赚";
/// Only where the facts themselves say so.
const UNFOUNDED: &str = r"\bfree\b|\bgift\b|\bgifts\b|\bbest[- ]?sell\w*|\baward\w*|\bmost popular|\bexclusiv\w*|\blimited edition|\borganic\b|\bvegan\b|\beco[- ]friendly|\bsustainabl\w*|\bhand[- ]?made\b|\bcertified\b|\bwarranty\b|\breturns\b|\bnext[- ]day|\bship(?:s|ping|ped)?\b|\bdeliver(?:y|ed|s)\b|包邮|免运费|免费|赠品|赠送|畅销|获奖|独家|限量版|有机|手工|环保|质保|保修|退货|次日达";
const SCARCITY: &str = r"\blimited time|\blast chance|\bonly \S+ left|\b\d+ left\b|\bselling (?:fast|out)|\balmost (?:gone|sold out)|\bgoing fast|\bwhile (?:stocks?|supplies) lasts?|\bhurry\b|\bends (?:today|tonight|soon|tomorrow)|\bact now|\bfinal (?:hours|day|call)|\bdon'?t miss out|\bbefore (?:it|they)(?:'s| is|'re| are) gone|\blimited (?:stock|quantit\w+|offer)|限时|仅剩|最后机会|最后一天|最后几|即将售罄|即将结束|抢购|手慢无|欲购从速|库存紧张|限量|售完即止|秒杀";
const DISCOUNT: &str = r"\b\d+\s?% ?(?:off|less|cheaper)|\bdiscount\w*|\bon sale\b|\bsale\b|\breduced\b|\bprice (?:drop|cut)|\blower(?:ed)? (?:a |the )?price|\bsav(?:e|es|ing|ings)\b|\bcheaper\b|\bbargain\w*|\bspecial offer|\bspecial price|\bdeals?\b|\bclearance\b|\bvoucher\w*|\bcoupon\w*|\bpromo\w*|\bwas [€£$¥]|\binstead of [€£$¥]|\bcosts less|降价|特价|优惠|打折|折扣|立减|促销|直降|原价|便宜|调低|下调|更低|代金券|优惠券|清仓|大减价";

fn claims(text: &str, brief: &Brief, facts: &Facts, out: &mut Sink<'_>) {
    let lower = text.to_lowercase().replace('’', "'");
    for m in pattern!(BANNED).find_iter(&facts.without_title(&lower)) {
        out.error(FindingKind::Claim, m.as_str(), "Claims of this kind are never made, whatever the product's description says.");
    }
    let rest = facts.without_names(&lower);
    for m in pattern!(UNFOUNDED).find_iter(&rest) {
        if !facts.words.contains(m.as_str()) && !facts.all.contains(m.as_str()) {
            out.error(FindingKind::Claim, m.as_str(), "The facts don't say so.");
        }
    }
    let scarce = brief.stock.is_some_and(|n| (1..=10).contains(&n));
    if let Some(m) = pattern!(SCARCITY).find(&rest)
        && !scarce
    {
        out.error(FindingKind::Scarcity, m.as_str(), "Nothing in the facts says that it is scarce or that time is short.");
    }
    if brief.stock == Some(0)
        && let Some(m) = pattern!(r"\bin stock\b|\bback now\b|现在有货|重新到货|恢复供应").find(&rest)
    {
        out.error(FindingKind::Scarcity, m.as_str(), "It is out of stock.");
    }
    if brief.sale().is_none()
        && let Some(m) = pattern!(DISCOUNT).find(&rest)
    {
        out.error(FindingKind::Discount, m.as_str(), "There is no sale price, so there is nothing to announce.");
    }
}

/// English words that begin with a capital wherever they stand.
const CAPITAL_WORDS: &[&str] = &[
    "i",
    "i'm",
    "i've",
    "i'd",
    "i'll",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "english",
    "ok",
    "diy",
    "psst",
    "hi",
    "hello",
    "dear",
    "hey",
];

fn vocabulary() -> &'static HashSet<String> {
    static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let own = grammar::source(Locale::En).lines().filter(|l| !l.starts_with(['#', '['])).collect::<Vec<_>>().join(" ").to_lowercase();
        let common = include_str!("phrases/common_words.txt");
        words_of(&own).chain(words_of(common)).map(ToOwned::to_owned).chain(CAPITAL_WORDS.iter().map(|w| (*w).to_owned())).collect()
    })
}

/// Words with a capital that are neither ordinary words nor among the facts are somebody's name.
fn names(text: &str, locale: Locale, facts: &Facts, out: &mut Sink<'_>) {
    let plain = text.replace(SLOT_FIRST_NAME, " ").replace(SLOT_PRICE, " ").replace('’', "'");
    let mut sentence_start = true;
    for raw in plain.split_whitespace() {
        for part in raw.split(['-', '/', '–', '—', '(', '&', '+', '：', '，', '。', '！', '？', '、', '“', '”']) {
            let word = part.trim_matches(|c: char| !c.is_alphanumeric() && c != '…');
            let Some(first) = word.chars().next() else { continue };
            let lower = word.to_lowercase();
            let bare = lower.strip_suffix("'s").unwrap_or(&lower);
            let latin = first.is_alphabetic() && !is_cjk(first);
            let capital = word.chars().any(char::is_uppercase);
            let known = facts.words.contains(bare)
                || vocabulary().contains(bare)
                || (bare.ends_with('…') && facts.all.contains(bare.trim_end_matches('…')))
                || bare.split('\'').all(|w| w.len() < 2 || facts.words.contains(w) || vocabulary().contains(w));
            if latin && !known && !word.chars().all(|c| c.is_ascii_digit()) {
                if locale == Locale::Zh && word.chars().count() > 1 && !latin_inside_fact(bare, facts) {
                    out.error(FindingKind::Name, word, "This word is not among the facts.");
                } else if locale == Locale::En && capital {
                    let severity =
                        if sentence_start && word.chars().skip(1).all(char::is_lowercase) { Severity::Warning } else { Severity::Error };
                    out.add(FindingKind::Name, severity, word, "This looks like a name, and is not among the facts.");
                }
            }
            sentence_start = false;
        }
        sentence_start = raw.ends_with(['.', '!', '?', ':', '…']) && !raw.ends_with("e.g.");
    }
    for m in pattern!(r"《[^》]{1,40}》|「[^」]{1,40}」").find_iter(text) {
        let inner: String = m.as_str().chars().filter(|c| !"《》「」".contains(*c)).collect::<String>().to_lowercase();
        if !facts.all.contains(&inner) {
            out.error(FindingKind::Name, m.as_str(), "This name is not among the facts.");
        }
    }
}

/// Words glued to Han characters ("Cup马克杯") arrive here as one token.
fn latin_inside_fact(token: &str, facts: &Facts) -> bool {
    token
        .split(|c: char| is_cjk(c) || !c.is_alphanumeric())
        .filter(|w| !w.is_empty())
        .all(|w| w.chars().count() == 1 || w.chars().all(|c| c.is_ascii_digit()) || facts.all.contains(w))
}

fn script(text: &str, locale: Locale, facts: &Facts, out: &mut Sink<'_>) {
    let rest = facts.without_names(&text.replace(SLOT_FIRST_NAME, "").replace(SLOT_PRICE, ""));
    let letters = rest.chars().filter(|c| c.is_alphabetic() && *c != '§');
    let (mut han, mut latin, mut other) = (0_usize, 0_usize, 0_usize);
    for c in letters {
        if is_cjk(c) {
            han += 1;
        } else if c.is_ascii() || matches!(u32::from(c), 0xC0..=0x24F | 0xAA | 0xBA) {
            latin += 1;
        } else if !facts.all.contains(c) {
            other += 1;
        }
    }
    let unknown_han = rest.chars().any(|c| is_cjk(c) && c.is_alphabetic() && !facts.all.contains(c));
    let wrong = match locale {
        Locale::En => other > 0 || unknown_han,
        Locale::Zh => other > 0 || (han == 0 && latin > 0) || (han + latin >= 12 && latin > han * 3),
    };
    if wrong {
        out.error(FindingKind::Script, text, "This is not written in the script of its language.");
    }
}

/// Words that spam filters weigh, and what each weighs.
const SPAM: &[(&str, u32)] = &[
    ("act now", 3),
    ("click here", 3),
    ("buy now", 1),
    ("order now", 1),
    ("cash", 2),
    ("winner", 3),
    ("congratulations", 2),
    ("urgent", 2),
    ("100%", 2),
    ("amazing", 1),
    ("incredible", 1),
    ("unbelievable", 2),
    ("once in a lifetime", 3),
    ("no obligation", 2),
    ("$$$", 4),
    ("earn", 1),
    ("cheap", 1),
    ("lowest price", 2),
    ("dear friend", 3),
    ("this is not spam", 5),
    ("credit card", 2),
    ("viagra", 5),
    ("prize", 2),
    ("点击这里", 3),
    ("中奖", 4),
    ("恭喜", 2),
    ("发票", 4),
    ("代开", 4),
    ("赚钱", 3),
    ("惊爆", 2),
    ("疯抢", 3),
    ("速来", 2),
    ("最后", 1),
];
const SPAM_LIMIT: u32 = 3;

fn spam(text: &str, facts: &Facts, out: &mut Sink<'_>) {
    let rest = facts.without_names(text);
    let mut score: u32 = SPAM.iter().filter(|(w, _)| rest.contains(w)).map(|(_, s)| s).sum();
    let marks = text.chars().filter(|c| matches!(c, '!' | '！')).count();
    score += match marks {
        0 | 1 => 0,
        2 => 1,
        _ => 3,
    };
    let shouted = text
        .split_whitespace()
        .map(|w| w.trim_matches(|c: char| !c.is_alphabetic()))
        .filter(|w| w.chars().count() > 3 && w.chars().all(char::is_uppercase) && w.is_ascii() && !facts.words.contains(&w.to_lowercase()))
        .count();
    score += u32::try_from(shouted).unwrap_or(9) * 2;
    if score >= SPAM_LIMIT {
        out.error(FindingKind::Spam, text, "This reads like spam: fewer loud words, at most one exclamation mark.");
    } else if score > 1 {
        out.add(FindingKind::Spam, Severity::Warning, text, "This is on the loud side.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copywriter::tests::brief;

    fn claims_in(title: &str, body: &str) -> Vec<String> {
        let brief = Brief { title: title.into(), ..brief(Locale::En) };
        let copy =
            Copy { subject: "For you".into(), headline: "For you".into(), body: body.into(), cta: "Have a look".into(), ..Copy::default() };
        check(&copy, &brief).into_iter().filter(|f| f.kind == FindingKind::Claim).map(|f| f.text).collect()
    }

    #[test]
    fn a_claim_inside_the_products_own_title_is_its_name() {
        for (title, body) in [
            ("Oak table no 1", "Oak table no 1 for your kitchen."),
            ("Miracle-Gro lawn feed", "There is Miracle-Gro lawn feed again."),
            ("NO.1 DAD MUG", "No.1 Dad Mug for the shelf."),
        ] {
            assert_eq!(claims_in(title, body), Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn outside_the_title_it_stays_a_claim() {
        assert_eq!(claims_in("Oak table no 1", "Oak table no 1 is our no 1.").len(), 1);
        assert_eq!(claims_in("Oak table", "Oak table, the no 1 of tables.").len(), 1);
        assert_eq!(claims_in("Oak table no 1", "A miracle: Oak table no 1.").len(), 1);
        assert_eq!(claims_in("Oak table no 1", "No 1 table of oak.").len(), 1, "taken apart it claims again");
    }
}
