//! Real matches through real Kafka into the real server: every row of every result is what DuckDB makes of the same records.
//!
//! The work is done by the Python program `real_input/`, because the clients are those that users have: ADBC for Flight SQL, and
//! DuckDB as the oracle. It reads each result in Parquet, in Postgres and by Flight SQL.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::process::binary;
use crate::services::{self, Need, Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Kafka, Need::Postgres, Need::Python];
    let with_s3 = &[Need::Kafka, Need::Postgres, Need::S3, Need::Python];
    vec![
        trial("real_input::one_partition_gives_what_duckdb_gives", needs, || replay(&["--partitions", "1"])),
        trial("real_input::two_matches_in_two_partitions_give_what_duckdb_gives", needs, || {
            replay(&["--partitions", "2"])
        }),
        trial("real_input::with_four_partitions_kills_and_stops_lose_and_double_nothing", needs, || {
            replay(&["--partitions", "4", "--kills", "3", "--stops", "3"])
        }),
        trial("real_input::with_one_partition_kills_and_stops_lose_and_double_nothing", needs, || {
            replay(&["--partitions", "1", "--kills", "3", "--stops", "1"])
        }),
        trial("real_input::on_s3_kills_and_stops_lose_and_double_nothing", with_s3, || {
            replay(&["--partitions", "2", "--kills", "2", "--stops", "1", "--storage", "s3"])
        }),
    ]
}

/// Runs the program, which bounds its own time. What it says is shown in any case: it names its seed, and what it ran on.
fn replay(arguments: &[&str]) -> Outcome {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/real_input");
    let output = Command::new(services::python()?)
        // No compiled files beside the sources.
        .arg("-B")
        .arg(program)
        .arg("--binary")
        .arg(binary()?)
        .arg("--matches")
        .arg(matches())
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    if output.status.success() { Ok(()) } else { Err(format!("{}\n{said}", output.status).into()) }
}

/// Where the real matches are, if they are: beside the repository, unless the user names another folder.
fn matches() -> PathBuf {
    std::env::var_os("TOUCHLINE_TEST_MATCHES")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/wyscout"), PathBuf::from)
}
