//! Who calls, and whether they may.
//!
//! Reads are checked against users and roles as this replica knows them. A
//! write is applied only if they have not changed since it was checked, on
//! every replica alike.

mod jwt;
mod service;
mod token;

pub use jwt::{Jwt, JwtError};
pub(crate) use service::wire_permission;
pub use token::Tokens;

use crate::error::into_status;
use crate::server::Etcd;
use kontiki_store::{
    Access, AuthError, AuthState, Compare, DeleteRangeRequest, KeyRange, LeaseId, Op, PutRequest,
    StoreError, TxnRequest, TxnResponse,
};
use std::sync::Arc;
use tonic::{Request, Status};

/// Writes that are checked again because users or roles changed meanwhile.
const ATTEMPTS_MAX: usize = 8;

/// The common name of the client's certificate; put into a request's
/// extensions by whoever listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientName(pub String);

/// What a request says about its caller.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    token: Option<String>,
    certificate: Option<String>,
}

impl Credentials {
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let token = metadata
            .get("token")
            .or_else(|| metadata.get("authorization"));
        let certificate = request.extensions().get::<ClientName>();
        Self {
            token: token
                .and_then(|token| token.to_str().ok())
                .map(str::to_owned),
            certificate: certificate.map(|name| name.0.clone()),
        }
    }
}

/// A caller, as of one revision of users and roles.
pub(crate) struct Permit {
    state: Arc<AuthState>,
    user: String,
}

impl Permit {
    fn open(&self) -> bool {
        !self.state.enabled
    }

    /// Refuses callers who are nobody.
    pub(crate) fn known(&self) -> Result<(), AuthError> {
        if self.open() || !self.user.is_empty() {
            Ok(())
        } else {
            Err(AuthError::UserEmpty)
        }
    }

    pub(crate) fn root(&self) -> Result<(), AuthError> {
        if self.open() {
            return Ok(());
        }
        self.state.check_root(&self.user)
    }

    pub(crate) fn is(&self, user: &str) -> bool {
        self.user == user
    }

    pub(crate) fn has_role(&self, role: &str) -> bool {
        let user = self.state.users.get(&self.user);
        user.is_some_and(|user| user.roles.contains(role))
    }

    pub(crate) fn keys(&self, access: Access, range: &KeyRange) -> Result<(), AuthError> {
        if self.open() {
            return Ok(());
        }
        self.state.check(&self.user, access, range)
    }

    fn compare(&self, compare: &Compare) -> Result<(), AuthError> {
        self.keys(Access::Read, &compare.range)
    }

    fn put(&self, put: &PutRequest) -> Result<(), AuthError> {
        let key = KeyRange::one(put.key.clone());
        if put.prev_kv {
            self.keys(Access::Read, &key)?;
        }
        self.keys(Access::Write, &key)
    }

    fn delete_range(&self, delete: &DeleteRangeRequest) -> Result<(), AuthError> {
        if delete.prev_kv {
            self.keys(Access::Read, &delete.range)?;
        }
        self.keys(Access::Write, &delete.range)
    }

    /// Every compare and every operation of both branches.
    pub(crate) fn txn(&self, txn: &TxnRequest) -> Result<(), AuthError> {
        if self.open() {
            return Ok(());
        }
        txn.compare
            .iter()
            .try_for_each(|compare| self.compare(compare))?;
        txn.success
            .iter()
            .chain(&txn.failure)
            .try_for_each(|op| match op {
                Op::Range(range) => self.keys(Access::Read, &range.range),
                Op::Put(put) => self.put(put),
                Op::DeleteRange(delete) => self.delete_range(delete),
                Op::Txn(txn) => self.txn(txn),
            })
    }
}

/// The leases to which the transaction attaches keys.
fn leases(txn: &TxnRequest, found: &mut Vec<LeaseId>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) if put.lease != 0 => found.push(put.lease),
            Op::Txn(txn) => leases(txn, found),
            _ => {}
        }
    }
}

pub(crate) fn refused(error: AuthError) -> Status {
    into_status(error.into())
}

impl Etcd {
    /// Who calls.
    pub(crate) fn permit<T>(&self, request: &Request<T>) -> Result<Permit, Status> {
        self.permit_of(&Credentials::of(request)).map_err(refused)
    }

    pub(crate) fn permit_of(&self, credentials: &Credentials) -> Result<Permit, AuthError> {
        let state = self.store.auth();
        if !state.enabled {
            return Ok(Permit {
                state,
                user: String::new(),
            });
        }
        let user = match (&credentials.token, &credentials.certificate) {
            (Some(token), _) => self.options.tokens.verify(&state, token)?,
            (None, Some(name)) => name.clone(),
            (None, None) => String::new(),
        };
        Ok(Permit { state, user })
    }

    /// Refuses callers who may not change, or see, the keys of a lease.
    pub(crate) async fn permit_lease(
        &self,
        permit: &Permit,
        access: Access,
        lease: LeaseId,
    ) -> Result<(), Status> {
        if permit.open() {
            return Ok(());
        }
        permit.known().map_err(refused)?;
        let info = self
            .store
            .lease_info(lease, true)
            .await
            .map_err(into_status)?;
        for key in info.keys {
            permit.keys(access, &KeyRange::one(key)).map_err(refused)?;
        }
        Ok(())
    }

    /// Runs a transaction that its caller may run.
    pub(crate) async fn run_txn(
        &self,
        credentials: &Credentials,
        txn: TxnRequest,
    ) -> Result<TxnResponse, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let permit = self.permit_of(credentials).map_err(refused)?;
            if permit.open() {
                return self.store.txn(txn).await.map_err(into_status);
            }
            permit.txn(&txn).map_err(refused)?;
            let mut attached = Vec::new();
            leases(&txn, &mut attached);
            for lease in attached {
                self.permit_lease(&permit, Access::Write, lease).await?;
            }
            let revision = permit.state.revision;
            match self.store.txn_permitted(txn.clone(), revision).await {
                Err(StoreError::Auth(AuthError::OldRevision)) => {}
                answered => return answered.map_err(into_status),
            }
        }
        Err(refused(AuthError::OldRevision))
    }
}
