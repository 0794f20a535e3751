use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use proptest::prelude::*;

use super::super::panes::RowWindows;
use super::*;
use crate::sql::window::WindowKind;
use crate::watermark::NONE;

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

// All rows of a key are at hand until its last window is computed.
#[test]
fn the_more_panes_there_are_the_fewer_keys_are_computed_at_once() {
    let kind = WindowKind::Hop { size_us: 40, slide_us: 1, offset_us: 0 };
    let windows = Windows::new(kind, RowWindows::ByPane, 0);
    let touched = BTreeMap::from([(100, (0..9).collect::<BTreeSet<Key>>())]);
    let ends_of =
        |pane: Micros| std::iter::successors(windows.next_end(pane, NONE), move |end| windows.next_end(pane, *end));
    let at_once = |starts: &[Micros]| -> Vec<usize> {
        let work = super::sliding(&touched, ends_of, windows, starts);
        let keys = |work: &Work| match work {
            Work::Sliding { ends, keys } => {
                assert!(ends.iter().copied().eq(101..=140));
                keys.len()
            }
            Work::Pane { .. } => panic!("{work:?}"),
        };
        work.iter().map(keys).collect()
    };
    assert_eq!(at_once(&[100]), [3, 3, 3]);
    // Those that no window of a touched pane holds do not count.
    assert_eq!(at_once(&[1, 2, 3, 4, 5, 6, 7, 8, 100, 140, 141]), [3, 3, 3]);
    assert_eq!(at_once(&(93..101).collect::<Vec<_>>()), [2, 2, 2, 2, 1]);
    assert_eq!(at_once(&(61..140).collect::<Vec<_>>()), [1; 9]);
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
