//! Product texts to vectors, by the encoder fitted on the catalogue and (where `models/` holds it) by MiniLM, beside counting the texts'
//! character trigrams, which is the least that any such encoder must do.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use marquee::demo::world::{World, WorldConfig};
use marquee::inference::{Encoder, catalogue::CatalogueEncoder, minilm::MiniLm};

use crate::support;

pub fn run() {
    let world = World::new(WorldConfig { people: 50, products: 1_000, ..WorldConfig::default() });
    let texts: Vec<String> = world.catalogue.products.iter().map(|p| format!("{}. {}", p.title, p.description)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let fitted = CatalogueEncoder::fit(&texts).expect("an encoder");
    one("embed, fitted on the catalogue", &texts, &fitted, 5);
    match MiniLm::open(Path::new("models")) {
        Ok(minilm) => one("embed, MiniLM", &texts[..128], &minilm, 3),
        Err(why) => eprintln!("MiniLM was not measured: {why} (marquee models fetch)"),
    }
}

fn one(what: &str, texts: &[&str], encoder: &dyn Encoder, rounds: usize) {
    support::compare(
        what,
        "texts/s",
        "counting trigrams",
        rounds,
        || support::rate(texts.len(), || texts.iter().for_each(|t| drop(black_box(trigrams(t))))),
        || support::rate(texts.len(), || drop(black_box(encoder.encode(texts).expect("vectors")))),
    );
}

fn trigrams(text: &str) -> HashMap<[char; 3], u32> {
    let letters: Vec<char> = text.to_lowercase().chars().collect();
    let mut counts = HashMap::new();
    for three in letters.windows(3) {
        *counts.entry([three[0], three[1], three[2]]).or_default() += 1;
    }
    counts
}
