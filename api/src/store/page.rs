//! Pages of differences: rows of entries become envelopes, until the page is full.
//!
//! Both stores read rows in the order asked, a few more than a page may hold; here they are rendered as of today, counted in
//! bytes, and checked to be contiguous.

use shared::channel::Channel;
use shared::envelope::Envelope;
use shared::event::DurableBody;
use shared::ids::{ConversationId, Epoch, Seq, TraceId, UserId};
use shared::time::Timestamp;
use shared::upstream::{Differences, DifferencesAfter, Page, Reach};
use sqlx::types::Json;
use uuid::Uuid;

use super::StoreError;
use super::rows::{
    self, ConversationRow, FollowerRow, MessageRow, ParticipantRow, ReportRow, Said, ScheduledRow, UnsentRow, UserRow,
    epoch, seq, unread,
};
use crate::model::{Conversation, Message, Participant, Report, Scheduled, User};
use crate::render;

/// The smallest number of bytes that a rendered entry has: bounds how many rows a page needs.
const SMALLEST_BODY: usize = 200;

/// How many entries to read at most for a page of so many bytes.
pub(super) fn most_entries(page_bytes: usize) -> i64 {
    i64::try_from(page_bytes / SMALLEST_BODY + 1).unwrap_or(i64::MAX)
}

/// Where a feed stands.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(super) struct FeedRow {
    /// Its highest number.
    pub(super) head: i64,
    /// The highest number that is no longer kept.
    pub(super) floor: i64,
}

/// An entry with what it refers to.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct EntryRow {
    /// Which of the asked feeds, from 0.
    pub(super) ordinal: i64,
    pub(super) seq: i64,
    kind: String,
    created_at: i64,
    trace: Uuid,
    unread: Option<i64>,
    /// When the feed's owner left the conversation, if they have.
    left_at: Option<i64>,
    /// Whether the feed's owner has deleted the message for themselves.
    hidden: bool,
    /// Whom it is about.
    user_id: Option<String>,
    /// Where it happened, if that is a conversation.
    conversation_id: Option<Uuid>,
    conversation_version: Option<i64>,
    message: Option<Json<MessageRow>>,
    conversation: Option<Json<ConversationRow>>,
    participant: Option<Json<ParticipantRow>>,
    /// How far the feed's owner has read the thread that it is about.
    follower: Option<Json<FollowerRow>>,
    person: Option<Json<UserRow>>,
    /// Since when the feed's owner blocks whom it is about.
    blocked_at: Option<i64>,
    report: Option<Json<ReportRow>>,
    /// What the feed's owner has written there and not sent.
    unsent: Option<Json<UnsentRow>>,
    scheduled: Option<Json<ScheduledRow>>,
}

impl EntryRow {
    fn envelope(self, epoch: Epoch, channel: Channel, head: Seq) -> Result<Envelope, StoreError> {
        let (committed_at, trace) = (Timestamp::from_micros(self.created_at), TraceId(self.trace.as_u128()));
        let (seq, unread) = (seq(self.seq), unread(self.unread, head));
        let (kind, conversation) = (self.kind.clone(), self.conversation_id.map(ConversationId));
        let body = match self.render(&channel, committed_at, head)? {
            Some(body) => body,
            // A pod of another version wrote it, or somebody at the console took away what it refers to. The feed goes on.
            None => {
                tracing::error!(%channel, %seq, kind, "an entry has nothing to say");
                render::unknown(&kind, conversation, trace, committed_at)
            }
        };
        // The count is today's, so it is as new as the head read beside it.
        Ok(Said { epoch, committed_at, trace, kind: &kind, body: &body }.envelope(channel, seq, unread))
    }

    /// What the entry says today; `None` where what it refers to is not there, or its kind is not known.
    fn render(self, channel: &Channel, at: Timestamp, head: Seq) -> Result<Option<DurableBody>, StoreError> {
        let about: Option<UserId> = self.user_id.map(|user| user.parse()).transpose().map_err(StoreError::broken)?;
        let left_at = self.left_at.map(Timestamp::from_micros);
        let message = self.message.map(|Json(row)| Message::try_from(row)).transpose()?;
        let message = message.map(|message| message.for_one_who_left(left_at));
        let message = if self.hidden { message.map(Message::hidden) } else { message };
        let conversation = self.conversation.map(|Json(row)| Conversation::try_from(row)).transpose()?;
        let conversation = conversation.map(|conversation| conversation.for_one_who_left(left_at));
        let participant = self.participant.map(|Json(row)| row);
        let person = self.person.map(|Json(row)| User::try_from(row)).transpose()?;
        let trace = TraceId(self.trace.as_u128());
        Ok(match self.kind.as_str() {
            render::NEW_MESSAGE => message.map(|message| render::new_message(&message)),
            kind @ (render::MESSAGE_UPDATED
            | render::MESSAGE_DELETED
            | render::MESSAGE_HIDDEN
            | render::REACTION_NEW
            | render::REACTION_DELETED
            | render::MESSAGE_PINNED
            | render::MESSAGE_UNPINNED
            | render::MESSAGE_ACKNOWLEDGED) => {
                message.zip(about).map(|(message, by)| render::message_changed(kind, &message, &by, at))
            }
            kind @ (render::CONVERSATION_CREATED
            | render::CONVERSATION_UPDATED
            | render::CONVERSATION_ASSIGNED
            | render::CONVERSATION_QUEUED) => {
                conversation.map(|conversation| render::conversation_changed(kind, &conversation, at))
            }
            kind @ (render::MEMBER_ADDED | render::MEMBER_REMOVED | render::MEMBER_UPDATED) => {
                let (Some(version), Some(about), Some(member)) = (self.conversation_version, about, participant) else {
                    return Ok(None);
                };
                // Who has left is told of nobody else what they are today.
                let is_theirs = left_at.is_none() || *channel == Channel::User(about.clone());
                let role = if is_theirs { member.current_role()? } else { None };
                Some(render::member_changed(kind, member.conversation_id(), version.unsigned_abs(), &about, role, at))
            }
            render::MESSAGE_READ => match participant {
                Some(reader) => {
                    Some(render::message_read(reader.conversation_id(), &Participant::try_from(reader)?, at))
                }
                None => None,
            },
            render::THREAD_UPDATED => {
                let follower = self.follower.as_ref().map(|Json(row)| row);
                let marker = |root: Message| rows::thread_marker(follower, root.conversation_id, root.id, head);
                message.map(|root| render::thread_updated(&marker(root), at))
            }
            render::SETTINGS_UPDATED => {
                participant.map(|own| render::settings_updated(own.conversation_id(), &own.settings(), at))
            }
            render::BLOCKS_UPDATED => {
                let blocked_at = self.blocked_at.map(Timestamp::from_micros);
                about.map(|about| render::blocks_updated(&about, blocked_at, trace, at))
            }
            kind @ (render::USER_UPDATED
            | render::USER_BANNED
            | render::USER_UNBANNED
            | render::USER_ERASED
            | render::ACCOUNT_ERASED) => person.map(|person| render::user_changed(kind, &person, trace, at)),
            kind @ (render::REPORT_CREATED | render::REPORT_UPDATED) => match self.report {
                Some(Json(report)) => Some(render::report_told(kind, &Report::try_from(report)?, at)),
                None => None,
            },
            kind @ (render::DRAFT_UPDATED | render::DRAFT_DELETED) => {
                self.unsent.map(|Json(row)| render::unsent_changed(kind, &row.into(), at))
            }
            kind @ (render::SCHEDULED_UPDATED | render::SCHEDULED_SENT | render::SCHEDULED_DELETED) => {
                let scheduled = self.scheduled.map(|Json(row)| Scheduled::try_from(row)).transpose()?;
                scheduled.map(|scheduled| render::scheduled_changed(kind, &scheduled, at))
            }
            render::REVOKED => about.map(|user| render::revoked(&user, trace, at)),
            _ => None,
        })
    }
}

/// Makes the answer from the feeds asked, in the order asked, and the entries that follow, in the same order.
pub(super) fn differences(
    asked: &DifferencesAfter,
    today: i64,
    feeds: &[FeedRow],
    entries: Vec<EntryRow>,
) -> Result<Differences, StoreError> {
    let today = epoch(today);
    let continues = |(after, feed): (&(_, Seq), &FeedRow)| seq(feed.floor) <= after.1 && after.1 <= seq(feed.head);
    if asked.epoch != today || !asked.after.iter().zip(feeds).all(continues) {
        return Ok(Differences::Resync { epoch: today });
    }
    let mut reaches: Vec<Reach> = (asked.after.iter().zip(feeds))
        .map(|((channel, after), feed)| Reach { channel: channel.clone(), position: *after, head: seq(feed.head) })
        .collect();
    let mut page = Vec::with_capacity(entries.len());
    let mut bytes = 0;
    for row in entries {
        if bytes > asked.page_bytes {
            break;
        }
        let reach = usize::try_from(row.ordinal).ok().and_then(|ordinal| reaches.get_mut(ordinal));
        let reach = reach.ok_or_else(|| StoreError::broken("an entry of a feed that was not asked"))?;
        if seq(row.seq) != reach.position.next() {
            let hole = format!("feed {} has a hole between {} and {}", reach.channel, reach.position, row.seq);
            return Err(StoreError::broken(hole));
        }
        reach.position = seq(row.seq);
        let envelope = row.envelope(today, reach.channel.clone(), reach.head)?;
        bytes += envelope.body().len();
        page.push(envelope);
    }
    Ok(Differences::Page(Page { epoch: today, feeds: reaches, entries: page }))
}
