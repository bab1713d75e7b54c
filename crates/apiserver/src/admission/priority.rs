//! `Priority`: turns a pod's priority class into a number, and keeps at most
//! one class the default.

use super::{Attributes, Operation, Plugin, pod};
use async_trait::async_trait;
use kontiki_object::{Object, Status, Value};

pub(super) struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    async fn mutate(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !pod::is_creation(attributes) {
            return Ok(());
        }
        let object = attributes.object.as_deref();
        let named = object
            .and_then(|object| object.get("spec"))
            .and_then(|spec| spec.get("priorityClassName"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let class = if named.is_empty() {
            default_class(attributes)
        } else {
            let class = attributes.lookup("scheduling.k8s.io", "v1", "priorityclasses", "", &named);
            Some(class.ok_or_else(|| {
                attributes.forbidden(&format!("no PriorityClass with name {named} was found"))
            })?)
        };
        let priority = class.as_ref().map_or(0, |class| value(class));
        let policy = class
            .as_ref()
            .and_then(|class| class.str_at(&["preemptionPolicy"]))
            .unwrap_or("PreemptLowerPriority")
            .to_owned();
        let class_name = class.map(|class| class.name().to_owned());
        let own = |field: &str| {
            let spec = attributes.object.as_deref()?.get("spec")?;
            spec.get(field).cloned()
        };
        let given = own("priority").as_ref().and_then(Value::as_i64);
        if let Some(own) = given.filter(|own| *own != priority) {
            return Err(attributes.forbidden(&format!(
                "the integer value of priority ({own}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            )));
        }
        let given = own("preemptionPolicy");
        let given = given.as_ref().and_then(Value::as_str);
        if let Some(own) = given.filter(|own| *own != policy) {
            return Err(attributes.forbidden(&format!(
                "the string value of PreemptionPolicy ({own}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            )));
        }
        let Some(spec) = pod::spec(attributes) else {
            return Ok(());
        };
        if let Some(name) = class_name {
            spec.insert("priorityClassName".to_owned(), name.into());
        }
        spec.insert("priority".to_owned(), priority.into());
        spec.insert("preemptionPolicy".to_owned(), policy.into());
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
        if !is_write || !attributes.is_for("scheduling.k8s.io", "priorityclasses") {
            return Ok(());
        }
        let wants_default = attributes
            .object
            .as_deref()
            .and_then(|object| object.get("globalDefault"))
            .and_then(Value::as_bool)
            == Some(true);
        if !wants_default {
            return Ok(());
        }
        match default_class(attributes) {
            Some(other) if other.name() != attributes.target.name => {
                Err(attributes.forbidden(&format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name()
                )))
            }
            _ => Ok(()),
        }
    }
}

fn value(class: &Object) -> i64 {
    class
        .get(&["value"])
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn default_class(attributes: &Attributes<'_>) -> Option<kontiki_object::SharedObject> {
    attributes
        .list("scheduling.k8s.io", "v1", "priorityclasses", "")
        .into_iter()
        .filter(|class| class.get(&["globalDefault"]) == Some(&Value::Bool(true)))
        .min_by_key(|class| value(class))
}
