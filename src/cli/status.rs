//! `podstrap status`: the table of Pods, and below it everything that is not well, with its cause.

mod sets;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::{Value, json};

use self::sets::{groups, set_explanation, set_row};
use super::args::StatusArgs;
use super::changes::Changes;
use super::error::{Error, Exit};
use super::published::{Published, roots_of};
use super::table::{Cell, Colour, Mood, render};
use super::values::{Format, PodArg};
use super::view::{View, age, label, name_column, namespace, problems, unix_ms};
use crate::helper::text::{escape, escape_lines};
use crate::report::{ManifestState, PodStatusFile};
use crate::sys::clock;

/// A killed daemon and the passing of time change no file.
const RECHECK_MS: u64 = 2000;

/// Shows the Pods. Without a daemon, what is known is shown and said to be old; nothing at all is exit code 6.
pub fn run(args: &StatusArgs) -> Result<Exit, Error> {
    if args.watch {
        return watch(args);
    }
    let published = Published::read(&args.run_dir)?;
    let chosen = choose(&published, &args.pods)?;
    let text = match args.output {
        Format::Table | Format::Wide => {
            text(&published, &chosen, args, Colour::of_stdout(), clock::unix_ms())
        }
        Format::Json | Format::Yaml => {
            encode(&document(&published, &chosen, args.pods.len() == 1), args.output)?
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(Error::Output)?;
    note(&published, &chosen);
    let nothing = published.alive.is_none() && published.daemon.is_none() && published.entries.is_empty();
    Ok(if nothing { Exit::NoDaemon } else { Exit::Done })
}

/// What a reader must know about the whole, on standard error so that it disturbs no parser.
fn note(published: &Published, chosen: &[&PodStatusFile]) {
    let mut err = io::stderr();
    for line in &published.unreadable {
        let _ = writeln!(err, "podstrap: {line}");
    }
    let _ = match (published.alive, chosen.is_empty() && published.daemon.is_none()) {
        (Some(_), _) if chosen.is_empty() && published.daemon.as_ref().is_none_or(|d| d.sets.is_empty()) => {
            writeln!(err, "podstrap: no Pods")
        }
        (Some(_), _) => Ok(()),
        (None, true) => {
            writeln!(
                err,
                "podstrap: the daemon is not running, and has left nothing in {}",
                run_of(published)
            )
        }
        (None, false) => {
            writeln!(err, "podstrap: the daemon is not running; this is what it last published")
        }
    };
}

fn run_of(published: &Published) -> String {
    escape(&published.run.to_string_lossy())
}

/// The entries that were asked for; all when none was.
fn choose<'a>(published: &'a Published, pods: &[PodArg]) -> Result<Vec<&'a PodStatusFile>, Error> {
    if pods.is_empty() {
        return Ok(published.entries.iter().collect());
    }
    let mut chosen: Vec<&PodStatusFile> = Vec::new();
    for pod in pods {
        let found = published.find(pod)?;
        if found.is_empty() && published.set(pod)?.is_none() {
            return Err(match published.alive {
                None if published.entries.is_empty() => Error::NoDaemon { run: published.run.clone() },
                _ => published.no_such_pod(pod),
            });
        }
        chosen.extend(found);
    }
    let mut once: Vec<&PodStatusFile> = Vec::new();
    for entry in chosen {
        if !once.iter().any(|e| std::ptr::eq(*e, entry)) {
            once.push(entry);
        }
    }
    Ok(once)
}

/// The table and what stands below it.
fn text(
    published: &Published,
    chosen: &[&PodStatusFile],
    args: &StatusArgs,
    colour: Colour,
    now_ms: i64,
) -> String {
    let wide = args.output == Format::Wide;
    let mut lines = Vec::new();
    let has_sets = groups(published, chosen, &args.pods).iter().any(|g| g.set.is_some());
    if !chosen.is_empty() || has_sets {
        let mut rows = vec![header(wide)];
        for group in groups(published, chosen, &args.pods) {
            rows.extend(group.set.map(|set| set_row(set, wide)));
            rows.extend(group.pods.iter().map(|e| {
                let mut row = row(e, wide, now_ms);
                if let (Some(_), Some(name)) = (group.set, row.get_mut(1)) {
                    name.text.insert_str(0, "  ");
                }
                row
            }));
        }
        lines.extend(render(&rows, colour));
    }
    let mut below = Vec::new();
    for set in groups(published, chosen, &args.pods).into_iter().filter_map(|g| g.set) {
        below.extend(set_explanation(set, colour));
    }
    for entry in chosen {
        below.extend(explanation(entry, mirror_error(published, entry), colour));
    }
    if args.pods.is_empty() {
        below.extend(about_sources(published, wide));
    }
    if !below.is_empty() && !lines.is_empty() {
        lines.push(String::new());
    }
    lines.extend(below);
    lines.iter().map(|l| format!("{l}\n")).collect()
}

fn header(wide: bool) -> Vec<Cell> {
    let mut names = vec!["NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE"];
    if wide {
        names.extend(["NODE", "UID", "FILE", "MESSAGE"]);
    }
    names.into_iter().map(Cell::from).collect()
}

fn row(entry: &PodStatusFile, wide: bool, now_ms: i64) -> Vec<Cell> {
    let view = View::of(entry);
    let restarts = match (view.restarts(), view.last_restart_ms()) {
        (0, _) => "0".to_owned(),
        (n, Some(at)) => format!("{n} ({} ago)", age(now_ms.saturating_sub(at))),
        (n, None) => n.to_string(),
    };
    let created = entry.created_at.as_deref().and_then(unix_ms);
    let mut row: Vec<Cell> = vec![
        namespace(entry).into(),
        name_column(entry).into(),
        view.ready_column().into(),
        Cell { text: escape(&entry.summary), mood: mood(entry, &view) },
        if entry.generation.is_some() { restarts } else { "-".to_owned() }.into(),
        created.map_or_else(|| "-".to_owned(), |at| age(now_ms.saturating_sub(at))).into(),
    ];
    if wide {
        let node = entry.pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or("-");
        row.push(escape(node).into());
        row.push(entry.uid.as_ref().map_or("-", |u| u.as_str()).into());
        row.push(escape(&entry.origin.to_string()).into());
        let message =
            entry.message.as_deref().or_else(|| problems(&entry.manifest).first().map(String::as_str));
        row.push(message.and_then(|m| m.lines().next()).map_or_else(|| "-".to_owned(), escape).into());
    }
    row
}

fn mood(entry: &PodStatusFile, view: &View) -> Mood {
    match (&entry.manifest, entry.summary.as_str()) {
        (ManifestState::Refused { .. }, _) => Mood::Bad,
        (_, "Running") if view.ready => Mood::Good,
        (_, "Completed" | "Succeeded") => Mood::Good,
        (_, word)
            if word.contains("Err")
                || word.contains("BackOff")
                || word == "Failed"
                || word == "OOMKilled"
                || word == "DependencyCycle" =>
        {
            Mood::Bad
        }
        _ => Mood::Fair,
    }
}

/// What there is to say about an entry that is not well; nothing for one that is.
fn explanation(entry: &PodStatusFile, mirror: Option<&str>, colour: Colour) -> Vec<String> {
    let mut said = Vec::new();
    // That of a refused document is the first of its problems, which follow in full.
    if let Some(message) = entry.message.as_ref().filter(|m| problems(&entry.manifest).first() != Some(m)) {
        said.extend(escape_lines(message).lines().map(|l| format!("  {l}")));
    }
    match &entry.manifest {
        ManifestState::Current { warnings } => {
            for warning in warnings {
                said.extend(indented("warning: ", warning));
            }
        }
        ManifestState::Replacing { waits_for } => {
            let reason = waits_for.as_deref().unwrap_or("the old one is being stopped");
            said.push(format!("  being replaced: {}", escape(reason)));
        }
        ManifestState::Kept { problems } => {
            said.push("  its manifest was changed and refused; the last good one goes on:".into());
            problems.iter().for_each(|p| said.extend(indented("", p)));
        }
        ManifestState::Refused { problems } => problems.iter().for_each(|p| said.extend(indented("", p))),
        ManifestState::Removed => {}
        ManifestState::Held => {
            said.push("  stopped by `podstrap down`; a change of its manifest starts it again".into());
        }
    }
    if let Some(why) = mirror {
        said.push(format!("  mirror Pod: {}", escape(why)));
    }
    if !said.is_empty() {
        let status = Cell { text: escape(&entry.summary), mood: mood(entry, &View::of(entry)) };
        said.insert(0, format!("{}: {}", label(entry), status.painted(colour)));
    }
    said
}

/// What the API server refuses of a Pod's mirror.
fn mirror_error<'p>(published: &'p Published, entry: &PodStatusFile) -> Option<&'p str> {
    let (namespace, name) = (entry.namespace.as_ref()?, entry.name.as_ref()?);
    entry.generation.as_ref()?;
    published.mirror.as_ref()?.pods.get(&format!("{namespace}/{name}")).map(String::as_str)
}

fn indented(prefix: &str, text: &str) -> Vec<String> {
    let text = escape_lines(text);
    let lines = text.lines().enumerate();
    lines.map(|(i, line)| if i == 0 { format!("  {prefix}{line}") } else { format!("  {line}") }).collect()
}

/// Sources that cannot be read, and what the daemon has to say about host and instance.
fn about_sources(published: &Published, wide: bool) -> Vec<String> {
    let Some(daemon) = &published.daemon else { return Vec::new() };
    let mut lines = Vec::new();
    for source in &daemon.sources {
        let path = escape(&source.path);
        if let Some(error) = &source.error {
            lines.push(format!("source {path}: {}", escape(error)));
        } else if !source.synced {
            lines.push(format!("source {path}: not read yet"));
        }
        if wide {
            lines.extend(source.ignored.iter().map(|i| format!("source {path}: ignored: {}", escape(i))));
        }
    }
    let mirror = published.mirror.iter().flat_map(|m| m.error.iter().chain(&m.lease));
    lines.extend(mirror.map(|why| format!("mirror Pods: {}", escape(why))));
    lines.extend(daemon.warnings.iter().map(|w| format!("warning: {}", escape(w))));
    lines
}

/// `v1.Pod` for one, else `v1.PodList`. What Kubernetes has no field for stands under `podstrap`.
fn document(published: &Published, chosen: &[&PodStatusFile], single: bool) -> Value {
    if single && let Some(entry) = chosen.iter().find(|e| e.generation.is_some()).or(chosen.first()) {
        return pod(published, entry);
    }
    let pods = chosen.iter().filter(|e| e.generation.is_some());
    let refused = chosen.iter().filter(|e| e.generation.is_none());
    json!({
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": {},
        "items": pods.map(|e| pod(published, e)).collect::<Vec<_>>(),
        "podstrap": {
            "running": published.alive.is_some(),
            "daemon": published.daemon,
            "mirror": published.mirror,
            "refused": refused.map(|e| pod(published, e)).collect::<Vec<_>>(),
        },
    })
}

fn pod(published: &Published, entry: &PodStatusFile) -> Value {
    let mut pod = match &entry.pod {
        Value::Object(fields) if !fields.is_empty() => entry.pod.clone(),
        _ => json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": entry.name, "namespace": entry.namespace },
        }),
    };
    if let Value::Object(fields) = &mut pod {
        let extension = json!({
            "summary": entry.summary,
            "message": entry.message,
            "generation": entry.generation,
            "origin": entry.origin,
            "manifest": entry.manifest,
            "mirror": mirror_error(published, entry),
        });
        fields.insert("podstrap".into(), extension);
    }
    pod
}

pub(super) fn encode(value: &Value, format: Format) -> Result<String, Error> {
    if format == Format::Yaml {
        return serde_yaml::to_string(value).map_err(|e| Error::Encode(e.to_string()));
    }
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::Encode(e.to_string()))?;
    text.push('\n');
    Ok(text)
}

/// Shows it again at every change: on a terminal in place, else the rows that have changed, as kubectl does.
fn watch(args: &StatusArgs) -> Result<Exit, Error> {
    let roots = roots_of(&args.run_dir);
    let mut changes = Changes::new()?;
    let on_terminal = io::stdout().is_terminal();
    let mut last = Vec::new();
    loop {
        let watched: [&Path; 2] = [&roots.status(), &roots.run];
        changes.watch(&watched);
        let published = Published::read(&args.run_dir)?;
        // A Pod that is named need not be there yet, or any more.
        let chosen = choose(&published, &args.pods).or_else(|e| match e {
            Error::NoSuchPod { .. } | Error::NoDaemon { .. } => Ok(Vec::new()),
            e => Err(e),
        })?;
        let now = clock::unix_ms();
        let mut out = io::stdout().lock();
        let result = match args.output {
            Format::Json | Format::Yaml => {
                let value = document(&published, &chosen, args.pods.len() == 1);
                let key = vec![(String::new(), value.to_string())];
                if key == last {
                    Ok(())
                } else {
                    last = key;
                    out.write_all(encode(&value, args.output)?.as_bytes())
                }
            }
            Format::Table | Format::Wide if on_terminal => {
                let text = text(&published, &chosen, args, Colour::of_stdout(), now);
                let state = if published.alive.is_some() { "" } else { "the daemon is not running\n\n" };
                write!(out, "\x1b[H\x1b[2J{state}{text}")
            }
            Format::Table | Format::Wide => print_changed(&mut out, &chosen, args.output, now, &mut last),
        };
        result.and_then(|()| out.flush()).map_err(Error::Output)?;
        drop(out);
        changes.wait(RECHECK_MS)?;
    }
}

/// Prints the rows whose content has changed since `last`, the passing of time apart; the header comes first.
fn print_changed(
    out: &mut impl Write,
    chosen: &[&PodStatusFile],
    format: Format,
    now_ms: i64,
    last: &mut Vec<(String, String)>,
) -> io::Result<()> {
    let wide = format == Format::Wide;
    let mut rows = Vec::new();
    if last.is_empty() && !chosen.is_empty() {
        rows.push(header(wide));
    }
    let mut seen = Vec::new();
    for entry in chosen {
        // At a fixed time, so that ages do not count as changes.
        let content = render(&[row(entry, wide, 0)], Colour::Off).concat();
        let key = (format!("{} {}", label(entry), entry.origin), content);
        if !last.contains(&key) {
            rows.push(row(entry, wide, now_ms));
        }
        seen.push(key);
    }
    if !seen.is_empty() {
        *last = seen;
    }
    for line in render(&rows, Colour::Off) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
