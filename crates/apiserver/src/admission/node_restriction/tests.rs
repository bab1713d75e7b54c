use super::*;

#[test]
fn nodes_set_their_own_labels_and_those_of_nobody() {
    for (label, forbidden) in [
        ("example.com/a", false),
        ("plain", false),
        ("kubernetes.io/hostname", false),
        ("kubernetes.io/arch", false),
        ("kubernetes.io/role", true),
        ("node-role.kubernetes.io/control-plane", true),
        ("node.kubernetes.io/instance-type", false),
        ("node.kubernetes.io/anything", false),
        ("a.node.kubernetes.io/anything", false),
        ("kubelet.kubernetes.io/x", false),
        ("topology.kubernetes.io/zone", false),
        ("topology.kubernetes.io/rack", true),
        ("node-restriction.kubernetes.io/x", true),
        ("a.node-restriction.kubernetes.io/x", true),
        ("k8s.io/x", true),
        ("a.k8s.io/x", true),
        ("notk8s.io/x", false),
        ("xkubernetes.io/x", false),
    ] {
        let found = forbidden_labels(std::iter::once(label));
        assert_eq!(!found.is_empty(), forbidden, "{label}");
    }
}
