//! Conversations and messages in PostgreSQL.
//!
//! Writes are one call each; the functions in `migrations/postgres` hold the order of locks. Reads run as the caller, and carry
//! their own where clauses beside: row-level security is the second lock on the door, not the only one.

use async_trait::async_trait;
use shared::access::Caller;
use shared::cursor::{Cursor, Feed, channel_of};
use shared::envelope::Envelope;
use shared::event::DurableBody;
use shared::ids::{ConversationId, MessageId, TraceId};
use shared::time::Timestamp;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{PostgresStore, attachments};
use crate::model::{Conversation, ConversationDraft, Message, MessageDraft, Snapshot, UnreadTotals};
use crate::render;
use crate::store::rows::{ConversationRow, EnteredRow, MessageRow, Said, epoch, positions, spelling};
use crate::store::rules::Cast;
use crate::store::{ConversationPage, Kept, MessagePage, Messaging, SNAPSHOT_PAGE, StoreError, rules};

/// Feeds that a write entered; nothing for a repeat.
#[derive(sqlx::FromRow)]
struct Entered {
    created: bool,
    life: Option<i64>,
    channels: Option<Vec<String>>,
    seqs: Option<Vec<i64>>,
    unread: Option<Vec<Option<i64>>>,
}

impl Entered {
    fn envelopes(self, body: &DurableBody, at: Timestamp, trace: TraceId) -> Result<Vec<Envelope>, StoreError> {
        let (Some(life), Some(channels), Some(seqs), Some(unread)) = (self.life, self.channels, self.seqs, self.unread)
        else {
            return Ok(Vec::new());
        };
        let said = Said { epoch: epoch(life), committed_at: at, trace, body };
        let rows = channels.into_iter().zip(seqs).zip(unread);
        rows.map(|((channel, seq), unread)| EnteredRow { channel, seq, unread }.envelope(&said)).collect()
    }
}

#[derive(sqlx::FromRow)]
struct SentRow {
    message: Json<MessageRow>,
    #[sqlx(flatten)]
    entered: Entered,
}

#[derive(sqlx::FromRow)]
struct StartedRow {
    conversation: Json<ConversationRow>,
    unread_count: i64,
    #[sqlx(flatten)]
    entered: Entered,
}

#[async_trait]
impl Messaging for PostgresStore {
    async fn create_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationDraft,
    ) -> Result<Kept<Conversation>, StoreError> {
        let cast = rules::cast(caller, draft)?;
        let mut started = self.start(caller, draft, &cast).await;
        if is_deadlock(&started) {
            started = self.start(caller, draft, &cast).await;
        }
        let row = started.map_err(|error| refusal(error, draft.id, None))?;
        let value = Conversation {
            unread_count: row.unread_count.unsigned_abs(),
            ..Conversation::try_from(row.conversation.0)?
        };
        let created = row.entered.created;
        let body = render::conversation_created(&value);
        let envelopes = row.entered.envelopes(&body, value.created_at, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let row: Option<ConversationRow> = sqlx::query_as(
            "select c.*, coalesce(me.unread_count, 0) as unread_count from conversation_rows c
             left join conversation_participants me
                 on me.conversation_id = c.id and me.user_id = $2 and me.left_at is null
             where c.id = $1 and ($3 or me.user_id is not null)",
        )
        .bind(id.0)
        .bind(caller.user.as_str())
        .bind(caller.role.is_trusted())
        .fetch_optional(&mut *transaction)
        .await?;
        transaction.commit().await?;
        row.ok_or(StoreError::NoConversation(id))?.try_into()
    }

    async fn conversations(&self, caller: &Caller, page: &ConversationPage) -> Result<Vec<Conversation>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let listed = list(&mut transaction, caller, page).await?;
        transaction.commit().await?;
        Ok(listed)
    }

    async fn append(&self, caller: &Caller, draft: &MessageDraft) -> Result<Kept<Message>, StoreError> {
        rules::may_send(caller, draft)?;
        let mut sent = self.send(caller, draft).await;
        if is_deadlock(&sent) {
            sent = self.send(caller, draft).await;
        }
        let row = sent.map_err(|error| refusal(error, draft.conversation_id, draft.reply_to))?;
        let value = Message::try_from(row.message.0)?;
        let created = row.entered.created;
        let envelopes = row.entered.envelopes(&render::new_message(&value), value.created_at, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn messages(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &MessagePage,
    ) -> Result<Vec<Message>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let last = last_seq_if_seen(&mut transaction, caller, conversation).await?;
        let (from, to) = page.range(last.ok_or(StoreError::NoConversation(conversation))?);
        let rows: Vec<MessageRow> = sqlx::query_as(
            "select * from message_rows where conversation_id = $1 and seq between $2 and $3 order by seq",
        )
        .bind(conversation.0)
        .bind(from)
        .bind(to)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    async fn snapshot(&self, caller: &Caller) -> Result<Snapshot, StoreError> {
        let channels = Feed::ALL.map(|feed| channel_of(feed, &caller.user, caller.role).to_string());
        let mut transaction = self.read_as(caller).await?;
        let (life, user, role, all, messages, unread_conversations): (i64, i64, i64, i64, i64, i64) = sqlx::query_as(
            "select s.epoch, coalesce(u.seq, 0), coalesce(r.seq, 0), coalesce(a.seq, 0), n.messages, n.conversations
             from fleet_state s
             left join feeds u on u.channel = $1
             left join feeds r on r.channel = $2
             left join feeds a on a.channel = $3
             cross join (
                 select coalesce(sum(p.unread_count), 0)::bigint as messages,
                     count(*) filter (where p.unread_count > 0) as conversations
                 from conversation_participants p where p.user_id = $4 and p.left_at is null
             ) n",
        )
        .bind(&channels[0])
        .bind(&channels[1])
        .bind(&channels[2])
        .bind(caller.user.as_str())
        .fetch_one(&mut *transaction)
        .await?;
        let conversations = list(&mut transaction, caller, &SNAPSHOT_PAGE).await?;
        transaction.commit().await?;
        let positions = positions(user, role, all);
        let unread = UnreadTotals {
            messages: messages.unsigned_abs(),
            conversations: unread_conversations.unsigned_abs(),
            version: positions.user,
        };
        let cursor = Cursor { epoch: epoch(life), owner: caller.user.clone(), role: caller.role, positions };
        Ok(Snapshot { cursor, conversations, unread, notifications: Vec::new() })
    }
}

impl PostgresStore {
    async fn start(&self, caller: &Caller, draft: &ConversationDraft, cast: &Cast) -> Result<StartedRow, sqlx::Error> {
        let others: Vec<&str> = cast.others.iter().map(|user| user.as_str()).collect();
        sqlx::query_as("select * from carillon_create_conversation($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
            .bind(caller.user.as_str())
            .bind(caller.role.as_str())
            .bind(caller.name.as_deref())
            .bind(draft.id.0)
            .bind(spelling(draft.kind))
            .bind(draft.subject.as_deref())
            .bind(Json(&draft.metadata))
            .bind(&others)
            .bind(cast.direct_pair.as_deref())
            .bind(draft.idempotency_key.as_ref().map(|key| key.as_str()))
            .bind(draft.body_hash().as_slice())
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
    }

    async fn send(&self, caller: &Caller, draft: &MessageDraft) -> Result<SentRow, sqlx::Error> {
        sqlx::query_as("select * from carillon_send($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)")
            .bind(caller.user.as_str())
            .bind(caller.role.is_trusted())
            .bind(draft.id.0)
            .bind(draft.conversation_id.0)
            .bind(&draft.message_text)
            .bind(spelling(draft.message_type))
            .bind(draft.client_message_id.as_ref().map(|key| key.as_str()))
            .bind(draft.client_message_id.as_ref().map(|_| draft.body_hash().to_vec()))
            .bind(draft.idempotency_key.as_ref().map(|key| key.as_str()))
            .bind(draft.idempotency_key.as_ref().map(|_| draft.request_hash().to_vec()))
            .bind(draft.reply_to.map(|id| id.0))
            .bind(draft.attachment_ids.iter().map(|id| id.0).collect::<Vec<_>>())
            .bind(Uuid::from_u128(draft.trace.0))
            .fetch_one(&self.pool)
            .await
    }
}

/// The number of the newest message, if the caller may see the conversation at all.
pub(super) async fn last_seq_if_seen(
    connection: &mut PgConnection,
    caller: &Caller,
    id: ConversationId,
) -> Result<Option<i64>, StoreError> {
    let last_seq = sqlx::query_scalar(
        "select c.last_seq from conversations c where c.id = $1 and ($2 or exists (
             select from conversation_participants p
             where p.conversation_id = c.id and p.user_id = $3 and p.left_at is null))",
    )
    .bind(id.0)
    .bind(caller.role.is_trusted())
    .bind(caller.user.as_str())
    .fetch_optional(connection)
    .await?;
    Ok(last_seq)
}

async fn list(
    connection: &mut PgConnection,
    caller: &Caller,
    page: &ConversationPage,
) -> Result<Vec<Conversation>, StoreError> {
    let after = page.after.map(|(at, id)| (Timestamp::from_micros(at).as_datetime(), id.0));
    let rows: Vec<ConversationRow> = sqlx::query_as(
        "select c.*, me.unread_count from conversation_participants me
         join conversation_rows c on c.id = me.conversation_id
         where me.user_id = $1 and me.left_at is null
             and ($2::text is null or c.type = $2) and ($3::text is null or c.status = $3)
             and ($4::timestamptz is null or (c.active_at, c.id) < ($4, $5))
         order by c.active_at desc, c.id desc limit $6 offset $7",
    )
    .bind(caller.user.as_str())
    .bind(page.kind.map(spelling))
    .bind(page.status.map(spelling))
    .bind(after.map(|(at, _)| at))
    .bind(after.map(|(_, id)| id))
    .bind(i64::from(page.limit))
    .bind(i64::from(page.offset))
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Conversation::try_from).collect()
}

/// Whether the database broke a deadlock at our cost. Nothing of the attempt remains, so it can be made once more.
fn is_deadlock<T>(done: &Result<T, sqlx::Error>) -> bool {
    let code = done.as_ref().err().and_then(|error| error.as_database_error()).and_then(|refused| refused.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// What a function refused, in the words of the store.
fn refusal(error: sqlx::Error, conversation: ConversationId, reply_to: Option<MessageId>) -> StoreError {
    let code = error.as_database_error().and_then(|refused| refused.code());
    match (code.as_deref(), reply_to) {
        (Some("CA001"), _) => StoreError::NoConversation(conversation),
        (Some("CA002"), _) => StoreError::NotAParticipant(conversation),
        (Some("CA003"), _) => StoreError::Closed(conversation),
        (Some("CA004"), _) => StoreError::KeyReused,
        (Some("CA005"), Some(message)) => StoreError::NoMessage(message),
        _ => attachments::refusal(error),
    }
}
