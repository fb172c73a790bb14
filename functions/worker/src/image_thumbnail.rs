//! `image-thumbnail`: a smaller picture of a picture.
//!
//! Whoever sends a picture chooses every byte of it. So it is opened only if it is whole, and only up to a size that
//! fits into the function's memory whatever its format makes of it; and one at a time, though a batch may hold ten.

mod container;

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits, Rgb, RgbImage,
    RgbaImage,
};
use serde::Serialize;
use shared::files::FileName;
use shared::payloads::image_thumbnail::{ImageThumbnail, Picture, PictureFormat};
use tokio::sync::Semaphore;

use crate::job_types::Run;
use crate::{Context, JobError};

/// The longest file that is opened, in bytes.
const MOST_BYTES: u64 = 20_000_000;

/// The longest side of a picture that is opened, in pixels.
const LONGEST_SIDE: u32 = 12_000;

/// The most pixels of a picture that is opened. The hungriest format is JPEG in four colours, stored progressively: a
/// pixel takes 4 × 2 bytes until all is read, besides the 3 it becomes. With two copies of the file that is
/// 11 × 32 + 2 × 20 = 392 MB of the worker's 512.
const MOST_PIXELS: u64 = 32_000_000;

/// The most memory that the opened picture itself may take, in bytes.
const MOST_MEMORY: u64 = 4 * MOST_PIXELS;

/// The longest colour profile that a thumbnail takes over from its picture, in bytes.
const LONGEST_PROFILE: usize = 16 * 1024;

/// How good a JPEG is, 1 to 100.
const JPEG_QUALITY: u8 = 85;

/// Two open pictures would not fit into the worker's memory.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);

/// A thumbnail that was written.
#[derive(Debug, Serialize)]
pub struct Thumbnail {
    /// Its address.
    file: String,
    /// How many pixels it has from left to right.
    width: u32,
    /// How many from top to bottom.
    height: u32,
}

impl Run for ImageThumbnail {
    type Output = Thumbnail;

    async fn run(self, context: Context) -> Result<Thumbnail, JobError> {
        let outputs = &context.outputs;
        let small = {
            let turn = ONE_AT_A_TIME.acquire().await;
            let _turn = turn.map_err(|closed| JobError::retry("no picture can be opened").because(closed))?;
            let file = match self.source {
                Picture::Sent(content) => content,
                Picture::File(name) => {
                    let content = outputs.read(&name, MOST_BYTES).await?;
                    content.ok_or_else(|| JobError::give_up("there is no such file").detail(&name))?
                }
            };
            make(&file, (self.width.get(), self.height.get()), self.format)?
        };
        let (extension, content_type) = match small.format {
            PictureFormat::Png => ("png", "image/png"),
            PictureFormat::Jpeg => ("jpg", "image/jpeg"),
            PictureFormat::Webp => ("webp", "image/webp"),
        };
        let name = FileName::of_job(context.job_id, extension);
        let file = outputs.create(name.as_str(), small.content, content_type).await?;
        Ok(Thumbnail { file, width: small.width, height: small.height })
    }
}

/// A thumbnail that has been made.
#[derive(Debug)]
struct Small {
    format: PictureFormat,
    content: Vec<u8>,
    width: u32,
    height: u32,
}

/// Makes the thumbnail: of the picture in `file`, within `room` (width and height), as `format` or else as what the
/// picture is. The same for every attempt.
fn make(file: &[u8], room: (u32, u32), format: Option<PictureFormat>) -> Result<Small, JobError> {
    let own_format = match image::guess_format(file) {
        Ok(ImageFormat::Png) => PictureFormat::Png,
        Ok(ImageFormat::Jpeg) => PictureFormat::Jpeg,
        Ok(ImageFormat::WebP) => PictureFormat::Webp,
        Ok(_) | Err(_) => return Err(JobError::give_up("the file is no PNG, JPEG or WebP image")),
    };
    let Opened { picture, orientation, profile } = open(file, own_format)?;
    let room = if lies_on_its_side(orientation) { (room.1, room.0) } else { room };
    let size = fit((picture.width(), picture.height()), room);
    let mut picture = shrink(picture, size);
    picture.apply_orientation(orientation);
    let (format, width, height) = (format.unwrap_or(own_format), picture.width(), picture.height());
    let content = encode(picture, format, profile)
        .map_err(|error| JobError::give_up("the thumbnail could not be written").detail(error))?;
    Ok(Small { format, content, width, height })
}

/// A picture in memory.
struct Opened {
    /// As it is stored: 8 bits for each colour, and for transparency if it knows that.
    picture: DynamicImage,
    /// How it is to be turned to be seen.
    orientation: Orientation,
    /// What its colours mean, unless that is sRGB.
    profile: Option<Vec<u8>>,
}

fn open(file: &[u8], format: PictureFormat) -> Result<Opened, JobError> {
    let format = match format {
        PictureFormat::Png => ImageFormat::Png,
        PictureFormat::Jpeg => ImageFormat::Jpeg,
        PictureFormat::Webp => ImageFormat::WebP,
    };
    let file = container::whole(file, format, MOST_PIXELS);
    let file = file.ok_or_else(|| JobError::give_up("the image is not whole"))?;
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(file), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_MEMORY {
        return Err(JobError::give_up(TOO_LARGE).detail(format_args!("{width} × {height} pixels")));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder.icc_profile().ok().flatten().filter(|profile| is_for_rgb(profile));
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    let in_colour = picture.color().has_color();
    let picture: DynamicImage =
        if picture.has_alpha() { picture.into_rgba8().into() } else { picture.into_rgb8().into() };
    Ok(Opened { picture, orientation, profile: profile.filter(|_| in_colour) })
}

const TOO_LARGE: &str = "the image is larger than may be opened";

fn unreadable(error: ImageError) -> JobError {
    let message = if matches!(error, ImageError::Limits(_)) { TOO_LARGE } else { "the image could not be read" };
    JobError::give_up(message).detail(error)
}

/// Whether it is a profile for red, green and blue, and no longer than a thumbnail should carry.
/// <https://www.color.org/specification/ICC.1-2022-05.pdf>, section 7.2
fn is_for_rgb(profile: &[u8]) -> bool {
    profile.len() <= LONGEST_PROFILE && profile.get(16..20) == Some(b"RGB ")
}

fn lies_on_its_side(orientation: Orientation) -> bool {
    match orientation {
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => false,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            true
        }
    }
}

/// The largest size with the proportions of `size` that fits into `room`, and not larger than `size`.
fn fit((width, height): (u32, u32), (most_width, most_height): (u32, u32)) -> (u32, u32) {
    if width <= most_width && height <= most_height {
        return (width, height);
    }
    // The side that is over by more decides; the other follows, rounded, and does not vanish.
    let follow = |side: u32, new: u32, old: u32| {
        let (side, new, old) = (u64::from(side), u64::from(new), u64::from(old));
        u32::try_from((side * new + old / 2) / old).unwrap_or(u32::MAX).max(1)
    };
    if u64::from(width) * u64::from(most_height) >= u64::from(height) * u64::from(most_width) {
        (most_width, follow(height, most_width, width))
    } else {
        (follow(width, most_height, height), most_height)
    }
}

/// The picture in another, smaller size.
fn shrink(mut picture: DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    if (picture.width(), picture.height()) == (width, height) {
        return picture;
    }
    // What cannot be seen must not mix its colour into what can.
    if let DynamicImage::ImageRgba8(picture) = &mut picture {
        weigh_by_opacity(picture);
    }
    // Plain averages first, down to twice the size: the better filter needs 16 bytes for each pixel on its way.
    let (rough_width, rough_height) = (picture.width().min(2 * width), picture.height().min(2 * height));
    picture = picture.thumbnail_exact(rough_width, rough_height);
    picture = picture.resize_exact(width, height, FilterType::CatmullRom);
    if let DynamicImage::ImageRgba8(picture) = &mut picture {
        weigh_no_more(picture);
    }
    picture
}

fn weigh_by_opacity(picture: &mut RgbaImage) {
    for pixel in picture.pixels_mut() {
        let [red, green, blue, opacity] = pixel.0;
        let weigh = |colour: u8| over_255(u16::from(colour) * u16::from(opacity));
        pixel.0 = [weigh(red), weigh(green), weigh(blue), opacity];
    }
}

fn weigh_no_more(picture: &mut RgbaImage) {
    for pixel in picture.pixels_mut() {
        let [red, green, blue, opacity] = pixel.0;
        let part = u16::from(opacity).max(1);
        let lift = |colour: u8| u8::try_from((u16::from(colour) * 255 + part / 2) / part).unwrap_or(u8::MAX);
        pixel.0 = if opacity == 0 { [0; 4] } else { [lift(red), lift(green), lift(blue), opacity] };
    }
}

/// The picture before a white wall.
fn on_white(picture: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, opacity] = picture.get_pixel(x, y).0;
        let opacity = u16::from(opacity);
        let mix = |colour: u8| over_255(u16::from(colour) * opacity + 255 * (255 - opacity));
        Rgb([mix(red), mix(green), mix(blue)])
    })
}

/// The number divided by 255 and rounded. Not larger than 255 × 255.
fn over_255(number: u16) -> u8 {
    u8::try_from((number + 127) / 255).unwrap_or(u8::MAX)
}

fn encode(picture: DynamicImage, format: PictureFormat, profile: Option<Vec<u8>>) -> ImageResult<Vec<u8>> {
    let mut file = vec![];
    match format {
        PictureFormat::Png => write(&picture, PngEncoder::new(&mut file), profile)?,
        PictureFormat::Webp => write(&picture, WebPEncoder::new_lossless(&mut file), profile)?,
        PictureFormat::Jpeg => {
            let picture = match picture {
                DynamicImage::ImageRgba8(picture) => on_white(&picture).into(),
                opaque => opaque,
            };
            write(&picture, JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY), profile)?;
        }
    }
    Ok(file)
}

fn write(picture: &DynamicImage, mut encoder: impl ImageEncoder, profile: Option<Vec<u8>>) -> ImageResult<()> {
    if let Some(profile) = profile {
        encoder.set_icc_profile(profile).map_err(ImageError::Unsupported)?;
    }
    picture.write_with_encoder(encoder)
}

#[cfg(test)]
mod tests {
    use image::{GenericImageView, Rgba};
    use proptest::prelude::*;

    use super::*;

    const FORMATS: [PictureFormat; 3] = [PictureFormat::Png, PictureFormat::Jpeg, PictureFormat::Webp];

    /// A picture that compresses badly, so that its file has a middle to be cut at.
    fn noise(width: u32, height: u32) -> DynamicImage {
        let mut state: u32 = 1;
        RgbImage::from_fn(width, height, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [_, red, green, blue] = state.to_le_bytes();
            Rgb([red, green, blue])
        })
        .into()
    }

    fn file(picture: DynamicImage, format: PictureFormat) -> Vec<u8> {
        encode(picture, format, None).expect("writes")
    }

    fn seen(small: &Small) -> DynamicImage {
        open(&small.content, small.format).expect("reads").picture
    }

    fn refusal(file: &[u8]) -> String {
        match make(file, (100, 100), None).expect_err("refused") {
            JobError::GiveUp(reason) => reason.message,
            other => panic!("another attempt would not help: {other:?}"),
        }
    }

    #[test]
    fn every_format_becomes_every_format_within_the_room_there_is() {
        for from in FORMATS {
            let file = file(noise(60, 40), from);
            for to in FORMATS {
                let small = make(&file, (30, 30), Some(to)).expect("made");
                assert_eq!((small.width, small.height, small.format), (30, 20, to), "{from:?}");
                assert_eq!(seen(&small).dimensions(), (30, 20), "{from:?} to {to:?}");
            }
            let small = make(&file, (30, 5), None).expect("made");
            assert_eq!((small.width, small.height, small.format), (8, 5, from));
            assert_eq!(small.content, make(&file, (30, 5), None).expect("made").content, "the same for every attempt");
        }
    }

    #[test]
    fn a_picture_is_never_enlarged() {
        for format in FORMATS {
            let small = make(&file(noise(60, 40), format), (2048, 2048), None).expect("made");
            assert_eq!(seen(&small).dimensions(), (60, 40), "{format:?}");
        }
    }

    #[test]
    fn a_photo_that_was_taken_sideways_stands_upright() {
        // Red on the left; to be turned clockwise by a quarter, so that red is on top.
        let photo = RgbImage::from_fn(60, 40, |x, _| if x < 30 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) });
        let mut file = vec![];
        let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
        let orientation_6 = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        encoder.set_exif_metadata(orientation_6.to_vec()).expect("JPEG takes it");
        DynamicImage::from(photo).write_with_encoder(encoder).expect("writes");

        let small = make(&file, (20, 24), Some(PictureFormat::Png)).expect("made");
        assert_eq!((small.width, small.height), (16, 24));
        let picture = seen(&small).into_rgb8();
        let [top, bottom] = [picture.get_pixel(8, 2).0, picture.get_pixel(8, 21).0];
        assert!(top[0] > 200 && top[2] < 60, "{top:?}");
        assert!(bottom[2] > 200 && bottom[0] < 60, "{bottom:?}");
    }

    #[test]
    fn what_cannot_be_seen_leaves_no_shadow() {
        let circle = RgbaImage::from_fn(64, 64, |x, y| {
            let inside = x.abs_diff(32).pow(2) + y.abs_diff(32).pow(2) < 400;
            if inside { Rgba([255; 4]) } else { Rgba([0; 4]) }
        });
        let file = file(circle.into(), PictureFormat::Png);
        let picture = seen(&make(&file, (7, 7), None).expect("made")).into_rgba8();
        assert!(picture.pixels().any(|pixel| (1..255).contains(&pixel.0[3])), "an edge that is half there");
        for pixel in picture.pixels().filter(|pixel| pixel.0[3] > 0) {
            assert_eq!(pixel.0[..3], [255; 3]);
        }
        let jpeg = seen(&make(&file, (7, 7), Some(PictureFormat::Jpeg)).expect("made")).into_rgb8();
        assert!(jpeg.pixels().all(|pixel| pixel.0.iter().all(|colour| *colour > 250)), "white on white");
    }

    #[test]
    fn a_profile_stays_with_its_colours() {
        let profile = [[0; 16].as_slice(), b"RGB ", &[7; 100]].concat();
        for format in FORMATS {
            let file = encode(noise(8, 8), format, Some(profile.clone())).expect("writes");
            let small = make(&file, (4, 4), None).expect("made");
            assert_eq!(open(&small.content, format).expect("reads").profile.as_ref(), Some(&profile), "{format:?}");
        }
        assert!(!is_for_rgb(&[[0; 16].as_slice(), b"CMYK", &[7; 100]].concat()));
    }

    #[test]
    fn a_picture_too_large_for_the_memory_is_not_opened() {
        assert_eq!(refusal(&bomb(60_000, 60_000)), TOO_LARGE);
        assert_eq!(refusal(&bomb(12_001, 1)), TOO_LARGE);
        assert_eq!(refusal(&bomb(8_000, 8_000)), TOO_LARGE);
    }

    #[test]
    fn what_is_no_picture_or_not_all_of_one_is_refused() {
        for garbage in ["", "GIF89a", "<svg xmlns='http://www.w3.org/2000/svg'/>", "\u{89}PNG"] {
            assert_eq!(refusal(garbage.as_bytes()), "the file is no PNG, JPEG or WebP image", "{garbage:?}");
        }
        for start in [b"\x89PNG\r\n\x1a\n".as_slice(), b"\xff\xd8\xff\xe0", b"RIFF\x10\0\0\0WEBPVP8 "] {
            refusal(&[start, &[0x55; 100]].concat());
            refusal(start);
        }
        for format in FORMATS {
            let file = file(noise(60, 40), format);
            for quarters in 1..=3 {
                refusal(&file[..file.len() * quarters / 4]);
            }
        }
    }

    /// The beginning of a PNG file that claims this size.
    fn bomb(width: u32, height: u32) -> Vec<u8> {
        let header = [width.to_be_bytes().as_slice(), &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(*b"IHDR", &header), chunk(*b"IDAT", b"x")].concat()
    }

    fn chunk(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short").to_be_bytes();
        let named = [name.as_slice(), content].concat();
        let checksum = !named.iter().fold(u32::MAX, |checksum, byte| {
            (0..8).fold(checksum ^ u32::from(*byte), |rest, _| (rest >> 1) ^ (0xedb8_8320 * (rest & 1)))
        });
        [length.as_slice(), &named, &checksum.to_be_bytes()].concat()
    }

    proptest! {
        #[test]
        fn a_size_fits_keeps_its_proportions_and_is_as_large_as_it_can(
            size in (1_u32..=12_000, 1_u32..=12_000),
            room in (1_u32..=2048, 1_u32..=2048),
        ) {
            let (width, height) = fit(size, room);
            prop_assert!((1..=room.0.min(size.0)).contains(&width) && (1..=room.1.min(size.1)).contains(&height));
            prop_assert!((width, height) == size || width == room.0 || height == room.1);
            // The other side is off by half a pixel at most, or is the one pixel that is left of it.
            let exact_width = f64::from(size.0) * f64::from(height) / f64::from(size.1);
            let exact_height = f64::from(size.1) * f64::from(width) / f64::from(size.0);
            let close = |side: u32, exact: f64| (f64::from(side) - exact).abs() <= 0.5 || (side == 1 && exact < 1.0);
            prop_assert!(close(width, exact_width) || close(height, exact_height));
        }
    }
}
