//! A notification as a mail: its header fields and its text.

use std::time::{Duration, SystemTime};

use lettre::Message as Mail;
use lettre::error::Error;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as MailBuilder};
use tidewatch_dataflow::alert::Notification;

use super::config::domain;
use crate::sinks::instant::rfc3339;
use crate::sinks::message::Message;

/// The mail of `notification`, the same bytes each time it is composed.
///
/// # Errors
/// When the parts make no mail.
pub(super) fn compose(
    notification: &Notification,
    from: &Mailbox,
    to: &[Mailbox],
) -> Result<Mail, Error> {
    let transition = &notification.transition;
    let message = Message::new(notification);
    let domain = domain(&from.email);
    let mut mail = MailBuilder::builder()
        .from(from.clone())
        .subject(message.title.clone())
        .message_id(Some(format!("<{}@{domain}>", transition.id())))
        .header(ContentType::TEXT_PLAIN)
        // Keeps holiday notices from being sent back.
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    for recipient in to {
        mail = mail.to(recipient.clone());
    }
    if !transition.is_opening() {
        let opening = format!("<{}-0@{domain}>", transition.incident);
        mail = mail.in_reply_to(opening.clone()).references(opening);
    }
    // Beyond the year 9999 there is no such header; the present stands in for it.
    if rfc3339(transition.decided_at).is_some() {
        let since_epoch = Duration::from_millis(transition.decided_at.as_millis());
        mail = mail.date(SystemTime::UNIX_EPOCH + since_epoch);
    }
    mail.body(format!("{}\n\n{}", message.title, message.text()))
}
