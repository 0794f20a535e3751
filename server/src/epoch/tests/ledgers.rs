//! What a ledger has is for readers of the ledger, and for nobody else.

use super::*;
use crate::checkpoint::DEAD_LETTER_LEDGER;
use crate::config::Secret;
use crate::sink::postgres::PostgresSink;

// They would wait for ever, in every manifest, and so would the bundles that hold them: nobody takes them.
#[tokio::test]
async fn rows_of_ledgers_do_not_wait_for_the_hot_table() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS[..1]);
    site.append(6);
    let record = NewRecord { value: Some(b"no row".as_slice()), ..NewRecord::default() };
    site.log.append("clicks", 0, &[record]).expect("appended");
    // Nobody connects before the loop runs.
    let url = Some(Secret::new("postgres://nobody@127.0.0.1:1/none?sslmode=disable"));
    let sink = PostgresSink::try_new(PostgresSettings { url, ..PostgresSettings::default() })?;
    let deps = QueryDeps { postgres: Some(Arc::new(sink)), ..site.deps(site.generation().await) };
    let view = Arc::clone(&site.catalog.views["kept"]);
    let plan = planned(view, Arc::clone(&site.catalog), PLANS).await?;
    let mut query = QueryLoop::open(plan, deps, Arc::new(QueryStatus::new("kept", "test.sql"))).await?;
    let mut quiet = 0;
    while quiet < 3 {
        quiet = if turn(&mut query, Duration::from_millis(60)).await { 0 } else { quiet + 1 };
    }
    checkpoint(&mut query, false).await;
    let outputs = &query.chain.head().outputs;
    let ledger = &outputs[DEAD_LETTER_LEDGER];
    assert_eq!((ledger.tail.len(), ledger.hot.len()), (1, 0));
    assert_eq!((outputs["kept"].tail.len(), outputs["kept"].hot.len()), (1, 1));
    Ok(())
}
