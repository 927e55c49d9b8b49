//! What can go wrong with a campaign, in words for a marketer.

use crate::fault;
use crate::platform::Fault;
use crate::platform::http::ApiError;

use super::model::{Action, Status};

#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    #[error("{detail}")]
    Invalid { field: &'static str, detail: Fault },
    #[error("There is no such campaign.")]
    NotFound,
    #[error("A campaign with the key “{0}” exists already.")]
    KeyTaken(String),
    #[error("A campaign that is {status} cannot {action}; it can: {}.", list(.allowed))]
    WrongState { status: Status, action: Action, allowed: Vec<Action> },
    #[error("{0}")]
    Frozen(Fault),
    #[error("The campaign changed in the meantime; look at it again.")]
    Changed,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn list(actions: &[Action]) -> String {
    if actions.is_empty() { "nothing any more".into() } else { actions.iter().map(|a| a.as_str()).collect::<Vec<_>>().join(", ") }
}

impl CampaignError {
    /// What is wrong, in a form that a page can say in the reader's language.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Invalid { detail, .. } | Self::Frozen(detail) => detail.clone(),
            Self::NotFound => fault!("campaign.not_found", "There is no such campaign."),
            Self::KeyTaken(key) => fault!("campaign.key_taken", "A campaign with the key “{key}” exists already.", key),
            Self::WrongState { status, action, allowed } => {
                let allowed = list(allowed);
                fault!("campaign.state", "A campaign that is {status} cannot {action}; it can: {allowed}.", status, action, allowed)
            }
            Self::Changed => fault!("campaign.changed", "The campaign changed in the meantime; look at it again."),
            Self::Database(_) | Self::Other(_) => fault!("internal", "Something went wrong on our side; it has been logged."),
        }
    }
}

impl From<CampaignError> for ApiError {
    fn from(e: CampaignError) -> Self {
        let fault = e.fault();
        match e {
            CampaignError::Invalid { field, .. } => ApiError::invalid(field, fault),
            CampaignError::NotFound => ApiError::not_found("campaign"),
            CampaignError::KeyTaken(_) => ApiError::conflict("key_taken", fault),
            CampaignError::WrongState { .. } => ApiError::conflict("wrong_state", fault),
            CampaignError::Frozen(_) => ApiError::conflict("frozen", fault),
            CampaignError::Changed => ApiError::conflict("changed", fault),
            CampaignError::Database(e) => e.into(),
            CampaignError::Other(e) => ApiError::internal(e),
        }
    }
}
