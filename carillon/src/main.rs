//! The program: one binary that plays every role, and the tools around it.
//!
//! One file per sub-command; this one only chooses among them. `settings.rs` says what is allowed together, `pod.rs` what
//! every role does at its start and at its end.

#![expect(unreachable_pub, reason = "a program has no outside: pub means for its other files")]

mod all;
mod api;
mod attachments;
mod banner;
mod bench;
mod broker;
mod check;
mod cli;
mod doctor;
mod gateway;
mod made_up;
mod pod;
mod settings;
mod store;
mod token;
mod worker;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::cli::{Cli, Command};
use crate::settings::{Role, Settings};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("carillon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let settings = |role| Settings::read(&cli.layers(), role);
    match &cli.command {
        None => wait_for(all::run(settings(Role::All)?)),
        Some(Command::Api) => wait_for(api::run(settings(Role::Api)?)),
        Some(Command::Gateway) => wait_for(gateway::run(settings(Role::Gateway)?)),
        Some(Command::Worker) => wait_for(worker::run(settings(Role::Worker)?)),
        Some(Command::Migrate { new_epoch }) => wait_for(store::migrate(cli, *new_epoch)),
        Some(Command::Token(wish)) => token::run(cli, wish),
        Some(Command::Check { role, docs }) => check::run(cli, *role, *docs),
        Some(Command::Bench(wishes)) => wait_for(bench::run(cli, wishes)),
        Some(Command::Doctor { role }) => wait_for(doctor::run(settings(*role)?)),
    }
}

fn wait_for(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    runtime.block_on(work)
}
