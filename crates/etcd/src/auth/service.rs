//! The Auth service.

use super::refused;
use crate::error::into_status;
use crate::pb::authpb;
use crate::pb::etcdserverpb as pb;
use crate::server::Etcd;
use bytes::Bytes;
use kontiki_store::{Access, AuthChange, AuthError, KeyRange, Permission};
use rand::Rng;
use tonic::{Request, Response, Status, async_trait};

const SECRET_BYTES: usize = 32;
/// bcrypt takes no more; etcd refuses longer ones.
const PASSWORD_BYTES_MAX: usize = 72;

impl Etcd {
    async fn change_auth<T>(
        &self,
        request: &Request<T>,
        change: AuthChange,
    ) -> Result<Option<pb::ResponseHeader>, Status> {
        self.permit(request)?.root().map_err(refused)?;
        let header = self.store.change_auth(change).await.map_err(into_status)?;
        Ok(self.answerer().header(header))
    }

    /// bcrypt takes its time on purpose: not on a thread of the runtime.
    async fn hash(&self, password: String, hashed: String) -> Result<Bytes, Status> {
        if !hashed.is_empty() {
            return Ok(hashed.into());
        }
        if password.len() > PASSWORD_BYTES_MAX {
            return Err(Status::invalid_argument(format!(
                "etcdserver: a password has at most {PASSWORD_BYTES_MAX} bytes"
            )));
        }
        let cost = self.options.bcrypt_cost;
        let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(password, cost)).await;
        let failed = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
        let hashed = hashed
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        Ok(hashed.into())
    }

    async fn check_password(&self, name: &str, password: String) -> Result<(), Status> {
        let state = self.store.auth();
        if !state.enabled {
            return Err(refused(AuthError::NotEnabled));
        }
        let user = state
            .users
            .get(name)
            .ok_or_else(|| refused(AuthError::Failed))?;
        if user.no_password {
            return Err(refused(AuthError::NoPasswordUser));
        }
        let hash = String::from_utf8_lossy(&user.password_hash).into_owned();
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
        match verified {
            Ok(Ok(true)) => Ok(()),
            _ => Err(refused(AuthError::Failed)),
        }
    }
}

fn permission(permission: Option<authpb::Permission>) -> Result<Permission, Status> {
    let permission = permission.ok_or_else(|| refused(AuthError::PermissionNotGiven))?;
    let access = match authpb::permission::Type::try_from(permission.perm_type) {
        Ok(authpb::permission::Type::Read) => Access::Read,
        Ok(authpb::permission::Type::Write) => Access::Write,
        Ok(authpb::permission::Type::Readwrite) => Access::ReadWrite,
        Err(_) => return Err(refused(AuthError::PermissionNotGiven)),
    };
    Ok(Permission {
        access,
        range: KeyRange {
            key: permission.key,
            end: permission.range_end,
        },
    })
}

#[async_trait]
impl pb::auth_server::Auth for Etcd {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let mut secret = vec![0; SECRET_BYTES];
        rand::rng().fill(&mut secret[..]);
        let change = AuthChange::Enable {
            secret: secret.into(),
        };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthEnableResponse { header }))
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let header = self.change_auth(&request, AuthChange::Disable).await?;
        Ok(Response::new(pb::AuthDisableResponse { header }))
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let state = self.store.auth();
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.current_header(),
            enabled: state.enabled,
            // etcd counts from 1.
            auth_revision: state.revision + 1,
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        // As of now, so that a password that was just set is known.
        self.store.read_barrier().await.map_err(into_status)?;
        self.check_password(&name, password).await?;
        let token = self
            .options
            .tokens
            .issue(&self.store.auth(), &name)
            .map_err(refused)?;
        Ok(Response::new(pb::AuthenticateResponse {
            header: self.current_header(),
            token,
        }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let asked = request.get_ref().clone();
        let no_password = asked.options.is_some_and(|options| options.no_password);
        let password_hash = if no_password || asked.name.is_empty() {
            Bytes::new()
        } else {
            self.hash(asked.password, asked.hashed_password).await?
        };
        let change = AuthChange::UserAdd {
            name: asked.name,
            password_hash,
            no_password,
        };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthUserAddResponse { header }))
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let permit = self.permit(&request)?;
        let name = request.into_inner().name;
        if !permit.is(&name) {
            permit.root().map_err(refused)?;
        }
        self.store.read_barrier().await.map_err(into_status)?;
        let state = self.store.auth();
        let user = state.users.get(&name);
        let user = user.ok_or_else(|| refused(AuthError::UserNotFound))?;
        Ok(Response::new(pb::AuthUserGetResponse {
            header: self.current_header(),
            roles: user.roles.iter().cloned().collect(),
        }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        self.store.read_barrier().await.map_err(into_status)?;
        Ok(Response::new(pb::AuthUserListResponse {
            header: self.current_header(),
            users: self.store.auth().users.keys().cloned().collect(),
        }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let name = request.get_ref().name.clone();
        let header = self
            .change_auth(&request, AuthChange::UserDelete { name })
            .await?;
        Ok(Response::new(pb::AuthUserDeleteResponse { header }))
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        let asked = request.get_ref().clone();
        let change = AuthChange::UserChangePassword {
            name: asked.name,
            password_hash: self.hash(asked.password, asked.hashed_password).await?,
        };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthUserChangePasswordResponse { header }))
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let pb::AuthUserGrantRoleRequest { user, role } = request.get_ref().clone();
        let change = AuthChange::UserGrantRole { name: user, role };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthUserGrantRoleResponse { header }))
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let pb::AuthUserRevokeRoleRequest { name, role } = request.get_ref().clone();
        let change = AuthChange::UserRevokeRole { name, role };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthUserRevokeRoleResponse { header }))
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let name = request.get_ref().name.clone();
        let header = self
            .change_auth(&request, AuthChange::RoleAdd { name })
            .await?;
        Ok(Response::new(pb::AuthRoleAddResponse { header }))
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let permit = self.permit(&request)?;
        let role = request.into_inner().role;
        if !permit.has_role(&role) {
            permit.root().map_err(refused)?;
        }
        self.store.read_barrier().await.map_err(into_status)?;
        let state = self.store.auth();
        let permissions = state.roles.get(&role);
        let permissions = permissions.ok_or_else(|| refused(AuthError::RoleNotFound))?;
        Ok(Response::new(pb::AuthRoleGetResponse {
            header: self.current_header(),
            perm: permissions.iter().map(wire_permission).collect(),
        }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        self.permit(&request)?.root().map_err(refused)?;
        self.store.read_barrier().await.map_err(into_status)?;
        Ok(Response::new(pb::AuthRoleListResponse {
            header: self.current_header(),
            roles: self.store.auth().roles.keys().cloned().collect(),
        }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let name = request.get_ref().role.clone();
        let header = self
            .change_auth(&request, AuthChange::RoleDelete { name })
            .await?;
        Ok(Response::new(pb::AuthRoleDeleteResponse { header }))
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let asked = request.get_ref().clone();
        let change = AuthChange::RoleGrantPermission {
            role: asked.name,
            permission: permission(asked.perm)?,
        };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthRoleGrantPermissionResponse {
            header,
        }))
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let asked = request.get_ref().clone();
        let change = AuthChange::RoleRevokePermission {
            role: asked.role,
            range: KeyRange {
                key: asked.key,
                end: asked.range_end,
            },
        };
        let header = self.change_auth(&request, change).await?;
        Ok(Response::new(pb::AuthRoleRevokePermissionResponse {
            header,
        }))
    }
}

/// As etcd keeps and sends a permission.
pub(crate) fn wire_permission(permission: &Permission) -> authpb::Permission {
    let kind = match permission.access {
        Access::Read => authpb::permission::Type::Read,
        Access::Write => authpb::permission::Type::Write,
        Access::ReadWrite => authpb::permission::Type::Readwrite,
    };
    authpb::Permission {
        perm_type: kind.into(),
        key: permission.range.key.clone(),
        range_end: permission.range.end.clone(),
    }
}
