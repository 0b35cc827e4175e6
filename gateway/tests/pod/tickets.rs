//! Tickets: what pages show in addresses instead of tokens.

use gateway::config::GatewaySettings;
use serde_json::{Value, json};
use shared::channel::Role;
use shared::config::Value as _;
use shared::limits::{Limit, LimitSettings};
use tokio_tungstenite::tungstenite::Error;

use crate::village::{Socket, Village};

const HOTEL: &str = "https://hotel.example";
const TOURS: &str = "https://tours.example";

async fn show(village: &Village, ticket: &str, origin: Option<&str>) -> Socket {
    let headers: Vec<_> = origin.map(|origin| ("origin", origin.to_owned())).into_iter().collect();
    village.dial(&format!("/api/v1/ws?ticket={ticket}"), &headers).await.expect("a socket")
}

/// Whether it is let in; otherwise it is told that another ticket is needed.
async fn is_let_in(mut socket: Socket) -> bool {
    let first = socket.next().await;
    if first["type"] == "connection_established" {
        assert_eq!((&first["data"]["user_id"], &first["data"]["role"]), (&json!("alice"), &json!("guest")));
        return true;
    }
    assert_eq!((&first["type"], &first["data"]["code"]), (&json!("error"), &json!("unauthorized")), "{first}");
    assert_eq!(socket.ends().await, 4401);
    false
}

#[tokio::test]
async fn a_ticket_opens_one_socket_or_one_stream_and_nothing_afterwards() {
    let village = Village::new().await;
    let alice = village.person("alice");
    let ticket = alice.ticket(None).await;
    assert!(is_let_in(show(&village, &ticket, None).await).await);
    assert!(!is_let_in(show(&village, &ticket, None).await).await);

    let ticket = alice.ticket(None).await;
    let stream = async || {
        let url = format!("http://{}/api/v1/events?ticket={ticket}", village.address);
        reqwest::get(url).await.expect("an answer").status()
    };
    assert_eq!((stream().await.as_u16(), stream().await.as_u16()), (200, 401));
    assert!(!is_let_in(show(&village, &ticket, None).await).await);

    for garbled in ["", "a", &ticket[1..], &alice.token] {
        let refused = village.dial(&format!("/api/v1/ws?ticket={garbled}"), &[]).await;
        let Err(Error::Http(answer)) = refused else { panic!("{garbled:?} is no ticket") };
        assert_eq!(answer.status(), 400);
    }
    // A ticket speaks for whom it was made out to.
    let bobs = village.person("bob").ticket(None).await;
    let mut socket = village.dial(&format!("/api/v1/ws?ticket={bobs}&user_id=alice"), &[]).await.expect("a socket");
    assert_eq!(socket.ends().await, 4403);
}

#[tokio::test]
async fn of_two_who_show_a_ticket_at_once_one_is_let_in() {
    let village = Village::new().await;
    let alice = village.person("alice");
    for _ in 0..10 {
        let ticket = alice.ticket(None).await;
        let knocks = async || is_let_in(show(&village, &ticket, None).await).await;
        let (one, other) = tokio::join!(knocks(), knocks());
        assert!(one != other, "{one} {other}");
    }
}

#[tokio::test]
async fn a_page_comes_in_with_a_ticket_of_its_own_origin_alone() {
    let allowed_origins = vec![HOTEL.to_owned(), TOURS.to_owned()];
    let village = Village::with(GatewaySettings { allowed_origins, ..GatewaySettings::default() }).await;
    let alice = village.person("alice");
    for (asked_from, shown_from, lets_in) in [
        (Some(HOTEL), Some(HOTEL), true),
        (Some(HOTEL), Some(TOURS), false),
        (Some("null"), Some(HOTEL), false),
        // A browser leaves it out where a page asks its own origin for an event stream.
        (Some(HOTEL), None, true),
        // A server asked for the page that it made.
        (None, Some(HOTEL), true),
    ] {
        let ticket = alice.ticket(asked_from).await;
        let socket = show(&village, &ticket, shown_from).await;
        assert_eq!(is_let_in(socket).await, lets_in, "{asked_from:?} {shown_from:?}");
        assert!(!is_let_in(show(&village, &ticket, None).await).await, "it is spent");
    }
}

#[tokio::test]
async fn whoever_was_revoked_since_is_not_let_in_with_a_ticket() {
    let village = Village::new().await;
    let (bob, sam) = (village.person("bob"), village.person_as("robot", Role::Service));
    let ticket = bob.ticket(None).await;
    let mut phone = bob.connects("").await;
    sam.posts("/api/v1/revocations", &json!({ "user_id": "bob", "issued_until": shared::time::Timestamp::now() }))
        .await;
    assert_eq!(phone.ends().await, 4403);
    let mut refused = show(&village, &ticket, None).await;
    assert_eq!(refused.hears("error").await["data"]["message"], "the token was revoked");
    assert_eq!(refused.ends().await, 4403);
}

#[tokio::test]
async fn asking_for_a_ticket_counts_as_connecting_and_showing_it_does_not() {
    let connects = Limit::parse("2/10h").expect("a limit");
    let limits = LimitSettings { connects, ..LimitSettings::none() };
    let village = Village::limited(GatewaySettings::default(), limits).await;
    let alice = village.person("alice");
    for _ in 0..2 {
        let ticket = alice.ticket(None).await;
        assert!(is_let_in(show(&village, &ticket, None).await).await);
    }
    let refused = alice.asks_for_a_ticket(None).await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((17_000..=18_000).contains(&wait), "half of ten hours, not {wait} s");
    assert_eq!(refused.json::<Value>().await.expect("a problem")["code"], "rate_limited");
}
