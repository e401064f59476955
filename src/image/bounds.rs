//! How much an archive may ask of this machine before it is refused: the answer to archives that unpack to far more
//! than they weigh.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

/// The bounds of one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes after decompression, over all layers of one archive (and, of an archive compressed as a whole, its own size
    /// after decompression).
    pub unpacked: u64,
    /// Members of all tar files together, with the directories made for those that name a missing parent.
    pub entries: u64,
    /// Bytes of one JSON document of an archive.
    pub json: u64,
    /// Bytes of one path in a tar file.
    pub path: usize,
    /// Components of one path in a tar file, also after symbolic links are followed.
    pub depth: usize,
    /// Layers of one image. Overlay mounts take at most 500 lower directories.
    pub layers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { unpacked: 32 << 30, entries: 2_000_000, json: 4 << 20, path: 4096, depth: 256, layers: 127 }
    }
}

/// A bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what there is too much, in the plural.
    pub what: &'static str,
    /// The bound.
    pub limit: u64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} {}", self.limit, self.what)
    }
}

impl std::error::Error for Exceeded {}

/// What is left of a bound.
#[derive(Debug)]
pub struct Budget {
    what: &'static str,
    limit: u64,
    left: Cell<u64>,
}

impl Budget {
    /// A whole bound.
    pub fn new(what: &'static str, limit: u64) -> Self {
        Self { what, limit, left: Cell::new(limit) }
    }

    /// Takes `n`, or says that the bound is reached.
    pub fn take(&self, n: u64) -> Result<(), Exceeded> {
        match self.left.get().checked_sub(n) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(Exceeded { what: self.what, limit: self.limit }),
        }
    }
}

/// A reader whose bytes are taken from a budget; the error inside the `io::Error` is [`Exceeded`].
#[derive(Debug)]
pub struct Metered<'a, R> {
    inner: R,
    budget: &'a Budget,
}

impl<'a, R: Read> Metered<'a, R> {
    /// Meters `inner`.
    pub fn new(inner: R, budget: &'a Budget) -> Self {
        Self { inner, budget }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.budget.take(n as u64).map_err(io::Error::other)?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends() {
        let budget = Budget::new("bytes", 5);
        let mut reader = Metered::new(&b"abcdef"[..], &budget);
        reader.read_exact(&mut [0; 5]).unwrap();
        let error = reader.read(&mut [0; 1]).unwrap_err();
        let exceeded = error.get_ref().and_then(|e| e.downcast_ref::<Exceeded>());
        assert_eq!(exceeded, Some(&Exceeded { what: "bytes", limit: 5 }));
        assert_eq!(exceeded.unwrap().to_string(), "more than 5 bytes");
    }
}
