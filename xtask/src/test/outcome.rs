//! How a step went, and how many tests a test runner says it ran.

use anyhow::{Result, bail};

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did all it should; what in particular.
    Passed(String),
    /// It could not be done on this machine, and that is tolerated here.
    Skipped(String),
    /// Why it failed.
    Failed(String),
}

impl Outcome {
    /// One line for a person.
    pub(crate) fn line(&self) -> String {
        let line = |word: &str, detail: &str| match detail {
            "" => word.to_owned(),
            detail => format!("{word}: {detail}"),
        };
        match self {
            Self::Passed(detail) => line("ok", detail),
            Self::Skipped(reason) => line("SKIPPED", reason),
            Self::Failed(reason) => line("FAILED", reason),
        }
    }
}

/// Adds up what the test runners in `log` report. None at all is a failure, and
/// so is a test that was there and did not run.
pub(crate) fn count_tests(log: &str) -> Result<Outcome> {
    let (mut passed, mut ignored) = (0, 0);
    for line in log.lines().filter(|line| line.starts_with("test result:")) {
        passed += number_before(line, " passed");
        ignored += number_before(line, " ignored");
    }
    if passed == 0 {
        bail!("no test ran");
    }
    if ignored > 0 {
        bail!("{ignored} tests are marked as ignored: run them or remove them");
    }
    Ok(Outcome::Passed(format!("{passed} tests")))
}

/// The number that stands before `word`.
fn number_before(line: &str, word: &str) -> usize {
    let before = line.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_runners_are_added() {
        let log = "x\ntest result: ok. 12 passed; 0 failed; 0 ignored; 0 measured\n\
                   test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(count_tests(log).unwrap(), Outcome::Passed("15 tests".into()));
    }

    #[test]
    fn no_test_and_ignored_tests_are_failures() {
        assert!(count_tests("nothing").is_err());
        assert!(count_tests("test result: ok. 0 passed; 0 failed; 0 ignored").is_err());
        assert!(count_tests("test result: ok. 5 passed; 0 failed; 1 ignored").is_err());
    }

    #[test]
    fn lines_name_the_outcome() {
        assert_eq!(Outcome::Passed(String::new()).line(), "ok");
        assert_eq!(Outcome::Failed("why".into()).line(), "FAILED: why");
    }
}
