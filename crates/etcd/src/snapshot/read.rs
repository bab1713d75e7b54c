//! Reading etcd's database, whoever wrote it.

use super::{SnapshotError, bucket, name, parse_revision_key};
use crate::pb::{authpb, leasepb, mvccpb};
use bytes::Bytes;
use kontiki_bolt::{Bucket, Error as DatabaseError, Reader};
use kontiki_store::{Access, AuthState, DumpItem, KeyRange, KeyValue, Permission, User};
use prost::Message;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

const CHECKSUM_BYTES: u64 = 32;
/// Databases have a multiple of this many bytes; the rest is the checksum.
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 1 << 20;

/// What a snapshot file holds, in short; as `etcdctl snapshot status` counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// CRC-32C over all buckets.
    pub hash: u32,
    /// The newest revision.
    pub revision: i64,
    /// Items of all buckets.
    pub total_keys: u64,
    /// Bytes of the database.
    pub total_bytes: u64,
}

/// What counts for all of the content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The oldest revision that can be read.
    pub compact_revision: i64,
    /// Users and roles.
    pub auth: AuthState,
}

/// An open snapshot file.
pub struct SnapshotFile {
    reader: Reader<File>,
    bytes: u64,
    /// SHA-256 of the database; what tells snapshots apart.
    digest: [u8; 32],
}

impl SnapshotFile {
    /// Opens a file and verifies its checksum. Without one it is only taken if
    /// `checksum_optional` says so. Calls `progress` with bytes read and bytes in all.
    pub fn open(
        path: &Path,
        checksum_optional: bool,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<Self, SnapshotError> {
        let io = |error| SnapshotError::Io(path.display().to_string(), error);
        let mut file = File::open(path).map_err(io)?;
        let all = file.metadata().map_err(io)?.len();
        let has_checksum = all % SECTOR_BYTES == CHECKSUM_BYTES;
        if !has_checksum && !checksum_optional {
            return Err(SnapshotError::NoChecksum);
        }
        let bytes = if has_checksum {
            all - CHECKSUM_BYTES
        } else {
            all
        };
        let mut digest = Sha256::new();
        let (mut left, mut buffer) = (bytes, vec![0; READ_BYTES]);
        while left > 0 {
            let part = READ_BYTES.min(usize::try_from(left).unwrap_or(READ_BYTES));
            file.read_exact(&mut buffer[..part]).map_err(io)?;
            digest.update(&buffer[..part]);
            left -= part as u64;
            progress(bytes - left, bytes);
        }
        let digest: [u8; 32] = digest.finalize().into();
        if has_checksum {
            let mut stored = [0; 32];
            file.read_exact(&mut stored).map_err(io)?;
            if stored != digest {
                return Err(SnapshotError::Checksum);
            }
        }
        Ok(Self {
            reader: Reader::open(file)?,
            bytes,
            digest,
        })
    }

    /// SHA-256 of the database.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>, SnapshotError> {
        let buckets = self.reader.buckets()?;
        Ok(buckets.into_iter().find(|bucket| bucket.name == name))
    }

    fn each(
        &self,
        name: &[u8],
        each: impl FnMut(&[u8], &[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        match self.bucket(name)? {
            Some(bucket) => self.reader.for_each(&bucket, each),
            None => Ok(()),
        }
    }

    /// Reads all of it, and says what it holds.
    pub fn status(&self) -> Result<SnapshotStatus, SnapshotError> {
        let mut status = SnapshotStatus {
            hash: 0,
            revision: 0,
            total_keys: 0,
            total_bytes: self.bytes,
        };
        for bucket in self.reader.buckets()? {
            status.hash = crc32c::crc32c_append(status.hash, &bucket.name);
            let is_key = bucket.name == bucket::KEY;
            self.reader.for_each(&bucket, |key, value| {
                status.hash = crc32c::crc32c_append(status.hash, key);
                status.hash = crc32c::crc32c_append(status.hash, value);
                status.total_keys += 1;
                if is_key {
                    let (revision, _, _) = parse_revision_key(key)
                        .ok_or_else(|| content("key bucket holds something that is no revision"))?;
                    status.revision = revision;
                }
                Ok::<_, SnapshotError>(())
            })?;
        }
        Ok(status)
    }

    /// What counts for all of the content.
    pub fn head(&self) -> Result<Head, SnapshotError> {
        let mut head = Head::default();
        self.each(bucket::META, |key, value| {
            if key == name::SCHEDULED || key == name::FINISHED {
                let parsed = parse_revision_key(value);
                let (revision, _, _) =
                    parsed.ok_or_else(|| content("compacted revision is not one"))?;
                head.compact_revision = head.compact_revision.max(revision);
            }
            Ok(())
        })?;
        let auth = &mut head.auth;
        self.each(bucket::AUTH, |key, value| {
            if key == name::AUTH_ENABLED {
                auth.enabled = value == [1];
            } else if key == name::AUTH_REVISION
                && let Ok(revision) = value.try_into()
            {
                auth.revision = u64::from_be_bytes(revision);
            }
            Ok(())
        })?;
        let revision = auth.revision;
        self.each(bucket::USERS, |_, value| {
            let user = authpb::User::decode(value).map_err(|_| content("users are damaged"))?;
            let read = User {
                password_hash: Bytes::copy_from_slice(&user.password),
                no_password: user.options.is_some_and(|options| options.no_password),
                roles: user.roles.into_iter().collect(),
                changed: revision,
            };
            auth.users.insert(text(&user.name)?, read);
            Ok(())
        })?;
        self.each(bucket::ROLES, |_, value| {
            let role = authpb::Role::decode(value).map_err(|_| content("roles are damaged"))?;
            let permissions = role.key_permission.iter().map(|permission| Permission {
                access: match permission.perm_type() {
                    authpb::permission::Type::Read => Access::Read,
                    authpb::permission::Type::Write => Access::Write,
                    authpb::permission::Type::Readwrite => Access::ReadWrite,
                },
                range: KeyRange {
                    key: permission.key.clone(),
                    end: permission.range_end.clone(),
                },
            });
            auth.roles.insert(text(&role.name)?, permissions.collect());
            Ok(())
        })?;
        Ok(head)
    }

    /// Calls `each` with leases, then with versions in the order of their revisions.
    pub fn for_each<E: From<SnapshotError>>(
        &self,
        mut each: impl FnMut(DumpItem) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk =
            |name: &[u8], decode: fn(&[u8], &[u8]) -> Result<DumpItem, SnapshotError>| {
                let mut failed = None;
                let walked = self.each(name, |key, value| {
                    each(decode(key, value)?).map_err(|error| {
                        failed = Some(error);
                        // Any error stops the walk; the caller gets its own.
                        SnapshotError::Database(DatabaseError::Unordered)
                    })
                });
                match failed {
                    Some(error) => Err(error),
                    None => walked.map_err(E::from),
                }
            };
        walk(bucket::LEASE, lease)?;
        walk(bucket::KEY, version)
    }
}

fn content(what: &str) -> SnapshotError {
    SnapshotError::Content(what.to_owned())
}

fn text(bytes: &[u8]) -> Result<String, SnapshotError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| content("names are not all text"))
}

fn lease(_: &[u8], value: &[u8]) -> Result<DumpItem, SnapshotError> {
    let lease = leasepb::Lease::decode(value).map_err(|_| content("leases are damaged"))?;
    Ok(DumpItem::Lease {
        id: lease.id,
        ttl_seconds: lease.ttl,
        remaining_seconds: lease.remaining_ttl,
    })
}

fn version(key: &[u8], value: &[u8]) -> Result<DumpItem, SnapshotError> {
    let (revision, number, deleted) = parse_revision_key(key)
        .ok_or_else(|| content("key bucket holds something that is no revision"))?;
    let kv = mvccpb::KeyValue::decode(value).map_err(|_| content("versions are damaged"))?;
    Ok(DumpItem::Version {
        number,
        deleted,
        kv: KeyValue {
            key: kv.key,
            value: kv.value,
            create_revision: kv.create_revision,
            mod_revision: revision,
            version: kv.version,
            lease: kv.lease,
        },
    })
}
