//! How many bytes the processes of a cluster send each other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use timely::communication::allocator::zero_copy::stream::Stream;

/// What has crossed the connections of this process to all others since it took its place in its cluster: timely's
/// frames, without what TCP and IP add. Stays 0 in a process that is alone.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes that were handed to the operating system.
    pub sent: AtomicU64,
    /// Bytes that came.
    pub received: AtomicU64,
}

/// A connection that counts.
pub(super) struct Counted {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl Counted {
    pub(super) fn new(stream: TcpStream, traffic: &Arc<Traffic>) -> Self {
        Counted { stream, traffic: Arc::clone(traffic) }
    }
}

fn count(counter: &AtomicU64, bytes: usize) -> usize {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
    bytes
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer).map(|bytes| count(&self.traffic.received, bytes))
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).map(|bytes| count(&self.traffic.sent, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Stream for Counted {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Counted::new(self.stream.try_clone()?, &self.traffic))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn both_ends_count_the_same_bytes_over_every_handle() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let here = Arc::new(Traffic::default());
        let there = Arc::new(Traffic::default());
        let mut sender = Counted::new(TcpStream::connect(listener.local_addr()?)?, &here);
        let mut receiver = Counted::new(listener.accept()?.0, &there);
        sender.write_all(&[7; 1_000])?;
        sender.try_clone()?.write_all(&[8; 234])?;
        Stream::shutdown(&sender, Shutdown::Write)?;
        let mut bytes = Vec::new();
        receiver.read_to_end(&mut bytes)?;
        let numbers =
            |t: &Traffic| (t.sent.load(Ordering::Relaxed), t.received.load(Ordering::Relaxed));
        assert_eq!((bytes.len(), numbers(&here), numbers(&there)), (1_234, (1_234, 0), (0, 1_234)));
        Ok(())
    }
}
