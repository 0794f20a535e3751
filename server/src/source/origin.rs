//! Where the rows of a batch were read, in a few runs instead of a number for each row.

use super::{Offset, Partition};

/// Partition, offset and place within the record of each row of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    runs: Vec<Run>,
    rows: usize,
    /// Partition and offset of the row that would go on the last run, where that has one row a record.
    next: Option<(Partition, Offset)>,
}

/// Rows of one partition whose offsets follow one another, one row a record, or rows of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first_row: usize,
    partition: Partition,
    offset: Offset,
    /// Of the first row, within its record; all rows of the run are of that record where it is `Some`.
    position: Option<i32>,
}

impl Origins {
    /// Rows of consecutive records.
    pub fn records(partition: Partition, first: Offset, rows: usize) -> Self {
        let run = Run { first_row: 0, partition, offset: first, position: None };
        let next = (rows > 0).then(|| (partition, first.saturating_add(Offset::try_from(rows).unwrap_or(Offset::MAX))));
        Origins { runs: if rows == 0 { vec![] } else { vec![run] }, rows, next }
    }

    /// Rows of one record, from its `position`th on.
    pub fn of_record(partition: Partition, offset: Offset, position: usize, rows: usize) -> Self {
        let position = Some(i32::try_from(position).unwrap_or(i32::MAX));
        let run = Run { first_row: 0, partition, offset, position };
        Origins { runs: if rows == 0 { vec![] } else { vec![run] }, rows, next: None }
    }

    /// Adds the next row of the batch.
    #[inline]
    pub fn push(&mut self, partition: Partition, offset: Offset) {
        if self.next == Some((partition, offset)) {
            self.rows += 1;
            self.next = Some((partition, offset.saturating_add(1)));
        } else {
            self.begin_run(partition, offset);
        }
    }

    /// Adds the next row of the batch, which stands at this place within its record: places ascend, and may leave some out.
    pub fn push_at(&mut self, partition: Partition, offset: Offset, position: i32) {
        if position == 0 {
            return self.push(partition, offset);
        }
        let row = self.rows;
        self.rows += 1;
        self.next = None;
        let goes_on = self.runs.last().is_some_and(|run| {
            let next = run.position.map(|first| i64::from(first) + (row - run.first_row) as i64);
            next == Some(position.into()) && (run.partition, run.offset) == (partition, offset)
        });
        if !goes_on {
            self.runs.push(Run { first_row: row, partition, offset, position: Some(position) });
        }
    }

    fn begin_run(&mut self, partition: Partition, offset: Offset) {
        let row = self.rows;
        self.rows += 1;
        self.next = None;
        if let Some(run) = self.runs.last() {
            let length = row - run.first_row;
            let next = run.offset.saturating_add(length as Offset);
            match run.position {
                Some(_) if run.partition == partition && run.offset == offset => return,
                // A second row of the record before.
                None if run.partition == partition && next == offset.saturating_add(1) => {
                    self.runs.push(Run { first_row: row, partition, offset, position: Some(1) });
                    return;
                }
                _ => {}
            }
        }
        self.runs.push(Run { first_row: row, partition, offset, position: None });
        self.next = Some((partition, offset.saturating_add(1)));
    }

    /// Partition, offset and place within its record of a row; `None` beyond the last.
    pub fn of(&self, row: usize) -> Option<(Partition, Offset, i32)> {
        if row >= self.rows {
            return None;
        }
        let after = self.runs.partition_point(|run| run.first_row <= row);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let since = row - run.first_row;
        Some(match run.position {
            None => (run.partition, run.offset.saturating_add(since as Offset), 0),
            Some(first) => (run.partition, run.offset, first.saturating_add(i32::try_from(since).unwrap_or(i32::MAX))),
        })
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_knows_its_place_whatever_the_order() {
        let rows = [(0, 5), (0, 6), (0, 7), (1, 8), (0, 8), (0, 8), (0, 8), (0, 9), (0, 9), (2, 9), (0, 20), (0, 21)];
        let mut origins = Origins::default();
        rows.iter().for_each(|(partition, offset)| origins.push(*partition, *offset));
        let found: Vec<_> = (0..rows.len()).filter_map(|row| origins.of(row)).collect();
        let mut expected: Vec<(Partition, Offset, i32)> = Vec::new();
        for (partition, offset) in rows {
            let position = match expected.last() {
                Some((p, o, position)) if (*p, *o) == (partition, offset) => position + 1,
                _ => 0,
            };
            expected.push((partition, offset, position));
        }
        assert_eq!(found, expected);
        assert_eq!(origins.of(rows.len()), None);
    }

    #[test]
    fn rows_of_one_record_count_on_from_where_those_before_them_ended() {
        let origins = Origins::of_record(0, 7, 40, 3);
        let found: Vec<_> = (0..4).filter_map(|row| origins.of(row)).collect();
        assert_eq!(found, [(0, 7, 40), (0, 7, 41), (0, 7, 42)]);
        assert!(Origins::of_record(0, 7, 40, 0).is_empty());
    }

    #[test]
    fn places_within_a_record_may_be_left_out() {
        // Records of one row, of many, of whose first ones none is a row, and none at all.
        let rows = [
            (0, 5, 0),
            (0, 6, 0),
            (0, 6, 1),
            (0, 6, 2),
            (0, 6, 5),
            (0, 6, 6),
            (0, 7, 3),
            (0, 9, 0),
            (0, 10, 0),
            (1, 10, 1),
        ];
        let mut origins = Origins::default();
        rows.iter().for_each(|(partition, offset, position)| origins.push_at(*partition, *offset, *position));
        let found: Vec<_> = (0..rows.len()).filter_map(|row| origins.of(row)).collect();
        assert_eq!(found, rows);
    }

    #[test]
    fn a_million_records_in_order_are_one_run() {
        let mut origins = Origins::default();
        (0..1_000_000).for_each(|offset| origins.push(3, offset));
        assert_eq!(origins, Origins::records(3, 0, 1_000_000));
        assert_eq!(origins.runs.len(), 1);
    }
}
