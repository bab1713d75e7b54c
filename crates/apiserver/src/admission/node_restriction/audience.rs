//! For which audiences a node may ask tokens of a pod's account: those that the
//! pod's own volumes want, and those that somebody allows it to.

use super::{Verdict, refuse, text};
use crate::admission::Attributes;
use kontiki_auth::Authorizer;
use kontiki_auth::authz;
use kontiki_object::{Object, Status, Value};

/// Kinds of volumes that drivers outside of Kubernetes have taken over.
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

pub(super) async fn check(
    authorizer: &dyn Authorizer,
    attributes: &Attributes<'_>,
    spec: &Value,
    pod: &Object,
) -> Verdict {
    let audiences = spec["audiences"].as_array();
    let audience = match audiences.map(Vec::as_slice).unwrap_or_default() {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return refuse("node may only request 0 or 1 audiences"),
    };
    match is_wanted(attributes, pod, audience) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(status) => {
            return refuse(format!("error validating audience {audience:?}: {status}"));
        }
    }
    let user = &attributes.context.user;
    let asked = authz::Attributes {
        user: user.clone(),
        verb: "request-serviceaccounts-token-audience".to_owned(),
        namespace: attributes.target.namespace.clone(),
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        name: attributes.target.name.clone(),
        is_resource: true,
        ..authz::Attributes::default()
    };
    if authorizer.authorize(&asked).await.is_allowed() {
        return Ok(());
    }
    refuse(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        user.name
    ))
}

/// Whether one of the pod's volumes wants a token for an audience. Fails if that
/// cannot be told of some volume and no other wants it.
fn is_wanted(attributes: &Attributes<'_>, pod: &Object, audience: &str) -> Result<bool, Status> {
    let mut failure = None;
    let volumes = pod.get(&["spec", "volumes"]).and_then(Value::as_array);
    for volume in volumes.into_iter().flatten() {
        let sources = volume["projected"]["sources"].as_array();
        let projects = |source: &Value| {
            let token = &source["serviceAccountToken"];
            token.is_object() && text(token, "audience") == audience
        };
        if sources.into_iter().flatten().any(projects) {
            return Ok(true);
        }
        let wants = driver(attributes, pod, volume).and_then(|driver| match driver {
            Some(driver) => driver_wants(attributes, &driver, audience),
            None => Ok(false),
        });
        match wants {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(status) => failure = failure.or(Some(status)),
        }
    }
    failure.map_or(Ok(false), Err)
}

/// The driver behind a volume.
fn driver(
    attributes: &Attributes<'_>,
    pod: &Object,
    volume: &Value,
) -> Result<Option<String>, Status> {
    let claim = &volume["persistentVolumeClaim"];
    if volume["ephemeral"]["volumeClaimTemplate"].is_object() {
        let name = format!("{}-{}", pod.name(), text(volume, "name"));
        return driver_of_claim(attributes, pod.namespace(), &name);
    }
    if claim.is_object() {
        return driver_of_claim(attributes, pod.namespace(), text(claim, "claimName"));
    }
    Ok(driver_of(volume))
}

fn driver_of(source: &Value) -> Option<String> {
    if source["csi"].is_object() {
        return Some(text(&source["csi"], "driver").to_owned());
    }
    let migrated = MIGRATED.iter().find(|(kind, _)| source[*kind].is_object());
    migrated.map(|(_, driver)| (*driver).to_owned())
}

fn driver_of_claim(
    attributes: &Attributes<'_>,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, Status> {
    let found = |resource: &str, namespace: &str, name: &str| {
        attributes
            .lookup("", "v1", resource, namespace, name)
            .ok_or_else(|| Status::not_found("", resource, name))
    };
    let claim = found("persistentvolumeclaims", namespace, name)?;
    let name = claim.str_at(&["spec", "volumeName"]).unwrap_or_default();
    let volume = found("persistentvolumes", "", name)?;
    Ok(volume.get(&["spec"]).and_then(driver_of))
}

fn driver_wants(attributes: &Attributes<'_>, driver: &str, audience: &str) -> Result<bool, Status> {
    let group = "storage.k8s.io";
    let found = attributes.lookup(group, "v1", "csidrivers", "", driver);
    let found = found.ok_or_else(|| Status::not_found(group, "csidrivers", driver))?;
    let requests = found
        .get(&["spec", "tokenRequests"])
        .and_then(Value::as_array);
    let mut requests = requests.into_iter().flatten();
    Ok(requests.any(|request| text(request, "audience") == audience))
}
