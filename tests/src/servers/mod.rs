//! The servers of a fleet, started from what Debian installs, each on a free port with a folder of its own.
//!
//! Whoever starts one owns it: dropping the value ends the process. A server that is not installed is an error, never a
//! skipped test.

pub mod carillon;
pub mod clock;
pub mod nginx;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod s3;
pub mod scratch;
pub mod shared;
