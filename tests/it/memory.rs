//! One budget for the whole server: what has no room in it goes to local disk, or is left to checkpoints; what cannot go there is refused
//! by name.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("memory::five_million_open_keys_end_right_within_256_mib", &[], five_million_keys),
        trial("memory::more_open_keys_than_memory_end_right_without_a_disk", &[], without_a_disk),
        trial(
            "memory::a_query_that_needs_what_cannot_go_to_disk_is_refused_by_name_and_the_others_go_on",
            &[],
            refused_by_name,
        ),
    ]
}

const MIB: u64 = 1 << 20;

/// Distinct keys, each a text of 36 bytes.
const KEYS: u64 = 5_000_000;

/// What the process may take beside the budget: code, threads, buffers of readers and writers.
const BESIDE: u64 = 200 * MIB;

/// On a busy machine it takes about a minute.
const LIMIT: Duration = Duration::from_secs(280);

/// Ends with its number, so that the keys can be summed; begins so that they are in no order.
fn key(number: u64) -> String {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    format!("{mixed:08x}-0000-4000-8000-{number:012}")
}

fn five_million_keys() -> Outcome {
    let site = Site::new()?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(site.path("keys.ndjson"))?);
    for number in 0..KEYS {
        writeln!(file, r#"{{"k":"{}","ts":"2026-01-01T12:{:02}:00Z"}}"#, key(number), number % 60)?;
    }
    file.into_inner()?.sync_all()?;
    site.write(
        "schemas/keys.sql",
        "CREATE TABLE keys (k VARCHAR NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '2 hours')
WITH ('connector' = 'filesystem', 'path' = '../keys.ndjson', 'format' = 'json');\n",
    )?;
    site.write(
        "queries/per_key.sql",
        "CREATE MATERIALIZED VIEW per_key AS SELECT window_start, k, count(*) AS n
FROM TUMBLE(keys, ts, INTERVAL '1 hour') GROUP BY window_start, window_end, k;\n",
    )?;
    // Freed memory goes back as it does in a container of ours.
    let settings = [("TOUCHLINE_ENGINE_STATE_BYTES_MAX", "256MiB"), ("MIMALLOC_PURGE_DELAY", "10")];
    let mut server = site.serve(&settings)?;
    let (mut on_disk, mut peak, mut killed) = (0, 0, false);
    let deadline = Instant::now() + LIMIT;
    loop {
        let rows = server.query("SELECT state, reason, state_disk_bytes FROM touchline.queries")?;
        on_disk = on_disk.max(rows[0]["state_disk_bytes"].as_u64().unwrap_or(0));
        if on_disk > 50 * MIB && !killed {
            // What was on disk is gone with it. What large segments of the last checkpoint hold is read when the window closes.
            peak = peak_of(&server)?;
            server.kill()?;
            server = site.serve(&settings)?;
            killed = true;
            continue;
        }
        match rows[0]["state"].as_str() {
            Some("FINISHED") => break,
            Some("FAILED") => return Err(format!("{}", rows[0]["reason"]).into()),
            _ if Instant::now() > deadline => return Err(format!("not finished in {LIMIT:?}\n{}", server.log()).into()),
            _ => std::thread::sleep(Duration::from_millis(200)),
        }
    }
    let sums = "SELECT count(*) AS keys, sum(n) AS rows, sum(CAST(substr(k, 25) AS BIGINT)) AS numbers FROM per_key";
    let found = server.query(sums)?.remove(0);
    assert_eq!(
        (found["keys"].as_u64(), found["rows"].as_u64(), found["numbers"].as_u64()),
        (Some(KEYS), Some(KEYS), Some(KEYS * (KEYS - 1) / 2))
    );
    let peak = peak.max(peak_of(&server)?);
    assert!(killed, "{on_disk} bytes of state were on disk at the most");
    assert!(peak < 256 * MIB + BESIDE, "at its peak the server took {} MiB", peak / MIB);
    Ok(())
}

/// Windows of a minute that are open together, and keys of each. With a sum each key takes 68 bytes: 68 MB.
const WINDOWS: u64 = 40;
const KEYS_OF_EACH: u64 = 25_000;

/// Each window closes for itself: an epoch takes fewer rows than there are between those that close one and the next.
fn without_a_disk() -> Outcome {
    let site = Site::new()?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(site.path("keys.ndjson"))?);
    for number in 0..WINDOWS * KEYS_OF_EACH {
        let (key, minute) = (key(number), number / KEYS_OF_EACH);
        writeln!(file, r#"{{"k":"{key}","number":{number},"ts":"2026-01-01T12:{minute:02}:00Z"}}"#)?;
    }
    for minute in 0..=WINDOWS {
        for _ in 0..20_000 {
            writeln!(file, r#"{{"k":"","number":0,"ts":"2026-01-01T14:{minute:02}:00Z"}}"#)?;
        }
    }
    file.into_inner()?.sync_all()?;
    site.write(
        "schemas/keys.sql",
        "CREATE TABLE keys (k VARCHAR NOT NULL, number BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2 hours')
WITH ('connector' = 'filesystem', 'path' = '../keys.ndjson', 'format' = 'json');\n",
    )?;
    site.write(
        "queries/per_minute.sql",
        "CREATE MATERIALIZED VIEW per_minute AS SELECT window_end, count(*) AS keys, sum(number) AS numbers FROM TUMBLE(
  (SELECT window_time AS at, k, sum(number) AS number FROM TUMBLE(keys, ts, INTERVAL '1 minute')
   GROUP BY window_start, window_end, window_time, k), at, INTERVAL '1 minute')
GROUP BY window_start, window_end;\n",
    )?;
    let server = site.serve(&[
        ("TOUCHLINE_ENGINE_STATE_BYTES_MAX", "48MiB"),
        ("TOUCHLINE_ENGINE_SPILL_BYTES_MAX", "0"),
        ("TOUCHLINE_ENGINE_EPOCH_ROWS_MAX", "10000"),
        ("TOUCHLINE_ENGINE_CHECKPOINT_INTERVAL", "50ms"),
    ])?;
    server.wait_for("the query to finish", |server| {
        let rows = server.query("SELECT state, reason FROM touchline.queries")?;
        match rows[0]["state"].as_str() {
            Some("FINISHED") => Ok(Some(())),
            _ => Err(format!("it is {}: {}", rows[0]["state"], rows[0]["reason"]).into()),
        }
    })?;
    let sums =
        "SELECT count(*) AS windows, sum(keys) AS keys, sum(numbers) AS numbers FROM per_minute WHERE numbers > 0";
    let found = server.query(sums)?.remove(0);
    let keys = WINDOWS * KEYS_OF_EACH;
    assert_eq!(
        (found["windows"].as_u64(), found["keys"].as_u64(), found["numbers"].as_u64()),
        (Some(WINDOWS), Some(keys), Some(keys * (keys - 1) / 2))
    );
    Ok(())
}

/// The most memory that the server has had resident, bytes.
fn peak_of(server: &Server) -> Result<u64, Failed> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

fn refused_by_name() -> Outcome {
    let site = Site::new()?;
    let mut file = BufWriter::new(File::create(site.path("large.ndjson"))?);
    for id in 0..400_000 {
        writeln!(file, r#"{{"id":{id},"name":"{:0>150}"}}"#, id)?;
    }
    file.into_inner()?.sync_all()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write(
        "schemas/large.sql",
        "CREATE TABLE large (id BIGINT, name VARCHAR)
WITH ('connector' = 'filesystem', 'path' = '../large.ndjson', 'format' = 'json');\n",
    )?;
    site.write("queries/ids.sql", "CREATE MATERIALIZED VIEW ids AS SELECT id FROM e;\n")?;
    site.write(
        "queries/named.sql",
        "CREATE MATERIALIZED VIEW named AS SELECT e.id, l.name FROM e JOIN large l ON l.id = e.id;\n",
    )?;
    {
        let log = site.embedded_log()?;
        append(&log, "e", 0, &[r#"{"id":1,"ts":"2026-01-01T12:00:00Z"}"#, r#"{"id":2,"ts":"2026-01-01T12:00:01Z"}"#])?;
    }
    let server = site.serve(&[("TOUCHLINE_ENGINE_STATE_BYTES_MAX", "48MiB")])?;
    let reason = server.wait_for("query named to be refused", |server| {
        let rows = server.query("SELECT state, reason FROM touchline.queries WHERE name = 'named'")?;
        match rows.first().map(|row| (row["state"].as_str(), row["reason"].as_str())) {
            Some((Some("FAILED"), Some(reason))) => Ok(Some(reason.to_owned())),
            other => Err(format!("it is {other:?}").into()),
        }
    })?;
    assert!(reason.contains("query \"named\" needs"), "{reason}");
    assert!(reason.contains("engine.state_bytes_max is 50331648 bytes"), "{reason}");
    server.wait_for("the other query's rows", |server| {
        let rows = server.query("SELECT count(*) AS n FROM ids")?;
        Ok((rows[0]["n"] == 2).then_some(()))
    })?;
    let rows = server.query("SELECT state FROM touchline.queries WHERE name = 'ids'")?;
    assert_eq!(rows[0]["state"], "RUNNING");
    Ok(())
}
