//! Rust source as the rules see it: which part of a line is code, which is
//! literal or comment, and which lines are test code.

/// A Rust file, line by line.
#[derive(Debug)]
pub(crate) struct RustSource {
    /// Its lines with comments and the content of literals blanked out.
    pub(crate) code: Vec<String>,
    /// Its lines with comments blanked out only.
    pub(crate) with_literals: Vec<String>,
    /// Whether each line belongs to test code.
    pub(crate) is_test: Vec<bool>,
}

impl RustSource {
    /// Reads the file at `path`, which is relative to the project.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let (code, with_literals) = blank(text);
        let is_test = if is_test_file(path) {
            code.iter().map(|_| true).collect()
        } else {
            test_lines(&code)
        };
        Self { code, with_literals, is_test }
    }

    /// Modules in files of their own that only tests compile (`#[cfg(test)] mod
    /// sample;`): each as the start of its path, without an extension.
    pub(crate) fn test_modules(&self, path: &str) -> Vec<String> {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let is_root = matches!(file, "mod.rs" | "lib.rs" | "main.rs");
        let folder = if is_root { folder } else { path.trim_end_matches(".rs") };
        let lines = self.code.iter().zip(&self.is_test).filter(|(_, test)| **test);
        let names = lines.filter_map(|(line, _)| {
            let (_, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
            Some(format!("{folder}/{name}"))
        });
        names.collect()
    }

    /// Marks the whole file as test code.
    pub(crate) fn mark_as_test(&mut self) {
        self.is_test.fill(true);
    }

    /// Lines of code outside of tests, numbered from 1.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.is_test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(index, (line, _))| (index + 1, line.as_str()))
    }

    /// Lines of code outside of tests with their literals, numbered from 1.
    pub(crate) fn production_with_literals(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.with_literals.iter().zip(&self.is_test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(index, (line, _))| (index + 1, line.as_str()))
    }

    /// All lines of code, numbered from 1.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().enumerate().map(|(index, line)| (index + 1, line.as_str()))
    }
}

/// Whether the whole file is test code: `tests.rs`, integration tests, benchmarks, fuzz targets.
pub(crate) fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/');
    let file = parts.next_back().unwrap_or_default();
    file == "tests.rs" || parts.any(|folder| ["tests", "benches", "fuzz"].contains(&folder))
}

/// Whether `line` holds `word` with no letter, digit or underscore before or after it.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

/// What the scanner is in the middle of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// Block comments nest.
    BlockComment(usize),
    Text,
    /// Raw text ends with a quote and this many `#`.
    RawText(usize),
}

/// The text without comments and literals, and without comments only.
fn blank(text: &str) -> (Vec<String>, Vec<String>) {
    let characters: Vec<char> = text.chars().collect();
    let (mut code, mut literal) = (String::new(), String::new());
    let mut state = State::Code;
    let mut at = 0;
    while let Some(&character) = characters.get(at) {
        let rest = &characters[at..];
        let (next, taken) = step(state, rest, characters[..at].last().copied());
        for &taken in &rest[..taken] {
            let kept = |keep: bool| if keep || taken == '\n' { taken } else { ' ' };
            let is_code = state == State::Code && next == State::Code;
            let is_comment = |state| matches!(state, State::LineComment | State::BlockComment(_));
            code.push(kept(is_code));
            literal.push(kept(!is_comment(state) && !is_comment(next)));
        }
        // A character literal is taken in one step that begins and ends in code.
        if state == State::Code && next == State::Code && taken > 1 && character == '\'' {
            code.truncate(code.len() - rest[..taken].iter().map(|c| c.len_utf8()).sum::<usize>());
            code.extend(std::iter::repeat_n(' ', taken));
        }
        state = next;
        at += taken;
    }
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    (lines(code), lines(literal))
}

/// The state after the next characters, and how many of them were consumed.
fn step(state: State, rest: &[char], before: Option<char>) -> (State, usize) {
    let starts = |text: &str| text.chars().zip(rest).filter(|(a, b)| a == *b).count() == text.len();
    match state {
        State::Code => begin(rest, before),
        State::LineComment if starts("\n") => (State::Code, 1),
        State::BlockComment(1) if starts("*/") => (State::Code, 2),
        State::BlockComment(depth) if starts("*/") => (State::BlockComment(depth - 1), 2),
        State::BlockComment(depth) if starts("/*") => (State::BlockComment(depth + 1), 2),
        State::Text if starts("\\") => (State::Text, 2.min(rest.len())),
        State::Text if starts("\"") => (State::Code, 1),
        State::RawText(hashes)
            if starts("\"") && rest.iter().skip(1).take_while(|c| **c == '#').count() >= hashes =>
        {
            (State::Code, 1 + hashes)
        }
        other => (other, 1),
    }
}

/// What begins at a place in code.
fn begin(rest: &[char], before: Option<char>) -> (State, usize) {
    let at = |index: usize| rest.get(index).copied().unwrap_or('\0');
    match (at(0), at(1)) {
        ('/', '/') => (State::LineComment, 2),
        ('/', '*') => (State::BlockComment(1), 2),
        ('"', _) => (State::Text, 1),
        ('r', '"' | '#')
            if !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_') =>
        {
            let hashes = rest.iter().skip(1).take_while(|c| **c == '#').count();
            // `r#name` is a raw identifier.
            let is_text = at(1 + hashes) == '"';
            if is_text { (State::RawText(hashes), 2 + hashes) } else { (State::Code, 1) }
        }
        // A character, unless it is a lifetime.
        ('\'', '\\') => {
            let end = rest.iter().skip(3).position(|c| *c == '\'');
            (State::Code, end.map_or(2, |end| end + 4))
        }
        ('\'', _) if at(2) == '\'' => (State::Code, 3),
        _ => (State::Code, 1),
    }
}

/// Marks what follows `#[cfg(test)]` or `#[test]`, up to the end of that item.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut is_test = vec![false; code.len()];
    let mut depth = 0_usize;
    // The depth at which a test item began, and whether its block has opened.
    let mut inside: Option<(usize, bool)> = None;
    for (line, marked) in code.iter().zip(&mut is_test) {
        let begins = line.contains("#[cfg(test)]")
            || line.contains("#[cfg(all(test")
            || line.contains("#[test]");
        if inside.is_none() && begins {
            inside = Some((depth, false));
        }
        *marked = inside.is_some();
        for character in line.chars() {
            match character {
                '{' => {
                    depth += 1;
                    if let Some((_, opened)) = &mut inside {
                        *opened = true;
                    }
                }
                '}' => depth = depth.saturating_sub(1),
                ';' if inside == Some((depth, false)) => inside = None,
                _ => {}
            }
            if matches!(inside, Some((from, true)) if depth <= from) {
                inside = None;
            }
        }
    }
    is_test
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        RustSource::parse("a/src/lib.rs", text).code.join("\n")
    }

    #[test]
    fn comments_and_literals_are_blanked_and_places_kept() {
        assert_eq!(code("a /* x /* y */ z */ b"), "a                   b");
        assert_eq!(code("f(\"x.unwrap()\");"), format!("f({});", " ".repeat(12)));
        assert_eq!(code("b // dbg!"), "b        ");
        assert_eq!(code(r#"f("a\"b", c)"#), "f(      , c)");
        assert_eq!(code("f(r##\"a\"# b\"##, c)"), "f(            , c)");
        assert_eq!(code("/// todo!\nfn a() {}"), "         \nfn a() {}");
    }

    #[test]
    fn characters_are_literals_and_lifetimes_are_code() {
        assert_eq!(code("f('{', '\\'', '\\u{7d}')"), "f(   ,     ,         )");
        assert_eq!(code("fn f<'a>(x: &'a str)"), "fn f<'a>(x: &'a str)");
        assert_eq!(code("match r#type {}"), "match r#type {}");
        assert_eq!(code("f('é', x)"), "f(   , x)");
    }

    #[test]
    fn literals_can_be_kept() {
        let source = RustSource::parse("a/src/lib.rs", "f(\"x\") // \"y\"");
        assert_eq!(source.with_literals[0].trim_end(), "f(\"x\")");
    }

    #[test]
    fn test_items_are_marked_to_their_end() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n\
                    #[cfg(test)]\nmod more;\nfn d() {}\n";
        let source = RustSource::parse("a/src/lib.rs", text);
        let production: Vec<usize> = source.production().map(|(line, _)| line).collect();
        assert_eq!(production, [1, 6, 9]);
    }

    #[test]
    fn modules_of_tests_are_named_by_their_path() {
        let text = "mod a;\n#[cfg(test)]\nmod sample;\n#[cfg(test)]\npub(crate) mod world;\n";
        let modules = |path: &str| RustSource::parse(path, text).test_modules(path);
        assert_eq!(modules("a/src/b/mod.rs"), ["a/src/b/sample", "a/src/b/world"]);
        assert_eq!(modules("a/src/b.rs"), ["a/src/b/sample", "a/src/b/world"]);
    }

    #[test]
    fn test_files_are_test_code_throughout() {
        for path in ["a/src/b/tests.rs", "a/tests/c.rs", "benches/src/window.rs"] {
            assert!(is_test_file(path), "{path}");
        }
        assert!(!is_test_file("testkit/src/lib.rs"));
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("#![allow(unsafe_code)]", "unsafe"));
        assert!(!has_word("is_unsafe()", "unsafe"));
    }
}
