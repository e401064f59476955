//! A kubeconfig file: how the API server is reached that mirror Pods are shown in.

use std::fs;

use podstrap::helper::url::Url;
use podstrap::mirror::kubeconfig::Access;

use super::scratch;

/// What no message may tell.
const SECRET: &str = "c2VzYW1lIG9wZW4";

pub fn run(data: &[u8]) {
    let directory = scratch("kubeconfig");
    // What the file may name.
    fs::write(directory.join("ca.crt"), "ca").expect("a file");
    fs::write(directory.join("token"), "a.b.c\n").expect("a file");
    let path = directory.join("config");
    fs::write(&path, data).expect("a file");
    match Access::read(&path) {
        Ok(access) => {
            let url = Url::parse(&access.server).expect("a server is a URL");
            let is_secret = access.token.is_some() || access.certificate.is_some();
            assert!(url.is_https() || !is_secret, "a secret over http");
            assert!(access.token.iter().all(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic())));
            assert!(!access.insecure || access.ca.is_none());
            assert!(!format!("{access:?}").contains(SECRET) || access.server.contains(SECRET));
        }
        Err(why) => {
            // Only names are told: of contexts, clusters, users and files.
            let text = String::from_utf8_lossy(data);
            let is_token = |line: &str| line.trim_start().starts_with("token: ") && line.contains(SECRET);
            let is_only = text.matches(SECRET).count() == 1 && text.lines().any(is_token);
            assert!(!is_only || !why.contains(SECRET), "{why}");
        }
    }
}
