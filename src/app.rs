//! Wiring only: mounts the slices, runs the server and the workers.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::middleware::{Compress, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Responder};
use utoipa::OpenApi;
use utoipa_swagger_ui::SwaggerUi;

use crate::account::{self, KeyRing, Scope};
use crate::platform::http::{ApiError, ApiResult, Problem, observe};
use crate::platform::queue::JobSpec;
use crate::platform::{Platform, telemetry};
use crate::{
    adserver, attribution, audience, campaign, catalog, copywriter, creative, delivery, demo, events, import, people, privacy, recommend,
    touches, tracking, web as pages, webhooks,
};

/// What the server holds beside the platform: everything with a life of its own.
#[derive(Clone)]
pub struct Services {
    pub platform: Platform,
    pub keys: KeyRing,
    pub ingest: events::Ingest,
    pub tracker: tracking::Tracker,
    pub ads: adserver::AdServer,
    pub ui: pages::Ui,
}

impl Services {
    pub async fn start(platform: Platform) -> anyhow::Result<Self> {
        let keys = KeyRing::load(platform.db.clone()).await?;
        tokio::spawn(keys.clone().keep_fresh(platform.clock.clone()));
        telemetry::metrics();
        let ingest = events::Ingest::start(platform.clone());
        let tracker = tracking::Tracker::start(platform.clone());
        let ads = adserver::AdServer::start(platform.clone()).await?;
        let ui = pages::Ui::start(&platform)?;
        Ok(Self { platform, keys, ingest, tracker, ads, ui })
    }

    /// Writes down what is still in memory, as long as `patience` lasts: for a stop, once no request comes any more.
    pub async fn finish(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.ads.flush()).await.is_err() {
            tracing::error!("the last impressions could not be written in time");
        }
    }

    /// Puts the services into an actix app.
    fn share(&self, config: &mut ServiceConfig) {
        config
            .app_data(Data::new(self.platform.clone()))
            .app_data(Data::new(self.keys.clone()))
            .app_data(Data::new(self.ingest.clone()))
            .app_data(Data::new(self.tracker.clone()))
            .app_data(Data::new(self.ads.clone()))
            .app_data(Data::new(self.ui.audit.clone()))
            .app_data(Data::new(self.ui.clone()));
    }
}

/// All routes of all slices.
pub fn routes(config: &mut ServiceConfig) {
    people::routes(config);
    catalog::routes(config);
    events::routes(config);
    privacy::routes(config);
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
    pages::routes(config);
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
        webhooks::jobs(),
        import::jobs(),
        demo::jobs(),
    ]
    .concat()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Marquee", description = "Campaigns, personalised ads, and what they were worth.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(healthz, readyz),
    components(schemas(Problem)),
    modifiers(&Security)
)]
struct ApiDoc;

/// Names the two ways to present a key.
struct Security;

impl utoipa::Modify for Security {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    }
}

/// The OpenAPI 3.1 document of everything.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = ApiDoc::openapi();
    let slices = [
        people::openapi(),
        catalog::openapi(),
        events::openapi(),
        privacy::openapi(),
        audience::openapi(),
        copywriter::openapi(),
        creative::openapi(),
        campaign::openapi(),
        delivery::openapi(),
        adserver::openapi(),
        tracking::openapi(),
        attribution::openapi(),
    ];
    for slice in slices {
        document.merge(slice);
    }
    describe_errors(&mut document);
    document
}

/// Every error is a [`Problem`], also those that an operation does not name (a wrong key, a limit, a body that cannot be read). Addresses that
/// people open in a browser may answer with a page instead.
fn describe_errors(document: &mut utoipa::openapi::OpenApi) {
    use utoipa::openapi::{Content, Ref, RefOr, Response};
    for (path, item) in &mut document.paths.paths {
        let for_browsers = !(path.starts_with("/v1/") || path.starts_with("/openrtb2/"));
        let describe = |response: &mut Response| {
            response.content.clear();
            response.content.insert("application/problem+json".to_owned(), RefOr::T(Content::new(Some(Ref::from_schema_name("Problem")))));
            if for_browsers {
                response.content.insert("text/html".to_owned(), RefOr::T(Content::default()));
            }
        };
        let operations = [&mut item.get, &mut item.head, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, response) in responses.iter_mut() {
                if let (true, RefOr::T(response)) = (status.starts_with(['4', '5']), response) {
                    describe(response);
                }
            }
            let mut any = Response::new("Any other error");
            describe(&mut any);
            responses.entry("default".to_owned()).or_insert(RefOr::T(any));
        }
    }
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "platform", responses((status = 200, description = "Alive")))]
async fn healthz() -> impl Responder {
    HttpResponse::Ok().content_type("text/plain").body("ok")
}

/// Can it serve (does the database answer)?
#[utoipa::path(get, path = "/readyz", tag = "platform", responses((status = 200, description = "Ready"), (status = 503, description = "The database does not answer")))]
async fn readyz(platform: Data<Platform>) -> ApiResult {
    match tokio::time::timeout(Duration::from_secs(2), platform.db.ping()).await {
        Ok(Ok(())) => Ok(HttpResponse::Ok().content_type("text/plain").body("ready")),
        _ => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "The database does not answer.")),
    }
}

/// Figures for Prometheus. They tell how much a shop sells and to how many: open to this machine, to keys with the scope `reports`, and to
/// everybody only where `server.open_metrics` says so.
async fn metrics(request: HttpRequest, platform: Data<Platform>, keys: Data<KeyRing>) -> ApiResult {
    // What came through a proxy comes from elsewhere, though the proxy may be here.
    let forwarded = ["x-forwarded-for", "forwarded", "x-real-ip", "via"].iter().any(|h| request.headers().contains_key(*h));
    let local = !forwarded && request.peer_addr().is_some_and(|a| a.ip().to_canonical().is_loopback());
    if !local && !platform.config.server.open_metrics {
        let known = account::key_in(&request).and_then(|key| keys.check(&key));
        match known {
            None => return Err(ApiError::unauthorized("Send an API key with the scope “reports”.")),
            Some(principal) if !principal.may(Scope::Reports) => return Err(ApiError::forbidden("This key lacks the scope “reports”.")),
            Some(_) => {}
        }
    }
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(telemetry::metrics().render()))
}

/// Every way in which actix itself refuses a request, as problem+json.
fn input_errors(config: &mut ServiceConfig, max_body_bytes: usize) {
    config
        .app_data(web::PayloadConfig::new(max_body_bytes))
        .app_data(web::JsonConfig::default().limit(max_body_bytes).content_type_required(false).error_handler(|e, _| {
            use actix_web::error::JsonPayloadError as E;
            match e {
                E::OverflowKnownLength { .. } | E::Overflow { .. } => ApiError::too_large(e.to_string()).into(),
                other => ApiError::bad_request("bad_json", format!("The body is not the JSON expected here: {other}.")).into(),
            }
        }))
        .app_data(web::QueryConfig::default().error_handler(|e, _| ApiError::bad_request("bad_query", e.to_string()).into()))
        .app_data(web::PathConfig::default().error_handler(|e, _| {
            ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("The address does not name anything here: {e}.")).into()
        }))
        .app_data(web::FormConfig::default().limit(64 << 10).error_handler(|e, _| ApiError::bad_request("bad_form", e.to_string()).into()));
}

/// Mounts everything into an actix app.
pub fn configure(services: &Services) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    let services = services.clone();
    let document = openapi();
    move |config: &mut ServiceConfig| {
        input_errors(config, services.platform.config.server.max_body_bytes);
        config
            .route("/healthz", web::get().to(healthz))
            .route("/readyz", web::get().to(readyz))
            .route("/metrics", web::get().to(metrics))
            .service(SwaggerUi::new("/docs/{_:.*}").url("/openapi.json", document.clone()));
        routes(config);
        config.default_service(web::to(pages::not_found));
    }
}

/// What is asked thousands of times a second, and what all handlers share. Mounted before, and outside of, the middlewares of all else.
pub fn configure_fast(services: &Services) -> impl Fn(&mut ServiceConfig) + Clone + use<> {
    let services = services.clone();
    move |config: &mut ServiceConfig| {
        services.share(config);
        adserver::fast_routes(config);
    }
}

/// A server that listens.
pub struct Server {
    pub handle: ServerHandle,
    pub url: String,
    pub join: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Starts the HTTP server in the background on `server.bind` (port 0: a free one; see [`Server::url`]).
pub async fn serve(services: &Services) -> anyhow::Result<Server> {
    let config = services.platform.config.server.clone();
    let listener = TcpListener::bind(&config.bind)
        .map_err(|e| anyhow::anyhow!("cannot listen on {}: {e}. Choose another address with --bind or server.bind.", config.bind))?;
    let address = listener.local_addr()?;
    let (fast, mount) = (configure_fast(services), configure(services));
    let mut server = HttpServer::new(move || {
        let all = web::scope("").wrap(from_fn(account::audit_api)).wrap(from_fn(observe)).wrap(Compress::default());
        App::new().configure(fast.clone()).service(all.configure(mount.clone()))
    })
    .shutdown_timeout(config.shutdown_s)
    .client_request_timeout(Duration::from_secs(15))
    // A page goes out in several writes: the later ones must not wait 40 ms for the reader's delayed acknowledgement of the first.
    .tcp_nodelay(true)
    .disable_signals();
    if config.threads > 0 {
        server = server.workers(config.threads);
    }
    let server = server.listen(listener)?.run();
    let handle = server.handle();
    Ok(Server { handle, url: format!("http://{address}"), join: tokio::spawn(server) })
}

/// Completes at Ctrl-C or SIGTERM.
pub async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut term) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = term.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
