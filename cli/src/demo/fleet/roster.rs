//! Who is in the fleet: hosts, the service each runs, and their fixed properties.

use std::sync::Arc;

use super::noise::{Noise, Stream};

/// The services. Host `i` runs service `i % 10`, so every service has a host from ten hosts on.
pub(super) const SERVICES: [&str; 10] = [
    "checkout",
    "payments",
    "catalog",
    "search",
    "auth",
    "gateway",
    "orders",
    "inventory",
    "mail",
    "reports",
];

const DATACENTRES: [&str; 3] = ["eu-1", "eu-2", "us-1"];

/// One machine.
#[derive(Clone, Debug)]
pub(super) struct Host {
    /// Its number, from 0.
    pub(super) index: usize,
    /// Its name, which is also the key of its records: `checkout-03`.
    pub(super) name: Arc<str>,
    /// Index of its service in [`SERVICES`].
    pub(super) service: usize,
    /// Its data centre.
    pub(super) datacentre: &'static str,
    /// How many processor cores it has.
    pub(super) cores: u64,
    /// Its memory, in bytes.
    pub(super) memory: u64,
    /// The second, within every ten, at which its agent wakes up.
    pub(super) phase: u64,
}

/// All hosts of a fleet.
pub(super) fn hosts(noise: Noise, count: usize) -> Vec<Host> {
    let width = (count.div_ceil(SERVICES.len())).to_string().len().max(2);
    (0..count)
        .map(|index| {
            let service = index % SERVICES.len();
            let number = index / SERVICES.len() + 1;
            let key = noise.key(Stream::Phase, index);
            let size = 1 << key.below(1, 3);
            Host {
                index,
                name: format!("{}-{number:0width$}", SERVICES[service]).into(),
                service,
                datacentre: DATACENTRES[index % DATACENTRES.len()],
                cores: 4 * size,
                memory: size * (16 << 30),
                phase: key.below(0, 10) as u64,
            }
        })
        .collect()
}
