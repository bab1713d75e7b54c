//! `Authorization: Bearer …`.

use super::{Authenticated, Authenticator, AuthnError, PeerCertificate};
use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::request::Parts;
use std::sync::Arc;

/// The audiences that a `TokenReview` asks about: an extension of the request
/// that it makes. Empty: the server's own.
#[derive(Clone, Debug, Default)]
pub struct RequestedAudiences(pub Vec<String>);

/// Knows the users of some sort of token.
#[async_trait]
pub trait TokenAuthenticator: Send + Sync + 'static {
    /// `None` if the token is of another sort. `audiences` are those of the
    /// server, or those that a `TokenReview` asks about; never empty.
    async fn authenticate_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<Authenticated>, AuthnError>;
}

/// Accepts bearer tokens that one of its members knows.
pub struct Bearer {
    members: Vec<Arc<dyn TokenAuthenticator>>,
    audiences: Vec<String>,
}

impl Bearer {
    /// For a server with these audiences.
    #[must_use]
    pub fn new(members: Vec<Arc<dyn TokenAuthenticator>>, audiences: Vec<String>) -> Self {
        Self { members, audiences }
    }

    /// The server's own audiences.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Asks every member about a token, for requests and for `TokenReview`s.
    ///
    /// # Errors
    /// If nobody knows it.
    pub async fn review(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Authenticated, AuthnError> {
        let audiences = if audiences.is_empty() {
            &self.audiences
        } else {
            audiences
        };
        let mut first_error = None;
        for member in &self.members {
            match member.authenticate_token(token, audiences).await {
                Ok(Some(mut found)) => {
                    found.user = found.user.with_authenticated_group();
                    return Ok(found);
                }
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| AuthnError::Invalid("invalid bearer token".into())))
    }
}

#[async_trait]
impl Authenticator for Bearer {
    async fn authenticate(
        &self,
        parts: &Parts,
        _peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        let header = parts.headers.get(AUTHORIZATION);
        let Some(text) = header.and_then(|value| value.to_str().ok()) else {
            return Ok(None);
        };
        let Some((scheme, token)) = text.trim().split_once(' ') else {
            return Ok(None);
        };
        if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
            return Ok(None);
        }
        let asked = parts.extensions.get::<RequestedAudiences>();
        let asked = asked.map_or(&[][..], |asked| &asked.0);
        self.review(token.trim(), asked).await.map(Some)
    }
}
