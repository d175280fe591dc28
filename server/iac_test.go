package server

import (
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// plan is a stack of a role with a policy, a log group, a stream, a function and a mapping,
// made, read, changed and destroyed with the calls that Terraform's aws provider makes.
type plan struct {
	*stack
	iam *iam.Client
	sts *sts.Client
}

func newPlan(t *testing.T, c Config) *plan {
	t.Helper()
	p := &plan{stack: newStack(t, c)}
	made, endpoint := credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""), aws.String(p.server.Endpoint())
	p.iam = iam.New(iam.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: made})
	p.sts = sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: made})
	return p
}

const (
	roleName   = "quakes-role"
	policyName = "quakes-policy"
	groupName  = "/aws/lambda/quakes"
	assume     = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
	document   = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kinesis:*","Resource":"*"}]}`
	policyARN  = "arn:aws:iam::000000000000:policy/" + policyName
)

var stackTags = map[string]string{"stack": "quakes", "stage": "test"}

// apply makes everything, and says what the mapping is called.
func (p *plan) apply() (mapping string) {
	p.t.Helper()
	ctx := p.t.Context()
	who, err := p.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	p.check(err)
	if *who.Account != "000000000000" {
		p.t.Errorf("account %s", *who.Account)
	}
	var tags []iamtypes.Tag
	for _, key := range slices.Sorted(maps.Keys(stackTags)) {
		tags = append(tags, iamtypes.Tag{Key: aws.String(key), Value: aws.String(stackTags[key])})
	}
	role, err := p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(roleName), AssumeRolePolicyDocument: aws.String(assume), Path: aws.String("/"), MaxSessionDuration: aws.Int32(3600), Tags: tags})
	p.check(err)
	policy, err := p.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String(policyName), PolicyDocument: aws.String(document), Path: aws.String("/")})
	p.check(err)
	_, err = p.iam.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(roleName), PolicyArn: policy.Policy.Arn})
	p.check(err)
	_, err = p.logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(groupName), Tags: stackTags})
	p.check(err)
	_, err = p.logs.PutRetentionPolicy(ctx, &cloudwatchlogs.PutRetentionPolicyInput{LogGroupName: aws.String(groupName), RetentionInDays: aws.Int32(14)})
	p.check(err)
	_, err = p.kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("quakes"), ShardCount: aws.Int32(1), Tags: stackTags})
	p.check(err)
	p.check(kinesis.NewStreamExistsWaiter(p.kinesis, often).Wait(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("quakes")}, time.Minute))
	code, err := batches()
	p.check(err)
	_, err = p.lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("quakes"), Role: role.Role.Arn, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"), Timeout: aws.Int32(30), MemorySize: aws.Int32(128),
		Architectures: []types.Architecture{types.ArchitectureArm64}, PackageType: types.PackageTypeZip, EphemeralStorage: &types.EphemeralStorage{Size: aws.Int32(512)}, TracingConfig: &types.TracingConfig{Mode: types.TracingModePassThrough},
		Code: &types.FunctionCode{ZipFile: zipped(p.t, code)}, Environment: &types.Environment{Variables: map[string]string{"POISON": "6"}}, Tags: stackTags,
	})
	p.check(err)
	p.check(lambda.NewFunctionActiveV2Waiter(p.lambda).Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("quakes")}, time.Minute))
	m, err := p.lambda.CreateEventSourceMapping(ctx, &lambda.CreateEventSourceMappingInput{
		FunctionName: aws.String("arn:aws:lambda:us-east-1:000000000000:function:quakes"), EventSourceArn: aws.String(arnOf("quakes")), StartingPosition: types.EventSourcePositionLatest, BatchSize: aws.Int32(50),
		Enabled: aws.Bool(true), BisectBatchOnFunctionError: aws.Bool(true), MaximumRetryAttempts: aws.Int32(2), ParallelizationFactor: aws.Int32(2), MaximumRecordAgeInSeconds: aws.Int32(3600),
		FilterCriteria: &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":{"kind":["order"]}}`)}}}, Tags: stackTags,
	})
	p.check(err)
	p.settled(*m.UUID)
	return *m.UUID
}

func (p *plan) settled(mapping string) {
	p.t.Helper()
	p.until("the mapping is Enabled", func() bool {
		m, err := p.lambda.GetEventSourceMapping(p.t.Context(), &lambda.GetEventSourceMappingInput{UUID: &mapping})
		p.check(err)
		return *m.State == "Enabled"
	})
}

// refresh reads what the provider reads before it plans, all of it as JSON. What changes by
// itself, and what names the server's own address, is left out.
func (p *plan) refresh(mapping string) map[string]string {
	p.t.Helper()
	ctx, all := p.t.Context(), map[string]string{}
	keep := func(name string, v any, err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatalf("%s: %v", name, err)
		}
		b, err := json.MarshalIndent(v, "", " ")
		p.check(err)
		all[name] = string(b)
	}
	who, err := p.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	keep("identity", who, err)
	role, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(roleName)})
	keep("role", role, err)
	inline, err := p.iam.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: aws.String(roleName)})
	keep("role's own policies", inline, err)
	attached, err := p.iam.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(roleName)})
	keep("role's policies", attached, err)
	policy, err := p.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(policyARN)})
	keep("policy", policy, err)
	version, err := p.iam.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: aws.String(policyARN), VersionId: policy.Policy.DefaultVersionId})
	keep("policy's version", version, err)
	groups, err := p.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String(groupName)})
	for i := range groups.LogGroups {
		groups.LogGroups[i].StoredBytes = nil
	}
	keep("log group", groups, err)
	groupTags, err := p.logs.ListTagsForResource(ctx, &cloudwatchlogs.ListTagsForResourceInput{ResourceArn: aws.String("arn:aws:logs:us-east-1:000000000000:log-group:" + groupName)})
	keep("log group's tags", groupTags, err)
	stream, err := p.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("quakes")})
	keep("stream", stream, err)
	streamTags, err := p.kinesis.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamName: aws.String("quakes")})
	keep("stream's tags", streamTags, err)
	f, err := p.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("quakes")})
	if err == nil {
		f.Code.Location = nil
	}
	keep("function", f, err)
	signing, err := p.lambda.GetFunctionCodeSigningConfig(ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: aws.String("quakes")})
	keep("function's code signing", signing, err)
	versions, err := p.lambda.ListVersionsByFunction(ctx, &lambda.ListVersionsByFunctionInput{FunctionName: aws.String("quakes")})
	keep("function's versions", versions, err)
	functionTags, err := p.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: f.Configuration.FunctionArn})
	keep("function's tags", functionTags, err)
	_, err = p.lambda.GetPolicy(ctx, &lambda.GetPolicyInput{FunctionName: aws.String("quakes")})
	if _, none := errors.AsType[*types.ResourceNotFoundException](err); !none {
		p.t.Errorf("a function without a policy: %v", err)
	}
	m, err := p.lambda.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: &mapping})
	keep("mapping", m, err)
	mappingTags, err := p.lambda.ListTags(ctx, &lambda.ListTagsInput{Resource: m.EventSourceMappingArn})
	keep("mapping's tags", mappingTags, err)

	// What was asked for is what is there.
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"role's document", unescaped(*role.Role.AssumeRolePolicyDocument), assume},
		{"role's session", *role.Role.MaxSessionDuration, int32(3600)},
		{"role's tags", len(role.Role.Tags), len(stackTags)},
		{"policy's document", unescaped(*version.PolicyVersion.Document), document},
		{"role's policies", *attached.AttachedPolicies[0].PolicyArn, policyARN},
		{"role's own policies", len(inline.PolicyNames), 0},
		{"log groups", len(groups.LogGroups), 1},
		{"retention", *groups.LogGroups[0].RetentionInDays, int32(14)},
		{"log group's tags", groupTags.Tags["stack"], "quakes"},
		{"shards", *stream.StreamDescriptionSummary.OpenShardCount, int32(1)},
		{"stream's tags", len(streamTags.Tags), len(stackTags)},
		{"function's role", *f.Configuration.Role, "arn:aws:iam::000000000000:role/" + roleName},
		{"function's architecture", f.Configuration.Architectures[0], types.ArchitectureArm64},
		{"function's storage", *f.Configuration.EphemeralStorage.Size, int32(512)},
		{"function's tags", maps.Equal(f.Tags, stackTags) && maps.Equal(functionTags.Tags, stackTags), true},
		{"mapping's function", *m.FunctionArn, *f.Configuration.FunctionArn},
		{"mapping's stream", *m.EventSourceArn, *stream.StreamDescriptionSummary.StreamARN},
		{"mapping's state", *m.State, "Enabled"},
		{"mapping's tags", maps.Equal(mappingTags.Tags, stackTags), true},
		{"mapping's retries", *m.MaximumRetryAttempts, int32(2)},
		{"mapping's filter", *m.FilterCriteria.Filters[0].Pattern, `{"data":{"kind":["order"]}}`},
	} {
		if tt.got != tt.want {
			p.t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	return all
}

// unescaped is a policy's document as IAM sends it, read.
func unescaped(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return plain
}

// same says what a second plan would want to change.
func (p *plan) same(when string, was, is map[string]string) {
	p.t.Helper()
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if was[name] != is[name] {
			p.t.Errorf("%s, %s has become\n%s\nfrom\n%s", when, name, is[name], was[name])
		}
	}
}

func TestASecondPlanOfAStackIsEmpty(t *testing.T) {
	dir := t.TempDir()
	p := newPlan(t, Config{Data: dir})
	ctx := t.Context()
	mapping := p.apply()
	made := p.refresh(mapping)
	p.same("read again", made, p.refresh(mapping))
	closeIt(t, p.server)
	p = newPlan(t, Config{Data: dir})
	p.settled(mapping)
	p.same("after a restart", made, p.refresh(mapping))

	// Changes are there, and nothing else has changed.
	_, err := p.lambda.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("quakes"), Timeout: aws.Int32(10), Environment: &types.Environment{Variables: map[string]string{"POISON": "7"}}})
	p.check(err)
	p.check(lambda.NewFunctionUpdatedV2Waiter(p.lambda).Wait(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("quakes")}, time.Minute))
	u, err := p.lambda.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: &mapping, BatchSize: aws.Int32(80)})
	p.check(err)
	if *u.State != "Updating" {
		t.Errorf("the mapping answered %s", *u.State)
	}
	p.settled(mapping)
	changed := p.refresh(mapping)
	p.same("read again after a change", changed, p.refresh(mapping))
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if is, want := made[name] != changed[name], name == "function" || name == "mapping" || name == "function's versions"; is != want {
			t.Errorf("%s has changed: %t, want %t\n%s\n%s", name, is, want, made[name], changed[name])
		}
	}

	// Down, in the order of what needs what.
	_, err = p.lambda.DeleteEventSourceMapping(ctx, &lambda.DeleteEventSourceMappingInput{UUID: &mapping})
	p.check(err)
	gone := func(err error) bool {
		e, ok := errors.AsType[smithy.APIError](err)
		return ok && (e.ErrorCode() == "ResourceNotFoundException" || e.ErrorCode() == "NoSuchEntity")
	}
	p.until("the mapping is gone", func() bool {
		_, err := p.lambda.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: &mapping})
		return gone(err)
	})
	_, err = p.lambda.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("quakes")})
	p.check(err)
	_, err = p.kinesis.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: aws.String("quakes"), EnforceConsumerDeletion: aws.Bool(true)})
	p.check(err)
	p.check(kinesis.NewStreamNotExistsWaiter(p.kinesis, func(o *kinesis.StreamNotExistsWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, time.Second
	}).Wait(ctx, &kinesis.DescribeStreamInput{StreamName: aws.String("quakes")}, time.Minute))
	_, err = p.logs.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String(groupName)})
	p.check(err)
	_, err = p.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: aws.String(roleName), PolicyArn: aws.String(policyARN)})
	p.check(err)
	profiles, err := p.iam.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: aws.String(roleName)})
	p.check(err)
	if len(profiles.InstanceProfiles) != 0 {
		t.Errorf("instance profiles %v", profiles.InstanceProfiles)
	}
	_, err = p.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String(roleName)})
	p.check(err)
	old, err := p.iam.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: aws.String(policyARN)})
	p.check(err)
	if len(old.Versions) != 1 {
		t.Errorf("%d versions of the policy", len(old.Versions))
	}
	_, err = p.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: aws.String(policyARN)})
	p.check(err)

	_, errRole := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(roleName)})
	_, errPolicy := p.iam.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(policyARN)})
	_, errFunction := p.lambda.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("quakes")})
	_, errStream := p.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("quakes")})
	for what, err := range map[string]error{"role": errRole, "policy": errPolicy, "function": errFunction, "stream": errStream} {
		if !gone(err) {
			t.Errorf("%s after it was destroyed: %v", what, err)
		}
	}
	groups, err := p.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String(groupName)})
	p.check(err)
	if len(groups.LogGroups) != 0 {
		t.Errorf("log groups %v", groups.LogGroups)
	}
	if again := p.apply(); again == mapping {
		t.Error("a mapping made anew is the old one")
	}
}
