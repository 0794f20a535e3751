//! Which files a checkpoint's numbers stand for: a file keeps the number under which it was read, whatever has come beside it since.
//!
//! A file is known by its name. It may have grown, since what was read of it is then still there; all else that it no longer is makes its
//! offsets mean something else, and is refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{list_files, unreadable};
use crate::checkpoint::sha256;
use crate::error::{Error, Result};
use crate::source::{FileIdentity, Partition};

/// How much of a file tells it from another one. More would have to be read at each start.
const HEAD_BYTES: u64 = 64 << 10;

/// The files of a table in the order of their numbers: those of a checkpoint as there, then those that are new, by name. And what is to
/// be known of them at the next start.
///
/// # Errors
/// `Corrupt` where a known file is gone, is shorter than it was, or begins otherwise; as [`list_files`].
pub fn identify(
    path: &Path,
    known: &BTreeMap<Partition, FileIdentity>,
) -> Result<(Vec<PathBuf>, BTreeMap<Partition, FileIdentity>)> {
    let files = list_files(path)?;
    // What is no file, as a pipe, can be read but once. In the place of a file it is not what was read.
    if known.is_empty() && !files.iter().all(|file| file.is_file()) {
        return Ok((files, BTreeMap::new()));
    }
    let mut by_name: BTreeMap<String, PathBuf> = files.into_iter().map(|file| (name_of(&file), file)).collect();
    let mut files = Vec::with_capacity(by_name.len());
    for known in known.values() {
        let file = by_name.remove(&known.name).ok_or_else(|| changed(path, known, "it is gone"))?;
        check(path, &file, known)?;
        files.push(file);
    }
    files.extend(by_name.into_values());
    let identities = files.iter().map(|file| look(file, None)).collect::<Result<Vec<_>>>()?;
    Ok((files, (0..).zip(identities).collect()))
}

fn check(path: &Path, file: &Path, known: &FileIdentity) -> Result<()> {
    let found = look(file, Some(known.bytes))?;
    if found.bytes < known.bytes {
        return Err(changed(path, known, &format!("it had {} bytes and has {}", known.bytes, found.bytes)));
    }
    if found.head_sha256 != known.head_sha256 {
        return Err(changed(path, known, "it begins otherwise: it was written anew"));
    }
    Ok(())
}

/// `before`: how many bytes it had, of which alone the head is taken.
fn look(file: &Path, before: Option<u64>) -> Result<FileIdentity> {
    let failed = |error| unreadable(file, error);
    let opened = File::open(file).map_err(failed)?;
    let bytes = opened.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    let wanted = before.unwrap_or(bytes).min(bytes).min(HEAD_BYTES);
    opened.take(wanted).read_to_end(&mut head).map_err(failed)?;
    Ok(FileIdentity { name: name_of(file), bytes, head_sha256: sha256(&head) })
}

/// A folder has one file of a name, and may be moved. What is no text is written so that two names stay two.
fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default();
    name.to_str().map_or_else(|| format!("{name:?}"), str::to_owned)
}

fn changed(path: &Path, known: &FileIdentity, what: &str) -> Error {
    Error::corrupt(format!("file \"{}\" of {} is no longer what was read", known.name, path.display()))
        .detail(what.to_owned())
        .hint(
            "put it back as it was, and new rows behind its last one or into a file of their own; \
             or drop the query's state to begin anew from the files that are there",
        )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;

    fn names(files: &[PathBuf]) -> Vec<String> {
        files.iter().map(|file| name_of(file)).collect()
    }

    #[test]
    fn a_file_keeps_its_number_when_one_comes_that_sorts_before_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "1\n2\n").unwrap();
        fs::write(dir.path().join("c"), "3\n").unwrap();
        let (files, known) = identify(dir.path(), &BTreeMap::new()).unwrap();
        assert_eq!(names(&files), ["b", "c"]);
        fs::write(dir.path().join("a"), "0\n").unwrap();
        fs::write(dir.path().join("bb"), "4\n").unwrap();
        // What was read may also have grown.
        fs::write(dir.path().join("b"), "1\n2\n5\n").unwrap();
        let (files, found) = identify(dir.path(), &known).unwrap();
        assert_eq!(names(&files), ["b", "c", "a", "bb"]);
        assert_eq!((found[&0].bytes, &found[&1]), (6, &known[&1]));
        // So it stays.
        assert_eq!(identify(dir.path(), &found).unwrap(), (files, found));
    }

    #[test]
    fn a_file_that_is_no_longer_what_was_read_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let long = "x".repeat(100_000);
        fs::write(&a, "1\n2\n").unwrap();
        fs::write(&b, &long).unwrap();
        let (_, known) = identify(dir.path(), &BTreeMap::new()).unwrap();
        for (file, content, reason) in [
            (&a, "1\n", "it had 4 bytes and has 2"),
            (&a, "1\n3\n4\n", "it begins otherwise"),
            (&b, "1\n", "it had 100000 bytes and has 2"),
        ] {
            let before = fs::read(file).unwrap();
            fs::write(file, content).unwrap();
            let error = identify(dir.path(), &known).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.report().contains(reason) && error.report().contains(&name_of(file)), "{}", error.report());
            fs::write(file, before).unwrap();
        }
        fs::write(&b, long + "y").unwrap();
        identify(dir.path(), &known).unwrap();
        fs::remove_file(&a).unwrap();
        let error = identify(dir.path(), &known).unwrap_err();
        assert!(error.report().contains("it is gone"), "{}", error.report());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_whose_names_are_no_text_are_all_read() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().unwrap();
        for name in [b"a\xFE", b"a\xFF"] {
            fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
        }
        let (files, known) = identify(dir.path(), &BTreeMap::new()).unwrap();
        assert_eq!((files.len(), known.len()), (2, 2));
        assert_eq!(identify(dir.path(), &known).unwrap(), (files, known));
    }

    // Its offsets would be those of the file.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_does_not_stand_for_the_file_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "1\n2\n").unwrap();
        let (_, known) = identify(&path, &BTreeMap::new()).unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let error = identify(&path, &known).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.report().contains("it had 4 bytes and has 0"), "{}", error.report());
    }
}
