//! A front proxy that authenticated the user itself and says who it is in headers.

use super::{Authenticated, Authenticator, AuthnError, PeerCertificate};
use crate::UserInfo;
use crate::impersonation::percent_decode;
use async_trait::async_trait;
use http::HeaderMap;
use http::request::Parts;
use jiff::Timestamp;

/// Header with the user's name.
pub const USER: &str = "x-remote-user";
/// Header with the user's UID.
pub const UID: &str = "x-remote-uid";
/// Header with one of the user's groups.
pub const GROUP: &str = "x-remote-group";
/// What headers with extra values begin with.
pub const EXTRA_PREFIX: &str = "x-remote-extra-";

/// Believes the headers of a client whose certificate is the front proxy CA's.
#[derive(Clone, Debug, Default)]
pub struct RequestHeaders {
    /// Common names that may speak for others; empty for every one that the CA vouches for.
    pub allowed_names: Vec<String>,
}

#[async_trait]
impl Authenticator for RequestHeaders {
    async fn authenticate(
        &self,
        parts: &Parts,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError> {
        let Some(peer) = peer.filter(|peer| peer.is_front_proxy) else {
            return Ok(None);
        };
        let name = &peer.common_name;
        if !self.allowed_names.is_empty() && !self.allowed_names.contains(name) {
            return Ok(None);
        }
        if !peer.is_current(Timestamp::now()) {
            return Err(AuthnError::Invalid(format!(
                "the certificate of the front proxy \"{name}\" has expired"
            )));
        }
        Ok(user(&parts.headers).map(Into::into))
    }
}

fn user(headers: &HeaderMap) -> Option<UserInfo> {
    let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let mut user = UserInfo {
        name: headers
            .get(USER)
            .map(text)
            .filter(|name| !name.is_empty())?,
        uid: headers.get(UID).map(text).unwrap_or_default(),
        groups: headers.get_all(GROUP).iter().map(text).collect(),
        ..UserInfo::default()
    };
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode(key);
            user.extra.entry(key).or_default().push(text(value));
        }
    }
    Some(user)
}
