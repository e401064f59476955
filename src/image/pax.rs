//! The records of a PAX header: `LENGTH KEY=VALUE\n`, where the value may hold any byte (POSIX pax, "pax Header Block";
//! star(5) for SCHILY.xattr; GNU tar manual, "Sparse Formats").

use super::tarball::SEGMENT_LIMIT;

/// What the records of one header say of the member after it; absent ones leave the member's own header in force.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `path`
    pub path: Option<Vec<u8>>,
    /// `linkpath`
    pub link_path: Option<Vec<u8>>,
    /// `size`: stored bytes.
    pub size: Option<u64>,
    /// `uid`
    pub uid: Option<u64>,
    /// `gid`
    pub gid: Option<u64>,
    /// `mtime`: seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    /// `SCHILY.xattr.NAME`
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `GNU.sparse.*`
    pub sparse: Option<Sparse>,
}

/// A sparse file in one of the PAX forms.
#[derive(Debug, PartialEq, Eq)]
pub struct Sparse {
    /// The member's real name, where `path` is a made-up one.
    pub name: Option<Vec<u8>>,
    /// The size with holes.
    pub real_size: Option<u64>,
    /// Where its map is.
    pub map: Map,
}

/// Where the map of a sparse file is.
#[derive(Debug, PartialEq, Eq)]
pub enum Map {
    /// In the records (forms 0.0 and 0.1): offset and length of each piece.
    Records(Vec<(u64, u64)>),
    /// Before the data (form 1.0).
    BeforeData,
}

/// Parses the data of a PAX header; `None` when it is malformed.
pub fn parse(mut bytes: &[u8]) -> Option<Records> {
    let mut records = Records::default();
    let mut sparse = SparseRecords::default();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|b| *b == b' ')?;
        let length = usize::try_from(decimal(bytes.get(..blank)?)?).ok()?;
        let record = bytes.get(blank.checked_add(1)?..length.checked_sub(1)?)?;
        if bytes.get(length.checked_sub(1)?) != Some(&b'\n') {
            return None;
        }
        let equals = record.iter().position(|b| *b == b'=')?;
        let (key, value) = (record.get(..equals)?, record.get(equals.checked_add(1)?..)?);
        apply(&mut records, &mut sparse, key, value)?;
        bytes = bytes.get(length..)?;
    }
    records.sparse = sparse.finish()?;
    Some(records)
}

/// An empty value takes a record back, so that the header's own field counts.
fn apply(records: &mut Records, sparse: &mut SparseRecords, key: &[u8], value: &[u8]) -> Option<()> {
    let text = || (!value.is_empty()).then(|| value.to_vec());
    let number = || if value.is_empty() { Some(None) } else { decimal(value).map(Some) };
    match key {
        b"path" | b"linkpath" | b"GNU.sparse.name" if value.contains(&0) => return None,
        b"path" => records.path = text(),
        b"linkpath" => records.link_path = text(),
        b"size" => records.size = number()?,
        b"uid" => records.uid = number()?,
        b"gid" => records.gid = number()?,
        b"mtime" => records.mtime = if value.is_empty() { None } else { Some(time(value)?) },
        b"GNU.sparse.name" => sparse.name = text(),
        b"GNU.sparse.size" | b"GNU.sparse.realsize" => sparse.real_size = number()?,
        b"GNU.sparse.major" => sparse.major = number()?,
        b"GNU.sparse.minor" => sparse.minor = number()?,
        b"GNU.sparse.offset" => sparse.numbers.push(decimal(value)?),
        b"GNU.sparse.numbytes" => sparse.numbers.push(decimal(value)?),
        b"GNU.sparse.map" => {
            sparse.numbers = value.split(|b| *b == b',').map(decimal).collect::<Option<_>>()?
        }
        b"GNU.sparse.numblocks" => {}
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.").filter(|name| !name.is_empty()) {
                records.xattrs.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    (sparse.numbers.len() <= 2 * SEGMENT_LIMIT).then_some(())
}

#[derive(Default)]
struct SparseRecords {
    name: Option<Vec<u8>>,
    real_size: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    /// Offsets and lengths by turns.
    numbers: Vec<u64>,
}

impl SparseRecords {
    fn finish(self) -> Option<Option<Sparse>> {
        let map = match (self.major, self.minor) {
            (Some(1), Some(0)) => Map::BeforeData,
            (None | Some(0), _) if self.real_size.is_none() && self.numbers.is_empty() => return Some(None),
            (None | Some(0), _) => {
                let pairs = self.numbers.chunks_exact(2);
                if !pairs.remainder().is_empty() {
                    return None;
                }
                let pair = |pair: &[u64]| Some((*pair.first()?, *pair.get(1)?));
                Map::Records(pairs.map(pair).collect::<Option<_>>()?)
            }
            (Some(_), _) => return None,
        };
        Some(Some(Sparse { name: self.name, real_size: self.real_size, map }))
    }
}

fn decimal(text: &[u8]) -> Option<u64> {
    // `u64::from_str` would also take a leading plus.
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[-]SECONDS[.FRACTION]` as seconds, rounded down, and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, i64)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |b| *b == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    decimal(if fraction.is_empty() { b"0" } else { fraction.get(..fraction.len().min(18))? })?;
    let digits = fraction.iter().map(|b| i64::from(*b - b'0')).chain(std::iter::repeat(0));
    let nanoseconds = digits.take(9).fold(0, |value, digit| value * 10 + digit);
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some(((-seconds).checked_sub(1)?, 1_000_000_000 - nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One record with its own length in front.
    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = 1 + key.len() + 1 + value.len() + 1;
        let length = (1..8).map(|digits| body + digits).find(|n| n.to_string().len() + body == *n).unwrap();
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    #[test]
    fn values_may_hold_newlines_and_nul() {
        let capability = b"\x01\0\0\x02\n\0\0\0=\n";
        let records = parse(
            &[
                record("SCHILY.xattr.security.capability", capability),
                record("path", b"a b"),
                record("mtime", b"1700000000.25"),
                record("size", b"9000000000"),
                record("unknown", b"x"),
            ]
            .concat(),
        )
        .unwrap();
        assert_eq!(records.xattrs, [(b"security.capability".to_vec(), capability.to_vec())]);
        assert_eq!(records.path.as_deref(), Some(&b"a b"[..]));
        assert_eq!(records.mtime, Some((1_700_000_000, 250_000_000)));
        assert_eq!(records.size, Some(9_000_000_000));
        assert_eq!(records.sparse, None);
    }

    #[test]
    fn times_before_1970_round_down() {
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-7"), Some((-7, 0)));
        assert_eq!(time(b"5.1234567899999999999999"), Some((5, 123_456_789)));
        for bad in ["", "-", "1e3", "+1", "1.x", "99999999999999999999"] {
            assert_eq!(time(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"5 a=b"[..],
            b"99 a=b\n",
            b"0 a=b\n",
            b"x a=b\n",
            b"6 abcd\n",
            b"7 a=b\n\n\n",
            b"13 path=a\0b\xff\n",
            b"18446744073709551615 a=b\n",
        ] {
            assert_eq!(parse(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(parse(&record("size", b"-1")), None);
        assert_eq!(parse(&record("GNU.sparse.map", b"0,1,2")), None);
    }
}
