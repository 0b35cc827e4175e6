//! Search in PostgreSQL.
//!
//! `carillon_search` finds; what it found is read as the caller, so that row-level security decides a second time.

use async_trait::async_trait;
use shared::access::Caller;
use shared::time::Timestamp;

use super::PostgresStore;
use crate::search::Query;
use crate::store::rows::HitRow;
use crate::store::{Hit, Search, SearchPage, StoreError};

#[async_trait]
impl Search for PostgresStore {
    async fn search(&self, caller: &Caller, page: &SearchPage) -> Result<Vec<Hit>, StoreError> {
        let Query { terms, from, within, link, attachment, since, before } = &page.query;
        let texts: Vec<&str> = terms.iter().map(|term| term.words.as_str()).collect();
        let beginnings: Vec<bool> = terms.iter().map(|term| term.beginning).collect();
        let absent: Vec<bool> = terms.iter().map(|term| term.absent).collect();
        let mut transaction = self.ask_as(caller).await?;
        let rows: Vec<HitRow> = sqlx::query_as(
            "select m.*, c.subject as conversation_subject
             from carillon_search($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) found (id)
             join message_rows m on m.id = found.id
             join conversations c on c.id = m.conversation_id
             order by m.created_at desc, m.id desc",
        )
        .bind(&texts)
        .bind(&beginnings)
        .bind(&absent)
        .bind(from.as_ref().map(|user| user.as_str()))
        .bind(within.map(|id| id.0))
        .bind(link)
        .bind(attachment)
        .bind(since.map(Timestamp::as_datetime))
        .bind(before.map(Timestamp::as_datetime))
        .bind(page.after.map(|(at, _)| Timestamp::from_micros(at).as_datetime()))
        .bind(page.after.map(|(_, id)| id.0))
        .bind(i64::from(page.limit))
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Hit::try_from).collect()
    }
}
