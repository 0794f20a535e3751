//! Whether a request may send to a table: by its key, or without one where only this machine can reach the listener.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::answer::Refusal;
use super::body::single;
use super::keys::{Key, KeyFile, Shown, look_up};
use super::limits::Buckets;
use crate::clock::Clock;

const HEADER: &str = "x-api-key";

#[derive(Debug)]
pub(super) struct Access {
    keys: Option<KeyFile>,
    is_loopback: bool,
    buckets: Buckets,
    clock: Clock,
}

impl Access {
    /// `is_loopback`: whether only this machine can reach the listener.
    pub(super) fn new(keys_file: Option<PathBuf>, is_loopback: bool, clock: Clock) -> Self {
        Access { keys: keys_file.map(KeyFile::new), is_loopback, buckets: Buckets::default(), clock }
    }

    /// The key of a request that may send to `table`; `None` where none is needed.
    ///
    /// # Errors
    /// 401 without a valid key, 403 where it is not good for the table or the server takes records from nobody, 503 where its keys cannot
    /// be read.
    pub(super) fn allow(&self, headers: &HeaderMap, table: &str) -> Result<Option<Arc<Key>>, Refusal> {
        let Some(file) = &self.keys else {
            let message = match (self.is_loopback, is_of_this_machine(headers)) {
                (true, true) => return Ok(None),
                (true, false) => {
                    "without auth.keys_file this server takes records at localhost alone, and the header Host or Origin names another"
                }
                (false, _) => "this server takes records from this machine alone until auth.keys_file is set",
            };
            return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
        };
        let unauthorized = |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
        if !headers.contains_key(HEADER) {
            return Err(unauthorized("the header X-API-Key is missing"));
        }
        let (keys, is_new) = file.current();
        let keys = keys.ok_or_else(|| Refusal::unavailable("the server cannot read its keys"))?;
        if is_new {
            self.buckets.retain(|id| keys.contains_key(id));
        }
        let text = single(headers, HeaderName::from_static(HEADER)).unwrap_or_default();
        match look_up(&keys, text, self.clock.now()) {
            Shown::Unknown => Err(unauthorized("the key in X-API-Key is not known")),
            Shown::Expired => Err(unauthorized("the key in X-API-Key has expired")),
            Shown::Valid(key) if key.may_send_to(table) => Ok(Some(key)),
            Shown::Valid(_) => {
                let message = format!("the key is not good for ingest:{table}");
                Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message))
            }
        }
    }

    /// Counts what a key sends.
    ///
    /// # Errors
    /// 429 where it has sent too much.
    pub(super) fn charge(&self, key: Option<&Key>, records: usize) -> Result<(), Refusal> {
        let Some(key) = key else { return Ok(()) };
        self.buckets.take(&key.id, key.records_per_second, records, self.clock.now()).map_err(|seconds| {
            let message = format!("the key may send {} records a second", key.records_per_second);
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(seconds)
        })
    }
}

/// Whether a request names this machine only. A browser on it reaches the listener for any page whose site lets its name lead here, and
/// then says whose it is.
fn is_of_this_machine(headers: &HeaderMap) -> bool {
    let names = headers.get_all(header::HOST).iter().chain(headers.get_all(header::ORIGIN));
    names.map(|name| name.to_str().unwrap_or_default()).all(|name| {
        let authority = name.split_once("://").map_or(name, |(_, authority)| authority);
        authority.parse::<Authority>().is_ok_and(|authority| is_loopback(authority.host()))
    })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::ingest::keys::{Grant, change};

    fn with(keys: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, HeaderValue::from_str(key).unwrap());
        }
        headers
    }

    fn status(access: &Access, keys: &[&str], table: &str) -> Result<(), u16> {
        access.allow(&with(keys), table).map(|_| ()).map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn without_a_keys_file_this_machine_alone_may_send() {
        assert_eq!(status(&Access::new(None, true, Clock::manual(0)), &[], "t"), Ok(()));
        assert_eq!(status(&Access::new(None, false, Clock::manual(0)), &["tl_a_b"], "t"), Err(403));
    }

    #[test]
    fn without_a_keys_file_a_page_of_another_site_may_not_send() {
        let access = Access::new(None, true, Clock::manual(0));
        let status = |name: HeaderName, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            access.allow(&headers, "t").map(|_| ()).map_err(|refusal| refusal.status.as_u16())
        };
        for here in ["localhost:8080", "LOCALHOST", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080"] {
            assert_eq!(status(header::HOST, here), Ok(()), "{here}");
            assert_eq!(status(header::ORIGIN, &format!("http://{here}")), Ok(()), "{here}");
        }
        for elsewhere in
            ["rebound.example:8080", "localhost.example", "127.0.0.1.example", "localhost@evil.example", ""]
        {
            assert_eq!(status(header::HOST, elsewhere), Err(403), "{elsewhere}");
            assert_eq!(status(header::ORIGIN, &format!("http://{elsewhere}")), Err(403), "{elsewhere}");
        }
        assert_eq!(status(header::ORIGIN, "null"), Err(403));
    }

    #[test]
    fn a_key_opens_its_tables_until_it_expires_and_as_fast_as_it_may() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let clock = Clock::manual(1_000_000);
        let (key, text) = Key::draw(vec![Grant::parse("ingest:t").unwrap()], clock.now(), Some(9_000), 10);
        change(&path, |keys| Ok(keys.insert(key.id.clone(), Arc::new(key.clone())))).unwrap();
        // Also from this machine.
        let access = Access::new(Some(path.clone()), true, clock.clone());
        assert_eq!(status(&access, &[&text], "t"), Ok(()));
        assert_eq!(status(&access, &[&text], "u"), Err(403));
        for wrong in [&[][..], &["tl_nobody"], &[""], &[text.as_str(), text.as_str()]] {
            assert_eq!(status(&access, wrong, "t"), Err(401), "{wrong:?}");
        }
        assert_eq!(access.charge(Some(&key), 10), Ok(()));
        let refused = access.charge(Some(&key), 1).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
        assert_eq!(access.charge(None, 1_000_000), Ok(()));
        clock.set(9_000_000);
        assert_eq!(status(&access, &[&text], "t"), Err(401));
        clock.set(8_000_000);
        std::fs::write(&path, "").unwrap();
        assert_eq!(status(&access, &[&text], "t"), Err(401), "it was revoked");
        std::fs::write(&path, "?").unwrap();
        assert_eq!(status(&access, &[&text], "t"), Err(503), "nobody knows who may");
    }
}
