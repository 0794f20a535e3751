//! How do rows of a result relate to those before them? Known of every edge of a plan and of what a query emits, said in checkpoints,
//! and asked by whoever takes rows, before the first of them.
//!
//! [`early`] is the form of rows that may change again, [`newest`] which of several with one key counts, [`published`] the form of changes
//! that are kept as they come.

pub mod early;
pub mod newest;
pub mod published;

use std::fmt;

use crate::error::{Error, Result};

/// How rows relate to those before them in the same result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Changes {
    /// Rows only come.
    #[default]
    Append,
    /// A row takes the place of the one before it with the same key, by column index.
    Upsert(Vec<usize>),
    /// Rows come and go: the last column, hidden, is a BIGINT weight, +1 for a row that comes and −1 for one that goes (the
    /// multisets of Budiu et al., "DBSP", VLDB 2023).
    Retract,
}

impl Changes {
    /// For a place that keeps rows as they come, and can neither replace one nor take one back: to be asked before the first row.
    ///
    /// `place`: which one, and of which view, as in `hot table "v"`.
    ///
    /// # Errors
    /// `Invalid` where rows do not only come.
    pub fn append_only(&self, place: &str) -> Result<()> {
        match self {
            Changes::Append => Ok(()),
            Changes::Upsert(_) | Changes::Retract => {
                Err(Error::invalid(format!("rows that change those before them cannot go into {place} yet"))
                    .detail(format!("in the result of this query {self}"))
                    .hint("write it so that its rows only come: an aggregate over a window emits each row once"))
            }
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Changes::Append => f.write_str("rows only come"),
            Changes::Upsert(_) => f.write_str("a row replaces the one with its key"),
            Changes::Retract => f.write_str("rows come and go"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_keeps_rows_as_they_come_refuses_all_others_and_says_which_they_are() {
        assert!(Changes::Append.append_only("hot table \"v\"").is_ok());
        for (changes, said) in
            [(Changes::Upsert(vec![0]), "a row replaces the one with its key"), (Changes::Retract, "rows come and go")]
        {
            let error = changes.append_only("hot table \"v\"").expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_eq!(
                error.report(),
                format!(
                    "rows that change those before them cannot go into hot table \"v\" yet\n  \
                     detail: in the result of this query {said}\n  \
                     hint: write it so that its rows only come: an aggregate over a window emits each row once"
                )
            );
        }
    }
}
