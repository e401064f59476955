//! Numbers that were measured: their median and spread, and how they are shown.

use serde_json::{Value, json};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Time,
    /// Bytes.
    Size,
    /// Bytes a second.
    Rate,
    /// A part of one processor.
    Load,
    /// Nothing but how many.
    Count,
}

impl Unit {
    /// A number of it with three digits or so.
    pub fn show(self, n: f64) -> String {
        let digits = |n: f64| match n.abs() {
            a if a >= 99.95 => format!("{n:.0}"),
            a if a >= 9.995 => format!("{n:.1}"),
            _ => format!("{n:.2}"),
        };
        match self {
            Self::Time if n < 0.001 => format!("{} µs", digits(n * 1e6)),
            Self::Time if n < 1.0 => format!("{} ms", digits(n * 1e3)),
            Self::Time => format!("{} s", digits(n)),
            Self::Size if n < 1024.0 * 1024.0 => format!("{} KiB", digits(n / 1024.0)),
            Self::Size => format!("{} MiB", digits(n / 1024.0 / 1024.0)),
            Self::Rate => format!("{} MB/s", digits(n / 1e6)),
            Self::Load if n < 0.001 => format!("{:.4} %", n * 100.0),
            Self::Load => format!("{} %", digits(n * 100.0)),
            Self::Count => digits(n).trim_end_matches(".00").to_owned(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Time => "seconds",
            Self::Size => "bytes",
            Self::Rate => "bytes per second",
            Self::Load => "processors",
            Self::Count => "count",
        }
    }
}

/// The part of sorted numbers below which so much of them lies, interpolated.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// Median, lower and upper quartile.
pub fn quartiles(numbers: &[f64]) -> [f64; 3] {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    [0.5, 0.25, 0.75].map(|part| quantile(&sorted, part))
}

/// What may not be exceeded.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// So many times what it is compared with.
    Times(f64),
    /// So much of the unit.
    Most(f64),
}

/// One line of the table: what was measured of podstrap, side by side with something else where there is such.
#[derive(Clone, Debug)]
pub struct Line {
    /// What.
    pub what: String,
    /// Of what.
    pub unit: Unit,
    /// podstrap's numbers.
    pub ours: Vec<f64>,
    /// With what it is compared, and its numbers: each was taken beside that of podstrap which has its place.
    pub against: Option<(String, Vec<f64>)>,
    /// The budget.
    pub bound: Option<Bound>,
}

impl Line {
    /// A line that is compared with nothing.
    pub fn of(what: impl Into<String>, unit: Unit, ours: Vec<f64>) -> Self {
        Self { what: what.into(), unit, ours, against: None, bound: None }
    }

    /// Compares it.
    pub fn against(mut self, name: impl Into<String>, numbers: Vec<f64>) -> Self {
        assert_eq!(self.ours.len(), numbers.len(), "{}: pairs", self.what);
        self.against = Some((name.into(), numbers));
        self
    }

    /// Gives it a budget.
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Median and quartiles of the ratios of each pair.
    pub fn ratio(&self) -> Option<[f64; 3]> {
        let (_, theirs) = self.against.as_ref()?;
        let ratios: Vec<f64> = self.ours.iter().zip(theirs).map(|(o, t)| o / t).collect();
        Some(quartiles(&ratios))
    }

    /// Whether the budget is kept; `None` where there is none.
    pub fn is_met(&self) -> Option<bool> {
        match self.bound? {
            Bound::Times(most) => Some(self.ratio()?[0] <= most),
            Bound::Most(most) => Some(quartiles(&self.ours)[0] <= most),
        }
    }

    /// Its cells: what, podstrap's, with what it is compared and how that did, ratio, budget, verdict.
    pub fn cells(&self) -> [String; 6] {
        let spread = |numbers: &[f64]| {
            let [median, low, high] = quartiles(numbers);
            match numbers.len() {
                1 => self.unit.show(median),
                _ => {
                    format!("{} ({} … {})", self.unit.show(median), self.unit.show(low), self.unit.show(high))
                }
            }
        };
        let against = self.against.as_ref().map(|(name, numbers)| format!("{name} {}", spread(numbers)));
        let ratio = self.ratio().map(|[m, l, h]| match self.ours.len() {
            1 => format!("{m:.2}"),
            _ => format!("{m:.2} ({l:.2} … {h:.2})"),
        });
        let bound = self.bound.map(|bound| match bound {
            Bound::Times(most) => format!("≤ {most:.2} times"),
            Bound::Most(most) => format!("≤ {}", self.unit.show(most)),
        });
        let verdict = self.is_met().map(|met| if met { "met" } else { "OVER" }.to_owned());
        [
            self.what.clone(),
            spread(&self.ours),
            against.unwrap_or_default(),
            ratio.unwrap_or_default(),
            bound.unwrap_or_default(),
            verdict.unwrap_or_default(),
        ]
    }

    /// For programs: all numbers, in the base unit.
    pub fn json(&self) -> Value {
        let [median, low, high] = quartiles(&self.ours);
        let mut line = json!({
            "what": self.what, "unit": self.unit.name(), "median": median, "quartiles": [low, high], "numbers": self.ours,
        });
        if let (Some((name, numbers)), Some([ratio, low, high])) = (&self.against, self.ratio()) {
            line["against"] = json!({
                "what": name, "median": quartiles(numbers)[0], "numbers": numbers, "ratio": ratio,
                "ratioQuartiles": [low, high],
            });
        }
        if let (Some(bound), Some(met)) = (self.bound, self.is_met()) {
            line["bound"] = match bound {
                Bound::Times(most) => json!({"times": most, "met": met}),
                Bound::Most(most) => json!({"most": most, "met": met}),
            };
        }
        line
    }
}

/// How something grows with the number of Pods.
#[derive(Clone, Debug)]
pub struct Curve {
    /// File name and heading.
    pub name: &'static str,
    /// Heading.
    pub title: String,
    /// Of what.
    pub unit: Unit,
    /// Each with a name: number of Pods, and what was measured.
    pub series: Vec<(String, Vec<(f64, f64)>)>,
}

impl Curve {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name, "title": self.title, "unit": self.unit.name(),
            "series": self.series.iter().map(|(name, points)| json!({"name": name, "points": points})).collect::<Vec<_>>(),
        })
    }
}
