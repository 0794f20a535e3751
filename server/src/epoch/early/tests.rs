use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use object_store::memory::InMemory;

use super::super::backlog;
use super::super::outputs::Output;
use super::*;
use crate::changelog::Changes;
use crate::changelog::early::IS_FINAL;
use crate::checkpoint::{Chain, Generation, Manifest, OutputChanges};
use crate::clock::Clock;
use crate::tables::PublishedView;

fn form() -> Arc<EarlyForm> {
    let fields = vec![
        Field::new("key", DataType::Int64, false),
        Field::new("n", DataType::Int64, false),
        Field::new(IS_FINAL, DataType::Boolean, false),
    ];
    Arc::new(EarlyForm::new(&Arc::new(Schema::new(fields)), vec![0]))
}

fn rows(form: &EarlyForm, rows: &[(i64, i64)]) -> RecordBatch {
    let column = |of: fn(&(i64, i64)) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let is_final: ArrayRef = Arc::new(BooleanArray::from(vec![true; rows.len()]));
    let columns = vec![column(|row| row.0), column(|row| row.1), is_final];
    RecordBatch::try_new(Arc::clone(form.view()), columns).unwrap()
}

/// An output of such rows with its chain.
struct Place {
    form: Arc<EarlyForm>,
    private: Store,
    chain: Chain,
    output: Output,
    view: Arc<PublishedView>,
}

impl Place {
    async fn new(private: Store) -> Self {
        let form = form();
        let generation = Generation::claim(&private).await.unwrap();
        let chain = Chain::open(&private, "v", generation, "f1", &Clock::manual(7)).await.unwrap().chain;
        let view = Arc::new(PublishedView::new("v", Arc::clone(form.view())));
        let output = Output::new("v".to_owned(), None, &Changes::Upsert(vec![0]), Arc::clone(&view));
        let mut output = output.with_early(&form, &Account::unlimited());
        output.restore(&private, chain.head(), &Account::unlimited(), None).await.unwrap();
        output.publish(chain.head());
        Place { form, private, chain, output, view }
    }

    fn shows(&mut self, early: &[(i64, i64)], until: Micros, through: Micros) {
        let batch = self.form.shown(&rows(&self.form, early), until).unwrap();
        self.output.add_early(vec![batch].into(), through).unwrap();
    }

    fn goes(&mut self, keys: &[i64], until: Micros, through: Micros) {
        let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
        self.output.add_early(vec![self.form.gone(&[keys], until).unwrap()].into(), through).unwrap();
    }

    /// What the loop does at a checkpoint, in its order. Returns the size of the bundle.
    async fn checkpoint(&mut self) -> u64 {
        let mut draft = self.chain.draft(7);
        let mut bundle = self.chain.bundle(&draft, None);
        self.output.put_hot_together(&self.private, &mut draft, &mut bundle).await.unwrap();
        self.output.stage(&mut draft, &mut bundle, Some(86_400_000_000)).unwrap();
        let size = bundle.len();
        self.chain.put_bundle(bundle).await.unwrap();
        self.chain.commit(draft).await.unwrap();
        self.output.committed(self.chain.head());
        self.output.publish(self.chain.head());
        size
    }

    /// Keys and values that a reader sees of what is open.
    fn seen(&self) -> Vec<(i64, i64)> {
        let early = self.view.pin().early.clone().unwrap();
        let batches: Vec<RecordBatch> = early.rows.iter().flat_map(Rows::batches).map(Result::unwrap).collect();
        let newest = early.form.newest(&batches, |row| !row.gone && row.is_open(early.final_through)).unwrap();
        let mut seen = Vec::new();
        for batch in newest.iter().map(|batch| early.form.in_view(batch).unwrap()) {
            let column = |at: usize| batch.column(at).as_primitive::<Int64Type>().values().to_vec();
            seen.extend(column(0).into_iter().zip(column(1)));
        }
        seen.sort_unstable();
        seen
    }

    fn sections(&self) -> Vec<u64> {
        let state = super::super::output_state(self.chain.head(), "v").unwrap();
        state.early.as_ref().unwrap().sections.iter().map(|section| section.section.rows).collect()
    }

    /// Keys in the order in which the hot table gets them, those that are gone with a minus.
    async fn waits(&self) -> Vec<(u64, Vec<i64>)> {
        let (mut applied, mut found) = (0, Vec::new());
        while let Some((to, batches)) =
            backlog::next_batch(&self.private, self.output.waiting(), applied).await.unwrap()
        {
            applied = to;
            let mut keys = Vec::new();
            for batch in &batches {
                assert_eq!(batch.schema_ref().fields(), self.form.schema().fields());
                let of_batch = batch.column(0).as_primitive::<Int64Type>().values().iter();
                let told =
                    of_batch.zip(self.form.rows(batch).unwrap()).map(|(key, row)| if row.gone { -key } else { *key });
                keys.extend(told);
            }
            found.push((to, keys));
        }
        found
    }
}

fn memory() -> Store {
    Store::over(Arc::new(InMemory::new()), "memory://")
}

#[tokio::test]
async fn a_reader_sees_the_newest_row_of_each_open_key_at_one_checkpoint() {
    let mut place = Place::new(memory()).await;
    assert_eq!(place.seen(), []);
    place.shows(&[(1, 10), (2, 20)], 100, NONE);
    place.shows(&[(1, 11), (3, 30)], 200, NONE);
    assert_eq!(place.seen(), [], "nothing of it is committed");
    place.checkpoint().await;
    assert_eq!(place.seen(), [(1, 11), (2, 20), (3, 30)]);
    place.goes(&[3, 9], 200, NONE);
    place.checkpoint().await;
    assert_eq!(place.seen(), [(1, 11), (2, 20)]);
    place.shows(&[(3, 31)], 200, 100);
    place.checkpoint().await;
    // What is final is in other rows.
    assert_eq!(place.seen(), [(1, 11), (3, 31)]);
    // Also where no early row comes with it.
    place.output.add_early(Rows::default(), 200).unwrap();
    place.checkpoint().await;
    assert_eq!((place.seen(), place.sections()), (vec![], vec![]));
}

#[tokio::test]
async fn the_next_server_shows_what_the_last_one_did_and_goes_on() {
    let private = memory();
    let mut place = Place::new(private.clone()).await;
    for key in 0..20 {
        place.shows(&[(key, key), (100, key)], 100 + key, 100);
        place.checkpoint().await;
    }
    place.goes(&[7], 107, 100);
    place.checkpoint().await;
    let mut expected: Vec<(i64, i64)> = (1..20).filter(|key| *key != 7).map(|key| (key, key)).collect();
    expected.push((100, 19));
    assert_eq!(place.seen(), expected);
    let mut next = Place::new(private).await;
    assert_eq!(next.seen(), expected);
    next.shows(&[(7, 70)], 107, 105);
    next.checkpoint().await;
    expected.retain(|(key, _)| *key > 5);
    expected.push((7, 70));
    expected.sort_unstable();
    assert_eq!(next.seen(), expected);
}

#[tokio::test]
async fn sections_are_few_and_not_much_more_than_what_is_open() {
    const KEYS: i64 = 1_000;
    let mut place = Place::new(memory()).await;
    let (mut most, mut largest) = (0_usize, 0_u64);
    for at in 0..KEYS {
        let touched: Vec<(i64, i64)> = (0..10).map(|nth| ((at * 37 + nth * 101) % KEYS, at)).collect();
        place.shows(&touched, 10_000, NONE);
        place.checkpoint().await;
        let sections = place.sections();
        most = most.max(sections.len());
        largest = largest.max(sections.iter().sum::<u64>());
    }
    assert_eq!(place.seen().len(), KEYS as usize);
    assert!(most <= 9, "{most} sections");
    assert!(largest <= 2 * KEYS as u64, "{largest} rows of {KEYS} keys");
}

#[tokio::test]
async fn a_section_of_which_most_is_final_is_written_anew() {
    let mut place = Place::new(memory()).await;
    let many: Vec<(i64, i64)> = (0..100).map(|key| (key, 1)).collect();
    place.shows(&many, 100, NONE);
    place.shows(&[(500, 1)], 900, NONE);
    place.checkpoint().await;
    assert_eq!(place.sections(), [101]);
    let large = {
        place.shows(&[(501, 1)], 900, 99);
        place.checkpoint().await
    };
    assert_eq!(place.sections(), [101, 1]);
    place.shows(&[(502, 1)], 900, 100);
    let small = place.checkpoint().await;
    assert_eq!((place.sections(), place.seen()), (vec![3], vec![(500, 1), (501, 1), (502, 1)]));
    assert!(large > 0 && small > 0);
    // Where nothing has changed nothing is written.
    place.output.add_early(Rows::default(), 100).unwrap();
    assert_eq!(place.checkpoint().await, 0);
    assert_eq!(place.sections(), [3]);
}

#[tokio::test]
async fn many_epochs_of_one_checkpoint_are_netted_on_the_way() {
    let mut place = Place::new(memory()).await;
    for at in 0..100 {
        place.shows(&[(1, at), (2, at)], 100, NONE);
    }
    place.checkpoint().await;
    assert_eq!((place.sections(), place.seen()), (vec![2], vec![(1, 99), (2, 99)]));
}

#[tokio::test]
async fn the_hot_table_gets_each_change_once_the_final_row_last() {
    let mut place = Place::new(memory()).await;
    place.shows(&[(1, 1), (2, 1)], 100, NONE);
    place.shows(&[(1, 2)], 100, NONE);
    place.checkpoint().await;
    // Of a window that closes, what has gone goes, and what is final is written.
    place.shows(&[(2, 2), (3, 1)], 100, NONE);
    place.goes(&[1], 100, 100);
    place.output.add(vec![rows(&place.form, &[(2, 2), (3, 1)])].into());
    place.checkpoint().await;
    // And final rows alone.
    place.output.add(vec![rows(&place.form, &[(4, 1)])].into());
    place.output.add_early(Rows::default(), 200).unwrap();
    place.checkpoint().await;
    place.checkpoint().await;
    let waits = place.waits().await;
    let [(_, keys)] = waits.as_slice() else { panic!("{waits:?}") };
    assert_eq!(keys, &[2, 1, -1, 2, 3, 4], "in order of their checkpoints");
    let state = super::super::output_state(place.chain.head(), "v").unwrap();
    assert_eq!(state.changes, OutputChanges::Upsert(vec!["key".to_owned()]));
    // The tail has final rows alone.
    assert_eq!(state.tail.iter().map(|entry| entry.section.rows).collect::<Vec<_>>(), [2, 1]);
    // Put together into runs they are the same, whoever reads them.
    for at in 0..70 {
        place.shows(&[(100 + at, 1)], 500, 200);
        place.checkpoint().await;
    }
    let state: &Manifest = place.chain.head();
    assert!(!state.outputs["v"].hot_runs.is_empty());
    let next = Place::new(place.private.clone()).await;
    let keys: Vec<i64> = next.waits().await.into_iter().flat_map(|(_, keys)| keys).collect();
    assert_eq!(keys, [2, 1, -1, 2, 3, 4].into_iter().chain(100..170).collect::<Vec<_>>());
}
