use argon2::Version;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::*;

/// A hash that is checked at once: the cost is not what these tests are about.
fn cheap(password: &str) -> String {
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
    let salt = SaltString::encode_b64(b"0123456789abcdef").expect("a salt");
    argon.hash_password(password.as_bytes(), &salt).expect("hashes").to_string()
}

async fn login(auth: &Auth, authorization: &str) -> Result<Principal, Status> {
    auth.authenticate(Some(authorization), None).await
}

/// Base64 has no, one or two `=` at its end, and every third client of three leaves them out.
#[tokio::test]
async fn the_right_password_of_every_length_is_right_with_and_without_padding() {
    let password = |length: usize| "pä55:word/+".chars().cycle().take(length).collect::<String>();
    let users = (0..=40).map(|length| (format!("u{length}"), cheap(&password(length))));
    let auth = Auth::try_new(users).expect("users");
    for length in 0..=40 {
        let text = format!("u{length}:{}", password(length));
        for encoded in [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text)] {
            let caller = login(&auth, &format!("Basic {encoded}")).await;
            assert_eq!(&*caller.expect(&text).name, format!("u{length}"), "{encoded}");
        }
        let wrong = STANDARD_NO_PAD.encode(format!("{text}x"));
        assert!(login(&auth, &format!("Basic {wrong}")).await.is_err(), "{text}");
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Each login succeeds and the session that works goes on, however many a user's clients leave behind.
#[tokio::test]
async fn no_number_of_logins_locks_anybody_out() {
    let auth = Auth::try_new([("ana".to_owned(), cheap("a")), ("ben".to_owned(), cheap("b"))]).expect("users");
    let ana = login(&auth, &format!("Basic {}", STANDARD.encode("ana:a"))).await.expect("logs in");
    let ben = login(&auth, &format!("Basic {}", STANDARD.encode("ben:b"))).await.expect("logs in");
    let (bens, first) = (auth.open_session(&ben).expect("a session"), auth.open_session(&ana).expect("a session"));
    let at_work = auth.open_session(&ana).expect("a session");
    let mut last = String::new();
    for _ in 0..3 * SESSIONS.entries_max {
        last = auth.open_session(&ana).expect("always");
        login(&auth, &bearer(&at_work)).await.expect("it is in use");
    }
    login(&auth, &bearer(&last)).await.expect("the newest");
    login(&auth, &bearer(&bens)).await.expect("another user's");
    let gone = login(&auth, &bearer(&first)).await.expect_err("not used for longest");
    assert!(gone.message().starts_with("the session has ended"), "{gone}");
    assert_eq!(auth.sessions.lock().len(), SESSIONS.entries_max + 1);
}

#[tokio::test]
async fn a_session_ends_when_it_is_closed_when_it_is_idle_and_after_twelve_hours() {
    let auth = Auth::try_new([]).expect("no users");
    let anonymous = auth.authenticate(None, None).await.expect("everyone");
    let now = Instant::now();
    let after = |hours: u64| now + Duration::from_secs(hours * 3600 + 60);

    let idle = auth.open_session(&anonymous).expect("a session");
    assert!(auth.by_token(&idle, after(3)).is_some());
    assert!(auth.by_token(&idle, after(8)).is_none(), "five hours without a call");

    let busy = auth.open_session(&anonymous).expect("a session");
    for hours in [3, 6, 9, 11] {
        assert!(auth.by_token(&busy, after(hours)).is_some(), "{hours}");
    }
    assert!(auth.by_token(&busy, after(12)).is_none());

    let closed = auth.open_session(&anonymous).expect("a session");
    let caller = login(&auth, &bearer(&closed)).await.expect("it is open");
    assert!(auth.set_schema(&caller, "touchline") && auth.close_session(&caller) && !auth.close_session(&caller));
    // Where everyone may read, too: with defaults the same statement would mean something else.
    assert!(login(&auth, &bearer(&closed)).await.is_err());
    assert!(login(&auth, &bearer("somebody else's")).await.is_ok());
}

/// Between the check of a password and the session that a handshake opens for it, users may be read anew.
#[tokio::test]
async fn a_password_that_was_withdrawn_during_a_handshake_opens_no_session() {
    let auth = Auth::try_new([("ana".to_owned(), cheap("old")), ("ben".to_owned(), cheap("b"))]).expect("users");
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let (ana, ben) = (login(&auth, &basic("ana:old")).await, login(&auth, &basic("ben:b")).await);
    let (ana, ben) = (ana.expect("right"), ben.expect("right"));
    auth.replace([("ana".to_owned(), cheap("new")), ("ben".to_owned(), cheap("b"))]).expect("users");
    assert!(auth.open_session(&ana).is_err(), "it would be good for twelve hours");
    assert!(auth.open_session(&ben).is_ok(), "nothing of his has changed");
}

#[tokio::test]
async fn users_that_are_read_anew_count_at_once_and_sessions_of_others_end() {
    let of = |users: &[(&str, &str)]| -> Vec<(String, String)> {
        users.iter().map(|(name, password)| ((*name).to_owned(), (*password).to_owned())).collect()
    };
    // In plain text, too: that has another salt each time, and means the same.
    let (a, b, c) = ("plain", cheap("b"), cheap("c"));
    let auth = Auth::try_new(of(&[("ana", a), ("ben", &b), ("cem", &c)])).expect("users");
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let mut sessions = Vec::new();
    for text in ["ana:plain", "ben:b", "cem:c"] {
        let caller = login(&auth, &basic(text)).await.expect(text);
        sessions.push(bearer(&auth.open_session(&caller).expect("a session")));
    }
    let other = cheap("other");
    auth.replace(of(&[("ana", a), ("ben", &other), ("dov", &c)])).expect("users");
    for (sent, may) in [
        (sessions[0].clone(), true),
        (basic("ana:plain"), true),
        (sessions[1].clone(), false),
        (basic("ben:b"), false),
        (basic("ben:other"), true),
        (sessions[2].clone(), false),
        (basic("cem:c"), false),
        (basic("dov:c"), true),
    ] {
        assert_eq!(login(&auth, &sent).await.is_ok(), may, "{sent}");
    }
    // A change for the worse is none.
    for users in [of(&[]), of(&[("ana", "$2b$12$nothing")])] {
        assert_eq!(auth.replace(users).expect_err("refused").kind(), crate::error::ErrorKind::Invalid);
    }
    assert!(login(&auth, &sessions[0]).await.is_ok());
}

#[tokio::test]
async fn an_unknown_token_is_not_called_a_wrong_password() {
    let auth = Auth::try_new([("ana".to_owned(), cheap("a"))]).expect("users");
    for (sent, said) in [
        ("Bearer tls_of-an-earlier-start", "the session has ended"),
        ("Bearer nonsense", "the token is not one of this server's"),
        ("Basic YW5hOmI=", "user and password, or a token from a handshake, are required"),
    ] {
        let status = login(&auth, sent).await.expect_err("refused");
        assert_eq!(status.code(), tonic::Code::Unauthenticated);
        assert!(status.message().starts_with(said), "{sent}: {status}");
    }
}

#[test]
fn a_hash_that_is_not_argon2_is_not_taken_for_a_password() {
    let bcrypt = "$2b$12$KIXQ0J5Qz1mZ3b9r8c0u6eV0s6S7v6l8o9p0q1r2s3t4u5v6w7x8y";
    for password in [
        bcrypt,
        "$6$salt$hash",
        "$apr1$salt$hash",
        "$scrypt$ln=16,r=8,p=1$c2FsdA$aGFzaA",
        "{SSHA}c2FsdA==",
        "SCRAM-SHA-256$4096:c2FsdA==$a:b",
        "pbkdf2_sha256$600000$salt$hash",
    ] {
        let error = check_password("ana", password).expect_err(password);
        assert!(error.primary().ends_with("is a hash of a kind that is not known"), "{}", error.report());
        assert!(!error.report().contains(password), "{}", error.report());
    }
    // It is not known whether it is one, so nothing of it is shown.
    let error = check_password("ana", "$hunter2$!").expect_err("it has the form of one");
    assert!(!error.report().contains("hunter2"), "{}", error.report());
    let hash = cheap("x");
    let plain = ["$", "$$", "$ecret", "$ecret$", "a$b$c", "{}", "{SECRET}", "{curly} words", "", "plain", "ä$ö$"];
    for password in plain.into_iter().chain([hash.as_str()]) {
        assert!(check_password("ana", password).is_ok(), "{password}");
    }
}

#[test]
fn an_argon2_hash_that_no_password_can_match_is_refused() {
    for (hash, said) in [
        ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzYWx0", "ends after the salt"),
        ("$argon2id$v=19$m=8,t=1,p=1", "no salt"),
        ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzYWx0$###", ""),
        ("$argon2xx$v=19$m=8,t=1,p=1$c29tZXNhbHRzYWx0$c29tZWhhc2hzb21laGFzaA", ""),
        ("$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHRzYWx0$c29tZWhhc2hzb21laGFzaA", ""),
    ] {
        let error = check_password("ana", hash).expect_err(hash);
        assert!(error.detail_text().is_some_and(|text| text.contains(said)), "{}", error.report());
        assert!(Auth::try_new([("ana".to_owned(), hash.to_owned())]).is_err());
    }
}

/// The check of a password takes long, and whoever sends many must not keep the others waiting.
#[tokio::test]
async fn logins_wait_for_those_of_their_own_peer_alone() {
    let auth = Auth::try_new([("ana".to_owned(), cheap("a"))]).expect("users");
    let (guesser, other): (Option<IpAddr>, Option<IpAddr>) = (Some([10, 0, 0, 1].into()), Some([10, 0, 0, 2].into()));
    let right = format!("Basic {}", STANDARD.encode("ana:a"));
    let turn = auth.line_of(guesser).expect("a line").acquire_owned().await.expect("his turn");
    let mut waits = Box::pin(auth.authenticate(Some(&right), guesser));
    assert!(futures::poll!(&mut waits).is_pending());
    assert!(auth.authenticate(Some(&right), other).await.is_ok());
    drop(turn);
    assert!(waits.await.is_ok());
    drop(auth.line_of(other));
    assert_eq!(auth.lines.lock().len(), 1, "a line that nobody stands in is taken away");
}

/// A check that is under way cannot be stopped. If going away freed its place, whoever does so could start any number.
#[tokio::test]
async fn a_login_that_is_given_up_keeps_its_place_until_its_check_has_ended() {
    // Dear enough to be still under way when it is looked at.
    let dear = "$argon2id$v=19$m=19456,t=4,p=1$c29tZXNhbHRzYWx0$c29tZWhhc2hzb21laGFzaA";
    let auth = Auth::try_new([("ana".to_owned(), dear.to_owned())]).expect("users");
    let basic = format!("Basic {}", STANDARD.encode("ana:a"));
    let mut given_up = Box::pin(login(&auth, &basic));
    assert!(futures::poll!(&mut given_up).is_pending());
    drop(given_up);
    assert_eq!(auth.checks.available_permits(), CHECKED_AT_ONCE - 1);
    let all = u32::try_from(CHECKED_AT_ONCE).expect("few");
    assert!(auth.checks.acquire_many(all).await.is_ok(), "it comes back");
}

#[test]
fn a_line_is_not_endless_and_a_network_of_ipv6_stands_in_one() {
    let auth = Auth::try_new([]).expect("no users");
    let line = |address: &str| auth.line_of(Some(address.parse().expect("an address")));
    let waiting: Vec<_> = (0..LINE_MAX).map(|_| line("2001:db8::1").expect("there is room")).collect();
    assert!(line("2001:db8::2:0:0:1").is_none());
    assert!(line("2001:db8:0:1::1").is_some() && line("10.0.0.1").is_some());
    drop(waiting);
    assert!(line("2001:db8::1").is_some());
}
