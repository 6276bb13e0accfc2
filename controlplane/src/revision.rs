//! A configuration as bytes, and the revision that names them.

use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use weir_split::wire::Config;

/// What is served. Equal content has the equal revision on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// 32 hexadecimal digits, half of the SHA-256 of the body.
    pub revision: String,
    /// JSON.
    pub body: Arc<[u8]>,
}

pub fn render(config: &Config) -> Rendered {
    // Cannot fail: the configuration has string keys and no number that JSON lacks.
    let body = serde_json::to_vec(config).unwrap_or_default();
    let mut revision = hex(&Sha256::digest(&body));
    revision.truncate(32);
    Rendered {
        revision,
        body: body.into(),
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_content_alone_decides() {
        let config = |version| Config {
            version,
            hosts: Vec::new(),
            rules: BTreeMap::new(),
        };
        assert_eq!(render(&config(1)), render(&config(1)));
        assert_ne!(render(&config(1)).revision, render(&config(2)).revision);
        assert_eq!(render(&config(1)).revision.len(), 32);
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
