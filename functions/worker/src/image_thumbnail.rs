//! `image-thumbnail`: a smaller picture of a picture.
//!
//! Whoever sends a picture chooses every byte of it. So it is opened only if it is whole, and only up to a size that
//! fits into the function's memory whatever its format makes of it; and one at a time, though a batch may hold ten.

mod container;
mod entropy;

use std::borrow::Cow;
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
use moxcms::{ColorProfile, Layout, TransformOptions};
use serde::Serialize;
use shared::payloads::image_thumbnail::{Fit, ImageThumbnail, Picture, PictureFormat};
use shared::ports::files::FileName;
use tokio::sync::Semaphore;

use self::entropy::Flaw;
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

/// How good a JPEG is unless the job says otherwise, 1 to 100.
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
    /// A part of the picture is missing, and was made up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// What became of a colour profile that the thumbnail does not carry.
    #[serde(skip_serializing_if = "Option::is_none")]
    colour_profile: Option<LostProfile>,
}

/// What became of a colour profile that is too long for a thumbnail, or for other colours than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum LostProfile {
    /// The colours are now those of sRGB.
    ConvertedToSrgb,
    /// It could not be used, and the colours may be off.
    Dropped,
}

impl Run for ImageThumbnail {
    type Output = Thumbnail;

    async fn run(self, context: Context) -> Result<Thumbnail, JobError> {
        let outputs = &context.outputs;
        let small = {
            let turn = ONE_AT_A_TIME.acquire().await;
            let _turn = turn.map_err(|closed| JobError::retry("no picture can be opened").because(closed))?;
            let file = match &self.source {
                Picture::Sent(content) => Cow::Borrowed(content),
                Picture::File(name) => {
                    let content = outputs.read(name, MOST_BYTES).await?;
                    Cow::Owned(content.ok_or_else(|| JobError::give_up("there is no such file").detail(name))?)
                }
            };
            make(&file, &self)?
        };
        let (extension, content_type) = match small.format {
            PictureFormat::Png => ("png", "image/png"),
            PictureFormat::Jpeg => ("jpg", "image/jpeg"),
            PictureFormat::Webp => ("webp", "image/webp"),
        };
        let name = FileName::of_job(context.job_id, extension);
        let file = outputs.create(name.as_str(), small.content, content_type).await?;
        let Small { width, height, incomplete, colour_profile, .. } = small;
        Ok(Thumbnail { file, width, height, incomplete, colour_profile })
    }
}

/// A thumbnail that has been made.
#[derive(Debug)]
struct Small {
    format: PictureFormat,
    content: Vec<u8>,
    width: u32,
    height: u32,
    incomplete: bool,
    colour_profile: Option<LostProfile>,
}

/// Makes the thumbnail of the picture in `file`. The same for every attempt.
fn make(file: &[u8], wanted: &ImageThumbnail) -> Result<Small, JobError> {
    let own_format = match image::guess_format(file) {
        Ok(ImageFormat::Png) => PictureFormat::Png,
        Ok(ImageFormat::Jpeg) => PictureFormat::Jpeg,
        Ok(ImageFormat::WebP) => PictureFormat::Webp,
        Ok(_) | Err(_) => return Err(JobError::give_up("the file is no PNG, JPEG or WebP image")),
    };
    let Opened { picture, orientation, profile, incomplete } = open(file, own_format, wanted.allow_incomplete)?;
    let room = (wanted.width.get(), wanted.height.get());
    let room = if lies_on_its_side(orientation) { (room.1, room.0) } else { room };
    let own_size = (picture.width(), picture.height());
    let (part, size) = match wanted.fit {
        Fit::Contain => (own_size, contain(own_size, room)),
        Fit::Cover => cover(own_size, room),
        Fit::Crop => {
            let part = (own_size.0.min(room.0), own_size.1.min(room.1));
            (part, part)
        }
    };
    let mut picture = shrink(middle(picture, part), size);
    let (profile, colour_profile) = match profile {
        Profile::Kept(profile) => (Some(profile), None),
        Profile::None => (None, None),
        Profile::TooLong(profile) if converted_to_srgb(&mut picture, &profile) => {
            (None, Some(LostProfile::ConvertedToSrgb))
        }
        Profile::TooLong(_) | Profile::ForOtherColours => (None, Some(LostProfile::Dropped)),
    };
    picture.apply_orientation(orientation);
    let (format, width, height) = (wanted.format.unwrap_or(own_format), picture.width(), picture.height());
    let quality = wanted.quality.and_then(|quality| u8::try_from(quality.get()).ok()).unwrap_or(JPEG_QUALITY);
    let content = encode(picture, format, profile, quality)
        .map_err(|error| JobError::give_up("the thumbnail could not be written").detail(error))?;
    Ok(Small { format, content, width, height, incomplete, colour_profile })
}

/// A picture in memory.
struct Opened {
    /// As it is stored: 8 bits for each colour, and for transparency if it knows that.
    picture: DynamicImage,
    /// How it is to be turned to be seen.
    orientation: Orientation,
    /// What its colours mean.
    profile: Profile,
    /// A part of it is missing.
    incomplete: bool,
}

/// What a picture says of the meaning of its colours.
#[derive(Debug, PartialEq, Eq)]
enum Profile {
    /// Nothing: they are those of sRGB.
    None,
    /// This, short enough for a thumbnail.
    Kept(Vec<u8>),
    /// This, too long for one.
    TooLong(Vec<u8>),
    /// Something of colours that the thumbnail does not have: CMYK, say.
    ForOtherColours,
}

fn open(file: &[u8], format: PictureFormat, allow_incomplete: bool) -> Result<Opened, JobError> {
    let format = match format {
        PictureFormat::Png => ImageFormat::Png,
        PictureFormat::Jpeg => ImageFormat::Jpeg,
        PictureFormat::Webp => ImageFormat::WebP,
    };
    let whole = container::whole(file, format, MOST_PIXELS);
    let missing = match (whole, format) {
        (Some(_), ImageFormat::Jpeg) => match entropy::check(file, MOST_PIXELS) {
            Ok(()) => None,
            Err(Flaw::NotWhole(what)) => Some(what),
            Err(Flaw::Unreadable(why)) => return Err(JobError::give_up("the image could not be read").detail(why)),
            Err(Flaw::TooLarge) => return Err(JobError::give_up(TOO_LARGE)),
        },
        (Some(_), _) => None,
        (None, _) => Some("a part of it is missing or damaged"),
    };
    // Only a JPEG decoder goes on where there is nothing more to read.
    match missing {
        Some(what) if !allow_incomplete || format != ImageFormat::Jpeg => {
            Err(JobError::give_up("the image is not whole").detail(what))
        }
        Some(_) | None => Ok(Opened { incomplete: missing.is_some(), ..decode(whole.unwrap_or(file), format)? }),
    }
}

fn decode(file: &[u8], format: ImageFormat) -> Result<Opened, JobError> {
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
    let profile = decoder.icc_profile().ok().flatten();
    let picture = DynamicImage::from_decoder(decoder).map_err(unreadable)?;
    let in_colour = picture.color().has_color();
    let picture: DynamicImage =
        if picture.has_alpha() { picture.into_rgba8().into() } else { picture.into_rgb8().into() };
    let profile = match profile {
        Some(profile) if in_colour && is_for_rgb(&profile) && profile.len() > LONGEST_PROFILE => {
            Profile::TooLong(profile)
        }
        Some(profile) if in_colour && is_for_rgb(&profile) => Profile::Kept(profile),
        Some(_) => Profile::ForOtherColours,
        None => Profile::None,
    };
    Ok(Opened { picture, orientation, profile, incomplete: false })
}

const TOO_LARGE: &str = "the image is larger than may be opened";

fn unreadable(error: ImageError) -> JobError {
    let message = if matches!(error, ImageError::Limits(_)) { TOO_LARGE } else { "the image could not be read" };
    JobError::give_up(message).detail(error)
}

/// Whether it is a profile for red, green and blue.
/// <https://www.color.org/specification/ICC.1-2022-05.pdf>, section 7.2
fn is_for_rgb(profile: &[u8]) -> bool {
    profile.get(16..20) == Some(b"RGB ")
}

/// Makes the colours those of sRGB, if the profile can be read.
fn converted_to_srgb(picture: &mut DynamicImage, profile: &[u8]) -> bool {
    let Ok(profile) = ColorProfile::new_from_slice(profile) else { return false };
    let layout = if picture.color().has_alpha() { Layout::Rgba } else { Layout::Rgb };
    let transform =
        profile.create_transform_8bit(layout, &ColorProfile::new_srgb(), layout, TransformOptions::default());
    let Ok(transform) = transform else { return false };
    let before = picture.as_bytes().to_vec();
    let pixels: &mut [u8] = match picture {
        DynamicImage::ImageRgb8(pixels) => pixels,
        DynamicImage::ImageRgba8(pixels) => pixels,
        _ => return false,
    };
    transform.transform(&before, pixels).is_ok()
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
fn contain((width, height): (u32, u32), (most_width, most_height): (u32, u32)) -> (u32, u32) {
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

/// The largest part of a picture of `size` with the proportions of `room`, and how large that becomes. Nothing is
/// enlarged. The part is cut out first: a long picture that only becomes as high as the room would be too wide for the
/// memory.
fn cover((width, height): (u32, u32), room: (u32, u32)) -> ((u32, u32), (u32, u32)) {
    if width <= room.0 || height <= room.1 {
        let part = (width.min(room.0), height.min(room.1));
        return (part, part);
    }
    let follow = |side: u32, new: u32, old: u32| {
        let (side, new, old) = (u64::from(side), u64::from(new), u64::from(old));
        u32::try_from((side * new + old / 2) / old).unwrap_or(u32::MAX)
    };
    let part = if u64::from(width) * u64::from(room.1) <= u64::from(height) * u64::from(room.0) {
        (width, follow(room.1, width, room.0))
    } else {
        (follow(room.0, height, room.1), height)
    };
    (part, room)
}

/// The middle of the picture, as much as there is room for.
fn middle(picture: DynamicImage, (room_width, room_height): (u32, u32)) -> DynamicImage {
    let (width, height) = (picture.width().min(room_width), picture.height().min(room_height));
    if (width, height) == (picture.width(), picture.height()) {
        return picture;
    }
    let (left, top) = ((picture.width() - width) / 2, (picture.height() - height) / 2);
    picture.crop_imm(left, top, width, height)
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

fn encode(picture: DynamicImage, format: PictureFormat, profile: Option<Vec<u8>>, quality: u8) -> ImageResult<Vec<u8>> {
    let mut file = vec![];
    match format {
        PictureFormat::Png => write(&picture, PngEncoder::new(&mut file), profile)?,
        PictureFormat::Webp => write(&picture, WebPEncoder::new_lossless(&mut file), profile)?,
        PictureFormat::Jpeg => {
            let picture = match picture {
                DynamicImage::ImageRgba8(picture) => on_white(&picture).into(),
                opaque => opaque,
            };
            write(&picture, JpegEncoder::new_with_quality(&mut file, quality), profile)?;
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
    use shared::job_type::Payload as _;

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
        encode(picture, format, None, JPEG_QUALITY).expect("writes")
    }

    fn seen(small: &Small) -> DynamicImage {
        open(&small.content, small.format, false).expect("reads").picture
    }

    /// Makes a thumbnail within this room.
    fn make(file: &[u8], (width, height): (u32, u32), format: Option<PictureFormat>) -> Result<Small, JobError> {
        let format = format.map(|format| format!("{format:?}").to_lowercase());
        make_as(file, serde_json::json!({ "width": width, "height": height, "format": format }))
    }

    fn make_as(file: &[u8], mut wanted: serde_json::Value) -> Result<Small, JobError> {
        wanted["source"] = "picture".into();
        super::make(file, &ImageThumbnail::parse(&wanted.to_string()).expect("fits"))
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
            let file = encode(noise(8, 8), format, Some(profile.clone()), 85).expect("writes");
            let small = make(&file, (4, 4), None).expect("made");
            let kept = open(&small.content, format, false).expect("reads").profile;
            assert_eq!((kept, small.colour_profile), (Profile::Kept(profile.clone()), None), "{format:?}");
            for (other, length) in [(b"CMYK", 100), (b"RGB ", 20_000)] {
                let unusable = [[0; 16].as_slice(), other, &vec![7; length]].concat();
                let file = encode(noise(8, 8), format, Some(unusable), 85).expect("writes");
                let small = make(&file, (4, 4), None).expect("made");
                assert_eq!(small.colour_profile, Some(LostProfile::Dropped), "{format:?}");
            }
        }
    }

    /// The expected colours are reckoned by hand, from the primaries of Display P3.
    #[test]
    fn a_profile_too_long_for_a_thumbnail_is_gone_and_the_colours_are_right_all_the_same() {
        let mut profile = ColorProfile::new_display_p3().encode().expect("encodes");
        profile.resize(30_000, 0);
        let length = u32::try_from(profile.len()).expect("short").to_be_bytes();
        profile[..4].copy_from_slice(&length);
        for (there, expected) in [([200, 100, 50], [215, 93, 31]), ([30, 180, 90], [0, 183, 78]), ([120; 3], [120; 3])]
        {
            let picture = RgbImage::from_pixel(8, 8, Rgb(there));
            let file = encode(picture.into(), PictureFormat::Png, Some(profile.clone()), 85).expect("writes");
            let small = make(&file, (4, 4), None).expect("made");
            assert_eq!(small.colour_profile, Some(LostProfile::ConvertedToSrgb));
            let opened = open(&small.content, PictureFormat::Png, false).expect("reads");
            assert_eq!(opened.profile, Profile::None);
            let colour = opened.picture.into_rgb8().get_pixel(1, 1).0;
            let close = colour.iter().zip(expected).all(|(one, other): (&u8, u8)| one.abs_diff(other) <= 2);
            assert!(close, "{there:?} became {colour:?} instead of {expected:?}");
        }
    }

    /// Pictures of every kind that decoders tell apart, written by other programs (Pillow).
    const KINDS: [(&str, &[u8], &[u8]); 7] = [
        ("baseline JPEG", include_bytes!("image_thumbnail/fixtures/baseline.jpg"), b"\xff\xd9"),
        ("progressive JPEG", include_bytes!("image_thumbnail/fixtures/progressive.jpg"), b"\xff\xd9"),
        ("JPEG with restarts", include_bytes!("image_thumbnail/fixtures/restarts.jpg"), b"\xff\xd9"),
        ("grey JPEG", include_bytes!("image_thumbnail/fixtures/grey.jpg"), b"\xff\xd9"),
        ("CMYK JPEG", include_bytes!("image_thumbnail/fixtures/cmyk.jpg"), b"\xff\xd9"),
        ("lossy WebP", include_bytes!("image_thumbnail/fixtures/lossy.webp"), b""),
        ("interlaced PNG", include_bytes!("image_thumbnail/fixtures/interlaced.png"), b"\0\0\0\0IEND\xae\x42\x60\x82"),
    ];

    #[test]
    fn a_picture_of_which_a_part_is_missing_is_not_made_up_wherever_it_was_cut() {
        let wanted =
            |allow: bool| serde_json::json!({ "width": 77, "height": 53, "format": "png", "allow_incomplete": allow });
        for (kind, whole, end) in KINDS {
            let all = make_as(whole, wanted(false)).expect(kind);
            assert!(!all.incomplete, "{kind}");
            let followed = make_as(&[whole, b"what follows"].concat(), wanted(false)).expect(kind);
            assert_eq!((followed.content, followed.incomplete), (all.content.clone(), false), "{kind}");
            let mut cut_and_seen = 0;
            for cut in (1..whole.len()).rev().step_by(whole.len() / 150) {
                let mut cuts = vec![whole[..cut].to_vec(), [&whole[..cut], end].concat()];
                if kind == "lossy WebP" && cut > 20 {
                    // With all lengths as if nothing were missing.
                    let mut patched = whole[..cut].to_vec();
                    let length = |length: usize| u32::try_from(length).expect("short").to_le_bytes();
                    patched[4..8].copy_from_slice(&length(cut - 8));
                    patched[16..20].copy_from_slice(&length(cut - 20));
                    cuts.push(patched);
                }
                for file in cuts {
                    if let Ok(small) = make_as(&file, wanted(false)) {
                        assert!(small.content == all.content, "{kind} cut at {cut} of {}", whole.len());
                    }
                    if let Ok(small) = make_as(&file, wanted(true)) {
                        assert!(small.incomplete || small.content == all.content, "{kind} cut at {cut}");
                        cut_and_seen += u32::from(small.incomplete);
                    }
                }
            }
            assert_eq!(cut_and_seen > 100, kind.contains("JPEG"), "{kind}: {cut_and_seen}");
        }
    }

    #[test]
    fn a_thumbnail_fills_its_room_as_it_was_asked() {
        let file = file(noise(60, 40), PictureFormat::Png);
        for (fit, room, size) in [
            ("contain", (30, 30), (30, 20)),
            ("cover", (30, 30), (30, 30)),
            ("cover", (30, 10), (30, 10)),
            ("cover", (7, 30), (7, 30)),
            ("cover", (100, 10), (60, 10)),
            ("cover", (100, 100), (60, 40)),
            ("crop", (30, 30), (30, 30)),
            ("crop", (100, 10), (60, 10)),
        ] {
            let wanted = serde_json::json!({ "width": room.0, "height": room.1, "fit": fit });
            let small = make_as(&file, wanted).expect("made");
            assert_eq!((small.width, small.height), size, "{fit} {room:?}");
            assert_eq!(seen(&small).dimensions(), size, "{fit} {room:?}");
        }
        let cropped = make_as(&file, serde_json::json!({ "width": 10, "height": 10, "fit": "crop" })).expect("made");
        assert_eq!(seen(&cropped).into_rgb8(), noise(60, 40).crop_imm(25, 15, 10, 10).into_rgb8(), "the very middle");
    }

    #[test]
    fn a_cover_is_cut_from_the_picture_and_never_enlarged() {
        for (size, room, expected) in [
            ((60, 40), (30, 30), ((40, 40), (30, 30))),
            ((60, 40), (30, 10), ((60, 20), (30, 10))),
            ((60, 40), (7, 30), ((9, 40), (7, 30))),
            ((60, 40), (100, 10), ((60, 10), (60, 10))),
            ((60, 40), (100, 100), ((60, 40), (60, 40))),
            ((12_000, 2_600), (1, 2_048), ((1, 2_600), (1, 2_048))),
        ] {
            assert_eq!(cover(size, room), expected, "{size:?} {room:?}");
        }
        for size in [(1, 1), (1, 12_000), (12_000, 7), (333, 4_567), (12_000, 2_666)] {
            for room in [(1, 1), (1, 2_048), (2_048, 3), (300, 2_048), (77, 77)] {
                let (part, new) = cover(size, room);
                assert!(
                    part.0 <= size.0 && part.1 <= size.1 && part.0 >= new.0 && part.1 >= new.1,
                    "{size:?} {room:?}"
                );
            }
        }
    }

    #[test]
    fn a_better_jpeg_is_longer() {
        let file = file(noise(60, 40), PictureFormat::Png);
        let lengths = [1, 50, 85, 100].map(|quality| {
            let wanted = serde_json::json!({ "width": 60, "height": 40, "format": "jpeg", "quality": quality });
            make_as(&file, wanted).expect("made").content.len()
        });
        assert!(lengths.is_sorted() && lengths[0] < lengths[3], "{lengths:?}");
        let unless_given = make(&file, (60, 40), Some(PictureFormat::Jpeg)).expect("made").content.len();
        assert_eq!(unless_given, lengths[2]);
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
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(*b"IHDR", &header), chunk(*b"IDAT", b"x"), chunk(*b"IEND", b"")].concat()
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
            let (width, height) = contain(size, room);
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
