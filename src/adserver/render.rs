//! A banner as JSON and HTML. Everything but the token, the touch and whether it is personal is written once, when a banner is loaded.

use std::io::Write as _;

use serde::Serialize;
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::decide::NoFill;
use crate::platform::ids::{CampaignId, CreativeId, ProductId, TouchId, VariantId};

/// A banner to show, or the reason why there is none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Creative {
    /// The placement that was asked for.
    pub placement: String,
    pub filled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<NoFill>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub banner: Option<Banner>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Banner {
    #[schema(value_type = String, example = "crv_12")]
    pub creative_id: CreativeId,
    #[schema(value_type = String, example = "cmp_3")]
    pub campaign_id: CampaignId,
    #[schema(value_type = String, example = "var_5")]
    pub variant_id: VariantId,
    #[schema(value_type = String, example = "prd_77")]
    pub product_id: ProductId,
    pub width: u32,
    pub height: u32,
    /// Title of the product: the picture's alternative text.
    pub title: String,
    /// The picture (PNG).
    pub image_url: String,
    /// What to put into the page: the picture in a link.
    pub html: String,
    /// Where a click goes; it leads on to the product.
    pub click_url: String,
    /// Call once (GET or POST) when half of the banner was in view for a second.
    pub viewable_url: String,
    #[schema(value_type = String, example = "tch_0190c8f0a1b27c3d8e4f5a6b7c8d9e0f")]
    pub touch_id: String,
    /// The line item that paid for it; absent where the campaign serves by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "lin_4")]
    pub line_item_id: Option<String>,
    /// Whether the product was picked for this person, or suits anybody.
    pub personal: bool,
}

/// Stands for the token in texts from which templates are cut; taken out of everything that comes from outside.
const HOLE: char = '\u{f8f0}';

/// An answer's JSON with holes for tokens: one piece of memory, so that writing it is one walk through it.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// From behind the opening brace to the last hole; what follows there is written by hand.
    text: Box<[u8]>,
    /// Where the tokens go; the touch's id goes to the end.
    holes: SmallVec<[u32; 4]>,
}

/// What a template is cut from.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub creative: CreativeId,
    pub campaign: CampaignId,
    pub variant: VariantId,
    pub product: ProductId,
    pub width: u32,
    pub height: u32,
    pub title: &'a str,
    pub asset_hash: &'a str,
    /// Base of our own addresses, without a slash at the end.
    pub base: &'a str,
}

/// The link with the picture in it.
pub fn html(click_url: &str, image_url: &str, width: u32, height: u32, title: &str) -> String {
    format!(
        "<a href=\"{}\" target=\"_blank\" rel=\"noopener sponsored\"><img src=\"{}\" width=\"{width}\" height=\"{height}\" alt=\"{}\" style=\"border:0\"></a>",
        html_escape::encode_double_quoted_attribute(click_url),
        html_escape::encode_double_quoted_attribute(image_url),
        html_escape::encode_double_quoted_attribute(title)
    )
}

impl Template {
    pub fn cut(parts: &Parts<'_>) -> Self {
        let title: String = parts.title.chars().filter(|c| *c != HOLE).collect();
        let click_url = format!("{}/a/c/{HOLE}", parts.base);
        let image_url = format!("{}/assets/{}", parts.base, parts.asset_hash);
        let banner = Banner {
            creative_id: parts.creative,
            campaign_id: parts.campaign,
            variant_id: parts.variant,
            product_id: parts.product,
            width: parts.width,
            height: parts.height,
            html: html(&click_url, &image_url, parts.width, parts.height, &title),
            title,
            image_url,
            click_url,
            viewable_url: format!("{}/a/v/{HOLE}", parts.base),
            touch_id: HOLE.to_string(),
            line_item_id: None,
            personal: false,
        };
        let json = serde_json::to_string(&banner).unwrap_or_default();
        let mut template = Self::default();
        let mut text = Vec::with_capacity(json.len());
        let mut pieces = json.strip_prefix('{').unwrap_or(&json).split(HOLE).peekable();
        while let Some(piece) = pieces.next() {
            // Behind the last hole: …","personal":false}
            if pieces.peek().is_none() {
                debug_assert!(piece.starts_with('"'));
                break;
            }
            text.extend_from_slice(piece.as_bytes());
            template.holes.push(text.len() as u32);
        }
        template.holes.pop();
        template.text = text.into();
        template
    }

    /// Writes `{"placement":…,"filled":true,…}`.
    pub fn write(&self, placement: &str, token: &[u8], touch: TouchId, item: i64, personal: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"placement\":\"");
        out.extend_from_slice(placement.as_bytes());
        out.extend_from_slice(b"\",\"filled\":true,");
        let mut from = 0;
        for hole in &self.holes {
            out.extend_from_slice(&self.text[from..*hole as usize]);
            out.extend_from_slice(token);
            from = *hole as usize;
        }
        out.extend_from_slice(&self.text[from..]);
        write_touch(touch, out);
        out.push(b'"');
        if item > 0 {
            let _ = write!(out, ",\"line_item_id\":\"lin_{item}\"");
        }
        out.extend_from_slice(if personal { b",\"personal\":true}" } else { b",\"personal\":false}" });
    }
    pub fn bytes(&self) -> usize {
        self.text.len() + 4 * self.holes.len()
    }
}

fn write_touch(touch: TouchId, out: &mut Vec<u8>) {
    let mut text = uuid::Uuid::encode_buffer();
    out.extend_from_slice(b"tch_");
    out.extend_from_slice(touch.0.simple().encode_lower(&mut text).as_bytes());
}

/// Writes the answer of a placement that shows nothing.
pub fn write_no_fill(placement: &str, reason: NoFill, out: &mut Vec<u8>) {
    let _ = write!(out, "{{\"placement\":\"{placement}\",\"filled\":false,\"reason\":\"{}\"}}", reason.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Timestamp;

    #[test]
    fn the_pieces_are_the_json_of_the_whole_and_titles_stay_texts() {
        let title = "Tea \"No. 1\" <script>alert(1)</script> \u{f8f0}&\\";
        let parts = Parts {
            creative: CreativeId(1),
            campaign: CampaignId(2),
            variant: VariantId(3),
            product: ProductId(4),
            width: 300,
            height: 250,
            title,
            asset_hash: "abc",
            base: "https://ads.example.test",
        };
        let touch = super::super::ticket::new_touch(Timestamp::from_secs(1_768_478_400));
        let mut out = Vec::new();
        Template::cut(&parts).write("home", b"TOKEN", touch, 7, true, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(json["click_url"], "https://ads.example.test/a/c/TOKEN");
        assert_eq!(json["viewable_url"], "https://ads.example.test/a/v/TOKEN");
        assert_eq!(json["touch_id"], touch.to_string());
        assert_eq!((&json["line_item_id"], &json["personal"], &json["filled"]), (&"lin_7".into(), &true.into(), &true.into()));
        let html = json["html"].as_str().expect("text");
        assert!(html.contains("/a/c/TOKEN") && !html.contains("<script"), "{html}");
        out.clear();
        Template::cut(&parts).write("home", b"T", touch, 0, false, &mut out);
        let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert!(json.get("line_item_id").is_none());
        out.clear();
        write_no_fill("home", NoFill::Capped, &mut out);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).expect("JSON")["reason"], "capped");
    }
}
