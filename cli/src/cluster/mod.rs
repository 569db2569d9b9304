//! Processes: one alone, a member of a cluster, or a supervisor of local members.
//!
//! A timely cluster cannot lose a member: any process that dies ends the run. The supervisor spawns its
//! members, passes a stop on to all of them, ends them all when one dies, and takes them along when it dies
//! itself. Timely's worker ports carry no authentication: the addresses of a host file belong on a private
//! network.

mod hostfile;
mod process;
mod supervise;

pub use hostfile::{Hostfile, HostfileError};
pub use process::{abort_on_panic, die_with_parent, stop_on_signal};
pub use supervise::{Members, supervise};

use std::num::NonZeroUsize;

use timely::CommunicationConfig;

/// Which part of a cluster this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Worker threads in each process.
    pub workers: NonZeroUsize,
    /// Addresses of all processes, `host:port` for timely's own traffic; one entry or none when alone.
    pub hosts: Vec<String>,
    /// The index of this process among them.
    pub process: usize,
}

impl Membership {
    /// A process of its own with `workers` threads.
    pub fn alone(workers: NonZeroUsize) -> Self {
        Membership { workers, hosts: Vec::new(), process: 0 }
    }

    /// Timely's configuration for it.
    ///
    /// ```
    /// use tidewatch::cluster::Membership;
    /// use std::num::NonZeroUsize;
    /// let alone = Membership::alone(NonZeroUsize::new(2).unwrap());
    /// assert!(matches!(alone.communication(), timely::CommunicationConfig::Process(2)));
    /// ```
    pub fn communication(&self) -> CommunicationConfig {
        match (self.hosts.len(), self.workers.get()) {
            (0 | 1, 1) => CommunicationConfig::Thread,
            (0 | 1, workers) => CommunicationConfig::Process(workers),
            (_, threads) => CommunicationConfig::Cluster {
                threads,
                process: self.process,
                addresses: self.hosts.clone(),
                report: false,
                zerocopy: false,
            },
        }
    }
}
