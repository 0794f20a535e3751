//! Records that hold several rows: what becomes a row and what a dead letter, and what a record may cost.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::BATCH_BYTES_MAX;
use super::*;
use crate::catalog::{Statement, TableDef};
use crate::clock::Clock;
use crate::source::{Offset, Polled, SourceBatch};
use crate::sql::{parse_file, report};

/// 2025-11-26T15:13:20Z
const NOW: i64 = 1_764_170_000_000_000;

fn table(columns: &str, options: &str) -> TableDef {
    let text = format!("CREATE TABLE t ({columns}) WITH ('connector' = 'kafka', 'topic' = 't', {options})");
    match parse_file("t.sql", &text).unwrap_or_else(|errors| panic!("{}", report(&errors))).pop() {
        Some(Statement::CreateTable(table)) => table,
        other => panic!("no table: {other:?}"),
    }
}

/// Two columns of the element, one of the record, and where it was read.
fn events() -> TableDef {
    table(
        "match_id VARCHAR NOT NULL, id BIGINT NOT NULL, tags VARCHAR[], o BIGINT METADATA FROM 'offset'",
        "'json.rows' = '$.data.events[*]', 'json.path.match_id' = '$.match_id'",
    )
}

fn lines() -> TableDef {
    table("id BIGINT NOT NULL, name VARCHAR", "'json.rows' = 'lines'")
}

fn decoder(def: &TableDef) -> TableDecoder {
    let columns: Vec<usize> = (0..def.columns.len()).collect();
    TableDecoder::try_new(def, &columns, Clock::manual(NOW)).unwrap()
}

fn record(offset: Offset, value: &str) -> Record<'_> {
    Record { partition: 3, offset, timestamp_ms: None, key: Some(b"k"), value: Some(value.as_bytes()), headers: None }
}

/// What one record of a table comes to.
fn of(def: &TableDef, value: &str) -> SourceBatch {
    let mut decoder = decoder(def);
    decoder.push(&record(7, value)).unwrap();
    decoder.finish(&Polled::default()).unwrap()
}

fn rows(batch: &SourceBatch) -> Vec<String> {
    let shown = |rows: &RecordBatch, row: usize| -> String {
        let cells: Vec<_> = rows.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect();
        cells.join(", ")
    };
    batch.batches.iter().flat_map(|rows| (0..rows.num_rows()).map(|row| shown(rows, row))).collect()
}

/// Partition, offset and place of each row.
fn origins(batch: &SourceBatch) -> Vec<(i32, i64, i32)> {
    batch.origins.iter().flat_map(|origins| (0..origins.len()).filter_map(|row| origins.of(row))).collect()
}

fn reasons(batch: &SourceBatch) -> Vec<&str> {
    batch.dead_letters.iter().map(|letter| letter.reason.as_str()).collect()
}

#[test]
fn each_element_is_a_row_with_what_the_record_says_of_all() {
    let batch = of(
        &events(),
        r#"{"z":[{"id":9}],"data":{"y":1,"events":[{"id":1,"match_id":"inner"}, {"tags":["x"],"id":2} ,{"id":3}]},"match_id":"m1"}"#,
    );
    assert_eq!(rows(&batch), ["m1, 1, , 7", "m1, 2, [x], 7", "m1, 3, , 7"]);
    assert_eq!(origins(&batch), [(3, 7, 0), (3, 7, 1), (3, 7, 2)]);
    assert_eq!((batch.progress[&3].records, batch.extra_rows, batch.empty_records), (1, 2, 0));
    assert!(batch.dead_letters.is_empty());

    // A record that is the list, and one that is read as a whole.
    let list = table("id BIGINT, all JSON", "'json.rows' = '$[*]', 'json.path.all' = '$'");
    assert_eq!(
        rows(&of(&list, r#" [{"id":1},{"id":2}] "#)),
        [r#"1, [{"id":1},{"id":2}]"#, r#"2, [{"id":1},{"id":2}]"#]
    );
    // Names that only a quoted step can write, and escapes in the record.
    let odd = table("id BIGINT", r#"'json.rows' = '$."a b"[''it\''s''][*]'"#);
    assert_eq!(rows(&of(&odd, r#"{"\u0061 b":{"it's":[{"id":1}]}}"#)), ["1"]);
}

#[test]
fn only_the_outer_columns_may_be_read_or_none_of_them() {
    let def = events();
    for (columns, wanted) in [(vec![0], vec!["m1", "m1"]), (vec![1], vec!["1", "2"]), (vec![3], vec!["7", "7"])] {
        let mut decoder = TableDecoder::try_new(&def, &columns, Clock::manual(NOW)).unwrap();
        decoder.push(&record(7, r#"{"match_id":"m1","data":{"events":[{"id":1},{"id":2}]}}"#)).unwrap();
        assert_eq!(rows(&decoder.finish(&Polled::default()).unwrap()), wanted);
    }
}

#[test]
fn a_bad_element_is_a_dead_letter_and_the_others_go_on() {
    let text = r#"{"match_id":"m1","data":{"events":[{"id":1},{"id":"x"},5,{"id":4},[{"id":5}],null,{"id":7,"tags":["a",1]},{}]}}"#;
    let batch = of(&events(), text);
    assert_eq!(rows(&batch), ["m1, 1, , 7", "m1, 4, , 7"]);
    assert_eq!(origins(&batch), [(3, 7, 0), (3, 7, 3)]);
    assert_eq!(
        reasons(&batch),
        [
            r#"$.data.events[1]: field "id" is "x"; the schema says bigint"#,
            "$.data.events[2]: it is 5, not a JSON object",
            r#"$.data.events[4]: it is [{"id":5}], not a JSON object"#,
            "$.data.events[5]: it is null, not a JSON object",
            r#"$.data.events[6]: field "tags[1]" is 1; the schema says varchar"#,
            r#"$.data.events[7]: field "id" is missing; the schema says not null"#,
        ]
    );
    let letter = &batch.dead_letters[4];
    assert_eq!((letter.partition, letter.offset, letter.position), (Some(3), Some(7), Some(6)));
    assert_eq!((letter.column.as_deref(), letter.key.as_deref()), (Some("tags[1]"), Some(&b"k"[..])));
    assert!(batch.dead_letters.iter().all(|letter| letter.value.as_deref() == Some(text.as_bytes())));
    // Two rows and six letters came of one record.
    assert_eq!((batch.progress[&3].records, batch.extra_rows, batch.empty_records), (1, 7, 0));

    let mut def = events();
    def.on_bad_row = OnBadRow::Fail;
    let error = decoder(&def).push(&record(7, text)).unwrap_err();
    assert_eq!(
        error.report(),
        "cannot decode row from topic \"t\", partition 3, offset 7\n  detail: $.data.events[1]: field \"id\" is \"x\"; the schema says \
         bigint\n  hint: fix the producer, or set 'on-bad-row' = 'dead-letter' in t.sql to keep going"
    );
}

#[test]
fn a_record_that_is_bad_as_a_whole_is_one_dead_letter() {
    let says = "; 'json.rows' says that it is the list of the rows";
    for (text, reason) in [
        (r#"{"match_id":"m1"}"#, format!("$.data.events is missing{says}")),
        (r#"{"match_id":"m1","data":{}}"#, format!("$.data.events is missing{says}")),
        (r#"{"match_id":"m1","data":[{"events":[]}]}"#, format!("$.data.events is missing{says}")),
        (r#"{"match_id":"m1","data":{"events":{"id":1}}}"#, format!("$.data.events is {{\"id\":1}}{says}")),
        (r#"{"match_id":"m1","data":{"events":[{"id":1}]},"data":{}}"#, format!("$.data.events is missing{says}")),
        (r#"[{"id":1}]"#, format!("$.data.events is missing{says}")),
        // What is said of all rows is wrong in all of them.
        (
            r#"{"data":{"events":[{"id":1},{"id":2}]}}"#,
            r#"field "match_id" is missing; the schema says not null"#.into(),
        ),
        (
            r#"{"match_id":1,"data":{"events":[{"id":1},{"id":2}]}}"#,
            r#"field "match_id" is 1; the schema says varchar"#.into(),
        ),
        // No row of a record that breaks off, wherever it does.
        (
            r#"{"match_id":"m1","data":{"events":[{"id":1},{"id":2}]"#,
            "the record is not valid JSON at byte 53: the record ends too early".into(),
        ),
        (
            r#"{"match_id":"m1","data":{"events":[{"id":1}]}} x"#,
            "the record is not valid JSON at byte 47: something follows the record's value".into(),
        ),
        (
            r#"{"match_id":"m1","data":{"events":[{"id":01}]}}"#,
            "the record is not valid JSON at byte 42: a number has a leading zero".into(),
        ),
        ("", "the record is empty, not a JSON object".into()),
        ("12", "the record is 12, not a JSON object".into()),
    ] {
        let batch = of(&events(), text);
        assert_eq!(reasons(&batch), [reason], "{text}");
        assert!(batch.batches.is_empty());
        assert_eq!(batch.dead_letters[0].position, None);
        assert_eq!((batch.progress[&3].records, batch.extra_rows, batch.empty_records), (1, 0, 0));
    }
    let mut decoder = decoder(&events());
    decoder.push(&Record { value: None, ..record(0, "") }).unwrap();
    assert_eq!(reasons(&decoder.finish(&Polled::default()).unwrap()), ["value is null (tombstone)"]);
}

#[test]
fn a_null_or_an_empty_list_has_no_rows_and_is_counted() {
    for text in [
        r#"{"match_id":"m1","data":{"events":[]}}"#,
        r#"{"match_id":"m1","data":{"events":null}}"#,
        r#"{"match_id":"m1","data":null}"#,
        r#"{"match_id":"m1","data":{"events":[{"id":1}],"events":[ ]}}"#,
    ] {
        let batch = of(&events(), text);
        assert!(batch.batches.is_empty() && batch.dead_letters.is_empty(), "{text}");
        assert_eq!((batch.progress[&3].records, batch.extra_rows, batch.empty_records), (1, 0, 1), "{text}");
    }
    let batch = of(&lines(), " \n\n");
    assert_eq!((rows(&batch).len(), batch.empty_records), (0, 1));
}

#[test]
fn objects_one_behind_the_other_are_rows_and_a_broken_line_is_one_of_them() {
    let batch =
        of(&lines(), "{\"id\":1}\n{\"id\":2,\n \"name\":\"over two lines\"}\n\n{\"id\":3}{\"id\":4} {\"id\":5}");
    assert_eq!(rows(&batch), ["1, ", "2, over two lines", "3, ", "4, ", "5, "]);
    assert_eq!(origins(&batch).iter().map(|(_, _, at)| *at).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);

    let text = "{\"id\":1}\n{\"id\":oops}\n{\"id\":3}\r\n[4]\n{\"id\":\"5\"} {\"id\":6}\n{\"id\":7";
    let batch = of(&lines(), text);
    assert_eq!(rows(&batch), ["1, ", "3, ", "6, "]);
    assert_eq!(origins(&batch), [(3, 7, 0), (3, 7, 2), (3, 7, 5)]);
    assert_eq!(
        reasons(&batch),
        [
            "object 1: the record is not valid JSON at byte 15: expected a value",
            "object 3: it is [4], not a JSON object",
            r#"object 4: field "id" is "5"; the schema says bigint"#,
            "object 6: the record is not valid JSON at byte 62: the record ends too early",
        ]
    );
    assert_eq!(batch.extra_rows, 6);
}

#[test]
fn a_watermark_and_defaults_reach_into_both() {
    let def = table(
        "match_id VARCHAR DEFAULT 'none', id BIGINT DEFAULT 0, ts TIMESTAMP(3), WATERMARK FOR ts AS ts",
        "'json.rows' = '$.e[*]', 'json.path.match_id' = '$.m', 'json.path.ts' = '$.sent.at'",
    );
    let mut decoder = decoder(&def);
    decoder.push(&record(0, r#"{"sent":{"at":1764170000000},"e":[{},{"id":1}]}"#)).unwrap();
    decoder.push(&record(1, r#"{"m":"m1","sent":{"at":1764169999000},"e":[{}]}"#)).unwrap();
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert_eq!(
        rows(&batch),
        ["none, 0, 2025-11-26T15:13:20", "none, 1, 2025-11-26T15:13:20", "m1, 0, 2025-11-26T15:13:19"]
    );
    assert_eq!(batch.progress[&3].event_time_max, Some(NOW));
}

/// A list of that many copies of an element.
fn many(element: &str, count: usize) -> String {
    format!("{{\"match_id\":\"m1\",\"data\":{{\"events\":[{element}{}]}}}}", format!(",{element}").repeat(count - 1))
}

#[test]
fn a_record_of_a_million_rows_is_cut_into_batches() {
    let count = 1_000_000;
    let batch = of(&events(), &many("{\"id\":1}", count));
    let sizes: Vec<usize> = batch.batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes.iter().sum::<usize>(), count);
    assert!(sizes.iter().all(|rows| *rows <= BATCH_ROWS_MAX), "{sizes:?}");
    assert_eq!(origins(&batch).last(), Some(&(3, 7, count as i32 - 1)));
    assert_eq!((batch.progress[&3].records, batch.extra_rows), (1, count as u64 - 1));
    let last = batch.batches.last().unwrap();
    assert_eq!(array_value_to_string(last.column(0), last.num_rows() - 1).unwrap(), "m1");
    assert!(batch.bytes > count * 8);

    // Large ones end a batch by their size.
    let wide = format!("{{\"id\":1,\"tags\":[{}]}}", vec!["\"0123456789\""; 64].join(","));
    let batch = of(&events(), &many(&wide, 15_000));
    assert!(batch.batches.len() == 1 && batch.bytes < BATCH_BYTES_MAX, "{}", batch.bytes);
    let mut decoder = decoder(&events());
    (0..8).for_each(|offset| decoder.push(&record(offset, &many(&wide, 15_000))).unwrap());
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert!(batch.batches.len() > 1);
    assert!(batch.batches.iter().all(|rows| rows.get_array_memory_size() < 2 * BATCH_BYTES_MAX));
}

#[test]
fn what_a_record_may_grow_to_is_bounded() {
    // Two columns of the element count: more than 2,097,152 elements are too many, however short.
    let batch = of(&events(), &many("{}", 2_097_153));
    assert_eq!(reasons(&batch), ["lists with more than 4194304 values in one record"]);
    let wide = (0..100).map(|at| format!("c{at} BIGINT")).collect::<Vec<_>>().join(", ");
    let batch = of(&table(&wide, "'json.rows' = '$.data.events[*]'"), &many("{}", 50_000));
    assert_eq!(reasons(&batch), ["lists with more than 4194304 values in one record"]);
    // Of lines what comes before is there.
    let batch = of(&table(&wide, "'json.rows' = 'lines'"), &"{}\n".repeat(50_000));
    assert_eq!(rows(&batch).len(), 41_943);
    assert_eq!(reasons(&batch), ["object 41943: lists with more than 4194304 values in one record"]);

    // What is repeated in each row.
    let def = table("a JSON, id BIGINT", "'json.rows' = '$.e[*]', 'json.path.a' = '$.a'");
    let text = |bytes: usize, rows: usize| {
        format!("{{\"a\":\"{}\",\"e\":[{{}}{}]}}", "x".repeat(bytes), ",{}".repeat(rows - 1))
    };
    assert_eq!(of(&def, &text(60_000, 1_000)).batches[0].num_rows(), 1_000);
    let batch = of(&def, &text(1_000_000, 1_000));
    assert_eq!(
        reasons(&batch),
        ["the record's own values, 1000006 bytes repeated in 1000 rows, would take more than 67108864 bytes"]
    );
    let outer_list =
        table("a STRUCT<b BIGINT, c BIGINT>[], id BIGINT", "'json.rows' = '$.e[*]', 'json.path.a' = '$.a'");
    let text = format!("{{\"a\":[{{}}{}],\"e\":[{{}}{}]}}", ",{}".repeat(9_999), ",{}".repeat(9_999));
    assert!(reasons(&of(&outer_list, &text))[0].contains("would take more than 67108864 bytes"));
}

#[test]
fn a_default_counts_in_each_row_that_it_may_be_copied_into() {
    let columns = format!("id BIGINT, note VARCHAR DEFAULT '{}'", "x".repeat(100_000));
    let list = table(&columns, "'json.rows' = '$[*]'");
    let empty_rows = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    let good = |batch: &SourceBatch| batch.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    assert_eq!(good(&of(&list, &empty_rows(600))), 600);
    let batch = of(&list, &empty_rows(700));
    assert_eq!(
        reasons(&batch),
        [
            "too many rows in one record: DEFAULTs may add 100004 bytes to each, and at most 67108864 to all; write a long one in the query, as \
             in coalesce(column, value)"
        ]
    );
    // Of lines what comes before is there.
    let batch = of(&table(&columns, "'json.rows' = 'lines'"), &"{}\n".repeat(700));
    assert_eq!((good(&batch), batch.dead_letters.len()), (670, 1));
    assert!(reasons(&batch)[0].starts_with("object 670: too many rows in one record: "), "{:?}", reasons(&batch));

    // Records of one row each end a batch when that is as large as any.
    let mut decoder = decoder(&table(&columns, "'format' = 'json'"));
    (0..700).for_each(|offset| decoder.push(&record(offset, "{}")).unwrap());
    let batch = decoder.finish(&Polled::default()).unwrap();
    assert!(good(&batch) == 700 && batch.batches.len() == 2 && batch.batches[0].num_rows() < 680);
}

#[test]
fn many_bad_rows_of_a_record_cost_no_more_than_a_few_times_the_record() {
    let text = many("{\"id\":\"bad\"}", 300_000);
    let batch = of(&events(), &text);
    assert_eq!(batch.dead_letters.len(), 101);
    assert_eq!(batch.extra_rows, 100);
    assert_eq!(batch.dead_letters[0].value.as_deref(), Some(text.as_bytes()));
    assert!(batch.dead_letters[1..].iter().all(|letter| letter.value.as_deref() == Some(&b"{\"id\":\"bad\"}"[..])));
    let last = batch.dead_letters.last().unwrap();
    assert_eq!(last.position, Some(100));
    assert_eq!(
        last.reason,
        "$.data.events[100]: field \"id\" is \"bad\"; the schema says bigint; and 299899 more rows behind it are bad"
    );
    // Of a small record all letters have all of it.
    let text = many("{\"id\":\"bad\"}", 101);
    let batch = of(&events(), &text);
    assert_eq!(batch.dead_letters.len(), 101);
    assert!(batch.dead_letters[..100].iter().all(|letter| letter.value.as_deref() == Some(text.as_bytes())));
    assert_eq!(batch.dead_letters[100].reason, "$.data.events[100]: field \"id\" is \"bad\"; the schema says bigint");
}

#[test]
fn a_key_is_repeated_no_more_than_a_value_is() {
    let columns = "id BIGINT NOT NULL, k BYTEA METADATA FROM 'key'";
    let (elements, lines) =
        (table(columns, "'json.rows' = '$.data.events[*]'"), table(columns, "'json.rows' = 'lines'"));
    let key = vec![b'k'; 1 << 20];
    let of = |def: &TableDef, value: &str| {
        let mut decoder = decoder(def);
        decoder.push(&Record { key: Some(&key), ..record(7, value) }).unwrap();
        decoder.finish(&Polled::default()).unwrap()
    };
    let batch = of(&elements, &many("{\"id\":1}", 1_000));
    assert_eq!(
        reasons(&batch),
        ["the record's own values, 1048576 bytes repeated in 1000 rows, would take more than 67108864 bytes"]
    );
    // Of lines what comes before is there.
    let batch = of(&lines, &"{\"id\":1}\n".repeat(1_000));
    assert_eq!(batch.batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 64);
    assert_eq!(reasons(&batch), ["object 64: too many rows for what the record's key and headers take in each"]);
    // Nor is it in all letters.
    let batch = of(&elements, &many("{\"id\":\"bad\"}", 50));
    let with_key = batch.dead_letters.iter().filter(|letter| letter.key.is_some());
    assert_eq!((batch.dead_letters.len(), with_key.count()), (50, 1));
}

#[test]
fn hostile_nesting_is_refused_where_it_stands() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let nested = "objects and lists are nested more than 64 deep";
    let batch = of(&events(), &many(&format!("{{\"id\":1,\"z\":{}}}", deep(200_000)), 2));
    assert!(reasons(&batch)[0].ends_with(nested), "{:?}", reasons(&batch));
    // In lines each object is by itself, and reading goes on behind its line; in no case line by line to the end each time.
    let text = format!("{{\"id\":1,\"z\":{}}}\n{{\"id\":2}}\n{}", deep(100_000), "[\n".repeat(200_000));
    let batch = of(&lines(), &text);
    assert_eq!(rows(&batch), ["2, "]);
    assert!(reasons(&batch)[0].ends_with(nested));
    assert_eq!(batch.dead_letters.len(), 101);
}

/// Some records of [`events`], mostly sound.
fn records() -> impl Strategy<Value = Vec<Value>> {
    let id = prop_oneof![8 => (0..100_i64).prop_map(Value::from), 1 => Just(json!("x")), 1 => Just(Value::Null)];
    let tags = prop_oneof![
        prop::collection::vec("[a-z\"é]{0,3}", 0..3).prop_map(|tags| json!(tags)),
        Just(Value::Null),
        Just(json!([1])),
    ];
    let element = prop_oneof![
        12 => (id, tags).prop_map(|(id, tags)| json!({"id": id, "tags": tags, "z": {"id": [1, {}]}})),
        1 => Just(json!(17)),
    ];
    let match_id = prop_oneof![9 => "[a-z]{1,20}".prop_map(Value::from), 1 => Just(Value::Null)];
    let record = (match_id, prop::collection::vec(element, 0..9))
        .prop_map(|(match_id, events)| json!({"match_id": match_id, "data": {"y": {}, "events": events}, "z": []}));
    prop::collection::vec(record, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_those_of_records_that_serde_json_has_taken_apart(records in records(), pretty in any::<bool>(), ends in prop::collection::vec(any::<bool>(), 8)) {
        let (def, one) = (events(), table("match_id VARCHAR NOT NULL, id BIGINT NOT NULL, tags VARCHAR[], o BIGINT METADATA FROM 'offset'", "'format' = 'json'"));
        let mut whole = decoder(&def);
        let mut cut = decoder(&def);
        let (mut pieces, mut apart) = (Vec::new(), (Vec::new(), Vec::new()));
        for (offset, value) in records.iter().enumerate() {
            let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
            whole.push(&record(offset as i64, &text)).unwrap();
            cut.push(&record(offset as i64, &text)).unwrap();
            if ends[offset] {
                pieces.push(cut.finish(&Polled::default()).unwrap());
            }
            for (place, element) in value["data"]["events"].as_array().unwrap().iter().enumerate() {
                let mut plain = decoder(&one);
                let mut fields = element.clone();
                match fields.as_object_mut() {
                    // Its own text, but for what is the record's.
                    Some(fields) => drop(fields.insert("match_id".into(), value["match_id"].clone())),
                    None => fields = json!({}),
                }
                plain.push(&record(offset as i64, &fields.to_string())).unwrap();
                let batch = plain.finish(&Polled::default()).unwrap();
                apart.0.extend(rows(&batch));
                // A record whose own value is bad is one letter.
                if !(batch.dead_letters.is_empty() || value["match_id"].is_null() && place > 0) {
                    apart.1.push((offset as i64, (!value["match_id"].is_null()).then_some(place as i32)));
                }
            }
            if value["match_id"].is_null() && value["data"]["events"].as_array().unwrap().is_empty() {
                apart.1.push((offset as i64, None));
            }
        }
        pieces.push(cut.finish(&Polled::default()).unwrap());
        let whole = whole.finish(&Polled::default()).unwrap();
        let letters: Vec<_> = whole.dead_letters.iter().map(|letter| (letter.offset.unwrap(), letter.position)).collect();
        prop_assert_eq!(rows(&whole), apart.0);
        prop_assert_eq!(letters, apart.1);

        // Wherever the input was cut.
        let pieces_of = |pieces: &[SourceBatch]| {
            let batches: Vec<RecordBatch> = pieces.iter().flat_map(|piece| piece.batches.clone()).collect();
            let all = concat_batches(&def.schema(), &batches).unwrap();
            let origins: Vec<_> = pieces.iter().flat_map(origins).collect();
            let letters: Vec<DeadLetter> = pieces.iter().flat_map(|piece| piece.dead_letters.clone()).collect();
            let counts = |count: fn(&SourceBatch) -> u64| pieces.iter().map(count).sum::<u64>();
            (all, origins, letters, counts(|piece| piece.extra_rows), counts(|piece| piece.empty_records))
        };
        let (all, places, letters, extra, empty) = pieces_of(std::slice::from_ref(&whole));
        prop_assert_eq!((all.clone(), places, letters.clone(), extra, empty), pieces_of(&pieces));
        // Each record counts with its rows and letters, or as an empty one.
        prop_assert_eq!(records.len() as u64 + extra, all.num_rows() as u64 + letters.len() as u64 + empty);
    }

    #[test]
    fn broken_records_neither_panic_nor_go_round_in_circles(
        records in records(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&b"{}[]\",:0e-.\\u tn\n\x01\xff"[..])), 0..6),
        as_lines in any::<bool>(),
    ) {
        let def = if as_lines { lines() } else { events() };
        let mut decoder = decoder(&def);
        for (offset, value) in records.iter().enumerate() {
            let elements = value["data"]["events"].as_array().unwrap().iter().map(Value::to_string);
            let text = if as_lines { elements.collect::<Vec<_>>().join("\n") } else { value.to_string() };
            let mut bytes = text.into_bytes();
            if !bytes.is_empty() {
                changes.iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = *byte);
            }
            let broken = Record { value: Some(&bytes), ..record(offset as i64, "") };
            decoder.push(&broken).unwrap();
        }
        let batch = decoder.finish(&Polled::default()).unwrap();
        let all = batch.batches.iter().map(|rows| rows.num_rows() as u64).sum::<u64>() + batch.dead_letters.len() as u64;
        prop_assert_eq!(records.len() as u64 + batch.extra_rows, all + batch.empty_records);
        prop_assert_eq!(origins(&batch).len() as u64 + batch.dead_letters.len() as u64, all);
    }
}
