//! What is nobody's business is written down nowhere, whatever is asked to be written down.

use fleet::client::{Kind, User, token, token_until};
use fleet::fleet::{Fleet, Shape};
use fleet::raw::{Raw, close, text, upgrade};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// Known to this story's fleet alone, so that it can make tokens of every kind.
const SECRET: &str = "canary-secret-of-one-story-long-enough";

/// Tokens of every kind. Each is recognised by its last part: the first ones are the same for many.
fn tokens() -> [String; 5] {
    let good = token(SECRET, "alice", "guest");
    let (claims, signature) = good.rsplit_once('.').expect("three parts");
    let forged = format!("{claims}.{}", signature.chars().rev().collect::<String>());
    let (stranger, expired) = (token("another", "alice", "admin"), token_until(SECRET, "alice", "guest", -600));
    [good, forged, stranger, expired, "canary-that-is-no-token".to_owned()]
}

fn telling(token: &str) -> &str {
    token.rsplit('.').next().expect("rsplit always yields")
}

/// Shows a token at a socket, wherever it can stand there, and says it again behind it. Answers what was heard.
async fn shows_at_sockets(port: u16, token: &str) -> String {
    let mut heard = String::new();
    for (path, headers) in [
        ("/api/v1/ws".to_owned(), format!("Authorization: Bearer {token}\r\n")),
        (format!("/api/v1/ws?token={token}"), String::new()),
        (format!("/api/v1/ws?ticket={token}"), String::new()),
        (format!("/ws/connect?user_id=alice&token={token}"), format!("Origin: https://{token}.example\r\n")),
        (format!("/ws/notifications/alice?token={token}"), String::new()),
        (format!("/api/v1/ws?since={token}"), format!("Authorization: Bearer {token}\r\n")),
        (format!("/api/v1/ws?device_type={token}"), format!("Authorization: Basic {token}\r\n")),
        (format!("/api/v1/ws?x={token}"), format!("Authorization: {token}\r\nAuthorization: {token}\r\n")),
        ("/api/v1/ws".to_owned(), format!("Sec-WebSocket-Protocol: carillon.v1, bearer.{token}\r\n")),
        ("/api/v1/ws".to_owned(), format!("Cookie: token={token}\r\nReferer: http://x/?token={token}\r\n")),
        ("/api/v1/ws".to_owned(), format!("X-Request-Id: {token}{token}{token}\r\nUser-Agent: {token}\r\n")),
    ] {
        // The second time behind a request that was answered, where another part of the gateway reads it.
        for before in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let mut raw = Raw::connect(port).await;
            raw.sends(format!("{before}{}", upgrade(&path, &headers))).await;
            for command in [
                json!({ "action": "auth", "data": { "token": token } }),
                json!({ "action": "auth", "data": { "token": token }, "surplus": token }),
                json!({ "action": "subscribe", "room": "secret_1", "data": { "token": token } }),
                json!({ "action": "subscribe", "room": "tour_1", "data": { "token": token } }),
                json!({ "action": "message", "data": { "token": token } }),
                json!({ "action": "resume", "data": { "since": token } }),
            ] {
                raw.sends(text(command.to_string())).await;
            }
            raw.sends([text(format!("{{\"action\":\"auth\",\"data\":{token}")), close(1000, "")].concat()).await;
            raw.falls_silent().await;
            heard.push_str(&String::from_utf8_lossy(&raw.everything().await));
        }
    }
    heard
}

/// Shows a token wherever it can stand in a request and in one for an event stream.
async fn shows_at_requests(port: u16, token: &str) -> String {
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let get = |path: &str| Client::new().get(url(path));
    let bearer = |path: &str| get(path).bearer_auth(token);
    let mut requests: Vec<RequestBuilder> = vec![
        bearer("/api/v1/snapshot"),
        bearer(&format!("/api/v1/feed?after={token}")),
        bearer(&format!("/api/v1/nothing?token={token}")),
        get("/api/v1/snapshot").basic_auth(token, Some(token)),
        get("/api/v1/snapshot").header("Authorization", token).header("Cookie", token),
        get(&format!("/api/v1/snapshot?token={token}")).header("Referer", format!("http://x/?token={token}")),
        get(&format!("/metrics?token={token}")),
        get(&format!("/internal/v1/heads?token={token}")).bearer_auth(token),
        Client::new().post(url("/api/v1/messages/messages")).bearer_auth(token).json(&json!({ "token": token })),
        Client::new().post(url("/api/v1/messages/messages")).bearer_auth(token).body(format!("{{{token}")),
        Client::new().put(url("/api/v1/users/alice")).bearer_auth(token).json(&json!({ "email": token })),
    ];
    for stream in ["/api/v1/events".to_owned(), format!("/api/v1/events?token={token}")] {
        requests.push(bearer(&stream));
        requests.push(get(&stream).header("Last-Event-ID", token));
        requests.push(get(&stream).header("Sec-WebSocket-Protocol", format!("bearer.{token}")));
    }
    let mut heard = String::new();
    for request in requests {
        let mut answer = request.send().await.expect("an answer");
        heard.push_str(&format!("{:?}", answer.headers()));
        // A stream does not end; what it says first is enough.
        let chunk = answer.chunk().await.expect("an answer goes on").unwrap_or_default();
        heard.push_str(&String::from_utf8_lossy(&chunk));
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_writes_down_a_token_or_a_message_wherever_it_stood_even_if_everything_is_to_be_logged() {
    let environment = vec![("CARILLON_LOG_LEVEL", "trace".to_owned()), ("CARILLON_JWT_SECRET", SECRET.to_owned())];
    let mut fleet = Fleet::start(Shape { environment, ..Shape::default() }).await;
    let (nginx, gateway, api) = (fleet.nginx.port(), fleet.gateway[0].port(), fleet.api[0].port());
    let tokens = tokens();
    let mut heard = String::new();
    for token in &tokens {
        for port in [nginx, gateway] {
            heard.push_str(&shows_at_sockets(port, token).await);
        }
        for port in [nginx, gateway, api] {
            heard.push_str(&shows_at_requests(port, token).await);
        }
    }
    let user = |name| User::new(name, token(SECRET, name, "guest"), fleet.door());
    let (alice, bob) = (user("alice"), user("bob"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    let body = "nobody else's business";
    alice.says(&conversation, body).await;
    phone.shows(&conversation, &[body]).await;
    let _ = alice.request(Method::GET, &format!("/api/v1/messages/search?q={body}")).send().await;
    let made_out = alice.asks(Method::POST, "/api/v1/tickets", &Value::Null).await;
    let ticket = made_out["ticket"].as_str().expect("a ticket");
    // Once it lets in, and then it is spent.
    for status in [200, 401] {
        let url = format!("http://127.0.0.1:{nginx}/api/v1/events?ticket={ticket}");
        let mut answer = reqwest::get(url).await.expect("an answer");
        assert_eq!(answer.status(), status);
        heard.push_str(&String::from_utf8_lossy(&answer.chunk().await.expect("something").unwrap_or_default()));
    }
    let mut raw = Raw::connect(nginx).await;
    raw.sends(upgrade(&format!("/api/v1/ws?ticket={ticket}"), "")).await;
    raw.falls_silent().await;
    heard.push_str(&String::from_utf8_lossy(&raw.everything().await));

    assert!(
        heard.contains("connection_established") && heard.contains(r#""code":"unauthorized""#),
        "all were answered"
    );
    let mut written = fleet.nginx.printed() + &fleet.postgres.printed() + &fleet.redis.printed();
    for pod in fleet.pods() {
        written.push_str(&pod.printed());
        let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", pod.port())).await.expect("metrics");
        written.push_str(&metrics.text().await.expect("text"));
    }
    assert!(
        written.contains("/ws") && written.contains("carillon_") && written.contains("TRACE"),
        "all were looked at"
    );
    let secrets = tokens.iter().map(|token| telling(token)).chain([alice.token(), bob.token()].map(telling));
    for secret in secrets.chain([SECRET, ticket]) {
        let line = |text: &str| text.lines().find(|line| line.contains(secret)).map(str::to_owned);
        assert_eq!(line(&written), None, "{secret} was written down");
        assert_eq!(line(&heard), None, "{secret} was said again");
    }
    assert_eq!(written.lines().find(|line| line.contains(body)), None, "a message was written down");
}
