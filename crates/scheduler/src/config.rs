//! `KubeSchedulerConfiguration`: profiles and which plugins they use.

use crate::decide::Enabled;
use crate::plugins;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It is no YAML of the right shape.
    #[error("the scheduler's configuration cannot be read")]
    Parse(#[from] serde_yaml_ng::Error),
    /// It is something else.
    #[error(
        "the scheduler's configuration has apiVersion {api_version:?} and kind {kind:?}; write kubescheduler.config.k8s.io/v1 and KubeSchedulerConfiguration"
    )]
    Kind {
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
    },
    /// A plugin does not exist.
    #[error("profile {profile:?} names plugin {plugin:?}, which does not exist")]
    Plugin {
        /// The profile's scheduler name.
        profile: String,
        /// The plugin.
        plugin: String,
    },
    /// Two profiles have one name.
    #[error("two profiles have the schedulerName {0:?}")]
    Duplicate(String),
}

/// A set of plugins under a scheduler name.
#[derive(Clone)]
pub struct Profile {
    /// Pods that name it in `spec.schedulerName` are scheduled by it.
    pub scheduler_name: String,
    /// The plugins in the order in which they are asked.
    pub plugins: Vec<Enabled>,
    /// Whether less important pods may be evicted.
    pub preempts: bool,
}

/// What the scheduler is told.
#[derive(Clone)]
pub struct Config {
    /// At least one.
    pub profiles: Vec<Profile>,
    /// How long a pod that failed waits at first.
    pub backoff_initial: Duration,
    /// How long it waits at most.
    pub backoff_max: Duration,
    /// How many bindings are written at the same time.
    pub bindings_max: usize,
}

fn default_plugins() -> Vec<Enabled> {
    plugins::ALL
        .iter()
        .map(|plugin| Enabled {
            plugin: *plugin,
            filters: true,
            weight: plugin.weight(),
        })
        .collect()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            profiles: vec![Profile {
                scheduler_name: "default-scheduler".to_owned(),
                plugins: default_plugins(),
                preempts: true,
            }],
            backoff_initial: Duration::from_secs(1),
            backoff_max: Duration::from_secs(10),
            bindings_max: 64,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    profiles: Vec<FileProfile>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileProfile {
    scheduler_name: Option<String>,
    #[serde(default)]
    plugins: BTreeMap<String, FileSet>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileSet {
    enabled: Vec<FilePlugin>,
    disabled: Vec<FilePlugin>,
}

#[derive(Deserialize)]
struct FilePlugin {
    name: String,
    weight: Option<i64>,
}

impl Config {
    /// Reads a `KubeSchedulerConfiguration` in YAML or JSON.
    ///
    /// # Errors
    /// If it is malformed or names what does not exist.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = serde_yaml_ng::from_str(text)?;
        if file.api_version != "kubescheduler.config.k8s.io/v1"
            || file.kind != "KubeSchedulerConfiguration"
        {
            return Err(ConfigError::Kind {
                api_version: file.api_version,
                kind: file.kind,
            });
        }
        let mut config = Self::default();
        if let Some(seconds) = file.pod_initial_backoff_seconds {
            config.backoff_initial = Duration::from_secs(seconds);
        }
        if let Some(seconds) = file.pod_max_backoff_seconds {
            config.backoff_max = Duration::from_secs(seconds);
        }
        if !file.profiles.is_empty() {
            config.profiles.clear();
        }
        for profile in file.profiles {
            let profile = profile_of(profile)?;
            if config.profile(&profile.scheduler_name).is_some() {
                return Err(ConfigError::Duplicate(profile.scheduler_name));
            }
            config.profiles.push(profile);
        }
        Ok(config)
    }

    /// The profile of a scheduler name.
    #[must_use]
    pub fn profile(&self, scheduler_name: &str) -> Option<&Profile> {
        self.profiles
            .iter()
            .find(|profile| profile.scheduler_name == scheduler_name)
    }
}

fn profile_of(file: FileProfile) -> Result<Profile, ConfigError> {
    let name = file
        .scheduler_name
        .unwrap_or_else(|| "default-scheduler".to_owned());
    let mut profile = Profile {
        scheduler_name: name,
        plugins: default_plugins(),
        preempts: true,
    };
    for (point, set) in &file.plugins {
        for one in &set.disabled {
            switch(&mut profile, point, one, false)?;
        }
        for one in &set.enabled {
            switch(&mut profile, point, one, true)?;
        }
    }
    Ok(profile)
}

fn switch(
    profile: &mut Profile,
    point: &str,
    one: &FilePlugin,
    on: bool,
) -> Result<(), ConfigError> {
    let everything = one.name == "*" && !on;
    let known = everything
        || plugins::ALL.iter().any(|plugin| plugin.name() == one.name)
        || plugins::BUILT_IN.contains(&one.name.as_str());
    if !known {
        return Err(ConfigError::Plugin {
            profile: profile.scheduler_name.clone(),
            plugin: one.name.clone(),
        });
    }
    let any = point == "multiPoint";
    for enabled in &mut profile.plugins {
        if !everything && enabled.plugin.name() != one.name {
            continue;
        }
        if any || point == "filter" {
            enabled.filters = on;
        }
        if any || point == "score" {
            let weight = one.weight.filter(|weight| *weight > 0);
            enabled.weight = if on {
                weight.unwrap_or_else(|| enabled.plugin.weight())
            } else {
                0
            };
        }
    }
    if (any || point == "postFilter") && (everything || one.name == "DefaultPreemption") {
        profile.preempts = on;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

    #[test]
    fn profiles_switch_plugins_and_weights() {
        let text = format!(
            "{HEAD}podMaxBackoffSeconds: 5\nprofiles:\n- schedulerName: a\n  plugins:\n    score:\n      disabled: [{{name: '*'}}]\n      enabled: [{{name: ImageLocality, weight: 7}}]\n    multiPoint:\n      disabled: [{{name: DefaultPreemption}}, {{name: NodePorts}}]\n- schedulerName: b\n"
        );
        let config = Config::parse(&text).expect("valid");
        assert_eq!(config.backoff_max, Duration::from_secs(5));
        let a = config.profile("a").expect("there");
        assert!(!a.preempts && config.profile("b").expect("there").preempts);
        for enabled in &a.plugins {
            let name = enabled.plugin.name();
            let weight = if name == "ImageLocality" { 7 } else { 0 };
            assert_eq!(enabled.weight, weight, "{name}");
            assert_eq!(enabled.filters, name != "NodePorts", "{name}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "kind: X".to_owned(),
            format!("{HEAD}profiles:\n- schedulerName: a\n- schedulerName: a\n"),
            format!("{HEAD}profiles:\n- plugins: {{filter: {{enabled: [{{name: Nonsense}}]}}}}\n"),
            "[".to_owned(),
        ] {
            assert!(Config::parse(&text).is_err(), "{text}");
        }
    }
}
