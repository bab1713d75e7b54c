//! The live keys, in order, in memory: a persistent B+tree that counts.
//!
//! Copying the tree is copying one pointer, and a writer copies only the nodes
//! on its path that a reader still holds. Every branch knows how many keys lie
//! below each child, so the size of a range and its n-th key cost O(log n)
//! whatever the range holds.
//!
//! **Invariant:** in a branch, `first` of every child but the leftmost is at
//! most the child's least key and greater than every key left of it. The
//! leftmost child takes whatever is smaller, so its `first` may lag behind.

use kontiki_store::{KeyRange, LeaseId, Revision};
use std::sync::Arc;

/// A key, shared by every copy of the tree.
pub(crate) type Key = Arc<[u8]>;

/// What is known of a live key without reading its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyMeta {
    pub(crate) create_revision: Revision,
    pub(crate) mod_revision: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
}

/// Small, because every apply copies the nodes on its path once.
const NODE_MAX: usize = 32;
const NODE_MIN: usize = 8;
/// Spare room after a copy, so that a leaf does not double with every insert.
const NODE_SPARE: usize = 4;

#[derive(Clone)]
enum Node {
    Leaf(Vec<(Key, KeyMeta)>),
    Branch(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    first: Key,
    len: usize,
    node: Arc<Node>,
}

impl Node {
    fn width(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch(children) => children.len(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Branch(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    fn first(&self) -> Option<&Key> {
        match self {
            Self::Leaf(items) => items.first().map(|(key, _)| key),
            Self::Branch(children) => children.first().map(|child| &child.first),
        }
    }
}

fn child_at(children: &[Child], key: &[u8]) -> usize {
    children
        .partition_point(|child| child.first[..] <= *key)
        .saturating_sub(1)
}

fn insert_spare<T>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        items.reserve_exact(NODE_SPARE);
    }
    items.insert(at, item);
}

/// Splits an overfull list; a list that grew at its end stays nearly full, so
/// that keys written in order fill their leaves.
fn split<T>(items: &mut Vec<T>, grew_at: usize) -> Option<Vec<T>> {
    if items.len() <= NODE_MAX {
        return None;
    }
    let at = if grew_at + 1 == items.len() {
        items.len() - 2
    } else {
        items.len() / 2
    };
    Some(items.split_off(at))
}

fn sibling(node: Node) -> Child {
    let first = node
        .first()
        .expect("a split never leaves an empty node")
        .clone();
    Child {
        first,
        len: node.len(),
        node: Arc::new(node),
    }
}

fn insert(node: &mut Arc<Node>, key: &[u8], meta: KeyMeta) -> (Option<KeyMeta>, Option<Child>) {
    match Arc::make_mut(node) {
        Node::Leaf(items) => match items.binary_search_by(|(item, _)| item[..].cmp(key)) {
            Ok(at) => (Some(std::mem::replace(&mut items[at].1, meta)), None),
            Err(at) => {
                insert_spare(items, at, (Key::from(key), meta));
                (
                    None,
                    split(items, at).map(|right| sibling(Node::Leaf(right))),
                )
            }
        },
        Node::Branch(children) => {
            let at = child_at(children, key);
            let child = &mut children[at];
            let (old, right) = insert(&mut child.node, key, meta);
            child.len += usize::from(old.is_none());
            let Some(right) = right else {
                return (old, None);
            };
            child.len -= right.len;
            insert_spare(children, at + 1, right);
            (
                old,
                split(children, at + 1).map(|right| sibling(Node::Branch(right))),
            )
        }
    }
}

fn remove(node: &mut Arc<Node>, key: &[u8]) -> Option<KeyMeta> {
    match Arc::make_mut(node) {
        Node::Leaf(items) => {
            let at = items.binary_search_by(|(item, _)| item[..].cmp(key)).ok()?;
            Some(items.remove(at).1)
        }
        Node::Branch(children) => {
            let at = child_at(children, key);
            let old = remove(&mut children[at].node, key)?;
            children[at].len -= 1;
            if children[at].len == 0 {
                children.remove(at);
            } else if children[at].node.width() < NODE_MIN {
                merge(children, at);
            }
            Some(old)
        }
    }
}

/// Joins a thin child with a neighbour if both fit into one node.
fn merge(children: &mut Vec<Child>, at: usize) {
    let left = if at + 1 < children.len() {
        at
    } else if at > 0 {
        at - 1
    } else {
        return;
    };
    if children[left].node.width() + children[left + 1].node.width() > NODE_MAX {
        return;
    }
    let right = children.remove(left + 1);
    let target = &mut children[left];
    target.len += right.len;
    match (
        Arc::make_mut(&mut target.node),
        Arc::unwrap_or_clone(right.node),
    ) {
        (Node::Leaf(items), Node::Leaf(more)) => items.extend(more),
        (Node::Branch(items), Node::Branch(mut more)) => {
            // The leftmost child's lower bound may lag; as an inner child it must not.
            more[0].first = right.first;
            items.extend(more);
        }
        _ => unreachable!("all leaves are at one depth"),
    }
}

/// The live keys at one revision.
#[derive(Clone)]
pub(crate) struct KeyIndex {
    root: Arc<Node>,
    len: usize,
}

impl Default for KeyIndex {
    fn default() -> Self {
        Self {
            root: Arc::new(Node::Leaf(Vec::new())),
            len: 0,
        }
    }
}

impl KeyIndex {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<KeyMeta> {
        let mut node = &self.root;
        loop {
            match &**node {
                Node::Branch(children) => node = &children[child_at(children, key)].node,
                Node::Leaf(items) => {
                    let at = items.binary_search_by(|(item, _)| item[..].cmp(key)).ok()?;
                    return Some(items[at].1);
                }
            }
        }
    }

    pub(crate) fn insert(&mut self, key: &[u8], meta: KeyMeta) -> Option<KeyMeta> {
        let (old, right) = insert(&mut self.root, key, meta);
        self.len += usize::from(old.is_none());
        if let Some(right) = right {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            let first = left
                .first()
                .expect("a split never leaves an empty node")
                .clone();
            let left = Child {
                first,
                len: self.len - right.len,
                node: left,
            };
            self.root = Arc::new(Node::Branch(vec![left, right]));
        }
        old
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<KeyMeta> {
        // Looked up first: a miss must not copy the path.
        self.get(key)?;
        let old = remove(&mut self.root, key)?;
        self.len -= 1;
        loop {
            let only = match &*self.root {
                Node::Branch(children) if children.is_empty() => Arc::new(Node::Leaf(Vec::new())),
                Node::Branch(children) if children.len() == 1 => children[0].node.clone(),
                _ => return Some(old),
            };
            self.root = only;
        }
    }

    /// How many keys are less than `key`.
    pub(crate) fn rank(&self, key: &[u8]) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match &**node {
                Node::Leaf(items) => {
                    return rank + items.partition_point(|(item, _)| item[..] < *key);
                }
                Node::Branch(children) => {
                    let at = child_at(children, key);
                    rank += children[..at].iter().map(|child| child.len).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The ranks of a range's first key and of the first key after it.
    pub(crate) fn ranks(&self, range: &KeyRange) -> (usize, usize) {
        let from = self.rank(&range.key);
        let to = if range.is_one() {
            from + usize::from(self.get(&range.key).is_some())
        } else if range.is_open_ended() {
            self.len
        } else {
            self.rank(&range.end)
        };
        (from, to.max(from))
    }

    /// The keys from the `from`-th up to, without, the `to`-th.
    pub(crate) fn slice(&self, from: usize, to: usize) -> Slice<'_> {
        let mut slice = Slice {
            stack: Vec::new(),
            left: to.min(self.len).saturating_sub(from),
        };
        let (mut node, mut skip) = (&*self.root, from);
        while let Node::Branch(children) = node {
            let mut at = 0;
            while at + 1 < children.len() && skip >= children[at].len {
                skip -= children[at].len;
                at += 1;
            }
            slice.stack.push((node, at + 1));
            match children.get(at) {
                Some(child) => node = &child.node,
                None => return slice,
            }
        }
        slice.stack.push((node, skip));
        slice
    }

    /// The keys of a range.
    pub(crate) fn range(&self, range: &KeyRange) -> Slice<'_> {
        let (from, to) = self.ranks(range);
        self.slice(from, to)
    }
}

/// An iterator over neighbouring keys.
pub(crate) struct Slice<'a> {
    stack: Vec<(&'a Node, usize)>,
    left: usize,
}

impl<'a> Iterator for Slice<'a> {
    type Item = (&'a Key, KeyMeta);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        while let Some((node, at)) = self.stack.pop() {
            match node {
                Node::Leaf(items) => {
                    if let Some((key, meta)) = items.get(at) {
                        self.stack.push((node, at + 1));
                        self.left -= 1;
                        return Some((key, *meta));
                    }
                }
                Node::Branch(children) => {
                    if let Some(child) = children.get(at) {
                        self.stack.push((node, at + 1));
                        self.stack.push((&child.node, 0));
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Random;
    use std::collections::BTreeMap;

    fn meta(n: i64) -> KeyMeta {
        KeyMeta {
            create_revision: n,
            mod_revision: n,
            version: n,
            lease: 0,
        }
    }

    fn check_same(index: &KeyIndex, oracle: &BTreeMap<Vec<u8>, KeyMeta>, random: &mut Random) {
        assert_eq!(index.len(), oracle.len());
        let all: Vec<_> = index
            .slice(0, index.len())
            .map(|(key, meta)| (key.to_vec(), meta))
            .collect();
        assert_eq!(
            all,
            oracle
                .iter()
                .map(|(key, meta)| (key.clone(), *meta))
                .collect::<Vec<_>>()
        );
        for _ in 0..20 {
            let key = random.bytes(3);
            assert_eq!(index.get(&key), oracle.get(&key).copied());
            assert_eq!(index.rank(&key), oracle.range(..key.clone()).count());
            let (from, to) = (random.below(all.len() + 2), random.below(all.len() + 2));
            let slice: Vec<_> = index
                .slice(from, to)
                .map(|(key, meta)| (key.to_vec(), meta))
                .collect();
            assert_eq!(
                slice,
                all.iter()
                    .skip(from)
                    .take(to.saturating_sub(from))
                    .cloned()
                    .collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn random_writes_leave_what_a_btree_map_holds_and_copies_do_not_change() {
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let (mut index, mut oracle) = (KeyIndex::default(), BTreeMap::new());
            let mut copies = Vec::new();
            // Phases of growth and of shrinking, so that nodes split and merge.
            for step in 0..6000 {
                let key = random.bytes(3);
                let grow = if (step / 1500) % 2 == 0 { 8 } else { 2 };
                if random.below(10) < grow {
                    assert_eq!(
                        index.insert(&key, meta(step)),
                        oracle.insert(key, meta(step))
                    );
                } else {
                    let key = oracle
                        .range(key.clone()..)
                        .next()
                        .map_or(key, |(key, _)| key.clone());
                    assert_eq!(index.remove(&key), oracle.remove(&key));
                }
                if step % 1000 == 999 {
                    check_same(&index, &oracle, &mut random);
                    copies.push((index.clone(), oracle.clone()));
                }
            }
            for (index, oracle) in &copies {
                check_same(index, oracle, &mut random);
            }
            for key in oracle.keys().cloned().collect::<Vec<_>>() {
                assert!(index.remove(&key).is_some());
            }
            check_same(&index, &BTreeMap::new(), &mut random);
        }
    }

    #[test]
    fn keys_written_in_order_fill_their_leaves() {
        let mut index = KeyIndex::default();
        for n in 0..10_000i64 {
            index.insert(&n.to_be_bytes(), meta(n));
        }
        let leaves = |node: &Arc<Node>| count_leaves(node);
        assert!(
            leaves(&index.root) < 10_000 / NODE_MAX * 5 / 4,
            "{} leaves",
            leaves(&index.root)
        );
    }

    fn count_leaves(node: &Arc<Node>) -> usize {
        match &**node {
            Node::Leaf(_) => 1,
            Node::Branch(children) => children.iter().map(|child| count_leaves(&child.node)).sum(),
        }
    }
}
