//! Reading what callers send, field by field, so that everything that is wrong is told at once.
//!
//! On the line it stands before the draft: a body or a query goes in, and either every field was fine or the caller gets
//! one problem that names each that was not. Fields nobody asked for are refused: a misspelt one must not pass in silence.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use shared::ids::Seq;
use shared::protocol::ErrorCode;

use crate::error::{FieldError, Problem};

/// Bytes of the largest body that callers may send.
pub const BODY: usize = 64 * 1024;

/// Wrong fields that one problem names at most.
const NAMED: usize = 50;

/// The fields of a JSON object or of a query, and what is wrong with them so far.
pub struct Fields {
    given: Map<String, Value>,
    wrong: Vec<FieldError>,
    unsupported: Vec<FieldError>,
}

impl Fields {
    /// Takes the fields of a JSON object.
    ///
    /// # Errors
    ///
    /// When `body` is no JSON object.
    pub fn of_json(body: &[u8]) -> Result<Self, Problem> {
        // A request without a body says nothing, which may be enough.
        let body = if body.is_empty() { b"{}" } else { body };
        match serde_json::from_slice(body) {
            Ok(Value::Object(given)) => Ok(Self { given, wrong: Vec::new(), unsupported: Vec::new() }),
            Ok(_) => Err(Problem::new(ErrorCode::BadRequest, "the body is not a JSON object")),
            Err(error) => Err(Problem::new(ErrorCode::BadRequest, format!("the body is not JSON: {error}"))),
        }
    }

    /// Notes that a field is wrong.
    pub fn wrong(&mut self, field: &str, detail: impl Display) {
        self.wrong.push(FieldError { field: field.to_owned(), detail: detail.to_string() });
    }

    /// Notes that a field asks for something that is not offered.
    pub fn unsupported(&mut self, field: &str, detail: impl Display) {
        self.unsupported.push(FieldError { field: field.to_owned(), detail: detail.to_string() });
    }

    /// Takes a field as it was given; `null` is the same as nothing.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.given.remove(field).filter(|value| !value.is_null())
    }

    /// Reads a field that may be missing.
    pub fn optional<T: DeserializeOwned>(&mut self, field: &str) -> Option<T> {
        let value = self.take(field)?;
        serde_json::from_value(value).map_err(|error| self.wrong(field, format_args!("is wrong: {error}"))).ok()
    }

    /// Reads a field that must be there.
    pub fn required<T: DeserializeOwned>(&mut self, field: &str) -> Option<T> {
        self.require(field);
        self.optional(field)
    }

    /// Reads a field that may be missing, or be `null` and mean it.
    pub fn nullable<T: DeserializeOwned>(&mut self, field: &str) -> Option<Option<T>> {
        match self.given.get(field) {
            Some(Value::Null) => {
                self.given.remove(field);
                Some(None)
            }
            _ => self.optional(field).map(Some),
        }
    }

    /// Whether a field is given.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.given.contains_key(field)
    }

    /// Puts a field back that was taken, to be read otherwise.
    pub fn put(&mut self, field: &str, value: Value) {
        self.given.insert(field.to_owned(), value);
    }

    /// Whether nothing at all is given, or left to be read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Reads a message number, not below `least`, that may be missing. One that no database column can hold is wrong.
    pub fn seq(&mut self, field: &str, least: i64) -> Option<Seq> {
        let number: i64 = self.optional(field)?;
        if number < least {
            self.wrong(field, format_args!("must be at least {least}"));
            return None;
        }
        Some(Seq(number.unsigned_abs()))
    }

    /// Notes a field that is missing.
    pub fn require(&mut self, field: &str) {
        if self.given.get(field).is_none_or(Value::is_null) {
            self.wrong(field, "is missing");
        }
    }

    /// Reads a text of so many characters that must be there.
    pub fn required_text(&mut self, field: &str, characters: RangeInclusive<usize>) -> Option<String> {
        self.require(field);
        self.text(field, characters)
    }

    /// Reads a text of so many characters that may be missing.
    pub fn text(&mut self, field: &str, characters: RangeInclusive<usize>) -> Option<String> {
        let text: String = self.optional(field)?;
        let (fewest, most) = characters.into_inner();
        if !(fewest..=most).contains(&text.chars().count()) {
            self.wrong(field, format_args!("must be {fewest} to {most} characters"));
        } else if text.contains('\0') {
            self.wrong(field, "must not contain U+0000");
        } else if fewest > 0 && text.trim().is_empty() {
            self.wrong(field, "must not be blank");
        } else {
            return Some(text);
        }
        None
    }

    /// Reads a parameter of a query that may be missing.
    pub fn parameter<T: FromStr<Err: Display>>(&mut self, field: &str) -> Option<T> {
        let value = self.take(field)?;
        let text = value.as_str().unwrap_or_default();
        text.parse().map_err(|error| self.wrong(field, format_args!("is wrong: {error}"))).ok()
    }

    /// Reads `limit`: how many items a page has at most. 50 if it is not said, at most 100.
    pub fn limit(&mut self) -> u32 {
        match self.parameter("limit") {
            Some(limit @ 1..=100) => limit,
            Some(_) => {
                self.wrong("limit", "must be 1 to 100");
                50
            }
            None => 50,
        }
    }

    /// Makes something of the fields read; `made` answers `None` only where a field it needs was wrong or missing.
    ///
    /// # Errors
    ///
    /// Names every field that was wrong, and every one that nobody asked for: up to 50 of them.
    pub fn finish<T>(mut self, made: impl FnOnce() -> Option<T>) -> Result<T, Problem> {
        for field in std::mem::take(&mut self.given).into_iter().map(|(field, _)| field) {
            self.wrong(&field, "is not known here");
        }
        match (self.wrong.is_empty(), self.unsupported.is_empty()) {
            (true, true) => Ok(made().expect("what is missing was noted as wrong")),
            (true, false) => Err(Problem::fields(ErrorCode::Unsupported, self.unsupported)),
            (false, _) => {
                self.wrong.append(&mut self.unsupported);
                self.wrong.truncate(NAMED);
                Err(Problem::fields(ErrorCode::BadRequest, self.wrong))
            }
        }
    }
}

/// The fields of the body, which must be a JSON object of at most [`BODY`] bytes.
impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let problem = Problem::new(ErrorCode::Unsupported, "the content-type is not application/json");
            return Err(problem.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        Self::of_json(&read(request, BODY).await?)
    }
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
///
/// `too_large` beyond that, `bad_request` when the body ends before it should.
pub async fn read(request: Request, most: usize) -> Result<Bytes, Problem> {
    match Limited::new(request.into_body(), most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Problem::new(ErrorCode::TooLarge, format!("a body has at most {most} bytes")))
        }
        Err(_) => Err(Problem::new(ErrorCode::BadRequest, "the body is incomplete")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let mime = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    mime.eq_ignore_ascii_case("application/json")
}

/// The parameters of a query.
pub struct Parameters(pub Fields);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::new(ErrorCode::BadRequest, error.body_text()))?;
        let mut fields = Fields { given: Map::new(), wrong: Vec::new(), unsupported: Vec::new() };
        for (field, value) in pairs {
            if fields.given.insert(field.clone(), Value::String(value)).is_some() {
                fields.wrong(&field, "is given twice");
            }
        }
        Ok(Self(fields))
    }
}

/// The id at the end of a path.
pub struct Id<T>(pub T);

impl<S: Send + Sync, T: FromStr<Err: Display>> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::field("id", error.body_text()))?;
        text.parse().map(Self).map_err(|error| Problem::field("id", format!("is wrong: {error}")))
    }
}

/// The id in the middle of a path, and what its last part names.
pub struct IdAnd<T, U>(pub T, pub U);

impl<S: Send + Sync, T: FromStr<Err: Display>, U: FromStr<Err: Display>> FromRequestParts<S> for IdAnd<T, U> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, last)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::field("id", error.body_text()))?;
        let id = id.parse().map_err(|error| Problem::field("id", format!("is wrong: {error}")))?;
        let name = parts
            .extensions
            .get()
            .and_then(|path: &MatchedPath| Some(path.as_str().rsplit('/').next()?.trim_matches(['{', '}']).to_owned()));
        let wrong = |error| Problem::field(name.as_deref().unwrap_or("path"), format!("is wrong: {error}"));
        Ok(Self(id, last.parse().map_err(wrong)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let mut fields = Fields::of_json(br#"{"name":" ","age":"x","colour":1}"#).expect("an object");
        let name = fields.text("name", 1..=5);
        let age: Option<u8> = fields.required("age");
        let place: Option<String> = fields.required("place");
        let problem = fields.finish(|| Some((name?, age?, place?))).expect_err("all of it is wrong");
        let document = format!("{problem:?}");
        for field in ["name", "age", "place", "colour"] {
            assert!(document.contains(&format!("field: {field:?}")), "{document}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_reading_panic(body: Vec<u8>) {
            if let Ok(mut fields) = Fields::of_json(&body) {
                let text = fields.text("a", 0..=3);
                let _ = fields.finish(|| Some(text));
            }
        }
    }
}
