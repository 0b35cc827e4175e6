//! The api pod: keeps what is said, then tells the fleet.

pub mod config;
pub mod model;
pub mod render;
pub mod store;
