//! Reads the text of the k8s-pb sources: prost's tags and the Go comments
//! above them, whose `+` lines say how lists and maps merge. The crate carries
//! them as text only, so text is what is read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One message and its fields.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The Rust name that prost gave it.
    pub name: String,
    /// The module path, as schema names write it: `io.k8s.api.core.v1`.
    pub module: String,
    pub docs: Vec<String>,
    pub fields: Vec<Field>,
}

/// One field of a message.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// prost's name without `r#`.
    pub name: String,
    /// prost's attribute words: `string, optional`, `btree_map = "string, message"`.
    pub wire: String,
    pub tag: u32,
    /// The message type of a message field, by its normalised key.
    pub message: Option<String>,
    pub docs: Vec<String>,
}

impl Message {
    /// The key under which both sources agree on a type.
    pub fn key(&self) -> String {
        key(&format!("{}.{}", self.module, self.name))
    }

    /// The values of a marker such as `+listMapKey=`.
    pub fn marker<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        marker(&self.docs, name)
    }
}

impl Field {
    pub fn marker<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        marker(&self.docs, name)
    }

    pub fn has_marker(&self, name: &str) -> bool {
        self.docs
            .iter()
            .any(|line| line.strip_prefix('+') == Some(name))
    }
}

fn marker<'a>(docs: &'a [String], name: &'a str) -> impl Iterator<Item = &'a str> {
    docs.iter().filter_map(move |line| {
        line.strip_prefix('+')?
            .strip_prefix(name)?
            .strip_prefix('=')
            .map(str::trim)
    })
}

/// Drops what the two sources spell differently: case, `_` and `-`.
pub fn key(name: &str) -> String {
    name.chars()
        .filter(|c| *c != '_' && *c != '-')
        .flat_map(char::to_lowercase)
        .collect()
}

/// Reads every module below `src`, keyed by [`Message::key`].
pub fn read(src: &Path) -> BTreeMap<String, Message> {
    let mut files = Vec::new();
    walk(src, &mut files);
    let mut messages = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(src).expect("walk stays below src");
        let parts: Vec<String> = relative
            .parent()
            .into_iter()
            .flat_map(Path::components)
            .map(|part| part.as_os_str().to_string_lossy().replace('_', "-"))
            .collect();
        let module = format!("io.k8s.{}", parts.join("."));
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        for message in parse(&module, &text) {
            messages.insert(message.key(), message);
        }
    }
    messages
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, files);
        } else if path.file_name().is_some_and(|name| name == "mod.rs") {
            files.push(path);
        }
    }
}

fn parse(module: &str, text: &str) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut docs: Vec<String> = Vec::new();
    let mut open: Option<Message> = None;
    let mut pending: Option<Field> = None;
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            docs.push(doc.strip_prefix(' ').unwrap_or(doc).to_owned());
        } else if let Some(attribute) = line.strip_prefix("#[prost(") {
            pending = Some(prost_attribute(
                attribute.trim_end_matches(")]"),
                std::mem::take(&mut docs),
            ));
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split([' ', '{']).next().unwrap_or_default();
            open = Some(Message {
                name: name.to_owned(),
                module: module.to_owned(),
                docs: std::mem::take(&mut docs),
                fields: Vec::new(),
            });
            if rest.ends_with("{}") {
                messages.extend(open.take());
            }
        } else if let Some(mut field) = pending.take() {
            // The declaration may go on over more lines; `pub name:` comes first.
            if let Some(rest) = line.strip_prefix("pub ") {
                let (name, ty) = rest.split_once(':').unwrap_or((rest, ""));
                field.name = name.trim_start_matches("r#").to_owned();
                field.docs.retain(|line| line != "---");
                field.message = message_key(module, ty);
                let complete = line.ends_with(',');
                if let Some(message) = &mut open {
                    message.fields.push(field);
                    if !complete {
                        docs.clear();
                    }
                }
            } else {
                pending = Some(field);
            }
        } else if line == "}" {
            messages.extend(open.take());
            docs.clear();
        } else if let Some(message) = &mut open {
            // The second line of a long declaration: it names the type.
            if let Some(last) = message.fields.last_mut()
                && last.message.is_none()
            {
                last.message = message_key(module, line);
            }
        } else if !line.starts_with("#[") {
            docs.clear();
        }
    }
    messages
}

fn prost_attribute(attribute: &str, docs: Vec<String>) -> Field {
    let (wire, rest) = attribute
        .split_once(", tag = \"")
        .unwrap_or((attribute, ""));
    let tag = rest.trim_end_matches(['"', ')', ']']).parse().unwrap_or(0);
    Field {
        wire: wire.to_owned(),
        tag,
        docs,
        ..Field::default()
    }
}

/// The key of the message that a Rust type names, if it names one.
fn message_key(module: &str, ty: &str) -> Option<String> {
    let mut inner = ty.trim().trim_end_matches(',').trim_end_matches('>');
    if let Some((_, last)) = inner.rsplit_once('<') {
        inner = last;
    }
    if let Some((_, last)) = inner.rsplit_once(", ") {
        inner = last;
    }
    let inner = inner
        .trim()
        .trim_start_matches("::")
        .trim_end_matches(',')
        .trim_end_matches('>');
    let name = inner.rsplit("::").next().unwrap_or(inner);
    if !name.starts_with(char::is_uppercase)
        || matches!(name, "String" | "Vec" | "BTreeMap" | "Box" | "Option")
    {
        return None;
    }
    if inner.starts_with("core::") || inner.starts_with("prost::") {
        return None;
    }
    // A path climbs with `super::` to the crate's root or to a sibling.
    let mut at: Vec<&str> = module.split('.').collect();
    let mut segments: Vec<&str> = inner.split("::").collect();
    segments.pop();
    if segments.first() == Some(&"crate") {
        at.truncate(2);
        segments.remove(0);
    }
    for segment in segments {
        if segment == "super" {
            at.pop();
        } else {
            at.push(segment);
        }
    }
    Some(key(&format!("{}.{name}", at.join("."))))
}
