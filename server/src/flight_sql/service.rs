//! The `FlightService`: what each call of the protocol does, dispatched by Flight SQL command.
//!
//! Implemented on the service itself and not on arrow-flight's SQL trait, which answers GetSchema and PollFlightInfo with
//! "unimplemented" for good. Who calls is known before: `calls` puts the principal into the request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::ipc::root_as_message;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    Any, Command, CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult,
    DoPutUpdateResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria, Empty, FlightData,
    FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult,
    SchemaAsIpc, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use super::auth::{Auth, Principal};
use super::handles::Handles;
use super::session::{AdHoc, Cancel};
use super::statement::{Bound, Prepared, StatementError};
use super::status::status;
use super::wire::WireEncoder;
use super::{metadata, options};
use crate::error::Error;
use crate::tables::catalog::Catalog;
use crate::tables::{AdHocFigures, AdHocWork};

/// Tickets and prepared statements that one caller may have, each.
pub(super) const HANDLES_MAX: usize = 1_024;
/// Bytes that they may take, each kind, as far as they are counted.
const HANDLES_BYTES_MAX: usize = 128 * 1024 * 1024;
/// A ticket that nobody redeems is forgotten after this.
const TICKET_TTL: Duration = Duration::from_secs(5 * 60);
/// A prepared statement that nobody uses is forgotten after this, as the session is that it belongs to: pools keep both for
/// as long as they are idle.
const PREPARED_TTL: Duration = Duration::from_secs(4 * 3600);
/// Bytes of bound parameters of one statement, as they are sent.
const PARAMETER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And as they lie in memory.
const PARAMETER_MEMORY_MAX: usize = 4 * PARAMETER_BYTES_MAX;
/// Uploads of parameters that one caller may have under way; more wait.
const PUTS_AT_ONCE: usize = 4;

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

/// See the module's first lines.
#[derive(Debug)]
pub struct FlightSql {
    adhoc: AdHoc,
    catalog: Catalog,
    auth: Auth,
    tickets: Arc<Handles<Redeemable>>,
    prepared: Handles<Statement>,
    /// By user name.
    puts: Mutex<HashMap<Arc<str>, Arc<Semaphore>>>,
}

/// What a ticket stands for.
#[derive(Debug)]
struct Redeemable {
    bound: Arc<Bound>,
    cancel: Cancel,
}

#[derive(Debug)]
struct Statement {
    prepared: Arc<Prepared>,
    /// Bound by DoPut for the executions that follow. The handle does not change: some clients ignore a new one.
    parameters: Mutex<Option<RecordBatch>>,
}

impl FlightSql {
    pub fn new(adhoc: AdHoc, catalog: Catalog, auth: Auth) -> Self {
        FlightSql {
            adhoc,
            catalog,
            auth,
            tickets: Arc::new(Handles::new(HANDLES_MAX, HANDLES_BYTES_MAX, TICKET_TTL)),
            prepared: Handles::new(HANDLES_MAX, HANDLES_BYTES_MAX, PREPARED_TTL),
            puts: Mutex::default(),
        }
    }

    pub fn adhoc(&self) -> &AdHoc {
        &self.adhoc
    }

    /// As [`Auth::replace`].
    pub(super) fn replace_users(&self, users: impl IntoIterator<Item = (String, String)>) -> Result<(), Error> {
        self.auth.replace(users)
    }

    /// Who sends a call with this `authorization` header, from `peer`.
    pub(super) async fn authenticate(
        &self,
        authorization: Option<&str>,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Status> {
        self.auth.authenticate(authorization, peer).await
    }

    async fn prepare(&self, caller: &Principal, sql: &str, deadline: Instant) -> Result<Prepared, Status> {
        self.adhoc.prepare(sql, &caller.name, &self.auth.schema(caller), deadline).await.map_err(status)
    }

    fn statement(&self, caller: &Principal, handle: &[u8]) -> Result<Arc<Statement>, Status> {
        self.prepared
            .get(caller, handle)
            .ok_or_else(|| Status::not_found("the prepared statement is closed or has expired"))
    }

    /// A statement ready to run, for the two commands that name one; `None` for other commands.
    async fn bind(&self, caller: &Principal, command: &Command, deadline: Instant) -> Result<Option<Bound>, Status> {
        let (prepared, values) = match command {
            Command::CommandStatementQuery(CommandStatementQuery { query, transaction_id }) => {
                no_transaction(transaction_id.as_ref())?;
                (Arc::new(self.prepare(caller, query, deadline).await?), None)
            }
            Command::CommandPreparedStatementQuery(CommandPreparedStatementQuery { prepared_statement_handle }) => {
                let statement = self.statement(caller, prepared_statement_handle)?;
                (Arc::clone(&statement.prepared), statement.parameters.lock().clone())
            }
            _ => return Ok(None),
        };
        self.adhoc.bind(prepared, values, deadline).await.map(Some).map_err(status)
    }

    async fn flight_info(
        &self,
        caller: &Principal,
        descriptor: FlightDescriptor,
        deadline: Instant,
    ) -> Result<FlightInfo, Status> {
        let command = command(&descriptor.cmd)?;
        let info = FlightInfo::new().with_descriptor(descriptor.clone());
        let (info, ticket) = if let Some(bound) = self.bind(caller, &command, deadline).await? {
            let info = info.try_with_schema(&bound.schema).map_err(schema_failure)?;
            if let Some(schema) = bound.sets_schema {
                self.use_schema(caller, schema)?;
            }
            let bytes = bound.bytes;
            let redeemable = Redeemable { bound: Arc::new(bound), cancel: Cancel::default() };
            let statement_handle = self.tickets.insert(caller, redeemable, bytes).map_err(status)?;
            (info, TicketStatementQuery { statement_handle }.as_any().encode_to_vec().into())
        } else if let Some(answer) = metadata::answer(&self.catalog, &command) {
            let answer = answer.map_err(status)?;
            // Cheap enough to make again when the ticket, which is the command itself, comes back.
            (info.try_with_schema(answer.schema_ref()).map_err(schema_failure)?, descriptor.cmd)
        } else {
            return Err(refusal(&command));
        };
        // No location: the client is to use the connection that it has.
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
        Ok(info.with_endpoint(endpoint).with_total_records(-1).with_total_bytes(-1).with_ordered(true))
    }

    /// Here and not when rows are fetched: clients do not always fetch what has no rows for them.
    fn use_schema(&self, caller: &Principal, schema: &str) -> Result<(), Status> {
        // A caller without a session has no place to keep it in; what he already has is fine.
        if self.auth.set_schema(caller, schema) || self.auth.schema(caller) == schema {
            return Ok(());
        }
        Err(Status::failed_precondition(format!(
            "there is no session that could use schema \"{schema}\"\n  hint: log in by a handshake, or write {schema}.table"
        )))
    }

    async fn rows(&self, caller: Principal, handle: Bytes, deadline: Instant) -> Result<BoxStream<FlightData>, Status> {
        let ticket = self.tickets.get(&caller, &handle);
        let ticket =
            ticket.ok_or_else(|| Status::not_found("the ticket was redeemed, was cancelled or has expired"))?;
        let mut encoder = WireEncoder::new(Arc::clone(&ticket.bound.schema));
        let schema = encoder.schema_message();
        let encode = move |batch: RecordBatch| encoder.encode(&batch);
        let (bound, cancel) = (Arc::clone(&ticket.bound), ticket.cancel.clone());
        let rows = self.adhoc.run(&caller.name, bound, cancel, deadline, encode).await.map_err(status)?;
        let redeemed = Redeemed { tickets: Arc::clone(&self.tickets), caller, handle, _ticket: ticket };
        let rows = rows.map_err(status).inspect(move |_| {
            // Lives as long as the stream: with its end, or its client's, the ticket is used up.
            let _ = &redeemed;
        });
        Ok(stream::once(async move { Ok(schema) }).chain(rows).boxed())
    }

    async fn create_prepared(&self, caller: &Principal, body: &Bytes, deadline: Instant) -> Result<Bytes, Status> {
        let request: ActionCreatePreparedStatementRequest = unpack(body)?;
        no_transaction(request.transaction_id.as_ref())?;
        let prepared = Arc::new(self.prepare(caller, &request.query, deadline).await?);
        let dataset_schema = schema_bytes(&prepared.schema)?;
        let parameter_schema = schema_bytes(&prepared.parameter_schema())?;
        let bytes = prepared.bytes;
        let statement = Statement { prepared, parameters: Mutex::default() };
        let prepared_statement_handle = self.prepared.insert(caller, statement, bytes).map_err(status)?;
        let result =
            ActionCreatePreparedStatementResult { prepared_statement_handle, dataset_schema, parameter_schema };
        Ok(result.as_any().encode_to_vec().into())
    }

    /// Stops what the tickets of a FlightInfo stand for.
    fn cancel(&self, caller: &Principal, info: Option<FlightInfo>) -> CancelStatus {
        let mut outcome = CancelStatus::NotCancellable;
        for endpoint in info.map(|info| info.endpoint).unwrap_or_default() {
            let Some(ticket) = endpoint.ticket else { continue };
            let Ok(Command::TicketStatementQuery(ticket)) = command(&ticket.ticket) else { continue };
            if let Some(ticket) = self.tickets.remove(caller, &ticket.statement_handle) {
                ticket.cancel.cancel();
                outcome = CancelStatus::Cancelled;
            }
        }
        outcome
    }

    async fn act(&self, caller: &Principal, action: Action, deadline: Instant) -> Result<Option<Bytes>, Status> {
        let body = action.body;
        Ok(match action.r#type.as_str() {
            "CreatePreparedStatement" => Some(self.create_prepared(caller, &body, deadline).await?),
            "ClosePreparedStatement" => {
                let request: ActionClosePreparedStatementRequest = unpack(&body)?;
                // Closing what is closed already is no mistake.
                self.prepared.remove(caller, &request.prepared_statement_handle);
                None
            }
            "CancelFlightInfo" => {
                let request: CancelFlightInfoRequest = decode(&body)?;
                let outcome = CancelFlightInfoResult::new(self.cancel(caller, request.info));
                Some(outcome.encode_to_vec().into())
            }
            "CancelQuery" => {
                let request: arrow_flight::sql::ActionCancelQueryRequest = unpack(&body)?;
                let info = FlightInfo::decode(request.info).map_err(malformed)?;
                // The older action numbers its results as the newer one does.
                let result = self.cancel(caller, Some(info)) as i32;
                Some(arrow_flight::sql::ActionCancelQueryResult { result }.as_any().encode_to_vec().into())
            }
            "SetSessionOptions" => Some(options::set(&self.auth, caller, decode(&body)?).encode_to_vec().into()),
            "GetSessionOptions" => Some(options::get(&self.auth, caller).encode_to_vec().into()),
            "CloseSession" => Some(options::close(&self.auth, caller).encode_to_vec().into()),
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
                return Err(Status::unimplemented(
                    "there are no transactions: each statement reads one committed checkpoint",
                ));
            }
            "CreatePreparedSubstraitPlan" => {
                return Err(Status::unimplemented("Substrait plans are not supported; send SQL"));
            }
            other => return Err(Status::unimplemented(format!("there is no action \"{}\"", shortened(other)))),
        })
    }

    async fn put(
        &self,
        caller: &Principal,
        mut data: Streaming<FlightData>,
        deadline: Instant,
    ) -> Result<PutResult, Status> {
        let puts = Arc::clone(
            self.puts.lock().entry(Arc::clone(&caller.name)).or_insert_with(|| Arc::new(Semaphore::new(PUTS_AT_ONCE))),
        );
        let _permit = puts.acquire_owned().await.map_err(|_| Status::unavailable("the server stops"))?;
        let first = data.message().await?.ok_or_else(|| Status::invalid_argument("the stream is empty"))?;
        let descriptor = first.flight_descriptor.clone();
        let descriptor = descriptor.ok_or_else(|| Status::invalid_argument("the first message has no descriptor"))?;
        let command = command(&descriptor.cmd)?;
        let (handle, runs) = match command {
            Command::CommandPreparedStatementQuery(query) => (query.prepared_statement_handle, false),
            Command::CommandPreparedStatementUpdate(update) => (update.prepared_statement_handle, true),
            other => return Err(refusal(&other)),
        };
        let statement = self.statement(caller, &handle)?;
        // An update may come without parameters, or after them.
        if runs && first.data_header.is_empty() {
            let bound = statement.parameters.lock().clone();
            return self.run_unread(caller, &statement, bound, deadline).await;
        }
        // A client's bytes meet a decoder that was not written against hostile ones.
        let values = AssertUnwindSafe(parameters(first, data)).catch_unwind().await;
        let values = values.map_err(|_panic| Status::invalid_argument("the parameters cannot be read"))??;
        if runs {
            let bound = (values.num_columns() > 0).then_some(values).or_else(|| statement.parameters.lock().clone());
            return self.run_unread(caller, &statement, bound, deadline).await;
        }
        let bytes = statement.prepared.bytes + values.get_array_memory_size();
        *statement.parameters.lock() = Some(values);
        self.prepared.resize(caller, &handle, bytes);
        let result = DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) };
        Ok(PutResult { app_metadata: result.encode_to_vec().into() })
    }

    /// Runs a query whose rows nobody takes, as `executemany` asks for it; answers how many there were.
    async fn run_unread(
        &self,
        caller: &Principal,
        statement: &Statement,
        values: Option<RecordBatch>,
        deadline: Instant,
    ) -> Result<PutResult, Status> {
        let bound = self.adhoc.bind(Arc::clone(&statement.prepared), values, deadline).await.map_err(status)?;
        if let Some(schema) = bound.sets_schema {
            self.use_schema(caller, schema)?;
        }
        let count = |batch: RecordBatch| Ok(vec![batch.num_rows()]);
        let rows = self.adhoc.run(&caller.name, Arc::new(bound), Cancel::default(), deadline, count).await;
        let rows =
            rows.map_err(status)?.map_err(status).try_fold(0_usize, |sum, rows| async move { Ok(sum + rows) }).await?;
        let result = DoPutUpdateResult { record_count: i64::try_from(rows).unwrap_or(i64::MAX) };
        Ok(PutResult { app_metadata: result.encode_to_vec().into() })
    }
}

impl AdHocWork for FlightSql {
    fn figures(&self) -> AdHocFigures {
        let handles = self.tickets.len() + self.prepared.len();
        AdHocFigures { sessions: self.auth.sessions(), handles, ..self.adhoc.figures() }
    }
}

/// Uses a ticket up when its stream ends.
struct Redeemed {
    tickets: Arc<Handles<Redeemable>>,
    caller: Principal,
    handle: Bytes,
    /// While its rows are sent it can be cancelled, so it must not make room for others.
    _ticket: Arc<Redeemable>,
}

impl Drop for Redeemed {
    fn drop(&mut self) {
        self.tickets.remove(&self.caller, &self.handle);
    }
}

/// Who sends a call. Nothing gets here without a principal; that none is taken for anybody is how it stays.
fn caller<T>(request: &Request<T>) -> Result<Principal, Status> {
    let principal = request.extensions().get::<Principal>().cloned();
    principal.ok_or_else(|| Status::unauthenticated("it is not known who calls"))
}

async fn parameters(first: FlightData, rest: Streaming<FlightData>) -> Result<RecordBatch, Status> {
    let mut bytes = 0;
    let messages = stream::once(async move { Ok(first) }).chain(rest).map(move |message| {
        let message = message.map_err(|error| FlightError::Tonic(Box::new(error)))?;
        bytes += message.data_header.len() + message.data_body.len();
        let refusal = match bytes > PARAMETER_BYTES_MAX {
            true => too_many_parameters(),
            // A few bytes can stand for any number, and the decoder makes room for them before it looks.
            false if is_compressed(&message.data_header) => {
                Status::invalid_argument("parameters are not accepted in compressed messages")
            }
            false => return Ok(message),
        };
        Err(FlightError::Tonic(Box::new(refusal)))
    });
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let unreadable = |error: FlightError| match error {
        FlightError::Tonic(status) => *status,
        other => Status::invalid_argument(format!("the parameters cannot be read: {other}")),
    };
    let mut taken = Vec::new();
    let mut memory = 0;
    while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
        memory += batch.get_array_memory_size();
        if memory > PARAMETER_MEMORY_MAX {
            return Err(too_many_parameters());
        }
        taken.push(batch);
    }
    let schema = batches.schema().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
    concat_batches(&schema, &taken).map_err(|error| status(Error::from(error)))
}

fn too_many_parameters() -> Status {
    Status::resource_exhausted(format!("the parameters take more than {PARAMETER_BYTES_MAX} bytes"))
}

fn is_compressed(header: &[u8]) -> bool {
    let Ok(message) = root_as_message(header) else { return false };
    let batch = message.header_as_record_batch();
    let batch = batch.or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    batch.is_some_and(|batch| batch.compression().is_some())
}

fn command(bytes: &Bytes) -> Result<Command, Status> {
    let any = Any::decode(bytes.clone()).map_err(malformed)?;
    Command::try_from(any).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn unpack<M: ProstMessageExt>(body: &Bytes) -> Result<M, Status> {
    let any = Any::decode(body.clone()).map_err(malformed)?;
    any.unpack()
        .map_err(|error| Status::invalid_argument(error.to_string()))?
        .ok_or_else(|| Status::invalid_argument("the action's body is another message"))
}

fn decode<M: Message + Default>(body: &Bytes) -> Result<M, Status> {
    M::decode(body.clone()).map_err(malformed)
}

fn malformed(error: prost::DecodeError) -> Status {
    Status::invalid_argument(format!("the message cannot be read: {error}"))
}

fn schema_failure(error: arrow::error::ArrowError) -> Status {
    status(Error::bug("a schema cannot be encoded").caused_by(error))
}

fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into();
    message.map(|IpcMessage(bytes)| bytes).map_err(schema_failure)
}

fn no_transaction(id: Option<&Bytes>) -> Result<(), Status> {
    match id.filter(|id| !id.is_empty()) {
        None => Ok(()),
        Some(_) => Err(Status::invalid_argument("there is no such transaction: this server has none")),
    }
}

/// Why a command has no result.
fn refusal(command: &Command) -> Status {
    match command {
        Command::CommandStatementUpdate(_) | Command::CommandStatementIngest(_) => status(
            Error::invalid("only queries can be run here: SQL connections are read-only")
                .detail("the client asked for an update")
                .hint("run a SELECT as a query; tables and views are defined by the files in schemas/ and queries/"),
        ),
        Command::CommandStatementSubstraitPlan(_) => {
            Status::unimplemented("Substrait plans are not supported; send SQL")
        }
        other => Status::invalid_argument(format!("\"{}\" cannot be used here", shortened(other.type_url()))),
    }
}

/// What a client sent, short enough to be quoted.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

/// The client's own limit, from the `grpc-timeout` header: up to eight digits and a unit.
fn asked_timeout(headers: &MetadataMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[tonic::async_trait]
impl FlightService for FlightSql {
    type HandshakeStream = BoxStream<HandshakeResponse>;
    type ListFlightsStream = BoxStream<FlightInfo>;
    type DoGetStream = BoxStream<FlightData>;
    type DoPutStream = BoxStream<PutResult>;
    type DoExchangeStream = BoxStream<FlightData>;
    type DoActionStream = BoxStream<arrow_flight::Result>;
    type ListActionsStream = BoxStream<ActionType>;

    async fn handshake(&self, request: Request<Streaming<HandshakeRequest>>) -> Answer<Self::HandshakeStream> {
        let caller = caller(&request)?;
        let token = self.auth.open_session(&caller).map_err(status)?;
        let bearer =
            format!("Bearer {token}").parse().map_err(|_| Status::internal("a token is not a header value"))?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response: Response<Self::HandshakeStream> =
            Response::new(stream::once(async move { Ok(answer) }).boxed());
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn list_flights(&self, request: Request<Criteria>) -> Answer<Self::ListFlightsStream> {
        caller(&request)?;
        Err(Status::unimplemented("flights are not listed; ask for tables by Flight SQL"))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<FlightInfo> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        Ok(Response::new(self.flight_info(&caller, request.into_inner(), deadline).await?))
    }

    /// Complete at the first poll: rows are made when they are fetched.
    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Answer<PollInfo> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        let info = self.flight_info(&caller, request.into_inner(), deadline).await?;
        Ok(Response::new(PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: Some(1.0),
            expiration_time: None,
        }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Answer<SchemaResult> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        let command = command(&request.into_inner().cmd)?;
        let schema = match &command {
            Command::CommandStatementQuery(query) => {
                Arc::clone(&self.prepare(&caller, &query.query, deadline).await?.schema)
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = self.statement(&caller, &query.prepared_statement_handle)?;
                let bound = statement.parameters.lock().is_some();
                match self.bind(&caller, &command, deadline).await {
                    Ok(Some(ready)) if bound => ready.schema,
                    _ => Arc::clone(&statement.prepared.schema),
                }
            }
            _ => match metadata::answer(&self.catalog, &command) {
                Some(answer) => answer.map_err(status)?.schema(),
                None => return Err(refusal(&command)),
            },
        };
        Ok(Response::new(SchemaResult { schema: schema_bytes(&schema)? }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Answer<Self::DoGetStream> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        let command = command(&request.into_inner().ticket)?;
        if let Command::TicketStatementQuery(ticket) = command {
            return Ok(Response::new(self.rows(caller, ticket.statement_handle, deadline).await?));
        }
        let answer = metadata::answer(&self.catalog, &command)
            .unwrap_or_else(|| Err(Error::invalid("this is not a ticket of this server")));
        let answer = answer.map_err(status)?;
        let messages =
            FlightDataEncoderBuilder::new().with_schema(answer.schema()).build(stream::once(async move { Ok(answer) }));
        Ok(Response::new(messages.map_err(|error| status(Error::bug(error.to_string()))).boxed()))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoPutStream> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        // What a client sends has a time, too: uploads that do not end would keep all others of their user waiting.
        let put = timeout_at(deadline, self.put(&caller, request.into_inner(), deadline)).await;
        let result = put.map_err(|_| status(StatementError::TimedOut))??;
        Ok(Response::new(stream::once(async move { Ok(result) }).boxed()))
    }

    async fn do_exchange(&self, request: Request<Streaming<FlightData>>) -> Answer<Self::DoExchangeStream> {
        caller(&request)?;
        Err(Status::unimplemented("DoExchange is not part of Flight SQL"))
    }

    async fn do_action(&self, request: Request<Action>) -> Answer<Self::DoActionStream> {
        let caller = caller(&request)?;
        let deadline = self.adhoc.deadline(asked_timeout(request.metadata()));
        let results = self.act(&caller, request.into_inner(), deadline).await?;
        let results = results.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(stream::iter(results).boxed()))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Answer<Self::ListActionsStream> {
        caller(&request)?;
        let actions = [
            ("CreatePreparedStatement", "plans a statement once; answers with its handle and schemas"),
            ("ClosePreparedStatement", "forgets a prepared statement"),
            ("CancelFlightInfo", "stops the statement that a FlightInfo stands for"),
            ("CancelQuery", "the same, for older clients"),
            ("SetSessionOptions", "sets catalog, schema or time zone"),
            ("GetSessionOptions", "answers with catalog, schema and time zone"),
            ("CloseSession", "forgets the caller's token"),
        ];
        let actions =
            actions.map(|(name, text)| Ok(ActionType { r#type: name.to_owned(), description: text.to_owned() }));
        Ok(Response::new(stream::iter(actions).boxed()))
    }
}
