//! Who a token belongs to, and who asks.

use crate::registry::RequestContext;
use crate::server::Inner;
use http::Request;
use http::header::AUTHORIZATION;
use kontiki_auth::authn::RequestedAudiences;
use kontiki_auth::{AuthnError, UserInfo};
use kontiki_object::{Status, Value, time};
use serde_json::json;

fn user_value(user: &UserInfo) -> Value {
    let mut value = json!({"username": user.name});
    if !user.uid.is_empty() {
        value["uid"] = user.uid.clone().into();
    }
    if !user.groups.is_empty() {
        value["groups"] = user.groups.clone().into();
    }
    if !user.extra.is_empty() {
        value["extra"] = json!(user.extra);
    }
    value
}

/// `TokenReview`.
///
/// # Errors
/// 400 without a token.
pub async fn review(inner: &Inner, mut review: Value) -> Result<Value, Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let asked = review["spec"]["audiences"].as_array().into_iter().flatten();
    let asked = asked.filter_map(|audience| audience.as_str().map(str::to_owned));
    let request = Request::builder()
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .extension(RequestedAudiences(asked.collect()))
        .body(());
    let unknown = "invalid bearer token";
    let failed = |error: String| json!({"user": {}, "error": error});
    let status = match request {
        Ok(request) => {
            let (parts, ()) = request.into_parts();
            match inner.config.authenticator.authenticate(&parts, None).await {
                Ok(Some(found)) if found.user.name != kontiki_auth::user::ANONYMOUS => {
                    let user = found.user.with_authenticated_group();
                    let mut status = json!({"authenticated": true, "user": user_value(&user)});
                    if !found.audiences.is_empty() {
                        status["audiences"] = found.audiences.into();
                    }
                    status
                }
                Ok(_) => failed(unknown.to_owned()),
                Err(AuthnError::Invalid(why) | AuthnError::Unavailable(why)) if why == unknown => {
                    failed(why)
                }
                // Whoever knew the token refused it; the others did not know it.
                Err(AuthnError::Invalid(why) | AuthnError::Unavailable(why)) => {
                    failed(format!("[{unknown}, {why}]"))
                }
            }
        }
        Err(_) => failed(unknown.to_owned()),
    };
    review["status"] = status;
    Ok(review)
}

/// `SelfSubjectReview`.
pub fn who_am_i(context: &RequestContext) -> Value {
    json!({
        "metadata": {"creationTimestamp": time::format(context.now)},
        "status": {"userInfo": user_value(&context.user)},
    })
}
