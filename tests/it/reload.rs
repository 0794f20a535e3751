//! The definition folders are followed while the server runs: one broken file harms neither the others nor its last good version.

use std::fs;

use libtest_mimic::{Failed, Trial};

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("reload::a_broken_file_is_reported_everywhere_and_its_last_good_version_runs", &[], a_broken_file),
        trial("reload::a_file_that_is_written_in_pieces_or_renamed_over_is_taken_whole", &[], pieces_and_renames),
        trial("reload::fifty_changes_at_once_all_take_effect", &[], fifty_changes),
        trial("reload::a_broken_table_stops_no_query_that_reads_it", &[], a_broken_table),
        trial("reload::a_plain_view_is_followed_by_what_reads_it", &[], a_plain_view),
        trial(
            "reload::a_failed_query_is_tried_again_when_its_file_is_saved_and_goes_on_when_mended",
            &[],
            a_failed_query,
        ),
    ]
}

fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/a.sql", "CREATE MATERIALIZED VIEW a AS SELECT id FROM e;\n")?;
    Ok(site)
}

/// `state: reason` of a query, once it is listed.
fn state(server: &Server, query: &str) -> Result<Option<String>, Failed> {
    let rows = server.query(&format!("SELECT state, reason FROM touchline.queries WHERE name = '{query}'"))?;
    Ok(rows.first().map(|row| {
        let text = |column: &str| row[column].as_str().unwrap_or_default().to_owned();
        // Where a trial takes a minute, its queries have had no input for as long.
        let state = text("state").replace("IDLE", "RUNNING");
        format!("{state}: {}", text("reason")).trim_end_matches([':', ' ']).to_owned()
    }))
}

fn wait_for_state(server: &Server, query: &str, wanted: &str) -> Outcome {
    server.wait_for(&format!("query {query} to be {wanted:?}"), |server| {
        let state = state(server, query)?;
        if state.as_deref() == Some(wanted) {
            return Ok(Some(()));
        }
        Err(format!("it is {state:?}").into())
    })
}

fn wait_until_gone(server: &Server, query: &str) -> Outcome {
    server.wait_for(&format!("query {query} to be gone"), |server| Ok(state(server, query)?.is_none().then_some(())))
}

fn a_broken_file() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    wait_for_state(&server, "a", "RUNNING")?;

    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS\nSELECT nope FROM e;\n")?;
    let mistake = "queries/b.sql:2:8: column \"nope\" does not exist\n  hint: there are id, ts";
    wait_for_state(&server, "b", &format!("REJECTED: {mistake}"))?;
    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS\nSELECT id FROM e;\n")?;
    wait_for_state(&server, "b", "RUNNING")?;
    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS\nSELECT nope FROM e;\n")?;
    wait_for_state(&server, "b", &format!("RUNNING: the file has an error, its last good version runs\n{mistake}"))?;
    assert!(server.log().contains("queries/b.sql:2:8: column"), "{}", server.log());
    let (_, metrics) = server.get("/metrics")?;
    assert!(metrics.contains("touchline_query_file_wrong{query=\"b\",file=\"queries/b.sql\"} 1"), "{metrics}");
    assert!(metrics.contains("touchline_query_file_wrong{query=\"a\",file=\"queries/a.sql\"} 0"), "{metrics}");
    assert_eq!(state(&server, "a")?.as_deref(), Some("RUNNING"));

    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS\nSELECT id FROM e;\n")?;
    wait_for_state(&server, "b", "RUNNING")?;
    fs::remove_file(site.path("queries/b.sql"))?;
    wait_until_gone(&server, "b")?;
    site.write("queries/c.sql", "CREATE MATERIALIZED VIEW c AS SELEC")?;
    server.wait_for("the unreadable file to be listed", |server| {
        let state = state(server, "queries/c.sql")?;
        Ok(state.is_some_and(|state| state.starts_with("REJECTED: queries/c.sql:1:31: ")).then_some(()))
    })?;
    fs::remove_file(site.path("queries/c.sql"))?;
    wait_until_gone(&server, "queries/c.sql")
}

fn pieces_and_renames() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    wait_for_state(&server, "a", "RUNNING")?;
    let text = "CREATE MATERIALIZED VIEW b AS SELECT id FROM e;\n";
    // Quicker than the debounce, as an editor or a copy is.
    for end in 0..=text.len() {
        site.write("queries/b.sql", &text[..end])?;
    }
    wait_for_state(&server, "b", "RUNNING")?;
    // What editors leave beside a file, and how they put the new one in its place.
    site.write("queries/.b.sql.swp", "not SQL")?;
    site.write("queries/b.sql~", "not SQL")?;
    site.write("queries/b.tmp", "CREATE MATERIALIZED VIEW renamed AS SELECT id FROM e;\n")?;
    fs::rename(site.path("queries/b.tmp"), site.path("queries/b.sql"))?;
    wait_for_state(&server, "renamed", "RUNNING")?;
    wait_until_gone(&server, "b")?;
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
    Ok(())
}

fn fifty_changes() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    for number in 0..50 {
        site.write(
            &format!("queries/n{number}.sql"),
            &format!("CREATE MATERIALIZED VIEW n{number} AS SELECT id + {number} AS id FROM e;\n"),
        )?;
    }
    server.wait_for("51 running queries", |server| {
        let rows = server.query("SELECT count(*) AS n FROM touchline.queries WHERE state IN ('RUNNING', 'IDLE')")?;
        Ok((rows.first().ok_or("no row")?["n"] == 51).then_some(()))
    })?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    Ok(())
}

fn a_broken_table() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    wait_for_state(&server, "a", "RUNNING")?;
    site.write("schemas/e.sql", "CREATE TABLE e (id BIGINT NOT NULL WITH")?;
    server.wait_for("the broken table to be listed", |server| {
        let state = state(server, "schemas/e.sql")?;
        Ok(state.is_some_and(|state| state.starts_with("REJECTED: schemas/e.sql:1:")).then_some(()))
    })?;
    assert_eq!(state(&server, "a")?.as_deref(), Some("RUNNING"));
    site.write("schemas/e.sql", STREAM)?;
    wait_until_gone(&server, "schemas/e.sql")?;
    assert_eq!(state(&server, "a")?.as_deref(), Some("RUNNING"));
    Ok(())
}

fn a_plain_view() -> Outcome {
    let site = site()?;
    site.write("schemas/v.sql", "CREATE VIEW v AS SELECT id + 1 AS id, ts FROM e;\n")?;
    site.write("queries/a.sql", "CREATE MATERIALIZED VIEW a AS SELECT id FROM v;\n")?;
    let server = site.serve(&[])?;
    wait_for_state(&server, "a", "RUNNING")?;
    assert_eq!(server.query("SELECT count(*) AS n FROM v")?[0]["n"], 0);
    assert_eq!(state(&server, "v")?, None);

    site.write("schemas/v.sql", "CREATE VIEW v AS\nSELECT nope AS id, ts FROM e;\n")?;
    let mistake = "schemas/v.sql:2:8: column \"nope\" does not exist\n  hint: there are id, ts";
    wait_for_state(&server, "v", &format!("REJECTED: {mistake}"))?;
    wait_for_state(&server, "a", &format!("RUNNING: the file has an error, its last good version runs\n{mistake}"))?;

    let starts = |server: &Server| server.log().matches("query started").count();
    let before = starts(&server);
    site.write("schemas/v.sql", "CREATE VIEW v AS\nSELECT id + 2 AS id, ts FROM e;\n")?;
    wait_for_state(&server, "a", "RUNNING")?;
    wait_until_gone(&server, "v")?;
    // What the view computes is part of what the query computes.
    assert_eq!(starts(&server), before + 1, "{}", server.log());
    fs::remove_file(site.path("schemas/v.sql"))?;
    server.wait_for("the view to be gone", |server| Ok(server.query("SELECT * FROM v").is_err().then_some(())))
}

fn a_failed_query() -> Outcome {
    let site = site()?;
    let strict = STREAM.replace("'json'", "'json', 'on-bad-row' = 'fail'");
    site.write("schemas/e.sql", &strict)?;
    let rows = [r#"{"id":1,"ts":"2026-01-01T12:00:00Z"}"#, "not JSON", r#"{"id":2,"ts":"2026-01-01T12:00:01Z"}"#];
    append(&*site.embedded_log()?, "e", 0, &rows)?;
    let server = site.serve(&[])?;
    let failures = |server: &Server| server.log().matches("query failed; its last checkpoint stands").count();
    let reason = server.wait_for("the query to fail", |server| {
        Ok(state(server, "a")?.filter(|state| state.starts_with("FAILED: ")))
    })?;
    assert!(reason.contains("save or touch queries/a.sql to start it again"), "{reason}");
    assert_eq!(failures(&server), 1);

    // As `touch` does: another time, the same text.
    let again = fs::File::options().append(true).open(site.path("queries/a.sql"))?;
    let saved = again.metadata()?.modified()?;
    again.set_modified(saved + std::time::Duration::from_secs(2))?;
    server.wait_for("the query to fail once more", |server| Ok((failures(server) == 2).then_some(())))?;

    site.write("schemas/e.sql", &strict.replace("'fail'", "'dead-letter'"))?;
    wait_for_state(&server, "a", "RUNNING")?;
    server.wait_for("the rows around the bad one", |server| {
        let rows = server.query("SELECT id FROM a ORDER BY id")?;
        Ok((rows == [serde_json::json!({ "id": 1 }), serde_json::json!({ "id": 2 })]).then_some(()))
    })?;
    server.wait_for("what readers see to be timed", |server| {
        let (_, metrics) = server.get("/metrics")?;
        let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok());
        let of = |name: &str| -> Vec<u64> {
            let own = metrics.lines().filter(|line| line.starts_with(name) && line.contains("query=\"a\""));
            own.filter_map(value).collect()
        };
        let (buckets, count) =
            (of("touchline_query_visible_seconds_bucket{"), of("touchline_query_visible_seconds_count{"));
        assert!(buckets.is_sorted() && buckets.last() == count.first(), "{buckets:?} {count:?}");
        Ok((count.first() > Some(&0)).then_some(()))
    })
}
