//! What a node may see: what its own pods need, and nothing else.
//!
//! [`references`] says what one pod needs; the [`Graph`] knows it of all pods;
//! [`NodeAuthorizer`] decides by it. NodeLink uses the same functions to choose
//! what it sends to a node, so the two can never disagree.

mod authorizer;
mod graph;
mod references;

pub use authorizer::NodeAuthorizer;
pub use graph::{Graph, GraphCaches, Kind};
pub use references::{
    MIRROR_POD, PodReferences, VolumeReferences, all_references, references, volume_references,
};
