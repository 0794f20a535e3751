//! Text files as their text, compressed or not: decompressed as they are read, never as a whole.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::unreadable;
use crate::catalog::Compression;
use crate::error::{Error, Result};

const READ_BYTES: usize = 128 << 10;

/// The text of a file.
pub struct TextFile {
    text: Box<dyn Read + Send>,
    path: PathBuf,
    compression: Option<Compression>,
}

impl fmt::Debug for TextFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextFile({}, {:?})", self.path.display(), self.compression)
    }
}

/// Opens a file. Its first bytes say whether it is compressed: no JSON or CSV text begins as a compressed file does.
///
/// # Errors
/// `Unavailable` where it cannot be read, `Invalid` where its name says that it is compressed and it is not.
pub fn open_text(path: &Path) -> Result<TextFile> {
    let failed = |error| unreadable(path, error);
    let mut file = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(failed)?);
    let compression = compression_of(file.fill_buf().map_err(failed)?);
    let named = Compression::of(&path.to_string_lossy()).0;
    if let (None, Some(named)) = (compression, named) {
        return Err(Error::invalid(format!("{} is no {} file", path.display(), name(named)))
            .hint("it may be empty or decompressed already: then give it a name that says so"));
    }
    let text: Box<dyn Read + Send> = match compression {
        None => Box::new(file),
        // Several members or frames behind one another are one text.
        Some(Compression::Gzip) => Box::new(MultiGzDecoder::new(file)),
        // A window of more than 128 MiB is refused by the decoder.
        Some(Compression::Zstd) => Box::new(zstd::Decoder::with_buffer(file).map_err(failed)?),
    };
    Ok(TextFile { text, path: path.to_owned(), compression })
}

impl TextFile {
    /// Reads into `buffer`, at least a byte unless the text has ended.
    ///
    /// # Errors
    /// `Unavailable` where the file cannot be read, `Invalid` where it cannot be decompressed.
    pub fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.text.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        let Some(compression) = self.compression.filter(|_| error.raw_os_error().is_none()) else {
            return unreadable(&self.path, error);
        };
        let (path, name) = (self.path.display(), name(compression));
        let what = match error.kind() {
            ErrorKind::UnexpectedEof => format!("{path} ends in the middle of its {name} data"),
            _ => format!("{path} cannot be decompressed as {name}"),
        };
        Error::invalid(what).caused_by(error).hint("copy or compress it again; what was read of it is not the whole")
    }
}

impl Read for TextFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.text.read(buffer)
    }
}

fn name(compression: Compression) -> &'static str {
    match compression {
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

fn compression_of(start: &[u8]) -> Option<Compression> {
    match start {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        // A frame that zstd skips, with which parallel compressors begin.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::super::input::Input;
    use super::super::{NdjsonSource, RECORD_BYTES_MAX};
    use super::*;
    use crate::error::ErrorKind as Kind;
    use crate::source::{Offset, Offsets, PollLimits, Source};

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 0).unwrap()
    }

    fn lines(path: &Path, resume: &Offsets) -> Result<Vec<(Offset, String)>> {
        let mut source = NdjsonSource::open(path, resume)?;
        let mut lines = Vec::new();
        let limits = PollLimits { records_max: usize::MAX, bytes_max: usize::MAX, wait: Duration::ZERO };
        source.poll(limits, &mut |record| {
            lines.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
        })?;
        Ok(lines)
    }

    #[test]
    fn compressed_lines_have_the_numbers_of_the_text_also_behind_a_seam() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"\xEF\xBB\xBF{\"a\":1}\n\n{\"a\":2}\n{\"a\":";
        let rest = b"3}\n{\"a\":4}";
        for (name, bytes) in [
            ("plain.ndjson", [text.as_slice(), rest].concat()),
            ("one.ndjson.gz", gzip(&[text.as_slice(), rest].concat())),
            ("two.ndjson.GZ", [gzip(text), gzip(rest)].concat()),
            ("two.ndjson.zst", [zstd(text), zstd(rest)].concat()),
            ("skipped.zst", [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7], zstd(text).as_slice(), &zstd(rest)].concat()),
            ("without_ending", gzip(&[text.as_slice(), rest].concat())),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let all = [1, 2, 3, 4].map(|n| (n - 1, format!("{{\"a\":{n}}}")));
            assert_eq!(lines(&path, &Offsets::new()).unwrap(), all, "{name}");
            assert_eq!(lines(&path, &Offsets::from([(0, 3)])).unwrap(), all[3..], "{name}");
        }
    }

    #[test]
    fn a_file_that_is_cut_off_anywhere_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"{\"a\":1}\n{\"a\":2}\n".as_slice();
        for (name, whole) in [("a.ndjson.gz", gzip(text)), ("a.ndjson.zst", zstd(text))] {
            let path = folder.path().join(name);
            for cut in 0..whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                let error = lines(&path, &Offsets::new()).expect_err("cut off");
                assert_eq!(error.kind(), Kind::Invalid, "{cut}");
                assert!(error.primary().contains(name), "{}", error.report());
            }
            std::fs::write(&path, text).unwrap();
            let error = lines(&path, &Offsets::new()).expect_err("decompressed already");
            assert!(error.primary().starts_with(&format!("{} is no ", path.display())), "{}", error.report());
        }
    }

    #[test]
    fn a_sum_that_does_not_fit_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ndjson.gz");
        let mut damaged = gzip(b"{\"a\":1}\n");
        // Of the checksum, which lies before the length.
        let last = damaged.len() - 5;
        damaged[last] ^= 0xff;
        std::fs::write(&path, damaged).unwrap();
        let error = lines(&path, &Offsets::new()).expect_err("damaged");
        assert!(error.primary().ends_with("a.ndjson.gz cannot be decompressed as gzip"), "{}", error.report());
    }

    #[test]
    fn what_grows_a_thousandfold_is_read_piece_by_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb.ndjson.gz");
        std::fs::write(&path, gzip(&vec![b'['; 2 * RECORD_BYTES_MAX])).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 100_000);
        let error = lines(&path, &Offsets::new()).expect_err("one long line");
        assert!(error.primary().ends_with("is longer than 16777216 bytes"), "{}", error.report());
        // Blank lines are no records, however many.
        std::fs::write(&path, gzip(&vec![b'\n'; 4 * RECORD_BYTES_MAX])).unwrap();
        let mut input = Input::open(&path).unwrap();
        while input.fill().unwrap() {
            input.consume(input.unread().len());
        }
        assert!(input.capacity() < 4 << 20, "{}", input.capacity());
        assert_eq!(lines(&path, &Offsets::new()).unwrap(), []);
    }
}
