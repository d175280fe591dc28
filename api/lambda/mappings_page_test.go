package lambda

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const mappingsPage = "../../docs/compat/esm.md"

// behaviours are what mappings do beside being shown, each with the tests that hold it:
// "folder Test", or the name of a story of triggers/shard. What others do is the public
// record at the commits that the page names.
var behaviours = []struct {
	what, note                   string
	tests                        string
	localstack, floci, ministack string
}{
	{"BatchSize", "", "batch_size", "yes", "yes", "yes"},
	{"MaximumBatchingWindowInSeconds", "begins with a free place's first record", "window window_starts_with_slot", "yes", "ignored", "stored"},
	{"no event above 6 MB", "counted as JSON; a record that is too large alone is dead-lettered", "window_bytes payload_too_large", "not on streams", "no", "no"},
	{"StartingPosition: TRIM_HORIZON, LATEST, AT_TIMESTAMP", "resolved when the mapping is made, and never again", "triggers/poll/TestPositionsAreCommittedBeforeATriggerShows triggers/poll/TestLatestIsResolvedOnceWhenTheTriggerIsMade", "yes; the time is taken for a sequence number", "TRIM_HORIZON only", "no time"},
	{"shards found later are read from their beginning", "with LATEST too", "triggers/poll/TestAShardFoundLaterStartsAtItsBeginning", "no", "no", "from their end"},
	{"a child is read when its parents are done", "", "triggers/poll/TestAChildIsReadWhenItsParentIsFinishedAndFromItsBeginning triggers/poll/TestAMergedShardWaitsForTheLaterOfItsParents", "no", "no", "no"},
	{"ParallelizationFactor, order per partition key", "", "parallel triggers/poll/TestParallelKeepsOrderPerKeyAndItsBound", "stored", "no", "stored"},
	{"TumblingWindowInSeconds, with state", "state is in the checkpoint; the final invocation is tried until it succeeds; a late record opens its window anew", "tumbling tumbling_restart tumbling_final_fails tumbling_state_too_large", "stored", "no", "no"},
	{"FilterCriteria per record", "EventBridge's language; filtered records take no place in a batch", "triggers/filter/TestRecordedOnAWS server/TestFailureRulesOverTheWire", "yes", "no", "yes"},
	{"checkpoints outlive the server", "retry state too: no kill resets a quota", "restart_keeps_budget triggers/poll/TestRestartResumesAtTheCheckpoint", "no", "yes", "in memory"},
	{"changes take effect between two batches, the place is kept", "", "triggers/poll/TestUpdateHoldsFromTheNextUnitOn", "yes", "yes", "yes"},
	{"a consumer's ARN as the source", "", "api/lambda/TestMappingsAreShownAsRecorded", "partly", "?", "?"},
	{"MaximumRetryAttempts", "1 + so many invocations; throttling costs none", "quota throttle_costs_nothing", "yes", "DynamoDB only", "DynamoDB only"},
	{"progress resets the quota", "recorded on AWS", "progress_resets_quota server/TestFailureRulesOverTheWire", "no", "?", "?"},
	{"MaximumRecordAgeInSeconds, per record", "", "record_age record_age_mixed server/TestFailureRulesOverTheWire", "yes", "no", "DynamoDB only"},
	{"BisectBatchOnFunctionError", "halves before the first retry, the left one first and to its end; the left one has n/2 records, rounded down; a full quota each", "bisect_eight_records bisect_without_retries server/TestFailureRulesOverTheWire", "not executed", "stored", "stored"},
	{"ReportBatchItemFailures", "the lowest sequence number counts; what is malformed fails the batch", "replies lowest_failed_is_over_the_unit no_progress_is_an_attempt", "yes", "no", "no"},
	{"both of them", "a partial reply splits where it says, without progress it halves", "bisect_with_partial_reply server/TestFailureRulesOverTheWire", "no", "no", "no"},
	{"OnFailure", "sent once it is sure that the batch is passed, tried for ever; the payload is kept in a dead letter besides", "triggers/relay/TestNoticesAreDeliveredOnceAndInOrder triggers/relay/TestNoticesSurviveEveryCrash triggers/destination/TestBodyIsAsOnAWS", "SQS, SNS, S3", "SQS, SNS; from DynamoDB", "SQS, SNS; from DynamoDB"},
	{"a failing function stops its shard only", "", "triggers/poll/TestTriggersOfAStreamGoTheirOwnWays", "?", "?", "?"},
	{"LastProcessingResult", "OK is forgotten after a minute without records", "api/lambda/TestLastProcessingResult", "?", "?", "?"},
	{"strict", "nothing starts once a mapping is disabled or deleted", "api/lambda/TestWhatIsStillChangingIsInUse", "?", "?", "?"},
}

// mappingsText is the page.
func mappingsText() string {
	var b strings.Builder
	b.WriteString(`# Event source mappings

Generated from the tables that the tests of api/lambda run, by ` + "`go generate ./api/lambda`" + `; do not edit. What AWS does was **R**ecorded on it, is **D**ocumented,
was reported from the **F**ield, or is not known and decided here (**I**).

Only Kinesis streams, and their consumers, can be the source. Mappings of DynamoDB streams, SQS, Kafka, MQ and DocumentDB are checked as AWS checks them as far as that goes
without the source, and then refused by name. A mapping made here is a trigger of the command line, and the other way round; it belongs to the account and region of its stream.

## Operations

| operation | request | answer |
|---|---|---|
`)
	for _, op := range (&service{}).mappingOps() {
		fmt.Fprintf(&b, "| %s | %s %s | %d |\n", op.Name, op.Method, op.Path, max(op.Status, 200))
	}
	b.WriteString("| ListTags, TagResource, UntagResource | | with the ARN of a mapping |\n")
	b.WriteString(`
## Parameters

| parameter | default | update | note |
|---|---|---|---|
`)
	for _, p := range mappingParameters {
		usual, update := strings.ReplaceAll(p.usual, `"`, ""), "yes"
		if p.immobile {
			update = "no"
		}
		switch p.name {
		case "StartingPosition", "FunctionName", "EventSourceArn":
			usual = "must be given"
		case "Enabled":
			usual = "true"
		}
		if usual == "-" {
			usual = "none"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.name, usual, update, p.note)
	}
	b.WriteString(`
What AWS has no parameter for is set by tags, and shown as tags: `)
	for i, t := range tagSettings {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "`%s` (%s; %s)", t.tag, t.want, t.usual)
	}
	fmt.Fprintf(&b, ", and `%s` when a mapping is made: what the command line calls it (else FUNCTION-STREAM).\n", tagName)
	b.WriteString(`
## States

| what is done | the answer shows | then |
|---|---|---|
`)
	for _, s := range mappingStates {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s.rule, s.answers, s.then)
	}
	b.WriteString(`| delete | Deleting | gone: 404 |

The change is made when the answer is sent; the state that AWS passes through is shown in it. An invocation under way ends first: meanwhile the mapping is shown as
Disabling or Deleting, and touching it is a ResourceInUseException. StateTransitionReason is always User action.

## Errors

In the order of AWS's checks: the model, OnSuccess, the source, the position, batch and window, filters, the function, the stream, duplicates.

| what is wrong | | code | text | of AWS |
|---|---|---|---|---|
`)
	row := func(rule, code, message, source string) {
		status := map[string]int{codeConflict: 409, codeNotFound: 404}[code]
		if status == 0 {
			status = 400
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s |\n", rule, status, code, strings.ReplaceAll(strings.ReplaceAll(message, account, "ACCOUNT"), "|", `\|`), source)
	}
	for _, e := range mappingRefusals {
		if strings.Contains(e.rule, "before") {
			continue // about the order
		}
		code := e.code
		if code == "" {
			code = codeInvalid
		}
		row(e.rule, code, e.message, e.source)
	}
	row("the source has a mapping to the function", codeConflict, `The event source arn (" ARN ") and function (" NAME ") provided mapping already exists. Please update or delete the existing mapping with UUID UUID`, "R")
	row("a UUID of nobody", codeNotFound, "The resource you requested does not exist.", "R")
	row("an update of a mapping that is changing", codeInUse, "Cannot update the event source mapping because it is in use.", "F")
	row("a deletion of one", codeInUse, "Cannot delete the event source mapping because it is in use.", "F")
	b.WriteString(`
## What mappings do

The other columns are the public record of emulators that run functions from Kinesis streams: LocalStack at 8b9a79f0 of 2026-03-23, the last that is open, and the
documentation of 2026; Floci at a2389e77 and MiniStack at f1bdbd8c, both of 2026-08-22. Besides these, KensioSoftware/yulin executes bisect, retries and destinations within
the process of a Node test since September 2026 (its issues 1296 and 1299); it is a library, and keeps nothing. ? is what was not looked at or not found.

| | here | tests | LocalStack | Floci | MiniStack |
|---|---|---|---|---|---|
`)
	for _, r := range behaviours {
		here := "yes"
		if r.note != "" {
			here += ": " + r.note
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.what, here, strings.ReplaceAll(r.tests, " ", ", "), r.localstack, r.floci, r.ministack)
	}
	return b.String()
}

func TestMappingsPageIsUpToDate(t *testing.T) {
	want := mappingsText()
	if *write {
		if err := os.WriteFile(mappingsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(mappingsPage)
	if err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("%s is not what the tables say (%v): run go generate ./api/lambda", mappingsPage, err)
	}
}

// Each parameter of the model is one that is taken, or is refused for streams.
func TestEveryParameterOfMappingsIsOnThePage(t *testing.T) {
	for _, m := range createMappingInput.Members {
		on := m.Name == "Tags" || m.Name == "StartingPositionTimestamp" // in the rows of others
		for _, p := range mappingParameters {
			on = on || p.name == m.Name
		}
		for _, f := range fitting {
			on = on || f.parameter == m.Name && f.sources&kinesis == 0
		}
		if !on {
			t.Errorf("%s is neither taken nor refused", m.Name)
		}
	}
}

// What the page says to work names tests that are there, or stories.
func TestThePageOfMappingsNamesTestsThatAreThere(t *testing.T) {
	for _, r := range behaviours {
		for test := range strings.FieldsSeq(r.tests) {
			if !strings.Contains(test, "/") {
				if _, err := os.Stat("../../triggers/shard/testdata/" + test + ".story"); err != nil {
					t.Errorf("%s: %v", r.what, err)
				}
				continue
			}
			files, err := filepath.Glob("../../" + filepath.Dir(test) + "/*_test.go")
			if err != nil {
				t.Fatal(err)
			}
			is := regexp.MustCompile(`(?m)^func ` + filepath.Base(test) + `\(`)
			if !slices.ContainsFunc(files, func(file string) bool {
				text, err := os.ReadFile(file)
				return err == nil && is.Match(text)
			}) {
				t.Errorf("%s: there is no test %s", r.what, test)
			}
		}
	}
}
