//! `kontiki kubeconfig`: credentials for people and programs.

use anyhow::Result;
use clap::{Args, Subcommand};
use kontiki_pki::kubeconfig::Kubeconfig;
use kontiki_pki::{Profile, write_private};
use std::path::PathBuf;

/// What to write.
#[derive(Subcommand)]
pub enum Command {
    /// For the administrator, who may do everything.
    Admin {
        #[command(flatten)]
        common: Common,
    },
    /// For a user with a name and groups; RBAC says what they may do.
    User {
        /// The user's name.
        #[arg(long)]
        client_name: String,
        /// A group of the user; may be given several times.
        #[arg(long)]
        org: Vec<String>,
        /// How long the certificate is valid, in days.
        #[arg(long, default_value_t = 365)]
        days: u16,
        #[command(flatten)]
        common: Common,
    },
}

/// What every kubeconfig needs.
#[derive(Args)]
pub struct Common {
    /// Where the authorities lie.
    #[arg(long, default_value = "/var/lib/kontiki/pki")]
    pki_dir: PathBuf,
    /// URL of the API.
    #[arg(long, default_value = "https://127.0.0.1:6443")]
    server: String,
    /// The cluster's name in the file.
    #[arg(long, default_value = "kontiki")]
    cluster_name: String,
    /// The file to write; standard output if it is not given.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

impl Command {
    /// Writes it.
    pub fn run(self) -> Result<()> {
        let (profile, common) = match self {
            Self::Admin { common } => (Profile::admin(), common),
            Self::User {
                client_name,
                org,
                days,
                common,
            } => {
                let groups: Vec<&str> = org.iter().map(String::as_str).collect();
                let lifetime = jiff::SignedDuration::from_hours(24 * i64::from(days));
                (
                    Profile::client(&client_name, &groups).valid_for(lifetime),
                    common,
                )
            }
        };
        let secrets = super::pki::load(&common.pki_dir)?;
        let credentials = secrets.cluster.issue(&profile, jiff::Timestamp::now())?;
        let kubeconfig = Kubeconfig::new(
            &common.cluster_name,
            &common.server,
            secrets.cluster.certificate_pem(),
            &profile.common_name,
            &credentials,
        );
        match common.output {
            Some(path) => Ok(write_private(&path, &kubeconfig.to_yaml())?),
            None => super::print(&kubeconfig.to_yaml()),
        }
    }
}
