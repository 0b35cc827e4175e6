//! The api pod over HTTP, as those outside meet it: SQLite behind it, a broker in memory beside it.

mod announcing;
mod attachments;
mod changes;
mod conversations;
mod description;
mod dsl;
mod feed;
mod gateways;
mod limits;
mod members;
mod messages;
mod people;
mod presence;
mod reading;
mod refusals;
mod revocations;
mod s3;
mod scheduled;
mod search;
mod strangers;
mod threads;
mod tickets;
mod unsent;
