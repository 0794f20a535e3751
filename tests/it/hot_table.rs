//! What becomes of the hot table and of the query behind it while Postgres is away, and when the query's file is changed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};
use touchline::catalog::OnChange;
use touchline::checkpoint::Chain;
use touchline::clock::Clock;
use touchline::config::{ByteSize, Config, Secret};
use touchline::server::Server;
use touchline::status::{QueryState, QueryStatus};
use touchline::store::Store;

use crate::process::{STREAM, Site, WAIT_LIMIT, append};
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Postgres];
    vec![
        async_trial("hot_table::a_server_starts_while_postgres_is_away_and_catches_up", needs, away_at_the_start),
        async_trial("hot_table::an_outage_costs_no_row_and_no_memory", needs, an_outage),
        async_trial("hot_table::a_query_stands_still_at_the_limit_and_goes_on_by_itself", needs, at_the_limit),
        async_trial("hot_table::failures_of_one_kind_are_one_line_of_the_log", needs, one_line),
        async_trial("hot_table::one_that_is_ahead_of_the_checkpoints_is_left_alone_and_named", needs, ahead),
        async_trial("hot_table::a_changed_query_gets_a_new_table_and_its_old_one_is_kept", needs, a_changed_query),
    ]
}

/// Without a key: a row that is written twice is there twice.
pub(crate) const KEPT: &str = "CREATE MATERIALIZED VIEW kept AS SELECT id, ts FROM e;\n";

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A connection to look at the database, and a schema for the test's hot tables.
pub(crate) struct Database {
    schema: String,
    pub(crate) db: Client,
}

impl Database {
    async fn new() -> Result<Self, Failed> {
        let (db, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
        tokio::spawn(connection);
        let schema = unique("hot");
        db.batch_execute(&format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"")).await?;
        Ok(Database { schema, db })
    }

    pub(crate) async fn number(&self, sql: &str) -> Result<i64, Failed> {
        Ok(self.db.query_one(sql, &[]).await?.try_get(0)?)
    }

    pub(crate) async fn done(self) -> Outcome {
        Ok(self.db.batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", self.schema)).await?)
    }
}

/// Stands between the server under test and Postgres, and can be cut.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    pub(crate) async fn to(upstream: String) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (upstream, mut is_open) = (upstream.clone(), is_open.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_open.wait_for(|open| !*open) => {}
                    }
                });
            }
        });
        Ok(Proxy { address, open })
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

/// A server in this process, so that its log can be appended to and its status read while it runs.
pub(crate) struct Place {
    /// Its folder goes with it.
    pub(crate) site: Site,
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) proxy: Proxy,
    rows: AtomicU64,
}

impl Place {
    pub(crate) async fn new(backlog_bytes: u64) -> Result<Self, Failed> {
        let site = Site::new()?;
        site.write("schemas/e.sql", STREAM)?;
        site.write("queries/kept.sql", KEPT)?;
        let url = services::postgres()?;
        let (login, rest) = url.split_once('@').ok_or("the test's URL has a login")?;
        let (host, name) = rest.split_once('/').ok_or("the test's URL has a database")?;
        let proxy = Proxy::to(host.to_owned()).await?;
        let database = Database::new().await?;
        let mut config = Config { data_dir: site.path("data"), ..Config::default() };
        config.catalog.schemas_dir = site.path("schemas");
        config.catalog.queries_dir = site.path("queries");
        config.flight.listen.set_port(0);
        config.http.listen.set_port(0);
        config.engine.on_change = OnChange::NewVersion;
        config.engine.checkpoint_interval = Duration::from_millis(1);
        config.engine.seal_age = Duration::from_millis(200);
        config.postgres.url = Some(Secret::new(format!("{login}@{}/{name}", proxy.address)));
        config.postgres.schema = database.schema.clone();
        config.postgres.backlog_bytes = ByteSize(backlog_bytes);
        Ok(Place { site, config, database, proxy, rows: AtomicU64::new(0) })
    }

    pub(crate) async fn start(&self) -> Result<(Server, Arc<QueryStatus>), Failed> {
        let deadline = Instant::now() + WAIT_LIMIT;
        let server = loop {
            match Server::start(self.config.clone(), Clock::System).await {
                Ok(server) => break server,
                // Threads that read the log for the server before end a moment after it.
                Err(error) if error.primary().contains("another process uses") && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(error.report().into()),
            }
        };
        let status = server.published().query("kept").ok_or("the query is not there")?;
        Ok((server, status))
    }

    pub(crate) fn append(&self, server: &Server, rows: u64) -> Outcome {
        let log = server.embedded().ok_or("topics are in the process")?;
        let from = self.rows.fetch_add(rows, Ordering::Relaxed);
        append(log, "e", 0, &ids(from..from + rows))
    }

    pub(crate) async fn wait_for_all_rows(&self) -> Outcome {
        let expected = self.rows.load(Ordering::Relaxed) as i64;
        until("all rows to be in Postgres", async || {
            // Until the table is there, asking for it is an error.
            Ok(self.database.number("SELECT count(*) FROM kept").await.is_ok_and(|found| found >= expected))
        })
        .await?;
        let counted =
            self.database.db.query_one("SELECT count(*), count(DISTINCT id), sum(id)::bigint FROM kept", &[]).await?;
        let found: (i64, i64, i64) = (counted.get(0), counted.get(1), counted.get(2));
        assert_eq!(found, (expected, expected, expected * (expected - 1) / 2), "each row once");
        Ok(())
    }
}

fn ids(ids: std::ops::Range<u64>) -> Vec<String> {
    ids.map(|id| format!("{{\"id\":{id},\"ts\":\"2026-01-01T00:00:00Z\"}}")).collect()
}

pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> Result<bool, Failed>) -> Outcome {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !done().await? {
        if Instant::now() > deadline {
            return Err(format!("waited {} s for {what}", WAIT_LIMIT.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn an_outage() -> Outcome {
    const CHECKPOINTS: u64 = 300;
    let place = Place::new(1 << 30).await?;
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.wait_for_all_rows().await?;
    until("nothing to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 0)).await?;

    place.proxy.set_open(false);
    for _ in 0..CHECKPOINTS {
        let before = status.postgres_waiting_rows.load(Ordering::Relaxed);
        place.append(&server, 3)?;
        // Each in a checkpoint of its own.
        until("a checkpoint with the rows", async || {
            Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) >= before + 3)
        })
        .await?;
    }
    let (state, reason) = status.get();
    assert_eq!(state, QueryState::Degraded, "{reason:?}");
    assert_eq!(status.postgres_waiting_rows.load(Ordering::Relaxed), 3 * CHECKPOINTS);
    assert!(status.postgres_waiting_bytes.load(Ordering::Relaxed) > 0);
    assert_eq!(status.rows_out.load(Ordering::Relaxed), 10 + 3 * CHECKPOINTS, "the query itself goes on");
    server.stop().await.map_err(|error| error.report())?;

    let store = Store::open(&place.config.state_url(), &place.config.s3).await.map_err(|error| error.report())?;
    let head = Chain::peek(&store, "kept").await.map_err(|error| error.report())?.ok_or("a manifest")?;
    let output = &head.outputs["kept"];
    let listed: u64 = output
        .hot
        .iter()
        .map(|entry| &entry.section)
        .chain(output.hot_runs.iter().map(|run| &run.section))
        .map(|section| section.rows)
        .sum();
    assert_eq!(listed, 10 + 3 * CHECKPOINTS, "the manifest knows all that wait, and what the table has had before");
    let entries = output.hot.len() + output.hot_runs.len();
    // What the table has had before is no part of a run of what waits.
    assert!(entries <= 65, "{entries} entries for {CHECKPOINTS} checkpoints");

    place.proxy.set_open(true);
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.wait_for_all_rows().await?;
    until("nothing to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 0)).await?;
    assert_eq!(status.get(), (QueryState::Running, None));
    server.stop().await.map_err(|error| error.report())?;
    place.database.done().await
}

async fn away_at_the_start() -> Outcome {
    let place = Place::new(1 << 30).await?;
    place.proxy.set_open(false);
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    until("the rows to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 10)).await?;
    until("the query to say so", async || Ok(status.get().0 == QueryState::Degraded)).await?;
    let reason = status.get().1.unwrap_or_default();
    assert!(reason.contains("Postgres"), "{reason}");
    place.proxy.set_open(true);
    place.wait_for_all_rows().await?;
    until("the query to be well", async || Ok(status.get() == (QueryState::Running, None))).await?;
    server.stop().await.map_err(|error| error.report())?;
    place.database.done().await
}

async fn at_the_limit() -> Outcome {
    const LIMIT: u64 = 20_000;
    let place = Place::new(LIMIT).await?;
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.wait_for_all_rows().await?;
    until("nothing to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 0)).await?;

    place.proxy.set_open(false);
    let stands_still =
        || status.get().1.is_some_and(|reason| reason.contains("query kept stands still until Postgres"));
    let mut largest = 0;
    until("the limit to be reached", async || {
        let waiting = status.postgres_waiting_bytes.load(Ordering::Relaxed);
        place.append(&server, 20)?;
        until("the rows to be taken, or none", async || {
            Ok(stands_still() || status.postgres_waiting_bytes.load(Ordering::Relaxed) != waiting)
        })
        .await?;
        Ok(stands_still())
    })
    .await?;
    assert_eq!(status.get().0, QueryState::Blocked);
    // The age of the oldest row is written anew at each turn of the loop.
    let a_turn = async || {
        let turn = status.postgres_waiting_micros.load(Ordering::Relaxed);
        until("a turn of the loop", async || Ok(status.postgres_waiting_micros.load(Ordering::Relaxed) != turn)).await
    };
    // An epoch may have been under way when the limit was passed.
    a_turn().await?;
    place.append(&server, 5_000)?;
    let taken = status.rows_in.load(Ordering::Relaxed);
    for _ in 0..20 {
        a_turn().await?;
        largest = largest.max(status.postgres_waiting_bytes.load(Ordering::Relaxed));
    }
    assert_eq!(status.rows_in.load(Ordering::Relaxed), taken, "it takes nothing in");
    // The checkpoint that passed the limit is the last; it holds 20 rows, or what came together while it was made.
    assert!((LIMIT + 1..LIMIT + 5_000).contains(&largest), "{largest} bytes wait at the limit of {LIMIT}");

    place.proxy.set_open(true);
    place.wait_for_all_rows().await?;
    until("the query to be well", async || Ok(status.get() == (QueryState::Running, None))).await?;
    assert!(status.postgres_failures.load(Ordering::Relaxed) > 0);
    server.stop().await.map_err(|error| error.report())?;
    place.database.done().await
}

/// A site with ten rows in its topic.
fn site_with_rows() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/kept.sql", KEPT)?;
    append(&*site.embedded_log()?, "e", 0, &ids(0..10))?;
    Ok(site)
}

async fn one_line() -> Outcome {
    let database = Database::new().await?;
    // Someone holds the table that every write begins with.
    database
        .db
        .batch_execute(
            "CREATE TABLE touchline_commits (query text PRIMARY KEY, table_name text NOT NULL, checkpoint bigint NOT NULL, \
             generation bigint NOT NULL, retained_from timestamptz, expired_rows bigint NOT NULL DEFAULT 0, \
             updated_at timestamptz NOT NULL DEFAULT now())",
        )
        .await?;
    database.db.batch_execute("BEGIN; LOCK TABLE touchline_commits").await?;
    let site = site_with_rows()?;
    let (url, schema) = (services::postgres()?, database.schema.clone());
    let server = site.serve(&[
        ("TOUCHLINE_POSTGRES_URL", &url),
        ("TOUCHLINE_POSTGRES_SCHEMA", &schema),
        ("TOUCHLINE_POSTGRES_LOCK_TIMEOUT", "20ms"),
    ])?;
    server.wait_for("five failed attempts", |server| {
        let (_, metrics) = server.get("/metrics")?;
        let failures = metrics.lines().find(|line| line.starts_with("touchline_query_postgres_failures_total{"));
        let failures = failures.and_then(|line| line.rsplit_once(' ')).ok_or("no such metric")?.1;
        Ok((failures.parse::<f64>()? >= 5.0).then_some(()))
    })?;
    let lines =
        |server: &crate::process::Server, text: &str| server.log().lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines(&server, "hot table not written"), 1, "{}", server.log());
    assert!(server.log().contains("canceling statement due to lock timeout"), "{}", server.log());
    database.db.batch_execute("COMMIT").await?;
    server.wait_for("the recovery to be logged", |server| {
        Ok((lines(server, "hot table is written again") > 0).then_some(()))
    })?;
    assert_eq!(database.number("SELECT count(*) FROM kept").await?, 10);
    assert_eq!(lines(&server, "hot table is written again"), 1, "{}", server.log());
    assert_eq!(lines(&server, "hot table not written"), 1, "{}", server.log());
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    database.done().await
}

async fn ahead() -> Outcome {
    let database = Database::new().await?;
    let site = site_with_rows()?;
    let (url, schema) = (services::postgres()?, database.schema.clone());
    let settings = [("TOUCHLINE_POSTGRES_URL", url.as_str()), ("TOUCHLINE_POSTGRES_SCHEMA", schema.as_str())];
    let server = site.serve(&settings)?;
    let all = async || Ok(database.number("SELECT count(*) FROM kept").await.is_ok_and(|found| found == 10));
    until("all rows to be in Postgres", all).await?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");

    // As where the state store was restored from an older copy.
    let moved = "UPDATE touchline_commits SET checkpoint = checkpoint + 1000 WHERE query = 'kept'";
    assert_eq!(database.db.execute(moved, &[]).await?, 1);
    append(&*site.embedded_log()?, "e", 0, &ids(10..20))?;
    let server = site.serve(&settings)?;
    server.wait_for("the query to say so", |server| {
        let rows = server.query("SELECT reason FROM touchline.queries WHERE name = 'kept'")?;
        let reason = rows.first().and_then(|row| row["reason"].as_str()).unwrap_or_default();
        Ok(reason.contains("is not of the history of query kept").then_some(()))
    })?;
    server.wait_for("the other places to go on", |server| {
        Ok((server.query("SELECT count(*) AS n FROM kept")? == [serde_json::json!({ "n": 20 })]).then_some(()))
    })?;
    assert_eq!(database.number("SELECT count(*) FROM kept").await?, 10, "the table is left alone");
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    database.done().await
}

async fn a_changed_query() -> Outcome {
    let database = Database::new().await?;
    let site = site_with_rows()?;
    let (url, schema) = (services::postgres()?, database.schema.clone());
    let server = site.serve(&[("TOUCHLINE_POSTGRES_URL", &url), ("TOUCHLINE_POSTGRES_SCHEMA", &schema)])?;
    let rows_of = async |what: &str, sql: &str, expected: i64| {
        // Until the table is there, asking for it is an error.
        until(what, async || Ok(database.number(sql).await.is_ok_and(|found| found == expected))).await
    };
    rows_of("the first version's rows", "SELECT count(*) FROM kept", 10).await?;

    site.write(
        "queries/kept.sql",
        "CREATE MATERIALIZED VIEW kept AS SELECT id, id * 2 AS twice, ts FROM e WHERE id < 5;\n",
    )?;
    rows_of("the second version's rows", "SELECT sum(twice)::bigint FROM kept", 20).await?;
    assert_eq!(database.number("SELECT count(*) FROM kept").await?, 5, "none of the first version's are among them");
    assert_eq!(database.number("SELECT count(*) FROM kept_old_first").await?, 10, "they are kept");
    server.wait_for("the query to run", |server| {
        let rows = server.query("SELECT state FROM touchline.queries WHERE name = 'kept'")?;
        Ok(rows.first().is_some_and(|row| row["state"] == "RUNNING" || row["state"] == "IDLE").then_some(()))
    })?;
    assert!(server.log().contains("hot table set aside"), "{}", server.log());

    // Back to the first: its table comes back, and goes on where it stood.
    site.write("queries/kept.sql", KEPT)?;
    rows_of("the first version's table", "SELECT count(*) FROM kept", 10).await?;
    let aside = "SELECT count(*) FROM touchline_set_aside WHERE table_name LIKE 'kept\\_old\\_%' AND table_name <> 'kept_old_first'";
    assert_eq!(database.number(aside).await?, 1, "now the second is set aside");
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    database.done().await
}
