//! What a scalar means, by the type of the field it is for.
//!
//! The kubelet's YAML parser follows YAML 1.1 and decides before it knows the field; here the field decides, so that
//! `hostNetwork: yes` is true and an environment variable `yes` stays text. Where the two differ it is towards
//! accepting what was surely meant; nothing gets another meaning.

/// The boolean that go-yaml v2 makes of a plain word
/// (<https://github.com/go-yaml/yaml/blob/v2.4.0/resolve.go>); `true` and `false` arrive as booleans.
pub(super) fn yaml11_bool(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// What text in an integer field turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IntText {
    /// Go's base-0 forms that our parser leaves as text: `0644`, `1_000`.
    Number(i64),
    /// A plain number would have arrived as one: this one was in quotes.
    Quoted,
    /// No number.
    Not,
}

/// Reads text in an integer field.
pub(super) fn int_text(text: &str) -> IntText {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain && (digits == "0" || !digits.starts_with('0')) {
        return IntText::Quoted;
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) || digits.ends_with('_') {
        return IntText::Not;
    }
    let clean: String = digits.chars().filter(|c| *c != '_').collect();
    let magnitude = match clean.get(..2) {
        Some("0x" | "0X") => u64::from_str_radix(clean.get(2..).unwrap_or(""), 16),
        Some("0b" | "0B") => u64::from_str_radix(clean.get(2..).unwrap_or(""), 2),
        Some("0o" | "0O") => u64::from_str_radix(clean.get(2..).unwrap_or(""), 8),
        Some(_) if clean.starts_with('0') => u64::from_str_radix(&clean, 8),
        Some(_) | None => clean.parse::<u64>(),
    };
    let value = magnitude.ok().and_then(|m| i64::try_from(m).ok());
    match value {
        Some(v) => IntText::Number(if negative { -v } else { v }),
        None => IntText::Not,
    }
}

/// `30.0` and `1e3` are integers.
pub(super) fn integral(value: f64) -> Option<i64> {
    // 2^53: beyond it not every integer has a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)]
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_of_yaml_1_1() {
        assert_eq!(yaml11_bool("yes"), Some(true));
        assert_eq!(yaml11_bool("Off"), Some(false));
        assert_eq!(yaml11_bool("yEs"), None);
        assert_eq!(yaml11_bool("true"), None);
    }

    #[test]
    fn integers_of_go() {
        assert_eq!(int_text("0644"), IntText::Number(420));
        assert_eq!(int_text("1_000"), IntText::Number(1000));
        assert_eq!(int_text("-0b11"), IntText::Number(-3));
        assert_eq!(int_text("0X1f"), IntText::Number(31));
        assert_eq!(int_text("30"), IntText::Quoted);
        assert_eq!(int_text("-7"), IntText::Quoted);
        for bad in ["", "_1", "1_", "0x", "08x", "probe-port", "99999999999999999999_0", "+", "é"] {
            assert_eq!(int_text(bad), IntText::Not, "{bad}");
        }
        assert_eq!(integral(30.0), Some(30));
        assert_eq!(integral(30.5), None);
        assert_eq!(integral(f64::NAN), None);
        assert_eq!(integral(f64::INFINITY), None);
    }
}
