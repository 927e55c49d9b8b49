//! The shell of every page: who looks, in which language and zone, with which token; and how a template becomes an answer.

use std::cell::RefCell;
use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::cookie::{Cookie, SameSite, time::Duration as CookieTime};
use actix_web::dev::Payload;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use tera::Context;

use super::faults;
use super::format::Reader;
use super::i18n::{self, Locale};
use super::nav;
use super::ui::Ui;
use crate::account::{Permission, Session, User, Visitor, sessions};
use crate::platform::http::{ApiError, ApiResult};
use crate::platform::{Fault, Platform};

/// A short message on the next page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flash {
    /// `good`, `bad` or `info`.
    pub kind: String,
    pub text: String,
}

/// A question before something is destroyed: the page behind a `data-dialog` link.
#[derive(Clone, Debug, Serialize)]
pub struct Confirm {
    /// What will happen, in a sentence.
    pub text: String,
    /// What cannot be undone, or what is kept; empty where there is nothing to add.
    pub consequence: String,
    /// What the button says: the verb.
    pub button: String,
    /// Where the form is posted.
    pub action: String,
    /// Where “Cancel” leads.
    pub back: String,
    /// It destroys something.
    pub danger: bool,
}

/// What the gate writes into the audit log after a form succeeded.
#[derive(Clone, Debug, Default)]
pub(super) struct Note {
    pub actor: Option<String>,
    pub action: Option<&'static str>,
    pub subject: Option<String>,
    pub detail: String,
    /// Write it though the form was refused.
    pub always: bool,
}

pub(super) struct Inner {
    pub ui: web::Data<Ui>,
    pub platform: web::Data<Platform>,
    pub session: Option<Session>,
    pub csrf: String,
    pub reader: Reader,
    pub path: String,
    pub flash: Option<Flash>,
    pub visitor: Visitor,
    pub note: RefCell<Note>,
    pub cookies: RefCell<Vec<Cookie<'static>>>,
}

/// An extractor: every handler of a page takes one.
#[derive(Clone)]
pub struct Shell {
    pub(super) inner: Rc<Inner>,
}

impl FromRequest for Shell {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let shell = req.extensions().get::<Shell>().cloned();
        ready(shell.ok_or_else(|| ApiError::internal(anyhow::anyhow!("a page outside the gate"))))
    }
}

/// What templates find under `page`.
#[derive(Serialize)]
struct PageContext<'a> {
    title: &'a str,
    path: &'a str,
    shop: &'a str,
    locale: &'static str,
    zone: &'static str,
    theme: &'a str,
    currency: String,
    viewer: Option<&'a User>,
    may: May,
    nav: Vec<nav::NavGroup>,
    csrf: &'a str,
    flash: Option<&'a Flash>,
    /// Folder of the assets, without a slash at the end.
    assets: String,
}

#[derive(Serialize)]
struct May {
    see: bool,
    see_people: bool,
    plan: bool,
    configure: bool,
    administer: bool,
}

impl Shell {
    pub fn viewer(&self) -> Option<&User> {
        self.inner.session.as_ref().map(|s| &s.user)
    }
    /// Who is signed in; on pages that need it the gate has seen to it.
    pub fn session(&self) -> ApiResult<&Session> {
        self.inner.session.as_ref().ok_or_else(|| ApiError::unauthorized("Sign in first."))
    }
    pub fn may(&self, permission: Permission) -> bool {
        self.viewer().is_some_and(|u| u.may(permission))
    }
    pub fn ui(&self) -> &Ui {
        &self.inner.ui
    }
    pub fn reader(&self) -> Reader {
        self.inner.reader
    }
    pub fn locale(&self) -> Locale {
        self.inner.reader.locale
    }
    pub fn visitor(&self) -> &Visitor {
        &self.inner.visitor
    }
    /// A text in the viewer's language.
    pub fn say(&self, key: &str) -> String {
        i18n::text(self.locale(), key).to_owned()
    }
    pub fn say_with(&self, key: &str, args: &[(&str, String)]) -> String {
        i18n::format(self.locale(), key, args)
    }

    /// What is wrong, in the viewer's language.
    pub fn fault(&self, fault: &Fault) -> String {
        faults::say(self.locale(), fault)
    }

    /// Renders a page. `title` is plain text; the fields of `view` are the template's variables.
    pub fn render<T: Serialize>(&self, template: &str, title: impl Into<String>, view: &T) -> ApiResult {
        self.render_as(StatusCode::OK, template, title, view)
    }

    /// As [`Shell::render`], for instance with 422 where a form comes back with errors.
    pub fn render_as<T: Serialize>(&self, status: StatusCode, template: &str, title: impl Into<String>, view: &T) -> ApiResult {
        let html = self.html(template, &title.into(), view)?;
        Ok(HttpResponse::build(status).content_type("text/html; charset=utf-8").body(html))
    }

    /// The page that asks before something happens. A link to it marked `data-dialog` asks in a dialog where scripts run.
    pub fn confirm(&self, title: impl Into<String>, ask: &Confirm) -> ApiResult {
        self.render("confirm.html", title, ask)
    }

    /// A part of a page, for `data-live` and other fetches. `done`: it need not be fetched again.
    pub fn fragment<T: Serialize>(&self, template: &str, view: &T, done: bool) -> ApiResult {
        let html = self.html(template, "", view)?;
        let live = if done { "done" } else { "on" };
        Ok(HttpResponse::Ok().content_type("text/html; charset=utf-8").insert_header(("X-Live", live)).body(html))
    }

    /// A part of a page as text, as of now (and not of when the request came): for streams.
    pub(super) fn part<T: Serialize>(&self, template: &str, view: &T) -> ApiResult<String> {
        self.html_at(template, "", view, Reader { now: self.inner.platform.now(), ..self.inner.reader })
    }

    pub(super) fn html<T: Serialize>(&self, template: &str, title: &str, view: &T) -> ApiResult<String> {
        self.html_at(template, title, view, self.inner.reader)
    }

    fn html_at<T: Serialize>(&self, template: &str, title: &str, view: &T, reader: Reader) -> ApiResult<String> {
        let mut context = Context::from_serialize(view).map_err(|e| ApiError::internal(anyhow::anyhow!("the view of {template}: {e}")))?;
        let inner = &self.inner;
        let shop = &inner.platform.config.shop;
        let page = PageContext {
            title,
            path: &inner.path,
            shop: &shop.name,
            locale: inner.reader.locale.tag(),
            zone: inner.reader.zone.name(),
            theme: self.viewer().map_or("auto", |u| u.theme.as_str()),
            currency: shop.currency.code().to_owned(),
            viewer: self.viewer(),
            may: May {
                see: self.may(Permission::See),
                see_people: self.may(Permission::SeePeople),
                plan: self.may(Permission::Plan),
                configure: self.may(Permission::Configure),
                administer: self.may(Permission::Administer),
            },
            nav: nav::groups(self.viewer(), &inner.path, &inner.ui.paths),
            csrf: &inner.csrf,
            flash: inner.flash.as_ref(),
            assets: inner.ui.assets.base(),
        };
        context.insert("page", &page);
        inner.ui.render(template, &context, reader)
    }

    /// 303 to a path of ours.
    pub fn redirect(&self, path: &str) -> HttpResponse {
        HttpResponse::SeeOther().insert_header((header::LOCATION, local_path(Some(path)))).finish()
    }

    /// 303, and a message on the page that follows. `kind`: `good`, `bad` or `info`.
    pub fn redirect_saying(&self, path: &str, kind: &str, text: impl Into<String>) -> HttpResponse {
        let text: String = text.into().chars().take(200).collect();
        let flash = Flash { kind: kind.to_owned(), text };
        let sealed = self.inner.platform.signer.sign("flash", &serde_json::to_vec(&flash).unwrap_or_default());
        self.set_cookie(self.cookie("flash", sealed));
        self.redirect(path)
    }

    /// Subject and detail of the audit line that the gate writes when this form has succeeded.
    pub fn note(&self, subject: impl Into<String>, detail: impl Into<String>) {
        let mut note = self.inner.note.borrow_mut();
        note.subject = Some(subject.into());
        note.detail = detail.into();
    }
    /// Whose deed it was, where nobody is signed in yet.
    pub(super) fn note_actor(&self, actor: impl Into<String>) {
        self.inner.note.borrow_mut().actor = Some(actor.into());
    }
    /// A refusal that belongs into the log too.
    pub(super) fn note_refused(&self, action: &'static str) {
        let mut note = self.inner.note.borrow_mut();
        (note.action, note.always) = (Some(action), true);
    }

    /// One of our cookies: for this host only, out of reach of scripts.
    pub(super) fn cookie(&self, name: &str, value: String) -> Cookie<'static> {
        let secure = is_secure(&self.inner.platform);
        Cookie::build(cookie_name(&self.inner.platform, name), value)
            .path("/")
            .http_only(true)
            .secure(secure)
            .same_site(SameSite::Lax)
            .finish()
    }
    pub(super) fn set_cookie(&self, cookie: Cookie<'static>) {
        self.inner.cookies.borrow_mut().push(cookie);
    }
    pub(super) fn set_session(&self, token: String) {
        let mut cookie = self.cookie("session", token);
        cookie.set_max_age(CookieTime::seconds(sessions::LIFETIME_US / 1_000_000));
        self.set_cookie(cookie);
    }
    pub(super) fn drop_cookie(&self, name: &str) {
        let mut cookie = self.cookie(name, String::new());
        cookie.set_max_age(CookieTime::ZERO);
        self.set_cookie(cookie);
    }
}

pub(super) fn is_secure(platform: &Platform) -> bool {
    platform.config.server.public_url.starts_with("https://")
}

/// `marquee_session`; over https `__Host-marquee_session`, which no other host can set.
pub(super) fn cookie_name(platform: &Platform, name: &str) -> String {
    format!("{}marquee_{name}", if is_secure(platform) { "__Host-" } else { "" })
}

/// A path on this server, whatever was asked for: what is absolute, scheme-relative or odd becomes `/`.
pub fn local_path(asked: Option<&str>) -> String {
    let path = asked.unwrap_or("/");
    let plain = path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= 2000
        && !path.contains('\\')
        && !path.chars().any(|c| c.is_control() || c.is_whitespace());
    if plain { path.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_ours_are_followed() {
        for good in ["/", "/segments?after=2", "/campaigns/cmp_1#lift"] {
            assert_eq!(local_path(Some(good)), good);
        }
        for bad in [
            "https://evil.example.test/",
            "//evil.example.test",
            "/\\evil.example.test",
            "javascript:alert(1)",
            "",
            "/a\r\nSet-Cookie: x=1",
            "/\t/evil",
        ] {
            assert_eq!(local_path(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(local_path(None), "/");
    }
}
