//! Orders: read and cleaned line by line, grouped, cancelled, and written together with the people and products they name.

mod load;
mod plan;
mod read;
mod texts;

use super::mapping::{Mapping, Preset};
use super::report::{Refusals, Report};
use super::{ImportError, Kind, Options, Source};
use crate::platform::Platform;

/// Cleaning rules given by hand; what is `None` comes from the preset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleOptions {
    /// Orders whose reference starts so, followed by a digit, cancel earlier lines.
    pub cancel_prefix: Option<String>,
    /// Orders whose reference starts so, followed by a digit, adjust bad debt.
    pub bad_debt_prefix: Option<String>,
    /// A code without a digit is postage, a fee, a discount or a manual entry, and no product.
    pub codes_need_digit: Option<bool>,
    /// `85123a` and `85123A` are one product.
    pub fold_sku_case: Option<bool>,
    /// Descriptions such as `damaged`, `?` or `check` are notes on stock.
    pub stock_notes: Option<bool>,
}

/// The rules in force for one file.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub cancel_prefix: Option<String>,
    pub bad_debt_prefix: Option<String>,
    pub codes_need_digit: bool,
    pub fold_sku_case: bool,
    pub stock_notes: bool,
    /// A line without a code is known by its title.
    pub title_for_sku: bool,
}

impl Rules {
    fn new(preset: Preset, given: &RuleOptions) -> Self {
        let retail = preset == Preset::OnlineRetail;
        let prefix =
            |given: &Option<String>, default: &str| given.clone().or_else(|| retail.then(|| default.to_owned())).filter(|p| !p.is_empty());
        Self {
            cancel_prefix: prefix(&given.cancel_prefix, "C"),
            bad_debt_prefix: prefix(&given.bad_debt_prefix, "A"),
            codes_need_digit: given.codes_need_digit.unwrap_or(retail),
            fold_sku_case: given.fold_sku_case.unwrap_or(retail),
            stock_notes: given.stock_notes.unwrap_or(retail),
            title_for_sku: preset == Preset::Shopify,
        }
    }
}

pub(super) async fn import(platform: &Platform, source: &Source, options: &Options) -> Result<(Report, Refusals), ImportError> {
    let now = platform.now();
    let (source_too, options_too) = (source.clone(), options.clone());
    // Reading and cleaning take the CPU for seconds: off the async threads.
    let (mut report, refusals, plan) = tokio::task::spawn_blocking(move || {
        let mut rows = source_too.rows()?;
        let mapping = Mapping::resolve(Kind::Orders, &rows.header, options_too.preset, &options_too.map)?;
        let rules = Rules::new(mapping.preset, &options_too.rules);
        let mut report = Report::new("orders", &source_too);
        report.preset = mapping.preset.name();
        report.mapping = mapping.shown(&rows.header);
        report.dry_run = options_too.dry_run;
        let read = read::read(&mut rows, &mapping, &rules, &options_too, now);
        report.rows = read.rows;
        report.torn.clone_from(&read.torn);
        report.note("lines were read as Windows-1252", rows.windows_1252);
        let (plan, refusals) = plan::plan(read, &mut report);
        Ok::<_, ImportError>((report, refusals, plan))
    })
    .await
    .map_err(|e| ImportError::Internal(format!("reading the orders: {e}")))??;
    if !options.dry_run {
        load::load(platform, &plan, options, &mut report).await?;
    }
    Ok((report, refusals))
}
