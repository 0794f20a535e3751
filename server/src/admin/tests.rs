use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use super::*;
use crate::status::{PartitionStatus, QueryState, QueryStatus, SourceStatus};
use crate::tables::{AdHocFigures, AdHocWork, PublishedView};

/// The process runs, unless `stopping`.
fn process(stopping: bool) -> Process {
    let (serving, stopping) = (watch::Sender::new(true), watch::Sender::new(stopping));
    Process {
        serving: serving.subscribe(),
        stopping: stopping.subscribe(),
        fatal: watch::Sender::new(None).subscribe(),
    }
}

/// Status and body of a request to a server of its own.
async fn get(published: &Arc<Published>, path: &str) -> (u16, String) {
    get_of(published, process(false), path).await
}

async fn get_of(published: &Arc<Published>, process: Process, path: &str) -> (u16, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (stop, stopped) = oneshot::channel::<()>();
    let server =
        tokio::spawn(serve(listener, Arc::clone(published), Clock::manual(5_000_000), process, Router::new(), async {
            let _ = stopped.await;
        }));
    let mut stream = TcpStream::connect(address).await.expect("listening");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    stop.send(()).expect("still serving");
    server.await.expect("no panic").expect("a clean end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

fn with_query(state: QueryState, reason: Option<&str>) -> (Arc<Published>, Arc<QueryStatus>) {
    let published = Arc::new(Published::default());
    let status = Arc::new(QueryStatus::new("momentum", "queries/momentum.sql"));
    status.set(state, reason.map(str::to_owned));
    published.put_query(Arc::clone(&status));
    (published, status)
}

#[tokio::test]
async fn the_process_is_alive_whatever_its_queries_do() {
    let (published, _) = with_query(QueryState::Failed, Some("no"));
    assert_eq!(get(&published, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&published, "/").await.0, 200);
    assert_eq!(get(&published, "/nothing").await.0, 404);
}

/// As a query that has been restored shows its view.
fn show(published: &Published) {
    published.put_view(Arc::new(PublishedView::new("momentum", Arc::new(arrow::datatypes::Schema::empty()))));
}

#[tokio::test]
async fn ready_means_that_some_query_can_answer_and_all_of_them_are_listed() {
    let (published, status) = with_query(QueryState::Starting, Some("reading its checkpoint"));
    let (code, body) = get(&published, "/readyz").await;
    assert_eq!(code, 503);
    assert!(body.contains("\"query\":\"momentum\"") && body.contains("reading its checkpoint"), "{body}");
    assert!(body.contains("\"reason\":\"queries are being restored\""), "{body}");

    status.set(QueryState::Failed, Some("bundle 7 is damaged".to_owned()));
    let (code, body) = get(&published, "/readyz").await;
    assert!(code == 503 && body.contains("\"reason\":\"no query can answer\""), "{code} {body}");

    show(&published);
    status.set_with(QueryState::Failed, Some("q.sql:3:5".to_owned()), Some("division by zero".to_owned()));
    let (code, body) = get(&published, "/readyz").await;
    assert_eq!(code, 200, "its last checkpoint can be read: {body}");
    for said in ["\"state\":\"FAILED\"", "\"arguments\":\"q.sql:3:5\"", "division by zero", "\"state\":\"RUNNING\""] {
        assert!(body.contains(said), "no {said} in {body}");
    }
    assert_eq!(get(&Arc::new(Published::default()), "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_server_that_stops_is_not_ready_and_alive() {
    let (published, _) = with_query(QueryState::Running, None);
    show(&published);
    assert_eq!(get(&published, "/readyz").await.0, 200);
    let (code, body) = get_of(&published, process(true), "/readyz").await;
    assert!(code == 503 && body.contains("\"state\":\"STOPPING\""), "{code} {body}");
    assert_eq!(get_of(&published, process(true), "/healthz").await.0, 200);
}

#[derive(Debug)]
struct ThreeRun;

impl AdHocWork for ThreeRun {
    fn figures(&self) -> AdHocFigures {
        AdHocFigures { running: 3, refused: 2, stuck_threads: 1, ..AdHocFigures::default() }
    }
}

#[tokio::test]
async fn metrics_say_what_goes_on_at_the_door() {
    let (published, _status) = with_query(QueryState::Running, None);
    let (_, body) = get(&published, "/metrics").await;
    assert!(!body.contains("touchline_adhoc_"), "there is no door");
    let work: Arc<dyn AdHocWork> = Arc::new(ThreeRun);
    published.put_adhoc(Arc::downgrade(&work));
    let (_, body) = get(&published, "/metrics").await;
    for line in ["touchline_adhoc_running 3", "touchline_adhoc_refused_total 2", "touchline_adhoc_stuck_threads 1"] {
        assert!(body.lines().any(|other| other == line || other == format!("{line}.0")), "no {line} in\n{body}");
    }
}

#[tokio::test]
async fn metrics_have_a_value_for_each_query_source_and_partition() {
    let (published, status) = with_query(QueryState::Running, None);
    status.rows_in.store(42, Ordering::Relaxed);
    status.epoch_micros.store(1_500_000, Ordering::Relaxed);
    let partition = PartitionStatus { position: 7, end: Some(10), event_time_max: None, idle: true };
    let source = SourceStatus { watermark: Some(2_500_000), partitions: [(3, partition)].into() };
    status.sources.write().insert("match_events".to_owned(), source);
    let (code, body) = get(&published, "/metrics").await;
    assert_eq!(code, 200);
    let expected = [
        "touchline_query_input_rows_total{query=\"momentum\"} 42",
        "touchline_query_epoch_seconds_total{query=\"momentum\"} 1.5",
        "touchline_query_state{query=\"momentum\",state=\"RUNNING\"} 1",
        "touchline_query_state{query=\"momentum\",state=\"FAILED\"} 0",
        "touchline_source_watermark_seconds{query=\"momentum\",source=\"match_events\"} 2.5",
        "touchline_source_lag_rows{query=\"momentum\",source=\"match_events\",partition=\"3\"} 3",
        "touchline_source_idle{query=\"momentum\",source=\"match_events\",partition=\"3\"} 1",
        "touchline_uptime_seconds 0",
        "# EOF",
    ];
    for line in expected {
        assert!(body.lines().any(|other| other == line || other == format!("{line}.0")), "no {line} in\n{body}");
    }
    assert!(!body.contains("touchline_source_event_time_seconds{"), "nothing has been read yet");

    status.set(QueryState::Failed, None);
    let (_, body) = get(&published, "/metrics").await;
    assert!(!body.contains("touchline_source_lag_rows{"), "nobody knows it, and it is not 0:\n{body}");
}
