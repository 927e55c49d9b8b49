//! A browser without a screen: keeps cookies, reads forms, sends them with their token.

use marquee::account::{NewUser, Role};

use super::server::TestServer;

pub struct Browser<'a> {
    pub server: &'a TestServer,
    pub client: reqwest::Client,
}

/// An answer, read.
pub struct Seen {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Seen {
    /// Where a redirect leads.
    pub fn location(&self) -> &str {
        self.headers.get("location").and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
    /// The CSRF token of the first form.
    pub fn token(&self) -> String {
        let pattern = regex::Regex::new(r#"name="csrf" (?:value|content)="([^"]+)""#).expect("pattern");
        pattern.captures(&self.text).map(|c| c[1].to_owned()).unwrap_or_default()
    }
}

pub const PASSWORD: &str = "correct horse battery";

#[allow(dead_code, reason = "a face for all pages")]
impl<'a> Browser<'a> {
    pub fn new(server: &'a TestServer) -> Self {
        let client = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("Test browser")
            .build()
            .expect("client");
        Self { server, client }
    }

    /// A browser in which a fresh user of that role is signed in: `ROLE@example.test`.
    pub async fn signed_in(server: &'a TestServer, role: Role) -> Self {
        let email = format!("{role}@example.test");
        let new = NewUser { email: email.clone(), name: format!("The {role}"), role };
        if server.services.ui.accounts.by_email(&email).await.is_err() {
            server.services.ui.accounts.create(new, Some(PASSWORD)).await.expect("user");
        }
        let browser = Self::new(server);
        let seen = browser.sign_in(&email, PASSWORD).await;
        assert_eq!(seen.status, 303, "{}", seen.text);
        browser
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Seen {
        self.submit("/sign-in", "/sign-in", &[("email", email), ("password", password)]).await
    }

    pub async fn get(&self, path: &str) -> Seen {
        let request = self.client.get(self.server.at(path)).header("accept", "text/html").header("accept-language", "en");
        read(request.send().await.expect("answer")).await
    }

    /// Opens `page`, takes its token, and posts the fields to `action`, as its form would.
    pub async fn submit(&self, page: &str, action: &str, fields: &[(&str, &str)]) -> Seen {
        let token = self.get(page).await.token();
        self.post(action, &token, fields).await
    }

    pub async fn post(&self, action: &str, token: &str, fields: &[(&str, &str)]) -> Seen {
        let mut form = fields.to_vec();
        form.push(("csrf", token));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self
            .client
            .post(self.server.at(action))
            .header("accept", "text/html")
            .header("accept-language", "en")
            .header("origin", &self.server.url)
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        read(request.send().await.expect("answer")).await
    }
}

async fn read(answer: reqwest::Response) -> Seen {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    Seen { status, headers, text: answer.text().await.expect("text") }
}
