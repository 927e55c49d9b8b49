//! The builder as its template draws it: the tree flattened to rows, each condition a row of labelled controls.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::draft::{Fields, KINDS, Node, may_group};
use super::read::{self, Values, Why, Wrong, chosen_values, ops_of, trait_of, trait_values, values_of};
use crate::audience::rule::{Column, Kind, TraitName};
use crate::web::page::Shell;
use crate::web::table::Choice;

/// What is suggested while somebody types.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Hints {
    /// Names of open attributes.
    pub attributes: Vec<String>,
    pub events: Vec<String>,
    pub properties: Vec<String>,
    pub categories: Vec<String>,
    /// Key and name of every segment that may be named.
    #[serde(skip)]
    pub segments: Vec<(String, String)>,
}

/// One input with its label.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Control {
    /// `select`, `area`, or the type of an `input`.
    kind: &'static str,
    name: String,
    label: String,
    value: String,
    options: Vec<Choice>,
    /// Id of a list of suggestions.
    list: &'static str,
    wrong: Option<String>,
    /// Other controls depend on it: the form is drawn anew when it changes.
    redraw: bool,
    wide: bool,
}

/// A row of the builder: the beginning of a group, a condition, or the end of a group.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// `open`, `leaf`, `close`.
    shape: &'static str,
    path: String,
    root: bool,
    /// What joins it with the one before: `and`, `or`; empty for the first.
    join: &'static str,
    controls: Vec<Control>,
    /// Conditions on an event's properties, each with the path of its remove button.
    conditions: Vec<Condition>,
    negated: bool,
    may_negate: bool,
    may_group: bool,
    may_condition: bool,
    wrong: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Condition {
    path: String,
    controls: Vec<Control>,
}

pub(super) struct Drawing<'a> {
    pub shell: &'a Shell,
    pub hints: &'a Hints,
    pub wrongs: &'a [Wrong],
}

impl Drawing<'_> {
    pub fn rows(&self, root: &Node) -> Vec<Row> {
        let mut rows = Vec::new();
        self.node(root, "r", "", &mut rows);
        rows
    }

    fn word(&self, key: &str) -> String {
        self.shell.say(&format!("segments.{key}"))
    }

    fn wrong(&self, at: &str) -> Option<String> {
        Some(match &self.wrongs.iter().find(|w| w.at == at)?.why {
            Why::Key(key) => self.shell.say(key),
            Why::Fault(fault) => self.shell.fault(fault),
        })
    }

    fn row(&self, shape: &'static str, path: &str, join: &'static str) -> Row {
        Row {
            shape,
            path: path.to_owned(),
            root: path == "r",
            join,
            controls: Vec::new(),
            conditions: Vec::new(),
            negated: false,
            may_negate: false,
            may_group: may_group(path),
            may_condition: false,
            wrong: self.wrong(&format!("{path}:kind")),
        }
    }

    fn node(&self, node: &Node, path: &str, join: &'static str, rows: &mut Vec<Row>) {
        if node.is_group() {
            let options = ["all", "any", "none", "not_all"].map(|g| Choice::new(g, self.word(&format!("group.{g}"))));
            let label = self.word("group.label");
            let control = Control { redraw: true, wide: true, ..self.select(path, "kind", label, &node.kind, options.to_vec()) };
            rows.push(Row { controls: vec![control], ..self.row("open", path, join) });
            let word = if matches!(node.kind.as_str(), "any" | "none") { "or" } else { "and" };
            for (i, child) in node.children.iter().enumerate() {
                self.node(child, &format!("{path}.{i}"), if i == 0 { "" } else { word }, rows);
            }
            rows.push(self.row("close", path, ""));
            return;
        }
        let kinds = KINDS.map(|k| Choice::new(k, self.word(&format!("kind.{k}"))));
        let kind = Control { redraw: true, ..self.select(path, "kind", self.word("kind.label"), &node.kind, kinds.to_vec()) };
        let mut controls = vec![Control { wrong: None, ..kind }];
        controls.extend(self.leaf(node, path));
        let conditions = node.conditions.iter().enumerate().map(|(i, fields)| self.condition(fields, path, i)).collect();
        rows.push(Row {
            controls,
            conditions,
            negated: node.negated(),
            may_negate: !matches!(node.kind.as_str(), "everyone") && node.get("often") != "never",
            may_condition: node.kind == "did",
            ..self.row("leaf", path, join)
        });
    }

    fn control(&self, kind: &'static str, path: &str, field: &str, label: String, value: &str) -> Control {
        let name = format!("{path}:{field}");
        let wrong = self.wrong(&name);
        Control { kind, name, label, value: value.to_owned(), options: Vec::new(), list: "", wrong, redraw: false, wide: false }
    }

    fn select(&self, path: &str, field: &str, label: String, value: &str, options: Vec<Choice>) -> Control {
        let value = if options.iter().any(|o| o.value == value) { value } else { options.first().map_or("", |o| o.value.as_str()) };
        Control { options: options.clone(), ..self.control("select", path, field, label, value) }
    }

    /// A select whose choices are `segments.PREFIX.WORD`.
    fn words(&self, path: &str, field: &str, value: &str, prefix: &str, words: &[&str]) -> Control {
        let options = words.iter().map(|w| Choice::new(*w, self.word(&format!("{prefix}.{w}")))).collect();
        self.select(path, field, self.word(&format!("field.{field}")), value, options)
    }

    fn days(&self, node: &Node, path: &str) -> Control {
        self.control("number", path, "days", self.word("field.days"), node.get("days"))
    }

    fn category(&self, node: &Node, path: &str) -> Control {
        Control { list: "hint-categories", ..self.control("text", path, "category", self.word("field.category"), node.get("category")) }
    }

    fn leaf(&self, node: &Node, path: &str) -> Vec<Control> {
        match node.kind.as_str() {
            "attribute" => self.attribute(node, path),
            "did" => self.did(node, path),
            "bought" => vec![
                self.category(node, path),
                self.control("text", path, "product", self.word("field.product"), node.get("product")),
                self.days(node, path),
            ],
            "trait" => {
                let name = trait_of(node);
                let options = TraitName::ALL.iter().map(|t| Choice::new(t.column(), self.word(&format!("trait.{}", t.column())))).collect();
                let pick = Control { redraw: true, ..self.select(path, "trait", self.word("field.trait"), name.column(), options) };
                let mut controls = vec![pick];
                controls.extend(self.test(&node.fields, path, "", name.kind(), trait_values(name)));
                if name == TraitName::TopCategory {
                    controls.iter_mut().filter(|c| c.name.ends_with(":value")).for_each(|c| c.list = "hint-categories");
                }
                controls
            }
            "rfm" => self.rfm(node, path),
            "engagement" => vec![
                self.words(path, "trend", node.get("trend"), "trend", &["rising", "falling", "steady"]),
                self.control("number", path, "threshold", self.word("field.threshold"), or(node.get("threshold"), "10")),
            ],
            "seen" => {
                let when = read::chosen(node.get("when"), &["within_days", "not_within_days", "before", "after"]);
                let dated = matches!(when, "before" | "after");
                let value = if dated { node.get("value") } else { or(node.get("value").split('-').next().unwrap_or_default(), "30") };
                let kind = if dated { "datetime-local" } else { "number" };
                let label = self.word(if dated { "field.time" } else { "field.days_n" });
                vec![
                    self.words(path, "which", node.get("which"), "which", &["last", "first"]),
                    Control {
                        redraw: true,
                        ..self.words(path, "when", when, "when", &["within_days", "not_within_days", "before", "after"])
                    },
                    self.control(kind, path, "value", label, value),
                ]
            }
            "consent" => vec![
                self.words(path, "channel", node.get("channel"), "channel", &["email", "ads"]),
                self.words(path, "is", node.get("is"), "consent", &["subscribed", "unsubscribed", "never"]),
            ],
            "in_segment" => {
                let mut options = vec![Choice::new("", self.word("field.choose"))];
                options.extend(self.hints.segments.iter().map(|(key, name)| Choice::new(key.clone(), name.clone())));
                if !node.get("segment").is_empty() && !options.iter().any(|o| o.value == node.get("segment")) {
                    options.push(Choice::new(node.get("segment"), node.get("segment")));
                }
                vec![self.select(path, "segment", self.word("field.segment"), node.get("segment"), options)]
            }
            "bucket" => vec![
                self.control("text", path, "from", self.word("field.from_percent"), or(node.get("from"), "0")),
                self.control("text", path, "to", self.word("field.to_percent"), or(node.get("to"), "10")),
            ],
            "json" => {
                vec![Control { wide: true, ..self.control("area", path, "json", self.word("field.json"), node.get("json")) }]
            }
            _ => Vec::new(),
        }
    }

    fn attribute(&self, node: &Node, path: &str) -> Vec<Control> {
        let mut options: Vec<Choice> =
            Column::ALL.iter().map(|c| Choice::new(c.name(), self.word(&format!("column.{}", c.name())))).collect();
        options.sort_by_key(|o| o.value != "country");
        let known: BTreeSet<&str> = self.hints.attributes.iter().map(String::as_str).collect();
        options.extend(known.iter().map(|name| Choice::new(format!("attributes.{name}"), format!("“{name}”"))));
        let field = node.get("field");
        if let Some(name) = field.strip_prefix("attributes.")
            && !known.contains(name)
        {
            options.push(Choice::new(field, format!("“{name}”")));
        }
        options.push(Choice::new("other", self.word("field.other")));
        let mut controls = vec![Control { redraw: true, ..self.select(path, "field", self.word("field.field"), field, options) }];
        if field == "other" {
            controls.push(self.control("text", path, "name", self.word("field.name"), node.get("name")));
        }
        let kind = read::field_kind(node);
        let among = values_of(kind);
        let values = chosen_values(node.get("values"), among);
        if among.len() > 1 {
            let words: Vec<&str> = among.iter().map(|v| v.name()).collect();
            controls.push(Control { redraw: true, ..self.words(path, "values", values.name(), "values", &words) });
        }
        controls.extend(self.test(&node.fields, path, "", kind, values));
        controls
    }

    fn did(&self, node: &Node, path: &str) -> Vec<Control> {
        let often = read::chosen(node.get("often"), &["at_least", "at_most", "exactly", "never"]);
        let event = Control { list: "hint-events", ..self.control("text", path, "event", self.word("field.event"), node.get("event")) };
        let pick = Control { redraw: true, ..self.words(path, "often", often, "often", &["at_least", "at_most", "exactly", "never"]) };
        let mut controls = vec![event, pick];
        if often != "never" {
            controls.push(self.control("number", path, "n", self.word("field.n"), or(node.get("n"), "1")));
        }
        controls.extend([self.days(node, path), self.category(node, path)]);
        controls
    }

    fn condition(&self, fields: &Fields, path: &str, i: usize) -> Condition {
        let get = |field: &str| fields.get(field).map_or("", String::as_str);
        let prefix = format!("p{i}.");
        let among = values_of(Kind::Open);
        let values = chosen_values(get("values"), among);
        let words: Vec<Choice> = among.iter().map(|v| Choice::new(v.name(), self.word(&format!("values.{}", v.name())))).collect();
        let name = self.control("text", path, &format!("{prefix}name"), self.word("field.property"), get("name"));
        let kind = self.select(path, &format!("{prefix}values"), self.word("field.values"), values.name(), words);
        let mut controls = vec![Control { list: "hint-properties", ..name }, Control { redraw: true, ..kind }];
        controls.extend(self.test(fields, path, &prefix, Kind::Open, values));
        Condition { path: format!("{path}.{i}"), controls }
    }

    fn rfm(&self, node: &Node, path: &str) -> Vec<Control> {
        let mut controls = Vec::new();
        for name in ["recency", "frequency", "monetary"] {
            for end in ["from", "to"] {
                let field = format!("{name}_{end}");
                let mut options = vec![Choice::new("", self.word("field.any"))];
                options.extend((1..=5).map(|n| Choice::new(n.to_string(), self.word(&format!("quintile.{n}")))));
                controls.push(self.select(path, &field, self.word(&format!("field.{field}")), node.get(&field), options));
            }
        }
        controls
    }

    /// Comparison and values.
    fn test(&self, fields: &Fields, path: &str, prefix: &str, kind: Kind, values: Values) -> Vec<Control> {
        let get = |field: &str| fields.get(field).map_or("", String::as_str);
        let ops = ops_of(kind, values);
        let op = ops.iter().copied().find(|o| *o == get("op")).unwrap_or(ops[0]);
        let set = match values {
            Values::Time => "op_time",
            Values::DaysAgo => "op_ago",
            Values::Number | Values::Money => "op_number",
            _ => "op",
        };
        let choices = ops.iter().map(|o| Choice::new(*o, self.word(&format!("{set}.{o}")))).collect();
        let pick = self.select(path, &format!("{prefix}op"), self.word("field.op"), op, choices);
        let mut controls = vec![Control { redraw: true, ..pick }];
        let input = match values {
            Values::Time => "datetime-local",
            Values::DaysAgo => "number",
            _ => "text",
        };
        let label = match values {
            Values::DaysAgo => self.word("field.days_n"),
            Values::Money => self.shell.say_with("segments.field.money", &[("currency", self.currency())]),
            _ => self.word("field.value"),
        };
        match op {
            "exists" => {}
            "in" => {
                let area = self.control("area", path, &format!("{prefix}value"), self.word("field.list"), get("value"));
                controls.push(area);
            }
            _ if values == Values::YesNo => {
                let options = ["yes", "no"].map(|w| Choice::new(w, self.word(&format!("values.{w}"))));
                controls.push(self.select(path, &format!("{prefix}value"), label, get("value"), options.to_vec()));
            }
            "between" => {
                controls.push(self.control(input, path, &format!("{prefix}value"), self.word("field.from"), get("value")));
                controls.push(self.control(input, path, &format!("{prefix}value2"), self.word("field.to"), get("value2")));
            }
            _ => controls.push(self.control(input, path, &format!("{prefix}value"), label, get("value"))),
        }
        controls
    }

    fn currency(&self) -> String {
        self.shell.inner.platform.config.shop.currency.code().to_owned()
    }
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// What is wrong besides the fields, each once, for a summary at the top.
pub(super) fn summary(wrongs: &[Wrong]) -> usize {
    wrongs.iter().map(|w| (w.at.as_str(), ())).collect::<BTreeMap<_, _>>().len()
}
