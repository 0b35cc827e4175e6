//! Which schema a database has, and how it comes to have this build's.
//!
//! `carillon migrate` and the program that plays all roles bring a database to this build's schema; every other pod only
//! checks, and is not ready on another one.

use std::fmt;

use sqlx::migrate::{MigrateError, Migrator};

use super::StoreError;
use super::error::MIGRATE;

/// What a migrated database consists of, for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationSummary {
    /// The schema's version.
    pub version: i64,
    /// Tables.
    pub tables: Vec<String>,
    /// Indexes, those of keys included where the database names them.
    pub indexes: Vec<String>,
    /// Triggers.
    pub triggers: Vec<String>,
    /// Row-level security policies, as `table.policy`; none in SQLite.
    pub policies: Vec<String>,
    /// Functions; none in SQLite.
    pub functions: Vec<String>,
}

impl MigrationSummary {
    /// Sorts what was found, each with its kind.
    pub(super) fn new(version: i64, found: &[(String, String)]) -> Self {
        let of = |kind: &str| found.iter().filter(|(of, _)| of == kind).map(|(_, name)| name.clone()).collect();
        Self {
            version,
            tables: of("table"),
            indexes: of("index"),
            triggers: of("trigger"),
            policies: of("policy"),
            functions: of("function"),
        }
    }
}

impl fmt::Display for MigrationSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the database has schema version {}", self.version)?;
        for (what, names) in [
            ("tables", &self.tables),
            ("indexes", &self.indexes),
            ("triggers", &self.triggers),
            ("row-level security policies", &self.policies),
            ("functions", &self.functions),
        ] {
            if !names.is_empty() {
                writeln!(f, "{what}: {} ({})", names.len(), names.join(", "))?;
            }
        }
        Ok(())
    }
}

/// The version of this build's schema.
pub(super) fn latest(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Checks that the newest migration applied is this build's newest.
pub(super) fn must_be(migrations: &Migrator, applied: Option<i64>) -> Result<(), StoreError> {
    let (wanted, found) = (latest(migrations), applied.unwrap_or(0));
    if wanted == found {
        return Ok(());
    }
    Err(StoreError::Unfit(format!("it has schema version {found} and this pod needs {wanted}; {MIGRATE}")))
}

/// Why migrating failed: another history of migrations is a reason, anything else the database's own.
pub(super) fn migration_failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => {
            StoreError::Unfit(format!("{other}; use the version of carillon that made this database, or a newer one"))
        }
    }
}
