package lambda

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/wasmill/wasmill/api/wire"
)

// What Terraform's provider reads after it has made a function, in the answers that it takes
// for "there is none".
func TestReadsOfWhatFunctionsNeverHave(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", `,"Publish":true`))
	const absent = `{"Message":"The resource you requested does not exist.","Type":"User"}`
	e.run([]step{
		{"code signing", "GET", "/2020-06-30/functions/f/code-signing-config", "", 200, `{"FunctionName":"f"}`},
		{"of nothing", "GET", "/2020-06-30/functions/none/code-signing-config", "", 404, "Function not found: "},
		{"code signing configurations", "GET", "/2020-04-22/code-signing-configs", "", 200, `{"CodeSigningConfigs":[]}`},
		{"runtime management", "GET", "/2021-07-20/functions/f/runtime-management-config", "", 200, `{"UpdateRuntimeOn":"Auto","FunctionArn":"` + arnF + `:$LATEST"}`},
		{"of a version", "GET", "/2021-07-20/functions/f/runtime-management-config?Qualifier=1", "", 200, arnF + `:1`},
		{"recursion", "GET", "/2024-08-31/functions/f/recursion-config", "", 200, `{"RecursiveLoop":"Terminate"}`},
		{"is stored", "PUT", "/2024-08-31/functions/f/recursion-config", `{"RecursiveLoop":"Allow"}`, 200, `{"RecursiveLoop":"Allow"}`},
		{"and shown", "GET", "/2024-08-31/functions/f/recursion-config", "", 200, `{"RecursiveLoop":"Allow"}`},
		{"URLs", "GET", "/2021-10-31/functions/f/urls", "", 200, `{"FunctionUrlConfigs":[]}`},
		{"a URL", "GET", "/2021-10-31/functions/f/url?Qualifier=live", "", 404, absent},
		{"provisioned concurrency", "GET", "/2019-09-30/functions/f/provisioned-concurrency?List=ALL", "", 200, `{"ProvisionedConcurrencyConfigs":[]}`},
		{"that of a version", "GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=1", "", 404, "No Provisioned Concurrency Config found for this function"},
		{"that of $LATEST", "GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=%24LATEST", "", 400, "The function resource provided must be an alias or a published version."},
		{"that of nothing", "GET", "/2019-09-30/functions/f/provisioned-concurrency?Qualifier=9", "", 404, "Function not found: " + arnF + ":9"},
		{"layers", "GET", "/2018-10-31/layers?CompatibleRuntime=python3.12&CompatibleArchitecture=arm64&MaxItems=5", "", 200, `{"Layers":[]}`},
	})
	out, err := e.GetAccountSettings(t.Context(), &sdk.GetAccountSettingsInput{})
	e.check(err)
	if l := out.AccountLimit; l.ConcurrentExecutions != 1000 || *l.UnreservedConcurrentExecutions != 1000 || l.TotalCodeSize != 80530636800 || l.CodeSizeUnzipped != 262144000 || l.CodeSizeZipped != 52428800 || out.AccountUsage.FunctionCount != 1 {
		t.Errorf("account: %+v %+v", out.AccountLimit, out.AccountUsage)
	}
}

func TestOperationsThatAreNotHereAreRefusedByName(t *testing.T) {
	e := emulate(t, options{idle: true})
	n := 0
	for _, op := range refusedOps() {
		path := strings.NewReplacer("{FunctionName}", "f", "{LayerName}", "l", "{VersionNumber}", "1", "{StatementId}", "s", "{CodeSigningConfigArn}", "arn", "{CapacityProviderName}", "c",
			"{DurableExecutionArn}", "arn", "{CallbackId}", "i").Replace(op.Path)
		a := e.call(op.Method, path, `{}`)
		if a.status != 400 || a.header.Get("x-amzn-ErrorType") != codeInvalid || !strings.Contains(a.body, "wasmill does not have "+op.Name+": ") {
			t.Errorf("%s: %d %s", op.Name, a.status, a.body)
		}
		n++
	}
	if n != 40 {
		t.Errorf("%d operations are refused; with those that are there that makes no 85", n)
	}
	_, err := e.InvokeWithResponseStream(t.Context(), &sdk.InvokeWithResponseStreamInput{FunctionName: aws.String("f")})
	if err == nil || !strings.Contains(err.Error(), "wasmill does not have InvokeWithResponseStream") {
		t.Errorf("through the SDK: %v", err)
	}
}

// Code is where the caller can reach it, whatever the server calls itself.
func TestCodeIsDownloadedByTheNameOfTheCall(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", ""))
	for _, host := range []string{"localhost:1234", "wasmill.example:80", "[::1]:4567"} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", e.url+"/2015-03-31/functions/f", nil)
		e.check(err)
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		e.check(err)
		body, err := io.ReadAll(res.Body)
		e.check(errors.Join(err, res.Body.Close()))
		if want := `"Location":"http://` + host + `/_wasmill/v1/functions/f/code?version=$LATEST"`; !strings.Contains(string(body), want) {
			t.Errorf("called by %s: %s, want %s", host, body, want)
		}
	}
}

// What is in others' environments is not for a function, whatever it calls to see it.
func TestFunctionsSeeNoEnvironmentsOfOthers(t *testing.T) {
	e := emulate(t, options{idle: true})
	for _, name := range []string{"mine", "other"} {
		a := e.call("POST", "/2015-03-31/functions", createBody(name, `,"Publish":true,"Environment":{"Variables":{"SECRET":"of `+name+`"}}`))
		if a.status != 201 || !strings.Contains(a.body, "of "+name) {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	d := e.deps
	d.Inner = true
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(d)}, Caller: func(string) string { return "mine" }})
	e.check(err)
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	e.url = server.URL
	for _, path := range []string{
		"/2015-03-31/functions", "/2015-03-31/functions?FunctionVersion=ALL", "/2015-03-31/functions/mine", "/2015-03-31/functions/other", "/2015-03-31/functions/other?Qualifier=1",
		"/2015-03-31/functions/other/configuration", "/2015-03-31/functions/other/versions", "/2015-03-31/functions/mine/versions",
	} {
		// The name in the key is what anybody may write there.
		a := e.call("GET", path, "", "Authorization", "AWS4-HMAC-SHA256 Credential=wasmill-other/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=00")
		if a.status != 200 || strings.Contains(a.body, "of other") {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
		if own := strings.Contains(path, "mine") || !strings.Contains(path, "other"); strings.Contains(a.body, "of mine") != own {
			t.Errorf("%s: its own environment: %s", path, a.body)
		}
	}
}

// Functions see Lambda through a narrower door: they may look and invoke.
func TestFunctionsMayOnlyReadAndInvoke(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("f", returning("1"))
	d := e.deps
	d.Inner = true
	e.url = e.serve(d)
	e.run([]step{
		{"get", "GET", "/2015-03-31/functions/f", "", 200, arnF},
		{"list", "GET", "/2015-03-31/functions", "", 200, arnF},
		{"invoke", "POST", "/2015-03-31/functions/f/invocations", "1", 200, "1"},
		{"create", "POST", "/2015-03-31/functions", createBody("g", ""), 403, "Functions of this server may not call CreateFunction: of Lambda they may call Invoke, and what begins with Get and List."},
		{"delete", "DELETE", "/2015-03-31/functions/f", "", 403, "may not call DeleteFunction"},
		{"map", "POST", "/2015-03-31/event-source-mappings", `{"FunctionName":"f"}`, 403, "may not call CreateEventSourceMapping"},
		{"tag", "POST", tagsPath(arnF), `{"Tags":{"wasmill:allow":"*:1"}}`, 403, "may not call TagResource"},
	})
}

// Functions are one set; each account and region sees it as its own.
func TestEveryAccountAndRegionSeesTheFunctionsAsItsOwn(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", ""))
	other := e.client("eu-west-1", "123456789012")
	out, err := other.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("arn:aws:lambda:eu-west-1:123456789012:function:f")})
	e.check(err)
	if *out.Configuration.FunctionArn != "arn:aws:lambda:eu-west-1:123456789012:function:f" {
		t.Errorf("there it is %s", *out.Configuration.FunctionArn)
	}
	_, err = other.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String(arnF)})
	if err == nil || !strings.Contains(err.Error(), "AccessDeniedException") {
		t.Errorf("by its name elsewhere: %v", err)
	}
}
