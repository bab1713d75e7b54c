//! Which requests a policy, a binding or a webhook means.

use super::request::Request;
use crate::admission::Operation;
use kontiki_kinds::{Kind, Tree};
use kontiki_object::{LabelSelector, Status, Value};
use std::sync::Arc;

/// The group of everything that configures admission.
pub(super) const GROUP: &str = "admissionregistration.k8s.io";

/// What a rule says.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: String,
    names: Vec<String>,
}

/// Which requests are meant.
#[derive(Debug)]
pub(in crate::admission) struct Criteria {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    /// Whether other versions of the same objects are meant as well.
    equivalent: bool,
    /// Whether everything is meant where there are no rules.
    lenient: bool,
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn parse(json: &Value) -> Self {
        let split = |one: String| match one.split_once('/') {
            Some((resource, part)) => (resource.to_owned(), part.to_owned()),
            None => (one, String::new()),
        };
        let resources = texts(&json["resources"]).into_iter();
        Self {
            operations: texts(&json["operations"]),
            groups: texts(&json["apiGroups"]),
            versions: texts(&json["apiVersions"]),
            resources: resources.map(split).collect(),
            scope: json["scope"].as_str().unwrap_or("*").to_owned(),
            names: texts(&json["resourceNames"]),
        }
    }

    fn matches(&self, request: &Request<'_>, kind: &Kind) -> bool {
        let is_cluster = request.is_namespace() || request.namespace.is_empty();
        let in_scope = match &*self.scope {
            "Namespaced" => !is_cluster,
            "Cluster" => is_cluster,
            _ => true,
        };
        let part = &*request.target.subresource;
        let is = |wanted: &str, own: &str| wanted == "*" || wanted == own;
        in_scope
            && has(&self.operations, request.operation.word())
            && has(&self.groups, &kind.group)
            && has(&self.versions, &kind.version)
            && self
                .resources
                .iter()
                .any(|(resource, own)| is(resource, &kind.plural) && is(own, part))
            && (self.names.is_empty() || self.names.contains(&request.name))
    }
}

fn rules(json: &Value) -> Vec<Rule> {
    let list = json.as_array().into_iter().flatten();
    list.map(Rule::parse).collect()
}

impl Criteria {
    /// Of a webhook.
    pub(in crate::admission) fn of_webhook(json: &Value) -> Self {
        Self::parse(json, "rules", false)
    }

    /// Of `matchConstraints` and `matchResources`.
    pub(in crate::admission) fn of_policy(json: &Value) -> Self {
        Self::parse(json, "resourceRules", true)
    }

    fn parse(json: &Value, field: &str, lenient: bool) -> Self {
        // An absent selector selects everything: it is defaulted to an empty one.
        let selector = |field: &str| match &json[field] {
            Value::Null => Ok(LabelSelector::everything()),
            given => LabelSelector::from_field(Some(given)).map_err(|error| error.to_string()),
        };
        Self {
            rules: rules(&json[field]),
            excluded: rules(&json["excludeResourceRules"]),
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            equivalent: json["matchPolicy"] != "Exact",
            lenient,
        }
    }

    fn by_rules(&self, rules: &[Rule], request: &Request<'_>) -> Option<Arc<Kind>> {
        let own = &request.target.kind;
        if rules.iter().any(|rule| rule.matches(request, own)) {
            return Some(own.clone());
        }
        if !self.equivalent || rules.is_empty() {
            return None;
        }
        let others = request.equivalents();
        // Earlier rules come first.
        rules.iter().find_map(|rule| {
            let mut others = others.iter();
            others.find(|kind| rule.matches(request, kind)).cloned()
        })
    }

    /// The kind as which a request is meant; `None` if it is not.
    pub(in crate::admission) async fn matches(
        &self,
        request: &Request<'_>,
    ) -> Result<Option<Arc<Kind>>, Status> {
        // Cheap first: most requests are not meant by most rules.
        if self.by_rules(&self.excluded, request).is_some() {
            return Ok(None);
        }
        let matched = if self.rules.is_empty() && self.lenient {
            Some(request.target.kind.clone())
        } else {
            self.by_rules(&self.rules, request)
        };
        let Some(kind) = matched else {
            return Ok(None);
        };
        let is_meant = self.in_objects(request)? && self.in_namespaces(request).await?;
        Ok(is_meant.then_some(kind))
    }

    fn in_objects(&self, request: &Request<'_>) -> Result<bool, Status> {
        let selector = self.objects.as_ref().map_err(Status::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        let trees = [&request.object, &request.old];
        Ok(trees
            .into_iter()
            .flatten()
            .any(|tree| selects(selector, tree)))
    }

    async fn in_namespaces(&self, request: &Request<'_>) -> Result<bool, Status> {
        let selector = self.namespaces.as_ref().map_err(Status::internal)?;
        if selector.is_everything() || request.namespace.is_empty() && !request.is_namespace() {
            return Ok(true);
        }
        // A namespace that is made or changed is not in the cache as it will be.
        let is_new = matches!(request.operation, Operation::Create | Operation::Update)
            && request.target.subresource.is_empty();
        if let Some(object) = &request.object
            && request.is_namespace()
            && is_new
        {
            return Ok(selects(selector, object));
        }
        let namespace = request.find_namespace().await?;
        Ok(selector.matches(&namespace))
    }
}

fn selects(selector: &LabelSelector, tree: &Tree) -> bool {
    let labels = tree
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"));
    selector.matches_with(|name| labels?.get(name)?.as_str())
}
