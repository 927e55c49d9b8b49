//! The shape of the house: equal schemas on both engines, and imports between slices that only point left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use marquee::read;

use crate::support::{Engine, TestShop};

const SQLITE_COLUMNS: &str = "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
     WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '\\_%' ESCAPE '\\'";
const POSTGRES_COLUMNS: &str = "SELECT table_name || '.' || column_name FROM information_schema.columns
     WHERE table_schema = 'public' AND table_name NOT LIKE '\\_%'";
const SQLITE_INDEXES: &str =
    "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name NOT LIKE '\\_%' ESCAPE '\\'";
const POSTGRES_INDEXES: &str = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE '\\_%'
     AND indexname NOT LIKE '%\\_pkey' AND indexname NOT LIKE '%\\_key'";

async fn names(shop: &TestShop, sql: &'static str) -> BTreeSet<String> {
    read!(shop.platform.db, |c| sqlx::query_scalar::<_, String>(sql).fetch_all(c).await).expect("names").into_iter().collect()
}

#[tokio::test]
async fn both_engines_have_the_same_tables_columns_and_indexes() {
    let Some(postgres) = TestShop::open(Engine::Postgres).await else { return };
    let sqlite = TestShop::open(Engine::Sqlite).await.expect("SQLite");
    let columns = names(&sqlite, SQLITE_COLUMNS).await;
    assert!(columns.len() > 50, "the query finds the tables: {columns:?}");
    assert_eq!(columns, names(&postgres, POSTGRES_COLUMNS).await);
    assert_eq!(names(&sqlite, SQLITE_INDEXES).await, names(&postgres, POSTGRES_INDEXES).await);
}

/// The way through the house, left to right. A slice may use those of a lower rank, and those of its own rank that are named with it.
const RANKS: &[(&str, u8)] = &[
    ("platform", 0),
    ("account", 1),
    ("inference", 1),
    ("people", 2),
    ("catalog", 2),
    ("touches", 3),
    ("events", 4),
    ("audience", 5),
    ("recommend", 5),
    ("copywriter", 6),
    ("creative", 7),
    ("campaign", 8),
    ("delivery", 9),
    ("adserver", 9),
    ("tracking", 10),
    ("attribution", 11),
    ("webhooks", 11),
    ("privacy", 11),
    ("import", 12),
    ("web", 13),
    ("demo", 14),
    ("app", 15),
    ("cli", 16),
];

fn rust_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn slices_only_know_what_lies_to_their_left() {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 20, "the walk finds the sources");
    let uses = regex::Regex::new(r"\bcrate::(?:\{([^}]*)\}|([a-z_]+))").expect("pattern");
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).expect("below src");
        let slice = relative.components().next().and_then(|c| c.as_os_str().to_str()).unwrap_or_default().trim_end_matches(".rs");
        let Some(rank) = ranks.get(slice) else { continue };
        let text = fs::read_to_string(&file).expect("source");
        for found in uses.captures_iter(&text) {
            let names = found.get(1).or_else(|| found.get(2)).map_or("", |m| m.as_str());
            for name in names.split(',').map(|n| n.trim().split("::").next().unwrap_or_default()) {
                if let Some(other) = ranks.get(name)
                    && name != slice
                    && other > rank
                {
                    wrong.push(format!("{} uses {name}", relative.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point to the right:\n{}", wrong.join("\n"));
}
