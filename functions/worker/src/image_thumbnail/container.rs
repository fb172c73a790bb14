//! What can be told of an image file before a decoder sees it: whether it is all there, and no trap.
//!
//! Decoders are lenient where a job must not be: they set memory aside for whatever size a part of a WebP file claims.

use image::ImageFormat;

/// The part of `file` that is the image; `None` if that is not whole, or some part of it claims more pixels than
/// `most_pixels`.
pub fn whole(file: &[u8], format: ImageFormat, most_pixels: u64) -> Option<&[u8]> {
    match format {
        ImageFormat::Jpeg => Some(file), // see `entropy`
        ImageFormat::WebP => {
            let size = usize::try_from(little_endian(file.get(4..8)?)).ok()?;
            let image = file.get(..size.checked_add(8)?)?;
            let chunks = image.get(12..)?;
            are_whole(chunks, most_pixels, Level::File).then_some(image)
        }
        _ => png_is_whole(file).then_some(file),
    }
}

/// Whether every chunk of a PNG file is there and as it was written, up to the last. The decoder passes over damage in
/// chunks that it need not understand, which would make a picture opaque (`tRNS`).
/// <https://www.w3.org/TR/png-3/#5Chunk-layout>
fn png_is_whole(file: &[u8]) -> bool {
    let mut rest = file.get(8..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk() {
        let Some(named_length) = usize::try_from(u32::from_be_bytes(*length)).ok().and_then(|l| l.checked_add(4))
        else {
            return false;
        };
        let Some((named, after)) = after.split_at_checked(named_length) else { return false };
        let Some((checksum, after)) = after.split_first_chunk() else { return false };
        if crc32fast::hash(named) != u32::from_be_bytes(*checksum) {
            return false;
        }
        if named.starts_with(b"IEND") {
            return true;
        }
        rest = after;
    }
    false
}

/// What chunks of a WebP file stand in.
#[derive(Clone, Copy)]
enum Level {
    File,
    Frame,
}

/// Whether each of these chunks of a WebP file is as long as it says.
/// <https://developers.google.com/speed/webp/docs/riff_container>
fn are_whole(mut chunks: &[u8], most_pixels: u64, level: Level) -> bool {
    while let Some((header, rest)) = chunks.split_at_checked(8) {
        let (name, size) = header.split_at(4);
        let Ok(size) = usize::try_from(little_endian(size)) else { return false };
        let Some(content) = rest.get(..size) else { return false };
        let is_whole = match (name, level) {
            (b"ANMF", Level::File) => {
                content.get(16..).is_some_and(|inner| are_whole(inner, most_pixels, Level::Frame))
            }
            (b"ANMF", Level::Frame) => false,
            (b"VP8 ", _) => lossy_pixels(content).is_some_and(|pixels| pixels <= most_pixels),
            _ => true,
        };
        if !is_whole {
            return false;
        }
        // A byte of padding follows where the size is odd.
        chunks = rest.get(size + size % 2..).unwrap_or_default();
    }
    true
}

/// How many pixels the lossy bitstream in a `VP8 ` chunk has, whatever the file around it says.
/// <https://www.rfc-editor.org/rfc/rfc6386#section-9.1>
fn lossy_pixels(content: &[u8]) -> Option<u64> {
    let side = |low: u8, high: u8| u64::from(u16::from_le_bytes([low, high]) & 0x3fff);
    match content.get(6..10)? {
        [a, b, c, d] => Some(side(*a, *b) * side(*c, *d)),
        _ => None,
    }
}

/// The number in up to four bytes.
fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().take(4).fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webp(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        for (name, content) in chunks {
            body.extend(*name);
            body.extend(u32::try_from(content.len()).expect("short").to_le_bytes());
            body.extend(*content);
            body.extend(vec![0; content.len() % 2]);
        }
        [b"RIFF".as_slice(), &u32::try_from(body.len()).expect("short").to_le_bytes(), &body].concat()
    }

    fn fits(file: &[u8]) -> bool {
        whole(file, ImageFormat::WebP, 1_000_000).is_some()
    }

    #[test]
    fn a_webp_whose_parts_claim_more_than_there_is_is_not_whole() {
        let frame = [[0; 16].as_slice(), b"VP8L\x02\0\0\0xy"].concat();
        let file = webp(&[(b"VP8X", &[0; 10]), (b"EXIF", b"odd"), (b"ANMF", &frame)]);
        assert!(fits(&file));
        let followed = [file.as_slice(), b"EXIF\xff\xff\xff\xff"].concat();
        assert_eq!(whole(&followed, ImageFormat::WebP, 1), Some(file.as_slice()), "what follows is not the image");
        for length in 0..file.len() {
            assert!(!fits(&file[..length]), "{length} bytes");
        }
        let claims = |at: usize| {
            let mut file = file.clone();
            file[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
            fits(&file)
        };
        let place = |name: &[u8]| file.windows(4).position(|four| four == name).expect("there") + 4;
        assert!(![b"VP8X", b"EXIF", b"ANMF", b"VP8L"].iter().any(|name| claims(place(*name))));
    }

    #[test]
    fn a_webp_with_a_larger_image_inside_than_it_may_have_is_refused() {
        let lossy = |width: u16, height: u16| {
            let start = b"\x10\0\0\x9d\x01\x2a".as_slice();
            [start, &width.to_le_bytes(), &height.to_le_bytes()].concat()
        };
        assert!(fits(&webp(&[(b"VP8X", &[0; 10]), (b"VP8 ", &lossy(1000, 1000))])));
        assert!(!fits(&webp(&[(b"VP8X", &[0; 10]), (b"VP8 ", &lossy(16383, 16383))])));
        let nested = [[0; 16].as_slice(), b"ANMF\0\0\0\0"].concat();
        assert!(!fits(&webp(&[(b"ANMF", &nested)])));
    }
}
