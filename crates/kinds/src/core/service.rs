//! `core/v1` `Service`.

use crate::Tree;
use crate::cells;
use crate::check;
use crate::field::{FieldError, FieldErrors, Path};
use crate::kind::texts;
use crate::meta;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{
    at, default, list, list_at, make, map, map_mut_at, maps, maps_mut, number, text, text_at, unset,
};
use crate::{Kind, Subresource};
use kontiki_object::Value;

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
        strategy: Rules {
            validate,
            validate_update,
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

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let spec = map(object, "spec").unwrap_or(&empty);
    let path = Path::new("spec");
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    let at = path.child("ports");
    let count = list(spec, "ports").len();
    if count == 0 && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&at, ""));
    }
    let mut port_names = std::collections::BTreeSet::new();
    for (index, port) in maps(spec, "ports").enumerate() {
        let at = at.index(index);
        let name = text(port, "name");
        if name.is_empty() && count > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !name.is_empty() {
            check::texts(
                &mut errors,
                &at.child("name"),
                name,
                names::is_dns1123_label(name),
            );
            if !port_names.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
        validate_port(&mut errors, port, kind, &at);
    }
    errors.extend(meta::validate_labels(
        spec.get("selector"),
        &path.child("selector"),
    ));
    let supported = ["ClientIP", "None"];
    check::one_of(&mut errors, spec, "sessionAffinity", &path, &supported);
    let supported = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    check::one_of(&mut errors, spec, "type", &path, &supported);
    if kind == "ExternalName" {
        check::required(&mut errors, spec, "externalName", &path);
    }
    let external = matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !list(spec, "externalIPs").is_empty();
    let policy = text(spec, "externalTrafficPolicy");
    if !policy.is_empty() && !external {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(
            &path.child("externalTrafficPolicy"),
            policy,
            why,
        ));
    } else {
        let supported = ["Cluster", "Local"];
        check::one_of(
            &mut errors,
            spec,
            "externalTrafficPolicy",
            &path,
            &supported,
        );
    }
    let supported = ["Cluster", "Local"];
    check::one_of(
        &mut errors,
        spec,
        "internalTrafficPolicy",
        &path,
        &supported,
    );
    if kind != "LoadBalancer" && spec.get("loadBalancerClass").is_some() {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&path.child("loadBalancerClass"), why));
    }
    errors
}

fn validate_port(errors: &mut FieldErrors, port: &Tree, kind: &str, path: &Path) {
    let number_of = number(port, "port").unwrap_or_default();
    for text in names::is_port_number(number_of) {
        errors.push(FieldError::invalid(&path.child("port"), number_of, text));
    }
    check::one_of(errors, port, "protocol", path, &["SCTP", "TCP", "UDP"]);
    let at = path.child("targetPort");
    match port.get("targetPort") {
        Some(Value::String(name)) => {
            // One complaint is enough to tell that it is no name.
            let first = names::is_port_name(name).into_iter().next();
            errors.extend(first.map(|text| FieldError::invalid(&at, name.as_str(), text)));
        }
        Some(Value::Number(target)) => {
            let target = target.as_i64().unwrap_or_default();
            for text in names::is_port_number(target) {
                errors.push(FieldError::invalid(&at, target, text));
            }
        }
        _ => {}
    }
    if matches!(kind, "ClusterIP" | "ExternalName")
        && number(port, "nodePort").unwrap_or_default() != 0
    {
        let why = format!("may not be used when `type` is '{kind}'");
        errors.push(FieldError::forbidden(&path.child("nodePort"), why));
    }
}

/// An address stays with a service for as long as it is one that has addresses.
fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let empty = Tree::new();
    let (new, old) = (
        map(new, "spec").unwrap_or(&empty),
        map(old, "spec").unwrap_or(&empty),
    );
    let has_address = |spec: &Tree| text(spec, "type") != "ExternalName";
    if has_address(new) && has_address(old) && !text(old, "clusterIP").is_empty() {
        check::immutable(&mut errors, new, old, &["clusterIP"], &Path::new("spec"));
    }
    errors
}
