//! Pictures: how large they are, and a small one of each.
//!
//! What comes in was made by strangers. A picture that would need more memory than this is refused before it is decoded, and
//! one is decoded at a time.

use std::io::Cursor;

use bytes::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, Rgb, RgbImage};
use tokio::sync::Semaphore;

use super::model::Dimensions;

/// Pixels of the longer side of a small picture.
const SMALL: u32 = 320;
/// Pixels of the longest side that is taken.
const SIDE: u32 = 20_000;
/// Pixels of the largest picture: telephones make 50 million.
const PIXELS: u64 = 64_000_000;
/// Bytes that decoding may use.
const MEMORY: u64 = 320 * 1024 * 1024;
/// How good small pictures are, of 100.
const QUALITY: u8 = 80;

/// Held by the one who decodes.
static DECODING: Semaphore = Semaphore::const_new(1);

/// A picture that was looked at.
pub(super) struct Picture {
    /// How large it is, the way it is held.
    pub(super) dimensions: Dimensions,
    /// A small one, as JPEG.
    pub(super) small: Bytes,
}

/// Why a picture is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// It would be too large in memory.
    #[error("the picture is too large: at most {SIDE} pixels a side and {PIXELS} in all")]
    TooLarge,
    /// It is damaged, or none.
    #[error("the picture cannot be read")]
    Unreadable(#[source] image::ImageError),
}

impl From<image::ImageError> for PictureError {
    fn from(error: image::ImageError) -> Self {
        if matches!(error, image::ImageError::Limits(_)) { Self::TooLarge } else { Self::Unreadable(error) }
    }
}

/// Looks at a picture and makes a small one of it. Waits for its turn.
pub(super) async fn look_at(bytes: Bytes) -> Result<Picture, PictureError> {
    let turn = DECODING.acquire().await.expect("the semaphore is never closed");
    let looking = tokio::task::spawn_blocking(move || {
        // Kept until the end, even if nobody waits for it any more.
        let _turn = turn;
        decode(&bytes)
    });
    looking.await.unwrap_or_else(|panic| Err(PictureError::Unreadable(broken(panic))))
}

/// A decoder that panicked was given something it could not read.
fn broken(panic: tokio::task::JoinError) -> image::ImageError {
    image::ImageError::IoError(std::io::Error::other(panic))
}

fn decode(bytes: &[u8]) -> Result<Picture, PictureError> {
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(image::ImageError::from)?;
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS || decoder.total_bytes() > MEMORY {
        return Err(PictureError::TooLarge);
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height, limits.max_alloc) = (Some(SIDE), Some(SIDE), Some(MEMORY));
    decoder.set_limits(limits)?;
    let orientation = decoder.orientation()?;
    let whole = DynamicImage::from_decoder(decoder)?;
    let mut small = whole.thumbnail(SMALL.min(width), SMALL.min(height));
    drop(whole);
    // Turned while it is small: that costs nothing.
    small.apply_orientation(orientation);
    let turned = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if turned { (height, width) } else { (width, height) };
    Ok(Picture { dimensions: Dimensions { width, height }, small: encode(&small)? })
}

/// As JPEG, which knows no transparency: what shines through is white.
fn encode(small: &DynamicImage) -> Result<Bytes, PictureError> {
    let mut opaque = RgbImage::new(small.width(), small.height());
    for (to, from) in opaque.pixels_mut().zip(small.to_rgba8().pixels()) {
        let [red, green, blue, alpha] = from.0;
        let over_white = |colour: u8| {
            let (colour, alpha) = (u16::from(colour), u16::from(alpha));
            u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
        };
        *to = Rgb([over_white(red), over_white(green), over_white(blue)]);
    }
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode_image(&opaque)?;
    Ok(jpeg.into())
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let picture = RgbaImage::from_pixel(width, height, Rgba([200, 0, 0, 255]));
        picture.write_to(&mut bytes, ImageFormat::Png).expect("a picture");
        bytes.into_inner()
    }

    #[test]
    fn a_small_picture_keeps_its_shape_and_is_never_larger() {
        for ((width, height), small) in [((1000, 500), (320, 160)), ((10, 5), (10, 5)), ((400, 1), (320, 1))] {
            let picture = decode(&png(width, height)).expect("a picture");
            assert_eq!(picture.dimensions, Dimensions { width, height });
            let read = image::load_from_memory_with_format(&picture.small, ImageFormat::Jpeg).expect("a JPEG");
            assert_eq!((read.width(), read.height()), small);
        }
    }

    #[test]
    fn what_shines_through_is_white() {
        let clear = DynamicImage::from(RgbaImage::from_pixel(8, 8, Rgba([0, 0, 0, 0])));
        let jpeg = encode(&clear).expect("a JPEG");
        let read = image::load_from_memory(&jpeg).expect("a JPEG").to_rgb8();
        assert!(read.pixels().all(|pixel| pixel.0.iter().all(|colour| *colour > 250)));
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_decoded() {
        // A header that promises 4 billion pixels.
        let mut bomb = png(1, 1);
        bomb[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let sum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&sum.to_be_bytes());
        assert!(matches!(decode(&bomb), Err(PictureError::TooLarge)));
        assert!(matches!(decode(b"\x89PNG\r\n\x1a\nnothing"), Err(PictureError::Unreadable(_))));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, byte| {
            (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
        })
    }
}
