use argon2::{Algorithm, Params, Version};
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::*;

/// A hash that is checked at once: the cost is not what these tests are about.
fn cheap(password: &str) -> String {
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).expect("parameters"));
    let salt = SaltString::encode_b64(b"0123456789abcdef").expect("a salt");
    argon.hash_password(password.as_bytes(), &salt).expect("hashes").to_string()
}

fn headers(authorization: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    headers.insert("authorization", authorization.parse().expect("a header"));
    headers
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
            let caller = auth.authenticate(&headers(&format!("Basic {encoded}"))).await;
            assert_eq!(&*caller.expect(&text).name, format!("u{length}"), "{encoded}");
        }
        let wrong = STANDARD_NO_PAD.encode(format!("{text}x"));
        assert!(auth.authenticate(&headers(&format!("Basic {wrong}"))).await.is_err(), "{text}");
    }
}
