//! Results that leave before they are final, from outside: by Flight SQL and in Postgres they appear, change, go and become final, whenever
//! the server is killed.

use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::process::{Server, Site, append};
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    vec![async_trial("early::open_windows_are_read_everywhere_and_survive_kills", &[Need::Postgres], open_windows)]
}

const PARTITIONS: i32 = 4;

const SCHEMA: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, k VARCHAR, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
";

/// What is asked of each view, in both places.
const ROWS: &str = "SELECT k, n, is_final FROM";

/// A key that passes four rows goes.
fn query(view: &str, options: &str, emit: &str) -> String {
    format!(
        "CREATE MATERIALIZED VIEW {view} {options} AS SELECT window_start, k, count(*) AS n
         FROM TUMBLE(e, ts, INTERVAL '1 minute') GROUP BY window_start, k HAVING count(*) <= 4 {emit};\n"
    )
}

const VIEWS: [&str; 3] = ["changed", "timed", "corrected"];

async fn open_windows() -> Outcome {
    let site = Site::new()?;
    site.write("schemas/e.sql", SCHEMA)?;
    site.write("queries/changed.sql", &query("changed", "", "EMIT CHANGES"))?;
    site.write(
        "queries/timed.sql",
        &query("timed", "WITH ('primary-key' = 'k, window_start')", "EMIT EVERY INTERVAL '200 milliseconds'"),
    )?;
    let late = "WITH ('allowed-lateness' = '1 hour')";
    site.write("queries/corrected.sql", &query("corrected", late, "EMIT ON WINDOW CLOSE WITH LATE CORRECTIONS"))?;
    let (url, schema) = (services::postgres()?, unique("early"));
    let (db, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    db.batch_execute(&format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"")).await?;
    let serve = || {
        tokio::task::block_in_place(|| {
            site.serve(&[("TOUCHLINE_POSTGRES_URL", &url), ("TOUCHLINE_POSTGRES_SCHEMA", &schema)])
        })
    };

    put(&site, 0, &["a", "a", "b"])?;
    let server = serve()?;
    let open = [json!(["a", 2, false]), json!(["b", 1, false])];
    for view in ["changed", "timed"] {
        everywhere(&server, &db, view, &open).await?;
    }
    server.kill()?;
    // After a start they are there before a row is read.
    let server = serve()?;
    for view in ["changed", "timed"] {
        everywhere(&server, &db, view, &open).await?;
    }
    server.kill()?;

    // One goes, one changes, and two appear, of which one has no key.
    put(&site, 1, &["a", "a", "a", "b", "c"])?;
    let log = site.embedded_log()?;
    append(&log, "e", 0, &[r#"{"id":9,"k":null,"ts":"2026-01-01T00:00:02Z"}"#])?;
    drop(log);
    let server = serve()?;
    let open = [json!(["b", 2, false]), json!(["c", 1, false]), json!([null, 1, false])];
    for view in ["changed", "timed"] {
        everywhere(&server, &db, view, &open).await?;
    }
    server.kill()?;

    // The row without a key goes as well; then the window closes.
    let log = site.embedded_log()?;
    append(&log, "e", 0, &[r#"{"id":9,"k":null,"ts":"2026-01-01T00:00:02Z"}"#; 4])?;
    drop(log);
    put(&site, 66, &["d"; PARTITIONS as usize])?;
    let server = serve()?;
    let closed = [json!(["b", 2, true]), json!(["c", 1, true]), json!(["d", 4, false])];
    let corrected = [json!(["b", 2, false]), json!(["c", 1, false])];
    for _ in 0..2 {
        for view in ["changed", "timed"] {
            everywhere(&server, &db, view, &closed).await?;
        }
        everywhere(&server, &db, "corrected", &corrected).await?;
    }
    server.kill()?;

    // A late row corrects what has ended where that is asked for, and is late for the others.
    put(&site, 3, &["b"])?;
    let server = serve()?;
    everywhere(&server, &db, "corrected", &[json!(["b", 3, false]), json!(["c", 1, false])]).await?;
    for view in ["changed", "timed"] {
        everywhere(&server, &db, view, &closed).await?;
    }
    let late = server.query("SELECT DISTINCT query FROM touchline.late ORDER BY query")?;
    assert_eq!(late, [json!({"query": "changed"}), json!({"query": "timed"})]);
    let (status, _, log) = tokio::task::block_in_place(|| server.terminate())?;
    assert!(status.success(), "{log}");
    Ok(db.batch_execute(&format!("DROP SCHEMA \"{schema}\" CASCADE")).await?)
}

/// Appends rows of the same time, over all partitions.
fn put(site: &Site, second: i64, keys: &[&str]) -> Outcome {
    let log = site.embedded_log()?;
    for (id, key) in keys.iter().enumerate() {
        let row = format!(r#"{{"id":{id},"k":"{key}","ts":"2026-01-01T00:{:02}:{:02}Z"}}"#, second / 60, second % 60);
        append(&log, "e", id as i32 % PARTITIONS, &[row])?;
    }
    Ok(())
}

/// Waits until a view has these rows by Flight SQL and in Postgres.
async fn everywhere(server: &Server, db: &Client, view: &str, expected: &[Value]) -> Outcome {
    assert!(VIEWS.contains(&view));
    let sql = format!("{ROWS} {view} ORDER BY k NULLS LAST");
    tokio::task::block_in_place(|| {
        server.wait_for(&format!("{view} by Flight SQL"), |server| {
            let rows = server.query(&sql)?;
            let rows: Vec<Value> = rows.iter().map(|row| json!([row["k"], row["n"], row["is_final"]])).collect();
            if rows == expected { Ok(Some(())) } else { Err(Failed::from(format!("{rows:?} instead of {expected:?}"))) }
        })
    })?;
    let mut last = String::new();
    for _ in 0..600 {
        match db.query(&sql, &[]).await {
            Ok(rows) => {
                let cells = |row: &tokio_postgres::Row| {
                    json!([row.get::<_, Option<String>>(0), row.get::<_, i64>(1), row.get::<_, bool>(2)])
                };
                let rows: Vec<Value> = rows.iter().map(cells).collect();
                if rows == expected {
                    return Ok(());
                }
                last = format!("{rows:?} instead of {expected:?}");
            }
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(format!("waited 60 s for {view} in Postgres: {last}\n{}", server.log()).into())
}
