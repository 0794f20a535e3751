//! What one statement may take: depth, time, memory, a place among others, and how it gives them back.

use super::*;

#[tokio::test]
async fn connections_are_accepted_without_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let mut incoming = incoming(listener);
    let _client = tokio::net::TcpStream::connect(address).await.expect("connects");
    let accepted = incoming.next().await.expect("a connection").expect("accepted");
    assert!(accepted.nodelay().expect("an option"));
}

#[tokio::test]
async fn a_value_of_three_megabytes_arrives() {
    let server = Server::open().await;
    let rows = server.ok("SELECT repeat('x', 3000000) AS long FROM generate_series(1, 3)").await;
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(rows.column(0).as_string::<i32>().value(2).len(), 3_000_000);
}

#[tokio::test]
async fn statements_that_nest_deeply_end_in_an_error_and_not_in_a_crash() {
    let server = Server::open().await;
    let chain = |terms: usize, operator: &str| format!("SELECT {}", vec!["1"; terms].join(operator));
    for sql in [
        chain(20_000, " + "),
        chain(9_000, "+"),
        chain(2_000, " + "),
        format!("SELECT 1 WHERE {}", vec!["1 = 2"; 4_000].join(" OR ")),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT {}1", "- ".repeat(9_000)),
        format!("SELECT {}true", "NOT ".repeat(9_000)),
        vec!["SELECT 1"; 3_000].join(" UNION ALL "),
        format!("{}1{}", "SELECT * FROM (SELECT ".repeat(3_000), ") t".repeat(3_000)),
        "x".repeat(10 * 1024 * 1024 / 4),
        format!(
            "WITH t0 AS (SELECT 1 AS a), {} SELECT * FROM t40",
            (1..=40).map(|i| format!("t{i} AS (SELECT x.a FROM t{0} x, t{0} y)", i - 1)).collect::<Vec<_>>().join(", ")
        ),
    ] {
        let status = server.query(&sql).await.expect_err("refused");
        assert!(matches!(status.code(), Code::InvalidArgument | Code::ResourceExhausted), "{status}");
        assert!(!status.message().contains("ParserError"), "{status}");
    }
    // And what is merely long is fine.
    assert_eq!(ints(&server.ok(&chain(400, " + ")).await), [400]);
    assert_eq!(server.ok(&vec!["SELECT 1"; 300].join(" UNION ALL ")).await.num_rows(), 300);
}

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000000000) a (n) WHERE n % 7 = 3";

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let server = Server::start(AdHocSettings { concurrency: 1, ..Default::default() }, &[]).await;
    let mut client = server.client();
    let info = client.execute(ENDLESS.to_owned(), None).await.expect("plans");
    let rows = client.do_get(info.endpoint[0].ticket.clone().expect("a ticket")).await.expect("starts");
    assert_eq!(server.service.adhoc().running(), 1);
    drop(rows);
    // Waits for the only place.
    assert_eq!(ints(&server.ok("SELECT 1").await), [1]);
}

#[tokio::test]
async fn a_cancelled_statement_says_so() {
    let server = Server::open().await;
    let mut client = server.client();
    let info = client.execute(ENDLESS.to_owned(), None).await.expect("plans");
    let mut rows = client.do_get(info.endpoint[0].ticket.clone().expect("a ticket")).await.expect("starts");
    let cancel = |info: FlightInfo| Action::new("CancelFlightInfo", CancelFlightInfoRequest::new(info).encode_to_vec());
    let mut answer = server.raw().do_action(cancel(info.clone())).await.expect("cancels").into_inner();
    let answer = answer.message().await.expect("an answer").expect("an answer");
    let answer = CancelFlightInfoResult::decode(answer.body).expect("the message");
    assert_eq!(answer.status(), CancelStatus::Cancelled);
    let status = loop {
        match rows.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a cancelled statement must not look complete"),
            Err(error) => break tonic::Status::from(error),
        }
    };
    assert_eq!(status.code(), Code::Cancelled);
    let mut again = server.raw().do_action(cancel(info)).await.expect("cancels").into_inner();
    let again = again.message().await.expect("an answer").expect("an answer");
    assert_eq!(CancelFlightInfoResult::decode(again.body).expect("the message").status(), CancelStatus::NotCancellable);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped() {
    let server = Server::start(AdHocSettings { timeout_s: 1, ..Default::default() }, &[]).await;
    assert_eq!(server.code(ENDLESS).await, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_statement_that_needs_too_much_memory_fails_alone() {
    let server = Server::start(AdHocSettings { memory_bytes: 8 << 20, ..Default::default() }, &[]).await;
    let greedy = "SELECT n, repeat('x', 1000) AS s FROM generate_series(1, 200000) t (n) ORDER BY s, n DESC";
    assert_eq!(server.code(greedy).await, Code::ResourceExhausted);
    assert_eq!(ints(&server.ok("SELECT 1").await), [1]);
}
