//! Threads in PostgreSQL.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::PostgresStore;
use super::messaging::{Entered, is_deadlock, last_seq_if_seen, refusal};
use crate::model::{Message, Thread, ThreadChangeDraft, ThreadMarker};
use crate::render;
use crate::store::lines::{FOLLOWED_THREADS, PAGE_OF_THREAD, Reach, THREAD, THREADS};
use crate::store::rows::{FollowerRow, MessageRow, RootRow, number, seq, thread_marker};
use crate::store::{Kept, MessagePage, StoreError, ThreadPage, Threads};

#[derive(sqlx::FromRow)]
struct ChangedRow {
    conversation_id: Uuid,
    follower: Option<Json<FollowerRow>>,
    head: i64,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl Threads for PostgresStore {
    async fn thread(
        &self,
        caller: &Caller,
        root: MessageId,
        page: &MessagePage,
    ) -> Result<(Thread, Vec<Message>), StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let thread = read(&mut transaction, caller, root).await?;
        let Reach { pivot, before, after } = page.reach(None);
        let rows: Vec<MessageRow> = sqlx::query_as(PAGE_OF_THREAD)
            .bind(root.0)
            .bind(caller.user.as_str())
            .bind(pivot)
            .bind(before)
            .bind(after)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok((thread, rows.into_iter().map(Message::try_from).collect::<Result<_, _>>()?))
    }

    async fn threads(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &ThreadPage,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut transaction = self.ask_as(caller).await?;
        let seen = last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let (at, root) = page.bound();
        let rows: Vec<RootRow> = sqlx::query_as(if page.following { FOLLOWED_THREADS } else { THREADS })
            .bind(conversation.0)
            .bind(caller.user.as_str())
            .bind(at.as_datetime())
            .bind(root)
            .bind(i64::from(page.limit))
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        rows.into_iter().map(Thread::try_from).collect()
    }

    async fn change_thread(
        &self,
        caller: &Caller,
        draft: &ThreadChangeDraft,
    ) -> Result<Kept<ThreadMarker>, StoreError> {
        let mut changed = self.call_change_thread(caller, draft).await;
        if is_deadlock(&changed) {
            changed = self.call_change_thread(caller, draft).await;
        }
        let row = changed.map_err(|error| refusal(error, None, Some(draft.root)))?;
        let head = seq(row.head);
        let follower = row.follower.map(|Json(row)| row);
        let value = thread_marker(follower, ConversationId(row.conversation_id), draft.root, head);
        let created = row.entered.created;
        let body = render::thread_updated(&value, row.entered.committed_at());
        let envelopes = row.entered.envelopes(render::THREAD_UPDATED, &body, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }
}

impl PostgresStore {
    async fn call_change_thread(&self, caller: &Caller, draft: &ThreadChangeDraft) -> Result<ChangedRow, sqlx::Error> {
        let (action, upto) = draft.change.spelling();
        sqlx::query_as("select * from carillon_change_thread($1, $2, $3, $4, $5, $6)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.root.0)
            .bind(action)
            .bind(upto.map(number))
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
    }
}

/// The thread that a message began or may begin, if the caller sees it.
async fn read(connection: &mut PgConnection, caller: &Caller, root: MessageId) -> Result<Thread, StoreError> {
    let row: Option<RootRow> = sqlx::query_as(THREAD)
        .bind(root.0)
        .bind(caller.user.as_str())
        .bind(caller.role.is_trusted())
        .fetch_optional(connection)
        .await?;
    let thread = Thread::try_from(row.ok_or(StoreError::NoMessage(root))?)?;
    if thread.root.thread_root_id.is_some() { Err(StoreError::NotARoot(root)) } else { Ok(thread) }
}
