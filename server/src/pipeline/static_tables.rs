//! Static tables that are read again while a query runs: what is read together, and when it takes effect.
//!
//! When to read is not decided here: see `epoch::refresh`. What has been read waits until [`StaticTables::take_up`] puts it in place, which
//! the driver calls between two epochs, so that each epoch sees one version.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use datafusion::execution::TaskContext;
use parking_lot::Mutex;

use crate::catalog::TableDef;
use crate::error::Result;
use crate::operator::static_side::{Replace, StaticSide};

/// Those of a query, in groups.
#[derive(Debug, Default)]
pub struct StaticTables {
    groups: Vec<StaticGroup>,
}

/// Tables that are read together, since something reads several of them, or they stand alone.
#[derive(Debug)]
pub struct StaticGroup {
    /// Those of its tables that have a `'refresh-interval'`, at least one.
    pub tables: Vec<Arc<TableDef>>,
    sides: Vec<Arc<dyn StaticSide>>,
    /// Read and not in use yet.
    next: Mutex<Option<StaticVersion>>,
}

/// All static rows of one group, read together.
pub struct StaticVersion(Vec<Replace>);

impl fmt::Debug for StaticVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticVersion of {} sides", self.0.len())
    }
}

impl StaticTables {
    /// `sides`: all that the query reads beside its streams. `definition`: of a table by its name.
    pub(super) fn new(
        sides: impl IntoIterator<Item = Arc<dyn StaticSide>>,
        definition: impl Fn(&str) -> Option<Arc<TableDef>>,
    ) -> Self {
        let mut groups: Vec<StaticGroup> = Vec::new();
        for side in sides {
            let tables = side.tables().iter().filter_map(|name| definition(name));
            let tables: Vec<_> = tables.filter(|table| table.refresh_interval.is_some()).collect();
            if tables.is_empty() {
                continue;
            }
            let names: BTreeSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            let shares = |group: &StaticGroup| group.tables.iter().any(|table| names.contains(table.name.as_str()));
            let (shared, mut apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(shares);
            let mut joined = StaticGroup { tables: vec![], sides: vec![side], next: Mutex::default() };
            for group in shared {
                joined.tables.extend(group.tables);
                joined.sides.extend(group.sides);
            }
            let new = tables.iter().filter(|table| joined.tables.iter().all(|known| known.name != table.name));
            let new: Vec<_> = new.cloned().collect();
            joined.tables.extend(new);
            apart.push(joined);
            groups = apart;
        }
        StaticTables { groups }
    }

    pub fn groups(&self) -> &[StaticGroup] {
        &self.groups
    }

    /// Puts what has been read since the last call in the place of what it was read in place of. To be called between two epochs.
    pub fn take_up(&self) {
        for group in &self.groups {
            let next = group.next.lock().take();
            if let Some(StaticVersion(replace)) = next {
                replace.into_iter().for_each(|replace| replace());
            }
        }
    }
}

impl StaticGroup {
    /// Reads what the tables of the group hold now. Nothing in use changes.
    ///
    /// # Errors
    /// As for [`StaticSide::read`].
    pub(super) async fn read(&self, context: &Arc<TaskContext>) -> Result<StaticVersion> {
        let mut replace = Vec::with_capacity(self.sides.len());
        for side in &self.sides {
            replace.push(Arc::clone(side).read(context).await?);
        }
        Ok(StaticVersion(replace))
    }

    /// The version from the next epoch on. One that waits for an epoch is never used then.
    pub fn offer(&self, version: StaticVersion) {
        *self.next.lock() = Some(version);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::catalog::Statement;
    use crate::sql::parse_file;

    /// Counts its versions: read, and in use.
    #[derive(Debug, Default)]
    struct Counted {
        tables: BTreeSet<String>,
        read: AtomicU32,
        in_use: Arc<AtomicU32>,
    }

    #[async_trait]
    impl StaticSide for Counted {
        fn tables(&self) -> &BTreeSet<String> {
            &self.tables
        }

        async fn read(self: Arc<Self>, _: &Arc<TaskContext>) -> Result<Replace> {
            let version = self.read.fetch_add(1, Ordering::Relaxed) + 1;
            Ok(Box::new(move || self.in_use.store(version, Ordering::Relaxed)))
        }
    }

    fn reading(tables: &[&str]) -> Arc<Counted> {
        Arc::new(Counted { tables: tables.iter().map(|name| (*name).to_owned()).collect(), ..Counted::default() })
    }

    /// Of names in lower case the tables are read again, of others once.
    fn definition(name: &str) -> Option<Arc<TableDef>> {
        let again = if name == name.to_lowercase() { ", 'refresh-interval' = '1 s'" } else { "" };
        let text =
            format!("CREATE TABLE \"{name}\" (k INT) WITH ('connector' = 'filesystem', 'path' = 't.csv'{again});");
        match parse_file("t.sql", &text).unwrap().remove(0) {
            Statement::CreateTable(table) => Some(Arc::new(table)),
            other => panic!("{other:?}"),
        }
    }

    fn grouped(sides: &[Arc<Counted>]) -> StaticTables {
        StaticTables::new(sides.iter().map(|side| Arc::clone(side) as Arc<dyn StaticSide>), definition)
    }

    #[test]
    fn tables_that_anything_reads_together_are_one_group_and_those_that_are_read_once_are_in_none() {
        let sides = [&["a"][..], &["b", "Once"], &["Once"], &["c", "d"], &["b", "e"], &["d", "a"], &[]].map(reading);
        let groups = grouped(&sides);
        let mut names: Vec<Vec<&str>> = groups
            .groups()
            .iter()
            .map(|group| {
                let mut names: Vec<&str> = group.tables.iter().map(|table| table.name.as_str()).collect();
                names.sort_unstable();
                names
            })
            .collect();
        names.sort_unstable();
        assert_eq!(names, [vec!["a", "c", "d"], vec!["b", "e"]]);
        assert_eq!(groups.groups().iter().map(|group| group.sides.len()).sum::<usize>(), 5);
    }

    #[tokio::test]
    async fn what_is_read_is_in_use_when_it_is_taken_up_and_the_last_that_was_offered_counts() {
        let sides = [&["a"][..], &["a", "b"]].map(reading);
        let tables = grouped(&sides);
        let [group] = tables.groups() else { panic!("{tables:?}") };
        let in_use = || sides.each_ref().map(|side| side.in_use.load(Ordering::Relaxed));
        let context = Arc::new(TaskContext::default());
        tables.take_up();
        assert_eq!(in_use(), [0, 0]);
        group.offer(group.read(&context).await.unwrap());
        // Not offered: its files were written meanwhile.
        drop(group.read(&context).await.unwrap());
        assert_eq!(in_use(), [0, 0]);
        tables.take_up();
        assert_eq!(in_use(), [1, 1]);
        group.offer(group.read(&context).await.unwrap());
        group.offer(group.read(&context).await.unwrap());
        tables.take_up();
        assert_eq!(in_use(), [4, 4]);
        tables.take_up();
        assert_eq!(in_use(), [4, 4]);
    }
}
