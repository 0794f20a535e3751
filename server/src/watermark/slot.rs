//! Event-time progress of what one slot of a query reads: a table, which has one mark, or a view, which has one for each of its times.

use std::collections::BTreeMap;

use super::{END, Mark, NONE, SourceWatermark, ViewWatermark};
use crate::clock::Micros;
use crate::source::{Known, Partition, Progress, ViewProgress};

/// See the module's first line.
#[derive(Debug, Clone)]
pub enum SlotWatermark {
    Table(SourceWatermark),
    View(ViewWatermark),
}

impl From<SourceWatermark> for SlotWatermark {
    fn from(table: SourceWatermark) -> Self {
        SlotWatermark::Table(table)
    }
}

impl From<ViewWatermark> for SlotWatermark {
    fn from(view: ViewWatermark) -> Self {
        SlotWatermark::View(view)
    }
}

impl SlotWatermark {
    /// Notes what an epoch's input brought for one partition, and what a view has said with it.
    pub fn observe(&mut self, partition: Partition, progress: &Progress, said: Option<&ViewProgress>, now: Micros) {
        match self {
            SlotWatermark::Table(table) => table.observe(partition, progress, now),
            SlotWatermark::View(view) => view.observe(progress.to, said.unwrap_or(&ViewProgress::default())),
        }
    }

    /// Notes which partitions answer, and where they end.
    pub fn observe_ends(&mut self, known: &BTreeMap<Partition, Known>) {
        match self {
            SlotWatermark::Table(table) => table.observe_ends(known),
            SlotWatermark::View(view) => view.observe_end(known.get(&0).copied()),
        }
    }

    /// Brings the marks up to what has been observed.
    pub fn advance(&mut self) {
        if let SlotWatermark::Table(table) = self {
            table.advance();
        }
    }

    /// Raises the marks to `at`, one for each, whatever the source says.
    pub fn force(&mut self, at: &[Micros]) {
        match self {
            SlotWatermark::Table(table) => at.iter().for_each(|at| _ = table.force(*at)),
            SlotWatermark::View(view) => view.force(at),
        }
    }

    /// Nothing comes any more.
    pub fn end(&mut self) {
        match self {
            SlotWatermark::Table(table) => _ = table.force(END),
            SlotWatermark::View(view) => view.end(),
        }
    }

    /// How far the source has got, and whether it is idle.
    pub fn marks(&self) -> Vec<Mark> {
        match self {
            SlotWatermark::Table(table) => vec![table.mark()],
            SlotWatermark::View(view) => view.marks(),
        }
    }

    /// The latest times that count, by mark.
    pub fn newest(&self) -> Vec<Micros> {
        match self {
            SlotWatermark::Table(table) => vec![table.newest()],
            SlotWatermark::View(view) => view.newest().to_vec(),
        }
    }

    /// The mark that is furthest behind; `None` before anything is known.
    pub fn least(&self) -> Option<Micros> {
        let least = match self {
            SlotWatermark::Table(table) => Some(table.current()),
            SlotWatermark::View(view) => view.marks().iter().map(|mark| mark.at).min(),
        };
        least.filter(|at| *at != NONE)
    }

    /// Every partition with the latest time that has come there, and whether nobody waits for it.
    pub fn partitions(&self) -> Vec<(Partition, Option<Micros>, bool)> {
        match self {
            SlotWatermark::Table(table) => {
                table.partitions().map(|(partition, time, idle)| (partition, time.event_time_max, idle)).collect()
            }
            SlotWatermark::View(view) => {
                let newest = view.newest().iter().copied().filter(|at| *at != NONE).max();
                let marks = view.marks();
                let idle = !marks.is_empty() && marks.iter().all(|mark| mark.idle);
                vec![(0, newest, idle)]
            }
        }
    }

    /// For how long nothing at all has come, as far as is proven: microseconds, counted from `last_row` at the earliest.
    pub fn silent_for(&self, last_row: Micros) -> Option<Micros> {
        match self {
            SlotWatermark::Table(table) => table.silent_for(last_row),
            SlotWatermark::View(view) => view.silent_for(last_row),
        }
    }

    /// When a mark may move without a row, if after `now`. Of a view that is news of its own, which its reader brings.
    pub fn next_idle_at(&self, now: Micros) -> Option<Micros> {
        match self {
            SlotWatermark::Table(table) => table.next_idle_at(now),
            SlotWatermark::View(_) => None,
        }
    }
}
