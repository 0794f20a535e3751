//! The list of metrics, with their units: read from the status of each query when Prometheus asks, never counted twice.
//!
//! Counters go on across restarts, because they are part of each checkpoint.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::clock::{Clock, Micros};
use crate::error::{Error, Result};
use crate::status::{LookupStatus, PartitionStatus, QueryState, QueryStatus, SourceStatus};
use crate::tables::{AdHocFigures, Published};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub(super) fn new(published: Arc<Published>, clock: Clock) -> Self {
        let (started, began) = (clock.now(), clock.steady());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(FromStatus { published, clock, started, began }));
        Metrics { registry }
    }

    pub(super) fn text(&self) -> Result<String> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)
            .map_err(|error| Error::bug("metrics cannot be written").caused_by(error))?;
        Ok(out)
    }
}

#[derive(Debug)]
struct FromStatus {
    published: Arc<Published>,
    clock: Clock,
    /// Wall clock.
    started: Micros,
    /// Steady time.
    began: Micros,
}

type CounterOf = (&'static str, &'static str, fn(&QueryStatus) -> f64);

/// Without their suffix `_total`.
const COUNTERS: [CounterOf; 13] = [
    ("touchline_query_restarts", "Starts after an error, since the server started", |q| count(&q.restarts)),
    ("touchline_query_input_rows", "Rows read, dead letters included", |q| count(&q.rows_in)),
    ("touchline_query_output_rows", "Rows emitted", |q| count(&q.rows_out)),
    ("touchline_query_late_rows", "Rows dropped as late, once for each window they missed", |q| count(&q.rows_late)),
    ("touchline_query_dead_letters", "Records that could not be decoded", |q| count(&q.rows_dead)),
    ("touchline_query_far_future_rows", "Rows whose event time lies too far ahead to move the watermark", |q| {
        count(&q.rows_far_future)
    }),
    ("touchline_query_epochs", "Epochs run", |q| count(&q.epochs)),
    ("touchline_query_epoch_seconds", "Time spent in epochs, in seconds", |q| count(&q.epoch_micros) / 1e6),
    ("touchline_query_checkpoint_failures", "Checkpoints that failed and were tried again", |q| {
        count(&q.checkpoint_failures)
    }),
    ("touchline_query_postgres_failures", "Attempts to write the hot table that failed", |q| {
        count(&q.postgres_failures)
    }),
    ("touchline_query_public_file_failures", "Attempts to write public Parquet files that failed", |q| {
        count(&q.public_file_failures)
    }),
    (
        "touchline_query_postgres_refused_rows",
        "Rows that Postgres refused since the start; touchline.refused has all",
        |q| count(&q.postgres_refused_rows),
    ),
    ("touchline_query_sealed_files", "Public Parquet files written", |q| count(&q.sealed_files)),
];

const GAUGES: [CounterOf; 14] = [
    ("touchline_query_checkpoint", "Number of the last checkpoint", |q| count(&q.checkpoint)),
    (
        "touchline_query_checkpoint_timestamp_seconds",
        "When the last checkpoint was made, in seconds since 1970; 0: never",
        |q| seconds(q.checkpoint_at.load(Ordering::Relaxed)),
    ),
    ("touchline_query_checkpoint_bytes", "Size of the last checkpoint", |q| count(&q.checkpoint_bytes)),
    ("touchline_query_state_bytes", "Operator state in memory", |q| count(&q.state_bytes)),
    ("touchline_query_state_disk_bytes", "Operator state on local disk", |q| count(&q.state_disk_bytes)),
    ("touchline_query_memory_bytes", "Memory held of engine.state_bytes_max, whatever for", |q| count(&q.memory_bytes)),
    ("touchline_query_open_windows", "Windows that have not been emitted", |q| count(&q.open_windows)),
    ("touchline_query_tail_rows", "Committed rows that are in no public Parquet file yet", |q| count(&q.tail_rows)),
    (
        "touchline_public_strangers",
        "Files in the query's public folders that no checkpoint names, looked for every hour",
        |q| count(&q.public_strangers),
    ),
    ("touchline_query_tail_bytes", "Bytes that they take in memory and on local disk", |q| count(&q.tail_bytes)),
    ("touchline_query_postgres_checkpoint", "Checkpoint up to which the hot table is written; 0: it has none", |q| {
        count(&q.postgres_checkpoint)
    }),
    ("touchline_query_postgres_waiting_rows", "Committed rows that the hot table does not have yet", |q| {
        count(&q.postgres_waiting_rows)
    }),
    (
        "touchline_query_postgres_waiting_bytes",
        "Their size, compressed; at postgres.backlog_bytes the query stands still",
        |q| count(&q.postgres_waiting_bytes),
    ),
    ("touchline_query_postgres_waiting_seconds", "Age of the oldest of them", |q| {
        count(&q.postgres_waiting_micros) / 1e6
    }),
];

type PartitionGauge = (&'static str, &'static str, fn(&PartitionStatus) -> Option<f64>);

const PARTITION_GAUGES: [PartitionGauge; 4] = [
    ("touchline_source_position", "Next offset to read", |p| Some(p.position as f64)),
    (
        "touchline_source_lag_rows",
        "Records in the partition that have not been read; absent while nobody knows, as where it does not answer",
        |p| p.lag().map(|lag| lag as f64),
    ),
    ("touchline_source_event_time_seconds", "Latest event time read, in seconds since 1970", |p| {
        p.event_time_max.map(seconds)
    }),
    ("touchline_source_idle", "1 where the partition does not hold the watermark back, because nothing comes", |p| {
        Some(f64::from(u8::from(p.idle)))
    }),
];

type LookupOf = (&'static str, &'static str, fn(&LookupStatus) -> f64);

/// Without their suffix `_total`. These begin anew with the server.
const LOOKUP_COUNTERS: [LookupOf; 2] = [
    ("touchline_lookup_reads", "Times that a static table with 'refresh-interval' was read, the first included", |l| {
        l.reads as f64
    }),
    (
        "touchline_lookup_failures",
        "Times that such a table could not be looked at or read; the version before stays in use",
        |l| l.failures as f64,
    ),
];

type AdHocOf = (&'static str, &'static str, fn(&AdHocFigures) -> usize);

const ADHOC_GAUGES: [AdHocOf; 6] = [
    ("touchline_adhoc_running", "Ad-hoc statements that hold a place", |a| a.running),
    ("touchline_adhoc_waiting", "Ad-hoc statements that wait for one", |a| a.waiting),
    ("touchline_adhoc_memory_bytes", "Memory that they hold of adhoc.memory_bytes", |a| a.memory_bytes),
    ("touchline_adhoc_stuck_threads", "Ad-hoc statements that were stopped and still keep a thread", |a| {
        a.stuck_threads
    }),
    ("touchline_adhoc_sessions", "Sessions of Flight SQL that are remembered", |a| a.sessions),
    ("touchline_adhoc_handles", "Tickets and prepared statements that can still be used", |a| a.handles),
];

/// Without their suffix `_total`. These begin anew with the server.
const ADHOC_COUNTERS: [AdHocOf; 2] = [
    (
        "touchline_adhoc_refused",
        "Ad-hoc statements that were turned away, because too many waited or memory was short",
        |a| a.refused,
    ),
    (
        "touchline_adhoc_ended_for_memory",
        "Ad-hoc statements that were ended because the process' memory ran out",
        |a| a.ended_for_memory,
    ),
];

impl Collector for FromStatus {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let queries = self.published.queries();
        let sources: Vec<(&str, String, SourceStatus)> = queries
            .iter()
            .flat_map(|query| {
                let sources = query.sources.read().clone();
                sources.into_iter().map(|(source, status)| (query.name.as_str(), source, status))
            })
            .collect();

        let build = vec![(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        gauge(&mut encoder, "touchline_build_info", "Always 1; the version is a label", build)?;
        gauge(
            &mut encoder,
            "process_start_time_seconds",
            "When the server started, in seconds since 1970",
            one(seconds(self.started)),
        )?;
        let uptime = seconds(self.clock.steady().saturating_sub(self.began));
        gauge(&mut encoder, "touchline_uptime_seconds", "Time since the server started", one(uptime))?;
        if let Some(bytes) = resident_bytes() {
            gauge(
                &mut encoder,
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                one(bytes as f64),
            )?;
        }

        if let Some(adhoc) = self.published.adhoc() {
            for (name, help, value) in ADHOC_GAUGES {
                gauge(&mut encoder, name, help, one(value(&adhoc) as f64))?;
            }
            for (name, help, value) in ADHOC_COUNTERS {
                counter(&mut encoder, name, help, one(value(&adhoc) as f64))?;
            }
        }

        let states = queries.iter().flat_map(|query| {
            let current = query.standing().state;
            QueryState::ALL.map(|state| {
                let labels = vec![("query", query.name.as_str()), ("state", state.name())];
                (labels, if state == current { 1.0 } else { 0.0 })
            })
        });
        gauge(
            &mut encoder,
            "touchline_query_state",
            "1 for the state that the query is in, 0 for the others",
            states.collect(),
        )?;
        let broken = queries.iter().map(|query| {
            let labels = vec![("query", query.name.as_str()), ("file", query.file.as_str())];
            (labels, if query.file_is_wrong() { 1.0 } else { 0.0 })
        });
        gauge(
            &mut encoder,
            "touchline_query_file_wrong",
            "1 where the file that defines the query has an error, also while its last good version runs",
            broken.collect(),
        )?;
        for (name, help, value) in COUNTERS {
            let samples = queries.iter().map(|query| (vec![("query", query.name.as_str())], value(query))).collect();
            counter(&mut encoder, name, help, samples)?;
        }
        for (name, help, value) in GAUGES {
            let samples = queries.iter().map(|query| (vec![("query", query.name.as_str())], value(query))).collect();
            gauge(&mut encoder, name, help, samples)?;
        }
        let mut visible = encoder.encode_descriptor(
            "touchline_query_visible_seconds",
            "Time from the end of an epoch that emitted rows until readers see them",
            None,
            MetricType::Histogram,
        )?;
        for query in &queries {
            let buckets = query.visible.buckets();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels = vec![("query", query.name.as_str())];
            let mut samples = visible.encode_family(&labels)?;
            samples.encode_histogram::<NoLabelSet>(query.visible.sum_seconds(), count, &buckets, None)?;
        }

        let lookups: Vec<(&str, String, LookupStatus)> = queries
            .iter()
            .flat_map(|query| {
                let lookups = query.lookups.read().clone();
                lookups.into_iter().map(|(table, status)| (query.name.as_str(), table, status))
            })
            .collect();
        for (name, help, value) in LOOKUP_COUNTERS {
            let samples = lookups
                .iter()
                .map(|(query, table, status)| (vec![("query", *query), ("table", table.as_str())], value(status)));
            counter(&mut encoder, name, help, samples.collect())?;
        }
        let current = lookups.iter().filter_map(|(query, table, status)| {
            Some((vec![("query", *query), ("table", table.as_str())], seconds(status.current_at?)))
        });
        gauge(
            &mut encoder,
            "touchline_lookup_current_timestamp_seconds",
            "When the table was last seen to hold what the query uses, in seconds since 1970",
            current.collect(),
        )?;

        let watermarks = sources.iter().filter_map(|(query, source, status)| {
            Some((vec![("query", *query), ("source", source.as_str())], seconds(status.watermark?)))
        });
        gauge(
            &mut encoder,
            "touchline_source_watermark_seconds",
            "Event time up to which the source is complete, in seconds since 1970",
            watermarks.collect(),
        )?;
        let partitions: Vec<(&str, &str, String, PartitionStatus)> = sources
            .iter()
            .flat_map(|(query, source, status)| {
                status
                    .partitions
                    .iter()
                    .map(|(partition, status)| (*query, source.as_str(), partition.to_string(), *status))
            })
            .collect();
        for (name, help, value) in PARTITION_GAUGES {
            let samples = partitions.iter().filter_map(|(query, source, partition, status)| {
                let labels = vec![("query", *query), ("source", *source), ("partition", partition.as_str())];
                Some((labels, value(status)?))
            });
            gauge(&mut encoder, name, help, samples.collect())?;
        }
        Ok(())
    }
}

type Sample<'a> = (Vec<(&'a str, &'a str)>, f64);

fn one<'a>(value: f64) -> Vec<Sample<'a>> {
    vec![(Vec::new(), value)]
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, samples: Vec<Sample<'_>>) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            metric.encode_gauge(&value)?;
        } else {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, samples: Vec<Sample<'_>>) -> fmt::Result {
    if samples.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            metric.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        } else {
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&value, None)?;
        }
    }
    Ok(())
}

fn count(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

fn seconds(micros: Micros) -> f64 {
    micros as f64 / 1e6
}

/// `VmRSS` of Linux, in bytes; `None` where there is no such file.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
