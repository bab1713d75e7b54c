//! Tokens that every replica can check by itself: they carry who they are for,
//! and are signed with a secret that is replicated with users and roles.
//!
//! A token is void once its user is gone or has new credentials, once
//! authentication was switched off, and when its time is over.

use super::jwt::Jwt;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kontiki_store::{AuthError, AuthState};
use ring::hmac;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How tokens are made and checked.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// How long a token is good.
    pub ttl: Duration,
    /// Make JSON Web Tokens, which others can check as well.
    pub jwt: Option<Jwt>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(24 * 3600),
            jwt: None,
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

impl Tokens {
    pub(crate) fn issue(&self, state: &AuthState, user: &str) -> Result<String, AuthError> {
        match &self.jwt {
            Some(jwt) => {
                let expires = now() + self.ttl.as_secs();
                let token = jwt.issue(user, state.revision, expires);
                token.ok_or(AuthError::InvalidToken)
            }
            None => Ok(self.issue_at(state, user, now())),
        }
    }

    fn issue_at(&self, state: &AuthState, user: &str, now: u64) -> String {
        let user = URL_SAFE_NO_PAD.encode(user);
        let body = format!("{user}.{}.{}", state.revision, now + self.ttl.as_secs());
        let tag = hmac::sign(&key(state), body.as_bytes());
        format!("{body}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    pub(crate) fn verify(&self, state: &AuthState, token: &str) -> Result<String, AuthError> {
        let found = match &self.jwt {
            Some(jwt) => jwt.verify(token, now()).and_then(|claims| {
                let known = state.users.get(&claims.username)?;
                (claims.revision >= known.changed).then_some(claims.username)
            }),
            None => verify_at(state, token, now()),
        };
        found.ok_or(AuthError::InvalidToken)
    }
}

fn key(state: &AuthState) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &state.secret)
}

fn verify_at(state: &AuthState, token: &str, now: u64) -> Option<String> {
    let (body, tag) = token.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    if state.secret.is_empty() || hmac::verify(&key(state), body.as_bytes(), &tag).is_err() {
        return None;
    }
    let mut parts = body.split('.');
    let user = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
    let user = String::from_utf8(user).ok()?;
    let (revision, expires): (u64, u64) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let known = state.users.get(&user)?;
    (expires > now && revision >= known.changed).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kontiki_store::AuthChange;

    fn add(name: &str) -> AuthChange {
        AuthChange::UserAdd {
            name: name.into(),
            password_hash: Bytes::new(),
            no_password: false,
        }
    }

    #[test]
    fn a_token_is_good_until_its_user_its_secret_or_its_time_changes() {
        let mut state = AuthState {
            enabled: true,
            secret: Bytes::from_static(b"secret"),
            ..AuthState::default()
        };
        for name in ["a.b", "other"] {
            state.change(&add(name)).expect("a new user");
        }
        let tokens = Tokens {
            ttl: Duration::from_secs(10),
            ..Tokens::default()
        };
        let token = tokens.issue_at(&state, "a.b", 100);
        assert_eq!(verify_at(&state, &token, 109).as_deref(), Some("a.b"));
        assert_eq!(verify_at(&state, &token, 110), None, "its time is over");
        for broken in ["", ".", "a.b.c.d", &token[1..], &token[..token.len() - 1]] {
            assert_eq!(verify_at(&state, broken, 100), None, "{broken}");
        }
        state
            .change(&AuthChange::UserDelete {
                name: "other".into(),
            })
            .expect("it exists");
        assert!(
            verify_at(&state, &token, 100).is_some(),
            "others do not matter"
        );
        let password = AuthChange::UserChangePassword {
            name: "a.b".into(),
            password_hash: Bytes::from_static(b"new"),
        };
        state.change(&password).expect("it exists");
        assert_eq!(verify_at(&state, &token, 100), None, "the password changed");
        let token = tokens.issue_at(&state, "a.b", 100);
        state.secret = Bytes::from_static(b"another");
        assert_eq!(verify_at(&state, &token, 100), None, "the secret changed");
        state.secret = Bytes::new();
        assert_eq!(
            verify_at(&state, &tokens.issue_at(&state, "a.b", 100), 100),
            None
        );
    }
}
