//! What is never claimed, and what only where the facts say so; and what is too loud.

use super::super::model::{Brief, FindingKind, Severity};
use super::facts::Facts;
use super::{Sink, pattern};

/// Never, whoever says it; only inside the product's own title it is a name.
const BANNED: &str = r"\bguarante\w*|\bbest (?:\w+ )?in the world|\bworld'?s (?:best|greatest|finest|number)|\bnumber one\b|(?:^|\s)#\s?1\b|\bno\.? ?1\b|\brisk[- ]free|\bmiracle\b|\bcures?\b|\bcuring\b|\bheals?\b|\bhealing power|\btreats? (?:pain|disease|anxiety|depression|cancer|diabetes|acne|insomnia)|\bprevents? (?:disease|cancer|illness|covid|flu)|\bclinically (?:proven|tested)|\bmedically\b|\bdoctor[- ](?:recommended|approved)|\blose weight|\bweight loss|\banti[- ]?(?:cancer|viral|bacterial)|\bfda\b|\bdetox\w*|\bpain relief|\bget rich|\bmake money|\bcasino\b|保证|包治|治愈|治疗|疗效|药效|根治|减肥|壮阳|抗癌|国家级|世界级|最高级|最佳|最好|最优|最先进|最便宜|最低价|全网最低|全国第一|世界第一|销量第一|行业第一|第一品牌|独一无二|绝无仅有|顶级|极品|永久|万能|零风险|百分之百|100%有效|稳赚";
/// Only where the facts themselves say so.
const UNFOUNDED: &str = r"\bfree\b|\bgift\b|\bgifts\b|\bbest[- ]?sell\w*|\baward\w*|\bmost popular|\bexclusiv\w*|\blimited edition|\borganic\b|\bvegan\b|\beco[- ]friendly|\bsustainabl\w*|\bhand[- ]?made\b|\bcertified\b|\bwarranty\b|\breturns\b|\bnext[- ]day|\bship(?:s|ping|ped)?\b|\bdeliver(?:y|ed|s)\b|包邮|免运费|免费|赠品|赠送|畅销|获奖|独家|限量版|有机|手工|环保|质保|保修|退货|次日达";
const SCARCITY: &str = r"\blimited time|\blast chance|\bonly \S+ left|\b\d+ left\b|\bselling (?:fast|out)|\balmost (?:gone|sold out)|\bgoing fast|\bwhile (?:stocks?|supplies) lasts?|\bhurry\b|\bends (?:today|tonight|soon|tomorrow)|\bact now|\bfinal (?:hours|day|call)|\bdon'?t miss out|\bbefore (?:it|they)(?:'s| is|'re| are) gone|\blimited (?:stock|quantit\w+|offer)|限时|仅剩|最后机会|最后一天|最后几|即将售罄|即将结束|抢购|手慢无|欲购从速|库存紧张|限量|售完即止|秒杀";
const DISCOUNT: &str = r"\b\d+\s?% ?(?:off|less|cheaper)|\bdiscount\w*|\bon sale\b|\bsale\b|\breduced\b|\bprice (?:drop|cut)|\blower(?:ed)? (?:a |the )?price|\bsav(?:e|es|ing|ings)\b|\bcheaper\b|\bbargain\w*|\bspecial offer|\bspecial price|\bdeals?\b|\bclearance\b|\bvoucher\w*|\bcoupon\w*|\bpromo\w*|\bwas [€£$¥]|\binstead of [€£$¥]|\bcosts less|降价|特价|优惠|打折|折扣|立减|促销|直降|原价|便宜|调低|下调|更低|代金券|优惠券|清仓|大减价";

pub(super) fn claims(text: &str, brief: &Brief, facts: &Facts, out: &mut Sink<'_>) {
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

pub(super) fn spam(text: &str, facts: &Facts, out: &mut Sink<'_>) {
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
    use super::super::check;
    use crate::copywriter::model::{Brief, Copy, FindingKind, Locale};
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
