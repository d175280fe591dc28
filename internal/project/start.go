package project

import (
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/functions"
)

// Name makes a function's name of a folder's.
func Name(folder string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
			return r
		}
		return '-'
	}, folder), "-")
	name = name[:min(len(name), functions.MaxName)]
	if name == "" {
		return "handler"
	}
	return name
}

// File is the text of a new file, with every setting in it. The stream is named
// as the function is. Emits are the streams that the function is written to emit
// to; one that does that is taken to name the records that failed as well.
func File(name, source string, emits ...string) string {
	quoted := make([]string, len(emits))
	for i, s := range emits {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	emitting, partial := `# emits = ["alerts"]       #`, "# partial-replies = false  #"
	if len(emits) > 0 {
		emitting, partial = fmt.Sprintf("emits = [%s]         #", strings.Join(quoted, ", ")), "partial-replies = true     #"
	}
	return fmt.Sprintf(`# What "wasmill deploy" puts on a server, and "wasmill dev" while you work on it. What is not said here is
# the default shown, whatever the server has. "wasmill diff" shows what a deployment would change.

function = %q
source = %q            # the folder of a project (Go, Rust, C, AssemblyScript, JavaScript), or a .wasm file
# description = ""
# memory = "128MB"         # of one environment, to 10240MB
# timeout = "3s"           # of a call, to 900s
%s streams that the function may emit records to, by what it returns
# allow = ["opensearch:9200"] # places that it may dial, as host:port; none by default, but for this server's API
# isolation = "environment"   # calls find in memory what earlier ones left; "invocation": never
# concurrency = 10         # the most calls at once, kept free for this function; left out: as many as there is room for

# Environment variables. ${NAME} is taken from whoever deploys, so that secrets need not stand here.
# [env]
# TABLE = "orders"
# API_KEY = "${API_KEY}"

# The function is called with a stream's records. Repeat it for more streams. A stream that does not exist
# is made, with what a [[stream]] says of it or with 1 shard.
[[trigger]]
stream = %q
# name = %q           # the function's, or FUNCTION-STREAM with several triggers
# from = "trim-horizon"    # where it starts: trim-horizon (the oldest record), latest, or a time
# batch-size = 100         # the most records of a call, to 10000
# window = "0s"            # how long a first record waits for company, to 300s
# parallel = 1             # batches of a shard under way at once, to 10; order holds per key
retries = 2                # of a failing batch, then its records become dead letters; -1, the default: for ever
bisect = true              # halve a failing batch, so that a poisoned record ends alone
# record-age = "0s"        # age at which a record is given up, 60s to 7d; 0s: never
%s let the function name the records that failed (ReportBatchItemFailures)
# backoff = "500ms"        # first wait before the same batch is tried again, doubling to 60s
# deaggregate = false      # unpack records that the Kinesis Producer Library has packed into one
# filters = ['{"data": {"type": ["order"]}}'] # records that go to the function, as AWS's FilterCriteria; one has to match
# strict-filters = false   # refuse filters that AWS does not support in event source mappings
# tumbling-window = "0s"   # hand records over in windows of so long, with a state, whole seconds to 15m; with parallel = 1
# on-failure = "failures"  # tell a stream (or ARN of a bucket, or file:///DIR) of batches that are given up
# on-destination-failure = "retry" # for ever, or "drop"
# skip-corrupt = false     # pass records damaged on disk as a counted gap
# paused = false           # left out: as whoever paused or resumed it by hand wants it

# [[stream]]
# name = %q
# shards = 4               # of a stream that has another number they are split and merged
# mode = "on-demand"       # or provisioned; on-demand streams split and merge shards by themselves
# retention = "24h"        # to 365d
# max-bytes = "1GB"        # the most its records may take; more is refused until older ones expire
# record-size = "1MB"      # the most of one record, to 10MB
`, name, source, emitting, name, name, partial, name)
}

// Handler is a Go program that works, for a folder without one: its files and
// what is in them.
func Handler(name string) map[string]string {
	return map[string]string{
		"main.go": `package main

import (
	"context"
	"fmt"
	"log"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// handle is called with a batch of records. An error fails all of them: they are tried again, halved with
// bisect = true, and what never succeeds becomes a dead letter (wasmill dlq ls).
func handle(ctx context.Context, event events.KinesisEvent) error {
	for _, record := range event.Records {
		data := record.Kinesis.Data
		if len(data) == 0 {
			return fmt.Errorf("record %s is empty", record.Kinesis.SequenceNumber)
		}
		log.Printf("%s: %s", record.Kinesis.PartitionKey, data)
	}
	return nil
}

func main() {
	lambda.Start(handle)
}
`,
		"go.mod": fmt.Sprintf("module %s\n\ngo 1.26\n\nrequire github.com/aws/aws-lambda-go v1.55.1\n", strings.ToLower(name)),
		"go.sum": `github.com/aws/aws-lambda-go v1.55.1 h1:We2cCp4BwqqH/JW+bEEo1FhgG71rslvjfi4y7KmlrR0=
github.com/aws/aws-lambda-go v1.55.1/go.mod h1:V+NzkHNR6vBC8C1PDloqSLE+7jYWFiPvJJFiCiTm8nE=
github.com/davecgh/go-spew v1.1.1 h1:vj9j/u1bqnvCEfJOwUhtlOARqs3+rkHYY13jYWTU97c=
github.com/davecgh/go-spew v1.1.1/go.mod h1:J7Y8YcW2NihsgmVo/mv3lAwl/skON4iLHjSsI+c5H38=
github.com/pmezard/go-difflib v1.0.0 h1:4DBwDE0NGyQoBHbLQYPwSUPoCMWR5BEzIk/f1lZbAQM=
github.com/pmezard/go-difflib v1.0.0/go.mod h1:iKH77koFhYxTK1pcRnkKkqfTogsbg7gZNVY4sRDYZ/4=
github.com/stretchr/testify v1.7.2 h1:4jaiDzPyXQvSd7D0EjG45355tLlV3VOECpq10pLC+8s=
github.com/stretchr/testify v1.7.2/go.mod h1:R6va5+xMeoiuVRoj+gSkQ7d3FALtqAAGI1FQKckRals=
gopkg.in/yaml.v3 v3.0.1 h1:fxVm/GzAzEWqLHuvctI91KS9hhNmmWOoWu0XTYJS7CA=
gopkg.in/yaml.v3 v3.0.1/go.mod h1:K4uyk7z7BCEPqu6E+C64Yfv1cQ7kz7rIZviUmN+EgEM=
`,
	}
}
