//! Conversations and messages in PostgreSQL.
//!
//! Writes are one call each; the functions in `migrations/postgres` hold the order of locks. Reads run as the caller, and carry
//! their own where clauses beside: row-level security is the second lock on the door, not the only one.

use std::error::Error;
use std::str::FromStr;

use async_trait::async_trait;
use shared::access::Caller;
use shared::cursor::{Cursor, Feed, channel_of};
use shared::envelope::Envelope;
use shared::event::DurableBody;
use shared::ids::{ConversationId, MessageId, TraceId, UserId};
use shared::time::Timestamp;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{PostgresStore, people, reading};
use crate::model::{
    Conversation, ConversationChange, ConversationChangeDraft, ConversationDraft, Message, MessageDraft,
    MessagingStats, ParticipantRole, Snapshot,
};
use crate::render;
use crate::store::lines::{NEWEST_LEFT_OUT, PAGE_OF_CONVERSATION, Reach};
use crate::store::rows::{ConversationRow, EnteredRow, MessageRow, Said, epoch, positions, spelling, stats};
use crate::store::rules::Cast;
use crate::store::{ConversationPage, Kept, MessagePage, Messaging, SNAPSHOT_PAGE, StoreError, rules};

/// Feeds that a write entered; nothing for a repeat.
#[derive(sqlx::FromRow)]
pub(super) struct Entered {
    pub(super) created: bool,
    life: Option<i64>,
    channels: Option<Vec<String>>,
    seqs: Option<Vec<i64>>,
    unread: Option<Vec<Option<i64>>>,
    at: Option<i64>,
}

impl Entered {
    /// When it was committed, as far as the fleet is concerned.
    pub(super) fn committed_at(&self) -> Timestamp {
        Timestamp::from_micros(self.at.unwrap_or_default())
    }

    /// One envelope for each feed, all with this body.
    pub(super) fn envelopes(self, kind: &str, body: &DurableBody, trace: TraceId) -> Result<Vec<Envelope>, StoreError> {
        let committed_at = self.committed_at();
        let (Some(life), Some(channels), Some(seqs), Some(unread)) = (self.life, self.channels, self.seqs, self.unread)
        else {
            return Ok(Vec::new());
        };
        let said = Said { epoch: epoch(life), committed_at, trace, kind, body };
        let rows = channels.into_iter().zip(seqs).zip(unread);
        rows.map(|((channel, seq), unread)| EnteredRow { channel, seq, unread }.envelope(&said)).collect()
    }
}

#[derive(sqlx::FromRow)]
pub(super) struct SentRow {
    pub(super) message: Json<MessageRow>,
    #[sqlx(flatten)]
    pub(super) entered: Entered,
}

#[derive(sqlx::FromRow)]
struct StartedRow {
    conversation: Json<ConversationRow>,
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
        let row = started.map_err(|error| refusal(error, Some(draft.id), None))?;
        let value = row.conversation.0.seen_by(caller)?;
        let created = row.entered.created;
        let kind = render::CONVERSATION_CREATED;
        let body = render::conversation_changed(kind, &value, value.created_at);
        let envelopes = row.entered.envelopes(kind, &body, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn conversation(&self, caller: &Caller, id: ConversationId) -> Result<Conversation, StoreError> {
        let mut transaction = self.read_as(caller).await?;
        let row: Option<ConversationRow> = sqlx::query_as(
            "select c.*, exists (select from message_hides h join messages m on m.id = h.message_id
                 where h.user_id = $2 and m.conversation_id = c.id and m.seq = c.last_main_seq) as last_hidden
             from conversation_rows c
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
        row.ok_or(StoreError::NoConversation(id))?.seen_by(caller)
    }

    async fn conversations(&self, caller: &Caller, page: &ConversationPage) -> Result<Vec<Conversation>, StoreError> {
        rules::may_list(caller, page)?;
        let mut transaction = self.read_as(caller).await?;
        let listed = list(&mut transaction, caller, page).await?;
        transaction.commit().await?;
        Ok(listed)
    }

    async fn change_conversation(
        &self,
        caller: &Caller,
        draft: &ConversationChangeDraft,
    ) -> Result<Kept<Conversation>, StoreError> {
        rules::may_change(caller, &draft.change)?;
        let mut changed = self.call_conversation_change(caller, draft).await;
        if is_deadlock(&changed) {
            changed = self.call_conversation_change(caller, draft).await;
        }
        let row = changed.map_err(|error| match (&draft.change, code_of(&error).as_deref()) {
            (ConversationChange::SetRole(user, _), Some("CA012")) => StoreError::NotIn(user.clone()),
            _ => refusal(error, Some(draft.conversation_id), None),
        })?;
        let value = row.conversation.0.seen_by(caller)?;
        let (created, at) = (row.entered.created, row.entered.committed_at());
        let body = render::conversation_change(&draft.change, &value, at);
        let kind = render::kind_of_change(&draft.change);
        let envelopes = row.entered.envelopes(kind, &body, draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn append(&self, caller: &Caller, draft: &MessageDraft) -> Result<Kept<Message>, StoreError> {
        rules::may_send(caller, draft.message_type)?;
        let mut sent = self.send(caller, draft).await;
        if is_deadlock(&sent) {
            sent = self.send(caller, draft).await;
        }
        let row =
            sent.map_err(|error| refusal(error, Some(draft.conversation_id), draft.forwards.or(draft.reply_to)))?;
        let value = Message::try_from(row.message.0)?;
        let created = row.entered.created;
        let envelopes = row.entered.envelopes(render::NEW_MESSAGE, &render::new_message(&value), draft.trace)?;
        Ok(Kept { value, created, envelopes })
    }

    async fn messages(
        &self,
        caller: &Caller,
        conversation: ConversationId,
        page: &MessagePage,
    ) -> Result<Vec<Message>, StoreError> {
        let mut transaction = self.read_as(caller).await?;
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
        transaction.commit().await?;
        rows.into_iter().map(Message::try_from).collect()
    }

    async fn stats(&self, caller: &Caller) -> Result<MessagingStats, StoreError> {
        let mut transaction = self.ask_as(caller).await?;
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
             (select count(*) from messages where deleted_at is null and created_at > now() - interval '1 day') as messages_last_day
         from conversations",
            );
            all = Some(overall.fetch_one(&mut *transaction).await?);
        }
        transaction.commit().await?;
        Ok(stats(conversations, active, unread, all))
    }

    async fn snapshot(&self, caller: &Caller) -> Result<Snapshot, StoreError> {
        let channels = Feed::ALL.map(|feed| channel_of(feed, &caller.user, caller.role).to_string());
        let mut transaction = self.read_as(caller).await?;
        let (life, user, role, all): (i64, i64, i64, i64) = sqlx::query_as(
            "select s.epoch, coalesce(u.seq, 0), coalesce(r.seq, 0), coalesce(a.seq, 0)
             from fleet_state s
             left join feeds u on u.channel = $1
             left join feeds r on r.channel = $2
             left join feeds a on a.channel = $3",
        )
        .bind(&channels[0])
        .bind(&channels[1])
        .bind(&channels[2])
        .fetch_one(&mut *transaction)
        .await?;
        let unread = reading::unread(&mut transaction, caller).await?.totals;
        let conversations = list(&mut transaction, caller, &SNAPSHOT_PAGE).await?;
        transaction.commit().await?;
        let positions = positions(user, role, all);
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

    async fn call_conversation_change(
        &self,
        caller: &Caller,
        draft: &ConversationChangeDraft,
    ) -> Result<StartedRow, sqlx::Error> {
        let most = i64::try_from(rules::MOST_PARTICIPANTS).unwrap_or(i64::MAX);
        let assign = |action, user: &UserId| {
            sqlx::query_as("select * from carillon_assign($1, $2, $3, $5, $6, $7, $4)")
                .bind(caller.user.as_str())
                .bind(caller.role.is_trusted())
                .bind(draft.conversation_id.0)
                .bind(Uuid::from_u128(draft.trace.0))
                .bind(action)
                .bind(user.as_str().to_owned())
                .bind(most)
        };
        let member = |action, user: &UserId, role: Option<ParticipantRole>| {
            sqlx::query_as("select * from carillon_change_member($1, $2, $3, $5, $6, $7, $8, $4)")
                .bind(caller.user.as_str())
                .bind(caller.role.is_trusted())
                .bind(draft.conversation_id.0)
                .bind(Uuid::from_u128(draft.trace.0))
                .bind(action)
                .bind(user.as_str().to_owned())
                .bind(role.map(spelling))
                .bind(most)
        };
        let chosen = |function, chosen: serde_json::Value| {
            sqlx::query_as(function)
                .bind(caller.user.as_str())
                .bind(caller.role.is_trusted())
                .bind(draft.conversation_id.0)
                .bind(Uuid::from_u128(draft.trace.0))
                .bind(Json(chosen))
        };
        let query = match &draft.change {
            change @ ConversationChange::Update { .. } => {
                chosen("select * from carillon_update_conversation($1, $2, $3, $5, $4)", change.chosen())
            }
            change @ ConversationChange::SetOwn { .. } => {
                chosen("select * from carillon_set_own($1, $2, $3, $5, $4)", change.chosen())
            }
            ConversationChange::Claim => assign("claim", &caller.user),
            ConversationChange::Assign(user) => assign("assign", user),
            ConversationChange::Release => assign("release", &caller.user),
            ConversationChange::Add(user, role) => member("add", user, *role),
            ConversationChange::Remove(user) => member("remove", user, None),
            ConversationChange::SetRole(user, role) => member("role", user, Some(*role)),
        };
        query.fetch_one(&self.pool).await
    }

    async fn send(&self, caller: &Caller, draft: &MessageDraft) -> Result<SentRow, sqlx::Error> {
        sqlx::query_as(
            "select * from carillon_send($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                 $19)",
        )
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
        .bind(draft.mentions.keys())
        .bind(draft.forwards.map(|id| id.0))
        .bind(spelling(draft.priority))
        .bind(draft.requires_acknowledgement)
        .bind(draft.in_thread.map(|thread| thread.root.0))
        .bind(draft.in_thread.is_none_or(|thread| thread.also_in_conversation))
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

/// What a list says of each conversation.
macro_rules! list_of {
    () => {
        "select c.*, exists (select from message_hides h join messages m on m.id = h.message_id
                 where h.user_id = $1 and m.conversation_id = c.id and m.seq = c.last_main_seq) as last_hidden "
    };
}

/// Which conversations a page has.
macro_rules! chosen {
    () => {
        "($2::text is null or c.type = $2) and ($3::text is null or c.status = $3)
             and ($8::boolean is null or (coalesce(me.unread_count, 0) > 0) = $8)
             and ($9::boolean is null or (me.archived_at is not null) = $9)
             and ($10::boolean is null or (me.pinned_at is not null) = $10)
             and ($11::boolean is null or (c.queued_at is not null) = $11)
             and ($12::text is null or c.assigned_to = $12) "
    };
}

async fn list(
    connection: &mut PgConnection,
    caller: &Caller,
    page: &ConversationPage,
) -> Result<Vec<Conversation>, StoreError> {
    let after = page.after.map(|(at, id)| (Timestamp::from_micros(at).as_datetime(), id.0));
    let query = match page.everybodys {
        true => concat!(
            list_of!(),
            "from conversation_rows c
             left join conversation_participants me
                 on me.conversation_id = c.id and me.user_id = $1 and me.left_at is null
             where ($4::timestamptz is null or c.id < $5) and ",
            chosen!(),
            "order by c.id desc limit $6 offset $7"
        ),
        false => concat!(
            list_of!(),
            "from conversation_participants me
             join conversation_rows c on c.id = me.conversation_id
             where me.user_id = $1 and me.left_at is null and ($4::timestamptz is null or (c.active_at, c.id) < ($4, $5)) and ",
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
        .bind(i64::from(page.limit))
        .bind(i64::from(page.offset))
        .bind(page.unread)
        .bind(page.archived)
        .bind(page.pinned)
        .bind(page.queued)
        .bind(page.assigned_to.as_ref().map(|user| user.as_str()))
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(|row| row.seen_by(caller)).collect()
}

/// Whether the database broke a deadlock at our cost. Nothing of the attempt remains, so it can be made once more.
pub(super) fn is_deadlock<T>(done: &Result<T, sqlx::Error>) -> bool {
    let code = done.as_ref().err().and_then(|error| error.as_database_error()).and_then(|refused| refused.code());
    matches!(code.as_deref(), Some("40001" | "40P01"))
}

/// The code of what the database refused.
pub(super) fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error()?.code().map(|code| code.into_owned())
}

/// A refusal that says whom or what it is about.
fn named<I>(message: &str, refusal: impl Fn(I) -> StoreError) -> StoreError
where
    I: FromStr<Err: Into<Box<dyn Error + Send + Sync>>>,
{
    message.parse().map_or_else(StoreError::broken, refusal)
}

/// What a function refused, in the words of the store. Where the caller named no conversation, the function does.
pub(super) fn refusal(
    error: sqlx::Error,
    conversation: Option<ConversationId>,
    message: Option<MessageId>,
) -> StoreError {
    let Some(refused) = error.as_database_error() else { return error.into() };
    let code = refused.code().unwrap_or_default();
    let conversation = conversation.or_else(|| refused.message().parse().ok());
    match (&*code, conversation, message) {
        ("CA001", Some(conversation), _) => StoreError::NoConversation(conversation),
        ("CA002", Some(conversation), _) => StoreError::NotAParticipant(conversation),
        ("CA003", Some(conversation), _) => StoreError::Closed(conversation),
        ("CA004", ..) => StoreError::KeyReused,
        ("CA005", _, Some(message)) => StoreError::NoMessage(message),
        ("CA006", _, Some(message)) => StoreError::Deleted(message),
        ("CA007", ..) => rules::NOT_THE_SENDER,
        ("CA008", ..) => rules::TOO_MANY_REACTIONS,
        ("CA009", ..) => rules::NOT_A_MANAGER,
        ("CA010", ..) => rules::FIXED_PARTICIPANTS,
        ("CA011", ..) => rules::TOO_MANY_PARTICIPANTS,
        ("CA013", ..) => rules::NOT_LOOKED_AFTER,
        ("CA014", ..) => named(refused.message(), StoreError::AssignedTo),
        ("CA015", ..) => named(refused.message(), StoreError::NotStaff),
        ("CA016", ..) => named(refused.message(), StoreError::NotIn),
        ("CA017", ..) => rules::TOO_MANY_PINS,
        ("CA018", ..) => rules::FORWARDS_STAY,
        ("CA019", ..) => rules::NOT_ASKED,
        ("CA023", ..) => named(refused.message(), StoreError::NoMessage),
        ("CA024", ..) => named(refused.message(), StoreError::Deleted),
        ("CA025", ..) => named(refused.message(), StoreError::NotARoot),
        _ => people::refusal(error),
    }
}
