//! Where values come from: flags, environment, file, default; the first that says something wins.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{Key, Problem, Reader};

/// The file that is read if nobody names another, where it exists.
const FILE: &str = "carillon.toml";
/// Names another file.
const FILE_VARIABLE: &str = "CARILLON_CONFIG";

/// Everything that was said, as text.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) flags: BTreeMap<&'static str, String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) file: BTreeMap<String, String>,
    pub(super) file_name: PathBuf,
    problems: Vec<Problem>,
}

/// Who said a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// A file of this name.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => name.display().fmt(f),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

impl Layers {
    /// Gathers what flags, the environment of the process and the file say. The file is `config`, else what
    /// `CARILLON_CONFIG` names, else `carillon.toml` where it exists.
    #[must_use]
    pub fn gather(config: Option<&Path>, flags: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        let layers = Self::of(environment, flags);
        let named = config.map(Path::to_owned).or_else(|| layers.environment.get(FILE_VARIABLE).map(PathBuf::from));
        let name = named.clone().unwrap_or_else(|| PathBuf::from(FILE));
        match std::fs::read_to_string(&name) {
            Ok(text) => layers.with_file(&name, &text),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => layers,
            Err(error) => layers.with_problem(Problem {
                subject: name.display().to_string(),
                what: format!("cannot be read: {error}"),
                remedy: "name a file that exists and may be read with --config or CARILLON_CONFIG".to_owned(),
            }),
        }
    }

    /// What is said by an environment and flags. A variable with nothing in it says nothing.
    pub fn of(
        environment: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let environment = environment.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        Self { environment, flags: flags.into_iter().collect(), ..Self::default() }
    }

    /// Adds what the text of a file says.
    #[must_use]
    pub fn with_file(mut self, name: &Path, text: &str) -> Self {
        self.file_name = name.to_owned();
        match toml::from_str::<toml::Table>(text) {
            Ok(table) => {
                self.file = flatten(table);
                self
            }
            // The library's own text would quote the line, and a secret may stand there.
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                self.with_problem(Problem {
                    subject: format!("{}, line {line}", name.display()),
                    what: error.message().lines().next().unwrap_or("not TOML").to_owned(),
                    remedy: "see https://toml.io for how to write it".to_owned(),
                })
            }
        }
    }

    /// Starts reading.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self, self.problems.clone())
    }

    fn with_problem(mut self, problem: Problem) -> Self {
        self.problems.push(problem);
        self
    }

    /// What was said of `key`, and who said it.
    pub(super) fn find(&self, key: &Key) -> Option<(&str, Origin)> {
        let path = key.path();
        if let Some(text) = self.flags.get(path.as_str()) {
            return Some((text, Origin::Flag(path.replace('_', "-"))));
        }
        let variables = std::iter::once(key.variable()).chain(key.alias.map(str::to_owned));
        for variable in variables {
            if let Some(text) = self.environment.get(&variable) {
                return Some((text, Origin::Environment(variable)));
            }
        }
        self.file.get(&path).map(|text| (text.as_str(), Origin::File(self.file_name.clone())))
    }
}

/// Turns a file into keys with text: `gateway.send_queue_bytes` → `64KiB`. Lists of plain values are joined with commas;
/// what nests deeper becomes JSON, for settings that are structures of their own.
fn flatten(table: toml::Table) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(section) => {
                keys.extend(section.into_iter().map(|(inner, value)| (format!("{name}.{inner}"), plain(value))));
            }
            value => drop(keys.insert(name, plain(value))),
        }
    }
    keys
}

fn plain(value: toml::Value) -> String {
    let nests = |value: &toml::Value| matches!(value, toml::Value::Table(_) | toml::Value::Array(_));
    match value {
        toml::Value::String(text) => text,
        toml::Value::Array(items) if !items.iter().any(nests) => {
            items.into_iter().map(plain).collect::<Vec<_>>().join(",")
        }
        toml::Value::Array(_) | toml::Value::Table(_) => serde_json::to_string(&value).unwrap_or_default(),
        value => value.to_string(),
    }
}
