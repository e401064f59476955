//! One line for each thing that happens in a history.

use crate::core::*;

pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Desired { pods, complete } => {
            let pods: Vec<&str> = pods.values().map(|p| p.generation.as_str()).collect();
            format!("> wanted: {pods:?}{}", if *complete { "" } else { ", and maybe more" })
        }
        Event::Refused(documents) => format!("> refused: {documents:?}"),
        Event::Found(found) => {
            let runs: Vec<String> = found
                .runs
                .iter()
                .map(|r| {
                    let state = match (&r.ended, r.started) {
                        (Some((ending, at)), _) => format!("{ending:?} at {}", at.boot.0),
                        (None, Some(at)) => format!("runs since {}", at.boot.0),
                        (None, None) => "begins".to_owned(),
                    };
                    format!("{} {state}{}", r.run, if r.monitored { "" } else { ", without monitor" })
                })
                .collect();
            format!("> found: {} {runs:?}, saved: {:?}", found.pod.generation, found.saved)
        }
        Event::Images { index, .. } => format!("> images: {:?}", index.keys().collect::<Vec<_>>()),
        other => format!("> {other:?}"),
    }
}

pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Open { pod } => format!("  < open {}", pod.generation),
        Action::Start { run, .. } => format!("  < start {run}"),
        Action::Term { run, why, .. } => format!("  < TERM {run}: {why}"),
        Action::Kill { run, .. } => format!("  < KILL {run}"),
        Action::GiveUp { run, .. } => format!("  < give up {run}"),
        Action::Sweep { run } => format!("  < sweep {run}"),
        Action::Probe { run, kind, .. } => format!("  < {} probe {run}", kind.as_str()),
        Action::Hook { run, kind, .. } => format!("  < {} hook {run}", kind.as_str()),
        Action::Pull { reference } => format!("  < pull {reference}"),
        Action::Remove { pod } => format!("  < remove {}", pod.generation),
    }
}
