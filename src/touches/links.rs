//! Links that lead back to a touch: short signed tokens. They carry the touch and what the link is, never an address or a target.
//!
//! Payload: version (1 byte) ‖ place (1 byte: which product of the touch) ‖ touch id (16 bytes). With the tag that makes 46 characters.
//! Each kind of link is signed with a key of its own, so that a click token does not unsubscribe anybody.

use uuid::Uuid;

use crate::platform::config::Config;
use crate::platform::ids::TouchId;
use crate::platform::token::Signer;

/// Layout of the payload. Other tokens about people and ads carry version bytes of their own.
const VERSION: u8 = 1;
const PAYLOAD_BYTES: usize = 18;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// The pixel in a mail: `/o/…`.
    Open,
    /// To the product: `/c/…`.
    Click,
    /// A banner was in view: `/v/…`.
    Viewable,
    /// RFC 8058: `/u/…`.
    Unsubscribe,
    /// Choose what to get: `/p/…`.
    Preferences,
}

impl LinkKind {
    pub const ALL: [LinkKind; 5] = [Self::Open, Self::Click, Self::Viewable, Self::Unsubscribe, Self::Preferences];

    fn purpose(self) -> &'static str {
        match self {
            Self::Open => "touch.open",
            Self::Click => "touch.click",
            Self::Viewable => "touch.viewable",
            Self::Unsubscribe => "touch.unsubscribe",
            Self::Preferences => "touch.preferences",
        }
    }
    /// First part of the path, without slashes.
    pub fn path(self) -> &'static str {
        match self {
            Self::Open => "o",
            Self::Click => "c",
            Self::Viewable => "v",
            Self::Unsubscribe => "u",
            Self::Preferences => "p",
        }
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub kind: LinkKind,
    pub touch: TouchId,
    /// Which product of the touch (see [`super::Touch::product_at`]); 0 is the main one.
    pub slot: u8,
}

pub fn token(signer: &Signer, link: Link) -> String {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[0] = VERSION;
    payload[1] = link.slot;
    payload[2..].copy_from_slice(link.touch.0.as_bytes());
    signer.sign(link.kind.purpose(), &payload)
}

/// Opens a token made for this kind of link; `None` for anything forged, cut, of another kind or another version.
pub fn open_link(signer: &Signer, kind: LinkKind, token: &str) -> Option<Link> {
    let payload: [u8; PAYLOAD_BYTES] = signer.open(kind.purpose(), token)?.try_into().ok()?;
    let (&[version, slot], id) = payload.split_first_chunk::<2>()?;
    if version != VERSION {
        return None;
    }
    Some(Link { kind, touch: TouchId(Uuid::from_slice(id).ok()?), slot })
}

/// The absolute URL of a link.
pub fn url(config: &Config, signer: &Signer, kind: LinkKind, touch: TouchId, slot: u8) -> String {
    config.public(&format!("/{}/{}", kind.path(), token(signer, Link { kind, touch, slot })))
}

pub fn open_url(config: &Config, signer: &Signer, touch: TouchId) -> String {
    url(config, signer, LinkKind::Open, touch, 0)
}
/// `slot`: the place of the product in [`super::Touch::product_ids`].
pub fn click_url(config: &Config, signer: &Signer, touch: TouchId, slot: u8) -> String {
    url(config, signer, LinkKind::Click, touch, slot)
}
pub fn viewable_url(config: &Config, signer: &Signer, touch: TouchId) -> String {
    url(config, signer, LinkKind::Viewable, touch, 0)
}
pub fn unsubscribe_url(config: &Config, signer: &Signer, touch: TouchId) -> String {
    url(config, signer, LinkKind::Unsubscribe, touch, 0)
}
pub fn preferences_url(config: &Config, signer: &Signer, touch: TouchId) -> String {
    url(config, signer, LinkKind::Preferences, touch, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Timestamp;

    #[test]
    fn a_token_opens_only_as_what_it_is() {
        let signer = Signer::new(&[3; 32]);
        let touch = TouchId::new(Timestamp::from_secs(1_700_000_000));
        for kind in LinkKind::ALL {
            let link = Link { kind, touch, slot: 2 };
            let text = token(&signer, link);
            assert!(text.len() <= 80, "{} characters", text.len());
            assert_eq!(open_link(&signer, kind, &text), Some(link));
            for other in LinkKind::ALL.into_iter().filter(|k| *k != kind) {
                assert_eq!(open_link(&signer, other, &text), None);
            }
            for cut in 0..text.len() {
                assert_eq!(open_link(&signer, kind, &text[..cut]), None);
            }
        }
    }

    #[test]
    fn another_version_or_length_is_refused() {
        let signer = Signer::new(&[3; 32]);
        let mut payload = [0_u8; PAYLOAD_BYTES];
        payload[0] = VERSION + 1;
        assert_eq!(open_link(&signer, LinkKind::Click, &signer.sign("touch.click", &payload)), None);
        assert_eq!(open_link(&signer, LinkKind::Click, &signer.sign("touch.click", &payload[..17])), None);
    }

    #[test]
    fn urls_stand_on_the_public_base() {
        let mut config = Config::default();
        config.server.public_url = "https://mail.example.test/".into();
        let signer = Signer::new(&[3; 32]);
        let touch = TouchId::new(Timestamp::from_secs(1));
        let url = click_url(&config, &signer, touch, 1);
        let text = url.strip_prefix("https://mail.example.test/c/").expect("the base");
        assert_eq!(open_link(&signer, LinkKind::Click, text).map(|l| (l.touch, l.slot)), Some((touch, 1)));
    }
}
