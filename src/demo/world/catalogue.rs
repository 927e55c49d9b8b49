//! What the simulated shop sells: products with titles, descriptions, prices, hidden themes; their prices and stock day by day.
//!
//! Prices and stock follow schedules of their own and never answer to demand. That is on purpose: nobody's purchase changes what another
//! person can buy, so each person's outcome depends on that person's touches alone, and a counterfactual is well defined.

use super::noise::{Noise, Purpose, Stream};
use super::words::{BRANDS, COLOURS, DEPARTMENTS, LEAVES, Leaf, SERIES};

/// Dimensions of the hidden theme space.
pub const THEMES: usize = 8;
pub type Theme = [f32; THEMES];

/// Days between possible price changes.
const PRICE_EPOCH_DAYS: i32 = 14;

#[derive(Clone, Debug)]
pub struct Product {
    pub sku: String,
    pub title: String,
    pub description: String,
    pub brand: &'static str,
    pub category_path: &'static str,
    pub material: &'static str,
    pub colour: &'static str,
    pub rgb: [u8; 3],
    /// Index into [`LEAVES`].
    pub leaf: usize,
    /// Hidden: what the product is about. Unit length.
    pub theme: Theme,
    pub list_price_minor: i64,
    stock_top: u32,
    sold_per_day: f64,
    restock_days: i32,
}

/// Price and stock of one product on one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    pub price_minor: i64,
    pub sale_price_minor: Option<i64>,
    pub stock: i64,
}

impl Shelf {
    pub fn pays_minor(&self) -> i64 {
        self.sale_price_minor.unwrap_or(self.price_minor)
    }
}

pub struct Catalogue {
    pub products: Vec<Product>,
    /// Hidden centre of each leaf category.
    pub leaf_theme: Vec<Theme>,
    pub department_theme: Vec<Theme>,
    pub leaf_weight: Vec<f32>,
    members: Vec<Vec<u32>>,
    cumulative: Vec<Vec<f32>>,
    noise: Noise,
}

pub fn dot(a: &Theme, b: &Theme) -> f32 {
    // Written out: this is the hottest loop of a world, also in unoptimised builds.
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3] + a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + a[7] * b[7]
}

pub fn unit(mut v: Theme) -> Theme {
    let length = dot(&v, &v).sqrt().max(1e-6);
    for x in &mut v {
        *x /= length;
    }
    v
}

/// `base` moved by gaussian noise of the given size, then brought back to unit length.
pub fn around(base: &Theme, size: f64, draw: &mut Stream) -> Theme {
    let mut v = *base;
    for x in &mut v {
        *x += (size * draw.normal() / (THEMES as f64).sqrt()) as f32;
    }
    unit(v)
}

impl Catalogue {
    pub fn new(noise: Noise, products: u32) -> Self {
        let mut draw = noise.at(Purpose::Catalogue, u64::MAX, 0);
        let department_theme: Vec<Theme> = (0..DEPARTMENTS).map(|_| around(&[0.0; THEMES], 1.0, &mut draw)).collect();
        let leaf_theme: Vec<Theme> = LEAVES.iter().map(|leaf| around(&department_theme[leaf.department], 0.75, &mut draw)).collect();
        let leaf_weight: Vec<f32> =
            LEAVES.iter().map(|leaf| ((0.5 * draw.normal()).exp() * (20.0 / leaf.median).powf(0.7)) as f32).collect();
        let mut made = Vec::with_capacity(products as usize);
        let mut members = vec![Vec::new(); LEAVES.len()];
        let mut cumulative = vec![Vec::new(); LEAVES.len()];
        for i in 0..products {
            // The first products go round the categories so that none is empty; a small catalogue leaves the last ones out.
            let product = Product::draw(noise, i, i as usize % LEAVES.len(), &leaf_theme);
            let popularity = (0.9 * noise.at(Purpose::Catalogue, u64::from(i), 1).normal()).exp() as f32;
            let before = cumulative[product.leaf].last().copied().unwrap_or(0.0);
            cumulative[product.leaf].push(before + popularity);
            members[product.leaf].push(i);
            made.push(product);
        }
        Self { products: made, leaf_theme, department_theme, leaf_weight, members, cumulative, noise }
    }

    /// A product of a leaf category in proportion to popularity; `None` where the category is empty.
    pub fn popular_in(&self, leaf: usize, draw: &mut Stream) -> Option<u32> {
        self.members[leaf].get(draw.by_cumulative(&self.cumulative[leaf])).copied()
    }

    pub fn is_empty_leaf(&self, leaf: usize) -> bool {
        self.members[leaf].is_empty()
    }

    /// Price and stock of a product on a day: a pure function.
    pub fn shelf(&self, product: u32, day: i32) -> Shelf {
        let p = &self.products[product as usize];
        let epoch = (day + product as i32 % PRICE_EPOCH_DAYS).div_euclid(PRICE_EPOCH_DAYS);
        let mut draw = self.noise.at(Purpose::Price, u64::from(product), epoch as u64);
        // About one product in eleven is on sale at any time; list prices creep now and then.
        let price_minor = if draw.chance(0.06) { ending(p.list_price_minor as f64 * draw.between(0.92, 1.12)) } else { p.list_price_minor };
        let sale = draw.chance(0.09).then(|| ending(price_minor as f64 * draw.between(0.7, 0.9))).filter(|s| *s < price_minor);
        Shelf { price_minor, sale_price_minor: sale, stock: self.stock(product, day) }
    }

    /// A saw-tooth: sold down day by day, refilled every few weeks; what sells faster than it is refilled is out of stock for some days.
    pub fn stock(&self, product: u32, day: i32) -> i64 {
        let p = &self.products[product as usize];
        let phase = (day + (product as i32 * 7) % p.restock_days).rem_euclid(p.restock_days);
        (f64::from(p.stock_top) - p.sold_per_day * f64::from(phase)).max(0.0) as i64
    }

    pub fn in_stock(&self, product: u32, day: i32) -> bool {
        self.stock(product, day) > 0
    }

    /// What a line of this product costs on a day.
    pub fn price_minor(&self, product: u32, day: i32) -> i64 {
        self.shelf(product, day).pays_minor()
    }
}

impl Product {
    fn draw(noise: Noise, index: u32, leaf_index: usize, leaf_theme: &[Theme]) -> Self {
        let mut draw = noise.at(Purpose::Catalogue, u64::from(index), 0);
        let leaf: &Leaf = &LEAVES[leaf_index];
        let (colour, rgb) = *draw.pick(COLOURS);
        let (noun, material) = (*draw.pick(leaf.nouns), *draw.pick(leaf.materials));
        // Series and colour come from a permutation of the index within its category, so that no two titles of a category are equal.
        let nth = index as usize / LEAVES.len();
        let series = SERIES[(nth * 7 + leaf_index * 5) % SERIES.len()];
        let generation = nth / SERIES.len();
        let title = match generation {
            0 => format!("{series} {material} {noun}, {colour}"),
            _ => format!("{series} {} {material} {noun}, {colour}", generation + 1),
        };
        let list_price_minor = ending(leaf.median * 100.0 * (0.32 * draw.normal()).exp());
        let restock_days = 18 + draw.below(20) as i32;
        let stock_top = 40 + draw.below(260) as u32;
        // One product in six sells out before its refill.
        let run_out = if draw.chance(1.0 / 6.0) { draw.between(1.05, 1.5) } else { draw.between(0.3, 0.9) };
        Self {
            sku: format!("{}-{index:05}", code(leaf.path)),
            description: describe(leaf, material, noun, colour, &mut draw),
            title,
            brand: BRANDS[(leaf.department * 4 + draw.below(6)) % BRANDS.len()],
            category_path: leaf.path,
            material,
            colour,
            rgb,
            leaf: leaf_index,
            theme: around(&leaf_theme[leaf_index], 0.55, &mut draw),
            list_price_minor,
            stock_top,
            sold_per_day: f64::from(stock_top) * run_out / f64::from(restock_days),
            restock_days,
        }
    }
}

/// Shop prices end in .90 or .95.
fn ending(minor: f64) -> i64 {
    let whole = (minor / 100.0).floor().max(1.0) as i64;
    whole * 100 + if whole >= 20 { 95 } else { 90 }
}

fn code(path: &str) -> String {
    path.split(" > ")
        .filter_map(|part| part.chars().next())
        .chain(path.rsplit(" > ").next().into_iter().flat_map(|l| l.chars().skip(1).take(2)))
        .collect::<String>()
        .to_uppercase()
}

fn describe(leaf: &Leaf, material: &str, noun: &str, colour: &str, draw: &mut Stream) -> String {
    const MADE: &[&str] = &[
        "made in small batches",
        "finished by hand",
        "made to be used every day",
        "designed to last and to be mended",
        "made from carefully chosen stock",
    ];
    const USE: [&[&str]; DEPARTMENTS] = [
        &[
            "Brings a calm note to a bedroom or hallway.",
            "Sits well beside pale wood and plain walls.",
            "A quiet piece for the living room.",
        ],
        &["At home on a weekday table and for guests.", "Stacks neatly and cleans easily.", "A dependable piece for small kitchens."],
        &["Made for pots, borders and balconies.", "Stands up to rain and sun.", "A good companion for a first garden."],
        &["Packs small for weekends away.", "Made for wet paths and early starts.", "Light enough to carry all day."],
        &["Warm without weight, and easy to layer.", "Cut for comfort at home and out of doors.", "Softens with every wash."],
    ];
    const CARE: [&[&str]; DEPARTMENTS] = [
        &["Wipe or wash at 30 °C.", "Keep out of direct sun."],
        &["Dishwasher safe.", "Wash by hand and dry at once."],
        &["Store dry over winter.", "Rinse after use."],
        &["Air well before packing away.", "Wipe clean."],
        &["Wash at 30 °C, dry flat.", "Wash cool with similar colours."],
    ];
    let size = draw.below(5) * 5 + 15;
    format!(
        "{noun} in {} {}, {}. {} About {size} cm. {}",
        colour.to_lowercase(),
        material.to_lowercase(),
        draw.pick(MADE),
        draw.pick(USE[leaf.department]),
        draw.pick(CARE[leaf.department])
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::new(Noise::new(1), 800)
    }

    #[test]
    fn titles_and_skus_are_unique_and_prices_end_as_in_shops() {
        let c = catalogue();
        assert_eq!(c.products.iter().map(|p| &p.title).collect::<HashSet<_>>().len(), 800);
        assert_eq!(c.products.iter().map(|p| &p.sku).collect::<HashSet<_>>().len(), 800);
        assert!(c.products.iter().all(|p| p.list_price_minor % 100 == 90 || p.list_price_minor % 100 == 95));
        assert!(c.products.iter().all(|p| p.category_path.split(" > ").count() == 3));
    }

    #[test]
    fn some_products_run_out_and_some_are_on_sale() {
        let c = catalogue();
        let out = (0..800).filter(|p| !c.in_stock(*p, 50)).count();
        let sale = (0..800).filter(|p| c.shelf(*p, 50).sale_price_minor.is_some()).count();
        assert!((10..120).contains(&out), "{out} out of stock");
        assert!((30..130).contains(&sale), "{sale} on sale");
    }

    #[test]
    fn a_category_is_closer_to_its_own_products() {
        let c = catalogue();
        let (mut own, mut other) = (0.0, 0.0);
        for p in &c.products {
            own += dot(&p.theme, &c.leaf_theme[p.leaf]);
            other += dot(&p.theme, &c.leaf_theme[(p.leaf + 20) % LEAVES.len()]);
        }
        assert!(own / 800.0 > 0.75 && own > other * 2.0, "{own} {other}");
    }
}
