//! Handing out bytes: all of them, or one range, straight from storage and never all in memory.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, IF_RANGE, LOCATION, RANGE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt;
use object_store::GetRange;
use shared::protocol::ErrorCode;

use super::model::FiledAttachment;
use super::{Blobs, headers};
use crate::error::Problem;

/// What a `Range` header asks for, of so many bytes.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// All of them.
    Whole,
    /// These.
    Part(Range<u64>),
    /// Some that are not there.
    Beyond,
}

/// The bytes of an attachment that is complete, or the part of them that `asked` names.
pub async fn content(blobs: &Blobs, filed: &FiledAttachment, asked: &HeaderMap) -> Result<Response, Problem> {
    let size = filed.shown.file_size;
    let mut said = headers::of_content(&filed.shown);
    said.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let tag = filed.sha256.as_ref().and_then(|sha256| HeaderValue::from_str(&format!("\"{sha256}\"")).ok());
    if let Some(tag) = &tag {
        said.insert(ETAG, tag.clone());
    }
    // Whoever goes on with another version than this starts anew.
    let another = asked.get(IF_RANGE).is_some_and(|known| Some(known) != tag.as_ref());
    let range = asked.get(RANGE).filter(|_| !another).and_then(|range| range.to_str().ok());
    let (status, part) = match range.map_or(Asked::Whole, |range| parse(range, size)) {
        Asked::Whole => (StatusCode::OK, 0..size),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::Beyond => {
            let problem =
                Problem::new(ErrorCode::BadRequest, format!("there are {size} bytes, and none of that range"));
            let there = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((there, problem.with_status(StatusCode::RANGE_NOT_SATISFIABLE)).into_response());
        }
    };
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        said.insert(CONTENT_RANGE, HeaderValue::try_from(range).expect("numbers are visible ASCII"));
    }
    said.insert(CONTENT_LENGTH, (part.end - part.start).into());
    let bytes = blobs.content(filed.shown.id, Some(GetRange::Bounded(part))).await?;
    Ok((status, said, Body::from_stream(bytes.into_stream().map_err(std::io::Error::other))).into_response())
}

/// The small picture of an attachment.
pub async fn thumbnail(blobs: &Blobs, filed: &FiledAttachment) -> Result<Response, Problem> {
    let picture = blobs.thumbnail(filed.shown.id).await?;
    Ok((headers::of_thumbnail(), picture).into_response())
}

/// Sends a client to where the bytes are. Kept by nobody: the place changes.
pub fn elsewhere(url: &str) -> Result<Response, Problem> {
    let url = HeaderValue::from_str(url).map_err(Problem::internal)?;
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    response.headers_mut().insert(LOCATION, url);
    response.headers_mut().insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Reads a `Range` by RFC 9110, section 14. Several ranges, and units that are not bytes, are answered with everything.
fn parse(range: &str, size: u64) -> Asked {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let part = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..size,
        (Err(_), Ok(last)) if first.trim().is_empty() => size.saturating_sub(last)..size,
        _ => return Asked::Whole,
    };
    if part.is_empty() { Asked::Beyond } else { Asked::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_range_is_read_and_everything_else_is_the_whole() {
        for (range, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=10-19", Asked::Part(10..20)),
            ("bytes=90-", Asked::Part(90..100)),
            ("bytes=90-1000", Asked::Part(90..100)),
            ("bytes=-10", Asked::Part(90..100)),
            ("bytes=-1000", Asked::Part(0..100)),
            ("bytes=0-18446744073709551615", Asked::Part(0..100)),
            ("bytes=100-", Asked::Beyond),
            ("bytes=-0", Asked::Beyond),
            ("bytes=20-10", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
        ] {
            assert_eq!(parse(range, 100), asked, "{range}");
        }
    }
}
