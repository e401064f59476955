//! What one document says differently from another, field by field, in as many words as a person reads.
//!
//! A manifest's environment, flags and annotations can hold what nobody else may see, and the result goes to terminals and
//! CI logs: a value whose name tells that it is secret is never shown, only that it has changed.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::helper::text::escape;

/// So many characters of a value are shown.
const MOST_OF_VALUE: usize = 120;
/// So many differences of one Pod are told.
const MOST: usize = 50;
/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `spec.containers[etcd].image`.
    pub path: String,
    /// What it was; `None`: it was not there.
    pub from: Option<String>,
    /// What it is now; `None`: it is not there any more.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |v: &Option<String>| v.as_ref().map_or_else(|| "(none)".to_owned(), |v| format!("{v:?}"));
        match (&self.from, &self.to) {
            (None, None) => f.write_str(&self.path),
            (from, to) => write!(f, "{}: {} → {}", self.path, text(from), text(to)),
        }
    }
}

/// All fields in which `new` is not `old`.
pub fn between(old: &Value, new: &Value) -> Vec<Change> {
    let mut found = Found(Vec::new());
    found.values("", Some(old), Some(new), false);
    let mut changes = found.0;
    if let more @ 1.. = changes.len().saturating_sub(MOST) {
        changes.truncate(MOST);
        changes.push(Change { path: format!("and {more} more"), from: None, to: None });
    }
    changes
}

struct Found(Vec<Change>);

impl Found {
    /// Compares two values at `path`; `secret`: neither is to be shown.
    fn values(&mut self, path: &str, old: Option<&Value>, new: Option<&Value>, secret: bool) {
        match (old, new) {
            (old, new) if old == new => {}
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
                // Which variable or header it is tells whether its value is to be seen.
                let named = b.get("name").or_else(|| a.get("name")).and_then(Value::as_str);
                for key in keys {
                    let secret = secret
                        || (key == "value"
                            && (named.is_some_and(is_secret) || path.contains("httpHeaders[")))
                        || (path.ends_with(".annotations")
                            && (is_secret(key) || key.ends_with(LAST_APPLIED)));
                    self.values(&join(path, key), a.get(key), b.get(key), secret);
                }
            }
            (Some(Value::Array(a)), Some(Value::Array(b))) => self.lists(path, a, b, secret),
            // What is new or gone as a whole is told by its parts where they have names of their own.
            (None, Some(Value::Object(_))) => {
                self.values(path, Some(&Value::Object(serde_json::Map::new())), new, secret);
            }
            (Some(Value::Object(_)), None) => {
                self.values(path, old, Some(&Value::Object(serde_json::Map::new())), secret);
            }
            (None, Some(Value::Array(b))) => self.lists(path, &[], b, secret),
            (Some(Value::Array(a)), None) => self.lists(path, a, &[], secret),
            (old, new) => self.tell(path, old.map(|v| shown(v, secret)), new.map(|v| shown(v, secret))),
        }
    }

    fn tell(&mut self, path: &str, from: Option<String>, to: Option<String>) {
        self.0.push(Change { path: escape(path), from, to });
    }

    fn lists(&mut self, path: &str, old: &[Value], new: &[Value], secret: bool) {
        let (a, b) = (by_name(old), by_name(new));
        match (a, b) {
            (Some(a), Some(b)) if !(a.is_empty() && b.is_empty()) => {
                for (key, old) in &a {
                    let (path, new) = (format!("{path}[{key}]"), get(&b, key));
                    self.values(&path, Some(old), new, secret);
                }
                for (key, new) in b.iter().filter(|i| get(&a, &i.0).is_none()) {
                    self.values(&format!("{path}[{key}]"), None, Some(new), secret);
                }
                let order =
                    |list: &[Item<'_>]| list.iter().map(|i| i.0.as_str()).collect::<Vec<_>>().join(", ");
                if a.len() == b.len() && a.iter().all(|i| get(&b, &i.0).is_some()) && order(&a) != order(&b) {
                    self.tell(path, Some(order(&a)), Some(order(&b)));
                }
            }
            _ if old.iter().chain(new).all(|v| !v.is_object() && !v.is_array()) => {
                self.words(path, old, new, secret);
            }
            _ => {
                for place in 0..old.len().max(new.len()) {
                    self.values(&format!("{path}[{place}]"), old.get(place), new.get(place), secret);
                }
            }
        }
    }

    /// Lists of words: commands, arguments, capabilities. A flag is told by its name, wherever it stands; words without one
    /// by their place, where as many have come as have gone.
    fn words(&mut self, path: &str, old: &[Value], new: &[Value], secret: bool) {
        let (mut gone, mut come) = (said(old, secret), said(new, secret));
        gone.retain(|word| match come.iter().position(|w| w.0 == word.0) {
            Some(place) => {
                come.remove(place);
                false
            }
            None => true,
        });
        if gone.is_empty() && come.is_empty() {
            let text = |words: &[Value]| {
                let words: Vec<String> = said(words, secret).into_iter().map(|w| w.1).collect();
                cut(&words.join(" "))
            };
            return self.tell(&format!("{path} (order)"), Some(text(old)), Some(text(new)));
        }
        if old.len() == new.len() && gone.iter().chain(&come).all(|w| flag(&w.0).0.is_none()) {
            let (old, new) = (said(old, secret), said(new, secret));
            for (place, (old, new)) in old.iter().zip(&new).enumerate().filter(|(_, (a, b))| a.0 != b.0) {
                self.tell(&format!("{path}[{place}]"), Some(cut(&old.1)), Some(cut(&new.1)));
            }
            return;
        }
        for (word, shown) in gone {
            let (name, value) = flag(&shown);
            let other = name.and_then(|n| come.iter().position(|w| flag(&w.0).0 == Some(n)));
            match (other.map(|place| come.remove(place)), name) {
                (Some((_, new)), Some(name)) => {
                    let from = value.map(cut);
                    self.tell(&format!("{path}[{name}]"), from, flag(&new).1.map(cut));
                }
                (_, Some(name)) if flag(&word).1.is_some() => {
                    self.tell(&format!("{path}[{name}]"), value.map(cut), None);
                }
                (_, _) => self.tell(path, Some(cut(&shown)), None),
            }
        }
        for (word, shown) in come {
            let (name, value) = flag(&shown);
            match name {
                Some(name) if flag(&word).1.is_some() => {
                    self.tell(&format!("{path}[{name}]"), None, value.map(cut));
                }
                Some(_) | None => self.tell(path, None, Some(cut(&shown))),
            }
        }
    }
}

const LAST_APPLIED: &str = "last-applied-configuration";

/// Every word as it is, and as it may be shown.
fn said(words: &[Value], secret: bool) -> Vec<(String, String)> {
    let mut after_secret_flag = false;
    let mut out = Vec::new();
    for word in words {
        let plain = plain(word);
        let hide = secret || after_secret_flag;
        after_secret_flag = matches!(flag(&plain), (Some(name), None) if is_secret(name));
        let shown = if hide { HIDDEN.to_owned() } else { scrub(&plain) };
        out.push((plain, shown));
    }
    out
}

/// `--name=value`.
fn flag(word: &str) -> (Option<&str>, Option<&str>) {
    match (word.starts_with("--"), word.split_once('=')) {
        (true, Some((name, value))) => (Some(name), Some(value)),
        (true, None) => (Some(word), None),
        (false, _) => (None, None),
    }
}

/// An item of a list and what it is known by. Lists are short: they are searched from end to end.
type Item<'v> = (String, &'v Value);

fn by_name(list: &[Value]) -> Option<Vec<Item<'_>>> {
    let mut out: Vec<Item<'_>> = Vec::new();
    for item in list {
        let name = name_of(item)?;
        if out.iter().any(|i| i.0 == name) {
            return None;
        }
        out.push((name, item));
    }
    Some(out)
}

fn get<'v>(list: &[Item<'v>], name: &str) -> Option<&'v Value> {
    list.iter().find(|item| item.0 == name).map(|item| item.1)
}

/// By what an item of a list is known: a container's name, a mount's place, a port.
fn name_of(item: &Value) -> Option<String> {
    let by = ["mountPath", "name", "containerPort", "ip", "key"];
    by.iter().find_map(|key| item.get(key)).map(plain)
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.contains(['.', '/'])) {
        (true, _) => key.to_owned(),
        (false, true) => format!("{path}[{key}]"),
        (false, false) => format!("{path}.{key}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shown(value: &Value, secret: bool) -> String {
    if secret { HIDDEN.to_owned() } else { cut(&scrub(&plain(value))) }
}

fn cut(text: &str) -> String {
    let escaped = escape(text);
    if escaped.chars().count() <= MOST_OF_VALUE {
        return escaped;
    }
    let mut cut: String = escaped.chars().take(MOST_OF_VALUE - 1).collect();
    cut.push('…');
    cut
}

/// Hides the values of `NAME=VALUE`, what follows `--password` and `Bearer`, and the passwords of URLs within a text.
fn scrub(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut hide_next = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let body = word.trim_end();
        let end = word.get(body.len()..).unwrap_or_default();
        let quote = |value: &str| value.chars().next().filter(|c| matches!(c, '"' | '\''));
        match body.split_once('=') {
            _ if std::mem::take(&mut hide_next) => out.push_str(HIDDEN),
            Some((name, value)) if !value.is_empty() && is_secret(name) => {
                out.push_str(&format!("{name}={HIDDEN}"));
                if quote(value).is_some_and(|q| value.len() == 1 || !value.ends_with(q)) {
                    // It goes on behind the blank, and nobody knows how far.
                    return out;
                }
            }
            _ => out.push_str(&without_password(body)),
        }
        let bare = body.trim_matches(['"', '\'']).to_ascii_lowercase();
        hide_next = (bare.starts_with('-') && is_secret(&bare) && !bare.contains('='))
            || ["bearer", "basic"].contains(&bare.as_str());
        out.push_str(end);
    }
    out
}

/// `https://user:word@host` without what stands before the `@`.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((who, _)) => {
            format!("{scheme}://{HIDDEN}{}", rest.get(who.len()..).unwrap_or_default())
        }
        None => word.to_owned(),
    }
}

/// Whether a name tells that its value is not to be seen. A file that holds a secret is none itself.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['-', '_', '.'], "");
    let tells = ["password", "passwd", "passphrase", "secret", "token", "credential", "apikey", "privatekey"];
    let is_place = ["file", "dir", "path", "name", "url"].iter().any(|end| name.ends_with(end));
    !is_place && (tells.iter().any(|word| name.contains(word)) || name.ends_with("accesskey"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(old: Value, new: Value) -> Vec<String> {
        let text = |v: &Option<String>| v.clone().unwrap_or_else(|| "-".into());
        between(&old, &new)
            .iter()
            .map(|c| format!("{}: {} > {}", c.path, text(&c.from), text(&c.to)))
            .collect()
    }

    #[test]
    fn fields_are_told_by_the_names_of_what_holds_them() {
        let old =
            json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "tty": true}]}});
        let new = json!({"spec": {"hostNetwork": true, "containers": [{"name": "a", "image": "i:2"}, {"name": "c"}]}});
        assert_eq!(
            lines(old.clone(), new),
            [
                "spec.containers[a].image: i:1 > i:2",
                "spec.containers[b].name: b > -",
                "spec.containers[b].tty: true > -",
                "spec.containers[c].name: - > c",
                "spec.hostNetwork: - > true",
            ]
        );
        assert!(lines(old.clone(), old).is_empty());
        let mut swapped = json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}});
        let straight = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        assert_eq!(lines(straight, swapped.take()), ["spec.containers: a, b > b, a"]);
    }

    #[test]
    fn flags_are_told_by_name_wherever_they_stand() {
        let command = |words: &[&str]| json!({ "command": words });
        assert_eq!(
            lines(
                command(&["etcd", "--a=1", "--b=2", "--gone=3", "x"]),
                command(&["etcd", "--new", "--b=2", "--a=4", "y"])
            ),
            [
                "command[--a]: 1 > 4",
                "command[--gone]: 3 > -",
                "command: x > -",
                "command: - > --new",
                "command: - > y"
            ]
        );
        assert_eq!(lines(command(&["a", "b"]), command(&["b", "a"])), ["command (order): a b > b a"]);
        assert_eq!(lines(command(&["sh", "-c", "a"]), command(&["sh", "-c", "b"])), ["command[2]: a > b"]);
    }

    #[test]
    fn secrets_are_never_shown() {
        let pod = |secret: &str| {
            json!({
                "metadata": {"annotations": {"x/api-token": secret, "kubectl.kubernetes.io/last-applied-configuration": secret}},
                "c": {
                    "env": [{"name": "DB_PASSWORD", "value": secret}, {"name": "URL", "value": format!("https://u:{secret}@h/p")}],
                    "command": ["x", format!("--token={secret}"), "--password", secret, format!("export TOKEN={secret}; run -H 'Authorization: Bearer {secret}' --password {secret} X_SECRET='a {secret}'")],
                    "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": secret}]}},
                }
            })
        };
        let text = lines(pod("S3CRET-one"), pod("S3CRET-two")).join("\n");
        assert!(!text.contains("S3CRET"), "{text}");
        for path in
            ["annotations[x/api-token]", "env[DB_PASSWORD]", "command[--token]", "httpHeaders[Authorization]"]
        {
            assert!(text.contains(path), "{path}: {text}");
        }
        assert!(text.contains("https://(hidden)@h/p"), "{text}");
        let gone = lines(pod("S3CRET-one"), json!({})).join("\n");
        assert!(!gone.contains("S3CRET"), "{gone}");
        // Names of files and flags about secrets are none.
        let key = |f: &str| json!({"command": [format!("--service-account-key-file={f}"), format!("--token-auth-file={f}")]});
        assert!(lines(key("/a"), key("/b")).join("\n").contains("[--token-auth-file]: /a > /b"));
    }

    #[test]
    fn what_is_told_is_bounded_and_harmless_to_a_terminal() {
        let long = json!({"a": "x".repeat(5000), "b": "\u{1b}[31m"});
        let told = lines(json!({"b": "1"}), long);
        assert!(told[0].chars().count() < 150, "{told:?}");
        assert!(!told[1].contains('\u{1b}'), "{told:?}");
        let many = |n: u32| (0..n).map(|i| (format!("k{i}"), json!(i))).collect::<serde_json::Map<_, _>>();
        let told = between(&json!({}), &Value::Object(many(500)));
        assert_eq!(told.len(), MOST + 1);
        assert_eq!(told[MOST].path, "and 450 more");
    }
}
