//! Chains of views by the loops that a server runs, over the embedded log and stores in memory: each of them is stopped, sealed and opened
//! anew at any point, and every row is in the answer once.

mod folders;
mod ledgers;
mod published;
mod recompute;
mod sealing;

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use uuid::Uuid;

mod hanging;

use super::*;
use crate::checkpoint::{Generation, Heartbeat, state_store_id};
use crate::pipeline::PlanSettings;
use crate::registry::{Catalog, catalog_of, planned};
use crate::sink::postgres::PostgresSettings;
use crate::source::embedded::{EmbeddedLog, EmbeddedSettings, NewRecord};
use crate::source::kafka::KafkaSettings;
use crate::source::reader::{ReaderLimits, SourceDeps};
use crate::sql::parse_file;
use crate::state::Budget;
use crate::tables::Published;
use crate::tables::snapshot::Snapshots;
use crate::tables::source::SnapshotReader;

const TABLES: &str = "
CREATE TABLE clicks (id BIGINT NOT NULL, page VARCHAR NOT NULL, n BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH ('connector' = 'kafka', 'topic' = 'clicks', 'format' = 'json');
";

/// Each reads those before it.
const VIEWS: [(&str, &str); 5] = [
    ("kept", "SELECT id, page, n, ts FROM clicks WHERE n > 0"),
    (
        "tens",
        "SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s FROM TUMBLE(kept, ts, INTERVAL '10 seconds')
         GROUP BY window_start, window_end, page",
    ),
    (
        "pages",
        "SELECT window_start, window_end, count(*) AS pages, sum(c) AS c, sum(s) AS s FROM tens GROUP BY window_start, window_end",
    ),
    (
        "minutes",
        "SELECT window_start, sum(c) AS c, sum(s) AS s, max(pages) AS pages
         FROM TUMBLE((SELECT window_end - INTERVAL '1 millisecond' AS at, c, s, pages FROM pages), at, INTERVAL '1 minute')
         GROUP BY window_start",
    ),
    (
        "followed",
        "SELECT t.page, t.window_end, t.c, k.id FROM tens t JOIN kept k
         ON k.page = t.page AND k.ts BETWEEN t.window_end AND t.window_end + INTERVAL '5 seconds'",
    ),
];

/// Where the log and the checkpoints are, as long as the test lives.
struct Site {
    log: Arc<EmbeddedLog>,
    private: Store,
    public: Store,
    published: Arc<Published>,
    clock: Clock,
    catalog: Arc<Catalog>,
    budget: Arc<Budget>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    id: i64,
    n: i64,
    second: i64,
}

impl Row {
    fn page(self) -> &'static str {
        ["a", "b", "c"][(self.id % 3) as usize]
    }
}

/// Rows that a reader takes at a time: few enough that a checkpoint of a view takes several batches.
const READER: ReaderLimits =
    ReaderLimits { batch_rows_max: 5, batch_bytes_max: 1 << 20, queue_batches: 2, decoders: 1 };

const PLANS: PlanSettings = PlanSettings { partitions: 1, wide_rows: 32_768 };

fn catalog(views: &[(&str, &str)], sources: &SourceDeps) -> Arc<Catalog> {
    let views = views.iter().map(|(name, query)| format!("CREATE MATERIALIZED VIEW {name} AS {query};\n"));
    let statements = parse_file("test.sql", &format!("{TABLES}{}", views.collect::<String>())).expect("it parses");
    let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(sources.clone()));
    let (catalog, errors) = catalog_of(&statements, &snapshots);
    assert!(errors.is_empty(), "{errors:?}");
    Arc::new(catalog)
}

impl Site {
    fn new(folder: &FilePath, views: &[(&str, &str)]) -> Self {
        // Behind all rows, so that none lies in the future.
        let clock = Clock::manual(10 * 86_400_000_000);
        let log = EmbeddedLog::open(folder, EmbeddedSettings::default(), clock.clone()).expect("a log");
        log.create_topic("clicks", 2).expect("a topic");
        let store = || Store::over(Arc::new(InMemory::new()), "memory://");
        let sources = SourceDeps {
            kafka: KafkaSettings::default(),
            embedded: None,
            postgres: PostgresSettings::default(),
            clock: clock.clone(),
        };
        let catalog = catalog(views, &sources);
        let (private, public) = (store(), store());
        let budget = Budget::new(usize::MAX, None);
        Site { log, private, public, published: Arc::default(), clock, catalog, budget, rows: vec![] }
    }

    /// The next rows, a second and a half apart, in turn for each partition.
    fn append(&mut self, rows: usize) {
        for _ in 0..rows {
            let id = self.rows.len() as i64;
            self.append_row(Row { id, n: id % 7 - 1, second: id * 3 / 2 });
        }
    }

    fn append_row(&mut self, row: Row) {
        self.rows.push(row);
        let Row { id, n, second } = row;
        let text = format!(r#"{{"id":{id},"page":"{}","n":{n},"ts":{}}}"#, row.page(), second * 1_000);
        let record = NewRecord { value: Some(text.as_bytes()), ..NewRecord::default() };
        self.log.append("clicks", (id % 2) as i32, &[record]).expect("appended");
    }

    async fn generation(&self) -> Generation {
        Generation::claim(&self.private).await.expect("a generation")
    }

    fn deps(&self, generation: Generation) -> QueryDeps {
        QueryDeps {
            private: self.private.clone(),
            public: self.public.clone(),
            generation,
            state_store: Uuid::nil(),
            heartbeat: Arc::new(Heartbeat::new(self.private.clone(), generation, self.clock.clone())),
            clock: self.clock.clone(),
            sources: SourceDeps {
                kafka: KafkaSettings::default(),
                embedded: Some(Arc::clone(&self.log)),
                postgres: PostgresSettings::default(),
                clock: self.clock.clone(),
            },
            shared: Arc::default(),
            reader_limits: READER,
            epoch_rows_max: 8,
            settings: LoopSettings {
                checkpoint_interval: Duration::from_secs(3_600),
                seal: SealLimits { rows_max: 12, bytes_max: u64::MAX, age_max: Duration::ZERO },
            },
            budget: Arc::clone(&self.budget),
            disk: None,
            postgres: None,
            published: Arc::clone(&self.published),
        }
    }

    async fn open(&self, name: &str, generation: Generation) -> Result<QueryLoop> {
        let view = Arc::clone(self.catalog.views.get(name).expect(name));
        let plan = planned(view, Arc::clone(&self.catalog), PLANS).await?;
        let status = Arc::new(QueryStatus::new(name, "test.sql"));
        self.published.put_query(Arc::clone(&status));
        let deps = QueryDeps { state_store: state_store_id(&self.private).await?, ..self.deps(generation) };
        let opened = QueryLoop::open(plan, deps, Arc::clone(&status)).await?;
        status.set(QueryState::Running, None);
        Ok(opened)
    }

    /// All rows of a view: those of public files and of the tail, sorted.
    async fn rows_of(&self, name: &str) -> Vec<String> {
        let snapshot = self.published.view(name).expect(name).pin();
        let mut batches = Vec::new();
        for file in snapshot.sealed.iter() {
            let bytes = self.public.get(&Path::from(file.path.as_str())).await.expect("read").expect("it is there");
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet");
            batches.extend(reader.map(|batch| batch.expect("rows")));
        }
        for part in snapshot.tail.iter() {
            batches.extend(part.rows.batches().map(|batch| batch.expect("rows")));
        }
        let mut rows: Vec<String> = batches.iter().flat_map(lines).collect();
        rows.sort();
        rows
    }
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("it is shown"));
    let columns: Vec<_> = columns.collect();
    let line = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",");
    (0..batch.num_rows()).map(line).collect()
}

fn shown(second: i64) -> String {
    chrono::DateTime::from_timestamp(second, 0).expect("a time").format("%Y-%m-%dT%H:%M:%S").to_string()
}

/// What each view has of these rows when all windows have closed, by name, computed as one would by hand.
fn expected(rows: &[Row]) -> BTreeMap<&'static str, Vec<String>> {
    let kept: Vec<Row> = rows.iter().copied().filter(|row| row.n > 0).collect();
    let mut tens: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for row in &kept {
        let of = tens.entry((row.second / 10 * 10, row.page())).or_default();
        *of = (of.0 + 1, of.1 + row.n);
    }
    let mut pages: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
    for ((start, _), (c, s)) in &tens {
        let of = pages.entry(*start).or_default();
        *of = (of.0 + 1, of.1 + c, of.2 + s);
    }
    let mut minutes: BTreeMap<i64, (i64, i64, i64)> = BTreeMap::new();
    for (start, (count, c, s)) in &pages {
        let of = minutes.entry(start / 60 * 60).or_default();
        *of = (of.0 + c, of.1 + s, of.2.max(*count));
    }
    let followed = tens.iter().flat_map(|((start, page), (c, _))| {
        let end = start + 10;
        let near = kept.iter().filter(move |row| row.page() == *page && (end..=end + 5).contains(&row.second));
        near.map(move |row| format!("{page},{},{c},{}", shown(end), row.id))
    });
    let mut all = BTreeMap::from([
        (
            "kept",
            kept.iter()
                .map(|row| format!("{},{},{},{}", row.id, row.page(), row.n, shown(row.second)))
                .collect::<Vec<_>>(),
        ),
        (
            "tens",
            tens.iter()
                .map(|((start, page), (c, s))| format!("{},{},{page},{c},{s}", shown(*start), shown(start + 10)))
                .collect(),
        ),
        (
            "pages",
            pages
                .iter()
                .map(|(start, (pages, c, s))| format!("{},{},{pages},{c},{s}", shown(*start), shown(start + 10)))
                .collect(),
        ),
        (
            "minutes",
            minutes.iter().map(|(start, (c, s, pages))| format!("{},{c},{s},{pages}", shown(*start))).collect(),
        ),
        ("followed", followed.collect()),
    ]);
    all.values_mut().for_each(|rows| rows.sort());
    all
}

/// The same numbers for the same seed (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % most as u64) as usize
    }
}

/// One turn, which waits for rows no longer than this.
async fn turn(query: &mut QueryLoop, wait: Duration) -> bool {
    match query.driver.turn(wait).await.unwrap_or_else(|error| panic!("{}", error.report())) {
        Turn::Epoch(result) => {
            query.take(result).unwrap();
            true
        }
        Turn::Quiet | Turn::Finished => false,
    }
}

async fn checkpoint(query: &mut QueryLoop, seals: bool) {
    if !query.driver.is_whole() {
        return;
    }
    if seals {
        query.plan_seals();
    }
    query.checkpoint().await.unwrap_or_else(|error| panic!("{}", error.report()));
    if seals {
        query.write_seals().await.unwrap_or_else(|error| panic!("{}", error.report()));
        query.finish_seals(Duration::from_secs(60)).await.unwrap_or_else(|error| panic!("{}", error.report()));
    }
}

/// Until nothing comes any more and all of it is committed.
async fn settled(queries: &mut [QueryLoop]) {
    for query in queries {
        let mut quiet = 0;
        while quiet < 3 {
            match turn(query, Duration::from_millis(60)).await {
                true => quiet = 0,
                false => quiet += 1,
            }
        }
        assert!(query.driver.is_whole(), "{query:?}");
        checkpoint(query, true).await;
    }
}

async fn compared(site: &Site, queries: &mut [QueryLoop], seed: u64) {
    settled(queries).await;
    for (name, wanted) in expected(&site.rows[..site.rows.len() - 2]) {
        let mut found = site.rows_of(name).await;
        // The rows that close all windows.
        found.retain(|row| !row.contains("1970-01-02"));
        assert_eq!(found, wanted, "{name}, seed {seed}");
    }
}

/// One row far behind all others in each partition: all windows close.
fn close(site: &mut Site) {
    for id in [1_000_000, 1_000_001] {
        site.append_row(Row { id, n: 1, second: 86_400 });
    }
}

#[tokio::test]
async fn every_row_goes_once_through_a_chain_that_is_stopped_and_sealed_at_any_point() -> Result<()> {
    for seed in 0..5 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &VIEWS);
        let mut seeded = Seeded(seed);
        let mut generation = site.generation().await;
        let mut queries = Vec::new();
        for (name, _) in VIEWS {
            queries.push(site.open(name, generation).await?);
        }
        for _ in 0..90 {
            let at = seeded.below(queries.len());
            match seeded.below(20) {
                0..=2 => site.append(seeded.below(12)),
                3..=11 => _ = turn(&mut queries[at], Duration::from_millis(2)).await,
                12..=17 => checkpoint(&mut queries[at], seeded.below(2) == 0).await,
                // One of them is killed, and begins again where its last checkpoint stands.
                18 => {
                    let name = VIEWS[at].0;
                    drop(queries.remove(at));
                    queries.insert(at, site.open(name, generation).await?);
                }
                // All are, and come back in any order.
                _ => {
                    queries.clear();
                    generation = site.generation().await;
                    site.published = Arc::default();
                    let mut opened: Vec<(usize, QueryLoop)> = Vec::new();
                    let first = seeded.below(VIEWS.len());
                    for step in 0..VIEWS.len() {
                        let at = (first + 3 * step) % VIEWS.len();
                        opened.push((at, site.open(VIEWS[at].0, generation).await?));
                    }
                    opened.sort_by_key(|(at, _)| *at);
                    queries.extend(opened.into_iter().map(|(_, query)| query));
                }
            }
        }
        site.append(20);
        close(&mut site);
        compared(&site, &mut queries, seed).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_view_that_comes_later_begins_with_all_that_there_is() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let generation = site.generation().await;
    let mut queries = vec![site.open("kept", generation).await?];
    // Sealed several times, and a tail.
    for _ in 0..9 {
        site.append(16);
        settled(&mut queries).await;
    }
    let shown = site.published.view("kept").expect("it runs").pin();
    assert!(shown.sealed.len() > 2, "{:?}", shown.sealed);
    assert!(shown.sealed.iter().all(|file| file.checkpoints.is_some()));
    for (name, _) in &VIEWS[1..] {
        queries.push(site.open(name, generation).await?);
    }
    close(&mut site);
    compared(&site, &mut queries, 0).await;
    for query in &queries {
        assert_eq!(query.accounting.late + query.accounting.late_partly, 0, "{query:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_taken_in_part_is_not_made_durable() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let generation = site.generation().await;
    let mut kept = vec![site.open("kept", generation).await?];
    site.append(40);
    // One checkpoint of many rows: more than a reader brings at a time, and an epoch takes.
    settled(&mut kept).await;
    let mut tens = site.open("tens", generation).await?;
    let mut seen = false;
    for _ in 0..200 {
        turn(&mut tens, Duration::from_millis(20)).await;
        seen |= !tens.driver.is_whole();
        if seen && tens.driver.is_whole() {
            break;
        }
        assert!(tens.driver.is_whole() || tens.wait() == TURN_WAIT, "it does not spin");
    }
    assert!(seen && tens.driver.is_whole());
    // Stopped in the middle, it takes the rest first.
    let mut again = site.open("tens", site.generation().await).await?;
    while again.driver.is_whole() {
        turn(&mut again, Duration::from_millis(20)).await;
    }
    let (stop, stopped) = watch::channel(true);
    again.run(stopped).await?;
    drop(stop);
    let head = Chain::peek(&site.private, "tens").await?.expect("a checkpoint");
    let next = head.sources["kept"].offsets[&0].next;
    let read = site.published.view("kept").expect("it runs").pin().tail.last().expect("its rows").checkpoint;
    assert!(next > i64::try_from(read).expect("few"), "{next} of {read}");
    Ok(())
}

#[tokio::test]
async fn a_view_is_shown_when_it_has_been_restored_and_not_before() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let generation = site.generation().await;
    let mut kept = vec![site.open("kept", generation).await?];
    site.append(10);
    settled(&mut kept).await;
    let before = site.rows_of("kept").await;
    assert!(!before.is_empty());
    // Whoever follows it sees all of it whenever it looks: here at each change.
    let mut changes = site.published.views_changed();
    let published = Arc::clone(&site.published);
    let (done, mut ended) = watch::channel(false);
    let watching = tokio::spawn(async move {
        let mut least = u64::MAX;
        loop {
            let snapshot = published.view("kept").expect("it never goes").pin();
            let sealed: u64 = snapshot.sealed.iter().map(|file| file.rows).sum();
            least = least.min(sealed + snapshot.tail.iter().map(|part| part.rows.num_rows() as u64).sum::<u64>());
            tokio::select! {
                _ = changes.changed() => {}
                _ = ended.changed() => return least,
            }
        }
    });
    for _ in 0..3 {
        kept.clear();
        kept.push(site.open("kept", site.generation().await).await?);
        tokio::task::yield_now().await;
    }
    done.send_replace(true);
    assert_eq!(watching.await.expect("it has watched"), before.len() as u64);
    assert_eq!(site.rows_of("kept").await, before);
    Ok(())
}

#[tokio::test]
async fn a_tail_that_cannot_be_restored_is_never_shown_as_no_rows() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let mut kept = site.open("kept", site.generation().await).await?;
    site.append(10);
    let mut taken = false;
    loop {
        match turn(&mut kept, Duration::from_millis(60)).await {
            true => taken = true,
            false if taken => break,
            false => {}
        }
    }
    checkpoint(&mut kept, false).await;
    let before = site.rows_of("kept").await;
    assert!(!before.is_empty());
    drop(kept);
    for key in site.private.list(&Path::from("q/kept/bundle")).await? {
        site.private.delete(&key).await?;
    }
    // Those who read it while it is opened anew keep what they had.
    assert!(site.open("kept", site.generation().await).await.is_err());
    assert_eq!(site.rows_of("kept").await, before);
    // A server that starts has nothing of it to show.
    site.published = Arc::default();
    assert!(site.open("kept", site.generation().await).await.is_err());
    assert!(site.published.view("kept").is_none());
    Ok(())
}

#[tokio::test]
async fn a_changed_view_gives_those_above_it_chains_of_their_own_and_the_way_back() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let changed: Vec<(&str, &str)> = VIEWS
        .iter()
        .map(|(name, query)| {
            (*name, if *name == "kept" { "SELECT id, page, n, ts FROM clicks WHERE n > 3" } else { *query })
        })
        .collect();
    let mut site = Site::new(folder.path(), &VIEWS);
    let own = Arc::clone(&site.catalog);
    let sources = SourceDeps {
        kafka: KafkaSettings::default(),
        embedded: None,
        postgres: PostgresSettings::default(),
        clock: site.clock.clone(),
    };
    let other = catalog(&changed, &sources);
    site.append(60);
    let mut heads = Vec::new();
    for version in [&own, &other, &own] {
        site.catalog = Arc::clone(version);
        let generation = site.generation().await;
        let mut queries = vec![site.open("kept", generation).await?, site.open("tens", generation).await?];
        settled(&mut queries).await;
        settled(&mut queries).await;
        let head = queries[1].chain.head();
        heads.push((head.query.clone(), head.sources["kept"].offsets[&0].next, site.rows_of("tens").await));
    }
    assert_eq!(heads[0].0, "tens");
    assert!(heads[1].0.starts_with("tens-"), "{}", heads[1].0);
    assert!(heads[1].2.len() < heads[0].2.len() && !heads[1].2.is_empty());
    // Back, it goes on: nothing is read again.
    assert_eq!((&heads[2].0, &heads[2].2), (&heads[0].0, &heads[0].2));
    assert!(heads[2].1 > heads[0].1);
    Ok(())
}

// Each of them stays open until its time has come, in a year or so.
#[tokio::test]
async fn windows_of_the_far_future_keep_few_bundles_and_a_small_manifest() -> Result<()> {
    const WINDOWS: usize = 150;
    let folder = tempfile::tempdir().expect("a folder");
    let view = (
        "far",
        "SELECT window_start, count(*) AS c FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') GROUP BY window_start",
    );
    let mut site = Site::new(folder.path(), &[view]);
    let mut query = site.open("far", site.generation().await).await?;
    for id in 0..WINDOWS as i64 {
        site.append_row(Row { id, n: 1, second: 30_000_000 + 10 * id });
        while query.accounting.rows_in <= id as u64 {
            turn(&mut query, Duration::from_secs(5)).await;
        }
        checkpoint(&mut query, false).await;
    }
    let state = &query.chain.head().operators[0];
    let bundles: std::collections::BTreeSet<&str> =
        state.segments.iter().map(|segment| segment.section.object.as_str()).collect();
    assert_eq!(state.segments.len(), WINDOWS);
    assert!(bundles.len() <= 65, "{} bundles", bundles.len());
    // A pane is a name, two numbers and a hash, and there can be a thousand of them.
    let bytes = serde_json::to_vec(state).expect("JSON").len();
    assert!(bytes < 320 * WINDOWS, "{} bytes a window", bytes / WINDOWS);
    drop(query);
    let query = site.open("far", site.generation().await).await?;
    assert_eq!(query.driver.pipeline.open_panes(), WINDOWS);
    Ok(())
}
