// A traffic router plugin for Argo Rollouts. It makes the edits of an HTTPRoute that the documentation of the plugin
// argoproj-labs/gatewayAPI describes: weights, header routes and mirror routes. Tests use it where the module proxy does
// not have that plugin.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	"github.com/argoproj/argo-rollouts/rollout/trafficrouting/plugin/rpc"
	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	goplugin "github.com/hashicorp/go-plugin"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

const (
	name  = "argoproj-labs/gatewayAPI"
	label = "rollouts.argoproj.io/gatewayapi-canary"
)

type object = map[string]any

// settings are the plugin's part of a Rollout.
type settings struct {
	HTTPRoute string `json:"httpRoute"`
	Namespace string `json:"namespace"`
}

type router struct {
	client dynamic.NamespaceableResourceInterface
}

func main() {
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig: goplugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "ARGO_ROLLOUTS_RPC_PLUGIN",
			MagicCookieValue: "trafficrouter",
		},
		Plugins: goplugin.PluginSet{"RpcTrafficRouterPlugin": &rpc.RpcTrafficRouterPlugin{Impl: &router{}}},
	})
}

func (r *router) InitPlugin() types.RpcError {
	config, err := rest.InClusterConfig()
	if err != nil {
		return failed(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return failed(err)
	}
	routes := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}
	r.client = client.Resource(routes)
	return types.RpcError{}
}

func (r *router) Type() string { return "GatewayAPI" }

func (r *router) UpdateHash(*v1alpha1.Rollout, string, string, []v1alpha1.WeightDestination) types.RpcError {
	return types.RpcError{}
}

func (r *router) VerifyWeight(*v1alpha1.Rollout, int32, []v1alpha1.WeightDestination) (types.RpcVerified, types.RpcError) {
	return types.Verified, types.RpcError{}
}

// SetWeight writes both weights into every rule that has both Services.
func (r *router) SetWeight(rollout *v1alpha1.Rollout, weight int32, _ []v1alpha1.WeightDestination) types.RpcError {
	return r.edit(rollout, func(route object, rules []any) ([]any, error) {
		found := false
		for _, rule := range rules {
			canary, stable := backends(rollout, rule)
			if canary != nil && stable != nil {
				canary["weight"], stable["weight"] = int64(weight), int64(100-weight)
				found = true
			}
		}
		labels, _ := route["metadata"].(object)["labels"].(object)
		if labels == nil {
			labels = object{}
			route["metadata"].(object)["labels"] = labels
		}
		delete(labels, label)
		if weight != 0 {
			labels[label] = "in-progress"
		}
		if !found {
			return nil, fmt.Errorf("no rule has both Services as backends")
		}
		return rules, nil
	})
}

// SetHeaderRoute appends a rule that sends the requests with these headers to the canary. It copies the filters and
// matches of a rule with both Services. Without headers it removes the rule.
func (r *router) SetHeaderRoute(rollout *v1alpha1.Rollout, step *v1alpha1.SetHeaderRoute) types.RpcError {
	return r.edit(rollout, func(_ object, rules []any) ([]any, error) {
		rules = without(rules, step.Name)
		return extend(rollout, rules, step.Name, len(step.Match), func(rule object) {
			canary, _ := backends(rollout, rule)
			rule["backendRefs"] = []any{object{"group": "", "kind": "Service", "name": canary["name"], "port": canary["port"]}}
			for _, match := range matches(rule) {
				headers, _ := match["headers"].([]any)
				for _, it := range step.Match {
					headers = append(headers, header(it.HeaderName, it.HeaderValue))
				}
				match["headers"] = headers
			}
		}), nil
	})
}

// SetMirrorRoute appends a copy of a rule with both Services. The copy has the step's matches, and mirrors the requests
// to the canary. Without matches it removes the rule.
func (r *router) SetMirrorRoute(rollout *v1alpha1.Rollout, step *v1alpha1.SetMirrorRoute) types.RpcError {
	return r.edit(rollout, func(_ object, rules []any) ([]any, error) {
		rules = without(rules, step.Name)
		return extend(rollout, rules, step.Name, len(step.Match), func(rule object) {
			canary, _ := backends(rollout, rule)
			mirror := object{"backendRef": object{"name": canary["name"], "port": canary["port"]}}
			if step.Percentage != nil {
				mirror["percent"] = int64(*step.Percentage)
			}
			filters, _ := rule["filters"].([]any)
			rule["filters"] = append(filters, object{"type": "RequestMirror", "requestMirror": mirror})
			var all []any
			for _, it := range step.Match {
				match := object{}
				if it.Path != nil {
					match["path"] = path(*it.Path)
				}
				if it.Method != nil {
					match["method"] = it.Method.Exact
				}
				var headers []any
				for name, value := range it.Headers {
					headers = append(headers, header(name, &value))
				}
				if headers != nil {
					match["headers"] = headers
				}
				all = append(all, match)
			}
			rule["matches"] = all
		}), nil
	})
}

func (r *router) RemoveManagedRoutes(rollout *v1alpha1.Rollout) types.RpcError {
	managed := rollout.Spec.Strategy.Canary.TrafficRouting.ManagedRoutes
	if len(managed) == 0 {
		return types.RpcError{}
	}
	return r.edit(rollout, func(_ object, rules []any) ([]any, error) {
		for _, route := range managed {
			rules = without(rules, route.Name)
		}
		return rules, nil
	})
}

// edit changes the rules of the Rollout's HTTPRoute. It tries again if another client has changed the route meanwhile.
func (r *router) edit(rollout *v1alpha1.Rollout, change func(object, []any) ([]any, error)) types.RpcError {
	var settings settings
	err := json.Unmarshal(rollout.Spec.Strategy.Canary.TrafficRouting.Plugins[name], &settings)
	if err != nil {
		return failed(err)
	}
	if settings.Namespace == "" {
		settings.Namespace = rollout.Namespace
	}
	routes := r.client.Namespace(settings.Namespace)
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		route, err := routes.Get(context.TODO(), settings.HTTPRoute, meta.GetOptions{})
		if err != nil {
			return err
		}
		rules, _, err := unstructured.NestedSlice(route.Object, "spec", "rules")
		if err != nil {
			return err
		}
		rules, err = change(route.Object, rules)
		if err != nil {
			return err
		}
		if err := unstructured.SetNestedSlice(route.Object, rules, "spec", "rules"); err != nil {
			return err
		}
		_, err = routes.Update(context.TODO(), route, meta.UpdateOptions{})
		return err
	})
	if err != nil {
		return failed(err)
	}
	return types.RpcError{}
}

// extend appends a changed copy of each rule with both Services, unless the step has no conditions.
func extend(rollout *v1alpha1.Rollout, rules []any, name string, conditions int, change func(object)) []any {
	if conditions == 0 {
		return rules
	}
	copies := 0
	for _, rule := range slices.Clone(rules) {
		if canary, stable := backends(rollout, rule); canary == nil || stable == nil {
			continue
		}
		rule := (&unstructured.Unstructured{Object: rule.(object)}).DeepCopy().Object
		change(rule)
		rule["name"] = name
		if copies > 0 {
			rule["name"] = fmt.Sprintf("%s-%d", name, copies)
		}
		copies++
		rules = append(rules, rule)
	}
	return rules
}

// without removes the rules of a managed route: NAME, NAME-1 and so on.
func without(rules []any, name string) []any {
	return slices.DeleteFunc(rules, func(rule any) bool {
		own, _ := rule.(object)["name"].(string)
		rest, isOwn := strings.CutPrefix(own, name)
		return isOwn && strings.Trim(rest, "-0123456789") == ""
	})
}

// backends returns the backends of a rule that are the canary and the stable Service.
func backends(rollout *v1alpha1.Rollout, rule any) (canary, stable object) {
	refs, _ := rule.(object)["backendRefs"].([]any)
	for _, ref := range refs {
		ref := ref.(object)
		switch ref["name"] {
		case rollout.Spec.Strategy.Canary.CanaryService:
			canary = ref
		case rollout.Spec.Strategy.Canary.StableService:
			stable = ref
		}
	}
	return canary, stable
}

// matches returns the matches of a rule, and adds the default match to a rule without matches.
func matches(rule object) []object {
	all, _ := rule["matches"].([]any)
	if len(all) == 0 {
		all = []any{object{"path": object{"type": "PathPrefix", "value": "/"}}}
		rule["matches"] = all
	}
	objects := make([]object, 0, len(all))
	for _, match := range all {
		objects = append(objects, match.(object))
	}
	return objects
}

func header(name string, value *v1alpha1.StringMatch) object {
	switch {
	case value.Exact != "":
		return object{"name": name, "type": "Exact", "value": value.Exact}
	case value.Prefix != "":
		return object{"name": name, "type": "RegularExpression", "value": value.Prefix + ".*"}
	default:
		return object{"name": name, "type": "RegularExpression", "value": value.Regex}
	}
}

func path(value v1alpha1.StringMatch) object {
	switch {
	case value.Exact != "":
		return object{"type": "Exact", "value": value.Exact}
	case value.Prefix != "":
		return object{"type": "PathPrefix", "value": value.Prefix}
	default:
		return object{"type": "RegularExpression", "value": value.Regex}
	}
}

func failed(err error) types.RpcError { return types.RpcError{ErrorString: err.Error()} }
