//! What a notification says to people, composed once for all channels.

use std::fmt::Write as _;
use std::time::Duration;

use tidewatch_dataflow::alert::{EndReason, Notification, Severity, TransitionKind};
use tidewatch_dataflow::config::HumanDuration;

use super::instant::readable;

/// A title has at most this many characters: two lines of a phone's lock screen show half of it.
const TITLE_CHARS_MAX: usize = 300;
/// Of a group's labels a title shows at most this many characters, so that there is room for the rest.
const TITLE_GROUP_CHARS_MAX: usize = 120;
/// The value of a fact has at most this many characters.
const FACT_CHARS_MAX: usize = 500;

/// A notification in words. No part of it has control characters or line breaks, whatever the labels
/// of the group contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How much it matters.
    pub severity: Severity,
    /// Whether it is the beginning of the incident, and not its end.
    pub is_opening: bool,
    /// One line that says it all: `[CRITICAL] cpu_sustained on host=web-1: usage_active above 90 for 5m`.
    pub title: String,
    /// What is known, in the order to show it: name and value.
    pub facts: Vec<(String, String)>,
    /// The identity of the incident, which all its messages carry: `tw-0123456789abcdef`.
    pub incident: String,
}

impl Message {
    /// Composes the message of `notification`.
    pub fn new(notification: &Notification) -> Self {
        let transition = &notification.transition;
        let group = match transition.group.is_empty() {
            true => "everything".to_owned(),
            false => clean(&transition.group.to_string(), FACT_CHARS_MAX),
        };
        let rule = clean(&transition.rule, FACT_CHARS_MAX);
        let summary = clean(&transition.summary, FACT_CHARS_MAX);
        let lasted = lasting(transition.lasted());
        let severity = transition.severity.as_str();
        let (word, what) = match transition.kind {
            TransitionKind::Opened => (severity.to_uppercase(), summary.clone()),
            TransitionKind::Ended(reason) => {
                ("RESOLVED".to_owned(), format!("{} after {lasted}", ended(reason)))
            }
        };
        let mut facts = vec![
            ("Rule".to_owned(), rule.clone()),
            ("Group".to_owned(), group.clone()),
            ("What".to_owned(), format!("{summary} (value {})", number(transition.value.0))),
            ("Severity".to_owned(), severity.to_owned()),
            ("Since".to_owned(), readable(transition.started_at)),
        ];
        match transition.kind {
            TransitionKind::Opened => {
                facts.push(("Held for".to_owned(), format!("{lasted} so far")));
            }
            TransitionKind::Ended(reason) => {
                let end = format!("{}, {}", readable(transition.at), ended(reason));
                facts.push(("Until".to_owned(), end));
                facts.push(("Lasted".to_owned(), lasted));
            }
        }
        for (name, value) in notification.inventory.iter() {
            facts.push((capitalised(&clean(name, 60)), clean(value, FACT_CHARS_MAX)));
        }
        let incident = transition.incident.to_string();
        facts.push(("Incident".to_owned(), incident.clone()));
        let title_group = clean(&group, TITLE_GROUP_CHARS_MAX);
        Message {
            severity: transition.severity,
            is_opening: transition.is_opening(),
            title: clean(&format!("[{word}] {rule} on {title_group}: {what}"), TITLE_CHARS_MAX),
            facts,
            incident,
        }
    }

    /// All facts as plain text, one to a line.
    pub fn text(&self) -> String {
        let width = self.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
        let mut text = String::new();
        for (name, value) in &self.facts {
            let _infallible = writeln!(text, "{:width$} {value}", format!("{name}:"));
        }
        text
    }
}

/// What happened, as the end of an incident.
pub(super) fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Recovered => "recovered",
        EndReason::NoData => "no more data",
        EndReason::Merged => "merged with an earlier incident",
        EndReason::RuleChanged => "rule changed or removed",
        EndReason::Quarantined => "no longer watched: the rule crashed at it",
    }
}

/// A span for people: exact below ten seconds, then in whole seconds.
pub(super) fn lasting(span: Duration) -> String {
    let shown =
        if span < Duration::from_secs(10) { span } else { Duration::from_secs(span.as_secs()) };
    HumanDuration::from(shown).to_string()
}

/// A number for people: at most three decimals, none that are zero.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line of at most `chars_max` characters.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    let mut line: String = text
        .chars()
        .take(chars_max)
        .map(|c| if c.is_control() || is_directional(c) { ' ' } else { c })
        .collect();
    if text.chars().nth(chars_max).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// Characters that show a text in another order than it is written, and line separators.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sample;
    use tidewatch_dataflow::series::Labels;

    #[test]
    fn an_opening_says_what_since_when_and_whose() {
        let message = Message::new(&sample::opening());
        assert_eq!(
            message.title,
            "[CRITICAL] cpu_sustained on host=web-1: usage_active above 90 for 5m"
        );
        assert_eq!(
            message.text(),
            "Rule:     cpu_sustained\n\
             Group:    host=web-1\n\
             What:     usage_active above 90 for 5m (value 97.25)\n\
             Severity: critical\n\
             Since:    2026-11-22 19:35:00 UTC\n\
             Held for: 5m so far\n\
             Owner:    web-team\n\
             Tier:     1\n\
             Incident: tw-00000000000000ab\n"
        );
    }

    #[test]
    fn an_end_says_how_long_it_lasted() {
        let message = Message::new(&sample::end());
        assert_eq!(message.title, "[RESOLVED] cpu_sustained on host=web-1: recovered after 17m3s");
        let text = message.text();
        assert!(text.contains("Lasted:   17m3s\n"), "{text}");
        assert!(text.contains("Until:    2026-11-22 19:52:03 UTC, recovered\n"), "{text}");
        assert!(!message.is_opening);
    }

    #[test]
    fn hostile_labels_stay_in_one_line() {
        let mut notification = sample::opening();
        notification.transition.group =
            Labels::from_pairs([("host", "a\r\nBcc: x@example.org\u{1b}[2J\u{202e}")]);
        let message = Message::new(&notification);
        let everything = format!("{}{:?}", message.title, message.facts);
        assert!(!everything.chars().any(|c| c.is_control() || is_directional(c)));
        notification.transition.group = Labels::from_pairs([("host", "x".repeat(10_000))]);
        let title = Message::new(&notification).title;
        assert!(
            title.chars().count() <= TITLE_CHARS_MAX
                && title.ends_with("x…: usage_active above 90 for 5m")
        );
        notification.transition.group = Labels::default();
        assert!(Message::new(&notification).title.contains(" on everything: "));
    }

    #[test]
    fn numbers_and_spans_are_short() {
        assert_eq!(number(97.0), "97");
        assert_eq!(number(-0.12345), "-0.123");
        assert_eq!(number(100.0), "100");
        assert_eq!(lasting(Duration::from_millis(1_500)), "1s500ms");
        assert_eq!(lasting(Duration::from_millis(301_500)), "5m1s");
    }
}
