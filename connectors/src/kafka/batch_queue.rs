//! The batch interface of librdkafka: one queue per partition, read thousands of records at a time.
//!
//! The safe wrapper `rdkafka` hands out single messages only, which costs twice the CPU of a batch, so
//! this module calls `rd_kafka_consume_batch_queue` itself. It uses the simple consumer
//! (`rd_kafka_consume_start_queue`): the high-level `assign` insists on a consumer group and talks to
//! its coordinator, and tidewatch has no group.
//!
//! # Why this is sound
//!
//! This is the only module of the crate with `unsafe` code. What it relies on, and where it is kept:
//!
//! 1. **The client outlives its queues, topics and messages.** [`PartitionQueue`] holds an `Arc` of the
//!    consumer and gives back queue and topic in `drop`, before the `Arc` goes. A [`Batch`] borrows the
//!    queue mutably, so no message outlives it either.
//! 2. **Every message is destroyed exactly once.** `rd_kafka_consume_batch_queue` returns how many
//!    entries of the array it filled; exactly these are owned by the [`Batch`], whose `drop` destroys
//!    them, also when the reader of the batch panics. The array is emptied there.
//! 3. **Slices point into live messages.** `payload`/`len` and `key`/`key_len`, and the values of headers,
//!    describe memory owned by the message until it is destroyed. The slices carry the lifetime of a borrow of the [`Batch`].
//!    Nobody writes to that memory: the message belongs to us alone.
//! 4. **Error codes are read as integers.** A broker may send a code that the binding's `enum` does not
//!    have; it is never read as that `enum`, only through [`RDKafkaRespErr::try_from`].
//! 5. **The callback's argument is alive whenever it is called.** It points to the [`Wake`] that the
//!    queue keeps in an `Arc`. librdkafka calls it with the queue's lock held, and
//!    `rd_kafka_queue_cb_event_enable` takes the same lock, so that after `drop` has disabled it no call
//!    is under way nor will be. `Wake` is `Sync`, since any thread of the client may call.
//! 6. **No unwinding into C.** The callback catches panics.
//! 7. **Threads.** librdkafka's objects may be used from any thread; `consume` takes `&mut self`, so one
//!    thread at a time reads a queue, which is all that is needed to send it to another thread.
#![allow(unsafe_code)]

use std::ffi::{CString, c_void};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::{ptr, slice};

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tidewatch_dataflow::record::{Header, Record, RecordTime};
use tidewatch_dataflow::time::EventTime;

use super::context::Context;

/// What is to be done when a queue that was empty is so no longer.
#[derive(Default)]
pub(super) struct Wake {
    /// The driver's function, once it gave one.
    pub(super) call: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Whether the client's main queue has something.
    pub(super) main_ready: AtomicBool,
}

impl Wake {
    /// Calls the driver's function, if there is one.
    pub(super) fn wake(&self) {
        if let Some(call) = self.call.get() {
            call();
        }
    }
}

/// A place to start that librdkafka understands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum StartAt {
    /// Whatever is the first record when the broker is asked.
    Beginning,
    /// This offset.
    Offset(i64),
}

/// One partition being fetched, with its queue.
pub(super) struct PartitionQueue {
    consumer: Arc<BaseConsumer<Context>>,
    wake: Arc<Wake>,
    topic: *mut sys::rd_kafka_topic_t,
    name: CString,
    queue: *mut sys::rd_kafka_queue_t,
    partition: i32,
    /// Filled by the client, emptied by [`Batch`]; empty between calls.
    messages: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: points 5 and 7 of the module's documentation.
unsafe impl Send for PartitionQueue {}

unsafe extern "C" fn on_event(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: point 5; `wake` was made of `Arc::as_ptr` of an `Arc<Wake>` that is still held.
    let wake = unsafe { &*wake.cast::<Wake>() };
    // Point 6. What panicked is the driver's function; there is nobody here to tell.
    let _ = std::panic::catch_unwind(AssertUnwindSafe(|| wake.wake()));
}

impl PartitionQueue {
    /// Starts fetching `partition` of `topic`.
    pub(super) fn start(
        consumer: &Arc<BaseConsumer<Context>>,
        wake: &Arc<Wake>,
        topic: &str,
        partition: i32,
        start: StartAt,
    ) -> KafkaResult<Self> {
        let name = CString::new(topic).map_err(KafkaError::Nul)?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive (held by `consumer`), the name ends in a zero; a null
        // configuration means the client's default for topics.
        let topic = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            return Err(KafkaError::ClientCreation("the topic handle cannot be made".to_owned()));
        }
        // SAFETY: the client is alive; this call does not fail.
        let queue = unsafe { sys::rd_kafka_queue_new(client) };
        let this = PartitionQueue {
            consumer: Arc::clone(consumer),
            wake: Arc::clone(wake),
            topic,
            name,
            queue,
            partition,
            messages: Vec::new(),
        };
        let wake = Arc::as_ptr(&this.wake).cast_mut().cast::<c_void>();
        // SAFETY: point 5; the callback only reads through the pointer.
        unsafe { sys::rd_kafka_queue_cb_event_enable(queue, Some(on_event), wake) };
        this.start_at(start)?;
        Ok(this)
    }

    /// Goes on elsewhere. What is queued for the former place is never handed out: the client numbers
    /// the starts of a partition, and `take` passes over entries of an earlier one. Does not block.
    pub(super) fn restart(&mut self, start: StartAt) -> KafkaResult<()> {
        self.start_at(start)
    }

    fn start_at(&self, start: StartAt) -> KafkaResult<()> {
        let offset = match start {
            StartAt::Beginning => i64::from(sys::RD_KAFKA_OFFSET_BEGINNING),
            StartAt::Offset(offset) => offset.max(0),
        };
        // SAFETY: topic and queue are alive and of this client; the queue comes from
        // `rd_kafka_queue_new`, as the call demands. Starting what was started replaces the position;
        // the client keeps the queue's reference count itself.
        let failed = unsafe {
            sys::rd_kafka_consume_start_queue(self.topic, self.partition, offset, self.queue)
        } != 0;
        if failed {
            // SAFETY: reads a variable of this thread, set by the call above.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(KafkaError::MessageConsumption(code.into()));
        }
        Ok(())
    }

    /// Takes what is queued, at most `budget` entries, without waiting.
    pub(super) fn take(&mut self, budget: usize) -> Batch<'_> {
        self.messages.clear();
        self.messages.reserve(budget);
        // SAFETY: the array has room for `budget` pointers (reserved above), the queue is alive and read
        // by nobody else (`&mut self`). At most `budget` entries are written.
        let taken = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue, 0, self.messages.as_mut_ptr(), budget)
        };
        let taken = usize::try_from(taken).unwrap_or(0).min(budget);
        // SAFETY: the call wrote exactly the first `taken` entries, and they are ours (point 2).
        unsafe { self.messages.set_len(taken) };
        Batch { messages: &mut self.messages }
    }

    /// The end of the log as the last fetch told it: the offset after the newest record.
    pub(super) fn high_watermark(&self) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive, the name ends in a zero, both results are written by the call
        // or left alone.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                self.name.as_ptr(),
                self.partition,
                &mut low,
                &mut high,
            )
        };
        (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: all handles are alive until here and given back once, in the order the client's
        // documentation asks for: stop fetching (waits for the fetcher, purges what is queued), no
        // more callbacks, then queue and topic. Stopping what never started is an error we ignore.
        unsafe {
            sys::rd_kafka_consume_stop(self.topic, self.partition);
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// One entry of a queue.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// A record.
    Record(Record<'a>),
    /// The log ended here when the broker was asked; the next record will have this offset or a later one.
    End(i64),
    /// The partition cannot be read, for now or at all: why, in the client's words, and at which offset
    /// (negative where the client does not say).
    Fault(RDKafkaErrorCode, String, i64),
}

/// What one call took from a queue; gives it back when dropped.
pub(super) struct Batch<'q> {
    messages: &'q mut Vec<*mut sys::rd_kafka_message_t>,
}

impl Batch<'_> {
    /// The entries in the order of the queue, which is the order of offsets.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        // SAFETY: every pointer in the array is a live message (points 2 and 3); the result borrows
        // `self`, which destroys them.
        self.messages.iter().map(|message| unsafe { entry(*message) })
    }

    /// Appends to `out` those headers of entry `at` that have one of `names`. The client parses the headers of a
    /// message when they are first asked for; where they cannot be parsed there are none.
    pub(super) fn headers<'a>(
        &'a self,
        at: usize,
        names: &'a [HeaderName],
        out: &mut Vec<Header<'a>>,
    ) {
        let Some(message) = self.messages.get(at) else { return };
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive (point 2) and used by this thread only (point 7); the headers that the call
        // finds belong to it and are given back with it.
        let code = unsafe { sys::rd_kafka_message_headers(*message, &mut headers) };
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            // SAFETY: as above; what is found borrows `self`, which destroys the message.
            out.extend(names.iter().filter_map(|name| unsafe { header(headers, name) }));
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: point 2: ours, alive, and forgotten by `drain`.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

/// Reads one message.
///
/// # Safety
/// `message` is a live message that stays so for `'a`.
unsafe fn entry<'a>(message: *mut sys::rd_kafka_message_t) -> Entry<'a> {
    // SAFETY: the message is alive (the caller's duty). The code is read as an integer (point 4): the
    // field is a C `enum`, which has the size and alignment of `c_int`.
    let (code, offset) =
        unsafe { (ptr::addr_of!((*message).err).cast::<i32>().read(), (*message).offset) };
    if code == RDKafkaErrorCode::PartitionEOF as i32 {
        return Entry::End(offset);
    }
    // SAFETY: the slices live as long as the message (point 3).
    let (key, value) = unsafe {
        (bytes((*message).key, (*message).key_len), bytes((*message).payload, (*message).len))
    };
    if code != RDKafkaErrorCode::NoError as i32 {
        let code = RDKafkaRespErr::try_from(code)
            .map_or(RDKafkaErrorCode::Unknown, RDKafkaErrorCode::from);
        // With an error, the value is its description.
        let text =
            value.map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        return Entry::Fault(code, text.unwrap_or_else(|| code.to_string()), offset);
    }
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive; the kind is one of the three values of the `enum`, which the client
    // sets itself and does not take from the wire.
    let millis = unsafe { sys::rd_kafka_message_timestamp(message, &mut kind) };
    let time = match (kind, u64::try_from(millis)) {
        (sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME, Ok(millis)) => {
            RecordTime::Created(EventTime::from_millis(millis))
        }
        (sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME, Ok(millis)) => {
            RecordTime::Appended(EventTime::from_millis(millis))
        }
        _ => RecordTime::Unknown,
    };
    Entry::Record(Record { offset, time, key, value, headers: &[] })
}

/// A header that is to be read, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderName {
    text: Box<str>,
    name: CString,
}

impl HeaderName {
    /// `None` for a name with a zero byte, which no header has that the client could look up.
    pub(super) fn new(text: &str) -> Option<Self> {
        Some(HeaderName { text: text.into(), name: CString::new(text).ok()? })
    }
}

/// Reads the last header called `name` of a message, if it is there and has a value.
///
/// # Safety
/// `headers` belongs to a live message that stays so for `'a`.
unsafe fn header<'a>(
    headers: *const sys::rd_kafka_headers_t,
    name: &'a HeaderName,
) -> Option<Header<'a>> {
    let (mut value, mut size) = (ptr::null(), 0);
    // SAFETY: the headers are alive (the caller's duty), the name ends in a zero, both results are written by the
    // call or left alone.
    let code = unsafe {
        sys::rd_kafka_header_get_last(headers, name.name.as_ptr(), &mut value, &mut size)
    };
    if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the value lies within the message (point 3).
    let value = unsafe { bytes(value.cast_mut(), size) }?;
    Some(Header { name: &name.text, value })
}

/// The slice at `start`, or `None` for null.
///
/// # Safety
/// `start` is null, or the start of `len` bytes that are not written to during `'a`.
unsafe fn bytes<'a>(start: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's duty.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}
