//! The readers of tar files, PAX records and compressions, without any file system behind them.

use std::io::{self, Read};

use podstrap::image::bounds::{Budget, Metered};
use podstrap::image::digest::Digest;
use podstrap::image::tarball::{Reader, SEGMENT_LIMIT, Stream};
use podstrap::image::{codec, pax};

/// Bytes after decompression.
const UNPACKED: u64 = 4 << 20;

pub fn run(data: &[u8]) {
    let _ = pax::parse(data);
    if let Some(digest) = std::str::from_utf8(data).ok().and_then(Digest::parse) {
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
    }
    let budget = Budget::new("bytes", UNPACKED);
    let Ok(decoded) = codec::decoder(data) else { return };
    let mut reader = Reader::new(Stream(Metered::new(decoded, &budget)));
    while let Ok(Some(member)) = reader.next_member() {
        assert!(member.mode <= 0o7777);
        if let Some(segments) = &member.segments {
            assert!(segments.len() <= SEGMENT_LIMIT);
            let mut end = 0;
            for (offset, length) in segments {
                assert!(*offset >= end, "segments overlap");
                end = offset.checked_add(*length).expect("a segment within 64 bits");
            }
            assert!(end <= member.size);
        }
        // As many bytes as were promised, or an end that comes too soon.
        let stored = match &member.segments {
            Some(segments) => segments.iter().map(|(_, length)| length).sum(),
            None => member.size,
        };
        match io::copy(&mut reader.by_ref(), &mut io::sink()) {
            Ok(n) => assert!(n <= UNPACKED && (n == stored || member.segments.is_some()), "{n} of {stored}"),
            Err(_) => return,
        }
    }
}
