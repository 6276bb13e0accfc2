//! The kinds of SMI (Service Mesh Interface): TrafficSplit, TrafficTarget, HTTPRouteGroup and TCPRoute.

pub mod route_group;
pub mod service_name;
pub mod traffic_split;
pub mod traffic_target;
pub mod weight;
