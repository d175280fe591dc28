package iam

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/kv"
)

func (s *service) attachmentOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "AttachRolePolicy", Do: s.attach, Input: wire.Structure(roleName, policyARN)},
		{Name: "DetachRolePolicy", Do: s.detach, Input: wire.Structure(roleName, policyARN)},
		{Name: "ListAttachedRolePolicies", Do: s.listAttached, Input: wire.Structure(roleName, may("PathPrefix", policyPath), marker, maxItems)},
		{Name: "ListEntitiesForPolicy", Do: s.listEntities, Input: wire.Structure(policyARN, may("EntityFilter", wire.Enum("User", "Role", "Group", "LocalManagedPolicy", "AWSManagedPolicy")),
			may("PathPrefix", rolePath), may("PolicyUsageFilter", usageShape), marker, maxItems)},
	}
}

var usageShape = wire.Enum("PermissionsPolicy", "PermissionsBoundary")

// maxAttached is how many policies are attached to a role, at most: AWS's default.
const maxAttached = 10

// attachable says whether an ARN that is well-formed names a policy of the account or of AWS.
func (s *service) attachable(ctx context.Context, account, arn string) (bool, error) {
	if isManaged(arn) {
		return true, nil
	}
	_, _, err := s.findPolicy(ctx, account, arn)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *service) attach(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if !isPolicyARN(arn) {
		return nil, invalid("ARN %s is not valid.", arn)
	}
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		found, err := s.attachable(ctx, c.Account, arn)
		if err != nil {
			return err
		}
		if !found {
			return noSuch("Policy %s does not exist or is not attachable.", arn)
		}
		if slices.Contains(r.Attached, arn) {
			return nil
		}
		if len(r.Attached) >= maxAttached {
			return limit("Cannot exceed quota for PoliciesPerRole: %d", maxAttached)
		}
		r.Attached = append(r.Attached, arn)
		return nil
	})
	return nil, err
}

func (s *service) detach(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if !isPolicyARN(arn) {
		return nil, invalid("ARN %s is not valid.", arn)
	}
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		if !slices.Contains(r.Attached, arn) {
			return noPolicy(arn)
		}
		r.Attached = slices.DeleteFunc(r.Attached, func(a string) bool { return a == arn })
		return nil
	})
	return nil, err
}

type attachedView struct {
	Name string `json:"PolicyName"`
	ARN  string `json:"PolicyArn"`
}

func (s *service) listAttached(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.role(ctx, c.Account, c.In.String("RoleName"))
	if err != nil {
		return nil, err
	}
	views := []attachedView{}
	for _, arn := range r.Attached {
		if path, name := splitPolicyARN(arn); strings.HasPrefix(path, c.In.String("PathPrefix")) {
			views = append(views, attachedView{name, arn})
		}
	}
	views, more, err := page(c, views, func(v attachedView) string { return v.ARN })
	return struct {
		AttachedPolicies []attachedView `json:"AttachedPolicies"`
		listing
	}{views, more}, err
}

type entityView struct {
	Name string `json:"RoleName"`
	ID   string `json:"RoleId"`
}

func (s *service) listEntities(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if !isPolicyARN(arn) {
		return nil, invalid("ARN %s is not valid.", arn)
	}
	found, err := s.attachable(ctx, c.Account, arn)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, noPolicy(arn)
	}
	roles, err := s.roles(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	views := []entityView{}
	filter, use := c.In.String("EntityFilter"), c.In.String("PolicyUsageFilter")
	for _, r := range roles {
		asPolicy := use != "PermissionsBoundary" && slices.Contains(r.Attached, arn)
		asBoundary := use != "PermissionsPolicy" && r.Boundary == arn
		if (asPolicy || asBoundary) && (filter == "" || filter == "Role") && strings.HasPrefix(r.Path, c.In.String("PathPrefix")) {
			views = append(views, entityView{r.Name, r.ID})
		}
	}
	views, more, err := page(c, views, func(v entityView) string { return strings.ToLower(v.Name) })
	return struct {
		PolicyGroups []string     `json:"PolicyGroups"`
		PolicyUsers  []string     `json:"PolicyUsers"`
		PolicyRoles  []entityView `json:"PolicyRoles"`
		listing
	}{PolicyRoles: views, listing: more}, err
}
