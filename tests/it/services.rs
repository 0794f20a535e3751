//! What a test may need besides the product, and what becomes of a test whose need is not met.
//!
//! `tests/run` starts the services and names them by environment variables. A test says what it needs; where one of its needs is
//! not named, the test is counted as ignored and announced, or fails where `CI=true`. It never passes without having run.

use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};

/// What a test body returns. Any error that can be displayed turns into `Failed` by `?`.
pub(crate) type Outcome = Result<(), Failed>;

/// No asynchronous test may take longer: a test that waits for ever would hide all that come after it.
const TEST_LIMIT: Duration = Duration::from_secs(300);

/// Something outside the product that a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Kafka,
    /// A listener of the same broker that wants TLS and SCRAM-SHA-256.
    SecureKafka,
    Postgres,
    S3,
    Python,
    /// Arrow's JDBC driver, and a JDK to run it.
    Jdbc,
    /// The command that makes certificates.
    Openssl,
    /// The docker client with its compose plugin; no engine is needed. A check of a file, so it may be missing in CI as well.
    DockerCompose,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::SecureKafka => "secure-kafka",
            Self::Postgres => "postgres",
            Self::S3 => "s3",
            Self::Python => "python",
            Self::Jdbc => "jdbc",
            Self::Openssl => "openssl",
            Self::DockerCompose => "docker-compose",
        }
    }

    /// What is missing, and what to do about it; `None` where the need is met.
    fn missing(self) -> Option<String> {
        match self {
            Self::Kafka => kafka().err(),
            Self::SecureKafka => SecureKafka::from_env().err(),
            Self::Postgres => postgres().err(),
            Self::S3 => S3::from_env().err(),
            Self::Python => python().err(),
            Self::Jdbc => jdbc().err(),
            Self::Openssl => openssl().err(),
            Self::DockerCompose => docker_compose().err(),
        }
        .map(|failed| failed.message().unwrap_or_default().to_owned())
    }
}

/// `host:port` of a Kafka broker. Topics and groups need names of their own per test: see [`unique`].
pub(crate) fn kafka() -> Result<String, Failed> {
    variable("TOUCHLINE_TEST_KAFKA")
}

/// The way to the same broker through TLS and a login.
#[derive(Clone, Debug)]
pub(crate) struct SecureKafka {
    pub(crate) brokers: String,
    /// PEM file of the authority that has signed the broker's certificate.
    pub(crate) ca: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl SecureKafka {
    pub(crate) fn from_env() -> Result<Self, Failed> {
        Ok(Self {
            brokers: variable("TOUCHLINE_TEST_KAFKA_SECURE")?,
            ca: variable("TOUCHLINE_TEST_KAFKA_CA")?,
            user: variable("TOUCHLINE_TEST_KAFKA_USER")?,
            password: variable("TOUCHLINE_TEST_KAFKA_PASSWORD")?,
        })
    }
}

/// `postgres://` URL of a database in which the test may create schemas: see [`unique`].
pub(crate) fn postgres() -> Result<String, Failed> {
    variable("TOUCHLINE_TEST_POSTGRES")
}

/// A Python interpreter with the packages of `tests/services/requirements.txt`.
pub(crate) fn python() -> Result<PathBuf, Failed> {
    variable("TOUCHLINE_TEST_PYTHON").map(PathBuf::from)
}

/// The jar of Arrow's JDBC driver for Flight SQL.
pub(crate) fn jdbc() -> Result<PathBuf, Failed> {
    variable("TOUCHLINE_TEST_JDBC").map(PathBuf::from)
}

fn openssl() -> Result<(), Failed> {
    let answers = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) { Ok(()) } else { Err("the command openssl is not there".into()) }
}

/// `docker compose`, with nothing more on its command line.
pub(crate) fn docker_compose() -> Result<Command, Failed> {
    let answers = Command::new("docker")
        .args(["compose", "version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !answers {
        return Err("the docker client has no compose plugin".into());
    }
    let mut command = Command::new("docker");
    command.arg("compose");
    Ok(command)
}

/// An S3-compatible store and a bucket in it. Keys need a prefix of their own per test: see [`unique`].
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl S3 {
    pub(crate) fn from_env() -> Result<Self, Failed> {
        Ok(Self {
            endpoint: variable("TOUCHLINE_TEST_S3_ENDPOINT")?,
            bucket: variable("TOUCHLINE_TEST_S3_BUCKET")?,
            region: variable("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
            access_key_id: variable("AWS_ACCESS_KEY_ID")?,
            secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        })
    }

    /// A client that creates conditionally (`If-None-Match`) and never repeats a request on its own, so that a test sees each answer.
    pub(crate) fn store(&self) -> Result<AmazonS3, Failed> {
        Ok(AmazonS3Builder::new()
            .with_endpoint(&self.endpoint)
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_access_key_id(&self.access_key_id)
            .with_secret_access_key(&self.secret_access_key)
            .with_allow_http(true)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build()?)
    }
}

/// A name that no other test and no earlier run has used: `prefix-` and 32 hexadecimal digits.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// A test named `name` that runs `body` where all of `needs` are met.
pub(crate) fn trial(name: &str, needs: &[Need], body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut missing = Vec::new();
    let mut may_skip = !in_ci;
    for need in needs {
        if let Some(why) = need.missing() {
            may_skip |= *need == Need::DockerCompose;
            missing.push(format!("{}: {why}", need.name()));
        }
    }
    if missing.is_empty() {
        return Trial::test(name, body).with_kind(kind(needs));
    }
    let why = missing.join("; ");
    // The body runs neither with `--ignored` nor in CI: without its service it could only fail in a less clear way.
    Trial::test(name, move || Err(Failed::from(why))).with_kind(kind(needs)).with_ignored_flag(may_skip)
}

/// As [`trial`], for a body that needs a tokio runtime: it gets one of its own, with two workers, and at most [`TEST_LIMIT`].
pub(crate) fn async_trial<B, F>(name: &str, needs: &[Need], body: B) -> Trial
where
    B: FnOnce() -> F + Send + 'static,
    F: Future<Output = Outcome>,
{
    trial(name, needs, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            tokio::time::timeout(TEST_LIMIT, body())
                .await
                .unwrap_or_else(|_| Err(format!("still running after {} s", TEST_LIMIT.as_secs()).into()))
        })
    })
}

/// Says on standard error which tests will be skipped, before the first one runs.
pub(crate) fn announce_skipped(tests: &[Trial]) {
    let skipped: Vec<&Trial> = tests.iter().filter(|test| test.has_ignored_flag()).collect();
    if skipped.is_empty() {
        return;
    }
    eprintln!("SKIPPED, for want of a service ({} tests; `tests/run` provides the services):", skipped.len());
    for test in skipped {
        eprintln!("  {} needs {}", test.name(), test.kind());
    }
}

/// The value of `name`; unset and empty are the same.
fn variable(name: &str) -> Result<String, Failed> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        _ => Err(missing_variable(name)),
    }
}

fn missing_variable(name: impl Display) -> Failed {
    format!("{name} is not set; run the tests by tests/run, or set it").into()
}

/// Shown before the name of a test, in brackets.
fn kind(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(" ")
}
