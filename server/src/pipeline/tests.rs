//! Plans run over small epochs, against answers that stand beside them and against a naive oracle.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use arrow::json::ReaderBuilder;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use proptest::prelude::*;

use super::*;
use crate::catalog::{PlainView, Statement, TableDef};
use crate::sql::parse_file;
use crate::watermark::{END, NONE};

const TABLES: &str = "
CREATE TABLE clicks (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'format' = 'json');
CREATE TABLE taps (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps', 'format' = 'json');
CREATE TABLE pages (page VARCHAR, title VARCHAR)
WITH ('connector' = 'filesystem', 'path' = 'pages.csv', 'format' = 'csv');
";

#[derive(Default)]
struct Fixed {
    tables: BTreeMap<String, Arc<TableDef>>,
    plain_views: BTreeMap<String, Arc<PlainView>>,
}

impl Tables for Fixed {
    fn definition(&self, name: &str) -> Option<Arc<TableDef>> {
        self.tables.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    fn plain_view(&self, name: &str) -> Option<Arc<PlainView>> {
        self.plain_views.get(name).cloned()
    }

    fn plain_view_names(&self) -> Vec<String> {
        self.plain_views.keys().cloned().collect()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let rows = r#"{"page":"a","title":"Alpha"}
{"page":"b","title":"Beta"}"#;
        Ok(Arc::new(MemTable::try_new(table.schema(), vec![json(table.schema(), rows)])?))
    }
}

fn json(schema: SchemaRef, rows: &str) -> Vec<RecordBatch> {
    ReaderBuilder::new(schema).build(rows.as_bytes()).unwrap().collect::<Result<_, _>>().unwrap()
}

async fn try_planned(query: &str, partitions: usize) -> Result<Pipeline> {
    let statements = parse_file("test.sql", &format!("{TABLES}\n{query}")).map_err(|mut errors| errors.remove(0))?;
    let mut known = Fixed::default();
    let mut views = Vec::new();
    for statement in statements {
        match statement {
            Statement::CreateTable(table) => drop(known.tables.insert(table.name.clone(), Arc::new(table))),
            Statement::CreatePlainView(view) => drop(known.plain_views.insert(view.name.clone(), Arc::new(view))),
            Statement::CreateView(view) | Statement::Select(view) => views.push(view),
            Statement::Insert { .. } | Statement::CreateFunction(_) => unreachable!("no test does this"),
        }
    }
    match plan(&views[0], &known, PlanSettings { partitions, wide_rows: 3 }).await? {
        Planned::Stream(pipeline) => Ok(*pipeline),
        Planned::Batch(..) => panic!("the query reads no stream"),
    }
}

async fn planned(query: &str, partitions: usize) -> Pipeline {
    try_planned(query, partitions).await.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Rows `(id, page, n, second)` with the columns that the pipeline reads.
fn rows(pipeline: &Pipeline, slot: usize, rows: &[(i64, &str, i64, i64)]) -> Vec<RecordBatch> {
    let text: Vec<String> = rows
        .iter()
        .map(|(id, page, n, second)| format!(r#"{{"id":{id},"page":"{page}","n":{n},"ts":{}}}"#, second * 1000))
        .collect();
    let slot = &pipeline.slots[slot];
    json(slot.table.schema(), &text.join("\n")).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect()
}

async fn epoch(pipeline: &Pipeline, batches: Vec<Vec<RecordBatch>>, before: Micros, after: Micros) -> StepOutput {
    let slots = pipeline.slots.len();
    let input = StepInput { epoch: 1, now: 0, batches, before: vec![before; slots], after: vec![after; slots] };
    let output = pipeline.step(input).await.unwrap();
    pipeline.commit().unwrap();
    output
}

const SECOND: Micros = 1_000_000;

fn shown(batches: &[RecordBatch]) -> String {
    let mut lines: Vec<String> =
        pretty_format_batches(batches).unwrap().to_string().lines().map(str::to_owned).collect();
    let rows = lines.len().saturating_sub(1);
    if rows > 3 {
        lines[3..rows].sort();
    }
    lines.join("\n")
}

const PER_PAGE: &str = "SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s
FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, page";

#[tokio::test]
async fn a_window_is_emitted_when_the_watermark_reaches_its_end_and_not_before() {
    let pipeline = planned(PER_PAGE, 1).await;
    let first = rows(&pipeline, 0, &[(1, "a", 5, 1), (2, "b", 6, 9), (3, "a", 7, 9), (4, "a", 8, 12)]);
    let output = epoch(&pipeline, vec![first], NONE, 10 * SECOND - 1).await;
    assert_eq!(output.rows(), 0);
    let output = epoch(&pipeline, vec![vec![]], 10 * SECOND - 1, 10 * SECOND).await;
    assert_eq!(
        shown(&output.batches),
        "\
+---------------------+---------------------+------+---+----+
| window_start        | window_end          | page | c | s  |
+---------------------+---------------------+------+---+----+
| 1970-01-01T00:00:00 | 1970-01-01T00:00:10 | a    | 2 | 12 |
| 1970-01-01T00:00:00 | 1970-01-01T00:00:10 | b    | 1 | 6  |
+---------------------+---------------------+------+---+----+"
    );
    assert_eq!(pipeline.open_panes(), 1);
}

#[tokio::test]
async fn a_late_row_is_dropped_once_for_each_window_that_had_closed_and_counts_in_the_others() {
    let query = "SELECT window_start, count(*) AS c FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')
        GROUP BY window_start";
    let pipeline = planned(query, 1).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 0, 3)])], NONE, 12 * SECOND).await;
    // At 7 s: the window [0, 10) has closed, [5, 15) has not. At 2 s: both its windows have closed.
    let late = rows(&pipeline, 0, &[(2, "a", 0, 7), (3, "a", 0, 2)]);
    let output = epoch(&pipeline, vec![late], 12 * SECOND, 15 * SECOND).await;
    let windows: Vec<_> = output.late.iter().map(|row| (row.window_start / SECOND, row.window_end / SECOND)).collect();
    assert_eq!(windows, [(0, 10), (-5, 5), (0, 10)]);
    assert_eq!(output.late[0].watermark, 12 * SECOND);
    let counts: Vec<i64> =
        output.batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(counts, [1]);
}

#[tokio::test]
async fn an_aborted_step_leaves_the_state_as_it_was() {
    let pipeline = planned(PER_PAGE, 1).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 5, 1)])], NONE, NONE).await;
    let input = StepInput {
        batches: vec![rows(&pipeline, 0, &[(2, "a", 100, 2)])],
        before: vec![NONE],
        after: vec![END],
        ..StepInput::default()
    };
    assert_eq!(pipeline.step(input).await.unwrap().rows(), 1);
    pipeline.abort();
    let output = epoch(&pipeline, vec![vec![]], NONE, END).await;
    assert!(shown(&output.batches).contains("| a    | 1 | 5 "), "{}", shown(&output.batches));
}

#[tokio::test]
async fn a_lookup_join_and_a_union_run_row_by_row() {
    let pipeline = planned(
        "SELECT c.id, p.title FROM clicks c LEFT JOIN pages p ON p.page = c.page WHERE c.n > 0
         UNION ALL SELECT id, 'tap' FROM taps",
        2,
    )
    .await;
    let clicks = rows(&pipeline, 0, &[(1, "a", 1, 1), (2, "z", 1, 1), (3, "b", 0, 1)]);
    let taps = rows(&pipeline, 1, &[(4, "a", 1, 1)]);
    let output = epoch(&pipeline, vec![clicks, taps], NONE, NONE).await;
    assert_eq!(
        shown(&output.batches),
        "+----+-------+\n| id | title |\n+----+-------+\n| 1  | Alpha |\n| 2  |       |\n| 4  | tap   |\n+----+-------+"
    );
}

#[tokio::test]
async fn a_windowed_aggregate_after_a_lookup_join_drains_its_input_also_where_nothing_matches() {
    let pipeline = planned(
        "SELECT window_end, title, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') c
         JOIN pages p ON p.page = c.page GROUP BY window_end, title",
        2,
    )
    .await;
    let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "zz", 1, 1)])], NONE, 5 * SECOND).await;
    assert_eq!(output.rows(), 0);
    let output = epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "b", 1, 1)])], 5 * SECOND, END).await;
    assert!(shown(&output.batches).contains("Beta"), "{}", shown(&output.batches));
}

#[tokio::test]
async fn a_plain_view_reads_like_the_query_it_stands_for_also_through_another_and_inside_a_window() {
    let views = "CREATE VIEW late_pages AS SELECT upper(page) AS page, n, ts FROM clicks WHERE n > 5;
CREATE VIEW Pages_Twice AS SELECT page, 2 * n AS n, ts FROM late_pages;
";
    let query = PER_PAGE.replace("clicks", "pages_twice");
    let pipeline = planned(&format!("{views}{query}"), 1).await;
    let first = rows(&pipeline, 0, &[(1, "a", 5, 1), (2, "b", 6, 9), (3, "b", 7, 9), (4, "a", 8, 12)]);
    let output = epoch(&pipeline, vec![first], NONE, END).await;
    assert_eq!(
        shown(&output.batches),
        "\
+---------------------+---------------------+------+---+----+
| window_start        | window_end          | page | c | s  |
+---------------------+---------------------+------+---+----+
| 1970-01-01T00:00:00 | 1970-01-01T00:00:10 | B    | 2 | 26 |
| 1970-01-01T00:00:10 | 1970-01-01T00:00:20 | A    | 1 | 16 |
+---------------------+---------------------+------+---+----+"
    );
}

#[tokio::test]
async fn a_mistake_in_a_plain_view_is_reported_where_the_view_stands() {
    for (views, expected) in [
        ("CREATE VIEW v AS SELECT nothing FROM clicks;", "test.sql:9:25: column \"nothing\" does not exist"),
        (
            "CREATE VIEW v AS SELECT * FROM click;",
            "test.sql:9:32: table 'click' not found\n  hint: did you mean \"clicks\"?",
        ),
        (
            "CREATE VIEW v AS SELECT * FROM w; CREATE VIEW w AS SELECT * FROM v;",
            "not found\n  hint: it is a view that reads itself, directly or through others: break the circle",
        ),
    ] {
        let error = try_planned(&format!("{views}\nSELECT * FROM v"), 1).await.expect_err(views).report();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn windows_of_windows_close_in_the_epoch_in_which_their_input_does() {
    let pipeline = planned(
        "SELECT window_end, max(c) AS busiest FROM TUMBLE(
            (SELECT window_time AS at, page, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
             GROUP BY window_start, window_end, window_time, page), at, INTERVAL '1 minute') GROUP BY window_start, window_end",
        2,
    )
    .await;
    let input = rows(&pipeline, 0, &[(1, "a", 1, 1), (2, "a", 1, 2), (3, "b", 1, 59), (4, "a", 1, 61)]);
    let output = epoch(&pipeline, vec![input], NONE, 59 * SECOND).await;
    assert_eq!(output.rows(), 0);
    let output = epoch(&pipeline, vec![vec![]], 59 * SECOND, 60 * SECOND).await;
    // The inner window [50, 60) and the outer one [0, 60) close together, and the one's rows are in the other.
    assert!(output.late.is_empty());
    assert!(shown(&output.batches).contains("| 1970-01-01T00:01:00 | 2       |"), "{}", shown(&output.batches));
    let output = epoch(&pipeline, vec![vec![]], 60 * SECOND, END).await;
    let busiest: Vec<i64> =
        output.batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(busiest.iter().max(), Some(&1));
}

#[tokio::test]
async fn what_would_start_anew_with_each_epoch_is_refused_with_a_way_out() {
    for (query, primary) in [
        (
            "SELECT page, count(*) FROM clicks GROUP BY page",
            "an aggregate over a stream needs a window, or it would never be final",
        ),
        (
            "SELECT page, max(window_end) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start, page",
            "\"max(clicks.window_end)\" uses the end of a window below the aggregation, where only its start is known",
        ),
        ("SELECT DISTINCT page FROM clicks", "DISTINCT over a stream would keep every row for ever"),
        ("SELECT page FROM clicks ORDER BY page", "ORDER BY is not possible over a stream"),
        ("SELECT page FROM clicks LIMIT 3", "LIMIT is not possible over a stream"),
        (
            "SELECT row_number() OVER (PARTITION BY page ORDER BY ts) FROM clicks",
            "OVER is not available over a stream yet",
        ),
        ("SELECT c.id FROM clicks c JOIN taps t ON t.id = c.id", "a join of two streams is not available yet"),
        (
            "SELECT c.id FROM pages p LEFT JOIN clicks c ON p.page = c.page",
            "Left JOIN would keep the rows of a static table that match nothing, which is never known of a stream",
        ),
        (
            "SELECT id FROM clicks WHERE n > (SELECT max(n) FROM taps)",
            "a subquery in an expression cannot read a stream",
        ),
        (
            "SELECT id, now() AS seen FROM clicks",
            "now() is not available over a stream: it would stand still at the time the query was started",
        ),
        (
            "SELECT id FROM clicks WHERE CAST(ts AS DATE) = current_date",
            "current_date() is not available over a stream: it would stand still at the time the query was started",
        ),
        (
            "CREATE MATERIALIZED VIEW v WITH ('primary-key' = 'id, team') AS SELECT id FROM clicks",
            "'primary-key' names column \"team\", which the view does not have",
        ),
        (
            "SELECT window_end, count(*) FROM HOP(clicks, ts, INTERVAL '1 second', INTERVAL '5 seconds') WHERE window_start > '2020-01-01' GROUP BY window_end",
            "",
        ),
    ] {
        let error = try_planned(query, 1).await.expect_err(query);
        assert!(error.hint_text().is_some(), "{query}: {}", error.report());
        assert!(error.location().is_some(), "{query}: {}", error.report());
        if !primary.is_empty() {
            assert_eq!(error.primary(), primary, "{query}");
        }
    }
}

#[tokio::test]
async fn every_kind_of_aggregate_goes_through_state_and_back() {
    let pipeline = planned(
        "SELECT window_start, count(DISTINCT page) AS pages, avg(n) AS mean, min(page) AS least, round(stddev(n), 6) AS spread,
            count(*) FILTER (WHERE n > 2) AS big, approx_distinct(page) AS about, array_agg(id ORDER BY id) AS ids,
            first_value(page ORDER BY ts DESC) AS newest, median(n) AS middle, string_agg(page, '' ORDER BY id) AS all_pages
         FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
        2,
    )
    .await;
    for row in [(4, "d", 4, 9), (1, "a", 1, 1), (3, "a", 3, 5), (2, "b", 2, 7)] {
        epoch(&pipeline, vec![rows(&pipeline, 0, &[row])], NONE, NONE).await;
    }
    let output = epoch(&pipeline, vec![vec![]], NONE, END).await;
    assert_eq!(
        shown(&output.batches),
        "\
+---------------------+-------+------+-------+----------+-----+-------+--------------+--------+--------+-----------+
| window_start        | pages | mean | least | spread   | big | about | ids          | newest | middle | all_pages |
+---------------------+-------+------+-------+----------+-----+-------+--------------+--------+--------+-----------+
| 1970-01-01T00:00:00 | 3     | 2.5  | a     | 1.290994 | 2   | 3     | [1, 2, 3, 4] | d      | 2.5    | abad      |
+---------------------+-------+------+-------+----------+-----+-------+--------------+--------+--------+-----------+"
    );
}

type Counts = BTreeMap<(i64, String), (i64, i64)>;

/// Every row in every window that covers it: the definition, without panes.
fn naive(rows: &[(i64, &str, i64, i64)], size: i64, slide: i64) -> Counts {
    let mut counts = Counts::new();
    for (_, page, n, second) in rows {
        let last = second.div_euclid(slide) * slide;
        let starts = (0..).map(|back| last - back * slide).take_while(|start| start + size > *second);
        for start in starts {
            let (count, sum) = counts.entry((start, (*page).to_owned())).or_default();
            *count += 1;
            *sum += n;
        }
    }
    counts
}

fn collected(batches: &[RecordBatch]) -> Counts {
    let mut counts = Counts::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let start = batch.column(0).as_primitive::<TimestampMillisecondType>().value(row) / 1000;
            let page = batch.column(1).as_string_view().value(row).to_owned();
            let value = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
            let again = counts.insert((start, page.clone()), (value(2), value(3)));
            assert_eq!(again, None, "window {start} of page {page} was emitted twice");
        }
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_does_not_depend_on_how_the_input_is_cut(
        input in prop::collection::vec((0..4_usize, 0..100_i64, -40..400_i64), 0..60),
        cuts in prop::collection::vec(1..12_usize, 1..20),
        (size, slide) in prop::sample::select(vec![(10, 10), (60, 10), (15, 10), (7, 3), (30, 30), (20, 5)]),
        partitions in 1..4_usize,
        in_order in any::<bool>(),
    ) {
        const PAGES: [&str; 4] = ["a", "b", "a longer page name than fits into a view", ""];
        let mut input: Vec<(i64, &str, i64, i64)> = input.into_iter().map(|(page, n, at)| (0, PAGES[page], n, at)).collect();
        if in_order {
            input.sort_by_key(|row| row.3);
        }
        let query = format!(
            "SELECT window_start, page, count(*), sum(n) FROM HOP(clicks, ts, INTERVAL '{slide} seconds', INTERVAL '{size} seconds') GROUP BY window_start, page"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let output = runtime.block_on(async {
            let pipeline = planned(&query, partitions).await;
            let (mut emitted, mut rest, mut watermark) = (Vec::new(), input.as_slice(), NONE);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                // In order, the watermark follows the rows and windows close on the way; otherwise nothing may be late.
                let after = if in_order { now.last().map_or(NONE, |row| row.3 * SECOND) } else { NONE };
                emitted.extend(epoch(&pipeline, vec![rows(&pipeline, 0, now)], watermark, after).await.batches);
                watermark = after;
            }
            let last = epoch(&pipeline, vec![vec![]], watermark, END).await;
            assert!(last.late.is_empty());
            assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
            emitted.extend(last.batches);
            emitted
        });
        prop_assert_eq!(collected(&output), naive(&input, size, slide));
    }
}

#[tokio::test]
async fn ten_thousand_epochs_of_one_row_keep_memory_flat() {
    let pipeline = planned(PER_PAGE, 1).await;
    let mut most = 0;
    for at in 0..10_000 {
        let before = if at == 0 { NONE } else { (at - 1) * SECOND };
        epoch(&pipeline, vec![rows(&pipeline, 0, &[(at, "a", 1, at)])], before, at * SECOND).await;
        most = most.max(pipeline.open_panes());
    }
    assert_eq!(most, 1);
}
