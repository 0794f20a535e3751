use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::error::ErrorKind;

const RETRY: Retry = Retry { attempts: 3, pause: Duration::ZERO };

fn memory(url: &str) -> Store {
    Store::over(Arc::new(InMemory::new()), url)
}

fn owner(state_store: u128, query: &str) -> Owner {
    let state = memory(&format!("memory://state-{state_store}"));
    Owner::new(&state, Uuid::from_u128(state_store), query, "f1", Uuid::new_v4())
}

fn no_strangers() -> Strangers {
    Strangers::default()
}

fn strangers(path: &str) -> Strangers {
    Strangers { count: 9, examples: vec![path.to_owned()], listed: 9, is_cut: false }
}

#[tokio::test]
async fn a_folder_belongs_to_the_first_state_that_takes_it() -> Result<()> {
    let (public, paths) = (memory("memory://tables"), QueryPaths::new("v"));
    owner(1, "v").take(&public, &paths, &no_strangers()).await?;
    // Another start of a server on the same state, also where the fingerprint is spelled anew.
    let again = Owner { version: "f2".to_owned(), ..owner(1, "v") };
    again.take(&public, &paths, &no_strangers()).await?;

    let refused = owner(2, "v").take(&public, &paths, &no_strangers()).await.expect_err("it is another state");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let said = refused.report();
    for word in
        ["memory://tables/v", "memory://state-1", "memory://state-2", "storage.tables_url", "/.touchline/v.json"]
    {
        assert!(said.contains(word), "no {word} in {said}");
    }
    // It has a folder of its own for another query.
    owner(2, "w").take(&public, &QueryPaths::new("w"), &no_strangers()).await?;
    Ok(())
}

#[tokio::test]
async fn a_folder_with_files_that_no_checkpoint_names_is_refused_whoever_it_belongs_to() -> Result<()> {
    let (public, paths) = (memory("memory://tables"), QueryPaths::new("v"));
    let (ours, file) = (owner(1, "v"), "v/event_date=2026-01-01/v-1.parquet");
    let refused = ours.take(&public, &paths, &strangers(file)).await.expect_err("files of nobody");
    assert!(refused.report().contains(file), "{}", refused.report());
    assert_eq!(public.get(&paths.owner()).await?, None, "nothing was taken");
    // As after a start of before, whose files the checkpoint names all.
    ours.take(&public, &paths, &no_strangers()).await?;
    // The state was set back.
    let refused = ours.take(&public, &paths, &strangers(file)).await.expect_err("files of another time");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    Ok(())
}

#[tokio::test]
async fn of_two_that_take_a_folder_at_once_one_has_it_whatever_the_store_answers() -> Result<()> {
    use Fault::*;
    for faults in [[None, None], [Before, None], [After, None], [FalseExists, None], [OwnExists, None], [Before, After]]
    {
        let faulty = FaultyStore::new();
        let (public, paths) = (faulty.store(), QueryPaths::new("v"));
        faulty.fail_puts(".touchline/", faults);
        owner(1, "v").take_with(&public, &paths, &no_strangers(), RETRY).await?;
        let second = owner(2, "v").take_with(&public, &paths, &no_strangers(), RETRY).await;
        assert_eq!(second.expect_err("it is taken").kind(), ErrorKind::Invalid, "{faults:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_is_no_free_folder() -> Result<()> {
    let (public, paths) = (memory("memory://tables"), QueryPaths::new("v"));
    public.put(&paths.owner(), Bytes::from_static(b"{\"state_store\":7}")).await?;
    let refused = owner(1, "v").take(&public, &paths, &no_strangers()).await.expect_err("damaged");
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    // What a later version says beside is no damage.
    let mut body: serde_json::Value = serde_json::to_value(owner(1, "v")).expect("JSON");
    body["lineage"] = "x".into();
    public.put(&paths.owner(), Bytes::from(body.to_string())).await?;
    owner(1, "v").take(&public, &paths, &no_strangers()).await
}

#[tokio::test]
async fn a_state_store_keeps_the_id_that_it_is_given_once() -> Result<()> {
    let faulty = FaultyStore::new();
    faulty.fail_puts("store.json", [Fault::After, Fault::OwnExists]);
    let id = state_store_id_with(&faulty.store(), RETRY).await?;
    assert_eq!(state_store_id(&faulty.sound()).await?, id);
    assert_ne!(state_store_id(&memory("memory://other")).await?, id);
    faulty.sound().put(&Path::from("store.json"), Bytes::from_static(b"{}")).await?;
    let refused = state_store_id(&faulty.sound()).await.expect_err("damaged");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "another id would give every folder away");
    Ok(())
}
