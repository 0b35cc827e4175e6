//! What the documents say about the code is so.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files below a folder that end so.
fn files(folder: PathBuf, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether there is a test of some name.
fn tests() -> impl Fn(&str) -> bool {
    let mut code = String::new();
    for folder in ["api", "carillon", "gateway", "shared", "tests"] {
        files(root().join(folder), ".rs").iter().for_each(|path| code.push_str(&read(path)));
    }
    move |test| code.contains(&format!("fn {test}(")) || code.contains(&format!("fn {test}<"))
}

#[test]
fn every_row_of_the_mission_is_there_and_every_test_it_names_exists() {
    let mission = read("docs/mission.md");
    let exists = tests();
    let (mut rows, mut shown) = (HashSet::new(), 0);
    for line in mission.lines() {
        let Some(number) = line.strip_prefix("| ").and_then(|line| line.split(' ').next()?.parse::<u32>().ok()) else {
            continue;
        };
        assert!(rows.insert(number), "row {number} is there twice");
        let by = line.trim_end_matches(" |").rsplit(" | ").next().expect("rsplit always yields");
        if by == "not yet" {
            continue;
        }
        shown += 1;
        for name in quoted(by) {
            let test = name.rsplit("::").next().expect("rsplit always yields");
            let test = test.rsplit(' ').next().expect("rsplit always yields");
            assert!(exists(test), "row {number}: there is no test {test}");
        }
    }
    assert_eq!(rows, (1..=288).collect());
    assert!(mission.contains(&format!("Shown: {shown} of 288.")), "{shown} are shown");
}

#[test]
fn every_threat_is_there_and_every_test_that_tries_it_exists() {
    let threats = read("docs/threats.md");
    let exists = tests();
    let mut rows = Vec::new();
    for line in threats.lines() {
        let Some(number) = line.strip_prefix("| ").and_then(|line| line.split(' ').next()?.parse::<u32>().ok()) else {
            continue;
        };
        rows.push(number);
        let by = line.trim_end_matches(" |").rsplit(" | ").next().expect("rsplit always yields");
        let tests: Vec<_> = quoted(by).collect();
        assert!(!tests.is_empty() || by == "none: it is no test", "row {number} names no test");
        for test in tests {
            assert!(exists(test), "row {number}: there is no test {test}");
        }
    }
    assert_eq!(rows, (1..=29).collect::<Vec<_>>());
}

#[test]
fn the_ledger_of_runs_under_faults_comes_to_what_is_said() {
    let ledger = read("docs/ledger.jsonl");
    let runs: Vec<serde_json::Value> =
        ledger.lines().map(|line| serde_json::from_str(line).expect("a line of the ledger is JSON")).collect();
    let sum = |field: &str| runs.iter().map(|run| run[field].as_u64().expect(field)).sum::<u64>();
    let wrong = runs.iter().filter(|run| run["right"] != true).count();
    let said = format!(
        "Ledger: {} runs, {} faults, {} messages acknowledged, {wrong} runs with violations.",
        runs.len(),
        sum("faults"),
        sum("acknowledged")
    );
    assert!(read("docs/reliability.md").contains(&said), "{said}");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut documents = files(root().join("docs"), ".md");
    documents.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name)));
    for document in documents {
        let text = read(&document);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let outside = target.starts_with("http") || target.starts_with('#');
            let folder = document.parent().expect("a file is in a folder");
            assert!(outside || folder.join(target).exists(), "{}: {target} leads nowhere", document.display());
        }
    }
}

#[test]
fn nginx_takes_the_configuration_as_shipped() {
    let program = if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" };
    let scratch = fleet::servers::scratch::Scratch::new("nginx-as-shipped");
    let checked = std::process::Command::new(program)
        .args(["-t", "-e", "stderr", "-g"])
        .arg(format!("pid {}/pid;", scratch.path().display()))
        .arg("-c")
        .arg(root().join("nginx/nginx.conf").canonicalize().expect("it is there"))
        .output()
        .expect("nginx is installed");
    let said = String::from_utf8_lossy(&checked.stderr);
    // Whoever is not root cannot make Debian's own folders; the configuration itself is judged before that.
    assert!(checked.status.success() || said.contains("Permission denied"), "{said}");
}
