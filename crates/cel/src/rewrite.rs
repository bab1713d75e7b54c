//! What is done to a checked expression before it is evaluated: the evaluator
//! knows maps, functions and plain variables only.
//!
//! * `Object.spec{replicas: 1}` becomes a map.
//! * `variables.x` becomes a call that evaluates the variable when it is wanted.
//! * `a.?b` and `a[?b]` become calls: the evaluator's own fail for what is missing.
//! * A field of a variable that may be null is looked for in an empty map, so
//!   that it is missing and not `false`.

use kube_cel::cel::IdedExpr;
use kube_cel::cel::common::ast::operators as op;
use kube_cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedEntryExpr, LiteralValue, MapEntryExpr, MapExpr, SelectExpr,
};
use std::collections::BTreeSet;

/// Evaluates a composed variable by its name.
pub(crate) const COMPOSED: &str = "@variable";
/// A member of a value, if there is one.
pub(crate) const OPTIONAL: &str = "@optional";
/// The variable whose fields are composed variables.
pub(crate) const VARIABLES: &str = "variables";
/// Stands before the name of a variable whose fields are asked for.
pub(crate) const FIELDS_OF: char = '@';
/// A value whose fields are variables of their own.
const AUTHORIZER: &str = "authorizer";

/// Rewrites an expression; answers the variables that are left in it.
pub(crate) fn rewrite(node: &mut IdedExpr) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    visit(node, &mut left);
    left
}

fn visit(node: &mut IdedExpr, left: &mut BTreeSet<String>) {
    match &mut node.expr {
        Expr::Ident(name) => {
            left.insert(name.clone());
        }
        Expr::Select(select) => {
            if let Some(expression) = selected(select) {
                node.expr = expression;
                // What stands there now is final.
                match &node.expr {
                    Expr::Ident(name) => {
                        left.insert(name.clone());
                    }
                    Expr::Select(select) => {
                        if let Expr::Ident(name) = &select.operand.expr {
                            left.insert(name.clone());
                        }
                    }
                    _ => {}
                }
                return;
            }
            visit(&mut select.operand, left);
        }
        Expr::Struct(value) => {
            let entries = std::mem::take(&mut value.entries);
            let mut entries: Vec<IdedEntryExpr> = entries.into_iter().map(as_map_entry).collect();
            entries
                .iter_mut()
                .for_each(|entry| visit_entry(entry, left));
            node.expr = Expr::Map(MapExpr { entries });
        }
        Expr::Map(map) => {
            let entries = map.entries.iter_mut();
            entries.for_each(|entry| visit_entry(entry, left));
        }
        Expr::List(list) => list.elements.iter_mut().for_each(|item| visit(item, left)),
        Expr::Call(call) => {
            if matches!(call.func_name.as_str(), op::OPT_SELECT | op::OPT_INDEX) {
                OPTIONAL.clone_into(&mut call.func_name);
            }
            let target = call.target.iter_mut();
            target.for_each(|target| visit(target, left));
            call.args
                .iter_mut()
                .for_each(|argument| visit(argument, left));
        }
        Expr::Comprehension(loops) => {
            for part in [
                &mut loops.iter_range,
                &mut loops.accu_init,
                &mut loops.loop_cond,
                &mut loops.loop_step,
                &mut loops.result,
            ] {
                visit(part, left);
            }
        }
        Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn visit_entry(entry: &mut IdedEntryExpr, left: &mut BTreeSet<String>) {
    match &mut entry.expr {
        EntryExpr::MapEntry(entry) => {
            visit(&mut entry.key, left);
            visit(&mut entry.value, left);
        }
        EntryExpr::StructField(field) => visit(&mut field.value, left),
    }
}

fn literal(text: &str) -> Expr {
    Expr::Literal(LiteralValue::String(text.into()))
}

/// What `variable.field` becomes, if it does not stay what it is.
fn selected(select: &SelectExpr) -> Option<Expr> {
    let Expr::Ident(variable) = &select.operand.expr else {
        return None;
    };
    let field = &select.field;
    match variable.as_str() {
        // The check has seen that it exists.
        VARIABLES if select.test => Some(Expr::Literal(LiteralValue::Boolean(true.into()))),
        VARIABLES => Some(Expr::Call(CallExpr {
            func_name: COMPOSED.to_owned(),
            target: None,
            args: vec![IdedExpr {
                id: select.operand.id,
                expr: literal(field),
            }],
        })),
        AUTHORIZER => Some(Expr::Ident(format!("{AUTHORIZER}.{field}"))),
        _ if select.test => None,
        variable if NULLABLE.contains(&variable) => {
            let mut select = select.clone();
            select.operand.expr = Expr::Ident(format!("{FIELDS_OF}{variable}"));
            Some(Expr::Select(select))
        }
        _ => None,
    }
}

/// Variables that are null where there is nothing to show.
const NULLABLE: [&str; 4] = ["object", "oldObject", "params", "namespaceObject"];

fn as_map_entry(entry: IdedEntryExpr) -> IdedEntryExpr {
    let EntryExpr::StructField(field) = entry.expr else {
        return entry;
    };
    let key = IdedExpr {
        id: entry.id,
        expr: literal(&field.field),
    };
    IdedEntryExpr {
        id: entry.id,
        expr: EntryExpr::MapEntry(MapEntryExpr {
            key,
            value: field.value,
            optional: field.optional,
        }),
    }
}
