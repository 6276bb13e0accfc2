//! Tokens of ServiceAccounts: a TokenReview says whose token it is, and its answer is kept for a while.
//!
//! ```text
//! audience, expiry, signature (without a TokenReview) --> a turn --> TokenReview --> kept by the token's hash
//! ```
//!
//! There are separate turns for tokens that were good before, for other tokens that the API server has signed, and for
//! tokens whose signature cannot be checked: a client that makes up tokens delays no other client.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use kube::api::{Api, PostParams};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::keys::{Keys, Signature};
use self::store::{Hash, Store};
use weir_core::manifest::problem::messages::answer as messages;
use weir_core::metrics::Metrics;
use weir_core::owner::Owner;

/// The audience that a token must have.
pub const AUDIENCE: &str = "weir.dev";
/// The token that this process shows to the other replicas.
pub const OWN_TOKEN: &str = "/var/run/secrets/weir.dev/token";

/// The field of a TokenReview's answer with the pod that the token is bound to.
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
/// How long a good answer counts without a new TokenReview. A deleted pod can read for this long.
const FRESH: Duration = Duration::from_secs(180);
/// How long a good answer counts while the API server is away; never longer than the token.
const STALE: Duration = Duration::from_secs(3600);
/// How long a bad answer counts.
const BAD: Duration = Duration::from_secs(10);
/// Pause after a TokenReview that failed, if an older answer for the token still counts.
const AWAY: Duration = Duration::from_secs(5);
/// Time for one TokenReview, and for the wait for its turn.
const REVIEW: Duration = Duration::from_secs(5);
/// TokenReviews at a time of tokens that were good before.
const KNOWN: usize = 8;
/// TokenReviews at a time of other tokens that the API server has signed.
const SIGNED: usize = 8;
/// TokenReviews at a time of tokens whose signature cannot be checked.
const UNREADABLE: usize = 2;
/// Most tokens whose answer is kept.
const MAX_TOKENS: usize = 1 << 13;
/// How long an expired token is still reviewed, because clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);

pub struct Tokens {
    reviews: Api<TokenReview>,
    own_token: PathBuf,
    keys: Keys,
    turns: Turns,
    known: Mutex<Store>,
    metrics: Arc<Metrics>,
}

/// Bounds of TokenReviews at a time, by what is known of the token.
struct Turns {
    known: Semaphore,
    signed: Semaphore,
    unreadable: Semaphore,
}

/// One token's answer. A request holds the lock while it waits for the TokenReview, so that other requests with the same
/// token wait for the same answer.
#[derive(Default)]
struct Place(tokio::sync::Mutex<Option<Word>>);

struct Word {
    said: Result<Arc<Account>, String>,
    /// From then on a new TokenReview is needed.
    fresh: Instant,
    /// Until then the answer counts while the API server is away.
    stale: Instant,
}

/// A ServiceAccount.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    pub namespace: String,
    /// `system:serviceaccount:NAMESPACE:NAME`
    pub username: String,
    /// The pod that the token is bound to, else the ServiceAccount.
    pub owner: Arc<Owner>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    Invalid(String),
    Unavailable(String),
}

/// The claims of a token, not verified. For clients' tokens they only save TokenReviews: a token is never good because
/// of its claims.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: String,
    exp: u64,
    #[serde(default)]
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl Tokens {
    /// `own_token` is the file with the token that other replicas show as well.
    pub fn new(client: kube::Client, own_token: &Path, metrics: Arc<Metrics>) -> Tokens {
        Tokens {
            reviews: Api::all(client.clone()),
            own_token: own_token.to_owned(),
            keys: Keys::new(client),
            turns: Turns {
                known: Semaphore::new(KNOWN),
                signed: Semaphore::new(SIGNED),
                unreadable: Semaphore::new(UNREADABLE),
            },
            known: Mutex::new(Store::new(MAX_TOKENS)),
            metrics,
        }
    }

    /// Whether `account` is the ServiceAccount of this process.
    pub(super) fn is_own(&self, account: &Account) -> bool {
        let token = std::fs::read_to_string(&self.own_token).unwrap_or_default();
        Claims::of(token.trim()).is_some_and(|claims| claims.sub == account.username)
    }

    /// Whose token it is.
    pub(super) async fn account(&self, token: &str) -> Result<Arc<Account>, Denied> {
        let Some(claims) = Claims::of(token) else {
            return Err(Denied::Invalid(messages::not_a_token().to_string()));
        };
        if !claims.aud.contain(AUDIENCE) {
            let message = messages::other_audience(AUDIENCE);
            return Err(Denied::Invalid(message.to_string()));
        }
        if claims.is_over() {
            return Err(Denied::Invalid(messages::expired().to_string()));
        }
        let hash: Hash = Sha256::digest(token).into();
        let known = self.store().get(&hash);
        let (place, turns) = match known {
            Some(place) => (place, None),
            None => {
                let turns = self.turns_of(token).await?;
                let place = self.store().place(hash, Instant::now());
                (place, Some(turns))
            }
        };
        let mut word = place.0.lock().await;
        if let Some(word) = word.as_ref().filter(|word| Instant::now() < word.fresh) {
            return word.said.clone().map_err(Denied::Invalid);
        }
        let was_good = word.as_ref().is_some_and(|word| word.said.is_ok());
        let turns = match turns {
            _ if was_good => &self.turns.known,
            Some(turns) => turns,
            None => self.turns_of(token).await?,
        };
        match self.ask(token, turns).await {
            Ok(said) => {
                let (fresh, stale) = match &said {
                    Ok(_) => {
                        let left = claims.left();
                        (FRESH.min(left), STALE.min(left))
                    }
                    Err(_) => (BAD, BAD),
                };
                let now = Instant::now();
                let stale = now + stale;
                *word = Some(Word {
                    said: said.clone(),
                    fresh: now + fresh,
                    stale,
                });
                let owner = said.as_ref().ok().map(|account| account.owner.clone());
                self.store().answered(hash, &place, owner, stale, now);
                said.map_err(Denied::Invalid)
            }
            Err(away) => {
                self.metrics.token_reviewed("unavailable");
                // The TokenReview may have taken seconds.
                let now = Instant::now();
                let known = word.as_mut();
                let known = known.filter(|word| word.said.is_ok() && now < word.stale);
                match known {
                    Some(word) => {
                        word.fresh = (now + AWAY).min(word.stale);
                        word.said.clone().map_err(Denied::Invalid)
                    }
                    None => Err(Denied::Unavailable(
                        messages::api_server_away(away).to_string(),
                    )),
                }
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turns for a token that was not good before.
    async fn turns_of(&self, token: &str) -> Result<&Semaphore, Denied> {
        match self.keys.verify(token).await {
            Signature::OfApiServer => Ok(&self.turns.signed),
            Signature::Unreadable => Ok(&self.turns.unreadable),
            Signature::OfAnother => {
                self.metrics.token_reviewed("forged");
                Err(Denied::Invalid(messages::forged().to_string()))
            }
        }
    }

    /// What the API server says of the token, or why it says nothing.
    async fn ask(
        &self,
        token: &str,
        turns: &Semaphore,
    ) -> Result<Result<Arc<Account>, String>, String> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                audiences: Some(vec![AUDIENCE.into()]),
            },
            ..TokenReview::default()
        };
        let answer = async {
            // Never closed.
            let _turn = turns.acquire().await;
            self.reviews.create(&PostParams::default(), &review).await
        };
        let answer = timeout(REVIEW, answer).await;
        let answer = answer.map_err(|_| "it does not answer".to_owned())?;
        let status = answer.map_err(|error| error.to_string())?.status;
        let status = status.ok_or("it says nothing")?;
        let said = account_of(status);
        let result = if said.is_ok() { "good" } else { "bad" };
        self.metrics.token_reviewed(result);
        Ok(said)
    }
}

fn account_of(
    status: k8s_openapi::api::authentication::v1::TokenReviewStatus,
) -> Result<Arc<Account>, String> {
    if status.authenticated != Some(true) {
        let why = status.error.filter(|why| !why.is_empty());
        let why = why.unwrap_or_else(|| "it does not know it".into());
        return Err(messages::review_failed(why).to_string());
    }
    // A server that does not know audiences names none.
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|audience| audience == AUDIENCE) {
        return Err(messages::other_audience(AUDIENCE).to_string());
    }
    let user = status.user.unwrap_or_default();
    let username = user.username.unwrap_or_default();
    let account = username.strip_prefix("system:serviceaccount:");
    let Some((namespace, _)) = account.and_then(|account| account.split_once(':')) else {
        return Err(messages::not_a_token().to_string());
    };
    let bound = user.extra.as_ref().and_then(|extra| extra.get(POD_UID));
    let owner = match bound.and_then(|uids| uids.first()) {
        Some(uid) => Owner::of_pod(namespace, uid),
        None => Owner::of_account(namespace, &username),
    };
    Ok(Arc::new(Account {
        namespace: namespace.into(),
        owner: Arc::new(owner),
        username,
    }))
}

impl Claims {
    fn of(token: &str) -> Option<Claims> {
        let mut parts = token.split('.');
        let claims = parts.nth(1)?;
        // A token has a third part, the signature.
        parts.next()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    fn is_over(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let ends = Duration::from_secs(self.exp).saturating_add(LEEWAY);
        now.is_ok_and(|now| now >= ends)
    }

    /// Time until the token expires.
    fn left(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Duration::from_secs(self.exp).saturating_sub(now.unwrap_or_default())
    }
}

impl Default for Audiences {
    fn default() -> Audiences {
        Audiences::Many(Vec::new())
    }
}

impl Audiences {
    fn contain(&self, audience: &str) -> bool {
        match self {
            Audiences::One(one) => one == audience,
            Audiences::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

mod keys;
mod store;
#[cfg(test)]
mod tests;
