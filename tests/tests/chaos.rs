//! Short runs under faults, one on each kind of Redis, the other courses, and what is broken on purpose. `make chaos` runs longer.

use std::path::Path;
use std::process::Command;

use fleet::servers::carillon::program;

/// Runs the program that breaks a fleet, and expects it to find what it should.
fn chaos(program: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(arguments).env("CARILLON_BIN", program).output().expect("the program can be started");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "chaos {}: {}\n{said}{complained}", arguments.join(" "), output.status);
}

/// The program as it is built to err and to die where it is told to.
fn sabotaged() -> std::path::PathBuf {
    let path = std::env::var_os("CARILLON_SABOTAGED_BIN");
    path.expect("`make test` builds it: cargo build --package carillon --features sabotage, under another name").into()
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_on_one_redis() {
    chaos(program(), &["--seed", "1", "--seconds", "12", "--redis", "standalone"]);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_on_a_cluster() {
    chaos(program(), &["--seed", "2", "--seconds", "12", "--redis", "cluster"]);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_behind_a_sentinel() {
    chaos(program(), &["--seed", "3", "--seconds", "12", "--redis", "sentinel"]);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_when_pods_die_between_commit_and_answer() {
    chaos(&sabotaged(), &["--seed", "5", "--seconds", "12", "--redis", "standalone", "--calm", "--crash"]);
}

#[test]
fn every_pod_is_replaced_and_nobody_notices() {
    chaos(program(), &["--seed", "6", "--seconds", "5", "--people", "6", "--redis", "standalone", "--update"]);
}

#[test]
fn every_device_starts_over_when_the_database_is_put_back() {
    chaos(program(), &["--seed", "7", "--seconds", "12", "--redis", "standalone", "--restore"]);
}

#[test]
fn what_is_broken_on_purpose_is_found() {
    chaos(&sabotaged(), &["--seed", "4", "--seconds", "5", "--people", "8", "--calm", "--sabotages"]);
}
