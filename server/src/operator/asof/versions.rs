//! The rows of the right side by key, those of each key in the order of their times: which of them is the nearest to a time.
//!
//! A key has one entry, a *run* of row numbers, found by the key's hash and told from others of that hash by its values. Most runs are one
//! row, and take no memory of their own.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, UInt32Array};
use datafusion::logical_expr::Operator;
use hashbrown::HashTable;

use super::store::Store;
use crate::error::Result;
use crate::operator::keys::equal;
use crate::sql::{Direction, Matching};

/// Times of a join in its unit.
pub(super) type Ticks = i64;

/// No run.
const NONE: u32 = u32::MAX;

/// See the module's first lines.
#[derive(Debug)]
pub(super) struct Versions {
    /// The columns of the key in the store's rows.
    keys: Vec<usize>,
    /// Runs by the hash of their key.
    table: HashTable<u32>,
    runs: Vec<Run>,
    free: Vec<u32>,
    /// Of each row, by its number.
    times: Vec<Ticks>,
    run_of: Vec<u32>,
    /// Runs that have rows at their end which are not in their order yet.
    unsorted: Vec<u32>,
    /// Bytes that long runs take.
    run_bytes: usize,
}

#[derive(Debug)]
struct Run {
    hash: u64,
    rows: Numbers,
    /// Rows at the end that are not in their order yet.
    unsorted: u32,
}

#[derive(Debug)]
enum Numbers {
    One(u32),
    Many(Vec<u32>),
}

impl Numbers {
    fn all(&self) -> &[u32] {
        match self {
            Numbers::One(number) => std::slice::from_ref(number),
            Numbers::Many(numbers) => numbers,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Numbers::One(_) => 0,
            Numbers::Many(numbers) => numbers.capacity() * size_of::<u32>(),
        }
    }

    fn push(&mut self, number: u32) {
        match self {
            Numbers::One(first) => *self = Numbers::Many(vec![*first, number]),
            Numbers::Many(numbers) => numbers.push(number),
        }
    }

    fn of(mut numbers: Vec<u32>) -> Self {
        match numbers.as_slice() {
            [only] => Numbers::One(*only),
            _ => {
                if numbers.len() < numbers.capacity() / 4 {
                    numbers.shrink_to_fit();
                }
                Numbers::Many(numbers)
            }
        }
    }

    fn take(&mut self) -> Vec<u32> {
        match std::mem::replace(self, Numbers::Many(vec![])) {
            Numbers::One(number) => vec![number],
            Numbers::Many(numbers) => numbers,
        }
    }
}

impl Versions {
    pub(super) fn new(keys: Vec<usize>) -> Self {
        Versions {
            keys,
            table: HashTable::new(),
            runs: Vec::new(),
            free: Vec::new(),
            times: Vec::new(),
            run_of: Vec::new(),
            unsorted: Vec::new(),
            run_bytes: 0,
        }
    }

    /// Adds rows that are in the store, with their times and keys. Before anything is looked up, [`Versions::put_in_order`] is to be called.
    pub(super) fn add(
        &mut self,
        numbers: &[u32],
        times: &[Ticks],
        keys: &[ArrayRef],
        hashes: &[u64],
        store: &Store,
    ) -> Result<()> {
        let end = numbers.iter().max().map_or(0, |number| *number as usize + 1);
        if self.times.len() < end {
            self.times.resize(end, 0);
            self.run_of.resize(end, NONE);
        }
        let runs = self.runs_of(keys, hashes, store)?;
        let mut open = Vec::new();
        for (row, (number, time)) in numbers.iter().zip(times).enumerate() {
            self.times[*number as usize] = *time;
            match runs[row] {
                NONE => open.push(row),
                run => self.push(run, *number, store),
            }
        }
        // Keys that are new: the first row of each hash begins a run, and the others of that hash are compared with it.
        while !open.is_empty() {
            let (mut begun, mut alike) = (BTreeMap::new(), Vec::new());
            for row in std::mem::take(&mut open) {
                match begun.get(&hashes[row]) {
                    Some(run) => alike.push((row as u32, *run)),
                    None => _ = begun.insert(hashes[row], self.begin(hashes[row], numbers[row])),
                }
            }
            let equal = self.are_of(&alike, keys, store)?;
            for ((row, run), is_equal) in alike.into_iter().zip(equal) {
                match is_equal {
                    true => self.push(run, numbers[row as usize], store),
                    false => open.push(row as usize),
                }
            }
        }
        Ok(())
    }

    /// The run of each key; [`NONE`] where there is none.
    fn runs_of(&self, keys: &[ArrayRef], hashes: &[u64], store: &Store) -> Result<Vec<u32>> {
        let mut pairs = Vec::new();
        for (row, hash) in (0_u32..).zip(hashes) {
            let runs = self.table.iter_hash(*hash).filter(|run| self.runs[**run as usize].hash == *hash);
            pairs.extend(runs.map(|run| (row, *run)));
        }
        let equal = self.are_of(&pairs, keys, store)?;
        let mut found = vec![NONE; hashes.len()];
        for ((row, run), is_equal) in pairs.into_iter().zip(equal) {
            if is_equal {
                found[row as usize] = run;
            }
        }
        Ok(found)
    }

    /// Whether the key of a row is that of a run, for pairs of both.
    fn are_of(&self, pairs: &[(u32, u32)], keys: &[ArrayRef], store: &Store) -> Result<Vec<bool>> {
        if self.keys.is_empty() || pairs.is_empty() {
            return Ok(vec![true; pairs.len()]);
        }
        let rows: UInt32Array = pairs.iter().map(|(row, _)| *row).collect();
        let firsts: Vec<u32> = pairs.iter().map(|(_, run)| self.runs[*run as usize].rows.all()[0]).collect();
        let near = keys.iter().map(|key| arrow::compute::take(key, &rows, None)).collect::<Result<Vec<_>, _>>()?;
        let far = store.columns(self.keys.iter().copied(), &firsts)?;
        let equal = equal(&near, &far, Operator::Eq)?;
        Ok((0..equal.len()).map(|at| equal.is_valid(at) && equal.value(at)).collect())
    }

    fn begin(&mut self, hash: u64, number: u32) -> u32 {
        let new = Run { hash, rows: Numbers::One(number), unsorted: 0 };
        let run = match self.free.pop() {
            Some(run) => {
                self.runs[run as usize] = new;
                run
            }
            None => {
                self.runs.push(new);
                self.runs.len() as u32 - 1
            }
        };
        let runs = &self.runs;
        self.table.insert_unique(hash, run, |run| runs[*run as usize].hash);
        self.run_of[number as usize] = run;
        run
    }

    fn push(&mut self, run: u32, number: u32, store: &Store) {
        self.run_of[number as usize] = run;
        let of = &self.runs[run as usize];
        let is_behind = of.rows.all().last().is_some_and(|last| self.order(*last, number, store) != Ordering::Greater);
        let of = &mut self.runs[run as usize];
        if of.unsorted > 0 || !is_behind {
            if of.unsorted == 0 {
                self.unsorted.push(run);
            }
            of.unsorted += 1;
        }
        self.run_bytes -= of.rows.bytes();
        of.rows.push(number);
        self.run_bytes += of.rows.bytes();
    }

    /// By time, and of one time the last to arrive last.
    fn order(&self, one: u32, other: u32, store: &Store) -> Ordering {
        let times = self.times[one as usize].cmp(&self.times[other as usize]);
        times.then_with(|| store.compare(one, other))
    }

    /// Puts what was added into its order.
    pub(super) fn put_in_order(&mut self, store: &Store) {
        for run in std::mem::take(&mut self.unsorted) {
            let of = &mut self.runs[run as usize];
            let unsorted = std::mem::take(&mut of.unsorted);
            self.run_bytes -= of.rows.bytes();
            let mut rows = of.rows.take();
            match (unsorted, rows.pop()) {
                (1, Some(new)) => {
                    let at = rows.partition_point(|row| self.order(*row, new, store) != Ordering::Greater);
                    rows.insert(at, new);
                }
                (_, last) => {
                    rows.extend(last);
                    // What is in order already is not looked at again and again.
                    rows.sort_by(|one, other| self.order(*one, *other, store));
                }
            }
            let rows = Numbers::of(rows);
            self.run_bytes += rows.bytes();
            self.runs[run as usize].rows = rows;
        }
    }

    /// Forgets rows; those that it does not have are left out.
    pub(super) fn remove(&mut self, numbers: &[u32]) {
        let mut gone: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for number in numbers {
            let run = self.run_of.get_mut(*number as usize).map_or(NONE, |run| std::mem::replace(run, NONE));
            if run != NONE {
                gone.entry(run).or_default().push(*number);
            }
        }
        for (run, mut numbers) in gone {
            numbers.sort_unstable();
            let of = &mut self.runs[run as usize];
            self.run_bytes -= of.rows.bytes();
            let mut rows = of.rows.take();
            rows.retain(|row| numbers.binary_search(row).is_err());
            if rows.is_empty() {
                if let Ok(entry) = self.table.find_entry(of.hash, |other| *other == run) {
                    entry.remove();
                }
                self.free.push(run);
                continue;
            }
            of.rows = Numbers::of(rows);
            self.run_bytes += of.rows.bytes();
        }
    }

    /// As [`Versions::remove`], of rows that may not have been settled: those before them are.
    pub(super) fn undo(&mut self, numbers: &[u32]) {
        for run in std::mem::take(&mut self.unsorted) {
            self.runs[run as usize].unsorted = 0;
        }
        self.remove(numbers);
    }

    /// The nearest row to each time, of the run with its key.
    pub(super) fn nearest(
        &self,
        times: &[Ticks],
        keys: &[ArrayRef],
        hashes: &[u64],
        matching: &Matching,
        store: &Store,
    ) -> Result<Vec<Option<u32>>> {
        let runs = self.runs_of(keys, hashes, store)?;
        let nearest = |(run, time): (&u32, &Ticks)| match *run {
            NONE => None,
            run => self.nearest_in(self.runs[run as usize].rows.all(), *time, matching),
        };
        Ok(runs.iter().zip(times).map(nearest).collect())
    }

    fn nearest_in(&self, rows: &[u32], at: Ticks, matching: &Matching) -> Option<u32> {
        let behind = |time: Ticks| rows.partition_point(|row| self.time(*row) <= time);
        let before = |time: Ticks| rows.partition_point(|row| self.time(*row) < time);
        let last = match (matching.direction, matching.is_strict) {
            (Direction::Backward, false) => behind(at),
            (Direction::Backward, true) => before(at),
            (Direction::Forward, is_strict) => {
                let first = if is_strict { behind(at) } else { before(at) };
                behind(self.time(*rows.get(first)?))
            }
        };
        rows.get(last.checked_sub(1)?).copied()
    }

    pub(super) fn time(&self, number: u32) -> Ticks {
        self.times[number as usize]
    }

    /// The rows of the same key before and behind one. All of them are in their order.
    pub(super) fn beside(&self, number: u32, store: &Store) -> (Option<u32>, Option<u32>) {
        let run = self.run_of.get(number as usize).copied().unwrap_or(NONE);
        let Some(run) = self.runs.get(run as usize) else { return (None, None) };
        let rows = run.rows.all();
        let first = rows.partition_point(|row| self.order(*row, number, store) == Ordering::Less);
        // What is left are rows that nothing tells apart.
        let Some(at) = rows[first..].iter().position(|row| *row == number) else { return (None, None) };
        let at = first + at;
        (at.checked_sub(1).map(|before| rows[before]), rows.get(at + 1).copied())
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        const SLOT: usize = size_of::<u32>() + 1;
        let runs = self.runs.capacity() * size_of::<Run>() + self.table.capacity() * SLOT * 8 / 7;
        let rows = self.times.capacity() * size_of::<Ticks>() + self.run_of.capacity() * size_of::<u32>();
        runs + rows + self.run_bytes + (self.free.capacity() + self.unsorted.capacity()) * size_of::<u32>()
    }
}
