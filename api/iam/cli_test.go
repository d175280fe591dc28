package iam

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// aws runs a command of the AWS CLI (arguments are apart by blanks) and gives what it printed.
func (e *emulator) aws(command string) (out, trouble string) {
	e.Helper()
	cmd := exec.CommandContext(e.Context(), "aws", append([]string{"--endpoint-url", e.url, "--output", "json"}, strings.Fields(command)...)...)
	none := filepath.Join(e.TempDir(), "none")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=123456789012", "AWS_SECRET_ACCESS_KEY=y", "AWS_DEFAULT_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none)
	var said strings.Builder
	cmd.Stderr = &said
	b, _ := cmd.Output()
	return string(b), strings.TrimSpace(said.String())
}

// The AWS CLI reads XML by other code than the Go SDK does.
func TestTheCLIMakesARole(t *testing.T) {
	if _, err := exec.LookPath("aws"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no AWS CLI on this machine: aws is not in the PATH")
	} else if err != nil {
		t.Fatal(err)
	}
	e := emulate(t)
	if out, trouble := e.aws("sts get-caller-identity"); trouble != "" || !strings.Contains(out, `"Arn": "arn:aws:iam::123456789012:root"`) {
		t.Fatal(out, trouble)
	}
	if out, trouble := e.aws("iam create-role --role-name r --assume-role-policy-document " + trust + " --tags Key=a,Value=1 Key=b,Value="); trouble != "" {
		t.Fatal(out, trouble)
	}
	var role struct {
		Role struct {
			Arn                      string
			AssumeRolePolicyDocument json.RawMessage
			Tags                     []tag
		}
	}
	out, trouble := e.aws("iam get-role --role-name r")
	if err := json.Unmarshal([]byte(out), &role); err != nil || role.Role.Arn != "arn:aws:iam::123456789012:role/r" || len(role.Role.Tags) != 2 || !strings.Contains(string(role.Role.AssumeRolePolicyDocument), `"lambda.amazonaws.com"`) {
		t.Errorf("%s %s %v", out, trouble, err)
	}
	if _, trouble := e.aws("iam get-role --role-name nobody"); !strings.Contains(trouble, "An error occurred (NoSuchEntity) when calling the GetRole operation") || !strings.Contains(trouble, ": The role with name nobody cannot be found.") { // between them its second version tells of retries
		t.Errorf("%s", trouble)
	}
}
