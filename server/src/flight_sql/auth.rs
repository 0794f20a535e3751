//! Who is calling: users with Argon2 hashes, and the tokens that a handshake hands out.
//!
//! Where no users are configured everyone is the anonymous principal; the configuration then keeps the listener on
//! loopback. Where there are users, a call without valid credentials is refused, whatever it asks for.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::error::{Error, Result};
use crate::tables::catalog::PUBLIC_SCHEMA;

/// How long a token, or a password that was found right, is good for.
const TOKEN_TTL: Duration = Duration::from_secs(12 * 3600);
const TOKENS_MAX: usize = 10_000;
/// What clients send user and password in. Those on arrow-go, ADBC among them, leave the padding out.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Passwords checked at once: each takes some 20 MiB and a core for tens of milliseconds.
const CHECKED_AT_ONCE: usize = 2;

type TokenDigest = [u8; 32];

/// Who a call comes from.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Empty for the anonymous one.
    pub name: Arc<str>,
    /// The session, for callers that hold a token.
    session: Option<TokenDigest>,
}

struct Token {
    name: Arc<str>,
    expires: Instant,
    /// Where names without a schema are looked up.
    schema: String,
}

pub struct Auth {
    /// Argon2 hashes by user name.
    users: HashMap<String, String>,
    /// Verified in the place of an unknown user's, so that the time taken does not tell who exists.
    decoy: String,
    /// By digest, so that the table does not hold what would open a session.
    tokens: Mutex<HashMap<TokenDigest, Token>>,
    /// Digests of credentials that were found right, with a key of this process: an Argon2 check per call would be too slow.
    verified: Mutex<HashMap<TokenDigest, Instant>>,
    digest_key: [u8; 32],
    checks: Semaphore,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// Bytes that nobody can guess.
///
/// # Errors
/// `Unavailable` if the operating system gives none.
pub fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| Error::unavailable("the operating system gives no random numbers"))?;
    Ok(bytes)
}

impl Auth {
    /// `users`: names with passwords, each in plain text or as an Argon2 hash (`$argon2id$…`).
    ///
    /// # Errors
    /// `Invalid` for a hash that cannot be read.
    pub fn try_new(users: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut hashes = HashMap::new();
        for (name, password) in users {
            let hash = if password.starts_with("$argon2") {
                PasswordHash::new(&password).map_err(|error| {
                    Error::invalid(format!("the password hash of user \"{name}\" cannot be read"))
                        .detail(error.to_string())
                })?;
                password
            } else {
                hash(&password)?
            };
            hashes.insert(name, hash);
        }
        let decoy = if hashes.is_empty() { String::new() } else { hash("no password at all")? };
        Ok(Auth {
            users: hashes,
            decoy,
            tokens: Mutex::default(),
            verified: Mutex::default(),
            digest_key: random_bytes()?,
            checks: Semaphore::new(CHECKED_AT_ONCE),
        })
    }

    /// # Errors
    /// `UNAUTHENTICATED` where there are users and the headers do not name one with the right password or a live token.
    pub async fn authenticate(&self, headers: &MetadataMap) -> Result<Principal, Status> {
        let header = headers.get("authorization").map(|value| value.to_str().map_err(|_| refused())).transpose()?;
        let (scheme, credentials) = header.and_then(|header| header.split_once(' ')).unwrap_or_default();
        if scheme.eq_ignore_ascii_case("bearer")
            && let Some(principal) = self.by_token(credentials.trim())
        {
            return Ok(principal);
        }
        if self.users.is_empty() {
            return Ok(Principal { name: Arc::from(""), session: None });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return self.by_password(credentials.trim()).await;
        }
        Err(refused())
    }

    fn by_token(&self, token: &str) -> Option<Principal> {
        let digest = Sha256::digest(token.as_bytes()).into();
        let tokens = self.tokens.lock();
        let found = tokens.get(&digest).filter(|token| token.expires > Instant::now())?;
        Some(Principal { name: Arc::clone(&found.name), session: Some(digest) })
    }

    async fn by_password(&self, credentials: &str) -> Result<Principal, Status> {
        let decoded = BASIC.decode(credentials).map_err(|_| refused())?;
        let text = String::from_utf8(decoded).map_err(|_| refused())?;
        let (name, password) = text.split_once(':').ok_or_else(refused)?;
        let principal = Principal { name: Arc::from(name), session: None };

        let digest: TokenDigest =
            Sha256::new().chain_update(self.digest_key).chain_update(text.as_bytes()).finalize().into();
        if self.verified.lock().get(&digest).is_some_and(|until| *until > Instant::now()) {
            return Ok(principal);
        }
        let _permit = self.checks.acquire().await.map_err(|_| refused())?;
        let known = self.users.contains_key(name);
        let hash = self.users.get(name).unwrap_or(&self.decoy).clone();
        let password = password.to_owned();
        let right = tokio::task::spawn_blocking(move || verify(&hash, &password)).await.unwrap_or(false);
        if !(known && right) {
            return Err(refused());
        }
        let mut verified = self.verified.lock();
        if verified.len() >= TOKENS_MAX {
            verified.clear();
        }
        verified.insert(digest, Instant::now() + TOKEN_TTL);
        Ok(principal)
    }

    /// A new token for a caller, good for twelve hours.
    ///
    /// # Errors
    /// `OverBudget` while too many tokens are alive.
    pub fn issue_token(&self, principal: &Principal) -> Result<String> {
        let text = URL_SAFE_NO_PAD.encode(random_bytes::<32>()?);
        let now = Instant::now();
        let mut tokens = self.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            tokens.retain(|_, token| token.expires > now);
            if tokens.len() >= TOKENS_MAX {
                return Err(Error::over_budget(format!("{TOKENS_MAX} sessions are open"))
                    .hint("close sessions, or call with user and password"));
            }
        }
        let token =
            Token { name: Arc::clone(&principal.name), expires: now + TOKEN_TTL, schema: PUBLIC_SCHEMA.to_owned() };
        tokens.insert(Sha256::digest(text.as_bytes()).into(), token);
        Ok(text)
    }

    /// Where the caller's names without a schema are looked up.
    pub fn schema(&self, principal: &Principal) -> String {
        let tokens = self.tokens.lock();
        let token = principal.session.and_then(|session| tokens.get(&session));
        token.map_or_else(|| PUBLIC_SCHEMA.to_owned(), |token| token.schema.clone())
    }

    /// `false` for a caller without a session.
    pub fn set_schema(&self, principal: &Principal, schema: &str) -> bool {
        let mut tokens = self.tokens.lock();
        let token = principal.session.and_then(|session| tokens.get_mut(&session));
        token.map(|token| schema.clone_into(&mut token.schema)).is_some()
    }

    /// Forgets the caller's token. `false` for a caller without one.
    pub fn close_session(&self, principal: &Principal) -> bool {
        principal.session.is_some_and(|session| self.tokens.lock().remove(&session).is_some())
    }
}

fn refused() -> Status {
    Status::unauthenticated("user and password, or a token from a handshake, are required and were not right")
}

fn hash(password: &str) -> Result<String> {
    let salt = SaltString::encode_b64(&random_bytes::<16>()?).map_err(|error| Error::bug(error.to_string()))?;
    let hash = Argon2::default()
        .hash_password(password.as_bytes(), &salt)
        .map_err(|error| Error::invalid(error.to_string()))?;
    Ok(hash.to_string())
}

/// Compares in constant time.
fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests;
