//! A changed query begins anew beside what is there; what cannot be read is never taken for that.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::manifest::tests::sample;
use crate::checkpoint::{Chain, Generation};
use crate::clock::Clock;

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

fn version(name: &str, former: &str) -> QueryVersion {
    let long = |text: &str| format!("{text:0<64}");
    QueryVersion { name: long(name), former: long(former) }
}

/// Begins or goes on with a chain, as a start of a server does.
async fn run(store: &Store, view: &str, of: &QueryVersion) -> String {
    let name = chain_of(store, view, of).await.unwrap();
    let generation = Generation::claim(store).await.unwrap();
    let mut chain = Chain::open(store, &name, generation, of.clone(), &Clock::manual(7)).await.unwrap().chain;
    let draft = chain.draft(8);
    chain.commit(draft).await.unwrap();
    name
}

/// A chain as an older server left it: named in the former way.
async fn run_before(store: &Store, name: &str, of: &QueryVersion) {
    let paths = QueryPaths::new(name);
    let manifest = crate::checkpoint::Manifest {
        query: name.to_owned(),
        id: 1,
        parent_sha256: None,
        generation: 0,
        fingerprint: of.former.clone(),
        fingerprint_version: 1,
        ..sample()
    };
    store.put(&paths.manifest(1), manifest.encode().unwrap().bytes).await.unwrap();
}

#[tokio::test]
async fn each_version_of_a_view_has_a_chain_and_goes_back_to_it() {
    let store = memory();
    let (first, second) = (version("a1", "b1"), version("a2", "b2"));
    assert_eq!(run(&store, "v", &first).await, "v");
    assert_eq!(run(&store, "v", &second).await, "v-a2000000");
    assert_eq!(run(&store, "v", &first).await, "v");
    assert_eq!(run(&store, "v", &second).await, "v-a2000000");
}

#[tokio::test]
async fn chains_that_were_named_in_the_former_way_are_gone_on_from_also_once_their_tables_have_changed() {
    let store = memory();
    let (first, second) = (version("a1", "b1"), version("a2", "b2"));
    run_before(&store, "v", &first).await;
    run_before(&store, "v-b2000000", &second).await;
    assert_eq!(run(&store, "v", &first).await, "v");
    assert_eq!(run(&store, "v", &second).await, "v-b2000000");
    // Another column that is not read: the former name is another, the query is the same.
    assert_eq!(run(&store, "v", &version("a1", "c1")).await, "v");
    assert_eq!(run(&store, "v", &version("a2", "c2")).await, "v-b2000000");
    // And to a view that is only called alike nothing of it belongs.
    assert_eq!(run(&store, "w", &second).await, "w");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_another_version() {
    let store = memory();
    let (first, second) = (version("a1", "b1"), version("a2", "b2"));
    run(&store, "v", &first).await;
    run(&store, "v", &second).await;
    for (chain, of, other) in [("v", &first, &second), ("v-a2000000", &second, &first)] {
        let paths = QueryPaths::new(chain);
        for id in [2, 1] {
            // First the newest alone, then all of them.
            let key = paths.manifest(id);
            let mut bytes = store.get(&key).await.unwrap().unwrap().to_vec();
            bytes[100] ^= 1;
            store.put(&key, Bytes::from(bytes)).await.unwrap();
            let error = chain_of(&store, "v", of).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{chain}, {id}: {}", error.report());
            // The other version has a chain of its own, which is well.
            if chain == "v" && id == 2 {
                assert_eq!(chain_of(&store, "v", other).await.unwrap(), "v-a2000000");
            }
        }
        for id in [2, 1] {
            let key = paths.manifest(id);
            let mut bytes = store.get(&key).await.unwrap().unwrap().to_vec();
            bytes[100] ^= 1;
            store.put(&key, Bytes::from(bytes)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_checkpoint_of_a_newer_format_is_not_another_version() {
    let store = memory();
    let of = version("a1", "b1");
    let paths = QueryPaths::new("v");
    let body = r#"{"format_version":9,"engine_version":"7.0.0","novelty":[]}"#;
    let text = format!("{{\"sha256\":\"{}\",\"manifest\":{body}}}\n", crate::checkpoint::sha256(body.as_bytes()));
    store.put(&paths.manifest(1), Bytes::from(text)).await.unwrap();
    let error = chain_of(&store, "v", &of).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let report = error.report();
    assert!(report.contains("touchline 7.0.0 wrote it") && report.contains("upgrade this server"), "{report}");
    // Nor is one that names queries in a way that is not known yet.
    let newer = crate::checkpoint::Manifest { query: "v".to_owned(), id: 1, fingerprint_version: 3, ..sample() };
    store.put(&paths.manifest(1), newer.encode().unwrap().bytes).await.unwrap();
    assert!(chain_of(&store, "v", &of).await.unwrap_err().report().contains("upgrade this server"));
}

#[tokio::test]
async fn a_chain_whose_manifests_have_vanished_is_not_begun_anew() {
    let store = memory();
    let of = version("a1", "b1");
    run(&store, "v", &of).await;
    let paths = QueryPaths::new("v");
    store
        .put(&Path::from("q/v/bundle/00000000000000000001-00000000000000000002-x.arrow"), Bytes::from("x"))
        .await
        .unwrap();
    for id in [1, 2] {
        store.delete(&paths.manifest(id)).await.unwrap();
    }
    let generation = Generation::claim(&store).await.unwrap();
    let error = Chain::open(&store, "v", generation, of, &Clock::manual(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

// An operator gives up what the version before has left: the version of today goes on from its own chain.
#[tokio::test]
async fn a_version_does_not_begin_anew_because_the_first_one_has_been_given_up() {
    let store = memory();
    let (first, second) = (version("a1", "b1"), version("a2", "b2"));
    run(&store, "v", &first).await;
    assert_eq!(run(&store, "v", &second).await, "v-a2000000");
    let given_up = crate::checkpoint::find_chain(&store, "v").await.unwrap();
    crate::checkpoint::drop_whole(&store, &given_up).await.unwrap();
    assert_eq!(run(&store, "v", &second).await, "v-a2000000");
    // One that has no chain begins under the name that is free.
    assert_eq!(run(&store, "v", &first).await, "v");
}
