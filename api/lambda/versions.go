package lambda

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) versionOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "PublishVersion", Method: "POST", Path: "/2015-03-31/functions/{FunctionName}/versions", Status: http.StatusCreated, Input: publishInput, Do: s.publish},
		{Name: "ListVersionsByFunction", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}/versions", Input: listVersionsInput, Do: s.listVersions},
	}
}

var publishInput = wire.Structure(byName, may("CodeSha256", text), may("Description", description), revision, may("PublishTo", publishTo))

func (s *service) publish(ctx context.Context, c *wire.Call) (any, error) {
	r, v, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := refuse(c.In); err != nil {
		return nil, err
	}
	if id := c.In.String("RevisionId"); id != "" && id != v.RevisionID {
		return nil, fault(c, r, functions.ErrRevision)
	}
	current := digest(v.Code.Uploaded().SHA256)
	if sum := c.In.String("CodeSha256"); sum != "" && sum != current {
		return nil, invalid("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", sum, current)
	}
	// Once more by the registry, which lets nobody in between.
	p := functions.Publication{Description: c.In.String("Description"), RevisionID: c.In.String("RevisionId")}
	if sum, err := base64.StdEncoding.DecodeString(c.In.String("CodeSha256")); err == nil {
		p.SHA256 = hex.EncodeToString(sum)
	}
	made, err := s.Functions.Publish(ctx, r.Name, p)
	if err != nil {
		return nil, refusedOf(c, v, err)
	}
	return s.show(c, made, made.Version), nil
}

var listVersionsInput = wire.Structure(byNamespaced, marker, query("MaxItems", wire.Integer(1, 10_000)))

func (s *service) listVersions(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	all, err := s.Functions.Versions(ctx, r.Name)
	if err != nil {
		return nil, fault(c, r, err)
	}
	all, next := page(all, versionKey, c, pageSize)
	return struct {
		NextMarker string `json:",omitempty"`
		Versions   []configuration
	}{next, s.shown(c, all, true)}, nil
}

// deleteVersion deletes the version that r names, unless an alias does.
func (s *service) deleteVersion(ctx context.Context, r ref) error {
	err := s.Functions.DeleteVersion(ctx, r.Name, r.Qualifier)
	if !errors.Is(err, functions.ErrInUse) {
		return err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		return err
	}
	var users []string
	for _, name := range slices.Sorted(maps.Keys(a.Aliases)) {
		if _, weighs := a.Aliases[name].Weights[r.Qualifier]; weighs || a.Aliases[name].Version == r.Qualifier {
			users = append(users, name)
		}
	}
	return conflict("Unable to delete version because the following aliases reference it: [%s]", strings.Join(users, ", "))
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func (s *service) aliasOps() []*wire.Operation {
	const one = "/2015-03-31/functions/{FunctionName}/aliases/{Name}"
	return []*wire.Operation{
		{Name: "CreateAlias", Method: "POST", Path: "/2015-03-31/functions/{FunctionName}/aliases", Status: http.StatusCreated, Input: createAliasInput, Do: s.createAlias},
		{Name: "UpdateAlias", Method: "PUT", Path: one, Input: updateAliasInput, Do: s.updateAlias},
		{Name: "GetAlias", Method: "GET", Path: one, Input: wire.Structure(byName, path("Name", aliasShape)), Do: s.getAlias},
		{Name: "DeleteAlias", Method: "DELETE", Path: one, Status: http.StatusNoContent, Input: wire.Structure(byName, path("Name", aliasShape)), Do: s.deleteAlias},
		{Name: "ListAliases", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}/aliases", Input: listAliasesInput, Do: s.listAliases},
	}
}

// alias is how AWS shows one.
type alias struct {
	AliasArn, Name, FunctionVersion, Description string
	RoutingConfig                                *routing `json:",omitempty"`
	RevisionId                                   string
}

type routing struct{ AdditionalVersionWeights map[string]float64 }

func showAlias(c *wire.Call, function string, a functions.Alias) alias {
	out := alias{AliasArn: ref{function, a.Name}.arn(c), Name: a.Name, FunctionVersion: a.Version, Description: a.Description, RevisionId: a.Revision}
	if len(a.Weights) > 0 {
		out.RoutingConfig = &routing{a.Weights}
	}
	return out
}

func noAlias(c *wire.Call, r ref) error { return notFound("Cannot find alias arn: %s", r.arn(c)) }

var (
	routingShape = wire.Structure(may("AdditionalVersionWeights", wire.Map(wire.String(1, 1024, "[0-9]+"), wire.Double(), 0, 0)))

	createAliasInput = wire.Structure(byName, must("Name", aliasShape), must("FunctionVersion", versionShape),
		may("Description", description), may("RoutingConfig", routingShape))
	updateAliasInput = wire.Structure(byName, path("Name", aliasShape), may("FunctionVersion", versionShape),
		may("Description", description), may("RoutingConfig", routingShape), revision)
)

func (s *service) createAlias(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	a := functions.Alias{Name: c.In.String("Name"), Description: c.In.String("Description")}
	if err := s.direct(ctx, c, r, &a); err != nil {
		return nil, err
	}
	return s.changeAlias(ctx, c, ref{r.Name, a.Name}, func(aliases map[string]functions.Alias) error {
		if _, there := aliases[a.Name]; there {
			return conflict("Alias already exists: %s", ref{r.Name, a.Name}.arn(c))
		}
		aliases[a.Name] = a
		return nil
	})
}

func (s *service) updateAlias(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	r.Qualifier = c.In.String("Name")
	return s.changeAlias(ctx, c, r, func(aliases map[string]functions.Alias) error {
		a, there := aliases[r.Qualifier]
		if !there {
			return noAlias(c, r)
		}
		if id := c.In.String("RevisionId"); id != "" && id != a.Revision {
			return stale("GetFunction/GetAlias")
		}
		take(c.In, "Description", &a.Description)
		if err := s.direct(ctx, c, r, &a); err != nil {
			return err
		}
		aliases[r.Qualifier] = a
		return nil
	})
}

// direct points a where the request says. The versions must be there.
func (s *service) direct(ctx context.Context, c *wire.Call, r ref, a *functions.Alias) error {
	take(c.In, "FunctionVersion", &a.Version)
	if c.In.Has("RoutingConfig") {
		a.Weights = nil
		weights := c.In.Map("RoutingConfig").Map("AdditionalVersionWeights")
		if len(weights) > 1 {
			return invalid("Number of items in AdditionalVersionWeights cannot be greater than 1")
		}
		for version := range weights {
			weight := weights.Float(version)
			if !(weight >= 0 && weight <= 1) {
				return violated("Value '{%s=%v}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map value must satisfy constraint: [Member must have value less than or equal to 1.0, Member must have value greater than or equal to 0.0, Member must not be null]", version, weight)
			}
			a.Weights = map[string]float64{version: weight}
		}
	}
	versions := []string{a.Version}
	for version := range a.Weights {
		switch {
		case version == a.Version:
			return invalid("Invalid function version %s. Function version %[1]s is already included in routing configuration.", version)
		case a.Version == functions.Unpublished:
			return invalid("$LATEST is not supported for an alias pointing to more than 1 version")
		}
		versions = append(versions, version)
	}
	for _, version := range versions {
		at := ref{r.Name, version}
		if _, err := s.Functions.Resolve(ctx, r.Name, version); err != nil {
			return fault(c, at, err)
		}
	}
	return nil
}

// changeAlias changes the aliases of a function and shows that which r names.
func (s *service) changeAlias(ctx context.Context, c *wire.Call, r ref, change func(map[string]functions.Alias) error) (any, error) {
	a, err := s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		if a.Aliases == nil {
			a.Aliases = map[string]functions.Alias{}
		}
		return change(a.Aliases)
	})
	if err != nil {
		return nil, fault(c, ref{Name: r.Name}, err)
	}
	return showAlias(c, r.Name, a.Aliases[r.Qualifier]), nil
}

func (s *service) getAlias(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		return nil, fault(c, r, err)
	}
	r.Qualifier = c.In.String("Name")
	found, there := a.Aliases[r.Qualifier]
	if !there {
		return nil, noAlias(c, r)
	}
	return showAlias(c, r.Name, found), nil
}

// deleteAlias answers in the same way if there was none. What belonged to it goes with it.
func (s *service) deleteAlias(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	name := c.In.String("Name")
	_, err = s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		delete(a.Aliases, name)
		delete(a.Policies, name)
		delete(a.Async, name)
		return nil
	})
	if err != nil {
		return nil, fault(c, r, err)
	}
	return nil, nil
}

var listAliasesInput = wire.Structure(byName, query("FunctionVersion", versionShape), marker, query("MaxItems", wire.Integer(1, 10_000)))

func (s *service) listAliases(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		return nil, fault(c, r, err)
	}
	all := []alias{}
	for _, name := range slices.Sorted(maps.Keys(a.Aliases)) {
		if of := a.Aliases[name]; of.Version == cmp.Or(c.In.String("FunctionVersion"), of.Version) {
			all = append(all, showAlias(c, r.Name, of))
		}
	}
	all, next := page(all, func(a alias) string { return a.Name }, c, pageSize)
	return struct {
		NextMarker string `json:",omitempty"`
		Aliases    []alias
	}{next, all}, nil
}
