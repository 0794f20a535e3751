//! Public folders belong to one state: whatever becomes of it, no row is written a second time, and every row can be read.

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
