//! Reading: from text to types, with every problem noted and none the end.

use std::fmt;

use super::layers::{Layers, Origin};
use super::value::Value;
use super::{Group, Key, Settings};

/// Something an operator should mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: a key, a variable, a file.
    pub subject: String,
    /// What is wrong with it. Shows no secret.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n    → {}", self.subject, self.what, self.remedy)
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} problem{}", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// A value that counts, as an operator may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// Of which key.
    pub path: String,
    /// The value, masked if it is secret.
    pub shown: String,
    /// Who said it.
    pub origin: Origin,
}

/// Reads settings out of [`Layers`], and keeps what is wrong with them.
pub struct Reader<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, problems: Vec<Problem>) -> Self {
        Self { layers, problems, effective: Vec::new() }
    }

    /// Reads a group of settings. Where a value does not fit, the default stands in and a problem is noted.
    pub fn read<S: Settings>(&mut self) -> S {
        S::read(self)
    }

    /// Reads one setting; `fits` says whether a value of the type will do.
    pub fn value<T: Value>(&mut self, key: &Key, fits: impl Fn(&T) -> bool) -> T {
        let said = self.layers.find(key);
        let parsed = said.as_ref().map(|(text, _)| T::parse(text.trim()).filter(&fits));
        if let (Some((text, origin)), Some(None)) = (&said, &parsed) {
            self.problems.push(misfit::<T>(key, text, origin));
        }
        let origin = said.map_or(Origin::Default, |(_, origin)| origin);
        let value = parsed.flatten().unwrap_or_else(|| default_of(key));
        self.effective.push(Effective { path: key.path(), shown: value.show(), origin });
        value
    }

    /// Notes a problem that only shows when several settings are seen together.
    pub fn problem(&mut self, subject: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem { subject: subject.into(), what: what.into(), remedy: remedy.into() });
    }

    /// Ends reading: what counts, or everything that is wrong. `known` are the settings of all roles, so that one file
    /// can serve them all; a key or variable of ours that is not among them is a problem.
    ///
    /// # Errors
    /// All problems together.
    pub fn finish(mut self, known: &[Group]) -> Result<Vec<Effective>, Problems> {
        self.problems.extend(unknown(self.layers, known));
        if self.problems.is_empty() { Ok(self.effective) } else { Err(Problems(self.problems)) }
    }
}

fn default_of<T: Value>(key: &Key) -> T {
    key.default.map_or_else(T::absent, T::parse).expect("a default fits, and a setting without one is optional")
}

fn misfit<T: Value>(key: &Key, text: &str, origin: &Origin) -> Problem {
    let text: String = if T::HIDDEN { "***".to_owned() } else { text.chars().take(80).collect() };
    let bounds = (key.bounds)().map_or_else(String::new, |(low, high)| format!(", from {low} to {high}"));
    Problem {
        subject: key.path(),
        what: format!("`{text}` ({origin}) does not fit"),
        remedy: format!("write {}{bounds}", T::FORM),
    }
}

/// Keys of the file and variables of ours that nobody reads.
fn unknown(layers: &Layers, known: &[Group]) -> Vec<Problem> {
    let keys = || known.iter().flat_map(|group| group.keys);
    let (paths, variables): (Vec<_>, Vec<_>) = keys().map(|key| (key.path(), key.variable())).unzip();
    let strange = |subject: String, name: &str, names: &[String]| Problem {
        subject,
        what: "is not a setting".to_owned(),
        remedy: match nearest(name, names) {
            Some(likely) => format!("did you mean {likely}?"),
            None => "remove it; docs/configuration.md lists the settings".to_owned(),
        },
    };
    let in_file = layers.file.keys().filter(|path| !paths.contains(path));
    let in_environment = layers
        .environment
        .keys()
        .filter(|name| name.starts_with("CARILLON_") && !variables.contains(name) && !is_of_others(name));
    in_file
        .map(|path| strange(format!("{path} ({})", layers.file_name.display()), path, &paths))
        .chain(in_environment.map(|name| strange(name.clone(), name, &variables)))
        .collect()
}

/// Variables that begin like ours and are not settings: the file's name, those of tests, and those that Kubernetes sets
/// for a service called `carillon-…`.
fn is_of_others(name: &str) -> bool {
    let of_kubernetes = name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_");
    let of_sabotage = cfg!(feature = "sabotage") && matches!(name, "CARILLON_SABOTAGE" | "CARILLON_CRASH");
    matches!(name, "CARILLON_CONFIG" | "CARILLON_BIN")
        || name.starts_with("CARILLON_TEST_")
        || of_kubernetes
        || of_sabotage
}

/// The name most like `name`, if any is like it.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a String> {
    let distances = names.iter().map(|candidate| (distance(name, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= 3).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Letters to insert, delete or replace to turn one text into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
