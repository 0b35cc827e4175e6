//! Answers: what a client hears because it said something, and the events of the connection itself.
//!
//! These belong to one connection and are never shared, so they are written whole.

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::ErrorCode;
use crate::time::Timestamp;

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
    let (id, timestamp) = (Uuid::now_v7(), Timestamp::now());
    text(&OwnEvent { kind, id, timestamp, data })
}

/// A `pong`, with the cursor at the heads.
#[must_use]
pub fn pong(reference: Option<&str>, head: &crate::cursor::Cursor) -> String {
    answer("pong", reference, &json!({ "head": head }))
}

fn answer(kind: &str, reference: Option<&str>, data: &impl Serialize) -> String {
    text(&Answer { kind, reference, data })
}

#[derive(Serialize)]
struct OwnEvent<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Uuid,
    timestamp: Timestamp,
    data: &'a D,
}

#[derive(Serialize)]
struct Answer<'a, D> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    data: &'a D,
}

fn text(of: &impl Serialize) -> String {
    serde_json::to_string(of).expect("what is answered has names for keys and can be written")
}
