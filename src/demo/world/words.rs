//! Word lists of the simulated shop: categories with their nouns, series, colours, invented brands, first and family names.

/// How a product of a leaf category is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Cushion,
    Sheet,
    Lamp,
    Pendant,
    Candle,
    Vase,
    Frame,
    Disc,
    Basket,
    Shelf,
    Mug,
    Plate,
    Bowl,
    Glass,
    Pan,
    Pot,
    Knife,
    Board,
    Spoon,
    Teapot,
    Planter,
    Packet,
    Spade,
    Can,
    Chair,
    Parasol,
    House,
    Tent,
    Roll,
    Bag,
    Flask,
    Jumper,
    Scarf,
    Sock,
    Slipper,
}

/// A leaf category.
pub struct Leaf {
    pub path: &'static str,
    /// Which of the shop's departments it belongs to; departments share themes.
    pub department: usize,
    pub nouns: &'static [&'static str],
    pub materials: &'static [&'static str],
    /// Median price in major units.
    pub median: f64,
    pub shape: Shape,
    /// -1 sells in winter, +1 in summer.
    pub season: f64,
}

const fn leaf(
    path: &'static str,
    department: usize,
    nouns: &'static [&'static str],
    materials: &'static [&'static str],
    median: f64,
    shape: Shape,
    season: f64,
) -> Leaf {
    Leaf { path, department, nouns, materials, median, shape, season }
}

pub const DEPARTMENTS: usize = 5;

pub const LEAVES: &[Leaf] = &[
    leaf("Home > Bedding > Duvet covers", 0, &["Duvet Cover", "Duvet Set"], &["Washed Linen", "Cotton Percale", "Brushed Cotton"], 39.0, Shape::Sheet, -0.3),
    leaf("Home > Bedding > Cushions", 0, &["Cushion", "Bolster", "Seat Pad"], &["Linen", "Velvet", "Bouclé", "Wool"], 19.0, Shape::Cushion, -0.1),
    leaf("Home > Bedding > Throws", 0, &["Throw", "Blanket"], &["Merino", "Recycled Wool", "Waffle Cotton"], 34.0, Shape::Scarf, -0.7),
    leaf("Home > Bedding > Sheets", 0, &["Fitted Sheet", "Flat Sheet", "Pillowcase Pair"], &["Cotton Percale", "Organic Cotton", "Linen"], 22.0, Shape::Sheet, 0.0),
    leaf("Home > Lighting > Table lamps", 0, &["Table Lamp", "Desk Lamp", "Bedside Lamp"], &["Brass", "Ceramic", "Oak"], 42.0, Shape::Lamp, -0.4),
    leaf("Home > Lighting > Pendant lights", 0, &["Pendant Light", "Lampshade"], &["Rattan", "Enamel", "Paper", "Opal Glass"], 36.0, Shape::Pendant, -0.3),
    leaf("Home > Lighting > Candles", 0, &["Scented Candle", "Pillar Candle", "Tealight Set"], &["Soy Wax", "Beeswax"], 12.0, Shape::Candle, -0.6),
    leaf("Home > Decor > Vases", 0, &["Vase", "Bud Vase", "Jug Vase"], &["Stoneware", "Recycled Glass", "Terracotta"], 18.0, Shape::Vase, 0.1),
    leaf("Home > Decor > Wall art", 0, &["Art Print", "Framed Print", "Wall Hanging"], &["Botanical", "Abstract", "Coastal"], 21.0, Shape::Frame, 0.0),
    leaf("Home > Decor > Clocks", 0, &["Wall Clock", "Mantel Clock", "Alarm Clock"], &["Oak", "Metal", "Cork"], 26.0, Shape::Disc, 0.0),
    leaf("Home > Storage > Baskets", 0, &["Storage Basket", "Laundry Basket", "Log Basket"], &["Seagrass", "Willow", "Felt"], 24.0, Shape::Basket, 0.0),
    leaf("Home > Storage > Shelving", 0, &["Wall Shelf", "Peg Rail", "Ladder Shelf"], &["Oak", "Pine", "Steel"], 33.0, Shape::Shelf, 0.0),
    leaf("Kitchen > Tableware > Mugs", 1, &["Mug", "Espresso Cup", "Mug Pair"], &["Stoneware", "Porcelain", "Enamel"], 9.0, Shape::Mug, -0.3),
    leaf("Kitchen > Tableware > Plates", 1, &["Dinner Plate", "Side Plate", "Serving Platter"], &["Stoneware", "Porcelain", "Bamboo"], 11.0, Shape::Plate, 0.0),
    leaf("Kitchen > Tableware > Bowls", 1, &["Cereal Bowl", "Pasta Bowl", "Salad Bowl"], &["Stoneware", "Acacia", "Porcelain"], 12.0, Shape::Bowl, 0.1),
    leaf("Kitchen > Tableware > Glasses", 1, &["Tumbler Pair", "Wine Glass Pair", "Carafe"], &["Recycled Glass", "Ribbed Glass", "Smoked Glass"], 14.0, Shape::Glass, 0.3),
    leaf("Kitchen > Cookware > Saucepans", 1, &["Saucepan", "Milk Pan", "Stock Pot"], &["Stainless Steel", "Copper", "Enamel"], 32.0, Shape::Pot, -0.2),
    leaf("Kitchen > Cookware > Frying pans", 1, &["Frying Pan", "Griddle Pan", "Crêpe Pan"], &["Cast Iron", "Carbon Steel", "Non-stick"], 28.0, Shape::Pan, 0.0),
    leaf("Kitchen > Cookware > Baking", 1, &["Loaf Tin", "Pie Dish", "Baking Tray", "Cake Tin"], &["Steel", "Enamel", "Stoneware"], 13.0, Shape::Bowl, -0.3),
    leaf("Kitchen > Tools > Knives", 1, &["Paring Knife", "Chef's Knife", "Bread Knife"], &["Steel", "Oak-handled", "Walnut-handled"], 24.0, Shape::Knife, 0.0),
    leaf("Kitchen > Tools > Boards", 1, &["Chopping Board", "Serving Board", "Bread Board"], &["Beech", "Olive Wood", "Walnut"], 19.0, Shape::Board, 0.0),
    leaf("Kitchen > Tools > Utensils", 1, &["Wooden Spoon Set", "Whisk", "Ladle", "Spatula"], &["Beech", "Silicone", "Steel"], 8.0, Shape::Spoon, 0.0),
    leaf("Kitchen > Coffee and tea > Teapots", 1, &["Teapot", "Tea Infuser", "Tea Caddy"], &["Cast Iron", "Porcelain", "Glass"], 22.0, Shape::Teapot, -0.5),
    leaf("Kitchen > Coffee and tea > Coffee makers", 1, &["Cafetière", "Pour-over Set", "Stovetop Coffee Pot"], &["Steel", "Glass", "Aluminium"], 25.0, Shape::Teapot, -0.2),
    leaf("Garden > Growing > Planters", 2, &["Planter", "Hanging Planter", "Window Box"], &["Terracotta", "Zinc", "Fibreclay"], 21.0, Shape::Planter, 0.7),
    leaf("Garden > Growing > Seeds", 2, &["Wildflower Seeds", "Herb Seeds", "Salad Seeds"], &["Heritage", "Organic", "Cottage"], 4.0, Shape::Packet, 0.6),
    leaf("Garden > Growing > Propagation", 2, &["Seed Tray", "Propagator", "Plant Labels"], &["Bamboo", "Recycled", "Zinc"], 11.0, Shape::Packet, 0.5),
    leaf("Garden > Tools > Digging", 2, &["Hand Trowel", "Border Spade", "Hand Fork"], &["Ash-handled", "Stainless Steel", "Carbon Steel"], 17.0, Shape::Spade, 0.6),
    leaf("Garden > Tools > Watering", 2, &["Watering Can", "Plant Mister", "Hose Reel"], &["Galvanised", "Brass", "Steel"], 19.0, Shape::Can, 0.8),
    leaf("Garden > Tools > Pruning", 2, &["Secateurs", "Pruning Saw", "Garden Shears"], &["Steel", "Ash-handled", "Carbon Steel"], 21.0, Shape::Knife, 0.4),
    leaf("Garden > Outdoor living > Chairs", 2, &["Deck Chair", "Folding Chair", "Garden Stool"], &["Acacia", "Canvas", "Steel"], 46.0, Shape::Chair, 0.9),
    leaf("Garden > Outdoor living > Parasols", 2, &["Parasol", "Shade Sail"], &["Canvas", "Cotton", "Recycled"], 49.0, Shape::Parasol, 0.9),
    leaf("Garden > Outdoor living > Wildlife", 2, &["Bird Feeder", "Nest Box", "Bee Hotel"], &["Cedar", "Copper", "Larch"], 16.0, Shape::House, 0.0),
    leaf("Outdoor > Camping > Tents", 3, &["Two-person Tent", "Tarp", "Beach Shelter"], &["Ripstop", "Polycotton", "Lightweight"], 74.0, Shape::Tent, 0.9),
    leaf("Outdoor > Camping > Sleeping bags", 3, &["Sleeping Bag", "Camping Mat", "Travel Pillow"], &["Down-free", "Insulated", "Cotton-lined"], 38.0, Shape::Roll, 0.7),
    leaf("Outdoor > Camping > Camp kitchen", 3, &["Camp Stove", "Mess Tin", "Camp Kettle"], &["Titanium", "Enamel", "Aluminium"], 23.0, Shape::Pot, 0.6),
    leaf("Outdoor > Walking > Rucksacks", 3, &["Rucksack", "Day Pack", "Roll-top Bag"], &["Waxed Canvas", "Recycled", "Ripstop"], 44.0, Shape::Bag, 0.4),
    leaf("Outdoor > Walking > Flasks", 3, &["Vacuum Flask", "Water Bottle", "Travel Mug"], &["Steel", "Insulated", "Enamel"], 18.0, Shape::Flask, 0.0),
    leaf("Clothing > Knitwear > Jumpers", 4, &["Jumper", "Cardigan", "Gilet"], &["Lambswool", "Merino", "Organic Cotton"], 45.0, Shape::Jumper, -0.8),
    leaf("Clothing > Knitwear > Scarves", 4, &["Scarf", "Snood", "Beanie"], &["Lambswool", "Merino", "Recycled Wool"], 21.0, Shape::Scarf, -0.9),
    leaf("Clothing > Everyday > Shirts", 4, &["Overshirt", "Work Shirt", "Grandad Shirt"], &["Linen", "Chambray", "Brushed Cotton"], 38.0, Shape::Jumper, 0.3),
    leaf("Clothing > Everyday > Socks", 4, &["Socks", "Walking Socks", "Sock Pair"], &["Merino", "Bamboo", "Cotton"], 9.0, Shape::Sock, -0.4),
    leaf("Clothing > Everyday > Slippers", 4, &["Slippers", "Clogs", "House Shoes"], &["Felt", "Sheepskin-free", "Suede-look"], 27.0, Shape::Slipper, -0.7),
];

pub const SERIES: &[&str] = &[
    "Alder", "Bramble", "Cinder", "Dune", "Elmwood", "Fennel", "Gorse", "Hazel", "Ivy", "Juniper", "Kelp", "Larkfield", "Marram", "Nettle",
    "Orchard", "Pebble", "Quarry", "Rowan", "Sorrel", "Tansy", "Umber", "Vesper", "Willow", "Yarrow", "Birch", "Clover", "Drift", "Ember",
    "Fallow", "Heath", "Linden", "Meadow", "Moss", "Reed", "Saltmarsh", "Tide",
];

/// Name and sRGB.
pub const COLOURS: &[(&str, [u8; 3])] = &[
    ("Sage", [138, 154, 122]),
    ("Oat", [214, 199, 170]),
    ("Indigo", [62, 76, 128]),
    ("Rust", [176, 88, 52]),
    ("Charcoal", [66, 68, 72]),
    ("Sea Blue", [86, 140, 168]),
    ("Mustard", [208, 160, 56]),
    ("Plum", [112, 64, 96]),
    ("Chalk", [232, 228, 218]),
    ("Moss", [96, 112, 64]),
    ("Blush", [222, 170, 158]),
    ("Slate", [110, 120, 130]),
    ("Brick", [158, 72, 60]),
    ("Teal", [50, 120, 120]),
    ("Honey", [220, 174, 98]),
    ("Ink", [40, 48, 72]),
];

/// Invented; none is a company.
pub const BRANDS: &[&str] = &[
    "Fern & Thimble", "Plain Table", "Low Meadow Goods", "Tin Kettle Works", "Greyfield Home", "Oak Lane Supply", "Small Harbour", "Two Spoons Kitchen",
    "Wren Hill Garden", "Patient Gardener", "Long Path Outfitters", "Dry Creek Camp", "Soft Yard Knits", "Marlow Street Linen", "Quiet Lamp",
    "Half Acre Tools", "Bluebell Row", "Everyday Cloth",
];

pub const FIRST_NAMES: &[&str] = &[
    "Ada", "Bruno", "Cora", "Dario", "Elin", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Leon", "Mara", "Nils", "Olga", "Pavel", "Quinn",
    "Rosa", "Stefan", "Tilda", "Ugo", "Vera", "Wim", "Xenia", "Yusuf", "Zora", "Amir", "Bea", "Carl", "Dina", "Emil", "Freya", "Gina", "Hanna",
    "Ivan", "Julia", "Kofi", "Lena", "Milo", "Nora", "Otto", "Petra", "Rafi", "Sana", "Theo", "Uma", "Viggo", "Wanda",
];
pub const FIRST_NAMES_ZH: &[&str] = &["嘉文", "思远", "雨桐", "子涵", "明轩", "欣怡", "浩然", "静怡", "晨曦", "梓萱"];
pub const LAST_NAMES: &[&str] = &[
    "Ashgrove", "Birchall-Test", "Coldwater", "Dunmere", "Eastfold", "Farrowby", "Glenhaven", "Hollowell", "Inglefield", "Jarrowdale", "Kestrelby",
    "Longmarsh", "Millbrook", "Northolme", "Oakenshaw", "Pennyfold", "Quillmere", "Ravenholt", "Saltmere", "Thornbury-Test", "Underhay", "Vintergate",
    "Westmarch", "Yewcroft",
];
pub const LAST_NAMES_ZH: &[&str] = &["测试", "样例", "示例"];

/// IANA zone, country, share of people in per cent.
pub const ZONES: &[(chrono_tz::Tz, &str, u32)] = &[
    (chrono_tz::Europe::London, "GB", 30),
    (chrono_tz::Europe::Berlin, "DE", 28),
    (chrono_tz::Europe::Madrid, "ES", 12),
    (chrono_tz::America::New_York, "US", 14),
    (chrono_tz::America::Los_Angeles, "US", 6),
    (chrono_tz::Asia::Shanghai, "CN", 7),
    (chrono_tz::Australia::Sydney, "AU", 3),
];
