use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use proptest::prelude::*;

use super::*;

/// Sums without keys.
fn sums() -> StateMerge {
    let rows = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("v", &rows).unwrap()]).schema(rows).alias("s").build();
    let partial = Schema::new(vec![Field::new("pane", DataType::Int64, false), Field::new("s", DataType::Int64, true)]);
    StateMerge::try_new(vec![Arc::new(sum.unwrap())], &partial, 0).unwrap()
}

fn sliding(merge: &StateMerge, panes: &[(Micros, i64)]) -> Sliding {
    let rows = |value: i64| {
        RecordBatch::try_new(Arc::clone(merge.schema()), vec![Arc::new(Int64Array::from(vec![value]))]).unwrap()
    };
    let panes = panes.iter().map(|(pane, value)| (*pane, rows(*value))).collect();
    Sliding { ends: VecDeque::new(), touched: None, panes, taken: 0, front: vec![], back_from: 0, back: None }
}

proptest! {
    // Of the rows of panes that come one after another, windows that never go back hold those of their own.
    #[test]
    fn a_window_that_slides_on_holds_exactly_its_panes(
        panes in prop::collection::btree_map(0..40_i64, 0..1_000_i64, 0..20),
        mut windows in prop::collection::vec((0..45_i64, 0..45_i64), 0..12),
    ) {
        let merge = sums();
        let panes: Vec<(Micros, i64)> = panes.into_iter().collect();
        let mut sliding = sliding(&merge, &panes);
        windows.sort_unstable();
        let mut to = 0;
        for (from, length) in windows {
            to = to.max(from + length);
            let rows = sliding.window(from, to, &merge).unwrap();
            prop_assert!(rows.len() <= 2);
            let sum: i64 = rows.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()).sum();
            let expected: i64 = panes.iter().filter(|(pane, _)| (from..to).contains(pane)).map(|(_, value)| value).sum();
            prop_assert_eq!(sum, expected, "{} to {}", from, to);
        }
    }
}
