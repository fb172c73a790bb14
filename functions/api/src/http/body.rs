//! What requests bring: bodies that say that they are JSON, ids in paths, and queries.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, RawQuery};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::job::submission::{LONGEST_BODY, Rejection, well_formed};
use shared::values::id::JobId;
use shared::values::invalid::{InvalidField, read_fields};

use crate::http::problem::{Problem, ProblemCode};

/// A body, if it could be read.
pub type BodyRead = Result<Bytes, BytesRejection>;

/// An id in the path, if it could be read.
pub type IdRead = Result<Path<String>, PathRejection>;

/// What the body of a compressed request calls itself, so that API Gateway hands it over as it is. Any `…+json` will do.
const COMPRESSED_JSON: &str = "application/vnd.dray+json";

/// The body, if it says that it is JSON and is not too long.
pub fn json_body(headers: &HeaderMap, body: BodyRead) -> Result<Bytes, Problem> {
    json_body_up_to(LONGEST_BODY, headers, body)
}

/// The same, where the route takes another length. What was compressed by gzip has been unpacked before it gets here, and
/// its length is that of what was in it.
pub fn json_body_up_to(longest: usize, headers: &HeaderMap, body: BodyRead) -> Result<Bytes, Problem> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b"identity"[..], HeaderValue::as_bytes);
    if !encoding.eq_ignore_ascii_case(b"identity") {
        let invalid = InvalidField::new("Content-Encoding", "must be gzip, or absent");
        return Err(Problem::field(ProblemCode::UnsupportedMediaType, &invalid));
    }
    let body = body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let problem = format!("must be at most {longest} bytes long");
            return Problem::field(ProblemCode::BodyTooLarge, &InvalidField::new("body", problem));
        }
        // Lambda hands over whole bodies: it is the compression. API Gateway takes `application/json` for text, and what
        // is not UTF-8 in it is lost before it gets here.
        let problem = format!("must be gzip, whole, and together with Content-Type {COMPRESSED_JSON}");
        Problem::field(ProblemCode::UnsupportedMediaType, &InvalidField::new("Content-Encoding", problem))
    })?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        Ok(body)
    } else {
        let invalid = InvalidField::new("Content-Type", "must be application/json");
        Err(Problem::field(ProblemCode::UnsupportedMediaType, &invalid))
    }
}

/// The fields of an object. Where the route can do without, no body at all is an empty object.
pub fn object<T: DeserializeOwned>(headers: &HeaderMap, body: BodyRead, optional: bool) -> Result<T, Problem> {
    if optional && body.as_ref().is_ok_and(Bytes::is_empty) {
        return Ok(read_fields("{}")?);
    }
    let body = json_body(headers, body)?;
    Ok(read_object(&body)?)
}

/// The fields of an object in JSON text.
pub fn read_object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Rejection> {
    fields_of(well_formed(body)?)
}

/// The fields of the object that is this JSON text.
pub fn fields_of<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    if !text.starts_with('{') {
        return Err(InvalidField::new("body", "must be an object").into());
    }
    Ok(read_fields(text)?)
}

/// The job's id in the path.
pub fn job_id(id: IdRead) -> Result<JobId, Problem> {
    id.ok().and_then(|Path(id)| id.parse().ok()).ok_or_else(|| {
        Problem::field(ProblemCode::InvalidRequest, &InvalidField::new("job_id", "must be a UUID with hyphens"))
    })
}

/// The parameters of a query, each of them known and given once. Their values are still text.
pub fn parameters<const N: usize>(
    query: &RawQuery,
    known: [&'static str; N],
) -> Result<[Option<String>; N], InvalidField> {
    let mut values = [const { None }; N];
    let RawQuery(query) = query;
    for (name, value) in url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()) {
        let Some(index) = known.iter().position(|known| *known == name) else {
            let names = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(InvalidField::new(name, format!("is not a known parameter; known are {names}")));
        };
        if values[index].replace(value.into_owned()).is_some() {
            return Err(InvalidField::new(known[index], "is given twice"));
        }
    }
    Ok(values)
}

/// A whole number in a query.
pub fn number(field: &str, value: Option<&str>, from: u32, to: u32) -> Result<Option<u32>, InvalidField> {
    let Some(text) = value else { return Ok(None) };
    match text.parse() {
        Ok(number) if (from..=to).contains(&number) => Ok(Some(number)),
        Ok(_) | Err(_) => Err(InvalidField::new(field, format!("must be a whole number from {from} to {to}"))),
    }
}
