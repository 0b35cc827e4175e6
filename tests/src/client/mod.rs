//! Somebody who uses the fleet, written so that a test reads as a transcript.
//!
//! A [`User`] talks REST and owns [`Device`]s, which hold sockets. Both do what the contract asks of every client: a send is
//! repeated with its `client_message_id` until it is answered, a device hands back its cursor and acknowledges. Whatever the
//! fleet does against its promises is noted and fails the test.

mod connecting;
mod device;
mod line;
mod record;
mod rooms;
mod talk;
mod user;

pub use connecting::{Connecting, Refusal, Showing};
pub use device::Device;
pub use record::{CLOSED, Record, STARTED_OVER, Shown};
pub use rooms::Rooms;
pub use talk::Talk;
pub use user::{Conversation, Kind, Said, User, token, token_until};
