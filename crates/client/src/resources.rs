//! The resources that Kontiki's own components use, by name.

use kontiki_object::GroupVersionResource as Gvr;

macro_rules! resources {
    ($($name:ident = $group:literal $version:literal $resource:literal;)*) => {
        $(
            #[doc = concat!("`", $resource, "` of `", $group, "/", $version, "`.")]
            pub const $name: Gvr = Gvr::new($group, $version, $resource);
        )*
    };
}

resources! {
    CONFIG_MAPS = "" "v1" "configmaps";
    ENDPOINTS = "" "v1" "endpoints";
    EVENTS = "" "v1" "events";
    LIMIT_RANGES = "" "v1" "limitranges";
    NAMESPACES = "" "v1" "namespaces";
    NODES = "" "v1" "nodes";
    PERSISTENT_VOLUME_CLAIMS = "" "v1" "persistentvolumeclaims";
    PERSISTENT_VOLUMES = "" "v1" "persistentvolumes";
    PODS = "" "v1" "pods";
    REPLICATION_CONTROLLERS = "" "v1" "replicationcontrollers";
    RESOURCE_QUOTAS = "" "v1" "resourcequotas";
    SECRETS = "" "v1" "secrets";
    SERVICE_ACCOUNTS = "" "v1" "serviceaccounts";
    SERVICES = "" "v1" "services";
    CONTROLLER_REVISIONS = "apps" "v1" "controllerrevisions";
    DAEMON_SETS = "apps" "v1" "daemonsets";
    DEPLOYMENTS = "apps" "v1" "deployments";
    REPLICA_SETS = "apps" "v1" "replicasets";
    STATEFUL_SETS = "apps" "v1" "statefulsets";
    CRON_JOBS = "batch" "v1" "cronjobs";
    JOBS = "batch" "v1" "jobs";
    CERTIFICATE_SIGNING_REQUESTS = "certificates.k8s.io" "v1" "certificatesigningrequests";
    LEASES = "coordination.k8s.io" "v1" "leases";
    ENDPOINT_SLICES = "discovery.k8s.io" "v1" "endpointslices";
    POD_DISRUPTION_BUDGETS = "policy" "v1" "poddisruptionbudgets";
    PRIORITY_CLASSES = "scheduling.k8s.io" "v1" "priorityclasses";
    CLUSTER_ROLES = "rbac.authorization.k8s.io" "v1" "clusterroles";
    CLUSTER_ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "clusterrolebindings";
    ROLES = "rbac.authorization.k8s.io" "v1" "roles";
    ROLE_BINDINGS = "rbac.authorization.k8s.io" "v1" "rolebindings";
    STORAGE_CLASSES = "storage.k8s.io" "v1" "storageclasses";
    CUSTOM_RESOURCE_DEFINITIONS = "apiextensions.k8s.io" "v1" "customresourcedefinitions";
}
