//! Which table a request is for. The tables are asked each time: they come and go while the server runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;

use super::answer::Refusal;
use super::validate::Validator;
use crate::catalog::{Connector, HttpBody, KafkaTopic, TableDef};
use crate::clock::Clock;
use crate::source::kafka::KafkaSettings;
use crate::tables::Published;

/// `/api/ingest/<table>` is there for each table that takes records.
const PREFIX: &str = "/api/ingest/";

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Of the table, which need not exist.
    pub(super) table: String,
    pub(super) form: HttpBody,
}

/// A table that takes records.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) topic: KafkaTopic,
    /// The column that an answer to a single record names.
    pub(super) id: Option<String>,
    pub(super) validator: Arc<Validator>,
}

#[derive(Debug)]
pub(super) struct Routes {
    published: Arc<Published>,
    kafka: KafkaSettings,
    clock: Clock,
    /// By table: made at its first request, and anew when what it was made of has changed.
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

impl Routes {
    pub(super) fn new(published: Arc<Published>, kafka: KafkaSettings, clock: Clock) -> Self {
        Routes { published, kafka, clock, validators: Mutex::default() }
    }

    /// # Errors
    /// 404 where the path leads nowhere, 503 where it leads to two tables.
    pub(super) fn target(&self, path: &str) -> Result<Target, Refusal> {
        if let Some(name) = path.strip_prefix(PREFIX)
            && !name.is_empty()
            && !name.contains('/')
        {
            return Ok(Target { table: name.to_owned(), form: HttpBody::Records });
        }
        let mut found = self.published.sources().into_iter().filter_map(|table| {
            let http = table.http.as_ref().filter(|http| http.path.as_deref() == Some(path))?;
            Some(Target { table: table.name.clone(), form: http.body.clone() })
        });
        match (found.next(), found.next()) {
            (None, _) => Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "nothing is at this path")),
            (Some(target), None) => Ok(target),
            (Some(first), Some(second)) => Err(Refusal::unavailable(format!(
                "tables {} and {} have the same http.path; one of them has to go",
                first.table, second.table
            ))),
        }
    }

    /// # Errors
    /// 404 where there is no such table, 403 where it takes no records by HTTP, 500 where it cannot be read.
    pub(super) fn open(&self, name: &str) -> Result<Open, Refusal> {
        let table = self
            .published
            .source(name)
            .ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "not_found", format!("there is no table \"{name}\"")))?;
        let (Some(http), Connector::Kafka(topic)) = (&table.http, &table.connector) else {
            let message =
                format!("table \"{name}\" takes no records by HTTP; its option 'http.ingest' = 'true' would open it");
            return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
        };
        let others = self.readers(&table, topic);
        let known = self.validators.lock().get(name).cloned();
        let validator = match known.filter(|known| known.is_of(&table, &others)) {
            Some(known) => known,
            None => {
                let made = Arc::new(Validator::try_new(&table, &others, &self.clock)?);
                let mut validators = self.validators.lock();
                validators.retain(|name, _| self.published.source(name).is_some());
                validators.insert(name.to_owned(), Arc::clone(&made));
                made
            }
        };
        Ok(Open { topic: topic.clone(), id: http.id.clone(), validator })
    }

    /// The tables of a topic that take nothing by HTTP themselves.
    fn readers(&self, of: &TableDef, topic: &KafkaTopic) -> Vec<Arc<TableDef>> {
        let mut tables = self.published.sources();
        tables.retain(|table| {
            let is_same = matches!(&table.connector, Connector::Kafka(other)
                if other.topic == topic.topic && self.brokers(other) == self.brokers(topic));
            is_same && table.http.is_none() && table.name != of.name
        });
        tables
    }

    /// In one order: a table may name those that are configured anyway.
    fn brokers<'a>(&'a self, topic: &'a KafkaTopic) -> Vec<&'a str> {
        let mut brokers: Vec<&str> =
            self.kafka.brokers_for(topic.brokers.as_deref()).split(',').map(str::trim).collect();
        brokers.sort_unstable();
        brokers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Statement;
    use crate::sql::parse_file;

    fn routes(text: &str) -> Routes {
        let published = Arc::new(Published::default());
        for statement in parse_file("t.sql", text).unwrap_or_else(|errors| panic!("{}", errors[0].report())) {
            let Statement::CreateTable(table) = statement else { panic!("{statement:?}") };
            published.put_source(Arc::new(table));
        }
        let kafka = KafkaSettings { brokers: "one:1,two:2".to_owned(), ..KafkaSettings::default() };
        Routes::new(published, kafka, Clock::manual(0))
    }

    const TABLES: &str = "
        CREATE TABLE a (n INT) WITH ('connector' = 'kafka', 'topic' = 't', 'http.path' = '/api/as', 'http.body' = 'as[]');
        CREATE TABLE b (n INT) WITH ('connector' = 'kafka', 'topic' = 't');
        CREATE TABLE c (n INT) WITH ('connector' = 'kafka', 'topic' = 't', 'brokers' = 'elsewhere:1');
        CREATE TABLE d (n INT) WITH ('connector' = 'kafka', 'topic' = 't', 'http.ingest' = 'true');
        CREATE TABLE e (n INT) WITH ('connector' = 'kafka', 'topic' = 'e', 'http.path' = '/api/twice');
        CREATE TABLE f (n INT) WITH ('connector' = 'kafka', 'topic' = 'e', 'http.path' = '/api/twice');
        CREATE TABLE g (n INT) WITH ('connector' = 'kafka', 'topic' = 't', 'brokers' = 'two:2,one:1');";

    #[test]
    fn a_path_leads_to_a_table_or_nowhere() {
        let routes = routes(TABLES);
        let to = |path: &str| routes.target(path).map_err(|refusal| refusal.status.as_u16());
        assert_eq!(to("/api/as"), Ok(Target { table: "a".into(), form: HttpBody::Field("as".into()) }));
        assert_eq!(to("/api/ingest/a"), Ok(Target { table: "a".into(), form: HttpBody::Records }));
        for nowhere in ["/", "/api/", "/api/as/", "/api/ingest/", "/api/ingest/a/b", "/api/ingest/../as", "/API/AS"] {
            assert_eq!(to(nowhere), Err(404), "{nowhere}");
        }
        assert_eq!(to("/api/twice"), Err(503));
    }

    #[test]
    fn a_table_is_open_if_it_says_so() {
        let routes = routes(TABLES);
        let status = |name: &str| routes.open(name).map(|_| ()).map_err(|refusal| refusal.status.as_u16());
        assert_eq!([status("a"), status("d")], [Ok(()), Ok(())]);
        assert_eq!([status("b"), status("nothing")], [Err(403), Err(404)]);
    }

    #[test]
    fn records_are_judged_by_the_tables_of_the_topic_as_they_are_now() {
        let routes = routes(TABLES);
        let readers = |routes: &Routes, name: &str| {
            let table = routes.published.source(name).unwrap();
            let Connector::Kafka(topic) = &table.connector else { panic!("{table:?}") };
            routes.readers(&table, topic).iter().map(|table| table.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(readers(&routes, "a"), ["b", "g"], "g names the brokers that b has by default");
        let first = routes.open("a").unwrap().validator;
        assert!(Arc::ptr_eq(&first, &routes.open("a").unwrap().validator));
        routes.published.remove_source("b");
        assert!(!Arc::ptr_eq(&first, &routes.open("a").unwrap().validator));
    }
}
