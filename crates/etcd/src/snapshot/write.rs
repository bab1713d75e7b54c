//! Writing the store's content as etcd's database.

use super::{LAYOUT_VERSION, SnapshotError, bucket, name, revision_key};
use crate::auth::wire_permission;
use crate::convert::key_value;
use crate::pb::{authpb, etcdserverpb, leasepb, mvccpb};
use bytes::Bytes;
use kontiki_bolt::Writer;
use kontiki_store::{AlarmKind, AuthState, Dump, DumpItem, Member};
use prost::Message;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

type Database = Writer<BufWriter<File>>;

/// Writes a dump to the start of `file`; answers the file and its length. Waits
/// for the dump's items, so not on a thread of the runtime.
pub fn write(dump: Dump, peer_scheme: &str, file: File) -> Result<(File, u64), SnapshotError> {
    let io = |error| SnapshotError::Io("the snapshot".to_owned(), error);
    let mut database = Writer::new(BufWriter::with_capacity(1 << 20, file))?;
    let head = Head {
        applied_index: dump.applied_index,
        term: dump.header.raft_term,
        compact_revision: dump.compact_revision,
    };
    write_items(&mut database, Items::new(dump.items))?;
    write_meta(&mut database, &head)?;
    write_members(&mut database, &dump.members, peer_scheme)?;
    write_auth(&mut database, &dump.auth)?;
    let mut alarms: Vec<Vec<u8>> = Vec::new();
    for alarm in &dump.alarms {
        let kind = match alarm.kind {
            AlarmKind::NoSpace => etcdserverpb::AlarmType::Nospace,
            AlarmKind::Corrupt => etcdserverpb::AlarmType::Corrupt,
        };
        let member = etcdserverpb::AlarmMember {
            member_id: alarm.member_id,
            alarm: kind.into(),
        };
        alarms.push(member.encode_to_vec());
    }
    let alarms = alarms.into_iter().map(|alarm| (alarm, Vec::new()));
    write_bucket(&mut database, bucket::ALARM, alarms.collect())?;
    let (out, bytes) = database.finish()?;
    let mut file = out.into_inner().map_err(|error| io(error.into_error()))?;
    file.flush().map_err(io)?;
    Ok((file, bytes))
}

/// Writes a dump and its checksum to a new file, durably.
pub fn save(dump: Dump, peer_scheme: &str, path: &Path) -> Result<(), SnapshotError> {
    let io = |error| SnapshotError::Io(path.display().to_string(), error);
    let mut options = File::options();
    // It is read once more for the checksum. Everything that the store holds is in it.
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600);
    let (mut file, mut left) = write(dump, peer_scheme, options.open(path).map_err(io)?)?;
    file.rewind().map_err(io)?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    while left > 0 {
        let part = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(buffer.len()));
        file.read_exact(&mut buffer[..part]).map_err(io)?;
        digest.update(&buffer[..part]);
        left -= part as u64;
    }
    file.write_all(&digest.finalize()).map_err(io)?;
    file.sync_all().map_err(io)
}

struct Head {
    applied_index: u64,
    term: u64,
    compact_revision: i64,
}

/// The dump's items one by one.
struct Items {
    portions: tokio::sync::mpsc::Receiver<Result<Vec<DumpItem>, kontiki_store::StoreError>>,
    waiting: VecDeque<DumpItem>,
}

impl Items {
    fn new(
        portions: tokio::sync::mpsc::Receiver<Result<Vec<DumpItem>, kontiki_store::StoreError>>,
    ) -> Self {
        Self {
            portions,
            waiting: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Result<Option<DumpItem>, SnapshotError> {
        while self.waiting.is_empty() {
            match self.portions.blocking_recv() {
                Some(portion) => self.waiting.extend(portion?),
                None => return Ok(None),
            }
        }
        Ok(self.waiting.pop_front())
    }
}

/// Leases come first, then versions in the order of their revisions.
fn write_items(database: &mut Database, mut items: Items) -> Result<(), SnapshotError> {
    let mut item = items.next()?;
    let mut leases = database.bucket(bucket::LEASE);
    while let Some(DumpItem::Lease {
        id,
        ttl_seconds,
        remaining_seconds,
    }) = item
    {
        let lease = leasepb::Lease {
            id,
            ttl: ttl_seconds,
            remaining_ttl: remaining_seconds,
        };
        leases.put(&id.to_be_bytes(), &lease.encode_to_vec())?;
        item = items.next()?;
    }
    leases.finish()?;
    let mut keys = database.bucket(bucket::KEY);
    while let Some(next) = item {
        if let DumpItem::Version {
            number,
            deleted,
            kv,
        } = next
        {
            let key = revision_key(kv.mod_revision, number, deleted);
            let version = if deleted {
                mvccpb::KeyValue {
                    key: kv.key,
                    ..mvccpb::KeyValue::default()
                }
            } else {
                key_value(kv)
            };
            keys.put(&key, &version.encode_to_vec())?;
        }
        item = items.next()?;
    }
    Ok(keys.finish()?)
}

fn write_bucket(
    database: &mut Database,
    name: &[u8],
    mut items: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), SnapshotError> {
    items.sort();
    let mut bucket = database.bucket(name);
    for (key, value) in items {
        bucket.put(&key, &value)?;
    }
    Ok(bucket.finish()?)
}

fn write_meta(database: &mut Database, head: &Head) -> Result<(), SnapshotError> {
    let mut items = vec![
        (
            name::CONSISTENT_INDEX.to_vec(),
            head.applied_index.to_be_bytes().to_vec(),
        ),
        (name::TERM.to_vec(), head.term.to_be_bytes().to_vec()),
    ];
    if head.compact_revision > 0 {
        let compacted = revision_key(head.compact_revision, 0, false);
        items.push((name::SCHEDULED.to_vec(), compacted.clone()));
        items.push((name::FINISHED.to_vec(), compacted));
    }
    write_bucket(database, bucket::META, items)?;
    let version = (
        name::CLUSTER_VERSION.to_vec(),
        LAYOUT_VERSION.as_bytes().to_vec(),
    );
    write_bucket(database, bucket::CLUSTER, vec![version])
}

#[derive(Serialize)]
struct StoredMember<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

fn write_members(
    database: &mut Database,
    members: &[Member],
    peer_scheme: &str,
) -> Result<(), SnapshotError> {
    let stored = members.iter().map(|member| {
        let addresses = member.peer_addresses.iter();
        let stored = StoredMember {
            id: member.id,
            peer_urls: addresses
                .map(|address| format!("{peer_scheme}://{address}"))
                .collect(),
            is_learner: member.is_learner,
            name: &member.name,
            client_urls: &member.client_urls,
        };
        let json = serde_json::to_vec(&stored).expect("plain data");
        (format!("{:x}", member.id).into_bytes(), json)
    });
    write_bucket(database, bucket::MEMBERS, stored.collect())?;
    write_bucket(database, bucket::MEMBERS_REMOVED, Vec::new())
}

fn write_auth(database: &mut Database, auth: &AuthState) -> Result<(), SnapshotError> {
    // etcd counts from 1.
    let revision = auth.revision + 1;
    let items = vec![
        (name::AUTH_ENABLED.to_vec(), vec![u8::from(auth.enabled)]),
        (
            name::AUTH_REVISION.to_vec(),
            revision.to_be_bytes().to_vec(),
        ),
    ];
    write_bucket(database, bucket::AUTH, items)?;
    let users = auth.users.iter().map(|(name, user)| {
        let user = authpb::User {
            name: Bytes::copy_from_slice(name.as_bytes()),
            password: user.password_hash.clone(),
            roles: user.roles.iter().cloned().collect(),
            options: Some(authpb::UserAddOptions {
                no_password: user.no_password,
            }),
        };
        (name.clone().into_bytes(), user.encode_to_vec())
    });
    write_bucket(database, bucket::USERS, users.collect())?;
    let roles = auth.roles.iter().map(|(name, permissions)| {
        let permissions = permissions.iter().map(wire_permission);
        let role = authpb::Role {
            name: Bytes::copy_from_slice(name.as_bytes()),
            key_permission: permissions.collect(),
        };
        (name.clone().into_bytes(), role.encode_to_vec())
    });
    write_bucket(database, bucket::ROLES, roles.collect())
}
