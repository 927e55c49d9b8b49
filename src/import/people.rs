//! People: profiles and consents. An older file never undoes a newer answer, and nobody becomes subscribed again without a date that says so.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::clean::{self, Dates};
use super::mapping::{Mapping, Preset};
use super::report::{Code, Refusals, Report};
use super::source::{Next, Record};
use super::{ImportError, Kind, Options, Source};
use crate::people::{self, Channel, Consent, Identity, NewPerson, Person};
use crate::platform::ids::PersonId;
use crate::platform::{Platform, Timestamp};

const BATCH: usize = 500;

/// An answer to "may we write to you?", and when it was given, where the file says so.
#[derive(Clone, Copy, Debug)]
struct Answer {
    channel: Channel,
    state: Consent,
    at: Option<Timestamp>,
}

/// One row, read.
#[derive(Clone, Debug)]
struct Row {
    line: u64,
    person: NewPerson,
    answers: Vec<Answer>,
    /// The address must not be written to at all, and why.
    suppressed: Option<String>,
}

struct Reader<'a> {
    mapping: &'a Mapping,
    header: &'a [String],
    dates: Dates,
    now: Timestamp,
    cleaned_column: Option<usize>,
    /// What is taken to hold where a row says nothing about e-mail.
    assumed: Option<Consent>,
}

type Refusal = (Code, Option<String>);

pub(super) async fn import(platform: &Platform, source: &Source, options: &Options) -> Result<(Report, Refusals), ImportError> {
    let mut table = source.rows()?;
    let mapping = Mapping::resolve(Kind::People, &table.header, options.preset, &options.map)?;
    let header = table.header.clone();
    let mut report = Report::new("people", source);
    report.preset = mapping.preset.name();
    report.mapping = mapping.shown(&header);
    report.dry_run = options.dry_run;
    for what in ["people added", "people changed", "consents recorded", "addresses suppressed"] {
        report.wrote(what, 0);
    }
    let mut reader = Reader {
        mapping: &mapping,
        header: &header,
        dates: Dates::new(options.zone, options.date_format.clone()),
        now: platform.now(),
        cleaned_column: header.iter().position(|h| h == "CLEAN_TIME"),
        assumed: options.consent,
    };
    let mut refusals = Refusals::default();
    let mut batch: Vec<Row> = Vec::with_capacity(BATCH);
    let mut names: HashSet<Identity> = HashSet::new();
    let mut record = Record::default();
    loop {
        match table.next(&mut record) {
            Next::End => break,
            Next::Torn(why) => {
                report.torn = Some(why);
                break;
            }
            Next::Broken(why) => {
                report.rows += 1;
                refusals.explain(record.line, Code::BrokenRow, why);
            }
            Next::Record => {
                report.rows += 1;
                match reader.row(&record, &mut report) {
                    Ok(row) => {
                        // Somebody who stands twice in a file is met twice, in order.
                        let own = identities(&row.person);
                        if batch.len() >= BATCH || own.iter().any(|n| names.contains(n)) {
                            write(platform, std::mem::take(&mut batch), &mut report, &mut refusals).await?;
                            names.clear();
                        }
                        names.extend(own);
                        batch.push(row);
                    }
                    Err((code, Some(detail))) => refusals.explain(record.line, code, detail),
                    Err((code, None)) => refusals.add(record.line, code),
                }
            }
        }
    }
    write(platform, batch, &mut report, &mut refusals).await?;
    report.note("lines were read as Windows-1252", table.windows_1252);
    report.unchanged = report.written.values().all(|n| *n == 0);
    Ok((report, refusals))
}

fn identities(person: &NewPerson) -> Vec<Identity> {
    let external = person.external_id.clone().map(Identity::External);
    external.into_iter().chain(person.email.as_deref().and_then(Identity::email)).collect()
}

impl Reader<'_> {
    fn row(&mut self, record: &Record, report: &mut Report) -> Result<Row, Refusal> {
        if record.len() < self.mapping.width || record.cells().skip(self.mapping.width).any(|c| !c.trim().is_empty()) {
            return Err((Code::WrongColumns, Some(format!("{} instead of {}", record.len(), self.mapping.width))));
        }
        if record.has_nul() {
            return Err((Code::Nul, None));
        }
        let cell = |field: &str| self.mapping.column(field).map_or("", |c| record.get(c).trim());
        let text = |field: &str| Some(cell(field).to_owned()).filter(|t| !t.is_empty());
        let email = match cell("email") {
            "" => None,
            written => Some(address(written).ok_or_else(|| (Code::BadEmail, Some(clean::shortened(written))))?),
        };
        let external_id = text("external_id");
        if email.is_none() && external_id.is_none() {
            return Err((Code::NoIdentity, None));
        }
        let mut attributes = if self.mapping.preset == Preset::Generic { self.extras(record) } else { Map::new() };
        let tags = tags(cell("tags"));
        if !tags.is_empty() {
            attributes.insert("tags".into(), tags.into());
        }
        let person = NewPerson {
            external_id,
            email,
            first_name: text("first_name"),
            last_name: text("last_name"),
            phone: text("phone"),
            locale: text("locale"),
            time_zone: text("time_zone"),
            country: text("country"),
            city: text("city"),
            attributes,
            consent_source: format!("import:{}", self.mapping.preset.name()),
            first_seen_at: self.time(cell("first_seen_at"), report).filter(|t| *t <= self.now),
            ..NewPerson::default()
        };
        let (person, notes) = person.clean().map_err(|e| (Code::BadValue, Some(e.to_string())))?;
        report.note("time zones left out because they are unknown", notes.iter().filter(|n| n.contains("time zone")).count() as u64);
        let mut answers = self.answers(record, report);
        if let Some(state) = self.assumed
            && person.email.is_some()
            && !answers.iter().any(|a| a.channel == Channel::Email)
        {
            answers.push(Answer { channel: Channel::Email, state, at: None });
        }
        let suppressed = self.suppressed(record, cell("suppressed"));
        Ok(Row { line: record.line, person, answers, suppressed })
    }

    fn time(&mut self, text: &str, report: &mut Report) -> Option<Timestamp> {
        if text.is_empty() {
            return None;
        }
        let at = self.dates.read(text);
        report.note("dates left out because they cannot be read", u64::from(at.is_none()));
        at
    }

    fn answers(&mut self, record: &Record, report: &mut Report) -> Vec<Answer> {
        let cell = |field: &str| self.mapping.column(field).map_or("", |c| record.get(c).trim());
        let (consent, ads, left) = (cell("consent"), cell("ads_consent"), cell("unsubscribed_at"));
        let now = self.now;
        let at = self.time(cell("consent_at"), report).map(|t| t.min(now));
        let mut answers = Vec::new();
        if self.mapping.preset == Preset::Mailchimp {
            // Its exports hold no state: who left has the time of leaving, who joined that of joining.
            if !left.is_empty() {
                let at = self.time(left, report).map(|t| t.min(now));
                answers.push(Answer { channel: Channel::Email, state: Consent::Unsubscribed, at });
            } else if at.is_some() {
                answers.push(Answer { channel: Channel::Email, state: Consent::Subscribed, at });
            }
            return answers;
        }
        for (channel, word) in [(Channel::Email, consent), (Channel::Ads, ads)] {
            match consent_of(word) {
                Some(Consent::Never) => {}
                Some(state) => answers.push(Answer { channel, state, at }),
                None => report.note("consents left out because they are not understood", 1),
            }
        }
        if !left.is_empty() {
            let left_at = self.time(left, report).map(|t| t.min(now));
            answers.push(Answer { channel: Channel::Email, state: Consent::Unsubscribed, at: left_at });
        }
        answers
    }

    fn suppressed(&self, record: &Record, cell: &str) -> Option<String> {
        if self.cleaned_column.is_some_and(|c| !record.get(c).trim().is_empty()) {
            return Some("bounce".into());
        }
        let none =
            matches!(cell.to_ascii_lowercase().as_str(), "" | "[]" | "{}" | "null" | "none" | "false" | "no" | "0" | "never_suppressed");
        (!none).then(|| clean::shortened(cell))
    }

    /// Columns without a field of their own become attributes.
    fn extras(&self, record: &Record) -> Map<String, Value> {
        self.header
            .iter()
            .enumerate()
            .filter(|(at, name)| !name.is_empty() && !self.mapping.uses(*at))
            .filter_map(|(at, name)| {
                let text = record.get(at).trim();
                (!text.is_empty() && text.len() <= 2_000).then(|| (name.chars().take(60).collect(), clean::attribute(text)))
            })
            .take(50)
            .collect()
    }
}

/// `Ann <ann@Example.Test>` → `ann@example.test` (the part before the @ keeps its case); `None` where it is no address.
fn address(written: &str) -> Option<String> {
    let inner = match (written.rfind('<'), written.strip_suffix('>')) {
        (Some(at), Some(cut)) => &cut[at + 1..],
        _ => written.strip_prefix("mailto:").unwrap_or(written),
    };
    people::email_key(inner)?;
    let (local, domain) = inner.trim().rsplit_once('@')?;
    Some(format!("{local}@{}", domain.to_lowercase()))
}

/// `None`: not understood. An empty cell is no answer, and so [`Consent::Never`].
fn consent_of(word: &str) -> Option<Consent> {
    let plain: String = word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    Some(match plain.as_str() {
        "" | "never" | "neversubscribed" | "notsubscribed" | "none" | "unknown" | "nonsubscribed" | "null" => Consent::Never,
        "subscribed" | "yes" | "y" | "true" | "1" | "optin" | "optedin" | "active" | "granted" => Consent::Subscribed,
        "unsubscribed" | "no" | "n" | "false" | "0" | "optout" | "optedout" | "revoked" => Consent::Unsubscribed,
        _ => return None,
    })
}

/// `"VIP","Loyal"`, `VIP, Loyal`, `VIP;Loyal` → `["VIP", "Loyal"]`.
fn tags(cell: &str) -> Vec<Value> {
    let mut seen = HashSet::new();
    cell.trim_matches(['[', ']'])
        .split([',', ';', '|'])
        .map(|t| t.trim().trim_matches(['"', '\'']).trim())
        .filter(|t| !t.is_empty() && t.chars().count() <= 100 && seen.insert(*t))
        .take(100)
        .map(|t| Value::String(t.to_owned()))
        .collect()
}

/// Writes rows of distinct people. Strangers get their consent with the profile; of people known before every answer is held against what
/// was answered last.
async fn write(platform: &Platform, rows: Vec<Row>, report: &mut Report, refusals: &mut Refusals) -> Result<(), ImportError> {
    let rows = without_erased(platform, rows, refusals).await?;
    if rows.is_empty() {
        return Ok(());
    }
    if report.dry_run {
        report.accepted += rows.len() as u64;
        return Ok(());
    }
    match write_batch(platform, &rows, report).await {
        // Somebody was erased in between: look again.
        Err(ImportError::People(people::PeopleError::Erased)) => Box::pin(write(platform, rows, report, refusals)).await,
        // One profile would grow beyond a limit: find out which.
        Err(ImportError::People(people::PeopleError::Invalid { .. })) if rows.len() > 1 => {
            for row in rows {
                if let Err(e) = write_batch(platform, std::slice::from_ref(&row), report).await {
                    match e {
                        ImportError::People(people::PeopleError::Invalid { detail, .. }) => {
                            refusals.explain(row.line, Code::BadValue, detail)
                        }
                        other => return Err(other),
                    }
                }
            }
            Ok(())
        }
        Err(ImportError::People(people::PeopleError::Invalid { detail, .. })) => {
            refusals.explain(rows[0].line, Code::BadValue, detail);
            Ok(())
        }
        other => other,
    }
}

/// Refuses the rows of people who were erased.
async fn without_erased(platform: &Platform, rows: Vec<Row>, refusals: &mut Refusals) -> Result<Vec<Row>, ImportError> {
    let names: Vec<Identity> = rows.iter().flat_map(|r| identities(&r.person)).collect();
    let erased = people::erased_among(&platform.db, &platform.signer, &names).await?;
    if erased.is_empty() {
        return Ok(rows);
    }
    let (gone, rest): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|r| identities(&r.person).iter().any(|n| erased.contains_key(n)));
    gone.iter().for_each(|row| refusals.add(row.line, Code::Erased));
    Ok(rest)
}

async fn write_batch(platform: &Platform, rows: &[Row], report: &mut Report) -> Result<(), ImportError> {
    let now = platform.now();
    let names: Vec<Vec<Identity>> = rows.iter().map(|r| identities(&r.person)).collect();
    let known = people::find_many(&platform.db, &names.concat()).await?;
    let of_row = |at: usize| names[at].iter().find_map(|n| known.get(n)).copied();
    let ids: Vec<PersonId> = known.values().copied().collect();
    let before = people::get_many(&platform.db, &ids).await?;
    let mut profiles: Vec<NewPerson> = rows.iter().map(|r| r.person.clone()).collect();
    let mut later: Vec<people::Answer> = Vec::new();
    let mut consents = 0;
    for (at, row) in rows.iter().enumerate() {
        match of_row(at).and_then(|id| before.get(&id)) {
            None => consents += give(&mut profiles[at], &row.answers),
            Some(person) => later.extend(row.answers.iter().filter(|a| counts(person, **a, report)).map(|a| people::Answer {
                person: person.id,
                channel: a.channel,
                state: a.state,
                source: &row.person.consent_source,
                at: a.at.unwrap_or(now),
            })),
        }
    }
    let suppressed: Vec<(&str, &str)> = rows.iter().filter_map(|r| Some((r.person.email.as_deref()?, r.suppressed.as_deref()?))).collect();
    let mut tx = platform.db.begin().await?;
    if !people::erased_among_in(&mut tx, &platform.signer, &names.concat()).await?.is_empty() {
        return Err(people::PeopleError::Erased.into());
    }
    let ids = people::bulk_upsert(&mut tx, &profiles, now).await?;
    let answered = people::answer(&mut tx, &later, now).await?;
    let mut silenced = 0;
    for (email, why) in suppressed {
        let reason = if why == "bounce" { "bounce" } else { "import" };
        silenced += u64::from(people::suppress(&mut tx, email, reason, Some(why), now).await?);
    }
    tx.commit().await?;
    let after = people::get_many(&platform.db, &ids).await?;
    report.accepted += rows.len() as u64;
    report.wrote("people added", (0..rows.len()).filter(|at| of_row(*at).is_none()).count() as u64);
    report.wrote("people changed", changed(&before, &after));
    report.wrote("consents recorded", consents + answered.iter().filter(|a| a.logged).count() as u64);
    report.note("answers that an answer given later has replaced", answered.iter().filter(|a| a.superseded).count() as u64);
    report.wrote("addresses suppressed", silenced);
    Ok(())
}

fn changed(before: &HashMap<PersonId, Person>, after: &HashMap<PersonId, Person>) -> u64 {
    before.iter().filter(|(id, person)| after.get(id).is_some_and(|a| a != *person)).count() as u64
}

/// Puts a stranger's answers into the profile, per channel the newest; returns how many.
fn give(profile: &mut NewPerson, answers: &[Answer]) -> u64 {
    let mut given = 0;
    for channel in [Channel::Email, Channel::Ads] {
        // Without a time, leaving counts as newest: it errs on the quiet side.
        let newest = answers.iter().filter(|a| a.channel == channel).max_by_key(|a| match (a.at, a.state) {
            (Some(at), _) => (at, a.state == Consent::Unsubscribed),
            (None, Consent::Unsubscribed) => (Timestamp(i64::MAX), true),
            (None, _) => (Timestamp::MIN, false),
        });
        let Some(answer) = newest else { continue };
        match channel {
            Channel::Email => profile.email_consent = Some(answer.state),
            Channel::Ads => profile.ads_consent = Some(answer.state),
        }
        profile.consent_at = answer.at.or(profile.consent_at);
        given += 1;
    }
    given
}

/// Whether an answer counts: one without a date undoes no "no".
fn counts(person: &Person, answer: Answer, report: &mut Report) -> bool {
    let current = person.consent(answer.channel);
    if answer.at.is_some() {
        return true;
    }
    if answer.state == Consent::Subscribed && current == Consent::Unsubscribed {
        report.note("kept unsubscribed: the file says subscribed without a date", 1);
        return false;
    }
    current != answer.state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(address("Ann <Ann@Example.TEST>"), Some("Ann@example.test".into()));
        assert_eq!(address("mailto:a@example.test"), Some("a@example.test".into()));
        for bad in ["", "ann", "a b@example.test", "a@b", "a@example.test, b@example.test", "<>", "=1@x"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_of_consent() {
        assert_eq!(consent_of("NEVER_SUBSCRIBED"), Some(Consent::Never));
        assert_eq!(consent_of(" Yes "), Some(Consent::Subscribed));
        assert_eq!(consent_of("opted-out"), Some(Consent::Unsubscribed));
        assert_eq!(consent_of("maybe"), None);
    }

    #[test]
    fn lists_of_tags() {
        let list = |t: &str| tags(t).iter().map(|v| v.as_str().unwrap_or("").to_owned()).collect::<Vec<_>>();
        assert_eq!(list("\"VIP\",\"Loyal\", VIP"), ["VIP", "Loyal"]);
        assert_eq!(list("a;b|c"), ["a", "b", "c"]);
        assert!(list(" , ").is_empty());
    }

    #[test]
    fn without_a_date_the_quiet_side_wins() {
        let mut p = NewPerson::default();
        let answer = |state, at| Answer { channel: Channel::Email, state, at };
        give(&mut p, &[answer(Consent::Subscribed, Some(Timestamp(5))), answer(Consent::Unsubscribed, None)]);
        assert_eq!((p.email_consent, p.consent_at), (Some(Consent::Unsubscribed), None));
        give(&mut p, &[answer(Consent::Subscribed, Some(Timestamp(9))), answer(Consent::Unsubscribed, Some(Timestamp(5)))]);
        assert_eq!((p.email_consent, p.consent_at), (Some(Consent::Subscribed), Some(Timestamp(9))));
    }
}
