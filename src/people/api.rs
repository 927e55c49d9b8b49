//! `/v1/people`: look people up and put them in. Needs the scope `manage`.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, web::Json as Body};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::OpenApi as _;

use super::model::{Consent, Identity, NewPerson, PeopleError, Person};
use super::{profile, store, tombstone};
use crate::account::{Guarded, scope};
use crate::platform::Platform;
use crate::platform::clock::Timestamp;
use crate::platform::http::{ApiError, ApiResult, Page, PageQuery, Problem};
use crate::platform::ids::PersonId;

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/people", web::get().to(list))
        .route("/v1/people", web::post().to(upsert))
        .route("/v1/people/{id}", web::get().to(get));
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, upsert, get), components(schemas(Person, PersonBody, Problem)))]
struct Doc;

pub fn openapi() -> utoipa::openapi::OpenApi {
    Doc::openapi()
}

/// A profile to create or change. What is absent stays as it was; an attribute that is null is removed.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonBody {
    pub external_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub email: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub phone: Option<String>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub country: Option<String>,
    pub city: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attributes: Map<String, Value>,
    pub email_consent: Option<Consent>,
    pub ads_consent: Option<Consent>,
    /// Where the consent comes from; kept in its history.
    #[serde(default)]
    pub consent_source: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub consent_at: Option<Timestamp>,
}

impl PersonBody {
    /// Unlike an import, the API refuses what it would have to leave out.
    fn into_new(self) -> Result<NewPerson, PeopleError> {
        let email_given = self.email.as_deref().is_some_and(|e| !e.trim().is_empty());
        let zone_given = self.time_zone.as_deref().is_some_and(|z| !z.trim().is_empty());
        let (new, notes) = NewPerson {
            external_id: self.external_id,
            anonymous_id: self.anonymous_id,
            email: self.email,
            first_name: self.first_name,
            last_name: self.last_name,
            phone: self.phone,
            locale: self.locale,
            time_zone: self.time_zone,
            country: self.country,
            city: self.city,
            attributes: self.attributes,
            email_consent: self.email_consent,
            ads_consent: self.ads_consent,
            consent_source: self.consent_source,
            consent_at: self.consent_at,
            first_seen_at: None,
        }
        .clean()?;
        if email_given && new.email.is_none() {
            return Err(PeopleError::invalid("email", notes.join("; ")));
        }
        if zone_given && new.time_zone.is_none() {
            return Err(PeopleError::invalid("time_zone", notes.join("; ")));
        }
        Ok(new)
    }
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// The beginning of an address, external id, first or last name.
    #[serde(default)]
    q: String,
}

fn person_id(text: &str) -> ApiResult<PersonId> {
    text.parse().map_err(|e: crate::platform::ids::IdError| ApiError::bad_request("bad_id", e.to_string()))
}

/// One person.
#[utoipa::path(get, path = "/v1/people/{id}", tag = "people", security(("bearer" = []), ("basic" = [])), params(("id" = String, Path, example = "per_42")),
    responses((status = 200, body = Person), (status = 404, body = Problem)))]
async fn get(_: Guarded<scope::Manage>, platform: web::Data<Platform>, id: web::Path<String>) -> ApiResult {
    let person = store::get(&platform.db, person_id(&id)?).await?.ok_or_else(|| ApiError::not_found("person"))?;
    Ok(HttpResponse::Ok().json(person))
}

/// People in order of id.
#[utoipa::path(get, path = "/v1/people", tag = "people", security(("bearer" = []), ("basic" = [])), params(Search, PageQuery), responses((status = 200, body = Page<Person>)))]
async fn list(
    _: Guarded<scope::Manage>,
    platform: web::Data<Platform>,
    search: web::Query<Search>,
    page: web::Query<PageQuery>,
) -> ApiResult {
    let limit = page.limit()?;
    let after = page.after.as_deref().map_or(Ok(PersonId(0)), person_id)?;
    let mut items = store::list(&platform.db, &search.q, after, limit + 1).await?;
    let more = i64::try_from(items.len()).unwrap_or(i64::MAX) > limit;
    items.truncate(usize::try_from(limit).unwrap_or(0));
    let next = items.last().filter(|_| more).map(|p| p.id.to_string());
    Ok(HttpResponse::Ok().json(Page { items, next }))
}

/// Creates a person, or changes the one that these ids lead to. 409 `person_erased` where one of the ids belonged to somebody erased.
#[utoipa::path(post, path = "/v1/people", tag = "people", security(("bearer" = []), ("basic" = [])), request_body = PersonBody,
    responses((status = 200, body = Person), (status = 409, body = Problem), (status = 422, body = Problem)))]
async fn upsert(_: Guarded<scope::Manage>, platform: web::Data<Platform>, body: Body<PersonBody>) -> ApiResult {
    let new = body.into_inner().into_new()?;
    let now = platform.now();
    let names: Vec<Identity> =
        new.external_id.clone().map(Identity::External).into_iter().chain(new.email.as_deref().and_then(Identity::email)).collect();
    for attempt in 1.. {
        let mut tx = platform.db.begin().await?;
        if !tombstone::erased_among_in(&mut tx, &platform.signer, &names).await?.is_empty() {
            return Err(PeopleError::Erased.into());
        }
        match profile::bulk_upsert(&mut tx, std::slice::from_ref(&new), now).await {
            Ok(ids) => {
                tx.commit().await?;
                let id = ids.first().copied().ok_or(PeopleError::NotFound)?;
                let person = store::get(&platform.db, id).await?.ok_or(PeopleError::NotFound)?;
                return Ok(HttpResponse::Ok().json(person));
            }
            // Somebody else created the same person meanwhile.
            Err(e) if e.is_conflict() && attempt < 5 => tx.rollback().await?,
            Err(e) => return Err(e.into()),
        }
    }
    Err(ApiError::internal(anyhow::anyhow!("unreachable: the loop returns")))
}
