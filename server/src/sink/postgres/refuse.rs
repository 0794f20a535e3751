//! Which errors are about one row, which rows Postgres need not even be asked about, and which rows to try next. No database here.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::ddl::{TableSql, day_of, micros_per_unit};
use super::text::moments;
use crate::error::Result;

/// Text of one row. A field of Postgres, and a message to it, ends at 1 GiB, and what is over that ends the connection and not the
/// statement; half of it leaves room for what text becomes once it is parsed.
pub(super) const ROW_BYTES_MAX: usize = 512 << 20;

/// Characters of a reason: the database's own words can quote the value.
const REASON_CHARS_MAX: usize = 500;

/// Why Postgres does not take a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// That of the database's error, or the one that it would have had.
    pub(super) sqlstate: String,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn new(sqlstate: &str, reason: &str) -> Self {
        Refusal { sqlstate: sqlstate.to_owned(), reason: reason.chars().take(REASON_CHARS_MAX).collect() }
    }

    pub(super) fn too_large(bytes: usize) -> Self {
        Refusal::new("54000", &format!("the row has {bytes} bytes as text, and {ROW_BYTES_MAX} is the limit"))
    }

    /// For a row whose time is NULL although its table is partitioned by it.
    pub(super) fn no_day(column: &str) -> Self {
        Refusal::new("23502", &format!("column \"{column}\" is NULL, and the table is partitioned by it"))
    }

    pub(super) fn beyond_all_days(column: &str) -> Self {
        Refusal::new("22008", &format!("the time in column \"{column}\" is beyond what Postgres can hold"))
    }
}

/// What an error says about the rows that were being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// At least one of them is at fault, whatever becomes of the others.
    Row,
    /// One of them may be. It is where others go in.
    Perhaps,
    /// None of them: the connection, rights, locks, the disk, the table itself.
    Elsewhere,
}

/// `constraint`: the one that the error names. `raised_in`: the database's own file that has raised it.
pub(super) fn blame(sqlstate: &str, constraint: Option<&str>, raised_in: Option<&str>) -> Blame {
    match (sqlstate.get(..2).unwrap_or(sqlstate), sqlstate) {
        // The form of what was copied: ours to mend.
        ("22", "22P04") => Blame::Elsewhere,
        // Without a constraint's name there is no partition for the row: its day was dropped while it was written.
        ("23", "23514") if constraint.is_none() => Blame::Elsewhere,
        // Too many columns or arguments are the statement's.
        ("54", "54011" | "54023") => Blame::Elsewhere,
        ("22" | "23" | "54", _) => Blame::Row,
        // No room for another lock: each day written takes some until the transaction ends, so it is the row that comes last.
        (_, "53200") if raised_in == Some("lock.c") => Blame::Elsewhere,
        // Out of memory, a limit that is configured, what is not supported, and what a trigger of somebody's raises.
        (_, "53200" | "53400" | "0A000" | "P0001") => Blame::Perhaps,
        _ => Blame::Elsewhere,
    }
}

/// The rows whose key would be another one in Postgres: text there cannot hold U+0000, times end, and what is put in their place could be
/// the key of another row. `columns`: those of the key, as places in the batch. Ascending, each row once.
pub(super) fn altered_keys(sql: &TableSql, batch: &RecordBatch, columns: &[usize]) -> Result<Vec<(usize, Refusal)>> {
    let mut faults: Vec<(usize, Refusal)> = Vec::new();
    for (&at, &key) in columns.iter().zip(&sql.key) {
        let (array, name) = (plain(batch.column(at))?, &sql.columns[key].name);
        let rows = (0..array.len()).filter(|row| !array.is_null(*row));
        if micros_per_unit(array.data_type()).is_some() {
            let moment = moments(&array)?;
            let beyond = rows.filter(|row| day_of(moment(*row)).is_none());
            faults.extend(beyond.map(|row| (row, Refusal::beyond_all_days(name))));
        } else if can_hold_nul(array.data_type()) {
            let reason = format!("column \"{name}\" of the key holds U+0000, which Postgres cannot");
            let with_nul = rows.filter(|row| holds_nul(&array, *row));
            faults.extend(with_nul.map(|row| (row, Refusal::new("22021", &reason))));
        }
    }
    // Stable: of several faults of a row the first column's is named.
    faults.sort_by_key(|(row, _)| *row);
    faults.dedup_by_key(|(row, _)| *row);
    Ok(faults)
}

fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Dictionary(_, values) => Ok(cast(array, values)?),
        _ => Ok(ArrayRef::clone(array)),
    }
}

fn can_hold_nul(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..)
    )
}

/// Whether a value, or one within it, has the character U+0000.
fn holds_nul(array: &ArrayRef, row: usize) -> bool {
    let any = |values: &ArrayRef| (0..values.len()).any(|at| !values.is_null(at) && holds_nul(values, at));
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).contains('\0'),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).contains('\0'),
        DataType::Utf8View => array.as_string_view().value(row).contains('\0'),
        DataType::List(_) => any(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => any(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => any(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().any(|column| !column.is_null(row) && holds_nul(column, row))
        }
        DataType::Map(..) => array.as_map().value(row).columns().iter().any(any),
        _ => false,
    }
}

/// Finds the rows at fault among many by trying halves, in their order, so that the last row of a key still wins.
#[derive(Debug)]
pub(super) struct Bisection {
    /// What has not been written, the next range last.
    open: Vec<Range<usize>>,
}

impl Bisection {
    pub(super) fn over(rows: usize) -> Self {
        Bisection { open: (rows > 0).then_some(0..rows).into_iter().collect() }
    }

    /// The range to try next.
    pub(super) fn next_range(&mut self) -> Option<Range<usize>> {
        self.open.pop()
    }

    /// A range was not taken. Returns the row at fault, where there is only one.
    pub(super) fn failed(&mut self, range: Range<usize>) -> Option<usize> {
        if range.len() <= 1 {
            return Some(range.start);
        }
        let middle = range.start + range.len() / 2;
        self.open.push(middle..range.end);
        self.open.push(range.start..middle);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ListArray, StringArray, StructArray, TimestampMicrosecondArray};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;
    use crate::changelog::Changes;
    use crate::sink::postgres::HotTable;

    #[test]
    fn an_error_is_about_a_row_or_about_something_else() {
        let cases = [
            // An index row that is too long, a number or a text that does not fit, constraints by name, a document that is too deep.
            ("54000", None, Blame::Row),
            ("54001", None, Blame::Row),
            ("22003", None, Blame::Row),
            ("22021", None, Blame::Row),
            ("22P05", None, Blame::Row),
            ("23502", None, Blame::Row),
            ("23505", Some("other_key"), Blame::Row),
            ("23514", Some("few"), Blame::Row),
            ("23514", None, Blame::Elsewhere),
            ("22P04", None, Blame::Elsewhere),
            ("54011", None, Blame::Elsewhere),
            ("53200", None, Blame::Perhaps),
            ("0A000", None, Blame::Perhaps),
            ("P0001", None, Blame::Perhaps),
            // The disk, connections, locks, conflicts, rights, a table that is not there, shutdown, damage, nothing at all.
            ("53100", None, Blame::Elsewhere),
            ("53300", None, Blame::Elsewhere),
            ("55P03", None, Blame::Elsewhere),
            ("40001", None, Blame::Elsewhere),
            ("42501", None, Blame::Elsewhere),
            ("42P01", None, Blame::Elsewhere),
            ("57P01", None, Blame::Elsewhere),
            ("XX001", None, Blame::Elsewhere),
            ("", None, Blame::Elsewhere),
        ];
        for (sqlstate, constraint, expected) in cases {
            assert_eq!(blame(sqlstate, constraint, Some("x.c")), expected, "{sqlstate} {constraint:?}");
        }
        assert_eq!(blame("53200", None, Some("lock.c")), Blame::Elsewhere, "no room for more locks");
    }

    /// Tries ranges against a database that does not take the rows in `bad`. Returns what went in, what did not, and the tries.
    fn searched(rows: usize, bad: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut taken, mut refused, mut tries) = (Vec::new(), Vec::new(), 0);
        let mut search = Bisection::over(rows);
        while let Some(range) = search.next_range() {
            tries += 1;
            match range.clone().any(|row| bad.contains(&row)) {
                false => taken.extend(range),
                true => refused.extend(search.failed(range)),
            }
        }
        (taken, refused, tries)
    }

    #[test]
    fn every_row_at_fault_is_found_and_all_others_go_in_in_their_order() {
        for rows in 0..=9_usize {
            for bits in 0..1_u32 << rows {
                let (bad, good): (Vec<usize>, Vec<usize>) = (0..rows).partition(|row| (bits >> *row) & 1 == 1);
                let (taken, refused, _) = searched(rows, &bad);
                assert_eq!((taken, refused), (good, bad), "{rows} rows, {bits:b}");
            }
        }
    }

    #[test]
    fn one_row_among_a_quarter_of_a_million_costs_a_few_dozen_tries() {
        let (taken, refused, tries) = searched(1 << 18, &[100_000]);
        assert_eq!((taken.len(), refused), ((1 << 18) - 1, vec![100_000]));
        assert!(tries <= 2 * 18 + 1, "{tries}");
    }

    fn keyed(columns: Vec<(&str, ArrayRef)>) -> (TableSql, RecordBatch) {
        let fields = columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let hot = HotTable {
            query: "q".to_owned(),
            table: "q".to_owned(),
            schema: Arc::clone(&schema),
            primary_key: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            time_column: None,
            changes: Changes::Append,
        };
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        (TableSql::new("public", &hot).unwrap(), RecordBatch::try_new(schema, arrays).unwrap())
    }

    #[test]
    fn a_key_that_would_become_another_one_is_refused() {
        let texts = || StringArray::from(vec![Some("a\0"), Some("a\u{FFFD}"), None, Some(""), Some("b")]);
        let times = TimestampMicrosecondArray::from(vec![Some(0), Some(0), Some(i64::MAX), None, Some(i64::MIN)]);
        let (sql, batch) = keyed(vec![("k", Arc::new(texts())), ("at", Arc::new(times))]);
        assert_eq!(batch.schema().field(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
        let faults = altered_keys(&sql, &batch, &sql.key).unwrap();
        let found: Vec<(usize, &str)> = faults.iter().map(|(row, why)| (*row, why.sqlstate.as_str())).collect();
        assert_eq!(found, [(0, "22021"), (2, "22008"), (4, "22008")]);
        assert!(faults[0].1.reason.contains("column \"k\""), "{:?}", faults[0]);

        let words: ArrayRef = Arc::new(StringArray::from(vec!["x", "y\0", "z"]));
        let list = ListArray::new(
            Arc::new(Field::new_list_field(DataType::Utf8, true)),
            OffsetBuffer::from_lengths([1, 2]),
            Arc::clone(&words),
            None,
        );
        let (sql, batch) = keyed(vec![("k", Arc::new(list))]);
        assert_eq!(altered_keys(&sql, &batch, &sql.key).unwrap().iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
        let pair = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Utf8, true)), words)]);
        let (sql, batch) = keyed(vec![("k", Arc::new(pair))]);
        assert_eq!(altered_keys(&sql, &batch, &sql.key).unwrap().iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_reason_has_an_end() {
        let reason = Refusal::new("22P02", &"ü".repeat(10_000)).reason;
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
    }
}
