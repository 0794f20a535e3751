//! What a text file is written through: as it is, or compressed as its name says.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::write::GzEncoder;

use crate::catalog::Compression;

pub(super) enum TextWriter {
    Plain(BufWriter<File>),
    Gzip(Box<GzEncoder<BufWriter<File>>>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

impl fmt::Debug for TextWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TextWriter")
    }
}

impl TextWriter {
    /// Writes into `file`, which will be called `name`.
    pub(super) fn new(file: BufWriter<File>, name: &Path) -> io::Result<Self> {
        Ok(match Compression::of(&name.to_string_lossy()).0 {
            None => TextWriter::Plain(file),
            Some(Compression::Gzip) => TextWriter::Gzip(Box::new(GzEncoder::new(file, flate2::Compression::default()))),
            Some(Compression::Zstd) => TextWriter::Zstd(Box::new(zstd::Encoder::new(file, 0)?)),
        })
    }

    /// Ends what is compressed.
    pub(super) fn into_file(self) -> io::Result<BufWriter<File>> {
        match self {
            TextWriter::Plain(file) => Ok(file),
            TextWriter::Gzip(encoder) => encoder.finish(),
            TextWriter::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl Write for TextWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            TextWriter::Plain(file) => file.write(bytes),
            TextWriter::Gzip(encoder) => encoder.write(bytes),
            TextWriter::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Nothing before the end: where batches end should not show in what is compressed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
