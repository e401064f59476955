//! What a tar file is read from: a file, in which bytes are passed over by seeking, or a stream.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// A source in which bytes can be passed over.
pub trait Source: Read {
    /// Passes over `n` bytes.
    fn skip(&mut self, n: u64) -> io::Result<()>;
}

/// A file is sought in, so that only headers are read.
#[derive(Debug)]
pub struct Seekable(pub File);

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Source for Seekable {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let n = i64::try_from(n).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let position = self.0.seek(SeekFrom::Current(n))?;
        // Seeking beyond the end succeeds, so it is looked for here.
        if position > self.0.metadata()?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// A stream: what is passed over is read.
#[derive(Debug)]
pub struct Stream<R>(pub R);

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Source for Stream<R> {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        if io::copy(&mut self.0.by_ref().take(n), &mut io::sink())? < n {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
