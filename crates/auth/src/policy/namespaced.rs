//! Roles within `kube-system` and `kube-public`.

use super::Subject::{self, ServiceAccount, User};
use super::{Row, named, rule};

pub(super) const ROLES: &[(&str, &str, &[Row])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        &[
            rule("get,list,watch", "", "configmaps"),
            named("update", "", "configmaps", "cluster-info"),
            rule("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[named(
            "get,list,watch",
            "",
            "configmaps",
            "extension-apiserver-authentication",
        )],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        &[
            rule(
                "create,get,list,update,watch",
                "coordination.k8s.io",
                "leases",
            ),
            rule(
                "create,get,list,update,watch",
                "coordination.k8s.io",
                "leasecandidates",
            ),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        &[
            rule(
                "create,get,list,update,watch",
                "coordination.k8s.io",
                "leases",
            ),
            rule(
                "create,get,list,update,watch",
                "coordination.k8s.io",
                "leasecandidates",
            ),
        ],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        &[rule("get,list,watch", "", "secrets")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        &[rule("create,get,list,watch", "", "configmaps")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        &[
            rule("delete,get,list,watch", "", "secrets"),
            rule("create,patch,update", ",events.k8s.io", "events"),
        ],
    ),
];

pub(super) const ROLE_BINDINGS: &[(&str, &str, &str, &[Subject])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[ServiceAccount("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[
            User("system:kube-controller-manager"),
            User("system:kube-scheduler"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[
            User("system:kube-controller-manager"),
            ServiceAccount("kube-controller-manager"),
            ServiceAccount("leader-election-controller"),
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[
            User("system:kube-scheduler"),
            ServiceAccount("kube-scheduler"),
        ],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[ServiceAccount("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[ServiceAccount("cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[ServiceAccount("token-cleaner")],
    ),
];
