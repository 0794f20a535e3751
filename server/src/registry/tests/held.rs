//! Which version of a view runs, over a store in memory.

use object_store::memory::InMemory;

use super::super::held::{Judged, judge};
use super::*;
use crate::checkpoint::{Answer, Chain, Generation, answer, keep_definition, keep_definition_files};
use crate::clock::Clock;
use crate::store::Store;

const SETTINGS: PlanSettings = PlanSettings { partitions: 1, wide_rows: usize::MAX };

const TABLE: &str = "CREATE TABLE t (a VARCHAR, b BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
    WITH ('connector' = 'kafka', 'topic' = 't');";
const DOUBLE: &str = "CREATE FUNCTION f(n BIGINT) RETURNS BIGINT RETURN n + n;";
const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT a, f(b) AS b, ts FROM t;";
const ABOVE: &str = "CREATE MATERIALIZED VIEW w AS SELECT a, ts FROM v;";

fn nothing() -> Arc<dyn SnapshotReader> {
    Arc::new(Nothing)
}

/// Each text in a file of its own.
fn catalog(texts: &[(&str, &str)]) -> Arc<Catalog> {
    let parsed = texts.iter().flat_map(|(name, text)| parse_file(name, text).expect(text));
    let (mut catalog, errors) = catalog_of(&parsed.collect::<Vec<_>>(), &nothing());
    assert!(errors.is_empty(), "{errors:?}");
    catalog.texts = Arc::new(texts.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(*text))).collect());
    Arc::new(catalog)
}

fn definitions(function: &str, view: &str) -> Arc<Catalog> {
    catalog(&[("t.sql", TABLE), ("f.sql", function), ("v.sql", view), ("w.sql", ABOVE)])
}

async fn plan_of(catalog: &Arc<Catalog>, view: &str) -> QueryPlan {
    planned(Arc::clone(&catalog.views[view]), Arc::clone(catalog), SETTINGS).await.expect("it plans")
}

/// Runs it, as far as its checkpoints say.
async fn run(private: &Store, plan: &QueryPlan) {
    let by = Generation::claim(private).await.expect("a generation");
    let clock = Clock::manual(0);
    let name = crate::checkpoint::chain_of(private, &plan.view.name, &plan.version).await.expect("a name");
    Chain::open(private, &name, by, plan.version.clone(), &clock).await.expect("its chain");
    keep_definition(private, &name, &plan.version.name, &plan.meaning).await.expect("kept");
    keep_definition_files(private, &name, &plan.version.name, &plan.files).await.expect("kept");
}

async fn judged(private: &Store, catalog: &Arc<Catalog>, view: &str) -> Judged {
    judge(plan_of(catalog, view).await, catalog, OnChange::Ask, private, &nothing(), SETTINGS).await.expect("judged")
}

#[tokio::test]
async fn the_version_before_runs_from_the_files_that_it_was_defined_in() {
    let private = Store::over(Arc::new(InMemory::new()), "memory://");
    let first = definitions(DOUBLE, VIEW);
    let was = plan_of(&first, "v").await;
    let names: Vec<&str> = was.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["f.sql", "t.sql", "v.sql"]);
    let Judged::Runs { held: None, .. } = judged(&private, &first, "v").await else { panic!("it has never run") };
    run(&private, &was).await;
    let Judged::Runs { held: None, .. } = judged(&private, &first, "v").await else { panic!("it is the same") };

    // Not by its own text, but by a function that it calls.
    let changed = definitions("CREATE FUNCTION f(n BIGINT) RETURNS BIGINT RETURN n * 3;", VIEW);
    let is = plan_of(&changed, "v").await;
    assert_ne!(is.version, was.version);
    let Judged::Runs { plan, held: Some(question), .. } = judged(&private, &changed, "v").await else {
        panic!("it is asked")
    };
    assert_eq!(plan.version, was.version);
    assert_eq!(plan.files, was.files, "so that it can run on after another start as well");
    assert_eq!((question.version, question.answer), (is.version.name.clone(), None));
    assert!(question.verdict.iter().any(|line| line.contains("computed anew from the oldest record that t still has")));

    answer(&private, "v", Answer::Keep).await.expect("answered");
    let Judged::Runs { plan, held: Some(question), .. } = judged(&private, &changed, "v").await else {
        panic!("it is kept")
    };
    assert_eq!((plan.version, question.answer), (was.version.clone(), Some(Answer::Keep)));
    answer(&private, "v", Answer::NewVersion).await.expect("answered");
    let Judged::Runs { plan, held: None, .. } = judged(&private, &changed, "v").await else { panic!("answered") };
    assert_eq!(plan.version, is.version);
    run(&private, &is).await;

    // Going back is asked as well, and says that nothing is lost by it. The answer to the other question is none to this.
    let Judged::Runs { plan, held: Some(question), .. } = judged(&private, &first, "v").await else {
        panic!("it is asked")
    };
    assert_eq!((plan.version, question.answer), (is.version, None));
    assert!(question.verdict.iter().any(|line| line.starts_with("all state: kept")), "{question:?}");
}

#[tokio::test]
async fn a_view_above_follows_and_one_whose_files_are_not_kept_waits() {
    let private = Store::over(Arc::new(InMemory::new()), "memory://");
    let first = definitions(DOUBLE, VIEW);
    run(&private, &plan_of(&first, "w").await).await;
    let changed = definitions(DOUBLE, "CREATE MATERIALIZED VIEW v AS SELECT a, b, ts FROM t;");
    let above = plan_of(&changed, "w").await.version;
    assert_ne!(above, plan_of(&first, "w").await.version);
    let Judged::Runs { plan, held: None, .. } = judged(&private, &changed, "w").await else { panic!("it follows") };
    assert_eq!(plan.version, above);

    let older = QueryPlan { files: vec![], ..plan_of(&first, "v").await };
    let by = Generation::claim(&private).await.expect("a generation");
    Chain::open(&private, "v", by, older.version.clone(), &Clock::manual(0)).await.expect("its chain");
    let Judged::Waits { reason, .. } = judged(&private, &changed, "v").await else { panic!("it waits") };
    assert!(reason.contains("an older server ran it"), "{reason}");
    answer(&private, "v", Answer::NewVersion).await.expect("answered");
    let Judged::Runs { held: None, .. } = judged(&private, &changed, "v").await else { panic!("answered") };
}

#[tokio::test]
async fn an_answer_is_used_up_once_the_new_version_has_run() {
    let private = Store::over(Arc::new(InMemory::new()), "memory://");
    let first = definitions(DOUBLE, VIEW);
    let changed = definitions("CREATE FUNCTION f(n BIGINT) RETURNS BIGINT RETURN n * 3;", VIEW);
    let (was, is) = (plan_of(&first, "v").await, plan_of(&changed, "v").await);
    run(&private, &was).await;
    let Judged::Runs { held: Some(_), .. } = judged(&private, &changed, "v").await else { panic!("it is asked") };
    answer(&private, "v", Answer::NewVersion).await.expect("answered");
    run(&private, &is).await;
    // Back, and nobody has looked at the question meanwhile, as under 'new-version'.
    run(&private, &was).await;
    let Judged::Runs { plan, held: Some(question), .. } = judged(&private, &changed, "v").await else {
        panic!("it is asked again")
    };
    assert_eq!((plan.version, question.answer), (was.version, None));
}

/// Of a query that does not run there is nothing but its status.
#[tokio::test]
async fn a_view_that_waits_is_shown_as_long_as_it_is_defined_and_its_damaged_question_is_asked_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut registry = super::stopping::registry(folder.path()).await.on_change(OnChange::Ask);
    std::fs::write(folder.path().join("t.sql"), TABLE).expect("written");
    std::fs::write(folder.path().join("v.sql"), "CREATE MATERIALIZED VIEW v AS SELECT a, ts FROM t;").expect("written");
    let (private, by) = (registry.deps.private.clone(), registry.deps.generation);
    Chain::open(&private, "v", by, "another", &Clock::manual(0)).await.expect("its chain");
    registry.apply().await.expect("read");
    let state = |registry: &Registry| registry.deps.published.query("v").map(|query| query.get().0);
    assert_eq!(state(&registry), Some(QueryState::Blocked));
    assert!(!registry.has_news().await.expect("the store answers"));

    private.put(&object_store::path::Path::from("q/v/change.json"), "{".into()).await.expect("damaged");
    assert!(registry.has_news().await.expect("it is news that nothing can be read"));
    registry.apply().await.expect("read");
    assert!(!registry.has_news().await.expect("asked anew"));
    assert_eq!(state(&registry), Some(QueryState::Blocked));

    std::fs::remove_file(folder.path().join("v.sql")).expect("removed");
    registry.apply().await.expect("read");
    assert_eq!(state(&registry), None);
}
