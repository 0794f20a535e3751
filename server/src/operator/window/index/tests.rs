use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use proptest::prelude::*;

use super::*;

const PANE: Micros = 0;

/// Sums by one key, or by none.
fn sums(keys: usize) -> StateMerge {
    let rows = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("v", &rows).unwrap()]).schema(rows).alias("s").build();
    let mut fields = vec![Field::new("pane", DataType::Int64, false)];
    fields.extend((0..keys).map(|_| Field::new("k", DataType::Int64, true)));
    fields.push(Field::new("s", DataType::Int64, true));
    StateMerge::try_new(vec![Arc::new(sum.unwrap())], &Schema::new(fields), keys).unwrap()
}

fn index(merge: &StateMerge) -> KeyIndex {
    KeyIndex::new(merge.schema(), merge.keys(), &Account::unlimited()).unwrap()
}

fn partial(merge: &StateMerge, rows: &[(i64, i64)]) -> RecordBatch {
    let column = |of: fn(&(i64, i64)) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let columns = [column(|row| row.0), column(|row| row.1)];
    RecordBatch::try_new(Arc::clone(merge.schema()), columns[2 - merge.schema().fields().len()..].to_vec()).unwrap()
}

/// Keys and sums of some keys, or of all, in their order.
fn read(index: &KeyIndex, pane: Micros, keys: &[Key]) -> Vec<(i64, i64)> {
    let Some(rows) = index.rows(pane, keys).unwrap() else { return vec![] };
    let column = |at: usize| rows.column(at).as_primitive::<Int64Type>().values().to_vec();
    let mut read: Vec<(i64, i64)> = column(0).into_iter().zip(column(1)).collect();
    read.sort_unstable();
    read
}

fn all(index: &KeyIndex, pane: Micros) -> Vec<(i64, i64)> {
    read(index, pane, &index.all_keys(pane))
}

#[test]
fn a_key_has_one_row_which_merges_what_comes() {
    let merge = sums(1);
    let mut index = index(&merge);
    let touched = index.take_in(PANE, &[partial(&merge, &[(7, 1), (8, 2)])], &merge).unwrap();
    assert_eq!(touched.len(), 2);
    index.commit(Micros::MIN).unwrap();
    let touched =
        index.take_in(PANE, &[partial(&merge, &[(8, 10)]), partial(&merge, &[(9, 3), (8, 1)])], &merge).unwrap();
    assert_eq!(read(&index, PANE, &touched), [(8, 13), (9, 3)]);
    assert_eq!(all(&index, PANE), [(7, 1), (8, 13), (9, 3)]);
    // The rows of one batch may be of one key: a partial aggregation that gives up passes them on as they are.
    let touched = index.take_in(10, &[partial(&merge, &[(7, 1), (7, 1), (7, 1)])], &merge).unwrap();
    assert_eq!((touched.len(), read(&index, 10, &touched)), (1, vec![(7, 3)]));
}

#[test]
fn without_keys_there_is_one_row() {
    let merge = sums(0);
    let mut index = index(&merge);
    for sum in [3, 6] {
        let touched =
            index.take_in(PANE, &[partial(&merge, &[(0, 1), (0, 1)]), partial(&merge, &[(0, 1)])], &merge).unwrap();
        index.commit(Micros::MIN).unwrap();
        let rows = index.rows(PANE, &touched).unwrap().unwrap();
        assert_eq!(rows.num_rows(), 1);
        assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[sum]);
    }
    assert_eq!(index.all_keys(PANE).len(), 1);
}

#[test]
fn an_epoch_that_is_undone_leaves_nothing() {
    let merge = sums(1);
    let mut index = index(&merge);
    index.take_in(PANE, &[partial(&merge, &[(7, 1), (8, 2)])], &merge).unwrap();
    index.commit(Micros::MIN).unwrap();
    let bytes = index.bytes();
    index.take_in(PANE, &[partial(&merge, &[(8, 10), (9, 3)])], &merge).unwrap();
    index.take_in(PANE, &[partial(&merge, &[(8, 10)])], &merge).unwrap();
    index.take_in(10, &[partial(&merge, &[(7, 1)])], &merge).unwrap();
    index.abort();
    assert_eq!(all(&index, PANE), [(7, 1), (8, 2)]);
    assert_eq!(all(&index, 10), []);
    index.commit(Micros::MIN).unwrap();
    assert!(index.bytes() < bytes + 4_096);
    index.take_in(PANE, &[partial(&merge, &[(8, 10)])], &merge).unwrap();
    assert_eq!(all(&index, PANE), [(7, 1), (8, 12)]);
}

#[test]
fn a_pane_that_was_not_followed_is_made_of_what_is_committed() {
    let merge = sums(1);
    let mut index = index(&merge);
    let many: Vec<(i64, i64)> = (0..100).map(|key| (key, 1)).collect();
    let committed = vec![Rows::from(vec![partial(&merge, &many)]), vec![partial(&merge, &many[50..])].into()];
    index.build(PANE, committed, &merge).unwrap();
    let touched = index.take_in(PANE, &[partial(&merge, &[(99, 5), (100, 5)])], &merge).unwrap();
    assert_eq!(read(&index, PANE, &touched), [(99, 7), (100, 5)]);
    assert_eq!(all(&index, PANE).len(), 101);
    assert_eq!(all(&index, PANE).iter().map(|(_, sum)| sum).sum::<i64>(), 160);
}

#[test]
fn batches_stay_few_and_keys_that_no_pane_holds_are_forgotten() {
    let merge = sums(1);
    let mut index = index(&merge);
    let mut parts = 0_usize;
    for at in 0..2_000_i64 {
        index.take_in(PANE, &[partial(&merge, &[(at % 700, 1)])], &merge).unwrap();
        index.commit(Micros::MIN).unwrap();
        let pane = &index.panes[&PANE];
        parts = parts.max(pane.parts.len());
        let rows: usize = pane.parts.iter().map(|part| part.keys.len()).sum();
        assert!(rows <= 2 * pane.places.len() + DEAD_MIN + 1, "{rows} rows of {} keys", pane.places.len());
    }
    assert!(parts <= 12, "{parts} batches");
    // The panes go, and with them their keys; those of a pane that stays get other numbers.
    index.take_in(10, &[partial(&merge, &[(699, 1), (5_000, 1)])], &merge).unwrap();
    let kept = index.all_keys(10);
    let renumbered = index.commit(PANE).unwrap().expect("of 701 keys 2 are held");
    assert_eq!((renumbered.len(), index.keys.len(), index.held_keys), (2, 2, 2));
    let new: Vec<Key> = kept.iter().map(|key| renumbered[key]).collect();
    assert_eq!(read(&index, 10, &new), [(699, 1), (5_000, 1)]);
    let touched = index.take_in(10, &[partial(&merge, &[(699, 1)])], &merge).unwrap();
    assert_eq!(read(&index, 10, &touched), [(699, 2)]);
    index.commit(10).unwrap();
    assert!(index.is_empty());
}

proptest! {
    // Against a map of sums, wherever epochs are undone and panes go.
    #[test]
    fn it_is_a_map_of_keys(
        epochs in prop::collection::vec(
            (prop::collection::vec((0..3_i64, 0..12_i64, 0..5_i64), 0..10), any::<bool>(), prop::option::of(0..3_i64)),
            0..30,
        ),
    ) {
        let merge = sums(1);
        let mut index = index(&merge);
        let mut known: BTreeMap<Micros, BTreeMap<i64, i64>> = BTreeMap::new();
        let mut gone = Micros::MIN;
        for (rows, undone, done) in epochs {
            let mut after = known.clone();
            let mut by_pane: BTreeMap<Micros, Vec<(i64, i64)>> = BTreeMap::new();
            for (pane, key, value) in rows.into_iter().filter(|row| row.0 > gone) {
                by_pane.entry(pane).or_default().push((key, value));
                *after.entry(pane).or_default().entry(key).or_default() += value;
            }
            for (pane, rows) in &by_pane {
                let touched = index.take_in(*pane, &[partial(&merge, rows)], &merge).unwrap();
                let keys: std::collections::BTreeSet<i64> = rows.iter().map(|row| row.0).collect();
                let expected: Vec<(i64, i64)> = keys.into_iter().map(|key| (key, after[pane][&key])).collect();
                prop_assert_eq!(read(&index, *pane, &touched), expected);
            }
            if undone {
                index.abort();
                continue;
            }
            gone = gone.max(done.unwrap_or(gone));
            known = after;
            known.retain(|pane, _| *pane > gone);
            index.commit(gone).unwrap();
            for (pane, sums) in &known {
                prop_assert_eq!(all(&index, *pane), sums.iter().map(|(key, sum)| (*key, *sum)).collect::<Vec<_>>());
            }
            let held: std::collections::BTreeSet<i64> = known.values().flat_map(|keys| keys.keys().copied()).collect();
            prop_assert_eq!(index.held_keys, held.len());
        }
    }
}
