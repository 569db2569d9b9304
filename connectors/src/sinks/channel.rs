//! Channels to people: one notification after another, in order.

use std::future::Future;

use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem};

/// Tells one notification.
pub(super) trait Channel: Send {
    fn tell(
        &mut self,
        notification: &Notification,
    ) -> impl Future<Output = Result<(), ConnectorError>> + Send;
}

/// Tells all of `batch` in order and stops at the first that may get through later: nothing is told
/// before what came earlier.
pub(super) async fn tell_all(
    channel: &mut impl Channel,
    batch: &[Notification],
) -> Result<Receipt, ConnectorError> {
    let mut receipt = Receipt::default();
    for (index, notification) in batch.iter().enumerate() {
        match channel.tell(notification).await {
            Ok(()) => receipt.accepted += 1,
            Err(ConnectorError::Permanent { reason, .. }) => {
                receipt.rejected.push(RejectedItem {
                    index,
                    reason: Reason::Rejected,
                    detail: reason,
                });
            }
            // Told as the failure of the whole batch, with its reason, unless some of it is settled
            // already; then the next attempt begins with this item and meets the reason again.
            Err(failure) if index == 0 => return Err(failure),
            Err(_) => {
                receipt.retry.extend(index..batch.len());
                break;
            }
        }
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sample;

    struct Scripted(Vec<Result<(), ConnectorError>>);

    impl Channel for Scripted {
        async fn tell(&mut self, _: &Notification) -> Result<(), ConnectorError> {
            self.0.remove(0)
        }
    }

    fn permanent() -> Result<(), ConnectorError> {
        Err(ConnectorError::Permanent { endpoint: "x".into(), reason: "too long".into() })
    }

    fn refused() -> Result<(), ConnectorError> {
        Err(ConnectorError::Refused { endpoint: "x".into(), reason: "revoked".into() })
    }

    #[tokio::test]
    async fn it_stops_at_the_first_that_may_get_through_later() {
        let batch = vec![sample::opening(); 4];
        let mut channel = Scripted(vec![Ok(()), permanent(), refused(), Ok(())]);
        let receipt = tell_all(&mut channel, &batch).await.unwrap();
        assert_eq!((receipt.accepted, receipt.rejected.len()), (1, 1));
        assert_eq!((receipt.rejected[0].index, receipt.retry), (1, vec![2, 3]));
        let mut channel = Scripted(vec![refused()]);
        assert!(tell_all(&mut channel, &batch).await.is_err(), "nothing settled: its own error");
    }
}
