//! What is sent along with messages.

use api::worker::attachments::collect;
use fleet::eventually::eventually;
use image::{DynamicImage, ImageFormat};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::channel::Role;

use super::dsl::{Answer, Api, User, answer};

const PATH: &str = "/api/v1/attachments";
/// How long a fact may take to come true.
const SOON: std::time::Duration = std::time::Duration::from_secs(10);
const MESSAGES: &str = "/api/v1/messages/messages";

/// A picture that does not compress, so that it has some size.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let noise = image::RgbImage::from_fn(width, height, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, blue, green, red] = state.to_le_bytes();
        image::Rgb([red, green, blue])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(noise).write_to(&mut bytes, ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reserves a place that must be given.
async fn reserve(user: &User<'_>, name: &str, kind: &str, size: usize) -> Value {
    let reserved = user.post(PATH, &json!({ "file_name": name, "file_type": kind, "file_size": size })).await;
    assert_eq!((reserved.status, &reserved.body["state"]), (201, &json!("reserved")), "{reserved:?}");
    reserved.body
}

async fn put(user: &User<'_>, place: &Value, offset: usize, bytes: &[u8]) -> Answer {
    let url = place["upload_url"].as_str().expect("a URL");
    answer(user.request(Method::PUT, url).header("Upload-Offset", offset).body(bytes.to_vec())).await
}

async fn complete(user: &User<'_>, place: &Value) -> Answer {
    user.post(&format!("{PATH}/{}/complete", id(place)), &json!({})).await
}

fn id(place: &Value) -> &str {
    place["id"].as_str().expect("an id")
}

/// Uploads a file that must be taken, and answers its place.
async fn upload(user: &User<'_>, name: &str, kind: &str, bytes: &[u8]) -> Value {
    let place = reserve(user, name, kind, bytes.len()).await;
    assert_eq!(put(user, &place, 0, bytes).await.status, 204);
    let done = complete(user, &place).await;
    assert_eq!(done.status, 200, "{done:?}");
    place
}

async fn send(user: &User<'_>, conversation: &str, attachments: &[&Value]) -> Answer {
    let ids: Vec<&str> = attachments.iter().map(|place| id(place)).collect();
    user.post(MESSAGES, &json!({ "conversation_id": conversation, "attachment_ids": ids })).await
}

#[tokio::test]
async fn a_picture_is_uploaded_in_two_parts_sent_and_read_by_the_other() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let group = alice.start_group(&["bob"]).await;
    let picture = png(900, 600);
    assert!(picture.len() > 1024 * 1024, "more than one piece");
    let body = json!({
        "file_name": "Strand & Möwen.png", "file_type": "image/png", "file_size": picture.len(), "sha256": sha256(&picture),
    });
    let place = alice.post(PATH, &body).await;
    assert_eq!(place.status, 201, "{place:?}");
    let place = place.body;
    assert_eq!((&place["method"], &place["headers"]), (&json!("PUT"), &json!({ "upload-offset": "0" })));

    let (first, second) = picture.split_at(700_000);
    let taken = put(&alice, &place, 0, first).await;
    assert_eq!((taken.status, taken.header("upload-offset")), (204, "700000"));
    complete(&alice, &place).await.is_problem(409, "conflict");
    let far = answer(alice.request(Method::HEAD, place["upload_url"].as_str().expect("a URL"))).await;
    assert_eq!((far.status, far.header("upload-offset"), far.header("upload-complete")), (204, "700000", "?0"));
    let wrong = put(&alice, &place, 0, second).await;
    assert_eq!(wrong.is_problem(409, "conflict").header("upload-offset"), "700000");
    let taken = put(&alice, &place, 700_000, second).await;
    assert_eq!((taken.status, taken.header("upload-complete")), (204, "?1"), "{taken:?}");

    let done = complete(&alice, &place).await;
    assert_eq!((done.status, &done.body["state"], &done.body["kind"]), (200, &json!("complete"), &json!("image")));
    assert_eq!((&done.body["width"], &done.body["height"]), (&json!(900), &json!(600)));
    assert_eq!(done.body["sha256"], sha256(&picture).as_str());
    assert_eq!(complete(&alice, &place).await.body["id"], done.body["id"], "twice is once");
    put(&alice, &place, 0, &picture).await.is_problem(409, "conflict");

    let sent = send(&alice, &group, &[&place]).await;
    assert_eq!((sent.status, &sent.body["message_text"]), (201, &json!("")), "{sent:?}");
    let shown = &sent.body["attachments"][0];
    let expected = json!({
        "id": place["id"], "file_name": "Strand & Möwen.png", "file_type": "image/png", "file_size": picture.len(),
        "kind": "image", "width": 900, "height": 600, "url": format!("{PATH}/{}/content", id(&place)),
        "thumbnail_url": format!("{PATH}/{}/thumbnail", id(&place)),
    });
    assert_eq!(*shown, expected);
    let feed = bob.feed("limit=10").await;
    assert_eq!(feed["events"][1]["data"]["attachments"], json!([expected]));
    let listed = bob.get(&format!("/api/v1/messages/conversations/{group}/messages")).await;
    assert_eq!(listed.body["items"][0]["attachments"], json!([expected]));

    let read = bob.request(Method::GET, shown["url"].as_str().expect("a URL")).send().await.expect("an answer");
    let header = |name: &str| read.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!((read.status().as_u16(), header("content-type")), (200, "image/png".to_owned()));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("content-security-policy"), "sandbox; default-src 'none'");
    assert_eq!(header("cache-control"), "private");
    assert_eq!(header("content-disposition"), "inline; filename*=UTF-8''Strand%20&%20M%C3%B6wen.png");
    assert_eq!(read.bytes().await.expect("bytes"), picture);

    let small =
        bob.request(Method::GET, shown["thumbnail_url"].as_str().expect("a URL")).send().await.expect("an answer");
    assert_eq!(small.headers()["content-type"], "image/jpeg");
    let small = image::load_from_memory(&small.bytes().await.expect("bytes")).expect("a picture");
    assert_eq!((small.width(), small.height()), (320, 213));
}

#[tokio::test]
async fn an_upload_that_breaks_off_goes_on_where_its_last_piece_ended() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let text: Vec<u8> = (0..3_500_000_u32).map(|n| b'a' + u8::try_from(n % 26).expect("small")).collect();
    let place = reserve(&alice, "a.txt", "text/plain", text.len()).await;
    let url = place["upload_url"].as_str().expect("a URL");
    let mut chunks: Vec<_> = text[..2_500_000].chunks(50_000).map(|chunk| Ok(chunk.to_vec())).collect();
    chunks.push(Err(std::io::Error::other("the line broke")));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    alice.request(Method::PUT, url).body(body).send().await.expect_err("it broke off");
    // The pod may still be writing the last of it: then the offset moves once more.
    eventually(SOON, async || {
        let far = answer(alice.request(Method::HEAD, url)).await;
        let offset: usize = far.header("upload-offset").parse().expect("a number");
        assert!(offset <= 2_500_000, "{offset}");
        if offset < 2 * 1024 * 1024 {
            return Err(format!("only {offset} bytes are there"));
        }
        match put(&alice, &place, offset, &text[offset..]).await.status {
            204 => Ok(()),
            status => Err(format!("{status} from {offset} on")),
        }
    })
    .await;
    let done = complete(&alice, &place).await;
    assert_eq!((done.status, &done.body["sha256"]), (200, &json!(sha256(&text))), "{done:?}");
}

#[tokio::test]
async fn one_range_of_bytes_can_be_read() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let text: Vec<u8> = (0..3_000_000_u32).map(|n| b'a' + u8::try_from(n % 26).expect("small")).collect();
    let place = upload(&alice, "a.txt", "text/plain", &text).await;
    let url = format!("{PATH}/{}/content", id(&place));
    let ask =
        async |range: &str| alice.request(Method::GET, &url).header("Range", range).send().await.expect("an answer");
    for (range, part, said) in [
        ("bytes=0-9", 0..10, "bytes 0-9/3000000"),
        ("bytes=1048570-1048590", 1_048_570..1_048_591, "bytes 1048570-1048590/3000000"),
        ("bytes=-5", 2_999_995..3_000_000, "bytes 2999995-2999999/3000000"),
        ("bytes=2999990-", 2_999_990..3_000_000, "bytes 2999990-2999999/3000000"),
    ] {
        let answer = ask(range).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-range"]),
            (206, &said.parse().expect("a value"))
        );
        assert_eq!(answer.bytes().await.expect("bytes"), text[part], "{range}");
    }
    let whole = ask("bytes=0-1,5-6").await;
    assert_eq!((whole.status().as_u16(), &whole.headers()["accept-ranges"]), (200, &"bytes".parse().expect("a value")));
    assert_eq!(whole.headers()["content-disposition"], "attachment; filename*=UTF-8''a.txt");
    let beyond = answer(alice.request(Method::GET, &url).header("Range", "bytes=3000000-")).await;
    assert_eq!(beyond.is_problem(416, "bad_request").header("content-range"), "bytes */3000000");
    let tag = whole.headers()["etag"].to_str().expect("ASCII").to_owned();
    for (known, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
        let asked = alice.request(Method::GET, &url).header("Range", "bytes=0-9").header("If-Range", known);
        assert_eq!(answer(asked).await.status, status);
    }
}

#[tokio::test]
async fn nobody_else_sees_an_attachment_before_a_message_brings_it_and_only_those_who_see_the_message_then() {
    let api = Api::start().await;
    let (alice, bob, eve) = (api.user("alice"), api.user("bob"), api.user("eve"));
    let sam = api.user_as("sam", Role::Staff);
    let group = alice.start_group(&["bob"]).await;
    let place = upload(&alice, "a.txt", "text/plain", b"between us").await;
    let paths = [format!("{PATH}/{}", id(&place)), format!("{PATH}/{}/content", id(&place))];
    for path in &paths {
        assert_eq!(alice.get(path).await.status, 200);
        for other in [&bob, &eve, &sam] {
            other.get(path).await.is_problem(404, "not_found");
        }
    }
    for other in [&bob, &sam] {
        put(other, &place, 0, b"not yours!").await.is_problem(404, "not_found");
        complete(other, &place).await.is_problem(404, "not_found");
    }
    let theirs = bob.start_group(&["eve"]).await;
    send(&bob, &theirs, &[&place]).await.is_problem(404, "not_found");
    assert_eq!(send(&alice, &group, &[&place]).await.status, 201);
    for path in &paths {
        for one in [&alice, &bob, &sam] {
            assert_eq!(one.get(path).await.status, 200, "{path} {}", one.name);
        }
        eve.get(path).await.is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_link_leads_to_the_bytes_without_a_token() {
    let api = Api::start().await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let group = alice.start_group(&["bob"]).await;
    let place = upload(&alice, "a.png", "image/png", &png(40, 30)).await;
    assert_eq!(send(&alice, &group, &[&place]).await.status, 201);
    let shown = bob.get(&format!("{PATH}/{}", id(&place))).await;
    assert!(shown.body["url_expires_at"].is_string(), "{shown:?}");
    for link in ["url", "thumbnail_url"] {
        let link = shown.body[link].as_str().expect("a link");
        assert_eq!(answer(api.request(Method::GET, link)).await.status, 200, "{link}");
        let later = link.replace("expires=1", "expires=2");
        let another = link.replace("signature=", "signature=x");
        let elsewhere =
            link.replace("/content?", "/x?").replace("/thumbnail?", "/content?").replace("/x?", "/thumbnail?");
        for forged in [later, another, elsewhere] {
            answer(api.request(Method::GET, &forged)).await.is_problem(403, "forbidden");
        }
        let (path, _) = link.split_once('?').expect("a query");
        answer(api.request(Method::GET, path)).await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_was_announced_are_deleted_and_can_be_sent_again() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let good = png(20, 20);
    let exe = [b"MZ\x90\0\x03\0\0\0".as_slice(), &[0; 200]].concat();
    for (kind, announced, sent, code) in [
        ("image/png", sha256(&good), good.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>(), "bad_request"),
        ("image/png", sha256(&exe), exe.clone(), "unsupported"),
        ("text/plain", sha256(&exe), exe.clone(), "unsupported"),
        ("application/pdf", sha256(&good), good.clone(), "unsupported"),
    ] {
        let body = json!({ "file_name": "a", "file_type": kind, "file_size": sent.len(), "sha256": announced });
        let place = alice.post(PATH, &body).await.body;
        assert_eq!(put(&alice, &place, 0, &sent).await.status, 204);
        complete(&alice, &place).await.is_problem(400, code);
        let far = answer(alice.request(Method::HEAD, place["upload_url"].as_str().expect("a URL"))).await;
        assert_eq!(far.header("upload-offset"), "0", "{kind}");
        assert!(!api.folder.join("attachments").join(id(&place)).exists(), "{kind}");
        alice.get(place["upload_url"].as_str().expect("a URL")).await.is_problem(409, "conflict");
    }
    let place = reserve(&alice, "photo.png", "image/png", good.len()).await;
    assert_eq!(put(&alice, &place, 0, &vec![0; good.len()]).await.status, 204);
    complete(&alice, &place).await.is_problem(400, "unsupported");
    assert_eq!(put(&alice, &place, 0, &good).await.status, 204);
    assert_eq!(complete(&alice, &place).await.status, 200, "the right bytes are taken in the end");
}

#[tokio::test]
async fn no_more_bytes_are_taken_than_were_announced() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let place = reserve(&alice, "a.txt", "text/plain", 10).await;
    put(&alice, &place, 0, b"eleven long").await.is_problem(413, "too_large");
    assert_eq!(put(&alice, &place, 0, b"seven l").await.status, 204);
    put(&alice, &place, 7, b"four").await.is_problem(413, "too_large");
    complete(&alice, &place).await.is_problem(409, "conflict");
    // Without a length known before.
    let chunks = futures_util::stream::iter((0..10).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000])));
    let url = place["upload_url"].as_str().expect("a URL");
    let body = reqwest::Body::wrap_stream(chunks);
    let endless = alice.request(Method::PUT, url).header("Upload-Offset", 7).body(body);
    answer(endless).await.is_problem(413, "too_large");
    assert_eq!(put(&alice, &place, 7, b"end").await.status, 204);
    assert_eq!(complete(&alice, &place).await.status, 200);
    for size in [0, 25 * 1024 * 1024 + 1] {
        let refused =
            alice.post(PATH, &json!({ "file_name": "a", "file_type": "text/plain", "file_size": size })).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["file_size"]);
    }
}

#[tokio::test]
async fn a_bomb_of_a_picture_is_refused() {
    let api = Api::start().await;
    let alice = api.user("alice");
    // Black on black: 100 million pixels in a hundred kilobytes.
    let black = image::GrayImage::new(10_000, 10_000);
    let mut bomb = std::io::Cursor::new(Vec::new());
    black.write_to(&mut bomb, ImageFormat::Png).expect("a picture");
    let bomb = bomb.into_inner();
    let place = reserve(&alice, "black.png", "image/png", bomb.len()).await;
    assert_eq!(put(&alice, &place, 0, &bomb).await.status, 204);
    let refused = complete(&alice, &place).await;
    let detail = refused.is_problem(400, "unsupported").body["detail"].as_str().expect("a detail");
    assert!(detail.contains("too large"), "{detail}");
    assert!(!api.folder.join("attachments").join(id(&place)).exists());
}

#[tokio::test]
async fn a_name_is_shown_and_never_a_path() {
    let api = Api::start().await;
    let alice = api.user("alice");
    for name in ["../../etc/passwd", "a/b", "a\\b", "..", "a\u{202e}gnp.exe", "a\nb"] {
        let body = json!({ "file_name": name, "file_type": "text/plain", "file_size": 1 });
        assert_eq!(alice.post(PATH, &body).await.is_problem(400, "bad_request").blamed(), ["file_name"], "{name:?}");
    }
    let place = upload(&alice, "..passwd", "text/plain", b"x").await;
    let bytes = std::fs::read(api.folder.join("attachments").join(id(&place))).expect("it lies under its id");
    assert_eq!(bytes, b"x");
    assert!(!api.folder.join("uploads").join(id(&place)).exists(), "the pieces are gone");
    for path in ["%2e%2e%2fattachments", "..%2f..%2fetc", "x"] {
        let refused = alice.get(&format!("{PATH}/{path}/content")).await;
        assert_eq!(refused.is_problem(400, "bad_request").blamed(), ["id"], "{path}");
    }
}

#[tokio::test]
async fn a_message_brings_complete_attachments_of_its_sender_once_or_nothing_happens() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let group = alice.start_group(&["bob"]).await;
    let (one, two) = (upload(&alice, "1", "text/plain", b"1").await, upload(&alice, "2", "text/plain", b"2").await);
    let reserved = reserve(&alice, "3", "text/plain", 1).await;
    send(&alice, &group, &[&one, &reserved]).await.is_problem(409, "conflict");
    send(&alice, &group, &[&one, &json!({ "id": uuid::Uuid::now_v7() })]).await.is_problem(404, "not_found");
    send(&alice, &group, &[&one, &one]).await.is_problem(400, "bad_request");
    send(&alice, &group, &[&one; 11]).await.is_problem(400, "bad_request");
    send(&alice, &group, &[]).await.is_problem(400, "bad_request");
    let body = json!({
        "conversation_id": group, "message_text": "both", "client_message_id": "k", "attachment_ids": [id(&two), id(&one)],
    });
    let sent = alice.post(MESSAGES, &body).await;
    assert_eq!((sent.status, &sent.body["seq"]), (201, &json!(1)), "what was refused left no hole: {sent:?}");
    let names: Vec<_> = sent.body["attachments"].as_array().expect("two").iter().map(|one| &one["file_name"]).collect();
    assert_eq!(names, ["2", "1"], "in the order of the sender");
    let again = alice.post(MESSAGES, &body).await;
    assert_eq!((again.status, &again.body), (200, &sent.body));
    let mut other = body.clone();
    other["attachment_ids"] = json!([id(&two)]);
    alice.post(MESSAGES, &other).await.is_problem(409, "key_reused");
    send(&alice, &group, &[&one]).await.is_problem(409, "conflict");
}

#[tokio::test]
async fn a_gateway_sends_attachments_too() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let group = alice.start_group(&["bob"]).await;
    let place = upload(&alice, "a.csv", "text/csv", b"a;b\n").await;
    let body = json!({ "conversation_id": group, "attachment_ids": [id(&place)] });
    let sent = answer(alice.through_gateway("send").json(&body)).await;
    assert_eq!((sent.status, &sent.body["attachments"][0]["kind"]), (201, &json!("file")), "{sent:?}");
}

#[tokio::test]
async fn the_same_idempotency_key_reserves_one_place() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let ask = |body: &Value| answer(alice.request(Method::POST, PATH).header("Idempotency-Key", "k").json(body));
    let body = json!({ "file_name": "a", "file_type": "text/plain", "file_size": 1 });
    let (first, again) = (ask(&body).await, ask(&body).await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body, again.body);
    ask(&json!({ "file_name": "b", "file_type": "text/plain", "file_size": 1 })).await.is_problem(409, "key_reused");
}

#[tokio::test]
async fn a_voice_message_keeps_its_length_and_its_waveform() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let group = alice.start_group(&["bob"]).await;
    let ogg = [b"OggS\0\x02\0\0\0\0\0\0\0\0".as_slice(), &[0; 100]].concat();
    let body = json!({
        "file_name": "voice.ogg", "file_type": "audio/ogg; codecs=opus", "file_size": ogg.len(), "kind": "voice",
        "duration_ms": 2_500, "waveform": [0, 120, 255],
    });
    let place = alice.post(PATH, &body).await.body;
    assert_eq!(put(&alice, &place, 0, &ogg).await.status, 204);
    assert_eq!(complete(&alice, &place).await.status, 200);
    let sent = send(&alice, &group, &[&place]).await;
    let shown = &sent.body["attachments"][0];
    assert_eq!((&shown["kind"], &shown["file_type"]), (&json!("voice"), &json!("audio/ogg")), "{sent:?}");
    assert_eq!((&shown["duration_ms"], &shown["waveform"]), (&json!(2_500), &json!([0, 120, 255])));
    assert!(shown.get("thumbnail_url").is_none() && shown.get("width").is_none());
}

#[tokio::test]
async fn what_no_message_brought_in_a_day_is_collected_with_its_bytes() {
    let api = Api::start().await;
    let alice = api.user("alice");
    let group = alice.start_group(&["bob"]).await;
    let blobs = api.blobs.clone().expect("a folder");
    let (sent, left) = (
        upload(&alice, "a.png", "image/png", &png(9, 9)).await,
        upload(&alice, "b.png", "image/png", &png(9, 9)).await,
    );
    let broken_off = reserve(&alice, "c.txt", "text/plain", 10).await;
    assert_eq!(put(&alice, &broken_off, 0, b"half").await.status, 204);
    assert_eq!(send(&alice, &group, &[&sent]).await.status, 201);
    assert_eq!(collect(&*api.store, &blobs).await.expect("collected"), 0);
    api.a_day_passes().await;
    assert_eq!(collect(&*api.store, &blobs).await.expect("collected"), 2);
    let lies = |place: &Value| {
        ["attachments", "thumbnails", "uploads"].map(|folder| api.folder.join(folder).join(id(place)).exists())
    };
    assert_eq!(lies(&sent), [true, true, false]);
    assert_eq!((lies(&left), lies(&broken_off)), ([false; 3], [false; 3]));
    alice.get(&format!("{PATH}/{}", id(&left))).await.is_problem(404, "not_found");
    send(&alice, &group, &[&left]).await.is_problem(404, "not_found");
    assert_eq!(collect(&*api.store, &blobs).await.expect("collected"), 0);
}

#[tokio::test]
async fn a_pod_without_storage_says_that_it_takes_no_attachments() {
    let api = Api::keeping_attachments_in(None).await;
    let alice = api.user("alice");
    let body = json!({ "file_name": "a", "file_type": "text/plain", "file_size": 1 });
    let refused = alice.post(PATH, &body).await;
    let detail = refused.is_problem(503, "unsupported").body["detail"].as_str().expect("a detail");
    assert!(detail.contains("CARILLON_ATTACHMENTS__URL"), "{detail}");
    let group = alice.start_group(&["bob"]).await;
    alice.send(&group, "texts are taken all the same").await;
}
