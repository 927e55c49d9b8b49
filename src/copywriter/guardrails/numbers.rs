//! Numbers, prices and percentages: each must be one of the facts.

use super::super::model::FindingKind;
use super::facts::{Facts, normal_number, number_tokens};
use super::{Sink, pattern};

pub(super) fn numbers(text: &str, facts: &Facts, out: &mut Sink<'_>) {
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
