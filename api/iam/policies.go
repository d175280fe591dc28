package iam

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/internal/kv"
)

func (s *service) policyOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "CreatePolicy", Do: s.createPolicy, Input: wire.Structure(policyName, may("Path", policyPath), must("PolicyDocument", documentShape),
			may("Description", wire.String(0, 1000, "")), may("Tags", tagsShape))},
		{Name: "GetPolicy", Do: s.getPolicy, Input: wire.Structure(policyARN)},
		{Name: "DeletePolicy", Do: s.deletePolicy, Input: wire.Structure(policyARN)},
		{Name: "ListPolicies", Do: s.listPolicies, Input: wire.Structure(may("Scope", wire.Enum("All", "AWS", "Local")), may("OnlyAttached", wire.Boolean()),
			may("PathPrefix", policyPath), may("PolicyUsageFilter", usageShape), marker, maxItems)},
	}
}

// policyView is a policy in an answer.
type policyView struct {
	Name        string    `json:"PolicyName"`
	ID          string    `json:"PolicyId"`
	ARN         string    `json:"Arn"`
	Path        string    `json:"Path"`
	Default     string    `json:"DefaultVersionId"`
	Attached    int       `json:"AttachmentCount"`
	Boundaries  int       `json:"PermissionsBoundaryUsageCount"`
	Attachable  bool      `json:"IsAttachable"`
	Description string    `json:"Description,omitempty"`
	Created     wire.Time `json:"CreateDate"`
	Updated     wire.Time `json:"UpdateDate"`
	Tags        *[]tag    `json:"Tags,omitempty"`
}

type policyAnswer struct {
	Policy policyView `json:"Policy"`
}

func versionName(n int) string { return "v" + strconv.Itoa(n) }

// brief is a policy as all answers have it; roles are all of the account.
func (p *policy) brief(arn string, roles []*role) policyView {
	v := policyView{Name: p.Name, ID: p.ID, ARN: arn, Path: p.Path, Default: versionName(p.Default), Attachable: true,
		Created: wire.Time(p.Created), Updated: wire.Time(p.Updated)}
	for _, r := range roles {
		if slices.Contains(r.Attached, arn) {
			v.Attached++
		}
		if r.Boundary == arn {
			v.Boundaries++
		}
	}
	return v
}

func noPolicy(arn string) error { return noSuch("Policy %s was not found.", arn) }

// splitPolicyARN is the path and name in a well-formed ARN of a policy.
func splitPolicyARN(arn string) (path, name string) {
	_, rest, _ := strings.Cut(arn, ":policy/")
	rest = "/" + rest
	end := strings.LastIndexByte(rest, '/') + 1
	return rest[:end], rest[end:]
}

// isPolicyARN says whether arn is well-formed.
func isPolicyARN(arn string) bool {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] != "aws" || parts[2] != "iam" || parts[3] != "" {
		return false
	}
	name, ok := strings.CutPrefix(parts[5], "policy/")
	return ok && name != "" && !strings.HasSuffix(name, "/") && !strings.Contains(name, ":") &&
		(parts[4] == "aws" || len(parts[4]) == 12 && strings.Trim(parts[4], "0123456789") == "")
}

// policy is the policy of an ARN, of the account or of AWS.
func (s *service) policy(ctx context.Context, account, arn string, missing error) (*policy, error) {
	if !isPolicyARN(arn) {
		return nil, invalid("ARN %s is not valid.", arn)
	}
	if isManaged(arn) {
		return managed(arn), nil
	}
	p, _, err := s.findPolicy(ctx, account, arn)
	if errors.Is(err, kv.ErrNotFound) {
		err = missing
	}
	return p, err
}

func (s *service) createPolicy(ctx context.Context, c *wire.Call) (any, error) {
	at, document := now(), c.In.String("PolicyDocument")
	p := &policy{Name: c.In.String("PolicyName"), Path: cmp.Or(c.In.String("Path"), "/"), ID: newID("ANPA"), Created: at, Updated: at,
		Description: c.In.String("Description"), Tags: tagsOf(c.In), Versions: []version{{1, document, at}}, Default: 1, Last: 1}
	if err := checkPolicyTags(p.Tags); err != nil {
		return nil, err
	}
	if err := checkManaged(document); err != nil {
		return nil, err
	}
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	_, err = s.bucket.Create(ctx, policyKey(c.Account, p.Name), Entity{Account: c.Account, Policy: p})
	if errors.Is(err, kv.ErrExists) {
		return nil, exists("A policy called %s already exists. Duplicate names are not allowed.", p.Name)
	}
	if err != nil {
		return nil, tooLarge(err)
	}
	v := p.brief(p.arn(c.Account), nil)
	if len(p.Tags) > 0 {
		v.Tags = &p.Tags
	}
	return policyAnswer{v}, nil
}

func (s *service) getPolicy(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	p, err := s.policy(ctx, c.Account, arn, noPolicy(arn))
	if err != nil {
		return nil, err
	}
	roles, err := s.roles(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	v, tags := p.brief(arn, roles), sortedTags(p.Tags)
	v.Description, v.Tags = p.Description, &tags
	return policyAnswer{v}, nil
}

func (s *service) deletePolicy(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if !isPolicyARN(arn) {
		return nil, invalid("ARN %s is not valid.", arn)
	}
	done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	p, revision, err := s.findPolicy(ctx, c.Account, arn)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, noPolicy(arn)
	}
	if err != nil {
		return nil, err
	}
	roles, err := s.roles(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	if v := p.brief(arn, roles); v.Attached+v.Boundaries > 0 {
		return nil, conflict("Cannot delete a policy attached to entities.")
	}
	if len(p.Versions) > 1 {
		return nil, conflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	}
	return nil, s.bucket.Delete(ctx, policyKey(c.Account, p.Name), revision)
}

func (s *service) listPolicies(ctx context.Context, c *wire.Call) (any, error) {
	all, err := s.entities(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	var roles []*role
	found := map[string]*policy{} // by ARN
	for _, e := range all {
		if e.Policy != nil {
			found[e.Policy.arn(c.Account)] = e.Policy
			continue
		}
		roles = append(roles, e.Role)
		for _, arn := range append(slices.Clone(e.Role.Attached), e.Role.Boundary) {
			if isManaged(arn) {
				found[arn] = managed(arn)
			}
		}
	}
	for _, arn := range knownManaged() {
		found[arn] = managed(arn)
	}
	views := []policyView{}
	scope, use := c.In.String("Scope"), c.In.String("PolicyUsageFilter")
	for arn, p := range found {
		if scope == "Local" && isManaged(arn) || scope == "AWS" && !isManaged(arn) || !strings.HasPrefix(p.Path, c.In.String("PathPrefix")) {
			continue
		}
		v := p.brief(arn, roles)
		uses := v.Attached + v.Boundaries
		switch use {
		case "PermissionsPolicy":
			uses = v.Attached
		case "PermissionsBoundary":
			uses = v.Boundaries
		}
		if uses > 0 || use == "" && !c.In.Bool("OnlyAttached") {
			views = append(views, v)
		}
	}
	views, more, err := page(c, views, func(v policyView) string { return strings.ToLower(v.Name) + " " + v.ARN })
	return struct {
		Policies []policyView `json:"Policies"`
		listing
	}{views, more}, err
}
