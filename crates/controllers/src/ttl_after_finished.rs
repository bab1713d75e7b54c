//! Deletes finished Jobs after their `ttlSecondsAfterFinished`.

use crate::controller::Context;
use crate::fields::{int, text, until};
use crate::job::finished_condition;
use crate::{Action, Moment, Plan, Reconciler, Watch};
use async_trait::async_trait;
use jiff::SignedDuration;
use kontiki_client::resources::JOBS;
use kontiki_client::{DeleteOptions, PropagationPolicy};
use kontiki_object::{SharedObject, Status, time};

pub(crate) struct TtlAfterFinishedController;

#[async_trait]
impl Reconciler for TtlAfterFinishedController {
    type State = SharedObject;

    fn name(&self) -> &'static str {
        "ttl-after-finished-controller"
    }

    fn watches(&self) -> Vec<Watch> {
        vec![Watch::own(JOBS)]
    }

    async fn observe(&self, context: &Context, key: &str) -> Result<Option<SharedObject>, Status> {
        Ok(context
            .caches
            .of(&JOBS)
            .get(key)
            .filter(|job| !job.is_terminating()))
    }

    fn plan(&self, job: &SharedObject, at: &Moment) -> Plan {
        let ttl = int(job, &["spec", "ttlSecondsAfterFinished"]);
        let ended = finished_condition(job).map(|c| text(c, "lastTransitionTime"));
        let (Some(ttl), Some(ended)) = (ttl, ended.and_then(time::parse)) else {
            return Plan::nothing();
        };
        let due = ended + SignedDuration::from_secs(ttl.max(0));
        if due > at.now {
            return Plan {
                requeue_after: Some(until(due, at.now)),
                ..Plan::default()
            };
        }
        let options = DeleteOptions {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteOptions::default()
        };
        Plan::of([Action::delete_with(&JOBS, job, options)])
    }
}
