//! Rows that an aggregate's ORDER BY cannot tell apart: they are in the order in which they were read.

use arrow::array::{Array, ListArray, StructArray};
use arrow::datatypes::{DataType, Field};

use super::*;
use crate::operator::contract::RestoredSegment;

const ORDERED: &str = "SELECT window_end, first_value(id ORDER BY ts) AS first, last_value(id ORDER BY ts) AS last,
    first_value(id ORDER BY ts DESC) AS newest, last_value(page ORDER BY ts, n) AS page, nth_value(n, 2 ORDER BY ts) AS second,
    array_agg(id ORDER BY ts) AS ids, string_agg(page, '' ORDER BY ts) AS pages
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end";

/// Ids from 0 on: rows at second 1, the first six of partition 0 and the others of partition 1.
const ROWS: i64 = 12;

fn row(id: i64) -> (i64, &'static str, i64, i64) {
    (id, if id % 5 == 0 { "a" } else { "b" }, id % 3, 1)
}

/// One epoch of these rows, each with its origin.
async fn take(pipeline: &Pipeline, ids: &[i64], after: Micros) -> Emitted {
    let of: Vec<_> = ids.iter().map(|id| row(*id)).collect();
    let mut origins = Origins::default();
    ids.iter().for_each(|id| origins.push((id / 6) as i32, id % 6));
    let input = StepInput {
        epoch: 1,
        batches: vec![if ids.is_empty() { vec![] } else { rows(pipeline, 0, &of) }],
        origins: vec![vec![origins]],
        sources: vec![Mark::new(after)],
        ..StepInput::default()
    };
    let output = pipeline.step(input).await.unwrap_or_else(|error| panic!("{}", error.report()));
    pipeline.commit().unwrap();
    Emitted::of(output)
}

// `order` says in its bits of which partition the next row is read, `cuts` behind which rows an epoch ends.
#[tokio::test]
async fn ties_go_by_partition_and_offset_however_rows_are_read_and_cut() {
    let expected = "| 1970-01-01T00:00:10 | 0     | 11   | 11     | b    | 1      \
         | [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11] | abbbbabbbbab |";
    for (order, cuts) in [(0, 0), (0xfff, 0xfff), (0x555, 0), (0xa5c, 0x111), (0x333, 0x924), (0x0f3, 0xfff)] {
        for partitions in [1, 3] {
            let pipeline = planned(ORDERED, partitions).await;
            let (mut next, mut epoch) = ([0, 6], Vec::new());
            for at in 0..ROWS {
                let other = 1 - (order >> at & 1) as usize;
                let of = if next[1 - other] < [6, 12][1 - other] { 1 - other } else { other };
                epoch.push(next[of]);
                next[of] += 1;
                if cuts >> at & 1 == 1 {
                    assert_eq!(take(&pipeline, &std::mem::take(&mut epoch), NONE).await.rows(), 0);
                }
            }
            let output = take(&pipeline, &epoch, END).await;
            let shown = shown(&output.batches);
            assert!(shown.contains(expected), "read {order:x}, cut {cuts:x}, {partitions} partitions\n{shown}");
        }
    }
}

#[tokio::test]
async fn what_is_ordered_by_itself_or_twice_is_ordered() {
    let query =
        "SELECT window_end, array_agg(v ORDER BY v) AS vs, first_value(v ORDER BY v, ts, v) AS first FROM TUMBLE(
        (SELECT ts, unnest(make_array(n, 7, id)) AS v FROM clicks), ts, INTERVAL '10 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let shown = shown(&take(&pipeline, &[7, 1, 2], END).await.batches);
    assert!(shown.contains("| [1, 1, 1, 2, 2, 7, 7, 7, 7] | 1 "), "{shown}");
}

#[tokio::test]
async fn several_rows_of_one_record_are_told_apart_by_their_values() {
    let query =
        "SELECT window_end, array_agg(v ORDER BY ts) AS vs, first_value(v ORDER BY ts DESC) AS newest FROM TUMBLE(
        (SELECT ts, unnest(make_array(n, 7, id)) AS v FROM clicks), ts, INTERVAL '10 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let output = take(&pipeline, &[7, 1, 2], END).await;
    let shown = shown(&output.batches);
    assert!(shown.contains("| [1, 1, 7, 2, 2, 7, 1, 7, 7] | 7 "), "{shown}");
}

/// A segment as it was before an ORDER BY said where rows were read: of one `first_value` and one `array_agg`.
fn without_places(segment: &RecordBatch) -> RecordBatch {
    let orders = segment.column(5).as_list::<i32>();
    let structs = orders.values().as_struct();
    let fields = structs.fields().iter().take(1).cloned().collect();
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let DataType::Struct(fields) = item.data_type() else { unreachable!() };
    let times = StructArray::try_new(fields.clone(), vec![Arc::clone(structs.column(0))], None).unwrap();
    let orders = ListArray::try_new(item, orders.offsets().clone(), Arc::new(times), orders.nulls().cloned()).unwrap();
    let columns = [0, 1, 3, 4].map(|at| Arc::clone(segment.column(at)));
    let columns = columns.into_iter().chain([Arc::new(orders) as _]).enumerate();
    RecordBatch::try_from_iter(columns.map(|(at, column)| (at.to_string(), column))).unwrap()
}

#[tokio::test]
async fn state_that_does_not_say_where_rows_were_read_is_gone_on_from() {
    let query = "SELECT window_end, first_value(id ORDER BY ts) AS first, array_agg(id ORDER BY ts) AS ids
        FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end";
    let (before, after) = (planned(query, 1).await, planned(query, 1).await);
    take(&before, &[7, 8], NONE).await;
    for stored in before.operators()[0].segments() {
        let batches: Vec<RecordBatch> =
            stored.segment.rows.batches().map(|batch| without_places(&batch.unwrap())).collect();
        assert_eq!(batches[0].num_columns(), 5);
        let (id, level) = (stored.segment.id, stored.segment.level);
        let restored = RestoredSegment { input: 0, shard: 0, pane: stored.pane, id, level, batches };
        after.operators()[0].restore(restored).unwrap();
    }
    // What was read before comes before what ties with it.
    let output = take(&after, &[1, 9], END).await;
    let shown = shown(&output.batches);
    assert!(shown.contains("| 7     | [7, 8, 1, 9] |"), "{shown}");
}
