//! Bootstrap tokens: Secrets in `kube-system` that let a node join.

use super::{Authenticated, AuthnError, TokenAuthenticator};
use crate::lookup::Lookup;
use crate::user::{BOOTSTRAPPERS, UserInfo};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kontiki_client::resources::SECRETS;
use kontiki_object::{Object, time};
use std::sync::Arc;

/// The namespace of bootstrap tokens.
pub const NAMESPACE: &str = "kube-system";
/// The type of their Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";

/// Accepts bootstrap tokens.
pub struct BootstrapTokens {
    lookup: Arc<dyn Lookup>,
}

impl BootstrapTokens {
    /// Reads Secrets by `lookup`.
    #[must_use]
    pub fn new(lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup }
    }
}

/// Id and secret, if the text has the form of a bootstrap token.
fn split(token: &str) -> Option<(&str, &str)> {
    let valid = |part: &str, length: usize| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    token
        .split_once('.')
        .filter(|(id, secret)| valid(id, 6) && valid(secret, 16))
}

/// A text out of a Secret's data.
fn field(secret: &Object, name: &str) -> Option<String> {
    let encoded = secret.str_at(&["data", name])?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

/// Compares without telling by its duration where the difference is.
fn same(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len() && one.iter().zip(two).fold(0, |d, (a, b)| d | (a ^ b)) == 0
}

/// The user of a token, judged by the Secret that describes it.
fn judge(
    secret: &Object,
    id: &str,
    token_secret: &str,
    now: Timestamp,
) -> Result<UserInfo, &'static str> {
    if secret.is_terminating() {
        return Err("the token is being deleted");
    }
    if secret.str_at(&["type"]) != Some(SECRET_TYPE) {
        return Err("its Secret is not a bootstrap token");
    }
    if field(secret, "token-id").as_deref() != Some(id) {
        return Err("its Secret names another token");
    }
    let expected = field(secret, "token-secret").unwrap_or_default();
    if expected.is_empty() || !same(expected.as_bytes(), token_secret.as_bytes()) {
        return Err("its secret part is wrong");
    }
    if let Some(expiration) = field(secret, "expiration") {
        match time::parse(&expiration) {
            Some(at) if at > now => {}
            Some(_) => return Err("it has expired"),
            None => return Err("its time of expiry is malformed"),
        }
    }
    if field(secret, "usage-bootstrap-authentication").as_deref() != Some("true") {
        return Err("it is not meant for authentication");
    }
    let mut user = UserInfo::new(format!("system:bootstrap:{id}"), &[BOOTSTRAPPERS]);
    let extra = field(secret, "auth-extra-groups").unwrap_or_default();
    for group in extra.split(',').map(str::trim).filter(|g| !g.is_empty()) {
        if !group.starts_with("system:bootstrappers:") {
            return Err("one of its extra groups does not begin with system:bootstrappers:");
        }
        user.groups.push(group.to_owned());
    }
    Ok(user)
}

#[async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn authenticate_token(
        &self,
        token: &str,
        _audiences: &[String],
    ) -> Result<Option<Authenticated>, AuthnError> {
        let Some((id, token_secret)) = split(token) else {
            return Ok(None);
        };
        let name = format!("bootstrap-token-{id}");
        let secret = self
            .lookup
            .get(&SECRETS, NAMESPACE, &name)
            .await
            .map_err(|status| AuthnError::Unavailable(status.message))?
            .ok_or_else(|| AuthnError::Invalid(format!("no bootstrap token {id}")))?;
        judge(&secret, id, token_secret, Timestamp::now())
            .map(|user| Some(user.into()))
            .map_err(|why| AuthnError::Invalid(format!("bootstrap token {id}: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(changes: &[(&str, &str)]) -> Object {
        let mut data = json!({});
        let all = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2030-01-01T00:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:worker"),
        ];
        for (name, value) in all.iter().chain(changes) {
            data[*name] = STANDARD.encode(value).into();
        }
        Object::from_value(json!({"type": SECRET_TYPE, "data": data})).expect("a map")
    }

    #[test]
    fn a_token_is_good_only_while_everything_about_it_is() {
        let now = "2029-01-01T00:00:00Z".parse().expect("a time");
        let ask = |changes: &[(&str, &str)], token: &str| {
            let (id, part) = split(token).expect("the form");
            judge(&secret(changes), id, part, now)
        };
        let good = "abcdef.0123456789abcdef";
        let user = ask(&[], good).expect("good");
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, [BOOTSTRAPPERS, "system:bootstrappers:worker"]);
        assert!(ask(&[], "abcdef.0123456789abcdee").is_err());
        for change in [
            ("expiration", "2028-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("usage-bootstrap-authentication", "false"),
            ("token-id", "zzzzzz"),
            ("token-secret", ""),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert!(ask(&[change], good).is_err(), "{change:?}");
        }
        assert_eq!(split("abcdef.short"), None);
    }
}
