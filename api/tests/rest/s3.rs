//! Attachments in a bucket: clients write and read there by themselves, by links that the pod signs.

use api::attachments::Blobs;
use api::config::AttachmentSettings;
use fleet::servers::s3::{BUCKET, S3};
use reqwest::{Client, Method, Response, redirect};
use serde_json::{Value, json};
use shared::config::{Address, Secret, Value as _};

use super::dsl::{Api, User, answer};

const PATH: &str = "/api/v1/attachments";

/// A pod whose attachments lie in the bucket.
async fn pod(s3: &S3) -> Api {
    let settings = AttachmentSettings {
        url: Address::parse(&format!("s3://{BUCKET}/of/this/fleet")),
        s3_endpoint: Address::parse(&s3.endpoint()),
        s3_access_key_id: Some("key".to_owned()),
        s3_secret_access_key: Some(Secret::new("secret")),
        ..AttachmentSettings::default()
    };
    Api::keeping_attachments_in(Blobs::open(&settings, None).expect("it can be named")).await
}

async fn reserve(user: &User<'_>, body: &Value) -> Value {
    let place = user.post(PATH, body).await;
    assert_eq!(place.status, 201, "{place:?}");
    place.body
}

/// Uploads as the place says.
async fn upload(place: &Value, bytes: &[u8]) -> Response {
    let mut request = Client::new().put(place["upload_url"].as_str().expect("a URL"));
    for (name, value) in place["headers"].as_object().expect("headers") {
        request = request.header(name, value.as_str().expect("a text"));
    }
    request.body(bytes.to_vec()).send().await.expect("the bucket answers")
}

#[tokio::test]
async fn a_picture_goes_straight_to_the_bucket_and_is_read_from_there() {
    let s3 = S3::start().await.expect("`make servers` installs it");
    let api = pod(&s3).await;
    let (alice, bob) = (api.user("alice"), api.user("bob"));
    let group = alice.start_group(&["bob"]).await;
    let mut picture = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(400, 300).write_to(&mut picture, image::ImageFormat::Png).expect("a picture");
    let picture = picture.into_inner();
    let body = json!({ "file_name": "a.png", "file_type": "image/png", "file_size": picture.len() });
    let place = reserve(&alice, &body).await;
    assert!(place["upload_url"].as_str().expect("a URL").starts_with(&s3.endpoint()), "{place}");
    assert_eq!(place["headers"], json!({ "content-type": "image/png" }));
    let id = place["id"].as_str().expect("an id");

    alice.post(&format!("{PATH}/{id}/complete"), &json!({})).await.is_problem(409, "conflict");
    assert_eq!(upload(&place, &picture).await.status(), 200);
    let done = alice.post(&format!("{PATH}/{id}/complete"), &json!({})).await;
    assert_eq!((done.status, &done.body["width"], &done.body["height"]), (200, &json!(400), &json!(300)), "{done:?}");
    let body = json!({ "conversation_id": group, "attachment_ids": [id] });
    assert_eq!(alice.post("/api/v1/messages/messages", &body).await.status, 201);

    // Writing again changes nothing that anybody sees.
    upload(&place, b"something else").await;
    let (content, thumbnail) = (format!("{PATH}/{id}/content"), format!("{PATH}/{id}/thumbnail"));
    let read = bob.request(Method::GET, &content).send().await.expect("the pod leads there");
    assert!(read.url().as_str().starts_with(&s3.endpoint()), "{}", read.url());
    let header = |name: &str| read.headers()[name].to_str().expect("ASCII").to_owned();
    assert_eq!(header("content-type"), "image/png");
    assert_eq!(header("content-disposition"), "inline; filename*=UTF-8''a.png");
    assert_eq!(read.bytes().await.expect("bytes"), picture);
    let small = bob.request(Method::GET, &thumbnail).send().await.expect("the pod leads there");
    assert_eq!(small.headers()["content-type"], "image/jpeg");
    api.user("eve").get(&content).await.is_problem(404, "not_found");

    let to_the_pod = Client::builder().redirect(redirect::Policy::none()).build().expect("a client");
    let shown = bob.get(&format!("{PATH}/{id}")).await;
    let link = format!("{}{}", api.url, shown.body["url"].as_str().expect("a link"));
    let led = to_the_pod.get(link).send().await.expect("an answer");
    assert_eq!((led.status().as_u16(), &led.headers()["cache-control"]), (307, &"no-store".parse().expect("a value")));
}

#[tokio::test]
async fn what_is_wrong_is_deleted_from_the_bucket_and_so_is_what_nobody_sent() {
    let s3 = S3::start().await.expect("`make servers` installs it");
    let api = pod(&s3).await;
    let alice = api.user("alice");
    let exe = b"MZ\x90\0\x03\0\0\0\x04\0\0\0";
    let body = json!({ "file_name": "a.png", "file_type": "image/png", "file_size": exe.len() });
    let place = reserve(&alice, &body).await;
    let complete = format!("{PATH}/{}/complete", place["id"].as_str().expect("an id"));
    assert_eq!(upload(&place, exe).await.status(), 200);
    alice.post(&complete, &json!({})).await.is_problem(400, "unsupported");
    assert_eq!(objects(&s3).await, 0);
    assert_eq!(upload(&place, b"fourteen bytes").await.status(), 200);
    alice.post(&complete, &json!({})).await.is_problem(413, "too_large");
    assert_eq!(objects(&s3).await, 0);
    assert_eq!(upload(&place, exe).await.status(), 200);
    api.a_day_passes().await;
    let blobs = api.blobs.clone().expect("it has some");
    assert_eq!(api::worker::attachments::collect(&*api.store, &blobs).await.expect("collected"), 1);
    assert_eq!(objects(&s3).await, 0);
}

async fn objects(s3: &S3) -> usize {
    let listed = Client::new().get(format!("{}/{BUCKET}", s3.endpoint())).send().await.expect("an answer");
    listed.text().await.expect("a text").matches("<Key>").count()
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_is_unavailable_and_nothing_is_lost() {
    let s3 = S3::start().await.expect("`make servers` installs it");
    let api = pod(&s3).await;
    let alice = api.user("alice");
    let place = reserve(&alice, &json!({ "file_name": "a", "file_type": "text/plain", "file_size": 1 })).await;
    drop(s3);
    let complete = format!("{PATH}/{}/complete", place["id"].as_str().expect("an id"));
    let refused = answer(alice.request(Method::POST, &complete)).await;
    refused.is_problem(503, "unavailable");
}
