//! In which epochs a stream's rows come: random cuts and interleavings, steps that are undone, checkpoints, and crashes after them.

use std::collections::BTreeSet;

use super::choices::Choices;

/// How a stream is run.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    pub(super) partitions: usize,
    pub(super) wide_rows: usize,
    pub(super) epochs: Vec<Epoch>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Epoch {
    pub(super) chunks: Vec<Chunk>,
    /// The slots whose input ends with it.
    pub(super) ended: Vec<usize>,
    /// It is run and undone first.
    pub(super) undone: Option<Undone>,
    pub(super) after: After,
}

/// The next rows of a partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) slot: usize,
    pub(super) partition: usize,
    pub(super) rows: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Undone {
    /// As if all input had ended: everything closes, and that is undone.
    pub(super) to_the_end: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum After {
    #[default]
    Nothing,
    Checkpoint,
    /// The last checkpoint is gone on from.
    Crash,
}

impl Epoch {
    /// One that brings what several have brought.
    pub(super) fn together(epochs: &[Epoch]) -> Self {
        Epoch {
            chunks: epochs.iter().flat_map(|epoch| epoch.chunks.clone()).collect(),
            ended: epochs.iter().flat_map(|epoch| epoch.ended.clone()).collect(),
            ..Epoch::default()
        }
    }
}

impl Script {
    /// `sizes`: the rows of each partition of each slot.
    pub(super) fn draw(choices: &mut Choices, sizes: &[Vec<usize>]) -> Self {
        let partitions = choices.of(&[1, 2, 3]);
        let wide_rows = choices.of(&[1, 4, 12]);
        let mut left: Vec<Vec<usize>> = sizes.to_vec();
        let mut open: BTreeSet<usize> = (0..sizes.len()).collect();
        let mut epochs = Vec::new();
        while !open.is_empty() {
            let mut epoch = Epoch::default();
            // The simplest: one epoch of everything.
            let whole = choices.below(8) == 0;
            for _ in 0..if whole { usize::MAX } else { 1 + choices.below(4) as usize } {
                let waiting: Vec<(usize, usize)> = left
                    .iter()
                    .enumerate()
                    .flat_map(|(slot, partitions)| (0..partitions.len()).map(move |partition| (slot, partition)))
                    .filter(|(slot, partition)| left[*slot][*partition] > 0)
                    .collect();
                let Ok(count @ 1..) = u32::try_from(waiting.len()) else { break };
                let (slot, partition) = waiting[choices.below(count) as usize];
                let rows = if whole { left[slot][partition] } else { 1 + choices.below(6) as usize };
                let rows = rows.min(left[slot][partition]);
                left[slot][partition] -= rows;
                epoch.chunks.push(Chunk { slot, partition, rows });
            }
            let done: Vec<usize> =
                open.iter().copied().filter(|slot| left[*slot].iter().all(|left| *left == 0)).collect();
            for slot in done {
                if whole || choices.below(3) > 0 {
                    open.remove(&slot);
                    epoch.ended.push(slot);
                }
            }
            epoch.undone = match choices.below(8) {
                6 => Some(Undone { to_the_end: false }),
                7 => Some(Undone { to_the_end: true }),
                _ => None,
            };
            epoch.after = choices.of(&[
                After::Nothing,
                After::Nothing,
                After::Nothing,
                After::Nothing,
                After::Checkpoint,
                After::Crash,
            ]);
            epochs.push(epoch);
        }
        Script { partitions, wide_rows, epochs }
    }
}
