//! Pictures: recognised by their bytes (never by a name or a header), decoded under limits, known by their SHA-256.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use sha2::{Digest as _, Sha256};

/// Most bytes of one picture.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Longest side in pixels.
pub const MAX_SIDE: u32 = 8_192;
/// Most memory that decoding one picture may take.
const MAX_DECODED: u64 = 192 * 1024 * 1024;

/// Stored bytes with their kind.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Asset {
    pub hash: String,
    pub mime: String,
    pub bytes: Vec<u8>,
    pub width: Option<i64>,
    pub height: Option<i64>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PictureError {
    #[error("it is neither PNG, JPEG, GIF nor WebP")]
    UnknownKind,
    #[error("“{0}” is not stored: image/png, image/jpeg, image/gif and image/webp are")]
    Mime(String),
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("it cannot be decoded: {0}")]
    Broken(String),
}

/// A picture whose bytes were decoded once and found good.
#[derive(Clone, Debug)]
pub struct Picture {
    pub mime: &'static str,
    pub bytes: Vec<u8>,
    pub width: u32,
    pub height: u32,
}

impl Picture {
    /// Recognises and decodes the bytes. Takes CPU time: call it outside transactions, and off the async threads for large ones.
    pub fn inspect(bytes: Vec<u8>) -> Result<Self, PictureError> {
        if bytes.len() > MAX_BYTES {
            return Err(PictureError::TooLarge);
        }
        let format = image::guess_format(&bytes).map_err(|_| PictureError::UnknownKind)?;
        let mime = mime_of(format).ok_or(PictureError::UnknownKind)?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_DECODED);
        let mut reader = ImageReader::with_format(Cursor::new(&bytes), format);
        reader.limits(limits);
        let decoded = reader.decode().map_err(|e| PictureError::Broken(e.to_string()))?;
        let (width, height) = (decoded.width(), decoded.height());
        drop(decoded);
        Ok(Self { mime, bytes, width, height })
    }
}

fn mime_of(format: ImageFormat) -> Option<&'static str> {
    Some(match format {
        ImageFormat::Png => "image/png",
        ImageFormat::Jpeg => "image/jpeg",
        ImageFormat::Gif => "image/gif",
        ImageFormat::WebP => "image/webp",
        _ => return None,
    })
}

/// Only what a browser shows and never runs: SVG would carry scripts.
pub(super) fn servable(mime: &str) -> bool {
    matches!(mime, "image/png" | "image/jpeg" | "image/gif" | "image/webp")
}

pub(super) fn hash_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
pub(super) fn tiny_png(width: u32, height: u32) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(width, height).write_to(&mut out, ImageFormat::Png).expect("a png");
    out.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_what_it_is() {
        let png = tiny_png(3, 2);
        let picture = Picture::inspect(png.clone()).expect("a picture");
        assert_eq!((picture.mime, picture.width, picture.height), ("image/png", 3, 2));
        assert_eq!(Picture::inspect(b"<svg onload='alert(1)'/>".to_vec()).map(|_| ()), Err(PictureError::UnknownKind));
        assert_eq!(Picture::inspect(b"BM rest".to_vec()).map(|_| ()), Err(PictureError::UnknownKind));
        assert!(matches!(Picture::inspect(png[..40].to_vec()), Err(PictureError::Broken(_))));
        assert_eq!(Picture::inspect(vec![0; MAX_BYTES + 1]).map(|_| ()), Err(PictureError::TooLarge));
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        // A header that promises 60,000 x 60,000 pixels.
        let mut png = tiny_png(1, 1);
        png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        assert!(matches!(Picture::inspect(png), Err(PictureError::Broken(_))));
    }
}
