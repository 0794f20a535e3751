//! Plain views (`CREATE VIEW`): queries under a name that become part of the plan of whatever reads them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::execution::context::SessionContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{self, TableFactor, Visit, Visitor};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::bounded::bounded_session;
use super::plan::{Tables, analyzed, name_tables, watermarks_of};
use crate::catalog::PlainView;
use crate::error::{Error, Result};
use crate::sql::names_in;

/// Plain views that may stand upon one another.
const DEPTH_MAX: usize = 32;

/// The plain views that a query reads, directly and through one another, each after those that it reads itself.
///
/// # Errors
/// `Invalid` where views stand upon one another too deeply.
pub fn plain_views_of(query: &ast::Query, tables: &dyn Tables) -> Result<Vec<Arc<PlainView>>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    collect(query, tables, 0, &mut seen, &mut found)?;
    Ok(found)
}

fn collect(
    query: &ast::Query,
    tables: &dyn Tables,
    depth: usize,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<Arc<PlainView>>,
) -> Result<()> {
    for name in relations(query) {
        let Some(view) = tables.plain_view(&name) else { continue };
        // A view that reads itself is left out here, and then not found by planning.
        if !seen.insert(name) {
            continue;
        }
        if depth == DEPTH_MAX {
            return Err(Error::invalid(format!("over {DEPTH_MAX} views stand upon one another"))
                .hint("put the queries of some of them together")
                .at(view.location.clone()));
        }
        collect(&view.query, tables, depth + 1, seen, found)?;
        found.push(view);
    }
    Ok(())
}

/// The names in a query's FROM clauses, at any depth; of a function there, as `TUMBLE(clicks, …)`, every word of its arguments.
pub fn relations(query: &ast::Query) -> BTreeSet<String> {
    let mut relations = Relations::default();
    let _ = query.visit(&mut relations);
    relations.0
}

#[derive(Default)]
struct Relations(BTreeSet<String>);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.0.extend(names_in(factor));
        ControlFlow::Continue(())
    }
}

/// Makes the plain views that `query` reads known to `context`, in which all tables are known already.
pub(super) async fn register(context: &SessionContext, query: &ast::Query, tables: &dyn Tables) -> Result<()> {
    for view in plain_views_of(query, tables)? {
        let plan = planned(context, &view, tables).await?;
        context.register_table(
            TableReference::bare(view.name.as_str()),
            Arc::new(ViewTable::new(plan, Some(view.text.clone()))),
        )?;
    }
    Ok(())
}

/// A plain view as ad-hoc queries read it: over bounded snapshots of its streams.
///
/// # Errors
/// `Invalid` with file, line and column for whatever its query has wrong.
pub fn plain_view_table<'a>(
    view: &'a PlainView,
    tables: &'a dyn Tables,
) -> BoxFuture<'a, Result<Arc<dyn TableProvider>>> {
    async move {
        let context = bounded_session(tables, 1, None)?;
        register(&context, &view.query, tables).await?;
        let plan = planned(&context, view, tables).await?;
        Ok(Arc::new(ViewTable::new(plan, Some(view.text.clone()))) as Arc<dyn TableProvider>)
    }
    .boxed()
}

/// All that its query has wrong shows here, and not only when somebody reads the view.
async fn planned(context: &SessionContext, view: &PlainView, tables: &dyn Tables) -> Result<LogicalPlan> {
    let watermarks = watermarks_of(tables);
    match analyzed(&view.query, &context.state(), watermarks.as_ref(), &view.location).await {
        Ok((plan, _)) => Ok(plan),
        Err(error) => Err(name_tables(error, tables).at(view.location.clone())),
    }
}
