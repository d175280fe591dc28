package cloudwatch

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// aws runs the AWS CLI, pointed at a service, and gives what it printed. known is false for a
// command that this CLI does not have.
func (e *emulator) aws(args ...string) (out string, known bool) {
	e.t.Helper()
	cmd := exec.CommandContext(e.t.Context(), "aws", append([]string{"--endpoint-url", e.url, "--output", "json"}, args...)...)
	none := filepath.Join(e.t.TempDir(), "none")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y", "AWS_DEFAULT_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none)
	b, err := cmd.Output()
	if err != nil {
		said := err.Error()
		if exit, ok := err.(*exec.ExitError); ok {
			said = string(exit.Stderr)
		}
		if strings.Contains(strings.ToLower(said), "invalid choice") {
			e.t.Logf("this AWS CLI has no %s", strings.Join(args[:2], " "))
			return "", false
		}
		e.t.Fatalf("aws %s: %s", strings.Join(args, " "), said)
	}
	return string(b), true
}

func needCLI(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes several seconds; not run with -short")
	}
	if _, err := exec.LookPath("aws"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the AWS CLI is not here: .ci/install installs awscli")
		}
		t.Skip("the AWS CLI (awscli) is not installed")
	}
}

func TestCLIPutsAndGetsMetrics(t *testing.T) {
	needCLI(t)
	e := emulate(t, "", false)
	at := time.Now().UTC().Truncate(time.Minute).Add(-5 * time.Minute)
	stamp := at.Format(time.RFC3339)
	e.aws("cloudwatch", "put-metric-data", "--namespace", "app", "--metric-name", "n", "--value", "41.5", "--unit", "Count", "--dimensions", "a=1", "--timestamp", stamp)
	data, err := json.Marshal([]map[string]any{{"MetricName": "n", "Dimensions": []map[string]string{{"Name": "a", "Value": "1"}}, "Values": []float64{1, 2}, "Counts": []float64{1, 3}, "Unit": "Count", "Timestamp": stamp}})
	e.check(err)
	e.aws("cloudwatch", "put-metric-data", "--namespace", "app", "--metric-data", string(data))
	queries := `[{"Id":"s","MetricStat":{"Metric":{"Namespace":"app","MetricName":"n","Dimensions":[{"Name":"a","Value":"1"}]},"Period":60,"Stat":"Sum"}},
		{"Id":"p","MetricStat":{"Metric":{"Namespace":"app","MetricName":"n","Dimensions":[{"Name":"a","Value":"1"}]},"Period":60,"Stat":"p100"}}]`
	out, _ := e.aws("cloudwatch", "get-metric-data", "--metric-data-queries", queries, "--start-time", stamp, "--end-time", at.Add(time.Hour).Format(time.RFC3339))
	var got struct {
		MetricDataResults []struct {
			ID, Label, StatusCode string
			Values                []float64
			Timestamps            []any // numbers or text, as the CLI's version goes
		}
	}
	e.check(json.Unmarshal([]byte(out), &got))
	if r := got.MetricDataResults; len(r) != 2 || fmt.Sprint(r[0].Values, r[1].Values) != "[48.5] [41.5]" || r[0].StatusCode != "Complete" || len(r[0].Timestamps) != 1 {
		t.Errorf("%s", out)
	}
	if out, _ = e.aws("cloudwatch", "list-metrics", "--namespace", "app"); !strings.Contains(out, `"MetricName": "n"`) || !strings.Contains(out, `"Value": "1"`) {
		t.Errorf("%s", out)
	}
	out, _ = e.aws("cloudwatch", "get-metric-statistics", "--namespace", "app", "--metric-name", "n", "--dimensions", "Name=a,Value=1", "--statistics", "Average", "SampleCount", "--period", "300",
		"--start-time", stamp, "--end-time", at.Add(time.Hour).Format(time.RFC3339))
	if !strings.Contains(out, `"SampleCount": 5`) || !strings.Contains(out, `"Average": 9.7`) || !strings.Contains(out, `"Unit": "Count"`) {
		t.Errorf("%s", out)
	}
}
