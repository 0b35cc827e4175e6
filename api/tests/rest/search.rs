//! Searching messages.

use reqwest::Method;
use serde_json::{Value, json};
use shared::channel::Role;

use super::dsl::{Answer, Api, User, answer};

const PATH: &str = "/api/v1/messages/search";

async fn search(user: &User<'_>, parameters: &[(&str, &str)]) -> Answer {
    answer(user.request(Method::GET, PATH).query(parameters)).await
}

/// The texts that a query finds.
async fn found(user: &User<'_>, q: &str) -> Vec<String> {
    let answer = search(user, &[("q", q)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    texts(&answer.body)
}

fn texts(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["message_text"].as_str().expect("a text").to_owned()).collect()
}

#[tokio::test]
async fn what_is_found_is_the_message_with_its_subject_and_the_words_that_matched() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let body = json!({ "type": "group", "subject": "Dinner", "participant_ids": ["bob"] });
    let started = alice.post("/api/v1/messages/conversations", &body).await;
    let id = started.body["id"].as_str().expect("an id");
    let sent = alice.send(id, "<b>Red</b> WINE & 🔔 cheese").await;
    alice.send(id, "nothing of the kind").await;

    let page = search(&bob, &[("q", "red win*")]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let mut item = page.body["items"][0].clone();
    let run = |text: &str, matched: bool| json!({ "text": text, "matched": matched });
    let runs =
        [run("<b>", false), run("Red", true), run("</b> ", false), run("WINE", true), run(" & 🔔 cheese", false)];
    assert_eq!(item["highlights"], json!([{ "runs": runs }]));
    assert_eq!(item["conversation_subject"], "Dinner");
    for field in ["highlights", "conversation_subject"] {
        item.as_object_mut().expect("an item").remove(field);
    }
    assert_eq!(item, sent, "otherwise it is the message as everywhere");
    assert_eq!((page.body["items"].as_array().map(Vec::len), &page.body["next"]), (Some(1), &json!(null)));

    let page = search(&bob, &[("q", "from:alice")]).await;
    assert_eq!(page.body["items"][0]["highlights"], json!([]));
}

#[tokio::test]
async fn only_those_in_a_conversation_and_those_who_work_here_find_what_was_said_in_it() {
    let api = Api::start().await;
    let id = api.user("alice").start_group(&["bob"]).await;
    api.user("alice").send(&id, "our secret").await;
    for (user, finds) in [
        (api.user("alice"), 1),
        (api.user("bob"), 1),
        (api.user("eve"), 0),
        (api.user_as("maria", Role::Staff), 1),
        (api.user_as("root", Role::Admin), 1),
        (api.user_as("robot", Role::Service), 1),
    ] {
        for q in ["secret".to_owned(), format!("in:{id}"), format!("from:alice in:{id} \"our secret\"")] {
            assert_eq!(found(&user, &q).await.len(), finds, "{} looks for {q}", user.name);
        }
    }
    answer(api.request(Method::GET, PATH).query(&[("q", "secret")])).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn pages_cover_everything_found_once_the_newest_first() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let id = alice.start_group(&["bob"]).await;
    for number in 1..=7 {
        alice.send(&id, &format!("wine {number}")).await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let mut parameters = vec![("q", "wine"), ("limit", "3")];
        parameters.extend(after.as_deref().map(|after| ("after", after)));
        let page = search(&bob, &parameters).await;
        assert_eq!(page.status, 200, "{page:?}");
        seen.push(texts(&page.body).len());
        let Some(next) = page.body["next"].as_str() else { break };
        after = Some(next.to_owned());
    }
    assert_eq!(seen, [3, 3, 1]);
    assert_eq!(found(&bob, "wine").await.first().map(String::as_str), Some("wine 7"));
}

#[tokio::test]
async fn a_query_that_cannot_be_understood_is_refused_by_name() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let (long, many) = ("x".repeat(257), "x ".repeat(17));
    for (q, said) in [
        ("", "q must be 1 to 256 characters"),
        ("  ", "q must not be blank"),
        ("-wine", "q looks for nothing"),
        (":) *", "q looks for nothing"),
        ("a\0b", "q must not contain U+0000"),
        ("to:bob", "q has the operator `to:`"),
        ("from:b%b", "q has `from:` with a value that is not the id of a user"),
        ("in:7", "q has `in:`"),
        ("has:wings", "q has `has:`"),
        ("before:tomorrow", "q has `before:`"),
        (&long, "q must be 1 to 256 characters"),
        (&many, "q has more than 16"),
    ] {
        let answer = search(&alice, &[("q", q)]).await;
        assert_eq!(answer.is_problem(400, "bad_request").blamed(), ["q"], "{q}");
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(detail.starts_with(said), "{q}: {detail}");
    }
    for (parameters, blamed) in [
        (&[("limit", "9")][..], "q"),
        (&[("q", "x"), ("limit", "0")], "limit"),
        (&[("q", "x"), ("limit", "101")], "limit"),
        (&[("q", "x"), ("after", "1.x")], "after"),
        (&[("q", "x"), ("offset", "1")], "offset"),
    ] {
        assert_eq!(search(&alice, parameters).await.is_problem(400, "bad_request").blamed(), [blamed]);
    }
}
