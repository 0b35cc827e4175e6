//! Changes of conversations, and of who is in them, in SQLite: the steps of one write transaction.

use shared::access::Caller;
use shared::ids::{ConversationId, UserId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use sqlx::types::Json;

use super::writing::{self, NewEntry};
use super::{messaging, now, people, threads};
use crate::model::{
    Conversation, ConversationChange, ConversationChangeDraft, ConversationStatus, ConversationType, ParticipantRole,
};
use crate::render;
use crate::store::rows::{spelling, word};
use crate::store::rules::{
    self, FIXED_PARTICIPANTS, MOST_PARTICIPANTS, NOT_A_MANAGER, NOT_LOOKED_AFTER, TOO_MANY_PARTICIPANTS,
};
use crate::store::{Kept, StoreError};

/// The conversation as its change finds it.
struct Held {
    id: ConversationId,
    kind: ConversationType,
    status: ConversationStatus,
    last_seq: i64,
    assigned_to: Option<String>,
    takes_part: bool,
    /// The caller sees all, owns it, is its staff, or takes part while nobody owns it.
    manages: bool,
}

/// Changes it, and enters the change in the feeds of everyone concerned.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    caller: &Caller,
    draft: &ConversationChangeDraft,
) -> Result<Kept<Conversation>, StoreError> {
    let held = hold(connection, caller, draft.conversation_id).await?;
    let mut told = writing::channels_of(connection, held.id.0).await?;
    let (at, own) = (now(), format!("user:{}", caller.user));
    let created = match &draft.change {
        change @ ConversationChange::Update { status, .. } => {
            if status.is_some_and(|status| status != held.status) && !held.manages {
                return Err(NOT_A_MANAGER);
            }
            update(connection, &held, &change.chosen()).await?
        }
        ConversationChange::Add(user, role) => {
            let added = add(connection, &held, user, *role, at).await?;
            told = writing::channels_of(connection, held.id.0).await?;
            if told.len() as u64 > MOST_PARTICIPANTS {
                return Err(TOO_MANY_PARTICIPANTS);
            }
            added
        }
        ConversationChange::Remove(user) => {
            if held.assigned_to.as_deref() == Some(user.as_str()) {
                return Err(StoreError::AssignedTo(user.clone()));
            }
            remove(connection, &held, user, *user == caller.user, at).await?
        }
        ConversationChange::SetRole(user, role) => set_role(connection, &held, user, *role).await?,
        ConversationChange::Claim | ConversationChange::Assign(_) | ConversationChange::Release => {
            let changed = assign(connection, &held, caller, &draft.change, at).await?;
            told = writing::channels_of(connection, held.id.0).await?;
            told.extend(writing::staff_channels());
            changed
        }
        change @ ConversationChange::SetOwn { .. } => {
            if !held.takes_part {
                return Err(StoreError::NotAParticipant(held.id));
            }
            told = vec![own];
            set_own(connection, &held, &caller.user, &change.chosen()).await?
        }
    };
    let about = match &draft.change {
        ConversationChange::Add(user, _)
        | ConversationChange::Remove(user)
        | ConversationChange::SetRole(user, _)
        | ConversationChange::Assign(user) => user,
        ConversationChange::Update { .. }
        | ConversationChange::SetOwn { .. }
        | ConversationChange::Claim
        | ConversationChange::Release => &caller.user,
    };
    if created && !matches!(draft.change, ConversationChange::SetOwn { .. }) {
        sqlx::query("update conversations set version = version + 1 where id = $1")
            .bind(held.id.0)
            .execute(&mut *connection)
            .await?;
    }
    let value = messaging::read_conversation(connection, caller, held.id.0).await?;
    let mut envelopes = Vec::new();
    if created {
        let (kind, at) = (render::kind_of_change(&draft.change), Timestamp::from_micros(at));
        let body = render::conversation_change(&draft.change, &value, at);
        let trace = draft.trace;
        let entry = NewEntry { kind, conversation: Some(held.id.0), message: None, user: Some(about), trace, at };
        envelopes = writing::enter(connection, &told, &entry, &body).await?;
    }
    Ok(Kept { value, created, envelopes })
}

async fn hold(connection: &mut SqliteConnection, caller: &Caller, id: ConversationId) -> Result<Held, StoreError> {
    let seen = messaging::last_seq_if_seen(connection, caller, id).await?;
    let last_seq = seen.ok_or(StoreError::NoConversation(id))?;
    let (kind, status, assigned_to, takes_part, leads, led): (String, String, Option<String>, bool, bool, bool) = sqlx::query_as(
        "select c.type, c.status, c.assigned_to,
             exists (select 1 from conversation_participants p
                 where p.conversation_id = c.id and p.user_id = $2 and p.left_at is null),
             exists (select 1 from conversation_participants p
                 where p.conversation_id = c.id and p.user_id = $2 and p.left_at is null and p.role in ('owner', 'staff')),
             exists (select 1 from conversation_participants p
                 where p.conversation_id = c.id and p.left_at is null and p.role = 'owner')
         from conversations c where c.id = $1",
    )
    .bind(id.0)
    .bind(caller.user.as_str())
    .fetch_one(connection)
    .await?;
    let manages = leads || caller.role.is_trusted() || (takes_part && !led);
    Ok(Held { id, kind: word(kind)?, status: word(status)?, last_seq, assigned_to, takes_part, manages })
}

async fn update(
    connection: &mut SqliteConnection,
    held: &Held,
    chosen: &serde_json::Value,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "update conversations set
             subject = iif(json_type($2, '$.subject') is not null, $2 ->> 'subject', subject),
             status = coalesce($2 ->> 'status', status),
             metadata = coalesce($2 -> 'metadata', metadata)
         where id = $1 and (
             (json_type($2, '$.subject') is not null and subject is not $2 ->> 'subject')
             or status <> $2 ->> 'status'
             or metadata <> $2 -> 'metadata'
         )",
    )
    .bind(held.id.0)
    .bind(Json(chosen))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn add(
    connection: &mut SqliteConnection,
    held: &Held,
    user: &UserId,
    role: Option<ParticipantRole>,
    at: i64,
) -> Result<bool, StoreError> {
    may_have_others(held)?;
    if role.is_some_and(|role| role != ParticipantRole::Participant) && !held.manages {
        return Err(NOT_A_MANAGER);
    }
    if held.status == ConversationStatus::Closed {
        return Err(StoreError::Closed(held.id));
    }
    people::refuse_erased(connection, [user]).await?;
    let role = match role {
        Some(role) => role,
        None => rules::participant_role(known_as(connection, user).await?.as_deref()),
    };
    enrol(connection, held, user, role, at).await
}

/// The role that somebody was last seen with.
async fn known_as(connection: &mut SqliteConnection, user: &UserId) -> Result<Option<String>, StoreError> {
    let role = sqlx::query_scalar("select role from users where id = $1").bind(user.as_str());
    Ok(role.fetch_optional(connection).await?)
}

/// Makes somebody take part who does not, with everything read.
async fn enrol(
    connection: &mut SqliteConnection,
    held: &Held,
    user: &UserId,
    role: ParticipantRole,
    at: i64,
) -> Result<bool, StoreError> {
    let enrolled = sqlx::query(
        "insert into conversation_participants as p
             (conversation_id, user_id, role, joined_at, last_read_seq, last_delivered_seq, shows_receipts)
         values ($1, $2, $3, $4, $5, $5, coalesce((select receipts from privacy_settings where user_id = $2), true))
         on conflict (conversation_id, user_id) do update set
             role = excluded.role, joined_at = excluded.joined_at, left_at = null,
             last_read_seq = excluded.last_read_seq, last_delivered_seq = excluded.last_delivered_seq,
             version = p.version + 1
             where p.left_at is not null",
    )
    .bind(held.id.0)
    .bind(user.as_str())
    .bind(spelling(role))
    .bind(at)
    .bind(held.last_seq)
    .execute(connection)
    .await?;
    Ok(enrolled.rows_affected() > 0)
}

/// Makes one of the staff look after a guest's conversation, or nobody.
async fn assign(
    connection: &mut SqliteConnection,
    held: &Held,
    caller: &Caller,
    change: &ConversationChange,
    at: i64,
) -> Result<bool, StoreError> {
    if held.kind != ConversationType::GuestStaff {
        return Err(NOT_LOOKED_AFTER);
    }
    if held.status == ConversationStatus::Closed {
        return Err(StoreError::Closed(held.id));
    }
    let assignee = match change {
        ConversationChange::Claim => match &held.assigned_to {
            Some(other) if *other != caller.user.as_str() => {
                return Err(StoreError::AssignedTo(other.parse().map_err(StoreError::broken)?));
            }
            _ => Some(&caller.user),
        },
        ConversationChange::Assign(user) => {
            match rules::participant_role(known_as(connection, user).await?.as_deref()) {
                ParticipantRole::Staff => Some(user),
                ParticipantRole::Owner | ParticipantRole::Participant => {
                    return Err(StoreError::NotStaff(user.clone()));
                }
            }
        }
        _ => None,
    };
    people::refuse_erased(connection, assignee).await?;
    let changed = sqlx::query(
        "update conversations set queued_at = iif($2 is null, $3, null), assigned_to = $2
         where id = $1 and iif($2 is null, queued_at is null, assigned_to is not $2)",
    )
    .bind(held.id.0)
    .bind(assignee.map(|user| user.as_str()))
    .bind(at)
    .execute(&mut *connection)
    .await?;
    if let Some(user) = assignee.filter(|_| changed.rows_affected() > 0) {
        enrol(connection, held, user, ParticipantRole::Staff, at).await?;
        if writing::channels_of(connection, held.id.0).await?.len() as u64 > MOST_PARTICIPANTS {
            return Err(TOO_MANY_PARTICIPANTS);
        }
    }
    Ok(changed.rows_affected() > 0)
}

async fn remove(
    connection: &mut SqliteConnection,
    held: &Held,
    user: &UserId,
    leaves: bool,
    at: i64,
) -> Result<bool, StoreError> {
    may_have_others(held)?;
    if !leaves && !held.manages {
        return Err(NOT_A_MANAGER);
    }
    let removed = sqlx::query(
        "update conversation_participants set left_at = $3, unread_count = 0, version = version + 1
         where conversation_id = $1 and user_id = $2 and left_at is null",
    )
    .bind(held.id.0)
    .bind(user.as_str())
    .bind(at)
    .execute(&mut *connection)
    .await?;
    threads::unfollow_all(connection, held.id.0, user.as_str()).await?;
    Ok(removed.rows_affected() > 0)
}

async fn set_role(
    connection: &mut SqliteConnection,
    held: &Held,
    user: &UserId,
    role: ParticipantRole,
) -> Result<bool, StoreError> {
    may_have_others(held)?;
    if !held.manages {
        return Err(NOT_A_MANAGER);
    }
    let is_in: bool = sqlx::query_scalar(
        "select exists (select 1 from conversation_participants
             where conversation_id = $1 and user_id = $2 and left_at is null)",
    )
    .bind(held.id.0)
    .bind(user.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if !is_in {
        return Err(StoreError::NotIn(user.clone()));
    }
    let changed = sqlx::query(
        "update conversation_participants set role = $3, version = version + 1
         where conversation_id = $1 and user_id = $2 and role <> $3",
    )
    .bind(held.id.0)
    .bind(user.as_str())
    .bind(spelling(role))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn set_own(
    connection: &mut SqliteConnection,
    held: &Held,
    user: &UserId,
    chosen: &serde_json::Value,
) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "update conversation_participants as p
         set muted_until = s.muted_until, pinned_at = s.pinned_at, archived_at = s.archived_at
         from (
             select
                 iif(json_type($3, '$.muted_until') is not null, $3 ->> 'muted_until', muted_until) as muted_until,
                 iif(json_type($3, '$.pinned_at') is not null, $3 ->> 'pinned_at', pinned_at) as pinned_at,
                 iif(json_type($3, '$.archived_at') is not null, $3 ->> 'archived_at', archived_at) as archived_at
             from conversation_participants where conversation_id = $1 and user_id = $2
         ) s
         where p.conversation_id = $1 and p.user_id = $2
             and (p.muted_until is not s.muted_until or p.pinned_at is not s.pinned_at
                 or p.archived_at is not s.archived_at)",
    )
    .bind(held.id.0)
    .bind(user.as_str())
    .bind(Json(chosen))
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() > 0)
}

fn may_have_others(held: &Held) -> Result<(), StoreError> {
    if held.kind == ConversationType::Direct { Err(FIXED_PARTICIPANTS) } else { Ok(()) }
}
