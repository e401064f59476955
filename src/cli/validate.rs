//! `podstrap validate FILE|DIR…`: reads manifests as the daemon would and tells everything that is wrong with them.
//!
//! Nothing is run and nothing is changed. Problems go to standard error in full, one summary line per document to
//! standard output; `-o json` puts all of it on standard output.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::manifest::escape::escape;
use crate::manifest::{self, Accepted, Context, Document, Limits, Problem, Runtime, Severity};
use crate::pod::depends::{DEPENDS_ON, circle, cycles};
use crate::pod::host_ports::HostPort;
use crate::pod::{Dependency, NodeName, Origin, PodKey};

/// All that was read is valid.
const VALID: u8 = 0;
/// Something could not be read.
const UNREADABLE: u8 = 1;
/// Something was refused.
const INVALID: u8 = 3;

/// Reads every path, as for that runtime (a file, a directory, or `-` for standard input) and prints what was found. The result is the exit
/// code: 0 all valid (perhaps with warnings), 1 a path could not be read, 3 a document was refused.
pub fn run(paths: &[PathBuf], node: &NodeName, limits: Limits, runtime: Runtime, json: bool) -> u8 {
    let report = Report::read(paths, Rules { node, limits, runtime });
    // Nobody to tell when standard output is closed; the exit code still says it.
    let _ = if json {
        report.print_json(&mut io::stdout().lock())
    } else {
        report.print_problems(&mut io::stderr().lock()).and(report.print_summary(&mut io::stdout().lock()))
    };
    report.exit_code()
}

/// What files are read by.
#[derive(Clone, Copy, Debug)]
struct Rules<'a> {
    node: &'a NodeName,
    limits: Limits,
    runtime: Runtime,
}

/// What was found at all paths.
#[derive(Debug, Default, Serialize)]
struct Report {
    files: Vec<FileReport>,
    /// Entries of directories that the daemon would pass over, with the reason.
    ignored: Vec<String>,
}

/// What was found in one file.
#[derive(Debug, Serialize)]
struct FileReport {
    path: String,
    /// Why the file or directory could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    documents: Vec<DocumentReport>,
}

#[derive(Debug, Serialize)]
struct DocumentReport {
    number: u32,
    line: u32,
    /// `Pod`, `DaemonSet`, `StatefulSet`, `ConfigMap` or `Secret`, if that and the name could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    #[serde(skip)]
    key: Option<PodKey>,
    /// On which Pods it depends, and a warning without words at the place that says so.
    #[serde(skip)]
    depends_on: Option<(Vec<Dependency>, Problem)>,
    #[serde(skip)]
    host_ports: Vec<HostPort>,
}

impl DocumentReport {
    fn new(document: Document) -> Self {
        let mut depends_on = None;
        let mut host_ports = Vec::new();
        let (generation, errors) = match document.outcome {
            Ok(Accepted::Pod { pod, .. }) => {
                depends_on = document.depends_on.map(|place| (pod.depends_on.clone(), place));
                host_ports.extend(pod.host_ports());
                (Some(pod.generation.to_string()), Vec::new())
            }
            Ok(Accepted::Object(_) | Accepted::Set(_) | Accepted::Nothing) => (None, Vec::new()),
            Err(errors) => (None, errors),
        };
        let named = document.key.clone();
        let of_set =
            document.set.map(|s| (Some(s.kind.as_str()), Some(s.namespace.to_string()), Some(s.name)));
        let (kind, namespace, name) = match (document.key, document.object) {
            (Some(key), _) => (Some("Pod"), Some(key.namespace.to_string()), Some(key.name.to_string())),
            (None, Some((namespace, object))) => {
                (Some(object.kind.as_str()), Some(namespace.to_string()), Some(object.name))
            }
            (None, None) => of_set.unwrap_or((None, None, None)),
        };
        Self {
            number: document.number,
            line: document.line,
            kind,
            namespace,
            name,
            valid: errors.is_empty(),
            generation,
            errors,
            warnings: document.warnings,
            key: named,
            depends_on,
            host_ports,
        }
    }
}

impl DocumentReport {
    /// `Pod default/web-host1`.
    fn title(&self) -> Option<String> {
        let (kind, namespace, name) = (self.kind?, self.namespace.as_ref()?, self.name.as_ref()?);
        Some(format!("{kind} {namespace}/{name}"))
    }
}

impl Report {
    fn read(paths: &[PathBuf], rules: Rules<'_>) -> Self {
        let mut report = Self::default();
        for path in paths {
            if path.as_os_str() == "-" {
                report.file("standard input", read_all(io::stdin().lock(), rules.limits), rules);
            } else if path.is_dir() {
                report.directory(path, rules);
            } else {
                report.file(&display(path), File::open(path).and_then(|f| read_all(f, rules.limits)), rules);
            }
        }
        report.find_duplicates();
        report.look_at_dependencies();
        report.look_at_ports();
        report
    }

    fn file(&mut self, path: &str, bytes: io::Result<Vec<u8>>, rules: Rules<'_>) {
        let (error, documents) = match bytes {
            Ok(bytes) => {
                let Rules { node, limits, runtime } = rules;
                let context = Context { node, path, limits, runtime };
                (None, manifest::read(&bytes, &context).into_iter().map(DocumentReport::new).collect())
            }
            Err(error) => (Some(format!("cannot be read: {error}")), Vec::new()),
        };
        self.files.push(FileReport { path: path.to_owned(), error, documents });
    }

    /// As the daemon reads it: `.yaml`, `.yml` and `.json`, no dotfiles, in the order of the names' bytes.
    fn directory(&mut self, path: &Path, rules: Rules<'_>) {
        let entries = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|e| e.path())).collect::<io::Result<Vec<PathBuf>>>()
        });
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                let error = Some(format!("cannot be read: {error}"));
                self.files.push(FileReport { path: display(path), error, documents: Vec::new() });
                return;
            }
        };
        entries.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        for entry in entries {
            let name = entry.file_name().unwrap_or_default();
            if name.as_bytes().starts_with(b".") {
                continue;
            }
            let known =
                entry.extension().is_some_and(|e| ["yaml", "yml", "json"].map(OsStr::new).contains(&e));
            match fs::metadata(&entry) {
                // A FIFO would wait for a writer for ever.
                Ok(found) if !found.is_file() => self.ignore(&entry, "not a regular file"),
                Ok(_) if !known => self.ignore(&entry, "the name does not end in .yaml, .yml or .json"),
                Ok(_) | Err(_) => self.file(
                    &display(&entry),
                    File::open(&entry).and_then(|f| read_all(f, rules.limits)),
                    rules,
                ),
            }
        }
    }

    fn ignore(&mut self, path: &Path, why: &str) {
        self.ignored.push(format!("{}: ignored: {why}", display(path)));
    }

    /// The first of several documents with one kind, namespace and name is used; the others are refused.
    fn find_duplicates(&mut self) {
        let mut first: BTreeMap<String, Origin> = BTreeMap::new();
        for file in &mut self.files {
            for document in file.documents.iter_mut().filter(|d| d.valid) {
                let Some(title) = document.title() else { continue };
                let origin = Origin { path: file.path.clone(), document: document.number };
                match first.get(&title) {
                    None => {
                        first.insert(title, origin);
                    }
                    Some(other) => {
                        document.valid = false;
                        document.errors.push(duplicate(&title, &file.path, document.line, other));
                    }
                }
            }
        }
    }

    /// The daemon waits for a Pod whose file may come later, so a name that nothing has is worth a warning only. A Pod that is
    /// refused has its own error.
    fn look_at_dependencies(&mut self) {
        let all = || self.files.iter().flat_map(|f| &f.documents);
        let named: BTreeMap<&PodKey, ()> = all().filter_map(|d| Some((d.key.as_ref()?, ()))).collect();
        let valid = all().filter(|d| d.valid && d.key.is_some());
        let lists = valid.filter_map(|d| Some((d.key.as_ref()?, d.depends_on.as_ref()?.0.as_slice())));
        let cycles = cycles(&lists.collect());
        let told: Vec<Vec<Problem>> = all()
            .map(|document| {
                let Some((list, place)) = &document.depends_on else { return Vec::new() };
                let unknown = list.iter().filter(|d| d.find(|key| named.get(key)).is_none());
                let mut out: Vec<Problem> = unknown.map(|d| unknown_pod(d.key(), place)).collect();
                let way = document.key.as_ref().and_then(|key| cycles.get(key)).filter(|_| document.valid);
                out.extend(way.map(|way| circular(way, place)));
                out
            })
            .collect();
        let documents = self.files.iter_mut().flat_map(|f| &mut f.documents);
        for (document, mut warnings) in documents.zip(told) {
            if !warnings.is_empty() {
                document.warnings.append(&mut warnings);
                document.warnings.sort_by_key(|w| (w.line, w.column));
            }
        }
    }

    /// One of the two waits for the other's end; that may be what is wanted, so it is worth a warning only.
    fn look_at_ports(&mut self) {
        let mut first: Vec<(HostPort, Origin)> = Vec::new();
        for file in &mut self.files {
            for document in file.documents.iter_mut().filter(|d| d.valid) {
                for port in &document.host_ports {
                    if let Some((_, other)) = first.iter().find(|(p, _)| p.conflicts(port)) {
                        document.warnings.push(port_taken(port, &file.path, document.line, other));
                    }
                }
                let origin = Origin { path: file.path.clone(), document: document.number };
                first.extend(document.host_ports.iter().map(|port| (port.clone(), origin.clone())));
            }
        }
    }

    fn exit_code(&self) -> u8 {
        if self.files.iter().any(|f| f.error.is_some()) {
            UNREADABLE
        } else if self.files.iter().flat_map(|f| &f.documents).any(|d| !d.valid) {
            INVALID
        } else {
            VALID
        }
    }

    fn print_json(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }

    fn print_problems(&self, out: &mut impl Write) -> io::Result<()> {
        for line in &self.ignored {
            writeln!(out, "{line}")?;
        }
        for file in &self.files {
            if let Some(error) = &file.error {
                writeln!(out, "{}: {error}", file.path)?;
            }
            for problem in file.documents.iter().flat_map(|d| d.errors.iter().chain(&d.warnings)) {
                writeln!(out, "{problem}")?;
            }
        }
        Ok(())
    }

    fn print_summary(&self, out: &mut impl Write) -> io::Result<()> {
        for file in &self.files {
            for document in &file.documents {
                let origin = Origin { path: file.path.clone(), document: document.number };
                writeln!(out, "{origin}: {document}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for DocumentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(title) = self.title() {
            write!(f, "{title}: ")?;
        }
        if self.valid {
            f.write_str("valid")?;
        } else {
            write!(f, "refused: {}", count(self.errors.len(), "error"))?;
        }
        match self.warnings.len() {
            0 => Ok(()),
            n => write!(f, ", {}", count(n, "warning")),
        }
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn duplicate(title: &str, path: &str, line: u32, first: &Origin) -> Problem {
    Problem {
        severity: Severity::Error,
        path: path.to_owned(),
        line,
        column: 1,
        field: "metadata.name".to_owned(),
        message: format!("{title} is already defined by {first}, which is used"),
        help: Some("give one of them another name or namespace".to_owned()),
        excerpt: None,
        caret: 0,
    }
}

fn port_taken(port: &HostPort, path: &str, line: u32, first: &Origin) -> Problem {
    Problem {
        severity: Severity::Warning,
        field: "hostPort".to_owned(),
        message: format!("port {port} of the host is also that of {first}: whoever comes second waits"),
        help: Some("give one of them another port (under hostNetwork every containerPort is one)".to_owned()),
        ..duplicate("", path, line, first)
    }
}

fn unknown_pod(key: &PodKey, place: &Problem) -> Problem {
    Problem {
        message: format!("no Pod {key} is in the files that were read: the Pod waits until there is one"),
        help: Some("give the files of all Pods to validate, or mend the name".to_owned()),
        ..place.clone()
    }
}

fn circular(way: &[PodKey], place: &Problem) -> Problem {
    Problem {
        message: format!("the Pod depends on itself and is never started: {}", circle(way)),
        help: Some(format!("take one of them out of {DEPENDS_ON}")),
        ..place.clone()
    }
}

fn display(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}

/// Reads one byte more than the bound at most: enough to see that it is too much.
fn read_all(file: impl Read, limits: Limits) -> io::Result<Vec<u8>> {
    let most = u64::try_from(limits.max_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
