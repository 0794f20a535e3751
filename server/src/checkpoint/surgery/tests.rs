//! What is given up is what was said, and what is gone on from afterwards is whole.

use std::sync::Arc;

use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::inspect::tests::every_kind;
use crate::checkpoint::{Chain, Heartbeat, PartitionState, SourceState, find_chain, read_section, verify};
use crate::clock::Clock;
use crate::tables::Standing;

fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

async fn damage(store: &Store, key: &Path) {
    let mut bytes = store.get(key).await.unwrap().unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.put(key, Bytes::from(bytes)).await.unwrap();
}

async fn opened(store: &Store) -> Result<Manifest> {
    let by = Generation::claim(store).await.unwrap();
    let opened = Chain::open(store, "v", by, "f1", &Clock::manual(9)).await?;
    Ok(opened.manifest.expect("it does not begin anew"))
}

#[tokio::test]
async fn behind_a_damaged_manifest_only_a_drop_goes_on() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    let key = chain.paths().manifest(6);
    damage(&private, &key).await;
    let error = opened(&private).await.unwrap_err();
    let report = error.report();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{report}");
    for said in ["checkpoints 6 to 7 of query \"v\"", "touchline state drop v --from 6"] {
        assert!(report.contains(said), "{report}");
    }

    let found = find_chain(&private, "v").await.unwrap();
    let plan = plan_drop(&private, &public, &found, 6).await.unwrap();
    assert_eq!((plan.base.id, plan.new_id, plan.gone.clone()), (5, 6, vec![6, 7]));
    let files: Vec<String> = plan.set_aside.clone();
    assert_eq!(files.len(), 2, "{files:?}");
    let by = Generation::claim(&private).await.unwrap();
    plan.carry_out(&private, &public, by, 10).await.unwrap();
    let head = opened(&private).await.unwrap();
    assert_eq!((head.id, head.generation), (6, by.number));
    // A hot table that has rows of what is given up is of another history, one that has none is not.
    let (given_up, lineage) = (chain.head(), &head.lineage);
    let believed = |checkpoint, instance| lineage.believes(7, Some(given_up.lineage.id), instance, checkpoint);
    assert!(believed(5, given_up.lineage.instance_of(5)));
    assert!(!believed(6, given_up.lineage.instance_of(6)));
    assert!(believed(6, Some(by.instance)));
    // Its rows and state are those of checkpoint 5, and what came after is in no folder that anybody reads.
    assert_eq!(head.operators[0].segments[0].id, 5);
    let found = find_chain(&private, "v").await.unwrap();
    assert!(verify(&private, Some(&public), &found).await.unwrap().findings.is_empty());
    for file in &files {
        assert_eq!(public.get(&Path::from(file.as_str())).await.unwrap(), None);
        assert!(private.get(&chain.paths().set_aside(file)).await.unwrap().is_some());
    }
    assert_eq!(public.list(&Path::from("v")).await.unwrap().len(), 6 - 2);
}

#[tokio::test]
async fn where_the_whole_chain_is_damaged_a_kept_checkpoint_is_gone_on_from() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    for id in 4..=7 {
        damage(&private, &chain.paths().manifest(id)).await;
    }
    let found = find_chain(&private, "v").await.unwrap();
    let plan = plan_drop(&private, &public, &found, 4).await.unwrap();
    assert_eq!((plan.base.id, plan.new_id, plan.gone.clone()), (1, 4, vec![4, 5, 6, 7]));
    let by = Generation::claim(&private).await.unwrap();
    plan.carry_out(&private, &public, by, 10).await.unwrap();
    let head = opened(&private).await.unwrap();
    assert_eq!((head.id, head.operators.len()), (4, 0));
    assert!(public.list(&Path::from("v")).await.unwrap().is_empty());
    // With that one damaged as well there is nothing left to go on from.
    for id in 4..=5 {
        damage(&private, &chain.paths().manifest(id)).await;
    }
    damage(&private, &chain.paths().kept(1)).await;
    let found = find_chain(&private, "v").await.unwrap();
    let error = plan_drop(&private, &public, &found, 4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.report().contains("without --from"), "{}", error.report());
    assert!(drop_whole(&private, &found).await.unwrap() > 0);
    assert!(find_chain(&private, "v").await.is_err());
}

#[tokio::test]
async fn a_drop_fences_a_server_that_still_runs_the_query() {
    let (private, public) = (store(), store());
    let mut running = every_kind(&private, &public).await;
    let clock = Clock::manual(0);
    let heartbeat = Heartbeat::new(private.clone(), running.generation(), clock.clone());
    heartbeat.watch("v", &running);
    let found = find_chain(&private, "v").await.unwrap();
    assert_eq!(plan_drop(&private, &public, &found, 8).await.unwrap_err().kind(), ErrorKind::Invalid);
    let plan = plan_drop(&private, &public, &found, 7).await.unwrap();
    let by = Generation::claim(&private).await.unwrap();
    plan.carry_out(&private, &public, by, 10).await.unwrap();
    // Also where it has nothing to commit.
    clock.set(60_000_000);
    assert_eq!(heartbeat.check().await.unwrap_err().kind(), ErrorKind::Fenced);
    let draft = running.draft(11);
    assert_eq!(running.commit(draft).await.unwrap_err().kind(), ErrorKind::Fenced);
    // And leaves nothing behind that would be taken for the head.
    let head = opened(&private).await.unwrap();
    assert_eq!((head.id, head.generation), (7, by.number));
}

#[tokio::test]
async fn a_fork_has_its_own_state_and_none_of_the_results() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    let from = chain.head().clone();
    assert_eq!(plan_fork(&private, from.clone(), "v").await.unwrap_err().kind(), ErrorKind::Invalid);
    let plan = plan_fork(&private, from.clone(), "w").await.unwrap();
    assert_eq!(plan.objects.len(), 1);
    let by = Generation::claim(&private).await.unwrap();
    assert!(plan.carry_out(&private, by, 10).await.unwrap() > 0);
    // The original goes, and with it all that it has.
    let found = find_chain(&private, "v").await.unwrap();
    drop_whole(&private, &found).await.unwrap();
    let by = Generation::claim(&private).await.unwrap();
    let opened = Chain::open(&private, "w", by, "f1", &Clock::manual(12)).await.unwrap();
    let head = opened.manifest.expect("the fork");
    assert_eq!((head.id, &head.sources, head.accounting), (1, &from.sources, from.accounting));
    assert_ne!(head.lineage.id, from.lineage.id);
    assert_eq!(head.lineage.incarnations.len(), 1, "{:?}", head.lineage);
    let output = &head.outputs["w"];
    assert!(output.tail.is_empty() && output.sealed.recent.is_empty() && output.hot_runs.is_empty());
    assert_eq!(output.hot_table, None);
    for section in head.sections() {
        read_section(&private, section).await.unwrap();
    }
    assert_eq!(head.sections().count(), 2);
}

// The server's commit goes through between the plan and the end of the drop.
#[tokio::test]
async fn a_server_that_commits_during_a_drop_does_not_go_on_as_if_there_had_been_none() {
    let (private, public) = (store(), store());
    let mut running = every_kind(&private, &public).await;
    let found = find_chain(&private, "v").await.unwrap();
    let plan = plan_drop(&private, &public, &found, 6).await.unwrap();
    let by = Generation::claim(&private).await.unwrap();
    let draft = running.draft(11);
    assert_eq!(running.commit(draft).await.unwrap().id, 8);
    let error = plan.carry_out(&private, &public, by, 12).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{}", error.report());
    assert!(error.report().contains("touchline state drop v --from 6"), "{}", error.report());
    let draft = running.draft(13);
    assert_eq!(running.commit(draft).await.unwrap_err().kind(), ErrorKind::Fenced);
    // What that attempt has left goes with the drop that is asked for.
    let found = find_chain(&private, "v").await.unwrap();
    let plan = plan_drop(&private, &public, &found, 6).await.unwrap();
    let by = Generation::claim(&private).await.unwrap();
    plan.carry_out(&private, &public, by, 14).await.unwrap();
    let head = opened(&private).await.unwrap();
    assert_eq!((head.id, head.generation, head.operators[0].segments[0].id), (6, by.number, 5));
}

#[tokio::test]
async fn a_fork_that_was_cut_off_can_be_done_again() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    let paths = QueryPaths::new("w");
    private.put(&paths.bundle(1, 1, Uuid::new_v4()), Bytes::from_static(b"half")).await.unwrap();
    let plan = plan_fork(&private, chain.head().clone(), "w").await.unwrap();
    let by = Generation::claim(&private).await.unwrap();
    plan.carry_out(&private, by, 10).await.unwrap();
    // Now it is begun.
    let error = plan_fork(&private, chain.head().clone(), "w").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

// Its offset is a number of a checkpoint: once the view has run past it again, other rows would lie behind it.
#[tokio::test]
async fn what_another_query_has_read_as_a_view_is_not_given_up_under_it() {
    let (private, public) = (store(), store());
    every_kind(&private, &public).await;
    let by = Generation::claim(&private).await.unwrap();
    let mut down = Chain::open(&private, "down", by, "f2", &Clock::manual(8)).await.unwrap().chain;
    for (next, refused) in [(6, false), (7, true)] {
        let mut draft = down.draft(9);
        let offsets = BTreeMap::from([(0, PartitionState { next, event_time_max: None })]);
        draft.sources.insert("v".to_owned(), SourceState { offsets, ..SourceState::default() });
        down.commit(draft).await.unwrap();
        let found = find_chain(&private, "v").await.unwrap();
        let plan = plan_drop(&private, &public, &found, 6).await;
        assert_eq!(plan.is_err(), refused, "next {next}");
        if let Err(error) = plan {
            let report = error.report();
            for said in
                ["query \"down\" has read what would be given up of \"v\"", "touchline state drop down --from N"]
            {
                assert!(report.contains(said), "{report}");
            }
        }
    }
    // What has read no further than what stays is left in peace.
    let found = find_chain(&private, "down").await.unwrap();
    assert!(plan_drop(&private, &public, &found, found.ids[2]).await.is_ok());
}
