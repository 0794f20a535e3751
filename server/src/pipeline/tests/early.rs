//! What leaves before it is final: after each epoch the view as it is read is what batch says of the rows so far, however these came,
//! and what is final is what leaves without it.

use std::time::Duration;

use super::kinds::in_batch;
use super::windows::values;
use super::*;
use crate::operator::contract::{RestoredSegment, StoredSegment};

/// A query and whoever reads its view.
struct Reader {
    query: String,
    pipeline: Pipeline,
    partitions: usize,
    /// All that has left, oldest first.
    early: Vec<RecordBatch>,
    settled: Vec<RecordBatch>,
    bad: Vec<DeadLetter>,
}

impl Reader {
    async fn new(query: &str) -> Self {
        Reader::over(query, 1).await
    }

    async fn over(query: &str, partitions: usize) -> Self {
        let pipeline = planned(query, partitions).await;
        let (early, settled, bad) = (vec![], vec![], vec![]);
        Reader { query: query.to_owned(), pipeline, partitions, early, settled, bad }
    }

    /// What is left of a step: the early rows of it alone, as they are shown, and gone ones by their keys with a minus.
    async fn step(&mut self, input: &[Row], to: Micros) -> Vec<String> {
        self.step_at(input, to, 0).await
    }

    async fn step_at(&mut self, input: &[Row], to: Micros, now: Micros) -> Vec<String> {
        let output =
            self.pipeline.step(self.input(input, to, now)).await.unwrap_or_else(|error| panic!("{}", error.report()));
        self.pipeline.commit().unwrap();
        self.settled.extend(output.rows.batches().map(Result::unwrap));
        self.bad.extend(output.bad);
        let early: Vec<RecordBatch> = output.early.batches().map(Result::unwrap).collect();
        self.early.extend(early.iter().cloned());
        self.told(&early)
    }

    async fn undone(&self, input: &[Row], to: Micros, now: Micros) {
        self.pipeline.step(self.input(input, to, now)).await.unwrap();
        self.pipeline.abort();
    }

    fn input(&self, input: &[Row], to: Micros, now: Micros) -> StepInput {
        let batches = vec![if input.is_empty() { vec![] } else { rows(&self.pipeline, 0, input) }];
        StepInput { epoch: 1, now, batches, sources: vec![Mark::new(to)], ..StepInput::default() }
    }

    fn told(&self, early: &[RecordBatch]) -> Vec<String> {
        let form = self.pipeline.early().unwrap();
        let mut told = Vec::new();
        for batch in early {
            let all = arrow::array::BooleanArray::from(vec![true; batch.num_rows()]);
            let shown = form.in_view(&form.pick(batch, &all, |row| !row.gone).unwrap()).unwrap();
            told.extend(lines(&[shown]));
            let gone = form.pick(batch, &all, |row| row.gone).unwrap().project(form.key()).unwrap();
            told.extend(lines(&[gone]).into_iter().map(|key| format!("-{key}")));
        }
        told.sort();
        told
    }

    /// The view as it is read now.
    fn view(&self) -> Vec<String> {
        let (form, through) = (self.pipeline.early().unwrap(), self.pipeline.final_through());
        let open = form.newest(&self.early, |row| !row.gone && row.is_open(through)).unwrap();
        let open = open.iter().map(|batch| form.in_view(batch).unwrap());
        let mut all = lines(&self.settled.iter().cloned().chain(open).collect::<Vec<_>>());
        all.sort();
        all
    }

    /// The same without the column that says what is final.
    fn results(&self) -> Vec<String> {
        let mut results: Vec<String> = self.view().iter().map(|row| without_is_final(row)).collect();
        results.sort();
        results
    }

    /// Goes on from what a checkpoint holds.
    async fn restart(&mut self) {
        let pipeline = planned(&self.query, self.partitions).await;
        let marks = self.pipeline.kept_marks();
        for (at, (operator, before)) in pipeline.operators().iter().zip(self.pipeline.operators()).enumerate() {
            for StoredSegment { input, shard, pane, segment } in before.segments() {
                let batches = segment.rows.batches().map(Result::unwrap).collect();
                let (id, level) = (segment.id, segment.level);
                operator.restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
            }
            pipeline.restore_marks(at, |input| marks[at].get(input).copied());
        }
        self.pipeline = pipeline;
    }
}

fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let batches: Vec<RecordBatch> = batches.iter().filter(|batch| batch.num_rows() > 0).cloned().collect();
    if batches.is_empty() { vec![] } else { values(&batches) }
}

fn without_is_final(row: &str) -> String {
    row.rsplit_once(',').map_or_else(String::new, |(row, _)| row.to_owned())
}

fn view(options: &str, query: &str, emit: &str) -> String {
    format!("CREATE MATERIALIZED VIEW v WITH ({options}) AS {query} {emit}")
}

const SUMS: &str =
    "SELECT window_end, page, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page";

#[tokio::test]
async fn what_an_epoch_changes_leaves_with_it_and_the_closing_result_takes_its_place() {
    let mut reader = Reader::new(&format!("{SUMS} EMIT CHANGES")).await;
    assert_eq!(reader.step(&[(1, "a", 5, 1), (2, "b", 6, 9)], NONE).await, ["00:10,a,5,false", "00:10,b,6,false"]);
    // What it has not touched does not leave again.
    assert_eq!(
        reader.step(&[(3, "a", 7, 9), (4, "a", 8, 12)], 9 * SECOND).await,
        ["00:10,a,12,false", "00:20,a,8,false"]
    );
    assert_eq!(reader.step(&[], 9 * SECOND).await, [] as [&str; 0]);
    assert_eq!(reader.view(), ["00:10,a,12,false", "00:10,b,6,false", "00:20,a,8,false"]);
    // A row that comes with the end of its window is in the closing result.
    assert_eq!(reader.step(&[(5, "b", 1, 9)], 10 * SECOND).await, [] as [&str; 0]);
    assert_eq!(reader.view(), ["00:10,a,12,true", "00:10,b,7,true", "00:20,a,8,false"]);
    reader.step(&[], END).await;
    assert_eq!(reader.view(), ["00:10,a,12,true", "00:10,b,7,true", "00:20,a,8,true"]);
    assert_eq!((reader.pipeline.open_panes(), reader.pipeline.state_bytes()), (0, 0));
}

#[tokio::test]
async fn a_result_that_a_condition_no_longer_takes_goes_and_may_come_back() {
    let mut reader = Reader::new(&format!("{SUMS} HAVING sum(n) BETWEEN 3 AND 9 EMIT CHANGES")).await;
    assert_eq!(reader.step(&[(1, "a", 5, 1), (2, "b", 1, 1)], NONE).await, ["-00:10,b", "00:10,a,5,false"]);
    assert_eq!(reader.step(&[(3, "a", 5, 1), (4, "b", 2, 1)], NONE).await, ["-00:10,a", "00:10,b,3,false"]);
    assert_eq!(reader.view(), ["00:10,b,3,false"]);
    assert_eq!(reader.step(&[(5, "a", -2, 1)], NONE).await, ["00:10,a,8,false"]);
    // With its last row it goes for good: what is final does not replace what has left of it.
    assert_eq!(reader.step(&[(6, "a", 9, 2)], 10 * SECOND).await, ["-00:10,a"]);
    assert_eq!(reader.view(), ["00:10,b,3,true"]);
}

#[tokio::test]
async fn conditions_of_queries_upon_one_another_work_in_the_order_of_the_text() {
    let query = "SELECT e, p, r FROM (SELECT window_end AS e, page AS p, 12 / sum(n) AS r, count(*) AS c
            FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page HAVING sum(n) <> 0) AS t
        WHERE c < 4 AND r > 1 EMIT CHANGES";
    let mut reader = Reader::new(query).await;
    // Where the sum is zero nothing is divided by it.
    assert_eq!(reader.step(&[(1, "a", 0, 1), (2, "b", 2, 1)], NONE).await, ["-00:10,a", "00:10,b,6,false"]);
    assert_eq!(reader.step(&[(3, "a", 3, 1), (4, "b", -2, 1)], NONE).await, ["-00:10,b", "00:10,a,4,false"]);
    assert_eq!(reader.step(&[(5, "a", 90, 1)], NONE).await, ["-00:10,a"]);
    assert_eq!(reader.step(&[(6, "b", 4, 1)], END).await, [] as [&str; 0]);
    assert_eq!((reader.view(), reader.bad.len()), (vec!["00:10,b,3,true".to_owned()], 0));
}

// A result that cannot be computed is not there. Only that of the closing window is a dead letter.
#[tokio::test]
async fn a_result_that_cannot_be_computed_now_is_not_shown_and_only_a_final_one_is_a_dead_letter() {
    let most = i64::MAX;
    let mut reader = Reader::new(&format!("{SUMS} EMIT CHANGES")).await;
    assert_eq!(reader.step(&[(1, "a", most, 1), (2, "b", 1, 1), (3, "c", most, 1)], NONE).await.len(), 3);
    assert_eq!(
        reader.step(&[(4, "a", 1, 1), (5, "b", 1, 1), (6, "c", 1, 1)], NONE).await,
        ["-00:10,a", "-00:10,c", "00:10,b,2,false"]
    );
    assert_eq!(reader.step(&[(7, "a", -2, 1)], NONE).await, [format!("00:10,a,{},false", most - 1)]);
    assert!(reader.bad.is_empty());
    reader.step(&[], END).await;
    assert_eq!(reader.view(), [format!("00:10,a,{},true", most - 1), "00:10,b,2,true".to_owned()]);
    assert_eq!(reader.bad.len(), 1);

    let query = SUMS.replace("sum(n) AS s", "10 / (sum(n) - 3) AS s");
    let mut reader = Reader::new(&format!("{query} EMIT CHANGES")).await;
    assert_eq!(
        reader.step(&[(1, "a", 1, 1), (2, "b", 4, 1), (3, "c", 3, 1)], NONE).await,
        ["-00:10,c", "00:10,a,-5,false", "00:10,b,10,false"]
    );
    assert_eq!(reader.step(&[(4, "a", 2, 1), (5, "c", 2, 1)], NONE).await, ["-00:10,a", "00:10,c,5,false"]);
    assert!(reader.bad.is_empty());
    assert_eq!(reader.step(&[], END).await, [] as [&str; 0]);
    assert_eq!((reader.view(), reader.bad.len()), (vec!["00:10,b,10,true".to_owned(), "00:10,c,5,true".to_owned()], 1));
}

#[tokio::test]
async fn in_intervals_leaves_what_has_changed_since_the_last_time() {
    let mut reader = Reader::new(&format!("{SUMS} EMIT EVERY INTERVAL '5 seconds'")).await;
    let at = |second: i64| second * SECOND;
    assert_eq!(reader.pipeline.next_time(), None);
    assert_eq!(reader.step_at(&[(1, "a", 1, 1)], NONE, at(100)).await, ["00:10,a,1,false"]);
    assert_eq!(reader.pipeline.next_time(), None);
    assert_eq!(reader.step_at(&[(2, "a", 2, 1)], NONE, at(102)).await, [] as [&str; 0]);
    assert_eq!(reader.step_at(&[(3, "b", 3, 1), (4, "c", 3, 11)], NONE, at(104)).await, [] as [&str; 0]);
    assert_eq!(reader.pipeline.next_time(), Some(at(105)));
    // Undone, it is due again.
    reader.undone(&[], NONE, at(105)).await;
    let all = ["00:10,a,3,false", "00:10,b,3,false", "00:20,c,3,false"];
    assert_eq!(reader.step_at(&[], NONE, at(106)).await, all);
    assert_eq!((reader.pipeline.next_time(), reader.view()), (None, all.map(str::to_owned).to_vec()));
    assert_eq!(reader.step_at(&[(5, "c", 1, 11)], NONE, at(107)).await, [] as [&str; 0]);
    assert_eq!(reader.pipeline.next_time(), Some(at(111)));
    // A clock that is set back holds nothing up.
    assert_eq!(reader.step_at(&[], NONE, at(50)).await, ["00:20,c,4,false"]);
    assert_eq!(reader.step_at(&[(6, "c", 1, 11)], NONE, at(51)).await, [] as [&str; 0]);
    // Closing waits for no interval.
    assert_eq!(reader.step_at(&[], END, at(52)).await, [] as [&str; 0]);
    assert_eq!(reader.view(), ["00:10,a,3,true", "00:10,b,3,true", "00:20,c,5,true"]);
}

#[tokio::test]
async fn what_waits_for_its_interval_goes_when_its_window_closes_without_it() {
    let mut reader = Reader::new(&format!("{SUMS} HAVING sum(n) < 5 EMIT EVERY INTERVAL '5 seconds'")).await;
    assert_eq!(
        reader.step_at(&[(1, "a", 1, 1), (2, "b", 1, 11)], NONE, SECOND).await,
        ["00:10,a,1,false", "00:20,b,1,false"]
    );
    assert_eq!(reader.step_at(&[(3, "a", 9, 1), (4, "b", 9, 11)], NONE, 2 * SECOND).await, [] as [&str; 0]);
    assert_eq!(reader.step_at(&[], 10 * SECOND, 3 * SECOND).await, ["-00:10,a"]);
    assert_eq!(reader.view(), ["00:20,b,1,false"]);
    assert_eq!(reader.step_at(&[], 10 * SECOND, 6 * SECOND).await, ["-00:20,b"]);
}

#[tokio::test]
async fn a_closed_window_is_corrected_as_long_as_rows_may_be_late() {
    let emit = "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS";
    let mut reader = Reader::new(&view("'allowed-lateness' = '20 seconds'", SUMS, emit)).await;
    assert_eq!(reader.step(&[(1, "a", 1, 1), (2, "b", 2, 2), (3, "a", 4, 11)], 9 * SECOND).await, [] as [&str; 0]);
    assert!(!reader.pipeline.due(&[Mark::new(10 * SECOND - 1)]) && reader.pipeline.due(&[Mark::new(10 * SECOND)]));
    assert_eq!(reader.step(&[], 10 * SECOND).await, ["00:10,a,1,false", "00:10,b,2,false"]);
    assert!(!reader.pipeline.due(&[Mark::new(20 * SECOND - 1)]) && reader.pipeline.due(&[Mark::new(20 * SECOND)]));
    // A late row corrects its own result. Of a window that has not ended nothing leaves.
    assert_eq!(reader.step(&[(4, "b", 8, 3), (5, "b", 1, 12)], 12 * SECOND).await, ["00:10,b,10,false"]);
    assert_eq!(
        reader.step(&[(6, "c", 16, 4)], 20 * SECOND).await,
        ["00:10,c,16,false", "00:20,a,4,false", "00:20,b,1,false"]
    );
    assert_eq!(reader.step(&[(7, "b", 32, 5)], 29 * SECOND).await, ["00:10,b,42,false"]);
    assert!(!reader.pipeline.due(&[Mark::new(30 * SECOND - 1)]) && reader.pipeline.due(&[Mark::new(30 * SECOND)]));
    reader.step(&[], 30 * SECOND).await;
    assert_eq!(
        reader.view(),
        ["00:10,a,1,true", "00:10,b,42,true", "00:10,c,16,true", "00:20,a,4,false", "00:20,b,1,false"]
    );
    // The watermark of what is final is less by the lateness.
    assert_eq!(reader.pipeline.output_marks(), [("window_end".to_owned(), Mark::new(10 * SECOND))]);
}

#[tokio::test]
async fn early_results_stay_correctable_for_the_allowed_lateness() {
    let mut reader = Reader::new(&view("'allowed-lateness' = '20 seconds'", SUMS, "EMIT CHANGES")).await;
    reader.step(&[(1, "a", 1, 1)], 12 * SECOND).await;
    assert_eq!(reader.view(), ["00:10,a,1,false"]);
    assert_eq!(reader.step(&[(2, "a", 2, 2)], 29 * SECOND).await, ["00:10,a,3,false"]);
    reader.step(&[], 30 * SECOND).await;
    assert_eq!(reader.view(), ["00:10,a,3,true"]);
}

#[tokio::test]
async fn every_open_window_that_holds_a_row_gets_a_new_result_for_its_key() {
    let query = "SELECT window_end, page, sum(n) AS s FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')
        GROUP BY window_end, page EMIT CHANGES";
    let mut reader = Reader::new(query).await;
    let first = ["00:10,a,1,false", "00:15,a,1,false", "00:20,a,1,false"];
    assert_eq!(reader.step(&[(1, "a", 1, 7)], NONE).await, first);
    assert_eq!(
        reader.step(&[(2, "b", 2, 12)], 11 * SECOND).await,
        ["00:15,b,2,false", "00:20,b,2,false", "00:25,b,2,false"]
    );
    // The first window of this row has closed, and other keys stay as they are.
    assert_eq!(reader.step(&[(3, "a", 4, 8)], 11 * SECOND).await, ["00:15,a,5,false", "00:20,a,5,false"]);
    assert_eq!(
        reader.step(&[(4, "a", 8, 18)], 14 * SECOND).await,
        ["00:20,a,13,false", "00:25,a,8,false", "00:30,a,8,false"]
    );
    assert_eq!(
        reader.view(),
        [
            "00:10,a,1,true",
            "00:15,a,5,false",
            "00:15,b,2,false",
            "00:20,a,13,false",
            "00:20,b,2,false",
            "00:25,a,8,false",
            "00:25,b,2,false",
            "00:30,a,8,false"
        ]
    );
}

#[tokio::test]
async fn after_a_restart_what_had_waited_leaves_at_once() {
    let mut reader = Reader::new(&format!("{SUMS} EMIT EVERY INTERVAL '5 seconds'")).await;
    reader.step_at(&[(1, "a", 1, 1), (2, "b", 1, 11)], NONE, SECOND).await;
    reader.step_at(&[(3, "a", 2, 1)], NONE, 2 * SECOND).await;
    reader.restart().await;
    assert!(reader.pipeline.next_time().unwrap() <= 2 * SECOND);
    assert_eq!(reader.step_at(&[], NONE, 2 * SECOND).await, ["00:10,a,3,false", "00:20,b,1,false"]);
    assert_eq!(reader.pipeline.next_time(), None);
    // Where nothing waits for a time, nothing leaves again.
    let mut reader = Reader::new(&format!("{SUMS} EMIT CHANGES")).await;
    reader.step(&[(1, "a", 1, 1), (2, "b", 1, 2)], NONE).await;
    reader.restart().await;
    assert_eq!(reader.step(&[], NONE).await, [] as [&str; 0]);
    assert_eq!(reader.step(&[(3, "a", 2, 1)], NONE).await, ["00:10,a,3,false"]);
}

// A window of many keys costs an epoch nothing that does not touch them: what it keeps of them is found by their keys.
#[tokio::test]
async fn ten_thousand_epochs_of_one_row_keep_memory_flat_and_emit_a_row_each() {
    let pipeline = planned(&format!("{SUMS} EMIT CHANGES"), 1).await;
    let mut most = 0;
    for at in 0..10_000_i64 {
        let input = rows(&pipeline, 0, &[(at, ["a", "b", "c"][at as usize % 3], 1, at / 100)]);
        let sources = vec![Mark::new(at / 100 * SECOND)];
        let output = pipeline.step(StepInput { batches: vec![input], sources, ..StepInput::default() }).await.unwrap();
        pipeline.commit().unwrap();
        assert_eq!(output.early.num_rows(), 1);
        most = most.max(pipeline.state_bytes());
    }
    assert!(most < 128 * 1024, "{most} bytes");
}

#[tokio::test]
async fn all_of_an_early_query_can_be_had_as_final_rows_alone() {
    let mut pipeline = planned(&format!("{SUMS} EMIT CHANGES"), 1).await;
    pipeline.only_final();
    let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 5, 1)])], NONE, NONE).await;
    assert_eq!(output.rows(), 0);
    let output = epoch(&pipeline, vec![vec![]], NONE, END).await;
    assert_eq!(values(&output.batches), ["00:10,a,5,true"]);
    assert_eq!((pipeline.changes(), pipeline.early().is_some()), (&Changes::Append, false));
}

// What names a row, whatever the query calls it: the window by any of its parts, and all keys.
#[tokio::test]
async fn rows_are_named_by_their_window_and_keys() {
    let tumble = "FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')";
    for (query, key, row) in [
        (format!("SELECT count(*) AS c, window_start {tumble} GROUP BY window_start"), vec!["window_start"], "1,00:00,false"),
        (format!("SELECT window_end FROM (SELECT window_end, max(n) AS m {tumble} GROUP BY window_end, window_start) WHERE m > 0"), vec!["window_end"], "00:10,false"),
        (format!("SELECT p AS q, window_time AS t, upper(p) AS u, c FROM (SELECT page AS p, window_time, count(*) AS c {tumble} GROUP BY page, window_time)"), vec!["q", "t"], "a,00:09.999,A,1,false"),
        (format!("SELECT window_start, window_end, page, page AS again {tumble} GROUP BY page, window_start, window_end"), vec!["window_start", "window_end", "page", "again"], "00:00,00:10,a,a,false"),
        ("SELECT tumble(ts, INTERVAL '10 seconds') AS w, count(*) AS c FROM clicks GROUP BY w".to_owned(), vec!["w"], "{start: 00:00, end: 00:10},1,false"),
        ("SELECT w['end'] AS e, u, c FROM (SELECT tumble(ts, INTERVAL '10 seconds') AS w, upper(page) AS u, count(*) AS c FROM clicks GROUP BY w, upper(page))".to_owned(), vec!["e", "u"], "00:10,A,1,false"),
        ("SELECT window_end, count(*) AS c FROM CUMULATE(clicks, ts, INTERVAL '10 seconds', INTERVAL '10 seconds') WHERE window_start > '1960-01-01' GROUP BY window_start, window_end".to_owned(), vec!["window_end"], "00:10,1,false"),
    ] {
        let mut reader = Reader::new(&format!("{query} EMIT CHANGES")).await;
        let form = Arc::clone(reader.pipeline.early().unwrap());
        let names: Vec<&str> = form.key().iter().map(|at| form.view().field(*at).name().as_str()).collect();
        assert_eq!(names, key, "{query}");
        assert_eq!(reader.step(&[(1, "a", 1, 1)], NONE).await, [row], "{query}");
        assert_eq!(reader.pipeline.all_changes(), &Changes::Upsert(form.key().to_vec()));
        // And by the same where they go.
        let mut reader = Reader::new(&format!("SELECT * FROM ({query}) WHERE 1 > 1 EMIT CHANGES")).await;
        reader.step(&[(1, "a", 1, 1)], NONE).await;
        assert_eq!(reader.view(), [] as [&str; 0]);
    }
    for key in ["window_start, page", "page, window_end", "window_end, again, window_start"] {
        let query = format!(
            "SELECT window_start, window_end, page, page AS again, count(*) AS c {tumble} GROUP BY page, window_start, window_end"
        );
        planned(&view(&format!("'primary-key' = '{key}'"), &query, "EMIT CHANGES"), 1).await;
    }
}

#[tokio::test]
async fn a_subquery_that_stands_for_a_value_is_read_for_early_rows_too() {
    let query = format!("{SUMS} HAVING count(*) >= (SELECT count(*) FROM pages) EMIT CHANGES");
    for partitions in [1, 2] {
        let mut reader = Reader::over(&query, partitions).await;
        let many = [(1, "a", 1, 1), (2, "a", 2, 1), (3, "b", 3, 1), (4, "c", 1, 1)];
        assert_eq!(reader.step(&many, NONE).await, ["-00:10,b", "-00:10,c", "00:10,a,3,false"]);
        assert_eq!(reader.step(&[(5, "b", 4, 1)], NONE).await, ["00:10,b,7,false"]);
    }
}

#[tokio::test]
async fn what_cannot_leave_early_is_refused_at_its_clause_with_what_to_write() {
    const PLACE: &str = "test.sql:10:1: ";
    for (options, query, emit, said) in [
        (
            "",
            "SELECT id, ts FROM clicks",
            "EMIT CHANGES",
            "EMIT CHANGES is for an aggregate over windows of TUMBLE, HOP or CUMULATE, and above it filters and expressions alone",
        ),
        (
            "",
            "SELECT window_end, title, c FROM (SELECT window_end, page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page) t JOIN pages p ON p.page = t.page",
            "EMIT EVERY INTERVAL '1 second'",
            "EMIT EVERY is for an aggregate over windows of TUMBLE, HOP or CUMULATE, and above it filters and expressions alone",
        ),
        (
            "",
            "SELECT window_end, page, rank() OVER (PARTITION BY window_end ORDER BY c) AS place FROM (SELECT window_end, page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page) t",
            "EMIT CHANGES",
            "EMIT CHANGES is for an aggregate over windows of TUMBLE, HOP or CUMULATE, and above it filters and expressions alone",
        ),
        (
            "",
            "SELECT window_end, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and \"page\" is not in the SELECT list\n  hint: add page to the SELECT list, as it is",
        ),
        (
            "",
            "SELECT upper(page) AS page, window_end, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and \"page\" is not in the SELECT list\n  hint: add page to the SELECT list, as it is",
        ),
        (
            "",
            "SELECT page, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and the window is not in the SELECT list\n  hint: add window_start to the SELECT list, as it is",
        ),
        (
            "",
            "SELECT window_start, sum(n) AS s FROM CUMULATE(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and the window is not in the SELECT list\n  hint: add window_end to the SELECT list, as it is",
        ),
        (
            "",
            "SELECT window_end, count(*) > 5 AS is_final FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end",
            "EMIT CHANGES",
            "EMIT CHANGES adds the column is_final, and the query has one of this name\n  hint: give it another name, with AS",
        ),
        (
            "'primary-key' = 'page'",
            "SELECT window_end, page, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and 'primary-key' says \"page\"\n  hint: write 'primary-key' = 'window_end, page', or leave it out",
        ),
        (
            "'primary-key' = 'window_end, page, s'",
            "SELECT window_end, page, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page",
            "EMIT CHANGES",
            "with EMIT CHANGES rows replace one another by their window and keys, and 'primary-key' says \"window_end, page, s\"\n  hint: write 'primary-key' = 'window_end, page', or leave it out",
        ),
        (
            "",
            "SELECT window_end, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end",
            "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS",
            "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS corrects what is within the allowed lateness, and there is none\n  hint: write CREATE MATERIALIZED VIEW … WITH ('allowed-lateness' = '10 seconds') AS …",
        ),
        (
            "",
            "SELECT window_end, random() AS r FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end",
            "EMIT CHANGES",
            "\"random() AS r\" gives another value each time, and with EMIT CHANGES each result is computed many times\n  hint: compute it when reading the view",
        ),
        (
            "",
            "SELECT window_end, page FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page HAVING page IN (SELECT page FROM pages)",
            "EMIT CHANGES",
            "with EMIT CHANGES no result is looked up in another table\n  hint: look it up below the aggregate, or when reading the view",
        ),
    ] {
        let error = try_planned(&view(options, query, &format!("\n{emit}")), 1).await.expect_err(query);
        let report = error.report();
        assert!(report.starts_with(&format!("{PLACE}{said}")), "{query}\n{report}");
        assert!(error.hint_text().is_some(), "{report}");
    }
}

#[tokio::test]
async fn a_stream_plan_says_what_leaves_early() {
    for (emit, said) in [
        ("EMIT CHANGES", "    emits early, with is_final = false: after each epoch the results that it has changed"),
        (
            "EMIT EVERY INTERVAL '1500 milliseconds'",
            "    emits early, with is_final = false: at most every 1500 milliseconds the results that have changed",
        ),
        (
            "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS",
            "    emits early, with is_final = false: the results of a window when the watermark passes its end, and those that a late row changes",
        ),
    ] {
        let lines = planned(&view("'allowed-lateness' = '1 second'", SUMS, emit), 1).await.explain();
        assert!(lines.iter().any(|line| line == said), "{lines:?}");
        assert!(lines.iter().any(|line| line == "    changes: a row replaces the one with its key"), "{lines:?}");
    }
    let lines = planned(SUMS, 1).await.explain();
    assert!(!lines.iter().any(|line| line.contains("early") || line.contains("changes:")), "{lines:?}");
}

const QUERIES: [&str; 9] = [
    SUMS,
    "SELECT window_start, page, sum(n) AS s, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, page HAVING sum(n) % 3 <> 0",
    "SELECT p, e, 10 / (s - 3) AS r FROM (SELECT page AS p, window_end AS e, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '7 seconds') GROUP BY page, window_end) WHERE s <> 3",
    "SELECT window_end, page, sum(n) AS s FROM HOP(clicks, ts, INTERVAL '2 seconds', INTERVAL '10 seconds') GROUP BY window_end, page HAVING count(*) < 3",
    "SELECT window_start, window_end, max(n) AS m, array_agg(id ORDER BY id) AS ids FROM HOP(clicks, ts, INTERVAL '4 seconds', INTERVAL '10 seconds') GROUP BY window_start, window_end",
    "SELECT window_end, page, n, count(*) AS c FROM CUMULATE(clicks, ts, INTERVAL '3 seconds', INTERVAL '12 seconds') GROUP BY window_end, page, n",
    "SELECT window_end, page, count(DISTINCT n) AS d FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') WHERE window_start > '1960-01-01' GROUP BY window_end, page",
    "SELECT tumble(ts, INTERVAL '8 seconds') AS w, count(*) AS c, avg(n) AS a FROM clicks WHERE n > 1 GROUP BY w",
    "SELECT window_start FROM TUMBLE(clicks, ts, INTERVAL '3 seconds') GROUP BY window_start",
];

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let page = prop_oneof![Just("a"), Just("b"), Just("a longer page name than fits"), Just("")];
    prop::collection::vec((page, -2_i64..6, 0_i64..30), 0..30)
        .prop_map(|rows| (0..).zip(rows).map(|(id, (page, n, second))| (id, page, n, second)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    // Of the rows so far, after each epoch; and in the end, final, what the query answers without early results.
    #[test]
    fn the_view_is_what_batch_says_of_the_rows_so_far(
        mut input in any_rows(),
        query in prop::sample::select(QUERIES.to_vec()),
        cuts in prop::collection::vec((1..9_usize, any::<bool>(), any::<bool>()), 1..6),
        partitions in 1..3_usize,
        in_order in any::<bool>(),
        crowd in prop::sample::select(vec![None, Some(true), Some(false)]),
    ) {
        if in_order {
            input.sort_by_key(|row| row.3);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut reader = Reader::over(&format!("{query} EMIT CHANGES"), partitions).await;
            let crowd = crowd.map(Crowd::new);
            if let Some(crowd) = &crowd {
                reader.pipeline.charge_to(Arc::clone(&crowd.account)).unwrap();
            }
            let plain = planned(query, partitions).await;
            let (mut taken, mut told) = (0, Vec::new());
            for (cut, undone, restart) in cuts {
                let now = &input[taken..(taken + cut).min(input.len())];
                taken += now.len();
                // Nothing that is still to come is late.
                let to = input[taken..].iter().map(|row| row.3 * SECOND).min().unwrap_or(30 * SECOND);
                if undone {
                    reader.undone(&input[taken - now.len()..], END, 0).await;
                }
                reader.step(now, to).await;
                let batches = vec![if now.is_empty() { vec![] } else { rows(&plain, 0, now) }];
                let output = plain.step(StepInput { batches, sources: vec![Mark::new(to)], ..StepInput::default() }).await.unwrap();
                plain.commit().unwrap();
                told.extend(output.rows.batches().map(Result::unwrap));
                let mut expected = in_batch(query, &input[..taken]).await;
                expected.sort();
                assert_eq!(reader.results(), expected, "{query} after {taken} rows");
                if let Some(crowd) = &crowd {
                    remote::checkpoint(&reader.pipeline, &crowd.elsewhere);
                }
                if restart && crowd.is_none() {
                    reader.restart().await;
                }
            }
            let mut expected = lines(&told);
            expected.sort();
            let mut settled: Vec<String> = lines(&reader.settled).iter().map(|row| without_is_final(row)).collect();
            settled.sort();
            assert_eq!(settled, expected, "{query}");
        });
    }

    // Where results leave in intervals, and where only closed windows are corrected, each is the newest when it leaves.
    #[test]
    fn in_intervals_and_with_corrections_the_view_is_what_it_was_when_they_left(
        input in any_rows(),
        query in prop::sample::select(QUERIES.to_vec()),
        cuts in prop::collection::vec((1..9_usize, 0..4_i64, any::<bool>()), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut every = Reader::new(&format!("{query} EMIT EVERY INTERVAL '2 seconds'")).await;
            let lateness = Duration::from_secs(1_000);
            let options = format!("'allowed-lateness' = '{} seconds'", lateness.as_secs());
            let mut corrected = Reader::new(&view(&options, query, "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS")).await;
            let (mut taken, mut clock) = (0, 0);
            for (cut, seconds, restart) in cuts {
                let now = &input[taken..(taken + cut).min(input.len())];
                taken += now.len();
                clock += seconds * SECOND;
                every.step_at(now, NONE, clock).await;
                corrected.step(now, taken as i64 * SECOND).await;
                let mut expected = in_batch(query, &input[..taken]).await;
                expected.sort();
                if every.pipeline.next_time().is_none() {
                    assert_eq!(every.results(), expected, "{query} after {taken} rows");
                }
                // Only windows that have ended are there, and they are right.
                let shown = corrected.results();
                assert!(shown.iter().all(|row| expected.contains(row)), "{query}: {shown:?} of {expected:?}");
                if restart {
                    every.restart().await;
                    corrected.restart().await;
                }
            }
            every.step_at(&[], NONE, clock + 10 * SECOND).await;
            corrected.step(&[], 100 * SECOND).await;
            let mut expected = in_batch(query, &input[..taken]).await;
            expected.sort();
            assert_eq!(every.results(), expected, "{query}");
            assert_eq!(corrected.results(), expected, "{query}");
            corrected.step(&[], 1_100 * SECOND).await;
            assert_eq!(corrected.results(), expected, "{query}");
            assert!(corrected.view().iter().all(|row| row.ends_with(",true")));
        });
    }
}
