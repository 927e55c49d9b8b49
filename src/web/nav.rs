//! The side bar: which pages there are, in which order, for whom.

use std::collections::BTreeSet;

use serde::Serialize;

use super::route::Need;
use crate::account::{Permission, User};

struct Item {
    path: &'static str,
    /// Translation key of its name.
    key: &'static str,
    icon: &'static str,
    need: Need,
}

const fn item(path: &'static str, key: &'static str, icon: &'static str, permission: Permission) -> Item {
    Item { path, key, icon, need: Need::May(permission) }
}

/// Groups of the side bar. An item appears once its page is mounted and the viewer may see it.
const GROUPS: &[(&str, &[Item])] = &[
    ("", &[item("/", "nav.home", "home", Permission::See)]),
    (
        "nav.group.plan",
        &[
            item("/campaigns", "nav.campaigns", "send", Permission::See),
            item("/segments", "nav.segments", "filter", Permission::See),
            item("/people", "nav.people", "people", Permission::SeePeople),
            item("/import", "nav.import", "upload", Permission::Plan),
        ],
    ),
    (
        "nav.group.content",
        &[
            item("/catalogue", "nav.catalogue", "tag", Permission::See),
            item("/creatives", "nav.creatives", "image", Permission::See),
            item("/placements", "nav.placements", "layout", Permission::See),
        ],
    ),
    ("nav.group.measure", &[item("/reports", "nav.reports", "chart", Permission::See)]),
    (
        "nav.group.run",
        &[item("/jobs", "nav.jobs", "clock", Permission::See), item("/settings", "nav.settings", "sliders", Permission::Configure)],
    ),
];

#[derive(Clone, Debug, Serialize)]
pub struct NavGroup {
    pub key: &'static str,
    pub items: Vec<NavItem>,
}

#[derive(Clone, Debug, Serialize)]
pub struct NavItem {
    pub path: &'static str,
    pub key: &'static str,
    pub icon: &'static str,
    pub current: bool,
}

fn is_current(item: &str, path: &str) -> bool {
    path == item || (item != "/" && path.strip_prefix(item).is_some_and(|rest| rest.starts_with('/')))
}

pub(super) fn groups(user: Option<&User>, path: &str, mounted: &BTreeSet<&'static str>) -> Vec<NavGroup> {
    let Some(user) = user else { return Vec::new() };
    let shown = |i: &&Item| mounted.contains(i.path) && i.need.met_by(Some(user));
    let nav = |i: &Item| NavItem { path: i.path, key: i.key, icon: i.icon, current: is_current(i.path, path) };
    GROUPS
        .iter()
        .map(|(key, items)| NavGroup { key, items: items.iter().filter(shown).map(nav).collect() })
        .filter(|g| !g.items.is_empty())
        .collect()
}
