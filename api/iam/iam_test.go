package iam

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func plain(t *testing.T, document *string) string {
	t.Helper()
	if strings.ContainsAny(*document, ` "{}+*`) {
		t.Errorf("%s: want it percent-encoded", *document)
	}
	s, err := url.PathUnescape(*document)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tagText(tags []types.Tag) string {
	var out []string
	for _, t := range tags {
		out = append(out, *t.Key+"="+*t.Value)
	}
	return strings.Join(out, " ")
}

// Which answers have which members: localstack's recordings (test_iam_roles).
func TestRolesAreShownAsTheyWereMade(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	arn := e.policy("edge")
	made, err := e.iam.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("r"), Path: aws.String("/a/b/"), AssumeRolePolicyDocument: aws.String(trust),
		Description: aws.String("täst <x>"), MaxSessionDuration: aws.Int32(7200), PermissionsBoundary: arn, Tags: []types.Tag{{Key: aws.String("z"), Value: aws.String("")}, {Key: aws.String("a"), Value: aws.String("1")}}})
	e.check(err)
	r := made.Role
	if *r.Arn != "arn:aws:iam::000000000000:role/a/b/r" || *r.Path != "/a/b/" || !regexp.MustCompile(`^AROA[A-Z2-7]{17}$`).MatchString(*r.RoleId) || plain(t, r.AssumeRolePolicyDocument) != trust ||
		time.Since(*r.CreateDate) > time.Minute || r.Description != nil || r.MaxSessionDuration != nil || r.RoleLastUsed != nil || tagText(r.Tags) != "z= a=1" || *r.PermissionsBoundary.PermissionsBoundaryArn != *arn {
		t.Errorf("created: %+v", r)
	}
	got, err := e.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.check(err)
	g := got.Role
	if *g.Arn != *r.Arn || *g.RoleId != *r.RoleId || !g.CreateDate.Equal(*r.CreateDate) || plain(t, g.AssumeRolePolicyDocument) != trust || *g.Description != "täst <x>" || *g.MaxSessionDuration != 7200 ||
		g.RoleLastUsed == nil || g.RoleLastUsed.Region != nil || tagText(g.Tags) != "a=1 z=" || *g.PermissionsBoundary.PermissionsBoundaryArn != *arn || g.PermissionsBoundary.PermissionsBoundaryType != "Policy" {
		t.Errorf("read back: %+v", g)
	}
	_, err = e.iam.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: aws.String("r"), Description: aws.String("other")})
	e.check(err)
	_, err = e.iam.UpdateRole(ctx, &sdk.UpdateRoleInput{RoleName: aws.String("r"), MaxSessionDuration: aws.Int32(3600)})
	e.check(err)
	narrow := strings.Replace(trust, `"Statement"`, `"Id":"x","Statement"`, 1)
	_, err = e.iam.UpdateAssumeRolePolicy(ctx, &sdk.UpdateAssumeRolePolicyInput{RoleName: aws.String("r"), PolicyDocument: &narrow})
	e.check(err)
	_, err = e.iam.DeleteRolePermissionsBoundary(ctx, &sdk.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("r")})
	e.check(err)
	got, err = e.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("R")}) // whatever its case
	e.check(err)
	if g := got.Role; *g.RoleName != "r" || *g.Description != "other" || *g.MaxSessionDuration != 3600 || plain(t, g.AssumeRolePolicyDocument) != narrow || g.PermissionsBoundary != nil {
		t.Errorf("changed: %+v", g)
	}
	described, err := e.iam.UpdateRoleDescription(ctx, &sdk.UpdateRoleDescriptionInput{RoleName: aws.String("r"), Description: aws.String("third")})
	e.check(err)
	if *described.Role.Description != "third" {
		t.Errorf("described: %+v", described.Role)
	}
	list, err := e.iam.ListRoles(ctx, &sdk.ListRolesInput{PathPrefix: aws.String("/a/")})
	e.check(err)
	if len(list.Roles) != 1 || *list.Roles[0].MaxSessionDuration != 3600 || *list.Roles[0].Description != "third" || list.Roles[0].Tags != nil || list.Roles[0].RoleLastUsed != nil {
		t.Errorf("listed: %+v", list.Roles)
	}
	profiles, err := e.iam.ListInstanceProfilesForRole(ctx, &sdk.ListInstanceProfilesForRoleInput{RoleName: aws.String("r")})
	e.check(err)
	if len(profiles.InstanceProfiles) != 0 || profiles.IsTruncated {
		t.Errorf("instance profiles: %+v", profiles)
	}
	_, err = e.iam.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: aws.String("r")})
	e.check(err)
	_, err = e.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.refused(err, 404, "NoSuchEntity", "The role with name r cannot be found.")
	e.role("r") // the name is free again
}

func TestInlinePolicies(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	e.role("r")
	name := aws.String("r")
	for _, p := range []string{"b", "a", "c"} {
		_, err := e.iam.PutRolePolicy(ctx, &sdk.PutRolePolicyInput{RoleName: name, PolicyName: &p, PolicyDocument: aws.String(permission)})
		e.check(err)
	}
	got, err := e.iam.GetRolePolicy(ctx, &sdk.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("a")})
	e.check(err)
	if *got.RoleName != "r" || *got.PolicyName != "a" || plain(t, got.PolicyDocument) != permission {
		t.Errorf("read back: %+v", got)
	}
	var names []string
	pages := sdk.NewListRolePoliciesPaginator(e.iam, &sdk.ListRolePoliciesInput{RoleName: name, MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		e.check(err)
		names = append(names, out.PolicyNames...)
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("pages of two: %v", names)
	}
	_, err = e.iam.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: name})
	e.refused(err, 409, "DeleteConflict", "Cannot delete entity, must delete policies first.")
	for _, p := range names {
		_, err = e.iam.DeleteRolePolicy(ctx, &sdk.DeleteRolePolicyInput{RoleName: name, PolicyName: &p})
		e.check(err)
	}
	_, err = e.iam.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: name})
	e.check(err)
}

func TestManagedPoliciesAndTheirVersions(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	made, err := e.iam.CreatePolicy(ctx, &sdk.CreatePolicyInput{PolicyName: aws.String("p"), Path: aws.String("/x/"), Description: aws.String("d"), PolicyDocument: aws.String(permission), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	e.check(err)
	p := made.Policy
	if *p.Arn != "arn:aws:iam::000000000000:policy/x/p" || !regexp.MustCompile(`^ANPA[A-Z2-7]{17}$`).MatchString(*p.PolicyId) || *p.DefaultVersionId != "v1" || !p.IsAttachable || *p.AttachmentCount != 0 || p.Description != nil || tagText(p.Tags) != "k=v" {
		t.Errorf("created: %+v", p)
	}
	e.role("r")
	_, err = e.iam.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn})
	e.check(err)
	_, err = e.iam.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn}) // again
	e.check(err)
	got, err := e.iam.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: p.Arn})
	e.check(err)
	if g := got.Policy; *g.PolicyId != *p.PolicyId || *g.Description != "d" || *g.AttachmentCount != 1 || tagText(g.Tags) != "k=v" || !g.CreateDate.Equal(*p.CreateDate) || !g.UpdateDate.Equal(*p.UpdateDate) {
		t.Errorf("read back: %+v", g)
	}
	wider := strings.Replace(permission, "kinesis:*", "*", 1)
	for i := range 4 {
		v, err := e.iam.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: &wider, SetAsDefault: i == 0})
		e.check(err)
		if *v.PolicyVersion.VersionId != fmt.Sprintf("v%d", i+2) || v.PolicyVersion.IsDefaultVersion != (i == 0) || v.PolicyVersion.Document != nil {
			t.Errorf("version: %+v", v.PolicyVersion)
		}
	}
	_, err = e.iam.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: &wider})
	e.refused(err, 409, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	v, err := e.iam.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v2")})
	e.check(err)
	if plain(t, v.PolicyVersion.Document) != wider || !v.PolicyVersion.IsDefaultVersion {
		t.Errorf("version: %+v", v.PolicyVersion)
	}
	_, err = e.iam.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v2")})
	e.refused(err, 409, "DeleteConflict", "Cannot delete the default version of a policy.")
	_, err = e.iam.SetDefaultPolicyVersion(ctx, &sdk.SetDefaultPolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v1")})
	e.check(err)
	_, err = e.iam.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: aws.String("v5")})
	e.check(err)
	last, err := e.iam.CreatePolicyVersion(ctx, &sdk.CreatePolicyVersionInput{PolicyArn: p.Arn, PolicyDocument: &wider}) // numbers are not used again
	e.check(err)
	list, err := e.iam.ListPolicyVersions(ctx, &sdk.ListPolicyVersionsInput{PolicyArn: p.Arn})
	e.check(err)
	var ids []string
	for _, v := range list.Versions {
		ids = append(ids, fmt.Sprint(*v.VersionId, v.IsDefaultVersion))
	}
	if want := "v6false v4false v3false v2false v1true"; strings.Join(ids, " ") != want || *last.PolicyVersion.VersionId != "v6" {
		t.Errorf("versions: %v, want %s", ids, want)
	}
	_, err = e.iam.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyArn: p.Arn})
	e.refused(err, 409, "DeleteConflict", "Cannot delete a policy attached to entities.")
	_, err = e.iam.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: aws.String("r")})
	e.refused(err, 409, "DeleteConflict", "Cannot delete entity, must detach all policies first.")
	_, err = e.iam.DetachRolePolicy(ctx, &sdk.DetachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: p.Arn})
	e.check(err)
	_, err = e.iam.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyArn: p.Arn})
	e.refused(err, 409, "DeleteConflict", "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
	for _, v := range list.Versions[:4] {
		_, err = e.iam.DeletePolicyVersion(ctx, &sdk.DeletePolicyVersionInput{PolicyArn: p.Arn, VersionId: v.VersionId})
		e.check(err)
	}
	_, err = e.iam.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyArn: p.Arn})
	e.check(err)
	_, err = e.iam.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: p.Arn})
	e.refused(err, 404, "NoSuchEntity", "Policy arn:aws:iam::000000000000:policy/x/p was not found.")
}

func TestPoliciesOfAWSCanBeAttachedWithoutBeingHere(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	e.role("r")
	own := e.policy("own")
	basic, other := aws.String("arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"), aws.String("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess")
	for _, arn := range []*string{basic, other, own} {
		_, err := e.iam.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: arn})
		e.check(err)
	}
	list, err := e.iam.ListAttachedRolePolicies(ctx, &sdk.ListAttachedRolePoliciesInput{RoleName: aws.String("r")})
	e.check(err)
	var got []string
	for _, p := range list.AttachedPolicies {
		got = append(got, *p.PolicyName+" "+*p.PolicyArn)
	}
	if want := []string{"own " + *own, "AmazonS3ReadOnlyAccess " + *other, "AWSLambdaBasicExecutionRole " + *basic}; !slices.Equal(got, want) {
		t.Errorf("attached: %q, want %q", got, want)
	}
	byPath, err := e.iam.ListAttachedRolePolicies(ctx, &sdk.ListAttachedRolePoliciesInput{RoleName: aws.String("r"), PathPrefix: aws.String("/service-role/")})
	e.check(err)
	if len(byPath.AttachedPolicies) != 1 {
		t.Errorf("attached of a path: %+v", byPath.AttachedPolicies)
	}
	p, err := e.iam.GetPolicy(ctx, &sdk.GetPolicyInput{PolicyArn: other})
	e.check(err)
	if *p.Policy.PolicyName != "AmazonS3ReadOnlyAccess" || *p.Policy.Path != "/" || *p.Policy.AttachmentCount != 1 {
		t.Errorf("AWS's: %+v", p.Policy)
	}
	v, err := e.iam.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: basic, VersionId: aws.String("v1")})
	e.check(err)
	if document := plain(t, v.PolicyVersion.Document); checkManaged(document) != nil || !strings.Contains(document, "logs:PutLogEvents") {
		t.Errorf("document: %s", document)
	}
	_, err = e.iam.GetPolicyVersion(ctx, &sdk.GetPolicyVersionInput{PolicyArn: other, VersionId: aws.String("v1")})
	e.refused(err, 404, "NoSuchEntity", "wasmill does not have the document of "+*other+".")
	_, err = e.iam.DeletePolicy(ctx, &sdk.DeletePolicyInput{PolicyArn: basic})
	e.refused(err, 404, "NoSuchEntity", "Policy "+*basic+" was not found.")
	entities, err := e.iam.ListEntitiesForPolicy(ctx, &sdk.ListEntitiesForPolicyInput{PolicyArn: basic})
	e.check(err)
	if len(entities.PolicyRoles) != 1 || *entities.PolicyRoles[0].RoleName != "r" || len(entities.PolicyUsers)+len(entities.PolicyGroups) != 0 {
		t.Errorf("entities: %+v", entities)
	}
	for _, tt := range []struct {
		in   *sdk.ListPoliciesInput
		want string
	}{
		{&sdk.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}, "own"},
		{&sdk.ListPoliciesInput{OnlyAttached: true}, "AmazonS3ReadOnlyAccess AWSLambdaBasicExecutionRole own"},
		{&sdk.ListPoliciesInput{OnlyAttached: true, Scope: types.PolicyScopeTypeAws, PathPrefix: aws.String("/service-role/")}, "AWSLambdaBasicExecutionRole"},
		{&sdk.ListPoliciesInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}, ""},
	} {
		out, err := e.iam.ListPolicies(ctx, tt.in)
		e.check(err)
		var names []string
		for _, p := range out.Policies {
			names = append(names, *p.PolicyName)
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestTags(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	e.role("r")
	arn := e.policy("p")
	pair := func(k, v string) types.Tag { return types.Tag{Key: &k, Value: &v} }
	_, err := e.iam.TagRole(ctx, &sdk.TagRoleInput{RoleName: aws.String("r"), Tags: []types.Tag{pair("b", "1"), pair("a", ""), pair("c", "ä /=+")}})
	e.check(err)
	_, err = e.iam.TagRole(ctx, &sdk.TagRoleInput{RoleName: aws.String("r"), Tags: []types.Tag{pair("B", "2")}}) // keys of roles' tags have no case
	e.check(err)
	_, err = e.iam.UntagRole(ctx, &sdk.UntagRoleInput{RoleName: aws.String("r"), TagKeys: []string{"a", "nothing"}})
	e.check(err)
	var tags []types.Tag
	pages := sdk.NewListRoleTagsPaginator(e.iam, &sdk.ListRoleTagsInput{RoleName: aws.String("r"), MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		e.check(err)
		tags = append(tags, out.Tags...)
	}
	if got := tagText(tags); got != "B=2 c=ä /=+" {
		t.Errorf("a role's: %s", got)
	}
	_, err = e.iam.TagPolicy(ctx, &sdk.TagPolicyInput{PolicyArn: arn, Tags: []types.Tag{pair("a", "1"), pair("A", "2"), pair("c", "3")}})
	e.check(err)
	_, err = e.iam.UntagPolicy(ctx, &sdk.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"a", "C"}})
	e.check(err)
	list, err := e.iam.ListPolicyTags(ctx, &sdk.ListPolicyTagsInput{PolicyArn: arn})
	e.check(err)
	if got := tagText(list.Tags); got != "A=2 c=3" {
		t.Errorf("a policy's: %s", got)
	}
	var many []types.Tag
	for i := range 49 {
		many = append(many, pair(fmt.Sprint("k", i), ""))
	}
	_, err = e.iam.TagRole(ctx, &sdk.TagRoleInput{RoleName: aws.String("r"), Tags: many})
	e.refused(err, 409, "LimitExceeded", "Cannot exceed quota for TagsPerRole: 50")
}

func TestAccountsAreApart(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	other, _ := e.clients("123456789012", "")
	e.role("r")
	if _, err := other.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r")}); err == nil {
		t.Error("another account sees the role")
	}
	made, err := other.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trust)})
	e.check(err)
	if *made.Role.Arn != "arn:aws:iam::123456789012:role/r" {
		t.Errorf("ARN %s", *made.Role.Arn)
	}
	_, err = other.AttachRolePolicy(ctx, &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: e.policy("p")})
	e.refused(err, 404, "NoSuchEntity", "Policy arn:aws:iam::000000000000:policy/p does not exist or is not attachable.")
	list, err := other.ListRoles(ctx, &sdk.ListRolesInput{})
	e.check(err)
	if len(list.Roles) != 1 {
		t.Errorf("%d roles, want its own", len(list.Roles))
	}
}

func TestPagesHoldEverythingOnce(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	for i := range 7 {
		e.role(fmt.Sprintf("role-%d", i))
	}
	for _, size := range []int32{1, 2, 3, 7, 100} {
		var names []string
		pages := sdk.NewListRolesPaginator(e.iam, &sdk.ListRolesInput{MaxItems: &size})
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			e.check(err)
			for _, r := range out.Roles {
				names = append(names, *r.RoleName)
			}
		}
		if len(names) != 7 || !slices.IsSorted(names) {
			t.Errorf("pages of %d: %v", size, names)
		}
	}
	first, err := e.iam.ListRoles(ctx, &sdk.ListRolesInput{MaxItems: aws.Int32(1)})
	e.check(err)
	for _, marker := range []string{"x", *first.Marker + "!", "bGlzdA"} {
		_, err := e.iam.ListRoles(ctx, &sdk.ListRolesInput{Marker: &marker})
		e.refused(err, 400, "ValidationError", "Invalid Marker.")
	}
	_, err = e.iam.ListPolicies(ctx, &sdk.ListPoliciesInput{Marker: first.Marker})
	e.refused(err, 400, "ValidationError", "Invalid Marker.")
}

func TestWhatIsMadeSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	nd := natsdtest.Start(t, natsd.Options{Dir: dir})
	e := emulateOn(t, nd, false)
	e.role("r")
	arn := e.policy("p")
	_, err := e.iam.AttachRolePolicy(t.Context(), &sdk.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: arn})
	e.check(err)
	before, err := e.iam.GetRole(t.Context(), &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.check(err)
	natsdtest.Close(t, nd)

	e = emulateOn(t, natsdtest.Start(t, natsd.Options{Dir: dir}), false)
	after, err := e.iam.GetRole(t.Context(), &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.check(err)
	if *after.Role.RoleId != *before.Role.RoleId || !after.Role.CreateDate.Equal(*before.Role.CreateDate) || *after.Role.AssumeRolePolicyDocument != *before.Role.AssumeRolePolicyDocument {
		t.Errorf("after the restart: %+v, before %+v", after.Role, before.Role)
	}
	p, err := e.iam.GetPolicy(t.Context(), &sdk.GetPolicyInput{PolicyArn: arn})
	e.check(err)
	if *p.Policy.AttachmentCount != 1 {
		t.Errorf("after the restart: %+v", p.Policy)
	}
}

func TestCallersLearnWhoTheyAre(t *testing.T) {
	e, ctx := emulate(t), t.Context()
	who := func(c *sts.Client, want string) {
		t.Helper()
		out, err := c.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		e.check(err)
		if got := *out.Account + " " + *out.Arn + " " + *out.UserId; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	who(e.sts, "000000000000 arn:aws:iam::000000000000:root 000000000000")
	_, other := e.clients("123456789012", "")
	who(other, "123456789012 arn:aws:iam::123456789012:root 123456789012")
	_, function := e.clients("wasmill-orders", "")
	who(function, "000000000000 arn:aws:sts::000000000000:assumed-role/wasmill/orders "+derivedID("AROA", "000000000000")+":orders")
	_, garbled := e.clients("test", "AAAA no token of ours")
	who(garbled, "000000000000 arn:aws:iam::000000000000:root 000000000000")
	user, err := e.iam.GetUser(ctx, &sdk.GetUserInput{})
	e.check(err)
	if *user.User.Arn != "arn:aws:iam::000000000000:root" {
		t.Errorf("user %+v", user.User)
	}

	// A role of another account, with a path.
	foreign, _ := e.clients("123456789012", "")
	made, err := foreign.CreateRole(ctx, &sdk.CreateRoleInput{RoleName: aws.String("deploy"), Path: aws.String("/ci/"), AssumeRolePolicyDocument: aws.String(trust)})
	e.check(err)
	in, err := e.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("me@home"), SourceIdentity: aws.String("src"),
		Tags: []ststypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}, TransitiveTagKeys: []string{"K"}})
	e.check(err)
	if u := in.AssumedRoleUser; *u.Arn != "arn:aws:sts::123456789012:assumed-role/deploy/me@home" || *u.AssumedRoleId != *made.Role.RoleId+":me@home" || *in.SourceIdentity != "src" ||
		len(*in.Credentials.AccessKeyId) != 20 || time.Until(*in.Credentials.Expiration) < 59*time.Minute || time.Until(*in.Credentials.Expiration) > time.Hour {
		t.Errorf("assumed: %+v %+v", in.AssumedRoleUser, in.Credentials)
	}
	asIAM, assumed := e.clients(*in.Credentials.AccessKeyId, *in.Credentials.SessionToken)
	who(assumed, "123456789012 "+*in.AssumedRoleUser.Arn+" "+*in.AssumedRoleUser.AssumedRoleId)
	_, err = asIAM.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("deploy")}) // the account goes with the key
	e.check(err)
	token, err := assumed.GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})
	e.check(err)
	_, again := e.clients(*token.Credentials.AccessKeyId, *token.Credentials.SessionToken)
	who(again, "123456789012 arn:aws:iam::123456789012:root 123456789012")
	// One that nobody has made.
	_, err = e.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/nobody"), RoleSessionName: aws.String("me")})
	e.check(err)
}

func TestFunctionsMayOnlyRead(t *testing.T) {
	nd := natsdtest.Memory(t)
	e := emulateOn(t, nd, false)
	e.role("r")
	in, ctx := emulateOn(t, nd, true), t.Context()
	_, err := in.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.check(err)
	_, err = in.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	e.check(err)
	const text = " is not for functions: they may read IAM and call sts:GetCallerIdentity"
	_, err = in.iam.DeleteRole(ctx, &sdk.DeleteRoleInput{RoleName: aws.String("r")})
	in.refused(err, 403, "AccessDenied", "iam:DeleteRole"+text)
	_, err = in.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/x"), RoleSessionName: aws.String("me")})
	in.refused(err, 403, "AccessDenied", "sts:AssumeRole"+text)
	_, err = in.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	in.refused(err, 403, "AccessDenied", "sts:GetSessionToken"+text)
	_, err = e.iam.GetRole(ctx, &sdk.GetRoleInput{RoleName: aws.String("r")})
	e.check(err)
}
