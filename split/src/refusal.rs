//! The reason why the filter refuses a configuration. The filter always refuses the whole configuration.

use std::fmt;

/// The place in the configuration, such as `hosts[0].matches[2].path`, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    path: String,
    reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(crate) fn new(path: impl Into<String>, reason: impl Into<String>) -> Refusal {
        Refusal {
            path: path.into(),
            reason: reason.into(),
        }
    }

    /// Puts `place` in front of the path. If the path is empty, the mistake is at `place` itself.
    pub(crate) fn within(self, place: impl fmt::Display) -> Refusal {
        let dot = if self.path.is_empty() { "" } else { "." };
        Refusal {
            path: format!("{place}{dot}{}", self.path),
            reason: self.reason,
        }
    }
}

pub(crate) fn refuse<T>(path: impl Into<String>, reason: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(path, reason))
}

/// Compiles each element of the list `name`. The path of a refusal has the index of the element.
pub(crate) fn each<T, U>(
    name: &str,
    list: &[T],
    mut compile: impl FnMut(&T) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    let place = |place| move |refusal: Refusal| refusal.within(format_args!("{name}[{place}]"));
    let list = list.iter().enumerate();
    list.map(|(index, element)| compile(element).map_err(place(index)))
        .collect()
}
