//! What the pages show is what the product does: their SQL is checked and run by the real binary, and their links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libtest_mimic::{Failed, Trial};

use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = vec![
        trial("docs::the_shipped_schemas_and_queries_pass_the_check", &[], shipped_files_pass),
        trial("docs::the_file_example_of_the_readme_gives_the_answer_beside_it", &[], file_example),
        trial("docs::links_lead_somewhere", &[], links_lead_somewhere),
        trial("docs::every_shipped_query_stands_in_the_list", &[], every_query_is_listed),
    ];
    for page in ["README.md", "queries/README.md", "schemas/README.md", "udfs/README.md"] {
        tests.push(trial(&format!("docs::the_sql_of_{page}_passes_the_check"), &[], move || sql_of_page(page)));
    }
    tests.push(trial("docs::what_queries_readme_calls_refused_is_refused", &[], refusals_are_refused));
    tests
}

fn shipped_files_pass() -> Outcome {
    let output = touchline(&root(), &["check", "."])?;
    passed("touchline check .", &output)
}

/// Blocks of definitions stand for files in `queries/`, and see the shipped tables.
fn sql_of_page(page: &str) -> Outcome {
    let blocks = blocks(&fs::read_to_string(root().join(page))?, "sql");
    let mut checked = 0;
    for block in blocks.iter().filter(|block| !is_for_run(&block.text)) {
        let folder = tempfile::tempdir()?;
        let queries = folder.path().join("queries");
        fs::create_dir(&queries)?;
        fs::write(queries.join("block.sql"), &block.text)?;
        for path in read_paths(&block.text) {
            let file = queries.join(path);
            fs::create_dir_all(file.parent().unwrap_or(&queries))?;
            fs::write(file, "")?;
        }
        let schemas = root().join("schemas");
        let output = touchline(&queries, &["check", &schemas.to_string_lossy(), "block.sql"])?;
        passed(&format!("{page}:{}", block.line), &output)?;
        checked += 1;
    }
    if checked == 0 { Err(format!("{page} shows no SQL").into()) } else { Ok(()) }
}

/// What the tables of a block read beside its folder.
fn read_paths(sql: &str) -> impl Iterator<Item = &str> {
    sql.split("'path' = '").skip(1).filter_map(|rest| rest.split('\'').next()).filter(|path| path.starts_with("../"))
}

/// Files that end in a query of their own are for `touchline run`. What is read from finished views is asked of a server: see
/// `known_answers`.
fn is_for_run(sql: &str) -> bool {
    sql.starts_with("-- Read: ") || sql.lines().any(|line| line.starts_with("SELECT * FROM"))
}

/// README.md shows an input (json), a file for `touchline run` (sql) and what it prints (text).
fn file_example() -> Outcome {
    let page = fs::read_to_string(root().join("README.md"))?;
    let only = |kind: &str| -> Result<String, Failed> {
        let mut found = blocks(&page, kind);
        if kind == "sql" {
            found.retain(|block| is_for_run(&block.text));
        }
        match found.len() {
            1 => Ok(found.remove(0).text),
            n => Err(format!("README.md has {n} blocks of {kind} for the file example, not one").into()),
        }
    };
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("clicks.ndjson"), only("json")?)?;
    fs::write(folder.path().join("clicks.sql"), only("sql")?)?;
    for arguments in [&["run", "clicks.sql"][..], &["run", "--epoch-rows", "1", "clicks.sql"]] {
        let output = touchline(folder.path(), arguments)?;
        passed(&arguments.join(" "), &output)?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let shown = only("text")?;
        if printed.trim_end() != shown.trim_end() {
            return Err(format!("README.md shows\n{shown}\nbut {} prints\n{printed}", arguments.join(" ")).into());
        }
    }
    Ok(())
}

/// The comments below the table of refusals hold an example for what it says.
fn refusals_are_refused() -> Outcome {
    let page = fs::read_to_string(root().join("queries/README.md"))?;
    let examples: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("<!-- refused: ")?.strip_suffix(" -->")).collect();
    if examples.len() < 10 {
        return Err(format!("queries/README.md has only {} examples of what is refused", examples.len()).into());
    }
    let mut faults = Vec::new();
    for example in examples {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("refused.sql"), format!("CREATE MATERIALIZED VIEW refused AS\n{example};\n"))?;
        let schemas = root().join("schemas");
        let output = touchline(folder.path(), &["check", &schemas.to_string_lossy(), "refused.sql"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() != Some(64) {
            faults.push(format!("not refused: {example}"));
        } else if !said.contains("error: refused.sql:") || said.matches("error: ").count() != 1 {
            faults.push(format!("refused for another reason: {example}\n{said}"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn every_query_is_listed() -> Outcome {
    let mut faults = Vec::new();
    for folder in ["queries", "schemas"] {
        let page = fs::read_to_string(root().join(folder).join("README.md"))?;
        for entry in fs::read_dir(root().join(folder))? {
            let path = entry?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|extension| extension == "sql") && !page.contains(&format!("`{name}`")) {
                faults.push(format!("{folder}/README.md does not name {name}"));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn links_lead_somewhere() -> Outcome {
    let mut faults = Vec::new();
    let pages = pages(&root())?;
    for page in &pages {
        let folder = page.parent().unwrap_or(page);
        for link in fs::read_to_string(page)?.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.contains("://") && !target.is_empty() && !folder.join(target).exists() {
                faults.push(format!("{}: {link} leads nowhere", page.display()));
            }
        }
    }
    if pages.len() < 10 {
        faults.push(format!("only {} pages were found", pages.len()));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// Every Markdown page of the repository.
fn pages(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" || name == "touchline-data" {
            continue;
        }
        if path.is_dir() {
            found.extend(pages(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(found)
}

/// A fenced block of a page.
struct Block {
    text: String,
    /// Of its fence, from 1.
    line: usize,
}

fn blocks(page: &str, kind: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(bool, Block)> = None;
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info == kind, Block { text: String::new(), line: index + 1 })),
            (Some(_), Some(_)) => found.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, block)| block)),
            (Some((_, block)), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// The binary under test, in `folder` and with none of the caller's `TOUCHLINE_*` settings.
fn touchline(folder: &Path, arguments: &[&str]) -> Result<Output, Failed> {
    let mut command = Command::new(crate::process::binary()?);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOUCHLINE_")) {
        command.env_remove(name);
    }
    Ok(command.args(arguments).current_dir(folder).stdin(Stdio::null()).output()?)
}

fn passed(what: &str, output: &Output) -> Outcome {
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{what}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
