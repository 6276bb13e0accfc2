//! A real Envoy gets new plugin configurations and listeners while it serves requests: every pick is counted, a change
//! of weights is in force at once, and the cost stays small.

mod cost;
mod counts;
mod lease;
mod scene;
