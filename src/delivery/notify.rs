//! A notice to one of the shop's own users while they wait (invitation, reset, the test of the sender): the server's answer comes back.

use super::message::{MessageError, Sender};
use super::notice::Notice;
use super::smtp::{Outcome, Pool};
use crate::platform::Platform;

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("no mail server is configured: set mail.servers in marquee.toml")]
    NoServer,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("mail.servers: {0}")]
    Server(String),
    /// What the server said.
    #[error("the mail server did not take it: {0}")]
    Refused(String),
}

/// Sends one mail now, trying each server once. Returns the server's answer.
pub async fn notify(platform: &Platform, to: &str, subject: &str, text: &str) -> Result<String, NotifyError> {
    let config = super::mail_config(platform).await?;
    if config.mail.servers.is_empty() {
        return Err(NotifyError::NoServer);
    }
    let sender = Sender::load(&config)?;
    let id = format!("notice_{}", crate::platform::ids::uuid_v7(platform.now()).simple());
    let mail = sender.build_notice(&Notice { id: &id, to, subject, text, attachment: None }, platform.now())?;
    let pool = Pool::new(&config.mail).map_err(|e| NotifyError::Server(e.to_string()))?;
    let mut last = String::new();
    for server in 0..pool.servers().len() {
        match pool.send(server, sender.address(), &mail.to, &mail.bytes).await {
            Outcome::Sent { reply } => {
                pool.close().await;
                return Ok(reply);
            }
            // It may have arrived: another copy would be worse than none.
            Outcome::Uncertain { why } => return Err(NotifyError::Refused(why)),
            Outcome::Deferred { code, reply } | Outcome::Failed { code, reply, .. } => last = format!("{code} {reply}"),
            Outcome::NotSent { why, .. } => last = why,
        }
    }
    Err(NotifyError::Refused(last))
}
