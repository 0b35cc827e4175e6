//! Files that go along with messages.

use fleet::client::{Conversation, Kind, User};
use fleet::place::Place;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

told_everywhere! {
    pictures_documents_and_voice_messages_go_along_with_messages,
}

const ATTACHMENTS: &str = "/api/v1/attachments";

async fn pictures_documents_and_voice_messages_go_along_with_messages(place: &impl Place) {
    let (alice, bob, carol) = (place.user("alice"), place.user("bob"), place.user("carol"));
    let phone = bob.device("phone").connect().await;
    let conversation = alice.starts(Kind::GuestGuest, &[&bob]).await;
    // Larger than any other body may be, and than one piece of an upload.
    let document = [b"%PDF-1.7\n".as_slice(), &[b'x'; 2_500_000]].concat();
    let voice = [b"OggS\0\x02\0\0\0\0\0\0\0\0".as_slice(), &[0; 5_000]].concat();
    for (announced, bytes) in [
        (json!({ "file_name": "Möwe.gif", "file_type": "image/gif" }), PICTURE.to_vec()),
        (json!({ "file_name": "bill.pdf", "file_type": "application/pdf" }), document),
        (
            json!({ "file_name": "v.ogg", "file_type": "audio/ogg", "kind": "voice", "duration_ms": 900, "waveform": [3] }),
            voice,
        ),
    ] {
        let id = uploads(&alice, announced.clone(), &bytes).await;
        let sent = sends(&alice, &conversation, &id).await;
        let heard = phone.hears("the attachment", |event| event["data"]["message_id"] == sent["id"]).await;
        let shown = &heard["data"]["attachments"][0];
        assert_eq!(*shown, sent["attachments"][0]);
        for field in ["file_name", "duration_ms", "waveform"] {
            assert_eq!(shown[field], announced[field], "{shown}");
        }
        let url = shown["url"].as_str().expect("a URL");
        assert!(reads(&bob, url).await.expect("he is in it") == bytes, "{announced}");
        assert_eq!(reads(&carol, url).await, Err(StatusCode::NOT_FOUND));
        if let Some(small) = shown["thumbnail_url"].as_str() {
            assert_eq!((&shown["width"], &shown["height"]), (&json!(1), &json!(1)));
            assert!(reads(&bob, small).await.expect("he is in it").starts_with(b"\xff\xd8\xff"), "a JPEG");
        }
    }
}

/// One red pixel.
const PICTURE: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Uploads a file in two parts, the second from where the first ended, and answers its id.
async fn uploads(user: &User, mut announced: Value, bytes: &[u8]) -> String {
    announced["file_size"] = bytes.len().into();
    let place = user.asks(Method::POST, ATTACHMENTS, &announced).await;
    let url = place["upload_url"].as_str().expect("a URL");
    sends_bytes(user, url, 0, bytes[..bytes.len() / 2].to_vec()).await;
    let far = user.request(Method::HEAD, url).send().await.expect("an answer");
    let offset = far.headers()["upload-offset"].to_str().expect("ASCII").parse().expect("a number");
    assert_eq!(offset, bytes.len() / 2);
    sends_bytes(user, url, offset, bytes[offset..].to_vec()).await;
    let id = place["id"].as_str().expect("an id").to_owned();
    let done = user.asks(Method::POST, &format!("{ATTACHMENTS}/{id}/complete"), &json!({})).await;
    assert_eq!(done["state"], "complete", "{done}");
    id
}

async fn sends_bytes(user: &User, url: &str, offset: usize, bytes: Vec<u8>) {
    let request = user.request(Method::PUT, url).header("Upload-Offset", offset).body(bytes);
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{}", answer.text().await.expect("a text"));
}

async fn sends(user: &User, conversation: &Conversation, attachment: &str) -> Value {
    let body = json!({
        "conversation_id": conversation.id, "attachment_ids": [attachment], "client_message_id": attachment,
    });
    user.asks(Method::POST, "/api/v1/messages/messages", &body).await
}

async fn reads(user: &User, url: &str) -> Result<Vec<u8>, StatusCode> {
    let answer = user.request(Method::GET, url).send().await.expect("an answer");
    if !answer.status().is_success() {
        return Err(answer.status());
    }
    Ok(answer.bytes().await.expect("all of them").to_vec())
}
