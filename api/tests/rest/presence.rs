//! Who is here, over REST.

use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::{Channel, Role};
use shared::envelope::Content;
use shared::presence::Availability;

use crate::dsl::{Answer, Api, User, answer};

/// Has people be here for as long as the test lasts.
async fn here(api: &Api, people: &[(&str, Availability)]) {
    let lease = api.presence.begin(std::time::Duration::from_secs(600)).await.expect("a lease");
    let people: Vec<_> = people.iter().map(|(name, state)| (name.parse().expect("an id"), *state)).collect();
    api.presence.put(&lease, None, &people).await.expect("written");
}

async fn look(user: &User<'_>, ids: &str) -> Answer {
    user.get(&format!("/api/v1/presence?user_ids={ids}")).await
}

fn states(answer: &Answer) -> Vec<(&str, &str)> {
    assert_eq!((answer.status, &answer.body["next"]), (200, &Value::Null), "{answer:?}");
    let items = answer.body["items"].as_array().expect("a list").iter();
    items.map(|item| (item["user_id"].as_str().expect("an id"), item["state"].as_str().expect("a state"))).collect()
}

#[tokio::test]
async fn who_is_here_is_seen_by_those_who_share_a_conversation() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    bob.start_group(&["alice", "carol"]).await;
    here(&api, &[("alice", Availability::Dnd), ("carol", Availability::Idle), ("eve", Availability::Online)]).await;
    let seen = look(&bob, "carol,alice,eve,bob,alice").await;
    assert_eq!(states(&seen), [("carol", "idle"), ("alice", "dnd"), ("eve", "offline"), ("bob", "offline")]);
    assert_eq!(states(&look(&api.user_as("maria", Role::Staff), "eve").await), [("eve", "online")]);

    // Nobody can tell those whom they may not see from those who were never here.
    let unknown = |item: &Value, name: &str| {
        // As new as can be, so that nobody goes by what they knew before.
        assert!(item["version"].as_u64() > seen.body["items"][1]["version"].as_u64(), "{item}");
        let version = item["version"].clone();
        assert_eq!(*item, json!({ "user_id": name, "state": "offline", "last_seen": null, "version": version }));
    };
    unknown(&seen.body["items"][2], "eve");
    answer(alice.request(Method::PUT, "/api/v1/users/me/blocks/bob")).await;
    let blocked = look(&bob, "alice,nobody").await;
    for (place, name) in ["alice", "nobody"].into_iter().enumerate() {
        unknown(&blocked.body["items"][place], name);
    }
}

#[tokio::test]
async fn whoever_hides_it_is_seen_offline_and_gateways_are_told_to_ask_anew() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    bob.start_group(&["alice"]).await;
    here(&api, &[("alice", Availability::Online)]).await;
    let mut gateway =
        api.listener(&["presence:alice", "presence:bob"].map(|name| name.parse().expect("a channel"))).await;
    let set = async |body: Value| answer(alice.request(Method::PATCH, "/api/v1/users/me/privacy").json(&body)).await;
    let hidden = set(json!({ "presence": false })).await;
    assert_eq!(hidden.body, json!({ "receipts": true, "signs": true, "presence": false }));
    assert_eq!(states(&look(&bob, "alice").await), [("alice", "offline")]);
    assert_eq!(states(&look(&alice, "alice").await), [("alice", "online")]);
    let doubt = gateway.hears().await;
    assert_eq!(
        (doubt.channel, doubt.content),
        ("presence:alice".parse().expect("a channel"), Content::Pods("".into()))
    );
    // What does not concern it is told to no gateway: the next they hear of is the block, and of both.
    set(json!({ "signs": false })).await;
    answer(alice.request(Method::PUT, "/api/v1/users/me/blocks/bob")).await;
    let mut doubtful = Vec::new();
    for _ in 0..2 {
        let doubt = gateway.hears().await;
        let Content::Pods(watcher) = doubt.content else { panic!("{doubt:?}") };
        doubtful.push((doubt.channel, watcher));
    }
    doubtful.sort_unstable();
    // Only each other is asked after, however many watch them.
    let presence = |name: &str| Channel::Presence(name.parse().expect("an id"));
    assert_eq!(doubtful, [(presence("alice"), "bob".into()), (presence("bob"), "alice".into())]);
}

#[tokio::test]
async fn what_is_wrong_with_the_question_is_named() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let many: Vec<_> = (0..101).map(|number| format!("u{number}")).collect();
    for query in ["", "?user_ids=", "?user_ids=two%20words", "?user_ids=a,,b", &format!("?user_ids={}", many.join(","))]
    {
        let refused = alice.get(&format!("/api/v1/presence{query}")).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["user_ids"], "{query}");
    }
    assert_eq!(look(&alice, &many[..100].join(",")).await.status, 200);
    answer(api.request(Method::GET, "/api/v1/presence?user_ids=alice")).await.is_problem(401, "unauthorized");
}
