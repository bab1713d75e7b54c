//! Who may do what with which keys: users, roles, permissions.
//!
//! [`AuthState`] is replicated content; [`AuthState::change`] is its one,
//! deterministic way of changing. Passwords are hashed before they get here.

use crate::KeyRange;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The user and the role that may do everything.
pub const ROOT: &str = "root";

/// Why an authentication or a change of it was refused; etcd's texts.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum AuthError {
    #[error("etcdserver: root user does not exist")]
    RootUserMissing,
    #[error("etcdserver: root user does not have root role")]
    RootRoleMissing,
    #[error("etcdserver: user name already exists")]
    UserExists,
    #[error("etcdserver: user name is empty")]
    UserEmpty,
    #[error("etcdserver: user name not found")]
    UserNotFound,
    #[error("etcdserver: role name already exists")]
    RoleExists,
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    #[error("etcdserver: role name is empty")]
    RoleEmpty,
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    Failed,
    #[error("etcdserver: authentication failed, password was given for no password user")]
    NoPasswordUser,
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    #[error("etcdserver: authentication is not enabled")]
    NotEnabled,
    #[error("etcdserver: invalid auth token")]
    InvalidToken,
    #[error("etcdserver: invalid auth management")]
    InvalidManagement,
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
}

/// What a permission allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Access {
    Read,
    Write,
    ReadWrite,
}

impl Access {
    fn allows(self, wanted: Self) -> bool {
        self == Self::ReadWrite || self == wanted
    }
}

/// A permission on a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What it allows.
    pub access: Access,
    /// On which keys.
    pub range: KeyRange,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The password's bcrypt hash; empty for users without one.
    pub password_hash: Bytes,
    /// Can only be named by a client certificate.
    pub no_password: bool,
    /// Its roles.
    pub roles: BTreeSet<String>,
    /// The auth revision at which its credentials last changed: tokens from before are void.
    pub changed: u64,
}

/// A change of users, roles or of whether they count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum AuthChange {
    /// `secret` signs tokens from now on; drawn at random by the proposer.
    Enable {
        secret: Bytes,
    },
    Disable,
    UserAdd {
        name: String,
        password_hash: Bytes,
        no_password: bool,
    },
    UserDelete {
        name: String,
    },
    UserChangePassword {
        name: String,
        password_hash: Bytes,
    },
    UserGrantRole {
        name: String,
        role: String,
    },
    UserRevokeRole {
        name: String,
        role: String,
    },
    RoleAdd {
        name: String,
    },
    RoleDelete {
        name: String,
    },
    RoleGrantPermission {
        role: String,
        permission: Permission,
    },
    RoleRevokePermission {
        role: String,
        range: KeyRange,
    },
}

/// All users and roles at one point of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthState {
    /// Whether calls have to be authenticated.
    pub enabled: bool,
    /// Counts changes; 0 while there was none.
    pub revision: u64,
    /// Signs tokens.
    pub secret: Bytes,
    /// By name.
    pub users: BTreeMap<String, User>,
    /// By name; each a list of permissions in the order of their ranges.
    pub roles: BTreeMap<String, Vec<Permission>>,
}

impl AuthState {
    /// Carries out a change, or refuses it and changes nothing.
    pub fn change(&mut self, change: &AuthChange) -> Result<(), AuthError> {
        match change {
            AuthChange::Enable { secret } => return self.enable(secret),
            AuthChange::Disable => {
                if !self.enabled {
                    return Ok(());
                }
                self.enabled = false;
                self.secret = Bytes::new();
            }
            AuthChange::UserAdd {
                name,
                password_hash,
                no_password,
            } => {
                if name.is_empty() {
                    return Err(AuthError::UserEmpty);
                }
                if self.users.contains_key(name) {
                    return Err(AuthError::UserExists);
                }
                let user = User {
                    password_hash: password_hash.clone(),
                    no_password: *no_password,
                    roles: BTreeSet::new(),
                    changed: self.revision + 1,
                };
                self.users.insert(name.clone(), user);
            }
            AuthChange::UserDelete { name } => {
                if self.enabled && name == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                self.users.remove(name).ok_or(AuthError::UserNotFound)?;
            }
            AuthChange::UserChangePassword {
                name,
                password_hash,
            } => {
                let revision = self.revision + 1;
                let user = self.user_mut(name)?;
                user.password_hash = password_hash.clone();
                user.changed = revision;
            }
            AuthChange::UserGrantRole { name, role } => {
                self.grant_role(name, role)?;
            }
            AuthChange::UserRevokeRole { name, role } => {
                if self.enabled && name == ROOT && role == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                if !self.user_mut(name)?.roles.remove(role) {
                    return Err(AuthError::RoleNotGranted);
                }
            }
            AuthChange::RoleAdd { name } => {
                if name.is_empty() {
                    return Err(AuthError::RoleEmpty);
                }
                if self.roles.contains_key(name) {
                    return Err(AuthError::RoleExists);
                }
                self.roles.insert(name.clone(), Vec::new());
            }
            AuthChange::RoleDelete { name } => {
                if self.enabled && name == ROOT {
                    return Err(AuthError::InvalidManagement);
                }
                self.roles.remove(name).ok_or(AuthError::RoleNotFound)?;
                self.users.values_mut().for_each(|user| {
                    user.roles.remove(name);
                });
            }
            AuthChange::RoleGrantPermission { role, permission } => {
                let permissions = self.roles.get_mut(role).ok_or(AuthError::RoleNotFound)?;
                match permissions
                    .iter_mut()
                    .find(|held| held.range == permission.range)
                {
                    Some(held) => held.access = permission.access,
                    None => permissions.push(permission.clone()),
                }
                permissions.sort_by(|a, b| {
                    (&a.range.key, &a.range.end).cmp(&(&b.range.key, &b.range.end))
                });
            }
            AuthChange::RoleRevokePermission { role, range } => {
                let permissions = self.roles.get_mut(role).ok_or(AuthError::RoleNotFound)?;
                let at = permissions.iter().position(|held| held.range == *range);
                permissions.remove(at.ok_or(AuthError::PermissionNotGranted)?);
            }
        }
        self.revision += 1;
        Ok(())
    }

    fn enable(&mut self, secret: &Bytes) -> Result<(), AuthError> {
        if self.enabled {
            return Ok(());
        }
        let root = self.users.get(ROOT).ok_or(AuthError::RootUserMissing)?;
        if !root.roles.contains(ROOT) {
            return Err(AuthError::RootRoleMissing);
        }
        self.enabled = true;
        self.secret = secret.clone();
        self.revision += 1;
        Ok(())
    }

    /// The root role need not exist to be granted, as in etcd.
    fn grant_role(&mut self, name: &str, role: &str) -> Result<(), AuthError> {
        let known = role == ROOT || self.roles.contains_key(role);
        let user = self.user_mut(name)?;
        if !known {
            return Err(AuthError::RoleNotFound);
        }
        user.roles.insert(role.to_owned());
        Ok(())
    }

    fn user_mut(&mut self, name: &str) -> Result<&mut User, AuthError> {
        self.users.get_mut(name).ok_or(AuthError::UserNotFound)
    }

    /// Refuses unless the user has the root role.
    pub fn check_root(&self, user: &str) -> Result<(), AuthError> {
        if user.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let found = self.users.get(user).ok_or(AuthError::PermissionDenied)?;
        if found.roles.contains(ROOT) {
            Ok(())
        } else {
            Err(AuthError::PermissionDenied)
        }
    }

    /// Refuses unless the user's permissions together cover the whole range.
    pub fn check(&self, user: &str, access: Access, range: &KeyRange) -> Result<(), AuthError> {
        if user.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let found = self.users.get(user).ok_or(AuthError::PermissionDenied)?;
        if found.roles.contains(ROOT) {
            return Ok(());
        }
        let held = found
            .roles
            .iter()
            .filter_map(|role| self.roles.get(role))
            .flatten()
            .filter(|held| held.access.allows(access))
            .map(|held| &held.range);
        if covered(range, held) {
            Ok(())
        } else {
            Err(AuthError::PermissionDenied)
        }
    }
}

/// A range as a half-open interval; no end is the end of all keys.
fn interval(range: &KeyRange) -> (Bytes, Option<Bytes>) {
    let end = if range.is_one() {
        let mut next = range.key.to_vec();
        next.push(0);
        Some(next.into())
    } else if range.is_open_ended() {
        None
    } else {
        Some(range.end.clone())
    };
    (range.key.clone(), end)
}

fn covered<'a>(wanted: &KeyRange, held: impl Iterator<Item = &'a KeyRange>) -> bool {
    let (mut from, to) = interval(wanted);
    let mut held: Vec<_> = held.map(interval).collect();
    held.sort();
    for (begin, end) in held {
        if begin > from {
            return false;
        }
        match end {
            None => return true,
            Some(end) if end > from => from = end,
            Some(_) => {}
        }
        if to.as_ref().is_some_and(|to| from >= *to) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
