//! The figures of a run: told while it lasts, and all together at its end.

use std::fmt::Write as _;

use serde::Serialize;

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Which benchmark it is of.
    pub bench: &'static str,
    /// What was measured.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// The same as a multiple of a bare loop's figure in the same run on the same machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Whether it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<bool>,
}

/// A multiple of another figure.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Ratio {
    /// How many times.
    pub times: f64,
    /// Which.
    pub of: &'static str,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The value, or more.
    AtLeast(f64),
    /// The value, or less.
    AtMost(f64),
    /// The ratio, or more.
    RatioAtLeast(f64),
}

impl Figure {
    /// A figure with neither ratio nor target.
    pub fn new(bench: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { bench, what: what.into(), value, unit, ratio: None, target: None, reached: None }
    }

    /// Compares it with a bare loop's.
    pub fn of(mut self, of: &'static str, floor: f64) -> Self {
        self.ratio = Some(Ratio { times: self.value / floor, of });
        self
    }

    /// Says what it should be.
    pub fn should_be(mut self, target: Target) -> Self {
        self.target = Some(target);
        self.reached = Some(match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
            Target::RatioAtLeast(least) => self.ratio.is_some_and(|ratio| ratio.times >= least),
        });
        self
    }
}

/// All figures of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
    /// What was left out, and why.
    skipped: Vec<String>,
}

impl Report {
    /// Adds figures.
    pub fn add(&mut self, figures: impl IntoIterator<Item = Figure>) {
        self.figures.extend(figures);
    }

    /// Says what is left out and why.
    pub fn skip(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.skipped.contains(&what) {
            self.skipped.push(what);
        }
    }

    /// As JSON.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut table = String::new();
        let mut bench = "";
        for figure in &self.figures {
            if figure.bench != bench {
                bench = figure.bench;
                let _ = writeln!(table, "\n{bench}");
            }
            let value = format!("{} {}", number(figure.value), figure.unit);
            let ratio = figure.ratio.map(|ratio| format!("{} × {}", number(ratio.times), ratio.of)).unwrap_or_default();
            let line = format!("  {:<46} {value:>28}   {ratio:<28} {}", figure.what, figure.verdict());
            let _ = writeln!(table, "{}", line.trim_end());
        }
        for skipped in &self.skipped {
            let _ = writeln!(table, "\nleft out: {skipped}");
        }
        table
    }
}

impl Figure {
    fn verdict(&self) -> String {
        let (Some(target), Some(reached)) = (self.target, self.reached) else { return String::new() };
        let target = match target {
            Target::AtLeast(value) => format!("at least {}", number(value)),
            Target::AtMost(value) => format!("at most {}", number(value)),
            Target::RatioAtLeast(value) => format!("at least {} ×", number(value)),
        };
        format!("{} ({target})", if reached { "reached" } else { "SHORT" })
    }
}

/// Three digits where they matter, thousands apart.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "none".to_owned();
    }
    if value.fract() == 0.0 && value < 1_000.0 {
        return format!("{value:.0}");
    }
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let first = digits.len() % 3;
            let rest = digits.as_bytes()[first..].chunks(3).map(|three| String::from_utf8_lossy(three));
            let groups: Vec<_> = (first > 0).then(|| digits[..first].into()).into_iter().chain(rest).collect();
            groups.join(",")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_says_how_far_it_is_from_its_floor_and_its_target() {
        let mut report = Report::default();
        let figure = Figure::new("fanout", "shallow", 150_000.0, "deliveries/CPU s").of("one write", 200_000.0);
        report.add([figure.clone().should_be(Target::RatioAtLeast(0.6)), figure.should_be(Target::AtLeast(200_000.0))]);
        report.skip("bare publish");
        let table = report.table();
        assert!(table.contains("0.75 × one write") && table.contains("reached (at least 0.60 ×)"), "{table}");
        assert!(table.contains("SHORT (at least 200,000)") && table.contains("left out: bare publish"), "{table}");
    }

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!(
            [0.0, 3.0, 0.456, 42.42, 999.6, 1_234_567.0].map(number),
            ["0", "3", "0.46", "42.4", "1,000", "1,234,567"]
        );
    }
}
