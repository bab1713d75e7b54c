//! `ValidatingAdmissionWebhook`.

use super::super::dynamic::{Live, Request, is_configuration};
use super::super::{Attributes, Plugin};
use super::hook::Hook;
use super::{ask, is_meant, judge};
use async_trait::async_trait;
use kontiki_auth::Authorizer;
use kontiki_object::Status;
use std::sync::Arc;

pub(in crate::admission) struct ValidatingAdmissionWebhook {
    hooks: Live<Vec<Hook>>,
    authorizer: Arc<dyn Authorizer>,
}

impl ValidatingAdmissionWebhook {
    pub(in crate::admission) fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            hooks: Live::new("validatingwebhookconfigurations", Hook::build_all),
            authorizer,
        }
    }
}

#[async_trait]
impl Plugin for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let configurations = self.hooks.get(attributes.registry);
        if configurations.is_empty() || is_configuration(attributes.target) {
            return Ok(());
        }
        let request = Request::new(attributes);
        let mut meant = Vec::new();
        for hook in configurations.iter().flat_map(|hooks| hooks.iter()) {
            if let Some(kind) = is_meant(hook, &request, &self.authorizer).await? {
                meant.push((hook, kind));
            }
        }
        // They change nothing, so all are asked at once.
        let answers = meant.iter().map(|(hook, kind)| {
            let answer = ask(hook, &request, kind, false);
            async move {
                answer
                    .await
                    .map(|_| ())
                    .or_else(|refusal| judge(hook, refusal))
            }
        });
        let answers = futures::future::join_all(answers).await;
        answers.into_iter().find(Result::is_err).unwrap_or(Ok(()))
    }
}
