use std::fmt::Write;

use serde::Deserialize;

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    parse_with(text, &[])
}

fn parse_with(text: &str, pairs: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    Config::parse("t.toml", text, &environment(pairs)).map_err(|errors| errors.iter().map(Error::report).collect())
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
    assert_eq!(Config::default().http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(Config::default().engine.checkpoint_interval, Duration::from_millis(250));
}

#[test]
fn all_mistakes_are_reported_together_with_their_lines() {
    let errors = parse(
        "data_dir = 3\n[engine]\ncheckpoint_interval = \"soon\"\nseal_bytes = \"64MiB\"\nparrtitions = 4\n\n[http]\nlisten = \"here\"\n\
         [sorage]\nurl = \"x\"\n",
    )
    .expect_err("five mistakes");
    let starts = [
        "t.toml:1:1: data_dir: invalid type",
        "t.toml:3:1: engine.checkpoint_interval: \"soon\" is not a duration",
        "t.toml:5:1: unknown key `parrtitions`, expected one of `checkpoint_interval`",
        "t.toml:8:1: http.listen: \"here\" is not an address to listen on",
        "t.toml:9:2: unknown key `sorage`, expected one of `data_dir`",
    ];
    let mut sorted = errors;
    sorted.sort();
    assert_eq!(sorted.len(), starts.len(), "{sorted:#?}");
    for (error, start) in sorted.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}\nshould begin with\n{start}");
    }
}

#[test]
fn a_syntax_error_has_its_place() {
    let errors = parse("[engine]\npartitions = = 3\n").expect_err("not TOML");
    assert!(errors[0].starts_with("t.toml:2:"), "{errors:?}");
}

#[test]
fn variables_win_over_the_file() {
    let config = parse_with(
        "[engine]\npartitions = 2\n",
        &[
            ("TOUCHLINE_ENGINE_PARTITIONS", "8"),
            ("TOUCHLINE_ENGINE_SEAL_BYTES", "1GiB"),
            ("TOUCHLINE_POSTGRES_URL", "postgres://u:p@h/d"),
            ("TOUCHLINE_POSTGRES_SCHEMA", "123"),
            ("TOUCHLINE_DATA_DIR", "/data"),
            ("TOUCHLINE_AUTH_INSECURE_LISTENERS", "true"),
            ("TOUCHLINE_AUTH_USERS", "[{name='ana', password='x'}]"),
            ("TOUCHLINE_LOG", "debug"),
            ("TOUCHLINE_TEST_POSTGRES", "postgres://elsewhere"),
            ("PATH", "/bin"),
        ],
    )
    .expect("all of them are keys");
    assert_eq!(config.engine.partitions, 8);
    assert_eq!(config.engine.seal_bytes, ByteSize::gib(1));
    assert_eq!(config.postgres.url, Some(Secret::new("postgres://u:p@h/d")));
    assert_eq!(config.postgres.schema, "123");
    assert_eq!(config.data_dir, PathBuf::from("/data"));
    assert!(config.auth.insecure_listeners);
    assert_eq!(config.auth.users[0].name, "ana");
    assert_eq!(config.log.level, "info");
}

#[test]
fn a_misspelt_variable_is_an_error() {
    let errors =
        parse_with("", &[("TOUCHLINE_POSTGRES_URI", "x"), ("TOUCHLINE_ENGINE_PARTITIONS", "many")]).expect_err("two");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("variable TOUCHLINE_ENGINE_PARTITIONS: engine.partitions: invalid type"),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("variable TOUCHLINE_POSTGRES_URI: unknown key `uri`"), "{errors:?}");
}

#[test]
fn secrets_come_from_variables_and_files_and_are_not_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, "from the file\n").expect("written");
    let text = format!(
        "postgres.url = \"postgres://u:${{env:PW}}@h/d\"\n[[auth.users]]\nname = \"ana\"\npassword = \"${{file:{}}}\"\n",
        file.display()
    );
    let config = parse_with(&text, &[("PW", "hunter2")]).expect("both are there");
    assert_eq!(config.postgres.url, Some(Secret::new("postgres://u:hunter2@h/d")));
    assert_eq!(config.auth.users[0].password, Secret::new("from the file"));
    assert!(!format!("{config:?}").contains("hunter2"));

    let errors =
        parse("[postgres]\nurl = \"${env:NOT_THERE}\"\nschema = \"${nonsense}\"\n").expect_err("neither is there");
    assert_eq!(errors[0], "t.toml:3:1: \"${nonsense}\" is not known; write ${env:NAME} or ${file:PATH}", "{errors:?}");
    assert_eq!(errors[1], "t.toml:2:1: environment variable NOT_THERE is not set", "{errors:?}");
}

#[test]
fn listeners_beyond_loopback_need_users_and_tls() {
    let open = "[flight]\nlisten = \"0.0.0.0:31337\"\n";
    assert!(parse(open).expect_err("nobody is asked who he is")[0].contains("without users and TLS"));
    let users = "[auth]\nusers = [{ name = \"ana\", password = \"x\" }]\n";
    assert!(parse(&format!("{open}{users}")).is_err(), "passwords would travel in the clear");
    let tls = "tls_cert_file = \"a\"\ntls_key_file = \"b\"\n";
    assert!(parse(&format!("{open}{tls}")).is_err(), "everyone could read");
    assert!(parse(&format!("{open}{tls}{users}")).is_ok());
    assert!(parse(&format!("{open}[auth]\ninsecure_listeners = true\n")).is_ok());
    assert!(parse("[http]\nlisten = \"[::]:80\"\n").is_err());
    assert!(parse("[http]\nlisten = \"localhost:0\"\n").is_ok());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases = [
        ("[flight]\ntls_cert_file = \"a\"", "belong together"),
        ("[storage]\ntables_url = \"s3://b/x\"\nstate_url = \"s3://b/x/state\"", "lies within"),
        ("[auth]\nusers = [{name = \"a\", password = \"x\"}, {name = \"a\", password = \"y\"}]", "one name"),
        ("[auth]\nusers = [{name = \"a\", password = \"\"}]", "empty password"),
        (
            "[auth]\nusers = [{name = \"a:b\", password = \"x\"}]",
            "the name of user \"a:b\" in auth.users contains \":\"",
        ),
        ("[auth]\nusers = [{name = \"a\", password = \"$2b$12$abc\"}]", "the password of user \"a\" is a hash"),
        ("[auth]\nusers = [{name = \"a\", password = \"$argon2id$v=19\"}]", "the password hash of user \"a\""),
        ("[adhoc]\nthreads = 0", "adhoc.threads is zero"),
        ("[engine]\nepoch_rows_max = 0", "epoch_rows_max is zero"),
        ("[http]\nbody_bytes_max = \"8MiB\"", "http.body_bytes_max is zero or above 7 MiB"),
        ("[http]\nevents_max = 0", "http.events_max is not between 1 and 10000"),
        ("[http]\ningest_bytes_max = \"7MiB\"", "http.ingest_bytes_max has no room for one body"),
    ];
    for (text, expected) in cases {
        let errors = parse(text).expect_err(text);
        assert!(errors[0].contains(expected), "{errors:?}");
    }
    assert!(!lies_within("s3://b/state", "s3://b/tables"));
    assert!(!lies_within("/data/tables2", "/data/tables"));
}

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/touchline.toml");

/// The files that hold settings, for their doc-comments.
const SOURCES: [&str; 6] = [
    include_str!("../config.rs"),
    include_str!("../store.rs"),
    include_str!("../source/kafka/settings.rs"),
    include_str!("../source/embedded.rs"),
    include_str!("../sink/postgres/settings.rs"),
    include_str!("../flight_sql/session.rs"),
];

#[test]
fn the_sample_file_lists_every_key_with_its_comment() {
    let made = sample();
    if std::env::var_os("TOUCHLINE_UPDATE").is_some() {
        std::fs::write(SAMPLE, &made).expect("deploy/ is writable");
    }
    let stored = std::fs::read_to_string(SAMPLE).expect("deploy/touchline.toml");
    assert!(
        stored == made,
        "deploy/touchline.toml is stale; run TOUCHLINE_UPDATE=1 cargo test --release -p touchline --lib config::, and look at the \
         difference"
    );
}

#[test]
fn the_sample_file_without_its_comment_marks_is_the_defaults() {
    let text: String = sample()
        .lines()
        .filter_map(|line| {
            let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
            match key {
                Some(key) if !key.contains("${") && !key.starts_with("tls_") && !key.contains("_url") => Some(key),
                Some(_) => None,
                None => line.starts_with('[').then_some(line),
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    let tree: toml::Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let defaults = serde_json::to_value(Config::default()).expect("settings are plain values");
    let read = Config::deserialize(toml::Value::Table(tree)).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let read = serde_json::to_value(read).expect("settings are plain values");
    for (section, keys) in defaults.as_object().expect("a struct") {
        for (key, value) in keys.as_object().into_iter().flatten().filter(|(_, value)| !is_unset(value)) {
            assert_eq!(&read[section][key], value, "{section}.{key}");
        }
    }
}

#[test]
fn every_key_is_documented() {
    for line in sample().lines() {
        assert!(!line.contains("(undocumented)"), "{line}");
    }
}

fn is_unset(value: &serde_json::Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// The text of `deploy/touchline.toml`: each key with its doc-comment and its default.
fn sample() -> String {
    let defaults = serde_json::to_value(Config::default()).expect("settings are plain values");
    let config_docs = docs_of("Config");
    let mut out = String::from(
        "# Settings of Touchline. Every key is here with its default; take the mark off a line to change it.\n\
         # Each can also be given as an environment variable, which wins: TOUCHLINE_<SECTION>_<KEY>, for example\n\
         # TOUCHLINE_POSTGRES_URL. Any string may contain ${env:NAME} and ${file:PATH}.\n\
         # Durations are written as \"250ms\", \"10s\", \"5m\", \"2h\", \"7d\"; sizes as \"64MiB\", \"10MB\".\n",
    );
    // In the order of the struct, which is the order of reading.
    for (name, field_type, docs) in &config_docs {
        let value = &defaults[name];
        match value.as_object() {
            None => {
                out.push('\n');
                write_key(&mut out, name, value, docs);
            }
            Some(keys) => {
                let _ = writeln!(out, "\n\n# {}\n[{name}]", docs.join("\n# "));
                let mut written = 0;
                for (key, _, docs) in docs_of(field_type).iter().filter(|(key, ..)| keys.contains_key(key)) {
                    out.push('\n');
                    write_key(&mut out, key, &keys[key], docs);
                    written += 1;
                }
                assert_eq!(written, keys.len(), "[{name}] has keys whose struct {field_type} is in none of SOURCES");
            }
        }
    }
    out
}

fn write_key(out: &mut String, key: &str, value: &serde_json::Value, docs: &[String]) {
    let mut example = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in docs {
        match line.strip_prefix("Example: `").and_then(|rest| rest.strip_suffix('`')) {
            Some(text) => example = Some(text),
            None => lines.push(line),
        }
    }
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if lines.is_empty() {
        lines.push("(undocumented)");
    }
    for line in lines {
        let _ = writeln!(out, "{}", format!("# {line}").trim_end());
    }
    let _ = match (is_unset(value), example) {
        (false, _) => writeln!(out, "#{key} = {value}"),
        (true, Some(example)) => writeln!(out, "# Not set. Example:\n#{key} = {example}"),
        (true, None) => writeln!(out, "# Not set.\n# {key} = …"),
    };
}

/// The public fields of a struct: name, type and doc lines, read from its source.
fn docs_of(name: &str) -> Vec<(String, String, Vec<String>)> {
    let head = format!("pub struct {name} {{\n");
    let Some(body) = SOURCES.iter().find_map(|source| source.split_once(&head)) else { return Vec::new() };
    let mut fields = Vec::new();
    let mut docs: Vec<String> = Vec::new();
    for line in body.1.lines().take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
        } else if let Some((field, field_type)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
            fields.push((field.to_owned(), field_type.trim_end_matches(',').to_owned(), std::mem::take(&mut docs)));
        }
    }
    fields
}
