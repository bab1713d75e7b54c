//! How commands reach the store: over its etcd API.

use anyhow::{Context, Result, bail};
use kontiki_pki::{Credentials, read_file, tls};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Whom to ask, and as whom.
#[derive(clap::Args)]
pub struct StoreArgs {
    /// The members' etcd endpoints, https://host:port, separated by commas.
    #[arg(long, value_delimiter = ',', required_unless_present = "etcd_dir")]
    endpoints: Vec<String>,
    /// A folder with ca.crt, client.crt and client.key, as `kontiki pki
    /// etcd-client` writes it; a file `endpoints` in it stands for --endpoints.
    #[arg(long)]
    etcd_dir: Option<PathBuf>,
    /// The store's CA.
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// The client's certificate.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    key: Option<PathBuf>,
}

/// How long a connection may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// One endpoint, ready to be connected to.
#[derive(Clone)]
pub struct StoreEndpoint {
    /// As it was given.
    pub url: String,
    /// `None` for an endpoint without TLS.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl StoreArgs {
    /// The endpoints in the order in which they were given.
    pub fn endpoints(&self) -> Result<Vec<StoreEndpoint>> {
        let listed = match (&self.etcd_dir, self.endpoints.is_empty()) {
            (Some(dir), true) => read_file(&dir.join("endpoints"))?,
            _ => self.endpoints.join(","),
        };
        let urls: Vec<String> = listed
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .collect();
        anyhow::ensure!(
            !urls.is_empty(),
            "no endpoint is given; name them with --endpoints"
        );
        let secure = urls.iter().any(|url| url.starts_with("https://"));
        let tls = secure.then(|| self.tls()).transpose()?;
        let mut endpoints = Vec::with_capacity(urls.len());
        for url in urls {
            let tls = match url.split_once("://") {
                Some(("https", _)) => tls.clone(),
                Some(("http", _)) => None,
                _ => bail!("{url:?} is not an endpoint; write https://host:port"),
            };
            endpoints.push(StoreEndpoint { url, tls });
        }
        Ok(endpoints)
    }

    /// Connects to the first endpoint that answers.
    pub async fn connect(&self) -> Result<Channel> {
        let mut refusals = Vec::new();
        for endpoint in self.endpoints()? {
            match endpoint.connect().await {
                Ok(channel) => return Ok(channel),
                Err(error) => refusals.push(format!("{}: {error:#}", endpoint.url)),
            }
        }
        bail!("no endpoint answers: {}", refusals.join("; "))
    }

    fn tls(&self) -> Result<Arc<rustls::ClientConfig>> {
        let file = |given: &Option<PathBuf>, name: &str, flag: &str| -> Result<String> {
            let from_dir = || self.etcd_dir.as_ref().map(|dir| dir.join(name));
            let path = given
                .clone()
                .or_else(from_dir)
                .with_context(|| format!("give {flag} or --etcd-dir"))?;
            Ok(read_file(&path)?)
        };
        let authority = file(&self.cacert, "ca.crt", "--cacert")?;
        let chain = file(&self.cert, "client.crt", "--cert")?;
        let key = file(&self.key, "client.key", "--key")?;
        let credentials = tls::Reloading::new(&Credentials::from_pem(&chain, &key)?)?;
        Ok(Arc::new(tls::client_config(
            &[&authority],
            Some(credentials),
            &tls::ALPN_H2,
        )?))
    }
}

impl StoreEndpoint {
    /// Connects. gRPC over TLS of our own: the transport's own would only take PEM files.
    pub async fn connect(&self) -> Result<Channel> {
        let plain = Endpoint::from_shared(self.url.replacen("https://", "http://", 1))?
            .connect_timeout(PATIENCE);
        let connected = match &self.tls {
            Some(tls) => kontiki_nodelink::channel::connect(plain, tls.clone())
                .await
                .map_err(|error| innermost(&error)),
            None => plain.connect().await.map_err(|error| innermost(&error)),
        };
        connected.map_err(|error| anyhow::anyhow!("{error}"))
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}
