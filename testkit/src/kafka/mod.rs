//! Real Apache Kafka (KRaft: broker and controller in one process): one node, a cluster of three, or one
//! node that asks who is there.
//!
//! Topics are never created by using them (`auto.create.topics.enable=false`),
//! so that a misspelt one is an error.

mod client;
mod cluster;
mod node;
mod secured;

use std::sync::OnceLock;

pub use client::{Message, Record};
pub use cluster::Cluster;
pub use secured::{Listener, SecuredBroker};

use self::node::{Node, Settings};
use crate::{
    Result, Service,
    policy::{fail, require},
    ports::free_ports,
    wait::retry_on_taken_port,
};

/// A running broker; ended when dropped.
#[derive(Debug)]
pub struct Broker {
    node: Node,
}

impl Broker {
    /// Starts a broker with empty data.
    ///
    /// # Errors
    /// If it is not in the cache, Java is missing, or it does not answer.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a broker with further lines of `server.properties`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        retry_on_taken_port(|| {
            let port = free_ports(2);
            let mut wanted = Settings::new(1, port, &[port + 1]);
            for (key, value) in settings {
                wanted.set(key, value);
            }
            let mut node = Node::make(&wanted)?;
            node.format(&[])?.end()?;
            node.start()?;
            node.wait_ready(1)?;
            Ok(Self { node })
        })
    }

    /// The broker that all tests of this binary share, or `None` when the
    /// calling test has to be skipped.
    ///
    /// # Panics
    /// If it does not start, or is missing where it must not be.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        require(Service::Kafka)?;
        Some(SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| fail(&error.to_string()))))
    }

    /// Where clients connect first, as `host:port`.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.node.bootstrap()
    }

    /// Ends it at once, as a crash or a loss of power to the process would.
    pub fn kill(&mut self) {
        self.node.kill();
    }

    /// Shuts it down in order, as an upgrade would.
    pub fn stop(&mut self) {
        self.node.stop();
    }

    /// Starts it again, at the same address and with its data; ends it first
    /// if it is running.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self) -> Result<()> {
        self.node.start()?;
        self.node.wait_ready(1)
    }
}
