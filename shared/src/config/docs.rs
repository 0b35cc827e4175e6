//! `docs/configuration.md`, written from the settings themselves.

use std::fmt::Write;

use super::{Group, Key};

/// Writes the page that documents `groups`, each under the title beside it.
#[must_use]
pub fn document(groups: &[(&str, Group)]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for (title, group) in groups {
        let about = sentence(group.about);
        writeln!(page, "\n## {title}\n\n{about}\n").expect("a string takes everything");
        page.push_str("| key | environment | value | default |\n|---|---|---|---|\n");
        for key in group.keys {
            row(&mut page, key);
        }
    }
    page
}

const INTRODUCTION: &str = "\
<!-- Written by `carillon check --docs`. Change the doc comments in the code instead. -->
# Configuration

Defaults < `carillon.toml` (`--config`, `CARILLON_CONFIG`) < environment < flags. Keys with a dot stand in a table of the
file: `gateway.send_queue_bytes` is `send_queue_bytes` under `[gateway]`. A variable with nothing in it counts as not set.
`carillon check` reports every problem at once and shows what counts, secrets masked. A key or a `CARILLON_…` variable that
is not listed here is a problem.
";

fn row(page: &mut String, key: &Key) {
    let mut names = format!("`{}`", key.variable());
    if let Some(alias) = key.alias {
        write!(names, ", `{alias}`").expect("a string takes everything");
    }
    let bounds = (key.bounds)().map_or_else(String::new, |(low, high)| format!(", from {low} to {high}"));
    let default = key.default.map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
    let (path, doc, form) = (key.path(), sentence(key.doc), key.form);
    writeln!(page, "| `{path}` | {names} | {doc} *({form}{bounds})* | {default} |").expect("a string takes everything");
}

fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
