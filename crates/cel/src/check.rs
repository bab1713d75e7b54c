//! The check of an expression against the types of its variables, and in the
//! same walk the estimate of its cost.

mod functions;
mod operators;

use crate::cost::Cost;
use crate::program::CompileError;
use crate::source::Source;
use crate::ty::{ObjectType, Type};
use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, ListExpr, LiteralValue, MapExpr, SelectExpr,
    StructExpr, operators as op,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many items a value may have that no schema bounds: what fits into the
/// largest request.
pub(crate) const UNBOUNDED_ITEMS: u64 = 3 * 1024 * 1024 / 2;
/// Complaints that are told at most.
const COMPLAINTS_MAX: usize = 10;

/// What a `JSONPatch` is made of.
const PATCH_FIELDS: [&str; 4] = ["from", "op", "path", "value"];

/// The variables that an expression may name, innermost last.
pub(crate) struct Scope {
    variables: Vec<(String, Type)>,
}

impl Scope {
    pub(crate) fn new(variables: &[(&str, Type)]) -> Self {
        let variables = variables.iter();
        Self {
            variables: variables
                .map(|(name, ty)| ((*name).to_owned(), ty.clone()))
                .collect(),
        }
    }

    fn get(&self, name: &str) -> Option<&Type> {
        let mut variables = self.variables.iter().rev();
        variables.find(|(known, _)| known == name).map(|(_, ty)| ty)
    }

    fn within<T>(
        &mut self,
        variables: Vec<(String, Type)>,
        inside: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let before = self.variables.len();
        self.variables.extend(variables);
        let result = inside(self);
        self.variables.truncate(before);
        result
    }
}

/// The walk.
pub(crate) struct Checker<'a> {
    source: &'a Source<'a>,
    complaints: Vec<String>,
    mentioned: BTreeSet<String>,
    /// Whether objects may be made.
    makes_objects: bool,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(source: &'a Source<'a>, makes_objects: bool) -> Self {
        Self {
            source,
            makes_objects,
            complaints: Vec::new(),
            mentioned: BTreeSet::new(),
        }
    }

    /// The identifiers that the expression mentions.
    pub(crate) fn mentioned(&self) -> BTreeSet<String> {
        self.mentioned.clone()
    }

    /// The complaints, if there are any.
    pub(crate) fn finish(self) -> Result<(), CompileError> {
        if self.complaints.is_empty() {
            return Ok(());
        }
        Err(CompileError(self.complaints.join("\n")))
    }

    fn complain(&mut self, at: usize, what: &str) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(self.source.complaint(at, what));
        }
    }

    /// The type of an expression and what it costs at most.
    pub(crate) fn check(&mut self, node: &IdedExpr, scope: &mut Scope) -> (Type, Cost) {
        match &node.expr {
            Expr::Unspecified => (Type::Dyn, Cost(0)),
            Expr::Literal(literal) => (literal_type(literal), Cost(0)),
            Expr::Ident(name) => self.ident(name, scope),
            Expr::Select(select) => self.select(select, scope),
            Expr::Call(call) => self.call(call, scope),
            Expr::List(list) => self.list(list, scope),
            Expr::Map(map) => self.map(map, scope),
            Expr::Struct(value) => self.object(value, scope),
            Expr::Comprehension(loops) => self.comprehension(loops, scope),
        }
    }

    fn ident(&mut self, name: &str, scope: &Scope) -> (Type, Cost) {
        self.mentioned.insert(name.to_owned());
        if let Some(ty) = scope.get(name) {
            return (ty.clone(), Cost(1));
        }
        // The names of types are values.
        const TYPES: [&str; 12] = [
            "bool",
            "int",
            "uint",
            "double",
            "string",
            "bytes",
            "list",
            "map",
            "null_type",
            "type",
            "dyn",
            "optional_type",
        ];
        if !TYPES.contains(&name) {
            let at = self.source.name(name);
            self.complain(
                at,
                &format!("undeclared reference to '{name}' (in container '')"),
            );
        }
        (Type::Dyn, Cost(1))
    }

    fn select(&mut self, select: &SelectExpr, scope: &mut Scope) -> (Type, Cost) {
        if let Some(found) = self.qualified_type(select, scope) {
            return found;
        }
        let (operand, cost) = self.check(&select.operand, scope);
        let ty = self.member(&operand, &select.field);
        let ty = if select.test { Type::Bool } else { ty };
        (ty, cost + Cost(1))
    }

    /// `google.protobuf.Timestamp` and its like are values too.
    fn qualified_type(&self, select: &SelectExpr, scope: &Scope) -> Option<(Type, Cost)> {
        let mut node = &select.operand.expr;
        while let Expr::Select(inner) = node {
            node = &inner.operand.expr;
        }
        match node {
            Expr::Ident(name) if name == "google" && scope.get(name).is_none() => {
                Some((Type::Dyn, Cost(1)))
            }
            Expr::Ident(name)
                if name == "net" && select.field != name.as_str() && scope.get(name).is_none() =>
            {
                Some((Type::Dyn, Cost(1)))
            }
            _ => None,
        }
    }

    fn member(&mut self, operand: &Type, field: &str) -> Type {
        match operand {
            Type::Dyn => Type::Dyn,
            Type::Map(value, _) => (**value).clone(),
            Type::Optional(inner) => match self.member(&inner.clone(), field) {
                Type::Optional(inner) => Type::Optional(inner),
                other => Type::Optional(Box::new(other)),
            },
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None => {
                    let at = self.source.select(field);
                    self.complain(at, &format!("undefined field '{field}'"));
                    Type::Dyn
                }
            },
            other => {
                let at = self.source.select(field);
                self.complain(
                    at,
                    &format!("type '{other}' does not support field selection"),
                );
                Type::Dyn
            }
        }
    }

    fn list(&mut self, list: &ListExpr, scope: &mut Scope) -> (Type, Cost) {
        let mut item: Option<Type> = None;
        let mut total = Cost(10);
        for element in &list.elements {
            let (ty, cost) = self.check(element, scope);
            total = total + cost;
            item = Some(match item {
                None => ty,
                Some(before) if before.unbounded() == ty.unbounded() => before,
                Some(_) => Type::Dyn,
            });
        }
        let length = u64::try_from(list.elements.len()).unwrap_or(u64::MAX);
        let item = Box::new(item.unwrap_or(Type::Dyn));
        (Type::List(item, Some(length)), total)
    }

    fn map(&mut self, map: &MapExpr, scope: &mut Scope) -> (Type, Cost) {
        let mut value: Option<Type> = None;
        let mut total = Cost(30);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                continue;
            };
            let (_, key) = self.check(&entry.key, scope);
            let (ty, cost) = self.check(&entry.value, scope);
            total = total + key + cost;
            value = Some(match value {
                None => ty,
                Some(before) if before.unbounded() == ty.unbounded() => before,
                Some(_) => Type::Dyn,
            });
        }
        let length = u64::try_from(map.entries.len()).unwrap_or(u64::MAX);
        let value = Box::new(value.unwrap_or(Type::Dyn));
        (Type::Map(value, Some(length)), total)
    }

    /// `Object.spec{…}` and its like.
    fn object(&mut self, value: &StructExpr, scope: &mut Scope) -> (Type, Cost) {
        let name = &value.type_name;
        let is_patch = name == "JSONPatch";
        let is_known = is_patch || name == "Object" || name.starts_with("Object.");
        if !(is_known && self.makes_objects) {
            let at = self.source.name(name);
            let what = format!("undeclared reference to '{name}' (in container '')");
            self.complain(at, &what);
            return (Type::Dyn, Cost(1));
        }
        let mut total = Cost(40);
        for entry in &value.entries {
            let EntryExpr::StructField(field) = &entry.expr else {
                continue;
            };
            if is_patch && !PATCH_FIELDS.contains(&&*field.field) {
                let at = self.source.name(&field.field);
                self.complain(at, &format!("undefined field '{}'", field.field));
            }
            let (_, cost) = self.check(&field.value, scope);
            total = total + cost;
        }
        let ty = ObjectType {
            name: name.clone(),
            ..ObjectType::default()
        };
        (Type::Object(Arc::new(ty)), total)
    }

    fn comprehension(&mut self, loops: &ComprehensionExpr, scope: &mut Scope) -> (Type, Cost) {
        let (range, range_cost) = self.check(&loops.iter_range, scope);
        let (first, second, times) = match &range {
            Type::List(item, max) => ((**item).clone(), (**item).clone(), *max),
            Type::Map(value, max) => (Type::String(None), (**value).clone(), *max),
            // An optional's macros are loops over nothing or one.
            Type::Dyn | Type::Optional(_) => (Type::Dyn, Type::Dyn, None),
            other => {
                let what = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.complain(0, &what);
                (Type::Dyn, Type::Dyn, None)
            }
        };
        let (start, start_cost) = self.check(&loops.accu_init, scope);
        let mut variables = match &loops.iter_var2 {
            None => vec![(loops.iter_var.clone(), first)],
            Some(name) if matches!(range, Type::List(..)) => {
                vec![(loops.iter_var.clone(), Type::Int), (name.clone(), second)]
            }
            Some(name) => vec![(loops.iter_var.clone(), first), (name.clone(), second)],
        };
        variables.push((loops.accu_var.clone(), start.clone()));
        let (step, inner) = scope.within(variables, |scope| {
            let (_, condition) = self.check(&loops.loop_cond, scope);
            let (step, cost) = self.check(&loops.loop_step, scope);
            (step, condition + cost)
        });
        let step = match (&start, step) {
            (Type::List(..), Type::List(item, _)) => {
                Type::List(item, Some(times.unwrap_or(UNBOUNDED_ITEMS)))
            }
            (_, step) => step,
        };
        let result = scope.within(vec![(loops.accu_var.clone(), step)], |scope| {
            self.check(&loops.result, scope)
        });
        let times = match range {
            Type::Optional(_) => 1,
            _ => times.unwrap_or(UNBOUNDED_ITEMS),
        };
        let cost = range_cost + start_cost + inner * times + result.1;
        (result.0, cost)
    }

    fn call(&mut self, call: &CallExpr, scope: &mut Scope) -> (Type, Cost) {
        let name = call.func_name.as_str();
        if matches!(name, op::OPT_SELECT | op::OPT_INDEX) {
            return self.optional_member(call, scope);
        }
        let mut total = Cost(1);
        let namespace = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(space) if scope.get(space).is_none() => {
                functions::is_namespace(space).then(|| space.clone())
            }
            _ => None,
        });
        let target = match (&call.target, &namespace) {
            (Some(target), None) => {
                let (ty, cost) = self.check(target, scope);
                total = total + cost;
                Some(ty)
            }
            _ => None,
        };
        let mut arguments = Vec::with_capacity(call.args.len());
        let mut costs = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            let (ty, cost) = self.check(argument, scope);
            arguments.push(ty);
            costs.push(cost);
        }
        total = match (name, &costs[..]) {
            (op::CONDITIONAL, [condition, yes, no]) => total + *condition + *yes.max(no),
            _ => costs.iter().fold(total, |total, cost| total + *cost),
        };
        if let Some(ty) = operators::result(name, &arguments) {
            let (ty, extra) = (
                ty.unwrap_or_else(|| {
                    let at = self.source.operator(name);
                    self.no_overload(at, name, None, &arguments)
                }),
                operators::cost(name, &arguments),
            );
            return (ty, total + extra);
        }
        let extra = functions::cost(name, target.as_ref(), &arguments);
        let found = match &namespace {
            Some(space) => functions::in_namespace(space, name, &arguments),
            None => functions::result(name, target.as_ref(), &arguments),
        };
        let ty = match found {
            functions::Found::Type(ty) => ty,
            functions::Found::NoOverload => {
                let at = self.source.call(name);
                self.no_overload(at, name, target.as_ref(), &arguments)
            }
            functions::Found::Nothing => {
                let at = self.source.call(name);
                self.complain(
                    at,
                    &format!("undeclared reference to '{name}' (in container '')"),
                );
                Type::Dyn
            }
        };
        (ty, total + extra)
    }

    /// `a.?b` and `a[?b]`.
    fn optional_member(&mut self, call: &CallExpr, scope: &mut Scope) -> (Type, Cost) {
        let [operand, member] = &call.args[..] else {
            return (Type::Dyn, Cost(1));
        };
        let (operand, cost) = self.check(operand, scope);
        let inner = match &operand {
            Type::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        };
        let ty = match (&member.expr, inner) {
            (
                Expr::Literal(LiteralValue::String(name)),
                inner @ (Type::Object(_) | Type::Map(..)),
            ) => self.member(&inner, name.inner()),
            (_, Type::List(item, _)) => *item,
            _ => Type::Dyn,
        };
        let ty = match ty {
            Type::Optional(inner) => Type::Optional(inner),
            other => Type::Optional(Box::new(other)),
        };
        (ty, cost + Cost(1))
    }

    fn no_overload(
        &mut self,
        at: usize,
        name: &str,
        target: Option<&Type>,
        arguments: &[Type],
    ) -> Type {
        let arguments: Vec<String> = arguments.iter().map(Type::to_string).collect();
        let target = target
            .map(|target| format!("{target}."))
            .unwrap_or_default();
        let what = format!(
            "found no matching overload for '{name}' applied to '{target}({})'",
            arguments.join(", ")
        );
        self.complain(at, &what);
        Type::Dyn
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(text) => {
            Type::String(Some(u64::try_from(text.inner().len()).unwrap_or(u64::MAX)))
        }
        LiteralValue::UInt(_) => Type::Uint,
    }
}
