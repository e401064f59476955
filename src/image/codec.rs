//! Compression, known by its first bytes and never by a name or a media type: both lie in the wild.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// gzip (RFC 1952), any number of members.
    Gzip,
    /// Zstandard (RFC 8878), any number of frames.
    Zstd,
    /// bzip2: known, but not read here.
    Bzip2,
    /// xz: known, but not read here.
    Xz,
}

impl Codec {
    /// How many bytes [`Codec::of`] wants to see.
    pub const MAGIC: usize = 6;

    /// What the first bytes say.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first (RFC 8878, 3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "no compression",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

/// A compression that is not read here; the error inside the `io::Error` that [`decoder`] gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub Codec);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "compressed with {}, which is not supported: pack it again with gzip or zstd", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// What `source` holds after decompression, whichever way it is compressed.
pub fn decoder<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(64 * 1024, source);
    // `fill_buf` may give less than the magic if the source gives its bytes piecemeal, so the head is read and put back.
    let mut head = Vec::with_capacity(Codec::MAGIC);
    source.by_ref().take(Codec::MAGIC as u64).read_to_end(&mut head)?;
    let codec = Codec::of(&head);
    let whole = io::Cursor::new(head).chain(source);
    match codec {
        Codec::Plain => Ok(Box::new(whole)),
        Codec::Gzip => Ok(Box::new(MultiGzDecoder::new(whole))),
        Codec::Zstd => Ok(Box::new(Zstd { source: whole, decoder: new_frame_decoder(), within: false })),
        Codec::Bzip2 | Codec::Xz => Err(io::Error::other(Unsupported(codec))),
    }
}

/// The window that zstd's own command accepts unless told otherwise (zstd(1), `--memory`): 128 MiB. What it takes is
/// only what a frame really uses; the usual levels use at most 8 MiB.
const ZSTD_WINDOW: u64 = 128 << 20;

fn new_frame_decoder() -> FrameDecoder {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW);
    decoder
}

/// Decodes one frame after the other; the decoder itself knows only single frames.
struct Zstd<S> {
    source: S,
    decoder: FrameDecoder,
    within: bool,
}

impl<S: BufRead> Zstd<S> {
    /// Begins the next frame that holds data; `false` at the end of the source.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                    if skipped < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(io::Error::other(e)),
            }
        }
        Ok(false)
    }
}

impl<S: BufRead> Read for Zstd<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.within = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            match self.decoder.read(buffer)? {
                0 => self.within = false,
                n => return Ok(n),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        decoder(bytes)?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn every_codec_gives_the_bytes_back() {
        let text: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let zstd = compress_to_vec(&text[..], CompressionLevel::Fastest);
        assert_eq!(decode(&text).unwrap(), text);
        assert_eq!(decode(&gzip(&text)).unwrap(), text);
        assert_eq!(decode(&zstd).unwrap(), text);
        assert_eq!(decode(b"").unwrap(), b"");
        assert_eq!(decode(b"ab").unwrap(), b"ab");
    }

    #[test]
    fn streams_of_several_parts_are_read_whole() {
        let gz = [gzip(b"one "), gzip(b""), gzip(b"two")].concat();
        assert_eq!(decode(&gz).unwrap(), b"one two");
        let skippable = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let frame = |text: &[u8]| compress_to_vec(text, CompressionLevel::Fastest);
        let zst =
            [skippable.clone(), frame(b"one "), frame(b""), skippable.clone(), frame(b"two"), skippable];
        assert_eq!(decode(&zst.concat()).unwrap(), b"one two");
    }

    #[test]
    fn cut_streams_and_unread_codecs_are_errors() {
        let text = vec![b'x'; 100_000];
        for whole in [gzip(&text), compress_to_vec(&text[..], CompressionLevel::Fastest)] {
            assert!(decode(&whole[..whole.len() - 3]).is_err());
        }
        let error = decode(b"\xfd7zXZ\0rest").unwrap_err().to_string();
        assert!(error.contains("xz") && error.contains("gzip or zstd"), "{error}");
        assert!(decode(b"BZh91AY&SYrest").is_err());
    }
}
