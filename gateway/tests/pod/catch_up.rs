//! What a device is told that was away, that missed something or that is sent on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use crate::village::Village;

#[tokio::test]
async fn a_device_that_was_away_gets_what_it_missed_and_nothing_twice() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&device_id=phone&since=now").await;
    alice.says(&conversation, "one").await;
    let cursor = phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned();
    drop(phone);
    for number in 0..300 {
        alice.says(&conversation, &format!("{number} {}", "x".repeat(600))).await;
    }
    let mut phone = bob.connects(&format!("&device_id=phone&since={cursor}")).await;
    let shown = phone.shows(300).await;
    assert!(shown.iter().enumerate().all(|(number, text)| text.starts_with(&format!("{number} "))));
    // And live from there on.
    alice.says(&conversation, "live").await;
    assert_eq!(phone.hears("new_message").await["data"]["message_text"], "live");
}

#[tokio::test]
async fn a_device_that_returns_while_another_stays_gets_what_it_missed_from_the_window() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let (mut laptop, mut phone) = (bob.connects("&since=now").await, bob.connects("&since=now").await);
    alice.says(&conversation, "0").await;
    let cursor = phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned();
    drop(phone);
    let all: Vec<_> = (0..90).map(|number| number.to_string()).collect();
    for number in 1..90 {
        alice.says(&conversation, &number.to_string()).await;
    }
    // 89 missed: more than a window holds. Then fewer.
    let mut phone = bob.connects(&format!("&since={cursor}")).await;
    assert_eq!(phone.shows(89).await, all[1..]);
    let cursor = {
        alice.says(&conversation, "90").await;
        phone.hears("new_message").await["cursor"].as_str().expect("a cursor").to_owned()
    };
    drop(phone);
    for number in 91..100 {
        alice.says(&conversation, &number.to_string()).await;
    }
    let mut phone = bob.connects(&format!("&since={cursor}")).await;
    assert_eq!(phone.shows(9).await, (91..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(laptop.shows(100).await.len(), 100);
}

#[tokio::test]
async fn without_a_cursor_a_device_starts_where_it_acknowledged() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    // Nobody ever came: everything kept is the offline queue.
    alice.says(&conversation, "one").await;
    let mut phone = bob.connects("&device_id=phone").await;
    let created = phone.hears("conversation.created").await;
    assert_eq!(created["prev"], 0);
    let cursor = phone.hears("new_message").await["cursor"].clone();
    phone.says(&json!({"action": "ack", "data": {"cursor": cursor}})).await;
    // The acknowledgement is on its way for two seconds; leaving hands it over as well.
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let mut again = bob.connects("&device_id=phone").await;
            alice.says(&conversation, "two").await;
            if again.next().await["data"]["message_text"] != "one" {
                break;
            }
        }
    })
    .await
    .expect("the acknowledgement counts in time");
}

#[tokio::test]
async fn lost_publishes_are_healed_by_the_beat_and_without_beats_by_polling() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&since=now").await;
    village.losses.entries.store(true, Ordering::Relaxed);
    alice.says(&conversation, "healed by the beat").await;
    assert_eq!(phone.shows(1).await, ["healed by the beat"]);
    village.losses.beats.store(true, Ordering::Relaxed);
    alice.says(&conversation, "healed by polling").await;
    assert_eq!(phone.shows(1).await, ["healed by polling"]);
}

#[tokio::test]
async fn a_hole_is_filled_before_what_follows_it() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    let mut phone = bob.connects("&since=now").await;
    alice.says(&conversation, "one").await;
    assert_eq!(phone.shows(1).await, ["one"]);
    village.losses.entries.store(true, Ordering::Relaxed);
    alice.says(&conversation, "lost").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    village.losses.entries.store(false, Ordering::Relaxed);
    alice.says(&conversation, "three").await;
    assert_eq!(phone.shows(2).await, ["lost", "three"]);
}

#[tokio::test]
async fn a_cursor_that_does_not_continue_asks_to_resync_and_a_snapshot_mends_it() {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let conversation = alice.starts_with(&[&bob]).await;
    alice.says(&conversation, "one").await;
    let foreign = alice.gets("/api/v1/snapshot").await["cursor"].as_str().expect("a cursor").to_owned();
    let mut phone = bob.connects(&format!("&since={foreign}")).await;
    assert_eq!(phone.hears("resync_required").await["data"]["reason"], "owner");
    let own = bob.gets("/api/v1/snapshot").await;
    assert_eq!(own["conversations"][0]["unread_count"], 1);
    phone.says(&json!({"action": "resume", "data": {"since": own["cursor"]}})).await;
    phone.hears("ack").await;
    alice.says(&conversation, "two").await;
    assert_eq!(phone.hears("new_message").await["data"]["message_text"], "two");
    phone.says(&json!({"action": "resume", "data": {"since": foreign}})).await;
    assert_eq!(phone.hears("error").await["data"]["code"], "resync_required");
}
