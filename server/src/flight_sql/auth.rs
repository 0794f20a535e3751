//! Who is calling: users with Argon2 hashes, and the sessions that a handshake opens.
//!
//! A session is a token that its holder sends with every call. A user may have so many; a new login always gets one, and
//! the user's least recently used session makes room. One that is gone is refused and never answered with defaults.
//!
//! Where no users are configured everyone is the anonymous principal; the configuration then keeps the listener on
//! loopback. Where there are users, a call without valid credentials is refused, whatever it asks for.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params};
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::Status;

use super::kept::{Bounds, Kept};
use super::users::{Credential, Users};
use crate::error::{Error, Result};
use crate::tables::catalog::PUBLIC_SCHEMA;

/// How long a session, or a password that was found right, is good for.
const SESSION_TTL: Duration = Duration::from_secs(12 * 3600);
/// Sessions of one user. Some clients leave one behind per connection.
const SESSIONS: Bounds = Bounds { entries_max: 1_000, bytes_max: usize::MAX, idle: Duration::from_secs(4 * 3600) };
/// What tokens begin with, so that those of an earlier start are known for what they are.
const TOKEN_PREFIX: &str = "tls_";
/// What the hashes begin with that can be checked here.
const ARGON2: &str = "$argon2";
/// What clients send user and password in. Those on arrow-go, ADBC among them, leave the padding out.
const BASIC: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Passwords checked at once: each takes some 20 MiB and a core for tens of milliseconds.
const CHECKED_AT_ONCE: usize = 2;
/// Logins of one peer that may wait. To check so many takes half the time that a connection has for its login, and each
/// holds its headers meanwhile.
const LINE_MAX: usize = 500;

pub(super) type TokenDigest = [u8; 32];

/// Who a call comes from.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Empty for the anonymous one.
    pub name: Arc<str>,
    /// The session, for callers that hold a token.
    session: Option<TokenDigest>,
    /// What its user had when it was let in.
    credential: Credential,
}

struct Session {
    expires: Instant,
    /// What its user had when it was opened: with another password, or without the user, it has ended.
    credential: Credential,
    /// Where names without a schema are looked up.
    schema: String,
}

pub struct Auth {
    users: RwLock<Arc<Users>>,
    /// By digest, so that the table does not hold what would open a session.
    sessions: Mutex<Kept<TokenDigest, Session>>,
    /// Digests of credentials that were found right, with a key of this process: an Argon2 check per call would be too slow.
    /// One a user, because only one password is right.
    verified: Mutex<HashMap<TokenDigest, Instant>>,
    digest_key: [u8; 32],
    checks: Arc<Semaphore>,
    lines: Mutex<HashMap<Option<IpAddr>, Arc<Semaphore>>>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("users", &self.users.read().len()).finish_non_exhaustive()
    }
}

/// Refuses a hash that would be taken for the password itself, and one that no password could match.
///
/// # Errors
/// `Invalid`; the password is not quoted.
pub fn check_password(user: &str, password: &str) -> Result<()> {
    if is_argon2(password) {
        return readable(password).map_err(|what| {
            Error::invalid(format!("the password hash of user \"{user}\" cannot be read"))
                .detail(what)
                .hint("it has the form $argon2id$v=19$m=19456,t=2,p=1$salt$hash")
        });
    }
    if !is_hash_of_others(password) {
        return Ok(());
    }
    // Without a word of it: it may be a password after all.
    Err(Error::invalid(format!("the password of user \"{user}\" is a hash of a kind that is not known"))
        .detail(
            "it has the form of one, as $2b$… of crypt, {SSHA}… of LDAP or SCRAM-SHA-256$… of Postgres, and would be taken for the password \
             itself",
        )
        .hint("write it as an Argon2 hash, $argon2id$…, or in plain text, best as ${env:NAME} or ${file:PATH}"))
}

fn readable(hash: &str) -> Result<(), String> {
    let parsed = PasswordHash::new(hash).map_err(|error| error.to_string())?;
    Algorithm::try_from(parsed.algorithm).map_err(|error| error.to_string())?;
    Params::try_from(&parsed).map_err(|error| error.to_string())?;
    match (parsed.salt, parsed.hash) {
        (Some(_), Some(_)) => Ok(()),
        (None, _) => Err("it has no salt".to_owned()),
        (_, None) => Err("it ends after the salt".to_owned()),
    }
}

/// Whether it begins as a stored password of another system does, and goes on: `$2b$…` of crypt, `{SSHA}…` of LDAP,
/// `SCRAM-SHA-256$…` of Postgres.
fn is_hash_of_others(password: &str) -> bool {
    let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    let parts = if let Some(rest) = password.strip_prefix('$') {
        rest.split_once('$').filter(|(scheme, _)| !scheme.is_empty())
    } else if let Some(rest) = password.strip_prefix('{') {
        rest.split_once('}').filter(|(scheme, _)| !scheme.is_empty() && scheme.bytes().all(is_upper))
    } else {
        let schemes = ["SCRAM-SHA-256", "pbkdf2_sha256", "bcrypt_sha256"];
        password.split_once('$').filter(|(scheme, _)| schemes.contains(scheme))
    };
    parts.is_some_and(|(_, hash)| !hash.is_empty())
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
    /// As [`check_password`].
    pub fn try_new(users: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let digest_key = random_bytes()?;
        Ok(Auth {
            users: RwLock::new(Arc::new(Users::try_new(users, &digest_key)?)),
            sessions: Mutex::new(Kept::new(SESSIONS, |_| false, Instant::now())),
            verified: Mutex::default(),
            digest_key,
            checks: Arc::new(Semaphore::new(CHECKED_AT_ONCE)),
            lines: Mutex::default(),
        })
    }

    /// Lets these users in from now on. Sessions end whose user is not among them any more, or has another password.
    ///
    /// # Errors
    /// As [`check_password`]; `Invalid` where nobody was asked who he is and now would be, or the other way round. The users are then those
    /// of before.
    pub fn replace(&self, users: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        let users = Users::try_new(users, &self.digest_key)?;
        let mut current = self.users.write();
        if users.is_empty() != current.is_empty() {
            let whether = if users.is_empty() { "no users any more" } else { "users, and there were none" };
            return Err(Error::invalid(format!("auth.users has {whether}"))
                .hint("start the server again: whether anybody is asked who he is is decided at the start"));
        }
        *current = Arc::new(users);
        self.verified.lock().clear();
        Ok(())
    }

    fn users(&self) -> Arc<Users> {
        Arc::clone(&self.users.read())
    }

    /// `authorization`: the header of a call. `peer`: where it comes from.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` where there are users and the header does not name one with the right password or a live token,
    /// `UNAVAILABLE` where too many passwords of the peer wait to be checked.
    pub async fn authenticate(&self, authorization: Option<&str>, peer: Option<IpAddr>) -> Result<Principal, Status> {
        let (scheme, credentials) = authorization.and_then(|header| header.split_once(' ')).unwrap_or_default();
        let bearer = scheme.eq_ignore_ascii_case("bearer");
        if bearer {
            let token = credentials.trim();
            if let Some(principal) = self.by_token(token, Instant::now()) {
                return Ok(principal);
            }
            if token.starts_with(TOKEN_PREFIX) {
                return Err(ended());
            }
        }
        if self.users().is_empty() {
            return Ok(Principal { name: Arc::from(""), session: None, credential: None });
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return self.by_password(credentials.trim(), peer).await;
        }
        Err(if bearer { unknown_token() } else { refused() })
    }

    fn by_token(&self, token: &str, now: Instant) -> Option<Principal> {
        let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
        let users = self.users();
        let mut sessions = self.sessions.lock();
        let (name, session) = sessions.get(&digest, now)?;
        if session.expires > now && users.credential(name) == Some(session.credential) {
            let credential = session.credential;
            return Some(Principal { name: Arc::clone(name), session: Some(digest), credential });
        }
        sessions.remove(&digest);
        None
    }

    async fn by_password(&self, credentials: &str, peer: Option<IpAddr>) -> Result<Principal, Status> {
        let decoded = BASIC.decode(credentials).map_err(|_| refused())?;
        let text = String::from_utf8(decoded).map_err(|_| refused())?;
        let (name, password) = text.split_once(':').ok_or_else(refused)?;

        let users = self.users();
        // With what the user has to have: what was right is not, once that is another.
        let credential = users.credential(name).flatten();
        let principal = Principal { name: Arc::from(name), session: None, credential };
        let digest = Sha256::new().chain_update(self.digest_key).chain_update(credential.unwrap_or_default());
        let digest: TokenDigest = digest.chain_update(text.as_bytes()).finalize().into();
        let known_as_right = || self.verified.lock().get(&digest).is_some_and(|until| *until > Instant::now());
        if known_as_right() {
            return Ok(principal);
        }
        // One after the other for each peer: so whoever guesses delays nobody else by more than one check.
        let line = self.line_of(peer).ok_or_else(crowded)?;
        let turn = line.acquire_owned().await.map_err(|_| refused())?;
        // A pool of connections logs in at once, and one check is enough for all of them.
        if known_as_right() {
            return Ok(principal);
        }
        let permit = Arc::clone(&self.checks).acquire_owned().await.map_err(|_| refused())?;
        let (hash, known) = users.hash_of(name);
        let hash = hash.to_owned();
        let password = password.to_owned();
        // The check keeps turn and permit: it goes on when its caller goes away, who would else start any number of them.
        let checked = tokio::task::spawn_blocking(move || (verify(&hash, &password), turn, permit)).await;
        let Ok((right, _turn, _permit)) = checked else { return Err(refused()) };
        // It may have waited for its turn while users were read anew.
        if !(known && right && self.is_current(&principal)) {
            return Err(refused());
        }
        self.verified.lock().insert(digest, Instant::now() + SESSION_TTL);
        Ok(principal)
    }

    /// Whether the user still has what it was let in with.
    fn is_current(&self, principal: &Principal) -> bool {
        self.users().credential(&principal.name) == Some(principal.credential)
    }

    /// Where the peer's logins wait for one another; `None` if too many do.
    fn line_of(&self, peer: Option<IpAddr>) -> Option<Arc<Semaphore>> {
        let mut lines = self.lines.lock();
        lines.retain(|_, line| Arc::strong_count(line) > 1);
        let line = lines.entry(peer.map(network)).or_insert_with(|| Arc::new(Semaphore::new(1)));
        (Arc::strong_count(line) <= LINE_MAX).then(|| Arc::clone(line))
    }

    /// A new session for a caller, good for twelve hours, and for four without a call. Answers with its token.
    ///
    /// # Errors
    /// `Unavailable` if the operating system gives no random numbers; `Invalid` where the user has gone or changed since it was let in: a
    /// password that was withdrawn meanwhile opens nothing.
    pub fn open_session(&self, principal: &Principal) -> Result<String> {
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(random_bytes::<32>()?));
        let now = Instant::now();
        if !self.is_current(principal) {
            return Err(Error::invalid("the user does not exist any more, or has another password now"));
        }
        let session =
            Session { expires: now + SESSION_TTL, credential: principal.credential, schema: PUBLIC_SCHEMA.to_owned() };
        let digest = Sha256::digest(token.as_bytes()).into();
        self.sessions.lock().insert(&principal.name, digest, session, 0, now);
        Ok(token)
    }

    /// Where the caller's names without a schema are looked up.
    pub fn schema(&self, principal: &Principal) -> String {
        self.with_session(principal, |session| session.schema.clone()).unwrap_or_else(|| PUBLIC_SCHEMA.to_owned())
    }

    /// `false` for a caller without a session.
    pub fn set_schema(&self, principal: &Principal, schema: &str) -> bool {
        self.with_session(principal, |session| schema.clone_into(&mut session.schema)).is_some()
    }

    fn with_session<T>(&self, principal: &Principal, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        let mut sessions = self.sessions.lock();
        let (_, session) = sessions.get(&principal.session?, Instant::now())?;
        Some(act(session))
    }

    /// How many sessions are remembered.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Forgets the caller's session. `false` for a caller without one.
    pub fn close_session(&self, principal: &Principal) -> bool {
        principal.session.is_some_and(|session| self.sessions.lock().remove(&session).is_some())
    }
}

/// Who has one address of IPv6 has the 2⁶⁴ of its network.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

fn crowded() -> Status {
    Status::unavailable("too many logins from this address wait to be checked\n  hint: try again in a few seconds")
}

fn refused() -> Status {
    Status::unauthenticated("user and password, or a token from a handshake, are required and were not right")
}

/// Not a word of passwords: the caller had the right one, or his client does not send one.
fn ended() -> Status {
    Status::unauthenticated(
        "the session has ended: it was closed, was idle for too long, or the server was started again\n  hint: connect again",
    )
}

fn unknown_token() -> Status {
    Status::unauthenticated(
        "the token is not one of this server's\n  hint: connect with user and password, which answers with a token",
    )
}

/// Whether it is a hash that can be checked here.
pub(super) fn is_argon2(password: &str) -> bool {
    password.starts_with(ARGON2)
}

pub(super) fn hash(password: &str) -> Result<String> {
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
