//! What a loop says while something that it waits for does not answer.

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::status::Standing;

#[tokio::test]
async fn a_store_that_hangs_is_named_while_it_hangs_and_whatever_the_loop_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS[..1]);
    let store = FaultyStore::over(Arc::clone(site.private.objects()));
    site.private = store.store();
    let generation = site.generation().await;
    let plan =
        planned(Arc::clone(&site.catalog.views["kept"]), Arc::clone(&site.catalog), PLANS).await.expect("it plans");
    // Whatever takes any time at all hangs: so the test does not wait for one that does.
    let status = Arc::new(QueryStatus::new("kept", "test.sql").stalling_after(Duration::ZERO));
    let mut query = QueryLoop::open(plan, site.deps(generation), Arc::clone(&status)).await.expect("it opens");
    status.set(QueryState::Running, None);
    assert_eq!(status.get().0, QueryState::Running, "it does nothing yet");

    store.fail_puts("", [Fault::Hang]);
    let hangs = tokio::time::timeout(Duration::from_millis(50), query.checkpoint());
    assert!(hangs.await.is_err());
    let Standing { state, arguments, reason } = status.standing();
    assert_eq!((state, arguments.as_deref()), (QueryState::Stalled, Some("committing, 0 s")));
    let reason = reason.expect("why");
    assert!(reason.contains("look at the store of checkpoints (storage.state_url)"), "{reason}");
    assert_eq!(
        status.stands_still().map(|why| why.starts_with("is stalled: committing")),
        Some(true),
        "to views above"
    );
}
