//! Rows that Postgres does not take: they stop no other row, and are in a ledger, each once.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use libtest_mimic::{Failed, Trial};
use touchline::changelog::Changes;
use touchline::changelog::early::EarlyForm;
use touchline::error::ErrorKind;
use touchline::sink::postgres::{Applied, HotTable};

use crate::postgres::{Place, claim, momentum, place, rows};
use crate::process::{Site, append};
use crate::services::{self, Need, Outcome, async_trial};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Postgres];
    vec![
        async_trial("refused_rows::a_key_too_long_for_its_index_stops_no_other_row", needs, too_long),
        async_trial("refused_rows::what_a_constraint_or_a_trigger_forbids_is_refused_row_by_row", needs, forbidden),
        async_trial("refused_rows::a_key_is_never_held_as_another_one", needs, other_keys),
        async_trial("refused_rows::a_refused_key_can_be_deleted_and_written_again", needs, refused_and_deleted),
        async_trial("refused_rows::what_a_table_made_anew_does_not_take_is_noted_once", needs, in_a_rebuild),
        async_trial("refused_rows::the_ledger_outlives_the_server_and_is_read_by_sql", needs, by_sql),
    ]
}

/// Text that no compression makes short enough for an index of Postgres.
fn long_text(seed: u64) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap_or(0))
    };
    (0..20_000).map(|_| next()).collect::<String>().replace(['"', '\\'], "x")
}

async fn ledger(place: &Place) -> Result<Vec<String>, Failed> {
    place.rows("SELECT query, checkpoint, operation, sqlstate FROM touchline_refused ORDER BY id").await
}

async fn too_long() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    let (first, second) = (long_text(1), long_text(2));
    let (long, other) = (first.as_str(), second.as_str());
    let few =
        [rows(&hot, &[(Some("a"), 20_000, 1), (Some(long), 20_000, 2), (Some("a"), 20_000, 3), (None, 20_001, 4)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 1, &few).await?, Applied::Written { rows: 3, expired: 0 });
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(a,3)", "(,4)"]);
    assert_eq!(ledger(&place).await?, ["(momentum,1,write,54000)"]);
    let kept = "SELECT length(\"row\"::json ->> 'match_id'), \"row\"::json ->> 'shots', reason LIKE 'index row %' FROM touchline_refused";
    assert_eq!(place.rows(kept).await?, ["(20000,2,t)"]);
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 1, &few).await?, Applied::AlreadyApplied { at: 1 });
    assert_eq!(ledger(&place).await?.len(), 1, "a range that is repeated adds nothing");

    // Many rows travel another way than few.
    let names: Vec<String> = (0..3_000).map(|number| format!("m{number}")).collect();
    let mut many: Vec<(Option<&str>, i64, i64)> = names.iter().map(|name| (Some(name.as_str()), 20_000, 5)).collect();
    many[700] = (Some(long), 20_000, 6);
    many[2_999] = (Some(other), 20_000, 7);
    assert_eq!(
        place.sink.apply(&hot, &claim(1), 1, 2, &[rows(&hot, &many)]).await?,
        Applied::Written { rows: 2_998, expired: 0 }
    );
    assert_eq!(place.rows("SELECT count(*), sum(shots) FROM momentum").await?, ["(3000,14997)"]);
    assert_eq!(ledger(&place).await?[1..], ["(momentum,2,write,54000)", "(momentum,2,write,54000)"]);

    // Nothing but such a row.
    let alone = [rows(&hot, &[(Some(long), 20_000, 8)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 2, 3, &alone).await?, Applied::Written { rows: 0, expired: 0 });
    assert_eq!(place.rows("SELECT checkpoint FROM touchline_commits").await?, ["(3)"]);
    assert_eq!((ledger(&place).await?.len(), place.sink.refused_rows("momentum")), (4, 4));

    // Forgotten in the same time as rows of the table.
    place
        .db
        .batch_execute("UPDATE touchline_refused SET refused_at = now() - interval '7 days' WHERE checkpoint < 3")
        .await?;
    place.sink.retain(&hot, 1, 20_000 * crate::postgres::DAY).await?;
    assert_eq!(ledger(&place).await?, ["(momentum,3,write,54000)"]);
    place.done().await
}

async fn forbidden() -> Outcome {
    let place = place().await?;
    let hot = HotTable { primary_key: vec!["match_id".to_owned()], time_column: None, ..momentum() };
    place.sink.prepare(&hot, &claim(1)).await?;
    place
        .db
        .batch_execute(
            "ALTER TABLE momentum ADD CONSTRAINT few CHECK (shots < 100);
             CREATE TABLE known (id text PRIMARY KEY); INSERT INTO known VALUES ('a'), ('b'), ('c');
             ALTER TABLE momentum ADD FOREIGN KEY (match_id) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
        )
        .await?;
    let delta = [rows(
        &hot,
        &[(Some("a"), 20_000, 1), (Some("b"), 20_000, 100), (Some("unknown"), 20_000, 3), (Some("c"), 20_000, 4)],
    )];
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?, Applied::Written { rows: 2, expired: 0 });
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(a,1)", "(c,4)"]);
    assert_eq!(ledger(&place).await?, ["(momentum,1,write,23514)", "(momentum,1,write,23503)"]);
    // So is what is looked at when the transaction ends.
    let delta = [rows(&hot, &[(Some("elsewhere"), 20_000, 1), (Some("c"), 20_000, 2), (Some("b"), 20_000, 3)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 1, 2, &delta).await?, Applied::Written { rows: 2, expired: 0 });
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(a,1)", "(b,3)", "(c,2)"]);
    assert_eq!(ledger(&place).await?[2..], ["(momentum,2,write,23503)"]);
    // A row that is refused leaves the one before it.
    let delta = [rows(&hot, &[(Some("a"), 20_000, 500), (Some("c"), 20_000, 5)])];
    place.sink.apply(&hot, &claim(1), 2, 3, &delta).await?;
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(a,1)", "(b,3)", "(c,5)"]);

    // A trigger may mean a row, or all of them.
    place
        .db
        .batch_execute(
            "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'closed'; END $$;
             CREATE TRIGGER closed BEFORE INSERT ON momentum FOR EACH ROW WHEN (new.shots = 7) EXECUTE FUNCTION closed()",
        )
        .await?;
    let delta = [rows(&hot, &[(Some("a"), 20_000, 6), (Some("b"), 20_000, 7)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 3, 4, &delta).await?, Applied::Written { rows: 1, expired: 0 });
    assert_eq!(ledger(&place).await?.last().map(String::as_str), Some("(momentum,4,write,P0001)"));
    let before = ledger(&place).await?.len();
    let alone = [rows(&hot, &[(Some("b"), 20_000, 7)])];
    let error = place.sink.apply(&hot, &claim(1), 4, 5, &alone).await.expect_err("nothing goes in at all");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert_eq!(ledger(&place).await?.len(), before);
    assert_eq!(place.rows("SELECT checkpoint FROM touchline_commits").await?, ["(4)"]);
    place.done().await
}

async fn other_keys() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    // Text of Postgres cannot hold U+0000; what stands in its place elsewhere would be the key of another row.
    let delta = [rows(&hot, &[(Some("a\u{FFFD}"), 20_000, 1), (Some("a\0"), 20_000, 2)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?, Applied::Written { rows: 1, expired: 0 });
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum").await?, ["(a\u{FFFD},1)"]);
    assert_eq!(ledger(&place).await?, ["(momentum,1,write,22021)"]);
    assert_eq!(place.rows("SELECT \"row\"::jsonb -> 'shots' FROM (SELECT replace(\"row\", '\\u0000', '?') AS \"row\" FROM touchline_refused) r").await?, ["(2)"]);
    place.done().await
}

async fn refused_and_deleted() -> Outcome {
    let place = place().await?;
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![
        momentum().schema.field(0).clone(),
        momentum().schema.field(1).clone(),
        arrow::datatypes::Field::new(touchline::changelog::early::IS_FINAL, arrow::datatypes::DataType::Boolean, false),
    ]));
    let hot = HotTable { schema: Arc::clone(&schema), changes: Changes::Upsert(vec![0, 1]), ..momentum() };
    let form = EarlyForm::new(&schema, vec![0, 1]);
    let keys = |names: &[&str]| -> [ArrayRef; 2] {
        let times = TimestampMillisecondArray::from(vec![20_000 * 86_400_000; names.len()]);
        [Arc::new(names.iter().map(|name| Some(*name)).collect::<StringArray>()), Arc::new(times)]
    };
    let shown = |names: &[&str]| -> Result<RecordBatch, Failed> {
        let [id, start] = keys(names);
        let early: ArrayRef = Arc::new(arrow::array::BooleanArray::from(vec![false; names.len()]));
        Ok(form.shown(&RecordBatch::try_new(Arc::clone(&schema), vec![id, start, early])?, 9)?)
    };
    place.sink.prepare(&hot, &claim(1)).await?;
    let text = long_text(3);
    let long = text.as_str();
    place.sink.apply(&hot, &claim(1), 0, 1, &[shown(&["a", long, "b\0", "b\u{FFFD}"])?]).await?;
    assert_eq!(ledger(&place).await?.len(), 2);
    // Neither was there, and no other row goes in their place.
    let gone = [form.gone(&keys(&[long, "b\0", "a"]), 10)?];
    assert_eq!(place.sink.apply(&hot, &claim(1), 1, 2, &gone).await?, Applied::Written { rows: 1, expired: 0 });
    assert_eq!(place.rows("SELECT match_id FROM momentum").await?, ["(b\u{FFFD})"]);
    place.sink.apply(&hot, &claim(1), 2, 3, &[shown(&[long, "c"])?]).await?;
    assert_eq!(place.rows("SELECT match_id FROM momentum ORDER BY 1").await?, ["(b\u{FFFD})", "(c)"]);
    assert_eq!(ledger(&place).await?.len(), 3);

    // A row that somebody's table refers to may not go: that is in the ledger, too.
    place
        .db
        .batch_execute(
            "CREATE TABLE noted (match_id text, window_start timestamp, FOREIGN KEY (match_id, window_start) REFERENCES momentum (match_id, window_start));
             INSERT INTO noted SELECT match_id, window_start FROM momentum WHERE match_id = 'c'",
        )
        .await?;
    let gone = [form.gone(&keys(&["b\u{FFFD}", "c"]), 11)?];
    assert_eq!(place.sink.apply(&hot, &claim(1), 3, 4, &gone).await?, Applied::Written { rows: 1, expired: 0 });
    assert_eq!(place.rows("SELECT match_id FROM momentum").await?, ["(c)"]);
    assert_eq!(ledger(&place).await?[3..], ["(momentum,4,delete,23503)"]);
    place.done().await
}

async fn in_a_rebuild() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    let long = long_text(5);
    let all = [rows(&hot, &[(Some("a"), 20_000, 1), (Some(long.as_str()), 20_000, 2)])];
    place.sink.apply(&hot, &claim(1), 0, 3, &all).await?;
    assert_eq!(ledger(&place).await?, ["(momentum,3,write,54000)"]);
    // One attempt is cut off.
    place.sink.begin_rebuild(&hot, &claim(1), None).await?.add(&all).await?;
    let mut rebuild = place.sink.begin_rebuild(&hot, &claim(1), None).await?;
    rebuild.add(&all).await?;
    rebuild.finish(7).await?;
    assert_eq!(ledger(&place).await?, ["(momentum,7,write,54000)"]);
    assert_eq!(place.rows("SELECT version FROM touchline_refused").await?, ["(momentum)"]);
    assert_eq!(place.sink.refused_rows("momentum"), 3, "each time it was tried");

    // A table that was dropped is given all rows again.
    place.db.batch_execute("DROP TABLE momentum").await?;
    assert_eq!(place.sink.prepare(&hot, &claim(1)).await?, 0);
    place.sink.apply(&hot, &claim(1), 0, 8, &all).await?;
    assert_eq!(ledger(&place).await?, ["(momentum,8,write,54000)"]);
    place.done().await
}

async fn by_sql() -> Outcome {
    let place = place().await?;
    let site = Site::new()?;
    site.write(
        "schemas/e.sql",
        "CREATE TABLE e (id VARCHAR NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
         WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');\n",
    )?;
    site.write(
        "queries/kept.sql",
        "CREATE MATERIALIZED VIEW kept WITH ('primary-key' = 'id') AS SELECT id, ts FROM e;\n",
    )?;
    let record = |id: &str| format!("{{\"id\":\"{id}\",\"ts\":\"2026-01-01T00:00:00Z\"}}");
    append(&*site.embedded_log()?, "e", 0, &[record("a"), record(&long_text(4)), record("b")])?;
    let (url, schema) = (services::postgres()?, place.schema.clone());
    let settings = [("TOUCHLINE_POSTGRES_URL", url.as_str()), ("TOUCHLINE_POSTGRES_SCHEMA", schema.as_str())];
    let ledger = "SELECT query, sink, operation, sqlstate, character_length(\"row\") > 20000 AS whole, seen_at > TIMESTAMP '2020-01-01' AS dated \
                  FROM touchline.refused";
    let expected = [serde_json::json!({
        "query": "kept", "sink": "postgres", "operation": "write", "sqlstate": "54000", "whole": true, "dated": true
    })];
    let server = site.serve(&settings)?;
    server.wait_for("the row to be in the ledger", |server| Ok((server.query(ledger)? == expected).then_some(())))?;
    server.wait_for("the count", |server| {
        let rows = server
            .query("SELECT state, postgres_refused_rows AS refused FROM touchline.queries WHERE name = 'kept'")?;
        Ok((rows == [serde_json::json!({ "state": "RUNNING", "refused": 1 })]).then_some(()))
    })?;
    let (_, metrics) = server.get("/metrics")?;
    let counted = metrics.lines().find(|line| line.starts_with("touchline_query_postgres_refused_rows_total{"));
    let counted = counted.and_then(|line| line.rsplit_once(' ')).ok_or("no such metric")?.1;
    assert_eq!(counted.parse::<f64>()?, 1.0);
    assert_eq!(
        server.log().lines().filter(|line| line.contains("rows refused by Postgres")).count(),
        1,
        "{}",
        server.log()
    );
    assert_eq!(place.rows("SELECT id FROM kept ORDER BY 1").await?, ["(a)", "(b)"]);
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");

    append(&*site.embedded_log()?, "e", 0, &[record("c")])?;
    let server = site.serve(&settings)?;
    server.wait_for("the ledger after a restart", |server| Ok((server.query(ledger)? == expected).then_some(())))?;
    server.wait_for("the next row everywhere", |server| {
        Ok((server.query("SELECT count(*) AS n FROM kept")? == [serde_json::json!({ "n": 4 })]).then_some(()))
    })?;
    server.wait_for("nothing to wait", |server| {
        let rows = server.query("SELECT postgres_waiting_rows AS n FROM touchline.queries WHERE name = 'kept'")?;
        Ok((rows == [serde_json::json!({ "n": 0 })]).then_some(()))
    })?;
    let (status, _, log) = server.terminate()?;
    assert!(status.success(), "{log}");
    assert_eq!(place.rows("SELECT id FROM kept ORDER BY 1").await?, ["(a)", "(b)", "(c)"]);
    assert_eq!(place.rows("SELECT count(*) FROM touchline_refused").await?, ["(1)"]);
    place.done().await
}
