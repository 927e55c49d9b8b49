//! Import: bring people, products and orders in. Upload, look into it, say which column is what, follow the job, take the refused rows.

mod desk;
mod upload;

use super::route::{Need, Route};
use crate::account::Permission;

pub(super) fn routes() -> Vec<Route> {
    let (plan, people) = (Need::May(Permission::Plan), Need::May(Permission::SeePeople));
    vec![
        Route::get("/import", plan, desk::list),
        Route::post("/import/upload", plan, "import.upload", upload::upload),
        Route::get("/import/{id}", plan, desk::one),
        Route::ask("/import/{id}/look", plan, desk::look),
        Route::post("/import/{id}/start", plan, "import.start", desk::start),
        Route::get("/import/{id}/part/progress", plan, desk::progress),
        Route::file("/import/{id}/rejects.csv", people, "import.rejects", desk::rejects),
        Route::get("/import/{id}/remove", plan, desk::ask_remove),
        Route::post("/import/{id}/remove", plan, "import.remove", desk::remove),
    ]
}
