//! The registry of media types that are taken, and how each is recognised.
//!
//! What nobody opens in a chat is not in it, and what could run a script in a browser (HTML, SVG) must never be.

/// A media type that is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileType {
    /// Its name, by which it is kept.
    pub(super) name: &'static str,
    /// Other names that browsers and phones give it.
    also: &'static [&'static str],
    /// What its first bytes may look like, as `infer` names it; nothing for text, which has no mark.
    looks_like: &'static [&'static str],
}

/// A row of the registry.
const fn row(name: &'static str, also: &'static [&'static str], looks_like: &'static [&'static str]) -> FileType {
    FileType { name, also, looks_like }
}

const ZIP: &str = "application/zip";
const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
const PPTX: &str = "application/vnd.openxmlformats-officedocument.presentationml.presentation";
const ODT: &str = "application/vnd.oasis.opendocument.text";
const ODS: &str = "application/vnd.oasis.opendocument.spreadsheet";
const ODP: &str = "application/vnd.oasis.opendocument.presentation";

const REGISTRY: &[FileType] = &[
    row("image/png", &[], &["image/png"]),
    row("image/jpeg", &["image/jpg"], &["image/jpeg"]),
    row("image/gif", &[], &["image/gif"]),
    row("image/webp", &[], &["image/webp"]),
    row("application/pdf", &[], &["application/pdf"]),
    row("text/plain", &[], &[]),
    row("text/csv", &[], &[]),
    // The marks of an office document may lie beyond its first bytes; what is left is a zip, and a zip is harmless.
    row(DOCX, &[], &[DOCX, ZIP]),
    row(XLSX, &[], &[XLSX, ZIP]),
    row(PPTX, &[], &[PPTX, ZIP]),
    row(ODT, &[], &[ODT, ZIP]),
    row(ODS, &[], &[ODS, ZIP]),
    row(ODP, &[], &[ODP, ZIP]),
    row(ZIP, &["application/x-zip-compressed"], &[ZIP, DOCX, XLSX, PPTX, ODT, ODS, ODP]),
    row("audio/ogg", &["audio/opus"], &["audio/ogg", "audio/opus"]),
    row("audio/mp4", &["audio/m4a", "audio/x-m4a"], &["audio/m4a", "video/mp4"]),
    row("audio/mpeg", &["audio/mp3"], &["audio/mpeg"]),
    row("audio/wav", &["audio/x-wav", "audio/wave"], &["audio/x-wav"]),
    row("audio/webm", &[], &["video/webm", "video/x-matroska"]),
    row("video/mp4", &[], &["video/mp4", "video/x-m4v"]),
    row("video/webm", &[], &["video/webm", "video/x-matroska"]),
];

impl FileType {
    /// The type of this name; parameters such as `codecs` are not looked at.
    pub(super) fn named(text: &str) -> Option<&'static Self> {
        let name = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        REGISTRY.iter().find(|kind| kind.name == name || kind.also.contains(&name.as_str()))
    }

    /// Whether a browser may show it in place. Everything else is only saved.
    pub(super) fn is_shown_inline(&self) -> bool {
        self.is_picture() || self.is_of("audio/") || self.is_of("video/") || self.name == "application/pdf"
    }

    /// Whether it is a picture, which can be made small.
    pub(super) fn is_picture(&self) -> bool {
        self.is_of("image/")
    }

    /// Whether it is something to listen to.
    pub(super) fn is_sound(&self) -> bool {
        self.is_of("audio/")
    }

    fn is_of(&self, family: &str) -> bool {
        self.name.starts_with(family)
    }

    /// Whether these first bytes can be the beginning of such a file.
    pub(super) fn fits(&self, head: &[u8]) -> bool {
        if self.looks_like.is_empty() {
            return is_text(head);
        }
        infer::get(head).is_some_and(|found| self.looks_like.contains(&found.mime_type()))
    }
}

/// What these first bytes look like, for a person to read.
pub(super) fn appearance(head: &[u8]) -> &'static str {
    match infer::get(head) {
        Some(found) => found.mime_type(),
        None if is_text(head) => "text",
        None => "something unknown",
    }
}

/// Text of any encoding that keeps ASCII has no other control characters than these.
fn is_text(head: &[u8]) -> bool {
    head.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_all_its_names_and_without_its_parameters() {
        for (text, name) in [
            ("image/png", "image/png"),
            ("Audio/WebM;codecs=opus", "audio/webm"),
            ("image/jpg", "image/jpeg"),
            ("text/plain; charset=utf-8", "text/plain"),
        ] {
            assert_eq!(FileType::named(text).map(|kind| kind.name), Some(name), "{text}");
        }
        for text in ["image/svg+xml", "text/html", "application/javascript", "application/x-msdownload", "", "image/"] {
            assert!(FileType::named(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_program_fits_no_type() {
        let elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
        let exe = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0";
        for kind in REGISTRY {
            assert!(!kind.fits(elf) && !kind.fits(exe), "{}", kind.name);
        }
    }

    #[test]
    fn every_type_with_a_mark_is_recognised_by_it() {
        let png: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (name, head) in [
            ("image/png", png),
            ("image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0"),
            ("image/gif", b"GIF89a\x01\0\x01\0"),
            ("image/webp", b"RIFF\x1a\0\0\0WEBPVP8L"),
            ("application/pdf", b"%PDF-1.7\n"),
            ("text/plain", "BM: Grüße, und %PDF mitten im Text".as_bytes()),
            ("text/csv", b"a;b\r\n1;2\r\n"),
            ("application/zip", b"PK\x03\x04\x14\0\0\0\x08\0"),
            ("audio/ogg", b"OggS\0\x02\0\0\0\0\0\0\0\0"),
            ("audio/mp4", b"\0\0\0\x20ftypM4A \0\0\0\0"),
            ("audio/mpeg", b"ID3\x04\0\0\0\0\0\0"),
            ("audio/wav", b"RIFF\x24\0\0\0WAVEfmt "),
            ("video/mp4", b"\0\0\0\x20ftypisom\0\0\x02\0"),
        ] {
            let kind = FileType::named(name).expect("a registered type");
            assert!(kind.fits(head), "{name}: {}", appearance(head));
            assert_eq!(name == "image/png", FileType::named("image/png").expect("registered").fits(head), "{name}");
        }
    }
}
