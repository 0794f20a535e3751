//! Sessions of a stream: which rows they keep by which keys, and what is known of the rows that come out.

use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, Projection, UserDefinedLogicalNodeCore};
use touchline_udfs::describe::sql_type;

use super::window::without_watermark;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::operator::logical::{OperatorNode, ROW};
use crate::operator::session::{Sessions, Shape};
use crate::plan::derive::{Derivation, Derived, Obstacle, column_at};
use crate::plan::edge::{Bound, ColumnFacts, Edge, Moment, WindowColumn, WindowForm, WindowPart};
use crate::plan::explain::{ExplainNode, ExplainState, written};
use crate::plan::expression::{made_of, part_watermark, replaced, tick_us};
use crate::plan::{OperatorInputs, refuse};
use crate::sql::window_tvf::WindowTvfNode;
use crate::watermark::{InputRef, WatermarkExpr};

/// `SESSION` in FROM, over a stream.
pub(in crate::plan) fn session(derivation: &mut Derivation<'_>, window: &WindowTvfNode) -> Result<Derived, Obstacle> {
    let number = derivation.counted.sessions;
    derivation.counted.sessions += 1;
    // A pane has no value that could be kept.
    let input = derivation.node(window.input.clone(), WindowForm::Row)?;
    refuse::volatile_below(&input.plan)?;
    let time = Expr::Column(window.time_column.clone());
    let watermark = input.columns().facts(&time).watermark;
    let watermark =
        watermark.ok_or_else(|| without_watermark(made_of(&window.time_column, &window.input).unwrap_or(&time)))?;

    let keys: Vec<String> = window.keys.iter().map(|key| shown(key, &window.input)).collect();

    // What is kept of a row are the columns that a query can name; it comes with the place where it was read.
    let schema = input.plan.schema();
    let column = |at| Expr::Column(column_at(schema, at));
    let shown: Vec<Expr> = input.edge.shown().map(column).collect();
    let below = Arc::new(input.plan.clone());
    let window = window.over(LogicalPlan::Projection(Projection::try_new(shown.clone(), Arc::clone(&below))?))?;
    let row = input.edge.row_id.map(|at| column(at).alias(ROW));
    let read = LogicalPlan::Projection(Projection::try_new(shown.into_iter().chain(row).collect(), below)?);
    let allowed_lateness = derivation.settings.allowed_lateness_us;
    let shape = shape(&window, &keys, allowed_lateness)?;

    let id = format!("session-{number}");
    let at = derivation.counted.operators.len();
    derivation.counted.operators.push(OperatorInputs { id: id.clone(), watermarks: vec![watermark.clone()] });
    let mark = WatermarkExpr::Input(InputRef { operator: at, input: 0 }).behind(allowed_lateness);
    let columns = facts(&window, &input.edge, &watermark, mark, &derivation.counted.moment())?;
    let edge = Edge { columns, ..Edge::default() };
    let explain = explained(&id, &window, allowed_lateness, &edge, input.explain);
    let node = OperatorNode {
        id,
        inputs: vec![read],
        exprs: vec![],
        schema: Arc::clone(UserDefinedLogicalNodeCore::schema(&window)),
        definition: Arc::new(Sessions::new(shape)),
    };
    Ok(Derived { plan: LogicalPlan::Extension(Extension { node: Arc::new(node) }), edge, explain })
}

/// A key as it was written.
fn shown(key: &Column, input: &LogicalPlan) -> String {
    made_of(key, input).map_or_else(|| format!("\"{}\"", key.name), written)
}

/// `written_keys`: what the keys are in the query.
fn shape(window: &WindowTvfNode, written_keys: &[String], allowed_lateness: Micros) -> Result<Shape> {
    let schema = window.input.schema();
    let place = |column: &Column| Ok(schema.index_of_column(column)?);
    let time = place(&window.time_column)?;
    let DataType::Timestamp(unit, _) = schema.field(time).data_type() else {
        return Err(Error::bug("the time of a session is no timestamp"));
    };
    let rule = window.kind.sessions_in_unit(*unit)?;
    let rule = rule.ok_or_else(|| Error::bug("a window of another kind was taken for a session"))?;
    let keys = window.keys.iter().map(place).collect::<Result<Vec<_>>>()?;
    for (key, written) in keys.iter().zip(written_keys) {
        let field = schema.field(*key);
        if !RowConverter::supports_fields(&[SortField::new(field.data_type().clone())]) {
            return Err(Error::invalid(format!(
                "sessions cannot be partitioned by {written}, whose type is {}",
                sql_type(field.data_type())
            ))
            .hint("partition by a part of it, or by a text of it, which a subquery computes"));
        }
    }
    Ok(Shape { time, keys, unit: *unit, rule, allowed_lateness })
}

/// What is known of the columns above: a session comes out as a whole, once `mark` has passed its end. `start`: the moment at which it
/// begins.
fn facts(
    window: &WindowTvfNode,
    below: &Edge,
    watermark: &WatermarkExpr,
    mark: WatermarkExpr,
    start: &Moment,
) -> Result<Vec<ColumnFacts>> {
    // A row exactly at the end would still have been in the session, so the mark has to be behind it.
    let close = mark.behind(1);
    // A row waits as long as its session can last: for ever, where there is no limit.
    let held = window.kind.longest_us().map(|longest| close.clone().behind(longest));
    let above = |of: &WatermarkExpr| replaced(of, watermark, held.as_ref()?);
    let mut columns: Vec<ColumnFacts> =
        below.shown().map(|at| below.columns[at].with_watermarks(above).closed_below()).collect();
    let schema = window.input.schema();
    let tick = tick_us(schema.field(schema.index_of_column(&window.time_column)?).data_type());
    let kind = window.kind;
    columns.extend([WindowPart::Start, WindowPart::End, WindowPart::Time].map(|part| ColumnFacts {
        watermark: part_watermark(&kind, part, &close, tick),
        // How long a session is differs.
        moment: (part == WindowPart::Start).then(|| start.clone()),
        window: Some(WindowColumn { kind, part, form: WindowForm::Row, below: false, close: close.clone() }),
    }));
    Ok(columns)
}

fn explained(
    id: &str,
    window: &WindowTvfNode,
    allowed_lateness: Micros,
    edge: &Edge,
    input: ExplainNode,
) -> ExplainNode {
    let keys: Vec<String> = window.keys.iter().map(|key| written(&Expr::Column(key.clone()))).collect();
    let what = match keys.is_empty() {
        true => format!("window function {}", window.kind),
        false => format!("window function {} by {}", window.kind, keys.join(", ")),
    };
    let mut node = ExplainNode::new(what, edge, UserDefinedLogicalNodeCore::schema(window), vec![input]);
    node.state = Some(ExplainState {
        operator: id.to_owned(),
        per: "row of an open session".to_owned(),
        bound: Bound::SessionClose { kind: window.kind, allowed_lateness },
        emits: "the rows of a session when none can come any more",
        rows_factor: None,
    });
    node
}
