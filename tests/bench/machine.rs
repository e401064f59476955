//! On what was measured, and when.

use std::fs;
use std::process::{Command, Stdio};

use podstrap::log::rfc3339;
use podstrap::sys::clock;
use serde_json::{Value, json};

use crate::common::host::find;
use crate::common::podstrap;

/// Everything that the numbers depend on.
pub fn describe() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.starts_with(key)).unwrap_or_default();
        line.split_once([':', '=']).map(|(_, v)| v.trim().trim_matches('"').to_owned()).unwrap_or_default()
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kilobytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    json!({
        "date": rfc3339(clock::unix_ms()),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "memoryBytes": kilobytes * 1024,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "system": field(&read("/etc/os-release"), "PRETTY_NAME"),
        "loadBefore": read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        "versions": {
            "podstrap": env!("CARGO_PKG_VERSION"),
            "runc": version("runc"),
            "docker": version("dockerd"),
            "podman": version("podman"),
            "conmon": version("conmon"),
            "docker-compose": version("docker-compose"),
        },
    })
}

/// The first line of what a program says of its version; null where there is no such program.
fn version(program: &str) -> Value {
    let Some(path) = find(program) else { return Value::Null };
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    json!(text.lines().next().unwrap_or_default())
}

/// One paragraph for people.
pub fn sentence(machine: &Value) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or_default().to_owned();
    let versions = machine["versions"].as_object().into_iter().flatten();
    let versions: Vec<&str> =
        versions.filter_map(|(name, v)| v.as_str().filter(|_| name != "podstrap")).collect();
    format!(
        "{}; {} × {}, {} MiB; {}, Linux {}; load before {}; podstrap {}; {}",
        text("date"),
        machine["processors"],
        text("processor"),
        machine["memoryBytes"].as_u64().unwrap_or_default() >> 20,
        text("system"),
        text("kernel"),
        text("loadBefore"),
        machine["versions"]["podstrap"].as_str().unwrap_or_default(),
        versions.join("; "),
    )
}

/// The size of the program, in bytes.
pub fn program_size() -> f64 {
    fs::metadata(podstrap()).map(|m| m.len() as f64).unwrap_or_default()
}
