//! The page's files, compiled in.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

/// Name, type and text of every file.
pub(super) const FILES: [(&str, &str, &str); 10] = [
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
    ("app.js", SCRIPT, include_str!("assets/app.js")),
    ("data.js", SCRIPT, include_str!("assets/data.js")),
    ("dom.js", SCRIPT, include_str!("assets/dom.js")),
    ("chart.js", SCRIPT, include_str!("assets/chart.js")),
    ("bars.js", SCRIPT, include_str!("assets/bars.js")),
    ("fleet.js", SCRIPT, include_str!("assets/fleet.js")),
    ("alerts.js", SCRIPT, include_str!("assets/alerts.js")),
    ("logs.js", SCRIPT, include_str!("assets/logs.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page itself.
pub(super) const INDEX: &str = include_str!("assets/index.html");

/// `GET /`.
pub(super) async fn index() -> Html<&'static str> {
    Html(INDEX)
}

/// `GET /static/NAME`.
pub(super) async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, kind, text)) => ([(header::CONTENT_TYPE, *kind)], *text).into_response(),
        None => (StatusCode::NOT_FOUND, "no such file").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text from data must never become markup, and nothing may come from elsewhere.
    #[test]
    fn no_file_makes_html_from_text_or_loads_from_a_network() {
        for (name, _, text) in FILES.iter().chain([&("index.html", "", INDEX)]) {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text.contains(word), "{name} uses {word}");
            }
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("://"), "{name} names an address");
            assert!(
                !text.contains("style=\""),
                "{name} has an inline style, which the policy forbids"
            );
        }
    }

    #[test]
    fn every_file_that_is_named_exists() {
        for (name, _, text) in FILES.iter().chain([&("index.html", "", INDEX)]) {
            let quoted = text.split(['"', '\'']);
            for path in quoted.filter_map(|part| {
                part.strip_prefix("/static/").or_else(|| part.strip_prefix("./"))
            }) {
                assert!(FILES.iter().any(|(file, ..)| *file == path), "{name} names {path}");
            }
        }
    }
}
