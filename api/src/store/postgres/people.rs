//! People in PostgreSQL: functions of `0020_people.sql`. No pod reads the table of users itself.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::UserId;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::Entered;
use crate::model::{User, UserDraft};
use crate::render;
use crate::store::rows::UserRow;
use crate::store::rules::{MOST_TOLD, may_put_users};
use crate::store::{Kept, People, StoreError};

#[derive(sqlx::FromRow)]
struct PutRow {
    person: Json<UserRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl People for PostgresStore {
    async fn put_user(&self, caller: &Caller, draft: &UserDraft) -> Result<Kept<User>, StoreError> {
        may_put_users(caller)?;
        let row: PutRow = sqlx::query_as("select * from carillon_put_user($1, $2, $3, $4, $5)")
            .bind(draft.id.as_str())
            .bind(draft.role.map(|role| role.as_str()))
            .bind(Json(draft.profile()))
            .bind(i64::try_from(MOST_TOLD).unwrap_or(i64::MAX))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await?;
        let value = User::try_from(row.person.0)?;
        let (created, at) = (row.entered.created, row.entered.committed_at());
        let body = render::user_updated(&value, draft.trace, at);
        let envelopes = row.entered.envelopes(render::USER_UPDATED, &body, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn user(&self, caller: &Caller, id: &UserId) -> Result<User, StoreError> {
        let row: Option<Json<UserRow>> = sqlx::query_scalar("select * from carillon_user($1, $2, $3)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(id.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.ok_or_else(|| StoreError::NoUser(id.clone()))?.0.try_into()
    }
}
