// Pins the version of the Gateway API CRDs that tests use.
module weir.dev/cluster/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
