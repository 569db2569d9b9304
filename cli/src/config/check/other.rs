//! Checks of the small sections.

use std::net::SocketAddr;
use std::path::{Path as FilePath, PathBuf};

use super::source::topic_name;
use crate::config::path::Path;
use crate::config::read::Sections;
use crate::config::report::{Report, Scope};
use crate::config::resolved::Source;

/// The small sections, resolved.
pub(super) struct Other {
    pub(super) dead_letters: Option<String>,
    pub(super) inventory_file: Option<PathBuf>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) series_max: Option<usize>,
}

/// Checks `[dead_letters]`, `[inventory]`, `[http]` and `[limits]`, and resolves them.
pub(super) fn other(report: &mut Report<'_, '_>, sources: &[Source], sections: &Sections) -> Other {
    let scope = |name: &str| Path::root().key(name);
    let dead_letters = sections.dead_letters.as_ref().and_then(|section| section.topic.clone());
    if let Some(topic) = &dead_letters {
        dead_letter_topic(&mut report.scope(scope("dead_letters")), topic, sources);
    }
    let file = sections.inventory.as_ref().and_then(|section| section.file.as_ref());
    if let Some(file) = file {
        path(&mut report.scope(scope("inventory")), "file", file);
    }
    let listen = sections
        .http
        .as_ref()
        .and_then(|section| listen(&mut report.scope(scope("http")), &section.listen));
    if sections.limits.as_ref().is_some_and(|section| section.series == 0) {
        report.scope(scope("limits")).error(
            &["series"],
            "no series could be known, so nothing could be read",
            "write `series = 1000000`, or as many as there are",
        );
    }
    Other {
        dead_letters,
        inventory_file: file.cloned(),
        listen,
        series_max: sections
            .limits
            .as_ref()
            .map(|section| usize::try_from(section.series).unwrap_or(usize::MAX)),
    }
}

fn dead_letter_topic(scope: &mut Scope<'_, '_, '_>, topic: &str, sources: &[Source]) {
    topic_name(scope, "topic", topic);
    if sources.iter().any(|source| source.topic == topic) {
        scope.error(
            &["topic"],
            format!("`{topic}` is a source as well: dead letters would be read again for ever"),
            "use a topic of its own, such as \"tidewatch-dead-letters\"",
        );
    }
}

/// A path must not be empty.
pub(super) fn path(scope: &mut Scope<'_, '_, '_>, key: &str, path: &FilePath) {
    if path.as_os_str().is_empty() {
        scope.error(&[key], format!("`{key}` is empty"), "write a path");
    }
}

fn listen(scope: &mut Scope<'_, '_, '_>, text: &str) -> Option<SocketAddr> {
    let Ok(address) = text.parse::<SocketAddr>() else {
        let port = text.rsplit_once(':').map_or("9464", |(_, port)| port);
        let port: u16 = port.parse().unwrap_or(9464);
        scope.error(
            &["listen"],
            format!("`{}` is no address and port", text.escape_debug()),
            format!(
                "write \"127.0.0.1:{port}\" for this machine only, or \"0.0.0.0:{port}\" for all"
            ),
        );
        return None;
    };
    if !address.ip().is_loopback() {
        scope.warning(
            &["listen"],
            "page and API ask nobody who they are, and are open to the network here",
            format!(
                "keep the port behind a proxy that does, or write \"127.0.0.1:{}\"",
                address.port()
            ),
        );
    }
    Some(address)
}
