//! Headers as they stand in a message: ASCII, folded far below the 998 octets of RFC 5322 (section 2.1.1), and nothing in
//! them that a reader would take for something else.
//!
//! The library folds only between words, so a list of bare addresses becomes one line, and sends as it is what only looks
//! encoded: `=?utf-8?q?a=0D=0ABcc:_b?=` would be two lines to a reader.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::Mailbox;
use lettre::message::header::{Header, HeaderName, HeaderValue, InvalidHeaderName};

/// Where a line is folded if there is a blank to fold it at (RFC 5322, section 2.1.1), and the longest that a line with an
/// encoded word in it may be (RFC 2047, section 2).
const WIDTH: usize = 76;

/// The longest line that is left whole because there is no blank in it.
const LONGEST_LINE: usize = 990;

/// Where a folded line begins: after its blank.
const FOLDED: usize = 1;

/// A header with addresses, each on a line of its own.
pub fn addresses(name: &'static str, mailboxes: &[Mailbox]) -> HeaderValue {
    let columns = std::iter::once(name.len() + 2).chain(std::iter::repeat(FOLDED));
    let encoded: Vec<_> = mailboxes.iter().zip(columns).map(|(mailbox, column)| address(mailbox, column)).collect();
    let name = HeaderName::new_from_ascii_str(name);
    // The raw value is empty because the library reads that of `From` once more, and refuses a message in whose sender's
    // address there are quotes or brackets. Of an empty one it makes an empty list.
    HeaderValue::dangerous_new_pre_encoded(name, String::new(), encoded.join(",\r\n "))
}

/// A header with text for people, or for a program that knows what it means.
pub fn text(name: String, value: String) -> Result<HeaderValue, InvalidHeaderName> {
    let name = HeaderName::new_from_ascii(name)?;
    let column = name.len() + 2;
    let encoded = folded(&value, column).unwrap_or_else(|| encoded_words(&value, column));
    Ok(HeaderValue::dangerous_new_pre_encoded(name, value, encoded))
}

/// How a part is shown, and what it is called (RFC 2183).
#[derive(Clone)]
pub struct Disposition(HeaderValue);

impl Disposition {
    /// A file to be saved, or, if `is_shown`, one that the text shows.
    pub fn of(file_name: &str, is_shown: bool) -> Self {
        let kind = if is_shown { "inline" } else { "attachment" };
        let value = format!("{kind};\r\n {}", parameter(file_name));
        Self(HeaderValue::dangerous_new_pre_encoded(Self::name(), kind.to_owned(), value))
    }
}

impl Header for Disposition {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Content-Disposition")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{text} is only written").into())
    }

    fn display(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// The file's name in quotes or, if a reader might not take it from there, in percent-encoded pieces (RFC 2231).
fn parameter(file_name: &str) -> String {
    let is_short = file_name.len() <= WIDTH / 2 && file_name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_short && !looks_encoded(file_name) {
        return format!("filename=\"{}\"", file_name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let encoded = percent_encoding::utf8_percent_encode(file_name, percent_encoding::NON_ALPHANUMERIC);
    let mut pieces: Vec<String> = vec!["utf-8''".to_owned()];
    for piece in encoded {
        match pieces.last_mut() {
            Some(last) if last.len() + piece.len() <= WIDTH - "filename*00*=;".len() => last.push_str(piece),
            Some(_) | None => pieces.extend(in_pieces(piece)),
        }
    }
    let pieces = pieces.iter().enumerate().map(|(index, piece)| format!("filename*{index}*={piece}"));
    pieces.collect::<Vec<_>>().join(";\r\n ")
}

/// A run of plain characters may be longer than a line.
fn in_pieces(text: &str) -> impl Iterator<Item = String> {
    text.as_bytes().chunks(WIDTH / 2).map(|piece| String::from_utf8_lossy(piece).into_owned())
}

fn address(mailbox: &Mailbox, column: usize) -> String {
    match mailbox.name.as_deref().filter(|name| !name.is_empty()) {
        None => mailbox.email.to_string(),
        Some(name) => {
            let phrase = phrase(name, column);
            let is_encoded = phrase.starts_with("=?"); // a name that begins so is never left as it is
            let blank = if is_encoded { "\r\n " } else { " " };
            format!("{phrase}{blank}<{}>", mailbox.email)
        }
    }
}

/// A name in front of an address (RFC 5322, section 3.2.5): bare, in quotes, or encoded.
fn phrase(name: &str, column: usize) -> String {
    let is_short = name.len() <= WIDTH / 2 && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-'_".contains(&byte);
    // `=?` in one name and `?=` in the next are an encoded word to a reader that decodes a list before it splits it.
    if !is_short || name.contains("=?") {
        encoded_words(name, column)
    } else if name.split(' ').all(|word| !word.is_empty() && word.bytes().all(plain)) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// Whether a reader might decode something in it (RFC 2047), be it in quotes or not.
fn looks_encoded(text: &str) -> bool {
    text.split_once("=?").is_some_and(|(_, rest)| rest.contains("?="))
}

/// The text in lines, the first of which begins at `column`; `None` if it cannot be sent as it is.
fn folded(text: &str, column: usize) -> Option<String> {
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    // Readers drop blanks at the ends.
    if !visible || text.trim_ascii() != text || looks_encoded(text) {
        return None;
    }
    let (mut lines, mut column) = (String::with_capacity(text.len() + 8), column);
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 {
            // Of several blanks the last is where a line is folded: one of nothing but blanks would end the header for
            // some readers.
            let is_full = !word.is_empty() && column + 1 + word.len() > WIDTH;
            lines.push_str(if is_full { "\r\n " } else { " " });
            column = if is_full { FOLDED } else { column + 1 };
        }
        lines.push_str(word);
        column += word.len();
        if column > LONGEST_LINE {
            return None;
        }
    }
    Some(lines)
}

/// The text in encoded words, one on each line, the first of which begins at `column`. No word holds a part of a
/// character.
fn encoded_words(text: &str, column: usize) -> String {
    // The bytes of text on a line. Any character has room, though a header's name alone fills the line.
    let room = |column: usize| (WIDTH.saturating_sub(column + "=?utf-8?b??=".len()) / 4 * 3).max(4);
    let (mut words, mut left) = (vec![String::new()], room(column));
    for character in text.chars() {
        match words.last_mut() {
            Some(word) if character.len_utf8() <= left => word.push(character),
            Some(_) | None => {
                words.push(character.to_string());
                left = room(FOLDED);
            }
        }
        left -= character.len_utf8();
    }
    let words = words.iter().map(|word| format!("=?utf-8?b?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}
