//! What one statement may take: depth, time, memory, a place among others, and how it gives them back.

use super::super::session::{Cancel, Weigh};
use super::*;

#[tokio::test]
async fn a_value_of_three_megabytes_arrives() {
    let server = Server::open().await;
    let rows = server.ok("SELECT repeat('x', 3000000) AS long FROM generate_series(1, 3)").await;
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(rows.column(0).as_string::<i32>().value(2).len(), 3_000_000);
}

#[tokio::test]
async fn a_result_that_would_not_fit_into_memory_is_refused_with_its_place_before_it_is_made() {
    let server = Server::open().await;
    for (sql, place) in [
        ("SELECT length(lpad('a', b, 'x')) FROM (VALUES (9223372036854775807)) AS t(b)", "line 1, column 15: lpad()"),
        ("SELECT 1,\n length(repeat('x', 1000000000))", "line 2, column 9: repeat()"),
        ("SELECT array_length(range(1, 1000000000000))", "line 1, column 21: range()"),
    ] {
        let status = server.query(sql).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(&format!("{place} would make a value of ")), "{status}");
    }
    // Eight gigabytes of a constant, which a batch would have.
    let constant = "SELECT repeat('x', 1000000) FROM generate_series(1, 100000)";
    assert_eq!(server.code(constant).await, Code::InvalidArgument);
}

#[tokio::test]
async fn subqueries_stand_at_most_eight_deep_also_by_name() {
    let server = Server::open().await;
    let nested = |levels: usize| {
        (0..levels).fold("SELECT 1 AS a".to_owned(), |query, _| format!("SELECT 1 AS a WHERE 1 IN ({query})"))
    };
    assert_eq!(server.ok(&nested(3)).await.num_rows(), 1);
    for levels in [9, 20] {
        let status = server.query(&nested(levels)).await.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
        assert!(status.message().contains("more than 8 subqueries stand in one another"), "{status}");
    }
    let named: Vec<String> =
        (1..=20).map(|n| format!("t{n} AS (SELECT 1 AS a WHERE 1 IN (SELECT a FROM t{}))", n - 1)).collect();
    let named = format!("WITH t0 AS (SELECT 1 AS a), {} SELECT a FROM t20", named.join(", "));
    assert_eq!(server.code(&named).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn statements_that_nest_deeply_end_in_an_error_and_not_in_a_crash() {
    let server = Server::open().await;
    let chain = |terms: usize, operator: &str| format!("SELECT {}", vec!["1"; terms].join(operator));
    let within = |name: usize| vec![format!("1 IN (SELECT a FROM t{name})"); 30].join(" AND ");
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
        // Thirty times as many subqueries with each level.
        format!(
            "WITH t0 AS (SELECT 1 AS a), {} SELECT * FROM t8",
            (1..=8).map(|i| format!("t{i} AS (SELECT 1 AS a WHERE {})", within(i - 1))).collect::<Vec<_>>().join(", ")
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

/// What makes too much of too little: a forgotten condition, one that is never true, texts compared letter by letter, a sort in an aggregate.
const BOMBS: [&str; 4] = [
    "SELECT count(*) FROM generate_series(1, 1000000) a (n) CROSS JOIN generate_series(1, 1000000) b (m)",
    "SELECT count(*) FROM generate_series(1, 1000000) a (n) JOIN generate_series(1, 1000000) b (m) ON n + m < 0",
    "SELECT sum(levenshtein(repeat('a', 900 + n % 2), repeat('b', 900 + n % 3))) FROM generate_series(1, 1000000) a (n)",
    "SELECT array_length(array_agg(n ORDER BY n % 7)) FROM generate_series(1, 300000000) a (n)",
];

#[tokio::test]
async fn a_cancelled_bomb_gives_its_place_and_its_memory_to_the_next_statement() {
    let server = Server::start(AdHocSettings { concurrency: 1, ..Default::default() }, &[]).await;
    for bomb in BOMBS {
        let mut client = server.client();
        let info = client.execute(bomb.to_owned(), None).await.expect(bomb);
        let rows = client.do_get(info.endpoint[0].ticket.clone().expect("a ticket")).await.expect("starts");
        let action = CancelFlightInfoRequest::new(info).encode_to_vec();
        let mut answer = server.raw().do_action(Action::new("CancelFlightInfo", action)).await.expect("cancels");
        let answer = answer.get_mut().message().await.expect("an answer").expect("an answer");
        let status = CancelFlightInfoResult::decode(answer.body).expect("the message").status();
        assert_eq!(status, CancelStatus::Cancelled, "{bomb}");
        let ended: Result<Vec<RecordBatch>, _> = rows.try_collect().await;
        assert_eq!(tonic::Status::from(ended.expect_err(bomb)).code(), Code::Cancelled, "{bomb}");
        let figures = server.service.adhoc().figures();
        assert_eq!((figures.running, figures.memory_bytes), (0, 0), "{bomb}");
    }
    // On the threads that they had, or on others.
    assert_eq!(ints(&server.ok("SELECT 1").await), [1]);
}

struct Kilobyte;

impl Weigh for Kilobyte {
    fn bytes(&self) -> usize {
        1024
    }
}

#[tokio::test]
async fn what_a_client_has_not_read_is_charged_until_it_has_or_its_time_is_up() {
    let server = Server::start(AdHocSettings::default(), &[]).await;
    let adhoc = server.service.adhoc();
    let result = async |deadline| {
        let prepared = adhoc.prepare("SELECT 1", "ana", "public", deadline).await.expect("prepares");
        let bound = adhoc.bind(Arc::new(prepared), None, deadline).await.expect("binds");
        let encode = |_| Ok(vec![Kilobyte]);
        let rows =
            adhoc.run(&Arc::from("ana"), Arc::new(bound), Cancel::default(), deadline, encode).await.expect("runs");
        while adhoc.figures().running > 0 || adhoc.figures().memory_bytes == 0 {
            tokio::task::yield_now().await;
        }
        rows
    };
    let mut rows = result(adhoc.deadline(None)).await;
    // Time in which it would be given up.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(adhoc.figures().memory_bytes, 1024);
    assert!(rows.next().await.expect("a row").is_ok());
    assert_eq!(adhoc.figures().memory_bytes, 0);
    assert!(rows.next().await.is_none());

    let rows = result(adhoc.deadline(Some(Duration::from_secs(2)))).await;
    while adhoc.figures().memory_bytes > 0 {
        tokio::task::yield_now().await;
    }
    drop(rows);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped() {
    let server = Server::start(AdHocSettings { timeout_s: 1, ..Default::default() }, &[]).await;
    assert_eq!(server.code(ENDLESS).await, Code::DeadlineExceeded);
}

#[tokio::test]
async fn parameters_that_do_not_come_are_not_waited_for_for_ever() {
    let server = Server::start(AdHocSettings { timeout_s: 1, ..Default::default() }, &[]).await;
    let mut client = server.raw();
    let put = tokio::time::timeout(Duration::from_secs(60), client.do_put(stream::pending()));
    let status = put.await.expect("it ends").map(|_| ()).expect_err("nothing has come");
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_statement_that_needs_too_much_memory_fails_alone() {
    let server = Server::start(AdHocSettings { memory_bytes: 8 << 20, ..Default::default() }, &[]).await;
    let greedy = "SELECT n, repeat('x', 1000) AS s FROM generate_series(1, 200000) t (n) ORDER BY s, n DESC";
    assert_eq!(server.code(greedy).await, Code::ResourceExhausted);
    assert_eq!(ints(&server.ok("SELECT 1").await), [1]);
}

/// An open grid of a BI tool, which reads a screenful and then nothing.
#[tokio::test]
async fn a_result_that_nobody_reads_takes_no_place_from_the_others() {
    let server = Server::start(AdHocSettings { concurrency: 1, ..Default::default() }, &[]).await;
    let mut client = server.client();
    let large = "SELECT repeat('x', 1000000) AS s FROM generate_series(1, 40)";
    let info = client.execute(large.to_owned(), None).await.expect("plans");
    let rows = client.do_get(info.endpoint[0].ticket.clone().expect("a ticket")).await.expect("starts");
    // On a connection of its own: what the first one does not read must not hold this one up either.
    let other = server.another_connection().await;
    assert_eq!(ints(&other.ok("SELECT 1").await), [1]);
    let read: Vec<RecordBatch> = rows.try_collect().await.expect("it goes on");
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 40);
}

#[tokio::test]
async fn a_caller_who_makes_too_many_tickets_loses_the_oldest_and_nobody_is_refused() {
    let server = Server::start(AdHocSettings::default(), &[]).await;
    let mut client = server.client();
    let first = client.execute("SELECT 1".to_owned(), None).await.expect("plans");
    let second = client.execute("SELECT 2".to_owned(), None).await.expect("plans");
    for _ in 1..service::HANDLES_MAX {
        client.execute("SELECT 3".to_owned(), None).await.expect("never refused");
    }
    assert_eq!(fetch(&mut client, first).await.expect_err("not used for longest").code(), Code::NotFound);
    assert_eq!(ints(&fetch(&mut client, second).await.expect("rows")), [2]);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_parameters_may_be_longer() {
    let server = Server::open().await;
    let status = server.query(&format!("SELECT '{}'", "x".repeat(calls::MESSAGE_BYTES_MAX))).await.expect_err("long");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("a message of more than 1048576 bytes"), "{status}");

    let mut client = server.client();
    let mut prepared = client.prepare("SELECT length(?) AS n".to_owned(), None).await.expect("prepares");
    let bind = |bytes: usize| {
        let text: arrow::array::ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(bytes)]));
        RecordBatch::try_from_iter([("1", text)]).expect("a batch")
    };
    prepared.set_parameters(bind(8 << 20)).expect("takes parameters");
    let info = prepared.execute().await.expect("eight megabytes");
    assert_eq!(fetch(&mut client, info).await.expect("rows").num_rows(), 1);
    prepared.set_parameters(bind((16 << 20) + 1)).expect("takes parameters");
    let status = prepared.execute().await.map_err(tonic::Status::from).expect_err("too long");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
}

/// Else anybody could make the server hold whatever he sends.
#[tokio::test]
async fn nobody_is_asked_for_a_body_before_he_is_known() {
    let server = Server::start(AdHocSettings::default(), &[("ana", "right")]).await;
    // A body of which nothing ever comes: an answer is one that did not wait for it.
    let status = server.raw().do_put(stream::pending()).await.map(|_| ()).expect_err("unknown");
    assert_eq!(status.code(), Code::Unauthenticated);
}
