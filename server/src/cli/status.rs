//! How the queries are doing, in words and numbers for a person: pure text from two readings.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Micros;
use crate::status::QueryState;
use crate::tables::Published;

/// A block longer than a screen cannot be drawn over itself.
const QUERIES_SHOWN: usize = 20;
const NAME_WIDTH: usize = 28;

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) elapsed: Duration,
    /// Records read of all sources; one that several queries read counts once.
    pub(super) events: u64,
    pub(super) queries: Vec<QueryReading>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct QueryReading {
    pub(super) name: String,
    pub(super) state: QueryState,
    pub(super) reason: Option<String>,
    pub(super) rows_out: u64,
    /// The earliest of its sources'.
    pub(super) watermark: Option<Micros>,
    pub(super) state_bytes: u64,
}

impl Reading {
    pub(super) fn take(published: &Published, elapsed: Duration) -> Self {
        let mut positions: BTreeMap<String, i64> = BTreeMap::new();
        let mut queries = Vec::new();
        for query in published.queries() {
            let (state, reason) = query.get();
            let sources = query.sources.read();
            // Of a view the checkpoints are counted, and not what is in them.
            for (source, status) in sources.iter().filter(|(source, _)| published.query(source).is_none()) {
                let read: i64 = status.partitions.values().map(|partition| partition.position.max(0)).sum();
                let most = positions.entry(source.clone()).or_default();
                *most = read.max(*most);
            }
            let watermark = if sources.values().all(|source| source.watermark.is_some()) {
                sources.values().filter_map(|source| source.watermark).min()
            } else {
                None
            };
            queries.push(QueryReading {
                name: query.name.clone(),
                state,
                reason,
                rows_out: query.rows_out.load(Ordering::Relaxed),
                watermark,
                state_bytes: query.state_bytes.load(Ordering::Relaxed),
            });
        }
        let events = positions.values().sum::<i64>();
        Reading { elapsed, events: u64::try_from(events).unwrap_or(0), queries }
    }

    fn events_per_second(&self, last: &Reading) -> u64 {
        let seconds = self.elapsed.saturating_sub(last.elapsed).as_secs_f64();
        if seconds <= 0.0 {
            return 0;
        }
        (self.events.saturating_sub(last.events) as f64 / seconds).round() as u64
    }
}

/// One line for a log.
pub(super) fn line(now: &Reading, last: &Reading) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for query in &now.queries {
        *states.entry(query.state.name()).or_default() += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let rows: u64 = now.queries.iter().map(|query| query.rows_out).sum();
    format!(
        "{:>4} s  {} events, {}/s  {} rows out  queries: {}",
        now.elapsed.as_secs(),
        grouped(now.events),
        grouped(now.events_per_second(last)),
        grouped(rows),
        if states.is_empty() { "none".to_owned() } else { states.join(", ") }
    )
}

/// A few lines for a terminal: totals, then a line a query.
pub(super) fn block(now: &Reading, last: &Reading, colours: bool) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{} s   {} events   {} events/s",
            now.elapsed.as_secs(),
            grouped(now.events),
            grouped(now.events_per_second(last))
        ),
        format!(
            "{:<NAME_WIDTH$} {:<11} {:>12} {:>9}  {:<19} {:>9}",
            "query", "state", "rows out", "new", "watermark (UTC)", "memory"
        ),
    ];
    for query in now.queries.iter().take(QUERIES_SHOWN) {
        let before = last.queries.iter().find(|other| other.name == query.name).map_or(0, |other| other.rows_out);
        let state = format!("{:<11}", query.state.name());
        let state = match (colours, query.state) {
            (false, _) => state,
            (true, of) if of.is_well() => format!("\x1b[32m{state}\x1b[0m"),
            (true, QueryState::Starting | QueryState::Stopping | QueryState::Lagging | QueryState::Degraded) => {
                format!("\x1b[33m{state}\x1b[0m")
            }
            (true, _) => format!("\x1b[31m{state}\x1b[0m"),
        };
        let name: String = query.name.chars().take(NAME_WIDTH).collect();
        lines.push(format!(
            "{name:<NAME_WIDTH$} {state} {:>12} {:>9}  {:<19} {:>9}",
            grouped(query.rows_out),
            format!("+{}", grouped(query.rows_out.saturating_sub(before))),
            query.watermark.map_or_else(|| "-".to_owned(), moment),
            bytes(query.state_bytes),
        ));
    }
    if now.queries.len() > QUERIES_SHOWN {
        lines.push(format!("… and {} more", now.queries.len() - QUERIES_SHOWN));
    }
    lines
}

fn moment(micros: Micros) -> String {
    chrono::DateTime::from_timestamp_micros(micros)
        .map_or_else(|| "-".to_owned(), |moment| moment.format("%Y-%m-%d %H:%M:%S").to_string())
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, factor)| count >= *factor) {
        Some((unit, factor)) => format!("{:.1} {unit}", count as f64 / *factor as f64),
        None => format!("{count} B"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::status::{PartitionStatus, QueryStatus, SourceStatus};

    #[test]
    fn a_source_that_two_queries_read_counts_once() {
        let published = Published::default();
        for (name, position) in [("a", 700), ("b", 900)] {
            let status = QueryStatus::new(name, "");
            let partitions = [
                (0, PartitionStatus { position, ..Default::default() }),
                (1, PartitionStatus { position: 100, ..Default::default() }),
            ];
            let source = SourceStatus { watermark: None, partitions: partitions.into() };
            status.sources.write().insert("events".to_owned(), source);
            published.put_query(Arc::new(status));
        }
        assert_eq!(Reading::take(&published, Duration::ZERO).events, 1000);
    }

    fn reading(elapsed: u64, events: u64, rows_out: u64) -> Reading {
        let query = QueryReading {
            name: "momentum_5m".to_owned(),
            state: QueryState::Running,
            reason: None,
            rows_out,
            watermark: Some(1_717_689_600_000_000),
            state_bytes: 3 << 20,
        };
        Reading { elapsed: Duration::from_secs(elapsed), events, queries: vec![query] }
    }

    #[test]
    fn the_line_and_the_block_show_rates_between_two_readings() {
        let (last, now) = (reading(5, 10_000, 7), reading(10, 1_250_000, 1_007));
        assert_eq!(line(&now, &last), "  10 s  1,250,000 events, 248,000/s  1,007 rows out  queries: 1 RUNNING");
        assert_eq!(
            block(&now, &last, false),
            [
                "10 s   1,250,000 events   248,000 events/s",
                "query                        state           rows out       new  watermark (UTC)        memory",
                "momentum_5m                  RUNNING            1,007    +1,000  2024-06-06 16:00:00   3.0 MiB",
            ]
        );
        assert!(block(&now, &last, true)[2].contains("\x1b[32mRUNNING    \x1b[0m"));
        assert_eq!(line(&Reading::default(), &Reading::default()), "   0 s  0 events, 0/s  0 rows out  queries: none");
    }
}
