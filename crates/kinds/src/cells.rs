//! Cells that several kinds' tables share, or that take more than a field.

use crate::Tree;
use crate::table::{CellContext, age, human_duration};
use crate::tree::{at, list_at, map, maps, number, number_at, text, text_at};
use kontiki_object::{LabelSelector, Value, time};
use std::collections::BTreeSet;

const NONE: &str = "<none>";
/// Further endpoints are only counted.
const ENDPOINTS_SHOWN: usize = 3;

fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE } else { text }.into()
}

/// A text, or another one if it is absent.
pub(crate) fn text_or(o: &Tree, path: &[&str], other: &str) -> Value {
    match text_at(o, path) {
        "" => other.into(),
        text => text.into(),
    }
}

/// A field of every entry of a list, joined.
pub(crate) fn joined(list: &[Value], field: &str) -> Value {
    let texts: Vec<&str> = list
        .iter()
        .map(|one| one.get(field).and_then(Value::as_str).unwrap_or_default())
        .collect();
    texts.join(",").into()
}

/// `ready/wished` replicas.
pub(crate) fn ratio(o: &Tree, ready: &str, wished: &str) -> Value {
    let ready = number_at(o, &["status", ready]);
    let wished = number_at(o, &["spec", wished]);
    format!("{ready}/{wished}").into()
}

/// A label selector in its string form.
pub(crate) fn selector(field: Option<&Value>) -> Value {
    match LabelSelector::from_field(field) {
        Ok(selector) if field.is_some() => or_none(&selector.to_string()),
        Ok(_) => NONE.into(),
        Err(_) => "<error>".into(),
    }
}

/// `key=value` pairs.
pub(crate) fn pairs(field: Option<&Value>) -> Value {
    let pairs = field.and_then(Value::as_object).into_iter().flatten();
    let mut texts: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    texts.sort();
    or_none(&texts.join(","))
}

/// `True`, `False` or `<unset>`.
pub(crate) fn boolean(field: Option<&Value>) -> Value {
    match field.and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    }
    .into()
}

/// How long ago something was, or `other` if it never was.
pub(crate) fn since_or(o: &Tree, path: &[&str], other: &str, c: &CellContext) -> Value {
    match text_at(o, path) {
        "" => other.into(),
        since => age(Some(since), c).into(),
    }
}

/// The first text of a list.
pub(crate) fn first_or(list: &[Value], other: &str) -> Value {
    let first = list.first().and_then(Value::as_str);
    first.unwrap_or(other).into()
}

/// How many entries a map has.
pub(crate) fn size(o: &Tree, field: &str) -> usize {
    map(o, field).map_or(0, Tree::len)
}

/// A number, a text, or `N/A`.
pub(crate) fn int_or_text(field: Option<&Value>) -> Value {
    match field {
        None => "N/A".into(),
        Some(Value::String(text)) => text.as_str().into(),
        Some(other) => other.to_string().into(),
    }
}

fn has_condition(o: &Tree, kind: &str) -> bool {
    list_at(o, &["status", "conditions"])
        .iter()
        .filter_map(Value::as_object)
        .any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}

fn is_terminating(o: &Tree) -> bool {
    !text_at(o, &["metadata", "deletionTimestamp"]).is_empty()
}

/// The status of a condition, or another text if it is not told.
pub(crate) fn condition_status(o: &Tree, kind: &str, other: &str) -> Value {
    let conditions = list_at(o, &["status", "conditions"]);
    let found = conditions
        .iter()
        .filter_map(Value::as_object)
        .find(|condition| text(condition, "type") == kind);
    found
        .map_or(other, |condition| text(condition, "status"))
        .into()
}

/// How many metrics are told one by one.
const METRICS_SHOWN: usize = 2;

/// What a metric is, of what an autoscaler shall keep it at.
fn metric_target(spec: &Value, status: Option<&Value>) -> String {
    const UNKNOWN: &str = "<unknown>";
    let kind = spec["type"].as_str().unwrap_or_default();
    let source = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (target, now) = (
        &spec[source]["target"],
        status.map(|status| &status[source]["current"]),
    );
    let amount = |field: &str| {
        let now = now.and_then(|now| now[field].as_str()).unwrap_or(UNKNOWN);
        Some(format!("{now}/{}", target[field].as_str()?))
    };
    match kind {
        "Resource" | "ContainerResource" => {
            let name = spec[source]["name"].as_str().unwrap_or_default();
            if let Some(amount) = amount("averageValue") {
                return format!("{name}: {amount}");
            }
            let percent = |side: Option<&Value>| {
                let share = side.and_then(|side| side["averageUtilization"].as_i64());
                share.map(|share| format!("{share}%"))
            };
            let now = percent(now).unwrap_or_else(|| UNKNOWN.to_owned());
            let wanted = percent(Some(target)).unwrap_or_else(|| "<auto>".to_owned());
            format!("{name}: {now}/{wanted}")
        }
        "Pods" => amount("averageValue").unwrap_or_default(),
        _ => match amount("averageValue") {
            Some(average) => format!("{average} (avg)"),
            None => amount("value").unwrap_or_default(),
        },
    }
}

/// What an autoscaler goes by.
pub(crate) fn metric_targets(o: &Tree) -> Value {
    let specs = list_at(o, &["spec", "metrics"]);
    if specs.is_empty() {
        return NONE.into();
    }
    let now = list_at(o, &["status", "currentMetrics"]);
    let all: Vec<String> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| metric_target(spec, now.get(at)))
        .collect();
    match all.len().saturating_sub(METRICS_SHOWN) {
        0 => all.join(", "),
        more => format!("{} + {more} more...", all[..METRICS_SHOWN].join(", ")),
    }
    .into()
}

/// How a job is.
pub(crate) fn job_status(o: &Tree) -> Value {
    let by = |kind: &'static str, shown: &'static str| has_condition(o, kind).then_some(shown);
    by("Complete", "Complete")
        .or(by("Failed", "Failed"))
        .or(is_terminating(o).then_some("Terminating"))
        .or(by("Suspended", "Suspended"))
        .or(by("FailureTarget", "FailureTarget"))
        .or(by("SuccessCriteriaMet", "SuccessCriteriaMet"))
        .unwrap_or("Running")
        .into()
}

/// How much of a job is done.
pub(crate) fn job_completions(o: &Tree) -> Value {
    let done = number_at(o, &["status", "succeeded"]);
    let parallel = number_at(o, &["spec", "parallelism"]);
    match at(o, &["spec", "completions"]).and_then(Value::as_i64) {
        Some(wished) => format!("{done}/{wished}"),
        None if parallel > 1 => format!("{done}/1 of {parallel}"),
        None => format!("{done}/1"),
    }
    .into()
}

/// How long a job has run.
pub(crate) fn job_duration(o: &Tree, c: &CellContext) -> Value {
    let Some(start) = time::parse(text_at(o, &["status", "startTime"])) else {
        return "".into();
    };
    let end = time::parse(text_at(o, &["status", "completionTime"])).unwrap_or(c.now);
    human_duration(end.as_second() - start.as_second()).into()
}

fn addresses(o: &Tree) -> Vec<String> {
    let ingress = list_at(o, &["status", "loadBalancer", "ingress"]);
    let found: BTreeSet<String> = ingress
        .iter()
        .filter_map(Value::as_object)
        .map(|one| match text(one, "ip") {
            "" => text(one, "hostname").to_owned(),
            ip => ip.to_owned(),
        })
        .filter(|address| !address.is_empty())
        .collect();
    found.into_iter().collect()
}

/// The addresses of an ingress.
pub(crate) fn balancer(o: &Tree) -> Value {
    addresses(o).join(",").into()
}

/// The addresses under which a service is reached from outside.
pub(crate) fn external_ip(o: &Tree) -> Value {
    let external = list_at(o, &["spec", "externalIPs"]);
    let external: Vec<&str> = external.iter().filter_map(Value::as_str).collect();
    match text_at(o, &["spec", "type"]) {
        "ClusterIP" | "NodePort" => or_none(&external.join(",")),
        "LoadBalancer" => {
            let shown = addresses(o).join(",");
            let all: Vec<&str> = std::iter::once(&*shown)
                .filter(|shown| !shown.is_empty())
                .chain(external)
                .collect();
            if all.is_empty() {
                "<pending>".into()
            } else {
                all.join(",").into()
            }
        }
        "ExternalName" => text_at(o, &["spec", "externalName"]).into(),
        _ => "<unknown>".into(),
    }
}

/// The ports of a service.
pub(crate) fn service_ports(o: &Tree) -> Value {
    let ports = list_at(o, &["spec", "ports"]);
    let texts: Vec<String> = ports
        .iter()
        .filter_map(Value::as_object)
        .map(|port| {
            let outside = number(port, "port").unwrap_or_default();
            let protocol = text(port, "protocol");
            match number(port, "nodePort").unwrap_or_default() {
                0 => format!("{outside}/{protocol}"),
                node => format!("{outside}:{node}/{protocol}"),
            }
        })
        .collect();
    or_none(&texts.join(","))
}

/// Whether a node is ready and takes pods.
pub(crate) fn node_status(o: &Tree) -> Value {
    let conditions = list_at(o, &["status", "conditions"]);
    let ready = conditions
        .iter()
        .filter_map(Value::as_object)
        .find(|condition| text(condition, "type") == "Ready")
        .map(|condition| text(condition, "status"));
    let mut status = match ready {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if at(o, &["spec", "unschedulable"]).and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

/// The roles that a node's labels give it.
pub(crate) fn node_roles(o: &Tree) -> Value {
    let labels = at(o, &["metadata", "labels"]).and_then(Value::as_object);
    let mut roles = BTreeSet::new();
    for (key, value) in labels.into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.insert(role);
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str());
        }
    }
    let roles: Vec<&str> = roles.into_iter().filter(|role| !role.is_empty()).collect();
    or_none(&roles.join(","))
}

/// An address of a node.
pub(crate) fn node_address(o: &Tree, kind: &str) -> Value {
    let found = list_at(o, &["status", "addresses"])
        .iter()
        .filter_map(Value::as_object)
        .find(|address| text(address, "type") == kind);
    or_none(found.map_or("", |address| text(address, "address")))
}

/// A node's kernel and architecture.
pub(crate) fn kernel(o: &Tree) -> Value {
    let kernel = match text_at(o, &["status", "nodeInfo", "kernelVersion"]) {
        "" => "<unknown>",
        kernel => kernel,
    };
    match text_at(o, &["status", "nodeInfo", "architecture"]) {
        "" => kernel.into(),
        architecture => format!("{kernel} ({architecture})").into(),
    }
}

fn some_of(all: &[String], when_empty: &str) -> Value {
    if all.is_empty() {
        return when_empty.into();
    }
    let shown = all.len().min(ENDPOINTS_SHOWN);
    let text = all[..shown].join(",");
    match all.len() - shown {
        0 => text,
        more => format!("{text} + {more} more..."),
    }
    .into()
}

/// The addresses and ports of endpoints.
pub(crate) fn endpoints(o: &Tree) -> Value {
    let mut all = Vec::new();
    for subset in maps(o, "subsets") {
        let ips: Vec<&str> = maps(subset, "addresses")
            .map(|one| text(one, "ip"))
            .collect();
        let ports: Vec<i64> = maps(subset, "ports")
            .filter_map(|port| number(port, "port"))
            .collect();
        if ports.is_empty() {
            all.extend(ips.iter().map(ToString::to_string));
        }
        for port in ports {
            all.extend(ips.iter().map(|ip| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
    }
    let empty = maps(o, "subsets").next().is_none();
    some_of(&all, if empty { NONE } else { "" })
}

/// The ports of an endpoint slice.
pub(crate) fn slice_ports(o: &Tree) -> Value {
    let all: Vec<String> = maps(o, "ports")
        .map(|port| match number(port, "port") {
            Some(number) => number.to_string(),
            None if port.contains_key("name") => text(port, "name").to_owned(),
            None => "*".to_owned(),
        })
        .collect();
    some_of(&all, "<unset>")
}

/// The addresses of an endpoint slice.
pub(crate) fn slice_endpoints(o: &Tree) -> Value {
    let all: Vec<String> = maps(o, "endpoints")
        .flat_map(|endpoint| crate::tree::texts(endpoint, "addresses"))
        .map(ToOwned::to_owned)
        .collect();
    some_of(&all, "<unset>")
}

fn event_time<'a>(o: &'a Tree, field: &str) -> &'a str {
    match text(o, field) {
        "" => text(o, "eventTime"),
        time => time,
    }
}

/// When an event was first seen.
pub(crate) fn first_seen(o: &Tree, c: &CellContext) -> Value {
    age(Some(event_time(o, "firstTimestamp")), c).into()
}

/// When an event was last seen.
pub(crate) fn last_seen(o: &Tree, c: &CellContext) -> Value {
    let series = text_at(o, &["series", "lastObservedTime"]);
    let last = text(o, "lastTimestamp");
    let seen = if !series.is_empty() {
        series
    } else if !last.is_empty() {
        last
    } else {
        event_time(o, "firstTimestamp")
    };
    age(Some(seen), c).into()
}

/// How often an event was seen.
pub(crate) fn event_count(o: &Tree) -> Value {
    match at(o, &["series", "count"]) {
        Some(count) => count.clone(),
        None => number(o, "count")
            .filter(|count| *count != 0)
            .unwrap_or(1)
            .into(),
    }
}

/// What an event is about.
pub(crate) fn event_object(o: &Tree, field: &str) -> Value {
    let kind = text_at(o, &[field, "kind"]).to_lowercase();
    match text_at(o, &[field, "name"]) {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

/// Who recorded an event.
pub(crate) fn event_source(o: &Tree, source: &str, reporting: &str) -> Value {
    let mut component = text_at(o, &[source, "component"]);
    let mut host = text_at(o, &[source, "host"]);
    if component.is_empty() {
        component = text(o, reporting);
        host = text(o, "reportingInstance");
    }
    if host.is_empty() {
        component.into()
    } else {
        format!("{component}, {host}").into()
    }
}

/// Access modes in short form.
pub(crate) fn access_modes(modes: &[Value]) -> Value {
    let has = |mode: &str| modes.iter().any(|one| one == mode);
    let short: Vec<&str> = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ]
    .into_iter()
    .filter(|(mode, _)| has(mode))
    .map(|(_, short)| short)
    .collect();
    short.join(",").into()
}

/// The phase, or that the object goes away.
pub(crate) fn phase(o: &Tree) -> Value {
    if is_terminating(o) {
        "Terminating".into()
    } else {
        text_at(o, &["status", "phase"]).into()
    }
}

/// The claim of a volume.
pub(crate) fn claim(o: &Tree) -> Value {
    match at(o, &["spec", "claimRef"]).and_then(Value::as_object) {
        None => "".into(),
        Some(claim) => format!("{}/{}", text(claim, "namespace"), text(claim, "name")).into(),
    }
}

/// The hosts of an ingress.
pub(crate) fn hosts(o: &Tree) -> Value {
    let all: Vec<String> = list_at(o, &["spec", "rules"])
        .iter()
        .filter_map(Value::as_object)
        .map(|rule| text(rule, "host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    some_of(&all, "*")
}

/// The role of a binding.
pub(crate) fn role(o: &Tree) -> Value {
    let kind = text_at(o, &["roleRef", "kind"]);
    format!("{kind}/{}", text_at(o, &["roleRef", "name"])).into()
}

/// The subjects of a kind.
pub(crate) fn subjects(o: &Tree, kind: &str) -> Value {
    let names: Vec<String> = maps(o, "subjects")
        .filter(|subject| text(subject, "kind") == kind)
        .map(|subject| match text(subject, "namespace") {
            namespace if kind == "ServiceAccount" => {
                format!("{namespace}/{}", text(subject, "name"))
            }
            _ => text(subject, "name").to_owned(),
        })
        .collect();
    names.join(", ").into()
}

/// How long a certificate is wanted.
pub(crate) fn requested_duration(o: &Tree) -> Value {
    match at(o, &["spec", "expirationSeconds"]).and_then(Value::as_i64) {
        None => NONE.into(),
        Some(seconds) => human_duration(seconds).into(),
    }
}

/// How a certificate signing request stands.
pub(crate) fn csr_condition(o: &Tree) -> Value {
    let has = |kind: &str| {
        list_at(o, &["status", "conditions"])
            .iter()
            .any(|condition| condition.get("type").is_some_and(|t| t == kind))
    };
    let mut shown = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !text_at(o, &["status", "certificate"]).is_empty() {
        shown.push_str(",Issued");
    }
    shown.into()
}

/// What a quota has used of what it allows: requests, or limits.
pub(crate) fn quota(o: &Tree, limits: bool) -> Value {
    let status = map(o, "status");
    let part = |field: &str| status.and_then(|status| map(status, field));
    let used = |name: &str| {
        part("used").map_or("0", |used| match text(used, name) {
            "" => "0",
            amount => amount,
        })
    };
    let hard = part("hard").into_iter().flatten();
    let texts: Vec<String> = hard
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, most)| {
            let most = most.as_str().unwrap_or_default();
            format!("{name}: {}/{most}", used(name))
        })
        .collect();
    texts.join(", ").into()
}
