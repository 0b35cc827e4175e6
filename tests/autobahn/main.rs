//! Puts the Autobahn test suite to the program, straight and through nginx as shipped: `autobahn PYTHON FOLDER`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::Parser;
use fleet::place::Place as _;
use fleet::servers::nginx::{Limits, Nginx};
use fleet::single::Single;

/// What hands answers to the suite as what they answer.
const JUDGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/autobahn/judge.py");

/// What the program is told.
#[derive(Debug, Parser)]
#[command(about = "Puts the Autobahn test suite to the program; CARILLON_BIN names it")]
struct Wishes {
    /// A Python 2.7 that has the suite.
    python: PathBuf,
    /// Where the report of the suite is written.
    folder: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Wishes { python, folder } = Wishes::parse();
    // As much as the suite says in one message and in one second.
    let single = Single::told([
        ("CARILLON_GATEWAY__MAX_FRAME_BYTES", "16MiB"),
        ("CARILLON_GATEWAY__COMMANDS_PER_SECOND", "100000"),
        ("CARILLON_LIMITS__CONNECTS", "0"),
    ])
    .await;
    let pods = [single.pod.port()];
    let nginx = Nginx::start(&pods, &pods, Limits::None).await?;
    let token = single.user("alice").token().to_owned();
    let doors = [("straight", single.pod.port()), ("nginx", nginx.port())];
    let doors = doors.map(|(name, port)| format!("{name}=ws://127.0.0.1:{port}/api/v1/ws?token={token}"));
    let judged = tokio::task::spawn_blocking(move || {
        Command::new(&python).arg(JUDGE).arg(folder).args(doors).status().with_context(|| python.display().to_string())
    });
    Ok(if judged.await??.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
