//! What is told of the cases: a line for each, what belongs to a failure, and a table in the end. The same for programs, to
//! be laid beside that of other runtimes (`tests/tools/conformance`), is in `conformance-RUNTIME.tsv`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::case::Case;
use crate::common::runtime;

/// How a case ended.
pub enum Verdict {
    /// All of it was seen.
    Ok,
    /// The runtime cannot do it, and it was refused in these words, as is documented.
    Refused(&'static str),
    /// The runtime does it in another way, as is documented, and that was seen.
    Differs(&'static str),
    /// This very host does not let the runtime do it, which was told in these words when it was to be started.
    NotHere(&'static str),
    /// Something was not seen.
    Failed {
        /// What.
        why: String,
        /// All that may explain it.
        dump: String,
    },
}

/// How a case ended, and how long it took.
pub struct Outcome {
    /// How.
    pub verdict: Verdict,
    /// How long.
    pub took: Duration,
}

#[derive(Default)]
struct Area {
    name: &'static str,
    ok: usize,
    refused: usize,
    differs: usize,
    not_here: usize,
    failed: usize,
    slowest: Duration,
}

/// The report so far.
pub struct Report {
    file: File,
    areas: Vec<Area>,
    failures: Vec<String>,
    /// By number: area, case, verdict and words, with tabs between.
    rows: BTreeMap<usize, String>,
}

/// A file of the report of this runtime.
fn file(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("conformance-{}.{extension}", runtime()))
}

/// Removes that of an earlier run, which is not to be taken for this one's, should it not come to its end.
pub fn forget() {
    for extension in ["tsv", "txt"] {
        let _ = std::fs::remove_file(file(extension));
    }
}

impl Area {
    fn cases(&self) -> usize {
        self.ok + self.refused + self.differs + self.not_here + self.failed
    }
}

impl Report {
    /// An empty one over these areas.
    pub fn new(areas: &[&'static str]) -> Self {
        let file = File::create(file("txt")).unwrap();
        let areas = areas.iter().map(|&name| Area { name, ..Area::default() }).collect();
        Self { file, areas, failures: Vec::new(), rows: BTreeMap::new() }
    }

    /// Writes a line to both places. Not by `eprintln`: the test runner would hold it back.
    fn line(&mut self, line: &str) {
        let line = format!("{line}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
        let _ = self.file.write_all(line.as_bytes());
    }

    /// Tells of a case, the one with this number.
    pub fn add(&mut self, number: usize, area: usize, case: &Case, outcome: Outcome) {
        let name = format!("{} {}", case.field, case.what);
        let (verdict, words) = match &outcome.verdict {
            Verdict::Ok => ("pass", ""),
            Verdict::Refused(says) => ("refused", *says),
            Verdict::Differs(how) => ("differs", *how),
            Verdict::NotHere(says) => ("not here", *says),
            Verdict::Failed { why, .. } => ("FAIL", why.lines().next().unwrap_or_default()),
        };
        let row = [self.areas[area].name, &name, verdict, words].map(|word| word.replace('\t', " "));
        self.rows.insert(number, row.join("\t"));
        let took = outcome.took.as_secs_f64();
        let area = &mut self.areas[area];
        area.slowest = area.slowest.max(outcome.took);
        match outcome.verdict {
            Verdict::Ok => {
                area.ok += 1;
                self.line(&format!("ok    {name} ({took:.1} s)"));
            }
            Verdict::Refused(says) => {
                area.refused += 1;
                self.line(&format!("ref   {name} ({took:.1} s): refused, as documented: {says}"));
            }
            Verdict::Differs(how) => {
                area.differs += 1;
                self.line(&format!("diff  {name} ({took:.1} s): in another way, as documented: {how}"));
            }
            Verdict::NotHere(says) => {
                area.not_here += 1;
                self.line(&format!("n/a   {name} ({took:.1} s): not on this host, as documented: {says}"));
            }
            Verdict::Failed { why, dump } => {
                area.failed += 1;
                let why = why.trim_end().replace('\n', "\n      ");
                self.line(&format!("FAIL  {name} ({took:.1} s): {why}"));
                self.failures.push(format!("==== {name}\n{why}\n{dump}"));
            }
        }
    }

    /// How many cases have failed.
    pub fn failed(&self) -> usize {
        self.areas.iter().map(|a| a.failed).sum()
    }

    /// Writes what belongs to the failures, and the table.
    pub fn close(&self, took: Duration) {
        let mut text = String::new();
        for failure in &self.failures {
            text += &format!("\n{failure}");
        }
        text += &format!(
            "\n{:<14}{:>6}{:>6}{:>9}{:>9}{:>10}{:>8}{:>11}\n",
            "area", "cases", "ok", "refused", "differs", "not here", "failed", "slowest"
        );
        let mut all = Area { name: "all", ..Area::default() };
        for area in &self.areas {
            all.ok += area.ok;
            all.refused += area.refused;
            all.differs += area.differs;
            all.not_here += area.not_here;
            all.failed += area.failed;
            all.slowest = all.slowest.max(area.slowest);
        }
        for area in self.areas.iter().chain([&all]) {
            text += &format!(
                "{:<14}{:>6}{:>6}{:>9}{:>9}{:>10}{:>8}{:>9.1} s\n",
                area.name,
                area.cases(),
                area.ok,
                area.refused,
                area.differs,
                area.not_here,
                area.failed,
                area.slowest.as_secs_f64()
            );
        }
        text += &format!("runtime {}, {:.1} s\n", runtime(), took.as_secs_f64());
        let rows: String = self.rows.values().map(|row| format!("{row}\n")).collect();
        std::fs::write(file("tsv"), rows).unwrap();
        let _ = std::io::stderr().write_all(text.as_bytes());
        let _ = (&self.file).write_all(text.as_bytes());
    }
}
