//! How the demo shows its way in: a key, and two requests that work as they are printed.

use std::net::SocketAddr;
use std::path::Path;

use chrono::{DateTime, SecondsFormat};

use super::keys::create;
use crate::clock::{DAY_MICROS, Micros};
use crate::error::{Error, Result};
use crate::ingest::keys::{Grant, read};
use crate::tables::Published;

const RECORDS_PER_SECOND: u32 = 10_000;

/// The paths that requests are shown for, where tables have them, and what is sent there at `{at}`.
const SHOWN: [(&str, &str); 2] = [
    (
        "/api/events",
        r#"{"eventId":"7a1e4c52-0000-4000-8000-000000000001","matchId":"by-hand","eventType":"goal","timestamp":"{at}","teamId":1,"playerId":"p9","metadata":{"minute":12}}"#,
    ),
    (
        "/api/engagements",
        r#"{"events":[{"event_id":"7a1e4c52-0000-4000-8000-000000000002","match_id":"by-hand","user_id":"u1","session_id":"s1","engagement_type":"reaction","engagement_subtype":"emoji_goal","game_minute":12,"device_type":"mobile","timestamp":"{at}"}]}"#,
    ),
];

/// The first key of a file that has none; `None` where there are keys, whose secrets nobody knows any more.
///
/// # Errors
/// Those of reading and changing a file of keys.
pub(super) fn first_key(keys_file: &Path, now: Micros) -> Result<Option<String>> {
    if !read(keys_file)?.is_empty() {
        return Ok(None);
    }
    let every = Grant::parse("ingest:*").map_err(Error::bug)?;
    create(keys_file, vec![every], now, None, RECORDS_PER_SECOND).map(Some)
}

/// What the demo prints of it; nothing where no table has one of the paths.
pub(super) fn shown(
    published: &Published,
    http: SocketAddr,
    keys_file: &Path,
    key: Option<&str>,
    now: Micros,
) -> String {
    let tables = published.sources();
    let has = |path: &str| {
        tables.iter().any(|table| table.http.as_ref().is_some_and(|http| http.path.as_deref() == Some(path)))
    };
    let paths: Vec<_> = SHOWN.into_iter().filter(|(path, _)| has(path)).collect();
    if paths.is_empty() {
        return String::new();
    }
    let Some(key) = key else {
        return format!(
            "Send it records by HTTP with a key: an earlier start has shown one, and this makes another:\n\
             \x20 touchline keys create --grant 'ingest:*' --file '{}'\n\n",
            keys_file.display()
        );
    };
    // A day ago: the matches are behind the clock, and the time of today would be ahead of them and make all of their rows late.
    let at = DateTime::from_timestamp_micros(now.saturating_sub(DAY_MICROS));
    let at = at.map_or_else(String::new, |at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    let mut out = String::from("Send it records by HTTP; the key is shown this once:\n");
    for (path, body) in paths {
        let body = body.replace("{at}", &at);
        out.push_str(&format!(
            "\x20 curl -sS http://{http}{path} -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d '{body}'\n"
        ));
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::Statement;
    use crate::sql::parse_file;

    /// 2026-01-02T12:00:00Z
    const NOW: Micros = 1_767_355_200_000_000;

    #[test]
    fn a_key_is_made_and_shown_once_with_the_paths_that_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        let key = first_key(&file, NOW).unwrap().expect("the first start");
        assert_eq!(first_key(&file, NOW).unwrap(), None);

        let published = Published::default();
        let address = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(shown(&published, address, &file, Some(&key), NOW), "");
        let text = "CREATE TABLE e (n INT) WITH ('connector' = 'kafka', 'topic' = 'e', 'http.path' = '/api/events')";
        for statement in parse_file("e.sql", text).unwrap_or_else(|errors| panic!("{}", errors[0].report())) {
            let Statement::CreateTable(table) = statement else { panic!("{statement:?}") };
            published.put_source(Arc::new(table));
        }
        let said = shown(&published, address, &file, Some(&key), NOW);
        let line = format!(
            "  curl -sS http://127.0.0.1:8080/api/events -H 'X-API-Key: {key}' -H 'Content-Type: application/json' -d '{{"
        );
        assert!(said.contains(&line) && said.contains("\"timestamp\":\"2026-01-01T12:00:00.000Z\""), "{said}");
        assert!(!said.contains("/api/engagements"), "{said}");
        assert!(
            shown(&published, address, &file, None, NOW).contains("touchline keys create --grant 'ingest:*' --file")
        );
    }
}
