//! Creating an object that must exist once, when the answer of the store cannot be trusted.
//!
//! "Already exists" can mean that another server won, that we won and the answer was lost, or (HTTP 409) that nobody
//! did; a time-out can mean anything. So whatever is not a plain success is settled by reading the object back and
//! comparing it with ours. Bodies carry a random id, hence equal bytes mean our own write.

use std::time::Duration;

use bytes::Bytes;
use object_store::Error as ObjectError;
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::store::Store;

/// How often to try, and how long to wait between: doubled each time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    pub(super) attempts: u32,
    pub(super) pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        // 0.1 + 0.2 + … + 3.2 seconds: long enough for a store that fails over, short enough to stop within a drain.
        Retry { attempts: 7, pause: Duration::from_millis(100) }
    }
}

impl Retry {
    pub(super) async fn wait(self, attempt: u32) {
        let pause = self.pause.saturating_mul(1 << attempt.min(16));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Who wrote the object that is now there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placed {
    Ours,
    /// Somebody else, with this content.
    Other(Bytes),
}

/// What the store said to a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Done,
    /// Already exists, or a failed precondition: in truth anything.
    Refused,
    /// Time-out, broken connection, server error.
    Unknown,
}

/// What a look at the object showed after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    NotNeeded,
    Ours,
    Other,
    Missing,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Won,
    Lost,
    Again,
    /// Out of attempts, and not known: a request under way may still land.
    InDoubt,
}

fn decide(answer: Answer, look: Look, attempts_left: u32) -> Decision {
    match (answer, look) {
        (Answer::Done, _) | (_, Look::Ours) => Decision::Won,
        (_, Look::Other) => Decision::Lost,
        (_, Look::Missing | Look::Failed | Look::NotNeeded) if attempts_left > 0 => Decision::Again,
        _ => Decision::InDoubt,
    }
}

/// Creates `key` with `body` unless it is there, and finds out who created it.
///
/// # Errors
/// `Unavailable` where that cannot be found out. The object may then still appear: only a repetition with the same
/// body is safe.
pub(super) async fn create_once(store: &Store, key: &Path, body: &Bytes, retry: Retry) -> Result<Placed> {
    for attempt in 0..retry.attempts {
        let (answer, trouble) = match store.create(key, body.clone()).await {
            Ok(()) => (Answer::Done, None),
            Err(ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. }) => (Answer::Refused, None),
            Err(error) => (Answer::Unknown, Some(error)),
        };
        let found = match answer {
            Answer::Done => None,
            Answer::Refused | Answer::Unknown => Some(store.get(key).await),
        };
        let look = match &found {
            None => Look::NotNeeded,
            Some(Ok(Some(bytes))) if bytes == body => Look::Ours,
            Some(Ok(Some(_))) => Look::Other,
            Some(Ok(None)) => Look::Missing,
            Some(Err(_)) => Look::Failed,
        };
        match (decide(answer, look, retry.attempts - attempt - 1), found) {
            (Decision::Won, _) => return Ok(Placed::Ours),
            (Decision::Lost, Some(Ok(Some(bytes)))) => return Ok(Placed::Other(bytes)),
            (Decision::Lost, _) => return Err(Error::bug("a create was judged lost without a winner")),
            (Decision::Again, _) => retry.wait(attempt).await,
            (Decision::InDoubt, found) => {
                let told = Error::unavailable(format!("cannot tell whether {}/{key} was written", store.url()));
                return Err(match (trouble, found) {
                    (Some(error), _) => told.caused_by(error),
                    (None, Some(Err(error))) => told.caused_by(error),
                    (None, _) => told.detail("the store says that it exists and that it does not"),
                });
            }
        }
    }
    Err(Error::bug("a create was tried zero times"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_success_or_our_own_bytes_win() {
        use Decision::*;
        let cases = [
            (Answer::Done, Look::NotNeeded, 3, Won),
            (Answer::Refused, Look::Ours, 3, Won),
            (Answer::Refused, Look::Ours, 0, Won),
            (Answer::Unknown, Look::Ours, 0, Won),
            (Answer::Refused, Look::Other, 3, Lost),
            (Answer::Unknown, Look::Other, 0, Lost),
            (Answer::Refused, Look::Missing, 1, Again),
            (Answer::Unknown, Look::Missing, 1, Again),
            (Answer::Unknown, Look::Failed, 1, Again),
            (Answer::Refused, Look::Failed, 1, Again),
            (Answer::Refused, Look::Missing, 0, InDoubt),
            (Answer::Unknown, Look::Missing, 0, InDoubt),
            (Answer::Unknown, Look::Failed, 0, InDoubt),
        ];
        for (answer, look, left, expected) in cases {
            assert_eq!(decide(answer, look, left), expected, "{answer:?}, {look:?}, {left} left");
        }
    }
}
