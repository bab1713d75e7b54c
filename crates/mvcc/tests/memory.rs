//! The engine in memory passes the conformance suite.

use kontiki_mvcc::conformance::{self, Harness};
use kontiki_mvcc::{Engine, MemoryEngine};
use std::sync::Arc;

#[derive(Default)]
struct Memory(Option<Arc<MemoryEngine>>);

impl Harness for Memory {
    fn fresh(&mut self) -> Arc<dyn Engine> {
        let engine = Arc::new(MemoryEngine::new());
        self.0 = Some(engine.clone());
        engine
    }

    fn crash(&mut self, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
        self.0.as_ref().expect("an engine was made").crash();
        engine
    }
}

#[test]
fn the_state_machine_on_memory_agrees_with_the_oracle() {
    conformance::run(&mut Memory::default(), 0..16, 250);
}

#[test]
fn readers_and_watchers_of_any_speed_see_whole_revisions_while_it_is_written() {
    conformance::stress(Arc::new(MemoryEngine::new()), 1500);
}
