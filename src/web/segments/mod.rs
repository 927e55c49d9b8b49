//! Segments: who are they? The list, the rule builder, and one segment with its sample, curve and overlap.

mod build;
mod draft;
mod list;
mod one;
mod read;
mod starts;
mod unfold;
mod venn;
mod view;
mod words;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::audience::Rule;
use crate::platform::Db;
use crate::platform::http::ApiResult;

pub(super) fn routes() -> Vec<Route> {
    let (see, plan, people) = (Need::May(Permission::See), Need::May(Permission::Plan), Need::May(Permission::SeePeople));
    vec![
        Route::get("/segments", see, list::page),
        Route::get("/segments.csv", see, list::csv),
        Route::get("/segments/new", plan, build::new),
        Route::ask("/segments/build", plan, build::redraw),
        Route::ask("/segments/count", plan, build::count),
        Route::post("/segments/save", plan, "segment.save", build::save),
        Route::get("/segments/{id}", see, one::page),
        Route::get("/segments/{id}/edit", plan, build::edit),
        Route::get("/segments/{id}/part/size", see, one::size),
        Route::post("/segments/{id}/refresh", plan, "segment.refresh", one::refresh),
        Route::file("/segments/{id}/members.csv", people, "segment.download", one::members),
        Route::get("/segments/{id}/delete", plan, list::ask_delete),
        Route::post("/segments/{id}/delete", plan, "segment.delete", list::delete),
    ]
}

/// A rule in words, in the viewer's language.
pub(super) async fn words_of(shell: &Shell, db: &Db, rule: &Rule) -> ApiResult<String> {
    let names = build::segment_names(db).await?;
    Ok(build::teller(shell, &names).tell(rule))
}
