//! The guard: a handler that takes [`Guarded<scope::Serve>`] runs only for keys that hold the scope.

use std::future::{Ready, ready};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::{KeyRing, Principal, Scope};
use crate::platform::http::ApiError;

/// Scopes as types.
pub mod scope {
    use super::Scope;

    pub trait Needed {
        const SCOPE: Scope;
    }
    macro_rules! needed {
        ($($name:ident),*) => { $(pub struct $name; impl Needed for $name { const SCOPE: Scope = Scope::$name; })* };
    }
    needed!(Ingest, Serve, Reports, Manage, Admin);
}

/// Proof that the caller's key holds the scope `S`.
pub struct Guarded<S> {
    pub principal: Principal,
    scope: PhantomData<S>,
}

impl<S: scope::Needed> FromRequest for Guarded<S> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(principal(req).and_then(|principal| {
            if principal.may(S::SCOPE) {
                req.extensions_mut().insert(Used { principal: principal.clone(), scope: S::SCOPE });
                Ok(Self { principal, scope: PhantomData })
            } else {
                Err(ApiError::forbidden(format!("This key lacks the scope “{}”.", S::SCOPE)))
            }
        }))
    }
}

/// Which key a request used and what for; left in the request for the audit log.
#[derive(Clone, Debug)]
pub struct Used {
    pub principal: Principal,
    pub scope: Scope,
}

fn principal(req: &HttpRequest) -> Result<Principal, ApiError> {
    let ring = req.app_data::<web::Data<KeyRing>>().ok_or_else(|| ApiError::internal(anyhow::anyhow!("no key ring in the app")))?;
    let key = key_in(req).ok_or_else(|| ApiError::unauthorized("Send an API key: “Authorization: Bearer mqk_…”."))?;
    ring.check(&key).ok_or_else(|| ApiError::unauthorized("This key is unknown or revoked. `marquee key create` makes a new one."))
}

/// The key in `Authorization: Bearer …`, in Basic (as user name) or in `X-Api-Key`.
pub fn key_in(req: &HttpRequest) -> Option<String> {
    if let Some(key) = req.headers().get("x-api-key") {
        return key.to_str().ok().map(ToOwned::to_owned);
    }
    let value = req.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        return Some(text.split(':').next().unwrap_or_default().to_owned());
    }
    None
}
