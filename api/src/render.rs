//! Events of the durable kind, written from what is kept today.
//!
//! On the line this stands between the store and the envelope: the store renders what it has just committed, and again
//! whenever somebody asks for entries of the past. One entry looks the same on both ways, because both call these functions.

use serde::Serialize;
use shared::event::{DurableBody, Heading};
use shared::ids::{ClientMessageId, ConversationId, MessageId, Seq, UserId};
use shared::time::Timestamp;

use crate::attachments::model::Attachment;
use crate::model::{Conversation, ConversationStatus, ConversationType, Message, MessageType, Participant};

/// The kind of the entry that a message makes.
pub const NEW_MESSAGE: &str = "new_message";
/// The kind of the entry that a conversation makes when it is started.
pub const CONVERSATION_CREATED: &str = "conversation.created";

/// Writes `new_message`. Its id is the message's, so that whoever is told twice can see it.
#[must_use]
pub fn new_message(message: &Message) -> DurableBody {
    #[derive(Serialize)]
    struct NewMessage<'a> {
        conversation_id: ConversationId,
        message_id: MessageId,
        seq: Seq,
        sender_id: &'a UserId,
        message_text: &'a str,
        message_type: MessageType,
        client_message_id: Option<&'a ClientMessageId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<MessageId>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        attachments: &'a [Attachment],
        created_at: Timestamp,
    }
    let heading = Heading { kind: NEW_MESSAGE, id: message.id.0, timestamp: message.created_at };
    let data = NewMessage {
        conversation_id: message.conversation_id,
        message_id: message.id,
        seq: message.seq,
        sender_id: &message.sender_id,
        message_text: &message.message_text,
        message_type: message.message_type,
        client_message_id: message.client_message_id.as_ref(),
        reply_to: message.reply_to,
        attachments: &message.attachments,
        created_at: message.created_at,
    };
    DurableBody::new(&heading, Some(message.version), &data).expect("a message is an object with fields")
}

/// Writes `conversation.created`. Its id is the conversation's. It holds what is the same for every participant.
#[must_use]
pub fn conversation_created(conversation: &Conversation) -> DurableBody {
    #[derive(Serialize)]
    struct ConversationCreated<'a> {
        id: ConversationId,
        #[serde(rename = "type")]
        kind: ConversationType,
        status: ConversationStatus,
        subject: Option<&'a str>,
        participants: &'a [Participant],
        created_at: Timestamp,
    }
    let heading = Heading { kind: CONVERSATION_CREATED, id: conversation.id.0, timestamp: conversation.created_at };
    let data = ConversationCreated {
        id: conversation.id,
        kind: conversation.kind,
        status: conversation.status,
        subject: conversation.subject.as_deref(),
        participants: &conversation.participants,
        created_at: conversation.created_at,
    };
    DurableBody::new(&heading, None, &data).expect("a conversation is an object with fields")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

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
            attachments: Vec::new(),
            version: 1,
            created_at: Timestamp::from_micros(0),
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
        let owner =
            Participant { user_id: "alice".parse().expect("an id"), role: ParticipantRole::Owner, joined_at: at };
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
            created_at: at,
        };
        let said = whole(&conversation_created(&conversation));
        assert_eq!(said["type"], "conversation.created");
        assert_eq!(said["data"]["type"], "group");
        assert_eq!(said["data"]["participants"][0]["user_id"], "alice");
    }
}
