package build

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
)

// part is a file of the shim that is not for every function.
type part struct {
	// mentioned are the names of types one of which the function's code has to mention:
	// without it the file would only make the module larger.
	mentioned []string
	// declared is what the user's version of package events has to declare.
	declared []string
}

var (
	windowTypes = []string{"KinesisTimeWindowEvent", "DynamoDBTimeWindowEvent"}
	windowParts = []string{"type TimeWindowProperties struct", "type Window struct", "type RFC3339EpochTime struct"}
)

// parts are the files of the shim that need package events. Without it the module
// is smaller, and of grade json.
var parts = map[string]part{
	"batch.go": {},
	"emit.go":  {},
	"reply.go": {},
	"kinesis.go": {
		mentioned: []string{"KinesisEvent", "KinesisTimeWindowEvent"},
		declared:  []string{"type KinesisEvent struct"},
	},
	"replykinesis.go": {
		mentioned: []string{"KinesisEventResponse"},
		declared:  []string{"type KinesisEvent struct", "type KinesisEventResponse struct"},
	},
	"sqs.go": {
		mentioned: []string{"SQSEvent"},
		declared:  []string{"type SQSEvent struct", "type SQSMessageAttribute struct"},
	},
	"dynamodb.go": {
		mentioned: []string{"DynamoDBEvent", "DynamoDBTimeWindowEvent"},
		declared:  []string{"type DynamoDBEvent struct", "type DynamoDBUserIdentity struct", "func NewStringSetAttribute(value []string) DynamoDBAttributeValue"},
	},
	"window.go":         {mentioned: windowTypes, declared: windowParts},
	"windowkinesis.go":  {mentioned: windowTypes[:1], declared: append([]string{"type KinesisTimeWindowEvent struct"}, windowParts...)},
	"windowdynamodb.go": {mentioned: windowTypes[1:], declared: append([]string{"type DynamoDBTimeWindowEvent struct"}, windowParts...)},
}

// reseeder goes into package runtime: the generators behind math/rand, math/rand/v2,
// hash/maphash and the order of maps are its own, and nobody else can seed them.
const reseeder = "runtime.go"

// reseeds says whether the toolchain's package runtime has what the reseeder needs,
// which it has had since Go 1.22. One that has it no more builds functions all the
// same, whose copies draw the same random numbers from these.
func (p *project) reseeds() bool {
	l := p.packages["runtime"]
	if l == nil {
		return false
	}
	for _, text := range []string{"\nfunc mrandinit(mp *m) {\n", "\tstate chacha8rand.State\n", "\tlock  mutex\n", "\tmp.chacha8.Init64(seed)\n"} {
		if !mentions(l, text) {
			return false
		}
	}
	return true
}

// has says whether a file of the shim goes into this project's module.
func (p *project) has(name string) bool {
	switch name {
	case "trace.go":
		return p.packages[tracePackage] != nil
	case "reseed.go", reseeder:
		return p.reseeds()
	}
	part, optional := parts[name]
	if !optional {
		return true
	}
	events := p.packages[eventsPackage]
	if events == nil {
		return false
	}
	for _, text := range part.declared {
		if !mentions(events, "\n"+text) {
			return false
		}
	}
	return len(part.mentioned) == 0 || slices.ContainsFunc(part.mentioned, p.mentionsEvent)
}

// mentionsEvent says whether some code that can name types of package events has
// this word. It may only have it in a comment.
func (p *project) mentionsEvent(name string) bool {
	for _, l := range p.packages {
		if slices.Contains(l.Imports, eventsPackage) && mentions(l, name) {
			return true
		}
	}
	return false
}

func mentions(l *listed, text string) bool {
	return slices.ContainsFunc(l.GoFiles, func(file string) bool {
		b, err := os.ReadFile(filepath.Join(l.Dir, file))
		return err == nil && bytes.Contains(b, []byte(text))
	})
}
