//! Bringing a PostgreSQL database to this build's schema.
//!
//! Done by whoever owns the database, not by a pod: `carillon migrate`. Tables belong to that login, functions to a role that
//! cannot log in.

use shared::ids::Epoch;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{MIGRATIONS, connect};
use crate::store::schema::{self, MigrationSummary};
use crate::store::{StoreError, rows};

/// The roles behind the pods. They belong to the whole server, so another database may have made them already.
const ROLES: [&str; 2] = ["carillon_app", "carillon_definer"];

/// Makes what is missing and says what there is.
pub(in crate::store) async fn migrate(options: &PgConnectOptions) -> Result<MigrationSummary, StoreError> {
    let mut connection = connect(options).await?;
    for role in ROLES {
        have_role(&mut connection, role).await?;
    }
    MIGRATIONS.run(&mut connection).await.map_err(schema::migration_failed)?;
    let made: Vec<(String, String)> = sqlx::query_as(
        "select 'table', c.relname::text from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> '_sqlx_migrations'
         union all select 'index', i.indexname from pg_indexes i
         where i.schemaname = 'public' and i.tablename <> '_sqlx_migrations'
         union all select 'trigger', t.tgname from pg_trigger t where not t.tgisinternal
         union all select 'policy', p.tablename || '.' || p.policyname from pg_policies p where p.schemaname = 'public'
         union all select 'function', f.proname from pg_proc f
         where f.pronamespace = 'public'::regnamespace and f.proname like 'carillon\\_%'
         order by 1, 2",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    Ok(MigrationSummary::new(schema::latest(&MIGRATIONS), &made))
}

/// Makes sure that the role exists and that this login may act as it. Two databases of one server may be migrated at once.
async fn have_role(connection: &mut PgConnection, role: &str) -> Result<(), StoreError> {
    let mut refusal = None;
    // Each statement may lose a race against the same in another database; then the next look finds it done.
    for _ in 0..5 {
        let exists: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *connection)
            .await?;
        let statement = if !exists {
            format!("create role {role} nologin")
        } else if is_member(connection, role).await? {
            return Ok(());
        } else {
            format!("grant {role} to current_user")
        };
        refusal = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.err();
    }
    let why = refusal.map(|error| error.to_string()).unwrap_or_default();
    Err(StoreError::Unfit(format!(
        "the role {role} is missing and this login may not make it ({why}); as a superuser run `create role {role} nologin` \
         and grant it to the login that migrates, and carillon_app also to the login of the pods"
    )))
}

async fn is_member(connection: &mut PgConnection, role: &str) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("select pg_has_role($1, 'member')").bind(role).fetch_one(connection).await?)
}

/// Begins a new epoch: every cursor given so far is void.
pub(in crate::store) async fn new_epoch(options: &PgConnectOptions) -> Result<Epoch, StoreError> {
    let mut connection = connect(options).await?;
    // What was restored may have come without statistics, by which plans are made.
    sqlx::query("analyze").execute(&mut connection).await?;
    // First the server's own identity, or the next pod to connect would begin yet another one.
    super::today(&mut connection).await?;
    let epoch: i64 = sqlx::query_scalar("update fleet_state set epoch = $1, began_at = now() returning epoch")
        .bind(Epoch::random().0.cast_signed())
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    Ok(rows::epoch(epoch))
}
