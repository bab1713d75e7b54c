//! A table of rules as data, and the way from one to another.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Our table, of the family `ip`.
pub const TABLE: &str = "kontiki-proxy";

/// What the table holds. Bodies and elements are in nft's own language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Name to declaration of sets whose elements the kernel itself adds.
    pub sets: BTreeMap<String, String>,
    /// Name to declaration and elements of verdict maps.
    pub maps: BTreeMap<String, (String, BTreeMap<String, String>)>,
    /// Name to hook (empty for none) and rules.
    pub chains: BTreeMap<String, (String, Vec<String>)>,
}

/// The commands that turn `old` into `new`; for `None`, whatever is loaded.
///
/// nft carries them out as one transaction. Sets that both have keep the elements
/// that the kernel added, so client affinity survives every change.
#[must_use]
pub fn transaction(old: Option<&Ruleset>, new: &Ruleset) -> String {
    let mut out = String::new();
    let nothing = Ruleset::default();
    if old.is_none() {
        // Adding first makes the deletion succeed where nothing is loaded.
        out.push_str(&format!(
            "add table ip {TABLE}\ndelete table ip {TABLE}\nadd table ip {TABLE}\n"
        ));
    }
    let old = old.unwrap_or(&nothing);
    add_new(&mut out, old, new);
    change_chains(&mut out, old, new);
    change_maps(&mut out, old, new);
    remove_old(&mut out, old, new);
    out
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($out:expr, $($arg:tt)*) => { writeln!($out, $($arg)*).expect("a string takes every line") };
}

fn add_new(out: &mut String, old: &Ruleset, new: &Ruleset) {
    for (name, declaration) in &new.sets {
        if old.sets.get(name) != Some(declaration) {
            if old.sets.contains_key(name) {
                line!(out, "flush set ip {TABLE} {name}");
            }
            line!(out, "add set ip {TABLE} {name} {{ {declaration} }}");
        }
    }
    // Chains before what jumps to them.
    for (name, (hook, _)) in &new.chains {
        if !old.chains.contains_key(name) {
            line!(out, "add chain ip {TABLE} {name}{}", braces(hook));
        }
    }
    for (name, (declaration, _)) in &new.maps {
        if !old.maps.contains_key(name) {
            line!(out, "add map ip {TABLE} {name} {{ {declaration} }}");
        }
    }
}

fn braces(hook: &str) -> String {
    if hook.is_empty() {
        String::new()
    } else {
        format!(" {{ {hook} }}")
    }
}

fn change_chains(out: &mut String, old: &Ruleset, new: &Ruleset) {
    for (name, (_, rules)) in &new.chains {
        let before = old.chains.get(name).map(|(_, rules)| rules);
        if before == Some(rules) {
            continue;
        }
        if before.is_some() {
            line!(out, "flush chain ip {TABLE} {name}");
        }
        for rule in rules {
            line!(out, "add rule ip {TABLE} {name} {rule}");
        }
    }
}

fn change_maps(out: &mut String, old: &Ruleset, new: &Ruleset) {
    let none = BTreeMap::new();
    for (name, (_, elements)) in &new.maps {
        let before = old.maps.get(name).map_or(&none, |(_, elements)| elements);
        for (key, verdict) in before {
            if elements.get(key) != Some(verdict) {
                line!(out, "delete element ip {TABLE} {name} {{ {key} }}");
            }
        }
        for (key, verdict) in elements {
            if before.get(key) != Some(verdict) {
                line!(out, "add element ip {TABLE} {name} {{ {key} : {verdict} }}");
            }
        }
    }
}

fn remove_old(out: &mut String, old: &Ruleset, new: &Ruleset) {
    let gone: Vec<&String> = old
        .chains
        .keys()
        .filter(|name| !new.chains.contains_key(*name))
        .collect();
    // A chain can only go once nothing jumps to it: empty them all first.
    for name in &gone {
        line!(out, "flush chain ip {TABLE} {name}");
    }
    for name in &gone {
        line!(out, "delete chain ip {TABLE} {name}");
    }
    for name in old.sets.keys().filter(|name| !new.sets.contains_key(*name)) {
        line!(out, "delete set ip {TABLE} {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(chain: &str, rules: &[&str], elements: &[(&str, &str)]) -> Ruleset {
        let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
        let elements = elements
            .iter()
            .map(|(key, verdict)| ((*key).to_owned(), (*verdict).to_owned()))
            .collect();
        Ruleset {
            sets: BTreeMap::new(),
            maps: BTreeMap::from([(
                "m".to_owned(),
                ("type ipv4_addr : verdict;".to_owned(), elements),
            )]),
            chains: BTreeMap::from([(chain.to_owned(), (String::new(), rules))]),
        }
    }

    #[test]
    fn no_change_is_an_empty_transaction() {
        let rules = ruleset("a", &["drop"], &[("10.0.0.1", "goto a")]);
        assert_eq!(transaction(Some(&rules), &rules), "");
    }

    #[test]
    fn the_first_transaction_clears_what_is_loaded() {
        let rules = ruleset("a", &["drop"], &[]);
        let text = transaction(None, &rules);
        assert!(
            text.starts_with("add table ip kontiki-proxy\ndelete table"),
            "{text}"
        );
    }

    #[test]
    fn a_chain_goes_after_the_element_that_led_to_it() {
        let old = ruleset("a", &["drop"], &[("10.0.0.1", "goto a")]);
        let new = ruleset("b", &["accept"], &[("10.0.0.1", "goto b")]);
        let text = transaction(Some(&old), &new);
        let at = |needle: &str| {
            text.find(needle)
                .unwrap_or_else(|| panic!("no {needle:?} in\n{text}"))
        };
        assert!(at("add chain ip kontiki-proxy b") < at("add element"));
        assert!(at("delete element") < at("add element"));
        assert!(at("add element") < at("delete chain ip kontiki-proxy a"));
    }
}
