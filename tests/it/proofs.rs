//! The long proofs of `tests/full`, cut short: each is a program that says what it has found, and ends with 0 only where that is nothing.

use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use crate::process::binary;
use crate::services::{self, Need, Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Python];
    vec![
        trial("proofs::readers_with_a_glob_see_each_committed_row_once_through_kills_and_seals", needs, || {
            proof("glob_storm", &["--scans", "1000"])
        }),
        trial("proofs::a_damaged_object_is_named_or_changes_no_answer", needs, || proof("byte_flips", &[])),
        trial("proofs::of_two_servers_that_wake_beside_each_other_one_wins", needs, || {
            proof("duels", &["--count", "4"])
        }),
    ]
}

/// What it says is shown in any case: it names its seeds.
fn proof(program: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(services::python()?)
        // No compiled files beside the sources.
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("full").join(program))
        .arg("--binary")
        .arg(binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    eprint!("{said}");
    if output.status.success() { Ok(()) } else { Err(format!("{}\n{said}", output.status).into()) }
}
