//! Which topic or file it is that is read: what a checkpoint keeps, so that another one of the same name is not taken for it.
//!
//! What is not known never differs: a broker need not say its topics' ids, and older checkpoints have none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Partition;
use crate::error::{Error, Result};

/// What a source says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Of a topic: the id that Kafka has drawn for it, or the one that the embedded log has drawn for itself.
    pub topic: Option<String>,
    /// Of files: each with the number that it has as a partition.
    pub files: BTreeMap<Partition, FileIdentity>,
}

/// A file as it was when it was opened last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileIdentity {
    /// Without its folder.
    pub name: String,
    pub bytes: u64,
    /// Of its first 64 KiB, or of all that there were.
    pub head_sha256: String,
}

impl Identity {
    /// Takes in what a batch says of the source that it comes from. True where that is news.
    ///
    /// `name`: the topic's. `has_read`: offsets of it are kept that mean nothing in another one.
    ///
    /// # Errors
    /// `Corrupt` where it is another topic than the one that has been read.
    pub fn learn(&mut self, found: &Identity, name: &str, has_read: bool) -> Result<bool> {
        let mut news = false;
        if let Some(topic) = &found.topic
            && self.topic.as_ref() != Some(topic)
        {
            match &self.topic {
                Some(known) if has_read => return Err(made_anew(name, known, topic)),
                _ => self.topic = Some(topic.clone()),
            }
            news = true;
        }
        if !found.files.is_empty() && self.files != found.files {
            self.files.clone_from(&found.files);
            news = true;
        }
        Ok(news)
    }
}

/// Going on in it would leave its first records out without a word.
pub(super) fn made_anew(topic: &str, known: &str, found: &str) -> Error {
    Error::corrupt(format!("topic \"{topic}\" is not the one that was read: it was removed and made anew"))
        .detail(format!("its id is {found}; what has been read is of {known}, and its offsets mean nothing here"))
        .hint("bring the topic back that was read, or drop the query's state to begin anew from what this one has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn topic(id: Option<&str>) -> Identity {
        Identity { topic: id.map(str::to_owned), ..Identity::default() }
    }

    #[test]
    fn another_topic_is_refused_where_something_was_read_and_what_is_not_known_never_differs() {
        for (known, found, has_read, expected) in [
            (None, None, true, Ok(false)),
            (None, Some("a"), true, Ok(true)),
            (Some("a"), None, true, Ok(false)),
            (Some("a"), Some("a"), true, Ok(false)),
            (Some("a"), Some("b"), false, Ok(true)),
            (Some("a"), Some("b"), true, Err(ErrorKind::Corrupt)),
        ] {
            let mut identity = topic(known);
            let learnt = identity.learn(&topic(found), "t", has_read).map_err(|error| error.kind());
            assert_eq!(learnt, expected, "{known:?} then {found:?}");
            let kept = if expected.is_ok() { found.or(known) } else { known };
            assert_eq!(identity, topic(kept));
        }
    }
}
