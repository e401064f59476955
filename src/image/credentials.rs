//! Registry credentials for docker, which takes them only as a file `config.json` in a directory of its own.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::archive;
use super::error::ImageError;
use crate::sys::atomic::{self, Durability};
use crate::sys::process;

/// How the directories of pulls begin; a pid follows.
const OF_PULL: &str = "pull-";

/// Puts a copy of `authfile` (containers-auth.json(5), which docker's own form is part of) into `directory`, for root alone.
pub fn provide(directory: &Path, authfile: &Path) -> Result<(), ImageError> {
    let bytes = fs::read(authfile).map_err(ImageError::io("read", authfile))?;
    let file = authfile.display().to_string();
    // docker only warns of a file that it cannot read, and is refused by the registry without a word of that.
    let parsed: serde_json::Value = archive::parse(&file, &bytes)?;
    if !parsed.is_object() {
        return Err(ImageError::Manifest { file, problem: "registry credentials must be a JSON object" });
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)))
        .map_err(ImageError::io("make the directory", directory))?;
    let path = directory.join("config.json");
    atomic::write(&path, &bytes, 0o600, Durability::Process).map_err(ImageError::io("write", &path))
}

/// Removes what [`provide`] has put into `directory`, if it has.
pub fn withdraw(directory: &Path) -> Result<(), ImageError> {
    let path = directory.join("config.json");
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ImageError::io("remove", &path)(e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Credentials for the pulls of one process, gone with this value.
#[derive(Debug)]
pub struct OfPull {
    /// The directory that docker is given.
    pub directory: PathBuf,
}

impl OfPull {
    /// Makes a directory of our own below `directory`; what processes left there that are no more is removed.
    pub fn new(directory: &Path, authfile: &Path) -> Result<Self, ImageError> {
        for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|n| n.strip_prefix(OF_PULL)).and_then(|n| n.parse().ok());
            if pid.is_some_and(|pid| !process::is_running(pid)) {
                // It is tried again by the next.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = Self { directory: directory.join(format!("{OF_PULL}{}", std::process::id())) };
        provide(&own.directory, authfile)?;
        Ok(own)
    }
}

impl Drop for OfPull {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next pull with credentials.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::*;

    #[test]
    fn only_root_reads_them_and_nothing_is_left_of_a_pull() {
        let scratch = Scratch::new("credentials");
        let text = br#"{"auths":{"r.example":{"auth":"c2VjcmV0"}}}"#;
        let authfile = scratch.write("auth.json", text);
        let directory = scratch.0.join("docker");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        provide(&directory, &authfile).unwrap();
        let file = directory.join("config.json");
        assert_eq!((mode(&directory), mode(&file), fs::read(&file).unwrap()), (0o700, 0o600, text.to_vec()));
        // A pid above the highest that there can be.
        let dead = directory.join("pull-4194999");
        provide(&dead, &authfile).unwrap();
        let own = OfPull::new(&directory, &authfile).unwrap();
        assert!(!dead.exists());
        assert_eq!(fs::read(own.directory.join("config.json")).unwrap(), text);
        let path = own.directory.clone();
        drop(own);
        assert!(!path.exists() && file.exists());
        withdraw(&directory).unwrap();
        withdraw(&directory).unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn what_are_no_credentials_is_told_without_showing_them() {
        let scratch = Scratch::new("credentials-bad");
        for (text, part) in [("{\"auths\": secret", "line 1"), ("[\"secret\"]", "JSON object")] {
            let authfile = scratch.write("auth.json", text.as_bytes());
            let error = provide(&scratch.0.join("docker"), &authfile).unwrap_err().to_string();
            assert!(error.contains("auth.json") && error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(provide(&scratch.0.join("docker"), &scratch.0.join("missing")).is_err());
        assert!(!scratch.0.join("docker/config.json").exists());
    }
}
