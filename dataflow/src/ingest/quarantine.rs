//! Groups that crash an operator, over and over: told by whoever outlives the process, and left out from then on.

use serde::{Deserialize, Serialize};

use crate::series::Labels;

/// One group that one operator no longer takes in. The name comes first: in a set, those of an operator stand
/// together.
///
/// It is about the operator as it was when it crashed: one with other content is another operator, which may fare
/// better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantined {
    /// The operator's name: the same in every run.
    pub operator: Box<str>,
    /// A hash of what it computes.
    pub content: u64,
    /// The labels of the group.
    pub group: Labels,
}

impl Quarantined {
    /// More groups than this are no accident of single groups: a run that knows of more must not begin. At 200
    /// bytes of names each, 200 kB in every checkpoint.
    pub const MAX: usize = 1_000;
}
