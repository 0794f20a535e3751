//! The tests of `tests/cases`: one property a file, each run in many ways, by the code of `touchline test`.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use touchline::cases::{Case, Failure, test_files};

use crate::process::Site;
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        trial("cases::there_are_at_least_150", &[], there_are_at_least_150),
        trial("cases::the_command_says_what_is_not_as_a_test_says", &[], the_command_says_what_is_not_as_a_test_says),
        trial("cases::a_server_does_not_read_tests", &[], a_server_does_not_read_tests),
    ];
    // Without them the first test fails.
    for file in files().unwrap_or_default() {
        let name = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
        let name = name.trim_end_matches(".test.sql").to_owned();
        tests.push(trial(&format!("cases::{name}"), &[], move || passes(&file)));
    }
    tests
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn files() -> Result<Vec<PathBuf>, Failed> {
    test_files(&root()).map_err(|error| error.report().into())
}

fn there_are_at_least_150() -> Outcome {
    match files()?.len() {
        0..150 => Err("there are fewer".into()),
        _ => Ok(()),
    }
}

fn passes(file: &Path) -> Outcome {
    let case = Case::read(file).map_err(|errors| touchline::sql::report(&errors))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(case.run());
    if outcome.failures.is_empty() {
        return Ok(());
    }
    let failures: Vec<String> = outcome.failures.iter().map(Failure::to_string).collect();
    Err(format!("{}\n{}", case.property(), failures.join("\n\n")).into())
}

const TEST: &str = "\
-- Rows are counted by window.

CREATE TABLE clicks (ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'kafka', 'topic' = 'clicks');

CREATE MATERIALIZED VIEW counts AS
SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start;

/* test
rows clicks
  | ts       |
  | 00:00:01 |
end
expect counts
  | window_start | c |
  | 00:00:00     | 1 |
*/
";

fn the_command_says_what_is_not_as_a_test_says() -> Outcome {
    let site = Site::new()?;
    site.write("queries/counts.test.sql", TEST)?;
    let ran = site.run(&["test"])?;
    let summary = |stdout: &str| stdout.lines().last().unwrap_or_default().to_owned();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("ok      queries/counts.test.sql\n"), "{}", ran.stdout);
    assert!(summary(&ran.stdout).starts_with("1 test has passed, in 7 runs ("), "{}", ran.stdout);

    site.write("tests/wrong/counts.test.sql", &TEST.replace("| 1 |", "| 2 |"))?;
    let ran = site.run(&["test"])?;
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for part in [
        "FAILED  tests/wrong/counts.test.sql\n        Rows are counted by window.\n",
        "tests/wrong/counts.test.sql:13: counts gives other rows than expected, as it is written\n",
        "15 ≠ | 00:00:00     | 2 |   | 00:00:00     | 1 |\n",
        "1 of 2 tests has failed, in 8 runs (",
    ] {
        assert!(ran.stdout.contains(part), "{part}\n{}", ran.stdout);
    }

    site.write("tests/wrong/counts.test.sql", &TEST.replace("end\n", "ends\n"))?;
    let ran = site.run(&["test", "queries/counts.test.sql", "tests"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stdout);
    let says = "tests/wrong/counts.test.sql:12:1: no line of a test begins with \"ends\"";
    assert!(ran.stderr.contains(says) && ran.stdout.contains("1 test has passed"), "{}", ran.stderr);

    let ran = site.run(&["test", "schemas"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("there is no test in schemas\n  hint: a test is a file whose name ends in .test.sql"),
        "{}",
        ran.stderr
    );
    Ok(())
}

fn a_server_does_not_read_tests() -> Outcome {
    let site = Site::new()?;
    site.write("queries/counts.test.sql", TEST)?;
    site.write("queries/wrong.test.sql", "this is nothing")?;
    site.write("schemas/clicks.sql", crate::process::STREAM)?;
    let ran = site.run(&["check"])?;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "schemas/clicks.sql: 1 table\n"), "{}", ran.stderr);
    Ok(())
}
