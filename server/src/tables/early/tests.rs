use arrow::array::{ArrayRef, BooleanArray, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;

use super::super::view::ViewTable;
use super::super::{PublishedView, TailRows, ViewSnapshot};
use super::*;
use crate::changelog::early::{EarlyForm, IS_FINAL};

fn rows(form: &EarlyForm, rows: &[(&str, i64)]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(_, n)| Some(*n)).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(key, _)| Some(*key)).collect::<StringViewArray>()),
        Arc::new(BooleanArray::from(vec![true; rows.len()])),
    ];
    RecordBatch::try_new(Arc::clone(form.view()), columns).unwrap()
}

/// Two final rows, and four open ones in three sections.
fn view() -> Arc<PublishedView> {
    let fields = vec![
        Field::new("n", DataType::Int64, false),
        Field::new("k", DataType::Utf8View, true),
        Field::new(IS_FINAL, DataType::Boolean, false),
    ];
    let form = Arc::new(EarlyForm::new(&Arc::new(Schema::new(fields)), vec![1]));
    let gone: ArrayRef = Arc::new(StringViewArray::from(vec!["c", "x"]));
    let sections = [
        vec![
            form.shown(&rows(&form, &[("a", 1), ("b", 2), ("c", 3)]), 20).unwrap(),
            form.shown(&rows(&form, &[("done", 9)]), 10).unwrap(),
        ],
        vec![form.gone(&[gone], 20).unwrap(), form.shown(&rows(&form, &[("b", 20)]), 20).unwrap()],
        vec![form.shown(&rows(&form, &[("d", 4), ("e", 5)]), 30).unwrap()],
    ];
    let view = Arc::new(PublishedView::new("v", Arc::clone(form.view())));
    view.publish(ViewSnapshot {
        checkpoint: 1,
        tail: Arc::new([TailRows { checkpoint: 1, rows: vec![rows(&form, &[("done", 10), ("f", 6)])].into() }]),
        early: Some(Arc::new(EarlySnapshot { form, final_through: 10, rows: sections.map(Rows::from).into() })),
        ..ViewSnapshot::default()
    });
    view
}

async fn answer(sql: &str) -> Vec<String> {
    let context = SessionContext::new();
    context.register_table("v", Arc::new(ViewTable::new(view()))).unwrap();
    let text = pretty_format_batches(&context.sql(sql).await.unwrap().collect().await.unwrap()).unwrap().to_string();
    let lines = text.lines().skip(3).filter(|line| line.starts_with('|'));
    let mut rows: Vec<String> = lines.map(|line| line.replace([' ', '|'], ",").replace(",,", ",")).collect();
    rows.iter_mut().for_each(|row| *row = row.split(',').filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(","));
    rows.sort();
    rows
}

#[tokio::test]
async fn open_windows_are_read_beside_closed_ones() {
    let all = ["1,a,false", "10,done,true", "20,b,false", "4,d,false", "5,e,false", "6,f,true"];
    assert_eq!(answer("SELECT * FROM v").await, all);
}

// What a condition drops must not bring a row back that it hid.
#[tokio::test]
async fn conditions_projections_and_limits_are_applied_to_what_is_newest() {
    assert_eq!(answer("SELECT n FROM v WHERE k = 'b'").await, ["20"]);
    assert_eq!(answer("SELECT k FROM v WHERE n < 4").await, ["a"]);
    assert_eq!(answer("SELECT k, n FROM v WHERE n = 3 OR n = 2 OR k = 'done'").await, ["done,10"]);
    assert_eq!(answer("SELECT count(*) FROM v").await, ["6"]);
    assert_eq!(answer("SELECT count(*) FROM v WHERE NOT is_final").await, ["4"]);
    assert_eq!(answer("SELECT sum(n) FROM v WHERE is_final").await, ["16"]);
    assert_eq!(answer("SELECT k FROM v ORDER BY n DESC LIMIT 2").await, ["b", "done"]);
    assert_eq!(answer("SELECT k FROM v LIMIT 4").await.len(), 4);
    assert_eq!(answer("SELECT n FROM v WHERE k IN ('b', 'c', 'done') AND NOT k = 'done'").await, ["20"]);
    assert_eq!(answer("SELECT n FROM v WHERE k > 'b' AND n < 6").await, ["4", "5"]);
    assert_eq!(answer("SELECT n FROM v WHERE k IS NULL OR k = 'c'").await, [""; 0]);
    assert_eq!(answer("SELECT n FROM v WHERE k = 'b' OR n = 4").await, ["20", "4"]);
}

#[test]
fn only_what_compares_a_key_with_constants_is_asked_of_rows_that_others_replace() {
    use datafusion::prelude::{cast, col, lit};
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let fields = vec![
        field("k", DataType::Utf8View),
        field("f", DataType::Float64),
        field("n", DataType::Int64),
        field(IS_FINAL, DataType::Boolean),
    ];
    let form = EarlyForm::new(&Arc::new(Schema::new(fields)), vec![0, 1]);
    let of_key = |filter: Expr| is_of_key(&filter, &form, form.view());
    assert!(of_key(col("k").eq(lit("a")).or(col("k").is_null())));
    assert!(of_key(col("k").in_list(vec![lit("a"), lit("b")], true)));
    for other in [
        col("f").eq(lit(0.0)),
        col("n").gt(lit(1)),
        col("k").eq(lit("a")).and(col("n").gt(lit(1))),
        cast(col("k"), DataType::Int64).eq(lit(1)),
        col(IS_FINAL),
        col("touchline gone"),
    ] {
        assert!(!of_key(other.clone()), "{other}");
    }
}
