//! Asks brokers where partitions end, on a thread of its own: an answer waits behind the fetch that the broker holds back, and records
//! must not wait with it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::events::Events;
use crate::error::{Error, Result};
use crate::source::{Offset, Partition};

/// The end of each partition that was asked; `None` where its broker says something else. An error: there was no answer.
pub(super) type Answer = std::result::Result<Vec<(Partition, Option<Offset>)>, KafkaError>;

/// One question at a time is under way. Dropping it ends the thread once that is answered or given up.
#[derive(Debug)]
pub(super) struct Ends {
    questions: Sender<Vec<Partition>>,
    answers: Receiver<(Vec<Partition>, Answer)>,
    /// The partitions that have been asked for.
    under_way: Option<Vec<Partition>>,
}

impl Ends {
    /// `patience`: how long an answer may take; more than a broker holds a fetch back.
    ///
    /// # Errors
    /// `Unavailable` where no thread can be started.
    pub(super) fn new(consumer: Arc<BaseConsumer<Events>>, topic: String, patience: Duration) -> Result<Self> {
        let (questions, mut asked) = channel::<Vec<Partition>>(1);
        let (answer, answers) = channel(1);
        let work = move || {
            while let Some(partitions) = asked.blocking_recv() {
                let found = ask(&consumer, &topic, &partitions, patience);
                if answer.blocking_send((partitions, found)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("kafka-ends".to_owned()).spawn(work).map_err(|error| {
            Error::unavailable("cannot start a thread that asks where partitions end").caused_by(error)
        })?;
        Ok(Ends { questions, answers, under_way: None })
    }

    pub(super) fn is_asking(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins a question, where none is under way.
    pub(super) fn ask(&mut self, partitions: Vec<Partition>) {
        if self.under_way.is_none() && !partitions.is_empty() {
            // Where the thread is gone, the answer is that nobody knows.
            let _ = self.questions.try_send(partitions.clone());
            self.under_way = Some(partitions);
        }
    }

    /// Who was asked, and the answer, once it is there.
    pub(super) fn answered(&mut self) -> Option<(Vec<Partition>, Answer)> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.under_way = None;
                Some(answer)
            }
            Err(TryRecvError::Empty) => None,
            // The thread has panicked. Ends as they were last seen must not be taken for those of now.
            Err(TryRecvError::Disconnected) => {
                let asked = self.under_way.take()?;
                let unknown = asked.iter().map(|partition| (*partition, None)).collect();
                Some((asked, Ok(unknown)))
            }
        }
    }
}

/// One request to each broker that leads some of the partitions.
fn ask(consumer: &BaseConsumer<Events>, topic: &str, partitions: &[Partition], patience: Duration) -> Answer {
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        // In the place of a time: the end.
        asked.add_partition_offset(topic, *partition, KafkaOffset::End)?;
    }
    let found = consumer.offsets_for_times(asked, patience)?;
    let end_of = |offset: KafkaOffset| match offset {
        KafkaOffset::Offset(end) => Some(end),
        _ => None,
    };
    let each = found.elements().into_iter().map(|found| {
        let end = found.error().is_ok().then(|| end_of(found.offset())).flatten();
        (found.partition(), end)
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    // The thread panicked: lag by the ends that it saw last would look like progress.
    #[test]
    fn where_the_thread_is_gone_nobody_knows_where_partitions_end() {
        let (questions, asked) = channel(1);
        let (answer, answers) = channel(1);
        drop((asked, answer));
        let mut ends = Ends { questions, answers, under_way: None };
        ends.ask(vec![3]);
        assert!(ends.is_asking());
        let (asked, found) = ends.answered().expect("an answer");
        assert_eq!((asked, found.expect("no error of Kafka's")), (vec![3], vec![(3, None)]));
        assert!(!ends.is_asking());
    }
}
