//! Images: whether they are here, and getting them if they may be got.

use crate::backoff::Backoff;
use crate::container::ImageUser;
use crate::cri::Cri;
use crate::env::{SourceKind, Sources, data};
use crate::plan::Waiting;
use crate::spec::{self, PodExt};
use jiff::{SignedDuration, Timestamp};
use k8s_cri::v1::{AuthConfig, Image, ImageSpec, ImageStatusRequest, PullImageRequest};
use k8s_openapi::api::core::v1::{Container, Pod};
use kontiki_client::EventType;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

/// An image that is here.
pub struct Present {
    /// The runtime's name for it.
    pub image_ref: String,
    /// The user in it.
    pub user: ImageUser,
}

/// What is told of the way there.
pub type Tell<'a> = &'a (dyn Fn(EventType, &str, String) + Send + Sync);

/// Gets images.
pub struct Images {
    cri: Cri,
    pulls: Semaphore,
    failures: Mutex<Failures>,
}

struct Failures {
    backoff: Backoff,
    last: std::collections::HashMap<String, (Timestamp, String)>,
}

/// When an image is got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    fn of(container: &Container, image: &str) -> Self {
        match container.image_pull_policy.as_deref() {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if tag(image) == Some("latest") => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

/// The tag of a name: `latest` without one, none with a digest.
fn tag(image: &str) -> Option<&str> {
    if image.contains('@') {
        return None;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    Some(last.split_once(':').map_or("latest", |(_, tag)| tag))
}

/// Whether a name can be one of an image.
fn is_valid(image: &str) -> bool {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let (path, tag) = match name.rsplit_once('/') {
        Some((path, last)) => match last.split_once(':') {
            Some((last, tag)) => (format!("{path}/{last}"), Some(tag)),
            None => (name.to_owned(), None),
        },
        None => match name.split_once(':') {
            Some((name, tag)) => (name.to_owned(), Some(tag)),
            None => (name.to_owned(), None),
        },
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let tag_is_valid = tag.is_none_or(|tag| {
        !tag.is_empty()
            && tag.len() <= 128
            && tag.chars().all(is_word)
            && !tag.starts_with(['.', '-'])
    });
    let digest_is_valid = digest.is_none_or(|digest| {
        digest.split_once(':').is_some_and(|(kind, hex)| {
            !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    });
    let parts: Vec<&str> = path.split('/').collect();
    let part_is_valid = |(index, part): (usize, &&str)| {
        let is_host = index == 0 && parts.len() > 1;
        let is_lower =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
        let is_host_char =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        let ends = |c: char| matches!(c, '.' | '-' | '_');
        !part.is_empty()
            && if is_host {
                part.chars().all(is_host_char)
            } else {
                part.chars().all(is_lower)
            }
            && !part.starts_with(ends)
            && !part.ends_with(ends)
    };
    tag_is_valid && digest_is_valid && parts.iter().enumerate().all(part_is_valid)
}

/// The registry of an image's name.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

impl Images {
    /// Gets at most `parallel_max` images at once.
    #[must_use]
    pub fn new(cri: Cri, parallel_max: usize) -> Self {
        let backoff = Backoff::new(
            SignedDuration::from_secs(10),
            SignedDuration::from_secs(300),
        );
        let failures = Failures {
            backoff,
            last: std::collections::HashMap::new(),
        };
        Self {
            cri,
            pulls: Semaphore::new(parallel_max.max(1)),
            failures: Mutex::new(failures),
        }
    }

    /// Sees to it that a container's image is here.
    ///
    /// # Errors
    /// What the container waits for.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        sources: &dyn Sources,
        now: Timestamp,
        tell: Tell<'_>,
    ) -> Result<Present, Waiting> {
        let image = container.image.as_deref().unwrap_or_default();
        let waiting = |reason: &str, message: String| Waiting {
            reason: reason.to_owned(),
            message,
        };
        if !is_valid(image) {
            let message = format!(
                "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
            );
            tell(EventType::Warning, "InspectFailed", message.clone());
            return Err(waiting("InvalidImageName", message));
        }
        let policy = PullPolicy::of(container, image);
        let here = self.status(image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            tell(EventType::Warning, "InspectFailed", message.clone());
            waiting("ImageInspectError", message)
        })?;
        match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(present)) => {
                let message = format!(
                    "Container image {image:?} already present on machine and can be accessed by the pod"
                );
                tell(EventType::Normal, "Pulled", message);
                return Ok(present);
            }
            (PullPolicy::Never, None) => {
                let message =
                    format!("Container image {image:?} is not present with pull policy of Never");
                tell(EventType::Warning, "ErrImageNeverPull", message.clone());
                return Err(waiting("ErrImageNeverPull", message));
            }
            _ => {}
        }
        let key = format!("{}_{image}", pod.uid());
        if let Some(error) = self.backing_off(&key, now) {
            tell(
                EventType::Normal,
                "BackOff",
                format!("Back-off pulling image {image:?}"),
            );
            return Err(waiting(
                "ImagePullBackOff",
                format!("Back-off pulling image {image:?}: ErrImagePull: {error}"),
            ));
        }
        self.pull(pod, image, &key, sources, now, tell).await
    }

    /// When the next try for any image of a pod is due.
    #[must_use]
    pub fn next_try(&self, pod: &Pod, now: Timestamp) -> Option<Timestamp> {
        let failures = self.failures.lock();
        let prefix = format!("{}_", pod.uid());
        let mine = failures
            .last
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix));
        mine.filter_map(|(key, (failed_at, _))| {
            Some(failures.backoff.waiting(key, *failed_at, now)?.1)
        })
        .min()
    }

    /// Forgets the failures of a pod that is gone.
    pub fn forget(&self, pod_uid: &str) {
        let prefix = format!("{pod_uid}_");
        let mut failures = self.failures.lock();
        let keys: Vec<String> = failures
            .last
            .keys()
            .filter(|key| key.starts_with(&prefix))
            .cloned()
            .collect();
        for key in keys {
            failures.last.remove(&key);
            failures.backoff.reset(&key);
        }
    }

    fn backing_off(&self, key: &str, now: Timestamp) -> Option<String> {
        let failures = self.failures.lock();
        let (failed_at, error) = failures.last.get(key)?;
        failures
            .backoff
            .waiting(key, *failed_at, now)
            .map(|_| error.clone())
    }

    async fn pull(
        &self,
        pod: &Pod,
        image: &str,
        key: &str,
        sources: &dyn Sources,
        now: Timestamp,
        tell: Tell<'_>,
    ) -> Result<Present, Waiting> {
        tell(
            EventType::Normal,
            "Pulling",
            format!("Pulling image {image:?}"),
        );
        let queued = std::time::Instant::now();
        let _permit = self
            .pulls
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let started = std::time::Instant::now();
        match self.fetch(pod, image, sources).await {
            Ok(Some((present, size))) => {
                let mut failures = self.failures.lock();
                failures.last.remove(key);
                failures.backoff.reset(key);
                let (took, all) = (started.elapsed().as_millis(), queued.elapsed().as_millis());
                tell(
                    EventType::Normal,
                    "Pulled",
                    format!(
                        "Successfully pulled image {image:?} in {took}ms ({all}ms including waiting). \
                         Image size: {size} bytes."
                    ),
                );
                Ok(present)
            }
            Ok(None) => Err(self.failed(
                image,
                key,
                "the image is gone again after it was pulled",
                now,
                tell,
            )),
            Err(error) => Err(self.failed(image, key, &error.to_string(), now, tell)),
        }
    }

    fn failed(
        &self,
        image: &str,
        key: &str,
        error: &str,
        now: Timestamp,
        tell: Tell<'_>,
    ) -> Waiting {
        let message = format!("failed to pull and unpack image {image:?}: {error}");
        tell(
            EventType::Warning,
            "Failed",
            format!("Failed to pull image {image:?}: {error}"),
        );
        let mut failures = self.failures.lock();
        failures.backoff.tried(key, now, now);
        failures
            .last
            .insert(key.to_owned(), (now, error.to_owned()));
        let message = if error.contains(image) {
            error.to_owned()
        } else {
            message
        };
        Waiting {
            reason: "ErrImagePull".to_owned(),
            message,
        }
    }

    async fn fetch(
        &self,
        pod: &Pod,
        image: &str,
        sources: &dyn Sources,
    ) -> crate::cri::CriResult<Option<(Present, u64)>> {
        let mut keys: Vec<Option<AuthConfig>> = credentials(pod, image, sources)
            .into_iter()
            .map(Some)
            .collect();
        keys.push(None);
        let mut last = None;
        for auth in keys {
            let spec = ImageSpec {
                image: image.to_owned(),
                ..ImageSpec::default()
            };
            match self
                .cri
                .pull_image(PullImageRequest {
                    image: Some(spec),
                    auth,
                    sandbox_config: None,
                })
                .await
            {
                Ok(_) => {
                    let found = self.inspect(image).await?;
                    return Ok(found.map(|found| (present(&found), found.size)));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("at least the anonymous try was made"))
    }

    async fn inspect(&self, image: &str) -> crate::cri::CriResult<Option<Image>> {
        let spec = ImageSpec {
            image: image.to_owned(),
            ..ImageSpec::default()
        };
        let request = ImageStatusRequest {
            image: Some(spec),
            verbose: false,
        };
        Ok(self.cri.image_status(request).await?.image)
    }

    async fn status(&self, image: &str) -> crate::cri::CriResult<Option<Present>> {
        Ok(self.inspect(image).await?.as_ref().map(present))
    }
}

fn present(image: &Image) -> Present {
    let user = ImageUser {
        uid: image.uid.as_ref().map(|uid| uid.value),
        name: image.username.clone(),
    };
    Present {
        image_ref: image.id.clone(),
        user,
    }
}

/// The keys that a pod has for an image's registry.
fn credentials(pod: &Pod, image: &str, sources: &dyn Sources) -> Vec<AuthConfig> {
    let wanted = registry(image);
    let mut found = Vec::new();
    for reference in spec::of(pod).image_pull_secrets.iter().flatten() {
        let Some(secret) = sources.secret(pod.namespace(), &reference.name) else {
            continue;
        };
        let config = data(SourceKind::Secret, &secret, ".dockerconfigjson")
            .and_then(|text| serde_json::from_slice(&text).ok());
        let old = data(SourceKind::Secret, &secret, ".dockercfg")
            .and_then(|text| serde_json::from_slice(&text).ok());
        let auths: Option<Value> = config
            .map(|mut config: Value| config["auths"].take())
            .or(old);
        for (server, auth) in auths
            .as_ref()
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let host = server
                .trim_start_matches("https://")
                .trim_start_matches("http://");
            let host = host.split('/').next().unwrap_or(host);
            let host = if host == "index.docker.io" {
                "docker.io"
            } else {
                host
            };
            if host != wanted {
                continue;
            }
            let text = |field: &str| auth[field].as_str().unwrap_or_default().to_owned();
            found.push(AuthConfig {
                username: text("username"),
                password: text("password"),
                auth: text("auth"),
                identity_token: text("identitytoken"),
                server_address: server.clone(),
                ..AuthConfig::default()
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_checked() {
        for (image, valid) in [
            ("busybox", true),
            ("busybox:1.36", true),
            ("localhost:5000/a/b_c:x", true),
            (
                "registry.example.com/a@sha256:0123456789abcdef0123456789abcdef",
                true,
            ),
            ("Busybox", false),
            ("", false),
            ("busybox:", false),
            ("a//b", false),
            ("a b", false),
            ("busybox@sha256:xyz", false),
            ("registry/-a", false),
        ] {
            assert_eq!(is_valid(image), valid, "{image}");
        }
    }

    #[test]
    fn the_policy_follows_the_tag_unless_it_is_stated() {
        for (image, stated, expected) in [
            ("a", None, PullPolicy::Always),
            ("a:latest", None, PullPolicy::Always),
            ("localhost:5000/a", None, PullPolicy::Always),
            ("a:1", None, PullPolicy::IfNotPresent),
            ("a@sha256:1", None, PullPolicy::IfNotPresent),
            ("a", Some("Never"), PullPolicy::Never),
            ("a:1", Some("Always"), PullPolicy::Always),
        ] {
            let container = Container {
                image_pull_policy: stated.map(str::to_owned),
                ..Container::default()
            };
            assert_eq!(PullPolicy::of(&container, image), expected, "{image}");
        }
        assert_eq!(registry("a/b"), "docker.io");
        assert_eq!(registry("localhost:5000/b"), "localhost:5000");
    }
}
