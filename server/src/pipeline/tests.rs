//! Plans run over small epochs, against answers that stand beside them and against a naive oracle.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMillisecondType};
use arrow::json::ReaderBuilder;
use arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use proptest::prelude::*;

mod asof;
mod bad_rows;
mod distinct;
mod early;
mod joins;
mod kinds;
mod lookups;
mod panes;
mod remote;
mod sessions;
mod spellings;
mod ties;
mod views;
mod windows;
mod windows_in_batch;

use super::*;
use crate::catalog::{Defined, Statement, TableDef, ViewDef};
use crate::sql::parse_file;
use crate::state::by_hand::Elsewhere;
use crate::state::{Budget, Reservation, SpillSpace};
use crate::store::SpillDirectory;
use crate::watermark::{END, Mark, NONE};

const TABLES: &str = "
CREATE TABLE clicks (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'format' = 'json');
CREATE TABLE taps (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'taps', 'format' = 'json');
CREATE TABLE pages (page VARCHAR, title VARCHAR)
WITH ('connector' = 'filesystem', 'path' = 'pages.csv', 'format' = 'csv');
";

#[derive(Default)]
struct Fixed(Defined);

impl Tables for Fixed {
    fn defined(&self) -> &Defined {
        &self.0
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

/// The tables, and the first query of the text.
fn parsed(query: &str) -> Result<(Fixed, ViewDef)> {
    let statements = parse_file("test.sql", &format!("{TABLES}\n{query}")).map_err(|mut errors| errors.remove(0))?;
    let mut known = Fixed::default();
    let mut views = Vec::new();
    for statement in statements {
        match statement {
            Statement::CreateTable(table) => drop(known.0.tables.insert(table.name.clone(), Arc::new(table))),
            Statement::CreatePlainView(view) => drop(known.0.plain_views.insert(view.name.clone(), Arc::new(view))),
            Statement::CreateView(view) | Statement::Select(view) => views.push(view),
            Statement::Insert { .. } | Statement::CreateFunction(_) | Statement::Explain(_) => {
                unreachable!("no test does this")
            }
        }
    }
    Ok((known, views.swap_remove(0)))
}

async fn try_planned(query: &str, partitions: usize) -> Result<Pipeline> {
    let (known, view) = parsed(query)?;
    match plan(&view, &known, PlanSettings { partitions, wide_rows: 3 }).await? {
        Planned::Stream(pipeline) => Ok(*pipeline),
        Planned::Batch(..) => panic!("the query reads no stream"),
    }
}

pub(crate) async fn planned(query: &str, partitions: usize) -> Pipeline {
    try_planned(query, partitions).await.unwrap_or_else(|error| panic!("{}", error.report()))
}

/// Rows `(id, page, n, second)` with the columns that the pipeline reads.
pub(crate) fn rows(pipeline: &Pipeline, slot: usize, rows: &[(i64, &str, i64, i64)]) -> Vec<RecordBatch> {
    let slot = &pipeline.slots[slot];
    json(slot.table.schema(), &text(rows)).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect()
}

fn text(rows: &[(i64, &str, i64, i64)]) -> String {
    let line = |(id, page, n, second): &(i64, &str, i64, i64)| {
        format!(r#"{{"id":{id},"page":"{page}","n":{n},"ts":{}}}"#, second * 1000)
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A budget of which others hold all that could be on disk: what a query holds goes there at once. Without a disk it is given up once a
/// checkpoint holds it.
struct Crowd {
    disk: SpillDirectory,
    elsewhere: Arc<Elsewhere>,
    account: Arc<Account>,
    _others: Reservation,
}

impl Crowd {
    fn new(with_disk: bool) -> Self {
        let disk = SpillDirectory::temporary(u64::MAX);
        let budget = Budget::new(64 << 20, with_disk.then(|| Arc::new(disk.clone()) as Arc<dyn SpillSpace>));
        let others = budget.account("the others").hold(48 << 20).unwrap();
        Crowd { disk, elsewhere: Arc::default(), account: budget.account("the query"), _others: others }
    }
}

/// What an epoch produced, with all of its rows in memory.
#[derive(Debug)]
struct Emitted {
    batches: Vec<RecordBatch>,
    late: Vec<LateRow>,
    without_time: u64,
    bad: Vec<DeadLetter>,
}

impl Emitted {
    fn of(output: StepOutput) -> Self {
        let StepOutput { rows, late, without_time, bad, early: _ } = output;
        Emitted { batches: rows.batches().collect::<Result<_>>().unwrap(), late, without_time, bad }
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

async fn epoch(pipeline: &Pipeline, batches: Vec<Vec<RecordBatch>>, before: Micros, after: Micros) -> Emitted {
    let slots = pipeline.slots.len();
    pipeline.pass(&vec![Mark::new(before); slots]);
    let input = StepInput { epoch: 1, batches, sources: vec![Mark::new(after); slots], ..StepInput::default() };
    let output = pipeline.step(input).await.unwrap();
    pipeline.commit().unwrap();
    Emitted::of(output)
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
    // One entry a row, from the start of the first window that it missed to the end of the last.
    let missed: Vec<_> = output.late.iter().map(|row| (row.missed.unwrap(), row.wholly)).collect();
    assert_eq!(missed, [((0, 10 * SECOND), false), ((-5 * SECOND, 10 * SECOND), true)]);
    assert_eq!(output.late.iter().map(|row| row.event_time).collect::<Vec<_>>(), [Some(7 * SECOND), Some(2 * SECOND)]);
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
        sources: vec![Mark::END],
        ..StepInput::default()
    };
    assert_eq!(pipeline.step(input).await.unwrap().rows.num_rows(), 1);
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
    let last = [(3, "b", 1, 57), (4, "b", 1, 58), (5, "b", 1, 59)];
    let input = rows(&pipeline, 0, &[&[(1, "a", 1, 1), (2, "a", 1, 2)], &last[..], &[(6, "a", 1, 61)]].concat());
    let output = epoch(&pipeline, vec![input], NONE, 59 * SECOND).await;
    assert_eq!(output.rows(), 0);
    let output = epoch(&pipeline, vec![vec![]], 59 * SECOND, 60 * SECOND).await;
    // The inner window [50, 60) and the outer one [0, 60) close together, and the one's rows are in the other.
    assert!(output.late.is_empty());
    assert!(shown(&output.batches).contains("| 1970-01-01T00:01:00 | 3       |"), "{}", shown(&output.batches));
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
            "SELECT window_start, array_agg(page) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
            "array_agg over a stream needs an order: rows of several partitions come in another one each time",
        ),
        (
            "SELECT window_start, count(*) FROM TUMBLE((SELECT ts, random() AS r FROM clicks), ts, INTERVAL '1 minute') WHERE r < 0.5 GROUP BY window_start",
            "\"random() AS r\" gives another value each time, and a window is aggregated over it",
        ),
        (
            "SELECT window_start, array_agg(id ORDER BY n), array_agg(n ORDER BY id DESC) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
            "array_agg has another order than an aggregate before it",
        ),
        (
            "SELECT window_start, sum(random()) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
            "\"sum(random())\" gives another value each time, which a window's state cannot hold",
        ),
        ("SELECT page, tumble(ts + INTERVAL '1 month', INTERVAL '1 minute') AS w FROM clicks GROUP BY page, w", ""),
        (
            "SELECT window_start, approx_distinct(CAST(n AS DOUBLE)) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY window_start",
            "approx_distinct(clicks.n) cannot be computed",
        ),
        ("SELECT DISTINCT page FROM clicks", "DISTINCT over a stream would keep every row for ever"),
        ("SELECT page FROM clicks ORDER BY page", "ORDER BY is not possible over a stream"),
        ("SELECT page FROM clicks LIMIT 3", "LIMIT is not possible over a stream"),
        (
            "SELECT row_number() OVER (PARTITION BY page ORDER BY ts) FROM clicks",
            "OVER over a stream needs a window in its PARTITION BY, or no partition would ever be complete",
        ),
        (
            "SELECT c.id FROM clicks c JOIN taps t ON t.id = c.id",
            "a join of two streams needs a bound in time, or every row would be kept for ever",
        ),
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

type Row = (i64, &'static str, i64, i64);

/// Every row in every window that covers it and has not closed before it comes: the definition, without panes. `closed`, of each
/// row: windows that end by then have closed, seconds. Also how often a row was late for a window.
fn naive(rows: &[(Row, Option<i64>)], size: i64, slide: i64, offset: i64) -> (Counts, usize) {
    let (mut counts, mut late) = (Counts::new(), 0);
    for ((_, page, n, second), closed) in rows {
        let last = (second - offset).div_euclid(slide) * slide + offset;
        let starts = (0..).map(|back| last - back * slide).take_while(|start| start + size > *second);
        let mut missed = false;
        for start in starts {
            if closed.is_some_and(|closed| start + size <= closed) {
                missed = true;
                continue;
            }
            let (count, sum) = counts.entry((start, (*page).to_owned())).or_default();
            *count += 1;
            *sum += n;
        }
        late += usize::from(missed);
    }
    (counts, late)
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
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    // Nor on steps that are undone, whatever they had read and closed. Which rows are late does depend on it, and is counted.
    #[test]
    fn the_answer_does_not_depend_on_how_the_input_is_cut(
        input in prop::collection::vec((0..4_usize, 0..100_i64, -40..400_i64), 0..60),
        cuts in prop::collection::vec((1..12_usize, any::<bool>()), 1..20),
        (size, slide) in prop::sample::select(vec![(10, 10), (60, 10), (90, 10), (15, 10), (7, 3), (30, 30), (20, 5)]),
        partitions in 1..4_usize,
        // 0 as it comes, 1 nearly in order of time, 2 in order of time.
        order in 0..3,
        // How far the watermark stays behind the latest row; `None`: it does not move, and nothing is late.
        delay in prop::sample::select(vec![None, Some(0), Some(30), Some(300)]),
        lateness in prop::sample::select(vec![0, 25]),
        offset in prop::sample::select(vec![0, 0, 3, -2]),
        // Where memory is taken, everything goes to disk, or is left to checkpoints.
        crowd in prop::sample::select(vec![None, Some(true), Some(false)]),
    ) {
        const PAGES: [&str; 4] = ["a", "b", "a longer page name than fits into a view", ""];
        let mut input: Vec<Row> = input.into_iter().map(|(page, n, at)| (0, PAGES[page], n, at)).collect();
        match order {
            0 => {}
            1 => input.sort_by_key(|row| row.3 + row.2),
            _ => input.sort_by_key(|row| row.3),
        }
        let query = format!(
            "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '{lateness} seconds') AS SELECT window_start, page, count(*), sum(n)
             FROM HOP(clicks, ts, INTERVAL '{slide} seconds', INTERVAL '{size} seconds', INTERVAL '{offset} seconds')
             GROUP BY window_start, page"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (output, late, known) = runtime.block_on(async {
            let mut pipeline = planned(&query, partitions).await;
            let crowd = crowd.map(Crowd::new);
            if let Some(crowd) = &crowd {
                pipeline.charge_to(Arc::clone(&crowd.account)).unwrap();
            }
            let (mut emitted, mut late, mut known) = (Vec::new(), 0, Vec::new());
            let (mut rest, mut watermark) = (input.as_slice(), None);
            let micros = |watermark: Option<i64>| watermark.map_or(NONE, |second| second * SECOND);
            for (cut, undone) in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                if *undone {
                    let batches = vec![rows(&pipeline, 0, rest)];
                    let input = StepInput { batches, sources: vec![Mark::END], ..StepInput::default() };
                    pipeline.step(input).await.unwrap();
                    pipeline.abort();
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                let closed = watermark.map(|second| second - lateness);
                known.extend(now.iter().map(|row| (*row, closed)));
                let latest = now.iter().map(|row| row.3).max();
                let after = delay.and_then(|delay| watermark.max(latest.map(|latest| latest - delay)));
                let output = epoch(&pipeline, vec![rows(&pipeline, 0, now)], micros(watermark), micros(after)).await;
                emitted.extend(output.batches);
                late += output.late.len();
                watermark = after;
                if let Some(crowd) = &crowd {
                    remote::checkpoint(&pipeline, &crowd.elsewhere);
                }
            }
            let last = epoch(&pipeline, vec![vec![]], micros(watermark), END).await;
            assert!(last.late.is_empty());
            assert_eq!((pipeline.open_panes(), pipeline.state_bytes()), (0, 0));
            assert_eq!(crowd.map_or(0, |crowd| crowd.disk.used()), 0);
            emitted.extend(last.batches);
            (emitted, late, known)
        });
        prop_assert_eq!((collected(&output), late), naive(&known, size, slide, offset));
    }
}

// A close leaves one segment of each pane that is still needed, however many epochs had brought its rows, and so does a checkpoint.
#[tokio::test]
async fn what_was_merged_for_a_window_is_kept_merged() {
    let query = "SELECT window_end, page, count(*) FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') GROUP BY window_end, page";
    let pipeline = planned(query, 1).await;
    for second in [21, 22, 11, 12, 23, 13] {
        epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 1, second)])], NONE, NONE).await;
    }
    let segments =
        || pipeline.operators()[0].segments().iter().map(|segment| segment.pane / SECOND).collect::<Vec<_>>();
    assert_eq!(segments(), [10, 10, 10, 20, 20, 20]);
    epoch(&pipeline, vec![vec![]], NONE, 30 * SECOND).await;
    assert_eq!(segments(), [10, 20]);
}

// A row without an event time is in no window, and is counted; beside it everything goes on.
#[tokio::test]
async fn rows_without_a_time_are_counted_and_left_out() {
    let pipeline = planned(PER_PAGE, 1).await;
    let slot = &pipeline.slots[0];
    let text = "{\"page\":\"a\",\"n\":1}\n{\"page\":\"a\",\"n\":2,\"ts\":3000}\n{\"page\":\"a\",\"n\":4,\"ts\":null}";
    let batches =
        json(slot.table.schema(), text).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect::<Vec<_>>();
    let output = epoch(&pipeline, vec![batches], NONE, END).await;
    assert_eq!((output.without_time, output.late.len()), (2, 0));
    assert!(shown(&output.batches).contains("| a    | 1 | 2 |"), "{}", shown(&output.batches));
    assert_eq!(output.rows(), 1);
}

// An epoch without rows is due exactly when a source passes the end of a window that holds rows, and how late rows may be.
#[tokio::test]
async fn an_empty_epoch_is_due_when_a_window_closes() {
    let query = format!("CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '5 seconds') AS {PER_PAGE}");
    let pipeline = planned(&query, 1).await;
    let due = |after: Micros| pipeline.due(&[Mark::new(after)]);
    assert!(!due(END), "nothing is open");
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 1, 3), (2, "a", 1, 25), (3, "a", 1, 95)])], NONE, NONE).await;
    assert!(!due(15 * SECOND - 1) && due(15 * SECOND));
    epoch(&pipeline, vec![vec![]], NONE, 15 * SECOND).await;
    assert!(!due(35 * SECOND - 1) && due(35 * SECOND) && due(END));
    // What EMIT TIMEOUT closes: all but the windows of rows that lie beyond the newest time that counts.
    assert_eq!(pipeline.close_all_at(&[30 * SECOND]), [35 * SECOND]);
    assert_eq!(pipeline.close_all_at(&[95 * SECOND]), [105 * SECOND]);
    assert_eq!(pipeline.close_all_at(&[3 * SECOND]), [NONE]);
}

// A row that is late for one window and not for the next, whose shared panes had been merged for the first.
#[tokio::test]
async fn a_row_that_comes_between_two_closes_is_in_the_second() {
    let query = "SELECT window_end, sum(n) FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '40 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    let first = [(1, "a", 1, 5), (2, "a", 2, 15), (3, "a", 4, 25), (4, "a", 8, 35)];
    epoch(&pipeline, vec![rows(&pipeline, 0, &first)], NONE, 40 * SECOND).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(5, "a", 16, 26)])], 40 * SECOND, 40 * SECOND).await;
    let output = epoch(&pipeline, vec![vec![]], 40 * SECOND, 50 * SECOND).await;
    assert!(shown(&output.batches).contains("| 1970-01-01T00:00:50 | 30 "), "{}", shown(&output.batches));
}

// Overlapping windows of which one has closed: the next is due at its own end, not at that of the first that its rows are in.
#[tokio::test]
async fn a_window_that_has_closed_is_not_due_again() {
    let query = "SELECT window_end, count(*) FROM HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') GROUP BY window_end";
    let pipeline = planned(query, 1).await;
    epoch(&pipeline, vec![rows(&pipeline, 0, &[(1, "a", 1, 7)])], NONE, NONE).await;
    epoch(&pipeline, vec![vec![]], NONE, 10 * SECOND).await;
    assert!(!pipeline.due(&[Mark::new(15 * SECOND - 1)]));
    assert!(pipeline.due(&[Mark::new(15 * SECOND)]));
}

// A window of so many keys is closed in parts: each key is in one of them, whole, however its rows came.
#[tokio::test]
async fn every_key_of_a_large_window_is_emitted_once() {
    const KEYS: i64 = 150_000;
    for windows in
        ["TUMBLE(clicks, ts, INTERVAL '10 seconds')", "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '10 seconds')"]
    {
        let query = format!("SELECT id, window_start, count(*), sum(n) FROM {windows} GROUP BY id, window_start");
        let pipeline = planned(&query, 2).await;
        for part in 0..3 {
            // Each key comes in two of the three epochs.
            let some: Vec<_> = (0..KEYS).filter(|id| id % 3 != part).map(|id| (id, "a", id + part, 7)).collect();
            epoch(&pipeline, vec![rows(&pipeline, 0, &some)], NONE, NONE).await;
        }
        let output = epoch(&pipeline, vec![vec![]], NONE, 10 * SECOND).await;
        assert!(output.batches.len() > 1, "it is closed in parts");
        let mut sums = vec![None; KEYS as usize];
        for batch in &output.batches {
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values();
            for ((id, count), sum) in column(0).iter().zip(column(2)).zip(column(3)) {
                assert_eq!(*count, 2);
                assert_eq!(sums[*id as usize].replace(*sum), None, "key {id} was emitted twice");
            }
        }
        let expected = (0..KEYS).map(|id| Some((0..3).filter(|part| id % 3 != *part).map(|part| id + part).sum()));
        assert!(sums.into_iter().eq(expected));
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
