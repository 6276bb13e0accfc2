//! What became of an object: conditions and Events, from its problems and from what the proxies run.
//!
//! Pure: (subject, problems, proxies) -> the status that it should have.
