//! A table that is looked up and changes while a server runs: rows that come after a change see it, and while the table cannot be read they
//! see what it held before.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use touchline::catalog::OnChange;
use touchline::clock::Clock;
use touchline::config::Config;
use touchline::server::Server;
use touchline::status::{QueryState, QueryStatus};

use crate::hot_table::Proxy;
use crate::process::{STREAM, Site, WAIT_LIMIT, append, binary};
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        async_trial("refreshed::a_lookup_table_is_followed_while_the_query_runs", &[], followed),
        async_trial("refreshed::a_query_waits_for_the_file_of_a_lookup_table", &[], waited_for),
        async_trial(
            "refreshed::a_table_of_a_database_is_followed_through_its_outages",
            &[Need::Postgres],
            of_a_database,
        ),
    ]
}

const NAMES: &str = "\
CREATE TABLE names (id BIGINT NOT NULL, name VARCHAR NOT NULL)
WITH ('connector' = 'filesystem', 'path' = '../names.csv', 'refresh-interval' = '100 ms');
";
/// A row without its name would be lost.
const NAMED: &str = "CREATE MATERIALIZED VIEW named AS SELECT e.id, n.name FROM e JOIN names n ON n.id = e.id % 2;\n";

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A server in this process, so that its log can be appended to and its status read while it runs.
struct Running {
    server: Server,
    status: Arc<QueryStatus>,
}

impl Running {
    async fn start(site: &Site) -> Result<Self, Failed> {
        let mut config = Config { data_dir: site.path("data"), ..Config::default() };
        config.catalog.schemas_dir = site.path("schemas");
        config.catalog.queries_dir = site.path("queries");
        config.flight.listen.set_port(0);
        config.http.listen.set_port(0);
        config.engine.on_change = OnChange::NewVersion;
        config.engine.checkpoint_interval = Duration::from_millis(1);
        // Of tables in a database, too, whose address is their own.
        config.postgres.lock_timeout = Duration::from_millis(100);
        let deadline = Instant::now() + WAIT_LIMIT;
        let server = loop {
            match Server::start(config.clone(), Clock::System).await {
                Ok(server) => break server,
                // Threads that read the log for the server before end a moment after it.
                Err(error) if error.primary().contains("another process uses") && Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(error.report().into()),
            }
        };
        let status = server.published().query("named").ok_or("the query is not there")?;
        Ok(Running { server, status })
    }

    fn query(&self, sql: &str) -> Result<Vec<Value>, Failed> {
        let url = format!("grpc://{}", self.server.flight_addr());
        let output = tokio::task::block_in_place(|| -> Result<Output, Failed> {
            let mut command = Command::new(binary()?);
            command.args(["sql", "--url", &url, "--output", "json", "-c", sql]).stdin(Stdio::null());
            Ok(command.output()?)
        })?;
        if !output.status.success() {
            return Err(format!("{sql}\n{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Failed::from)).collect()
    }

    fn metrics(&self) -> Result<String, Failed> {
        let address = self.server.http_addr();
        tokio::task::block_in_place(|| {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(WAIT_LIMIT))?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    /// Waits until the query says that it cannot read the table again, with such a reason.
    async fn until_degraded(&self, why: &str) -> Outcome {
        until(why, || {
            let (state, reason) = self.status.get();
            let told = |reason: String| reason.contains("table \"names\" cannot be read again") && reason.contains(why);
            Ok(state == QueryState::Degraded && reason.is_some_and(told))
        })
        .await
    }

    async fn until_all_is_well(&self) -> Outcome {
        until("all to be well", || Ok(self.status.get() == (QueryState::Running, None))).await
    }

    /// Appends the row with the next number; the name that it gets.
    async fn name_of_next(&self, next: &mut u64) -> Result<String, Failed> {
        let id = *next;
        *next += 1;
        let log = self.server.embedded().ok_or("topics are in the process")?;
        append(log, "e", 0, &[format!("{{\"id\":{id},\"ts\":\"2026-01-01T00:00:00Z\"}}")])?;
        let mut name = None;
        until(&format!("row {id}"), || {
            name = self.query(&format!("SELECT name FROM named WHERE id = {id}"))?.pop();
            Ok(name.is_some())
        })
        .await?;
        Ok(name.and_then(|row| row["name"].as_str().map(str::to_owned)).unwrap_or_default())
    }

    /// Appends rows until one of them sees what the table holds by now; those before it see what it held before.
    async fn until_name_is(&self, wanted: &str, before: &str, next: &mut u64) -> Outcome {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let name = self.name_of_next(next).await?;
            if name == wanted {
                break;
            }
            assert_eq!(name, before);
            if Instant::now() > deadline {
                return Err(format!("waited {} s for a row named {wanted}", WAIT_LIMIT.as_secs()).into());
            }
        }
        assert_eq!(self.name_of_next(next).await?, wanted, "it does not go back");
        Ok(())
    }
}

async fn until(what: &str, mut done: impl FnMut() -> Result<bool, Failed>) -> Outcome {
    let deadline = Instant::now() + WAIT_LIMIT;
    while !done()? {
        if Instant::now() > deadline {
            return Err(format!("waited {} s for {what}", WAIT_LIMIT.as_secs()).into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// As a table should be replaced: whole, by a new name.
fn put_names(site: &Site, name: &str) -> Outcome {
    site.write("names.next", &format!("id,name\n0,{name}\n1,{name}\n"))?;
    Ok(fs::rename(site.path("names.next"), site.path("names.csv"))?)
}

async fn followed() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("schemas/names.sql", NAMES)?;
    site.write("queries/named.sql", NAMED)?;
    put_names(&site, "old")?;
    let running = Running::start(&site).await?;
    let mut next = 0;
    assert_eq!(running.name_of_next(&mut next).await?, "old");
    put_names(&site, "new")?;
    running.until_name_is("new", "old", &mut next).await?;

    fs::remove_file(site.path("names.csv"))?;
    running.until_degraded("no such file").await?;
    assert_eq!(running.name_of_next(&mut next).await?, "new");
    let states = running.query("SELECT state FROM touchline.queries WHERE name = 'named'")?;
    assert_eq!(states, [json!({ "state": "DEGRADED" })]);
    let metrics = running.metrics()?;
    let failures = metrics.lines().find_map(|line| {
        line.strip_prefix("touchline_lookup_failures_total{query=\"named\",table=\"names\"} ")?.parse::<f64>().ok()
    });
    assert!(failures.is_some_and(|failures| failures >= 1.0), "{metrics}");

    put_names(&site, "third")?;
    running.until_name_is("third", "new", &mut next).await?;
    running.until_all_is_well().await?;
    // An ad-hoc statement reads what is there now.
    assert_eq!(running.query("SELECT DISTINCT name FROM names")?, [json!({ "name": "third" })]);
    running.server.stop().await.map_err(|error| error.report())?;

    put_names(&site, "fourth")?;
    let running = Running::start(&site).await?;
    assert_eq!(running.name_of_next(&mut next).await?, "fourth");
    let counted = running.query("SELECT count(*) AS n, count(DISTINCT id) AS d FROM named")?;
    assert_eq!(counted, [json!({ "n": next, "d": next })], "each row once");
    let names = running.query("SELECT DISTINCT name FROM named ORDER BY name")?;
    assert_eq!(names, ["fourth", "new", "old", "third"].map(|name| json!({ "name": name })));
    Ok(running.server.stop().await.map_err(|error| error.report())?)
}

/// Whether it is looked at when the query starts, or read with its first row.
async fn waited_for() -> Outcome {
    for again in [", 'refresh-interval' = '100 ms'", ""] {
        let site = Site::new()?;
        site.write("schemas/e.sql", STREAM)?;
        site.write("schemas/names.sql", &NAMES.replace(", 'refresh-interval' = '100 ms'", again))?;
        site.write("queries/named.sql", NAMED)?;
        let running = Running::start(&site).await?;
        let log = running.server.embedded().ok_or("topics are in the process")?;
        append(log, "e", 0, &["{\"id\":0,\"ts\":\"2026-01-01T00:00:00Z\"}".to_owned()])?;
        until("the query to wait", || {
            let (state, reason) = running.status.get();
            Ok(state == QueryState::Degraded
                && reason.is_some_and(|reason| reason.contains("no such file or folder: ")))
        })
        .await?;
        // Nobody touches a definition.
        put_names(&site, "come")?;
        until("the row with its name", || {
            Ok(running.status.get().0 == QueryState::Running
                && running.query("SELECT id, name FROM named")? == [json!({ "id": 0, "name": "come" })])
        })
        .await?;
        running.server.stop().await.map_err(|error| error.report())?;
    }
    Ok(())
}

async fn of_a_database() -> Outcome {
    let url = services::postgres()?;
    let (login, rest) = url.split_once('@').ok_or("the test's URL has a login")?;
    let (host, database) = rest.split_once('/').ok_or("the test's URL has a database")?;
    let proxy = Proxy::to(host.to_owned()).await?;
    let (db, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let schema = unique("names");
    db.batch_execute(&format!(
        "CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"; \
         CREATE TABLE names (id numeric PRIMARY KEY, \"Name\" varchar(20), since timestamptz, flag bytea, tags text[], extra jsonb, r int DEFAULT 7); \
         INSERT INTO names VALUES (0, 'old', '2026-01-01 01:00+01', '\\x00ff', '{{a,NULL}}', '{{\"k\": 1.50}}'), (1, 'old', NULL, NULL, NULL, NULL)"
    ))
    .await?;
    let site = Site::new()?;
    site.write("url", &format!("{login}@{}/{database}\n", proxy.address))?;
    site.write("schemas/e.sql", STREAM)?;
    let table = format!(
        "CREATE TABLE names (id BIGINT NOT NULL, name VARCHAR NOT NULL, since TIMESTAMP(3), flag BYTEA, tags VARCHAR[], extra JSON, r INT)
         WITH ('connector' = 'postgres', 'table' = '{schema}.names', 'aliases.name' = 'Name', 'url-file' = '{}',
               'refresh-interval' = '100 ms');\n",
        site.path("url").display()
    );
    site.write("schemas/names.sql", &table)?;
    site.write("queries/named.sql", NAMED)?;
    let running = Running::start(&site).await?;
    let mut next = 0;
    assert_eq!(running.name_of_next(&mut next).await?, "old");
    // An ad-hoc statement reads what is there now.
    for as_written in [
        r#"id = 0 AND since = TIMESTAMP '2026-01-01 00:00:00' AND flag = X'00ff' AND tags[1] = 'a' AND tags[2] IS NULL AND extra = '{"k": 1.50}'"#,
        // The name by which all columns together are asked for.
        "r = 7 AND id = 1",
        "id = 1 AND since IS NULL AND flag IS NULL AND tags IS NULL AND extra IS NULL",
    ] {
        let counted = running.query(&format!("SELECT count(*) AS n FROM names WHERE {as_written}"))?;
        assert_eq!(counted, [json!({ "n": 1 })], "{as_written}");
    }
    db.batch_execute("UPDATE names SET \"Name\" = 'new'").await?;
    running.until_name_is("new", "old", &mut next).await?;

    // Nobody answers.
    proxy.set_open(false);
    running.until_degraded("Postgres").await?;
    db.batch_execute("UPDATE names SET \"Name\" = 'third'").await?;
    assert_eq!(running.name_of_next(&mut next).await?, "new");
    proxy.set_open(true);
    running.until_name_is("third", "new", &mut next).await?;
    running.until_all_is_well().await?;

    // It is emptied and filled again, which takes longer than anybody waits for the lock: it is never seen empty, or rows would be lost.
    db.batch_execute("BEGIN; TRUNCATE names").await?;
    running.until_degraded("holds a lock").await?;
    assert_eq!(running.name_of_next(&mut next).await?, "third");
    db.batch_execute("INSERT INTO names VALUES (0, 'fourth'), (1, 'fourth'); COMMIT").await?;
    running.until_name_is("fourth", "third", &mut next).await?;
    running.until_all_is_well().await?;

    db.batch_execute("ALTER TABLE names RENAME COLUMN \"Name\" TO title").await?;
    running.until_degraded("has no column \"name\"").await?;
    assert_eq!(running.name_of_next(&mut next).await?, "fourth");
    running.server.stop().await.map_err(|error| error.report())?;
    Ok(db.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?)
}
