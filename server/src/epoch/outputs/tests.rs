use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::Chain;
use crate::clock::Clock;
use crate::error::ErrorKind;

const CHECKPOINTS: i64 = 500;

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
    let limits = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::ZERO };
    output.plan_seal(limits, chain.paths(), chain.generation(), chain.head(), 7);
    let mut draft = chain.draft(7);
    let mut bundle = chain.bundle(&draft, None);
    output.put_hot_together(private, &mut draft, &mut bundle).await?;
    output.stage(&mut draft, &mut bundle, Some(DAY))?;
    chain.fold_hot_runs(&mut draft).await?;
    chain.fold_sealed(&mut draft).await?;
    chain.put_bundle(bundle).await?;
    chain.commit(draft).await?;
    output.committed(chain.head());
    output.write_seals(private, public, None, "v", chain.head()).await?;
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

#[tokio::test]
async fn what_postgres_has_is_forgotten_by_the_next_checkpoint() -> Result<()> {
    let (private, public) = (store(), store());
    let generation = Generation::claim(&private).await?;
    let mut chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await?.chain;
    let mut output = new_output(batch(0).schema());
    for value in 0..70 {
        output.add(vec![batch(value)].into());
        checkpoint(&mut output, &mut chain, &private, &public).await?;
    }
    let last = chain.head().id;
    assert!(!output.forget_hot(0));
    assert!(output.forget_hot(last - 1));
    assert_eq!((output.backlog().rows, output.backlog().entries), (1, 1));
    assert!(output.forget_hot(last));
    assert!(!output.has_hot());
    checkpoint(&mut output, &mut chain, &private, &public).await?;
    let state = super::super::output_state(chain.head(), "v").expect("it has rows");
    assert_eq!((state.hot.len(), state.hot_runs.len()), (0, 0));
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
