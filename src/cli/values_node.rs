//! `--node-label` and `--node-taint`: text → what a node is said to be.

use std::str::FromStr;

use crate::manifest::{label_key_misfit, label_value_misfit};
use crate::pod::node::Taint;

/// `KEY=VALUE`; the value may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelArg {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl FromStr for LabelArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("must be KEY=VALUE".to_owned());
        };
        check(key, value)?;
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// `KEY[=VALUE]:EFFECT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintArg(pub Taint);

impl FromStr for TaintArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let taint: Taint = text.parse()?;
        check(&taint.key, &taint.value)?;
        Ok(Self(taint))
    }
}

fn check(key: &str, value: &str) -> Result<(), String> {
    match (label_key_misfit(key), label_value_misfit(value)) {
        (Some(why), _) => Err(format!("the key {key:?} {why}")),
        (None, Some(why)) => Err(format!("the value {value:?} {why}")),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_are_those_of_kubernetes() {
        let label = "example.com/disk=ssd".parse::<LabelArg>().unwrap();
        assert_eq!((label.key.as_str(), label.value.as_str()), ("example.com/disk", "ssd"));
        assert_eq!("a=".parse::<LabelArg>().unwrap().value, "");
        for text in ["a", "=b", "a b=c", "a=b c", "a/b/c=d"] {
            assert!(text.parse::<LabelArg>().is_err(), "{text}");
        }
        assert_eq!("a=b:NoExecute".parse::<TaintArg>().unwrap().0.value, "b");
        for text in ["a=b", "a:Nothing", ":NoSchedule", "a=b c:NoSchedule"] {
            assert!(text.parse::<TaintArg>().is_err(), "{text}");
        }
    }
}
