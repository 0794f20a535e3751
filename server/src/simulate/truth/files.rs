//! The truth as files: `summary.json`, `timeline.json`, `dead_letters.ndjson`, those of the sessions, and `<query>.ndjson` with every
//! row.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::audience::KINDS;
use super::super::{SimulationSettings, Topic};
use super::{Answers, Sessions, Truth, Uplift};
use crate::error::{Error, Result};

/// Windowed aggregates of a query that each of its rows goes into: a late row has an entry of each.
fn aggregates_of(query: &str) -> u64 {
    match query {
        "event_alerts" | "shots_with_players" | "match_archive" => 0,
        _ => 1,
    }
}

/// Writes all files into `folder`, which is made where it is missing. Call it when the simulation has ended.
///
/// # Errors
/// `Unavailable` where the folder cannot be written.
pub(in super::super) fn write(truth: &mut Truth, settings: &SimulationSettings, folder: &Path) -> Result<()> {
    truth.passed(i64::MAX);
    let unwritable = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Error::unavailable(format!("cannot write {path}")).caused_by(error)
    };
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let mut files: Vec<(String, String)> = Vec::new();
    let mut queries = Map::new();
    if let Some(answers) = &truth.answers {
        let mut rows = answers.pitch.rows();
        rows.insert("goal_uplift", answers.uplifts.iter().flat_map(Uplift::rows).collect());
        rows.extend(answers.rows.iter().map(|(query, rows)| (*query, rows.clone())));
        for query in ["crowd_10s", "device_minutes", "engagement_per_minute", "sentiment_30s"] {
            rows.entry(query).or_default();
        }
        let counts = answers.counts();
        for (query, mut rows) in rows {
            rows.sort_unstable();
            let (punctual, late) = counts.get(query).copied().unwrap_or_default();
            queries.insert(
                query.to_owned(),
                json!({"result_rows": rows.len(), "input_rows": punctual, "late_rows": late,
                       "late_entries": late * aggregates_of(query)}),
            );
            files.push((format!("{query}.ndjson"), lines(rows)));
        }
        // There may be as many sessions as acts.
        for (name, write) in SESSIONS {
            let path = folder.join(name);
            answers.write_sessions(&path, write).map_err(unwritable(&path))?;
        }
    }
    files.push(("dead_letters.ndjson".to_owned(), lines(truth.dead_letters())));
    files.push(("timeline.json".to_owned(), pretty(&json!(truth.matches))?));
    files.push(("summary.json".to_owned(), pretty(&truth.summary(settings, queries))?));
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).map_err(unwritable(&path))?;
    }
    Ok(())
}

fn lines(rows: Vec<String>) -> String {
    rows.into_iter().map(|row| row + "\n").collect()
}

fn pretty(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::bug("the truth cannot be written as JSON").caused_by(error))?;
    Ok(text + "\n")
}

type WriteSessions = fn(&Sessions, &mut dyn Write) -> io::Result<()>;

const SESSIONS: [(&str, WriteSessions); 2] =
    [("sessions.ndjson", Sessions::write_named), ("sessions_by_gap.ndjson", Sessions::write_by_gap)];

impl Answers {
    fn write_sessions(&self, path: &Path, write: WriteSessions) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for sessions in &self.sessions {
            write(sessions, &mut out)?;
        }
        out.flush()
    }

    /// (punctual, late) records by query that reads them.
    fn counts(&self) -> BTreeMap<&'static str, (u64, u64)> {
        let mut counts: BTreeMap<_, _> =
            self.pitch.queries.iter().map(|(query, copies)| (*query, (copies.punctual, copies.late))).collect();
        for crowd in &self.crowds {
            for query in ["crowd_10s", "device_minutes", "engagement_per_minute", "goal_uplift"] {
                let (punctual, late) = counts.entry(query).or_default();
                *punctual += crowd.punctual.all;
                *late += crowd.late.all;
            }
            let (punctual, late) = counts.entry("sentiment_30s").or_default();
            *punctual += crowd.punctual.reactions;
            *late += crowd.late.reactions;
        }
        counts
    }
}

impl Truth {
    fn dead_letters(&self) -> Vec<String> {
        let row = |((topic, verdict), records): (&(Topic, super::Verdict), &u64)| {
            json!({"topic": topic.name(), "kind": verdict.kind, "field": verdict.field, "needs": verdict.needs,
                   "reason": verdict.reason, "records": records})
            .to_string()
        };
        self.dead.iter().map(row).collect()
    }

    fn summary(&self, settings: &SimulationSettings, queries: Map<String, Value>) -> Value {
        let mut dead: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, verdict), records) in &self.dead {
            *dead.entry(verdict.kind).or_default() += records;
        }
        let topics: Map<String, Value> =
            Topic::ALL.iter().map(|topic| (topic.name().to_owned(), json!(self.topic(*topic)))).collect();
        let viewers =
            self.answers.as_ref().map(|answers| answers.crowds.iter().map(|crowd| crowd.viewers()).sum::<u64>());
        let engagements: Map<String, Value> =
            KINDS.iter().zip(self.engagements).map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
        json!({
            "settings": settings.described(),
            "topics": topics,
            "match_events": self.match_events,
            "engagements": engagements,
            "viewers": viewers,
            "queries": queries,
            "dead": dead,
            "goals": self.goals,
        })
    }
}
