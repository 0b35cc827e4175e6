//! The door as shipped: where paths lead, how often one address may knock, what is written down.
//!
//! Behind nginx stand stubs that say who they are and what reached them, so that only nginx is judged here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet::eventually::until;
use fleet::servers::nginx::{Limits, Nginx};
use reqwest::{Client, Method, Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(10);

/// What the tokens of these tests contain, wherever they stand.
const CANARY: &str = "canary-eyJhbGciOi";

/// A pod that answers every request with one status and its own name, and keeps the head of what it was asked.
struct Stub {
    port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    async fn answering(name: &'static str, status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(&heads);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, name, status, Arc::clone(&kept)));
            }
        });
        Self { port, heads, _tasks: tasks }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("nobody panics while holding it").clone()
    }
}

/// Serves one connection. `/api/v1/events` is answered without an end.
async fn answer(mut stream: TcpStream, name: &'static str, status: u16, heads: Arc<Mutex<Vec<String>>>) {
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|length| length > 0) {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let endless = head.starts_with("GET /api/v1/events") && status == 200;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        heads.lock().expect("nobody panics while holding it").push(head);
        let mut body = buffer.split_off(end + 4);
        while body.len() < length.unwrap_or(0) {
            if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
                return;
            }
        }
        buffer.clear();
        let text = if endless {
            format!("HTTP/1.1 {status} X\r\nContent-Type: text/event-stream\r\n\r\n:{name}\n\n")
        } else {
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{name}", name.len())
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

struct Door {
    nginx: Nginx,
    api: Vec<Stub>,
    gateway: Vec<Stub>,
}

/// nginx before pods that answer with these statuses.
async fn door(api: &[u16], gateway: &[u16], limits: Limits) -> Door {
    let mut stubs = (Vec::new(), Vec::new());
    for &status in api {
        stubs.0.push(Stub::answering("api", status).await);
    }
    for &status in gateway {
        stubs.1.push(Stub::answering("gateway", status).await);
    }
    let ports = |stubs: &[Stub]| stubs.iter().map(|stub| stub.port).collect::<Vec<_>>();
    let nginx = Nginx::start(&ports(&stubs.0), &ports(&stubs.1), limits).await.expect("nginx starts");
    Door { nginx, api: stubs.0, gateway: stubs.1 }
}

impl Door {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.nginx.port())
    }

    async fn get(&self, path: &str) -> Response {
        Client::new().get(self.url(path)).timeout(SOON).send().await.expect("nginx answers")
    }
}

/// A client that comes from another address of this machine.
fn from_address(last: u8) -> Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
    Client::builder().local_address(address).timeout(SOON).build().expect("a plain client")
}

#[tokio::test]
async fn each_path_leads_to_the_role_that_serves_it_and_internal_ones_lead_nowhere() {
    let door = door(&[200], &[200], Limits::None).await;
    for path in ["/api/v1/ws", "/ws/connect?user_id=alice", "/ws/notifications/alice"] {
        assert_eq!(door.get(path).await.text().await.expect("text"), "gateway", "{path}");
    }
    let mut events = door.get("/api/v1/events").await;
    assert_eq!(events.chunk().await.expect("a chunk").expect("at once"), ":gateway\n\n".as_bytes());
    for path in [
        "/",
        "/messages",
        "/notifications",
        "/dashboard",
        "/assets/app.js",
        "/docs",
        "/openapi.json",
        "/asyncapi.json",
        "/healthz",
        "/api/v1/feed",
        "/api/v1/wsx",
        "/ws/stats",
        "/ws/rooms",
        "/ws/rooms/tour_456/broadcast",
        "/ws/users/alice/connections",
        "/ws/broadcast",
    ] {
        assert_eq!(door.get(path).await.text().await.expect("text"), "api", "{path}");
    }
    for path in [
        "/internal/v1/heads",
        "//internal/v1/heads",
        "/%69nternal/v1/heads",
        "/docs/../internal/v1/heads",
        "/internal",
        "/metrics",
        "/readyz",
        "/ws/",
        "/ws/other",
    ] {
        // A client of ours would tidy the path; a stranger's does not.
        let answer =
            raw(door.nginx.port(), &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(answer.contains(r#""code":"not_found""#), "{path}: {answer}");
    }
}

/// Sends bytes as they are and returns everything that comes back.
async fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("nginx listens");
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    answer
}

#[tokio::test]
async fn a_pod_hears_who_really_asks_and_only_websocket_is_upgraded() {
    let door = door(&[200], &[200], Limits::None).await;
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Request-Id: bad id\r\n";
    for upgrade in ["websocket", "h2c"] {
        let request = format!(
            "GET /api/v1/ws HTTP/1.1\r\nHost: chat.example:8000\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n{lies}\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", door.nginx.port())).await.expect("nginx listens");
        stream.write_all(request.as_bytes()).await.expect("open");
        let count = if upgrade == "websocket" { 1 } else { 2 };
        until(SOON, "the request", || door.gateway[0].heads().len() == count).await;
    }
    let heads = door.gateway[0].heads();
    for head in &heads {
        assert!(head.contains("X-Real-IP: 127.0.0.1") && head.contains("X-Forwarded-For: 127.0.0.1"), "{head}");
        assert!(head.contains("Host: chat.example:8000"), "{head}");
        assert!(!head.contains("6.6.6.6") && !head.contains("bad id"), "{head}");
    }
    assert!(heads[0].contains("Upgrade: websocket\r\nConnection: upgrade"), "{}", heads[0]);
    assert!(!heads[1].contains("h2c") && !heads[1].to_lowercase().contains("upgrade"), "{}", heads[1]);
}

#[tokio::test]
async fn only_the_bytes_of_attachments_may_be_large() {
    let door = door(&[200], &[200], Limits::None).await;
    let large = vec![b'x'; 2 * 1024 * 1024];
    for (path, status) in [
        ("/api/v1/attachments/01939f5e-7c7a-7b4e-9d5e-3a1c5f0f9a01/content", 200),
        ("/api/v1/attachments", 413),
        ("/api/v1/attachments/x/content/y", 413),
        ("/api/v1/messages/messages", 413),
    ] {
        let sent = Client::new().put(door.url(path)).body(large.clone()).timeout(SOON).send().await;
        assert_eq!(sent.expect("an answer").status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_kept_or_given_and_comes_back() {
    let door = door(&[200], &[200], Limits::None).await;
    let kept = Client::new().get(door.url("/docs")).header("X-Request-Id", "mine-1").send().await.expect("an answer");
    assert_eq!(kept.headers()["x-request-id"], "mine-1");
    let given = door.get("/docs").await;
    assert_eq!(given.headers()["x-request-id"].len(), 32);
    let told = given.headers()["x-request-id"].to_str().expect("text").to_owned();
    assert!(door.api[0].heads().iter().any(|head| head.contains(&told)));
}

#[tokio::test]
async fn a_get_is_asked_of_the_next_pod_and_a_post_that_was_sent_is_not() {
    let door = door(&[503, 503], &[503, 200], Limits::None).await;
    for _ in 0..4 {
        assert_eq!(door.get("/api/v1/ws").await.status(), StatusCode::OK, "one gateway is full, the other is not");
    }
    let asked = || door.api.iter().map(|stub| stub.heads().len()).sum::<usize>();
    let post = Client::new().post(door.url("/api/v1/messages/messages")).body("{}").send().await.expect("an answer");
    assert_eq!((post.status(), asked()), (StatusCode::SERVICE_UNAVAILABLE, 1));
}

#[tokio::test]
async fn pods_that_are_gone_are_503_with_a_remedy_and_nothing_is_lost_by_asking() {
    let door = door(&[200], &[200], Limits::None).await;
    let Door { nginx, api, gateway } = door;
    drop((api, gateway));
    for (method, path) in [(Method::GET, "/api/v1/ws"), (Method::POST, "/api/v1/messages/messages")] {
        let url = format!("http://127.0.0.1:{}{path}", nginx.port());
        let answer = Client::new().request(method, url).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], "unavailable");
    }
}

#[tokio::test]
async fn the_shipped_limits_stop_one_address_that_floods_and_nobody_else() {
    let door = door(&[200], &[200], Limits::AsShipped).await;
    let flood = from_address(2);
    let mut attempts = JoinSet::new();
    for _ in 0..180 {
        attempts.spawn(flood.get(door.url("/api/v1/ws")).send());
    }
    let answers: Vec<Response> =
        attempts.join_all().await.into_iter().map(|answer| answer.expect("answered")).collect();
    let (welcome, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status() == StatusCode::OK);
    assert!((101..=150).contains(&welcome.len()), "{} of 180 were let in", welcome.len());
    for answer in refused {
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers()["retry-after"], "1");
    }
    let neighbour = from_address(3).get(door.url("/api/v1/ws")).send().await.expect("an answer");
    assert_eq!(neighbour.status(), StatusCode::OK);
    // Requests are not connections: the limits count only the doors of the gateway.
    assert_eq!(flood.get(door.url("/api/v1/feed")).send().await.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn the_shipped_limits_hold_an_address_to_two_hundred_sockets() {
    let door = door(&[200], &[200], Limits::AsShipped).await;
    let crowd = from_address(4);
    let mut held = Vec::new();
    let refused_at_the_limit = async {
        loop {
            let answer = crowd.get(door.url("/api/v1/events")).send().await.expect("an answer");
            match answer.status() {
                StatusCode::OK => held.push(answer),
                status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
            }
            // Too fast and too many look alike from here; the log says which it was.
            if door.nginx.printed().contains(r#""limited":"PASSEDREJECTED""#) {
                return held.len();
            }
        }
    };
    let held = tokio::time::timeout(Duration::from_secs(60), refused_at_the_limit).await.expect("a limit");
    assert_eq!(held, 200);
}

#[tokio::test]
async fn no_token_is_written_down_wherever_it_stood_and_whatever_went_wrong() {
    let mut door = door(&[200], &[200], Limits::AsShipped).await;
    let client = from_address(5);
    let paths = [
        format!("/api/v1/ws?token={CANARY}"),
        format!("/api/v1/ws?ticket={CANARY}"),
        format!("/ws/connect?user_id=alice&token={CANARY}"),
        format!("/api/v1/feed?token={CANARY}"),
        format!("/metrics?token={CANARY}"),
    ];
    let visit = async |door: &Door| {
        for path in &paths {
            let request =
                client.get(door.url(path)).bearer_auth(CANARY).header("Referer", format!("http://x/?t={CANARY}"));
            let request = request.header("Sec-WebSocket-Protocol", format!("carillon.v1, bearer.{CANARY}"));
            let long = "x".repeat(40);
            let _ =
                request.header("X-Request-Id", format!("{CANARY}{long}{long}")).header("Cookie", CANARY).send().await;
        }
    };
    visit(&door).await;
    // Broken requests, too long ones, limits, pods that are gone: each has a message of its own in nginx's error log.
    raw(
        door.nginx.port(),
        &format!("GET /api/v1/ws?token={CANARY} HTTP/9.9\r\nAuthorization: Bearer {CANARY}\r\n\r\n"),
    )
    .await;
    let long = CANARY.repeat(1000);
    raw(door.nginx.port(), &format!("GET /api/v1/ws?token={long} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
    for _ in 0..80 {
        visit(&door).await;
    }
    door.api.clear();
    door.gateway.clear();
    visit(&door).await;
    let printed = door.nginx.printed();
    assert!(printed.contains(r#""path":"/api/v1/ws""#) && printed.contains(r#""status":503"#), "{printed}");
    assert!(printed.contains("REJECTED"), "the limits were met");
    assert!(!printed.contains(CANARY), "{}", printed.lines().find(|line| line.contains(CANARY)).unwrap_or_default());
}
