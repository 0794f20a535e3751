//! A public store that is away while a server runs: only the public files wait for it, and it gets each row once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use object_store::path::Path;
use touchline::catalog::OnChange;
use touchline::checkpoint::Chain;
use touchline::clock::Clock;
use touchline::config::Config;
use touchline::server::Server;
use touchline::status::QueryState;
use touchline::store::{Store, StoreSettings};

use crate::hot_table::Proxy;
use crate::process::{STREAM, Site, WAIT_LIMIT, append};
use crate::services::{Need, Outcome, S3, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![async_trial("public_store::one_that_is_cut_off_delays_only_its_files", &[Need::S3], cut_off)]
}

const KEPT: &str = "CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;\n";

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(format!("waited {} s for {what}", WAIT_LIMIT.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// A server whose tables are in S3, by way of the proxy, and whose checkpoints are in the site.
fn config(site: &Site, s3: &S3, proxy: &Proxy) -> Result<Config, Failed> {
    let credentials =
        format!("access_key_id = {:?}\nsecret_access_key = {:?}\n", s3.access_key_id, s3.secret_access_key);
    site.write("s3.toml", &credentials)?;
    let mut config = Config { data_dir: site.path("data"), ..Config::default() };
    config.storage.tables_url = Some(format!("s3://{}/{}", s3.bucket, unique("public-store")));
    config.s3 = StoreSettings {
        endpoint: Some(format!("http://{}", proxy.address)),
        region: Some(s3.region.clone()),
        allow_http: true,
        credentials_file: Some(site.path("s3.toml")),
    };
    config.catalog.schemas_dir = site.path("schemas");
    config.catalog.queries_dir = site.path("queries");
    config.flight.listen.set_port(0);
    config.http.listen.set_port(0);
    config.engine.on_change = OnChange::NewVersion;
    config.engine.checkpoint_interval = Duration::from_millis(5);
    config.engine.seal_age = Duration::from_millis(100);
    Ok(config)
}

async fn cut_off() -> Outcome {
    let s3 = S3::from_env()?;
    let host = s3.endpoint.strip_prefix("http://").ok_or("the proxy of this test speaks plain HTTP")?;
    let proxy = Proxy::to(host.trim_end_matches('/').to_owned()).await?;
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/kept.sql", KEPT)?;
    let config = config(&site, &s3, &proxy)?;
    let server = Server::start(config.clone(), Clock::System).await.map_err(|error| error.report())?;
    let status = server.published().query("kept").ok_or("the query is not there")?;
    let log = server.embedded().ok_or("topics are in the process")?;
    let mut rows = 0;
    let mut put = |count: u64| {
        let ids = (rows..rows + count).map(|id| format!("{{\"id\":{id},\"ts\":\"2026-01-01T00:00:00Z\"}}"));
        rows += count;
        append(log, "e", 0, &ids.collect::<Vec<_>>()).map(|()| rows)
    };
    let tail_rows = || status.tail_rows.load(Ordering::Relaxed);
    let failures = || status.public_file_failures.load(Ordering::Relaxed);

    put(1)?;
    until("the first file", || status.sealed_files.load(Ordering::Relaxed) > 0 && tail_rows() == 0).await?;
    proxy.set_open(false);
    for round in 1..=20 {
        put(3)?;
        until("a checkpoint with the rows", || tail_rows() == 3 * round).await?;
    }
    until("it to be tried in vain", || failures() > 0).await?;
    let (state, reason) = status.get();
    let reason = reason.unwrap_or_default();
    assert_eq!(state, QueryState::Degraded);
    assert!(reason.contains("no public file could be written since 20"), "{reason}");
    assert_eq!(status.stands_still(), None, "the query itself goes on");
    // That it is tried again is no reason for a checkpoint.
    let (checkpoint, failed) = (status.checkpoint.load(Ordering::Relaxed), failures());
    until("it to be tried again", || failures() > failed).await?;
    assert_eq!(status.checkpoint.load(Ordering::Relaxed), checkpoint);
    assert!(failures() < 10, "it is tried after pauses");

    proxy.set_open(true);
    let all = put(1)?;
    until("all rows to be in files", || tail_rows() == 0 && status.rows_out.load(Ordering::Relaxed) == all).await?;
    until("the query to be well", || status.get() == (QueryState::Running, None)).await?;
    server.stop().await.map_err(|error| error.report())?;

    let private = Store::open(&config.state_url(), &config.s3).await.map_err(|error| error.report())?;
    let head = Chain::peek(&private, "kept").await.map_err(|error| error.report())?.ok_or("a manifest")?;
    let output = &head.outputs["kept"];
    let sealed = &output.sealed.recent;
    assert_eq!((output.tail.len(), sealed.iter().map(|file| file.rows).sum::<u64>()), (0, all));
    let public = Store::open(&config.tables_url(), &config.s3).await.map_err(|error| error.report())?;
    let mut listed = public.list(&Path::from("kept")).await.map_err(|error| error.report())?;
    let mut named: Vec<Path> = sealed.iter().map(|file| Path::from(file.path.as_str())).collect();
    listed.sort();
    named.sort();
    assert_eq!(listed, named, "each file is there, and no other");
    public.delete_all(listed).await.map_err(|error| error.report())?;
    Ok(())
}
