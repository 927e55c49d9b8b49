//! Who asks: a person, a machine that reads everything, or a mail proxy that fetches pictures for everybody.
//!
//! Rules by hand, in three layers: words that only machines carry; words that mean a machine unless a phone or device speaks; and the
//! shape of the text (a browser begins with `Mozilla/` or `Opera/`). Behaviour (HEAD, prefetch headers, haste) is judged beside it, since
//! scanners in front of company mailboxes borrow real browsers' names.

use std::sync::LazyLock;

use actix_web::http::header::HeaderMap;
use aho_corasick::AhoCorasick;
use regex::Regex;

use crate::touches::Actor;

/// What a user agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserAgentClass {
    Human,
    /// Crawlers, scanners, link checkers, HTTP libraries.
    Bot,
    /// Fetches pictures on behalf of mail readers, whether or not anybody looks.
    Proxy,
}

impl From<UserAgentClass> for Actor {
    fn from(class: UserAgentClass) -> Self {
        match class {
            UserAgentClass::Human => Self::Human,
            UserAgentClass::Bot => Self::Bot,
            UserAgentClass::Proxy => Self::Proxy,
        }
    }
}

/// Mail services that load pictures through their own servers.
const PROXIES: &[&str] = &[
    "googleimageproxy",
    "ggpht.com",
    "yahoomailproxy",
    "yahoocachesystem",
    "outlookimageproxy",
    "ymailproxy",
    "seznamimageproxy",
    "duckduckgo-mail",
    "protonmail-image",
    "mailimageproxy",
];

/// Mail readers that do not begin with `Mozilla/`.
const MAIL_READERS: &[&str] = &[
    "microsoft outlook",
    "microsoft office",
    "ms-office",
    "outlook-",
    "thunderbird",
    "airmail",
    "lotus-notes",
    "windows-mail",
    "evolution/",
];

/// Nobody's browser carries these.
const MACHINE_WORDS: &[&str] = &[
    "crawl",
    "spider",
    "slurp",
    "fetcher",
    "scanner",
    "preview",
    "monitor",
    "checker",
    "archiv",
    "curl/",
    "wget",
    "python",
    "libwww",
    "lwp::",
    "lwp-",
    "perl",
    "guzzle",
    "php/",
    "axios",
    "validator",
    "scrap",
    "headless",
    "phantomjs",
    "externalhit",
    "+http",
    "lighthouse",
    "webdriver",
    "selenium",
    "playwright",
    "puppeteer",
    "synthetic",
    "pingdom",
    "uptime",
    "harvest",
    "heritrix",
    "httrack",
    "masscan",
    "nmap",
    "nikto",
    "zgrab",
    "nuclei",
    "sqlmap",
    "acunetix",
    "openvas",
    "nessus",
    "colly",
    "nutch",
    "apache-http",
    "go-http",
    "node-fetch",
    "aiohttp",
    "urllib",
    "faraday",
    "mediapartners",
    "googleother",
    "google-inspection",
    "favicon",
    "linkcheck",
    "link-check",
    "sitemap",
    "webhook",
    "snippet",
    "screenshot",
    "sucker",
    "barracuda",
    "mimecast",
    "proofpoint",
    "fireeye",
    "bitdefender",
    "safebrowsing",
    "urldefense",
    "appinsights",
    "siteimprove",
];

/// A machine, unless a handset or device says so (old phones and apps carry some of these).
const LIKELY_MACHINE_WORDS: &[&str] = &[
    "link",
    "java/",
    "java)",
    "speed",
    "@",
    "news",
    "agent",
    "search",
    "facebook",
    "fetch",
    "scan",
    "ruby",
    "okhttp",
    "feed",
    "http://",
    "https://",
    "www.",
    "robot",
    "analy",
    "index",
    "http_",
    "httpclient",
    "http-client",
    "inspect",
    "verif",
    "collector",
    "download",
    "grab",
    "extract",
    "survey",
    "audit",
    "detect",
    "resolver",
    "reader",
    "aggregat",
    "subscriber",
    "thumb",
    "capture",
    "wordpress",
    "jakarta",
    "node.js",
    "nodejs",
    "optimiz",
    "embed",
    "import",
    "copier",
    "google-",
    "coccoc",
    "whatsapp",
    "viber",
    "zabbix",
    "ptst",
    "cloudfront",
    "cloudflare",
    "seo",
    "validat",
    "proxy",
    ".com",
    ".org",
    ".io/",
    ".ai",
    "security",
    "quality",
    "compliance",
    "insight",
    "metrix",
    "boost",
    "electron/",
    "watcher",
];

/// Handsets, consoles, televisions and their browsers.
static DEVICE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = concat!(
        r"android|iphone|ipad|ipod|midp|cldc|up\.browser|up\.link|symbian|series60|series80|s60|blackberry|playbook|nokia|lumia|",
        r"windows phone|windows ce|wp7|brew|obigo|netfront|teleca|j2me|ucweb|uc browser|opera mini|opera mobi|htc|samsung|sony|ericsson|",
        r"motorola|\bmot-|\blge?[- /]|^lg|huawei|zte|sec-|alcatel|philips|panasonic|docomo|kddi|softbank|j-phone|kindle|silk|bada|tizen|",
        r"webos|palm|hbbtv|playstation|nintendo|xbox|watchos|apple ?tv|apple watch|homepod|dalvik|\bios\b|kwc-|kyocera|sanyo|pantech|",
        r"darwin|iemobile|polaris|maui|sgh|sharp|sagem|siemens|\bsie-|lenovo|vodafone|telit|micromax|spice|karbonn|gt-[a-z]\d|rim957|",
        r"danger|hiptop|openwave|profilelist|maple|amoi|\bbird[ .-]|archos|\basus|\bacer|haier|roku|audiovox|\bdell|padfone|sprint|applecoremedia",
    );
    Regex::new(pattern).unwrap_or_else(|e| unreachable!("a fixed pattern: {e}"))
});
/// `compatible;` followed by the name of something that is no browser.
static ODDLY_COMPATIBLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^mozilla/[\d.]+ \(compatible; *([^;)]*)").unwrap_or_else(|e| unreachable!("a fixed pattern: {e}")));
/// "bot" as the end of a name, not inside one (handsets).
static BOT_AS_NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"bots?(\b|[/_\-;)0-9])").unwrap_or_else(|e| unreachable!("a fixed pattern: {e}")));

fn words(list: &[&str]) -> AhoCorasick {
    AhoCorasick::new(list).unwrap_or_else(|e| unreachable!("fixed words: {e}"))
}
static PROXY: LazyLock<AhoCorasick> = LazyLock::new(|| words(PROXIES));
static READER: LazyLock<AhoCorasick> = LazyLock::new(|| words(MAIL_READERS));
static MACHINE: LazyLock<AhoCorasick> = LazyLock::new(|| words(MACHINE_WORDS));
static LIKELY_MACHINE: LazyLock<AhoCorasick> = LazyLock::new(|| words(LIKELY_MACHINE_WORDS));

/// Longest user agent that is looked at.
const MAX_CHARS: usize = 1_000;

/// Judges a user agent by its text. An empty one is a machine's.
pub fn classify(user_agent: &str) -> UserAgentClass {
    let text: String = user_agent.trim().chars().take(MAX_CHARS).collect::<String>().to_ascii_lowercase();
    // Apple Mail Privacy Protection loads every picture under this bare name.
    if text == "mozilla/5.0" || PROXY.is_match(&text) {
        return UserAgentClass::Proxy;
    }
    if text.is_empty() {
        return UserAgentClass::Bot;
    }
    let device = DEVICE.is_match(&text);
    let named = text.replace("cubot", "").replace("robot phone", "");
    if MACHINE.is_match(&named) || (named.contains("bot") && (!device || BOT_AS_NAME.is_match(&named))) {
        return UserAgentClass::Bot;
    }
    if device || READER.is_match(&text) {
        return UserAgentClass::Human;
    }
    if LIKELY_MACHINE.is_match(&named) {
        return UserAgentClass::Bot;
    }
    if let Some(name) = ODDLY_COMPATIBLE.captures(&text) {
        let name = &name[1];
        let system = text.contains("windows") || text.contains("linux") || text.contains("mac");
        if !(system || ["msie", "konqueror", "opera"].iter().any(|b| name.starts_with(b))) {
            return UserAgentClass::Bot;
        }
    }
    if text.starts_with("mozilla/") || text.starts_with("opera/") { UserAgentClass::Human } else { UserAgentClass::Bot }
}

/// Whether the browser says itself that nobody looks yet.
fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"]
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .any(|value| value.contains("prefetch") || value.contains("prerender") || value.contains("preview"))
}

/// Judges a request by everything it says of itself.
pub fn classify_request(headers: &HeaderMap, head: bool) -> UserAgentClass {
    let agent = headers.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default();
    match classify(agent) {
        UserAgentClass::Human if head => UserAgentClass::Bot,
        UserAgentClass::Human if is_prefetch(headers) => UserAgentClass::Proxy,
        class => class,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};

    #[test]
    fn knows_the_common_ones() {
        use UserAgentClass::{Bot, Human, Proxy};
        for (agent, class) in [
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Human),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
                Human,
            ),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0", Human),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148", Human),
            (
                "Mozilla/5.0 (Linux; Android 14; CUBOT KINGKONG) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
                Human,
            ),
            ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0)", Human),
            ("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", Human),
            ("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)", Human),
            ("Outlook-iOS/709.2189947.prod.iphone (3.24.1)", Human),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.12.0", Human),
            ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", Proxy),
            ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", Proxy),
            ("Mozilla/5.0", Proxy),
            ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Bot),
            ("curl/8.5.0", Bot),
            ("python-requests/2.32", Bot),
            ("Go-http-client/2.0", Bot),
            ("BarracudaCentral/1.0", Bot),
            ("", Bot),
        ] {
            assert_eq!(classify(agent), class, "{agent}");
        }
        assert_eq!(classify(&"x".repeat(100_000)), Bot);
    }

    #[test]
    fn behaviour_outweighs_a_borrowed_name() {
        let mut headers = HeaderMap::new();
        let browser = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:127.0) Gecko/20100101 Firefox/127.0";
        headers.insert(HeaderName::from_static("user-agent"), HeaderValue::from_static(browser));
        assert_eq!(classify_request(&headers, false), UserAgentClass::Human);
        assert_eq!(classify_request(&headers, true), UserAgentClass::Bot);
        headers.insert(HeaderName::from_static("sec-purpose"), HeaderValue::from_static("prefetch;prerender"));
        assert_eq!(classify_request(&headers, false), UserAgentClass::Proxy);
    }
}
