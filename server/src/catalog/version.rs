//! What names a version of a query: its checkpoints and its rows are of it alone. And what is done where a view has become another one.

use serde::{Deserialize, Serialize};

/// How many of a version's digits stand in the names of its chain, its outputs and its tables.
const SHORT: usize = 8;

/// Lower-case hexadecimal SHA-256 of a query's meaning, by both ways in which servers have taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryVersion {
    /// Of what the query reads and means, and of nothing else.
    pub name: String,
    /// As older servers named it: with all columns and settings of its tables. Checkpoints that bear it are gone on from.
    pub former: String,
}

impl QueryVersion {
    /// What stands behind a view's name where the version is not the view's first.
    pub fn short(&self) -> &str {
        self.name.get(..SHORT).unwrap_or(&self.name)
    }

    /// As [`QueryVersion::short`], of the former name.
    pub fn former_short(&self) -> &str {
        self.former.get(..SHORT).unwrap_or(&self.former)
    }
}

/// One that has always been named like this.
impl From<&str> for QueryVersion {
    fn from(name: &str) -> Self {
        QueryVersion { name: name.to_owned(), former: name.to_owned() }
    }
}

/// What is done where a view that has run before comes to mean something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnChange {
    /// The version before runs on, and the operator is asked.
    #[default]
    Ask,
    /// The new version begins, with state of its own.
    NewVersion,
}

impl OnChange {
    /// What can be declared, by its spelling.
    pub const DECLARED: [(&str, OnChange); 2] = [("ask", OnChange::Ask), ("new-version", OnChange::NewVersion)];
}
