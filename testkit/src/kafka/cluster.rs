//! Three brokers with copies of everything: for leaders that move.

use super::client;
use super::node::{Node, Settings};
use crate::{Result, ports::free_ports, wait::retry_on_taken_port};

/// How many brokers: the fewest of which one may be lost without stopping.
const BROKERS: u16 = 3;

/// A running cluster of three brokers, which are its controllers too; ended when dropped.
///
/// Topics have three copies, and a write counts once two of them have it.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts it with empty data.
    ///
    /// # Errors
    /// If Kafka is not in the cache, Java is missing, or a broker does not answer.
    pub fn start() -> Result<Self> {
        retry_on_taken_port(|| {
            let first = free_ports(2 * BROKERS);
            let ports = first..first + BROKERS;
            let controllers: Vec<u16> = ports.clone().map(|port| port + BROKERS).collect();
            let make = |(id, port): (usize, u16)| {
                let mut settings = Settings::new(id, port, &controllers);
                settings.set("min.insync.replicas", "2");
                Node::make(&settings)
            };
            let mut nodes = (1..).zip(ports).map(make).collect::<Result<Vec<_>>>()?;
            // All at the same time: most of it is waiting for Java.
            let formatting =
                nodes.iter().map(|node| node.format(&[])).collect::<Result<Vec<_>>>()?;
            for formatting in formatting {
                formatting.end()?;
            }
            for node in &mut nodes {
                node.start()?;
            }
            for node in &mut nodes {
                node.wait_ready(usize::from(BROKERS))?;
            }
            Ok(Self { nodes })
        })
    }

    /// Where clients connect first, as `host:port` of each broker.
    #[must_use]
    pub fn bootstrap(&self) -> Vec<String> {
        self.nodes.iter().map(Node::bootstrap).collect()
    }

    /// Creates a topic with three copies and waits until it can be used.
    ///
    /// # Errors
    /// If the cluster refuses, for instance since it exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        client::create_topic(&self.bootstrap().join(","), topic, partitions, 3, &[])
    }

    /// Which broker, counted from 0, leads a partition; `None` while there is no leader.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let id = client::leader(&self.bootstrap().join(","), topic, partition)?;
        usize::try_from(id).ok()?.checked_sub(1)
    }

    /// Ends a broker, counted from 0, at once.
    pub fn kill(&mut self, broker: usize) {
        if let Some(node) = self.nodes.get_mut(broker) {
            node.kill();
        }
    }

    /// Starts a broker, counted from 0, again, at the same address and with its data.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn restart(&mut self, broker: usize) -> Result<()> {
        let Some(node) = self.nodes.get_mut(broker) else { return Ok(()) };
        node.start()?;
        node.wait_ready(1)
    }
}
