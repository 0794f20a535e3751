//! What a table's files look like from outside: whether they have been written since, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{list_files, unreadable};
use crate::clock::Micros;
use crate::error::Result;

/// A file that was written less than this before the look may be written again without a trace: file systems count time in steps of up
/// to 10 ms. Microseconds.
const STEP: Micros = 20_000;
/// And some in steps of up to two seconds. Those show no fraction of a second.
const COARSE_STEP: Micros = 2_500_000;

/// Where two are equal, nothing has been written between the two looks.
///
/// A content hash would say the same and cost the reading. What a writer can set, as the time of the last write, is not all there is: a
/// change also moves the inode's own time, and a file that is renamed into place is another inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesState {
    files: Vec<FileState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    path: PathBuf,
    bytes: u64,
    inode: (u64, u64),
    /// Seconds and nanoseconds of the last write, and of the last change of whatever is known of the file.
    written: (i64, i64),
    changed: (i64, i64),
}

impl FilesState {
    /// Looks at a file, or at the files of a folder.
    ///
    /// # Errors
    /// As for [`list_files`].
    pub fn of(path: &Path) -> Result<Self> {
        let files = list_files(path)?.into_iter().map(look).collect::<Result<_>>()?;
        Ok(FilesState { files })
    }

    /// Whether a write right after this look, which was taken at `now`, could leave an equal state behind.
    pub fn may_hide_a_write(&self, now: Micros) -> bool {
        self.files.iter().any(|file| {
            let (seconds, nanos) = file.changed;
            let step = if nanos == 0 { COARSE_STEP } else { STEP };
            let at = seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000);
            now.saturating_sub(at).saturating_abs() < step
        })
    }
}

fn look(path: PathBuf) -> Result<FileState> {
    let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
    Ok(FileState {
        bytes: metadata.size(),
        inode: (metadata.dev(), metadata.ino()),
        written: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        path,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_change_of_a_folder_is_seen_and_what_is_no_file_of_the_table_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
        fs::write(&a, "k\n1\n").unwrap();
        let look = || FilesState::of(folder.path()).unwrap();
        let first = look();
        assert_eq!(first, look());
        fs::write(folder.path().join("_unfinished"), "k\n").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        assert_eq!(first, look());
        fs::write(&b, "k\n2\n").unwrap();
        let two = look();
        assert_ne!(first, two);
        // As long as before, and by another file in its place.
        fs::write(folder.path().join("_new"), "k\n3\n").unwrap();
        fs::rename(folder.path().join("_new"), &b).unwrap();
        let renamed = look();
        assert_ne!(two, renamed);
        // The time of the last write is set back, as copying programs do.
        let modified = fs::metadata(&b).unwrap().modified().unwrap();
        // Longer than a step of the file system's clock, which nothing else can wait for.
        std::thread::sleep(std::time::Duration::from_millis(25));
        fs::write(&b, "k\n4\n").unwrap();
        fs::File::options().write(true).open(&b).unwrap().set_modified(modified).unwrap();
        assert_ne!(renamed, look());
        fs::remove_file(&b).unwrap();
        assert_eq!(first, look());
        fs::remove_file(&a).unwrap();
        assert_eq!(look(), FilesState { files: vec![] });
        fs::remove_dir_all(folder.path()).unwrap();
        let gone = FilesState::of(folder.path()).unwrap_err();
        assert!(gone.primary().starts_with("no such file or folder"), "{}", gone.report());
    }

    #[test]
    fn only_a_look_right_after_a_write_may_hide_the_next_one() {
        let at = |changed| FilesState {
            files: vec![FileState { path: "a".into(), bytes: 1, inode: (1, 1), written: (0, 0), changed }],
        };
        let second = 1_000_000;
        assert!(at((7, 5_000)).may_hide_a_write(7 * second + 10));
        assert!(!at((7, 5_000)).may_hide_a_write(8 * second));
        // A file system that counts whole seconds.
        assert!(at((7, 0)).may_hide_a_write(9 * second));
        assert!(!at((7, 0)).may_hide_a_write(10 * second));
        // A clock that is ahead does not have it read again and again.
        assert!(!at((99, 0)).may_hide_a_write(9 * second));
        assert!(!FilesState { files: vec![] }.may_hide_a_write(0));
    }
}
