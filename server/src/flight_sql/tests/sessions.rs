//! What a login opens, and how it ends.

use super::*;

#[tokio::test]
async fn a_closed_session_is_refused_and_never_answered_with_defaults() {
    let server = Server::start(AdHocSettings::default(), &[("ana", "right")]).await;
    let mut client = server.client();
    client.handshake("ana", "right").await.expect("logs in");
    let mut answer = client.do_action(Action::new("CloseSession", Vec::new())).await.expect("closes");
    let answer = answer.message().await.expect("an answer").expect("an answer");
    let closed = options::CloseSessionResult::decode(answer.body).expect("the message");
    assert_eq!(closed.status(), options::CloseStatus::Closed);

    let error = client.execute("SELECT 1".to_owned(), None).await.map_err(tonic::Status::from).expect_err("closed");
    assert_eq!(error.code(), Code::Unauthenticated);
    assert!(error.message().starts_with("the session has ended"), "{error}");
    assert!(!error.message().contains("password"), "it was right: {error}");
    // The same client gets in again.
    client.clear_token();
    client.handshake("ana", "right").await.expect("logs in");
    let info = client.execute("SELECT 1".to_owned(), None).await.expect("runs");
    assert_eq!(ints(&fetch(&mut client, info).await.expect("rows")), [1]);
}
