//! What happens without anybody asking: the work of the worker role.

pub mod attachments;
pub mod heads;
pub mod jobs;
pub mod revocations;
pub mod schedule;
