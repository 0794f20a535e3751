//! What a windowed `GROUP BY` over a stream becomes: which columns it groups by and emits, and the nodes below it.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::physical_expr::aggregate::{LoweredAggregate, LoweredAggregateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};

use super::gate::LateGateExec;
use super::operator::WindowOperator;
use super::panes::Windows;
use super::ties::told_apart;
use crate::catalog::EarlyWhen;
use crate::error::Result;
use crate::operator::contract::Operator;
use crate::operator::logical::{ByPanes, Definition, EarlyDefinition, Lowering, Names, OperatorNode};
use crate::sql::window::WindowKind;

/// Name of the column of a row's pane in the input of the aggregate.
pub const PANE: &str = "__pane";

/// Where an output column of a windowed aggregate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutputColumn {
    WindowStart,
    WindowEnd,
    /// The last tick of the window: its end less one unit of the column.
    WindowTime,
    /// `struct<start, end>`, the value of the grouping form `tumble(ts, size)`.
    Window,
    Key(usize),
    Aggregate(usize),
}

/// Group by pane and keys, with state across epochs. Its expressions: the pane, a column of the input; the keys; the aggregates.
#[derive(Debug, Clone)]
pub struct WindowAggregate {
    pub windows: Windows,
    /// How many of the expressions are keys.
    pub keys: usize,
    pub columns: Vec<OutputColumn>,
    /// Results also leave before they are final.
    pub early: Option<EarlyWhen>,
}

#[async_trait]
impl Definition for WindowAggregate {
    fn describe(&self, node: &OperatorNode) -> String {
        format!("windows={}, {}", self.windows.kind, node.by_panes_described(self.keys, "aggregates"))
    }

    fn emitting_early(&self, when: EarlyWhen) -> Option<EarlyDefinition> {
        // The rows of a session come as a whole, when it closes: nothing is known of it before.
        if matches!(self.windows.kind, WindowKind::Session { .. }) {
            return None;
        }
        let columns = self.columns.iter().map(|column| match column {
            OutputColumn::WindowStart => Names::WindowStart,
            OutputColumn::WindowEnd | OutputColumn::WindowTime => Names::Window,
            OutputColumn::Window => Names::WindowStruct,
            OutputColumn::Key(at) => Names::Key(*at),
            OutputColumn::Aggregate(_) => Names::Value,
        });
        Some(EarlyDefinition {
            columns: columns.collect(),
            begin_together: self.windows.kind.by_start() != self.windows.kind,
            definition: Arc::new(WindowAggregate { early: Some(when), ..self.clone() }),
        })
    }

    fn create(&self, id: &str, schema: SchemaRef) -> Arc<dyn Operator> {
        let operator = WindowOperator::new(id.to_owned(), self.windows, self.columns.clone(), schema, self.keys);
        Arc::new(match self.early {
            Some(when) => operator.emitting_early(when),
            None => operator,
        })
    }

    async fn lower(
        &self,
        node: &OperatorNode,
        operator: &Arc<dyn Operator>,
        index: usize,
        context: Lowering<'_>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let ByPanes { pane, keys, calls: aggregates } = node.by_panes(self.keys)?;
        let (logical, input) = (context.logical[0].schema(), &context.inputs[0]);
        let pane = context.expr(pane, logical)?;
        let (own, cell) = (Arc::clone(operator), Arc::clone(context.cell));
        let gate = LateGateExec::try_new(Arc::clone(input), &pane, own, self.windows, index, cell)?;
        let mut group = vec![(pane, PANE.to_owned())];
        for key in keys {
            group.push((context.expr(key, logical)?, key.schema_name().to_string()));
        }
        let schema = input.schema();
        let (mut lowered, mut filters) = (Vec::new(), Vec::new());
        for aggregate in &told_apart(aggregates, context.logical[0], context.cell)? {
            let properties = context.session.execution_props();
            let LoweredAggregate { aggregate, filter, .. } =
                LoweredAggregateBuilder::new(aggregate, logical, &schema, properties, context.context).build()?;
            lowered.push(aggregate);
            filters.push(filter);
        }
        let group = PhysicalGroupBy::new_single(group);
        let partial = AggregateExec::try_new(AggregateMode::Partial, group, lowered, filters, Arc::new(gate), schema)?;
        Ok(vec![Arc::new(partial)])
    }
}
