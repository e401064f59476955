//! The part of an image's configuration that decides how a container starts (OCI image spec, `config`).

use serde::{Deserialize, Deserializer, Serialize};

/// `config` of an image configuration; everything may be absent or, as docker writes it, `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageConfig {
    /// `USER[:GROUP]`, each a name or a number.
    #[serde(deserialize_with = "null_as_default")]
    pub user: String,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "null_as_default")]
    pub env: Vec<String>,
    /// ENTRYPOINT.
    #[serde(deserialize_with = "null_as_default")]
    pub entrypoint: Vec<String>,
    /// CMD.
    #[serde(deserialize_with = "null_as_default")]
    pub cmd: Vec<String>,
    /// WORKDIR.
    #[serde(deserialize_with = "null_as_default")]
    pub working_dir: String,
    /// STOPSIGNAL: a name with or without `SIG`, or a number.
    #[serde(deserialize_with = "null_as_default")]
    pub stop_signal: String,
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_nothing() {
        let text = r#"{"User":null,"Env":["A=1"],"Cmd":null,"Entrypoint":["/x"],"Labels":{"a":"b"},"StopSignal":"SIGQUIT"}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        let expected = ImageConfig {
            env: vec!["A=1".into()],
            entrypoint: vec!["/x".into()],
            stop_signal: "SIGQUIT".into(),
            ..ImageConfig::default()
        };
        assert_eq!(config, expected);
    }
}
