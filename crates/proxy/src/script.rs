//! The commands that lead from one ruleset to another, in one transaction.

use crate::ruleset::{Ruleset, TABLE};
use std::collections::BTreeMap;
use std::fmt::Write;

impl Ruleset {
    /// Commands for `nft -f -`. `None` stands for an unknown state, which is
    /// replaced as a whole; an empty text means that nothing has to be done.
    #[must_use]
    pub fn script_from(&self, loaded: Option<&Self>) -> String {
        let mut script = Script {
            table: format!("{} {TABLE}", self.family.name()),
            text: String::new(),
        };
        let nothing = Self {
            affinity_sets: BTreeMap::new(),
            chains: BTreeMap::new(),
            elements: BTreeMap::new(),
            ..self.clone()
        };
        let loaded = loaded.unwrap_or_else(|| {
            script.frame(&self.frame);
            &nothing
        });
        script.declare(loaded, self);
        script.fill(loaded, self);
        script.elements(loaded, self);
        script.remove(loaded, self);
        script.text
    }
}

struct Script {
    table: String,
    text: String,
}

impl Script {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn frame(&mut self, frame: &str) {
        let table = self.table.clone();
        // Deleting needs the table to be there, so it is added first.
        self.line(&format!("add table {table}"));
        self.line(&format!("delete table {table}"));
        self.line(&format!("table {table} {{\n{frame}}}"));
    }

    /// New chains and sets, before anything names them.
    fn declare(&mut self, old: &Ruleset, new: &Ruleset) {
        let table = self.table.clone();
        for (set, declaration) in &new.affinity_sets {
            // A set's name carries its timeout, so a declaration never changes.
            if !old.affinity_sets.contains_key(set) {
                self.line(&format!("add set {table} {set} {declaration}"));
            }
        }
        for chain in new
            .chains
            .keys()
            .filter(|chain| !old.chains.contains_key(*chain))
        {
            self.line(&format!("add chain {table} {chain}"));
        }
    }

    fn fill(&mut self, old: &Ruleset, new: &Ruleset) {
        let table = self.table.clone();
        for (chain, rules) in &new.chains {
            if old.chains.get(chain) == Some(rules) {
                continue;
            }
            if old.chains.contains_key(chain) {
                self.line(&format!("flush chain {table} {chain}"));
            }
            for rule in rules {
                self.line(&format!("add rule {table} {chain} {rule}"));
            }
        }
    }

    fn elements(&mut self, old: &Ruleset, new: &Ruleset) {
        let empty = BTreeMap::new();
        for (map, wanted) in &new.elements {
            let there = old.elements.get(map).unwrap_or(&empty);
            // A changed verdict is a removal and an addition.
            let gone = there
                .iter()
                .filter(|(key, value)| wanted.get(*key) != Some(value));
            let fresh = wanted
                .iter()
                .filter(|(key, value)| there.get(*key) != Some(value));
            let gone: Vec<String> = gone.map(|(key, value)| element(key, value)).collect();
            let fresh: Vec<String> = fresh.map(|(key, value)| element(key, value)).collect();
            for (verb, list) in [("delete", gone), ("add", fresh)] {
                if !list.is_empty() {
                    let table = &self.table;
                    let list = list.join(", ");
                    let _ = writeln!(self.text, "{verb} element {table} {map} {{ {list} }}");
                }
            }
        }
    }

    /// What is left over, after nothing names it any more.
    fn remove(&mut self, old: &Ruleset, new: &Ruleset) {
        let table = self.table.clone();
        let gone: Vec<&String> = old
            .chains
            .keys()
            .filter(|chain| !new.chains.contains_key(*chain))
            .collect();
        for chain in &gone {
            self.line(&format!("flush chain {table} {chain}"));
        }
        for chain in gone {
            self.line(&format!("delete chain {table} {chain}"));
        }
        for set in old.affinity_sets.keys() {
            if !new.affinity_sets.contains_key(set) {
                self.line(&format!("delete set {table} {set}"));
            }
        }
    }
}

fn element(key: &str, verdict: &str) -> String {
    if verdict.is_empty() {
        key.to_owned()
    } else {
        format!("{key} : {verdict}")
    }
}
