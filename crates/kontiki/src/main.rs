//! `kontiki`: every role of the cluster in one binary.

mod agent;
mod cli;
mod config;
mod etcd;
mod process_metrics;
mod replica;
mod server;
mod snapshots;

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

// The servers allocate from many threads; the system's allocator keeps far more
// memory after a burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages, and an idle server would hold twice the
    // memory for them. Where the kernel refuses, it only costs memory.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let cli = cli::Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The logs may not be set up yet, and a person is waiting.
            let _ = writeln!(std::io::stderr(), "kontiki: {error:#}");
            ExitCode::FAILURE
        }
    }
}
