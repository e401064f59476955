//! What `--config` names: a file of ours or a KubeletConfiguration, down to the settings that follow from it.

use std::fs;

use argh::FromArgs;
use podstrap::cli::args::{Top, Verb};
use podstrap::cli::config_file;
use podstrap::config::RunConfig;

use super::scratch;

pub fn run(data: &[u8]) {
    let directory = scratch("config");
    let path = directory.join("config.yaml");
    fs::write(&path, data).expect("a file");
    let path = path.to_str().expect("a path of ours").to_owned();
    let typed = ["run", "--config", &path, "--run-dir", "/typed"].map(str::to_owned).to_vec();
    let Ok((words, lines)) = config_file::with_file(typed.clone()) else { return };
    assert!(words.starts_with(&typed) && lines.len() <= 1);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Ok(Top { verb }) = Top::from_args(&["podstrap"], &words) else { return };
    // No value of the file is a verb or an option of its own, and what was typed counts more than the file.
    let Verb::Run(args) = verb else { panic!("{words:?} is {verb:?}") };
    if let Ok(config) = RunConfig::from_args(args) {
        assert_eq!(config.roots.run.as_os_str(), "/typed");
        assert!(config.has_sources() && config.manifest_dirs.iter().all(|dir| dir.is_absolute()));
    }
}
