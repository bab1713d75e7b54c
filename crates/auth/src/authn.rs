//! Authentication: from a request to a user.

mod basic;
mod bearer;
mod bootstrap;
mod peer;
mod request_header;
mod service_account;

pub use basic::{InProcess, InProcessIdentity, OrAnonymous, Union};
pub use bearer::{Bearer, RequestedAudiences, TokenAuthenticator};
pub use bootstrap::BootstrapTokens;
pub use peer::{CREDENTIAL_ID, ClientTrust, PeerCertificate, X509};
pub use request_header::RequestHeaders;
pub use service_account::ServiceAccountTokens;

use crate::UserInfo;
use async_trait::async_trait;
use http::request::Parts;

/// A user whose credentials are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The user.
    pub user: UserInfo,
    /// The audiences that the credentials and the server have in common; empty
    /// where credentials know no audience.
    pub audiences: Vec<String>,
}

impl From<UserInfo> for Authenticated {
    fn from(user: UserInfo) -> Self {
        Self {
            user,
            audiences: Vec::new(),
        }
    }
}

/// Why credentials were not accepted. Every variant is a 401 to the client;
/// the text is for the server's log and never holds the credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// The credentials are wrong, expired or bound to something that is gone.
    #[error("invalid credentials: {0}")]
    Invalid(String),
    /// They could not be checked.
    #[error("the credentials could not be checked: {0}")]
    Unavailable(String),
}

/// One way to authenticate.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// `None` if the request carries no credentials of this sort.
    async fn authenticate(
        &self,
        parts: &Parts,
        peer: Option<&PeerCertificate>,
    ) -> Result<Option<Authenticated>, AuthnError>;
}

#[cfg(test)]
mod tests;
