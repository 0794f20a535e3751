//! What a statement reads while views are opened anew, changed, gone, or not whole yet.

use super::*;
use crate::tables::view::NamedView;

/// Shows another incarnation of a view, as a query does once all of it has been restored.
fn show(server: &Server, name: &str, batch: RecordBatch) {
    let view = PublishedView::new(name, batch.schema());
    let tail = Arc::new([TailRows { checkpoint: 9, rows: vec![batch].into() }]);
    view.publish(ViewSnapshot { checkpoint: 9, tail, ..ViewSnapshot::default() });
    server.published.put_view(Arc::new(view));
}

/// A query that has shown nothing since the server started.
fn declare(server: &Server, name: &str, state: QueryState, reason: Option<&str>) -> Arc<QueryStatus> {
    let status = Arc::new(QueryStatus::new(name, format!("queries/{name}.sql")));
    status.set(state, reason.map(str::to_owned));
    server.published.put_query(Arc::clone(&status));
    status
}

#[tokio::test]
async fn a_prepared_statement_and_a_ticket_read_the_view_that_bears_the_name_when_they_run() {
    let server = Server::open().await;
    let mut client = server.client();
    let sql = "SELECT goals FROM scores ORDER BY goals";
    let mut prepared = client.prepare(sql.to_owned(), None).await.expect("prepares");
    let mut ledgers =
        client.prepare("SELECT count(*) FROM touchline.dead_letters".to_owned(), None).await.expect("too");
    let info = prepared.execute().await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info).await.expect("rows")), [1, 2, 3]);

    let ticket = client.execute(sql.to_owned(), None).await.expect("a ticket");
    show(&server, "scores", scores(&[("m8", 8), ("m9", 9)]));
    server.published.put_view(ledger("c"));
    assert_eq!(ints(&fetch(&mut client, ticket).await.expect("rows")), [8, 9]);
    let info = prepared.execute().await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info).await.expect("rows")), [8, 9]);
    let info = ledgers.execute().await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info).await.expect("rows")), [3]);
}

#[tokio::test]
async fn a_prepared_statement_is_refused_where_a_column_that_it_reads_has_changed_and_only_then() {
    let server = Server::open().await;
    let mut client = server.client();
    let mut statements = Vec::new();
    for sql in ["SELECT goals FROM scores", "SELECT match_id FROM scores", "SELECT at FROM scores"] {
        statements.push(client.prepare(sql.to_owned(), None).await.expect(sql));
    }
    // `match_id` is another type, and `at` is gone.
    let schema =
        Schema::new(vec![Field::new("match_id", DataType::Int64, false), Field::new("goals", DataType::Int64, false)]);
    let column = || Arc::new(Int64Array::from(vec![7])) as arrow::array::ArrayRef;
    show(&server, "scores", RecordBatch::try_new(Arc::new(schema), vec![column(), column()]).expect("a batch"));

    let info = statements[0].execute().await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info).await.expect("rows")), [7]);
    for (at, said) in [
        (1, "column \"match_id\" of view \"scores\" is not what it was"),
        (2, "column \"at\" of view \"scores\" is no longer there"),
    ] {
        let info = statements[at].execute().await.expect("a ticket");
        let status = fetch(&mut client, info).await.expect_err(said);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(said), "{status}");
        assert!(status.message().ends_with("hint: prepare the statement again"), "{status}");
    }

    server.published.remove_view("scores");
    server.published.remove_query("scores");
    let info = statements[0].execute().await.expect("a ticket");
    let status = fetch(&mut client, info).await.expect_err("it is gone");
    assert_eq!(status.code(), Code::NotFound, "{status}");
}

/// By its name, and by the name of a plain view over it: never as no rows.
#[tokio::test]
async fn a_view_that_is_not_whole_names_its_state_and_the_reason() {
    let server = Server::open().await;
    let plain: Arc<dyn datafusion::catalog::TableProvider> =
        Arc::new(NamedView::new("lost", scores_schema(), Arc::downgrade(&server.published)));
    server.published.set_plain_views([("above".to_owned(), plain)].into());
    let damaged = "bundle 7 is not what was written";
    for (state, reason, said, code) in [
        (QueryState::Failed, Some(damaged), "view \"lost\" cannot be read: its query is FAILED", Code::NotFound),
        (
            QueryState::Degraded,
            Some("the store does not answer"),
            "view \"lost\" cannot be read yet: its query is DEGRADED",
            Code::Unavailable,
        ),
    ] {
        declare(&server, "lost", state, reason);
        for sql in ["SELECT count(*) FROM lost", "SELECT count(*) FROM above"] {
            let status = server.query(sql).await.expect_err(sql);
            // In a plain view the name is not one of the statement's.
            let code = if sql.ends_with("above") && code == Code::NotFound { Code::InvalidArgument } else { code };
            assert_eq!(status.code(), code, "{sql}: {status}");
            assert_eq!(status.message(), format!("{said}\n  detail: {}", reason.unwrap_or_default()), "{sql}");
        }
    }
    declare(&server, "lost", QueryState::Starting, None);
    let status = server.query("SELECT count(*) FROM above").await.expect_err("not there yet");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("view \"lost\" is still being restored"), "{status}");
}

/// What a view has shown is whole, and stays readable while its query is opened anew, or when that fails.
#[tokio::test]
async fn the_rows_of_the_last_incarnation_stay_until_the_next_is_whole() {
    let server = Server::open().await;
    for (state, reason) in [
        (QueryState::Starting, None),
        (QueryState::Degraded, Some("the store does not answer")),
        (QueryState::Failed, Some("bundle 7 is not what was written")),
    ] {
        declare(&server, "scores", state, reason);
        assert_eq!(ints(&server.ok("SELECT count(*) FROM scores").await), [3], "{state:?}");
    }
}

#[tokio::test]
async fn a_statement_waits_for_each_view_that_it_names() {
    let server = Server::open().await;
    let declared = ["one", "two"].map(|name| declare(&server, name, QueryState::Starting, None));
    let mut asked = Box::pin(server.query("SELECT one.goals + two.goals FROM one CROSS JOIN two"));
    // Long enough for many looks; an answer now would be one that did not wait.
    for (name, status) in ["one", "two"].into_iter().zip(&declared) {
        let early = tokio::time::timeout(Duration::from_millis(300), &mut asked).await;
        assert!(early.is_err(), "{early:?}");
        show(&server, name, scores(&[("m1", 4)]));
        status.set(QueryState::Running, None);
    }
    assert_eq!(ints(&asked.await.expect("both are there")), [8]);
}

/// A server that has been thrown out, once it knows.
#[derive(Debug)]
struct Lost(crate::error::ErrorKind);

#[async_trait]
impl crate::tables::Standing for Lost {
    async fn check(&self) -> Result<()> {
        Err(Error::new(self.0, "another server may have taken over"))
    }
}

/// Not even those of a ticket or of a prepared statement from before.
#[tokio::test]
async fn no_rows_are_sent_by_a_server_that_may_have_been_taken_over() {
    let server = Server::open().await;
    let mut client = server.client();
    let sql = "SELECT goals FROM scores";
    let ticket = client.execute(sql.to_owned(), None).await.expect("a ticket");
    let mut prepared = client.prepare(sql.to_owned(), None).await.expect("prepares");
    server.published.put_standing(Arc::new(Lost(crate::error::ErrorKind::Fenced)));
    let status = fetch(&mut client, ticket).await.expect_err("it was taken over");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().starts_with("another server may"), "{status}");
    server.published.put_standing(Arc::new(Lost(crate::error::ErrorKind::Unavailable)));
    let info = prepared.execute().await.expect("a ticket");
    assert_eq!(fetch(&mut client, info).await.expect_err("nobody knows").code(), Code::Unavailable);
    let status = server.query("SELECT count(*) FROM touchline.dead_letters").await.expect_err("nobody knows");
    assert_eq!(status.code(), Code::Unavailable);
    // What is no view's says how it is.
    assert_eq!(ints(&server.ok("SELECT count(*) FROM touchline.queries").await), [1]);
}

/// The statistics of the file say that 50 is the greatest, and NaN is greater.
#[tokio::test]
async fn a_row_with_nan_is_found_in_a_file_as_in_the_tail() {
    let server = Server::open().await;
    let view = PublishedView::new("ratios", ratios().schema());
    let bytes = parquet(&ratios()).len() as u64;
    let sealed = SealedFile {
        path: RATIOS.to_owned(),
        bytes,
        rows: 2,
        checkpoints: None,
        sha256: None,
        times: Default::default(),
    };
    let tail = Arc::new([TailRows { checkpoint: 7, rows: vec![ratios()].into() }]);
    view.publish(ViewSnapshot { checkpoint: 7, sealed: Arc::new([Arc::new(sealed)]), tail, ..ViewSnapshot::default() });
    server.published.put_view(Arc::new(view));
    for (condition, rows) in [("ratio > 100", 1), ("ratio > 40", 2), ("ratio < 40", 0), ("ratio = 50", 1)] {
        let found = server.ok(&format!("SELECT count(*) AS n FROM ratios WHERE {condition}")).await;
        assert_eq!(ints(&found), [2 * rows], "{condition}");
    }
}
