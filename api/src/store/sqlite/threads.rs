//! Threads in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, NewEntry};
use super::{SqliteStore, messaging, now};
use crate::model::{Mentions, Message, Thread, ThreadChange, ThreadChangeDraft, ThreadMarker};
use crate::render;
use crate::store::lines::{FOLLOWED_THREADS, PAGE_OF_THREAD, Reach, THREAD, THREADS};
use crate::store::rows::{MessageRow, RootRow, number};
use crate::store::{Kept, MessagePage, StoreError, ThreadPage, Threads};

#[async_trait]
impl Threads for SqliteStore {
    async fn thread(
        &self,
        caller: &Caller,
        root: MessageId,
        page: &MessagePage,
    ) -> Result<(Thread, Vec<Message>), StoreError> {
        let mut transaction = self.read().await?;
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
        Ok((thread, rows.into_iter().map(Message::try_from).collect::<Result<_, _>>()?))
    }

    async fn threads(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &ThreadPage,
    ) -> Result<Vec<Thread>, StoreError> {
        let mut transaction = self.read().await?;
        let seen = messaging::last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let (at, root) = page.bound();
        let rows: Vec<RootRow> = sqlx::query_as(if page.following { FOLLOWED_THREADS } else { THREADS })
            .bind(conversation.0)
            .bind(caller.user.as_str())
            .bind(at.as_micros())
            .bind(root)
            .bind(page.limit)
            .fetch_all(&mut *transaction)
            .await?;
        rows.into_iter().map(Thread::try_from).collect()
    }

    async fn change_thread(
        &self,
        caller: &Caller,
        draft: &ThreadChangeDraft,
    ) -> Result<Kept<ThreadMarker>, StoreError> {
        let user = &caller.user;
        let mut transaction = self.write_as(caller).await?;
        let root = read(&mut transaction, caller, draft.root).await?.root;
        let id = root.conversation_id;
        let (takes_part, last): (bool, i64) = sqlx::query_as(
            "select exists (select 1 from conversation_participants
                     where conversation_id = $1 and user_id = $2 and left_at is null),
                 (select last_seq from conversations where id = $1)",
        )
        .bind(id.0)
        .bind(user.as_str())
        .fetch_one(&mut *transaction)
        .await?;
        if !takes_part {
            return Err(StoreError::NotAParticipant(id));
        }
        let created = match draft.change {
            ThreadChange::ReadUpTo(upto) => {
                let marker = upto.map_or(last, |upto| number(upto).min(last));
                let moved = sqlx::query(
                    "update thread_followers set last_read_seq = $3
                     where root_id = $1 and user_id = $2 and last_read_seq < $3",
                );
                let moved = moved.bind(root.id.0).bind(user.as_str()).bind(marker).execute(&mut *transaction).await?;
                if moved.rows_affected() > 0 {
                    recount(&mut transaction, root.id.0, user.as_str()).await?;
                }
                moved
            }
            ThreadChange::Follow => {
                let come = sqlx::query(
                    "insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
                     values ($1, $2, $3, $4) on conflict do nothing",
                );
                come.bind(root.id.0).bind(user.as_str()).bind(id.0).bind(last).execute(&mut *transaction).await?
            }
            ThreadChange::Unfollow => {
                let gone = sqlx::query("delete from thread_followers where root_id = $1 and user_id = $2");
                gone.bind(root.id.0).bind(user.as_str()).execute(&mut *transaction).await?
            }
        };
        let created = created.rows_affected() > 0;
        let mut value = read(&mut transaction, caller, draft.root).await?.marker;
        let mut envelopes = Vec::new();
        if created {
            value.unread_version = value.unread_version.next();
            let (kind, at) = (render::THREAD_UPDATED, Timestamp::from_micros(now()));
            let (conversation, message, user) = (Some(id.0), Some(root.id.0), Some(user));
            let entry = NewEntry { kind, conversation, message, user, trace: draft.trace, at };
            let channels = [format!("user:{}", caller.user)];
            let body = render::thread_updated(&value, at);
            envelopes = writing::enter(&mut transaction, &channels, &entry, &body).await?;
        }
        transaction.commit().await?;
        Ok(Kept { value, created, envelopes })
    }
}

/// The thread that a message began or may begin, if the caller sees it.
async fn read(connection: &mut SqliteConnection, caller: &Caller, root: MessageId) -> Result<Thread, StoreError> {
    let row: Option<RootRow> = sqlx::query_as(THREAD)
        .bind(root.0)
        .bind(caller.user.as_str())
        .bind(caller.role.is_trusted())
        .fetch_optional(connection)
        .await?;
    let thread = Thread::try_from(row.ok_or(StoreError::NoMessage(root))?)?;
    if thread.root.thread_root_id.is_some() { Err(StoreError::NotARoot(root)) } else { Ok(thread) }
}

/// Refuses to answer in a thread what cannot begin one.
pub(super) async fn refuse_to_answer(
    connection: &mut SqliteConnection,
    conversation: ConversationId,
    root: MessageId,
) -> Result<(), StoreError> {
    let found: Option<(bool, bool)> = sqlx::query_as(
        "select deleted_at is not null, thread_root_id is not null from messages where id = $1 and conversation_id = $2",
    )
    .bind(root.0)
    .bind(conversation.0)
    .fetch_optional(connection)
    .await?;
    match found {
        None => Err(StoreError::NoMessage(root)),
        Some((true, _)) => Err(StoreError::Deleted(root)),
        Some((_, true)) => Err(StoreError::NotARoot(root)),
        Some(_) => Ok(()),
    }
}

/// Puts a new message into its thread. Whoever answers follows it from then on, whoever is called by name, and from the first
/// answer on whoever is answered; to all who follow it but the sender it is unread, unless it counts in the main line.
pub(super) async fn reply(connection: &mut SqliteConnection, reply: &Message) -> Result<(), StoreError> {
    let Some(root) = reply.thread_root_id else { return Ok(()) };
    let version: i64 = sqlx::query_scalar(
        "insert into threads (root_id, conversation_id, reply_count, last_reply_at) values ($1, $2, 1, $3)
         on conflict (root_id) do update
             set reply_count = reply_count + 1, last_reply_at = excluded.last_reply_at, version = version + 1
         returning version",
    )
    .bind(root.0)
    .bind(reply.conversation_id.0)
    .bind(reply.created_at.as_micros())
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "insert into thread_followers (root_id, user_id, conversation_id, last_read_seq)
         select $1, p.user_id, p.conversation_id, $4 - 1 from conversation_participants p
         where p.conversation_id = $2 and p.left_at is null and (
             p.user_id = $5
             or exists (select 1 from message_mentions x where x.message_id = $3 and x.user_id = p.user_id)
             or ($6 and p.user_id = (select sender_id from messages where id = $1)))
         on conflict do nothing",
    )
    .bind(root.0)
    .bind(reply.conversation_id.0)
    .bind(reply.id.0)
    .bind(number(reply.seq))
    .bind(reply.sender_id.as_str())
    .bind(version == 1)
    .execute(&mut *connection)
    .await?;
    if reply.is_aside() {
        sqlx::query("update thread_followers set unread_count = unread_count + 1 where root_id = $1 and user_id <> $2")
            .bind(root.0)
            .bind(reply.sender_id.as_str())
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Has those follow a thread whom an edited reply calls and did not call before.
pub(super) async fn follow_by_mention(
    connection: &mut SqliteConnection,
    old: &Message,
    called: &[String],
    now: &Mentions,
) -> Result<(), StoreError> {
    let Some(root) = old.thread_root_id else { return Ok(()) };
    for user in now.mentioned_users.iter().filter(|user| !called.iter().any(|called| called == user.as_str())) {
        let come = sqlx::query(
            "insert into thread_followers (root_id, user_id, conversation_id, last_read_seq) values ($1, $2, $3, $4)
             on conflict do nothing",
        )
        .bind(root.0)
        .bind(user.as_str())
        .bind(old.conversation_id.0)
        .bind(number(old.seq) - 1)
        .execute(&mut *connection)
        .await?;
        if come.rows_affected() > 0 {
            recount(connection, root.0, user.as_str()).await?;
        }
    }
    Ok(())
}

/// Counts a reply no longer that is about to be deleted for everyone.
pub(super) async fn take_back(connection: &mut SqliteConnection, old: &Message) -> Result<(), StoreError> {
    let Some(root) = old.thread_root_id else { return Ok(()) };
    sqlx::query("update threads set reply_count = reply_count - 1, version = version + 1 where root_id = $1")
        .bind(root.0)
        .execute(&mut *connection)
        .await?;
    if old.is_aside() {
        sqlx::query(
            "update thread_followers set unread_count = unread_count - 1
             where root_id = $1 and user_id <> $2 and last_read_seq < $3
                 and not exists (select 1 from message_hides h where h.user_id = thread_followers.user_id
                     and h.message_id = $4)",
        )
        .bind(root.0)
        .bind(old.sender_id.as_str())
        .bind(number(old.seq))
        .bind(old.id.0)
        .execute(connection)
        .await?;
    }
    Ok(())
}

/// Ends what somebody follows in a conversation.
pub(super) async fn unfollow_all(
    connection: &mut SqliteConnection,
    conversation: Uuid,
    user: &str,
) -> Result<(), StoreError> {
    sqlx::query("delete from thread_followers where user_id = $1 and conversation_id = $2")
        .bind(user)
        .bind(conversation)
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts anew what is unread to somebody in a thread that they follow.
async fn recount(connection: &mut SqliteConnection, root: Uuid, user: &str) -> Result<(), StoreError> {
    sqlx::query(
        "update thread_followers
         set unread_count = (select counted from thread_recounts where root_id = $1 and user_id = $2)
         where root_id = $1 and user_id = $2",
    )
    .bind(root)
    .bind(user)
    .execute(connection)
    .await?;
    Ok(())
}
