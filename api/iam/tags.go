package iam

import (
	"context"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) tagOps() []*wire.Operation {
	tags, keys := must("Tags", tagsShape), must("TagKeys", wire.List(tagKeyShape, 0, 50))
	return []*wire.Operation{
		{Name: "TagRole", Do: s.tagRole, Input: wire.Structure(roleName, tags)},
		{Name: "UntagRole", Do: s.untagRole, Input: wire.Structure(roleName, keys)},
		{Name: "ListRoleTags", Do: s.listRoleTags, Input: wire.Structure(roleName, marker, maxItems)},
		{Name: "TagPolicy", Do: s.tagPolicy, Input: wire.Structure(policyARN, tags)},
		{Name: "UntagPolicy", Do: s.untagPolicy, Input: wire.Structure(policyARN, keys)},
		{Name: "ListPolicyTags", Do: s.listPolicyTags, Input: wire.Structure(policyARN, marker, maxItems)},
	}
}

// maxTags is how many tags a role or policy has, at most.
const maxTags = 50

type tag struct {
	Key   string `json:"Key"`
	Value string `json:"Value"`
}

// tagsOf are the tags of an input, in its order.
func tagsOf(in wire.Values) []tag {
	var out []tag
	for _, e := range in.List("Tags") {
		v := e.(wire.Values)
		out = append(out, tag{v.String("Key"), v.String("Value")})
	}
	return out
}

func sortedTags(tags []tag) []tag {
	out := append([]tag{}, tags...)
	slices.SortFunc(out, func(a, b tag) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func same(a, b string) bool { return a == b }

// doubled says whether two tags have one key.
func doubled(tags []tag, equal func(a, b string) bool) bool {
	for i, t := range tags {
		if slices.ContainsFunc(tags[:i], func(o tag) bool { return equal(o.Key, t.Key) }) {
			return true
		}
	}
	return false
}

// Keys of roles' tags are told apart whatever their case, those of policies' are not.

func checkRoleTags(tags []tag) error {
	if doubled(tags, strings.EqualFold) {
		return badInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	}
	return nil
}

func checkPolicyTags(tags []tag) error {
	if doubled(tags, same) {
		return badInput("Duplicate tag keys found.")
	}
	return nil
}

// merged are tags with others set; what says of whom there are too many.
func merged(tags, others []tag, equal func(a, b string) bool, what string) ([]tag, error) {
	for _, t := range others {
		if i := slices.IndexFunc(tags, func(o tag) bool { return equal(o.Key, t.Key) }); i >= 0 {
			tags[i] = t
		} else {
			tags = append(tags, t)
		}
	}
	if len(tags) > maxTags {
		return nil, limit("Cannot exceed quota for TagsPer%s: %d", what, maxTags)
	}
	return tags, nil
}

func without(tags []tag, keys []string, equal func(a, b string) bool) []tag {
	return slices.DeleteFunc(tags, func(t tag) bool {
		return slices.ContainsFunc(keys, func(key string) bool { return equal(key, t.Key) })
	})
}

func listTags(c *wire.Call, tags []tag) (any, error) {
	tags, more, err := page(c, sortedTags(tags), func(t tag) string { return t.Key })
	return struct {
		Tags []tag `json:"Tags"`
		listing
	}{tags, more}, err
}

func (s *service) tagRole(ctx context.Context, c *wire.Call) (any, error) {
	tags := tagsOf(c.In)
	if err := checkRoleTags(tags); err != nil {
		return nil, err
	}
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) (err error) {
		r.Tags, err = merged(r.Tags, tags, strings.EqualFold, "Role")
		return err
	})
	return nil, err
}

func (s *service) untagRole(ctx context.Context, c *wire.Call) (any, error) {
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		r.Tags = without(r.Tags, c.In.Strings("TagKeys"), strings.EqualFold)
		return nil
	})
	return nil, err
}

func (s *service) listRoleTags(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.role(ctx, c.Account, c.In.String("RoleName"))
	if err != nil {
		return nil, err
	}
	return listTags(c, r.Tags)
}

func (s *service) tagPolicy(ctx context.Context, c *wire.Call) (any, error) {
	arn, tags := c.In.String("PolicyArn"), tagsOf(c.In)
	if err := changeable(arn); err != nil {
		return nil, err
	}
	if err := checkPolicyTags(tags); err != nil {
		return nil, err
	}
	_, err := s.changePolicy(ctx, c.Account, arn, noPolicy(arn), func(p *policy) (err error) {
		p.Tags, err = merged(p.Tags, tags, same, "Policy")
		return err
	})
	return nil, err
}

func (s *service) untagPolicy(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if err := changeable(arn); err != nil {
		return nil, err
	}
	_, err := s.changePolicy(ctx, c.Account, arn, noPolicy(arn), func(p *policy) error {
		p.Tags = without(p.Tags, c.In.Strings("TagKeys"), same)
		return nil
	})
	return nil, err
}

func (s *service) listPolicyTags(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	p, err := s.policy(ctx, c.Account, arn, noPolicy(arn))
	if err != nil {
		return nil, err
	}
	return listTags(c, p.Tags)
}
