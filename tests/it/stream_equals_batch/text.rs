//! A case as a text that can be pasted: the query, and in comments behind it DuckDB's, the rows, and the epochs in which they come.

use libtest_mimic::Failed;

use super::answer::difference;
use super::drive::Case;
use super::duckdb::DuckDb;
use super::rows::{PARTITIONS_MAX, Row, Rows, STREAMS, StaticRow};
use super::script::{After, Chunk, Epoch, Script, Undone};
use super::{Against, Choices, Query};
use crate::services::Outcome;

pub(super) fn shown(query: &str, duckdb: Option<&str>, rows: &Rows, script: Option<&Script>) -> String {
    let mut lines = vec![format!("{query};")];
    lines.extend(duckdb.map(|query| format!("-- duckdb {}", query.replace('\n', " "))));
    lines.extend(rows.statics.iter().map(|row| format!("-- static {}", row.shown())));
    for ((name, ..), partitions) in STREAMS.iter().zip(&rows.streams) {
        for (partition, rows) in partitions.iter().enumerate() {
            lines.push(format!("-- partition {name}"));
            lines.extend(rows.iter().map(|row| format!("-- row {name} {partition} {}", row.shown())));
        }
    }
    if let Some(script) = script {
        lines.push(format!("-- plan {} {}", script.partitions, script.wide_rows));
        lines.extend(script.epochs.iter().map(|epoch| format!("-- epoch{}", shown_epoch(epoch))));
    }
    lines.join("\n")
}

fn shown_epoch(epoch: &Epoch) -> String {
    let mut text = String::new();
    for Chunk { slot, partition, rows } in &epoch.chunks {
        text += &format!(" take {slot} {partition} {rows}");
    }
    for slot in &epoch.ended {
        text += &format!(" end {slot}");
    }
    text += match epoch.undone {
        None => "",
        Some(Undone { to_the_end: false }) => " undone",
        Some(Undone { to_the_end: true }) => " undone-at-end",
    };
    text += match epoch.after {
        After::Nothing => "",
        After::Checkpoint => " checkpoint",
        After::Crash => " crash",
    };
    text
}

/// A case as it was printed.
#[derive(Debug, Default)]
struct Printed {
    query: String,
    duckdb: Option<String>,
    rows: Rows,
    script: Option<Script>,
}

fn read(text: &str) -> Result<Printed, Failed> {
    let mut printed = Printed::default();
    printed.rows.streams = vec![Vec::new(); STREAMS.len()];
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("-- ") else {
            printed.query += line;
            printed.query.push('\n');
            continue;
        };
        let (what, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        match what {
            "duckdb" => printed.duckdb = Some(rest.to_owned()),
            "static" => printed.rows.statics.push(StaticRow::read(rest)?),
            "partition" => printed.rows.streams[stream(rest)?].push(Vec::new()),
            "row" => {
                let mut words = rest.splitn(3, ' ');
                let (table, partition) = (stream(words.next().unwrap_or_default())?, number(words.next())?);
                let partitions = &mut printed.rows.streams[table];
                let rows = partitions.get_mut(partition).ok_or("a row of a partition that is not there")?;
                rows.push(Row::read(words.next().unwrap_or_default())?);
            }
            "plan" => {
                let mut words = rest.split(' ');
                let (partitions, wide_rows) = (number(words.next())?, number(words.next())?);
                printed.script = Some(Script { partitions, wide_rows, epochs: Vec::new() });
            }
            "epoch" => {
                let script = printed.script.as_mut().ok_or("an epoch without a plan")?;
                script.epochs.push(read_epoch(rest)?);
            }
            _ => {}
        }
    }
    Ok(printed)
}

fn read_epoch(text: &str) -> Result<Epoch, Failed> {
    let mut epoch = Epoch::default();
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        match word {
            "take" => {
                let (slot, partition) = (number(words.next())?, number(words.next())?);
                epoch.chunks.push(Chunk { slot, partition, rows: number(words.next())? });
            }
            "end" => epoch.ended.push(number(words.next())?),
            "undone" => epoch.undone = Some(Undone { to_the_end: false }),
            "undone-at-end" => epoch.undone = Some(Undone { to_the_end: true }),
            "checkpoint" => epoch.after = After::Checkpoint,
            "crash" => epoch.after = After::Crash,
            other => return Err(format!("an epoch has no {other:?}").into()),
        }
    }
    Ok(epoch)
}

fn stream(name: &str) -> Result<usize, Failed> {
    STREAMS
        .iter()
        .position(|(stream, ..)| *stream == name)
        .ok_or_else(|| format!("no stream is called {name:?}").into())
}

fn number(word: Option<&str>) -> Result<usize, Failed> {
    Ok(word.unwrap_or_default().parse()?)
}

/// Runs a case that was printed.
pub(super) fn run(text: &str, against: Against) -> Outcome {
    let Printed { query, duckdb, rows, script } = read(text)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = |failure: super::Failure| Failed::from(failure.text);
    let case = Case::new(&query, rows).map_err(failed)?;
    let batch = runtime.block_on(case.batch()).map_err(failed)?;
    let different = match (against, script, duckdb) {
        (Against::Streams, Some(script), _) => runtime.block_on(case.compared(&script, batch)).map_err(failed)?,
        (Against::DuckDb, _, Some(query)) => match DuckDb::start()?.answer(&query, &case.rows)? {
            Some(answer) => difference(&answer, &batch, ["DuckDB", "batch"]),
            None => None,
        },
        _ => None,
    };
    different.map_or(Ok(()), |different| Err(different.into()))
}

/// What is printed says all that there is.
pub(super) fn is_read_again() -> Outcome {
    for seed in 0..50 {
        let (query, mut choices) = Query::draw(Choices::random(seed));
        let rows = Rows::draw(&mut choices, query.rows);
        let sizes = vec![vec![5; PARTITIONS_MAX]; 2];
        let script = Script::draw(&mut choices, &sizes);
        let text = shown(&query.text, query.duckdb.as_deref(), &rows, Some(&script));
        let again = read(&text)?;
        let query = again.query.trim_end().trim_end_matches(';').to_owned();
        let shown = shown(&query, again.duckdb.as_deref(), &again.rows, again.script.as_ref());
        assert_eq!(text, shown);
    }
    Ok(())
}
