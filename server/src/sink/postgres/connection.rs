//! Connections to Postgres: a small pool, TLS, and errors that say who must act and never show the password.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresSettings;
use super::marker::kind_of_sqlstate;
use crate::error::{Error, ErrorKind, Result};

/// At most `connections_max` connections; those at rest are kept and used again.
pub(crate) struct Pool {
    config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    connect_timeout: Duration,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
    /// `host:port` and database, for messages.
    pub(crate) target: String,
    /// Where the address stands, for messages: `postgres.url`.
    setting: String,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A connection on loan. Only [`Lease::give_back`] returns it: one that is dropped, because of an error or a timeout, is closed,
/// and the server rolls back what it had not committed.
pub(crate) struct Lease<'a> {
    client: Client,
    pool: &'a Pool,
    /// `None` for one that counts among none of the pool's.
    permit: Option<SemaphorePermit<'a>>,
}

impl Lease<'_> {
    pub(crate) fn give_back(self) {
        if self.permit.is_some() && !self.client.is_closed() {
            self.pool.idle.lock().push(self.client);
        }
    }
}

impl std::ops::Deref for Lease<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Pool {
    /// Reads the address. Nothing is opened yet.
    ///
    /// # Errors
    /// `Invalid` for an address that cannot be read or a certificate file that is none.
    pub(crate) fn new(settings: &PostgresSettings) -> Result<Self> {
        Pool::named(settings, "postgres.url")
    }

    /// `setting`: where the address stands, for messages.
    ///
    /// # Errors
    /// As for [`Pool::new`].
    pub(super) fn named(settings: &PostgresSettings, setting: &str) -> Result<Self> {
        let Some(url) = &settings.url else {
            return Err(Error::invalid("no Postgres address is configured").hint("set postgres.url"));
        };
        let mut config: tokio_postgres::Config = url.expose().parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::invalid(format!("{setting} is not an address of a Postgres database"))
                .detail(cause)
                .hint("write it as postgres://user:password@host:5432/database?sslmode=require")
        })?;
        config.connect_timeout(settings.connect_timeout);
        // Without these a host that vanished is noticed after hours, and with it the held rows of its transaction.
        config.keepalives_idle(Duration::from_secs(10)).tcp_user_timeout(settings.statement_timeout);
        if config.get_application_name().is_none() {
            config.application_name("touchline");
        }
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            mode => Some(tls(mode, settings.tls_ca_file.as_deref())?),
        };
        let target = target(&config);
        Ok(Pool {
            config,
            tls,
            connect_timeout: settings.connect_timeout,
            idle: Mutex::default(),
            permits: Semaphore::new(settings.connections_max.max(1)),
            target,
            setting: setting.to_owned(),
        })
    }

    pub(crate) async fn lease(&self) -> Result<Lease<'_>> {
        let permit = self.permits.acquire().await.map_err(|_| Error::bug("the pool's semaphore was closed"))?;
        let rested = {
            let mut idle = self.idle.lock();
            idle.retain(|client| !client.is_closed());
            idle.pop()
        };
        let client = match rested {
            Some(client) => client,
            None => self.open().await?,
        };
        Ok(Lease { client, pool: self, permit: Some(permit) })
    }

    /// A connection beside those of the pool, for work that may have to wait for others. It is closed when it is given back.
    pub(super) async fn lease_apart(&self) -> Result<Lease<'_>> {
        Ok(Lease { client: self.open().await?, pool: self, permit: None })
    }

    /// A connection of its own, which counts among none and does not come back.
    ///
    /// # Errors
    /// `Unavailable` where nobody answers, `Invalid` for a refused login.
    pub(super) async fn open(&self) -> Result<Client> {
        let opening = async {
            match &self.tls {
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    spawn(connection);
                    Ok(client)
                }
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await?;
                    spawn(connection);
                    Ok(client)
                }
            }
        };
        // The configured timeout covers each TCP connect; this one the TLS and login exchange, too.
        match tokio::time::timeout(self.connect_timeout.saturating_mul(2), opening).await {
            Ok(opened) => opened.map_err(|error| self.connect_error(error)),
            Err(_) => Err(Error::unavailable(format!("Postgres at {} does not answer", self.target))
                .detail(format!("no login within {} s", self.connect_timeout.as_secs_f64() * 2.0))),
        }
    }

    fn connect_error(&self, error: tokio_postgres::Error) -> Error {
        let (target, setting) = (&self.target, &self.setting);
        let user = self.config.get_user().unwrap_or("(none)");
        let Some(db) = error.as_db_error() else {
            let cause = causes(&error);
            // Missing credentials never reach the server; the client library has no other kind for them.
            if cause.contains("password missing") || error.to_string().contains("invalid configuration") {
                return Error::invalid(format!("cannot log in to Postgres at {target}"))
                    .detail(cause)
                    .hint(login_hint(setting));
            }
            if cause.to_lowercase().contains("certificate") {
                return Error::invalid(format!("cannot make a TLS connection to Postgres at {target}")).detail(cause).hint(
                    "name the authority that signed the server's certificate in postgres.tls_ca_file, or use the host name \
                     that the certificate is for",
                );
            }
            return Error::unavailable(format!("cannot reach Postgres at {target}"))
                .detail(cause)
                .hint(format!("is it running, and is the host and port in {setting} right?"));
        };
        let code = db.code().code();
        let detail = format!("{} (SQLSTATE {code})", db.message());
        match code {
            "28P01" | "28000" => Error::invalid(format!("Postgres at {target} refuses the login of user {user}"))
                .detail(detail)
                .hint(login_hint(setting)),
            "3D000" => Error::invalid(format!("the database of {target} does not exist"))
                .detail(detail)
                .hint(format!("create it, or name another one in {setting}")),
            _ => Error::new(kind_of_sqlstate(Some(code)), format!("Postgres at {target} refuses the connection"))
                .detail(detail),
        }
    }
}

fn login_hint(setting: &str) -> String {
    let example = match setting {
        "postgres.url" => ", for example url = \"${env:TOUCHLINE_POSTGRES_URL}\"",
        _ => "",
    };
    format!("check the user and the password in {setting}{example}")
}

/// The connection's own task. It ends when the client is dropped or the connection breaks, which the next statement reports.
fn spawn<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = causes(&error), "a Postgres connection ended");
        }
    });
}

/// A database error as one of ours. `what`: what was being done, in words that follow "cannot".
pub(crate) fn failed(what: impl std::fmt::Display, error: &tokio_postgres::Error) -> Error {
    let ours = told(what, error);
    match error.code().map_or("", |code| code.code()) {
        "42501" => ours.hint("the user in postgres.url needs CREATE and USAGE on the schema, and the tables it made"),
        "3F000" => ours.hint("create the schema, or name another one in postgres.schema"),
        "55P03" => ours.hint("someone holds a lock on the table; it is tried again"),
        "53100" => ours.hint("the database's disk is full"),
        "53200" => ours
            .hint("the database has no memory left; where it says shared memory, raise its max_locks_per_transaction"),
        "23502" => ours.hint("a column of the key is null; leave it out of 'primary-key' or replace it with COALESCE"),
        _ => ours,
    }
}

/// The same without what to do about it.
pub(super) fn told(what: impl std::fmt::Display, error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else {
        return Error::unavailable(format!("cannot {what}")).detail(causes(error));
    };
    let code = db.code().code();
    // `DETAIL` and `CONTEXT` of the server can quote the row. Rows do not belong in a log; table and column do.
    let mut detail = format!("{} (SQLSTATE {code}", db.message());
    for (label, value) in [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())] {
        if let Some(value) = value {
            detail += &format!(", {label} {value}");
        }
    }
    Error::new(kind_of_sqlstate(Some(code)), format!("cannot {what}")).detail(detail + ")")
}

fn causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

fn target(config: &tokio_postgres::Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        _ => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().or(config.get_user()).unwrap_or(""))
}

/// Client TLS. With a CA file the server must prove its name against it; else `require` goes by the public authorities, and
/// `prefer`, which an attacker could turn off altogether, encrypts without a proof, as libpq does.
fn tls(mode: SslMode, ca_file: Option<&std::path::Path>) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    if ca_file.is_none() && mode == SslMode::Require {
        // The public roots are only offered on the process-wide provider, which `main` installs; tests may not have.
        let _ = CryptoProvider::install_default(rustls::crypto::ring::default_provider());
        return Ok(MakeRustlsConnect::with_webpki_roots());
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::bug("TLS has no protocol versions").caused_by(error))?;
    let config = match ca_file {
        Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
        None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(EncryptOnly(provider))).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(path: &std::path::Path) -> Result<RootCertStore> {
    let wrong = |detail: String| {
        Error::invalid(format!("postgres.tls_ca_file {} holds no certificate", path.display())).detail(detail)
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it has no CERTIFICATE block".to_owned())) } else { Ok(roots) }
}

/// Takes any certificate, for `sslmode=prefer`.
#[derive(Debug)]
struct EncryptOnly(Arc<CryptoProvider>);

impl ServerCertVerifier for EncryptOnly {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A statement that hangs although the server should have ended it: the connection is gone without a word.
pub(crate) fn timed_out(what: &str, after: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, format!("cannot {what}"))
        .detail(format!("no answer from Postgres within {} s", after.as_secs_f64()))
}
