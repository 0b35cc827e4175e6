//! Judges a run under faults by what it left behind: who asked for what, what every device was told, and what was kept.
//!
//! Ends with 0 if nothing is wrong, with 1 if something is, and with 2 if it cannot tell. Told to expect a class, because something
//! was broken on purpose, it ends with 0 if it finds that and with 1 if it does not.

mod company;
mod courses;
mod evidence;
mod rooms;
mod rules;
#[cfg(test)]
mod tests;
mod unsent;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use self::evidence::Evidence;
use self::rules::{Class, Violation};

/// What the program is told.
#[derive(Debug, Parser)]
#[command(about = "Judges a run under faults by what it left behind")]
struct Wishes {
    /// The folder that the run wrote.
    folder: PathBuf,
    /// How many violations of each class to show.
    #[arg(long, default_value_t = 5)]
    show: usize,
    /// What must be found.
    #[arg(long)]
    expect: Option<Class>,
}

fn main() -> ExitCode {
    let wishes = Wishes::parse();
    let evidence = match Evidence::read(&wishes.folder) {
        Ok(evidence) => evidence,
        Err(error) => {
            eprintln!("{}: {error:#}", wishes.folder.display());
            return ExitCode::from(2);
        }
    };
    if evidence.acknowledged() == 0 {
        eprintln!("nothing was acknowledged: there is nothing to judge");
        return ExitCode::from(2);
    }
    let violations = rules::judge(&evidence);
    report(&evidence, &violations, wishes.show);
    let is_as_expected = match wishes.expect {
        Some(class) => violations.iter().any(|violation| violation.class == class),
        None => violations.is_empty(),
    };
    if is_as_expected { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn report(evidence: &Evidence, violations: &[Violation], most: usize) {
    let acknowledged = evidence.acknowledged();
    // Of so many none was wrong: with 95 % the share of wrong ones is below 3/n.
    let bound = 3.0 / acknowledged as f64;
    println!(
        "{acknowledged} messages acknowledged, {} shown to {} devices, {} faults, {} of them not possible: {} violations{}",
        evidence.shown(),
        evidence.devices.len(),
        evidence.run.faults.len(),
        evidence.run.missed.len(),
        violations.len(),
        if violations.is_empty() {
            format!("; with 95 % fewer than {bound:.1e} of messages are wrong")
        } else {
            String::new()
        },
    );
    for missed in &evidence.run.missed {
        println!("  not possible: {missed}");
    }
    let mut classes: BTreeMap<Class, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        classes.entry(violation.class).or_default().push(violation);
    }
    for (class, violations) in classes {
        println!("{class}: {}", violations.len());
        for violation in violations.iter().take(most) {
            println!("  {}", violation.what);
        }
    }
}
