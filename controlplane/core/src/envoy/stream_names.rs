//! The names in the configuration of an Envoy that gets its filters and clusters from the control plane.

/// The header of a stream in which an Envoy names its filters: a JSON object from the name of each filter to the plugin
/// configuration that the operator wrote.
pub const FILTERS_HEADER: &str = "weir-filters";
/// The name of the filter between the router and the backends, and of its ECDS resource. It has no plugin
/// configuration, so [`FILTERS_HEADER`] does not name it.
pub const UPSTREAM_FILTER: &str = "weir-upstream";
/// The name of Envoy's cluster for the control plane.
pub const CONTROL_PLANE: &str = "weir";
