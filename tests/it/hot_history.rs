//! A hot table and its query's checkpoints that are not of one time: one of them was set back, exchanged, dropped or switched off for a while.
//! In the end the table has each row of the view once, or says that it has not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use touchline::server::Server;
use touchline::status::{QueryState, QueryStatus};

use crate::hot_table::{KEPT, Place, until};
use crate::services::{Need, Outcome, async_trial};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Postgres];
    vec![
        async_trial("hot_history::a_restored_state_never_takes_foreign_rows_for_its_own", needs, restored_state),
        async_trial("hot_history::a_database_that_was_set_back_gets_what_it_lacks", needs, || set_back(24)),
        async_trial("hot_history::one_that_lacks_more_than_is_kept_is_made_anew", needs, || set_back(0)),
        async_trial("hot_history::a_table_that_is_switched_on_later_or_dropped_has_all_rows", needs, switched_on),
        async_trial("hot_history::a_table_that_was_switched_off_for_a_while_has_no_hole", needs, switched_off),
        async_trial("hot_history::a_rebuild_goes_on_after_a_moment_without_postgres", needs, interrupted),
        async_trial("hot_history::rows_that_wait_and_are_damaged_come_from_public_files", needs, damaged),
        async_trial("hot_history::a_marker_of_a_newer_server_stops_the_table_alone", needs, newer_marker),
    ]
}

const BACKLOG_BYTES: u64 = 1 << 30;

impl Place {
    /// What a statement answers by Flight SQL.
    fn asked(&self, server: &Server, sql: &str) -> Result<Vec<Value>, Failed> {
        let url = format!("grpc://{}", server.flight_addr());
        let arguments = ["sql", "--url", url.as_str(), "--output", "json", "-c", sql];
        let text = tokio::task::block_in_place(|| self.site.output(&arguments))?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Failed::from)).collect()
    }

    fn ids_by_flight(&self, server: &Server) -> Result<Vec<i64>, Failed> {
        let rows = self.asked(server, "SELECT id FROM kept ORDER BY id")?;
        rows.iter().map(|row| row["id"].as_i64().ok_or_else(|| format!("no id in {row}").into())).collect()
    }

    async fn ids_in_postgres(&self) -> Result<Vec<i64>, Failed> {
        let rows = self.database.db.query("SELECT id FROM kept ORDER BY id", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Each row of the topic once in both places.
    async fn compared(&self, server: &Server) -> Outcome {
        self.wait_for_all_rows().await?;
        let rows = self.ids_in_postgres().await?;
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len(), "no row twice");
        assert_eq!(rows, self.ids_by_flight(server)?);
        Ok(())
    }

    async fn view_has(&self, server: &Server, rows: usize) -> Outcome {
        until("the rows to be in the view", async || Ok(self.ids_by_flight(server)?.len() == rows)).await
    }

    /// The table itself, which another one may take the place of.
    async fn table(&self) -> Result<i64, Failed> {
        self.database.number("SELECT to_regclass('kept')::oid::bigint").await
    }
}

async fn stopped(server: Server) -> Outcome {
    Ok(server.stop().await.map_err(|error| error.report())?)
}

async fn says(status: &QueryStatus, words: &str) -> Outcome {
    until(words, async || Ok(status.get().1.is_some_and(|reason| reason.contains(words)))).await?;
    assert_eq!(status.get().0, QueryState::Degraded, "the query itself goes on");
    Ok(())
}

fn copied(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => copied(&entry.path(), &to.join(entry.file_name()))?,
            false => _ = fs::copy(entry.path(), to.join(entry.file_name()))?,
        }
    }
    Ok(())
}

async fn restored_state() -> Outcome {
    let place = Place::new(BACKLOG_BYTES).await?;
    let (state, copy) = (place.site.path("data/state"), place.site.path("copy"));
    let (server, _) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    stopped(server).await?;
    copied(&state, &copy)?;
    let (server, _) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    stopped(server).await?;
    let marker = place.database.number("SELECT checkpoint FROM touchline_commits").await?;
    let table = place.table().await?;

    fs::remove_dir_all(&state)?;
    copied(&copy, &state)?;
    place.proxy.set_open(false);
    let (server, status) = place.start().await?;
    // Past all that the table has seen, by other rows under the same numbers.
    let mut rows = 20;
    until("the chain to be past its old head", async || {
        place.append(&server, 3)?;
        rows += 3;
        place.view_has(&server, rows).await?;
        Ok(i64::try_from(status.checkpoint.load(Ordering::Relaxed))? > marker)
    })
    .await?;
    place.proxy.set_open(true);
    says(&status, "is not of the history of query kept").await?;
    assert_eq!(place.ids_in_postgres().await?, (0..20_i64).collect::<Vec<_>>(), "nothing is written to it");
    assert_eq!(place.table().await?, table, "it is left alone");
    assert!(status.get().1.is_some_and(|reason| reason.contains("DROP TABLE")), "{:?}", status.get());
    stopped(server).await?;

    place.database.db.batch_execute("DROP TABLE kept").await?;
    let (server, status) = place.start().await?;
    place.append(&server, 5)?;
    place.compared(&server).await?;
    // The public folder holds files of the history that was lost, so no more are put there: that alone may be left to say.
    until("the hot table to be well", async || {
        let standing = status.standing();
        let of_the_folder = standing.reason.is_none_or(|reason| reason.contains("writes no files into the folder"));
        Ok(of_the_folder && standing.arguments.is_none_or(|parts| !parts.contains("postgres")))
    })
    .await?;
    stopped(server).await?;
    place.database.done().await
}

async fn set_back(replay_hours: u32) -> Outcome {
    let mut place = Place::new(BACKLOG_BYTES).await?;
    place.config.postgres.replay_hours = replay_hours;
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    // As a dump has it: rows and marker of one moment.
    let dump = "BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE TABLE dumped AS TABLE kept; \
                CREATE TABLE dumped_commits AS TABLE touchline_commits; COMMIT";
    place.database.db.batch_execute(dump).await?;
    for _ in 0..3 {
        place.append(&server, 10)?;
        place.compared(&server).await?;
        until("nothing to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 0)).await?;
    }
    stopped(server).await?;
    let restore = "BEGIN; TRUNCATE kept, touchline_commits; INSERT INTO kept TABLE dumped; \
                   INSERT INTO touchline_commits TABLE dumped_commits; COMMIT";
    place.database.db.batch_execute(restore).await?;
    assert_eq!(place.ids_in_postgres().await?, (0..10_i64).collect::<Vec<_>>());
    let table = place.table().await?;

    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    assert_eq!(
        place.table().await? != table,
        replay_hours == 0,
        "another table takes its place where rows are not kept"
    );
    until("the query to be well", async || Ok(status.get() == (QueryState::Running, None))).await?;
    stopped(server).await?;
    place.database.done().await
}

async fn switched_on() -> Outcome {
    let mut place = Place::new(BACKLOG_BYTES).await?;
    // All rows are of one moment, so its window stays open.
    place.site.write(
        "queries/counted.sql",
        "CREATE MATERIALIZED VIEW counted AS SELECT window_start, count(*) AS n FROM TUMBLE(e, ts, INTERVAL '1 minute')
         GROUP BY window_start EMIT CHANGES;\n",
    )?;
    let url = place.config.postgres.url.take();
    let (server, _) = place.start().await?;
    place.append(&server, 10)?;
    place.view_has(&server, 10).await?;
    stopped(server).await?;

    place.config.postgres.url = url;
    let (server, _) = place.start().await?;
    place.compared(&server).await?;
    let counts = async |expected: i64| {
        until("the count of the open window", async || {
            Ok(place.database.number("SELECT n FROM counted").await.is_ok_and(|found| found == expected))
        })
        .await?;
        assert_eq!(place.database.number("SELECT count(*) FROM counted").await?, 1);
        Outcome::Ok(())
    };
    counts(10).await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    counts(20).await?;

    place.database.db.batch_execute("DROP TABLE kept; DROP TABLE counted").await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    counts(30).await?;
    stopped(server).await?;
    place.database.done().await
}

async fn switched_off() -> Outcome {
    let place = Place::new(BACKLOG_BYTES).await?;
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    until("the marker to be known", async || Ok(status.postgres_checkpoint.load(Ordering::Relaxed) > 0)).await?;
    place.site.write(
        "queries/kept.sql",
        "CREATE MATERIALIZED VIEW kept WITH ('postgres' = 'false') AS SELECT id, ts FROM e;\n",
    )?;
    until("the query to run without a hot table", async || {
        let status = server.published().query("kept").ok_or("the query is gone")?;
        Ok(status.get().0 == QueryState::Running && status.postgres_checkpoint.load(Ordering::Relaxed) == 0)
    })
    .await?;
    place.append(&server, 10)?;
    place.view_has(&server, 20).await?;
    assert_eq!(place.ids_in_postgres().await?.len(), 10);
    place.site.write("queries/kept.sql", KEPT)?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    stopped(server).await?;
    place.database.done().await
}

async fn interrupted() -> Outcome {
    let mut place = Place::new(BACKLOG_BYTES).await?;
    place.config.postgres.replay_hours = 0;
    let (server, status) = place.start().await?;
    for _ in 0..3 {
        place.append(&server, 10)?;
        place.compared(&server).await?;
        until("nothing to wait", async || Ok(status.postgres_waiting_rows.load(Ordering::Relaxed) == 0)).await?;
    }
    stopped(server).await?;
    // Counts how often the new table is begun, and lets the first two transactions into it fail.
    let hindered = "DROP TABLE kept; CREATE SEQUENCE begun; CREATE SEQUENCE tries;
        CREATE FUNCTION begun() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
          $$ BEGIN PERFORM nextval('begun'); RETURN NULL; END $$;
        CREATE TRIGGER begun AFTER INSERT ON touchline_commits FOR EACH ROW
          WHEN (new.query LIKE '%(made anew)') EXECUTE FUNCTION begun();
        CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS
          $$ BEGIN IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$;
        CREATE TRIGGER tried AFTER UPDATE ON touchline_commits FOR EACH ROW
          WHEN (new.query LIKE '%(made anew)' AND new.checkpoint > old.checkpoint) EXECUTE FUNCTION tried();";
    place.database.db.batch_execute(hindered).await?;
    let (server, _) = place.start().await?;
    place.compared(&server).await?;
    assert_eq!(place.database.number("SELECT last_value FROM tries").await?, 3);
    assert_eq!(place.database.number("SELECT last_value FROM begun").await?, 1);
    stopped(server).await?;
    place.database.done().await
}

async fn damaged() -> Outcome {
    let place = Place::new(BACKLOG_BYTES).await?;
    place.proxy.set_open(false);
    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    place.view_has(&server, 10).await?;
    until("all rows to be in public files", async || {
        Ok(status.sealed_files.load(Ordering::Relaxed) > 0 && status.tail_rows.load(Ordering::Relaxed) == 0)
    })
    .await?;
    stopped(server).await?;
    // Nothing but what waits for the table is in them.
    for bundle in fs::read_dir(place.site.path("data/state/q/kept/bundle"))? {
        fs::remove_file(bundle?.path())?;
    }
    place.proxy.set_open(true);
    let (server, status) = place.start().await?;
    place.append(&server, 5)?;
    place.compared(&server).await?;
    until("the query to be well", async || Ok(status.get() == (QueryState::Running, None))).await?;
    stopped(server).await?;
    place.database.done().await
}

async fn newer_marker() -> Outcome {
    let place = Place::new(BACKLOG_BYTES).await?;
    let (server, _) = place.start().await?;
    place.append(&server, 10)?;
    place.compared(&server).await?;
    stopped(server).await?;
    let raised = "UPDATE touchline_commits SET generation = generation + 100";
    assert_eq!(place.database.db.execute(raised, &[]).await?, 1);

    let (server, status) = place.start().await?;
    place.append(&server, 10)?;
    says(&status, "the hot table of query kept belongs to a newer server").await?;
    place.view_has(&server, 20).await?;
    assert_eq!(place.ids_in_postgres().await?.len(), 10, "the table alone stands still");
    assert_eq!(status.get().0, QueryState::Degraded, "{:?}", status.get());
    stopped(server).await?;

    place.database.db.batch_execute("DROP TABLE kept").await?;
    let (server, _) = place.start().await?;
    place.compared(&server).await?;
    stopped(server).await?;
    place.database.done().await
}
