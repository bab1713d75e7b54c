//! Lists: consistent at one revision, selected, in pages.

use super::Registry;
use super::context::Target;
use super::selection::{Selection, scope};
use crate::cache::{CachedObject, Snapshot};
use crate::error;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use kontiki_object::{SharedObject, Status};
use kontiki_patch::syntax;
use kontiki_store::{KeyRange, RangeRequest, Revision, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a list asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// Label selector.
    pub label_selector: String,
    /// Field selector.
    pub field_selector: String,
    /// At most this many; 0 for all.
    pub limit: usize,
    /// Where the previous page ended.
    pub continue_token: String,
    /// The version.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub resource_version_match: String,
}

/// One page.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects in the form that the kind serves.
    pub items: Vec<SharedObject>,
    /// The revision at which they are so.
    pub revision: Revision,
    /// Where the next page starts; empty if this is the last.
    pub continue_token: String,
    /// How many come after this page, where that is known.
    pub remaining: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Clients send tokens back as they were; who invents one shall be told what is
/// wrong with its content.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENTLY);
const LENIENTLY: GeneralPurposeConfig = NO_PAD.with_decode_allow_trailing_bits(true);

impl Token {
    fn encode(revision: Revision, start: &str) -> String {
        let token = Self {
            v: TOKEN_VERSION.to_owned(),
            rv: revision,
            start: start.to_owned(),
        };
        let json = serde_json::to_vec(&token).expect("a token always encodes");
        URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: String| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = LENIENT
            .decode(text.trim_end_matches('='))
            .map_err(|error| bad(error.to_string()))?;
        let token: Self =
            serde_json::from_slice(&bytes).map_err(|error| bad(syntax::explain(&bytes, &error)))?;
        if token.v != TOKEN_VERSION {
            return Err(bad(format!(
                "server does not recognize this encoded version {}",
                token.v
            )));
        }
        if token.rv == 0 {
            return Err(bad(format!(
                "incorrect encoded start resourceVersion (version {TOKEN_VERSION})"
            )));
        }
        Ok(token)
    }
}

fn parse_version(text: &str) -> Result<Revision, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|number| i64::try_from(number).ok())
        .ok_or_else(|| {
            format!(
                "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
            )
        })
}

/// The version of a get or a watch; upstream answers 500 without a reason if it is malformed.
pub(super) fn parse_get_version(text: &str) -> Result<Revision, Status> {
    parse_version(text).map_err(|message| Status::failure(500, "", message))
}

impl Registry {
    /// Lists what a request selects.
    ///
    /// # Errors
    /// 400 for malformed parameters, 410 for a past that is gone, 504 for a
    /// future that does not come, or what the store says.
    pub async fn list(&self, target: &Target, request: &ListRequest) -> Result<ListPage, Status> {
        let kind = &target.kind;
        let selection = Selection::parse(kind, &request.label_selector, &request.field_selector)?;
        let scope = scope(&target.namespace);
        let (snapshot, revision, start) = self.point_in_time(target, request).await?;
        let mut page = ListPage {
            revision,
            ..ListPage::default()
        };
        let only_name = selection
            .only_name()
            .filter(|_| !scope.is_empty() || !kind.namespaced);
        let only_key = only_name.map(|name| format!("{scope}{name}"));
        let from = only_key.as_deref().unwrap_or(&start);
        let from = if from < start.as_str() { &start } else { from };
        let scoped = || snapshot.range(&scope, from).map(|(_, entry)| entry);
        self.convert_entries(kind, scoped()).await?;
        let mut rest = snapshot.range(&scope, from);
        let mut last = None;
        for (key, entry) in rest.by_ref() {
            if only_key.as_deref().is_some_and(|only| **key != *only) {
                break;
            }
            let Some(object) = readable(entry, target, key) else {
                continue;
            };
            if !selection.matches(kind, &object) {
                continue;
            }
            if request.limit > 0 && page.items.len() == request.limit {
                last = Some(key.clone());
                break;
            }
            page.items.push(object);
        }
        if let Some(next) = last {
            page.continue_token = Token::encode(revision, &next);
            if selection.is_everything() {
                page.remaining = Some(rest.count() + 1);
            }
        }
        Ok(page)
    }

    /// The objects to choose from, the revision they are at, and the first key.
    async fn point_in_time(
        &self,
        target: &Target,
        request: &ListRequest,
    ) -> Result<(Snapshot, Revision, String), Status> {
        if !request.continue_token.is_empty() {
            if !matches!(&*request.resource_version, "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let token = Token::decode(&request.continue_token)?;
            if token.rv < 0 {
                self.fresh().await?;
                let (snapshot, revision) = self.present(target).await?;
                return Ok((snapshot, revision, token.start));
            }
            self.not_older_than(token.rv).await?;
            let snapshot = self.past(target, token.rv).await;
            let snapshot = snapshot.map_err(|status| expired(status, &token))?;
            return Ok((snapshot, token.rv, token.start));
        }
        let (snapshot, revision) = match &*request.resource_version {
            "" => {
                self.fresh().await?;
                self.present(target).await?
            }
            text => {
                let revision = parse_version(text).map_err(Status::bad_request)?;
                self.not_older_than(revision).await?;
                if request.resource_version_match == "Exact" && revision > 0 {
                    (self.past(target, revision).await?, revision)
                } else {
                    self.present(target).await?
                }
            }
        };
        Ok((snapshot, revision, String::new()))
    }

    /// The state at the cache's revision.
    pub(super) async fn present(&self, target: &Target) -> Result<(Snapshot, Revision), Status> {
        let revision = self.cache.revision();
        Ok((self.past(target, revision).await?, revision))
    }

    /// The state at a revision: from the window of events, or from the store's history.
    async fn past(&self, target: &Target, revision: Revision) -> Result<Snapshot, Status> {
        let Some(storage) = &target.kind.storage else {
            return Err(Status::no_such_path());
        };
        let cache = self.cache.resource(&storage.key_prefix);
        if let Ok(snapshot) = cache.snapshot_at(revision) {
            return Ok(snapshot);
        }
        let request = RangeRequest {
            range: KeyRange::prefix(cache.prefix().to_owned()),
            revision,
            serializable: true,
            ..RangeRequest::default()
        };
        let answer = match self.store.range(request).await {
            Ok(answer) => answer,
            Err(StoreError::Compacted { compact_revision }) => {
                return Err(error::too_old_resource_version(revision, compact_revision));
            }
            Err(error) => return Err(error::from_store(&error)),
        };
        let pairs = answer.kvs.iter().filter_map(|kv| {
            let key = std::str::from_utf8(&kv.key).ok()?;
            let rest = key.strip_prefix(cache.prefix())?;
            Some((Arc::from(rest), Arc::new(CachedObject::new(kv))))
        });
        Ok(Snapshot {
            objects: pairs.collect(),
        })
    }
}

fn readable(entry: &Arc<CachedObject>, target: &Target, key: &str) -> Option<SharedObject> {
    match entry.served(&target.kind) {
        Ok(object) => Some(object),
        Err(error) => {
            // One value that cannot be read must not take the others with it.
            tracing::error!(%error, resource = %target.kind.plural, key, "an object was left out of a list");
            None
        }
    }
}

fn expired(status: Status, token: &Token) -> Status {
    if !status.is_expired() {
        return status;
    }
    let mut status = Status::expired(EXPIRED);
    let again = Token::encode(-1, &token.start);
    status.metadata.insert("continue".to_owned(), again.into());
    status
}
