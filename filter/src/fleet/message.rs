//! The messages that the VMs of a fleet send to each other.

use std::fmt;

/// An item of a VM's queue.
pub enum Message {
    /// There is a new document. The receiver replies to this queue.
    Published { reply_to: u32 },
    /// The VM with this name has installed or refused the new document. All its plugin configurations now use
    /// `revision`, which is empty if they use different revisions.
    Applied { name: String, revision: String },
    /// No VM has the lease, because its holder has ended.
    LeaseIsFree,
}

impl Message {
    pub(super) fn parse(item: &[u8]) -> Option<Message> {
        let mut words = std::str::from_utf8(item).ok()?.split(' ');
        Some(match words.next()? {
            "published" => Message::Published {
                reply_to: words.next()?.parse().ok()?,
            },
            "applied" => Message::Applied {
                name: words.next()?.to_owned(),
                revision: words.next()?.to_owned(),
            },
            _ => Message::LeaseIsFree,
        })
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Published { reply_to } => write!(f, "published {reply_to}"),
            Message::Applied { name, revision } => write!(f, "applied {name} {revision}"),
            Message::LeaseIsFree => f.write_str("lease"),
        }
    }
}
