//! What is done to a hot table beside its rows: it is replaced, and what people did to it goes on; its old days go, and hold nobody up.

use libtest_mimic::Trial;
use tokio_postgres::NoTls;
use touchline::error::ErrorKind;
use touchline::sink::postgres::{Applied, HotTable, PostgresSettings, PostgresSink};

use crate::postgres::{DAY, claim, later_momentum, momentum, place, rows};
use crate::process::WAIT_LIMIT;
use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Postgres];
    vec![
        async_trial("hot_table_upkeep::a_replaced_table_keeps_what_people_did_to_it", needs, replaced),
        async_trial("hot_table_upkeep::what_is_done_while_a_table_is_made_anew_holds", needs, meanwhile),
        async_trial("hot_table_upkeep::a_table_half_made_by_another_version_is_in_nobodys_way", needs, half_made),
        async_trial("hot_table_upkeep::one_table_that_cannot_go_keeps_no_other", needs, cannot_go),
        async_trial("hot_table_upkeep::retention_behind_a_long_read_holds_up_no_write", needs, behind_a_read),
        async_trial("hot_table_upkeep::a_drop_that_was_cut_off_is_finished", needs, cut_off),
    ]
}

async fn replaced() -> Outcome {
    let place = place().await?;
    let (reader, owner) = (unique("reader"), unique("owner"));
    place.sink.prepare(&momentum(), &claim(1)).await?;
    place
        .db
        .batch_execute(&format!(
            "CREATE ROLE \"{reader}\"; CREATE ROLE \"{owner}\"; GRANT ALL ON SCHEMA \"{schema}\" TO \"{owner}\";
             ALTER TABLE momentum OWNER TO \"{owner}\";
             GRANT SELECT ON momentum TO \"{reader}\"; GRANT UPDATE (match_id, shots) ON momentum TO \"{reader}\";
             COMMENT ON COLUMN momentum.match_id IS 'whose it''s';
             CREATE INDEX ON momentum (match_id DESC) WHERE match_id <> ''; CREATE INDEX ON momentum (shots);
             ALTER TABLE momentum ENABLE ROW LEVEL SECURITY;
             CREATE POLICY mine ON momentum FOR SELECT TO \"{reader}\" USING (match_id = 'm1')",
            schema = place.schema
        ))
        .await?;
    place.sink.prepare(&later_momentum(), &claim(2)).await?;
    let rights = format!(
        "SELECT has_table_privilege('{reader}', 'momentum', 'SELECT'), has_column_privilege('{reader}', 'momentum', 'match_id', 'UPDATE'),
                has_column_privilege('{reader}', 'momentum', 'xg', 'UPDATE')"
    );
    assert_eq!(place.rows(&rights).await?, ["(t,t,f)"]);
    let table = "SELECT pg_get_userbyid(relowner) LIKE 'owner%' AS owned, relrowsecurity, col_description(oid, 1), \
                 obj_description(oid, 'pg_class') LIKE '%momentum-0a1b2c3d%' AS ours FROM pg_class WHERE oid = 'momentum'::regclass";
    assert_eq!(place.rows(table).await?, ["(t,t,\"whose it's\",t)"]);
    assert_eq!(
        place
            .rows("SELECT polname, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'momentum'::regclass")
            .await?,
        ["(mine,\"(match_id = 'm1'::text)\")"]
    );
    // The one of a column that is no more is left, and the key's own is there once.
    let indexes = "SELECT indisprimary OR indnkeyatts = 2 AS of_key, indpred IS NOT NULL FROM pg_index WHERE indrelid = 'momentum'::regclass ORDER BY 1";
    assert_eq!(place.rows(indexes).await?, ["(f,t)", "(t,f)"]);
    place
        .sink
        .apply(&later_momentum(), &claim(2), 0, 1, &[rows(&later_momentum(), &[(Some("m1"), 20_000, 1)])])
        .await?;

    // A policy that hides rows and cannot go over: nobody gets in until somebody has looked.
    place
        .db
        .batch_execute(&format!(
            "CREATE POLICY few ON momentum AS RESTRICTIVE TO \"{reader}\" USING (xg < 10); REVOKE UPDATE ON momentum FROM \"{reader}\""
        ))
        .await?;
    place.sink.prepare(&momentum(), &claim(3)).await?;
    let reads = format!(
        "SELECT has_table_privilege('{reader}', 'momentum', 'SELECT'), has_any_column_privilege('{reader}', 'momentum', 'UPDATE')"
    );
    assert_eq!(place.rows(&reads).await?, ["(f,f)"], "the table that is back is as closed as the one before it");
    place
        .db
        .batch_execute(&format!(
            "DROP SCHEMA \"{}\" CASCADE; DROP OWNED BY \"{reader}\", \"{owner}\"; DROP ROLE \"{reader}\", \"{owner}\"; CREATE SCHEMA \"{0}\"",
            place.schema
        ))
        .await?;
    place.done().await
}

async fn meanwhile() -> Outcome {
    let place = place().await?;
    let (hot, reader) = (momentum(), unique("reader"));
    place.sink.prepare(&hot, &claim(1)).await?;
    let all = [rows(&hot, &[(Some("a"), 20_000, 1)])];
    place.sink.apply(&hot, &claim(1), 0, 1, &all).await?;
    place
        .db
        .batch_execute(&format!(
            "CREATE ROLE \"{reader}\"; GRANT SELECT ON momentum TO \"{reader}\"; CREATE VIEW seen AS SELECT shots FROM momentum"
        ))
        .await?;
    // Somebody's view would go with the old table: that is said before all rows are read.
    let error = place.sink.begin_rebuild(&hot, &claim(1), None).await.expect_err("a view reads it");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    assert!(error.report().contains("seen"), "{}", error.report());

    place.db.batch_execute("DROP VIEW seen").await?;
    let mut rebuild = place.sink.begin_rebuild(&hot, &claim(1), None).await?;
    rebuild.add(&all).await?;
    place
        .db
        .batch_execute(&format!(
            "REVOKE SELECT ON momentum FROM \"{reader}\"; GRANT DELETE ON momentum TO \"{reader}\"; CREATE INDEX ON momentum (shots)"
        ))
        .await?;
    rebuild.finish(5).await?;
    let rights = format!(
        "SELECT has_table_privilege('{reader}', 'momentum', 'SELECT'), has_table_privilege('{reader}', 'momentum', 'DELETE'),
                (SELECT count(*) FROM pg_index WHERE indrelid = 'momentum'::regclass)"
    );
    assert_eq!(place.rows(&rights).await?, ["(f,t,2)"]);
    place.db.batch_execute(&format!("DROP OWNED BY \"{reader}\"; DROP ROLE \"{reader}\"")).await?;
    place.done().await
}

async fn half_made() -> Outcome {
    let place = place().await?;
    let (first, later) = (momentum(), later_momentum());
    place.sink.prepare(&first, &claim(1)).await?;
    let mut cut_off = place.sink.begin_rebuild(&first, &claim(1), None).await?;
    let of_first = [rows(&first, &[(Some("a"), 20_000, 1)])];
    cut_off.add(&of_first).await?;
    // The view's file is changed before it is whole.
    place.sink.prepare(&later, &claim(2)).await?;
    let mut rebuild = place.sink.begin_rebuild(&later, &claim(2), None).await?;
    assert_eq!(cut_off.add(&of_first).await.expect_err("it is gone").kind(), ErrorKind::Unavailable);
    assert_eq!(cut_off.finish(5).await.expect_err("it is another's").kind(), ErrorKind::Fenced);
    rebuild.add(&[rows(&later, &[(Some("b"), 20_000, 2)])]).await?;
    rebuild.finish(5).await?;
    assert_eq!(place.rows("SELECT match_id, xg FROM momentum").await?, ["(b,2)"]);
    let markers = "SELECT query FROM touchline_commits ORDER BY 1";
    assert_eq!(place.rows(markers).await?, ["(momentum)", "(momentum-0a1b2c3d)"]);
    place.done().await
}

async fn cannot_go() -> Outcome {
    let place = place().await?;
    let (first, later) = (momentum(), later_momentum());
    let last = HotTable { query: "momentum-11111111".to_owned(), ..momentum() };
    // Somebody's view goes on reading the table that it was made over.
    place.sink.prepare(&later, &claim(1)).await?;
    place.db.batch_execute("CREATE VIEW seen AS SELECT xg FROM momentum").await?;
    place.sink.prepare(&first, &claim(2)).await?;
    place.sink.prepare(&last, &claim(3)).await?;
    place.db.batch_execute("UPDATE touchline_set_aside SET set_aside_at = now() - interval '8 days'").await?;
    let aside = "SELECT table_name FROM touchline_set_aside ORDER BY 1";
    assert_eq!(place.rows(aside).await?, ["(momentum_old_0a1b2c3d)", "(momentum_old_first)"]);
    let error = place.sink.retain(&last, 3, 20_000 * DAY).await.expect_err("a view reads it");
    assert!(error.report().contains("momentum_old_0a1b2c3d"), "{}", error.report());
    assert_eq!(place.rows(aside).await?, ["(momentum_old_0a1b2c3d)"], "the other has gone");
    place.db.batch_execute("DROP VIEW seen").await?;
    assert_eq!(place.sink.retain(&last, 3, 20_000 * DAY).await?.dropped, ["momentum_old_0a1b2c3d"]);
    place.done().await
}

async fn behind_a_read() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    // One connection for all that is written.
    let sink = PostgresSink::try_new(PostgresSettings { connections_max: 1, ..place.settings.clone() })?;
    sink.prepare(&hot, &claim(1)).await?;
    let delta = [rows(&hot, &[(Some("a"), 20_000, 1), (Some("b"), 20_010, 2)])];
    sink.apply(&hot, &claim(1), 0, 1, &delta).await?;
    let (reader, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
    tokio::spawn(connection);
    reader.batch_execute(&format!("BEGIN; SELECT * FROM \"{}\".momentum", place.schema)).await?;

    let more = [rows(&hot, &[(Some("c"), 20_010, 3)])];
    let writes = async {
        for checkpoint in 1..20 {
            sink.apply(&hot, &claim(1), checkpoint, checkpoint + 1, &more).await?;
        }
        Ok::<_, touchline::error::Error>(())
    };
    let both = async { tokio::join!(sink.retain(&hot, 1, 20_012 * DAY), writes) };
    let (retained, written) =
        tokio::time::timeout(WAIT_LIMIT, both).await.map_err(|_| "somebody waits for the end of the read")?;
    written?;
    assert_eq!(retained.expect_err("somebody reads").kind(), ErrorKind::Unavailable);
    assert_eq!(
        place.rows("SELECT match_id FROM momentum WHERE window_start > '2024-10-10' ORDER BY 1").await?,
        ["(b)", "(c)"]
    );

    reader.batch_execute("COMMIT").await?;
    assert_eq!(sink.retain(&hot, 1, 20_012 * DAY).await?.dropped, ["momentum_p20241004"], "the next call finishes it");
    assert_eq!(sink.apply(&hot, &claim(1), 20, 21, &more).await?, Applied::Written { rows: 1, expired: 0 });

    // While the one connection is taken by a write that waits, other tables' days go.
    let other = HotTable { query: "other".to_owned(), table: "other".to_owned(), ..momentum() };
    let patient = PostgresSettings {
        connections_max: 1,
        lock_timeout: WAIT_LIMIT,
        statement_timeout: WAIT_LIMIT,
        ..place.settings.clone()
    };
    let sink = PostgresSink::try_new(patient)?;
    sink.prepare(&other, &claim(1)).await?;
    sink.apply(&other, &claim(1), 0, 1, &[rows(&other, &[(Some("a"), 20_000, 1)])]).await?;
    let hold =
        format!("BEGIN; SELECT * FROM \"{}\".touchline_commits WHERE query = 'momentum' FOR UPDATE", place.schema);
    reader.batch_execute(&hold).await?;
    let ours = claim(1);
    let retained = tokio::select! {
        biased;
        _ = sink.apply(&hot, &ours, 21, 22, &more) => return Err("the marker is held, and the write ended".into()),
        retained = sink.retain(&other, 1, 20_012 * DAY) => retained?,
    };
    // With the days that were made ahead.
    assert_eq!(retained.dropped, ["other_p20241004", "other_p20241005", "other_p20241006"]);
    reader.batch_execute("ROLLBACK").await?;
    place.done().await
}

async fn cut_off() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    place.sink.apply(&hot, &claim(1), 0, 1, &[rows(&hot, &[(Some("a"), 20_000, 1), (Some("b"), 20_001, 2)])]).await?;
    // It is on its way out while somebody reads it, then it is out, and not dropped.
    let (reader, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
    tokio::spawn(connection);
    let begin =
        format!("SET search_path = \"{}\"; BEGIN; LOCK TABLE momentum_p20241004 IN ACCESS SHARE MODE", place.schema);
    reader.batch_execute(&begin).await?;
    let error = place.sink.retain(&hot, 1, 20_008 * DAY).await.expect_err("somebody reads");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    reader.batch_execute("COMMIT").await?;
    reader.batch_execute("ALTER TABLE momentum DETACH PARTITION momentum_p20241004 FINALIZE").await?;
    // By its name alone a table is nobody's.
    place.db.batch_execute("CREATE TABLE momentum_p20241001 (a int)").await?;
    assert_eq!(place.sink.retain(&hot, 1, 20_008 * DAY).await?.dropped, ["momentum_p20241004"]);
    assert_eq!(
        place.rows("SELECT to_regclass('momentum_p20241001') IS NOT NULL, count(*) FROM momentum").await?,
        ["(t,1)"]
    );
    place.done().await
}
