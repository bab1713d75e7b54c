//! `kontiki completion`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Which shell.
#[derive(clap::Args)]
pub struct Args {
    /// The shell, for instance `source <(kontiki completion bash)`.
    shell: Shell,
}

impl Args {
    /// Prints the script.
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut super::Cli::command(),
            "kontiki",
            &mut script,
        );
        super::print(&String::from_utf8_lossy(&script))
    }
}
