//! What the server's own structs have otherwise than the served types.

use kontiki_schema::{Presence, Type};

/// Not a type of its own in the API: the sources among the members of
/// `io.k8s.api.core.v1.PersistentVolumeSpec`.
pub(crate) const PERSISTENT_VOLUME_SOURCE: &str = "io.k8s.api.core.v1.PersistentVolumeSource";

/// Members in the order of the server's structs, where that is not the order of
/// their tags.
const ORDER: [(&str, &str); 9] = [
    (
        "io.k8s.api.core.v1.PodSpec",
        "volumes initContainers containers ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector serviceAccountName automountServiceAccountToken nodeName securityContext imagePullSecrets hostname subdomain setHostnameAsFQDN affinity schedulerName tolerations hostAliases priorityClassName priority preemptionPolicy dnsConfig readinessGates runtimeClassName overhead enableServiceLinks topologySpreadConstraints os schedulingGates resourceClaims resources hostnameOverride schedulingGroup",
    ),
    (
        "io.k8s.api.core.v1.PodSecurityContext",
        "seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot supplementalGroups supplementalGroupsPolicy fsGroup fsGroupChangePolicy sysctls seccompProfile appArmorProfile seLinuxChangePolicy",
    ),
    (
        "io.k8s.api.core.v1.SecurityContext",
        "capabilities privileged seLinuxOptions windowsOptions runAsUser runAsGroup runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation procMount seccompProfile appArmorProfile",
    ),
    ("io.k8s.api.core.v1.Container", CONTAINER),
    ("io.k8s.api.core.v1.EphemeralContainer", CONTAINER),
    (
        "io.k8s.api.core.v1.ServicePort",
        "name protocol appProtocol port targetPort nodePort",
    ),
    (
        "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
        "accessModes selector resources volumeName storageClassName volumeMode dataSource dataSourceRef volumeAttributesClassName",
    ),
    (
        PERSISTENT_VOLUME_SOURCE,
        "gcePersistentDisk awsElasticBlockStore hostPath glusterfs nfs rbd quobyte iscsi flexVolume cinder cephfs fc flocker azureFile vsphereVolume azureDisk photonPersistentDisk portworxVolume scaleIO local storageos csi",
    ),
    (
        "io.k8s.api.core.v1.Volume",
        "name hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo secret nfs iscsi glusterfs persistentVolumeClaim rbd quobyte flexVolume cinder cephfs flocker downwardAPI fc azureFile configMap vsphereVolume azureDisk photonPersistentDisk projected portworxVolume scaleIO storageos csi ephemeral image",
    ),
];

const CONTAINER: &str = "name image command args workingDir ports envFrom env resources resizePolicy restartPolicy restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext stdin stdinOnce tty targetContainerName";

/// The members of a type in the order of its struct.
pub(super) fn members(ty: &Type) -> Vec<&'static str> {
    order(ty.name).unwrap_or_else(|| {
        let mut fields: Vec<_> = ty.fields.iter().collect();
        fields.sort_by(|a, b| a.tags.cmp(&b.tags));
        fields.into_iter().map(|field| field.name).collect()
    })
}

/// The order of a type's members, if it is written down here.
pub(super) fn order(type_name: &str) -> Option<Vec<&'static str>> {
    let known = ORDER.iter().find(|(name, _)| *name == type_name)?;
    Some(known.1.split(' ').collect())
}

/// Members of a type that its struct keeps in another member.
pub(super) fn moved(type_name: &str, field: &str) -> Option<&'static [&'static str]> {
    let is_context = type_name == "io.k8s.api.core.v1.PodSpec" && field == "securityContext";
    is_context.then_some(&[
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "hostUsers",
    ])
}

/// When a member is there, where the table does not say it.
pub(super) fn presence(type_name: &str, field: &str) -> Option<Presence> {
    let is_value = type_name == "io.k8s.api.core.v1.ServicePort" && field == "targetPort";
    is_value.then_some(Presence::OmitEmpty)
}

/// Names that do not follow from JSON's.
const NAMES: [(&str, &str); 35] = [
    ("apiGroup", "APIGroup"),
    ("apiGroups", "APIGroups"),
    ("apiVersion", "APIVersion"),
    ("apiVersions", "APIVersions"),
    ("awsElasticBlockStore", "AWSElasticBlockStore"),
    ("caBundle", "CABundle"),
    ("cel", "CEL"),
    ("cephfs", "CephFS"),
    ("cidr", "CIDR"),
    ("cidrs", "CIDRs"),
    ("csi", "CSI"),
    ("dnsConfig", "DNSConfig"),
    ("dnsPolicy", "DNSPolicy"),
    ("fc", "FC"),
    ("fsGroup", "FSGroup"),
    ("fsGroupChangePolicy", "FSGroupChangePolicy"),
    ("fsType", "FSType"),
    ("gcePersistentDisk", "GCEPersistentDisk"),
    ("gmsaCredentialSpec", "GMSACredentialSpec"),
    ("gmsaCredentialSpecName", "GMSACredentialSpecName"),
    ("grpc", "GRPC"),
    ("httpGet", "HTTPGet"),
    ("httpHeaders", "HTTPHeaders"),
    ("ip", "IP"),
    ("ipBlock", "IPBlock"),
    ("iqn", "IQN"),
    ("iscsi", "ISCSI"),
    ("nfs", "NFS"),
    ("os", "OS"),
    ("rbd", "RBD"),
    ("storageos", "StorageOS"),
    ("tcpSocket", "TCPSocket"),
    ("tty", "TTY"),
    ("uid", "UID"),
    ("url", "URL"),
];

/// The member's name in its struct.
pub(super) fn go_name(type_name: &str, field: &str) -> String {
    if type_name == "io.k8s.api.resource.v1.DeviceAttribute" {
        return match field.strip_suffix('s') {
            Some(single) => format!("{}Values", capital(single)),
            None => format!("{}Value", capital(field)),
        };
    }
    match NAMES.iter().find(|(json, _)| *json == field) {
        Some((_, name)) => (*name).to_owned(),
        None if field.starts_with("seLinux") => field.replacen("se", "SE", 1),
        None => capital(field),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_ascii_uppercase().to_string() + chars.as_str(),
        None => String::new(),
    }
}
