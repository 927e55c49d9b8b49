//! The list: found, filtered, ordered, as pictures or as a table, and as CSV.

use actix_web::web::{Data, Query};
use serde::{Deserialize, Serialize};

use super::{Tile, product_id, with_results};
use crate::catalog::{self, ProductFilter, ProductFinding, ProductOrder, ProductRow, StockLevel};
use crate::platform::Platform;
use crate::platform::http::ApiResult;
use crate::web::download;
use crate::web::page::Shell;
use crate::web::table::{Choice, PAGE_ROWS, Pager, Sort, kept};

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
    q: String,
    category: String,
    brand: String,
    stock: String,
    finding: String,
    state: String,
    view: String,
    sort: Option<String>,
    after: Option<String>,
}

const LEVELS: [(&str, StockLevel); 4] =
    [("in", StockLevel::In), ("low", StockLevel::Low), ("out", StockLevel::Out), ("uncounted", StockLevel::Uncounted)];
const ORDERS: [(&str, ProductOrder); 7] = [
    ("title", ProductOrder::Title),
    ("price", ProductOrder::Price),
    ("stock", ProductOrder::Stock),
    ("updated", ProductOrder::Updated),
    ("shown", ProductOrder::Shown),
    ("clicked", ProductOrder::Clicked),
    ("earned", ProductOrder::Earned),
];
/// Findings that the list can be narrowed to.
const FINDINGS: [ProductFinding; 5] = ProductFinding::ALL;
/// Most names offered in a filter; beyond, the list of products is searched.
const MAX_CHOICES: i64 = 300;

impl ListQuery {
    fn filter(&self) -> ProductFilter {
        ProductFilter {
            search: self.q.chars().take(200).collect(),
            category: self.category.clone(),
            brand: self.brand.clone(),
            stock: LEVELS.iter().find(|(name, _)| *name == self.stock).map(|(_, level)| *level),
            finding: FINDINGS.into_iter().find(|f| f.name() == self.finding),
            retired: self.state == "retired",
        }
    }
    /// The parameters without those named, urlencoded and ending in `&`.
    fn without(&self, dropped: &[&str]) -> String {
        let all = [
            ("q", self.q.as_str()),
            ("category", &self.category),
            ("brand", &self.brand),
            ("stock", &self.stock),
            ("finding", &self.finding),
            ("state", &self.state),
            ("view", &self.view),
            ("sort", self.sort.as_deref().unwrap_or_default()),
        ];
        kept(&all.into_iter().filter(|(name, _)| !dropped.contains(name)).collect::<Vec<_>>())
    }
    fn order(&self) -> (Sort, ProductOrder) {
        let sort = Sort::read(
            self.sort.as_deref(),
            &["title", "price", "stock", "updated", "shown", "clicked", "earned"],
            self.without(&["sort"]),
        );
        let order = ORDERS.iter().find(|(name, _)| *name == sort.by).map_or(ProductOrder::Title, |(_, order)| *order);
        (sort, order)
    }
    fn narrowed(&self) -> bool {
        [&self.q, &self.category, &self.brand, &self.stock, &self.finding, &self.state].iter().any(|f| !f.is_empty())
    }
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    n: i64,
    href: String,
    tone: &'static str,
}

#[derive(Serialize)]
struct ListView {
    figures: Vec<Figure>,
    rows: Vec<Tile>,
    pager: Pager,
    sort: Sort,
    /// `sort` as it stands in the address.
    sorted: String,
    grid: bool,
    /// The same list in the other view.
    other_view: String,
    q: String,
    category: String,
    brand: String,
    stock: String,
    finding: String,
    state: String,
    view: String,
    categories: Vec<Choice>,
    brands: Vec<Choice>,
    levels: Vec<Choice>,
    findings: Vec<Choice>,
    states: Vec<Choice>,
    sorts: Vec<Choice>,
    narrowed: bool,
    empty: bool,
    download: String,
    mounted_import: bool,
}

fn figures(counts: &catalog::CatalogueCounts) -> Vec<Figure> {
    let figure = |name, n, filter: &str, tone| Figure {
        name,
        n,
        href: if filter.is_empty() { "/catalogue".into() } else { format!("/catalogue?finding={filter}") },
        tone: if n > 0 { tone } else { "" },
    };
    vec![
        figure("live", counts.live, "", ""),
        figure("sold_out", counts.sold_out, "sold_out", "bad"),
        figure("no_picture", counts.no_picture, "no_picture", "warn"),
        figure("no_text", counts.no_text, "no_text", "warn"),
        figure("long_title", counts.long_title, "long_title", "warn"),
        figure("never_picked", counts.never_picked, "never_picked", "warn"),
    ]
}

/// Paths as a tree is read: the steps before the last as dashes.
fn category_choices(shell: &Shell, paths: Vec<String>) -> Vec<Choice> {
    let any = Choice::new("", shell.say("catalogue.any_category"));
    let label = |path: &str| {
        let depth = path.matches(" > ").count();
        format!("{}{}", "– ".repeat(depth), path.rsplit(" > ").next().unwrap_or(path))
    };
    std::iter::once(any).chain(paths.into_iter().map(|p| Choice::new(p.clone(), label(&p)))).collect()
}

fn choices(shell: &Shell, any: &str, prefix: &str, names: &[&str]) -> Vec<Choice> {
    let rest = names.iter().map(|n| Choice::new(*n, shell.say(&format!("{prefix}.{n}"))));
    std::iter::once(Choice::new("", shell.say(any))).chain(rest).collect()
}

pub(super) async fn page(shell: Shell, platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let db = &platform.db;
    let (sort, order) = query.order();
    let after = query.after.as_deref().filter(|a| !a.is_empty()).map(product_id).transpose()?;
    let mut found = catalog::browse(db, &query.filter(), order, sort.down, after, PAGE_ROWS + 1).await?;
    let pager = Pager::cut(&mut found, query.after.as_deref(), query.without(&[]), |r| r.id.to_string());
    let counts = catalog::counts(db).await?;
    let brands = catalog::brands(db, MAX_CHOICES).await?.into_iter().map(|b| Choice::new(b.clone(), b));
    let grid = query.view != "table";
    let sorts = ["title", "-title", "price", "-price", "stock", "-stock", "-shown", "-clicked", "-earned", "-updated"]
        .into_iter()
        .map(|s| Choice::new(s, shell.say(&format!("catalogue.sort.{}", s.replace('-', "down_")))))
        .collect();
    let finding_names: Vec<&str> = FINDINGS.iter().map(|f| f.name()).collect();
    let mut rows: Vec<Tile> = found.into_iter().map(Tile::from).collect();
    with_results(&platform, &mut rows).await?;
    let view = ListView {
        figures: figures(&counts),
        rows,
        pager,
        sorted: format!("{}{}", if sort.down { "-" } else { "" }, sort.by),
        sort,
        grid,
        other_view: format!("/catalogue?{}view={}", query.without(&["view"]), if grid { "table" } else { "grid" }),
        categories: category_choices(&shell, catalog::categories(db, MAX_CHOICES).await?),
        brands: std::iter::once(Choice::new("", shell.say("catalogue.any_brand"))).chain(brands).collect(),
        levels: choices(&shell, "catalogue.any_stock", "catalogue.level", &LEVELS.map(|(name, _)| name)),
        findings: choices(&shell, "catalogue.any_finding", "catalogue.finding", &finding_names),
        states: choices(&shell, "catalogue.on_offer", "catalogue.state", &["retired"]),
        sorts,
        narrowed: query.narrowed(),
        empty: counts.live + counts.retired == 0,
        download: format!("/catalogue.csv?{}", query.without(&["view"])),
        mounted_import: shell.ui().has("/import"),
        q: query.q,
        category: query.category,
        brand: query.brand,
        stock: query.stock,
        finding: query.finding,
        state: query.state,
        view: query.view,
    };
    shell.render("catalogue/list.html", shell.say("catalogue.title"), &view)
}

/// Products that are read at a time.
const PIECE: i64 = 2_000;
static COLUMNS: [&str; 12] =
    ["sku", "title", "brand", "category", "price", "sale_price", "currency", "stock", "available", "url", "findings", "updated_at"];

pub(super) async fn download(platform: Data<Platform>, query: Query<ListQuery>) -> ApiResult {
    let query = query.into_inner();
    let ((sort, order), filter) = (query.order(), query.filter());
    let (platform, down) = (platform.into_inner(), sort.down);
    Ok(download::pieces("catalogue.csv", &COLUMNS, None, move |after| {
        let (platform, filter) = (platform.clone(), filter.clone());
        async move {
            let some = catalog::browse(&platform.db, &filter, order, down, after, PIECE).await?;
            let more = (some.len() == PIECE as usize).then(|| some.last().map(|last| Some(last.id))).flatten();
            Ok((some.iter().map(record).collect(), more))
        }
    }))
}

fn record(row: &ProductRow) -> Vec<String> {
    let findings: Vec<&str> = row.findings().into_iter().map(ProductFinding::name).collect();
    vec![
        row.sku.clone(),
        row.title.clone(),
        row.brand.clone().unwrap_or_default(),
        row.category_path.clone(),
        row.price.decimal(),
        row.sale_price.map(|m| m.decimal()).unwrap_or_default(),
        row.price.currency.code().to_owned(),
        row.stock.map(|n| n.to_string()).unwrap_or_default(),
        row.available.to_string(),
        row.url.clone().unwrap_or_default(),
        findings.join(" "),
        row.updated_at.to_string(),
    ]
}
