//! Stories of a fleet under real conditions. Each ends with the same sentence: what was acknowledged, and nothing else, is
//! kept without holes, and every device showed it once and in order.

mod delivery;
mod doors;
mod links;
mod pods;
mod postgres;
mod redis;
mod rooms;

use std::time::Duration;

/// How long after the last word every device may still be catching up, on a machine that runs several fleets at once.
const CAUGHT_UP: Duration = Duration::from_secs(30);
