//! What may be said over the socket: commands from clients, answers to them, and every code with its advice.

pub mod answer;
pub mod codes;
pub mod command;
pub mod event;

pub use codes::{CloseCode, ErrorCode};
pub use command::{Action, Command, InvalidCommand, Sign, Since};
