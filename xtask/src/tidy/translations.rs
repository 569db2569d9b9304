//! The README in other languages: it says the same as the English one, as far as a machine can see that. Headings of
//! the same levels, the same code but for comments, the same links and the same numbers of paragraphs, items and rows.

use super::{Finding, Tree};

/// The text that the others follow.
const ORIGINAL: &str = "README.md";

/// What has to be the same in each language, in the order in which it appears.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// A heading of this level.
    Heading(usize),
    /// A line of code without its comment.
    Code(String),
    /// What a link leads to.
    Link(String),
    /// A paragraph, an item of a list or a row of a table begins.
    Block(char),
}

/// Compares each `README.LANGUAGE.md` with the original.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(original) = tree.texts.get(ORIGINAL) else { return Vec::new() };
    let original = parts(original);
    let translations = tree.texts.iter().filter(|(path, _)| {
        let language = path.strip_prefix("README.").and_then(|rest| rest.strip_suffix(".md"));
        language.is_some_and(|language| !language.is_empty())
    });
    translations.filter_map(|(path, text)| difference(path, &original, &parts(text))).collect()
}

/// The first place at which a translation says something else.
fn difference(path: &str, original: &[(usize, Part)], own: &[(usize, Part)]) -> Option<Finding> {
    let pairs = original.iter().zip(own);
    if let Some(((line, expected), (own_line, found))) =
        pairs.into_iter().find(|((_, a), (_, b))| a != b)
    {
        let message = format!(
            "{found:?} stands where line {line} of {ORIGINAL} has {expected:?}: translate it anew"
        );
        return Some(Finding::at(path, *own_line, message));
    }
    let missing = original.get(own.len());
    let surplus = own.get(original.len());
    let (line, message) = match (missing, surplus) {
        (Some((line, part)), _) => {
            (0, format!("it lacks what {ORIGINAL} has from line {line} on: {part:?}"))
        }
        (None, Some((line, part))) => (*line, format!("{ORIGINAL} has no {part:?} here")),
        (None, None) => return None,
    };
    Some(Finding::at(path, line, message))
}

/// The parts of a text with the lines on which they stand.
fn parts(text: &str) -> Vec<(usize, Part)> {
    let mut parts = Vec::new();
    let mut fence: Option<&str> = None;
    let mut is_new = true;
    for (line, content) in (1..).zip(text.lines()) {
        if let Some(language) = content.strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            parts.push((line, Part::Code(content.to_owned())));
        } else if let Some(language) = fence {
            let code = without_comment(language, content);
            if !code.is_empty() {
                parts.push((line, Part::Code(code)));
            }
        } else if is_about_languages(content) {
            // Each language names the others.
        } else if content.starts_with('#') {
            let level = content.chars().take_while(|c| *c == '#').count();
            parts.push((line, Part::Heading(level)));
        } else {
            let begins = if content.starts_with("- ") {
                Some('-')
            } else if content.starts_with('|') {
                Some('|')
            } else {
                (is_new && !content.trim().is_empty()).then_some('p')
            };
            parts.extend(begins.map(|block| (line, Part::Block(block))));
            let links = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            parts.extend(links.map(|link| (line, Part::Link(link.to_owned()))));
        }
        is_new = content.trim().is_empty();
    }
    in_sections(parts)
}

/// A line such as `*[English](README.md)*`.
fn is_about_languages(line: &str) -> bool {
    line.starts_with("*[") && line.contains("](README")
}

/// Code without what is said about it; a picture in text is the same in each language.
fn without_comment(language: &str, line: &str) -> String {
    let mark = match language {
        "rust" => "// ",
        "sh" | "toml" | "console" => "# ",
        _ => return line.trim_end().to_owned(),
    };
    line.split(mark).next().unwrap_or_default().trim_end().to_owned()
}

/// Sentences change their order between languages, and links with them: those between two other parts are sorted.
fn in_sections(mut parts: Vec<(usize, Part)>) -> Vec<(usize, Part)> {
    let is_link = |part: &(usize, Part)| matches!(part.1, Part::Link(_));
    for run in parts.chunk_by_mut(|a, b| is_link(a) && is_link(b)) {
        run.sort_by(|(_, a), (_, b)| match (a, b) {
            (Part::Link(a), Part::Link(b)) => a.cmp(b),
            _ => std::cmp::Ordering::Equal,
        });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLISH: &str = "# a\n\n*[Português](README.pt-BR.md)*\n\nSee [one](1.md) and\n[two](2.md).\n\n```sh\nrun  # go\n```\n\n- x\n";

    fn findings(translation: &str) -> Vec<String> {
        let files = [("README.md", ENGLISH), ("README.pt-BR.md", translation)];
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_translation_may_change_words_and_comments() {
        let translation = "# b\n\n*[English](README.md)*\n\nVeja [dois](2.md) e [um](1.md).\n\n```sh\nrun  # vai\n```\n\n- y\n";
        assert_eq!(findings(translation), [""; 0]);
    }

    #[test]
    fn what_is_missing_or_changed_is_found() {
        let other_code =
            findings("# b\n\nVeja [dois](2.md) e [um](1.md).\n\n```sh\nstop\n```\n\n- y\n");
        assert_eq!(
            other_code,
            [
                "README.pt-BR.md:6: Code(\"stop\") stands where line 9 of README.md has Code(\"run\"): translate it anew"
            ]
        );
        let short = findings("# b\n\nVeja [dois](2.md) e [um](1.md).\n\n```sh\nrun\n```\n");
        assert_eq!(
            short,
            ["README.pt-BR.md: it lacks what README.md has from line 12 on: Block('-')"]
        );
        let long = ENGLISH.to_owned() + "- z\n";
        assert_eq!(findings(&long), ["README.pt-BR.md:13: README.md has no Block('-') here"]);
    }
}
