//! Health, readiness and metrics over HTTP, for supervisors and Prometheus. Reads only; every answer comes from memory. Beside them
//! stands what other modules answer on the same listener.

mod connections;
pub(crate) mod metrics;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use self::connections::Limits;
use self::metrics::Metrics;
use crate::clock::Clock;
use crate::error::Result;
use crate::status::Standing;
use crate::status::ready::{Process, unready};
use crate::tables::Published;

const INDEX: &str = "touchline\n\n\
    /healthz   200 while the process answers\n\
    /readyz    200 while requests may be sent; else 503 and why not. In both cases how every query is doing\n\
    /metrics   counters and gauges for Prometheus\n\
     /api/ingest/TABLE   POST: records for a table with 'http.ingest' = 'true'\n";

#[derive(Debug)]
struct Admin {
    published: Arc<Published>,
    metrics: Metrics,
    process: Process,
    /// It has been ready before.
    was_ready: AtomicBool,
}

/// Answers on `listener`, together with `beside`, until `shutdown` is done, then lets requests that have begun come to their end.
///
/// # Errors
/// None: a listener that cannot accept is asked again.
pub async fn serve(
    listener: TcpListener,
    published: Arc<Published>,
    clock: Clock,
    process: Process,
    beside: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let router = router(published, clock, process).merge(beside);
    connections::answer(listener, router, Limits::of_this_process(), shutdown).await;
    Ok(())
}

fn router(published: Arc<Published>, clock: Clock, process: Process) -> Router {
    let metrics = Metrics::new(Arc::clone(&published), clock);
    let admin = Arc::new(Admin { published, metrics, process, was_ready: AtomicBool::new(false) });
    Router::new()
        .route("/", get(async || INDEX))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(admin)
}

/// A query that has failed is a matter for an alert, not for a supervisor that would restart the others with it.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let stage = admin.process.stage();
    let (mut states, mut queries) = (Vec::new(), Vec::new());
    for query in admin.published.queries() {
        let Standing { state, arguments, reason } = query.standing();
        states.push((state, admin.published.view(&query.name).is_some()));
        queries.push(json!({
            "query": query.name, "file": query.file, "state": state.name(), "arguments": arguments, "reason": reason
        }));
    }
    let reason = unready(stage, admin.was_ready.load(Ordering::Relaxed), &states);
    if reason.is_none() {
        admin.was_ready.store(true, Ordering::Relaxed);
    }
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": reason.is_none(), "state": stage.name(), "reason": reason, "queries": queries });
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
