//! Stories of a fleet under real conditions. Each ends with the same sentence: what was acknowledged, and nothing else, is
//! kept without holes, and every device showed it once and in order.

/// Tells each story twice: in a fleet behind nginx, and in the single program.
macro_rules! told_everywhere {
    ($($story:ident),* $(,)?) => {
        mod in_a_fleet {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&fleet::fleet::Fleet::new().await).await;
            })*
        }

        mod in_one_process {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                super::$story(&fleet::single::Single::start().await).await;
            })*
        }
    };
}

mod attachments;
mod changes;
mod delivery;
mod doors;
mod limits;
mod links;
mod messages;
mod messaging;
mod people;
mod pods;
mod postgres;
mod presence;
mod redis;
mod revocations;
mod rooms;
mod secrets;
mod single;
mod storm;

use std::time::Duration;

/// How long after the last word every device may still be catching up, on a machine that runs several fleets at once.
const CAUGHT_UP: Duration = Duration::from_secs(30);
