//! A real browser: headless Chromium driven over WebDriver. `None` (with a message) where there is none, an error in CI.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::prelude::*;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const AXE: &str = include_str!("../fixtures/axe/axe.min.js");

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser window and the driver behind it; both end when dropped.
pub struct Chrome {
    pub driver: WebDriver,
    _driver_process: Child,
    _profile: tempfile::TempDir,
}

fn found(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).flat_map(|dir| names.iter().map(move |n| dir.join(n))).find(|p| p.is_file())
}

#[allow(dead_code, reason = "a face for all browser tests")]
impl Chrome {
    /// Starts one. Set `CHROME` and `CHROMEDRIVER` where they are not on the path.
    pub async fn start() -> Option<Self> {
        let named = |variable: &str, names: &[&str]| std::env::var_os(variable).map(PathBuf::from).or_else(|| found(names));
        let (Some(chrome), Some(chromedriver)) =
            (named("CHROME", &["chromium", "chromium-browser", "google-chrome"]), named("CHROMEDRIVER", &["chromedriver"]))
        else {
            let why = "there is no Chromium with its chromedriver (on Debian: apt-get install chromium chromium-driver)";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        };
        Some(Self::launch(&chrome, &chromedriver).await)
    }

    async fn launch(chrome: &Path, chromedriver: &Path) -> Self {
        let mut child = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let port = loop {
            let line = lines.next_line().await.expect("its output can be read").expect("chromedriver says its port");
            if let Some((_, rest)) = line.split_once("successfully on port ") {
                break rest.trim_end_matches('.').trim().parse::<u16>().expect("a port");
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = tempfile::tempdir().expect("a folder");
        let mut wishes = DesiredCapabilities::chrome();
        wishes.set_binary(&chrome.display().to_string()).expect("binary");
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--lang=en",
            // Headless Chromium says so in its name, and is counted as a machine.
            "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
        ];
        for flag in flags {
            wishes.add_arg(flag).expect("flag");
        }
        wishes.add_arg(&format!("--user-data-dir={}", profile.path().display())).expect("flag");
        let driver = WebDriver::new(format!("http://127.0.0.1:{port}"), wishes).await.expect("a browser");
        Self { driver, _driver_process: child, _profile: profile }
    }

    /// Width in CSS pixels; below 600 as a phone does it.
    pub async fn resize(&self, width: u32, dark: bool) {
        let (height, phone) = if width < 600 { (844, true) } else { (900, false) };
        let scheme = if dark { "dark" } else { "light" };
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]})).await;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    async fn devtools(&self, method: &str, params: Value) -> Value {
        self.driver.cdp().send_raw(method, params).await.unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap_or_else(|e| panic!("{url}: {e}"));
    }

    /// The element once it is there.
    pub async fn one(&self, css: &str) -> WebElement {
        let query = self.driver.query(By::Css(css)).wait(PATIENCE, Duration::from_millis(200));
        match query.first().await {
            Ok(element) => element,
            Err(e) => panic!("no {css} on {}: {e}\n{}", self.path().await, self.text().await),
        }
    }

    pub async fn there(&self, css: &str) -> bool {
        !self.driver.find_all(By::Css(css)).await.unwrap_or_default().is_empty()
    }

    pub async fn click(&self, css: &str) {
        let element = self.one(css).await;
        element.scroll_into_view().await.expect("it can be scrolled to");
        if let Err(e) = element.click().await {
            panic!("{css} on {} cannot be clicked: {e}", self.path().await);
        }
    }

    /// Types into a field in place of what stood there.
    pub async fn fill(&self, css: &str, text: &str) {
        let field = self.one(css).await;
        field.clear().await.expect("it can be emptied");
        field.send_keys(text).await.expect("it takes text");
    }

    /// Chooses an option by its value.
    pub async fn choose(&self, css: &str, value: &str) {
        self.one(css).await;
        let option = self.one(&format!("{css} option[value=\"{value}\"]")).await;
        option.click().await.expect("an option can be chosen");
    }

    /// Sets a field that has no keyboard of its own (dates, times) and tells the page so.
    pub async fn set(&self, css: &str, value: &str) {
        let field = self.one(css).await;
        let script = "arguments[0].value = arguments[1]; for (const e of ['input', 'change']) arguments[0].dispatchEvent(new Event(e, {bubbles: true}));";
        self.driver.execute(script, vec![field.to_json().expect("element"), json!(value)]).await.expect("a script runs");
    }

    pub async fn path(&self) -> String {
        self.driver.current_url().await.map(|u| u.path().to_owned()).unwrap_or_default()
    }

    /// Everything that can be read on the page.
    pub async fn text(&self) -> String {
        match self.driver.find(By::Css("body")).await {
            Ok(body) => body.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Waits until the page says this.
    pub async fn sees(&self, words: &str) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.text().await.contains(words) {
            assert!(tokio::time::Instant::now() < until, "{} does not say “{words}”:\n{}", self.path().await, self.text().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until the browser stands on a path that begins so.
    pub async fn arrives(&self, path: &str) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.path().await.starts_with(path) {
            assert!(tokio::time::Instant::now() < until, "at {}, not at {path}:\n{}", self.path().await, self.text().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the page says wrong by axe-core's rules, serious or worse: `rule: element`.
    pub async fn accessibility(&self) -> Vec<String> {
        self.driver.execute(AXE, vec![]).await.expect("axe loads");
        let script = "const done = arguments[0]; axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations
            .filter(v => ['serious', 'critical'].includes(v.impact))
            .flatMap(v => v.nodes.map(n => v.id + ': ' + n.target.join(' ') + ' — ' + (n.failureSummary || '').replace(/\\s+/g, ' ').slice(0, 160)))), e => done(['axe: ' + e]));";
        let found = self.driver.execute_async(script, vec![]).await.expect("axe runs");
        serde_json::from_value(found.json().clone()).expect("a list")
    }

    /// Bytes that the page and all it loads took over the wire, and the hosts they came from.
    pub async fn load(&self) -> (u64, Vec<String>) {
        let script = "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
            return [all.reduce((sum, e) => sum + e.encodedBodySize, 0), [...new Set(all.map(e => new URL(e.name).host))]];";
        let found = self.driver.execute(script, vec![]).await.expect("a script runs");
        serde_json::from_value(found.json().clone()).expect("bytes and hosts")
    }

    /// How far the page is wider than the window, in pixels.
    pub async fn overflow(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - window.innerWidth;";
        self.driver.execute(script, vec![]).await.expect("a script runs").json().as_i64().unwrap_or(0)
    }

    /// A picture of the whole page.
    pub async fn picture(&self, file: &Path) {
        use base64::Engine as _;
        let size = "return [window.innerWidth, Math.min(document.documentElement.scrollHeight, 4000)];";
        let size = self.driver.execute(size, vec![]).await.expect("a script runs");
        let clip = json!({"x": 0, "y": 0, "width": size.json()[0], "height": size.json()[1], "scale": 1});
        let shot = self.devtools("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true, "clip": clip})).await;
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap_or_default()).expect("base64");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be made");
        std::fs::write(file, bytes).expect("the picture can be written");
    }

    pub async fn quit(self) {
        self.driver.clone().quit().await.ok();
    }
}
