//! What a request is answered with: a JSON object, `{"error", "message", "field"}` where it is refused.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind};

/// Reasons name what was found, which may be long.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why a request is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// A word for programs.
    pub(super) error: &'static str,
    /// A sentence for people.
    pub(super) message: String,
    /// The field that it is about.
    pub(super) field: Option<String>,
    /// After so many seconds the same request may succeed.
    pub(super) retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, error, message: message.into(), field: None, retry_after: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(1)
    }

    pub(super) fn about(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(super) fn response(self) -> Response {
        let body = json!({ "error": self.error, "message": shortened(&self.message), "field": self.field });
        let mut response = response(self.status, &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self.status {
            StatusCode::METHOD_NOT_ALLOWED => _ = headers.insert(header::ALLOW, HeaderValue::from_static("POST")),
            // What is left of a body that nobody reads would be taken for the next request.
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                _ = headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

impl From<Error> for Refusal {
    /// An error of the server's own. What it says in detail is for its log.
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable | ErrorKind::OverBudget | ErrorKind::Fenced => Refusal::unavailable(error.primary()),
            ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::Bug => {
                tracing::error!(error = error.report(), "cannot take records by HTTP");
                Refusal::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the server cannot take records of this table",
                )
            }
        }
    }
}

/// One record that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    /// Its place among the records of the request, from 0.
    pub(super) index: usize,
    pub(super) field: Option<String>,
    pub(super) reason: String,
}

/// What has become of the records of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) accepted: usize,
    pub(super) rejected: Vec<Rejected>,
    /// Places of records that are right and of which the log has not said that it has them.
    pub(super) unacknowledged: Vec<usize>,
    /// Where the request is one record: the name and value of what tells it from others.
    pub(super) id: Option<(String, String)>,
    pub(super) is_single: bool,
    /// RFC 3339.
    pub(super) timestamp: String,
}

impl Outcome {
    pub(super) fn response(self) -> Response {
        if !self.unacknowledged.is_empty() {
            return self.not_acknowledged();
        }
        if self.accepted == 0
            && let Some(first) = self.rejected.first()
        {
            if self.is_single {
                let mut refusal = Refusal::bad(first.reason.clone());
                refusal.field.clone_from(&first.field);
                return refusal.response();
            }
            let message = format!("none of {} records can be taken; the first: {}", self.rejected.len(), first.reason);
            let mut body = json!({ "error": "bad_request", "message": shortened(&message), "field": first.field });
            self.add_counts(&mut body);
            return response(StatusCode::BAD_REQUEST, &body);
        }
        let mut body = json!({ "status": "accepted", "timestamp": self.timestamp });
        match &self.id {
            Some((name, value)) => put(&mut body, name, json!(value)),
            None if self.is_single => {}
            None => self.add_counts(&mut body),
        }
        response(StatusCode::ACCEPTED, &body)
    }

    fn not_acknowledged(&self) -> Response {
        let message = format!(
            "{} records are not known to be in the log; repeat the request: what was taken may then be there twice, nothing is lost",
            self.unacknowledged.len()
        );
        let mut body = json!({ "error": "not_acknowledged", "message": message, "field": null });
        self.add_counts(&mut body);
        put(&mut body, "unacknowledged", json!(self.unacknowledged));
        let mut response = response(StatusCode::SERVICE_UNAVAILABLE, &body);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }

    fn add_counts(&self, body: &mut Value) {
        put(body, "accepted", json!(self.accepted));
        put(body, "rejected", json!(self.rejected.len()));
        if !self.rejected.is_empty() {
            let each = self.rejected.iter().map(|rejected| {
                json!({ "index": rejected.index, "field": rejected.field, "message": shortened(&rejected.reason) })
            });
            put(body, "errors", each.collect());
        }
    }
}

fn put(body: &mut Value, name: &str, value: Value) {
    if !body.is_object() {
        *body = Value::Object(Map::new());
    }
    body[name] = value;
}

fn response(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(format!("{body}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    fn rejected(index: usize) -> Rejected {
        Rejected { index, field: Some("n".into()), reason: "field \"n\" is missing".into() }
    }

    #[tokio::test]
    async fn a_part_that_is_refused_is_named_by_its_index_and_the_rest_is_accepted() {
        let outcome = Outcome { accepted: 2, rejected: vec![rejected(1)], timestamp: "T".into(), ..Outcome::default() };
        let expected = json!({
            "status": "accepted", "timestamp": "T", "accepted": 2, "rejected": 1,
            "errors": [{ "index": 1, "field": "n", "message": "field \"n\" is missing" }]
        });
        assert_eq!(body(outcome.response()).await, (202, expected));
    }

    #[tokio::test]
    async fn where_nothing_is_accepted_the_request_is_bad() {
        let outcome = Outcome { rejected: vec![rejected(0)], ..Outcome::default() };
        let (status, said) = body(outcome.response()).await;
        assert_eq!((status, &said["error"], &said["rejected"]), (400, &json!("bad_request"), &json!(1)));
        let single = Outcome { rejected: vec![rejected(0)], is_single: true, ..Outcome::default() };
        let expected = json!({ "error": "bad_request", "message": "field \"n\" is missing", "field": "n" });
        assert_eq!(body(single.response()).await, (400, expected));
    }

    #[tokio::test]
    async fn one_record_is_answered_with_its_id() {
        let id = Some(("eventId".to_owned(), "e1".to_owned()));
        let outcome = Outcome { accepted: 1, id, is_single: true, timestamp: "T".into(), ..Outcome::default() };
        let expected = json!({ "eventId": "e1", "status": "accepted", "timestamp": "T" });
        assert_eq!(body(outcome.response()).await, (202, expected));
    }

    #[tokio::test]
    async fn what_the_log_has_not_acknowledged_is_not_accepted() {
        let outcome = Outcome { accepted: 1, unacknowledged: vec![1, 2], ..Outcome::default() };
        let response = outcome.response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let (status, said) = body(response).await;
        assert_eq!((status, &said["unacknowledged"], &said["accepted"]), (503, &json!([1, 2]), &json!(1)));
    }

    #[tokio::test]
    async fn a_long_reason_is_cut_between_characters() {
        let (_, said) = body(Refusal::bad("ä".repeat(1_000)).response()).await;
        assert_eq!(said["message"].as_str().unwrap().chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
