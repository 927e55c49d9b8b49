//! Placements: how full they are, why they are not, what they earn; line items with budget and pace; the tag; and a decision tester.

mod item_form;
mod items;
mod list;
mod places;
mod tester;

use std::collections::HashMap;

use serde::Serialize;

use super::page::Shell;
use super::route::{Need, Route};
use crate::account::Permission;
use crate::adserver::{Device, Figures, Targeting};
use crate::platform::{Currency, Money};

pub(super) fn routes() -> Vec<Route> {
    let (see, plan, configure) = (Need::May(Permission::See), Need::May(Permission::Plan), Need::May(Permission::Configure));
    vec![
        Route::get("/placements", see, list::places_page),
        Route::get("/placements/download", see, list::places_file),
        Route::get("/placements/new", configure, places::new),
        Route::post("/placements/new", configure, "placement.create", places::create),
        Route::get("/placements/at/{key}", see, places::one),
        Route::get("/placements/at/{key}/edit", configure, places::edit),
        Route::post("/placements/at/{key}/edit", configure, "placement.update", places::update),
        Route::post("/placements/at/{key}/pause", configure, "placement.pause", places::pause),
        Route::post("/placements/at/{key}/resume", configure, "placement.resume", places::resume),
        Route::get("/placements/items", see, list::items_page),
        Route::get("/placements/items/download", see, list::items_file),
        Route::get("/placements/items/new", plan, item_form::new),
        Route::post("/placements/items/new", plan, "line_item.create", item_form::create),
        Route::get("/placements/items/{id}", see, items::one),
        Route::get("/placements/items/{id}/edit", plan, item_form::edit),
        Route::post("/placements/items/{id}/edit", plan, "line_item.update", item_form::update),
        Route::post("/placements/items/{id}/pause", plan, "line_item.pause", items::pause),
        Route::post("/placements/items/{id}/resume", plan, "line_item.resume", items::resume),
        Route::get("/placements/items/{id}/archive", plan, items::ask_archive),
        Route::post("/placements/items/{id}/archive", plan, "line_item.archive", items::archive),
        // It tells what would be shown to somebody, and so what they like.
        Route::get("/placements/tester", Need::May(Permission::SeePeople), tester::page),
    ]
}

#[derive(Serialize)]
struct Tab {
    path: &'static str,
    label: String,
    current: bool,
}

fn tabs(shell: &Shell, current: &str) -> Vec<Tab> {
    let all = [
        ("/placements", "placements.tab_places", true),
        ("/placements/items", "placements.tab_items", true),
        ("/placements/tester", "placements.tab_tester", shell.may(Permission::SeePeople)),
    ];
    let tab = |(path, key, _): (&'static str, &str, bool)| Tab { path, label: shell.say(key), current: path == current };
    all.into_iter().filter(|(_, _, may)| *may).map(tab).collect()
}

fn currency(shell: &Shell) -> Currency {
    shell.inner.platform.config.shop.currency
}

/// Fields of a form as they were typed.
#[derive(Clone, Debug, Default)]
struct Typed(HashMap<String, Vec<String>>);

impl Typed {
    fn read(body: &[u8]) -> Self {
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(body).into_owned() {
            all.entry(name).or_default().push(value);
        }
        Self(all)
    }
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(|v| v.first()).map_or("", |v| v.trim())
    }
    fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
    fn on(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
    /// A whole number; an empty field is 0, anything else -1 (which every check refuses).
    fn number(&self, name: &str) -> i64 {
        match self.text(name) {
            "" => 0,
            text => text.replace([',', ' '], "").parse().unwrap_or(-1),
        }
    }
}

/// Rates of what was shown.
#[derive(Serialize)]
struct Rates {
    shown: i64,
    clicks: i64,
    click_rate: Option<f64>,
    view_rate: Option<f64>,
    revenue: Option<Money>,
}

fn rates(shell: &Shell, f: &Figures) -> Rates {
    let share = |n: i64| (f.shown > 0).then(|| n as f64 / f.shown as f64);
    Rates {
        shown: f.shown,
        clicks: f.clicks,
        click_rate: share(f.clicks),
        view_rate: share(f.viewable),
        revenue: (f.cost_micro > 0).then(|| Money::new((f.cost_micro + 500_000) / 1_000_000, currency(shell))),
    }
}

/// Targeting as a form shows it.
#[derive(Clone, Debug, Default, Serialize)]
struct TargetingForm {
    keywords: String,
    not_keywords: String,
    countries: String,
    hours: String,
    devices: Vec<Checked>,
    segments: Vec<Checked>,
}

#[derive(Clone, Debug, Serialize)]
struct Checked {
    value: String,
    label: String,
    checked: bool,
}

impl TargetingForm {
    fn of(shell: &Shell, t: &Targeting, segments: &[(String, String)]) -> Self {
        let ids: Vec<String> = t.segments.iter().map(ToString::to_string).collect();
        Self {
            keywords: t.keywords.join(", "),
            not_keywords: t.not_keywords.join(", "),
            countries: t.countries.join(", "),
            hours: spans(&t.hours),
            devices: Device::ALL
                .into_iter()
                .map(|d| Checked {
                    value: d.name().into(),
                    label: shell.say(&format!("device.{}", d.name())),
                    checked: t.devices.contains(&d),
                })
                .collect(),
            segments: segments
                .iter()
                .map(|(id, name)| Checked { value: id.clone(), label: name.clone(), checked: ids.contains(id) })
                .collect(),
        }
    }

    fn read(typed: &Typed) -> Targeting {
        let words = |name: &str| typed.text(name).split(',').map(str::trim).filter(|w| !w.is_empty()).map(ToOwned::to_owned).collect();
        Targeting {
            segments: typed.all("segment").iter().filter_map(|s| s.parse().ok()).collect(),
            keywords: words("keywords"),
            not_keywords: words("not_keywords"),
            countries: words("countries"),
            devices: typed.all("device").iter().filter_map(|d| Device::parse(d)).collect(),
            hours: hours(typed.text("hours")),
        }
    }

    /// Which of the form's fields an error is about.
    fn field(name: &str) -> &str {
        name
    }
}

/// `9-11, 20` → 9, 10, 11, 20. What is no hour becomes 99, which is refused.
fn hours(text: &str) -> Vec<u8> {
    let number = |t: &str| t.trim().parse::<u8>().ok().filter(|h| *h < 24);
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match part.split_once(['-', '–']) {
            Some((a, b)) => match (number(a), number(b)) {
                (Some(a), Some(b)) if a <= b => all.extend(a..=b),
                // Over midnight.
                (Some(a), Some(b)) => all.extend((a..24).chain(0..=b)),
                _ => all.push(99),
            },
            None => all.push(number(part).unwrap_or(99)),
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// 9, 10, 11, 20 → `9-11, 20`.
fn spans(hours: &[u8]) -> String {
    let mut hours = hours.to_vec();
    hours.sort_unstable();
    let mut spans: Vec<(u8, u8)> = Vec::new();
    for h in hours {
        match spans.last_mut() {
            Some((_, to)) if *to + 1 == h => *to = h,
            _ => spans.push((h, h)),
        }
    }
    spans.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect::<Vec<_>>().join(", ")
}

/// Money as typed (`12.50`) in minor units; -1 where it is none.
fn minor(shell: &Shell, text: &str) -> i64 {
    if text.is_empty() {
        return 0;
    }
    Money::parse(&text.replace(',', ""), currency(shell)).map_or(-1, |m| m.minor)
}

/// Minor units as they are typed.
fn major(shell: &Shell, minor: i64) -> String {
    let text = Money::new(minor, currency(shell)).to_string();
    text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_typed_as_spans() {
        assert_eq!(hours("9-11, 20"), [9, 10, 11, 20]);
        assert_eq!(hours("22-1"), [0, 1, 22, 23]);
        assert_eq!(hours("25"), [99]);
        assert!(hours("").is_empty());
        assert_eq!(spans(&[9, 10, 11, 20]), "9-11, 20");
    }
}
