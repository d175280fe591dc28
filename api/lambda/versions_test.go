package lambda

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const arnF = "arn:aws:lambda:us-east-1:000000000000:function:f"

// step is a request and what has to come of it.
type step struct {
	rule, method, path, body string
	status                   int
	has                      string // part of the answer's body
}

// run does steps one after the other.
func (e *emulator) run(steps []step) {
	e.t.Helper()
	for _, s := range steps {
		a := e.call(s.method, s.path, s.body)
		if a.status != s.status || !strings.Contains(a.body, s.has) || s.status == 204 && a.body != "" {
			e.t.Errorf("%s: %s %s %s = %d %s; want %d, %s", s.rule, s.method, s.path, s.body, a.status, a.body, s.status, s.has)
		}
	}
}

func TestVersionsAsOnAWS(t *testing.T) {
	e := emulate(t, options{})
	ctx := t.Context()
	e.deploy("f", returning("1"))
	first, err := e.PublishVersion(ctx, &sdk.PublishVersionInput{FunctionName: aws.String("f"), Description: aws.String("first")})
	e.check(err)
	again, err := e.PublishVersion(ctx, &sdk.PublishVersionInput{FunctionName: aws.String("f"), CodeSha256: first.CodeSha256})
	e.check(err)
	if *first.Version != "1" || *first.FunctionArn != arnF+":1" || *first.Description != "first" || *again.Version != "1" {
		t.Errorf("published %s %s %q, and unchanged %s", *first.Version, *first.FunctionArn, *first.Description, *again.Version)
	}
	_, err = e.UpdateFunctionConfiguration(ctx, &sdk.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(7)})
	e.check(err)
	latest, err := e.GetFunctionConfiguration(ctx, &sdk.GetFunctionConfigurationInput{FunctionName: aws.String("f")})
	e.check(err)
	second, err := e.PublishVersion(ctx, &sdk.PublishVersionInput{FunctionName: aws.String("f"), RevisionId: latest.RevisionId})
	e.check(err)
	if *second.Version != "2" || *second.Timeout != 7 {
		t.Errorf("published %s with a timeout of %d s", *second.Version, *second.Timeout)
	}
	old, err := e.GetFunctionConfiguration(ctx, &sdk.GetFunctionConfigurationInput{FunctionName: aws.String("f"), Qualifier: aws.String("1")})
	e.check(err)
	if *old.Timeout != 3 || *old.FunctionArn != arnF+":1" {
		t.Errorf("version 1 has a timeout of %d s, and is called %s", *old.Timeout, *old.FunctionArn)
	}
	code, err := e.UpdateFunctionCode(ctx, &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: returning("3"), Publish: true, Architectures: []types.Architecture{types.ArchitectureArm64}})
	e.check(err)
	if *code.Version != "3" || *code.FunctionArn != arnF+":3" || !slices.Equal(code.Architectures, []types.Architecture{types.ArchitectureArm64}) {
		t.Errorf("new code was published as %s, %s, for %v", *code.Version, *code.FunctionArn, code.Architectures)
	}
	e.updated("f")
	waiter := sdk.NewPublishedVersionActiveWaiter(e)
	e.check(waiter.Wait(ctx, &sdk.GetFunctionConfigurationInput{FunctionName: aws.String("f"), Qualifier: aws.String("3")}, 1e10))
	var got []string
	pages := sdk.NewListVersionsByFunctionPaginator(e, &sdk.ListVersionsByFunctionInput{FunctionName: aws.String("f"), MaxItems: aws.Int32(3)})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		e.check(err)
		for _, v := range p.Versions {
			got = append(got, strings.TrimPrefix(*v.FunctionArn, arnF)+"="+*v.Version)
		}
	}
	if want := ":$LATEST=$LATEST :1=1 :2=2 :3=3"; strings.Join(got, " ") != want {
		t.Errorf("versions %v, want %s", got, want)
	}
	const versions, function = "/2015-03-31/functions/f/versions", "/2015-03-31/functions/f"
	e.run([]step{
		{"a revision that is not the latest", "POST", versions, `{"RevisionId":"x"}`, 412, "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"},
		{"code that is not the latest", "POST", versions, `{"CodeSha256":"x"}`, 400, "CodeSHA256 (x) is different from current CodeSHA256 in $LATEST ("},
		{"the same of code", "PUT", function + "/code", `{"RevisionId":"x","ZipFile":"AGFzbQEAAAA="}`, 412, "The Revision Id provided"},
		{"the same of a configuration", "PUT", function + "/configuration", `{"RevisionId":"x"}`, 412, "The Revision Id provided"},
		{"a version may go", "DELETE", function + "?Qualifier=1", "", 204, ""},
		{"and is gone", "GET", function + "?Qualifier=1", "", 404, "Function not found: " + arnF + ":1"},
		{"once", "DELETE", function + "?Qualifier=1", "", 404, "Function not found: " + arnF + ":1"},
		{"$LATEST may not", "DELETE", function + "?Qualifier=%24LATEST", "", 400, "$LATEST version cannot be deleted without deleting the function."},
		{"nor aliases, in this way", "DELETE", function + "?Qualifier=live", "", 400, "Deletion of aliases is not currently supported."},
		{"an alias keeps its version", "POST", function + "/aliases", `{"Name":"live","FunctionVersion":"2","RoutingConfig":{"AdditionalVersionWeights":{"3":0.5}}}`, 201, `"AliasArn":"` + arnF + `:live"`},
		{"", "DELETE", function + "?Qualifier=2", "", 409, "Unable to delete version because the following aliases reference it: [live]"},
		{"by weight too", "DELETE", function + "?Qualifier=3", "", 409, "Unable to delete version because the following aliases reference it: [live]"},
		{"a function goes with its aliases", "DELETE", function, "", 204, ""},
		{"", "GET", function + "/aliases/live", "", 404, "Function not found: " + arnF},
	})
}

func TestAliasesAsOnAWS(t *testing.T) {
	e := emulate(t, options{})
	ctx := t.Context()
	if made := e.deploy("f", returning("1"), func(in *sdk.CreateFunctionInput) { in.Publish = true }); *made.Version != "1" || *made.FunctionArn != arnF {
		t.Errorf("made as version %s of %s", *made.Version, *made.FunctionArn)
	}
	e.call("PUT", "/2015-03-31/functions/f/configuration", `{"Timeout":5}`)
	e.call("POST", "/2015-03-31/functions/f/versions", `{}`)
	a, err := e.CreateAlias(ctx, &sdk.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("1"), Description: aws.String("d")})
	e.check(err)
	if *a.AliasArn != arnF+":live" || *a.FunctionVersion != "1" || *a.Description != "d" || *a.RevisionId == "" || a.RoutingConfig != nil {
		t.Errorf("created %+v", a)
	}
	b, err := e.UpdateAlias(ctx, &sdk.UpdateAliasInput{FunctionName: aws.String("f"), Name: aws.String("live"), FunctionVersion: aws.String("2"), RevisionId: a.RevisionId,
		Description: aws.String(""), RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"1": 0.25}}})
	e.check(err)
	got, err := e.GetAlias(ctx, &sdk.GetAliasInput{FunctionName: aws.String("f"), Name: aws.String("live")})
	e.check(err)
	if *b.RevisionId == *a.RevisionId || *got.RevisionId != *b.RevisionId || *got.FunctionVersion != "2" || *got.Description != "" || got.RoutingConfig.AdditionalVersionWeights["1"] != 0.25 {
		t.Errorf("updated to %+v", got)
	}
	f, err := e.GetFunction(ctx, &sdk.GetFunctionInput{FunctionName: aws.String("f"), Qualifier: aws.String("live")})
	e.check(err)
	if *f.Configuration.FunctionArn != arnF+":live" || *f.Configuration.Version != "2" {
		t.Errorf("by alias: %s, version %s", *f.Configuration.FunctionArn, *f.Configuration.Version)
	}
	seen := map[string]int{}
	for range 100 {
		out, err := e.Invoke(ctx, &sdk.InvokeInput{FunctionName: aws.String("f:live")})
		e.check(err)
		seen[*out.ExecutedVersion]++
	}
	if seen["1"] == 0 || seen["1"] > 60 || seen["1"]+seen["2"] != 100 {
		t.Errorf("of 100 invocations, a quarter for version 1: %v", seen)
	}
	const aliases, live = "/2015-03-31/functions/f/aliases", "/2015-03-31/functions/f/aliases/live"
	weights := func(w string) string {
		return `{"Name":"x","FunctionVersion":"1","RoutingConfig":{"AdditionalVersionWeights":` + w + `}}`
	}
	e.run([]step{
		{"the name is taken", "POST", aliases, `{"Name":"live","FunctionVersion":"1"}`, 409, "Alias already exists: " + arnF + ":live"},
		{"a number is no name", "POST", aliases, `{"Name":"123","FunctionVersion":"1"}`, 400, `Value '123' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)`},
		{"digits with others are", "POST", aliases, `{"Name":"1-a_2","FunctionVersion":"$LATEST"}`, 201, `"FunctionVersion":"$LATEST"`},
		{"no such version", "POST", aliases, `{"Name":"x","FunctionVersion":"9"}`, 404, "Function not found: " + arnF + ":9"},
		{"an alias is no version", "POST", aliases, `{"Name":"x","FunctionVersion":"live"}`, 400, `at 'functionVersion' failed to satisfy constraint: Member must satisfy regular expression pattern: (\\$LATEST(\\.PUBLISHED)?|[0-9]+)`},
		{"two weights", "POST", aliases, weights(`{"1":0.1,"2":0.1}`), 400, "Number of items in AdditionalVersionWeights cannot be greater than 1"},
		{"the same version twice", "POST", aliases, weights(`{"1":0.1}`), 400, "Invalid function version 1. Function version 1 is already included in routing configuration."},
		{"$LATEST has no company", "POST", aliases, strings.Replace(weights(`{"1":0.1}`), `"1"`, `"$LATEST"`, 1), 400, "$LATEST is not supported for an alias pointing to more than 1 version"},
		{"$LATEST is no company", "POST", aliases, weights(`{"$LATEST":0.1}`), 400, "at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: Map keys must satisfy constraint"},
		{"a weight beyond 1", "POST", aliases, weights(`{"2":1.1}`), 400, "Member must have value less than or equal to 1.0"},
		{"a weight that is none", "POST", aliases, weights(`{"2":"a"}`), 400, ""},
		{"a weight for a version that is not there", "POST", aliases, weights(`{"9":0.1}`), 404, "Function not found: " + arnF + ":9"},
		{"a revision that is not the latest", "PUT", live, `{"RevisionId":"x"}`, 412, "The Revision Id provided does not match the latest Revision Id."},
		{"no weights end the routing", "PUT", live, `{"RoutingConfig":{"AdditionalVersionWeights":{}}}`, 200, `"FunctionVersion":"2"`},
		{"an alias that is not there", "PUT", aliases + "/none", `{}`, 404, "Cannot find alias arn: " + arnF + ":none"},
		{"", "GET", aliases + "/none", "", 404, "Cannot find alias arn: " + arnF + ":none"},
		{"may be deleted nevertheless", "DELETE", aliases + "/none", "", 204, ""},
		{"of a function that is not there", "GET", "/2015-03-31/functions/none/aliases/a", "", 404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"},
		{"all", "GET", aliases, "", 200, `"Name":"1-a_2"`},
		{"those of a version", "GET", aliases + "?FunctionVersion=2", "", 200, `{"Aliases":[{"AliasArn":"` + arnF + `:live"`},
		{"a page", "GET", aliases + "?MaxItems=1", "", 200, `"NextMarker":"1-a_2"`},
		{"the next", "GET", aliases + "?MaxItems=1&Marker=1-a_2", "", 200, `{"Aliases":[{"AliasArn":"` + arnF + `:live"`},
		{"gone", "DELETE", live, "", 204, ""},
		{"", "GET", live, "", 404, "Cannot find alias arn"},
	})
}

func TestReservedConcurrencyAsOnAWS(t *testing.T) {
	e := emulate(t, options{idle: true})
	for _, name := range []string{"f", "g"} {
		e.call("POST", "/2015-03-31/functions", createBody(name, ""))
	}
	const put, get = "/2017-10-31/functions/%s/concurrency", "/2019-09-30/functions/%s/concurrency"
	at := func(path, name string) string { return fmt.Sprintf(path, name) }
	const qualified = "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify either a function name or an unqualified function ARN."
	e.run([]step{
		{"none to begin with", "GET", at(get, "f"), "", 200, "{}"},
		{"set", "PUT", at(put, "f"), `{"ReservedConcurrentExecutions":900}`, 200, `{"ReservedConcurrentExecutions":900}`},
		{"shown", "GET", at(get, "f"), "", 200, `{"ReservedConcurrentExecutions":900}`},
		{"with the function", "GET", "/2015-03-31/functions/f", "", 200, `"Concurrency":{"ReservedConcurrentExecutions":900}`},
		{"100 are left for the others", "PUT", at(put, "g"), `{"ReservedConcurrentExecutions":1}`, 400, "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [100]."},
		{"and the account says so", "GET", "/2016-08-19/account-settings", "", 200, `"ConcurrentExecutions":1000,"UnreservedConcurrentExecutions":100},"AccountUsage":{"TotalCodeSize":310,"FunctionCount":2}`},
		{"0 is always possible", "PUT", at(put, "g"), `{"ReservedConcurrentExecutions":0}`, 200, `{"ReservedConcurrentExecutions":0}`},
		{"and shown", "GET", at(get, "g"), "", 200, `{"ReservedConcurrentExecutions":0}`},
		{"below 0", "PUT", at(put, "g"), `{"ReservedConcurrentExecutions":-1}`, 400, "Value '-1' at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must have value greater than or equal to 0"},
		{"missing", "PUT", at(put, "g"), `{}`, 400, "Value null at 'reservedConcurrentExecutions' failed to satisfy constraint: Member must not be null"},
		{"of a version", "PUT", at(put, "g:1"), `{"ReservedConcurrentExecutions":1}`, 400, qualified},
		{"of $LATEST", "DELETE", at(put, "g:$LATEST"), "", 400, qualified},
		{"taken back", "DELETE", at(put, "f"), "", 204, ""},
		{"none again", "GET", at(get, "f"), "", 200, "{}"},
		{"of nothing", "PUT", at(put, "none"), `{"ReservedConcurrentExecutions":1}`, 404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"},
		{"", "GET", at(get, "none"), "", 404, "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"},
	})
}
