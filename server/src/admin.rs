//! Health, readiness and metrics over HTTP, for supervisors and Prometheus. Reads only; every answer comes from memory. Beside them
//! stands what other modules answer on the same listener.

mod metrics;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use self::metrics::Metrics;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::status::QueryState;
use crate::tables::Published;

const INDEX: &str = "touchline\n\n\
    /healthz   200 while the process answers\n\
    /readyz    200 once every query has started or has failed for a stated reason; else 503 and what is missing\n\
    /metrics   counters and gauges for Prometheus\n\
    /api/ingest/TABLE   POST: records for a table with 'http.ingest' = 'true'\n";

#[derive(Debug)]
struct Admin {
    published: Arc<Published>,
    metrics: Metrics,
}

/// Answers on `listener`, together with `beside`, until `shutdown` is done, then lets requests that have begun come to their end.
///
/// # Errors
/// `Unavailable` where the listener fails.
pub async fn serve(
    listener: TcpListener,
    published: Arc<Published>,
    clock: Clock,
    beside: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    axum::serve(listener, router(published, clock).merge(beside))
        .with_graceful_shutdown(shutdown)
        .await
        .map_err(|error| Error::unavailable("the HTTP listener failed").caused_by(error))
}

fn router(published: Arc<Published>, clock: Clock) -> Router {
    let admin = Arc::new(Admin { metrics: Metrics::new(Arc::clone(&published), clock), published });
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(admin)
}

/// A query that has failed is a matter for an alert, not for a supervisor that would restart the others with it.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let mut starting = Vec::new();
    let mut troubled = Vec::new();
    for query in admin.published.queries() {
        let (state, reason) = query.get();
        let entry = json!({ "query": query.name, "file": query.file, "state": state.name(), "reason": reason });
        match state {
            QueryState::Starting => starting.push(entry),
            QueryState::Running | QueryState::Finished => {}
            QueryState::Degraded | QueryState::Failed | QueryState::Fenced | QueryState::Rejected => {
                troubled.push(entry)
            }
        }
    }
    let ready = starting.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "starting": starting, "troubled": troubled });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

async fn show_metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.report()).into_response(),
    }
}

#[cfg(test)]
mod tests;
