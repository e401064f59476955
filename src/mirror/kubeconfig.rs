//! A kubeconfig file → how to reach one API server. Only what a host's own file has is understood; what would change who we
//! are or where we go and is not understood here is refused by name, and never passed over.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::helper::url::Url;
use crate::manifest::base64;

/// A larger file is none of ours, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Fields that would have to be honoured to be safe, and are not.
const UNKNOWN: [&str; 10] = [
    "exec",
    "auth-provider",
    "username",
    "password",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
    "proxy-url",
    "tls-server-name",
];

/// How to reach an API server, and as whom. Its contents are secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// `https://HOST[:PORT]`, without a slash at its end.
    pub server: String,
    /// PEM certificates that the server is trusted by; `None`: the host's.
    pub ca: Option<Vec<u8>>,
    /// The server's certificate is not looked at.
    pub insecure: bool,
    /// Our certificate and its key, PEM.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads a kubeconfig and the files that it names.
    ///
    /// # Errors
    /// What is wrong with it, for people; never its contents.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = read(path)?;
        // What the parser says may quote the file.
        let value: Value = serde_yaml::from_slice(&text)
            .map_err(|_| format!("{}: is no kubeconfig: it is not valid YAML", path.display()))?;
        Self::of(&value, path.parent().unwrap_or(Path::new("/")))
            .map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Out of the file's content; relative paths in it start at `dir`.
    fn of(config: &Value, dir: &Path) -> Result<Self, String> {
        let current = text(config, "current-context").ok_or("there is no current-context")?;
        let context = entry(config, "contexts", current, "context")?;
        let wanted =
            |field: &str| text(context, field).ok_or(format!("context {current}: there is no {field}"));
        let cluster = entry(config, "clusters", wanted("cluster")?, "cluster")?;
        let user = entry(config, "users", wanted("user")?, "user")?;
        for field in UNKNOWN {
            if [cluster, user].iter().any(|part| !part[field].is_null()) {
                return Err(format!("{field} is not supported"));
            }
        }
        let server = text(cluster, "server").ok_or("the cluster has no server")?.trim_end_matches('/');
        let url = Url::parse(server).ok_or("the cluster's server is no http or https URL")?;
        let insecure = cluster["insecure-skip-tls-verify"] == Value::Bool(true);
        let certificate = data(user, "client-certificate", dir)?;
        let key = data(user, "client-key", dir)?;
        let token = match (text(user, "token"), text(user, "tokenFile")) {
            (_, Some(file)) => Some(String::from_utf8_lossy(&read(&dir.join(file))?).trim().to_owned()),
            (Some(token), None) => Some(token.to_owned()),
            (None, None) => None,
        };
        if token.as_ref().is_some_and(|t| t.is_empty() || t.bytes().any(|b| b <= b' ' || b > b'~')) {
            return Err("the token is not one word".to_owned());
        }
        if !url.is_https() && (token.is_some() || certificate.is_some()) {
            return Err("a secret would be sent over http: the server must be https".to_owned());
        }
        Ok(Self {
            server: server.to_owned(),
            ca: data(cluster, "certificate-authority", dir)?.filter(|_| !insecure),
            insecure,
            certificate: match (certificate, key) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) => return Err("there is a client-certificate, and no client-key".to_owned()),
                (None, Some(_)) => return Err("there is a client-key, and no client-certificate".to_owned()),
            },
            token,
        })
    }
}

fn text<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value[field].as_str().filter(|t| !t.is_empty())
}

/// The entry of that name in one of the file's three lists.
fn entry<'v>(config: &'v Value, list: &str, name: &str, kind: &str) -> Result<&'v Value, String> {
    let found = config[list].as_array().into_iter().flatten().find(|e| e["name"] == name);
    found.map(|e| &e[kind]).ok_or(format!("there is no {kind} {name}"))
}

/// `FIELD-data`, base64, or the file that `FIELD` names.
fn data(value: &Value, field: &str, dir: &Path) -> Result<Option<Vec<u8>>, String> {
    let inline = format!("{field}-data");
    if let Some(encoded) = text(value, &inline) {
        return base64::decode(encoded).map(Some).map_err(|e| format!("{inline} {}", e.reason()));
    }
    text(value, field).map(|file| read(&dir.join(file))).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let fail = |e: std::io::Error| format!("read {}: {e}", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(fail)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{}: is larger than {} MiB", path.display(), MOST_BYTES >> 20));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(cluster: &str, user: &str) -> Result<Access, String> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: me@here\n\
             contexts:\n- {{name: other, context: {{}}}}\n- {{name: me@here, context: {{cluster: here, user: me}}}}\n\
             clusters:\n- {{name: here, cluster: {{{cluster}}}}}\nusers:\n- {{name: me, user: {{{user}}}}}\n"
        );
        Access::of(&serde_yaml::from_str(&text).unwrap(), Path::new("/no/such/directory"))
    }

    #[test]
    fn inline_data_tokens_and_files() {
        let a = access(
            "server: \"https://h:6443/\", certificate-authority-data: Y2E=",
            "client-certificate-data: Y2VydA==, client-key-data: a2V5",
        );
        let a = a.unwrap();
        assert_eq!(
            (a.server.as_str(), a.ca.as_deref(), a.insecure),
            ("https://h:6443", Some(&b"ca"[..]), false)
        );
        assert_eq!(a.certificate, Some((b"cert".to_vec(), b"key".to_vec())));
        let a = access("server: \"https://h\", insecure-skip-tls-verify: true", "token: abc").unwrap();
        assert_eq!((a.token.as_deref(), a.insecure, a.ca), (Some("abc"), true, None));
        let file = std::env::temp_dir().join(format!("podstrap-token-{}", std::process::id()));
        std::fs::write(&file, "xyz\n").unwrap();
        let a = access("server: \"https://h\"", &format!("token: abc, tokenFile: {}", file.display()));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(a.unwrap().token.as_deref(), Some("xyz"), "the file counts more, as in Go");
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name_and_nothing_secret_is_told() {
        let server = "server: \"https://h\"";
        for (cluster, user, word) in [
            (server, "exec: {command: aws}", "exec is not supported"),
            (server, "username: u, password: sesame", "username"),
            ("server: \"https://h\", proxy-url: \"http://p\"", "", "proxy-url"),
            ("server: \"https://h\", tls-server-name: kubernetes", "", "tls-server-name"),
            ("", "", "no server"),
            ("server: \"http://h\"", "token: sesame", "https"),
            (server, "token: \"sesame\\n\"", "one word"),
            (server, "client-certificate-data: Y2VydA==", "client-key"),
            (server, "client-key-data: sesame!", "client-key-data"),
            (server, "client-certificate: there.pem", "/no/such/directory/there.pem"),
        ] {
            let error = access(cluster, user).unwrap_err();
            assert!(error.contains(word) && !error.contains("sesame"), "{error}");
        }
        let error = Access::of(&serde_json::json!({"current-context": "x"}), Path::new("/")).unwrap_err();
        assert_eq!(error, "there is no context x");
    }
}
