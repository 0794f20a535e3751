//! How many files and connections this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More are of no use, and where the system allows a thousand millions somebody may count through them.
const WANTED: u64 = 1 << 20;

/// Raises the limit as far as it goes without privileges; the usual 1,024 are few for connections, topics and files
/// together. Returns what it is now.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(WANTED).min(WANTED);
    if limit.current.is_some_and(|current| current < wanted) {
        // Where it fails the old limit stands, and is what is returned.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    }
    at_most()
}

/// The limit as it is.
pub fn at_most() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_the_system_allows() {
        let maximum = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(raise() >= maximum.min(WANTED));
        assert_eq!(raise(), at_most(), "a second time changes nothing");
    }
}
