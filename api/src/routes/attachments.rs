//! `/api/v1/attachments`: announce a file, upload it, have it looked at, read it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::response::Response;
use serde::Serialize;
use shared::access::Caller;
use shared::ids::AttachmentId;
use shared::limits::Deed;
use shared::protocol::ErrorCode;
use shared::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Made;
use crate::attachments::draft::{self, NewAttachment};
use crate::attachments::model::{Attachment, AttachmentState, FiledAttachment, content_url};
use crate::attachments::{Links, inspect, receive, serve};
use crate::error::Problem;
use crate::fields::{Fields, Id, Parameters};
use crate::openapi::{Creating, Problems};
use crate::request::Once;
use crate::state::{App, Attachments};
use crate::store::{Kept, StoreError};

/// How long a link for an upload straight to a bucket leads there.
const UPLOAD_LINK: Duration = Duration::from_secs(60 * 60);
/// How long a link for reading straight from a bucket leads there.
const READ_LINK: Duration = Duration::from_secs(5 * 60);

/// The routes of this file.
pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(reserve))
        .routes(routes!(show))
        .routes(routes!(complete))
        .routes(routes!(read, upload, progress))
        .routes(routes!(thumbnail))
}

/// A place for a file, and how to fill it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Reserved {
    /// Its id: for `complete`, and for `attachment_ids` of a message.
    #[schema(value_type = uuid::Uuid)]
    pub id: AttachmentId,
    /// How far it is.
    pub state: AttachmentState,
    /// Where its bytes go. Relative to this server if the pods take them, and then it needs the token.
    pub upload_url: String,
    /// The method.
    #[schema(examples("PUT"))]
    pub method: &'static str,
    /// The headers that the upload must have.
    pub headers: BTreeMap<String, String>,
    /// Until when the bytes can go there. The same request with the same `Idempotency-Key` answers a fresh link.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub expires_at: Timestamp,
}

/// An attachment, with links that need no token and lead to its bytes for five minutes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LinkedAttachment {
    /// The attachment. Its links are short-lived ones.
    #[serde(flatten)]
    pub shown: Attachment,
    /// How far it is. Its bytes can be read once it is complete.
    pub state: AttachmentState,
    /// SHA-256 in hex.
    pub sha256: Option<String>,
    /// Until when the links lead there.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    pub url_expires_at: Timestamp,
}

/// Announce a file
///
/// Then send its bytes to `upload_url`, complete it, and name it in a message within 24 hours. The types that are taken are
/// pictures, sound, video, PDF, plain text, CSV, zip and the usual office documents.
#[utoipa::path(
    post, operation_id = "reserve_attachment",
    path = "/api/v1/attachments", tag = "attachments", params(Creating), request_body = NewAttachment,
    responses(
        (status = 201, description = "Reserved.", body = Reserved),
        (status = 200, description = "It was reserved already: the first one.", body = Reserved),
        Problems,
    ),
)]
async fn reserve(State(app): State<App>, caller: Caller, once: Once, body: Fields) -> Result<Made<Reserved>, Problem> {
    let attachments = app.attachments()?;
    let draft = draft::attachment(body, once, attachments.max_bytes)?;
    app.limits.check(Deed::Upload, &caller).await?;
    let kept = app.store.reserve(&caller, &draft).await?;
    let value = place(attachments, &kept.value).await?;
    Ok(Made(Kept { value, created: kept.created, envelopes: kept.envelopes }))
}

async fn place(attachments: &Attachments, filed: &FiledAttachment) -> Result<Reserved, Problem> {
    let Attachment { id, file_type, .. } = &filed.shown;
    let file_type = HeaderValue::from_str(file_type).map_err(Problem::internal)?;
    // Not its length, which no bucket is told by such a link: completing finds it out.
    let signed = HeaderMap::from_iter([(CONTENT_TYPE, file_type)]);
    let headers = |headers: &HeaderMap| {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
    };
    let (id, state, method) = (*id, filed.state, "PUT");
    let given_up = filed.expires_at.unwrap_or_else(Timestamp::now);
    Ok(match attachments.blobs.upload_link(id, signed.clone(), UPLOAD_LINK).await? {
        Some(upload_url) => {
            let ends = Timestamp::now().as_micros() + i64::try_from(UPLOAD_LINK.as_micros()).unwrap_or(0);
            let expires_at = given_up.min(Timestamp::from_micros(ends));
            Reserved { id, state, upload_url, method, headers: headers(&signed), expires_at }
        }
        None => {
            let offset = HeaderMap::from_iter([(receive::UPLOAD_OFFSET, HeaderValue::from(0))]);
            Reserved { id, state, upload_url: content_url(id), method, headers: headers(&offset), expires_at: given_up }
        }
    })
}

/// Complete an attachment
///
/// Looks at what was uploaded. What is not what was announced is deleted, and can be sent again. Doing it twice is doing it
/// once.
#[utoipa::path(
    post, operation_id = "complete_attachment",
    path = "/api/v1/attachments/{id}/complete", tag = "attachments",
    params(("id" = uuid::Uuid, Path, description = "The attachment.")),
    responses((status = 200, description = "Complete.", body = LinkedAttachment), Problems),
)]
async fn complete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<AttachmentId>,
) -> Result<Json<LinkedAttachment>, Problem> {
    let filed = inspect::complete(&*app.store, &app.attachments()?.blobs, &caller, id).await?;
    Ok(Json(linked(&app.links, filed)))
}

/// Look at an attachment
///
/// Open to its uploader until a message has brought it, and from then on to whoever sees the message.
#[utoipa::path(
    get, operation_id = "show_attachment",
    path = "/api/v1/attachments/{id}", tag = "attachments",
    params(("id" = uuid::Uuid, Path, description = "The attachment.")),
    responses((status = 200, description = "The attachment.", body = LinkedAttachment), Problems),
)]
async fn show(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<AttachmentId>,
) -> Result<Json<LinkedAttachment>, Problem> {
    app.attachments()?;
    Ok(Json(linked(&app.links, app.store.attachment(Some(&caller), id).await?)))
}

/// The attachment, with links made now.
pub(super) fn linked(
    links: &Links,
    FiledAttachment { mut shown, state, sha256, .. }: FiledAttachment,
) -> LinkedAttachment {
    let url_expires_at = Links::expiry();
    shown.url = links.sign(&shown.url, url_expires_at);
    shown.thumbnail_url = shown.thumbnail_url.map(|url| links.sign(&url, url_expires_at));
    LinkedAttachment { shown, state, sha256, url_expires_at }
}

/// Read the bytes of an attachment
///
/// With a token, or by the link that looking at it answered. One range of bytes can be asked for. Where they lie in a bucket,
/// the answer leads there.
#[utoipa::path(
    get, operation_id = "read_attachment",
    path = "/api/v1/attachments/{id}/content", tag = "attachments", security((), ("bearer" = [])),
    params(
        ("id" = uuid::Uuid, Path, description = "The attachment."),
        ("expires" = Option<i64>, Query, description = "Of a link: when it ends."),
        ("signature" = Option<String>, Query, description = "Of a link: what vouches for it."),
        ("Range" = Option<String>, Header, description = "Which bytes, like `bytes=0-1023`."),
    ),
    responses(
        (status = 200, description = "All bytes, as the media type that was announced.", content_type = "*/*"),
        (status = 206, description = "The range.", content_type = "*/*"),
        (status = 307, description = "They are in a bucket, at `Location`."),
        (status = 416, description = "There is no such range.", body = crate::error::ProblemDocument,
         content_type = "application/problem+json"),
        Problems,
    ),
)]
async fn read(State(app): State<App>, Seen(filed): Seen, headers: HeaderMap) -> Result<Response, Problem> {
    let blobs = &app.attachments()?.blobs;
    match blobs.content_link(filed.shown.id, READ_LINK).await? {
        Some(url) => serve::elsewhere(&url),
        None => serve::content(blobs, &filed, &headers).await,
    }
}

/// Read the small picture of an attachment
///
/// With a token, or by the link that looking at it answered. At most 320 pixels a side, JPEG.
#[utoipa::path(
    get, operation_id = "read_thumbnail",
    path = "/api/v1/attachments/{id}/thumbnail", tag = "attachments", security((), ("bearer" = [])),
    params(
        ("id" = uuid::Uuid, Path, description = "The attachment."),
        ("expires" = Option<i64>, Query, description = "Of a link: when it ends."),
        ("signature" = Option<String>, Query, description = "Of a link: what vouches for it."),
    ),
    responses(
        (status = 200, description = "The picture.", content_type = "image/jpeg"),
        (status = 307, description = "It is in a bucket, at `Location`."),
        Problems,
    ),
)]
async fn thumbnail(State(app): State<App>, Seen(filed): Seen) -> Result<Response, Problem> {
    let blobs = &app.attachments()?.blobs;
    if filed.shown.thumbnail_url.is_none() {
        return Err(Problem::new(ErrorCode::NotFound, "there is no small picture of it"));
    }
    match blobs.thumbnail_link(filed.shown.id, READ_LINK).await? {
        Some(url) => serve::elsewhere(&url),
        None => serve::thumbnail(blobs, &filed).await,
    }
}

/// Upload the bytes of an attachment
///
/// From `Upload-Offset` on, 0 if it is not said. When it breaks off, `HEAD` answers how far it came, and another `PUT` goes on
/// from there.
#[utoipa::path(
    put, operation_id = "upload_attachment",
    path = "/api/v1/attachments/{id}/content", tag = "attachments",
    params(
        ("id" = uuid::Uuid, Path, description = "The attachment."),
        ("Upload-Offset" = Option<u64>, Header, description = "Where the body begins."),
    ),
    request_body(content_type = "application/octet-stream"),
    responses((status = 204, description = "Taken, up to `Upload-Offset`."), Problems),
)]
async fn upload(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<AttachmentId>,
    request: Request,
) -> Result<Response, Problem> {
    let (filed, attachments) = (inspect::reserved_by(&*app.store, &caller, id).await?, app.attachments()?);
    if filed.state != AttachmentState::Reserved {
        return Err(Problem::new(ErrorCode::Conflict, "it is complete, and its bytes stay as they are"));
    }
    let (parts, body): (_, Body) = request.into_parts();
    receive::append(&attachments.blobs, &filed, &parts.headers, body).await
}

/// Ask how far an upload is
///
/// `Upload-Offset` says how many bytes are there. Once it is complete: the headers of its bytes.
#[utoipa::path(
    head, operation_id = "ask_upload",
    path = "/api/v1/attachments/{id}/content", tag = "attachments",
    params(("id" = uuid::Uuid, Path, description = "The attachment.")),
    responses(
        (status = 204, description = "`Upload-Offset` and `Upload-Complete`."),
        (status = 200, description = "It is complete."),
        Problems,
    ),
)]
async fn progress(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<AttachmentId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let filed = app.store.attachment(Some(&caller), id).await?;
    if filed.state == AttachmentState::Reserved {
        return receive::progress(&app.attachments()?.blobs, &filed).await;
    }
    read(State(app), Seen(filed), headers).await
}

/// An attachment whose bytes are there and which whoever asks may see: by a token, or by a link.
struct Seen(FiledAttachment);

impl FromRequestParts<App> for Seen {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Parameters(mut query) = Parameters::from_request_parts(parts, app).await?;
        let (expires, signature) = (query.parameter("expires"), query.parameter::<String>("signature"));
        let caller = match (expires, &signature) {
            (Some(expires), Some(signature)) => {
                if !app.links.are_right(parts.uri.path(), expires, signature) {
                    return Err(Problem::new(ErrorCode::Forbidden, "the link has ended, or was never one of ours"));
                }
                None
            }
            _ => Some(Caller::from_request_parts(parts, app).await?),
        };
        query.finish(|| Some(()))?;
        let Id(id) = Id::from_request_parts(parts, app).await?;
        let filed = app.store.attachment(caller.as_ref(), id).await?;
        match filed.state {
            AttachmentState::Complete | AttachmentState::Attached => Ok(Self(filed)),
            AttachmentState::Reserved => Err(StoreError::NotComplete(id).into()),
            AttachmentState::Expired => Err(StoreError::NoAttachment(id).into()),
        }
    }
}

/// How long a request of this file may take, where it is longer than others: bytes take their time.
pub(crate) fn deadline(method: &Method, route: &str) -> Option<Duration> {
    match route.strip_prefix("/api/v1/attachments/{id}/")? {
        // Whoever sends nothing for a while is given up before.
        "content" if method == Method::PUT => Some(Duration::from_secs(60 * 60)),
        "complete" => Some(Duration::from_secs(60)),
        _ => None,
    }
}
