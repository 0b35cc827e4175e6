//! Rows as both databases answer them, and how they become the nouns of [`crate::model`].
//!
//! Both stores select the same columns under the same names: ids as UUIDs, times as microseconds since 1970, numbers as
//! signed integers, and what is nested as JSON. What does not parse was never written by us, so it is
//! [`StoreError::Broken`].

use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::access::Caller;
use shared::channel::{Channel, Role};
use shared::cursor::Positions;
use shared::envelope::{Content, Entry, Envelope};
use shared::event::{self, DurableBody, Topic};
use shared::ids::{AttachmentId, ConversationId, Epoch, JobId, MessageId, ReportId, RevocationId, Seq, TraceId};
use shared::presence;
use shared::time::Timestamp;
use shared::upstream::{RevokedAfter, RevokedPage};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Hit, Kept, StoreError};
use crate::attachments::model::{Attachment, FiledAttachment, thumbnail_url};
use crate::model::{
    Acknowledged, Acknowledgements, Ban, Block, Conversation, Due, ExportLine, ExportPage, ExportPlace, Forwarded, Job,
    Mentions, Message, MessageDraft, MessageVersion, MessagingStats, OverallStats, OwnSettings, Participant,
    ParticipantRole, Planned, Privacy, Reactions, ReadMarker, Refusal, Report, Revocation, Scheduled, Thread,
    ThreadMarker, ThreadSummary, Unread, UnreadCheck, UnreadTotals, Unsent, User,
};
use crate::render;

/// A message.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct MessageRow {
    id: Uuid,
    seq: i64,
    conversation_id: Uuid,
    sender_id: String,
    message_text: String,
    message_type: String,
    client_message_id: Option<String>,
    reply_to: Option<Uuid>,
    thread_root_id: Option<Uuid>,
    in_main_line: bool,
    thread: Option<Json<ThreadRow>>,
    version: i64,
    created_at: i64,
    edited_at: Option<i64>,
    deleted_at: Option<i64>,
    /// Whether the reader has deleted it for themselves; not so where nobody in particular reads.
    #[serde(default)]
    #[sqlx(default)]
    hidden: bool,
    reactions: Option<Json<Vec<Reactions>>>,
    attachments: Option<Json<Vec<AttachmentRow>>>,
    mentions: Option<Json<Vec<String>>>,
    pinned_at: Option<i64>,
    pinned_by: Option<String>,
    forwarded_from: Option<Json<ForwardedRow>>,
    priority: String,
    requires_acknowledgement: bool,
    acknowledgements: Option<Json<AcknowledgementsRow>>,
}

/// How much is said in a thread.
#[derive(Debug, Clone, Deserialize)]
struct ThreadRow {
    reply_count: u64,
    last_reply_at: i64,
    version: u64,
}

impl From<ThreadRow> for ThreadSummary {
    fn from(row: ThreadRow) -> Self {
        let last_reply_at = Timestamp::from_micros(row.last_reply_at);
        Self { reply_count: row.reply_count, last_reply_at, version: row.version }
    }
}

/// How far one who follows a thread has read it.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct FollowerRow {
    root_id: Uuid,
    conversation_id: Uuid,
    last_read_seq: i64,
    unread_count: i64,
    mentioned: i64,
}

/// How far somebody has read a thread, at the head of their feed; nothing is unread to who does not follow it.
pub(super) fn thread_marker(
    follower: Option<&FollowerRow>,
    conversation_id: ConversationId,
    thread_root_id: MessageId,
    head: Seq,
) -> ThreadMarker {
    let count = |read: fn(&FollowerRow) -> i64| follower.map_or(0, read).unsigned_abs();
    ThreadMarker {
        conversation_id,
        thread_root_id,
        following: follower.is_some(),
        last_read_seq: Seq(count(|row| row.last_read_seq)),
        thread_unread_count: count(|row| row.unread_count),
        thread_unread_mention_count: count(|row| row.mentioned),
        unread_version: head,
    }
}

/// A message that began a thread, with how far the reader has read that.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RootRow {
    #[sqlx(flatten)]
    root: MessageRow,
    follower: Option<Json<FollowerRow>>,
    head: i64,
}

impl TryFrom<RootRow> for Thread {
    type Error = StoreError;

    fn try_from(row: RootRow) -> Result<Self, StoreError> {
        let (root, head) = (Message::try_from(row.root)?, seq(row.head));
        let follower = row.follower.as_ref().map(|Json(row)| row);
        let marker = thread_marker(follower, root.conversation_id, root.id, head);
        Ok(Self { root, marker })
    }
}

/// Who has acknowledged a message.
#[derive(Debug, Clone, Deserialize)]
struct AcknowledgementsRow {
    count: u64,
    items: Vec<AcknowledgedRow>,
}

/// One who has acknowledged a message.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct AcknowledgedRow {
    user_id: String,
    acknowledged_at: i64,
}

/// Where a message comes from.
#[derive(Debug, Clone, Deserialize)]
struct ForwardedRow {
    message_id: Uuid,
    sender_id: String,
    created_at: i64,
}

/// An attachment, nested in a message or alone.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AttachmentRow {
    id: Uuid,
    file_name: String,
    file_type: String,
    file_size: u64,
    file_url: String,
    uploader_id: String,
    kind: String,
    state: String,
    sha256: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    has_thumbnail: bool,
    duration_ms: Option<u64>,
    waveform: Option<Vec<u8>>,
    expires_at: Option<i64>,
}

/// A participant, nested in a conversation or on its own.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct ParticipantRow {
    conversation_id: Uuid,
    user_id: String,
    role: String,
    joined_at: i64,
    left_at: Option<i64>,
    last_read_seq: i64,
    last_read_at: Option<i64>,
    last_delivered_seq: i64,
    shows_receipts: bool,
    version: i64,
    unread_count: i64,
    muted_until: Option<i64>,
    pinned_at: Option<i64>,
    archived_at: Option<i64>,
}

impl ParticipantRow {
    /// Where it is.
    pub(super) const fn conversation_id(&self) -> ConversationId {
        ConversationId(self.conversation_id)
    }

    /// What they are in it; nothing once they have left.
    pub(super) fn current_role(&self) -> Result<Option<ParticipantRole>, StoreError> {
        self.left_at.is_none().then(|| word(self.role.clone())).transpose()
    }

    /// What only they see.
    pub(super) fn settings(&self) -> OwnSettings {
        OwnSettings {
            muted_until: self.muted_until.map(Timestamp::from_micros),
            pinned_at: self.pinned_at.map(Timestamp::from_micros),
            archived_at: self.archived_at.map(Timestamp::from_micros),
        }
    }
}

/// A conversation as one person sees it.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct ConversationRow {
    id: Uuid,
    #[sqlx(rename = "type")]
    #[serde(rename = "type")]
    kind: String,
    status: String,
    subject: Option<String>,
    metadata: Json<serde_json::Map<String, serde_json::Value>>,
    participants: Json<Vec<ParticipantRow>>,
    last_message: Option<Json<MessageRow>>,
    last_message_at: Option<i64>,
    version: i64,
    queued_at: Option<i64>,
    assigned_to: Option<String>,
    created_at: i64,
    /// Whether the reader has deleted the last message for themselves; not so where nobody in particular reads.
    #[serde(default)]
    #[sqlx(default)]
    last_hidden: bool,
}

impl ConversationRow {
    /// The conversation with what is one reader's own: their count and their settings, and nothing of a last message that they have
    /// deleted for themselves. To who may not see it, it is only that it was there.
    pub(super) fn seen_by(self, reader: &Caller) -> Result<Conversation, StoreError> {
        let mine = self.participants.iter().find(|participant| participant.user_id == reader.user.as_str());
        let own = mine.map(|mine| (mine.unread_count, mine.settings()));
        let last_hidden = self.last_hidden;
        let mut conversation = Conversation::try_from(self)?;
        let others = conversation.participants.iter_mut().filter(|one| one.user_id != reader.user);
        others.for_each(|other| *other = other.seen_by_others());
        match own {
            Some((unread_count, settings)) => {
                conversation.unread_count = unread_count.unsigned_abs();
                conversation.settings = Some(settings);
            }
            None if !reader.role.is_trusted() => conversation = conversation.for_one_who_left(Some(Timestamp::now())),
            None => {}
        }
        if last_hidden {
            conversation.last_message = conversation.last_message.map(Message::hidden);
        }
        Ok(conversation)
    }
}

impl TryFrom<MessageRow> for Message {
    type Error = StoreError;

    fn try_from(row: MessageRow) -> Result<Self, StoreError> {
        let message = Self {
            id: MessageId(row.id),
            seq: seq(row.seq),
            conversation_id: ConversationId(row.conversation_id),
            sender_id: row.sender_id.parse().map_err(StoreError::broken)?,
            message_text: row.message_text,
            message_type: word(row.message_type)?,
            client_message_id: row.client_message_id.map(|key| key.parse()).transpose().map_err(StoreError::broken)?,
            reply_to: row.reply_to.map(MessageId),
            thread_root_id: row.thread_root_id.map(MessageId),
            also_in_conversation: row.thread_root_id.is_some() && row.in_main_line,
            thread: row.thread.map(|Json(thread)| thread.into()),
            attachments: attachments(row.attachments)?,
            mentions: mentions(row.mentions)?,
            forwarded_from: row.forwarded_from.map(|Json(source)| source.try_into()).transpose()?,
            version: row.version.unsigned_abs(),
            created_at: Timestamp::from_micros(row.created_at),
            edited_at: row.edited_at.map(Timestamp::from_micros),
            deleted_at: row.deleted_at.map(Timestamp::from_micros),
            hidden: false,
            priority: word(row.priority)?,
            requires_acknowledgement: row.requires_acknowledgement,
            acknowledgements: row.acknowledgements.map(|Json(row)| row.try_into()).transpose()?,
            pinned_at: row.pinned_at.map(Timestamp::from_micros),
            pinned_by: row.pinned_by.map(|user| user.parse()).transpose().map_err(StoreError::broken)?,
            reactions: row.reactions.map_or_else(Vec::new, |Json(reactions)| reactions),
        };
        Ok(if row.hidden { message.hidden() } else { message })
    }
}

fn attachments(rows: Option<Json<Vec<AttachmentRow>>>) -> Result<Vec<Attachment>, StoreError> {
    rows.map_or_else(Vec::new, |Json(rows)| rows).into_iter().map(AttachmentRow::shown).collect()
}

impl TryFrom<ForwardedRow> for Forwarded {
    type Error = StoreError;

    fn try_from(row: ForwardedRow) -> Result<Self, StoreError> {
        Ok(Self {
            message_id: MessageId(row.message_id),
            sender_id: row.sender_id.parse().map_err(StoreError::broken)?,
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl TryFrom<AcknowledgementsRow> for Acknowledgements {
    type Error = StoreError;

    fn try_from(row: AcknowledgementsRow) -> Result<Self, StoreError> {
        let items = row.items.into_iter().map(Acknowledged::try_from).collect::<Result<_, _>>()?;
        Ok(Self { count: row.count, items })
    }
}

impl TryFrom<AcknowledgedRow> for Acknowledged {
    type Error = StoreError;

    fn try_from(row: AcknowledgedRow) -> Result<Self, StoreError> {
        let user_id = row.user_id.parse().map_err(StoreError::broken)?;
        Ok(Self { user_id, acknowledged_at: Timestamp::from_micros(row.acknowledged_at) })
    }
}

fn mentions(keys: Option<Json<Vec<String>>>) -> Result<Mentions, StoreError> {
    keys.map_or_else(|| Ok(Mentions::default()), |Json(keys)| Mentions::of_keys(&keys).map_err(StoreError::broken))
}

impl AttachmentRow {
    fn shown(self) -> Result<Attachment, StoreError> {
        let id = AttachmentId(self.id);
        Ok(Attachment {
            id,
            file_name: self.file_name,
            file_type: self.file_type,
            file_size: self.file_size,
            kind: word(self.kind)?,
            url: self.file_url,
            thumbnail_url: self.has_thumbnail.then(|| thumbnail_url(id)),
            width: self.width,
            height: self.height,
            duration_ms: self.duration_ms,
            waveform: self.waveform,
        })
    }
}

impl TryFrom<AttachmentRow> for FiledAttachment {
    type Error = StoreError;

    fn try_from(row: AttachmentRow) -> Result<Self, StoreError> {
        Ok(Self {
            uploader_id: row.uploader_id.parse().map_err(StoreError::broken)?,
            state: word(row.state.clone())?,
            sha256: row.sha256.clone(),
            expires_at: row.expires_at.map(Timestamp::from_micros),
            shown: row.shown()?,
        })
    }
}

impl TryFrom<ParticipantRow> for Participant {
    type Error = StoreError;

    fn try_from(row: ParticipantRow) -> Result<Self, StoreError> {
        Ok(Self {
            user_id: row.user_id.parse().map_err(StoreError::broken)?,
            role: word(row.role)?,
            joined_at: Timestamp::from_micros(row.joined_at),
            last_read_seq: seq(row.last_read_seq),
            last_read_at: row.last_read_at.map(Timestamp::from_micros),
            last_delivered_seq: seq(row.last_delivered_seq),
            shows_receipts: row.shows_receipts,
            version: row.version.unsigned_abs(),
        })
    }
}

impl TryFrom<ConversationRow> for Conversation {
    type Error = StoreError;

    fn try_from(row: ConversationRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: ConversationId(row.id),
            kind: word(row.kind)?,
            status: word(row.status)?,
            subject: row.subject,
            metadata: row.metadata.0,
            participants: row.participants.0.into_iter().map(Participant::try_from).collect::<Result<_, _>>()?,
            last_message: row.last_message.map(|Json(message)| message.try_into()).transpose()?,
            last_message_at: row.last_message_at.map(Timestamp::from_micros),
            unread_count: 0,
            queued_at: row.queued_at.map(Timestamp::from_micros),
            assigned_to: row.assigned_to.map(|user| user.parse()).transpose().map_err(StoreError::broken)?,
            settings: None,
            version: row.version.unsigned_abs(),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

/// A person.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct UserRow {
    id: String,
    role: Option<String>,
    name: Option<String>,
    avatar_url: Option<String>,
    email: Option<String>,
    locale: Option<String>,
    time_zone: Option<String>,
    version: Option<i64>,
    updated_at: Option<i64>,
    erased_at: Option<i64>,
    ban: Option<Json<BanRow>>,
}

/// A ban, nested in a person.
#[derive(Debug, Clone, Deserialize)]
struct BanRow {
    reason: String,
    banned_at: i64,
    expires_at: Option<i64>,
    banned_by: Option<String>,
}

impl TryFrom<BanRow> for Ban {
    type Error = StoreError;

    fn try_from(row: BanRow) -> Result<Self, StoreError> {
        Ok(Self {
            reason: row.reason,
            banned_at: Timestamp::from_micros(row.banned_at),
            expires_at: row.expires_at.map(Timestamp::from_micros),
            banned_by: row.banned_by.map(|user| user.parse()).transpose().map_err(StoreError::broken)?,
        })
    }
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    /// Of somebody of whom nothing is known there is only an id.
    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id.parse().map_err(StoreError::broken)?,
            role: row.role.map(word).transpose()?.unwrap_or(Role::Guest),
            name: row.name,
            avatar_url: row.avatar_url,
            locale: row.locale,
            time_zone: row.time_zone,
            email: row.email,
            version: row.version.unwrap_or_default().unsigned_abs(),
            updated_at: row.updated_at.map(Timestamp::from_micros),
            erased_at: row.erased_at.map(Timestamp::from_micros),
            ban: row.ban.map(|Json(ban)| ban.try_into()).transpose()?,
        })
    }
}

/// A report.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct ReportRow {
    id: Uuid,
    message_id: Uuid,
    conversation_id: Uuid,
    sender_id: String,
    reporter_id: String,
    reason: String,
    note: Option<String>,
    state: String,
    created_at: i64,
    decided_by: Option<String>,
    decided_at: Option<i64>,
    decision_note: Option<String>,
}

impl TryFrom<ReportRow> for Report {
    type Error = StoreError;

    fn try_from(row: ReportRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: ReportId(row.id),
            message_id: MessageId(row.message_id),
            conversation_id: ConversationId(row.conversation_id),
            sender_id: row.sender_id.parse().map_err(StoreError::broken)?,
            reporter_id: row.reporter_id.parse().map_err(StoreError::broken)?,
            reason: word(row.reason)?,
            note: row.note,
            state: word(row.state)?,
            created_at: Timestamp::from_micros(row.created_at),
            decided_by: row.decided_by.map(|user| user.parse()).transpose().map_err(StoreError::broken)?,
            decided_at: row.decided_at.map(Timestamp::from_micros),
            decision_note: row.decision_note,
        })
    }
}

/// A report with its message.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ReportedRow {
    #[sqlx(flatten)]
    report: ReportRow,
    message: Json<MessageRow>,
}

impl ReportedRow {
    pub(super) fn both(self) -> Result<(Report, Message), StoreError> {
        Ok((self.report.try_into()?, self.message.0.try_into()?))
    }
}

/// A revocation.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct RevocationRow {
    id: Uuid,
    user_id: String,
    token_id: Option<String>,
    issued_until: Option<i64>,
    reason: Option<String>,
    revoked_by: String,
    revoked_at: i64,
    expires_at: i64,
    fleet_seq: i64,
}

impl TryFrom<RevocationRow> for Revocation {
    type Error = StoreError;

    fn try_from(row: RevocationRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: RevocationId(row.id),
            user_id: row.user_id.parse().map_err(StoreError::broken)?,
            token_id: row.token_id,
            issued_until: row.issued_until.map(Timestamp::from_micros),
            reason: row.reason,
            revoked_by: row.revoked_by.parse().map_err(StoreError::broken)?,
            revoked_at: Timestamp::from_micros(row.revoked_at),
            expires_at: Timestamp::from_micros(row.expires_at),
        })
    }
}

/// Rows in a page of what was revoked.
pub(super) const REVOKED_AT_ONCE: i64 = 1_000;

/// A page of what was revoked, of the rows read after a number and the head of the feed read beside them. The head is as far as the
/// last page goes: what was revoked again has a higher number, and what is over has none.
pub(super) fn revoked_page(life: i64, head: i64, rows: Vec<RevocationRow>) -> Result<RevokedPage, StoreError> {
    let more = rows.len() as i64 == REVOKED_AT_ONCE;
    let last = rows.last().filter(|_| more).map_or(head, |row| row.fleet_seq);
    let revoked = rows.into_iter().map(|row| Ok(Revocation::try_from(row)?.revoked()));
    let revoked = revoked.collect::<Result<_, StoreError>>()?;
    Ok(RevokedPage { revoked, next: RevokedAfter { epoch: Some(epoch(life)), after: seq(last) }, more })
}

/// A job.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct JobRow {
    id: Uuid,
    kind: String,
    user_id: String,
    requested_by: String,
    state: String,
    progress: i64,
    total: i64,
    created_at: i64,
    finished_at: Option<i64>,
}

impl TryFrom<JobRow> for Job {
    type Error = StoreError;

    fn try_from(row: JobRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: JobId(row.id),
            kind: word(row.kind)?,
            user_id: row.user_id.parse().map_err(StoreError::broken)?,
            requested_by: row.requested_by.parse().map_err(StoreError::broken)?,
            state: word(row.state)?,
            progress: row.progress.unsigned_abs(),
            total: row.total.unsigned_abs(),
            created_at: Timestamp::from_micros(row.created_at),
            finished_at: row.finished_at.map(Timestamp::from_micros),
        })
    }
}

/// A line of an export, or without a kind the place where the next page begins.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct ExportRow {
    kind: Option<String>,
    line: Option<Json<serde_json::Value>>,
    conversation_id: Option<Uuid>,
    seq: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct ExportedConversation {
    conversation: ConversationRow,
    participant: ParticipantRow,
}

#[derive(Debug, Deserialize)]
struct ExportedVersion {
    message_id: Uuid,
    #[serde(flatten)]
    version: VersionRow,
}

#[derive(Debug, Deserialize)]
struct ExportedReaction {
    message_id: Uuid,
    reaction: String,
    created_at: i64,
}

impl ExportRow {
    /// Makes a page of its rows.
    pub(super) fn page(rows: Vec<Self>) -> Result<ExportPage, StoreError> {
        let mut page = ExportPage { lines: Vec::with_capacity(rows.len()), next: None };
        for row in rows {
            match (row.kind, row.line) {
                (Some(kind), Some(Json(line))) => page.lines.push(export_line(&kind, line)?),
                _ => {
                    let place =
                        |id| ExportPlace { conversation: Some(ConversationId(id)), seq: seq(row.seq.unwrap_or(0)) };
                    page.next = row.conversation_id.map(place);
                }
            }
        }
        Ok(page)
    }
}

fn export_line(kind: &str, line: serde_json::Value) -> Result<ExportLine, StoreError> {
    fn read<T: DeserializeOwned>(line: serde_json::Value) -> Result<T, StoreError> {
        serde_json::from_value(line).map_err(StoreError::broken)
    }
    Ok(match kind {
        "profile" => ExportLine::Profile(read::<UserRow>(line)?.try_into()?),
        "block" => ExportLine::Block(read::<BlockRow>(line)?.try_into()?),
        "report" => ExportLine::Report(read::<ReportRow>(line)?.try_into()?),
        // How much others answered is not theirs.
        "message" => ExportLine::Message(Message { thread: None, ..read::<MessageRow>(line)?.try_into()? }),
        "thread" => {
            let follower: FollowerRow = read(line)?;
            let (thread_root_id, last_read_seq) = (MessageId(follower.root_id), seq(follower.last_read_seq));
            ExportLine::Thread { thread_root_id, last_read_seq }
        }
        "conversation" => {
            let ExportedConversation { conversation, participant } = read(line)?;
            ExportLine::Conversation {
                conversation_id: ConversationId(conversation.id),
                subject: conversation.subject,
                left_at: participant.left_at.map(Timestamp::from_micros),
                participant: participant.try_into()?,
            }
        }
        "version" => {
            let ExportedVersion { message_id, version } = read(line)?;
            ExportLine::Version { message_id: MessageId(message_id), version: version.into() }
        }
        "reaction" => {
            let ExportedReaction { message_id, reaction, created_at } = read(line)?;
            let created_at = Timestamp::from_micros(created_at);
            ExportLine::Reaction { message_id: MessageId(message_id), reaction, created_at }
        }
        _ => return Err(StoreError::broken("a line of a kind that is not known")),
    })
}

/// Somebody who is blocked.
#[derive(Debug, Deserialize, sqlx::FromRow)]
pub(super) struct BlockRow {
    blocked_id: String,
    blocked_at: i64,
}

impl TryFrom<BlockRow> for Block {
    type Error = StoreError;

    fn try_from(row: BlockRow) -> Result<Self, StoreError> {
        let user_id = row.blocked_id.parse().map_err(StoreError::broken)?;
        Ok(Self { user_id, blocked_at: Timestamp::from_micros(row.blocked_at) })
    }
}

/// What is unread in one conversation: as kept, and counted anew.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct UnreadRow {
    conversation_id: Uuid,
    last_read_seq: i64,
    stored: i64,
    counted: i64,
    mentioned: i64,
    head: i64,
    thread_stored: i64,
    thread_counted: i64,
    threads_wrong: i64,
}

impl From<UnreadRow> for UnreadCheck {
    fn from(row: UnreadRow) -> Self {
        let kept = ReadMarker {
            conversation_id: ConversationId(row.conversation_id),
            last_read_seq: seq(row.last_read_seq),
            unread_count: row.stored.unsigned_abs(),
            unread_mention_count: row.mentioned.unsigned_abs(),
            unread_version: seq(row.head),
        };
        Self {
            kept,
            counted: row.counted.unsigned_abs(),
            threads_kept: row.thread_stored.unsigned_abs(),
            threads_counted: row.thread_counted.unsigned_abs(),
            threads_wrong: row.threads_wrong.unsigned_abs(),
        }
    }
}

/// What a message said before.
#[derive(Debug, Deserialize, sqlx::FromRow)]
pub(super) struct VersionRow {
    version: i64,
    message_text: String,
    replaced_at: i64,
}

impl From<VersionRow> for MessageVersion {
    fn from(row: VersionRow) -> Self {
        let replaced_at = Timestamp::from_micros(row.replaced_at);
        Self { version: row.version.unsigned_abs(), message_text: row.message_text, replaced_at }
    }
}

/// What somebody has written and not sent, nested in an entry or on its own.
#[derive(Debug, Clone, Deserialize, sqlx::FromRow)]
pub(super) struct UnsentRow {
    conversation_id: Uuid,
    message_text: Option<String>,
    reply_to: Option<Uuid>,
    version: i64,
    updated_at: i64,
}

impl From<UnsentRow> for Unsent {
    fn from(row: UnsentRow) -> Self {
        Self {
            conversation_id: ConversationId(row.conversation_id),
            message_text: row.message_text,
            reply_to: row.reply_to.map(MessageId),
            version: row.version.unsigned_abs(),
            updated_at: Timestamp::from_micros(row.updated_at),
        }
    }
}

/// A message that is to be sent later.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ScheduledRow {
    id: Uuid,
    sender_id: String,
    sender_role: String,
    conversation_id: Uuid,
    message: Option<Planned>,
    send_at: i64,
    status: String,
    refusal: Option<Refusal>,
    version: i64,
    created_at: i64,
}

impl TryFrom<ScheduledRow> for Scheduled {
    type Error = StoreError;

    fn try_from(row: ScheduledRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: MessageId(row.id),
            conversation_id: ConversationId(row.conversation_id),
            message: row.message,
            send_at: Timestamp::from_micros(row.send_at),
            status: word(row.status)?,
            refusal: row.refusal,
            version: row.version.unsigned_abs(),
            created_at: Timestamp::from_micros(row.created_at),
        })
    }
}

impl ScheduledRow {
    /// The message to send, and in whose name. Their token was good when they scheduled it.
    pub(super) fn due(self) -> Result<Due, StoreError> {
        let planned = self.message.ok_or_else(|| StoreError::broken("a message that waits says nothing"))?;
        let id = MessageId(self.id);
        let in_thread = planned.in_thread();
        let sender = Caller {
            user: self.sender_id.parse().map_err(StoreError::broken)?,
            role: word(self.sender_role)?,
            name: None,
            token_id: None,
            issued_at: None,
            expires_at: Timestamp::LAST,
        };
        let draft = MessageDraft {
            id,
            conversation_id: ConversationId(self.conversation_id),
            message_text: planned.message_text,
            message_type: planned.message_type,
            client_message_id: Some(format!("scheduled-{id}").parse().map_err(StoreError::broken)?),
            idempotency_key: None,
            reply_to: planned.reply_to,
            in_thread,
            attachment_ids: Vec::new(),
            mentions: planned.mentions,
            forwards: None,
            priority: planned.priority,
            requires_acknowledgement: planned.requires_acknowledgement,
            draft_version: None,
            trace: TraceId::random(),
        };
        Ok(Due { sender, draft })
    }
}

/// What somebody has, and what there is over all.
pub(super) fn stats(
    conversations: i64,
    active: i64,
    unread: UnreadTotals,
    all: Option<OverallStats>,
) -> MessagingStats {
    MessagingStats {
        conversations: conversations.unsigned_abs(),
        active_conversations: active.unsigned_abs(),
        unread,
        all,
    }
}

/// What somebody shows to others from now on, and what gateways hear of it.
pub fn privacy_set(caller: &Caller, before: Privacy, after: Privacy) -> Kept<Privacy> {
    let envelopes = if before.presence == after.presence { vec![] } else { vec![presence::doubt(&caller.user, None)] };
    Kept { value: after, created: before != after, envelopes }
}

/// Markers with unread messages behind them (conversation, marker, count, mentions among them), those of threads, and what they
/// come to at the head of their owner's feed.
pub(super) fn unread_of(rows: &[(Uuid, i64, i64, i64)], threads: &[FollowerRow], head: Option<i64>) -> Unread {
    let version = seq(head.unwrap_or(0));
    let marker = |&(id, marker, count, mentioned): &(Uuid, i64, i64, i64)| ReadMarker {
        conversation_id: ConversationId(id),
        last_read_seq: seq(marker),
        unread_count: count.unsigned_abs(),
        unread_mention_count: mentioned.unsigned_abs(),
        unread_version: version,
    };
    let items: Vec<_> = rows.iter().map(marker).collect();
    let followed = |row: &FollowerRow| {
        thread_marker(Some(row), ConversationId(row.conversation_id), MessageId(row.root_id), version)
    };
    let threads: Vec<_> = threads.iter().map(followed).collect();
    let called = items.iter().map(|marker| marker.unread_mention_count).sum::<u64>();
    let totals = UnreadTotals {
        messages: items.iter().map(|marker| marker.unread_count).sum(),
        thread_replies: threads.iter().map(|marker| marker.thread_unread_count).sum(),
        mentions: called + threads.iter().map(|marker| marker.thread_unread_mention_count).sum::<u64>(),
        conversations: items.len() as u64,
        threads: threads.len() as u64,
        version,
    };
    Unread { totals, items, thread_items: threads }
}

/// A message that was found.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct HitRow {
    #[sqlx(flatten)]
    message: MessageRow,
    conversation_subject: Option<String>,
}

impl TryFrom<HitRow> for Hit {
    type Error = StoreError;

    fn try_from(row: HitRow) -> Result<Self, StoreError> {
        Ok(Self { message: row.message.try_into()?, conversation_subject: row.conversation_subject })
    }
}

/// A sign for each participant who has received or read more, and shows it.
pub(super) fn receipts(rows: impl Iterator<Item = ParticipantRow>) -> Result<Vec<Envelope>, StoreError> {
    let (at, trace) = (Timestamp::now(), TraceId::random());
    let sign = |row: ParticipantRow| {
        let conversation = row.conversation_id();
        Ok(render::receipt_updated(conversation, &Participant::try_from(row)?, at, trace))
    };
    rows.filter(|row| row.shows_receipts).map(sign).collect()
}

/// What is due. A row that nobody can read stays, and holds up none of the others.
pub(super) fn all_due(rows: impl Iterator<Item = ScheduledRow>) -> Vec<Due> {
    rows.filter_map(|row| {
        let id = row.id;
        row.due().inspect_err(|error| tracing::error!(%id, %error, "a scheduled message cannot be read")).ok()
    })
    .collect()
}

/// A feed that a write entered: its new head, and the count of its owner where the write changed one.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct EnteredRow {
    pub(super) channel: String,
    pub(super) seq: i64,
    pub(super) unread: Option<i64>,
}

impl EnteredRow {
    /// The entry as it is announced.
    pub(super) fn envelope(self, said: &Said<'_>) -> Result<Envelope, StoreError> {
        Ok(said.envelope(parse_channel(&self.channel)?, seq(self.seq), unread(self.unread, seq(self.seq))))
    }
}

/// What all entries of one write have in common.
pub(super) struct Said<'a> {
    pub(super) epoch: Epoch,
    pub(super) committed_at: Timestamp,
    pub(super) trace: TraceId,
    /// The kind of what happened.
    pub(super) kind: &'a str,
    pub(super) body: &'a DurableBody,
}

impl Said<'_> {
    /// One entry of one feed.
    pub(super) fn envelope(&self, channel: Channel, seq: Seq, unread: Option<event::Unread>) -> Envelope {
        // Every entry kept so far is about conversations, and the people in them.
        let entry = Entry {
            epoch: self.epoch,
            seq,
            topic: Topic::Messaging,
            unread,
            redacts: render::redacts(self.kind),
            revokes: render::revokes(self.kind),
            closes: render::closes(self.kind),
            body: self.body.clone(),
        };
        let (committed_at, trace) = (self.committed_at, self.trace);
        Envelope { channel, committed_at, trace, content: Content::Entry(entry) }
    }
}

/// A count and the position at which it was taken.
pub(super) fn unread(count: Option<i64>, version: Seq) -> Option<event::Unread> {
    count.map(|count| event::Unread { count: count.unsigned_abs(), version })
}

/// A number as the databases keep it. It is never negative: the columns are checked.
pub(super) fn seq(number: i64) -> Seq {
    Seq(number.unsigned_abs())
}

/// A number as the databases keep it. Cursors hold none beyond `i64::MAX`, and no counter gets there.
pub(super) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}

/// An epoch as the databases keep it: the same 64 bits.
pub(super) fn epoch(bits: i64) -> Epoch {
    Epoch(bits.cast_unsigned())
}

/// The three positions of a person.
pub(super) fn positions(user: i64, role: i64, all: i64) -> Positions {
    Positions { user: seq(user), role: seq(role), all: seq(all) }
}

/// A channel that a row names.
pub(super) fn parse_channel(text: &str) -> Result<Channel, StoreError> {
    text.parse().map_err(StoreError::broken)
}

/// A word of one of the registries, as JSON and the databases spell it.
pub(super) fn word<T: DeserializeOwned>(text: String) -> Result<T, StoreError> {
    serde_json::from_value(text.into()).map_err(StoreError::broken)
}

/// The spelling of a word of one of the registries.
pub(super) fn spelling(word: impl serde::Serialize) -> String {
    match serde_json::to_value(word) {
        Ok(serde_json::Value::String(text)) => text,
        _ => unreachable!("the registries are enums of unit variants"),
    }
}
