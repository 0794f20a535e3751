//! Views over views: each read by the one above in committed steps, at a pace of its own. The answer is that of the same text as one query,
//! whatever the steps are.

mod versions;

use std::collections::VecDeque;

use super::windows::values;
use super::*;
use crate::changelog::Changes;
use crate::error::ErrorKind;
use crate::operator::contract::Origin;

/// The tables of all tests, and the views that have been planned so far.
struct Over<'a> {
    known: &'a Fixed,
    upstreams: Vec<Arc<ViewStream>>,
}

impl Tables for Over<'_> {
    fn defined(&self) -> &Defined {
        self.known.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        self.known.provider(table)
    }

    fn upstreams(&self) -> Vec<Arc<ViewStream>> {
        self.upstreams.clone()
    }
}

/// A view, with what it has not read yet.
struct Level {
    name: &'static str,
    pipeline: Pipeline,
    inputs: Vec<Input>,
    /// Rows that it has not committed.
    fresh: Vec<RecordBatch>,
    committed: Vec<RecordBatch>,
}

enum Input {
    Table { rows: VecDeque<Row>, mark: Mark },
    View { checkpoints: VecDeque<(Vec<RecordBatch>, Vec<Mark>)>, marks: Vec<Mark> },
}

/// The same numbers for the same seed (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % most as u64) as usize
    }
}

/// Each over those before it. Options of one stand behind its name.
async fn levels(views: &[(&'static str, &str)], partitions: usize) -> Result<Vec<Level>> {
    let (mut levels, mut upstreams): (Vec<Level>, Vec<Arc<ViewStream>>) = (Vec::new(), Vec::new());
    for &(named, query) in views {
        let (known, view) = parsed(&format!("CREATE MATERIALIZED VIEW {named} AS {query}"))?;
        let name = named.split(' ').next().unwrap_or(named);
        let tables = Over { known: &known, upstreams: upstreams.clone() };
        let pipeline = match plan(&view, &tables, PlanSettings { partitions, wide_rows: 3 }).await? {
            Planned::Stream(pipeline) => *pipeline,
            Planned::Batch(..) => panic!("{query} reads no stream"),
        };
        upstreams.push(Arc::new(ViewStream::of(&view, &pipeline, name)?));
        let inputs = pipeline.slots.iter().map(|slot| match slot.table.name.as_str() {
            "clicks" => Input::Table { rows: CLICKS.into(), mark: Mark::NONE },
            "taps" => Input::Table { rows: TAPS.into(), mark: Mark::NONE },
            _ => Input::View { checkpoints: VecDeque::new(), marks: vec![Mark::NONE; slot.marks()] },
        });
        let inputs = inputs.collect();
        levels.push(Level { name, pipeline, inputs, fresh: vec![], committed: vec![] });
    }
    Ok(levels)
}

impl Level {
    /// An epoch over at most so many rows or checkpoints of each input.
    async fn step(&mut self, mut at_once: impl FnMut() -> usize) {
        let (mut batches, mut marks) = (Vec::new(), Vec::new());
        for (at, input) in self.inputs.iter_mut().enumerate() {
            let slot = &self.pipeline.slots[at];
            match input {
                Input::Table { rows: left, mark } => {
                    let taken: Vec<Row> = left.drain(..at_once().min(left.len())).collect();
                    if let Some((.., second)) = taken.last() {
                        *mark = Mark::new(second * SECOND);
                    }
                    if left.is_empty() {
                        *mark = Mark::END;
                    }
                    batches.push(if taken.is_empty() { vec![] } else { rows(&self.pipeline, at, &taken) });
                    marks.push(*mark);
                }
                Input::View { checkpoints, marks: said } => {
                    let mut of_view = Vec::new();
                    for (rows, behind) in checkpoints.drain(..at_once().min(checkpoints.len())) {
                        of_view.extend(rows.iter().map(|batch| batch.project(slot.columns()).unwrap()));
                        *said = behind;
                    }
                    batches.push(of_view);
                    marks.extend(said.iter().copied());
                }
            }
        }
        let input = StepInput { epoch: 1, batches, sources: marks, ..StepInput::default() };
        let output = self.pipeline.step(input).await.unwrap_or_else(|error| panic!("{}", error.report()));
        self.pipeline.commit().unwrap();
        let output = Emitted::of(output);
        assert!(output.late.is_empty() && output.bad.is_empty(), "{}: {output:?}", self.name);
        self.fresh.extend(output.batches);
    }
}

/// Makes what a level has emitted a checkpoint of it, for those that read it.
fn commit(levels: &mut [Level], at: usize) {
    let fresh = std::mem::take(&mut levels[at].fresh);
    levels[at].committed.extend(fresh.iter().cloned());
    let (name, told) = (levels[at].name, levels[at].pipeline.output_marks());
    for level in &mut levels[at + 1..] {
        for (slot, input) in level.pipeline.slots.iter().zip(&mut level.inputs) {
            let Input::View { checkpoints, .. } = input else { continue };
            let Some(view) = slot.view().filter(|_| slot.table.name == name) else { continue };
            let mark = |wanted: &str| told.iter().find(|(name, _)| name == wanted).map(|(_, mark)| *mark);
            let marks = view.marks.iter().map(|of| mark(&of.name).expect("it is told"));
            checkpoints.push_back((fresh.clone(), marks.collect()));
        }
    }
}

/// The answer of the last view, sorted.
async fn chained(views: &[(&'static str, &str)], seed: u64) -> Vec<String> {
    let mut levels = levels(views, if seed.is_multiple_of(2) { 1 } else { 2 })
        .await
        .unwrap_or_else(|error| panic!("{}", error.report()));
    let mut seeded = Seeded(seed);
    for _ in 0..30 {
        let at = seeded.below(levels.len());
        match seeded.below(3) {
            0 => commit(&mut levels, at),
            _ => levels[at].step(|| seeded.below(4)).await,
        }
    }
    for at in 0..levels.len() {
        // What one operator closes may open windows of the next.
        for _ in 0..4 {
            levels[at].step(|| usize::MAX).await;
        }
        commit(&mut levels, at);
        assert_eq!(levels[at].pipeline.open_panes(), 0, "{}", levels[at].name);
    }
    let last = levels.pop().expect("a view");
    let mut found = if last.committed.is_empty() { vec![] } else { values(&last.committed) };
    found.sort();
    found
}

/// The answer of the same text with the views in a WITH, sorted.
async fn as_one(views: &[(&str, &str)]) -> Vec<String> {
    let (last, before) = views.split_last().expect("a view");
    let with: Vec<String> = before.iter().map(|(name, query)| format!("{name} AS ({query})")).collect();
    let pipeline = planned(&format!("WITH {} {}", with.join(", "), last.1), 1).await;
    let input = pipeline.slots.iter().enumerate().map(|(at, slot)| match slot.table.name.as_str() {
        "clicks" => rows(&pipeline, at, &CLICKS),
        _ => rows(&pipeline, at, &TAPS),
    });
    let mut batches = epoch(&pipeline, input.collect(), NONE, END).await.batches;
    for _ in 0..3 {
        batches.extend(epoch(&pipeline, vec![vec![]; pipeline.slots.len()], END, END).await.batches);
    }
    let mut found = values(&batches);
    found.sort();
    found
}

async fn the_same(views: &[(&'static str, &str)]) -> Vec<String> {
    let expected = as_one(views).await;
    assert!(!expected.is_empty(), "{views:?}");
    for seed in 0..6 {
        assert_eq!(chained(views, seed).await, expected, "seed {seed}: {views:?}");
    }
    expected
}

/// Two of them at a time each.
const CLICKS: [Row; 16] = [
    (1, "a", 1, 0),
    (2, "b", 2, 1),
    (3, "a", 4, 1),
    (4, "a", 8, 9),
    (5, "b", 1, 10),
    (6, "c", 2, 14),
    (7, "a", 3, 14),
    (8, "c", 5, 25),
    (9, "c", 7, 31),
    (10, "a", 9, 31),
    (11, "b", 11, 47),
    (12, "b", 13, 58),
    (13, "a", 15, 61),
    (14, "a", 17, 75),
    (15, "c", 19, 99),
    (16, "a", 21, 130),
];

const TAPS: [Row; 7] = [
    (101, "a", 1, 3),
    (102, "b", 2, 12),
    (103, "a", 3, 22),
    (104, "c", 4, 33),
    (105, "c", 5, 38),
    (106, "b", 6, 64),
    (107, "a", 7, 100),
];

const TENS: &str = "SELECT window_start, window_end, window_time AS at, page, count(*) AS c, sum(n) AS s
    FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start, window_end, window_time, page";

// The column that says so is one like any other.
#[tokio::test]
async fn of_a_view_that_emits_early_what_is_final_is_read() {
    let above = |is_final: &str| {
        format!(
            "SELECT window_start, window_end, {is_final} AS is_final, count(*) AS pages, sum(s) AS s FROM tens GROUP BY window_start, window_end"
        )
    };
    let expected = as_one(&[("tens", TENS), ("per_page", above("true").as_str())]).await;
    assert_eq!(expected[0], "00:00,00:10,true,2,15");
    let (tens, pages) = (format!("{TENS} EMIT CHANGES"), above("bool_and(is_final)"));
    for seed in 0..6 {
        let views = [("tens", tens.as_str()), ("per_page", pages.as_str())];
        assert_eq!(chained(&views, seed).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn windows_of_a_view_are_grouped_by_again() {
    let found = the_same(&[
        ("tens", TENS),
        ("per_page", "SELECT window_start, window_end, count(*) AS pages, max(c) AS c, sum(s) AS s FROM tens GROUP BY window_start, window_end"),
    ])
    .await;
    assert_eq!(found[0], "00:00,00:10,2,3,15");
    for by in ["window_end", "window_start", "at", "window_start, page"] {
        let again = format!("SELECT {by}, sum(c) AS c FROM tens GROUP BY {by}");
        the_same(&[("tens", TENS), ("again", again.as_str())]).await;
    }
}

#[tokio::test]
async fn every_time_of_a_view_can_have_windows_above_it() {
    for time in ["at", "window_start", "window_end"] {
        let above =
            format!("SELECT tumble({time}, INTERVAL '1 minute') AS w, page, sum(c) AS c FROM tens GROUP BY w, page");
        the_same(&[("tens", TENS), ("minutes", above.as_str())]).await;
        let above = format!(
            "SELECT window_end, max(c) AS c FROM HOP((SELECT {time} AS t, c FROM tens), t, INTERVAL '20 seconds', INTERVAL '50 seconds')
             GROUP BY window_end"
        );
        the_same(&[("tens", TENS), ("hops", above.as_str())]).await;
    }
    // A view of one time need not name it.
    the_same(&[
        (
            "seconds",
            "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_end",
        ),
        ("minutes", "SELECT tumble(window_end, INTERVAL '1 minute') AS w, sum(c) AS c FROM seconds GROUP BY w"),
    ])
    .await;
    let named = levels(
        &[
            (
                "seconds",
                "SELECT window_end, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 second') GROUP BY window_end",
            ),
            ("minutes", "SELECT tumble(INTERVAL '1 minute') AS w, sum(c) AS c FROM seconds GROUP BY w"),
        ],
        1,
    )
    .await;
    assert!(named.is_ok(), "{:?}", named.err());
}

#[tokio::test]
async fn windows_as_structs_and_windows_that_overlap_go_on_through_views() {
    the_same(&[
        ("hopped", "SELECT hop(ts, INTERVAL '5 seconds', INTERVAL '20 seconds') AS w, page, count(*) AS c FROM clicks GROUP BY w, page"),
        ("again", "SELECT w, sum(c) AS c, count(*) AS pages FROM hopped GROUP BY w"),
        ("ends", "SELECT w['end'] AS e, max(c) AS c FROM again GROUP BY w['end']"),
    ])
    .await;
    the_same(&[
        (
            "hops",
            "SELECT window_start, window_end, page, count(*) AS c
            FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '40 seconds') GROUP BY window_start, window_end, page",
        ),
        ("most", "SELECT window_start, max(c) AS c FROM hops GROUP BY window_start"),
    ])
    .await;
    the_same(&[
        ("days", "SELECT window_start, window_end, page, count(*) AS c
            FROM CUMULATE(clicks, ts, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY window_start, window_end, page"),
        ("most", "SELECT window_end, max(c) AS c FROM days GROUP BY window_end"),
    ])
    .await;
    // Without an aggregate of its own: the rows have their windows as columns.
    the_same(&[
        ("placed", "SELECT id, page, window_start, window_end FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '20 seconds')"),
        ("counted", "SELECT window_start, window_end, page, count(*) AS c FROM placed GROUP BY window_start, window_end, page"),
    ])
    .await;
}

#[tokio::test]
async fn rows_of_a_view_are_rows_like_those_of_a_table() {
    the_same(&[
        ("large", "SELECT id, page, n, ts FROM clicks WHERE n > 1"),
        (
            "moved",
            "SELECT id, page, ts + INTERVAL '30 seconds' AS later, date_trunc('minute', ts) AS minute FROM large",
        ),
        ("counted", "SELECT tumble(later, INTERVAL '20 seconds') AS w, count(*) AS c FROM moved GROUP BY w"),
    ])
    .await;
    the_same(&[
        ("large", "SELECT id, page, n, ts FROM clicks WHERE n > 1"),
        ("titled", "SELECT l.id, p.title FROM large l LEFT JOIN pages p ON p.page = l.page"),
    ])
    .await;
    the_same(&[
        ("large", "SELECT id, page, ts FROM clicks WHERE n > 1"),
        ("both", "SELECT id, page, ts FROM large UNION ALL SELECT id, page, ts FROM taps"),
        ("counted", "SELECT window_end, page, count(*) AS c FROM TUMBLE(both, ts, INTERVAL '10 seconds') GROUP BY window_end, page"),
    ])
    .await;
}

#[tokio::test]
async fn views_are_joined_by_their_windows_and_by_their_times() {
    let taps = "SELECT window_end, page, count(*) AS hits FROM TUMBLE(taps, ts, INTERVAL '10 seconds') GROUP BY window_end, page";
    let joined = "SELECT c.window_end, c.window_start, c.page, c.c, t.hits FROM tens c LEFT JOIN tapped t
        ON c.window_end = t.window_end AND c.page = t.page";
    the_same(&[("tens", TENS), ("tapped", taps), ("joined", joined)]).await;
    // What is complete only when both sides are is told under a name of its own.
    the_same(&[
        ("tens", TENS),
        ("tapped", taps),
        ("joined", joined),
        ("summed", "SELECT window_end, sum(c) AS c, sum(hits) AS hits, count(*) AS n FROM joined GROUP BY window_end"),
    ])
    .await;
    the_same(&[
        ("tens", TENS),
        (
            "followed",
            "SELECT v.page, v.c, t.id FROM tens v JOIN taps t
            ON t.page = v.page AND t.ts BETWEEN v.window_end AND v.window_end + INTERVAL '20 seconds'",
        ),
    ])
    .await;
    the_same(&[
        ("tens", TENS),
        ("before", "SELECT a.page, a.at, b.c AS before FROM tens a JOIN tens b
            ON a.page = b.page AND b.window_end BETWEEN a.window_end - INTERVAL '10 seconds' AND a.window_end - INTERVAL '5 seconds'"),
    ])
    .await;
}

#[tokio::test]
async fn chains_of_five_give_what_one_query_gives() {
    the_same(&[
        ("positive", "SELECT id, page, n, ts FROM clicks WHERE n > 0"),
        ("fives", "SELECT window_end AS at, page, sum(n) AS n FROM TUMBLE(positive, ts, INTERVAL '5 seconds') GROUP BY window_end, page"),
        ("twenties", "SELECT window_end AS at, page, max(n) AS n FROM TUMBLE(fives, at, INTERVAL '20 seconds') GROUP BY window_end, page"),
        ("large", "SELECT at, n FROM twenties WHERE n > 2"),
        ("minutes", "SELECT window_start, count(*) AS c, sum(n) AS n FROM TUMBLE(large, at, INTERVAL '1 minute') GROUP BY window_start"),
    ])
    .await;
}

// In a view's rows nothing says which came first: it would depend on where the view's own input was cut.
#[tokio::test]
async fn rows_of_a_view_that_tie_go_by_their_values() {
    let views = [
        ("large", "SELECT id, page, n, ts FROM clicks WHERE n > 0"),
        (
            "ordered",
            "SELECT window_end, array_agg(id ORDER BY date_trunc('minute', ts)) AS ids,
            last_value(page ORDER BY date_trunc('minute', ts)) AS page, first_value(n ORDER BY ts DESC) AS n
            FROM TUMBLE(large, ts, INTERVAL '40 seconds') GROUP BY window_end",
        ),
    ];
    let expected = chained(&views, 0).await;
    assert_eq!(expected.len(), 4, "{expected:?}");
    for seed in 1..8 {
        assert_eq!(chained(&views, seed).await, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_late_row_of_a_view_is_known_by_its_checkpoint_and_its_place_there() {
    let views = [
        ("kept", "SELECT id, page, ts FROM clicks"),
        (
            "counted",
            "SELECT window_end, count(*) AS c FROM TUMBLE(kept, ts, INTERVAL '10 seconds') GROUP BY window_end",
        ),
    ];
    let levels = levels(&views, 1).await.unwrap();
    let (kept, counted) = (&levels[0].pipeline, &levels[1].pipeline);
    let read = rows(kept, 0, &[(1, "a", 1, 100), (2, "a", 1, 3)]);
    let output = Emitted::of(
        kept.step(StepInput { batches: vec![read], sources: vec![Mark::NONE], ..StepInput::default() }).await.unwrap(),
    );
    kept.commit().unwrap();
    let columns = counted.slots[0].columns();
    let batches: Vec<RecordBatch> = output.batches.iter().map(|batch| batch.project(columns).unwrap()).collect();
    let origins = vec![Origins::of_record(0, 7, 40, 2)];
    counted.pass(&[Mark::new(50 * SECOND)]);
    let input = StepInput {
        batches: vec![batches],
        origins: vec![origins],
        sources: vec![Mark::new(50 * SECOND)],
        ..StepInput::default()
    };
    let output = Emitted::of(counted.step(input).await.unwrap());
    let [late] = output.late.as_slice() else { panic!("{output:?}") };
    assert_eq!(late.origin, Some(Origin { topic: "kept".into(), partition: 0, offset: 7, position: 41 }));
    assert_eq!((late.event_time, late.watermark), (Some(3 * SECOND), 50 * SECOND));
}

#[tokio::test]
async fn a_stream_plan_names_the_view_and_its_times() {
    let views = [
        ("tens", TENS),
        (
            "minutes",
            "SELECT window_end, sum(c) AS c FROM TUMBLE((SELECT at, c FROM tens), at, INTERVAL '1 minute') GROUP BY window_end",
        ),
    ];
    let levels = levels(&views, 1).await.unwrap();
    let lines = levels[1].pipeline.explain();
    assert!(lines.iter().any(|line| line.trim() == "scan view tens"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.trim() == "watermark of window_end: tens.window_end"), "{lines:#?}");
    // Both of its window's parts have it in common.
    assert_eq!((levels[1].pipeline.slots[0].marks(), levels[1].pipeline.marks()), (1, 1));
}

#[tokio::test]
async fn over_a_view_the_same_is_refused_as_over_a_table() {
    for (query, said) in [
        ("SELECT page, count(*) AS c FROM tens GROUP BY page", "an aggregate over a stream needs a window"),
        ("SELECT DISTINCT page FROM tens", "DISTINCT over a stream"),
        ("SELECT a.page FROM tens a JOIN tens b ON a.page = b.page", "needs a bound in time"),
        (
            "SELECT tumble(INTERVAL '1 minute') AS w, count(*) AS c FROM tens GROUP BY w",
            "no table in its FROM has a watermark",
        ),
        (
            "SELECT count(*) AS c FROM TUMBLE(tens, at, INTERVAL '1 minute') GROUP BY window_end",
            "has a column \"window_start\" already",
        ),
    ] {
        let error = levels(&[("tens", TENS), ("above", query)], 1).await.err().expect(query);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.report().contains(said), "{query}\n{}", error.report());
    }
    let (_, view) = parsed("CREATE MATERIALIZED VIEW v AS SELECT id FROM clicks").unwrap();
    let mut pipeline = planned("SELECT id FROM clicks", 1).await;
    assert!(ViewStream::of(&view, &pipeline, "f1").is_ok());
    for changes in [Changes::Upsert(vec![0]), Changes::Retract] {
        pipeline.edge.changes = changes;
        let error = ViewStream::of(&view, &pipeline, "f1").unwrap_err();
        assert!(error.primary().ends_with("cannot go into a query over view \"v\" yet"), "{}", error.report());
    }
}
