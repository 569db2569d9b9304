//! Checkpoints: state that survives, cut at an instant of event time.

mod assemble;
mod fence;
pub mod frame;
mod garbage;
mod keeper;
mod manifest;
mod piece;
mod recovery;
mod store;

pub use fence::{Fence, RunInfo};
pub use keeper::{Keeper, KeeperConfig, KeeperStats};
pub use manifest::{CheckpointError, Manifest, ObjectRef, OperatorPart, Part, PieceRef};
pub use piece::{
    Checkpointed, Piece, PieceContent, PieceWriter, Restored, Shard, Share, StateError, encode,
};
pub use recovery::{Cut, Participant, Recovery, RestoredState, WorkerPieces};
pub use store::{ObjectInfo, StateStore, StoreError};
