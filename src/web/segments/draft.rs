//! A rule while it is edited: a tree of typed-in texts, carried by the form itself, so that the builder works without scripts.
//!
//! A node's fields are named `PATH:FIELD`, where PATH is `r` for the root and `r.0.2` for the third part of its first part. What a button does
//! is the value of `do`: `add:r`, `group:r.0`, `remove:r.0.2`, `cond:r.1`, `uncond:r.1.0`, `start:NAME`, or anything else for “draw it anew”.

use std::collections::BTreeMap;

use crate::audience::rule::{MAX_DEPTH, MAX_NODES};

/// Deepest group that a button makes; a rule may be [`MAX_DEPTH`] deep, and `not` counts.
const MAX_GROUPS: usize = 4;
/// Most conditions on one event's properties.
const MAX_CONDITIONS: usize = 10;

pub(super) type Fields = BTreeMap<String, String>;

/// One part of the rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    /// `all`, `any`, `none`, `not_all`: a group. Else a kind of condition.
    pub kind: String,
    pub fields: Fields,
    /// Of an event's properties.
    pub conditions: Vec<Fields>,
    pub children: Vec<Node>,
}

pub(super) const GROUPS: [&str; 4] = ["all", "any", "none", "not_all"];
/// Kinds of conditions, in the order of the menu.
pub(super) const KINDS: [&str; 12] =
    ["attribute", "did", "bought", "trait", "rfm", "engagement", "seen", "consent", "in_segment", "bucket", "everyone", "json"];

impl Node {
    pub fn leaf(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }
    pub fn group(kind: &str, children: Vec<Node>) -> Self {
        Self { kind: kind.to_owned(), children, ..Self::default() }
    }
    pub fn is_group(&self) -> bool {
        GROUPS.contains(&self.kind.as_str())
    }
    pub fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", |v| v.trim())
    }
    pub fn with(mut self, field: &str, value: impl Into<String>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }
    /// The condition does not hold.
    pub fn negated(&self) -> bool {
        self.fields.contains_key("not")
    }
    fn nodes(&self) -> usize {
        1 + self.conditions.len() + self.children.iter().map(Node::nodes).sum::<usize>()
    }

    /// A new rule: one group with one condition.
    pub fn fresh() -> Self {
        Self::group("all", vec![Self::leaf("attribute")])
    }

    /// Reads the tree out of a form. What is too deep, too much or out of place is left out.
    pub fn read(form: &[(String, String)]) -> Self {
        let mut by_path: BTreeMap<&str, Fields> = BTreeMap::new();
        for (name, value) in form {
            if let Some((path, field)) = name.split_once(':')
                && (path == "r" || path.starts_with("r."))
            {
                by_path.entry(path).or_default().insert(field.to_owned(), value.replace('\0', ""));
            }
        }
        let mut left = MAX_NODES;
        Self::read_at(&by_path, "r", 1, &mut left).unwrap_or_else(Self::fresh)
    }

    fn read_at(by_path: &BTreeMap<&str, Fields>, path: &str, depth: usize, left: &mut usize) -> Option<Self> {
        let mut fields = by_path.get(path)?.clone();
        let kind = fields.remove("kind")?;
        let known = GROUPS.contains(&kind.as_str()) || KINDS.contains(&kind.as_str());
        if depth > MAX_DEPTH || *left == 0 || !known {
            return None;
        }
        *left -= 1;
        let mut node = Self { kind, ..Self::default() };
        if node.is_group() {
            node.children = (0..MAX_NODES)
                .map_while(|i| by_path.contains_key(format!("{path}.{i}").as_str()).then(|| format!("{path}.{i}")))
                .filter_map(|child| Self::read_at(by_path, &child, depth + 1, left))
                .collect();
            return Some(node);
        }
        for i in 0..MAX_CONDITIONS {
            let prefix = format!("p{i}.");
            let part: Fields = fields.iter().filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_owned(), v.clone()))).collect();
            if part.is_empty() {
                break;
            }
            node.conditions.push(part);
        }
        fields.retain(|k, _| !k.contains('.'));
        node.fields = fields;
        Some(node)
    }

    fn at(&mut self, path: &str) -> Option<&mut Self> {
        let mut node = self;
        for step in path.strip_prefix('r')?.split('.').skip(1) {
            node = node.children.get_mut(step.parse::<usize>().ok()?)?;
        }
        Some(node)
    }

    /// Does what a button says. Unknown words change nothing.
    pub fn act(&mut self, action: &str) {
        let Some((verb, path)) = action.split_once(':') else { return };
        let full = self.nodes() >= MAX_NODES;
        match verb {
            "add" if !full => {
                if let Some(group) = self.at(path).filter(|n| n.is_group()) {
                    group.children.push(Self::leaf("attribute"));
                }
            }
            "group" if !full && may_group(path) => {
                if let Some(group) = self.at(path).filter(|n| n.is_group()) {
                    group.children.push(Self::group("any", vec![Self::leaf("attribute")]));
                }
            }
            "remove" => {
                if let Some((above, last)) = path.rsplit_once('.')
                    && let (Some(group), Ok(at)) = (self.at(above), last.parse::<usize>())
                    && at < group.children.len()
                {
                    group.children.remove(at);
                }
            }
            "cond" if !full => {
                if let Some(leaf) = self.at(path).filter(|n| n.kind == "did" && n.conditions.len() < MAX_CONDITIONS) {
                    leaf.conditions.push(Fields::from([("name".to_owned(), String::new())]));
                }
            }
            "uncond" => {
                if let Some((above, last)) = path.rsplit_once('.')
                    && let (Some(leaf), Ok(at)) = (self.at(above), last.parse::<usize>())
                    && at < leaf.conditions.len()
                {
                    leaf.conditions.remove(at);
                }
            }
            _ => {}
        }
    }
}

/// Whether a group at this path may hold another.
pub(super) fn may_group(path: &str) -> bool {
    path.matches('.').count() + 1 < MAX_GROUPS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn a_tree_travels_in_a_form_and_buttons_change_it() {
        let mut node = Node::read(&form(&[
            ("r:kind", "all"),
            ("r.0:kind", "did"),
            ("r.0:event", "Product Viewed"),
            ("r.0:p0.name", "color"),
            ("r.0:p0.value", "red"),
            ("r.1:kind", "any"),
            ("r.1.0:kind", "bought"),
        ]));
        assert_eq!(node.children.len(), 2);
        assert_eq!(node.children[0].get("event"), "Product Viewed");
        assert_eq!(node.children[0].conditions[0]["value"], "red");
        assert!(!node.children[0].fields.contains_key("p0.name"));
        node.act("add:r.1");
        node.act("group:r.1");
        assert_eq!(node.children[1].children.len(), 3);
        node.act("remove:r.0");
        assert_eq!(node.children[0].kind, "any");
        node.act("cond:r.0.0");
        assert!(node.children[0].children[0].conditions.is_empty(), "only events have properties");
        for odd in ["remove:r", "remove:r.9", "add:r.0.0", "x", "add:", "uncond:r.0.0.1", "remove:r.x"] {
            let before = node.clone();
            node.act(odd);
            assert_eq!(node, before, "{odd}");
        }
    }

    #[test]
    fn hostile_forms_end_in_a_small_tree() {
        let deep: Vec<(String, String)> = (0..40).map(|d| (format!("r{}:kind", ".0".repeat(d)), "all".to_owned())).collect();
        let mut node = &Node::read(&deep);
        let mut depth = 1;
        while let Some(child) = node.children.first() {
            node = child;
            depth += 1;
        }
        assert_eq!(depth, MAX_DEPTH);
        let wide: Vec<(String, String)> = std::iter::once(("r:kind".to_owned(), "all".to_owned()))
            .chain((0..5_000).map(|i| (format!("r.{i}:kind"), "everyone".to_owned())))
            .collect();
        assert!(Node::read(&wide).nodes() <= MAX_NODES);
        assert_eq!(Node::read(&form(&[("r:kind", "<script>")])), Node::fresh());
    }
}
