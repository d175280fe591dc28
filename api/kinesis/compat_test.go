package kinesis

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
)

var write = flag.Bool("write", false, "write docs/compat/kinesis.md anew")

const compatPage = "../../docs/compat/kinesis.md"

// partly is what does not do all that it does on AWS, by "Operation.Member".
var partly = map[string]string{
	"CreateStream.WarmThroughputMiBps":                         "gives the stream a shard for each MiB/s",
	"UpdateStreamMode.WarmThroughputMiBps":                     "gives the stream a shard for each MiB/s",
	"UpdateStreamWarmThroughput.WarmThroughputMiBps":           "gives the stream a shard for each MiB/s",
	"StartStreamEncryption.EncryptionType":                     "remembered and shown; records are kept as they came",
	"StartStreamEncryption.KeyId":                              "remembered and shown; no key is looked for",
	"StopStreamEncryption.EncryptionType":                      "remembered and shown",
	"StopStreamEncryption.KeyId":                               "need not be the key that the stream has",
	"EnableEnhancedMonitoring.ShardLevelMetrics":               "remembered and shown; there is no CloudWatch to send them to",
	"DisableEnhancedMonitoring.ShardLevelMetrics":              "remembered and shown",
	"PutResourcePolicy.Policy":                                 "its form is checked; remembered and shown, and not evaluated",
	"UpdateAccountSettings.MinimumThroughputBillingCommitment": "remembered and shown; allows warm throughput and 50 consumers of an on-demand stream; nothing is billed",
}

// not is what current clients know and we answer with UnknownOperationException.
var not = []string{"CreateChannel", "DeleteChannel", "DescribeChannel", "ListChannels", "UpdateChannel", "UpdateStreamRecordDistributionStrategy"}

// notes say of an operation what its members do not.
var notes = map[string]string{
	"CreateStream":           "Without ShardCount and StreamModeDetails the stream is on demand and has four shards, as on AWS.",
	"DeleteStream":           "Streams that triggers read from too: the triggers then tell that their stream is gone.",
	"DescribeLimits":         "AWS's default quotas. They are kept to only if limits are asked for.",
	"PutRecord":              "ProvisionedThroughputExceededException only if limits are asked for, or if the stream has a quota and it is used up.",
	"PutRecords":             "As PutRecord, for each record.",
	"RegisterStreamConsumer": "The answer says CREATING, and the consumer can be used at once.",
	"SubscribeToShard":       "Pushed over HTTP/2 with prior knowledge and over HTTP/1.1; five minutes, as on AWS.",
	"UpdateShardCount":       "Ten times a day at most only if limits are asked for; at most double and at least half always.",
	"UpdateStreamMode":       "Twice a day at most only if limits are asked for.",
}

// page writes what works, partly works and does not.
func page() string {
	var b strings.Builder
	b.WriteString(`# Kinesis Data Streams

Generated from the tests of api/kinesis by ` + "`go generate ./api/kinesis`" + `; do not edit. What is said to work has been called with success by them: each
operation and each of its parameters. Names, constraints and errors are those of botocore 1.43.11; texts of errors AWS's own where they have been recorded.

- Protocols: AWS JSON 1.1, CBOR 1.1 and RPC v2 CBOR, bodies gzipped or not, over HTTP/1.1 and over HTTP/2 with prior knowledge.
- A stream is named by StreamName, by StreamARN or by StreamId; by several if they agree. SDKs send calls that name a StreamId to a host of AWS's even when an endpoint
  is set: give them an endpoint resolver instead.
- Account and region are those of the credentials: the account is the access key id if that has twelve digits, else 000000000000. ARNs of another account are
  refused with AccessDeniedException, for no policy is evaluated; those of another region name streams that are not there.
- CREATING, UPDATING and DELETING last as long as the server is told to let them; by default nobody is kept waiting.
- What AWS allows so many times in a second or a day is limited only if limits are asked for.

`)
	fmt.Fprintf(&b, "| operation | | parameters that work | partly | note |\n|---|---|---|---|---|\n")
	ops := New(Deps{}).Ops
	slices.SortFunc(ops, func(a, b *wire.Operation) int { return strings.Compare(a.Name, b.Name) })
	for _, op := range ops {
		var works, partial []string
		eachMember(op.Name+".", op.Input, func(path string, _ wire.Member) {
			name := strings.ReplaceAll(strings.TrimPrefix(path, op.Name+"."), ".member.", "[].")
			if why, ok := partly[path]; ok {
				partial = append(partial, name+": "+why)
			} else {
				works = append(works, name)
			}
		})
		state := "works"
		if len(partial) > 0 {
			state = "partly"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", op.Name, state, strings.Join(works, ", "), strings.Join(partial, "<br>"), notes[op.Name])
	}
	for _, op := range not {
		fmt.Fprintf(&b, "| %s | not | | | |\n", op)
	}
	return b.String()
}

func TestCompatibilityPageIsUpToDate(t *testing.T) {
	want := page()
	if *write {
		if err := os.WriteFile(compatPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(compatPage)
	if err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("%s is not what the tests say (%v): run go generate ./api/kinesis", compatPage, err)
	}
}

// TestMain checks at the end of a whole run that all that the page says to work was
// called with success.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if code == 0 && whole {
		for _, missing := range uncovered() {
			fmt.Printf("%s is said to work, and no test called it with success\n", missing)
			code = 1
		}
	}
	os.Exit(code)
}

// uncovered are the operations and members that no call with success had.
func uncovered() []string {
	var missing []string
	for _, op := range New(Deps{}).Ops {
		if _, ok := covered.Load(op.Name); !ok {
			missing = append(missing, op.Name)
		}
		eachMember(op.Name+".", op.Input, func(path string, _ wire.Member) {
			if _, ok := covered.Load(path); !ok {
				missing = append(missing, path)
			}
		})
	}
	return missing
}
