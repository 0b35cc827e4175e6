//! Answers: what a client hears because it said something, and the events of the connection itself.
//!
//! These belong to one connection and are never shared, so they are written whole.

use serde::Serialize;
use serde_json::json;

use super::ErrorCode;

/// An `ack`, with the command's `ref`.
#[must_use]
pub fn ack(reference: Option<&str>, data: &impl Serialize) -> String {
    answer("ack", reference, data)
}

/// An `error`, with the command's `ref`. `retry_after_ms` says when trying again makes sense.
#[must_use]
pub fn error(reference: Option<&str>, code: ErrorCode, detail: &str, retry_after_ms: Option<u64>) -> String {
    let mut data = json!({ "code": code, "message": detail, "remedy": code.remedy() });
    if let Some(wait) = retry_after_ms {
        data["retry_after_ms"] = wait.into();
    }
    answer("error", reference, &data)
}

/// An event of this connection alone: `connection_established`, `cursor`, `resync_required`, `reconnect`.
#[must_use]
pub fn own_event(kind: &str, data: &impl Serialize) -> String {
    let id = uuid::Uuid::now_v7();
    let timestamp = crate::time::Timestamp::now();
    json!({ "type": kind, "id": id, "timestamp": timestamp, "data": data }).to_string()
}

/// A `pong`, with the cursor at the heads.
#[must_use]
pub fn pong(reference: Option<&str>, head: &crate::cursor::Cursor) -> String {
    answer("pong", reference, &json!({ "head": head }))
}

fn answer(kind: &str, reference: Option<&str>, data: &impl Serialize) -> String {
    let mut answer = json!({ "type": kind, "data": data });
    if let Some(reference) = reference {
        answer["ref"] = reference.into();
    }
    answer.to_string()
}
