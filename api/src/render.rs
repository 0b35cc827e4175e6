//! Events of the durable kind, written from what is kept today.
//!
//! On the line this stands between the store and the envelope: the store renders what it has just committed, and again
//! whenever somebody asks for entries of the past. One entry looks the same on both ways, because both call these functions.

use serde::Serialize;
use shared::channel::{Channel, Role};
use shared::envelope::{Content, Envelope};
use shared::event::{DurableBody, Heading, LiveBody};
use shared::ids::{ClientMessageId, ConversationId, MessageId, ReportId, RoomName, Seq, TraceId, UserId};
use shared::time::Timestamp;
use uuid::Uuid;

use crate::attachments::model::Attachment;
use crate::model::{
    Acknowledgements, Change, Conversation, ConversationChange, ConversationStatus, ConversationType, Forwarded,
    Mentions, Message, MessagePriority, MessageType, OwnSettings, Participant, ParticipantRole, Reactions, Report,
    ReportReason, ReportState, ScheduleStatus, Scheduled, ThreadMarker, ThreadSummary, Unsent, User,
};

/// The kind of the entry that a message makes.
pub const NEW_MESSAGE: &str = "new_message";
/// The kind of the entry that a conversation makes when it is started.
pub const CONVERSATION_CREATED: &str = "conversation.created";

/// The kind of the entry that moving one's marker makes, in one's own feed.
pub const MESSAGE_READ: &str = "message.read";

/// The kind of the entry that reading, following or leaving a thread makes, in one's own feed.
pub const THREAD_UPDATED: &str = "thread.updated";

/// The kinds of the entries that changes of a message make.
pub const MESSAGE_UPDATED: &str = "message.updated";
/// It was deleted for everybody.
pub const MESSAGE_DELETED: &str = "message.deleted";
/// It was deleted for one person; only in their own feed.
pub const MESSAGE_HIDDEN: &str = "message.hidden";
/// Somebody reacted.
pub const REACTION_NEW: &str = "reaction.new";
/// Somebody took a reaction back.
pub const REACTION_DELETED: &str = "reaction.deleted";

/// It is kept at hand for everybody.
pub const MESSAGE_PINNED: &str = "message.pinned";
/// It is not kept at hand any more.
pub const MESSAGE_UNPINNED: &str = "message.unpinned";

/// Somebody has said that they have seen it.
pub const MESSAGE_ACKNOWLEDGED: &str = "message.acknowledged";

/// The kind of the entry that a revocation makes in the feed of the pods. No client is told of it.
pub const REVOKED: &str = "fleet.revoked";

/// Whether an entry of this kind takes back what earlier ones say.
#[must_use]
pub fn redacts(kind: &str) -> bool {
    matches!(kind, MESSAGE_DELETED | MESSAGE_HIDDEN | DRAFT_DELETED | SCHEDULED_DELETED | USER_ERASED | ACCOUNT_ERASED)
}

/// Whether an entry of this kind ends what somebody was allowed.
#[must_use]
pub fn revokes(kind: &str) -> bool {
    kind == MEMBER_REMOVED
}

/// Whether an entry of this kind ends the connections of its feed's owner.
#[must_use]
pub fn closes(kind: &str) -> bool {
    matches!(kind, USER_BANNED | ACCOUNT_ERASED)
}

/// The kind of the entry that a change of a message makes.
#[must_use]
pub const fn kind_of(change: &Change) -> &'static str {
    match change {
        Change::Edit(..) => MESSAGE_UPDATED,
        Change::Delete => MESSAGE_DELETED,
        Change::Hide => MESSAGE_HIDDEN,
        Change::React(_) => REACTION_NEW,
        Change::Unreact(_) => REACTION_DELETED,
        Change::Pin => MESSAGE_PINNED,
        Change::Unpin => MESSAGE_UNPINNED,
        Change::Acknowledge => MESSAGE_ACKNOWLEDGED,
    }
}

/// Where a message stands.
#[derive(Serialize)]
struct Place {
    conversation_id: ConversationId,
    message_id: MessageId,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_root_id: Option<MessageId>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    also_in_conversation: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<ThreadSummary>,
}

impl Place {
    const fn of(message: &Message) -> Self {
        Self {
            conversation_id: message.conversation_id,
            message_id: message.id,
            seq: message.seq,
            thread_root_id: message.thread_root_id,
            also_in_conversation: message.also_in_conversation,
            thread: message.thread,
        }
    }
}

/// Writes the event of a message. What stands in a thread alone counts there.
fn about(message: &Message, heading: &Heading<'_>, data: &impl Serialize) -> DurableBody {
    let body = DurableBody::new(heading, Some(message.version), data).expect("a message is an object with fields");
    if message.is_aside() { body.counting_thread() } else { body }
}

/// What a message can have beside its text; what it has not is left out.
#[derive(Serialize, Default)]
struct Beside<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    attachments: &'a [Attachment],
    #[serde(flatten)]
    mentions: Option<&'a Mentions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forwarded_from: Option<&'a Forwarded>,
    #[serde(skip_serializing_if = "MessagePriority::is_normal")]
    priority: MessagePriority,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    requires_acknowledgement: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledgements: Option<&'a Acknowledgements>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pinned_by: Option<&'a UserId>,
}

impl<'a> Beside<'a> {
    fn of(message: &'a Message) -> Self {
        Self {
            attachments: &message.attachments,
            mentions: Some(&message.mentions),
            forwarded_from: message.forwarded_from.as_ref(),
            priority: message.priority,
            requires_acknowledgement: message.requires_acknowledgement,
            acknowledgements: message.acknowledgements.as_ref(),
            pinned_at: message.pinned_at,
            pinned_by: message.pinned_by.as_ref(),
        }
    }
}

/// Writes the event of a changed message: the whole of it as it is today, so that whoever applies the highest version is right,
/// and who changed it.
#[must_use]
pub fn message_changed(kind: &str, message: &Message, by: &UserId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct MessageChanged<'a> {
        #[serde(flatten)]
        place: Place,
        user_id: &'a UserId,
        sender_id: &'a UserId,
        message_text: &'a str,
        message_type: MessageType,
        created_at: Timestamp,
        edited_at: Option<Timestamp>,
        deleted_at: Option<Timestamp>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        hidden: bool,
        #[serde(flatten)]
        beside: Beside<'a>,
        reactions: &'a [Reactions],
    }
    let heading = Heading { kind, id: message.id.0, timestamp: at };
    let is_hidden = message.hidden || kind == MESSAGE_HIDDEN;
    let data = MessageChanged {
        place: Place::of(message),
        user_id: by,
        sender_id: &message.sender_id,
        message_text: if is_hidden { "" } else { &message.message_text },
        message_type: message.message_type,
        created_at: message.created_at,
        edited_at: message.edited_at,
        deleted_at: message.deleted_at,
        hidden: is_hidden,
        beside: if is_hidden { Beside::default() } else { Beside::of(message) },
        reactions: if is_hidden { &[] } else { &message.reactions },
    };
    about(message, &heading, &data)
}

/// Writes `new_message`. Its id is the message's, so that whoever is told twice can see it.
#[must_use]
pub fn new_message(message: &Message) -> DurableBody {
    #[derive(Serialize)]
    struct NewMessage<'a> {
        #[serde(flatten)]
        place: Place,
        sender_id: &'a UserId,
        message_text: &'a str,
        message_type: MessageType,
        client_message_id: Option<&'a ClientMessageId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
        #[serde(flatten)]
        beside: Beside<'a>,
        created_at: Timestamp,
        #[serde(skip_serializing_if = "Option::is_none")]
        edited_at: Option<Timestamp>,
        #[serde(skip_serializing_if = "Option::is_none")]
        deleted_at: Option<Timestamp>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        hidden: bool,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        reactions: &'a [Reactions],
    }
    let heading = Heading { kind: NEW_MESSAGE, id: message.id.0, timestamp: message.created_at };
    let data = NewMessage {
        place: Place::of(message),
        sender_id: &message.sender_id,
        message_text: &message.message_text,
        message_type: message.message_type,
        client_message_id: message.client_message_id.as_ref(),
        reply_to: message.reply_to,
        beside: Beside::of(message),
        created_at: message.created_at,
        edited_at: message.edited_at,
        deleted_at: message.deleted_at,
        hidden: message.hidden,
        reactions: &message.reactions,
    };
    about(message, &heading, &data)
}

/// The kind of the entry that a change of a conversation makes, for all in it.
pub const CONVERSATION_UPDATED: &str = "conversation.updated";
/// Somebody came into it.
pub const MEMBER_ADDED: &str = "member.added";
/// Somebody left it, or was taken out of it.
pub const MEMBER_REMOVED: &str = "member.removed";
/// Somebody has another role in it.
pub const MEMBER_UPDATED: &str = "member.updated";
/// One of the staff looks after it; in the feeds of all who work here too.
pub const CONVERSATION_ASSIGNED: &str = "conversation.assigned";
/// It waits for one of the staff; in the feeds of all who work here too.
pub const CONVERSATION_QUEUED: &str = "conversation.queued";
/// A person set something for themselves; only in their own feed.
pub const SETTINGS_UPDATED: &str = "settings.updated";

/// The kind of the entry that a change of a conversation makes.
#[must_use]
pub const fn kind_of_change(change: &ConversationChange) -> &'static str {
    match change {
        ConversationChange::Update { .. } => CONVERSATION_UPDATED,
        ConversationChange::Add(..) => MEMBER_ADDED,
        ConversationChange::Remove(_) => MEMBER_REMOVED,
        ConversationChange::SetRole(..) => MEMBER_UPDATED,
        ConversationChange::Claim | ConversationChange::Assign(_) => CONVERSATION_ASSIGNED,
        ConversationChange::Release => CONVERSATION_QUEUED,
        ConversationChange::SetOwn { .. } => SETTINGS_UPDATED,
    }
}

/// Writes the event of a change of a conversation, which is as it is now.
#[must_use]
pub fn conversation_change(change: &ConversationChange, conversation: &Conversation, at: Timestamp) -> DurableBody {
    let kind = kind_of_change(change);
    match change {
        ConversationChange::Update { .. }
        | ConversationChange::Claim
        | ConversationChange::Assign(_)
        | ConversationChange::Release => conversation_changed(kind, conversation, at),
        ConversationChange::Add(user, _) | ConversationChange::Remove(user) | ConversationChange::SetRole(user, _) => {
            let member = conversation.participants.iter().find(|participant| participant.user_id == *user);
            let role = member.map(|member| member.role);
            member_changed(kind, conversation.id, conversation.version, user, role, at)
        }
        ConversationChange::SetOwn { .. } => {
            settings_updated(conversation.id, &conversation.settings.unwrap_or_default(), at)
        }
    }
}

/// Writes `member.added`, `member.removed` and `member.updated`: what somebody is in a conversation today, nothing if they are not
/// in it. The version is the conversation's.
#[must_use]
pub fn member_changed(
    kind: &str,
    conversation: ConversationId,
    version: u64,
    user_id: &UserId,
    role: Option<ParticipantRole>,
    at: Timestamp,
) -> DurableBody {
    #[derive(Serialize)]
    struct MemberChanged<'a> {
        conversation_id: ConversationId,
        user_id: &'a UserId,
        role: Option<ParticipantRole>,
    }
    let heading = Heading { kind, id: conversation.0, timestamp: at };
    let data = MemberChanged { conversation_id: conversation, user_id, role };
    DurableBody::new(&heading, Some(version), &data).expect("a member is an object with fields")
}

/// Writes `settings.updated`: what a person has set for a conversation, for their own devices.
#[must_use]
pub fn settings_updated(conversation: ConversationId, settings: &OwnSettings, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct SettingsUpdated<'a> {
        conversation_id: ConversationId,
        #[serde(flatten)]
        settings: &'a OwnSettings,
    }
    let heading = Heading { kind: SETTINGS_UPDATED, id: conversation.0, timestamp: at };
    let data = SettingsUpdated { conversation_id: conversation, settings };
    DurableBody::new(&heading, None, &data).expect("settings are an object with fields")
}

/// Writes `conversation.created`, `.updated`, `.queued` and `.assigned`. The id is the conversation's. It holds what is the same for every
/// participant.
#[must_use]
pub fn conversation_changed(kind: &str, conversation: &Conversation, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct ConversationChanged<'a> {
        id: ConversationId,
        #[serde(rename = "type")]
        kind: ConversationType,
        status: ConversationStatus,
        subject: Option<&'a str>,
        metadata: &'a serde_json::Map<String, serde_json::Value>,
        participants: Vec<Participant>,
        queued_at: Option<Timestamp>,
        assigned_to: Option<&'a UserId>,
        created_at: Timestamp,
    }
    let heading = Heading { kind, id: conversation.id.0, timestamp: at };
    let data = ConversationChanged {
        id: conversation.id,
        kind: conversation.kind,
        status: conversation.status,
        subject: conversation.subject.as_deref(),
        metadata: &conversation.metadata,
        participants: conversation.participants.iter().map(Participant::seen_by_others).collect(),
        queued_at: conversation.queued_at,
        assigned_to: conversation.assigned_to.as_ref(),
        created_at: conversation.created_at,
    };
    DurableBody::new(&heading, Some(conversation.version), &data).expect("a conversation is an object with fields")
}

/// The kind of the entry that a service makes when it says something new of a person.
pub const USER_UPDATED: &str = "user.updated";

/// What everybody who shares a conversation with a person may know of them.
fn user_updated(user: &User, trace: TraceId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct UserUpdated<'a> {
        user_id: &'a UserId,
        role: Role,
        name: Option<&'a str>,
        avatar_url: Option<&'a str>,
        locale: Option<&'a str>,
        time_zone: Option<&'a str>,
    }
    let heading = Heading { kind: USER_UPDATED, id: Uuid::from_u128(trace.0), timestamp: at };
    let data = UserUpdated {
        user_id: &user.id,
        role: user.role,
        name: user.name.as_deref(),
        avatar_url: user.avatar_url.as_deref(),
        locale: user.locale.as_deref(),
        time_zone: user.time_zone.as_deref(),
    };
    DurableBody::new(&heading, Some(user.version), &data).expect("a person is an object with fields")
}

/// The kind of the entry that banning somebody makes; only in their own feed, and it ends their connections.
pub const USER_BANNED: &str = "user.banned";
/// Their ban was lifted; only in their own feed.
pub const USER_UNBANNED: &str = "user.unbanned";

/// The kind of the entry that erasing somebody makes, in the feeds of those who share a conversation with them.
pub const USER_ERASED: &str = "user.erased";
/// The recipient is erased; only in their own feed, and it ends their connections.
pub const ACCOUNT_ERASED: &str = "account.erased";

/// Writes the event of a change of a person, who is as they are now. Its id is that of the trace.
#[must_use]
pub fn user_changed(kind: &str, user: &User, trace: TraceId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct BanChanged<'a> {
        user_id: &'a UserId,
        reason: Option<&'a str>,
        expires_at: Option<Timestamp>,
    }
    #[derive(Serialize)]
    struct Erased<'a> {
        user_id: &'a UserId,
        erased_at: Option<Timestamp>,
    }
    let heading = Heading { kind, id: Uuid::from_u128(trace.0), timestamp: at };
    match kind {
        USER_UPDATED => return user_updated(user, trace, at),
        USER_ERASED | ACCOUNT_ERASED => {
            let data = Erased { user_id: &user.id, erased_at: user.erased_at };
            return DurableBody::new(&heading, Some(user.version), &data).expect("a person is an object with fields");
        }
        _ => {}
    }
    let (reason, expires_at) = user.ban.as_ref().map_or((None, None), |ban| (Some(&*ban.reason), ban.expires_at));
    let data = BanChanged { user_id: &user.id, reason, expires_at };
    DurableBody::new(&heading, None, &data).expect("a ban is an object with fields")
}

/// The kind of the entry that a report makes, in the feeds of staff.
pub const REPORT_CREATED: &str = "report.created";
/// It was decided.
pub const REPORT_UPDATED: &str = "report.updated";

/// Writes `report.created` and `report.updated`: what is known of the report, nothing of what the message says.
#[must_use]
pub fn report_told(kind: &str, report: &Report, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct ReportTold<'a> {
        report_id: ReportId,
        message_id: MessageId,
        conversation_id: ConversationId,
        sender_id: &'a UserId,
        reporter_id: &'a UserId,
        reason: ReportReason,
        state: ReportState,
        decided_by: Option<&'a UserId>,
        decided_at: Option<Timestamp>,
    }
    let heading = Heading { kind, id: report.id.0, timestamp: at };
    let data = ReportTold {
        report_id: report.id,
        message_id: report.message_id,
        conversation_id: report.conversation_id,
        sender_id: &report.sender_id,
        reporter_id: &report.reporter_id,
        reason: report.reason,
        state: report.state,
        decided_by: report.decided_by.as_ref(),
        decided_at: report.decided_at,
    };
    DurableBody::new(&heading, Some(report.version()), &data).expect("a report is an object with fields")
}

/// The kind of the entry that blocking somebody makes, and taking it back; only in one's own feed.
pub const BLOCKS_UPDATED: &str = "blocks.updated";

/// Writes `blocks.updated`: since when the recipient blocks somebody, nothing if they do not. Its id is that of the trace.
#[must_use]
pub fn blocks_updated(user_id: &UserId, blocked_at: Option<Timestamp>, trace: TraceId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct BlocksUpdated<'a> {
        user_id: &'a UserId,
        blocked_at: Option<Timestamp>,
    }
    let heading = Heading { kind: BLOCKS_UPDATED, id: Uuid::from_u128(trace.0), timestamp: at };
    DurableBody::new(&heading, None, &BlocksUpdated { user_id, blocked_at }).expect("a block is an object with fields")
}

/// The kind of the entry that what one has written makes; only in one's own feed.
pub const DRAFT_UPDATED: &str = "draft.updated";
/// It was sent, or thrown away; only in one's own feed.
pub const DRAFT_DELETED: &str = "draft.deleted";

/// The kind of the entry that a change to this makes.
#[must_use]
pub const fn kind_of_unsent(unsent: &Unsent) -> &'static str {
    match unsent.message_text {
        Some(_) => DRAFT_UPDATED,
        None => DRAFT_DELETED,
    }
}

/// Writes `draft.updated` and `draft.deleted`: what somebody has written and not sent as it is today, for their own devices.
#[must_use]
pub fn unsent_changed(kind: &str, unsent: &Unsent, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct UnsentChanged<'a> {
        conversation_id: ConversationId,
        message_text: Option<&'a str>,
        reply_to: Option<MessageId>,
        updated_at: Timestamp,
    }
    let heading = Heading { kind, id: unsent.conversation_id.0, timestamp: at };
    let data = UnsentChanged {
        conversation_id: unsent.conversation_id,
        message_text: unsent.message_text.as_deref(),
        reply_to: unsent.reply_to,
        updated_at: unsent.updated_at,
    };
    DurableBody::new(&heading, Some(unsent.version), &data).expect("what is written is an object with fields")
}

/// The kind of the entry that scheduling a message makes, changing it, and its refusal; only in its sender's own feed.
pub const SCHEDULED_UPDATED: &str = "scheduled_message.updated";
/// Its time has come, and it is a message; only in its sender's own feed.
pub const SCHEDULED_SENT: &str = "scheduled_message.sent";
/// It was taken back; only in its sender's own feed.
pub const SCHEDULED_DELETED: &str = "scheduled_message.deleted";

/// The kind of the entry that a change to this makes.
#[must_use]
pub const fn kind_of_scheduled(scheduled: &Scheduled) -> &'static str {
    match scheduled.status {
        ScheduleStatus::Scheduled | ScheduleStatus::Refused => SCHEDULED_UPDATED,
        ScheduleStatus::Sent => SCHEDULED_SENT,
        ScheduleStatus::Cancelled => SCHEDULED_DELETED,
    }
}

/// Writes `scheduled_message.updated`, `.sent` and `.deleted`: a scheduled message as it is today, for its sender's own devices.
#[must_use]
pub fn scheduled_changed(kind: &str, scheduled: &Scheduled, at: Timestamp) -> DurableBody {
    let heading = Heading { kind, id: scheduled.id.0, timestamp: at };
    DurableBody::new(&heading, Some(scheduled.version), scheduled)
        .expect("a scheduled message is an object with fields")
}

/// Writes what pods are told of a revocation: whose tokens it concerns. Which of them they read where it is kept.
#[must_use]
pub fn revoked(user_id: &UserId, trace: TraceId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct Concerns<'a> {
        user_id: &'a UserId,
    }
    let heading = Heading { kind: REVOKED, id: Uuid::from_u128(trace.0), timestamp: at };
    DurableBody::new(&heading, None, &Concerns { user_id }).expect("an id is an object with fields")
}

/// Writes an event of a kind that this pod does not know, or of something that is not there: that it happened, and where.
#[must_use]
pub fn unknown(kind: &str, conversation_id: Option<ConversationId>, trace: TraceId, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct Unknown {
        conversation_id: Option<ConversationId>,
    }
    let id = conversation_id.map_or(Uuid::from_u128(trace.0), |conversation| conversation.0);
    let heading = Heading { kind, id, timestamp: at };
    DurableBody::new(&heading, None, &Unknown { conversation_id }).expect("an id is an object with fields")
}

/// Writes `message.read`: how far somebody has read. It enters their own feed, so that their other devices clear at once.
#[must_use]
pub fn message_read(conversation: ConversationId, participant: &Participant, at: Timestamp) -> DurableBody {
    #[derive(Serialize)]
    struct MessageRead<'a> {
        conversation_id: ConversationId,
        user_id: &'a UserId,
        last_read_seq: Seq,
    }
    let heading = Heading { kind: MESSAGE_READ, id: conversation.0, timestamp: at };
    let data = MessageRead {
        conversation_id: conversation,
        user_id: &participant.user_id,
        last_read_seq: participant.last_read_seq,
    };
    DurableBody::new(&heading, Some(participant.version), &data).expect("a marker is an object with fields")
}

/// Writes `thread.updated`: how far somebody has read in a thread, or that they follow it no longer. It enters their own feed. The id
/// is that of the message which began the thread.
#[must_use]
pub fn thread_updated(marker: &ThreadMarker, at: Timestamp) -> DurableBody {
    let heading = Heading { kind: THREAD_UPDATED, id: marker.thread_root_id.0, timestamp: at };
    DurableBody::new(&heading, None, marker).expect("a marker is an object with fields")
}

/// Says in the conversation's room how far somebody has received and read it: passing, because it is state that everyone can ask
/// for, and a thousand readers must not make a million entries.
#[must_use]
pub fn receipt_updated(
    conversation: ConversationId,
    participant: &Participant,
    at: Timestamp,
    trace: TraceId,
) -> Envelope {
    #[derive(Serialize)]
    struct ReceiptUpdated<'a> {
        conversation_id: ConversationId,
        user_id: &'a UserId,
        last_read_seq: Seq,
        last_read_at: Option<Timestamp>,
        last_delivered_seq: Seq,
        version: u64,
    }
    let room: RoomName = format!("conversation:{conversation}").parse().expect("an id can stand in a room's name");
    let heading = Heading { kind: "receipt.updated", id: uuid::Uuid::now_v7(), timestamp: at };
    let data = ReceiptUpdated {
        conversation_id: conversation,
        user_id: &participant.user_id,
        last_read_seq: participant.last_read_seq,
        last_read_at: participant.last_read_at,
        last_delivered_seq: participant.last_delivered_seq,
        version: participant.version,
    };
    let body = LiveBody::in_room(&heading, &room, &participant.user_id, &data).expect("a receipt is always JSON");
    Envelope { channel: Channel::Room(room), committed_at: at, trace, content: Content::Sign(body) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::ParticipantRole;

    fn whole(body: &DurableBody) -> Value {
        let text = [body.as_bytes().as_ref(), b"}}"].concat();
        serde_json::from_slice(&text).expect("an open body becomes JSON once closed")
    }

    #[test]
    fn a_message_is_said_with_the_fields_of_the_contract() {
        let message = Message {
            id: MessageId(Uuid::nil()),
            seq: Seq(4),
            conversation_id: ConversationId(Uuid::nil()),
            sender_id: "alice".parse().expect("an id"),
            message_text: "hi \"bob\"".to_owned(),
            message_type: MessageType::Text,
            client_message_id: Some("k1".parse().expect("a key")),
            reply_to: None,
            thread_root_id: None,
            also_in_conversation: false,
            thread: None,
            attachments: Vec::new(),
            mentions: Mentions::default(),
            forwarded_from: None,
            priority: MessagePriority::Normal,
            requires_acknowledgement: false,
            acknowledgements: None,
            pinned_at: None,
            pinned_by: None,
            version: 1,
            created_at: Timestamp::from_micros(0),
            edited_at: None,
            deleted_at: None,
            hidden: false,
            reactions: Vec::new(),
        };
        assert_eq!(
            whole(&new_message(&message)),
            json!({
                "type": "new_message", "id": Uuid::nil(), "timestamp": "1970-01-01T00:00:00.000000Z", "version": 1,
                "data": {
                    "conversation_id": Uuid::nil(), "message_id": Uuid::nil(), "seq": 4, "sender_id": "alice",
                    "message_text": "hi \"bob\"", "message_type": "text", "client_message_id": "k1",
                    "created_at": "1970-01-01T00:00:00.000000Z",
                },
            })
        );
    }

    #[test]
    fn a_started_conversation_is_said_with_its_participants() {
        let at = Timestamp::from_micros(0);
        let owner = Participant {
            user_id: "alice".parse().expect("an id"),
            role: ParticipantRole::Owner,
            joined_at: at,
            last_read_seq: Seq::ZERO,
            last_read_at: None,
            last_delivered_seq: Seq::ZERO,
            shows_receipts: true,
            version: 1,
        };
        let conversation = Conversation {
            id: ConversationId(Uuid::nil()),
            kind: ConversationType::Group,
            status: ConversationStatus::Active,
            subject: None,
            metadata: serde_json::Map::new(),
            participants: vec![owner],
            last_message: None,
            last_message_at: None,
            unread_count: 0,
            queued_at: None,
            assigned_to: None,
            settings: None,
            version: 1,
            created_at: at,
        };
        let said = whole(&conversation_changed(CONVERSATION_CREATED, &conversation, at));
        assert_eq!(said["type"], "conversation.created");
        assert_eq!(said["data"]["type"], "group");
        assert_eq!(said["data"]["participants"][0]["user_id"], "alice");
    }
}
