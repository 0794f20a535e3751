use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array,
    Float64Array, Int32Array, Int64Array, Int64Builder, ListArray, MapBuilder, StringArray, StringViewArray,
    StringViewBuilder, StructArray, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit};

use arrow::record_batch::RecordBatch;

use super::apply::place;
use super::changes::{by_nulls, deletions, netted};
use super::ddl::{ColumnSql, Layout, TableSql, civil, partition_day, postgres_type, quote};
use super::owner::{Standing, is_ours};
use super::refuse::Refusal;
use super::text::RowWriter;
use super::*;
use crate::changelog::early::{EarlyForm, IS_FINAL};
use crate::checkpoint::Lineage;
use crate::clock::DAY_MICROS;
use crate::config::Secret;

const DAY: Micros = DAY_MICROS;

fn hot(schema: Schema, key: &[&str], time: Option<&str>) -> HotTable {
    HotTable {
        query: "momentum".to_owned(),
        table: "momentum".to_owned(),
        schema: Arc::new(schema),
        primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
        time_column: time.map(str::to_owned),
        changes: Changes::Append,
    }
}

fn time(nullable: bool) -> Field {
    Field::new("window_start", DataType::Timestamp(TimeUnit::Millisecond, None), nullable)
}

fn sql(hot: &HotTable) -> TableSql {
    TableSql::new("public", hot).expect("a valid table")
}

/// One row of text per row of a one-column batch, without the newline.
fn texts(array: ArrayRef) -> Vec<String> {
    let batch = RecordBatch::try_from_iter_with_nullable([("c", array, true)]).expect("one column");
    let mut writer = RowWriter::try_new(&batch).expect("a type with text");
    (0..batch.num_rows())
        .map(|row| {
            let mut out = Vec::new();
            writer.write(row, None, &mut out).expect("written");
            String::from_utf8(out).expect("text").strip_suffix('\n').expect("a line").to_owned()
        })
        .collect()
}

#[test]
fn scalars_are_written_as_postgres_reads_them() {
    let i64s: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MIN), None]));
    assert_eq!(texts(i64s), ["-9223372036854775808", "\\N"]);
    assert_eq!(texts(Arc::new(UInt64Array::from(vec![u64::MAX]))), ["18446744073709551615"]);
    assert_eq!(texts(Arc::new(BooleanArray::from(vec![true, false]))), ["t", "f"]);
    let floats = vec![0.1, 1e300, -0.0, f64::NAN, f64::NEG_INFINITY];
    assert_eq!(texts(Arc::new(Float64Array::from(floats))), ["0.1", "1e300", "-0.0", "NaN", "-Infinity"]);
    assert_eq!(texts(Arc::new(Float32Array::from(vec![0.1, 3.4e38]))), ["0.1", "3.4e38"]);
    let decimals =
        Decimal128Array::from(vec![Some(-12345), Some(5), None]).with_precision_and_scale(10, 2).expect("fits");
    assert_eq!(texts(Arc::new(decimals)), ["-123.45", "0.05", "\\N"]);
    assert_eq!(texts(Arc::new(BinaryArray::from(vec![&b"\x00\xff\\"[..]]))), ["\\\\x00ff5c"]);
}

#[test]
fn text_cannot_break_out_of_its_column() {
    let array = StringArray::from(vec!["a\tb\nc\rd\\e", "\\N", "", "nul \0 here", "ü\u{1F3C6}"]);
    let expected = ["a\\tb\\nc\\rd\\\\e", "\\\\N", "", "nul \u{FFFD} here", "ü\u{1F3C6}"];
    assert_eq!(texts(Arc::new(array.clone())), expected);
    assert_eq!(texts(Arc::new(StringViewArray::from_iter(array.iter()))), expected);
}

#[test]
fn moments_are_written_in_utc_to_the_microsecond() {
    let millis = TimestampMillisecondArray::from(vec![Some(0), Some(-1), Some(1_717_689_600_123), None]);
    let expected = ["1970-01-01 00:00:00", "1969-12-31 23:59:59.999000", "2024-06-06 16:00:00.123000", "\\N"];
    assert_eq!(texts(Arc::new(millis.clone())), expected);
    assert_eq!(texts(Arc::new(millis.with_timezone("Europe/Berlin")))[0], "1970-01-01 00:00:00+00");
    // Nanoseconds are cut towards the past, so that the order of rows does not change.
    let nanos = TimestampNanosecondArray::from(vec![1_999, -1]);
    assert_eq!(texts(Arc::new(nanos)), ["1970-01-01 00:00:00.000001", "1969-12-31 23:59:59.999999"]);
    let far =
        TimestampMicrosecondArray::from(vec![i64::MAX, i64::MIN, 253_402_300_800_000_000, -62_135_596_800_000_001]);
    assert_eq!(
        texts(Arc::new(far)),
        ["infinity", "-infinity", "10000-01-01 00:00:00", "0001-12-31 23:59:59.999999 BC"]
    );
    assert_eq!(
        texts(Arc::new(Date32Array::from(vec![0, 19_782, -719_163]))),
        ["1970-01-01", "2024-02-29", "0001-12-31 BC"]
    );
    assert_eq!(texts(Arc::new(Time64MicrosecondArray::from(vec![86_399_000_001]))), ["23:59:59.000001"]);
    assert_eq!(texts(Arc::new(DurationMicrosecondArray::from(vec![-1_500_000]))), ["-1.500000 secs"]);
}

#[test]
fn lists_become_arrays_and_structs_become_json() {
    let ints = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    assert_eq!(texts(Arc::new(ints.slice(1, 2))), ["\\N", "{}"]);
    assert_eq!(texts(Arc::new(ints)), ["{\"1\",NULL}", "\\N", "{}"]);
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([2]);
    let words: ArrayRef = Arc::new(StringArray::from(vec!["a\"b\\c,}", "NULL"]));
    let list = ListArray::new(Arc::new(Field::new_list_field(DataType::Utf8, true)), offsets, words, None);
    assert_eq!(texts(Arc::new(list)), ["{\"a\\\\\"b\\\\\\\\c,}\",\"NULL\"}"]);

    let names: ArrayRef = Arc::new(StringArray::from(vec!["x\0\"\\u0000"]));
    let pair = StructArray::from(vec![
        (Arc::new(Field::new("n", DataType::Utf8, true)), names),
        (Arc::new(Field::new("i", DataType::Int32, true)), Arc::new(Int32Array::from(vec![None])) as ArrayRef),
    ]);
    // The six characters \u0000 in the text stay; the one character U+0000 does not.
    assert_eq!(texts(Arc::new(pair)), ["{\"n\":\"x\u{FFFD}\\\\\"\\\\\\\\u0000\",\"i\":null}"]);
}

#[test]
fn maps_become_json_objects() {
    let mut maps = MapBuilder::new(None, StringViewBuilder::new(), Int64Builder::new());
    for (key, value) in [("a\"b", Some(1)), ("nul \0", None)] {
        maps.keys().append_value(key);
        maps.values().append_option(value);
    }
    maps.append(true).expect("as many keys as values");
    maps.append(false).expect("none");
    maps.append(true).expect("none");
    assert_eq!(texts(Arc::new(maps.finish())), ["{\"a\\\\\"b\":1,\"nul \u{FFFD}\":null}", "\\N", "{}"]);
}

#[test]
fn every_arrow_type_has_one_postgres_type() {
    let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
    let cases = [
        (DataType::UInt8, "smallint"),
        (DataType::UInt32, "bigint"),
        (DataType::UInt64, "numeric(20,0)"),
        (DataType::Float32, "real"),
        (DataType::Decimal128(12, 2), "numeric(12,2)"),
        (DataType::Decimal128(5, -3), "numeric(8,0)"),
        (DataType::Timestamp(TimeUnit::Nanosecond, None), "timestamp without time zone"),
        (DataType::Timestamp(TimeUnit::Second, Some("UTC".into())), "timestamp with time zone"),
        (DataType::Utf8View, "text"),
        (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "text"),
        (list(DataType::Float64), "double precision[]"),
        (list(list(DataType::Int32)), "jsonb"),
        (DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into()), "jsonb"),
    ];
    for (arrow, postgres) in cases {
        assert_eq!(postgres_type(&arrow).as_deref(), Some(postgres), "{arrow}");
    }
    assert_eq!(
        postgres_type(&DataType::RunEndEncoded(
            Arc::new(Field::new("run_ends", DataType::Int32, false)),
            Arc::new(Field::new("values", DataType::Utf8, true)),
        )),
        None
    );
}

#[test]
fn names_are_quoted_or_refused() {
    assert_eq!(quote("a\"; DROP TABLE x; --").expect("legal"), "\"a\"\"; DROP TABLE x; --\"");
    assert!(quote(&"x".repeat(63)).is_ok());
    for wrong in [String::new(), "x".repeat(64), "ü".repeat(32), "a\0b".to_owned()] {
        assert!(quote(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_table_is_partitioned_by_day_where_its_key_has_the_time() {
    let columns = || {
        Schema::new(vec![
            Field::new("match_id", DataType::Utf8, false),
            time(true),
            Field::new("n", DataType::Int64, true),
        ])
    };
    let keyed = sql(&hot(columns(), &["match_id", "window_start"], Some("window_start")));
    assert_eq!(keyed.layout, Layout::Daily { column: 1 });
    assert_eq!(
        keyed.create(150_000).lines().next(),
        Some(
            "CREATE TABLE \"public\".\"momentum\" (\"match_id\" text NOT NULL, \"window_start\" timestamp without time zone NOT NULL, \
             \"n\" bigint, PRIMARY KEY (\"match_id\", \"window_start\")) PARTITION BY RANGE (\"window_start\");"
        )
    );
    assert_eq!(
        keyed.merge_delta(),
        "INSERT INTO \"public\".\"momentum\" (\"match_id\", \"window_start\", \"n\") SELECT DISTINCT ON (\"match_id\", \
         \"window_start\") \"match_id\", \"window_start\", \"n\" FROM pg_temp.touchline_delta ORDER BY \"match_id\", \"window_start\", \
         \"touchline delta row\" DESC ON CONFLICT (\"match_id\", \"window_start\") DO UPDATE SET \"n\" = excluded.\"n\""
    );
    assert_eq!(sql(&hot(columns(), &["match_id"], Some("window_start"))).layout, Layout::Plain { time: Some(1) });
    assert_eq!(sql(&hot(columns(), &[], Some("window_start"))).layout, Layout::Plain { time: Some(1) });
    assert_eq!(
        sql(&hot(Schema::new(vec![time(false)]), &[], Some("window_start"))).layout,
        Layout::Daily { column: 0 }
    );
    assert_eq!(sql(&hot(columns(), &["match_id"], None)).layout, Layout::Plain { time: None });
}

#[test]
fn a_key_of_all_columns_does_nothing_on_conflict_and_a_key_with_nulls_is_unique_with_nulls_as_equals() {
    let table = sql(&hot(Schema::new(vec![Field::new("a", DataType::Int32, true)]), &["a"], None));
    assert!(table.merge_delta().ends_with("ON CONFLICT (\"a\") DO NOTHING"), "{}", table.merge_delta());
    assert!(
        table.create(150_000).contains("CREATE UNIQUE INDEX ON \"public\".\"momentum\" (\"a\") NULLS NOT DISTINCT")
    );
    assert!(table.create(140_000).contains("PRIMARY KEY (\"a\")"));
}

#[test]
fn partitions_are_named_by_their_day() {
    let table = sql(&hot(Schema::new(vec![time(false)]), &[], Some("window_start")));
    assert_eq!(table.partition_name(20_454), "momentum_p20260101");
    for day in [0, 20_454, -719_468, -719_163, -2_440_588, 95_000_000] {
        assert_eq!(partition_day(&table.partition_name(day)), Some(day), "{:?}", civil(day));
    }
    for other in ["momentum", "momentum_p", "momentum_p2026010", "momentum_p2026010x", "momentum_old"] {
        assert_eq!(partition_day(other), None, "{other}");
    }
    let long = TableSql::new(
        "public",
        &HotTable { table: "ü".repeat(31), ..hot(Schema::new(vec![time(false)]), &[], Some("window_start")) },
    )
    .expect("62 bytes");
    assert!(long.partition_name(0).len() <= 63 && long.partition_name(0).ends_with("_p19700101"));
    assert!(
        table
            .create_partition(0)
            .expect("legal")
            .ends_with("FOR VALUES FROM ('1970-01-01 00:00:00') TO ('1970-01-02 00:00:00');")
    );
}

#[test]
fn a_table_is_taken_only_when_it_is_ours_and_fits() {
    let columns = |extra: &[Field]| {
        let mut fields = vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)];
        fields.extend_from_slice(extra);
        Schema::new(fields)
    };
    let table = sql(&hot(columns(&[]), &["a"], None));
    let comment = table.comment();
    let refused = |comment: Option<&str>| table.standing(comment, &table.columns).expect_err("refused").report();

    assert_eq!(table.standing(Some(&comment), &table.columns).expect("ours"), Standing::Fits { alter: None });
    assert!(refused(None).contains("RENAME TO \"momentum_old\""));
    assert!(refused(Some("orders of 2019")).contains("was not made by this server"));
    assert!(is_ours(Some(&comment)) && !is_ours(Some("orders of 2019")) && !is_ours(None));
    let other = TableSql::new("public", &HotTable { query: "other".to_owned(), ..hot(columns(&[]), &["a"], None) })
        .expect("valid");
    assert!(refused(Some(&other.comment())).contains("belongs to another query"));

    let wider = sql(&hot(columns(&[Field::new("c", DataType::Float64, true)]), &["a"], None));
    assert_eq!(
        wider.standing(Some(&comment), &table.columns).expect("can be added"),
        Standing::Fits {
            alter: Some("ALTER TABLE \"public\".\"momentum\" ADD COLUMN \"c\" double precision;".to_owned())
        }
    );
}

#[test]
fn a_table_of_the_view_that_does_not_take_its_rows_is_set_aside_under_a_name_that_says_which_it_was() {
    let columns = |more: &[Field]| {
        let mut fields = vec![Field::new("a", DataType::Int32, false), Field::new("b", DataType::Utf8, true)];
        fields.extend_from_slice(more);
        Schema::new(fields)
    };
    let version = |query: &str, key: &str| {
        let hot = HotTable { query: query.to_owned(), ..hot(columns(&[]), &[key], None) };
        TableSql::new("public", &hot).expect("valid")
    };
    let (first, later) = (version("momentum", "a"), version("momentum-0a1b2c3d", "a"));
    let outdated =
        |table: &TableSql, comment: &str, existing: &[ColumnSql]| match table.standing(Some(comment), existing) {
            Ok(Standing::Outdated { owner, aside, reason }) => (owner, aside, reason),
            other => panic!("{other:?}"),
        };
    let (owner, aside, reason) = outdated(&later, &first.comment(), &first.columns);
    assert_eq!((owner.as_str(), aside.as_str()), ("momentum", "momentum_old_first"));
    assert_eq!(reason, "another version of the view has written it");
    let (owner, aside, _) = outdated(&first, &later.comment(), &later.columns);
    assert_eq!((owner.as_str(), aside.as_str()), ("momentum-0a1b2c3d", "momentum_old_0a1b2c3d"));

    let (_, aside, reason) = outdated(&first, &version("momentum", "b").comment(), &first.columns);
    assert_eq!(reason, "its key or its partition column is another one");
    assert!(aside.starts_with("momentum_old_") && aside.len() == "momentum_old_".len() + 8, "{aside}");
    let mut changed = first.columns.clone();
    changed[1].data_type = "jsonb".to_owned();
    assert_eq!(outdated(&first, &first.comment(), &changed).2, "column b is jsonb, the view has text");
    let strict = sql(&hot(columns(&[Field::new("c", DataType::Float64, false)]), &["a"], None));
    assert!(outdated(&strict, &first.comment(), &first.columns).2.contains("column c is new and NOT NULL"));

    // Names that only look like versions are those of other views.
    for other in ["momentum-0a1b2c3", "momentum-0a1b2c3dx", "momentum_0a1b2c3d", "momentums", "momentum-0a1b2c3g"] {
        let refused = first.standing(Some(&version(other, "a").comment()), &first.columns).expect_err(other).report();
        assert!(refused.contains("belongs to another query"), "{refused}");
    }
}

#[test]
fn rows_before_the_boundary_are_counted_and_those_beyond_all_days_or_without_one_refused() {
    let schema = Schema::new(vec![Field::new("window_start", DataType::Timestamp(TimeUnit::Microsecond, None), false)]);
    let hot = hot(schema, &[], Some("window_start"));
    let table = sql(&hot);
    let array: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![3 * DAY, 2 * DAY, 2 * DAY - 1, i64::MAX]));
    let batch = RecordBatch::try_new(Arc::clone(&hot.schema), vec![array]).expect("one column");
    let placed = place(&hot, &table, &batch, Some(2 * DAY)).expect("of the view");
    let refused = |placed: &[(usize, Refusal)]| -> Vec<(usize, String)> {
        placed.iter().map(|(row, refusal)| (*row, refusal.sqlstate.clone())).collect()
    };
    assert_eq!(refused(&placed.refused), [(3, "22008".to_owned())]);
    assert_eq!((placed.rows, placed.days, placed.expired), (vec![0, 1], BTreeSet::from([2, 3]), 1));
    let placed = place(&hot, &table, &batch, None).expect("of the view");
    assert_eq!((placed.rows, placed.expired), (vec![0, 1, 2], 0));

    // A NULL has no day: it stops no other row.
    let columns = Schema::new(vec![time(true), Field::new("k", DataType::Utf8, false)]);
    let hot = self::hot(columns, &["window_start", "k"], Some("window_start"));
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(TimestampMillisecondArray::from(vec![None, Some(0), Some(0)])),
        Arc::new(StringArray::from(vec!["a", "b", "c\0"])),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&hot.schema), arrays).expect("of the view");
    let placed = place(&hot, &sql(&hot), &batch, None).expect("of the view");
    assert_eq!(refused(&placed.refused), [(2, "22021".to_owned()), (0, "23502".to_owned())]);
    assert_eq!((placed.rows, placed.expired), (vec![1], 0));
}

#[test]
fn rows_that_change_those_before_them_make_no_table_where_nothing_says_which() {
    let columns = || Schema::new(vec![time(false), Field::new("k", DataType::Utf8, true)]);
    let keyed = hot(columns(), &["window_start"], None);
    let unkeyed = hot(columns(), &[], None);
    for (hot, changes) in [
        (&keyed, Changes::Retract),
        // What it is upserted by does not name a row, or nothing does.
        (&keyed, Changes::Upsert(vec![1])),
        (&unkeyed, Changes::Upsert(vec![0])),
    ] {
        let error = TableSql::new("public", &HotTable { changes, ..hot.clone() }).expect_err("refused");
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
        assert!(error.primary().contains("cannot go into hot table \"momentum\" yet"), "{}", error.report());
    }
    assert!(TableSql::new("public", &HotTable { changes: Changes::Upsert(vec![0, 1]), ..keyed }).is_ok());
}

/// A view whose rows are replaced by window and key, with a key that can be NULL.
fn early() -> HotTable {
    let columns = vec![
        time(false),
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, false),
        Field::new(IS_FINAL, DataType::Boolean, false),
    ];
    let table = hot(Schema::new(columns), &["k", "window_start"], Some("window_start"));
    HotTable { changes: Changes::Upsert(vec![0, 1]), ..table }
}

#[test]
fn rows_that_are_gone_are_deleted_by_their_key() {
    let table = sql(&early());
    assert_eq!(table.layout, Layout::Daily { column: 0 });
    let statement = |same: &str| {
        format!(
            "DELETE FROM \"public\".\"momentum\" AS hot USING (SELECT \"k\"::text AS \"k\", \"window_start\"::timestamp without time zone AS \
             \"window_start\" FROM unnest($1, $2) AS texts (\"k\", \"window_start\")) AS gone WHERE {same} AND \
             hot.\"window_start\" = gone.\"window_start\""
        )
    };
    assert_eq!(table.delete_arrays(&[false, false]), statement("hot.\"k\" = gone.\"k\""));
    assert_eq!(table.delete_arrays(&[true, false]), statement("hot.\"k\" IS NULL"));
    assert!(table.create(150_000).contains("\"is_final\" boolean NOT NULL"));
    assert!(
        table.merge_delta().ends_with("DO UPDATE SET \"n\" = excluded.\"n\", \"is_final\" = excluded.\"is_final\"")
    );
}

#[test]
fn a_range_of_checkpoints_writes_or_deletes_each_key_once() {
    let hot = early();
    let (table, form) = (sql(&hot), EarlyForm::new(&hot.schema, vec![0, 1]));
    let rows = |rows: &[(Option<&str>, i64)]| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMillisecondArray::from(vec![7; rows.len()])),
            Arc::new(rows.iter().map(|(key, _)| *key).collect::<StringArray>()),
            Arc::new(rows.iter().map(|(_, n)| Some(*n)).collect::<Int64Array>()),
            Arc::new(BooleanArray::from(vec![true; rows.len()])),
        ];
        RecordBatch::try_new(Arc::clone(&hot.schema), columns).expect("rows of the view")
    };
    let keys = |keys: &[Option<&str>]| -> [ArrayRef; 2] {
        let times = Arc::new(TimestampMillisecondArray::from(vec![7; keys.len()]));
        [times, Arc::new(keys.iter().copied().collect::<StringArray>())]
    };
    let batches = [
        form.shown(&rows(&[(Some("a"), 1), (None, 2), (Some("b"), 3), (Some("c"), 4)]), 9).expect("early"),
        form.gone(&keys(&[Some("a"), None, Some("b")]), 9).expect("gone"),
        form.shown(&rows(&[(Some("b"), 5)]), 9).expect("early"),
        form.settled(&rows(&[(Some("c"), 6)])).expect("final"),
    ];
    let netted = netted(&hot, &table, &batches).expect("of the view's form");
    let shown: Vec<String> = netted.rows.iter().flat_map(written).collect();
    assert_eq!(shown, ["1970-01-01 00:00:00.007000\tb\t5\tf", "1970-01-01 00:00:00.007000\tc\t6\tt"]);
    let gone: Vec<String> = netted.gone.iter().flat_map(written).collect();
    assert_eq!(gone, ["a\t1970-01-01 00:00:00.007000", "\\N\t1970-01-01 00:00:00.007000"]);
    // A NULL equals nothing: keys with NULLs in other columns have statements of their own.
    let kinds = |keys: &RecordBatch| -> Vec<(Vec<bool>, Vec<String>)> {
        by_nulls(keys).expect("keys").into_iter().map(|(nulls, keys)| (nulls, written(&keys))).collect()
    };
    let kind = |null: bool, row: usize| (vec![null, false], vec![gone[row].clone()]);
    assert_eq!(kinds(&netted.gone[0]), [kind(false, 0), kind(true, 1)]);
    assert_eq!(kinds(&netted.gone[0].slice(0, 1)), [kind(false, 0)]);
    assert!(kinds(&netted.gone[0].slice(0, 0)).is_empty());

    // A key with U+0000 cannot be in the table; what it would become there is another row's.
    let altered = [form.gone(&keys(&[Some("d\0"), Some("d\u{FFFD}")]), 9).expect("gone")];
    let gone = super::changes::netted(&hot, &table, &altered).expect("of the view's form").gone;
    let deleted = deletions(&table, &gone).expect("keys");
    assert_eq!(deleted.iter().map(|deletion| deletion.keys.rows.len()).sum::<usize>(), 1);
    let kept = &deleted[0].keys;
    assert!(written(&kept.batch)[kept.rows[0]].starts_with("d\u{FFFD}\t"));
}

/// The rows of a batch as they are copied.
fn written(batch: &RecordBatch) -> Vec<String> {
    let mut writer = RowWriter::try_new(batch).expect("types with text");
    let mut out = Vec::new();
    (0..batch.num_rows()).for_each(|row| writer.write(row, None, &mut out).expect("written"));
    String::from_utf8(out).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn a_table_of_another_history_is_named_with_both_and_the_ways_out() {
    let hot = hot(Schema::new(vec![time(false)]), &[], None);
    let lineage = Lineage { id: Uuid::from_u128(1), before: 0, incarnations: vec![] };
    let claim = Claim { generation: 3, lineage, head: 40 };
    let marker = Marker { checkpoint: 1_010, generation: 9, lineage: Some(Uuid::from_u128(2)), instance: None };
    let error = foreign(&hot, &sql(&hot), &claim, &marker);
    assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt);
    let report = error.report();
    for said in [
        "hot table \"public\".\"momentum\" is not of the history of query momentum",
        "checkpoint 1010, generation 9, lineage 00000000-0000-0000-0000-000000000002, instance none",
        "lineage 00000000-0000-0000-0000-000000000001 and end at 40",
        "DROP TABLE \"public\".\"momentum\"; to keep what it has: CREATE TABLE \"public\".\"momentum_kept\" AS TABLE \"public\".\"momentum\"",
    ] {
        assert!(report.contains(said), "{said}\n{report}");
    }
    assert!(fenced(&hot, 3, 9).report().contains("is at generation 9, this server at 3"));
}

#[test]
fn a_wrong_address_is_an_error_that_does_not_show_the_password() {
    for url in ["postgres://u:hunter2@h:port/d", "nonsense hunter2", "postgres://u:hunter2@h/d?sslmode=verify-hunter2"]
    {
        let settings = PostgresSettings { url: Some(Secret::new(url)), ..PostgresSettings::default() };
        let report = Pool::new(&settings).expect_err(url).report();
        assert!(!report.contains("hunter2"), "{report}");
    }
}
