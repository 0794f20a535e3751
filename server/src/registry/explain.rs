//! `EXPLAIN` of a continuous query on a server: planned as it would be for running, and not run.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Catalog, planned};
use crate::catalog::{Explained, Statement};
use crate::config::one_error;
use crate::error::{Error, Result};
use crate::pipeline::PlanSettings;
use crate::sql::{nearest, parse_file};
use crate::tables::StreamPlans;

/// The definitions as they stood at the last look at the files.
#[derive(Debug)]
pub(super) struct Definitions {
    pub(super) catalog: Arc<Catalog>,
    pub(super) settings: PlanSettings,
}

#[async_trait]
impl StreamPlans for Definitions {
    async fn explain(&self, statement: &str) -> Result<Vec<String>> {
        let mut statements = parse_file("", statement).map_err(one_error)?;
        let explained = match (statements.pop(), statements.is_empty()) {
            (Some(Statement::Explain(explained)), true) => explained,
            _ => return Err(Error::invalid("more than one statement was sent").hint("send them one by one")),
        };
        let view = match explained {
            Explained::Query(view) => Arc::new(view),
            Explained::View { name, location } => match self.catalog.views.get(&name) {
                Some(view) => Arc::clone(view),
                None => return Err(self.no_view(&name).at(location)),
            },
        };
        Ok(planned(view, Arc::clone(&self.catalog), self.settings).await?.pipeline.explain())
    }
}

impl Definitions {
    fn no_view(&self, name: &str) -> Error {
        let error = Error::invalid(format!("there is no materialized view \"{name}\""));
        if self.catalog.defined.plain_views.contains_key(name) {
            return error.hint("it is a plain view: EXPLAIN the queries that read it, or EXPLAIN SELECT * FROM it");
        }
        let names: Vec<String> = self.catalog.views.keys().cloned().collect();
        match nearest(name, &names) {
            Some(near) => error.hint(format!("did you mean \"{near}\"?")),
            None => error.hint("touchline.queries lists them"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog_of;
    use super::*;
    use crate::clock::Clock;
    use crate::sink::postgres::PostgresSettings;
    use crate::source::kafka::KafkaSettings;
    use crate::source::reader::SourceDeps;
    use crate::tables::snapshot::Snapshots;
    use crate::tables::source::SnapshotReader;

    #[tokio::test]
    async fn a_view_is_explained_by_its_name_and_before_it_is_there() {
        let statements = parse_file(
            "t.sql",
            "CREATE TABLE t (id BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts)
               WITH ('connector' = 'kafka', 'topic' = 't');
             CREATE VIEW p AS SELECT id FROM t;
             CREATE MATERIALIZED VIEW per_minute AS
               SELECT window_end, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_end;",
        )
        .expect("right");
        let deps = SourceDeps {
            kafka: KafkaSettings::default(),
            embedded: None,
            postgres: PostgresSettings::default(),
            clock: Clock::System,
        };
        let snapshots: Arc<dyn SnapshotReader> = Arc::new(Snapshots::new(deps));
        let (catalog, errors) = catalog_of(&statements, &snapshots);
        assert!(errors.is_empty(), "{errors:?}");
        let settings = PlanSettings { partitions: 2, wide_rows: 32_768 };
        let definitions = Definitions { catalog: Arc::new(catalog), settings };
        let by_name = definitions.explain("EXPLAIN MATERIALIZED VIEW per_minute").await.expect("a plan");
        assert!(by_name.iter().any(|line| line.contains("windows of TUMBLE(1 minute) go")), "{by_name:?}");
        let text = "explain create materialized view x as
            SELECT window_end, count(*) AS n FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_end;";
        assert_eq!(definitions.explain(text).await.expect("a plan"), by_name);
        for (text, said) in [
            (
                "EXPLAIN MATERIALIZED VIEW per_minut",
                "line 1, column 1: there is no materialized view \"per_minut\"\n  hint: did you mean \"per_minute\"?",
            ),
            ("EXPLAIN MATERIALIZED VIEW p", "EXPLAIN SELECT * FROM it"),
            (
                "EXPLAIN CREATE MATERIALIZED VIEW x AS\nSELECT nope FROM t",
                "line 2, column 8: column \"nope\" does not exist",
            ),
            (
                "EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT count(*) AS n FROM t",
                "line 1, column 1: an aggregate over a stream",
            ),
            ("EXPLAIN CREATE MATERIALIZED VIEW x AS SELECT id FROM t; SELECT 1", "more than one statement"),
            ("EXPLAIN MATERIALIZED VIEW p q", "expected the end of the statement"),
        ] {
            let report = definitions.explain(text).await.expect_err(text).report();
            assert!(report.contains(said), "{text}\n{report}");
        }
    }
}
