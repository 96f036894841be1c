//! What an activity's provider used.

use serde::{Deserialize, Serialize};

use crate::documents::digest;

/// The usage record that every provider activity returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Who did the work, with its version.
    pub provider: String,
    /// The model asked; for a provider without one, the provider again.
    pub model: String,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from a cache.
    pub cached_tokens: u64,
    /// The price in US dollars, as a decimal string so that nothing is rounded on the way.
    pub cost_usd: String,
    /// How long the provider took; 0 for a provider that is computed in place, because a measured time would differ per run.
    pub latency_ms: u64,
    /// How many requests it took.
    pub attempts: u32,
    /// SHA-256 of the request.
    pub request_hash: String,
    /// The provider's name for the answer, where it gives one.
    pub response_id: Option<String>,
    /// Why the answer ended.
    pub finish_reason: String,
}

impl Usage {
    /// Makes the record of work done without tokens, latency or price.
    #[must_use]
    pub fn computed(provider: &str, request: &impl Serialize) -> Self {
        // A value of our own structs always serializes: string keys, no failing impl.
        let bytes = serde_json::to_vec(request).unwrap_or_default();
        Self {
            provider: provider.to_owned(),
            model: provider.to_owned(),
            input_tokens: 0,
            output_tokens: 0,
            cached_tokens: 0,
            cost_usd: "0.00".to_owned(),
            latency_ms: 0,
            attempts: 1,
            request_hash: digest(&bytes),
            response_id: None,
            finish_reason: "stop".to_owned(),
        }
    }
}
