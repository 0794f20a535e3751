//! Directories that are made so that they stay; why one cannot be written to, and what to do about it: its disk, or somebody's rights.

use std::error::Error as Cause;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::error::Error;

/// A directory that is needed and cannot be written to.
///
/// `OverBudget` where its disk is full, `Unavailable` where it is read-only, as a disk becomes that fails: both pass without a change of
/// the configuration. Else `Invalid`.
pub fn unwritable(directory: &Path, error: impl Cause + Send + Sync + 'static) -> Error {
    let what = format!("cannot write to directory {:?}", directory.display().to_string());
    let told = match trouble(&error) {
        Some(Trouble::Full) => Error::over_budget(what),
        Some(Trouble::ReadOnly) => Error::unavailable(what),
        None => Error::invalid(what).hint("give the directory to the user that runs touchline, or name another one"),
    };
    with_disk_hint(told, &error).caused_by(error)
}

/// The error, with what to do where the cause is the disk.
pub fn with_disk_hint(told: Error, cause: &(dyn Cause + 'static)) -> Error {
    match trouble(cause) {
        Some(Trouble::Full) => {
            told.hint("its disk is full, or a quota is used up: make room, or name a directory on another one")
        }
        Some(Trouble::ReadOnly) => told.hint(
            "its file system is read-only: mount it for writing, and look in the system's log whether the disk fails; or name a \
             directory on another one",
        ),
        None => told,
    }
}

/// Makes a directory with those above it, so that they are still there after a power cut: each directory that has got an entry is synced.
///
/// # Errors
/// Those of the file system.
pub fn create_durably(directory: &Path) -> io::Result<()> {
    create_with(directory, &mut sync_directory)
}

fn create_with(directory: &Path, sync: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|path| !path.is_dir()).collect();
    fs::create_dir_all(directory)?;
    missing.into_iter().rev().try_for_each(|made| match made.parent() {
        // Of a relative path the parent is the working directory, and of that there is nothing.
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    })
}

/// Makes durable which entries a directory has.
///
/// # Errors
/// Those of the file system.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Full,
    ReadOnly,
}

/// What is wrong with the disk, as far as the error or one of its causes says so.
fn trouble(error: &(dyn Cause + 'static)) -> Option<Trouble> {
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => return Some(Trouble::Full),
            Some(io::ErrorKind::ReadOnlyFilesystem) => return Some(Trouble::ReadOnly),
            _ => next = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use object_store::Error as ObjectError;

    use super::*;

    /// As Linux numbers them.
    const ACCES: i32 = 13;
    const NOSPC: i32 = 28;
    const ROFS: i32 = 30;
    const DQUOT: i32 = 122;

    #[test]
    fn a_full_or_read_only_disk_is_not_a_matter_of_rights() {
        for (number, code, hint) in [
            (NOSPC, 75, "its disk is full"),
            (DQUOT, 75, "its disk is full, or a quota"),
            (ROFS, 69, "its file system is read-only"),
            (ACCES, 64, "give the directory to the user"),
        ] {
            let io = || io::Error::from_raw_os_error(number);
            // As a directory is opened, and as the first object in it is written.
            let object = ObjectError::Generic { store: "directory", source: io().into() };
            for error in [unwritable(Path::new("/data"), io()), unwritable(Path::new("/data"), object)] {
                assert_eq!(error.kind().exit_code(), code, "{error:?}");
                assert!(error.hint_text().is_some_and(|text| text.starts_with(hint)), "{error:?}");
            }
        }
    }

    #[test]
    fn of_a_new_directory_every_entry_is_made_durable_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b/c");
        for expected in [vec![root.path().to_owned(), root.path().join("a"), root.path().join("a/b")], vec![]] {
            let mut synced = Vec::new();
            let mut sync = |path: &Path| {
                // Only now: a directory that is not there yet has no entry.
                assert!(deep.is_dir());
                synced.push(path.to_owned());
                Ok(())
            };
            create_with(&deep, &mut sync).unwrap();
            assert_eq!(synced, expected);
        }
    }

    #[test]
    fn what_fails_while_a_server_runs_is_tried_again_and_says_what_to_do() {
        let full = ObjectError::Generic { store: "directory", source: io::Error::from_raw_os_error(NOSPC).into() };
        let told = with_disk_hint(Error::unavailable("cannot write file:///data/x"), &full);
        assert_eq!(told.kind().exit_code(), 69);
        assert!(told.report().contains("hint: its disk is full"), "{told:?}");
    }
}
