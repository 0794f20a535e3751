//! What the columns of a result are called.

use super::*;

fn names(batch: &RecordBatch) -> Vec<String> {
    batch.schema().fields().iter().map(|field| field.name().clone()).collect()
}

#[tokio::test]
async fn columns_are_called_as_they_are_written_and_may_be_called_the_same() {
    let server = Server::open().await;
    for (sql, expected) in [
        ("SELECT COUNT(*), sum(goals) / 2 FROM scores", vec!["count(*)", "sum(goals) / 2"]),
        ("SELECT match_id, count(*) FROM scores GROUP BY match_id ORDER BY count(*)", vec!["match_id", "count(*)"]),
        ("SELECT 1, 'a', goals + 1 AS g, scores.goals FROM scores", vec!["1", "'a'", "g", "goals"]),
        ("SELECT match_id, match_id FROM scores ORDER BY match_id", vec!["match_id", "match_id"]),
        ("SELECT 0 AS a, 0 AS a", vec!["a", "a"]),
        ("SELECT 1, 1 UNION ALL SELECT 2, 2", vec!["1", "1"]),
        ("SELECT count(*), count(1) FROM scores", vec!["count(*)", "count(1)"]),
        ("SELECT *, goals FROM scores ORDER BY goals", vec!["match_id", "goals", "at", "goals"]),
        (
            "SELECT goals, count(*) OVER (), scores.* FROM scores",
            vec!["goals", "count(*) OVER ()", "match_id", "goals", "at"],
        ),
    ] {
        let mut client = server.client();
        let announced = client.prepare(sql.to_owned(), None).await.expect(sql);
        let announced = announced.dataset_schema().expect("a schema").clone();
        let rows = server.ok(sql).await;
        assert_eq!(names(&rows), expected, "{sql}");
        assert_eq!(rows.schema().as_ref(), &announced, "{sql}");
    }
    assert_eq!(
        texts(&server.ok("SELECT match_id, match_id FROM scores ORDER BY 1").await, "match_id"),
        ["m1", "m2", "m3"]
    );
}

#[tokio::test]
async fn whatever_can_be_selected_can_be_explained() {
    let server = Server::open().await;
    for sql in [
        "SELECT match_id, match_id FROM scores ORDER BY match_id",
        "SELECT 1, 1 UNION ALL SELECT 2, 2",
        "SELECT *, goals FROM scores ORDER BY goals",
    ] {
        for explain in ["EXPLAIN", "EXPLAIN ANALYZE"] {
            let plan = server.ok(&format!("{explain} {sql}")).await;
            assert_eq!(names(&plan), ["plan_type", "plan"], "{explain} {sql}");
            assert!(plan.num_rows() > 0);
        }
    }
    // What can not be selected can not be explained either.
    let status = server.query("EXPLAIN SELECT nope, nope FROM scores").await.expect_err("no such column");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn a_parameter_leaves_the_names_as_they_are() {
    let server = Server::open().await;
    let mut client = server.client();
    let mut prepared = client.prepare("SELECT goals + ?, goals FROM scores".to_owned(), None).await.expect("prepares");
    let value: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
    prepared.set_parameters(RecordBatch::try_from_iter([("1", value)]).expect("a batch")).expect("takes parameters");
    let info = prepared.execute().await.expect("runs");
    assert_eq!(names(&fetch(&mut client, info).await.expect("rows")), ["goals + $1", "goals"]);
}

/// An error is about the statement as it was sent.
#[tokio::test]
async fn what_is_really_ambiguous_is_still_refused() {
    let server = Server::open().await;
    let status = server.query("SELECT goals, 1 FROM scores a JOIN scores b USING (match_id)").await.expect_err("whose");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}
