//! The lookup join against a nested loop over plain values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr, collect_partitioned};
use proptest::prelude::*;

use super::*;

/// A row of either side: two keys, and a number that tells rows apart and that the filter compares.
#[derive(Debug, Clone)]
struct Row {
    k1: Option<i32>,
    k2: Option<String>,
    number: Option<i64>,
}

/// (stream row, dimension row) of the output by their place in the input; `None` is the outer join's NULL.
type Pair = (usize, Option<usize>);

fn side_schema(side: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(format!("{side}_place"), DataType::Int64, false),
        Field::new(format!("{side}_k1"), DataType::Int32, true),
        Field::new(format!("{side}_k2"), DataType::Utf8View, true),
        Field::new(format!("{side}_number"), DataType::Int64, true),
    ]))
}

fn batch(side: &str, rows: &[Row], first_place: usize) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((first_place..first_place + rows.len()).map(|place| place as i64))),
        Arc::new(Int32Array::from_iter(rows.iter().map(|row| row.k1))),
        Arc::new(StringViewArray::from_iter(rows.iter().map(|row| row.k2.as_deref()))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.number))),
    ];
    RecordBatch::try_new(side_schema(side), columns).unwrap()
}

/// Rows in batches of `batch_rows`, dealt in order to `partitions`.
fn source(side: &str, rows: &[Row], batch_rows: usize, partitions: usize) -> Arc<dyn ExecutionPlan> {
    let mut dealt = vec![Vec::new(); partitions];
    let per_partition = rows.len().div_ceil(partitions).max(1);
    for (partition, rows) in rows.chunks(per_partition).enumerate() {
        for (chunk, rows) in rows.chunks(batch_rows).enumerate() {
            dealt[partition].push(batch(side, rows, partition * per_partition + chunk * batch_rows));
        }
    }
    MemorySourceConfig::try_new_exec(&dealt, side_schema(side), None).unwrap()
}

#[derive(Debug, Clone)]
struct Case {
    stream: Vec<Row>,
    dimension: Vec<Row>,
    keys: Vec<&'static str>,
    filtered: bool,
    nulls: NullKeys,
    join_type: LookupJoinType,
    stream_first: bool,
    batch_rows: usize,
    partitions: usize,
}

impl Case {
    fn plan(&self) -> Arc<LookupJoinExec> {
        let dimension = source("d", &self.dimension, 3, 2);
        self.plan_with(Arc::new(Dimension::new(dimension)))
    }

    fn plan_with(&self, dimension: Arc<Dimension>) -> Arc<LookupJoinExec> {
        let stream = source("s", &self.stream, self.batch_rows, self.partitions);
        let key = |side: &str, name: &str| -> Arc<dyn PhysicalExpr> {
            col(&format!("{side}_{name}"), &side_schema(side)).unwrap()
        };
        let on = self.keys.iter().map(|name| (key("s", name), key("d", name))).collect();
        let filter = self.filtered.then(|| {
            let schema = Arc::new(Schema::new(vec![
                Field::new("s_number", DataType::Int64, true),
                Field::new("d_number", DataType::Int64, true),
            ]));
            let (left, right) = (col("s_number", &schema).unwrap(), col("d_number", &schema).unwrap());
            let expression = binary(left, Operator::Lt, right, &schema).unwrap();
            JoinFilter::new(expression, JoinFilter::build_column_indices(vec![3], vec![3]), schema)
        });
        let join =
            LookupJoinExec::try_new(stream, dimension, on, self.nulls, filter, self.join_type, self.stream_first);
        Arc::new(join.unwrap())
    }

    fn expected(&self) -> Vec<Pair> {
        fn equal<T: PartialEq>(nulls: NullKeys, left: &Option<T>, right: &Option<T>) -> bool {
            match nulls {
                NullKeys::MatchNothing => left.is_some() && left == right,
                NullKeys::MatchNull => left == right,
                NullKeys::MatchEverything => left.is_none() || right.is_none() || left == right,
            }
        }
        let mut pairs = Vec::new();
        for (s, left) in self.stream.iter().enumerate() {
            let matches: Vec<usize> = (0..self.dimension.len())
                .filter(|&d| {
                    let right = &self.dimension[d];
                    self.keys.iter().all(|key| match *key {
                        "k1" => equal(self.nulls, &left.k1, &right.k1),
                        _ => equal(self.nulls, &left.k2, &right.k2),
                    }) && (!self.filtered || left.number.zip(right.number).is_some_and(|(l, r)| l < r))
                })
                .collect();
            match self.join_type {
                LookupJoinType::Inner => pairs.extend(matches.into_iter().map(|d| (s, Some(d)))),
                LookupJoinType::LeftOuter if matches.is_empty() => pairs.push((s, None)),
                LookupJoinType::LeftOuter => pairs.extend(matches.into_iter().map(|d| (s, Some(d)))),
                LookupJoinType::LeftSemi if !matches.is_empty() => pairs.push((s, None)),
                LookupJoinType::LeftAnti if matches.is_empty() => pairs.push((s, None)),
                LookupJoinType::LeftSemi | LookupJoinType::LeftAnti => {}
                // Shown as if it were a pair with the first row.
                LookupJoinType::LeftMark => pairs.push((s, (!matches.is_empty()).then_some(0))),
            }
        }
        pairs
    }

    /// Runs the plan and reads the output back as places, checking that all columns belong to the rows they claim.
    fn run(&self, plan: Arc<dyn ExecutionPlan>) -> Vec<Pair> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let partitions = runtime.block_on(collect_partitioned(plan, Arc::new(TaskContext::default()))).unwrap();
        let mut pairs = Vec::new();
        for batch in partitions.iter().flatten() {
            assert!(batch.num_rows() <= ROWS_PER_BATCH && batch.num_rows() > 0);
            let wide = batch.num_columns() == 8;
            let (s, d) = if self.stream_first || !wide { (0, 4) } else { (4, 0) };
            for row in 0..batch.num_rows() {
                let place = self.read(batch, row, s, &self.stream).unwrap();
                if self.join_type == LookupJoinType::LeftMark {
                    pairs.push((place, batch.column(4).as_boolean().value(row).then_some(0)));
                    continue;
                }
                pairs.push((place, wide.then(|| self.read(batch, row, d, &self.dimension)).flatten()));
            }
        }
        pairs
    }

    fn read(&self, batch: &RecordBatch, row: usize, from: usize, rows: &[Row]) -> Option<usize> {
        let column = |index: usize| batch.column(from + index);
        if column(0).is_null(row) {
            assert!((1..4).all(|index| column(index).is_null(row)));
            return None;
        }
        let place = column(0).as_primitive::<Int64Type>().value(row) as usize;
        let [k1, k2, number] = [1, 2, 3].map(column);
        let (k1, k2, number) =
            (k1.as_primitive::<Int32Type>(), k2.as_string_view(), number.as_primitive::<Int64Type>());
        let read = Row {
            k1: k1.is_valid(row).then(|| k1.value(row)),
            k2: k2.is_valid(row).then(|| k2.value(row).to_owned()),
            number: number.is_valid(row).then(|| number.value(row)),
        };
        assert_eq!(format!("{read:?}"), format!("{:?}", rows[place]));
        Some(place)
    }
}

fn a_row() -> impl Strategy<Value = Row> {
    let text = prop_oneof![
        Just("a"),
        Just("bb"),
        Just("too long to lie inside a view"),
        Just("too long to lie inside a view!")
    ];
    (proptest::option::weighted(0.8, 0..12i32), proptest::option::weighted(0.8, text), proptest::option::of(0..4i64))
        .prop_map(|(k1, k2, number)| Row { k1, k2: k2.map(str::to_owned), number })
}

fn a_case() -> impl Strategy<Value = Case> {
    let join_type = prop_oneof![
        Just(LookupJoinType::Inner),
        Just(LookupJoinType::LeftOuter),
        Just(LookupJoinType::LeftSemi),
        Just(LookupJoinType::LeftAnti),
        Just(LookupJoinType::LeftMark)
    ];
    let keys = prop_oneof![Just(vec!["k1"]), Just(vec!["k2"]), Just(vec!["k1", "k2"]), Just(vec![])];
    let nulls = prop_oneof![Just(NullKeys::MatchNothing), Just(NullKeys::MatchNull), Just(NullKeys::MatchEverything)];
    (
        proptest::collection::vec(a_row(), 0..40),
        proptest::collection::vec(a_row(), 0..30),
        (keys, nulls, any::<bool>(), join_type, any::<bool>()),
        (1..9usize, 1..4usize),
    )
        .prop_map(
            |(stream, dimension, (keys, nulls, filtered, join_type, stream_first), (batch_rows, partitions))| {
                let planned = nulls != NullKeys::MatchEverything || (keys.len() == 1 && join_type.is_about_existence());
                let nulls = if planned { nulls } else { NullKeys::MatchNothing };
                Case { stream, dimension, keys, filtered, nulls, join_type, stream_first, batch_rows, partitions }
            },
        )
}

proptest! {
    // Every join equals the nested loop, row for row and in its order, and again when the plan runs a second time.
    #[test]
    fn equals_a_nested_loop_in_every_epoch(case in a_case()) {
        let plan: Arc<dyn ExecutionPlan> = case.plan();
        prop_assert_eq!(case.run(Arc::clone(&plan)), case.expected());
        let again = reset_plan_states(plan).unwrap();
        prop_assert_eq!(case.run(again), case.expected());
    }
}

fn row(k1: i32, number: i64) -> Row {
    Row { k1: Some(k1), k2: None, number: Some(number) }
}

fn case(stream: Vec<Row>, dimension: Vec<Row>, join_type: LookupJoinType) -> Case {
    Case {
        stream,
        dimension,
        keys: vec!["k1"],
        filtered: false,
        nulls: NullKeys::MatchNothing,
        join_type,
        stream_first: true,
        batch_rows: 8192,
        partitions: 1,
    }
}

// One row with 20,000 matches comes out in batches that are no larger than the others.
#[test]
fn many_matches_of_one_row_come_in_portions() {
    let dimension: Vec<Row> = (0..20_000).map(|number| row(1, number)).collect();
    for join_type in [
        LookupJoinType::Inner,
        LookupJoinType::LeftOuter,
        LookupJoinType::LeftSemi,
        LookupJoinType::LeftAnti,
        LookupJoinType::LeftMark,
    ] {
        let case = case(vec![row(1, 0), row(2, 0), row(1, 5)], dimension.clone(), join_type);
        assert_eq!(case.run(case.plan()), case.expected());
    }
}

// The table is read once, although two plans and two epochs look things up in it by two different keys.
#[test]
fn the_dimension_is_read_once() {
    let rows = [row(1, 10), row(2, 20)];
    let plan = source("d", &rows, 8, 1);
    let dimension = Arc::new(Dimension::new(Arc::clone(&plan)));
    let mut narrow = case(vec![row(2, 0)], rows.to_vec(), LookupJoinType::Inner);
    let first = narrow.plan_with(Arc::clone(&dimension));
    assert_eq!(narrow.run(first), [(0, Some(1))]);
    narrow.keys = vec!["k1", "k2"];
    let second = narrow.plan_with(Arc::clone(&dimension));
    assert_eq!(narrow.run(second), []);
    let index = |keys: &[&str]| {
        let keys = keys.iter().map(|key| col(key, &plan.schema()).unwrap()).collect();
        dimension.keyed_by(keys, NullKeys::MatchNothing)
    };
    // `Dimension` runs a fresh instance of the plan; the rows it keeps are the proof that it did not run another.
    assert!(Arc::ptr_eq(index(&["d_k1"]).batch().column(0), index(&["d_k1", "d_k2"]).batch().column(0),));
}

// An inner join with an empty table yields nothing and yet polls the stream, here another join, to its end.
#[test]
fn an_empty_dimension_drains_the_stream() {
    let empty = || Arc::new(Dimension::new(source("d", &[], 1, 1)));
    let below = Case { batch_rows: 1, ..case(vec![row(1, 0), row(2, 0)], vec![], LookupJoinType::LeftAnti) };
    let stream = below.plan_with(empty());
    let on = vec![(col("s_k1", &stream.schema()).unwrap(), col("d_k1", &side_schema("d")).unwrap())];
    let below_it = Arc::clone(&stream) as Arc<dyn ExecutionPlan>;
    let join =
        LookupJoinExec::try_new(below_it, empty(), on, NullKeys::MatchNothing, None, LookupJoinType::Inner, true)
            .unwrap();
    assert_eq!(below.run(Arc::new(join)), []);
    assert_eq!(stream.metrics().and_then(|metrics| metrics.output_rows()), Some(2));
}

// Keys of different types are a plan error that names both.
#[test]
fn keys_of_different_types_are_refused() {
    let stream = source("s", &[], 1, 1);
    let dimension = Arc::new(Dimension::new(source("d", &[], 1, 1)));
    let on = vec![(col("s_k1", &stream.schema()).unwrap(), col("d_k2", &dimension.schema()).unwrap())];
    let error =
        LookupJoinExec::try_new(stream, dimension, on, NullKeys::MatchNothing, None, LookupJoinType::Inner, true)
            .unwrap_err();
    assert!(error.to_string().contains("s_k1@1 of type Int32 with d_k2@2 of type Utf8View"), "{error}");
}

// An aggregate hands its rows on as slices of one batch: a hundred of them take no more than all of it.
#[test]
fn what_slices_have_in_common_is_counted_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows: Vec<Row> = (0..1_000).map(|number| row(1, number)).collect();
    let whole = batch("d", &rows, 0);
    let slices: Vec<RecordBatch> = (0..100).map(|part| whole.slice(10 * part, 10)).collect();
    let plan = MemorySourceConfig::try_new_exec(&[slices], side_schema("d"), None).unwrap();
    let room = RuntimeEnvBuilder::new().with_memory_limit(2 * whole.get_array_memory_size(), 1.0).build_arc().unwrap();
    let context = Arc::new(TaskContext::default().with_runtime(room));
    runtime.block_on(Arc::new(Dimension::new(plan)).read_again(&context)).map(drop).unwrap();
}

// What is read again is seen by none before it is put in place, and by all indexes at once after that.
#[test]
fn a_dimension_that_is_read_again_is_seen_when_it_is_put_in_place() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rows = [row(1, 10), row(2, 20)];
    let dimension = Arc::new(Dimension::new(source("d", &rows, 8, 1)));
    let case = case(vec![row(2, 0)], rows.to_vec(), LookupJoinType::Inner);
    let by_one_key = case.plan_with(Arc::clone(&dimension));
    let keys = ["d_k1", "d_number"].map(|key| col(key, &side_schema("d")).unwrap());
    let by_two = dimension.keyed_by(keys.to_vec(), NullKeys::MatchNothing);
    assert_eq!(case.run(by_one_key.clone()), [(0, Some(1))]);
    let context = Arc::new(TaskContext::default());
    let first = runtime.block_on(by_two.get(&dimension, &context)).unwrap();
    let replace = runtime.block_on(dimension.read_again(&context)).unwrap();
    let before = runtime.block_on(by_two.get(&dimension, &context)).unwrap();
    assert!(Arc::ptr_eq(&first, &before));
    replace();
    let after = runtime.block_on(by_two.get(&dimension, &context)).unwrap();
    assert!(!Arc::ptr_eq(&first, &after));
    assert_eq!(after.batch, first.batch);
    assert_eq!(case.run(reset_plan_states(by_one_key).unwrap()), [(0, Some(1))]);
}
