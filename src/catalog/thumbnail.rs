//! Small pictures for lists: made once per picture and size, kept in memory. A list of fifty photographs would weigh megabytes.

use std::io::Cursor;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ImageReader, Limits, RgbImage};

use super::asset::MAX_SIDE;
use super::store;
use crate::platform::Db;

/// Sides that are made, in pixels: list, card.
pub const THUMBNAIL_SIDES: [u32; 2] = [96, 280];
const QUALITY: u8 = 78;
/// Most bytes kept in memory; the oldest go first.
const KEPT_BYTES: usize = 24 * 1024 * 1024;
const MAX_DECODED: u64 = 192 * 1024 * 1024;

type Key = (String, u32);

#[derive(Default)]
struct Kept {
    /// Newest last.
    rows: Vec<(Key, Bytes)>,
    bytes: usize,
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

impl Kept {
    fn put(&mut self, key: Key, picture: Bytes) {
        self.bytes += picture.len();
        self.rows.push((key, picture));
        let mut surplus = 0;
        while self.bytes > KEPT_BYTES && surplus + 1 < self.rows.len() {
            self.bytes -= self.rows[surplus].1.len();
            surplus += 1;
        }
        self.rows.drain(..surplus);
    }
}

/// A stored picture as JPEG whose longer side has `side` pixels (one of [`THUMBNAIL_SIDES`]; smaller pictures stay as they are).
/// `None` where there is no such picture, or it cannot be decoded.
pub async fn thumbnail(db: &Db, hash: &str, side: u32) -> sqlx::Result<Option<Bytes>> {
    if !super::model::is_asset_hash(hash) || !THUMBNAIL_SIDES.contains(&side) {
        return Ok(None);
    }
    let key = (hash.to_owned(), side);
    let known = KEPT.lock().unwrap_or_else(PoisonError::into_inner).rows.iter().find(|(k, _)| *k == key).map(|(_, b)| b.clone());
    if known.is_some() {
        return Ok(known);
    }
    let Some(asset) = store::asset(db, hash).await? else { return Ok(None) };
    let made = tokio::task::spawn_blocking(move || shrink(&asset.bytes, side)).await.ok().flatten();
    if let Some(picture) = &made {
        KEPT.lock().unwrap_or_else(PoisonError::into_inner).put(key, picture.clone());
    }
    Ok(made)
}

fn shrink(bytes: &[u8], side: u32) -> Option<Bytes> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?;
    reader.limits(limits);
    let picture = reader.decode().ok()?;
    let picture = if picture.width().max(picture.height()) > side { picture.thumbnail(side, side) } else { picture };
    let mut out = Vec::new();
    on_white(&picture).write_with_encoder(JpegEncoder::new_with_quality(&mut out, QUALITY)).ok()?;
    Some(out.into())
}

/// JPEG knows no transparency.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let source = picture.to_rgba8();
    RgbImage::from_fn(source.width(), source.height(), |x, y| {
        let [r, g, b, a] = source.get_pixel(x, y).0;
        let over = |c: u8| ((u32::from(c) * u32::from(a) + 255 * (255 - u32::from(a))) / 255) as u8;
        image::Rgb([over(r), over(g), over(b)])
    })
}

#[cfg(test)]
mod tests {
    use super::super::asset::tiny_png;
    use super::*;

    #[test]
    fn large_pictures_shrink_and_what_is_none_is_none() {
        let small = shrink(&tiny_png(1200, 600), 96).expect("a picture");
        let read = image::load_from_memory(&small).expect("a jpeg");
        assert_eq!((read.width(), read.height()), (96, 48));
        assert_eq!(image::load_from_memory(&shrink(&tiny_png(3, 2), 96).expect("tiny")).expect("jpeg").width(), 3);
        assert_eq!(shrink(b"nothing", 96), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut kept = Kept::default();
        for i in 0..10 {
            kept.put((i.to_string(), 96), Bytes::from(vec![0; KEPT_BYTES / 4]));
        }
        assert!(kept.bytes <= KEPT_BYTES && kept.rows.len() == 4);
        assert_eq!(kept.rows.last().map(|(k, _)| k.0.as_str()), Some("9"));
    }
}
