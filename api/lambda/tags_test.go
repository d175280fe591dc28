package lambda

import (
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/wasmill/wasmill/functions"
)

func tagsPath(arn string) string { return "/2017-03-31/tags/" + url.PathEscape(arn) }

func TestTagsAsOnAWS(t *testing.T) {
	e := emulate(t, options{idle: true})
	ctx := t.Context()
	e.call("POST", "/2015-03-31/functions", createBody("f", `,"Tags":{"a":"1"},"Publish":true`))
	_, err := e.TagResource(ctx, &sdk.TagResourceInput{Resource: aws.String(arnF), Tags: map[string]string{"b": "2 ü", "c/d": ""}})
	e.check(err)
	_, err = e.UntagResource(ctx, &sdk.UntagResourceInput{Resource: aws.String(arnF), TagKeys: []string{"a", "none"}})
	e.check(err)
	got, err := e.ListTags(ctx, &sdk.ListTagsInput{Resource: aws.String(arnF)})
	e.check(err)
	f, err := e.GetFunction(ctx, &sdk.GetFunctionInput{FunctionName: aws.String("f")})
	e.check(err)
	if want := map[string]string{"b": "2 ü", "c/d": ""}; !maps.Equal(got.Tags, want) || !maps.Equal(f.Tags, want) {
		t.Errorf("tags %v, and with the function %v", got.Tags, f.Tags)
	}
	many := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return `{"Tags":{` + strings.Join(all, ",") + `}}`
	}
	mapping := "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:"
	e.run([]step{
		{"49 more are too many", "POST", tagsPath(arnF), many(49), 400, "Number of tags exceeds resource tag limit."},
		{"no tags", "POST", tagsPath(arnF), `{"Tags":{}}`, 400, "An error occurred and the request cannot be processed."},
		{"null", "POST", tagsPath(arnF), `{}`, 400, "Value null at 'tags' failed to satisfy constraint: Member must not be null"},
		{"no keys", "DELETE", tagsPath(arnF), ``, 400, "Value null at 'tagKeys' failed to satisfy constraint: Member must not be null"},
		{"a version", "GET", tagsPath(arnF + ":1"), ``, 400, "Tags on function aliases and versions are not supported. Please specify a function ARN."},
		{"no function", "GET", tagsPath(arnF + "none"), ``, 404, "Function not found: " + arnF + "none"},
		{"", "POST", tagsPath(arnF + "none"), many(1), 404, "Function not found: " + arnF + "none"},
		{"a name", "GET", tagsPath("f"), ``, 400, "Value 'f' at 'resource' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*):lambda:"},
		{"no mapping", "GET", tagsPath(mapping + "00000000-0000-0000-0000-000000000000"), ``, 404, "The resource you requested does not exist."},
		{"no code signing", "GET", tagsPath("arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-00000000000000000"), ``, 404, "The resource you requested does not exist."},
		{"another account's", "GET", tagsPath("arn:aws:lambda:us-east-1:111111111111:function:f"), ``, 403, "is not authorized to perform: lambda:ListTags"},
		{"another region's", "GET", tagsPath("arn:aws:lambda:eu-west-1:000000000000:function:f"), ``, 404, "Functions from 'eu-west-1' are not reachable"},
		{"aws:", "POST", tagsPath(arnF), `{"Tags":{"aws:x":""}}`, 400, "aws: is a reserved prefix"},
		{"a long key", "POST", tagsPath(arnF), `{"Tags":{"` + strings.Repeat("k", 129) + `":""}}`, 400, "want 1 to 128 characters"},
		{"a long value", "POST", tagsPath(arnF), `{"Tags":{"k":"` + strings.Repeat("v", 257) + `"}}`, 400, "want at most 256 characters"},
		{"48 are not", "POST", tagsPath(arnF), many(48), 204, ""},
	})
}

// What AWS has no parameter for is set by tags, and shown as tags while it is so.
func TestOwnTagsSetWhatOnlyWasmillHas(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("f", returning("1"), func(in *sdk.CreateFunctionInput) {
		in.Tags = map[string]string{"wasmill:isolation": "invocation", "wasmill:concurrency": "5", "wasmill:allow": "db:5432, *.example.com:443", "wasmill:emit": "a,b", "own": "x"}
	})
	c := e.latest("f").Config
	if c.Isolation != functions.IsolationInvocation || *c.Concurrency != 5 || fmt.Sprint(c.Allow) != "[db:5432 *.example.com:443]" || fmt.Sprint(c.Emits) != "[a b]" {
		t.Errorf("made with %+v", c)
	}
	shown := func() map[string]any {
		return e.call("GET", tagsPath(arnF), "").object(t)["Tags"].(map[string]any)
	}
	if got := shown(); got["wasmill:allow"] != "db:5432, *.example.com:443" || got["wasmill:emit"] != "a,b" || len(got) != 5 {
		t.Errorf("tags as they were written: %v", got)
	}
	e.run([]step{
		{"changed", "POST", tagsPath(arnF), `{"Tags":{"wasmill:isolation":"environment","wasmill:emit":"c"}}`, 204, ""},
		{"taken back", "DELETE", tagsPath(arnF) + "?tagKeys=wasmill:allow&tagKeys=own", ``, 204, ""},
		{"changed by a parameter", "PUT", "/2017-10-31/functions/f/concurrency", `{"ReservedConcurrentExecutions":6}`, 200, ""},
		{"a setting that is none", "POST", tagsPath(arnF), `{"Tags":{"wasmill:memory":"1"}}`, 400, "Tag wasmill:memory: wasmill has no such setting of functions: want one of wasmill:allow, wasmill:concurrency, wasmill:emit, wasmill:isolation."},
		{"a value that is none", "POST", tagsPath(arnF), `{"Tags":{"wasmill:isolation":"thread"}}`, 400, `Tag wasmill:isolation: value \"thread\": want environment or invocation.`},
		{"", "POST", tagsPath(arnF), `{"Tags":{"wasmill:concurrency":"-1"}}`, 400, `Tag wasmill:concurrency: value \"-1\": want a whole number, 0 or more.`},
		{"", "POST", tagsPath(arnF), `{"Tags":{"wasmill:concurrency":""}}`, 400, `want a whole number`},
		{"", "POST", tagsPath(arnF), `{"Tags":{"wasmill:concurrency":"1000"}}`, 400, `at most 900 can be reserved`},
		{"", "POST", tagsPath(arnF), `{"Tags":{"wasmill:allow":"nowhere"}}`, 400, `Tag wasmill:allow: value \"nowhere\": want places as host:port`},
		{"", "POST", tagsPath(arnF), `{"Tags":{"wasmill:emit":"a b!"}}`, 400, `Tag wasmill:emit: value \"a b!\": want names of streams`},
		{"at creation too", "POST", "/2015-03-31/functions", createBody("g", `,"Tags":{"wasmill:emit":"!"}`), 400, `Tag wasmill:emit`},
	})
	if c := e.latest("f").Config; c.Isolation != functions.IsolationEnvironment || *c.Concurrency != 6 || len(c.Allow) > 0 || fmt.Sprint(c.Emits) != "[c]" {
		t.Errorf("changed to %+v", c)
	}
	if got := shown(); got["wasmill:isolation"] != "environment" || got["wasmill:emit"] != "c" || got["wasmill:concurrency"] != "6" || len(got) != 3 {
		t.Errorf("tags then: %v", got)
	}
	e.call("DELETE", "/2017-10-31/functions/f/concurrency", "")
	if got := shown(); got["wasmill:concurrency"] != nil {
		t.Errorf("tags when nothing is reserved: %v", got)
	}
}

// How a function is set that no AWS client has made is seen, and can be taken back. What AWS
// has a parameter for is no tag unless one was given.
func TestSettingsWithoutTagAreShown(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", ""))
	e.compile()
	e.updated("f")
	e.run([]step{{"a parameter", "PUT", "/2017-10-31/functions/f/concurrency", `{"ReservedConcurrentExecutions":6}`, 200, ""}})
	_, _, err := e.registry.UpdateConfig(t.Context(), "f", "", func(c *functions.Config) error {
		c.Isolation, c.Allow = functions.IsolationInvocation, []string{"db:1", "db:2"}
		return nil
	})
	e.check(err)
	shown := func(want map[string]string) {
		t.Helper()
		got, err := e.ListTags(t.Context(), &sdk.ListTagsInput{Resource: aws.String(arnF)})
		e.check(err)
		f, err := e.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("f")})
		e.check(err)
		if !maps.Equal(got.Tags, want) || !maps.Equal(f.Tags, want) {
			t.Errorf("tags %v, and with the function %v; want %v", got.Tags, f.Tags, want)
		}
	}
	shown(map[string]string{"wasmill:isolation": "invocation", "wasmill:allow": "db:1 db:2"})
	// A tag that is not shown takes nothing back.
	e.run([]step{
		{"a tag that was never set", "DELETE", tagsPath(arnF) + "?tagKeys=wasmill:concurrency&tagKeys=wasmill:emit&tagKeys=wasmill:memory", ``, 204, ""},
		{"and one that is shown", "DELETE", tagsPath(arnF) + "?tagKeys=wasmill:isolation", ``, 204, ""},
	})
	if c := e.latest("f").Config; c.Concurrency == nil || *c.Concurrency != 6 || c.Isolation != functions.IsolationEnvironment || len(c.Allow) != 2 {
		t.Errorf("set to %+v", c)
	}
	shown(map[string]string{"wasmill:allow": "db:1 db:2"})
}

// Settings and the tags that made them are written down together, or not at all.
func TestTagsAndWhatTheySetAreChangedTogether(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("f", returning("1"))
	d := e.deps
	d.Functions = refusing{e.registry}
	e.url = e.serve(d)
	e.run([]step{
		{"in one change", "POST", tagsPath(arnF), `{"Tags":{"wasmill:allow":"db:1","a":"b"}}`, 204, ""},
		{"refused", "POST", tagsPath(arnF), `{"Tags":{"wasmill:allow":"db:2","c":"d","wasmill:isolation":"thread"}}`, 400, "want environment or invocation"},
		{"shown", "GET", tagsPath(arnF), ``, 200, `{"Tags":{"a":"b","wasmill:allow":"db:1"}}`},
	})
	if got := e.latest("f").Config.Allow; fmt.Sprint(got) != "[db:1]" {
		t.Errorf("may dial %v", got)
	}
}
