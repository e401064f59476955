//! What is left of a run: a table for people, JSON for whoever follows the numbers from version to version, and a plot for
//! each curve.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::sample::{Curve, Line};
use crate::{Findings, plot};

/// Where the files go: `bench` in cargo's target directory.
fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench")
}

/// Prints the table, and writes the files.
pub fn write(machine: &Value, findings: &Findings) {
    print!("{}", table(&findings.lines));
    for curve in &findings.curves {
        print!("\n{}", points(curve));
    }
    let dir = directory();
    fs::create_dir_all(&dir).unwrap();
    let all = json!({
        "machine": machine,
        "lines": findings.lines.iter().map(Line::json).collect::<Vec<_>>(),
        "curves": findings.curves.iter().map(Curve::json).collect::<Vec<_>>(),
    });
    fs::write(dir.join("podstrap.json"), format!("{all:#}\n")).unwrap();
    for curve in &findings.curves {
        fs::write(dir.join(format!("{}.svg", curve.name)), plot::svg(curve)).unwrap();
    }
    println!("\n{} lines, {} curves: {}", findings.lines.len(), findings.curves.len(), dir.display());
}

fn table(lines: &[Line]) -> String {
    let head = ["", "podstrap", "compared with", "ratio", "budget", ""].map(str::to_owned);
    aligned(std::iter::once(head.to_vec()).chain(lines.iter().map(|l| l.cells().to_vec())))
}

/// A curve as numbers: a row for each count of Pods.
fn points(curve: &Curve) -> String {
    let first = std::iter::once(curve.title.clone());
    let head = first.chain(curve.series.iter().map(|(name, _)| name.clone())).collect();
    let mut counts: Vec<f64> =
        curve.series.iter().flat_map(|(_, points)| points.iter().map(|(x, _)| *x)).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    let row = |x: &f64| {
        let cell = |points: &[(f64, f64)]| {
            let found = points.iter().find(|(at, _)| at == x);
            found.map(|(_, y)| curve.unit.show(*y)).unwrap_or_default()
        };
        let first = std::iter::once(format!("{x:.0} Pods"));
        first.chain(curve.series.iter().map(|(_, points)| cell(points))).collect::<Vec<_>>()
    };
    aligned(std::iter::once(head).chain(counts.iter().map(row)))
}

/// Rows whose cells stand below each other.
fn aligned(rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let width = |n: usize| rows.iter().filter_map(|r| r.get(n)).map(|c| c.chars().count()).max().unwrap_or(0);
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(n, cell)| format!("{cell:<w$}", w = width(n)));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
