use super::*;

fn range(key: &str, end: &str) -> KeyRange {
    KeyRange {
        key: key.to_owned().into(),
        end: end.to_owned().into(),
    }
}

fn add_user(name: &str) -> AuthChange {
    AuthChange::UserAdd {
        name: name.into(),
        password_hash: Bytes::from_static(b"hash"),
        no_password: false,
    }
}

fn grant(name: &str, role: &str) -> AuthChange {
    AuthChange::UserGrantRole {
        name: name.into(),
        role: role.into(),
    }
}

fn allow(role: &str, access: Access, range: KeyRange) -> AuthChange {
    AuthChange::RoleGrantPermission {
        role: role.into(),
        permission: Permission { access, range },
    }
}

#[test]
fn auth_is_enabled_only_with_a_root_that_is_root() {
    let mut state = AuthState::default();
    let enable = AuthChange::Enable {
        secret: Bytes::from_static(b"s"),
    };
    assert_eq!(state.change(&enable), Err(AuthError::RootUserMissing));
    state.change(&add_user(ROOT)).expect("a new user");
    assert_eq!(state.change(&enable), Err(AuthError::RootRoleMissing));
    state.change(&grant(ROOT, ROOT)).expect("the root role");
    state.change(&enable).expect("it may be enabled");
    let delete = AuthChange::UserDelete { name: ROOT.into() };
    let revoke = AuthChange::UserRevokeRole {
        name: ROOT.into(),
        role: ROOT.into(),
    };
    for change in [delete, revoke] {
        assert_eq!(state.change(&change), Err(AuthError::InvalidManagement));
    }
    let revision = state.revision;
    state.change(&enable).expect("again is no error");
    assert_eq!(state.revision, revision, "and no change");
}

#[test]
fn a_refused_change_changes_nothing() {
    let mut state = AuthState::default();
    state.change(&add_user("u")).expect("a new user");
    let before = state.clone();
    for (change, error) in [
        (add_user("u"), AuthError::UserExists),
        (add_user(""), AuthError::UserEmpty),
        (grant("u", "r"), AuthError::RoleNotFound),
        (grant("x", "r"), AuthError::UserNotFound),
        (
            AuthChange::RoleDelete { name: "r".into() },
            AuthError::RoleNotFound,
        ),
        (
            AuthChange::RoleAdd {
                name: String::new(),
            },
            AuthError::RoleEmpty,
        ),
        (
            AuthChange::UserRevokeRole {
                name: "u".into(),
                role: "r".into(),
            },
            AuthError::RoleNotGranted,
        ),
        (
            allow("r", Access::Read, range("a", "")),
            AuthError::RoleNotFound,
        ),
    ] {
        assert_eq!(state.change(&change), Err(error), "{change:?}");
    }
    assert_eq!(state, before);
}

#[test]
fn permissions_cover_a_range_together_but_not_over_a_gap() {
    let mut state = AuthState::default();
    for change in [
        add_user("u"),
        AuthChange::RoleAdd { name: "r".into() },
        AuthChange::RoleAdd { name: "s".into() },
        grant("u", "r"),
        grant("u", "s"),
        allow("r", Access::Read, range("a", "c")),
        allow("s", Access::ReadWrite, range("c", "e")),
        allow("s", Access::Write, range("x", "\0")),
    ] {
        state.change(&change).expect("a valid change");
    }
    for (access, range, allowed) in [
        (Access::Read, range("a", ""), true),
        (Access::Read, range("a", "e"), true),
        (Access::Read, range("b", "d"), true),
        (Access::Read, range("a", "f"), false),
        (Access::Read, range("A", "b"), false),
        (Access::Write, range("a", ""), false),
        (Access::Write, range("c", "e"), true),
        (Access::Write, range("x", "\0"), true),
        (Access::Write, range("c", "\0"), false),
        (Access::Read, range("x", ""), false),
    ] {
        assert_eq!(
            state.check("u", access, &range).is_ok(),
            allowed,
            "{access:?} {range:?}"
        );
    }
    let delete = AuthChange::RoleDelete { name: "s".into() };
    state.change(&delete).expect("it exists");
    assert_eq!(
        state.check("u", Access::Write, &range("c", "")),
        Err(AuthError::PermissionDenied),
        "a deleted role allows nothing"
    );
}
