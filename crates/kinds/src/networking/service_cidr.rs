//! `networking.k8s.io/v1` `ServiceCIDR`.

use crate::Tree;
use crate::check;
use crate::field::{FieldError, FieldErrors};
use crate::ip;
use crate::rules::Rules;
use crate::table::Column;
use crate::tree::{list_at, texts};
use crate::view::View;
use crate::{Kind, Subresource};
use kontiki_object::Value;

pub(crate) fn kind() -> Kind {
    Kind {
        subresources: vec![Subresource::status("ServiceCIDR")],
        strategy: Rules {
            validate,
            validate_update,
            parts_keep_metadata: true,
            ..Rules::PLAIN
        }
        .strategy(),
        columns: vec![
            Column::name(),
            Column::new(
                "CIDRs",
                "string",
                "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
                |o, _| {
                    let all = list_at(o, &["spec", "cidrs"]).iter();
                    let all: Vec<&str> = all.filter_map(Value::as_str).collect();
                    all.join(",").into()
                },
            ),
            Column::age(),
        ],
        ..Kind::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs")
    }
}

const CIDRS_MAX: usize = 2;

fn validate(object: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = View::of(object, "spec");
    let field = "cidrs";
    let count = spec.list(field).len();
    if count == 0 {
        let why = "at least one CIDR required";
        errors.push(FieldError::required(&spec.at(field), why));
    } else if count > CIDRS_MAX {
        spec.invalid(&mut errors, field, "may only hold up to 2 values");
    } else {
        let networks = texts(spec.tree, field).map(|text| Some(ip::sloppy_cidr(text)?.0));
        let networks: Vec<_> = networks.collect();
        if count == CIDRS_MAX && !ip::is_dual_stack(&networks) {
            let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            spec.invalid(&mut errors, field, why);
            return errors;
        }
        for (path, one) in spec.texts(field) {
            ip::valid_cidr(&mut errors, &path, one, &[]);
        }
    }
    errors
}

fn validate_update(new: &Tree, old: &Tree) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let (new, old) = (View::of(new, "spec"), View::of(old, "spec"));
    check::immutable(&mut errors, new.tree, old.tree, &["cidrs"], &new.path);
    errors
}
