package logs

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"github.com/wasmill/wasmill/functions/logs"
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

func TestCLIReadsAndWritesLogs(t *testing.T) {
	needCLI(t)
	e := emulate(t, logs.Options{}, false)
	at := time.Now().Add(-time.Minute)
	e.wrote("f", "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef", at, "START RequestId: r Version: $LATEST", "hello", "END RequestId: r")
	if out, known := e.aws("logs", "tail", "/aws/lambda/f", "--since", "1h", "--format", "short"); known && (strings.Count(out, "\n") != 3 || !strings.Contains(out, " hello\n")) {
		t.Errorf("tail: %s", out)
	}
	e.aws("logs", "create-log-group", "--log-group-name", "app", "--tags", "team=geo")
	e.aws("logs", "create-log-stream", "--log-group-name", "app", "--log-stream-name", "s")
	e.aws("logs", "put-log-events", "--log-group-name", "app", "--log-stream-name", "s", "--log-events", fmt.Sprintf("timestamp=%d,message=one", at.UnixMilli()), fmt.Sprintf("timestamp=%d,message=two", at.UnixMilli()+1))
	e.aws("logs", "put-retention-policy", "--log-group-name", "app", "--retention-in-days", "7")
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"describe-log-groups", []string{`"logGroupName": "/aws/lambda/f"`, `"logGroupName": "app"`, `"retentionInDays": 7`}},
		{"describe-log-streams --log-group-name app", []string{`"logStreamName": "s"`, `"lastEventTimestamp": ` + fmt.Sprint(at.UnixMilli()+1)}},
		{"filter-log-events --log-group-name app --filter-pattern two", []string{`"message": "two"`}},
		{"get-log-events --log-group-name app --log-stream-name s --start-from-head --limit 1", []string{`"message": "one"`, `"nextForwardToken": "f/`}},
		{"list-tags-log-group --log-group-name app", []string{`"team": "geo"`}},
	} {
		out, _ := e.aws(append([]string{"logs"}, strings.Fields(tt.command)...)...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%s: %v", tt.command, err)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %s in %s", tt.command, want, out)
			}
		}
	}
}

// TestTailFollowsWithoutGapsOrRepeats does what `aws logs tail --follow` does (aws-cli 2.9,
// customizations/logs/tail.py): pages of FilterLogEvents from the time of the newest event
// on, without those of that time that were seen already.
func TestTailFollowsWithoutGapsOrRepeats(t *testing.T) {
	e := emulate(t, logs.Options{}, false)
	group, at := "/aws/lambda/f", time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	in := &sdk.FilterLogEventsInput{LogGroupName: &group, StartTime: ptr(at.UnixMilli()), Limit: ptr(int32(7))}
	seen := map[int64]map[string]bool{}
	n := 0
	for round := range 30 {
		for i := range 1 + round%5 { // several in a millisecond, and in several streams
			l := e.store.Function("f")
			l.Write(logs.Line{Time: at.Add(time.Duration(round/2) * time.Millisecond), Stream: fmt.Sprint("s", i%2), Text: fmt.Sprint(n + i)})
		}
		want := n + 1 + round%5
		p := sdk.NewFilterLogEventsPaginator(e.Client, in)
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			e.check(err)
			for _, ev := range out.Events {
				ids := seen[*ev.Timestamp]
				if ids[*ev.EventId] {
					continue
				}
				if ids == nil {
					ids = map[string]bool{}
					seen[*ev.Timestamp] = ids
				}
				ids[*ev.EventId] = true
				if *ev.Message != fmt.Sprintln(n) {
					t.Fatalf("round %d: %s, want %d", round, *ev.Message, n)
				}
				n++
			}
		}
		if n != want {
			t.Fatalf("round %d: %d events, want %d", round, n, want)
		}
		newest := slices.Max(slices.Collect(maps.Keys(seen)))
		seen = map[int64]map[string]bool{newest: seen[newest]}
		in.StartTime = &newest
	}
}
