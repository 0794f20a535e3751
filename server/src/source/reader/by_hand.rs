//! A reader whose source is the test.

use super::*;

/// The other end of a [`Reader`].
pub(crate) struct Hand {
    sender: mpsc::Sender<Result<SourceBatch>>,
    answers: Arc<Mutex<Answers>>,
}

/// A reader that gives what the hand puts in, up to `room` batches at a time.
pub(crate) fn reader(table: &str, room: usize) -> (Reader, Hand) {
    let (sender, batches) = mpsc::channel(room);
    let answers = Arc::new(Mutex::new(Answers::default()));
    let reader = Reader::of_task(batches, Arc::clone(&answers), table.to_owned());
    (reader, Hand { sender, answers })
}

impl Hand {
    pub(crate) fn put(&self, batch: SourceBatch) {
        self.sender.try_send(Ok(batch)).expect("room");
    }

    /// Every partition answers at `now` and ends there.
    pub(crate) fn answer(&self, ends: &[Offset], now: Micros) {
        let ends: Offsets = (0..).zip(ends.iter().copied()).collect();
        let polled = Polled { answered: ends.keys().copied().collect(), ends, ..Polled::default() };
        self.answers.lock().note(&polled, now);
    }

    /// Nothing answers, or all is well again.
    pub(crate) fn trouble(&self, trouble: Option<&str>) {
        self.answers.lock().set_trouble(trouble.map(str::to_owned));
    }
}
