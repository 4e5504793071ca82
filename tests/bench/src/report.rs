//! The table at the end: what was measured, the floor beside it, the target and whether it is met.

use std::fmt;
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// Parts in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    parts: Vec<Part>,
}

/// What was measured in one go.
#[derive(Debug)]
struct Part {
    title: String,
    lines: Vec<[String; 5]>,
}

/// A target, and whether it is met.
#[derive(Debug)]
pub(crate) struct Goal(Option<(String, bool)>);

// === impl Report ===

impl Report {
    /// Without lines.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Begins a part; what comes now belongs to it.
    pub(crate) fn part(&mut self, title: String) {
        println!("{title}");
        let lines = Vec::new();
        self.parts.push(Part { title, lines });
    }

    /// Adds a line, and shows it at once.
    pub(crate) fn line(
        &mut self,
        what: impl Into<String>,
        ours: String,
        floor: String,
        goal: Goal,
    ) {
        let what = what.into();
        let (target, mark) = match goal.0 {
            Some((target, met)) => (target, if met { "met" } else { "MISSED" }),
            None => (String::new(), ""),
        };
        println!("  {what}: {ours}  [{floor}]  {target} {mark}");
        if let Some(part) = self.parts.last_mut() {
            part.lines
                .push([what, ours, floor, target, mark.to_owned()]);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table
            .load_style(NOTHING)
            .set_header(["", "measured", "beside it", "target", ""]);
        for part in &self.parts {
            table
                .add_row(["", "", "", "", ""])
                .add_row([part.title.as_str(), "", "", "", ""]);
            for [what, rest @ ..] in &part.lines {
                let [measured, floor, target, mark] = rest;
                table.add_row([&format!("  {what}"), measured, floor, target, mark]);
            }
        }
        for column in [1, 2, 3] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        // Without the blanks that the table ends its lines with.
        let text = table.to_string();
        text.lines()
            .try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

// === impl Goal ===

impl Goal {
    /// Nothing is asked.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Less than `limit`.
    pub(crate) fn below(value: f64, limit: f64, word: &str) -> Self {
        Self(Some((format!("< {word}"), value < limit)))
    }

    /// No more than `limit`.
    pub(crate) fn at_most(value: f64, limit: f64, word: &str) -> Self {
        Self(Some((format!("≤ {word}"), value <= limit)))
    }

    /// Asked of some sizes only.
    pub(crate) fn only_if(self, asked: bool) -> Self {
        if asked { self } else { Self::none() }
    }
}

/// As seconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

/// As milliseconds.
pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

/// As megabytes, of a million bytes.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// The middle of the values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    percentile(&mut values, 0.5)
}

/// The value that `part` of all are not above.
pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values
        .get(at.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
