//! The system as its users meet it: real servers, real processes, real sockets, and somebody who uses them.
//!
//! Stands around the product and knows only its outside: the program, its environment, its paths and frames. [`servers`]
//! starts what a fleet needs, [`fleet`] puts one together, [`journal`] is what a run under faults leaves behind, [`single`] is the program alone, [`proxy`] breaks its links, [`client`] is the user, [`raw`] is nobody's client.
//! Everything here panics with the reason when a promise is broken: a test reads as a transcript.

pub mod client;
pub mod eventually;
pub mod fleet;
pub mod journal;
pub mod place;
pub mod proxy;
pub mod raw;
pub mod servers;
pub mod single;
