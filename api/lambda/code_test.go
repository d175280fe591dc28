package lambda

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/s3"
)

func TestCodeComesFromS3(t *testing.T) {
	backend := s3mem.New()
	if err := backend.CreateBucket("there"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	objects, err := s3.New(s3.Options{Endpoint: server.URL, AccessKey: "a", SecretKey: "b"})
	if err != nil {
		t.Fatal(err)
	}
	code := zipped(t, "dir/main.wasm", returning(`"from S3"`))
	if err := objects.Put(t.Context(), "there", "a/code.zip", code); err != nil {
		t.Fatal(err)
	}
	e := emulate(t, options{objects: objects})
	// Versions: the first is asked for when there are two.
	status := gofakes3.VersioningConfiguration{}
	status.SetEnabled(true)
	if err := backend.SetVersioningConfiguration("there", status); err != nil {
		t.Fatal(err)
	}
	if err := objects.Put(t.Context(), "there", "a/code.zip", code); err != nil {
		t.Fatal(err)
	}
	head, err := backend.HeadObject("there", "a/code.zip")
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.Put(t.Context(), "there", "a/code.zip", []byte("newer, and no zip")); err != nil {
		t.Fatal(err)
	}
	from := types.FunctionCode{S3Bucket: aws.String("there"), S3Key: aws.String("a/code.zip"), S3ObjectVersion: aws.String(string(head.VersionID)), SourceKMSKeyArn: aws.String("")}
	out := e.deploy("f", nil, func(in *sdk.CreateFunctionInput) { in.Code = &from })
	if *out.CodeSha256 != sum(code) || out.CodeSize != int64(len(code)) {
		t.Errorf("code of %d bytes, %s", out.CodeSize, *out.CodeSha256)
	}
	invoked, err := e.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f")})
	e.check(err)
	if string(invoked.Payload) != `"from S3"` {
		t.Errorf("invoked: %s", invoked.Payload)
	}
	const at = "/2015-03-31/functions/f/code"
	e.run([]step{
		{"the same again", "PUT", at, `{"S3Bucket":"there","S3Key":"a/code.zip","S3ObjectVersion":"` + string(head.VersionID) + `","SourceKMSKeyArn":""}`, 200, sum(code)},
		{"the newest", "PUT", at, `{"S3Bucket":"there","S3Key":"a/code.zip"}`, 400, "upload"},
		{"no such key", "PUT", at, `{"S3Bucket":"there","S3Key":"none"}`, 400, "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."},
		{"no such bucket", "PUT", at, `{"S3Bucket":"nowhere","S3Key":"none"}`, 400, "Error occurred while GetObject. S3 Error Code: NoSuchKey"},
		{"half a name", "PUT", at, `{"S3Bucket":"there"}`, 400, "Please provide both S3Bucket and S3Key."},
		{"a bucket that ends with a dot", "PUT", at, `{"S3Bucket":"there.","S3Key":"k"}`, 400, `at 's3Bucket' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9A-Za-z\\.\\-_]*(?<!\\.)`},
		{"and a ZipFile", "PUT", at, `{"S3Bucket":"there","S3Key":"k","ZipFile":"AA=="}`, 400, "Please do not provide other FunctionCode parameters when providing a ZipFile."},
	})
	server.Close()
	const down = `{"Message":"Error occurred while GetObject. S3 did not answer as it should: see the log of wasmill, and try again.","Type":"Service"}`
	if a := e.call("PUT", at, `{"S3Bucket":"there","S3Key":"a/code.zip"}`); a.status != 500 || a.header.Get("X-Amzn-ErrorType") != "ServiceException" || a.body != down {
		t.Errorf("S3 is down: %d %s", a.status, a.body)
	}
}

// broken fails in the same way, whatever is asked for.
type broken struct{ error }

func (b broken) Get(context.Context, string, string, string, int64) ([]byte, error) {
	return nil, fmt.Errorf("%w: dial tcp 10.0.0.7:9000: secret", b.error)
}

// What went wrong between this server and S3 is for its log: clients get sentences.
func TestFailuresOfS3AreToldInFixedWords(t *testing.T) {
	tests := []struct {
		err    error
		status int
		code   string
		says   string
	}{
		{s3.ErrNotFound, 400, "InvalidParameterValueException", "S3 Error Code: NoSuchKey"},
		{s3.ErrDenied, 403, "AccessDeniedException", "Your access has been denied by S3, please make sure your request credentials have permission to GetObject for there/k. S3 Error Code: AccessDenied."},
		{s3.ErrTooLarge, 400, "InvalidParameterValueException", "The object has more than 268435456 bytes."},
		{s3.ErrInvalid, 400, "InvalidParameterValueException", `is not a name that S3 takes`},
		{s3.ErrNotConfigured, 400, "InvalidParameterValueException", "start it with `wasmill up --s3 URL`"},
		{s3.ErrUnavailable, 500, "ServiceException", "S3 did not answer as it should"},
		{errors.New("anything"), 500, "ServiceException", "S3 did not answer as it should"},
	}
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", ""))
	for _, tt := range tests {
		d := e.deps
		d.Objects = broken{tt.err}
		e.url = e.serve(d)
		a := e.call("PUT", "/2015-03-31/functions/f/code", `{"S3Bucket":"there","S3Key":"k"}`)
		if a.status != tt.status || a.header.Get("X-Amzn-ErrorType") != tt.code || !strings.Contains(a.body, tt.says) || strings.Contains(a.body, "secret") || strings.Contains(a.body, "s3:") {
			t.Errorf("%v: %d %s %s", tt.err, a.status, a.header.Get("X-Amzn-ErrorType"), a.body)
		}
	}
}

// refusing is a registry that fails changes of the configuration or of attributes that come
// apart from the rest.
type refusing struct{ Functions }

func (refusing) UpdateConfig(context.Context, string, string, func(*functions.Config) error) (functions.Version, []string, error) {
	return functions.Version{}, nil, errors.New("killed here")
}

func (refusing) SetAttributes(context.Context, string, func(*functions.Attributes) error) (functions.Attributes, error) {
	return functions.Attributes{}, errors.New("killed here")
}

func TestArchitecturesAndCodeAreChangedTogether(t *testing.T) {
	e := emulate(t, options{})
	e.deploy("f", returning("1"))
	d := e.deps
	d.Functions = refusing{e.registry}
	e.url = e.serve(d)
	was := e.latest("f")
	const at = "/2015-03-31/functions/f/code"
	update := func(code []byte, more string) got {
		t.Helper()
		return e.call("PUT", at, `{"ZipFile":"`+base64.StdEncoding.EncodeToString(code)+`","Architectures":["arm64"]`+more+`}`)
	}
	if a := update(returning("2"), `,"DryRun":true`); a.status != 200 || e.latest("f").RevisionID != was.RevisionID {
		t.Errorf("dry: %d %s", a.status, a.body)
	}
	if a := update(returning("2"), `,"RevisionId":"`+was.RevisionID+`"`); a.status != 200 || !strings.Contains(a.body, `"Architectures":["arm64"]`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	e.Client = e.client("us-east-1", "AKIDEXAMPLE")
	e.updated("f")
	if v := e.latest("f"); !slices.Equal(v.Config.Declared.Architectures, []string{"arm64"}) || v.Code == was.Code {
		t.Errorf("%+v", v)
	}
	if a := update(returning("3"), `,"RevisionId":"`+was.RevisionID+`"`); a.status != 412 {
		t.Errorf("a stale revision: %d %s", a.status, a.body)
	}
}

// counting is a registry of one function that takes its time with code, and sees how much
// there is of it.
type counting struct {
	Functions
	now, most atomic.Int32
	rest      time.Duration
}

func (c *counting) Resolve(context.Context, string, string) (functions.Version, error) {
	return functions.Version{Function: "f", Version: functions.Unpublished}, nil
}

func (c *counting) SubmitCode(context.Context, string, functions.Upload, functions.Change) (functions.Version, error) {
	defer c.now.Add(-1)
	c.most.Store(max(c.most.Load(), c.now.Add(1)))
	time.Sleep(c.rest)
	return functions.Version{Function: "f", Version: functions.Unpublished}, nil
}

// However many clients upload at once, memory has to hold only so much code unpacked.
func TestOnlySoManyUploadsAreInMemoryUnpacked(t *testing.T) {
	zip := zipped(t, "bootstrap", returning("1"))
	synctest.Test(t, func(t *testing.T) {
		registry := &counting{rest: time.Second}
		svc := New(Deps{Functions: registry})
		op := svc.Ops[slices.IndexFunc(svc.Ops, func(op *wire.Operation) bool { return op.Name == "UpdateFunctionCode" })]
		update := func(ctx context.Context, code []byte) error {
			_, err := op.Do(ctx, &wire.Call{Service: svc, Operation: op, Account: "000000000000", Region: "us-east-1",
				In: wire.Values{"FunctionName": "f", "ZipFile": code, "DryRun": true}})
			return err
		}
		start := time.Now()
		for range 8 {
			go func() {
				if err := update(t.Context(), zip); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		if n := registry.now.Load(); n != uploadsAtOnce {
			t.Errorf("%d at once, want %d", n, uploadsAtOnce)
		}
		// Who waits may give up, and one that is refused gives back its place.
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := update(gone, zip); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up: %v", err)
		}
		for range 5 {
			if err := update(t.Context(), []byte("no zip")); err == nil {
				t.Error("took what is no zip")
			}
		}
		if err := update(t.Context(), zip); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if most, took := registry.most.Load(), time.Since(start); most != uploadsAtOnce || took > 6*time.Second {
			t.Errorf("at most %d at once, in %v", most, took)
		}
	})
}

// What cannot run here is refused with a sentence on what to do instead.
func TestWhatIsNoFunctionHereIsRefused(t *testing.T) {
	e := emulate(t, options{idle: true})
	e.call("POST", "/2015-03-31/functions", createBody("f", ""))
	upload := func(code []byte) string {
		return `{"FunctionName":"g","Role":"` + role + `","Runtime":"provided.al2023","Handler":"h","Code":{"ZipFile":"` + base64.StdEncoding.EncodeToString(code) + `"}}`
	}
	const all, code = "/2015-03-31/functions", "/2015-03-31/functions/f/code"
	elf := append([]byte("\x7fELF"), make([]byte, 60)...)
	more := func(what string) string { return createBody("g", ","+what) }
	bare := func(drop string) string { return strings.Replace(createBody("g", ""), drop, "", 1) }
	e.run([]step{
		{"no zip", "POST", all, upload([]byte("zip")), 400, "upload"},
		{"nothing", "PUT", code, `{"ZipFile":""}`, 400, "Uploaded file must be a non-empty zip"},
		{"no code", "PUT", code, `{}`, 400, "Please provide a source for function code."},
		{"native", "POST", all, upload(zipped(t, "bootstrap", elf)), 400, "wasmill build"},
		{"Python", "POST", all, upload(zipped(t, "handler.py", []byte("def handler(): pass"))), 400, "wasmill build"},
		{"Node", "POST", all, upload(zipped(t, "index.js", []byte("exports.handler = 1"))), 400, "wasmill build"},
		{"no S3", "PUT", code, `{"S3Bucket":"bucket","S3Key":"k"}`, 400, "wasmill up --s3 URL"},
		{"an image", "POST", all, more(`"PackageType":"Image"`), 400, "Container images do not run here: build the function to WebAssembly"},
		{"", "PUT", code, `{"ImageUri":"x"}`, 400, "Please don't provide ImageUri when updating a function with packageType Zip."},
		{"layers", "POST", all, more(`"Layers":["arn:aws:lambda:us-east-1:000000000000:layer:l:1"]`), 400, "There are no layers here"},
		{"a file system", "POST", all, more(`"FileSystemConfigs":[{"Arn":"arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-00000000000000000","LocalMountPath":"/mnt/a"}]`), 400, "There are no file systems"},
		{"signed code", "POST", all, more(`"CodeSigningConfigArn":"arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-00000000000000000"`), 400, "Code is not signed here"},
		{"tenants", "POST", all, more(`"TenancyConfig":{"TenantIsolationMode":"PER_TENANT"}`), 400, "There are no tenants here"},
		{"durable functions", "POST", all, more(`"DurableConfig":{"RetentionPeriodInDays":1}`), 400, "There are no durable functions"},
		{"capacity providers", "POST", all, more(`"PublishTo":"LATEST_PUBLISHED"`), 400, "There are no capacity providers"},
		{"a runtime that AWS has not", "POST", all, strings.Replace(createBody("g", ""), "provided.al2023", "wasm", 1), 400, "Value wasm at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["},
		{"no runtime", "POST", all, bare(`"Runtime":"provided.al2023",`), 400, "Runtime and Handler are mandatory parameters for functions created with deployment packages."},
		{"no handler", "POST", all, bare(`"Handler":"h",`), 400, "Runtime and Handler are mandatory parameters"},
		{"no role", "POST", all, bare(`"Role":"` + role + `",`), 400, "Value null at 'role' failed to satisfy constraint: Member must not be null"},
		{"a role that is none", "POST", all, strings.Replace(createBody("g", ""), role, "r1", 1), 400, `Value 'r1' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+`},
		{"too much memory", "POST", all, more(`"MemorySize":10241`), 400, "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 10240"},
		{"too much time", "POST", all, more(`"Timeout":901`), 400, "Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900"},
		{"two architectures", "POST", all, more(`"Architectures":["x86_64","arm64"]`), 400, "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1"},
		{"a variable that is none", "POST", all, more(`"Environment":{"Variables":{"_HANDLER":"y"}}`), 400, "at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint"},
		{"reserved variables", "POST", all, more(`"Environment":{"Variables":{"AWS_REGION":"x","LAMBDA_TASK_ROOT":"y"}}`), 400, "contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION, LAMBDA_TASK_ROOT"},
		{"too large an environment", "POST", all, more(`"Environment":{"Variables":{"AB":"` + strings.Repeat("x", 4095) + `"}}`), 400, `exceeded the 4KB limit. String measured: {\"AB\":\"xxx`},
		{"levels of text logs", "POST", all, more(`"LoggingConfig":{"ApplicationLogLevel":"INFO"}`), 400, "can be set only if LogFormat is JSON"},
		{"the name is taken", "POST", all, createBody("f", ""), 409, `{"Type":"User","message":"Function already exist: f"}`},
		{"a name of 65 characters", "POST", all, createBody(strings.Repeat("n", 65), ""), 400, "failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"a name with a qualifier", "POST", all, createBody("g:1", ""), 400, "Value 'g:1' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: (arn:"},
		{"code that is too large", "POST", all, upload(make([]byte, 50<<20+1)), 413, "Zipped size must be smaller than 52428800 bytes"},
		{"and much too large", "POST", all, `{"Code":{"ZipFile":"` + strings.Repeat("A", maxRequest) + `"}}`, 413, ""},
		{"none of them was made", "GET", all, "", 200, `{"Functions":[{"FunctionName":"f"`},
	})
	if v := e.latest("f"); v.Revision != 1 {
		t.Errorf("the function that was there has revision %d", v.Revision)
	}
}

func TestFiftyMegabytesOfCodeAreTaken(t *testing.T) {
	e := emulate(t, options{idle: true})
	padding := make([]byte, 40<<20) // random bytes do not pack: a custom section of them
	for i := range padding {
		padding[i] = byte(i*i>>7 ^ i)
	}
	code := append(returning("1"), 0)
	body := append(str("pad"), padding...)
	code = append(append(code, leb(uint64(len(body)))...), body...)
	_, err := e.CreateFunction(t.Context(), &sdk.CreateFunctionInput{FunctionName: aws.String("large"), Role: aws.String(role), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("h"), Code: &types.FunctionCode{ZipFile: code}})
	e.check(err)
	if v := e.latest("large"); v.Code.Size != int64(len(code)) {
		t.Errorf("code of %d bytes, want %d", v.Code.Size, len(code))
	}
	got, err := e.registry.Code(t.Context(), e.latest("large").Code.SHA256)
	if err != nil || !bytes.Equal(got, code) {
		t.Errorf("what is stored has %d bytes, %v", len(got), err)
	}
}
