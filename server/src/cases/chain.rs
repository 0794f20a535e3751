//! The view that a test is about, above those that it reads: each is a query of its own, as on a server, and stands behind those that it reads.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use crate::catalog::{Defined, TableDef, ViewDef};
use crate::error::{Error, Result};
use crate::pipeline::{Pipeline, PlanSettings, StreamSlot, Tables, ViewStream};
use crate::registry::{Catalog, planned, views_read};
use crate::sql::Functions;
use crate::watermark::{END, Mark};

/// See the module's first line.
#[derive(Debug)]
pub(super) struct Views {
    /// The last is the view that the test is about.
    pub(super) queries: Vec<Query>,
}

#[derive(Debug)]
pub(super) struct Query {
    pub(super) view: Arc<ViewDef>,
    pub(super) pipeline: Pipeline,
    /// What each of its slots reads.
    pub(super) inputs: Vec<Input>,
}

#[derive(Debug, Clone)]
pub(super) enum Input {
    /// A table, by its place in [`Views::slots`].
    Table(usize),
    /// What a query of the chain emits, and how far it has said that its times have got.
    View { query: usize, marks: Vec<Mark> },
}

impl Views {
    /// # Errors
    /// `Invalid` for whatever is wrong with one of the views, or where they read one another in a circle.
    pub(super) async fn planned(view: &Arc<ViewDef>, catalog: &Arc<Catalog>, settings: PlanSettings) -> Result<Self> {
        // At first, because this is what finds a circle.
        let top = planned(Arc::clone(view), Arc::clone(catalog), settings).await?.pipeline;
        let mut pipelines = Vec::new();
        for below in in_order(view, catalog).into_iter().filter(|below| below.name != view.name) {
            let pipeline = planned(Arc::clone(&below), Arc::clone(catalog), settings).await?.pipeline;
            pipelines.push((below, pipeline));
        }
        pipelines.push((Arc::clone(view), top));
        let (mut queries, mut tables) = (Vec::<Query>::new(), 0..);
        for (view, pipeline) in pipelines {
            let input = |slot: &Arc<StreamSlot>| match slot.view() {
                None => tables.next().map(Input::Table),
                Some(_) => {
                    let query = queries.iter().position(|query| query.view.name == slot.table.name)?;
                    Some(Input::View { query, marks: vec![Mark::NONE; slot.marks()] })
                }
            };
            let inputs: Option<Vec<Input>> = pipeline.slots.iter().map(input).collect();
            let inputs = inputs.ok_or_else(|| Error::bug(format!("what view \"{}\" reads is not there", view.name)))?;
            queries.push(Query { view, pipeline, inputs });
        }
        Ok(Views { queries })
    }

    /// The tables that are read, those of one query behind those of the queries before it.
    pub(super) fn slots(&self) -> Vec<Arc<StreamSlot>> {
        let slots = self.queries.iter().flat_map(|query| &query.pipeline.slots);
        slots.filter(|slot| slot.view().is_none()).cloned().collect()
    }

    pub(super) fn top(&self) -> &Query {
        // It holds one at least.
        &self.queries[self.queries.len() - 1]
    }

    pub(super) fn below(&self) -> &[Query] {
        &self.queries[..self.queries.len() - 1]
    }

    pub(super) fn keeps_state(&self) -> bool {
        self.queries.iter().any(|query| !query.pipeline.operators().is_empty())
    }
}

impl Query {
    /// Where its sources stand. `tables`: those of [`Views::slots`].
    pub(super) fn sources(&self, tables: &[Mark]) -> Vec<Mark> {
        let marks = self.inputs.iter().flat_map(|input| match input {
            Input::Table(slot) => vec![tables[*slot]],
            Input::View { marks, .. } => marks.clone(),
        });
        marks.collect()
    }

    /// The slot that reads a table.
    pub(super) fn slot_of(&self, table: usize) -> Option<usize> {
        self.inputs.iter().position(|input| matches!(input, Input::Table(of) if *of == table))
    }

    /// Whether it reads rows of a view.
    pub(super) fn reads_some(&self, fresh: &[Vec<RecordBatch>]) -> bool {
        let has_rows = |query: usize| fresh.get(query).is_some_and(|rows| rows.iter().any(|rows| rows.num_rows() > 0));
        self.inputs.iter().any(|input| matches!(input, Input::View { query, .. } if has_rows(*query)))
    }

    /// Takes up what a query below has told of its times. None of them goes back, by the rules of `watermark::ViewWatermark`.
    pub(super) fn hear(&mut self, below: usize, told: &[(String, Mark)]) {
        for (slot, input) in self.pipeline.slots.iter().zip(&mut self.inputs) {
            let (Input::View { query, marks }, Some(view)) = (input, slot.view()) else { continue };
            if *query != below {
                continue;
            }
            for (of, mark) in view.marks.iter().zip(marks) {
                if let Some((_, said)) = told.iter().find(|(name, _)| *name == of.name) {
                    let at = said.at.max(mark.at);
                    *mark = Mark { at, idle: said.idle && at != END };
                }
            }
        }
    }
}

/// A view behind all that it reads. Ends also where these read one another in a circle.
pub(super) fn in_order(view: &Arc<ViewDef>, catalog: &Catalog) -> Vec<Arc<ViewDef>> {
    fn put(view: &Arc<ViewDef>, catalog: &Catalog, seen: &mut BTreeSet<String>, ordered: &mut Vec<Arc<ViewDef>>) {
        if seen.insert(view.name.clone()) {
            for name in views_read(&view.query, catalog) {
                catalog.views.get(&name).into_iter().for_each(|view| put(view, catalog, seen, ordered));
            }
            ordered.push(Arc::clone(view));
        }
    }
    let (mut seen, mut ordered) = (BTreeSet::new(), Vec::new());
    put(view, catalog, &mut seen, &mut ordered);
    ordered
}

/// The tables of a test, and the views that have been computed over them in batch.
pub(super) struct Computed<'a> {
    catalog: &'a Catalog,
    /// What is known of the views' columns.
    streams: Vec<Arc<ViewStream>>,
    results: Vec<(String, Arc<dyn TableProvider>)>,
}

impl<'a> Computed<'a> {
    pub(super) fn new(catalog: &'a Catalog, chain: &Views) -> Result<Self> {
        let stream = |query: &Query| ViewStream::of(&query.view, &query.pipeline, "").map(Arc::new);
        let streams = chain.below().iter().map(stream).collect::<Result<Vec<_>>>()?;
        Ok(Computed { catalog, streams, results: vec![] })
    }

    pub(super) fn add(&mut self, view: &ViewDef, schema: SchemaRef, rows: Vec<RecordBatch>) -> Result<()> {
        let table = MemTable::try_new(schema, vec![rows])?;
        self.results.push((view.name.clone(), Arc::new(table)));
        Ok(())
    }
}

impl Tables for Computed<'_> {
    fn defined(&self) -> &Defined {
        self.catalog.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        self.catalog.provider(table)
    }

    fn upstreams(&self) -> Vec<Arc<ViewStream>> {
        self.streams.clone()
    }

    fn results(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        self.results.clone()
    }

    fn functions(&self) -> Arc<Functions> {
        self.catalog.functions()
    }

    fn view_names(&self) -> Vec<String> {
        self.catalog.view_names()
    }
}
