//! Stored objects: whatever they hold, a look at them says what is damaged and goes on to the next.
//!
//! Of an object that begins with the hash of the rest of it the hash is made right again: what is behind it would not be read otherwise, and
//! whoever can write to a store can do the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use libtest_mimic::Failed;
use object_store::memory::InMemory;
use object_store::path::Path;
use touchline::checkpoint::{find_chains, find_checkpoint, verify};
use touchline::store::{Content, Store};

use super::records::refused;
use super::{Input, Take, Target};
use crate::process::{STREAM, Server, Site, append};

pub(super) static STORED: Target = Target {
    name: "stored",
    claim: "no_stored_object_panics_whoever_looks_into_it",
    words: &[
        "\"format_version\"",
        "\"id\"",
        "\"offset\"",
        "\"length\"",
        "\"rows\"",
        "\"object\"",
        "\"sha256\"",
        "\"segments\"",
        "\"tail\"",
        "\"sealed\"",
        "\"indexes\"",
        "\"pane\"",
        "\"attempt\"",
        "\"incarnations\"",
        "null",
        "[]",
        "{}",
        ",",
        ":",
    ],
    mutants: 1_500,
    make: stored,
};

const VIEWS: &str = "\
CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;
CREATE MATERIALIZED VIEW sums AS SELECT window_start, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, window_end;
";

/// Of a topic of the embedded log.
const PARTITIONS: usize = 4;

/// A minute each, of which the last leave windows open, and one that is no row.
fn records() -> Vec<String> {
    let record = |id: u32| format!(r#"{{"id":{id},"ts":"2026-01-01T00:{id:02}:00Z"}}"#);
    (0..20).map(record).chain(["{}".to_owned()]).collect()
}

/// The objects of a server that has stopped, below `state/` and `tables/`.
fn written() -> Result<BTreeMap<String, Bytes>, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/views.sql", VIEWS)?;
    {
        let (log, records) = (site.embedded_log()?, records());
        for partition in 0..PARTITIONS {
            let theirs: Vec<&String> = records.iter().skip(partition).step_by(PARTITIONS).collect();
            append(&log, "e", i32::try_from(partition)?, &theirs)?;
        }
    }
    let server =
        site.serve(&[("TOUCHLINE_ENGINE_SEAL_AGE", "100ms"), ("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms")])?;
    server.wait_for("rows in files", |server: &Server| {
        let found = server.query("SELECT name FROM touchline.queries WHERE sealed_files > 0")?;
        Ok((found.len() == 2).then_some(()))
    })?;
    server.terminate()?;
    let mut objects = BTreeMap::new();
    for place in ["state", "tables"] {
        collect(&site.path(&format!("touchline-data/{place}")), place, &mut objects)?;
    }
    Ok(objects)
}

fn collect(folder: &FilePath, name: &str, objects: &mut BTreeMap<String, Bytes>) -> Result<(), Failed> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let below = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match path.is_dir() {
            // What is being written; no object.
            true if below == ".touchline-staging" => {}
            true => collect(&path, &format!("{name}/{below}"), objects)?,
            false => drop(objects.insert(format!("{name}/{below}"), fs::read(&path)?.into())),
        }
    }
    Ok(())
}

fn stored() -> Result<(Vec<Input>, Take), Failed> {
    let objects = written()?;
    let inputs = objects.iter().map(|(name, bytes)| Input { name: name.clone(), bytes: bytes.to_vec() }).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stores = BTreeMap::from(
        ["state", "tables"].map(|place| (place, Store::over(Arc::new(InMemory::new()), format!("memory:///{place}")))),
    );
    let looks = runtime.block_on(async {
        for (name, bytes) in &objects {
            put(&stores, name, bytes.clone()).await;
        }
        look(&stores).await
    });
    if looks != (2, 0) {
        return Err(format!("of 2 chains without damage {looks:?} were found, and findings").into());
    }
    let take: Take = Box::new(move |input| {
        runtime.block_on(async {
            put(&stores, &input.name, rehashed(&input.bytes).await).await;
            look(&stores).await;
            match (objects.get(&input.name), place(&stores, &input.name)) {
                (Some(bytes), _) => put(&stores, &input.name, bytes.clone()).await,
                (None, Some((store, key))) => drop(store.delete(&key).await),
                (None, None) => {}
            }
        });
    });
    Ok((inputs, take))
}

type Stores = BTreeMap<&'static str, Store>;

fn place<'a>(stores: &'a Stores, name: &str) -> Option<(&'a Store, Path)> {
    let (place, key) = name.split_once('/')?;
    Some((stores.get(place)?, Path::from(key)))
}

async fn put(stores: &Stores, name: &str, bytes: Bytes) {
    if let Some((store, key)) = place(stores, name) {
        refused(store.put(&key, bytes).await);
    }
}

/// All that `touchline state list`, `show` and `verify` read: how many chains, and findings.
async fn look(stores: &Stores) -> (usize, usize) {
    let (state, public) = (&stores["state"], &stores["tables"]);
    let chains = refused(find_chains(state).await).unwrap_or_default();
    let mut findings = 0;
    for chain in &chains {
        findings += refused(verify(state, Some(public), chain).await).map_or(0, |verified| verified.findings.len());
        for id in chain.ids.iter().map(|id| Some(*id)).chain([None]) {
            refused(find_checkpoint(state, chain, id).await);
        }
    }
    (chains.len(), findings)
}

/// `{"sha256":"…","name":…}` with the hash of what stands behind the name.
async fn rehashed(bytes: &[u8]) -> Bytes {
    const OPENING: &[u8] = b"{\"sha256\":\"";
    const HASH_BYTES: usize = 64;
    let body = || {
        let rest = bytes.strip_prefix(OPENING)?.get(HASH_BYTES..)?;
        let named = rest.strip_prefix(b"\",\"")?;
        let colon = named.windows(2).position(|pair| pair == b"\":")?;
        Some((rest, named[colon + 2..].trim_ascii_end().strip_suffix(b"}")?))
    };
    let Some((rest, body)) = body() else { return bytes.to_vec().into() };
    let Ok(hash) = Content::Memory(body.to_vec().into()).sha256().await else { return bytes.to_vec().into() };
    [OPENING, hash.as_bytes(), rest].concat().into()
}
