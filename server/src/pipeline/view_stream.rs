//! A materialized view as queries above read it: its columns and what is known of them, as of a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Pipeline;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Column, ColumnKind, Connector, Format, OnBadRow, QueryVersion, Reading, RecordRows,
    TableDef, TimestampFormat, ViewDef, ViewMark, ViewRef,
};
use crate::clock::duration_of;
use crate::error::{Error, Result};
use crate::plan::{ColumnFacts, ViewFacts};

/// See the module's first line.
#[derive(Debug)]
pub struct ViewStream {
    /// Of the connector [`Connector::View`].
    pub table: Arc<TableDef>,
    /// Of each column, in terms of the view's marks.
    pub(super) facts: Vec<ColumnFacts>,
}

impl ViewStream {
    /// `version`: names what the view computes.
    ///
    /// # Errors
    /// `Invalid` where rows of the view cannot be read on from: they do not only come, or a name says two columns.
    pub fn of(view: &ViewDef, pipeline: &Pipeline, version: impl Into<QueryVersion>) -> Result<Self> {
        // The one place that decides what a query above can take: rows that are final.
        pipeline.changes().append_only(&format!("a query over view \"{}\"", view.name))?;
        let fields = pipeline.schema.fields();
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut seen = BTreeSet::new();
        if let Some(name) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Error::invalid(format!("view \"{}\" has two columns with the name \"{name}\"", view.name))
                .hint("give one of them another name with AS, so that a query can tell them apart"));
        }
        let ViewFacts { columns: facts, marks } = ViewFacts::of(&names, &pipeline.edge);
        let columns = fields.iter().map(|field| Column {
            name: field.name().clone(),
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            kind: ColumnKind::Physical { aliases: vec![], numbers_as_text: false },
            timestamps: TimestampFormat::default(),
            reading: Reading::default(),
            checks: vec![],
            comment: None,
        });
        let marks = marks.into_iter().map(|(name, column)| ViewMark { name, column }).collect();
        let time_column = view.options.time_column.clone();
        let QueryVersion { name: version, former: former_version } = version.into();
        let max_future = max_future(pipeline, &facts);
        let table = TableDef {
            name: view.name.clone(),
            columns: columns.collect(),
            watermark: None,
            primary_key: view.options.primary_key.clone(),
            connector: Connector::View(ViewRef { version, former_version, marks, max_future, time_column }),
            // What its sealed rows are in.
            format: Format::Parquet,
            csv_delimiter: CSV_DELIMITER_DEFAULT,
            rows: RecordRows::default(),
            on_bad_row: on_bad_row(pipeline),
            refresh_interval: None,
            http: None,
            text: view.text.clone(),
            location: view.location.clone(),
        };
        Ok(ViewStream { table: Arc::new(table), facts })
    }

    /// The columns that have a watermark.
    pub(super) fn times(&self) -> Vec<String> {
        let columns = self.table.columns.iter().zip(&self.facts);
        columns.filter(|(_, facts)| facts.watermark.is_some()).map(|(column, _)| column.name.clone()).collect()
    }

    /// The column that is meant where a query above does not name its time: what the view says, or the only one with a watermark.
    pub(super) fn time(&self) -> Option<String> {
        if let Connector::View(ViewRef { time_column: Some(named), .. }) = &self.table.connector {
            return Some(named.clone());
        }
        let mut times = self.times().into_iter();
        times.next().filter(|_| times.next().is_none())
    }
}

/// The furthest that one of its sources goes, as for the query itself; and as far again as its longest window, whose end is a time like
/// another here.
fn max_future(pipeline: &Pipeline, facts: &[ColumnFacts]) -> Option<Duration> {
    let of_slots: Option<Vec<Duration>> = pipeline.slots.iter().map(|slot| slot.max_future()).collect();
    let longest = facts.iter().filter_map(|facts| facts.window.as_ref()?.kind.longest_us()).max().unwrap_or(0);
    Some(of_slots?.into_iter().max()?.saturating_add(duration_of(longest)))
}

/// Rows of a view are results, and a result is of all tables that it is made of.
fn on_bad_row(pipeline: &Pipeline) -> OnBadRow {
    match pipeline.slots.iter().any(|slot| slot.table.on_bad_row == OnBadRow::Fail) {
        true => OnBadRow::Fail,
        false => OnBadRow::DeadLetter,
    }
}
