//! What people have done to a hot table, when another one takes its place: owner, privileges, row level security, comments and indexes of
//! their own go over to it. What cannot is named.

use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::{info, warn};

use super::connection::{Lease, failed};
use super::ddl::TableSql;
use super::{HotTable, PostgresSink};
use crate::error::Result;

/// Lists what there is, each with the statement that repeats it.
const FOUND: &str = include_str!("carry/found.sql");

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) over: Vec<String>,
    /// What the other table lacks, each with the reason where there is one.
    pub(super) left: Vec<String>,
}

/// Carries over what holds for `from_table` to `to_table`. Both are names, quoted and with their schema, and both are there. Rights become
/// those of `from_table` exactly; all else is added. To be called in a transaction, before `to_table` has many rows: its indexes are made
/// here. An index or a grant that does not fit the other table is left, and nothing else fails by it.
///
/// # Errors
/// Those of the connection, and whatever keeps rows from being protected as they were.
pub(super) async fn carry_over(db: &Client, from_table: &str, to_table: &str) -> Result<Carried> {
    let what = || format!("carry over to table {to_table} what was done to {from_table}");
    // The path is empty while names are read, so that each comes with its schema; going back to the savepoint restores it.
    db.batch_execute("SAVEPOINT touchline_carry; SET LOCAL search_path = ''")
        .await
        .map_err(|error| failed(what(), &error))?;
    let found = db
        .query_typed(FOUND, &[(&from_table, Type::TEXT), (&to_table, Type::TEXT)])
        .await
        .map_err(|error| failed(what(), &error))?;
    db.batch_execute("ROLLBACK TO SAVEPOINT touchline_carry; RELEASE SAVEPOINT touchline_carry")
        .await
        .map_err(|error| failed(what(), &error))?;
    let mut carried = Carried::default();
    let mut open = Open::default();
    for row in &found {
        let (kind, name) = (row.get::<_, &str>(1), row.get::<_, &str>(2));
        let Some(statement) = row.get::<_, Option<&str>>(3) else {
            carried.left.push(name.to_owned());
            continue;
        };
        if !open.allows(kind) {
            carried.left.push(format!("{name} (because of a policy)"));
            continue;
        }
        let guarded = format!("SAVEPOINT touchline_carry; {statement}; RELEASE SAVEPOINT touchline_carry");
        let Err(error) = db.batch_execute(&guarded).await else {
            carried.over.push(name.to_owned());
            continue;
        };
        let Some(reason) = error.as_db_error().map(|db| db.message().to_owned()).filter(|_| kind != "security") else {
            return Err(failed(what(), &error));
        };
        db.batch_execute("ROLLBACK TO SAVEPOINT touchline_carry; RELEASE SAVEPOINT touchline_carry")
            .await
            .map_err(|error| failed(what(), &error))?;
        open.failed(kind);
        carried.left.push(format!("{name} ({reason})"));
    }
    Ok(carried)
}

/// What may still be carried over after something could not be.
#[derive(Debug, Default)]
struct Open {
    policy_failed: bool,
    restriction_failed: bool,
}

impl Open {
    fn failed(&mut self, kind: &str) {
        self.policy_failed |= matches!(kind, "policy" | "restriction");
        self.restriction_failed |= kind == "restriction";
    }

    fn allows(&self, kind: &str) -> bool {
        match kind {
            // Without the policy that let us, we could not write any more.
            "force" => !self.policy_failed,
            // Others would see rows that were kept from them.
            "grant" => !self.restriction_failed,
            _ => true,
        }
    }
}

impl PostgresSink {
    /// For a table that has just come to bear its view's name: where another one was set aside for it in this transaction, what holds for
    /// that one holds for it now.
    pub(super) async fn carry_from_set_aside(&self, db: &Lease<'_>, hot: &HotTable, sql: &TableSql) -> Result<()> {
        let set_aside = self.set_aside_table()?;
        let from = db
            .query_typed_opt(
                &format!("SELECT table_name FROM {set_aside} WHERE hot_table = $1 AND set_aside_at = now() LIMIT 1"),
                &[(&hot.table, Type::TEXT)],
            )
            .await
            .map_err(|error| failed(format!("find what hot table {} replaces", sql.qualified), &error))?;
        let Some(from) = from.map(|row| row.get::<_, String>(0)) else { return Ok(()) };
        let carried = carry_over(db, &sql.in_schema(&from)?, &sql.qualified).await?;
        carried.tell(&hot.table, &from);
        Ok(())
    }
}

impl Carried {
    pub(super) fn tell(&self, table: &str, from: &str) {
        if !self.over.is_empty() {
            info!(table, from, what = ?self.over, "carried over to the new hot table");
        }
        if !self.left.is_empty() {
            warn!(table, from, what = ?self.left, "not carried over to the new hot table: do it by hand where it is wanted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_shown_that_a_lost_policy_would_have_hidden() {
        let mut open = Open::default();
        assert!(open.allows("grant") && open.allows("force"));
        open.failed("index");
        assert!(open.allows("grant") && open.allows("force"));
        open.failed("policy");
        assert!(open.allows("grant") && !open.allows("force"), "a lost permissive policy hides rows");
        open.failed("restriction");
        assert!(!open.allows("grant") && open.allows("comment"));
    }
}
