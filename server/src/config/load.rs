//! From a file and the environment to a [`Config`]: all mistakes at once, each with its line.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

use super::Config;
use crate::error::{Error, Location, Result};

/// The variables of the process, or what a test puts in their place.
pub type Environment = BTreeMap<String, String>;

const PREFIX: &str = "TOUCHLINE_";

impl Config {
    /// Reads `path`, or goes by the defaults where there is none, then lets the environment win.
    ///
    /// # Errors
    /// Every mistake that could be found, `Invalid` each.
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Config, Vec<Error>> {
        let Some(path) = path else { return Config::parse("", "", environment) };
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![
                Error::invalid(format!("cannot read configuration file {name}"))
                    .detail(error.to_string())
                    .hint("name an existing file with --config; deploy/touchline.toml is one to begin with"),
            ]
        })?;
        Config::parse(&name, &text, environment)
    }

    /// As [`Config::load`], from text. `name`: what errors call it.
    ///
    /// # Errors
    /// Every mistake that could be found, `Invalid` each.
    pub fn parse(name: &str, text: &str, environment: &Environment) -> Result<Config, Vec<Error>> {
        let places = Places { name, text };
        let (spanned, syntax) = DeTable::parse_recoverable(text);
        if !syntax.is_empty() {
            return Err(syntax.iter().map(|error| places.error(error.span(), error.message().to_owned())).collect());
        }
        let mut tree: Table =
            toml::from_str(text).map_err(|error| vec![places.error(error.span(), error.message().to_owned())])?;
        let mut errors = Vec::new();

        // Keys are tried one by one, so that the second mistake is found together with the first.
        for (section, value) in spanned.get_ref() {
            let key = section.get_ref().as_ref();
            match (value.get_ref(), tree.get_mut(key)) {
                (DeValue::Table(keys), Some(Value::Table(values))) => {
                    if let Err(message) = try_value(key, None, Value::Table(Table::new())) {
                        errors.push(places.error(Some(section.span()), message));
                        continue;
                    }
                    for (inner, _) in keys {
                        if let Some(value) = values.get_mut(inner.get_ref().as_ref()) {
                            let checked = substitute(value, environment)
                                .and_then(|()| try_value(key, Some(inner.get_ref()), value.clone()));
                            if let Err(message) = checked {
                                errors.push(places.error(Some(inner.span()), message));
                            }
                        }
                    }
                }
                (_, Some(value)) => {
                    let checked = substitute(value, environment).and_then(|()| try_value(key, None, value.clone()));
                    if let Err(message) = checked {
                        errors.push(places.error(Some(section.span()), message));
                    }
                }
                _ => {}
            }
        }
        for (variable, written) in environment {
            match from_variable(variable, written, environment) {
                Ok(None) => {}
                Ok(Some((None, key, value))) => {
                    tree.insert(key, value);
                }
                Ok(Some((Some(section), key, value))) => {
                    if let Value::Table(values) = tree.entry(section).or_insert_with(|| Value::Table(Table::new())) {
                        values.insert(key, value);
                    }
                }
                Err(message) => errors.push(Error::invalid(message).at(Location {
                    file: format!("variable {variable}"),
                    line: 0,
                    column: 0,
                })),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let config = Config::deserialize(Value::Table(tree))
            .map_err(|error| vec![places.error(None, error.message().to_owned())])?;
        let mistakes = config.mistakes();
        if mistakes.is_empty() {
            return Ok(config);
        }
        Err(mistakes.into_iter().map(|error| if name.is_empty() { error } else { error.at(places.whole()) }).collect())
    }
}

/// Several mistakes as one error, for callers that return one.
pub fn one_error(mut errors: Vec<Error>) -> Error {
    if errors.len() == 1
        && let Some(only) = errors.pop()
    {
        return only;
    }
    let reports: Vec<String> = errors.iter().map(Error::report).collect();
    Error::invalid(format!("{} mistakes in the configuration\n{}", errors.len(), reports.join("\n")))
}

struct Places<'a> {
    name: &'a str,
    text: &'a str,
}

impl Places<'_> {
    fn whole(&self) -> Location {
        Location { file: self.name.to_owned(), line: 0, column: 0 }
    }

    fn error(&self, span: Option<std::ops::Range<usize>>, message: String) -> Error {
        let location = match span {
            None => self.whole(),
            Some(span) => {
                let before = &self.text[..self.text.floor_char_boundary(span.start)];
                let line_start = before.rfind('\n').map_or(0, |at| at + 1);
                let line = before.bytes().filter(|byte| *byte == b'\n').count() as u64 + 1;
                Location { file: self.name.to_owned(), line, column: before[line_start..].chars().count() as u64 + 1 }
            }
        };
        // The parser separates what it expected by a newline; errors here are one line each.
        Error::invalid(message.replace('\n', ", ")).at(location)
    }
}

/// Whether the configuration could hold this value under this name. Every key has a default, so one key alone can be tried.
fn try_value(section: &str, key: Option<&str>, value: Value) -> Result<(), String> {
    let value = match key {
        Some(key) => Value::Table(Table::from_iter([(key.to_owned(), value)])),
        None => value,
    };
    let tree = Table::from_iter([(section.to_owned(), value)]);
    let place = key.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}"));
    Config::deserialize(Value::Table(tree)).map(drop).map_err(|error| {
        let message = error.message().replace("unknown field", "unknown key");
        if message.starts_with("unknown key") { message } else { format!("{place}: {message}") }
    })
}

type Override = (Option<String>, String, Value);

/// The key that a variable stands for. `None`: it is none of ours.
fn from_variable(variable: &str, written: &str, environment: &Environment) -> Result<Option<Override>, String> {
    // The log filter has a variable of its own, and what tests and tools call theirs is none of ours.
    let Some(name) = variable.strip_prefix(PREFIX).filter(|name| *name != "LOG") else { return Ok(None) };
    let name = name.to_ascii_lowercase();
    let known = serde_json::to_value(Config::default()).map_err(|error| error.to_string())?;
    let Some(known) = known.as_object() else { return Ok(None) };
    let mut found = None;
    for (section, keys) in known {
        match keys.as_object() {
            None if *section == name => found = Some((None, name.clone())),
            Some(_) => {
                if let Some(key) = name.strip_prefix(section.as_str()).and_then(|rest| rest.strip_prefix('_')) {
                    found = Some((Some(section.clone()), key.to_owned()));
                }
            }
            None => {}
        }
    }
    let Some((section, key)) = found else { return Ok(None) };
    let outer = section.as_deref().unwrap_or(&key);
    let inner = section.as_ref().map(|_| key.as_str());
    // A variable is text; the key says whether it stands for a number, a list or really for text.
    let candidates = [
        Some(Value::String(written.to_owned())),
        toml::from_str::<Table>(&format!("value = {written}")).ok().and_then(|mut table| table.remove("value")),
    ];
    let mut refused = None;
    for mut candidate in candidates.into_iter().flatten() {
        match substitute(&mut candidate, environment).and_then(|()| try_value(outer, inner, candidate.clone())) {
            Ok(()) => return Ok(Some((section, key, candidate))),
            Err(message) => _ = refused.get_or_insert(message),
        }
    }
    Err(refused.unwrap_or_default())
}

/// Puts the values of `${env:NAME}` and `${file:PATH}` into every string of a value.
fn substitute(value: &mut Value, environment: &Environment) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if text.contains("${") {
                *text = substituted(text, environment)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| substitute(item, environment)),
        Value::Table(table) => table.iter_mut().try_for_each(|(_, item)| substitute(item, environment)),
        _ => Ok(()),
    }
}

fn substituted(text: &str, environment: &Environment) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { return Err("\"${\" without its \"}\"".to_owned()) };
        let reference = &rest[start + 2..start + length];
        out.push_str(&rest[..start]);
        match reference.split_once(':') {
            Some(("env", name)) => match environment.get(name) {
                Some(value) => out.push_str(value),
                None => return Err(format!("environment variable {name} is not set")),
            },
            Some(("file", path)) => match std::fs::read_to_string(path) {
                // Editors and secret stores end a file with a newline that is not part of the secret.
                Ok(content) => out.push_str(content.trim_end_matches(['\r', '\n'])),
                Err(error) => return Err(format!("cannot read file {path}: {error}")),
            },
            _ => return Err(format!("\"${{{reference}}}\" is not known; write ${{env:NAME}} or ${{file:PATH}}")),
        }
        rest = &rest[start + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
