//! Who is in a conversation, over REST.

use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::Role;

use crate::dsl::{Api, answer};

const CONVERSATIONS: &str = "/api/v1/messages/conversations";

#[tokio::test]
async fn people_come_go_and_get_roles() {
    let api = Api::start().await;
    let (alice, bob, carol) = (api.user("alice"), api.user("bob"), api.user("carol"));
    let path = format!("{CONVERSATIONS}/{}", alice.start_group(&["bob"]).await);
    let people = format!("{path}/participants");
    let (first, again) = (
        bob.post(&people, &json!({ "user_id": "carol" })).await,
        bob.post(&people, &json!({ "user_id": "carol" })).await,
    );
    assert_eq!((first.status, again.status), (201, 200), "{first:?}");
    let shown = carol.get(&path).await.body;
    let names: Vec<_> =
        shown["participants"].as_array().expect("people").iter().map(|one| one["user_id"].clone()).collect();
    assert_eq!(names, ["alice", "bob", "carol"]);
    let owner = answer(alice.request(Method::PATCH, &format!("{people}/bob")).json(&json!({ "role": "owner" }))).await;
    assert_eq!((owner.status, &owner.body["participants"][1]["role"]), (200, &json!("owner")), "{owner:?}");
    let left = answer(carol.request(Method::DELETE, &format!("{people}/carol"))).await;
    assert_eq!(left.status, 204);
    carol.get(&path).await.is_problem(404, "not_found");
    answer(bob.request(Method::DELETE, &format!("{people}/alice"))).await;
    alice.get(&path).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn one_of_the_staff_claims_hands_over_and_releases() {
    let api = Api::start().await;
    let (alice, sam, mary) = (api.user("alice"), api.user_as("sam", Role::Staff), api.user_as("mary", Role::Staff));
    let asked = alice.post(CONVERSATIONS, &json!({ "type": "guest_staff", "participant_ids": [] })).await;
    assert_eq!((asked.status, asked.body["queued_at"].is_string()), (201, true), "{asked:?}");
    let path = format!("{CONVERSATIONS}/{}", asked.body["id"].as_str().expect("an id"));
    let waiting = format!("{CONVERSATIONS}?scope=all&queued=true");
    assert_eq!(mary.get(&waiting).await.body["items"].as_array().map(Vec::len), Some(1));
    alice.get(&waiting).await.is_problem(403, "forbidden");
    alice.get(&format!("{CONVERSATIONS}?scope=theirs")).await.is_problem(400, "bad_request");
    alice.post(&format!("{path}/claim"), &json!({})).await.is_problem(403, "forbidden");
    assert_eq!(sam.post(&format!("{path}/claim"), &json!({})).await.body["assigned_to"], "sam");
    mary.post(&format!("{path}/claim"), &json!({})).await.is_problem(409, "conflict");
    let assign = async |user: &str| {
        answer(sam.request(Method::PUT, &format!("{path}/assignment")).json(&json!({ "user_id": user }))).await
    };
    assign("mary").await.is_problem(404, "not_found");
    // Known to work here is who was seen here.
    mary.post(CONVERSATIONS, &json!({ "type": "staff_staff", "participant_ids": ["sam"] })).await;
    assert_eq!(assign("mary").await.body["assigned_to"], "mary");
    let released = answer(mary.request(Method::DELETE, &format!("{path}/assignment"))).await;
    assert_eq!((released.status, &released.body["assigned_to"]), (200, &Value::Null), "{released:?}");
    assert_eq!(sam.get(&waiting).await.body["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_conversation_gets_another_subject_is_closed_and_is_sorted_by_each_for_themselves() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let path = format!("{CONVERSATIONS}/{}", alice.start_group(&["bob"]).await);
    let patch = async |body: Value| answer(alice.request(Method::PATCH, &path).json(&body)).await;
    let changed = patch(json!({ "subject": "Late checkout", "metadata": { "room": 7 } })).await;
    assert_eq!((changed.status, &changed.body["metadata"]["room"]), (200, &json!(7)), "{changed:?}");
    assert_eq!(patch(json!({ "subject": null })).await.body["subject"], Value::Null);
    assert_eq!(patch(json!({ "status": "closed" })).await.body["status"], "closed");
    let closed = bob.get(&format!("{CONVERSATIONS}?status=closed")).await.body;
    assert_eq!(closed["items"].as_array().map(Vec::len), Some(1), "{closed}");

    let settings = format!("{path}/settings");
    let set = async |body: Value| answer(bob.request(Method::PATCH, &settings).json(&body)).await;
    let muted = set(json!({ "muted": true, "pinned": true })).await;
    assert_eq!(muted.body["settings"]["muted_until"], "9999-12-31T23:59:59.999999Z", "{muted:?}");
    assert_eq!(set(json!({ "archived": true })).await.status, 200);
    for (query, count) in [("pinned=true", 1), ("archived=false", 0), ("unread=true", 0)] {
        let listed = bob.get(&format!("{CONVERSATIONS}?{query}")).await.body;
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(count), "{query}: {listed}");
    }
    let hers = alice.get(&path).await.body;
    assert_eq!(hers["settings"], json!({ "muted_until": null, "pinned_at": null, "archived_at": null }), "{hers}");
}

#[tokio::test]
async fn changes_of_conversations_that_cannot_be_are_refused_by_name() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let path = format!("{CONVERSATIONS}/{}", alice.start_group(&["bob"]).await);
    for (body, field) in [
        (json!({}), "body"),
        (json!({ "subject": 7 }), "subject"),
        (json!({ "status": "open" }), "status"),
        (json!({ "metadata": [] }), "metadata"),
        (json!({ "type": "direct" }), "type"),
    ] {
        let refused = answer(alice.request(Method::PATCH, &path).json(&body)).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), [field], "{body}");
    }
    for body in [json!({ "muted": true, "muted_until": "2030-01-01T00:00:00Z" }), json!({ "muted_until": "soon" })] {
        answer(alice.request(Method::PATCH, &format!("{path}/settings")).json(&body))
            .await
            .is_problem(400, "bad_request");
    }
    let people = format!("{path}/participants");
    alice.post(&people, &json!({ "user_id": "no one" })).await.is_problem(400, "bad_request");
    eve.post(&people, &json!({ "user_id": "eve" })).await.is_problem(404, "not_found");
    answer(bob.request(Method::DELETE, &format!("{people}/alice"))).await.is_problem(403, "forbidden");
    answer(bob.request(Method::PATCH, &path).json(&json!({ "status": "closed" }))).await.is_problem(403, "forbidden");
    let role = answer(alice.request(Method::PATCH, &format!("{people}/eve")).json(&json!({ "role": "staff" }))).await;
    role.is_problem(404, "not_found");
    let bad = answer(alice.request(Method::DELETE, &format!("{people}/no%20one"))).await;
    assert_eq!(bad.is_problem(400, "bad_request").blamed(), ["user_id"]);
    let maria = api.user_as("maria", Role::Staff);
    assert_eq!(answer(maria.request(Method::PATCH, &path).json(&json!({ "status": "closed" }))).await.status, 200);
    alice.post(&people, &json!({ "user_id": "carol" })).await.is_problem(409, "conversation_closed");
}
