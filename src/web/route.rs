//! The table of pages: each route states what it needs, and nothing is mounted that does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, Responder};

use super::gate;
use crate::account::{Permission, User};

/// Who may ask for a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Anybody: sign-in and the links in our own mails.
    Public,
    /// Anybody who is signed in: one's own profile.
    SignedIn,
    May(Permission),
}

impl Need {
    pub fn met_by(self, user: Option<&User>) -> bool {
        match (self, user) {
            (Self::Public, _) => true,
            (_, None) => false,
            (Self::SignedIn, Some(user)) => !user.disabled,
            (Self::May(permission), Some(user)) => user.may(permission),
        }
    }
}

type Mount = Arc<dyn Fn() -> actix_web::Route + Send + Sync>;

/// One page or action.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// An actix pattern: `/segments/{id}`.
    pub path: &'static str,
    pub need: Need,
    /// For what changes something, and for files with people in them: its name in the audit log, `segment.delete`. `None` for what only reads.
    pub action: Option<&'static str>,
    mount: Mount,
}

impl Route {
    /// A page.
    pub fn get<F, Args>(path: &'static str, need: Need, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { method: Method::GET, path, need, action: None, mount: Arc::new(move || web::get().to(handler.clone())) }
    }

    /// A file that reads only, and is worth a line in the audit log: who took which data away.
    pub fn file<F, Args>(path: &'static str, need: Need, action: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { action: Some(action), ..Self::get(path, need, handler) }
    }

    /// A form. The gate has checked origin and CSRF token before the handler runs, and writes the audit line after it succeeded.
    pub fn post<F, Args>(path: &'static str, need: Need, action: &'static str, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { method: Method::POST, path, need, action: Some(action), mount: Arc::new(move || web::post().to(handler.clone())) }
    }

    /// A form that asks and changes nothing (a preview, a live count): guarded like a form, not in the audit log.
    pub fn ask<F, Args>(path: &'static str, need: Need, handler: F) -> Self
    where
        F: Handler<Args> + Send + Sync,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        Self { method: Method::POST, path, need, action: None, mount: Arc::new(move || web::post().to(handler.clone())) }
    }
}

/// Mounts all routes, each resource behind the gate.
pub(super) fn mount(config: &mut ServiceConfig, routes: &[Route]) {
    let mut by_path: BTreeMap<&'static str, Vec<&Route>> = BTreeMap::new();
    for route in routes {
        by_path.entry(route.path).or_default().push(route);
    }
    // Fixed paths come before patterns: `/segments/new` is not the segment “new”.
    let mut paths: Vec<_> = by_path.into_iter().collect();
    paths.sort_by_key(|(path, _)| (path.matches('{').count(), *path));
    for (path, routes) in paths {
        let rules: Arc<[gate::Rule]> =
            routes.iter().map(|r| gate::Rule { method: r.method.clone(), need: r.need, action: r.action }).collect();
        let mut resource = web::resource(path);
        for route in routes {
            resource = resource.route((route.mount)());
        }
        config.service(resource.wrap(actix_web::middleware::from_fn(move |req, next| gate::pass(req, next, rules.clone()))));
    }
}
