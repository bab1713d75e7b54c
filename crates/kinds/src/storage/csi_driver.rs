//! `storage.k8s.io/v1` `CSIDriver`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::field::{FieldError, FieldErrors};
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{at, default, list, list_at, make};
use crate::view::View;
use kontiki_object::Value;
use serde_json::json;
use std::collections::BTreeSet;

pub(crate) fn kind() -> Kind {
    Kind {
        defaults,
        strategy: Rules {
            validate,
            generation: &["spec"],
            starts_uncounted: true,
            unconditional_update: false,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::cluster("storage.k8s.io", "v1", "CSIDriver", "csidrivers")
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "AttachRequired",
            "boolean",
            "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable.",
            |o, _| {
                at(o, &["spec", "attachRequired"])
                    .and_then(Value::as_bool)
                    .unwrap_or(true)
                    .into()
            },
        ),
        Column::new(
            "PodInfoOnMount",
            "boolean",
            "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable.",
            |o, _| {
                at(o, &["spec", "podInfoOnMount"])
                    .and_then(Value::as_bool)
                    .unwrap_or(false)
                    .into()
            },
        ),
        Column::new(
            "StorageCapacity",
            "boolean",
            "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable.",
            |o, _| {
                at(o, &["spec", "storageCapacity"])
                    .and_then(Value::as_bool)
                    .unwrap_or(false)
                    .into()
            },
        ),
        Column::new(
            "TokenRequests",
            "string",
            "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically.",
            |o, _| match at(o, &["spec", "tokenRequests"]).and_then(Value::as_array) {
                Some(list) => cells::joined(list, "audience"),
                None => "<unset>".into(),
            },
        ),
        Column::new(
            "RequiresRepublish",
            "boolean",
            "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container.",
            |o, _| {
                at(o, &["spec", "requiresRepublish"])
                    .and_then(Value::as_bool)
                    .unwrap_or(false)
                    .into()
            },
        ),
        Column::new(
            "Modes",
            "string",
            "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable.",
            |o, _| match list_at(o, &["spec", "volumeLifecycleModes"]) {
                [] => "<none>".into(),
                modes => modes
                    .iter()
                    .filter_map(Value::as_str)
                    .collect::<Vec<_>>()
                    .join(",")
                    .into(),
            },
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let policies = ["File", "None", "ReadWriteOnceWithFSType"];
    spec.one_of(&mut errors, "fsGroupPolicy", &policies);
    let mut seen = BTreeSet::new();
    for (index, request) in spec.maps("tokenRequests").enumerate() {
        let path = spec.at("tokenRequests").index(index);
        let audience = request.text("audience");
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(&path.child("audience"), audience));
        }
        if let Some(seconds) = request.number("expirationSeconds") {
            let path = path.child("expirationSeconds");
            if seconds < 600 {
                let why = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(&path, seconds, why));
            }
            if seconds > 1 << 32 {
                let why = "may not specify a duration larger than 2^32 seconds";
                errors.push(FieldError::invalid(&path, seconds, why));
            }
        }
    }
    let modes = ["Ephemeral", "Persistent"];
    for (path, mode) in spec.texts("volumeLifecycleModes") {
        if !modes.contains(&mode) {
            errors.push(FieldError::not_supported(&path, mode, &modes));
        }
    }
    errors
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "attachRequired", true);
    default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    for field in [
        "podInfoOnMount",
        "storageCapacity",
        "requiresRepublish",
        "seLinuxMount",
    ] {
        default(spec, field, false);
    }
    if list(spec, "volumeLifecycleModes").is_empty() {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
}
