//! Processes: a member that runs the pipeline, alone or in a cluster, and the supervisor above it.
//!
//! A timely cluster cannot lose a member: any process that dies or hangs ends the run. The supervisor
//! spawns the members of its machine, passes a stop on to all of them, ends them all when one has failed
//! and starts them again, and takes them along when it dies itself. Timely's worker ports carry no
//! authentication: the addresses of a host file belong on a private network.

mod backoff;
mod connect;
pub mod exit;
mod hostfile;
mod ports;
mod process;
mod pulse;
mod supervise;

pub use backoff::{Backoff, BackoffConfig};
pub use connect::{ConnectError, LOST_AFTER, connect};
pub use hostfile::{Hostfile, HostfileError};
pub use process::{
    abort_on_panic, crumbs, die_with_parent, is_member, set_on_signal, stop_on_signal,
    stop_requests,
};
pub use pulse::{BEAT_EVERY, Heartbeat, Pulse, WorkerPulse, beat};
pub use supervise::{Limits, Members, supervise};

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

    /// How many processes before this one are on the same machine, by the name of the machine in their
    /// addresses: what this one adds to a port that each of them needs for itself.
    ///
    /// ```
    /// use tidewatch::cluster::Membership;
    /// let hosts = ["a:2101", "b:2101", "a:2102", "a:2103"].map(str::to_owned).to_vec();
    /// let of = |process| Membership { workers: 1.try_into().unwrap(), hosts: hosts.clone(), process };
    /// assert_eq!([0, 1, 2, 3].map(|process| of(process).place_on_machine()), [0, 0, 1, 2]);
    /// ```
    pub fn place_on_machine(&self) -> usize {
        let machine = |host: &String| host.rsplit_once(':').map(|(name, _)| name.to_owned());
        let own = self.hosts.get(self.process).and_then(machine);
        self.hosts.iter().take(self.process).filter(|host| machine(host) == own).count()
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
