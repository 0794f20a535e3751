//! One flipped byte in whatever is stored is named by the check, and never begins a query anew.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::{
    Chain, EarlySection, EarlyState, Generation, HotRun, OperatorState, SealIntent, SegmentRef, TailEntry,
};
use crate::clock::Clock;
use crate::tables::CheckpointRange;

fn store() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

fn rows(number: i64) -> Vec<RecordBatch> {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![number; 3]));
    vec![RecordBatch::try_from_iter([("n", column)]).unwrap()]
}

/// A chain with something of every kind: state, a tail, rows that wait, also in lists, rows that may change, sealed files in lists and
/// beside them what they are of. Some of its checkpoints are cleaned up.
pub(in super::super) async fn every_kind(private: &Store, public: &Store) -> Chain {
    let generation = Generation::claim(private).await.unwrap();
    let mut chain = Chain::open(private, "v", generation, "f1", &Clock::manual(7)).await.unwrap().chain;
    crate::checkpoint::keep_definition(private, "v", "f1", "statement \"SELECT 1\"\n").await.unwrap();
    for number in 1..=6 {
        let mut draft = chain.draft(number);
        let mut bundle = chain.bundle(&draft, None);
        let mut section = || bundle.add(&rows(number)).unwrap();
        let (state, tail, run, early) = (section(), section(), section(), section());
        draft.operators = vec![OperatorState {
            id: "w".to_owned(),
            kind: "tumble".to_owned(),
            state_version: 1,
            schema_sha256: "s".to_owned(),
            watermark: None,
            marks: vec![],
            position: 0,
            segments: vec![SegmentRef { id: draft.id, input: 0, shard: 0, pane: 0, level: 0, section: state }],
        }];
        let checkpoint = draft.id;
        let output = draft.outputs.entry("v".to_owned()).or_default();
        let dates = BTreeMap::from([("1970-01-01".to_owned(), 3)]);
        let entry = TailEntry { checkpoint, created_at: number, section: tail, dates };
        output.tail = vec![entry.clone()];
        let run = HotRun { from: checkpoint, to: checkpoint, created_at: number, until: Some(number), section: run };
        // Enough for a list of them, all of which the table has had.
        output.hot_runs = vec![run; if number == 3 { 40 } else { 1 }];
        output.hot_table.get_or_insert_default().applied = checkpoint;
        output.early =
            Some(EarlyState { final_through: None, sections: vec![EarlySection { until: 9, section: early }] });
        let path = chain.paths().sealed_file("v", "1970-01-01", generation, number as u64, 0);
        let bytes = Bytes::from(format!("rows of {path}"));
        let file = SealedFile {
            path: path.clone(),
            bytes: bytes.len() as u64,
            rows: 3,
            checkpoints: Some(CheckpointRange { from: checkpoint, to: checkpoint }),
            sha256: Some(sha256(&bytes)),
            times: Default::default(),
        };
        public.put(&Path::from(path.as_str()), bytes).await.unwrap();
        let intent = SealIntent {
            seal: number as u64,
            from: checkpoint,
            to: checkpoint,
            date_column: None,
            files: vec![],
            watermarks: BTreeMap::new(),
        };
        FileRuns::of(&intent, "1970-01-01", &[entry]).write(private, &path).await.unwrap();
        // Enough for a list of them.
        output.sealed.recent.extend(std::iter::repeat_n(file, if number == 2 { 300 } else { 1 }));
        chain.fold_sealed(&mut draft).await.unwrap();
        chain.fold_hot_runs(&mut draft).await.unwrap();
        chain.put_bundle(bundle).await.unwrap();
        chain.commit(draft).await.unwrap();
        if number == 4 {
            chain.collect_garbage(2).await.unwrap();
        }
    }
    chain
}

#[tokio::test]
async fn a_flipped_byte_in_any_stored_object_is_found_and_said_by_its_name() {
    let (private, public) = (store(), store());
    every_kind(&private, &public).await;
    let found = find_chain(&private, "v").await.unwrap();
    let sound = verify(&private, Some(&public), &found).await.unwrap();
    assert!(sound.findings.is_empty(), "{:?}", sound.findings);
    assert_eq!((sound.checkpoints.clone(), sound.whole()), (vec![1, 4, 5, 6, 7], vec![1, 4, 5, 6, 7]));

    let mut kinds = BTreeSet::new();
    for (store, prefix) in [(&private, "q"), (&public, "v")] {
        for key in store.list(&Path::from(prefix)).await.unwrap() {
            let kind = key.parts().nth(2).unwrap().as_ref().to_owned();
            if kind == "gc" {
                continue;
            }
            let original = store.get(&key).await.unwrap().unwrap();
            for at in [0, original.len() / 2, original.len() - 1] {
                let mut bytes = original.to_vec();
                bytes[at] ^= 1;
                store.put(&key, Bytes::from(bytes)).await.unwrap();
                let looked = find_chain(&private, "v").await.unwrap();
                let verified = verify(&private, Some(&public), &looked).await.unwrap();
                let needed = !verified.findings.is_empty();
                // What only cleaned up checkpoints have needed is nobody's any more: of public files the old ones stay.
                assert!(needed || kind.starts_with("runs"), "byte {at} of {key}");
                for finding in &verified.findings {
                    let about = [key.to_string(), key.filename().unwrap().replace(".json", "")];
                    let said = about.iter().any(|name| finding.object.contains(name.as_str()));
                    assert!(said, "{key}: {finding:?}");
                    assert!(finding.needed_by.iter().all(|id| !verified.whole().contains(id)), "{finding:?}");
                }
                // A server either goes on from what is there or says what is damaged; it never begins anew.
                let generation = Generation::claim(&private).await.unwrap();
                let opened = Chain::open(&private, "v", generation, "f1", &Clock::manual(9)).await;
                match opened {
                    Ok(opened) => {
                        let head = opened.manifest.expect("it does not begin anew");
                        assert!(head.id >= 7, "{key}");
                        let added = opened.chain.paths().manifest(opened.chain.head().id);
                        private.delete(&added).await.unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{key}: {}", error.report()),
                }
            }
            store.put(&key, original).await.unwrap();
            kinds.insert(kind);
        }
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert!(
        ["bundle", "ckpt", "def", "kept", "replay", "runs", "sealed"].iter().all(|kind| kinds.contains(kind)),
        "{kinds:?}"
    );
    assert!(kinds.iter().any(|kind| kind.ends_with(".parquet")), "{kinds:?}");
}

#[tokio::test]
async fn a_missing_object_is_found_with_the_checkpoints_that_need_it() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    let head = chain.head().clone();
    let bundle = head.operators[0].segments[0].section.object.clone();
    private.delete(&Path::from(bundle.as_str())).await.unwrap();
    let found = find_chain(&private, "v").await.unwrap();
    let verified = verify(&private, Some(&public), &found).await.unwrap();
    assert!(!verified.findings.is_empty());
    for finding in &verified.findings {
        assert!(finding.object.starts_with(&bundle) && finding.detail == "it is missing", "{finding:?}");
        assert_eq!(finding.needed_by, BTreeSet::from([7]));
    }
    assert_eq!(verified.whole(), [1, 4, 5, 6]);
}

#[tokio::test]
async fn chains_are_listed_with_what_cannot_be_read_of_them() {
    let (private, public) = (store(), store());
    let chain = every_kind(&private, &public).await;
    assert_eq!(find_chain(&private, "w").await.unwrap_err().hint_text(), Some("there are v"));
    let key = chain.paths().manifest(7);
    private.put(&key, Bytes::from("nothing")).await.unwrap();
    let all = find_chains(&private).await.unwrap();
    let [found] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((found.name.as_str(), found.ids.clone(), found.kept.clone()), ("v", vec![4, 5, 6, 7], vec![1]));
    assert_eq!(found.newest.as_ref().map(|manifest| manifest.id), Some(6));
    assert_eq!(found.unread.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [7]);
    assert_eq!(find_checkpoint(&private, found, Some(1)).await.unwrap().id, 1);
    assert_eq!(find_checkpoint(&private, found, None).await.unwrap().id, 6);
    assert_eq!(find_checkpoint(&private, found, Some(7)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    let missing = find_checkpoint(&private, found, Some(3)).await.unwrap_err();
    assert_eq!(missing.hint_text(), Some("there are 1, 4-7"));
}

#[test]
fn ids_are_said_as_ranges() {
    assert_eq!(ranges(&[1, 3, 4, 5, 9]), "1, 3-5, 9");
    assert_eq!(ranges(&[u64::MAX]), u64::MAX.to_string());
    assert_eq!(ranges(&[]), "none");
}

// A server that runs cleans up every 64 checkpoints, and to read all of a large state takes longer.
#[tokio::test]
async fn what_is_cleaned_up_during_the_check_is_no_damage() {
    let (private, public) = (store(), store());
    let mut chain = every_kind(&private, &public).await;
    let found = find_chain(&private, "v").await.unwrap();
    chain.collect_garbage(2).await.unwrap();
    let verified = verify(&private, Some(&public), &found).await.unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(verified.whole(), [1, 6, 7]);
    // What the others need is damage as before.
    let bundle = chain.head().operators[0].segments[0].section.object.clone();
    private.delete(&Path::from(bundle.as_str())).await.unwrap();
    let verified = verify(&private, Some(&public), &found).await.unwrap();
    assert!(!verified.findings.is_empty() && verified.whole() == [1, 6], "{:?}", verified.findings);
}
