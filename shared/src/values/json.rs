//! JSON that is kept as the text it came in, and what of it every other program can read.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A well-formed JSON value as text, without white space between its tokens.
///
/// Text, because a payload must come back as it was sent: fields in their own order, `1.10` not turned into `1.1`,
/// numbers of any length. Serialises as the value itself when the format is JSON.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Box<str>);

impl Json {
    /// Takes any well-formed JSON text.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_str(text)?;
        Ok(Self::from(raw))
    }

    /// The JSON form of `value`. Fails where `value` has none (a map whose keys are not strings, say).
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(|text| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&RawValue> for Json {
    fn from(raw: &RawValue) -> Self {
        Self(without_white_space(raw.get()).into())
    }
}

/// Drops the white space between tokens. The text must be well-formed JSON.
fn without_white_space(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character == '"' {
            in_string = true;
        } else if character.is_ascii_whitespace() {
            continue;
        }
        kept.push(character);
    }
    kept
}

/// How many arrays and objects may stand within one another. Many readers take no more: `serde_json` (128) and jq (256),
/// say.
pub const MOST_LEVELS: usize = 128;

/// Whether every other program can read this JSON: no half of a surrogate pair, which stands for no character and which
/// no UTF-8 can carry; no number that overflows; no more than [`MOST_LEVELS`] levels. RFC 8259, sections 8.2 and 9, warns
/// of the first and leaves the others to each reader; RFC 7493 (I-JSON) forbids the first.
pub fn check_readable(text: &str) -> Result<(), NotReadable> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit(); // ours comes first
    if (Readable { levels: MOST_LEVELS }).deserialize(&mut reader).and_then(|()| reader.end()).is_ok() {
        return Ok(());
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| NotReadable::NotJson(error.to_string()))?;
    // Once more, to know the place.
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let mut track = serde_path_to_error::Track::new();
    let outcome =
        Readable { levels: MOST_LEVELS }.deserialize(serde_path_to_error::Deserializer::new(&mut reader, &mut track));
    let reason = outcome.err().map(|error| error.to_string()).unwrap_or_default();
    let problem = if reason.starts_with(TOO_DEEP) {
        format!("is nested more than {MOST_LEVELS} levels deep")
    } else if reason.starts_with("number out of range") {
        "is a number that other programs read as infinite".to_owned()
    } else {
        "has half of a surrogate pair (\\ud800 to \\udfff), which is no character".to_owned()
    };
    let path = track.path().to_string();
    // A name that cannot be read is a question mark: the object around it is named.
    let path = path.strip_suffix(".?").unwrap_or(&path);
    let path: String =
        if [".", "?"].contains(&path) { String::new() } else { path.chars().take(LONGEST_PATH).collect() };
    Err(NotReadable::At(path, problem))
}

/// Why other programs cannot read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReadable {
    /// It is not JSON at all.
    NotJson(String),
    /// What stands at this path (empty: the whole of it) is such a thing, said so that it can be read after the path.
    At(String, String),
}

const TOO_DEEP: &str = "too many levels";

/// The most that is told of the path to a place, in characters.
const LONGEST_PATH: usize = 100;

/// Reads anything and keeps nothing, as long as there are levels left.
#[derive(Clone, Copy)]
struct Readable {
    levels: usize,
}

impl Readable {
    fn within<E: serde::de::Error>(self) -> Result<Self, E> {
        self.levels.checked_sub(1).map(|levels| Self { levels }).ok_or_else(|| E::custom(TOO_DEEP))
    }
}

impl<'de> DeserializeSeed<'de> for Readable {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let inner = self.within()?;
        while array.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let inner = self.within()?;
        while object.next_entry_seed(inner, inner)?.is_some() {}
        Ok(())
    }
}

/// A whole number from `LEAST` to `MOST`. Takes any JSON number that is one, `3.0` and `3e0` too: to JSON they are the
/// same, and there are clients that know no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const LEAST: u32, const MOST: u32>(u32);

impl<const LEAST: u32, const MOST: u32> Whole<LEAST, MOST> {
    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl<const LEAST: u32, const MOST: u32> Serialize for Whole<LEAST, MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor<const LEAST: u32, const MOST: u32>;

        impl<const LEAST: u32, const MOST: u32> WholeVisitor<LEAST, MOST> {
            fn checked<E: serde::de::Error>(number: Option<u32>) -> Result<Whole<LEAST, MOST>, E> {
                let fits = number.filter(|number| (LEAST..=MOST).contains(number));
                fits.map(Whole).ok_or_else(|| E::custom(format_args!("must be a whole number from {LEAST} to {MOST}")))
            }
        }

        impl<const LEAST: u32, const MOST: u32> Visitor<'_> for WholeVisitor<LEAST, MOST> {
            type Value = Whole<LEAST, MOST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {LEAST} to {MOST}")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Self::checked(u32::try_from(number).ok())
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                Self::checked(u32::try_from(number).ok())
            }

            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds of a u32")]
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
                Self::checked(whole.then_some(number as u32))
            }
        }

        deserializer.deserialize_any(WholeVisitor)
    }
}

/// For optional fields that are no `Option`: `null` is the same as absent. To stand beside `#[serde(default)]`.
pub fn null_is_absent<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(Self::from(&*raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_and_order_stay_as_they_were_sent() {
        let sent = "{ \"z\" : 1.10,\n\t\"a\" : [ 123456789012345678901234567890 , \"two  \\\" spaces\" ] }";
        let kept = r#"{"z":1.10,"a":[123456789012345678901234567890,"two  \" spaces"]}"#;
        assert_eq!(Json::parse(sent).expect("valid").as_str(), kept);
    }

    #[test]
    fn within_other_json_it_is_the_value_itself() {
        let json = Json::parse(r#"{"n": 1.10}"#).expect("valid");
        let outer = serde_json::to_string(&(7, &json)).expect("serialises");
        assert_eq!(outer, r#"[7,{"n":1.10}]"#);
        assert_eq!(serde_json::from_str::<(u8, Json)>(&outer).expect("reads back"), (7, json));
    }

    #[test]
    fn a_log_shows_its_text() {
        assert_eq!(format!("{:?}", Json::parse(r#"{"n": 1.10}"#).expect("valid")), r#"{"n":1.10}"#);
    }

    #[test]
    fn what_other_programs_cannot_read_is_refused_with_its_place() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for fine in
            ["7", "\"\\ud83d\\ude00\"", r#"{"a":[null,true,-1.5e3,123456789012345678901234567890]}"#, &nested(128)]
        {
            assert_eq!(check_readable(fine), Ok(()), "{fine}");
        }
        let at = |text: &str| match check_readable(text).expect_err(text) {
            NotReadable::At(path, problem) => (path, problem),
            NotReadable::NotJson(problem) => panic!("{text}: {problem}"),
        };
        for half in [r"\ud800", r"\udc00", r"\uD800x", r"\ud800\n", r"\ud800\ud800", r"\udfff\udbff"] {
            let (path, problem) = at(&format!(r#"{{"a":[0,{{"b":"x{half}"}}]}}"#));
            assert_eq!(path, "a[1].b", "{half}");
            assert!(problem.starts_with("has half of a surrogate pair"), "{half}: {problem}");
        }
        assert_eq!(at(r#"{"a":{"\ud800":1}}"#).0, "a");
        assert_eq!(at(r#""\ud800""#).0, "");
        assert_eq!(at(r#"{"n":1e999}"#).0, "n");
        assert_eq!(at(&format!(r#"{{"d":{}}}"#, nested(128))).1, "is nested more than 128 levels deep");
        let (path, problem) = at(&nested(100_000));
        assert_eq!((path.len(), problem.as_str()), (LONGEST_PATH, "is nested more than 128 levels deep"));
        assert!(matches!(check_readable("{"), Err(NotReadable::NotJson(_))));
        assert!(matches!(check_readable("1 2"), Err(NotReadable::NotJson(_))));
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let of =
            |text: &str| serde_json::from_str::<Whole<0, 10>>(text).map(Whole::get).map_err(|error| error.to_string());
        for (text, number) in [("0", 0), ("10", 10), ("3.0", 3), ("3e0", 3), ("0.1e2", 10), ("-0.0", 0)] {
            assert_eq!(of(text), Ok(number), "{text}");
        }
        for text in ["-1", "11", "3.5", "1e300", "4294967296", "-1e9", "99999999999999999999"] {
            assert!(of(text).expect_err(text).starts_with("must be a whole number from 0 to 10"), "{text}");
        }
        assert!(of("\"3\"").expect_err("a string").contains("expected a whole number from 0 to 10"));
    }

    proptest! {
        #[test]
        fn everything_that_is_written_by_a_library_is_readable(text in "\\PC*", number in any::<f64>()) {
            let value = serde_json::json!({ text.clone(): [number, text, null, {}] });
            prop_assert_eq!(check_readable(&value.to_string()), Ok(()));
            prop_assert_eq!(check_readable(&serde_json::to_string_pretty(&value).expect("serialises")), Ok(()));
        }

        #[test]
        fn dropping_white_space_changes_no_value(text in "\\PC*", number in any::<i64>()) {
            let value = serde_json::json!({ text.clone(): [number, text, null, true] });
            let pretty = serde_json::to_string_pretty(&value).expect("serialises");
            let json = Json::parse(&pretty).expect("valid");
            prop_assert_eq!(json.as_str(), value.to_string());
        }
    }
}
