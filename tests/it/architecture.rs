//! The invariants of server/README.md that can be seen in the text of the sources: which module may know what.
//!
//! A rule looks for words in code, without comments and without tests. Where one does not hold to the letter, its exception stands
//! beside it with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;

use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests: Vec<Trial> =
        RULES.iter().map(|rule| trial(&format!("architecture::{}", rule.name), &[], || rule.check())).collect();
    tests.extend([
        trial("architecture::every_rule_would_find_what_it_forbids", &[], every_rule_would_find_what_it_forbids),
        trial("architecture::every_module_stands_on_the_map", &[], every_module_stands_on_the_map),
        trial("architecture::no_file_is_longer_than_800_lines", &[], no_file_is_longer_than_800_lines),
        trial("architecture::nothing_unfinished_is_left_in_code", &[], nothing_unfinished_is_left_in_code),
        trial("architecture::the_top_level_holds_only_its_folders", &[], the_top_level_holds_only_its_folders),
    ]);
    tests
}

/// What only some modules may say.
struct Rule {
    name: &'static str,
    why: &'static str,
    /// Path prefixes below `server/src`. The rule is about these files …
    within: &'static [&'static str],
    /// … or, where `within` is empty, about all files but these.
    except: &'static [&'static str],
    words: &'static [&'static str],
    /// (file, text of the line, reason)
    allowed: &'static [(&'static str, &'static str, &'static str)],
}

const PURE: &[&str] = &["changelog.rs", "changelog/", "plan/", "pipeline/", "operator/", "state/", "watermark/"];

const RULES: &[Rule] = &[
    Rule {
        name: "pure_modules_do_no_input_or_output",
        why: "a step must depend on its input alone, or a restart would compute something else",
        within: PURE,
        except: &[],
        words: &[
            "std::fs",
            "std::net",
            "std::io",
            "std::env",
            "std::process",
            "tokio::fs",
            "tokio::net",
            "tokio::io",
            "object_store",
            "tracing",
            "serde",
        ],
        allowed: &[],
    },
    Rule {
        name: "pure_modules_read_no_clock",
        why: "processing time is passed in, so that tests and replay can set it",
        within: PURE,
        except: &[],
        words: &["SystemTime", "Instant", "Utc", "Local", "Clock", "tokio::time", "sleep"],
        allowed: &[],
    },
    Rule {
        name: "pure_modules_spawn_nothing",
        why: "at the end of a step nothing of it may still be running",
        within: PURE,
        except: &[],
        words: &["spawn", "spawn_blocking", "spawn_local", "JoinSet", "std::thread", "thread"],
        allowed: &[
            ("pipeline/template.rs", "use tokio::task::JoinSet;", WIDE_PLANS),
            ("pipeline/template.rs", "let mut tasks = JoinSet::new();", WIDE_PLANS),
            (
                "pipeline/template.rs",
                "tasks.spawn(collect(plan.execute(partition, Arc::clone(context))?));",
                WIDE_PLANS,
            ),
        ],
    },
    Rule {
        name: "pure_modules_use_no_randomness",
        why: "the same input has to give the same rows, state and bytes",
        within: PURE,
        except: &[],
        words: &["rand", "thread_rng", "getrandom", "Uuid", "RandomState::new", "RandomState::default"],
        allowed: &[],
    },
    Rule {
        name: "pure_modules_know_none_of_the_edges",
        why: "what decides must not know who acts",
        within: PURE,
        except: &[],
        words: &[
            "crate::admin",
            "crate::checkpoint",
            "crate::cli",
            "crate::config",
            "crate::epoch",
            "crate::flight_sql",
            "crate::registry",
            "crate::server",
            "crate::simulate",
            "crate::sink",
            "crate::source",
            "crate::store",
            "crate::tables",
        ],
        allowed: &[
            ("watermark/slot.rs", "use crate::source::{Known, Partition, Progress, ViewProgress};", PLAIN_VALUES),
            ("watermark/source.rs", "use crate::source::{Known, Offset, Partition, Progress};", PLAIN_VALUES),
            ("watermark/view.rs", "use crate::source::{Known, Offset, ViewProgress};", PLAIN_VALUES),
            ("operator/epoch_cell.rs", "use crate::source::Origins;", PLAIN_VALUES),
            ("pipeline/mod.rs", "use crate::source::{DeadLetter, Origins};", PLAIN_VALUES),
            ("pipeline/batch.rs", "use crate::source::DeadLetter;", PLAIN_VALUES),
            ("pipeline/isolation.rs", "use crate::source::DeadLetter;", PLAIN_VALUES),
        ],
    },
    Rule {
        name: "operators_do_not_know_the_plans_that_run_them",
        why: "a plan runs any operator by its contract, so that a new one is a file beside files",
        within: &["operator/", "state/", "watermark/"],
        except: &[],
        words: &["crate::pipeline", "crate::plan"],
        allowed: &[],
    },
    Rule {
        name: "plans_know_operators_by_their_contract_alone",
        why: "whatever the pipeline did for one kind of operator, the next one would lack",
        within: &["pipeline/"],
        except: &[],
        words: &[
            "operator::window",
            "operator::once",
            "operator::lookup_join",
            "WindowOperator",
            "WindowAggregate",
            "LateGateExec",
            "LookupJoinExec",
            "LookupJoinNode",
        ],
        allowed: &[
            ("pipeline/template.rs", "| \"LateGateExec\"", NODES_BY_NAME),
            ("pipeline/template.rs", "| \"LookupJoinExec\"", NODES_BY_NAME),
        ],
    },
    Rule {
        name: "only_source_kafka_knows_librdkafka",
        why: "its settings, threads and pointers have one owner; two producers share only the settings",
        within: &[],
        except: &["source/kafka.rs", "source/kafka/", "simulate/output/kafka.rs", "ingest/kafka.rs"],
        words: &["rdkafka", "rdkafka_sys"],
        allowed: &[],
    },
    Rule {
        name: "only_source_embedded_knows_its_store",
        why: "topics are read through the Source contract, whichever log they are in",
        within: &[],
        except: &["source/embedded.rs", "source/embedded/"],
        words: &["redb"],
        allowed: &[],
    },
    Rule {
        name: "only_sink_postgres_knows_the_postgres_client",
        why: "rows and marker change in one transaction, and only there",
        within: &[],
        except: &["sink/postgres.rs", "sink/postgres/"],
        words: &["tokio_postgres", "tokio_postgres_rustls"],
        allowed: &[],
    },
    Rule {
        name: "only_the_doors_know_grpc_and_http",
        why: "sessions, limits and read-only checks do not depend on the protocol",
        within: &[],
        except: &["flight_sql/", "admin.rs", "admin/", "ingest/", "cli/sql.rs"],
        words: &["tonic", "arrow_flight", "axum"],
        allowed: &[],
    },
    Rule {
        name: "only_epoch_orders_durable_effects",
        why: "bundle, manifest, sinks: an effect elsewhere would be out of order after some crash",
        within: &[],
        except: &["epoch/", "checkpoint/", "sink/"],
        words: &[
            "Chain",
            "put_bundle",
            "fold_sealed",
            "settle",
            "cleaned_up",
            "begin_seal",
            "write_sealed",
            "mark_sealed",
            "PostgresSink",
        ],
        allowed: &[
            ("server.rs", "use crate::sink::postgres::PostgresSink;", CONNECTS_ONLY),
            ("server.rs", "Some(_) => Some(Arc::new(PostgresSink::try_new(config.postgres.clone())?)),", CONNECTS_ONLY),
        ],
    },
    Rule {
        name: "only_checkpoint_names_checkpoint_objects",
        why: "clean-up deletes by name, so one module has to know every name",
        within: &[],
        except: &["checkpoint/"],
        words: &[
            "QueryPaths::new",
            "/ckpt",
            "/bundle",
            "gens/",
            "/sealed/",
            "/runs/",
            "/replay/",
            "/gc/",
            "/kept/",
            "/dropped/",
            "store.json",
            ".touchline/",
        ],
        allowed: &[],
    },
    Rule {
        name: "only_clock_reads_the_wall_clock",
        why: "every other module takes processing time from it, so that tests and replay can set it",
        within: &[],
        except: &["clock.rs"],
        words: &["SystemTime", "Utc::now", "Local::now"],
        allowed: &[],
    },
    Rule {
        name: "only_the_edges_print_and_read_the_environment",
        why: "results go to standard output, settings come through `config`; a library that does either surprises",
        within: &[],
        except: &["cli/", "main.rs", "logging.rs"],
        words: &["println!", "print!", "eprintln!", "eprint!", "env::var", "env::var_os", "env::vars", "env::vars_os"],
        allowed: &[(
            "sink/postgres/read.rs",
            "let url = std::env::var(name).map_err(|_| {",
            "the address of a database that a table names by 'url-env': its password stands in no file",
        )],
    },
    Rule {
        name: "every_queue_has_a_limit",
        why: "a queue without one turns a slow reader into a process without memory",
        within: &[],
        except: &[],
        words: &["unbounded_channel", "unbounded", "std::sync::mpsc"],
        allowed: &[(
            "cli/demo_input.rs",
            "use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};",
            "nothing is ever sent: the loss of the sender is the signal",
        )],
    },
    Rule {
        name: "unsafe_stands_in_two_files",
        why: "it has to be read as a whole to be believed",
        within: &[],
        except: &["source/kafka/batch_queue.rs", "source/kafka/identity.rs"],
        words: &["unsafe", "unsafe_code"],
        allowed: &[],
    },
];

const PLAIN_VALUES: &str = "plain values, the words in which a source says where it stands";
const NODES_BY_NAME: &str = "the list of nodes that may stand in a plan names them all, one way or the other";
const WIDE_PLANS: &str = "the partitions of a wide plan run side by side, and the step waits for all of them";
const CONNECTS_ONLY: &str = "the server connects once and hands the sink to the epoch loops";

impl Rule {
    fn concerns(&self, path: &str) -> bool {
        let listed = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        if self.within.is_empty() { !listed(self.except) } else { listed(self.within) }
    }

    /// The words that a line of code says although it must not.
    fn found_in(&self, line: &str) -> Option<&'static str> {
        self.words.iter().copied().find(|word| says(line, word))
    }

    fn check(&self) -> Outcome {
        let files = code()?;
        let mut faults = Vec::new();
        let mut used = BTreeSet::new();
        for file in files.iter().filter(|file| self.concerns(&file.path)) {
            for (number, line) in &file.lines {
                let Some(word) = self.found_in(line) else { continue };
                let exception =
                    self.allowed.iter().position(|(path, text, _)| *path == file.path && *text == line.trim());
                match exception {
                    Some(at) => _ = used.insert(at),
                    None => faults.push(format!(
                        "server/src/{}:{number}: `{word}` must not be here ({}): {}\n    {}",
                        file.path,
                        self.name.replace('_', " "),
                        self.why,
                        line.trim()
                    )),
                }
            }
        }
        for (at, (path, text, _)) in self.allowed.iter().enumerate() {
            if !used.contains(&at) {
                faults.push(format!("the exception for server/src/{path} is not needed any more: {text}"));
            }
        }
        outcome(faults)
    }
}

/// A rule whose words never match would pass for ever.
fn every_rule_would_find_what_it_forbids() -> Outcome {
    let mut faults = Vec::new();
    for rule in RULES {
        for word in rule.words {
            if rule.found_in(&format!("    let x = {word}(1);")).is_none() {
                faults.push(format!("{} does not find `{word}`", rule.name));
            }
        }
        if rule.found_in("let operands = gens + bundled + chained;").is_some() {
            faults.push(format!("{} finds parts of words", rule.name));
        }
    }
    let modules = code()?;
    for prefix in RULES.iter().flat_map(|rule| rule.within.iter().chain(rule.except)) {
        if !modules.iter().any(|file| file.path.starts_with(prefix)) {
            faults.push(format!("no file of server/src is in {prefix}"));
        }
    }
    outcome(faults)
}

/// Every module of lib.rs has its line in the code map.
fn every_module_stands_on_the_map() -> Outcome {
    let root = root();
    let map = fs::read_to_string(root.join("server/README.md"))?;
    let library = fs::read_to_string(root.join("server/src/lib.rs"))?;
    let modules = library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    outcome(
        modules
            .filter(|module| !map.contains(&format!("| `{module}` |")))
            .map(|module| format!("server/README.md: module `{module}` has no line in the code map"))
            .collect(),
    )
}

fn no_file_is_longer_than_800_lines() -> Outcome {
    let mut faults = Vec::new();
    for folder in ["server/src", "udfs/src", "tests/it"] {
        for path in rust_files(&root().join(folder))? {
            let lines = fs::read_to_string(&path)?.lines().count();
            if lines > 800 {
                faults.push(format!("{} has {lines} lines: a file answers one question", path.display()));
            }
        }
    }
    outcome(faults)
}

fn nothing_unfinished_is_left_in_code() -> Outcome {
    // Written so that this file does not hold what it looks for.
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let mut faults = Vec::new();
    for folder in ["server/src", "udfs/src", "tests/it"] {
        for path in rust_files(&root().join(folder))? {
            for (index, line) in fs::read_to_string(&path)?.lines().enumerate() {
                if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                    faults.push(format!("{}:{}: {word}…) in finished code", path.display(), index + 1));
                }
            }
        }
    }
    outcome(faults)
}

/// Folders are named in README.md; a new one at the top has to be worth a newcomer's first look.
fn the_top_level_holds_only_its_folders() -> Outcome {
    const EXPECTED: [&str; 10] =
        ["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "deploy", "queries", "schemas", "server", "tests", "udfs"];
    let root = root();
    let ignored = fs::read_to_string(root.join(".gitignore"))?;
    let ignored: Vec<&str> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let mut faults = Vec::new();
    for entry in fs::read_dir(&root)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = name.starts_with('.') || EXPECTED.contains(&name.as_str()) || ignored.contains(&name.as_str());
        if !known {
            faults.push(format!("{name} does not belong to the top level"));
        }
    }
    faults.extend(EXPECTED.iter().filter(|name| !root.join(name).exists()).map(|name| format!("{name} is missing")));
    outcome(faults)
}

/// A file of `server/src` without comments and tests.
struct CodeFile {
    /// Below `server/src`, with slashes.
    path: String,
    /// With their numbers, from 1.
    lines: Vec<(usize, String)>,
}

fn code() -> Result<Vec<CodeFile>, libtest_mimic::Failed> {
    let folder = root().join("server/src");
    let mut files = Vec::new();
    for path in rust_files(&folder)? {
        let relative = path.strip_prefix(&folder)?.to_string_lossy().replace('\\', "/");
        // `faulty.rs` is a store for tests; its module is `#[cfg(test)]`.
        let is_test =
            relative.ends_with("tests.rs") || relative.contains("/tests/") || relative == "checkpoint/faulty.rs";
        if !is_test {
            files.push(CodeFile { path: relative, lines: code_lines(&fs::read_to_string(&path)?) });
        }
    }
    if files.len() < 50 {
        return Err(format!("only {} source files were found in {}", files.len(), folder.display()).into());
    }
    Ok(files)
}

fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Unit tests stand at the end of a file.
        if line.starts_with("mod tests {") {
            break;
        }
        let code = line.split_once("// ").map_or(line, |(code, _)| code);
        if !code.trim().is_empty() && !code.trim_start().starts_with("//") {
            lines.push((index + 1, code.trim_end().to_owned()));
        }
    }
    lines
}

/// Whether `word` stands in a line, and not as a part of a longer word.
fn says(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(inside);
        let after = line[at + word.len()..].chars().next().is_some_and(inside);
        let (starts, ends) = (word.starts_with(inside), word.ends_with(inside));
        !(before && starts || after && ends)
    })
}

fn rust_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn outcome(faults: Vec<String>) -> Outcome {
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}
