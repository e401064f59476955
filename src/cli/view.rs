//! One Pod as tables and messages show it, read out of its published `v1.Pod`.

use crate::helper::text::escape;
use crate::report::{ContainerStatus, ManifestState, PodStatusFile};

/// What tables and `wait` need to know of one entry.
#[derive(Clone, Debug)]
pub struct View {
    /// The init containers' statuses, sidecars not among them.
    pub init: Vec<ContainerStatus>,
    /// The other containers' statuses, sidecars first.
    pub containers: Vec<ContainerStatus>,
    /// How many containers the Pod has.
    pub total: usize,
    /// `status.phase`.
    pub phase: String,
    /// The condition `Ready`.
    pub ready: bool,
}

impl View {
    /// Reads the parts; what is missing counts as not ready.
    pub fn of(entry: &PodStatusFile) -> Self {
        let status = entry.pod.get("status");
        let list = |name: &str| -> Vec<ContainerStatus> {
            let list = status.and_then(|s| s.get(name)).cloned();
            list.and_then(|c| serde_json::from_value(c).ok()).unwrap_or_default()
        };
        let declared = |path: &str| entry.pod.pointer(path).and_then(|c| c.as_array());
        let is_sidecar = |c: &&serde_json::Value| c["restartPolicy"] == "Always";
        let sidecars: Vec<&str> = declared("/spec/initContainers")
            .into_iter()
            .flatten()
            .filter(is_sidecar)
            .filter_map(|c| c["name"].as_str())
            .collect();
        // A sidecar counts among those that run, as kubectl counts it.
        let (mut containers, init): (Vec<_>, Vec<_>) =
            list("initContainerStatuses").into_iter().partition(|c| sidecars.contains(&c.name.as_str()));
        containers.extend(list("containerStatuses"));
        let declared = declared("/spec/containers").map_or(0, Vec::len) + sidecars.len();
        let total = declared.max(containers.len());
        let condition = status.and_then(|s| s.get("conditions")).and_then(|c| c.as_array()).and_then(|all| {
            let ready = all.iter().find(|c| c.get("type").and_then(|t| t.as_str()) == Some("Ready"))?;
            Some(ready.get("status").and_then(|s| s.as_str()) == Some("True"))
        });
        let all_ready = total > 0 && containers.len() == total && containers.iter().all(|c| c.ready);
        Self {
            ready: condition.unwrap_or(all_ready),
            phase: status
                .and_then(|s| s.get("phase"))
                .and_then(|p| p.as_str())
                .unwrap_or_default()
                .to_owned(),
            init,
            containers,
            total,
        }
    }

    /// `1/2`, or `-` without containers.
    pub fn ready_column(&self) -> String {
        if self.total == 0 { "-".into() } else { format!("{}/{}", self.ready_count(), self.total) }
    }

    /// How many containers are ready.
    pub fn ready_count(&self) -> usize {
        self.containers.iter().filter(|c| c.ready).count()
    }

    /// Restarts of all containers together.
    pub fn restarts(&self) -> u64 {
        self.all().map(|c| u64::from(c.restart_count)).sum()
    }

    /// When a container last ended before it was started again: Unix milliseconds.
    pub fn last_restart_ms(&self) -> Option<i64> {
        let ended = |c: &ContainerStatus| unix_ms(c.last_state.terminated.as_ref()?.finished_at.as_deref()?);
        self.all().filter_map(ended).max()
    }

    /// The first container that keeps the Pod from being ready.
    pub fn culprit(&self) -> Option<&ContainerStatus> {
        self.all().find(|c| !c.ready)
    }

    /// Every container, init containers first.
    pub fn all(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.init.iter().chain(&self.containers)
    }
}

/// Milliseconds of an RFC 3339 time.
pub fn unix_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(|t| t.as_millisecond())
}

/// `namespace/name`, or the file's name in parentheses where a refused document told neither.
pub fn label(entry: &PodStatusFile) -> String {
    match &entry.name {
        Some(name) => format!("{}/{}", namespace(entry), escape(name.as_str())),
        None => name_column(entry),
    }
}

/// The namespace, `default` where the document did not tell.
pub fn namespace(entry: &PodStatusFile) -> String {
    entry.namespace.as_ref().map_or_else(|| "default".to_owned(), |n| escape(n.as_str()))
}

/// The name, or the file's name in parentheses.
pub fn name_column(entry: &PodStatusFile) -> String {
    if let Some(name) = &entry.name {
        return escape(name.as_str());
    }
    let file = entry.origin.path.rsplit('/').next().unwrap_or_default();
    let document = entry.origin.document;
    if document > 1 { format!("({}#{document})", escape(file)) } else { format!("({})", escape(file)) }
}

/// Every problem of its manifest; empty when there is none.
pub fn problems(manifest: &ManifestState) -> &[String] {
    match manifest {
        ManifestState::Kept { problems } | ManifestState::Refused { problems } => problems,
        ManifestState::Current { .. }
        | ManifestState::Replacing { .. }
        | ManifestState::Removed
        | ManifestState::Held => &[],
    }
}

/// What a container does, in a few words: `CrashLoopBackOff: back-off 4s`, `running, not ready`, `exit code 1 (Error)`.
pub fn state_of(container: &ContainerStatus) -> String {
    let state = &container.state;
    if let Some(waiting) = &state.waiting {
        return match &waiting.message {
            Some(message) => format!("{}: {message}", waiting.reason),
            None => waiting.reason.clone(),
        };
    }
    if let Some(ended) = &state.terminated {
        let how = match ended.signal {
            Some(signal) => format!("killed by signal {signal}"),
            None => format!("exit code {}", ended.exit_code),
        };
        return match &ended.message {
            Some(message) => format!("{how} ({}): {message}", ended.reason),
            None => format!("{how} ({})", ended.reason),
        };
    }
    match (&state.running, container.ready) {
        (Some(_), true) => "running".into(),
        (Some(_), false) => "running, not ready".into(),
        (None, _) => "not started".into(),
    }
}

/// A length of time as kubectl shows it (`HumanDuration` of k8s.io/apimachinery): `5s`, `2m3s`, `3h`, `2d`.
pub fn age(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1000);
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |a: i64, a_unit: &str, b: i64, b_unit: &str| {
        if b == 0 { format!("{a}{a_unit}") } else { format!("{a}{a_unit}{b}{b_unit}") }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        two(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600 + 60, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86_400 + 3600, "8d"),
            (729 * 86_400, "729d"),
            (731 * 86_400, "2y1d"),
            (9 * 365 * 86_400, "9y"),
        ] {
            assert_eq!(age(seconds * 1000), text, "{seconds}");
        }
    }
}
