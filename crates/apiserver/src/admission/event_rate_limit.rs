//! `EventRateLimit`: events that come too fast are refused, before they fill
//! the store. Off by default; without limits it does nothing.

use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use jiff::Timestamp;
use kontiki_kinds::Tree;
use kontiki_object::{Status, Value};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

/// Keys that a limit remembers if it does not say.
pub const CACHE_SIZE: usize = 4096;

/// What shares a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum LimitType {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

/// A limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventLimit {
    /// What shares it.
    pub ty: LimitType,
    /// Events a second in the long run.
    pub qps: u32,
    /// Events at once.
    pub burst: u32,
    /// How many namespaces, users or sources are told apart; 0 for
    /// [`CACHE_SIZE`].
    pub cache_size: usize,
}

/// The plugin.
pub struct EventRateLimit {
    limiters: Vec<Limiter>,
}

struct Limiter {
    limit: EventLimit,
    buckets: Mutex<Buckets>,
}

/// Tokens by key; those unused for longest are forgotten first.
#[derive(Default)]
struct Buckets {
    by_key: HashMap<String, Bucket>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
    used: u64,
}

impl EventRateLimit {
    /// With these limits.
    #[must_use]
    pub fn new(limits: &[EventLimit]) -> Self {
        let limiters = limits.iter().map(|limit| Limiter {
            limit: limit.clone(),
            buckets: Mutex::default(),
        });
        Self {
            limiters: limiters.collect(),
        }
    }
}

impl Limiter {
    fn key(&self, attributes: &Attributes<'_>, event: &Tree) -> String {
        match self.limit.ty {
            LimitType::Server => String::new(),
            LimitType::Namespace => attributes.target.namespace.clone(),
            LimitType::User => attributes.context.user.name.clone(),
            LimitType::SourceAndObject => source_and_object(event),
        }
    }

    /// Whether there is a token for this key; takes it.
    fn accepts(&self, key: &str, now: Timestamp) -> bool {
        let limit = &self.limit;
        let burst = f64::from(limit.burst);
        let mut buckets = self.buckets.lock();
        buckets.uses += 1;
        let uses = buckets.uses;
        let bucket = buckets
            .by_key
            .entry(key.to_owned())
            .or_insert_with(|| Bucket {
                tokens: burst,
                filled: now,
                used: uses,
            });
        let before = std::mem::replace(&mut bucket.used, uses);
        let passed = now.duration_since(bucket.filled).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * f64::from(limit.qps)).min(burst);
        bucket.filled = now;
        let accepted = bucket.tokens >= 1.0;
        if accepted {
            bucket.tokens -= 1.0;
        }
        buckets.by_use.remove(&before);
        buckets.by_use.insert(uses, key.to_owned());
        let room = match limit.cache_size {
            0 => CACHE_SIZE,
            size => size,
        };
        if buckets.by_key.len() > room
            && let Some((_, oldest)) = buckets.by_use.pop_first()
        {
            buckets.by_key.remove(&oldest);
        }
        accepted
    }
}

fn source_and_object(event: &Tree) -> String {
    let text = |part: &str, field: &str| {
        let value = event.get(part).and_then(|part| part.get(field));
        value.and_then(Value::as_str).unwrap_or_default()
    };
    let source = ["component", "host"].map(|field| text("source", field));
    let fields = ["kind", "namespace", "name", "uid", "apiVersion"];
    let object = fields.map(|field| text("involvedObject", field));
    source.into_iter().chain(object).collect()
}

#[async_trait]
impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let kind = &attributes.target.kind;
        let is_written = matches!(attributes.operation, Operation::Create | Operation::Update);
        if kind.kind != "Event" || !is_written || attributes.dry_run {
            return Ok(());
        }
        let Some(event) = attributes.object.as_deref() else {
            return Ok(());
        };
        let mut complaints = Vec::new();
        for limiter in &self.limiters {
            let key = limiter.key(attributes, event);
            if !limiter.accepts(&key, attributes.context.now) {
                let key = match limiter.limit.ty {
                    LimitType::Server => "<nil>".to_owned(),
                    _ => key,
                };
                complaints.push(format!(
                    "limit reached on type {:?} for key {key}",
                    limiter.limit.ty
                ));
            }
        }
        let why = match &complaints[..] {
            [] => return Ok(()),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("Too many requests: {why}");
        Err(Status::failure(429, "TooManyRequests", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn a_limit_holds_for_each_key_and_forgets_the_one_unused_for_longest() {
        let limiter = Limiter {
            limit: EventLimit {
                ty: LimitType::Namespace,
                qps: 1,
                burst: 2,
                cache_size: 2,
            },
            buckets: Mutex::default(),
        };
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds: i64| start + SignedDuration::from_secs(seconds);
        for (key, seconds, accepted) in [
            ("a", 0, true),
            ("a", 0, true),
            ("a", 0, false),
            ("b", 0, true),
            ("a", 1, true),
            ("a", 1, false),
            // `b` was unused for longest: it begins anew, `a` does not.
            ("c", 1, true),
            ("a", 1, false),
            ("b", 1, true),
            ("b", 1, true),
            ("b", 1, false),
        ] {
            assert_eq!(
                limiter.accepts(key, at(seconds)),
                accepted,
                "{key} at {seconds}"
            );
        }
        assert_eq!(limiter.buckets.lock().by_key.len(), 2);
        assert_eq!(limiter.buckets.lock().by_use.len(), 2);
    }
}
