//! Parameters as clients announce, bind and run them.

use arrow::array::{ArrayRef, Date32Array, Int32Array, TimestampMillisecondArray};
use datafusion::common::ScalarValue;

use super::*;

fn bound(values: Vec<ArrayRef>) -> RecordBatch {
    // Named as Python's ADBC does, from zero on.
    let names: Vec<String> = (0..values.len()).map(|at| at.to_string()).collect();
    RecordBatch::try_from_iter(names.iter().map(String::as_str).zip(values)).expect("a batch")
}

#[tokio::test]
async fn ten_parameters_are_announced_and_bound_in_the_order_of_their_numbers() {
    let server = Server::open().await;
    let mut client = server.client();
    let sql = "SELECT concat($10, $2, $1) AS t, CAST($3 AS BIGINT) * 10 + CAST($9 AS BIGINT) AS n \
               WHERE $4 = 4 AND $5 = 5 AND $6 = 6 AND $7 = 7 AND $8 = 8";
    let mut prepared = client.prepare(sql.to_owned(), None).await.expect("prepares");
    let announced = prepared.parameter_schema().expect("a schema").clone();
    let names: Vec<_> = announced.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10"]);
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let mut values = vec![text("a"), text("b")];
    values.extend((3..10).map(|n| Arc::new(Int64Array::from(vec![n])) as ArrayRef));
    values.push(text("c"));
    prepared.set_parameters(bound(values)).expect("takes parameters");
    let info = prepared.execute().await.expect("runs");
    let rows = fetch(&mut client, info).await.expect("rows");
    assert_eq!((texts(&rows, "t"), rows.column(1).as_primitive::<Int64Type>().value(0)), (vec!["cba".to_owned()], 39));
}

#[tokio::test]
async fn what_is_announced_is_what_the_place_takes_and_what_is_bound_is_cast() {
    let server = Server::open().await;
    let mut client = server.client();
    let moment = |unit| DataType::Timestamp(unit, None);
    let cases: Vec<(&str, DataType, ArrayRef, i64)> = vec![
        ("SELECT goals FROM scores LIMIT ?", DataType::Int64, Arc::new(Int32Array::from(vec![2])), 2),
        ("SELECT goals FROM scores OFFSET ?", DataType::Int64, Arc::new(Int64Array::from(vec![1])), 2),
        (
            "SELECT goals FROM scores WHERE at >= ?",
            moment(TimeUnit::Millisecond),
            Arc::new(TimestampMillisecondArray::from(vec![3_000])),
            1,
        ),
        (
            "SELECT goals FROM scores WHERE at >= ?",
            moment(TimeUnit::Millisecond),
            Arc::new(StringArray::from(vec!["1970-01-01T00:00:02"])),
            2,
        ),
        (
            "SELECT goals FROM scores WHERE at > ?",
            moment(TimeUnit::Millisecond),
            Arc::new(Date32Array::from(vec![0])),
            2,
        ),
        (
            "SELECT goals FROM scores WHERE at - ? < TIMESTAMP '1970-01-01T00:00:02'",
            DataType::Utf8,
            Arc::new(StringArray::from(vec!["1 second"])),
            1,
        ),
        ("SELECT goals FROM scores WHERE match_id = ?", DataType::Utf8, Arc::new(StringArray::from(vec!["m2"])), 1),
        // Cut to a whole number it would find two.
        (
            "SELECT goals FROM scores WHERE goals > ?",
            DataType::Int64,
            Arc::new(arrow::array::Float64Array::from(vec![2.5])),
            1,
        ),
    ];
    for (sql, announced, value, rows) in cases {
        let mut prepared = client.prepare(sql.to_owned(), None).await.expect(sql);
        assert_eq!(prepared.parameter_schema().expect("a schema").field(0).data_type(), &announced, "{sql}");
        prepared.set_parameters(bound(vec![value])).expect("takes parameters");
        let info = prepared.execute().await.expect(sql);
        assert_eq!(fetch(&mut client, info).await.expect(sql).num_rows() as i64, rows, "{sql}");
    }
}

#[tokio::test]
async fn what_cannot_be_bound_is_refused_with_the_cast_to_write() {
    let server = Server::open().await;
    let mut client = server.client();
    let mut prepared =
        client.prepare("SELECT goals FROM scores WHERE at > $1".to_owned(), None).await.expect("prepares");
    let number = ScalarValue::Int64(Some(1)).to_array().expect("one value");
    prepared.set_parameters(bound(vec![number])).expect("takes parameters");
    let status = prepared.execute().await.map_err(tonic::Status::from).expect_err("a number is no time");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("write CAST($1 AS BIGINT)"), "{status}");

    // Nothing says what these are: a text may be either.
    let prepared = client.prepare("SELECT ? * ?".to_owned(), None).await.expect("prepares");
    let types: Vec<_> =
        prepared.parameter_schema().expect("a schema").fields().iter().map(|of| of.data_type()).collect();
    assert_eq!(types, [&DataType::Utf8, &DataType::Utf8]);
}

/// As `executemany` and `executeUpdate` ask for it.
#[tokio::test]
async fn a_query_that_is_run_as_an_update_runs_for_each_set_and_says_how_many_rows_it_had() {
    let server = Server::open().await;
    let mut client = server.client();
    let mut prepared =
        client.prepare("SELECT goals FROM scores WHERE goals >= ?".to_owned(), None).await.expect("prepares");
    prepared.set_parameters(bound(vec![Arc::new(Int64Array::from(vec![1, 3]))])).expect("takes parameters");
    assert_eq!(prepared.execute_update().await.expect("runs"), 4);
    let status = client
        .execute_update("INSERT INTO scores VALUES (1)".to_owned(), None)
        .await
        .map_err(tonic::Status::from)
        .expect_err("it writes");
    assert_eq!(status.code(), Code::InvalidArgument);
}
