//! Values of options: durations, sizes, choices. Parsing tells what was expected, because argh prints it next to the option.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::config::{BackOff, MissingDir, OnExit, RuntimeChoice};
use crate::pod::set::SetKind;

/// A length of time in milliseconds: `90s`, `5m`, `1h30m`, `1.5s`, `200ms`; a bare number is seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl FromStr for Millis {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text)
            .map(Self)
            .ok_or_else(|| "expected a duration such as 90s, 5m, 1h30m, or a number of seconds".into())
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes) = (self.0 / 3_600_000, self.0 / 60_000 % 60);
        let (seconds, millis) = (self.0 / 1000 % 60, self.0 % 1000);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        if millis > 0 {
            write!(f, "{seconds}.{}s", format!("{millis:03}").trim_end_matches('0'))
        } else if seconds > 0 || self.0 < 60_000 {
            write!(f, "{seconds}s")
        } else {
            Ok(())
        }
    }
}

fn parse_duration(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return scaled(text, 1000);
    }
    let mut total = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(number_end)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, factor)?)?;
        rest = tail;
    }
    Some(total)
}

/// `NUMBER[.FRACTION]` times `factor`, rounded down.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let part =
        fraction.parse::<u64>().ok()?.checked_mul(factor)? / 10u64.checked_pow(fraction.len() as u32)?;
    whole.checked_add(part)
}

/// Where something listens: an address and a port, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub Option<SocketAddr>);

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        // No other name is looked up: what it stands for may change, and asking may take long.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => text.parse().ok(),
        };
        match address.filter(|a: &SocketAddr| a.port() != 0) {
            Some(address) => Ok(Self(Some(address))),
            None => {
                Err("expected off, or an address and a port such as 127.0.0.1:10248 or [::1]:10248".into())
            }
        }
    }
}

/// A number of bytes: plain, or with `Ki`, `Mi`, `Gi` (powers of 1024) or `k`, `M`, `G` (powers of 1000).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
        let factor: Option<u64> = match unit {
            "" => Some(1),
            "Ki" | "KiB" => Some(1 << 10),
            "Mi" | "MiB" => Some(1 << 20),
            "Gi" | "GiB" => Some(1 << 30),
            "k" | "kB" => Some(1000),
            "M" | "MB" => Some(1_000_000),
            "G" | "GB" => Some(1_000_000_000),
            _ => None,
        };
        let bytes = factor.and_then(|f| number.parse::<u64>().ok()?.checked_mul(f)).filter(|b| *b > 0);
        bytes.map(Self).ok_or_else(|| "expected a size such as 512Ki, 10Mi, or a number of bytes".into())
    }
}

impl FromStr for RuntimeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "runc" => Ok(Self::Runc),
            "docker" => Ok(Self::Docker),
            _ => Err("expected auto, runc or docker".into()),
        }
    }
}

impl FromStr for OnExit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "keep" => Ok(Self::Keep),
            "stop" => Ok(Self::Stop),
            _ => Err("expected keep or stop".into()),
        }
    }
}

impl FromStr for MissingDir {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "remove" => Ok(Self::Remove),
            "keep" => Ok(Self::Keep),
            _ => Err("expected remove or keep".into()),
        }
    }
}

impl FromStr for BackOff {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected INITIAL,MAX such as 1s,60s or 10s,5m".to_owned();
        let (initial, max) = text.split_once(',').ok_or_else(wrong)?;
        let initial_ms = parse_duration(initial.trim()).ok_or_else(wrong)?;
        let max_ms = parse_duration(max.trim()).ok_or_else(wrong)?;
        if initial_ms == 0 {
            return Err("the initial wait must be longer than 0".into());
        }
        if max_ms < initial_ms {
            return Err("the longest wait must not be shorter than the initial one".into());
        }
        Ok(Self { initial_ms, max_ms })
    }
}

/// `--for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Every container is ready.
    Ready,
    /// Every container runs.
    Running,
    /// There is no such Pod.
    Gone,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ready" => Ok(Self::Ready),
            "running" => Ok(Self::Running),
            "gone" => Ok(Self::Gone),
            _ => Err("expected ready, running or gone".into()),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Gone => "gone",
        })
    }
}

/// `status -o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The table.
    Table,
    /// The table with more columns.
    Wide,
    /// JSON shaped like `v1.Pod` or `v1.PodList`.
    Json,
    /// The same as YAML.
    Yaml,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "yaml" => Ok(Self::Yaml),
            _ => Err("expected table, wide, json or yaml".into()),
        }
    }
}

/// `-o` of verbs that know text and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextOrJson {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl FromStr for TextOrJson {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" | "table" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected text or json".into()),
        }
    }
}

/// `logs --since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// This long ago.
    Ago(Millis),
    /// At this time.
    At(jiff::Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ms) = parse_duration(text) {
            return Ok(Self::Ago(Millis(ms)));
        }
        text.parse().map(Self::At).map_err(|_| {
            "expected a duration such as 10m, or a time as in RFC 3339: 2026-01-02T15:04:05Z".to_owned()
        })
    }
}

/// A POD argument: `[namespace/]name`, the name with or without the node's suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodArg {
    /// The namespace, if one was given.
    pub namespace: Option<String>,
    /// All Pods of the DaemonSet or StatefulSet of that name are meant: `[NAMESPACE/]statefulset/NAME`.
    pub kind: Option<SetKind>,
    /// The name as given.
    pub name: String,
}

impl FromStr for PodArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, name) = match text.rsplit_once('/') {
            Some((rest, name)) => (Some(rest), name),
            None => (None, text),
        };
        let (namespace, word) = match rest {
            Some(rest) if SetKind::of_word(rest).is_some() => (None, Some(rest)),
            Some(rest) => match rest.split_once('/') {
                Some((namespace, word)) => (Some(namespace), Some(word)),
                None => (Some(rest), None),
            },
            None => (None, None),
        };
        let kind = word.and_then(SetKind::of_word);
        // The alphabet of Kubernetes' names; it also keeps the argument from being used as a path.
        let fits = |s: &str| {
            !s.is_empty()
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
        };
        if fits(name) && namespace.is_none_or(fits) && kind.is_some() == word.is_some() {
            Ok(Self { namespace: namespace.map(str::to_owned), kind, name: name.to_owned() })
        } else {
            Err("expected [NAMESPACE/]NAME of a Pod: lower-case letters, digits, '-' and '.'".into())
        }
    }
}

impl fmt::Display for PodArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        if let Some(kind) = self.kind {
            write!(f, "{}/", kind.word())?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in
            [("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("7", 7000), ("0", 0), ("1.5s", 1500)]
        {
            assert_eq!(text.parse(), Ok(Millis(ms)), "{text}");
        }
        assert_eq!("0.25".parse(), Ok(Millis(250)));
        assert_eq!("200ms".parse(), Ok(Millis(200)));
        for text in
            ["", "5 m", "m", "5x", "-1s", "1h30", ".5s", "99999999999999999999", "18446744073709551615h"]
        {
            let parsed = text.parse::<Millis>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
        for (ms, text) in [(0, "0s"), (250, "0.25s"), (5_400_000, "1h30m"), (61_000, "1m1s"), (300_000, "5m")]
        {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn sizes() {
        assert_eq!("512Ki".parse(), Ok(Size(524_288)));
        assert_eq!("10MB".parse(), Ok(Size(10_000_000)));
        assert_eq!("7".parse(), Ok(Size(7)));
        for text in ["", "0", "Ki", "1Kb", "-1", "99999999999Gi"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn back_off_pairs() {
        assert_eq!("1s,60s".parse(), Ok(BackOff { initial_ms: 1000, max_ms: 60_000 }));
        assert_eq!("10,5m".parse(), Ok(BackOff { initial_ms: 10_000, max_ms: 300_000 }));
        for text in ["1s", "0,5", "5s,1s", "a,b"] {
            assert!(text.parse::<BackOff>().is_err(), "{text}");
        }
    }

    #[test]
    fn pod_arguments_are_never_paths() {
        let pod = "kube-system/etcd-host1".parse::<PodArg>().unwrap();
        assert_eq!((pod.namespace.as_deref(), pod.name.as_str()), (Some("kube-system"), "etcd-host1"));
        let set = "ops/sts/web".parse::<PodArg>().unwrap();
        assert_eq!((set.kind, set.to_string().as_str()), (Some(SetKind::StatefulSet), "ops/statefulset/web"));
        let set = "daemonset/logs".parse::<PodArg>().unwrap();
        assert_eq!((set.kind, set.namespace), (Some(SetKind::DaemonSet), None));
        for text in ["", "/", "a/", "/a", "a/b/c", "a/ds/b/c", "A", "a b", "a*"] {
            assert!(text.parse::<PodArg>().is_err(), "{text}");
        }
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        assert_eq!("10m".parse(), Ok(Since::Ago(Millis(600_000))));
        let at = "2026-01-02T15:04:05Z".parse::<Since>().unwrap();
        assert_eq!(at, Since::At("2026-01-02T15:04:05Z".parse().unwrap()));
        assert!("yesterday".parse::<Since>().is_err());
        assert!("".parse::<Since>().is_err());
    }
}
