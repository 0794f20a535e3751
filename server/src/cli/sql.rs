//! `touchline sql`: asks a running server by Flight SQL and prints what it answers.

use std::error::Error as _;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use arrow::csv::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::Action;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use clap::Args;
use futures::TryStreamExt;
use tonic::Code;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::output::{OutputFormat, StandardOutput};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::SourceText;
use crate::sql::dialect::StreamDialect;

/// The largest message that is accepted from a server, bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the server may take to close the session; it would end by itself, too.
const GOODBYE: Duration = Duration::from_secs(2);

/// Asks a running server.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Several statements, separated by semicolons, run one after the other up to the first that fails."
)]
pub(super) struct SqlArgs {
    /// Statements. Without it they are read from standard input, at a terminal each to its semicolon
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    pub command: Option<String>,
    #[command(flatten)]
    pub server: ServerArgs,
    /// How rows are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub output: OutputFormat,
}

// Where a running server is. Not a doc-comment: clap would take it for what the command does.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerArgs {
    /// Where the server listens for Flight SQL; https or grpc+tls where it has a certificate
    #[arg(long, default_value = "grpc://127.0.0.1:31337", env = "TOUCHLINE_URL")]
    pub url: String,
    /// User name, where the server has users
    #[arg(long)]
    pub user: Option<String>,
    /// The environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", default_value = "TOUCHLINE_PASSWORD")]
    pub password_env: String,
    /// PEM file with the certificate that the server's was issued by
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
}

/// # Errors
/// `Unavailable` if the server cannot be reached, else what it answers.
pub(super) async fn run(args: SqlArgs) -> Result<()> {
    let mut client = connect(&args.server).await?;
    let outcome = ask(&mut client, &args).await;
    leave(&mut client).await;
    outcome
}

/// Ends the session that a login has opened: the server would keep it for hours.
async fn leave(client: &mut FlightSqlServiceClient<Channel>) {
    if client.token().is_none() {
        return;
    }
    let goodbye = async {
        let mut answer = client.do_action(Action::new("CloseSession", Vec::new())).await?;
        answer.message().await.map_err(FlightError::from)
    };
    // What the user has asked for is done; that this fails changes nothing for him.
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

async fn ask(client: &mut FlightSqlServiceClient<Channel>, args: &SqlArgs) -> Result<()> {
    let text = match &args.command {
        Some(text) => text.clone(),
        None if io::stdin().is_terminal() => return converse(client, args.output).await,
        None => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            text
        }
    };
    let statements = statements(&text)?;
    if statements.is_empty() {
        return Err(Error::invalid("there is no statement")
            .hint("give one with -c 'SELECT …' or on standard input; SHOW TABLES lists what there is"));
    }
    for statement in statements {
        execute(client, statement, args.output, &mut StandardOutput::lock()).await?;
    }
    Ok(())
}

/// Statement for statement at a terminal, where a mistake ends nothing.
async fn converse(client: &mut FlightSqlServiceClient<Channel>, output: OutputFormat) -> Result<()> {
    while let Some(text) = next_statements(&mut io::stdin().lock())? {
        let ran = async {
            for statement in statements(&text)? {
                execute(client, statement, output, &mut StandardOutput::lock()).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = ran.await {
            eprintln!("error: {}", error.report());
        }
    }
    Ok(())
}

/// An address as tonic takes it, from one as ADBC, JDBC or a person writes it.
fn endpoint_url(url: &str) -> (String, bool) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("grpc", url));
    let encrypted = matches!(scheme, "https" | "grpc+tls" | "grpcs");
    let scheme = match scheme {
        "https" | "grpc+tls" | "grpcs" => "https",
        "http" | "grpc" | "grpc+tcp" => "http",
        other => other,
    };
    (format!("{scheme}://{rest}"), encrypted)
}

async fn connect(args: &ServerArgs) -> Result<FlightSqlServiceClient<Channel>> {
    let (url, encrypted) = endpoint_url(&args.url);
    let not_a_url = |error: tonic::transport::Error| {
        Error::invalid(format!("\"{}\" is not the address of a server", args.url))
            .caused_by(error)
            .hint("write it as grpc://host:port, or grpc+tls://host:port where the server has a certificate")
    };
    if !url.starts_with("http") {
        return Err(Error::invalid(format!("\"{}\" is not the address of a server", args.url))
            .hint("write it as grpc://host:port, or grpc+tls://host:port where the server has a certificate"));
    }
    let mut endpoint = Endpoint::from_shared(url).map_err(not_a_url)?.tcp_nodelay(true);
    if encrypted {
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
    let channel = endpoint.connect().await.map_err(|error| unreachable(args, encrypted, error))?;
    let inner = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut client = FlightSqlServiceClient::new_from_inner(inner);
    if let Some(user) = &args.user {
        let password = std::env::var(&args.password_env).map_err(|_| {
            Error::invalid(format!("no password for user \"{user}\""))
                .hint(format!("put it into the variable {}", args.password_env))
        })?;
        client.handshake(user, &password).await.map_err(|error| {
            let text = error.to_string();
            if text.contains("transport") {
                return broken(&text);
            }
            // The status as text: its message is the last part of it.
            let said = text.rsplit_once("message: ").map_or(text.as_str(), |(_, said)| said.trim_matches('"'));
            Error::invalid(format!("the server refuses the login of user \"{user}\""))
                .detail(said)
                .hint(format!("check --user and the password in the variable {}", args.password_env))
        })?;
    }
    Ok(client)
}

/// Refused, not found, or spoken to in the wrong way.
fn unreachable(args: &ServerArgs, encrypted: bool, error: tonic::transport::Error) -> Error {
    let mut causes = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push_str(&error.to_string());
        cause = error.source();
    }
    let described = Error::unavailable(format!("no server answers at {}", args.url)).caused_by(error);
    if encrypted && (causes.contains("certificate") || causes.contains("UnknownIssuer")) {
        return described.hint("name the certificate of the authority that has issued the server's with --ca-cert");
    }
    if encrypted && causes.contains("InvalidContentType") {
        return described.hint("what answers there is not encrypted; write grpc:// if that is meant");
    }
    described.hint("start one with `touchline serve` or `touchline demo`, or name another with --url")
}

/// The server went away in the middle, or speaks another protocol.
fn broken(how: &str) -> Error {
    Error::unavailable("the connection to the server broke").detail(how).hint(
        "is the server still running? where the server has a certificate, write grpc+tls:// and name it with --ca-cert",
    )
}

/// The statements of a text. Each comes with as much white space before it as there was text, so that the server's lines
/// and columns are those of the whole.
fn statements(text: &str) -> Result<Vec<String>> {
    let source = SourceText::new("", text)?;
    let (tokens, mistake) = source.tokens(&StreamDialect::default());
    if let Some(mistake) = mistake {
        return Err(mistake);
    }
    let statements = source.statements(tokens, true)?;
    Ok(statements
        .iter()
        .map(|statement| {
            let at = |count: u64| usize::try_from(count.saturating_sub(1)).unwrap_or(0);
            let (lines, columns) = ("\n".repeat(at(statement.start.line)), " ".repeat(at(statement.start.column)));
            format!("{lines}{columns}{}", source.slice(statement.start, statement.end))
        })
        .collect())
}

/// Lines up to one that ends with a semicolon, or up to the end; `None` if there is nothing more.
fn next_statements(input: &mut impl BufRead) -> Result<Option<String>> {
    let mut text = String::new();
    loop {
        eprint!("{}", if text.is_empty() { "touchline> " } else { "      ...> " });
        io::stderr().flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(Some(text).filter(|text| !text.trim().is_empty()));
        }
        if text.is_empty() && line.trim().is_empty() {
            continue;
        }
        text.push_str(&line);
        if line.trim_end().ends_with(';') {
            return Ok(Some(text));
        }
    }
}

async fn execute(
    client: &mut FlightSqlServiceClient<Channel>,
    sql: String,
    output: OutputFormat,
    out: &mut impl Write,
) -> Result<()> {
    let info = client.execute(sql, None).await.map_err(answer)?;
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
    output: OutputFormat,
    header_printed: bool,
    /// A table's column widths depend on all of its rows.
    rows: Vec<RecordBatch>,
}

impl Printer {
    fn new(output: OutputFormat) -> Self {
        Printer { output, header_printed: false, rows: Vec::new() }
    }

    fn print(&mut self, batch: RecordBatch, out: &mut impl Write) -> Result<()> {
        match self.output {
            OutputFormat::Table => self.rows.push(batch),
            OutputFormat::Json => {
                let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, LineDelimited>(out);
                writer.write(&batch)?;
                writer.finish()?;
            }
            OutputFormat::Csv => {
                let header = !std::mem::replace(&mut self.header_printed, true);
                WriterBuilder::new().with_header(header).build(out).write(&batch)?;
            }
        }
        Ok(())
    }

    fn finish(self, out: &mut impl Write) -> Result<()> {
        if self.output == OutputFormat::Table {
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
    if status.message().starts_with("grpc-status header missing") {
        return Error::invalid("what answers there is not Flight SQL")
            .detail(status.message())
            .hint("name the address of flight.listen, port 31337 by default, with --url");
    }
    // What a server sends has no cause; what the connection itself reports has.
    if status.source().is_some() {
        return broken(status.message());
    }
    let kind = match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::OverBudget,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Internal | Code::Unknown => ErrorKind::Bug,
        _ => ErrorKind::Invalid,
    };
    let error = Error::new(kind, status.message());
    match status.code() {
        // A session that has ended says so itself, and has nothing to do with the password.
        Code::Unauthenticated if !status.message().contains("hint: ") => {
            error.hint("give --user, and the password in the variable that --password-env names")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_semicolons_and_keeps_its_lines_and_columns() {
        let text = "-- one; two\nSELECT ';' AS a; ; /* ; */\n  SELECT 2;\nSELECT 3 -- end\n;;";
        let found = statements(text).expect("statements");
        assert_eq!(found, ["\nSELECT ';' AS a", "\n\n  SELECT 2", "\n\n\nSELECT 3"]);
        assert!(statements(" ;\n-- nothing").expect("nothing").is_empty());
        let error = statements("SELECT 1;\n SELECT 'x").expect_err("an open quote");
        assert!(error.report().starts_with("line 2, column 9: unterminated"), "{}", error.report());
    }

    #[test]
    fn addresses_of_other_clients_are_taken_too() {
        for (given, url, encrypted) in [
            ("grpc://127.0.0.1:31337", "http://127.0.0.1:31337", false),
            ("127.0.0.1:31337", "http://127.0.0.1:31337", false),
            ("grpc+tls://db:1", "https://db:1", true),
            ("https://db:1", "https://db:1", true),
        ] {
            assert_eq!(endpoint_url(given), (url.to_owned(), encrypted));
        }
    }
}
