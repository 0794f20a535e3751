//! Public folders belong to one state: whatever becomes of it, no row is written a second time, and every row can be read.

use arrow::compute::concat_batches;

use super::sealing::until;
use super::*;
use crate::checkpoint::faulty::{Fault, FaultyStore};

/// Until the rows are in public files, where they may be: committed, intended and written, listed.
async fn sealed(query: &mut QueryLoop) {
    for _ in 0..3 {
        settled(std::slice::from_mut(query)).await;
    }
}

async fn public_files(site: &Site) -> Vec<String> {
    let mut files = site.public.list(&Path::from("kept")).await.expect("listed");
    files.sort();
    files.iter().map(Path::to_string).collect()
}

async fn copied(from: &Store) -> Store {
    let to = Store::over(Arc::new(InMemory::new()), "memory://restored");
    for key in from.list(&Path::from("")).await.expect("listed") {
        to.put(&key, from.get(&key).await.expect("read").expect("it is there")).await.expect("written");
    }
    to
}

/// Ten rows in public files, of a server that is gone.
async fn before(folder: &FilePath) -> Result<(Site, Vec<String>)> {
    let mut site = Site::new(folder, &VIEWS);
    site.append(10);
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    let files = public_files(&site).await;
    assert!(!files.is_empty() && kept.outputs[VIEW].tail_rows() == 0, "{kept:?}");
    Ok((site, files))
}

/// What the status says, where public files are not written.
fn blocked(query: &mut QueryLoop) -> Option<String> {
    query.folder.report();
    let (state, reason) = query.status.get();
    assert_eq!(state == QueryState::Degraded, reason.is_some());
    reason
}

#[tokio::test]
async fn rows_that_are_read_again_because_the_state_was_lost_are_not_published_again() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, files) = before(folder.path()).await?;
    let rows = site.rows_of("kept").await;
    (site.private, site.published) = (Store::over(Arc::new(InMemory::new()), "memory://empty"), Arc::default());
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    assert_eq!(public_files(&site).await, files, "nothing is in the folder twice");
    assert_eq!(site.rows_of("kept").await, rows, "all of it can be read");
    let said = blocked(&mut kept).expect("it is said");
    for word in ["folder memory://kept", "memory://empty", "storage.tables_url", ".touchline/kept.json"] {
        assert!(said.contains(word), "no {word} in {said}");
    }
    assert!(kept.status.goes_on(), "{said}");

    // Moved away by hand, and nothing started anew.
    for file in files.iter().map(String::as_str).chain([".touchline/kept.json"]) {
        site.public.delete(&Path::from(file)).await?;
    }
    kept.folder.look().await?;
    sealed(&mut kept).await;
    assert!(!public_files(&site).await.is_empty());
    assert_eq!((site.rows_of("kept").await, blocked(&mut kept)), (rows, None));
    Ok(())
}

#[tokio::test]
async fn rows_that_are_read_again_because_the_state_was_set_back_are_not_published_again() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, first) = before(folder.path()).await?;
    let backup = copied(&site.private).await;
    site.append(10);
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    let (files, rows) = (public_files(&site).await, site.rows_of("kept").await);
    assert!(files.len() > first.len());
    drop(kept);

    (site.private, site.published) = (backup, Arc::default());
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    assert_eq!(public_files(&site).await, files);
    assert_eq!(site.rows_of("kept").await, rows);
    let strangers = kept.status.public_strangers.load(Ordering::Relaxed);
    assert_eq!(strangers as usize, files.len() - first.len());
    assert!(blocked(&mut kept).is_some_and(|said| said.contains("its checkpoint does not name")));
    Ok(())
}

#[tokio::test]
async fn a_folder_of_before_there_were_owners_is_taken_by_the_checkpoint_that_names_its_files() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, files) = before(folder.path()).await?;
    let owner = Path::from(".touchline/kept.json");
    site.public.delete(&owner).await?;
    site.append(10);
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    assert!(public_files(&site).await.len() > files.len(), "{:?}", blocked(&mut kept));
    assert!(site.public.get(&owner).await?.is_some());
    Ok(())
}

/// While nobody knows whose the folder is, it is nobody's; once it is ours a look that fails changes nothing.
#[tokio::test]
async fn nothing_is_published_while_the_public_store_does_not_say_whose_the_folder_is() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let faulty = FaultyStore::new();
    site.public = faulty.store();
    faulty.fail_gets(".touchline/", [Fault::Before]);
    site.append(10);
    let mut kept = site.open("kept", site.generation().await).await?;
    sealed(&mut kept).await;
    assert_eq!(public_files(&site).await, Vec::<String>::new());
    assert!(blocked(&mut kept).is_some());
    kept.folder.look().await?;
    sealed(&mut kept).await;
    assert!(!public_files(&site).await.is_empty());
    assert_eq!(blocked(&mut kept), None);
    Ok(())
}

/// All input may end before anybody has found out whose the folder is.
#[tokio::test]
async fn a_query_that_has_ended_says_what_keeps_its_rows_from_their_files() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, _) = before(folder.path()).await?;
    (site.private, site.published) = (Store::over(Arc::new(InMemory::new()), "memory://empty"), Arc::default());
    let mut kept = site.open("kept", site.generation().await).await?;
    settled(std::slice::from_mut(&mut kept)).await;
    assert!(kept.folder.look().await.is_err() && kept.outputs[VIEW].has_tail());
    kept.settings.checkpoint_interval = Duration::from_millis(5);
    let status = Arc::clone(&kept.status);
    status.set(QueryState::Finished, None);
    let (stop, mut stopped) = watch::channel(false);
    let draining = tokio::spawn(async move { kept.drain_sinks(&mut stopped).await });
    until("what is wrong", || status.get().0 == QueryState::Degraded).await;
    let said = status.get().1.unwrap_or_default();
    assert!(said.contains("writes no files into the folder memory://kept"), "{said}");
    assert_eq!(status.stands_still(), None, "whoever reads it has all there is");
    stop.send_replace(true);
    draining.await.expect("it does not panic")
}

#[tokio::test]
async fn while_the_folder_is_not_ours_checkpoints_come_less_often_and_rows_grow_old() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, files) = before(folder.path()).await?;
    (site.private, site.published) = (Store::over(Arc::new(InMemory::new()), "memory://empty"), Arc::default());
    let mut kept = site.open("kept", site.generation().await).await?;
    kept.settings.seal = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::from_secs(60) };
    settled(std::slice::from_mut(&mut kept)).await;
    kept.plan_seals();
    assert!(kept.folder.look().await.is_err() && kept.outputs[VIEW].has_tail());
    let interval = kept.settings.checkpoint_interval;
    assert_eq!(kept.checkpoint_interval(), interval);
    kept.outputs[VIEW].repeat_tail(3_000);
    assert_eq!(kept.checkpoint_interval(), 3 * interval, "manifests cost a second what they did");

    for file in files.iter().map(String::as_str).chain([".touchline/kept.json"]) {
        site.public.delete(&Path::from(file)).await?;
    }
    kept.folder.look().await?;
    assert_eq!(kept.checkpoint_interval(), interval);
    kept.outputs[VIEW].repeat_tail(1);
    sealed(&mut kept).await;
    assert_eq!(public_files(&site).await, Vec::<String>::new(), "they are young");
    site.clock.set(site.clock.now() + 60_000_000);
    sealed(&mut kept).await;
    assert!(!public_files(&site).await.is_empty());
    Ok(())
}

/// Nobody could look whether they are sealed while their age counts.
#[tokio::test]
async fn rows_are_as_old_as_they_are_when_the_folder_becomes_ours() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, files) = before(folder.path()).await?;
    (site.private, site.published) = (Store::over(Arc::new(InMemory::new()), "memory://empty"), Arc::default());
    let mut kept = site.open("kept", site.generation().await).await?;
    kept.settings.seal = SealLimits { rows_max: u64::MAX, bytes_max: u64::MAX, age_max: Duration::from_secs(60) };
    settled(std::slice::from_mut(&mut kept)).await;
    kept.plan_seals();
    assert!(kept.folder.look().await.is_err() && kept.outputs[VIEW].has_tail());
    site.clock.set(site.clock.now() + 60_000_000);
    for file in files.iter().map(String::as_str).chain([".touchline/kept.json"]) {
        site.public.delete(&Path::from(file)).await?;
    }
    kept.folder.look().await?;
    sealed(&mut kept).await;
    assert!(!public_files(&site).await.is_empty());
    Ok(())
}

/// A large folder, or a disk that hangs: asking again would help neither.
#[tokio::test]
async fn a_folder_that_takes_long_to_look_through_is_waited_for_and_that_is_said() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let faulty = FaultyStore::new();
    site.public = faulty.store();
    let (go, waits) = watch::channel(false);
    *faulty.lists_wait.lock() = Some(waits);
    site.append(10);
    let mut kept = site.open("kept", site.generation().await).await?;
    let status = Arc::clone(&kept.status);
    let said = || {
        kept.folder.report();
        status.get().0 == QueryState::Degraded
    };
    until("what is wrong", said).await;
    let reason = status.get().1.unwrap_or_default();
    assert!(reason.contains("wait for their folder"), "{reason}");
    assert!(!kept.folder.is_ours() && status.goes_on());
    go.send_replace(true);
    until("the end of the look", || kept.folder.is_ours()).await;
    sealed(&mut kept).await;
    assert_eq!(blocked(&mut kept), None);
    assert!(!public_files(&site).await.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_query_that_stands_still_because_of_its_folder_sends_nobody_to_the_store() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut site, _) = before(folder.path()).await?;
    (site.private, site.published) = (Store::over(Arc::new(InMemory::new()), "memory://empty"), Arc::default());
    // Of which results may take 2 MiB.
    site.budget = Budget::new(8 << 20, None);
    let mut kept = site.open("kept", site.generation().await).await?;
    settled(std::slice::from_mut(&mut kept)).await;
    assert!(kept.folder.look().await.is_err());
    let few = site.published.view("kept").expect("it runs").pin().tail[0].rows.batches().next().expect("rows")?;
    let many = concat_batches(&few.schema(), vec![&few; 80_000 / few.num_rows()])?;
    kept.outputs[VIEW].add(Rows::of(vec![many], &kept.account)?);
    kept.dirty = true;
    kept.checkpoint_and_sinks().await?;
    assert!(kept.tail_is_full(), "{:?}", kept.account);
    kept.folder.report();
    let said = kept.status.get().1.expect("it is said");
    assert!(said.contains("stands still") && said.contains("its public folder belongs to another state"), "{said}");
    assert!(said.contains("move the folder"), "{said}");
    Ok(())
}
