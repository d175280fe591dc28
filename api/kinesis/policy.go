package kinesis

import (
	"context"
	"encoding/json"
	"maps"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) policyOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "PutResourcePolicy", Input: putPolicyInput, Do: s.putPolicy},
		{Name: "GetResourcePolicy", Input: policyInput, Do: s.getPolicy},
		{Name: "DeleteResourcePolicy", Input: policyInput, Do: s.deletePolicy},
	}
}

// maxPolicy is the most bytes of a resource policy.
const maxPolicy = 20 << 10

var putPolicyInput = wire.Structure(
	must("ResourceARN", resourceARNShape),
	byID,
	must("Policy", wire.String(0, 0, "")),
)

// putPolicy stores a policy that has the form of one. It is shown, and not evaluated.
func (s *service) putPolicy(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	policy := c.In.String("Policy")
	if !isPolicy(policy) {
		return nil, invalid("Invalid policy document: it must be JSON with Version and one or more statements, each with Effect (Allow or Deny), Principal, Action and Resource.")
	}
	if len(policy) > maxPolicy {
		return nil, invalid("Policy document of %d bytes is larger than %d bytes.", len(policy), maxPolicy)
	}
	return nil, s.setPolicy(ctx, d, consumer, func(policies map[string]string, arn string) error {
		policies[arn] = policy
		return nil
	})
}

// setPolicy has change alter the policies of a stream and its consumers, given the
// ARN of the one that is meant.
func (s *service) setPolicy(ctx context.Context, d stream.Description, consumer string, change func(policies map[string]string, arn string) error) error {
	_, err := s.Streams.SetAttributes(ctx, d.Ref, func(a *stream.Attributes) error {
		if consumer != "" && consumerIndex(a.Consumers, consumer) < 0 {
			return noConsumer(d.Ref, consumerARN(d.Ref, consumer))
		}
		policies := make(map[string]string)
		maps.Copy(policies, a.Policies)
		a.Policies = policies
		return change(policies, resourceARN(d.Ref, consumer))
	})
	if err != nil {
		return s.fault(ctx, d.Ref, err)
	}
	return nil
}

// resourceARN is the ARN of a stream, or of its consumer.
func resourceARN(ref stream.Ref, consumer string) string {
	if consumer == "" {
		return ref.ARN()
	}
	return consumerARN(ref, consumer)
}

// isPolicy is whether text has the form of a resource policy.
func isPolicy(text string) bool {
	var doc struct {
		Version   string
		Statement json.RawMessage
	}
	if json.Unmarshal([]byte(text), &doc) != nil || doc.Version == "" {
		return false
	}
	type statement struct {
		Effect                      string
		Principal, NotPrincipal     json.RawMessage
		Action, NotAction, Resource json.RawMessage
	}
	var list []statement
	if json.Unmarshal(doc.Statement, &list) != nil {
		var one statement
		if json.Unmarshal(doc.Statement, &one) != nil {
			return false
		}
		list = append(list, one)
	}
	for _, st := range list {
		if st.Effect != "Allow" && st.Effect != "Deny" || st.Principal == nil && st.NotPrincipal == nil || st.Action == nil && st.NotAction == nil || st.Resource == nil {
			return false
		}
	}
	return len(list) > 0
}

var policyInput = wire.Structure(must("ResourceARN", resourceARNShape), byID)

func noPolicy(c *wire.Call) *wire.Error {
	return wire.Errorf(codeNotFound, "No resource policy found for resource ARN %s", c.In.String("ResourceARN"))
}

func (s *service) getPolicy(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	policy, ok := d.Attributes.Policies[resourceARN(d.Ref, consumer)]
	if !ok {
		return nil, noPolicy(c)
	}
	return struct{ Policy string }{policy}, nil
}

func (s *service) deletePolicy(ctx context.Context, c *wire.Call) (any, error) {
	d, consumer, err := s.resource(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, s.setPolicy(ctx, d, consumer, func(policies map[string]string, arn string) error {
		if _, ok := policies[arn]; !ok {
			return noPolicy(c)
		}
		delete(policies, arn)
		return nil
	})
}
