//! From whom mails are: what the configuration leaves open, an admin sets on a page (the setting "sender"). The configuration wins, so that who
//! runs the server has the last word.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::platform::{Config, Platform, Tx, setting};

const SETTING: &str = "sender";

/// What a page may set. Empty: not set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SenderSetting {
    pub from_name: String,
    pub from_address: String,
    pub reply_to: String,
}

/// Why a sender is refused: the field, `from_name`, `from_address` or `reply_to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be used")]
pub struct SenderError(pub &'static str);

impl SenderSetting {
    pub async fn load(platform: &Platform) -> sqlx::Result<Self> {
        setting::get_or_default(&platform.db, SETTING).await
    }

    /// Tidies it.
    ///
    /// # Errors
    /// [`SenderError`] names the field that is no name or no address.
    pub fn checked(&self) -> Result<Self, SenderError> {
        let tidy = |text: &str| text.trim().to_owned();
        let own = Self { from_name: tidy(&self.from_name), from_address: tidy(&self.from_address), reply_to: tidy(&self.reply_to) };
        if own.from_name.chars().count() > 100 || own.from_name.chars().any(char::is_control) {
            return Err(SenderError("from_name"));
        }
        for (field, address) in [("from_address", &own.from_address), ("reply_to", &own.reply_to)] {
            if !address.is_empty() && (address.len() > 254 || address.parse::<lettre::Address>().is_err()) {
                return Err(SenderError(field));
            }
        }
        Ok(own)
    }

    /// Keeps it, inside the caller's transaction.
    pub async fn put(&self, tx: &mut Tx, platform: &Platform) -> sqlx::Result<()> {
        setting::put(tx, SETTING, self, platform.now()).await
    }

    /// The configuration with its gaps filled.
    #[must_use]
    pub fn fill(&self, config: &Config) -> Config {
        let mut filled = config.clone();
        let mail = &mut filled.mail;
        if mail.from_name.is_empty() {
            mail.from_name.clone_from(&self.from_name);
        }
        if mail.from_address.is_empty() {
            mail.from_address.clone_from(&self.from_address);
        }
        if mail.reply_to.as_deref().is_none_or(str::is_empty) {
            mail.reply_to = Some(self.reply_to.clone()).filter(|r| !r.is_empty());
        }
        filled
    }
}

/// The configuration that mails are sent by.
pub async fn mail_config(platform: &Platform) -> sqlx::Result<Arc<Config>> {
    Ok(Arc::new(SenderSetting::load(platform).await?.fill(&platform.config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_wins_and_gaps_are_filled() {
        let own = SenderSetting { from_name: "Page".into(), from_address: "page@example.test".into(), reply_to: "ask@example.test".into() };
        let mut config = Config::default();
        config.mail.from_address = "file@example.test".into();
        let filled = own.fill(&config);
        assert_eq!((filled.mail.from_name.as_str(), filled.mail.from_address.as_str()), ("Page", "file@example.test"));
        assert_eq!(filled.mail.reply_to.as_deref(), Some("ask@example.test"));
        for (bad, field) in [
            (SenderSetting { from_address: "nobody".into(), ..own.clone() }, "from_address"),
            (SenderSetting { from_address: "a@b.test\r\nBcc: c@d.test".into(), ..own.clone() }, "from_address"),
            (SenderSetting { reply_to: "x y@z".into(), ..own.clone() }, "reply_to"),
            (SenderSetting { from_name: "a\nb".into(), ..own.clone() }, "from_name"),
        ] {
            assert_eq!(bad.checked(), Err(SenderError(field)), "{bad:?}");
        }
    }
}
