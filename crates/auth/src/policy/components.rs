//! The roles of the cluster's own components and of everybody who comes near
//! the API server.

use super::Subject::{self, Group, ServiceAccount, User};
use super::{Rows, named, rule, urls};

pub(super) const CLUSTER_ROLES: Rows = &[
    (
        "system:auth-delegator",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
        ],
    ),
    (
        "system:basic-user",
        &[
            rule(
                "create",
                "authorization.k8s.io",
                "selfsubjectaccessreviews,selfsubjectrulesreviews",
            ),
            rule("create", "authentication.k8s.io", "selfsubjectreviews"),
        ],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[rule(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/nodeclient",
        )],
    ),
    (
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[rule(
            "create",
            "certificates.k8s.io",
            "certificatesigningrequests/selfnodeclient",
        )],
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client",
        )],
    ),
    (
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kube-apiserver-client-kubelet",
        )],
    ),
    (
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/kubelet-serving",
        )],
    ),
    (
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[named(
            "approve",
            "certificates.k8s.io",
            "signers",
            "kubernetes.io/legacy-unknown",
        )],
    ),
    (
        "system:discovery",
        &[urls(
            "get",
            "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/",
        )],
    ),
    (
        "system:heapster",
        &[
            rule("get,list,watch", "", "events,namespaces,nodes,pods"),
            rule("get,list,watch", "extensions", "deployments"),
        ],
    ),
    (
        "system:kube-aggregator",
        &[rule("get,list,watch", "", "endpoints,services")],
    ),
    (
        "system:kube-controller-manager",
        &[
            rule("create,patch,update", ",events.k8s.io", "events"),
            rule("create", "coordination.k8s.io", "leases"),
            named(
                "get,update",
                "coordination.k8s.io",
                "leases",
                "kube-controller-manager",
            ),
            rule("create", "", "secrets,serviceaccounts"),
            rule("delete", "", "secrets"),
            rule("get", "", "configmaps,namespaces,secrets,serviceaccounts"),
            rule("update", "", "secrets,serviceaccounts"),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule("list,watch", "*", "*"),
            rule("create", "", "serviceaccounts/token"),
        ],
    ),
    (
        "system:kube-dns",
        &[rule("list,watch", "", "endpoints,services")],
    ),
    (
        "system:kube-scheduler",
        &[
            rule("create,patch,update", ",events.k8s.io", "events"),
            rule("create", "coordination.k8s.io", "leases"),
            named(
                "get,list,update,watch",
                "coordination.k8s.io",
                "leases",
                "kube-scheduler",
            ),
            rule(
                "create,delete,deletecollection,get,list,patch,update,watch",
                "coordination.k8s.io",
                "leasecandidates",
            ),
            rule("get,list,watch", "", "nodes"),
            rule("delete,get,list,watch", "", "pods"),
            rule("create", "", "bindings,pods/binding"),
            rule("patch,update", "", "pods/status"),
            rule("get,list,watch", "", "replicationcontrollers,services"),
            rule("get,list,watch", "apps,extensions", "replicasets"),
            rule("get,list,watch", "apps", "statefulsets"),
            rule("get,list,watch", "policy", "poddisruptionbudgets"),
            rule(
                "get,list,watch",
                "",
                "persistentvolumeclaims,persistentvolumes",
            ),
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule("create", "authorization.k8s.io", "subjectaccessreviews"),
            rule("get,list,watch", "storage.k8s.io", "csinodes"),
            rule("get,list,watch", "storage.k8s.io", "volumeattachments"),
            rule("get,list,watch", "", "namespaces"),
            rule("get,list,watch", "storage.k8s.io", "csidrivers"),
            rule("get,list,watch", "storage.k8s.io", "csistoragecapacities"),
            rule("get,list,watch", "resource.k8s.io", "deviceclasses"),
            rule(
                "get,list,patch,update,watch",
                "resource.k8s.io",
                "resourceclaims",
            ),
            rule(
                "get,list,patch,update,watch",
                "resource.k8s.io",
                "resourceclaims/status",
            ),
            rule("update", "", "pods/finalizers"),
            rule("get,list,watch", "resource.k8s.io", "resourceslices"),
            rule("create,delete", "resource.k8s.io", "resourceclaims"),
            rule("patch,update", "resource.k8s.io", "resourceclaims/binding"),
        ],
    ),
    (
        "system:kubelet-api-admin",
        &[
            rule("get,list,watch", "", "nodes"),
            rule("proxy", "", "nodes"),
            rule("*", "", "nodes/log,nodes/metrics,nodes/proxy,nodes/stats"),
            rule("*", "", "nodes/configz,nodes/healthz,nodes/pods"),
        ],
    ),
    (
        "system:monitoring",
        &[
            urls(
                "get",
                "/flagz,/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*,/statusz",
            ),
            rule("get", "", "nodes/metrics"),
        ],
    ),
    (
        "system:node",
        &[
            rule("create", "authentication.k8s.io", "tokenreviews"),
            rule(
                "create",
                "authorization.k8s.io",
                "localsubjectaccessreviews,subjectaccessreviews",
            ),
            rule("get,list,watch", "", "services"),
            rule("create,get,list,watch", "", "nodes"),
            rule("patch,update", "", "nodes/status"),
            rule("patch,update", "", "nodes"),
            rule("create,patch,update", ",events.k8s.io", "events"),
            rule("get,list,watch", "", "pods"),
            rule("create,delete", "", "pods"),
            rule("patch,update", "", "pods/status"),
            rule("create", "", "pods/eviction"),
            rule("get,list,watch", "", "configmaps,secrets"),
            rule("get", "", "persistentvolumeclaims,persistentvolumes"),
            rule("get", "", "endpoints"),
            rule(
                "create,get,list,watch",
                "certificates.k8s.io",
                "certificatesigningrequests",
            ),
            rule(
                "create,delete,get,patch,update",
                "coordination.k8s.io",
                "leases",
            ),
            rule("get", "storage.k8s.io", "volumeattachments"),
            rule("create", "", "serviceaccounts/token"),
            rule("get,patch,update", "", "persistentvolumeclaims/status"),
            rule("get,list,watch", "storage.k8s.io", "csidrivers"),
            rule(
                "create,delete,get,patch,update",
                "storage.k8s.io",
                "csinodes",
            ),
            rule("get,list,watch", "node.k8s.io", "runtimeclasses"),
            rule("get", "resource.k8s.io", "resourceclaims"),
            rule("deletecollection", "resource.k8s.io", "resourceslices"),
            rule("get", "", "serviceaccounts"),
        ],
    ),
    (
        "system:node-bootstrapper",
        &[rule(
            "create,get,list,watch",
            "certificates.k8s.io",
            "certificatesigningrequests",
        )],
    ),
    (
        "system:node-problem-detector",
        &[
            rule("get", "", "nodes"),
            rule("patch", "", "nodes/status"),
            rule("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
    (
        "system:node-proxier",
        &[
            rule("list,watch", "", "endpoints,services"),
            rule("get,list,watch", "", "nodes"),
            rule("create,patch,update", ",events.k8s.io", "events"),
            rule("list,watch", "networking.k8s.io", "servicecidrs"),
            rule("list,watch", "discovery.k8s.io", "endpointslices"),
        ],
    ),
    (
        "system:persistent-volume-provisioner",
        &[
            rule("create,delete,get,list,watch", "", "persistentvolumes"),
            rule("get,list,update,watch", "", "persistentvolumeclaims"),
            rule("get,list,watch", "storage.k8s.io", "storageclasses"),
            rule("watch", "", "events"),
            rule("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
    (
        "system:public-info-viewer",
        &[urls("get", "/healthz,/livez,/readyz,/version,/version/")],
    ),
    (
        "system:service-account-issuer-discovery",
        &[urls(
            "get",
            "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,/openid/v1/jwks/",
        )],
    ),
    (
        "system:volume-scheduler",
        &[
            rule("get,list,patch,update,watch", "", "persistentvolumes"),
            rule("get,list,watch", "storage.k8s.io", "storageclasses"),
            rule("get,list,patch,update,watch", "", "persistentvolumeclaims"),
        ],
    ),
];

pub(super) const CLUSTER_ROLE_BINDINGS: &[(&str, &str, &[Subject])] = &[
    ("cluster-admin", "cluster-admin", &[Group("system:masters")]),
    (
        "system:basic-user",
        "system:basic-user",
        &[Group("system:authenticated")],
    ),
    (
        "system:discovery",
        "system:discovery",
        &[Group("system:authenticated")],
    ),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &[User("system:kube-controller-manager")],
    ),
    (
        "system:kube-dns",
        "system:kube-dns",
        &[ServiceAccount("kube-dns")],
    ),
    (
        "system:kube-scheduler",
        "system:kube-scheduler",
        &[User("system:kube-scheduler")],
    ),
    (
        "system:monitoring",
        "system:monitoring",
        &[Group("system:monitoring")],
    ),
    ("system:node", "system:node", &[]),
    (
        "system:node-proxier",
        "system:node-proxier",
        &[User("system:kube-proxy")],
    ),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[
            Group("system:authenticated"),
            Group("system:unauthenticated"),
        ],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Group("system:serviceaccounts")],
    ),
    (
        "system:volume-scheduler",
        "system:volume-scheduler",
        &[User("system:kube-scheduler")],
    ),
];
