//! The plan of every job, from `jobs/*.toml`: cron and time zone, queue, timeout, retries, concurrency.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::LazyLock;

use chrono_tz::Tz;
use croner::Cron;
use rust_embed::RustEmbed;
use serde::Deserialize;

use crate::fault;
use crate::platform::clock::Timestamp;
use crate::platform::fault::Fault;

#[derive(RustEmbed)]
#[folder = "jobs/"]
struct JobFiles;

/// One `jobs/NAME.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobPlan {
    /// What it does, for the Jobs page.
    pub about: String,
    /// Five-field cron; absent for jobs that only services enqueue.
    pub cron: Option<String>,
    #[serde(default = "utc")]
    pub time_zone: Tz,
    #[serde(default = "default_queue")]
    pub queue: String,
    pub timeout_s: u64,
    /// Attempts after the first.
    pub retries: i64,
    /// Most runs of this job at once in one process.
    #[serde(default = "one")]
    pub concurrency: usize,
}

fn utc() -> Tz {
    Tz::UTC
}
fn default_queue() -> String {
    "default".into()
}
fn one() -> usize {
    1
}

/// The patterns of all plans, read once: the feeder asks several times a second.
static PATTERNS: LazyLock<BTreeMap<&'static str, Cron>> = LazyLock::new(|| {
    PLANS.values().filter_map(|p| p.cron.as_deref()).filter_map(|text| Some((text, Cron::from_str(text).ok()?))).collect()
});

static PLANS: LazyLock<BTreeMap<String, JobPlan>> = LazyLock::new(|| {
    JobFiles::iter()
        .filter_map(|file| {
            let name = file.strip_suffix(".toml")?.to_owned();
            let bytes = JobFiles::get(&file)?.data;
            match std::str::from_utf8(&bytes).map_err(|e| e.to_string()).and_then(|t| toml::from_str(t).map_err(|e| e.to_string())) {
                Ok(plan) => Some((name, plan)),
                Err(why) => {
                    tracing::error!(job = name, why, "jobs/{name}.toml cannot be read");
                    None
                }
            }
        })
        .collect()
});

pub fn plans() -> &'static BTreeMap<String, JobPlan> {
    &PLANS
}

pub fn plan(job: &str) -> Option<&'static JobPlan> {
    PLANS.get(job)
}

/// The first time after `after` at which a cron pattern fires in a zone. DST: a skipped local time fires right after the gap, a repeated one once.
pub fn next_fire(cron: &str, zone: Tz, after: Timestamp) -> Result<Timestamp, Fault> {
    let read;
    let cron = match PATTERNS.get(cron) {
        Some(known) => known,
        None => {
            read = Cron::from_str(cron).map_err(|why| fault!("cron.unread", "“{cron}” is not a cron pattern: {why}", cron, why))?;
            &read
        }
    };
    cron.find_next_occurrence(&after.in_zone(zone), false)
        .map(Timestamp::from)
        .map_err(|why| fault!("cron.never", "this pattern never fires: {why}", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_file_reads_and_its_cron_fires() {
        assert_eq!(PLANS.len(), JobFiles::iter().count(), "a jobs/*.toml does not parse");
        for (name, plan) in plans() {
            if let Some(cron) = &plan.cron {
                next_fire(cron, plan.time_zone, Timestamp::from_secs(1_700_000_000)).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
        }
    }

    #[test]
    fn cron_is_dst_safe() {
        let berlin = chrono_tz::Europe::Berlin;
        // 02:30 does not exist on 2026-03-29: fires once, after the gap; the next day at 02:30 again.
        let before = Timestamp::parse("2026-03-28T12:00:00Z").expect("time");
        let first = next_fire("30 2 * * *", berlin, before).expect("fires");
        let second = next_fire("30 2 * * *", berlin, first).expect("fires");
        assert!(first > before && second > first);
        assert_eq!(second.since(first) / 3_600_000_000, 23, "{first} {second}");
        // 02:30 occurs twice on 2026-10-25: fires once.
        let before = Timestamp::parse("2026-10-24T12:00:00Z").expect("time");
        let first = next_fire("30 2 * * *", berlin, before).expect("fires");
        let second = next_fire("30 2 * * *", berlin, first).expect("fires");
        assert!(second.since(first) >= 24 * 3_600_000_000, "{first} {second}");
    }
}
