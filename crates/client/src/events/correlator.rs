//! Which occurrences become which writes.

use jiff::{SignedDuration, Timestamp};
use kontiki_object::{Value, time};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

/// Normal or warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Something happened as it should.
    Normal,
    /// Something may be wrong.
    Warning,
}

impl EventType {
    /// The API's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// In which form a component writes its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventShape {
    /// `core/v1` with `count`: kubelet and controller-manager.
    Core,
    /// `events.k8s.io/v1` with `series`: the scheduler.
    Series,
}

/// Who records.
#[derive(Clone, Debug)]
pub struct EventSource {
    /// The component, for instance `deployment-controller`.
    pub component: String,
    /// The host, or the instance of the component.
    pub instance: String,
    /// The form of its events.
    pub shape: EventShape,
}

impl EventSource {
    /// A source.
    pub fn new(
        component: impl Into<String>,
        instance: impl Into<String>,
        shape: EventShape,
    ) -> Self {
        Self {
            component: component.into(),
            instance: instance.into(),
            shape,
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The object concerned: an `ObjectReference`.
    pub regarding: Value,
    /// Another object that had a part in it.
    pub related: Option<Value>,
    /// Normal or warning.
    pub kind: EventType,
    /// Why, as one word.
    pub reason: String,
    /// What was done, as one word; only `events.k8s.io` has it.
    pub action: String,
    /// What, for people.
    pub message: String,
}

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub struct EventWrite {
    /// In which namespace.
    pub namespace: String,
    /// Name of the event.
    pub name: String,
    /// A merge patch to try first.
    pub patch: Option<Value>,
    /// The event as it is created when there is none to patch.
    pub body: Value,
}

const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL_PER_SECOND: f64 = 1.0 / 300.0;
const SIMILAR_MAX: usize = 10;
const SIMILAR_WINDOW: SignedDuration = SignedDuration::from_mins(10);
const SERIES_IDLE: SignedDuration = SignedDuration::from_mins(6);
const SERIES_REFRESH: SignedDuration = SignedDuration::from_mins(30);
/// Entries of each table; the oldest quarter goes when it is full.
const ENTRIES_MAX: usize = 4096;
const MESSAGE_BYTES_MAX: usize = 1024;

#[derive(Clone, PartialEq, Eq, Hash)]
struct SimilarKey {
    regarding: String,
    kind: EventType,
    reason: String,
    action: String,
}

/// Messages up to the limit are told apart; beyond it they are combined.
#[derive(Clone, PartialEq, Eq, Hash)]
struct RepeatKey {
    similar: SimilarKey,
    message: Option<String>,
}

struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

struct Repeat {
    body: Value,
    name: String,
    namespace: String,
    count: u64,
    last: Timestamp,
    /// When the count was last written; a series is written rarely.
    written: Timestamp,
    written_count: u64,
}

struct Bucket {
    tokens: f64,
    last: Timestamp,
}

/// Decides which occurrences become which writes.
pub struct Correlator {
    source: EventSource,
    similar: HashMap<SimilarKey, Similar>,
    repeats: HashMap<RepeatKey, Repeat>,
    buckets: HashMap<String, Bucket>,
}

impl Correlator {
    /// One that has seen nothing.
    #[must_use]
    pub fn new(source: EventSource) -> Self {
        Self {
            source,
            similar: HashMap::new(),
            repeats: HashMap::new(),
            buckets: HashMap::new(),
        }
    }

    /// Takes in an occurrence; `None` if it is not worth a write now.
    pub fn observe(&mut self, mut occurrence: Occurrence, now: Timestamp) -> Option<EventWrite> {
        truncate(&mut occurrence.message, MESSAGE_BYTES_MAX);
        self.bound();
        match self.source.shape {
            EventShape::Core => self.observe_core(occurrence, now),
            EventShape::Series => self.observe_series(occurrence, now),
        }
    }

    fn observe_core(&mut self, mut occurrence: Occurrence, now: Timestamp) -> Option<EventWrite> {
        let similar = similar_key(&occurrence, false);
        let combined = self.is_combined(&similar, &occurrence.message, now);
        if combined {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
        }
        let key = RepeatKey {
            message: (!combined).then(|| occurrence.message.clone()),
            similar,
        };
        let write = match self.repeats.get_mut(&key) {
            Some(repeat) => {
                repeat.count += 1;
                repeat.last = now;
                let patch = json!({
                    "count": repeat.count, "lastTimestamp": time::format(now),
                    "message": occurrence.message,
                });
                for (field, value) in patch.as_object().into_iter().flatten() {
                    repeat.body[field] = value.clone();
                }
                EventWrite {
                    namespace: repeat.namespace.clone(),
                    name: repeat.name.clone(),
                    patch: Some(patch),
                    body: repeat.body.clone(),
                }
            }
            None => {
                let write = self.first(&occurrence, now);
                self.repeats.insert(key, repeat_of(&write, now));
                write
            }
        };
        self.admit(&occurrence, now).then_some(write)
    }

    fn observe_series(&mut self, occurrence: Occurrence, now: Timestamp) -> Option<EventWrite> {
        let key = RepeatKey {
            similar: similar_key(&occurrence, true),
            message: None,
        };
        let running = self.repeats.get_mut(&key);
        if let Some(repeat) =
            running.filter(|repeat| now.duration_since(repeat.last) <= SERIES_IDLE)
        {
            repeat.count += 1;
            repeat.last = now;
            let due = repeat.count == 2 || now.duration_since(repeat.written) >= SERIES_REFRESH;
            return due.then(|| series_write(repeat, now));
        }
        let write = self.first(&occurrence, now);
        self.repeats.insert(key, repeat_of(&write, now));
        Some(write)
    }

    /// Writes the final counts of series that have ended.
    pub fn flush(&mut self, now: Timestamp) -> Vec<EventWrite> {
        let mut writes = Vec::new();
        if self.source.shape == EventShape::Series {
            self.repeats.retain(|_, repeat| {
                let ended = now.duration_since(repeat.last) > SERIES_IDLE;
                if ended && repeat.count > repeat.written_count {
                    writes.push(series_write(repeat, now));
                }
                !ended
            });
        }
        writes
    }

    /// How long until [`Correlator::flush`] has something to do.
    #[must_use]
    pub fn next_flush(&self, now: Timestamp) -> Option<Duration> {
        if self.source.shape == EventShape::Core {
            return None;
        }
        let ends = self.repeats.values().map(|repeat| repeat.last);
        let first = ends.min()? + SERIES_IDLE + SignedDuration::from_secs(1);
        Some(Duration::try_from(first.duration_since(now)).unwrap_or_default())
    }

    fn is_combined(&mut self, key: &SimilarKey, message: &str, now: Timestamp) -> bool {
        let similar = self.similar.entry(key.clone()).or_insert_with(|| Similar {
            messages: HashSet::new(),
            last: now,
        });
        if now.duration_since(similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < SIMILAR_MAX {
            similar.messages.insert(message.to_owned());
        }
        similar.messages.len() >= SIMILAR_MAX && !similar.messages.contains(message)
    }

    fn admit(&mut self, occurrence: &Occurrence, now: Timestamp) -> bool {
        let key = occurrence.regarding.to_string();
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            tokens: SPAM_BURST,
            last: now,
        });
        let passed = now.duration_since(bucket.last).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * SPAM_REFILL_PER_SECOND).min(SPAM_BURST);
        bucket.last = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        admitted
    }

    fn first(&self, occurrence: &Occurrence, now: Timestamp) -> EventWrite {
        let field = |name: &str| occurrence.regarding[name].as_str().unwrap_or_default();
        let namespace = match field("namespace") {
            "" => "default",
            namespace => namespace,
        };
        let name = format!("{}.{:x}", field("name"), now.as_nanosecond());
        let metadata = json!({"name": name, "namespace": namespace});
        let body = match self.source.shape {
            EventShape::Core => self.core_body(occurrence, metadata, now),
            EventShape::Series => self.series_body(occurrence, metadata, now),
        };
        EventWrite {
            namespace: namespace.to_owned(),
            name,
            patch: None,
            body,
        }
    }

    fn core_body(&self, occurrence: &Occurrence, metadata: Value, now: Timestamp) -> Value {
        let mut source = json!({"component": self.source.component});
        if !self.source.instance.is_empty() {
            source["host"] = json!(self.source.instance);
        }
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": metadata,
            "involvedObject": occurrence.regarding,
            "reason": occurrence.reason, "message": occurrence.message,
            "type": occurrence.kind.as_str(), "count": 1, "source": source,
            "firstTimestamp": time::format(now), "lastTimestamp": time::format(now),
            "reportingComponent": self.source.component,
            "reportingInstance": self.source.instance,
        })
    }

    fn series_body(&self, occurrence: &Occurrence, metadata: Value, now: Timestamp) -> Value {
        let mut body = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata,
            "eventTime": time::format_micro(now),
            "reportingController": self.source.component,
            "reportingInstance": format!("{}-{}", self.source.component, self.source.instance),
            "action": occurrence.action, "reason": occurrence.reason,
            "regarding": occurrence.regarding, "note": occurrence.message,
            "type": occurrence.kind.as_str(),
        });
        if let Some(related) = &occurrence.related {
            body["related"] = related.clone();
        }
        body
    }

    fn bound(&mut self) {
        evict(&mut self.similar, |similar| similar.last);
        evict(&mut self.repeats, |repeat| repeat.last);
        evict(&mut self.buckets, |bucket| bucket.last);
    }
}

fn repeat_of(write: &EventWrite, now: Timestamp) -> Repeat {
    Repeat {
        body: write.body.clone(),
        name: write.name.clone(),
        namespace: write.namespace.clone(),
        count: 1,
        last: now,
        written: now,
        written_count: 1,
    }
}

fn series_write(repeat: &mut Repeat, now: Timestamp) -> EventWrite {
    repeat.written = now;
    repeat.written_count = repeat.count;
    let series = json!({
        "count": repeat.count, "lastObservedTime": time::format_micro(repeat.last),
    });
    repeat.body["series"] = series.clone();
    EventWrite {
        namespace: repeat.namespace.clone(),
        name: repeat.name.clone(),
        patch: Some(json!({"series": series})),
        body: repeat.body.clone(),
    }
}

fn similar_key(occurrence: &Occurrence, with_action: bool) -> SimilarKey {
    let mut regarding = occurrence.regarding.clone();
    if let Some(fields) = regarding.as_object_mut() {
        // A repetition about a newer revision of an object is one all the same.
        fields.remove("resourceVersion");
    }
    SimilarKey {
        regarding: regarding.to_string(),
        kind: occurrence.kind,
        reason: occurrence.reason.clone(),
        action: if with_action {
            occurrence.action.clone()
        } else {
            String::new()
        },
    }
}

fn evict<K: Clone + Eq + Hash, V>(table: &mut HashMap<K, V>, last: impl Fn(&V) -> Timestamp) {
    if table.len() < ENTRIES_MAX {
        return;
    }
    let mut times: Vec<Timestamp> = table.values().map(&last).collect();
    times.sort_unstable();
    let bar = times[ENTRIES_MAX / 4];
    table.retain(|_, entry| last(entry) > bar);
}

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
    }

    fn occurrence(message: &str) -> Occurrence {
        Occurrence {
            regarding: json!({"kind": "Pod", "namespace": "n", "name": "a", "uid": "u"}),
            related: None,
            kind: EventType::Normal,
            reason: "Pulled".into(),
            action: "Pulling".into(),
            message: message.into(),
        }
    }

    fn correlator(shape: EventShape) -> Correlator {
        Correlator::new(EventSource::new("kubelet", "node-1", shape))
    }

    #[test]
    fn a_repetition_counts_up_the_same_event() {
        let mut correlator = correlator(EventShape::Core);
        let first = correlator.observe(occurrence("x"), at(0)).expect("written");
        let second = correlator.observe(occurrence("x"), at(9)).expect("written");
        assert_eq!(first.patch, None);
        assert_eq!(second.name, first.name);
        assert_eq!(second.body["count"], 2);
        assert_eq!(second.body["firstTimestamp"], first.body["firstTimestamp"]);
        assert_ne!(second.body["lastTimestamp"], first.body["lastTimestamp"]);
    }

    #[test]
    fn many_similar_events_are_combined() {
        let mut correlator = correlator(EventShape::Core);
        let writes: Vec<_> = (0..14)
            .filter_map(|i| correlator.observe(occurrence(&format!("m{i}")), at(i)))
            .collect();
        let created = writes.iter().filter(|write| write.patch.is_none()).count();
        assert_eq!(created, 11, "ten apart, then one that combines");
        let last = writes.last().expect("written");
        assert_eq!(last.body["count"], 4);
        assert_eq!(last.body["message"], "(combined from similar events): m13");
    }

    #[test]
    fn one_object_gets_a_burst_and_then_one_in_five_minutes() {
        let mut correlator = correlator(EventShape::Core);
        let written = (0..60)
            .filter(|_| correlator.observe(occurrence("x"), at(0)).is_some())
            .count();
        assert_eq!(written, 25);
        assert!(correlator.observe(occurrence("x"), at(299)).is_none());
        assert!(correlator.observe(occurrence("x"), at(301)).is_some());
    }

    #[test]
    fn a_series_is_written_at_its_start_and_at_its_end() {
        let mut correlator = correlator(EventShape::Series);
        let writes: Vec<_> = (0..50)
            .filter_map(|i| correlator.observe(occurrence("x"), at(i)))
            .collect();
        assert_eq!(writes.len(), 2);
        assert_eq!(writes[1].body["series"]["count"], 2);
        assert!(correlator.flush(at(60)).is_empty());
        let end = correlator.flush(at(60 + 360));
        assert_eq!(end[0].body["series"]["count"], 50);
        assert!(correlator.flush(at(9999)).is_empty());
    }

    #[test]
    fn the_tables_stay_bounded() {
        let mut correlator = correlator(EventShape::Core);
        for i in 0..10_000 {
            let mut event = occurrence("x");
            event.regarding["name"] = json!(i.to_string());
            correlator.observe(event, at(i));
        }
        assert!(correlator.repeats.len() <= ENTRIES_MAX);
        assert!(correlator.buckets.len() <= ENTRIES_MAX);
    }
}
