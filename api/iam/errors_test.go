package iam

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// ask sends a form as a client would that checks nothing itself.
func (e *emulator) ask(service, form string) (status int, body string) {
	r := httptest.NewRequest("POST", "/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=00")
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// errorOf reads an answer's error.
func errorOf(t *testing.T, body string) (code, message string) {
	t.Helper()
	var answer struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Error   struct{ Type, Code, Message string }
	}
	if err := xml.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if answer.Error.Type != "Sender" {
		t.Errorf("type %q", answer.Error.Type)
	}
	return answer.Error.Code, answer.Error.Message
}

const policyARNOf = "arn:aws:iam::000000000000:policy/"

func TestErrors(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	e.role("role")
	own := e.policy("own")
	_, err := e.iam.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("short"), AssumeRolePolicyDocument: aws.String(trust), MaxSessionDuration: aws.Int32(3600)})
	e.check(err)
	e.role("full")
	for range 2 { // what is attached already is no more than it was
		for i := range 10 {
			_, err := e.iam.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("full"), PolicyArn: aws.String(managedPrefix + strconv.Itoa(i))})
			e.check(err)
		}
	}

	form := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v.Encode()
	}
	document := func(d string) string {
		return form("Action", "CreatePolicy", "PolicyName", "new", "PolicyDocument", d)
	}
	trusting := func(d string) string {
		return form("Action", "UpdateAssumeRolePolicy", "RoleName", "role", "PolicyDocument", d)
	}
	tagged := func(action string, pairs ...string) string {
		return form(append([]string{"Action", action, "RoleName", "new", "PolicyName", "new", "AssumeRolePolicyDocument", trust, "PolicyDocument", permission}, pairs...)...)
	}
	const one = "1 validation error detected: "
	const tagRule = `Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`
	for _, tt := range []struct {
		name, form    string
		status        int
		code, message string
	}{
		// The constraints of members.
		{"missing", form("Action", "GetRole"), 400, "ValidationError", one + "Value null at 'roleName' failed to satisfy constraint: Member must not be null"},
		{"two missing", form("Action", "GetRolePolicy"), 400, "ValidationError", "2 validation errors detected: Value null at 'roleName' failed to satisfy constraint: Member must not be null; Value null at 'policyName' failed to satisfy constraint: Member must not be null"},
		{"a name that is too long", form("Action", "GetRole", "RoleName", strings.Repeat("r", 65)), 400, "ValidationError", one + "Value at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"a name of other letters", form("Action", "GetRole", "RoleName", "a b"), 400, "ValidationError", one + `Value at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+`},
		{"a path", form("Action", "CreateRole", "RoleName", "x", "Path", "a", "AssumeRolePolicyDocument", trust), 400, "ValidationError", one + `Value at 'path' failed to satisfy constraint: Member must satisfy regular expression pattern: (\u002F)|(\u002F[\u0021-\u007E]+\u002F)`},
		{"a session that is too short", form("Action", "UpdateRole", "RoleName", "role", "MaxSessionDuration", "3599"), 400, "ValidationError", one + "Value at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600"},
		{"no number", form("Action", "ListRoles", "MaxItems", "x"), 400, "MalformedInput", "'x' can not be converted to an Integer"},
		{"a page of nothing", form("Action", "ListRoles", "MaxItems", "0"), 400, "ValidationError", one + "Value at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"another scope", form("Action", "ListPolicies", "Scope", "Mine"), 400, "ValidationError", one + "Value at 'scope' failed to satisfy constraint: Member must satisfy enum value set: [All, AWS, Local]"},
		{"a version's name", form("Action", "GetPolicyVersion", "PolicyArn", *own, "VersionId", "1"), 400, "ValidationError", one + `Value at 'versionId' failed to satisfy constraint: Member must satisfy regular expression pattern: v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`},
		{"a tag's key", tagged("CreateRole", "Tags.member.1.Key", "a!", "Tags.member.1.Value", ""), 400, "ValidationError", one + "Value at 'tags.1.member.key' failed to satisfy constraint: " + tagRule},
		{"a tag's key that is too long", tagged("CreatePolicy", "Tags.member.1.Key", strings.Repeat("k", 129), "Tags.member.1.Value", ""), 400, "ValidationError", one + "Value at 'tags.1.member.key' failed to satisfy constraint: Member must have length less than or equal to 128"},
		{"a tag without a value", tagged("CreateRole", "Tags.member.1.Key", "a"), 400, "ValidationError", one + "Value null at 'tags.1.member.value' failed to satisfy constraint: Member must not be null"},
		{"keys of tags", form("Action", "UntagRole", "RoleName", "role", "TagKeys.member.1", "a!"), 400, "ValidationError", one + "Value at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or equal to 1, " + tagRule + ", Member must not be null]"},
		{"an operation that is not served", form("Action", "CreateUser", "Version", "2010-05-08", "UserName", "u"), 400, "InvalidAction", "Could not find operation CreateUser for version 2010-05-08: wasmill's iam does not serve it"},

		// What is not there, or is already.
		{"no role", form("Action", "GetRole", "RoleName", "nobody"), 404, "NoSuchEntity", "The role with name nobody cannot be found."},
		{"no role to delete", form("Action", "DeleteRole", "RoleName", "nobody"), 404, "NoSuchEntity", "The role with name nobody cannot be found."},
		{"no role to change", form("Action", "UpdateRole", "RoleName", "nobody"), 404, "NoSuchEntity", "The role with name nobody cannot be found."},
		{"no role to list of", form("Action", "ListRolePolicies", "RoleName", "nobody"), 404, "NoSuchEntity", "The role with name nobody cannot be found."},
		{"no role of profiles", form("Action", "ListInstanceProfilesForRole", "RoleName", "nobody"), 404, "NoSuchEntity", "The role with name nobody cannot be found."},
		{"a role twice", form("Action", "CreateRole", "RoleName", "ROLE", "AssumeRolePolicyDocument", trust), 409, "EntityAlreadyExists", "Role with name ROLE already exists."},
		{"a policy twice", form("Action", "CreatePolicy", "PolicyName", "own", "Path", "/other/", "PolicyDocument", permission), 409, "EntityAlreadyExists", "A policy called own already exists. Duplicate names are not allowed."},
		{"no inline policy", form("Action", "GetRolePolicy", "RoleName", "role", "PolicyName", "p"), 404, "NoSuchEntity", "The role policy with name p cannot be found."},
		{"no inline policy to delete", form("Action", "DeleteRolePolicy", "RoleName", "role", "PolicyName", "p"), 404, "NoSuchEntity", "The role policy with name p cannot be found."},
		{"no policy", form("Action", "GetPolicy", "PolicyArn", policyARNOf+"x"), 404, "NoSuchEntity", "Policy " + policyARNOf + "x was not found."},
		{"a policy of another path", form("Action", "GetPolicy", "PolicyArn", policyARNOf+"x/own"), 404, "NoSuchEntity", "Policy " + policyARNOf + "x/own was not found."},
		{"no policy to tag", form("Action", "TagPolicy", "PolicyArn", policyARNOf+"x", "Tags", ""), 404, "NoSuchEntity", "Policy " + policyARNOf + "x was not found."},
		{"no version", form("Action", "GetPolicyVersion", "PolicyArn", *own, "VersionId", "v9"), 404, "NoSuchEntity", "Policy " + *own + " version v9 does not exist or is not attachable."},
		{"no version of no policy", form("Action", "SetDefaultPolicyVersion", "PolicyArn", policyARNOf+"x", "VersionId", "v1"), 404, "NoSuchEntity", "Policy " + policyARNOf + "x version v1 does not exist or is not attachable."},
		{"no version to delete", form("Action", "DeletePolicyVersion", "PolicyArn", *own, "VersionId", "v2"), 404, "NoSuchEntity", "Policy " + *own + " version v2 does not exist or is not attachable."},
		{"what is not attached", form("Action", "DetachRolePolicy", "RoleName", "role", "PolicyArn", *own), 404, "NoSuchEntity", "Policy " + *own + " was not found."},
		{"nothing to attach", form("Action", "AttachRolePolicy", "RoleName", "role", "PolicyArn", policyARNOf+"x"), 404, "NoSuchEntity", "Policy " + policyARNOf + "x does not exist or is not attachable."},
		{"no ARN to attach", form("Action", "AttachRolePolicy", "RoleName", "role", "PolicyArn", "longpolicynamebutnoarn"), 400, "ValidationError", "ARN longpolicynamebutnoarn is not valid."},
		{"no ARN to get", form("Action", "GetPolicy", "PolicyArn", "arn:aws:iam::000000000000:role/x"), 400, "ValidationError", "ARN arn:aws:iam::000000000000:role/x is not valid."},
		{"no boundary", form("Action", "PutRolePermissionsBoundary", "RoleName", "role", "PermissionsBoundary", policyARNOf+"x"), 404, "NoSuchEntity", "Scope ARN: " + policyARNOf + "x does not exist or is not attachable."},
		{"no ARN of a boundary", form("Action", "PutRolePermissionsBoundary", "RoleName", "role", "PermissionsBoundary", "arn:aws:iam::000000000000:not_a_policy/x"), 400, "InvalidInput", "ARN arn:aws:iam::000000000000:not_a_policy/x is not valid."},
		{"a policy of AWS's to change", form("Action", "CreatePolicyVersion", "PolicyArn", managedPrefix+"ReadOnlyAccess", "PolicyDocument", permission), 403, "AccessDenied", managedPrefix + "ReadOnlyAccess is a policy of AWS and cannot be changed."},
		{"a policy whose name no store has", form("Action", "GetPolicy", "PolicyArn", policyARNOf+strings.Repeat("x", 1500)), 404, "NoSuchEntity", "Policy " + policyARNOf + strings.Repeat("x", 1500) + " was not found."},
		{"one to attach", form("Action", "AttachRolePolicy", "RoleName", "role", "PolicyArn", policyARNOf+strings.Repeat("x", 1500)), 404, "NoSuchEntity", "Policy " + policyARNOf + strings.Repeat("x", 1500) + " does not exist or is not attachable."},
		{"one to tag", form("Action", "TagPolicy", "PolicyArn", policyARNOf+strings.Repeat("x", 1500), "Tags", ""), 404, "NoSuchEntity", "Policy " + policyARNOf + strings.Repeat("x", 1500) + " was not found."},
		{"an eleventh policy", form("Action", "AttachRolePolicy", "RoleName", "full", "PolicyArn", *own), 409, "LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10"},
		{"a user", form("Action", "GetUser", "UserName", "u"), 404, "NoSuchEntity", "The user with name u cannot be found."},
		{"a role's tags twice", tagged("CreateRole", "Tags.member.1.Key", "a", "Tags.member.1.Value", "", "Tags.member.2.Key", "A", "Tags.member.2.Value", ""), 400, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"a policy's tags twice", tagged("CreatePolicy", "Tags.member.1.Key", "a", "Tags.member.1.Value", "", "Tags.member.2.Key", "a", "Tags.member.2.Value", ""), 400, "InvalidInput", "Duplicate tag keys found."},

		// Documents.
		{"trust that is no JSON", trusting("{"), 400, "MalformedPolicyDocument", "This policy contains invalid Json"},
		{"trust with a resource", trusting(strings.Replace(trust, `"Action"`, `"Resource":"*","Action"`, 1)), 400, "MalformedPolicyDocument", "Has prohibited field Resource"},
		{"trust for other actions", trusting(strings.Replace(trust, "sts:AssumeRole", "s3:GetObject", 1)), 400, "MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions."},
		{"trust in nobody", trusting(strings.Replace(trust, `"Principal":{"Service":"lambda.amazonaws.com"},`, "", 1)), 400, "MalformedPolicyDocument", "Missing required field Principal"},
		{"trust that is a list", trusting("[]"), 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"no JSON", document("{"), 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"no statement", document(`{"Version":"2012-10-17"}`), 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"another version", document(strings.Replace(permission, "2012-10-17", "2008-10-17", 1)), 400, "MalformedPolicyDocument", "Policy document must be version 2012-10-17 or greater."},
		{"another element", document(strings.Replace(permission, `"Effect"`, `"Extra":1,"Effect"`, 1)), 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"another effect", document(strings.Replace(permission, "Allow", "Maybe", 1)), 400, "MalformedPolicyDocument", "Syntax errors in policy."},
		{"a principal", document(strings.Replace(permission, `"Effect"`, `"Principal":"*","Effect"`, 1)), 400, "MalformedPolicyDocument", "Policy document should not specify a principal."},
		{"no action", document(strings.Replace(permission, `"Action": ["kinesis:*"], `, "", 1)), 400, "MalformedPolicyDocument", "Policy statement must contain actions."},
		{"no resource", document(strings.Replace(permission, `"Resource": "*", `, "", 1)), 400, "MalformedPolicyDocument", "Policy statement must contain resources."},
		{"an action of no service", document(strings.Replace(permission, "kinesis:*", "invalid", 1)), 400, "MalformedPolicyDocument", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{"an action of two", document(strings.Replace(permission, "kinesis:*", "a:b:c", 1)), 400, "MalformedPolicyDocument", "Actions/Condition can contain only one colon."},
		{"a resource that is no ARN", document(strings.Replace(permission, `"Resource": "*"`, `"Resource": "mine"`, 1)), 400, "MalformedPolicyDocument", `Resource mine must be in ARN format or "*".`},
		{"names of statements twice", document(`{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}]}`), 400, "MalformedPolicyDocument", "Statement IDs (SID) in a single policy must be unique."},
		{"too much", document(strings.Replace(permission, "kinesis:*", "kinesis:"+strings.Repeat("x", 6144), 1)), 409, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144"},
		{"too much inline", form("Action", "PutRolePolicy", "RoleName", "role", "PolicyName", "p", "PolicyDocument", strings.Replace(permission, "kinesis:*", "kinesis:"+strings.Repeat("x", 10_240), 1)), 409, "LimitExceeded", "Maximum policy size of 10240 bytes exceeded for role role"},

		// STS.
		{"sts: no ARN", form("Action", "AssumeRole", "RoleArn", "nothing-valid-in-here", "RoleSessionName", "me"), 400, "ValidationError", "nothing-valid-in-here is invalid"},
		{"sts: no account", form("Action", "AssumeRole", "RoleArn", "arn:a::::something/test-role", "RoleSessionName", "me"), 400, "ValidationError", "arn:a::::something/test-role is invalid"},
		{"sts: no role", form("Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:user/x", "RoleSessionName", "me"), 400, "ValidationError", "arn:aws:iam::000000000000:user/x is invalid"},
		{"sts: a session's name", form("Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/x", "RoleSessionName", "Session1:2"), 400, "ValidationError", one + `Value 'Session1:2' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*`},
		{"sts: too long", form("Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/short", "RoleSessionName", "me", "DurationSeconds", "3601"), 400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"sts: tags twice", form("Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/x", "RoleSessionName", "me", "Tags.member.1.Key", "a", "Tags.member.1.Value", "", "Tags.member.2.Key", "A", "Tags.member.2.Value", ""), 400, "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
		{"sts: a transitive key", form("Action", "AssumeRole", "RoleArn", "arn:aws:iam::000000000000:role/x", "RoleSessionName", "me", "TransitiveTagKeys.member.1", "a"), 400, "InvalidParameterValue", "The specified transitive tag key must be included in the requested tags."},
		{"sts: an operation that is not served", form("Action", "GetFederationToken"), 400, "InvalidAction", "Could not find operation GetFederationToken for version : wasmill's sts does not serve it"},
	} {
		service := "iam"
		if strings.HasPrefix(tt.name, "sts: ") {
			service = "sts"
		}
		status, body := e.ask(service, tt.form)
		if code, message := errorOf(t, body); status != tt.status || code != tt.code || message != tt.message {
			t.Errorf("%s: %d %s: %s\nwant %d %s: %s", tt.name, status, code, message, tt.status, tt.code, tt.message)
		}
	}
	// Clients know the errors as what they are.
	_, err = e.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("nobody")})
	e.refused(err, 404, "NoSuchEntity", "The role with name nobody cannot be found.")
	if roles, err := e.iam.ListRoles(ctx, &sdk.ListRolesInput{}); err != nil || len(roles.Roles) != 3 {
		t.Errorf("after all that was refused: %d roles, %v; want the three", len(roles.Roles), err)
	}
}

func TestAFullServerSaysSo(t *testing.T) {
	nd := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Reserve: 1 << 60}) // more than any disk has
	e := emulateOn(t, nd, false)
	e.quiet.Store(true)
	_, err := e.iam.CreateRole(t.Context(), &sdk.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust)})
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "ServiceFailure" || !strings.Contains(api.ErrorMessage(), "reserve") || strings.Contains(api.ErrorMessage(), "kv:") {
		t.Errorf("%v", err)
	}
}

// A role's name comes from its ARN here, and may be longer than the store has names.
func TestRolesOfLongNamesCanBeAssumed(t *testing.T) {
	e := emulate(t)
	if status, body := e.ask("sts", url.Values{"Action": {"AssumeRole"}, "RoleArn": {"arn:aws:iam::000000000000:role/" + strings.Repeat("x", 1500)}, "RoleSessionName": {"me"}}.Encode()); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
}

func TestWhoHasGoneDoesNotWaitForATurn(t *testing.T) {
	s := NewStore(nil)
	done, err := s.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.changeRole(ctx, "000000000000", "r", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the caller's end", err)
	}
	done()
	again, err := s.begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}

// Thousands of requests that were sound before their bytes were changed: each is answered,
// as well-formed XML, and none is trouble of ours.
func TestMutatedRequestsAreAnswered(t *testing.T) {
	e := emulate(t)
	enc := url.QueryEscape
	arn := enc("arn:aws:iam::000000000000:policy/p")
	seeds := []string{
		"Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=" + enc(trust) + "&Tags.member.1.Key=a&Tags.member.1.Value=b&MaxSessionDuration=3600",
		"Action=CreatePolicy&PolicyName=p&Path=%2Fa%2F&PolicyDocument=" + enc(permission), "Action=CreatePolicy&PolicyName=p&PolicyDocument=" + enc(permission),
		"Action=PutRolePolicy&RoleName=r&PolicyName=i&PolicyDocument=" + enc(permission), "Action=AttachRolePolicy&RoleName=r&PolicyArn=" + arn,
		"Action=GetRole&RoleName=r", "Action=ListRoles&MaxItems=1&PathPrefix=%2F&Marker=" + enc("x"), "Action=ListRolePolicies&RoleName=r&MaxItems=2",
		"Action=CreatePolicyVersion&SetAsDefault=true&PolicyArn=" + arn + "&PolicyDocument=" + enc(permission), "Action=DeletePolicyVersion&VersionId=v1&PolicyArn=" + arn,
		"Action=GetPolicyVersion&VersionId=v1&PolicyArn=" + arn, "Action=ListPolicies&Scope=All&OnlyAttached=true&PolicyUsageFilter=PermissionsPolicy",
		"Action=TagRole&RoleName=r&Tags.member.1.Key=k&Tags.member.1.Value=v", "Action=UntagRole&RoleName=r&TagKeys.member.1=k", "Action=DetachRolePolicy&RoleName=r&PolicyArn=" + arn,
		"Action=ListEntitiesForPolicy&EntityFilter=Role&PolicyArn=" + arn, "Action=DeletePolicy&PolicyArn=" + arn, "Action=DeleteRolePolicy&RoleName=r&PolicyName=i", "Action=DeleteRole&RoleName=r",
		"Action=AssumeRole&RoleSessionName=me&DurationSeconds=900&RoleArn=" + enc("arn:aws:iam::000000000000:role/r") + "&Policy=" + enc(permission), "Action=GetCallerIdentity",
	}
	rnd := rand.New(rand.NewPCG(6, 1))
	n := 6000
	if testing.Short() {
		n = 600
	}
	codes, began := map[int]int{}, time.Now()
	for i := range n {
		seed := seeds[i%len(seeds)]
		service := "iam"
		if strings.HasPrefix(seed, "Action=AssumeRole") || strings.HasPrefix(seed, "Action=GetCaller") {
			service = "sts"
		}
		b := []byte(seed)
		for range rnd.IntN(4) { // none: as it is
			at := rnd.IntN(len(b))
			switch rnd.IntN(4) {
			case 0:
				b[at] = byte(rnd.IntN(256))
			case 1:
				b[at] ^= 1 << rnd.IntN(8)
			case 2:
				b = append(b[:at], b[min(at+1+rnd.IntN(4), len(b)):]...)
			case 3:
				b = append(b[:at:at], append(bytes.Repeat(b[at:min(at+4, len(b))], 1+rnd.IntN(3)), b[at:]...)...)
			}
			if len(b) == 0 {
				break
			}
		}
		status, body := e.ask(service, string(b))
		if codes[status]++; status >= http.StatusInternalServerError {
			t.Fatalf("%q: %d %s", b, status, body)
		}
		if err := xml.Unmarshal([]byte(body), new(struct{ XMLName xml.Name })); err != nil {
			t.Fatalf("%q: %v: %s", b, err, body)
		}
	}
	t.Logf("statuses %v in %s", codes, time.Since(began).Round(time.Millisecond))
	for _, want := range []int{200, 400, 404, 409} {
		if codes[want] == 0 {
			t.Errorf("%v: want some of each", codes)
		}
	}
}
