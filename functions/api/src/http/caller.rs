//! Who calls, and what they may do.
//!
//! API Gateway verifies tokens and signatures, and says in the request's context whom it let in. Nothing else is
//! believed: no header, no query, no body. Who is let in acts for one tenant, and sees nothing of any other.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use lambda_http::RequestExt;
use lambda_http::aws_lambda_events::apigw::{ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerIamDescription};
use lambda_http::request::RequestContext;
use shared::job::Job;
use shared::values::id::Tenant;
use shared_aws::settings::AuthMode;

use crate::Api;
use crate::http::problem::{Problem, ProblemCode};

/// Lets a request on to its route, with its [`Caller`] as an extension, or answers why not.
pub async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>() else {
        return next.run(request).await; // to the fallback, which says that nothing is there
    };
    let needed = match access(request.method().as_str(), path.as_str()) {
        Some(Access::Open) => return next.run(request).await,
        Some(Access::Needs(scope)) => scope,
        None => return not_allowed(path.as_str()),
    };
    match Caller::of(&api.auth, request.request_context_ref()).and_then(|caller| caller.with(needed)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Everybody, known or not.
    Open,
    /// Callers with this scope.
    Needs(Scope),
}

/// Every route, and who may use it. What is not here is answered with 405, so that a new route is shut until somebody
/// has decided for whom it is.
fn access(method: &str, path: &str) -> Option<Access> {
    use Access::{Needs, Open};
    let method = if method == "HEAD" { "GET" } else { method }; // as the router does
    let access = match (method, path) {
        ("GET", "/health" | "/api/health" | "/openapi.json" | "/docs") => Open,
        ("GET", "/jobs" | "/jobs/{id}" | "/jobs/{id}/events" | "/jobs/{id}/why") => Needs(Scope::Read),
        ("GET", "/products/{id}" | "/queue" | "/schedules" | "/schedules/{name}" | "/stats") => Needs(Scope::Read),
        ("POST", "/jobs" | "/jobs/batch" | "/jobs/email" | "/products") => Needs(Scope::Write),
        ("POST", "/jobs/{id}/cancel" | "/jobs/{id}/duplicate" | "/jobs/{id}/reschedule" | "/jobs/{id}/retry") => {
            Needs(Scope::Write)
        }
        ("DELETE", "/jobs/{id}") => Needs(Scope::Write),
        ("GET", "/subscriptions" | "/subscriptions/{name}") => Needs(Scope::Read),
        ("POST", "/events") => Needs(Scope::Write),
        ("PUT" | "DELETE", "/schedules/{name}" | "/subscriptions/{name}") => Needs(Scope::Write),
        ("POST", "/schedules/{name}/pause" | "/schedules/{name}/resume" | "/schedules/{name}/run") => {
            Needs(Scope::Write)
        }
        ("GET", "/metrics") => Needs(Scope::Admin), // of all tenants
        ("POST", "/jobs/cancel" | "/jobs/retry" | "/queue/pause" | "/queue/resume") => Needs(Scope::Admin),
        _ => return None,
    };
    Some(access)
}

fn not_allowed(path: &str) -> Response {
    let allowed = ["GET", "POST", "PUT", "DELETE"].into_iter().filter(|method| access(method, path).is_some());
    let allowed = allowed.collect::<Vec<_>>().join(", ");
    let problem = Problem::new(ProblemCode::MethodNotAllowed, "this path does not take this method");
    let mut response = problem.into_response();
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// Who sends a request, as the gateway has verified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose jobs they submit, see and change.
    pub tenant: Tenant,
    /// What they may do with them.
    pub scopes: Scopes,
}

impl Caller {
    /// Whether this job is the caller's. One that is not is to be answered as if it were not there.
    pub fn owns(&self, job: &Job) -> bool {
        self.tenant == job.tenant
    }

    /// The caller that the gateway names in the context of a request.
    fn of(mode: &AuthMode, context: Option<&RequestContext>) -> Result<Self, Refusal> {
        match mode {
            AuthMode::Jwt { tenant_claim, scope_prefix } => {
                let token = authorizer(context).and_then(|authorizer| authorizer.jwt.as_ref());
                let claims = &token.ok_or(Refusal::NoToken)?.claims;
                let name = claims.get(tenant_claim).ok_or_else(|| Refusal::NoTenant(tenant_claim.clone()))?;
                let unfit = || Refusal::UnfitTenant(format!("the token's claim `{tenant_claim}`"));
                let tenant = Tenant::named(name).ok_or_else(unfit)?;
                Ok(Self { tenant, scopes: Scopes::in_claims(claims, scope_prefix) })
            }
            AuthMode::Iam => {
                let signer = authorizer(context).and_then(|authorizer| authorizer.iam.as_ref());
                let name = signer.and_then(principal).ok_or(Refusal::NoSignature)?;
                let unfit = || Refusal::UnfitTenant("the id of the AWS principal".to_owned());
                Ok(Self { tenant: Tenant::named(name).ok_or_else(unfit)?, scopes: Scopes::all() })
            }
            AuthMode::None => Ok(Self { tenant: Tenant::only(), scopes: Scopes::all() }),
        }
    }

    fn with(self, needed: Scope) -> Result<Self, Refusal> {
        if self.scopes.allow(needed) { Ok(self) } else { Err(Refusal::NoScope(needed)) }
    }
}

/// What the gateway found out about the caller.
fn authorizer(context: Option<&RequestContext>) -> Option<&ApiGatewayRequestAuthorizer> {
    match context? {
        RequestContext::ApiGatewayV2(context) => context.authorizer.as_ref(),
        _ => None,
    }
}

/// The principal's unique id, which IAM never gives to another. That of an assumed role has the session's name behind
/// it, `AROA…:name`, which is for whoever assumes it to choose: the role is what counts. Behind a Cognito identity pool
/// all people have the same role, and an identity each.
fn principal(signer: &ApiGatewayRequestAuthorizerIamDescription) -> Option<&str> {
    let identity = signer.cognito_identity.as_ref().and_then(|identity| identity.identity_id.as_deref());
    let id = identity.or(signer.user_id.as_deref())?;
    match id.split_once(':') {
        Some((role, _session)) if role.starts_with("AROA") => Some(role),
        Some(_) | None => Some(id),
    }
}

/// Leave to do one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To look at jobs, schedules and products, and at figures of them.
    Read,
    /// To submit them and to change one of them.
    Write,
    /// To change many at once, to hold up the queue and to look at the figures of all tenants; whatever the other two allow
    /// as well.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// As tokens have it, without the deployment's prefix.
    fn name(self) -> &'static str {
        match self {
            Self::Read => "jobs:read",
            Self::Write => "jobs:write",
            Self::Admin => "jobs:admin",
        }
    }
}

/// What a caller may do. To write is not to read: who only submits need not see what others of the tenant submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Whether they allow what takes the scope `needed`.
    pub fn allow(&self, needed: Scope) -> bool {
        self.0.contains(&needed) || self.0.contains(&Scope::Admin)
    }

    fn all() -> Self {
        Self(BTreeSet::from(Scope::ALL))
    }

    /// Those that a token gives, wherever its issuer writes them: `scope` is OAuth's (RFC 6749, section 3.3; RFC 9068),
    /// Okta and Microsoft Entra say `scp`, and Auth0 puts what a person may do into `permissions`.
    fn in_claims(claims: &HashMap<String, String>, prefix: &str) -> Self {
        let given = ["scope", "scp", "permissions"].into_iter().filter_map(|name| claims.get(name));
        let given: BTreeSet<_> =
            given.flat_map(|claim| words(claim)).filter_map(|word| word.strip_prefix(prefix)).collect();
        Self(Scope::ALL.into_iter().filter(|scope| given.contains(scope.name())).collect())
    }
}

/// The words of a claim. The gateway makes `[a b]` of an array.
fn words(claim: &str) -> std::str::SplitWhitespace<'_> {
    let array = claim.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    array.unwrap_or(claim).split_whitespace()
}

/// Why a request does not get to its route.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the request carries no token that has been verified")]
    NoToken,
    #[error("the request carries no signature that has been verified")]
    NoSignature,
    #[error("the token has no claim `{0}`, which would name the tenant")]
    NoTenant(String),
    #[error("{0} cannot name a tenant: that takes 1 to 64 letters, digits and characters of ._:@-")]
    UnfitTenant(String),
    #[error("this takes the scope {}", .0.name())]
    NoScope(Scope),
}

impl Refusal {
    /// What it is, and how the caller might do better (RFC 9110, section 11.6.1; RFC 6750, section 3).
    fn code(&self) -> (ProblemCode, Option<&'static str>) {
        match self {
            Self::NoToken => (ProblemCode::Unauthenticated, Some("Bearer")),
            Self::NoSignature => (ProblemCode::Unauthenticated, Some("AWS4-HMAC-SHA256")),
            Self::NoTenant(_) | Self::UnfitTenant(_) => (ProblemCode::Forbidden, None),
            Self::NoScope(_) => (ProblemCode::Forbidden, Some(r#"Bearer error="insufficient_scope""#)),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        tracing::info!(reason = %self, "request.refused");
        let (code, challenge) = self.code();
        let mut response = Problem::new(code, self.to_string()).into_response();
        if let Some(challenge) = challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A request's context as the gateway writes it, with what its authorizer found out.
    fn context(authorizer: &Value) -> RequestContext {
        let context = json!({ "http": { "method": "GET" }, "timeEpoch": 0, "authorizer": authorizer });
        serde_json::from_value(context).expect("a context")
    }

    fn jwt() -> AuthMode {
        AuthMode::Jwt { tenant_claim: "tenant".to_owned(), scope_prefix: String::new() }
    }

    fn of_token(mode: &AuthMode, claims: &Value) -> Result<Caller, Refusal> {
        Caller::of(mode, Some(&context(&json!({ "jwt": { "claims": claims, "scopes": null } }))))
    }

    fn of_signature(signer: &Value) -> Result<Caller, Refusal> {
        Caller::of(&AuthMode::Iam, Some(&context(&json!({ "iam": signer }))))
    }

    fn scopes(scopes: &[Scope]) -> Scopes {
        Scopes(scopes.iter().copied().collect())
    }

    #[test]
    fn every_route_says_who_may_use_it() {
        let routes = [
            ("GET", "/health", Access::Open),
            ("GET", "/api/health", Access::Open),
            ("GET", "/openapi.json", Access::Open),
            ("GET", "/docs", Access::Open),
            ("GET", "/jobs", Access::Needs(Scope::Read)),
            ("HEAD", "/jobs", Access::Needs(Scope::Read)),
            ("GET", "/jobs/{id}", Access::Needs(Scope::Read)),
            ("GET", "/jobs/{id}/events", Access::Needs(Scope::Read)),
            ("GET", "/jobs/{id}/why", Access::Needs(Scope::Read)),
            ("GET", "/queue", Access::Needs(Scope::Read)),
            ("GET", "/stats", Access::Needs(Scope::Read)),
            ("GET", "/metrics", Access::Needs(Scope::Admin)),
            ("GET", "/schedules", Access::Needs(Scope::Read)),
            ("GET", "/schedules/{name}", Access::Needs(Scope::Read)),
            ("GET", "/products/{id}", Access::Needs(Scope::Read)),
            ("GET", "/subscriptions", Access::Needs(Scope::Read)),
            ("GET", "/subscriptions/{name}", Access::Needs(Scope::Read)),
            ("POST", "/events", Access::Needs(Scope::Write)),
            ("PUT", "/subscriptions/{name}", Access::Needs(Scope::Write)),
            ("DELETE", "/subscriptions/{name}", Access::Needs(Scope::Write)),
            ("POST", "/jobs", Access::Needs(Scope::Write)),
            ("POST", "/jobs/batch", Access::Needs(Scope::Write)),
            ("POST", "/jobs/email", Access::Needs(Scope::Write)),
            ("POST", "/jobs/{id}/cancel", Access::Needs(Scope::Write)),
            ("POST", "/jobs/{id}/retry", Access::Needs(Scope::Write)),
            ("POST", "/jobs/{id}/duplicate", Access::Needs(Scope::Write)),
            ("DELETE", "/jobs/{id}", Access::Needs(Scope::Write)),
            ("POST", "/jobs/{id}/reschedule", Access::Needs(Scope::Write)),
            ("PUT", "/schedules/{name}", Access::Needs(Scope::Write)),
            ("DELETE", "/schedules/{name}", Access::Needs(Scope::Write)),
            ("POST", "/schedules/{name}/pause", Access::Needs(Scope::Write)),
            ("POST", "/schedules/{name}/resume", Access::Needs(Scope::Write)),
            ("POST", "/schedules/{name}/run", Access::Needs(Scope::Write)),
            ("POST", "/products", Access::Needs(Scope::Write)),
            ("POST", "/jobs/cancel", Access::Needs(Scope::Admin)),
            ("POST", "/jobs/retry", Access::Needs(Scope::Admin)),
            ("POST", "/queue/pause", Access::Needs(Scope::Admin)),
            ("POST", "/queue/resume", Access::Needs(Scope::Admin)),
        ];
        for (method, path, expected) in routes {
            assert_eq!(access(method, path), Some(expected), "{method} {path}");
        }
        for (method, path) in [("POST", "/health"), ("DELETE", "/jobs"), ("OPTIONS", "/jobs"), ("GET", "/new")] {
            assert_eq!(access(method, path), None, "{method} {path} is not a route yet");
        }
    }

    #[test]
    fn scopes_are_found_wherever_an_issuer_writes_them() {
        let found = |mut claims: Value| {
            claims["tenant"] = json!("acme");
            of_token(&jwt(), &claims).expect("a tenant").scopes
        };
        let (read, write) = (Scope::Read, Scope::Write);
        assert_eq!(found(json!({})), scopes(&[]));
        assert_eq!(found(json!({ "scope": "openid jobs:read  jobs:write" })), scopes(&[read, write]));
        assert_eq!(found(json!({ "scp": "jobs:read" })), scopes(&[read]));
        assert_eq!(found(json!({ "scp": "[jobs:read jobs:write]" })), scopes(&[read, write]), "an array");
        assert_eq!(found(json!({ "permissions": "[jobs:admin]" })), scopes(&[Scope::Admin]));
        assert_eq!(found(json!({ "scope": "jobs:read", "permissions": "[jobs:write]" })), scopes(&[read, write]));
        for other in ["jobs:reader", "JOBS:READ", "jobs", "other/jobs:read", "jobs:read,jobs:write", "[jobs:read"] {
            assert_eq!(found(json!({ "scope": other })), scopes(&[]), "{other}");
        }
    }

    #[test]
    fn with_a_prefix_only_scopes_that_have_it_count() {
        let mode = AuthMode::Jwt { tenant_claim: "sub".to_owned(), scope_prefix: "dray/".to_owned() };
        let claims = json!({ "sub": "acme", "scope": "dray/jobs:read jobs:write other/jobs:admin" });
        assert_eq!(of_token(&mode, &claims).expect("a tenant").scopes, scopes(&[Scope::Read]));
    }

    #[test]
    fn an_admin_may_do_everything_and_a_writer_may_not_read() {
        for needed in Scope::ALL {
            assert!(scopes(&[Scope::Admin]).allow(needed), "{needed:?}");
            assert!(Scopes::all().allow(needed), "{needed:?}");
            assert!(!scopes(&[]).allow(needed), "{needed:?}");
        }
        assert!(scopes(&[Scope::Write]).allow(Scope::Write) && !scopes(&[Scope::Write]).allow(Scope::Read));
        assert!(!scopes(&[Scope::Read, Scope::Write]).allow(Scope::Admin));
    }

    #[test]
    fn a_tenant_is_what_the_tokens_claim_says_or_nobody() {
        let caller = of_token(&jwt(), &json!({ "tenant": "acme", "sub": "ada" })).expect("a tenant");
        assert_eq!(caller.tenant.as_str(), "acme");
        let missing = of_token(&jwt(), &json!({ "sub": "ada" })).expect_err("no claim");
        assert_eq!(missing.to_string(), "the token has no claim `tenant`, which would name the tenant");
        for unfit in ["", "a b", "[acme beta]", "auth0|42", "a#b", "x".repeat(65).as_str()] {
            let refusal = of_token(&jwt(), &json!({ "tenant": unfit })).expect_err(unfit);
            assert_eq!(refusal, Refusal::UnfitTenant("the token's claim `tenant`".to_owned()), "{unfit}");
        }
    }

    #[test]
    fn without_the_gateways_word_nobody_is_known() {
        let signature = context(&json!({ "iam": { "userId": "AIDAEXAMPLE" } }));
        let token = context(&json!({ "jwt": { "claims": { "tenant": "acme", "scope": "jobs:admin" } } }));
        let lambda = context(&json!({ "lambda": { "jwt": { "claims": { "tenant": "acme" } } } }));
        let nothing = context(&Value::Null);
        for context in [None, Some(&signature), Some(&lambda), Some(&nothing)] {
            assert_eq!(Caller::of(&jwt(), context), Err(Refusal::NoToken), "{context:?}");
        }
        for context in [None, Some(&token), Some(&lambda), Some(&nothing)] {
            assert_eq!(Caller::of(&AuthMode::Iam, context), Err(Refusal::NoSignature), "{context:?}");
        }
    }

    #[test]
    fn where_nobody_is_asked_all_are_the_one_tenant() {
        let token = context(&json!({ "jwt": { "claims": { "tenant": "acme" } } }));
        for context in [None, Some(&token)] {
            let caller = Caller::of(&AuthMode::None, context).expect("everybody may");
            assert_eq!(caller, Caller { tenant: Tenant::only(), scopes: Scopes::all() });
        }
    }

    #[test]
    fn a_role_is_one_tenant_whoever_assumes_it() {
        let tenant = |signer| of_signature(&signer).expect("a tenant").tenant.to_string();
        assert_eq!(tenant(json!({ "userId": "AIDAEXAMPLE", "accountId": "123456789012" })), "AIDAEXAMPLE");
        assert_eq!(tenant(json!({ "userId": "AROAEXAMPLE:i-0123", "cognitoIdentity": null })), "AROAEXAMPLE");
        assert_eq!(tenant(json!({ "userId": "AROAEXAMPLE:i-4567" })), "AROAEXAMPLE");
        assert_eq!(tenant(json!({ "userId": "123456789012:bob" })), "123456789012:bob", "a federated user");
        let identity = json!({ "amr": [], "identityId": "eu-central-1:6f1d", "identityPoolId": "eu-central-1:1" });
        let behind_a_pool = json!({ "userId": "AROAEXAMPLE:Cognito", "cognitoIdentity": identity });
        assert_eq!(tenant(behind_a_pool), "eu-central-1:6f1d");
        let unfit = of_signature(&json!({ "userId": "123456789012:bob+1" })).expect_err("no tenant's name");
        assert_eq!(unfit.code().0, ProblemCode::Forbidden);
    }
}
