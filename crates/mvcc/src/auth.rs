//! The encoding of users, roles and their changes: in the log and at rest.

use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use kontiki_store::{Access, AuthChange, AuthState, KeyRange, Permission, User};
use std::collections::BTreeMap;

const STATE_VERSION: u8 = 1;

pub(crate) fn encode_state(state: &AuthState) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(STATE_VERSION);
    out.put_u8(u8::from(state.enabled));
    put_varint(&mut out, state.revision);
    put_bytes(&mut out, &state.secret);
    put_varint(&mut out, state.users.len() as u64);
    for (name, user) in &state.users {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, &user.password_hash);
        out.put_u8(u8::from(user.no_password));
        put_varint(&mut out, user.changed);
        put_varint(&mut out, user.roles.len() as u64);
        for role in &user.roles {
            put_bytes(&mut out, role.as_bytes());
        }
    }
    put_varint(&mut out, state.roles.len() as u64);
    for (name, permissions) in &state.roles {
        put_bytes(&mut out, name.as_bytes());
        put_varint(&mut out, permissions.len() as u64);
        for permission in permissions {
            put_permission(&mut out, permission);
        }
    }
    out.freeze()
}

pub(crate) fn decode_state(raw: Bytes) -> Result<AuthState, DecodeError> {
    let mut input = Reader::new(raw);
    let version = input.byte()?;
    if version != STATE_VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let mut state = AuthState {
        enabled: input.byte()? != 0,
        revision: input.varint()?,
        secret: input.bytes()?,
        ..AuthState::default()
    };
    for _ in 0..input.count()? {
        let name = text(&mut input)?;
        let (password_hash, no_password) = (input.bytes()?, input.byte()? != 0);
        let changed = input.varint()?;
        let roles = (0..input.count()?)
            .map(|_| text(&mut input))
            .collect::<Result<_, _>>()?;
        let user = User {
            password_hash,
            no_password,
            roles,
            changed,
        };
        state.users.insert(name, user);
    }
    let mut roles = BTreeMap::new();
    for _ in 0..input.count()? {
        let name = text(&mut input)?;
        let permissions = (0..input.count()?)
            .map(|_| get_permission(&mut input))
            .collect::<Result<_, _>>()?;
        roles.insert(name, permissions);
    }
    state.roles = roles;
    input.finish()?;
    Ok(state)
}

pub(crate) fn put_change(out: &mut BytesMut, change: &AuthChange) {
    let (kind, names): (u8, [&str; 2]) = match change {
        AuthChange::Enable { .. } => (0, ["", ""]),
        AuthChange::Disable => (1, ["", ""]),
        AuthChange::UserAdd { name, .. } => (2, [name, ""]),
        AuthChange::UserDelete { name } => (3, [name, ""]),
        AuthChange::UserChangePassword { name, .. } => (4, [name, ""]),
        AuthChange::UserGrantRole { name, role } => (5, [name, role]),
        AuthChange::UserRevokeRole { name, role } => (6, [name, role]),
        AuthChange::RoleAdd { name } => (7, [name, ""]),
        AuthChange::RoleDelete { name } => (8, [name, ""]),
        AuthChange::RoleGrantPermission { role, .. } => (9, [role, ""]),
        AuthChange::RoleRevokePermission { role, .. } => (10, [role, ""]),
    };
    out.put_u8(kind);
    for name in names {
        put_bytes(out, name.as_bytes());
    }
    match change {
        AuthChange::Enable { secret } => put_bytes(out, secret),
        AuthChange::UserAdd {
            password_hash,
            no_password,
            ..
        } => {
            put_bytes(out, password_hash);
            out.put_u8(u8::from(*no_password));
        }
        AuthChange::UserChangePassword { password_hash, .. } => put_bytes(out, password_hash),
        AuthChange::RoleGrantPermission { permission, .. } => put_permission(out, permission),
        AuthChange::RoleRevokePermission { range, .. } => {
            put_bytes(out, &range.key);
            put_bytes(out, &range.end);
        }
        _ => {}
    }
}

pub(crate) fn get_change(input: &mut Reader) -> Result<AuthChange, DecodeError> {
    let kind = input.byte()?;
    let (name, role) = (text(input)?, text(input)?);
    Ok(match kind {
        0 => AuthChange::Enable {
            secret: input.bytes()?,
        },
        1 => AuthChange::Disable,
        2 => AuthChange::UserAdd {
            name,
            password_hash: input.bytes()?,
            no_password: input.byte()? != 0,
        },
        3 => AuthChange::UserDelete { name },
        4 => AuthChange::UserChangePassword {
            name,
            password_hash: input.bytes()?,
        },
        5 => AuthChange::UserGrantRole { name, role },
        6 => AuthChange::UserRevokeRole { name, role },
        7 => AuthChange::RoleAdd { name },
        8 => AuthChange::RoleDelete { name },
        9 => AuthChange::RoleGrantPermission {
            role: name,
            permission: get_permission(input)?,
        },
        10 => AuthChange::RoleRevokePermission {
            role: name,
            range: get_range(input)?,
        },
        value => {
            return Err(DecodeError::BadField {
                field: "change of users or roles",
                value: value.into(),
            });
        }
    })
}

fn text(input: &mut Reader) -> Result<String, DecodeError> {
    let raw = input.bytes()?;
    String::from_utf8(raw.to_vec()).map_err(|_| DecodeError::BadField {
        field: "name",
        value: raw.len() as u64,
    })
}

fn put_permission(out: &mut BytesMut, permission: &Permission) {
    out.put_u8(match permission.access {
        Access::Read => 0,
        Access::Write => 1,
        Access::ReadWrite => 2,
    });
    put_bytes(out, &permission.range.key);
    put_bytes(out, &permission.range.end);
}

fn get_permission(input: &mut Reader) -> Result<Permission, DecodeError> {
    let access = match input.byte()? {
        0 => Access::Read,
        1 => Access::Write,
        2 => Access::ReadWrite,
        value => {
            return Err(DecodeError::BadField {
                field: "permission",
                value: value.into(),
            });
        }
    };
    Ok(Permission {
        access,
        range: get_range(input)?,
    })
}

fn get_range(input: &mut Reader) -> Result<KeyRange, DecodeError> {
    Ok(KeyRange {
        key: input.bytes()?,
        end: input.bytes()?,
    })
}
