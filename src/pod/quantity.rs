//! Kubernetes quantities: amounts of cpu and memory in units that cannot be mixed up.
//!
//! The text form is that of `resource.Quantity`
//! (<https://github.com/kubernetes/apimachinery/blob/master/pkg/api/resource/quantity.go>): a decimal number with a
//! decimal (`m`, `k`, `M` …) or binary (`Ki`, `Mi` …) suffix or an exponent (`1e3`). Fractions of the unit round up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Thousandths of a cpu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u64);

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl MilliCpu {
    /// Reads an amount of cpu: `0.5` and `500m` are 500.
    ///
    /// # Errors
    /// Not a quantity, negative, or too large.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text, 3).map(Self)
    }
}

impl Bytes {
    /// Reads an amount of memory: `128Mi` is 134217728.
    ///
    /// # Errors
    /// Not a quantity, negative, or too large.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        parse(text, 0).map(Self)
    }
}

/// Why text is no usable quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// No digits.
    NoNumber,
    /// Something else than a known suffix or an exponent follows the number.
    Suffix,
    /// Below zero.
    Negative,
    /// More than 2^63 − 1 of its unit (bytes, thousandths of a cpu).
    TooLarge,
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNumber => "must begin with a number",
            Self::Suffix => {
                "must be a number with one of the suffixes m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei"
            }
            Self::Negative => "must not be negative",
            Self::TooLarge => "is too large",
        })
    }
}

impl std::error::Error for QuantityError {}

/// What the suffix multiplies with: a power of ten or of two.
enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale(suffix: &str) -> Option<Scale> {
    Some(match suffix {
        "n" => Scale::Ten(-9),
        "u" => Scale::Ten(-6),
        "m" => Scale::Ten(-3),
        "" => Scale::Ten(0),
        "k" => Scale::Ten(3),
        "M" => Scale::Ten(6),
        "G" => Scale::Ten(9),
        "T" => Scale::Ten(12),
        "P" => Scale::Ten(15),
        "E" => Scale::Ten(18),
        "Ki" => Scale::Two(10),
        "Mi" => Scale::Two(20),
        "Gi" => Scale::Two(30),
        "Ti" => Scale::Two(40),
        "Pi" => Scale::Two(50),
        "Ei" => Scale::Two(60),
        other => {
            let digits = other.strip_prefix(['e', 'E'])?;
            let number = digits.strip_prefix('+').unwrap_or(digits);
            if number.is_empty() || number.contains('+') {
                return None;
            }
            Scale::Ten(number.parse().ok()?)
        }
    })
}

/// The value times 10^`decimals`, rounded up.
fn parse(text: &str, decimals: i32) -> Result<u64, QuantityError> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (number, suffix) = rest.split_at_checked(end).unwrap_or((rest, ""));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(QuantityError::NoNumber);
    }
    if fraction.contains('.') {
        return Err(QuantityError::Suffix);
    }
    let scale = scale(suffix).ok_or(QuantityError::Suffix)?;
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() && fraction.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(QuantityError::Negative);
    }
    // Beyond 18 places a fraction can only matter by being there at all.
    let (kept, dropped) = fraction.split_at_checked(18).unwrap_or((fraction, ""));
    let digits = format!("{whole}{kept}");
    let mut value: u128 = digits.parse().map_err(|_| QuantityError::TooLarge)?;
    let mut round_up = !dropped.is_empty();
    let places = i32::try_from(kept.len()).map_err(|_| QuantityError::TooLarge)?;
    let (two, ten) = match scale {
        Scale::Two(power) => (power, 0),
        Scale::Ten(power) => (0, power),
    };
    value = value.checked_mul(1 << two).ok_or(QuantityError::TooLarge)?;
    let power = ten.saturating_add(decimals).saturating_sub(places);
    if power >= 0 {
        let factor = 10_u128.checked_pow(power.unsigned_abs()).ok_or(QuantityError::TooLarge)?;
        value = value.checked_mul(factor).ok_or(QuantityError::TooLarge)?;
    } else {
        match 10_u128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => {
                round_up |= !value.is_multiple_of(divisor);
                value /= divisor;
            }
            None => {
                round_up = true;
                value = 0;
            }
        }
    }
    value += u128::from(round_up);
    match u64::try_from(value) {
        Ok(v) if i64::try_from(v).is_ok() => Ok(v),
        Ok(_) | Err(_) => Err(QuantityError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_in_all_its_forms() {
        for (text, milli) in [
            ("100m", 100),
            ("0.5", 500),
            ("1", 1000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("2.5", 2500),
            ("0.0001", 1),
            ("1n", 1),
            ("100u", 1),
            (".5", 500),
            ("5.", 5000),
            ("0", 0),
            ("-0", 0),
            ("+1", 1000),
            ("1k", 1_000_000),
            ("5e-1", 500),
            ("0.00000000000000000000000000001", 1),
        ] {
            assert_eq!(MilliCpu::parse(text), Ok(MilliCpu(milli)), "{text}");
        }
    }

    #[test]
    fn memory_in_all_its_forms() {
        for (text, bytes) in [
            ("128Mi", 128 << 20),
            ("1.5Gi", 3 << 29),
            ("1Ei", 1 << 60),
            ("1E", 1_000_000_000_000_000_000),
            ("100M", 100_000_000),
            ("1e3", 1000),
            ("1500m", 2),
            ("134217728", 134_217_728),
            ("1.0000000001Ki", 1025),
        ] {
            assert_eq!(Bytes::parse(text), Ok(Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for (text, error) in [
            ("", QuantityError::NoNumber),
            ("Mi", QuantityError::NoNumber),
            (".", QuantityError::NoNumber),
            ("1x", QuantityError::Suffix),
            ("1 Gi", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1mi", QuantityError::Suffix),
            ("1.2.3", QuantityError::Suffix),
            ("1e++3", QuantityError::Suffix),
            ("1é", QuantityError::Suffix),
            ("-1", QuantityError::Negative),
            ("8Ei", QuantityError::TooLarge),
            ("1e99", QuantityError::TooLarge),
            ("99999999999999999999999999999999999999999", QuantityError::TooLarge),
        ] {
            assert_eq!(Bytes::parse(text), Err(error), "{text}");
        }
        assert_eq!(Bytes::parse("1e-2147483647"), Ok(Bytes(1)));
    }
}
