//! The door as clients see it: a real server on a loopback port, asked by arrow-flight's client and by raw calls.

mod limits;
mod metadata;
mod names;
mod parameters;
mod readers;
mod sessions;
mod shorthand;

use std::sync::atomic::Ordering;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::record_batch::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo, CommandStatementQuery, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, Empty, FlightDescriptor,
    FlightInfo, Ticket,
};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use prost::Message;
use tokio::sync::oneshot;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::catalog::{
    CSV_DELIMITER_DEFAULT, Column, Connector, Format, KafkaTopic, OnBadRow, RecordRows, StartAt, TableDef,
};
use crate::error::Location;
use crate::status::{PartitionStatus, QueryState, QueryStatus, SourceStatus};
use crate::tables::source::SnapshotBatches;
use crate::tables::{About, PublishedView, SealedFile, StreamPlans, TailRows, ViewSnapshot};

/// A topic of 10 batches of 100 rows, numbered from 0.
#[derive(Debug)]
struct TenBatches;

#[async_trait]
impl SnapshotReader for TenBatches {
    async fn open(&self, table: Arc<TableDef>, columns: Vec<usize>) -> Result<SnapshotBatches> {
        let schema = table.schema();
        let batches = (0..10).map(move |batch| {
            let numbers = Int64Array::from_iter_values(batch * 100..batch * 100 + 100);
            let names = StringArray::from_iter_values((0..100).map(|row| format!("row {row}")));
            let all = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers), Arc::new(names)])?;
            Ok(all.project(&columns)?)
        });
        Ok(stream::iter(batches).boxed())
    }
}

fn scores_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("match_id", DataType::Utf8View, false),
        Field::new("goals", DataType::Int64, false),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

fn scores(rows: &[(&str, i64)]) -> RecordBatch {
    let ids = StringViewArray::from_iter_values(rows.iter().map(|row| row.0));
    let goals = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
    let at = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| Some(row.1 * 1_000_000).filter(|_| row.1 > 1)));
    RecordBatch::try_new(scores_schema(), vec![Arc::new(ids), Arc::new(goals), Arc::new(at)]).expect("a batch")
}

fn ledger(query: &str) -> Arc<PublishedView> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("query", DataType::Utf8, false),
        Field::new("reason", DataType::Utf8, true),
    ]));
    let view = PublishedView::new(format!("touchline.dead_letters.{query}"), Arc::clone(&schema));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(StringArray::from(vec![query])), Arc::new(StringArray::from(vec!["bad"]))];
    let tail = RecordBatch::try_new(schema, columns).expect("a batch");
    let tail = Arc::new([TailRows { checkpoint: 1, rows: vec![tail].into() }]);
    view.publish(ViewSnapshot { checkpoint: 1, tail, ..ViewSnapshot::default() });
    Arc::new(view)
}

fn events() -> TableDef {
    let column = |name: &str, data_type, comment: Option<&str>| Column {
        comment: comment.map(str::to_owned),
        ..Column::physical(name, data_type, false)
    };
    TableDef {
        name: "events".to_owned(),
        columns: vec![column("n", DataType::Int64, Some("a number")), column("name", DataType::Utf8, None)],
        watermark: None,
        primary_key: Vec::new(),
        connector: Connector::Kafka(KafkaTopic { topic: "events".to_owned(), brokers: None, start: StartAt::Earliest }),
        format: Format::Json,
        csv_delimiter: CSV_DELIMITER_DEFAULT,
        rows: RecordRows::One,
        on_bad_row: OnBadRow::Fail,
        refresh_interval: None,
        http: None,
        text: "CREATE TABLE events (n BIGINT)".to_owned(),
        location: Location { file: "schemas/events.sql".to_owned(), line: 1, column: 1 },
    }
}

fn parquet(rows: &RecordBatch) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, rows.schema(), None).expect("a writer");
    writer.write(rows).expect("writes");
    writer.close().expect("closes");
    file
}

/// What a view of which nothing is published yet has in its file.
fn ratios() -> RecordBatch {
    let ratios: ArrayRef = Arc::new(Float64Array::from(vec![50.0, f64::NAN]));
    RecordBatch::try_from_iter([("ratio", ratios)]).expect("a batch")
}

const RATIOS: &str = "ratios/event_date=2026-06-11/ratios-1-2-0-0.parquet";

async fn published(store: &InMemory) -> Arc<Published> {
    let file = parquet(&scores(&[("m1", 1), ("m2", 2)]));
    let path = "scores/event_date=2026-06-11/scores-1-2-0-0.parquet";
    let sealed = SealedFile {
        path: path.to_owned(),
        bytes: file.len() as u64,
        rows: 2,
        checkpoints: None,
        sha256: None,
        times: Default::default(),
    };
    store.put(&Path::parse(path).expect("a path"), file.into()).await.expect("puts");
    store.put(&Path::parse(RATIOS).expect("a path"), parquet(&ratios()).into()).await.expect("puts");

    let published = Published::default();
    let view = PublishedView::new("scores", scores_schema()).described(About {
        text: "CREATE MATERIALIZED VIEW scores AS SELECT 1".to_owned(),
        primary_key: vec!["match_id".to_owned(), "at".to_owned()],
        folder: "scores".to_owned(),
        hot_table: Some("scores".to_owned()),
    });
    let tail = Arc::new([TailRows { checkpoint: 7, rows: vec![scores(&[("m3", 3)])].into() }]);
    view.publish(ViewSnapshot { checkpoint: 7, sealed: Arc::new([Arc::new(sealed)]), tail, ..ViewSnapshot::default() });
    published.put_view(Arc::new(view));
    published.put_view(ledger("a"));
    published.put_view(ledger("b"));
    published.put_source(Arc::new(events()));

    let query = QueryStatus::new("scores", "queries/scores.sql");
    query.set(QueryState::Running, None);
    query.rows_in.store(1000, Ordering::Relaxed);
    let partition = |end, event_time_max| PartitionStatus { position: 10, end: Some(end), event_time_max, idle: false };
    let partitions = [(0, partition(10, Some(5))), (1, partition(30, Some(9)))].into();
    query.sources.write().insert("events".to_owned(), SourceStatus { watermark: Some(5), partitions });
    published.put_query(Arc::new(query));
    Arc::new(published)
}

struct Server {
    service: Arc<FlightSql>,
    published: Arc<Published>,
    endpoint: Endpoint,
    channel: Channel,
    _stop: Arc<oneshot::Sender<()>>,
}

impl Server {
    async fn start(settings: AdHocSettings, users: &[(&str, &str)]) -> Server {
        let store = InMemory::new();
        let published = published(&store).await;
        let users = users.iter().map(|(name, password)| ((*name).to_owned(), (*password).to_owned()));
        let deps = FlightDeps {
            published: Arc::clone(&published),
            store: Arc::new(store),
            reader: Arc::new(TenBatches),
            settings,
            account: Account::unlimited(),
            entrance: Entrance::try_new(users, None).expect("an entrance"),
        };
        let door = Door::try_new(deps).expect("a door");
        let service = Arc::clone(&door.service);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        tokio::spawn(door.serve(listener, shutdown));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("a URL");
        let channel = endpoint.connect().await.expect("connects");
        Server { service, published, endpoint, channel, _stop: Arc::new(stop) }
    }

    async fn another_connection(&self) -> Server {
        Server {
            service: Arc::clone(&self.service),
            published: Arc::clone(&self.published),
            endpoint: self.endpoint.clone(),
            channel: self.endpoint.connect().await.expect("connects"),
            _stop: Arc::clone(&self._stop),
        }
    }

    async fn open() -> Server {
        Server::start(AdHocSettings::default(), &[]).await
    }

    fn client(&self) -> FlightSqlServiceClient<Channel> {
        FlightSqlServiceClient::new(self.channel.clone())
    }

    fn raw(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel.clone())
    }

    async fn query(&self, sql: &str) -> Result<RecordBatch, tonic::Status> {
        let mut client = self.client();
        let info = client.execute(sql.to_owned(), None).await.map_err(tonic::Status::from)?;
        fetch(&mut client, info).await
    }

    async fn ok(&self, sql: &str) -> RecordBatch {
        self.query(sql).await.unwrap_or_else(|status| panic!("{sql}: {status}"))
    }

    async fn code(&self, sql: &str) -> Code {
        self.query(sql).await.expect_err(sql).code()
    }
}

async fn fetch(client: &mut FlightSqlServiceClient<Channel>, info: FlightInfo) -> Result<RecordBatch, tonic::Status> {
    let announced = info.clone().try_decode_schema().expect("a schema");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut rows = client.do_get(ticket).await.map_err(tonic::Status::from)?;
    let mut batches = Vec::new();
    while let Some(batch) = rows.try_next().await.map_err(tonic::Status::from)? {
        assert_eq!(batch.schema().as_ref(), &announced, "a batch has the announced schema");
        batches.push(batch);
    }
    let schema = rows.schema().expect("a schema message").clone();
    assert_eq!(schema.as_ref(), &announced, "the stream has the announced schema");
    Ok(arrow::compute::concat_batches(&schema, &batches).expect("one schema"))
}

fn ints(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    let column = batch.column_by_name(column).expect("a column").as_string::<i32>();
    column.iter().map(|text| text.unwrap_or("NULL").to_owned()).collect()
}

fn statement(sql: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(
        CommandStatementQuery { query: sql.to_owned(), transaction_id: None }.as_any().encode_to_vec(),
    )
}

#[tokio::test]
async fn a_view_is_its_sealed_files_and_its_tail() {
    let server = Server::open().await;
    assert_eq!(
        texts(&server.ok("SELECT match_id FROM scores ORDER BY match_id").await, "match_id"),
        ["m1", "m2", "m3"]
    );
    assert_eq!(ints(&server.ok("SELECT count(*) FROM scores").await), [3]);
    assert_eq!(ints(&server.ok("SELECT sum(goals) FROM scores WHERE match_id >= 'm2'").await), [5]);
    assert_eq!(server.ok("SELECT * FROM scores LIMIT 2").await.num_rows(), 2);
    assert_eq!(
        ints(&server.ok("SELECT count(*) FROM touchline.public.scores a JOIN scores b USING (match_id)").await),
        [3]
    );
    let before = server.ok("SELECT b.goals FROM scores a ASOF JOIN scores b ON a.at > b.at").await;
    assert_eq!(ints(&before), [2]);
}

#[tokio::test]
async fn a_source_table_is_a_bounded_snapshot() {
    let server = Server::open().await;
    assert_eq!(ints(&server.ok("SELECT count(*) FROM events").await), [1000]);
    assert_eq!(ints(&server.ok("SELECT max(n) FROM events WHERE name = 'row 7'").await), [907]);
    assert_eq!(server.ok("SELECT name, n FROM events LIMIT 3").await.num_rows(), 3);
}

#[tokio::test]
async fn system_tables_tell_who_holds_the_watermark_back() {
    let server = Server::open().await;
    let queries = server.ok("SELECT state, rows_in FROM touchline.queries").await;
    assert_eq!(texts(&queries, "state"), ["RUNNING"]);
    assert_eq!(ints(&server.ok("SELECT lag FROM touchline.lag ORDER BY lag DESC").await), [20, 0]);
    assert_eq!(ints(&server.ok("SELECT \"end\" FROM touchline.lag WHERE partition = 1").await), [30]);
    let holds = server.ok("SELECT CAST(partition AS BIGINT) FROM touchline.watermarks WHERE holds_back").await;
    assert_eq!(ints(&holds), [0]);
    assert_eq!(server.ok("SELECT * FROM touchline.checkpoints").await.num_rows(), 0);
    let ledgers = server.ok("SELECT query FROM touchline.dead_letters ORDER BY query").await;
    assert_eq!(texts(&ledgers, "query"), ["a", "b"]);
    assert_eq!(server.code("SELECT * FROM \"touchline.dead_letters.a\"").await, Code::NotFound);
}

/// Clients refuse a result whose schema, nullability included, is not the announced one.
#[tokio::test]
async fn prepare_get_schema_flight_info_and_do_get_have_one_schema() {
    let server = Server::open().await;
    for sql in [
        "SELECT 1",
        "SELECT * FROM scores",
        "SELECT * FROM scores WHERE false",
        "SELECT count(*), max(goals), min(at), avg(goals), sum(goals) FROM scores",
        "SELECT count(*) FROM scores WHERE match_id = 'none'",
        "SELECT match_id, count(DISTINCT goals), array_agg(goals) FROM scores GROUP BY match_id",
        "SELECT match_id, row_number() OVER (ORDER BY goals) FROM scores",
        "SELECT a.*, b.* FROM scores a LEFT JOIN scores b ON a.goals = b.goals + 1",
        "SELECT 1 AS x UNION ALL SELECT 2.5 UNION ALL SELECT NULL",
        "SELECT CASE WHEN goals > 1 THEN 'a' END FROM scores",
        "SELECT NULL, true, X'00FF', DATE '2026-06-11', TIMESTAMP '2026-06-11 12:00:00', INTERVAL '1' DAY, TIME '12:00:00'",
        "SELECT CAST(1 AS DECIMAL(5, 2)) AS a, CAST(1 AS TINYINT) AS b, CAST(1 AS REAL) AS c, arrow_cast('a', 'Dictionary(Int32, Utf8)')",
        "SELECT arrow_cast('a', 'LargeUtf8') AS a, arrow_cast(1, 'Float16') AS b, arrow_cast(1, 'Decimal32(5, 1)') AS c, arrow_cast('a', 'BinaryView') AS d",
        "SELECT [1, 2], struct(1 AS a, 'x' AS b), arrow_cast([1], 'LargeList(Int64)'), map(['k'], ['v'])",
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t (n, s)",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
        "SELECT * FROM generate_series(1, 3)",
        "EXPLAIN SELECT * FROM scores",
        "EXPLAIN ANALYZE SELECT count(*) FROM scores",
        "DESCRIBE scores",
        "SHOW TABLES",
        "SELECT table_name FROM information_schema.tables",
    ] {
        let mut client = server.client();
        let prepared = client.prepare(sql.to_owned(), None).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let announced = prepared.dataset_schema().expect("a schema").clone();
        let schema = server.raw().get_schema(statement(sql)).await.expect(sql).into_inner();
        assert_eq!(announced, try_schema_from_ipc_buffer(&schema.schema).expect("a schema"), "{sql}");
        let info = client.execute(sql.to_owned(), None).await.expect(sql);
        assert_eq!(announced, info.clone().try_decode_schema().expect("a schema"), "{sql}");
        fetch(&mut client, info).await.unwrap_or_else(|status| panic!("{sql}: {status}"));
        let poll = server.raw().poll_flight_info(statement(sql)).await.expect(sql).into_inner();
        assert_eq!(poll.progress, Some(1.0));
        let polled = poll.info.expect("complete at once").try_decode_schema().expect("a schema");
        assert_eq!(announced, polled, "{sql}");
    }
}

#[tokio::test]
async fn types_that_old_clients_cannot_read_are_sent_as_plain_ones() {
    let server = Server::open().await;
    let rows = server.ok("SELECT match_id, arrow_cast('a', 'Dictionary(Int32, Utf8)'), arrow_cast(1.5, 'Float16') FROM scores LIMIT 1").await;
    let types: Vec<_> = rows.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Utf8, DataType::Utf8, DataType::Float32]);
}

#[tokio::test]
async fn json_and_maps_are_asked_as_in_a_continuous_query() {
    let server = Server::open().await;
    let rows = server
        .ok("SELECT json_value('{\"a\": 7}', '$.a' RETURNING BIGINT) AS n, '{\"a\": \"x\"}' ->> 'a' = 'x' AS same, \
             map(['k'], [1])['k'] AS fixed, map([match_id], [goals])[match_id] AS own, map([match_id], [goals])['no'] AS none \
             FROM scores WHERE match_id = 'm3'")
        .await;
    let shown = |column: usize| arrow::util::display::array_value_to_string(rows.column(column), 0).expect("shown");
    assert_eq!((0..5).map(shown).collect::<Vec<_>>(), ["7", "true", "1", "3", ""]);
}

#[tokio::test]
async fn parameters_are_bound_by_position_and_by_name() {
    let server = Server::open().await;
    for (sql, columns) in [
        ("SELECT goals FROM scores WHERE match_id = $1 AND goals < $2", ["$1", "$2"]),
        ("SELECT goals FROM scores WHERE match_id = ? AND goals < ?", ["a", "b"]),
        ("SELECT goals FROM scores WHERE match_id = $id AND goals < $most", ["$id", "$most"]),
    ] {
        let mut client = server.client();
        let mut prepared = client.prepare(sql.to_owned(), None).await.expect(sql);
        assert_eq!(prepared.parameter_schema().expect("a schema").fields().len(), 2, "{sql}");
        let error = prepared.execute().await.expect_err("nothing is bound");
        assert!(error.to_string().contains("2 parameters"), "{error}");

        // Two rows of parameters: the statement runs twice, and a value of another type is cast.
        let values = RecordBatch::try_from_iter([
            (columns[0], Arc::new(StringArray::from(vec!["m3", "m1"])) as arrow::array::ArrayRef),
            (columns[1], Arc::new(arrow::array::Int32Array::from(vec![10, 10]))),
        ]);
        prepared.set_parameters(values.expect("a batch")).expect("takes parameters");
        let info = prepared.execute().await.expect(sql);
        assert_eq!(ints(&fetch(&mut client, info).await.expect(sql)), [3, 1], "{sql}");
        let info = prepared.execute().await.expect("again");
        assert_eq!(fetch(&mut client, info).await.expect(sql).num_rows(), 2, "{sql}");
        prepared.close().await.expect("closes");
    }
    assert_eq!(server.code("SELECT goals FROM scores WHERE goals = ?").await, Code::InvalidArgument);
}

#[tokio::test]
async fn metadata_answers_with_and_without_filters() {
    let server = Server::open().await;
    let mut client = server.client();
    let info = client.get_catalogs().await.expect("catalogs");
    assert_eq!(texts(&fetch(&mut client, info).await.expect("rows"), "catalog_name"), ["touchline"]);
    for (catalog, pattern, expected) in [
        (None, None, vec!["public", "touchline"]),
        (Some("touchline"), Some("pub%"), vec!["public"]),
        (Some("touchline"), Some("publi_"), vec!["public"]),
        (Some(""), None, vec![]),
    ] {
        let request = CommandGetDbSchemas {
            catalog: catalog.map(str::to_owned),
            db_schema_filter_pattern: pattern.map(str::to_owned),
        };
        let info = client.get_db_schemas(request).await.expect("schemas");
        assert_eq!(
            texts(&fetch(&mut client, info).await.expect("rows"), "db_schema_name"),
            expected,
            "{catalog:?} {pattern:?}"
        );
    }
    for (name, types, expected) in [
        (
            None,
            vec![],
            vec![
                "events",
                "scores",
                "checkpoints",
                "dead_letters",
                "dead_letters_whole",
                "lag",
                "queries",
                "watermarks",
            ],
        ),
        (Some("%s"), vec!["BASE TABLE"], vec!["events"]),
        (Some("score_"), vec!["VIEW"], vec!["scores"]),
        (Some("s%"), vec!["BASE TABLE", "table"], vec!["scores"]),
        (Some("nothing"), vec![], vec![]),
    ] {
        for include_schema in [false, true] {
            let request = CommandGetTables {
                catalog: None,
                db_schema_filter_pattern: None,
                table_name_filter_pattern: name.map(str::to_owned),
                table_types: types.iter().map(|kind| (*kind).to_owned()).collect(),
                include_schema,
            };
            let info = client.get_tables(request).await.expect("tables");
            let rows = fetch(&mut client, info).await.expect("rows");
            assert_eq!(texts(&rows, "table_name"), expected, "{name:?}");
            assert_eq!(rows.num_columns(), 4 + usize::from(include_schema));
            if include_schema && expected == ["events"] {
                let schema = try_schema_from_ipc_buffer(rows.column(4).as_binary::<i32>().value(0)).expect("a schema");
                let field = schema.field(0);
                assert!(field.is_nullable(), "as a SELECT of it says");
                assert_eq!(field.metadata()["ARROW:FLIGHT:SQL:TYPE_NAME"], "BIGINT");
                assert_eq!(field.metadata()["ARROW:FLIGHT:SQL:REMARKS"], "a number");
            }
        }
    }
    let info = client.get_table_types().await.expect("types");
    assert_eq!(
        texts(&fetch(&mut client, info).await.expect("rows"), "table_type"),
        ["BASE TABLE", "MATERIALIZED VIEW", "SYSTEM TABLE", "TOPIC", "VIEW"]
    );
    let info = client.get_sql_info(vec![]).await.expect("all");
    assert!(fetch(&mut client, info).await.expect("rows").num_rows() > 80);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerTransaction]).await.expect("one");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_rows(), 1);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.expect("types");
    assert!(fetch(&mut client, info).await.expect("rows").num_rows() > 15);
    let info = client.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: Some(12) }).await.expect("types");
    assert_eq!(texts(&fetch(&mut client, info).await.expect("rows"), "type_name"), ["VARCHAR"]);

    let table = || "scores".to_owned();
    let info =
        client.get_primary_keys(CommandGetPrimaryKeys { table: table(), ..Default::default() }).await.expect("keys");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_columns(), 6);
    let info =
        client.get_exported_keys(CommandGetExportedKeys { table: table(), ..Default::default() }).await.expect("keys");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_columns(), 13);
    let info =
        client.get_imported_keys(CommandGetImportedKeys { table: table(), ..Default::default() }).await.expect("keys");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_rows(), 0);
    let request = CommandGetCrossReference { pk_table: table(), fk_table: table(), ..Default::default() };
    let info = client.get_cross_reference(request).await.expect("keys");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_rows(), 0);
}

#[tokio::test]
async fn what_does_not_only_read_is_refused() {
    let server = Server::open().await;
    for sql in [
        "CREATE TABLE t (a INT)",
        "CREATE TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "CREATE SCHEMA s",
        "CREATE DATABASE d",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'file:///etc/passwd'",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'http://169.254.169.254/latest'",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "DROP TABLE scores",
        "DROP VIEW scores",
        "INSERT INTO scores VALUES ('m', 1, NULL)",
        "INSERT INTO events SELECT 1, 'a'",
        "UPDATE scores SET goals = 1",
        "DELETE FROM scores",
        "TRUNCATE TABLE scores",
        "COPY scores TO '/tmp/out.parquet'",
        "COPY (SELECT 1) TO 's3://bucket/x' STORED AS CSV",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN READ WRITE",
        "SAVEPOINT a",
        "USE nothing",
        "EXPLAIN INSERT INTO scores VALUES ('m', 1, NULL)",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
        "EXPLAIN COPY scores TO '/tmp/out.parquet'",
        "EXPLAIN ANALYZE INSERT INTO scores VALUES ('m', 1, NULL)",
        "EXPLAIN ANALYZE COPY scores TO '/tmp/out.parquet'",
        "SELECT 1; DROP TABLE scores",
        "",
        "-- nothing",
    ] {
        let code = server.code(sql).await;
        assert!(matches!(code, Code::InvalidArgument | Code::Unimplemented | Code::NotFound), "{sql}: {code:?}");
        assert!(server.client().prepare(sql.to_owned(), None).await.is_err(), "{sql} was prepared");
    }
    for sql in
        ["SELECT * FROM '/etc/passwd'", "SELECT * FROM \"file:///etc/passwd\"", "SELECT * FROM read_csv('/etc/passwd')"]
    {
        assert!(server.query(sql).await.is_err(), "{sql}");
    }
    assert_eq!(
        server
            .client()
            .execute_update("INSERT INTO scores VALUES (1)".to_owned(), None)
            .await
            .map_err(tonic::Status::from)
            .expect_err("refused")
            .code(),
        Code::InvalidArgument
    );
    assert_eq!(ints(&server.ok("SELECT count(*) FROM scores").await), [3]);
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_the_right_code() {
    let server = Server::open().await;
    let status = server.query("SELECT * FROM nothing").await.expect_err("no such table");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("nothing"), "{status}");
    assert_eq!(server.code("SELECT nothing FROM scores").await, Code::InvalidArgument);
    assert_eq!(server.code("SELEC 1").await, Code::InvalidArgument);
    assert_eq!(server.code("SELECT CAST('x' AS BIGINT) FROM scores").await, Code::InvalidArgument);
    assert_eq!(server.code("SELECT repeat('x', 5000000)").await, Code::ResourceExhausted);
    let begin = server.client().begin_transaction().await.map_err(tonic::Status::from).expect_err("no transactions");
    assert_eq!(begin.code(), Code::Unimplemented);
}

/// At its place in the statement, and with what to write or where to put it instead.
#[tokio::test]
async fn mistakes_and_refusals_say_where_and_what_instead() {
    let server = Server::open().await;
    let mut wrong = String::new();
    for (sql, want) in [
        ("SELEC 1", "line 1, column 1: expected an SQL statement, found `SELEC`"),
        ("SELECT 'x", "line 1, column 8: unterminated string literal"),
        (
            "SELECT match_id\nFROM scores EMIT ON WINDOW CLOSE",
            "line 2, column 13: expected end of statement, found `EMIT`\n  hint: EMIT belongs to a view",
        ),
        (
            "SELECT goal FROM scores",
            "line 1, column 8: column \"goal\" does not exist\n  hint: did you mean \"goals\"?",
        ),
        ("SELECT * FROM score", "line 1, column 15: table 'score' not found\n  hint: did you mean \"scores\"?"),
        (
            "SELECT * FROM touchline.dead_letter",
            "line 1, column 15: table 'touchline.dead_letter' not found\n  hint: did you mean \"touchline.dead_letters\"?",
        ),
        (
            "SELECT 1,\n  upper(match_id, 2) FROM scores",
            "line 2, column 3: upper cannot be called with (VARCHAR, BIGINT)\n",
        ),
        (
            "SELECT tumble(updated_at,\n INTERVAL '0.5 months') FROM scores",
            "line 2, column 11: the window's size must not have months or years",
        ),
        ("SELECT goals, abs(match_id) FROM scores", "line 1, column 15: abs cannot be called with (VARCHAR)\n"),
        (
            "COPY scores TO 'x.csv'",
            "only queries can be run here: SQL connections are read-only\n  detail: the statement contains COPY\n  hint: for a result that is kept",
        ),
        (
            "insert into scores VALUES (1)",
            "only queries can be run here: SQL connections are read-only\n  detail: the statement contains INSERT\n",
        ),
        (
            "CREATE MATERIALIZED VIEW v AS SELECT 1",
            "only queries can be run here: SQL connections are read-only\n  detail: the statement contains CREATE\n  hint: write it into a file",
        ),
        ("SAVEPOINT a", "there are no transactions"),
    ] {
        let status = server.query(sql).await.expect_err(sql);
        if !status.message().starts_with(want) {
            wrong.push_str(&format!("{sql}\n--- want\n{want}\n--- found\n{}\n\n", status.message()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// After a start, and after a query was changed: clients that come back at once are not told that the view is gone.
#[tokio::test]
async fn a_value_that_an_expression_cannot_take_is_named_with_its_place() {
    let server = Server::open().await;
    for (sql, said) in [
        (
            "SELECT goals,\n  1 / (goals - 2) AS x FROM scores",
            "line 2, column 3: division by zero in \"1 / (goals - 2)\"",
        ),
        (
            "SELECT goals + 9223372036854775807 AS x FROM scores",
            "line 1, column 8: \"goals + 9223372036854775807\" does not fit",
        ),
        (
            "SELECT CAST(match_id AS BIGINT) AS x FROM scores",
            "line 1, column 13: \"CAST(match_id AS BIGINT)\" cannot take 'm",
        ),
        ("SELECT sum(goals * 4000000000000000000) AS s FROM scores WHERE goals > 1", "does not fit into BIGINT"),
    ] {
        let status = server.query(sql).await.expect_err(sql);
        assert!(status.message().contains(said), "{sql}: {}", status.message());
    }
    server
        .ok("SELECT window_start, sum(goals) AS s FROM TUMBLE(scores, at, INTERVAL '1 minute') GROUP BY window_start")
        .await;
    let grouped = "SELECT tumble(at, INTERVAL '1 minute') AS w, count(*) AS n FROM scores GROUP BY w";
    assert_eq!(server.ok(grouped).await.num_rows(), 1, "a row without a time is in no window");
}

#[tokio::test]
async fn a_statement_waits_for_a_view_that_is_being_restored() {
    let server = Server::open().await;
    let status = Arc::new(QueryStatus::new("restored", "queries/restored.sql"));
    server.published.put_query(Arc::clone(&status));
    let mut asked = Box::pin(server.query("SELECT goals FROM restored"));
    // Long enough for many looks; an answer now would be one that did not wait.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut asked).await;
    assert!(early.is_err(), "{early:?}");
    let view = PublishedView::new("restored", scores_schema());
    let tail = Arc::new([TailRows { checkpoint: 1, rows: vec![scores(&[("m1", 5)])].into() }]);
    view.publish(ViewSnapshot { checkpoint: 1, tail, ..ViewSnapshot::default() });
    server.published.put_view(Arc::new(view));
    status.set(QueryState::Running, None);
    let rows = asked.await.expect("the view is there");
    assert_eq!(ints(&rows), [5]);
}

#[tokio::test]
async fn a_view_whose_query_does_not_run_is_named_with_the_reason() {
    let server = Server::open().await;
    let status = QueryStatus::new("wrong", "queries/wrong.sql");
    status.set(QueryState::Rejected, Some("queries/wrong.sql:1:8: column \"x\" does not exist".to_owned()));
    server.published.put_query(Arc::new(status));
    let error = server.query("SELECT * FROM wrong").await.expect_err("there is no view");
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(
        error.message(),
        "view \"wrong\" cannot be read: its query is REJECTED\n  detail: queries/wrong.sql:1:8: column \"x\" does not exist"
    );
}

#[tokio::test]
async fn a_handshake_turns_a_password_into_a_token() {
    let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzYWx0$".to_owned();
    assert!(Auth::try_new([("broken".to_owned(), format!("{hash}###"))]).is_err());

    let server = Server::start(AdHocSettings::default(), &[("ana", "right"), ("ben", "secret")]).await;
    let mut client = server.client();
    client.handshake("ana", "right").await.expect("logs in");
    let info = client.execute("SELECT 1".to_owned(), None).await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info.clone()).await.expect("rows")), [1]);
    for (user, password) in [("ana", "wrong"), ("nobody", "right"), ("", ""), ("ana", "")] {
        let error = server.client().handshake(user, password).await.expect_err("refused");
        assert!(error.to_string().contains("required"), "{error}");
    }

    // A ticket and a prepared statement are of no use to another user.
    let mut other = server.client();
    other.handshake("ben", "secret").await.expect("logs in");
    let info = client.execute("SELECT 1".to_owned(), None).await.expect("runs");
    assert_eq!(fetch(&mut other, info).await.expect_err("not his").code(), Code::NotFound);

    // Every call without credentials, or with wrong ones.
    for token in [None, Some("Bearer nonsense"), Some("Basic nonsense"), Some("Basic YW5hOndyb25n")] {
        let mut raw = server.raw();
        macro_rules! refused {
            ($call:ident, $body:expr) => {{
                let mut request = tonic::Request::new($body);
                if let Some(token) = token {
                    request.metadata_mut().insert("authorization", token.parse().expect("a header"));
                }
                assert_eq!(raw.$call(request).await.map(|_| ()).expect_err("refused").code(), Code::Unauthenticated);
            }};
        }
        refused!(handshake, stream::iter([]));
        refused!(list_flights, Criteria::default());
        refused!(get_flight_info, statement("SELECT 1"));
        refused!(poll_flight_info, statement("SELECT 1"));
        refused!(get_schema, statement("SELECT 1"));
        refused!(do_get, Ticket::default());
        refused!(do_put, stream::iter([]));
        refused!(do_exchange, stream::iter([]));
        refused!(do_action, Action::default());
        refused!(list_actions, Empty {});
    }
}

#[tokio::test]
async fn a_session_keeps_its_schema() {
    let server = Server::open().await;
    let mut client = server.client();
    client.handshake("", "").await.expect("anonymous");
    let text = |value: &str| options::SessionOptionValue { value: Some(options::OptionValue::Text(value.to_owned())) };
    let request = options::SetSessionOptionsRequest {
        session_options: [
            ("schema".to_owned(), text("touchline")),
            ("catalog".to_owned(), text("none")),
            ("time_zone".to_owned(), text("Europe/Berlin")),
            ("timezone".to_owned(), text("UTC")),
            ("x".to_owned(), text("y")),
        ]
        .into(),
    };
    let mut answer = client.do_action(Action::new("SetSessionOptions", request.encode_to_vec())).await.expect("sets");
    let answer =
        options::SetSessionOptionsResult::decode(answer.message().await.expect("an answer").expect("an answer").body)
            .expect("the message");
    assert_eq!(answer.errors.len(), 3);
    assert_eq!(answer.errors["time_zone"].value(), options::OptionErrorKind::InvalidValue);
    assert_eq!(answer.errors["catalog"].value(), options::OptionErrorKind::InvalidValue);
    assert_eq!(answer.errors["x"].value(), options::OptionErrorKind::InvalidName);
    let info = client.execute("SELECT * FROM queries".to_owned(), None).await.expect("the session's schema");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_rows(), 1);
    assert_eq!(server.code("SELECT * FROM queries").await, Code::NotFound);
}

#[derive(Debug)]
struct OnePlan;

#[async_trait]
impl StreamPlans for OnePlan {
    async fn explain(&self, statement: &str) -> Result<Vec<String>> {
        match statement.contains("scores") {
            true => Ok(vec!["filter n = 'x'".to_owned(), "  scan events".to_owned()]),
            false => Err(Error::invalid("there is no such view")),
        }
    }
}

#[tokio::test]
async fn the_plan_of_a_stream_comes_as_rows_in_their_order() {
    let server = Server::open().await;
    assert_eq!(server.code("EXPLAIN MATERIALIZED VIEW scores").await, Code::Unavailable);
    server.published.put_stream_plans(Arc::new(OnePlan));
    for sql in ["EXPLAIN MATERIALIZED VIEW scores", " explain /* it */ create\nMATERIALIZED VIEW scores AS SELECT 1"] {
        let rows = server.ok(sql).await;
        assert_eq!(rows.schema().field(0).name(), "plan");
        assert_eq!(texts(&rows, "plan"), ["filter n = 'x'", "  scan events"]);
    }
    assert_eq!(server.code("EXPLAIN MATERIALIZED VIEW nope").await, Code::InvalidArgument);
}
