//! `touchline keys`: who may send records by HTTP.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use clap::{Args, Subcommand};

use super::serve::configured;
use super::{duration_argument, fail_all, tell};
use crate::clock::{Clock, Micros, micros_of};
use crate::error::{Error, Result};
use crate::ingest::keys::{Grant, Key, change, read};

/// What a key may send a second unless it is told: a tenth of what one server takes.
const RECORDS_PER_SECOND: u32 = 10_000;

#[derive(Debug, Args)]
#[command(
    after_help = "A key is shown once, when it is made: its file holds a digest of it. A server takes changes up at once."
)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
    /// Configuration file whose auth.keys_file is meant; without it touchline.toml in the working directory
    #[arg(short, long, value_name = "FILE", env = "TOUCHLINE_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// File of keys, where it is not that of the configuration
    #[arg(long, value_name = "FILE", global = true)]
    file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it
    Create(CreateArgs),
    /// List the keys, without their secrets
    List,
    /// Take a key away
    Revoke {
        /// The key's id, which stands between tl_ and the next _
        id: String,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What it is good for: ingest:TABLE, ingest:PREFIX* or ingest:*; may be given several times
    #[arg(long = "grant", value_name = "GRANT", required = true, value_parser = Grant::parse)]
    grants: Vec<Grant>,
    /// After this time it is no longer valid, for example 90d; without it, it always is
    #[arg(long, value_name = "TIME", value_parser = duration_argument)]
    expires: Option<Duration>,
    /// Records a second that it may send
    #[arg(long, value_name = "N", default_value_t = RECORDS_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

pub(super) fn run(args: KeysArgs) -> Result<ExitCode> {
    let path = match args.file {
        Some(path) => path,
        None => {
            let config = match configured(args.config.as_deref()) {
                Ok(config) => config,
                Err(errors) => return Ok(fail_all(errors)),
            };
            config.auth.keys_file.ok_or_else(|| {
                Error::invalid("no file of keys is configured").hint(
                    "set auth.keys_file in the configuration, or TOUCHLINE_AUTH_KEYS_FILE, or name one with --file",
                )
            })?
        }
    };
    let now = Clock::System.now();
    match args.action {
        Action::Create(CreateArgs { grants, expires, rate }) => {
            let expires_ms = expires.map(|expires| now.saturating_add(micros_of(expires)) / 1_000);
            let text = create(&path, grants, now, expires_ms, rate)?;
            print(&format!("{text}\n"));
            tell(&format!("this key is shown now and never again; its digest is in {}", path.display()));
        }
        Action::List => print(&list(&path, now)?),
        Action::Revoke { id } => {
            change(&path, |keys| {
                keys.remove(&id).ok_or_else(|| {
                    Error::invalid(format!("there is no key \"{id}\" in {}", path.display()))
                        .hint("touchline keys list shows their ids")
                })
            })?;
            tell(&format!("key {id} is no longer valid"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes a key and adds it to a file.
pub(super) fn create(
    path: &std::path::Path,
    grants: Vec<Grant>,
    now: Micros,
    expires_ms: Option<i64>,
    rate: u32,
) -> Result<String> {
    let (key, text) = Key::draw(grants, now, expires_ms, rate);
    change(path, |keys| {
        keys.insert(key.id.clone(), Arc::new(key));
        Ok(())
    })?;
    Ok(text)
}

/// One line a key: id, grants, records a second, when it was made and when it ends.
fn list(path: &std::path::Path, now: Micros) -> Result<String> {
    let mut keys: Vec<Arc<Key>> = read(path)?.into_values().collect();
    keys.sort_by_key(|key| key.created_ms);
    let mut out = String::new();
    for key in keys {
        let grants = key.grants.iter().map(Grant::to_string).collect::<Vec<_>>().join(",");
        let end = match key.expires_ms {
            None => "never expires".to_owned(),
            Some(at) if key.has_expired(now) => format!("expired {}", time(at)),
            Some(at) => format!("expires {}", time(at)),
        };
        out.push_str(&format!(
            "{}  {grants}  {} records/s  created {}  {end}\n",
            key.id,
            key.records_per_second,
            time(key.created_ms)
        ));
    }
    Ok(out)
}

fn time(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms);
    time.map_or_else(|| "beyond all times".to_owned(), |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away, as `head` does, is no error.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_what_is_known_of_a_key_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let grants = vec![Grant::parse("ingest:orders").unwrap(), Grant::parse("ingest:game_*").unwrap()];
        let text = create(&path, grants, 1_767_268_800_000_000, Some(1_767_268_801_000), 7).unwrap();
        let id = text.split('_').nth(1).unwrap();
        let expected = |end: &str| {
            format!(
                "{id}  ingest:orders,ingest:game_*  7 records/s  created 2026-01-01T12:00:00Z  {end} 2026-01-01T12:00:01Z\n"
            )
        };
        assert_eq!(list(&path, 0).unwrap(), expected("expires"));
        assert_eq!(list(&path, 1_767_268_801_000_000).unwrap(), expected("expired"));
        assert_eq!(list(&folder.path().join("nothing"), 0).unwrap(), "");
    }
}
