//! Attachments to be uploaded: the announcement goes in, a draft or a problem comes out.

use serde_json::Value;
use shared::ids::AttachmentId;

use super::model::{AttachmentDraft, AttachmentKind};
use super::types::FileType;
use crate::error::Problem;
use crate::fields::Fields;
use crate::request::Once;

/// Characters of the longest name.
const FILE_NAME: usize = 255;
/// Milliseconds of the longest voice message: four hours.
const DURATION: u64 = 4 * 60 * 60 * 1000;
/// Numbers of the longest waveform.
const WAVEFORM: usize = 128;
/// Bytes of the largest picture, whatever else may be larger: it is held in memory to be made small.
const PICTURE: u64 = 32 * 1024 * 1024;

/// A file to be uploaded.
#[derive(utoipa::ToSchema)]
#[schema(example = json!({ "file_name": "beach.jpg", "file_type": "image/jpeg", "file_size": 48213 }))]
pub struct NewAttachment {
    /// What to call it: 1 to 255 characters, without path separators and control characters.
    #[schema(min_length = 1, max_length = 255)]
    pub file_name: String,
    /// Its media type: PNG, JPEG, GIF, WebP, PDF, plain text, CSV, zip, documents of the usual office programs, sound as Ogg,
    /// MP4, MPEG, WAV or WebM, and video as MP4 or WebM.
    pub file_type: String,
    /// Its bytes. The upload must have as many.
    #[schema(minimum = 1)]
    pub file_size: u64,
    /// How to show it. If it is not said: a picture as an image, everything else as a file.
    pub kind: Option<AttachmentKind>,
    /// SHA-256 in hex. If it is said, the upload must have it.
    #[schema(min_length = 64, max_length = 64)]
    pub sha256: Option<String>,
    /// Of a voice message: how long it lasts, at most four hours.
    #[schema(maximum = 14_400_000)]
    pub duration_ms: Option<u64>,
    /// Of a voice message: at most 128 numbers from 0 to 255.
    #[schema(max_items = 128)]
    pub waveform: Option<Vec<u8>>,
}

/// Reads a [`NewAttachment`] of at most `most` bytes.
///
/// # Errors
///
/// Names every field that is wrong, or the type that is not taken.
pub fn attachment(mut body: Fields, once: Once, most: u64) -> Result<AttachmentDraft, Problem> {
    let file_name = file_name(&mut body);
    let file_type = file_type(&mut body);
    let file_size =
        file_size(&mut body, if file_type.is_some_and(FileType::is_picture) { most.min(PICTURE) } else { most });
    let kind = kind(&mut body, file_type);
    let sha256 = sha256(&mut body);
    let duration_ms = body.optional("duration_ms").filter(|duration| {
        let fits = *duration <= DURATION && kind == AttachmentKind::Voice;
        if !fits {
            body.wrong("duration_ms", format_args!("must be at most {DURATION}, and is for voice messages only"));
        }
        fits
    });
    let waveform = body.optional("waveform").filter(|waveform: &Vec<u8>| {
        let fits = waveform.len() <= WAVEFORM && kind == AttachmentKind::Voice;
        if !fits {
            body.wrong("waveform", format_args!("must be at most {WAVEFORM} numbers, and is for voice messages only"));
        }
        fits
    });
    body.finish(|| {
        Some(AttachmentDraft {
            id: AttachmentId::new(),
            file_name: file_name?,
            file_type: file_type?.name.to_owned(),
            file_size: file_size?,
            kind,
            sha256,
            duration_ms,
            waveform,
            idempotency_key: once.0,
        })
    })
}

/// The name, for people only: storage never sees it.
fn file_name(body: &mut Fields) -> Option<String> {
    let name = body.required_text("file_name", 1..=FILE_NAME)?;
    if name.chars().any(|letter| letter.is_control() || "/\\".contains(letter) || turns_direction(letter)) {
        body.wrong("file_name", "must not contain path separators or control characters");
        return None;
    }
    if matches!(name.trim(), "." | "..") {
        body.wrong("file_name", "must be a name and not a folder");
        return None;
    }
    Some(name)
}

/// Whether a character turns the direction of writing: by such a one `gpj.exe` is read as `exe.jpg`.
const fn turns_direction(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The type; a word that names none of the registry is one that is not offered.
fn file_type(body: &mut Fields) -> Option<&'static FileType> {
    let text: String = body.required("file_type")?;
    let found = FileType::named(&text);
    if found.is_none() {
        // What finish() answers then does not look at the draft.
        body.unsupported("file_type", "is not among the types that are taken");
    }
    found
}

fn file_size(body: &mut Fields, most: u64) -> Option<u64> {
    let size = body.required("file_size")?;
    if (1..=most).contains(&size) {
        return Some(size);
    }
    body.wrong("file_size", format_args!("must be 1 to {most} for such a file"));
    None
}

fn kind(body: &mut Fields, file_type: Option<&FileType>) -> AttachmentKind {
    let is_picture = file_type.is_some_and(FileType::is_picture);
    let Some(word) = body.optional::<String>("kind") else {
        return if is_picture { AttachmentKind::Image } else { AttachmentKind::File };
    };
    let kind = serde_json::from_value(Value::from(word));
    match (&kind, file_type) {
        (Err(error), _) => body.unsupported("kind", format_args!("is not offered: {error}")),
        (Ok(AttachmentKind::Image), Some(_)) if !is_picture => body.wrong("kind", "image is for pictures only"),
        (Ok(AttachmentKind::Voice), Some(file_type)) if !file_type.is_sound() => {
            body.wrong("kind", "voice is for sound only");
        }
        _ => {}
    }
    kind.unwrap_or(AttachmentKind::File)
}

fn sha256(body: &mut Fields) -> Option<String> {
    let text: String = body.optional("sha256")?;
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(text.to_ascii_lowercase());
    }
    body.wrong("sha256", "must be 64 hexadecimal digits");
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: &Value) -> Result<AttachmentDraft, Problem> {
        let mut body = json!({ "file_name": "a.ogg", "file_type": "audio/ogg", "file_size": 7, "kind": "voice" });
        for (field, value) in changes.as_object().expect("an object") {
            body[field] = value.clone();
        }
        attachment(Fields::of_json(body.to_string().as_bytes()).expect("an object"), Once(None), 1_000)
    }

    #[test]
    fn a_name_is_kept_as_it_is_and_never_a_path() {
        for name in ["a.png", "Rechnung (2).pdf", "写真.jpg", ".hidden", "con", "a..b"] {
            assert_eq!(read(&json!({ "file_name": name })).expect("a draft").file_name, name);
        }
        for name in ["../a", "a/b", "a\\b", "..", ".", "a\nb", "a\0b", "", " ", "a\u{202e}gnp.exe", &"x".repeat(256)] {
            assert!(read(&json!({ "file_name": name })).is_err(), "{name:?}");
        }
    }

    #[test]
    fn sizes_lengths_and_waveforms_have_limits() {
        for good in [json!({ "duration_ms": 14_400_000, "waveform": vec![255; 128] }), json!({ "file_size": 1_000 })] {
            assert!(read(&good).is_ok(), "{good}");
        }
        for wrong in [
            json!({ "duration_ms": 14_400_001 }),
            json!({ "waveform": vec![0; 129] }),
            json!({ "waveform": [256] }),
            json!({ "file_size": 0 }),
            json!({ "file_size": 1_001 }),
            json!({ "file_size": -1 }),
            json!({ "sha256": "abc" }),
            json!({ "kind": "file", "duration_ms": 5 }),
            json!({ "kind": "image" }),
            json!({ "kind": "voice", "file_type": "image/png" }),
            json!({ "kind": "hologram" }),
            json!({ "file_type": "image/svg+xml" }),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
