//! Whether a view that has come to mean something else is to become another version: the question, and the operator's answer.
//!
//! Both stand in one object beside the checkpoints, so that they can be read and answered while no server runs, and outlive its end. The
//! question names the two versions that it is about: an answer to another one counts for nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::definition::version_before;
use super::manifest::{Manifest, corrupt};
use super::paths::QueryPaths;
use super::standing::{chain_of, newest_readable};
use crate::catalog::QueryVersion;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Store;

/// What the operator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The new version begins, or goes on where it had been.
    NewVersion,
    /// The version before runs on.
    Keep,
}

/// Fields of later versions are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The chain of the version that runs.
    pub before: String,
    pub before_version: String,
    /// The version that the files define.
    pub version: String,
    /// The checkpoint that this one had got to when it was asked, where it has run before. Once it has run on, that question is over.
    #[serde(default)]
    pub own: Option<u64>,
    /// What would become of its state, a sentence each.
    pub verdict: Vec<String>,
    pub answer: Option<Answer>,
}

impl Question {
    /// Whether an answer to the one is an answer to the other.
    pub fn is_about_the_same(&self, other: &Question) -> bool {
        (&self.before, &self.before_version, &self.version, self.own)
            == (&other.before, &other.before_version, &other.version, other.own)
    }
}

/// What is asked of a view; `None` where nothing is.
///
/// # Errors
/// `Corrupt`, `Unavailable`.
pub async fn question_of(store: &Store, view: &str) -> Result<Option<Question>> {
    let key = QueryPaths::new(view).change();
    let Some(bytes) = store.get(&key).await? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| corrupt(key.as_ref()).detail(error.to_string()))
}

/// Asks, unless that is asked already; returns what stands there then, with the answer where there is one. What cannot be read is asked anew.
///
/// # Errors
/// `Unavailable`.
pub async fn ask(store: &Store, view: &str, question: Question) -> Result<Question> {
    match question_of(store, view).await {
        Ok(Some(found)) if found.is_about_the_same(&question) => Ok(found),
        Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
        _ => {
            write(store, view, &question).await?;
            Ok(question)
        }
    }
}

/// Answers what is asked of a view, or answers otherwise than before.
///
/// # Errors
/// `Invalid` where nothing is asked; `Corrupt`, `Unavailable`.
pub async fn answer(store: &Store, view: &str, answer: Answer) -> Result<Question> {
    let Some(question) = question_of(store, view).await? else {
        return Err(Error::invalid(format!("nothing is asked about view {view:?} in {}", store.url())).hint(
            "a server asks when it finds that the view means something else than its checkpoints; \
             without one, 'on-change' = 'new-version' among the view's options answers before it is asked",
        ));
    };
    let answered = Question { answer: Some(answer), ..question };
    write(store, view, &answered).await?;
    Ok(answered)
}

/// Takes a question back that is no longer one, with its answer.
///
/// # Errors
/// `Unavailable`.
pub async fn forget_question(store: &Store, view: &str) -> Result<()> {
    let key = QueryPaths::new(view).change();
    match store.get(&key).await? {
        Some(_) => store.delete(&key).await,
        None => Ok(()),
    }
}

async fn write(store: &Store, view: &str, question: &Question) -> Result<()> {
    let body =
        serde_json::to_vec_pretty(question).map_err(|error| Error::bug("a question is not JSON").caused_by(error))?;
    store.put(&QueryPaths::new(view).change(), Bytes::from(body)).await
}

/// How a version of a view stands to what has run under its name.
#[derive(Debug)]
pub enum VersionStanding {
    /// Nothing has.
    First,
    /// It has run last.
    Same(Box<Manifest>),
    /// Another one has. `own`: where this one has got when it last ran.
    Other { before: Box<Manifest>, own: Option<Box<Manifest>> },
}

/// # Errors
/// `Corrupt` where the newest checkpoint of this version is damaged or of a newer format; `Unavailable`.
pub async fn version_standing(store: &Store, view: &str, version: &QueryVersion) -> Result<VersionStanding> {
    // No chain has an empty name: all count.
    let Some(before) = version_before(store, view, "").await? else { return Ok(VersionStanding::First) };
    if before.is_of(version)? {
        return Ok(VersionStanding::Same(Box::new(before)));
    }
    let name = chain_of(store, view, version).await?;
    let own = newest_readable(store, &name).await?;
    Ok(VersionStanding::Other { before: Box::new(before), own: own.map(Box::new) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::checkpoint::{Chain, Generation};
    use crate::clock::Clock;

    fn question(version: &str) -> Question {
        Question {
            before: "v".to_owned(),
            before_version: "a".to_owned(),
            version: version.to_owned(),
            own: None,
            verdict: vec!["w: new".to_owned()],
            answer: None,
        }
    }

    #[tokio::test]
    async fn an_answer_is_to_its_question_alone_and_lasts_as_long_as_that() {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        assert_eq!(answer(&store, "v", Answer::Keep).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(ask(&store, "v", question("b")).await.unwrap().answer, None);
        answer(&store, "v", Answer::NewVersion).await.unwrap();
        assert_eq!(ask(&store, "v", question("b")).await.unwrap().answer, Some(Answer::NewVersion));
        assert_eq!(ask(&store, "v", question("c")).await.unwrap().answer, None, "it was about another version");
        assert_eq!(ask(&store, "v", question("b")).await.unwrap().answer, None, "and is forgotten");
        forget_question(&store, "v").await.unwrap();
        forget_question(&store, "v").await.unwrap();
        assert_eq!(question_of(&store, "v").await.unwrap(), None);

        // What cannot be read is no answer.
        store.put(&QueryPaths::new("v").change(), Bytes::from("{")).await.unwrap();
        assert_eq!(question_of(&store, "v").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(ask(&store, "v", question("b")).await.unwrap(), question("b"));
    }

    #[tokio::test]
    async fn a_version_is_the_first_the_last_one_or_another_that_may_have_run_before() {
        let store = Store::over(Arc::new(InMemory::new()), "memory://");
        let standing = async |version: &str| version_standing(&store, "v", &version.into()).await.unwrap();
        assert!(matches!(standing("a").await, VersionStanding::First));
        let by = Generation::claim(&store).await.unwrap();
        Chain::open(&store, "v", by, "a", &Clock::manual(9)).await.unwrap();
        assert!(matches!(standing("a").await, VersionStanding::Same(_)));
        assert!(matches!(standing("b").await, VersionStanding::Other { own: None, .. }));
        // Its clock is behind.
        let by = Generation::claim(&store).await.unwrap();
        Chain::open(&store, "v-b", by, "b", &Clock::manual(5)).await.unwrap();
        let VersionStanding::Same(of_first) = standing("a").await else { panic!("v-b is no name of a version") };
        assert_eq!(of_first.query, "v");
        Chain::open(&store, "v-0000000b", by, "0000000b", &Clock::manual(5)).await.unwrap();
        let VersionStanding::Other { before, own } = standing("a").await else { panic!("another has run since") };
        assert_eq!((before.query.as_str(), own.unwrap().query.as_str()), ("v-0000000b", "v"));
    }
}
