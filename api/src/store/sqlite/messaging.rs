//! Conversations and messages in SQLite.
//!
//! Each write is one transaction in the order of ARCHITECTURE.md 4.1; there is one writer, so the order of its locks is
//! given. Reads see one moment, and every statement carries the clause that says what its caller may see.

use async_trait::async_trait;
use shared::access::Caller;
use shared::cursor::{Cursor, Feed, Positions, channel_of};
use shared::ids::ConversationId;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, Claim, NewEntry};
use super::{SqliteStore, members, now, reading, today};
use crate::model::{
    Conversation, ConversationChangeDraft, ConversationDraft, Message, MessageDraft, MessagingStats, Snapshot,
};
use crate::render;
use crate::store::lines::{NEWEST_LEFT_OUT, PAGE_OF_CONVERSATION, Reach};
use crate::store::rows::{ConversationRow, MessageRow, epoch, seq, spelling, stats};
use crate::store::{ConversationPage, Kept, MessagePage, Messaging, SNAPSHOT_PAGE, StoreError, rules};

/// A day, in microseconds.
const DAY: i64 = 24 * 3_600 * 1_000_000;

#[async_trait]
impl Messaging for SqliteStore {
    async fn create_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationDraft,
    ) -> Result<Kept<Conversation>, StoreError> {
        let cast = rules::cast(caller, draft)?;
        let mut transaction = self.write().await?;
        let key = draft.idempotency_key.as_ref();
        let claim = Claim { caller, path: "conversations", key, body_hash: draft.body_hash() };
        let first = match claim.made(&mut transaction).await? {
            Some(first) => Some(first),
            None => writing::conversation_by_pair(&mut transaction, cast.direct_pair.as_deref()).await?,
        };
        let id = first.unwrap_or(draft.id.0);
        if first.is_none() {
            writing::insert_conversation(&mut transaction, caller, draft, &cast).await?;
        }
        claim.keep(&mut transaction, id).await?;
        let value = read_conversation(&mut transaction, caller, id).await?;
        let mut envelopes = Vec::new();
        if first.is_none() {
            let body = render::conversation_changed(render::CONVERSATION_CREATED, &value, value.created_at);
            let kind = render::CONVERSATION_CREATED;
            let entry = NewEntry {
                kind,
                conversation: Some(id),
                message: None,
                user: None,
                trace: draft.trace,
                at: value.created_at,
            };
            let mut channels = writing::channels_of(&mut transaction, id).await?;
            if value.queued_at.is_some() {
                channels.extend(writing::staff_channels());
            }
            envelopes = writing::enter(&mut transaction, &channels, &entry, &body).await?;
        }
        transaction.commit().await?;
        Ok(Kept { value, created: first.is_none(), envelopes })
    }

    async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, StoreError> {
        let mut transaction = self.read().await?;
        last_seq_if_seen(&mut transaction, caller, id).await?.ok_or(StoreError::NoConversation(id))?;
        read_conversation(&mut transaction, caller, id.0).await
    }

    async fn conversations(&self, caller: &Caller, page: &ConversationPage) -> Result<Vec<Conversation>, StoreError> {
        rules::may_list(caller, page)?;
        list(&mut *self.readers.acquire().await?, caller, page).await
    }

    async fn change_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationChangeDraft,
    ) -> Result<Kept<Conversation>, StoreError> {
        rules::may_change(caller, &draft.change)?;
        let mut transaction = self.write_as(caller).await?;
        let kept = members::change(&mut transaction, caller, draft).await?;
        transaction.commit().await?;
        Ok(kept)
    }

    async fn append(&self, caller: &Caller, draft: &MessageDraft) -> Result<Kept<Message>, StoreError> {
        rules::may_send(caller, draft.message_type)?;
        let mut transaction = self.write().await?;
        let key = draft.idempotency_key.as_ref();
        let door = draft.door();
        let claim = Claim { caller, path: &door, key, body_hash: draft.request_hash() };
        let first = match claim.made(&mut transaction).await? {
            Some(first) => Some(first),
            None => writing::message_by_key(&mut transaction, caller, draft).await?,
        };
        claim.keep(&mut transaction, first.unwrap_or(draft.id.0)).await?;
        if let Some(first) = first {
            let value = writing::read_message(&mut transaction, first).await?;
            transaction.commit().await?;
            return Ok(Kept { value, created: false, envelopes: Vec::new() });
        }
        let value = writing::insert_message(&mut transaction, caller, draft).await?;
        let (conversation, message) = (draft.conversation_id.0, Some(value.id.0));
        let kind = render::NEW_MESSAGE;
        let entry = NewEntry {
            kind,
            conversation: Some(conversation),
            message,
            user: None,
            trace: draft.trace,
            at: value.created_at,
        };
        let channels = writing::channels_of(&mut transaction, conversation).await?;
        let envelopes = writing::enter(&mut transaction, &channels, &entry, &render::new_message(&value)).await?;
        transaction.commit().await?;
        Ok(Kept { value, created: true, envelopes })
    }

    async fn messages(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &MessagePage,
    ) -> Result<Vec<Message>, StoreError> {
        let mut transaction = self.read().await?;
        let seen = last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let left_out = match page.leaves_out() {
            Some(offset) => {
                let oldest: Option<i64> = sqlx::query_scalar(NEWEST_LEFT_OUT)
                    .bind(conversation.0)
                    .bind(i64::from(offset) - 1)
                    .fetch_optional(&mut *transaction)
                    .await?;
                // All of them are left out.
                Some(oldest.unwrap_or(0))
            }
            None => None,
        };
        let Reach { pivot, before, after } = page.reach(left_out);
        let rows: Vec<MessageRow> = sqlx::query_as(PAGE_OF_CONVERSATION)
            .bind(conversation.0)
            .bind(caller.user.as_str())
            .bind(pivot)
            .bind(before)
            .bind(after)
            .fetch_all(&mut *transaction)
            .await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    async fn stats(&self, caller: &Caller) -> Result<MessagingStats, StoreError> {
        let mut transaction = self.read().await?;
        let mine = sqlx::query_as(
            "select count(*), count(*) filter (where c.status = 'active')
         from conversation_participants p join conversations c on c.id = p.conversation_id
         where p.user_id = $1 and p.left_at is null",
        );
        let (conversations, active): (i64, i64) = mine.bind(caller.user.as_str()).fetch_one(&mut *transaction).await?;
        let unread = reading::unread(&mut transaction, caller).await?.totals;
        let mut all = None;
        if caller.role.is_trusted() {
            let overall = sqlx::query_as(
                "select count(*) as conversations,
             count(*) filter (where status = 'active') as active,
             count(*) filter (where status = 'archived') as archived,
             count(*) filter (where status = 'closed') as closed,
             count(*) filter (where type = 'guest_staff') as guest_staff,
             (select count(*) from messages where deleted_at is null) as messages,
             (select count(*) from messages where deleted_at is null and created_at > $1) as messages_last_day
         from conversations",
            );
            all = Some(overall.bind(now() - DAY).fetch_one(&mut *transaction).await?);
        }
        Ok(stats(conversations, active, unread, all))
    }

    async fn snapshot(&self, caller: &Caller) -> Result<Snapshot, StoreError> {
        let mut transaction = self.read().await?;
        let epoch = epoch(today(&mut transaction).await?);
        let mut positions = Positions::default();
        for feed in Feed::ALL {
            let channel = channel_of(feed, &caller.user, caller.role).to_string();
            let head: Option<i64> = sqlx::query_scalar("select seq from feeds where channel = $1")
                .bind(channel)
                .fetch_optional(&mut *transaction)
                .await?;
            positions.set(feed, seq(head.unwrap_or(0)));
        }
        let unread = reading::unread(&mut transaction, caller).await?.totals;
        let conversations = list(&mut transaction, caller, &SNAPSHOT_PAGE).await?;
        let cursor = Cursor { epoch, owner: caller.user.clone(), role: caller.role, positions };
        Ok(Snapshot { cursor, conversations, unread, notifications: Vec::new() })
    }
}

/// The number of the newest message, if the caller may see the conversation at all.
pub(super) async fn last_seq_if_seen(
    connection: &mut SqliteConnection,
    caller: &Caller,
    id: ConversationId,
) -> Result<Option<i64>, StoreError> {
    let last_seq = sqlx::query_scalar(
        "select c.last_seq from conversations c where c.id = $1 and ($2 or exists (
             select 1 from conversation_participants p
             where p.conversation_id = c.id and p.user_id = $3 and p.left_at is null))",
    )
    .bind(id.0)
    .bind(caller.role.is_trusted())
    .bind(caller.user.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(last_seq)
}

pub(super) async fn read_conversation(
    connection: &mut SqliteConnection,
    caller: &Caller,
    id: Uuid,
) -> Result<Conversation, StoreError> {
    let row: ConversationRow = sqlx::query_as(
        "select c.*, exists (select 1 from message_hides h join messages m on m.id = h.message_id
                 where h.user_id = $2 and m.conversation_id = c.id and m.seq = c.last_main_seq) as last_hidden
         from conversation_rows c where c.id = $1",
    )
    .bind(id)
    .bind(caller.user.as_str())
    .fetch_one(connection)
    .await?;
    row.seen_by(caller)
}

/// What a list says of each conversation.
macro_rules! list_of {
    () => {
        "select c.*, exists (select 1 from message_hides h join messages m on m.id = h.message_id
                 where h.user_id = $1 and m.conversation_id = c.id and m.seq = c.last_main_seq) as last_hidden "
    };
}

/// Which conversations a page has.
macro_rules! chosen {
    () => {
        "($2 is null or c.type = $2) and ($3 is null or c.status = $3)
             and ($8 is null or (coalesce(me.unread_count, 0) > 0) = $8)
             and ($9 is null or (me.archived_at is not null) = $9)
             and ($10 is null or (me.pinned_at is not null) = $10)
             and ($11 is null or (c.queued_at is not null) = $11)
             and ($12 is null or c.assigned_to = $12) "
    };
}

async fn list(
    connection: &mut SqliteConnection,
    caller: &Caller,
    page: &ConversationPage,
) -> Result<Vec<Conversation>, StoreError> {
    let after = page.after.map(|(at, id)| (at, id.0));
    let query = match page.everybodys {
        true => concat!(
            list_of!(),
            "from conversation_rows c
             left join conversation_participants me
                 on me.conversation_id = c.id and me.user_id = $1 and me.left_at is null
             where ($4 is null or c.id < $5) and ",
            chosen!(),
            "order by c.id desc limit $6 offset $7"
        ),
        false => concat!(
            list_of!(),
            "from conversation_participants me
             join conversation_rows c on c.id = me.conversation_id
             where me.user_id = $1 and me.left_at is null and ($4 is null or (c.active_at, c.id) < ($4, $5)) and ",
            chosen!(),
            "order by c.active_at desc, c.id desc limit $6 offset $7"
        ),
    };
    let rows: Vec<ConversationRow> = sqlx::query_as(query)
        .bind(caller.user.as_str())
        .bind(page.kind.map(spelling))
        .bind(page.status.map(spelling))
        .bind(after.map(|(at, _)| at))
        .bind(after.map(|(_, id)| id))
        .bind(page.limit)
        .bind(page.offset)
        .bind(page.unread)
        .bind(page.archived)
        .bind(page.pinned)
        .bind(page.queued)
        .bind(page.assigned_to.as_ref().map(|user| user.as_str()))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(|row| row.seen_by(caller)).collect()
}
