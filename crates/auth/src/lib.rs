//! Who is asking, and may they: authentication and authorization.
//!
//! * [`authn`] turns a request and the certificate of its connection into a
//!   [`UserInfo`]: x509, service-account tokens, bootstrap tokens, front-proxy
//!   headers, in-process identities, anonymous.
//! * [`authz`] says whether [`Attributes`] are allowed: `system:masters`, the
//!   [`node`] authorizer and [`rbac`], asked in that order.
//! * [`policy`] is the RBAC policy that every cluster starts with.
//! * [`token`] issues service-account tokens and publishes their keys.
//!
//! **Invariants:** a decision never waits for a writer longer than one
//! object takes; no token, key or secret reaches a log or an error
//! text; what is not allowed is denied.

pub mod authn;
pub mod authz;
pub mod impersonation;
pub mod lookup;
pub mod node;
pub mod policy;
pub mod rbac;
pub mod token;
pub mod user;

pub use authn::{Authenticated, Authenticator, AuthnError, PeerCertificate};
pub use authz::{Attributes, Authorizer, Decision};
pub use lookup::Lookup;
pub use user::UserInfo;
