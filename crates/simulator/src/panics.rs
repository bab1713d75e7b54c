//! Panics in the store's tasks, which their runtimes would swallow.

use crate::ledger::Ledger;
use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static LISTENER: RefCell<Option<Ledger>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// From here on the ledger hears of panics on this thread.
pub(crate) fn listen(ledger: &Ledger) {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let heard = LISTENER.with_borrow(|listener| {
                if let Some(ledger) = listener {
                    ledger.panicked(info.to_string());
                }
                listener.is_some()
            });
            if !heard {
                usual(info);
            }
        }));
    });
    LISTENER.set(Some(ledger.clone()));
}

pub(crate) fn stop_listening() {
    LISTENER.set(None);
}
