//! What a test says must be seen of one view, and what has been seen in the same columns.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use serde_json::Value as Json;

use super::chain::Views;
use super::compare::{Wanted, WantedRow};
use super::script::{Expected, Grid, Report, What};
use super::value::{Value, fits, values};
use super::{Failure, Subject};
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::contract::LateRow;
use crate::source::DeadLetter;

/// Columns in which late rows are shown that are not expected.
const LATE: [&str; 6] = ["table", "partition", "offset", "event_time", "missed_from", "missed_to"];
const BAD: [&str; 4] = ["table", "partition", "offset", "reason"];

/// What must be seen, step by step.
#[derive(Debug)]
pub(super) struct Expectations<'a> {
    subject: &'a Subject<'a>,
    steps: Vec<Vec<&'a Expected>>,
    columns: Vec<String>,
    /// Of each slot.
    pub(super) tables: Vec<String>,
    by_topic: BTreeMap<Arc<str>, String>,
}

impl<'a> Expectations<'a> {
    /// # Errors
    /// `Invalid` for a column that the view does not have.
    pub(super) fn of(subject: &'a Subject<'a>, chain: &Views) -> Result<Self> {
        let of_view = |expected: &&Expected| match &expected.view {
            Some(view) => view.name == subject.view.name,
            None => true,
        };
        let steps = subject.script.steps.iter().map(|step| step.expected.iter().filter(of_view).collect());
        let steps: Vec<Vec<&Expected>> = steps.collect();
        let fields = chain.top().pipeline.schema.fields();
        let columns: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        for expected in steps.iter().flatten() {
            let grid = match &expected.what {
                What::Rows { grid, .. } => grid,
                What::Early(_) if chain.top().pipeline.early().is_none() => {
                    let what = format!("no row of view \"{}\" can be seen before it is final", subject.view.name);
                    let hint = "say EMIT CHANGES or its like in the view, or leave the line out";
                    return Err(Error::invalid(what).hint(hint).at(expected.at.clone()));
                }
                What::Early(grid) => grid,
                What::Late(_) | What::Bad(_) | What::Stops(_) | What::Refused(_) => continue,
            };
            if let Some(unknown) = grid.columns.iter().find(|column| !columns.contains(&column.name)) {
                let error =
                    Error::invalid(format!("view \"{}\" has no column \"{}\"", subject.view.name, unknown.name));
                return Err(error.hint(format!("there are {}", columns.join(", "))).at(unknown.at.clone()));
            }
        }
        let slots = chain.slots();
        Ok(Expectations {
            subject,
            steps,
            columns,
            tables: slots.iter().map(|slot| slot.table.name.clone()).collect(),
            by_topic: slots.iter().map(|slot| (Arc::clone(slot.topic()), slot.table.name.clone())).collect(),
        })
    }

    /// The table that reads a topic.
    pub(super) fn table_of(&self, topic: &str) -> String {
        self.by_topic.get(topic).cloned().unwrap_or_else(|| topic.to_owned())
    }

    /// The error with which the query must stop at a step.
    pub(super) fn stop(&self, step: usize) -> Option<&'a Expected> {
        self.steps.get(step)?.iter().copied().find(|expected| matches!(expected.what, What::Stops(_)))
    }

    pub(super) fn same_error(&self, expected: &Expected, error: &Error) -> Result<(), Failure> {
        let (What::Stops(report) | What::Refused(report)) = &expected.what else { return Ok(()) };
        match is_said(report, error, self.subject.file) {
            true => Ok(()),
            false => {
                let what = format!("the query stops with another error than expected\n{}", indented(&error.report()));
                Err(self.subject.failure(expected.at.line, what))
            }
        }
    }

    /// The rows of the view.
    pub(super) fn rows(&self, steps: Range<usize>) -> Wanted {
        let (grids, in_order) = self.grids(steps, |what| match what {
            What::Rows { grid, in_order } => Some((grid, *in_order)),
            _ => None,
        });
        wanted(self.named(&grids), &grids, in_order)
    }

    /// The rows that are not final after a step; `None` where nothing is said of them.
    pub(super) fn early(&self, step: usize) -> Option<Wanted> {
        let (grids, _) = self.grids(step..step + 1, |what| match what {
            What::Early(grid) => Some((grid, false)),
            _ => None,
        });
        (!grids.is_empty()).then(|| wanted(self.named(&grids), &grids, false))
    }

    /// The columns of the view that some tables name, or all where these name none.
    fn named(&self, grids: &[(u64, &Grid)]) -> Vec<String> {
        let names_none = grids.iter().all(|(_, grid)| grid.columns.is_empty());
        let named = |name: &&String| {
            names_none || grids.iter().any(|(_, grid)| grid.columns.iter().any(|column| column.name == **name))
        };
        self.columns.iter().filter(named).cloned().collect()
    }

    /// The late rows.
    pub(super) fn late(&self, steps: Range<usize>) -> Wanted {
        let (grids, _) = self.grids(steps, |what| match what {
            What::Late(grid) => Some((grid, false)),
            _ => None,
        });
        wanted(names(&grids, &LATE), &grids, false)
    }

    /// Records and rows that are bad.
    pub(super) fn bad(&self, steps: Range<usize>) -> Wanted {
        let (grids, _) = self.grids(steps, |what| match what {
            What::Bad(grid) => Some((grid, false)),
            _ => None,
        });
        wanted(names(&grids, &BAD), &grids, false)
    }

    /// The tables of some steps with their lines, and whether order matters in one of them.
    fn grids(&self, steps: Range<usize>, of: impl Fn(&What) -> Option<(&Grid, bool)>) -> (Vec<(u64, &'a Grid)>, bool) {
        let (mut grids, mut in_order) = (Vec::new(), false);
        for expected in self.steps.get(steps).unwrap_or_default().iter().flatten().copied() {
            if let Some((grid, ordered)) = of(&expected.what) {
                grids.push((expected.at.line, grid));
                in_order |= ordered;
            }
        }
        (grids, in_order)
    }

    /// Rows of the view in the wanted columns.
    pub(super) fn shown_rows(&self, wanted: &Wanted, batches: &[RecordBatch]) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        for batch in batches {
            let places = self.columns.iter().zip(batch.columns()).filter(|(name, _)| wanted.columns.contains(name));
            let columns = places.map(|(_, column)| values(column)).collect::<Result<Vec<_>>>()?;
            rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
        }
        Ok(rows)
    }

    /// Entries of the late ledger in the wanted columns.
    pub(super) fn shown_late(&self, wanted: &Wanted, late: &[LateRow]) -> Vec<Vec<Value>> {
        let shown = |late: &LateRow| {
            let row: Json = serde_json::from_str(&late.row).unwrap_or_default();
            let origin = late.origin.as_ref();
            let whole = |number: Option<i64>| number.map_or(Value::Null, |number| Value::Whole(number.into()));
            let value = |name: &String| match name.as_str() {
                "event_time" => time(late.event_time),
                "watermark" => time(Some(late.watermark)),
                "missed_from" => time(late.missed.map(|(from, _)| from)),
                "missed_to" => time(late.missed.map(|(_, to)| to)),
                "wholly" => Value::Bool(late.wholly),
                "table" => origin.map_or(Value::Null, |origin| Value::Text(self.table_of(&origin.topic))),
                "partition" => whole(origin.map(|origin| origin.partition.into())),
                "offset" => whole(origin.map(|origin| origin.offset)),
                "input" => Value::Whole(late.input.into()),
                name => Value::of_json(row.get(name)),
            };
            wanted.columns.iter().map(value).collect()
        };
        late.iter().map(shown).collect()
    }

    /// Dead letters in the wanted columns.
    pub(super) fn shown_bad(&self, wanted: &Wanted, bad: &[DeadLetter]) -> Vec<Vec<Value>> {
        let text = |text: Option<String>| text.map_or(Value::Null, Value::Text);
        let shown = |bad: &DeadLetter| {
            let bytes = bad.value.as_deref().map(|value| String::from_utf8_lossy(value).into_owned());
            let row: Json = bytes.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
            let value = |name: &String| match name.as_str() {
                "table" => text(bad.topic.as_ref().map(|topic| self.table_of(topic))),
                "partition" => bad.partition.map_or(Value::Null, |partition| Value::Whole(partition.into())),
                "offset" => bad.offset.map_or(Value::Null, |offset| Value::Whole(offset.into())),
                "column" => text(bad.column.clone()),
                "reason" => Value::Text(without_file(&bad.reason, self.subject.file).to_owned()),
                "value" => text(bytes.clone()),
                name => Value::of_json(row.get(name)),
            };
            wanted.columns.iter().map(value).collect()
        };
        bad.iter().map(shown).collect()
    }
}

fn time(micros: Option<Micros>) -> Value {
    micros.map_or(Value::Null, |micros| Value::Time(i128::from(micros) * 1_000))
}

fn names(grids: &[(u64, &Grid)], otherwise: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for column in grids.iter().flat_map(|(_, grid)| &grid.columns) {
        if !names.contains(&column.name) {
            names.push(column.name.clone());
        }
    }
    if names.is_empty() { otherwise.iter().map(|name| (*name).to_owned()).collect() } else { names }
}

fn wanted(columns: Vec<String>, grids: &[(u64, &Grid)], in_order: bool) -> Wanted {
    let mut rows = Vec::new();
    for (_, grid) in grids {
        let places: Vec<Option<usize>> =
            columns.iter().map(|name| grid.columns.iter().position(|column| column.name == *name)).collect();
        rows.extend(grid.rows.iter().map(|row| WantedRow {
            line: row.line,
            cells: places.iter().map(|at| at.map(|at| row.cells[at].clone())).collect(),
        }));
    }
    Wanted { columns, rows, in_order, and_more: false, line: grids.first().map(|(line, _)| *line) }
}

/// Whether an error is the one that is expected. A place in the test's own file is written without the file.
pub(super) fn is_said(report: &Report, error: &Error, file: &str) -> bool {
    let place = error.location().map(|place| format!("{place}: ")).unwrap_or_default();
    let first = format!("{place}{}", error.primary());
    let part = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| fits(wanted, &in_one_line(found.unwrap_or_default())))
    };
    fits(&report.first, &in_one_line(without_file(&first, file)))
        && part(&report.detail, error.detail_text())
        && part(&report.hint, error.hint_text())
}

fn without_file<'a>(text: &'a str, file: &str) -> &'a str {
    text.strip_prefix(file).and_then(|rest| rest.strip_prefix(':')).unwrap_or(text)
}

fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
