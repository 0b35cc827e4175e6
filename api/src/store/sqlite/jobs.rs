//! Jobs in SQLite: each step is one write transaction.

use async_trait::async_trait;
use shared::access::Caller;
use shared::envelope::Envelope;
use shared::ids::{ConversationId, JobId, Seq, TraceId, UserId};
use shared::time::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::writing::{self, NewEntry};
use super::{SqliteStore, changing, now, people, threads};
use crate::model::{ExportFile, ExportPage, ExportPlace, Job, JobDraft, JobKind, JobState, Message};
use crate::render;
use crate::store::rows::{ExportRow, JobRow, number, seq};
use crate::store::rules::{
    ERASED_AT_ONCE, EXPORTED_AT_ONCE, JOB_LEASE, LOOKED_THROUGH, UNATTACHED_HOURS, is_admin, may_decide_about,
};
use crate::store::{Jobs, Kept, StoreError};

/// How long a worker has a job, in microseconds.
const LEASE: i64 = JOB_LEASE as i64 * 1_000_000;

#[async_trait]
impl Jobs for SqliteStore {
    async fn start_job(&self, caller: &Caller, draft: &JobDraft) -> Result<Kept<Job>, StoreError> {
        may_decide_about(caller, &draft.user_id)?;
        let (user, at) = (&draft.user_id, now());
        let mut transaction = self.write().await?;
        sqlx::query("insert into users (id, role, seen_at) values ($1, 'guest', $2) on conflict do nothing")
            .bind(user.as_str())
            .bind(at)
            .execute(&mut *transaction)
            .await?;
        let is_erased = people::is_erased(&mut transaction, user).await?;
        let first: Option<JobRow> = sqlx::query_as(
            "select * from job_rows where user_id = $1 and (state <> 'done' or ($2 and kind = 'erase'))",
        )
        .bind(user.as_str())
        .bind(is_erased)
        .fetch_optional(&mut *transaction)
        .await?;
        match first.map(Job::try_from).transpose()? {
            Some(first) if first.kind == draft.kind => {
                return Ok(Kept { value: first, created: false, envelopes: Vec::new() });
            }
            _ if is_erased => return Err(StoreError::Erased(user.clone())),
            Some(_) => return Err(StoreError::OtherJob(user.clone())),
            None => {}
        }
        sqlx::query(
            "insert into jobs (id, kind, user_id, requested_by, total, created_at)
             select $1, $2, $3, $4, coalesce(sum(c.last_seq), 0), $5
             from conversation_participants p join conversations c on c.id = p.conversation_id where p.user_id = $3",
        )
        .bind(draft.id.0)
        .bind(draft.kind.as_str())
        .bind(user.as_str())
        .bind(caller.user.as_str())
        .bind(at)
        .execute(&mut *transaction)
        .await?;
        let envelopes = match draft.kind {
            JobKind::Export => Vec::new(),
            JobKind::Erase => begin_erasing(&mut transaction, user, draft.trace, at).await?,
        };
        let value = read(&mut transaction, draft.id).await?;
        transaction.commit().await?;
        Ok(Kept { value, created: true, envelopes })
    }

    async fn job(&self, caller: &Caller, id: JobId) -> Result<Job, StoreError> {
        let job = read(&mut *self.readers.acquire().await?, id).await?;
        let is_theirs = [&job.user_id, &job.requested_by].contains(&&caller.user);
        if is_theirs || is_admin(caller) { Ok(job) } else { Err(StoreError::NoJob(id)) }
    }

    async fn claim_job(&self) -> Result<Option<Job>, StoreError> {
        let mut transaction = self.write().await?;
        let taken: Option<Uuid> = sqlx::query_scalar(
            "update jobs set state = 'running', leased_until = $1 + $2
             where id = (
                 select id from jobs where state <> 'done' and coalesce(leased_until < $1, true)
                 order by created_at limit 1
             )
             returning id",
        )
        .bind(now())
        .bind(LEASE)
        .fetch_optional(&mut *transaction)
        .await?;
        let job = match taken {
            Some(id) => Some(read(&mut transaction, JobId(id)).await?),
            None => None,
        };
        transaction.commit().await?;
        Ok(job)
    }

    async fn erase_next(&self, id: JobId) -> Result<Kept<Job>, StoreError> {
        let mut transaction = self.write().await?;
        let before = read(&mut transaction, id).await?;
        let mut envelopes = Vec::new();
        if before.state != JobState::Done {
            let mut erasing = Erasing { user: before.user_id, trace: TraceId(id.0.as_u128()), at: now(), envelopes };
            erasing.step(&mut transaction, id).await?;
            envelopes = erasing.envelopes;
        }
        let value = read(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(Kept { value, created: !envelopes.is_empty(), envelopes })
    }

    async fn export_page(&self, user: &UserId, from: &ExportPlace) -> Result<ExportPage, StoreError> {
        let mut transaction = self.read().await?;
        let mut rows: Vec<ExportRow> = Vec::new();
        let mut next = None;
        match from.conversation {
            None => {
                rows.extend(
                    sqlx::query_as(
                        "select 'profile' as kind, json as line, null as conversation_id, null as seq from user_rows where id = $1
                         union all
                         select 'block', json_object('blocked_id', blocked_id, 'blocked_at', created_at), null, null
                         from user_blocks where user_id = $1
                         union all
                         select 'report', json, null, null from report_rows where reporter_id = $1",
                    )
                    .bind(user.as_str())
                    .fetch_all(&mut *transaction)
                    .await?,
                );
            }
            Some(ConversationId(conversation)) => {
                let last: i64 = sqlx::query_scalar("select last_seq from conversations where id = $1")
                    .bind(conversation)
                    .fetch_one(&mut *transaction)
                    .await?;
                let upto = last.min(number(from.seq) + i64::from(EXPORTED_AT_ONCE));
                rows.extend(
                    sqlx::query_as(THERE)
                        .bind(conversation)
                        .bind(user.as_str())
                        .bind(number(from.seq))
                        .bind(upto)
                        .fetch_all(&mut *transaction)
                        .await?,
                );
                if upto < last {
                    next = Some(ExportPlace { seq: seq(upto), ..*from });
                }
            }
        }
        if next.is_none() {
            let after = from.conversation.map(|id| id.0);
            let following = next_conversation(&mut transaction, user, after).await?;
            next = following.map(|id| ExportPlace { conversation: Some(ConversationId(id)), seq: Seq::ZERO });
        }
        Ok(ExportPage { next, ..ExportRow::page(rows)? })
    }

    async fn keep_job(&self, id: JobId, progress: u64) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query("update jobs set progress = $2, leased_until = $3 where id = $1 and state <> 'done'")
            .bind(id.0)
            .bind(progress.cast_signed())
            .bind(now() + LEASE)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn finish_export(
        &self,
        id: JobId,
        ExportFile { attachment, sha256 }: &ExportFile,
    ) -> Result<Job, StoreError> {
        let mut transaction = self.write().await?;
        let at = now();
        sqlx::query(
            "insert into message_attachments (id, file_name, file_type, file_size, file_url, created_at, uploader_id, kind, state,
                 sha256, expires_at)
             select id, $2, $3, $4, $5, $6, requested_by, 'file', 'complete', $7, $8 from jobs where id = $1 and state <> 'done'",
        )
        .bind(id.0)
        .bind(&attachment.file_name)
        .bind(&attachment.file_type)
        .bind(attachment.file_size.cast_signed())
        .bind(&attachment.url)
        .bind(at)
        .bind(sha256)
        .bind(at + i64::from(UNATTACHED_HOURS) * 3_600_000_000)
        .execute(&mut *transaction)
        .await?;
        end(&mut transaction, id, at).await?;
        let job = read(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(job)
    }
}

/// What somebody wrote in a stretch of a conversation, and how they reacted; before its beginning, their place in it.
const THERE: &str = "
    select 'conversation' as kind, json_object('conversation', json(c.json), 'participant', json(p.json)) as line,
        null as conversation_id, null as seq
    from conversation_rows c join participant_rows p on p.conversation_id = c.id
    where c.id = $1 and p.user_id = $2 and $3 = 0
    union all
    select * from (
        select 'thread', json, null, null from follower_rows
        where conversation_id = $1 and user_id = $2 and $3 = 0 order by root_id
    )
    union all
    select * from (
        select 'message', json, null, null from message_rows
        where conversation_id = $1 and seq > $3 and seq <= $4 and sender_id = $2 and deleted_at is null order by seq
    )
    union all
    select * from (
        select 'version', json_object('message_id', lower(hex(m.id)), 'version', v.version, 'message_text', v.message_text,
            'replaced_at', v.replaced_at), null, null
        from messages m join message_versions v on v.message_id = m.id
        where m.conversation_id = $1 and m.seq > $3 and m.seq <= $4 and m.sender_id = $2 order by m.seq, v.version
    )
    union all
    select * from (
        select 'reaction', json_object('message_id', lower(hex(m.id)), 'reaction', r.reaction, 'created_at', r.created_at),
            null, null
        from messages m join message_reactions r on r.message_id = m.id
        where m.conversation_id = $1 and m.seq > $3 and m.seq <= $4 and r.user_id = $2 order by m.seq, r.reaction
    )";

/// The conversation after that one in which somebody is or was.
async fn next_conversation(
    connection: &mut SqliteConnection,
    user: &UserId,
    after: Option<Uuid>,
) -> Result<Option<Uuid>, StoreError> {
    let next = sqlx::query_scalar(
        "select conversation_id from conversation_participants
         where user_id = $1 and ($2 is null or conversation_id > $2) order by conversation_id limit 1",
    );
    Ok(next.bind(user.as_str()).bind(after).fetch_optional(connection).await?)
}

async fn end(connection: &mut SqliteConnection, id: JobId, at: i64) -> Result<(), StoreError> {
    sqlx::query(
        "update jobs set state = 'done', finished_at = $2, progress = total, leased_until = null
         where id = $1 and state <> 'done'",
    )
    .bind(id.0)
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn read(connection: &mut SqliteConnection, id: JobId) -> Result<Job, StoreError> {
    let row: Option<JobRow> =
        sqlx::query_as("select * from job_rows where id = $1").bind(id.0).fetch_optional(connection).await?;
    row.ok_or(StoreError::NoJob(id))?.try_into()
}

/// Forgets what is known of somebody, and tells them and those who share a conversation with them.
async fn begin_erasing(
    connection: &mut SqliteConnection,
    user: &UserId,
    trace: TraceId,
    at: i64,
) -> Result<Vec<Envelope>, StoreError> {
    let own = format!("user:{user}");
    let mut circle = people::circle(connection, user).await?;
    circle.retain(|channel| *channel != own);
    sqlx::query(
        "update users set erased_at = $2, updated_at = $2, version = version + 1, name = null, avatar_url = null, email = null,
             locale = null, time_zone = null
         where id = $1",
    )
    .bind(user.as_str())
    .bind(at)
    .execute(&mut *connection)
    .await?;
    let (erased, at) = (people::read(connection, user).await?, Timestamp::from_micros(at));
    let mut envelopes = Vec::new();
    for (kind, channels) in [(render::ACCOUNT_ERASED, [own].as_slice()), (render::USER_ERASED, &circle)] {
        let entry = NewEntry { kind, conversation: None, message: None, user: Some(user), trace, at };
        let body = render::user_changed(kind, &erased, trace, at);
        envelopes.extend(writing::enter(connection, channels, &entry, &body).await?);
    }
    Ok(envelopes)
}

/// Keeps a job from being taken up by another worker until then.
async fn keep_lease(connection: &mut SqliteConnection, job: JobId, until: i64) -> Result<(), StoreError> {
    let kept = sqlx::query("update jobs set leased_until = $2 where id = $1").bind(job.0).bind(until);
    kept.execute(connection).await?;
    Ok(())
}

/// One step of erasing somebody.
struct Erasing {
    user: UserId,
    trace: TraceId,
    at: i64,
    envelopes: Vec<Envelope>,
}

impl Erasing {
    async fn step(&mut self, connection: &mut SqliteConnection, job: JobId) -> Result<(), StoreError> {
        let (at_hand, seq): (Option<Uuid>, Option<i64>) =
            sqlx::query_as("select conversation_id, seq from jobs where id = $1")
                .bind(job.0)
                .fetch_one(&mut *connection)
                .await?;
        let conversation = match seq {
            Some(_) => at_hand,
            None => next_conversation(connection, &self.user, at_hand).await?,
        };
        match conversation {
            Some(conversation) => self.look_through(connection, job, conversation, seq.unwrap_or(0)).await,
            None if self.take_away_forwards(connection).await? => keep_lease(connection, job, self.at + LEASE).await,
            None => self.finish(connection, job).await,
        }
    }

    /// Takes away some of what others have said again of theirs; false once there is none.
    async fn take_away_forwards(&mut self, connection: &mut SqliteConnection) -> Result<bool, StoreError> {
        let forwards: Vec<Uuid> =
            sqlx::query_scalar("select id from messages where forwarded_from ->> 'sender_id' = $1 limit $2")
                .bind(self.user.as_str())
                .bind(ERASED_AT_ONCE)
                .fetch_all(&mut *connection)
                .await?;
        for id in &forwards {
            let old = writing::read_message(connection, *id).await?;
            changing::make_tombstone(connection, &old, self.at).await?;
            self.tell(connection, &old, render::MESSAGE_DELETED).await?;
        }
        Ok(!forwards.is_empty())
    }

    /// Takes away what is theirs in the next numbers of a conversation; at its end they leave it.
    async fn look_through(
        &mut self,
        connection: &mut SqliteConnection,
        job: JobId,
        conversation: Uuid,
        seq: i64,
    ) -> Result<(), StoreError> {
        let last: i64 = sqlx::query_scalar("select last_seq from conversations where id = $1")
            .bind(conversation)
            .fetch_one(&mut *connection)
            .await?;
        let mut upto = last.min(seq + i64::from(LOOKED_THROUGH));
        let theirs: Vec<Uuid> = sqlx::query_scalar(
            "select m.id from messages m
             where m.conversation_id = $1 and m.seq > $2 and m.seq <= $3 and case
                 when m.sender_id = $4 then
                     m.deleted_at is null or m.client_message_id is not null
                     or exists (select 1 from message_attachments a where a.message_id = m.id)
                 else exists (select 1 from message_reactions r where r.message_id = m.id and r.user_id = $4)
             end
             order by m.seq limit $5",
        )
        .bind(conversation)
        .bind(seq)
        .bind(upto)
        .bind(self.user.as_str())
        .bind(ERASED_AT_ONCE)
        .fetch_all(&mut *connection)
        .await?;
        let is_full = theirs.len() as u64 == u64::from(ERASED_AT_ONCE);
        for id in theirs {
            let old = writing::read_message(connection, id).await?;
            if is_full {
                upto = number(old.seq);
            }
            self.take_away(connection, &old).await?;
        }
        let is_through = !is_full && upto == last;
        if is_through {
            self.leave(connection, conversation).await?;
        }
        sqlx::query(
            "update jobs set conversation_id = $2, seq = $3, progress = progress + $4, leased_until = $5 where id = $1",
        )
        .bind(job.0)
        .bind(conversation)
        .bind((!is_through).then_some(upto))
        .bind(upto - seq)
        .bind(self.at + LEASE)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Takes a message of theirs away, or their reactions from somebody else's.
    async fn take_away(&mut self, connection: &mut SqliteConnection, old: &Message) -> Result<(), StoreError> {
        let is_theirs = old.sender_id == self.user;
        if is_theirs {
            sqlx::query(
                "delete from forwarded_attachments
                 where attachment_id in (select id from message_attachments where message_id = $1)",
            )
            .bind(old.id.0)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "update message_attachments set message_id = null, state = 'expired', expires_at = $2 where message_id = $1",
            )
            .bind(old.id.0)
            .bind(self.at)
            .execute(&mut *connection)
            .await?;
            // Of a short text even the hash tells what it was.
            sqlx::query("update messages set client_message_id = null, body_hash = null where id = $1")
                .bind(old.id.0)
                .execute(&mut *connection)
                .await?;
            if old.deleted_at.is_some() {
                return Ok(());
            }
            changing::make_tombstone(connection, old, self.at).await?;
        } else {
            sqlx::query("delete from message_reactions where message_id = $1 and user_id = $2")
                .bind(old.id.0)
                .bind(self.user.as_str())
                .execute(&mut *connection)
                .await?;
            changing::raise_version(connection, old.id.0).await?;
        }
        let kind = if is_theirs { render::MESSAGE_DELETED } else { render::REACTION_DELETED };
        self.tell(connection, old, kind).await
    }

    /// Tells everyone in its conversation what has become of a message.
    async fn tell(
        &mut self,
        connection: &mut SqliteConnection,
        old: &Message,
        kind: &'static str,
    ) -> Result<(), StoreError> {
        let (conversation, message, at) = (old.conversation_id.0, Some(old.id.0), Timestamp::from_micros(self.at));
        let (user, trace) = (Some(&self.user), self.trace);
        let entry = NewEntry { kind, conversation: Some(conversation), message, user, trace, at };
        let channels = writing::channels_of(connection, conversation).await?;
        let today = writing::read_message(connection, old.id.0).await?;
        let body = render::message_changed(kind, &today, &self.user, at);
        self.envelopes.extend(writing::enter(connection, &channels, &entry, &body).await?);
        Ok(())
    }

    async fn leave(&mut self, connection: &mut SqliteConnection, conversation: Uuid) -> Result<(), StoreError> {
        let told = writing::channels_of(connection, conversation).await?;
        sqlx::query(
            "update conversation_participants set
                 left_at = coalesce(left_at, $3), unread_count = 0, muted_until = null, pinned_at = null, archived_at = null,
                 version = version + 1
             where conversation_id = $1 and user_id = $2",
        )
        .bind(conversation)
        .bind(self.user.as_str())
        .bind(self.at)
        .execute(&mut *connection)
        .await?;
        threads::unfollow_all(connection, conversation, self.user.as_str()).await?;
        // Whom they looked after waits for somebody else.
        sqlx::query("update conversations set queued_at = $3, assigned_to = null where id = $1 and assigned_to = $2")
            .bind(conversation)
            .bind(self.user.as_str())
            .bind(self.at)
            .execute(&mut *connection)
            .await?;
        if !told.contains(&format!("user:{}", self.user)) {
            return Ok(());
        }
        let version: i64 =
            sqlx::query_scalar("update conversations set version = version + 1 where id = $1 returning version")
                .bind(conversation)
                .fetch_one(&mut *connection)
                .await?;
        let (kind, at) = (render::MEMBER_REMOVED, Timestamp::from_micros(self.at));
        let (user, trace) = (Some(&self.user), self.trace);
        let entry = NewEntry { kind, conversation: Some(conversation), message: None, user, trace, at };
        let id = ConversationId(conversation);
        let body = render::member_changed(kind, id, version.unsigned_abs(), &self.user, None, at);
        self.envelopes.extend(writing::enter(connection, &told, &entry, &body).await?);
        Ok(())
    }

    /// Takes away what only they had, and ends the job.
    async fn finish(&self, connection: &mut SqliteConnection, job: JobId) -> Result<(), StoreError> {
        for gone in [
            "delete from user_blocks where user_id = $1 or blocked_id = $1",
            "delete from message_hides where user_id = $1",
            "delete from message_mentions where user_id = $1",
            "delete from unsent_messages where user_id = $1",
            "delete from scheduled_messages where sender_id = $1",
            "delete from privacy_settings where user_id = $1",
            "delete from acknowledgements where user_id = $1",
            "delete from idempotency_keys where caller = $1",
            "update message_reports set note = null where reporter_id = $1",
        ] {
            sqlx::query(gone).bind(self.user.as_str()).execute(&mut *connection).await?;
        }
        sqlx::query(
            "update message_attachments set state = 'expired', expires_at = $2 where uploader_id = $1 and message_id is null",
        )
        .bind(self.user.as_str())
        .bind(self.at)
        .execute(&mut *connection)
        .await?;
        end(connection, job, self.at).await
    }
}
