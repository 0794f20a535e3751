//! As-of joins and temporal joins, against what a walk over all pairs says, and against the same query over everything at once.

mod far;
mod plans;
mod ttl;

use proptest::sample::select;

use super::joins::{any_rows, lines, read};
use super::*;
use crate::error::ErrorKind;
use crate::operator::contract::{RestoredSegment, StoredSegment};

/// Which row of taps belongs to one of clicks, in all the ways that can be asked for.
#[derive(Debug, Clone, Copy)]
struct Variant {
    op: &'static str,
    is_left: bool,
    /// Seconds.
    within: Option<i64>,
    keys: usize,
}

impl Variant {
    fn query(self) -> String {
        let left = if self.is_left { "LEFT " } else { "" };
        let keys = ["", "t.page = c.page AND ", "t.page = c.page AND t.n = c.n AND "][self.keys];
        let within = match (self.within, self.op) {
            (None, _) => String::new(),
            (Some(by), ">=" | ">") => format!(" AND c.ts <= t.ts + INTERVAL '{by} seconds'"),
            (Some(by), _) => format!(" AND t.ts - c.ts <= INTERVAL '{by} seconds'"),
        };
        format!("SELECT c.id, t.id AS tap FROM clicks c ASOF {left}JOIN taps t ON {keys}c.ts {} t.ts{within}", self.op)
    }

    /// Of all taps in the order in which they count as arrived.
    fn partner(self, click: &Row, taps: &[Row]) -> Option<i64> {
        let (mut nearest, at): (Option<&Row>, i64) = (None, click.3);
        for tap in taps {
            let is_of_key = (self.keys < 1 || tap.1 == click.1) && (self.keys < 2 || tap.2 == click.2);
            let is_beside = match self.op {
                ">=" => tap.3 <= at,
                ">" => tap.3 < at,
                "<=" => tap.3 >= at,
                _ => tap.3 > at,
            };
            let is_as_near = nearest.is_none_or(|nearest| (tap.3 - at).abs() <= (nearest.3 - at).abs());
            if is_of_key && is_beside && is_as_near {
                nearest = Some(tap);
            }
        }
        nearest.filter(|nearest| self.within.is_none_or(|by| (nearest.3 - at).abs() <= by)).map(|tap| tap.0)
    }

    fn expected(self, clicks: &[Row], taps: &[Tap]) -> Vec<String> {
        let mut arrived = taps.to_vec();
        arrived.sort_by_key(|tap| (tap.partition, tap.offset));
        let taps: Vec<Row> = arrived.iter().map(|tap| tap.row).collect();
        let mut found: Vec<String> = clicks
            .iter()
            .filter_map(|click| match self.partner(click, &taps) {
                Some(tap) => Some(format!("{},{tap}", click.0)),
                None => self.is_left.then(|| click.0.to_string()),
            })
            .collect();
        found.sort();
        found
    }
}

fn variants() -> impl Strategy<Value = Variant> {
    (select(vec![">=", ">", "<=", "<"]), any::<bool>(), select(vec![None, Some(0), Some(2), Some(9)]), 0..3_usize)
        .prop_map(|(op, is_left, within, keys)| {
            // The first row behind a time is waited for with an end, and one at no distance is at the very time.
            let within = match op {
                ">=" => within,
                ">" => within.filter(|by| *by > 0),
                "<=" => within.or(Some(4)),
                _ => within.filter(|by| *by > 0).or(Some(4)),
            };
            // Without a distance both comparisons would be of the times themselves.
            Variant { op, is_left, within: within.map(|by| by.max(1)), keys }
        })
}

#[derive(Debug, Clone, Copy)]
struct Tap {
    row: Row,
    partition: i32,
    offset: i64,
}

/// What comes next, in the order in which it comes.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    Click(Row),
    Tap(Tap),
}

/// Both sides interleaved as `order` says; the taps of each partition in the order of their offsets.
fn arrivals(clicks: &[Row], taps: &[Row], order: u64) -> (Vec<Arrival>, Vec<Tap>) {
    let mut offsets = [0, 0];
    let taps = taps.iter().map(|row| {
        let partition = (row.0 / 2 % 2) as usize;
        offsets[partition] += 1;
        Tap { row: *row, partition: partition as i32, offset: offsets[partition] }
    });
    let taps: Vec<Tap> = taps.collect();
    // The partitions are read one against the other: what counts is not who comes first.
    let mut of: [Vec<Tap>; 2] = [vec![], vec![]];
    taps.iter().rev().for_each(|tap| of[tap.partition as usize].push(*tap));
    let (mut clicks, mut all, mut state) = (clicks.iter().rev().copied().collect::<Vec<_>>(), Vec::new(), order);
    while !(clicks.is_empty() && of.iter().all(Vec::is_empty)) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let next = match state.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 61 {
            0..=2 => clicks.pop().map(Arrival::Click),
            other => of[other as usize % 2].pop().map(Arrival::Tap),
        };
        all.extend(next);
    }
    (all, taps)
}

/// What happens around an epoch.
#[derive(Debug, Clone, Copy)]
struct Cut {
    rows: usize,
    is_undone: bool,
    is_restarted: bool,
    /// The watermarks stay where they are.
    is_silent: bool,
}

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = (1..8_usize, any::<bool>(), any::<bool>(), any::<bool>());
    let cut =
        cut.prop_map(|(rows, is_undone, is_restarted, is_silent)| Cut { rows, is_undone, is_restarted, is_silent });
    prop::collection::vec(cut, 1..12)
}

/// An epoch's input; a mark for clicks and one for taps.
fn input(pipeline: &Pipeline, arrivals: &[Arrival], marks: [Mark; 2]) -> StepInput {
    let (mut clicks, mut taps) = (Vec::new(), Vec::new());
    let mut of = [Origins::default(), Origins::default()];
    for arrival in arrivals {
        match arrival {
            Arrival::Click(row) => {
                of[0].push(0, row.0);
                clicks.push(*row);
            }
            Arrival::Tap(Tap { row, partition, offset }) => {
                of[1].push(*partition, *offset);
                taps.push(*row);
            }
        }
    }
    let is_taps = |slot: &Arc<StreamSlot>| usize::from(slot.table.name == "taps");
    let origins = pipeline.slots.iter().map(|slot| vec![of[is_taps(slot)].clone()]);
    StepInput {
        epoch: 1,
        batches: read(pipeline, &clicks, &taps),
        origins: origins.collect(),
        sources: pipeline.slots.iter().map(|slot| marks[is_taps(slot)]).collect(),
        ..StepInput::default()
    }
}

/// Another pipeline that goes on from what the first holds.
async fn restarted(before: &Pipeline, query: &str, partitions: usize) -> Pipeline {
    let after = planned(query, partitions).await;
    for (at, (from, to)) in before.operators().iter().zip(after.operators()).enumerate() {
        assert_eq!((from.id(), from.state_schema_sha256().unwrap()), (to.id(), to.state_schema_sha256().unwrap()));
        let marks = &before.kept_marks()[at];
        after.restore_marks(at, |input| marks.get(input).copied());
        for StoredSegment { input, shard, pane, segment } in from.segments() {
            let batches = segment.rows.batches().map(|batch| batch.unwrap()).collect();
            let (id, level) = (segment.id, segment.level);
            to.restore(RestoredSegment { input, shard, pane, id, level, batches }).unwrap();
        }
    }
    after
}

/// What a query emits of rows that come so, where none is late.
async fn streamed(query: &str, partitions: usize, arrivals: &[Arrival], cuts: &[Cut]) -> Vec<String> {
    let mut pipeline = planned(query, partitions).await;
    let (mut found, mut rest, mut marks) = (Vec::new(), arrivals, [Mark::NONE; 2]);
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        if cut.is_undone {
            pipeline.step(input(&pipeline, rest, [Mark::END; 2])).await.unwrap();
            pipeline.abort();
        }
        let (now, later) = rest.split_at(cut.rows.min(rest.len()));
        rest = later;
        if !cut.is_silent {
            // The least time that is still to come.
            let least = |is_click: bool| {
                let seconds = later.iter().filter_map(|arrival| match arrival {
                    Arrival::Click(row) => is_click.then_some(row.3),
                    Arrival::Tap(tap) => (!is_click).then_some(tap.row.3),
                });
                seconds.min().map_or(Mark::END, |second| Mark::new(second * SECOND))
            };
            marks = [least(true), least(false)];
        }
        let output = Emitted::of(pipeline.step(input(&pipeline, now, marks)).await.unwrap());
        pipeline.commit().unwrap();
        assert!(output.late.is_empty() && output.bad.is_empty(), "{output:?}");
        found.extend(lines(&output.batches));
        if cut.is_restarted {
            pipeline = restarted(&pipeline, query, partitions).await;
        }
    }
    let last = Emitted::of(pipeline.step(input(&pipeline, &[], [Mark::END; 2])).await.unwrap());
    pipeline.commit().unwrap();
    found.extend(lines(&last.batches));
    assert_eq!((pipeline.state_bytes(), pipeline.open_panes()), (0, 0), "{query} keeps something behind the end");
    found.sort();
    found
}

/// The same rows, as tables that end: each partition by itself.
struct Ended {
    known: Fixed,
    clicks: Vec<Row>,
    taps: Vec<Tap>,
}

impl Tables for Ended {
    fn defined(&self) -> &Defined {
        self.known.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let of = |partition: i32| {
            let mut taps: Vec<Tap> = self.taps.iter().filter(|tap| tap.partition == partition).copied().collect();
            taps.sort_by_key(|tap| tap.offset);
            taps.into_iter().map(|tap| tap.row).collect::<Vec<_>>()
        };
        let partitions = if table.name == "taps" { vec![of(0), of(1)] } else { vec![self.clicks.clone()] };
        let batches = partitions.into_iter().map(|rows| match rows.is_empty() {
            true => vec![],
            false => rows.chunks(3).flat_map(|rows| json(table.schema(), &text(rows))).collect(),
        });
        Ok(Arc::new(MemTable::try_new(table.schema(), batches.collect())?))
    }
}

async fn in_batch(query: &str, clicks: &[Row], taps: &[Tap]) -> Vec<String> {
    let (known, view) = parsed(query).unwrap();
    let tables = Ended { known, clicks: clicks.to_vec(), taps: taps.to_vec() };
    let settings = PlanSettings { partitions: 3, wide_rows: 3 };
    let planned = plan_bounded(&view, &tables, settings).await.unwrap_or_else(|error| panic!("{}", error.report()));
    let Planned::Batch(context, plan) = planned else { panic!("it is run once") };
    let output =
        run_batch(&view, &context, &plan, &tables, crate::catalog::OnBadRow::Fail, &Account::unlimited()).await;
    let mut found = lines(&output.unwrap().rows.batches().collect::<Result<Vec<_>>>().unwrap());
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_beside_the_nearest_wherever_epochs_are_cut_undone_or_gone_on_from(
        clicks in any_rows(),
        taps in any_rows(),
        order in any::<u64>(),
        cuts in cuts(),
        variant in variants(),
        partitions in 1..3_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (arrivals, taps) = arrivals(&clicks, &taps, order);
        let (query, expected) = (variant.query(), variant.expected(&clicks, &taps));
        let (stream, batch) = runtime.block_on(async {
            (streamed(&query, partitions, &arrivals, &cuts).await, in_batch(&query, &clicks, &taps).await)
        });
        prop_assert_eq!(&stream, &expected, "{}", query);
        prop_assert_eq!(&batch, &expected, "in batch: {}", query);
    }
}

fn of_one_row() -> Vec<Cut> {
    vec![Cut { rows: 1, is_undone: false, is_restarted: false, is_silent: false }]
}

/// Steps a pipeline with one row or so at a time.
struct Steps {
    pipeline: Pipeline,
}

impl Steps {
    async fn of(query: &str) -> Self {
        Steps { pipeline: planned(query, 1).await }
    }

    /// What comes out; the marks are those of clicks and of taps.
    async fn step(&self, clicks: &[Row], taps: &[Row], marks: [Mark; 2]) -> Emitted {
        let taps = taps.iter().map(|row| Arrival::Tap(Tap { row: *row, partition: 0, offset: row.0 }));
        let arrivals: Vec<Arrival> = clicks.iter().map(|row| Arrival::Click(*row)).chain(taps).collect();
        let output = self.pipeline.step(input(&self.pipeline, &arrivals, marks)).await.unwrap();
        self.pipeline.commit().unwrap();
        Emitted::of(output)
    }

    async fn lines(&self, clicks: &[Row], taps: &[Row], marks: [i64; 2]) -> Vec<String> {
        let output = self.step(clicks, taps, marks.map(|second| Mark::new(second * SECOND))).await;
        assert!(output.late.is_empty(), "{output:?}");
        let mut found = lines(&output.batches);
        found.sort();
        found
    }

    fn kept(&self) -> [usize; 2] {
        let mut kept = [0, 0];
        for stored in self.pipeline.operators()[0].segments() {
            kept[stored.input as usize] += stored.segment.rows.num_rows();
        }
        kept
    }
}

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn a_row_comes_out_exactly_when_no_nearer_one_can_come() {
    for (on, at) in [
        ("c.ts >= t.ts", 10 * SECOND + 1),
        ("c.ts > t.ts", 10 * SECOND),
        ("c.ts >= t.ts AND c.ts <= t.ts + INTERVAL '5 seconds'", 10 * SECOND + 1),
        ("c.ts >= t.ts + INTERVAL '3 seconds'", 7 * SECOND + 1),
        ("c.ts <= t.ts AND t.ts < c.ts + INTERVAL '5 seconds'", 15 * SECOND),
        ("c.ts < t.ts AND t.ts <= c.ts + INTERVAL '5 seconds'", 15 * SECOND + 1),
    ] {
        let query = format!("SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND {on}");
        let Steps { pipeline } = &Steps::of(&query).await;
        let marks = |clicks, taps| vec![Mark::new(clicks), Mark::new(taps)];
        let step = async |arrivals: &[Arrival], sources: Vec<Mark>| {
            let input = StepInput { sources, ..input(pipeline, arrivals, [Mark::NONE; 2]) };
            let output = Emitted::of(pipeline.step(input).await.unwrap());
            pipeline.commit().unwrap();
            lines(&output.batches)
        };
        assert_eq!(step(&[Arrival::Click((1, "a", 0, 10))], marks(SECOND, SECOND)).await, NOTHING);
        // The left's own watermark changes nothing.
        assert!(!pipeline.due(&marks(90 * SECOND, at - 1)) && pipeline.due(&marks(SECOND, at)), "{on}");
        assert_eq!(step(&[], marks(90 * SECOND, at - 1)).await, NOTHING, "{on}");
        assert_eq!(step(&[], marks(90 * SECOND, at)).await, ["1"], "{on}");
        assert!(!pipeline.due(&[Mark::END; 2]));
    }
}

#[tokio::test]
async fn of_rows_at_one_time_the_last_to_arrive_is_the_nearest_by_where_it_was_read() {
    let taps = [(0, 1, 7), (1, 3, 8), (1, 1, 9), (0, 2, 5)];
    let taps = taps.map(|(partition, offset, id)| Tap { row: (id, "a", 0, 3), partition, offset });
    for query in [
        "SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t ON t.page = c.page AND c.ts >= t.ts",
        "SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t MATCH_CONDITION (c.ts - INTERVAL '9 seconds' < t.ts)
         ON t.n = c.n AND t.ts <= c.ts + INTERVAL '9 seconds'",
    ] {
        let clicks = [(1, "a", 0, 3), (2, "a", 0, 5)];
        for turned in [false, true] {
            let mut arrivals: Vec<Arrival> = taps.iter().map(|tap| Arrival::Tap(*tap)).collect();
            if turned {
                arrivals.reverse();
            }
            arrivals.extend(clicks.map(Arrival::Click));
            for cuts in [of_one_row(), vec![Cut { rows: 9, is_restarted: true, ..of_one_row()[0] }]] {
                let found = streamed(query, 1, &arrivals, &cuts).await;
                assert_eq!(found, ["1,8", "2,8"], "{query}, turned: {turned}");
            }
            assert_eq!(in_batch(query, &clicks, &taps).await, ["1,8", "2,8"], "{query}");
        }
    }
}

// Nobody can say where they were read: the greatest of them is the last.
#[tokio::test]
async fn of_rows_that_an_operator_has_made_the_greatest_is_the_nearest() {
    let query = "SELECT c.id, t.page, t.n FROM clicks c ASOF JOIN (
            SELECT window_end, page, count(*) AS n FROM TUMBLE(taps, ts, INTERVAL '10 seconds') GROUP BY window_end, page) t
        ON c.ts >= t.window_end";
    let clicks = [(1, "a", 0, 10), (2, "a", 0, 25)];
    let taps: Vec<Row> = vec![(1, "b", 0, 1), (2, "a", 0, 2), (3, "c", 0, 3), (4, "a", 0, 4), (5, "b", 0, 11)];
    let taps: Vec<Tap> = taps.into_iter().map(|row| Tap { row, partition: 0, offset: row.0 }).collect();
    let expected = ["1,c,1", "2,b,1"];
    assert_eq!(in_batch(query, &clicks, &taps).await, expected);
    let mut arrivals: Vec<Arrival> = taps.iter().rev().map(|tap| Arrival::Tap(*tap)).collect();
    arrivals.extend(clicks.map(Arrival::Click));
    for cuts in
        [of_one_row(), vec![Cut { rows: 9, ..of_one_row()[0] }], vec![Cut { is_restarted: true, ..of_one_row()[0] }]]
    {
        assert_eq!(streamed(query, 1, &arrivals, &cuts).await, expected);
    }
}

#[tokio::test]
async fn late_rows_of_either_side_are_in_the_ledger_and_rows_without_key_or_time_have_no_partner() {
    for join in ["ASOF LEFT JOIN", "ASOF JOIN"] {
        let query = format!("SELECT c.id, t.id AS tap FROM clicks c {join} taps t ON t.page = c.page AND c.ts >= t.ts");
        let pipeline = planned(&query, 1).await;
        pipeline.pass(&[Mark::new(20 * SECOND), Mark::new(10 * SECOND)]);
        let with_nulls = |slot: usize| {
            let slot = &pipeline.slots[slot];
            let text = r#"{"id":5,"page":null,"n":0,"ts":21000}
{"id":6,"page":"a","n":0,"ts":null}"#;
            let batches = json(slot.table.schema(), text);
            batches.iter().map(|batch| batch.project(slot.columns()).unwrap()).collect::<Vec<_>>()
        };
        let clicks = [rows(&pipeline, 0, &[(1, "a", 0, 19), (2, "a", 0, 20)]), with_nulls(0)].concat();
        let taps = [rows(&pipeline, 1, &[(7, "a", 0, 9), (8, "a", 0, 19)]), with_nulls(1)].concat();
        let origins = vec![
            vec![Origins::records(1, 100, 2), Origins::records(1, 102, 2)],
            vec![Origins::records(2, 200, 2), Origins::records(2, 202, 2)],
        ];
        let sources = vec![Mark::new(20 * SECOND), Mark::new(21 * SECOND)];
        let input = StepInput { epoch: 1, batches: vec![clicks, taps], origins, sources, ..StepInput::default() };
        let output = Emitted::of(pipeline.step(input).await.unwrap());
        pipeline.commit().unwrap();
        let late: Vec<_> = output
            .late
            .iter()
            .map(|row| {
                let offset = row.origin.as_ref().map(|origin| origin.offset);
                (row.operator.as_str(), row.input, row.event_time, row.watermark, offset, row.wholly)
            })
            .collect();
        // The right is read first.
        assert_eq!(
            late,
            [
                ("asof-0", 1, Some(9 * SECOND), 10 * SECOND, Some(200), true),
                ("asof-0", 0, Some(19 * SECOND), 20 * SECOND, Some(100), true)
            ]
        );
        assert!(output.late[1].row.contains(r#""page":"a""#), "{}", output.late[1].row);
        let mut found = lines(&output.batches);
        found.sort();
        let is_left = join == "ASOF LEFT JOIN";
        assert_eq!(found, if is_left { vec!["2,8", "5", "6"] } else { vec!["2,8"] });
        assert_eq!(output.without_time, if is_left { 2 } else { 4 });
    }
}

#[tokio::test]
async fn rows_behind_the_watermark_count_as_long_as_lateness_is_allowed() {
    let query = "CREATE MATERIALIZED VIEW v WITH ('allowed-lateness' = '4 seconds') AS SELECT c.id, t.id AS tap
        FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let steps = Steps::of(query).await;
    steps.pipeline.pass(&[Mark::new(20 * SECOND); 2]);
    assert_eq!(steps.lines(&[(1, "a", 0, 16), (2, "b", 0, 17)], &[], [20, 20]).await, NOTHING);
    assert_eq!(steps.lines(&[], &[(7, "a", 0, 16)], [20, 20]).await, NOTHING);
    let marks = |at: Micros| [Mark::new(20 * SECOND), Mark::new(at)];
    assert!(!steps.pipeline.due(&marks(20 * SECOND)) && steps.pipeline.due(&marks(20 * SECOND + 1)));
    assert_eq!(lines(&steps.step(&[], &[], marks(20 * SECOND + 1)).await.batches), ["1,7"]);
    assert_eq!(steps.lines(&[], &[(8, "b", 0, 17)], [20, 22]).await, ["2,8"]);
    let late = steps.step(&[(3, "a", 0, 15)], &[(9, "a", 0, 17)], marks(22 * SECOND)).await.late;
    assert_eq!(
        late.iter().map(|row| (row.input, row.watermark)).collect::<Vec<_>>(),
        [(1, 22 * SECOND), (0, 20 * SECOND)]
    );
}

#[tokio::test]
async fn an_idle_side_holds_nobody_up_and_keeps_its_mark_when_it_wakes() {
    let query =
        "SELECT c.id, c.ts, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let steps = Steps::of(query).await;
    let idle = |second: i64| Mark { at: second * SECOND, idle: true };
    let at = |second: i64| Mark::new(second * SECOND);
    let short = |output: &Emitted| {
        lines(&output.batches).iter().map(|line| line.replace("1970-01-01T00:00:", "")).collect::<Vec<_>>()
    };
    steps.step(&[], &[(7, "a", 0, 2)], [at(0), at(2)]).await;
    // The taps are silent: a click is beside the last of them as soon as the clicks have gone on.
    assert_eq!(short(&steps.step(&[(1, "a", 0, 10)], &[], [at(10), idle(2)]).await), NOTHING);
    assert_eq!(short(&steps.step(&[], &[], [at(11), idle(2)]).await), ["1,10,7"]);
    let mark_of = |steps: &Steps| steps.pipeline.output_marks()[0].1;
    assert_eq!((steps.pipeline.output_marks()[0].0.as_str(), mark_of(&steps)), ("ts", at(11)));
    // They wake: what is behind the clicks is late, and what is not counts.
    let woken = steps.step(&[(2, "a", 0, 12)], &[(8, "a", 0, 9), (9, "a", 0, 12)], [at(12), at(3)]).await;
    assert_eq!((short(&woken), woken.late.len(), woken.late[0].input), (vec![], 1, 1));
    assert_eq!(mark_of(&steps), at(11));
    // Now the clicks are silent, and the taps go on: of these only the newest is needed.
    let output = steps.step(&[], &[(10, "a", 0, 13), (11, "a", 0, 14)], [idle(12), at(15)]).await;
    assert_eq!(short(&output), ["2,12,9"]);
    assert_eq!(mark_of(&steps), at(15));
    assert_eq!(steps.kept(), [0, 1]);
    // Both are: nothing moves, and nothing is due.
    assert!(!steps.pipeline.due(&[idle(12), idle(15)]));
    assert_eq!(steps.step(&[(3, "a", 0, 14)], &[], [at(12), at(15)]).await.late.len(), 1);
    assert_eq!(short(&steps.step(&[(4, "a", 0, 15)], &[], [at(15), at(16)]).await), ["4,15,11"]);
}

#[tokio::test]
async fn of_the_right_the_newest_of_each_key_stays_and_what_the_left_can_still_seek() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let steps = Steps::of(query).await;
    let taps: Vec<Row> = (0..40).map(|id| (id, ["a", "b"][id as usize % 2], 0, id)).collect();
    assert_eq!(steps.lines(&[(1, "a", 0, 11)], &taps, [5, 5]).await, NOTHING);
    // The click that waits and those that come from 5 s on: of "a" from 4 s on, of "b" from 5 s on.
    assert_eq!(steps.kept(), [1, 36]);
    assert_eq!(steps.lines(&[(2, "b", 0, 12)], &[], [10, 12]).await, ["1,10"]);
    assert_eq!(steps.lines(&[], &[], [30, 13]).await, ["2,11"]);
    // 29, 30 and what follows.
    assert_eq!(steps.kept(), [0, 11]);
    assert_eq!(steps.lines(&[], &[], [3_000, 3_000]).await, NOTHING);
    assert_eq!(steps.kept(), [0, 2]);
    assert_eq!(steps.lines(&[(3, "a", 0, 5_000)], &[], [5_001, 5_001]).await, ["3,38"]);
    // A row that came in time and is older than the newest, which nobody can seek.
    let steps = Steps::of(query).await;
    steps.lines(&[], &[(1, "a", 0, 9)], [8, 3]).await;
    steps.lines(&[], &[(2, "a", 0, 4)], [9, 3]).await;
    assert_eq!(steps.kept(), [0, 1]);
    assert_eq!(steps.lines(&[(5, "a", 0, 9)], &[], [9, 10]).await, ["5,1"]);
}

#[tokio::test]
async fn a_tolerance_ends_what_is_kept_of_the_right() {
    for (on, last) in [
        ("c.ts >= t.ts AND c.ts <= t.ts + INTERVAL '5 seconds'", 8 * SECOND),
        ("c.ts >= t.ts AND c.ts < t.ts + INTERVAL '5 seconds'", 8 * SECOND - 1),
        ("c.ts <= t.ts AND t.ts <= c.ts + INTERVAL '5 seconds'", 3 * SECOND),
        ("c.ts < t.ts AND t.ts <= c.ts + INTERVAL '5 seconds'", 3 * SECOND - 1),
    ] {
        let query = format!("SELECT c.id, t.id AS tap FROM clicks c ASOF JOIN taps t ON t.page = c.page AND {on}");
        let steps = Steps::of(&query).await;
        let marks = |at: Micros| [Mark::new(at), Mark::new(60 * SECOND)];
        steps.step(&[], &[(7, "a", 0, 3)], marks(last)).await;
        assert_eq!(steps.kept(), [0, 1], "{on}");
        steps.step(&[], &[], marks(last + 1)).await;
        assert_eq!(steps.kept(), [0, 0], "{on}");
    }
}

// A click of each second, and a tap of each: what is kept is what the watermarks hold back.
#[tokio::test]
async fn what_is_kept_stays_as_much_over_thousands_of_epochs_of_one_row() {
    for on in ["c.ts >= t.ts", "c.ts <= t.ts AND t.ts <= c.ts + INTERVAL '5 seconds'"] {
        let query = format!("SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND {on}");
        let steps = Steps::of(&query).await;
        let (mut most, mut out) = ([0, 0], 0);
        for id in 0..6_000 {
            let (row, at) = ([(id, ["a", "b", "c"][id as usize % 3], 0, id / 2)], id / 2 - 3);
            let of: (&[Row], &[Row]) = if id % 2 == 0 { (&row, &[]) } else { (&[], &row) };
            out += steps.lines(of.0, of.1, [at, at - 1]).await.len();
            let half = usize::from(id >= 3_000);
            most[half] = most[half].max(steps.pipeline.state_bytes());
        }
        assert!(most[1] <= most[0] + most[0] / 8, "{on}: {most:?} bytes");
        assert!((2_980..=3_000).contains(&out), "{on}: {out} rows");
    }
}

#[tokio::test]
async fn an_epoch_of_one_row_writes_little_however_many_keys_there_are() {
    // Hashes of tests have three bits, so that each key is compared with an eighth of the others.
    const KEYS: i64 = 2_000;
    let query = "SELECT c.id, t.page FROM clicks c ASOF JOIN taps t ON t.id = c.id AND c.ts >= t.ts";
    let steps = Steps::of(query).await;
    let all: Vec<Row> = (0..KEYS).map(|id| (id, "a", 0, 1)).collect();
    steps.lines(&[], &all, [1, 1]).await;
    let ids = || steps.pipeline.operators()[0].segments().into_iter().map(|stored| stored.segment);
    let (mut seen, mut written) = (ids().map(|segment| segment.id).collect::<Vec<_>>(), 0);
    for at in 2..400 {
        // Each key in turn gets a new version, and is asked for.
        let found = steps.lines(&[(at, "x", 0, at - 1)], &[(at - 1, "b", 0, at)], [at, at]).await;
        assert_eq!(found, [format!("{at},a")]);
        let new: Vec<_> = ids().filter(|segment| !seen.contains(&segment.id)).collect();
        written += new.iter().map(|segment| segment.rows.num_rows()).sum::<usize>();
        seen.extend(new.iter().map(|segment| segment.id));
    }
    assert!(written < 400 * 6, "{written} rows were written");
    assert_eq!(steps.kept()[1] as i64 - KEYS, 398, "the dead are few beside the living");
}

#[tokio::test]
async fn a_side_keeps_the_columns_that_somebody_reads() {
    let query = "SELECT c.id FROM clicks c ASOF JOIN taps t ON t.page = c.page AND c.ts >= t.ts WHERE t.n > 0";
    let steps = Steps::of(query).await;
    let columns = |table: &str| {
        let slot = steps.pipeline.slots.iter().find(|slot| slot.table.name == table).unwrap();
        slot.columns().iter().map(|at| slot.table.schema().field(*at).name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (columns("clicks"), columns("taps")),
        (vec!["id".into(), "page".into(), "ts".into()], vec!["page".into(), "n".into(), "ts".into()])
    );
    // The condition is asked of the nearest row, and no other is looked for.
    let found =
        steps.lines(&[(1, "a", 0, 5), (2, "b", 0, 5)], &[(7, "a", 1, 3), (8, "a", 0, 4), (9, "b", 1, 4)], [6, 6]).await;
    assert_eq!(found, ["2"]);
}

#[tokio::test]
async fn what_is_asked_of_the_left_alone_is_asked_before_its_rows_wait() {
    let query = "SELECT x.id, x.tap FROM (SELECT c.id, c.n, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts) x
        WHERE x.n > 0 AND (x.tap IS NULL OR x.tap > 7) AND x.n + x.tap <> 0";
    let steps = Steps::of(query).await;
    let clicks = [(1, "a", 0, 5), (2, "a", 1, 5), (3, "b", 1, 5)];
    assert_eq!(steps.lines(&clicks, &[(8, "a", 0, 1), (7, "b", 0, 1)], [6, 5]).await, NOTHING);
    assert_eq!(steps.kept(), [2, 2]);
    assert_eq!(steps.lines(&[], &[], [6, 6]).await, ["2,8"]);
}

#[tokio::test]
async fn windows_stand_above_such_a_join_and_below_it() {
    let of = |table: &str| {
        format!(
            "(SELECT window_end, page, count(*) AS n FROM TUMBLE({table}, ts, INTERVAL '10 seconds') GROUP BY window_end, page)"
        )
    };
    let above = "SELECT window_end, count(*) AS clicks, sum(tap) AS taps FROM TUMBLE(
        (SELECT c.ts, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts), ts, INTERVAL '10 seconds')
        GROUP BY window_end"
        .to_owned();
    let of_rows =
        "SELECT c.window_end, count(*) AS clicks, sum(t.id) AS taps FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') c
        ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts GROUP BY c.window_end"
            .to_owned();
    let below = format!(
        "SELECT c.window_end, c.page, c.n, t.n AS before FROM {} c ASOF LEFT JOIN {} t ON t.page = c.page AND c.window_end > t.window_end",
        of("clicks"),
        of("taps")
    );
    let clicks = vec![(1, "a", 0, 1), (2, "a", 0, 9), (3, "b", 0, 12), (4, "a", 0, 25)];
    let taps = [(7, "a", 0, 4), (8, "b", 0, 11), (9, "b", 0, 13), (10, "a", 0, 15)];
    let (arrivals, taps) = arrivals(&clicks, &taps, 5);
    let counts = vec!["1970-01-01T00:00:10,2,7", "1970-01-01T00:00:20,1,8", "1970-01-01T00:00:30,1,10"];
    for (query, expected) in [
        (above, counts.clone()),
        (of_rows, counts),
        (below, vec!["1970-01-01T00:00:10,a,2", "1970-01-01T00:00:20,b,1", "1970-01-01T00:00:30,a,1,1"]),
    ] {
        assert_eq!(in_batch(&query, &clicks, &taps).await, expected, "{query}");
        for cuts in [
            of_one_row(),
            vec![Cut { rows: 3, is_undone: true, ..of_one_row()[0] }],
            vec![Cut { rows: 9, ..of_one_row()[0] }],
        ] {
            assert_eq!(streamed(&query, 1, &arrivals, &cuts).await, expected, "{query}");
        }
    }
}

#[tokio::test]
async fn a_window_above_waits_for_rows_at_its_end_that_wait_for_the_right() {
    let query = "SELECT x.window_end, count(*) AS pages, sum(x.tap) AS taps FROM (
        SELECT c.window_end, t.id AS tap FROM (
            SELECT window_end, page, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_end, page) c
        ASOF LEFT JOIN taps t ON t.page = c.page AND c.window_end >= t.ts) x GROUP BY x.window_end";
    let steps = Steps::of(query).await;
    assert_eq!(steps.lines(&[(1, "a", 0, 1)], &[(7, "a", 0, 4)], [10, 10]).await, NOTHING);
    // A tap at the very end of the window is the nearest.
    assert_eq!(steps.lines(&[], &[(8, "a", 0, 10)], [11, 11]).await, ["1970-01-01T00:00:10,1,8"]);
}

// A row of the right that is followed goes, however far away a partner may be.
#[tokio::test]
async fn rows_that_have_gone_leave_nothing_behind_them() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c
        ASOF JOIN taps t ON t.n = c.n AND c.ts >= t.ts AND c.ts <= t.ts + INTERVAL '1 day'";
    let steps = Steps::of(query).await;
    // Each second another row of each of 500 keys.
    for second in 0..100 {
        let taps: Vec<Row> = (0..500).map(|n| (second * 500 + n, "a", n, second)).collect();
        steps.step(&[], &taps, [Mark::new((second + 1) * SECOND); 2]).await;
    }
    let bytes = steps.pipeline.state_bytes();
    assert!(bytes < 400 << 10, "{bytes} bytes for 500 rows");
}

#[tokio::test]
async fn silence_ends_the_waiting_after_a_restart_as_before() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let steps = Steps::of(query).await;
    assert_eq!(steps.lines(&[(1, "a", 0, 10)], &[(7, "a", 0, 2)], [10, 2]).await, NOTHING);
    let (newest, closes) = ([10 * SECOND, 2 * SECOND], [NONE, 10 * SECOND + 1]);
    assert_eq!(steps.pipeline.close_all_at(&newest), closes);
    assert_eq!(restarted(&steps.pipeline, query, 1).await.close_all_at(&newest), closes);
}

#[tokio::test]
async fn several_streams_are_joined_one_after_the_other() {
    let views = "CREATE VIEW pairs AS SELECT c.id, c.page, c.n, c.ts, t.id AS tap FROM clicks c
        ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts;";
    for query in [
        "SELECT c.id, t.id AS tap, u.id AS next FROM clicks c ASOF LEFT JOIN taps t ON t.page = c.page AND c.ts >= t.ts
         ASOF LEFT JOIN taps u MATCH_CONDITION (c.ts < u.ts) ON u.page = c.page AND u.ts <= c.ts + INTERVAL '9 seconds'"
            .to_owned(),
        format!(
            "{views} SELECT p.id, p.tap, u.id AS next FROM pairs p ASOF LEFT JOIN taps u ON u.page = p.page AND p.ts < u.ts
             AND u.ts <= p.ts + INTERVAL '9 seconds'"
        ),
    ] {
        let clicks = vec![(1, "a", 0, 2), (2, "a", 0, 7), (3, "b", 0, 7), (4, "a", 0, 20)];
        let taps = [(7, "a", 0, 1), (8, "a", 0, 5), (9, "b", 0, 11), (10, "a", 0, 16)];
        let (arrivals, taps) = arrivals(&clicks, &taps, 9);
        let expected = ["1,7,8", "2,8,10", "3,9", "4,10"];
        assert_eq!(in_batch(&query, &clicks, &taps).await, expected, "{query}");
        for cuts in [of_one_row(), vec![Cut { rows: 2, is_restarted: true, is_undone: true, ..of_one_row()[0] }]] {
            assert_eq!(streamed(&query, 1, &arrivals, &cuts).await, expected, "{query}");
        }
    }
    // With another kind of join, and with itself.
    let query = "SELECT c.id, d.id AS other, t.id AS tap FROM clicks c
        JOIN clicks d ON d.n = c.n AND d.id <> c.id AND d.ts BETWEEN c.ts AND c.ts + INTERVAL '3 seconds'
        ASOF JOIN taps t ON t.page = d.page AND d.ts >= t.ts";
    let clicks = vec![(1, "a", 1, 2), (2, "b", 1, 4), (3, "a", 1, 9)];
    let (arrivals, taps) = arrivals(&clicks, &[(7, "b", 0, 1), (8, "b", 0, 4), (9, "b", 0, 5)], 3);
    assert_eq!(streamed(query, 2, &arrivals, &of_one_row()).await, ["1,2,8"]);
    assert_eq!(in_batch(query, &clicks, &taps).await, ["1,2,8"]);
}

const RATES: &str =
    "CREATE TABLE rates (page VARCHAR, n BIGINT, rate BIGINT, at TIMESTAMP(6), PRIMARY KEY (page, n) NOT ENFORCED,
    WATERMARK FOR at AS at - INTERVAL '1 second') WITH ('connector' = 'kafka', 'topic' = 'rates', 'format' = 'json');";

#[tokio::test]
async fn a_table_with_a_key_and_a_watermark_is_read_as_of_a_time() {
    let query = format!(
        "{RATES} SELECT c.id, r.rate FROM clicks c LEFT JOIN rates FOR SYSTEM_TIME AS OF c.ts AS r ON r.page = c.page AND r.n = c.n"
    );
    let pipeline = planned(&query, 1).await;
    assert_eq!(pipeline.operators()[0].id(), "asof-0");
    let rates = |slot: &StreamSlot, rows: &[(&str, i64, i64, i64)]| {
        let line = |(page, n, rate, second): &(&str, i64, i64, i64)| {
            format!(r#"{{"page":"{page}","n":{n},"rate":{rate},"at":{}}}"#, second * 1_000_000)
        };
        let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        json(slot.table.schema(), &text).iter().map(|batch| batch.project(slot.columns()).unwrap()).collect::<Vec<_>>()
    };
    let all = rates(&pipeline.slots[1], &[("a", 1, 10, 1), ("a", 1, 20, 5), ("a", 2, 30, 3), ("a", 1, 25, 9)]);
    let clicks = rows(&pipeline, 0, &[(1, "a", 1, 4), (2, "a", 1, 5), (3, "a", 2, 8), (4, "a", 2, 2)]);
    let output = epoch(&pipeline, vec![clicks, all], NONE, 9 * SECOND).await;
    let mut found = lines(&output.batches);
    found.sort();
    assert_eq!(found, ["1,10", "2,20", "3,30", "4"]);
}

#[tokio::test]
async fn times_of_any_precision_are_compared_as_they_are() {
    let query = "SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN (SELECT id, page, CAST(ts AS TIMESTAMP(9)) AS ts FROM taps) t
        ON t.page = c.page AND c.ts > t.ts AND c.ts <= t.ts + INTERVAL '3 seconds'";
    let clicks = vec![(1, "a", 0, 2), (2, "a", 0, 5), (3, "a", 0, 9)];
    let (arrivals, taps) = arrivals(&clicks, &[(7, "a", 0, 2), (8, "a", 0, 3), (9, "a", 0, 5)], 1);
    let expected = ["1", "2,8", "3"];
    assert_eq!(in_batch(query, &clicks, &taps).await, expected);
    assert_eq!(streamed(query, 1, &arrivals, &of_one_row()).await, expected);
}

// EMIT TIMEOUT: whatever waits is beside the last that has come, but for what lies in a future that nobody believes.
#[tokio::test]
async fn silence_ends_the_waiting_of_all_but_far_rows() {
    let query = "CREATE MATERIALIZED VIEW v AS SELECT c.id, t.id AS tap FROM clicks c ASOF LEFT JOIN taps t ON c.ts >= t.ts EMIT TIMEOUT INTERVAL '3 seconds'";
    let steps = Steps::of(query).await;
    assert_eq!(steps.pipeline.close_all_at(&[NONE, NONE]), [NONE, NONE]);
    let far = 4_000_000_000;
    steps.lines(&[(1, "a", 0, 10), (2, "a", 0, far)], &[(7, "a", 0, 2)], [3, 2]).await;
    let asked = steps.pipeline.close_all_at(&[10 * SECOND, 2 * SECOND]);
    assert_eq!(asked, [NONE, 10 * SECOND + 1]);
    assert_eq!(lines(&steps.step(&[], &[], [Mark::new(3 * SECOND), Mark::new(asked[1])]).await.batches), ["1,7"]);
}

#[tokio::test]
async fn an_epoch_that_has_no_room_leaves_the_state_as_it_was() {
    let query = "SELECT c.id, t.page FROM clicks c ASOF JOIN taps t ON t.page = c.page AND c.ts >= t.ts";
    let mut pipeline = planned(query, 1).await;
    let budget = Budget::new(1 << 20, None);
    pipeline.charge_to(budget.account("query \"v\"")).unwrap();
    let input = |clicks: &[Row], taps: &[Row], at: i64| {
        let taps = taps.iter().map(|row| Arrival::Tap(Tap { row: *row, partition: 0, offset: row.0 }));
        let arrivals: Vec<_> = clicks.iter().map(|row| Arrival::Click(*row)).chain(taps).collect();
        super::asof::input(&pipeline, &arrivals, [Mark::new(at * SECOND); 2])
    };
    pipeline.step(input(&[], &[(1, "a", 0, 1)], 2)).await.unwrap();
    pipeline.commit().unwrap();
    assert_eq!(budget.used(), pipeline.state_bytes());
    let many: Vec<Row> = (0..100_000).map(|id| (id, "a", 0, 5)).collect();
    let cases: [(&[Row], &[Row]); 2] = [(&many, &[]), (&[], &many)];
    for (clicks, taps) in cases {
        let error = pipeline.step(input(clicks, taps, 2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OverBudget);
        let report = error.report();
        assert!(report.contains("query \"v\" needs") && report.contains("the rows of a join"), "{report}");
        pipeline.abort();
        // Neither the rows nor room for their numbers stays.
        assert!(pipeline.state_bytes() < 1 << 19, "{} bytes", pipeline.state_bytes());
    }
    let output = Emitted::of(pipeline.step(input(&[(3, "a", 0, 2)], &[], 3)).await.unwrap());
    assert_eq!(lines(&output.batches), ["3,a"]);
}
