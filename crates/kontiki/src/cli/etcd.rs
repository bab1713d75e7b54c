//! `kontiki etcd`: the store alone, with etcd's flags.

use super::snapshot::parse_member;
use crate::etcd::{Compaction, EtcdConfig, ListenUrl, TlsFiles};
use crate::snapshots::Schedule;
use anyhow::{Context, Result, bail, ensure};
use clap::{ArgAction, ValueEnum};
use kontiki_etcd::{Jwt, Tokens};
use kontiki_raft::{InitialMember, InitialState, Timing};
use std::path::PathBuf;
use std::time::Duration;

/// As etcd has it.
const JWT_TTL: Duration = Duration::from_secs(300);

/// etcd's flags, each also as an environment variable (`ETCD_NAME` …).
#[derive(clap::Args)]
pub struct Args {
    /// This member's name.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    name: String,
    /// Where everything lies; by default NAME.etcd.
    #[arg(long, env = "ETCD_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen for clients.
    #[arg(
        long,
        env = "ETCD_LISTEN_CLIENT_URLS",
        value_delimiter = ',',
        default_value = "http://localhost:2379"
    )]
    listen_client_urls: Vec<String>,
    /// Where clients reach this member.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<String>,
    /// Where to listen for peers.
    #[arg(
        long,
        env = "ETCD_LISTEN_PEER_URLS",
        default_value = "http://localhost:2380"
    )]
    listen_peer_urls: String,
    /// Where peers reach this member.
    #[arg(long, env = "ETCD_INITIAL_ADVERTISE_PEER_URLS")]
    initial_advertise_peer_urls: Option<String>,
    /// Every member of the cluster, NAME=URL, separated by commas.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER", value_delimiter = ',', value_parser = parse_member)]
    initial_cluster: Vec<InitialMember>,
    /// Whether the cluster is to be made, or to be joined.
    #[arg(long, env = "ETCD_INITIAL_CLUSTER_STATE", default_value = "new")]
    initial_cluster_state: State,
    /// Tells clusters apart that have members of the same names.
    #[arg(
        long,
        env = "ETCD_INITIAL_CLUSTER_TOKEN",
        default_value = "etcd-cluster"
    )]
    initial_cluster_token: String,
    /// The certificate shown to clients.
    #[arg(long, env = "ETCD_CERT_FILE")]
    cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// Who signs clients' certificates.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE")]
    trusted_ca_file: Option<PathBuf>,
    /// Demand certificates of clients.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    client_cert_auth: bool,
    /// The certificate shown to peers.
    #[arg(long, env = "ETCD_PEER_CERT_FILE")]
    peer_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, env = "ETCD_PEER_KEY_FILE")]
    peer_key_file: Option<PathBuf>,
    /// Who signs peers' certificates.
    #[arg(long, env = "ETCD_PEER_TRUSTED_CA_FILE")]
    peer_trusted_ca_file: Option<PathBuf>,
    /// Demand certificates of peers; always done when there is a peer CA.
    #[arg(long, env = "ETCD_PEER_CLIENT_CERT_AUTH", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = ArgAction::Set)]
    peer_client_cert_auth: bool,
    /// Bytes in use above which only deletions and compactions are taken; 0: no quota.
    #[arg(
        long,
        env = "ETCD_QUOTA_BACKEND_BYTES",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    quota_backend_bytes: i64,
    /// What --auto-compaction-retention counts.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "periodic")]
    auto_compaction_mode: CompactionMode,
    /// How much history to keep: a duration (hours if it is a plain number) or a
    /// number of revisions; 0: all.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "0")]
    auto_compaction_retention: String,
    /// Milliseconds between heartbeats.
    #[arg(long, env = "ETCD_HEARTBEAT_INTERVAL")]
    heartbeat_interval: Option<u64>,
    /// Milliseconds without a heartbeat until a member wants to lead.
    #[arg(long, env = "ETCD_ELECTION_TIMEOUT")]
    election_timeout: Option<u64>,
    /// Applied entries until the log is cut.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", default_value_t = 20_000)]
    snapshot_count: u64,
    /// Bytes of the largest request.
    #[arg(long, env = "ETCD_MAX_REQUEST_BYTES", default_value_t = 1_572_864)]
    max_request_bytes: usize,
    /// Operations in a transaction.
    #[arg(long, env = "ETCD_MAX_TXN_OPS", default_value_t = 128)]
    max_txn_ops: usize,
    /// Refuse changes of the membership that would lose the quorum.
    #[arg(long, env = "ETCD_STRICT_RECONFIG_CHECK", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    strict_reconfig_check: bool,
    /// How users' tokens are made: `simple`, or `jwt,sign-method=ES256,priv-key=FILE,pub-key=FILE,ttl=10m`.
    #[arg(long, env = "ETCD_AUTH_TOKEN", default_value = "simple")]
    auth_token: String,
    /// Seconds that a simple token is good.
    #[arg(long, env = "ETCD_AUTH_TOKEN_TTL", default_value_t = 86_400)]
    auth_token_ttl: u64,
    /// Answer reads from this member alone when there is no leader; such answers say so.
    #[arg(long, env = "KONTIKI_STALE_READS")]
    stale_reads: bool,
    /// Set this member's data aside if it is corrupt, and rebuild it from the others.
    #[arg(long, env = "KONTIKI_REBUILD_CORRUPT_MEMBER", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = true, action = ArgAction::Set)]
    rebuild_corrupt_member: bool,
    /// Keys by which what lies on the disk is encrypted; docs/store.md tells of them.
    #[arg(long, env = "KONTIKI_ENCRYPTION_KEY_FILE")]
    encryption_key_file: Option<PathBuf>,
    /// How often to save a snapshot of this member, for instance 6h; 0: never.
    #[arg(long, env = "KONTIKI_SNAPSHOT_EVERY", default_value = "0")]
    snapshot_every: String,
    /// How many of these to keep.
    #[arg(long, env = "KONTIKI_SNAPSHOT_KEEP", default_value_t = 5)]
    snapshot_keep: usize,
    /// Where to put them; by default the folder `snapshots` in the data directory.
    #[arg(long, env = "KONTIKI_SNAPSHOT_DIR")]
    snapshot_dir: Option<PathBuf>,
    /// debug, info, warn or error.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    log_level: String,
    /// Taken for etcd's sake; there is one logger.
    #[arg(long, env = "ETCD_LOGGER", hide = true)]
    logger: Option<String>,
    /// Taken for etcd's sake; logs go to the standard error.
    #[arg(long, env = "ETCD_LOG_OUTPUTS", hide = true)]
    log_outputs: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum State {
    New,
    Existing,
}

#[derive(Clone, Copy, ValueEnum)]
enum CompactionMode {
    Periodic,
    Revision,
}

impl Args {
    /// Runs it.
    pub fn run(self) -> Result<()> {
        let level = self.log_level.clone();
        let config = self.config()?;
        super::ended(super::run::runtime()?.block_on(crate::etcd::run(config, &level))?)
    }

    fn config(self) -> Result<EtcdConfig> {
        let listen_peer = ListenUrl::parse(&self.listen_peer_urls)?;
        let advertised = match &self.initial_advertise_peer_urls {
            Some(url) => ListenUrl::parse(url)?,
            None => listen_peer.clone(),
        };
        let mut members = self.initial_cluster;
        if members.is_empty() {
            members.push(InitialMember {
                name: self.name.clone(),
                peer_address: advertised.address.clone(),
            });
        }
        let listen_clients: Vec<ListenUrl> = self
            .listen_client_urls
            .iter()
            .map(|url| ListenUrl::parse(url))
            .collect::<Result<_>>()?;
        let client_tls = tls_files(self.cert_file, self.key_file, self.trusted_ca_file)?;
        ensure!(
            client_tls.is_some() || listen_clients.iter().all(|url| !url.secure),
            "an https listener needs --cert-file and --key-file"
        );
        let peer_tls = tls_files(
            self.peer_cert_file,
            self.peer_key_file,
            self.peer_trusted_ca_file,
        )?;
        ensure!(
            peer_tls.is_some() == listen_peer.secure,
            "--listen-peer-urls and the --peer-*-file flags do not fit together: https needs certificates, http takes none"
        );
        ensure!(
            !self.peer_client_cert_auth
                || peer_tls.as_ref().is_some_and(|tls| tls.authority.is_some()),
            "--peer-client-cert-auth needs --peer-trusted-ca-file"
        );
        let advertised_clients = if self.advertise_client_urls.is_empty() {
            self.listen_client_urls.clone()
        } else {
            self.advertise_client_urls
        };
        let data_dir = self
            .data_dir
            .unwrap_or_else(|| format!("{}.etcd", self.name).into());
        let snapshot_every = match self.snapshot_every.as_str() {
            "0" => Duration::ZERO,
            text => duration(text)?,
        };
        let snapshots = (!snapshot_every.is_zero()).then(|| Schedule {
            dir: self
                .snapshot_dir
                .unwrap_or_else(|| data_dir.join("snapshots")),
            every: snapshot_every,
            keep: self.snapshot_keep.max(1),
            peer_scheme: if peer_tls.is_some() { "https" } else { "http" },
        });
        Ok(EtcdConfig {
            data_dir,
            stale_reads: self.stale_reads,
            rebuild_corrupt_member: self.rebuild_corrupt_member,
            encryption_key_file: self.encryption_key_file,
            tokens: tokens(&self.auth_token, self.auth_token_ttl)?,
            snapshots,
            name: self.name,
            listen_clients,
            advertised_clients,
            listen_peer,
            members,
            initial_state: match self.initial_cluster_state {
                State::New => InitialState::New,
                State::Existing => InitialState::Existing,
            },
            token: self.initial_cluster_token,
            client_tls,
            client_cert_auth: self.client_cert_auth,
            peer_tls,
            quota_bytes: u64::try_from(self.quota_backend_bytes)
                .ok()
                .filter(|bytes| *bytes > 0),
            compaction: compaction(self.auto_compaction_mode, &self.auto_compaction_retention)?,
            timing: timing(self.heartbeat_interval, self.election_timeout)?,
            log_entries_max: self.snapshot_count.max(1),
            request_bytes_max: self.max_request_bytes,
            txn_ops_max: self.max_txn_ops,
            strict_reconfig: self.strict_reconfig_check,
        })
    }
}

fn tls_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    authority: Option<PathBuf>,
) -> Result<Option<TlsFiles>> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
            certificate,
            key,
            authority,
        })),
        (None, None) => Ok(None),
        _ => bail!("a certificate needs its key and a key its certificate"),
    }
}

/// etcd's election timeout is the whole wait; here a follower that has heard
/// nothing for `election_max` waits `election_min` more.
fn timing(heartbeat: Option<u64>, election: Option<u64>) -> Result<Timing> {
    let mut timing = Timing::default();
    if let Some(heartbeat) = heartbeat {
        timing.heartbeat = Duration::from_millis(heartbeat);
    }
    if let Some(election) = election {
        ensure!(
            election >= 5 * u64::try_from(timing.heartbeat.as_millis())?,
            "--election-timeout has to be at least five times --heartbeat-interval"
        );
        timing.election_max = Duration::from_millis(election / 2);
        timing.election_min = Duration::from_millis(election * 3 / 10);
    } else if heartbeat.is_some() {
        timing.election_min = timing.heartbeat * 3;
        timing.election_max = timing.heartbeat * 5;
    }
    Ok(timing)
}

fn compaction(mode: CompactionMode, retention: &str) -> Result<Option<Compaction>> {
    let number = retention.parse::<u64>();
    if number == Ok(0) {
        return Ok(None);
    }
    Ok(Some(match (mode, number) {
        (CompactionMode::Revision, Ok(revisions)) => {
            Compaction::Revisions(i64::try_from(revisions)?)
        }
        (CompactionMode::Revision, Err(_)) => bail!("{retention:?} is no number of revisions"),
        (CompactionMode::Periodic, Ok(hours)) => Compaction::Age(Duration::from_secs(hours * 3600)),
        (CompactionMode::Periodic, Err(_)) => Compaction::Age(duration(retention)?),
    }))
}

/// etcd's `--auth-token`: a kind, and after commas what it needs.
fn tokens(text: &str, ttl_seconds: u64) -> Result<Tokens> {
    let mut parts = text.split(',');
    let simple = Tokens {
        ttl: Duration::from_secs(ttl_seconds),
        ..Tokens::default()
    };
    match parts.next() {
        Some("simple") => return Ok(simple),
        Some("jwt") => {}
        _ => bail!("--auth-token {text:?} is neither simple nor jwt"),
    }
    let (mut method, mut public, mut private, mut ttl) = (None, None, None, JWT_TTL);
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        match name {
            "sign-method" => method = Some(value),
            "pub-key" => {
                public = Some(std::fs::read(value).with_context(|| format!("cannot read {value}"))?)
            }
            "priv-key" => {
                private =
                    Some(std::fs::read(value).with_context(|| format!("cannot read {value}"))?)
            }
            "ttl" => ttl = duration(value)?,
            _ => bail!("--auth-token jwt has no option {name:?}"),
        }
    }
    let method = method.context("--auth-token jwt needs sign-method")?;
    let jwt = Jwt::new(method, public.as_deref(), private.as_deref())?;
    Ok(Tokens {
        ttl,
        jwt: Some(jwt),
    })
}

/// `1h30m`, `90s`, `500ms`.
fn duration(text: &str) -> Result<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let letters = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len() - digits);
        let number: u64 = rest[..digits]
            .parse()
            .with_context(|| format!("{text:?} is no duration"))?;
        let unit_ms = match &rest[digits..digits + letters] {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => bail!("{text:?} is no duration; write for instance 1h30m"),
        };
        total += Duration::from_millis(number.checked_mul(unit_ms).context("too long a duration")?);
        rest = &rest[digits + letters..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &[&str]) -> Result<EtcdConfig> {
        Alone::try_parse_from([&["etcd"], flags].concat())?
            .args
            .config()
    }

    #[test]
    fn without_flags_it_is_a_member_of_its_own_on_etcds_ports() {
        let config = parse(&[]).expect("valid");
        assert_eq!((config.name.as_str(), config.members.len()), ("default", 1));
        assert_eq!(config.listen_clients[0].address, "localhost:2379");
        assert_eq!(config.members[0].peer_address, "localhost:2380");
        assert_eq!(config.timing, Timing::default());
        assert!(config.quota_bytes.is_none() && config.compaction.is_none());
    }

    #[test]
    fn etcds_flags_are_taken_as_etcd_takes_them() {
        let config = parse(&[
            "--name=m1",
            "--listen-client-urls=http://1.2.3.4:1,http://5.6.7.8:2",
            "--listen-peer-urls=http://0.0.0.0:3",
            "--initial-advertise-peer-urls=http://1.2.3.4:3",
            "--initial-cluster=m1=http://1.2.3.4:3,m2=http://1.2.3.5:3",
            "--initial-cluster-state=existing",
            "--strict-reconfig-check=false",
            "--auto-compaction-retention=1h30m",
            "--election-timeout=500",
            "--heartbeat-interval",
            "50",
            "--quota-backend-bytes=1000",
        ])
        .expect("valid");
        assert_eq!((config.listen_clients.len(), config.members.len()), (2, 2));
        assert_eq!(config.initial_state, InitialState::Existing);
        assert_eq!(
            config.compaction,
            Some(Compaction::Age(Duration::from_secs(5400)))
        );
        assert_eq!(config.timing.election_max, Duration::from_millis(250));
        assert_eq!(
            (config.quota_bytes, config.strict_reconfig),
            (Some(1000), false)
        );
        let revisions = parse(&[
            "--auto-compaction-mode=revision",
            "--auto-compaction-retention=7",
        ]);
        assert_eq!(
            revisions.expect("valid").compaction,
            Some(Compaction::Revisions(7))
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for flags in [
            &["--listen-client-urls=https://h:1"][..],
            &["--listen-peer-urls=https://h:1"],
            &["--cert-file=c"],
            &["--election-timeout=300"],
            &["--auto-compaction-retention=1x"],
            &["--listen-client-urls=h:1"],
        ] {
            assert!(parse(flags).is_err(), "{flags:?}");
        }
    }
}
