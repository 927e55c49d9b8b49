//! Wiring only: builds the platform, mounts the slices, runs the server and the workers.

use actix_web::web::ServiceConfig;

use crate::platform::queue::JobSpec;
use crate::{
    adserver, attribution, audience, campaign, catalog, copywriter, creative, delivery, demo, events, people, recommend, touches, tracking,
};

/// All routes of all slices.
pub fn routes(config: &mut ServiceConfig) {
    people::routes(config);
    catalog::routes(config);
    events::routes(config);
    touches::routes(config);
    audience::routes(config);
    recommend::routes(config);
    copywriter::routes(config);
    creative::routes(config);
    campaign::routes(config);
    delivery::routes(config);
    adserver::routes(config);
    tracking::routes(config);
    attribution::routes(config);
    demo::routes(config);
}

/// All jobs of all slices.
pub fn jobs() -> Vec<JobSpec> {
    [
        people::jobs(),
        catalog::jobs(),
        events::jobs(),
        touches::jobs(),
        audience::jobs(),
        recommend::jobs(),
        copywriter::jobs(),
        creative::jobs(),
        campaign::jobs(),
        delivery::jobs(),
        adserver::jobs(),
        tracking::jobs(),
        attribution::jobs(),
        demo::jobs(),
    ]
    .concat()
}
