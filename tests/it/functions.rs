//! Functions: users' own follow their files like the queries that use them, and a wrong call is said with its place.

use std::fs;

use libtest_mimic::{Failed, Trial};
use serde_json::json;

use crate::process::{STREAM, Server, Site, append};
use crate::services::{Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("functions::a_changed_function_is_followed_by_the_queries_that_use_it", &[], a_changed_function),
        trial("functions::scripts_and_check_know_users_functions", &[], scripts_and_check),
        trial("functions::a_wrong_call_is_said_with_its_place_and_what_is_right", &[], a_wrong_call),
    ]
}

/// A server with the view `a` of `worth(id)`, over three rows that it has.
fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", STREAM)?;
    site.write("queries/a.sql", "CREATE MATERIALIZED VIEW a AS\nSELECT id, worth(id) AS w FROM e;\n")?;
    site.write("queries/other.sql", "CREATE MATERIALIZED VIEW other AS SELECT id FROM e;\n")?;
    let rows = [1, 2, 3].map(|id| format!("{{\"id\":{id},\"ts\":\"2026-01-01T12:00:0{id}.000Z\"}}"));
    append(&*site.embedded_log()?, "e", 0, &rows)?;
    Ok(site)
}

fn wait_for_sum(server: &Server, wanted: f64) -> Outcome {
    server.wait_for(&format!("the sum of a to be {wanted}"), |server| {
        let rows = server.query("SELECT sum(w) AS s, count(*) AS n FROM a")?;
        match rows.first() {
            Some(row) if row["n"] == 3 && row["s"] == json!(wanted) => Ok(Some(())),
            other => Err(format!("it is {other:?}").into()),
        }
    })
}

/// The error of a statement that must fail.
fn refused(server: &Server, sql: &str) -> Result<String, Failed> {
    match server.query(sql) {
        Ok(rows) => Err(format!("{sql} was answered with {rows:?}").into()),
        Err(failed) => Ok(failed.message().unwrap_or_default().to_owned()),
    }
}

fn a_changed_function() -> Outcome {
    let site = site()?;
    let worth = |body: &str| format!("CREATE FUNCTION worth(n DOUBLE) RETURNS DOUBLE\nRETURN {body};\n");
    site.write("schemas/worth.sql", &worth("n * factor()"))?;
    site.write("queries/z_factor.sql", "CREATE FUNCTION factor() RETURNS DOUBLE RETURN CAST(2 AS DOUBLE);\n")?;
    let server = site.serve(&[])?;
    wait_for_sum(&server, 12.0)?;
    assert_eq!(server.query("SELECT worth(10) AS w, factor() AS f")?, [json!({ "w": 20.0, "f": 2.0 })]);

    // Also where it is used by way of another.
    site.write("queries/z_factor.sql", "CREATE FUNCTION factor() RETURNS DOUBLE RETURN CAST(10 AS DOUBLE);\n")?;
    wait_for_sum(&server, 60.0)?;
    let started = |server: &Server| server.log().matches("\"query started\"").count();
    assert_eq!(started(&server), 3, "a, other, and a again\n{}", server.log());

    // A mistake: the query goes on, the file is reported with its place, and a new call is told.
    site.write("schemas/worth.sql", &worth("n * nix"))?;
    let place = "schemas/worth.sql:2:12: column \"nix\" does not exist";
    server.wait_for("the mistake to be listed", |server| {
        let rows = server.query("SELECT name, reason FROM touchline.queries WHERE state = 'REJECTED'")?;
        let reason = rows.first().and_then(|row| row["reason"].as_str()).unwrap_or_default();
        Ok(reason.starts_with(place).then_some(()))
    })?;
    let row = server.query("SELECT state, reason FROM touchline.queries WHERE name = 'a'")?;
    let shown = format!("{row:?}");
    assert!(shown.contains("RUNNING") && shown.contains("its last good version runs"), "{shown}");
    assert!(shown.contains("queries/a.sql:2:12: function"), "{shown}");
    wait_for_sum(&server, 60.0)?;
    let said = refused(&server, "SELECT worth(1)")?;
    assert!(said.contains("function \"worth\" has a mistake in its definition") && said.contains(place), "{said}");

    // Gone: the name is unknown.
    fs::remove_file(site.path("schemas/worth.sql"))?;
    server.wait_for("the function to be gone", |server| {
        let said = refused(server, "SELECT worth(1)")?;
        Ok(said.to_lowercase().contains("invalid function 'worth'").then_some(()))
    })?;
    let said = refused(&server, "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE RETURN a")?;
    assert!(said.contains("read-only"), "{said}");
    Ok(())
}

fn scripts_and_check() -> Outcome {
    let site = Site::new()?;
    site.write("n.csv", "n\n1\n2\n")?;
    let script = "\
SELECT n, cube(n) AS c FROM t WHERE is_even(n);
CREATE FUNCTION cube(x BIGINT) RETURNS BIGINT RETURN x * x * x;
CREATE FUNCTION is_even(x BIGINT) RETURNS BOOLEAN RETURN x % 2 = 0;
CREATE TABLE t (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'n.csv', 'format' = 'csv');
";
    // Tables are known from where they stand on; functions everywhere.
    let (select, rest) = script.split_once('\n').ok_or("two parts")?;
    site.write("script.sql", &format!("{rest}{select}\n"))?;
    assert_eq!(site.output(&["run", "--output", "json", "script.sql"])?, "{\"n\":2,\"c\":8}\n");
    assert_eq!(site.output(&["check", "--run", "script.sql"])?, "script.sql: 1 table, 2 functions, 1 select\n");

    site.write("schemas/f.sql", "CREATE FUNCTION f(a DOUBLE) RETURNS DOUBLE\nRETURN f(a);\n")?;
    site.write(
        "queries/g.sql",
        "CREATE FUNCTION sqrt(a DOUBLE) RETURNS DOUBLE RETURN a;\nCREATE FUNCTION h(a INT) RETURNS INT RETURN ;\n",
    )?;
    let ran = site.run(&["check"])?;
    assert_eq!(ran.code, Some(64));
    assert_eq!(
        ran.stderr,
        "\
error: queries/g.sql:1:1: there is a function \"sqrt\" already
  hint: choose another name: built-in functions cannot be replaced
error: queries/g.sql:2:44: expected an expression, found the end of the statement
error: schemas/f.sql:2:8: function \"f\" leads back to itself
  hint: write the value out: a function cannot call itself, not by way of others either
"
    );
    Ok(())
}

fn a_wrong_call() -> Outcome {
    let site = Site::new()?;
    for (sql, said) in [
        (
            "SELECT 1 AS one,\n  xg(108, 'left') AS x",
            "q.sql:2:3: xg takes (x DOUBLE, y DOUBLE [, body_part VARCHAR [, shot_type VARCHAR]]), not (BIGINT, VARCHAR)",
        ),
        ("SELECT\n  ppda() AS p", "q.sql:2:3: ppda takes (opponent_passes DOUBLE, defensive_actions DOUBLE), not ()"),
        (
            "SELECT 1\nWHERE field_tilt(1, 2, 3) > 0",
            "q.sql:2:7: field_tilt takes (own DOUBLE, opponent DOUBLE), not (BIGINT, BIGINT, BIGINT)",
        ),
        (
            "SELECT decayed_sum(1, n, 5) FROM (VALUES (1)) AS v(n)",
            "q.sql:1:8: decayed_sum takes (value DOUBLE, event_time TIMESTAMP, half_life DOUBLE), not (BIGINT, BIGINT, BIGINT)",
        ),
        (
            "SELECT heatmap(n, n, n, 8) FROM (VALUES (1)) AS v(n)",
            "q.sql:1:8: heatmap: columns is a constant, the same for all rows",
        ),
        ("SELECT\n twice('a')", "q.sql:2:2: twice takes (n DOUBLE), not (VARCHAR)"),
        ("SELECT\n sqrt('a', 1)", "q.sql:2:2: sqrt cannot be called with (VARCHAR, BIGINT)"),
        (
            "SELECT field_tilt(-1, 2)",
            "q.sql:1:8: field_tilt(-1, 2): own and opponent are counts and cannot be negative",
        ),
    ] {
        site.write("q.sql", &format!("{sql};\nCREATE FUNCTION twice(n DOUBLE) RETURNS DOUBLE RETURN n * 2;\n"))?;
        for command in [&["check", "--run", "q.sql"][..], &["run", "q.sql"]] {
            let ran = site.run(command)?;
            let planned = command[0] == "run" || !sql.contains("(-1") && !sql.contains("heatmap(n");
            if planned {
                assert_eq!(ran.code, Some(64), "{command:?} {sql}: {}", ran.stderr);
                assert!(ran.stderr.starts_with(&format!("error: {said}")), "{command:?} {sql}: {}", ran.stderr);
            }
        }
    }
    Ok(())
}
