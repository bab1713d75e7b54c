//! `kontiki token`: the tokens with which nodes join.

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use kontiki_client::resources::SECRETS;
use kontiki_client::{Client, DeleteOptions, HttpsApi, HttpsConfig, ListParams, ResourceClient};
use kontiki_object::{Object, Value};
use kontiki_pki::kubeconfig::Kubeconfig;
use kontiki_pki::{BootstrapToken, JoinToken};
use serde_json::json;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Create a token and print it: whoever holds it can add a node.
    Create {
        #[command(flatten)]
        access: Access,
        /// How long nodes can join with it, for instance 30m or 24h; 0 for ever.
        #[arg(long, default_value = "24h", value_parser = lifetime)]
        ttl: SignedDuration,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List the tokens, without their secrets.
    List {
        #[command(flatten)]
        access: Access,
    },
    /// Revoke a token; nodes that joined with it stay.
    Revoke {
        #[command(flatten)]
        access: Access,
        /// The token's id, or the whole token.
        token: String,
    },
}

/// With which rights.
#[derive(clap::Args)]
pub struct Access {
    /// A kubeconfig that may write Secrets in kube-system.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
}

/// The type of the Secrets that are bootstrap tokens.
const TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";
/// The group that nodes are in until they have a certificate.
const GROUP: &str = "system:bootstrappers:kontiki:nodes";
/// Chosen anew this often when an id is taken.
const ID_ATTEMPTS_MAX: usize = 5;

impl Command {
    /// Carries it out.
    pub fn run(self) -> Result<()> {
        super::block_on(async {
            match self {
                Self::Create {
                    access,
                    ttl,
                    description,
                } => create(&access, ttl, &description).await,
                Self::List { access } => list(&access).await,
                Self::Revoke { access, token } => revoke(&access, &token).await,
            }
        })
    }
}

impl Access {
    fn secrets(&self) -> Result<ResourceClient> {
        let api = HttpsApi::new(HttpsConfig::from_kubeconfig_file(&self.kubeconfig)?)?;
        Ok(Client::new(Arc::new(api), "kontiki").namespaced(&SECRETS, NAMESPACE))
    }

    /// The CA of the cluster, which the token will name.
    fn authority(&self) -> Result<String> {
        use base64::Engine;
        let config = Kubeconfig::from_yaml(&kontiki_pki::read_file(&self.kubeconfig)?)?;
        let context = config
            .contexts
            .iter()
            .find(|named| named.name == config.current_context);
        let name = context
            .map(|named| named.context.cluster.as_str())
            .unwrap_or_default();
        let cluster = config.clusters.iter().find(|named| named.name == name);
        let data = cluster
            .map(|named| named.cluster.certificate_authority_data.as_str())
            .unwrap_or_default();
        let pem = base64::engine::general_purpose::STANDARD
            .decode(data)
            .ok()
            .and_then(|pem| String::from_utf8(pem).ok());
        pem.filter(|pem| !pem.is_empty()).with_context(|| {
            format!(
                "{} holds no certificate-authority-data",
                self.kubeconfig.display()
            )
        })
    }
}

async fn create(access: &Access, ttl: SignedDuration, description: &str) -> Result<()> {
    let authority = access.authority()?;
    let secrets = access.secrets()?;
    let expiration = match ttl.is_zero() {
        true => None,
        false => Some(
            Timestamp::now()
                .checked_add(ttl)
                .context("the token would outlive the calendar")?,
        ),
    };
    for _ in 0..ID_ATTEMPTS_MAX {
        let token = BootstrapToken::generate()?;
        match secrets
            .create(secret(&token, expiration, description))
            .await
        {
            Ok(_) => {
                let token = JoinToken::for_certificate(&authority, token)?;
                return super::print(&format!("{}\n", token.reveal()));
            }
            Err(status) if status.is_already_exists() => {}
            Err(status) => bail!("the token could not be created: {status}"),
        }
    }
    bail!("every id that was tried is taken; revoke tokens that are not needed")
}

/// The Secret that upstream's token authenticator and cleaner know.
fn secret(token: &BootstrapToken, expiration: Option<Timestamp>, description: &str) -> Value {
    let mut data = json!({
        "token-id": token.id(),
        "token-secret": token.secret(),
        "usage-bootstrap-authentication": "true",
        "usage-bootstrap-signing": "true",
        "auth-extra-groups": GROUP,
    });
    if let Some(expiration) = expiration {
        data["expiration"] = seconds(expiration).into();
    }
    if !description.is_empty() {
        data["description"] = description.into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": format!("{PREFIX}{}", token.id()), "namespace": NAMESPACE},
        "type": TYPE,
        "stringData": data,
    })
}

/// RFC 3339 with whole seconds, which is what upstream's cleaner reads.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

async fn list(access: &Access) -> Result<()> {
    let selected = ListParams {
        field_selector: format!("type={TYPE}"),
        ..ListParams::default()
    };
    let (secrets, _) = access
        .secrets()?
        .list(selected)
        .await
        .map_err(|status| anyhow::anyhow!("{status}"))?;
    let secrets: Vec<&Object> = secrets.iter().map(AsRef::as_ref).collect();
    super::print(&table(&secrets, Timestamp::now()))
}

/// A line a token. What is secret does not get here.
fn table(secrets: &[&Object], now: Timestamp) -> String {
    let mut out = format!(
        "{:<8} {:<10} {:<22} {}\n",
        "ID", "TTL", "EXPIRES", "DESCRIPTION"
    );
    for secret in secrets {
        let expiration = field(secret, "expiration");
        let left = match expiration.parse::<Timestamp>() {
            Ok(end) if end <= now => "expired".to_owned(),
            Ok(end) => remaining(end.duration_since(now)),
            Err(_) => "forever".to_owned(),
        };
        let expires = if expiration.is_empty() {
            "never"
        } else {
            &expiration
        };
        let line = format!(
            "{:<8} {left:<10} {expires:<22} {}",
            field(secret, "token-id"),
            field(secret, "description")
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn field(secret: &Object, name: &str) -> String {
    use base64::Engine;
    let encoded = secret.str_at(&["data", name]).unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default();
    // Whatever somebody put in there must not steer the terminal.
    String::from_utf8_lossy(&bytes)
        .chars()
        .filter(|character| !character.is_control())
        .collect()
}

fn remaining(left: SignedDuration) -> String {
    let minutes = left.as_mins();
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{}s", left.as_secs()),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes}m"),
    }
}

async fn revoke(access: &Access, token: &str) -> Result<()> {
    let id = id(token)?;
    match access
        .secrets()?
        .delete(&format!("{PREFIX}{id}"), DeleteOptions::default())
        .await
    {
        Ok(()) => super::print(&format!("token {id} is revoked\n")),
        Err(status) if status.is_not_found() => {
            bail!("there is no token {id}; `kontiki token list` shows them")
        }
        Err(status) => bail!("the token {id} could not be revoked: {status}"),
    }
}

/// The id of what may be an id, a bootstrap token or a join token.
fn id(text: &str) -> Result<String> {
    if let Ok(token) = text.parse::<JoinToken>() {
        return Ok(token.bootstrap().id().to_owned());
    }
    if let Ok(token) = text.parse::<BootstrapToken>() {
        return Ok(token.id().to_owned());
    }
    let valid = text.len() == 6
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    // What is no id may be half a token: it is not repeated.
    anyhow::ensure!(valid, "a token's id is six lower-case letters and digits");
    Ok(text.to_owned())
}

/// A hundred years; `0` is for tokens that shall not end.
const LIFETIME_SECONDS_MAX: i64 = 100 * 365 * 86_400;

/// `0`, or a duration as `90s`, `30m`, `24h`, `7d` or `1h30m`.
fn lifetime(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is not a duration; write for instance 30m, 24h or 7d");
    if text == "0" {
        return Ok(SignedDuration::ZERO);
    }
    let mut seconds: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|character: char| !character.is_ascii_digit())
            .ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more))
            .ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 || seconds > LIFETIME_SECONDS_MAX {
        Err(wrong())
    } else {
        Ok(SignedDuration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_read_as_people_write_it() {
        for (text, seconds) in [
            ("24h", 86_400),
            ("30m", 1_800),
            ("7d", 604_800),
            ("1h30m", 5_400),
            ("0", 0),
        ] {
            assert_eq!(
                lifetime(text).map(|time| time.as_secs()),
                Ok(seconds),
                "{text}"
            );
        }
        for wrong in ["", "h", "24", "-1h", "1y", "99999999999999d", "0s", "1é"] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_list_never_shows_a_secret() {
        let token: BootstrapToken = "abcdef.0123456789abcdef".parse().expect("valid");
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().expect("valid");
        let mut secret = secret(
            &token,
            Some(now + SignedDuration::from_mins(90)),
            "rack 7\u{1b}[2J",
        );
        // The server turns stringData into data.
        let given = secret["stringData"].take();
        for (name, value) in given.as_object().expect("a map") {
            use base64::Engine;
            let text = value.as_str().expect("a string");
            secret["data"][name] = base64::engine::general_purpose::STANDARD
                .encode(text)
                .into();
        }
        let object = Object::from_value(secret).expect("a map");
        let table = table(&[&object], now);
        assert!(
            table.contains("abcdef   1h30m      2030-01-01T01:30:00Z   rack 7[2J"),
            "{table}"
        );
        assert!(!table.contains("0123456789abcdef"));
    }

    #[test]
    fn a_token_is_revoked_by_whatever_of_it_is_at_hand() {
        let whole = format!("kontiki1.{}.abcdef.0123456789abcdef", "0".repeat(64));
        for text in ["abcdef", "abcdef.0123456789abcdef", &whole] {
            assert_eq!(id(text).expect("valid"), "abcdef");
        }
        let error = id("abcdef.0123456789")
            .expect_err("half a token")
            .to_string();
        assert!(!error.contains("0123456789"));
    }
}
