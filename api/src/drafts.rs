//! Drafts: what somebody wants to say, checked against every limit but not yet against the store.
//!
//! On the line they stand first: a body goes in, a draft or a problem comes out. REST and the gateways' sockets come
//! through here alike, so that a message is the same thing at both doors.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use shared::access::Caller;
use shared::ids::{AttachmentId, ClientMessageId, ConversationId, MessageId, TraceId, UserId};
use shared::time::Timestamp;

use crate::error::Problem;
use crate::fields::Fields;
use crate::model::{
    Change, ChangeDraft, ConversationChange, ConversationChangeDraft, ConversationDraft, ConversationType, InThread,
    MarkerDraft, MarkerMove, Mentions, MessageDraft, MessagePriority, MessageType, Planned, ScheduleChange,
    ScheduleChangeDraft, ScheduleDraft, UnsentDraft, Writing,
};
use crate::request::Once;

/// Characters of the longest message.
pub const MESSAGE_TEXT: usize = 16_384;
/// Until when something is muted that is muted without an end: the last moment of the year 9999.
const FOR_EVER: Timestamp = Timestamp::LAST;
/// Characters of the longest reaction: an emoji can be made of many.
pub const SIGN: usize = 32;
/// Attachments of one message.
pub const ATTACHMENTS: usize = 10;
/// A year, in microseconds.
const YEAR: i64 = 366 * 24 * 3_600 * 1_000_000;
/// People whom one message calls by name.
pub const MENTIONS: usize = 50;
/// Characters of the longest subject.
pub const SUBJECT: usize = 200;
/// Bytes of the largest metadata, as JSON.
pub const METADATA: usize = 8 * 1024;

/// A message to send.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({
    "conversation_id": "01939f5e-7c7a-7b4e-9d5e-3a1c5f0f9a01",
    "message_text": "Is breakfast included?",
    "client_message_id": "c-1"
}))]
pub struct NewMessage {
    /// Where to send it.
    #[schema(value_type = uuid::Uuid)]
    pub conversation_id: ConversationId,
    /// What it says: 1 to 16,384 characters, not blank. With attachments it may be empty or missing.
    #[schema(max_length = 16_384)]
    pub message_text: Option<String>,
    /// What it is: `text` if it is not said. `voice` brings one attachment of that kind, `file` at least one.
    pub message_type: Option<MessageType>,
    /// The sender's own key for it: the same key in the same conversation makes the same message.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub client_message_id: Option<ClientMessageId>,
    /// The message it answers, in the same conversation.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub reply_to: Option<MessageId>,
    /// The message in whose thread it shall stand; in the same conversation, and in no thread itself. It is told to everyone and
    /// unread to those who follow the thread.
    #[schema(value_type = Option<uuid::Uuid>)]
    pub thread_root_id: Option<MessageId>,
    /// Whether a message of a thread shall stand in the main line of the conversation too, and count there.
    pub also_in_conversation: Option<bool>,
    /// What it brings along: at most 10 attachments, each complete, the sender's own, and no other message's.
    #[schema(value_type = Option<Vec<uuid::Uuid>>, max_items = 10)]
    pub attachment_ids: Option<Vec<AttachmentId>>,
    /// Participants whom it calls: at most 50. Nobody is read out of the text.
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    pub mentioned_users: Option<Vec<UserId>>,
    /// Whether it calls everybody in the conversation.
    pub mentioned_everyone: Option<bool>,
    /// How much it presses: `normal` if it is not said.
    pub priority: Option<MessagePriority>,
    /// Whether everybody else in the conversation is asked to acknowledge it.
    pub requires_acknowledgement: Option<bool>,
    /// The version of the sender's draft in this conversation that it was written as: the draft is cleared, unless it was changed
    /// since.
    pub draft_version: Option<u64>,
}

/// A conversation to start.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "type": "guest_staff", "subject": "Room 7", "participant_ids": ["maria"] }))]
pub struct NewConversation {
    /// What kind.
    #[schema(rename = "type")]
    pub kind: ConversationType,
    /// What about: at most 200 characters.
    #[schema(max_length = 200)]
    pub subject: Option<String>,
    /// With whom; whoever asks is in it anyway. One other in a `direct` conversation; nobody in a `guest_staff` one that any of
    /// the staff shall answer.
    #[schema(value_type = Vec<String>)]
    pub participant_ids: Vec<UserId>,
    /// Whatever the product wants to keep with it: an object of at most 8 KiB.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

/// Reads a [`NewMessage`].
///
/// # Errors
///
/// Names every field that is wrong.
pub fn message(mut body: Fields, once: Once, trace: TraceId) -> Result<MessageDraft, Problem> {
    let conversation_id = body.required("conversation_id");
    let attachment_ids = attachment_ids(&mut body);
    let message_text = match attachment_ids.as_slice() {
        [] => body.required_text("message_text", 1..=MESSAGE_TEXT),
        _ => Some(body.text("message_text", 0..=MESSAGE_TEXT).unwrap_or_default()),
    };
    let message_type = message_type(&mut body, attachment_ids.len());
    let mentions = mentions(&mut body).unwrap_or_default();
    let priority = body.optional("priority").unwrap_or_default();
    let requires_acknowledgement = body.optional("requires_acknowledgement").unwrap_or_default();
    let draft_version = body.seq("draft_version", 1).map(|version| version.0);
    let client_message_id = body.optional("client_message_id");
    let reply_to = body.optional("reply_to");
    let in_thread = in_thread(&mut body);
    body.finish(|| {
        Some(MessageDraft {
            id: MessageId::new(),
            conversation_id: conversation_id?,
            message_text: message_text?,
            message_type,
            client_message_id,
            idempotency_key: once.0,
            reply_to,
            in_thread,
            attachment_ids,
            mentions,
            forwards: None,
            priority,
            requires_acknowledgement,
            draft_version,
            trace,
        })
    })
}

/// Reads in which thread a message shall stand, if in any.
fn in_thread(body: &mut Fields) -> Option<InThread> {
    let root: Option<MessageId> = body.optional("thread_root_id");
    let also_in_conversation: Option<bool> = body.optional("also_in_conversation");
    if root.is_none() && also_in_conversation.is_some() {
        body.wrong("also_in_conversation", "is said of a message with a thread_root_id");
    }
    Some(InThread { root: root?, also_in_conversation: also_in_conversation.unwrap_or_default() })
}

/// Reads where a message shall be said again.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn forward(mut body: Fields, source: MessageId, once: Once, trace: TraceId) -> Result<MessageDraft, Problem> {
    let conversation_id = body.required("conversation_id");
    let client_message_id = body.optional("client_message_id");
    body.finish(|| {
        Some(MessageDraft {
            id: MessageId::new(),
            conversation_id: conversation_id?,
            message_text: String::new(),
            message_type: MessageType::Text,
            client_message_id,
            idempotency_key: once.0,
            reply_to: None,
            in_thread: None,
            attachment_ids: Vec::new(),
            mentions: Mentions::default(),
            forwards: Some(source),
            priority: MessagePriority::Normal,
            requires_acknowledgement: false,
            draft_version: None,
            trace,
        })
    })
}

/// Reads what somebody has written so far.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn unsent(mut body: Fields, conversation_id: ConversationId, trace: TraceId) -> Result<UnsentDraft, Problem> {
    let message_text = body.required_text("message_text", 1..=MESSAGE_TEXT);
    let reply_to = body.optional("reply_to");
    body.finish(|| {
        let writing = Some(Writing { message_text: message_text?, reply_to });
        Some(UnsentDraft { conversation_id, writing, only_version: None, trace })
    })
}

/// Reads a message that is to be sent later.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn schedule(mut body: Fields, once: Once, trace: TraceId) -> Result<ScheduleDraft, Problem> {
    let conversation_id = body.required("conversation_id");
    body.require("send_at");
    let send_at = later(&mut body, "send_at");
    let message_text = body.required_text("message_text", 1..=MESSAGE_TEXT);
    let message_type = message_type(&mut body, 0);
    let reply_to = body.optional("reply_to");
    let in_thread = in_thread(&mut body);
    let mentions = mentions(&mut body).unwrap_or_default();
    let priority = body.optional("priority").unwrap_or_default();
    let requires_acknowledgement = body.optional("requires_acknowledgement").unwrap_or_default();
    body.finish(|| {
        let message_text = message_text?;
        let message = Planned {
            message_text,
            message_type,
            reply_to,
            thread_root_id: in_thread.map(|thread| thread.root),
            also_in_conversation: in_thread.is_some_and(|thread| thread.also_in_conversation),
            mentions,
            priority,
            requires_acknowledgement,
        };
        Some(ScheduleDraft {
            id: MessageId::new(),
            conversation_id: conversation_id?,
            message,
            send_at: send_at?,
            idempotency_key: once.0,
            trace,
        })
    })
}

/// Reads a change of a message that is to be sent later.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn reschedule(mut body: Fields, id: MessageId, trace: TraceId) -> Result<ScheduleChangeDraft, Problem> {
    must_say_something(&mut body);
    let send_at = later(&mut body, "send_at");
    let message_text = body.text("message_text", 1..=MESSAGE_TEXT);
    body.finish(|| {
        let change = ScheduleChange::Change { send_at, message_text };
        Some(ScheduleChangeDraft { id, change, trace })
    })
}

/// Reads a moment in the future, within a year, that may be missing.
fn later(body: &mut Fields, field: &str) -> Option<Timestamp> {
    let at: Timestamp = body.optional(field)?;
    let ahead = at.as_micros().saturating_sub(Timestamp::now().as_micros());
    if !(1..=YEAR).contains(&ahead) {
        body.wrong(field, "must lie in the future, within a year");
        return None;
    }
    Some(at)
}

/// Reads a [`NewConversation`].
///
/// # Errors
///
/// Names every field that is wrong.
pub fn conversation(
    mut body: Fields,
    caller: &Caller,
    once: Once,
    trace: TraceId,
) -> Result<ConversationDraft, Problem> {
    let kind = body.required("type");
    let subject = body.text("subject", 0..=SUBJECT).filter(|subject| !subject.trim().is_empty());
    let participants = participants(&mut body, caller, kind);
    let metadata = metadata(&mut body);
    body.finish(|| {
        Some(ConversationDraft {
            id: ConversationId::new(),
            kind: kind?,
            subject,
            participants: participants?,
            metadata,
            idempotency_key: once.0,
            trace,
        })
    })
}

/// Reads a change of what everyone sees of a conversation.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn update(
    mut body: Fields,
    conversation_id: ConversationId,
    trace: TraceId,
) -> Result<ConversationChangeDraft, Problem> {
    must_say_something(&mut body);
    let subject = match body.nullable::<Value>("subject") {
        None => None,
        Some(None) => Some(None),
        Some(Some(subject)) => {
            body.put("subject", subject);
            Some(body.text("subject", 0..=SUBJECT).filter(|subject| !subject.trim().is_empty()))
        }
    };
    let status = body.optional("status");
    let metadata = body.has("metadata").then(|| metadata(&mut body));
    body.finish(|| {
        let change = ConversationChange::Update { subject, status, metadata };
        Some(ConversationChangeDraft { conversation_id, change, trace })
    })
}

/// Reads what a person sets for a conversation, for themselves alone.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn settings(
    mut body: Fields,
    conversation_id: ConversationId,
    trace: TraceId,
) -> Result<ConversationChangeDraft, Problem> {
    must_say_something(&mut body);
    let now = Timestamp::now();
    let since_now = |on: bool| on.then_some(now);
    let muted_until = body.nullable::<Timestamp>("muted_until");
    if let Some(Some(until)) = muted_until
        && !(Timestamp::from_micros(0)..=Timestamp::LAST).contains(&until)
    {
        body.wrong("muted_until", "must lie between 1970 and 9999");
    }
    let muted = body.optional::<bool>("muted").map(|on| on.then_some(FOR_EVER));
    if muted.is_some() && muted_until.is_some() {
        body.wrong("muted", "and muted_until exclude each other");
    }
    let pinned_at = body.optional("pinned").map(since_now);
    let archived_at = body.optional("archived").map(since_now);
    body.finish(|| {
        let change = ConversationChange::SetOwn { muted_until: muted_until.or(muted), pinned_at, archived_at };
        Some(ConversationChangeDraft { conversation_id, change, trace })
    })
}

/// Reads whom to bring into a conversation.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn member(
    mut body: Fields,
    conversation_id: ConversationId,
    trace: TraceId,
) -> Result<ConversationChangeDraft, Problem> {
    let user = body.required("user_id");
    let role = body.optional("role");
    body.finish(|| {
        Some(ConversationChangeDraft { conversation_id, change: ConversationChange::Add(user?, role), trace })
    })
}

/// Reads who of the staff shall look after a conversation.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn assignment(
    mut body: Fields,
    conversation_id: ConversationId,
    trace: TraceId,
) -> Result<ConversationChangeDraft, Problem> {
    let user = body.required("user_id");
    body.finish(|| Some(ConversationChangeDraft { conversation_id, change: ConversationChange::Assign(user?), trace }))
}

/// Reads the role that somebody shall have in a conversation.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn role(
    mut body: Fields,
    conversation_id: ConversationId,
    user: UserId,
    trace: TraceId,
) -> Result<ConversationChangeDraft, Problem> {
    let role = body.required("role");
    body.finish(|| {
        Some(ConversationChangeDraft { conversation_id, change: ConversationChange::SetRole(user, role?), trace })
    })
}

fn must_say_something(body: &mut Fields) {
    if body.is_empty() {
        body.wrong("body", "says nothing to change");
    }
}

/// A sign to react with: an emoji, or a short word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sign(pub String);

/// A text that is no sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reaction is 1 to {SIGN} characters, without spaces and control characters")]
pub struct InvalidSign;

impl std::str::FromStr for Sign {
    type Err = InvalidSign;

    fn from_str(text: &str) -> Result<Self, InvalidSign> {
        let fits = (1..=SIGN).contains(&text.chars().count());
        let is_clean = !text.chars().any(|character| character.is_whitespace() || character.is_control());
        if fits && is_clean { Ok(Self(text.to_owned())) } else { Err(InvalidSign) }
    }
}

/// Reads the new text of a message, and whom it calls instead: what it called before if neither field is given.
///
/// # Errors
///
/// Names every field that is wrong.
pub fn edit(mut body: Fields, message_id: MessageId, trace: TraceId) -> Result<ChangeDraft, Problem> {
    let text = body.required_text("message_text", 1..=MESSAGE_TEXT);
    let mentions = mentions(&mut body);
    body.finish(|| Some(ChangeDraft { message_id, change: Change::Edit(text?, mentions), trace }))
}

/// Up to where a conversation is read; all of it, if `body` does not say.
pub fn read_up_to(
    mut body: Fields,
    conversation_id: Option<ConversationId>,
    trace: TraceId,
) -> Result<MarkerDraft, Problem> {
    let up_to = body.seq("up_to_seq", 0);
    body.finish(|| Some(MarkerDraft { conversation_id: conversation_id?, to: MarkerMove::ReadUpTo(up_to), trace }))
}

/// The type, of a message with so many attachments; a word that names none is one that this server does not offer.
fn message_type(body: &mut Fields, attachments: usize) -> MessageType {
    let Some(word) = body.optional::<String>("message_type") else { return MessageType::default() };
    let message_type = serde_json::from_value(Value::from(word)).unwrap_or_else(|error| {
        body.unsupported("message_type", format_args!("is not offered: {error}"));
        MessageType::default()
    });
    match message_type {
        MessageType::Voice if attachments != 1 => body.wrong("attachment_ids", "must name what was spoken"),
        MessageType::File if attachments == 0 => body.wrong("attachment_ids", "must name at least one file"),
        _ => {}
    }
    message_type
}

/// Whom the message calls; `None` if neither field is given.
fn mentions(body: &mut Fields) -> Option<Mentions> {
    let users: Option<BTreeSet<UserId>> = body.optional("mentioned_users");
    let everyone = body.optional("mentioned_everyone");
    if users.as_ref().is_some_and(|users| users.len() > MENTIONS) {
        body.wrong("mentioned_users", format_args!("must name at most {MENTIONS} people"));
    }
    (users.is_some() || everyone.is_some()).then(|| Mentions {
        mentioned_users: users.unwrap_or_default().into_iter().collect(),
        mentioned_everyone: everyone.unwrap_or_default(),
    })
}

/// What the message brings along, in the order given.
fn attachment_ids(body: &mut Fields) -> Vec<AttachmentId> {
    let ids: Vec<AttachmentId> = body.optional("attachment_ids").unwrap_or_default();
    let once: BTreeSet<_> = ids.iter().collect();
    if ids.len() > ATTACHMENTS || once.len() < ids.len() {
        body.wrong("attachment_ids", format_args!("must name at most {ATTACHMENTS} attachments, each once"));
    }
    ids
}

/// The others, each once. Every id that is none is named by its place.
fn participants(body: &mut Fields, caller: &Caller, kind: Option<ConversationType>) -> Option<Vec<UserId>> {
    let ids: Vec<Value> = body.required("participant_ids")?;
    let mut others = BTreeSet::new();
    for (place, id) in ids.into_iter().enumerate() {
        match serde_json::from_value::<UserId>(id) {
            Ok(user) if user == caller.user => {}
            Ok(user) => drop(others.insert(user)),
            Err(error) => body.wrong(&format!("participant_ids[{place}]"), format_args!("is wrong: {error}")),
        }
    }
    if others.is_empty() && kind != Some(ConversationType::GuestStaff) {
        body.wrong("participant_ids", "must name someone else");
    } else if kind == Some(ConversationType::Direct) && others.len() != 1 {
        body.wrong("participant_ids", "must name one other person in a direct conversation");
    }
    Some(others.into_iter().collect())
}

fn metadata(body: &mut Fields) -> Map<String, Value> {
    let metadata: Map<String, Value> = body.optional("metadata").unwrap_or_default();
    let value = Value::Object(metadata);
    if value.to_string().len() > METADATA {
        body.wrong("metadata", format_args!("must be at most {METADATA} bytes of JSON"));
    }
    // PostgreSQL keeps no such character, in texts and in JSON alike.
    if has_nul(&value) {
        body.wrong("metadata", "must not contain U+0000");
    }
    match value {
        Value::Object(metadata) => metadata,
        _ => Map::new(),
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shared::channel::Role;
    use shared::time::Timestamp;
    use utoipa::PartialSchema;

    use super::*;

    fn alice() -> Caller {
        let user = "alice".parse().expect("an id");
        Caller { user, role: Role::Guest, name: None, token_id: None, issued_at: None, expires_at: Timestamp::now() }
    }

    fn fields(body: &Value) -> Fields {
        Fields::of_json(body.to_string().as_bytes()).expect("an object")
    }

    fn start(body: &Value) -> Result<ConversationDraft, Problem> {
        conversation(fields(body), &alice(), Once(None), TraceId(1))
    }

    #[test]
    fn the_caller_and_repeated_participants_count_once() {
        let draft = start(&json!({"type": "group", "participant_ids": ["bob", "alice", "bob", "carol"]}));
        let names: Vec<String> = draft.expect("a draft").participants.into_iter().map(String::from).collect();
        assert_eq!(names, ["bob", "carol"]);
    }

    #[test]
    fn a_nul_in_metadata_is_found_however_deep() {
        let body = |text: &str| json!({"type": "group", "participant_ids": ["bob"], "metadata": {"a": [{"b": text}]}});
        assert!(start(&body("\0")).is_err());
        assert!(start(&body("\\u0000")).is_ok());
    }

    #[test]
    fn every_documented_field_is_understood() {
        let unknown = |schema: utoipa::openapi::RefOr<utoipa::openapi::Schema>, read: &dyn Fn(Fields) -> String| {
            let schema = serde_json::to_value(schema).expect("a schema is JSON");
            let names = schema["properties"].as_object().expect("an object's schema").keys();
            let body: Map<String, Value> = names.map(|name| (name.clone(), json!({}))).collect();
            read(fields(&Value::Object(body)))
        };
        let read = |body| format!("{:?}", message(body, Once(None), TraceId(1)));
        assert!(!unknown(NewMessage::schema(), &read).contains("not known"));
        let read = |body| format!("{:?}", conversation(body, &alice(), Once(None), TraceId(1)));
        assert!(!unknown(NewConversation::schema(), &read).contains("not known"));
    }
}
