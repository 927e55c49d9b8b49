//! What can go wrong with a campaign, in words for a marketer.

use crate::platform::http::ApiError;

use super::model::{Action, Status};

#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    #[error("{detail}")]
    Invalid { field: &'static str, detail: String },
    #[error("There is no such campaign.")]
    NotFound,
    #[error("A campaign with the key “{0}” exists already.")]
    KeyTaken(String),
    #[error("A campaign that is {status} cannot {action}; it can: {}.", list(.allowed))]
    WrongState { status: Status, action: Action, allowed: Vec<Action> },
    #[error("{0}")]
    Frozen(String),
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

impl From<CampaignError> for ApiError {
    fn from(e: CampaignError) -> Self {
        match e {
            CampaignError::Invalid { field, ref detail } => ApiError::invalid(field, detail.clone()),
            CampaignError::NotFound => ApiError::not_found("campaign"),
            CampaignError::KeyTaken(_) => ApiError::conflict("key_taken", e.to_string()),
            CampaignError::WrongState { .. } => ApiError::conflict("wrong_state", e.to_string()),
            CampaignError::Frozen(_) => ApiError::conflict("frozen", e.to_string()),
            CampaignError::Changed => ApiError::conflict("changed", e.to_string()),
            CampaignError::Database(e) => e.into(),
            CampaignError::Other(e) => ApiError::internal(e),
        }
    }
}
