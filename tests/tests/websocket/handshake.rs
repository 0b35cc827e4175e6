//! Requests for a socket that are none, and requests that would be read differently by nginx and by a pod.

use fleet::raw::{FIN, Raw, TEXT, frame, upgrade};

use crate::House;

/// What a socket is asked for with, line by line.
const GOOD: [&str; 6] = [
    "GET /api/v1/ws HTTP/1.1",
    "Host: x",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// The good request with one line instead of another that begins so.
fn with(line: &str) -> String {
    let name = line.split_inclusive([':', ' ']).next().expect("split always yields");
    request(GOOD.map(|good| if good.starts_with(name) { line } else { good }))
}

/// The good request with another first line.
fn beginning(line: &str) -> String {
    request([&[line], &GOOD[1..]].concat())
}

/// The good request with another line.
fn and(line: &str) -> String {
    upgrade("/api/v1/ws", &format!("{line}\r\n"))
}

fn without(name: &str) -> String {
    request(GOOD.into_iter().filter(|line| !line.starts_with(name)))
}

fn request<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let lines: String = lines.into_iter().flat_map(|line| [line, "\r\n"]).collect();
    lines + "\r\n"
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_socket_that_is_not_as_rfc_6455_has_it_is_refused_before_the_upgrade() {
    let house = House::as_shipped().await;
    let key = "Sec-WebSocket-Key: ";
    for (request, code) in [
        (request(GOOD), 101),
        (and("Sec-WebSocket-Extensions: permessage-deflate"), 101),
        (beginning("GET /api/v1/ws HTTP/1.0"), 426),
        (beginning("POST /api/v1/ws HTTP/1.1"), 405),
        (beginning("HEAD /api/v1/ws HTTP/1.1"), 426),
        (without("Connection"), 426),
        (with("Connection: close"), 426),
        (without("Upgrade"), 426),
        (with("Upgrade: h2c"), 426),
        (with("Upgrade: websockets"), 426),
        (without("Sec-WebSocket-Version"), 426),
        (with("Sec-WebSocket-Version: 8"), 426),
        (with("Sec-WebSocket-Version: 14"), 426),
        (with("Sec-WebSocket-Version: 13, 8"), 426),
        (and("Sec-WebSocket-Version: 13"), 400),
        (without("Sec-WebSocket-Key"), 400),
        (with(key), 400),
        (with(&format!("{key}dGhlIHNhbXBsZSBub25jZQ")), 400),
        (with(&format!("{key}dGhlIHNhbXBsZSBub25jZQ=A")), 400),
        (with(&format!("{key}dGhlIHNhbXBsZSBub25j\u{b5}==")), 400),
        (with(&format!("{key}{}", "A".repeat(4_000))), 400),
        (and(&format!("{key}dGhlIHNhbXBsZSBub25jZQ==")), 400),
        (and("Authorization: Bearer a\r\nAuthorization: Bearer b"), 400),
        (and("Content-Length: 5") + "hello", 400),
        (and("Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400),
    ] {
        for (door, port) in house.doors() {
            // nginx asks in its own words: HTTP/1.1, and `Connection: upgrade` to whoever says `Upgrade: websocket`.
            let says = |line: &str| request.lines().any(|said| said == line);
            let is_mended = !says("Connection: Upgrade") || request.contains("HTTP/1.0");
            let code = if door == "through nginx" && is_mended { 101 } else { code };
            let mut raw = Raw::connect(port).await;
            raw.sends(&request).await;
            let answer = raw.answer().await;
            assert_eq!(status(&answer), code, "{door}: {request}{answer}");
            let answer = answer.to_lowercase();
            assert!(!answer.contains("sec-websocket-extensions"), "nothing is compressed {door}: {answer}");
            if code == 426 {
                assert!(answer.contains("sec-websocket-version: 13\r\n"), "{door}: {answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_from_elsewhere_is_refused_before_the_upgrade() {
    let house = House::as_shipped().await;
    for (origin, code) in [
        ("Origin: http://x", 101),
        ("Origin: https://x", 101),
        ("Origin: null", 403),
        ("Origin: ", 403),
        ("Origin: http://y", 403),
        ("Origin: http://x:81", 403),
        ("Origin: http://x.evil.example", 403),
        ("Origin: http://evil.example/http://x", 403),
        ("Origin: http://X", 403),
        ("Origin: ftp://x", 403),
        ("Origin: file://", 403),
        ("Origin: http://x\r\nOrigin: http://x", 403),
        ("Origin: http://x\r\nOrigin: http://evil.example", 403),
        ("Origin: http://evil.example\r\nOrigin: http://x", 403),
        ("Origin: http://x, http://evil.example", 403),
    ] {
        for path in ["/api/v1/ws", "/ws/connect?user_id=alice", "/ws/notifications/alice"] {
            for (door, port) in house.doors() {
                let mut raw = Raw::connect(port).await;
                raw.sends(upgrade(path, &format!("{origin}\r\n"))).await;
                let answer = raw.answer().await;
                assert_eq!(status(&answer), code, "{origin} at {path} {door}: {answer}");
            }
        }
    }
}

/// What stands behind a request is for the pod what it is for nginx: a body, another request, or frames.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_past_nginx() {
    let house = House::as_shipped().await;
    let hidden = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let post = |lines: &str, body: &str| format!("POST /docs HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n{body}");
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = hidden.len();
    for (what, request) in [
        ("a length and chunks", post("Content-Length: 4\r\nTransfer-Encoding: chunked", &chunked)),
        ("chunks and a length", post("Transfer-Encoding: chunked\r\nContent-Length: 4", &chunked)),
        ("chunks of another name", post("Content-Length: 4\r\nTransfer-Encoding: xchunked", &chunked)),
        ("a blank before the colon", post("Content-Length: 4\r\nTransfer-Encoding : chunked", &chunked)),
        ("a folded line", post("Content-Length: 4\r\nTransfer-Encoding:\r\n chunked", &chunked)),
        ("chunks twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", &chunked)),
        ("a tab", post("Content-Length: 4\r\nTransfer-Encoding:\tchunked", &chunked)),
        ("two lengths", post(&format!("Content-Length: 0\r\nContent-Length: {length}"), hidden)),
        ("a length with a sign", post(&format!("Content-Length: +{length}"), hidden)),
        ("a NUL", post("X: a\0b", hidden)),
        ("lines that end in half", post(&format!("X: a\nContent-Length: {length}"), hidden)),
        ("an upgrade with a body", and(&format!("Content-Length: {length}")) + hidden),
        ("an upgrade in chunks", and("Transfer-Encoding: chunked") + &chunked),
        ("an upgrade of another version", with("Sec-WebSocket-Version: 7") + hidden),
        ("an upgrade without a key", without("Sec-WebSocket-Key") + hidden),
        ("an upgrade to HTTP/2", with("Upgrade: h2c") + hidden),
        ("another upgrade beside it", with("Upgrade: websocket, h2c") + hidden),
        ("HTTP/2 at once", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned() + hidden),
        ("an upgrade, and then", upgrade("/api/v1/ws", "") + hidden),
    ] {
        let mut raw = Raw::connect(house.nginx.port()).await;
        raw.sends(&request).await;
        raw.falls_silent().await;
        let heard = String::from_utf8_lossy(&raw.everything().await).into_owned();
        assert!(!heard.contains("carillon_"), "{what}: {heard}");
        // Whatever it was taken for, the pod is asked by nginx alone, and goes on.
        let mut raw = Raw::opens(house.nginx.port(), &house.token()).await;
        raw.sends(frame(FIN | TEXT, "{}")).await;
    }
    let metrics = reqwest::get(format!("http://127.0.0.1:{}/metrics", house.single.pod.port())).await.expect("metrics");
    assert!(metrics.text().await.expect("text").contains("carillon_"), "it would be seen");
}
