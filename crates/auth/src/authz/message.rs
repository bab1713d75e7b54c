//! The words of a 403, which scripts and people match on.

use super::Attributes;
use kontiki_object::Status;

/// `User "x" cannot list resource "pods" in API group "" in the namespace "y"`.
fn deed(attributes: &Attributes) -> String {
    let user = &attributes.user.name;
    let verb = &attributes.verb;
    if !attributes.is_resource {
        return format!("User \"{user}\" cannot {verb} path \"{}\"", attributes.path);
    }
    let resource = attributes.combined_resource();
    let group = &attributes.group;
    let scope = match &*attributes.namespace {
        "" => " at the cluster scope".to_owned(),
        namespace => format!(" in the namespace \"{namespace}\""),
    };
    format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\"{scope}")
}

pub(super) fn forbidden(attributes: &Attributes, reason: &str) -> Status {
    let mut why = deed(attributes);
    if !reason.is_empty() {
        why.push_str(": ");
        why.push_str(reason);
    }
    if attributes.is_resource {
        return Status::forbidden(
            &attributes.group,
            &attributes.resource,
            &attributes.name,
            &why,
        );
    }
    let mut status = Status::failure(403, "Forbidden", format!("forbidden: {why}"));
    status.details = Some(kontiki_object::Details::default());
    status
}
