//! Who a token belongs to, and who asks.

use crate::registry::RequestContext;
use crate::server::Inner;
use http::Request;
use http::header::AUTHORIZATION;
use kontiki_auth::UserInfo;
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
pub async fn review(inner: &Inner, review: &mut Value) -> Result<(), Status> {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let request = Request::builder()
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(());
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
                Ok(_) => json!({"user": {}}),
                Err(error) => json!({"user": {}, "error": error.to_string()}),
            }
        }
        Err(_) => json!({"user": {}, "error": "the token is malformed"}),
    };
    review["status"] = status;
    Ok(())
}

/// `SelfSubjectReview`.
pub fn who_am_i(context: &RequestContext, review: &mut Value) {
    review["metadata"]["creationTimestamp"] = time::format(context.now).into();
    review["status"] = json!({"userInfo": user_value(&context.user)});
}
