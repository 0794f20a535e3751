use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;
use crate::checkpoint::{Chain, damage_of, read_hot_runs};
use crate::clock::DAY_MICROS;
use crate::epoch::sealing::SealWriter;
use crate::error::ErrorKind;

const CHECKPOINTS: i64 = 500;

/// For how long rows are kept that the hot table has had.
const DAY: Micros = 86_400_000_000;

fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

fn batch(value: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![value]));
    RecordBatch::try_from_iter([("n", column)]).expect("one column")
}

fn new_output(schema: SchemaRef) -> Output {
    output_of(&Changes::Append, schema)
}

fn output_of(changes: &Changes, schema: SchemaRef) -> Output {
    Output::new("v".to_owned(), None, changes, Arc::new(PublishedView::new("v", schema)))
}

/// What the loop does at a checkpoint, in its order.
async fn checkpoint(output: &mut Output, chain: &mut Chain, private: &Store, public: &Store) -> Result<()> {
    checkpoint_at(7, Some(DAY), output, chain, private, public).await
}

async fn checkpoint_at(
    now: Micros,
    hot: Option<Micros>,
    output: &mut Output,
    chain: &mut Chain,
    private: &Store,
    public: &Store,
) -> Result<()> {
    let limits = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::ZERO };
    output.plan_seal(limits, chain.paths(), chain.generation(), chain.head(), &Clock::manual(now));
    let mut draft = chain.draft(now);
    let mut bundle = chain.bundle(&draft, None);
    output.put_hot_together(private, &mut draft, &mut bundle).await?;
    output.stage(&mut draft, &mut bundle, hot)?;
    chain.fold_hot_runs(&mut draft).await?;
    chain.fold_sealed(&mut draft).await?;
    chain.put_bundle(bundle).await?;
    chain.commit(draft).await?;
    output.committed(chain.head());
    let (private, public) = (private.clone(), public.clone());
    let writer = SealWriter { query: "v".to_owned(), private, public, disk: None };
    for job in output.seal_jobs(0, chain.head()) {
        let files = writer.write(&job).await?;
        output.note_sealed(job.intent.seal, files);
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_wait_for_the_hot_table_are_neither_held_in_memory_nor_listed_one_by_one() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    for value in 0..CHECKPOINTS {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
        let state = super::super::output_state(chain.head(), "v").expect("it has rows");
        let listed = state.hot.len() + state.hot_runs.len();
        assert!(listed <= 64, "{listed} entries in the manifest after {value} checkpoints");
        assert!(output.rows.len() <= 3, "rows of {} checkpoints in memory", output.rows.len());
        let held = output.waiting.iter().filter(|waiting| waiting.rows.is_some()).count();
        assert!(held <= output.rows.len(), "{held} entries hold rows");
        if value % 64 == 0 {
            chain.collect_garbage(2).await?;
        }
    }
    assert_eq!(output.backlog().rows, CHECKPOINTS as u64);

    // The next server finds them all, in order, in the bundles that clean-up has left.
    let generation = Generation::claim(&private).await?;
    let chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(8)).await?.chain;
    let mut restored = new_output(batch(0).schema());
    restored.restore(&private, chain.head(), &Account::unlimited(), None).await?;
    assert_eq!(restored.backlog(), output.backlog());
    let (mut applied, mut found) = (0, Vec::new());
    while let Some((to, batches)) = backlog::next_batch(&private, restored.waiting(), applied).await? {
        applied = to;
        found.extend(batches.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()));
    }
    assert_eq!(found, (0..CHECKPOINTS).collect::<Vec<_>>());
    Ok(())
}

/// The rows that a hot table at `at` is given, with where they reach to.
async fn given(output: &Output, private: &Store, at: u64) -> Result<Vec<i64>> {
    let (mut applied, mut found) = (at, Vec::new());
    while let Some((to, batches)) = backlog::next_batch(private, output.waiting(), applied).await? {
        applied = to;
        found.extend(batches.iter().flat_map(|rows| rows.column(0).as_primitive::<Int64Type>().values().to_vec()));
    }
    Ok(found)
}

#[tokio::test]
async fn what_postgres_has_waits_no_more_and_is_kept_for_a_day() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    for value in 0..70 {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
    }
    let last = chain.head().id;
    assert!(!output.note_applied(0));
    assert!(output.note_applied(last - 1));
    assert_eq!((output.backlog().rows, output.backlog().entries), (1, 1));
    assert!(output.note_applied(last));
    assert!(!output.has_hot());
    checkpoint(&mut output, &mut chain, &private, &public).await?;
    let table = chain.head().outputs["v"].hot_table.clone().expect("its rows are known");
    assert_eq!((table.applied, table.floor), (last, 0));
    // Set back, it gets what it lacks, also from the next server; nothing of that holds the query up.
    let mut restored = new_output(batch(0).schema());
    restored.restore(&private, chain.head(), &Account::unlimited(), None).await?;
    for output in [&mut output, &mut restored] {
        assert!(!output.has_hot());
        assert_eq!(output.hot_needs(last - 69), Needs::RowsAfter(last - 69));
        output.go_on_from(last - 69, &[]);
        assert_eq!(given(output, &private, last - 69).await?, (1..70).collect::<Vec<_>>());
        assert_eq!((output.backlog().rows > 0, output.new_backlog().rows), (true, 0));
        output.note_applied(last);
    }
    // A day later they are gone, and whoever lacks them needs all rows.
    checkpoint_at(8 + DAY, Some(DAY), &mut output, &mut chain, &private, &public).await?;
    let state = &chain.head().outputs["v"];
    assert_eq!((state.hot.len(), state.hot_runs.len()), (0, 0));
    assert_eq!(output.hot_needs(last), Needs::RowsAfter(last));
    assert_eq!(output.hot_needs(last - 1), Needs::All { floor: last });
    assert_eq!(output.hot_needs(0), Needs::All { floor: last });
    Ok(())
}

#[tokio::test]
async fn a_damaged_bundle_of_rows_that_the_table_has_had_does_not_stop_the_query() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    for value in 0..64 {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
        output.note_applied(chain.head().id);
    }
    let (last, kept) = (chain.head().id, &chain.head().outputs["v"].hot);
    assert_eq!(kept.len(), 64, "with the next they are put together");
    private.delete(&Path::from(kept[10].section.object.as_str())).await?;
    output.add(vec![batch(64)].into());
    checkpoint(&mut output, &mut chain, &private, &public).await?;
    let state = &chain.head().outputs["v"];
    assert_eq!((state.hot.len(), state.hot_runs.len()), (1, 0), "the new row alone");
    assert_eq!(output.hot_needs(last), Needs::RowsAfter(last));
    assert_eq!(output.hot_needs(last - 1), Needs::All { floor: last });
    Ok(())
}

#[tokio::test]
async fn a_hot_table_that_was_switched_off_while_rows_came_needs_all_of_them() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    let (mut heads, mut next) = (Vec::new(), 0);
    for (hot, rows) in [(Some(DAY), true), (None, false), (Some(DAY), false), (None, true), (Some(DAY), true)] {
        if rows {
            output.add(vec![batch(next)].into());
            next += 1;
        }
        checkpoint_at(7, hot, &mut output, &mut chain, &private, &public).await?;
        if hot.is_some() {
            output.note_applied(chain.head().id);
        }
        let mut opened = new_output(batch(0).schema());
        opened.restore(&private, chain.head(), &Account::unlimited(), None).await?;
        heads.push((chain.head().id, opened));
    }
    let needs = |at: usize, of: usize| heads[at].1.hot_needs(heads[of].0);
    assert_eq!(needs(0, 0), Needs::RowsAfter(heads[0].0));
    // Nothing came meanwhile, so the table has all there is.
    assert_eq!(needs(2, 0), Needs::RowsAfter(heads[0].0));
    assert_eq!(needs(4, 0), Needs::All { floor: heads[3].0 });
    assert_eq!(needs(4, 3), Needs::RowsAfter(heads[3].0), "made anew since, it goes on");
    Ok(())
}

#[tokio::test]
async fn a_table_of_another_time_gets_older_runs_from_their_lists() -> Result<()> {
    const HOUR: Micros = 3_600_000_000;
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    // Two checkpoints an hour: no run has more, so there are many of them.
    let rows = 600;
    for value in 0..rows {
        output.add(vec![batch(value)].into());
        checkpoint_at(value * HOUR / 2, Some(DAY * 365), &mut output, &mut chain, &private, &public).await?;
        output.note_applied(chain.head().id);
        if value % 50 == 0 {
            chain.collect_garbage(2).await?;
        }
    }
    checkpoint_at(rows * HOUR / 2, Some(DAY * 365), &mut output, &mut chain, &private, &public).await?;
    chain.collect_garbage(2).await?;
    let state = &chain.head().outputs["v"];
    let table = state.hot_table.as_ref().expect("its rows are known");
    let named = state.hot_runs.len() + table.lists.len();
    assert!(!table.lists.is_empty() && named <= 64, "{named} runs and lists are named");
    let mut older = Vec::new();
    for list in &table.lists {
        older.extend(read_hot_runs(&private, list).await?);
    }
    output.go_on_from(0, &older);
    assert_eq!(given(&output, &private, 0).await?, (0..rows).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn only_rows_that_change_as_those_before_them_go_on_from_a_checkpoint() -> Result<()> {
    let private = store();
    let generation = Generation::claim(&private).await?;
    let chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let kinds = [
        (Changes::Append, OutputChanges::Append),
        (Changes::Upsert(vec![0]), OutputChanges::Upsert(vec!["n".to_owned()])),
        (Changes::Retract, OutputChanges::Retract),
    ];
    for (written, said) in &kinds {
        let mut draft = chain.draft(7);
        let mut bundle = chain.bundle(&draft, None);
        output_of(written, batch(0).schema()).stage(&mut draft, &mut bundle, Some(DAY))?;
        assert_eq!(draft.outputs["v"].changes, *said);
        for (own, needed) in &kinds {
            let mut output = output_of(own, batch(0).schema());
            let restored = output.restore(&private, &draft, &Account::unlimited(), None).await;
            assert_eq!(restored.is_ok(), own == written, "{written:?}, {own:?}");
            let Err(error) = restored else { continue };
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let (report, differs) = (error.report(), format!("is {said:?}, the query needs {needed:?}"));
            assert!(report.contains(&differs) && report.contains("rename the view"), "{report}");
        }
    }
    Ok(())
}

const SECOND: Micros = 1_000_000;

/// Whether rows of a minute are to be sealed.
fn is_due(output: &mut Output, chain: &Chain, clock: &Clock) -> bool {
    let limits = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::from_secs(60) };
    output.plan_seal(limits, chain.paths(), chain.generation(), chain.head(), clock)
}

// Ahead, then right; behind, then right. And the same with a start in between.
#[tokio::test]
async fn rows_are_sealed_at_their_age_whatever_was_done_to_the_clock() -> Result<()> {
    const RIGHT: Micros = 100 * DAY_MICROS;
    for (wrong_by, restarted) in
        [(3 * DAY_MICROS, false), (-3 * DAY_MICROS, false), (3 * DAY_MICROS, true), (-3 * DAY_MICROS, true)]
    {
        let private = store();
        let clock = Clock::manual(RIGHT);
        let generation = Generation::claim(&private).await?;
        let mut chain = Chain::open(&private, "v", generation, "f1", &clock).await?.chain;
        let mut output = new_output(batch(0).schema());
        assert!(!is_due(&mut output, &chain, &clock));

        clock.set_wall(RIGHT + wrong_by);
        output.add(vec![batch(1)].into());
        let mut draft = chain.draft(clock.now());
        let mut bundle = chain.bundle(&draft, None);
        output.stage(&mut draft, &mut bundle, None)?;
        chain.put_bundle(bundle).await?;
        chain.commit(draft).await?;
        output.committed(chain.head());
        assert!(!is_due(&mut output, &chain, &clock));

        clock.set_wall(RIGHT);
        if restarted {
            output = new_output(batch(0).schema());
            output.restore(&private, chain.head(), &Account::unlimited(), None).await?;
            output.see_tail(chain.head(), &clock);
        }
        // Nobody can tell that a process before this one had a clock that was behind: its rows go at once, which is no harm.
        let seems_old = restarted && wrong_by < 0;
        clock.set(RIGHT + 59 * SECOND);
        assert_eq!(is_due(&mut output, &chain, &clock), seems_old, "wrong by {wrong_by}, restarted: {restarted}");
        clock.set(RIGHT + 60 * SECOND);
        assert!(is_due(&mut output, &chain, &clock), "wrong by {wrong_by}, restarted: {restarted}");
    }
    Ok(())
}

#[tokio::test]
async fn names_of_sealed_files_are_shared_by_all_that_is_shown() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    let mut shown = Vec::new();
    for value in 0..12 {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
        output.publish(chain.head());
        shown.push(output.view().pin());
    }
    let last = shown.last().expect("it has been shown");
    assert!(last.sealed.len() > 2, "{:?}", last.sealed);
    for before in &shown {
        assert!(before.sealed.iter().zip(last.sealed.iter()).all(|(before, last)| Arc::ptr_eq(before, last)));
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_read_of_the_rows_for_the_hot_table_is_let_go_and_a_table_that_lacks_it_is_made_anew()
-> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    for value in 0..70 {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
    }
    let state = super::super::output_state(chain.head(), "v").expect("it has rows");
    let run = state.hot_runs.last().expect("they are put together").clone();
    let key = object_store::path::Path::from(run.section.object.as_str());
    let mut bytes = private.get(&key).await?.expect("a bundle").to_vec();
    bytes[usize::try_from(run.section.offset + run.section.length / 2).expect("few")] ^= 1;
    private.put(&key, bytes.into()).await?;
    let damage = damage_of(&private, chain.head()).await?;
    assert!(damage.leaves_state_and_rows(), "{damage:?}");
    assert_eq!(damage.hot, BTreeMap::from([("v".to_owned(), run.to)]));

    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(8)).await?.chain;
    let mut restored = new_output(batch(0).schema());
    restored.give_up_hot(run.to);
    restored.restore(&private, chain.head(), &Account::unlimited(), None).await?;
    assert_eq!(restored.hot_needs(run.to - 1), Needs::All { floor: run.to });
    assert_eq!(restored.hot_needs(run.to), Needs::RowsAfter(run.to));
    checkpoint(&mut restored, &mut chain, &private, &public).await?;
    assert!(damage_of(&private, chain.head()).await?.is_empty());
    Ok(())
}
