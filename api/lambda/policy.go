package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
)

func (s *service) policyOps() []*wire.Operation {
	const all = "/2015-03-31/functions/{FunctionName}/policy"
	return []*wire.Operation{
		{Name: "AddPermission", Method: "POST", Path: all, Status: http.StatusCreated, Input: addPermissionInput, Do: s.addPermission},
		{Name: "RemovePermission", Method: "DELETE", Path: all + "/{StatementId}", Status: http.StatusNoContent, Input: removePermissionInput, Do: s.removePermission},
		{Name: "GetPolicy", Method: "GET", Path: all, Input: readInput, Do: s.getPolicy},
	}
}

var addPermissionInput = wire.Structure(byNamespaced,
	must("StatementId", wire.String(1, 100, `([a-zA-Z0-9-_]+)`)),
	must("Action", wire.String(0, 0, `(lambda:[*]|lambda:[a-zA-Z]+|[*])`)),
	must("Principal", wire.String(0, 0, `[^\s]+`)),
	may("SourceArn", anyARN),
	may("SourceAccount", wire.String(0, 12, `\d{12}`)),
	may("EventSourceToken", wire.String(0, 256, `[a-zA-Z0-9._\-]+`)),
	byQualifier,
	revision,
	may("PrincipalOrgID", wire.String(12, 34, `o-[a-z0-9]{10,32}`)),
	may("FunctionUrlAuthType", wire.Enum("NONE", "AWS_IAM")),
	may("InvokedViaFunctionUrl", wire.Boolean()),
)

// maxPolicy is the most bytes of a policy (Lambda quotas).
const maxPolicy = 20 << 10

// statement is one permission as AWS stores it, in its order.
type statement struct {
	Sid       string
	Effect    string
	Principal any
	Action    string
	Resource  string
	Condition map[string]map[string]string `json:",omitempty"`
}

// policyOf is the function whose policy c is about, with the key of that policy and the
// revision of what it belongs to.
func (s *service) policyOf(ctx context.Context, c *wire.Call) (r ref, revision string, err error) {
	if r, err = function(c); err != nil {
		return r, "", err
	}
	v, err := s.Functions.Resolve(ctx, r.Name, "")
	if err != nil {
		return r, "", fault(c, ref{Name: r.Name}, err)
	}
	if r.Qualifier == "" || r.Qualifier == functions.Unpublished {
		return r, v.RevisionID, nil
	}
	if !isNumber(r.Qualifier) {
		a, err := s.Functions.Attributes(ctx, r.Name)
		if err != nil {
			return r, "", fault(c, r, err)
		}
		of, there := a.Aliases[r.Qualifier]
		if !there {
			return r, "", noAlias(c, r)
		}
		return r, of.Revision, nil
	}
	if v, err = s.Functions.Resolve(ctx, r.Name, r.Qualifier); err != nil {
		return r, "", fault(c, r, err)
	}
	return r, v.RevisionID, nil
}

func (s *service) addPermission(ctx context.Context, c *wire.Call) (any, error) {
	r, revision, err := s.policyOf(ctx, c)
	if err != nil {
		return nil, err
	}
	if r.Qualifier == functions.Unpublished {
		return nil, invalid("We currently do not support adding policies for $LATEST.")
	}
	st, err := permission(c, r)
	if err != nil {
		return nil, err
	}
	body := compact(st)
	_, err = s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		p := a.Policies[r.Qualifier]
		if id := c.In.String("RevisionId"); id != "" && id != p.Revision && id != revision {
			return stale("GetPolicy")
		}
		if slices.ContainsFunc(p.Statements, func(st functions.Statement) bool { return st.ID == c.In.String("StatementId") }) {
			return conflict("The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", c.In.String("StatementId"))
		}
		p.Statements = append(slices.Clone(p.Statements), functions.Statement{ID: st.Sid, Body: body})
		if n := len(policyText(p)); n > maxPolicy {
			return wire.Errorf("PolicyLengthExceededException", "The final policy size (%d) is bigger than the limit (%d).", n, maxPolicy)
		}
		if a.Policies == nil {
			a.Policies = map[string]functions.Policy{}
		}
		a.Policies[r.Qualifier] = p
		return nil
	})
	if err != nil {
		return nil, fault(c, r, err)
	}
	return struct{ Statement string }{string(body)}, nil
}

// permission words the statement that c asks for.
func permission(c *wire.Call, r ref) (statement, error) {
	st := statement{Sid: c.In.String("StatementId"), Effect: "Allow", Action: c.In.String("Action"), Resource: r.arn(c), Condition: map[string]map[string]string{}}
	switch who := c.In.String("Principal"); {
	case who == "*":
		st.Principal = who
	case accountID(who):
		st.Principal = map[string]string{"AWS": "arn:aws:iam::" + who + ":root"}
	case strings.HasPrefix(who, "arn:aws") && strings.Contains(who, ":iam:"):
		st.Principal = map[string]string{"AWS": who}
	case strings.HasSuffix(who, ".amazonaws.com"), strings.HasSuffix(who, ".amazon.com"):
		st.Principal = map[string]string{"Service": who}
	default:
		return st, invalid("The provided principal was invalid. Please check the principal and try again.")
	}
	for _, on := range []struct{ member, operator, key string }{
		{"FunctionUrlAuthType", "StringEquals", "lambda:FunctionUrlAuthType"},
		{"PrincipalOrgID", "StringEquals", "aws:PrincipalOrgID"},
		{"SourceAccount", "StringEquals", "AWS:SourceAccount"},
		{"EventSourceToken", "StringEquals", "lambda:EventSourceToken"},
		{"SourceArn", "ArnLike", "AWS:SourceArn"},
	} {
		if c.In.Has(on.member) {
			st.when(on.operator, on.key, c.In.String(on.member))
		}
	}
	if c.In.Bool("InvokedViaFunctionUrl") {
		st.when("Bool", "lambda:InvokedViaFunctionUrl", "true")
	}
	return st, nil
}

func (st *statement) when(operator, key, value string) {
	if st.Condition[operator] == nil {
		st.Condition[operator] = map[string]string{}
	}
	st.Condition[operator][key] = value
}

// compact is JSON as AWS writes policies: it does not escape what HTML would need.
func compact(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings, maps of them, and JSON that was made here
	return bytes.TrimSpace(b.Bytes())
}

func policyText(p functions.Policy) string {
	bodies := make([]json.RawMessage, len(p.Statements))
	for i, st := range p.Statements {
		bodies[i] = st.Body
	}
	return string(compact(struct {
		Version, Id string
		Statement   []json.RawMessage
	}{"2012-10-17", "default", bodies}))
}

var removePermissionInput = wire.Structure(byNamespaced,
	path("StatementId", wire.String(1, 100, `([a-zA-Z0-9-_.]+)`)),
	byQualifier,
	query("RevisionId", text),
)

func (s *service) removePermission(ctx context.Context, c *wire.Call) (any, error) {
	r, revision, err := s.policyOf(ctx, c)
	if err != nil {
		if _, gone := s.Functions.Resolve(ctx, r.Name, ""); r.Name != "" && errors.Is(gone, functions.ErrNotFound) {
			err = notFound("No policy found for: %s", ref{Name: r.Name}.arn(c))
		}
		return nil, err
	}
	id := c.In.String("StatementId")
	_, err = s.Functions.SetAttributes(ctx, r.Name, func(a *functions.Attributes) error {
		p, there := a.Policies[r.Qualifier]
		if !there {
			return notFound("No policy is associated with the given resource.")
		}
		i := slices.IndexFunc(p.Statements, func(st functions.Statement) bool { return st.ID == id })
		if i < 0 {
			return notFound("Statement %s is not found in resource policy.", id)
		}
		if want := c.In.String("RevisionId"); want != "" && want != p.Revision && want != revision {
			return stale("GetPolicy")
		}
		p.Statements = slices.Delete(slices.Clone(p.Statements), i, i+1)
		if a.Policies[r.Qualifier] = p; len(p.Statements) == 0 {
			delete(a.Policies, r.Qualifier)
		}
		return nil
	})
	if err != nil {
		return nil, fault(c, r, err)
	}
	return nil, nil
}

func (s *service) getPolicy(ctx context.Context, c *wire.Call) (any, error) {
	r, _, err := s.policyOf(ctx, c)
	if err != nil {
		return nil, err
	}
	a, err := s.Functions.Attributes(ctx, r.Name)
	if err != nil {
		return nil, fault(c, r, err)
	}
	p, there := a.Policies[r.Qualifier]
	if !there {
		return nil, notFound("The resource you requested does not exist.")
	}
	return struct{ Policy, RevisionId string }{policyText(p), p.Revision}, nil
}
