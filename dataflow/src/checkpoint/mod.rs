//! Checkpoints: state that survives, cut at an instant of event time.

mod piece;
mod store;

pub use piece::{
    Checkpointed, Piece, PieceContent, PieceWriter, Restored, Shard, Share, StateError, encode,
};
pub use store::{ObjectInfo, StateStore, StoreError};
