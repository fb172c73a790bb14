//! What the routes of things with names share, schedules and subscriptions: the name in the path, the conditions and the
//! answer of a `PUT`, and the pages of a list.

use axum::Json;
use axum::extract::{Path, RawQuery};
use axum::http::header::{IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::values::invalid::InvalidField;
use shared::values::name::Name;

use crate::http::body::{IdRead, number, parameters};
use crate::http::problem::{Problem, ProblemCode};

/// The name in the path.
pub fn name_in(name: IdRead) -> Result<Name, Problem> {
    let name = name.map_or_else(|_| String::new(), |Path(name)| name);
    Name::parse(&name).map_err(|invalid| Problem::field(ProblemCode::InvalidRequest, &invalid))
}

/// Whether nothing may be replaced: `If-None-Match: *`.
pub fn must_be_new(headers: &HeaderMap) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| value == "*")
}

/// The answer to a `PUT`: what is now at `path`.
pub fn stored(is_new: bool, path: String, view: impl Serialize) -> Response {
    if is_new {
        (StatusCode::CREATED, [(LOCATION, path)], Json(view)).into_response()
    } else {
        Json(view).into_response()
    }
}

/// How many things are asked for, and the `cursor` of the page.
pub fn page(query: &RawQuery) -> Result<(usize, Option<String>), InvalidField> {
    let [limit, cursor] = parameters(query, ["limit", "cursor"])?;
    let limit = number("limit", limit.as_deref(), 1, 100)?.unwrap_or(20);
    Ok((usize::try_from(limit).unwrap_or(usize::MAX), cursor))
}

/// No page has given this cursor.
pub fn unknown_cursor() -> InvalidField {
    InvalidField::new("cursor", "is not one that an earlier page has given")
}
