//! A real server on a free port over a test shop, and a client for it.

use marquee::account::Scope;
use marquee::app::{self, Services};

use super::TestShop;

/// Stops when dropped.
pub struct TestServer {
    pub services: Services,
    pub url: String,
    pub client: reqwest::Client,
    handle: actix_web::dev::ServerHandle,
}

#[allow(dead_code, reason = "a face for all slices")]
impl TestServer {
    /// Serves the shop on 127.0.0.1 at a free port.
    pub async fn start(shop: &TestShop) -> Self {
        Self::start_on(shop, "127.0.0.1:0", None).await
    }

    /// As [`TestServer::start`], and the world reaches it there too: its links lead back to it.
    pub async fn start_reachable(shop: &TestShop) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address").port();
        Self::start_on(shop, &format!("127.0.0.1:{port}"), Some(format!("http://127.0.0.1:{port}"))).await
    }

    async fn start_on(shop: &TestShop, bind: &str, public_url: Option<String>) -> Self {
        let mut platform = shop.platform.clone();
        let mut config = (*platform.config).clone();
        config.server.bind = bind.into();
        if let Some(url) = public_url {
            config.server.public_url = url;
        }
        config.server.threads = 1;
        config.server.shutdown_s = 1;
        platform.config = std::sync::Arc::new(config);
        let services = Services::start(platform).await.expect("services start");
        let server = app::serve(&services).await.expect("server starts");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("client");
        Self { services, url: server.url, client, handle: server.handle }
    }

    /// A fresh API key with these scopes.
    pub async fn key(&self, scopes: &[Scope]) -> String {
        self.services.keys.create("test", scopes, self.services.platform.now()).await.expect("key").key
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let stopping = self.handle.stop(false);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(stopping);
        }
    }
}
