//! `kontiki version`.

use anyhow::Result;

/// The version, with the Kubernetes version whose API it serves.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (Kubernetes v1.36)");

/// How to show it.
#[derive(clap::Args)]
pub struct Args {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Prints the version.
    pub fn run(self) -> Result<()> {
        if self.json {
            let version = serde_json::json!({
                "kontiki": env!("CARGO_PKG_VERSION"),
                "kubernetes": "v1.36",
                "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
            });
            return super::print(&format!("{version}\n"));
        }
        super::print(&format!("kontiki {LONG}\n"))
    }
}
