use super::*;
use crate::framework::NodeChange;
use crate::plugins;
use crate::snapshot::tests::{asking, pod};
use serde_json::json;

fn queue() -> Queue {
    let plugins: &'static [&'static dyn Plugin] = &plugins::ALL;
    Queue::new(plugins, Duration::from_secs(1), Duration::from_secs(10))
}

fn fit() -> BTreeSet<&'static str> {
    BTreeSet::from(["NodeResourcesFit"])
}

fn next(queue: &mut Queue, now: Instant) -> Option<String> {
    queue.pop(now).map(|next| next.pod.uid.clone())
}

#[tokio::test(start_paused = true)]
async fn the_important_come_first_and_then_the_old() {
    let now = Instant::now();
    let mut queue = queue();
    queue.put(asking("old", 1), now);
    queue.put(asking("young", 1), now);
    queue.put(pod("vip", json!({"priority": 5})), now);
    for name in ["vip", "old", "young"] {
        assert_eq!(next(&mut queue, now).as_deref(), Some(name));
    }
    assert_eq!(next(&mut queue, now), None);
}

#[tokio::test(start_paused = true)]
async fn a_refused_pod_wakes_when_something_helps_and_backs_off_longer_each_time() {
    let mut queue = queue();
    let mut now = Instant::now();
    queue.put(asking("a", 1), now);
    for seconds in [1, 2, 4, 8, 10, 10] {
        assert_eq!(next(&mut queue, now).as_deref(), Some("a"));
        queue.failed("ns/a", fit(), now);
        let labels = NodeChange {
            labels: true,
            ..NodeChange::default()
        };
        queue.happened(&Event::Node(labels), now);
        assert_eq!(queue.sizes()[2], ("unschedulable", 1), "labels do not help");
        queue.happened(&Event::PodLeft, now);
        assert_eq!(queue.sizes()[1], ("backoff", 1));
        now += Duration::from_secs(seconds);
        assert_eq!(next(&mut queue, now - Duration::from_millis(1)), None);
        assert_eq!(queue.wakes_at(), Some(now));
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_during_an_attempt_is_not_missed() {
    let mut queue = queue();
    let now = Instant::now();
    queue.put(asking("a", 1), now);
    assert!(queue.pop(now).is_some());
    queue.happened(&Event::PodLeft, now);
    queue.failed("ns/a", fit(), now);
    assert_eq!(queue.sizes()[1], ("backoff", 1));
}

#[tokio::test(start_paused = true)]
async fn an_unschedulable_pod_is_tried_again_after_five_minutes() {
    let mut queue = queue();
    let now = Instant::now();
    queue.put(asking("a", 1), now);
    assert!(queue.pop(now).is_some());
    queue.failed("ns/a", fit(), now);
    assert!(queue.pop(now + Duration::from_secs(299)).is_none());
    assert!(queue.pop(now + Duration::from_secs(300)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_gated_pod_waits_for_its_gates() {
    let mut queue = queue();
    let now = Instant::now();
    queue.put(pod("a", json!({"schedulingGates": [{"name": "g"}]})), now);
    assert_eq!(queue.sizes()[3], ("gated", 1));
    assert!(queue.pop(now).is_none());
    queue.put(pod("a", json!({})), now);
    assert!(queue.pop(now).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_removed_in_flight_does_not_come_back() {
    let mut queue = queue();
    let now = Instant::now();
    queue.put(asking("a", 1), now);
    assert!(queue.pop(now).is_some());
    queue.remove("ns/a");
    queue.failed("ns/a", BTreeSet::new(), now);
    assert_eq!(queue.sizes().map(|(_, size)| size), [0; 4]);
}
