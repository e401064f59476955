//! `lifecycle`, `restartPolicy` and `restartPolicyRules` of one container.

use super::escape::quoted;
use super::findings::{Findings, nearest};
use super::node::Value;
use super::probes;
use super::references::required;
use super::spot::Spot;
use crate::pod::{Hook, Lifecycle, Port, ProbeAction, RestartAction, RestartPolicy, RestartRule};

/// More rules than this are refused, as by the API.
const RULES_MAX: usize = 20;
/// So are more exit codes in one rule.
const CODES_MAX: usize = 255;

/// signal(7): the numbers that all of Linux' main architectures share, and the synonyms Kubernetes knows.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGIOT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGSTKFLT", 16),
    ("SIGCHLD", 17),
    ("SIGCLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPOLL", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
    ("SIGRTMIN", RTMIN),
    ("SIGRTMAX", RTMAX),
];

/// The first real-time signal that the C libraries leave to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of a signal's name.
fn signal(name: &str) -> Option<i32> {
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let digits =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok()).flatten();
    if let Some(up) = name.strip_prefix("SIGRTMIN+") {
        return digits(up).filter(|n| (1..=15).contains(n)).map(|n| RTMIN + n);
    }
    let down = name.strip_prefix("SIGRTMAX-")?;
    digits(down).filter(|n| (1..=14).contains(n)).map(|n| RTMAX - n)
}

/// Reads `lifecycle`. `grace` bounds the time a hook may sleep.
pub(super) fn read(
    item: &Spot<'_>,
    ports: &[Port],
    grace: Option<u32>,
    findings: &mut Findings,
) -> Lifecycle {
    let Some(spot) = item.get("lifecycle") else { return Lifecycle::default() };
    let mut hook = |name: &str| spot.get(name).and_then(|hook| self::hook(&hook, ports, grace, findings));
    let (post_start, pre_stop) = (hook("postStart"), hook("preStop"));
    let stop_signal = spot.get("stopSignal").and_then(|name| {
        let text = name.filled(findings)?;
        let number = signal(text);
        if number.is_none() {
            let finding = name.error(findings, format!("{} is no signal", quoted(text)));
            let full = format!("SIG{}", text.to_ascii_uppercase().trim_start_matches("SIG"));
            if signal(&full).is_some() {
                finding.help(format!("did you mean {full}?"));
            } else if let Some(near) = nearest(text, SIGNALS.iter().map(|(name, _)| *name)) {
                finding.help(format!("did you mean {near}?"));
            }
        }
        number
    });
    Lifecycle { post_start, pre_stop, stop_signal }
}

fn hook(spot: &Spot<'_>, ports: &[Port], grace: Option<u32>, findings: &mut Findings) -> Option<Hook> {
    let Value::Map(_) = spot.node.value else { return None };
    let mut given = ["exec", "httpGet", "sleep", "tcpSocket"]
        .into_iter()
        .filter_map(|name| Some((name, spot.get(name)?)));
    let Some((name, action)) = given.next() else {
        spot.error(findings, "does nothing").help("add exec, httpGet or sleep");
        return None;
    };
    if let Some((second, other)) = given.next() {
        other.error(findings, format!("a hook does one thing, and this one has {name} and {second}"));
        return None;
    }
    match name {
        "exec" => Some(Hook::Call(ProbeAction::Exec { command: probes::command(&action, findings)? })),
        "httpGet" => probes::http_get(&action, ports, findings).map(Hook::Call),
        "sleep" => {
            let seconds = required(&action, "seconds", findings)?;
            let most = grace.unwrap_or(u32::MAX >> 1);
            let value =
                seconds.int(findings, 0, i64::from(u32::MAX >> 1)).and_then(|v| u32::try_from(v).ok())?;
            if value > most {
                let message = format!("is longer than terminationGracePeriodSeconds ({most})");
                seconds.error(findings, message);
            }
            Some(Hook::Sleep(value))
        }
        // Refused by the table of fields.
        _ => None,
    }
}

/// A container's own restart policy and its rules.
#[derive(Debug, Default)]
pub(super) struct Restart {
    pub policy: Option<RestartPolicy>,
    pub rules: Vec<RestartRule>,
}

/// Reads `restartPolicy` and `restartPolicyRules`.
pub(super) fn restart(item: &Spot<'_>, findings: &mut Findings) -> Restart {
    let policy = item.get("restartPolicy").and_then(|s| s.choice(findings, super::spec::RESTART_POLICIES));
    let Some(spot) = item.get("restartPolicyRules") else { return Restart { policy, rules: Vec::new() } };
    let count = spot.items().count();
    if count > 0 && item.get("restartPolicy").is_none() {
        spot.error(findings, "needs a restartPolicy of the container, for exits that no rule fits");
    }
    if count > RULES_MAX {
        spot.error(findings, format!("has {count} rules, and at most {RULES_MAX} are allowed"));
    }
    let maps = spot.items().filter(|i| matches!(i.node.value, Value::Map(_)));
    Restart { policy, rules: maps.filter_map(|item| rule(&item, findings)).collect() }
}

fn rule(item: &Spot<'_>, findings: &mut Findings) -> Option<RestartRule> {
    let action = required(item, "action", findings).and_then(|s| {
        s.choice(
            findings,
            &[
                ("Restart", RestartAction::Restart),
                ("RestartAllContainers", RestartAction::RestartAllContainers),
            ],
        )
    });
    let codes = required(item, "exitCodes", findings)?;
    let Value::Map(_) = codes.node.value else { return None };
    let not_in = required(&codes, "operator", findings)
        .and_then(|s| s.choice(findings, &[("In", false), ("NotIn", true)]));
    let values: Vec<Spot<'_>> = codes.list("values").collect();
    if let Some(list) = codes.get("values")
        && values.len() > CODES_MAX
    {
        let message = format!("has {} exit codes, and at most {CODES_MAX} are allowed", values.len());
        list.error(findings, message);
        return None;
    }
    let exit_codes =
        values.iter().filter_map(|v| v.int(findings, 0, 255).and_then(|v| i32::try_from(v).ok())).collect();
    Some(RestartRule { action: action?, not_in: not_in?, exit_codes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_signals() {
        for (name, number) in [
            ("SIGTERM", Some(15)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX-1", Some(63)),
        ] {
            assert_eq!(signal(name), number, "{name}");
        }
        for name in
            ["", "TERM", "SIGRTMIN+", "SIGRTMIN+16", "SIGRTMIN++1", "SIGRTMIN+-1", "SIGRTMAX-15", "15"]
        {
            assert_eq!(signal(name), None, "{name}");
        }
    }
}
