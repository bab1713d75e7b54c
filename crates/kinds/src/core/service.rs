//! `core/v1` `Service`.

use crate::Tree;
use crate::cells;
use crate::core::{service_checks, service_fields};
use crate::kind::SelectableField;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{
    at, default, list, list_at, make, map_mut_at, maps_mut, number, text, text_at, unset,
};
use crate::{Kind, Subresource};
use serde_json::json;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["svc"]),
        categories: texts(&["all"]),
        subresources: vec![
            Subresource::new(
                "proxy",
                "",
                "ServiceProxyOptions",
                &["create", "delete", "get", "patch", "update"],
            ),
            Subresource::status("Service"),
        ],
        defaults,
        selectable_fields: vec![
            SelectableField::new("spec.clusterIP", |o| {
                text_at(o, &["spec", "clusterIP"]).into()
            }),
            SelectableField::new("spec.type", |o| text_at(o, &["spec", "type"]).into()),
        ],
        strategy: Rules {
            warnings: service_checks::warnings,
            validate: service_checks::validate,
            validate_update: service_checks::validate_update,
            validate_status: service_checks::validate_status,
            revalidates_meta: true,
            create: |_, object| {
                object.insert("status".into(), json!({"loadBalancer": {}}));
            },
            update: |_, new, old| service_fields::drop_unused(new, old),
            name: names::dns_label,
            create_on_update: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "Service", "services").stored_at("/registry/services/specs")
    }
}

fn defaults(object: &mut Tree) {
    let spec = make(object, "spec");
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    match text(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            let client = make(make(spec, "sessionAffinityConfig"), "clientIP");
            default(client, "timeoutSeconds", 10_800);
        }
        _ => {}
    }
    for port in maps_mut(spec, "ports") {
        default(port, "protocol", "TCP");
        let target = port.get("targetPort");
        if target.is_none_or(|target| target.is_null() || target == 0 || target == "") {
            let number = number(port, "port").unwrap_or_default();
            port.insert("targetPort".into(), number.into());
        }
    }
    let kind = text(spec, "type").to_owned();
    let external = matches!(&*kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    if external {
        default(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        default(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
        if let Some(balancer) = map_mut_at(object, &["status", "loadBalancer"]) {
            for ingress in maps_mut(balancer, "ingress") {
                if !unset(ingress, "ip") {
                    default(ingress, "ipMode", "VIP");
                }
            }
        }
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new("Type", "string", "type determines how the Service is exposed. Defaults to ClusterIP. Valid options are ExternalName, ClusterIP, NodePort, and LoadBalancer. \"ClusterIP\" allocates a cluster-internal IP address for load-balancing to endpoints. Endpoints are determined by the selector or if that is not specified, by manual construction of an Endpoints object or EndpointSlice objects. If clusterIP is \"None\", no virtual IP is allocated and the endpoints are published as a set of endpoints rather than a virtual IP. \"NodePort\" builds on ClusterIP and allocates a port on every node which routes to the same endpoints as the clusterIP. \"LoadBalancer\" builds on NodePort and creates an external load-balancer (if supported in the current cloud) which routes to the same endpoints as the clusterIP. \"ExternalName\" aliases this service to the specified externalName. Several other fields do not apply to ExternalName services. More info: https://kubernetes.io/docs/concepts/services-networking/service/#publishing-services-service-types", |o, _| text_at(o, &["spec", "type"]).into()),
        Column::new("Cluster-IP", "string", "clusterIP is the IP address of the service and is usually assigned randomly. If an address is specified manually, is in-range (as per system configuration), and is not in use, it will be allocated to the service; otherwise creation of the service will fail. This field may not be changed through updates unless the type field is also being changed to ExternalName (which requires this field to be blank) or the type field is being changed from ExternalName (in which case this field may optionally be specified, as describe above).  Valid values are \"None\", empty string (\"\"), or a valid IP address. Setting this to \"None\" makes a \"headless service\" (no virtual IP), which is useful when direct endpoint connections are preferred and proxying is not required.  Only applies to types ClusterIP, NodePort, and LoadBalancer. If this field is specified when creating a Service of type ExternalName, creation will fail. This field will be wiped when updating a Service to type ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies", |o, _| cells::first_or(list_at(o, &["spec", "clusterIPs"]), "<none>")),
        Column::new("External-IP", "string", "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.  These IPs are not managed by Kubernetes.  The user is responsible for ensuring that traffic arrives at a node with this IP.  A common example is external load-balancers that are not part of the Kubernetes system.", |o, _| cells::external_ip(o)),
        Column::new("Port(s)", "string", "The list of ports that are exposed by this service. More info: https://kubernetes.io/docs/concepts/services-networking/service/#virtual-ips-and-service-proxies", |o, _| cells::service_ports(o)),
        Column::age(),
        Column::new("Selector", "string", "Route service traffic to pods with label keys and values matching this selector. If empty or not present, the service is assumed to have an external process managing its endpoints, which Kubernetes will not modify. Only applies to types ClusterIP, NodePort, and LoadBalancer. Ignored if type is ExternalName. More info: https://kubernetes.io/docs/concepts/services-networking/service/", |o, _| cells::pairs(at(o, &["spec", "selector"]))).wide(),
    ]
}
