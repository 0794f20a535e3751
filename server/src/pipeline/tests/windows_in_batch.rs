//! What a query with windows says of the same rows when it runs once over all of them.

use super::joins::lines;
use super::*;

struct Given {
    known: Fixed,
    rows: BTreeMap<&'static str, Vec<Row>>,
}

impl Tables for Given {
    fn defined(&self) -> &Defined {
        self.known.defined()
    }

    fn provider(&self, table: &Arc<TableDef>) -> Result<Arc<dyn TableProvider>> {
        let Some(rows) = self.rows.get(table.name.as_str()) else { return self.known.provider(table) };
        let batches = if rows.is_empty() { vec![] } else { json(table.schema(), &text(rows)) };
        Ok(Arc::new(MemTable::try_new(table.schema(), vec![batches])?))
    }
}

/// Its rows as lines, sorted.
pub(super) async fn in_batch(query: &str, clicks: &[Row], taps: &[Row]) -> Vec<String> {
    let (known, view) = parsed(query).unwrap();
    let given = Given { known, rows: [("clicks", clicks.to_vec()), ("taps", taps.to_vec())].into() };
    let settings = PlanSettings { partitions: 2, wide_rows: 3 };
    let planned = plan_bounded(&view, &given, settings).await.unwrap_or_else(|error| panic!("{}", error.report()));
    let Planned::Batch(context, plan) = planned else { panic!("{query} is planned as a stream") };
    let physical = context.state().create_physical_plan(&plan).await.unwrap();
    let batches = datafusion::physical_plan::collect(physical, context.task_ctx()).await.unwrap();
    let mut found = lines(&batches);
    found.sort();
    found
}
