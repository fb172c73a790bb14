//! Signatures of webhooks, as Standard Webhooks says.
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::values::time::Timestamp;

/// What this deployment signs webhooks with: one key, or several while receivers change from one to another.
#[derive(Clone)]
pub struct WebhookSecret(Vec<Hmac<Sha256>>);

/// A secret that is not one. It is not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it must be whsec_ and the base64 of 24 to 64 random bytes, or several of that with a space between")]
pub struct InvalidSecret;

/// The shortest and the longest key, in bytes.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

impl WebhookSecret {
    /// Reads `whsec_<base64>`, or several of them with spaces between.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let keys: Vec<_> = text.split_whitespace().map(parse_key).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(InvalidSecret) } else { Ok(Self(keys)) }
    }

    /// The headers by which a receiver knows that `body` comes from here, was sent at `now`, and is or is not one that
    /// it has seen already. `id` is the same in every attempt, and has no full stop in it: that would let it run into
    /// the time.
    pub fn headers(&self, id: &str, now: Timestamp, body: &str) -> Vec<(&'static str, String)> {
        let timestamp = now.as_secs().to_string();
        let signatures: Vec<_> = self.0.iter().map(|key| signature(key, id, &timestamp, body)).collect();
        vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signatures.join(" ")),
        ]
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

fn parse_key(text: &str) -> Result<Hmac<Sha256>, InvalidSecret> {
    let encoded = text.strip_prefix("whsec_").ok_or(InvalidSecret)?;
    let key = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
    if !KEY_LENGTH.contains(&key.len()) {
        return Err(InvalidSecret);
    }
    Hmac::<Sha256>::new_from_slice(&key).map_err(|_| InvalidSecret)
}

fn signature(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &str) -> String {
    let mut mac = key.clone();
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const OTHER_KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn signature_with(secret: &str) -> String {
        let secret = WebhookSecret::parse(secret).expect("a secret");
        let body = r#"{"email":"test@example.com","username":"test_user"}"#;
        let now = Timestamp::from_millis(1_649_367_553_999);
        let headers = secret.headers("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", now, body);
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["webhook-id", "webhook-timestamp", "webhook-signature"]);
        assert_eq!(headers[0].1, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk");
        assert_eq!(headers[1].1, "1649367553");
        headers[2].1.clone()
    }

    #[test]
    fn the_signature_is_the_one_that_the_standards_own_libraries_make() {
        assert_eq!(signature_with(KEY), "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn while_keys_change_each_signs() {
        let both = signature_with(&format!("{OTHER_KEY} {KEY}"));
        assert_eq!(both, format!("{} {}", signature_with(OTHER_KEY), signature_with(KEY)));
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        let half = format!("{KEY} hunter2");
        for wrong in
            ["", " ", "hunter2", "whsec_", "whsec_hunter2!", &KEY[6..], short.as_str(), long.as_str(), half.as_str()]
        {
            let error = WebhookSecret::parse(wrong).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| !error.contains("hunter2")), "{wrong:?}");
        }
    }
}
