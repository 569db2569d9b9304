//! A TCP proxy in front of a store, which can be made unreachable for a while.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How the store is out of reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every connection is closed, new ones too.
    Refuse,
    /// Nothing gets through in either direction; connections stay open.
    Blackhole,
    /// Requests get through, answers are lost with their connection: the store has taken what the sender
    /// believes lost.
    LoseAnswers,
}

impl Fault {
    pub const ALL: [Fault; 3] = [Fault::Refuse, Fault::Blackhole, Fault::LoseAnswers];
}

/// A proxy on 127.0.0.1 that lives as long as the process.
pub struct Proxy {
    address: SocketAddr,
    fault: Arc<Mutex<Option<(Fault, Instant)>>>,
}

/// How often a connection looks whether there is a fault.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Proxy {
    /// A proxy in front of `url`, such as `http://127.0.0.1:8086`.
    pub fn start(url: &str) -> Self {
        let target = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Proxy { address, fault: Arc::default() };
        let fault = Arc::clone(&proxy.fault);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if current(&fault) == Some(Fault::Refuse) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else { continue };
                pump(&client, &server, Arc::clone(&fault), false);
                pump(&server, &client, Arc::clone(&fault), true);
            }
        });
        proxy
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts the store out of reach for `time`, from now.
    pub fn disturb(&self, fault: Fault, time: Duration) {
        *self.fault.lock().unwrap() = Some((fault, Instant::now() + time));
    }

    /// Ends a fault.
    pub fn heal(&self) {
        *self.fault.lock().unwrap() = None;
    }
}

fn current(fault: &Mutex<Option<(Fault, Instant)>>) -> Option<Fault> {
    fault.lock().unwrap().filter(|(_, until)| Instant::now() < *until).map(|(fault, _)| fault)
}

/// Copies bytes in one direction until either end closes, on a thread of its own.
fn pump(
    from: &TcpStream,
    to: &TcpStream,
    fault: Arc<Mutex<Option<(Fault, Instant)>>>,
    is_answer: bool,
) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    std::thread::spawn(move || {
        let mut bytes = [0; 16_384];
        // A connection that breaks is closed on both sides, whatever the reason.
        let _ = from.set_read_timeout(Some(LOOK_EVERY));
        loop {
            match current(&fault) {
                Some(Fault::Refuse) => break,
                Some(Fault::Blackhole) => {
                    std::thread::sleep(LOOK_EVERY);
                    continue;
                }
                _ => {}
            }
            match from.read(&mut bytes) {
                Ok(0) => break,
                Ok(_) if is_answer && current(&fault) == Some(Fault::LoseAnswers) => break,
                Ok(count) => {
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}
