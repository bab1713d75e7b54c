use super::*;
use crate::testing::MemoryApi;
use std::sync::Arc;
use tokio::sync::mpsc;

struct Candidate {
    cancel: CancellationToken,
    status: watch::Receiver<LeaderStatus>,
    task: tokio::task::JoinHandle<()>,
}

/// A candidate whose payload tells when its terms begin and end.
fn stand(
    api: &Arc<MemoryApi>,
    clock: &Clock,
    name: &str,
    log: &mpsc::UnboundedSender<String>,
) -> Candidate {
    stand_with(api, clock, name, log, None)
}

fn stand_with(
    api: &Arc<MemoryApi>,
    clock: &Clock,
    name: &str,
    log: &mpsc::UnboundedSender<String>,
    witness: Option<Arc<dyn Witness>>,
) -> Candidate {
    let client = Client::new(api.clone(), "test");
    let config = LeaderConfig::new("kube-scheduler", name);
    let mut elector = LeaderElector::new(&client, config, clock.clone());
    if let Some(witness) = witness {
        elector = elector.with_witness(witness);
    }
    let status = elector.status();
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (cancel, log, name) = (cancel.clone(), log.clone(), name.to_owned());
        async move {
            elector
                .run(cancel, move |term| {
                    let (log, name) = (log.clone(), name.clone());
                    async move {
                        let _ = log.send(format!("{name} starts"));
                        term.cancelled().await;
                        let _ = log.send(format!("{name} stops"));
                    }
                })
                .await;
        }
    });
    Candidate {
        cancel,
        status,
        task,
    }
}

fn setting() -> (Arc<MemoryApi>, Clock) {
    let clock = Clock::following_tokio("2026-01-02T03:04:05Z".parse().expect("a time"));
    (Arc::new(MemoryApi::new(clock.clone())), clock)
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_over_at_once() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let mut a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    let mut b = stand(&api, &clock, "b", &log);
    b.status
        .wait_for(|status| status.holder == "a")
        .await
        .expect("stands");
    a.status
        .wait_for(|status| status.leading)
        .await
        .expect("leads");
    let start = Instant::now();
    a.cancel.cancel();
    assert_eq!(events.recv().await.as_deref(), Some("a stops"));
    assert_eq!(events.recv().await.as_deref(), Some("b starts"));
    assert!(start.elapsed() < Duration::from_millis(10));
    a.task.await.expect("no panic");
    let status = b.status.borrow().clone();
    assert!(status.leading && status.transitions == 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_replaced_when_its_lease_has_run_out() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    let _b = stand(&api, &clock, "b", &log);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(events.try_recv().is_err(), "a renews, b waits");
    a.task.abort();
    let start = Instant::now();
    assert_eq!(events.recv().await.as_deref(), Some("b starts"));
    let seconds = start.elapsed().as_secs_f64();
    assert!((12.0..=15.1).contains(&seconds), "took {seconds} s");
}

/// Knows who has ended.
#[derive(Default)]
struct Obituary(parking_lot::Mutex<Vec<String>>);

#[async_trait]
impl Witness for Obituary {
    async fn has_ended(&self, holder: &str) -> bool {
        self.0.lock().iter().any(|ended| ended == holder)
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_has_ended_is_replaced_early() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let ended = Arc::new(Obituary::default());
    let a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    let _b = stand_with(&api, &clock, "b", &log, Some(ended.clone()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    a.task.abort();
    ended.0.lock().push("a".into());
    let start = Instant::now();
    assert_eq!(events.recv().await.as_deref(), Some("b starts"));
    let seconds = start.elapsed().as_secs_f64();
    assert!((0.5..=3.0).contains(&seconds), "took {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_renews_keeps_its_lease_whatever_is_said_of_it() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let ended = Arc::new(Obituary::default());
    ended.0.lock().push("a".into());
    let _a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    let _b = stand_with(&api, &clock, "b", &log, Some(ended));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(events.try_recv().is_err(), "a renews, b waits");
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_that_has_not_ended_keeps_its_lease_until_it_has_run_out() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    let nobody = Arc::new(Obituary::default());
    let _b = stand_with(&api, &clock, "b", &log, Some(nobody));
    tokio::time::sleep(Duration::from_secs(5)).await;
    a.task.abort();
    let start = Instant::now();
    assert_eq!(events.recv().await.as_deref(), Some("b starts"));
    let seconds = start.elapsed().as_secs_f64();
    assert!((12.0..=15.1).contains(&seconds), "took {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_may_start() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let mut a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    a.status
        .wait_for(|status| status.leading)
        .await
        .expect("leads");
    let start = Instant::now();
    api.fail_writes(Some(Status::unavailable("no quorum")));
    assert_eq!(events.recv().await.as_deref(), Some("a stops"));
    let seconds = start.elapsed().as_secs_f64();
    assert!((9.0..=12.1).contains(&seconds), "took {seconds} s");
    assert!(!a.task.is_finished(), "the process stays and stands again");
    api.fail_writes(None);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
}

#[tokio::test(start_paused = true)]
async fn a_candidate_that_returns_with_its_identity_need_not_wait() {
    let (api, clock) = setting();
    let (log, mut events) = mpsc::unbounded_channel();
    let a = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    a.task.abort();
    let start = Instant::now();
    let _again = stand(&api, &clock, "a", &log);
    assert_eq!(events.recv().await.as_deref(), Some("a starts"));
    assert!(start.elapsed() < Duration::from_millis(10));
}
