//! Which of a view's public files a statement has to open, by what the manifest says of their times.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, TimestampMicrosecondArray, UInt64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::{SealedFile, TimeRange};
use crate::clock::Micros;

/// Those files that can hold a row for which `condition` is true. Of what it says nothing about a file is kept.
pub(super) fn files_to_open(
    files: Vec<Arc<SealedFile>>,
    condition: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Vec<Arc<SealedFile>> {
    let predicate =
        PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(Arc::clone(condition)).ok();
    let Some(predicate) = predicate.filter(|predicate| !predicate.always_true()) else { return files };
    match predicate.prune(&Times { files: &files, schema }) {
        Ok(kept) => files.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(file, _)| file).collect(),
        // Pruning only saves work.
        Err(_) => files,
    }
}

struct Times<'a> {
    files: &'a [Arc<SealedFile>],
    schema: &'a SchemaRef,
}

impl Times<'_> {
    /// One end of the ranges of a column, in its type. NULL where it is not known.
    fn ends(&self, column: &Column, end: impl Fn(&TimeRange) -> Micros) -> Option<ArrayRef> {
        let kind = self.schema.field_with_name(&column.name).ok()?.data_type();
        let zone = match kind {
            DataType::Timestamp(_, zone) => zone.clone(),
            DataType::Date32 => None,
            _ => return None,
        };
        let ends = self.files.iter().map(|file| file.times.get(&column.name).map(&end));
        let ends = TimestampMicrosecondArray::from_iter(ends).with_timezone_opt(zone);
        // A time beyond the unit's range becomes NULL, which is not known.
        Some(cast(&ends, kind).unwrap_or_else(|_| new_null_array(kind, self.files.len())))
    }
}

impl PruningStatistics for Times<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |range| range.from)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, |range| range.to)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.rows))))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::{Field, Schema, TimeUnit};
    use datafusion::common::DFSchema;
    use datafusion::prelude::{SessionContext, col, lit};

    use super::*;

    const HOUR: Micros = 3_600_000_000;

    /// Files of an hour each, from the epoch on, and one of before that says nothing.
    fn files() -> Vec<Arc<SealedFile>> {
        let file = |hour: i64, times| SealedFile {
            path: hour.to_string(),
            bytes: 1,
            rows: 1,
            checkpoints: None,
            sha256: None,
            times,
        };
        let range = |hour: i64| TimeRange { from: hour * HOUR, to: (hour + 1) * HOUR - 1 };
        let named = |hour| BTreeMap::from(["t", "d"].map(|column| (column.to_owned(), range(hour))));
        let mut files: Vec<_> = (0..48).map(|hour| Arc::new(file(hour, named(hour)))).collect();
        files.push(Arc::new(file(-1, BTreeMap::new())));
        files
    }

    fn opened(filter: datafusion::logical_expr::Expr, unit: TimeUnit) -> Vec<i64> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("t", DataType::Timestamp(unit, None), true),
            Field::new("d", DataType::Date32, true),
            Field::new("n", DataType::Int64, true),
        ]));
        let columns = DFSchema::try_from(schema.as_ref().clone()).unwrap();
        let condition = SessionContext::new().create_physical_expr(filter, &columns).unwrap();
        let kept = files_to_open(files(), &condition, &schema);
        kept.iter().map(|file| file.path.parse().unwrap()).collect()
    }

    fn time(micros: Micros, unit: TimeUnit) -> datafusion::logical_expr::Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), None).cast_to(&DataType::Timestamp(unit, None)).unwrap())
    }

    #[test]
    fn only_files_that_can_hold_a_row_are_opened_and_those_that_say_nothing() {
        for unit in [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            assert_eq!(opened(col("t").gt_eq(time(46 * HOUR, unit)), unit), [46, 47, -1], "{unit:?}");
            let within = col("t").gt(time(3 * HOUR + 1_000, unit)).and(col("t").lt(time(4 * HOUR, unit)));
            assert_eq!(opened(within.and(col("n").gt(lit(5_i64))), unit), [3, -1], "{unit:?}");
            assert_eq!(opened(col("t").eq(time(100 * HOUR, unit)), unit), [-1], "{unit:?}");
        }
        assert_eq!(opened(col("d").eq(lit(ScalarValue::Date32(Some(1)))), TimeUnit::Microsecond).len(), 25);
    }

    #[test]
    fn what_is_not_about_times_opens_all() {
        let all = files().len();
        for filter in [col("n").gt(lit(5_i64)), col("t").is_null(), lit(true)] {
            assert_eq!(opened(filter.clone(), TimeUnit::Microsecond).len(), all, "{filter}");
        }
        let either = col("t").lt(time(0, TimeUnit::Microsecond)).or(col("n").is_null());
        assert_eq!(opened(either, TimeUnit::Microsecond).len(), all);
    }

    // Here no store is registered, so whoever opens a file fails.
    #[tokio::test]
    async fn a_statement_opens_what_its_condition_leaves() {
        use super::super::view::ViewTable;
        use super::super::{PublishedView, ViewSnapshot};
        let schema = Schema::new(vec![Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
        let view = PublishedView::new("v", Arc::new(schema));
        view.publish(ViewSnapshot { checkpoint: 1, sealed: files()[..48].into(), ..ViewSnapshot::default() });
        let context = SessionContext::new();
        context.register_table("v", Arc::new(ViewTable::new(Arc::new(view)))).unwrap();
        let count = async |condition: &str| {
            let sql = format!("SELECT count(*) FROM v WHERE {condition}");
            context.sql(&sql).await.unwrap().collect().await.map(|batches| batches.len())
        };
        assert_eq!(count("t >= TIMESTAMP '1970-01-03 00:00:00'").await.unwrap(), 1);
        assert!(count("t >= TIMESTAMP '1970-01-02 23:59:59'").await.is_err());
    }
}
