//! The real binary as a child process: started in a folder of its own, asked from outside, killed or told to stop.
//!
//! [`Site`] is a folder with `schemas/` and `queries/`; [`Site::serve`] starts a server there on free ports. What is left running
//! when a test ends is killed by `Drop`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;
use tempfile::TempDir;
use touchline::clock::Clock;
use touchline::source::embedded::{EmbeddedLog, EmbeddedSettings, NewRecord};

use crate::services::Outcome;

/// From its start until a server says where it listens.
const START_LIMIT: Duration = Duration::from_secs(60);
/// For anything a test waits for, unless it says otherwise.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The binary under test: `TOUCHLINE_TEST_BINARY`, or the one that was built beside this test.
pub(crate) fn binary() -> Result<PathBuf, Failed> {
    if let Some(path) = std::env::var_os("TOUCHLINE_TEST_BINARY").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe()?;
    let built = test.parent().and_then(Path::parent).map(|folder| folder.join("touchline"));
    built.filter(|path| path.is_file()).ok_or_else(|| {
        "there is no touchline binary beside this test: cargo build --release, or set TOUCHLINE_TEST_BINARY".into()
    })
}

/// A stream of ids: topic `e`, records `{"id":1,"ts":"2026-01-01T12:00:00.000Z"}`.
pub(crate) const STREAM: &str = "\
CREATE TABLE e (id BIGINT NOT NULL, ts TIMESTAMP(3) NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
WITH ('connector' = 'kafka', 'topic' = 'e', 'format' = 'json');
";

/// Appends records without keys.
pub(crate) fn append(log: &EmbeddedLog, topic: &str, partition: i32, values: &[impl AsRef<str>]) -> Outcome {
    let values = values.iter().map(|value| Some(value.as_ref().as_bytes()));
    let records: Vec<NewRecord<'_>> = values.map(|value| NewRecord { timestamp_ms: None, key: None, value }).collect();
    log.append(topic, partition, &records).map_err(|error| error.report())?;
    Ok(())
}

/// A folder that a server or a command runs in; it goes with the test.
#[derive(Debug)]
pub(crate) struct Site {
    folder: TempDir,
}

impl Site {
    /// A new folder with an empty `schemas/` and `queries/`.
    pub(crate) fn new() -> Result<Self, Failed> {
        let folder = tempfile::Builder::new().prefix("touchline-test-").tempdir()?;
        fs::create_dir(folder.path().join("schemas"))?;
        fs::create_dir(folder.path().join("queries"))?;
        Ok(Site { folder })
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file below the folder; its parent folders are made.
    pub(crate) fn write(&self, relative: &str, text: &str) -> Outcome {
        let path = self.path(relative);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(fs::write(path, text)?)
    }

    /// The embedded log that a server of this folder reads. Only one process can have it open.
    pub(crate) fn embedded_log(&self) -> Result<Arc<EmbeddedLog>, Failed> {
        let folder = self.path("touchline-data/log");
        fs::create_dir_all(&folder)?;
        Ok(EmbeddedLog::open(&folder, EmbeddedSettings::default(), Clock::System).map_err(|error| error.report())?)
    }

    /// `touchline` with these arguments, in this folder, with none of the caller's `TOUCHLINE_*` settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command, Failed> {
        let mut command = Command::new(binary()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TOUCHLINE_")) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Ran, Failed> {
        Ok(Ran::from(self.command(arguments)?.output()?))
    }

    /// Runs a command that must succeed, and returns what it has printed.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<String, Failed> {
        let ran = self.run(arguments)?;
        if ran.code == Some(0) {
            return Ok(ran.stdout);
        }
        Err(format!("touchline {} ended with {:?}\n{}", arguments.join(" "), ran.code, ran.stderr).into())
    }

    /// Starts `touchline serve` on free ports and waits until it listens. `settings`: `TOUCHLINE_<SECTION>_<KEY>` variables.
    pub(crate) fn serve(&self, settings: &[(&str, &str)]) -> Result<Server, Failed> {
        self.start(settings, false)
    }

    /// The same, and nobody reads its log once it listens: as where its terminal has gone.
    pub(crate) fn serve_unheard(&self) -> Result<Server, Failed> {
        self.start(&[], true)
    }

    fn start(&self, settings: &[(&str, &str)], unheard: bool) -> Result<Server, Failed> {
        let mut command = self.command(&["serve"])?;
        command
            .env("TOUCHLINE_FLIGHT_LISTEN", "127.0.0.1:0")
            .env("TOUCHLINE_HTTP_LISTEN", "127.0.0.1:0")
            .env("TOUCHLINE_LOG_FORMAT", "json")
            // A trial changes queries to see what they give then.
            .env("TOUCHLINE_ENGINE_ON_CHANGE", "new-version")
            .envs(settings.iter().copied());
        Server::start(command, binary()?, unheard)
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` where a signal has ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A `touchline serve` that listens.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    binary: PathBuf,
    /// `host:port` of Flight SQL.
    pub(crate) flight: String,
    /// `host:port` of `/healthz`, `/readyz` and `/metrics`.
    pub(crate) http: String,
    log: Arc<Mutex<Vec<String>>>,
    /// Ends with the child's standard error.
    reader: Option<JoinHandle<()>>,
}

impl Server {
    fn start(mut command: Command, binary: PathBuf, unheard: bool) -> Result<Self, Failed> {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let reader = child.stderr.take().map(|stderr| {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    let listens = line.contains("\"message\":\"serving\"");
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                    if unheard && listens {
                        return;
                    }
                }
            })
        });
        let mut server = Server { child, binary, flight: String::new(), http: String::new(), log, reader };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let serving = server.log_lines().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "serving").then(|| (line["flight"].clone(), line["http"].clone()))
            });
            if let Some((Value::String(flight), Value::String(http))) = serving {
                (server.flight, server.http) = (flight, http);
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                server.join_reader();
                return Err(format!("the server ended at its start: {status}\n{}", server.log()).into());
            }
            if Instant::now() > deadline {
                return Err(
                    format!("the server does not listen after {} s\n{}", START_LIMIT.as_secs(), server.log()).into()
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the server has logged so far, one JSON object a line.
    pub(crate) fn log(&self) -> String {
        self.log_lines().join("\n")
    }

    fn join_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    /// The rows that a statement answers with, by `touchline sql --output json`.
    pub(crate) fn query(&self, sql: &str) -> Result<Vec<Value>, Failed> {
        let url = format!("grpc://{}", self.flight);
        let output = Command::new(&self.binary)
            .args(["sql", "--url", &url, "--output", "json", "-c", sql])
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(format!("{sql}\n{}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let text = String::from_utf8(output.stdout)?;
        text.lines().map(|line| serde_json::from_str(line).map_err(Failed::from)).collect()
    }

    /// The body that `GET path` on the HTTP port answers with, and its status code.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, String), Failed> {
        let mut stream = TcpStream::connect(&self.http)?;
        stream.set_read_timeout(Some(WAIT_LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.http)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or("not an HTTP answer")?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok((status, body.to_owned()))
    }

    /// Waits until `done` answers `Some`. An error of `done` counts as not yet; the last one is shown when time runs out.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        mut done: impl FnMut(&Server) -> Result<Option<T>, Failed>,
    ) -> Result<T, Failed> {
        let deadline = Instant::now() + WAIT_LIMIT;
        loop {
            let problem = match done(self) {
                Ok(Some(value)) => return Ok(value),
                Ok(None) => "it is not so yet".to_owned(),
                Err(failed) => failed.message().unwrap_or("no reason given").to_owned(),
            };
            if Instant::now() > deadline {
                return Err(format!("waited {} s for {what}: {problem}\n{}", WAIT_LIMIT.as_secs(), self.log()).into());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Ends the process as a power cut would (`SIGKILL`).
    pub(crate) fn kill(mut self) -> Outcome {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to stop (`SIGTERM`); how it ended, how long that took, and its log.
    pub(crate) fn terminate(self) -> Result<(ExitStatus, Duration, String), Failed> {
        self.signalled("-TERM")
    }

    /// Sends it a `SIGHUP`, and waits until it has read its users and certificates anew.
    pub(crate) fn hang_up(&self) -> Outcome {
        self.send("-HUP")?;
        self.wait_for("users and certificates to be read anew", |server| {
            Ok(server.log().contains("users and certificates have been read anew").then_some(()))
        })
    }

    fn signalled(mut self, signal: &str) -> Result<(ExitStatus, Duration, String), Failed> {
        let asked = Instant::now();
        self.send(signal)?;
        let (status, log) = self.ended()?;
        Ok((status, asked.elapsed(), log))
    }

    /// Sends a signal, as `-STOP`, and goes on.
    pub(crate) fn send(&self, signal: &str) -> Outcome {
        match Command::new("kill").args([signal, &self.pid().to_string()]).status()?.success() {
            true => Ok(()),
            false => Err("the server has ended before it was sent a signal".into()),
        }
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<bool, Failed> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the process to end by itself; how it ended, and its log.
    pub(crate) fn ended(&mut self) -> Result<(ExitStatus, String), Failed> {
        let deadline = Instant::now() + WAIT_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                self.join_reader();
                return Ok((status, self.log()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!("the server still runs after {} s\n{}", WAIT_LIMIT.as_secs(), self.log()).into())
    }
}

/// Whoever runs the tests under nohup has servers inherit that, and then a `SIGHUP` stays without effect.
pub(crate) fn hangups_are_ignored() -> Result<bool, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).ok_or("no mask of signals")?.trim();
    Ok(u64::from_str_radix(ignored, 16)? & 1 == 1)
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
