//! What only the single program can suffer.

use fleet::client::{Kind, Talk};
use fleet::place::Place as _;
use fleet::single::Single;

use crate::CAUGHT_UP;

#[tokio::test(flavor = "multi_thread")]
async fn the_program_is_killed_and_started_again_and_nobody_misses_a_word() {
    let mut single = Single::start().await;
    let (alice, bob) = (single.user("alice"), single.user("bob"));
    let (phone, laptop) = (bob.device("phone").connect().await, bob.device("laptop").connect().await);
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;

    let talk = Talk::begins(&conversation, &[&alice, &bob]);
    for _ in 0..3 {
        talk.goes_on_for(20).await;
        single.pod.kill();
        single.pod.start();
        single.pod.is_ready().await;
    }
    talk.goes_on_for(20).await;
    let said = talk.ends().await;

    conversation.is_shown_on(&[&phone, &laptop], &said, CAUGHT_UP).await;
    assert!(phone.connections() > 1 && laptop.connections() > 1);
}
