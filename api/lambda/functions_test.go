package lambda

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/wasmill/wasmill/api/wire"
)

func sum(code []byte) string {
	digest := sha256.Sum256(code)
	return base64.StdEncoding.EncodeToString(digest[:])
}

// A function's life as AWS's tools go through it, with each answer as it was recorded on AWS.
func TestFunctionLivesAsOnAWS(t *testing.T) {
	e := emulate(t, options{})
	ctx := t.Context()
	code := returning(`"one"`)
	created := e.deploy("f", code, func(in *sdk.CreateFunctionInput) {
		in.Timeout, in.MemorySize = aws.Int32(5), aws.Int32(256)
		in.Environment = &types.Environment{Variables: map[string]string{"ENV_A": "a"}}
		in.Tags = map[string]string{"team": "a b"}
	})
	if created.State != types.StatePending || created.LastUpdateStatus != "" || *created.StateReason != "The function is being created." || created.StateReasonCode != types.StateReasonCodeCreating {
		t.Errorf("created as %s (%s, %s), last update %q", created.State, *created.StateReason, created.StateReasonCode, created.LastUpdateStatus)
	}
	got, err := e.GetFunction(ctx, &sdk.GetFunctionInput{FunctionName: aws.String("arn:aws:lambda:us-east-1:000000000000:function:f")})
	e.check(err)
	c := got.Configuration
	upload := zipped(t, "bootstrap", code)
	if c.State != types.StateActive || c.LastUpdateStatus != types.LastUpdateStatusSuccessful || *c.CodeSha256 != sum(upload) || c.CodeSize != int64(len(upload)) ||
		*c.Version != "$LATEST" || *c.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:f" || c.Environment.Variables["ENV_A"] != "a" {
		t.Errorf("after the waiter: %+v", c)
	}
	if !maps.Equal(got.Tags, map[string]string{"team": "a b"}) || *got.Code.Location != e.url+"/_wasmill/v1/functions/f/code?version=$LATEST" || got.Concurrency != nil {
		t.Errorf("tags %v, code %v, concurrency %v", got.Tags, *got.Code.Location, got.Concurrency)
	}

	changed, err := e.UpdateFunctionConfiguration(ctx, &sdk.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: aws.Int32(10), MemorySize: aws.Int32(512),
		Description: aws.String("Changed-Description"), Environment: &types.Environment{}, RevisionId: c.RevisionId})
	e.check(err)
	if *changed.Timeout != 10 || *changed.MemorySize != 512 || *changed.Description != "Changed-Description" || *changed.RevisionId == *c.RevisionId || *changed.Role != role {
		t.Errorf("changed: %+v", changed)
	}
	e.updated("f")
	other := returning(`"two"`)
	update, err := e.UpdateFunctionCode(ctx, &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: other, DryRun: true})
	e.check(err)
	if v := e.latest("f"); v.Code.Uploaded().Size != int64(len(upload)) || *update.RevisionId != *changed.RevisionId {
		t.Errorf("a dry run changed the code: %+v", v)
	}
	update, err = e.UpdateFunctionCode(ctx, &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: other, RevisionId: changed.RevisionId})
	e.check(err)
	if update.LastUpdateStatus != types.LastUpdateStatusInProgress || update.LastUpdateStatusReasonCode != types.LastUpdateStatusReasonCode("Creating") || update.State != types.StateActive || *update.CodeSha256 != sum(other) {
		t.Errorf("new code: %+v", update)
	}
	e.updated("f")
	out, err := e.Invoke(ctx, &sdk.InvokeInput{FunctionName: aws.String("f")})
	e.check(err)
	if string(out.Payload) != `"two"` || *out.ExecutedVersion != "$LATEST" || out.FunctionError != nil || out.StatusCode != 200 {
		t.Errorf("invoked: %s %+v", out.Payload, out)
	}
	_, err = e.DeleteFunction(ctx, &sdk.DeleteFunctionInput{FunctionName: aws.String("f")})
	e.check(err)
	if a := e.call("GET", "/2015-03-31/functions/f", ""); a.status != 404 || a.header.Get("x-amzn-ErrorType") != "ResourceNotFoundException" ||
		a.body != `{"Message":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:f","Type":"User"}` {
		t.Errorf("after it was deleted: %d %s", a.status, a.body)
	}
}

// membersOf lists the members of an object, those of objects in it behind a dot.
func membersOf(v map[string]any) (out []string) {
	for name, v := range v {
		out = append(out, name)
		if v, ok := v.(map[string]any); ok && name != "Variables" && name != "Tags" {
			for _, k := range membersOf(v) {
				out = append(out, name+"."+k)
			}
		}
	}
	slices.Sort(out)
	return out
}

// The sets of keys that were recorded on AWS (LocalStack's snapshots, TestLambdaFunction
// test_function_lifecycle, 2024-03-27).
func TestAnswersHaveTheKeysOfAWS(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("made", returning("1"))
	e.call("PUT", "/2017-10-31/functions/made/concurrency", `{"ReservedConcurrentExecutions":7}`)
	shown := strings.Fields("Architectures CodeSha256 CodeSize Description EphemeralStorage EphemeralStorage.Size FunctionArn FunctionName Handler LastModified LoggingConfig LoggingConfig.LogFormat LoggingConfig.LogGroup " +
		"MemorySize PackageType RevisionId Role Runtime RuntimeVersionConfig RuntimeVersionConfig.RuntimeVersionArn SnapStart SnapStart.ApplyOn SnapStart.OptimizationStatus State Timeout TracingConfig TracingConfig.Mode Version")
	without := func(list []string, drop ...string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(k string) bool {
			return slices.ContainsFunc(drop, func(d string) bool { return k == d || strings.HasPrefix(k, d+".") })
		})
	}
	with := func(list []string, add ...string) []string {
		out := append(slices.Clone(list), add...)
		slices.Sort(out)
		return out
	}
	create := func(name, more string) string {
		return `{"FunctionName":"` + name + `","Role":"` + role + `","Runtime":"python3.12","Handler":"handler.handler","Code":{"ZipFile":"` + base64.StdEncoding.EncodeToString(returning("1")) + `"}` + more + `}`
	}
	tests := []struct {
		name, method, path, body, in string
		want                         []string
	}{
		{"create", "POST", "/2015-03-31/functions", create("g", ""), "", with(shown, "StateReason", "StateReasonCode")},
		{"create with all", "POST", "/2015-03-31/functions/", create("h", `,"Environment":{"Variables":{"AB":"c"}},"VpcConfig":{"SubnetIds":["s"],"SecurityGroupIds":["g"]},"DeadLetterConfig":{"TargetArn":"arn:aws:sqs:us-east-1:000000000000:q"},`+
			`"KMSKeyArn":"arn:aws:kms:us-east-1:000000000000:key/k","LoggingConfig":{"LogFormat":"JSON"}`), "",
			with(shown, "StateReason", "StateReasonCode", "Environment", "Environment.Variables", "VpcConfig", "VpcConfig.SubnetIds", "VpcConfig.SecurityGroupIds", "VpcConfig.VpcId", "VpcConfig.Ipv6AllowedForDualStack",
				"DeadLetterConfig", "DeadLetterConfig.TargetArn", "KMSKeyArn", "LoggingConfig.ApplicationLogLevel", "LoggingConfig.SystemLogLevel")},
		{"get", "GET", "/2015-03-31/functions/made", "", "Configuration", with(shown, "LastUpdateStatus")},
		{"get configuration", "GET", "/2015-03-31/functions/made/configuration", "", "", with(shown, "LastUpdateStatus")},
		{"get's own", "GET", "/2015-03-31/functions/made", "", "Code", []string{"Location", "RepositoryType"}},
		{"get's concurrency", "GET", "/2015-03-31/functions/made", "", "Concurrency", []string{"ReservedConcurrentExecutions"}},
		{"publish", "POST", "/2015-03-31/functions/made/versions", "{}", "", with(shown, "LastUpdateStatus")},
		{"list", "GET", "/2015-03-31/functions?MaxItems=1", "", "Functions", without(shown, "State", "RuntimeVersionConfig")},
		{"list versions", "GET", "/2015-03-31/functions/made/versions", "", "Versions", without(shown, "State", "RuntimeVersionConfig")},
	}
	for _, tt := range tests {
		a := e.call(tt.method, tt.path, tt.body)
		got := a.object(t)
		switch in := got[tt.in].(type) {
		case map[string]any:
			got = in
		case []any:
			got = in[0].(map[string]any)
		}
		if list := membersOf(got); !slices.Equal(list, tt.want) {
			t.Errorf("%s: %d %s\n got %v\nwant %v", tt.name, a.status, a.body, list, tt.want)
		}
	}
}

func TestWhatIsDeclaredIsReadBack(t *testing.T) {
	e := emulate(t, options{})
	const declared = `"Handler":"a.b","Runtime":"java21","Description":"d","Timeout":900,"MemorySize":10240,"KMSKeyArn":"arn:aws:kms:us-east-1:0:key/k","Architectures":["arm64"],` +
		`"EphemeralStorage":{"Size":1024},"TracingConfig":{"Mode":"Active"},"DeadLetterConfig":{"TargetArn":"arn:aws:sns:us-east-1:0:t"},` +
		`"LoggingConfig":{"ApplicationLogLevel":"DEBUG","LogFormat":"JSON","LogGroup":"/own","SystemLogLevel":"WARN"},"Environment":{"Variables":{"AB":"<c>"}}`
	a := e.call("POST", "/2015-03-31/functions", `{"FunctionName":"f","Role":"`+role+`","PackageType":"Zip","Layers":[],"FileSystemConfigs":[],"SnapStart":{"ApplyOn":"PublishedVersions"},"VpcConfig":{"SubnetIds":["s"],"SecurityGroupIds":["g"],"Ipv6AllowedForDualStack":true},`+
		`"Code":{"ZipFile":"`+base64.StdEncoding.EncodeToString(returning("1"))+`"},`+declared+`}`)
	if a.status != 201 {
		t.Fatalf("create: %d %s", a.status, a.body)
	}
	e.updated("f")
	same := func(what string) {
		t.Helper()
		got := e.call("GET", "/2015-03-31/functions/f/configuration", "").object(t)
		var want map[string]any
		if err := json.Unmarshal([]byte("{"+declared+"}"), &want); err != nil {
			t.Fatal(err)
		}
		for name, v := range want {
			x, _ := json.Marshal(v)
			if y, _ := json.Marshal(got[name]); string(x) != string(y) {
				t.Errorf("%s: %s = %s, want %s", what, name, y, x)
			}
		}
		if x, _ := json.Marshal(got["VpcConfig"]); string(x) != `{"Ipv6AllowedForDualStack":true,"SecurityGroupIds":["g"],"SubnetIds":["s"],"VpcId":""}` {
			t.Errorf("%s: VpcConfig %s", what, x)
		}
	}
	same("created")
	// An update that names one thing leaves the others; to Text and back the levels are those
	// of the beginning.
	for _, body := range []string{`{}`, `{"Role":"` + role + `2"}`, `{"Runtime":"java21","Handler":"a.b","TracingConfig":{"Mode":"Active"},"EphemeralStorage":{"Size":1024}}`, `{"LoggingConfig":{"LogFormat":"JSON"}}`, `{"RevisionId":""}`, `{"Layers":[],"FileSystemConfigs":[]}`} {
		if a := e.call("PUT", "/2015-03-31/functions/f/configuration", body); a.status != 200 {
			t.Fatalf("%s: %d %s", body, a.status, a.body)
		}
		same(body)
	}
	a = e.call("PUT", "/2015-03-31/functions/f/configuration", `{"LoggingConfig":{"LogFormat":"Text"},"Environment":{"Variables":{}},"DeadLetterConfig":{"TargetArn":""},"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]},"KMSKeyArn":"","SnapStart":{"ApplyOn":"None"}}`)
	got := a.object(t)
	if logs, _ := json.Marshal(got["LoggingConfig"]); string(logs) != `{"LogFormat":"Text","LogGroup":"/own"}` || got["Environment"] != nil || got["DeadLetterConfig"] != nil || got["KMSKeyArn"] != nil {
		t.Errorf("taken back: %s", a.body)
	}
}

func TestPagesOfFunctionsAndVersions(t *testing.T) {
	e := emulate(t, options{idle: true})
	for _, name := range []string{"c", "a", "a-b"} {
		a := e.call("POST", "/2015-03-31/functions", `{"FunctionName":"`+name+`","Role":"`+role+`","Runtime":"provided.al2023","Handler":"h","Publish":true,"Code":{"ZipFile":"`+base64.StdEncoding.EncodeToString(returning("1"))+`"}}`)
		if a.status != 201 {
			t.Fatal(a.body)
		}
	}
	var got []string
	pages := sdk.NewListFunctionsPaginator(e, &sdk.ListFunctionsInput{MaxItems: aws.Int32(2), MasterRegion: aws.String("ALL")})
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		e.check(err)
		for _, f := range p.Functions {
			got = append(got, strings.TrimPrefix(*f.FunctionArn, "arn:aws:lambda:us-east-1:000000000000:function:"))
		}
		got = append(got, "|")
	}
	if want := "a a-b | c |"; strings.Join(got, " ") != want {
		t.Errorf("pages of functions: %s, want %s", got, want)
	}
	got = nil
	pages = sdk.NewListFunctionsPaginator(e, &sdk.ListFunctionsInput{MaxItems: aws.Int32(3), FunctionVersion: types.FunctionVersionAll})
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		e.check(err)
		for _, f := range p.Functions {
			got = append(got, strings.TrimPrefix(*f.FunctionArn, "arn:aws:lambda:us-east-1:000000000000:function:"))
		}
		got = append(got, "|")
	}
	if want := "a:$LATEST a:1 a-b:$LATEST | a-b:1 c:$LATEST c:1 |"; strings.Join(got, " ") != want {
		t.Errorf("pages of all versions: %s, want %s", got, want)
	}
}

// One function has several names; those of other accounts and regions are not its.
func TestFunctionNamesAreRead(t *testing.T) {
	c := &wire.Call{Account: "000000000000", Region: "us-east-1", Operation: &wire.Operation{Name: "Invoke"}}
	const arn = "arn:aws:lambda:us-east-1:000000000000:function:"
	tests := []struct{ name, qualifier, want string }{
		{"f", "", "f"},
		{"f", "live", "f:live"},
		{"f:1", "", "f:1"},
		{"f:1", "1", "f:1"},
		{"f:$LATEST", "", "f:$LATEST"},
		{"f:1", "2", "InvalidParameterValueException"},
		{"function:f", "", "f"},
		{"function", "", "function"},
		{"000000000000:function:f", "", "f"},
		{"000000000000:function:f:live", "", "f:live"},
		{"000000000000:f:live", "", "f:live"},
		{"000000000000:live", "", "000000000000:live"},
		{"my-fn-1:live", "", "my-fn-1:live"},
		{"us-east-1:000000000000:function:f", "", "f"},
		{"us-east-1:000000000000:f", "", "f"},
		{arn + "f", "", "f"},
		{arn + "f:live", "live", "f:live"},
		{"arn:aws-cn:lambda:us-east-1:000000000000:function:f", "", "f"},
		{"arn:aws:lambda:f", "", "f"},
		{"arn:aws:lambda:eu-west-3:000000000000:function:f", "", "ResourceNotFoundException"},
		{"arn:aws:lambda:us-gov-east-1:000000000000:function:f", "", "ResourceNotFoundException"},
		{"111111111111:function:f", "", "AccessDeniedException"},
	}
	shape := wire.String(1, 256, namespacePattern)
	for _, tt := range tests {
		r, err := parseFunction(c, tt.name, tt.qualifier)
		got := strings.Trim(r.Name+":"+r.Qualifier, ":")
		if e, ok := err.(*wire.Error); ok {
			got = e.Code
		}
		if got != tt.want {
			t.Errorf("%s, %q is %s (%v), want %s", tt.name, tt.qualifier, got, err, tt.want)
		}
		if !regexp.MustCompile("^(?:" + shape.Pattern + ")$").MatchString(tt.name) {
			t.Errorf("AWS lets no %s through", tt.name)
		}
	}
}

// Whatever name AWS's pattern lets through is that of a function, or refused.
func FuzzFunctionNames(f *testing.F) {
	for _, name := range []string{"f", "f:1", "function:f", "000000000000:function:f:live", "my-fn-1:live", "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", "arn:aws:lambda:f", "arn:1"} {
		f.Add(name)
	}
	pattern := regexp.MustCompile("^(?:" + namespacePattern + ")$")
	c := &wire.Call{Account: "000000000000", Region: "us-east-1", Operation: &wire.Operation{Name: "Invoke"}}
	f.Fuzz(func(t *testing.T, name string) {
		if !pattern.MatchString(name) {
			return
		}
		r, err := parseFunction(c, name, "")
		if err == nil && (r.Name == "" || strings.Contains(r.Name+r.Qualifier, ":") || !strings.HasSuffix(name, strings.TrimSuffix(r.Name+":"+r.Qualifier, ":"))) {
			t.Errorf("%s is %+v", name, r)
		}
	})
}
