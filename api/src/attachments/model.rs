//! The nouns of attachments, as they stand in JSON and in the store.

use serde::{Deserialize, Serialize};
use shared::ids::{AttachmentId, IdempotencyKey, UserId};
use shared::time::Timestamp;

use crate::model::hash;

/// How an attachment is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentKind {
    /// As something to save.
    File,
    /// As a picture.
    Image,
    /// As something that was said.
    Voice,
}

/// How far an attachment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentState {
    /// Its bytes are expected.
    Reserved,
    /// Its bytes are there and are what was announced; a message can bring it.
    Complete,
    /// A message has brought it.
    Attached,
    /// No message came for it in time; it is being deleted.
    Expired,
}

/// A file that a message has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Attachment {
    /// Its id.
    #[schema(value_type = uuid::Uuid)]
    pub id: AttachmentId,
    /// What its uploader calls it. Never part of a path.
    pub file_name: String,
    /// Its media type.
    #[schema(examples("image/png"))]
    pub file_type: String,
    /// Its bytes.
    pub file_size: u64,
    /// How it is shown.
    pub kind: AttachmentKind,
    /// Where its bytes are, with a token.
    pub url: String,
    /// Where a small picture of it is, with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_url: Option<String>,
    /// Of a picture: pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Of a picture: pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Of a voice message: how long it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Of a voice message: how loud it is, from beginning to end, each 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waveform: Option<Vec<u8>>,
}

/// An attachment with what the store knows of it beyond what a message shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiledAttachment {
    /// What a message shows of it.
    pub shown: Attachment,
    /// Who uploads it.
    pub uploader_id: UserId,
    /// How far it is.
    pub state: AttachmentState,
    /// SHA-256 in hex: what was announced, if anything was; once it is complete, what was found.
    pub sha256: Option<String>,
    /// When it is given up; never once a message has it.
    pub expires_at: Option<Timestamp>,
}

/// An attachment to be uploaded. Checked against the limits, not yet against the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentDraft {
    /// The id it will have.
    pub id: AttachmentId,
    /// What its uploader calls it.
    pub file_name: String,
    /// Its media type, one of the registry.
    pub file_type: String,
    /// Its bytes.
    pub file_size: u64,
    /// How it is shown.
    pub kind: AttachmentKind,
    /// SHA-256 in lower-case hex, if it is announced.
    pub sha256: Option<String>,
    /// Of a voice message.
    pub duration_ms: Option<u64>,
    /// Of a voice message.
    pub waveform: Option<Vec<u8>>,
    /// The request's key: the same key reserves the same place.
    pub idempotency_key: Option<IdempotencyKey>,
}

impl AttachmentDraft {
    /// What a repeat must have in common with the first: everything the caller chose. SHA-256.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        let Self { id: _, file_name, file_type, file_size, kind, sha256, duration_ms, waveform, idempotency_key: _ } =
            self;
        hash(&serde_json::json!([file_name, file_type, file_size, kind, sha256, duration_ms, waveform]))
    }

    /// Where its bytes will be.
    #[must_use]
    pub fn url(&self) -> String {
        content_url(self.id)
    }
}

/// What was found in the bytes of an attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Of a picture: its pixels, and whether a small one could be made of it.
    pub picture: Option<Dimensions>,
}

/// How large a picture is, the way it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimensions {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

/// Where the bytes of an attachment are.
#[must_use]
pub fn content_url(id: AttachmentId) -> String {
    format!("/api/v1/attachments/{id}/content")
}

/// Where the small picture of an attachment is.
#[must_use]
pub fn thumbnail_url(id: AttachmentId) -> String {
    format!("/api/v1/attachments/{id}/thumbnail")
}
