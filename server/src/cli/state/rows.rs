//! Checkpoints as rows, for people and programs.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};

use crate::checkpoint::{Accounting, Finding, FoundChain, Manifest, OutputState, SourceState, ranges};
use crate::clock::Micros;
use crate::error::Result;

/// A chain a row. `now`: ages count to it.
pub(super) fn of_chains(chains: &[FoundChain], now: Micros) -> Result<RecordBatch> {
    let newest = || chains.iter().map(|chain| chain.newest.as_ref());
    let texts = |texts: Vec<Option<String>>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let numbers = |numbers: Vec<Option<u64>>| Arc::new(UInt64Array::from(numbers)) as ArrayRef;
    let ages = newest().map(|of| of.map(|of| now.saturating_sub(of.created_at).max(0) / 1_000_000)).collect::<Vec<_>>();
    let state = |chain: &FoundChain| match (chain.unread.as_slice(), &chain.newest) {
        ([], Some(_)) => "readable".to_owned(),
        ([], None) => "no manifest is there".to_owned(),
        (unread, _) => {
            let mut ids: Vec<u64> = unread.iter().map(|(id, _)| *id).collect();
            ids.sort_unstable();
            format!("cannot be read: checkpoints {}", ranges(&ids))
        }
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("query", texts(chains.iter().map(|chain| Some(chain.name.clone())).collect()), false),
        ("checkpoint", numbers(newest().map(|of| of.map(|of| of.id)).collect()), true),
        ("written", texts(newest().map(|of| of.map(|of| moment(of.created_at))).collect()), true),
        ("age_seconds", Arc::new(Int64Array::from(ages)) as ArrayRef, true),
        ("generation", numbers(newest().map(|of| of.map(|of| of.generation)).collect()), true),
        ("version", texts(newest().map(|of| of.map(|of| of.fingerprint.chars().take(8).collect())).collect()), true),
        ("lineage", texts(newest().map(|of| of.map(lineage_of)).collect()), true),
        ("format", numbers(newest().map(|of| of.map(|of| of.format_version.into())).collect()), true),
        ("checkpoints", numbers(chains.iter().map(|chain| Some(chain.ids.len() as u64)).collect()), false),
        ("kept", numbers(chains.iter().map(|chain| Some(chain.kept.len() as u64)).collect()), false),
        ("objects", numbers(chains.iter().map(|chain| Some(chain.objects)).collect()), false),
        ("bytes", numbers(chains.iter().map(|chain| Some(chain.bytes)).collect()), false),
        ("state", texts(chains.iter().map(|chain| Some(state(chain))).collect()), false),
    ])?)
}

/// What a checkpoint says, a fact a row. `meaning`: of the version of the query.
pub(super) fn of_checkpoint(manifest: &Manifest, meaning: Option<&str>) -> Result<RecordBatch> {
    let mut facts: Vec<[String; 3]> = Vec::new();
    let mut say = |of: &str, what: &str, value: String| facts.push([of.to_owned(), what.to_owned(), value]);
    say("checkpoint", "id", manifest.id.to_string());
    say("checkpoint", "written", moment(manifest.created_at));
    say("checkpoint", "by", format!("touchline {}, generation {}", manifest.engine_version, manifest.generation));
    say("checkpoint", "instance", manifest.instance.to_string());
    say("checkpoint", "lineage", lineage_of(manifest));
    say("checkpoint", "format", manifest.format_version.to_string());
    say("checkpoint", "query version", manifest.fingerprint.clone());
    meaning.into_iter().flat_map(str::lines).for_each(|line| say("query", "means", line.to_owned()));
    for (name, source) in &manifest.sources {
        of_source(name, source, &mut say);
    }
    for operator in &manifest.operators {
        let of = format!("operator {}", operator.id);
        let sections = || operator.segments.iter().map(|segment| &segment.section);
        let (rows, bytes) =
            (sections().map(|section| section.rows).sum::<u64>(), sections().map(|of| of.length).sum::<u64>());
        say(&of, "kind", format!("{} {}", operator.kind, operator.state_version));
        say(&of, "state", format!("{} segments, {rows} rows, {bytes} bytes", operator.segments.len()));
        let inputs = operator.marks.len().max(usize::from(operator.watermark.is_some()));
        for input in 0..inputs {
            say(&of, &format!("mark of input {input}"), marked(operator.mark_of(input)));
        }
    }
    for (name, output) in &manifest.outputs {
        of_output(name, output, &mut say);
    }
    let Accounting { rows_in, rows_out, late, late_partly, dead, filtered, held: _, far_future } = manifest.accounting;
    for (what, rows) in [
        ("rows in", rows_in),
        ("rows out", rows_out),
        ("late", late),
        ("late for a part", late_partly),
        ("dead letters", dead),
        ("filtered", filtered),
        ("far in the future", far_future),
    ] {
        say("rows so far", what, rows.to_string());
    }
    let column = |at: usize| Arc::new(StringArray::from_iter_values(facts.iter().map(|fact| &fact[at]))) as ArrayRef;
    Ok(RecordBatch::try_from_iter([("of", column(0)), ("what", column(1)), ("value", column(2))])?)
}

fn of_source(name: &str, source: &SourceState, say: &mut dyn FnMut(&str, &str, String)) {
    let of = format!("source {name}");
    say(&of, "watermark", marked(source.watermark));
    source.topic_id.iter().for_each(|id| say(&of, "topic id", id.clone()));
    for (partition, state) in &source.offsets {
        let value = format!("next offset {}, newest time {}", state.next, marked(state.event_time_max));
        say(&of, &format!("partition {partition}"), value);
    }
    for (partition, file) in &source.files {
        say(&of, &format!("file {partition}"), format!("{}, {} bytes", file.name, file.bytes));
    }
}

fn of_output(name: &str, output: &OutputState, say: &mut dyn FnMut(&str, &str, String)) {
    let of = format!("output {name}");
    let tail: u64 = output.tail.iter().map(|entry| entry.section.rows).sum();
    let checkpoints: Vec<u64> = output.tail.iter().map(|entry| entry.checkpoint).collect();
    say(&of, "tail", format!("{tail} rows of checkpoints {}", ranges(&checkpoints)));
    let lists = &output.sealed.indexes;
    let files = output.sealed.recent.len() as u64 + lists.iter().map(|list| list.files).sum::<u64>();
    let sealed =
        output.sealed.recent.iter().map(|file| file.rows).chain(lists.iter().map(|list| list.rows)).sum::<u64>();
    say(&of, "sealed", format!("{sealed} rows in {files} public files"));
    for intent in &output.intents {
        let value = format!("{} files of checkpoints {}-{}", intent.files.len(), intent.from, intent.to);
        say(&of, "about to be sealed", value);
    }
    let runs = output.hot_runs.iter().map(|run| run.section.rows);
    let hot: u64 = output.hot.iter().map(|entry| entry.section.rows).chain(runs).sum();
    if hot > 0 {
        say(&of, "kept for the hot table", format!("{hot} rows"));
    }
    if let Some(table) = &output.hot_table {
        let listed: u64 = table.lists.iter().map(|list| list.runs).sum();
        let value = format!(
            "has had all rows up to checkpoint {}; all of those after {} are there, {listed} runs of them in lists",
            table.applied, table.floor
        );
        say(&of, "hot table", value);
    }
    if let Some(early) = &output.early {
        let rows: u64 = early.sections.iter().map(|early| early.section.rows).sum();
        say(&of, "may still change", format!("{rows} rows, final up to {}", marked(early.final_through)));
    }
    for (column, mark) in &output.watermarks {
        let idle = if mark.idle { ", idle" } else { "" };
        say(&of, &format!("watermark of {column}"), format!("{}{idle}", marked(mark.at)));
    }
}

/// A damaged or missing object a row.
pub(super) fn of_findings(findings: &[(String, Finding)]) -> Result<RecordBatch> {
    let text = |text: fn(&(String, Finding)) -> String| {
        Arc::new(StringArray::from_iter_values(findings.iter().map(text))) as ArrayRef
    };
    Ok(RecordBatch::try_from_iter([
        ("query", text(|(query, _)| query.clone())),
        ("object", text(|(_, finding)| finding.object.clone())),
        ("damage", text(|(_, finding)| finding.detail.clone())),
        ("needed_by", text(|(_, finding)| ranges(&finding.needed_by))),
    ])?)
}

/// Its id.
fn lineage_of(manifest: &Manifest) -> String {
    match manifest.lineage.is_unknown() {
        true => "none yet".to_owned(),
        false => manifest.lineage.id.to_string(),
    }
}

fn marked(at: Option<Micros>) -> String {
    at.map_or_else(|| "none yet".to_owned(), moment)
}

/// UTC, to the millisecond.
pub(super) fn moment(micros: Micros) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| micros.to_string(), |moment| moment.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;

    use super::*;
    use crate::checkpoint::find_chains;
    use crate::store::Store;

    #[tokio::test]
    async fn a_chain_is_a_row_with_its_age_and_what_cannot_be_read_of_it() {
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()), "memory://");
        let by = crate::checkpoint::Generation::claim(&store).await.unwrap();
        let clock = crate::clock::Clock::manual(5_000_000);
        let mut opened = crate::checkpoint::Chain::open(&store, "v", by, "f1", &clock).await.unwrap();
        let draft = opened.chain.draft(6_000_000);
        let second = opened.chain.commit(draft).await.unwrap();
        let table = |chains: &[FoundChain]| {
            pretty_format_batches(&[of_chains(chains, 9_000_000).unwrap()]).unwrap().to_string()
        };
        let text = table(&find_chains(&store).await.unwrap());
        for said in ["| v ", "| 2 ", "1970-01-01T00:00:06.000Z", "| 3 ", "| readable"] {
            assert!(text.contains(said), "{said}: {text}");
        }
        let shown = of_checkpoint(opened.chain.head(), Some("lateness 0\n")).unwrap();
        assert!(pretty_format_batches(&[shown]).unwrap().to_string().contains("generation 1"));
        store.put(&second.object.as_str().into(), "x".into()).await.unwrap();
        let text = table(&find_chains(&store).await.unwrap());
        for said in ["| 1 ", "1970-01-01T00:00:05.000Z", "cannot be read: checkpoints 2"] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}
