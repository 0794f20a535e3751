//! Files that people write: definitions in SQL, judged as `touchline check` and a server judge them, and the configuration.

use std::sync::Arc;

use libtest_mimic::Failed;
use touchline::clock::Clock;
use touchline::config::{Config, Environment};
use touchline::error::Error;
use touchline::pipeline::PlanSettings;
use touchline::registry::{catalog_of, refusals};
use touchline::sink::postgres::PostgresSettings;
use touchline::source::kafka::KafkaSettings;
use touchline::source::reader::SourceDeps;
use touchline::sql::parse_statements;
use touchline::tables::snapshot::Snapshots;
use touchline::tables::source::SnapshotReader;

use super::{Input, Take, Target};

pub(super) static SQL: Target = Target {
    name: "sql",
    claim: "no_file_of_definitions_panics_or_takes_long",
    words: &[
        "e",
        "id",
        "k",
        "v",
        "ts",
        "t",
        "AS",
        "WITH",
        "WHERE",
        "GROUP BY",
        "HAVING",
        "ORDER BY",
        "LIMIT 1",
        "JOIN e ON true",
        "ASOF",
        "UNION ALL",
        "DISTINCT",
        "EXISTS",
        "OVER (PARTITION BY k ORDER BY ts)",
        "CASE WHEN",
        "END",
        "CAST",
        "INTERVAL '1 minute'",
        "INTERVAL",
        "TUMBLE",
        "HOP",
        "SESSION",
        "CUMULATE",
        "window_start",
        "count(*)",
        "array_agg",
        "row_number()",
        "EMIT CHANGES",
        "EMIT EVERY",
        "FOR SYSTEM_TIME AS OF",
        "PARTITION BY",
        "RETURNS",
        "MATERIALIZED",
        "CHECK",
        "GENERATED ALWAYS",
        "STRUCT<a BIGINT>",
        "BIGINT[]",
        "NULL",
        "IS NOT NULL",
        "IN",
        "BETWEEN",
        "LIKE",
        "||",
        "::",
        "->",
        "$1",
        ";",
    ],
    mutants: 1_200,
    make: sql,
};

pub(super) static CONFIG: Target = Target {
    name: "config",
    claim: "no_configuration_panics",
    words: &[
        "[engine]",
        "[http]",
        "[[auth.users]]",
        "[storage]",
        "listen",
        "=",
        "\"250ms\"",
        "\"64MiB\"",
        "\"127.0.0.1:0\"",
        "${env:X}",
        "${",
        "}",
        "{ name = \"a\" }",
        "[",
        "]",
        "0x1",
        "1979-05-27T07:32:00Z",
        "\"\"\"",
        "'''",
        "true",
        "inf",
    ],
    mutants: 6_000,
    make: config,
};

fn sql() -> Result<(Vec<Input>, Take), Failed> {
    let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        postgres: PostgresSettings::default(),
        clock: Clock::System,
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let take: Take = Box::new(move |input| {
        let text = String::from_utf8_lossy(&input.bytes);
        let (statements, errors) = parse_statements("t.sql", &text);
        all_refused(errors);
        let (catalog, errors) = catalog_of(&statements, &snapshots);
        all_refused(errors);
        all_refused(runtime.block_on(refusals(&Arc::new(catalog), PlanSettings { partitions: 2, wide_rows: 32_768 })));
    });
    Ok((Vec::new(), take))
}

fn config() -> Result<(Vec<Input>, Take), Failed> {
    let take: Take = Box::new(|input| {
        let text = String::from_utf8_lossy(&input.bytes);
        let environment = Environment::from([("X".to_owned(), "1".to_owned())]);
        if let Err(errors) = Config::parse("touchline.toml", &text, &environment) {
            all_refused(errors);
        }
    });
    Ok((Vec::new(), take))
}

/// As they are shown: a report quotes the text, and may cut it where it cannot be cut.
fn all_refused(errors: Vec<Error>) {
    for error in errors {
        assert!(!error.report().is_empty());
    }
}
