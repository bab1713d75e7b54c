//! A container's environment.

use crate::fields::{self, FieldError, Placement};
use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use kontiki_object::{Object, SharedObject, Value};
use std::collections::BTreeMap;

/// Where a pod's references lead.
pub trait Sources: Send + Sync {
    /// A `ConfigMap`.
    fn config_map(&self, namespace: &str, name: &str) -> Option<SharedObject>;
    /// A `Secret`.
    fn secret(&self, namespace: &str, name: &str) -> Option<SharedObject>;
    /// The services of a namespace.
    fn services(&self, namespace: &str) -> Vec<SharedObject>;
}

/// The two kinds of objects that hold settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Text as it is.
    ConfigMap,
    /// Bytes in base64.
    Secret,
}

impl SourceKind {
    /// Its kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// Its resource, in the singular.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }

    /// An object of this kind.
    #[must_use]
    pub fn find(self, sources: &dyn Sources, namespace: &str, name: &str) -> Option<SharedObject> {
        match self {
            Self::ConfigMap => sources.config_map(namespace, name),
            Self::Secret => sources.secret(namespace, name),
        }
    }
}

/// Why an environment cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvError {
    /// An object that must be there is not.
    #[error("{kind} \"{name}\" not found")]
    Missing {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A key that must be there is not.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Where the object is.
        namespace: String,
        /// The object.
        name: String,
    },
    /// A value that is no text.
    #[error(
        "{kind} {name}: the value of key {key} is not valid UTF-8 and cannot be an environment variable"
    )]
    NotText {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The object.
        name: String,
        /// The key.
        key: String,
    },
    /// A field that does not exist.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Makes the environment of a container, in order and without duplicates.
///
/// # Errors
/// If something that is not optional cannot be found.
pub fn environment(
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    placement: &Placement,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let service_links = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.enable_service_links)
        .unwrap_or(true);
    let services = service_variables(sources, namespace, service_links);
    let mut result = Environment::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = if let Some(reference) = &source.config_map_ref {
            (SourceKind::ConfigMap, &reference.name, reference.optional)
        } else if let Some(reference) = &source.secret_ref {
            (SourceKind::Secret, &reference.name, reference.optional)
        } else {
            continue;
        };
        match kind.find(sources, namespace, name) {
            Some(object) => {
                for (key, value) in texts(kind, &object) {
                    result.set(format!("{prefix}{key}"), value);
                }
            }
            None if optional == Some(true) => {}
            None => {
                return Err(EnvError::Missing {
                    kind: kind.resource(),
                    name: name.clone(),
                });
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let lookup = |name: &str| {
            result
                .get(name)
                .or_else(|| services.get(name).map(String::as_str))
        };
        let value = match &variable.value {
            Some(value) if !value.is_empty() => Some(expand(value, &lookup)),
            _ => referenced(pod, container, variable, sources, placement)?,
        };
        if let Some(value) = value {
            result.set(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        if result.get(&name).is_none() {
            result.set(name, value);
        }
    }
    Ok(result.variables)
}

/// The value of a variable that refers to something; `None` if it is optional and absent.
fn referenced(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    sources: &dyn Sources,
    placement: &Placement,
) -> Result<Option<String>, EnvError> {
    let Some(from) = &variable.value_from else {
        return Ok(Some(String::new()));
    };
    if let Some(reference) = &from.field_ref {
        return Ok(Some(fields::field(pod, &reference.field_path, placement)?));
    }
    if let Some(reference) = &from.resource_field_ref {
        return Ok(Some(fields::resource(
            pod,
            &container.name,
            reference,
            placement,
        )?));
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (kind, name, key, optional) = if let Some(reference) = &from.config_map_key_ref {
        (
            SourceKind::ConfigMap,
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else if let Some(reference) = &from.secret_key_ref {
        (
            SourceKind::Secret,
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else {
        return Ok(Some(String::new()));
    };
    let optional = optional == Some(true);
    let Some(object) = kind.find(sources, namespace, name) else {
        let missing = EnvError::Missing {
            kind: kind.resource(),
            name: name.clone(),
        };
        return if optional { Ok(None) } else { Err(missing) };
    };
    match data(kind, &object, key) {
        Some(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| EnvError::NotText {
                kind: kind.name(),
                name: name.clone(),
                key: key.clone(),
            }),
        None if optional => Ok(None),
        None => Err(EnvError::Key {
            key: key.clone(),
            kind: kind.name(),
            namespace: namespace.to_owned(),
            name: name.clone(),
        }),
    }
}

#[derive(Default)]
struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.variables.push((name, value)),
        }
    }
}

/// The bytes of one key of a `ConfigMap` or `Secret`.
#[must_use]
pub fn data(kind: SourceKind, object: &Object, key: &str) -> Option<Vec<u8>> {
    let text = |field: &str| object.get(&[field, key]).and_then(Value::as_str);
    let decode =
        |text: &str| base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).ok();
    match (kind, text("data")) {
        (SourceKind::Secret, text) => text.and_then(decode),
        (SourceKind::ConfigMap, Some(text)) => Some(text.as_bytes().to_vec()),
        (SourceKind::ConfigMap, None) => text("binaryData").and_then(decode),
    }
}

/// The keys of a `ConfigMap` or `Secret`.
#[must_use]
pub fn keys(kind: SourceKind, object: &Object) -> Vec<String> {
    let map = |field: &str| object.get(&[field]).and_then(Value::as_object);
    let binary = if kind == SourceKind::ConfigMap {
        map("binaryData")
    } else {
        None
    };
    map("data")
        .into_iter()
        .chain(binary)
        .flat_map(|map| map.keys().cloned())
        .collect()
}

/// The keys of an object whose values are text, with these. `binaryData` is no environment.
fn texts(kind: SourceKind, object: &Object) -> Vec<(String, String)> {
    let keys = object
        .get(&["data"])
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|map| map.keys());
    keys.filter_map(|key| {
        Some((
            key.clone(),
            String::from_utf8(data(kind, object, key)?).ok()?,
        ))
    })
    .collect()
}

/// Replaces `$(NAME)`; `$$` stands for `$`, and what is unknown stays as it is.
pub fn expand<'a>(text: &str, lookup: &impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        out.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The variables that tell of services: those of the pod's namespace, if it
/// wants them, and always the API server's.
fn service_variables(
    sources: &dyn Sources,
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut services = sources.services("default");
    services.retain(|service| service.name() == "kubernetes");
    if links {
        services.extend(sources.services(namespace));
    }
    let mut variables = BTreeMap::new();
    for service in services {
        add_service(&service, &mut variables);
    }
    variables
}

fn add_service(service: &Object, variables: &mut BTreeMap<String, String>) {
    let Some(ip) = service
        .str_at(&["spec", "clusterIP"])
        .filter(|ip| *ip != "None")
    else {
        return;
    };
    let ports = service
        .get(&["spec", "ports"])
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let prefix = service.name().to_uppercase().replace('-', "_");
    let mut set = |name: String, value: String| {
        variables.insert(name, value);
    };
    let number = |port: &Value| port["port"].as_u64().unwrap_or_default();
    set(format!("{prefix}_SERVICE_HOST"), ip.to_owned());
    for (index, port) in ports.iter().enumerate() {
        let (port_number, protocol) = (number(port), port["protocol"].as_str().unwrap_or("TCP"));
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        let url = format!("{}://{host}:{port_number}", protocol.to_lowercase());
        if index == 0 {
            set(format!("{prefix}_SERVICE_PORT"), port_number.to_string());
            set(format!("{prefix}_PORT"), url.clone());
        }
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            let name = name.to_uppercase().replace('-', "_");
            set(
                format!("{prefix}_SERVICE_PORT_{name}"),
                port_number.to_string(),
            );
        }
        let link = format!("{prefix}_PORT_{port_number}_{}", protocol.to_uppercase());
        set(format!("{link}_PROTO"), protocol.to_lowercase());
        set(format!("{link}_PORT"), port_number.to_string());
        set(format!("{link}_ADDR"), ip.to_owned());
        set(link, url);
    }
}

#[cfg(test)]
mod tests;
