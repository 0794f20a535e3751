use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::manifest::tests::section;
use crate::checkpoint::{Generation, OutputState, read_section};
use crate::clock::Clock;

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

async fn open(store: &Store) -> Chain {
    let generation = Generation::claim(store).await.unwrap();
    Chain::open(store, "v", generation, "f1", &Clock::manual(7)).await.unwrap().chain
}

fn run(checkpoint: u64, section: crate::checkpoint::Section) -> HotRun {
    let at = checkpoint as Micros;
    HotRun { from: checkpoint, to: checkpoint, created_at: at, until: Some(at), section }
}

fn output(runs: Vec<HotRun>, applied: u64) -> OutputState {
    let hot_table = Some(HotTableState { applied, floor: 0, lists: vec![] });
    OutputState { hot_runs: runs, hot_table, ..OutputState::default() }
}

#[tokio::test]
async fn the_manifest_names_a_few_dozen_however_many_there_are_and_none_is_lost() {
    let store = memory();
    let chain = open(&store).await;
    let mut draft = chain.draft(0);
    draft.outputs.insert("v".to_owned(), output(vec![], 0));
    let runs = 1_500;
    for checkpoint in 1..=runs {
        // A few are not applied yet.
        let state = draft.outputs.get_mut("v").unwrap();
        state.hot_runs.push(run(checkpoint, section("bundle")));
        state.hot_table.as_mut().unwrap().applied = checkpoint.saturating_sub(5);
        draft.attempt = uuid::Uuid::new_v4();
        chain.fold_hot_runs(&mut draft).await.unwrap();
        let state = &draft.outputs["v"];
        let lists = state.hot_table.as_ref().unwrap().lists.len();
        assert!(state.hot_runs.len() + lists <= 64, "{} runs and {lists} lists", state.hot_runs.len());
        assert!(state.hot_runs.iter().filter(|run| run.to + 5 > checkpoint).count() >= checkpoint.min(5) as usize);
    }
    let state = &draft.outputs["v"];
    let mut all = Vec::new();
    for list in &state.hot_table.as_ref().unwrap().lists {
        let read = read_hot_runs(&store, list).await.unwrap();
        assert_eq!((read[0].from, read[read.len() - 1].to, read.len() as u64), (list.from, list.to, list.runs));
        assert_eq!(list.until, list.to as Micros);
        all.extend(read);
    }
    all.extend(state.hot_runs.iter().cloned());
    assert_eq!(all.iter().map(|run| run.to).collect::<Vec<_>>(), (1..=runs).collect::<Vec<_>>());
}

#[tokio::test]
async fn checkpoints_that_are_too_large_to_be_put_together_move_to_lists_as_well() {
    let store = memory();
    let chain = open(&store).await;
    let mut draft = chain.draft(0);
    draft.outputs.insert("v".to_owned(), output(vec![], 0));
    for checkpoint in 1..=1_000_u64 {
        let state = draft.outputs.get_mut("v").unwrap();
        let (created_at, section) = (checkpoint as Micros, section("bundle"));
        state.hot.push(TailEntry { checkpoint, created_at, section, dates: BTreeMap::new() });
        state.hot_table.as_mut().unwrap().applied = checkpoint.saturating_sub(5);
        draft.attempt = uuid::Uuid::new_v4();
        chain.fold_hot_runs(&mut draft).await.unwrap();
        let state = &draft.outputs["v"];
        let lists = state.hot_table.as_ref().unwrap().lists.len();
        let named = state.hot.len() + state.hot_runs.len() + lists;
        assert!(named <= 260, "{named} after {checkpoint}");
    }
    let state = &draft.outputs["v"];
    let mut all = Vec::new();
    for list in &state.hot_table.as_ref().unwrap().lists {
        all.extend(read_hot_runs(&store, list).await.unwrap());
    }
    all.extend(state.hot_runs.iter().cloned());
    let all = all.iter().map(|run| run.to).chain(state.hot.iter().map(|entry| entry.checkpoint));
    assert_eq!(all.collect::<Vec<_>>(), (1..=1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_bundle_that_only_a_list_names_is_kept_as_long_as_the_list_is() {
    let store = memory();
    let mut chain = open(&store).await;
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let rows = RecordBatch::try_from_iter([("n", rows)]).unwrap();
    let mut draft = chain.draft(0);
    let mut bundle = chain.bundle(&draft, None);
    let written = bundle.add(&[rows]).unwrap();
    chain.put_bundle(bundle).await.unwrap();
    let runs: Vec<HotRun> = (1..=40).map(|checkpoint| run(checkpoint, written.clone())).collect();
    draft.outputs.insert("v".to_owned(), output(runs, 40));
    chain.fold_hot_runs(&mut draft).await.unwrap();
    // From now on a list alone names the bundle.
    draft.outputs.get_mut("v").unwrap().hot_runs.clear();
    let list = draft.outputs["v"].hot_table.as_ref().unwrap().lists[0].clone();
    chain.commit(draft).await.unwrap();
    for _ in 0..4 {
        chain.commit(chain.draft(0)).await.unwrap();
        chain.collect_garbage(2).await.unwrap();
    }
    assert_eq!(read_hot_runs(&store, &list).await.unwrap().len(), 24);
    assert_eq!(read_section(&store, &written).await.unwrap().len(), 1);

    let mut draft = chain.draft(0);
    draft.outputs.get_mut("v").unwrap().hot_table.as_mut().unwrap().lists.clear();
    chain.commit(draft).await.unwrap();
    for _ in 0..4 {
        chain.commit(chain.draft(0)).await.unwrap();
        chain.collect_garbage(2).await.unwrap();
    }
    assert_eq!(read_hot_runs(&store, &list).await.unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
    assert!(read_section(&store, &written).await.is_err());
}

#[tokio::test]
async fn any_flipped_or_missing_byte_of_a_list_is_found() {
    let store = memory();
    let chain = open(&store).await;
    let mut draft = chain.draft(0);
    let runs = (1..=33).map(|checkpoint| run(checkpoint, section("bundle"))).collect();
    draft.outputs.insert("v".to_owned(), output(runs, 33));
    chain.fold_hot_runs(&mut draft).await.unwrap();
    let list = draft.outputs["v"].hot_table.as_ref().unwrap().lists[0].clone();
    let key = Path::from(list.object.as_str());
    let whole = store.get(&key).await.unwrap().unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x01;
        for bytes in [flipped, whole[..at].to_vec()] {
            store.put(&key, bytes.into()).await.unwrap();
            assert_eq!(read_hot_runs(&store, &list).await.unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
        }
    }
}
