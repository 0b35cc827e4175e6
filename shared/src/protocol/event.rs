//! Every `type` that a frame from the server can have, rooms aside: there a service may give its own.

/// The types of answers, of the connection's own events, and of the events of feeds and rooms.
pub const TYPES: [&str; 23] = [
    "ack",
    "error",
    "pong",
    "connection_established",
    "cursor",
    "resync_required",
    "reconnect",
    "new_message",
    "conversation.created",
    "conversation.updated",
    "member.added",
    "member.removed",
    "member.updated",
    "settings.updated",
    "message.read",
    "message.updated",
    "message.deleted",
    "message.hidden",
    "reaction.new",
    "reaction.deleted",
    "user.updated",
    "blocks.updated",
    "message",
];
