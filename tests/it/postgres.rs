//! The hot table against a real Postgres: each row once, whatever is repeated, fenced, restored or dropped.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array,
    Float64Array, Int16Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, Schema, SchemaRef, TimeUnit};
use libtest_mimic::Trial;
use tokio_postgres::{Client, NoTls};
use touchline::changelog::Changes;
use touchline::checkpoint::{Incarnation, Lineage};
use touchline::config::Secret;
use touchline::error::ErrorKind;
use touchline::sink::postgres::{Applied, Claim, HotTable, PostgresSettings, PostgresSink};
use uuid::Uuid;

use crate::services::{self, Need, Outcome, async_trial, unique};

pub(crate) fn tests() -> Vec<Trial> {
    let needs = &[Need::Postgres];
    vec![
        async_trial("postgres::a_range_that_is_applied_again_changes_nothing", needs, applied_again),
        async_trial("postgres::the_last_row_of_a_key_wins", needs, last_row_wins),
        async_trial("postgres::rows_without_a_key_are_added_once", needs, without_a_key),
        async_trial("postgres::every_type_arrives_as_it_was_sent", needs, every_type),
        async_trial("postgres::an_older_generation_can_no_longer_write", needs, fenced),
        async_trial("postgres::a_database_that_was_set_back_says_so", needs, set_back),
        async_trial("postgres::a_marker_of_another_history_is_believed_in_nothing", needs, another_history),
        async_trial("postgres::a_marker_of_before_is_believed_once", needs, marker_of_before),
        async_trial("postgres::a_table_that_is_made_anew_is_seen_when_it_is_whole", needs, made_anew),
        async_trial("postgres::a_transaction_that_fails_leaves_nothing_behind", needs, failed_transaction),
        async_trial("postgres::of_two_at_once_one_writes", needs, two_at_once),
        async_trial("postgres::a_foreign_table_is_refused_and_ours_grows", needs, foreign_table),
        async_trial("postgres::versions_of_a_view_have_tables_of_their_own", needs, versions),
        async_trial("postgres::a_table_that_was_set_aside_is_dropped_in_its_time", needs, set_aside_in_time),
        async_trial("postgres::old_days_are_dropped_and_do_not_come_back", needs, retention),
        async_trial("postgres::what_is_wrong_with_an_address_is_said_without_its_password", needs, wrong_addresses),
    ]
}

pub(crate) const DAY: i64 = 86_400_000_000;

/// A schema of its own, a sink on it and a connection to look at it.
pub(crate) struct Place {
    pub(crate) schema: String,
    pub(crate) sink: PostgresSink,
    pub(crate) settings: PostgresSettings,
    pub(crate) db: Client,
}

pub(crate) async fn place() -> Result<Place, libtest_mimic::Failed> {
    let url = services::postgres()?;
    let (db, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    let schema = unique("hot");
    db.batch_execute(&format!("CREATE SCHEMA \"{schema}\"; SET search_path = \"{schema}\"; SET timezone = 'UTC'"))
        .await?;
    let settings = PostgresSettings {
        url: Some(Secret::new(url)),
        schema: schema.clone(),
        lock_timeout: Duration::from_millis(200),
        ..PostgresSettings::default()
    };
    let sink = PostgresSink::try_new(settings.clone())?;
    Ok(Place { schema, sink, settings, db })
}

impl Place {
    /// The rows of a query, each as one text.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<String>, libtest_mimic::Failed> {
        let rows = self.db.query(&format!("SELECT t::text FROM ({sql}) t"), &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Another connection to the same schema.
    pub(crate) async fn reader(&self) -> Result<Client, libtest_mimic::Failed> {
        let (db, connection) = tokio_postgres::connect(&services::postgres()?, NoTls).await?;
        tokio::spawn(connection);
        db.batch_execute(&format!("SET search_path = \"{}\"", self.schema)).await?;
        Ok(db)
    }

    pub(crate) async fn done(self) -> Outcome {
        self.db.batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", self.schema)).await?;
        Ok(())
    }
}

/// `(match_id, window_start, shots)`, keyed by the first two.
pub(crate) fn momentum() -> HotTable {
    let schema = Schema::new(vec![
        Field::new("match_id", DataType::Utf8, true),
        Field::new("window_start", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("shots", DataType::Int64, true),
    ]);
    HotTable {
        query: "momentum".to_owned(),
        table: "momentum".to_owned(),
        schema: Arc::new(schema),
        primary_key: vec!["match_id".to_owned(), "window_start".to_owned()],
        time_column: Some("window_start".to_owned()),
        changes: Changes::Append,
    }
}

/// The history in whose name the tests write.
const LINEAGE: Uuid = Uuid::from_u128(0xA);
const INSTANCE: Uuid = Uuid::from_u128(0xB);

/// Of one incarnation, which has committed all that is named.
pub(crate) fn claim(generation: u64) -> Claim {
    let incarnations = vec![Incarnation { instance: INSTANCE, first: 1 }];
    Claim { generation, lineage: Lineage { id: LINEAGE, before: 0, incarnations }, head: 1_000 }
}

pub(crate) fn rows(hot: &HotTable, rows: &[(Option<&str>, i64, i64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| row.0).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| Some(row.1 * (DAY / 1_000))).collect::<TimestampMillisecondArray>()),
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(SchemaRef::clone(&hot.schema), columns).expect("as declared")
}

async fn applied_again() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    let delta =
        [rows(&hot, &[(Some("m1"), 20_000, 1), (Some("m2"), 20_000, 2)]), rows(&hot, &[(Some("m1"), 20_001, 3)])];
    assert_eq!(place.sink.prepare(&hot, &claim(1)).await?, 0);
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 3, &delta).await?, Applied::Written { rows: 3, expired: 0 });
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 3, &delta).await?, Applied::AlreadyApplied { at: 3 });
    assert_eq!(place.sink.apply(&hot, &claim(1), 2, 5, &delta).await?, Applied::Ahead { at: 3 });
    assert_eq!(place.sink.apply(&hot, &claim(1), 3, 4, &[]).await?, Applied::Written { rows: 0, expired: 0 });
    assert_eq!(place.sink.prepare(&hot, &claim(2)).await?, 4, "the next server goes on from there");
    let expected =
        ["(m1,\"2024-10-04 00:00:00\",1)", "(m1,\"2024-10-05 00:00:00\",3)", "(m2,\"2024-10-04 00:00:00\",2)"];
    assert_eq!(place.rows("SELECT * FROM momentum ORDER BY 1, 2").await?, expected);
    place.done().await
}

async fn last_row_wins() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    let first = [rows(&hot, &[(Some("m1"), 20_000, 1), (None, 20_000, 5), (Some("m1"), 20_000, 2)])];
    let second = [rows(&hot, &[(Some("m1"), 20_000, 7)]), rows(&hot, &[(None, 20_000, 6), (Some("m1"), 20_000, 9)])];
    place.sink.apply(&hot, &claim(1), 0, 1, &first).await?;
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(m1,2)", "(,5)"]);
    place.sink.apply(&hot, &claim(1), 1, 2, &second).await?;
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(m1,9)", "(,6)"]);
    let mut many: Vec<(Option<&str>, i64, i64)> = (0..3_000).map(|shots| (Some("m1"), 20_000, shots)).collect();
    many.push((None, 20_000, 8));
    place.sink.apply(&hot, &claim(1), 2, 3, &[rows(&hot, &many)]).await?;
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY 1").await?, ["(m1,2999)", "(,8)"]);

    let all_key = HotTable {
        query: "pairs".to_owned(),
        table: "pairs".to_owned(),
        primary_key: vec!["match_id".to_owned(), "window_start".to_owned(), "shots".to_owned()],
        ..momentum()
    };
    place.sink.prepare(&all_key, &claim(1)).await?;
    let same = [rows(&all_key, &[(Some("m"), 20_000, 1), (Some("m"), 20_000, 1)])];
    place.sink.apply(&all_key, &claim(1), 0, 1, &same).await?;
    place.sink.apply(&all_key, &claim(1), 1, 2, &same).await?;
    assert_eq!(place.rows("SELECT count(*) FROM pairs").await?, ["(1)"]);
    place.done().await
}

async fn without_a_key() -> Outcome {
    let place = place().await?;
    let hot = HotTable { primary_key: Vec::new(), ..momentum() };
    place.sink.prepare(&hot, &claim(1)).await?;
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1), (Some("m1"), 20_000, 1), (None, 20_000, 2)])];
    place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?;
    place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?;
    assert_eq!(place.rows("SELECT match_id, shots FROM momentum ORDER BY shots").await?, ["(m1,1)", "(m1,1)", "(,2)"]);
    place.done().await
}

async fn every_type() -> Outcome {
    let place = place().await?;
    let moment = 1_717_689_600_123_456;
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)]), None]);
    let inner: ArrayRef = Arc::new(StringArray::from(vec!["it's \"x\"\\\u{0}", "y"]));
    let pair = StructArray::from(vec![(Arc::new(Field::new("name", DataType::Utf8, true)), inner)]);
    let decimals = Decimal128Array::from(vec![Some(-12_345), None]).with_precision_and_scale(10, 2)?;
    let span = IntervalMonthDayNano { months: 1, days: -2, nanoseconds: 3_500_000_000 };
    let columns: Vec<(&str, ArrayRef, &str)> = vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None])), "true"),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None])), "-32768"),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None])), "-9223372036854775808"),
        ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None])), "18446744073709551615"),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.1), None])), "0.1"),
        ("f64", Arc::new(Float64Array::from(vec![Some(1e-7), None])), "1e-07"),
        ("inf", Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), None])), "-Infinity"),
        ("dec", Arc::new(decimals), "-123.45"),
        ("day", Arc::new(Date32Array::from(vec![Some(19_782), None])), "2024-02-29"),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(1), None])), "00:00:00.000001"),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![Some(moment), None])), "2024-06-06 16:00:00.123456"),
        (
            "tstz",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(moment), None]).with_timezone("Europe/Berlin")),
            "2024-06-06 16:00:00.123456+00",
        ),
        (
            "old",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(-62_135_596_800_000_001), None])),
            "0001-12-31 23:59:59.999999 BC",
        ),
        ("far", Arc::new(TimestampMicrosecondArray::from(vec![Some(i64::MAX), None])), "infinity"),
        ("dur", Arc::new(DurationMicrosecondArray::from(vec![Some(-1_500_000), None])), "-00:00:01.5"),
        ("span", Arc::new(IntervalMonthDayNanoArray::from(vec![Some(span), None])), "1 mon -2 days +00:00:03.5"),
        ("text", Arc::new(StringArray::from(vec![Some("a\tb\\\nü\u{0}\\N"), None])), "a\tb\\\nü\u{FFFD}\\N"),
        ("bin", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None])), "\\x00ff"),
        ("list", Arc::new(list), "{1,NULL,3}"),
        ("json", Arc::new(pair), "{\"name\": \"it's \\\"x\\\"\\\\\u{FFFD}\"}"),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.iter().map(|(name, array, _)| (*name, Arc::clone(array), true)),
    )?;
    let hot = HotTable {
        query: "types".to_owned(),
        table: "types".to_owned(),
        schema: batch.schema(),
        primary_key: Vec::new(),
        time_column: None,
        changes: Changes::Append,
    };
    place.sink.prepare(&hot, &claim(1)).await?;
    // Few rows travel another way than many.
    let mut copies = vec![batch.clone()];
    for (checkpoint, count) in [(0, 1), (1, 1_000)] {
        copies.resize(count, batch.clone());
        place.db.batch_execute("DELETE FROM types").await?;
        place.sink.apply(&hot, &claim(1), checkpoint, checkpoint + 1, &copies).await?;
        for (name, array, expected) in &columns {
            let found = place
                .rows(&format!("SELECT DISTINCT \"{name}\"::text = $x${expected}$x$ FROM types WHERE bool"))
                .await?;
            assert_eq!(found, ["(t)"], "{name}");
            if array.is_null(1) {
                let nulls =
                    place.rows(&format!("SELECT DISTINCT \"{name}\" IS NULL FROM types WHERE bool IS NULL")).await?;
                assert_eq!(nulls, ["(t)"], "{name}");
            }
        }
    }
    assert_eq!(place.sink.prepare(&hot, &claim(2)).await?, 2, "every type is found in the catalog as it was declared");
    place.done().await
}

async fn fenced() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1)])];
    place.sink.prepare(&hot, &claim(4)).await?;
    place.sink.apply(&hot, &claim(4), 0, 1, &delta).await?;
    assert_eq!(place.sink.prepare(&hot, &claim(5)).await?, 1);
    let error = place.sink.apply(&hot, &claim(4), 1, 2, &delta).await.expect_err("taken over");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(place.sink.retain(&hot, 4, 0).await.expect_err("taken over").kind(), ErrorKind::Fenced);
    assert_eq!(place.sink.prepare(&hot, &claim(4)).await.expect_err("taken over").kind(), ErrorKind::Fenced);
    assert_eq!(place.rows("SELECT checkpoint, generation FROM touchline_commits").await?, ["(1,5)"]);
    place.done().await
}

async fn set_back() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1)])];
    place.sink.prepare(&hot, &claim(3)).await?;
    place.sink.apply(&hot, &claim(3), 0, 5, &delta).await?;
    place.db.batch_execute("UPDATE touchline_commits SET checkpoint = 2, generation = 2").await?;
    assert_eq!(place.sink.apply(&hot, &claim(3), 5, 6, &delta).await?, Applied::Behind { at: 2 });
    assert_eq!(place.sink.prepare(&hot, &claim(3)).await?, 2);
    assert!(matches!(place.sink.apply(&hot, &claim(3), 2, 6, &delta).await?, Applied::Written { rows: 1, .. }));
    place.db.batch_execute("DROP TABLE touchline_commits").await?;
    assert_eq!(
        place.sink.apply(&hot, &claim(3), 6, 7, &delta).await.expect_err("no marker").kind(),
        ErrorKind::Invalid
    );
    let error = place.sink.prepare(&hot, &claim(3)).await.expect_err("nobody knows which rows these are");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    place.db.batch_execute("DELETE FROM momentum").await?;
    assert_eq!(place.sink.prepare(&hot, &claim(3)).await?, 0, "none of them is left");
    place.db.batch_execute("UPDATE touchline_commits SET checkpoint = 9; DROP TABLE momentum").await?;
    assert_eq!(place.sink.prepare(&hot, &claim(3)).await?, 0, "a table that is made anew holds nothing");
    place.done().await
}

async fn another_history() -> Outcome {
    let place = place().await?;
    let hot = HotTable { primary_key: Vec::new(), ..momentum() };
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1)])];
    place.sink.prepare(&hot, &claim(3)).await?;
    place.sink.apply(&hot, &claim(3), 0, 50, &delta).await?;
    let marker = "SELECT checkpoint, generation, lineage, instance FROM touchline_commits";
    let written = place.rows(marker).await?;

    // The state store was restored: a later incarnation began at 31, and has got past what the table has seen of the forgotten one.
    let mut restored = claim(3);
    restored.lineage.incarnations.push(Incarnation { instance: Uuid::from_u128(0xC), first: 31 });
    // It was made anew: the same numbers, another lineage.
    let mut anew = claim(4);
    anew.lineage.id = Uuid::from_u128(0xD);
    // It is behind.
    let behind = Claim { head: 49, ..claim(4) };
    for other in [&restored, &anew, &behind] {
        let error = place.sink.prepare(&hot, other).await.expect_err("of another history");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        let report = error.report();
        assert!(report.contains("checkpoint 50, generation 3") && report.contains("DROP TABLE"), "{report}");
        let applied = place.sink.apply(&hot, other, 50, 51, &delta).await?;
        assert_eq!(applied, Applied::Behind { at: 50 }, "to be prepared again first");
        assert_eq!(
            place.sink.apply(&hot, other, 40, 45, &delta).await?,
            Applied::Behind { at: 50 },
            "not applied already"
        );
    }
    assert_eq!(place.rows(marker).await?, written, "nothing is touched");
    assert_eq!(place.rows("SELECT shots FROM momentum").await?, ["(1)"]);
    // Its own history goes on, and whoever drops the table lets another one begin.
    assert_eq!(place.sink.prepare(&hot, &claim(4)).await?, 50);
    place.db.batch_execute("DROP TABLE momentum").await?;
    assert_eq!(place.sink.prepare(&hot, &restored).await?, 0, "also where the marker is of a newer generation");
    place.sink.apply(&hot, &restored, 0, 60, &delta).await?;
    assert_eq!(
        place.rows("SELECT checkpoint, instance FROM touchline_commits").await?,
        [format!("(60,{})", Uuid::from_u128(0xC))]
    );
    place.done().await
}

async fn marker_of_before() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1)])];
    place.sink.prepare(&hot, &claim(1)).await?;
    place.sink.apply(&hot, &claim(1), 0, 5, &delta).await?;
    // As the server before had it.
    place.db.batch_execute("ALTER TABLE touchline_commits DROP COLUMN lineage, DROP COLUMN instance").await?;
    let upgraded = |before: u64, head: u64| {
        let mut claim = claim(2);
        claim.lineage.before = before;
        Claim { head, ..claim }
    };
    for (claim, why) in [(upgraded(7, 4), "ahead of the head"), (upgraded(4, 9), "by then markers had a lineage")] {
        assert_eq!(place.sink.prepare(&hot, &claim).await.expect_err(why).kind(), ErrorKind::Corrupt, "{why}");
    }
    assert_eq!(place.sink.prepare(&hot, &upgraded(7, 9)).await?, 5);
    let marker = place.rows("SELECT checkpoint, lineage, instance FROM touchline_commits").await?;
    assert_eq!(marker, [format!("(5,{LINEAGE},{INSTANCE})")], "from now on it has its history");
    assert!(matches!(place.sink.apply(&hot, &upgraded(7, 9), 5, 6, &delta).await?, Applied::Written { .. }));
    place.done().await
}

async fn made_anew() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    let old = [rows(&hot, &[(Some("gone"), 20_010, 1), (Some("m1"), 20_010, 1)])];
    place.sink.apply(&hot, &claim(1), 0, 5, &old).await?;
    place.sink.retain(&hot, 1, 20_012 * DAY).await?;

    let all =
        [rows(&hot, &[(Some("m1"), 20_010, 2), (Some("past"), 20_000, 3)]), rows(&hot, &[(Some("m2"), 20_011, 4)])];
    // One attempt is cut off.
    let mut cut_off = place.sink.begin_rebuild(&hot, &claim(1), None).await?;
    cut_off.add(&all).await?;
    let mut rebuild = place.sink.begin_rebuild(&hot, &claim(1), Some(20_012 * DAY)).await?;
    assert_eq!(cut_off.add(&all).await.expect_err("begun again").kind(), ErrorKind::Unavailable);
    rebuild.add(&all).await?;
    rebuild.add(&[rows(&hot, &[(Some("m1"), 20_010, 5)])]).await?;
    let seen = "SELECT match_id, shots FROM momentum ORDER BY 1";
    assert_eq!(place.rows(seen).await?, ["(gone,1)", "(m1,1)"], "the old table is read until then");
    rebuild.finish(9).await?;
    rebuild.finish(9).await?;
    assert_eq!(place.rows(seen).await?, ["(m1,5)", "(m2,4)"], "the last row of a key, and none that has passed out");
    let marker = place.rows("SELECT query, checkpoint, table_name FROM touchline_commits").await?;
    assert_eq!(marker, ["(momentum,9,momentum)"]);
    let tables = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname LIKE 'momentum%' \
                  AND relkind IN ('r', 'p') AND relname LIKE '%new%'";
    assert_eq!(place.rows(tables).await?, Vec::<String>::new(), "its partitions bear the table's name as well");
    // It goes on as any other, also after another one.
    assert_eq!(place.sink.prepare(&hot, &claim(2)).await?, 9);
    place.sink.apply(&hot, &claim(2), 9, 10, &[rows(&hot, &[(Some("m3"), 20_011, 6)])]).await?;
    assert_eq!(rebuild.finish(9).await.expect_err("another server's").kind(), ErrorKind::Fenced);
    let mut again = place.sink.begin_rebuild(&hot, &claim(2), None).await?;
    again.add(&all).await?;
    // Whoever reads the table is waited for, and nothing is lost by that.
    let mut reader = place.reader().await?;
    let reading = reader.transaction().await?;
    reading.query("SELECT * FROM momentum", &[]).await?;
    assert_eq!(again.finish(11).await.expect_err("it is read").kind(), ErrorKind::Unavailable);
    reading.rollback().await?;
    again.finish(11).await?;
    assert_eq!(place.rows(seen).await?, ["(m1,2)", "(m2,4)"]);
    place.done().await
}

async fn failed_transaction() -> Outcome {
    let mut place = place().await?;
    let hot = HotTable { primary_key: vec!["match_id".to_owned()], time_column: None, ..momentum() };
    let delta = [rows(&hot, &[(Some("m1"), 20_000, 1)])];
    place.sink.prepare(&hot, &claim(1)).await?;
    // Not about a row: the column is another one.
    place.db.batch_execute("ALTER TABLE momentum RENAME COLUMN shots TO goals").await?;
    let error = place.sink.apply(&hot, &claim(1), 0, 1, &delta).await.expect_err("no such column");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
    let report = error.report();
    assert!(report.contains("\"shots\"") && !report.contains("m1"), "{report}");
    assert_eq!(place.rows("SELECT checkpoint FROM touchline_commits").await?, ["(0)"]);
    assert_eq!(place.rows("SELECT to_regclass('touchline_refused') IS NULL").await?, ["(t)"], "no row is blamed");
    place.db.batch_execute("ALTER TABLE momentum RENAME COLUMN goals TO shots").await?;

    let held = place.db.transaction().await?;
    held.batch_execute("SELECT * FROM touchline_commits FOR UPDATE").await?;
    let error = place.sink.apply(&hot, &claim(1), 0, 1, &delta).await.expect_err("held");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    held.rollback().await?;
    assert_eq!(place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?, Applied::Written { rows: 1, expired: 0 });
    place.done().await
}

async fn two_at_once() -> Outcome {
    let place = place().await?;
    let hot = HotTable { primary_key: Vec::new(), ..momentum() };
    let delta = [rows(&hot, &vec![(Some("m1"), 20_000, 1); 20_000])];
    let sink =
        PostgresSink::try_new(PostgresSettings { lock_timeout: Duration::from_secs(60), ..place.settings.clone() })?;
    let claim = claim(1);
    sink.prepare(&hot, &claim).await?;
    let (a, b) = tokio::join!(sink.apply(&hot, &claim, 0, 1, &delta), sink.apply(&hot, &claim, 0, 1, &delta));
    let mut answers = [format!("{:?}", a?), format!("{:?}", b?)];
    answers.sort();
    assert_eq!(answers, ["AlreadyApplied { at: 1 }", "Written { rows: 20000, expired: 0 }"]);
    assert_eq!(place.rows("SELECT count(*) FROM momentum").await?, ["(20000)"]);

    let others: Vec<HotTable> =
        (0..4).map(|i| HotTable { query: format!("q{i}"), table: format!("t{i}"), ..momentum() }).collect();
    let fresh = PostgresSettings { schema: format!("{}2", place.schema), ..place.settings.clone() };
    place.db.batch_execute(&format!("CREATE SCHEMA \"{}\"", fresh.schema)).await?;
    let sink = PostgresSink::try_new(PostgresSettings { lock_timeout: Duration::from_secs(60), ..fresh.clone() })?;
    let (a, b, c, d) = tokio::join!(
        sink.prepare(&others[0], &claim),
        sink.prepare(&others[1], &claim),
        sink.prepare(&others[2], &claim),
        sink.prepare(&others[3], &claim)
    );
    assert_eq!([a?, b?, c?, d?], [0; 4], "four queries may start at once on an empty schema");
    place.db.batch_execute(&format!("DROP SCHEMA \"{}\" CASCADE", fresh.schema)).await?;
    place.done().await
}

async fn foreign_table() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.db.batch_execute("CREATE TABLE momentum (a int)").await?;
    let report = place.sink.prepare(&hot, &claim(1)).await.expect_err("not ours").report();
    assert!(report.contains("was not made by this server") && report.contains("RENAME TO"), "{report}");
    assert_eq!(place.rows("SELECT to_regclass('touchline_commits') IS NULL").await?, ["(t)"], "nothing is half done");
    place.db.batch_execute("DROP TABLE momentum").await?;
    place.sink.prepare(&hot, &claim(1)).await?;
    place.sink.apply(&hot, &claim(1), 0, 1, &[rows(&hot, &[(Some("m1"), 20_000, 1)])]).await?;

    let mut fields: Vec<Field> = hot.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("xg", DataType::Float64, true));
    let wider = HotTable { schema: Arc::new(Schema::new(fields)), ..hot.clone() };
    assert_eq!(place.sink.prepare(&wider, &claim(1)).await?, 1);
    assert_eq!(place.rows("SELECT match_id, shots, xg FROM momentum").await?, ["(m1,1,)"]);
    let other = HotTable { query: "other".to_owned(), ..hot.clone() };
    let report = place.sink.prepare(&other, &claim(1)).await.expect_err("another query's").report();
    assert!(report.contains("belongs to another query"), "{report}");
    place.done().await
}

/// A later version of [`momentum`], with other columns.
pub(crate) fn later_momentum() -> HotTable {
    let mut fields: Vec<Field> = momentum().schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[2] = Field::new("xg", DataType::Int64, true);
    HotTable { query: "momentum-0a1b2c3d".to_owned(), schema: Arc::new(Schema::new(fields)), ..momentum() }
}

async fn versions() -> Outcome {
    let place = place().await?;
    let (first, later) = (momentum(), later_momentum());
    let of = |hot: &HotTable, shots: i64| [rows(hot, &[(Some("m1"), 20_000, shots)])];
    place.sink.prepare(&first, &claim(1)).await?;
    place.sink.apply(&first, &claim(1), 0, 7, &of(&first, 1)).await?;

    assert_eq!(place.sink.prepare(&later, &claim(2)).await?, 0, "a table of its own");
    place.sink.apply(&later, &claim(2), 0, 3, &of(&later, 2)).await?;
    assert_eq!(place.rows("SELECT xg FROM momentum").await?, ["(2)"]);
    assert_eq!(place.rows("SELECT shots FROM momentum_old_first").await?, ["(1)"]);
    let partitions = "SELECT c.relname, p.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid JOIN pg_class p ON p.oid = inhparent \
                      WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND c.relname LIKE '%20241004' ORDER BY 1";
    assert_eq!(
        place.rows(partitions).await?,
        ["(momentum_old_first_p20241004,momentum_old_first)", "(momentum_p20241004,momentum)"]
    );
    // A server that still runs the first version does not write into its successor's table, nor take the name back.
    let error = place.sink.apply(&first, &claim(1), 7, 8, &of(&first, 9)).await.expect_err("replaced");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert_eq!(place.sink.prepare(&first, &claim(1)).await.expect_err("replaced").kind(), ErrorKind::Fenced);
    assert_eq!(place.sink.retain(&first, 1, 20_100 * DAY).await.expect_err("replaced").kind(), ErrorKind::Fenced);
    // Nor does what this server itself had under way when the file was changed.
    assert_eq!(place.sink.apply(&first, &claim(2), 7, 8, &of(&first, 9)).await?, Applied::Behind { at: 7 });
    assert_eq!(place.rows("SELECT xg FROM momentum").await?, ["(2)"]);

    assert_eq!(place.sink.prepare(&first, &claim(3)).await?, 7, "back to the first: it goes on where it stood");
    place.sink.apply(&first, &claim(3), 7, 8, &of(&first, 5)).await?;
    assert_eq!(place.rows("SELECT shots FROM momentum").await?, ["(5)"]);
    assert_eq!(place.rows("SELECT xg FROM momentum_old_0a1b2c3d").await?, ["(2)"]);
    assert_eq!(place.rows("SELECT table_name FROM touchline_set_aside").await?, ["(momentum_old_0a1b2c3d)"]);
    let error = place.sink.prepare(&later, &claim(2)).await.expect_err("the older server");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");

    // The same version with another key: the old rows cannot be told apart by it.
    let rekeyed = HotTable { primary_key: vec!["window_start".to_owned()], ..first.clone() };
    assert_eq!(place.sink.prepare(&rekeyed, &claim(3)).await?, 0);
    place.sink.apply(&rekeyed, &claim(3), 0, 9, &of(&rekeyed, 6)).await?;
    assert_eq!(place.rows("SELECT shots FROM momentum").await?, ["(6)"]);
    let aside = place.rows("SELECT table_name FROM touchline_set_aside WHERE query = 'momentum'").await?;
    assert!(aside.len() == 1 && aside[0].starts_with("(momentum_old_"), "{aside:?}");
    place.done().await
}

async fn set_aside_in_time() -> Outcome {
    let place = place().await?;
    let (first, later) = (momentum(), later_momentum());
    place.sink.prepare(&first, &claim(1)).await?;
    place.sink.apply(&first, &claim(1), 0, 1, &[rows(&first, &[(Some("m1"), 20_000, 1)])]).await?;
    place.sink.prepare(&later, &claim(1)).await?;
    assert_eq!(place.sink.retain(&later, 1, 20_000 * DAY).await?.dropped, Vec::<String>::new());
    place.db.batch_execute("UPDATE touchline_set_aside SET set_aside_at = now() - interval '6 days 23 hours'").await?;
    assert_eq!(place.sink.retain(&later, 1, 20_000 * DAY).await?.dropped, Vec::<String>::new());
    place.db.batch_execute("UPDATE touchline_set_aside SET set_aside_at = now() - interval '7 days'").await?;
    assert_eq!(place.sink.retain(&later, 1, 20_000 * DAY).await?.dropped, ["momentum_old_first"]);
    assert_eq!(place.rows("SELECT to_regclass('momentum_old_first') IS NULL").await?, ["(t)"]);
    assert_eq!(place.rows("SELECT query FROM touchline_commits").await?, ["(momentum-0a1b2c3d)"]);
    assert_eq!(place.rows("SELECT count(*) FROM touchline_set_aside").await?, ["(0)"]);

    // A table that somebody else has given that name is theirs.
    place.sink.prepare(&first, &claim(1)).await?;
    place
        .db
        .batch_execute(
            "DROP TABLE momentum_old_0a1b2c3d; CREATE TABLE momentum_old_0a1b2c3d (a int); \
             UPDATE touchline_set_aside SET set_aside_at = now() - interval '7 days'",
        )
        .await?;
    assert_eq!(place.sink.retain(&first, 1, 20_000 * DAY).await?.dropped, Vec::<String>::new());
    assert_eq!(place.rows("SELECT count(*) FROM momentum_old_0a1b2c3d").await?, ["(0)"]);
    assert_eq!(place.rows("SELECT count(*) FROM touchline_set_aside").await?, ["(0)"]);
    place.done().await
}

async fn retention() -> Outcome {
    let place = place().await?;
    let hot = momentum();
    place.sink.prepare(&hot, &claim(1)).await?;
    let delta = [rows(&hot, &[(Some("a"), 20_000, 1), (Some("b"), 20_005, 2), (Some("c"), 20_010, 3)])];
    place.sink.apply(&hot, &claim(1), 0, 1, &delta).await?;
    let retained = place.sink.retain(&hot, 1, 20_012 * DAY + DAY / 2).await?;
    assert_eq!(retained.dropped, ["momentum_p20241004"], "seven days before the 20,012th");
    assert_eq!(retained.boundary, 20_005 * DAY);
    assert_eq!(place.sink.retain(&hot, 1, 20_001 * DAY).await?.boundary, 20_005 * DAY, "it never moves back");
    let late = [rows(&hot, &[(Some("a"), 20_000, 9), (Some("d"), 20_006, 4)])];
    assert_eq!(place.sink.apply(&hot, &claim(1), 1, 2, &late).await?, Applied::Written { rows: 1, expired: 1 });
    assert_eq!(place.rows("SELECT match_id FROM momentum ORDER BY 1").await?, ["(b)", "(c)", "(d)"]);
    assert_eq!(place.rows("SELECT expired_rows FROM touchline_commits").await?, ["(1)"]);
    let ahead = "SELECT to_regclass('momentum_p20241016') IS NOT NULL, to_regclass('momentum_p20241017') IS NOT NULL";
    assert_eq!(place.rows(ahead).await?, ["(t,f)"], "two days more than the last row's");

    let plain = HotTable {
        query: "latest".to_owned(),
        table: "latest".to_owned(),
        primary_key: vec!["match_id".to_owned()],
        ..momentum()
    };
    place.sink.prepare(&plain, &claim(1)).await?;
    place.sink.apply(&plain, &claim(1), 0, 1, &delta).await?;
    assert_eq!(place.sink.retain(&plain, 1, 20_012 * DAY).await?.deleted, 1);
    assert_eq!(place.rows("SELECT match_id FROM latest ORDER BY 1").await?, ["(b)", "(c)"]);
    place.done().await
}

async fn wrong_addresses() -> Outcome {
    let place = place().await?;
    let url = services::postgres()?;
    let (login, rest) = url.split_once('@').ok_or("the test's URL has a login")?;
    let (user, password) = login.rsplit_once(':').ok_or("the test's URL has a password")?;
    let (host, _) = rest.split_once('/').ok_or("the test's URL has a database")?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let cases = [
        (format!("{user}:wrong-{password}@{rest}"), "public", ErrorKind::Invalid, "refuses the login"),
        (format!("{login}@{host}/no_such_database"), "public", ErrorKind::Invalid, "does not exist"),
        (format!("{login}@{free}/postgres"), "public", ErrorKind::Unavailable, "cannot reach Postgres"),
        (url.clone(), "no such schema", ErrorKind::Invalid, "schema \"no such schema\" does not exist"),
        (format!("{login}@{rest}?sslmode=nonsense"), "public", ErrorKind::Invalid, "not an address"),
    ];
    for (url, schema, kind, expected) in cases {
        let settings =
            PostgresSettings { url: Some(Secret::new(url)), schema: schema.to_owned(), ..PostgresSettings::default() };
        // Of these, what is no address alone is seen before anything is opened.
        let error = match PostgresSink::try_new(settings) {
            Ok(sink) => sink.prepare(&momentum(), &claim(1)).await.expect_err(expected),
            Err(error) => error,
        };
        let report = error.report();
        assert!(error.kind() == kind && report.contains(expected), "{kind:?} {expected}: {error:?}");
        assert!(!report.contains(password), "{report}");
    }
    place.done().await
}
