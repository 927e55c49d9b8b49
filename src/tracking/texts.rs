//! The words on the pages that a mail's links lead to, per language.

use serde::Serialize;

/// All texts of the pages in one language.
#[derive(Debug, Serialize)]
pub struct Texts {
    pub lang: &'static str,
    pub unsubscribe_title: &'static str,
    pub unsubscribe_ask: &'static str,
    pub unsubscribe_button: &'static str,
    pub unsubscribe_done: &'static str,
    pub unsubscribe_done_more: &'static str,
    pub preferences_link: &'static str,
    pub preferences_title: &'static str,
    pub preferences_ask: &'static str,
    pub preferences_email: &'static str,
    pub preferences_email_about: &'static str,
    pub preferences_ads: &'static str,
    pub preferences_ads_about: &'static str,
    pub preferences_button: &'static str,
    pub preferences_done: &'static str,
    pub gone_title: &'static str,
    pub gone_more: &'static str,
    pub busy_title: &'static str,
    pub busy_more: &'static str,
}

const EN: Texts = Texts {
    lang: "en",
    unsubscribe_title: "Unsubscribe",
    unsubscribe_ask: "Press the button and we will not send you offers by e-mail any more.",
    unsubscribe_button: "Unsubscribe",
    unsubscribe_done: "You are unsubscribed",
    unsubscribe_done_more: "We will not send you offers by e-mail any more. Mails about your orders still reach you.",
    preferences_link: "Choose what you receive",
    preferences_title: "Your choices",
    preferences_ask: "What may we use to show you offers?",
    preferences_email: "E-mail",
    preferences_email_about: "Offers in your inbox, chosen for you.",
    preferences_ads: "Personal offers on our pages",
    preferences_ads_about: "Without this you still see offers, but the same as everybody.",
    preferences_button: "Save",
    preferences_done: "Saved.",
    gone_title: "This link does not lead anywhere",
    gone_more: "It may be incomplete. Please copy the whole link from the mail and try again.",
    busy_title: "One moment, please",
    busy_more: "We could not save this just now. Please try again in a minute.",
};

const ZH: Texts = Texts {
    lang: "zh",
    unsubscribe_title: "退订",
    unsubscribe_ask: "点击下面的按钮，我们将不再向您发送优惠邮件。",
    unsubscribe_button: "确认退订",
    unsubscribe_done: "您已成功退订",
    unsubscribe_done_more: "我们不会再向您发送优惠邮件。与订单有关的邮件仍会照常发送。",
    preferences_link: "选择您想收到的内容",
    preferences_title: "您的偏好",
    preferences_ask: "您希望我们通过哪些方式向您展示优惠？",
    preferences_email: "电子邮件",
    preferences_email_about: "为您挑选的优惠会发送到您的邮箱。",
    preferences_ads: "网站上的个性化推荐",
    preferences_ads_about: "关闭后您仍会看到优惠，但与其他人看到的相同。",
    preferences_button: "保存",
    preferences_done: "已保存。",
    gone_title: "此链接无效",
    gone_more: "链接可能不完整。请从邮件中复制完整的链接后重试。",
    busy_title: "请稍候",
    busy_more: "暂时无法保存，请一分钟后再试。",
};

impl Texts {
    /// The texts for a language tag such as `zh-CN`; English where there are none.
    pub fn of(locale: &str) -> &'static Texts {
        if locale.to_ascii_lowercase().starts_with("zh") { &ZH } else { &EN }
    }
    /// The texts for what a browser asks for, else for the shop's language.
    pub fn accepted(accept_language: Option<&str>, shop: &str) -> &'static Texts {
        let first = accept_language.and_then(|a| a.split(',').next()).map(str::trim).filter(|l| l.len() >= 2 && *l != "*");
        Self::of(first.unwrap_or(shop))
    }
}
