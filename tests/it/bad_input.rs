//! Mistakes of a user or an operator: each gives one clear error with its place and what to do, and a non-zero exit.

use libtest_mimic::Trial;

use crate::process::Site;
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![trial("bad_input::an_empty_folder_is_checked_and_found_right", &[], an_empty_folder)]
}

fn an_empty_folder() -> Outcome {
    let site = Site::new()?;
    let ran = site.run(&["check", "."])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    Ok(())
}
