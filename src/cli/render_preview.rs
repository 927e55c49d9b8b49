//! `marquee render-preview`: renders one template from standard input and exits; the server starts it and kills it where it runs long.

use std::io::{Read as _, Write as _};

use crate::creative::preview;

/// Needs neither configuration nor database.
pub fn run() -> anyhow::Result<()> {
    let mut request = Vec::new();
    std::io::stdin().lock().take(8 << 20).read_to_end(&mut request)?;
    let answer = serde_json::to_vec(&preview::render(&request))?;
    std::io::stdout().lock().write_all(&answer)?;
    Ok(())
}
