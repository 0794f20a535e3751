//! NDJSON files: `<topic>/<partition>.ndjson`, two digits, in the order of arrival.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Outgoing, Target};
use crate::error::{Error, Result};
use crate::simulate::Topic;

/// Of each file: with 64 partitions all together take 40 MiB.
const BUFFER_BYTES: usize = 128 * 1024;

pub(super) struct FilesTarget {
    folder: PathBuf,
    partitions: u32,
    /// Those of a topic one after the other.
    files: Vec<BufWriter<File>>,
}

impl FilesTarget {
    /// Makes the folder and the files. Those of an earlier simulation are replaced, also where there were more of them.
    ///
    /// # Errors
    /// `Unavailable` where that cannot be done.
    pub(super) fn create(folder: &Path, partitions: u32) -> Result<Self> {
        let mut files = Vec::new();
        for topic in Topic::ALL {
            let of_topic = folder.join(topic.name());
            fs::create_dir_all(&of_topic).map_err(|error| unwritable(&of_topic, error))?;
            for earlier in fs::read_dir(&of_topic).map_err(|error| unwritable(&of_topic, error))?.flatten() {
                let path = earlier.path();
                if path.extension().is_some_and(|extension| extension == "ndjson") {
                    fs::remove_file(&path).map_err(|error| unwritable(&path, error))?;
                }
            }
            for partition in 0..partitions {
                let path = of_topic.join(format!("{partition:02}.ndjson"));
                let file = File::create(&path).map_err(|error| unwritable(&path, error))?;
                files.push(BufWriter::with_capacity(BUFFER_BYTES, file));
            }
        }
        Ok(FilesTarget { folder: folder.to_owned(), partitions, files })
    }
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot write {}", path.display()))
        .caused_by(error)
        .hint("name a folder with --to that can be written and has room")
}

impl Target for FilesTarget {
    fn partitions(&self, _topic: Topic) -> u32 {
        self.partitions
    }

    fn append(&mut self, topic: Topic, partition: u32, record: Outgoing<'_>) -> Result<()> {
        let file = &mut self.files[topic as usize * self.partitions as usize + partition as usize];
        file.write_all(record.value)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|error| unwritable(&self.folder, error))
    }

    fn flush(&mut self, _finally: bool) -> Result<()> {
        self.files.iter_mut().try_for_each(BufWriter::flush).map_err(|error| unwritable(&self.folder, error))
    }
}
