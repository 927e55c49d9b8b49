//! Why a whole file cannot be imported. A single bad row never is an error: it is refused and the rest goes on.

use std::io;
use std::path::PathBuf;

use crate::catalog::CatalogError;
use crate::fault;
use crate::platform::Fault;

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
    Mapping(Misfit),
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

/// How columns and fields do not fit together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub preset: &'static str,
    /// Everything that is wrong, a sentence each.
    pub wrong: Vec<Fault>,
    /// The columns that there are.
    pub found: String,
    /// What the command line may be told, as `email="Mail"`.
    pub example: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wrong = self.wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  - ");
        write!(
            f,
            "the columns do not fit (preset {}):\n  - {wrong}\n  found: {}\n  name columns with --map field=Column, for instance --map {}",
            self.preset, self.found, self.example
        )
    }
}

impl ImportError {
    /// What is wrong, in sentences that a page can say in the reader's language.
    pub fn faults(&self) -> Vec<Fault> {
        let one = match self {
            Self::Mapping(misfit) => return misfit.wrong.clone(),
            Self::Encoding(what) => {
                fault!("import.encoding", "the file is {encoding}: save it as CSV in UTF-8 and import that", encoding = what)
            }
            Self::Spreadsheet => {
                fault!("import.spreadsheet", "the file is a spreadsheet or a zip archive: save the sheet as CSV (UTF-8) and import that")
            }
            Self::Empty => fault!("import.empty", "the file is empty"),
            Self::Header(why) => fault!("import.header", "the header cannot be read: {why}", why),
            Self::Xml(why) => fault!("import.xml", "the XML cannot be read: {why}", why),
            other => other.to_string().into(),
        };
        vec![one]
    }
}
