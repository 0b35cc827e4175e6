//! The steps of a write in SQLite, each inside the one write transaction.
//!
//! On the line this is where a draft becomes a message and gets its numbers. What is looked up here is current: nobody else
//! writes until the transaction ends.

use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::envelope::Envelope;
use shared::event::DurableBody;
use shared::ids::{IdempotencyKey, MessageId, TraceId, UserId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::{attachments, changing, messaging, now, people, threads, today};
use crate::model::{ConversationDraft, ConversationStatus, Mentions, Message, MessageDraft, ParticipantRole};
use crate::store::StoreError;
use crate::store::arrival::SeenRow;
use crate::store::rows::{EnteredRow, MessageRow, Said, epoch, spelling, word};
use crate::store::rules::{self, Cast};

/// Notes who was seen with which role, by which people join conversations, and how they want to be called unless a service has
/// said it.
pub(super) async fn note_users(connection: &mut SqliteConnection, users: &[SeenRow]) -> Result<(), StoreError> {
    sqlx::query(
        "insert into users (id, role, name, seen_at)
         select value ->> 'id', value ->> 'role', value ->> 'name', $2 from json_each($1) where true
         on conflict (id) do update
             set role = excluded.role, seen_at = excluded.seen_at,
                 name = iif(updated_at is null, coalesce(excluded.name, name), name)",
    )
    .bind(sqlx::types::Json(users))
    .bind(now())
    .execute(connection)
    .await?;
    Ok(())
}

/// A creating request that happens once: whose key it is, at which path, and what was asked under it.
pub(super) struct Claim<'a> {
    pub(super) caller: &'a Caller,
    pub(super) path: &'a str,
    pub(super) key: Option<&'a IdempotencyKey>,
    pub(super) body_hash: [u8; 32],
}

impl Claim<'_> {
    /// What the key made before.
    pub(super) async fn made(&self, connection: &mut SqliteConnection) -> Result<Option<Uuid>, StoreError> {
        let Some(key) = self.key else { return Ok(None) };
        let first: Option<(Vec<u8>, Uuid)> = sqlx::query_as(
            "select body_hash, result_id from idempotency_keys where caller = $1 and path = $2 and key = $3",
        )
        .bind(self.caller.user.as_str())
        .bind(self.path)
        .bind(key.as_str())
        .fetch_optional(connection)
        .await?;
        match first {
            Some((hash, _)) if hash != self.body_hash => Err(StoreError::KeyReused),
            first => Ok(first.map(|(_, id)| id)),
        }
    }

    /// Notes what the key made, for repeats.
    pub(super) async fn keep(&self, connection: &mut SqliteConnection, made: Uuid) -> Result<(), StoreError> {
        let Some(key) = self.key else { return Ok(()) };
        sqlx::query(
            "insert into idempotency_keys (caller, path, key, body_hash, result_id, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
        )
        .bind(self.caller.user.as_str())
        .bind(self.path)
        .bind(key.as_str())
        .bind(self.body_hash.as_slice())
        .bind(made)
        .bind(now())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The one direct conversation of a pair.
pub(super) async fn conversation_by_pair(
    connection: &mut SqliteConnection,
    pair: Option<&str>,
) -> Result<Option<Uuid>, StoreError> {
    let Some(pair) = pair else { return Ok(None) };
    let id = sqlx::query_scalar("select id from conversations where direct_pair = $1");
    Ok(id.bind(pair).fetch_optional(connection).await?)
}

/// The conversation and its participants; the caller owns it.
pub(super) async fn insert_conversation(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &ConversationDraft,
    cast: &Cast,
) -> Result<(), StoreError> {
    people::refuse_banned(connection, caller).await?;
    people::refuse_blocked(connection, cast.direct_pair.as_deref()).await?;
    people::refuse_erased(connection, &cast.others).await?;
    note_users(connection, &[caller.into()]).await?;
    let at = now();
    let mut others = Vec::with_capacity(cast.others.len());
    for user in &cast.others {
        let known_as: Option<String> = sqlx::query_scalar("select role from users where id = $1")
            .bind(user.as_str())
            .fetch_optional(&mut *connection)
            .await?;
        others.push((user, rules::participant_role(known_as.as_deref())));
    }
    let waits = rules::waits_for_staff(caller, draft.kind, others.iter().map(|(_, role)| role));
    sqlx::query(
        "insert into conversations (id, type, subject, metadata, direct_pair, created_by, queued_at, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(draft.id.0)
    .bind(spelling(draft.kind))
    .bind(&draft.subject)
    .bind(sqlx::types::Json(&draft.metadata))
    .bind(&cast.direct_pair)
    .bind(caller.user.as_str())
    .bind(waits.then_some(at))
    .bind(at)
    .execute(&mut *connection)
    .await?;
    insert_participant(connection, draft.id.0, caller.user.as_str(), ParticipantRole::Owner, at).await?;
    for (user, role) in others {
        insert_participant(connection, draft.id.0, user.as_str(), role, at).await?;
    }
    Ok(())
}

async fn insert_participant(
    connection: &mut SqliteConnection,
    conversation: Uuid,
    user: &str,
    role: ParticipantRole,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into conversation_participants (conversation_id, user_id, role, joined_at, shows_receipts)
         values ($1, $2, $3, $4, coalesce((select receipts from privacy_settings where user_id = $2), true))",
    )
    .bind(conversation)
    .bind(user)
    .bind(spelling(role))
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

/// The message that the sender's own key made before.
pub(super) async fn message_by_key(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &MessageDraft,
) -> Result<Option<Uuid>, StoreError> {
    let Some(key) = &draft.client_message_id else { return Ok(None) };
    let first: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
        "select id, body_hash from messages
         where conversation_id = $1 and sender_id = $2 and client_message_id = $3",
    )
    .bind(draft.conversation_id.0)
    .bind(caller.user.as_str())
    .bind(key.as_str())
    .fetch_optional(connection)
    .await?;
    match first {
        Some((_, hash)) if hash != draft.body_hash() => Err(StoreError::KeyReused),
        first => Ok(first.map(|(id, _)| id)),
    }
}

/// Gives the message its number and keeps it, if the caller may send it there.
pub(super) async fn insert_message(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &MessageDraft,
) -> Result<Message, StoreError> {
    let last_seq = must_take_messages(connection, caller, draft).await?;
    let (conversation, at) = (draft.conversation_id.0, now());
    let in_main_line = draft.in_thread.is_none_or(|thread| thread.also_in_conversation);
    sqlx::query(
        "insert into messages (id, conversation_id, seq, sender_id, message_text, message_type, client_message_id,
             body_hash, reply_to, created_at, priority, requires_acknowledgement, thread_root_id, in_main_line)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(draft.id.0)
    .bind(conversation)
    .bind(last_seq + 1)
    .bind(caller.user.as_str())
    .bind(&draft.message_text)
    .bind(spelling(draft.message_type))
    .bind(draft.client_message_id.as_ref().map(|key| key.as_str()))
    .bind(draft.client_message_id.as_ref().map(|_| draft.body_hash().to_vec()))
    .bind(draft.reply_to.map(|id| id.0))
    .bind(at)
    .bind(spelling(draft.priority))
    .bind(draft.requires_acknowledgement)
    .bind(draft.in_thread.map(|thread| thread.root.0))
    .bind(in_main_line)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "update conversations set last_seq = $2, last_main_seq = iif($4, $2, last_main_seq),
             last_message_at = iif($4, $3, last_message_at)
         where id = $1",
    )
    .bind(conversation)
    .bind(last_seq + 1)
    .bind(at)
    .bind(in_main_line)
    .execute(&mut *connection)
    .await?;
    if in_main_line {
        sqlx::query(
            "update conversation_participants set unread_count = unread_count + 1
             where conversation_id = $1 and user_id <> $2 and left_at is null",
        )
        .bind(conversation)
        .bind(caller.user.as_str())
        .execute(&mut *connection)
        .await?;
    }
    attachments::attach(connection, caller, draft).await?;
    mention(connection, (conversation, last_seq + 1, draft.id.0), &draft.mentions).await?;
    if let Some(source) = draft.forwards {
        forward(connection, caller, draft.id, source).await?;
    }
    let message = read_message(connection, draft.id.0).await?;
    if draft.in_thread.is_none() {
        return Ok(message);
    }
    threads::reply(connection, &message).await?;
    read_message(connection, draft.id.0).await
}

/// Lets the message of that conversation and number call these and nobody else; answers whether it called others before.
pub(super) async fn mention(
    connection: &mut SqliteConnection,
    (conversation, seq, message): (Uuid, i64, Uuid),
    mentions: &Mentions,
) -> Result<bool, StoreError> {
    for user in &mentions.mentioned_users {
        let takes_part: bool = sqlx::query_scalar(
            "select exists (select 1 from conversation_participants
                 where conversation_id = $1 and user_id = $2 and left_at is null)",
        )
        .bind(conversation)
        .bind(user.as_str())
        .fetch_one(&mut *connection)
        .await?;
        if !takes_part {
            return Err(StoreError::NotIn(user.clone()));
        }
    }
    let keys = sqlx::types::Json(mentions.keys());
    let gone = sqlx::query(
        "delete from message_mentions where message_id = $1 and user_id not in (select value from json_each($2))",
    )
    .bind(message)
    .bind(&keys)
    .execute(&mut *connection)
    .await?;
    let come = sqlx::query(
        "insert into message_mentions (message_id, user_id, conversation_id, seq)
         select $1, value, $3, $4 from json_each($2) where true on conflict do nothing",
    )
    .bind(message)
    .bind(&keys)
    .bind(conversation)
    .bind(seq)
    .execute(connection)
    .await?;
    Ok(gone.rows_affected() + come.rows_affected() > 0)
}

/// Makes a new message say what another one says at this moment, if its sender may see that one. What was forwarded before
/// keeps its first sender.
async fn forward(
    connection: &mut SqliteConnection,
    caller: &Caller,
    message: MessageId,
    id: MessageId,
) -> Result<(), StoreError> {
    let source = changing::seen(connection, caller, id).await?;
    if source.hidden {
        return Err(StoreError::NoMessage(id));
    }
    if source.deleted_at.is_some() {
        return Err(StoreError::Deleted(id));
    }
    sqlx::query(
        "update messages
         set message_text = source.message_text,
             message_type = iif(source.message_type in ('voice', 'file'), source.message_type, 'text'),
             forwarded_from = coalesce(source.forwarded_from, json_object(
                 'message_id', lower(hex(source.id)), 'sender_id', source.sender_id, 'created_at', source.created_at
             ))
         from messages source
         where messages.id = $1 and source.id = $2",
    )
    .bind(message.0)
    .bind(id.0)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "insert into forwarded_attachments (message_id, attachment_id, place)
         select $1, id, place_there from brought_attachments where brought_by = $2",
    )
    .bind(message.0)
    .bind(id.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// The number of the newest message, if the conversation takes another one from the caller.
async fn must_take_messages(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &MessageDraft,
) -> Result<i64, StoreError> {
    let id = draft.conversation_id;
    let last_seq = messaging::last_seq_if_seen(connection, caller, id).await?;
    let last_seq = last_seq.ok_or(StoreError::NoConversation(id))?;
    let (status, pair, takes_part, reply_exists): (String, Option<String>, bool, bool) = sqlx::query_as(
        "select c.status, c.direct_pair,
             exists (select 1 from conversation_participants
                 where conversation_id = c.id and user_id = $2 and left_at is null),
             $3 is null or exists (select 1 from messages where id = $3 and conversation_id = c.id)
         from conversations c where c.id = $1",
    )
    .bind(id.0)
    .bind(caller.user.as_str())
    .bind(draft.reply_to.map(|id| id.0))
    .fetch_one(&mut *connection)
    .await?;
    if !takes_part {
        return Err(StoreError::NotAParticipant(id));
    }
    people::refuse_banned(connection, caller).await?;
    if word::<ConversationStatus>(status)? == ConversationStatus::Closed {
        return Err(StoreError::Closed(id));
    }
    people::refuse_blocked(connection, pair.as_deref()).await?;
    match draft.reply_to {
        Some(message) if !reply_exists => return Err(StoreError::NoMessage(message)),
        _ => {}
    }
    if let Some(thread) = draft.in_thread {
        threads::refuse_to_answer(connection, id, thread.root).await?;
    }
    Ok(last_seq)
}

pub(super) async fn read_message(connection: &mut SqliteConnection, id: Uuid) -> Result<Message, StoreError> {
    let row: MessageRow =
        sqlx::query_as("select * from message_rows where id = $1").bind(id).fetch_one(connection).await?;
    row.try_into()
}

/// Something that happened, about to enter feeds.
pub(super) struct NewEntry<'a> {
    pub(super) kind: &'static str,
    /// Where, if it happened in a conversation.
    pub(super) conversation: Option<Uuid>,
    pub(super) message: Option<Uuid>,
    /// Whom it is about, where it is about somebody.
    pub(super) user: Option<&'a UserId>,
    pub(super) trace: TraceId,
    pub(super) at: Timestamp,
}

/// The feeds of everyone in a conversation.
pub(super) async fn channels_of(
    connection: &mut SqliteConnection,
    conversation: Uuid,
) -> Result<Vec<String>, StoreError> {
    let channels = sqlx::query_scalar(
        "select 'user:' || user_id from conversation_participants
         where conversation_id = $1 and left_at is null order by user_id",
    );
    Ok(channels.bind(conversation).fetch_all(connection).await?)
}

/// The feeds of everyone who works here.
pub(super) fn staff_channels() -> [String; 2] {
    [Role::Admin, Role::Staff].map(|role| Channel::Role(role).to_string())
}

/// Numbers the entry in these feeds and notes them in the outbox. Of messages and markers each owner is told their count of
/// unread messages.
pub(super) async fn enter(
    connection: &mut SqliteConnection,
    channels: &[String],
    entry: &NewEntry<'_>,
    body: &DurableBody,
) -> Result<Vec<Envelope>, StoreError> {
    let channels = sqlx::types::Json(channels);
    sqlx::query(
        "insert into feeds (channel, seq) select value, 1 from json_each($1) where true
         on conflict (channel) do update set seq = seq + 1",
    )
    .bind(channels)
    .execute(&mut *connection)
    .await?;
    let entered: Vec<EnteredRow> = sqlx::query_as(
        "select f.channel, f.seq,
             case when $3 like 'message.%' or $3 like 'reaction.%' or $3 = 'new_message' then
                 iif(m.in_main_line = 0, t.unread_count, p.unread_count)
             end as unread
         from json_each($1) c
         join feeds f on f.channel = c.value
         left join messages m on m.id = $4
         left join conversation_participants p
             on p.conversation_id = $2 and f.channel = 'user:' || p.user_id and p.left_at is null
         left join thread_followers t on t.root_id = m.thread_root_id and t.user_id = p.user_id
         order by f.channel",
    )
    .bind(channels)
    .bind(entry.conversation)
    .bind(entry.kind)
    .bind(entry.message)
    .fetch_all(&mut *connection)
    .await?;
    let heads = serde_json::to_string(&entered.iter().map(|row| (&row.channel, row.seq)).collect::<Vec<_>>());
    let heads = heads.map_err(StoreError::broken)?;
    sqlx::query(
        "insert into entries (channel, seq, kind, conversation_id, message_id, user_id, created_at, trace)
         select value ->> 0, value ->> 1, $2, $3, $4, $5, $6, $7 from json_each($1)",
    )
    .bind(&heads)
    .bind(entry.kind)
    .bind(entry.conversation)
    .bind(entry.message)
    .bind(entry.user.map(UserId::as_str))
    .bind(entry.at.as_micros())
    .bind(Uuid::from_u128(entry.trace.0))
    .execute(&mut *connection)
    .await?;
    let life = today(connection).await?;
    sqlx::query("insert into outbox (heads, epoch, created_at) values ($1, $2, $3)")
        .bind(&heads)
        .bind(life)
        .bind(entry.at.as_micros())
        .execute(connection)
        .await?;
    let said = Said { epoch: epoch(life), committed_at: entry.at, trace: entry.trace, kind: entry.kind, body };
    entered.into_iter().map(|row| row.envelope(&said)).collect()
}
