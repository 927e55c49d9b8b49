//! Any report by its name: the one door for HTTP, the command line, pages and deliveries, so that all show the same numbers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::by::By;
use super::cohorts::{self, CohortReport};
use super::engagement::{self, EngagementReport};
use super::funnel::{self, FunnelReport};
use super::paths::{self, PathsReport};
use super::question::{Question, ReportError, ReportQuery};
use super::report::{self, ModelsReport, Report};
use super::sheet::Sheet;
use crate::platform::Platform;

/// Which report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    Attribution,
    Models,
    Paths,
    Cohorts,
    Engagement,
    Funnel,
}

impl ReportKind {
    pub const ALL: [ReportKind; 6] = [Self::Attribution, Self::Models, Self::Paths, Self::Cohorts, Self::Engagement, Self::Funnel];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Attribution => "attribution",
            Self::Models => "models",
            Self::Paths => "paths",
            Self::Cohorts => "cohorts",
            Self::Engagement => "engagement",
            Self::Funnel => "funnel",
        }
    }
}

/// A report of any kind. As JSON it is that report.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Attribution(Report),
    Models(ModelsReport),
    Paths(PathsReport),
    Cohorts(CohortReport),
    Engagement(EngagementReport),
    Funnel(FunnelReport),
}

impl Answer {
    /// The report as tables, the main one first.
    pub fn sheets(&self) -> Vec<Sheet> {
        match self {
            Self::Attribution(r) => vec![r.sheet()],
            Self::Models(r) => vec![r.sheet()],
            Self::Paths(r) => r.sheets(),
            Self::Cohorts(r) => vec![r.sheet()],
            Self::Engagement(r) => r.sheets(),
            Self::Funnel(r) => vec![r.sheet()],
        }
    }
    /// One of its tables: the named one, or the main one.
    pub fn sheet(&self, name: Option<&str>) -> Result<Sheet, ReportError> {
        let mut sheets = self.sheets();
        let names: Vec<&str> = sheets.iter().map(|s| s.name.as_str()).collect();
        let at = match name {
            None => 0,
            Some(name) => sheets
                .iter()
                .position(|s| s.name == name)
                .ok_or_else(|| ReportError::invalid("table", format!("this report has the tables {}", names.join(", "))))?,
        };
        Ok(sheets.swap_remove(at))
    }
}

/// The answer to a question about a kind of report, checked and computed.
pub async fn report(platform: &Platform, kind: ReportKind, query: &ReportQuery) -> Result<Answer, ReportError> {
    let db = &platform.db;
    let by = if kind == ReportKind::Paths { By::Channel } else { By::Campaign };
    let in_units = matches!(kind, ReportKind::Cohorts | ReportKind::Engagement);
    let question = Question::read(platform, query, by, in_units).await?;
    Ok(match kind {
        ReportKind::Attribution => Answer::Attribution(report::attribution(db, &question).await?),
        ReportKind::Models => Answer::Models(report::models(db, &question).await?),
        ReportKind::Paths => Answer::Paths(paths::paths(db, &question).await?),
        ReportKind::Cohorts => Answer::Cohorts(cohorts::cohorts(db, &question).await?),
        ReportKind::Engagement => Answer::Engagement(engagement::engagement(db, &question).await?),
        ReportKind::Funnel => Answer::Funnel(funnel::funnel(db, &question).await?),
    })
}

/// A report as bytes in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
    Csv,
    Parquet,
}

impl Format {
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}
impl std::str::FromStr for Format {
    type Err = ReportError;
    fn from_str(text: &str) -> Result<Self, ReportError> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(ReportError::invalid("format", "format is json, csv or parquet")),
        }
    }
}

impl Answer {
    /// The report in a format. CSV and Parquet hold one table.
    pub fn bytes(&self, format: Format, table: Option<&str>) -> Result<Vec<u8>, ReportError> {
        match format {
            Format::Json => serde_json::to_vec_pretty(self).map_err(|e| ReportError::Written(e.to_string())),
            Format::Csv => Ok(self.sheet(table)?.to_csv().into_bytes()),
            Format::Parquet => self.sheet(table)?.to_parquet(),
        }
    }
}
