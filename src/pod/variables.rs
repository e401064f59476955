//! Environment variables that have to pass through a docker CLI: which of them it would take for its own settings, and
//! which values a file of variables can hold.

/// The longest line of a file of variables, in bytes: docker reads lines of at most 64 KiB.
const LONGEST: usize = 60 * 1024;

/// Whether a line `NAME=VALUE` of docker's `--env-file` says this and nothing else. What does not fit can only be handed
/// to the container through the CLI's own environment.
pub fn fits_line(name: &str, value: &str) -> bool {
    !name.starts_with('#')
        && !name.chars().any(char::is_whitespace)
        && !value.contains(['\n', '\r'])
        && name.len() + value.len() < LONGEST
}

/// Whether a docker CLI (docker's, podman's, nerdctl's), its language's run time or the dynamic loader would take this
/// variable for a setting of its own.
pub fn is_of_docker_cli(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "HOME",
        "PATH",
        "TMPDIR",
        "REGISTRY_AUTH_FILE",
        "NOTIFY_SOCKET",
        "GODEBUG",
        "GOGC",
        "GOMAXPROCS",
        "TERM",
    ];
    const PREFIXES: [&str; 14] = [
        "DOCKER_",
        "CONTAINER",
        "SSL_",
        "LD_",
        "XDG_",
        "GO",
        "BUILDKIT_",
        "NERDCTL_",
        "PODMAN_",
        "STORAGE_",
        "LISTEN_",
        "OTEL_",
        "MALLOC_",
        "DBUS_",
    ];
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&upper.as_str())
        || upper.ends_with("_PROXY")
        || PREFIXES.iter().any(|prefix| upper.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cli_reads_is_told_from_what_it_does_not() {
        for name in ["HOME", "PATH", "DOCKER_HOST", "https_proxy", "NO_PROXY", "SSL_CERT_FILE", "LD_PRELOAD"]
        {
            assert!(is_of_docker_cli(name), "{name}");
        }
        for name in ["GREETING", "PATHS", "MY_HOME", "PROXY", "HOSTNAME"] {
            assert!(!is_of_docker_cli(name), "{name}");
        }
    }

    #[test]
    fn a_line_holds_one_line_and_not_more_than_docker_reads() {
        assert!(
            fits_line("A", "") && fits_line("A", "b = \"c\"") && fits_line("A", &"x".repeat(60 << 10 >> 1))
        );
        assert!(!fits_line("A", "b\nc") && !fits_line("A", "b\r") && !fits_line("A", &"x".repeat(60 << 10)));
        assert!(!fits_line("#A", "b") && !fits_line("A B", "c"));
    }
}
