//! What names a version of a query: what it reads and what it means, written out as a text that stays the same, and hashed.
//!
//! Two texts. The one of today leaves out what changes neither rows nor state: columns that the query does not read, where the
//! brokers are, how long a partition may be silent. The one of before had all of that in it, partly as our own structs print
//! themselves; it stays as it was, so that checkpoints of older servers are known.
//!
//! Whoever adds a field to what is written here has to say whether two queries that differ in it are the same one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use sha2::{Digest, Sha256};

use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Column, ColumnKind, Connector, Early, EarlyWhen, Emit, FilesystemPath, Format, KafkaTopic,
    PlainView, PostgresTable, QueryVersion, RecordRows, StartAt, TableDef, ViewDef, ViewRef, WatermarkDef,
};
use crate::clock::micros_of;
use crate::pipeline::{Pipeline, StreamSlot};
use crate::watermark::Monotone;

/// Names a version of a query, what it computes and from what, not how its file is written; and says it. `functions`: texts of those it
/// calls.
pub(super) fn version_of(
    view: &ViewDef,
    plain_views: &[Arc<PlainView>],
    functions: &BTreeSet<&str>,
    pipeline: &Pipeline,
) -> (QueryVersion, String) {
    let meaning = meaning(view, plain_views, functions, &pipeline.slots, &pipeline.schema);
    let former = hash(&former(view, plain_views, functions, &pipeline.slots));
    (QueryVersion { name: hash(&meaning), former }, meaning)
}

fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the query reads and means, a line each.
fn meaning(
    view: &ViewDef,
    plain_views: &[Arc<PlainView>],
    functions: &BTreeSet<&str>,
    slots: &[Arc<StreamSlot>],
    gives: &SchemaRef,
) -> String {
    let mut lines = vec![format!("statement {:?}", view.query.to_string())];
    lines.extend(emission(&view.emit));
    lines.push(format!("lateness {}", micros_of(view.options.allowed_lateness)));
    lines.extend(view.options.state_ttl.map(|ttl| format!("state-ttl {}", micros_of(ttl))));
    // Where a session is cut is which rows there are. The way of before does not say it, and cannot be mended.
    lines.extend(view.options.session_max_length.map(|longest| format!("session-max-length {}", micros_of(longest))));
    lines.extend(plain_views.iter().map(|view| format!("view {:?} {:?}", view.name, view.query.to_string())));
    slots.iter().for_each(|slot| lines.extend(source(slot)));
    lines.extend(functions.iter().map(|function| format!("function {function:?}")));
    lines.extend(
        gives.fields().iter().map(|field| format!("gives {:?} {}", field.name(), type_text(field.data_type()))),
    );
    lines.push(String::new());
    lines.join("\n")
}

fn emission(Emit { timeout, early }: &Emit) -> Vec<String> {
    let timeout = timeout.map(|timeout| format!("emit timeout {}", micros_of(timeout)));
    // Where the clause stands in its file is no part of it.
    let early = early.as_ref().map(|Early { when, line: _, column: _ }| match when {
        EarlyWhen::Changes => "emit changes".to_owned(),
        EarlyWhen::Every(interval) => format!("emit every {}", micros_of(*interval)),
        EarlyWhen::LateCorrections => "emit late corrections".to_owned(),
    });
    timeout.into_iter().chain(early).collect()
}

fn source(slot: &StreamSlot) -> Vec<String> {
    let TableDef { name, columns, watermark, connector, format, csv_delimiter, rows, .. } = slot.table.as_ref();
    let from = match connector {
        // All that a view is, its own name of a version says; how far its times are believed, its sources do.
        Connector::View(ViewRef { version, former_version: _, marks: _, max_future: _, time_column }) => {
            return vec![format!("reads view {name:?} {version} by {time_column:?}")];
        }
        // Where the brokers are is not what is in the topic: the checkpoint says which topic it was, by its id.
        Connector::Kafka(KafkaTopic { topic, brokers: _, start }) => match start {
            StartAt::Earliest => format!("topic {topic:?} from its earliest record"),
            StartAt::Latest => format!("topic {topic:?} from its latest record"),
        },
        Connector::Filesystem(FilesystemPath { path }) => format!("files {path:?}"),
        Connector::Postgres(PostgresTable { schema, name, address: _ }) => {
            format!("database table {schema:?} {name:?}")
        }
    };
    let format = match format {
        Format::Json => "json",
        Format::Csv => "csv",
        Format::Parquet => "parquet",
    };
    let mut lines = vec![format!("reads table {name:?}, {from}, {format}")];
    if *csv_delimiter != CSV_DELIMITER_DEFAULT {
        lines.push(format!("delimiter {csv_delimiter}"));
    }
    match rows {
        RecordRows::One => {}
        RecordRows::Elements(path) => lines.push(format!("rows {path}")),
        RecordRows::Lines => lines.push("rows lines".to_owned()),
    }
    // For how long a partition may be silent, and how far ahead a time is believed: that is how it runs.
    if let Some(WatermarkDef { column, steps, idle_timeout: _, max_future: _ }) = watermark {
        let steps = steps.iter().map(|step| match step {
            Monotone::Less(by) => format!(" less {by}"),
            Monotone::Floor { unit, origin } => format!(" floor {unit} {origin}"),
            Monotone::FloorMonths(months) => format!(" months {months}"),
        });
        lines.push(format!("watermark {column:?}{}", steps.collect::<String>()));
    }
    lines.extend(read(slot.columns(), columns).into_iter().filter_map(|at| columns.get(at)).map(column));
    lines
}

/// The columns that are read, and those that the computed ones of them are computed from.
fn read(columns: &[usize], all: &[Column]) -> BTreeSet<usize> {
    let mut read = BTreeSet::new();
    let mut left = columns.to_vec();
    while let Some(at) = left.pop() {
        if read.insert(at)
            && let Some(ColumnKind::Computed(computed)) = all.get(at).map(|column| &column.kind)
        {
            left.extend(&computed.reads);
        }
    }
    read
}

fn column(Column { name, data_type, nullable, kind, timestamps, reading, checks, comment: _ }: &Column) -> String {
    let kind = match kind {
        ColumnKind::Physical { aliases, numbers_as_text } => {
            let numbers = if *numbers_as_text { " numbers as text" } else { "" };
            format!("field {aliases:?}{numbers}")
        }
        ColumnKind::Metadata(key) => format!("metadata {key:?}"),
        ColumnKind::Computed(computed) => format!("computed {:?}", computed.written.to_string()),
    };
    let mut text = format!("column {name:?} {} {kind}", type_text(data_type));
    if !nullable {
        text.push_str(" not null");
    }
    timestamps.name().into_iter().for_each(|format| text.push_str(&format!(" {format}")));
    checks.iter().for_each(|check| text.push_str(&format!(" check {}", check.version())));
    match reading.version() {
        reading if reading.is_empty() => {}
        reading => text.push_str(&format!(" reading {reading:?}")),
    }
    text
}

/// A type by a name of ours: how Arrow prints its own changes, and in which of several forms a text is held says nothing of it.
fn type_text(data_type: &DataType) -> String {
    let list = |item: &FieldRef| format!("list({})", type_text(item.data_type()));
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytes".to_owned(),
        DataType::Timestamp(unit, None) => format!("timestamp({unit:?})"),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp({unit:?} {zone:?})"),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time({unit:?})"),
        DataType::Duration(unit) => format!("duration({unit:?})"),
        DataType::Interval(unit) => format!("interval({unit:?})"),
        DataType::Decimal128(precision, scale) => format!("decimal128({precision} {scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal256({precision} {scale})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => list(item),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| format!("{:?} {}", field.name(), type_text(field.data_type())));
            format!("struct({})", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => format!("map({})", type_text(entries.data_type())),
        DataType::Dictionary(_, value) => type_text(value),
        plain => plain.to_string(),
    }
}

/// As servers up to version 1 of the fingerprint wrote it. Nothing may change here: it is what their checkpoints are known by.
fn former(
    view: &ViewDef,
    plain_views: &[Arc<PlainView>],
    functions: &BTreeSet<&str>,
    slots: &[Arc<StreamSlot>],
) -> String {
    let (query, emission) = (&view.query, former_emission(&view.emit));
    let mut text = format!("{query}\n{emission}\n{:?}\n", view.options.allowed_lateness);
    if let Some(ttl) = view.options.state_ttl {
        text.push_str(&format!("{ttl:?}\n"));
    }
    for view in plain_views {
        text.push_str(&format!("{} {}\n", view.name, view.query));
    }
    for slot in slots {
        let TableDef { name, columns, watermark, connector, format, csv_delimiter, rows, .. } = slot.table.as_ref();
        let connector = match connector {
            Connector::View(ViewRef { former_version, time_column, .. }) => {
                text.push_str(&format!("view {name} {former_version}\n"));
                time_column.iter().for_each(|time| text.push_str(&format!("{time}\n")));
                continue;
            }
            Connector::Kafka(KafkaTopic { topic, brokers, start, .. }) => {
                format!("Kafka(KafkaTopic {{ topic: {topic:?}, brokers: {brokers:?}, start: {start:?} }})")
            }
            Connector::Filesystem(FilesystemPath { path, .. }) => {
                format!("Filesystem(FilesystemPath {{ path: {path:?} }})")
            }
            Connector::Postgres(table) => format!("Postgres({table})"),
        };
        let watermark = former_watermark(watermark.as_ref());
        text.push_str(&format!("{name}\n{watermark}\n{connector}\n{format:?}\n"));
        if *csv_delimiter != CSV_DELIMITER_DEFAULT {
            text.push_str(&format!("{csv_delimiter}\n"));
        }
        match rows {
            RecordRows::One => {}
            RecordRows::Elements(path) => text.push_str(&format!("Elements(FieldPath({:?}))\n", path.0)),
            RecordRows::Lines => text.push_str("Lines\n"),
        }
        for Column { name, data_type, nullable, kind, timestamps, reading, checks, .. } in columns {
            let kind = match kind {
                ColumnKind::Physical { aliases, numbers_as_text, .. } => {
                    format!("Physical {{ aliases: {aliases:?}, numbers_as_text: {numbers_as_text} }}")
                }
                ColumnKind::Metadata(key) => format!("Metadata({key:?})"),
                ColumnKind::Computed(computed) => format!("Computed({:?})", computed.written.to_string()),
            };
            text.push_str(&format!("{name} {data_type} {nullable} {kind}\n"));
            if !checks.is_empty() {
                text.push_str(&format!("{checks:?}\n"));
            }
            timestamps.name().into_iter().for_each(|format| text.push_str(&format!("{format}\n")));
            text.push_str(&reading.version());
        }
    }
    functions.iter().for_each(|function| text.push_str(&format!("{function}\n")));
    text
}

fn former_emission(Emit { timeout, early }: &Emit) -> String {
    let text = format!("Emit {{ timeout: {timeout:?} }}");
    match early {
        None => text,
        Some(early) => format!("{text} {:?}", early.when),
    }
}

fn former_watermark(watermark: Option<&WatermarkDef>) -> String {
    let Some(WatermarkDef { column, steps, idle_timeout, max_future, .. }) = watermark else {
        return "None".to_owned();
    };
    let delay = match steps.as_slice() {
        [] => Some(0),
        [Monotone::Less(delay)] => u64::try_from(*delay).ok(),
        _ => None,
    };
    let how = match delay {
        Some(delay) => format!("delay: {:?}", Duration::from_micros(delay)),
        None => format!("steps: {steps:?}"),
    };
    format!(
        "Some(WatermarkDef {{ column: {column:?}, {how}, idle_timeout: {idle_timeout:?}, max_future: {max_future:?} }})"
    )
}
