//! A checkpoint that is damaged is computed again from an older one: what readers see is what was there, and what comes after is what would
//! have come.

use super::*;
use crate::checkpoint::{Section, damage_of};

/// Over the topic itself.
const OVER_TOPIC: [(&str, &str); 2] = [
    ("kept", "SELECT id, page, n, ts FROM clicks WHERE n > 0"),
    (
        "tens",
        "SELECT window_start, window_end, page, count(*) AS c, sum(n) AS s FROM TUMBLE(clicks, ts, INTERVAL '10 seconds') WHERE n > 0
         GROUP BY window_start, window_end, page",
    ),
];

/// Everything that has come, without a checkpoint.
async fn taken(site: &Site, query: &mut QueryLoop) {
    while query.driver.offsets[0].values().sum::<i64>() < site.rows.len() as i64 {
        turn(query, Duration::from_millis(60)).await;
    }
}

async fn checkpoints(site: &mut Site, query: &mut QueryLoop, number: usize) {
    for _ in 0..number {
        site.append(9);
        taken(site, query).await;
        checkpoint(query, false).await;
    }
}

async fn recomputed(site: &Site, name: &str) -> Result<Option<QueryLoop>> {
    let view = Arc::clone(site.catalog.views.get(name).expect(name));
    let plan = planned(view, Arc::clone(&site.catalog), PLANS).await?;
    let status = Arc::new(QueryStatus::new(name, "test.sql"));
    let deps = QueryDeps { state_store: state_store_id(&site.private).await?, ..site.deps(site.generation().await) };
    QueryLoop::open_recomputed(plan, deps, status).await
}

async fn flip(store: &Store, section: &Section) {
    let key = Path::from(section.object.as_str());
    let mut bytes = store.get(&key).await.expect("read").expect("it is there").to_vec();
    bytes[usize::try_from(section.offset + section.length / 2).expect("few")] ^= 1;
    store.put(&key, bytes.into()).await.expect("written");
}

/// Which sections of the newest checkpoint are damaged.
#[derive(Debug, Clone, Copy)]
enum Hit {
    NewestState,
    AllState,
    NewestTail,
    AllTail,
}

impl Hit {
    fn sections(self, head: &Manifest, name: &str) -> Vec<Section> {
        let state =
            || head.operators.iter().flat_map(|operator| &operator.segments).map(|segment| segment.section.clone());
        let tail = || head.outputs[name].tail.iter().map(|entry| entry.section.clone());
        let newest = |sections: Vec<Section>| -> Vec<Section> {
            let last = sections.iter().map(|section| section.object.clone()).max_by_key(|object| bundle_id(object));
            sections.into_iter().filter(|section| Some(&section.object) == last.as_ref()).collect()
        };
        match self {
            Hit::NewestState => newest(state().collect()),
            Hit::AllState => state().collect(),
            Hit::NewestTail => newest(tail().collect()),
            Hit::AllTail => tail().collect(),
        }
    }
}

/// Of the name of a bundle: the checkpoint that it was written for.
fn bundle_id(object: &str) -> u64 {
    object.rsplit('/').next().and_then(|name| name.split('-').nth(1)).and_then(|id| id.parse().ok()).expect("a bundle")
}

#[tokio::test]
async fn a_damaged_checkpoint_is_computed_again_and_its_rows_are_there_once() -> Result<()> {
    for (name, hit) in [
        ("tens", Hit::NewestState),
        ("tens", Hit::AllState),
        ("tens", Hit::NewestTail),
        ("tens", Hit::AllTail),
        ("kept", Hit::NewestTail),
        ("kept", Hit::AllTail),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &OVER_TOPIC);
        let mut query = site.open(name, site.generation().await).await?;
        checkpoints(&mut site, &mut query, 6).await;
        // Of a public file and of intents as well.
        checkpoint(&mut query, true).await;
        checkpoints(&mut site, &mut query, 3).await;
        let (before, counted) = (site.rows_of(name).await, query.accounting);
        drop(query);
        let head = Chain::peek(&site.private, name).await?.expect("a checkpoint");
        let sections = hit.sections(&head, name);
        assert!(!sections.is_empty(), "{name}, {hit:?}");
        for section in &sections {
            flip(&site.private, section).await;
        }

        let error = site.open(name, site.generation().await).await.expect_err("it is damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}, {hit:?}: {}", error.report());
        let query = recomputed(&site, name).await.unwrap_or_else(|error| panic!("{name}, {hit:?}: {}", error.report()));
        let mut query = query.expect("something is damaged");
        assert_eq!((site.rows_of(name).await, query.accounting), (before.clone(), counted), "{name}, {hit:?}");
        // The next checkpoint is whole, whatever this process remembers.
        checkpoint(&mut query, false).await;
        assert!(damage_of(&site.private, query.chain.head()).await?.is_empty(), "{name}, {hit:?}");
        drop(query);
        let mut query = site.open(name, site.generation().await).await?;
        assert_eq!(site.rows_of(name).await, before, "{name}, {hit:?}");

        site.append(20);
        close(&mut site);
        settled(std::slice::from_mut(&mut query)).await;
        let mut found = site.rows_of(name).await;
        found.retain(|row| !row.contains("1970-01-02"));
        assert_eq!(found, expected(&site.rows[..site.rows.len() - 2])[name], "{name}, {hit:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_computed_again_where_nothing_is_damaged() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &OVER_TOPIC);
    let mut query = site.open("tens", site.generation().await).await?;
    checkpoints(&mut site, &mut query, 2).await;
    drop(query);
    assert!(recomputed(&site, "tens").await?.is_none());
    Ok(())
}

// In one checkpoint the watermark has passed a row that came after it: read again in one go, the row would count.
#[tokio::test]
async fn a_state_that_comes_out_otherwise_is_not_gone_on_from() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &OVER_TOPIC);
    let mut query = site.open("tens", site.generation().await).await?;
    checkpoints(&mut site, &mut query, 2).await;
    for (id, second) in [(1_000, 200), (1_001, 200), (1_002, 100), (1_003, 300), (1_004, 300)] {
        site.append_row(Row { id, n: 1, second });
        taken(&site, &mut query).await;
    }
    checkpoint(&mut query, false).await;
    assert_eq!(query.accounting.late, 1);
    let head = query.chain.head().clone();
    drop(query);
    for section in Hit::NewestState.sections(&head, "tens") {
        flip(&site.private, &section).await;
    }
    let error = recomputed(&site, "tens").await.expect_err("it is another state");
    let report = error.report();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(report.contains("computed again it is another one") && report.contains("the manifest says"), "{report}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_computed_again_says_what_is_in_the_way() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &OVER_TOPIC);
    let mut query = site.open("kept", site.generation().await).await?;
    checkpoints(&mut site, &mut query, 6).await;
    query.chain.collect_garbage(2).await?;
    let head = query.chain.head().clone();
    drop(query);
    // A row of the tail whose own checkpoint is cleaned up, and with it where its input ends.
    flip(&site.private, &head.outputs["kept"].tail[0].section).await;
    let report = recomputed(&site, "kept").await.expect_err("too old").report();
    for said in ["its manifest is cleaned up", "rows of \"kept\" of checkpoints", "touchline state verify kept"] {
        assert!(report.contains(said), "{report}");
    }

    // A view that is read is not read a second time.
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::new(folder.path(), &VIEWS);
    let generation = site.generation().await;
    let mut queries = vec![site.open("kept", generation).await?, site.open("tens", generation).await?];
    site.append(40);
    settled(&mut queries).await;
    let head = queries[1].chain.head().clone();
    drop(queries);
    for section in Hit::AllState.sections(&head, "tens") {
        flip(&site.private, &section).await;
    }
    let report = recomputed(&site, "tens").await.expect_err("over a view").report();
    assert!(report.contains("view \"kept\" is not read a second time"), "{report}");
    Ok(())
}

// As many rows come back, and with other values than those that were shown and stand in the hot table.
#[tokio::test]
async fn what_may_come_out_with_other_values_is_not_computed_again() -> Result<()> {
    let files = tempfile::tempdir().expect("a folder");
    let pages = files.path().join("pages.csv");
    std::fs::write(&pages, "page,price\na,1\nb,2\nc,3\n").expect("written");
    let priced = format!(
        "SELECT k.id, p.price, k.ts FROM clicks k LEFT JOIN pages p ON p.page = k.page WHERE k.n > 0;
         CREATE TABLE pages (page VARCHAR, price BIGINT) WITH ('connector' = 'filesystem', 'path' = '{}', 'format' = 'csv')",
        pages.display()
    );
    for (name, query, why) in [
        ("drawn", "SELECT id, random() AS r, ts FROM clicks WHERE n > 0", "gives other values each time"),
        ("priced", priced.as_str(), "table \"pages\" is read beside the streams"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut site = Site::new(folder.path(), &[(name, query)]);
        let mut query = site.open(name, site.generation().await).await?;
        checkpoints(&mut site, &mut query, 4).await;
        let head = query.chain.head().clone();
        drop(query);
        for section in Hit::NewestTail.sections(&head, name) {
            flip(&site.private, &section).await;
        }
        // Read once, and another one at the next start.
        std::fs::write(&pages, "page,price\na,10\nb,20\nc,30\n").expect("written");
        let report = recomputed(&site, name).await.expect_err("other values").report();
        assert!(report.contains(why), "{report}");
    }
    Ok(())
}
