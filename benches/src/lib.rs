//! What the programs that measure share.

pub mod panes;
pub mod reference;
