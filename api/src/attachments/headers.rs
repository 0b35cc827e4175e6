//! What the bytes of an attachment are served with, so that a browser does with them what we think it does.

use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, X_CONTENT_TYPE_OPTIONS,
};
use object_store::{Attribute, Attributes};

use super::model::Attachment;
use super::types::FileType;

/// Whatever the bytes turn out to be, they run no script and load nothing.
const POLICY: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");

/// The headers of an attachment's bytes.
pub(super) fn of_content(attachment: &Attachment) -> HeaderMap {
    let mut headers = safe(&attachment.file_type);
    let disposition = disposition(attachment);
    headers.insert(CONTENT_DISPOSITION, HeaderValue::try_from(disposition).expect("it is escaped to visible ASCII"));
    headers
}

/// The headers of a small picture.
pub(super) fn of_thumbnail() -> HeaderMap {
    let mut headers = safe(THUMBNAIL);
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("inline"));
    headers
}

/// The type of every small picture.
pub(super) const THUMBNAIL: &str = "image/jpeg";

fn safe(file_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    // A type of the registry is visible ASCII.
    let file_type = HeaderValue::from_str(file_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_TYPE, file_type);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
    headers
}

/// The same for a bucket, which serves its bytes itself.
pub(crate) fn attributes(attachment: &Attachment) -> Attributes {
    Attributes::from_iter([
        (Attribute::ContentType, attachment.file_type.clone()),
        (Attribute::ContentDisposition, disposition(attachment)),
        (Attribute::CacheControl, "private".to_owned()),
    ])
}

/// The same of a small picture for a bucket.
pub(super) fn thumbnail_attributes() -> Attributes {
    Attributes::from_iter([(Attribute::ContentType, THUMBNAIL), (Attribute::CacheControl, "private")])
}

/// How a browser shows it, and the name to save it by: RFC 6266, with the name as RFC 8187 has it.
fn disposition(attachment: &Attachment) -> String {
    let inline = FileType::named(&attachment.file_type).is_some_and(FileType::is_shown_inline);
    let mut text = format!("{}; filename*=UTF-8''", if inline { "inline" } else { "attachment" });
    for byte in attachment.file_name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
