package kinesis

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// cli is the AWS CLI, pointed at a service.
type cli struct {
	t   *testing.T
	url string
}

// run runs a command of `aws kinesis` and gives what it printed.
func (c cli) run(command string) map[string]any {
	c.t.Helper()
	answer, known := c.newer(command)
	if !known {
		c.t.Fatalf("this AWS CLI has no aws kinesis %s", command)
	}
	return answer
}

// newer is run for an operation that is younger than the CLI of Debian 12. One that
// does not know it proves nothing of it, and what the Go SDK shows has to do.
func (c cli) newer(command string) (answer map[string]any, known bool) {
	c.t.Helper()
	args := append([]string{"--endpoint-url", c.url, "--output", "json", "kinesis"}, strings.Fields(command)...)
	cmd := exec.CommandContext(c.t.Context(), "aws", args...)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y", "AWS_DEFAULT_REGION=us-east-1", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+filepath.Join(c.t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(c.t.TempDir(), "none"))
	out, err := cmd.Output()
	if err != nil {
		said := err.Error()
		if exit, ok := err.(*exec.ExitError); ok {
			said = string(exit.Stderr)
		}
		if strings.Contains(said, "Invalid choice") || strings.Contains(said, "Found invalid choice") {
			c.t.Logf("this AWS CLI is older than the operation: aws kinesis %s", command)
			return nil, false
		}
		c.t.Fatalf("aws kinesis %s: %s", command, said)
	}
	answer = make(map[string]any)
	if len(out) > 0 {
		if err := json.Unmarshal(out, &answer); err != nil {
			c.t.Fatalf("aws kinesis %s: %v in %s", command, err, out)
		}
	}
	return answer, true
}

// at walks into an answer; "" is nothing.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			list, _ := v.([]any)
			if p >= len(list) {
				return nil
			}
			v = list[p]
		}
	}
	return v
}

func (c cli) want(what string, got, want any) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func TestCLISpeaksEveryGroupOfOperations(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not run with -short")
	}
	if path, err := exec.LookPath("aws"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("the AWS CLI is not here: .ci/install installs awscli")
		}
		t.Skip("the AWS CLI (awscli) is not installed")
	} else {
		t.Logf("with %s", path)
	}
	e := emulate(t, 0, nil)
	for name, group := range map[string]func(c cli, arn string){
		"streams": func(c cli, _ string) {
			c.run("create-stream --stream-name cli --shard-count 2")
			c.run("wait stream-exists --stream-name cli")
			names, _ := at(c.run("list-streams"), "StreamNames").([]any)
			c.want("a stream named cli", slices.Contains(names, any("cli")), true)
			c.run("delete-stream --stream-name cli")
		},
		"shards": func(c cli, _ string) {
			c.run("split-shard --stream-name shards --shard-to-split shardId-000000000000 --new-starting-hash-key " + half)
			c.run("merge-shards --stream-name shards --shard-to-merge shardId-000000000001 --adjacent-shard-to-merge shardId-000000000002")
			c.want("target", at(c.run("update-shard-count --stream-name shards --target-shard-count 2 --scaling-type UNIFORM_SCALING"), "TargetShardCount"), 2.0)
			list, _ := at(c.run("list-shards --stream-name shards --shard-filter Type=FROM_TRIM_HORIZON"), "Shards").([]any)
			c.want("number of shards", len(list), 6)
		},
		"tags": func(c cli, _ string) {
			c.run("add-tags-to-stream --stream-name tags --tags a=1,b=2")
			c.want("tag", at(c.run("list-tags-for-stream --stream-name tags"), "Tags", 1, "Key"), "b")
		},
		"consumers": func(c cli, arn string) {
			c.run("register-stream-consumer --consumer-name fan --stream-arn " + arn)
			c.want("name", at(c.run("list-stream-consumers --stream-arn "+arn), "Consumers", 0, "ConsumerName"), "fan")
		},
		"settings": func(c cli, arn string) {
			c.run("start-stream-encryption --stream-name settings --encryption-type KMS --key-id alias/aws/kinesis")
			c.want("metric", at(c.run("enable-enhanced-monitoring --stream-name settings --shard-level-metrics ALL"), "DesiredShardLevelMetrics", 0), "IncomingBytes")
			c.run("update-stream-mode --stream-mode-details StreamMode=ON_DEMAND --stream-arn " + arn)
			c.run("increase-stream-retention-period --stream-name settings --retention-period-hours 72")
			d := at(c.run("describe-stream-summary --stream-name settings"), "StreamDescriptionSummary")
			c.want("key", at(d, "KeyId"), "alias/aws/kinesis")
			c.want("retention", at(d, "RetentionPeriodHours"), 72.0)
			c.want("mode", at(d, "StreamModeDetails", "StreamMode"), "ON_DEMAND")
		},
		"policies": func(c cli, arn string) {
			policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"kinesis:*","Resource":"` + arn + `"}]}`
			if _, known := c.newer("put-resource-policy --resource-arn " + arn + " --policy " + policy); !known {
				return
			}
			c.want("policy", at(c.run("get-resource-policy --resource-arn "+arn), "Policy"), policy)
		},
		"account": func(c cli, _ string) {
			c.want("limit", at(c.run("describe-limits"), "ShardLimit"), 20000.0)
			if settings, known := c.newer("describe-account-settings"); known {
				c.want("commitment", at(settings, "MinimumThroughputBillingCommitment", "Status"), "DISABLED")
			}
		},
		"records": func(c cli, _ string) {
			c.want("failed", at(c.run("put-records --stream-name records --records Data=aGVsbG8=,PartitionKey=k"), "FailedRecordCount"), 0.0)
			it, _ := at(c.run("get-shard-iterator --stream-name records --shard-id shardId-000000000000 --shard-iterator-type TRIM_HORIZON"), "ShardIterator").(string)
			c.want("key", at(c.run("get-records --shard-iterator "+it), "Records", 0, "PartitionKey"), "k")
		},
	} {
		arn := e.create(name, 1).ARN()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group(cli{t, e.url}, arn)
		})
	}
}
