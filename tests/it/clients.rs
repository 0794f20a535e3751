//! What other people's clients see: Arrow's JDBC driver as BI tools use it, and ADBC and `touchline sql` through TLS and a login.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};

use crate::process::{Ran, Site, append, hangups_are_ignored};
use crate::services::{self, Need, Outcome, trial};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("clients::jdbc_lists_tables_and_reads_every_type", &[Need::Jdbc], jdbc),
        trial(
            "clients::tls_and_a_password_are_wanted_where_they_are_configured",
            &[Need::Python, Need::Openssl],
            tls_and_login,
        ),
        trial("clients::touchline_sql_runs_statements_and_says_what_is_wrong", &[], touchline_sql),
    ]
}

const SCHEMA: &str = "\
CREATE TABLE e (
  id BIGINT NOT NULL, price DECIMAL(12, 2), ok BOOLEAN, at TIMESTAMP(3) NOT NULL, born DATE, score DOUBLE, note VARCHAR,
  WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
";

const ROWS: [&str; 3] = [
    r#"{"id":1,"price":"12.50","ok":true,"at":"2026-01-01T12:00:00.250Z","born":"2000-02-29","score":0.1,"note":"Müller's"}"#,
    r#"{"id":2,"price":-0.05,"ok":false,"at":"2026-07-01T00:00:00Z","born":"1969-12-31","score":-1e300,"note":""}"#,
    r#"{"id":3,"price":null,"ok":null,"at":"2026-07-01T00:00:01Z","born":null,"score":null,"note":null}"#,
];

/// A folder with one topic of three rows in the embedded log, and a view of all of them.
fn site() -> Result<Site, Failed> {
    let site = Site::new()?;
    site.write("schemas/e.sql", SCHEMA)?;
    site.write(
        "queries/kept.sql",
        "CREATE MATERIALIZED VIEW kept AS SELECT id, price, ok, at, born, score, note FROM e;\n",
    )?;
    append(&*site.embedded_log()?, "e", 0, &ROWS)?;
    Ok(site)
}

fn jdbc() -> Outcome {
    let site = site()?;
    let server = site.serve(&[])?;
    server.wait_for("three rows", |server| {
        Ok((server.query("SELECT count(*) AS n FROM kept")? == [serde_json::json!({ "n": 3 })]).then_some(()))
    })?;
    // In a zone that is not UTC, so that a TIMESTAMP without one shows that it is left alone.
    let output = Command::new("java")
        .args(["-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Duser.timezone=America/New_York"])
        .args(["--add-opens=java.base/java.nio=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(services::jdbc()?)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/clients/Client.java"))
        .arg(format!("jdbc:arrow-flight-sql://{}/?useEncryption=false", server.flight))
        .stdin(Stdio::null())
        .output()?;
    let ran = Ran::from(output);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        ran.stdout,
        "\
product: Touchline | true
table: public | e | TOPIC
table: public | kept | MATERIALIZED VIEW
column: id | BIGINT | true | 1
column: price | DECIMAL | true | 2
column: ok | BOOLEAN | true | 3
column: at | TIMESTAMP | true | 4
column: born | DATE | true | 5
column: score | DOUBLE | true | 6
column: note | VARCHAR | true | 7
view: id=1 | price=12.50 | ok=true | at=2026-01-01T12:00:00.250 | born=2000-02-29 | score=0.1 | note=Müller's
view: id=2 | price=-0.05 | ok=false | at=2026-07-01T00:00 | born=1969-12-31 | score=-1.0E300 | note=
view: id=3 | price=null | ok=null | at=2026-07-01T00:00:01 | born=null | score=null | note=null
source: n=3 | total=12.45
mistake: true
parameters: 2
prepared: id=1 | note=Müller's
prepared: id=2 | note=
bound: id FROM kept WHERE id = ? | [2]
bound: id FROM kept WHERE id = ? | [2]
bound: id FROM kept WHERE id = ? | [2]
bound: id FROM kept WHERE note = ? | [1]
bound: id FROM kept WHERE ok = ? | [1]
bound: id FROM kept WHERE price = ? | [1]
bound: id FROM kept WHERE born = ? | [1]
bound: id FROM kept WHERE at = ? | [1]
bound: id FROM kept WHERE CAST(at AS TIMESTAMP(6)) = ? | [1]
bound: id FROM kept WHERE CAST(at AS TIME) = ? | [3]
bound: id FROM kept WHERE score = ? | [1]
bound: id FROM kept WHERE CAST(id AS REAL) = ? | [2]
bound: id FROM kept WHERE CAST(id AS SMALLINT) = ? | [2]
bound: id FROM kept WHERE CAST(note AS BYTEA) = ? | [1]
bound: id FROM kept ORDER BY id LIMIT ? OFFSET ? | [3]
bound: CAST(? AS BIGINT) AS n | [7]
bound: id FROM kept WHERE id BETWEEN ? AND ? ORDER BY id | [2, 3]
bound: id FROM kept WHERE id IN (?, ?) ORDER BY id | [1, 3]
bound: id FROM kept WHERE note LIKE ? | [1]
bound: id FROM kept WHERE id = ? OR id = 3 | [3]
bound: id FROM kept WHERE at + ? > TIMESTAMP '2026-07-02 00:00:00' | [3]
"
    );
    Ok(())
}

/// An authority, and a certificate for 127.0.0.1 that it has issued, as `ca.pem`, `cert.pem` and `key.pem`.
fn certificates(site: &Site) -> Outcome {
    let openssl = |arguments: &[&str]| -> Outcome {
        let ran = Ran::from(Command::new("openssl").args(arguments).current_dir(site.path("")).output()?);
        if ran.code == Some(0) { Ok(()) } else { Err(ran.stderr.into()) }
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let authority = ["req", "-x509", "-subj", "/CN=Touchline tests", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&authority[..], &key].concat())?;
    let certificate = ["req", "-x509", "-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"];
    let issued = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1"];
    let not_an_authority = ["-addext", "basicConstraints=critical,CA:FALSE"];
    openssl(&[&certificate[..], &key, &issued, &not_an_authority].concat())
}

fn tls_and_login() -> Outcome {
    let site = site()?;
    certificates(&site)?;
    site.write(
        "touchline.toml",
        "[flight]\ntls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"\n\
         [auth]\nusers = [{ name = \"ana\", password = \"${env:ANA_PASSWORD}\" }]\n",
    )?;
    let password = services::unique("password");
    let server = site.serve(&[("ANA_PASSWORD", &password)])?;
    let url = format!("grpc+tls://{}", server.flight);

    let output = Command::new(services::python()?)
        .arg("-Wignore")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("it/clients/adbc.py"))
        .args([url.as_str(), "ca.pem", "ana"])
        .env("PASSWORD", &password)
        .current_dir(site.path(""))
        .stdin(Stdio::null())
        .output()?;
    let ran = Ran::from(output);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    for (line, name, said) in [
        (0, "right password: [(1, 'ü')]", ""),
        (1, "many: 2", ""),
        (2, "wrong password: UNAUTHENTICATED: ", "are required and were not right"),
        (3, "no login: UNAUTHENTICATED: ", "are required and were not right"),
        (4, "not trusted: IO: ", "certificate"),
    ] {
        let found = lines.get(line).copied().unwrap_or_default();
        assert!(found.starts_with(name) && found.contains(said), "{name}\n{}", ran.stdout);
    }

    let sql = |url: &str, arguments: &[&str], password: &str| -> Result<Ran, Failed> {
        let mut command = site.command(&["sql", "--url", url, "--output", "csv", "-c", "SELECT 1 AS n"])?;
        Ok(Ran::from(command.args(arguments).env("TOUCHLINE_PASSWORD", password).output()?))
    };
    let trusted = ["--ca-cert", "ca.pem", "--user", "ana"];
    let right = sql(&url, &trusted, &password)?;
    assert_eq!((right.code, right.stdout.as_str()), (Some(0), "n\n1\n"), "{}", right.stderr);
    let plain = format!("grpc://{}", server.flight);
    for (ran, said) in [
        (sql(&url, &trusted, "not it")?, "error: the server refuses the login of user \"ana\"\n"),
        (sql(&url, &["--ca-cert", "ca.pem"], "")?, "hint: give --user, and the password in the variable"),
        (sql(&url, &["--user", "ana"], &password)?, "with --ca-cert"),
        (sql(&plain, &["--user", "ana"], &password)?, "where the server has a certificate, write grpc+tls://"),
    ] {
        assert!(ran.code.is_some_and(|code| code == 64 || code == 69), "{:?} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
        assert!(!ran.stderr.contains(&password), "{}", ran.stderr);
    }
    assert!(!server.log().contains(&password), "{}", server.log());

    if hangups_are_ignored()? {
        return Ok(());
    }
    // Another authority, and another user: taken up while it runs.
    fs::copy(site.path("ca.pem"), site.path("old.pem"))?;
    certificates(&site)?;
    site.write(
        "touchline.toml",
        "[flight]\ntls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"\n\
         [auth]\nusers = [{ name = \"ben\", password = \"${env:ANA_PASSWORD}\" }]\n",
    )?;
    server.hang_up()?;
    let anew = server.wait_for("the new certificate to be shown", |_| {
        let ran = sql(&url, &["--ca-cert", "ca.pem", "--user", "ben"], &password)?;
        if ran.code == Some(0) { Ok(Some(ran.stdout)) } else { Err(ran.stderr.into()) }
    })?;
    assert_eq!(anew, "n\n1\n");
    for (ran, said) in [
        (sql(&url, &trusted, &password)?, "error: the server refuses the login of user \"ana\"\n"),
        (sql(&url, &["--ca-cert", "old.pem", "--user", "ben"], &password)?, "with --ca-cert"),
    ] {
        assert!(ran.code.is_some_and(|code| code == 64 || code == 69), "{:?} {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
    Ok(())
}

fn touchline_sql() -> Outcome {
    let site = Site::new()?;
    let server = site.serve(&[])?;
    let url = format!("grpc://{}", server.flight);
    let ask = |arguments: &[&str]| site.run(&[&["sql", "--url", url.as_str()][..], arguments].concat());

    let two = ask(&["--output", "csv", "-c", "SELECT 1 AS a; -- and; then\nSELECT ';' AS b;"])?;
    assert_eq!((two.code, two.stdout.as_str()), (Some(0), "a\n1\nb\n;\n"), "{}", two.stderr);
    let nulls = ask(&["--output", "json", "-c", "SELECT NULL AS a, 'x' AS b"])?;
    assert_eq!(nulls.stdout, "{\"a\":null,\"b\":\"x\"}\n");
    let empty = ask(&["--output", "csv", "-c", "SELECT 1 AS a WHERE false"])?;
    assert_eq!(empty.stdout, "a\n");

    for (arguments, code, said) in [
        (&["-c", " ; "][..], 64, "error: there is no statement\n  hint: give one with -c"),
        (&["-c", "SELECT 1;\nSELECT nope"][..], 64, "error: line 2, column 8: column \"nope\" does not exist"),
        (&["-c", "SELECT 'x"][..], 64, "error: line 1, column 8: unterminated string literal"),
        (&["-c", "SELECT 1", "--output", "xml"][..], 2, "possible values: table, json, csv"),
        (&["-c", "SELECT 1", "--user", "ana"][..], 64, "put it into the variable TOUCHLINE_PASSWORD"),
    ] {
        let ran = ask(arguments)?;
        assert_eq!(ran.code, Some(code), "{arguments:?}\n{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }
    let http = format!("http://{}", server.http);
    for (url, code, said) in [
        (http.as_str(), 64, "error: what answers there is not Flight SQL\n"),
        ("grpc://127.0.0.1:1", 69, "error: no server answers at grpc://127.0.0.1:1\n"),
        ("postgres://127.0.0.1:1", 64, "error: \"postgres://127.0.0.1:1\" is not the address of a server\n"),
    ] {
        let ran = site.run(&["sql", "--url", url, "-c", "SELECT 1"])?;
        assert_eq!(ran.code, Some(code), "{url}\n{}", ran.stderr);
        assert!(ran.stderr.contains(said), "{said}\n{}", ran.stderr);
    }

    // A reader that closes the pipe ends the program without a word.
    let many = "SELECT value FROM generate_series(1, 1000000)";
    let mut command = site.command(&["sql", "--url", url.as_str(), "--output", "csv", "-c", many])?;
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    drop(child.stdout.take());
    let ran = Ran::from(child.wait_with_output()?);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    Ok(())
}
