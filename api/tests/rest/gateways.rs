//! The internal interface, as gateways use it.

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::{Channel, Role};
use shared::cursor::Positions;
use shared::envelope::Content;
use shared::ids::Seq;
use shared::upstream::{CALLER_HEADER, Differences, Heads, SECRET_HEADER, TRACE_HEADER, Verdict};

use super::dsl::{Api, answer};

const ROUTES: [(Method, &str); 6] = [
    (Method::GET, "heads"),
    (Method::POST, "heads"),
    (Method::POST, "differences"),
    (Method::POST, "authorise"),
    (Method::POST, "send"),
    (Method::POST, "acks"),
];

#[tokio::test]
async fn nobody_without_the_secret_is_answered() {
    let api = Api::start().await;
    for (method, path) in ROUTES {
        let url = format!("{}/internal/v1/{path}", api.internal_url);
        answer(api.client.request(method.clone(), &url)).await.is_problem(401, "unauthorized");
        for secret in ["", "the secret of this flee", "the secret of this fleet!"] {
            let request = api.client.request(method.clone(), &url).header(SECRET_HEADER, secret).json(&json!([]));
            answer(request).await.is_problem(401, "unauthorized");
        }
    }
    answer(api.client.get(format!("{}/elsewhere", api.internal_url))).await.is_problem(401, "unauthorized");
    answer(api.gateway(Method::GET, "elsewhere")).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn heads_say_how_far_each_feed_goes() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    alice.send(&id, "hello").await;
    let channels = json!({ "channels": ["user:bob", "user:nobody"] });
    let heads = answer(api.gateway(Method::POST, "heads").json(&channels)).await;
    assert_eq!(heads.body["heads"], json!([["user:bob", 2], ["user:nobody", 0]]), "{heads:?}");
    let recent = answer(api.gateway(Method::GET, "heads")).await;
    let recent: Heads = serde_json::from_value(recent.body).expect("heads");
    assert!(recent.heads.contains(&("user:bob".parse().expect("a channel"), Seq(2))), "{recent:?}");
}

#[tokio::test]
async fn differences_come_as_one_page_of_entries() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    alice.send(&id, "hello").await;
    let epoch = api.store.epoch().await.expect("an epoch");
    let ask = |epoch| json!({ "epoch": epoch, "after": [["user:bob", 1]], "page_bytes": 65_536 });
    let response = api.gateway(Method::POST, "differences").json(&ask(epoch.to_string())).send().await.expect("a page");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let bytes: Bytes = response.bytes().await.expect("a whole page");
    let Ok(Differences::Page(page)) = Differences::decode(bytes) else { panic!("a page") };
    let [entry] = page.entries.as_slice() else { panic!("one entry: {page:?}") };
    assert_eq!(entry.channel, Channel::User("bob".parse().expect("an id")));
    assert!(matches!(&entry.content, Content::Entry(entry) if entry.seq == Seq(2)));

    let other = ask(format!("{:016x}", !epoch.0));
    let response = api.gateway(Method::POST, "differences").json(&other).send().await.expect("an answer");
    let resync = Differences::decode(response.bytes().await.expect("a whole answer"));
    assert_eq!(resync, Ok(Differences::Resync { epoch }));
}

#[tokio::test]
async fn questions_are_answered_in_the_order_asked() {
    let api = Api::start().await;
    let (alice, eve) = (api.user("alice"), api.user("eve"));
    let id = alice.start_group(&["bob"]).await;
    let join = |caller, room: &str| json!({ "join": { "caller": caller, "room": room } });
    let arrive = json!({ "arrive": { "caller": alice.claims(), "device_id": "phone", "since": null } });
    let watch = |caller, people: &[&str]| json!({ "watch": { "caller": caller, "people": people } });
    let room = format!("conversation:{id}");
    let questions = json!([
        join(alice.claims(), &room),
        arrive,
        join(eve.claims(), &room),
        join(api.user_as("maria", Role::Staff).claims(), &room),
        join(alice.claims(), "conversation:none"),
        join(alice.claims(), "backstage"),
        watch(alice.claims(), &["eve", "bob", "alice"]),
        watch(eve.claims(), &["bob"]),
    ]);
    let answered = answer(api.gateway(Method::POST, "authorise").json(&questions)).await;
    let verdicts: Vec<Verdict> = serde_json::from_value(answered.body).expect("verdicts");
    assert_eq!(verdicts[0], Verdict::Allowed);
    let heads = Positions { user: Seq(1), ..Positions::default() };
    assert!(matches!(&verdicts[1], Verdict::Arrived { heads: at, start, .. } if *at == heads && start.user == Seq(0)));
    assert_eq!(verdicts[3], Verdict::Allowed);
    let visible =
        |names: &[&str]| Verdict::Visible { people: names.iter().map(|name| name.parse().expect("an id")).collect() };
    assert_eq!(verdicts[6..], [visible(&["bob", "alice"]), visible(&[])]);
    for denied in [&verdicts[2], &verdicts[4], &verdicts[5]] {
        assert!(matches!(denied, Verdict::Denied { .. }), "{denied:?}");
    }
}

#[tokio::test]
async fn a_message_sent_through_a_socket_is_the_same_as_over_rest() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    let body = json!({ "conversation_id": id, "message_text": "hello", "client_message_id": "c-1" });
    let sent = answer(alice.through_gateway("send").header(TRACE_HEADER, "0".repeat(31) + "7").json(&body)).await;
    assert_eq!(sent.status, 201, "{sent:?}");
    let again = alice.post("/api/v1/messages/messages", &body).await;
    assert_eq!((again.status, again.body), (200, sent.body));

    let wrong = json!({ "conversation_id": id, "message_text": "", "colour": "red" });
    let refused = answer(alice.through_gateway("send").json(&wrong)).await;
    assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["message_text", "colour"]);
    answer(api.user("eve").through_gateway("send").json(&body)).await.is_problem(404, "not_found");
    answer(api.gateway(Method::POST, "send").json(&body)).await.is_problem(400, "bad_request");
    let nobody = api.gateway(Method::POST, "send").header(CALLER_HEADER, "alice").json(&body);
    answer(nobody).await.is_problem(400, "bad_request");
}

#[tokio::test]
async fn what_a_gateway_acknowledges_is_where_a_device_goes_on() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let id = alice.start_group(&["bob"]).await;
    alice.send(&id, "one").await;
    alice.send(&id, "two").await;
    let acks = json!([{
        "user": "alice", "role": "guest", "device_id": "phone", "epoch": api.store.epoch().await.expect("an epoch"),
        "positions": { "user": 2, "role": 0, "all": 0 }, "unfiltered": true,
    }]);
    alice.feed("after=now").await;
    assert_eq!(answer(api.gateway(Method::POST, "acks").json(&acks)).await.status, 204);
    let page = alice.feed("").await;
    assert_eq!(page["events"][0]["data"]["message_text"], "two");
}

#[tokio::test]
async fn more_than_a_thousand_at_once_is_too_large() {
    let api = Api::start().await;
    let channels: Vec<String> = (0..1_001).map(|n| format!("user:u{n}")).collect();
    let after: Vec<Value> = channels.iter().map(|channel| json!([channel, 0])).collect();
    let ack = json!({
        "user": "alice", "role": "guest", "device_id": null, "epoch": "0000000000000001",
        "positions": { "user": 2, "role": 0, "all": 0 }, "unfiltered": true,
    });
    let join = json!({ "join": { "caller": api.user("alice").claims(), "room": "tour_1" } });
    let people: Vec<_> = (0..101).map(|n| format!("u{n}")).collect();
    let watch = json!([{ "watch": { "caller": api.user("alice").claims(), "people": people } }]);
    for (path, body) in [
        ("authorise", watch),
        ("heads", json!({ "channels": channels })),
        ("differences", json!({ "epoch": "0000000000000001", "after": after, "page_bytes": 1 })),
        ("acks", json!(vec![ack; 1_001])),
        ("authorise", json!(vec![join; 1_001])),
    ] {
        answer(api.gateway(Method::POST, path).json(&body)).await.is_problem(413, "too_large");
        answer(api.gateway(Method::POST, path).body("nonsense")).await.is_problem(400, "bad_request");
    }
}
