//! The token of a stream. A stream may stay open for longer than its token is valid, so the token is checked again.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Claims, Denied, Tokens};
use weir_core::manifest::problem::messages::answer as messages;

/// Time between two checks of a token: between 30 and 50 seconds, so that the tokens of many streams are not checked at
/// the same moment.
const RECHECK: Duration = Duration::from_secs(30);
const RECHECK_SPREAD_MS: u64 = 20_000;

pub(in crate::serve) struct TokenSession {
    tokens: Arc<Tokens>,
    token: Box<str>,
}

impl TokenSession {
    pub(in crate::serve) fn new(tokens: Arc<Tokens>, token: &str) -> TokenSession {
        TokenSession {
            tokens,
            token: token.into(),
        }
    }

    /// Waits until the token is not valid any more, and returns the reason. If the API server does not answer, the token
    /// stays valid until it expires.
    pub(in crate::serve) async fn ended(&self) -> String {
        loop {
            let left = Claims::of(&self.token).map(|it| it.left());
            let left = left.unwrap_or_default();
            if left.is_zero() {
                return messages::expired().to_string();
            }
            let spread = RandomState::new().hash_one(0) % RECHECK_SPREAD_MS;
            sleep(left.min(RECHECK + Duration::from_millis(spread))).await;
            // The box keeps the memory of a waiting stream small.
            let account = Box::pin(self.tokens.account_within(&self.token, RECHECK));
            if let Err(Denied::Invalid(why)) = account.await {
                return why;
            }
        }
    }
}
