//! `touchline check` and a server say the same of a statement: every one that stands in a test or on a page is thrown at both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::process::Site;
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("judged_alike::a_server_refuses_what_check_refuses_for_the_same_reason", &[], all_statements),
        trial("judged_alike::run_takes_every_statement_that_a_server_takes", &[], files_are_streams_that_end),
    ]
}

/// The tables of the tests that the statements come from, beside those of `schemas/`.
const TABLES: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, v DOUBLE, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE TABLE nowm (id BIGINT, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'n', 'format' = 'json');
CREATE TABLE clicks (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'format' = 'json');
CREATE TABLE taps (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps', 'format' = 'json');
CREATE TABLE pages (page VARCHAR, title VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'pages.csv', 'format' = 'csv');
";

/// A folder with the tables, the shipped queries, and each statement in a file of its own; and how many queries there are.
fn site() -> Result<(Site, usize), Failed> {
    let site = Site::new()?;
    let mut count = 0;
    for folder in ["schemas", "queries"] {
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                site.write(&format!("{folder}/{name}"), &fs::read_to_string(&path)?)?;
                count += usize::from(folder == "queries");
            }
        }
    }
    for entry in fs::read_dir(root().join("schemas/data"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        fs::create_dir_all(site.path("schemas/data"))?;
        fs::copy(&path, site.path(&format!("schemas/data/{name}")))?;
    }
    site.write("schemas/tables.sql", TABLES)?;
    site.write("schemas/pages.csv", "page,title\na,Alpha\n")?;
    let statements = statements()?;
    for (number, statement) in statements.iter().enumerate() {
        site.write(&format!("queries/s{number:03}.sql"), &statement.replace("@name", &format!("s{number:03}")))?;
    }
    Ok((site, count + statements.len()))
}

fn all_statements() -> Outcome {
    let (site, count) = site()?;
    let ran = site.run(&["check"])?;
    let mut by_check: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for report in format!("\n{}", ran.stderr).split("\nerror: ").skip(1) {
        by_check.entry(file_of(report)).or_default().push(report.trim_end().to_owned());
    }
    let server = site.serve(&[])?;
    let rows = server.query("SELECT name, reason FROM touchline.queries WHERE state = 'REJECTED'")?;
    let mut by_server: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let reason = row["reason"].as_str().unwrap_or_default().trim_end().to_owned();
        by_server.insert(file_of(&reason), reason);
    }
    let (refused, taken) = (by_server.len(), count - by_server.len().min(count));
    if refused < 50 || taken < 30 {
        return Err(format!("{refused} statements were refused and {taken} taken, which is too few of either").into());
    }
    let files: BTreeSet<&String> = by_check.keys().chain(by_server.keys()).collect();
    let mut faults = Vec::new();
    for file in files {
        match (by_check.get(file), by_server.get(file)) {
            (Some(reports), Some(reason)) if reports.contains(reason) => {}
            (checked, served) => faults.push(format!("{file}: check says {checked:?}, the server {served:?}")),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// The same statements over files: what streams also runs over what ends, and more does.
fn files_are_streams_that_end() -> Outcome {
    let (site, _) = site()?;
    let ran = site.run(&["check"])?;
    let refused: BTreeSet<String> = format!("\n{}", ran.stderr).split("\nerror: ").skip(1).map(file_of).collect();
    for name in ["schemas/tables.sql", "schemas/match_events.sql", "schemas/engagements.sql"] {
        let text = fs::read_to_string(site.path(name))?;
        let mut files = String::new();
        for (at, part) in text.split("'connector' = 'kafka', 'topic' = '").enumerate() {
            files.push_str(if at == 0 { "" } else { "'connector' = 'filesystem', 'path' = 'none-" });
            files.push_str(part);
        }
        site.write(name, &files)?;
    }
    let ran = site.run(&["check", "--run", "."])?;
    let by_run: BTreeSet<String> = format!("\n{}", ran.stderr)
        .split("\nerror: ")
        .skip(1)
        // The shipped queries want their schemas in an order that a folder does not have.
        .filter(|report| {
            report.strip_prefix("queries/s").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(file_of)
        .collect();
    let worse: Vec<&String> = by_run.difference(&refused).collect();
    assert!(worse.is_empty(), "a server takes {worse:?}, and run does not\n{}", ran.stderr);
    assert!(by_run.len() < refused.len(), "run takes no more than a server does");
    Ok(())
}

/// `queries/s001.sql` of a report.
fn file_of(report: &str) -> String {
    report.split(':').next().unwrap_or_default().to_owned()
}

/// Statements of one query each: those in the tests' string literals, and the examples of what is refused.
fn statements() -> Result<Vec<String>, Failed> {
    let mut found = BTreeSet::new();
    for folder in ["server/src", "tests/it"] {
        for path in sources(&root().join(folder))? {
            let text = fs::read_to_string(&path)?;
            found.extend(literals(&text).into_iter().filter_map(|literal| statement(&literal)));
        }
    }
    let page = fs::read_to_string(root().join("queries/README.md"))?;
    let examples = page.lines().filter_map(|line| line.strip_prefix("<!-- refused: ")?.strip_suffix(" -->"));
    found.extend(examples.filter_map(statement));
    Ok(found.into_iter().collect())
}

/// A literal as the text of a file, if it is a query or the definition of a view. `@name` stands for the view's name.
fn statement(literal: &str) -> Option<String> {
    let text = literal.trim().trim_end_matches(';');
    // What a test puts together from parts is no statement, and two of them would define names twice.
    if text.contains(['{', ';']) || text.len() < 12 {
        return None;
    }
    let upper = text.to_uppercase();
    if upper.starts_with("SELECT ") || upper.starts_with("WITH ") || upper.starts_with("SELECT\n") {
        return Some(format!("CREATE MATERIALIZED VIEW @name AS\n{text};\n"));
    }
    let rest = text.strip_prefix("CREATE MATERIALIZED VIEW ")?;
    let (_, rest) = rest.split_once(' ')?;
    Some(format!("CREATE MATERIALIZED VIEW @name {rest};\n"))
}

/// The string literals of a Rust source, raw ones apart.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut chars = source.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\'' => {
                // A quote as a character, not the beginning of a text.
                let mut ahead = chars.clone();
                if ahead.next() == Some('"') && ahead.next() == Some('\'') {
                    chars.nth(1);
                }
            }
            '"' => {
                let mut literal = String::new();
                while let Some(char) = chars.next() {
                    match char {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('n') => literal.push('\n'),
                            // The literal goes on in the next line, behind its spaces.
                            Some('\n') => while chars.next_if(|char| char.is_whitespace()).is_some() {},
                            Some(other) => literal.push(other),
                            None => {}
                        },
                        other => literal.push(other),
                    }
                }
                found.push(literal);
            }
            _ => {}
        }
    }
    found
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_test = path.to_string_lossy().contains("tests");
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if is_test && path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
