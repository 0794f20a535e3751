use parking_lot::Mutex;

use super::*;
use crate::error::Location;

const SOON: Pauses = Pauses {
    lost: (Duration::from_millis(1), Duration::from_millis(2)),
    defect: (Duration::from_millis(1), Duration::from_millis(2)),
};
/// So long that a test which waits for it fails by its own limit.
const NEVER: Pauses = Pauses {
    lost: (Duration::from_secs(3_600), Duration::from_secs(3_600)),
    defect: (Duration::from_secs(3_600), Duration::from_secs(3_600)),
};

fn status() -> Arc<QueryStatus> {
    Arc::new(QueryStatus::new("v", "queries/v.sql"))
}

/// An attempt for each number, from 1.
fn attempts(mut each: impl FnMut(u32) -> BoxFuture<'static, Result<()>>) -> impl FnMut() -> BoxFuture<'static, Ended> {
    let mut number = 0;
    move || {
        number += 1;
        let work = each(number);
        async move { Ended { outcome: panics::caught("the query", work).await, ran: Duration::ZERO } }.boxed()
    }
}

#[tokio::test]
async fn a_query_that_panics_is_started_again_and_says_so() {
    let (status, stop) = (status(), watch::Sender::new(false));
    let found: Arc<Mutex<Vec<_>>> = Arc::default();
    let (seen, by) = (Arc::clone(&status), Arc::clone(&found));
    let attempts = attempts(move |number| {
        by.lock().push(seen.get());
        let status = Arc::clone(&seen);
        async move {
            if number < 3 {
                panic!("at row {number}");
            }
            status.set(QueryState::Running, None);
            Ok(())
        }
        .boxed()
    });
    assert!(keep_running(&status, stop.subscribe(), SOON, attempts).await.is_none());
    assert_eq!((status.get().0, status.restarts.load(Ordering::Relaxed)), (QueryState::Running, 2));
    let found = found.lock();
    assert_eq!(
        found.iter().map(|(state, _)| *state).collect::<Vec<_>>(),
        [QueryState::Starting, QueryState::Failed, QueryState::Failed]
    );
    let reason = found[2].1.clone().expect("why");
    assert!(reason.contains("the query panicked: at row 2") && reason.contains("queries/v.sql"), "{reason}");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_next_start() {
    for error in [Error::bug("a defect"), Error::unavailable("no answer")] {
        let (status, stop) = (status(), watch::Sender::new(false));
        let mut error = Some(error);
        let attempts = attempts(move |_| std::future::ready(Err(error.take().expect("one start"))).boxed());
        let run = keep_running(&status, stop.subscribe(), NEVER, attempts);
        stop.send_replace(true);
        assert!(run.await.is_none());
        assert!(!status.get().0.is_well());
    }
}

#[tokio::test]
async fn what_a_start_cannot_mend_stands_still_with_its_place() {
    let place = Location { file: "queries/v.sql".to_owned(), line: 3, column: 5 };
    let lost = "topic \"orders\", partition 3, offsets 5 to 9";
    for (error, state, arguments) in [
        (Error::invalid("division by zero").at(place), QueryState::Failed, "queries/v.sql:3:5"),
        (Error::corrupt("bundle 7 is damaged"), QueryState::Blocked, "bundle 7 is damaged"),
        (Error::corrupt("cannot go on").losing(lost), QueryState::DataLoss, lost),
    ] {
        let (status, stop) = (status(), watch::Sender::new(false));
        let mut error = Some(error);
        let attempts = attempts(move |_| std::future::ready(Err(error.take().expect("one start"))).boxed());
        assert!(keep_running(&status, stop.subscribe(), NEVER, attempts).await.is_none());
        let standing = status.standing();
        assert_eq!((standing.state, standing.arguments.as_deref()), (state, Some(arguments)));
        assert!(standing.reason.expect("why").ends_with("save or touch queries/v.sql to start it again"));
    }
}

#[tokio::test]
async fn a_fenced_query_ends_the_process() {
    let (status, stop) = (status(), watch::Sender::new(false));
    let attempts = attempts(|_| std::future::ready(Err(Error::fenced("another server"))).boxed());
    let fatal = keep_running(&status, stop.subscribe(), NEVER, attempts).await.expect("a reason to end");
    assert_eq!((fatal.kind(), status.get().0), (ErrorKind::Fenced, QueryState::Fenced));
}

#[test]
fn pauses_double_to_a_limit_and_begin_anew_after_a_while_of_health() {
    let range = (Duration::from_secs(1), Duration::from_secs(5));
    let mut back_off = BackOff::default();
    let mut after = |ran| back_off.after(Duration::from_secs(ran), range).as_secs();
    assert_eq!([after(0), after(0), after(1), after(59), after(0)], [1, 2, 4, 5, 5]);
    assert_eq!([after(60), after(0)], [1, 2]);
    for _ in 0..100 {
        after(0);
    }
    assert_eq!(after(0), 5);
}

// What is computed again may wait for a broker that never answers; its successor and the end of the server wait for it.
#[tokio::test]
async fn what_is_told_to_stop_does_not_wait_for_its_input() {
    let (stop, stopped) = watch::channel(false);
    let work = tokio::spawn(unless_stopped(stopped.clone(), std::future::pending::<()>()));
    stop.send(true).expect("somebody listens");
    let ended = tokio::time::timeout(Duration::from_secs(10), work).await.expect("it ends").expect("no panic");
    assert_eq!(ended, None);
    // Told before it has begun, too; and where nobody can tell it any more it comes to its end.
    assert_eq!(unless_stopped(stopped, std::future::pending::<()>()).await, None);
    let (gone, stopped) = watch::channel(false);
    drop(gone);
    assert_eq!(unless_stopped(stopped, async { 7 }).await, Some(7));
}
