package lambda

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) functionOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "CreateFunction", Method: "POST", Path: "/2015-03-31/functions", Status: http.StatusCreated, Input: createInput, Do: s.create, MaxBody: maxRequest},
		{Name: "GetFunction", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}", Input: readInput, Do: s.get},
		{Name: "GetFunctionConfiguration", Method: "GET", Path: "/2015-03-31/functions/{FunctionName}/configuration", Input: readInput, Do: s.getConfiguration},
		{Name: "ListFunctions", Method: "GET", Path: "/2015-03-31/functions", Input: listInput, Do: s.list},
		{Name: "UpdateFunctionCode", Method: "PUT", Path: "/2015-03-31/functions/{FunctionName}/code", Input: updateCodeInput, Do: s.updateCode, MaxBody: maxRequest},
		{Name: "UpdateFunctionConfiguration", Method: "PUT", Path: "/2015-03-31/functions/{FunctionName}/configuration", Input: updateInput, Do: s.update},
		{Name: "DeleteFunction", Method: "DELETE", Path: "/2015-03-31/functions/{FunctionName}", Status: http.StatusNoContent, Input: readInput, Do: s.delete},
	}
}

var createInput = wire.Structure(slices.Concat([]wire.Member{
	must("FunctionName", wire.String(1, 140, namePattern)),
	must("Role", roleShape),
	must("Code", codeShape),
	may("Publish", wire.Boolean()),
	may("PackageType", wire.Enum("Zip", "Image")),
	may("Tags", tagsShape),
	may("CodeSigningConfigArn", wire.String(0, 200, `arn:(aws[a-zA-Z-]*)?:lambda:[a-z]{2}((-gov)|(-iso(b?)))?-[a-z]+-\d{1}:\d{12}:code-signing-config:csc-[a-z0-9]{17}`)),
	may("Architectures", architectures),
	may("PublishTo", publishTo),
	may("TenancyConfig", wire.Structure(must("TenantIsolationMode", wire.Enum("PER_TENANT")))),
}, settings)...)

func (s *service) create(ctx context.Context, c *wire.Call) (any, error) {
	r, err := parseFunction(c, c.In.String("FunctionName"), "")
	if err != nil {
		return nil, err
	}
	if r.Qualifier != "" { // recorded: as if the pattern had no qualifier
		return nil, violated("Value '%s' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: %s", c.In.String("FunctionName"), namePattern)
	}
	if len(r.Name) > functions.MaxName {
		return nil, invalid("1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to %d", r.Name, functions.MaxName)
	}
	var config functions.Config
	if err := configure(&config, c.In); err != nil {
		return nil, err
	}
	if !c.In.Has("Runtime") || !c.In.Has("Handler") {
		return nil, invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
	}
	tags := stringsOf(c.In.Map("Tags"))
	if err := checkTags(tags); err != nil {
		return nil, err
	}
	if err := applyTags(&config, tags); err != nil {
		return nil, err
	}
	if _, err := s.Functions.Resolve(ctx, r.Name, ""); err == nil { // before the code is fetched and read
		return nil, fault(c, r, functions.ErrExists)
	}
	up, done, err := s.upload(ctx, c, c.In.Map("Code"))
	if err != nil {
		return nil, err
	}
	defer done()
	v, _, err := s.Functions.Submit(ctx, r.Name, up, config, functions.Attributes{Tags: tags}, functions.Change{Publish: c.In.Bool("Publish")})
	if err != nil {
		return nil, fault(c, r, err)
	}
	out := s.show(c, v, "") // even if a version was published
	out.LastUpdateStatus = ""
	return out, nil
}

// published is how the ARN of a version ends that is not $LATEST.
func published(v functions.Version) string {
	if v.Version == functions.Unpublished {
		return ""
	}
	return v.Version
}

var readInput = wire.Structure(byNamespaced, byQualifier)

// find is the version that c names, and how it named it.
func (s *service) find(ctx context.Context, c *wire.Call) (ref, functions.Version, error) {
	r, err := function(c)
	if err != nil {
		return r, functions.Version{}, err
	}
	v, err := s.Functions.Resolve(ctx, r.Name, r.Qualifier)
	if err != nil {
		return r, v, fault(c, r, err)
	}
	return r, v, nil
}

// owner is the function that c names; a qualifier in its name does not count.
func (s *service) owner(ctx context.Context, c *wire.Call) (ref, functions.Version, error) {
	r, err := parseFunction(c, c.In.String("FunctionName"), "")
	if err != nil {
		return r, functions.Version{}, err
	}
	r.Qualifier = ""
	v, err := s.Functions.Resolve(ctx, r.Name, "")
	if err != nil {
		return r, v, fault(c, r, err)
	}
	return r, v, nil
}

func (s *service) get(ctx context.Context, c *wire.Call) (any, error) {
	r, v, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	tags, err := s.tagsOf(ctx, v.Function)
	if err != nil {
		return nil, fault(c, r, err)
	}
	type location struct{ RepositoryType, Location string }
	out := struct {
		Configuration configuration
		Code          location
		Tags          map[string]string `json:",omitempty"`
		Concurrency   *reserved         `json:",omitempty"`
	}{
		Configuration: s.show(c, v, r.Qualifier), Tags: tags,
		Code: location{"S3", s.location(c, v)},
	}
	if v.Config.Concurrency != nil {
		out.Concurrency = &reserved{v.Config.Concurrency}
	}
	return out, nil
}

// location is where v's code can be downloaded: from this server, by the name by which the
// caller has reached it, which is one that it may be called by.
func (s *service) location(c *wire.Call, v functions.Version) string {
	server := s.Endpoint
	if scheme, _, ok := strings.Cut(server, "://"); ok && c.Host != "" {
		server = scheme + "://" + c.Host
	}
	return fmt.Sprintf("%s/_wasmill/v1/functions/%s/code?version=%s", server, v.Function, v.Version)
}

func (s *service) getConfiguration(ctx context.Context, c *wire.Call) (any, error) {
	r, v, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.show(c, v, r.Qualifier), nil
}

var listInput = wire.Structure(
	query("MasterRegion", wire.String(0, 0, `ALL|[a-z]{2}(-gov)?-[a-z]+-\d{1}`)),
	query("FunctionVersion", wire.Enum("ALL")),
	marker,
	query("MaxItems", wire.Integer(1, 10_000)),
)

// pageSize is how many functions, versions or aliases a page shows, whatever is asked for.
const pageSize = 50

func (s *service) list(ctx context.Context, c *wire.Call) (any, error) {
	all, err := s.Functions.List(ctx)
	if err != nil {
		return nil, err
	}
	qualified := c.In.Has("FunctionVersion")
	if qualified {
		var versions []functions.Version
		for _, v := range all {
			more, err := s.Functions.Versions(ctx, v.Function)
			if err == nil { // else it was deleted meanwhile
				versions = append(versions, more...)
			}
		}
		all = versions
	}
	all, next := page(all, versionKey, c, pageSize)
	return struct {
		NextMarker string `json:",omitempty"`
		Functions  []configuration
	}{next, s.shown(c, all, qualified)}, nil
}

// versionKey orders versions, $LATEST first, by function: names have nothing that is less
// than a blank.
func versionKey(v functions.Version) string {
	number := v.Version
	if number == functions.Unpublished {
		number = "0"
	}
	return fmt.Sprintf("%s %10s", v.Function, number)
}

// shown are versions as lists show them.
func (s *service) shown(c *wire.Call, versions []functions.Version, qualified bool) []configuration {
	out := make([]configuration, len(versions))
	for i, v := range versions {
		qualifier := ""
		if qualified {
			qualifier = v.Version
		}
		out[i] = s.show(c, v, qualifier).brief()
	}
	return out
}

var updateInput = wire.Structure(slices.Concat([]wire.Member{byName, may("Role", roleShape), revision}, settings)...)

func (s *service) update(ctx context.Context, c *wire.Call) (any, error) {
	r, old, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	v, _, err := s.Functions.UpdateConfig(ctx, r.Name, c.In.String("RevisionId"), func(config *functions.Config) error {
		return configure(config, c.In)
	})
	if err != nil {
		return nil, refusedOf(c, old, err)
	}
	return s.show(c, v, ""), nil
}

func (s *service) delete(ctx context.Context, c *wire.Call) (any, error) {
	r, err := function(c)
	if err != nil {
		return nil, err
	}
	switch _, found := s.Functions.Resolve(ctx, r.Name, ""); {
	case r.Qualifier == functions.Unpublished:
		return nil, invalid("$LATEST version cannot be deleted without deleting the function.")
	case found != nil:
		return nil, fault(c, r, found)
	case r.Qualifier == "":
		err = s.Functions.Delete(ctx, r.Name)
	case !isNumber(r.Qualifier):
		return nil, invalid("Deletion of aliases is not currently supported.")
	default:
		err = s.deleteVersion(ctx, r)
	}
	if err != nil {
		return nil, fault(c, r, err)
	}
	return nil, nil
}
