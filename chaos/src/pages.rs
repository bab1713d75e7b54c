//! Fetching the application's page through its Service, over a new connection
//! each time.

use crate::observer::ms_since;
use crate::timeline::Ms;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xtask::fetch;

const FETCHERS: usize = 2;
const INTERVAL: Duration = Duration::from_millis(30);
const PATIENCE: Duration = Duration::from_secs(2);

/// What was fetched.
#[derive(Clone, Debug, Default)]
pub struct Fetched {
    /// When each successful fetch ended.
    pub good: Vec<Ms>,
    /// When each failed one ended, and why it failed.
    pub failed: Vec<(Ms, String)>,
}

/// Fetchers at work.
pub struct Pages {
    fetched: Arc<Mutex<Fetched>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pages {
    /// Starts them in the calling thread's network namespace.
    #[must_use]
    pub fn start(address: SocketAddr, start: Instant) -> Self {
        let (fetched, stop) = (
            Arc::<Mutex<Fetched>>::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let fetcher = |_| {
            let (fetched, stop) = (fetched.clone(), stop.clone());
            std::thread::spawn(move || fetch_until(address, start, &fetched, &stop))
        };
        let threads = (0..FETCHERS).map(fetcher).collect();
        Self {
            fetched,
            stop,
            threads,
        }
    }

    /// What was fetched so far.
    #[must_use]
    pub fn fetched(&self) -> Fetched {
        self.fetched.lock().clone()
    }

    /// Lets every fetcher finish.
    ///
    /// # Panics
    /// If one of them panicked.
    #[must_use]
    pub fn stop(self) -> Fetched {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a fetcher never panics");
        }
        self.fetched.lock().clone()
    }
}

fn fetch_until(address: SocketAddr, start: Instant, fetched: &Mutex<Fetched>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let page = fetch::page(address, PATIENCE);
        let at = ms_since(start);
        match page {
            Ok(_) => fetched.lock().good.push(at),
            Err(error) => fetched.lock().failed.push((at, format!("{error:#}"))),
        }
        std::thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
    }
}
