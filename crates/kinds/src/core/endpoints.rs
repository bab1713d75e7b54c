//! `core/v1` `Endpoints`.

use crate::Kind;
use crate::Tree;
use crate::cells;
use crate::field::{FieldError, FieldErrors};
use crate::ip;
use crate::kind::texts;
use crate::names;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{default, maps_mut};
use crate::view::View;

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["ep"]),
        defaults,
        strategy: Rules {
            create_on_update: true,
            validate,
            revalidates_meta: true,
            warnings: |_, _| vec![DEPRECATED.to_owned()],
            ..Rules::PLAIN
        }
        .strategy(),
        columns: columns(),
        ..Kind::namespaced("", "v1", "Endpoints", "endpoints")
            .stored_at("/registry/services/endpoints")
    }
}

const DEPRECATED: &str =
    "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

fn defaults(object: &mut Tree) {
    for subset in maps_mut(object, "subsets") {
        for port in maps_mut(subset, "ports") {
            default(port, "protocol", "TCP");
        }
    }
}

fn columns() -> Vec<Column> {
    vec![
        Column::name(),
        Column::new(
            "Endpoints",
            "string",
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
            |o, _| cells::endpoints(o),
        ),
        Column::age(),
    ]
}

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let root = View::new(object, crate::field::Path::root());
    for subset in root.maps("subsets") {
        let is_empty = |field| subset.list(field).is_empty();
        if is_empty("addresses") && is_empty("notReadyAddresses") {
            let why = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(&subset.path, why));
        }
        for field in ["addresses", "notReadyAddresses"] {
            for address in subset.maps(field) {
                let (path, ip) = (address.at("ip"), address.text("ip"));
                ip::valid_ip(&mut errors, &path, ip, &[]);
                address.name(&mut errors, "hostname", names::is_dns1123_label);
                if address.has("nodeName") {
                    for text in names::is_dns1123_subdomain(address.text("nodeName")) {
                        address.invalid(&mut errors, "nodeName", text);
                    }
                }
                ip::not_special(&mut errors, &path, ip);
            }
        }
        let count = subset.list("ports").len();
        for port in subset.maps("ports") {
            check_port(&mut errors, &port, count > 1);
        }
    }
    errors
}

fn check_port(errors: &mut FieldErrors, port: &View<'_>, needs_name: bool) {
    if needs_name {
        port.required(errors, "name");
    }
    port.name(errors, "name", names::is_dns1123_label);
    let number = port.number("port").unwrap_or_default();
    for text in names::is_port_number(number) {
        errors.push(FieldError::invalid(&port.at("port"), number, text));
    }
    port.required_one_of(errors, "protocol", &["SCTP", "TCP", "UDP"]);
    if port.has("appProtocol") {
        for text in names::is_qualified_name(port.text("appProtocol")) {
            port.invalid(errors, "appProtocol", text);
        }
    }
}
