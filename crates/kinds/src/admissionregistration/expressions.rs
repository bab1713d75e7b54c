//! What expressions of policies and webhooks may name, and what they must come
//! to. Validation asks here whether they compile, admission compiles them here.

use crate::field::{FieldError, FieldErrors};
use crate::view::View;
use kontiki_cel::{CompileError, ObjectType, Program, Type, Wanted};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an expression must come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// A truth value.
    Bool,
    /// A text.
    String,
    /// A text or null.
    StringOrNull,
    /// An apply configuration.
    Object,
    /// A list of JSON patch operations.
    Patches,
}

/// The variables that expressions may name.
#[derive(Clone, Debug)]
pub struct Environment {
    variables: Vec<(&'static str, Type)>,
    /// The fields of `variables`; absent where there is no such variable.
    composed: Option<BTreeMap<String, Type>>,
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter();
    Type::Object(Arc::new(ObjectType {
        name: name.to_owned(),
        fields: fields
            .map(|(name, ty)| ((*name).to_owned(), ty.clone()))
            .collect(),
    }))
}

fn text() -> Type {
    Type::String(None)
}

fn texts() -> Type {
    Type::List(Box::new(text()), None)
}

fn named(last: &str) -> [(&str, Type); 3] {
    [("group", text()), ("version", text()), (last, text())]
}

fn request() -> Type {
    let kind = || object("kubernetes.GroupVersionKind", &named("kind"));
    let resource = || object("kubernetes.GroupVersionResource", &named("resource"));
    let extra = Type::Map(Box::new(texts()), None);
    let user = [
        ("username", text()),
        ("uid", text()),
        ("groups", texts()),
        ("extra", extra),
    ];
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind()),
            ("resource", resource()),
            ("subResource", text()),
            ("requestKind", kind()),
            ("requestResource", resource()),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", object("kubernetes.UserInfo", &user)),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace() -> Type {
    let pairs = || Type::Map(Box::new(text()), None);
    let metadata = [
        ("name", text()),
        ("generateName", text()),
        ("namespace", text()),
        ("labels", pairs()),
        ("annotations", pairs()),
        ("uid", text()),
        ("resourceVersion", text()),
        ("generation", Type::Int),
        ("creationTimestamp", Type::Dyn),
        ("deletionTimestamp", Type::Dyn),
        ("deletionGracePeriodSeconds", Type::Int),
        ("finalizers", texts()),
    ];
    let status = [
        ("phase", text()),
        ("conditions", Type::List(Box::new(Type::Dyn), None)),
    ];
    object(
        "kubernetes.Namespace",
        &[
            (
                "metadata",
                object("kubernetes.NamespaceMetadata", &metadata),
            ),
            (
                "spec",
                object("kubernetes.NamespaceSpec", &[("finalizers", texts())]),
            ),
            ("status", object("kubernetes.NamespaceStatus", &status)),
        ],
    )
}

impl Environment {
    /// What everything about a request may name.
    #[must_use]
    pub fn of_request() -> Self {
        Self {
            variables: vec![
                ("object", Type::Dyn),
                ("oldObject", Type::Dyn),
                ("request", request()),
                ("namespaceObject", namespace()),
            ],
            composed: None,
        }
    }

    /// With `authorizer`.
    #[must_use]
    pub fn with_authorizer(mut self) -> Self {
        self.variables.push(("authorizer", Type::Dyn));
        self
    }

    /// The same without `authorizer`.
    #[must_use]
    pub fn without_authorizer(&self) -> Self {
        let mut other = self.clone();
        other.variables.retain(|(name, _)| *name != "authorizer");
        other
    }

    /// With `params`, if there are any.
    #[must_use]
    pub fn with_params(mut self, has_params: bool) -> Self {
        if has_params {
            self.variables.push(("params", Type::Dyn));
        }
        self
    }

    /// With `variables`, so far without fields.
    #[must_use]
    pub fn with_variables(mut self) -> Self {
        self.composed = Some(BTreeMap::new());
        self
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// What is wrong with it, in upstream's words.
    pub fn compile(&self, text: &str, expected: Expected) -> Result<Program, CompileError> {
        let mut variables = self.variables.clone();
        if let Some(fields) = &self.composed {
            let ty = ObjectType {
                name: "kubernetes.variables".to_owned(),
                fields: fields.clone(),
            };
            variables.push(("variables", Type::Object(Arc::new(ty))));
        }
        let compiled = match expected {
            Expected::Object | Expected::Patches => Program::compile_mutation(text, &variables),
            _ => Program::compile(text, &variables, Wanted::Any),
        };
        let program =
            compiled.map_err(|error| CompileError(format!("compilation failed: {error}")))?;
        check_result(program.result(), expected).map_err(CompileError)?;
        Ok(program)
    }

    /// Compiles an expression whose value is called `variables.name` from now on.
    ///
    /// # Errors
    /// What is wrong with it; it may be named all the same.
    pub fn compose(&mut self, name: &str, text: &str) -> Result<Program, CompileError> {
        let compiled = self.compile(text, Expected::Any);
        let ty = compiled
            .as_ref()
            .map_or(Type::Dyn, |program| program.result().unbounded());
        self.composed
            .get_or_insert_default()
            .insert(name.to_owned(), ty);
        compiled
    }
}

fn check_result(ty: &Type, expected: Expected) -> Result<(), String> {
    let is_object = |ty: &Type, name: &str| match ty {
        Type::Object(object) => object.name == name,
        ty => ty.is_dynamic(),
    };
    let (fits, wanted) = match expected {
        Expected::Any => (true, ""),
        Expected::Bool => (matches!(ty, Type::Bool | Type::Dyn), "bool"),
        Expected::String => (matches!(ty, Type::String(_) | Type::Dyn), "string"),
        Expected::StringOrNull => {
            if matches!(ty, Type::String(_) | Type::Null | Type::Dyn) {
                return Ok(());
            }
            return Err("must evaluate to one of [string null_type]".to_owned());
        }
        Expected::Object => (is_object(ty, "Object"), "Object"),
        Expected::Patches => (
            matches!(ty, Type::List(item, _) if is_object(item, "JSONPatch")) || ty.is_dynamic(),
            "list(JSONPatch)",
        ),
    };
    if fits {
        return Ok(());
    }
    Err(format!("must evaluate to {wanted} but got {ty}"))
}

/// Complains about an expression that does not compile.
pub(super) fn check(
    errors: &mut FieldErrors,
    holder: &View<'_>,
    field: &str,
    environment: &Environment,
    expected: Expected,
) {
    let text = holder.text(field);
    if text.trim().is_empty() {
        return;
    }
    if let Err(why) = environment.compile(text, expected) {
        let path = holder.at(field);
        errors.push(FieldError::invalid(&path, text, why.to_string()));
    }
}
