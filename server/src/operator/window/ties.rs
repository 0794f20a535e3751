//! Which of the rows that an aggregate's ORDER BY cannot tell apart comes first: the one that was read first, wherever epochs, partitions
//! and restarts cut the input.
//!
//! The hidden column of a row's place means something in its epoch alone, and partial results outlive that. So every ORDER BY gets one term
//! more, a number that says partition, offset and position in the order of these. With DESC the last row read is the first: the newest row
//! is `last_value(x ORDER BY ts)` and `first_value(x ORDER BY ts DESC)`.
//!
//! Rows of a view have no such place: in which of the view's checkpoints a row is says only how the view's own input was cut. They go
//! by their values, as rows do that an operator below has made.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Builder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{AggregateFunctionParams, Sort};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TableType, Volatility,
};
use datafusion::physical_expr::{PhysicalSortExpr, ScalarFunctionExpr};

use crate::operator::epoch_cell::{EpochCell, PLACE, RowId};
use crate::operator::logical::ROW;

const NAME: &str = "place_read";

/// The aggregates of one node over `input`, whose rows they can all tell apart as far as it matters.
pub(super) fn told_apart(aggregates: &[Expr], input: &LogicalPlan, cell: &Arc<EpochCell>) -> Result<Vec<Expr>> {
    // Where all have the same order the terms that are added have to be the same: the input is sorted once.
    let terms = terms(aggregates, input, cell)?;
    let ordered = |expr: Expr| {
        Ok(match expr {
            Expr::AggregateFunction(mut call) if is_ordered(&call.params) => {
                let asc = call.params.order_by[0].asc;
                let added = terms.iter().map(|term| Sort::new(term.clone(), asc, asc));
                // DataFusion keeps a term that stands there twice once, but has state for both.
                let mut order: Vec<Sort> = Vec::new();
                for term in std::mem::take(&mut call.params.order_by).into_iter().chain(added) {
                    if order.iter().all(|before| before.expr != term.expr) {
                        order.push(term);
                    }
                }
                call.params.order_by = order;
                Transformed::yes(Expr::AggregateFunction(call))
            }
            other => Transformed::no(other),
        })
    };
    aggregates.iter().map(|aggregate| Ok(aggregate.clone().transform_down(ordered)?.data)).collect()
}

// What is distinct has no ties.
fn is_ordered(params: &AggregateFunctionParams) -> bool {
    !params.order_by.is_empty() && !params.distinct
}

fn terms(aggregates: &[Expr], input: &LogicalPlan, cell: &Arc<EpochCell>) -> Result<Vec<Expr>> {
    let row = input.schema().columns().into_iter().find(|column| column.name() == ROW);
    let one_row_a_place = row.is_some() && one_row_a_place(input)?;
    let mut terms: Vec<Expr> = row.map(|row| place_of(row, cell)).into_iter().collect();
    if one_row_a_place {
        return Ok(terms);
    }
    for aggregate in aggregates {
        let Expr::AggregateFunction(call) = aggregate.clone().unalias() else { continue };
        for value in call.params.args.iter().filter(|_| is_ordered(&call.params)) {
            if !terms.contains(value) && is_sortable(value, input.schema())? {
                terms.push(value.clone());
            }
        }
    }
    Ok(terms)
}

/// Whether each row has a place, and no two have been made of the same row that was read.
pub(in crate::operator) fn one_row_a_place(input: &LogicalPlan) -> Result<bool> {
    let mut one = true;
    input.apply(|node| {
        one &= match node {
            LogicalPlan::Unnest(_) | LogicalPlan::Join(_) | LogicalPlan::Extension(_) => false,
            LogicalPlan::TableScan(scan) => scan.source.table_type() != TableType::View,
            _ => true,
        };
        Ok(if one { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(one)
}

fn is_sortable(value: &Expr, input: &DFSchema) -> Result<bool> {
    Ok(!matches!(value, Expr::Literal(..)) && !value.get_type(input)?.is_nested())
}

/// The place of a row as a number, from where it was read.
pub(in crate::operator) fn place_of(row: Column, cell: &Arc<EpochCell>) -> Expr {
    ScalarUDF::from(PlaceRead::new(Arc::clone(cell))).call(vec![Expr::Column(row)])
}

/// How many terms of an ORDER BY are of this module, where the rows had a place.
pub(super) fn added_to(order_by: &[PhysicalSortExpr]) -> usize {
    let is_place = |term: &PhysicalSortExpr| {
        term.expr.downcast_ref::<ScalarFunctionExpr>().is_some_and(|call| call.fun().inner().is::<PlaceRead>())
    };
    order_by.iter().position(is_place).map_or(0, |first| order_by.len() - first)
}

/// From a [`RowId`] to the place as a number; NULL where the source does not say it.
#[derive(Debug)]
struct PlaceRead {
    signature: Signature,
    cell: Arc<EpochCell>,
}

impl PlaceRead {
    fn new(cell: Arc<EpochCell>) -> Self {
        PlaceRead { signature: Signature::exact(vec![DataType::Int64], Volatility::Immutable), cell }
    }
}

impl PartialEq for PlaceRead {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.cell, &other.cell)
    }
}

impl Eq for PlaceRead {}

impl Hash for PlaceRead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.cell).hash(state);
    }
}

impl ScalarUDFImpl for PlaceRead {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(PLACE)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [ids] = datafusion::common::utils::take_function_args(NAME, args.args)?;
        let ids = ids.into_array(rows)?;
        let (ids, epoch) = (ids.as_primitive::<Int64Type>(), self.cell.current());
        let mut places = Decimal128Builder::with_capacity(ids.len()).with_data_type(PLACE);
        for id in ids {
            places.append_option(id.and_then(|id| epoch.place_of(RowId::decoded(id))));
        }
        Ok(ColumnarValue::Array(Arc::new(places.finish()) as ArrayRef))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::epoch_cell::{Epoch, SourceRows};
    use crate::source::Origins;

    #[test]
    fn places_are_in_the_order_of_slot_partition_offset_and_position() {
        let mut of_one_record = Origins::default();
        for (partition, offset) in [(0, i64::MAX - 9), (0, i64::MAX - 9), (1, 0), (i32::MAX, 0)] {
            of_one_record.push(partition, offset);
        }
        let origins = vec![Origins::records(0, 5, 2), of_one_record];
        let source = || SourceRows { origins: origins.clone(), ..SourceRows::default() };
        let epoch = Epoch::new(1, 0, 0, vec![source(), source()], vec![]);
        let mut ids = Vec::new();
        for slot in 0..2 {
            ids.extend((0..2).map(|row| RowId { slot, batch: 0, row }));
            ids.extend((0..4).map(|row| RowId { slot, batch: 1, row }));
        }
        let places: Vec<i128> = ids.iter().map(|id| epoch.place_of(*id).unwrap()).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!(*places.last().unwrap() < 10_i128.pow(38));
        assert_eq!(epoch.place_of(RowId { slot: 0, batch: 0, row: 2 }), None);
        assert_eq!(epoch.place_of(RowId { slot: 7, batch: 0, row: 0 }), None);
    }
}
