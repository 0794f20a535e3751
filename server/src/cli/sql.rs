//! `touchline sql`: asks a running server by Flight SQL and prints what it answers.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use arrow::csv::WriterBuilder;
use arrow::json::LineDelimitedWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use crate::error::{Error, ErrorKind, Result};

/// The largest message that is accepted from a server, bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks a running server.
#[derive(Debug, Clone, Args)]
pub(super) struct SqlArgs {
    /// The statement. Without it statements are read from standard input, each ending with a semicolon at the end of a line
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub command: Option<String>,
    /// Where the server listens for Flight SQL
    #[arg(long, default_value = "http://127.0.0.1:31337", env = "TOUCHLINE_URL")]
    pub url: String,
    /// User name, where the server has users
    #[arg(long)]
    pub user: Option<String>,
    /// The environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", default_value = "TOUCHLINE_PASSWORD")]
    pub password_env: String,
    /// PEM file with the certificate that the server's was issued by, for https URLs
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Columns for people
    Table,
    /// One object a line
    Json,
    /// With a header line
    Csv,
}

/// # Errors
/// `Unavailable` if the server cannot be reached, else what it answers.
pub(super) async fn run(args: SqlArgs) -> Result<()> {
    let mut client = connect(&args).await?;
    if let Some(sql) = &args.command {
        return execute(&mut client, sql, args.output, &mut io::stdout().lock()).await;
    }
    let prompt = io::stdin().is_terminal();
    let mut failed = None;
    while let Some(sql) = next_statement(&mut io::stdin().lock(), prompt)? {
        if let Err(error) = execute(&mut client, &sql, args.output, &mut io::stdout().lock()).await {
            // A person goes on after a mistake; a script stops at it.
            if !prompt {
                return Err(error);
            }
            eprintln!("{}", error.report());
            failed = Some(error);
        }
    }
    match failed {
        Some(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        _ => Ok(()),
    }
}

async fn connect(args: &SqlArgs) -> Result<FlightSqlServiceClient<Channel>> {
    let mut endpoint = Endpoint::from_shared(args.url.clone())
        .map_err(|error| Error::invalid(format!("\"{}\" is not a URL", args.url)).caused_by(error))?
        .tcp_nodelay(true);
    if args.url.starts_with("https:") {
        let mut tls = ClientTlsConfig::new();
        if let Some(path) = &args.ca_cert {
            let pem = std::fs::read(path)
                .map_err(|error| Error::invalid(format!("cannot read {}", path.display())).caused_by(error))?;
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| Error::invalid("the certificate cannot be used").caused_by(error))?;
    }
    let channel = endpoint.connect().await.map_err(|error| {
        Error::unavailable(format!("no server answers at {}", args.url))
            .caused_by(error)
            .hint("start one with `touchline serve` or `touchline demo`, or name another with --url")
    })?;
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut client = FlightSqlServiceClient::new_from_inner(inner);
    if let Some(user) = &args.user {
        let password = std::env::var(&args.password_env).map_err(|_| {
            Error::invalid(format!("no password for user \"{user}\""))
                .hint(format!("put it into the variable {}", args.password_env))
        })?;
        client.handshake(user, &password).await.map_err(|error| Error::invalid(format!("login refused: {error}")))?;
    }
    Ok(client)
}

/// Lines up to one that ends with a semicolon, or up to the end; `None` if there is nothing more.
fn next_statement(input: &mut impl BufRead, prompt: bool) -> Result<Option<String>> {
    let mut statement = String::new();
    loop {
        if prompt {
            eprint!("{}", if statement.is_empty() { "touchline> " } else { "      ...> " });
            io::stderr().flush()?;
        }
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(Some(statement).filter(|statement| !statement.trim().is_empty()));
        }
        if statement.is_empty() && line.trim().is_empty() {
            continue;
        }
        statement.push_str(&line);
        if line.trim_end().ends_with(';') {
            return Ok(Some(statement));
        }
    }
}

async fn execute(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: &str,
    output: Output,
    out: &mut impl Write,
) -> Result<()> {
    let info = client.execute(sql.to_owned(), None).await.map_err(answer)?;
    let mut printer = Printer::new(output);
    for endpoint in info.endpoint {
        let ticket = endpoint.ticket.ok_or_else(|| Error::unavailable("the server's answer has no ticket"))?;
        let mut batches = client.do_get(ticket).await.map_err(answer)?;
        while let Some(batch) = batches.try_next().await.map_err(answer)? {
            printer.print(batch, out)?;
        }
        if let Some(schema) = batches.schema() {
            printer.print(RecordBatch::new_empty(schema.clone()), out)?;
        }
    }
    printer.finish(out)?;
    out.flush()?;
    Ok(())
}

struct Printer {
    output: Output,
    header_printed: bool,
    /// A table's column widths depend on all of its rows.
    rows: Vec<RecordBatch>,
}

impl Printer {
    fn new(output: Output) -> Self {
        Printer { output, header_printed: false, rows: Vec::new() }
    }

    fn print(&mut self, batch: RecordBatch, out: &mut impl Write) -> Result<()> {
        match self.output {
            Output::Table => self.rows.push(batch),
            Output::Json => {
                let mut writer = LineDelimitedWriter::new(out);
                writer.write(&batch)?;
                writer.finish()?;
            }
            Output::Csv => {
                let header = !std::mem::replace(&mut self.header_printed, true);
                WriterBuilder::new().with_header(header).build(out).write(&batch)?;
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut impl Write) -> Result<()> {
        if self.output == Output::Table {
            writeln!(out, "{}", pretty_format_batches(&self.rows)?)?;
        }
        Ok(())
    }
}

/// The server's answer as an error of ours: its text is written for the user already.
fn answer(error: FlightError) -> Error {
    let status = match error {
        FlightError::Tonic(status) => status,
        FlightError::Arrow(arrow::error::ArrowError::IpcError(text)) => return Error::invalid(text),
        other => return Error::unavailable("the server's answer cannot be read").caused_by(other),
    };
    let kind = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::OverBudget,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Internal | Code::Unknown => ErrorKind::Bug,
        _ => ErrorKind::Invalid,
    };
    Error::new(kind, status.message())
}
