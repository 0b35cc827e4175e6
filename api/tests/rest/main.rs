//! The api pod over HTTP, as those outside meet it: SQLite behind it, a broker in memory beside it.

mod announcing;
mod attachments;
mod conversations;
mod description;
mod dsl;
mod feed;
mod gateways;
mod messages;
mod refusals;
mod s3;
