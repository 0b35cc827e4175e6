//! Tickets, as they are made out.

use reqwest::Method;
use shared::channel::Role;
use shared::tickets::{Holder, Ticket};
use shared::time::Timestamp;

use super::dsl::{Api, answer, token};

const TICKETS: &str = "/api/v1/tickets";

#[tokio::test]
async fn a_ticket_is_made_out_to_whoever_asks_and_to_the_page_they_ask_from() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let caller = api.verifier.verify(&alice.token).await.expect("a good token");
    for origin in [None, Some("https://hotel.example"), Some("null")] {
        let asking = alice.request(Method::POST, TICKETS);
        let asking = origin.into_iter().fold(asking, |asking, origin| asking.header("origin", origin));
        let made_out = answer(asking).await;
        assert_eq!((made_out.status, made_out.header("cache-control")), (201, "no-store"), "{made_out:?}");
        let expires_at: Timestamp = serde_json::from_value(made_out.body["expires_at"].clone()).expect("a time");
        let left = expires_at.as_micros() - Timestamp::now().as_micros();
        assert!((0..=30_000_000).contains(&left), "half a minute, not {left} µs");
        let ticket: Ticket = made_out.body["ticket"].as_str().expect("a text").parse().expect("a ticket");
        let holder = Holder { caller: caller.clone(), origin: origin.map(str::to_owned) };
        assert_eq!(api.tickets.take(&ticket).await.expect("an answer"), Some(holder));
    }
    let long = format!("https://{}.example", "a".repeat(300));
    answer(alice.request(Method::POST, TICKETS).header("origin", long)).await.is_problem(400, "bad_request");
    let robot = api.user_as("robot", Role::Service);
    answer(robot.request(Method::POST, TICKETS)).await.is_problem(403, "forbidden");
    let of_two = alice
        .request(Method::POST, TICKETS)
        .header("origin", "https://a.example")
        .header("origin", "https://b.example");
    answer(of_two).await.is_problem(400, "bad_request");
    let another = answer(alice.request(Method::POST, TICKETS)).await.body["ticket"].clone();
    assert_ne!(answer(alice.request(Method::POST, TICKETS)).await.body["ticket"], another);
}

#[tokio::test]
async fn a_ticket_lasts_no_longer_than_the_token_that_it_was_made_out_for() {
    let api = Api::start().await;
    let made_out = answer(api.request(Method::POST, TICKETS).bearer_auth(token("alice", Role::Guest, 10))).await;
    let expires_at: Timestamp = serde_json::from_value(made_out.body["expires_at"].clone()).expect("a time");
    let left = expires_at.as_micros() - Timestamp::now().as_micros();
    assert!(made_out.status == 201 && left <= 10_000_000, "{made_out:?}: {left} µs");
}
