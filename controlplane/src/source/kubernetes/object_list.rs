//! The answer of an API server to a request for a list of objects.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub struct ObjectList {
    #[serde(default)]
    pub metadata: ListMetadata,
    /// None if the list has no objects.
    pub items: Option<Vec<Box<RawValue>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMetadata {
    #[serde(default)]
    pub resource_version: String,
    /// The token for the next page; empty on the last page.
    #[serde(default, rename = "continue")]
    pub continue_token: String,
}
