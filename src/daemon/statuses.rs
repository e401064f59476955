//! Container statuses as `v1.ContainerStatus` has them.

use super::stuck;
use crate::core::container::{ContainerState, Phase, Role};
use crate::core::life::{Life, Opened};
use crate::core::run::Past;
use crate::core::{Ending, GIVEN_UP, HOOK_FAILED};
use crate::log::rfc3339;
use crate::paths::container_id;
use crate::pod::{Container, Pod};
use crate::report::{self, ContainerStatus, Running, Terminated, Waiting};

/// The statuses of a life's containers.
#[derive(Debug, Default)]
pub struct Statuses {
    /// `initContainerStatuses`, sidecars among them.
    pub init: Vec<ContainerStatus>,
    /// `containerStatuses`.
    pub main: Vec<ContainerStatus>,
}

impl Statuses {
    /// Of a life.
    pub fn of(life: &Life) -> Self {
        let mut init: Vec<ContainerStatus> = life
            .each()
            .enumerate()
            .map(|(place, (container, state))| {
                container_status(life, Role::of(&life.pod, place), container, state)
            })
            .collect();
        let main = init.split_off(life.pod.init_containers.len().min(init.len()));
        Self { init, main }
    }

    /// Of a Pod without a life, which waits for that.
    pub fn waiting(pod: &Pod, reason: &str, message: &str) -> Self {
        let of = |container: &Container| ContainerStatus {
            name: container.name.to_string(),
            ready: false,
            started: Some(false),
            restart_count: 0,
            image: container.image.given.clone(),
            image_id: String::new(),
            container_id: None,
            state: report::ContainerState {
                waiting: Some(Waiting { reason: reason.to_owned(), message: Some(message.to_owned()) }),
                ..Default::default()
            },
            last_state: report::ContainerState::default(),
        };
        Self {
            init: pod.init_containers.iter().map(of).collect(),
            main: pod.containers.iter().map(of).collect(),
        }
    }

    /// All, in the order of [`Life::each`].
    pub fn all(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.init.iter().chain(&self.main)
    }
}

fn container_status(
    life: &Life,
    role: Role,
    container: &Container,
    state: &ContainerState,
) -> ContainerStatus {
    let name_of = |attempt: u32, of_docker: Option<&String>| match of_docker {
        Some(id) => format!("docker://{id}"),
        None => format!("runc://{}", container_id(&life.pod.generation, &container.name, attempt)),
    };
    // What could not even be made is no former life.
    let last = state.last.as_ref().filter(|p| was_made(p)).map(|p| terminated(p, &name_of));
    let mut status = ContainerStatus {
        name: container.name.to_string(),
        // An init container is ready when it has done its work.
        ready: if role == Role::Init { state.has_succeeded() } else { state.is_ready() },
        started: Some(state.is_started()),
        restart_count: state.restart_count(),
        image: container.image.given.clone(),
        image_id: state.last.as_ref().and_then(|p| p.image_id.clone()).unwrap_or_default(),
        container_id: state
            .last
            .as_ref()
            .filter(|p| p.started.is_some())
            .map(|p| name_of(p.attempt, p.container.as_ref())),
        state: report::ContainerState::default(),
        last_state: report::ContainerState::default(),
    };
    let mut last_is_state = false;
    match &state.phase {
        Phase::Waiting { .. } | Phase::Backoff { .. } if state.kept_by().is_some() => {
            let message = state.kept_by().map(stuck::of_run);
            status.state.waiting = Some(Waiting { reason: "KillContainerError".to_owned(), message });
        }
        Phase::Waiting { missing } => {
            status.state.waiting = Some(match missing {
                Some(m) => Waiting { reason: m.reason.to_owned(), message: Some(m.message.clone()) },
                None => Waiting { reason: creating(life, role).to_owned(), message: open_error(life) },
            });
        }
        Phase::Backoff { .. } => status.state.waiting = Some(backoff_waiting(state)),
        Phase::Starting { overdue: true, .. } => {
            let (reason, message) = ("CreateContainerError".to_owned(), Some(GIVEN_UP.to_owned()));
            status.state.waiting = Some(Waiting { reason, message });
        }
        Phase::Starting { overdue: false, .. } => {
            status.state.waiting = Some(Waiting { reason: creating(life, role).to_owned(), message: None });
        }
        Phase::Running(run) if !run.is_up() => {
            status.state.waiting = Some(Waiting {
                reason: creating(life, role).to_owned(),
                message: Some("its postStart hook runs".to_owned()),
            });
            status.image_id = run.image_id.clone().unwrap_or_default();
            status.container_id = Some(name_of(run.attempt, run.container.as_ref()));
        }
        Phase::Running(run) => {
            status.state.running = Some(Running { started_at: rfc3339(run.at.unix_ms) });
            status.image_id = run.image_id.clone().unwrap_or_default();
            status.container_id = Some(name_of(run.attempt, run.container.as_ref()));
        }
        Phase::Done => match &last {
            Some(last) => {
                status.state.terminated = Some(last.clone());
                last_is_state = true;
            }
            None => {
                status.state.waiting =
                    Some(Waiting { reason: creating(life, role).to_owned(), message: None });
            }
        },
    }
    let previous = state.previous.as_ref().filter(|p| was_made(p)).map(|p| terminated(p, &name_of));
    status.last_state.terminated = if last_is_state { previous } else { last };
    status
}

fn backoff_waiting(state: &ContainerState) -> Waiting {
    if let Some(error) =
        state.last.as_ref().and_then(|p| p.stopped.as_deref()).filter(|s| s.starts_with(HOOK_FAILED))
    {
        return Waiting { reason: "PostStartHookError".to_owned(), message: Some(error.to_owned()) };
    }
    match state.last.as_ref().map(|p| &p.ending) {
        // A volume that cannot be mounted is tried again; the kubelet's word for the wait is this.
        Some(Ending::NotCreated { reason, message }) if reason == "FailedMount" => {
            Waiting { reason: "ContainerCreating".to_owned(), message: Some(message.clone()) }
        }
        Some(Ending::NotCreated { reason, message }) => {
            Waiting { reason: reason.clone(), message: Some(message.clone()) }
        }
        Some(ending) => Waiting {
            reason: "CrashLoopBackOff".to_owned(),
            message: Some(match ending.message() {
                Some(message) => message.to_owned(),
                None => format!("last run: {}", describe(ending)),
            }),
        },
        None => Waiting { reason: "ContainerCreating".to_owned(), message: None },
    }
}

/// Whether a run was made at all.
pub fn was_made(past: &Past) -> bool {
    !matches!(past.ending, Ending::NotCreated { .. })
}

fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Exited { code } => format!("exit code {code}"),
        Ending::Signaled { signal, oom: false } => format!("killed by signal {signal}"),
        Ending::Signaled { oom: true, .. } => "killed for want of memory (OOMKilled)".to_owned(),
        Ending::NotCreated { reason, .. } | Ending::NotStarted { reason, .. } => reason.clone(),
        Ending::Lost => "lost".to_owned(),
    }
}

fn terminated(past: &Past, name_of: &impl Fn(u32, Option<&String>) -> String) -> Terminated {
    let signal = match past.ending {
        Ending::Signaled { signal, .. } => Some(signal),
        Ending::Exited { .. } | Ending::NotCreated { .. } | Ending::NotStarted { .. } | Ending::Lost => None,
    };
    Terminated {
        exit_code: past.ending.exit_code(),
        signal,
        reason: past.ending.reason().to_owned(),
        message: past
            .message
            .clone()
            .or_else(|| past.ending.message().map(str::to_owned))
            .or_else(|| past.stopped.clone()),
        started_at: past.started.map(|s| rfc3339(s.unix_ms)),
        finished_at: Some(rfc3339(past.finished.unix_ms)),
        container_id: past.started.map(|_| name_of(past.attempt, past.container.as_ref())),
    }
}

/// Kubernetes' word for a container whose turn has not come.
fn creating(life: &Life, role: Role) -> &'static str {
    if role == Role::Main && !life.initialized { "PodInitializing" } else { "ContainerCreating" }
}

fn open_error(life: &Life) -> Option<String> {
    match &life.opened {
        Opened::Failed { message, .. } => Some(message.clone()),
        Opened::No | Opened::Asked | Opened::Yes => None,
    }
}
