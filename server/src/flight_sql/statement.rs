//! What an ad-hoc statement says: planned, found harmless, its parameters bound, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

use super::columns::Columns;
use super::guard::{self, Parsed};
use super::parameters::{self, Parameter};
use super::shorthand::{Instead, instead};
use super::wire::wire_schema;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::sql::{Code, Written, at_failed_value, explained, is_too_large, nearest, not_read_by_name};
use crate::status::QueryStatus;
use crate::tables::catalog::{CATALOG, Catalog, PUBLIC_SCHEMA};
use crate::tables::view::not_readable;

/// Rows of parameters of one execution; each runs the statement once.
const PARAMETER_ROWS_MAX: usize = 1_000;

/// What a plan is taken to need: a guess that grows with the statement.
const PLAN_BYTES: usize = 16 * 1024;
const PLAN_BYTES_PER_CHARACTER: usize = 64;

/// Why a statement has no rows, or no more of them.
#[derive(Debug)]
pub enum StatementError {
    Failed(Error),
    /// It names a table that does not exist.
    NotFound(Error),
    /// It is SQL that this engine does not know.
    Unsupported(Error),
    Cancelled,
    TimedOut,
}

impl From<Error> for StatementError {
    fn from(error: Error) -> Self {
        match missing_table(&error) {
            Some(_) => StatementError::NotFound(error),
            None => StatementError::Failed(error),
        }
    }
}

impl From<DataFusionError> for StatementError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::NotImplemented(_) => StatementError::Unsupported(Error::from(error)),
            _ => StatementError::from(Error::from(error)),
        }
    }
}

impl fmt::Display for StatementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatementError::Failed(error) | StatementError::NotFound(error) | StatementError::Unsupported(error) => {
                error.fmt(f)
            }
            StatementError::Cancelled => f.write_str("the statement was cancelled"),
            StatementError::TimedOut => f.write_str("the statement took longer than its limit"),
        }
    }
}

pub(super) type Outcome<T> = Result<T, StatementError>;

/// A statement that has been planned and found harmless.
#[derive(Debug)]
pub struct Prepared {
    plan: LogicalPlan,
    statement: Arc<Statement>,
    /// Of the result, as it is sent.
    pub schema: SchemaRef,
    /// In the order in which they are bound, as they are written (`$1`, `$name`).
    parameters: Vec<Parameter>,
    columns: Columns,
    /// Where the session's names are looked up once it has run.
    sets_schema: Option<&'static str>,
    /// What the plan takes in memory, roughly.
    pub(super) bytes: usize,
}

impl Prepared {
    /// One nullable field a parameter; text where the statement leaves its type open.
    pub fn parameter_schema(&self) -> SchemaRef {
        parameters::schema_of(&self.parameters)
    }
}

/// A statement with its parameters, ready to run.
#[derive(Debug)]
pub struct Bound {
    /// One for each row of parameters, run one after the other.
    pub(super) plans: Vec<LogicalPlan>,
    statement: Arc<Statement>,
    pub schema: SchemaRef,
    /// Where the session's names are looked up from now on.
    pub(super) sets_schema: Option<&'static str>,
    /// What plans and values take in memory, roughly.
    pub(super) bytes: usize,
}

impl Bound {
    /// An error of a row, with the place of the expression that the row did not suit.
    pub(super) fn explained(&self, error: DataFusionError) -> StatementError {
        match (StatementError::from(error), self.statement.as_ref()) {
            (StatementError::Failed(error), Statement::Statement(statement)) => {
                let written = match statement.as_ref() {
                    ast::Statement::Query(query) => vec![Written { file: "", code: Code::Query(query) }],
                    _ => Vec::new(),
                };
                StatementError::Failed(at_failed_value(error, &START, &written))
            }
            (other, _) => other,
        }
    }

    /// An error of planning. That constants make too much shows only then, and is an error of their expression as of a row's.
    pub(super) fn explained_plan(&self, error: DataFusionError) -> StatementError {
        let is_large = matches!(
            error.find_root(),
            DataFusionError::External(inner) if inner.downcast_ref::<Error>().is_some_and(is_too_large)
        );
        if is_large { self.explained(error) } else { StatementError::from(error) }
    }
}

/// Where a statement starts that came by itself: a stand-in for a better place.
const START: Location = Location { file: String::new(), line: 1, column: 1 };

/// Plans a statement and refuses what may not be.
pub(super) async fn prepare(state: &SessionState, catalog: &Catalog, sql: &str) -> Outcome<Prepared> {
    let instead = match guard::asks_for_a_stream_plan(sql) {
        true => Some(Instead { sql: as_rows(&catalog.stream_plan(sql).await?), schema: None }),
        false => instead(sql)?,
    };
    let sets_schema = instead.as_ref().and_then(|instead| instead.schema);
    let sql = instead.as_ref().map_or(sql, |instead| instead.sql.as_str());
    let Parsed { statement, parameters, mut columns } = guard::parse(sql)?;
    let plan = match state.statement_to_plan(statement.clone()).await {
        Ok(plan) => plan,
        Err(error) => {
            let apart = match is_about_names(&error) {
                true => planned_apart(&statement, &mut columns, state).await,
                false => None,
            };
            let plan = match apart {
                None if !parameters.is_empty() => planned_with_intervals(&statement, state).await,
                apart => apart,
            };
            match plan {
                Some(plan) => plan,
                None => {
                    let untyped = error.to_string().contains("Null");
                    let error = explain(error, &statement, state, catalog).await;
                    return Err(match parameters.first() {
                        Some(parameter) if untyped => with_cast(error, parameter),
                        _ => error,
                    });
                }
            }
        }
    };
    guard::verify(&plan)?;
    let parameters = parameters::of_plan(&plan, parameters)?;
    let nulls = parameters::typed_nulls(&parameters)?;
    let typed = match parameters.is_empty() {
        true => plan.clone(),
        false => plan.clone().replace_params_with_values(&nulls).unwrap_or_else(|_| plan.clone()),
    };
    // The result's final types: the analyzer's coercions can change those of the plan as it was written.
    let analyzed = state.analyzer().execute_and_check(typed, state.config_options(), |_, _| {});
    let schema = match analyzed {
        Ok(analyzed) => wire_schema(analyzed.schema().as_arrow()),
        // With open parameters it may not be analyzable yet; what is known of it must do until they are bound.
        Err(_) if !parameters.is_empty() => wire_schema(plan.schema().as_arrow()),
        Err(error) => return Err(explain(error, &statement, state, catalog).await),
    };
    let (schema, bytes) = (columns.named(schema), PLAN_BYTES + PLAN_BYTES_PER_CHARACTER * sql.len());
    let statement = Arc::new(statement);
    Ok(Prepared { schema, parameters, plan, statement, columns, sets_schema, bytes })
}

/// Whether a statement may have been refused because two columns of its result have one name.
fn is_about_names(error: &DataFusionError) -> bool {
    let text = error.to_string();
    ["unique expression names", "duplicate", "ambiguous"].iter().any(|word| text.contains(word))
}

/// The plan of such a statement, with names that differ.
async fn planned_apart(statement: &Statement, columns: &mut Columns, state: &SessionState) -> Option<LogicalPlan> {
    let mut apart = columns.clone();
    let plan = state.statement_to_plan(apart.told_apart(statement)?).await.ok()?;
    *columns = apart;
    Some(plan)
}

/// The plan of a statement in which parameters are spans of time that are added or subtracted.
async fn planned_with_intervals(statement: &Statement, state: &SessionState) -> Option<LogicalPlan> {
    state.statement_to_plan(parameters::with_intervals(statement)?).await.ok()
}

/// An error of a statement in which the types of parameters may be missing.
fn with_cast(error: StatementError, parameter: &str) -> StatementError {
    match error {
        StatementError::Failed(error) if error.hint_text().is_none() => StatementError::Failed(error.hint(format!(
            "a parameter has the type of its place; where that has none, write CAST({parameter} AS BIGINT), or what it is"
        ))),
        other => other,
    }
}

/// A query whose rows are these lines.
fn as_rows(lines: &[String]) -> String {
    let rows: Vec<String> = lines.iter().map(|line| format!("('{}')", line.replace('\'', "''"))).collect();
    format!("SELECT column1 AS plan FROM (VALUES {})", rows.join(", "))
}

/// The result's schema with its final types, once values are bound.
fn result_schema(state: &SessionState, plan: &LogicalPlan, parameters: &[Parameter]) -> Outcome<SchemaRef> {
    let analyzed = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {});
    match analyzed {
        Ok(analyzed) => Ok(wire_schema(analyzed.schema().as_arrow())),
        Err(error) if parameters::hint_for_open(parameters).is_some() => Err(unfit(error, parameters)),
        // It fails again where it is planned, and is explained there.
        Err(_) => Ok(wire_schema(plan.schema().as_arrow())),
    }
}

/// An error of values that do not fit where they stand. Where nothing said what they had to be, the answer is to write it.
fn unfit(error: DataFusionError, parameters: &[Parameter]) -> StatementError {
    match parameters::hint_for_open(parameters) {
        Some(hint) => StatementError::Failed(Error::from(error).hint(hint)),
        None => StatementError::from(error),
    }
}

/// What is wrong with a statement, at its line and column, and what could be meant.
async fn explain(
    error: DataFusionError,
    statement: &Statement,
    state: &SessionState,
    catalog: &Catalog,
) -> StatementError {
    let unsupported = matches!(error.find_root(), DataFusionError::NotImplemented(_));
    // A statement as a whole needs no place.
    let error = explained(error, statement, state, &START).await.moved_from(&START);
    if unsupported {
        return StatementError::Unsupported(error);
    }
    let Some(missing) = missing_table(&error) else { return StatementError::Failed(error) };
    let mut described = match not_read_by_name(missing) {
        Some(file) => file,
        None => Error::new(error.kind(), format!("table '{missing}' not found")),
    };
    if let Some(place) = error.location() {
        described = described.at(place.clone());
    }
    let names: Vec<String> = catalog
        .list()
        .into_iter()
        .map(
            |table| if table.schema == PUBLIC_SCHEMA { table.name } else { format!("{}.{}", table.schema, table.name) },
        )
        .collect();
    if described.hint_text().is_some() {
        return StatementError::Failed(described);
    }
    StatementError::NotFound(match nearest(missing, &names) {
        Some(name) => described.hint(format!("did you mean \"{name}\"?")),
        None => described.hint("SHOW TABLES lists what there is"),
    })
}

/// The name of the table that does not exist, as short as it can be written.
pub(super) fn missing_table(error: &Error) -> Option<&str> {
    let name = error.primary().strip_prefix("table '")?.strip_suffix("' not found")?;
    let name = name
        .strip_prefix(CATALOG)
        .and_then(|rest| rest.strip_prefix('.'))
        .filter(|rest| rest.contains('.'))
        .unwrap_or(name);
    Some(name.strip_prefix(PUBLIC_SCHEMA).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name))
}

/// A view that is declared and cannot be read: its query has the reason.
pub(super) fn without_rows(missing: Error, query: Option<Arc<QueryStatus>>) -> StatementError {
    let Some(query) = query else { return StatementError::NotFound(missing) };
    let error = not_readable(&query);
    match error.kind() {
        ErrorKind::Unavailable => StatementError::Failed(error),
        _ => StatementError::NotFound(error),
    }
}

/// Puts values in for the parameters.
pub(super) fn bind(state: &SessionState, prepared: &Prepared, values: Option<RecordBatch>) -> Outcome<Bound> {
    if prepared.parameters.is_empty() {
        let (plans, statement) = (vec![prepared.plan.clone()], Arc::clone(&prepared.statement));
        let (schema, sets_schema) = (Arc::clone(&prepared.schema), prepared.sets_schema);
        return Ok(Bound { plans, statement, schema, sets_schema, bytes: prepared.bytes });
    }
    let wanted = prepared.parameters.len();
    let Some(values) = values else {
        return Err(
            Error::invalid(format!("the statement has {wanted} parameters, and no values were bound to them")).into()
        );
    };
    if values.num_columns() != wanted {
        let got = values.num_columns();
        return Err(
            Error::invalid(format!("the statement has {wanted} parameters, and {got} values were bound")).into()
        );
    }
    if values.num_rows() > PARAMETER_ROWS_MAX {
        let got = values.num_rows();
        return Err(Error::over_budget(format!(
            "{got} rows of parameters were bound; the limit is {PARAMETER_ROWS_MAX}"
        ))
        .into());
    }
    let mut columns = Vec::with_capacity(wanted);
    for (parameter, column) in
        prepared.parameters.iter().zip(columns_in_order(&prepared.parameters, values.schema_ref()))
    {
        let bound = (0..values.num_rows()).map(|row| ScalarValue::try_from_array(values.column(column), row));
        columns.push((parameter, parameters::values_at(parameter, bound.collect::<Result<Vec<_>, _>>()?)?.into_iter()));
    }
    let mut plans = Vec::with_capacity(values.num_rows());
    for _ in 0..values.num_rows() {
        let scalars = columns.iter_mut().filter_map(|(parameter, values)| Some((*parameter, values.next()?)));
        let plan = prepared.plan.clone().replace_params_with_values(&parameters::values_of(scalars.collect()));
        plans.push(plan.map_err(|error| unfit(error, &prepared.parameters))?);
    }
    let schema = match plans.first() {
        Some(plan) => prepared.columns.named(result_schema(state, plan, &prepared.parameters)?),
        None => Arc::clone(&prepared.schema),
    };
    let bytes = plans.len() * prepared.bytes + values.get_array_memory_size();
    let (statement, sets_schema) = (Arc::clone(&prepared.statement), prepared.sets_schema);
    Ok(Bound { plans, statement, schema, sets_schema, bytes })
}

/// Which column holds which parameter's value: by name where every name is there, else by position.
fn columns_in_order(parameters: &[Parameter], schema: &Schema) -> Vec<usize> {
    let by_name: Option<Vec<usize>> = parameters
        .iter()
        .map(|parameter| schema.index_of(&parameter.name).or_else(|_| schema.index_of(&parameter.name[1..])).ok())
        .collect();
    by_name.unwrap_or_else(|| (0..parameters.len()).collect())
}
