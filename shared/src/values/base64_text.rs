//! Bytes in base64, as people and programs write it.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Bytes that stand in JSON as base64: of the standard alphabet or the one for URLs, with padding or without, with line
/// breaks and blanks in it (RFC 2045), or in a `data:` URI (RFC 2397), whose media type does not matter.
#[derive(Clone, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Base64 {
    /// Reads it. What is wrong is said so that it can be read after a field's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_ascii();
        let text = match text.get(..5).filter(|start| start.eq_ignore_ascii_case("data:")) {
            None => text,
            Some(_) => match text.split_once(',') {
                Some((start, content)) if start.to_ascii_lowercase().ends_with(";base64") => content,
                Some(_) | None => return Err("must be a data URI with `;base64,` in it, or plain base64".to_owned()),
            },
        };
        let plain = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        });
        let content = LENIENT.decode(plain.collect::<Vec<_>>());
        content.map(Self).map_err(|error| format!("must be base64: {}", error.to_string().to_lowercase()))
    }
}

impl std::fmt::Debug for Base64 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Base64({} bytes)", self.0.len())
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_however_it_is_written() {
        let content = b"\xfb\xff\xfe PNG";
        for text in [
            "+//+IFBORw==",
            "+//+IFBORw",
            "-__-IFBORw==",
            "-__-IFBORw",
            "+//+\r\nIFBO\r\nRw==\r\n",
            "  +//+ IFBO\tRw==\n",
            "data:image/png;base64,+//+IFBORw==",
            "DATA:;charset=utf-8;BASE64,+//+IFBORw",
            "data:application/octet-stream;base64,\r\n +//+\r\n IFBORw==",
        ] {
            assert_eq!(Base64::parse(text), Ok(Base64(content.to_vec())), "{text:?}");
        }
        assert_eq!(Base64::parse(""), Ok(Base64(vec![])));
    }

    #[test]
    fn what_is_none_is_said_to_be_none() {
        for text in
            ["*", "a", "+//+IFBORw=x", "=", "ü", "data:,hello", "data:text/plain,hello", "data:image/png;base64"]
        {
            let problem = Base64::parse(text).expect_err(text);
            assert!(problem.starts_with("must be "), "{text}: {problem}");
        }
        assert_eq!(format!("{:?}", Base64(vec![1, 2])), "Base64(2 bytes)", "no log holds the content");
    }
}
