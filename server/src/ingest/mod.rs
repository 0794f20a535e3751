//! Records by HTTP: `POST /api/ingest/<table>`, and the paths that tables name themselves.
//!
//! A request is answered with 202 when its records are in the log to stay. Before that it is asked, in this order: where it leads, who
//! sends it, how large it is, what it holds. What it holds is judged record by record, and those that are right are taken.

mod access;
mod answer;
mod body;
mod kafka;
pub mod keys;
mod limits;
mod produce;
mod records;
mod routes;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat};

use self::access::Access;
use self::answer::{Outcome, Refusal, Rejected};
use self::body::{Room, announced, read};
use self::produce::{Logs, Outgoing};
use self::routes::Routes;
use self::validate::Verdict;
use crate::catalog::HttpBody;
use crate::clock::Clock;
use crate::config::HttpSettings;
use crate::source::embedded::EmbeddedLog;
use crate::source::kafka::KafkaSettings;
use crate::tables::Published;

/// Bodies above this are judged where they hold no other request up.
const AT_ONCE_BYTES: usize = 16 * 1024;

/// What the way in is made of.
#[derive(Debug)]
pub struct IngestDeps {
    pub published: Arc<Published>,
    pub settings: HttpSettings,
    pub keys_file: Option<PathBuf>,
    pub kafka: KafkaSettings,
    pub embedded: Option<Arc<EmbeddedLog>>,
    pub clock: Clock,
}

#[derive(Debug)]
struct Ingest {
    routes: Routes,
    access: Access,
    room: Room,
    logs: Logs,
    body_bytes_max: usize,
    events_max: usize,
    clock: Clock,
}

/// Takes no records before it is open: HTTP is answered from the beginning of a start, and the logs are there later.
#[derive(Debug, Clone, Default)]
pub struct WayIn(Arc<OnceLock<Ingest>>);

impl WayIn {
    /// Answers every path that no other router has.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    pub fn open(&self, deps: IngestDeps) {
        let _first = self.0.set(Ingest::new(deps));
    }
}

async fn handle(State(WayIn(ingest)): State<WayIn>, request: Request) -> Response {
    // A client of Flight SQL at the wrong port takes a body for a message, and says that instead of what is wrong.
    let written = request.headers().get(CONTENT_TYPE).and_then(|written| written.to_str().ok());
    if written.is_some_and(|written| written.starts_with("application/grpc")) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let taken = match ingest.get() {
        Some(ingest) => ingest.take(request).await,
        None => Err(Refusal::unavailable("the server is starting")),
    };
    match taken {
        Ok(outcome) => outcome.response(),
        Err(refusal) => refusal.response(),
    }
}

impl Ingest {
    fn new(deps: IngestDeps) -> Self {
        let IngestDeps { published, settings, keys_file, kafka, embedded, clock } = deps;
        Ingest {
            routes: Routes::new(published, kafka.clone(), clock.clone()),
            access: Access::new(keys_file, settings.listen.ip().is_loopback(), clock.clone()),
            room: Room::new(settings.ingest_bytes_max.0),
            logs: Logs::new(kafka, embedded),
            body_bytes_max: usize::try_from(settings.body_bytes_max.0).unwrap_or(usize::MAX),
            events_max: settings.events_max,
            clock,
        }
    }

    async fn take(&self, request: Request) -> Result<Outcome, Refusal> {
        let (head, body) = request.into_parts();
        let target = self.routes.target(head.uri.path())?;
        if head.method != Method::POST {
            let message = format!("{} is not possible here; send records by POST", head.method);
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
        }
        if let Some(query) = head.uri.query().filter(|query| !query.is_empty()) {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            return Err(Refusal::bad(format!("there is no parameter \"{name}\" here")).about(name));
        }
        let key = self.access.allow(&head.headers, &target.table)?;
        let open = self.routes.open(&target.table)?;
        let (written, packed) = announced(&head.headers, self.body_bytes_max)?;
        // Given back when the records are in the log.
        let (body, held) = read(body, packed, self.body_bytes_max, self.room.hold()).await?;
        let places = records::places(&body, written, &target.form, self.events_max)?;
        self.access.charge(key.as_deref(), places.len())?;

        let (verdicts, _held) = if body.len() > AT_ONCE_BYTES {
            let (validator, body, places) = (Arc::clone(&open.validator), body.clone(), places.clone());
            // It goes on if the producer goes away, and what it looks at must count as long.
            let judged = tokio::task::spawn_blocking(move || (validator.judge(&body, &places), held)).await;
            judged.map_err(|_| Refusal::unavailable("the records were not looked at"))?
        } else {
            (open.validator.judge(&body, &places), held)
        };
        let verdicts = verdicts?;
        let mut outcome = Outcome { is_single: target.form == HttpBody::Record, ..Outcome::default() };
        let (mut indexes, mut keys) = (Vec::new(), Vec::new());
        for (index, verdict) in verdicts.into_iter().enumerate() {
            match verdict {
                Verdict::Wrong { field, reason } => outcome.rejected.push(Rejected { index, field, reason }),
                Verdict::Right { key, id } => {
                    if outcome.is_single {
                        outcome.id = open.id.clone().zip(id);
                    }
                    indexes.push(index);
                    keys.push(key);
                }
            }
        }
        let now_ms = self.clock.now() / 1_000;
        outcome.timestamp = rfc3339(now_ms);
        if !indexes.is_empty() {
            let outgoing: Vec<Outgoing<'_>> = indexes
                .iter()
                .zip(&keys)
                .map(|(index, key)| Outgoing {
                    key: key.as_ref().map(String::as_bytes),
                    value: &body[places[*index].clone()],
                })
                .collect();
            let failed = self.logs.append(&open.topic, &outgoing, now_ms).await?;
            outcome.accepted = indexes.len() - failed.len();
            outcome.unacknowledged = failed.into_iter().map(|at| indexes[at]).collect();
        }
        Ok(outcome)
    }
}

fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms)
        .map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
