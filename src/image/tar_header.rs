//! One header block of a tar file: where its fields are, and the two ways in which numbers are written.

use super::tarball::{BLOCK, TarError};

/// The fields of a header block (POSIX pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
pub(super) struct Header<'a>(pub &'a [u8; BLOCK]);

impl Header<'_> {
    pub fn field(&self, at: usize, length: usize) -> &[u8] {
        at.checked_add(length).and_then(|end| self.0.get(at..end)).unwrap_or_default()
    }

    pub fn type_flag(&self) -> u8 {
        self.field(156, 1).first().copied().unwrap_or_default()
    }

    /// The sum of all bytes, the field itself taken as blanks; some old programs summed signed bytes.
    pub fn check(&self) -> Result<(), TarError> {
        let wanted = number(self.field(148, 8)).ok_or(TarError::Checksum)?;
        let blank = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
        let unsigned: u64 = self.0.iter().enumerate().map(|b| u64::from(blank(b))).sum();
        let signed: i64 = self.0.iter().enumerate().map(|b| i64::from(blank(b) as i8)).sum();
        if wanted == unsigned || i64::try_from(wanted) == Ok(signed) {
            Ok(())
        } else {
            Err(TarError::Checksum)
        }
    }

    pub fn path(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100));
        // Only POSIX has the prefix; GNU keeps other things in its place.
        let prefix =
            if self.field(257, 6) == b"ustar\0" { until_nul(self.field(345, 155)) } else { Vec::new() };
        if prefix.is_empty() { name } else { [prefix, name].join(&b'/') }
    }

    pub fn size(&self) -> Result<u64, TarError> {
        self.number(124, 12, "size")
    }

    pub fn number(&self, at: usize, length: usize, field: &'static str) -> Result<u64, TarError> {
        number(self.field(at, length)).ok_or(TarError::Number(field))
    }

    pub fn signed(&self, at: usize, length: usize, field: &'static str) -> Result<i64, TarError> {
        signed(self.field(at, length)).and_then(|n| i64::try_from(n).ok()).ok_or(TarError::Number(field))
    }
}

/// The bytes before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

/// A number that is not negative.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|n| u64::try_from(n).ok())
}

/// Octal text, or GNU's base 256: a leading bit, then a big-endian number in two's complement.
fn signed(field: &[u8]) -> Option<i128> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start =
            if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first & 0x3f) - 0x40 };
        return rest
            .iter()
            .try_fold(start, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)));
    }
    let text = field.split(|b| *b == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0, |value: i128, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i128::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_two_bases() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\0\0\x01\0\0"), Some(65536));
        assert_eq!(signed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), None);
        assert_eq!(number(b"89"), None);
    }
}
