//! `carillon check`: says everything that is wrong with the configuration, or what counts.

use shared::config::document;

use crate::cli::Cli;
use crate::settings::{GROUPS, Role, Settings};

pub fn run(cli: &Cli, role: Role, docs: bool) -> anyhow::Result<()> {
    if docs {
        print!("{}", document(GROUPS));
        return Ok(());
    }
    let settings = Settings::read(&cli.layers(), role)?;
    println!("ok: the configuration for role {} has no problems. What counts:\n", role.name());
    for row in &settings.effective {
        let shown: String = row.shown.lines().next().unwrap_or_default().chars().take(60).collect();
        println!("  {:<28} {shown:<44} {}", row.path, row.origin);
    }
    println!("\nlistens on {}", settings.listen());
    if role == Role::All && settings.makes_up_a_secret() {
        println!("believes tokens signed with a made-up secret in ./data, on this machine only");
    }
    for warning in settings.warnings() {
        println!("warning: {warning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_settings_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == document(GROUPS), "run `cargo run -- check --docs > docs/configuration.md`");
    }
}
