//! Header compression of HTTP/2 (RFC 7541): decoding in full, because a server may use any of it; encoding only as plain
//! literals, which every server must take.

use std::collections::VecDeque;

/// The size of the dynamic table where nothing else was agreed upon (RFC 9113 §6.5.2), in bytes.
const TABLE: usize = 4096;

/// What an entry counts beside its name and value (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// The longest name or value that is taken, in bytes.
const LONGEST: usize = 64 * 1024;

/// How many bytes of names and values one block may stand for: an index of one byte can stand for a whole table.
const LARGEST: usize = 256 * 1024;

/// A header block that means nothing, or too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A header: name and value.
pub type Header = (Vec<u8>, Vec<u8>);

/// Adds a header as a literal that no table remembers (RFC 7541 §6.2.2).
pub fn encode(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        encode_integer(block, text.len());
        block.extend_from_slice(text.as_bytes());
    }
}

/// An integer with a prefix of 7 bits, the eighth being 0 (RFC 7541 §5.1).
fn encode_integer(block: &mut Vec<u8>, value: usize) {
    if value < 127 {
        block.push(value as u8);
        return;
    }
    block.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// The decoder's memory, which lives as long as the connection.
#[derive(Debug)]
pub struct Decoder {
    /// The newest first.
    table: VecDeque<Header>,
    size: usize,
    limit: usize,
}

impl Decoder {
    /// As at the begin of a connection.
    pub fn new() -> Self {
        Self { table: VecDeque::new(), size: 0, limit: TABLE }
    }

    /// The headers of one block. Every block of a connection must be given, in order.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<Header>, Malformed> {
        let mut headers: Vec<Header> = Vec::new();
        let mut total = 0_usize;
        let mut rest = Bytes(block);
        while let Some(first) = rest.peek() {
            total = total.saturating_add(headers.last().map_or(0, size));
            if total > LARGEST {
                return Err(Malformed);
            }
            // RFC 7541 §6: the highest bits tell which of five forms it is.
            if first & 0x80 != 0 {
                let index = rest.integer(7)?;
                headers.push(self.get(index)?);
            } else if first & 0x40 != 0 {
                let header = self.literal(&mut rest, 6)?;
                self.remember(header.clone());
                headers.push(header);
            } else if first & 0x20 != 0 {
                let limit = rest.integer(5)?;
                if limit > TABLE {
                    return Err(Malformed);
                }
                self.limit = limit;
                self.shrink(0);
            } else {
                headers.push(self.literal(&mut rest, 4)?);
            }
        }
        Ok(headers)
    }

    fn literal(&self, rest: &mut Bytes<'_>, prefix: u32) -> Result<Header, Malformed> {
        let name = match rest.integer(prefix)? {
            0 => rest.text()?,
            index => self.get(index)?.0,
        };
        Ok((name, rest.text()?))
    }

    fn get(&self, index: usize) -> Result<Header, Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        }
        self.table.get(index - STATIC.len()).cloned().ok_or(Malformed)
    }

    fn remember(&mut self, header: Header) {
        let size = size(&header);
        self.shrink(size);
        // One that is too large for the whole table empties it, and is no error (RFC 7541 §4.4).
        if size <= self.limit {
            self.size += size;
            self.table.push_front(header);
        }
    }

    /// Drops the oldest until there is room for `more` bytes.
    fn shrink(&mut self, more: usize) {
        while self.size.saturating_add(more) > self.limit {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size = self.size.saturating_sub(size(&oldest));
        }
    }
}

fn size((name, value): &Header) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// What is left of a block.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An integer whose first `prefix` bits stand in the next byte (RFC 7541 §5.1).
    fn integer(&mut self, prefix: u32) -> Result<usize, Malformed> {
        let mask = (1_usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        // Four more bytes are far beyond any length that is taken.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte & 128 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// A text, plain or Huffman-coded (RFC 7541 §5.2).
    fn text(&mut self) -> Result<Vec<u8>, Malformed> {
        let coded = self.peek().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.take(length)?;
        if length > LONGEST {
            return Err(Malformed);
        }
        if coded { unpack(bytes) } else { Ok(bytes.to_vec()) }
    }
}

/// Undoes the Huffman code. The code is canonical: within one length the codes follow one another in the order of the
/// symbols, so the lengths alone say all.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(8) / 5);
    let mut code = Code::new();
    for byte in bytes {
        for bit in (0..8).rev() {
            if let Some(symbol) = code.next(byte >> bit & 1 == 1) {
                // The 257th is the end of the string, which may not occur.
                out.push(u8::try_from(symbol).map_err(|_| Malformed)?);
            }
        }
    }
    // What is left over is padding: fewer than 8 bits, all ones (RFC 7541 §5.2).
    if code.length < 8 && code.all_ones() { Ok(out) } else { Err(Malformed) }
}

/// A code that is being read, bit by bit.
struct Code {
    bits: u32,
    length: u8,
    /// The first code of this length.
    first: u32,
    /// How many codes of this length and of all shorter ones there are.
    count: u32,
}

impl Code {
    fn new() -> Self {
        Self { bits: 0, length: 0, first: 0, count: 0 }
    }

    fn all_ones(&self) -> bool {
        self.bits.count_ones() == u32::from(self.length)
    }

    /// Takes a bit; a symbol when it is the last one of a code. No code is longer than 30 bits, so nothing overflows.
    fn next(&mut self, bit: bool) -> Option<usize> {
        self.first = (self.first + self.count) << 1;
        self.bits = self.bits << 1 | u32::from(bit);
        self.length += 1;
        let of_this_length =
            || LENGTHS.iter().enumerate().filter(|(_, l)| **l == self.length).map(|(s, _)| s);
        self.count = of_this_length().count() as u32;
        let place = self.bits.checked_sub(self.first)?;
        let symbol = of_this_length().nth(place as usize)?;
        *self = Self::new();
        Some(symbol)
    }
}

/// The length of the code of each symbol, in bits (RFC 7541, appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6,
    6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8,
    13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15,
    11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23,
    23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26,
    26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21,
    22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27,
    27, 26, 30,
];

/// The static table (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
    ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
    ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
    ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    fn shown(headers: &[Header]) -> Vec<String> {
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        headers.iter().map(|(n, v)| format!("{}: {}", text(n), text(v))).collect()
    }

    /// RFC 7541, C.6: three responses on one connection, Huffman-coded, with evictions from a table of 256 bytes.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut decoder = Decoder::new();
        decoder.limit = 256;
        let first = hex(
            "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
             29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        );
        let headers = decoder.decode(&first).unwrap();
        assert_eq!(
            shown(&headers),
            [
                ":status: 302",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:21 GMT",
                "location: https://www.example.com"
            ]
        );
        let headers = decoder.decode(&hex("4883 640e ffc1 c0bf")).unwrap();
        assert_eq!(shown(&headers)[..2], [":status: 307", "cache-control: private"]);
        let third = hex(
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
             d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106
             3d50 07",
        );
        let headers = decoder.decode(&third).unwrap();
        assert_eq!(headers.len(), 6);
        assert_eq!(shown(&headers)[0], ":status: 200");
        assert_eq!(
            shown(&headers)[5],
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
        );
        assert_eq!((decoder.table.len(), decoder.size), (3, 215));
    }

    #[test]
    fn the_code_is_whole() {
        // Kraft's sum is exactly 1: every sequence of bits means something, and nothing means two things.
        let sum: u64 = LENGTHS.iter().map(|l| 1_u64 << (30 - u32::from(*l))).sum();
        assert_eq!(sum, 1 << 30);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for block in [
            "80",                  // index 0
            "be",                  // an entry of the dynamic table that is not there
            "00",                  // no name
            "0005 6162",           // a name that is too short
            "7fffffffffff",        // an endless integer
            "3fe2 1f",             // a table larger than agreed upon (4097)
            "0001 6184 ffff ffff", // the end-of-string symbol
            "0001 6181 00",        // padding of zeros
            "0001 6182 1fff",      // padding longer than 7 bits
        ] {
            assert_eq!(Decoder::new().decode(&hex(block)), Err(Malformed), "{block}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let long = "x".repeat(5000);
        let mut block = Vec::new();
        encode(&mut block, ":path", "/a");
        encode(&mut block, "long", &long);
        encode(&mut block, "edge", &"y".repeat(127));
        let headers = Decoder::new().decode(&block).unwrap();
        assert_eq!(
            shown(&headers),
            [":path: /a".to_owned(), format!("long: {long}"), format!("edge: {}", "y".repeat(127))]
        );
    }
}
