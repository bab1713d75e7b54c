//! `kontiki pki`: the authorities that the servers of a cluster share.

use anyhow::{Context, Result};
use clap::Subcommand;
use kontiki_pki::{ClusterSecrets, Profile, write_private, write_public};
use std::path::{Path, PathBuf};

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Make the authorities of a new cluster; keeps those that are there.
    ///
    /// Run it once and copy the folder to every server before its first start.
    /// Whoever holds it holds the cluster: copy it over a channel you trust.
    Init {
        /// Where to put them.
        #[arg(long, default_value = "/var/lib/kontiki/pki")]
        dir: PathBuf,
    },
    /// Write a client certificate for the store's etcd API.
    EtcdClient {
        /// Where the authorities lie.
        #[arg(long, default_value = "/var/lib/kontiki/pki")]
        pki_dir: PathBuf,
        /// Where to put ca.crt, client.crt and client.key.
        #[arg(long)]
        output: PathBuf,
        /// The client's name.
        #[arg(long, default_value = "root")]
        client_name: String,
    },
}

impl Command {
    /// Carries it out.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Init { dir } => {
                let secrets = ClusterSecrets::load_or_create(&dir, jiff::Timestamp::now())?;
                super::print(&format!(
                    "cluster CA sha256:{} in {}\n",
                    secrets.cluster.pin(),
                    dir.display()
                ))
            }
            Self::EtcdClient {
                pki_dir,
                output,
                client_name,
            } => {
                let secrets = load(&pki_dir)?;
                let profile = Profile::store_client(&client_name);
                let credentials = secrets.store.issue(&profile, jiff::Timestamp::now())?;
                std::fs::create_dir_all(&output)?;
                write_public(&output.join("ca.crt"), secrets.store.certificate_pem())?;
                write_public(&output.join("client.crt"), &credentials.chain_pem)?;
                write_private(&output.join("client.key"), credentials.key.to_pem())?;
                Ok(())
            }
        }
    }
}

/// The authorities of a folder, which must be there.
pub fn load(dir: &Path) -> Result<ClusterSecrets> {
    ClusterSecrets::load(dir)?.with_context(|| {
        format!("there are no authorities in {}; this has to run on a server, as the user the server runs as", dir.display())
    })
}
