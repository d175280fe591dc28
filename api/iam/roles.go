package iam

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/kv"
)

func (s *service) roleOps() []*wire.Operation {
	boundary := must("PermissionsBoundary", arnShape)
	return []*wire.Operation{
		{Name: "CreateRole", Do: s.createRole, Input: wire.Structure(may("Path", rolePath), roleName, must("AssumeRolePolicyDocument", documentShape),
			may("Description", descShape), may("MaxSessionDuration", durationShape), may("PermissionsBoundary", arnShape), may("Tags", tagsShape))},
		{Name: "GetRole", Do: s.getRole, Input: wire.Structure(roleName)},
		{Name: "DeleteRole", Do: s.deleteRole, Input: wire.Structure(roleName)},
		{Name: "ListRoles", Do: s.listRoles, Input: wire.Structure(may("PathPrefix", rolePrefix), marker, maxItems)},
		{Name: "UpdateRole", Do: s.updateRole, Input: wire.Structure(roleName, may("Description", descShape), may("MaxSessionDuration", durationShape))},
		{Name: "UpdateRoleDescription", Do: s.updateRoleDescription, Input: wire.Structure(roleName, must("Description", descShape))},
		{Name: "UpdateAssumeRolePolicy", Do: s.updateTrust, Input: wire.Structure(roleName, must("PolicyDocument", documentShape))},
		{Name: "PutRolePermissionsBoundary", Do: s.putBoundary, Input: wire.Structure(roleName, boundary)},
		{Name: "DeleteRolePermissionsBoundary", Do: s.deleteBoundary, Input: wire.Structure(roleName)},
		{Name: "ListInstanceProfilesForRole", Do: s.listProfiles, Input: wire.Structure(roleName, marker, maxItems)},
	}
}

// roleView is a role in an answer.
type roleView struct {
	Path        string    `json:"Path"`
	RoleName    string    `json:"RoleName"`
	RoleID      string    `json:"RoleId"`
	ARN         string    `json:"Arn"`
	Created     wire.Time `json:"CreateDate"`
	Trust       string    `json:"AssumeRolePolicyDocument"`
	Description string    `json:"Description,omitempty"`
	MaxSession  int64     `json:"MaxSessionDuration,omitempty"`
	Boundary    *boundary `json:"PermissionsBoundary,omitempty"`
	Tags        []tag     `json:"Tags,omitempty"`
	LastUsed    *struct{} `json:"RoleLastUsed,omitempty"`
}

type boundary struct {
	Type string `json:"PermissionsBoundaryType"`
	ARN  string `json:"PermissionsBoundaryArn"`
}

type roleAnswer struct {
	Role roleView `json:"Role"`
}

// brief is a role as all answers have it.
func (r *role) brief(account string) roleView {
	return roleView{Path: r.Path, RoleName: r.Name, RoleID: r.ID, ARN: r.arn(account), Created: wire.Time(r.Created), Trust: escaped(r.Trust)}
}

// whole is a role as GetRole answers it.
func (r *role) whole(account string) roleView {
	v := r.brief(account)
	v.Description, v.MaxSession, v.Tags, v.LastUsed = r.Description, r.MaxSession, sortedTags(r.Tags), &struct{}{}
	v.Boundary = r.boundary()
	return v
}

func (r *role) boundary() *boundary {
	if r.Boundary == "" {
		return nil
	}
	return &boundary{"Policy", r.Boundary}
}

// escaped is a document as IAM answers it: percent-encoded (RFC 3986).
func escaped(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

func (s *service) createRole(ctx context.Context, c *wire.Call) (any, error) {
	r := &role{
		Name: c.In.String("RoleName"), Path: cmp.Or(c.In.String("Path"), "/"), ID: newID("AROA"), Created: now(), Trust: c.In.String("AssumeRolePolicyDocument"),
		Description: c.In.String("Description"), MaxSession: cmp.Or(c.In.Int("MaxSessionDuration"), 3600), Boundary: c.In.String("PermissionsBoundary"), Tags: tagsOf(c.In),
	}
	if err := checkRoleTags(r.Tags); err != nil {
		return nil, err
	}
	if err := checkTrust(r.Trust); err != nil {
		return nil, err
	}
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if r.Boundary != "" {
		if err := s.checkBoundary(ctx, c.Account, r.Boundary); err != nil {
			return nil, err
		}
	}
	_, err = s.bucket.Create(ctx, roleKey(c.Account, r.Name), Entity{Account: c.Account, Role: r})
	if errors.Is(err, kv.ErrExists) {
		return nil, exists("Role with name %s already exists.", r.Name)
	}
	if err != nil {
		return nil, tooLarge(err)
	}
	v := r.brief(c.Account)
	v.Boundary, v.Tags = r.boundary(), r.Tags
	return roleAnswer{v}, nil
}

func (s *service) getRole(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.role(ctx, c.Account, c.In.String("RoleName"))
	if err != nil {
		return nil, err
	}
	return roleAnswer{r.whole(c.Account)}, nil
}

func (s *service) deleteRole(ctx context.Context, c *wire.Call) (any, error) {
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	name := c.In.String("RoleName")
	key := roleKey(c.Account, name)
	e, revision, err := s.get(ctx, key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return nil, noRole(name)
	case err != nil:
		return nil, err
	case len(e.Role.Attached) > 0:
		return nil, conflict("Cannot delete entity, must detach all policies first.")
	case len(e.Role.Inline) > 0:
		return nil, conflict("Cannot delete entity, must delete policies first.")
	}
	return nil, s.bucket.Delete(ctx, key, revision)
}

func (s *service) listRoles(ctx context.Context, c *wire.Call) (any, error) {
	all, err := s.roles(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	views := []roleView{}
	for _, r := range all {
		if strings.HasPrefix(r.Path, c.In.String("PathPrefix")) {
			v := r.brief(c.Account)
			v.Description, v.MaxSession = r.Description, r.MaxSession
			views = append(views, v)
		}
	}
	views, more, err := page(c, views, func(v roleView) string { return strings.ToLower(v.RoleName) })
	return struct {
		Roles []roleView `json:"Roles"`
		listing
	}{views, more}, err
}

func (s *service) updateRole(ctx context.Context, c *wire.Call) (any, error) {
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		if c.In.Has("Description") {
			r.Description = c.In.String("Description")
		}
		r.MaxSession = cmp.Or(c.In.Int("MaxSessionDuration"), r.MaxSession)
		return nil
	})
	return struct{}{}, err
}

func (s *service) updateRoleDescription(ctx context.Context, c *wire.Call) (any, error) {
	r, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		r.Description = c.In.String("Description")
		return nil
	})
	if err != nil {
		return nil, err
	}
	v := r.brief(c.Account)
	v.Description = r.Description
	return roleAnswer{v}, nil
}

func (s *service) updateTrust(ctx context.Context, c *wire.Call) (any, error) {
	document := c.In.String("PolicyDocument")
	if err := checkTrust(document); err != nil {
		return nil, err
	}
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		r.Trust = document
		return nil
	})
	return nil, err
}

func (s *service) putBoundary(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PermissionsBoundary")
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		r.Boundary = arn
		return s.checkBoundary(ctx, c.Account, arn)
	})
	return nil, err
}

// checkBoundary is called in the turn of who changes.
func (s *service) checkBoundary(ctx context.Context, account, arn string) error {
	if !isPolicyARN(arn) {
		return badInput("ARN %s is not valid.", arn)
	}
	found, err := s.attachable(ctx, account, arn)
	if err == nil && !found {
		err = noSuch("Scope ARN: %s does not exist or is not attachable.", arn)
	}
	return err
}

func (s *service) deleteBoundary(ctx context.Context, c *wire.Call) (any, error) {
	_, err := s.changeRole(ctx, c.Account, c.In.String("RoleName"), func(r *role) error {
		if r.Boundary == "" {
			return noSuch("Permissions boundary for role %s not found", r.Name)
		}
		r.Boundary = ""
		return nil
	})
	return nil, err
}

// listProfiles answers that there are none: wasmill has no machines to give roles to.
func (s *service) listProfiles(ctx context.Context, c *wire.Call) (any, error) {
	if _, err := s.role(ctx, c.Account, c.In.String("RoleName")); err != nil {
		return nil, err
	}
	none, more, err := page(c, []string{}, strings.Clone)
	return struct {
		InstanceProfiles []string `json:"InstanceProfiles"`
		listing
	}{none, more}, err
}
