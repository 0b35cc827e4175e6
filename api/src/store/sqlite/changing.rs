//! Changes of messages in SQLite.

use async_trait::async_trait;
use shared::access::Caller;
use shared::ids::{ConversationId, MessageId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, NewEntry};
use super::{SqliteStore, messaging, now, people, threads};
use crate::model::{Acknowledged, Change, ChangeDraft, ConversationStatus, Mentions, Message, MessageVersion};
use crate::render;
use crate::store::rows::{AcknowledgedRow, MessageRow, VersionRow, number, word};
use crate::store::rules::{
    FORWARDS_STAY, MOST_PINS, MOST_REACTIONS, MOST_VERSIONS, NOT_ASKED, NOT_THE_SENDER, TOO_MANY_PINS,
    TOO_MANY_REACTIONS,
};
use crate::store::{AcknowledgementPage, Changing, Kept, StoreError};

#[async_trait]
impl Changing for SqliteStore {
    async fn change(&self, caller: &Caller, draft: &ChangeDraft) -> Result<Kept<Message>, StoreError> {
        let mut transaction = self.write_as(caller).await?;
        let old = take(&mut transaction, caller, draft).await?;
        let (user, at) = (caller.user.as_str(), now());
        let created = match &draft.change {
            Change::Edit(text, mentions) => edit(&mut transaction, &old, text, mentions.as_ref(), at).await?,
            Change::Delete => delete(&mut transaction, &old, at).await?,
            Change::Hide => hide(&mut transaction, &old, user).await?,
            Change::React(sign) => react(&mut transaction, &old, sign, user, at).await?,
            Change::Unreact(sign) => unreact(&mut transaction, &old, sign, user).await?,
            Change::Pin => pin(&mut transaction, &old, user, at).await?,
            Change::Unpin => unpin(&mut transaction, &old).await?,
            Change::Acknowledge => acknowledge(&mut transaction, &old, user, at).await?,
        };
        let mut value = writing::read_message(&mut transaction, old.id.0).await?;
        let mut envelopes = Vec::new();
        if created {
            let (kind, at) = (render::kind_of(&draft.change), Timestamp::from_micros(at));
            let (conversation, message, trace) = (old.conversation_id.0, Some(old.id.0), draft.trace);
            let entry =
                NewEntry { kind, conversation: Some(conversation), message, user: Some(&caller.user), trace, at };
            let channels = match draft.change {
                Change::Hide => vec![format!("user:{user}")],
                _ => writing::channels_of(&mut transaction, conversation).await?,
            };
            let body = render::message_changed(kind, &value, &caller.user, at);
            envelopes = writing::enter(&mut transaction, &channels, &entry, &body).await?;
        }
        transaction.commit().await?;
        if draft.change == Change::Hide {
            value = value.hidden();
        }
        Ok(Kept { value, created, envelopes })
    }

    async fn message(&self, caller: &Caller, id: MessageId) -> Result<Message, StoreError> {
        seen(&mut *self.readers.acquire().await?, caller, id).await
    }

    async fn history(&self, caller: &Caller, id: MessageId) -> Result<Vec<MessageVersion>, StoreError> {
        let mut transaction = self.read().await?;
        if seen(&mut transaction, caller, id).await?.hidden {
            return Ok(Vec::new());
        }
        let rows: Vec<VersionRow> = sqlx::query_as(
            "select version, message_text, replaced_at from message_versions where message_id = $1
             order by version desc limit $2",
        )
        .bind(id.0)
        .bind(MOST_VERSIONS)
        .fetch_all(&mut *transaction)
        .await?;
        Ok(rows.into_iter().rev().map(MessageVersion::from).collect())
    }

    async fn acknowledgements(
        &self,
        caller: &Caller,
        id: MessageId,
        page: &AcknowledgementPage,
    ) -> Result<Vec<Acknowledged>, StoreError> {
        let mut transaction = self.read().await?;
        if seen(&mut transaction, caller, id).await?.hidden {
            return Ok(Vec::new());
        }
        let rows: Vec<AcknowledgedRow> = sqlx::query_as(
            "select user_id, created_at as acknowledged_at from message_acknowledgements
             where message_id = $1 and ($2 is null or (created_at, user_id) > ($2, $3))
             order by created_at, user_id limit $4",
        )
        .bind(id.0)
        .bind(page.after.as_ref().map(|(at, _)| *at))
        .bind(page.after.as_ref().map(|(_, user)| user.as_str()))
        .bind(page.limit)
        .fetch_all(&mut *transaction)
        .await?;
        rows.into_iter().map(Acknowledged::try_from).collect()
    }

    async fn pins(&self, caller: &Caller, conversation: ConversationId) -> Result<Vec<Message>, StoreError> {
        let mut transaction = self.read().await?;
        let seen = messaging::last_seq_if_seen(&mut transaction, caller, conversation).await?;
        seen.ok_or(StoreError::NoConversation(conversation))?;
        let rows: Vec<MessageRow> = sqlx::query_as(
            "select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
             from message_rows m where m.conversation_id = $1 and m.pinned_at is not null
             order by m.pinned_at desc, m.seq desc",
        )
        .bind(conversation.0)
        .bind(caller.user.as_str())
        .fetch_all(&mut *transaction)
        .await?;
        rows.into_iter().map(Message::try_from).collect()
    }
}

/// The message, if the caller may see it.
pub(super) async fn seen(
    connection: &mut SqliteConnection,
    caller: &Caller,
    id: MessageId,
) -> Result<Message, StoreError> {
    let row: Option<MessageRow> = sqlx::query_as(
        "select m.*, exists (select 1 from message_hides h where h.user_id = $2 and h.message_id = m.id) as hidden
         from message_rows m where m.id = $1 and ($3 or exists (
             select 1 from conversation_participants p
             where p.conversation_id = m.conversation_id and p.user_id = $2 and p.left_at is null))",
    )
    .bind(id.0)
    .bind(caller.user.as_str())
    .bind(caller.role.is_trusted())
    .fetch_optional(connection)
    .await?;
    row.ok_or(StoreError::NoMessage(id))?.try_into()
}

/// The message as it is, if the caller may change it like that.
async fn take(connection: &mut SqliteConnection, caller: &Caller, draft: &ChangeDraft) -> Result<Message, StoreError> {
    let old = seen(connection, caller, draft.message_id).await?;
    let (status, pair, takes_part): (String, Option<String>, bool) = sqlx::query_as(
        "select c.status, c.direct_pair, exists (select 1 from conversation_participants p
             where p.conversation_id = c.id and p.user_id = $2 and p.left_at is null)
         from conversations c where c.id = $1",
    )
    .bind(old.conversation_id.0)
    .bind(caller.user.as_str())
    .fetch_one(&mut *connection)
    .await?;
    let moderates = draft.change == Change::Delete;
    if !takes_part && !moderates {
        return Err(StoreError::NotAParticipant(old.conversation_id));
    }
    if word::<ConversationStatus>(status)? == ConversationStatus::Closed && !moderates {
        return Err(StoreError::Closed(old.conversation_id));
    }
    let (is_deleted, is_own) = (old.deleted_at.is_some(), old.sender_id == caller.user);
    match draft.change {
        Change::Edit(..) | Change::React(_) | Change::Pin | Change::Acknowledge if is_deleted => {
            Err(StoreError::Deleted(old.id))
        }
        Change::Acknowledge if is_own || !old.requires_acknowledgement => Err(NOT_ASKED),
        Change::Edit(..) if !is_own => Err(NOT_THE_SENDER),
        Change::Edit(..) if old.forwarded_from.is_some() => Err(FORWARDS_STAY),
        Change::Delete if !is_own && !caller.role.is_trusted() => Err(NOT_THE_SENDER),
        // What brings something new to the other one of a pair.
        Change::Edit(..) | Change::React(_) => {
            people::refuse_blocked(connection, pair.as_deref()).await?;
            Ok(old)
        }
        _ => Ok(old),
    }
}

async fn edit(
    connection: &mut SqliteConnection,
    old: &Message,
    text: &str,
    mentions: Option<&Mentions>,
    at: i64,
) -> Result<bool, StoreError> {
    let calls_others = match mentions {
        Some(mentions) => {
            let place = (old.conversation_id.0, number(old.seq), old.id.0);
            // What a person has hidden for themselves still calls whom it called.
            let called: Vec<String> = sqlx::query_scalar("select user_id from message_mentions where message_id = $1")
                .bind(old.id.0)
                .fetch_all(&mut *connection)
                .await?;
            let calls_others = writing::mention(connection, place, mentions).await?;
            threads::follow_by_mention(connection, old, &called, mentions).await?;
            calls_others
        }
        None => false,
    };
    // What a person has hidden for themselves is still what it said.
    let before: String = sqlx::query_scalar("select message_text from messages where id = $1")
        .bind(old.id.0)
        .fetch_one(&mut *connection)
        .await?;
    if before == text {
        return if calls_others { raise_version(connection, old.id.0).await } else { Ok(false) };
    }
    sqlx::query(
        "insert into message_versions (message_id, version, message_text, replaced_at) values ($1, $2, $3, $4)",
    )
    .bind(old.id.0)
    .bind(i64::try_from(old.version).unwrap_or(i64::MAX))
    .bind(before)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    sqlx::query("update messages set message_text = $2, edited_at = $3, version = version + 1 where id = $1")
        .bind(old.id.0)
        .bind(text)
        .bind(at)
        .execute(connection)
        .await?;
    Ok(true)
}

async fn delete(connection: &mut SqliteConnection, old: &Message, at: i64) -> Result<bool, StoreError> {
    if old.deleted_at.is_none() {
        make_tombstone(connection, old, at).await?;
    }
    Ok(old.deleted_at.is_none())
}

/// Takes from a message what it says; it is unread to nobody any more.
pub(super) async fn make_tombstone(
    connection: &mut SqliteConnection,
    old: &Message,
    at: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "update conversation_participants set unread_count = unread_count - 1
         where not $5 and conversation_id = $1 and user_id <> $2 and last_read_seq < $3 and left_at is null
             and not exists (select 1 from message_hides h where h.user_id = conversation_participants.user_id
                 and h.message_id = $4)",
    )
    .bind(old.conversation_id.0)
    .bind(old.sender_id.as_str())
    .bind(number(old.seq))
    .bind(old.id.0)
    .bind(old.is_aside())
    .execute(&mut *connection)
    .await?;
    threads::take_back(connection, old).await?;
    for gone in [
        "delete from message_versions where message_id = $1",
        "delete from message_reactions where message_id = $1",
        "delete from message_mentions where message_id = $1",
        "delete from forwarded_attachments where message_id = $1",
        "delete from message_acknowledgements where message_id = $1",
    ] {
        sqlx::query(gone).bind(old.id.0).execute(&mut *connection).await?;
    }
    sqlx::query(
        "update messages set message_text = '', deleted_at = $2, version = version + 1, pinned_at = null,
             pinned_by = null, forwarded_from = null, priority = 'normal', requires_acknowledgement = 0
         where id = $1",
    )
    .bind(old.id.0)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn hide(connection: &mut SqliteConnection, old: &Message, user: &str) -> Result<bool, StoreError> {
    let hidden = sqlx::query("insert into message_hides (user_id, message_id) values ($1, $2) on conflict do nothing")
        .bind(user)
        .bind(old.id.0)
        .execute(&mut *connection)
        .await?;
    if hidden.rows_affected() == 0 {
        return Ok(false);
    }
    if old.sender_id.as_str() != user && old.deleted_at.is_none() {
        let (counts, place) = match old.thread_root_id.filter(|_| old.is_aside()) {
            Some(root) => (
                "update thread_followers set unread_count = unread_count - 1
                 where root_id = $1 and user_id = $2 and last_read_seq < $3",
                root.0,
            ),
            None => (
                "update conversation_participants set unread_count = unread_count - 1
                 where conversation_id = $1 and user_id = $2 and last_read_seq < $3",
                old.conversation_id.0,
            ),
        };
        sqlx::query(counts).bind(place).bind(user).bind(number(old.seq)).execute(connection).await?;
    }
    Ok(true)
}

async fn react(
    connection: &mut SqliteConnection,
    old: &Message,
    sign: &str,
    user: &str,
    at: i64,
) -> Result<bool, StoreError> {
    let added = sqlx::query(
        "insert into message_reactions (message_id, reaction, user_id, created_at) values ($1, $2, $3, $4)
         on conflict do nothing",
    )
    .bind(old.id.0)
    .bind(sign)
    .bind(user)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 {
        return Ok(false);
    }
    let signs: i64 = sqlx::query_scalar("select count(distinct reaction) from message_reactions where message_id = $1")
        .bind(old.id.0)
        .fetch_one(&mut *connection)
        .await?;
    if signs.unsigned_abs() > MOST_REACTIONS {
        return Err(TOO_MANY_REACTIONS);
    }
    raise_version(connection, old.id.0).await
}

async fn unreact(connection: &mut SqliteConnection, old: &Message, sign: &str, user: &str) -> Result<bool, StoreError> {
    let removed = sqlx::query("delete from message_reactions where message_id = $1 and reaction = $2 and user_id = $3")
        .bind(old.id.0)
        .bind(sign)
        .bind(user)
        .execute(&mut *connection)
        .await?;
    if removed.rows_affected() == 0 { Ok(false) } else { raise_version(connection, old.id.0).await }
}

async fn pin(connection: &mut SqliteConnection, old: &Message, user: &str, at: i64) -> Result<bool, StoreError> {
    if old.pinned_at.is_some() {
        return Ok(false);
    }
    let pins: i64 =
        sqlx::query_scalar("select count(*) from messages where conversation_id = $1 and pinned_at is not null")
            .bind(old.conversation_id.0)
            .fetch_one(&mut *connection)
            .await?;
    if pins >= MOST_PINS {
        return Err(TOO_MANY_PINS);
    }
    sqlx::query("update messages set pinned_at = $2, pinned_by = $3, version = version + 1 where id = $1")
        .bind(old.id.0)
        .bind(at)
        .bind(user)
        .execute(connection)
        .await?;
    Ok(true)
}

async fn unpin(connection: &mut SqliteConnection, old: &Message) -> Result<bool, StoreError> {
    if old.pinned_at.is_none() {
        return Ok(false);
    }
    sqlx::query("update messages set pinned_at = null, pinned_by = null, version = version + 1 where id = $1")
        .bind(old.id.0)
        .execute(connection)
        .await?;
    Ok(true)
}

async fn acknowledge(
    connection: &mut SqliteConnection,
    old: &Message,
    user: &str,
    at: i64,
) -> Result<bool, StoreError> {
    let added = sqlx::query(
        "insert into message_acknowledgements (message_id, user_id, created_at) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(old.id.0)
    .bind(user)
    .bind(at)
    .execute(&mut *connection)
    .await?;
    if added.rows_affected() == 0 { Ok(false) } else { raise_version(connection, old.id.0).await }
}

pub(super) async fn raise_version(connection: &mut SqliteConnection, id: Uuid) -> Result<bool, StoreError> {
    sqlx::query("update messages set version = version + 1 where id = $1").bind(id).execute(connection).await?;
    Ok(true)
}
