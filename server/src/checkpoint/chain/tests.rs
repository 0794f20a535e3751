//! One head, never two: whatever the store answers, whoever else writes, wherever a server is killed.

use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::checkpoint::{
    Accounting, OperatorState, OutputState, Section, SegmentRef, TailEntry, read_sealed_files, read_section,
};
use crate::store::StoreSettings;
use crate::tables::SealedFile;

const RETRY: Retry = Retry { attempts: 3, pause: Duration::ZERO };
const QUERY: &str = "momentum";

fn memory() -> Store {
    Store::over(std::sync::Arc::new(InMemory::new()), "memory://")
}

async fn open_as(store: &Store, generation: Generation) -> Result<Opened> {
    Chain::open_with(store, QUERY, generation, "f1", &Clock::manual(7), RETRY).await
}

/// A new server start that takes the chain over.
async fn start(store: &Store) -> Opened {
    let generation = Generation::claim_with(store, RETRY).await.unwrap();
    open_as(store, generation).await.unwrap()
}

fn counted(chain: &Chain, rows_in: u64) -> Manifest {
    Manifest { accounting: Accounting { rows_in, ..Accounting::default() }, ..chain.draft(rows_in as i64) }
}

async fn commit(chain: &mut Chain, rows_in: u64) -> Result<Committed> {
    let draft = counted(chain, rows_in);
    chain.commit(draft).await
}

fn rows(values: &[i64]) -> Vec<RecordBatch> {
    let column: arrow::array::ArrayRef = std::sync::Arc::new(Int64Array::from(values.to_vec()));
    vec![RecordBatch::try_from_iter([("n", column)]).unwrap()]
}

fn segment(id: u64, section: Section) -> SegmentRef {
    SegmentRef { id, input: 0, shard: 0, pane: 0, level: 0, section }
}

fn operator(segments: Vec<SegmentRef>) -> OperatorState {
    let text = |text: &str| text.to_owned();
    let (id, kind, schema_sha256) = (text("w"), text("tumble"), text("s"));
    OperatorState { id, kind, state_version: 1, schema_sha256, watermark: None, marks: vec![], position: 0, segments }
}

/// Commits a checkpoint whose state is the given segments and one new one.
async fn commit_segment(chain: &mut Chain, keep: Vec<SegmentRef>, value: i64) -> SegmentRef {
    let mut draft = chain.draft(0);
    let mut bundle = chain.bundle(&draft, None);
    let added = segment(draft.id, bundle.add(&rows(&[value])).unwrap());
    chain.put_bundle(bundle).await.unwrap();
    draft.operators = vec![operator([keep, vec![added.clone()]].concat())];
    chain.commit(draft).await.unwrap();
    added
}

async fn names(store: &Store, folder: Path) -> Vec<String> {
    let mut names: Vec<_> = store.list(&folder).await.unwrap().iter().map(Path::to_string).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_new_query_starts_empty_and_goes_on_where_it_was() {
    let store = memory();
    let Opened { mut chain, manifest } = start(&store).await;
    assert!(manifest.is_none());
    assert_eq!((chain.head().id, &chain.head().parent_sha256), (1, &None));
    for n in 1..=30 {
        assert_eq!(commit(&mut chain, n).await.unwrap().id, n + 1);
    }
    let Opened { chain, manifest } = start(&store).await;
    let manifest = manifest.unwrap();
    assert_eq!((manifest.id, manifest.generation, manifest.accounting.rows_in), (31, 1, 30));
    assert_eq!((chain.head().id, chain.head().generation, chain.head().accounting.rows_in), (32, 2, 30));
    assert_eq!(Chain::peek(&store, QUERY).await.unwrap().as_ref(), Some(chain.head()));
    assert_eq!(Chain::peek(&store, "other").await.unwrap(), None);
}

#[tokio::test]
async fn a_directory_keeps_the_chain_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = async || Store::open(directory.path().to_str().unwrap(), &StoreSettings::default()).await.unwrap();
    let store = open().await;
    let Opened { mut chain, .. } = start(&store).await;
    let added = commit_segment(&mut chain, vec![], 5).await;
    drop((chain, store));
    let store = open().await;
    let restored = start(&store).await.manifest.unwrap();
    assert_eq!(restored.operators, [operator(vec![added.clone()])]);
    assert_eq!(read_section(&store, &added.section).await.unwrap(), rows(&[5]));
}

#[tokio::test]
async fn whatever_the_store_answers_a_checkpoint_is_committed_exactly_once() {
    use Fault::*;
    let puts = [None, Before, After, FalseExists, OwnExists, FalsePrecondition];
    let looks = [vec![], vec![Before], vec![Before, Before], vec![Before; 3]];
    let mut in_doubt = 0;
    for n in 0..puts.len().pow(3) {
        let faults = [puts[n / 36], puts[n / 6 % 6], puts[n % 6]];
        for look in &looks {
            let faulty = FaultyStore::new();
            let Opened { mut chain, .. } = start(&faulty.store()).await;
            faulty.fail_puts("/ckpt/", faults);
            faulty.fail_gets("/ckpt/", look.clone());
            let case = format!("puts {faults:?}, looks {look:?}");
            match commit(&mut chain, 42).await {
                Ok(committed) => assert_eq!(committed.id, 2, "{case}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error:?}");
                    in_doubt += 1;
                    assert_eq!(commit(&mut chain, 43).await.unwrap_err().kind(), ErrorKind::Bug, "{case}");
                    let settled = async {
                        // Faults that are left over may hit the repetition too.
                        for _ in 0..6 {
                            if let Ok(committed) = chain.settle().await {
                                return committed;
                            }
                        }
                        panic!("never settled: {case}")
                    };
                    assert_eq!(settled.await.id, 2, "{case}");
                }
            }
            let created =
                faulty.log.lock().iter().filter(|key| key.ends_with("/ckpt/00000000000000000002.json")).count();
            assert_eq!(created, 1, "{case}");
            faulty.fail_puts("/ckpt/", []);
            faulty.fail_gets("/ckpt/", []);
            commit(&mut chain, 44).await.unwrap();
            let head = Chain::peek(&faulty.sound(), QUERY).await.unwrap().unwrap();
            assert_eq!((head.id, head.accounting.rows_in), (3, 44), "{case}");
        }
    }
    assert!(in_doubt > 0, "the faults must be able to leave a commit in doubt");
}

#[tokio::test]
async fn a_server_killed_in_doubt_resumes_from_whatever_happened() {
    for (fault, resumed) in [(Fault::Before, 0), (Fault::After, 42)] {
        let faulty = FaultyStore::new();
        let Opened { mut chain, .. } = start(&faulty.store()).await;
        faulty.fail_puts("/ckpt/", [fault, Fault::Before, Fault::Before]);
        faulty.fail_gets("/ckpt/", [Fault::Before; 3]);
        assert_eq!(commit(&mut chain, 42).await.unwrap_err().kind(), ErrorKind::Unavailable);
        drop(chain);
        let Opened { manifest, .. } = start(&faulty.sound()).await;
        assert_eq!(manifest.unwrap().accounting.rows_in, resumed);
    }
}

#[tokio::test]
async fn the_server_before_is_fenced_and_told_by_whom() {
    for faults in [vec![], vec![Fault::Before], vec![Fault::FalseExists], vec![Fault::FalsePrecondition, Fault::Before]]
    {
        let faulty = FaultyStore::new();
        let Opened { chain: mut old, .. } = start(&faulty.store()).await;
        commit(&mut old, 1).await.unwrap();
        let Opened { chain: mut new, .. } = start(&faulty.sound()).await;
        faulty.fail_puts("/ckpt/", faults);
        let error = commit(&mut old, 2).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let winner = format!("taken over by generation 2, instance {}", new.generation().instance);
        assert!(error.primary().contains(&winner), "{error:?}");

        let draft = old.draft(0);
        let bundle = old.bundle(&draft, None);
        assert_eq!(old.put_bundle(bundle).await.unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(old.commit(draft).await.unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(old.collect_garbage(2).await.unwrap_err().kind(), ErrorKind::Fenced);
        commit(&mut new, 3).await.unwrap();
        assert_eq!(new.head().id, 4);
    }
}

#[tokio::test]
async fn an_older_server_cannot_take_the_chain_back() {
    let store = memory();
    let first = Generation::claim_with(&store, RETRY).await.unwrap();
    let second = Generation::claim_with(&store, RETRY).await.unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    open_as(&store, second).await.unwrap();
    assert_eq!(open_as(&store, first).await.unwrap_err().kind(), ErrorKind::Fenced);
    let twin = Generation { number: 2, instance: Uuid::new_v4() };
    assert_eq!(open_as(&store, twin).await.unwrap_err().kind(), ErrorKind::Fenced);
    // The same server may open it again, which fences its own earlier run of the query.
    open_as(&store, second).await.unwrap();
}

#[tokio::test]
async fn a_changed_query_is_refused_and_does_not_disturb_the_one_that_runs() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let other = Generation::claim_with(&store, RETRY).await.unwrap();
    let refused = Chain::open_with(&store, QUERY, other, "f2", &Clock::manual(0), RETRY).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert!(refused.report().contains("has fingerprint f1, the query has f2"));
    commit(&mut chain, 1).await.unwrap();
}

#[tokio::test]
async fn servers_that_duel_leave_one_history_that_holds_every_commit() {
    for seed in 0..60u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let faulty = FaultyStore::new();
        let store = faulty.store();
        let mut servers: Vec<Option<Chain>> = vec![None, None, None];
        let mut committed = Vec::new();
        for step in 1..=40 {
            let server = random(3) as usize;
            let faults = [Fault::None, Fault::Before, Fault::After, Fault::FalseExists, Fault::OwnExists];
            faulty.fail_puts("/ckpt/", (0..2).map(|_| faults[random(5) as usize]).collect::<Vec<_>>());
            match &mut servers[server] {
                None => servers[server] = Some(start(&store).await.chain),
                Some(chain) => match commit(chain, step).await {
                    Ok(done) => committed.push((done.id, step)),
                    Err(error) if error.kind() == ErrorKind::Fenced => servers[server] = None,
                    Err(error) => panic!("seed {seed}: {error:?}"),
                },
            }
        }
        let (mut parent, mut id) = (None, 1);
        let mut found = Vec::new();
        while let Some(bytes) = faulty.sound().get(&QueryPaths::new(QUERY).manifest(id)).await.unwrap() {
            let (manifest, sha256) = Manifest::decode(&bytes, "m").unwrap();
            assert_eq!(manifest.parent_sha256, parent, "seed {seed}, manifest {id}");
            found.push((id, manifest.accounting.rows_in));
            parent = Some(sha256);
            id += 1;
        }
        assert!(!committed.is_empty());
        for commit in &committed {
            assert!(found.contains(commit), "seed {seed}: {commit:?} was promised, the chain is {found:?}");
        }
    }
}

#[tokio::test]
async fn a_sleeper_cannot_commit_into_the_hole_that_clean_up_left() {
    let store = memory();
    let Opened { chain: mut sleeper, .. } = start(&store).await;
    for n in 1..5 {
        commit(&mut sleeper, n).await.unwrap();
    }
    let Opened { chain: mut awake, .. } = start(&store).await;
    // Two sleepers: one filled the hole before the other's.
    let Opened { chain: mut second_sleeper, .. } = start(&store).await;
    let Opened { chain: mut third, .. } = start(&store).await;
    for n in 10..30 {
        commit(&mut third, n).await.unwrap();
    }
    third.collect_garbage(3).await.unwrap();
    // In the place of its parent the second has what the first has just created: what stands on that goes again.
    for (chain, stays) in [(&mut sleeper, true), (&mut awake, false), (&mut second_sleeper, true)] {
        let key = chain.paths.manifest(chain.head().id + 1);
        assert_eq!(store.get(&key).await.unwrap(), None, "the hole must be there");
        assert_eq!(commit(chain, 99).await.unwrap_err().kind(), ErrorKind::Fenced);
        assert_eq!(store.get(&key).await.unwrap().is_some(), stays, "the create itself went through");
    }
    commit(&mut third, 30).await.unwrap();
    let Opened { mut chain, manifest } = start(&store).await;
    assert_eq!(manifest.unwrap().accounting.rows_in, 30);
    assert_eq!(chain.collect_garbage(3).await.unwrap().manifests, 2 + 2, "strays go with the next clean-up");
}

#[tokio::test]
async fn clean_up_keeps_what_is_needed_and_deletes_the_rest() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let old = commit_segment(&mut chain, vec![], 1).await;
    let mut last = old.clone();
    for n in 2..20 {
        last = commit_segment(&mut chain, vec![old.clone()], n).await;
    }
    // An attempt that was never committed, and one that is under way.
    let draft = chain.draft(0);
    let under_way = chain.bundle(&draft, None).finish().0;
    let orphan = chain.paths.bundle(1, 5, Uuid::new_v4());
    let stranger = Path::from("q/momentum/bundle/notes.txt");
    for key in [&under_way, &orphan, &stranger] {
        store.put(key, Bytes::from_static(b"x")).await.unwrap();
    }
    let collected = chain.collect_garbage(10).await.unwrap();
    assert_eq!((collected.manifests, collected.bundles), (10, 19 - 10 - 1 + 1));
    assert_eq!(names(&store, chain.paths.manifests()).await.len(), 10);
    let bundles = names(&store, chain.paths.bundles()).await;
    assert_eq!(bundles.len(), 10 + 1 + 2);
    for kept in [&old.section.object, &last.section.object, &under_way.to_string(), &stranger.to_string()] {
        assert!(bundles.contains(kept), "{kept} must stay");
    }
    assert_eq!(names(&store, chain.paths.boundaries()).await, ["q/momentum/gc/00000000000000000010"]);
    assert_eq!(chain.collect_garbage(10).await.unwrap(), Default::default());

    let Opened { mut chain, manifest } = start(&store).await;
    let segments = manifest.unwrap().operators[0].segments.clone();
    assert_eq!(segments, [old.clone(), last]);
    for segment in segments {
        read_section(&store, &segment.section).await.unwrap();
    }
    // Once nothing refers to the oldest segment, its bundle goes as well.
    for n in 0..12 {
        commit_segment(&mut chain, vec![], n).await;
    }
    chain.collect_garbage(10).await.unwrap();
    assert!(!names(&store, chain.paths.bundles()).await.contains(&old.section.object));
}

#[tokio::test]
async fn clean_up_may_be_cut_off_anywhere() {
    for cut in 0..12 {
        let faulty = FaultyStore::new();
        let Opened { mut chain, .. } = start(&faulty.store()).await;
        for n in 0..8 {
            commit_segment(&mut chain, vec![], n).await;
        }
        let faults = std::iter::repeat_n(Fault::None, cut).chain([Fault::Before]);
        faulty.fail_deletes("", faults);
        let cut_off = chain.collect_garbage(3).await.is_err();
        let Opened { mut chain, manifest } = start(&faulty.sound()).await;
        let head = manifest.unwrap();
        assert_eq!(head.id, 9);
        read_section(&faulty.sound(), &head.operators[0].segments[0].section).await.unwrap();
        chain.collect_garbage(3).await.unwrap();
        assert_eq!(names(&faulty.sound(), chain.paths.manifests()).await.len(), 3);
        assert!(cut_off || cut > 10, "cut {cut}");
    }
}

// In order: that a parent is there says that its child was never deleted.
#[tokio::test]
async fn bundles_are_deleted_by_one_request_and_manifests_one_by_one() {
    let faulty = FaultyStore::new();
    let Opened { mut chain, .. } = start(&faulty.store()).await;
    for n in 0..40 {
        commit_segment(&mut chain, vec![], n).await;
    }
    let collected = chain.collect_garbage(10).await.unwrap();
    assert_eq!((collected.manifests, collected.bundles), (31, 30));
    assert_eq!(*faulty.deleted.lock(), [vec![1; 31], vec![30]].concat());
}

// A server that has just taken over has read the last ones alone.
#[tokio::test]
async fn checkpoints_of_the_server_before_are_kept_to_fall_back_to() {
    const HOUR: i64 = 3_600_000_000;
    let store = memory();
    let generation = Generation::claim_with(&store, RETRY).await.unwrap();
    let clock = Clock::manual(1_000 * HOUR);
    let Opened { mut chain, .. } = Chain::open_with(&store, QUERY, generation, "f1", &clock, RETRY).await.unwrap();
    // One every twelve minutes, so that each hour has five.
    for n in 1..60 {
        let draft = chain.draft(1_000 * HOUR + n * HOUR / 5);
        chain.commit(draft).await.unwrap();
    }
    // One that is damaged is no reason to keep none.
    store.put(&chain.paths.manifest(7), Bytes::from_static(b"x")).await.unwrap();
    let generation = Generation::claim_with(&store, RETRY).await.unwrap();
    clock.set(1_012 * HOUR);
    let Opened { mut chain, .. } = Chain::open_with(&store, QUERY, generation, "f1", &clock, RETRY).await.unwrap();
    assert!(!chain.recent.contains_key(&40), "it is not known to this server");
    chain.collect_garbage(10).await.unwrap();
    let kept: Vec<u64> = names(&store, chain.paths.all_kept())
        .await
        .iter()
        .filter_map(|name| QueryPaths::manifest_id(&Path::from(name.as_str())))
        .collect();
    // Of hour n the first is 5 n + 1.
    assert_eq!(kept, (0..=10).map(|hour| 5 * hour + 1).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_clean_up_that_checkpoints_overtake_takes_nothing_from_them() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let mut segments = Vec::new();
    for n in 0..12 {
        segments.push(commit_segment(&mut chain, segments.clone(), n).await);
    }
    let clean_up = chain.clean_up(2).unwrap();
    for n in 12..20 {
        segments.push(commit_segment(&mut chain, segments.clone(), n).await);
    }
    let cleaned = clean_up.run().await.unwrap();
    assert_eq!(cleaned.collected.manifests, 11, "of those there were when it began");
    chain.cleaned_up(&cleaned);
    for segment in &segments {
        read_section(&store, &segment.section).await.unwrap();
    }
    commit(&mut chain, 20).await.unwrap();
    assert_eq!(chain.collect_garbage(2).await.unwrap().manifests, 22 - 2 - 11);
    assert_eq!(start(&store).await.manifest.unwrap().accounting.rows_in, 20);
}

#[tokio::test]
async fn a_manifest_that_is_not_answered_for_is_found_out_like_one_that_failed() {
    let faulty = FaultyStore::new();
    let store = faulty.store().answering_within(Duration::from_millis(20));
    let Opened { mut chain, .. } = start(&store).await;
    faulty.fail_puts("/ckpt/", [Fault::Hang]);
    commit(&mut chain, 1).await.unwrap();
    assert_eq!(start(&faulty.sound()).await.manifest.unwrap().accounting.rows_in, 1);
}

#[tokio::test]
async fn a_zombie_that_cleans_up_takes_nothing_its_successor_needs() {
    let store = memory();
    let Opened { chain: mut zombie, .. } = start(&store).await;
    let mut segments = Vec::new();
    for n in 0..6 {
        segments.push(commit_segment(&mut zombie, segments.clone(), n).await);
    }
    let Opened { mut chain, .. } = start(&store).await;
    for n in 6..9 {
        segments.push(commit_segment(&mut chain, segments.clone(), n).await);
    }
    zombie.collect_garbage(2).await.unwrap();
    for segment in &segments {
        read_section(&store, &segment.section).await.unwrap();
    }
    assert_eq!(start(&store).await.manifest.unwrap().operators[0].segments, segments);
}

#[tokio::test]
async fn damage_at_the_end_of_a_chain_is_named_and_nothing_is_taken_over() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    for n in 1..6 {
        commit(&mut chain, n).await.unwrap();
    }
    let key = |id| chain.paths.manifest(id);
    let intact = |id| {
        let (store, key) = (store.clone(), key(id));
        async move { store.get(&key).await.unwrap().unwrap() }
    };
    let refused = async |says: String| {
        let before = names(&store, Path::default()).await;
        let generation = Generation { number: 9, instance: Uuid::new_v4() };
        let error = open_as(&store, generation).await.expect_err(&says);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        assert!(error.report().contains(&says), "{says}: {}", error.report());
        assert_eq!(names(&store, Path::default()).await, before);
    };
    for id in [6, 4] {
        let original = intact(id).await;
        for at in [0, 20, 80, 95, 200, original.len() - 2] {
            let mut flipped = original.to_vec();
            flipped[at] ^= 4;
            store.put(&key(id), flipped.into()).await.unwrap();
            refused(key(id).to_string()).await;
        }
        store.put(&key(id), original.slice(..original.len() / 2)).await.unwrap();
        refused(key(id).to_string()).await;
        store.put(&key(id), Bytes::new()).await.unwrap();
        refused(key(id).to_string()).await;
        store.put(&key(id), original).await.unwrap();
    }
    let (four, five) = (intact(4).await, intact(5).await);
    store.put(&key(5), four).await.unwrap();
    refused("it is checkpoint 4".to_owned()).await;
    let (mut forged, _) = Manifest::decode(&five, "m").unwrap();
    forged.accounting.rows_in += 1;
    store.put(&key(5), forged.encode().unwrap().bytes).await.unwrap();
    refused("it names parent".to_owned()).await;
    store.delete(&key(5)).await.unwrap();
    refused(format!("{} is damaged", key(5))).await;
    store.put(&key(5), five).await.unwrap();
    start(&store).await;
}

#[tokio::test]
async fn a_chain_that_vanished_above_its_boundary_is_not_taken_for_a_new_query() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    for n in 1..6 {
        commit(&mut chain, n).await.unwrap();
    }
    chain.collect_garbage(2).await.unwrap();
    for id in 5..=6 {
        store.delete(&chain.paths.manifest(id)).await.unwrap();
    }
    let generation = Generation { number: 9, instance: Uuid::new_v4() };
    assert_eq!(open_as(&store, generation).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn killed_before_the_manifest_the_bundle_is_an_orphan_and_nothing_else() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    commit_segment(&mut chain, vec![], 1).await;
    let draft = chain.draft(0);
    let mut bundle = chain.bundle(&draft, None);
    bundle.add(&rows(&[2])).unwrap();
    assert!(chain.put_bundle(bundle).await.unwrap() > 0);
    drop(chain);
    let Opened { mut chain, manifest } = start(&store).await;
    assert_eq!(manifest.unwrap().id, 2);
    assert_eq!(names(&store, chain.paths.bundles()).await.len(), 2);
    commit(&mut chain, 0).await.unwrap();
    chain.collect_garbage(2).await.unwrap();
    assert_eq!(names(&store, chain.paths.bundles()).await.len(), 1);
}

#[tokio::test]
async fn a_draft_is_committed_on_the_head_it_was_drafted_from_or_not_at_all() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let stale = chain.draft(0);
    commit(&mut chain, 1).await.unwrap();
    assert_eq!(chain.commit(stale).await.unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(chain.settle().await.unwrap_err().kind(), ErrorKind::Bug);
    commit(&mut chain, 2).await.unwrap();
}

#[tokio::test]
async fn each_start_claims_a_number_of_its_own_whatever_the_store_answers() {
    use Fault::*;
    let faulty = FaultyStore::new();
    for (number, fault) in [None, Before, After, FalseExists, OwnExists, FalsePrecondition].into_iter().enumerate() {
        faulty.fail_puts("gens/", [fault]);
        let claimed = Generation::claim_with(&faulty.store(), RETRY).await.unwrap();
        assert_eq!(claimed.number, number as u64 + 1, "{fault:?}");
    }
    faulty.fail_puts("gens/", [Before; 3]);
    assert_eq!(Generation::claim_with(&faulty.store(), RETRY).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn sealed_files_move_to_lists_and_all_of_them_are_found_again() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let file = |n: u64| SealedFile {
        path: format!("v/{n}.parquet"),
        bytes: n,
        rows: 1,
        checkpoints: None,
        sha256: None,
        times: Default::default(),
    };
    let mut next = 0;
    for _ in 0..40 {
        let mut draft = chain.draft(0);
        let output = draft.outputs.entry("v".to_owned()).or_default();
        output.sealed.recent.extend((next..next + 257).map(file));
        next += 257;
        chain.fold_sealed(&mut draft).await.unwrap();
        chain.commit(draft).await.unwrap();
        chain.collect_garbage(2).await.unwrap();
    }
    let index = chain.head().outputs["v"].sealed.clone();
    assert!(index.recent.is_empty());
    assert!(index.indexes.len() < 16, "{} lists of {next} files", index.indexes.len());
    assert!(index.indexes.is_sorted_by(|a, b| a.level >= b.level));
    assert_eq!(index.indexes.iter().map(|list| list.files).sum::<u64>(), next);
    assert_eq!(read_sealed_files(&store, &index).await.unwrap(), (0..next).map(file).collect::<Vec<_>>());
    assert!(names(&store, chain.paths.sealed_lists()).await.len() <= index.indexes.len() + 16);

    let key = Path::from(index.indexes[0].object.as_str());
    let mut damaged = store.get(&key).await.unwrap().unwrap().to_vec();
    damaged[30] ^= 1;
    store.put(&key, damaged.into()).await.unwrap();
    assert_eq!(read_sealed_files(&store, &index).await.unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn a_chain_lists_each_start_that_has_committed_to_it() {
    let store = memory();
    let Opened { mut chain, .. } = start(&store).await;
    let first = chain.generation();
    let born = chain.head().lineage.clone();
    assert!(!born.is_unknown());
    commit(&mut chain, 1).await.unwrap();
    // Opened again by the same start, as where its file was changed.
    let Opened { mut chain, .. } = open_as(&store, first).await.unwrap();
    commit(&mut chain, 2).await.unwrap();
    assert_eq!(chain.head().lineage, born);
    let Opened { chain, .. } = start(&store).await;
    let lineage = &chain.head().lineage;
    assert_eq!((lineage.id, lineage.before), (born.id, 0));
    let listed: Vec<_> = lineage.incarnations.iter().map(|start| (start.instance, start.first)).collect();
    assert_eq!(listed, [(first.instance, 1), (chain.generation().instance, 5)]);
    assert_eq!(chain.draft(0).lineage, *lineage);
}

#[tokio::test]
async fn a_chain_of_an_older_server_gets_a_lineage_with_the_first_manifest_of_a_newer_one() {
    let store = memory();
    let Opened { chain, .. } = start(&store).await;
    let old = Manifest { lineage: Lineage::default(), ..chain.draft(0) };
    store.put(&chain.paths.manifest(old.id), old.encode().unwrap().bytes).await.unwrap();
    let Opened { chain, .. } = start(&store).await;
    let lineage = &chain.head().lineage;
    assert_eq!((old.id, lineage.is_unknown(), lineage.before), (2, false, 2));
    let listed: Vec<_> = lineage.incarnations.iter().map(|start| (start.instance, start.first)).collect();
    assert_eq!(listed, [(old.instance, 1), (chain.generation().instance, 3)]);
}

#[tokio::test]
async fn a_few_sealed_files_stay_in_the_manifest() {
    let store = memory();
    let Opened { chain, .. } = start(&store).await;
    let mut draft = chain.draft(0);
    let recent = (0..256)
        .map(|n| SealedFile {
            path: format!("{n}"),
            bytes: 1,
            rows: 1,
            checkpoints: None,
            sha256: None,
            times: Default::default(),
        })
        .collect();
    let entry = |object: &str| TailEntry {
        checkpoint: 2,
        created_at: 0,
        section: crate::checkpoint::manifest::tests::section(object),
        dates: BTreeMap::new(),
    };
    let output = OutputState { tail: vec![entry("a")], hot: vec![entry("b")], ..OutputState::default() };
    draft.outputs.insert("v".to_owned(), output);
    draft.outputs.entry("v".to_owned()).and_modify(|output| output.sealed.recent = recent);
    let before = draft.clone();
    chain.fold_sealed(&mut draft).await.unwrap();
    assert_eq!(draft, before);
}
