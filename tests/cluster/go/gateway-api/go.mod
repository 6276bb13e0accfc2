// The CRDs of the Gateway API for tests: a version only.
module weir.dev/cluster/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.3
