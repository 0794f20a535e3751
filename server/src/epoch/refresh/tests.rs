//! Tables in real files, looked at when the test says so: what an epoch sees of them, and what is left in use where one cannot be read.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::pipeline::tests::rows;
use crate::pipeline::{PlanSettings, StepInput};
use crate::registry::{catalog_of, planned};
use crate::sink::postgres::PostgresSettings;
use crate::source::kafka::KafkaSettings;
use crate::source::reader::SourceDeps;
use crate::sql::parse_file;
use crate::state::{Account, Budget};
use crate::status::QueryState;
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SnapshotReader;
use crate::watermark::Mark;

const CLICKS: &str = "
CREATE TABLE clicks (id BIGINT, page VARCHAR, n BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', 'topic' = 'clicks', 'format' = 'json');
";

const TITLES: &str = "SELECT c.id, p.title FROM clicks c LEFT JOIN pages p ON p.page = c.page";

/// A query over a stream that the test plays and the table `pages` in `path`.
struct Site {
    folder: TempDir,
    path: PathBuf,
    pipeline: Arc<Pipeline>,
    refresher: Refresher,
    status: Arc<QueryStatus>,
    account: Arc<Account>,
}

impl Site {
    /// `pages`: the name of a file below the folder with its text; `None`: the table is the folder `pages`, which is empty.
    async fn new(query: &str, pages: Option<&str>, budget: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(if pages.is_some() { "pages.csv" } else { "pages" });
        match pages {
            Some(text) => replace(&path, text),
            None => std::fs::create_dir(&path).unwrap(),
        }
        let (pipeline, account) = planned_over(&path, query, "1 hour", budget).await;
        let status = Arc::new(QueryStatus::new("v", "test.sql"));
        status.set(QueryState::Running, None);
        let mut refresher = Refresher::new(Arc::clone(&pipeline), 0, Clock::System, Arc::clone(&status));
        refresher.first().await.unwrap();
        pipeline.static_tables().take_up();
        Site { folder, path, pipeline, refresher, status, account }
    }

    fn write(&self, text: &str) {
        replace(&self.path, text);
    }

    /// Whatever is due, and all of it is.
    async fn look(&mut self) {
        self.refresher.round(all_due()).await;
    }

    /// The rows of an epoch over clicks `(page, n)`, which are numbered from 0.
    async fn epoch(&self, clicks: &[(&str, i64)]) -> Vec<String> {
        self.pipeline.static_tables().take_up();
        step(&self.pipeline, clicks).await
    }

    fn trouble(&self) -> Option<String> {
        self.status.lookups.read()["pages"].trouble.clone()
    }

    fn counts(&self) -> (u64, u64) {
        let lookups = self.status.lookups.read();
        (lookups["pages"].reads, lookups["pages"].failures)
    }
}

fn all_due() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}

/// As it should be done: the new file is renamed into the place of the old one.
fn replace(path: &Path, text: &str) {
    let new = path.with_file_name("_new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

async fn planned_over(path: &Path, query: &str, interval: &str, budget: usize) -> (Arc<Pipeline>, Arc<Account>) {
    let text = format!(
        "{CLICKS} CREATE TABLE pages (page VARCHAR, title VARCHAR, n BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}',
         'format' = 'csv', 'on-bad-row' = 'fail', 'refresh-interval' = '{interval}');
         CREATE MATERIALIZED VIEW v AS {query};",
        path.display()
    );
    let statements = parse_file("test.sql", &text).expect("it parses");
    let deps = SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        postgres: PostgresSettings::default(),
        clock: Clock::System,
    };
    let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(deps));
    let (catalog, errors) = catalog_of(&statements, &snapshots);
    assert!(errors.is_empty(), "{errors:?}");
    let view = Arc::clone(&catalog.views["v"]);
    let plan = planned(view, Arc::new(catalog), PlanSettings { partitions: 1, wide_rows: usize::MAX }).await;
    let mut pipeline = plan.unwrap_or_else(|error| panic!("{}", error.report())).pipeline;
    let account = Budget::new(budget, None).account("query \"v\"");
    pipeline.charge_to(Arc::clone(&account)).unwrap();
    (Arc::new(pipeline), account)
}

async fn step(pipeline: &Pipeline, clicks: &[(&str, i64)]) -> Vec<String> {
    let clicks = clicks.iter().enumerate().map(|(id, (page, n))| (id as i64, *page, *n, 1));
    let batches = vec![rows(pipeline, 0, &clicks.collect::<Vec<_>>())];
    let sources = vec![Mark::NONE; pipeline.marks()];
    let output = pipeline.step(StepInput { batches, sources, ..StepInput::default() }).await.unwrap();
    pipeline.commit().unwrap();
    let mut lines: Vec<String> = output.rows.batches().flat_map(|batch| lines(&batch.unwrap())).collect();
    lines.sort();
    lines
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let columns: Vec<_> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let line = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",");
    (0..batch.num_rows()).map(line).collect()
}

const HEADER: &str = "page,title,n\n";

/// One page with this title.
fn titled(title: &str) -> String {
    format!("{HEADER}a,{title},1\n")
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages.csv");
    let (pipeline, _account) = planned_over(&path, TITLES, "1 hour", usize::MAX).await;
    let status = Arc::new(QueryStatus::new("v", "test.sql"));
    let error = Refresh::start(&pipeline, &Clock::System, &status).await.unwrap_err();
    // What is tried again is not what has failed.
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
    assert!(error.report().contains("no such file or folder: ") && error.hint_text().is_some(), "{}", error.report());
    replace(&path, &titled("one"));
    let _refresh = Refresh::start(&pipeline, &Clock::System, &status).await.unwrap();
    assert_eq!(step(&pipeline, &[("a", 1)]).await, ["0,one"]);
}

#[tokio::test]
async fn a_changed_file_is_seen_by_a_later_epoch_once_it_has_been_looked_at() {
    let mut site = Site::new(TITLES, Some(&titled("one")), usize::MAX).await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
    site.write(&titled("two"));
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
    site.look().await;
    // Read, and not in use before an epoch begins with it.
    assert_eq!(step(&site.pipeline, &[("a", 1)]).await, ["0,one"]);
    assert_eq!(site.epoch(&[("a", 1), ("b", 1)]).await, ["0,two", "1,"]);
    assert_eq!(site.status.get(), (QueryState::Running, None));
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again() {
    let mut site = Site::new(TITLES, Some(&titled("one")), usize::MAX).await;
    // The first look may have come right after the write.
    while site.refresher.tables[0].seen.is_none() {
        site.look().await;
    }
    let before = site.counts();
    for _ in 0..3 {
        site.look().await;
    }
    assert_eq!(site.counts(), before);
    // What is due in an hour is not looked at now.
    site.write(&titled("two"));
    site.refresher.round(Instant::now()).await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
}

// Three things read the table, each in its own way.
#[tokio::test]
async fn all_that_reads_a_table_sees_the_same_version_of_it() {
    let query = "SELECT c.id, p.title, q.t FROM clicks c JOIN pages p ON p.page = c.page
        JOIN (SELECT page, upper(title) AS t FROM pages) q ON q.page = c.page
        WHERE c.n > (SELECT max(n) FROM pages)";
    let mut site = Site::new(query, Some(&format!("{HEADER}a,one,5\n")), usize::MAX).await;
    let clicks = [("a", 10), ("a", 20)];
    assert_eq!(site.epoch(&clicks).await, ["0,one,ONE", "1,one,ONE"]);
    site.write(&format!("{HEADER}a,two,15\n"));
    site.look().await;
    assert_eq!(step(&site.pipeline, &clicks).await, ["0,one,ONE", "1,one,ONE"]);
    assert_eq!(site.epoch(&clicks).await, ["1,two,TWO"]);
}

// What a row is looked up by changes with a value that is read beside it.
#[tokio::test]
async fn a_key_of_the_table_is_computed_with_the_subquery_of_its_own_version() {
    let query = "SELECT c.id, p.title FROM clicks c JOIN pages p ON p.n - (SELECT min(n) FROM pages) = c.n";
    let mut site = Site::new(query, Some(&format!("{HEADER}a,one,5\nb,two,6\n")), usize::MAX).await;
    let clicks = [("a", 0), ("a", 1)];
    assert_eq!(site.epoch(&clicks).await, ["0,one", "1,two"]);
    site.write(&format!("{HEADER}a,three,8\nb,four,7\n"));
    site.look().await;
    assert_eq!(step(&site.pipeline, &clicks).await, ["0,one", "1,two"]);
    assert_eq!(site.epoch(&clicks).await, ["0,four", "1,three"]);
}

#[tokio::test]
async fn a_file_that_is_gone_leaves_the_version_before_in_use_until_it_is_back() {
    let mut site = Site::new(TITLES, Some(&titled("one")), usize::MAX).await;
    std::fs::remove_file(&site.path).unwrap();
    for failures in 1..=3 {
        site.look().await;
        assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
        assert_eq!(site.counts().1, failures);
    }
    let (state, reason) = site.status.get();
    let reason = reason.unwrap();
    assert_eq!(state, QueryState::Degraded);
    assert!(
        reason.starts_with("table \"pages\" cannot be read again: lookups go on with the version before"),
        "{reason}"
    );
    assert!(reason.contains("no such file or folder: ") && reason.contains("\n  hint: "), "{reason}");
    // Tried again long before the hour is over.
    assert!(site.refresher.tables[0].due < Instant::now() + Duration::from_secs(60));
    site.write(&titled("two"));
    site.look().await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,two"]);
    assert_eq!(site.status.get(), (QueryState::Running, None));
}

#[tokio::test]
async fn a_file_that_cannot_be_decoded_leaves_the_version_before_in_use() {
    let mut site = Site::new(TITLES, Some(&titled("one")), usize::MAX).await;
    site.write(&format!("{HEADER}a,two\n"));
    site.look().await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
    let trouble = site.trouble().unwrap();
    assert!(trouble.contains("cannot decode row from file"), "{trouble}");
    assert!(trouble.contains("the record has 2 fields, the header 3"), "{trouble}");
    site.write(&titled("three"));
    site.look().await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,three"]);
    assert_eq!(site.trouble(), None);
}

#[tokio::test]
async fn a_folder_gets_a_file_loses_one_and_is_empty() {
    let mut site = Site::new(TITLES, None, usize::MAX).await;
    let clicks = [("a", 1), ("b", 1)];
    assert_eq!(site.epoch(&clicks).await, ["0,", "1,"]);
    replace(&site.path.join("1.csv"), &titled("one"));
    site.look().await;
    assert_eq!(site.epoch(&clicks).await, ["0,one", "1,"]);
    replace(&site.path.join("2.csv"), &format!("{HEADER}b,two,1\na,too,1\n"));
    site.look().await;
    assert_eq!(site.epoch(&clicks).await, ["0,one", "0,too", "1,two"]);
    std::fs::remove_file(site.path.join("1.csv")).unwrap();
    site.look().await;
    assert_eq!(site.epoch(&clicks).await, ["0,too", "1,two"]);
    std::fs::remove_file(site.path.join("2.csv")).unwrap();
    site.look().await;
    assert_eq!(site.epoch(&clicks).await, ["0,", "1,"]);
    assert_eq!(site.trouble(), None);
    assert!(site.folder.path().exists());
}

#[tokio::test]
async fn a_version_that_has_no_room_beside_the_one_in_use_is_not_used_and_gives_its_memory_back() {
    let mut site = Site::new(TITLES, Some(&titled("one")), 2 << 20).await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
    let used = site.account.used();
    let many: String = (0..60_000).map(|n| format!("page {n},title of page {n},{n}\n")).collect();
    site.write(&format!("{HEADER}{many}"));
    site.look().await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,one"]);
    assert_eq!(site.account.used(), used);
    let trouble = site.trouble().unwrap();
    assert!(trouble.contains("the last quarter is kept for streams"), "{trouble}");
    assert!(trouble.contains("old and new version must have room side by side"), "{trouble}");
    site.write(&titled("two"));
    site.look().await;
    assert_eq!(site.epoch(&[("a", 1)]).await, ["0,two"]);
    assert_eq!(site.trouble(), None);
    assert_eq!(site.account.used(), used, "what was in use before has been let go of");
}

#[tokio::test]
async fn a_query_does_not_begin_without_a_first_version() {
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, _) = planned_over(&folder.path().join("pages.csv"), TITLES, "1 hour", usize::MAX).await;
    let status = Arc::new(QueryStatus::new("v", "test.sql"));
    let error = Refresh::start(&pipeline, &Clock::System, &status).await.unwrap_err();
    // It may come yet.
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.report());
}

#[tokio::test]
async fn tables_are_followed_by_themselves_until_the_query_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pages.csv");
    replace(&path, &titled("one"));
    let (pipeline, _) = planned_over(&path, TITLES, "100 ms", usize::MAX).await;
    let status = Arc::new(QueryStatus::new("v", "test.sql"));
    let refresh = Refresh::start(&pipeline, &Clock::System, &status).await.unwrap();
    assert_eq!(step(&pipeline, &[("a", 1)]).await, ["0,one"]);
    replace(&path, &titled("two"));
    let seen = async {
        loop {
            pipeline.static_tables().take_up();
            match step(&pipeline, &[("a", 1)]).await {
                rows if rows == ["0,two"] => return,
                rows => assert_eq!(rows, ["0,one"]),
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the new file is seen");
    refresh.check().unwrap();
    // Nothing of it holds on to what it read.
    drop(refresh);
    let alone = async {
        while Arc::strong_count(&status) > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), alone).await.expect("the task has ended");
}

#[test]
fn pauses_grow_up_to_half_a_minute_or_the_interval() {
    let seconds = |interval: u64, failed| pause(failed, Duration::from_secs(interval)).as_secs_f64();
    assert_eq!([1, 2, 3, 7, 8, 100].map(|failed| seconds(5, failed)), [0.5, 1.0, 2.0, 30.0, 30.0, 30.0]);
    assert_eq!([1, 7, 8, 100].map(|failed| seconds(3_600, failed)), [0.5, 32.0, 64.0, 3_600.0]);
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Write,
    Remove,
    Look,
    Epoch,
    /// Epochs run while the table is looked at and read.
    Both,
}

fn an_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Write),
        1 => Just(Act::Remove),
        3 => Just(Act::Look),
        3 => Just(Act::Epoch),
        2 => Just(Act::Both),
    ]
}

/// A version has its number in all of its rows.
fn version(number: u32) -> String {
    let rows: String = (0..40).map(|row| format!("a,{number},{row}\n")).collect();
    format!("{HEADER}{rows}")
}

/// The only version that the rows of an epoch show.
async fn seen(pipeline: &Pipeline) -> u32 {
    let rows = step(pipeline, &[("a", 1), ("a", 2)]).await;
    assert_eq!(rows.len(), 80);
    let mut titles: Vec<&str> = rows.iter().filter_map(|row| row.split(',').nth(1)).collect();
    titles.dedup();
    assert_eq!(titles.len(), 1, "{titles:?}");
    titles[0].parse().unwrap()
}

async fn played(acts: &[Act]) {
    let mut site = Site::new(TITLES, Some(&version(0)), usize::MAX).await;
    let (mut newest, mut there, mut read) = (0, true, 0);
    for act in acts {
        match act {
            Act::Write => {
                newest += 1;
                there = true;
                site.write(&version(newest));
            }
            Act::Remove => {
                if std::mem::replace(&mut there, false) {
                    std::fs::remove_file(&site.path).unwrap();
                }
            }
            Act::Look => {
                site.look().await;
                read = if there { newest } else { read };
                assert_eq!(site.trouble().is_none(), there);
            }
            Act::Epoch => {
                site.pipeline.static_tables().take_up();
                assert_eq!(seen(&site.pipeline).await, read);
            }
            Act::Both => {
                let pipeline = Arc::clone(&site.pipeline);
                let next = if there { newest } else { read };
                let epochs = async {
                    for _ in 0..4 {
                        pipeline.static_tables().take_up();
                        let version = seen(&pipeline).await;
                        assert!([read, next].contains(&version), "{version} is neither {read} nor {next}");
                        sleep(Duration::from_millis(1)).await;
                    }
                };
                tokio::join!(site.refresher.round(all_due()), epochs);
                read = next;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    // However looks, epochs and changes of the file come, each epoch sees one version, the one that was read last before it.
    #[test]
    fn every_epoch_sees_the_version_that_was_read_last(acts in proptest::collection::vec(an_act(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(played(&acts));
    }
}
