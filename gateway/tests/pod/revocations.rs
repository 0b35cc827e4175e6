//! Whoever is banned, or whose token is revoked, is disconnected and not let in.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use shared::channel::Role;
use shared::time::Timestamp;

use crate::village::Village;

#[tokio::test]
async fn whoever_is_banned_is_disconnected_on_every_device_even_if_the_publish_is_lost_and_is_not_let_in() {
    let village = Village::new().await;
    let (alice, bob, sam) = (village.person("alice"), village.person("bob"), village.person_as("sam", Role::Staff));
    let (mut phone, mut desk) = (bob.connects("&device_id=phone").await, bob.connects("").await);
    let mut hers = alice.connects("").await;
    village.losses.entries.store(true, Ordering::Relaxed);
    sam.puts("/api/v1/users/bob/ban", &json!({ "reason": "spam" })).await;
    assert_eq!((phone.ends().await, desk.ends().await), (4403, 4403));
    let mut again = village.dial(&format!("/api/v1/ws?token={}", bob.token), &[]).await.expect("a socket");
    assert_eq!(again.hears("error").await["data"]["code"], "banned");
    assert_eq!(again.ends().await, 4403);
    hers.says(&json!({"action": "ping"})).await;
    hers.hears("pong").await;
}

/// Has a service revoke tokens of bob's.
async fn revoke(village: &Village, what: &Value) {
    village.person_as("robot", Role::Service).posts("/api/v1/revocations", what).await;
}

/// A token that was issued in a later second than any before.
async fn newer_token(village: &Village, user: &str) -> String {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    village.token(user, Role::Guest, 60)
}

#[tokio::test]
async fn whoever_is_revoked_is_disconnected_on_every_device_even_if_the_publish_is_lost_and_only_a_newer_token_is_let_in()
 {
    let village = Village::new().await;
    let (alice, bob) = (village.person("alice"), village.person("bob"));
    let (mut phone, mut desk) = (bob.connects("&device_id=phone").await, bob.connects("").await);
    let (mut hers, stream) = (alice.connects("").await, bob.listens("").await);
    village.losses.entries.store(true, Ordering::Relaxed);
    revoke(&village, &json!({ "user_id": "bob", "issued_until": Timestamp::now() })).await;
    assert_eq!(phone.waits_for("error").await["data"]["code"], "unauthorized");
    assert_eq!((phone.ends().await, desk.ends().await), (4403, 4403));
    assert!(stream.ends().await.contains("the token was revoked"));
    let mut again = village.dial(&format!("/api/v1/ws?token={}", bob.token), &[]).await.expect("a socket");
    assert_eq!(again.hears("error").await["data"]["message"], "the token was revoked");
    assert_eq!(again.ends().await, 4403);
    assert_eq!(alice.asks_stream(&bob.token).await.status(), 401);
    let newer = newer_token(&village, "bob").await;
    let mut back = village.dial(&format!("/api/v1/ws?token={newer}"), &[]).await.expect("a socket");
    back.hears("connection_established").await;
    hers.says(&json!({"action": "ping"})).await;
    hers.hears("pong").await;
}

#[tokio::test]
async fn a_token_that_is_revoked_while_a_socket_takes_it_keeps_no_socket_open() {
    let village = Village::new().await;
    let bob = village.person("bob");
    let mut taken = 0;
    for round in 0..20 {
        let mut phone = bob.connects("").await;
        let renewed = village.token("bob", Role::Guest, 60);
        let token_id = village.token_id(&renewed).await;
        let (body, auth) = (
            json!({ "user_id": "bob", "token_id": token_id }),
            json!({ "action": "auth", "data": { "token": renewed } }),
        );
        // At once, and one a little before the other, by turns.
        let says = async {
            tokio::time::sleep(Duration::from_millis(round % 5 * 4)).await;
            phone.says(&auth).await;
        };
        tokio::join!(revoke(&village, &body), says);
        // Either it was taken before, and ends, or it was refused, and the socket lives by the token it has.
        let answer = loop {
            let answer = phone.next().await;
            if answer["type"] == "ack" || answer["type"] == "error" {
                break answer;
            }
        };
        if answer["type"] == "ack" {
            taken += 1;
            assert_eq!(phone.ends().await, 4403);
        } else {
            assert_eq!(answer["data"]["code"], "unauthorized");
            phone.says(&json!({"action": "ping"})).await;
            phone.waits_for("pong").await;
        }
    }
    println!("{taken} of 20 were taken before");
}

#[tokio::test]
async fn a_gateway_that_hears_nothing_cuts_off_whoever_is_revoked_all_the_same() {
    let village = Village::new().await;
    let mut phone = village.person("bob").connects("").await;
    village.falls_deaf();
    revoke(&village, &json!({ "user_id": "bob" })).await;
    assert_eq!(phone.ends().await, 4403);
    // What came before a gap was noticed is read then.
    let mut desk = village.person("carol").connects("").await;
    revoke(&village, &json!({ "user_id": "carol" })).await;
    village.hears_again();
    assert_eq!(desk.ends().await, 4403);
}

#[tokio::test]
async fn a_revoked_token_ends_what_it_opened_and_is_not_taken_over_an_open_socket() {
    let village = Village::new().await;
    let bob = village.person("bob");
    let stolen = village.token("bob", Role::Guest, 60);
    let mut phone = bob.connects("").await;
    let mut desk = village.dial(&format!("/api/v1/ws?token={stolen}"), &[]).await.expect("a socket");
    desk.hears("connection_established").await;
    revoke(&village, &json!({ "user_id": "bob", "token_id": village.token_id(&stolen).await })).await;
    assert_eq!(desk.ends().await, 4403);
    let auth = |token: &str| json!({ "action": "auth", "data": { "token": token } });
    phone.says(&auth(&stolen)).await;
    assert_eq!(phone.waits_for("error").await["data"]["code"], "unauthorized");
    // The socket lives by its own token, and by another one.
    let other = village.token("bob", Role::Guest, 60);
    phone.says(&auth(&other)).await;
    assert!(phone.waits_for("ack").await["data"]["expires_at"].is_string());
    // What it was opened with concerns it no longer, and what it took last does.
    revoke(&village, &json!({ "user_id": "bob", "token_id": village.token_id(&bob.token).await })).await;
    let mut opened_with_it = village.dial(&format!("/api/v1/ws?token={}", bob.token), &[]).await.expect("a socket");
    assert_eq!(opened_with_it.ends().await, 4403);
    phone.says(&json!({"action": "ping"})).await;
    phone.waits_for("pong").await;
    revoke(&village, &json!({ "user_id": "bob", "token_id": village.token_id(&other).await })).await;
    assert_eq!(phone.ends().await, 4403);
}
