//! Configuration: what an operator may say, parsed once into types.

mod secret;

pub use secret::Secret;
