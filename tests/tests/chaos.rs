//! Short runs under faults, one on each kind of Redis, and what is broken on purpose. `make chaos` runs longer.

use std::process::Command;

/// Runs the program that breaks a fleet, and expects nothing else than right.
fn chaos(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_chaos"))
        .args(arguments)
        // It is built together with the checker that it calls.
        .env("CARILLON_BIN", fleet::servers::carillon::program())
        .output()
        .expect("the program can be started");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "chaos {}: {}\n{said}{complained}", arguments.join(" "), output.status);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_on_one_redis() {
    chaos(&["--seed", "1", "--seconds", "12", "--redis", "standalone"]);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_on_a_cluster() {
    chaos(&["--seed", "2", "--seconds", "12", "--redis", "cluster"]);
}

#[test]
fn nothing_is_lost_doubled_or_disordered_under_faults_behind_a_sentinel() {
    chaos(&["--seed", "3", "--seconds", "12", "--redis", "sentinel"]);
}

#[test]
fn what_is_broken_on_purpose_is_found() {
    chaos(&["--seed", "4", "--seconds", "5", "--people", "8", "--calm", "--sabotages"]);
}
