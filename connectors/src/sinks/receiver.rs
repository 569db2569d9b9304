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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_has_the_documented_channels_and_no_others() {
        let text = r#"{
            "console": true,
            "slack": {"webhook": {"env": "SLACK_WEBHOOK"}},
            "email": {"relay": "smtp.example.org", "port": 587, "tls": "starttls", "username": "tw",
                "password": {"env": "SMTP_PASSWORD"}, "from": "tidewatch@example.org",
                "to": ["sre@example.org"]},
            "pagerduty": {"routing_key": {"env": "PAGERDUTY_KEY"},
                "url": "https://events.pagerduty.com/v2/enqueue"}
        }"#;
        let receiver: ReceiverConfig = serde_json::from_str(text).unwrap();
        assert!(receiver.console && receiver.slack.is_some());
        receiver.email.unwrap().validate().unwrap();
        receiver.pagerduty.unwrap().validate().unwrap();
        assert_eq!(
            serde_json::from_str::<ReceiverConfig>("{}").unwrap(),
            ReceiverConfig::default()
        );
        assert!(serde_json::from_str::<ReceiverConfig>(r#"{"pager": {}}"#).is_err());
        let plain = r#"{"slack": {"webhook": "https://hooks.slack.com/services/T/B/x"}}"#;
        assert!(serde_json::from_str::<ReceiverConfig>(plain).is_err(), "no secret in the file");
    }
}
