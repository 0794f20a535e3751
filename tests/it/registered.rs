//! Nothing in this folder is forgotten: this binary has its own main, so a test that is not in a list would be left out in silence.

use std::fs;
use std::path::Path;

use libtest_mimic::Trial;

use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![trial("registered::every_file_is_in_the_list_of_main", &[], every_file_is_in_the_list_of_main)]
}

fn every_file_is_in_the_list_of_main() -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("it");
    let main = fs::read_to_string(folder.join("main.rs"))?;
    // Written so that this file does not hold what it looks for.
    let attributes = [["#[", "test]"].concat(), ["#[tokio::", "test"].concat()];
    let mut faults = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        let Some(module) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else { continue };
        let file = if path.is_dir() { path.join("mod.rs") } else { path };
        if module == "main" || file.extension().is_none_or(|extension| extension != "rs") || !file.exists() {
            continue;
        }
        let text = fs::read_to_string(&file)?;
        if !main.contains(&format!("mod {module};")) {
            faults.push(format!("{} is not a module of main.rs", file.display()));
        }
        if text.contains("pub(crate) fn tests()") && !main.contains(&format!("{module}::tests()")) {
            faults.push(format!("the tests of {} are not in the list of main.rs", file.display()));
        }
        if attributes.iter().any(|attribute| text.contains(attribute)) {
            faults.push(format!("{} has a test attribute, which does nothing here", file.display()));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}
