//! The api pod: keeps what is said, then tells the fleet.
//!
//! Read it in the order of a message: `routes/messages.rs` reads the body, `drafts.rs` checks it, `publish.rs` has it kept
//! by the `store` and hands it to `announce.rs`.

pub mod announce;
pub mod attachments;
mod caller;
pub mod config;
pub mod drafts;
pub mod error;
pub mod fields;
pub mod fresh;
pub mod health;
pub mod internal;
pub mod model;
pub mod moderation;
pub mod openapi;
pub mod people;
pub mod publish;
pub mod render;
pub mod request;
pub mod revocations;
pub mod router;
pub mod routes;
pub mod search;
pub mod state;
pub mod stats;
pub mod store;
pub mod worker;

pub use internal::internal_router;
pub use router::router;
