//! What is sent along with messages: reserved, uploaded, looked at, and only then attached.
//!
//! On the line it stands before the draft: a message names attachments that are complete by then. The store knows whose they
//! are and which message has them; the bytes lie in a folder or an S3-compatible bucket, see [`Blobs`]. Nothing that was
//! uploaded is shown to anybody else before [`inspect`] has found it to be what it was said to be.

mod blobs;
pub mod draft;
pub(crate) mod headers;
pub mod inspect;
mod links;
pub mod model;
mod picture;
pub mod receive;
mod s3;
pub mod serve;
mod types;

pub use blobs::{BlobError, Blobs};
pub use links::Links;
