//! The shipped queries over a simulated match and its crowd give the answers that are known: those of the simulator's truth files, and
//! those that DuckDB computes from the same records. Late rows and dead letters are counted, and each is where it should be.
//!
//! The work is done by the Python program `known_answers/`, beside `real_input/`, whose server and clients it uses. Each trial kills
//! the server once in the middle. The standard profile is a whole match with 100,000 viewers and 1.6 million records: minutes.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::process::binary;
use crate::services::{self, Need, Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Kafka, Need::Postgres, Need::Python];
    vec![
        trial("known_answers::smoke_in_one_partition", needs, || {
            answers("--profile smoke --dirt 0.4 --partitions 1 --heartbeats")
        }),
        trial("known_answers::smoke_in_eight_partitions_in_every_spelling", needs, || {
            answers("--profile smoke --dirt 0.4 --partitions 8 --spelling mixed")
        }),
        trial("known_answers::standard_in_one_partition_in_every_spelling", needs, || {
            answers("--profile standard --dirt 0.01 --partitions 1 --spelling mixed --limit 900")
        }),
        trial("known_answers::standard_in_eight_partitions", needs, || {
            answers("--profile standard --matches 2 --dirt 0.01 --partitions 8 --limit 900")
        }),
    ]
}

/// Runs the program, which bounds its own time. What it says is shown in any case.
fn answers(arguments: &str) -> Outcome {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/known_answers");
    let output = Command::new(services::python()?)
        // No compiled files beside the sources.
        .arg("-B")
        .arg(program)
        .arg("--binary")
        .arg(binary()?)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    eprint!("{said}");
    if output.status.success() { Ok(()) } else { Err(format!("{}\n{said}", output.status).into()) }
}
