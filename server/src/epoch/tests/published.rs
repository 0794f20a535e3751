//! Public files of what changes: whoever takes the newest row of each key up to a checkpoint has what readers saw at it.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::changelog::published::{CHECKPOINT, DELETED};

/// Rows come and go by HAVING.
const QUERY: &str = "
    SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds')
    GROUP BY window_start, window_end, page HAVING sum(n) > 2 EMIT CHANGES";

const PUBLISHED: [(&str, &str); 1] = [("live WITH ('parquet.rows' = 'changes')", QUERY)];

/// Window and page, which name a row.
fn key_of(line: &str) -> String {
    line.split(',').take(3).collect::<Vec<_>>().join(",")
}

/// What a reader sees: by key the row, final or not.
async fn seen(site: &Site) -> BTreeMap<String, String> {
    let mut rows = site.rows_of("live").await;
    let early = site.published.view("live").expect("it runs").pin().early.clone().expect("it emits early");
    let batches: Vec<RecordBatch> = early.rows.iter().flat_map(Rows::batches).map(Result::unwrap).collect();
    let newest = early.form.newest(&batches, |row| !row.gone && row.is_open(early.final_through)).expect("rows");
    rows.extend(newest.iter().flat_map(|batch| lines(&early.form.in_view(batch).expect("in the view"))));
    let count = rows.len();
    let seen: BTreeMap<String, String> = rows.into_iter().map(|line| (key_of(&line), line)).collect();
    assert_eq!(seen.len(), count, "one row a key");
    seen
}

/// What the folder has: checkpoint, whether there is no row any more, and the row.
async fn files(site: &Site) -> Vec<(i64, bool, String)> {
    let mut rows = Vec::new();
    for key in site.public.list(&Path::from("live.changes")).await.expect("listed") {
        let bytes = site.public.get(&key).await.expect("read").expect("it is there");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet");
        for batch in reader.map(|batch| batch.expect("rows")) {
            let of_view = batch.project(&(0..batch.num_columns() - 2).collect::<Vec<_>>()).expect("columns");
            let checkpoints = batch.column_by_name(CHECKPOINT).expect("a column").as_primitive::<Int64Type>();
            let deleted = batch.column_by_name(DELETED).expect("a column").as_boolean();
            assert_eq!((checkpoints.null_count(), deleted.null_count()), (0, 0));
            for (row, line) in lines(&of_view).into_iter().enumerate() {
                rows.push((checkpoints.value(row), deleted.value(row), line));
            }
        }
    }
    rows.sort();
    rows
}

/// The newest row of each key up to a checkpoint.
fn as_of(files: &[(i64, bool, String)], checkpoint: i64) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for (_, deleted, line) in files.iter().filter(|(at, ..)| *at <= checkpoint) {
        match deleted {
            true => drop(rows.remove(&key_of(line))),
            false => drop(rows.insert(key_of(line), line.clone())),
        }
    }
    rows
}

/// Until every row is in a file.
async fn sealed(query: &mut QueryLoop) {
    for _ in 0..400 {
        if !query.outputs[CHANGES].has_tail() {
            return;
        }
        checkpoint(query, true).await;
    }
    panic!("some of what has changed gets no file: {query:?}");
}

#[tokio::test]
async fn the_files_have_at_every_checkpoint_what_readers_saw_wherever_the_query_was_cut_and_killed() -> Result<()> {
    let mut ways = BTreeMap::new();
    for seed in 0..4 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &PUBLISHED);
        let mut seeded = Seeded(seed);
        let mut query = site.open("live", site.generation().await).await?;
        let mut history = BTreeMap::new();
        for step in 0..70 {
            let action = if step == 69 { 19 } else { seeded.below(20) };
            match action {
                0..=4 => site.append(seeded.below(8)),
                5..=11 => _ = turn(&mut query, Duration::from_millis(2)).await,
                12..=16 => checkpoint(&mut query, seeded.below(2) == 0).await,
                // Killed: what no checkpoint holds is computed again.
                17..=18 => {
                    drop(query);
                    query = site.open("live", site.generation().await).await?;
                }
                _ => {
                    site.append(6);
                    if step == 69 {
                        close(&mut site);
                    }
                    settled(std::slice::from_mut(&mut query)).await;
                }
            }
            let at = site.published.view("live").expect("it runs").pin().checkpoint;
            history.insert(i64::try_from(at).expect("few"), seen(&site).await);
        }
        sealed(&mut query).await;
        let files = files(&site).await;
        let names: BTreeMap<(i64, String), usize> = files.iter().fold(BTreeMap::new(), |mut names, (at, _, line)| {
            *names.entry((*at, key_of(line))).or_default() += 1;
            names
        });
        assert!(names.values().all(|rows| *rows == 1), "seed {seed}: a key has one row a checkpoint");
        for (checkpoint, seen) in &history {
            assert_eq!(as_of(&files, *checkpoint), *seen, "seed {seed}, checkpoint {checkpoint}");
        }
        for (_, deleted, line) in &files {
            let kind = if *deleted {
                "deleted"
            } else if line.ends_with(",true") {
                "final"
            } else {
                "early"
            };
            *ways.entry(kind).or_insert(0) += 1;
        }
        // The view's own folder has final rows alone, as without the option.
        let last = history.values().next_back().expect("checkpoints");
        let of_view = site.rows_of("live").await;
        assert!(of_view.iter().all(|line| line.ends_with(",true")), "{of_view:?}");
        assert!(of_view.iter().all(|line| last.get(&key_of(line)) == Some(line)));
    }
    assert_eq!(ways.keys().copied().collect::<Vec<_>>(), ["deleted", "early", "final"], "{ways:?}");
    Ok(())
}

#[tokio::test]
async fn what_changed_before_the_option_is_taken_away_still_gets_its_files_and_nothing_after_it() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &PUBLISHED);
    site.append(30);
    let mut query = site.open("live", site.generation().await).await?;
    let mut quiet = 0;
    while quiet < 3 {
        quiet = if turn(&mut query, Duration::from_millis(60)).await { 0 } else { quiet + 1 };
    }
    checkpoint(&mut query, false).await;
    let (head, before) = (i64::try_from(query.chain.head().id).expect("few"), seen(&site).await);
    assert!(!before.is_empty() && files(&site).await.is_empty());
    drop(query);
    let deps = site.deps(site.generation().await);
    site.catalog = catalog(&[("live", QUERY)], &deps.sources);
    let mut query = site.open("live", site.generation().await).await?;
    site.append(30);
    settled(std::slice::from_mut(&mut query)).await;
    sealed(&mut query).await;
    let files = files(&site).await;
    assert_eq!(as_of(&files, i64::MAX), before);
    assert!(files.iter().all(|(at, ..)| *at <= head), "{files:?}");
    Ok(())
}

#[tokio::test]
async fn files_of_changes_are_no_strangers_once_the_option_is_taken_away() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &PUBLISHED);
    site.append(30);
    let mut query = site.open("live", site.generation().await).await?;
    query.folder.look().await?;
    settled(std::slice::from_mut(&mut query)).await;
    sealed(&mut query).await;
    let published = files(&site).await;
    assert!(!published.is_empty());
    drop(query);
    let deps = site.deps(site.generation().await);
    site.catalog = catalog(&[("live", QUERY)], &deps.sources);
    for _ in 0..2 {
        let mut query = site.open("live", site.generation().await).await?;
        query.folder.look().await?;
        assert!(query.folder.is_ours(), "{query:?}");
        assert_eq!(query.status.public_strangers.load(Ordering::Relaxed), 0);
        site.append(30);
        settled(std::slice::from_mut(&mut query)).await;
        assert_eq!(files(&site).await, published, "nothing more changes there");
    }
    Ok(())
}
