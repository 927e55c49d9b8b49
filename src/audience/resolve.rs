//! Rules that name segments: the rules of those put in their place.

use std::collections::HashMap;

use super::compile::Resolved;
use super::rule::{Rule, wrong};
use super::service::{AudienceError, Segment, find};
use crate::fault;
use crate::platform::db::Db;

/// Most nodes after the segments named in a rule have been inlined.
const MAX_RESOLVED_NODES: usize = 600;
/// How deep segments may name segments.
const MAX_INLINE_DEPTH: usize = 5;

/// Whether a rule names a segment, by key or id.
pub fn names(rule: &Rule, segment: &Segment) -> bool {
    match rule {
        Rule::InSegment(s) => s.segment == segment.key || s.segment == segment.id.to_string(),
        Rule::All { of } | Rule::Any { of } => of.iter().any(|r| names(r, segment)),
        Rule::Not { rule } => names(rule, segment),
        _ => false,
    }
}

/// Inlines the segments that a rule names: their rules as they are now, not their snapshots, so that no result depends on when something
/// was built. Circles, unknown segments and trees that grow too large are errors.
pub async fn resolve(db: &Db, rule: &Rule) -> Result<Resolved, AudienceError> {
    rule.check()?;
    Inliner::new(db).run(rule, Vec::new()).await
}

/// Inlines a rule that a segment is to have, as if it had it already: a circle through itself is found before it is there.
pub(super) async fn resolve_changed(db: &Db, segment: &Segment, rule: &Rule) -> Result<Resolved, AudienceError> {
    let mut inliner = Inliner::new(db);
    inliner.override_rule(segment, rule);
    inliner.run(rule, vec![segment.key.clone()]).await
}

struct Inliner<'a> {
    db: &'a Db,
    known: HashMap<String, Segment>,
    nodes: usize,
}

impl<'a> Inliner<'a> {
    fn new(db: &'a Db) -> Self {
        Self { db, known: HashMap::new(), nodes: 0 }
    }

    /// Looks at a segment as if it had this rule already.
    fn override_rule(&mut self, segment: &Segment, rule: &Rule) {
        let changed = Segment { rule: rule.clone(), ..segment.clone() };
        self.known.insert(segment.id.to_string(), changed.clone());
        self.known.insert(segment.key.clone(), changed);
    }

    async fn run(&mut self, rule: &Rule, above: Vec<String>) -> Result<Resolved, AudienceError> {
        self.inline(rule, "rule".into(), &above).await.map(Resolved)
    }

    async fn inline(&mut self, rule: &Rule, path: String, above: &[String]) -> Result<Rule, AudienceError> {
        self.nodes += 1;
        if self.nodes > MAX_RESOLVED_NODES {
            return Ok(wrong(
                &path,
                fault!("rule.resolved", "with the segments it names, this rule has more than {most} parts", most = MAX_RESOLVED_NODES),
            )?);
        }
        Ok(match rule {
            Rule::All { of } => Rule::All { of: Box::pin(self.inline_all(of, &path, above)).await? },
            Rule::Any { of } => Rule::Any { of: Box::pin(self.inline_all(of, &path, above)).await? },
            Rule::Not { rule } => Rule::Not { rule: Box::new(Box::pin(self.inline(rule, format!("{path}.rule"), above)).await?) },
            Rule::InSegment(s) => {
                let named = self.segment(&s.segment, &path).await?;
                if above.contains(&named.key) {
                    return Ok(wrong(
                        &path,
                        fault!(
                            "rule.circle",
                            "segments name each other in a circle: {keys} → {key}",
                            keys = above.join(" → "),
                            key = named.key
                        ),
                    )?);
                }
                if above.len() >= MAX_INLINE_DEPTH {
                    return Ok(wrong(
                        &path,
                        fault!(
                            "rule.named_deep",
                            "segments name segments at most {most} deep: {keys}",
                            most = MAX_INLINE_DEPTH,
                            keys = above.join(" → ")
                        ),
                    )?);
                }
                let below: Vec<String> = above.iter().cloned().chain([named.key.clone()]).collect();
                Box::pin(self.inline(&named.rule, format!("{path}.segment({})", named.key), &below)).await?
            }
            leaf => leaf.clone(),
        })
    }

    async fn inline_all(&mut self, of: &[Rule], path: &str, above: &[String]) -> Result<Vec<Rule>, AudienceError> {
        let mut out = Vec::with_capacity(of.len());
        for (i, rule) in of.iter().enumerate() {
            out.push(self.inline(rule, format!("{path}.of[{i}]"), above).await?);
        }
        Ok(out)
    }

    async fn segment(&mut self, name: &str, path: &str) -> Result<Segment, AudienceError> {
        if let Some(known) = self.known.get(name) {
            return Ok(known.clone());
        }
        let found = match find(self.db, name).await {
            Err(AudienceError::Unknown(name)) => wrong(path, fault!("rule.no_segment", "there is no segment “{name}”", name))?,
            other => other?,
        };
        self.known.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}
