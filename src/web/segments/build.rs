//! The rule builder: make and change a segment without code, with a live count. Its buttons are submit buttons, so it works without scripts.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Bytes, Data, Path, Query};
use serde::{Deserialize, Serialize};

use super::draft::Node;
use super::read::{self, Reading, Why, Wrong};
use super::starts::{self, Start};
use super::view::{Drawing, Hints, Row, summary};
use super::words::Teller;
use super::{unfold, words_of};
use crate::account::Permission;
use crate::attribution::rollup;
use crate::audience::rule::{ConsentChannel, ConsentIs, ConsentState};
use crate::audience::{self, AudienceError, Counted, NewSegment, Rule, SamplePerson, Segment};
use crate::platform::http::ApiResult;
use crate::platform::{Db, Platform};
use crate::web::page::Shell;
use crate::{catalog, events, people};

/// How long a live count may take; an estimate may take as long again.
const COUNT_LIMIT: Duration = Duration::from_millis(2_500);
const SAMPLE_ROWS: i64 = 6;
/// Most segments offered in “is in another segment”.
const MOST_NAMED: usize = 500;
/// Most category paths that are suggested.
const MOST_CATEGORIES: i64 = 500;
/// A key that is taken gets a number; so many are tried.
const TRIES: usize = 50;

#[derive(Serialize)]
struct BuilderView {
    /// `seg_7`, or nothing for a new one.
    id: String,
    name: String,
    key: String,
    rows: Vec<Row>,
    hints: Hints,
    starts: Vec<Start>,
    /// How many fields are wrong; 0 while nobody has tried to save.
    wrong: usize,
    wrong_name: Option<String>,
    wrong_key: Option<String>,
    live: LiveView,
}

/// What stands beside the builder: the rule in words, and how many it holds for.
#[derive(Clone, Default, Serialize)]
pub(super) struct LiveView {
    words: Option<String>,
    /// What keeps it from being counted.
    problem: Option<String>,
    count: Option<i64>,
    about: bool,
    slow: bool,
    /// Share of everybody.
    share: Option<f64>,
    /// How many of them agreed to e-mail.
    reach: Option<i64>,
    sample: Vec<SamplePerson>,
}

pub(super) fn reading(shell: &Shell) -> Reading {
    Reading { zone: shell.reader().zone, currency: shell.inner.platform.config.shop.currency }
}

async fn hints(db: &Db, without: &str) -> ApiResult<Hints> {
    let names = events::recent_names(db).await?;
    let segments = audience::overview(db).await?;
    Ok(Hints {
        attributes: people::attribute_names(db).await?,
        events: names.events,
        properties: names.properties,
        categories: catalog::categories(db, MOST_CATEGORIES).await?,
        segments: segments.into_iter().filter(|s| s.id.to_string() != without).take(MOST_NAMED).map(|s| (s.key, s.name)).collect(),
    })
}

/// A form as it came in.
struct Sent {
    id: String,
    name: String,
    key: String,
    action: String,
    root: Node,
}

impl Sent {
    fn read(body: &Bytes) -> Self {
        let form: Vec<(String, String)> = url::form_urlencoded::parse(body).into_owned().collect();
        let get = |name: &str| form.iter().find(|(k, _)| k == name).map(|(_, v)| v.trim().to_owned()).unwrap_or_default();
        Self { id: get("id"), name: get("name"), key: get("key"), action: get("do"), root: Node::read(&form) }
    }
    fn blank(name: String, root: Node) -> Self {
        Self { id: String::new(), name, key: String::new(), action: String::new(), root }
    }
    fn page(&self) -> (&'static str, &'static str) {
        if self.id.is_empty() { ("segments/build.html", "segments.new") } else { ("segments/build.html", "segments.edit") }
    }
}

async fn draw(shell: &Shell, db: &Db, sent: &Sent, wrongs: &[Wrong], names: [Option<String>; 2]) -> ApiResult<BuilderView> {
    let hints = hints(db, &sent.id).await?;
    let rows = Drawing { shell, hints: &hints, wrongs }.rows(&sent.root);
    let live = live(shell, db, &sent.root).await?;
    let [wrong_name, wrong_key] = names;
    Ok(BuilderView {
        id: sent.id.clone(),
        name: sent.name.clone(),
        key: sent.key.clone(),
        rows,
        starts: if sent.id.is_empty() { starts::all(shell) } else { Vec::new() },
        wrong: summary(wrongs),
        wrong_name,
        wrong_key,
        live,
        hints,
    })
}

#[derive(Deserialize)]
pub(super) struct From {
    #[serde(default)]
    start: String,
}

pub(super) async fn new(shell: Shell, platform: Data<Platform>, from: Query<From>) -> ApiResult {
    let sent = match starts::node(&from.start, reading(&shell)) {
        Some((key, root)) => Sent::blank(shell.say(&format!("segments.start.{key}")), root),
        None => Sent::blank(String::new(), Node::fresh()),
    };
    let view = draw(&shell, &platform.db, &sent, &[], [None, None]).await?;
    shell.render("segments/build.html", shell.say("segments.new"), &view)
}

pub(super) async fn edit(shell: Shell, platform: Data<Platform>, path: Path<String>) -> ApiResult {
    let segment = audience::find(&platform.db, &path).await?;
    let root = unfold::node(&segment.rule, reading(&shell));
    let sent = Sent { id: segment.id.to_string(), name: segment.name, key: segment.key, action: String::new(), root };
    let view = draw(&shell, &platform.db, &sent, &[], [None, None]).await?;
    shell.render("segments/build.html", shell.say("segments.edit"), &view)
}

/// A button of the builder: does what it says, and draws the form anew. Changes nothing that is stored.
pub(super) async fn redraw(shell: Shell, platform: Data<Platform>, body: Bytes) -> ApiResult {
    let mut sent = Sent::read(&body);
    let action = sent.action.clone();
    sent.root.act(&action);
    let view = draw(&shell, &platform.db, &sent, &[], [None, None]).await?;
    let (template, title) = sent.page();
    shell.render(template, shell.say(title), &view)
}

/// The live count, as a part of the page.
pub(super) async fn count(shell: Shell, platform: Data<Platform>, body: Bytes) -> ApiResult {
    let live = live(&shell, &platform.db, &Sent::read(&body).root).await?;
    shell.fragment("segments/live.html", &serde_json::json!({ "live": live }), true)
}

async fn live(shell: &Shell, db: &Db, root: &Node) -> ApiResult<LiveView> {
    let rule = match read::rule(root, reading(shell)) {
        Ok(rule) => rule,
        Err(_) => return Ok(LiveView { problem: Some(shell.say("segments.unfinished")), ..LiveView::default() }),
    };
    let now = shell.reader().now;
    let found = match audience::count_within(db, &rule, now, COUNT_LIMIT).await {
        Ok(found) => found,
        // Circles and unknown segments are for the person who edits.
        Err(AudienceError::Rule(error)) => return Ok(LiveView { problem: Some(shell.fault(&error.why)), ..LiveView::default() }),
        Err(other) => return Err(other.into()),
    };
    let mut view = LiveView { words: Some(words_of(shell, db, &rule).await?), ..LiveView::default() };
    match found {
        Counted::Exactly(n) => view.count = Some(n),
        Counted::About(n) => (view.count, view.about) = (Some(n), true),
        Counted::TooLong => view.slow = true,
    }
    // What took long once would take long again.
    if let Counted::Exactly(n) = found {
        let everybody = rollup::people(db).await?;
        view.share = (everybody > 0).then(|| n as f64 / everybody as f64);
        let agreed = Rule::Consent(ConsentIs { channel: ConsentChannel::Email, is: ConsentState::Subscribed });
        let both = Rule::All { of: vec![agreed, rule.clone()] };
        if let Ok(Counted::Exactly(reach)) = audience::count_within(db, &both, now, COUNT_LIMIT).await {
            view.reach = Some(reach);
        }
        if shell.may(Permission::SeePeople) && n > 0 {
            view.sample = audience::sample(db, &rule, now, SAMPLE_ROWS).await?;
        }
    }
    Ok(view)
}

/// What a name becomes in addresses and files.
fn key_of(name: &str) -> String {
    let mut key = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => key.push(c),
            _ if !key.is_empty() && !key.ends_with('-') => key.push('-'),
            _ => {}
        }
    }
    let key: String = key.trim_matches('-').chars().take(48).collect();
    let key = key.trim_end_matches('-');
    if key.is_empty() || key.starts_with("seg_") { "segment".to_owned() } else { key.to_owned() }
}

enum Refused {
    Names([Option<String>; 2]),
    Rule(Vec<Wrong>),
    Other(AudienceError),
}

fn refused(shell: &Shell, error: AudienceError) -> Refused {
    match error {
        AudienceError::Name => Refused::Names([Some(shell.say("segments.wrong.name")), None]),
        AudienceError::Key => Refused::Names([None, Some(shell.say("segments.wrong.key"))]),
        AudienceError::Taken(key) => Refused::Names([None, Some(shell.say_with("segments.wrong.taken", &[("key", key)]))]),
        AudienceError::Rule(error) => Refused::Rule(vec![Wrong { at: "r:kind".into(), why: Why::Fault(error.why) }]),
        other => Refused::Other(other),
    }
}

async fn store(shell: &Shell, db: &Db, sent: &Sent) -> Result<Segment, Refused> {
    let rule = read::rule(&sent.root, reading(shell)).map_err(Refused::Rule)?;
    let now = shell.reader().now;
    if !sent.id.is_empty() {
        let id = audience::find(db, &sent.id).await.map_err(Refused::Other)?.id;
        return audience::update(db, id, &sent.name, rule, now).await.map_err(|e| refused(shell, e));
    }
    if !sent.key.is_empty() {
        let new = NewSegment { key: sent.key.clone(), name: sent.name.clone(), rule };
        return audience::create(db, new, now).await.map_err(|e| refused(shell, e));
    }
    let key = key_of(&sent.name);
    for n in 1..=TRIES {
        let key = if n == 1 { key.clone() } else { format!("{key}-{n}") };
        match audience::create(db, NewSegment { key, name: sent.name.clone(), rule: rule.clone() }, now).await {
            Err(AudienceError::Taken(_)) if n < TRIES => {}
            other => return other.map_err(|e| refused(shell, e)),
        }
    }
    Err(Refused::Names([None, Some(shell.say_with("segments.wrong.taken", &[("key", key)]))]))
}

/// Makes or changes the segment, and takes a snapshot of it.
pub(super) async fn save(shell: Shell, platform: Data<Platform>, body: Bytes) -> ApiResult {
    let sent = Sent::read(&body);
    let (wrongs, names) = match store(&shell, &platform.db, &sent).await {
        Ok(segment) => {
            let since = super::one::enqueue_snapshot(&platform, segment.id).await?;
            shell.note(segment.id.to_string(), segment.name.clone());
            let said = shell.say_with("segments.saved", &[("name", segment.name)]);
            let to = format!("/segments/{}?since={}", segment.id, since.micros());
            return Ok(shell.redirect_saying(&to, "good", said));
        }
        Err(Refused::Other(other)) => return Err(other.into()),
        Err(Refused::Rule(wrongs)) => (wrongs, [None, None]),
        Err(Refused::Names(names)) => (Vec::new(), names),
    };
    let view = draw(&shell, &platform.db, &sent, &wrongs, names).await?;
    let (template, title) = sent.page();
    shell.render_as(StatusCode::UNPROCESSABLE_ENTITY, template, shell.say(title), &view)
}

/// Names of segments by key and by id, for rules in words.
pub(super) async fn segment_names(db: &Db) -> ApiResult<HashMap<String, String>> {
    let all = audience::overview(db).await?;
    Ok(all.into_iter().flat_map(|s| [(s.id.to_string(), s.name.clone()), (s.key, s.name)]).collect())
}

pub(super) fn teller<'a>(shell: &Shell, segments: &'a HashMap<String, String>) -> Teller<'a> {
    Teller { reader: shell.reader(), currency: shell.inner.platform.config.shop.currency, segments }
}

#[cfg(test)]
mod tests {
    use super::key_of;

    #[test]
    fn names_become_keys() {
        assert_eq!(key_of("Bought twice, not lately!"), "bought-twice-not-lately");
        assert_eq!(key_of("  Été 2026 "), "t-2026");
        assert_eq!(key_of("会员"), "segment");
        assert_eq!(key_of("SEG_7"), "seg-7");
        assert!(key_of(&"long name ".repeat(20)).len() <= 48);
    }
}
