//! Whose a table is, and whether the view's rows fit into it: read from its comment and its columns, without a database.

use sha2::{Digest, Sha256};

use super::ddl::{ColumnSql, Layout, TableSql, cut, hex, literal, quote};
use crate::error::{Error, Result};

/// How every comment on a table of ours begins.
const OURS: &str = "touchline: written by query ";

/// What is to be done with a table that bears the view's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Rows may go in, once this statement has been run where there is one.
    Fits { alter: Option<String> },
    /// Written by `owner`, this version of the view or another one, in a form that does not take the rows. It is set aside under
    /// `aside`, or a name that begins so, and a new one takes its place.
    Outdated { owner: String, aside: String, reason: String },
}

impl TableSql {
    /// Whose table it is and what it looked like when it was made. Read back by [`TableSql::standing`].
    pub(crate) fn comment(&self) -> String {
        format!("{OURS}{} (layout {}). Do not edit.", self.query, self.fingerprint())
    }

    pub(crate) fn comment_on(&self) -> String {
        self.comment_with("")
    }

    /// With what somebody has added to it.
    pub(crate) fn comment_with(&self, added: &str) -> String {
        format!("COMMENT ON TABLE {} IS {};", self.qualified, literal(&(self.comment() + added)))
    }

    /// Sixteen hex digits over everything but the columns outside the key, which may be added to.
    fn fingerprint(&self) -> String {
        let key: Vec<String> = self.key.iter().map(|&at| self.columns[at].definition()).collect();
        let partition = match self.layout {
            Layout::Daily { column } => self.columns[column].definition(),
            Layout::Plain { .. } => String::new(),
        };
        hex(&Sha256::digest(format!("{key:?}{partition}").as_bytes())[..8])
    }

    /// Decides what is to be done with an existing table.
    ///
    /// # Errors
    /// `Invalid` with the statement to run, where the table belongs to someone else.
    pub(super) fn standing(&self, comment: Option<&str>, existing: &[ColumnSql]) -> Result<Standing> {
        let Some((owner, layout)) = comment.and_then(read_comment) else {
            let aside = quote(&cut(&self.table, "_old"))?;
            return Err(Error::invalid(format!("table {} exists and was not made by this server", self.qualified))
                .detail("its rows would be mixed with those of the query")
                .hint(format!(
                    "give the view another name, set 'postgres' = 'false' for it, or run: ALTER TABLE {} RENAME TO {aside};",
                    self.qualified
                )));
        };
        let version = version_of(&self.table, owner);
        if owner != self.query && (version.is_none() || version_of(&self.table, &self.query).is_none()) {
            return Err(Error::invalid(format!("table {} does not fit view {}", self.qualified, self.query))
                .detail(format!("it belongs to another query, {owner}"))
                .hint("give the view another name, or set 'postgres' = 'false' for it"));
        }
        let reason = if owner != self.query {
            "another version of the view has written it".to_owned()
        } else if layout != self.fingerprint() {
            "its key or its partition column is another one".to_owned()
        } else if let Some(changed) = self.changed(existing) {
            changed
        } else {
            let missing = self.columns.iter().filter(|column| !existing.iter().any(|other| other.name == column.name));
            let add: Vec<String> = missing.map(|column| format!("ADD COLUMN {}", column.definition())).collect();
            let alter = (!add.is_empty()).then(|| format!("ALTER TABLE {} {};", self.qualified, add.join(", ")));
            return Ok(Standing::Fits { alter });
        };
        let tag = match version {
            Some(version) if owner != self.query => version,
            _ => layout.get(..8).unwrap_or(layout),
        };
        Ok(Standing::Outdated { owner: owner.to_owned(), aside: cut(&self.table, &format!("_old_{tag}")), reason })
    }

    /// Whether a comment says that this version of the view has written the table.
    pub(super) fn wrote(&self, comment: Option<&str>) -> bool {
        comment.and_then(read_comment).is_some_and(|(owner, _)| owner == self.query)
    }

    /// What cannot be mended by adding columns.
    fn changed(&self, existing: &[ColumnSql]) -> Option<String> {
        for column in &self.columns {
            match existing.iter().find(|other| other.name == column.name) {
                Some(other) if other.data_type != column.data_type => {
                    return Some(format!(
                        "column {} is {}, the view has {}",
                        column.name, other.data_type, column.data_type
                    ));
                }
                Some(other) if other.not_null && !column.not_null && !self.is_key(column) => {
                    return Some(format!("column {} is NOT NULL, the view's can be null", column.name));
                }
                None if column.not_null => {
                    return Some(format!(
                        "column {} is new and NOT NULL, so the old rows have no value for it",
                        column.name
                    ));
                }
                _ => {}
            }
        }
        let gone = existing.iter().find(|other| other.not_null && !self.columns.iter().any(|c| c.name == other.name));
        gone.map(|column| format!("column {} is NOT NULL and the view no longer has it", column.name))
    }

    fn is_key(&self, column: &ColumnSql) -> bool {
        self.key.iter().any(|&at| self.columns[at].name == column.name)
    }
}

/// Whether a table was made by a server like this one.
pub(super) fn is_ours(comment: Option<&str>) -> bool {
    comment.and_then(read_comment).is_some()
}

/// The query that has written a table, where it is one of ours.
pub(super) fn writer_of(comment: Option<&str>) -> Option<&str> {
    Some(comment.and_then(read_comment)?.0)
}

/// Whether a query is a version of the view.
pub(super) fn is_version_of(view: &str, query: &str) -> bool {
    version_of(view, query).is_some()
}

/// The query and the layout that a comment of ours names.
fn read_comment(comment: &str) -> Option<(&str, &str)> {
    let (owner, layout) = comment.strip_prefix(OURS)?.rsplit_once(" (layout ")?;
    Some((owner, layout.split_once(')')?.0))
}

/// Which version of the view `view` a query is: `first`, or the eight digits of a later one.
fn version_of<'a>(view: &str, query: &'a str) -> Option<&'a str> {
    let rest = query.strip_prefix(view)?;
    if rest.is_empty() {
        return Some("first");
    }
    rest.strip_prefix('-').filter(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
