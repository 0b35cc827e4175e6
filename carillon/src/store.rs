//! The truth, opened: `carillon migrate`, and waiting for the right schema.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use api::store::{self, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::cli::Cli;
use crate::settings::{Role, Settings};

/// How long to wait before the database is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// `carillon migrate`: brings the database to this version's schema and says what it consists of.
pub async fn migrate(cli: &Cli, new_epoch: bool) -> anyhow::Result<()> {
    let settings = Settings::read(&cli.layers(), Role::All)?;
    println!("{}", bring_up(&settings).await?);
    if new_epoch {
        let epoch = store::new_epoch(settings.database_url()).await.context("the epoch cannot be renewed")?;
        println!("new epoch {epoch}: every device starts from a snapshot");
    }
    Ok(())
}

/// Brings the database to this version's schema.
pub async fn bring_up(settings: &Settings) -> anyhow::Result<store::MigrationSummary> {
    let url = settings.database_url();
    if let Some(folder) = url.strip_prefix("sqlite://").and_then(|path| std::path::Path::new(path).parent()) {
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    store::migrate(url).await.context("the database cannot be migrated")
}

/// Opens the store. Connects when it is first used.
pub fn open(settings: &Settings) -> anyhow::Result<Arc<dyn Store>> {
    let opened = store::open(settings.database_url(), settings.api.database_connections);
    opened.context("database_url names no database that can be used")
}

/// Waits until the database can be used: reachable, with this version's schema, keeping what it commits. False if the pod
/// was told to stop first.
pub async fn is_fit(store: &dyn Store, stop: &CancellationToken) -> bool {
    let mut said = String::new();
    let waiting = async {
        while let Err(error) = store.check().await {
            let reason = reason(&error);
            if reason != said {
                tracing::warn!(%reason, "waiting for the database");
                said = reason;
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    stop.run_until_cancelled(waiting).await.is_some()
}

/// What is wrong, with its cause, for an operator.
pub fn reason(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
