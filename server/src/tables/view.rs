//! Reading a view: its sealed Parquet files and its tail, at one committed checkpoint.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use arrow::array::new_null_array;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, plan_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::stream;
use object_store::ObjectMeta;
use object_store::path::Path;
use parking_lot::Mutex;

use super::early::EarlyRows;
use super::pruning::files_to_open;
use super::stores::public_store_url;
use super::{Published, PublishedView, SealedFile, TailRows, ViewSnapshot};
use crate::error::Error;
use crate::state::Rows;
use crate::status::{QueryState, QueryStatus};

/// How much of a Parquet file's end is fetched at once, bytes: the footers of our files fit.
const FOOTER_HINT: usize = 64 * 1024;

/// The snapshots that one statement reads: a view that is named twice is read at one checkpoint.
///
/// Put into the session's configuration as an extension, fresh for every execution.
#[derive(Debug, Default)]
pub struct Pins(Mutex<HashMap<String, Arc<ViewSnapshot>>>);

impl Pins {
    fn pin(&self, view: &PublishedView) -> Arc<ViewSnapshot> {
        Arc::clone(self.0.lock().entry(view.name.clone()).or_insert_with(|| view.pin()))
    }
}

/// All rows of one view, or of one ledger of several queries.
#[derive(Debug)]
pub struct ViewTable {
    schema: SchemaRef,
    views: Vec<Arc<PublishedView>>,
}

impl ViewTable {
    pub fn new(view: Arc<PublishedView>) -> Self {
        ViewTable { schema: Arc::clone(&view.schema), views: vec![view] }
    }

    /// The same ledger of several queries as one table. Columns are matched by name; one that a query does not have is NULL.
    pub fn union(views: Vec<Arc<PublishedView>>) -> Option<Self> {
        let first = views.first()?;
        let mut fields: Vec<_> = first.schema.fields().iter().cloned().collect();
        for view in &views[1..] {
            for field in &mut fields {
                // A row of a query without this column reads as NULL.
                if !field.is_nullable()
                    && view.schema.field_with_name(field.name()).map_or(true, |other| other.is_nullable())
                {
                    *field = Arc::new(field.as_ref().clone().with_nullable(true));
                }
            }
            for field in view.schema.fields() {
                if !fields.iter().any(|known| known.name() == field.name()) {
                    fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
                }
            }
        }
        Some(ViewTable { schema: Arc::new(Schema::new(fields)), views })
    }

    fn may_hold_nan(&self, column: &str) -> bool {
        self.schema.field_with_name(column).is_ok_and(|field| {
            let kind = field.data_type();
            kind.is_floating() || kind.is_nested()
        })
    }

    fn sealed_scan(
        &self,
        state: &dyn Session,
        files: Vec<Arc<SealedFile>>,
        projection: Option<&Vec<usize>>,
        condition: Option<Arc<dyn PhysicalExpr>>,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut source = ParquetSource::new(Arc::clone(&self.schema))
            .with_table_parquet_options(state.default_table_options().parquet)
            .with_metadata_size_hint(FOOTER_HINT);
        if let Some(condition) = condition {
            source = source.with_predicate(condition);
        }
        let files = files.iter().map(|file| partitioned(file)).collect::<Result<Vec<_>>>()?;
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let scan = FileScanConfigBuilder::new(public_store_url(), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

#[async_trait]
impl TableProvider for ViewTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// Inexact: Parquet prunes by statistics, the plan filters again above.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let pins = state.config().get_extension::<Pins>();
        let mut files = Vec::new();
        // Of the others, which come as they are read.
        let (mut tail, mut put_away): (Vec<RecordBatch>, Vec<Arc<dyn PartitionStream>>) = (Vec::new(), Vec::new());
        for view in &self.views {
            let snapshot = pins.as_ref().map_or_else(|| view.pin(), |pins| pins.pin(view));
            files.extend(snapshot.sealed.iter().cloned());
            for TailRows { rows, .. } in snapshot.tail.iter() {
                match rows.batches_in_memory() {
                    Some(batches) => {
                        for batch in batches {
                            tail.push(conform(batch, &self.schema)?);
                        }
                    }
                    None => put_away.push(Arc::new(PutAway { schema: Arc::clone(&self.schema), rows: rows.clone() })),
                }
            }
            if let Some(early) = snapshot.early.as_ref().filter(|early| !early.rows.is_empty()) {
                let rows = EarlyRows::try_new(Arc::clone(early), Arc::clone(&self.schema), filters, state)?;
                put_away.push(Arc::new(rows));
            }
        }

        let mut scans: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        // Parquet's statistics leave NaN out, which is the greatest number here.
        let prunes = |filter: &&Expr| filter.column_refs().iter().all(|column| !self.may_hold_nan(&column.name));
        let condition = conjunction(filters.iter().filter(prunes).cloned());
        let condition = condition.map(|filter| {
            let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
            state.create_physical_expr(filter, &schema)
        });
        let condition = condition.transpose()?;
        if let Some(condition) = &condition {
            files = files_to_open(files, condition, &self.schema);
        }
        if !files.is_empty() {
            // A filter above may drop rows, so that a limit below it would be too few.
            let limit = limit.filter(|_| filters.is_empty());
            scans.push(self.sealed_scan(state, files, projection, condition, limit)?);
        }
        if !put_away.is_empty() {
            let schema = Arc::clone(&self.schema);
            scans.push(Arc::new(StreamingTableExec::try_new(schema, put_away, projection, None, false, None)?));
        }
        if !tail.is_empty() || scans.is_empty() {
            scans.push(MemorySourceConfig::try_new_exec(&[tail], Arc::clone(&self.schema), projection.cloned())?);
        }
        match scans.len() {
            1 => Ok(scans.swap_remove(0)),
            _ => UnionExec::try_new(scans),
        }
    }
}

fn partitioned(file: &SealedFile) -> Result<PartitionedFile> {
    Ok(PartitionedFile::new_from_meta(ObjectMeta {
        location: Path::parse(&file.path)
            .map_err(|e| Error::corrupt("sealed file has an impossible name").caused_by(e))?,
        // Sealed files never change, so that caches need no time of theirs.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: file.bytes,
        e_tag: None,
        version: None,
    }))
}

/// A view by its name, or a ledger over all queries: read as it stands when it is read, be it opened anew since the plan was made, or not
/// there before.
#[derive(Debug)]
pub struct NamedView {
    name: Name,
    schema: SchemaRef,
    /// The statement as written.
    definition: Option<String>,
    /// It is itself among what is published.
    published: Weak<Published>,
}

#[derive(Debug)]
enum Name {
    View(String),
    /// `late` of `touchline.late`.
    Ledger(&'static str),
}

impl NamedView {
    /// `schema`: the view's when the plan was made.
    pub fn new(name: impl Into<String>, schema: SchemaRef, published: Weak<Published>) -> Self {
        NamedView { name: Name::View(name.into()), schema, definition: None, published }
    }

    /// As [`NamedView::new`], of the ledger's parts that there are when it is read.
    pub fn ledger(ledger: &'static str, schema: SchemaRef, published: Weak<Published>) -> Self {
        NamedView { name: Name::Ledger(ledger), schema, definition: None, published }
    }

    /// `text`: the statement, empty where it is not known.
    pub fn defined_as(self, text: &str) -> Self {
        NamedView { definition: Some(text.to_owned()).filter(|text| !text.is_empty()), ..self }
    }

    /// What the name stands for now.
    ///
    /// # Errors
    /// As [`not_readable`] where no view is shown under it; `Invalid` where the view is gone, or not what the plan reads.
    fn now(&self, projection: Option<&Vec<usize>>) -> crate::error::Result<ViewTable> {
        let Some(published) = self.published.upgrade() else {
            return Err(Error::unavailable("the server is stopping"));
        };
        let name = match &self.name {
            Name::View(name) => name,
            Name::Ledger(ledger) => {
                return Ok(ViewTable { schema: Arc::clone(&self.schema), views: published.ledgers(ledger) });
            }
        };
        match (published.view(name), published.query(name)) {
            (Some(view), _) => {
                Ok(ViewTable { schema: self.read_from(name, &view.schema, projection)?, ..ViewTable::new(view) })
            }
            (None, Some(query)) => Err(not_readable(&query)),
            // In the words that say so of a name in a statement.
            (None, None) => {
                Err(Error::invalid(format!("table '{name}' not found")).hint("SHOW TABLES lists what there is"))
            }
        }
    }

    /// The plan's schema as far as it is read, which the view `now` must have, too. What is not read may have become anything.
    ///
    /// # Errors
    /// `Invalid` where the plan reads a column that the view no longer has as it had it.
    fn read_from(
        &self,
        name: &str,
        now: &SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> crate::error::Result<SchemaRef> {
        if *now == self.schema {
            return Ok(Arc::clone(now));
        }
        let mut fields = Vec::with_capacity(self.schema.fields().len());
        for (at, field) in self.schema.fields().iter().enumerate() {
            let there = now.field_with_name(field.name()).ok();
            let same = there.is_some_and(|there| {
                there.data_type() == field.data_type() && (field.is_nullable() || !there.is_nullable())
            });
            let is_read = projection.is_none_or(|projection| projection.contains(&at));
            fields.push(match there {
                _ if same => Arc::clone(field),
                Some(there) if !is_read => Arc::new(there.clone()),
                None if !is_read => Arc::new(field.as_ref().clone().with_nullable(true)),
                _ => {
                    let column = field.name();
                    let what = if there.is_some() { "is not what it was" } else { "is no longer there" };
                    return Err(Error::invalid(format!("column \"{column}\" of view \"{name}\" {what}"))
                        .detail("the view was changed after the statement was prepared")
                        .hint("prepare the statement again"));
                }
            });
        }
        Ok(Arc::new(Schema::new_with_metadata(fields, self.schema.metadata().clone())))
    }
}

/// Why a view cannot be read whose query has not shown anything since the server started: what it had committed is not whole here yet.
/// `Unavailable` where trying again may help.
pub fn not_readable(query: &QueryStatus) -> Error {
    let (state, reason) = query.get();
    let name = &query.name;
    let error = match state {
        QueryState::Starting => {
            Error::unavailable(format!("view \"{name}\" is still being restored from its checkpoint"))
                .hint("try again soon; /readyz says what is missing")
        }
        QueryState::Degraded | QueryState::Stalled => {
            Error::unavailable(format!("view \"{name}\" cannot be read yet: its query is {}", state.name()))
        }
        other => Error::invalid(format!("view \"{name}\" cannot be read: its query is {}", other.name())),
    };
    match reason {
        Some(reason) => error.detail(reason),
        None => error,
    }
}

#[async_trait]
impl TableProvider for NamedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// For SHOW CREATE TABLE and `information_schema.views`.
    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    /// As for [`ViewTable`].
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Where another server has taken over, the snapshot that would be taken now is an old one.
        if let Some(standing) = self.published.upgrade().and_then(|published| published.standing()) {
            standing.check().await?;
        }
        self.now(projection)?.scan(state, projection, filters, limit).await
    }
}

/// Rows of the tail that are on local disk.
#[derive(Debug)]
struct PutAway {
    schema: SchemaRef,
    rows: Rows,
}

impl PartitionStream for PutAway {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = self.rows.batches().map(move |batch| conform(&batch?, &schema));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::iter(batches)))
    }
}

/// The batch with the columns and types of `schema`, matched by name.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let mut columns = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        columns.push(match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Arc::clone(column),
            Some(column) => cast(column, field.data_type())?,
            None if field.is_nullable() => new_null_array(field.data_type(), batch.num_rows()),
            None => return plan_err!("a published batch lacks column \"{}\"", field.name()),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
