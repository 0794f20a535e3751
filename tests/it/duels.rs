//! Two servers where one may be: over one folder of tables with states of their own, over one state with the older one asleep, and both
//! started again whenever they end.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("duels::two_states_never_write_their_rows_into_one_folder", &[], one_folder),
        trial("duels::a_server_that_slept_through_a_takeover_serves_no_row_and_ends", &[], asleep),
        trial("duels::servers_that_are_started_again_and_again_slow_down", &[], again_and_again),
    ]
}

const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT id, ts FROM e;\n";
const ROWS: i64 = 3;

/// A folder with the view and these rows in its log.
fn site() -> Result<Site, Failed> {
    let site = site_without_log()?;
    put(&site, 0..ROWS)?;
    Ok(site)
}

fn put(site: &Site, ids: std::ops::Range<i64>) -> Outcome {
    let record = |id: i64| format!("{{\"id\":{id},\"ts\":\"2026-01-01T00:00:00Z\"}}");
    append(&*site.embedded_log()?, "e", 0, &ids.map(record).collect::<Vec<_>>())
}

/// Another machine with the same definitions and the same topic.
fn twin(of: &Site) -> Result<Site, Failed> {
    let twin = site_without_log()?;
    copy(&of.path("touchline-data/log"), &twin.path("touchline-data/log"))?;
    Ok(twin)
}

fn site_without_log() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/v.sql", VIEW)?;
    Ok(site)
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() { copy(&entry.path(), &target)? } else { _ = fs::copy(entry.path(), target)? }
    }
    Ok(())
}

fn serve(site: &Site, state: &Path, tables: &Path) -> Result<Server, Failed> {
    let (state, tables) = (state.to_string_lossy(), tables.to_string_lossy());
    site.serve(&[
        ("TOUCHLINE_STORAGE_STATE_URL", &*state),
        ("TOUCHLINE_STORAGE_TABLES_URL", &*tables),
        ("TOUCHLINE_ENGINE_SEAL_AGE", "100ms"),
        ("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms"),
    ])
}

fn rows(server: &Server) -> Result<i64, Failed> {
    let rows = server.query("SELECT count(*) AS n FROM v")?;
    rows.first().and_then(|row| row["n"].as_i64()).ok_or_else(|| "no answer".into())
}

fn wait_for_rows(server: &Server, wanted: i64) -> Outcome {
    server.wait_for("the rows", |server| Ok((rows(server)? == wanted).then_some(())))
}

fn wait_for_files(server: &Server) -> Outcome {
    server.wait_for("the rows to be in files", |server| {
        let found = server.query("SELECT tail_rows AS n, sealed_files AS f FROM touchline.queries")?;
        Ok(found.first().filter(|row| row["n"] == 0 && row["f"] != 0).map(|_| ()))
    })
}

/// What an outside reader with a glob counts.
fn rows_in(folder: &Path) -> Result<i64, Failed> {
    let mut rows = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rows += rows_in(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            rows += SerializedFileReader::new(fs::File::open(&path)?)?.metadata().file_metadata().num_rows();
        }
    }
    Ok(rows)
}

fn one_folder() -> Outcome {
    let first = site()?;
    let other = twin(&first)?;
    let tables = first.path("tables");
    let server = serve(&first, &first.path("state"), &tables)?;
    wait_for_files(&server)?;
    // Beside it, and after it with its state lost.
    let beside = serve(&other, &other.path("state"), &tables)?;
    is_blocked(&beside)?;
    server.terminate()?;
    let (status, _, log) = beside.terminate()?;
    assert!(status.success(), "{log}");
    fs::remove_dir_all(first.path("state"))?;
    let server = serve(&first, &first.path("state"), &tables)?;
    is_blocked(&server)?;
    assert_eq!(rows_in(&tables.join("v"))?, ROWS);
    let (_, metrics) = server.get("/metrics")?;
    let strangers = metrics.lines().find(|line| line.starts_with("touchline_public_strangers{"));
    assert!(strangers.is_some_and(|line| !line.ends_with(" 0") && !line.ends_with(" 0.0")), "{metrics}");
    Ok(())
}

/// Its rows can be read, and it says why they are in no file.
fn is_blocked(server: &Server) -> Outcome {
    wait_for_rows(server, ROWS)?;
    server.wait_for("the query to say so", |server| {
        let found = server.query("SELECT reason, tail_rows FROM touchline.queries")?;
        let [row] = found.as_slice() else { return Ok(None) };
        let says = row["reason"].as_str().is_some_and(|reason| {
            ["writes no files into the folder", "storage.tables_url"].iter().all(|words| reason.contains(words))
        });
        if says && row["tail_rows"] == json!(ROWS) { Ok(Some(())) } else { Err(row.to_string().into()) }
    })
}

/// From SIGCONT until the loser has gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A look at the store vouches for ten seconds of statements: this is longer.
const SLEEP: Duration = Duration::from_secs(11);

const DUELS: usize = 3;

fn asleep() -> Outcome {
    thread::scope(|scope| {
        let duels: Vec<_> =
            (0..DUELS).map(|_| scope.spawn(|| duel().map_err(|failed| format!("{failed:?}")))).collect();
        duels.into_iter().try_for_each(|duel| match duel.join() {
            Ok(outcome) => outcome.map_err(Failed::from),
            Err(_) => Err("a duel panicked".into()),
        })
    })
}

fn duel() -> Outcome {
    let first = site()?;
    let second = twin(&first)?;
    let (state, tables) = (first.path("state"), first.path("tables"));
    let mut loser = serve(&first, &state, &tables)?;
    // From now on it has nothing to commit.
    wait_for_files(&loser)?;
    loser.send("-STOP")?;
    let asleep = Instant::now();
    put(&second, ROWS..ROWS + 1)?;
    let winner = serve(&second, &state, &tables)?;
    wait_for_rows(&winner, ROWS + 1)?;
    // The test's subject is a server that is away for so long, so this is no wait for something.
    thread::sleep(SLEEP.saturating_sub(asleep.elapsed()));
    loser.send("-CONT")?;
    let awake = Instant::now();
    let answered = loser.query("SELECT count(*) AS n FROM v");
    assert!(answered.is_err(), "it served {answered:?}, which the winner has moved on from");
    let (status, log) = loser.ended()?;
    assert!(awake.elapsed() < GONE_WITHIN, "it took {:?}\n{log}", awake.elapsed());
    assert_eq!(status.code(), Some(78), "{log}");
    let named = log.lines().find(|line| line.contains("was taken over by generation 2, instance "));
    assert!(named.is_some(), "{log}");
    assert_eq!(rows(&winner)?, ROWS + 1);
    Ok(())
}

/// For how long two supervisors start their servers again and again.
const RESTARTED_FOR: Duration = Duration::from_secs(8);

/// Two at once, and then after pauses of 2, 4 and 8 seconds.
const STARTS_MAX: usize = 5;

fn again_and_again() -> Outcome {
    let first = site()?;
    let second = twin(&first)?;
    let (state, tables) = (first.path("state"), first.path("tables"));
    let until = Instant::now() + RESTARTED_FOR;
    let waited = thread::scope(|scope| {
        let (state, tables) = (&state, &tables);
        let both = [&first, &second].map(|site| scope.spawn(move || supervise(site, state, tables, until)));
        both.map(|one| one.join().unwrap_or_else(|_| Err("a supervisor panicked".to_owned())))
    });
    let mut has_waited = false;
    for one in waited {
        has_waited |= one?;
    }
    assert!(has_waited, "no start has waited for the other server");
    let claims = fs::read_dir(state.join("gens"))?.filter_map(Result::ok);
    let claims = claims.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count();
    assert!(claims <= STARTS_MAX, "{claims} starts in {} s", RESTARTED_FOR.as_secs());
    Ok(())
}

/// Starts a server whenever it has been thrown out. Returns whether a start has waited.
fn supervise(site: &Site, state: &Path, tables: &Path, until: Instant) -> Result<bool, String> {
    let mut has_waited = false;
    while Instant::now() < until {
        let mut server = serve(site, state, tables).map_err(|failed| format!("{failed:?}"))?;
        let log = until_thrown_out(&mut server, until).map_err(|failed| format!("{failed:?}"))?;
        has_waited |= log.contains("waiting before this one takes over");
    }
    Ok(has_waited)
}

fn until_thrown_out(server: &mut Server, until: Instant) -> Result<String, Failed> {
    while !server.has_ended()? {
        if Instant::now() > until {
            return Ok(server.log());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let (status, log) = server.ended()?;
    if status.code() == Some(78) { Ok(log) } else { Err(format!("{status}\n{log}").into()) }
}
