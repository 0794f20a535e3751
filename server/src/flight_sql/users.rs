//! Who may log in. The users of a configuration, as they are taken up at a start and again when it is read anew.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::auth::{TokenDigest, check_password, hash, is_argon2};
use crate::error::Result;

/// See the module's first line.
pub(super) struct Users {
    by_name: HashMap<String, User>,
    /// In the place of an unknown user's hash, so that the time taken does not tell who exists.
    decoy: String,
}

struct User {
    /// An Argon2 hash.
    hash: String,
    /// Of what the configuration says: it is the same as long as that is.
    credential: TokenDigest,
}

/// What a session was opened with: of a user his [`User::credential`], of the anonymous principal nothing.
pub(super) type Credential = Option<TokenDigest>;

impl Users {
    /// `users`: names with passwords, each in plain text or as an Argon2 hash (`$argon2id$…`). `key`: of this process.
    ///
    /// # Errors
    /// As [`check_password`].
    pub(super) fn try_new(users: impl IntoIterator<Item = (String, String)>, key: &[u8; 32]) -> Result<Self> {
        let mut by_name = HashMap::new();
        for (name, password) in users {
            check_password(&name, &password)?;
            let credential = Sha256::new().chain_update(key).chain_update(password.as_bytes()).finalize().into();
            let hash = if is_argon2(&password) { password } else { hash(&password)? };
            by_name.insert(name, User { hash, credential });
        }
        let decoy = if by_name.is_empty() { String::new() } else { hash("no password at all")? };
        Ok(Users { by_name, decoy })
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Everyone may read.
    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What a session of this name has to be opened with; `None` where there is no such user.
    pub(super) fn credential(&self, name: &str) -> Option<Credential> {
        if self.is_empty() { Some(None) } else { self.by_name.get(name).map(|user| Some(user.credential)) }
    }

    /// The hash to compare a password with, and whether the user is known.
    pub(super) fn hash_of(&self, name: &str) -> (&str, bool) {
        self.by_name.get(name).map_or((self.decoy.as_str(), false), |user| (user.hash.as_str(), true))
    }
}
