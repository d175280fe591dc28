package iam

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) versionOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "CreatePolicyVersion", Do: s.createVersion, Input: wire.Structure(policyARN, must("PolicyDocument", documentShape), may("SetAsDefault", wire.Boolean()))},
		{Name: "GetPolicyVersion", Do: s.getVersion, Input: wire.Structure(policyARN, versionID)},
		{Name: "ListPolicyVersions", Do: s.listVersions, Input: wire.Structure(policyARN, marker, maxItems)},
		{Name: "SetDefaultPolicyVersion", Do: s.setDefault, Input: wire.Structure(policyARN, versionID)},
		{Name: "DeletePolicyVersion", Do: s.deleteVersion, Input: wire.Structure(policyARN, versionID)},
	}
}

// maxVersions is how many versions a policy has at once, at most.
const maxVersions = 5

type versionView struct {
	Document string    `json:"Document,omitempty"`
	ID       string    `json:"VersionId"`
	Default  bool      `json:"IsDefaultVersion"`
	Created  wire.Time `json:"CreateDate"`
}

type versionAnswer struct {
	Version versionView `json:"PolicyVersion"`
}

func (p *policy) view(v version) versionView {
	return versionView{ID: versionName(v.Number), Default: v.Number == p.Default, Created: wire.Time(v.Created)}
}

// numbered is the index of a version by its name ("v1"); negative if there is none.
func (p *policy) numbered(name string) int {
	return slices.IndexFunc(p.Versions, func(v version) bool { return versionName(v.Number) == name })
}

func noVersion(c *wire.Call) error {
	return noSuch("Policy %s version %s does not exist or is not attachable.", c.In.String("PolicyArn"), c.In.String("VersionId"))
}

// changeable is an error unless the ARN is one of a policy that the account may change.
func changeable(arn string) error {
	if !isPolicyARN(arn) {
		return invalid("ARN %s is not valid.", arn)
	}
	if isManaged(arn) {
		return &wire.Error{Code: "AccessDenied", Status: 403, Message: fmt.Sprintf("%s is a policy of AWS and cannot be changed.", arn)}
	}
	return nil
}

func (s *service) createVersion(ctx context.Context, c *wire.Call) (any, error) {
	arn, document := c.In.String("PolicyArn"), c.In.String("PolicyDocument")
	if err := changeable(arn); err != nil {
		return nil, err
	}
	if err := checkManaged(document); err != nil {
		return nil, err
	}
	p, err := s.changePolicy(ctx, c.Account, arn, noPolicy(arn), func(p *policy) error {
		if len(p.Versions) >= maxVersions {
			return limit("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		p.Last++
		p.Updated = now()
		p.Versions = append(p.Versions, version{p.Last, document, p.Updated})
		if c.In.Bool("SetAsDefault") {
			p.Default = p.Last
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return versionAnswer{p.view(p.Versions[len(p.Versions)-1])}, nil
}

func (s *service) getVersion(ctx context.Context, c *wire.Call) (any, error) {
	p, err := s.policy(ctx, c.Account, c.In.String("PolicyArn"), noVersion(c))
	if err != nil {
		return nil, err
	}
	i := p.numbered(c.In.String("VersionId"))
	if i < 0 {
		return nil, noVersion(c)
	}
	v := p.view(p.Versions[i])
	if v.Document = escaped(p.Versions[i].Document); v.Document == "" {
		return nil, noSuch("wasmill does not have the document of %s.", c.In.String("PolicyArn"))
	}
	return versionAnswer{v}, nil
}

func (s *service) listVersions(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	p, err := s.policy(ctx, c.Account, arn, noPolicy(arn))
	if err != nil {
		return nil, err
	}
	views := []versionView{}
	for _, v := range p.Versions {
		views = append(views, p.view(v))
	}
	// The newest first.
	views, more, err := page(c, views, func(v versionView) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(v.ID, "v"))
		return fmt.Sprintf("%010d", 1e9-n)
	})
	return struct {
		Versions []versionView `json:"Versions"`
		listing
	}{views, more}, err
}

func (s *service) setDefault(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if err := changeable(arn); err != nil {
		return nil, err
	}
	_, err := s.changePolicy(ctx, c.Account, arn, noVersion(c), func(p *policy) error {
		i := p.numbered(c.In.String("VersionId"))
		if i < 0 {
			return noVersion(c)
		}
		p.Default, p.Updated = p.Versions[i].Number, now()
		return nil
	})
	return nil, err
}

func (s *service) deleteVersion(ctx context.Context, c *wire.Call) (any, error) {
	arn := c.In.String("PolicyArn")
	if err := changeable(arn); err != nil {
		return nil, err
	}
	_, err := s.changePolicy(ctx, c.Account, arn, noVersion(c), func(p *policy) error {
		i := p.numbered(c.In.String("VersionId"))
		if i < 0 {
			return noVersion(c)
		}
		if p.Versions[i].Number == p.Default {
			return conflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.Delete(p.Versions, i, i+1)
		p.Updated = now()
		return nil
	})
	return nil, err
}
