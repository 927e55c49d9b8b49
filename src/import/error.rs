//! Why a whole file cannot be imported. A single bad row never is an error: it is refused and the rest goes on.

use std::io;
use std::path::PathBuf;

use crate::catalog::CatalogError;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("the file is {0}: save it as CSV in UTF-8 and import that")]
    Encoding(&'static str),
    #[error("the file is a spreadsheet or a zip archive: save the sheet as CSV (UTF-8) and import that")]
    Spreadsheet,
    #[error("the file is empty")]
    Empty,
    #[error("the header cannot be read: {0}")]
    Header(String),
    /// Everything that is wrong with the columns, at once.
    #[error("{0}")]
    Mapping(String),
    #[error("the XML cannot be read: {0}")]
    Xml(String),
    #[error("{0}")]
    Option(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    People(#[from] crate::people::PeopleError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("{0}")]
    Internal(String),
}
