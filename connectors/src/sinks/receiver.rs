//! A receiver: one name for the channels that a rule tells.

use serde::Deserialize;

use super::email::EmailConfig;
use super::pagerduty::PagerDutyConfig;
use super::slack::SlackConfig;

/// `[receivers.NAME]`: where the notifications of the rules that name it go. A receiver without any
/// channel tells nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverConfig {
    /// A line on the console for each notification. Default: false.
    #[serde(default)]
    pub console: bool,
    /// A Slack channel.
    pub slack: Option<SlackConfig>,
    /// Mail.
    pub email: Option<EmailConfig>,
    /// A PagerDuty service.
    pub pagerduty: Option<PagerDutyConfig>,
}
