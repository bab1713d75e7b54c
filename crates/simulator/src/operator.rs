//! Who changes the membership: a spare member comes and goes, the lead is moved.
//!
//! The answer to a change may get lost with whoever was asked. So a change goes
//! on being asked for until its end is known, as people do it.

use crate::world::World;
use kontiki_mvcc::conformance::Random;
use kontiki_raft::ReplicatedStore;
use kontiki_store::{MemberChange, MemberError, Operations, Store, StoreError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// After this long without an answer somebody else is asked.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the spare member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spare {
    Absent,
    Adding { learner: bool },
    Member(u64),
    Promoting(u64),
    Removing(u64),
}

/// What a change answered.
type Outcome = Result<u64, StoreError>;
type Slot = Arc<Mutex<Option<Outcome>>>;

/// The operator and what is under way.
pub(crate) struct Operator {
    random: Random,
    spare: Spare,
    asked: Option<(Slot, Duration)>,
}

impl Operator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            spare: Spare::Absent,
            asked: None,
        }
    }

    /// Begins to add the spare member, if it is none yet.
    pub(crate) fn add(&mut self) {
        if self.spare == Spare::Absent {
            let learner = self.random.one_in(2);
            self.spare = Spare::Adding { learner };
        }
    }

    /// Begins to make a voter of it.
    pub(crate) fn promote(&mut self) {
        if let Spare::Member(id) = self.spare {
            self.spare = Spare::Promoting(id);
        }
    }

    /// Begins to remove it for good.
    pub(crate) fn remove(&mut self) {
        if let Spare::Member(id) = self.spare {
            self.spare = Spare::Removing(id);
        }
    }

    /// Asks whoever leads to hand the lead over.
    pub(crate) fn move_leader(&mut self, world: &World) {
        let leads = |store: &Arc<ReplicatedStore>| store.status().borrow().is_leader();
        let found = world
            .nodes
            .iter()
            .find_map(|node| Some((node, node.store().filter(leads)?)));
        let Some((node, store)) = found else { return };
        let turn = self.random.number();
        node.spawn(async move {
            let own = store.status().borrow().member_id;
            let members = store.members().await.unwrap_or_default();
            let heirs: Vec<u64> = members
                .iter()
                .filter(|member| !member.is_learner && member.id != own)
                .map(|member| member.id)
                .collect();
            if !heirs.is_empty() {
                let at = usize::try_from(turn % heirs.len() as u64).expect("a small number");
                // Whether it works is not the question here.
                let _ = store.move_leader(heirs[at]).await;
            }
        });
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.spare, Spare::Absent | Spare::Member(_))
    }

    /// Gives up what may be given up: only a promotion.
    pub(crate) fn relent(&mut self) {
        if let Spare::Promoting(id) = self.spare {
            self.spare = Spare::Member(id);
            self.asked = None;
        }
    }

    /// Goes on with what is under way.
    pub(crate) fn tend(&mut self, world: &mut World) {
        let change = match self.spare {
            Spare::Absent | Spare::Member(_) => return,
            Spare::Adding { learner } => MemberChange::Add {
                peer_address: world.spare().config.own_address(),
                learner,
            },
            Spare::Promoting(id) => MemberChange::Promote { id },
            Spare::Removing(id) => MemberChange::Remove { id },
        };
        let Some((slot, since)) = &self.asked else {
            self.ask(world, change);
            return;
        };
        let answer = slot.lock().take();
        match answer {
            Some(outcome) => {
                self.asked = None;
                self.learn(world, outcome);
            }
            None if world.now >= *since + PATIENCE => self.asked = None,
            None => {}
        }
    }

    fn ask(&mut self, world: &World, change: MemberChange) {
        let at = self.random.below(world.nodes.len());
        // Who is removed is not the one to ask.
        let Some(store) = world.nodes[at].store().filter(|_| at != world.spare_at()) else {
            return;
        };
        let slot = Slot::default();
        self.asked = Some((slot.clone(), world.now));
        world.nodes[at].spawn(async move {
            let outcome = match &change {
                MemberChange::Add { peer_address, .. } => {
                    add(&store, peer_address, change.clone()).await
                }
                _ => store
                    .change_member(change)
                    .await
                    .map(|(member, _)| member.id),
            };
            *slot.lock() = Some(outcome);
        });
    }

    fn learn(&mut self, world: &mut World, outcome: Outcome) {
        world
            .ledger
            .trace(format!("operator: {:?}: {outcome:?}", self.spare));
        let gone = matches!(
            outcome,
            Err(StoreError::Member(
                MemberError::NotFound | MemberError::NotLearner
            ))
        );
        self.spare = match (self.spare, outcome) {
            (Spare::Adding { .. }, Ok(id)) => {
                world.enrol_spare(self.random.number());
                Spare::Member(id)
            }
            (Spare::Promoting(id), Ok(_)) => Spare::Member(id),
            (Spare::Promoting(id), _) if gone => Spare::Member(id),
            (Spare::Removing(_), Ok(_)) => {
                world.dismiss_spare();
                Spare::Absent
            }
            (Spare::Removing(_), _) if gone => {
                world.dismiss_spare();
                Spare::Absent
            }
            // Perhaps, or not yet: asked again.
            (spare, _) => spare,
        };
    }
}

/// Adds the member, or finds that an earlier call, whose answer got lost, did.
async fn add(store: &ReplicatedStore, address: &str, change: MemberChange) -> Outcome {
    match store.change_member(change).await {
        Ok((member, _)) => Ok(member.id),
        Err(StoreError::Member(MemberError::AddressExists)) => {
            // What the leader refused by may not be known here yet.
            store.read_barrier().await?;
            let members = store.members().await?;
            let known = members
                .iter()
                .find(|member| member.peer_addresses.iter().any(|known| known == address));
            known.map(|member| member.id).ok_or(StoreError::Timeout)
        }
        Err(error) => Err(error),
    }
}
