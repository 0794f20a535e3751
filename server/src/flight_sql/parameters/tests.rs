use std::sync::Arc;

use arrow::datatypes::DataType::*;
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use super::super::guard;
use super::*;

fn span() -> DataType {
    Interval(IntervalUnit::MonthDayNano)
}

fn moment(unit: TimeUnit) -> DataType {
    Timestamp(unit, None)
}

/// A table of a column of each type.
fn session() -> SessionContext {
    let fields = [
        ("id", Int64),
        ("small", Int32),
        ("price", Decimal128(12, 2)),
        ("ok", Boolean),
        ("at", moment(TimeUnit::Microsecond)),
        ("born", Date32),
        ("noon", Time64(TimeUnit::Microsecond)),
        ("score", Float64),
        ("note", Utf8View),
        ("raw", Binary),
    ];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type, true));
    let table = MemTable::try_new(Schema::new(fields.to_vec()).into(), vec![Vec::new()]).expect("a table");
    let session = SessionContext::new();
    session.register_table("t", Arc::new(table)).expect("its name is free");
    session
}

async fn parameters(sql: &str) -> Vec<Parameter> {
    let guard::Parsed { statement, parameters, .. } = guard::parse(sql).expect(sql);
    let state = session().state();
    let plan = match state.statement_to_plan(statement.clone()).await {
        Ok(plan) => plan,
        Err(error) => {
            let apart = with_intervals(&statement).unwrap_or_else(|| panic!("{sql}: {error}"));
            state.statement_to_plan(apart).await.expect(sql)
        }
    };
    of_plan(&plan, parameters).expect(sql)
}

#[tokio::test]
async fn a_parameter_has_the_type_of_its_place() {
    for (sql, expected) in [
        ("SELECT id FROM t LIMIT ? OFFSET ?", vec![Some(Int64), Some(Int64)]),
        ("SELECT CAST(? AS SMALLINT), TRY_CAST(? AS BOOLEAN), ?::DATE", vec![Some(Int16), Some(Boolean), Some(Date32)]),
        ("SELECT 1 FROM t WHERE ok = ? AND price > ?", vec![Some(Boolean), Some(Decimal128(12, 2))]),
        ("SELECT 1 FROM t WHERE ? < born AND noon <> ?", vec![Some(Date32), Some(Time64(TimeUnit::Microsecond))]),
        ("SELECT 1 FROM t WHERE raw = ? OR at >= ?", vec![Some(Binary), Some(moment(TimeUnit::Microsecond))]),
        ("SELECT 1 FROM t WHERE small IN (?, ?) AND ? IN (1, 2)", vec![Some(Int32), Some(Int32), Some(Int64)]),
        ("SELECT 1 FROM t WHERE score BETWEEN ? AND ?", vec![Some(Float64), Some(Float64)]),
        ("SELECT 1 FROM t WHERE ? BETWEEN small AND 7", vec![Some(Int64)]),
        ("SELECT 1 FROM t WHERE note LIKE ? AND (note || ?) = note", vec![Some(Utf8), Some(Utf8)]),
        ("SELECT 1 FROM t WHERE ?", vec![Some(Boolean)]),
        ("SELECT 1 FROM t WHERE NOT ? OR ? IS TRUE", vec![Some(Boolean), Some(Boolean)]),
        ("SELECT 1 FROM t WHERE ? IN (SELECT born FROM t)", vec![Some(Date32)]),
        ("SELECT 1 FROM t WHERE id = (SELECT max(id) FROM t WHERE score > ?)", vec![Some(Float64)]),
        ("SELECT sum(id) AS n FROM t GROUP BY note HAVING sum(id) > ?", vec![Some(Int64)]),
        ("SELECT 1 FROM t a JOIN t b ON a.id = b.id AND a.born = ?", vec![Some(Date32)]),
        ("SELECT score * ?, id % -? FROM t", vec![Some(Float64), Some(Int64)]),
        ("SELECT at - ?, born + ? FROM t", vec![Some(span()), Some(span())]),
        ("SELECT ? - INTERVAL '1 hour'", vec![Some(moment(TimeUnit::Microsecond))]),
        ("SELECT CASE WHEN ? THEN id ELSE ? END FROM t", vec![Some(Boolean), Some(Int64)]),
        ("SELECT CASE note WHEN ? THEN 1 END FROM t", vec![Some(Utf8)]),
        ("SELECT coalesce(score, ?), nullif(id, ?) FROM t", vec![Some(Float64), Some(Int64)]),
        ("SELECT upper(?), strpos(note, ?) FROM t", vec![Some(Utf8), Some(Utf8)]),
        ("SELECT * FROM (VALUES (1, 'a'), (?, ?))", vec![Some(Int64), Some(Utf8)]),
        ("SELECT ?", vec![None]),
        ("SELECT id FROM t WHERE id = $key OR small = $key LIMIT $most", vec![Some(Int64), Some(Int64)]),
    ] {
        let found: Vec<_> = parameters(sql).await.into_iter().map(|parameter| parameter.data_type).collect();
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn parameters_are_announced_in_the_order_of_their_numbers() {
    let sql = "SELECT 1 FROM t WHERE id IN ($10, $9, $8, $7, $6, $5, $4, $3, $2, $1)";
    let names: Vec<_> = parameters(sql).await.into_iter().map(|parameter| parameter.name).collect();
    assert_eq!(names, ["$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10"]);
}

/// The JDBC driver fills in milliseconds whatever it is told, and binds no intervals.
#[tokio::test]
async fn times_are_announced_in_milliseconds_and_what_is_open_as_text() {
    let sql = "SELECT ?, at - ? FROM t WHERE at > ? AND noon > ? AND id > ?";
    let announced = schema_of(&parameters(sql).await);
    let types: Vec<_> = announced.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [Utf8, Utf8, moment(TimeUnit::Millisecond), Time32(TimeUnit::Millisecond), Int64]);
    assert!(announced.fields().iter().all(|field| field.is_nullable()));
}

fn at_a(data_type: DataType, bound: ScalarValue) -> Result<ScalarValue> {
    value_at(&Parameter { name: "$3".to_owned(), data_type: Some(data_type) }, bound)
}

#[test]
fn a_value_of_another_type_is_cast_where_nothing_is_lost() {
    let text = |text: &str| ScalarValue::Utf8(Some(text.to_owned()));
    for (wanted, bound, expected) in [
        (Int64, ScalarValue::Int32(Some(7)), ScalarValue::Int64(Some(7))),
        (Int64, ScalarValue::Float64(Some(7.0)), ScalarValue::Int64(Some(7))),
        (Int64, text("7"), ScalarValue::Int64(Some(7))),
        (Date32, text("1970-01-03"), ScalarValue::Date32(Some(2))),
        (Boolean, text("true"), ScalarValue::Boolean(Some(true))),
        (Utf8, ScalarValue::Int64(Some(7)), text("7")),
        (
            moment(TimeUnit::Microsecond),
            ScalarValue::TimestampMillisecond(Some(5), None),
            ScalarValue::TimestampMicrosecond(Some(5_000), None),
        ),
        (moment(TimeUnit::Microsecond), ScalarValue::Date32(Some(0)), ScalarValue::TimestampMicrosecond(Some(0), None)),
        (Int64, ScalarValue::Utf8(None), ScalarValue::Int64(None)),
        // A comparison with these is not one with what is near them.
        (Int64, ScalarValue::Float64(Some(7.5)), ScalarValue::Float64(Some(7.5))),
        (Int32, ScalarValue::Int64(Some(1 << 40)), ScalarValue::Int64(Some(1 << 40))),
        (Decimal128(12, 2), ScalarValue::Decimal128(Some(12_345), 12, 3), ScalarValue::Decimal128(Some(12_345), 12, 3)),
        (
            moment(TimeUnit::Microsecond),
            ScalarValue::TimestampNanosecond(Some(1), None),
            ScalarValue::TimestampNanosecond(Some(1), None),
        ),
    ] {
        assert_eq!(at_a(wanted.clone(), bound.clone()).expect("sane"), expected, "{bound:?} as {wanted}");
    }
}

#[test]
fn a_value_of_another_kind_is_refused_with_the_cast_to_write() {
    let error = at_a(moment(TimeUnit::Microsecond), ScalarValue::Int64(Some(7))).expect_err("no moment");
    assert_eq!(error.primary(), "parameter $3 is bound to a BIGINT, and its place takes a TIMESTAMP");
    assert_eq!(error.hint_text(), Some("bind a TIMESTAMP, or write CAST($3 AS BIGINT) if that is what is meant"));
    let error = at_a(Int64, ScalarValue::Utf8(Some("x".to_owned()))).expect_err("no number");
    assert_eq!(error.primary(), "the value of parameter $3 is not a BIGINT");
    assert!(at_a(Boolean, ScalarValue::Int64(Some(1))).is_err());
    assert!(at_a(Decimal128(12, 2), ScalarValue::Boolean(Some(true))).is_err());
}

/// The statement runs once for each value, and its result has one schema.
#[test]
fn the_values_of_one_column_keep_one_type() {
    let parameter = Parameter { name: "$1".to_owned(), data_type: Some(Int64) };
    let bound = vec![ScalarValue::Float64(Some(1.0)), ScalarValue::Float64(Some(1.5))];
    assert_eq!(values_at(&parameter, bound.clone()).expect("sane"), bound);
    assert_eq!(values_at(&parameter, bound[..1].to_vec()).expect("sane"), [ScalarValue::Int64(Some(1))]);
}
