//! DuckDB's answer to the same question, from a process of its own that answers many.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use libtest_mimic::Failed;
use serde_json::{Map, Value as Json, json};

use super::answer::{Answer, Value};
use super::rows::{Rows, STREAMS};
use crate::services;

const STREAM_COLUMNS: &str =
    "id BIGINT, k VARCHAR, g INT, n BIGINT, x DOUBLE, ok BOOLEAN, o STRUCT(p VARCHAR, q BIGINT), ts TIMESTAMP";
const STATIC_COLUMNS: &str = "k VARCHAR, g INT, label VARCHAR, w BIGINT";

pub(super) struct DuckDb {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl DuckDb {
    pub(super) fn start() -> Result<Self, Failed> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/stream_equals_batch/oracle.py");
        let mut process = Command::new(services::python()?)
            .arg("-B")
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or("the process has no output")?);
        Ok(DuckDb { process, questions, answers })
    }

    /// `None` where DuckDB refuses to compute what we compute: a variance of infinities.
    ///
    /// # Errors
    /// DuckDB's, and those of the process.
    pub(super) fn answer(&mut self, query: &str, rows: &Rows) -> Result<Option<Answer>, Failed> {
        let mut tables = Map::new();
        for ((name, ..), partitions) in STREAMS.iter().zip(&rows.streams) {
            let rows = partitions.iter().flatten().map(|row| literals(&row.shown(), &["ts"]));
            tables.insert((*name).to_owned(), json!({"columns": STREAM_COLUMNS, "rows": rows.collect::<Vec<_>>()}));
        }
        let statics = rows.statics.iter().map(|row| literals(&row.shown(), &[]));
        tables.insert("d".to_owned(), json!({"columns": STATIC_COLUMNS, "rows": statics.collect::<Vec<_>>()}));
        let question = json!({"tables": tables, "query": query});
        let questions = self.questions.as_mut().ok_or("the process has no input")?;
        writeln!(questions, "{question}")?;
        questions.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("DuckDB's process has ended".into());
        }
        let answer: Json = serde_json::from_str(&line)?;
        if let Some(error) = answer["error"].as_str() {
            return if error.contains("out of range") { Ok(None) } else { Err(error.into()) };
        }
        let rows = answer["rows"].as_array().ok_or("no rows in the answer")?;
        Ok(Some(rows.iter().map(values).collect::<Result<_, _>>()?))
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        // It ends with its input.
        self.questions = None;
        let _ = self.process.wait();
    }
}

/// A row as SQL, value by value, in the order of the columns.
fn literals(row: &Json, times: &[&str]) -> Vec<String> {
    let order = ["id", "k", "g", "n", "x", "ok", "o", "ts", "label", "w"];
    let present = order.iter().filter_map(|name| Some((*name, row.get(name)?)));
    present
        .map(|(name, value)| match value {
            Json::Number(us) if times.contains(&name) => format!("make_timestamp({us})"),
            Json::String(text) if name == "x" => format!("'{text}'::DOUBLE"),
            Json::Object(o) => format!("{{'p': {}, 'q': {}}}", literal(&o["p"]), literal(&o["q"])),
            value => literal(value),
        })
        .collect()
}

fn literal(value: &Json) -> String {
    match value {
        Json::String(text) => format!("'{text}'"),
        value => value.to_string(),
    }
}

fn values(row: &Json) -> Result<Vec<Value>, Failed> {
    row.as_array().ok_or("a row is no list")?.iter().map(value).collect()
}

fn value(json: &Json) -> Result<Value, Failed> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => Value::Whole(number.to_string().parse()?),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(_) => Value::List(values(json)?),
        Json::Object(object) => {
            if let Some(text) = object.get("f").and_then(Json::as_str) {
                Value::Float(text.parse()?)
            } else if let Some(us) = object.get("t").and_then(Json::as_i64) {
                Value::Time(us)
            } else {
                let fields = object["s"].as_array().ok_or("a struct has no fields")?;
                let field = |pair: &Json| Ok((pair[0].as_str().unwrap_or_default().to_owned(), value(&pair[1])?));
                Value::Struct(fields.iter().map(field).collect::<Result<_, Failed>>()?)
            }
        }
    })
}
