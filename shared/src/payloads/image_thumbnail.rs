//! `image-thumbnail`: a smaller picture of a picture.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::job_type::Payload;
use crate::ports::files::FileName;
use crate::values::base64_text::Base64;
use crate::values::invalid::{InvalidField, read_fields};
use crate::values::json::{Whole, null_is_absent};

/// The longest side that a thumbnail may have, in pixels.
pub const LONGEST_SIDE: u32 = 2048;

/// A picture, and how much room its smaller one may take. It is never larger than the picture.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageThumbnail {
    /// Where the picture is.
    pub source: Picture,
    /// The most pixels from left to right, 1 to [`LONGEST_SIDE`].
    pub width: Whole<1, LONGEST_SIDE>,
    /// The most pixels from top to bottom, 1 to [`LONGEST_SIDE`].
    pub height: Whole<1, LONGEST_SIDE>,
    /// What the thumbnail is written as; unless it is said, what the picture is.
    pub format: Option<PictureFormat>,
    /// How it fills the room.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub fit: Fit,
    /// How good a JPEG is.
    pub quality: Option<Whole<1, 100>>,
    /// Whether a JPEG of which a part is missing is taken: what is missing is grey.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub allow_incomplete: bool,
}

/// How a thumbnail fills the room that it may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// All of the picture, with its proportions; one side may stay shorter than the room.
    #[default]
    Contain,
    /// The room is filled; what stands out at two edges is cut off.
    Cover,
    /// The middle of the picture in its own size; what stands out at the edges is cut off.
    Crop,
}

/// Where a picture is.
#[derive(PartialEq, Eq)]
pub enum Picture {
    /// In a file below the deployment's place for files: `"photos/cat.jpg"`.
    File(FileName),
    /// In the payload itself: `{"base64":"iVBORw0…"}`.
    Sent(Vec<u8>),
}

/// The formats that are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// PNG.
    Png,
    /// JPEG. It knows no transparency: what is behind the picture becomes white.
    Jpeg,
    /// WebP, written without loss.
    Webp,
}

impl Payload for ImageThumbnail {
    const NAME: &'static str = "image-thumbnail";
    const SCHEMA: &'static str = r##"{
        "description": "A smaller picture of a PNG, JPEG or WebP picture.",
        "type": "object", "required": ["source", "width", "height"], "additionalProperties": false,
        "properties": {
            "source": { "description": "A file below the deployment's place for files; or the file itself.", "oneOf": [
                { "type": "string", "maxLength": 512, "pattern": "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$" },
                { "$ref": "#/$defs/EmbeddedPicture" } ] },
            "width": { "description": "The most pixels across.", "type": "integer", "minimum": 1, "maximum": 2048 },
            "height": { "description": "The most pixels down.", "type": "integer", "minimum": 1, "maximum": 2048 },
            "format": { "description": "Unless it is said, the picture's own.", "type": ["string", "null"], "enum": ["png", "jpeg", "webp", null] },
            "fit": { "description": "contain: all of it, with its proportions; cover: the room is filled and what stands out cut off; crop: its middle, not made smaller.",
                "type": ["string", "null"], "enum": ["contain", "cover", "crop", null] },
            "quality": { "description": "How good a JPEG is; 85 unless given.", "type": ["integer", "null"], "minimum": 1, "maximum": 100 },
            "allow_incomplete": { "description": "Whether a JPEG of which a part is missing is taken.", "type": ["boolean", "null"] }
        },
        "if": { "required": ["format"], "properties": { "format": { "enum": ["png", "webp"] } } },
        "then": { "properties": { "quality": { "enum": [null] } } },
        "$defs": {
            "EmbeddedPicture": { "type": "object", "required": ["base64"], "additionalProperties": false,
                "properties": { "base64": { "type": "string", "contentEncoding": "base64" } } }
        }
    }"##;
    const EXAMPLE: &'static str = r#"{"source":"photos/cat.jpg","width":320,"height":240,"format":"webp"}"#;
    /// Jobs of one batch open their pictures one after another.
    const TIMEOUT_SECONDS: u32 = 50;

    fn parse(json: &str) -> Result<Self, InvalidField> {
        let thumbnail: Self = read_fields(json)?;
        if thumbnail.quality.is_some() && thumbnail.format.is_some_and(|format| format != PictureFormat::Jpeg) {
            return Err(InvalidField::new("quality", "is only for JPEG"));
        }
        Ok(thumbnail)
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.debug_tuple("File").field(name).finish(),
            Self::Sent(content) => write!(f, "Sent({} bytes)", content.len()),
        }
    }
}

impl<'de> Deserialize<'de> for Picture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PictureVisitor)
    }
}

struct PictureVisitor;

impl<'de> Visitor<'de> for PictureVisitor {
    type Value = Picture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file name, or an object with the file itself in `base64`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Picture, E> {
        FileName::parse(text).map(Picture::File).ok_or_else(|| E::custom(FileName::FORM))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Picture, A::Error> {
        let Sent { base64 } = Sent::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Picture::Sent(base64.0))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    base64: Base64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_in_a_file_or_in_the_payload() {
        let json = r#"{"source":"photos/cat.jpg","width":200,"height":2048}"#;
        let thumbnail = ImageThumbnail::parse(json).expect("fits");
        assert_eq!(thumbnail.source, Picture::File(FileName::parse("photos/cat.jpg").expect("a name")));
        assert_eq!((thumbnail.width.get(), thumbnail.height.get(), thumbnail.format), (200, 2048, None));
        let json = r#"{"source":{"base64":"iVBORw=="},"width":1,"height":1,"format":"webp"}"#;
        let thumbnail = ImageThumbnail::parse(json).expect("fits");
        assert_eq!(thumbnail.source, Picture::Sent(b"\x89PNG".to_vec()));
        assert_eq!(thumbnail.format, Some(PictureFormat::Webp));
        assert_eq!(format!("{:?}", thumbnail.source), "Sent(4 bytes)", "no log holds a picture");
        let json = r#"{"source":{"base64":"data:image/png;base64,iVBO\r\nRw"},"width":1.0,"height":1,"fit":"cover","quality":40}"#;
        let thumbnail = ImageThumbnail::parse(json).expect("fits");
        assert_eq!(thumbnail.source, Picture::Sent(b"\x89PNG".to_vec()));
        assert_eq!(
            (thumbnail.fit, thumbnail.quality.map(Whole::get), thumbnail.allow_incomplete),
            (Fit::Cover, Some(40), false)
        );
        let json =
            r#"{"source":"a","width":1,"height":1,"format":null,"fit":null,"quality":null,"allow_incomplete":null}"#;
        assert_eq!(ImageThumbnail::parse(json).expect("fits").fit, Fit::Contain);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let of = |json: &str| ImageThumbnail::parse(json).expect_err(json).within("payload").to_string();
        assert_eq!(of(r#"{"width":1,"height":1}"#), "`payload.source` is required");
        assert_eq!(
            of(r#"{"source":"a","width":0,"height":1}"#),
            "`payload.width` must be a whole number from 1 to 2048"
        );
        assert_eq!(
            of(r#"{"source":"a","width":1,"height":2049}"#),
            "`payload.height` must be a whole number from 1 to 2048"
        );
        assert_eq!(of(r#"{"source":{},"width":1,"height":1}"#), "`payload.source.base64` is required");
        for source in ["../a.png", "/etc/passwd", "https://example.com/a.png", ""] {
            let json = serde_json::json!({ "source": source, "width": 1, "height": 1 }).to_string();
            assert_eq!(of(&json), format!("`payload.source` does not fit: {}", FileName::FORM));
        }
        assert_eq!(
            of(r#"{"source":{"base64":"*"},"width":1,"height":1}"#),
            "`payload.source.base64` must be base64: invalid symbol 42, offset 0."
        );
        let format = of(r#"{"source":"a","width":1,"height":1,"format":"gif"}"#);
        assert_eq!(format, "`payload.format` must be one of png, jpeg, webp");
        let with = |option: &str| of(&format!(r#"{{"source":"a","width":1,"height":1,"format":"png",{option}}}"#));
        assert_eq!(with(r#""fit":"fill""#), "`payload.fit` must be one of contain, cover, crop");
        assert_eq!(with(r#""quality":101"#), "`payload.quality` must be a whole number from 1 to 100");
        assert_eq!(with(r#""quality":50"#), "`payload.quality` is only for JPEG");
        let source = of(r#"{"source":7,"width":1,"height":1}"#);
        let expected = "a file name, or an object with the file itself in `base64`";
        assert_eq!(source, format!("`payload.source` must be {expected}, not the number 7"));
    }
}
