//! The words both pods speak, and the seams both stand on.
//!
//! Everything here is used by the api *and* by the gateway: ids, channels, cursors, envelopes, the socket protocol,
//! who may do what, and the broker between them; and what every pod needs to live: configuration, telemetry, draining.
//! No routes but the three of every pod, and no SQL live here.

pub mod access;
pub mod beat;
pub mod broker;
pub mod channel;
pub mod config;
pub mod cursor;
pub mod drain;
pub mod envelope;
pub mod event;
pub mod history;
pub mod ids;
pub mod limits;
pub mod ops;
pub mod presence;
pub mod protocol;
pub mod sabotage;
pub mod telemetry;
pub mod tickets;
pub mod time;
pub mod upstream;
