//! Authenticators that need nothing but the request.

use super::{Authenticated, Authenticator, AuthnError, PeerCertificate};
use crate::UserInfo;
use async_trait::async_trait;
use http::request::Parts;
use std::sync::Arc;

/// Asks one authenticator after the other.
///
/// The first that knows the user wins. Errors are remembered and reported only
/// if nobody knows the user, so that a request with one valid credential is
/// not refused because of another that a later authenticator understands.
pub struct Union {
    members: Vec<Arc<dyn Authenticator>>,
}

impl Union {
    /// In the order in which they are asked.
    #[must_use]
    pub fn new(members: Vec<Arc<dyn Authenticator>>) -> Self {
        Self { members }
    }
}

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(
        &self,
        parts: &Parts,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        let mut first_error = None;
        for member in &self.members {
            match member.authenticate(parts, peer).await {
                Ok(Some(mut found)) => {
                    found.user = found.user.with_authenticated_group();
                    return Ok(Some(found));
                }
                Ok(None) => {}
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(None), Err)
    }
}

/// Says who a request inside this process comes from. It travels in the
/// request's extensions, which no network client can set.
#[derive(Clone, Debug)]
pub struct InProcessIdentity(pub UserInfo);

/// Accepts [`InProcessIdentity`].
#[derive(Clone, Copy, Debug, Default)]
pub struct InProcess;

#[async_trait]
impl Authenticator for InProcess {
    async fn authenticate(
        &self,
        parts: &Parts,
        _peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        Ok(parts
            .extensions
            .get::<InProcessIdentity>()
            .map(|identity| identity.0.clone().into()))
    }
}

/// Lets requests without any credentials in as `system:anonymous`.
///
/// Credentials that are wrong are refused: they must not turn into an anonymous
/// request, whose 403 would hide what is wrong.
pub struct OrAnonymous(pub Arc<dyn Authenticator>);

#[async_trait]
impl Authenticator for OrAnonymous {
    async fn authenticate(
        &self,
        parts: &Parts,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        let found = self.0.authenticate(parts, peer).await?;
        Ok(Some(found.unwrap_or_else(|| UserInfo::anonymous().into())))
    }
}
