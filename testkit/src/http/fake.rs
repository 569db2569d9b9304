//! An HTTP server that records requests and answers as it is told.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::wire::{Recorded, read_request};
use crate::{Error, Result, wait_for};

/// An answer of a fake.
///
/// ```
/// # use std::time::Duration;
/// # use tidewatch_testkit::http::Reply;
/// Reply::status(429).header("retry-after", "2").body("slow down");
/// Reply::status(200).after(Duration::from_secs(1));
/// Reply::hang_up();
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    delay: Duration,
    /// How many bytes of the whole answer are sent before the connection is cut.
    cut_at: Option<usize>,
}

impl Reply {
    /// An answer with this status and an empty body.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), delay: Duration::ZERO, cut_at: None }
    }

    /// An answer with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::status(status).header("content-type", "application/json").body(body.to_string())
    }

    /// No answer at all: the request is read, then the connection is closed.
    #[must_use]
    pub fn hang_up() -> Self {
        Self::status(200).cut_at(0)
    }

    /// Adds a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Stays silent for `delay` first.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Cuts the connection after `bytes` bytes of the answer, head included.
    #[must_use]
    pub const fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }

    fn encode(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 204 {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut message = [head.as_bytes(), &self.body].concat();
        message.truncate(self.cut_at.unwrap_or(message.len()));
        message
    }
}

type Handler = Box<dyn Fn(&Recorded) -> Reply + Send + Sync>;

/// An HTTP server on 127.0.0.1 that lives as long as its value.
///
/// ```
/// # use tidewatch_testkit::http::{Fake, Reply, client};
/// let fake = Fake::start().unwrap();
/// fake.enqueue(Reply::status(503));
/// assert_eq!(client::post(&fake.url("/x"), &[], b"one").unwrap().status, 503);
/// assert_eq!(client::post(&fake.url("/x"), &[], b"two").unwrap().status, 200);
/// assert_eq!(fake.requests()[1].text().unwrap(), "two");
/// ```
pub struct Fake {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    handler: Handler,
    inner: Mutex<Inner>,
}

/// What is done with one request instead of the usual.
struct Scripted {
    reply: Reply,
    /// Whether the handler sees the request all the same.
    handled: bool,
}

#[derive(Default)]
struct Inner {
    scripted: VecDeque<Scripted>,
    requests: Vec<Recorded>,
    /// No requests are recorded.
    forgets: bool,
    connections: Vec<TcpStream>,
    stopped: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fake {
    /// Answers 200 with an empty body to whatever is not scripted.
    ///
    /// # Errors
    /// [`Error::Io`] if no port can be had.
    pub fn start() -> Result<Self> {
        Self::start_with(|_| Reply::status(200))
    }

    /// Answers by `handler` to whatever is not scripted.
    ///
    /// # Errors
    /// [`Error::Io`] if no port can be had.
    pub fn start_with(
        handler: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("listen"))?;
        let address = listener.local_addr().map_err(Error::io("read a socket's address"))?;
        let state = State { handler: Box::new(handler), inner: Mutex::default() };
        let fake = Self { address, state: Arc::new(state) };
        let state = Arc::clone(&fake.state);
        thread::spawn(move || accept(&listener, &state));
        Ok(fake)
    }

    /// The address of `path`, which starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers the next request that is not yet scripted with `reply`; the
    /// handler does not see it, as if a proxy in front had refused it.
    pub fn enqueue(&self, reply: Reply) {
        self.state.lock().scripted.push_back(Scripted { reply, handled: false });
    }

    /// Like [`enqueue`](Self::enqueue), but the handler sees the request first:
    /// it took effect, and the sender does not learn so.
    pub fn enqueue_after_effect(&self, reply: Reply) {
        self.state.lock().scripted.push_back(Scripted { reply, handled: true });
    }

    /// From now on no requests are recorded: for a server that gets many of them, and large ones.
    pub fn forget(&self) {
        let mut inner = self.state.lock();
        inner.forgets = true;
        inner.requests.clear();
    }

    /// All requests received so far, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.lock().requests.clone()
    }

    /// Waits until at least `count` requests have arrived; `None` after `limit`.
    #[must_use]
    pub fn wait_for_requests(&self, count: usize, limit: Duration) -> Option<Vec<Recorded>> {
        wait_for(limit, || Some(self.requests()).filter(|requests| requests.len() >= count))
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fake").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.stopped = true;
        for connection in inner.connections.drain(..) {
            // The peer may have closed it already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(inner);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming().flatten() {
        let mut inner = state.lock();
        if inner.stopped {
            return;
        }
        inner.connections.extend(stream.try_clone());
        drop(inner);
        let state = Arc::clone(state);
        // A broken connection concerns only its peer, who sees it broken.
        thread::spawn(move || serve(stream, &state).unwrap_or_default());
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read_request(&mut reader)? {
        let mut inner = state.lock();
        if !inner.forgets {
            inner.requests.push(request.clone());
        }
        let scripted = inner.scripted.pop_front();
        drop(inner);
        let reply = match scripted {
            Some(Scripted { reply, handled: false }) => reply,
            Some(Scripted { reply, handled: true }) => {
                (state.handler)(&request);
                reply
            }
            None => (state.handler)(&request),
        };
        thread::sleep(reply.delay);
        stream.write_all(&reply.encode())?;
        if reply.cut_at.is_some() || request.header("connection") == Some("close") {
            break;
        }
    }
    // Another handle of the connection is kept for Drop, so closing has to be explicit.
    stream.shutdown(Shutdown::Both)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client;

    #[test]
    fn scripted_answers_come_first_and_in_order() {
        let fake = Fake::start_with(|request| Reply::status(200).body(request.path())).unwrap();
        fake.enqueue(Reply::status(429).header("retry-after", "7").body("later"));
        fake.enqueue(Reply::status(204));
        let first = client::get(&fake.url("/a"), &[]).unwrap();
        assert_eq!((first.status, first.header("retry-after")), (429, Some("7")));
        assert_eq!(client::get(&fake.url("/b"), &[]).unwrap().status, 204);
        assert_eq!(client::get(&fake.url("/c"), &[]).unwrap().body, "/c");
        let requests = fake.wait_for_requests(3, Duration::from_secs(5)).unwrap();
        assert_eq!(requests.last().map(Recorded::path), Some("/c"));
        assert!(fake.wait_for_requests(4, Duration::ZERO).is_none());
    }

    #[test]
    fn hangs_up_and_cuts_short() {
        let fake = Fake::start().unwrap();
        fake.enqueue(Reply::hang_up());
        assert!(client::get(&fake.url("/"), &[]).is_err());
        let whole = Reply::status(200).body("0123456789");
        fake.enqueue(whole.clone().cut_at(whole.encode().len() - 3));
        assert!(client::get(&fake.url("/"), &[]).is_err());
        assert_eq!(fake.requests().len(), 2);
    }

    #[test]
    fn forgets_what_it_was_asked() {
        let fake = Fake::start().unwrap();
        client::get(&fake.url("/a"), &[]).unwrap();
        fake.forget();
        assert_eq!(client::get(&fake.url("/b"), &[]).unwrap().status, 200);
        assert!(fake.requests().is_empty());
    }

    #[test]
    fn refuses_connections_after_its_end() {
        let fake = Fake::start().unwrap();
        let url = fake.url("/");
        assert!(client::get(&url, &[]).is_ok());
        drop(fake);
        let refused = || client::get(&url, &[]).is_err().then_some(());
        assert!(wait_for(Duration::from_secs(5), refused).is_some());
    }
}
