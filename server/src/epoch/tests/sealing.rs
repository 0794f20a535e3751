//! A public store that fails, refuses or hangs: what it costs a query, and what it must not.

use std::slice;

use arrow::compute::concat_batches;

use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};
use crate::error::Error;

/// Longest wait for anything here. A store that hangs does so for longer.
const PATIENCE: Duration = Duration::from_secs(20);

fn attempts(faulty: &FaultyStore) -> usize {
    faulty.attempts.load(Ordering::Relaxed)
}

/// The query, whose folder is its own by now.
async fn opened(site: &Site, faulty: &FaultyStore) -> Result<QueryLoop> {
    let kept = site.open("kept", site.generation().await).await?;
    kept.folder.look().await?;
    assert!(kept.folder.is_ours());
    faulty.attempts.store(0, Ordering::Relaxed);
    Ok(kept)
}

/// Everything that there is has been taken in.
async fn taken(query: &mut QueryLoop) {
    let mut quiet = 0;
    while quiet < 3 {
        quiet = if turn(query, Duration::from_millis(60)).await { 0 } else { quiet + 1 };
    }
}

pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn a_public_store_that_fails_is_asked_after_a_pause_and_costs_no_row_and_no_manifest() -> Result<()> {
    for fault in [Fault::Before, Fault::Full, Fault::Forbidden, Fault::Hang] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &VIEWS);
        let faulty = FaultyStore::new();
        site.public = faulty.store().answering_within(Duration::from_millis(20));
        let mut kept = opened(&site, &faulty).await?;
        faulty.break_writes(fault);
        site.append(40);
        settled(slice::from_mut(&mut kept)).await;
        let begin = Instant::now();
        checkpoint(&mut kept, true).await;
        assert_eq!(attempts(&faulty), 1, "{fault:?}");
        assert!(kept.sealing.retry_at.is_some_and(|at| at >= begin + Duration::from_millis(250)), "{fault:?}");
        let (state, reason) = kept.status.get();
        assert_eq!(state, QueryState::Degraded);
        let reason = reason.unwrap_or_default();
        assert!(reason.starts_with("no public file could be written since 1970-01-11T00:00:00Z"), "{reason}");
        let told = match fault {
            Fault::Full => "its disk is full",
            Fault::Forbidden => "check the credentials",
            Fault::Hang => "no answer within 0.02 s",
            _ => "connection reset",
        };
        assert!(reason.contains(told), "{reason}");
        assert!(kept.status.goes_on(), "who reads it need not wait");

        // Until it is asked again nothing happens, however long that is.
        kept.sealing.retry_at = Some(begin + Duration::from_secs(3_600));
        let head = kept.chain.head().id;
        for _ in 0..10 {
            checkpoint(&mut kept, true).await;
        }
        assert_eq!((kept.chain.head().id, attempts(&faulty)), (head, 1), "{fault:?}");

        site.append(20);
        settled(slice::from_mut(&mut kept)).await;
        assert!(kept.chain.head().id > head);
        let wanted = expected(&site.rows)["kept"].clone();
        assert_eq!(site.rows_of("kept").await, wanted, "{fault:?}");

        faulty.mend();
        kept.sealing.retry_at = None;
        for _ in 0..20 {
            checkpoint(&mut kept, true).await;
        }
        let shown = site.published.view("kept").expect("it runs").pin();
        assert!(shown.tail.is_empty() && shown.sealed.len() > 1, "{fault:?}: {:?}", shown.sealed);
        assert_eq!(site.rows_of("kept").await, wanted, "{fault:?}");
        assert_eq!(kept.status.get(), (QueryState::Running, None));
    }
    Ok(())
}

#[tokio::test]
async fn no_epoch_and_no_checkpoint_waits_for_a_public_store_that_hangs() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let faulty = FaultyStore::new();
    site.public = faulty.store();
    let mut kept = opened(&site, &faulty).await?;
    faulty.break_writes(Fault::Hang);
    let rounds = async {
        for _ in 0..6 {
            site.append(16);
            taken(&mut kept).await;
            kept.checkpoint_and_sinks().await?;
        }
        Ok::<(), Error>(())
    };
    tokio::time::timeout(PATIENCE, rounds).await.expect("it waits for nothing")?;
    assert_eq!(attempts(&faulty), 1, "one at a time");
    assert_eq!(site.rows_of("kept").await, expected(&site.rows)["kept"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_tail_is_full_takes_nothing_in_until_files_can_be_written() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    // Of which results may take 2 MiB.
    site.budget = Budget::new(8 << 20, None);
    let faulty = FaultyStore::new();
    site.public = faulty.store();
    let mut kept = opened(&site, &faulty).await?;
    faulty.break_writes(Fault::Full);
    site.append(30);
    settled(slice::from_mut(&mut kept)).await;
    assert!(!kept.tail_is_full());

    let few = site.published.view("kept").expect("it runs").pin().tail[0].rows.batches().next().expect("rows")?;
    let many = concat_batches(&few.schema(), vec![&few; 80_000 / few.num_rows()])?;
    let added = many.num_rows();
    kept.outputs[VIEW].add(Rows::of(vec![many], &kept.account)?);
    kept.dirty = true;
    kept.checkpoint_and_sinks().await?;
    assert!(kept.tail_is_full(), "{:?}", kept.account);
    let why = kept.status.stands_still().unwrap_or_default();
    assert!(why.starts_with("is degraded: query kept stands still since 1970-01-11T00:00:00Z"), "{why}");

    site.append(14);
    let wanted = expected(&site.rows)["kept"].len() + added;
    let (status, rows_in) = (Arc::clone(&kept.status), kept.accounting.rows_in);
    kept.settings.checkpoint_interval = Duration::from_millis(5);
    let before = attempts(&faulty);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(kept.run(stopped));
    until("the next attempts", || attempts(&faulty) > before + 1).await;
    assert_eq!(status.rows_in.load(Ordering::Relaxed), rows_in, "it has taken rows in");
    faulty.mend();
    until("the rows that waited", || status.rows_in.load(Ordering::Relaxed) == rows_in + 14).await;
    until("all to be well", || status.get() == (QueryState::Running, None)).await;
    stop.send_replace(true);
    running.await.expect("it does not panic")?;
    assert_eq!(site.rows_of("kept").await.len(), wanted);
    Ok(())
}

#[tokio::test]
async fn no_checkpoint_waits_for_a_clean_up_and_old_ones_go_all_the_same() -> Result<()> {
    for hangs in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &VIEWS);
        let faulty = FaultyStore::new();
        site.private = faulty.store();
        let mut kept = opened(&site, &faulty).await?;
        if hangs {
            faulty.fail_deletes("/ckpt/", [Fault::Hang]);
        }
        let manifests = Path::from("q/kept/ckpt");
        let rounds = async {
            while kept.chain.head().id < 200 || (!hangs && site.private.list(&manifests).await?.len() > 64) {
                kept.dirty = true;
                kept.checkpoint_and_sinks().await?;
                tokio::task::yield_now().await;
            }
            Ok::<(), Error>(())
        };
        tokio::time::timeout(PATIENCE, rounds).await.expect("it waits for nothing, and old ones go")?;
    }
    Ok(())
}
