//! Checkpoints: state that survives, cut at an instant of event time.
//!
//! ```text
//!   machine ─ Checkpointed ─► pieces ─ Recovery ─► Keeper ─► pieces/… parts/… manifests/…   in a StateStore
//!      ▲                                                                   │
//!      └── restore: what its Shard owns ◄─ Restored ◄─ RestoredState ◄─────┘  Manifest::newest, load
//! ```
//!
//! To make an operator of your own recoverable:
//!
//! 1. Write it as a [`PaneMachine`](crate::operator::PaneMachine), and implement [`Checkpointed`]: put the state in
//!    pieces, and take back what the worker owns of the pieces of all workers.
//! 2. Let the worker's [`Recovery`] make it a participant, restore it, and run it in
//!    [`apply_panes_checkpointed`](crate::operator::apply_panes_checkpointed), which puts the pieces at the right
//!    moment. Send it its input by [`worker_of`](crate::series::worker_of), which is what [`Shard::owns`] agrees with.
//! 3. Announce cuts before the input passes them. In one process, [`LocalCheckpoints`] does everything else; the
//!    example `recoverable_operator` shows all of it.
//!
//! What the dataflow has put out after the newest checkpoint it puts out again after a restore, the same to the
//! bit: give results an identity that makes writing them twice harmless.

mod assemble;
mod fence;
pub mod frame;
mod garbage;
mod keeper;
mod local;
mod manifest;
mod piece;
mod recovery;
mod store;

pub use fence::{Fence, RunInfo};
pub use keeper::{Keeper, KeeperConfig, KeeperStats};
pub use local::{AnnouncedCut, LocalCheckpoints, WorkerCheckpoints};
pub use manifest::{CheckpointError, Manifest, ObjectRef, OperatorPart, Part, PieceRef};
pub use piece::{
    Checkpointed, Piece, PieceContent, PieceWriter, Restored, Shard, Share, StateError, encode,
};
pub use recovery::{Cut, Participant, Recovery, RestoredState, WorkerPieces};
pub use store::{ObjectInfo, StateStore, StoreError};
