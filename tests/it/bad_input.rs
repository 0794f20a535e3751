//! Mistakes of a user or an operator: each gives one clear error with its place and what to do, and a non-zero exit; where the
//! server can go on, it says so in its status.

use std::net::TcpListener;

use libtest_mimic::{Failed, Trial};

use crate::process::{Ran, Site};
use crate::services::{self, Need, Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("bad_input::check_finds_all_mistakes_of_all_files_at_once", &[], check_finds_all_mistakes),
        trial("bad_input::a_call_with_wrong_arguments_is_shown_at_its_place_with_its_signature", &[], wrong_calls),
        trial("bad_input::a_script_for_run_may_read_its_own_views_and_a_server_may_not", &[], scripts_and_servers),
        trial("bad_input::an_occupied_port_is_named_with_its_setting", &[], an_occupied_port),
        trial("bad_input::a_data_directory_that_cannot_be_made_is_named", &[], an_unusable_directory),
        trial("bad_input::all_unknown_settings_are_named_with_their_place", &[], unknown_settings),
        trial("bad_input::what_is_no_postgres_address_ends_the_start", &[], no_postgres_address),
        trial(
            "bad_input::a_wrong_postgres_password_degrades_the_hot_table_and_nothing_else",
            &[Need::Postgres],
            a_wrong_password,
        ),
        trial("bad_input::a_broker_that_does_not_answer_degrades_the_query_and_nothing_else", &[], no_broker),
        trial("bad_input::a_value_that_does_not_fit_its_column_is_not_written_as_null", &[], a_value_that_does_not_fit),
    ]
}

const EVENTS: &str = "\
CREATE TABLE e (
  id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, v DOUBLE,
  WATERMARK FOR ts AS ts - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
CREATE TABLE nowm (id BIGINT, ts TIMESTAMP(3)) WITH ('connector' = 'kafka', 'topic' = 'n', 'format' = 'json');
";

fn check_finds_all_mistakes() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", EVENTS)?;
    site.write(
        "schemas/x.sql",
        "CREATE TABLE x (id BIGINT) WITH ('connector'='rabbit','topic'='n','format'='json');\n\
         CREATE TABLE y (m INT CHECK (m IN (1, 'a'))) WITH ('connector'='kafka','topic'='y');\n",
    )?;
    site.write(
        "queries/q.sql",
        "\
CREATE MATERIALIZED VIEW a AS SELECT idd FROM e;
CREATE MATERIALIZED VIEW b AS SELECT window_start, count(*) FROM TUMBLE(nowm, ts, INTERVAL '1 minute') GROUP BY window_start;
CREATE MATERIALIZED VIEW c WITH ('primry-key' = 'id') AS SELECT id FROM e;
CREATE MATERIALIZED VIEW d AS SELECT count(*) FROM e;
CREATE MATERIALIZED VIEW f WITH ('primary-key' = 'nix') AS SELECT id FROM e;
CREATE MATERIALIZED VIEW g AS SELECT id FROM e;
",
    )?;
    let ran = site.run(&["check", "."])?;
    assert_eq!(ran.code, Some(64));
    assert_eq!(
        ran.stderr,
        "\
error: queries/q.sql:1:38: column \"idd\" does not exist
  hint: did you mean \"id\"?
error: queries/q.sql:2:1: column \"ts\" has no watermark, so its windows would never close
  hint: declare WATERMARK FOR it in the table's CREATE TABLE, and pass it on unchanged
error: queries/q.sql:3:34: option \"primry-key\" is not known
  hint: did you mean \"primary-key\"?
error: queries/q.sql:4:1: an aggregate over a stream needs a window, or it would never be final
  hint: FROM TUMBLE(t, ts, INTERVAL '1 minute') … GROUP BY window_start, window_end, …
error: queries/q.sql:5:1: 'primary-key' names column \"nix\", which the view does not have
  hint: there are id
error: schemas/x.sql:1:46: connector \"rabbit\" is not known
  hint: known are 'kafka', 'filesystem' and 'postgres'
error: schemas/x.sql:2:39: 'a' cannot be compared with column \"m\", which is int
  hint: write a constant of that type
"
    );
    Ok(())
}

fn wrong_calls() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", EVENTS)?;
    site.write(
        "queries/q.sql",
        "\
CREATE MATERIALIZED VIEW a AS SELECT tumble(id, INTERVAL '1 minute') AS w, count(*) AS n FROM e GROUP BY w;
CREATE MATERIALIZED VIEW b AS
SELECT abs(v) AS v,
  round(id, abs(ts)) AS r
FROM e;
CREATE MATERIALIZED VIEW c AS SELECT xg(v) AS x FROM e;
CREATE MATERIALIZED VIEW d AS SELECT tumble(ts, INTERVAL '1 month') AS w, count(*) AS n FROM e GROUP BY w;
",
    )?;
    let ran = site.run(&["check"])?;
    assert_eq!(ran.code, Some(64));
    let wanted = [
        "error: queries/q.sql:1:",
        "error: queries/q.sql:4:13: abs cannot be called with (TIMESTAMP(3))\n",
        "error: queries/q.sql:6:38: xg takes (x DOUBLE, y DOUBLE",
        "error: queries/q.sql:7:58: the window's size must not have months or years",
    ];
    for wanted in wanted {
        assert!(ran.stderr.contains(wanted), "{wanted}\n{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("Utf8") && !ran.stderr.contains("Error during planning"), "{}", ran.stderr);
    Ok(())
}

fn scripts_and_servers() -> Outcome {
    let site = Site::new()?;
    let script = "CREATE MATERIALIZED VIEW a AS SELECT id FROM e;\nSELECT max(id) FROM a;\n";
    // In the order of their names the table comes last.
    let table = EVENTS.replace("'kafka', 'topic' = ", "'filesystem', 'path' = ");
    site.write("z.sql", &table)?;
    site.write("e", "")?;
    site.write("n", "")?;
    site.write("script.sql", script)?;
    site.output(&["check", "--run", "z.sql", "script.sql"])?;
    let ran = site.run(&["check", "--run", "script.sql", "z.sql"])?;
    assert!(ran.stderr.starts_with("error: script.sql:1:46: table 'e' not found"), "{}", ran.stderr);
    site.write("queries/script.sql", script)?;
    site.write("schemas/e.sql", EVENTS)?;
    for arguments in [&["check"][..], &["check", "queries/script.sql", "schemas/e.sql"]] {
        let ran = site.run(arguments)?;
        assert_eq!(ran.code, Some(64));
        assert!(
            ran.stderr.starts_with("error: queries/script.sql:2:1: a server runs CREATE TABLE, CREATE VIEW,"),
            "{}",
            ran.stderr
        );
    }
    // Views read one another on a server, in whichever order the files are given.
    site.write("queries/script.sql", "CREATE MATERIALIZED VIEW a AS SELECT id FROM e;\n")?;
    site.write("queries/b.sql", "CREATE MATERIALIZED VIEW b AS SELECT id FROM a;\n")?;
    for arguments in [&["check"][..], &["check", "queries/b.sql", "queries/script.sql", "schemas/e.sql"]] {
        site.output(arguments)?;
    }
    // Without its file one of them is not there.
    let ran = site.run(&["check", "queries/b.sql", "schemas/e.sql"])?;
    assert!(ran.stderr.starts_with("error: queries/b.sql:1:46: table 'a' not found"), "{}", ran.stderr);
    Ok(())
}

/// Starts a server that must refuse to start.
fn refused(site: &Site, settings: &[(&str, &str)]) -> Result<Ran, Failed> {
    let mut command = site.command(&["serve"])?;
    command.env("TOUCHLINE_FLIGHT_LISTEN", "127.0.0.1:0").env("TOUCHLINE_HTTP_LISTEN", "127.0.0.1:0");
    Ok(Ran::from(command.envs(settings.iter().copied()).output()?))
}

fn an_occupied_port() -> Outcome {
    let site = Site::new()?;
    let taken = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let holder = TcpListener::bind(taken)?;
    let ran = refused(&site, &[("TOUCHLINE_HTTP_LISTEN", &taken.to_string())])?;
    drop(holder);
    assert_eq!(ran.code, Some(64));
    assert!(ran.stderr.contains(&format!("error: cannot listen on {taken}\n")), "{}", ran.stderr);
    assert!(ran.stderr.contains("choose another port with http.listen; port 0 takes a free one"), "{}", ran.stderr);
    Ok(())
}

fn an_unusable_directory() -> Outcome {
    let site = Site::new()?;
    // A file where a folder should be: that stops root as well.
    site.write("taken", "")?;
    let ran = refused(&site, &[("TOUCHLINE_DATA_DIR", "taken/data")])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert!(ran.stderr.contains("taken/data"), "{}", ran.stderr);
    assert!(ran.stderr.contains("\n  hint: "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    Ok(())
}

fn unknown_settings() -> Outcome {
    let site = Site::new()?;
    site.write("touchline.toml", "[flight]\nlisten = \"127.0.0.1:0\"\nfoo = 1\n[engin]\nx = 2\n")?;
    let ran = site.run(&["serve"])?;
    assert_eq!(ran.code, Some(64));
    assert!(ran.stderr.contains("touchline.toml:3:1: unknown key `foo`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("touchline.toml:4:2: unknown key `engin`"), "{}", ran.stderr);
    Ok(())
}

fn no_postgres_address() -> Outcome {
    let site = Site::new()?;
    let url = "postgres://ana:secret@127.0.0.1:5432/db?sslmode=nonsense";
    let ran = refused(&site, &[("TOUCHLINE_POSTGRES_URL", url)])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert!(ran.stderr.contains("error: postgres.url is not an address of a Postgres database\n"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    Ok(())
}

fn a_wrong_password() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", EVENTS)?;
    site.write("queries/q.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id FROM e;\n")?;
    let url = services::postgres()?;
    let (user, place) = url
        .strip_prefix("postgres://")
        .and_then(|rest| rest.split_once('@'))
        .map(|(user, place)| (user.split(':').next().unwrap_or_default(), place))
        .ok_or("a postgres:// URL with user and password")?;
    let server = site.serve(&[("TOUCHLINE_POSTGRES_URL", &format!("postgres://{user}:wrong@{place}"))])?;
    let reason = server.wait_for("the query to be degraded", |server| {
        let rows = server.query("SELECT reason FROM touchline.queries WHERE state = 'DEGRADED'")?;
        Ok(rows.first().and_then(|row| row["reason"].as_str()).map(str::to_owned))
    })?;
    assert!(reason.contains(&format!("refuses the login of user {user}\n")), "{reason}");
    assert!(reason.contains("hint: check the user and the password in postgres.url"), "{reason}");
    assert_eq!(server.query("SELECT count(*) AS n FROM kept")?, [serde_json::json!({ "n": 0 })]);
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    assert!(!reason.contains(":wrong@") && !log.contains(":wrong@"), "{log}");
    Ok(())
}

fn no_broker() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", EVENTS)?;
    site.write("queries/q.sql", "CREATE MATERIALIZED VIEW kept AS SELECT id FROM e;\n")?;
    // Bound and not listening, so that nobody else answers there.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let server = site.serve(&[("TOUCHLINE_KAFKA_BROKERS", &nobody)])?;
    let reason = server.wait_for("the query to be degraded", |server| {
        let rows = server.query("SELECT reason FROM touchline.queries WHERE state = 'DEGRADED'")?;
        Ok(rows.first().map(|row| row["reason"].to_string()))
    })?;
    assert!(reason.contains(&nobody), "{reason}");
    let (ready, _) = server.get("/readyz")?;
    assert_eq!(ready, 200);
    let (status, took, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    assert!(took.as_secs() < 10, "it took {took:?} to stop");
    Ok(())
}

fn a_value_that_does_not_fit() -> Outcome {
    let site = Site::new()?;
    site.write("in.csv", "k\na\n")?;
    site.write(
        "script.sql",
        "CREATE TABLE i (k VARCHAR) WITH ('connector' = 'filesystem', 'path' = 'in.csv', 'format' = 'csv');\n\
         CREATE TABLE o (n BIGINT) WITH ('connector' = 'filesystem', 'path' = 'out.json', 'format' = 'json');\n\
         INSERT INTO o SELECT k FROM i;\n",
    )?;
    let ran = site.run(&["run", "script.sql"])?;
    assert_eq!(ran.code, Some(64), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("script.sql:3:1: column \"n\" is BIGINT, which a value of type VARCHAR does not fit"),
        "{}",
        ran.stderr
    );
    assert!(!site.path("out.json").exists());
    Ok(())
}
