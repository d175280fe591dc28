package iam

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) inlineOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "PutRolePolicy", Do: s.putInline, Input: wire.Structure(roleName, policyName, must("PolicyDocument", documentShape))},
		{Name: "GetRolePolicy", Do: s.getInline, Input: wire.Structure(roleName, policyName)},
		{Name: "DeleteRolePolicy", Do: s.deleteInline, Input: wire.Structure(roleName, policyName)},
		{Name: "ListRolePolicies", Do: s.listInline, Input: wire.Structure(roleName, marker, maxItems)},
	}
}

// maxInline is how many characters that are no white space a role's own policies have
// together, at most.
const maxInline = 10_240

func (s *service) putInline(ctx context.Context, c *wire.Call) (any, error) {
	document := c.In.String("PolicyDocument")
	if err := checkPermissions(document, false); err != nil {
		return nil, err
	}
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		if r.Inline == nil {
			r.Inline = map[string]string{}
		}
		r.Inline[c.In.String("PolicyName")] = document
		size := 0
		for _, d := range r.Inline {
			size += weight(d)
		}
		if size > maxInline {
			return limit("Maximum policy size of %d bytes exceeded for role %s", maxInline, r.Name)
		}
		return nil
	})
	return nil, err
}

func noInline(c *wire.Call) error {
	return noSuch("The role policy with name %s cannot be found.", c.In.String("PolicyName"))
}

func (s *service) getInline(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.role(ctx, c.Account, c.In.String("RoleName"))
	if err != nil {
		return nil, err
	}
	name := c.In.String("PolicyName")
	document, ok := r.Inline[name]
	if !ok {
		return nil, noInline(c)
	}
	return struct {
		RoleName       string `json:"RoleName"`
		PolicyName     string `json:"PolicyName"`
		PolicyDocument string `json:"PolicyDocument"`
	}{r.Name, name, escaped(document)}, nil
}

func (s *service) deleteInline(ctx context.Context, c *wire.Call) (any, error) {
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		name := c.In.String("PolicyName")
		if _, ok := r.Inline[name]; !ok {
			return noInline(c)
		}
		delete(r.Inline, name)
		return nil
	})
	return nil, err
}

func (s *service) listInline(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.role(ctx, c.Account, c.In.String("RoleName"))
	if err != nil {
		return nil, err
	}
	names, more, err := page(c, slices.Collect(maps.Keys(r.Inline)), strings.Clone)
	return struct {
		PolicyNames []string `json:"PolicyNames"`
		listing
	}{names, more}, err
}
