//! The base64 of Secrets and binaryData (RFC 4648, section 4): padded, strict but for line ends, which Go's decoder passes
//! over as well.

/// Why text is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base64Error {
    /// A character that is not of the alphabet, or padding before the end.
    Character,
    /// Not whole groups of four.
    Length,
    /// The last character has bits that belong to no byte.
    Trailing,
}

impl Base64Error {
    /// For people; goes on after the name of what it is about.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Character => "is no base64: it has other characters than letters, digits, '+' and '/'",
            Self::Length => {
                "is no base64: its length is no multiple of four, or its padding with '=' is wrong"
            }
            Self::Trailing => "is no base64: its last character has bits too many",
        }
    }
}

fn digit(byte: u8) -> Result<u32, Base64Error> {
    Ok(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(Base64Error::Character),
    }))
}

/// Decodes all of the text.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let bytes: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
    let digits = bytes.strip_suffix(b"==").or_else(|| bytes.strip_suffix(b"=")).unwrap_or(&bytes);
    let mut out = Vec::with_capacity(digits.len());
    let groups = digits.chunks_exact(4);
    let rest = groups.remainder();
    let group = |chars: &[u8]| chars.iter().try_fold(0_u32, |acc, b| Ok((acc << 6) | digit(*b)?));
    for chars in groups {
        let [_, a, b, c] = group(chars)?.to_be_bytes();
        out.extend([a, b, c]);
    }
    let tail = group(rest)?;
    if !bytes.len().is_multiple_of(4) || (bytes.len() != digits.len()) != (rest.len() >= 2) {
        return Err(Base64Error::Length);
    }
    let (bits, spare) = match rest.len() {
        0 => return Ok(out),
        2 => (tail >> 4, tail & 0xf),
        3 => (tail >> 2, tail & 0x3),
        _ => return Err(Base64Error::Length),
    };
    if spare != 0 {
        return Err(Base64Error::Trailing);
    }
    let [.., a, b] = bits.to_be_bytes();
    if rest.len() == 3 {
        out.push(a);
    }
    out.push(b);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_rfc() {
        for (text, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zm9v\r\nYmFy\n", "foobar"),
        ] {
            assert_eq!(decode(text).as_deref(), Ok(plain.as_bytes()), "{text}");
        }
        assert_eq!(decode("//79+w==").as_deref(), Ok(&[0xff, 0xfe, 0xfd, 0xfb][..]));
    }

    #[test]
    fn what_is_no_base64() {
        for (text, error) in [
            ("Zg", Base64Error::Length),
            ("Zg=", Base64Error::Length),
            ("Zm9v=", Base64Error::Length),
            ("Zm9v====", Base64Error::Character),
            ("Z===", Base64Error::Character),
            ("=", Base64Error::Length),
            ("====", Base64Error::Character),
            ("Zm=v", Base64Error::Character),
            ("Zm9_", Base64Error::Character),
            ("Zm 9", Base64Error::Character),
            ("Zh==", Base64Error::Trailing),
            ("Zm9=", Base64Error::Trailing),
        ] {
            assert_eq!(decode(text), Err(error), "{text}");
        }
    }
}
