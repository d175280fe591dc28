package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/wasmill/wasmill/api/admin"
)

// says runs a command that must succeed and say each text, on either output.
func (w *world) says(texts []string, args ...string) {
	w.Helper()
	o := w.run(args...)
	if o.status != 0 {
		w.Errorf("wasmill %s: exit status %d\n%s%s", strings.Join(args, " "), o.status, o.out, o.err)
	}
	for _, text := range texts {
		if !strings.Contains(o.out+o.err, text) {
			w.Errorf("wasmill %s does not say %q:\n%s%s", strings.Join(args, " "), text, o.out, o.err)
		}
	}
}

// told runs a command that must fail with that status and text.
func (w *world) told(status int, text string, args ...string) {
	w.Helper()
	if o := w.run(args...); o.status != status || !strings.Contains(o.err, text) {
		w.Errorf("wasmill %s: exit status %d, want %d and %q\n%s%s", strings.Join(args, " "), o.status, status, text, o.out, o.err)
	}
}

func TestShardsAreSplitMergedAndScaled(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.says([]string{"stream orders has 2 open shards: shard 0 closed, shard 1, shard 2 opened", "next: wasmill stream get orders"}, "stream", "split", "orders")
	w.says([]string{"3 open shards: shard 2 closed, shard 3, shard 4 opened"}, "stream", "split", "orders", "--shard", "2", "--at", "255211775190703847597530955573826158592")
	w.says([]string{"2 open shards: shard 3, shard 4 closed, shard 5 opened"}, "stream", "merge", "orders", "shardId-000000000003", "4")
	v := data[admin.Stream](w, "stream", "scale", "orders", "--shards", "4")
	if v.ShardCount != 4 || v.Name != "orders" {
		t.Errorf("scaled: %+v", v)
	}
	w.says([]string{"stream orders stays as it is: 4 open shards"}, "stream", "scale", "orders", "--shards", "4")

	table := w.ok("shard", "ls", "orders")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != 1+len(data[struct{ Shards []admin.Shard }](w, "shard", "ls", "orders").Shards) || !strings.HasPrefix(lines[0], "SHARD ") {
		t.Errorf("shard ls:\n%s", table)
	}
	for _, row := range []string{
		`shardId-000000000000 +CLOSED +0 +340282366920938463463374607431768211455 +- `,
		`shardId-000000000001 +CLOSED +0 +170141183460469231731687303715884105727 +shard 0 `,
		`shardId-000000000004 +CLOSED +255211775190703847597530955573826158592 .* shard 2 `,
		`shardId-000000000005 +CLOSED +170141183460469231731687303715884105728 .* shard 3 \+ shard 4 `,
		`ACTIVE .* -\n`,
	} {
		if !regexp.MustCompile(row).MatchString(table) {
			t.Errorf("shard ls has no %s:\n%s", row, table)
		}
	}

	// What a hard user does wrong.
	w.told(3, `there is no stream "order"; did you mean orders?`, "stream", "split", "order")
	w.told(3, `there is no stream "order"; did you mean orders?`, "shard", "ls", "order")
	w.told(3, "has no shard", "stream", "split", "orders", "--shard", "99")
	w.told(1, "is CLOSED", "stream", "split", "orders", "--shard", "0")
	w.told(1, "want one inside the range of", "stream", "split", "orders", "--shard", "6", "--at", "0")
	w.told(2, `--at "half": want the first hash key of the second half, a decimal number`, "stream", "split", "orders", "--at", "half")
	w.told(2, `shard "one": want its id (shardId-000000000000) or its number (0)`, "stream", "split", "orders", "--shard", "one")
	w.told(2, "needs SHARD", "stream", "merge", "orders", "1")
	w.told(1, "do not lie beside each other", "stream", "merge", "orders", "6", "9")
	w.told(1, "do not lie beside each other", "stream", "merge", "orders", "6", "6")
	w.told(2, "--shards 0: want 1 to 10000", "stream", "scale", "orders", "--shards", "0")
	w.told(2, "wasmill stream scale needs --shards", "stream", "scale", "orders")
	w.told(2, "want 1 to 10000", "stream", "scale", "orders", "--shards", "10001")
}

// The band of a shard is its part of the hash range; what it takes is beside it.
func TestStreamGetDrawsShards(t *testing.T) {
	w := newWorld(t)
	w.vars["TERM"] = "dumb"
	w.ok("stream", "create", "orders", "--shards", "2")
	for range 3 {
		w.ok("stream", "put", "orders", "--data", "x", "--key", "k")
	}
	w.ok("stream", "split", "orders", "--shard", "1")
	out := w.ok("stream", "get", "orders")
	for _, row := range []string{
		`SHARD +STATE +HASH-KEYS +OF-ALL +TRAFFIC +RECORDS/S +RECORDS +BYTES +NEWEST`,
		`shardId-000000000000 +ACTIVE +#{16}\.{16} +50 % `,
		`shardId-000000000001 +CLOSED +\.{16}\+{16} +50 % `,
		`shardId-000000000002 +ACTIVE +\.{16}#{8}\.{8} +25 % `,
		`shardId-000000000003 +ACTIVE +\.{24}#{8} +25 % `,
		`mode +provisioned`,
	} {
		if !regexp.MustCompile(row).MatchString(out) {
			t.Errorf("no %s in\n%s", row, out)
		}
	}
	w.vars["TERM"] = "xterm"
	if out := w.ok("stream", "get", "orders"); !strings.Contains(out, strings.Repeat("█", 16)+strings.Repeat("·", 16)) {
		t.Errorf("on a terminal with characters:\n%s", out)
	}
}

func TestOnDemandStreamsBeginWithFourShards(t *testing.T) {
	w := newWorld(t)
	w.says([]string{"created stream orders: 4 shards"}, "stream", "create", "orders", "--on-demand")
	w.says([]string{"on-demand: shards split and merge by themselves"}, "stream", "get", "orders")
	if v := data[admin.Stream](w, "stream", "create", "more", "--on-demand", "--shards", "7"); v.ShardCount != 7 || v.Mode != "ON_DEMAND" {
		t.Errorf("%+v", v)
	}
}

func TestConsumersAreListed(t *testing.T) {
	w := newWorld(t)
	v := data[admin.Stream](w, "stream", "create", "orders")
	w.says([]string{"no consumers are registered; an AWS client does it"}, "stream", "consumers", "orders")
	client := sdk.New(sdk.Options{BaseEndpoint: aws.String(w.server.Endpoint()), Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
	if _, err := client.RegisterStreamConsumer(t.Context(), &sdk.RegisterStreamConsumerInput{StreamARN: &v.ARN, ConsumerName: aws.String("audit")}); err != nil {
		t.Fatal(err)
	}
	w.says([]string{"NAME", "REGISTERED", "ARN", "audit", v.ARN + "/consumer/audit:"}, "stream", "consumers", "orders")
	w.told(3, "did you mean orders?", "stream", "consumers", "order")
}

func TestDeployScalesStreams(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "x"
	dir := w.folder(ordersToml, answers(`1`))
	w.ok("stream", "create", "orders", "--shards", "3")
	if plan := w.ok("deploy", dir, "--dry-run"); !strings.HasPrefix(plan, "~ stream orders: shards 3 -> 2\n") {
		t.Errorf("the plan is\n%s", plan)
	}
	w.ok("deploy", dir)
	if v := data[admin.Stream](w, "stream", "get", "orders"); v.ShardCount != 2 {
		t.Errorf("%d shards, want 2", v.ShardCount)
	}
	w.says([]string{"nothing to change"}, "deploy", dir)
	// From then on it scales by itself, and nobody scales it back.
	w.write(dir+"/wasmill.toml", strings.Replace(ordersToml, "shards = 2", "mode = \"on-demand\"\nshards = 9", 1))
	w.says([]string{"~ stream orders: mode provisioned -> on-demand"}, "deploy", dir)
	w.says([]string{"nothing to change"}, "deploy", dir)
	if v := data[admin.Stream](w, "stream", "get", "orders"); v.ShardCount != 2 || v.Mode != "ON_DEMAND" {
		t.Errorf("%d shards, %s", v.ShardCount, v.Mode)
	}
}

func TestFaultsAreAddedListedAndRemoved(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.says([]string{"no faults"}, "fault", "ls")
	w.says([]string{"fault 1: 5% of the records of PutRecords get ProvisionedThroughputExceededException", "undo: wasmill fault rm 1"},
		"fault", "add", "--op", "PutRecords", "--records", "--rate", "5%", "--error", "ProvisionedThroughputExceededException")
	w.says([]string{"fault 2: 100% of the calls of GetRecords are 200ms late"}, "fault", "add", "--op", "GetRecords", "--latency", "200ms")
	f := data[admin.Fault](w, "fault", "add", "--op", "PutRecord", "--rate", "100%", "--error", "InternalFailure", "--seed", "7", "--service", "kinesis")
	if f.ID != "3" || f.Rate != 1 || f.Seed != 7 || f.Service != "kinesis" {
		t.Errorf("%+v", f)
	}
	client := sdk.New(sdk.Options{BaseEndpoint: aws.String(w.server.Endpoint()), Region: "us-east-1", RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKID", "secret", "")})
	_, err := client.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("orders"), PartitionKey: aws.String("k"), Data: []byte("x")})
	if err == nil || !strings.Contains(err.Error(), "InternalFailure: Injected by fault 3 of wasmill.") {
		t.Errorf("a call that is to fail: %v", err)
	}
	w.ok("stream", "put", "orders", "--data", "x") // wasmill's own is not hit
	out := w.ok("fault", "ls")
	for _, row := range []string{
		`ID +SERVICE +OPERATION +RATE +WHICH +HITS +SEED`,
		`1 +kinesis +PutRecords +5% of records +get ProvisionedThroughputExceededException +0 of 0 `,
		`3 +kinesis +PutRecord +100% of calls +get InternalFailure +1 of 1 +7`,
	} {
		if !regexp.MustCompile(row).MatchString(out) {
			t.Errorf("no %s in\n%s", row, out)
		}
	}
	w.says([]string{"removed 1 fault: 3"}, "fault", "rm", "3")
	w.told(3, `there is no fault "3"`, "fault", "rm", "3")
	w.says([]string{"removed 2 faults: 1, 2"}, "fault", "rm", "--all")
	w.says([]string{"there are no faults"}, "fault", "rm", "--all")

	w.told(2, "wasmill fault add needs --op", "fault", "add")
	w.told(2, "want --error CODE, --latency TIME or both", "fault", "add", "--op", "PutRecords")
	w.told(1, `there is no operation "PutRecord5"; did you mean PutRecord or PutRecords`, "fault", "add", "--op", "PutRecord5", "--error", "X")
	w.told(1, `there is no operation "putrecords"; did you mean PutRecords`, "fault", "add", "--op", "putrecords", "--error", "X")
	w.told(1, `there is no service "kineses"; did you mean kinesis?`, "fault", "add", "--op", "PutRecords", "--service", "kineses", "--error", "X")
	w.told(1, `error "not an error": want the code of an AWS error`, "fault", "add", "--op", "PutRecords", "--error", "not an error")
	w.told(1, "latency 1h0m0s: want 0s to 5m0s", "fault", "add", "--op", "PutRecords", "--latency", "1h")
	w.told(1, "in PutRecords only, not in PutRecord", "fault", "add", "--op", "PutRecord", "--records", "--error", "X")
	w.told(2, "single records fail, they cannot be late", "fault", "add", "--op", "PutRecords", "--records", "--latency", "1s")
	for _, rate := range []string{"5", "0%", "101%", "much", "NaN%"} {
		w.told(2, "want a percentage above 0% and up to 100%, such as 5%", "fault", "add", "--op", "PutRecords", "--rate", rate, "--error", "X")
	}
	w.told(2, "want the ids of faults", "fault", "rm")
}

func TestATriggerMayUnpackAggregates(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.ok("fn", "create", "f", w.file("f.wasm", answers(`{}`)))
	if v := data[admin.Trigger](w, "trigger", "create", "t", "--stream", "orders", "--fn", "f", "--deaggregate"); !v.Deaggregate {
		t.Errorf("%+v", v)
	}
	w.says([]string{"options", "deaggregate"}, "trigger", "get", "t")
	if v := data[admin.Trigger](w, "trigger", "update", "t", "--deaggregate=false"); v.Deaggregate {
		t.Errorf("%+v", v)
	}
}
