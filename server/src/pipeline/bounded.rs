//! A query whose input ends, as an ordinary plan that runs once: whatever DataFusion can run, over all that there is.
//!
//! `touchline run` takes it where no stream can do what a statement asks, and it says what the answer of a stream has to be.
//! Windows are those of a stream; no row is late.

use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::execution::context::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast;

use super::plain_views;
use super::plan::{
    PlanSettings, Planned, Tables, analyzed, check_primary_key, name_tables, plan, session_max_us, watermarks_of,
    with_ttl,
};
use crate::catalog::ViewDef;
use crate::clock::Micros;
use crate::error::Result;
use crate::plan::refuse_unordered;
use crate::sql::session::session;
use crate::sql::{ExpandWindowTvfs, explained};

/// Plans a query whose input ends: as a stream where it can be one, else over everything at once.
///
/// # Errors
/// `Invalid` where it can be neither, with what a stream's plan says.
pub async fn plan_to_the_end(view: &ViewDef, tables: &dyn Tables, settings: PlanSettings) -> Result<Planned> {
    let refused = match plan(view, tables, settings).await {
        Ok(planned) => return Ok(planned),
        // What it asks for can only be had of a stream.
        Err(error) if view.emit.early.is_some() => return Err(error),
        Err(error) => error,
    };
    match plan_bounded(view, tables, settings).await {
        Ok(planned) => Ok(planned),
        // A mistake is one in both; the first has been looked at with all that a stream knows.
        Err(_) => Err(refused),
    }
}

/// Plans a query over bounded snapshots of all tables, streams included.
///
/// # Errors
/// `Invalid` with file, line and column for whatever the statement has wrong.
pub async fn plan_bounded(view: &ViewDef, tables: &dyn Tables, settings: PlanSettings) -> Result<Planned> {
    let context = bounded_session(tables, settings.partitions, session_max_us(view, tables)?)?;
    plain_views::register(&context, &view.query, tables).await?;
    let state = context.state();
    let named = |error| name_tables(error, tables).at(view.location.clone());
    let watermarks = watermarks_of(tables);
    let (_, plan) = analyzed(&view.query, &state, watermarks.as_ref(), &view.location).await.map_err(named)?;
    let plan = with_ttl(plan, view)?;
    // Not even a file is read in one order: its partitions are read side by side.
    refuse_unordered(&plan).map_err(named)?;
    // Some of what cannot be run shows only here.
    if let Err(error) = state.create_physical_plan(&plan).await {
        let statement = DfStatement::Statement(Box::new(ast::Statement::Query(view.query.clone())));
        return Err(named(explained(error, &statement, &state, &view.location).await));
    }
    check_primary_key(view, plan.schema().inner())?;
    Ok(Planned::Batch(Arc::new(context), Box::new(plan)))
}

/// A session in which every table is a bounded snapshot of itself. `longest_us`: how long a window of `SESSION` can be.
pub(super) fn bounded_session(
    tables: &dyn Tables,
    partitions: usize,
    longest_us: Option<Micros>,
) -> Result<SessionContext> {
    let context = session(watermarks_of(tables), partitions)?;
    context.add_analyzer_rule(Arc::new(ExpandWindowTvfs { longest_us }));
    tables.functions().udfs().for_each(|function| context.register_udf(function.as_ref().clone()));
    for (name, table) in tables.results() {
        context.register_table(TableReference::bare(name), table)?;
    }
    for name in tables.names() {
        if let Some(table) = tables.definition(&name) {
            context.register_table(TableReference::bare(name), tables.provider(&table)?)?;
        }
    }
    Ok(context)
}
