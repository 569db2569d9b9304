//! Notifications by mail, through an SMTP relay.
//!
//! One mail for each notification, plain text. Its `Message-ID` is made of the identity of the
//! transition, and the end of an incident says `In-Reply-To` its opening, so that mail programs show both
//! as one thread.
//!
//! # Delivery
//! At least once: a mail whose acceptance was not heard is sent again, with the same `Message-ID`. All
//! recipients stand in one mail. One that the relay refuses does not keep the others from getting it, and
//! one that the relay puts off is tried again alone.
//!
//! # Errors
//! | answer | meaning here |
//! | --- | --- |
//! | 250 after the text | sent |
//! | 4xx, no answer, no TLS | sent again |
//! | 5xx to a recipient | that recipient is left out; when all are, the mail is a dead letter |
//! | 5xx to the text | dead letter |
//! | 5xx to greeting, `STARTTLS`, `AUTH` or sender | held until a person acts |
//!
//! The password appears in no error and no log line.

mod config;
mod letter;
#[cfg(test)]
mod tests;
mod writer;

pub use config::{EmailConfig, Encryption};
pub use writer::EmailWriter;
