//! `CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`
//! and `ClusterTrustBundleAttest`: who may act for which signer.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kontiki_auth::user::MASTERS;
use kontiki_auth::{Authorizer, authz};
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value};
use kontiki_pki::CertificateRequest;
use std::sync::Arc;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Whether the requester may do this for the signer, or for all of its domain.
async fn may(
    authorizer: &dyn Authorizer,
    attributes: &Attributes<'_>,
    verb: &str,
    signer: &str,
) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let asked = authz::Attributes {
            user: attributes.context.user.clone(),
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            is_resource: true,
            ..authz::Attributes::default()
        };
        if authorizer.authorize(&asked).await.is_allowed() {
            return true;
        }
    }
    false
}

fn is_request(attributes: &Attributes<'_>, operation: Operation, subresource: &str) -> bool {
    let target = attributes.target;
    attributes.operation == operation
        && target.subresource == subresource
        && target.kind.group == GROUP
        && target.kind.plural == "certificatesigningrequests"
}

fn signer(object: Option<&Tree>) -> &str {
    let spec = object.and_then(|object| object.get("spec"));
    let signer = spec.and_then(|spec| spec.get("signerName"));
    signer.and_then(Value::as_str).unwrap_or_default()
}

pub(super) struct CertificateApproval {
    pub(super) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !is_request(attributes, Operation::Update, "approval") {
            return Ok(());
        }
        // The old one counts: nobody chooses the signer while approving.
        let signer = signer(attributes.old);
        if may(&*self.authorizer, attributes, "approve", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "user not permitted to approve requests with signerName {signer:?}"
        )))
    }
}

pub(super) struct CertificateSigning {
    pub(super) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if !is_request(attributes, Operation::Update, "status") {
            return Ok(());
        }
        let said = |object: Option<&Tree>| {
            let status = object.and_then(|object| object.get("status"));
            let part = |name: &str| {
                status
                    .map(|status| status[name].clone())
                    .unwrap_or_default()
            };
            let conditions = part("conditions").as_array().cloned().unwrap_or_default();
            (part("certificate"), conditions)
        };
        if said(attributes.old) == said(attributes.object.as_deref()) {
            return Ok(());
        }
        let signer = signer(attributes.old);
        if may(&*self.authorizer, attributes, "sign", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "user not permitted to sign requests with signerName {signer:?}"
        )))
    }
}

pub(super) struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let object = attributes.object.as_deref();
        if !is_request(attributes, Operation::Create, "") || signer(object) != CLIENT_SIGNER {
            return Ok(());
        }
        let encoded = object.and_then(|object| object.get("spec")?.get("request")?.as_str());
        let pem = STANDARD.decode(encoded.unwrap_or_default()).ok();
        let pem = pem.and_then(|pem| String::from_utf8(pem).ok());
        match CertificateRequest::from_pem(&pem.unwrap_or_default()) {
            Err(error) => Err(attributes.forbidden(&format!("failed to parse CSR: {error}"))),
            Ok(request) if request.organizations.iter().any(|group| group == MASTERS) => {
                Err(attributes.forbidden(&format!(
                    "use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
                )))
            }
            Ok(_) => Ok(()),
        }
    }
}

pub(super) struct ClusterTrustBundleAttest {
    pub(super) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
        if !is_write || !attributes.is_for(GROUP, "clustertrustbundles") {
            return Ok(());
        }
        let object = attributes.object.as_deref();
        let signer = signer(object);
        let lets_go = attributes
            .old
            .zip(object)
            .is_some_and(|(old, new)| super::only_lets_go(old, new));
        if signer.is_empty() || lets_go {
            return Ok(());
        }
        if may(&*self.authorizer, attributes, "attest", signer).await {
            return Ok(());
        }
        Err(attributes.forbidden(&format!(
            "user not permitted to attest for signerName {signer:?}"
        )))
    }
}
